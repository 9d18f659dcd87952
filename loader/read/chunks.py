"""Chunk maps: where in its file the bytes of a dataset lie, and how they become items in memory.

Reads past HDF5 and references for other tools need the same map, or the reason for none.

1. ``plain_handle``: the descriptor of a file whose bytes are what HDF5 says, at the same offsets.
2. ``find_layout``: the ``ChunkLayout`` of a dataset, or a ``NotPlainError`` with the reason.
3. ``locate_chunks``: its ``ChunkMap``, which costs HDF5 a walk over all chunks.
4. ``read_into`` fills buffers by positional reads, which threads can do at the same time. The file
   is not mapped into memory: one that is cut short must be an error, not the end of the process.
5. ``decode_chunk``: the items of a deflated chunk. ``libdeflate`` (package ``deflate``) is several
   times faster than zlib; without it HDF5 keeps the work, whose own zlib is often better than
   Python's. A shuffled chunk has the first byte of every item, then the second, and so on.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.runlength import Int64s

# In place of an offset: a chunk that is not stored, so that the fill value holds; and one that went
# through other filters than the rest, or has not the size of the others.
ABSENT, UNUSUAL = -1, -2

# H5Z and H5D constants of the file format.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class NotPlainError(Exception):
    """Why the bytes of a dataset are for HDF5 only."""


@dataclass(frozen=True, eq=False)
class ChunkLayout:
    """How a dataset is stored: in chunks of ``chunk_shape``; a contiguous one is a single chunk.

    ``codecs`` are what the chunks went through, in this order, as numcodecs are configured.
    """

    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    contiguous: bool
    codecs: tuple[dict[str, Any], ...]

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
        """Size of a chunk before any filter."""
        return prod(self.chunk_shape) * self.dtype.itemsize

    @cached_property
    def row_bytes(self) -> int:
        """Size of a row of a chunk before any filter."""
        return prod(self.chunk_shape[1:]) * self.dtype.itemsize

    @property
    def holds_rows(self) -> bool:
        """Whether the rows of the dataset are in the file as they are in memory."""
        return not self.codecs and self.chunk_shape[1:] == self.shape[1:]

    @cached_property
    def deflated(self) -> bool:
        """Whether chunks are zlib streams."""
        return bool(self.codecs) and self.codecs[-1]["id"] == "zlib"

    @property
    def shuffled(self) -> bool:
        """Whether a chunk has the first bytes of all items, then the second, and so on."""
        return bool(self.codecs) and self.codecs[0]["id"] == "shuffle"

    @cached_property
    def is_direct(self) -> bool:
        """Whether ``direct`` and ``decode`` read it: numbers, deflated or not.

        Shuffling alone is left to HDF5: nothing tells whether a chunk at the edge was shuffled.
        """
        filters = [codec["id"] for codec in self.codecs]
        return self.dtype.kind in "biuf" and filters in ([], ["zlib"], ["shuffle", "zlib"])


@dataclass(frozen=True, eq=False, slots=True)
class ChunkMap:
    """Offset in the file and stored size of each chunk of the grid, in C order.

    A negative offset is ``ABSENT`` or ``UNUSUAL``.
    """

    layout: ChunkLayout
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


def find_layout(dataset: Any, file: Any) -> ChunkLayout:
    """How an open ``h5py.Dataset`` of a file is stored.

    Raises NotPlainError where its values are of a type that only HDF5 reads, it has no rows, or its
    bytes lie elsewhere or went through other filters.
    """
    from h5py import h5o

    dtype, shape, dsid = dataset.dtype, dataset.shape, dataset.id
    properties = dsid.get_create_plist()
    kind = properties.get_layout()
    if not _is_plain_type(dataset):
        raise NotPlainError(f"values of type {_type_name(dtype)} are stored in HDF5's own way")
    if not shape or not dataset.size:
        raise NotPlainError("it has no rows")
    if kind == _COMPACT:
        raise NotPlainError("the data lie inside the dataset's own header (compact layout)")
    if kind not in (_CONTIGUOUS, _CHUNKED) or properties.get_external_count():
        raise NotPlainError("the data lie in other files (a virtual or external dataset)")
    if h5o.get_info(dsid).fileno != h5o.get_info(file.id).fileno:
        raise NotPlainError("the data lie in another file (an external link)")
    if file.userblock_size:
        raise NotPlainError("the file begins with a user block")
    contiguous = kind == _CONTIGUOUS
    chunk_shape = shape if contiguous else dataset.chunks
    return ChunkLayout(shape, chunk_shape, dtype, contiguous, _find_codecs(properties))


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
            label = name.decode(errors="replace") or "unnamed"
            raise NotPlainError(f"it is stored with the filter {label} (HDF5 number {code})")
    return tuple(codecs)


def locate_chunks(dataset: Any, layout: ChunkLayout) -> ChunkMap:
    """Where every chunk of a dataset lies; raises NotPlainError if HDF5 cannot list them."""
    offsets = np.full(layout.n_chunks, ABSENT, np.int64)
    sizes = np.zeros(layout.n_chunks, np.int64)
    if layout.contiguous:
        offset = dataset.id.get_offset()
        if offset is not None:
            offsets[0], sizes[0] = offset, layout.chunk_bytes
        return ChunkMap(layout, offsets, sizes)
    if not hasattr(dataset.id, "chunk_iter"):
        raise NotPlainError("h5py is built with an HDF5 that does not list chunks")
    found: list[tuple[tuple[int, ...], int, int, int]] = []
    dataset.id.chunk_iter(
        lambda c: found.append((c.chunk_offset, c.filter_mask, c.byte_offset or ABSENT, c.size))
    )
    if found:
        at, masks, byte_offsets, stored = (np.asarray(part) for part in zip(*found, strict=True))
        chunk_shape = np.asarray(layout.chunk_shape)
        try:
            index = np.ravel_multi_index(tuple((at // chunk_shape).T), layout.grid)
        except ValueError as error:
            raise NotPlainError("chunks that lie outside of the dataset") from error
        unusual = masks != 0
        if layout.codecs:
            # Chunks at the edge may be stored without filters, and nothing but their size tells.
            at_edge = (at + chunk_shape > np.asarray(layout.shape)).any(axis=1)
            unusual |= at_edge & (stored == layout.chunk_bytes)
        else:
            unusual |= stored != layout.chunk_bytes
        offsets[index] = np.where(unusual, UNUSUAL, byte_offsets)
        sizes[index] = stored
    return ChunkMap(layout, offsets, sizes)


Inflate = Callable[[Any, int], Any]


def find_inflate() -> Inflate | None:
    """A function from a zlib stream and the size of its content to that; None if there is none."""
    try:
        from deflate import DeflateError, zlib_decompress
    except ImportError:
        return None

    def inflate(stored: Any, size: int) -> Any:
        try:
            return zlib_decompress(stored, size)
        except DeflateError as error:
            raise StoredDataError(str(error)) from error

    return inflate


def decode_chunk(
    stored: memoryview,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    shuffled: bool,
    inflate: Inflate,
) -> NDArray[Any]:
    """The items of a chunk that is stored as a zlib stream; raises StoredDataError if it is not."""
    size = prod(shape) * dtype.itemsize
    content = inflate(stored, size)
    if len(content) != size:
        raise StoredDataError(f"a chunk has {len(content)} bytes, not {size}")
    if not shuffled or dtype.itemsize == 1:
        return np.frombuffer(content, dtype).reshape(shape)
    items = np.empty(shape, dtype)
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    split = items.reshape(-1).view(np.uint8).reshape(-1, dtype.itemsize)
    for place, plane in enumerate(planes):  # three times faster than by one transposition
        split[:, place] = plane
    return items


MOST_BUFFERS = 512  # per call; Linux takes 1024


class StoredDataError(Exception):
    """Bytes in the file are not what they were taken for; HDF5 is to read them or to say why."""


def read_into(handle: int, buffers: Sequence[memoryview], offset: int) -> None:
    """Fill the buffers one after the other from ``offset`` on; raises StoredDataError."""
    for first in range(0, len(buffers), MOST_BUFFERS):
        left = list(buffers[first : first + MOST_BUFFERS])
        while left:
            try:
                n_read = os.preadv(handle, left, offset)
            except OSError as error:
                raise StoredDataError(str(error)) from error
            if not n_read:
                raise StoredDataError(f"no data at byte {offset}")
            offset += n_read
            while left and n_read >= len(left[0]):
                n_read -= len(left[0])
                del left[0]
            if n_read:
                left[0] = left[0][n_read:]


def read_array(
    handle: int, offset: int, shape: Sequence[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """A new array of consecutive bytes of the file."""
    array = np.empty(shape, dtype)
    read_into(handle, [bytes_of(array)], offset)
    return array


def bytes_of(array: NDArray[Any]) -> memoryview:
    """The memory of a C-contiguous array."""
    return memoryview(array.reshape(-1).view(np.uint8).data)
