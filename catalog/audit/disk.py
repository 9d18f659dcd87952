"""Comparison of the disk with the catalog: missing, dark, changed and unreadable files.

The findings are C01, C02 and F06. Catalog and disk both change in the meantime. So there are three
snapshots: the catalog before, the disk, and the catalog after. A file is *missing* if both catalogs
have it and the disk does not, *dark* if it is on disk and in neither catalog, *changed* if both
catalogs agree, and the disk differs.

1. ``list_directories``: lists directories in worker processes, where one that hangs is given up;
   what cannot be listed or read is a finding.
2. ``compare``: the listing against the catalog before, in SQL; what differs against the catalog
   now, from the shards of the runs in question.

No file is opened. dCache is asked for the locality of files, ordinary disk is not.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from ..model.facts import FileStat, modified
from ..model.identity import is_made_anew, parse_file_name, shard_of
from ..model.names import from_text, to_text
from ..scan.discover import list_directory, list_run, locate_run
from ..scan.executors import Batch
from ..scan.jobs import portions, run_jobs
from ..scan.locality import files_off_disk
from ..store.connections import Cursor
from ..store.store import Store
from ..store.versions import Progress
from .run_checks import execute, insert

_DIRECTORIES_PER_BATCH = 32
# run_id, name, check_id, severity, message, place, path
Row = tuple[int | None, str | None, str, str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class DiskOptions:
    """How to look: ``jobs`` processes (0 for none), ``time_limit`` in seconds per directory.

    ``roots`` are the folders in and below which to look for runs that are not catalogued; none
    means the folders that hold the runs in scope.
    """

    roots: tuple[str, ...] = ()
    jobs: int = 2
    time_limit: float = 120.0


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory as it was listed; ``error`` is why it was not, ``absent`` what is not there."""

    files: dict[str, FileStat] = field(default_factory=dict)
    locality: dict[str, str] = field(default_factory=dict)  # of files that are not on disk
    closed: tuple[str, ...] = ()  # files that we have no permission to read
    folders: tuple[str, ...] = ()
    realpath: str = ""
    error: str = ""
    absent: str = ""


def list_directories(
    paths: Sequence[str], options: Any, note: Callable[[str], None]
) -> dict[str, _Directory]:
    """The work of a worker: list directories, and stat the data files in them.

    ``options`` is whether to list the folders in them as well.
    """
    found = {}
    for path in paths:
        note(path)
        try:
            files = list_run(path)
            off_disk = files_off_disk(os.path.join(path, name) for name in files)
            found[path] = _Directory(
                files=files,
                locality={os.path.basename(p): where for p, where in off_disk.items()},
                closed=tuple(
                    name
                    for name, stat in files.items()
                    if stat.size >= 0 and not os.access(os.path.join(path, name), os.R_OK)
                ),
                folders=tuple(list_directory(path).folders) if options else (),
                realpath=os.path.realpath(path),
            )
        except FileNotFoundError:
            found[path] = _Directory(absent=_first_absent(path))
        except OSError as e:
            found[path] = _Directory(error=f"directory cannot be listed: {e.strerror}")
    return found


def _first_absent(path: str) -> str:
    """The first folder on the way to a path that is not there; the path itself at the latest."""
    parent = os.path.dirname(path)
    return path if parent == path or os.path.isdir(parent) else _first_absent(parent)


def find_on_disk(
    cursor: Cursor,
    store: Store,
    options: DiskOptions,
    settled: datetime,
    progress: Progress,
) -> list[Row]:
    """What differs between the runs of the table ``scope`` and the disk, as rows of ``found``.

    Files modified after ``settled`` are not yet missed in the catalog.
    """
    listing = _Listing(cursor, options, progress)
    found = [*listing.list_runs(), *compare(cursor, store, settled)]
    for path, x in sorted(listing.list_others().items()):
        if x.error:
            found.append((None, None, "F06", "W", x.error, "", to_text(path)))
        elif max((s.mtime_ns for s in x.files.values()), default=0) < _ns(settled):
            identity = locate_run(path).identity
            with store.read(identity.shard) as reading:
                sql = "SELECT 1 FROM run WHERE run_id = $run_id"
                if reading is not None and execute(reading, sql, {"run_id": identity.run_id}):
                    continue  # catalogued by now
            message = f"run on disk is not in the catalog ({len(x.files)} files)"
            found.append((None, None, "C01", "W", message, "", to_text(path)))
    return found


def run_folders(cursor: Cursor) -> list[str]:
    """The folders that hold the runs of ``scope``, of those that lie in a facility."""
    sql = "SELECT DISTINCT directory FROM run JOIN scope USING (run_id) WHERE proposal IS NOT NULL"
    return sorted({os.path.dirname(from_text(d)) for (d,) in execute(cursor, sql)})


_DIRECTORIES = """
SELECT run_id, directory, n_files > n_files_missing FROM run JOIN scope USING (run_id)
"""
_KNOWN = """
SELECT directory FROM run UNION SELECT realpath FROM run UNION SELECT path FROM run_location
"""


@dataclass(slots=True)
class _Listing:
    """The runs in scope, listed into the table ``on_disk``, and what else lies beside them."""

    cursor: Cursor
    options: DiskOptions
    progress: Progress
    known: set[str] = field(default_factory=set)

    def list_runs(self) -> list[Row]:
        """List every run; those that cannot be listed, and files that cannot be read."""
        execute(
            self.cursor,
            "CREATE OR REPLACE TEMP TABLE on_disk"
            " (run_id UBIGINT, name VARCHAR, size BIGINT, mtime_ns BIGINT, reason VARCHAR)",
        )
        execute(self.cursor, "CREATE OR REPLACE TEMP TABLE listed (run_id UBIGINT)")
        runs = {from_text(d): (i, has) for i, d, has in execute(self.cursor, _DIRECTORIES)}
        self.known = {from_text(path) for (path,) in execute(self.cursor, _KNOWN) if path}
        found: list[Row] = []
        for listings in self._list(runs, with_folders=False):
            self._keep({runs[path][0]: x for path, x in listings.items() if x.realpath})
            for path, x in listings.items():
                run_id, has_files = runs[path]
                found += [] if x.realpath else _unlisted(run_id, path, x, has_files)
        return found

    def list_others(self) -> dict[str, _Directory]:
        """Directories of no catalogued run that have data files, or cannot be listed."""
        dark: dict[str, _Directory] = {}
        entered = set(self.known)  # by their resolved paths: links may lead in circles
        roots = [os.path.abspath(os.path.expanduser(r)) for r in self.options.roots]
        level = roots or run_folders(self.cursor)
        depth = 0
        while level:
            following: list[str] = []
            for listings in self._list(set(level) - self.known, with_folders=True):
                for path, x in sorted(listings.items()):
                    if x.realpath in entered:
                        continue
                    if x.realpath:
                        entered.add(x.realpath)
                    if x.error or any(parse_file_name(name) for name in x.files):
                        dark[path] = x
                    following += x.folders
            depth += 1
            level = following if roots or depth < 2 else []
        return dark

    def _list(self, paths: Iterable[str], *, with_folders: bool) -> Iterable[dict[str, _Directory]]:
        every = sorted(paths)
        batches = [
            Batch(number, some, with_folders)
            for number, some in enumerate(portions(every, _DIRECTORIES_PER_BATCH))
        ]
        done = 0
        for _, listings in run_jobs(
            list_directories, batches, blame=lambda _, why: _Directory(error=f"directory: {why}"),
            jobs=self.options.jobs, time_limit=self.options.time_limit,
        ):  # fmt: skip
            yield listings
            done += len(listings)
            self.progress(done, len(every))

    def _keep(self, listings: dict[int, _Directory]) -> None:
        rows = [
            (run_id, to_text(name), stat.size, stat.mtime_ns, _unreadable(x, name))
            for run_id, x in listings.items()
            for name, stat in x.files.items()
        ]
        insert(self.cursor, "on_disk", rows)
        insert(self.cursor, "listed", [(run_id,) for run_id in listings])


def _unreadable(listing: _Directory, name: str) -> str | None:
    """Why a file cannot be read now; None if it can."""
    if name in listing.locality:
        where = listing.locality[name]
        return "only on tape (NEARLINE)" if where == "NEARLINE" else f"not available ({where})"
    return "no permission to read it" if name in listing.closed else None


def _unlisted(run_id: int, path: str, listing: _Directory, has_files: bool) -> list[Row]:
    if listing.error:
        return [(run_id, None, "F06", "W", listing.error, "", None)]
    if not has_files:
        return []
    if listing.absent == path:
        return [(run_id, None, "C01", "E", "run directory is missing on disk", "", None)]
    message = f"out of reach: {to_text(listing.absent)} is not there (not mounted?)"
    return [(run_id, None, "F06", "W", message, "", None)]


def _ns(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000


# A file whose name is in the catalog as missing counts as not catalogued: it is back.
_DIFFERENCES = """
WITH catalogued AS (
    SELECT run_id, name, size, mtime_ns FROM file JOIN listed USING (run_id)
    WHERE missing_since IS NULL
)
SELECT
    run_id, name,
    CASE WHEN d.name IS NULL OR d.size < 0 THEN 'missing' WHEN c.name IS NULL THEN 'dark'
    ELSE 'changed' END AS kind,
    c.size, c.mtime_ns, d.size, d.mtime_ns
FROM catalogued AS c FULL JOIN on_disk AS d USING (run_id, name)
WHERE (d.name IS NULL OR c.name IS NULL OR c.size <> d.size OR c.mtime_ns <> d.mtime_ns)
AND NOT (c.name IS NULL AND (d.mtime_ns > $settled OR d.size < 0))
ORDER BY run_id, name
"""

# Files that cannot be read now, unless that is what the scan has found already.
_UNREADABLE = """
SELECT run_id, name, reason FROM on_disk AS d
WHERE reason IS NOT NULL AND (run_id, name) NOT IN (
    SELECT (run_id, name) FROM finding
    WHERE check_id = 'F06' AND origin = 'scan' AND resolved_at IS NULL AND name IS NOT NULL
    AND run_id IN (SELECT run_id FROM listed)
)
ORDER BY run_id, name
"""


def compare(cursor: Cursor, store: Store, settled: datetime) -> Iterable[Row]:
    """Files that are missing, dark or changed; and those that cannot be read now."""
    suspects = execute(cursor, _DIFFERENCES, {"settled": _ns(settled)})
    after = _catalog_now(store, {run_id for run_id, *_ in suspects})
    for run_id, name, kind, size, mtime_ns, size_now, mtime_now in suspects:
        known = after.get((run_id, name))
        if kind == "dark":
            if known is None:
                message = "file on disk is not in the catalog"
                yield run_id, name, "C01", "W", message, "", None
        elif known != (size, mtime_ns):
            continue  # the catalog changed in the meantime
        elif kind == "missing":
            what = "catalogued file is missing on disk"
            if size_now is not None:
                what = "catalogued file is a link that leads nowhere"
            yield run_id, name, "C01", "E", what, "", None
        else:
            what = (
                f"{size_now} bytes on disk, {size} when it was catalogued"
                if size != size_now
                else modified(mtime_ns, mtime_now)
            )
            yield run_id, name, "C02", "I" if is_made_anew(run_id) else "E", what, "", None
    for run_id, name, reason in execute(cursor, _UNREADABLE):
        yield run_id, name, "F06", "W", reason, "", None


def _catalog_now(store: Store, run_ids: set[int]) -> dict[tuple[int, str], tuple[int, int]]:
    """Size and mtime of every file of some runs that is not marked missing, from the shards."""
    found: dict[tuple[int, str], tuple[int, int]] = {}
    for shard, ids in groupby(sorted(run_ids), key=shard_of):
        with store.read(shard) as reading:
            if reading is None:
                continue
            sql = """
                SELECT run_id, name, size, mtime_ns FROM file
                WHERE missing_since IS NULL AND list_contains($ids::UBIGINT[], run_id)
            """
            rows = execute(reading, sql, {"ids": list(ids)})
        found |= {(run_id, name): (size, mtime) for run_id, name, size, mtime in rows}
    return found
