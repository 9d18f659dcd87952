"""Checks of detector modules, in raw and in corrected runs: R06, P01, P02.

Constant SQL; see ``run_checks`` for the tables and the columns of a finding. Runs with files
that could not be read, other than those of slow data (DA...), are left out: their findings say why
modules are missing.
"""

__all__ = ["CHECKS_OF_DETECTORS"]

# Modules by run, with what each has of each index group. partner: the raw run of a corrected one.
_MODULES = """
WITH doubtful AS (
    SELECT DISTINCT run_id FROM near_file
    WHERE NOT sound AND NOT starts_with(aggregator, 'DA')
),
modules AS (
    SELECT
        rs.run_id, m.detector, m.family, m.kind, m.number, m.is_from_zero, rs.index_group, s.name,
        max(rs.n_trains) AS n_trains, max(rs.n_entries) AS n_entries
    FROM near_source AS rs
    JOIN module AS m USING (source_id)
    JOIN source AS s USING (source_id)
    WHERE rs.section = 'INSTRUMENT' AND rs.run_id NOT IN (SELECT run_id FROM doubtful)
    GROUP BY ALL
)
"""

_R06_RUNS = f"""
{_MODULES},
alone AS (
    SELECT r.run_id FROM near AS r
    WHERE r.in_scope AND (
        r.data_class IS NULL OR r.data_class = 'raw' OR NOT EXISTS (
            SELECT 1 FROM near AS o
            WHERE o.proposal = r.proposal AND o.run = r.run AND o.data_class = 'raw'
        )
    )
)
"""

_R06_MISSING = f"""
{_R06_RUNS},
detectors AS (
    SELECT
        run_id, detector, family, min(number) AS lowest, max(number) AS highest,
        CASE WHEN bool_or(is_from_zero) OR min(number) = 0 THEN 0 ELSE 1 END AS base,
        list_sort(list(DISTINCT number)) AS numbers
    FROM modules JOIN alone USING (run_id)
    GROUP BY run_id, detector, family
),
sized AS (
    SELECT d.detector, max(z.n_modules) AS n_modules
    FROM (SELECT DISTINCT detector FROM module) AS d
    JOIN detector_size AS z ON contains(d.detector, z.part) GROUP BY d.detector
),
expected AS (
    SELECT
        d.*, CASE WHEN z.n_modules IS NULL THEN range(lowest, highest + 1)
        ELSE range(base, base + z.n_modules) END AS wanted
    FROM detectors AS d LEFT JOIN sized AS z USING (detector)
),
absent AS (
    SELECT *, list_filter(wanted, lambda n: NOT list_contains(numbers, n)) AS missing
    FROM expected
)
SELECT
    run_id, NULL, 'R06', 'W',
    format(
        '{{}} of {{}} modules missing: number {{}}',
        len(missing), len(wanted), array_to_string(missing, ', ')
    ),
    family, NULL
FROM absent WHERE len(missing) > 0
"""

# The modules of ``compared`` that have other trains or frames than usual, and where most so.
_UNEVEN = """
SELECT
    run_id, NULL, '{check}', '{severity}',
    arg_max(
        CASE WHEN n_trains <> usual_trains THEN format(
            '{{}} trains of ''{{}}'', {others} {{}}', n_trains, index_group, usual_trains
        ) ELSE format(
            '{{}} frames of ''{{}}'', {others} {{}}', n_entries, index_group, usual_entries
        ) END,
        (n_trains <> usual_trains, abs(n_trains - usual_trains), index_group)
    ),
    concat('INSTRUMENT/', name), NULL
FROM compared WHERE n_trains <> usual_trains OR n_entries <> usual_entries
GROUP BY run_id, name
"""

_R06_UNEVEN = f"""
{_R06_RUNS},
compared AS (
    SELECT
        *, quantile_disc(n_trains, 0.5) OVER w AS usual_trains,
        quantile_disc(n_entries, 0.5) OVER w AS usual_entries
    FROM modules JOIN alone USING (run_id)
    WHERE n_trains IS NOT NULL
    WINDOW w AS (PARTITION BY run_id, family, index_group)
)
{_UNEVEN.format(check="R06", severity="W", others="most modules have")}
"""

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
_P02_PAIRS = f"""
{_MODULES},
pairs AS (
    SELECT r.run_id AS raw_id, p.run_id AS proc_id
    FROM near AS r JOIN near AS p ON p.proposal = r.proposal AND p.run = r.run
    WHERE r.data_class = 'raw' AND p.data_class = 'proc' AND (r.in_scope OR p.in_scope)
    AND r.run_id NOT IN (SELECT run_id FROM doubtful)
    AND p.run_id NOT IN (SELECT run_id FROM doubtful)
),
of_raw AS (
    SELECT p.proc_id, m.* FROM pairs AS p JOIN modules AS m ON m.run_id = p.raw_id
    WHERE m.kind = 'DET'
),
of_proc AS (
    SELECT
        run_id AS proc_id, detector, number, index_group, max(n_trains) AS n_trains,
        max(n_entries) AS n_entries
    FROM modules WHERE run_id IN (SELECT proc_id FROM pairs)
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
{_UNEVEN.format(check="P02", severity="E", others="but raw has")}
"""

CHECKS_OF_DETECTORS = (
    ("R06", _R06_MISSING),
    ("R06", _R06_UNEVEN),
    ("P01", _P01),
    ("P02", _P02_MISSING),
    ("P02", _P02_UNEVEN),
)
