"""What a catalog says, as hashes that leave out when it was found out: to compare catalogs.

    python -m support.catalog_state CATALOG [DIRECTORY]

prints it as JSON. With a directory, the process is a client of the next schema version first.
"""

import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path

from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.store import Store

TIMES = {
    *("scanned_at", "ingested_at", "seen_at", "profiled_at", "first_seen", "last_seen"),
    *("replaced_at", "missing_since", "started_at", "seconds", "audit_id"),
}
"""Columns that say when, not what; ``runs.started_at`` stays."""
NOT_COMPARED = {"audits"}  # a list of what was done, and how long it took


def content(cursor, *, history=True):
    """run_id -> hash of all that the views say of the run; 0 for what is of no run.

    Findings that are resolved do not count; nor does, without ``history``, what was before.
    """
    found = defaultdict(lambda: hashlib.sha256())
    views = cursor.execute(
        "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns()"
        " WHERE table_name IN (SELECT view_name FROM duckdb_views() WHERE NOT internal)"
        " GROUP BY table_name ORDER BY table_name"
    ).fetchall()
    for view, names in views:
        if view in NOT_COMPARED or (view == "file_changes" and not history):
            continue
        kept = [n for n in names if n not in TIMES or (view, n) == ("runs", "started_at")]
        which = "WHERE resolved_at IS NULL" if "resolved_at" in kept else ""
        if which and not history:
            which += " AND check_id <> 'C02'"  # of a file that has changed
        rows = cursor.execute(
            f"SELECT {', '.join(kept)} FROM {view} {which} ORDER BY ALL"
        ).fetchall()
        at = kept.index("run_id") if "run_id" in kept else None
        for row in rows:
            found[0 if at is None else row[at]].update(repr((view, row)).encode())
    return {run: h.hexdigest() for run, h in found.items()}


def state(store):
    """What is wrong with a catalog, the content of its shards, and of its merged database."""
    shards = {}
    for shard in store.shards():
        with store.read(shard) as cursor:
            shards |= {run: h for run, h in content(cursor).items() if run}
    merged = {}
    if store.exists() and store.merged.published():
        with store.read_merged() as cursor:
            merged = content(cursor)
    return {"wrong": check(store), "shards": shards, "merged": merged}


def main():
    import pytest

    from support.next_revision import become_next_version

    location, *folder = sys.argv[1:]
    if folder:
        become_next_version(pytest.MonkeyPatch(), Path(folder[0]))
    found = state(Store(location))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
