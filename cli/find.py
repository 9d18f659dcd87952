"""``xfelcat find`` and ``xfelcat inventory``: rows and sums over runs, from the catalog alone."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    CatalogOption,
    FormatOption,
    OutputOption,
    open_store,
    option,
    say_provenance,
    with_question,
    with_run_filter,
    wrong_usage,
)
from .output import Format, choose_format, write_answer
from .progress import size_text

if TYPE_CHECKING:
    from ..catalog.questions.filters import RunFilter
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
            " out, rows are per run.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(
            help="Glob of keys: 'beamPosition.*'; left out, rows are per source.",
            show_default=False,
        ),
    ] = None,
    *,
    question: "Question",
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="Give this many rows at most.", metavar="N"),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    r"""Find the runs that have a source, or a key of it, or that recorded some values.

    The globs are the shell's (*, ?, \[xyz], [!xyz]); upper and lower case differ; * also matches
    a slash. Timestamps of control keys are found only by a glob that ends in "timestamp".
    """
    from ..catalog.questions.find import find, find_runs, runs

    chosen = choose_format(format_, output)
    store = open_store(catalog)
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
    say_provenance(answer, store)


class Inventory(StrEnum):
    """The kinds of inventory; the keys of ``QUESTIONS``."""

    VOLUME = "volume"
    GROWTH = "growth"
    LARGEST = "largest"
    DUPLICATES = "duplicates"
    ORPHANS = "orphans"
    UNVERIFIED = "unverified"


@with_run_filter()
def inventory_command(
    question: Annotated[
        Inventory, typer.Argument(metavar="QUESTION", help=f"One of {', '.join(Inventory)}.")
    ] = Inventory.VOLUME,
    *,
    by: Annotated[
        list[str] | None,
        option(
            "--by",
            "NAME",
            "Group volume or growth by instrument, cycle, proposal or data_class; volume also "
            "by aggregator, format_version or source; may be repeated.",
        ),
    ] = None,
    per: Annotated[
        str | None, option("--per", "PERIOD", "Growth per day, week, month or year.")
    ] = None,
    limit: Annotated[
        int | None,
        option(
            "--limit",
            "N",
            "Give this many runs at most; 20 for largest and unverified.",
            "-n",
            min=1,
        ),
    ] = None,
    where: "RunFilter",
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Take stock: volume by instrument, cycle, ..., growth, largest, duplicate or orphaned runs.

    From the catalog alone. A table has sizes for people; json, csv and parquet have bytes.
    """
    import pyarrow as pa

    from ..catalog.questions.inventory import inventory

    chosen = choose_format(format_, output)
    store = open_store(catalog)
    with wrong_usage():
        answer = inventory(store, question.value, where, by=by or None, per=per, limit=limit)
    table = answer.table
    if chosen is Format.TABLE:
        for at, name in enumerate(table.column_names):
            if name.endswith("bytes"):
                sizes = [None if n is None else size_text(n) for n in table.column(at).to_pylist()]
                table = table.set_column(
                    at, name.replace("bytes", "size"), pa.array(sizes, pa.string())
                )
    write_answer(table, chosen, output)
    say_provenance(answer, store)
