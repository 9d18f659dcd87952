"""Which runs have it? ``xfelcat find``: a question to the catalog alone."""

from typing import Annotated

import typer

from .options import (
    BelowOption,
    CatalogOption,
    ClassOption,
    CycleOption,
    FormatOption,
    InstrumentOption,
    OutputOption,
    ProposalOption,
    RunOption,
    SinceOption,
    UntilOption,
    make_filter,
    open_store,
    say_provenance,
)
from .output import Format, choose_format, write_answer

__all__ = ["find_command"]

_NOT_IN_TABLE = ("run_id", "section", "entries", "depth")


def find_command(
    source: Annotated[
        str, typer.Argument(help="Glob of source names, in quotes: '*XGM*'.", show_default=False)
    ] = "*",
    key: Annotated[
        str | None,
        typer.Argument(
            help="Glob of keys: 'beamPosition.*'; left out, rows are per source.",
            show_default=False,
        ),
    ] = None,
    *,
    proposal: ProposalOption = None,
    run: RunOption = None,
    instrument: InstrumentOption = None,
    cycle: CycleOption = None,
    data_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    below: BelowOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="Give this many rows at most.", metavar="N"),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Find the runs that have a source, or a key of it.

    The globs are the shell's (*, ?, [xyz], [!xyz]), upper and lower case differ, and * also matches
    a slash. Timestamps of control keys are found only by a glob that ends in "timestamp".
    """
    from ..catalog.questions.queries import find

    chosen = choose_format(format_, output)
    where = make_filter(
        proposal=proposal,
        run=run,
        instrument=instrument,
        cycle=cycle,
        data_class=data_class,
        since=since,
        until=until,
        below=below,
    )
    store = open_store(catalog)
    answer = find(store, source, key, where, limit=limit)
    table = answer.table
    if chosen is Format.TABLE:
        dropped = [*_NOT_IN_TABLE, *(("dtype", "shape", "unit") if key is None else ())]
        table = table.drop_columns(dropped)
    write_answer(table, chosen, output)
    say_provenance(answer, store)
