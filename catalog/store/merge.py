"""The merged database: all shards as one, for questions over all runs.

``merge_shards`` brings it up to date, one shard after the other:

1. It takes out the rows of each shard that changed or is gone.
2. Names, key schemas and layouts that the merged file lacks get its next numbers; a temporary table
   maps the shard's numbers to them. Where both have a digest, the contents are compared too.
3. It copies the shard's rows with the numbers mapped. What only opening needs (packed rows,
   timestamps, METADATA of further files) stays behind.

The database of the audits is one more shard, of findings and audits alone.

Rows lie in run order, shard by shard; RUN values within a shard by source and key, so that a
question about one key reads little.
"""

from collections.abc import Mapping
from pathlib import Path

from ..model.errors import CatalogWriteError
from ..model.identity import run_ids_of_shard
from .connections import Cursor, quoted, rows
from .schema import AUDIT_TABLES, INTERNED, RUN_TABLES, Interned, TableRole, columns
from .versions import AUDITS, Progress

# A shard read again leaves its rows at the end of the merged file; beyond this share of the shards
# making it anew, in order, costs no more.
_REBUILD_SHARE = 0.5

# The numbers in a shard, and those in the merged file, of all that the shard interned.
_MAP = """
CREATE OR REPLACE TEMP TABLE {table}_map AS
SELECT
    s.{number} AS old_id, m.{number} IS NULL AS is_new,
    coalesce(
        m.{number},
        (SELECT coalesce(max({number}), -1) FROM {table})
        + row_number() OVER (PARTITION BY m.{number} IS NULL ORDER BY s.{number})
    )::INTEGER AS new_id
FROM {shard}.{table} AS s LEFT JOIN {table} AS m USING ({identity})
"""


def merged_versions(cursor: Cursor) -> dict[str, str]:
    """Which version of each shard a merged database holds."""
    return dict(rows(cursor, "SELECT name, version FROM merged_shard"))


def needs_rebuild(cursor: Cursor, shards: Mapping[str, Path]) -> bool:
    """Whether so many shards changed that the merged database is better made anew."""
    merged = merged_versions(cursor)
    changed = sum(merged[name] != path.name for name, path in shards.items() if name in merged)
    return changed + len(merged.keys() - shards.keys()) > _REBUILD_SHARE * max(len(merged), 1)


def changed_shards(merged: Mapping[str, str], shards: Mapping[str, Path]) -> list[str]:
    """Names of the shards of which a merged database holds no version or another."""
    return [name for name, path in shards.items() if merged.get(name) != path.name]


def merge_shards(
    connection: Cursor,
    shards: Mapping[str, Path],
    progress: Progress | None,
    *,
    stay_attached: bool = False,
) -> None:
    """Bring the attached merged database up to date with these versions of the shards.

    Nothing is one transaction here: a file is a draft that no other process sees. Where a caller
    makes it one, the shards that it reads have to ``stay_attached`` until it ends.
    """
    merged = merged_versions(connection)
    gone = merged.keys() - shards.keys()
    changed = changed_shards(merged, shards)
    for name in [*gone, *changed]:
        if name in merged:
            _remove(connection, name)
    for done, name in enumerate(changed):
        attached = f"shard_{done:d}"  # a transaction may not use a name for two
        connection.execute(f"ATTACH {quoted(shards[name])} AS {attached} (READ_ONLY)")
        try:
            _add(connection, attached, name, shards[name])
        finally:
            if not stay_attached:
                connection.execute(f"DETACH {attached}")
        if progress:
            progress(done + 1, len(changed))
    # What audits found in runs that have been forgotten since.
    of_no_run = "run_id IS NOT NULL AND run_id NOT IN (SELECT run_id FROM run)"
    connection.execute(f"DELETE FROM finding WHERE origin <> 'scan' AND {of_no_run}")


def _remove(connection: Cursor, name: str) -> None:
    if name == AUDITS:
        connection.execute("DELETE FROM finding WHERE origin <> 'scan'; DELETE FROM audit")
    else:
        first, last = run_ids_of_shard(name)
        for role in RUN_TABLES:
            own = " AND origin = 'scan'" if role in AUDIT_TABLES else ""
            some = f"{role.run} BETWEEN {first:d} AND {last:d}{own}"
            connection.execute(f"DELETE FROM {role.name} WHERE {some}")
    connection.execute("DELETE FROM merged_shard WHERE name = $1", [name])


def _add(connection: Cursor, attached: str, name: str, path: Path) -> None:
    if name != AUDITS:
        for interned in reversed(INTERNED):  # each refers to those that stand after it
            _intern(connection, attached, interned, path)
    for role in AUDIT_TABLES if name == AUDITS else RUN_TABLES:
        if role.is_merged:
            mapped = _mapped(attached, role, role.merged_where.format(shard=attached))
            connection.execute(f"INSERT INTO {role.name} {mapped}")
    connection.execute("INSERT INTO merged_shard VALUES ($1, $2)", [name, path.name])


def _intern(connection: Cursor, attached: str, interned: Interned, path: Path) -> None:
    """Number what a shard has interned, and copy what is new of it."""
    table, number = interned.table.name, interned.number
    numbers = {"table": table, "number": number, "identity": interned.identity}
    connection.execute(_MAP.format(shard=attached, **numbers))
    for role in (interned.table, interned.members):
        if role is None:
            continue
        is_new = f"{number}_map.is_new"
        connection.execute(f"INSERT INTO {role.name} {_mapped(attached, role, is_new)}")
        known = f"({_mapped(attached, role, f'NOT {is_new}')}) EXCEPT SELECT * FROM {role.name}"
        if rows(connection, f"SELECT count(*) FROM ({known})") != [(0,)]:
            raise CatalogWriteError(
                str(path), "a key schema or layout has the digest of another with other content"
            )


def _mapped(attached: str, role: TableRole, where: str) -> str:
    """The query for the rows of a shard's table as the merged file has them, in its order."""
    owners = {column: x.table.name for x in INTERNED for column in (x.number, x.synonym)}
    mapped = {c.name: owners[c.name] for c in columns()[role.name] if c.name in owners}
    replaced = [f"{column}_map.new_id AS {column}" for column in mapped]
    replaced += [f"NULL AS {column}" for column in role.shard_columns]
    joins = [
        f"LEFT JOIN {table}_map AS {column}_map ON {column}_map.old_id = t.{column}"
        for column, table in mapped.items()
    ]
    order = [f"{c}_map.new_id" if c in mapped else f"t.{c}" for c in role.order]
    replace = f" REPLACE ({', '.join(replaced)})" if replaced else ""
    return (
        f"SELECT t.*{replace} FROM {attached}.{role.name} AS t {' '.join(joins)}"
        f" WHERE {where} ORDER BY {', '.join(order)}"
    )
