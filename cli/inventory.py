"""How much is there, and what is there twice or alone? ``xfelcat inventory``."""

from enum import StrEnum
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
    say_if_behind,
)
from .output import Format, choose_format, say, write_answer
from .progress import count, size_text

__all__ = ["Question", "inventory_command"]


class Question(StrEnum):
    """What is asked; the keys of ``QUESTIONS``."""

    VOLUME = "volume"
    GROWTH = "growth"
    LARGEST = "largest"
    DUPLICATES = "duplicates"
    ORPHANS = "orphans"
    UNVERIFIED = "unverified"


def inventory_command(
    question: Annotated[
        Question, typer.Argument(metavar="QUESTION", help=f"One of {', '.join(Question)}.")
    ] = Question.VOLUME,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Group volume or growth by instrument, cycle, proposal or data_class; volume also "
            "by aggregator, format_version or source; may be repeated.",
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(
            "--per",
            metavar="PERIOD",
            help="Growth per day, week, month or year.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            metavar="N",
            help="Give this many runs at most; 20 for largest and unverified.",
            show_default=False,
        ),
    ] = None,
    proposal: ProposalOption = None,
    run: RunOption = None,
    instrument: InstrumentOption = None,
    cycle: CycleOption = None,
    data_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    below: BelowOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Take stock: volume by what you like, growth, largest, duplicate, orphaned, unverified runs.

    From the catalog alone. A table has sizes for people; json, csv and parquet have bytes.
    """
    from ..catalog.model.errors import QueryError
    from ..catalog.questions.inventory import inventory

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
    try:
        answer = inventory(store, question.value, where, by=by or None, per=per, limit=limit)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None
    table = answer.table
    if chosen is Format.TABLE:
        for at, name in enumerate(table.column_names):
            if name.endswith("bytes"):
                sizes = [None if n is None else size_text(n) for n in table.column(at).to_pylist()]
                table = table.set_column(at, name.replace("bytes", "size"), [_texts(sizes)])
    write_answer(table, chosen, output)
    say(f"{count(table.num_rows, 'row')}; {answer.provenance}")
    say_if_behind(store)


def _texts(values: list[str | None]) -> object:
    import pyarrow as pa

    return pa.array(values, pa.string())
