"""Reads that fill an array from a dataset past HDF5, by its chunk map.

``find_tasks`` gives them, each to be done on its own and in any order, or None where HDF5 is to
read: a chunk is missing or unusual. (Only of 1,000s of deflated chunks of few bytes is HDF5 faster,
by a third, once it has opened the file.)

1. Whole rows that are not compressed: stretches of bytes, as few as there can be, go straight to
   their places (``find_extents``).
2. Whole rows of compressed chunks: many small chunks at once (``find_row_chunks``).
3. Otherwise, for slabs and a region, the chunks that hold any of it and of each the part
   (``find_parts``), compressed neighbours in one read.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.hdf5.chunks import (
    ChunkLayout,
    ChunkMap,
    Inflate,
    StoredDataError,
    decode_chunk,
    inflate_chunk,
    put_items,
)
from ...catalog.model.runlength import Int64s
from ..select.rows import FileSlabs

Task = Callable[[], None]
Slices = tuple[slice, ...]
Span = tuple[int, ...]

BLOCK_BYTES = 4 * 2**20  # the most that is read at once to be taken apart
TOGETHER = 64 * 2**10  # bytes of small chunks that are put to their places at once
GAP_BYTES = 64 * 2**10  # between two stretches: less is sooner read for nothing than read in two


def find_tasks(
    handle: int,
    chunks: ChunkMap,
    slabs: FileSlabs,
    hull: Slices,
    target: NDArray[Any],
    *,
    most: int,
    inflate: Inflate | None,
) -> list[Task] | None:
    """The reads that fill ``target``, (rows, *hull), of the type that is stored.

    ``slabs`` are the rows, and where in ``target`` they go, ``hull`` is an ascending slice per
    dimension of an entry; none of them is empty. A task reads about ``most`` bytes at most. Without
    ``inflate``, from ``find_inflate``, compressed data are left to HDF5.
    """
    layout = chunks.layout
    whole = all(s == slice(0, n, 1) for s, n in zip(hull, layout.shape[1:], strict=True))
    if layout.holds_rows and whole and target.flags.c_contiguous:
        extents = find_extents(chunks, slabs)
        if extents is None:
            return None
        memory = bytes_of(target)
        return [partial(_read_extents, handle, memory, some) for some in _portions(extents, most)]
    if layout.deflated and inflate is None:
        return None
    of_rows = layout.chunk_shape[1:] == layout.shape[1:]
    if layout.deflated and inflate is not None and of_rows and whole and target.flags.c_contiguous:
        found = find_row_chunks(chunks, slabs)
        if found is None:
            return None
        step = max(most // layout.chunk_bytes, 1)
        portions = (found.part(n, n + step) for n in range(0, found.offsets.size, step))
        return [partial(_read_rows, handle, layout, inflate, target, part) for part in portions]
    parts = find_parts(chunks, slabs, hull)
    if parts is None:
        return None
    groups = _in_groups(layout, parts, most)
    if inflate is not None and layout.deflated:
        return [partial(_read_deflated, handle, layout, inflate, target, group) for group in groups]
    return [partial(_read_plain, handle, layout, target, group) for group in groups]


# -- whole rows: the same bytes in the file and in memory ------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Extents:
    """Bytes ``offsets[i]`` onwards of the file go to ``places[i]`` onwards of the array."""

    offsets: Int64s
    places: Int64s
    sizes: Int64s


def find_extents(chunks: ChunkMap, slabs: FileSlabs) -> Extents | None:
    """The extents of some slabs of whole rows; None if a chunk is only for HDF5 to read."""
    chunk, first, n_rows, at = _cut_at_chunks(chunks.layout, slabs)
    base = chunks.offsets[chunk]
    if base.min(initial=0) < 0:
        return None
    width = chunks.layout.row_bytes
    offsets, places, sizes = base + first * width, at * width, n_rows * width
    new = (offsets[1:] != (offsets + sizes)[:-1]) | (places[1:] != (places + sizes)[:-1])
    at = np.concatenate(([0], np.flatnonzero(new) + 1))
    return Extents(offsets[at], places[at], np.add.reduceat(sizes, at))


def _cut_at_chunks(layout: ChunkLayout, slabs: FileSlabs) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """Slabs of whole rows in pieces of one chunk each.

    Of each piece the number of the chunk along the first dimension, its first row in it, how many
    rows it has, and where they go.
    """
    starts, stops = slabs.starts, slabs.stops
    rows_per_chunk = layout.chunk_shape[0]
    first = starts // rows_per_chunk
    number = (stops - 1) // rows_per_chunk - first + 1
    slab = np.repeat(np.arange(starts.size), number)
    chunk = first[slab] + np.arange(slab.size) - np.repeat(np.cumsum(number) - number, number)
    low = np.maximum(starts[slab], chunk * rows_per_chunk)
    high = np.minimum(stops[slab], (chunk + 1) * rows_per_chunk)
    return chunk, low - chunk * rows_per_chunk, high - low, slabs.targets[slab] + low - starts[slab]


def _portions(extents: Extents, most: int) -> Iterator[Extents]:
    """The extents in portions of about ``most`` bytes, longer ones cut."""
    offsets, places, sizes = extents.offsets, extents.places, extents.sizes
    if sizes.max(initial=0) > most:
        n_cuts = -(-sizes // most)
        at = np.repeat(np.arange(sizes.size), n_cuts)
        done = (np.arange(at.size) - np.repeat(np.cumsum(n_cuts) - n_cuts, n_cuts)) * most
        offsets, places = offsets[at] + done, places[at] + done
        sizes = np.minimum(sizes[at] - done, most)
    portion = (np.cumsum(sizes) - sizes) // most
    edges = [0, *(np.flatnonzero(np.diff(portion)) + 1).tolist(), sizes.size]
    for some in map(slice, edges, edges[1:]):
        yield Extents(offsets[some], places[some], sizes[some])


def _read_extents(handle: int, memory: memoryview, extents: Extents) -> None:
    junk = memoryview(bytearray(GAP_BYTES)) if extents.sizes.size > 1 else memoryview(b"")
    buffers: list[memoryview] = []
    begin = end = 0
    listed = (extents.offsets.tolist(), extents.places.tolist(), extents.sizes.tolist())
    for offset, place, size in zip(*listed, strict=True):
        gap = offset - end
        if not buffers or not 0 <= gap <= GAP_BYTES:
            read_into(handle, buffers, begin)
            buffers, begin = [], offset
        elif gap:
            buffers.append(junk[:gap])
        buffers.append(memory[place : place + size])
        end = offset + size
    read_into(handle, buffers, begin)


# -- whole rows of compressed chunks ---------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class RowChunks:
    """Rows ``firsts[i]`` onwards of the chunk at ``offsets[i]`` go to row ``places[i]`` onwards."""

    offsets: Int64s
    sizes: Int64s
    firsts: Int64s
    n_rows: Int64s
    places: Int64s

    def part(self, begin: int, end: int) -> "RowChunks":
        """Some of them."""
        columns = (self.offsets, self.sizes, self.firsts, self.n_rows, self.places)
        return RowChunks(*(column[begin:end] for column in columns))


def find_row_chunks(chunks: ChunkMap, slabs: FileSlabs) -> RowChunks | None:
    """The chunks of some slabs of whole rows; None if one is only for HDF5 to read."""
    chunk, firsts, n_rows, places = _cut_at_chunks(chunks.layout, slabs)
    offsets = chunks.offsets[chunk]
    if offsets.min(initial=0) < 0:
        return None
    return RowChunks(offsets, chunks.sizes[chunk], firsts, n_rows, places)


def _read_rows(
    handle: int, layout: ChunkLayout, inflate: Inflate, target: NDArray[Any], part: RowChunks
) -> None:
    """Decompress chunks, neighbours of one read, and put those that are wanted whole together."""
    per_chunk = layout.chunk_shape[0]
    ends = (part.offsets + part.sizes).tolist()
    others = (part.firsts.tolist(), part.n_rows.tolist(), part.places.tolist())
    for run in _in_runs(sorted(zip(part.offsets.tolist(), ends, *others, strict=True))):
        begin = run[0][0]
        stored = _read_run(handle, run)
        whole: list[Any] = []
        place, items_of = 0, -1
        for offset, end, first, n_rows, at in run:
            chunk = stored[offset - begin : end - begin]
            if n_rows != per_chunk:
                if items_of != offset:  # of some trains, a chunk has several pieces
                    items, items_of = decode_chunk(chunk, layout, inflate), offset
                target[at : at + n_rows] = items[first : first + n_rows]
                continue
            n_whole = len(whole)
            if whole and (
                at != place + n_whole * per_chunk or n_whole * layout.chunk_bytes >= TOGETHER
            ):
                put_items(whole, layout, target[place : place + n_whole * per_chunk])
                whole = []
            if not whole:
                place = at
            whole.append(inflate_chunk(chunk, layout, inflate))
        if whole:
            put_items(whole, layout, target[place : place + len(whole) * per_chunk])


# -- parts of chunks -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """The part ``chosen`` of the chunk at ``offset``, of ``size`` bytes there, goes to ``to``."""

    offset: int
    size: int
    chosen: Slices
    to: Slices


def find_parts(chunks: ChunkMap, slabs: FileSlabs, hull: Slices) -> list[Part] | None:
    """The parts of chunks that hold the hull of the rows of slabs; None if HDF5 is to read any."""
    layout, offsets, sizes = chunks.layout, chunks.offsets, chunks.sizes
    # The chunks beside each other that hold the hull of a row: number, part, where it goes.
    grid = layout.grid
    strides = [prod(grid[axis + 1 :]) for axis in range(1, len(grid))]
    cuts = [list(_cut(part, n)) for part, n in zip(hull, layout.chunk_shape[1:], strict=True)]
    entry: list[tuple[int, Slices, Slices]] = []
    for cell in product(*cuts):
        number = sum(at * stride for (at, _, _), stride in zip(cell, strides, strict=True))
        entry.append((number, tuple(part for _, part, _ in cell), tuple(to for _, _, to in cell)))
    per_row = prod(grid[1:])
    block = layout.chunk_shape[0]
    if not layout.deflated:
        span = _find_span(layout, hull)
        block = max(BLOCK_BYTES // (layout.row_bytes if span.read_through else span.n_bytes), 1)
    parts: list[Part] = []
    for start, stop, at in slabs.listed():
        row = start
        while row < stop:  # a block of rows of one chunk at a time
            chunk, first = divmod(row, layout.chunk_shape[0])
            end = min(stop, (chunk + 1) * layout.chunk_shape[0], row + block)
            rows = slice(first, first + end - row)
            to_rows = slice(at + row - start, at + end - start)
            for below, chosen, to in entry:
                number = chunk * per_row + below
                offset = int(offsets[number])
                if offset < 0:
                    return None
                parts.append(Part(offset, int(sizes[number]), (rows, *chosen), (to_rows, *to)))
            row = end
    return parts


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


def _in_groups(layout: ChunkLayout, parts: list[Part], most: int) -> Iterator[list[Part]]:
    """Parts in their order, in groups that take about ``most`` bytes of the file to read."""
    group: list[Part] = []
    n_bytes, last = 0, -1
    for part in parts:
        if layout.deflated:  # a chunk is read once for all parts of it that follow each other
            size = layout.chunk_bytes if part.offset != last else 0
        else:
            size = prod(s.stop - s.start for s in part.chosen) * layout.dtype.itemsize
        if group and size and n_bytes + size > most:
            yield group
            group, n_bytes = [], 0
        group.append(part)
        n_bytes, last = n_bytes + size, part.offset
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class _Span:
    """The consecutive bytes of a row of a chunk that hold a part of it.

    They begin ``skip`` bytes into the row; as an array of ``shape`` the part is ``inner`` of it.
    ``read_through``: less is read for nothing in reading all rows at once than a read costs.
    """

    skip: int
    shape: tuple[int, ...]
    inner: Slices
    n_bytes: int
    read_through: bool


def _find_span(layout: ChunkLayout, chosen: Slices) -> _Span:
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


def _read_plain(handle: int, layout: ChunkLayout, target: NDArray[Any], parts: list[Part]) -> None:
    """Copy parts of chunks that are not compressed."""
    pitch, dtype = layout.row_bytes, layout.dtype
    for part in parts:
        rows, *chosen = part.chosen
        span, n_rows = _find_span(layout, tuple(chosen)), rows.stop - rows.start
        begin = part.offset + rows.start * pitch + span.skip
        found: NDArray[Any]
        if span.read_through:
            n_bytes = (n_rows - 1) * pitch + span.n_bytes
            raw = read_array(handle, begin, (n_bytes,), np.dtype(np.uint8))
            inner = np.ndarray(span.shape, dtype, raw).strides
            found = np.ndarray((n_rows, *span.shape), dtype, raw, strides=(pitch, *inner))
        else:
            found = np.empty((n_rows, *span.shape), dtype)
            for row, entry in enumerate(found):
                read_into(handle, [bytes_of(entry)], begin + row * pitch)
        target[part.to] = found[(slice(None), *span.inner)]


def _read_deflated(
    handle: int, layout: ChunkLayout, inflate: Inflate, target: NDArray[Any], parts: list[Part]
) -> None:
    """Decompress chunks, neighbours of one read, and copy the parts."""
    by_chunk: dict[int, list[Part]] = {}
    for part in parts:
        by_chunk.setdefault(part.offset, []).append(part)
    for run in _in_runs([(begin, begin + by_chunk[begin][0].size) for begin in sorted(by_chunk)]):
        stored, begin = _read_run(handle, run), run[0][0]
        for first, last in run:
            items = decode_chunk(stored[first - begin : last - begin], layout, inflate)
            for part in by_chunk[first]:
                target[part.to] = items[part.chosen]


def _in_runs(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans of bytes, which begin with where they begin and end, in runs that one read takes.

    They are sorted; a read is of bounded size.
    """
    runs: list[list[Span]] = []
    for span in spans:
        begin, end = span[0], span[1]
        if runs and begin - runs[-1][-1][1] <= GAP_BYTES and end - runs[-1][0][0] <= BLOCK_BYTES:
            runs[-1].append(span)
        else:
            runs.append([span])
    return runs


def _read_run(handle: int, run: Sequence[Span]) -> memoryview:
    """The bytes from the first to the last of a run; StoredDataError if they are not there."""
    begin, end = run[0][0], max(span[1] for span in run)
    return bytes_of(read_array(handle, begin, (end - begin,), np.dtype(np.uint8)))


# -- positional reads ------------------------------------------------------------------------------

# Threads make them at the same time. The file is not mapped into memory: one that is cut short must
# be an error, not the end of the process.

MOST_BUFFERS = 512  # per call; Linux takes 1024


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
