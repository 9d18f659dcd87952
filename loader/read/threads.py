"""Who reads, and how?

1. ``find_means``: what the settings and the machine allow.
2. ``Crew``: threads that work for as long as one array is read.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ...catalog.config import load_settings
from .decode import Inflate, find_inflate

__all__ = ["Crew", "Means", "find_means"]

MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Means:
    """How many threads read, whether past HDF5, and what decompresses."""

    n_threads: int
    direct: bool
    inflate: Inflate | None


def find_means() -> Means:
    """What the settings ``threads`` and ``direct`` say; raises ConfigError for what they cannot."""
    settings = load_settings()
    n_threads = settings.threads or min(_n_cores(), MOST_THREADS)
    return Means(n_threads, settings.direct, find_inflate() if settings.direct else None)


def _n_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class Crew:
    """Threads for one job, started when there is work for them; with one thread the caller works.

    Leaving the ``with`` block waits for what runs and drops what does not.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, tasks: Sequence[Callable[[], None]]) -> "list[Future[None]]":
        """Have these done; a failure is raised by the ``result`` of its future."""
        if self._n_threads > 1:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._n_threads, "xfelcat-read")
            return [self._pool.submit(task) for task in tasks]
        return [_do(task) for task in tasks]


def _do(task: Callable[[], None]) -> "Future[None]":
    done: Future[None] = Future()
    try:
        task()
    except Exception as error:  # noqa: BLE001 - as a pool does: its result raises it
        done.set_exception(error)
    else:
        done.set_result(None)
    return done
