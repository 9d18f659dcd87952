"""Care of a catalog: checking, compacting and upgrading its databases.

1. ``check`` and ``check_file``: the tables have no keys and constraints (they would block bulk
   inserts and later changes), so queries count the rows that should not exist; packed values are
   unpacked and compared with the rows of the same facts.
2. ``compact``: replaced runs leave their new rows at the end of the tables, and names that no run
   refers to stay. Each database is written anew, in order, without these.
3. ``upgrade_shards``: a migrated copy is published beside the older schema version, which older
   clients go on reading. Only ingest (through ``Store.write``) and `xfelcat db upgrade` migrate.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..config import load_settings
from ..model.identity import sql_series
from ..model.records import Depth
from .connections import Cursor, open_current, rows, rows_of_run, uninterrupted
from .merged import Merged
from .packing import fetch_packed, unpack_schema
from .schema import (
    AUDIT_TABLES,
    INTERNED,
    RUN_TABLES,
    Interned,
    TableRole,
    migrate_draft,
    open_draft,
)
from .store import Store, locked_folders
from .versions import AUDITS, OLDEST_UPGRADED, SCHEMA_VERSION, Progress, Versions


def _repeated(table: str, columns: str) -> str:
    return f"""
        SELECT count(*) FROM (
            SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1)"""


def _miscounted(interned: Interned, n_members: str) -> str:
    members = interned.members.name if interned.members else ""
    return f"""
        SELECT count(*) FROM {interned.table.name} AS x LEFT JOIN (
            SELECT {interned.number}, count(*) AS n, count(DISTINCT position) AS places
            FROM {members} GROUP BY ALL
        ) AS m USING ({interned.number})
        WHERE x.{n_members} <> coalesce(m.n, 0) OR x.{n_members} <> coalesce(m.places, 0)"""


def _no_numbers(interned: Interned) -> str:
    used = [f"SELECT {column} AS id FROM {table}" for table, column in interned.used()]
    table, number = interned.table.name, interned.number
    return f"""
        SELECT count(*) FROM ({" UNION ALL ".join(used)}) AS x
        ANTI JOIN {table} ON {table}.{number} = x.id WHERE id IS NOT NULL"""


_LAYOUT, _SCHEMA, _SOURCE, _KEY = INTERNED
_RUNS_USED = [f"SELECT {role.run} AS run_id FROM {role.name}" for role in RUN_TABLES]
_RUNS_USED.append("SELECT last_run FROM run_value")
_INTERNED_VALUES = [
    f"(SELECT '{x.table.name} {column}' AS what, {column}::VARCHAR AS value FROM {x.table.name})"
    for x in INTERNED
    for column in (x.number, x.identity)
]
_BOTH = {
    "runs that are there more than once": _repeated("run", "run_id"),
    "files that are there more than once in a run": _repeated("file", "run_id, name"),
    "file numbers that are there more than once in a run": _repeated("file", "run_id, ordinal"),
    "runs whose number of files is not that of their rows": """
        SELECT count(*) FROM run AS r LEFT JOIN (
            SELECT run_id, count(*) AS n, max(ordinal) + 1 AS top FROM file GROUP BY run_id
        ) AS f USING (run_id)
        WHERE r.n_files <> coalesce(f.n, 0) OR r.n_files <> coalesce(f.top, 0)""",
    "rows of runs that do not exist": f"""
        SELECT count(*) FROM ({" UNION ALL ".join(_RUNS_USED)}) ANTI JOIN run USING (run_id)
        WHERE run_id IS NOT NULL""",
    "files without their train list": """
        SELECT count(*) FROM file AS f ANTI JOIN train_list AS t
        ON t.run_id = f.run_id AND t.ordinal = f.train_list""",
    "files without their layout": "SELECT count(*) FROM file ANTI JOIN layout USING (layout_id)",
    "layouts whose number of sources is not that of their rows": _miscounted(_LAYOUT, "n_sources"),
    "key schemas whose number of keys is not that of their rows": _miscounted(_SCHEMA, "n_keys"),
    "numbers of sources that have no name": _no_numbers(_SOURCE),
    "numbers of keys that have no name": _no_numbers(_KEY),
    "numbers of key schemas that do not exist": _no_numbers(_SCHEMA),
    "names, schemas and layouts that are there more than once": _repeated(
        f"({' UNION ALL '.join(_INTERNED_VALUES)})", "what, value"
    ),
    "RUN values that are there more than once for a run": """
        SELECT count(*) FROM (
            SELECT first_run <= lag(last_run) OVER (
                PARTITION BY source_id, key_id ORDER BY first_run
            ) AS twice FROM run_value
        ) WHERE twice""",
    "RUN values of runs of several proposals or data classes": f"""
        SELECT count(*) FROM run_value
        WHERE first_run > last_run OR {sql_series("first_run")} <> {sql_series("last_run")}""",
    "profiles that are there more than once for a run": _repeated(
        "key_profile", "run_id, source_id, key_id"
    ),
}
_SHARD = {
    "files without their timestamps": """
        SELECT count(*) FROM file AS f ANTI JOIN timestamps AS t
        ON t.run_id = f.run_id AND t.ordinal = f.timestamps WHERE f.timestamps IS NOT NULL""",
    "runs without their packed row": "SELECT count(*) FROM run ANTI JOIN run_packed USING (run_id)",
    "runs with more than one packed row": _repeated("run_packed", "run_id"),
}
_AUDITS = {
    "audits of the same number": _repeated("audit", "audit_id"),
    "findings that are there more than once": _repeated(
        "finding", "run_id, name, check_id, message, place, path"
    ),
    "findings that no audit made": """
        SELECT count(*) FROM finding WHERE origin = 'scan' OR origin IS NULL""",
    "findings that were last seen before they were first": """
        SELECT count(*) FROM finding WHERE last_seen < first_seen OR resolved_at < last_seen""",
}


def check(store: Store) -> list[str]:
    """Faults inside the databases of a catalog, one sentence each; empty where there is none."""
    found = []
    for shard in store.shards():
        with store.read(shard) as cursor:
            if cursor is not None:
                found += [f"shard {shard}: {fault}" for fault in check_file(cursor)]
    with uninterrupted():
        for name, file in (("merged", store.merged.open()), (AUDITS, open_current(store.audits))):
            if file is not None:
                found += [f"{name}: {fault}" for fault in check_file(file.cursor())]
    return found


def check_file(cursor: Cursor) -> list[str]:
    """What is wrong in a database of a catalog, one phrase with a count each."""
    ((kind,),) = rows(cursor, "SELECT kind FROM catalog_info")
    questions = {"shard": _BOTH | _SHARD, "merged": _BOTH, AUDITS: _AUDITS}[kind]
    found = []
    for fault, question in questions.items():
        count = sum(n for (n,) in rows(cursor, question))
        if count:
            found.append(f"{count} {fault}")
    if kind == "shard":
        found += _packed_faults(cursor)
    return found


def _packed_faults(cursor: Cursor) -> Iterator[str]:
    """Packed values of a shard that differ from the rows of its tables."""
    schemas = rows(cursor, "SELECT packed, digest, n_keys FROM key_schema")
    if count := sum(not _is_sound(_is_schema, *row) for row in schemas):
        yield f"{count} key schemas that are packed otherwise"
    of_layouts = rows(
        cursor,
        "SELECT layout_id, coalesce(sum(len(index_groups)), 0)::BIGINT FROM layout"
        " LEFT JOIN layout_source USING (layout_id) GROUP BY layout_id",
    )
    slots: dict[int, int] = dict(of_layouts)
    run_ids = rows(cursor, "SELECT run_id FROM run")
    if count := sum(not _is_sound(_is_run, cursor, run_id, slots) for (run_id,) in run_ids):
        yield f"{count} runs that are packed otherwise"


def _is_sound(check: Callable[..., bool], *about: Any) -> bool:
    """The result of a check; false where a packed value cannot be unpacked."""
    try:
        return check(*about)
    except (ValueError, IndexError, TypeError, MemoryError, struct.error, zlib.error):
        return False


def _is_schema(packed: bytes, digest: str, n_keys: int) -> bool:
    schema = unpack_schema(packed)
    return schema.digest == digest and len(schema.keys) == n_keys


def _is_run(cursor: Cursor, run_id: int, slots: dict[int, int]) -> bool:
    packed = fetch_packed(cursor, run_id)
    if packed is None:  # counted already
        return True
    facts = "name, size, mtime_ns, depth, missing_since IS NOT NULL, ordinal, train_list, layout_id"
    files = rows_of_run(cursor, run_id, f"{facts} FROM file", "ordinal")
    parts = "starts, lengths, suspect, dropped"
    trains = rows_of_run(cursor, run_id, f"{parts} FROM train_list", "ordinal")
    packed_trains = [
        tuple(array.tolist() for array in (t.starts, t.lengths, t.suspect, t.dropped))
        for t in packed.trains
    ]
    if files != list(packed.files.rows()) or trains != packed_trains:
        return False
    # Each file of full depth has a pattern that exists for each slot of its layout.
    n_patterns = len(packed.patterns.by_number())
    for _, _, _, depth, _, ordinal, _, layout in packed.files.rows():
        numbers = packed.patterns.numbers(ordinal)
        if numbers and not 0 <= min(numbers) <= max(numbers) < n_patterns:
            return False
        if depth >= Depth.FULL and len(numbers) != slots.get(layout):
            return False
    return True


# Compacting.


def _copy(role: TableRole, where: str = "true") -> str:
    order = ", ".join(role.order)
    return (
        f"INSERT INTO {role.name} SELECT * FROM other.{role.name} WHERE {where} ORDER BY {order};"
    )


def _copy_shard() -> Iterator[str]:
    """The statements that copy a shard; of what is interned, what some row refers to."""
    yield from map(_copy, RUN_TABLES)
    for interned in INTERNED:
        number, table = interned.number, interned.table
        used = [f"SELECT {column} FROM {name}" for name, column in interned.used()]
        if interned is _SOURCE:
            used.append("SELECT unnest(run_sources) FROM file")
        yield _copy(table, f"{number} IN ({' UNION '.join(used)})")
        if interned.members is not None:
            yield _copy(interned.members, f"{number} IN (SELECT {number} FROM {table.name})")


def compact(store: Store, progress: Progress | None = None) -> None:
    """Rewrite every database in run order, without names that no run refers to any more.

    Numbers of names, schemas and layouts stay as they are.
    """
    shards = store.shards()
    for done, shard in enumerate(shards):
        _rewrite(store.versions(shard), "shard", shard, _copy_shard())
        if progress:
            progress(done + 1, len(shards))
    if store.audits.directory.is_dir():  # if without a version: of one who died in the first audit
        _rewrite(store.audits, AUDITS, AUDITS, map(_copy, AUDIT_TABLES))
    store.publish_merged()


def _rewrite(versions: Versions, kind: str, name: str, copies: Iterable[str]) -> None:
    with versions.lock(), uninterrupted(), versions.draft(empty=True) as draft:
        current = versions.current()
        if current is None:
            return
        with open_draft(draft, kind, name, attach=current) as connection:
            connection.execute("\n".join(copies))
        versions.publish(draft)


# Versions.


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the databases of one kind: shards, merged or audits."""

    kind: str
    databases: int
    versions: int
    """Versions of them all that are kept, the current ones and those before included."""
    since: datetime
    """Time in UTC from which on all of them can be asked as they were."""
    current: int
    """Bytes of the current versions."""
    before: int
    """Bytes of all versions that newer ones have replaced."""


def maintain(store: Store) -> tuple[list[Kept], int]:
    """Remove versions that were replaced longer ago than the setting ``keep``.

    Returns what is kept, by kind of database, and the bytes that were freed.
    """
    keep = load_settings().keep
    shards = [store.versions(shard) for shard in store.shards()]
    kinds: dict[str, Sequence[Versions | Merged]]
    kinds = {"shards": shards, "merged": [store.merged], AUDITS: [store.audits]}
    kept, freed = [], 0
    for kind, several in kinds.items():
        found = []
        for versions in several:
            freed += versions.expire(keep)
            if published := versions.published():
                found.append(published)
        if found:
            sizes = [sum(each.size for each in published) for published in found]
            current = sum(published[-1].size for published in found)
            since = max(p[0].since if p[0].number > 1 else datetime.min for p in found)
            since = max(since, min(p[0].since for p in found))
            n = sum(map(len, found))
            kept.append(Kept(kind, len(found), n, since, current, sum(sizes) - current))
    return kept, freed


# Schema versions.


@dataclass(frozen=True, slots=True)
class ShardState:
    """The schema versions that a shard is published in."""

    shard: str
    schema_versions: tuple[int, ...]

    @property
    def is_current(self) -> bool:
        """Whether this client can read it."""
        return SCHEMA_VERSION in self.schema_versions

    @property
    def can_be_upgraded(self) -> bool:
        """Whether there is an older version that can be brought to ours, and none of ours."""
        return not self.is_current and any(
            OLDEST_UPGRADED <= v < SCHEMA_VERSION for v in self.schema_versions
        )

    @property
    def is_too_old(self) -> bool:
        """Whether its runs are to be ingested again: no version can be read or upgraded."""
        return all(v < OLDEST_UPGRADED for v in self.schema_versions)


def shard_states(store: Store, shards: Iterable[str] | None = None) -> list[ShardState]:
    """The states of these shards of a store, by default of all, in the order of their names."""
    names = sorted(store.shard_folders() if shards is None else shards)
    states = (ShardState(n, tuple(store.versions(n).schema_versions())) for n in names)
    return [s for s in states if s.schema_versions]


def left_out(store: Store) -> list[ShardState]:
    """The shards that no question sees, as they are published for other schema versions only.

    Asked after each answer: a shard that is current costs one look at its link.
    """
    found = shard_states(store, store.shard_folders() - store.shards().keys())
    return [state for state in found if not state.is_current]  # one is, where ``store.at`` is set


def left_out_text(store: Store) -> str:
    """What the answers lack, as a phrase; empty where that is nothing, or all."""
    about = {"of another schema version": len(left_out(store))}
    if store.merged.open() is None:  # else answers come from there, for who may read that
        about["that this user may not read"] = len(locked_folders(store, store.shard_folders()))
    parts = [f"{n} shard{'s' * (n != 1)} {which}" for which, n in about.items() if n]
    if not parts or not store.exists():
        return ""
    return f"{' and '.join(parts)} left out: see `xfelcat db status`"


def upgrade_shards(store: Store, progress: Progress | None = None) -> list[str]:
    """Publish every older shard, and the audits, in our schema version too; the shards' names."""
    if store.audits.current() is None:
        _upgrade(store.audits, AUDITS, AUDITS)
    todo = [s.shard for s in shard_states(store) if s.can_be_upgraded]
    for done, shard in enumerate(todo):
        _upgrade(store.versions(shard), "shard", shard)
        if progress:
            progress(done + 1, len(todo))
    return todo


def _upgrade(versions: Versions, kind: str, name: str) -> None:
    if not versions.schema_versions():
        return
    with versions.lock(), versions.draft() as draft:
        if not draft.exists() and migrate_draft(versions, draft, kind, name):
            versions.publish(draft)
