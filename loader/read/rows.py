"""Plans: which slabs of which files make up an array. Pure: no file is touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...catalog.model.records import DType, KeyRecord, decode_dtype
from ..select.region import Region
from ..select.rows import FileRef, FileSlabs, Int64s, Rows, RowStretch, find_slabs, merge_rows
from ..select.sources import SourceEntry
from ..select.trains import NO_TRAINS, TrainSet

__all__ = [
    "FileSlabs",
    "Int64s",
    "ReadPlan",
    "RowStretch",
    "Rows",
    "array_dtype",
    "count_entries",
    "count_rows",
    "merge_rows",
    "plan_read",
    "select_rows",
    "train_coordinates",
    "trains_with_data",
]


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


# Former functions, until the documented classes take ``Rows``.


def select_rows(
    entry: SourceEntry, refs: tuple[FileRef, ...], group: str, trains: TrainSet
) -> Rows:
    """The rows of an index group for the selected trains, in the order of data."""
    return entry.rows(group, trains)


def count_rows(entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet) -> int:
    """All rows of an index group that belong to the selected trains."""
    return entry.rows(group, trains).n_rows


def count_entries(
    entry: SourceEntry, refs: Sequence[FileRef], group: str, trains: TrainSet
) -> Int64s:
    """How many rows each of the trains has, (n,) int64 in order of train ID."""
    return entry.rows(group, trains).counts.copy()


def train_coordinates(stretches: Sequence[RowStretch]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The train ID of each row, (rows,) uint64."""
    if not stretches:
        return np.empty(0, np.uint64)
    return np.concatenate([np.repeat(s.ids, s.count) for s in stretches])


def trains_with_data(stretches: Sequence[RowStretch]) -> TrainSet:
    """The trains that have at least one row."""
    ids = [s.ids[s.count > 0] for s in stretches]
    return TrainSet.from_ids(np.concatenate(ids)) if ids else NO_TRAINS
