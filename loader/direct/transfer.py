"""How do bytes get from a file into memory?

``read_into`` fills buffers from consecutive bytes of a file by positional reads, which threads can
do at the same time. The file is not mapped into memory: one that is cut short must be an error, not
the end of the process.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ShortReadError", "StoredDataError", "bytes_of", "read_array", "read_into"]

MOST_BUFFERS = 512  # Linux takes 1024


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
