"""``xfelcat inventory``: volume, growth, what is not calibrated, and runs that stand out."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    LimitOption,
    OutputOption,
    argument,
    open_store,
    option,
    say_provenance,
    with_run_filter,
    wrong_usage,
)
from .output import Format, choose_format, readable, write_answer

if TYPE_CHECKING:
    import pyarrow as pa

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
    limit: LimitOption = None,
    where: "RunFilter",
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Take stock: volume by instrument, cycle, ..., growth, calibration, runs that stand out.

    From the catalog alone. A table has sizes for people; json, csv and parquet have bytes.
    """
    from ..catalog.questions.inventory import QUESTIONS, inventory

    chosen = choose_format(format_, output)
    store = open_store(catalog, as_of)
    of_list = limit if "limit" in QUESTIONS[question.value] else None  # which has its own default
    with wrong_usage():
        answer = inventory(
            store, question.value, where, by=by or None, per=per, limit=of_list
        ).first(limit or None)
    table = answer.table
    if chosen in (Format.TABLE, Format.MARKDOWN) and question is Inventory.GROWTH:
        table = _named_periods(table, per or "month")
    write_answer(readable(table, chosen), chosen, output, limit=limit)
    say_provenance(answer, store)


def _named_periods(table: "pa.Table", per: str) -> "pa.Table":
    """Periods as people name them: 2018, 2018-10; days and weeks by their first day."""
    import pyarrow as pa

    form = {"year": "%Y", "month": "%Y-%m"}.get(per, "%Y-%m-%d")
    names = [None if day is None else f"{day:{form}}" for day in table.column("period").to_pylist()]
    return table.set_column(0, "period", pa.array(names, pa.string()))
