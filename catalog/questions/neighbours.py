"""Which runs lack a source that their neighbours have?

A series are the runs of a proposal and data class, in the order of run numbers, and a run's place
in it is counted from 1. Where a source is present is read once, and what is absent found with
numpy: only places next to a gap are looked at.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..store.store import Store
from .answers import Answer, ask, is_one_of
from .chosen import Chosen, choose
from .data_filter import DataFilter
from .queries import provenance
from .question import EVERYTHING, Question

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["lacking"]

Int64s = NDArray[np.int64]
_RUN_BITS = np.uint64(20)  # of a run_id; what stands before is the series


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
