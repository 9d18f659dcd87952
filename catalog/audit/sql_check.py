"""What is a check in SQL, and on what does it work?

A ``SqlCheck`` is one SELECT with the columns run_id, name (of the file, or NULL), check_id,
severity, message, place and path (NULL where it is that of the run and file). It works on the
tables of the merged file, and on temporary ones:

``scope``
    The runs that are audited.
``module``
    Sources that are modules of a detector: source_id, detector, kind (DET or CORR), family (the
    name with # for the number), number, is_from_zero.
``near``
    The runs of a portion: all of the proposals in it, with ``in_scope``, ``series`` (what is
    compared with each other: one data class of one proposal) and ``place`` (0, 1, ... in it).
``near_file``
    The files of the runs in scope. ``sound``: its trains can be relied on, as it was read and no
    scan found its train IDs wrong (such a file has its own findings, and is left out where trains
    are compared). first, last: its first and last train, of sound files.
``near_source``
    The sources of ``near``, one row per run, section, source and index group.

Portions are whole proposals, so that what is needed at a time is bounded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model.identity import sql_home, sql_series

__all__ = ["FOUND", "PREPARE_ALL", "PREPARE_PORTION", "SERIES", "SqlCheck", "bound"]

_PARAMETER = re.compile(r"\$([a-z_]+)")


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """One SELECT that finds what ``ids`` name; ``whole`` if over all runs, not by portions."""

    ids: tuple[str, ...]
    sql: str
    whole: bool = False


def bound(sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a statement names; DuckDB refuses others."""
    return {name: values[name] for name in sorted(set(_PARAMETER.findall(sql)))}


SERIES = sql_series()

FOUND = """
CREATE OR REPLACE TEMP TABLE found (
    run_id UBIGINT, name VARCHAR, check_id VARCHAR, severity VARCHAR, message VARCHAR,
    place VARCHAR, path VARCHAR
)
"""

# Detector modules: D/DET/3CH0:xtdf, D/CORR/3CH0:output, D/DET/JNGFR03:daqOutput
_MODULE = "^([^/]+)/(DET|CORR)/([A-Za-z_]*)([0-9]{1,4})(.*)$"

PREPARE_ALL = (
    f"""
CREATE OR REPLACE TEMP TABLE module AS
SELECT
    source_id, detector, kind, number::INTEGER AS number, starts_with(rest, 'CH') AS is_from_zero,
    concat(detector, '/', kind, '/', prefix, '#', rest) AS family
FROM (
    SELECT
        source_id,
        unnest(regexp_extract(
            name, '{_MODULE}', ['detector', 'kind', 'prefix', 'number', 'rest']
        ))
    FROM source
    WHERE regexp_full_match(name, '{_MODULE}')
)
""",
    """
CREATE OR REPLACE TEMP TABLE detector_size AS
SELECT unnest($detector_parts::VARCHAR[]) AS part, unnest($detector_counts::INTEGER[]) AS n_modules
""",
)

PREPARE_PORTION = (
    f"""
CREATE OR REPLACE TEMP TABLE near AS
WITH audited AS (
    SELECT run_id, {sql_home()} AS home
    FROM scope WHERE run_id BETWEEN $first_run AND $last_run
),
placed AS (
    SELECT
        *, {sql_home()} AS home, {SERIES} AS series
    FROM run WHERE run_id BETWEEN $first_run AND $last_run
)
SELECT
    placed.*, audited.run_id IS NOT NULL AS in_scope,
    (row_number() OVER (PARTITION BY series ORDER BY placed.run_id) - 1)::INTEGER AS place
FROM placed LEFT JOIN audited USING (run_id)
WHERE placed.home IN (SELECT home FROM audited)
""",
    """
CREATE OR REPLACE TEMP TABLE near_file AS
WITH wrong AS (
    SELECT DISTINCT run_id, name FROM finding
    WHERE check_id IN ('F03', 'T01', 'T02', 'T03') AND resolved_at IS NULL AND origin = 'scan'
    AND run_id BETWEEN $first_run AND $last_run
),
bounds AS (
    SELECT
        run_id, ordinal AS train_list,
        TRY_CAST(starts[1] AS BIGINT) AS first,
        TRY_CAST(starts[-1] AS BIGINT) + lengths[-1] - 1 AS last
    FROM train_list WHERE run_id BETWEEN $first_run AND $last_run
)
SELECT
    f.run_id, f.ordinal, f.name, f.aggregator, f.sequence, f.depth, f.layout_id, f.train_list,
    f.missing_since, b.first, b.last,
    f.depth > 0 AND f.missing_since IS NULL AND w.name IS NULL AND b.last IS NOT NULL AS sound
FROM file AS f
JOIN scope USING (run_id)
LEFT JOIN wrong AS w ON w.run_id = f.run_id AND w.name = f.name
LEFT JOIN bounds AS b ON b.run_id = f.run_id AND b.train_list = f.train_list
WHERE f.run_id BETWEEN $first_run AND $last_run
""",
    """
CREATE OR REPLACE TEMP TABLE near_source AS
SELECT rs.*
FROM run_source AS rs JOIN near USING (run_id)
WHERE rs.run_id BETWEEN $first_run AND $last_run
""",
)
