"""How do the shards become one database for questions over all runs?

``merge_shards`` brings a merged database up to date, one shard after the other:

1. Rows of a shard that changed, or is gone, are taken out.
2. Names, key schemas and layouts that the merged file lacks get its next numbers; temporary tables
   map the shard's numbers to them. What has the same digest is compared as well.
3. The shard's rows are copied with the numbers mapped; what only opening needs (what is packed,
   timestamps, METADATA) stays behind.

4. The database of the audits is one more shard, of findings and audits alone.

Rows lie in run order, shard by shard; RUN values within a shard by source and key, so that asking
for one key reads little.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.errors import CatalogWriteError
from ..model.identity import run_ids_of_shard, sql_series
from .connections import quoted, rows
from .versions import AUDITS

if TYPE_CHECKING:
    import duckdb

    from .store import Progress

__all__ = [
    "cut_out",
    "fold",
    "merge_shards",
    "merged_versions",
    "needs_rebuild",
]

# A shard read again leaves its rows at the end of the merged file; beyond this share of the shards
# making it anew, in order, is no dearer.
_REBUILD_SHARE = 0.5

_MAP_NAMES = """
INSERT INTO source
SELECT
    (SELECT coalesce(max(source_id), -1) FROM source) + row_number() OVER (ORDER BY s.source_id),
    s.name
FROM shard.source AS s ANTI JOIN source AS m ON m.name = s.name;

INSERT INTO key
SELECT
    (SELECT coalesce(max(key_id), -1) FROM key) + row_number() OVER (ORDER BY s.key_id),
    s.name
FROM shard.key AS s ANTI JOIN key AS m ON m.name = s.name;

CREATE OR REPLACE TEMP TABLE source_map AS
SELECT s.source_id AS old_id, m.source_id AS new_id
FROM shard.source AS s JOIN source AS m USING (name);

CREATE OR REPLACE TEMP TABLE key_map AS
SELECT s.key_id AS old_id, m.key_id AS new_id
FROM shard.key AS s JOIN key AS m USING (name);
"""

_MAP_SCHEMAS = """
CREATE OR REPLACE TEMP TABLE schema_map AS
SELECT
    s.schema_id AS old_id, s.digest, s.n_keys, m.schema_id IS NULL AS is_new,
    coalesce(
        m.schema_id,
        (SELECT coalesce(max(schema_id), -1) FROM key_schema)
        + row_number() OVER (PARTITION BY m.schema_id IS NULL ORDER BY s.schema_id)
    )::INTEGER AS new_id
FROM shard.key_schema AS s LEFT JOIN key_schema AS m USING (digest);

CREATE OR REPLACE TEMP TABLE incoming_key AS
SELECT sm.new_id AS schema_id, k.* EXCLUDE (schema_id) REPLACE (km.new_id AS key_id), sm.is_new
FROM shard.schema_key AS k
JOIN schema_map AS sm ON sm.old_id = k.schema_id
JOIN key_map AS km ON km.old_id = k.key_id;

INSERT INTO key_schema
SELECT new_id, digest, n_keys, NULL FROM schema_map WHERE is_new ORDER BY new_id;

INSERT INTO schema_key
SELECT * EXCLUDE (is_new) FROM incoming_key WHERE is_new ORDER BY schema_id, position;
"""

_MAP_LAYOUTS = """
CREATE OR REPLACE TEMP TABLE layout_map AS
SELECT
    s.layout_id AS old_id, s.digest, s.n_sources, m.layout_id IS NULL AS is_new,
    coalesce(
        m.layout_id,
        (SELECT coalesce(max(layout_id), -1) FROM layout)
        + row_number() OVER (PARTITION BY m.layout_id IS NULL ORDER BY s.layout_id)
    )::INTEGER AS new_id
FROM shard.layout AS s LEFT JOIN layout AS m USING (digest);

CREATE OR REPLACE TEMP TABLE incoming_source AS
SELECT
    lm.new_id AS layout_id, l.position, l.section, sm.new_id AS source_id, l.index_groups,
    om.new_id AS legacy_of, l.run_only, km.new_id AS schema_id, lm.is_new
FROM shard.layout_source AS l
JOIN layout_map AS lm ON lm.old_id = l.layout_id
JOIN source_map AS sm ON sm.old_id = l.source_id
LEFT JOIN source_map AS om ON om.old_id = l.legacy_of
LEFT JOIN schema_map AS km ON km.old_id = l.schema_id;

INSERT INTO layout
SELECT new_id, digest, n_sources FROM layout_map WHERE is_new ORDER BY new_id;

INSERT INTO layout_source
SELECT * EXCLUDE (is_new) FROM incoming_source WHERE is_new ORDER BY layout_id, position;
"""

# Rows of what was known before, and says something else now.
_CLASHES = """
SELECT count(*) FROM (
    (SELECT * EXCLUDE (is_new) FROM incoming_key WHERE NOT is_new EXCEPT SELECT * FROM schema_key)
)
UNION ALL
SELECT count(*) FROM (
    (
        SELECT * EXCLUDE (is_new) FROM incoming_source WHERE NOT is_new
        EXCEPT SELECT * FROM layout_source
    )
)
UNION ALL
SELECT count(*) FROM schema_map AS m JOIN key_schema AS k ON k.schema_id = m.new_id
WHERE k.n_keys <> m.n_keys
UNION ALL
SELECT count(*) FROM layout_map AS m JOIN layout AS l ON l.layout_id = m.new_id
WHERE l.n_sources <> m.n_sources
"""

_COPY = """
INSERT INTO run SELECT * FROM shard.run ORDER BY run_id;

INSERT INTO run_location SELECT * FROM shard.run_location ORDER BY run_id, position;

INSERT INTO file
SELECT f.* REPLACE (
    NULL AS timestamps, lm.new_id AS layout_id, NULL AS run_sources
)
FROM shard.file AS f JOIN layout_map AS lm ON lm.old_id = f.layout_id
ORDER BY f.run_id, f.ordinal;

INSERT INTO file_history SELECT * FROM shard.file_history ORDER BY run_id, name, replaced_at;

INSERT INTO train_list SELECT * FROM shard.train_list ORDER BY run_id, ordinal;

INSERT INTO run_source
SELECT rs.* REPLACE (
    sm.new_id AS source_id, km.new_id AS schema_id, om.new_id AS legacy_of
)
FROM shard.run_source AS rs
JOIN source_map AS sm ON sm.old_id = rs.source_id
LEFT JOIN schema_map AS km ON km.old_id = rs.schema_id
LEFT JOIN source_map AS om ON om.old_id = rs.legacy_of
ORDER BY rs.run_id, sm.new_id, rs.index_group;

INSERT INTO run_value
SELECT v.* REPLACE (sm.new_id AS source_id, km.new_id AS key_id)
FROM shard.run_value AS v
JOIN source_map AS sm ON sm.old_id = v.source_id
JOIN key_map AS km ON km.old_id = v.key_id
ORDER BY sm.new_id, km.new_id, v.first_run;

INSERT INTO key_profile
SELECT p.* REPLACE (sm.new_id AS source_id, km.new_id AS key_id)
FROM shard.key_profile AS p
JOIN source_map AS sm ON sm.old_id = p.source_id
JOIN key_map AS km ON km.old_id = p.key_id
ORDER BY p.run_id, sm.new_id, km.new_id;

INSERT INTO finding SELECT * FROM shard.finding ORDER BY run_id, name, check_id;
"""

_REMOVE = """
DELETE FROM run WHERE run_id BETWEEN $1 AND $2;
DELETE FROM run_location WHERE run_id BETWEEN $1 AND $2;
DELETE FROM file WHERE run_id BETWEEN $1 AND $2;
DELETE FROM file_history WHERE run_id BETWEEN $1 AND $2;
DELETE FROM train_list WHERE run_id BETWEEN $1 AND $2;
DELETE FROM run_source WHERE run_id BETWEEN $1 AND $2;
DELETE FROM run_value WHERE first_run BETWEEN $1 AND $2;
DELETE FROM key_profile WHERE run_id BETWEEN $1 AND $2;
DELETE FROM finding WHERE run_id BETWEEN $1 AND $2 AND origin = 'scan';
"""

_REMOVE_AUDITS = """
DELETE FROM finding WHERE origin <> 'scan';
DELETE FROM audit;
"""

_COPY_AUDITS = """
INSERT INTO finding SELECT * FROM shard.finding ORDER BY run_id, name, check_id;
INSERT INTO audit SELECT * FROM shard.audit ORDER BY audit_id;
"""

# What audits found in runs that have been forgotten since.
_REMOVE_FORGOTTEN = """
DELETE FROM finding
WHERE origin <> 'scan' AND run_id IS NOT NULL AND run_id NOT IN (SELECT run_id FROM run)
"""


def merged_versions(cursor: "duckdb.DuckDBPyConnection") -> dict[str, str]:
    """Which version of each shard a merged database holds."""
    return dict(rows(cursor, "SELECT name, version FROM merged_shard"))


def needs_rebuild(cursor: "duckdb.DuckDBPyConnection", shards: Mapping[str, Path]) -> bool:
    """Whether so many shards changed that the merged database is better made anew."""
    held = merged_versions(cursor)
    changed = sum(held[name] != path.name for name, path in shards.items() if name in held)
    return changed + len(held.keys() - shards.keys()) > _REBUILD_SHARE * max(len(held), 1)


def merge_shards(
    connection: "duckdb.DuckDBPyConnection",
    shards: Mapping[str, Path],
    progress: "Progress | None",
) -> None:
    """Bring the attached merged database up to date with these versions of the shards.

    Nothing is one transaction here: the database is a draft that nobody else sees.
    """
    held = merged_versions(connection)
    gone = held.keys() - shards.keys()
    changed = [name for name, path in shards.items() if held.get(name) != path.name]
    for name in [*gone, *changed]:
        if name in held:
            _remove(connection, name)
    for done, name in enumerate(changed):
        _add(connection, name, shards[name])
        if progress:
            progress(done + 1, len(changed))
    connection.execute(_REMOVE_FORGOTTEN)


def _remove(connection: "duckdb.DuckDBPyConnection", name: str) -> None:
    if name == AUDITS:
        connection.execute(_REMOVE_AUDITS)
    else:
        first, last = run_ids_of_shard(name)
        connection.execute(_REMOVE.replace("$1", f"{first:d}").replace("$2", f"{last:d}"))
    connection.execute("DELETE FROM merged_shard WHERE name = $1", [name])


def _add(connection: "duckdb.DuckDBPyConnection", name: str, path: Path) -> None:
    connection.execute(f"ATTACH {quoted(path)} AS shard (READ_ONLY)")
    try:
        if name == AUDITS:
            connection.execute(_COPY_AUDITS)
        else:
            _add_shard(connection, path)
        connection.execute("INSERT INTO merged_shard VALUES ($1, $2)", [name, path.name])
    finally:
        connection.execute("DETACH shard")


def _add_shard(connection: "duckdb.DuckDBPyConnection", path: Path) -> None:
    for script in (_MAP_NAMES, _MAP_SCHEMAS, _MAP_LAYOUTS):
        connection.execute(script)
    if any(count for (count,) in rows(connection, _CLASHES)):
        raise CatalogWriteError(
            str(path), "a key schema or layout has the digest of another with other content"
        )
    connection.execute(_COPY)


# How is a RUN value that stays the same from run to run kept once?
#
# Four of five RUN values do not change between neighbouring runs, so ``run_value`` has one row
# for a
# stretch of runs. Neighbours are runs next to each other among the catalogued ones of a proposal
# and
# data class (all of run_id but its last 20 bits); a stretch ends where the value changes, or a run
# lacks it. BETWEEN first_run AND last_run is therefore exact, and stays so while runs come and go:
#
# 1. ``cut_out``: a run that is written again, or goes, is taken out of the stretches over it.
# 2. New rows are put in for one run each.
# 3. ``fold``: rows of neighbours that say the same become one.

# New rows up to this share of all are put behind the others instead of writing all in order.
_REWRITE_SHARE = 0.2

_CUT = """
CREATE OR REPLACE TEMP TABLE cut AS
SELECT * FROM run_value WHERE $1 BETWEEN first_run AND last_run;

DELETE FROM run_value WHERE $1 BETWEEN first_run AND last_run;

INSERT INTO run_value
SELECT * REPLACE ((SELECT max(run_id) FROM run WHERE run_id < $1) AS last_run)
FROM cut WHERE first_run < $1;

INSERT INTO run_value
SELECT * REPLACE ((SELECT min(run_id) FROM run WHERE run_id > $1) AS first_run)
FROM cut WHERE last_run > $1;
"""

# Rows that say the same as the ones before them become one, of those rows for which $1 holds.
_FOLD = f"""
CREATE OR REPLACE TEMP TABLE folded AS
WITH placed AS (
    SELECT run_id, row_number() OVER (PARTITION BY {sql_series()} ORDER BY run_id) AS place FROM run
),
told AS (
    SELECT
        v.*, {sql_series("v.first_run")} AS series, f.place,
        lag(l.place) OVER w IS NOT DISTINCT FROM f.place - 1
        AND lag(v.dtype) OVER w IS NOT DISTINCT FROM v.dtype
        AND lag(v.number) OVER w IS NOT DISTINCT FROM v.number
        AND lag(v.text) OVER w IS NOT DISTINCT FROM v.text
        AND lag(v.raw) OVER w IS NOT DISTINCT FROM v.raw
        AND lag(v.shape) OVER w IS NOT DISTINCT FROM v.shape AS goes_on
    FROM run_value AS v
    JOIN placed AS f ON f.run_id = v.first_run
    JOIN placed AS l ON l.run_id = v.last_run
    WHERE $1
    WINDOW w AS (PARTITION BY {sql_series("v.first_run")}, v.source_id, v.key_id ORDER BY f.place)
),
stretched AS (
    SELECT
        *, count(*) FILTER (NOT goes_on) OVER (
            PARTITION BY series, source_id, key_id ORDER BY place ROWS UNBOUNDED PRECEDING
        ) AS stretch
    FROM told
)
SELECT
    min(first_run) AS first_run, max(last_run) AS last_run, source_id, key_id,
    any_value(dtype) AS dtype, any_value(number) AS number, any_value(text) AS text,
    any_value(raw) AS raw, any_value(shape) AS shape
FROM stretched
GROUP BY series, source_id, key_id, stretch;
"""

_REWRITE = """
DELETE FROM run_value;
INSERT INTO run_value SELECT * FROM folded ORDER BY source_id, key_id, first_run;
DROP TABLE folded;
"""

# Rows that end with the run before the first new one of its series, and say what it says, go on.
_APPEND = f"""
DELETE FROM run_value WHERE first_run IN ($1);

CREATE OR REPLACE TEMP TABLE continued AS
WITH seams AS (
    SELECT min(n.run_id) AS first_run, max(r.run_id) AS before
    FROM (SELECT min(run_id) AS run_id FROM run WHERE run_id IN ($1) GROUP BY {sql_series()}) AS n
    JOIN run AS r ON {sql_series("r.run_id")} = {sql_series("n.run_id")} AND r.run_id < n.run_id
    GROUP BY n.run_id
)
SELECT v.rowid AS row, f.source_id, f.key_id, f.first_run, f.last_run
FROM folded AS f
JOIN seams AS s USING (first_run)
JOIN run_value AS v ON v.last_run = s.before AND v.source_id = f.source_id
    AND v.key_id = f.key_id AND v.dtype IS NOT DISTINCT FROM f.dtype
    AND v.number IS NOT DISTINCT FROM f.number AND v.text IS NOT DISTINCT FROM f.text
    AND v.raw IS NOT DISTINCT FROM f.raw AND v.shape IS NOT DISTINCT FROM f.shape;

UPDATE run_value SET last_run = c.last_run FROM continued AS c WHERE run_value.rowid = c.row;

INSERT INTO run_value
SELECT * FROM folded ANTI JOIN continued USING (source_id, key_id, first_run)
ORDER BY source_id, key_id, first_run;

DROP TABLE folded;
DROP TABLE continued;
"""

# Whether rows lie behind new ones in their series; how many are new, and how many there are.
_SHAPE = f"""
SELECT
    coalesce(bool_or(v.last_run > n.first_run AND v.first_run NOT IN ($1)), false),
    count(*) FILTER (v.first_run IN ($1)), count(*)
FROM run_value AS v LEFT JOIN (
    SELECT {sql_series()} AS series, min(run_id) AS first_run FROM run WHERE run_id IN ($1)
    GROUP BY {sql_series()}
) AS n ON n.series = {sql_series("v.first_run")}
"""


def cut_out(connection: "duckdb.DuckDBPyConnection", run_id: int) -> None:
    """Leave no row over a run; the rows before and after it stay."""
    connection.execute(_CUT.replace("$1", f"{run_id:d}"))


def fold(connection: "duckdb.DuckDBPyConnection", new_runs: Collection[int]) -> None:
    """Make one row of neighbouring runs with the same value.

    ``new_runs`` are those put in since this was last done. Where they are few, and the last ones of
    their proposal and data class, only their rows are touched, and stand behind the others; else
    all rows are written again, in order.
    """
    some = ",".join(f"{run_id:d}" for run_id in new_runs) or "0"
    ((is_inside, n_new, n_all),) = rows(connection, _SHAPE.replace("$1", some))
    if is_inside or not n_new or n_new > _REWRITE_SHARE * n_all:
        connection.execute(_FOLD.replace("$1", "true") + _REWRITE)
    else:
        connection.execute(_FOLD.replace("$1", f"v.first_run IN ({some})"))
        connection.execute(_APPEND.replace("$1", some))
