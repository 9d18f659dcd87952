"""Jobs on many files: order, batches, worker processes, blame, progress and commits.

HDF5 holds one lock for all its calls, so working in parallel takes processes; a file on tape may
block its reader for days; and a damaged file may crash the HDF5 library itself. Hence files go
through ``in_batches``, ``run_jobs`` and ``committing``.

Below them, ``run_batches`` hands batches to loky workers. Before each file a worker writes its path
to a file of its own, the *note*, and empties it after the batch. The parent looks at the notes. One
that stands for longer than the time limit means a hanging file: its worker is killed. A worker that
died by itself leaves its note behind. Either way the file is blamed, and all unfinished batches run
again without it. In a daemonic process, which may have no children, everything runs in the process
itself, without a time limit. On an executor of the caller's (``executors``) it goes otherwise.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby, islice
from typing import Any, Generic, Protocol, TypeVar

from ..model.errors import ConfigError
from ..model.identity import aggregator_and_sequence
from ..model.records import Problem
from ..store.connections import uninterrupted
from ..store.store import Store
from .executors import KILLED, Batch, BatchResult, Jobs, Work, n_workers_of, run_on, timed_out

Result = TypeVar("Result")
Item = TypeVar("Item")

BATCH_FILES = 64  # enough to compare later sequences with the first, few enough to spread
_COMMIT_SECONDS = 20.0  # a commit copies the shard, so its cost grows with what is there
_POLL_SECONDS = 0.25


class JobProgress(Protocol):
    """Receives the progress of a job."""

    def found(self, runs: int) -> None:
        """So many runs were found, once."""

    def planned(self, files: int, size: int) -> None:
        """So many more files and bytes are to be read."""

    def scanned(self, files: int, size: int, problems: int) -> None:
        """So many more files and bytes were read, with so many more problems."""

    def finished_run(self, label: str) -> None:
        """A run is done, whether anything was read of it or not."""

    def publishing(self) -> None:
        """The merged file is being made."""


class _NoProgress:
    def found(self, runs: int) -> None: ...
    def planned(self, files: int, size: int) -> None: ...
    def scanned(self, files: int, size: int, problems: int) -> None: ...
    def finished_run(self, label: str) -> None: ...
    def publishing(self) -> None: ...


NO_PROGRESS: JobProgress = _NoProgress()
"""Ignores the progress of a job."""


@dataclass(slots=True)
class JobReport:
    """What a job on runs of the catalog did."""

    location: str
    """Location of the catalog."""
    runs_found: int = 0
    """Runs below the given paths, or of the question."""
    seconds: float = 0.0
    """Duration, with publishing."""
    interrupted: bool = False
    """Whether Ctrl-C ended the job."""
    problems: list[Problem] = field(default_factory=list)
    """Errors and warnings of the files read and of the runs, in the order found."""


def publish_after(
    work: Callable[[], object], store: Store, report: JobReport, progress: JobProgress | None
) -> None:
    """Do the work of a job, then publish the merged file if it is behind (never without progress).

    KeyboardInterrupt ends the work only, and sets ``report.interrupted``.
    """
    started = time.monotonic()
    try:
        work()
    except KeyboardInterrupt:
        report.interrupted = True
    if progress and store.exists() and store.merged_is_stale():
        progress.publishing()
        store.publish_merged()
    report.seconds = time.monotonic() - started


def n_workers(jobs: Jobs) -> int:
    """The number of workers: as given, 0 for none; by default one per core."""
    if jobs is None or isinstance(jobs, int):
        return os.cpu_count() or 1 if jobs is None else jobs
    return n_workers_of(jobs)


def portions(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Consecutive items, so many at a time."""
    rest = iter(items)
    while portion := tuple(islice(rest, size)):
        yield portion


def in_batches(paths: Iterable[str], size: int = BATCH_FILES) -> Iterator[tuple[str, ...]]:
    """Paths in batches: those of an aggregator of a run together, by their sequence numbers.

    A worker compares later sequences with the first, instead of exploring them again.
    """

    def place(path: str) -> tuple[str, str, int, str]:
        directory, name = os.path.split(path)
        return (directory, *aggregator_and_sequence(name), path)

    placed = sorted(map(place, paths))
    for _, together in groupby(placed, key=lambda p: p[:2]):
        yield from portions([p[-1] for p in together], size)


def run_jobs(
    work: "Work[Result]",
    batches: "Sequence[Batch]",
    *,
    blame: Callable[[str, str], Result],
    jobs: Jobs,
    time_limit: float,
    each: Callable[[Mapping[str, Result]], object] | None = None,
) -> Iterator[tuple[Any, dict[str, Result]]]:
    """Yield the key and the results by path of each subject, once its last batch is done.

    Batches of one key belong to one subject. ``blame`` makes the result of a file that hung or
    killed its worker, from its path and the reason; ``each`` is called with the results of every
    batch. The rest is as for ``run_batches``.
    """
    waiting = Counter(batch.key for batch in batches)
    gathered: dict[Hashable, dict[str, Result]] = {key: {} for key in waiting}
    for done in run_batches(work, batches, jobs=jobs, time_limit=time_limit):
        key = done.batch.key
        results = done.results | {path: blame(path, why) for path, why in done.blamed.items()}
        if each:
            each(results)
        gathered[key] |= results
        waiting[key] -= 1
        if not waiting[key]:
            yield key, gathered.pop(key)


def committing(
    finished: Generator[Item, None, None], commit: Callable[[Sequence[Item]], object]
) -> None:
    """Commit what is finished every few seconds, and what is left at the end or on an error.

    So an interruption loses little, and the store is not rewritten for each run.
    """
    done: list[Item] = []
    since = time.monotonic()
    try:
        for item in finished:
            done.append(item)
            if time.monotonic() - since > _COMMIT_SECONDS:
                commit(done)
                done, since = [], time.monotonic()
    finally:
        finished.close()  # kills the workers
        if done:
            commit(done)


def run_batches(
    work: Work[Result],
    batches: Sequence[Batch],
    *,
    jobs: Jobs,
    time_limit: float = 120.0,
) -> Iterator[BatchResult[Result]]:
    """Yield the result of each batch as it is done, in any order.

    ``work`` must be importable by name and must not raise; ``jobs`` is the number of processes, 0
    for none, or an executor of the caller's; ``time_limit`` is in seconds, per file. Closing the
    iterator kills the workers, but for those of an executor.
    """
    if not batches:
        return
    if not (jobs is None or isinstance(jobs, int)):
        yield from run_on(jobs, work, batches, time_limit)
        return
    jobs = n_workers(jobs)
    if jobs < 1 or multiprocessing.current_process().daemon:
        for batch in batches:
            yield BatchResult(batch, work(batch.paths, batch.options, lambda _: None))
        return
    try:
        notes = tempfile.mkdtemp(prefix="xfelcat-")
    except OSError as error:
        raise ConfigError(
            f"workers need a temporary folder with room ({error.strerror}): set TMPDIR to one,"
            " or ask for no workers (--jobs 0)"
        ) from error
    try:
        yield from _Supervisor(
            work, dict(enumerate(batches)), min(jobs, len(batches)), time_limit, notes
        ).run()
    finally:
        shutil.rmtree(notes, ignore_errors=True)


@dataclass(slots=True)
class _Supervisor(Generic[Result]):
    """Runs the batches; replaces the pool whenever a file had to be blamed."""

    work: Work[Result]
    unfinished: dict[int, Batch]
    jobs: int
    time_limit: float
    notes: str
    blamed: dict[int, dict[str, str]] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)

    def run(self) -> Iterator[BatchResult[Result]]:
        while self.unfinished:
            yield from self._run_pool()

    def _run_pool(self) -> Iterator[BatchResult[Result]]:
        """Run what is unfinished until all is done or the pool breaks."""
        # A thread that opens a run may outlive the main one, and then cannot import this any more.
        from concurrent.futures.process import BrokenProcessPool

        from loky import ProcessPoolExecutor

        plugins = tuple(sys.modules.keys() & {"hdf5plugin"})  # filters are those of a process
        pool = ProcessPoolExecutor(
            max_workers=self.jobs, timeout=60, initializer=_start_worker, initargs=plugins
        )
        clean = False
        try:
            futures: dict[Future[dict[str, Result]], int] = {}
            for number, batch in self.unfinished.items():
                paths = [p for p in batch.paths if p not in self.blamed.get(number, {})]
                with uninterrupted(), _unheard_by_workers():
                    call = pool.submit(_work_noting, self.work, paths, batch.options, self.notes)
                futures[call] = number
            while futures:
                # Ctrl-C between the locks of futures would leave one taken, and the thread of the
                # pool waiting for it, and the process for the thread, for ever.
                with uninterrupted():
                    done, _ = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                    found = [(futures.pop(future), future.result()) for future in done]
                for number, results in found:
                    batch = self.unfinished.pop(number)
                    yield BatchResult(batch, results, self.blamed.pop(number, {}))
                for note in os.scandir(self.notes):
                    stat = note.stat()
                    if stat.st_size and time.time() - stat.st_mtime > self.time_limit:
                        self.hung.add(_read_note(note.path))  # if empty by now, of no file
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(note.name), signal.SIGKILL)
            clean = True
        except BrokenProcessPool:
            self._blame()
        finally:
            with uninterrupted():
                pool.shutdown(wait=clean, kill_workers=not clean)

    def _blame(self) -> None:
        """After the pool broke, find the file it broke on, so that the next pool goes on without.

        With the first worker that dies the pool kills all others, and their files look as guilty.
        Several suspects therefore run again in one process, where there can be only one.
        """
        notes = list(os.scandir(self.notes))
        open_notes = {path for note in notes if (path := _read_note(note.path))}
        for note in notes:
            os.unlink(note.path)
        if self.hung:
            guilty = dict.fromkeys(self.hung, timed_out(self.time_limit))
            self.hung.clear()
        elif len(open_notes) == 1:
            guilty = dict.fromkeys(open_notes, KILLED)
        elif self.jobs > 1:
            self.jobs = 1
            return
        else:
            reason = "a worker process died without having touched a file"
            raise ConfigError(f"{reason}: ask for no workers (--jobs 0)")
        for number, batch in self.unfinished.items():
            for path in guilty.keys() & set(batch.paths):
                self.blamed.setdefault(number, {})[path] = guilty[path]


def _read_note(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


@contextlib.contextmanager
def _unheard_by_workers() -> Iterator[None]:
    """Have processes that are started in the block never hear Ctrl-C, not even as they start.

    It goes to every process of a terminal; the parent alone decides what it means.
    """
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # the start of this helper would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(*modules: str) -> None:
    for name in modules:
        import_module(name)


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
