"""How many rows have the selected trains, and which of them have any?

Answered from run-length coded facts, per file and not per train: a file whose trains are one
stretch and all selected (nearly every one) costs the same for 10 trains as for 10,000.

1. ``count_rows``: all rows of an index group; what the length of an array is.
2. ``count_entries``: the rows of each selected train.
3. ``trains_with_rows``: the trains of some files that have rows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..catalog.runlength import IndexPattern
from .inventory import FileRef, SourceEntry
from .trains import NO_TRAINS, TrainSet

__all__ = ["count_entries", "count_rows", "trains_with_rows"]

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]


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
