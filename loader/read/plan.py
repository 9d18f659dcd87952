"""Plans: which slabs of which files make up an array. Pure: no file is touched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...catalog.model.records import DType, KeyRecord, decode_dtype
from ..select.rows import FileSlabs, RowStretch, find_slabs
from ..select.selection import Region

__all__ = ["ReadPlan", "array_dtype", "plan_read"]


@dataclass(frozen=True, eq=False, slots=True)
class ReadPlan:
    """How to fill an array of ``shape`` and ``dtype``."""

    source: str
    """The source, as the user asked for it."""
    path: str
    """Path of the dataset in every file."""
    record: KeyRecord
    """The key, as the first of the files has it."""
    region: Region
    """The part of each entry to read."""
    n_rows: int
    """How many rows the array has."""
    pieces: tuple[FileSlabs, ...]
    """The rows to read, file after file."""

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
    """The plan to read the rows of these stretches, in their order."""
    n_rows = sum(int(s.count.sum()) for s in stretches)
    return ReadPlan(source, path, record, region, n_rows, find_slabs(stretches))
