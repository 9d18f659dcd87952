"""Options and arguments that several commands share, and the catalog and runs that they name.

A run is named by its path, ``p002012/raw/r0034``, or the short forms ``p002012/r0034``,
``2012/34``, ``2012/proc/34`` and ``"2012 34"``, in which the data class is raw by default. A
directory that exists is that; else the catalog is asked, which may know a run whose directory is
gone; then the data root.
"""

import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.model.errors import QueryError
from ..catalog.model.identity import parse_run_name
from ..catalog.questions.filters import ALL_RUNS, Filter, RunFilter, filters_of, parse_time
from .complete import COMPLETED, completing
from .output import Format, count, say

if TYPE_CHECKING:
    from ..catalog.model.errors import RunNotFoundError
    from ..catalog.questions.execute import Answer
    from ..catalog.questions.question import Question
    from ..catalog.store.store import Store
    from ..loader.collection import DataCollection


_INSTRUMENT = re.compile(r"(?P<instrument>[A-Z]{2,8}\d?)(?:/(?P<cycle>\d{6}))?/?")

Row = dict[str, Any]
Command = Callable[..., None]
Decorator = Callable[[Command], Command]


def option(name: str, metavar: str, about: str, *short: str, **details: Any) -> Any:
    """An option that takes a value."""
    return typer.Option(name, *short, metavar=metavar, help=about, **details)


def flag(name: str, about: str, *short: str) -> Any:
    """An option without a value, or whose values its type names."""
    return typer.Option(name, *short, help=about)


def argument(metavar: str, about: str, **details: Any) -> Any:
    """An argument with a name of its own in the help."""
    return typer.Argument(metavar=metavar, help=about, **details)


CatalogOption = Annotated[
    Path | None,
    option(
        "--catalog",
        "DIR",
        "Directory of the catalog; else XFELCAT_CATALOG, the config file, or your own.",
        "-c",
    ),
]
AsOfOption = Annotated[
    str | None,
    option(
        "--as-of",
        "TIME",
        "Answer from what the catalog was at this time (UTC), as far as versions are kept.",
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
LimitOption = Annotated[
    int | None,
    option(
        "--limit",
        "N",
        "Give this many rows at most; 0 for all, which is the default but for a table on a "
        "terminal.",
        "-n",
        min=0,
    ),
]
RunArgument = Annotated[
    str,
    argument(
        "RUN",
        "A run directory, p002012/raw/r0034, 2012/34 or 2012/proc/34.",
        autocompletion=completing("named run"),
    ),
]
JobsOption = Annotated[
    int | None,
    option("--jobs", "N", "Worker processes; 0 for none, by default one per core.", "-j", min=0),
]
TimeLimitOption = Annotated[
    float,
    option(
        "--time-limit", "SECONDS", "Give up a file, or a directory, that takes longer.", min=0.1
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
StrictOption = Annotated[bool, flag("--strict", "Exit 1 if there are problems.")]
DeepOption = Annotated[bool, flag("--deep", "Read a sample of the data, too.")]
SampleOption = Annotated[
    int,
    option(
        "--sample",
        "N",
        "With --deep: keys per control source, trains per index group and chunks per dataset "
        "to read; 0 for all.",
        min=0,
    ),
]
SeedOption = Annotated[int, option("--seed", "N", "With --deep: which sample to take.", min=0)]


@contextmanager
def wrong_usage() -> Iterator[None]:
    """Where a QueryError is about what was typed: wrong usage, which exits with 2."""
    try:
        yield
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None


def _option(filter_: Filter) -> inspect.Parameter:
    """The option of a filter, as a parameter of a command."""
    name = f"--{filter_.name.replace('_', '-')}"
    short = [filter_.short] if filter_.short else []
    least = 0 if filter_.kind is int else None
    made = option(
        name,
        filter_.metavar,
        filter_.help,
        *short,
        min=least,
        autocompletion=completing(filter_.name) if filter_.name in COMPLETED else None,
    )
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
            with wrong_usage():
                made = make(**{n: v for n, v in choice.items() if v not in (None, [])})
            command(**others, **{parameter: made})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def with_run_filter(*names: str) -> Decorator:
    """Decorate a command with a parameter ``where``, a ``RunFilter``, of all or some filters."""
    filters = [f for f in filters_of("run") if f.name in names or not names]
    return _with_filters("where", RunFilter.of, filters)


def with_question(*scopes: str) -> Decorator:
    """Decorate a command with a parameter ``question``, a ``Question``, of some scopes."""

    def make(**choice: Any) -> "Question":
        from ..catalog.questions.question import Question

        return Question.of(**choice)

    return _with_filters("question", make, filters_of(*scopes))


def open_store(catalog: Path | None, as_of: str | None = None, *, quiet: bool = False) -> "Store":
    """The named catalog, else the one of the settings, else the user's; named on stderr.

    ``as_of``: as it was at a time.
    """
    from ..catalog.config import catalog_location
    from ..catalog.store.store import Store

    store = Store(catalog_location(catalog), time_option(as_of))
    if not quiet and (store.at or store.exists() or catalog):
        at = f" as of {store.at:%Y-%m-%d %H:%M} UTC" if store.at else ""
        say(f"catalog: {store.location}{at}")
    return store


def existing_store(catalog: Path | None) -> "Store":
    """The same; raises CatalogNotFoundError where nothing was ingested yet."""
    store = open_store(catalog)
    store.require()
    return store


def say_if_behind(store: "Store") -> None:
    """Report what the answers lack: changes since the merge, shards of another schema version."""
    from ..catalog.store.care import left_out_text

    if text := left_out_text(store):
        say(text)
    if store.at is None and store.exists() and store.merged_is_stale():
        say("the catalog has changed since it was merged: `xfelcat db merge` renews the answers")


def say_provenance(answer: "Answer", store: "Store", question: "Question | None" = None) -> None:
    """Report how many rows an answer has, what it rests on, and why there are none."""
    say("; ".join([count(answer.table.num_rows, "row"), *answer.provenance.remarks()]))
    if question is not None and not answer.table.num_rows:
        from ..catalog.questions.empty import why_empty

        say(why_empty(store, question) or "each filter matches some run, but not the same data")
    say_if_behind(store)


def time_option(text: str | None) -> datetime | None:
    """The time of an option; an unusable one is wrong usage."""
    with wrong_usage():
        return None if text is None else parse_time(text)


# Runs by their names ----------------------------------------------------------------------------


def named_runs(text: str | None) -> RunFilter:
    """The runs that a text names; all of them for None."""
    if not text:
        return ALL_RUNS
    if os.path.exists(os.path.expanduser(text)):
        return RunFilter.named(text)
    if m := _INSTRUMENT.fullmatch(text):
        return RunFilter.of(instrument=m["instrument"], cycle=m["cycle"])
    if text.isdecimal() and len(text) <= 6:
        return RunFilter.of(proposal=text)
    return _by_numbers(text) or RunFilter.named(text)


def _by_numbers(text: str) -> RunFilter | None:
    """The run of a short form; None for anything else."""
    if (named := parse_run_name(text)) is None:
        return None
    proposal, data_class, run = named
    return RunFilter.of(proposal=proposal, run=run, data_class=data_class)


def open_named(text: str, store: "Store", *, save: bool = False) -> tuple[str, "DataCollection"]:
    """Where the run of a name is, and the run.

    Raises RunNotFoundError for a name of no run.
    """
    path, _ = _find_named(text, store)
    return path, open_path(path, store, save=save)


def open_known(text: str, store: "Store") -> tuple[str, "DataCollection", Row | None]:
    """The same, with the catalog's row of the run; None where it has no such run."""
    path, known = _find_named(text, store)
    return path, open_path(path, store), known or catalogued_run(path, store)


def open_path(path: str, store: "Store", *, save: bool = False) -> "DataCollection":
    """A run or a file, from the catalog as far as that has it; warnings go to stderr."""
    from ..loader.open import H5File, RunDirectory

    location: Path | None = store.location if store.exists() else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if os.path.isfile(path):
            run = H5File(path, catalog=location)
        else:  # a run whose directory is gone is still described from the catalog
            trust = None if os.path.isdir(path) else "never-stat"
            run = RunDirectory(path, catalog=location, trust=trust, save=save)
    for warning in caught:
        say(f"warning: {warning.message}")
    return run


def catalogued_run(text: str, store: "Store") -> Row | None:
    """The row of the view runs for the one run of this name; None if the catalog has no such."""
    from ..catalog.model.errors import CatalogNotFoundError

    path = os.path.abspath(os.path.expanduser(text))
    numbered = None if os.path.isdir(path) else _by_numbers(text)
    where = numbered or RunFilter.of(below=path)
    try:
        rows = catalogued_runs(where, store, at_most=2)
    except CatalogNotFoundError:
        return None
    if len(rows) != 1:
        return None
    is_it = numbered or os.path.realpath(path) == rows[0]["realpath"] or path == rows[0]["path"]
    return rows[0] if is_it else None


def catalogued_runs(where: RunFilter, store: "Store", at_most: int | None = None) -> list[Row]:
    """Rows of the view runs."""
    from ..catalog.model.names import from_text
    from ..catalog.questions.find import runs
    from ..catalog.questions.question import Question

    rows: list[Row] = runs(store, Question(where)).first(at_most).table.to_pylist()
    return [row | {name: from_text(row[name]) for name in ("path", "realpath")} for row in rows]


def not_found(text: str, path: str, store: "Store") -> "RunNotFoundError":
    """The error of a text that names neither a place nor anything that the catalog has."""
    from ..catalog.model.errors import CatalogNotFoundError, RunNotFoundError, nearest
    from ..catalog.questions.find import known_names

    known: list[str] = []
    with suppress(CatalogNotFoundError):
        known = known_names(store)
    return RunNotFoundError(
        text,
        looked_at=[path, str(store.location)],
        nearest=nearest(text, known),
        sentence=f"{text} is no file or directory, and names nothing in the catalog"
        " (names are SPB, p002012, p002012/raw/r0034, 2012/34)",
    )


def _find_named(text: str, store: "Store") -> tuple[str, Row | None]:
    """Where the run of a name is, and its row if the catalog had to be asked for that."""
    from ..loader.open import run_place

    path = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(path):
        return path, None
    if known := catalogued_run(text, store):
        return known["path"], known
    if parse_run_name(text) is None:
        raise not_found(text, path, store)
    return run_place(text), None
