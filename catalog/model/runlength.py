"""Run-length coded train lists and index patterns.

Nearly every list of train IDs is one stretch of consecutive numbers, and nearly every index has one
row per train. So both are kept run-length coded, in memory as in the catalog, and unfolded to
arrays only when they are asked for; a pickle has them coded (``Value``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

UInt64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]


class Value:
    """Base of frozen dataclasses with cached properties; a pickle has their fields only."""

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: self.__dict__[f.name] for f in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _run_starts(breaks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Positions where a new run begins, given for items 1.. whether it breaks with the last."""
    return np.concatenate(([0], np.flatnonzero(breaks) + 1))


class _OfTrains(Value):
    """What run lengths count the trains of."""

    lengths: Int64s

    @cached_property
    def n_trains(self) -> int:
        """How many trains there are."""
        # At once where there is one length, as of nearly every list of trains.
        return int(self.lengths[0] if self.lengths.size == 1 else self.lengths.sum())

    def __len__(self) -> int:
        return self.n_trains


@dataclass(frozen=True, eq=False)
class TrainList(_OfTrains):
    """The train IDs of one file, in file order; not necessarily increasing."""

    starts: UInt64s
    """The first ID of each stretch of consecutive IDs."""
    lengths: Int64s
    """How many IDs each stretch has."""
    suspect: Int64s
    """The 0-based positions whose ID is suspect."""
    dropped: Int64s
    """The rows of ``INDEX/trainId`` that are zero *inside* the list.

    They are no trains. The same rows are left out of every index array, so that positions here and
    in ``IndexPattern`` agree.
    """

    @classmethod
    def from_ids(
        cls, ids: ArrayLike, suspect: ArrayLike = (), dropped: ArrayLike = ()
    ) -> "TrainList":
        """Code the IDs of one file; ``suspect`` are positions, not a mask."""
        ids = np.asarray(ids, dtype=np.uint64)
        if ids.size:
            # 0 never continues a stretch: 2**64 - 1 + 1 wraps around to it.
            at = _run_starts((ids[1:] != ids[:-1] + np.uint64(1)) | (ids[1:] == 0))
            starts = ids[at]
            lengths = np.diff(np.append(at, ids.size)).astype(np.int64)
        else:
            starts, lengths = np.empty(0, np.uint64), np.empty(0, np.int64)
        return cls(starts, lengths, np.asarray(suspect, np.int64), np.asarray(dropped, np.int64))

    @cached_property
    def ids(self) -> UInt64s:
        """Every train ID, (n,) uint64, in file order. Not to be written to."""
        if len(self.starts) == 1:
            ids: UInt64s = self.starts[0] + np.arange(self.lengths[0], dtype=np.uint64)
            return ids
        firsts = np.cumsum(self.lengths) - self.lengths
        within = np.arange(self.lengths.sum()) - np.repeat(firsts, self.lengths)
        return np.repeat(self.starts, self.lengths) + within.astype(np.uint64)

    def shifted(self, offset: int) -> "TrainList":
        """The same list, each ID this much larger."""
        starts = self.starts + np.uint64(offset % (1 << 64))
        return TrainList(starts, self.lengths, self.suspect, self.dropped)

    @cached_property
    def good(self) -> NDArray[np.bool_]:
        """Which positions are not suspect, (n,) bool."""
        mask = np.ones(len(self), dtype=bool)
        mask[self.suspect] = False
        return mask

    @cached_property
    def token(self) -> bytes:
        """Equal for equal lists: what interning compares."""
        parts = (self.starts, self.lengths, self.suspect, self.dropped)
        return b"|".join(p.tobytes() for p in parts)


@dataclass(frozen=True, eq=False)
class IndexPattern(_OfTrains):
    """INDEX first and count of one index group, for the trains of one file, run-length coded.

    A run is a number of trains that have equally many rows each, lying one behind the other.
    """

    lengths: Int64s
    """How many trains each run has."""
    counts: Int64s
    """How many rows each train of a run has."""
    offsets: Int64s
    """The first row of the first train of each run, less the sum of all counts before it.

    All 0 where the rows are contiguous; they change where INDEX leaves a gap, overlaps or goes
    back. Trains without rows have no first row; they continue the offset before them.
    """

    @classmethod
    def from_arrays(cls, first: ArrayLike, count: ArrayLike) -> "IndexPattern":
        """Code INDEX arrays, (n,) each, already cut and masked to the file's trains."""
        first = np.asarray(first).astype(np.int64)
        count = np.asarray(count).astype(np.int64)
        if not count.size:
            nothing = np.empty(0, np.int64)
            return cls(nothing, nothing, nothing)
        offset = first - (np.cumsum(count) - count)
        # A train without rows continues the offset of the last one that has any (0 before it).
        has_rows = count > 0
        last = np.maximum.accumulate(np.where(has_rows, np.arange(count.size), -1))
        offset = np.where(last >= 0, offset[last], 0)
        at = _run_starts((count[1:] != count[:-1]) | (offset[1:] != offset[:-1]))
        lengths = np.diff(np.append(at, count.size)).astype(np.int64)
        return cls(lengths, count[at], offset[at])

    @cached_property
    def count(self) -> Int64s:
        """Rows of each train, (n,) int64. Not to be written to."""
        return np.repeat(self.counts, self.lengths)

    def has_rows(self, n_trains: int) -> NDArray[np.bool_]:
        """Which of the trains of a file have rows, (n_trains,); INDEX may be shorter, or absent."""
        found = np.zeros(n_trains, bool)
        found[: len(self)] = self.count[:n_trains] > 0
        return found

    @cached_property
    def first(self) -> Int64s:
        """First row of each train, (n,) int64; meaningless where the count is 0."""
        count = self.count
        return np.cumsum(count) - count + np.repeat(self.offsets, self.lengths)

    @cached_property
    def n_rows(self) -> int:
        """All rows that the index names."""
        return int((self.lengths * self.counts).sum())

    @cached_property
    def only_start(self) -> int | None:
        """The first row, where the rows of all trains lie one behind the other; else None."""
        if not self.offsets.size:
            return 0
        first = self.offsets[0]
        is_plain = bool((self.offsets == first).all() and (self.counts >= 0).all())
        return int(first) if is_plain else None

    @property
    def n_trains_with_rows(self) -> int:
        """How many trains have at least one row."""
        return int(self.lengths[self.counts > 0].sum())

    @cached_property
    def token(self) -> bytes:
        """Equal for equal patterns: what interning compares."""
        return b"|".join(p.tobytes() for p in (self.lengths, self.counts, self.offsets))


@dataclass(frozen=True, eq=False)
class FrameIds(Value):
    """Pulse or cell IDs of the rows of one dataset: a block of IDs that repeats itself."""

    block: UInt64s
    """The IDs of the first rows: of one train where all trains have the same, else of all rows."""
    n_rows: int
    """How many rows there are."""

    @classmethod
    def from_values(cls, values: ArrayLike, periods: Iterable[int] = ()) -> "FrameIds":
        """Code the IDs of all rows; ``periods`` are lengths that the block may have."""
        values = np.asarray(values, np.uint64)
        for period in sorted(p for p in periods if 0 < p < values.size):
            if np.array_equal(values[period:], values[:-period]):
                return cls(values[:period].copy(), values.size)
        return cls(values, values.size)

    @cached_property
    def values(self) -> UInt64s:
        """The ID of each row, (n_rows,) uint64. Not to be written to."""
        return np.resize(self.block, self.n_rows)

    @cached_property
    def token(self) -> bytes:
        """Equal for equal IDs: what interning compares."""
        return b"%d|" % self.n_rows + self.block.tobytes()
