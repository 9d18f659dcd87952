"""How does a compressed chunk become its bytes?

HDF5's deflate filter stores a zlib stream per chunk. It is decompressed by ``libdeflate`` (package
``deflate``), several times faster than by zlib; without that package HDF5 keeps the work, whose own
zlib is often better than Python's. A shuffled chunk has the first byte of every item, then the
second, and so on.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .transfer import StoredDataError

__all__ = ["decode_chunk", "find_inflate"]

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
