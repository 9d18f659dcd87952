"""How is a catalog written anew, small and in order?

Runs that are replaced leave their new rows at the end of the tables, and names that no run refers
to any more stay. ``compact`` copies each shard, attached as ``other``, into a new version of it:
rows in run order, and only the names, schemas and layouts that are used, with the numbers they had.
The same with what audits found.
"""

from .connections import DEFAULT_BLOCKS, blocks_of, connect_write
from .creation import create_schema
from .interrupts import uninterrupted
from .publish import AUDITS, Versions
from .store import Progress, Store

__all__ = ["compact"]

_COPY = """
INSERT INTO run SELECT * FROM other.run ORDER BY run_id;
INSERT INTO run_location SELECT * FROM other.run_location ORDER BY run_id, position;
INSERT INTO file SELECT * FROM other.file ORDER BY run_id, ordinal;
INSERT INTO run_packed SELECT * FROM other.run_packed ORDER BY run_id;
INSERT INTO file_history SELECT * FROM other.file_history ORDER BY run_id, name, replaced_at;
INSERT INTO file_metadata SELECT * FROM other.file_metadata ORDER BY run_id, name, first_file;
INSERT INTO train_list SELECT * FROM other.train_list ORDER BY run_id, ordinal;
INSERT INTO timestamps SELECT * FROM other.timestamps ORDER BY run_id, ordinal;
INSERT INTO run_source SELECT * FROM other.run_source ORDER BY run_id, source_id, index_group;
INSERT INTO run_value SELECT * FROM other.run_value ORDER BY source_id, key_id, first_run;
INSERT INTO key_profile SELECT * FROM other.key_profile ORDER BY run_id, source_id, key_id;
INSERT INTO finding SELECT * FROM other.finding ORDER BY run_id, rowid;

INSERT INTO layout
SELECT * FROM other.layout WHERE layout_id IN (SELECT layout_id FROM file) ORDER BY layout_id;

INSERT INTO layout_source
SELECT * FROM other.layout_source WHERE layout_id IN (SELECT layout_id FROM layout)
ORDER BY layout_id, position;

INSERT INTO key_schema
SELECT * FROM other.key_schema
WHERE schema_id IN (
    SELECT schema_id FROM layout_source UNION SELECT schema_id FROM run_source
)
ORDER BY schema_id;

INSERT INTO schema_key
SELECT * FROM other.schema_key WHERE schema_id IN (SELECT schema_id FROM key_schema)
ORDER BY schema_id, position;

INSERT INTO source
SELECT * FROM other.source
WHERE source_id IN (
    SELECT source_id FROM layout_source UNION SELECT legacy_of FROM layout_source
    UNION SELECT source_id FROM run_source UNION SELECT legacy_of FROM run_source
    UNION SELECT source_id FROM run_value UNION SELECT unnest(run_sources) FROM file
    UNION SELECT source_id FROM key_profile
)
ORDER BY source_id;

INSERT INTO key
SELECT * FROM other.key
WHERE key_id IN (
    SELECT key_id FROM schema_key UNION SELECT key_id FROM run_value
    UNION SELECT key_id FROM key_profile
)
ORDER BY key_id;
"""


_COPY_AUDITS = """
INSERT INTO finding SELECT * FROM other.finding ORDER BY run_id, rowid;
INSERT INTO audit SELECT * FROM other.audit ORDER BY audit_id;
"""


def compact(store: Store, progress: Progress | None = None) -> None:
    """Rewrite every database in run order, without names that no run refers to any more.

    ``progress`` is told how many shards are done, of how many.
    """
    shards = store.shards()
    for done, shard in enumerate(shards):
        _rewrite(store.versions(shard), shard, "shard", blocks_of(shard), _COPY)
        if progress:
            progress(done + 1, len(shards))
    if store.audits.current() is not None:
        _rewrite(store.audits, AUDITS, AUDITS, DEFAULT_BLOCKS, _COPY_AUDITS)
    store.publish_merged()


def _rewrite(versions: Versions, name: str, kind: str, block_size: int, copy: str) -> None:
    with versions.lock(), uninterrupted(), versions.draft(empty=True) as draft:
        current = versions.current()
        if current is None:
            return
        with connect_write(draft, block_size=block_size, attach=current) as connection:
            create_schema(connection, kind, name)
            connection.execute(copy)
        versions.publish(draft)
