"""Which runs does a question choose, and how is a statement told?

Conditions on the table of runs go into SQL as they are. All others (trains, what a run has or
lacks, RUN values) are looked at beforehand, each by one statement, as sets of run ids.

1. ``choose`` gives the ``Chosen``.
2. ``Chosen.conditions`` are what it means to a statement that reads ``run``, and a larger table.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .answers import ask, is_one_of, numbers
from .data_filter import DataFilter
from .question import Question
from .values import Evaluation

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import ColumnElement, FromClause, Select

__all__ = ["Chosen", "choose"]

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
