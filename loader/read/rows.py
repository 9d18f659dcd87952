"""Which rows of which file belong to the selected trains?

The index group of a key says, per train of a file, how many rows it has and where they begin.

1. ``select_rows``: the ``Rows`` of an index group for the selected trains, in the order of data.
2. ``find_slabs``: the slabs of the files that hold them.
3. ``count_entries``: how many rows each selected train has.
4. ``train_coordinates``: the train of each row, in the order of data.
5. ``trains_with_data``: the selected trains that have any row.
6. ``entry_bounds``: where the rows of each train lie in the data.

Data come in order of train ID. Where trains are out of order in or between files, selected trains
that lie one behind the other in a file stay together, ordered by the first of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.dtypes import DType, decode_dtype
from ...catalog.model.facts import DataFile
from ...catalog.model.records import KeyRecord
from ...catalog.model.runlength import IndexPattern
from ..select.region import Region
from ..select.sources import FileRef, SourceEntry
from ..select.trains import NO_TRAINS, TrainSet, Value

__all__ = [
    "FileSlabs",
    "Int64s",
    "ReadPlan",
    "RowStretch",
    "Rows",
    "array_dtype",
    "count_entries",
    "count_rows",
    "entries_of_stretches",
    "entry_bounds",
    "find_slabs",
    "merge_rows",
    "plan_read",
    "select_rows",
    "train_coordinates",
    "trains_with_data",
    "trains_with_rows",
]

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]


# Which slabs of a file hold some of its rows?
#
# A slab is a stretch of rows that lie one behind the other. Where INDEX leaves a gap, goes back or
# overlaps, a new one begins.


@dataclass(frozen=True, eq=False)
class FileSlabs(Value):
    """The slabs of one file: rows ``starts[i]`` up to ``stops[i]`` go to ``targets[i]`` onwards."""

    data_file: DataFile
    starts: Int64s
    stops: Int64s
    targets: Int64s

    @cached_property
    def end(self) -> int:
        """One more than the highest row."""
        return int(self.stops.max())

    @cached_property
    def single(self) -> tuple[int, int, int] | None:
        """Start, stop and target, where there is a single slab."""
        if self.starts.size != 1:
            return None
        return int(self.starts[0]), int(self.stops[0]), int(self.targets[0])


def merge_rows(first: Int64s, count: Int64s) -> tuple[Int64s, Int64s]:
    """Start and stop of the fewest slabs that hold these rows in this order."""
    has_rows = count > 0
    if not has_rows.all():
        first, count = first[has_rows], count[has_rows]
    if not first.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stops = first + count
    new = np.flatnonzero(first[1:] != stops[:-1])
    return first[np.concatenate(([0], new + 1))], stops[np.concatenate((new, [-1]))]


@dataclass(frozen=True, eq=False, slots=True)
class RowStretch:
    """Selected trains of one file with their rows: ``first`` row and ``count``, (n,) each.

    ``at`` are their positions in the file.
    """

    ref: FileRef
    ids: UInt64s
    first: Int64s
    count: Int64s
    at: Int64s

    def part(self, chosen: NDArray[np.intp]) -> "RowStretch":
        """Only some of the trains."""
        ids, first, count, at = self.ids, self.first, self.count, self.at
        return RowStretch(self.ref, ids[chosen], first[chosen], count[chosen], at[chosen])


@dataclass(frozen=True, eq=False)
class Rows(Value):
    """The rows of an index group for some trains, and what follows from them.

    One object serves all keys of all sources that have the same INDEX in the same files.
    """

    stretches: tuple[RowStretch, ...]
    trains: TrainSet

    @cached_property
    def n_rows(self) -> int:
        """How many there are."""
        return sum(int(s.count.sum()) for s in self.stretches)

    @cached_property
    def refs(self) -> tuple[FileRef, ...]:
        """The files that have any of them."""
        return tuple({id(s.ref): s.ref for s in self.stretches if s.count.any()}.values())

    @cached_property
    def slabs(self) -> tuple[FileSlabs, ...]:
        """The slabs that hold them."""
        return find_slabs(self.stretches)

    @cached_property
    def coordinates(self) -> UInt64s:
        """The train ID of each row, (rows,) uint64. Not to be written to."""
        found = train_coordinates(self.stretches)
        found.flags.writeable = False
        return found

    @cached_property
    def bounds(self) -> tuple[UInt64s, UInt64s]:
        """First and last (not included) row of each train. Not to be written to."""
        return entry_bounds(self.stretches, self.trains)


def select_rows(
    entry: SourceEntry, refs: tuple[FileRef, ...], group: str, trains: TrainSet
) -> Rows:
    """The rows of an index group for the selected trains, in the order of data.

    The last answers are kept with the set of files: keys are asked for one after the other.
    """
    kept: _KeptRows | None = entry.files.__dict__.get("_kept_rows")
    if kept is None or kept.refs is not refs or kept.trains is not trains:
        kept = _KeptRows(refs, trains) if kept is None else kept.with_trains(refs, trains)
        entry.files.__dict__["_kept_rows"] = kept
    return kept.find(entry, group)


class _KeptRows:
    """The rows of the sources of a set of files, for the files and trains last asked for."""

    def __init__(self, refs: tuple[FileRef, ...], trains: TrainSet) -> None:
        self.refs = refs
        self.trains = trains
        self.patterns: dict[tuple[str, str, str], tuple[IndexPattern, ...]] = {}
        self.rows: dict[tuple[int, ...], tuple[tuple[IndexPattern, ...], Rows]] = {}

    def with_trains(self, refs: tuple[FileRef, ...], trains: TrainSet) -> "_KeptRows":
        """What is kept once others are asked for; a new object, for threads may use this one."""
        kept = _KeptRows(refs, trains)
        if refs is self.refs:
            kept.patterns = self.patterns
        return kept

    def find(self, entry: SourceEntry, group: str) -> Rows:
        place = (entry.section, entry.real_name, group)
        patterns = self.patterns.get(place)
        if patterns is None:
            patterns = tuple(entry.patterns(self.refs, group))
            self.patterns[place] = patterns
        # The patterns are kept with the rows, so that no others can have their places in memory.
        key = tuple(map(id, patterns))
        known = self.rows.get(key)
        if known is None:
            rows = Rows(_select(self.refs, patterns, self.trains), self.trains)
            known = self.rows[key] = patterns, rows
        return known[1]


def _select(
    refs: Sequence[FileRef], patterns: Sequence[IndexPattern], trains: TrainSet
) -> tuple[RowStretch, ...]:
    found = [(r, pattern) for r, pattern in zip(refs, patterns, strict=True) if len(pattern)]
    stretches = [s for ref, pattern in found for s in _in_file(ref, pattern, trains)]
    if all(_increases(s.ids) for s in stretches) and all(
        a.ids[-1] < b.ids[0] for a, b in pairwise(stretches)
    ):
        return tuple(stretches)
    pieces = [p for s in stretches for p in _cut(s)]
    return tuple(sorted(pieces, key=lambda piece: int(piece.ids[0])))


def find_slabs(stretches: Sequence[RowStretch]) -> tuple[FileSlabs, ...]:
    """The slabs that hold the rows of these stretches, in their order."""
    found: list[FileSlabs] = []
    done = 0
    for stretch in stretches:
        starts, stops = merge_rows(stretch.first, stretch.count)
        if starts.size:
            ends = done + np.cumsum(stops - starts)
            targets = ends - (stops - starts)
            found.append(FileSlabs(stretch.ref.data_file, starts, stops, targets))
            done = int(ends[-1])
    return tuple(found)


def _increases(ids: UInt64s) -> bool:
    return bool((ids[1:] > ids[:-1]).all())


def _in_file(ref: FileRef, pattern: IndexPattern, trains: TrainSet) -> list[RowStretch]:
    """The selected trains of one file, in file order, as one stretch; none where it has none."""
    ids, first, count = _fit(ref, pattern.first, pattern.count)
    at = np.arange(ids.size)
    if ref.good_only and ref.listed.suspect.size:
        wanted = trains.contains(ids) & ref.listed.good[: ids.size]
    elif ref.listed.starts.size == 1 and ids.size and trains.covers(ids[0], ids[-1]):
        return [RowStretch(ref, ids, first, count, at)]
    else:
        wanted = trains.contains(ids)
    if not wanted.all():
        ids, first, count, at = ids[wanted], first[wanted], count[wanted], at[wanted]
    return [RowStretch(ref, ids, first, count, at)] if ids.size else []


def _fit(ref: FileRef, first: Int64s, count: Int64s) -> tuple[UInt64s, Int64s, Int64s]:
    """Trains and index of a file; where one is shorter (a damaged index), both are cut to it."""
    ids = ref.listed.ids
    if ids.size == first.size:
        return ids, first, count
    size = min(ids.size, first.size)
    return ids[:size], first[:size], count[:size]


def _cut(stretch: RowStretch) -> list[RowStretch]:
    """The stretches of trains that lie one behind the other in the file."""
    breaks = np.flatnonzero(np.diff(stretch.at) > 1) + 1
    return [stretch.part(p) for p in np.split(np.arange(stretch.ids.size), breaks)]


def entries_of_stretches(stretches: Sequence[RowStretch], trains: TrainSet) -> Int64s:
    """How many rows each of the trains has, (n,) int64 in order of train ID."""
    counts = np.zeros(len(trains), np.int64)
    for s in stretches:
        at = int(trains.positions(s.ids[:1])[0])
        # Increasing IDs of which the last is as many positions on are the trains in between.
        end = int(trains.positions(s.ids[-1:])[0])
        if end - at + 1 == s.ids.size and _increases(s.ids):
            counts[at : end + 1] += s.count
        else:
            np.add.at(counts, trains.positions(s.ids), s.count)
    return counts


def train_coordinates(stretches: Sequence[RowStretch]) -> UInt64s:
    """The train ID of each row, (rows,) uint64."""
    if not stretches:
        return np.empty(0, np.uint64)
    return np.concatenate([np.repeat(s.ids, s.count) for s in stretches])


def trains_with_data(stretches: Sequence[RowStretch]) -> TrainSet:
    """The trains that have at least one row."""
    ids = [s.ids[s.count > 0] for s in stretches]
    return TrainSet.from_ids(np.concatenate(ids)) if ids else NO_TRAINS


def entry_bounds(stretches: Sequence[RowStretch], trains: TrainSet) -> tuple[UInt64s, UInt64s]:
    """First and last (not included) row of each train in the data, (n,) uint64 each."""
    counts = entries_of_stretches(stretches, trains)
    start = np.cumsum(counts) - counts
    heads = [s.ids for s in stretches]
    order = np.concatenate(heads) if heads else trains.ids[:0]
    if not _increases(order):  # data out of order: each train where it really lies
        rows = np.concatenate([s.count for s in stretches])
        start[trains.positions(order)] = np.cumsum(rows) - rows
    return start.astype(np.uint64), (start + counts).astype(np.uint64)


# How many rows have the selected trains, and which of them have any?
#
# Answered from run-length coded facts, per file and not per train: a file whose trains are one
# stretch and all selected (nearly every one) costs the same for 10 trains as for 10,000.
#
# 1. ``count_rows``: all rows of an index group; what the length of an array is.
# 2. ``count_entries``: the rows of each selected train.
# 3. ``trains_with_rows``: the trains of some files that have rows.


def _is_plain(ref: FileRef, pattern: IndexPattern) -> bool:
    """Whether the trains of a file are one stretch, all of them count, and INDEX fits them."""
    return ref.is_one_stretch and pattern.n_trains == ref.listed.n_trains


def _selected(ref: FileRef, pattern: IndexPattern, trains: TrainSet) -> tuple[UInt64s, Int64s]:
    """The selected trains of any file with their rows; a damaged INDEX is cut to what fits."""
    size = min(ref.listed.n_trains, pattern.n_trains)
    ids, count = ref.listed.ids[:size], pattern.count[:size]
    wanted = trains.contains(ids)
    if ref.good_only:
        wanted &= ref.listed.good[:size]
    return ids[wanted], count[wanted]


def count_rows(entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet) -> int:
    """All rows of an index group that belong to the selected trains."""
    n = 0
    starts = entry.files.starts_within(refs, trains)
    for ref, start, pattern in zip(refs, starts, entry.patterns(refs, group), strict=True):
        if start >= 0 and pattern.n_trains == ref.listed.n_trains:
            n += pattern.n_rows
        else:
            n += int(_selected(ref, pattern, trains)[1].sum())
    return n


def count_entries(
    entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet
) -> Int64s:
    """How many rows each of the trains has, (n,) int64 in order of train ID."""
    counts = np.zeros(len(trains), np.int64)
    starts = entry.files.starts_within(refs, trains)
    for ref, start, pattern in zip(refs, starts, entry.patterns(refs, group), strict=True):
        if start >= 0 and pattern.n_trains == ref.listed.n_trains:
            counts[start : start + pattern.n_trains] += pattern.count
        else:
            ids, count = _selected(ref, pattern, trains)
            np.add.at(counts, trains.positions(ids), count)
    return counts


def trains_with_rows(files: Sequence[tuple[FileRef, IndexPattern]]) -> TrainSet:
    """The trains of these files that have any row, in each file by its pattern."""
    plain = [(ref, pattern) for ref, pattern in files if _is_plain(ref, pattern)]
    found = [_in_plain(plain)] if plain else []
    if len(plain) < len(files):
        found += [_in_any(ref, p) for ref, p in files if not _is_plain(ref, p)]
    return TrainSet.union_of(found)


def _in_plain(files: Sequence[tuple[FileRef, IndexPattern]]) -> TrainSet:
    """All files at once: a stretch of the index is a stretch of trains."""
    lengths = np.concatenate([pattern.lengths for _, pattern in files])
    has_rows = np.concatenate([pattern.counts for _, pattern in files]) > 0
    sizes = np.array([pattern.lengths.size for _, pattern in files])
    starts = np.concatenate([ref.listed.starts for ref, _ in files])
    trains_before = np.cumsum([0, *(pattern.n_trains for _, pattern in files[:-1])])
    within = np.cumsum(lengths) - lengths - np.repeat(trains_before, sizes)
    firsts = (np.repeat(starts, sizes) + within.astype(np.uint64))[has_rows]
    return TrainSet.from_stretches(firsts, firsts + (lengths[has_rows] - 1).astype(np.uint64))


def _in_any(ref: FileRef, pattern: IndexPattern) -> TrainSet:
    size = min(pattern.n_trains, ref.listed.n_trains)
    has_rows = pattern.count[:size] > 0
    if ref.good_only:
        has_rows &= ref.listed.good[:size]
    ids = ref.listed.ids[:size][has_rows]
    return TrainSet.from_ids(ids) if ids.size else NO_TRAINS


# Which slabs of which files make up an array?
#
# Pure: index in, slabs out; no file is touched.
#
# 1. ``plan_read`` turns the rows of the selected trains and a region into a ``ReadPlan``.
# 2. Rows that lie one behind the other in a file are one slab, across trains (``slabs``, ``rows``).
# 3. INDEX is the truth for which rows belong to a train.


@dataclass(frozen=True, eq=False, slots=True)
class ReadPlan:
    """How to fill an array of ``shape`` and ``dtype`` from the dataset ``path`` of some files.

    ``record`` is the key as the first of the files has it, ``source`` its source.
    """

    source: str
    path: str
    record: KeyRecord
    region: Region
    n_rows: int
    pieces: tuple[FileSlabs, ...]

    @property
    def dtype(self) -> DType:
        """Type of the array."""
        return array_dtype(self.record)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, rows first."""
        return (self.n_rows, *self.region.shape)


def array_dtype(record: KeyRecord) -> DType:
    """The type of the arrays of a key."""
    dtype = decode_dtype(record.dtype)
    return np.dtype("O") if dtype.kind == "O" else dtype


def plan_read(
    source: str, path: str, record: KeyRecord, stretches: Sequence[RowStretch], region: Region
) -> ReadPlan:
    """The slabs that hold the rows of these stretches, in their order."""
    n_rows = sum(int(s.count.sum()) for s in stretches)
    return ReadPlan(source, path, record, region, n_rows, find_slabs(stretches))
