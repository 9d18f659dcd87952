"""New records of runs, from the old record and what was scanned now.

Used by ``ingest`` and by opening, so that both follow the same rules:

1. Facts of unchanged files are carried over; a vanished file keeps its facts and is marked.
2. Less never replaces more: an unchanged file keeps the deeper facts, also when the new try failed
   for a reason that may pass. A changed file loses them.
3. A scanned file that meanwhile differs on disk is discarded in favour of what was known before.

A run inside a facility tree is known by its numbers wherever it lies. A loose run is known by its
path alone; so when one turns up at a new path, ``find_moved_run`` looks for its files by name, size
and mtime among the catalogued loose runs, and the facts are taken over instead of scanned again.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..model.facts import FileComparison, FileStat
from ..model.identity import RunIdentity
from ..model.names import from_text, to_text
from ..model.records import Depth, FileRecord, Problem, RunRecord, utc_now
from ..scan.discover import FoundRun, list_run, locate_run
from ..store.read import load_run
from ..store.store import Store


def other_home(found: FoundRun, locations: Sequence[str]) -> str:
    """An existing directory, other than the found one, that the run is catalogued from; or ""."""
    is_there = os.path.isdir(found.directory)
    for location in reversed(locations):
        if os.path.isdir(location) and not (
            is_there and os.path.samefile(location, found.directory)
        ):
            return location
    return ""


def kept_elsewhere(files: FileComparison, home: str) -> list[str]:
    """Files that are absent here, but not vanished: another home of the run still has them."""
    return [n for n in files.vanished if home and os.path.lexists(os.path.join(home, n))]


def assemble_run(
    found: FoundRun,
    old: RunRecord | None,
    files: FileComparison,
    scanned: Mapping[str, FileRecord],
) -> RunRecord | None:
    """The run as it is to be written, or None where nothing of it has changed."""
    now = utc_now()
    kept = old.by_name if old else {}
    problems: list[Problem] = []
    has_changed = bool(files.vanished or files.returned)
    on_disk = list_run(found.directory) if scanned else {}
    for name, record in scanned.items():
        if on_disk.get(name) != FileStat(record.size, record.mtime_ns):
            reason = "file changed while it was scanned: left for the next ingest"
            path = os.path.join(found.directory, name)
            problems.append(Problem("C02", "W", reason, path))
        elif _says_more(record, kept.get(name)):
            kept[name] = record
            has_changed = True
    for name in files.vanished:
        kept[name] = dataclasses.replace(kept[name], missing_since=now)
    for name in files.returned:
        kept[name] = dataclasses.replace(kept[name], missing_since=None)
    seen_at = old.locations if old else ()
    if not has_changed and found.directory in seen_at:
        return None
    return RunRecord(
        identity=found.identity,
        directory=found.directory,
        realpath=found.realpath,
        files=tuple(kept[n] for n in sorted(kept)),
        ingested_at=now,
        locations=(*(p for p in seen_at if p != found.directory), found.directory),
        problems=tuple(problems),
    )


def _says_more(new: FileRecord, old: FileRecord | None) -> bool:
    """Whether a new record of a file is to replace the old one."""
    if old is None or (new.size, new.mtime_ns) != (old.size, old.mtime_ns):
        return True
    if new.retry:  # it could not be read this time: whatever was known still holds
        reasons = [[(p.check, p.message) for p in record.problems] for record in (new, old)]
        return old.retry and reasons[0] != reasons[1]
    return not Depth.UNREAD < new.depth < old.depth


def gone_runs(store: Store, roots: Iterable[str]) -> Iterator[FoundRun]:
    """Catalogued runs below some paths that are gone from the folder they were in.

    Where that folder is gone too, the file system may not be mounted: that tells nothing.
    """
    if not store.exists():
        return
    roots = [os.path.abspath(os.path.expanduser(root)) for root in roots]
    with store.read_merged() as cursor:
        sql = "SELECT path FROM runs WHERE files_missing < files AND starts_with(path, $1)"
        known = {
            from_text(path)
            for root in roots
            for (path,) in cursor.execute(sql, [to_text(root + os.sep)]).fetchall()
        }
    for path in sorted(known):
        if not os.path.lexists(path) and os.path.isdir(os.path.dirname(path)):
            yield locate_run(path)


def find_moved_run(store: Store, stats: Mapping[str, FileStat]) -> RunRecord | None:
    """The loose run with exactly these files, by name, size and mtime; None where there is none."""
    if not store.exists() or not stats:
        return None
    name, stat = next(iter(stats.items()))
    with store.read_merged() as cursor:
        paths = cursor.execute(
            "SELECT DISTINCT r.loose_path FROM file AS f JOIN run AS r USING (run_id)"
            " WHERE r.loose_path IS NOT NULL AND r.n_files = $1"
            " AND f.name = $2 AND f.size = $3 AND f.mtime_ns = $4",
            [len(stats), name, stat.size, stat.mtime_ns],
        ).fetchall()
    for (path,) in paths:
        identity = RunIdentity(loose_path=path)
        with store.read(identity.shard) as cursor:
            record = load_run(cursor, identity.run_id) if cursor else None
        if record and {f.name: FileStat(f.size, f.mtime_ns) for f in record.files} == dict(stats):
            return record
    return None
