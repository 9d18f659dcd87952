"""How is a RUN value that stays the same from run to run kept once?

Four of five RUN values do not change between neighbouring runs, so ``run_value`` has one row for a
stretch of runs. Neighbours are runs next to each other among the catalogued ones of a proposal and
data class (all of run_id but its last 20 bits); a stretch ends where the value changes, or a run
lacks it. BETWEEN first_run AND last_run is therefore exact, and stays so while runs come and go:

1. ``cut_out``: a run that is written again, or goes, is taken out of the stretches over it.
2. New rows are put in for one run each.
3. ``fold``: rows of neighbours that say the same become one.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from .stored import rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["cut_out", "fold"]

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
_FOLD = """
CREATE OR REPLACE TEMP TABLE folded AS
WITH placed AS (
    SELECT run_id, row_number() OVER (PARTITION BY run_id >> 20 ORDER BY run_id) AS place FROM run
),
told AS (
    SELECT
        v.*, v.first_run >> 20 AS series, f.place,
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
    WINDOW w AS (PARTITION BY v.first_run >> 20, v.source_id, v.key_id ORDER BY f.place)
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
_APPEND = """
DELETE FROM run_value WHERE first_run IN ($1);

CREATE OR REPLACE TEMP TABLE continued AS
WITH seams AS (
    SELECT min(n.run_id) AS first_run, max(r.run_id) AS before
    FROM (SELECT min(run_id) AS run_id FROM run WHERE run_id IN ($1) GROUP BY run_id >> 20) AS n
    JOIN run AS r ON r.run_id >> 20 = n.run_id >> 20 AND r.run_id < n.run_id
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
_SHAPE = """
SELECT
    coalesce(bool_or(v.last_run > n.first_run AND v.first_run NOT IN ($1)), false),
    count(*) FILTER (v.first_run IN ($1)), count(*)
FROM run_value AS v LEFT JOIN (
    SELECT run_id >> 20 AS series, min(run_id) AS first_run FROM run WHERE run_id IN ($1)
    GROUP BY run_id >> 20
) AS n ON n.series = v.first_run >> 20
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
