"""Which runs is a question about?

A ``RunFilter`` says it; every question over runs takes one.

1. ``RunFilter.of`` makes one from what people write (``"p900010"``, ``"5-10"``, ``"2024-05-01"``),
   ``RunFilter.named`` from what names runs (``"p900010/raw/r0001"``, a path).
2. ``RunFilter.conditions`` gives the SQL conditions on a table or view with a run's columns.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from ..model.errors import QueryError
from ..model.identity import parse_proposal, parse_run
from ..store.packing import to_text, to_utc
from .patterns import text_matches

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause

__all__ = ["ALL_RUNS", "RunChoice", "RunFilter", "parse_time"]

# What people may give: one of a thing or several.
Numbers = int | str | Iterable[int | str]
Texts = str | Iterable[str]
Moment = str | date | datetime
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_AGO = re.compile(r"(\d+)\s*(min|h|d|w)")
_NAME = re.compile(
    r"p(?P<proposal>\d{1,6})(?:/(?P<data_class>[^*?\[]+?)(?:/r(?P<run>\d{1,6}))?)?/?"
)
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class RunChoice(TypedDict, total=False):
    """The keyword arguments by which questions choose runs: those of ``RunFilter.of``."""

    proposal: Numbers | None
    run: Numbers | None
    instrument: Texts | None
    cycle: Numbers | None
    data_class: Texts | None
    since: Moment | None
    until: Moment | None
    below: Paths | None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs for which every part that is not empty holds.

    ``runs`` are (first, last) run numbers, both included. ``instruments``, ``cycles`` and
    ``data_classes`` are names or globs; one of each must match. ``since`` and ``until`` (UTC,
    without zone) take the runs with trains in this half-open interval; runs whose files record no
    times are in no interval. ``below`` are absolute paths: the runs that were seen there, or below.
    """

    proposals: tuple[int, ...] = ()
    runs: tuple[tuple[int, int], ...] = ()
    instruments: tuple[str, ...] = ()
    cycles: tuple[str, ...] = ()
    data_classes: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    below: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        proposal: Numbers | None = None,
        run: Numbers | None = None,
        instrument: Texts | None = None,
        cycle: Numbers | None = None,
        data_class: Texts | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        below: Paths | None = None,
    ) -> "RunFilter":
        """A filter from what people write; None leaves a part open.

        ``proposal`` is 2012, ``"2012"`` or ``"p002012"``; ``run`` 243, ``"r0243"`` or a range
        ``"5-10"`` with both ends; several of them where more than one will do. Times are ISO dates
        and times (UTC unless they say otherwise), or how long ago: ``"3d"``, ``"12h"``.

        Raises QueryError for anything else.
        """
        filter_ = cls(
            proposals=tuple(map(_proposal, _several(proposal))),
            runs=tuple(map(_run_range, _several(run))),
            instruments=tuple(map(str, _several(instrument))),
            cycles=tuple(map(str, _several(cycle))),
            data_classes=tuple(map(str, _several(data_class))),
            since=None if since is None else parse_time(since),
            until=None if until is None else parse_time(until),
            below=tuple(dict.fromkeys(p for path in _several(below) for p in _places(path))),
        )
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

    @property
    def is_timed(self) -> bool:
        """Whether it asks about times, which old files do not record."""
        return self.since is not None or self.until is not None

    def conditions(self, runs: "FromClause") -> list["ColumnElement[bool]"]:
        """The conditions on a table or view with the columns of ``runs``."""
        return [*self._conditions_but_time(runs), *self._time_conditions(runs)]

    def undated(self, runs: "FromClause") -> list["ColumnElement[bool]"]:
        """The conditions on runs that only the question about time leaves out, having no times."""
        return [*self._conditions_but_time(runs), runs.c.started_at.is_(None)]

    def _conditions_but_time(self, runs: "FromClause") -> list["ColumnElement[bool]"]:
        from sqlalchemy import or_

        found: list[ColumnElement[bool]] = []
        if self.proposals:
            found.append(runs.c.proposal.in_(self.proposals))
        if self.runs:
            found.append(or_(*(runs.c.run.between(low, high) for low, high in self.runs)))
        for column, globs in (
            (runs.c.instrument, self.instruments),
            (runs.c.cycle, self.cycles),
            (runs.c.data_class, self.data_classes),
        ):
            if globs:
                found.append(or_(*(text_matches(column, g) for g in globs)))
        if self.below:
            found.append(_seen_below(runs, self.below))
        return found

    def _time_conditions(self, runs: "FromClause") -> list["ColumnElement[bool]"]:
        found = []
        if self.since:
            found.append(runs.c.ended_at >= self.since)
        if self.until:
            found.append(runs.c.started_at < self.until)
        return found


ALL_RUNS = RunFilter()


def _seen_below(runs: "FromClause", paths: tuple[str, ...]) -> "ColumnElement[bool]":
    from sqlalchemy import func, or_, select

    from ..store.schema import run_location

    def is_below(column: "ColumnElement[Any]", path: str) -> "ColumnElement[bool]":
        text = to_text(path)
        return or_(column == text, func.starts_with(column, text.rstrip("/") + "/"))

    seen = or_(*(is_below(run_location.c.path, path) for path in paths))
    return or_(
        runs.c.run_id.in_(select(run_location.c.run_id).where(seen)),
        *(is_below(runs.c.realpath, path) for path in paths),
    )


def parse_time(moment: Moment) -> datetime:
    """A time in UTC, without zone, from an ISO date or time, or from how long ago it was."""
    if isinstance(moment, datetime):
        return to_utc(moment)
    if isinstance(moment, date):
        return datetime(moment.year, moment.month, moment.day)
    if ago := _AGO.fullmatch(moment.strip()):
        back = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.now(UTC).replace(tzinfo=None) - back
    try:
        return to_utc(datetime.fromisoformat(moment.strip()))
    except ValueError:
        raise QueryError(
            f"{moment!r} is no time: write 2024-05-01, 2024-05-01T12:30 (UTC),"
            " or how long ago: 30min, 12h, 3d, 2w"
        ) from None


def _several(given: Any) -> Iterable[Any]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str | int | os.PathLike) else given


def _places(path: str | os.PathLike[str]) -> tuple[str, str]:
    """A path as it is known to the catalog: absolute, and with its links resolved."""
    absolute = os.path.abspath(os.path.expanduser(path))
    return absolute, os.path.realpath(absolute)


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
