"""Ingest of run directories into the catalog.

1. ``find_runs`` lists the runs below the given paths; they are taken shard by shard.
2. A plan for each run: its files are stat'ed and compared with the catalog. A run where nothing
   changed costs its stat calls and no more.
3. Worker processes scan the files, batch by batch (``scan.jobs``).
4. A run whose files are all scanned is committed: unchanged facts are carried over, vanished files
   are marked, and what no longer matches the disk is discarded (``assemble``).
5. At the end the merged file for questions over runs is published, once.
"""

import gc
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from ..model.facts import FileComparison, FileStat, KnownFile, compare_files
from ..model.records import Depth, FileRecord, Problem, RunRecord
from ..scan.datamap import check_data_maps
from ..scan.discover import FoundRun, find_runs, is_excluded, list_run
from ..scan.executors import Batch, Jobs
from ..scan.jobs import (
    NO_PROGRESS,
    JobProgress,
    JobReport,
    committing,
    in_batches,
    n_workers,
    publish_after,
    run_jobs,
)
from ..scan.locality import files_off_disk
from ..scan.scan import scan_file, unread_record
from ..store.read import file_stats, run_locations
from ..store.store import Store
from .assemble import assemble_run, find_moved_run, gone_runs, kept_elsewhere, other_home

_PUBLISH_SECONDS = 600.0  # publishing rewrites the merged file: its cost grows with the facility


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest."""

    jobs: Jobs = None
    """Worker processes, None for one per core, 0 for none; or an executor, or a Dask client."""
    force: bool = False
    """Whether to scan unchanged files too."""
    verify: bool = False
    """Whether to open every dataset, and read RUN in every file."""
    exclude: tuple[str, ...] = ()
    """Globs of paths and names to leave out."""
    since: datetime | None = None
    """Take only runs whose newest file is at least that new (UTC, without zone)."""
    stage: bool = False
    """Whether to read files that lie on tape."""
    dry_run: bool = False
    """Whether to report only."""
    reads_per_second: float | None = None
    """The most reads of all workers together; None for no limit."""
    time_limit: float = 120.0
    """Seconds per file."""
    merge: bool = True
    """Whether to publish the merged file; else a caller does it later."""


@dataclass(slots=True)
class IngestReport(JobReport):
    """What an ingest did."""

    runs_unchanged: int = 0
    """Runs of which the catalog knew everything."""
    runs_written: int = 0
    """Runs written to the catalog."""
    runs_skipped: int = 0
    """Runs left out: see ``problems``, or older than ``since``."""
    files_scanned: int = 0
    """Files read, well or badly."""
    files_unchanged: int = 0
    """Files whose facts still hold."""
    files_missing: int = 0
    """Files that vanished since the last ingest."""
    bytes_scanned: int = 0
    """Size of the files read."""
    dry_run: bool = False
    """Whether nothing was to be read or written."""
    to_scan: list[str] = field(default_factory=list)
    """Paths of the files to be read, of a dry run."""
    written: list[str] = field(default_factory=list)
    """Names of the runs written."""


@dataclass(frozen=True, slots=True)
class _RunPlan:
    """What is to be done about one run.

    ``moved`` is a loose run elsewhere that has its files, ``on_tape`` the files to leave out.
    """

    found: FoundRun
    stats: dict[str, FileStat]
    files: FileComparison
    locations: tuple[str, ...]
    moved: RunRecord | None = None
    on_tape: Mapping[str, str] = field(default_factory=dict)

    @property
    def candidates(self) -> list[str]:
        """Paths of the files whose facts are to be read, on tape or not."""
        return [os.path.join(self.found.directory, n) for n in self.files.to_scan]

    @property
    def to_open(self) -> list[str]:
        """Paths of the files to scan."""
        return [path for path in self.candidates if path not in self.on_tape]

    def unread(self, path: str, reason: str, locality: str = "") -> FileRecord:
        """The record of a file that was not scanned."""
        return unread_record(path, self.stats[os.path.basename(path)], reason, locality)

    def records_on_tape(self) -> list[FileRecord]:
        """The records of the files left out."""
        reason = "file is {} (not on disk); --stage reads it anyway"
        return [self.unread(p, reason.format(where), where) for p, where in self.on_tape.items()]


_Scanned = tuple[_RunPlan, dict[str, FileRecord]]
"""A run and the records of its scanned files by name."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a worker scans: see ``scan_file``; ``seconds_per_read`` slows it down."""

    verify: bool = False
    seconds_per_read: float = 0.0


def ingest(
    store: Store,
    paths: Iterable[str],
    options: IngestOptions | None = None,
    progress: JobProgress | None = None,
) -> IngestReport:
    """Scan the runs below ``paths`` into the catalog and publish it.

    Raises RunNotFoundError for a path that is absent, before anything is read, and
    CatalogWriteError where the catalog cannot be written. Bad files are problems in the report.
    KeyboardInterrupt stops the workers, keeps and publishes what is complete, and sets
    ``report.interrupted``.
    """
    options = options or IngestOptions()
    report = IngestReport(str(store.location), dry_run=options.dry_run)
    progress = progress or NO_PROGRESS
    work = partial(_Ingest(store, options, progress, report).all_below, paths)
    publish = options.merge and not options.dry_run
    publish_after(work, store, report, progress if publish else None)
    return report


@dataclass(slots=True)
class _Ingest:
    """One call of ``ingest``."""

    store: Store
    options: IngestOptions
    progress: JobProgress
    report: IngestReport
    published_at: float = field(default_factory=time.monotonic)

    def all_below(self, paths: Iterable[str]) -> None:
        paths, found = list(paths), []
        for item in find_runs(paths, self.options.exclude):
            if isinstance(item, Problem):
                self.report.problems.append(item)
            else:
                found.append(item)
        self.report.runs_found = len(found)
        self.progress.found(len(found))
        self._all(found)
        # After those that are there: a run that was moved is known by its new place now.
        self._all(list(gone_runs(self.store, paths)))

    def _all(self, found: list[FoundRun]) -> None:
        found.sort(key=lambda f: (f.identity.shard, f.identity.run_id, f.directory))
        for shard, runs in groupby(found, key=lambda f: f.identity.shard):
            plans = list(self._plans(shard, runs))
            if self.options.dry_run:
                self.report.to_scan += [path for plan in plans for path in plan.to_open]
                continue
            committing(self._scanned(plans), partial(self._commit, shard))
            is_due = time.monotonic() - self.published_at > _PUBLISH_SECONDS
            if is_due and self.options.merge:
                self.progress.publishing()
                self.store.publish_merged()
                self.published_at = time.monotonic()

    def _plans(self, shard: str, runs: Iterable[FoundRun]) -> Iterator[_RunPlan]:
        """A plan for each run that needs one; the others are reported as done."""
        seen: dict[int, _RunPlan] = {}
        for found in runs:
            plan = self._plan(shard, found)
            if plan is not None and (first := seen.get(found.identity.run_id)):
                if plan.stats != first.stats:
                    place = first.found.directory
                    self._skip(found, f"{found.identity} is also in {place}, with other files")
                plan = None
            if plan is None:
                self.progress.finished_run(str(found.identity))
                continue
            seen[found.identity.run_id] = plan
            self.report.files_unchanged += len(plan.files.unchanged)
            self.report.files_missing += len(plan.files.vanished)
            sizes = [plan.stats[os.path.basename(path)].size for path in plan.to_open]
            self.progress.planned(len(sizes), sum(s for s in sizes if s > 0))
            yield plan

    def _plan(self, shard: str, found: FoundRun) -> _RunPlan | None:
        """What to do about a run; None where nothing is."""
        try:
            stats = list_run(found.directory)
        except FileNotFoundError:  # it has vanished, and its files with it
            stats = {}
        except OSError as e:
            self._skip(found, f"directory cannot be listed: {e.strerror}")
            return None
        options = self.options
        stats = {name: stat for name, stat in stats.items() if self._is_wanted(found, name)}
        newest = max((s.mtime_ns for s in stats.values()), default=0)
        if options.since and newest < options.since.replace(tzinfo=UTC).timestamp() * 1e9:
            self.report.runs_skipped += 1
            return None
        with self.store.read(shard) as cursor:
            known: Mapping[str, KnownFile | FileRecord]
            known = file_stats(cursor, found.identity.run_id) if cursor else {}
            locations = run_locations(cursor, found.identity.run_id) if cursor else ()
        moved = None
        if found.identity.is_loose and not known:
            moved = find_moved_run(self.store, stats)
            known = moved.by_name if moved else {}
        if not known and not stats:
            return None
        considered = [name for name in known if self._is_wanted(found, name)]
        files = compare_files(
            stats, known, verify=options.verify, force=options.force, considered=considered
        )
        plan = _RunPlan(found, stats, files, locations, moved)
        is_known = files.is_fresh and found.directory in locations
        if (files.changed or files.vanished) and (other := other_home(found, locations)):
            elsewhere = kept_elsewhere(files, other)
            if files.changed or (elsewhere and files.new):
                self._skip(found, f"{found.identity} is catalogued from {other}, with other files")
                return None
            # A part of the run in another place adds nothing.
            is_known = is_known or bool(elsewhere)
        if is_known:
            self.report.runs_unchanged += 1
            self.report.files_unchanged += len(files.unchanged)
            return None
        return plan if options.stage else replace(plan, on_tape=files_off_disk(plan.candidates))

    def _is_wanted(self, found: FoundRun, name: str) -> bool:
        return not is_excluded(os.path.join(found.directory, name), self.options.exclude)

    def _skip(self, found: FoundRun, reason: str) -> None:
        self.report.runs_skipped += 1
        problem = Problem("F05", "E", f"run not ingested: {reason}", found.directory)
        self.report.problems.append(problem)

    def _scanned(self, plans: Sequence[_RunPlan]) -> Generator[_Scanned, None, None]:
        """Each plan with the records of its scanned files, as its last batch is done."""
        options = self.options
        pace = options.reads_per_second
        slowed = max(n_workers(options.jobs), 1) / pace if pace else 0.0
        scan_options = ScanOptions(options.verify, slowed)
        batches = [
            Batch(number, paths, scan_options)
            for number, plan in enumerate(plans)
            for paths in in_batches(plan.to_open)
        ]
        for plan in plans:
            if not plan.to_open:
                yield plan, {r.name: r for r in plan.records_on_tape()}
        by_directory = {plan.found.directory: plan for plan in plans}

        def blame(path: str, why: str) -> FileRecord:
            return by_directory[os.path.dirname(path)].unread(path, why)

        for number, records in run_jobs(
            scan_batch, batches, blame=blame, jobs=options.jobs, time_limit=options.time_limit,
            each=self._count,
        ):  # fmt: skip
            plan = plans[number]
            yield plan, {r.name: r for r in (*plan.records_on_tape(), *records.values())}

    def _count(self, results: Mapping[str, FileRecord]) -> None:
        records = results.values()
        problems = [p for r in records for p in r.problems if p.severity != "I"]
        size = sum(max(r.size, 0) for r in records)
        self.report.files_scanned += len(records)
        self.report.bytes_scanned += size
        self.report.problems += problems
        self.progress.scanned(len(records), size, len(problems))

    def _commit(self, shard: str, done: Sequence[_Scanned]) -> None:
        with self.store.write(shard) as writer:
            for plan, records in done:
                old = writer.load_run(plan.found.identity.run_id)
                record = assemble_run(plan.found, old or plan.moved, plan.files, records)
                if record is None:
                    continue
                found = check_data_maps(record.directory, record.files)
                record = replace(record, problems=record.problems + found)
                writer.replace_run(record)
                self.report.problems += [p for p in record.problems if p.severity != "I"]
        for plan, _ in done:
            if plan.moved and not os.path.isdir(plan.moved.directory):
                with self.store.write(plan.moved.identity.shard) as writer:
                    writer.forget_run(plan.moved.identity.run_id)
            self.report.runs_written += 1
            self.report.written.append(str(plan.found.identity))
            self.progress.finished_run(str(plan.found.identity))


def scan_batch(
    paths: Sequence[str], options: ScanOptions, note: Callable[[str], None]
) -> dict[str, FileRecord]:
    """Scan the files of one aggregator, later ones by comparison with the first; in a worker."""
    records: dict[str, FileRecord] = {}
    like: FileRecord | None = None
    for path in paths:
        note(path)
        started, reads = time.monotonic(), _reads_so_far(options)
        with _no_collection():
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


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for circles of objects: of the many of a scan none is one, and it takes 7%."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _reads_so_far(options: ScanOptions) -> int:
    """Read system calls of this process so far; 0 where no pace is to be kept."""
    if not options.seconds_per_read:
        return 0
    with open("/proc/self/io", encoding="ascii") as f:
        counters = dict(line.split(": ") for line in f.read().splitlines())
    return int(counters["syscr"])
