"""Which rows of which file belong to the selected trains?

The index group of a key says, per train of a file, how many rows it has and where they begin.

1. ``select_rows``: the rows of an index group for the selected trains, in the order of data.
2. ``count_entries``: how many rows each selected train has.
3. ``train_coordinates``: the train of each row, in the order of data.
4. ``trains_with_data``: the selected trains that have any row.

Data come in order of train ID. Where the trains of a file are themselves out of order, each stretch
of selected trains that lie one behind the other in the file stays together, and stretches are
ordered by their first train.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .inventory import FileRef, SourceEntry
from .trains import NO_TRAINS, TrainSet

__all__ = ["RowStretch", "count_entries", "select_rows", "train_coordinates", "trains_with_data"]

UInt64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class RowStretch:
    """Selected trains of one file with their rows: ``first`` row and ``count``, (n,) each."""

    ref: FileRef
    ids: UInt64s
    first: Int64s
    count: Int64s


def select_rows(
    entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet
) -> list[RowStretch]:
    """The rows of an index group for the selected trains, in the order of data."""
    stretches: list[RowStretch] = []
    in_order = True
    for ref in refs:
        pattern = entry.pattern(ref, group)
        if not len(pattern):
            continue
        ids, first, count = _fit(ref, pattern.first, pattern.count)
        increasing = ref.listed.starts.size == 1 or bool((ids[1:] > ids[:-1]).all())
        if ref.good_only and ref.listed.suspect.size:
            wanted = trains.contains(ids) & ref.listed.good[: ids.size]
        elif increasing and ids.size and trains.covers(ids[0], ids[-1]):
            stretches.append(RowStretch(ref, ids, first, count))
            continue
        else:
            wanted = trains.contains(ids)
        if increasing:
            if not wanted.all():
                ids, first, count = ids[wanted], first[wanted], count[wanted]
            stretches.append(RowStretch(ref, ids, first, count))
        else:
            in_order = False
            stretches += _cut(ref, ids, first, count, wanted)
    stretches = [s for s in stretches if s.ids.size]
    heads = [int(s.ids[0]) for s in stretches]
    if not in_order or any(a > b for a, b in zip(heads, heads[1:], strict=False)):
        stretches = [stretches[i] for i in np.argsort(np.array(heads, np.uint64), kind="stable")]
    return stretches


def _fit(ref: FileRef, first: Int64s, count: Int64s) -> tuple[UInt64s, Int64s, Int64s]:
    """Trains and index of a file; where one is shorter (a damaged index), both are cut to it."""
    ids = ref.listed.ids
    if ids.size == first.size:
        return ids, first, count
    size = min(ids.size, first.size)
    return ids[:size], first[:size], count[:size]


def _cut(
    ref: FileRef, ids: UInt64s, first: Int64s, count: Int64s, wanted: NDArray[np.bool_]
) -> list[RowStretch]:
    """The stretches of neighbouring selected trains of a file that is out of order."""
    at = np.flatnonzero(wanted)
    if not at.size:
        return []
    pieces = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return [RowStretch(ref, ids[p], first[p], count[p]) for p in pieces]


def count_entries(stretches: Sequence[RowStretch], trains: TrainSet) -> Int64s:
    """How many rows each of the trains has, (n,) int64 in order of train ID."""
    counts = np.zeros(len(trains), np.int64)
    for s in stretches:
        at = int(trains.positions(s.ids[:1])[0])
        # Increasing IDs of which the last is as many positions on are the trains in between.
        end = int(trains.positions(s.ids[-1:])[0])
        if end - at + 1 == s.ids.size and (s.ids[1:] > s.ids[:-1]).all():
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
