"""How is a RUN value that stays the same from run to run kept once?

Four of five RUN values do not change between neighbouring runs, so ``run_value`` has one row for a
stretch of runs. Neighbours are runs next to each other among the catalogued ones of a proposal and
data class (all of run_id but its last 20 bits); a stretch ends where the value changes, or a run
lacks it. BETWEEN first_run AND last_run is therefore exact, and stays so while runs come and go:

1. ``cut_out``: a run that is written again, or goes, is taken out of the stretches over it.
2. New rows are put in for one run each.
3. ``fold``: rows of neighbours that say the same become one, in the order of source, key and run.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = ["cut_out", "fold"]

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

DELETE FROM run_value;

INSERT INTO run_value SELECT * FROM folded ORDER BY source_id, key_id, first_run;

DROP TABLE folded;
"""


def cut_out(connection: "duckdb.DuckDBPyConnection", run_id: int) -> None:
    """Leave no row over a run; the rows before and after it stay."""
    connection.execute(_CUT.replace("$1", f"{run_id:d}"))


def fold(connection: "duckdb.DuckDBPyConnection") -> None:
    """Make one row of neighbouring runs with the same value, and put all rows in order."""
    connection.execute(_FOLD)
