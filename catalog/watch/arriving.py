"""Which files of a run are complete, and which are still being written?

A file that changed just now is left to its writer. One that rests but cannot be read is taken to be
half-written, not broken, for as long as ``patience`` lasts: it is tried again after a while, after
twice that while, and so on. Only then is it ingested as it is, with its finding.

1. ``Arrivals.sort``: the files of a run that are new or changed, as *ready* and *in progress*.
2. ``try_files`` opens those that are young, in a worker process with a time limit.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..scan.discover import FileStat
from ..scan.workers import Batch, run_batches

__all__ = ["Arrivals", "InProgress", "try_batch", "try_files"]

_LONGEST_PAUSE = 600.0


@dataclass(frozen=True, slots=True)
class InProgress:
    """A file that is not yet complete: why it is thought so, and how soon it is tried (s)."""

    path: str
    reason: str
    retry_in: float


@dataclass(slots=True)
class _Arrival:
    """A file as it was last seen, since when (monotonic), and how trying it went."""

    stat: FileStat
    since: float
    tries: int = 0
    next_try: float = 0.0
    reason: str = ""


class Arrivals:
    """The files that are awaited; all times in s, ``pause`` before the first retry."""

    def __init__(self, quiet: float, patience: float, pause: float) -> None:
        self._quiet = quiet
        self._patience = patience
        self._pause = pause
        self._done: dict[str, dict[str, FileStat]] = {}
        self._awaited: dict[str, _Arrival] = {}

    def news(self, directory: str, stats: Mapping[str, FileStat]) -> dict[str, FileStat]:
        """The files that differ from what was last ingested from here."""
        done = self._done.get(directory, {})
        return {n: s for n, s in stats.items() if done.get(n) != s}

    def has_lost(self, directory: str, stats: Mapping[str, FileStat]) -> bool:
        """Whether a file that was ingested from here is gone."""
        return not self._done.get(directory, {}).keys() <= stats.keys()

    def is_known(self, directory: str) -> bool:
        """Whether this run was ingested before, by this watcher."""
        return directory in self._done

    def sort(
        self, directory: str, news: Mapping[str, FileStat]
    ) -> tuple[list[str], list[str], list[InProgress]]:
        """Names of files that are ready, names to try first, and those in progress."""
        ready, to_try, waiting = [], [], []
        for name, stat in news.items():
            path = os.path.join(directory, name)
            now, age = time.monotonic(), time.time() - stat.mtime_ns / 1e9
            seen = self._awaited.get(path)
            if seen is None or seen.stat != stat:
                seen = self._awaited[path] = _Arrival(stat, now)
            rested = max(now - seen.since, age if age < 10 * 365 * 86400 else 0.0)
            if stat.size < 0 or max(now - seen.since, age) >= self._patience:
                ready.append(name)
            elif rested < self._quiet:
                waiting.append(InProgress(path, "changed just now", self._quiet - rested))
            elif now < seen.next_try:
                waiting.append(InProgress(path, seen.reason, seen.next_try - now))
            else:
                to_try.append(name)
        return ready, to_try, waiting

    def tried(self, path: str, reason: str) -> InProgress:
        """Told that a file could not be read: when it is tried again."""
        arrival = self._awaited[path]
        pause = min(self._pause * 2**arrival.tries, _LONGEST_PAUSE, self._patience)
        arrival.tries += 1
        arrival.reason = reason
        arrival.next_try = time.monotonic() + pause
        return InProgress(path, reason, pause)

    def ingested(self, directory: str, stats: Mapping[str, FileStat], waiting: set[str]) -> None:
        """Told that a run was ingested, all files but those that are awaited."""
        self._done[directory] = {n: s for n, s in stats.items() if n not in waiting}
        for name in self._done[directory]:
            self._awaited.pop(os.path.join(directory, name), None)

    def forget(self, directory: str) -> None:
        """A run that rests need not be remembered: its next look compares it with the catalog."""
        self._done.pop(directory, None)


def try_files(paths: Sequence[str], *, jobs: int, time_limit: float) -> dict[str, str]:
    """Why each file that cannot be read cannot be; complete ones are not in the answer."""
    if not paths:
        return {}
    failed: dict[str, str] = {}
    for result in run_batches(
        try_batch, [Batch(0, tuple(paths))], jobs=jobs, time_limit=time_limit
    ):
        failed |= {path: why for path, why in result.results.items() if why}
        failed |= result.blamed
    return failed


def try_batch(paths: Sequence[str], options: object, note: Callable[[str], None]) -> dict[str, str]:
    """Open each file as far as its trains and sources; "" or the reason; in a worker."""
    from ..errors import FileStructureError
    from ..scan.probe import read_outline

    found = {}
    for path in paths:
        note(path)
        try:
            read_outline(path)
            found[path] = ""
        except FileStructureError as e:
            found[path] = e.reason
    return found
