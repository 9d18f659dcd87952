"""What stays of the past when a run is written again?

Pure: what the catalog had and what is found now in, rows out.

1. ``changed_files``: files whose size or time is no longer the catalogued one, as lines of
   history and as C02 findings.
2. ``finding_rows``: a problem that was there keeps when it was first seen; one that is gone
   stays, as resolved. C02 of a file tells of something that happened: it is never resolved.
3. ``location_rows``: the places a run was seen at, with the time it last was.
4. ``profile_rows``: what keys did during the run, stale once a file is not what it was.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from ..layout import is_made_anew
from ..records import Problem, RunRecord
from .encoding import to_text, to_utc

__all__ = [
    "FindingKey",
    "OldFile",
    "changed_files",
    "finding_rows",
    "location_rows",
    "profile_rows",
]

Row = tuple[Any, ...]
_SCAN = "scan"


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file as the catalog had it."""

    size: int
    mtime_ns: int
    scanned_at: datetime
    retry: bool
    missing: bool


@dataclass(frozen=True, slots=True)
class FindingKey:
    """What tells one finding of a run from another, in the order of the table's columns."""

    name: str | None
    check: str
    severity: str
    message: str
    place: str
    path: str | None


def changed_files(record: RunRecord, old: Mapping[str, OldFile]) -> list[tuple[FindingKey, Row]]:
    """A C02 finding and a row of ``file_history`` for each file that is not what it was.

    Not for one that could not be read before (``retry``): it was known to be unfinished.
    """
    found = []
    run_id = record.identity.run_id
    severity = "I" if is_made_anew(run_id) else "E"
    for file in record.files:
        was = old.get(file.name)
        if was is None or was.retry or (was.size, was.mtime_ns) == (file.size, file.mtime_ns):
            continue
        what = (
            f"size changed from {was.size} to {file.size} bytes"
            if was.size != file.size
            else f"modified since it was catalogued (mtime {was.mtime_ns}, now {file.mtime_ns})"
        )
        name = to_text(file.name)
        line = (run_id, name, was.size, was.mtime_ns, was.scanned_at, to_utc(record.ingested_at))
        found.append((FindingKey(name, "C02", severity, what, "", None), line))
    return found


def finding_rows(
    record: RunRecord, changes: Iterable[FindingKey], old_rows: Iterable[Row]
) -> list[Row]:
    """All rows of ``finding`` for a run, from those it had and what is wrong now."""
    run_id, now = record.identity.run_id, to_utc(record.ingested_at)
    old = {FindingKey(*row[1:7]): row[7:10] for row in old_rows}
    wanted = dict.fromkeys([*_finding_keys(record), *changes])
    new = [
        (run_id, *astuple(key), old[key][0] if key in old else now, now, None, _SCAN)
        for key in wanted
    ]
    for key, (first_seen, last_seen, resolved_at) in old.items():
        if key not in wanted:
            if key.check != "C02" or key.name is None:
                resolved_at = resolved_at or now
            new.append((run_id, *astuple(key), first_seen, last_seen, resolved_at, _SCAN))
    return new


def _finding_keys(record: RunRecord) -> Iterator[FindingKey]:
    """Every problem of a run and its files; the path only where it cannot be told from the name."""
    for problem in record.problems:
        own = problem.path in (record.directory, record.realpath)
        yield _finding_key(None, problem, None if own else problem.path)
    for file in record.files:
        for problem in file.problems:
            own = os.path.basename(problem.path) == file.name
            yield _finding_key(file.name, problem, None if own else problem.path)
        if file.missing_since is not None:
            message = "catalogued file is missing on disk"
            yield FindingKey(to_text(file.name), "C01", "E", message, "", None)


def _finding_key(name: str | None, problem: Problem, path: str | None) -> FindingKey:
    return FindingKey(
        None if name is None else to_text(name),
        problem.check,
        problem.severity,
        to_text(problem.message),
        to_text(problem.where),
        None if path is None else to_text(path),
    )


def location_rows(record: RunRecord, known: Mapping[str, datetime]) -> list[Row]:
    """Rows of ``run_location``: the newest place is seen now, the others when they last were."""
    run_id, now = record.identity.run_id, to_utc(record.ingested_at)
    paths = [to_text(p) for p in record.locations]
    last = len(paths) - 1
    return [(run_id, i, p, now if i == last else known.get(p, now)) for i, p in enumerate(paths)]


def profile_rows(
    record: RunRecord, old: Mapping[str, OldFile], old_rows: Iterable[Row]
) -> list[Row]:
    """Rows of ``key_profile``: as they were, but stale if files came, went or changed."""
    was = {(name, f.size, f.mtime_ns, f.missing) for name, f in old.items()}
    now = {(f.name, f.size, f.mtime_ns, f.missing_since is not None) for f in record.files}
    return [(*row[:-1], row[-1] or was != now) for row in old_rows]
