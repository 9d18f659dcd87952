"""How completely are sources recorded, where they are in use?

A source belongs to some proposals only, so its runs are compared with those of the proposals and
data classes that have it at all, and its trains with those of the runs that have it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..model.errors import QueryError
from ..model.identity import RUN_BITS, RunIdentity
from ..model.records import Depth
from ..opening.catalogued import find_run
from ..store.packing import from_text
from ..store.store import Store
from .execute import Answer, ask, is_one_of
from .filters import ALL_RUNS, RunFilter
from .find import provenance
from .question import EVERYTHING, Chosen, Question, choose
from .selection import DataFilter

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import Select, SelectBase, Subquery

__all__ = [
    "coverage",
    "lacking",
    "source_coverage",
]


def source_coverage(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> "SelectBase":
    """The sources, those that most runs have first; old names of renamed sources are left out.

    Columns: section, source, proposals, runs (that have it), of_runs (of the proposals and data
    classes that have it), trains (with data, the most of an index group; of runs known in full),
    of_trains (of these runs), of_all (how many sources there are without the limit).
    """
    from sqlalchemy import case, func, select

    from ..store.schema import run
    from ..store.schema import source as sources

    # Loose runs, which have no proposal, are a group of their own.
    group = func.coalesce(run.c.proposal, -1).label("proposal")
    data_class = func.coalesce(run.c.data_class, "").label("data_class")
    chosen = (
        select(run.c.run_id, group, data_class, run.c.n_trains)
        .where(*where.conditions(run))
        .subquery("chosen")
    )
    sizes = (
        select(chosen.c.proposal, chosen.c.data_class, func.count().label("of_runs"))
        .group_by(chosen.c.proposal, chosen.c.data_class)
        .subquery("sizes")
    )
    in_run = _sources_of_runs()
    counted = case((in_run.c.with_data.is_not(None), chosen.c.n_trains), else_=0)
    of_group = [in_run.c.section, in_run.c.source_id, chosen.c.proposal, chosen.c.data_class]
    in_group = (
        select(
            *of_group,
            func.count().label("runs"),
            func.sum(func.coalesce(in_run.c.with_data, 0)).label("trains"),
            func.sum(counted).label("of_trains"),
        )
        .select_from(in_run)
        .join(chosen, chosen.c.run_id == in_run.c.run_id)
        .group_by(*of_group)
        .subquery("in_group")
    )
    same = (sizes.c.proposal == in_group.c.proposal) & (sizes.c.data_class == in_group.c.data_class)
    runs = func.sum(in_group.c.runs).label("runs")
    return (
        select(
            in_group.c.section,
            sources.c.name.label("source"),
            func.count(in_group.c.proposal.distinct()).label("proposals"),
            runs,
            func.sum(sizes.c.of_runs).label("of_runs"),
            func.sum(in_group.c.trains).label("trains"),
            func.sum(in_group.c.of_trains).label("of_trains"),
            func.count().over().label("of_all"),
        )
        .select_from(in_group)
        .join(sizes, same)
        .join(sources, sources.c.source_id == in_group.c.source_id)
        .group_by(in_group.c.section, sources.c.name)
        .order_by(runs.desc(), in_group.c.section, sources.c.name)
        .limit(limit)
    )


def _sources_of_runs() -> "Subquery":
    """The sources of every run, and for how many trains each has data, NULL if not known."""
    from sqlalchemy import func, select

    from ..store.schema import run_source

    # A source whose keys differ between the files of a run has several rows per index group.
    of_run = (run_source.c.run_id, run_source.c.section, run_source.c.source_id)
    in_index = (
        select(*of_run, func.sum(run_source.c.n_trains).label("with_data"))
        .where(run_source.c.legacy_of.is_(None))
        .group_by(*of_run, run_source.c.index_group)
        .subquery("in_index")
    )
    named = [in_index.c[column.name] for column in of_run]
    most = func.max(in_index.c.with_data).label("with_data")
    return select(*named, most).group_by(*named).subquery("in_run")


# For how many of its trains does a run have this and that together?
#
# The merged database counts trains per run, source and index group, which bounds how many trains
# two
# of them have in common. Where the bounds differ, the index patterns in the shards tell, run by
# run;
# for no more than ``most_decoded`` runs, in the order of runs.

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


# Which runs lack a source that their neighbours have?
#
# A series are the runs of a proposal and data class, in the order of run numbers, and a run's place
# in it is counted from 1. Where a source is present is read once, and what is absent found with
# numpy: only places next to a gap are looked at.

_RUN_BITS = np.uint64(RUN_BITS)  # what stands before them in a run_id is the series


def lacking(
    store: Store, question: Question = EVERYTHING, *, neighbours: int = 5, at_least: int = 4
) -> Answer:
    """The runs that lack a source that several of their neighbours have.

    Neighbours are the ``neighbours`` runs before and after in the same proposal and data class, as
    catalogued, whether or not they are chosen; ``at_least`` of them must have the source. Columns:
    run_id, proposal, run, data_class, instrument, cycle, section, source, neighbours_with,
    neighbours, path; in the order of runs, sections and names.

    Raises QueryError for numbers that no run can fulfil.
    """
    if neighbours < 1 or not 1 <= at_least <= 2 * neighbours:
        most = 2 * max(neighbours, 1)
        raise QueryError(
            f"at_least={at_least} of neighbours={neighbours} on each side: give 1 or more"
            f" neighbours, and at_least from 1 to {most}"
        )
    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        series = _read_series(cursor, chosen)
        presence = _read_presence(cursor, question.data, series)
        found = _absent(presence, series, neighbours, at_least)
        if chosen.ids is not None:
            found = found.only(np.isin(series.run_ids[found.run], chosen.ids))
        table = _rows(cursor, series, presence, found)
        return Answer(table, provenance(cursor, store, question.runs))


@dataclass(frozen=True, slots=True)
class _Series:
    """All runs of the series that are looked at, sorted; ``length`` is that of a run's series."""

    run_ids: NDArray[np.uint64]
    place: Int64s
    length: Int64s
    number: Int64s


@dataclass(frozen=True, slots=True)
class _Presence:
    """Which sources are in which runs, sorted by source, then by run.

    A source is a number made of its source_id and the place of its section, from 1.
    """

    sections: "pa.ChunkedArray"
    source: Int64s
    run: Int64s  # position in the series

    def source_ids(self, source: Int64s) -> Int64s:
        return source // (len(self.sections) + 1)

    def sections_of(self, source: Int64s) -> "pa.ChunkedArray":
        return self.sections.take(source % (len(self.sections) + 1) - 1)


@dataclass(frozen=True, slots=True)
class _Absent:
    source: Int64s
    run: Int64s
    n_with: Int64s
    n_neighbours: Int64s

    def only(self, chosen: NDArray[np.bool_]) -> "_Absent":
        return _Absent(
            *(a[chosen] for a in (self.source, self.run, self.n_with, self.n_neighbours))
        )


def _read_series(cursor: "duckdb.DuckDBPyConnection", chosen: Chosen) -> _Series:
    from sqlalchemy import select

    from ..store.schema import run

    statement = select(run.c.run_id).order_by(run.c.run_id)
    if chosen.ids is not None:
        low, high = (chosen.ids[[0, -1]] >> _RUN_BITS) if chosen.ids.size else (1, 0)
        first = int(low) << int(_RUN_BITS)
        end = (int(high) + 1) << int(_RUN_BITS)
        statement = statement.where(run.c.run_id.between(first, end - 1))
    ids: NDArray[np.uint64] = ask(cursor, statement).column("run_id").to_numpy()
    _, start, number, length = np.unique(
        ids >> _RUN_BITS, return_index=True, return_inverse=True, return_counts=True
    )
    place = np.arange(1, len(ids) + 1) - start[number]
    return _Series(ids, place, length[number], number)


def _read_presence(
    cursor: "duckdb.DuckDBPyConnection", data: DataFilter, series: _Series
) -> _Presence:
    from sqlalchemy import func, select

    from ..store.schema import run_source

    ids = series.run_ids
    low, high = (int(ids[0]), int(ids[-1])) if ids.size else (1, 0)
    groups = data.groups().where(run_source.c.legacy_of.is_(None)).subquery("matching")
    # Sections by number: millions of rows are read.
    distinct = select(run_source.c.section).distinct().subquery("distinct_section")
    place = func.row_number().over(order_by=distinct.c.section).label("place")
    sections = select(distinct.c.section, place).subquery("numbered_section")
    statement = (
        select(sections.c.place, groups.c.source_id, groups.c.run_id)
        .join(sections, sections.c.section == groups.c.section)
        .where(groups.c.run_id.between(low, high))
    )
    section, source_id, run_id = (column.to_numpy() for column in ask(cursor, statement).columns)
    names = ask(cursor, select(sections.c.section).order_by(sections.c.place))
    number = (source_id.astype(np.int64) * (names.num_rows + 1) + section) * (len(ids) + 1)
    source, run = np.divmod(_distinct(number + np.searchsorted(ids, run_id)), len(ids) + 1)
    return _Presence(names.column("section"), source, run)


def _distinct(numbers: Int64s) -> Int64s:
    """Sorted, each once; ``numpy.unique`` may take ten times as long."""
    numbers = np.sort(numbers)
    is_first = np.ones(len(numbers), bool)
    is_first[1:] = numbers[1:] != numbers[:-1]
    return numbers[is_first]


def _absent(presence: _Presence, series: _Series, neighbours: int, at_least: int) -> _Absent:
    """The runs near which a source is, but not in them."""
    # One number for (source, run) in which neighbours differ by 1, and series lie far apart.
    if not presence.run.size:
        return _Absent(*(np.zeros(0, np.int64),) * 4)
    apart = 2 * neighbours + 1
    at = np.arange(len(series.run_ids)) + apart * series.number
    width = int(at[-1] if at.size else 0) + apart
    present = presence.source * width + at[presence.run]
    last, first = np.append(np.diff(present), width) > 1, np.insert(np.diff(present), 0, width) > 1
    after = present[last][:, None] + np.arange(1, neighbours + 1)
    before = present[first][:, None] - np.arange(1, neighbours + 1)
    candidates = _distinct(np.concatenate([after.ravel(), before.ravel()]))
    nearest = present[np.minimum(np.searchsorted(present, candidates), present.size - 1)]
    candidates = candidates[nearest != candidates]
    source, within = np.divmod(candidates, width)
    run: Int64s = np.minimum(np.searchsorted(at, within), len(at) - 1)
    is_run = at[run] == within
    candidates, source, run = candidates[is_run], source[is_run], run[is_run]
    n_with = np.searchsorted(present, candidates + neighbours, side="right") - np.searchsorted(
        present, candidates - neighbours
    )
    place, length = series.place[run], series.length[run]
    n_around = np.minimum(place - 1, neighbours) + np.minimum(length - place, neighbours)
    return _Absent(source, run, n_with, n_around).only(n_with >= at_least)


def _rows(
    cursor: "duckdb.DuckDBPyConnection", series: _Series, presence: _Presence, found: _Absent
) -> "pa.Table":
    import pyarrow as pa
    from sqlalchemy import select

    from ..store.schema import run, source

    of_run = ("run_id", "proposal", "run", "data_class", "instrument", "cycle")
    ids = np.unique(series.run_ids[found.run])
    statement = select(*(run.c[name] for name in of_run), run.c.directory.label("path"))
    runs = ask(cursor, statement.where(is_one_of(run.c.run_id, ids)).order_by(run.c.run_id))
    names = ask(cursor, select(source).order_by(source.c.source_id))
    place = np.searchsorted(names.column("source_id").to_numpy(), presence.source_ids(found.source))
    rows = runs.take(np.searchsorted(ids, series.run_ids[found.run]))
    table = rows.select(of_run)
    for name, values in (
        ("section", presence.sections_of(found.source)),
        ("source", names.column("name").take(place)),
        ("neighbours_with", pa.array(found.n_with)),
        ("neighbours", pa.array(found.n_neighbours)),
        ("path", rows.column("path")),
    ):
        table = table.append_column(name, values)
    return table.sort_by([(n, "ascending") for n in ("run_id", "section", "source")])
