"""Which reads fill an array from a dataset, past HDF5?

``find_tasks`` gives them, each to be done on its own and in any order, or None where HDF5 is to
read: a chunk is missing or not stored as usual, or chunks are so small that HDF5 is as fast.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .codec import Inflate
from .extents import extent_tasks, find_extents
from .parts import find_parts, part_tasks
from .storage import Chunks, Layout

if TYPE_CHECKING:
    from ..slabs import Int64s

__all__ = ["find_tasks"]

Task = Callable[[], None]

SMALL_PART = 2 * 2**10
SMALL_CHUNK = 16 * 2**10


def find_tasks(
    handle: int,
    layout: Layout,
    chunks: Chunks,
    slabs: "tuple[Int64s, Int64s, Int64s]",
    hull: tuple[slice, ...],
    target: NDArray[Any],
    *,
    most: int,
    inflate: Inflate | None,
) -> list[Task] | None:
    """The reads that fill ``target``, (rows, *hull), of the type that is stored.

    Parameters
    ----------
    slabs
        Start and stop row of each slab, and the row of ``target`` that it goes to; none is empty.
    hull
        An ascending slice per dimension of an entry; none is empty.
    most
        Size in bytes that a task has about at most.
    inflate
        From ``find_inflate``; None leaves compressed data to HDF5.
    """
    whole = all(s == slice(0, n, 1) for s, n in zip(hull, layout.shape[1:], strict=True))
    if layout.holds_rows and whole and target.flags.c_contiguous:
        extents = find_extents(layout, chunks, *slabs)
        if extents is None or extents.is_scattered(slabs[0].size):
            return None
        return extent_tasks(handle, extents, target, most)
    if layout.chunk_bytes < SMALL_CHUNK or (layout.deflated and inflate is None):
        return None
    listed = list(zip(*(part.tolist() for part in slabs), strict=True))
    parts = find_parts(layout, chunks, listed, hull)
    if parts is None or target.nbytes < len(parts) * SMALL_PART:
        return None
    return part_tasks(handle, layout, parts, target, most, inflate if layout.deflated else None)
