"""A question over runs, and the selection of runs that it makes.

Conditions on the table of runs go into the SQL of an answer as they are. All others (trains, what a
run has or lacks, RUN values) are looked up beforehand, each by one statement, as sets of run ids.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.errors import QueryError
from ..model.runlength import UInt64s
from ..store.connections import Cursor
from .conditions import Condition
from .evaluate import Evaluation
from .execute import Sql, all_of, ask, is_one_of, numbers, sql
from .filters import (
    ALL_DATA,
    ALL_RUNS,
    DataFilter,
    RunFilter,
    filters_of,
    parse_filters,
    trains_at_least,
)

RunIds = UInt64s
# Columns by which answers name a run, and the same in SQL.
OF_RUN = ["run_id", "proposal", "run", "data_class", "instrument", "cycle"]
OF_RUN_SQL = ", ".join(f"run.{name}" for name in OF_RUN)


@dataclass(frozen=True, slots=True)
class Question:
    """Runs for which every part holds, and data of them."""

    runs: RunFilter = ALL_RUNS
    """The runs, by their own rows."""
    data: DataFilter = ALL_DATA
    """Which sources and keys the rows of an answer are about."""
    trains: tuple[int, int] | None = None
    """A range of train IDs, both ends included, of which a run must have one."""
    min_trains: int | float = 0
    """The least number of trains of a run or, in questions about data, of trains with data. A float
    is a share of the trains of the run, which data have."""
    has: tuple[DataFilter, ...] = ()
    """Each must match something in a run."""
    has_not: tuple[DataFilter, ...] = ()
    """Each must match nothing in a run."""
    where: Condition | None = None
    """A condition on RUN values or profiles."""

    @classmethod
    def of(cls, **choice: Any) -> "Question":
        """A question from the keyword arguments of ``Choice``; None leaves a part open.

        Raises QueryError for a name that is not among them, or a value that has no meaning.
        """
        parse_filters(dict.fromkeys(choice), "run", "having", "data")
        chosen = {
            scope: {f.name: choice[f.name] for f in filters_of(scope) if f.name in choice}
            for scope in ("run", "having", "data")
        }
        return cls(
            runs=RunFilter.of(**chosen["run"]),
            data=DataFilter.of(**chosen["data"]),
            **parse_filters(chosen["having"], "having"),
        )


EVERYTHING = Question()


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a question selects."""

    question: Question
    ids: RunIds | None = None
    """Sorted; None where all runs are selected."""
    is_narrowed: bool = False
    """Whether they are fewer than the filter of runs selects by itself."""
    evaluation: Evaluation | None = None
    """The RUN values that the question has a condition on."""

    def conditions(self, *larger: str) -> list[Sql]:
        """The conditions on ``run``; ``larger`` are the run ids of larger tables joined to it."""
        found = self.question.runs.conditions()
        if self.ids is None:
            return found
        if self.is_narrowed:
            found = [is_one_of("run.run_id", self.ids)]
        return [*found, *(self.span(column) for column in larger)]

    def conditions_on(self, run_id: str) -> list[Sql]:
        """The conditions on a table or view that has nothing of a run but its id."""
        found = self.conditions()
        span = [] if self.ids is None else [self.span(run_id)]
        if not found:
            return span
        chosen = f"{run_id} IN (SELECT run.run_id FROM run WHERE {{conditions}})"
        return [sql(chosen, conditions=all_of(found)), *span]

    def span(self, run_id: str) -> Sql:
        """The condition that a run id lies between the first and the last.

        Large tables are in the order of runs: most of their blocks need not be read then.
        """
        assert self.ids is not None
        low, high = (self.ids[0], self.ids[-1]) if self.ids.size else (1, 0)
        return sql(f"{run_id} BETWEEN {{low}} AND {{high}}", low=int(low), high=int(high))


def select_runs(cursor: Cursor, question: Question, *has: DataFilter) -> Selection:
    """The runs that a question selects, and that ``has`` match something in."""
    if question == Question(data=question.data) and not has:
        return Selection(question)
    conditions = question.runs.conditions()
    if isinstance(question.min_trains, float):
        if question.data.is_empty:
            share = f"{question.min_trains:.0%}"
            raise QueryError(f"min_trains={share} of what? Name the data: a source, a key, ...")
    elif question.min_trains:
        conditions.append(trains_at_least(question.min_trains, "run.n_trains"))
    if question.trains:
        low, high = question.trains
        overlaps = "run.first_train <= {high} AND run.last_train >= {low}"
        conditions.append(sql(overlaps, low=low, high=high))
    statement = sql(
        "SELECT run.run_id, coalesce(run.first_train, 0), coalesce(run.last_train, 0)"
        " FROM run WHERE {conditions} ORDER BY run.run_id",
        conditions=all_of(conditions),
    )
    table = ask(cursor, statement)
    ids, first, last = (numbers(column).astype(np.uint64) for column in table.columns)
    n_before = ids.size
    if question.trains:
        ids = ids[_has_train(cursor, ids, first, last, question.trains)]
    if isinstance(question.min_trains, float) and has:
        enough = trains_at_least(question.min_trains, "found.n_trains")
        ids = np.intersect1d(ids, _having(cursor, question.data, ids, enough), assume_unique=True)
    for filter_ in (*question.has, *has):
        ids = np.intersect1d(ids, _having(cursor, filter_, ids), assume_unique=True)
    for filter_ in question.has_not:
        ids = np.setdiff1d(ids, _having(cursor, filter_, ids), assume_unique=True)
    evaluation = None
    if question.where is not None:
        evaluation = Evaluation(cursor, ids, question.where)
        ids = ids[evaluation.holds]
    is_narrowed = ids.size < n_before or bool(question.min_trains or question.trains)
    return Selection(question, ids, is_narrowed, evaluation)


def _has_train(
    cursor: Cursor, ids: RunIds, first: RunIds, last: RunIds, trains: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which of the runs have a train of a range, both ends included."""
    low, high = (np.uint64(t) for t in trains)
    has_one = ((first >= low) & (first <= high)) | ((last >= low) & (last <= high))
    around = (first < low) & (last > high)  # and may have a gap there
    if not around.any():
        return has_one
    found = sql(
        "SELECT DISTINCT run_id FROM"
        " (SELECT run_id, unnest(starts) AS first, unnest(lengths) AS n FROM train_list"
        "  WHERE {around}) WHERE first <= {high} AND first + n > {low}",
        around=is_one_of("run_id", ids[around]),
        high=int(high),
        low=int(low),
    )
    return has_one | np.isin(ids, _ids(cursor, found))


def _having(
    cursor: Cursor, filter_: DataFilter, among: RunIds, enough: Sql | None = None
) -> RunIds:
    """The runs, at least those ``among`` some, that have data that a filter matches.

    ``enough`` is a condition on ``found``, the rows of ``run_source``, and their ``run``.
    """
    if not among.size:
        return among
    joined = "" if enough is None else " JOIN run ON run.run_id = found.run_id"
    found = sql(
        f"SELECT DISTINCT found.run_id FROM {{groups}} AS found{joined}"
        " WHERE found.run_id BETWEEN {low} AND {high} AND {enough}",
        groups=filter_.groups(),
        enough=enough or Sql("true"),
        low=int(among[0]),
        high=int(among[-1]),
    )
    return _ids(cursor, found)


def _ids(cursor: Cursor, statement: Sql) -> RunIds:
    found: RunIds = numbers(ask(cursor, statement).column(0))
    return np.sort(found)
