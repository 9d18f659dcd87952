"""Validation of a file or run by every check that needs nothing else; no catalog is involved.

1. The files of the run, or the one file, are scanned in worker processes as an ingest does, but
   every dataset is opened, and RUN read in every file. Files only on tape are left alone.
2. JSON data maps are compared with what was found, and the checks of an audit that need one run
   alone are asked of the records (``run_checks``).
3. With ``deep``, a sample of the data is read (``deepcheck``).
4. ``ValidationReport.condensed`` puts problems of a kind into one line.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...catalog.audit.findings import message_template, place_pattern
from ...catalog.ingest.ingest import ScanOptions, scan_batch
from ...catalog.model.checks import CHECKS, Check, choose_checks, severity_rank
from ...catalog.model.errors import RunNotFoundError
from ...catalog.model.facts import FileStat
from ...catalog.model.records import FileRecord, Problem, RunRecord, utc_now
from ...catalog.scan.datamap import check_data_maps
from ...catalog.scan.discover import (
    FoundRun,
    list_run,
    locate_run,
    neighbours,
    no_data_file,
    stat_file,
)
from ...catalog.scan.executors import Batch, Jobs
from ...catalog.scan.jobs import NO_PROGRESS, JobProgress, in_batches, run_jobs
from ...catalog.scan.locality import files_off_disk
from ...catalog.scan.scan import unread_record
from ..open import run_place
from .deepcheck import DEFAULT_SAMPLE, DeepOptions, check_data

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class CondensedProblem:
    """Problems alike in all but numbers and names: how many, in how many files, and the first."""

    check: Check
    severity: str
    count: int
    files: int
    example: Problem


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What a validation found."""

    path: str
    """The file or run directory, absolute."""
    checks: tuple[str, ...]
    """IDs of the checks that were made."""
    files: int
    """Number of files."""
    bytes: int
    """Size of the files."""
    seconds: float
    """Duration."""
    problems: tuple[Problem, ...]
    """Sorted: errors first, then by check, file and place."""

    @property
    def ok(self) -> bool:
        """Whether there are no errors and no warnings."""
        return all(p.severity == "I" for p in self.problems)

    def condensed(self) -> list[CondensedProblem]:
        """One line for all problems of a kind, in the order of ``problems``."""
        groups: dict[tuple[str, ...], list[Problem]] = {}
        for p in self.problems:
            kind = (p.severity, p.check, message_template(p.message), place_pattern(p.where))
            groups.setdefault(kind, []).append(p)
        return [
            CondensedProblem(
                CHECKS[kind[1]], kind[0], len(alike), len({p.path for p in alike}), alike[0]
            )
            for kind, alike in groups.items()
        ]

    def to_frame(self) -> "pd.DataFrame":
        """Every problem as a row: check_id, severity, title, message, place, path."""
        import pandas as pd

        columns = ["check_id", "severity", "title", "message", "place", "path"]
        rows = [
            (p.check, p.severity, CHECKS[p.check].title, p.message, p.where, p.path)
            for p in self.problems
        ]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.problems)} problems in {self.files} files"]
        for found in self.condensed():
            example = found.example
            more = f" ({found.count} times)" if found.count > 1 else ""
            name = os.path.basename(example.path)
            where = f" [{example.where}]" if example.where else ""
            lines.append(f"{found.severity} {example.check} {name}{where}: {example.message}{more}")
        return "\n".join(lines)


def applicable_checks(
    *, one_file: bool = False, deep: bool = False, skip: Iterable[str] = ()
) -> tuple[Check, ...]:
    """The checks that a validation makes, in the order of the table.

    Raises QueryError for an ID in ``skip`` that there is not.
    """
    from ...catalog.audit.run_checks import OF_A_FILE, OF_A_RUN

    of_sql = OF_A_FILE if one_file else OF_A_RUN
    return tuple(
        check
        for check in choose_checks(skip=skip)
        if (check.origin == "scan" and check.id != "C02")  # of a change since the last ingest
        or check.id in of_sql
        or (deep and check.origin == "deep")
    )


def validate(
    path: str | os.PathLike[str],
    *,
    skip: Sequence[str] = (),
    deep: bool = False,
    sample: int = DEFAULT_SAMPLE,
    seed: int = 0,
    jobs: Jobs = None,
    time_limit: float = 120.0,
    progress: JobProgress | None = None,
) -> ValidationReport:
    """Check one file, or all files of one run, without a catalog.

    Parameters
    ----------
    path
        A data file or a run directory.
    skip
        IDs of checks whose findings are left out; ``"I"`` stands for all that begin so.
    deep
        Read a sample of the data, too.
    sample, seed
        How much data, and which: see ``DeepOptions``.
    jobs, time_limit, progress
        As for ``profile``.

    Returns
    -------
    ValidationReport
        What was found; ``ok`` is True where that is nothing but information.

    Raises
    ------
    RunNotFoundError
        Where there is no such file, or no data file in the directory.
    QueryError
        For an ID in ``skip`` that there is not.

    Examples
    --------
    >>> import xfelcat
    >>> report = xfelcat.validate("demo/facility/SPB/202405/p900032/raw/r0001")
    >>> report.ok
    True
    """
    given = run_place(path)
    started = time.monotonic()
    one_file = not os.path.isdir(given)
    checks = [c.id for c in applicable_checks(one_file=one_file, deep=deep, skip=skip)]
    found, stats = _find(given, one_file)
    progress = progress or NO_PROGRESS
    options = DeepOptions(sample, seed, jobs, time_limit)
    files = _scan(found, stats, options, progress)
    problems = [p for f in files for p in f.problems]
    problems += _of_run(found, files, checks)
    if deep:
        paths = [os.path.join(found.directory, f.name) for f in files if f.usable]
        problems += [p for _, of_file in check_data(paths, options, progress) for p in of_file]
    progress.finished_run(given)
    wanted = {p for p in problems if p.check in checks}
    return ValidationReport(
        path=given,
        checks=tuple(checks),
        files=len(stats),
        bytes=sum(max(s.size, 0) for s in stats.values()),
        seconds=time.monotonic() - started,
        problems=tuple(
            sorted(
                wanted,
                key=lambda p: (severity_rank(p.severity), p.check, p.path, p.where, p.message),
            )
        ),
    )


def _find(path: str, one_file: bool) -> tuple[FoundRun, dict[str, FileStat]]:
    """The run at a path, and the files of it to look at.

    Raises RunNotFoundError where there are none.
    """
    if one_file:
        stat = stat_file(path)
        if stat is None:
            raise RunNotFoundError(f"file or directory {path}", nearest=neighbours(path))
        return locate_run(os.path.dirname(path)), {os.path.basename(path): stat}
    try:
        stats = list_run(path)
    except OSError as e:
        sentence = f"{path} cannot be listed: {e.strerror}"
        raise RunNotFoundError(f"directory {path}", sentence=sentence) from e
    if not stats:
        raise no_data_file(path)
    return locate_run(path), stats


def _scan(
    found: FoundRun, stats: dict[str, FileStat], options: DeepOptions, progress: JobProgress
) -> list[FileRecord]:
    """The records of the files by name, everything opened."""
    paths = [os.path.join(found.directory, name) for name in stats]
    records: dict[str, FileRecord] = {}

    def unread(path: str, reason: str, locality: str = "") -> FileRecord:
        return unread_record(path, stats[os.path.basename(path)], reason, locality)

    def keep(results: Mapping[str, FileRecord]) -> None:
        for record in results.values():
            records[record.name] = record
            n_problems = sum(p.severity != "I" for p in record.problems)
            progress.scanned(1, max(record.size, 0), n_problems)

    progress.found(1)
    progress.planned(len(stats), sum(max(s.size, 0) for s in stats.values()))
    on_tape = files_off_disk(paths)
    keep({p: unread(p, f"file is {where}, not on disk", where) for p, where in on_tape.items()})
    # All files of an aggregator in one batch: every later one is compared with the first.
    together = in_batches((p for p in paths if p not in on_tape), len(paths))
    batches = [Batch(None, some, ScanOptions(verify=True)) for some in together]
    jobs, limit = options.jobs, options.time_limit
    for _ in run_jobs(scan_batch, batches, blame=unread, jobs=jobs, time_limit=limit, each=keep):
        pass
    return [records[name] for name in sorted(records)]


def _of_run(found: FoundRun, files: Sequence[FileRecord], checks: Sequence[str]) -> list[Problem]:
    """What is wrong with the files together."""
    from ...catalog.audit.run_checks import check_record

    maps = check_data_maps(found.directory, files)
    record = RunRecord(
        found.identity, found.directory, found.realpath, tuple(files), utc_now(), problems=maps
    )
    return [*maps, *check_record(record, checks)]
