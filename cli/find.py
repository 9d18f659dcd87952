"""``xfelcat find``: runs and what they have, from the catalog alone."""

from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    OutputOption,
    open_store,
    option,
    say_provenance,
    with_question,
)
from .output import Format, choose_format, write_answer

if TYPE_CHECKING:
    from ..catalog.questions.question import Question

_ROWS_OF_RUNS = (
    *("proposal", "run", "data_class", "instrument", "cycle", "started_at", "trains", "files"),
    *("bytes", "path"),
)
_NOT_IN_TABLE = ("run_id", "section", "entries", "depth")


@with_question("run", "having", "data")
def find_command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Glob of source names, in quotes: '*XGM*', or 're:' and a regular expression; left"
            " out, rows are per run."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(help="Glob of keys: 'beamPosition.*'; left out, rows are per source."),
    ] = None,
    *,
    question: "Question",
    limit: Annotated[
        int | None, option("--limit", "N", "Give this many rows at most.", "-n", min=1)
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
    as_of: AsOfOption = None,
) -> None:
    r"""Find the runs that have a source, or a key of it, or that recorded some values.

    The globs are the shell's (*, ?, \[xyz], [!xyz]); upper and lower case differ; * also matches
    a slash. Timestamps of control keys are found only by a glob that ends in "timestamp".
    """
    from ..catalog.questions.find import find, find_runs, runs

    chosen = choose_format(format_, output)
    store = open_store(catalog, as_of)
    if source is not None:
        answer = find(store, question, limit=limit)
        hidden = [*_NOT_IN_TABLE]
        if not question.data.is_about_keys:
            hidden += ["dtype", "shape", "unit"]
    else:
        of_runs = find_runs if question.where else runs
        answer = of_runs(store, question).first(limit)
        shown = answer.table.column_names if question.where else _ROWS_OF_RUNS
        hidden = [n for n in answer.table.column_names if n not in shown or n in _NOT_IN_TABLE]
    table = answer.table.drop_columns(hidden) if chosen is Format.TABLE else answer.table
    write_answer(table, chosen, output)
    say_provenance(answer, store, question)
