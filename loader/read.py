"""How does a plan become an array?

1. ``allocate``: the destination, new or given, checked against the plan.
2. Each file is opened in turn and its dataset compared with the facts: type, entry shape, length.
3. Each slab is read by one HDF5 hyperslab, straight into the destination where its memory allows.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.errors import ChangedFileError, FileStructureError, InconsistentFilesError
from ..catalog.records import KeyRecord
from .files import OpenDataset, OpenFiles
from .inventory import FileRef
from .plan import FileSlabs, ReadPlan

__all__ = [
    "allocate",
    "check_consistent",
    "checked_path",
    "execute_plan",
    "read_attributes",
]

Array = NDArray[Any]


def allocate(plan: ReadPlan, out: Array | None = None) -> Array:
    """An array for a plan: ``out`` if it is given and fits, else a new one."""
    if out is None:
        return np.empty(plan.shape, plan.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, not {type(out).__name__}")
    if out.shape != plan.shape:
        raise ValueError(f"out has shape {out.shape}, the data {plan.shape}")
    if not np.can_cast(plan.dtype, out.dtype, "unsafe"):
        raise TypeError(f"data of type {plan.dtype} do not go into an array of {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    return out


def execute_plan(plan: ReadPlan, files: OpenFiles, out: Array | None = None) -> Array:
    """Read everything that a plan names.

    Parameters
    ----------
    plan
        From ``plan_read``.
    files
        Where open files are kept.
    out
        An array of ``plan.shape`` to read into; converted as HDF5 or numpy does where its type
        differs. None allocates one.

    Raises
    ------
    InconsistentFilesError
        The dataset of a file differs in type or entry shape from that of the first file.
    ChangedFileError
        The first file is not what its facts say, or a file was replaced.
    FileStructureError
        A file lacks the dataset, or INDEX names rows beyond its end.
    """
    array = allocate(plan, out)
    for piece in plan.pieces:
        with _open_dataset(plan, piece, files) as dataset:
            _read_piece(plan, piece, dataset, array)
    return array


def checked_path(plan: ReadPlan, piece: FileSlabs, files: OpenFiles) -> str:
    """Path of the dataset in the file of a piece, after the checks that come before reading it."""
    with _open_dataset(plan, piece, files) as dataset:
        return str(dataset.name)


@contextmanager
def _open_dataset(plan: ReadPlan, piece: FileSlabs, files: OpenFiles) -> Iterator[Any]:
    with files.borrow(piece.data_file) as opened:
        found = opened.dataset(plan.path, plan.record.name)
        if found is None:
            raise FileStructureError(
                piece.data_file.path,
                f"has no dataset {plan.path}",
                "select trains that lie in other files, or deselect the key",
            )
        _check(plan, piece, found)
        yield found.dataset


def _check(plan: ReadPlan, piece: FileSlabs, found: OpenDataset) -> None:
    """Raise unless the dataset is what was planned with."""
    record, path = plan.record, piece.data_file.path
    entry_shape = found.shape[1:]
    if (found.dtype, entry_shape) != (record.dtype, record.entry_shape):
        detail = (
            f"type {record.dtype} with entry shape {record.entry_shape}"
            f" against {found.dtype} with {entry_shape}"
        )
        if piece is plan.pieces[0]:
            raise ChangedFileError(path, f"{plan.path}: {detail}")
        raise InconsistentFilesError(
            plan.source, record.name, detail, (plan.pieces[0].data_file.path, path)
        )
    needed = int(piece.stops.max())
    if found.shape[0] < needed:
        raise FileStructureError(
            path,
            f"INDEX points to row {needed - 1} of {plan.path}, which has {found.shape[0]}",
            "select other trains, or ask for corrected data to be made again",
        )


def _read_piece(plan: ReadPlan, piece: FileSlabs, dataset: Any, out: Array) -> None:
    region = plan.region
    if not all(region.hull_shape):
        return
    text = plan.record.dtype == "str"
    if (
        region.is_plain
        and not text
        and out.flags.c_contiguous
        and out.dtype.kind != "O"
        and _converts_alike(plan.dtype, out.dtype)
    ):
        _read_direct(plan, piece, dataset, out)
        return
    source = dataset.asstr(errors="replace") if text else dataset
    for start, stop, at in _slabs(piece):
        read = np.asarray(source[(slice(start, stop), *region.hull)])
        out[at : at + stop - start] = region.finish(read)


def _read_direct(plan: ReadPlan, piece: FileSlabs, dataset: Any, out: Array) -> None:
    """Let HDF5 write to the destination; by its low-level calls, for slabs can be many."""
    from h5py import h5s

    hull = plan.region.hull
    shape = plan.region.hull_shape
    offset, step = tuple(s.start for s in hull), (1, *(s.step for s in hull))
    # An integer in the region leaves a dimension of length 1 in what is read.
    target = out.reshape(len(out), *shape)
    space = dataset.id.get_space()
    for start, stop, at in _slabs(piece):
        count = (stop - start, *shape)
        space.select_hyperslab((start, *offset), count, step)
        dataset.id.read(h5s.create_simple(count), space, target[at : at + stop - start])


def _slabs(piece: FileSlabs) -> Iterable[tuple[int, int, int]]:
    """Start and stop row of each slab, and the row of the array that it goes to."""
    return zip(piece.starts.tolist(), piece.stops.tolist(), piece.targets.tolist(), strict=True)


def _converts_alike(stored: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether HDF5 converts, and as numpy does, so that it may write to the destination itself."""
    if stored == wanted:
        return True
    real = stored.kind in "iuf" and wanted.kind in "iuf"
    return real and bool(np.can_cast(stored, wanted, "safe"))


def check_consistent(
    source: str, record: KeyRecord, described: Sequence[tuple[FileRef, KeyRecord | None]]
) -> KeyRecord:
    """The description of a key that all files to be read agree on; ``record`` if there are none.

    Raises
    ------
    InconsistentFilesError
        Two of the files differ; both are named.
    """
    if not described:
        return record
    first_ref, first = described[0]
    for ref, other in described:
        if first is None or other is None:
            lacking = first_ref if first is None else ref
            having = ref if first is None else first_ref
            if having is lacking:
                continue
            raise InconsistentFilesError(
                source, record.name, f"{lacking.path} lacks it", (having.path, lacking.path)
            )
        if other is not first and _kind(other) != _kind(first):
            raise InconsistentFilesError(
                source, record.name, _difference(first, other), (first_ref.path, ref.path)
            )
    return record if first is None else first


def _kind(record: KeyRecord) -> tuple[str, tuple[int, ...]]:
    return record.dtype, record.entry_shape


def _difference(first: KeyRecord, other: KeyRecord) -> str:
    return (
        f"type {first.dtype} with entry shape {first.entry_shape}"
        f" against {other.dtype} with {other.entry_shape}"
    )


def read_attributes(
    ref: FileRef, path: str, key: str, with_group: bool, files: OpenFiles
) -> dict[str, Any]:
    """The HDF5 attributes of a key: of the dataset and, ``with_group``, of the group it is in."""
    with files.borrow(ref.data_file) as opened:
        found = opened.dataset(path, key)
        if found is None:
            raise FileStructureError(ref.path, f"has no dataset {path}")
        dataset = found.dataset
        attributes: dict[str, Any] = dict(dataset.attrs)
        if with_group:
            attributes.update(dataset.parent.attrs)
        return attributes
