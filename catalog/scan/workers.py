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
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["Batch", "BatchResult", "may_have_children", "run_batches"]

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
