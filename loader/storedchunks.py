"""How are the bytes of a dataset stored, for readers that know nothing of HDF5?

``find_stored`` asks HDF5 for the layout, the filters, and the place of every chunk. What such
readers cannot read (types without a fixed number of bytes, other filters, data that lie elsewhere)
is a ``NotPlainError`` that says why.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NotPlainError", "StoredChunks", "find_stored"]

Int64s = NDArray[np.int64]

# H5Z and H5D constants of the file format.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2


class NotPlainError(Exception):
    """Why the bytes of a dataset are for HDF5 only."""


@dataclass(frozen=True, eq=False, slots=True)
class StoredChunks:
    """How a dataset is stored.

    ``chunk_shape`` is None where it is contiguous: one stretch of bytes. ``codecs`` are what the
    chunks went through, in this order, as numcodecs are configured. ``offsets`` and ``sizes`` in
    the file are (chunks along the rows, chunks beside each other); an offset of -1: not stored,
    ``fill`` stands for it.
    """

    dtype: np.dtype[Any]
    n_rows: int
    chunk_shape: tuple[int, ...] | None
    codecs: tuple[dict[str, Any], ...]
    fill: Any
    offsets: Int64s
    sizes: Int64s


def find_stored(dataset: Any) -> StoredChunks:
    """How an open ``h5py.Dataset`` is stored; raises NotPlainError."""
    properties = dataset.id.get_create_plist()
    _require_plain(dataset, properties)
    codecs = _find_codecs(properties)
    shape: tuple[int, ...] = dataset.shape
    row_bytes = math.prod(shape[1:]) * dataset.dtype.itemsize
    chunked = properties.get_layout() == _CHUNKED
    if chunked:
        offsets, sizes = _locate(dataset, bool(codecs))
    else:
        place = dataset.id.get_offset()
        offsets = np.array([[-1 if place is None else place]])
        sizes = np.array([[shape[0] * row_bytes]])
    return StoredChunks(
        dataset.dtype,
        shape[0],
        dataset.chunks if chunked else None,
        codecs,
        dataset.fillvalue,
        offsets,
        sizes,
    )


def _require_plain(dataset: Any, properties: Any) -> None:
    dtype, layout = dataset.dtype, properties.get_layout()
    if not _is_plain_type(dataset):
        raise NotPlainError(f"values of type {_type_name(dtype)} are stored in HDF5's own way")
    if layout == _COMPACT:
        raise NotPlainError("the data lie inside the dataset's own header (compact layout)")
    if layout not in (_CONTIGUOUS, _CHUNKED) or properties.get_external_count():
        raise NotPlainError("the data lie in other files (a virtual or external dataset)")
    if dataset.file.userblock_size:
        raise NotPlainError("the file begins with a user block")


def _is_plain_type(dataset: Any) -> bool:
    """Whether a value in the file is the same bytes in memory, of a type that Zarr has."""
    from h5py import h5t

    dtype, stored = dataset.dtype, dataset.id.get_type()
    if dtype.kind == "S":
        return stored.get_strpad() in (h5t.STR_NULLTERM, h5t.STR_NULLPAD)
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        return False
    return bool(stored.equal(h5t.py_create(dtype, logical=True)))


def _type_name(dtype: np.dtype[Any]) -> str:
    if dtype.metadata and "vlen" in dtype.metadata:
        return f"variable-length {getattr(dtype.metadata['vlen'], '__name__', 'array')}"
    return "compound" if dtype.fields else str(dtype)


def _find_codecs(properties: Any) -> tuple[dict[str, Any], ...]:
    codecs: list[dict[str, Any]] = []
    for at in range(properties.get_nfilters()):
        code, _, values, name = properties.get_filter(at)
        if code == _DEFLATE:
            codecs.append({"id": "zlib", "level": values[0]})
        elif code == _SHUFFLE:
            codecs.append({"id": "shuffle", "elementsize": values[0]})
        elif code == _FLETCHER32:
            codecs.append({"id": "fletcher32"})
        else:
            told = name.decode(errors="replace") or "unnamed"
            raise NotPlainError(f"it is stored with the filter {told} (HDF5 number {code})")
    return tuple(codecs)


def _locate(dataset: Any, is_filtered: bool) -> tuple[Int64s, Int64s]:
    """Where each chunk lies, (chunks along the rows, chunks beside each other)."""
    chunk_shape = dataset.chunks
    grid = tuple(-(-n // c) for n, c in zip(dataset.shape, chunk_shape, strict=True))
    offsets = np.full(math.prod(grid), -1, np.int64)
    sizes = np.zeros(math.prod(grid), np.int64)
    found: list[Any] = []
    dataset.id.chunk_iter(found.append)
    if found:
        first = np.array([c.chunk_offset for c in found], np.int64) // np.array(chunk_shape)
        at = np.ravel_multi_index(tuple(first.T), grid)
        offsets[at] = [-1 if c.byte_offset is None else c.byte_offset for c in found]
        sizes[at] = [c.size for c in found]
        whole = math.prod(chunk_shape) * dataset.dtype.itemsize
        at_edge = (first * chunk_shape + chunk_shape > dataset.shape).any(axis=1)
        # Chunks at the edge may be stored without filters, and nothing but their size tells.
        unusual = [
            bool(c.filter_mask) or (edge and c.size == whole if is_filtered else c.size != whole)
            for c, edge in zip(found, at_edge, strict=True)
        ]
        if any(unusual):
            row = found[unusual.index(True)].chunk_offset[0]
            raise NotPlainError(f"the chunk of row {row} is not stored like the others")
    shape = (grid[0], math.prod(grid[1:]))
    return offsets.reshape(shape), sizes.reshape(shape)
