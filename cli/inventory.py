"""``xfelcat inventory``: volume, growth, what is not calibrated, and runs that stand out."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    OutputOption,
    argument,
    open_store,
    option,
    say_provenance,
    with_run_filter,
    wrong_usage,
)
from .output import Format, choose_format, write_answer
from .progress import size_text

if TYPE_CHECKING:
    from ..catalog.questions.filters import RunFilter


class Inventory(StrEnum):
    """The kinds of inventory; the keys of ``QUESTIONS``."""

    VOLUME = "volume"
    GROWTH = "growth"
    LARGEST = "largest"
    DUPLICATES = "duplicates"
    ORPHANS = "orphans"
    UNCALIBRATED = "uncalibrated"
    UNVERIFIED = "unverified"


@with_run_filter()
def inventory_command(
    question: Annotated[
        Inventory, argument("QUESTION", f"One of {', '.join(Inventory)}.")
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
    as_of: AsOfOption = None,
) -> None:
    """Take stock: volume by instrument, cycle, ..., growth, calibration, runs that stand out.

    From the catalog alone. A table has sizes for people; json, csv and parquet have bytes.
    """
    import pyarrow as pa

    from ..catalog.questions.inventory import inventory

    chosen = choose_format(format_, output)
    store = open_store(catalog, as_of)
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
