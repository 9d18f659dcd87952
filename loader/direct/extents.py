"""Which bytes of a file are which bytes of the array, where rows lie in both alike?

1. ``find_extents``: stretches of bytes, as few as there can be.
2. ``extent_tasks``: the reads that fill the array from them, neighbours in one read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .storage import Chunks, Layout
from .transfer import bytes_of, read_into

__all__ = ["Extents", "extent_tasks", "find_extents"]

Int64s = NDArray[np.int64]
Task = Callable[[], None]

GAP_BYTES = 64 * 2**10  # what is read for nothing rather than read in two
SMALL_BYTES = 2 * 2**10  # hardly worth a read


@dataclass(frozen=True, eq=False, slots=True)
class Extents:
    """Bytes ``offsets[i]`` onwards of the file go to ``places[i]`` onwards of the array."""

    offsets: Int64s
    places: Int64s
    sizes: Int64s

    def is_scattered(self, n_slabs: int) -> bool:
        """Whether HDF5, which is called once per slab, takes them together as fast."""
        return bool(self.sizes.size > 2 * n_slabs and self.sizes.mean() < SMALL_BYTES)


def find_extents(
    layout: Layout, chunks: Chunks, starts: Int64s, stops: Int64s, targets: Int64s
) -> Extents | None:
    """The extents of some slabs of whole rows; None if a chunk is only for HDF5 to read.

    ``starts``, ``stops`` and ``targets`` are as in ``FileSlabs``.
    """
    rows_per_chunk = layout.chunk_shape[0]
    first = starts // rows_per_chunk
    number = (stops - 1) // rows_per_chunk - first + 1
    slab = np.repeat(np.arange(starts.size), number)
    chunk = first[slab] + np.arange(slab.size) - np.repeat(np.cumsum(number) - number, number)
    low = np.maximum(starts[slab], chunk * rows_per_chunk)
    high = np.minimum(stops[slab], (chunk + 1) * rows_per_chunk)
    base = chunks.offsets[chunk]
    if base.min(initial=0) < 0:
        return None
    width = layout.row_bytes
    offsets = base + (low - chunk * rows_per_chunk) * width
    places = (targets[slab] + low - starts[slab]) * width
    sizes = (high - low) * width
    ends = offsets + sizes
    new = np.flatnonzero((offsets[1:] != ends[:-1]) | (places[1:] != (places + sizes)[:-1])) + 1
    at = np.concatenate(([0], new))
    return Extents(offsets[at], places[at], np.add.reduceat(sizes, at))


def extent_tasks(handle: int, extents: Extents, target: NDArray[Any], most: int) -> list[Task]:
    """Reads of at most about ``most`` bytes each that fill ``target``, which is C-contiguous."""
    memory = bytes_of(target)
    tasks: list[Task] = []
    group: list[tuple[int, int, int]] = []
    size = 0
    for offset, place, length in _pieces(extents, most):
        if group and size + length > most:
            tasks.append(_task(handle, memory, group))
            group, size = [], 0
        group.append((offset, place, length))
        size += length
    if group:
        tasks.append(_task(handle, memory, group))
    return tasks


def _pieces(extents: Extents, most: int) -> list[tuple[int, int, int]]:
    """Offset, place and size of the extents, long ones in pieces."""
    listed = zip(
        extents.offsets.tolist(), extents.places.tolist(), extents.sizes.tolist(), strict=True
    )
    if extents.sizes.max(initial=0) <= most:
        return list(listed)
    return [
        (offset + done, place + done, min(size - done, most))
        for offset, place, size in listed
        for done in range(0, size, most)
    ]


def _task(handle: int, memory: memoryview, group: list[tuple[int, int, int]]) -> Task:
    def read() -> None:
        junk = memoryview(bytearray(GAP_BYTES)) if len(group) > 1 else memoryview(b"")
        buffers: list[memoryview] = []
        begin = end = 0
        for offset, place, size in group:
            gap = offset - end
            if not buffers or not 0 <= gap <= GAP_BYTES:
                read_into(handle, buffers, begin)
                buffers, begin = [], offset
            elif gap:
                buffers.append(junk[:gap])
            buffers.append(memory[place : place + size])
            end = offset + size
        read_into(handle, buffers, begin)

    return read
