"""How does the catalog keep up with a facility at work?

``watch`` looks again and again; each round goes as follows.

1. ``Tree.due`` says which run directories may have changed, at the cost of a stat per directory.
2. ``Arrivals`` sorts their new and changed files: half-written ones are left for a later round.
3. Runs with complete files are ingested, the others' files left out of it.
4. What was ingested is audited, and the merged file is published if the last time is long enough
   ago.

There is no state but the catalog: a watcher that is started again looks at what may have changed
since. Whatever goes wrong in a round is told, and tried again in the next.
"""

import glob
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Protocol

from ..ingest.ingest import IngestOptions, IngestReport, ingest
from ..model.errors import CatalogNotFoundError, XfelcatError
from ..model.facts import FileStat
from ..model.records import Depth
from ..model.text import from_text
from ..scan.discover import find_runs, list_run, locate_run
from ..scan.pool import Batch, run_batches
from ..scan.scan import scan_file
from ..store.connections import uninterrupted
from ..store.store import Store
from .tree import Settled, Tree

__all__ = [
    "Arrivals",
    "InProgress",
    "Log",
    "WatchOptions",
    "try_batch",
    "try_files",
    "watch",
]


# Which files of a run are complete, and which are still being written?
#
# A file that changed just now is left to its writer. One that rests but cannot be read is taken
# to be
# half-written, not broken, for as long as ``patience`` lasts: it is tried again after a while,
# after
# twice that while, and so on. Only then is it ingested as it is, with its finding.
#
# 1. ``Arrivals.sort``: the files of a run that are new or changed, as *ready* and *in progress*.
# 2. ``try_files`` opens those that are young, in a worker process with a time limit.

_LONGEST_PAUSE = 600.0
_UNREADABLE = ("F01", "F02", "F03", "F06")  # checks that say why a file has no outline


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
    """Read the outline of each file; "" or the reason why it cannot be read; in a worker."""
    reasons = {}
    for path in paths:
        note(path)
        record = scan_file(path, depth=Depth.OUTLINE)
        unread = record.depth < Depth.OUTLINE
        reasons[path] = "; ".join(p.message for p in record.problems if p.check in _UNREADABLE)
        reasons[path] = (reasons[path] or "no EXDF file") if unread else ""
    return reasons


_RUNS_AT_ONCE = 200
_NAMES_PER_EVENT = 10
_HEARTBEAT_SECONDS = 600.0


class Log(Protocol):
    """Takes events."""

    def __call__(self, event: str, level: str = "info", **fields: Any) -> None:
        """One event: its name, its level (info, warning, error) and what it is about."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch; times in seconds.

    ``interval`` from one round to the next; a file must rest for ``quiet`` before it is read; one
    that cannot be read is in progress until it is ``patience`` old; the merged file is published at
    most every ``publish_every``; every run is looked at again after ``recheck``. ``jobs``,
    ``exclude``, ``reads_per_second`` and ``time_limit`` as for ingest. ``audit`` is called with the
    run_ids of what was ingested, and gives the fields of an event.
    """

    interval: float = 30.0
    quiet: float = 10.0
    patience: float = 3600.0
    publish_every: float = 600.0
    recheck: float = 86400.0
    jobs: int | None = None
    exclude: tuple[str, ...] = ()
    reads_per_second: float | None = None
    time_limit: float = 120.0
    once: bool = False
    audit: Callable[[Store, Sequence[int]], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """A run directory as it was listed: its files, and which of them are left for later."""

    directory: str
    stats: dict[str, FileStat]
    waiting: tuple[InProgress, ...]

    @property
    def newest(self) -> float:
        """The newest mtime, s since the epoch."""
        return max((s.mtime_ns for s in self.stats.values()), default=0) / 1e9

    @property
    def waiting_names(self) -> set[str]:
        """Names of the files that are left for later."""
        return {os.path.basename(w.path) for w in self.waiting}


def watch(store: Store, roots: Sequence[str], options: WatchOptions, log: Log) -> bool:
    """Ingest what appears below ``roots`` until KeyboardInterrupt, or once; whether all went well.

    On an interruption what is complete is kept and published. Raises RunNotFoundError at once for a
    root that is absent.
    """
    find_runs(roots)  # names a root that is absent
    places = [os.path.abspath(os.path.expanduser(r)) for r in roots]
    log("started", roots=places, catalog=str(store.location), pid=os.getpid())
    watcher = _Watcher(store, places, options, log)
    try:
        watcher.run()
    except KeyboardInterrupt:
        log("stopping")
    watcher.publish(now=True)
    log("stopped", rounds=watcher.rounds, runs=watcher.n_written)
    return not watcher.failed


class _Watcher:
    """One call of ``watch``."""

    def __init__(self, store: Store, roots: list[str], options: WatchOptions, log: Log) -> None:
        self._store = store
        self._options = options
        self._log = log
        self._roots = roots
        self._tree = Tree(())
        self._arrivals = Arrivals(options.quiet, options.patience, options.interval)
        self._told: dict[str, tuple[str, int]] = {}
        self._errors: dict[str, str] = {}
        self._published_at = float("-inf")
        self._beat_at = time.monotonic()
        self.rounds = self.n_written = 0
        self.failed = False

    def run(self) -> None:
        options = self._options
        self._tree = Tree(
            self._roots,
            options.exclude,
            settled=settled_runs(self._store),
            patience=options.patience,
            recheck=options.recheck,
        )
        while True:
            started = time.monotonic()
            self._round()
            if self._options.once:
                return
            self.publish()
            time.sleep(max(self._options.interval - (time.monotonic() - started), 0.1))

    def _round(self) -> None:
        self.rounds += 1
        started, before, n_looked = time.monotonic(), self.n_written, 0
        for _, directories in groupby(self._tree.due(), key=lambda d: locate_run(d).identity.shard):
            for some in _portions(directories, _RUNS_AT_ONCE):
                n_looked += len(some)
                self._look_at(some)
        self._tell_errors(self._tree.errors)
        written = self.n_written - before
        if written or time.monotonic() - self._beat_at > _HEARTBEAT_SECONDS or self.rounds == 1:
            self._beat_at = time.monotonic()
            seconds = round(self._beat_at - started, 3)
            known, waiting = self._tree.n_runs, len(self._told)
            self._log(
                "round",
                looked_at=n_looked,
                runs=known,
                written=written,
                in_progress=waiting,
                seconds=seconds,
            )

    def _tell_errors(self, errors: dict[str, str]) -> None:
        for path, reason in errors.items():
            if self._errors.get(path) != reason:
                self._log("unreadable", "warning", path=path, reason=reason)
        for path in self._errors.keys() - errors.keys():
            self._log("readable", path=path)
        self._errors = dict(errors)

    def _look_at(self, directories: Sequence[str]) -> None:
        listed = {}
        for directory in directories:
            try:
                listed[directory] = list_run(directory)
            except OSError as e:
                self._tree.errors[directory] = f"directory cannot be listed: {e.strerror}"
                self._tree.again(directory)
        looks, to_ingest = self._sorted(listed)
        for look in looks:
            self._tell_progress(look)
        was_possible = self._ingest(to_ingest) if to_ingest else True
        for look in looks:
            if look in to_ingest and not was_possible:
                self._tree.again(look.directory)
                continue
            self._arrivals.ingested(look.directory, look.stats, look.waiting_names)
            self._tree.rest(look.directory, look.newest, waits=bool(look.waiting))

    def _sorted(self, listed: dict[str, dict[str, FileStat]]) -> tuple[list[_Look], list[_Look]]:
        """The runs as they are, and those of them that have anything to ingest."""
        sorted_ = {d: self._arrivals.sort(d, self._arrivals.news(d, s)) for d, s in listed.items()}
        to_try = {d: [os.path.join(d, n) for n in names] for d, (_, names, _) in sorted_.items()}
        failed = try_files(
            [path for paths in to_try.values() for path in paths],
            jobs=0 if self._options.jobs == 0 else 1,
            time_limit=self._options.time_limit,
        )
        looks, to_ingest = [], []
        for directory, (ready, _, waiting) in sorted_.items():
            bad = [self._arrivals.tried(p, failed[p]) for p in to_try[directory] if p in failed]
            look = _Look(directory, listed[directory], (*waiting, *bad))
            looks.append(look)
            has_lost = self._arrivals.has_lost(directory, look.stats)
            if ready or len(to_try[directory]) > len(bad) or has_lost:
                to_ingest.append(look)
        return looks, to_ingest

    def _tell_progress(self, look: _Look) -> None:
        """Say of each file that waits why it does; once, until the reason or the size changes."""
        now = {w.path: (w.reason, look.stats[os.path.basename(w.path)].size) for w in look.waiting}
        for waiting in look.waiting:
            if self._told.get(waiting.path) != now[waiting.path]:
                self._log(
                    "in_progress",
                    path=waiting.path,
                    bytes=now[waiting.path][1],
                    reason=waiting.reason,
                    retry_in=round(waiting.retry_in, 1),
                )
        here = look.directory + "/"
        self._told = {p: t for p, t in self._told.items() if not p.startswith(here)} | now

    def _ingest(self, looks: Sequence[_Look]) -> bool:
        """Ingest these runs but for the files that wait; whether that was possible."""
        options = self._options
        waiting = tuple(glob.escape(w.path) for look in looks for w in look.waiting)
        ingest_options = IngestOptions(
            jobs=options.jobs,
            exclude=(*options.exclude, *waiting),
            reads_per_second=options.reads_per_second,
            time_limit=options.time_limit,
            merge=False,
        )
        places = [look.directory for look in looks if os.path.isdir(look.directory)]
        try:
            report = ingest(self._store, places, ingest_options)
        except (XfelcatError, OSError) as e:
            self.failed = True
            self._log(
                "ingest_failed",
                "error",
                runs=_some([str(locate_run(p).identity) for p in places]),
                reason=str(e),
            )
            return False
        self._tell_ingest(places, report)
        if report.interrupted:
            raise KeyboardInterrupt
        if report.runs_written and options.audit:
            self._audit([locate_run(p).identity.run_id for p in places])
        return True

    def _tell_ingest(self, places: Sequence[str], report: IngestReport) -> None:
        self.n_written += report.runs_written
        if report.runs_written:
            self._log(
                "ingested",
                runs=_some(report.written),
                written=report.runs_written,
                files=report.files_scanned,
                missing=report.files_missing,
                bytes=report.bytes_scanned,
                problems=len(set(report.problems)),
                seconds=round(report.seconds, 3),
            )
        for problem in dict.fromkeys(report.problems):
            self._log(
                "problem",
                "warning",
                check=problem.check,
                severity=problem.severity,
                path=problem.path,
                where=problem.where,
                message=problem.message,
            )

    def _audit(self, run_ids: Sequence[int]) -> None:
        assert self._options.audit is not None
        try:
            self._log("audited", **self._options.audit(self._store, run_ids))
        except (XfelcatError, OSError) as e:
            self.failed = True
            self._log("audit_failed", "error", reason=str(e))

    def publish(self, *, now: bool = False) -> None:
        """Publish the merged file if it is behind and the last time is long enough ago."""
        started = time.monotonic()
        if not now and started - self._published_at < self._options.publish_every:
            return
        try:
            if self._store.exists() and self._store.publish_merged():
                seconds = round(time.monotonic() - started, 3)
                self._published_at = time.monotonic()
                self._log("published", seconds=seconds)
        except (XfelcatError, OSError) as e:
            self.failed = True
            self._published_at = time.monotonic()  # not again in every round
            self._log("publish_failed", "error", reason=str(e))


def settled_runs(store: Store) -> dict[str, Settled]:
    """What the catalog says of the runs all of whose files were read, by directory."""
    try:
        with uninterrupted(), store.read_merged() as cursor:
            rows = cursor.execute(
                "SELECT directory, realpath, n_files - n_files_missing, newest_mtime, ingested_at"
                " FROM run WHERE n_files_unread = 0 AND newest_mtime IS NOT NULL"
            ).fetchall()
    except CatalogNotFoundError:
        return {}
    found = {}
    for directory, realpath, n_files, newest, ingested in rows:
        settled = Settled(n_files, _seconds(newest), _seconds(ingested))
        found[from_text(directory)] = found[from_text(realpath)] = settled
    return found


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def _portions(items: Iterator[str], size: int) -> Iterator[list[str]]:
    portion: list[str] = []
    for item in items:
        portion.append(item)
        if len(portion) == size:
            yield portion
            portion = []
    if portion:
        yield portion


def _some(names: Sequence[str]) -> list[str]:
    """The first names; an event is a line, not a list of thousands."""
    more = [f"... {len(names) - _NAMES_PER_EVENT} more"] if len(names) > _NAMES_PER_EVENT else []
    return [*names[:_NAMES_PER_EVENT], *more]
