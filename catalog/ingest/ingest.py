"""How do run directories become rows of the catalog?

1. ``find_runs`` lists the runs below the given paths; they are taken shard by shard.
2. ``plan_run`` stats the files of a run, compares them with the catalog, and says what to scan. A
   run where nothing changed costs its stat calls and no more.
3. Worker processes scan the files, batch by batch; files of one aggregator go together, so that
   later sequences are compared with the first instead of being explored again.
4. A run whose files are all scanned is committed: unchanged facts are carried over, vanished files
   are marked, and what no longer matches the disk is discarded. Commits come every few seconds,
   so that an interruption loses little.
5. At the end the merged file for questions over runs is published, once.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Protocol

from ..model.facts import FileComparison, FileStat, compare_files
from ..model.identity import parse_file_name
from ..model.records import Depth, FileRecord, Problem
from ..scan.datamap import check_data_maps
from ..scan.discover import FoundRun, find_runs, is_excluded, list_run
from ..scan.locality import file_localities, is_on_disk
from ..scan.pool import Batch, run_batches
from ..scan.scan import scan_file
from ..store.read import file_stats, run_locations
from ..store.store import Store
from .assemble import (
    MovedRun,
    assemble_run,
    find_moved_run,
    held_elsewhere,
    known_files,
    other_home,
    unread_record,
)

__all__ = ["IngestOptions", "IngestProgress", "IngestReport", "ingest"]

_BATCH_FILES = 64
_COMMIT_SECONDS = 20.0
_PUBLISH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest.

    ``jobs`` worker processes (None: one per core; 0: none); ``force`` scans unchanged files too;
    ``verify`` opens every dataset and reads RUN in every file; ``exclude`` globs leave out paths;
    ``since`` (UTC, naive) takes only runs whose newest file is at least that new; ``stage`` reads
    files that lie on tape; ``dry_run`` only reports; ``reads_per_second`` limits all workers
    together; ``time_limit`` is in seconds, per file; without ``merge`` the merged file is left
    as it is, for a caller who publishes it later.
    """

    jobs: int | None = None
    force: bool = False
    verify: bool = False
    exclude: tuple[str, ...] = ()
    since: datetime | None = None
    stage: bool = False
    dry_run: bool = False
    reads_per_second: float | None = None
    time_limit: float = 120.0
    merge: bool = True


class IngestProgress(Protocol):
    """Hears how an ingest goes on."""

    def found(self, runs: int) -> None:
        """So many runs were found, once."""

    def planned(self, files: int, size: int) -> None:
        """So many more files and bytes are to be scanned."""

    def scanned(self, files: int, size: int, problems: int) -> None:
        """So many more files and bytes were scanned, with so many more problems."""

    def finished_run(self, label: str) -> None:
        """A run is done, scanned or not."""

    def publishing(self) -> None:
        """The merged file is being made."""


class _Silence:
    def found(self, runs: int) -> None: ...
    def planned(self, files: int, size: int) -> None: ...
    def scanned(self, files: int, size: int, problems: int) -> None: ...
    def finished_run(self, label: str) -> None: ...
    def publishing(self) -> None: ...


@dataclass(slots=True)
class IngestReport:
    """What an ingest did. Sizes in bytes; ``written`` has the names of runs.

    ``problems`` are those of the files scanned now.
    """

    location: str
    runs_found: int = 0
    runs_unchanged: int = 0
    runs_written: int = 0
    runs_skipped: int = 0
    files_scanned: int = 0
    files_unchanged: int = 0
    files_missing: int = 0
    bytes_scanned: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False
    to_scan: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is to be done about one run."""

    found: FoundRun
    stats: dict[str, FileStat]
    files: FileComparison
    locations: tuple[str, ...]
    on_tape: dict[str, str] = field(default_factory=dict)
    moved: MovedRun | None = None

    @property
    def to_open(self) -> list[str]:
        """Names of the files to scan."""
        return [n for n in self.files.to_scan if n not in self.on_tape]

    @property
    def is_known_as_it_is(self) -> bool:
        """Whether the catalog needs no change."""
        return self.files.is_fresh and self.found.directory in self.locations


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a worker must know to scan a batch."""

    verify: bool = False
    seconds_per_read: float = 0.0
    localities: dict[str, str] = field(default_factory=dict)


def ingest(
    store: Store,
    paths: Iterable[str],
    options: IngestOptions | None = None,
    progress: IngestProgress | None = None,
) -> IngestReport:
    """Scan the runs below ``paths`` into the catalog and publish it.

    Raises RunNotFoundError for a path that is absent, before anything is read, and
    CatalogWriteError where the catalog cannot be written. Bad files are problems in the report.
    KeyboardInterrupt stops the workers, keeps and publishes what is complete, and is told by
    ``report.interrupted``.
    """
    options = options or IngestOptions()
    report = IngestReport(str(store.location), dry_run=options.dry_run)
    run = _Ingest(store, options, progress or _Silence(), report)
    started = time.monotonic()
    try:
        run.all_below(paths)
    except KeyboardInterrupt:
        report.interrupted = True
    if options.merge and not options.dry_run and store.exists() and store.merged_is_stale():
        run.publish()
    report.seconds = time.monotonic() - started
    return report


class _Ingest:
    """One call of ``ingest``."""

    def __init__(
        self, store: Store, options: IngestOptions, progress: IngestProgress, report: IngestReport
    ) -> None:
        self._store = store
        self._options = options
        self._progress = progress
        self._report = report
        self._published_at = time.monotonic()

    def all_below(self, paths: Iterable[str]) -> None:
        found: list[FoundRun] = []
        for item in find_runs(paths, self._options.exclude):
            if isinstance(item, Problem):
                self._report.problems.append(item)
            else:
                found.append(item)
        self._report.runs_found = len(found)
        self._progress.found(len(found))
        found.sort(key=lambda f: (f.identity.shard, f.identity.run_id, f.directory))
        for shard, runs in groupby(found, key=lambda f: f.identity.shard):
            self._one_shard(shard, list(runs))
            is_due = time.monotonic() - self._published_at > _PUBLISH_SECONDS
            if is_due and self._options.merge and not self._dry:
                self.publish()

    @property
    def _dry(self) -> bool:
        return self._options.dry_run

    def publish(self) -> None:
        self._progress.publishing()
        self._store.publish_merged()
        self._published_at = time.monotonic()

    def _one_shard(self, shard: str, runs: Sequence[FoundRun]) -> None:
        plans = [p for p in self._plans(shard, runs) if p is not None]
        if self._dry:
            self._report.to_scan += [
                os.path.join(p.found.directory, n) for p in plans for n in p.to_open
            ]
            return
        done: list[tuple[RunPlan, dict[str, FileRecord]]] = []
        written_at = time.monotonic()
        scanning = self._scanned(plans)
        try:
            for result in scanning:
                done.append(result)
                if time.monotonic() - written_at > _COMMIT_SECONDS:
                    self._commit(shard, done)
                    done, written_at = [], time.monotonic()
        finally:
            scanning.close()
            if done:
                self._commit(shard, done)

    def _plans(self, shard: str, runs: Sequence[FoundRun]) -> Iterator[RunPlan | None]:
        """A plan for each run that needs one; told to the report and the progress."""
        seen: dict[int, RunPlan] = {}
        for found in runs:
            plan = self._plan(shard, found)
            if plan is not None and (first := seen.get(found.identity.run_id)):
                if plan.stats != first.stats:
                    place = first.found.directory
                    self._skip(found, f"{found.identity} is also in {place}, with other files")
                plan = None
            if plan is None:
                self._progress.finished_run(str(found.identity))
                continue
            seen[found.identity.run_id] = plan
            self._report.files_unchanged += len(plan.files.unchanged)
            self._report.files_missing += len(plan.files.vanished)
            sizes = [plan.stats[n].size for n in plan.to_open]
            self._progress.planned(len(sizes), sum(s for s in sizes if s > 0))
            yield plan

    def _plan(self, shard: str, found: FoundRun) -> RunPlan | None:
        """What to do about a run; None where nothing is."""
        try:
            stats = list_run(found.directory)
        except OSError as e:
            self._skip(found, f"directory cannot be listed: {e.strerror}")
            return None
        options = self._options
        stats = {name: stat for name, stat in stats.items() if self._is_wanted(found, name)}
        newest = max((s.mtime_ns for s in stats.values()), default=0)
        if options.since and newest < options.since.replace(tzinfo=UTC).timestamp() * 1e9:
            self._report.runs_skipped += 1
            return None
        with self._store.read(shard) as cursor:
            known = file_stats(cursor, found.identity.run_id) if cursor else {}
            locations = run_locations(cursor, found.identity.run_id) if cursor else ()
        moved = None
        if found.identity.is_loose and not known:
            moved = find_moved_run(self._store, stats)
            known = known_files(moved.record) if moved else {}
        considered = [name for name in known if self._is_wanted(found, name)]
        files = compare_files(
            stats, known, verify=options.verify, force=options.force, considered=considered
        )
        if (files.changed or files.vanished) and (other := other_home(found, locations)):
            elsewhere = held_elsewhere(files, other)
            if files.changed or (elsewhere and files.new):
                self._skip(found, f"{found.identity} is catalogued from {other}, with other files")
                return None
            if elsewhere:  # a part of the run in another place tells nothing new
                self._report.runs_unchanged += 1
                self._report.files_unchanged += len(files.unchanged)
                return None
        plan = RunPlan(found, stats, files, locations, moved=moved)
        if plan.is_known_as_it_is:
            self._report.runs_unchanged += 1
            self._report.files_unchanged += len(files.unchanged)
            return None
        if not options.stage:
            tape = {n: where for n, where in _localities(plan).items() if not is_on_disk(where)}
            plan = dataclasses.replace(plan, on_tape=tape)
        return plan

    def _is_wanted(self, found: FoundRun, name: str) -> bool:
        return not is_excluded(os.path.join(found.directory, name), self._options.exclude)

    def _skip(self, found: FoundRun, reason: str) -> None:
        self._report.runs_skipped += 1
        problem = Problem("F05", "E", f"run not ingested: {reason}", found.directory)
        self._report.problems.append(problem)

    def _scanned(
        self, plans: Sequence[RunPlan]
    ) -> Generator[tuple[RunPlan, dict[str, FileRecord]], None, None]:
        """Each plan with the records of its scanned files, as its last batch is done."""
        jobs = os.cpu_count() or 1 if self._options.jobs is None else self._options.jobs
        pace = self._options.reads_per_second
        scan_options = ScanOptions(self._options.verify, max(jobs, 1) / pace if pace else 0.0)
        batches: list[Batch] = []
        waiting: dict[int, int] = {}
        records: dict[int, dict[str, FileRecord]] = {}
        for number, plan in enumerate(plans):
            of_run = make_batches(plan, number, scan_options)
            records[number] = {name: _on_tape(plan, name) for name in plan.on_tape}
            if of_run:
                waiting[number] = len(of_run)
                batches += of_run
            else:
                yield plan, records.pop(number)
        results = run_batches(scan_batch, batches, jobs=jobs, time_limit=self._options.time_limit)
        for result in results:
            number = result.batch.key
            plan = plans[number]
            scanned = list(result.results.values())
            scanned += [_blamed(plan, path, why) for path, why in result.blamed.items()]
            self._tell(scanned)
            records[number] |= {r.name: r for r in scanned}
            waiting[number] -= 1
            if not waiting[number]:
                yield plan, records.pop(number)

    def _tell(self, scanned: Sequence[FileRecord]) -> None:
        problems = [p for r in scanned for p in r.problems]
        size = sum(max(r.size, 0) for r in scanned)
        self._report.files_scanned += len(scanned)
        self._report.bytes_scanned += size
        self._report.problems += [p for p in problems if p.severity != "I"]
        self._progress.scanned(len(scanned), size, sum(p.severity != "I" for p in problems))

    def _commit(self, shard: str, done: Sequence[tuple[RunPlan, dict[str, FileRecord]]]) -> None:
        with self._store.write(shard) as writer:
            for plan, records in done:
                old = writer.load_run(plan.found.identity.run_id)
                if old is None and plan.moved:
                    old = plan.moved.record
                record = assemble_run(plan.found, old, plan.files, records)
                if record is None:
                    continue
                found = check_data_maps(record.directory, record.files)
                record = dataclasses.replace(record, problems=record.problems + found)
                writer.replace_run(record)
                self._report.problems += [p for p in record.problems if p.severity != "I"]
        for plan, _ in done:
            if plan.moved and not os.path.isdir(plan.moved.record.directory):
                with self._store.write(plan.moved.shard) as writer:
                    writer.forget_run(plan.moved.record.identity.run_id)
            self._report.runs_written += 1
            self._report.written.append(str(plan.found.identity))
            self._progress.finished_run(str(plan.found.identity))


def make_batches(plan: RunPlan, key: object, options: ScanOptions) -> list[Batch]:
    """The files to scan of a run: those of an aggregator together, in order, in batches."""

    def order(name: str) -> tuple[str, int, str]:
        parsed = parse_file_name(name)
        return (parsed.aggregator, parsed.sequence, name) if parsed else ("", -1, name)

    batches = []
    by_aggregator = groupby(sorted(plan.to_open, key=order), key=lambda n: order(n)[0])
    for _, group in by_aggregator:
        paths = [os.path.join(plan.found.directory, name) for name in group]
        for at in range(0, len(paths), _BATCH_FILES):
            batches.append(Batch(key, tuple(paths[at : at + _BATCH_FILES]), options))
    return batches


def scan_batch(
    paths: Sequence[str], options: ScanOptions, note: Callable[[str], None]
) -> dict[str, FileRecord]:
    """Scan the files of one aggregator, later ones by comparison with the first; in a worker."""
    records: dict[str, FileRecord] = {}
    like: FileRecord | None = None
    for path in paths:
        note(path)
        started, reads = time.monotonic(), _reads_so_far(options)
        record = scan_file(path, depth=Depth.FULL, like=like, verify=options.verify)
        records[path] = record
        if like is None and record.depth is Depth.FULL:
            like = record
        owed = (_reads_so_far(options) - reads) * options.seconds_per_read
        pause = started + owed - time.monotonic()
        if pause > 0:
            note("")  # a pause is no hanging file
            time.sleep(pause)
    return records


def _reads_so_far(options: ScanOptions) -> int:
    """Read system calls of this process so far; 0 where no pace is to be kept."""
    if not options.seconds_per_read:
        return 0
    with open("/proc/self/io", encoding="ascii") as f:
        counters = dict(line.split(": ") for line in f.read().splitlines())
    return int(counters["syscr"])


def _localities(plan: RunPlan) -> dict[str, str]:
    """Where the files to scan lie, by name: asked only of those."""
    paths = {os.path.join(plan.found.directory, n): n for n in plan.files.to_scan}
    return {paths[p]: where for p, where in file_localities(list(paths)).items()}


def _on_tape(plan: RunPlan, name: str) -> FileRecord:
    where = plan.on_tape[name]
    path = os.path.join(plan.found.directory, name)
    reason = f"file is {where} (not on disk); --stage reads it anyway"
    return unread_record(path, plan.stats[name], reason, where)


def _blamed(plan: RunPlan, path: str, reason: str) -> FileRecord:
    return unread_record(path, plan.stats[os.path.basename(path)], reason)
