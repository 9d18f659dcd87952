"""The filters of questions: one table of them, their parsers, and what they are in SQL.

Every question over runs takes the same filters, as keyword arguments of ``Catalog`` and as options
of the command line; both follow from ``FILTERS``.

``RunChoice`` ... ``Choice`` are the same names for type checkers. ``RunFilter`` is about runs, by
their own row alone, ``DataFilter`` about sources and keys. In SQL the tables that they speak of are
``run`` and ``run_source``, by these names.

Names are matched in the small tables of distinct names, and the large tables are read by the
integer ids found there: over 10^5 runs this takes a hundredth of the time.

No numpy is imported here: the command line makes its options from the table.
"""

import inspect
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import index
from pathlib import Path
from types import FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    SupportsIndex,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
)

from ..model.errors import QueryError, nearest
from ..model.identity import parse_proposal, parse_run
from ..model.names import (
    ASCII_MICRO,
    VALUE_ENDING,
    parse_duration,
    sql_ascii_unit,
    sql_unit,
    to_text,
    to_utc,
)
from .conditions import Pattern, PatternLike, conditions_of, text_matches
from .execute import Provenance, Sql, all_of, any_of, ask, sql

if TYPE_CHECKING:
    from ..store.connections import Cursor
    from ..store.store import Store


T = TypeVar("T")

# What people may give: one of a thing or several.
Numbers = int | str | Iterable[int | str]
Texts = str | Iterable[str]
Moment = str | date | datetime
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Patterns = PatternLike | Pattern | Iterable[PatternLike | Pattern]
Shape = str | tuple[int, ...] | list[int]
Trains = int | str | tuple[int, int] | slice

_NAME = re.compile(
    r"p(?P<proposal>\d{1,6})(?:/(?P<data_class>[^*?\[]+?)(?:/r(?P<run>\d{1,6}))?)?/?"
)


# Parsers ----------------------------------------------------------------------------------------


def parse_time(moment: Moment) -> datetime:
    """A time in UTC, without zone, from an ISO date or time, or from how long ago it was.

    Raises QueryError for anything else.
    """
    if isinstance(moment, datetime):
        return to_utc(moment)
    if isinstance(moment, date):
        return datetime(moment.year, moment.month, moment.day)
    text = str(moment).strip()  # numpy's times are no datetimes, and spell as ISO does
    now = datetime.now(UTC).replace(tzinfo=None)
    if (ago := parse_duration(text.removesuffix("ago"))) is not None:
        return now - ago
    if (days := {"today": 0, "yesterday": 1}.get(text.casefold())) is not None:
        return datetime(now.year, now.month, now.day) - timedelta(days)
    try:
        start, _, zone = text.rpartition(" ")
        if zone.casefold() == "local":
            return to_utc(datetime.fromisoformat(start).astimezone())
        if "/" in zone:
            from zoneinfo import ZoneInfo

            return to_utc(datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)))
        return to_utc(datetime.fromisoformat(text))
    except (ValueError, KeyError):
        raise QueryError(
            f"{moment!r} is no time: write 2024-05-01, 2024-05-01T12:30 (UTC), with a zone"
            " ('2024-05-01 12:30 local'), or how long ago: 30min, 12h, 3d, 2w, 1month, 1y,"
            " 'last week', yesterday"
        ) from None


def _listed(given: Any) -> Iterable[Any]:
    is_several = isinstance(given, Iterable) and not isinstance(given, str)
    return given if is_several else (given,)


def _each(parse: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """The parser of one or several of what ``parse`` takes."""
    return lambda given: tuple(map(parse, _listed(given)))


def _proposal(text: int | str) -> int:
    number = parse_proposal(text)
    if number is None:
        raise QueryError(f"{text!r} is no proposal: write 2012 or p002012")
    return number


def _run_range(text: int | str) -> tuple[int, int]:
    first, dash, last = str(text).partition("-")
    low, high = parse_run(first), parse_run(last) if dash else parse_run(first)
    if low is None or high is None:
        raise QueryError(f"{text!r} is no run: write 243, r0243, or a range 5-10")
    if low > high:
        raise QueryError(f"the run range {text!r} ends before it starts")
    return low, high


def _paths(given: Paths) -> tuple[str, ...]:
    """Paths as the catalog may have them: absolute, and with their links resolved."""
    absolute = _each(lambda path: os.path.abspath(os.path.expanduser(path)))(given)
    try:
        return tuple(dict.fromkeys(p for path in absolute for p in (path, os.path.realpath(path))))
    except ValueError as error:  # a NUL
        raise QueryError(f"{given!r} is no path: {error}") from None


def _train_range(given: Trains) -> tuple[int, int]:
    """First and last train ID, both included, of a train ID or a range of them.

    A range is ``(first, last)``, ``"first-last"``, or a half-open ``slice(first, end)``.
    """
    message = f"{given!r} is no train ID: write 1234567890, or a range 1234567890-1234567999"
    try:
        if isinstance(given, slice):
            first = 1 if given.start is None else int(given.start)
            last = 2**64 - 1 if given.stop is None else int(given.stop) - 1
        elif isinstance(given, tuple):
            first, last = map(int, given)
        elif isinstance(given, str) and "-" in given.strip("-"):
            first, last = map(int, given.split("-"))
        else:
            first = last = int(given)
    except (TypeError, ValueError):
        raise QueryError(message) from None
    if not 0 < first <= last < 2**64:
        raise QueryError(message)
    return first, last


def _min_trains(given: Any) -> int | float:
    """A number of trains, or a float: a share of those of the run."""
    text = str(given).strip()
    if m := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text):
        share = float(m[1]) / 100
    elif isinstance(given, SupportsIndex) or text.isdecimal():
        if (number := index(given) if isinstance(given, SupportsIndex) else int(text)) >= 0:
            return number
        share = -1.0
    else:
        try:
            share = float(text)
        except ValueError:
            share = -1.0
    if not 0 < share <= 1:
        raise QueryError(
            f"min_trains={given!r}: give a number of trains, or a share of them: 90% or 0.9"
        )
    return share


def trains_at_least(least: int | float, column: str) -> Sql:
    """The condition that a column, joined to ``run``, counts at least so many trains."""
    of = " * run.n_trains" if isinstance(least, float) else ""
    return sql(f"{column} >= {{least}}{of}", least=least)


def _specs(given: "Spec | list[Spec]") -> "tuple[DataFilter, ...]":
    return tuple(map(DataFilter.parse, given if isinstance(given, list) else [given]))


_patterns = _each(Pattern.of)
_units = _each(lambda given: Pattern(Pattern.of(given).text.translate(ASCII_MICRO)))


def _dtypes(given: Any) -> tuple[str, ...]:
    """Types as the catalog writes them, each in both byte orders."""
    import numpy as np

    found: dict[str, None] = {}
    for one in _listed(given):
        if one in ("str", str):
            found["str"] = None
            continue
        try:
            dtype = np.dtype(one)
        except (TypeError, UnicodeEncodeError):
            raise QueryError(f"{one!r} is no dtype: write float32, uint16, <f4 or str") from None
        found |= dict.fromkeys((dtype.str, dtype.newbyteorder().str))
    return tuple(found)


def _shapes(given: Any) -> tuple[tuple[int, ...], ...]:
    one = isinstance(given, str) or not any(isinstance(n, Iterable) for n in given)
    return tuple(map(_shape, (given,) if one else given))


def _shape(given: Any) -> tuple[int, ...]:
    if isinstance(given, str):
        text = given.strip().strip("()")
        sizes = [] if text in ("", "scalar") else re.split(r"\s*[x×,]\s*", text.rstrip(", "))
        if not all(size.isdecimal() for size in sizes):
            raise QueryError(f"{given!r} is no shape of an entry: write 512x128, or scalar")
        return tuple(map(int, sizes))
    return tuple(map(int, given))


# The table --------------------------------------------------------------------------------------


class Filter(NamedTuple):
    """A filter of questions."""

    name: str
    """The keyword argument; the option of the command line has dashes for underscores."""
    part: str
    """The field of ``RunFilter``, ``Question`` or ``DataFilter`` that it fills."""
    scope: Literal["run", "having", "data"]
    """Which of these three: a run by its own row, by what it has, or sources and keys."""
    parse: Callable[[Any], Any]
    """Makes the value of the field of what people write; raises QueryError."""
    metavar: str
    """What the option takes, in its help."""
    help: str
    """The help of the option."""
    short: str = ""
    """The short form of the option."""
    is_repeated: bool = True
    """Whether the option may be repeated."""
    kind: type = str
    """What the command line reads."""


FILTERS = (
    Filter("where", "where", "having", conditions_of, "CONDITION",
           "Only runs with such RUN values: 'SOURCE KEY < 0.5'; may be repeated.", "-w"),
    Filter("has", "has", "having", _specs, "'SOURCE [KEY]'",
           "Only runs that have such data, whatever the rows are about; may be repeated."),
    Filter("has_not", "has_not", "having", _specs, "'SOURCE [KEY]'",
           "Only runs that have no such data; may be repeated."),
    Filter("train", "trains", "having", _train_range, "ID",
           "Only runs with this train ID, or one of a range (1000-1999).", is_repeated=False),
    Filter("min_trains", "min_trains", "having", _min_trains, "N",
           "Only with at least this many trains (with data, where rows are of sources), or this"
           " share of the run's: 90%.", is_repeated=False),
    Filter("source", "sources", "data", _patterns, "GLOB", "Only these sources."),
    Filter("key", "keys", "data", _patterns, "GLOB", "Only these keys."),
    Filter("device_class", "device_classes", "data", _patterns, "GLOB",
           "Only sources of devices of this class."),
    Filter("dtype", "dtypes", "data", _dtypes, "DTYPE", "Only keys of this type: float32."),
    Filter("shape", "shapes", "data", _shapes, "SHAPE",
           "Only keys whose entries have this shape: 512x128, scalar."),
    Filter("unit", "units", "data", _units, "GLOB", "Only keys of this unit."),
    Filter("proposal", "proposals", "run", _each(_proposal), "P",
           "Only this proposal (2012 or p002012); may be repeated.", "-p"),
    Filter("run", "runs", "run", _each(_run_range), "R",
           "Only this run (5 or r0005) or range of runs (5-10); may be repeated.", "-r"),
    Filter("instrument", "instruments", "run", _each(str), "NAME", "Only this instrument.", "-i"),
    Filter("cycle", "cycles", "run", _each(str), "CYCLE", "Only this cycle."),
    Filter("data_class", "data_classes", "run", _each(str), "CLASS",
           "Only this data class (raw, proc, ...).", "-d"),
    Filter("since", "since", "run", parse_time, "TIME",
           "Only runs with trains at or after this time (UTC): 2024-05-01, 2024-05-01T12:30, or how"
           " long ago: 12h, 3d, 2w, 1month.", is_repeated=False),
    Filter("until", "until", "run", parse_time, "TIME",
           "Only runs with trains before this time.", is_repeated=False),
    Filter("sample", "samples", "run", _each(str), "GLOB", "Only runs with this sample."),
    Filter("run_type", "run_types", "run", _each(str), "GLOB", "Only runs of this type."),
    Filter("below", "below", "run", _paths, "PATH", "Only runs at or below this path.",
           kind=Path),
)  # fmt: skip


def filters_of(*scopes: str) -> tuple[Filter, ...]:
    """The filters of some scopes, in the order of the table."""
    return tuple(f for f in FILTERS if f.scope in scopes)


def parse_filters(choice: Mapping[str, Any], *scopes: str) -> dict[str, Any]:
    """The fields that a choice of filters sets, by name; None leaves a field as it is.

    Raises QueryError for a filter that is not of these scopes, or a value that has no meaning.
    """
    known = {f.name: f for f in filters_of(*scopes)}
    for name in choice:
        if name not in known:
            hint = " or ".join(nearest(name, known)) or ", ".join(known)
            raise QueryError(f"there is no filter {name!r}; use {hint}")
    given = {name: value for name, value in choice.items() if value is not None}
    return {known[name].part: known[name].parse(value) for name, value in given.items()}


class RunChoice(TypedDict, total=False):
    """The filters of runs by their own row."""

    proposal: Numbers | None
    run: Numbers | None
    instrument: Texts | None
    cycle: Numbers | None
    data_class: Texts | None
    since: Moment | None
    until: Moment | None
    sample: Texts | None
    run_type: Texts | None
    below: Paths | None


class _Having(RunChoice, total=False):
    train: Trains | None
    min_trains: int | float | str | None
    has: "Spec | list[Spec] | None"
    has_not: "Spec | list[Spec] | None"


class _Data(TypedDict, total=False):
    device_class: Patterns | None
    dtype: Any
    shape: Shape | Iterable[Shape] | None
    unit: Patterns | None


# The keyword arguments of questions that do not name some of them as parameters of their own.
class RunsChoice(_Having, total=False):
    """All filters of runs."""

    where: str | Mapping[Any, Any] | Sequence[Any] | None


class KeyChoice(RunsChoice, _Data, total=False):
    """The same, and what sources and keys are like."""


class SourceChoice(KeyChoice, total=False):
    """The same, and names of keys."""

    key: Patterns | None


class Choice(SourceChoice, total=False):
    """The same, and names of sources: all that there are."""

    source: Patterns | None


class ConditionChoice(_Having, _Data, total=False):
    """All but ``where``."""

    key: Patterns | None
    source: Patterns | None


def spell_filters(cls: type[T]) -> type[T]:
    """A class whose methods name their filters, in their signature and their docstring.

    Programs that show or complete the arguments of a function (``help``, IPython) see nothing in
    ``**where: Unpack[Choice]``.
    """
    for method in vars(cls).values():
        if not isinstance(method, FunctionType):
            continue
        signature = inspect.signature(method)
        named = list(signature.parameters.values())
        choice = get_args(named[-1].annotation) if named[-1].kind is named[-1].VAR_KEYWORD else ()
        if not choice or not hasattr(choice[0], "__optional_keys__"):
            continue
        filters = [f for f in FILTERS if f.name in choice[0].__optional_keys__]
        kind = inspect.Parameter.KEYWORD_ONLY
        spelt = [inspect.Parameter(f.name, kind, default=None) for f in filters]
        spelled = signature.replace(parameters=[*named[:-1], *spelt])
        method.__signature__ = spelled  # type: ignore[attr-defined]
        method.__doc__ = _with_filters(inspect.cleandoc(method.__doc__ or ""), filters)
    return cls


def _with_filters(doc: str, filters: Sequence[Filter]) -> str:
    """A numpydoc docstring with the filters, before what the method returns or raises."""
    lines = ["Other Parameters", "----------------"]
    for f in filters:
        about = re.sub(r"(;| and) may be repeated", "; or several in a list", f.help)
        lines += [
            f.name,
            *textwrap.wrap(about, 92, initial_indent="    ", subsequent_indent="    "),
        ]
    text = "\n".join(lines) + "\n\n"
    m = re.search(r"^(Returns|Raises|Examples)\n-+$", doc, re.M)
    return doc[: m.start()] + text + doc[m.start() :] if m else f"{doc}\n\n{text}"


# Runs -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs for which every part that is not empty holds."""

    proposals: tuple[int, ...] = ()
    """Numbers of proposals."""
    runs: tuple[tuple[int, int], ...] = ()
    """(first, last) run numbers, both included."""
    instruments: tuple[str, ...] = ()
    """Names or globs, of which one must match; so are cycles and data classes."""
    cycles: tuple[str, ...] = ()
    """Names or globs of cycles."""
    data_classes: tuple[str, ...] = ()
    """Names or globs of data classes."""
    since: datetime | None = None
    """Runs with trains in the half-open interval from this time (UTC, without zone) on; runs whose
    files record no times are in no interval."""
    until: datetime | None = None
    """The end of that interval."""
    samples: tuple[str, ...] = ()
    """Names or globs of samples, as the files record them."""
    run_types: tuple[str, ...] = ()
    """Names or globs of the types of runs, as the files record them."""
    below: tuple[str, ...] = ()
    """Absolute paths: the runs that were seen there, or below."""

    @classmethod
    def of(cls, **choice: Unpack[RunChoice]) -> "RunFilter":
        """A filter from what people write; None leaves a part open.

        ``proposal`` is 2012, ``"2012"`` or ``"p002012"``; ``run`` 243, ``"r0243"`` or a range
        ``"5-10"`` with both ends; several of them where more than one will do. Times are ISO dates
        and times (UTC unless they name a zone), or how long ago: ``"3d"``, ``"12h"``.

        Raises QueryError for anything else.
        """
        filter_ = cls(**parse_filters(choice, "run"))
        if filter_.since and filter_.until and filter_.since >= filter_.until:
            raise QueryError(f"no time is from {filter_.since} on and before {filter_.until}")
        return filter_

    @classmethod
    def named(cls, text: str | os.PathLike[str]) -> "RunFilter":
        """The runs that a text names: a proposal, a data class or run of it, or a path.

        ``p900010``, ``p900010/raw`` and ``p900010/raw/r0001`` are names, anything else is a path
        (``./p900010`` too): the run there, or all runs below.
        """
        m = _NAME.fullmatch(os.fspath(text))
        if m is None:
            return cls.of(below=text)
        return cls(
            proposals=(int(m["proposal"]),),
            data_classes=(m["data_class"],) if m["data_class"] else (),
            runs=((int(m["run"]), int(m["run"])),) if m["run"] else (),
        )

    def conditions(self, *, undated: bool = False) -> list[Sql]:
        """The conditions on ``run``, a row of the table or of the view of runs.

        ``undated`` is for the runs that only a question about time leaves out, having no times.
        """
        times = [Sql("run.started_at IS NULL")] if undated else []
        if self.since and not undated:
            times.append(sql("run.ended_at >= {since}", since=self.since))
        if self.until and not undated:
            times.append(sql("run.started_at < {until}", until=self.until))
        parts = [
            [sql("run.proposal = {number}", number=number) for number in self.proposals],
            [sql("run.run BETWEEN {low} AND {high}", low=low, high=up) for low, up in self.runs],
            [text_matches("run.instrument", glob) for glob in self.instruments],
            [text_matches("run.cycle", glob) for glob in self.cycles],
            [text_matches("run.data_class", glob) for glob in self.data_classes],
            [text_matches("run.sample", glob) for glob in self.samples],
            [text_matches("run.run_type", glob) for glob in self.run_types],
            [_seen_below(self.below)] if self.below else [],
        ]
        return [*(any_of(part) for part in parts if part), *times]


ALL_RUNS = RunFilter()


def _seen_below(paths: tuple[str, ...]) -> Sql:
    def below(column: str) -> Sql:
        each = f"{column} = {{path}} OR starts_with({column}, {{folder}})"
        texts = map(to_text, paths)
        return any_of(sql(each, path=text, folder=text.rstrip("/") + "/") for text in texts)

    seen = "run.run_id IN (SELECT run_id FROM run_location AS seen WHERE {seen}) OR {realpath}"
    return sql(seen, seen=below("seen.path"), realpath=below("run.realpath"))


# Depth.NAMES and Depth.OUTLINE, whose module loads numpy.
OUTLINE_ONLY = "run.depth BETWEEN 1 AND 2"


def provenance(cursor: "Cursor", store: "Store", where: RunFilter = ALL_RUNS) -> Provenance:
    """How many runs a question with this filter searches, and how far they are known."""
    counted = (
        f"SELECT count(*), count(*) FILTER ({OUTLINE_ONLY}), min(run.ingested_at)"
        " FROM run WHERE {filter}"
    )

    def count(undated: bool) -> tuple[Any, ...]:
        statement = sql(counted, filter=all_of(where.conditions(undated=undated)))
        return tuple(column[0].as_py() for column in ask(cursor, statement).columns)

    n_runs, n_outline_only, oldest = count(undated=False)
    n_undated = count(undated=True)[0] if where.since or where.until else 0  # as old files are
    return Provenance(str(store.location), n_runs, n_outline_only, n_undated, oldest)


# Sources and keys -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataFilter:
    """Sources and keys for which every part that is not empty holds; one of each part must match.

    Keys of CONTROL sources match with their ending ``.value`` or without, and timestamps only where
    the pattern itself ends in ``timestamp``.
    """

    sources: tuple[Pattern, ...] = ()
    """Names of sources."""
    keys: tuple[Pattern, ...] = ()
    """Names of keys."""
    device_classes: tuple[Pattern, ...] = ()
    """What RUN records as ``classId``, for the sources of a device's pipelines too."""
    dtypes: tuple[str, ...] = ()
    """numpy's names, as the catalog has them."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes of one entry."""
    units: tuple[Pattern, ...] = ()
    """Units as they are shown, but for micro: ``mm``, ``uJ``."""

    @classmethod
    def of(cls, **choice: Any) -> "DataFilter":
        """A filter from what people write; None leaves a part open.

        Names are globs, or regular expressions (``re.compile(...)`` or ``"re:..."``). ``dtype`` is
        ``"float32"``, ``"<f4"``, ``"str"``; ``shape`` of one entry ``(512, 128)``, ``"512x128"``,
        ``()`` or ``"scalar"``.

        Raises QueryError for anything else.
        """
        return cls(**parse_filters(choice, "data"))

    @classmethod
    def parse(cls, spec: "Spec") -> "DataFilter":
        """What ``"SOURCE"``, ``"SOURCE KEY"`` or ``(source, key)`` names.

        Raises QueryError for anything else.
        """
        if isinstance(spec, DataFilter):
            return spec
        words = tuple(spec.split()) if isinstance(spec, str) else spec
        if not isinstance(words, tuple) or not 1 <= len(words) <= 2:
            raise QueryError(f"{spec!r} names no data: write 'SOURCE' or 'SOURCE KEY'")
        return cls.of(source=words[0], key=words[1] if len(words) == 2 else None)

    def __str__(self) -> str:
        named = [self.sources, self.keys] if self.keys else [self.sources]
        return " ".join("|".join(map(str, part)) or "*" for part in named)

    @property
    def is_about_keys(self) -> bool:
        """Whether the keys of a source decide, so that a run known by outline cannot match."""
        return bool(self.keys or self.dtypes or self.shapes or self.units)

    @property
    def is_empty(self) -> bool:
        """Whether everything matches."""
        return self == ALL_DATA

    def found_sources(self) -> Sql:
        """source_id, name and place (in the order of names) of the sources that match.

        Sorting by a number costs a tenth of sorting by names, which repeat in every run.
        """
        named = [p.matches("source.name") for p in self.sources]
        is_any = not self.sources or any(p.is_any for p in self.sources)
        return sql(
            "(SELECT source_id, name, row_number() OVER (ORDER BY name) AS place"
            " FROM source WHERE {named})",
            named=Sql("true") if is_any else any_of(named),
        )

    def found_keys(self) -> Sql:
        """key_id, name, is_control and place of the keys that match, in CONTROL and elsewhere."""
        patterns = self.keys or (Pattern("*"),)
        return sql(
            "(SELECT *, row_number() OVER (ORDER BY name) AS place FROM ("
            " SELECT key_id, name, true AS is_control FROM key WHERE {control}"
            " UNION ALL SELECT key_id, name, false FROM key WHERE {other}))",
            control=any_of(control_key_matches(p, "key.name") for p in patterns),
            other=any_of(p.matches("key.name") for p in patterns),
        )

    def key_conditions(self) -> list[Sql]:
        """The conditions on rows of ``schema_key`` but for the name."""
        shape = "schema_key.entry_shape = {shape}::BIGINT[]"
        parts = [
            [sql("schema_key.dtype = {dtype}", dtype=dtype) for dtype in self.dtypes],
            [sql(shape, shape=list(s)) for s in self.shapes],
            [p.matches(sql_ascii_unit(UNIT)) for p in self.units],
        ]
        return [any_of(part) for part in parts if part]

    def groups(self, *conditions: Sql) -> Sql:
        """The rows of ``run_source`` that match, and fulfil further conditions."""
        parts = [*conditions, *self.class_conditions()]
        if self.sources:
            found = "run_source.source_id IN (SELECT source_id FROM {sources})"
            parts.append(sql(found, sources=self.found_sources()))
        keys = Sql("")
        if self.is_about_keys:
            keys = sql(
                "JOIN (SELECT DISTINCT schema_id, index_group, is_control"
                " FROM schema_key JOIN {keys} AS found_key USING (key_id) WHERE {like}"
                ") AS found_group ON found_group.schema_id = run_source.schema_id"
                " AND found_group.index_group = run_source.index_group"
                " AND found_group.is_control = (run_source.section = 'CONTROL')",
                keys=self.found_keys(),
                like=all_of(self.key_conditions()),
            )
        return sql(
            "(SELECT run_source.* FROM run_source {keys} WHERE {parts})",
            keys=keys,
            parts=all_of(parts),
        )

    def class_conditions(self) -> list[Sql]:
        """The conditions on rows of ``run_source`` that their device is of a class."""
        if not self.device_classes:
            return []
        # A pipeline "DEVICE:channel" is of the class of its device.
        return [
            sql(
                """EXISTS (FROM (
                    SELECT pipeline.source_id, value.first_run, value.last_run
                    FROM source AS pipeline
                    JOIN source AS device ON device.name = split_part(pipeline.name, ':', 1)
                    JOIN run_value AS value ON value.source_id = device.source_id
                    JOIN key ON key.key_id = value.key_id
                    WHERE key.name = 'classId.value' AND ({classes})
                ) AS of_class WHERE of_class.source_id = run_source.source_id
                AND run_source.run_id BETWEEN of_class.first_run AND of_class.last_run)""",
                classes=any_of(p.matches("value.text") for p in self.device_classes),
            )
        ]


ALL_DATA = DataFilter()
# What names data where several are listed: "SOURCE", "SOURCE KEY" or (source, key).
Spec = str | tuple[PatternLike, PatternLike] | DataFilter
# The unit of a row of ``schema_key`` as it is shown: "mm", "μJ"; NULL for none.
UNIT = sql_unit("schema_key")


def control_key_matches(pattern: Pattern, name: str) -> Sql:
    """The condition that the key of a CONTROL source, stored with its ending, matches."""
    regex = f"(?:{pattern.regex}){re.escape(VALUE_ENDING)}"
    ending = sql(f"regexp_full_match({name}, {{regex}})", regex=regex)
    matches = any_of([pattern.matches(name), ending])
    if pattern.text.endswith("timestamp"):
        return matches
    return all_of([matches, Sql(f"{name} NOT LIKE '%.timestamp'")])
