"""Audits of the catalogued runs: findings, since when, and what changed since the last audit.

``audit`` in steps:

1. The merged file is brought up to date (or, with ``run_ids``, the shards of these runs are put
   together in memory), and the runs in scope are chosen.
2. The checks in SQL run on it; with ``disk`` the catalog is compared with the disk, with ``deep``
   data are read. The findings of scans are in the catalog already.
3. The findings are recorded (``record``): when each was first and last seen, and what is gone. Only
   what was checked can be gone. The audit itself is recorded with its scope and duration.
4. ``Findings``: all of them, with what is waived and what is new, and a summary of a few lines.

No file is opened, except by ``deep``.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any, Protocol

from ..model.checks import CHECKS, COUNTED_SEVERITIES, DEFAULT_LIMITS, Check, Limits
from ..model.errors import CatalogWriteError, RunNotFoundError
from ..model.identity import shard_of
from ..model.names import to_text
from ..model.records import Problem
from ..questions.execute import Table, fetch
from ..questions.filters import ALL_RUNS, RunFilter
from ..store.connections import Cursor
from ..store.store import Store
from . import record
from .between_runs import CHECKS_OF_ALL_RUNS
from .disk import DiskOptions, find_on_disk, run_folders
from .earlier import EarlierAudit, cover, covered_since, earlier_audits
from .findings import Findings, describe_findings
from .run_checks import SQL_CHECKS, choose_runs, execute, find_faults, insert, rows_table
from .waivers import Waiver, find_waivers, waiver_table

_SIZE = """
SELECT count(*), coalesce(sum(n_files), 0)::BIGINT, min(ingested_at) FROM run
JOIN scope USING (run_id)
"""
_STANDS = """
SELECT run_id, name, check_id, severity, message, place, path, origin FROM finding
WHERE origin = 'deep' AND resolved_at IS NULL
AND list_contains($files::VARCHAR[], concat(run_id, '/', name))
AND list_contains($checks::VARCHAR[], check_id)
"""
NOT_ASKED = "save=False"
_DISK_CHECKS = ("C01", "C02", "F06")
_THRESHOLDS = {"error": ("E",), "warning": ("E", "W"), "never": ()}

# Called with what is being done, how many steps of it are done, and of how many.
Progress = Callable[[str, int, int], None]


class DeepCheck(Protocol):
    """Reads data of some runs, given by run_id and directory, and finds what is wrong with them."""

    def __call__(self, runs: Sequence[tuple[int, str]]) -> Iterable[tuple[int, Problem]]:
        """Problems by run_id; ``Problem.path`` is the file. F06: it could not be looked at."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How to audit. What is not described is as for ``Catalog.audit``."""

    checks: tuple[Check, ...] = tuple(CHECKS.values())
    """Which checks; those that need ``disk`` or ``deep`` are left out without."""
    limits: Limits = DEFAULT_LIMITS
    disk: DiskOptions | None = None
    """How to compare the catalog with the disk; None: not at all."""
    deep: DeepCheck | None = None
    since: datetime | None = None
    """``changes_since``, in UTC and without zone."""
    waivers: str | os.PathLike[str] | None = None
    save: bool = True
    run_ids: tuple[int, ...] | None = None
    """Audit these runs only, from their shards, without the comparisons that need other proposals,
    and leave the merged file as it is."""
    memory_limit: int = 3 << 30
    """Bytes that DuckDB may take before it writes to disk."""

    @property
    def ids(self) -> frozenset[str]:
        """IDs of the checks asked for."""
        return frozenset(check.id for check in self.checks)

    @property
    def ids_run(self) -> tuple[str, ...]:
        """IDs of the checks that an audit with these options runs itself, in order."""
        ran = {check for check, _ in SQL_CHECKS}
        if self.run_ids is not None:
            ran -= {check for check, _ in CHECKS_OF_ALL_RUNS}
        if self.disk is not None:
            ran |= {*_DISK_CHECKS}
        if self.deep is not None:
            ran |= {check.id for check in CHECKS.values() if check.origin == "deep"}
        return tuple(i for i in CHECKS if i in ran & self.ids)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The findings of an audit, and what they rest on."""

    findings: Findings
    """What is wrong, with its summary."""
    location: str
    """The catalog."""
    number: int | None
    """Number of the recorded audit; None where it was not recorded."""
    not_recorded: str
    """Why it was not recorded."""
    started_at: datetime
    """When it began, in UTC, without zone."""
    since: datetime | None
    """Since when the checks were not made of these runs (of several times, the earliest); None
    where they never were: this audit is the first, and all is new."""
    seconds: float
    """How long it took."""
    n_runs: int
    """Runs in scope."""
    n_files: int
    """Files of these runs."""
    checks: tuple[str, ...]
    """IDs of the checks that it ran itself."""
    at_ingest: tuple[str, ...] = ()
    """IDs of the checks that ingest made, on which it reports too."""
    oldest_ingest: datetime | None = None
    """When the first of the runs was ingested that was not ingested again since."""
    expired: tuple[Waiver, ...] = ()
    """Waivers whose last day is over."""

    @property
    def counts(self) -> dict[str, int]:
        """Findings by severity, waived, new and resolved ones."""
        found = self.findings
        by_severity = {f"{word}s": found.count(s) for s, word in COUNTED_SEVERITIES.items()}
        others = {"waived": found.n_waived, "new": found.n_new, "resolved": found.n_resolved}
        return by_severity | others

    def fails(self, threshold: str, *, new: bool = False) -> bool:
        """Whether a finding that is not waived is at or above ``error`` or ``warning``.

        With ``new`` only findings that are new count; never one that is gone.
        """
        return any(self.findings.count(severity, new=new) for severity in _THRESHOLDS[threshold])


def audit(
    store: Store,
    where: RunFilter = ALL_RUNS,
    options: AuditOptions | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit the runs that a filter chooses.

    Raises as ``Catalog.audit``, but no RunNotFoundError where there are roots to look into.
    """
    return _Audit(store, where, options or AuditOptions(), progress or (lambda *_: None)).run()


def log_fields(report: AuditReport) -> dict[str, Any]:
    """What a log records of an audit, in a few fields."""
    timing = {"seconds": round(report.seconds, 3), "not_recorded": report.not_recorded}
    return {"runs": report.n_runs, **report.counts, **timing}


@dataclass
class _Audit:
    """One call of ``audit``."""

    store: Store
    where: RunFilter
    options: AuditOptions
    progress: Progress
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    _clock: float = field(default_factory=time.monotonic)

    def run(self) -> AuditReport:
        self.store.require()
        waivers = find_waivers(self.store.location, self.options.waivers)
        cursor = self._cursor()
        choose_runs(cursor, self.where, self.options.run_ids)
        ((n_runs, n_files, oldest),) = execute(cursor, _SIZE)
        roots = self.options.disk.roots if self.options.disk else ()
        if not n_runs and not roots:
            raise RunNotFoundError(
                "a run to audit",
                [str(self.store.location)],
                sentence="the filters and paths choose no catalogued run to audit",
            )
        found = self._find(cursor)
        options = self.options
        looks = options.disk is not None  # then also for runs that are not catalogued
        below = tuple(to_text(os.path.abspath(r)) for r in roots)
        beside = tuple(map(to_text, run_folders(cursor))) if looks and not roots else ()
        since = self._cover(cursor)
        runs = fetch(cursor, "SELECT run_id FROM scope")
        area = record.Area(runs, options.ids_run, below, beside, self.started_at)
        today = self.started_at.date()

        def report(recorded: Table) -> AuditReport:
            return AuditReport(
                findings=describe_findings(
                    cursor,
                    recorded,
                    checks=sorted(options.ids),
                    ran=area.checks,
                    at=self.started_at,
                    waivers=waiver_table(waivers, today),
                ),
                location=str(self.store.location),
                number=None,
                not_recorded=NOT_ASKED,
                started_at=self.started_at,
                since=since,
                seconds=time.monotonic() - self._clock,
                n_runs=n_runs,
                n_files=n_files,
                checks=area.checks,
                at_ingest=tuple(c.id for c in options.checks if c.origin == "scan"),
                oldest_ingest=oldest,
                expired=tuple(w for w in waivers if w.is_expired(today)),
            )

        if not options.save:
            return report(record.compare_findings(self.store, area, found))
        try:
            with record.recording(self.store) as audits:
                recorded = report(record.replace_findings(audits, area, found))
                number = record.add_audit(audits, self._row(recorded))
        except CatalogWriteError as error:
            unrecorded = report(record.compare_findings(self.store, area, found))
            return replace(unrecorded, not_recorded=str(error))
        if options.run_ids is None:
            self._merge()
        return replace(recorded, number=number, not_recorded="")

    def _cover(self, cursor: Cursor) -> datetime | None:
        """Put the audits against which findings are new or gone into tables; when that is since."""
        if (since := self.options.since) is not None:
            cover(cursor, [EarlierAudit(since - timedelta(microseconds=1))])  # at that time is new
            return since
        ids = set(self.options.run_ids or ())  # of a watch, which compares with its own audits too
        earlier = earlier_audits(self.store)
        cover(cursor, [a for a in earlier if not a.run_ids or ids.intersection(a.run_ids)])
        return covered_since(cursor, self.options.ids)

    @cached_property
    def scope(self) -> dict[str, Any]:
        """What is audited: two audits of the same scope can be compared."""
        names = RunFilter.__dataclass_fields__
        scope = {name: value for name in names if (value := getattr(self.where, name))}
        options = self.options
        if options.run_ids is not None:
            scope["run_ids"] = list(options.run_ids)
        if len(options.checks) < len(CHECKS):
            scope["checks"] = sorted(options.ids)
        return scope | {"disk": options.disk is not None, "deep": options.deep is not None}

    def _cursor(self) -> Cursor:
        limit = self.options.memory_limit
        if self.options.run_ids is not None:
            shards = {shard_of(i) for i in self.options.run_ids}
            return self.store.open_part(sorted(shards), memory_limit=limit).new_cursor()
        self._merge()
        return self.store.open_merged(memory_limit=limit).new_cursor()

    def _merge(self) -> None:
        """Bring the merged file up to date, unless the catalog cannot be written."""
        with suppress(CatalogWriteError):
            self.store.publish_merged(partial(self.progress, "merging"))

    def _find(self, cursor: Cursor) -> Table:
        """The findings of all checks, with their origin."""
        import pyarrow as pa

        options = self.options
        wanted = set(options.ids_run)
        find_faults(
            cursor, wanted, options.limits, self.started_at, partial(self.progress, "checking")
        )
        if options.disk is not None and wanted & {*_DISK_CHECKS}:
            settled = self.started_at - timedelta(minutes=options.limits.settling_minutes)
            steps = partial(self.progress, "looking at the disk")
            on_disk = find_on_disk(cursor, self.store, options.disk, settled, steps)
            insert(cursor, "found", [row for row in on_disk if row[2] in wanted])
        table = fetch(cursor, "SELECT *, 'audit' AS origin FROM found")
        in_data = rows_table(self._find_in_data(cursor, wanted), table.schema)
        return pa.concat_tables([table, in_data])

    def _find_in_data(self, cursor: Cursor, wanted: set[str]) -> list[tuple[Any, ...]]:
        """The findings of reading data; earlier ones of files not read this time still stand."""
        of_data = {i for i in wanted if CHECKS[i].origin == "deep"}
        if self.options.deep is None or not of_data:
            return []
        sql = "SELECT run_id, directory FROM run JOIN scope USING (run_id) ORDER BY run_id"
        found = list(self.options.deep(execute(cursor, sql)))
        unseen = [f"{i}/{os.path.basename(p.path)}" for i, p in found if p.check == "F06"]
        names = {"files": list(map(to_text, unseen)), "checks": sorted(of_data)}
        stands = execute(cursor, _STANDS, names)
        rows = []
        for run_id, p in found:
            if p.check in of_data:
                name, message, place = map(to_text, (os.path.basename(p.path), p.message, p.where))
                rows.append((run_id, name, p.check, p.severity, message, place, None, "deep"))
        return rows + stands

    def _row(self, report: AuditReport) -> dict[str, Any]:
        """The row of this audit; waived findings count."""
        found = report.findings
        return {
            "at": self.started_at,
            "seconds": report.seconds,
            "scope": self.scope,
            "checks": list(report.checks),
            "runs": report.n_runs,
            "files": report.n_files,
            **{
                f"{word}s": found.count(severity, with_waived=True)
                for severity, word in COUNTED_SEVERITIES.items()
            },
            "new": found.n_new,
            "resolved": found.n_resolved,
        }
