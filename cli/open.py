"""``xfelcat open``, ``diff``, ``locality``: a run in IPython, two runs compared, files on tape."""

from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    CatalogOption,
    FormatOption,
    OutputOption,
    RunArgument,
    argument,
    open_named,
    open_store,
)
from .output import Format, choose_format, say, value_text, write_rows
from .progress import count


def open_command(run: RunArgument, *, catalog: CatalogOption = None) -> None:
    """Open a run in IPython: run, xfelcat and np are there to work with."""
    import importlib

    import numpy as np

    from ..loader.show.display import collection_info

    try:
        import IPython
    except ImportError:
        say(
            "xfelcat: IPython is not installed: install it with pip install 'xfelcat[notebook]',"
            " or open the run in Python with xfelcat.RunDirectory"
        )
        raise typer.Exit(1) from None
    path, collection = open_named(run, open_store(catalog), save=True)
    config = importlib.import_module("traitlets.config").Config()
    config.TerminalInteractiveShell.banner1 = (
        f"{path}\n{collection_info(collection.selected)}\n\n"
        "run is this run, xfelcat and np are there too; run.info() shows this again.\n"
    )
    package = importlib.import_module(__name__.partition(".")[0])
    namespace = {"run": collection, "xfelcat": package, "np": np}
    IPython.start_ipython(argv=[], user_ns=namespace, config=config)


def locality_command(
    path: Annotated[Path, argument("PATH", "A run directory, or one file.", exists=True)],
) -> None:
    """Report which files are on disk, only on tape, or unavailable.

    Lists the files that cannot be read at once; exits 1 if there are any.
    """
    from ..catalog.scan.locality import survey_locality

    survey = survey_locality(path)
    groups = {
        "only on tape": survey.on_tape,
        "unavailable": survey.unavailable,
        "of unknown locality": tuple(survey.unknown),
    }
    for what, paths in groups.items():
        for each in paths:
            answer = survey.unknown.get(each)
            typer.echo(f"{what}: {each}" + (f" ({answer})" if answer else ""))
    counts = [f"{len(survey.on_disk)} on disk"]
    counts += [f"{len(paths)} {what}" for what, paths in groups.items() if paths]
    say(", ".join(counts))
    if any(groups.values()):
        raise typer.Exit(1)


_LONGEST = 30
_COLUMNS = ("what", "source", "key", "first", "second")


def diff_command(
    first: Annotated[
        str, typer.Argument(metavar="RUN", help="A run directory, p002012/raw/r0034 or 2012/34.")
    ],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare it with.")],
    *,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=0,
            max=1,
            help="RUN values no further apart than this share of the larger are the same.",
        ),
    ] = 0.0,
    values: Annotated[
        bool, typer.Option("--values/--no-values", help="Whether RUN values are compared.")
    ] = True,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Compare when RUN values were set, too.")
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
        shown = partial(
            value_text, at_most=_LONGEST if chosen is Format.TABLE else None, one_line=False
        )
        rows = [asdict(d) | {"first": shown(d.first), "second": shown(d.second)} for d in found]
        write_rows(rows, chosen, output, names=_COLUMNS)
    kinds = Counter(difference.what for difference in found)
    parts = ", ".join(f"{n} of {what}" for what, n in kinds.items())
    say(f"{count(len(found), 'difference')}{': ' if parts else ''}{parts}")
    raise typer.Exit(1 if found else 0)
