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

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..audit.findings import PATTERN_SQL, TEMPLATE_SQL
from ..audit.waivers import WAIVED_SQL
from ..questions.execute import fetch, to_sql
from ..questions.filters import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery, TableClause

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
_RUN_NAMES = ("run_id", "proposal", "run", "data_class", "loose_path", "directory")
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
    from sqlalchemy import select

    from ..store.schema import findings_view, run

    if found is not None:
        cursor.register("found", found)
        for table, gone in _TABLES.items():
            columns = ", ".join(_COLUMNS[:-1])
            fetch(cursor, _OF_AUDIT.format(table=table, columns=columns, gone=gone))
        cursor.unregister("found")
        return
    statement = select(findings_view)
    if where != ALL_RUNS:
        chosen = select(run.c.run_id).where(*where.conditions(run))
        statement = statement.where(findings_view.c.run_id.in_(chosen))
    sql, values = to_sql(statement)
    cursor.register("waiver", waivers)
    waived = WAIVED_SQL if waivers.num_rows else "NULL::VARCHAR"
    for table, gone in _TABLES.items():
        text = _OF_CATALOG.format(table=table, waived=waived, chosen=sql, gone=gone)
        fetch(cursor, text, values)
    cursor.unregister("waiver")


def condensed_findings(*, gone: bool = False, limit: int | None = None) -> "SelectBase":
    """Errors first, and of those the ones that most runs have; what is waived last.

    With ``gone``, those that are gone instead.

    With a limit no check is crowded out: the first of each go before the second of any.

    Columns: check_id, severity, waived (the reason), template (of the message), pattern (of the
    place), findings, new, files, runs, proposals, first_seen, of_all (how many rows there are
    without the limit), and the example: run_id (None for a finding about no run), path, place,
    message.
    """
    from sqlalchemy import func, select

    # Each text is condensed once, however many findings have it.
    open_ = _findings("gone_finding" if gone else "open_finding")
    of_message = _condensed_texts(open_.c.message, TEMPLATE_SQL, "template")
    of_place = _condensed_texts(open_.c.place, PATTERN_SQL, "pattern")
    alike = [
        open_.c.check_id,
        open_.c.severity,
        open_.c.waived,
        of_message.c.template,
        of_place.c.pattern,
    ]
    groups = (
        select(
            *alike,
            func.count().label("findings"),
            func.count().filter(open_.c.is_new).label("new"),
            func.count(func.hash(open_.c.path).distinct()).label("files"),
            func.count(open_.c.run_id.distinct()).label("runs"),
            func.count(open_.c.proposal.distinct()).label("proposals"),
            func.min(open_.c.first_seen).label("first_seen"),
            func.count().over().label("of_all"),
            func.min(open_.c.rowid).label("example"),
        )
        .select_from(open_)
        .join(of_message, of_message.c.message == open_.c.message)
        .join(of_place, of_place.c.place.is_not_distinct_from(open_.c.place))
        .group_by(*alike)
        .subquery("alike")
    )
    size = [groups.c.runs.desc(), groups.c.findings.desc(), groups.c.check_id]
    size += [groups.c.template, groups.c.pattern]
    kind = [groups.c.waived.is_not(None), _rank(groups.c.severity)]
    of_check = [*kind, groups.c.check_id]
    place = func.row_number().over(partition_by=of_check, order_by=size).label("place_in_check")
    position = func.row_number().over(order_by=[*kind, *size])
    ranked = select(groups, place, position.label("position")).subquery("ranked")
    order = [ranked.c.place_in_check, ranked.c.position]
    first = select(ranked).order_by(*order).limit(limit).subquery("first")
    example = open_.alias("example")
    left_out = ("example", "place_in_check", "position")
    columns = [c for c in first.c if c.name not in left_out]
    parts = [example.c[name] for name in ("run_id", "path", "place", "message")]
    same = example.c.rowid == first.c.example
    return (
        select(*columns, *parts).select_from(first).join(example, same).order_by(first.c.position)
    )


def counts_by_check() -> "SelectBase":
    """Columns check_id, severity, findings, new, waived, runs, proposals.

    A check may have two severities. All but ``waived`` are of what is not waived.
    """
    from sqlalchemy import func, select

    open_ = _findings()
    counts = open_.c.waived.is_(None)
    return (
        select(
            open_.c.check_id,
            open_.c.severity,
            func.count().filter(counts).label("findings"),
            func.count().filter(counts, open_.c.is_new).label("new"),
            func.count(open_.c.waived).label("waived"),
            func.count(open_.c.run_id.distinct()).filter(counts).label("runs"),
            func.count(open_.c.proposal.distinct()).filter(counts).label("proposals"),
        )
        .group_by(open_.c.check_id, open_.c.severity)
        .order_by(open_.c.check_id, open_.c.severity)
    )


def count_gone() -> "SelectBase":
    """One row with ``gone``: how many findings are gone."""
    from sqlalchemy import func, select

    return select(func.count().label("gone")).select_from(_findings("gone_finding"))


def worst_runs(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> "SelectBase":
    """The runs where most checks find errors, then warnings, then anything, then the latest.

    Columns: run_id, proposal, run, data_class, loose_path, directory, instrument, n_files, bytes,
    n_trains, started_at, errors, warnings, infos, and faulty (how many runs have findings).
    """
    from sqlalchemy import case, func, select

    from ..store.schema import run

    open_ = _findings()

    def checks(severity: str) -> "ColumnElement[Any]":
        of_this = case((open_.c.severity == severity, open_.c.check_id), else_=None)
        return func.count(of_this.distinct()).label(f"checks_{severity}")

    of_run = (
        select(
            open_.c.run_id,
            checks("E"),
            checks("W"),
            *(
                func.count().filter(open_.c.severity == letter).label(name)
                for letter, name in (("E", "errors"), ("W", "warnings"), ("I", "infos"))
            ),
        )
        .where(open_.c.waived.is_(None))
        .group_by(open_.c.run_id)
        .subquery("of_run")
    )
    names = (*_RUN_NAMES, "instrument", "n_files", "bytes", "n_trains", "started_at")
    counts = [func.coalesce(of_run.c[n], 0).label(n) for n in ("errors", "warnings", "infos")]
    return (
        select(
            *(run.c[name] for name in names),
            *counts,
            func.count(of_run.c.run_id).over().label("faulty"),
        )
        .select_from(run)
        .join(of_run, of_run.c.run_id == run.c.run_id, isouter=True)
        .where(*where.conditions(run))
        .order_by(
            func.coalesce(of_run.c.checks_E, 0).desc(),
            func.coalesce(of_run.c.checks_W, 0).desc(),
            of_run.c.run_id.is_(None),
            func.coalesce(run.c.started_at, run.c.newest_mtime).desc().nulls_last(),
            run.c.run_id,
        )
        .limit(limit)
    )


def checks_of_runs(run_ids: Sequence[int]) -> "SelectBase":
    """Columns run_id, check_id, severity, findings."""
    from sqlalchemy import func, select

    open_ = _findings()
    groups = [open_.c.run_id, open_.c.check_id, open_.c.severity]
    return (
        select(*groups, func.count().label("findings"))
        .where(open_.c.run_id.in_(run_ids), open_.c.waived.is_(None))
        .group_by(*groups)
        .order_by(*groups)
    )


def checks_of_proposals() -> "SelectBase":
    """Columns proposal (None for loose runs), check_id, severity, runs, findings."""
    from sqlalchemy import func, select

    open_ = _findings()
    groups = [open_.c.proposal, open_.c.check_id, open_.c.severity]
    return (
        select(
            *groups,
            func.count(open_.c.run_id.distinct()).label("runs"),
            func.count().label("findings"),
        )
        .where(open_.c.run_id.is_not(None), open_.c.waived.is_(None))
        .group_by(*groups)
        .order_by(*groups)
    )


def findings_of_runs(run_ids: Sequence[int], *, limit: int) -> "SelectBase":
    """Columns run_id, check_id, severity, waived, file, place, message, first_seen, of_all.

    Of each run ``limit`` rows at most; ``of_all`` is how many it has.
    """
    from sqlalchemy import func, select

    open_ = _findings()
    order = [open_.c.waived.is_not(None), _rank(open_.c.severity), open_.c.check_id, open_.c.file]
    names = ("run_id", "check_id", "severity", "waived", "file", "place", "message", "first_seen")
    ranked = (
        select(
            *(open_.c[name] for name in names),
            func.count().over(partition_by=open_.c.run_id).label("of_all"),
            func.row_number()
            .over(partition_by=open_.c.run_id, order_by=[*order, open_.c.place])
            .label("at"),
        )
        .where(open_.c.run_id.in_(run_ids))
        .subquery("ranked")
    )
    columns = [c for c in ranked.c if c.name != "at"]
    return select(*columns).where(ranked.c.at <= limit).order_by(ranked.c.run_id, ranked.c.at)


def facts_of_runs(run_ids: Iterable[int]) -> "SelectBase":
    """What names some runs, and what is told of one that is looked at.

    Columns run_id, proposal, run, data_class, loose_path, directory, cycle, format_version,
    started_at, ended_at, ingested_at, n_files_missing, n_suspect_trains.
    """
    from sqlalchemy import select

    from ..store.schema import run

    names = (*_RUN_NAMES, "cycle", "format_version", "started_at", "ended_at", "ingested_at")
    columns = [run.c[name] for name in (*names, "n_files_missing", "n_suspect_trains")]
    return select(*columns).where(run.c.run_id.in_(list(run_ids))).order_by(run.c.run_id)


def faulty_runs(per: str, where: RunFilter = ALL_RUNS) -> "SelectBase":
    """Columns period, runs, with_errors, with_warnings (and no errors); undated runs left out."""
    from sqlalchemy import Date, cast, func, select

    from ..store.schema import run

    open_ = _findings()
    worst = (
        select(open_.c.run_id, func.min(_rank(open_.c.severity)).label("rank"))
        .where(open_.c.waived.is_(None))
        .group_by(open_.c.run_id)
        .subquery("worst")
    )
    when = func.coalesce(run.c.started_at, run.c.newest_mtime)
    period = cast(func.date_trunc(per, when), Date).label("period")
    return (
        select(
            period,
            func.count().label("runs"),
            func.count().filter(worst.c.rank == 0).label("with_errors"),
            func.count().filter(worst.c.rank == 1).label("with_warnings"),
        )
        .select_from(run)
        .join(worst, worst.c.run_id == run.c.run_id, isouter=True)
        .where(when.is_not(None), *where.conditions(run))
        .group_by(period)
        .order_by(period)
    )


def latest_audits(limit: int) -> "SelectBase":
    """The columns of the view ``audits`` that say how it went, the latest first."""
    from sqlalchemy import select

    from ..store.schema import audit

    names = ["started_at", "seconds", "scope", "n_runs", "n_files", "n_errors", "n_warnings"]
    names += ["n_infos", "n_new", "n_resolved"]
    columns: Select[Any] = select(*(audit.c[name] for name in names))
    return columns.order_by(audit.c.started_at.desc()).limit(limit)


def _findings(name: str = "open_finding") -> "TableClause":
    from sqlalchemy import column, table

    return table(name, *map(column, (*_COLUMNS, "rowid")))


def _condensed_texts(text: "ColumnElement[Any]", condense: str, name: str) -> "Subquery":
    """The distinct texts of a column of findings, and what is left of each without its numbers."""
    from sqlalchemy import literal_column, select

    texts = select(text).distinct().subquery("texts")
    return select(texts, literal_column(condense).label(name)).subquery(name)


def _rank(severity: "ColumnElement[Any]") -> "ColumnElement[Any]":
    from sqlalchemy import case

    return case((severity == "E", 0), (severity == "W", 1), else_=2)
