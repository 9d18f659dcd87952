"""For how many of its trains does a run have this and that together?

The merged database counts trains per run, source and index group, which bounds how many trains two
of them have in common. Where the bounds differ, the index patterns in the shards tell, run by run;
for no more than ``most_decoded`` runs, in the order of runs.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..layout import RunIdentity
from ..records import Depth
from ..store.encoding import from_text
from ..store.facts import find_run
from ..store.store import Store
from .answers import Answer, ask, is_one_of
from .chosen import Chosen, choose
from .data_filter import DataFilter
from .queries import provenance
from .question import EVERYTHING, Question

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import Select

__all__ = ["coverage"]

Int64s = NDArray[np.int64]


def coverage(
    store: Store,
    data: Sequence[DataFilter],
    question: Question = EVERYTHING,
    *,
    at_least: float = 0.0,
    most_decoded: int = 500,
) -> Answer:
    """The runs that have all of ``data``, and for how many of their trains.

    Columns: run_id, proposal, run, data_class, instrument, cycle, trains (of the run), one for each
    of ``data`` (trains in which any source or index group that it matches has data), together
    (trains in which all have), at_most (the same, unless ``together`` is only a lower bound), path.
    ``at_least`` leaves out the runs that cannot have them together in this share of their trains.
    Runs of which only an outline is known are left out: their counts are not known.

    Raises QueryError where ``data`` is empty or ``at_least`` no share.
    """
    import pyarrow as pa

    if not data:
        raise QueryError(
            "coverage of what? Name one or several sources: '*XGM*', '*AGIPD* image.*'"
        )
    if not 0 <= at_least <= 1:
        raise QueryError(f"at_least={at_least}: give a share from 0 to 1")
    with store.read_merged() as cursor:
        chosen = choose(cursor, question, *data)
        runs = ask(cursor, _covered_runs(chosen))
        ids: NDArray[np.uint64] = runs.column("run_id").to_numpy()
        trains: Int64s = runs.column("trains").to_numpy()
        bounds = [_bounds(cursor, filter_, ids, trains) for filter_ in data]
        low = np.maximum(sum(b[0] for b in bounds) - (len(data) - 1) * trains, 0)
        high = reduce(np.minimum, (b[1] for b in bounds))
        wanted = (high > 0) & (high >= np.ceil(at_least * trains))
        open_ = np.flatnonzero(wanted & _differ(bounds, low, high))[:most_decoded]
        _decode(cursor, store, runs.take(pa.array(open_)), open_, data, bounds, low, high)
        wanted &= high >= np.ceil(at_least * trains)
        table = runs.select(_OF_RUN)
        for name, values in _named_columns(data, bounds, low, high).items():
            table = table.append_column(name, pa.array(values))
        table = table.append_column("path", runs.column("path"))
        return Answer(table.filter(pa.array(wanted)), provenance(cursor, store, question.runs))


_OF_RUN = ["run_id", "proposal", "run", "data_class", "instrument", "cycle", "trains"]
_Bounds = tuple[Int64s, Int64s]


def _covered_runs(chosen: Chosen) -> "Select[Any]":
    from sqlalchemy import select

    from ..store.schema import run

    return (
        select(
            *(run.c[name] for name in _OF_RUN[:-1]),
            run.c.n_trains.label("trains"),
            run.c.directory.label("path"),
            run.c.loose_path,
        )
        .where(*chosen.conditions(run), run.c.depth == Depth.FULL, run.c.n_trains > 0)
        .order_by(run.c.run_id)
    )


def _bounds(
    cursor: "duckdb.DuckDBPyConnection",
    filter_: DataFilter,
    ids: NDArray[np.uint64],
    trains: Int64s,
) -> _Bounds:
    """How many trains of each run have data of a filter, at least and at most."""
    from sqlalchemy import func, select

    low, high = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    if not ids.size:
        return low, high
    groups = filter_.groups().subquery("matching")
    of_group = (
        select(
            groups.c.run_id,
            groups.c.source_id,
            groups.c.index_group,
            func.sum(groups.c.n_trains).label("n"),
        )
        .where(groups.c.run_id.between(int(ids[0]), int(ids[-1])))
        .group_by(groups.c.run_id, groups.c.section, groups.c.source_id, groups.c.index_group)
        .subquery("of_group")
    )
    statement = select(
        of_group.c.run_id, func.max(of_group.c.n).label("most"), func.sum(of_group.c.n).label("all")
    ).group_by(of_group.c.run_id)
    table = ask(cursor, statement.where(of_group.c.n.is_not(None)))
    found = table.column("run_id").to_numpy()
    here = np.isin(found, ids)
    at = np.searchsorted(ids, found[here])
    low[at] = table.column("most").to_numpy()[here]
    high[at] = table.column("all").to_numpy()[here]
    return np.minimum(low, trains), np.minimum(high, trains)


def _differ(bounds: Sequence[_Bounds], low: Int64s, high: Int64s) -> NDArray[np.bool_]:
    """In which runs not all is known from the counts."""
    return reduce(np.logical_or, (b[0] != b[1] for b in bounds), low != high)


def _named_columns(
    data: Sequence[DataFilter], bounds: Sequence[_Bounds], low: Int64s, high: Int64s
) -> dict[str, Int64s]:
    columns = {}
    for number, (filter_, (_, most)) in enumerate(zip(data, bounds, strict=True)):
        name = str(filter_)
        columns[name if name not in columns else f"{name} ({number + 1})"] = most
    return columns | {"together": low, "at_most": high}


def _decode(
    cursor: "duckdb.DuckDBPyConnection",
    store: Store,
    runs: "pa.Table",
    at: NDArray[np.intp],
    data: Sequence[DataFilter],
    bounds: Sequence[_Bounds],
    low: Int64s,
    high: Int64s,
) -> None:
    """Replace the bounds of some runs, which are rows ``at`` of all, by what the shards say."""
    rows = runs.to_pylist()
    matching = [_matching_groups(cursor, filter_, [r["run_id"] for r in rows]) for filter_ in data]
    for row, position in zip(rows, at.tolist(), strict=True):
        sets = _trains_with_data(store, row, [m[row["run_id"]] for m in matching])
        if sets is None:  # forgotten since the databases were merged
            continue
        for (least, most), ids in zip(bounds, sets, strict=True):
            least[position] = most[position] = ids.size
        together = reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), sets)
        low[position] = high[position] = together.size


_Group = tuple[str, str, str]  # section, source, index group


def _matching_groups(
    cursor: "duckdb.DuckDBPyConnection", filter_: DataFilter, ids: Sequence[int]
) -> dict[int, set[_Group]]:
    from sqlalchemy import select

    from ..store.schema import source

    found: dict[int, set[_Group]] = defaultdict(set)
    if not ids:
        return found
    groups = filter_.groups().subquery("matching")
    statement = (
        select(groups.c.run_id, groups.c.section, source.c.name, groups.c.index_group)
        .join(source, source.c.source_id == groups.c.source_id)
        .where(
            is_one_of(groups.c.run_id, np.array(ids, np.uint64)),
            groups.c.run_id.between(min(ids), max(ids)),
        )
    )
    for row in ask(cursor, statement).to_pylist():
        found[row["run_id"]].add((row["section"], from_text(row["name"]), row["index_group"]))
    return found


def _trains_with_data(
    store: Store, run: dict[str, Any], wanted: Sequence[set[_Group]]
) -> list[NDArray[np.uint64]] | None:
    """The trains, sorted, in which any of some groups has data; for each of several such sets."""
    if run["loose_path"] is not None:
        identity = RunIdentity(loose_path=from_text(run["loose_path"]))
    else:
        identity = RunIdentity(run["proposal"], run["run"], from_text(run["data_class"]))
    facts = find_run(store, identity)
    if facts is None:
        return None
    found: list[list[NDArray[np.uint64]]] = [[np.zeros(0, np.uint64)] for _ in wanted]
    for file in range(len(facts.files)):
        ids = facts.trains(file).ids
        for section, source, group in facts.layout(file).slots:
            takers = [
                f for f, w in zip(found, wanted, strict=True) if (section, source, group) in w
            ]
            if takers:
                (pattern,) = facts.patterns([file], section, source, group)
                with_rows = ids[pattern.count > 0]
                for taker in takers:
                    taker.append(with_rows)
    return [np.unique(np.concatenate(parts)) for parts in found]
