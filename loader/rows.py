"""Which rows of which file belong to the selected trains?

The index group of a key says, per train of a file, how many rows it has and where they begin.

1. ``select_rows``: the rows of an index group for the selected trains, in the order of data.
2. ``count_entries``: how many rows each selected train has.
3. ``train_coordinates``: the train of each row, in the order of data.
4. ``trains_with_data``: the selected trains that have any row.
5. ``entry_bounds``: where the rows of each train lie in the data.

Data come in order of train ID. Where trains are out of order in or between files, selected trains
that lie one behind the other in a file stay together, ordered by the first of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..catalog.runlength import IndexPattern
from .inventory import FileRef, SourceEntry
from .trains import NO_TRAINS, TrainSet

__all__ = [
    "RowStretch",
    "count_entries",
    "entry_bounds",
    "select_rows",
    "train_coordinates",
    "trains_with_data",
]

UInt64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]


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


def select_rows(
    entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet
) -> list[RowStretch]:
    """The rows of an index group for the selected trains, in the order of data.

    The last answer is kept with the source: its keys are asked for one after the other.
    """
    last = entry.__dict__.get("_last_rows")
    if last is None or last[0] != group or last[1] is not trains or last[2] is not refs:
        found = _select(entry, refs, group, trains)
        last = entry.__dict__["_last_rows"] = (group, trains, refs, found)
    stretches: list[RowStretch] = last[3]
    return stretches


def _select(
    entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet
) -> list[RowStretch]:
    found = [(ref, entry.pattern(ref, group)) for ref in refs]
    found = [(ref, pattern) for ref, pattern in found if len(pattern)]
    stretches = [s for ref, pattern in found for s in _in_file(ref, pattern, trains)]
    if all(_increases(s.ids) for s in stretches) and all(
        a.ids[-1] < b.ids[0] for a, b in pairwise(stretches)
    ):
        return stretches
    pieces = [p for s in stretches for p in _cut(s)]
    return sorted(pieces, key=lambda piece: int(piece.ids[0]))


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


def count_entries(stretches: Sequence[RowStretch], trains: TrainSet) -> Int64s:
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
    counts = count_entries(stretches, trains)
    start = np.cumsum(counts) - counts
    heads = [s.ids for s in stretches]
    order = np.concatenate(heads) if heads else trains.ids[:0]
    if not _increases(order):  # data out of order: each train where it really lies
        rows = np.concatenate([s.count for s in stretches])
        start[trains.positions(order)] = np.cumsum(rows) - rows
    return start.astype(np.uint64), (start + counts).astype(np.uint64)
