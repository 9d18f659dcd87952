"""Which slabs of a file hold some of its rows?

A slab is a stretch of rows that lie one behind the other. Where INDEX leaves a gap, goes back or
overlaps, a new one begins.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..catalog.runfacts import DataFile
from .value import Value

__all__ = ["FileSlabs", "Int64s", "merge_rows"]

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
