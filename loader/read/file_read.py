"""How do the rows of one file get to their places in the arrays?

1. The file is opened and its datasets compared with the facts: type, entry shape, length.
2. Slabs with little between them are read as one; what was between is dropped (``_join_close``).
3. Rows go straight to the destination where type, region and memory allow, else through a block.
4. Past HDF5 (``direct``), in threads, where that gives the same; else by a hyperslab per slab, the
   base that is always right. If a stored chunk is not as expected, HDF5 reads all of it again.
5. At the end the file must still be what it was at the beginning.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import (
    ChangedFileError,
    FileStructureError,
    InconsistentFilesError,
    XfelcatError,
)
from .decode import StoredDataError, bytes_of, read_into
from .direct import find_tasks
from .files import OpenDataset, OpenFile, OpenFiles
from .rows import FileSlabs, Int64s, ReadPlan
from .threads import Crew, Means

__all__ = ["FileRead", "Goal", "check_dataset"]

Array = NDArray[Any]
Futures = list["Future[None]"]

BLOCK_BYTES = 64 * 2**20  # the most that is read at once not straight to the destination
CLOSE_BYTES = 16 * 2**10  # between slabs: less is sooner read than another slab begun
SMALL_BYTES = 64 * 2**10  # are read at once
LEAST_TASK, MOST_TASK = 2**20, 8 * 2**20


def check_dataset(plan: ReadPlan, piece: FileSlabs, file: OpenFile) -> OpenDataset:
    """The dataset of a plan in an open file; an error unless it is what was planned with."""
    record, path = plan.record, piece.data_file.path
    found = file.dataset(plan.path, record.name)
    if found is None:
        raise FileStructureError(
            path,
            f"has no dataset {plan.path}",
            "select trains that lie in other files, or deselect the key",
        )
    entry_shape = found.shape[1:]
    if (found.dtype, entry_shape) != (record.dtype, record.entry_shape):
        detail = (
            f"type {record.dtype} with entry shape {record.entry_shape}"
            f" against {found.dtype} with {entry_shape}"
        )
        if piece is plan.pieces[0]:
            raise ChangedFileError(path, f"{plan.path}: {detail}")
        raise InconsistentFilesError(
            plan.source, record.name, detail, (plan.pieces[0].data_file.path, path)
        )
    if found.shape[0] < piece.end:
        raise FileStructureError(
            path,
            f"INDEX points to row {piece.end - 1} of {plan.path}, which has {found.shape[0]}",
            "select other trains, or ask for corrected data to be made again",
        )
    return found


@dataclass(frozen=True, eq=False, slots=True)
class _Slabs:
    """Rows ``starts[i]`` up to ``stops[i]`` go to ``targets[i]`` onwards."""

    starts: Int64s
    stops: Int64s
    targets: Int64s

    @property
    def n_rows(self) -> int:
        return int((self.stops - self.starts).sum())

    @property
    def rows(self) -> Int64s:
        """The number of every row."""
        lengths = self.stops - self.starts
        before = np.cumsum(lengths) - lengths
        rows: Int64s = np.arange(lengths.sum()) + np.repeat(self.starts - before, lengths)
        return rows


class Goal:
    """An array to be filled from a plan, and what is the same for all its files."""

    __slots__ = ("dtype", "memory", "out", "plan", "row_bytes", "target")

    def __init__(self, plan: ReadPlan, out: Array) -> None:
        self.plan = plan
        self.out = out
        self.dtype = plan.dtype
        region = plan.region
        # An integer in the region leaves a dimension of length 1 in what is read.
        plain = region.is_plain and out.dtype.kind != "O"
        kept = tuple(axis + 1 for axis in region.dropped)
        self.target = np.expand_dims(out, kept) if plain and kept else out if plain else None
        # Of rows that go to their places as they are.
        straight = region.whole and plain and out.dtype == self.dtype and out.flags.c_contiguous
        self.row_bytes = prod(plan.record.entry_shape) * self.dtype.itemsize
        self.memory = bytes_of(out) if straight and out.size else None


class FileRead:
    """The reading of one file for some goals: ``start`` it, then ``finish`` or ``abandon`` it."""

    def __init__(
        self, jobs: Sequence[tuple[Goal, FileSlabs]], files: OpenFiles, crew: Crew
    ) -> None:
        self._jobs = jobs
        self._files = files
        self._crew = crew
        self._data_file = jobs[0][1].data_file
        self._file: OpenFile | None = None
        self._running: list[tuple[_JobRead, Futures]] = []

    def start(self) -> bool:
        """Open the file and read it; whether there is still something for threads to do."""
        try:
            self._file = file = self._files.acquire(self._data_file)
            for goal, piece in self._jobs:
                found = check_dataset(goal.plan, piece, file)
                if not _read_small(goal, piece, file, found, self._files.means.direct):
                    job = _JobRead(goal, piece, file, found, self._files.means, self._crew)
                    running = job.read()
                    if running:
                        self._running.append((job, running))
        except BaseException:
            self.abandon()
            raise
        return bool(self._running)

    def finish(self) -> None:
        """Wait for the threads; raise what went wrong. The file is free then."""
        try:
            for job, running in self._running:
                job.complete(running)
            if self._file is not None:
                self._file.check_unchanged()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop; no thread works on it any more then, and the file is free."""
        for _, running in self._running:
            for future in running:
                future.cancel()
            wait(running)
        self._running = []
        if self._file is not None:
            self._file = None
            self._files.release(self._data_file)


def _read_small(
    goal: Goal, piece: FileSlabs, file: OpenFile, found: OpenDataset, direct: bool
) -> bool:
    """Read one slab that lies in the file as in memory, at once; False if it is no such slab.

    It is for keys that have a few bytes in each of many files: nothing is prepared.
    """
    if goal.memory is None or piece.single is None or not direct or file.handle is None:
        return False
    start, stop, at = piece.single
    width = goal.row_bytes
    if (stop - start) * width > SMALL_BYTES:
        return False
    stored = file.storage(found, (stop - start) * width)
    if stored is None:
        return False
    layout, chunks = stored
    chunk, first = divmod(start, layout.chunk_shape[0])
    if not layout.holds_rows or first + stop - start > layout.chunk_shape[0]:
        return False
    offset = int(chunks.offsets[chunk])
    if offset < 0 or layout.dtype != goal.dtype:
        return False
    memory = goal.memory[at * width : (at + stop - start) * width]
    try:
        read_into(file.handle, [memory], offset + first * width)
    except StoredDataError:  # HDF5 is to say what is wrong
        return False
    return True


class _JobRead:
    """The reading of the rows of one file for one goal."""

    def __init__(
        self,
        goal: Goal,
        piece: FileSlabs,
        file: OpenFile,
        found: OpenDataset,
        means: Means,
        crew: Crew,
    ) -> None:
        self._goal = goal
        self._plan = goal.plan
        self._piece = piece
        self._file = file
        self._found = found
        self._means = means
        self._crew = crew
        self._direct = means.direct

    def read(self) -> Futures:
        """Read; what threads still have to do of it."""
        with self._explained():
            return self._fill()

    def complete(self, running: Futures) -> None:
        """Wait for the threads; what they could not make sense of, HDF5 reads again."""
        try:
            with self._explained():
                _await(running)
        except StoredDataError:
            self._direct = False
            self.read()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Tell of which dataset it is that HDF5 cannot read."""
        try:
            yield
        except XfelcatError:
            raise
        except OSError as error:
            self._file.check_unchanged()
            raise FileStructureError(
                self._piece.data_file.path,
                f"{self._plan.path} cannot be read: {error}",
                "select trains that lie in other files, or deselect the key",
            ) from error

    def _fill(self) -> Futures:
        goal, piece, region = self._goal, self._piece, self._plan.region
        if not all(region.hull_shape):
            return []
        slabs = _Slabs(piece.starts, piece.stops, piece.targets)
        joined = _join_close(slabs, goal.row_bytes)
        if joined is None and goal.target is not None:
            running = self._read_past_hdf5(slabs, goal.target)
            if running is not None:
                return running
            if self._read_by_hdf5(slabs, goal.target):
                return []
        for block, taken, at in _blocks(
            slabs if joined is None else joined, slabs, self._block_rows()
        ):
            read = self._read_block(block)
            rows = read if taken is None else read[taken]
            goal.out[at : at + len(rows)] = region.finish(rows)
        return []

    def _row_bytes(self, shape: tuple[int, ...]) -> int:
        itemsize: int = self._found.id.dtype.itemsize
        return prod(shape) * itemsize

    def _block_rows(self) -> int:
        return max(BLOCK_BYTES // max(self._row_bytes(self._plan.region.hull_shape), 1), 1)

    def _read_block(self, block: _Slabs) -> Array:
        """Some rows, all of the hull of each."""
        region, dataset = self._plan.region, self._found.dataset
        if self._plan.record.dtype == "str":
            dataset = dataset.asstr(errors="replace")
        elif self._goal.dtype.kind != "O":
            read = np.empty((block.n_rows, *region.hull_shape), dataset.dtype)
            running = self._read_past_hdf5(block, read)
            try:
                if running is not None:
                    _await(running)
                    return read
            except StoredDataError:
                self._direct = False
            if self._read_by_hdf5(block, read):
                return read
        (start,), (stop,) = block.starts, block.stops
        return np.asarray(dataset[(slice(start, stop), *region.hull)])

    def _read_past_hdf5(self, slabs: _Slabs, target: Array) -> Futures | None:
        """Have threads read the slabs; None, and nothing done, if only HDF5 may."""
        means, handle = self._means, self._file.handle
        n_bytes = slabs.n_rows * self._row_bytes(target.shape[1:])
        stored = self._file.storage(self._found, n_bytes) if self._direct else None
        if stored is None or handle is None or target.dtype != stored[0].dtype:
            return None
        most = n_bytes // (4 * means.n_threads)
        tasks = find_tasks(
            handle,
            *stored,
            (slabs.starts, slabs.stops, slabs.targets),
            self._plan.region.hull,
            target,
            most=min(max(most, LEAST_TASK), MOST_TASK),
            inflate=means.inflate,
        )
        return None if tasks is None else self._crew.start(tasks)

    def _read_by_hdf5(self, slabs: _Slabs, target: Array) -> bool:
        """Let HDF5 write to the memory; by its low-level calls, for slabs can be many.

        False, and nothing done, if it cannot or would convert otherwise than numpy.
        """
        from h5py import h5s

        if not target.flags.c_contiguous or not _converts_alike(self._goal.dtype, target.dtype):
            return False
        dataset, hull = self._found.id, self._plan.region.hull
        shape = self._plan.region.hull_shape
        offset, step = tuple(s.start for s in hull), (1, *(s.step for s in hull))
        space = dataset.get_space()
        listed = (slabs.starts.tolist(), slabs.stops.tolist(), slabs.targets.tolist())
        for start, stop, at in zip(*listed, strict=True):
            count = (stop - start, *shape)
            space.select_hyperslab((start, *offset), count, step)
            dataset.read(h5s.create_simple(count), space, target[at : at + stop - start])
        return True


def _await(running: Futures) -> None:
    """Wait for all of them, and raise the first failure."""
    wait(running)
    for future in running:
        future.result()


def _converts_alike(stored: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether HDF5 converts, and as numpy does, so that it may write to the destination itself."""
    if stored == wanted:
        return True
    real = stored.kind in "iuf" and wanted.kind in "iuf"
    return real and bool(np.can_cast(stored, wanted, "safe"))


def _join_close(slabs: _Slabs, row_bytes: int) -> _Slabs | None:
    """Slabs with little between them as one, if that saves at least half of them."""
    starts, stops, row_bytes = slabs.starts, slabs.stops, max(row_bytes, 1)
    if starts.size < 4:
        return None
    gaps = (starts[1:] - stops[:-1]) * row_bytes
    block = starts * row_bytes // BLOCK_BYTES
    apart = (gaps < 0) | (gaps > CLOSE_BYTES) | (block[1:] != block[:-1])
    if 2 * (np.count_nonzero(apart) + 1) > starts.size:
        return None
    new = np.flatnonzero(apart)
    first = np.concatenate(([0], new + 1))
    return _Slabs(starts[first], stops[np.append(new, -1)], slabs.targets[first])


def _blocks(
    joined: _Slabs, slabs: _Slabs, most_rows: int
) -> Iterator[tuple[_Slabs, Int64s | None, int]]:
    """What is read at once; of that the rows that are wanted, None if all; and where they go."""
    wanted = None if joined is slabs else slabs.rows
    listed = (joined.starts.tolist(), joined.stops.tolist(), joined.targets.tolist())
    ends = [*listed[2][1:], listed[2][0] + slabs.n_rows]
    for start, stop, at, end in zip(*listed, ends, strict=True):
        for low in range(start, stop, most_rows):
            high = min(low + most_rows, stop)
            block = _Slabs(np.array([low]), np.array([high]), np.zeros(1, np.int64))
            if wanted is None:
                yield block, None, at + low - start
                continue
            first = listed[2][0]
            a, b = np.searchsorted(wanted[at - first : end - first], [low, high]) + at - first
            yield block, wanted[a:b] - low, int(a) + first
