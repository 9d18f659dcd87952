"""How is a shard written anew, small and in order?

Runs that are replaced leave their new rows at the end of the tables, and names that no run refers
to any more stay. ``rewrite_shard`` copies a shard, attached as ``other``, into a new one: rows in
run order, and only the names, schemas and layouts that are used, with the numbers they had.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = ["rewrite_shard"]

_COPY = """
INSERT INTO run SELECT * FROM other.run ORDER BY run_id;
INSERT INTO run_location SELECT * FROM other.run_location ORDER BY run_id, position;
INSERT INTO file SELECT * FROM other.file ORDER BY run_id, ordinal;
INSERT INTO file_history SELECT * FROM other.file_history ORDER BY run_id, name, replaced_at;
INSERT INTO file_metadata SELECT * FROM other.file_metadata ORDER BY run_id, name, first_file;
INSERT INTO train_list SELECT * FROM other.train_list ORDER BY run_id, ordinal;
INSERT INTO timestamps SELECT * FROM other.timestamps ORDER BY run_id, ordinal;
INSERT INTO index_pattern SELECT * FROM other.index_pattern ORDER BY run_id, ordinal;
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


def rewrite_shard(connection: "duckdb.DuckDBPyConnection") -> None:
    """Fill the new shard ``xfelcat`` from the one attached as ``other``."""
    connection.execute(_COPY)
