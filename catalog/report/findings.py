"""The questions of the report about findings, as fixed SQL over a few temporary tables.

``collect_findings`` makes the tables ``reported``, ``open_finding``, ``judged_run`` and
``error_history``, of the runs of ``scope``; the statements ask them. Sums are made in SQL: over
millions of findings none leaves the database that the page does not show. Waived findings are shown
as such, and count for nothing else.
"""

from ..audit.earlier import LAST_COVERED
from ..audit.findings import PATTERN_SQL, RANK_SQL, TEMPLATE_SQL
from ..audit.run_checks import execute
from ..audit.waivers import WAIVED_SQL
from ..questions.execute import Table
from ..store.connections import Cursor

_OF_AUDIT = """
CREATE OR REPLACE TEMP TABLE reported AS
SELECT
    run_id, proposal, check_id, severity, file, place, message, path, first_seen, waived,
    status = 'new' AND NOT $is_first AS is_new, status = 'resolved' AS is_gone
FROM found
"""
# New is what the last audit found new, or came after it; gone is what went then. What the first
# audit found is no news.
_OF_CATALOG = f"""
CREATE OR REPLACE TEMP TABLE reported AS
WITH last AS (
    SELECT max(started_at) AS moment,
        CASE WHEN (SELECT count(*) FROM covered_run) = 0 THEN moment ELSE '-infinity' END AS unless
    FROM audit
),
pair AS (SELECT DISTINCT coalesce(run_id, 0) AS run_id, check_id FROM finding),
covered AS ({LAST_COVERED})
SELECT
    f.run_id, f.proposal, f.check_id, f.severity, f.file, f.place, f.message, f.path, f.first_seen,
    ({{waived}}) AS waived,
    coalesce(f.first_seen > coalesce(c.moment, last.unless), false) AS is_new,
    f.resolved_at IS NOT NULL AS is_gone
FROM findings AS f CROSS JOIN last
LEFT JOIN covered AS c ON c.run_id = coalesce(f.run_id, 0) AND c.check_id = f.check_id
WHERE (f.resolved_at IS NULL OR f.resolved_at >= last.moment)
AND ($all_runs OR f.run_id IN (SELECT run_id FROM scope))
"""
# Errors of any time, to count at the time of earlier audits; what is waived now never was one.
_HISTORY = """
CREATE OR REPLACE TEMP TABLE error_history AS
SELECT f.run_id, f.instrument, f.first_seen, f.resolved_at FROM findings AS f
WHERE f.severity = 'E' AND f.run_id IN (SELECT run_id FROM scope) AND ({waived}) IS NULL
"""
_OPEN = """
CREATE OR REPLACE TEMP VIEW open_finding AS FROM reported WHERE NOT is_gone
"""

# What each run of the scope has of findings that are not waived.
_JUDGED_RUN = """
CREATE OR REPLACE TEMP TABLE judged_run AS
SELECT
    run_id, count(DISTINCT check_id) FILTER (severity = 'E') AS checks_with_errors,
    count(DISTINCT check_id) FILTER (severity = 'W') AS checks_with_warnings,
    count(*) FILTER (severity = 'E') AS errors, count(*) FILTER (severity = 'W') AS warnings,
    count(*) FILTER (severity = 'I') AS infos, count(check_id) > 0 AS is_faulty
FROM scope LEFT JOIN (FROM open_finding WHERE waived IS NULL) USING (run_id) GROUP BY run_id
"""
_SUMMED = (
    *("files", "files_missing", "bytes", "trains", "errors", "warnings", "infos"),
    *("with_errors", "with_warnings"),
)


def collect_findings(
    cursor: Cursor,
    waivers: Table,
    found: "Table | None" = None,
    *,
    is_first: bool = False,
    all_runs: bool = False,
) -> None:
    """Make the tables of findings: of the rows of an audit, else of the catalog's.

    ``waivers`` (see ``waiver_table``) apply to the latter, and to the history; the rows of an audit
    say themselves what is waived, and with ``is_first`` nothing is new. With ``all_runs``, findings
    about no catalogued run are among them. Gone is what went since the audit before, or, in the
    catalog, since the last one began. ``cover`` has made its tables, of the audits before the last.
    """
    cursor.register("waiver", waivers)
    waived = WAIVED_SQL if waivers.num_rows else "NULL::VARCHAR"
    execute(cursor, _HISTORY.format(waived=waived))
    if found is None:
        execute(cursor, _OF_CATALOG.format(waived=waived), {"all_runs": all_runs})
    else:
        cursor.register("found", found)
        execute(cursor, _OF_AUDIT, {"is_first": is_first})
        cursor.unregister("found")
    cursor.unregister("waiver")
    execute(cursor, _OPEN)
    execute(cursor, _JUDGED_RUN)


# One row for all findings alike in check, severity, template of the message and pattern of the
# place, with counts and an example: errors first, and of those what most runs have; what is waived
# last. $limit crowds out no check: the first of each go before the second of any. Each text is
# condensed once, however many findings have it.
CONDENSED = f"""
WITH chosen AS (
    SELECT *, rowid AS number FROM reported WHERE is_gone = $is_gone
),
message AS (
    SELECT message, {TEMPLATE_SQL} AS template FROM (SELECT DISTINCT message FROM chosen)
),
place AS (
    SELECT place, {PATTERN_SQL} AS pattern FROM (SELECT DISTINCT place FROM chosen)
),
alike AS (
    SELECT
        f.check_id, f.severity, f.waived, m.template, p.pattern, count(*) AS findings,
        count_if(f.is_new) AS new, count(DISTINCT hash(f.path)) AS files,
        count(DISTINCT f.run_id) AS runs, count(DISTINCT f.proposal) AS proposals,
        min(f.first_seen) AS first_seen, min(f.number) AS example
    FROM chosen AS f
    JOIN message AS m ON m.message = f.message
    JOIN place AS p ON p.place IS NOT DISTINCT FROM f.place
    GROUP BY f.check_id, f.severity, f.waived, m.template, p.pattern
),
ranked AS (
    SELECT
        *, count(*) OVER () AS of_all,
        row_number() OVER (
            PARTITION BY waived IS NOT NULL, check_id, severity
            ORDER BY runs DESC, findings DESC, template, pattern
        ) AS place_in_check,
        row_number() OVER (
            ORDER BY
                waived IS NOT NULL, {RANK_SQL}, runs DESC, findings DESC, check_id, template,
                pattern
        ) AS position
    FROM alike
),
shown AS (
    FROM ranked ORDER BY place_in_check, position LIMIT $limit
)
SELECT
    s.* EXCLUDE (example, place_in_check, position), e.run_id, e.path, e.place, e.message
FROM shown AS s JOIN reported AS e ON e.rowid = s.example
ORDER BY s.position
"""

COUNT_GONE = "SELECT count(*) AS gone FROM reported WHERE is_gone"

# A check may have two severities. All counts but ``waived`` are of what is not waived.
COUNTS_BY_CHECK = """
SELECT
    check_id, severity,
    count(*) FILTER (waived IS NULL) AS findings,
    count(*) FILTER (waived IS NULL AND is_new) AS new,
    count(waived) AS waived,
    count(DISTINCT run_id) FILTER (waived IS NULL) AS runs,
    count(DISTINCT proposal) FILTER (waived IS NULL) AS proposals
FROM open_finding GROUP BY check_id, severity ORDER BY check_id, severity
"""

# By check, its worst severity in a run or proposal, and how many findings or runs.
_WORST = f"arg_min(severity, {RANK_SQL}) AS severity"
CHECKS_OF_RUNS = f"""
SELECT run_id AS subject, check_id, {_WORST}, count(*) AS n FROM open_finding
WHERE waived IS NULL AND run_id IN (SELECT unnest($run_ids::UBIGINT[]))
GROUP BY run_id, check_id ORDER BY run_id, check_id
"""
CHECKS_OF_PROPOSALS = f"""
SELECT proposal AS subject, check_id, {_WORST}, count(DISTINCT run_id) AS n FROM open_finding
WHERE waived IS NULL AND run_id IS NOT NULL
GROUP BY proposal, check_id ORDER BY proposal, check_id
"""

# All loose runs are one proposal, NULL. Those with most errors first.
PROPOSALS = """
SELECT
    r.proposal, first(r.instrument ORDER BY run_id) AS instrument,
    first(r.cycle ORDER BY run_id) AS cycle, count(*) AS runs, sum(n_files)::BIGINT AS files,
    sum(n_files_missing)::BIGINT AS files_missing, coalesce(sum(bytes), 0)::BIGINT AS bytes,
    coalesce(sum(n_trains), 0)::BIGINT AS trains,
    sum(errors)::BIGINT AS errors, sum(warnings)::BIGINT AS warnings, sum(infos)::BIGINT AS infos,
    count_if(errors > 0) AS with_errors, count_if(errors = 0 AND warnings > 0) AS with_warnings,
    max(ended_at) AS last_data
FROM run AS r JOIN judged_run AS j USING (run_id)
GROUP BY r.proposal ORDER BY errors DESC, warnings DESC, bytes DESC, min(run_id)
"""

INSTRUMENTS = f"""
SELECT
    instrument, count(proposal) AS proposals, sum(runs)::BIGINT AS runs,
    {", ".join(f"sum({name})::BIGINT AS {name}" for name in _SUMMED)}
FROM ({PROPOSALS}) GROUP BY instrument ORDER BY instrument NULLS LAST
"""

# The runs where most checks find errors, then warnings, then anything, then the latest;
# ``faulty`` is how many runs have findings.
WORST_RUNS = """
SELECT
    r.run_id, r.proposal, r.run, r.data_class, r.loose_path, r.directory, r.instrument,
    r.started_at, count(*) FILTER (is_faulty) OVER () AS faulty
FROM run AS r JOIN judged_run USING (run_id)
ORDER BY
    checks_with_errors DESC, checks_with_warnings DESC, is_faulty DESC,
    coalesce(r.started_at, r.newest_mtime) DESC NULLS LAST, r.run_id
LIMIT $limit
"""

# The worst findings of each run, $limit of them at most; ``of_all`` is how many it has.
FINDINGS_OF_RUNS = f"""
WITH ranked AS (
    SELECT
        run_id, check_id, severity, waived, file, place, message, first_seen,
        count(*) OVER (PARTITION BY run_id) AS of_all,
        row_number() OVER (
            PARTITION BY run_id
            ORDER BY waived IS NOT NULL, {RANK_SQL}, check_id, file, place
        ) AS position
    FROM open_finding WHERE run_id IN (SELECT unnest($run_ids::UBIGINT[]))
)
SELECT * EXCLUDE (position) FROM ranked WHERE position <= $limit ORDER BY run_id, position
"""

FACTS_OF_RUNS = """
SELECT
    run_id, proposal, run, data_class, loose_path, directory, cycle, format_version, started_at,
    ended_at, ingested_at, n_files_missing, n_suspect_trains
FROM run WHERE run_id IN (SELECT unnest($run_ids::UBIGINT[])) ORDER BY run_id
"""

# Runs, their bytes, and the worst that was found in each, per day, month or year and data class;
# undated runs are left out.
PERIODS = """
SELECT
    strftime(coalesce(r.started_at, r.newest_mtime), $format::VARCHAR) AS period,
    coalesce(r.data_class, '') AS data_class, coalesce(sum(r.bytes), 0)::BIGINT AS bytes,
    count(*) AS runs, count_if(errors > 0) AS with_errors,
    count_if(warnings > 0 AND errors = 0) AS with_warnings
FROM run AS r JOIN judged_run USING (run_id)
WHERE coalesce(r.started_at, r.newest_mtime) IS NOT NULL
GROUP BY ALL ORDER BY period, data_class
"""

# How the latest audits went.
LATEST_AUDITS = """
SELECT
    started_at, seconds, scope, n_runs, n_files, n_errors, n_warnings, n_infos, n_new, n_resolved
FROM audit ORDER BY started_at DESC LIMIT $limit
"""
