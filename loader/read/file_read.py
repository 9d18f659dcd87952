"""Reading of the rows of one file to their places in an array.

1. Slabs with little between them are read as one; what was between is dropped (``_join_close``).
2. Rows go straight to the destination where type, region and memory allow, else through a block.
3. Past HDF5 (``direct``), in threads, where that gives the same; else by a hyperslab per slab,
   which is always right. If a stored chunk is not as expected, HDF5 reads all of it again.

``execute`` opens the files, checks them before and after, and closes them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.hdf5.chunks import StoredDataError
from ...catalog.model.runlength import Int64s
from ..select.rows import FileSlabs
from .direct import bytes_of, find_tasks, read_into
from .files import DataFileHandle, OpenDataset, ReadOptions
from .plan import ReadPlan

Array = NDArray[Any]
Futures = list["Future[None]"]

BLOCK_BYTES = 64 * 2**20  # the most that is read at once not straight to the destination
CLOSE_BYTES = 16 * 2**10  # between slabs: less is sooner read than another slab begun
SMALL_BYTES = 64 * 2**10  # less is read at once, without preparing anything for threads
# A task for a thread: less does not pay its start, more leaves threads idle at the end.
LEAST_TASK, MOST_TASK = 2**20, 8 * 2**20


class ReadPool:
    """Threads that read one array, started when there is work; with one the callers work.

    Leaving the ``with`` block waits for what runs and drops what does not.
    """

    def __init__(self, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads, "xfelcat-read") if n_threads > 1 else None

    def __enter__(self) -> "ReadPool":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, tasks: Sequence[Callable[[], None]]) -> Futures:
        """Start tasks; the ``result`` of its future raises what a task raised."""
        done: Futures = []
        if self._pool is not None:
            with suppress(RuntimeError):  # no thread can be started, as when the interpreter ends
                for task in tasks:
                    done.append(self._pool.submit(task))
        for task in tasks[len(done) :]:
            future: Future[None] = Future()
            try:
                task()
            except Exception as error:  # noqa: BLE001 - as a pool does: its result raises it
                future.set_exception(error)
            else:
                future.set_result(None)
            done.append(future)
        return done


class ReadTarget:
    """An array to be filled from a plan, and what is the same for all its files.

    ``hull_bytes`` are read of each row. ``n_bytes`` is the size of the array, or of all that is
    read for it: a region by positions is less.
    """

    __slots__ = ("array", "dtype", "hull_bytes", "memory", "n_bytes", "out", "plan", "row_bytes")

    def __init__(self, plan: ReadPlan, out: Array) -> None:
        self.plan = plan
        self.out = out
        self.dtype = plan.dtype
        region = plan.region
        # An integer in the region leaves a dimension of length 1 in what is read.
        plain = not region.fancy and out.dtype.kind != "O"
        kept = tuple(axis + 1 for axis in region.dropped)
        self.array = np.expand_dims(out, kept) if plain and kept else out if plain else None
        # Of rows that go to their places as they are.
        straight = region.whole and plain and out.dtype == self.dtype and out.flags.c_contiguous
        self.row_bytes = prod(plan.record.entry_shape) * self.dtype.itemsize
        self.memory = bytes_of(out) if straight and out.size else None
        self.hull_bytes = prod(region.hull_shape) * self.dtype.itemsize
        self.n_bytes = max(out.nbytes, plan.n_rows * self.hull_bytes)


def read_small(
    target: ReadTarget, slabs: FileSlabs, file: DataFileHandle, found: OpenDataset, direct: bool
) -> bool:
    """Read one slab that lies in the file as in memory, at once; False if it is no such slab.

    It is for keys that have a few bytes in each of many files: nothing is prepared.
    """
    if target.memory is None or slabs.single is None or not direct or file.own is None:
        return False
    start, stop, at = slabs.single
    width = target.row_bytes
    if (stop - start) * width > SMALL_BYTES:
        return False
    offset = found.place(start, stop)
    if offset is None:
        return False
    memory = target.memory[at * width : (at + stop - start) * width]
    try:
        read_into(file.own.fd, [memory], offset)
    except StoredDataError:  # HDF5 is to say what is wrong
        return False
    return True


@dataclass(eq=False)
class FileRead:
    """The reading of the rows of one file to one target."""

    target: ReadTarget
    slabs: FileSlabs
    _file: DataFileHandle
    found: OpenDataset
    _options: ReadOptions
    _pool: ReadPool
    running: Futures = field(default_factory=list)

    def __post_init__(self) -> None:
        self._region = self.target.plan.region
        self._direct = self._options.direct

    def start(self) -> None:
        """Read; ``running`` is what threads still have to do of it."""
        self.running = self._fill()

    def complete(self) -> None:
        """Wait for the threads; what they could not make sense of, HDF5 reads again."""
        try:
            _await(self.running)
        except StoredDataError:
            self._direct = False
            self._fill()

    def _fill(self) -> Futures:
        target, slabs = self.target, self.slabs
        if not all(self._region.hull_shape):
            return []
        joined = _join_close(slabs, target.row_bytes)
        if joined is None and target.array is not None:
            running = self._read_past_hdf5(slabs, target.array)
            if running is not None:
                return running
            if self._read_by_hdf5(slabs, target.array):
                return []
        most_rows = max(BLOCK_BYTES // max(target.hull_bytes, 1), 1)
        for block, taken, at in _blocks(slabs, joined, most_rows):
            read = self._read_block(block)
            rows = read if taken is None else read[taken]
            target.out[at : at + len(rows)] = self._region.finish(rows)
        return []

    def _read_block(self, block: FileSlabs) -> Array:
        """Some rows, all of the hull of each."""
        dataset = self.found.dataset
        if self.target.plan.record.dtype == "str":
            dataset = dataset.asstr(errors="replace")
        elif self.target.dtype.kind != "O":
            read = np.empty((block.n_rows, *self._region.hull_shape), dataset.dtype)
            running = self._read_past_hdf5(block, read)
            try:
                if running is not None:
                    _await(running)
                    return read
            except StoredDataError:
                self._direct = False
            if self._read_by_hdf5(block, read):
                return read
        ((start, stop, _),) = block.listed()
        return np.asarray(dataset[(slice(start, stop), *self._region.hull)])

    def _read_past_hdf5(self, slabs: FileSlabs, array: Array) -> Futures | None:
        """Have threads read the slabs; None, and nothing done, if only HDF5 may."""
        options, own = self._options, self._file.own
        if own is None or not self._direct:
            return None
        chunks = self.found.chunks(int(slabs.starts.min()), slabs.end)
        if chunks is None or array.dtype != chunks.layout.dtype:
            return None
        most = slabs.n_rows * self.target.hull_bytes // (4 * options.n_threads)
        tasks = find_tasks(
            own.fd,
            chunks,
            slabs,
            self._region.hull,
            array,
            most=min(max(most, LEAST_TASK), MOST_TASK),
            inflate=options.inflate,
        )
        return None if tasks is None else self._pool.start(tasks)

    def _read_by_hdf5(self, slabs: FileSlabs, array: Array) -> bool:
        """Let HDF5 write to the memory; by its low-level calls, for slabs can be many.

        False, and nothing done, if it cannot or would convert otherwise than numpy.
        """
        from h5py import h5s, h5t

        stored, wanted = self.target.dtype, array.dtype
        real = stored.kind in "iuf" and wanted.kind in "iuf"
        alike = stored == wanted or (real and np.can_cast(stored, wanted, "safe"))
        if not array.flags.c_contiguous or not alike:
            return False
        dataset, hull, shape = self.found.id, self._region.hull, self._region.hull_shape
        if not real and dataset.dtype != wanted:
            return False  # fields padded in the file: HDF5 would write beyond the array's end
        offset, step = tuple(s.start for s in hull), (1, *(s.step for s in hull))
        space = dataset.get_space()
        # The encoding of text is part of HDF5's type, not of numpy's, and HDF5 converts none.
        kind = None if real else h5t.py_create(dataset.dtype)
        for start, stop, at in slabs.listed():
            count = (stop - start, *shape)
            space.select_hyperslab((start, *offset), count, step)
            dataset.read(h5s.create_simple(count), space, array[at : at + stop - start], kind)
        return True


def _await(running: Futures) -> None:
    """Wait for all of them, and raise the first failure."""
    wait(running)
    for future in running:
        future.result()


def _join_close(slabs: FileSlabs, row_bytes: int) -> tuple[FileSlabs, Int64s] | None:
    """Slabs with little between them as one, if that saves at least half of them.

    With the number of rows before each of them. Only slabs are joined whose rows go side by side.
    """
    starts, stops, row_bytes = slabs.starts, slabs.stops, max(row_bytes, 1)
    if starts.size < 4:
        return None
    gaps = (starts[1:] - stops[:-1]) * row_bytes
    block = starts * row_bytes // BLOCK_BYTES
    ends = slabs.targets + stops - starts
    apart = (gaps < 0) | (gaps > CLOSE_BYTES) | (block[1:] != block[:-1])
    apart |= slabs.targets[1:] != ends[:-1]
    if 2 * (np.count_nonzero(apart) + 1) > starts.size:
        return None
    new = np.flatnonzero(apart)
    first = np.concatenate(([0], new + 1))
    before = (np.cumsum(stops - starts) - (stops - starts))[first]
    joined_stops = stops[np.append(new, -1)]
    return FileSlabs(slabs.data_file, starts[first], joined_stops, slabs.targets[first]), before


def _blocks(
    slabs: FileSlabs, joined: tuple[FileSlabs, Int64s] | None, most_rows: int
) -> Iterator[tuple[FileSlabs, Int64s | None, int]]:
    """What is read at once; of that the rows that are wanted, None if all; and where they go."""
    wanted = None if joined is None else slabs.rows
    read, before = (slabs, np.zeros(slabs.starts.size, np.int64)) if joined is None else joined
    bounds = [*before.tolist(), slabs.n_rows]
    for (start, stop, at), first, end in zip(read.listed(), bounds, bounds[1:], strict=False):
        for low in range(start, stop, most_rows):
            high = min(low + most_rows, stop)
            block = FileSlabs(
                slabs.data_file, np.array([low]), np.array([high]), np.zeros(1, np.int64)
            )
            if wanted is None:
                yield block, None, at + low - start
                continue
            a, b = np.searchsorted(wanted[first:end], [low, high]) + first
            yield block, wanted[a:b] - low, at + int(a) - first
