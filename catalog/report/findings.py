"""What is wrong at present, condensed until a person can read it?

``collect_findings`` makes two tables for a cursor: ``open_finding``, what is open of the runs that
are meant, and ``gone_finding``, what went lately; as the catalog has it or as an audit just found
it. The others are questions about these tables. Sums are made in SQL: over millions of
findings none leaves the database that is not shown. Waived findings are shown as such, and count
for nothing else.

1. ``condensed_findings``: one row for all findings alike in check, severity, message and place but
   for numbers and names (see ``condense``), with counts and an example.
2. ``counts_by_check``: findings, runs and proposals of each check; ``count_gone`` what is gone.
3. ``worst_runs``: the runs with most wrong, and how many findings they have.
4. ``checks_of_runs``: findings per run and check, of some runs; ``checks_of_proposals`` the runs
   that have them, per proposal and check.
5. ``findings_of_runs``: the findings of some runs, the worst first, so many of each.
6. ``facts_of_runs``: what names some runs, and more.
7. ``faulty_runs``: runs with errors, with warnings at worst, and all, per period.
8. ``latest_audits``: the audits that were made.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..audit.findings import PATTERN_SQL, TEMPLATE_SQL
from ..audit.waivers import WAIVED_SQL
from ..questions.execute import Sql, all_of, fetch, is_one_of, sql
from ..questions.filters import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = [
    "checks_of_proposals",
    "checks_of_runs",
    "collect_findings",
    "condensed_findings",
    "count_gone",
    "counts_by_check",
    "facts_of_runs",
    "faulty_runs",
    "findings_of_runs",
    "latest_audits",
    "worst_runs",
]

_COLUMNS = (
    *("run_id", "proposal", "check_id", "severity", "file", "place", "message", "path"),
    *("first_seen", "waived", "is_new"),
)
_RUN_NAMES = "run.run_id, run.proposal, run.run, run.data_class, run.loose_path, run.directory"
_RANK = "CASE severity WHEN 'E' THEN 0 WHEN 'W' THEN 1 ELSE 2 END"  # the worst first
_OF_AUDIT = """
CREATE OR REPLACE TEMP TABLE {table} AS
SELECT {columns}, status = 'new' AS is_new FROM found WHERE (status = 'resolved') = {gone}
"""
# New is what came with the last audit or after it, and gone what went then.
_OF_CATALOG = """
CREATE OR REPLACE TEMP TABLE {table} AS
WITH last AS (SELECT max(started_at) AS moment FROM audit)
SELECT
    f.run_id, f.proposal, f.check_id, f.severity, f.file, f.place, f.message, f.path, f.first_seen,
    ({waived}) AS waived, coalesce(f.first_seen >= last.moment, false) AS is_new
FROM ({chosen}) AS f, last
WHERE CASE WHEN {gone} THEN f.resolved_at >= last.moment ELSE f.resolved_at IS NULL END
"""
_TABLES = {"open_finding": "false", "gone_finding": "true"}


def collect_findings(
    cursor: "duckdb.DuckDBPyConnection",
    where: RunFilter,
    waivers: "pa.Table",
    found: "pa.Table | None" = None,
) -> None:
    """Make ``open_finding`` and ``gone_finding``: of the rows of an audit, else of the catalog's.

    ``waivers`` (see ``waiver_table``) are for the latter; what an audit found says itself what is
    waived. Without a filter, findings about no catalogued run are among them. Gone is what went
    since the audit before, or, in the catalog, since the last one began.
    """
    if found is not None:
        cursor.register("found", found)
        for table, gone in _TABLES.items():
            columns = ", ".join(_COLUMNS[:-1])
            fetch(cursor, _OF_AUDIT.format(table=table, columns=columns, gone=gone))
        cursor.unregister("found")
        return
    chosen = Sql("FROM findings")
    if where != ALL_RUNS:
        chosen = sql(
            "FROM findings WHERE run_id IN (SELECT run.run_id FROM run WHERE {filter})",
            filter=all_of(where.conditions()),
        )
    cursor.register("waiver", waivers)
    waived = WAIVED_SQL if waivers.num_rows else "NULL::VARCHAR"
    for table, gone in _TABLES.items():
        text = _OF_CATALOG.format(table=table, waived=waived, chosen=chosen.text, gone=gone)
        fetch(cursor, text, chosen.values)
    cursor.unregister("waiver")


def condensed_findings(*, gone: bool = False, limit: int | None = None) -> Sql:
    """Errors first, and of those the ones that most runs have; what is waived last.

    With ``gone``, those that are gone instead.

    With a limit no check is crowded out: the first of each go before the second of any.

    Columns: check_id, severity, waived (the reason), template (of the message), pattern (of the
    place), findings, new, files, runs, proposals, first_seen, of_all (how many rows there are
    without the limit), and the example: run_id (None for a finding about no run), path, place,
    message.
    """
    table = "gone_finding" if gone else "open_finding"
    size = "runs DESC, findings DESC, check_id, template, pattern"
    kind = f"waived IS NOT NULL, {_RANK}"
    # Each text is condensed once, however many findings have it.
    return sql(
        f"""WITH of_message AS (
            SELECT message, {{template}} AS template FROM (SELECT DISTINCT message FROM {table})
        ), of_place AS (
            SELECT place, {{pattern}} AS pattern FROM (SELECT DISTINCT place FROM {table})
        ), alike AS (
            SELECT check_id, severity, waived, template, pattern, count(*) AS findings,
                count(*) FILTER (is_new) AS new, count(DISTINCT hash(path)) AS files,
                count(DISTINCT run_id) AS runs, count(DISTINCT proposal) AS proposals,
                min(first_seen) AS first_seen, count(*) OVER () AS of_all,
                min(found.rowid) AS example
            FROM {table} AS found JOIN of_message ON of_message.message = found.message
            JOIN of_place ON of_place.place IS NOT DISTINCT FROM found.place
            GROUP BY check_id, severity, waived, template, pattern
        ), first AS (
            SELECT *, row_number() OVER (PARTITION BY {kind}, check_id ORDER BY {size}) AS in_check,
                row_number() OVER (ORDER BY {kind}, {size}) AS position
            FROM alike ORDER BY in_check, position {{limit}}
        )
        SELECT first.* EXCLUDE (example, in_check, position), found.run_id, found.path,
            found.place, found.message
        FROM first JOIN {table} AS found ON found.rowid = first.example ORDER BY position""",
        template=Sql(TEMPLATE_SQL),
        pattern=Sql(PATTERN_SQL),
        limit=_limited(limit),
    )


def counts_by_check() -> Sql:
    """Columns check_id, severity, findings, new, waived, runs, proposals.

    A check may have two severities. All but ``waived`` are of what is not waived.
    """
    return Sql(
        """SELECT check_id, severity, count(*) FILTER (waived IS NULL) AS findings,
            count(*) FILTER (waived IS NULL AND is_new) AS new, count(waived) AS waived,
            count(DISTINCT run_id) FILTER (waived IS NULL) AS runs,
            count(DISTINCT proposal) FILTER (waived IS NULL) AS proposals
        FROM open_finding GROUP BY check_id, severity ORDER BY check_id, severity"""
    )


def count_gone() -> Sql:
    """One row with ``gone``: how many findings are gone."""
    return Sql("SELECT count(*) AS gone FROM gone_finding")


def worst_runs(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> Sql:
    """The runs where most checks find errors, then warnings, then anything, then the latest.

    Columns: run_id, proposal, run, data_class, loose_path, directory, instrument, n_files, bytes,
    n_trains, started_at, errors, warnings, infos, and faulty (how many runs have findings).
    """
    return sql(
        f"""WITH of_run AS (
            SELECT run_id, count(DISTINCT check_id) FILTER (severity = 'E') AS checks_E,
                count(DISTINCT check_id) FILTER (severity = 'W') AS checks_W,
                count(*) FILTER (severity = 'E') AS errors,
                count(*) FILTER (severity = 'W') AS warnings,
                count(*) FILTER (severity = 'I') AS infos
            FROM open_finding WHERE waived IS NULL GROUP BY run_id
        )
        SELECT {_RUN_NAMES}, instrument, n_files, bytes, n_trains, started_at,
            coalesce(errors, 0) AS errors, coalesce(warnings, 0) AS warnings,
            coalesce(infos, 0) AS infos, count(of_run.run_id) OVER () AS faulty
        FROM run LEFT JOIN of_run ON of_run.run_id = run.run_id WHERE {{filter}}
        ORDER BY coalesce(checks_E, 0) DESC, coalesce(checks_W, 0) DESC, of_run.run_id IS NULL,
            coalesce(started_at, newest_mtime) DESC NULLS LAST, run.run_id {{limit}}""",
        filter=all_of(where.conditions()),
        limit=_limited(limit),
    )


def checks_of_runs(run_ids: Iterable[int]) -> Sql:
    """Columns run_id, check_id, severity, findings."""
    return sql(
        "SELECT run_id, check_id, severity, count(*) AS findings FROM open_finding"
        " WHERE waived IS NULL AND {these} GROUP BY ALL ORDER BY ALL",
        these=is_one_of("run_id", list(run_ids)),
    )


def checks_of_proposals() -> Sql:
    """Columns proposal (None for loose runs), check_id, severity, runs, findings."""
    return Sql(
        """SELECT proposal, check_id, severity, count(DISTINCT run_id) AS runs,
            count(*) AS findings
        FROM open_finding WHERE run_id IS NOT NULL AND waived IS NULL
        GROUP BY proposal, check_id, severity ORDER BY proposal, check_id, severity"""
    )


def findings_of_runs(run_ids: Iterable[int], *, limit: int) -> Sql:
    """Columns run_id, check_id, severity, waived, file, place, message, first_seen, of_all.

    Of each run ``limit`` rows at most; ``of_all`` is how many it has.
    """
    return sql(
        f"""SELECT * EXCLUDE (place_in_run) FROM (
            SELECT run_id, check_id, severity, waived, file, place, message, first_seen,
                count(*) OVER (PARTITION BY run_id) AS of_all,
                row_number() OVER (
                    PARTITION BY run_id
                    ORDER BY waived IS NOT NULL, {_RANK}, check_id, file, place
                ) AS place_in_run
            FROM open_finding WHERE {{these}}
        ) WHERE place_in_run <= {{limit}} ORDER BY run_id, place_in_run""",
        these=is_one_of("run_id", list(run_ids)),
        limit=limit,
    )


def facts_of_runs(run_ids: Iterable[int]) -> Sql:
    """The names and facts of some runs.

    Columns run_id, proposal, run, data_class, loose_path, directory, cycle, format_version,
    started_at, ended_at, ingested_at, n_files_missing, n_suspect_trains.
    """
    return sql(
        f"""SELECT {_RUN_NAMES}, cycle, format_version, started_at, ended_at, ingested_at,
            n_files_missing, n_suspect_trains
        FROM run WHERE {{these}} ORDER BY run_id""",
        these=is_one_of("run.run_id", list(run_ids)),
    )


def faulty_runs(per: str, where: RunFilter = ALL_RUNS) -> Sql:
    """Columns period, runs, with_errors, with_warnings (and no errors); undated runs left out."""
    return sql(
        f"""WITH worst AS (
            SELECT run_id, min({_RANK}) AS rank FROM open_finding WHERE waived IS NULL
            GROUP BY run_id
        )
        SELECT date_trunc({{per}}, coalesce(started_at, newest_mtime))::DATE AS period,
            count(*) AS runs, count(*) FILTER (rank = 0) AS with_errors,
            count(*) FILTER (rank = 1) AS with_warnings
        FROM run LEFT JOIN worst ON worst.run_id = run.run_id
        WHERE coalesce(started_at, newest_mtime) IS NOT NULL AND {{filter}}
        GROUP BY 1 ORDER BY 1""",
        per=per,
        filter=all_of(where.conditions()),
    )


def latest_audits(limit: int) -> Sql:
    """The columns of the view ``audits`` that say how it went, the latest first."""
    return sql(
        """SELECT started_at, seconds, scope, n_runs, n_files, n_errors, n_warnings, n_infos, n_new,
            n_resolved
        FROM audit ORDER BY started_at DESC LIMIT {limit}""",
        limit=limit,
    )


def _limited(limit: int | None) -> Sql:
    return Sql("") if limit is None else sql("LIMIT {limit}", limit=limit)
