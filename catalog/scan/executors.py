"""Batches of files, and how they run on an executor of the caller's: a Dask cluster, or any other.

``run_on`` takes whatever has the shape of ``concurrent.futures.Executor``, or a ``Client`` of
dask.distributed. Its workers must see the files (under another root, if the setting ``path_map``
says so there) and have xfelcat installed; they need no catalog.

1. At most twice as many batches as there are workers are submitted at a time, and results come back
   deflated: what the caller has not taken yet is bounded, however many files there are.
2. In a worker, a batch runs in a thread of its own, and names each file before it touches it. One
   that takes longer than the time limit is given up, and the others of its batch run again.
3. Dask gives what a lost worker had to another one. A batch that ends several of them is halved,
   and run again, until the file that does so is alone. As Dask suspects whatever waited for the
   worker, it is blamed only if it does so with nothing else beside it.
"""

import contextlib
import os
import pickle
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ..hdf5.interface import reason_of
from ..model.errors import ConfigError

Result = TypeVar("Result")

_POLL_SECONDS = 0.25
_AHEAD = 2  # batches per worker: one to work on, one that waits while results travel


class Executor(Protocol):
    """What ``concurrent.futures.Executor`` has that is needed here."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Have a function called by a worker."""


Jobs = int | Executor | None
"""How many worker processes, 0 for none, None for one per core; or an executor, or Dask client."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Files for one worker, one after the other; ``key`` names the subject they belong to."""

    key: Any
    paths: tuple[str, ...]
    options: Any = None


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[Result]):
    """The results of a batch by path, and for each blamed file the reason."""

    batch: Batch
    results: dict[str, Result]
    blamed: dict[str, str] = field(default_factory=dict)


Work = Callable[[Sequence[str], Any, Callable[[str], None]], dict[str, Result]]
"""A worker's function: takes paths, the batch's options, and a function to call with each path
before it is touched; returns results by path."""


KILLED = "reading it killed the reading process (damaged?)"
"""Why a file is blamed that ended its worker."""


def timed_out(seconds: float) -> str:
    """Why a file is blamed that took longer than so many seconds."""
    return f"reading it took longer than {seconds:g} s (timed out)"


def n_workers_of(executor: Executor) -> int:
    """How many batches an executor can work on at once, now; at least 1."""
    threads = getattr(executor, "nthreads", None)  # of a Dask client: by worker
    if callable(threads):
        return max(1, int(sum(threads().values())))
    return int(getattr(executor, "_max_workers", 0)) or os.cpu_count() or 1


def run_on(
    executor: Executor, work: Work[Result], batches: Sequence[Batch], time_limit: float
) -> Iterator[BatchResult[Result]]:
    """Yield the result of each batch as it is done, in any order.

    ``time_limit`` is in seconds, per file. Closing the iterator cancels what has not begun. Raises
    ConfigError where the workers, or the way to them, are lost.
    """
    yield from _Elsewhere(executor, work, list(batches), time_limit).run()


@dataclass(slots=True)
class _Elsewhere(Generic[Result]):
    """The run of some batches: what waits, what is out, and what came back."""

    executor: Executor
    work: Work[Result]
    batches: list[Batch]
    time_limit: float
    waiting: deque[tuple[int, tuple[str, ...]]] = field(default_factory=deque)
    out: dict["Future[Any]", tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    missing: dict[int, set[str]] = field(default_factory=dict)
    results: dict[int, dict[str, Result]] = field(default_factory=dict)
    blamed: dict[int, dict[str, str]] = field(default_factory=dict)
    # Files of which workers ended, which may have been at another one; each is tried alone at last.
    suspects: deque[tuple[int, tuple[str, ...]]] = field(default_factory=deque)
    alone: tuple[int, tuple[str, ...]] | None = None

    def run(self) -> Iterator[BatchResult[Result]]:
        get_executor = getattr(self.executor, "get_executor", None)  # of a Dask client
        executor = get_executor(pure=False) if get_executor else self.executor
        for number, batch in enumerate(self.batches):
            self.waiting.append((number, batch.paths))
            self.missing[number] = set(batch.paths)
            self.results[number], self.blamed[number] = {}, {}
        try:
            while self.waiting or self.out or self.suspects:
                if not self.waiting and not self.out:
                    self.alone = self.suspects.popleft()
                    self.waiting.append(self.alone)
                room = _AHEAD * n_workers_of(self.executor)
                while self.waiting and len(self.out) < room:
                    number, paths = self.waiting.popleft()
                    options = self.batches[number].options
                    words = (self.work, paths, options, self.time_limit)
                    try:
                        call = executor.submit(watched, *words)
                    except (RuntimeError, OSError) as error:
                        raise _lost(error) from error
                    self.out[call] = number, paths
                done, _ = wait(self.out, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for call in done:
                    number, paths = self.out.pop(call)
                    self._take(number, paths, call)
                    if not self.missing[number]:
                        del self.missing[number]
                        found, blamed = self.results.pop(number), self.blamed.pop(number)
                        yield BatchResult(self.batches[number], found, blamed)
        finally:
            for call in self.out:
                call.cancel()

    def _take(self, number: int, paths: tuple[str, ...], call: "Future[Any]") -> None:
        """Take what came back of a batch, or of a part of it."""
        try:
            error = call.exception()
        except CancelledError as cancelled:
            error = cancelled
        if isinstance(error, BrokenExecutor | CancelledError):
            raise _lost(error) from error
        if error is not None and not _is_killed(error):
            raise error
        if error is not None and len(paths) > 1:  # which of them?
            half = len(paths) // 2
            self.waiting.extendleft([(number, paths[half:]), (number, paths[:half])])
            return
        if error is not None:
            if (number, paths) == self.alone:
                self._blame(number, paths[0], KILLED)
            else:
                self.suspects.append((number, paths))
            return
        packed, hanging = call.result()
        if hanging:
            self._blame(number, hanging, timed_out(self.time_limit))
            if rest := tuple(path for path in paths if path != hanging):
                self.waiting.appendleft((number, rest))
            return
        results: dict[str, Result] = pickle.loads(zlib.decompress(packed))
        self.results[number] |= results
        self.missing[number] -= set(paths)

    def _blame(self, number: int, path: str, reason: str) -> None:
        self.blamed[number][path] = reason
        self.missing[number].discard(path)


def _lost(error: BaseException) -> ConfigError:
    lost = f"the workers, or the way to them, are lost ({reason_of(error)})"
    return ConfigError(f"{lost}: start again")


def _is_killed(error: BaseException) -> bool:
    """Whether Dask gave up a batch, as several workers ended while they had it."""
    with contextlib.suppress(ImportError):
        from distributed.scheduler import KilledWorker

        return bool(isinstance(error, KilledWorker))
    return False


def watched(
    work: Work[Result], paths: Sequence[str], options: Any, time_limit: float
) -> tuple[bytes, str]:
    """The work of a batch, in a worker: the results, packed, or the path of a file that hangs."""
    now: list[tuple[float, str]] = [(0.0, "")]  # since when, and at which file it is
    done: list[Any] = []

    def note(path: str) -> None:
        now[0] = time.monotonic(), path

    def do() -> None:
        try:
            done.append(work(paths, options, note))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            done.append(error)

    # One that hangs in the system must not keep the worker from ending.
    thread = threading.Thread(target=do, name="xfelcat-batch", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(min(_POLL_SECONDS, time_limit / 4))
        since, path = now[0]
        if not done and path and time.monotonic() - since > time_limit:
            return b"", path
    (result,) = done
    if isinstance(result, BaseException):
        raise result
    return zlib.compress(pickle.dumps(result, pickle.HIGHEST_PROTOCOL), 1), ""
