"""How is work on many files spread over processes, when any file may hang or crash its reader?

HDF5 holds one lock for all its calls, so scanning in parallel takes processes; a file on tape may
block its reader for days; and a damaged file may crash the HDF5 library itself. Hence:

1. ``run_batches`` hands batches of files to loky workers. Before each file a worker notes its name
   in a file of its own, the *note*, and empties it after the batch.
2. The parent looks at the notes. One that stands for longer than the time limit means a hanging
   file: its worker is killed. A worker that died by itself leaves its note behind.
3. Either way the named file is blamed, and all unfinished batches run again without it.

In a daemonic process, which may have no children, everything runs in the process itself, without a
time limit.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..model.identity import parse_file_name
from ..model.records import Depth, FileRecord
from .scan import scan_file, scan_outline

__all__ = [
    "Batch",
    "BatchResult",
    "may_have_children",
    "run_batches",
    "scan_outlines",
]

Result = TypeVar("Result")
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Batch:
    """Files to be worked on one after the other by one worker.

    ``key`` is the caller's own; ``work`` gets it through ``options`` only if it is put there.
    """

    key: Any
    paths: tuple[str, ...]
    options: Any = None


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[Result]):
    """What became of a batch: a result per file that was worked on, a reason per blamed file."""

    batch: Batch
    results: dict[str, Result]
    blamed: dict[str, str] = field(default_factory=dict)


# A worker's function: the paths to work on, the batch's options, and a function to call with each
# path before it is touched.
Work = Callable[[Sequence[str], Any, Callable[[str], None]], dict[str, Result]]


def may_have_children() -> bool:
    """Whether this process may start worker processes: daemonic ones may not."""
    return not multiprocessing.current_process().daemon


def run_batches(
    work: Work[Result],
    batches: Sequence[Batch],
    *,
    jobs: int,
    time_limit: float = 120.0,
) -> Iterator[BatchResult[Result]]:
    """Yield the result of each batch as it is done, in any order.

    ``work`` must be importable by name and must not raise; ``jobs`` is the number of processes, 0
    for none; ``time_limit`` is in seconds, per file. Closing the iterator kills the workers.
    """
    if jobs < 1 or not may_have_children():
        for batch in batches:
            yield BatchResult(batch, work(batch.paths, batch.options, _no_note))
        return
    notes = tempfile.mkdtemp(prefix="xfelcat-")
    try:
        yield from _Supervisor(work, batches, jobs, time_limit, notes).run()
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def _no_note(path: str) -> None:
    pass


class _Supervisor(Generic[Result]):
    """Runs the batches; replaces the pool whenever a file had to be blamed."""

    def __init__(
        self,
        work: Work[Result],
        batches: Sequence[Batch],
        jobs: int,
        time_limit: float,
        notes: str,
    ) -> None:
        self._work = work
        self._unfinished = dict(enumerate(batches))
        self._blamed: dict[int, dict[str, str]] = {}
        self._hung: set[str] = set()
        self._jobs = min(jobs, len(batches))
        self._time_limit = time_limit
        self._notes = notes

    def run(self) -> Iterator[BatchResult[Result]]:
        while self._unfinished:
            yield from self._run_pool()

    def _run_pool(self) -> Iterator[BatchResult[Result]]:
        """Run what is unfinished until all is done or the pool breaks."""
        from loky import ProcessPoolExecutor

        pool = ProcessPoolExecutor(max_workers=self._jobs, timeout=60, initializer=_start_worker)
        clean = False
        try:
            futures: dict[Future[dict[str, Result]], int] = {}
            for number, batch in self._unfinished.items():
                paths = [p for p in batch.paths if p not in self._blamed.get(number, {})]
                call = pool.submit(_work_noting, self._work, paths, batch.options, self._notes)
                futures[call] = number
            while futures:
                done, _ = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    number = futures.pop(future)
                    results = future.result()
                    batch = self._unfinished.pop(number)
                    yield BatchResult(batch, results, self._blamed.pop(number, {}))
                self._kill_hanging()
            clean = True
        except BrokenProcessPool:
            self._blame()
        finally:
            pool.shutdown(wait=clean, kill_workers=not clean)

    def _kill_hanging(self) -> None:
        for note in os.scandir(self._notes):
            stat = note.stat()
            if stat.st_size and time.time() - stat.st_mtime > self._time_limit:
                self._hung.add(_read_note(note.path))  # may be empty by now: matches no file
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(note.name), signal.SIGKILL)

    def _blame(self) -> None:
        """After the pool broke, find the file it broke on, so that the next pool goes on without.

        With the first worker that dies the pool kills all others, and their files look as guilty.
        Several suspects therefore run again in one process, where there can be only one.
        """
        notes = list(os.scandir(self._notes))
        open_notes = {path for note in notes if (path := _read_note(note.path))}
        for note in notes:
            os.unlink(note.path)
        if self._hung:
            reason = f"reading it took longer than {self._time_limit:g} s (timed out)"
            guilty = dict.fromkeys(self._hung, reason)
            self._hung.clear()
        elif len(open_notes) == 1:
            guilty = dict.fromkeys(open_notes, "reading it killed the reading process (damaged?)")
        elif self._jobs > 1:
            self._jobs = 1
            return
        else:
            raise RuntimeError("a worker process died without having touched a file")
        for number, batch in self._unfinished.items():
            for path in guilty.keys() & set(batch.paths):
                self._blamed.setdefault(number, {})[path] = guilty[path]


def _read_note(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def _start_worker() -> None:
    # Ctrl-C goes to every process of the terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work_noting(
    work: Work[Result], paths: Sequence[str], options: Any, notes: str
) -> dict[str, Result]:
    note_path = os.path.join(notes, str(os.getpid()))

    def note(path: str) -> None:
        with open(note_path, "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(path)

    try:
        return work(paths, options, note)
    finally:
        with contextlib.suppress(OSError):
            os.truncate(note_path, 0)


# What do many files hold, in outline, when a run is opened?
#
# 1. A thread reads the files by our own reader. As soon as it waits for the file system there are
#    more, so that one file may hang without keeping the others; where nothing waits they would only
#    wait for each other. First files of aggregators come first, for they help with the others.
# 2. What the HDF5 library has to read is left to worker processes where it is much, for a damaged
#    file may crash it; else it is read here.

_THREADS = 8
_THREADS_FROM = 8  # files; fewer are read before threads have started
_PROCESSES_FROM = 50  # files for the HDF5 library
_TIME_LIMIT = 120.0  # seconds per file
_WAIT_SECONDS = 1e-3  # what reading a file may take besides work before there are more threads


def scan_outlines(
    paths: Sequence[str], *, parallelize: bool = True, time_limit: float = _TIME_LIMIT
) -> tuple[dict[str, FileRecord], dict[str, str]]:
    """The outlines of files by path, and what is wrong with those that could not be scanned.

    ``parallelize``: threads, processes and the time limit, in seconds per file, may be used.
    """
    own = _OwnReading(sorted(paths, key=_order))
    if parallelize and len(paths) >= _THREADS_FROM:
        own.run_in_threads(_THREADS, time_limit)
    else:
        own.work()
    rest = [path for path in paths if own.results.get(path) is None and path not in own.blamed]
    records = {path: record for path, record in own.results.items() if record is not None}
    jobs = os.cpu_count() or 1 if parallelize and len(rest) >= _PROCESSES_FROM else 0
    size = -(-len(rest) // (4 * jobs)) if jobs else max(len(rest), 1)
    batches = [Batch(at, tuple(rest[at : at + size])) for at in range(0, len(rest), size)]
    blamed = dict(own.blamed)
    for result in run_batches(_outline_batch, batches, jobs=jobs, time_limit=time_limit):
        records |= result.results
        blamed |= result.blamed
    return records, blamed


def _order(path: str) -> tuple[int, str]:
    parsed = parse_file_name(os.path.basename(path))
    return (parsed.sequence if parsed else -1, path)


def _outline_batch(
    paths: Sequence[str], options: object, note: Callable[[str], None]
) -> dict[str, FileRecord]:
    records = {}
    for path in paths:
        note(path)
        records[path] = scan_file(path, depth=Depth.OUTLINE)
    return records


class _OwnReading:
    """Files to be read by our own reader; ``results`` by path, None for the library's."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.results: dict[str, FileRecord | None] = {}
        self.blamed: dict[str, str] = {}
        self._waiting = list(reversed(paths))
        self._first: dict[str, FileRecord] = {}
        self._reading: dict[int, tuple[str, float]] = {}  # by thread: path and since when
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._n_more = 0

    def run_in_threads(self, n: int, time_limit: float) -> None:
        """Read all files in ``n`` threads, or in one where nothing makes it wait.

        No file is waited for longer than the limit.
        """
        self._n_more = min(n, len(self._waiting)) - 1
        self._start_thread()
        while not self._done.wait(_POLL_SECONDS):
            with self._lock:
                long = time.monotonic() - _POLL_SECONDS
                is_held_up = any(since < long for _, since in self._reading.values())
                late = time.monotonic() - time_limit
                hanging = [k for k, (_, since) in self._reading.items() if since < late]
                for thread in hanging:
                    path, _ = self._reading.pop(thread)
                    reason = f"reading it took longer than {time_limit:g} s (timed out)"
                    self.blamed[path] = reason
            for _ in hanging:
                self._start_thread()
            if is_held_up:
                self._start_more()

    def _start_thread(self) -> None:
        # A thread that hangs in the system must not keep the process from ending.
        threading.Thread(target=self.work, name="xfelcat-outline", daemon=True).start()

    def _start_more(self) -> None:
        with self._lock:
            n, self._n_more = min(self._n_more, len(self._waiting)), 0
        for _ in range(n):
            self._start_thread()

    def work(self) -> None:
        """Read files until none waits."""
        me = threading.get_ident()
        path = self._next(me)
        while path is not None:
            parsed = parse_file_name(os.path.basename(path))
            aggregator = parsed.aggregator if parsed else ""
            began = time.perf_counter() - time.thread_time()
            record = scan_outline(path, self._first.get(aggregator))
            if self._n_more and time.perf_counter() - time.thread_time() - began > _WAIT_SECONDS:
                self._start_more()
            with self._lock:
                if me not in self._reading:
                    return  # it was given up
                self.results[path] = record
                if record is not None and aggregator:
                    self._first.setdefault(aggregator, record)
            path = self._next(me)

    def _next(self, thread: int) -> str | None:
        with self._lock:
            self._reading.pop(thread, None)
            if self._waiting:
                path = self._waiting.pop()
                self._reading[thread] = path, time.monotonic()
                return path
            if not self._reading:
                self._done.set()
            return None
