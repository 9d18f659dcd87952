"""Which slabs of which files make up an array?

Pure: index in, slabs out; no file is touched.

1. ``plan_read`` turns the rows of the selected trains and a region into a ``ReadPlan``.
2. Rows that lie one behind the other in a file are one slab, across trains (``slabs``, ``rows``).
3. INDEX is the truth for which rows belong to a train.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..catalog.dtypes import DType, decode_dtype
from ..catalog.records import KeyRecord
from .region import Region
from .rows import RowStretch, find_slabs
from .slabs import FileSlabs

__all__ = ["ReadPlan", "array_dtype", "plan_read"]


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
