"""Checks within one run: R01 to R06, R09, T04, T06.

Constant SQL; see ``run_checks`` for the tables and the columns of a finding.
"""

_R01 = """
WITH numbered AS (
    SELECT
        run_id, aggregator, sequence,
        row_number() OVER (PARTITION BY run_id, aggregator ORDER BY sequence) - 1 AS place
    FROM (SELECT DISTINCT run_id, aggregator, sequence FROM near_file WHERE sequence >= 0)
)
SELECT
    run_id, NULL, 'R01', 'E',
    format(
        'sequence file {} missing ({} of {} are there)',
        printf('S%05d', min(place) FILTER (sequence <> place)), count(*), max(sequence) + 1
    ),
    aggregator, NULL
FROM numbered GROUP BY run_id, aggregator HAVING max(sequence) + 1 > count(*)
"""

# The trains that files a and b have in common: the first, and how many.
_COMMON_TRAINS = """
        min(greatest(s.first, t.first)) AS train,
        sum(least(s.first + s.n, t.first + t.n) - greatest(s.first, t.first)) AS n_shared
""".strip()
_STRETCHES = """
    JOIN near_stretch AS s ON s.run_id = a.run_id AND s.train_list = a.train_list
    JOIN near_stretch AS t ON t.run_id = b.run_id AND t.train_list = b.train_list
    AND s.first < t.first + t.n AND t.first < s.first + s.n
""".strip()

# Files of one aggregator whose trains lie in each other's span; then the trains they share. A file
# whose name tells no aggregator (a copy, most often) may be of any: it counts as one of each.
_SHARED = f"""
WITH members AS (
    SELECT *, aggregator AS member_of FROM near_file WHERE sound
    UNION ALL
    SELECT f.*, o.aggregator
    FROM near_file AS f
    JOIN (SELECT DISTINCT run_id, aggregator FROM near_file WHERE aggregator <> '') AS o
    ON o.run_id = f.run_id AND f.aggregator = ''
    WHERE f.sound
),
spans AS (
    SELECT
        *, max(last) OVER (
            PARTITION BY run_id, member_of ORDER BY first, ordinal
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM members
),
doubtful AS (
    SELECT * FROM members
    WHERE (run_id, member_of) IN (SELECT (run_id, member_of) FROM spans WHERE first <= reached)
),
shared AS (
    SELECT
        a.run_id, a.member_of AS aggregator, a.ordinal AS ordinal_a, b.ordinal AS ordinal_b,
        a.name AS name_a, b.name AS name_b, a.layout_id AS layout_a, b.layout_id AS layout_b,
        {_COMMON_TRAINS}
    FROM doubtful AS a
    JOIN doubtful AS b
    ON b.run_id = a.run_id AND b.member_of = a.member_of
    AND (b.aggregator = '', b.ordinal) > (a.aggregator = '', a.ordinal)
    AND (a.aggregator = a.member_of OR b.aggregator = b.member_of)
    AND a.first <= b.last AND b.first <= a.last
    {_STRETCHES}
    GROUP BY ALL
)
"""

_R02 = f"""
{_SHARED}
SELECT
    s.run_id, s.name_b, 'R02', 'E',
    format(
        '{{}} of its trains, such as {{}}, are also in {{}}, for {{}} sources such as {{}}',
        s.n_shared, s.train, s.name_a, count(*), min(n.name)
    ),
    s.aggregator, NULL
FROM shared AS s
JOIN layout_source AS x ON x.layout_id = s.layout_a AND x.legacy_of IS NULL
JOIN layout_source AS y ON y.layout_id = s.layout_b AND y.legacy_of IS NULL
AND y.section = x.section AND y.source_id = x.source_id
JOIN source AS n ON n.source_id = x.source_id
GROUP BY s.run_id, s.name_b, s.n_shared, s.train, s.name_a, s.aggregator
"""

_R03 = f"""
{_SHARED}
SELECT
    a.run_id, b.name, 'R03', 'E',
    CASE WHEN b.first <= a.last THEN format(
        'begins with train {{}}, but {{}} ends with train {{}}', b.first, a.name, a.last
    ) ELSE format(
        '{{}} trains are lost between {{}} and this file', b.first - a.last - 1, a.name
    ) END,
    b.aggregator, NULL
FROM near_file AS a
JOIN near_file AS b
ON b.run_id = a.run_id AND b.aggregator = a.aggregator AND b.sequence = a.sequence + 1
WHERE a.sound AND b.sound AND a.sequence >= 0 AND b.first <> a.last + 1
AND (a.run_id, a.ordinal, b.ordinal) NOT IN (SELECT (run_id, ordinal_a, ordinal_b) FROM shared)
"""

_R04 = """
WITH ends AS (
    SELECT
        run_id, aggregator, max(last) FILTER (sound) AS last, min(first) FILTER (sound) AS first,
        arg_max(sound, sequence) AS is_known
    FROM near_file WHERE aggregator <> '' GROUP BY run_id, aggregator HAVING count_if(sound) > 0
),
runs AS (
    SELECT
        run_id, list_sort(list(last))[count(*) // 2 + 1] AS most,
        max(last) - min(first) + 1 AS n_trains
    FROM ends WHERE is_known GROUP BY run_id
)
SELECT
    e.run_id, NULL, 'R04', 'W',
    format(
        'ends {} trains before most others ({:.0f} % of the run), with train {}',
        most - e.last, 100 * (most - e.last) / n_trains, e.last
    ),
    e.aggregator, NULL
FROM ends AS e JOIN runs AS r USING (run_id)
WHERE e.is_known
AND most - e.last > greatest($early_trains::DOUBLE, $early_share::DOUBLE * n_trains)
"""

_R05_ABSENT = """
WITH parts AS (
    SELECT run_id, aggregator, layout_id, count(*) AS n, min(name) AS name
    FROM near_file WHERE depth > 0 AND sequence >= 0 GROUP BY ALL
),
mixed AS (
    SELECT run_id, aggregator, sum(n) AS n_files FROM parts GROUP BY ALL HAVING count(*) > 1
),
listed AS (
    SELECT
        m.run_id, m.aggregator, l.section, l.source_id, any_value(n_files) AS n_files,
        sum(n) AS n_with, list(p.layout_id) AS layouts
    FROM mixed AS m JOIN parts AS p USING (run_id, aggregator)
    JOIN layout_source AS l ON l.layout_id = p.layout_id
    WHERE l.legacy_of IS NULL AND l.section IN ('CONTROL', 'INSTRUMENT')
    GROUP BY ALL HAVING sum(n) < any_value(n_files)
)
SELECT
    l.run_id, NULL, 'R05', 'W',
    format(
        'in {} of {} sequence files of ''{}'', and not in {}', n_with, n_files, l.aggregator,
        (SELECT min(p.name) FROM parts AS p
         WHERE p.run_id = l.run_id AND p.aggregator = l.aggregator
         AND NOT list_contains(l.layouts, p.layout_id))
    ),
    concat(l.section, '/', s.name), NULL
FROM listed AS l JOIN source AS s USING (source_id)
"""

# Sources that several aggregators have.
_MOVED = """
WITH parts AS (
    SELECT DISTINCT run_id, aggregator, layout_id FROM near_file
    WHERE depth > 0 AND aggregator <> ''
),
moved AS (
    SELECT p.run_id, l.section, l.source_id, list_sort(list(DISTINCT p.aggregator)) AS aggregators
    FROM parts AS p JOIN layout_source AS l USING (layout_id)
    WHERE l.legacy_of IS NULL AND l.section IN ('CONTROL', 'INSTRUMENT')
    GROUP BY ALL HAVING count(DISTINCT p.aggregator) > 1
)
"""

_R05_MOVED = f"""
{_MOVED}
SELECT
    m.run_id, NULL, 'R05', 'W',
    format(
        'written by {{}} aggregators: ''{{}}''',
        len(aggregators), array_to_string(aggregators, ', ')
    ),
    concat(m.section, '/', s.name), NULL
FROM moved AS m JOIN source AS s USING (source_id)
"""

_R02_MOVED = f"""
{_MOVED},
holders AS (
    SELECT m.section, m.source_id, f.*
    FROM moved AS m JOIN near_file AS f USING (run_id)
    JOIN layout_source AS l
    ON l.layout_id = f.layout_id AND l.section = m.section AND l.source_id = m.source_id
    AND l.legacy_of IS NULL
    WHERE f.sound
),
shared AS (
    SELECT
        a.run_id, a.section, a.source_id, a.name AS name_a, b.name AS name_b,
        {_COMMON_TRAINS}
    FROM holders AS a
    JOIN holders AS b
    ON b.run_id = a.run_id AND b.section = a.section AND b.source_id = a.source_id
    AND b.aggregator > a.aggregator AND a.first <= b.last AND b.first <= a.last
    {_STRETCHES}
    GROUP BY ALL
)
SELECT
    s.run_id, s.name_b, 'R02', 'E',
    format('{{}} of its trains, such as {{}}, are also in {{}}', n_shared, train, name_a),
    concat(s.section, '/', n.name), NULL
FROM shared AS s JOIN source AS n USING (source_id)
"""

_R09 = """
SELECT
    rs.run_id, NULL, 'R09', 'W',
    format('{} events recorded in {} trains', sum(rs.n_entries), max(rs.n_trains)),
    concat(rs.section, '/', s.name), NULL
FROM near_source AS rs JOIN source AS s USING (source_id) JOIN scope USING (run_id)
WHERE rs.section = 'ERRATA' AND rs.legacy_of IS NULL
GROUP BY rs.run_id, rs.section, s.name HAVING sum(rs.n_entries) > 0
"""

_T04 = """
WITH shares AS (
    SELECT run_id, ordinal, len(suspect) AS n_suspect, list_sum(lengths) AS n_trains
    FROM train_list
    WHERE run_id BETWEEN $first_run AND $last_run AND len(suspect) > 0
)
SELECT
    f.run_id, f.name, 'T04', 'W',
    format(
        '{} of {} trains are suspect ({:.0f} %)', n_suspect, n_trains, 100 * n_suspect / n_trains
    ),
    'INDEX/flag', NULL
FROM shares AS s
JOIN near_file AS f ON f.run_id = s.run_id AND f.train_list = s.ordinal
WHERE n_suspect > $suspect_share::DOUBLE * n_trains
"""

_T06 = """
WITH steps AS (
    SELECT
        run_id, first, first + n - 1 AS last, max(first + n - 1) OVER (
            PARTITION BY run_id ORDER BY first
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM near_stretch
)
SELECT
    run_id, NULL, 'T06', 'I',
    format(
        '{} trains are missing in {} gaps, the longest {} ({:.2f} % of {})',
        sum(first - reached - 1) FILTER (first > reached + 1), count_if(first > reached + 1),
        max(first - reached - 1),
        100 * sum(first - reached - 1) FILTER (first > reached + 1) / (max(last) - min(first) + 1),
        max(last) - min(first) + 1
    ),
    '', NULL
FROM steps GROUP BY run_id HAVING count_if(first > reached + 1) > 0
"""

# For R06 and P02: the modules of each run, with what each has of each index group. Runs with files
# that could not be read, other than those of slow data (DA...), are left out: their findings say
# why modules are missing.
DOUBTFUL_RUN = """
CREATE OR REPLACE TEMP TABLE doubtful_run AS
SELECT DISTINCT run_id FROM near_file WHERE NOT sound AND NOT starts_with(aggregator, 'DA')
"""
NEAR_MODULE = """
CREATE OR REPLACE TEMP TABLE near_module AS
SELECT
    rs.run_id, m.detector, m.family, m.kind, m.number, m.is_from_zero, rs.index_group, s.name,
    max(rs.n_trains) AS n_trains, max(rs.n_entries) AS n_entries
FROM near_source AS rs
JOIN module AS m USING (source_id)
JOIN source AS s USING (source_id)
WHERE rs.section = 'INSTRUMENT' AND rs.run_id NOT IN (SELECT run_id FROM doubtful_run)
GROUP BY ALL
"""

# A corrected run is compared with its raw run, by P02, and only without one with itself.
_MODULES = """
WITH modules AS (
    SELECT m.* FROM near_module AS m JOIN near AS r USING (run_id)
    WHERE r.in_scope AND (
        r.data_class IS NULL OR r.data_class = 'raw' OR NOT EXISTS (
            SELECT 1 FROM near AS o
            WHERE o.proposal = r.proposal AND o.run = r.run AND o.data_class = 'raw'
        )
    )
)
"""

_R06_MISSING = f"""
{_MODULES},
detectors AS (
    SELECT
        run_id, detector, family, min(number) AS lowest, max(number) AS highest,
        CASE WHEN bool_or(is_from_zero) OR min(number) = 0 THEN 0 ELSE 1 END AS base,
        list_sort(list(DISTINCT number)) AS numbers
    FROM modules
    GROUP BY run_id, detector, family
),
sized AS (
    SELECT d.detector, max(z.n_modules) AS n_modules
    FROM (SELECT DISTINCT detector FROM module) AS d
    JOIN (
        SELECT
            unnest($detector_parts::VARCHAR[]) AS part,
            unnest($detector_counts::INTEGER[]) AS n_modules
    ) AS z ON contains(d.detector, z.part) GROUP BY d.detector
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
UNEVEN = """
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
{_MODULES},
compared AS (
    SELECT
        *, quantile_disc(n_trains, 0.5) OVER w AS usual_trains,
        quantile_disc(n_entries, 0.5) OVER w AS usual_entries
    FROM modules
    WHERE n_trains IS NOT NULL
    WINDOW w AS (PARTITION BY run_id, family, index_group)
)
{UNEVEN.format(check="R06", severity="W", others="most modules have")}
"""

CHECKS_WITHIN_RUNS = (
    ("T04", _T04),
    ("T06", _T06),
    ("R01", _R01),
    ("R02", _R02),
    ("R02", _R02_MOVED),
    ("R03", _R03),
    ("R04", _R04),
    ("R05", _R05_ABSENT),
    ("R05", _R05_MOVED),
    ("R06", _R06_MISSING),
    ("R06", _R06_UNEVEN),
    ("R09", _R09),
)
