"""Watching a facility at work: the catalog follows what appears on disk.

``watch`` goes round after round:

1. ``Tree.due`` gives the run directories that may have changed. A network file system reports no
   changes, so directories are stat'ed, as few as will do: a folder above the runs in every round,
   a run the less often the longer it has rested. A run written to a short while ago is *active*:
   its files are stat'ed in every round, for files grow without their directory changing. After
   ``recheck`` seconds every run is looked at once more, file by file.
2. ``Arrivals`` sorts their new and changed files: half-written ones are left for a later round.
3. Runs with complete files are ingested, the others' files left out of it.
4. What was ingested is audited, and the merged file is published if the last time is long enough
   ago.

A file that changed just now is left to its writer. One that rests but cannot be read is taken to be
half-written, not broken, for as long as ``patience`` lasts: it is tried again after a while, after
twice that while, and so on. Only then is it ingested as it is, with its finding.

There is no state but the catalog: a watcher that is started again looks at what may have changed
since. Whatever goes wrong in a round is logged, and tried again in the next.
"""

import glob
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from itertools import groupby
from typing import Any, Protocol

from ..ingest.ingest import IngestOptions, IngestReport, ingest
from ..model.errors import CatalogNotFoundError, XfelcatError
from ..model.facts import FileStat
from ..model.names import from_text
from ..model.records import Depth
from ..scan.discover import find_runs, is_excluded, list_directory, list_run, locate_run
from ..scan.executors import Batch
from ..scan.jobs import portions, run_batches
from ..scan.scan import outline_batch
from ..store.connections import uninterrupted
from ..store.store import Store

# Directories --------------------------------------------------------------------------------------

# A listing made within this time of the last change may lack what came in the same tick.
_RACY_SECONDS = 3.0
_AGE_SHARE = 0.01  # of the age of a run: a change is seen after that share of it at the latest


@dataclass(frozen=True, slots=True)
class Settled:
    """A run in the catalog: files on disk, newest mtime and time of ingest (s)."""

    n_files: int
    newest: float
    ingested: float


@dataclass(slots=True)
class _Folder:
    realpath: str
    mtime: float = -1.0  # of the listing; -1: list it again
    folders: list[str] = field(default_factory=list)
    n_data_files: int = 0
    is_run: bool = False
    looked_at: float = float("-inf")  # file by file
    stat_at: float = float("-inf")
    active: bool = True


@dataclass(slots=True)
class Tree:
    """The directories below some roots, as they were last seen; a new one knows the ``settled``.

    ``errors`` are the directories that could not be listed in the last round, with the reason.
    """

    roots: Sequence[str]
    exclude: Sequence[str] = ()
    settled: Mapping[str, Settled] = field(default_factory=dict)
    patience: float = 3600.0
    recheck: float = 86400.0
    errors: dict[str, str] = field(default_factory=dict)
    _folders: dict[str, _Folder] = field(default_factory=dict)

    @property
    def n_runs(self) -> int:
        """How many runs were seen so far."""
        return sum(f.is_run for f in self._folders.values())

    def due(self) -> Iterator[str]:
        """The run directories to look at now, file by file, in the order of their paths."""
        self.errors = {}
        entered: set[str] = set()
        seen: set[str] = set()
        waiting = list(reversed(self.roots))
        while waiting:
            path = waiting.pop()
            if is_excluded(path, self.exclude):
                continue
            folder = self._look(path)
            if folder is None or folder.realpath in entered:
                continue
            entered.add(folder.realpath)
            seen.add(path)
            if folder.is_run and self._is_due(path, folder):
                folder.looked_at = time.time()
                yield path
            waiting += reversed(folder.folders)
        unreadable = tuple(e.rstrip("/") + "/" for e in self.errors)
        for path in self._folders.keys() - seen:
            if not f"{path}/".startswith(unreadable):
                del self._folders[path]

    def rest(self, path: str, newest: float, *, waits: bool) -> None:
        """Record a look: the newest mtime of the run, and whether any file is still awaited."""
        folder = self._folders.get(path)
        if folder is not None:
            changed = max(newest, folder.mtime)
            folder.active = waits or time.time() - changed < self.patience

    def again(self, path: str) -> None:
        """Look at this run in the next round, whatever its age: this look failed."""
        if path in self._folders:
            self._folders[path].active = True

    def _look(self, path: str) -> _Folder | None:
        """The folder, listed anew if it changed; None where that is not possible."""
        folder = self._folders.get(path)
        now = time.time()
        if folder and folder.is_run and not folder.active:
            rested = now - max(folder.mtime, 0)
            if now - folder.stat_at < min(rested * _AGE_SHARE, self.recheck):
                return folder
        try:
            mtime = os.stat(path).st_mtime
            if folder is None or folder.mtime != mtime:
                folder = self._list(path, folder)
                folder.mtime = mtime if abs(now - mtime) > _RACY_SECONDS else -1.0
                folder.active = folder.active or folder.is_run
        except OSError as e:
            self.errors[path] = f"directory cannot be listed: {e.strerror}"
            return None
        folder.stat_at = now
        self._folders[path] = folder
        return folder

    def _list(self, path: str, old: _Folder | None) -> _Folder:
        listing = list_directory(path)
        folder = old or _Folder(os.path.realpath(path))
        if old is not None and len(listing.data_names) != old.n_data_files:
            folder.active = True
        folder.folders = listing.folders
        folder.n_data_files = len(listing.data_names)
        # A run whose last file vanished is looked at once more, to mark that file.
        folder.is_run = folder.is_run or listing.is_run(is_given=path in self.roots)
        return folder

    def _is_due(self, path: str, folder: _Folder) -> bool:
        now = time.time()
        known = self.settled.get(path) if folder.looked_at == float("-inf") else None
        if known and known.n_files == folder.n_data_files and folder.mtime >= 0:
            changed = max(known.newest, folder.mtime)
            if changed < known.ingested and now - changed > self.patience:
                # By the catalog nothing can have changed in this run, not yet looked at.
                folder.looked_at, folder.active = now, False
                return False
        return folder.active or now - folder.looked_at > self.recheck


# Arrivals -----------------------------------------------------------------------------------------

_LONGEST_PAUSE = 600.0  # s: a file that becomes complete is read at most so much later
_UNREADABLE = ("F01", "F02", "F03", "F06")  # checks of a file that has no outline


@dataclass(frozen=True, slots=True)
class InProgress:
    """A file that is not yet complete, for a reason; to be tried after ``retry_in`` seconds."""

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


@dataclass(slots=True)
class Arrivals:
    """The files that are awaited; all times in s, ``pause`` before the first retry."""

    quiet: float
    patience: float
    pause: float
    _done: dict[str, dict[str, FileStat]] = field(default_factory=dict)
    _awaited: dict[str, _Arrival] = field(default_factory=dict)

    def news(self, directory: str, stats: Mapping[str, FileStat]) -> dict[str, FileStat]:
        """The files that differ from what was last ingested from here."""
        done = self._done.get(directory, {})
        return {n: s for n, s in stats.items() if done.get(n) != s}

    def has_lost(self, directory: str, stats: Mapping[str, FileStat]) -> bool:
        """Whether a file that was ingested from here is gone."""
        return not self._done.get(directory, {}).keys() <= stats.keys()

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
            if stat.size < 0 or max(now - seen.since, age) >= self.patience:
                ready.append(name)
            elif rested < self.quiet:
                waiting.append(InProgress(path, "changed just now", self.quiet - rested))
            elif now < seen.next_try:
                waiting.append(InProgress(path, seen.reason, seen.next_try - now))
            else:
                to_try.append(name)
        return ready, to_try, waiting

    def tried(self, path: str, reason: str) -> InProgress:
        """Record that a file could not be read, and plan when to try it again."""
        arrival = self._awaited[path]
        pause = min(self.pause * 2**arrival.tries, _LONGEST_PAUSE, self.patience)
        arrival.tries += 1
        arrival.reason = reason
        arrival.next_try = time.monotonic() + pause
        return InProgress(path, reason, pause)

    def ingested(self, directory: str, stats: Mapping[str, FileStat], waiting: set[str]) -> None:
        """Record that a run was ingested, all files but those that are awaited."""
        self._done[directory] = {n: s for n, s in stats.items() if n not in waiting}
        for name in self._done[directory]:
            self._awaited.pop(os.path.join(directory, name), None)


def try_files(paths: Sequence[str], *, jobs: int, time_limit: float) -> dict[str, str]:
    """Why each file that cannot be read cannot be; complete ones are not in the answer."""
    failed: dict[str, str] = {}
    batches = [Batch(None, tuple(paths))] if paths else []
    for done in run_batches(outline_batch, batches, jobs=jobs, time_limit=time_limit):
        failed |= done.blamed
        for path, record in done.results.items():
            if record.depth < Depth.OUTLINE:
                reasons = (p.message for p in record.problems if p.check in _UNREADABLE)
                failed[path] = "; ".join(reasons) or "no EXDF file"
    return failed


# Rounds -------------------------------------------------------------------------------------------

_RUNS_AT_ONCE = 200  # so that a facility found in the first round is committed bit by bit
_NAMES_PER_EVENT = 10  # an event is a line, not a list of thousands
_HEARTBEAT_SECONDS = 600.0  # a "round" event at least so often, as a sign of life


class Log(Protocol):
    """Takes events."""

    def __call__(self, event: str, level: str = "info", **fields: Any) -> None:
        """One event: its name, its level (info, warning, error) and what it is about."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch; times in seconds. What is not described is as for ``IngestOptions``."""

    interval: float = 30.0
    """From one round to the next."""
    quiet: float = 10.0
    """How long a file must rest before it is read."""
    patience: float = 3600.0
    """How old a file is that cannot be read when it is no longer in progress."""
    publish_every: float = 600.0
    """How often the merged file is published at most."""
    recheck: float = 86400.0
    """After how long every run is looked at again."""
    jobs: int | None = None
    exclude: tuple[str, ...] = ()
    reads_per_second: float | None = None
    time_limit: float = 120.0
    once: bool = False
    """Whether to end after one round."""
    audit: Callable[[Store, Sequence[int]], dict[str, Any]] | None = None
    """Called with the run_ids of what was ingested; gives the fields of an event."""


@dataclass(frozen=True, slots=True)
class _RunState:
    """A run directory as it was listed: its files, and which of them are left for later."""

    directory: str
    stats: dict[str, FileStat]
    waiting: tuple[InProgress, ...]
    has_news: bool  # anything to ingest


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


@dataclass
class _Watcher:
    """One call of ``watch``."""

    _store: Store
    _roots: list[str]
    _options: WatchOptions
    _log: Log
    _logged: dict[str, tuple[str, int]] = field(default_factory=dict)  # files in progress
    _errors: dict[str, str] = field(default_factory=dict)
    _published_at: float = float("-inf")
    _beat_at: float = field(default_factory=time.monotonic)
    rounds: int = 0
    n_written: int = 0
    failed: bool = False

    @cached_property
    def _tree(self) -> Tree:
        found, options = settled_runs(self._store), self._options
        return Tree(self._roots, options.exclude, found, options.patience, options.recheck)

    @cached_property
    def _arrivals(self) -> Arrivals:
        options = self._options
        return Arrivals(options.quiet, options.patience, options.interval)

    def run(self) -> None:
        options = self._options
        while True:
            started = time.monotonic()
            self._round(started)
            if options.once:
                return
            self.publish()
            time.sleep(max(options.interval - (time.monotonic() - started), 0.1))

    def _round(self, started: float) -> None:
        self.rounds += 1
        before, n_looked = self.n_written, 0
        for _, directories in groupby(self._tree.due(), key=lambda d: locate_run(d).identity.shard):
            for some in portions(directories, _RUNS_AT_ONCE):
                n_looked += len(some)
                self._update(some)
        errors = dict(self._tree.errors)
        for path, reason in errors.items():
            if self._errors.get(path) != reason:
                self._log("unreadable", "warning", path=path, reason=reason)
        for path in self._errors.keys() - errors.keys():
            self._log("readable", path=path)
        self._errors = errors
        written, now = self.n_written - before, time.monotonic()
        if written or now - self._beat_at > _HEARTBEAT_SECONDS or self.rounds == 1:
            self._beat_at = now
            self._log(
                "round",
                looked_at=n_looked,
                runs=self._tree.n_runs,
                written=written,
                in_progress=len(self._logged),
                seconds=round(now - started, 3),
            )

    def _update(self, directories: Sequence[str]) -> None:
        """Ingest what is complete in some run directories of one shard."""
        listed = {}
        for directory in directories:
            try:
                listed[directory] = list_run(directory)
            except OSError as e:
                self._tree.errors[directory] = f"directory cannot be listed: {e.strerror}"
                self._tree.again(directory)
        runs = self._sorted(listed)
        for run in runs:
            self._log_progress(run)
        to_ingest = [run for run in runs if run.has_news]
        was_possible = self._ingest(to_ingest) if to_ingest else True
        for run in runs:
            if run.has_news and not was_possible:
                self._tree.again(run.directory)
                continue
            waiting = {os.path.basename(w.path) for w in run.waiting}
            self._arrivals.ingested(run.directory, run.stats, waiting)
            newest = max((s.mtime_ns for s in run.stats.values()), default=0) / 1e9
            self._tree.rest(run.directory, newest, waits=bool(waiting))

    def _sorted(self, listed: dict[str, dict[str, FileStat]]) -> list[_RunState]:
        """The runs with their files that wait, once those that are doubtful were tried."""
        sorted_ = {d: self._arrivals.sort(d, self._arrivals.news(d, s)) for d, s in listed.items()}
        to_try = {d: [os.path.join(d, n) for n in names] for d, (_, names, _) in sorted_.items()}
        failed = try_files(
            [path for paths in to_try.values() for path in paths],
            jobs=0 if self._options.jobs == 0 else 1,
            time_limit=self._options.time_limit,
        )
        runs = []
        for directory, (ready, _, waiting) in sorted_.items():
            stats, tried = listed[directory], to_try[directory]
            bad = [self._arrivals.tried(p, failed[p]) for p in tried if p in failed]
            is_ready = bool(ready) or len(tried) > len(bad)
            has_news = is_ready or self._arrivals.has_lost(directory, stats)
            runs.append(_RunState(directory, stats, (*waiting, *bad), has_news))
        return runs

    def _log_progress(self, run: _RunState) -> None:
        """Log each file that waits and why; once, until the reason or the size changes."""
        now = {w.path: (w.reason, run.stats[os.path.basename(w.path)].size) for w in run.waiting}
        for waiting in run.waiting:
            if self._logged.get(waiting.path) != now[waiting.path]:
                self._log(
                    "in_progress",
                    path=waiting.path,
                    bytes=now[waiting.path][1],
                    reason=waiting.reason,
                    retry_in=round(waiting.retry_in, 1),
                )
        here = run.directory + "/"
        self._logged = {p: t for p, t in self._logged.items() if not p.startswith(here)} | now

    def _ingest(self, runs: Sequence[_RunState]) -> bool:
        """Ingest these runs but for the files that wait; whether that was possible."""
        options = self._options
        waiting = tuple(glob.escape(w.path) for run in runs for w in run.waiting)
        ingest_options = IngestOptions(
            jobs=options.jobs,
            exclude=(*options.exclude, *waiting),
            reads_per_second=options.reads_per_second,
            time_limit=options.time_limit,
            merge=False,
        )
        places = [run.directory for run in runs if os.path.isdir(run.directory)]
        found = [locate_run(p).identity for p in places]
        try:
            report = ingest(self._store, places, ingest_options)
        except (XfelcatError, OSError) as e:
            self._fail("ingest_failed", e, runs=_some(list(map(str, found))))
            return False
        self._log_ingest(report)
        if report.interrupted:
            raise KeyboardInterrupt
        if report.runs_written and options.audit:
            try:
                self._log("audited", **options.audit(self._store, [i.run_id for i in found]))
            except (XfelcatError, OSError) as e:
                self._fail("audit_failed", e)
        return True

    def _fail(self, event: str, error: Exception, **fields: Any) -> None:
        self.failed = True
        self._log(event, "error", **fields, reason=str(error))

    def _log_ingest(self, report: IngestReport) -> None:
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
        for p in dict.fromkeys(report.problems):
            self._log(
                "problem", "warning", check=p.check, severity=p.severity, path=p.path,
                where=p.where, message=p.message,
            )  # fmt: skip

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
            self._published_at = time.monotonic()  # not again in every round
            self._fail("publish_failed", e)


def settled_runs(store: Store) -> dict[str, Settled]:
    """The runs of the catalog all of whose files were read, by directory."""
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
        times = (moment.replace(tzinfo=UTC).timestamp() for moment in (newest, ingested))
        settled = Settled(n_files, *times)
        found[from_text(directory)] = found[from_text(realpath)] = settled
    return found


def _some(names: Sequence[str]) -> list[str]:
    """The first names, and how many more there are."""
    more = [f"... {len(names) - _NAMES_PER_EVENT} more"] if len(names) > _NAMES_PER_EVENT else []
    return [*names[:_NAMES_PER_EVENT], *more]
