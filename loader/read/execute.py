"""Execution of read plans: files are opened, checked, read, checked again and released.

1. ``allocate``: the destination, new or given, checked against the plan.
2. ``execute_plan``, ``execute_plans``: one file after the other is opened, its datasets compared
   with the facts (``check_dataset``), and read by ``file_read``. At the end the file must still be
   what it was at the beginning. Where the file system makes one wait, several are opened at once.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ...catalog.hdf5.interface import READ_ERRORS, WAIT_SECONDS, idle_seconds
from ...catalog.model.errors import (
    ChangedFileError,
    FileStructureError,
    InconsistentFilesError,
    TooLargeError,
    XfelcatError,
)
from ..select.rows import FileSlabs
from .file_read import BLOCK_BYTES, FileRead, ReadPool, ReadTarget, read_small
from .files import ELSEWHERE, DataFileHandle, OpenDataset, OpenFiles, explained
from .plan import ReadPlan, difference

Array = NDArray[Any]
Job = tuple[ReadTarget, FileSlabs]

MOST_FILES = 8  # that are read at the same time: the next are opened while threads still read
# The same where each has to be waited for. Each may need a block of memory besides the array.
MOST_WAITING, MOST_WAITING_LARGE = 16, 4
WORTH_THREADS = 2 * 2**20  # less is read sooner than threads start


def allocate(plan: ReadPlan, out: Array | None = None) -> Array:
    """An array for a plan: ``out`` if it is given and fits, else a new one."""
    if out is None:
        try:
            return np.empty(plan.shape, plan.dtype)
        except (MemoryError, ValueError) as error:  # ValueError: more than numpy can count
            n_bytes = plan.dtype.itemsize * prod(plan.shape)
            raise TooLargeError(plan.source, plan.record.name, plan.shape, n_bytes) from error
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, not {type(out).__name__}")
    if out.shape != plan.shape:
        raise ValueError(f"out has shape {out.shape}, the data {plan.shape}")
    if not np.can_cast(plan.dtype, out.dtype, "unsafe"):
        raise TypeError(f"data of type {plan.dtype} do not go into an array of {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    return out


def execute_plan(
    plan: ReadPlan, files: OpenFiles, out: Array | None = None, n_threads: int | None = None
) -> Array:
    """Read everything that a plan names, into ``out`` or a new array.

    Data are converted as HDF5 or numpy does where the type of ``out`` differs. ``n_threads`` read,
    by default as many as the setting says. The errors are those of ``KeyData.ndarray``.
    """
    target = ReadTarget(plan, allocate(plan, out))
    jobs = [[(target, slabs)] for slabs in plan.pieces]
    _read_files(jobs, files, target.n_bytes, n_threads)
    return target.out


def execute_plans(
    plans: Sequence[ReadPlan],
    files: OpenFiles,
    outs: Sequence[Array] | None = None,
    n_threads: int | None = None,
) -> list[Array]:
    """Read everything that several plans name, each file once; see ``execute_plan``.

    Where several fail, the error is that of the first of them, as if they were read one by one.
    """
    given = [None] * len(plans) if outs is None else outs
    targets = [ReadTarget(p, allocate(p, out)) for p, out in zip(plans, given, strict=True)]
    by_file: dict[str, list[Job]] = {}
    for target in targets:
        for slabs in target.plan.pieces:
            by_file.setdefault(slabs.data_file.path, []).append((target, slabs))
    try:
        _read_files(by_file.values(), files, sum(t.n_bytes for t in targets), n_threads)
    except XfelcatError:
        for target in targets:
            execute_plan(target.plan, files, target.out, n_threads)
    return [target.out for target in targets]


def _read_files(
    jobs_of_files: Iterable[Sequence[Job]], files: OpenFiles, n_bytes: int, n_threads: int | None
) -> None:
    """Read one file after the other; while threads still read some, the next are opened.

    As soon as one has to be waited for, the others are read side by side.
    """
    n_threads = n_threads or files.options.n_threads
    rest = deque(jobs_of_files)
    running: deque[_OpenRead] = deque()
    with ReadPool(n_threads if n_bytes >= WORTH_THREADS else 1) as pool:
        try:
            is_slow = False
            while rest and not is_slow:
                if len(running) >= min(files.limit, MOST_FILES):
                    _finish_first(running)
                began = idle_seconds()
                reading = _OpenRead(rest.popleft(), files, pool)
                if n_threads > 1 and not running:  # next to threads that read, Python waits, too
                    is_slow = idle_seconds() - began > WAIT_SECONDS
                if reading.reads or running:
                    running.append(reading)
                else:
                    reading.finish()
            if rest:
                if len(running) >= files.limit:
                    _finish_first(running)
                most = MOST_WAITING if n_bytes < BLOCK_BYTES else MOST_WAITING_LARGE
                at_once = min(most, files.limit - len(running))
                _read_side_by_side(rest, files, pool, at_once)
            while rest:  # what failed next to others, as descriptors or threads are too few
                _read_file(rest.popleft(), files, pool)
        finally:
            while running:  # where one failed, the errors of those before it come first
                _finish_first(running)


def _finish_first(running: deque["_OpenRead"]) -> None:
    """Finish the first; where that fails, those after it are given up."""
    try:
        running.popleft().finish()
    except BaseException:
        while running:
            running.popleft().abandon()
        raise


def _read_file(jobs: Sequence[Job], files: OpenFiles, pool: ReadPool) -> None:
    _OpenRead(jobs, files, pool).finish()


def _read_side_by_side(
    rest: deque[Sequence[Job]], files: OpenFiles, pool: ReadPool, at_once: int
) -> None:
    """Read files, ``at_once`` by as many threads; from the first to fail, they stay in ``rest``."""
    threads = ThreadPoolExecutor(min(at_once, len(rest)), "xfelcat-open")
    running: deque[Future[None]] = deque()
    try:
        for jobs in rest:  # numpy keeps in the context what is to be done about invalid values
            running.append(threads.submit(copy_context().run, _read_file, jobs, files, pool))
        while running:
            running.popleft().result()
            rest.popleft()
    except (XfelcatError, RuntimeError):  # RuntimeError: no thread can be started
        pass
    finally:
        # An error's traceback has this frame: with its future, a circle would keep files open.
        running.clear()
        threads.shutdown(cancel_futures=True)


class _OpenRead:
    """One file that is open and being read for some targets, until ``finish`` or ``abandon``.

    ``reads`` are those of which threads still have something to do.
    """

    def __init__(self, jobs: Sequence[Job], files: OpenFiles, pool: ReadPool) -> None:
        self.reads: list[FileRead] = []
        self._files = files
        self._data_file = jobs[0][1].data_file
        self._file = file = files.acquire(self._data_file)
        self._is_open = True
        try:
            for target, slabs in jobs:
                try:
                    found = check_dataset(target.plan, slabs, file)
                    if read_small(target, slabs, file, found, files.options.direct):
                        continue
                    read = FileRead(target, slabs, file, found, files.options, pool)
                    read.start()
                except READ_ERRORS as error:
                    self._explain(error, target.plan)
                if read.running:
                    self.reads.append(read)
        except BaseException:
            self.abandon()
            raise

    def finish(self) -> None:
        """Wait for the threads; raise what went wrong. The file is free then."""
        try:
            for read in self.reads:
                try:
                    read.complete()
                except READ_ERRORS as error:
                    self._explain(error, read.target.plan)
            self._file.check_unchanged()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop; no thread works on it any more then, and the file is free."""
        for read in self.reads:
            for future in read.running:
                future.cancel()
            wait(read.running)
        self.reads = []
        if self._is_open:
            self._is_open = False
            self._files.release(self._data_file)

    def _explain(self, error: Exception, plan: ReadPlan) -> NoReturn:
        """Raise what went wrong, with the dataset that HDF5 cannot read."""
        try:
            with explained(self._data_file.path, plan.path):
                if not isinstance(error, XfelcatError):
                    self._file.check_unchanged()
                    found = self._file.dataset(plan.path, plan.record.name)
                    if found is not None and (reason := found.missing_filter()):
                        raise OSError(reason) from error
                raise error
        finally:
            del error  # its traceback has this frame: a circle would keep the file open


def check_dataset(plan: ReadPlan, slabs: FileSlabs, file: DataFileHandle) -> OpenDataset:
    """The dataset of a plan in an open file; an error unless it is what was planned with."""
    record, path = plan.record, slabs.data_file.path
    found = file.dataset(plan.path, record.name)
    if found is None:
        raise FileStructureError(path, f"has no dataset {plan.path}", ELSEWHERE)
    entry_shape = found.shape[1:]
    if (found.dtype, entry_shape) != (record.dtype, record.entry_shape):
        detail = difference(record, found.dtype, entry_shape)
        if slabs is plan.pieces[0]:
            raise ChangedFileError(path, f"{plan.path}: {detail}")
        first = plan.pieces[0].data_file.path
        raise InconsistentFilesError(plan.source, record.name, detail, (first, path))
    if found.is_virtual and (lost := found.lost_source(int(slabs.starts.min()), slabs.end)):
        raise FileStructureError(path, f"{plan.path} shows {lost}, which is gone", ELSEWHERE)
    if found.shape[0] < slabs.end:
        raise FileStructureError(
            path,
            f"INDEX points to row {slabs.end - 1} of {plan.path}, which has {found.shape[0]}",
            "select other trains, or ask for corrected data to be made again",
        )
    return found
