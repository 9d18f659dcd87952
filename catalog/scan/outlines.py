"""Outlines of many files at once, when a run is opened.

1. A thread reads the files by our own reader. As soon as it waits for the file system there are
   more, so that one file may hang without delaying the others; where nothing waits they would only
   wait for each other. First files of aggregators come first, for they help with the others.
2. What the HDF5 library has to read is left to worker processes where it is much, for a damaged
   file may crash it; else it is read here.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence

from ..model.identity import aggregator_and_sequence
from ..model.records import Depth, FileRecord
from .jobs import Batch, n_workers, portions, run_batches
from .scan import scan_file, scan_outline

_POLL_SECONDS = 0.25
_THREADS = 8  # enough to hide the latency of a file system; Python runs in one at a time
_THREADS_FROM = 8  # files; fewer are read before threads have started
_PROCESSES_FROM = 50  # files for the HDF5 library; fewer are read before workers have started
_TIME_LIMIT = 120.0  # seconds per file
_WAIT_SECONDS = 1e-3  # what reading a file may take besides work before there are more threads


def scan_outlines(
    paths: Sequence[str], *, parallelize: bool = True, time_limit: float = _TIME_LIMIT
) -> tuple[dict[str, FileRecord], dict[str, str]]:
    """The outlines of files by path, and what is wrong with those that could not be scanned.

    ``parallelize``: threads, processes and the time limit, in seconds per file, may be used.
    """
    by_sequence = sorted(paths, key=lambda p: (aggregator_and_sequence(os.path.basename(p))[1], p))
    own = _OwnReading(by_sequence)
    if parallelize and len(paths) >= _THREADS_FROM:
        own.run_in_threads(_THREADS, time_limit)
    else:
        own.work()
    rest = [path for path in paths if own.results.get(path) is None and path not in own.blamed]
    records = {path: record for path, record in own.results.items() if record is not None}
    jobs = n_workers(None) if parallelize and len(rest) >= _PROCESSES_FROM else 0
    size = -(-len(rest) // (4 * jobs)) if jobs else len(rest)
    batches = [Batch(None, some) for some in portions(rest, size)]
    blamed = dict(own.blamed)
    for result in run_batches(_outline_batch, batches, jobs=jobs, time_limit=time_limit):
        records |= result.results
        blamed |= result.blamed
    return records, blamed


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
                is_waiting = any(since < long for _, since in self._reading.values())
                late = time.monotonic() - time_limit
                hanging = [k for k, (_, since) in self._reading.items() if since < late]
                for thread in hanging:
                    path, _ = self._reading.pop(thread)
                    reason = f"reading it took longer than {time_limit:g} s (timed out)"
                    self.blamed[path] = reason
            for _ in hanging:
                self._start_thread()
            if is_waiting:
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
            aggregator, _ = aggregator_and_sequence(os.path.basename(path))
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
