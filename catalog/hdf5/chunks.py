"""Chunk maps: where in its file the bytes of a dataset lie, and how they become items in memory.

Reads past HDF5, values of a scan and references for other tools need the same map, or the reason
for none. ``stored`` makes it of the bytes of the file, ``library`` by the HDF5 library.

``decode_chunk`` gives the items of a deflated chunk. ``libdeflate`` (package ``deflate``) is
several times faster than zlib; without it HDF5 keeps the work of reading arrays, whose own zlib is
often better than Python's. A shuffled chunk has the first byte of every item, then the second, and
so on.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.runlength import Int64s

# In place of an offset: a chunk that is not stored, so that the fill value holds; and one that went
# through other filters than the rest, or has not the size of the others.
ABSENT, UNUSUAL = -1, -2


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
    def is_decodable(self) -> bool:
        """Whether ``decode_chunk`` knows the filters, if there are any.

        Shuffling alone is left to HDF5: nothing tells whether a chunk at the edge was shuffled.
        """
        filters = [codec["id"] for codec in self.codecs]
        return filters in ([], ["zlib"], ["shuffle", "zlib"])

    @cached_property
    def is_direct(self) -> bool:
        """Whether arrays of it are read past HDF5: numbers, deflated or not."""
        return self.dtype.kind in "biuf" and self.is_decodable

    def unusual(self, sizes: Any, masks: Any, at_edge: Any) -> Any:
        """Whether chunks did not go through all filters; arrays, or a chunk's own."""
        # Chunks at the edge may be stored without filters, and nothing but their size tells.
        if self.codecs:
            return (masks != 0) | (at_edge & (sizes == self.chunk_bytes))
        return (masks != 0) | (sizes != self.chunk_bytes)

    def only_offset(self, offset: int, size: int, mask: int) -> int:
        """The offset of the only chunk, as in a ``ChunkMap``."""
        return UNUSUAL if self.unusual(size, mask, self.chunk_shape != self.shape) else offset


@dataclass(frozen=True, eq=False, slots=True)
class ChunkMap:
    """Offset in the file and stored size of each chunk of the grid, in C order.

    A negative offset is ``ABSENT`` or ``UNUSUAL``.
    """

    layout: ChunkLayout
    offsets: Int64s
    sizes: Int64s

    @classmethod
    def unknown(cls, layout: ChunkLayout) -> "ChunkMap":
        """A map without any chunk, for ``put``."""
        return cls(layout, np.full(layout.n_chunks, ABSENT), np.zeros(layout.n_chunks, int))

    def put(self, at: NDArray[Any], offsets: Int64s, sizes: Int64s, masks: NDArray[Any]) -> None:
        """Enter chunks by where they begin in the dataset, (chunks, dimensions).

        ``sizes`` are those in the file, ``masks`` tell which filters a chunk did not go through.
        """
        layout = self.layout
        chunk_shape = np.asarray(layout.chunk_shape)
        try:
            index = np.ravel_multi_index(tuple((at // chunk_shape).T), layout.grid)
        except ValueError as error:
            raise NotPlainError("chunks that lie outside of the dataset") from error
        at_edge = (at + chunk_shape > np.asarray(layout.shape)).any(axis=1)
        self.offsets[index] = np.where(layout.unusual(sizes, masks, at_edge), UNUSUAL, offsets)
        self.sizes[index] = sizes

    def put_only(self, offset: int, size: int, mask: int) -> None:
        """Enter the only chunk: that of most keys, for which ``put`` takes ten times as long."""
        self.offsets[0] = self.layout.only_offset(offset, size, mask)
        self.sizes[0] = size


class StoredDataError(Exception):
    """Bytes in the file are not what they were taken for; HDF5 is to read them or to say why."""


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


def inflate_by_zlib(stored: Any, size: int) -> bytes:
    """As what ``find_inflate`` gives; for the few small values of a scan it is fast enough."""
    try:
        return zlib.decompress(stored, bufsize=size)
    except zlib.error as error:
        raise StoredDataError(str(error)) from error


def decode_chunk(stored: memoryview | bytes, layout: ChunkLayout, inflate: Inflate) -> NDArray[Any]:
    """The items of a chunk that is stored as a zlib stream; raises StoredDataError if it is not."""
    content = inflate_chunk(stored, layout, inflate)
    if not layout.shuffled or layout.dtype.itemsize == 1:
        return np.frombuffer(content, layout.dtype).reshape(layout.chunk_shape)
    items = np.empty(layout.chunk_shape, layout.dtype)
    put_items([content], layout, items)
    return items


def inflate_chunk(stored: memoryview | bytes, layout: ChunkLayout, inflate: Inflate) -> Any:
    """The bytes of a chunk, which may be shuffled; raises StoredDataError as ``decode_chunk``."""
    content = inflate(stored, layout.chunk_bytes)
    if len(content) != layout.chunk_bytes:
        raise StoredDataError(f"a chunk has {len(content)} bytes, not {layout.chunk_bytes}")
    return content


def put_items(contents: Sequence[Any], layout: ChunkLayout, items: NDArray[Any]) -> None:
    """Put the items of inflated chunks one behind the other into a C-contiguous array."""
    found = np.frombuffer(contents[0] if len(contents) == 1 else b"".join(contents), np.uint8)
    memory = items.reshape(-1).view(np.uint8)
    width = layout.dtype.itemsize
    if not layout.shuffled or width == 1:
        memory[:] = found
        return
    planes = found.reshape(len(contents), width, -1)
    split = memory.reshape(len(contents), -1, width)
    for place in range(width):  # three times faster than by one transposition
        split[:, :, place] = planes[:, place]
