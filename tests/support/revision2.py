"""Catalogs as revision 2 had them: what is packed of a run now stood in rows of its own.

Made from those of today: the tables that both revisions have are copied, the others filled from
what is unpacked.
"""

import shutil

from xfelcat.catalog.store.connections import POOL, connect_write, rows
from xfelcat.catalog.store.packing import fetch_packed, pack_integers
from xfelcat.catalog.store.versions import AUDITS, Versions
from xfelcat.catalog.store.write import insert_rows, table_columns
from xfelcat.migrations import runner

__all__ = ["downgrade", "write_revision_2"]

_COLUMNS = """
    SELECT table_name, column_name FROM duckdb_columns()
    WHERE database_name = 'xfelcat' AND table_name IN (
        SELECT table_name FROM duckdb_tables() WHERE database_name = 'xfelcat'
    )
    INTERSECT SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'other'
    ORDER BY ALL"""
_SLOTS = [("run_id", "UBIGINT"), ("ordinal", "INTEGER"), ("patterns", "INTEGER[]")]


def write_revision_2(current, path):
    """Write what a database file of today says as one of revision 2."""
    runner.upgrade(path, "0002")
    with connect_write(path, attach=current) as connection:
        slots, patterns = _unpack(connection)
        common = {}
        for table, column in rows(connection, _COLUMNS):
            common.setdefault(table, []).append(column)
        del common["alembic_version"]
        for table, columns in common.items():
            names = ", ".join(columns)
            connection.execute(
                f"INSERT INTO {table} BY NAME SELECT {names} FROM other.{table} ORDER BY rowid"
            )
        insert_rows(
            connection, "index_pattern", table_columns(connection)["index_pattern"], patterns
        )
        connection.execute("CREATE TEMP TABLE slots (run_id UBIGINT, ordinal INTEGER, p INTEGER[])")
        insert_rows(connection, "slots", _SLOTS, slots)
        connection.execute(
            "UPDATE file SET patterns = s.p FROM slots AS s"
            " WHERE s.run_id = file.run_id AND s.ordinal = file.ordinal"
        )
        connection.execute("DROP TABLE slots")
        connection.execute("UPDATE catalog_info SET schema_version = 2")


def _unpack(connection):
    """The patterns of each file, by number; and the index patterns."""
    slots, patterns = [], []
    connection.execute("USE other")
    for (run_id,) in rows(connection, "SELECT run_id FROM run_packed"):
        files, _, index = fetch_packed(connection, run_id)
        slots += [(run_id, n, index.numbers(n)) for n in range(len(files.names))]
        patterns += [
            (run_id, n, *map(pack_integers, (p.lengths, p.counts, p.offsets)))
            for n, p in enumerate(index.by_number())
        ]
    connection.execute("USE xfelcat")
    return slots, patterns


def downgrade(store):
    """Leave a store as a client of revision 2 would have written it; the files, by shard."""
    databases = {s: store.versions(s) for s in store.shards()}
    if store.audits.current() is not None:
        databases[AUDITS] = store.audits
    published = {}
    for name, versions in databases.items():
        old = Versions(versions.directory, 2)
        with old.lock(), old.draft(empty=True) as draft:
            write_revision_2(versions.current(), draft)
            published[name] = old.publish(draft)
    POOL.close()
    for versions in databases.values():
        for path in versions.directory.glob(f"*v{versions.schema_version}*"):
            path.unlink()
    shutil.rmtree(store.location / "merged", ignore_errors=True)
    return published
