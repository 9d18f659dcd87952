"""Which options do several commands share, and what do they mean?

1. The annotated types, one for each option.
2. ``open_store``: the catalog that a command is about, told on stderr.
3. ``make_filter``: the runs that a command is about; ``make_question``: also what of them.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.model.errors import QueryError
from .output import Format, say
from .progress import count

if TYPE_CHECKING:
    from ..catalog.questions.execute import Answer
    from ..catalog.questions.filters import RunFilter
    from ..catalog.questions.question import Question
    from ..catalog.store.store import Store

__all__ = [
    "BelowOption",
    "CatalogOption",
    "ClassOption",
    "CycleOption",
    "DeepOption",
    "DeviceClassOption",
    "DtypeOption",
    "FormatOption",
    "HasNotOption",
    "HasOption",
    "InstrumentOption",
    "MinTrainsOption",
    "OutputOption",
    "ProposalOption",
    "RunOption",
    "SampleOption",
    "SeedOption",
    "ShapeOption",
    "SinceOption",
    "TrainOption",
    "UnitOption",
    "UntilOption",
    "WhereOption",
    "existing_store",
    "make_filter",
    "make_question",
    "open_store",
    "say_if_behind",
    "say_provenance",
    "time_option",
]

CatalogOption = Annotated[
    Path | None,
    typer.Option(
        "--catalog",
        "-c",
        metavar="DIR",
        help="Directory of the catalog; else XFELCAT_CATALOG, the config file, or your own.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        help="How to write the rows; the default is a table, or what the ending of FILE means.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to this file instead of the terminal.",
        dir_okay=False,
        show_default=False,
    ),
]
ProposalOption = Annotated[
    list[str] | None,
    typer.Option(
        "--proposal",
        "-p",
        metavar="P",
        help="Only this proposal (2012 or p002012); may be repeated.",
        show_default=False,
    ),
]
RunOption = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        "-r",
        metavar="R",
        help="Only this run (5 or r0005) or range of runs (5-10); may be repeated.",
        show_default=False,
    ),
]
InstrumentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--instrument", "-i", metavar="NAME", help="Only this instrument.", show_default=False
    ),
]
CycleOption = Annotated[
    list[str] | None,
    typer.Option("--cycle", metavar="CYCLE", help="Only this cycle.", show_default=False),
]
ClassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data-class",
        "-d",
        metavar="CLASS",
        help="Only this data class (raw, proc, ...).",
        show_default=False,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only runs with trains at or after this time (UTC): 2024-05-01, "
        "2024-05-01T12:30, or how long ago: 12h, 3d, 2w.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Only runs with trains before this time.",
        show_default=False,
    ),
]
TrainOption = Annotated[
    str | None,
    typer.Option(
        "--train",
        metavar="ID",
        help="Only runs with this train ID, or one of a range (1000-1999).",
        show_default=False,
    ),
]
MinTrainsOption = Annotated[
    int | None,
    typer.Option(
        "--min-trains",
        metavar="N",
        min=0,
        help="Only with at least this many trains (with data, where rows are of sources).",
        show_default=False,
    ),
]
HasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--has",
        metavar="'SOURCE [KEY]'",
        help="Only runs that have such data, whatever the rows are about; may be repeated.",
        show_default=False,
    ),
]
HasNotOption = Annotated[
    list[str] | None,
    typer.Option(
        "--has-not",
        metavar="'SOURCE [KEY]'",
        help="Only runs that have no such data; may be repeated.",
        show_default=False,
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="CONDITION",
        help="Only runs with such RUN values: 'SOURCE KEY < 0.5'; may be repeated.",
        show_default=False,
    ),
]
DeviceClassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device-class",
        metavar="GLOB",
        help="Only sources of devices of this class.",
        show_default=False,
    ),
]
DtypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype", metavar="DTYPE", help="Only keys of this type: float32.", show_default=False
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="SHAPE",
        help="Only keys whose entries have this shape: 512x128, scalar.",
        show_default=False,
    ),
]
UnitOption = Annotated[
    list[str] | None,
    typer.Option("--unit", metavar="GLOB", help="Only keys of this unit.", show_default=False),
]
BelowOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--below", metavar="PATH", help="Only runs at or below this path.", show_default=False
    ),
]

DeepOption = Annotated[bool, typer.Option("--deep", help="Read a sample of the data, too.")]
SampleOption = Annotated[
    int,
    typer.Option(
        "--sample",
        metavar="N",
        min=0,
        help="With --deep: keys per control source, trains per index group and chunks per dataset "
        "to read; 0 for all.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="With --deep: which sample to take.")
]


def open_store(catalog: Path | None, *, quiet: bool = False) -> "Store":
    """The named catalog, else the one of the settings, else the user's; told on stderr."""
    from ..catalog.config import load_settings, user_catalog
    from ..catalog.store.store import Store

    location = str(catalog.expanduser()) if catalog else load_settings().catalog or user_catalog()
    store = Store(location)
    if not quiet:
        say(f"catalog: {store.location}")
    return store


def existing_store(catalog: Path | None) -> "Store":
    """The same, which must exist.

    Raises CatalogNotFoundError where nothing was ingested yet.
    """
    store = open_store(catalog)
    store.require()
    return store


def say_if_behind(store: "Store") -> None:
    """Tell what the answers lack: changes since the merge, shards of another schema version."""
    from ..catalog.store.care import left_out

    if n := len(left_out(store)):
        say(f"{count(n, 'shard')} of another schema version left out: see `xfelcat db status`")
    if store.exists() and store.merged_is_stale():
        say("the catalog has changed since it was merged: `xfelcat db merge` renews the answers")


def say_provenance(answer: "Answer", store: "Store") -> None:
    """Tell how many rows an answer has and what it rests on."""
    say(f"{count(answer.table.num_rows, 'row')}; {answer.provenance}")
    say_if_behind(store)


def make_filter(**parts: Any) -> "RunFilter":
    """The filter of these options; an unusable value is wrong usage."""
    from ..catalog.questions.filters import RunFilter

    try:
        return RunFilter.of(**{name: value or None for name, value in parts.items()})
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None


def make_question(**parts: Any) -> "Question":
    """The question of these options; an unusable value is wrong usage."""
    from ..catalog.questions.question import Question

    given = {name: value for name, value in parts.items() if value not in (None, [])}
    try:
        return Question.of(**given)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None


def time_option(text: str | None) -> datetime | None:
    """The time that an option means; an unusable one is wrong usage."""
    from ..catalog.questions.filters import parse_time

    try:
        return None if text is None else parse_time(text)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None
