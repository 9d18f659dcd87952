"""Checks of runs against other runs: P01, P02 and X01 to X04.

Constant SQL; see ``run_checks`` for the tables and the columns of a finding. P01 and P02 compare
corrected runs with their raw runs; X01 to X03 the runs of a series, which is one data class of one
proposal, in the order of their numbers; X04 the raw runs of an instrument.
"""

from ..model.names import sql_unit
from .within_runs import UNEVEN

_P01 = """
WITH detector_runs AS (
    SELECT DISTINCT run_id, detector
    FROM near_source JOIN module USING (source_id)
    WHERE section = 'INSTRUMENT' AND kind = 'DET'
)
SELECT
    r.run_id, NULL, 'P01', 'W',
    format('no proc run for the data of {}', string_agg(d.detector, ', ' ORDER BY d.detector)),
    '', NULL
FROM near AS r JOIN detector_runs AS d USING (run_id)
WHERE r.in_scope AND r.data_class = 'raw'
AND coalesce(r.ended_at, r.newest_mtime) < $now::TIMESTAMP - to_seconds($processing_seconds::DOUBLE)
AND EXISTS (SELECT 1 FROM run WHERE data_class = 'proc')
AND NOT EXISTS (
    SELECT 1 FROM near AS p
    WHERE p.data_class = 'proc' AND p.proposal = r.proposal AND p.run = r.run
)
GROUP BY r.run_id
"""

# The modules of a raw run, and of its corrected run: the same detector and number, whatever the
# name says of DET or CORR.
_P02_PAIRS = """
WITH pairs AS (
    SELECT r.run_id AS raw_id, p.run_id AS proc_id
    FROM near AS r JOIN near AS p ON p.proposal = r.proposal AND p.run = r.run
    WHERE r.data_class = 'raw' AND p.data_class = 'proc' AND (r.in_scope OR p.in_scope)
    AND r.run_id NOT IN (SELECT run_id FROM doubtful_run)
    AND p.run_id NOT IN (SELECT run_id FROM doubtful_run)
),
of_raw AS (
    SELECT p.proc_id, m.* FROM pairs AS p JOIN near_module AS m ON m.run_id = p.raw_id
    WHERE m.kind = 'DET'
),
of_proc AS (
    SELECT
        run_id AS proc_id, detector, number, index_group, max(n_trains) AS n_trains,
        max(n_entries) AS n_entries
    FROM near_module WHERE run_id IN (SELECT proc_id FROM pairs)
    GROUP BY ALL
)
"""

_P02_MISSING = f"""
{_P02_PAIRS},
wanted AS (
    SELECT
        r.proc_id, r.detector, r.number, min(r.name) AS name,
        bool_or(p.number IS NOT NULL) AS is_there
    FROM of_raw AS r
    LEFT JOIN of_proc AS p
    ON p.proc_id = r.proc_id AND p.detector = r.detector AND p.number = r.number
    GROUP BY r.proc_id, r.detector, r.number
),
counted AS (
    SELECT *, count_if(is_there) OVER (PARTITION BY proc_id, detector) AS n_there,
    row_number() OVER (PARTITION BY proc_id, detector ORDER BY number) AS place
    FROM wanted
)
SELECT
    proc_id, NULL, 'P02', CASE WHEN n_there = 0 THEN 'W' ELSE 'E' END,
    CASE WHEN n_there = 0 THEN 'no module of the detector was corrected'
    ELSE 'the module is in raw, but was not corrected' END,
    CASE WHEN n_there = 0 THEN detector ELSE concat('INSTRUMENT/', name) END, NULL
FROM counted WHERE NOT is_there AND (n_there > 0 OR place = 1)
"""

_P02_UNEVEN = f"""
{_P02_PAIRS},
compared AS (
    SELECT
        r.proc_id AS run_id, r.name, r.index_group, p.n_trains, p.n_entries,
        r.n_trains AS usual_trains, r.n_entries AS usual_entries
    FROM of_raw AS r
    JOIN of_proc AS p
    ON p.proc_id = r.proc_id AND p.detector = r.detector AND p.number = r.number
    AND p.index_group = r.index_group
)
{UNEVEN.format(check="P02", severity="E", others="but raw has")}
"""

# For X01 and X03: sources of enough of the last runs, but not of the run at a place; new_name is
# what one of them is called now, if it was renamed. Wherever a source is absent after some run, the
# number of runs that had it among the last ones only falls: only these stretches are looked at. A
# run with files that are missing or were not read misses nothing.
GONE_SOURCE = """
CREATE OR REPLACE TEMP TABLE gone_source AS
WITH has AS (
    SELECT
        n.series, n.place, rs.section, rs.source_id, max(rs.schema_id) AS schema_id,
        row_number() OVER w AS count,
        lag(n.place) OVER w AS place_before,
        lead(n.place) OVER w AS next_place
    FROM near_source AS rs JOIN near AS n USING (run_id)
    WHERE rs.section IN ('CONTROL', 'INSTRUMENT') AND rs.legacy_of IS NULL
    GROUP BY n.series, n.place, rs.section, rs.source_id
    WINDOW w AS (PARTITION BY n.series, rs.section, rs.source_id ORDER BY n.place)
),
ends AS (
    SELECT series, max(place) AS last_place FROM near GROUP BY series
),
absences AS (
    SELECT
        p.series, p.section, p.source_id, p.schema_id, p.count, p.place AS seen_at,
        unnest(range(
            p.place + 1,
            least(
                coalesce(p.next_place, e.last_place + 1),
                p.place + 2 + $neighbours::INTEGER - $of_neighbours::INTEGER
            )
        )) AS place
    FROM has AS p JOIN ends AS e USING (series)
    WHERE p.next_place IS DISTINCT FROM p.place + 1 AND p.place < e.last_place
),
gone AS (
    SELECT
        a.series, a.section, a.source_id, a.schema_id, n.run_id, a.place,
        a.count - coalesce(max(b.count), 0) AS n_had,
        least(a.place, $neighbours::INTEGER) AS n_last
    FROM absences AS a
    JOIN near AS n ON n.series = a.series AND n.place = a.place
    LEFT JOIN has AS b
    ON b.series = a.series AND b.section = a.section AND b.source_id = a.source_id
    AND b.place < a.place - $neighbours::INTEGER
    WHERE n.in_scope AND n.n_files_unread = 0 AND n.n_files_missing = 0
    GROUP BY a.series, a.section, a.source_id, a.schema_id, n.run_id, a.place, a.count
    HAVING a.count - coalesce(max(b.count), 0) >= $of_neighbours::INTEGER
),
come AS (
    SELECT p.series, p.section, p.source_id, p.schema_id, p.place
    FROM has AS p
    WHERE coalesce(p.place_before < p.place - $neighbours::INTEGER, true)
    AND (p.series, p.place) IN (SELECT (series, place) FROM gone)
),
alike AS (
    SELECT
        g.run_id, g.section, g.source_id AS old_id, c.source_id AS new_id, o.name AS old_name,
        n.name AS new_name, jaro_winkler_similarity(o.name, n.name) AS likeness
    FROM gone AS g
    JOIN come AS c
    ON c.series = g.series AND c.place = g.place AND c.section = g.section
    AND c.schema_id = g.schema_id
    JOIN source AS o ON o.source_id = g.source_id
    JOIN source AS n ON n.source_id = c.source_id
    WHERE likeness >= $similarity::DOUBLE
),
renamed AS (
    SELECT * FROM alike
    QUALIFY row_number() OVER (
        PARTITION BY run_id, section, old_id ORDER BY likeness DESC, new_name
    ) = 1 AND row_number() OVER (
        PARTITION BY run_id, section, new_id ORDER BY likeness DESC, old_name
    ) = 1
)
SELECT g.run_id, g.section, s.name, r.new_name, g.n_had, g.n_last
FROM gone AS g
JOIN source AS s USING (source_id)
LEFT JOIN renamed AS r
ON r.run_id = g.run_id AND r.section = g.section AND r.old_id = g.source_id
"""

_X01 = """
SELECT
    run_id, NULL, 'X01', 'W',
    format('in {} of the {} runs before, but not in this one', n_had, n_last),
    concat(section, '/', name), NULL
FROM gone_source WHERE new_name IS NULL
"""

_X03 = """
SELECT
    run_id, NULL, 'X03', 'I', format('new, with the keys of ''{}'', which is gone', name),
    concat(section, '/', new_name), NULL
FROM gone_source WHERE new_name IS NOT NULL
"""

_X02 = f"""
WITH known AS (
    SELECT
        n.series, n.run_id, n.place, n.in_scope, rs.section, rs.source_id,
        min(rs.schema_id) AS schema_id
    FROM near_source AS rs JOIN near AS n USING (run_id)
    WHERE rs.schema_id IS NOT NULL AND rs.legacy_of IS NULL
    GROUP BY ALL HAVING min(rs.schema_id) = max(rs.schema_id)
),
steps AS (
    SELECT
        *, lag(schema_id) OVER w AS old_schema, lag(run_id) OVER w AS old_run
    FROM known
    WINDOW w AS (PARTITION BY series, section, source_id ORDER BY place)
),
changed AS (
    SELECT * FROM steps WHERE in_scope AND old_schema <> schema_id
),
differences AS (
    SELECT
        p.old_schema, p.schema_id, count(*) AS n_keys,
        arg_min(
            CASE WHEN a.dtype <> b.dtype OR a.entry_shape <> b.entry_shape THEN format(
                '''{{}}'' is {{}} {{}}, but was {{}} {{}}',
                k.name, b.dtype, b.entry_shape::VARCHAR, a.dtype, a.entry_shape::VARCHAR
            ) ELSE format(
                '''{{}}'' is in {{}}, but was in {{}}', k.name,
                {sql_unit("b")}, {sql_unit("a")}
            ) END,
            k.name
        ) AS example
    FROM (SELECT DISTINCT old_schema, schema_id FROM changed) AS p
    JOIN schema_key AS a ON a.schema_id = p.old_schema
    JOIN schema_key AS b ON b.schema_id = p.schema_id AND b.key_id = a.key_id
    JOIN key AS k ON k.key_id = a.key_id
    WHERE a.dtype <> b.dtype OR a.entry_shape <> b.entry_shape OR (
        a.unit_symbol <> '' AND b.unit_symbol <> ''
        AND (a.unit_symbol <> b.unit_symbol OR a.prefix_symbol <> b.prefix_symbol)
    )
    GROUP BY p.old_schema, p.schema_id
)
SELECT
    c.run_id, NULL, 'X02', 'W',
    concat(
        d.example, format(' in run {{}}', o.run),
        CASE WHEN n_keys > 1 THEN format('; {{}} keys in all', n_keys) END
    ),
    concat(c.section, '/', s.name), NULL
FROM changed AS c
JOIN differences AS d ON d.old_schema = c.old_schema AND d.schema_id = c.schema_id
JOIN near AS o ON o.run_id = c.old_run
JOIN source AS s ON s.source_id = c.source_id
"""

# Raw runs whose trains and times can be relied on, and the run that reaches furthest before each.
_BY_TRAIN = """
WITH wrong AS (
    SELECT DISTINCT run_id FROM finding
    WHERE check_id IN ('T01', 'T02', 'T03', 'T05') AND resolved_at IS NULL AND origin = 'scan'
),
placed AS (
    SELECT
        run_id, instrument, first_train::BIGINT AS first, last_train::BIGINT AS last, started_at,
        printf('p%06d/%s/r%04d', proposal, data_class, run) AS label
    FROM run
    WHERE data_class = 'raw' AND instrument IS NOT NULL AND first_train IS NOT NULL
    AND last_train < 9223372036854775808 AND run_id NOT IN (SELECT run_id FROM wrong)
)
"""

_X04_TRAINS = f"""
{_BY_TRAIN},
reached AS (
    SELECT
        *, max(last) OVER w AS end_before, arg_max(run_id, last) OVER w AS other_id,
        arg_max(label, last) OVER w AS other
    FROM placed
    WINDOW w AS (
        PARTITION BY instrument ORDER BY first, run_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT
    run_id, NULL, 'X04', 'W',
    format('trains {{}} to {{}} are also those of {{}}', first, least(last, end_before), other),
    '', NULL
FROM reached
WHERE first <= end_before
AND (run_id IN (SELECT run_id FROM scope) OR other_id IN (SELECT run_id FROM scope))
"""

_X04_TIMES = f"""
{_BY_TRAIN},
steps AS (
    SELECT
        *, lag(run_id) OVER w AS other_id, lag(label) OVER w AS other,
        epoch(started_at) - epoch(lag(started_at) OVER w) AS seconds,
        (first - lag(first) OVER w) / 10.0 AS by_trains
    FROM placed WHERE started_at IS NOT NULL
    WINDOW w AS (PARTITION BY instrument ORDER BY first, run_id)
)
SELECT
    run_id, NULL, 'X04', 'W',
    format(
        'begins {{:.0f}} s after {{}} by its times, but {{:.0f}} s by its train IDs',
        seconds, other, by_trains
    ),
    '', NULL
FROM steps
WHERE abs(seconds) < 3600 * $clock_hours::DOUBLE
AND abs(seconds - by_trains)
    > greatest($clock_seconds::DOUBLE, $clock_share::DOUBLE * abs(seconds))
AND (run_id IN (SELECT run_id FROM scope) OR other_id IN (SELECT run_id FROM scope))
"""

CHECKS_BETWEEN_RUNS = (
    ("P01", _P01),
    ("P02", _P02_MISSING),
    ("P02", _P02_UNEVEN),
    ("X01", _X01),
    ("X02", _X02),
    ("X03", _X03),
)
CHECKS_OF_ALL_RUNS = (
    ("X04", _X04_TRAINS),
    ("X04", _X04_TIMES),
)
