"""``xfelcat diff``: what differs between two runs."""

from collections import Counter
from functools import partial
from numbers import Integral, Real
from typing import Annotated, Any

import typer

from .complete import completing
from .options import (
    CatalogOption,
    FormatOption,
    OutputOption,
    RunArgument,
    argument,
    flag,
    open_named,
    open_store,
    option,
)
from .output import Format, choose_format, count, say, short_number, value_text, write_rows

_LONGEST = 30
_COLUMNS = ("what", "source", "key", "first", "second")


def _short(value: Any) -> Any:
    """A number to six digits, as people read it; anything else as it is."""
    is_broken = isinstance(value, Real) and not isinstance(value, Integral)
    return short_number(float(value)) if is_broken else value


def diff_command(
    first: RunArgument,
    second: Annotated[
        str, argument("RUN", "The run to compare it with.", autocompletion=completing("named run"))
    ],
    *,
    tolerance: Annotated[
        float,
        option(
            "--tolerance",
            "SHARE",
            "RUN values no further apart than this share of the larger are the same.",
            min=0,
            max=1,
        ),
    ] = 0.0,
    values: Annotated[
        bool, flag("--values/--no-values", "Whether RUN values are compared.")
    ] = True,
    timestamps: Annotated[
        bool, flag("--timestamps", "Compare when RUN values were set, too.")
    ] = False,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Compare two runs: sources, keys, dtypes, shapes, units and RUN values.

    Exits as diff does: 0 if nothing differs, 1 if something does, 2 if a run cannot be opened.
    """
    from ..catalog.model.errors import XfelcatError
    from ..loader.show.inspection import compare_runs

    chosen = choose_format(format_, output)
    store = open_store(catalog)
    try:
        sides = [open_named(text, store)[1].selected for text in (first, second)]
        found = compare_runs(*sides, tolerance=tolerance, values=values, timestamps=timestamps)
    except XfelcatError as error:
        say(f"xfelcat: {error}")
        raise typer.Exit(2) from None
    if found or chosen is not Format.TABLE:
        # A RUN value, which may be of any type, is a text; a table has the beginning of a long one.
        is_table = chosen is Format.TABLE
        shown = partial(value_text, at_most=_LONGEST if is_table else None, one_line=False)
        names = (*_COLUMNS[:3], first, second) if is_table and first != second else _COLUMNS
        sides_of = ((d, [_short(v) if is_table else v for v in (d.first, d.second)]) for d in found)
        rows = [
            dict(zip(names, (d.what, d.source, d.key, *map(shown, both)), strict=True))
            for d, both in sides_of
        ]
        write_rows(rows, chosen, output, names=names)
    kinds = Counter(difference.what for difference in found)
    parts = ", ".join(f"{n} of {what}" for what, n in kinds.items())
    say(f"{count(len(found), 'difference')}{': ' if parts else ''}{parts}")
    raise typer.Exit(1 if found else 0)
