"""How are the bytes of a dataset stored, for readers that know nothing of HDF5?

``find_stored`` asks HDF5 for the layout, the filters, and the place of every chunk. What such
readers cannot read (types without a fixed number of bytes, other filters, data that lie elsewhere)
is a ``NotPlainError`` that says why.
"""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Chunks",
    "Layout",
    "NotPlainError",
    "StoredChunks",
    "find_layout",
    "find_stored",
    "locate_chunks",
    "plain_handle",
]

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


# Where in its file do the bytes of a dataset lie?
#
# 1. ``plain_handle``: the descriptor of a file whose bytes are what HDF5 says, at the same offsets.
# 2. ``find_layout``: how a dataset is stored, or None for what only HDF5 is to read.
# 3. ``locate_chunks``: offset and size of every chunk, asked of HDF5 once.

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class Layout:
    """How a dataset is stored: in chunks of ``chunk_shape``; a contiguous one is a single chunk.

    ``shuffled`` is meant only where it is ``deflated`` too.
    """

    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    contiguous: bool
    deflated: bool
    shuffled: bool

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @cached_property
    def n_chunks(self) -> int:
        """Number of chunks, if none is missing."""
        return prod(self.grid)

    @cached_property
    def chunk_bytes(self) -> int:
        """Size of a chunk that is not compressed."""
        return prod(self.chunk_shape) * self.dtype.itemsize

    @cached_property
    def row_bytes(self) -> int:
        """Size of a row of a chunk."""
        return prod(self.chunk_shape[1:]) * self.dtype.itemsize

    @property
    def holds_rows(self) -> bool:
        """Whether the rows of the dataset are in the file as they are in memory."""
        return not self.deflated and self.chunk_shape[1:] == self.shape[1:]


@dataclass(frozen=True, eq=False, slots=True)
class Chunks:
    """Offset in the file and stored size of each chunk of the grid, in C order.

    An offset of -1 stands for a chunk that only HDF5 is to read: it is not there, so that the fill
    value holds, or it was stored without some of the filters.
    """

    offsets: Int64s
    sizes: Int64s


def plain_handle(file: Any) -> int | None:
    """The descriptor of an open ``h5py.File``; None if its bytes are not simply those of the file.

    That is so with another driver than that for ordinary files, with a user block, and where this
    process has the file open for writing too, with changes that may not be in the file yet.
    """
    from h5py import h5f, h5fd

    fid = file.id
    if fid.get_access_plist().get_driver() != h5fd.SEC2 or fid.get_intent() != h5f.ACC_RDONLY:
        return None
    if fid.get_create_plist().get_userblock():
        return None
    handle: int = fid.get_vfd_handle()
    return handle if os.pread(handle, len(_SIGNATURE), 0) == _SIGNATURE else None


def find_layout(dataset: Any, file: Any) -> Layout | None:
    """How a dataset is stored in this file; None if HDF5 does more to it than is done here."""
    from h5py import h5d, h5o

    dsid = dataset.id
    properties = dsid.get_create_plist()
    kind = properties.get_layout()
    if kind not in (h5d.CONTIGUOUS, h5d.CHUNKED) or not dataset.shape or not dataset.size:
        return None
    if properties.get_external_count() or not _is_plain_number(dataset):
        return None
    if h5o.get_info(dsid).fileno != h5o.get_info(file.id).fileno:
        return None  # an external link leads to another file
    filters = _filters(properties)
    if filters is None:
        return None
    deflated, shuffled = filters
    contiguous = kind == h5d.CONTIGUOUS
    chunk_shape = dataset.shape if contiguous else dataset.chunks
    return Layout(dataset.shape, chunk_shape, dataset.dtype, contiguous, deflated, shuffled)


def _is_plain_number(dataset: Any) -> bool:
    """Whether a number in the file is the same bytes in memory."""
    from h5py import h5t

    dtype = dataset.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        return False
    return bool(dataset.id.get_type().equal(h5t.py_create(dtype, logical=True)))


def _filters(properties: Any) -> tuple[bool, bool] | None:
    """Whether data are deflated and shuffled; None for other filters or another order of them.

    Shuffling alone is left to HDF5: of a chunk at the edge that was stored without filters nothing
    would tell.
    """
    from h5py import h5z

    codes = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if codes == [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]:
        return True, True
    if codes == [h5z.FILTER_DEFLATE]:
        return True, False
    return None if codes else (False, False)


def locate_chunks(dataset: Any, layout: Layout) -> Chunks | None:
    """Where every chunk of a dataset lies; None if HDF5 does not tell."""
    offsets = np.full(layout.n_chunks, -1, np.int64)
    sizes = np.zeros(layout.n_chunks, np.int64)
    if layout.contiguous:
        offset = dataset.id.get_offset()
        if offset is not None:
            offsets[0], sizes[0] = offset, layout.chunk_bytes
        return Chunks(offsets, sizes)
    if not hasattr(dataset.id, "chunk_iter"):  # h5py on an old HDF5
        return None
    found: list[tuple[tuple[int, ...], int, int, int]] = []
    dataset.id.chunk_iter(
        lambda c: found.append((c.chunk_offset, c.filter_mask, c.byte_offset or -1, c.size))
    )
    if found:
        at, masks, byte_offsets, stored = zip(*found, strict=True)
        places = np.asarray(at, np.int64) // np.asarray(layout.chunk_shape, np.int64)
        index = np.ravel_multi_index(tuple(places.T), layout.grid)
        size = np.asarray(stored, np.int64)
        usual = np.asarray(masks) == 0
        if not layout.deflated:
            usual &= size == layout.chunk_bytes
        offsets[index] = np.where(usual, np.asarray(byte_offsets, np.int64), -1)
        sizes[index] = size
    return Chunks(offsets, sizes)
