"""Which runs have it? ``xfelcat find`` and ``xfelcat sql``: questions to the catalog alone."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    say_if_behind,
)
from .output import Format, choose_format, say, write_answer
from .progress import count

if TYPE_CHECKING:
    from ..catalog.questions.answers import Answer
    from ..catalog.store.store import Store

__all__ = ["find_command", "sql_command"]

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
    _say_provenance(answer, store)


def sql_command(
    text: Annotated[
        str | None,
        typer.Argument(
            help="One SQL statement, in quotes; left out, it is read from stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Read the statement from this file.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", metavar="SECONDS", min=0, help="Stop the query after this."),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Ask the catalog in SQL (DuckDB's dialect), reading only.

    "SHOW TABLES" lists what can be read, "DESCRIBE runs" the columns of the view runs.
    """
    from ..catalog.questions.user_sql import run_sql

    chosen = choose_format(format_, output)
    statement = _statement(text, file)
    store = open_store(catalog)
    answer = run_sql(store, statement, time_limit=time_limit)
    write_answer(answer.table, chosen, output)
    _say_provenance(answer, store)


def _say_provenance(answer: "Answer", store: "Store") -> None:
    say(f"{count(answer.table.num_rows, 'row')}; {answer.provenance}")
    say_if_behind(store)


def _statement(text: str | None, file: Path | None) -> str:
    """The statement, from the one place it was given in."""
    if text is not None and file is not None:
        raise typer.BadParameter("give the statement or --file, not both")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {error}") from None
    if text is not None and text != "-":
        return text
    if text is None and sys.stdin.isatty():
        raise typer.BadParameter('there is no statement; try xfelcat sql "SELECT * FROM runs"')
    return sys.stdin.read()
