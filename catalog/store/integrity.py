"""Is a catalog file what keys and constraints would make it?

The tables have none (they would block bulk inserts and later changes), so ``check_file`` asks: each
question counts rows that should not exist.
"""

from typing import TYPE_CHECKING

from .publish import AUDITS
from .stored import rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["check_file"]

_BOTH = {
    "runs that are there more than once": """
        SELECT count(*) FROM (SELECT run_id FROM run GROUP BY run_id HAVING count(*) > 1)""",
    "files that are there more than once in a run": """
        SELECT count(*) FROM (
            SELECT run_id, name FROM file GROUP BY run_id, name HAVING count(*) > 1)""",
    "file numbers that are there more than once in a run": """
        SELECT count(*) FROM (
            SELECT run_id, ordinal FROM file GROUP BY run_id, ordinal HAVING count(*) > 1)""",
    "runs whose number of files is not that of their rows": """
        SELECT count(*) FROM run AS r LEFT JOIN (
            SELECT run_id, count(*) AS n, max(ordinal) + 1 AS top FROM file GROUP BY run_id
        ) AS f USING (run_id)
        WHERE r.n_files <> coalesce(f.n, 0) OR r.n_files <> coalesce(f.top, 0)""",
    "rows of runs that do not exist": """
        SELECT count(*) FROM (
            SELECT run_id FROM file UNION ALL SELECT run_id FROM run_location
            UNION ALL SELECT run_id FROM file_history UNION ALL SELECT run_id FROM file_metadata
            UNION ALL SELECT run_id FROM train_list UNION ALL SELECT run_id FROM timestamps
            UNION ALL SELECT run_id FROM index_pattern UNION ALL SELECT run_id FROM run_source
            UNION ALL SELECT first_run FROM run_value UNION ALL SELECT last_run FROM run_value
            UNION ALL SELECT run_id FROM key_profile
            UNION ALL SELECT run_id FROM finding WHERE run_id IS NOT NULL
        ) AS x ANTI JOIN run USING (run_id)""",
    "files without their train list": """
        SELECT count(*) FROM file AS f ANTI JOIN train_list AS t
        ON t.run_id = f.run_id AND t.ordinal = f.train_list""",
    "files without their layout": "SELECT count(*) FROM file ANTI JOIN layout USING (layout_id)",
    "layouts whose number of sources is not that of their rows": """
        SELECT count(*) FROM layout AS l LEFT JOIN (
            SELECT layout_id, count(*) AS n, count(DISTINCT position) AS places
            FROM layout_source GROUP BY layout_id
        ) AS s USING (layout_id)
        WHERE l.n_sources <> coalesce(s.n, 0) OR l.n_sources <> coalesce(s.places, 0)""",
    "key schemas whose number of keys is not that of their rows": """
        SELECT count(*) FROM key_schema AS k LEFT JOIN (
            SELECT schema_id, count(*) AS n, count(DISTINCT position) AS places
            FROM schema_key GROUP BY schema_id
        ) AS s USING (schema_id)
        WHERE k.n_keys <> coalesce(s.n, 0) OR k.n_keys <> coalesce(s.places, 0)""",
    "numbers of sources that have no name": """
        SELECT count(*) FROM (
            SELECT source_id FROM layout_source UNION ALL SELECT legacy_of FROM layout_source
            UNION ALL SELECT source_id FROM run_source UNION ALL SELECT legacy_of FROM run_source
            UNION ALL SELECT source_id FROM run_value UNION ALL SELECT source_id FROM key_profile
        ) AS x ANTI JOIN source USING (source_id) WHERE source_id IS NOT NULL""",
    "numbers of keys that have no name": """
        SELECT count(*) FROM (
            SELECT key_id FROM schema_key UNION ALL SELECT key_id FROM run_value
            UNION ALL SELECT key_id FROM key_profile
        ) AS x ANTI JOIN key USING (key_id)""",
    "numbers of key schemas that do not exist": """
        SELECT count(*) FROM (
            SELECT schema_id FROM layout_source UNION ALL SELECT schema_id FROM run_source
        ) AS x ANTI JOIN key_schema USING (schema_id) WHERE schema_id IS NOT NULL""",
    "names, schemas and layouts that are there more than once": """
        SELECT count(*) FROM (
            (SELECT 'source', name FROM source)
            UNION ALL (SELECT 'source id', source_id::VARCHAR FROM source)
            UNION ALL (SELECT 'key', name FROM key)
            UNION ALL (SELECT 'key id', key_id::VARCHAR FROM key)
            UNION ALL (SELECT 'schema', digest FROM key_schema)
            UNION ALL (SELECT 'schema id', schema_id::VARCHAR FROM key_schema)
            UNION ALL (SELECT 'layout', digest FROM layout)
            UNION ALL (SELECT 'layout id', layout_id::VARCHAR FROM layout)
        ) AS x(what, value) GROUP BY what, value HAVING count(*) > 1""",
    "RUN values that are there more than once for a run": """
        SELECT count(*) FROM (
            SELECT first_run <= lag(last_run) OVER (
                PARTITION BY source_id, key_id ORDER BY first_run
            ) AS twice FROM run_value
        ) WHERE twice""",
    "RUN values of runs of several proposals or data classes": """
        SELECT count(*) FROM run_value
        WHERE first_run > last_run OR first_run >> 20 <> last_run >> 20""",
    "profiles that are there more than once for a run": """
        SELECT count(*) FROM (
            SELECT run_id, source_id, key_id FROM key_profile
            GROUP BY run_id, source_id, key_id HAVING count(*) > 1)""",
}
_SHARD = {
    "files without their timestamps": """
        SELECT count(*) FROM file AS f ANTI JOIN timestamps AS t
        ON t.run_id = f.run_id AND t.ordinal = f.timestamps WHERE f.timestamps IS NOT NULL""",
    "files without their index patterns": """
        SELECT count(*) FROM (
            SELECT run_id, unnest(patterns) AS ordinal FROM file
        ) AS f ANTI JOIN index_pattern USING (run_id, ordinal)""",
}
_AUDITS = {
    "audits of the same number": """
        SELECT count(*) FROM (SELECT audit_id FROM audit GROUP BY audit_id HAVING count(*) > 1)""",
    "findings that are there more than once": """
        SELECT count(*) FROM (
            SELECT run_id, name, check_id, message, place, path FROM finding
            GROUP BY ALL HAVING count(*) > 1)""",
    "findings that no audit made": """
        SELECT count(*) FROM finding WHERE origin = 'scan' OR origin IS NULL""",
    "findings that were last seen before they were first": """
        SELECT count(*) FROM finding WHERE last_seen < first_seen OR resolved_at < last_seen""",
}


def check_file(cursor: "duckdb.DuckDBPyConnection") -> list[str]:
    """What is wrong in a database of a catalog, one phrase with a count each."""
    ((kind,),) = rows(cursor, "SELECT kind FROM catalog_info")
    questions = {"shard": _BOTH | _SHARD, "merged": _BOTH, AUDITS: _AUDITS}[kind]
    found = []
    for fault, question in questions.items():
        count = sum(n for (n,) in rows(cursor, question))
        if count:
            found.append(f"{count} {fault}")
    return found
