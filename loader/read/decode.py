"""Bytes of a file into memory, and compressed chunks into items.

HDF5's deflate filter stores a zlib stream per chunk. ``libdeflate`` (package ``deflate``)
decompresses it several times faster than zlib; without that package HDF5 keeps the work, whose own
zlib is often better than Python's. A shuffled chunk has the first byte of every item, then the
second, and so on.

``read_into`` fills buffers by positional reads, which threads can do at the same time. The file is
not mapped into memory: one that is cut short must be an error, not the end of the process.
"""

import os
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ShortReadError",
    "StoredDataError",
    "bytes_of",
    "decode_chunk",
    "find_inflate",
    "read_array",
    "read_into",
]

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


class ShortReadError(StoredDataError):
    """The file ends before the data do."""


def read_into(handle: int, buffers: Sequence[memoryview], offset: int) -> None:
    """Fill the buffers one after the other from ``offset`` on; raises ShortReadError."""
    for first in range(0, len(buffers), MOST_BUFFERS):
        left = list(buffers[first : first + MOST_BUFFERS])
        while left:
            try:
                n_read = os.preadv(handle, left, offset)
            except OSError as error:
                raise StoredDataError(str(error)) from error
            if not n_read:
                raise ShortReadError(f"no data at byte {offset}")
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
