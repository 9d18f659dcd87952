"""Is a run directory that nobody knows a catalogued one in another place?

A run inside a facility tree is known by its numbers wherever it lies. A loose run is known by its
path alone; so when one turns up at a new path, its files are looked for by name, size and mtime
among the catalogued loose runs, and the facts are taken over instead of being scanned again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..layout import RunIdentity
from ..records import RunRecord
from ..scan.discover import FileStat
from ..store.reload import load_run
from ..store.store import Store

__all__ = ["MovedRun", "find_moved_run"]


@dataclass(frozen=True, slots=True)
class MovedRun:
    """A catalogued loose run whose files are those found elsewhere."""

    shard: str
    record: RunRecord


def find_moved_run(store: Store, stats: Mapping[str, FileStat]) -> MovedRun | None:
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
            return MovedRun(identity.shard, record)
    return None
