"""Read plans: which slabs of which files make up an array.

Planning touches no file, and opening a run needs nothing of what reads one: ``execute`` and
``file_read`` are imported when the first plan is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...catalog.model.errors import InconsistentFilesError
from ...catalog.model.records import DType, KeyRecord, decode_dtype
from ..select.rows import FileRef, FileSlabs
from ..select.selection import Region


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


def check_consistent(
    source: str, record: KeyRecord, described: Sequence[tuple[FileRef, KeyRecord | None]]
) -> KeyRecord:
    """The description of a key that all files to be read agree on; ``record`` if there are none.

    Raises InconsistentFilesError where two of the files differ; both are named.
    """
    if not described:
        return record
    first_ref, first = described[0]
    for ref, other in described:
        if other is first:
            continue
        if first is None or other is None:
            having, lacking = (ref, first_ref) if first is None else (first_ref, ref)
            detail, paths = f"{lacking.path} lacks it", (having.path, lacking.path)
        elif (other.dtype, other.entry_shape) != (first.dtype, first.entry_shape):
            detail = difference(first, other.dtype, other.entry_shape)
            paths = (first_ref.path, ref.path)
        else:
            continue
        raise InconsistentFilesError(source, record.name, detail, paths)
    return record if first is None else first


def difference(first: KeyRecord, dtype: str, entry_shape: tuple[int, ...]) -> str:
    """How the dataset of a file differs from the key as the first file has it, in words."""
    return (
        f"type {first.dtype} with entry shape {first.entry_shape}"
        f" against {dtype} with {entry_shape}"
    )
