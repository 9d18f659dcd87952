"""Options that several commands share.

1. ``with_filters`` gives a command the options of the table of filters.
2. The annotated types of the other options.
3. ``open_store``: the catalog of a command, named on stderr; ``say_provenance``: what its answer
   rests on.
"""

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.model.errors import QueryError
from ..catalog.questions.filters import FILTERS, Filter, RunFilter, filters_of, parse_time
from .output import Format, say
from .progress import count

if TYPE_CHECKING:
    from ..catalog.questions.execute import Answer
    from ..catalog.questions.question import Question
    from ..catalog.store.store import Store

__all__ = [
    "CatalogOption",
    "DeepOption",
    "ExcludeOption",
    "FormatOption",
    "JobsOption",
    "OutputOption",
    "RateOption",
    "RunArgument",
    "SampleOption",
    "SeedOption",
    "StrictOption",
    "TimeLimitOption",
    "argument",
    "existing_store",
    "open_store",
    "option",
    "say_if_behind",
    "say_provenance",
    "time_option",
    "with_question",
    "with_run_filter",
]

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


def option(name: str, metavar: str, about: str, *short: str, **details: Any) -> Any:
    """An option that takes a value; what holds without it stands in its help."""
    return typer.Option(name, *short, metavar=metavar, help=about, show_default=False, **details)


def argument(metavar: str, about: str, **details: Any) -> Any:
    """An argument; what holds without it stands in its help."""
    return typer.Argument(metavar=metavar, help=about, show_default=False, **details)


CatalogOption = Annotated[
    Path | None,
    option(
        "--catalog",
        "DIR",
        "Directory of the catalog; else XFELCAT_CATALOG, the config file, or your own.",
        "-c",
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
    option("--output", "FILE", "Write to this file instead of the terminal.", "-o", dir_okay=False),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run directory, p002012/raw/r0034, 2012/34 or 2012/proc/34."
    ),
]
JobsOption = Annotated[
    int | None,
    option("--jobs", "N", "Worker processes; 0 for none, by default one per core.", "-j", min=0),
]
TimeLimitOption = Annotated[
    float,
    typer.Option(
        "--time-limit", metavar="SECONDS", min=0.1, help="Give up a file that takes longer."
    ),
]
RateOption = Annotated[
    float | None,
    option("--reads-per-second", "N", "Read no faster than this, all workers together.", min=0.1),
]
ExcludeOption = Annotated[
    list[str] | None,
    option(
        "--exclude", "GLOB", "Leave out files and folders of this name or path; may be repeated."
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit 1 if there are problems.")]
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


def _option(filter_: Filter) -> inspect.Parameter:
    """The option of a filter, as a parameter of a command."""
    name = f"--{filter_.name.replace('_', '-')}"
    short = [filter_.short] if filter_.short else []
    least = 0 if filter_.kind is int else None
    made = option(name, filter_.metavar, filter_.help, *short, min=least)
    kind: Any = list[filter_.kind] if filter_.is_repeated else filter_.kind  # type: ignore[name-defined]
    return inspect.Parameter(
        filter_.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, made],
    )


def _with_filters(parameter: str, make: Callable[..., Any], filters: Sequence[Filter]) -> Decorator:
    """A decorator that puts the options of filters in the place of a parameter of a command.

    The command gets what ``make`` makes of them. A filter that the command has as a parameter of
    its own, as an argument, is no option, and counts too.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command).parameters
        parameters = [
            each
            for p in own.values()
            for each in (
                [_option(f) for f in filters if f.name not in own] if p.name == parameter else [p]
            )
        ]

        @wraps(command)
        def run(**given: Any) -> None:
            choice = {f.name: given[f.name] for f in filters}
            others = {name: value for name, value in given.items() if name in own}
            try:
                made = make(**{n: v for n, v in choice.items() if v not in (None, [])})
            except QueryError as error:
                raise typer.BadParameter(str(error)) from None
            command(**others, **{parameter: made})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _make_question(**choice: Any) -> "Question":
    from ..catalog.questions.question import Question

    return Question.of(**choice)


def with_run_filter(*names: str) -> Decorator:
    """Decorate a command with a parameter ``where``, a ``RunFilter``, of all or some filters."""
    filters = [f for f in filters_of("run") if f.name in names or not names]
    return _with_filters("where", RunFilter.of, filters)


def with_question(*scopes: str) -> Decorator:
    """Decorate a command with a parameter ``question``, a ``Question``, of some scopes."""
    return _with_filters("question", _make_question, [f for f in FILTERS if f.scope in scopes])


def open_store(catalog: Path | None, *, quiet: bool = False) -> "Store":
    """The named catalog, else the one of the settings, else the user's; named on stderr."""
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
    """Report what the answers lack: changes since the merge, shards of another schema version."""
    from ..catalog.store.care import left_out

    if n := len(left_out(store)):
        say(f"{count(n, 'shard')} of another schema version left out: see `xfelcat db status`")
    if store.exists() and store.merged_is_stale():
        say("the catalog has changed since it was merged: `xfelcat db merge` renews the answers")


def say_provenance(answer: "Answer", store: "Store") -> None:
    """Report how many rows an answer has and what it rests on."""
    say(f"{count(answer.table.num_rows, 'row')}; {answer.provenance}")
    say_if_behind(store)


def time_option(text: str | None) -> datetime | None:
    """The time of an option; an unusable one is wrong usage."""
    try:
        return None if text is None else parse_time(text)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None
