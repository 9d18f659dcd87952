"""What can be asked of all runs, said in one set of filters?

A ``Question`` is made by ``Question.of`` from the keyword arguments that the methods of ``Catalog``
share (``Choice``), and by the options of ``xfelcat find``: which runs, which data,
and what the runs must have, lack, or have recorded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..model.errors import QueryError, nearest
from .conditions import Condition, conditions_of
from .evaluate import Evaluation
from .execute import ask, is_one_of, numbers
from .filters import ALL_RUNS, RunChoice, RunFilter
from .selection import ALL_DATA, DataFilter, Patterns, Shape, Spec

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import ColumnElement, FromClause, Select

__all__ = [
    "EVERYTHING",
    "Choice",
    "Chosen",
    "ConditionChoice",
    "KeyChoice",
    "Question",
    "RunsChoice",
    "SourceChoice",
    "choose",
]

Trains = int | str | tuple[int, int] | slice


class _Having(RunChoice, total=False):
    train: Trains | None
    min_trains: int | None
    has: Spec | list[Spec] | None
    has_not: Spec | list[Spec] | None


class _Where(TypedDict, total=False):
    where: str | Mapping[Any, Any] | Sequence[Any] | None


class _Data(TypedDict, total=False):
    device_class: Patterns | None
    dtype: Any
    shape: Shape | Iterable[Shape] | None
    unit: Patterns | None


class _Key(TypedDict, total=False):
    key: Patterns | None


class _Source(TypedDict, total=False):
    source: Patterns | None


# The keyword arguments of questions that do not name some of them as parameters of their own.
class RunsChoice(_Having, _Where, total=False):
    """The keyword arguments by which questions choose runs."""


class KeyChoice(RunsChoice, _Data, total=False):
    """The same, and what sources and keys are like."""


class SourceChoice(KeyChoice, _Key, total=False):
    """The same, and names of keys."""


class Choice(SourceChoice, _Source, total=False):
    """The same, and names of sources: all that there are."""


class ConditionChoice(_Having, _Data, _Key, _Source, total=False):
    """All but ``where``."""


_OF_RUNS = tuple(RunChoice.__annotations__)
_OF_DATA = ("source", "key", "device_class", "dtype", "shape", "unit")
_OTHERS = ("train", "min_trains", "has", "has_not", "where")


@dataclass(frozen=True, slots=True)
class Question:
    """Runs for which every part holds, and data of them.

    ``trains`` is a range of train IDs, both ends included, of which a run must have one.
    ``min_trains`` is the number of its trains or, in questions about data, of trains with data.
    ``has`` and ``has_not`` must each match something, and nothing, in a run.
    """

    runs: RunFilter = ALL_RUNS
    data: DataFilter = ALL_DATA
    trains: tuple[int, int] | None = None
    min_trains: int = 0
    has: tuple[DataFilter, ...] = ()
    has_not: tuple[DataFilter, ...] = ()
    where: Condition | None = None

    @classmethod
    def of(cls, **choice: Any) -> "Question":
        """A question from the keyword arguments of ``Choice``; None leaves a part open.

        Raises QueryError for a name that is not among them, or a value that means nothing.
        """
        for name in choice:
            if name not in (*_OF_RUNS, *_OF_DATA, *_OTHERS):
                names = (*_OF_RUNS, *_OTHERS, *_OF_DATA)
                hint = " or ".join(nearest(name, names)) or ", ".join(names)
                raise QueryError(f"there is no filter {name!r}; use {hint}")
        train, min_trains = choice.get("train"), choice.get("min_trains")
        if min_trains is not None and (not isinstance(min_trains, int) or min_trains < 0):
            raise QueryError(f"min_trains={min_trains!r}: give a number of trains")
        return cls(
            runs=RunFilter.of(**{n: choice[n] for n in _OF_RUNS if n in choice}),
            data=DataFilter.of(**{n: choice[n] for n in _OF_DATA if n in choice}),
            trains=None if train is None else _train_range(train),
            min_trains=min_trains or 0,
            has=_specs(choice.get("has")),
            has_not=_specs(choice.get("has_not")),
            where=conditions_of(choice.get("where")),
        )


EVERYTHING = Question()


def _train_range(given: Trains) -> tuple[int, int]:
    """First and last train ID, both included, of a train ID or a range of them.

    A range is ``(first, last)``, ``"first-last"``, or a half-open ``slice(first, end)``.

    Raises QueryError for anything else.
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


def _specs(given: Any) -> tuple[DataFilter, ...]:
    if given is None:
        return ()
    several = given if isinstance(given, list) else [given]
    return tuple(DataFilter.parse(spec) for spec in several)


# Which runs does a question choose, and how is a statement told?
#
# Conditions on the table of runs go into SQL as they are. All others (trains, what a run has or
# lacks, RUN values) are looked at beforehand, each by one statement, as sets of run ids.
#
# 1. ``choose`` gives the ``Chosen``.
# 2. ``Chosen.conditions`` are what it means to a statement that reads ``run``, and a larger table.

RunIds = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs that a question is about.

    ``ids``, sorted, are None where all runs are; ``is_narrowed`` says that they are not all that
    the filter of runs chooses. ``evaluation`` has the RUN values that were asked for.
    """

    question: Question
    ids: RunIds | None = None
    is_narrowed: bool = False
    evaluation: Evaluation | None = None

    def conditions(
        self, runs: "FromClause", *larger: "ColumnElement[Any]"
    ) -> "list[ColumnElement[bool]]":
        """The conditions on ``runs``; ``larger`` are the run ids of larger tables joined to it."""
        found = self.question.runs.conditions(runs)
        if self.ids is None:
            return found
        if self.is_narrowed:
            found = [is_one_of(runs.c.run_id, self.ids)]
        # Large tables are in the order of runs: most of their blocks need not be read.
        low, high = (self.ids[0], self.ids[-1]) if self.ids.size else (1, 0)
        return [*found, *(ids.between(int(low), int(high)) for ids in larger)]


def choose(cursor: "duckdb.DuckDBPyConnection", question: Question, *has: DataFilter) -> Chosen:
    """The runs that a question is about, and that ``has`` match something in."""
    if question == Question(data=question.data) and not has:
        return Chosen(question)
    ids, first, last = _candidates(cursor, question)
    n_before = ids.size
    if question.trains:
        ids = ids[_has_train(cursor, ids, first, last, question.trains)]
    for filter_ in (*question.has, *has):
        ids = np.intersect1d(ids, _having(cursor, filter_, ids), assume_unique=True)
    for filter_ in question.has_not:
        ids = np.setdiff1d(ids, _having(cursor, filter_, ids), assume_unique=True)
    evaluation = None
    if question.where is not None:
        evaluation = Evaluation(cursor, ids, question.where)
        ids = ids[evaluation.holds]
    is_narrowed = ids.size < n_before or bool(question.min_trains or question.trains)
    return Chosen(question, ids, is_narrowed, evaluation)


def _candidates(
    cursor: "duckdb.DuckDBPyConnection", question: Question
) -> tuple[RunIds, RunIds, RunIds]:
    """Ids, and first and last trains (0 where there are none), by the table of runs alone."""
    from sqlalchemy import func, select

    from ..store.schema import run

    trains = (func.coalesce(c, 0).label(c.name) for c in (run.c.first_train, run.c.last_train))
    statement = select(run.c.run_id, *trains).where(*question.runs.conditions(run))
    if question.min_trains:
        statement = statement.where(run.c.n_trains >= question.min_trains)
    if question.trains:
        low, high = question.trains
        statement = statement.where(run.c.first_train <= high, run.c.last_train >= low)
    table = ask(cursor, statement.order_by(run.c.run_id))
    ids, first, last = (numbers(column).astype(np.uint64) for column in table.columns)
    return ids, first, last


def _has_train(
    cursor: "duckdb.DuckDBPyConnection",
    ids: RunIds,
    first: RunIds,
    last: RunIds,
    trains: tuple[int, int],
) -> NDArray[np.bool_]:
    """Which of the runs have a train of a range, both ends included."""
    from sqlalchemy import func, select

    from ..store.schema import train_list

    low, high = (np.uint64(t) for t in trains)
    has_one = ((first >= low) & (first <= high)) | ((last >= low) & (last <= high))
    around = (first < low) & (last > high)  # and may have a gap there
    if not around.any():
        return has_one
    ranges = (
        select(
            train_list.c.run_id,
            func.unnest(train_list.c.starts).label("start"),
            func.unnest(train_list.c.lengths).label("n"),
        )
        .where(is_one_of(train_list.c.run_id, ids[around]))
        .subquery()
    )
    end = ranges.c.start + ranges.c.n
    found = select(ranges.c.run_id).where(ranges.c.start <= int(high), end > int(low))
    return has_one | np.isin(ids, _ids(cursor, found))


def _having(cursor: "duckdb.DuckDBPyConnection", filter_: DataFilter, among: RunIds) -> RunIds:
    """The runs, at least those ``among`` some, that have data that a filter matches."""
    if not among.size:
        return among
    from sqlalchemy import select

    groups = filter_.groups().subquery("matching_group")
    span = groups.c.run_id.between(int(among[0]), int(among[-1]))
    return _ids(cursor, select(groups.c.run_id).where(span))


def _ids(cursor: "duckdb.DuckDBPyConnection", statement: "Select[Any]") -> RunIds:
    found: RunIds = numbers(ask(cursor, statement.distinct()).column(0))
    return np.sort(found)
