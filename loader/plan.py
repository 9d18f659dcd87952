"""Which slabs of which files make up an array?

Pure: index in, slabs out; no file is touched.

1. ``plan_read`` turns the rows of the selected trains and a region into a ``ReadPlan``.
2. Rows that lie one behind the other in a file are one slab, across trains.
3. INDEX is the truth for which rows belong to a train: where it leaves a gap, goes back or
   overlaps, a new slab begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..catalog.dtypes import DType, decode_dtype
from ..catalog.records import KeyRecord
from ..catalog.runfacts import DataFile
from .region import Region
from .rows import RowStretch
from .value import Value

__all__ = ["FileSlabs", "Int64s", "ReadPlan", "merge_rows", "plan_read"]

Int64s = NDArray[np.int64]


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


def plan_read(
    source: str, path: str, record: KeyRecord, stretches: Sequence[RowStretch], region: Region
) -> ReadPlan:
    """The slabs that hold the rows of these stretches, in their order."""
    pieces: list[FileSlabs] = []
    done = 0
    for stretch in stretches:
        starts, stops = merge_rows(stretch.first, stretch.count)
        if not starts.size:
            continue
        ends = done + np.cumsum(stops - starts)
        pieces.append(FileSlabs(stretch.ref.data_file, starts, stops, ends - (stops - starts)))
        done = int(ends[-1])
    return ReadPlan(source, path, record, region, done, tuple(pieces))
