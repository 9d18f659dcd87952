"""Where in its file do the bytes of a dataset lie?

1. ``plain_handle``: the descriptor of a file whose bytes are what HDF5 says, at the same offsets.
2. ``find_layout``: how a dataset is stored, or None for what only HDF5 is to read.
3. ``locate_chunks``: offset and size of every chunk, asked of HDF5 once.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chunks", "Layout", "find_layout", "locate_chunks", "plain_handle"]

Int64s = NDArray[np.int64]
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
    if properties.get_external_count() or not _is_plain_type(dataset):
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


def _is_plain_type(dataset: Any) -> bool:
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
