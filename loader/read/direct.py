"""Which parts of which chunks go where, and how does each get there?

1. ``find_parts``: for slabs and a region, the chunks that hold any of it, and of each the part.
2. ``part_tasks``: the reads that fill the array from them, compressed neighbours in one read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunks import Chunks, Layout
from .decode import Inflate, bytes_of, decode_chunk, read_array, read_into
from .rows import Int64s

__all__ = [
    "Extents",
    "Part",
    "extent_tasks",
    "find_extents",
    "find_parts",
    "find_tasks",
    "part_tasks",
]

Task = Callable[[], None]
Slab = tuple[int, int, int]
Slices = tuple[slice, ...]

BLOCK_BYTES = 4 * 2**20  # the most that is read at once to be taken apart


@dataclass(frozen=True, slots=True)
class Part:
    """The part ``chosen`` of the chunk at ``offset``, of ``size`` bytes there, goes to ``to``."""

    offset: int
    size: int
    chosen: Slices
    to: Slices


def find_parts(
    layout: Layout, chunks: Chunks, slabs: list[Slab], hull: Slices
) -> list[Part] | None:
    """The parts of chunks that hold the hull of the rows of slabs; None if HDF5 is to read any.

    A slab is start row, stop row, and the row of the array that it goes to.
    """
    entry = list(_entry_parts(layout, hull))
    per_row = prod(layout.grid[1:])
    block = _rows_at_once(layout, hull)
    offsets, sizes = chunks.offsets, chunks.sizes
    parts: list[Part] = []
    for start, stop, at in slabs:
        for chunk, rows, done in _row_blocks(start, stop, layout.chunk_shape[0], block):
            to_rows = slice(at + done, at + done + rows.stop - rows.start)
            for below, chosen, to in entry:
                number = chunk * per_row + below
                offset = int(offsets[number])
                if offset < 0:
                    return None
                parts.append(Part(offset, int(sizes[number]), (rows, *chosen), (to_rows, *to)))
    return parts


def _entry_parts(layout: Layout, hull: Slices) -> Iterator[tuple[int, Slices, Slices]]:
    """The chunks beside each other that hold the hull of a row: number, part, where it goes."""
    grid = layout.grid
    strides = [prod(grid[axis + 1 :]) for axis in range(1, len(grid))]
    cuts = [list(_cut(part, n)) for part, n in zip(hull, layout.chunk_shape[1:], strict=True)]
    for cell in product(*cuts):
        number = sum(at * stride for (at, _, _), stride in zip(cell, strides, strict=True))
        yield number, tuple(chosen for _, chosen, _ in cell), tuple(to for _, _, to in cell)


def _cut(part: slice, length: int) -> Iterator[tuple[int, slice, slice]]:
    """A slice cut at multiples of ``length``: number of the chunk, slice in it, slice of result."""
    at, done, step = part.start, 0, part.step
    while at < part.stop:
        chunk, first = divmod(at, length)
        number = len(range(at, min(part.stop, (chunk + 1) * length), step))
        chosen = slice(first, first + (number - 1) * step + 1, step)
        yield chunk, chosen, slice(done, done + number)
        done += number
        at += number * step


def _row_blocks(
    start: int, stop: int, per_chunk: int, block: int
) -> Iterator[tuple[int, slice, int]]:
    """Rows of a slab in stretches of one chunk: its number, rows in it, rows done before."""
    row = start
    while row < stop:
        chunk, first = divmod(row, per_chunk)
        end = min(stop, (chunk + 1) * per_chunk, row + block)
        yield chunk, slice(first, first + end - row), row - start
        row = end


def _rows_at_once(layout: Layout, hull: Slices) -> int:
    if layout.deflated:
        return layout.chunk_shape[0]
    span = _find_span(layout, hull)
    return max(BLOCK_BYTES // (layout.row_bytes if span.read_through else span.n_bytes), 1)


@dataclass(frozen=True, slots=True)
class _Span:
    """The consecutive bytes of a row of a chunk that hold a part of it.

    They begin ``skip`` bytes into the row; as an array of ``shape`` the part is ``inner`` of it.
    ``read_through``: less is read for nothing in reading all rows at once than is worth a read.
    """

    skip: int
    shape: tuple[int, ...]
    inner: Slices
    n_bytes: int
    read_through: bool


def _find_span(layout: Layout, chosen: Slices) -> _Span:
    width = layout.dtype.itemsize
    lengths = layout.chunk_shape[1:]
    skip, shape, inner = 0, list(lengths), list(chosen)
    for axis, part in enumerate(chosen):
        skip += part.start * prod(lengths[axis + 1 :]) * width
        shape[axis] = part.stop - part.start
        inner[axis] = slice(0, shape[axis], part.step)
        if shape[axis] != 1:
            break
    n_bytes = prod(shape) * width
    return _Span(skip, tuple(shape), tuple(inner), n_bytes, layout.row_bytes - n_bytes <= GAP_BYTES)


def part_tasks(
    handle: int,
    layout: Layout,
    parts: list[Part],
    target: NDArray[Any],
    most: int,
    inflate: Inflate | None,
) -> list[Task]:
    """Reads of about ``most`` bytes each that fill ``target`` from the parts."""
    tasks: list[Task] = []
    width = layout.dtype.itemsize
    group: list[Part] = []
    size, last = 0, -1
    for part in parts:
        if layout.deflated:
            more = layout.chunk_bytes if part.offset != last else 0
        else:
            more = prod(s.stop - s.start for s in part.chosen) * width
        if group and more and size + more > most:
            tasks.append(_task(handle, layout, group, target, inflate))
            group, size = [], 0
        group.append(part)
        size, last = size + more, part.offset
    if group:
        tasks.append(_task(handle, layout, group, target, inflate))
    return tasks


def _task(
    handle: int,
    layout: Layout,
    parts: list[Part],
    target: NDArray[Any],
    inflate: Inflate | None,
) -> Task:
    def read() -> None:
        if inflate is None:
            for part in parts:
                _read_part(handle, layout, part, target)
            return
        for stored, wanted in _fetch(handle, parts):
            items = decode_chunk(stored, layout.chunk_shape, layout.dtype, layout.shuffled, inflate)
            for part in wanted:
                target[part.to] = items[part.chosen]

    return read


def _read_part(handle: int, layout: Layout, part: Part, target: NDArray[Any]) -> None:
    """Copy a part of a chunk that is not compressed."""
    rows, *chosen = part.chosen
    span = _find_span(layout, tuple(chosen))
    pitch, dtype, n_rows = layout.row_bytes, layout.dtype, rows.stop - rows.start
    begin = part.offset + rows.start * pitch + span.skip
    found: NDArray[Any]
    if span.read_through:
        raw = read_array(handle, begin, ((n_rows - 1) * pitch + span.n_bytes,), np.dtype(np.uint8))
        inner = np.ndarray(span.shape, dtype, raw).strides
        found = np.ndarray((n_rows, *span.shape), dtype, raw, strides=(pitch, *inner))
    else:
        found = np.empty((n_rows, *span.shape), dtype)
        for row, entry in enumerate(found):
            read_into(handle, [bytes_of(entry)], begin + row * pitch)
    target[part.to] = found[(slice(None), *span.inner)]


def _fetch(handle: int, parts: list[Part]) -> Iterator[tuple[memoryview, list[Part]]]:
    """Each chunk as it is stored, with the parts that are wanted of it."""
    by_chunk: dict[int, list[Part]] = {}
    for part in parts:
        by_chunk.setdefault(part.offset, []).append(part)
    waiting: list[list[Part]] = []
    begin = end = 0
    for offset in sorted(by_chunk):
        found = by_chunk[offset]
        stop = offset + found[0].size
        if waiting and not (offset - end <= GAP_BYTES and stop - begin <= BLOCK_BYTES):
            yield from _fetch_together(handle, begin, end, waiting)
            waiting = []
        if not waiting:
            begin = offset
        waiting.append(found)
        end = stop
    yield from _fetch_together(handle, begin, end, waiting)


def _fetch_together(
    handle: int, begin: int, end: int, waiting: list[list[Part]]
) -> Iterator[tuple[memoryview, list[Part]]]:
    stored = bytes_of(read_array(handle, begin, (end - begin,), np.dtype(np.uint8)))
    for parts in waiting:
        first = parts[0].offset - begin
        yield stored[first : first + parts[0].size], parts


# Which reads fill an array from a dataset, past HDF5?
#
# ``find_tasks`` gives them, each to be done on its own and in any order, or None where HDF5 is to
# read: a chunk is missing or not stored as usual, or chunks are so small that HDF5 is as fast.


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


# Which bytes of a file are which bytes of the array, where rows lie in both alike?
#
# 1. ``find_extents``: stretches of bytes, as few as there can be.
# 2. ``extent_tasks``: the reads that fill the array from them, neighbours in one read.


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
            tasks.append(_extent_task(handle, memory, group))
            group, size = [], 0
        group.append((offset, place, length))
        size += length
    if group:
        tasks.append(_extent_task(handle, memory, group))
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


def _extent_task(handle: int, memory: memoryview, group: list[tuple[int, int, int]]) -> Task:
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
