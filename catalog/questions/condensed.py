"""What is wrong at present, condensed until a person can read it?

Open findings only, of the runs that are meant; without a filter also those about no catalogued run.
Sums are made in SQL: over millions of findings none leaves the database that is not shown.

1. ``condensed_findings``: one row for all findings alike in check, severity, message and place but
   for numbers and quoted names, with counts and an example.
2. ``counts_by_check``: findings, runs and proposals of each check.
3. ``worst_runs``: the runs with most wrong, and how many findings they have.
4. ``checks_of_runs``: findings per run and check, of some runs; ``checks_of_proposals`` the runs
   that have them, per proposal and check.
5. ``findings_of_runs``: the findings of some runs, the worst first, so many of each.
6. ``names_of_runs``: what names some runs.
7. ``faulty_runs``: runs with errors, with warnings at worst, and all, per period.
8. ``latest_audits``: the audits that were made.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .run_filter import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery

__all__ = [
    "checks_of_proposals",
    "checks_of_runs",
    "condensed_findings",
    "counts_by_check",
    "faulty_runs",
    "findings_of_runs",
    "latest_audits",
    "names_of_runs",
    "worst_runs",
]

# What may differ between findings that are alike (RE2): quoted names, numbers, runs and proposals.
# The digits of words (HDF5, f4) are none of these.
_QUOTED = r"'[^']*'"
_NUMBER = r"\b[pr]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?\b"
_DIGITS = r"[0-9]+"


def condensed_findings(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> "SelectBase":
    """Errors first, and of those the ones that most runs have.

    Columns: check_id, severity, template, pattern (of the place), findings, files, runs, proposals,
    first_seen, last_seen, of_all (how many rows there are without the limit), and the example:
    run_id (None for a finding about no run), place, message, path.
    """
    from sqlalchemy import String, cast, func, select

    open_ = _open_findings(where)
    unquoted = func.regexp_replace(open_.c.message, _QUOTED, "'…'", "g")
    template = func.regexp_replace(unquoted, _NUMBER, "N", "g").label("template")
    pattern = func.regexp_replace(func.coalesce(open_.c.place, ""), _DIGITS, "*", "g")
    alike = [open_.c.check_id, open_.c.severity, template, pattern.label("pattern")]
    # One list, so that all parts of the example are of one finding; the smallest, to be stable.
    run_id = func.coalesce(cast(open_.c.run_id, String), "")
    example = func.min(func.list_value(run_id, open_.c.path, open_.c.place, open_.c.message))
    groups = (
        select(
            *alike,
            func.count().label("findings"),
            func.count(open_.c.path.distinct()).label("files"),
            func.count(open_.c.run_id.distinct()).label("runs"),
            func.count(open_.c.proposal.distinct()).label("proposals"),
            func.min(open_.c.first_seen).label("first_seen"),
            func.max(open_.c.last_seen).label("last_seen"),
            func.count().over().label("of_all"),
            example.label("example"),
        )
        .group_by(*alike)
        .subquery("alike")
    )
    part = groups.c.example
    columns = [c for c in groups.c if c.name != "example"]
    parts = [
        func.list_extract(part, at).label(name)
        for at, name in ((1, "run_id"), (2, "path"), (3, "place"), (4, "message"))
    ]
    return (
        select(*columns, *parts)
        .order_by(_rank(groups.c.severity), groups.c.runs.desc(), groups.c.findings.desc())
        .order_by(groups.c.check_id, groups.c.template, groups.c.pattern)
        .limit(limit)
    )


def counts_by_check(where: RunFilter = ALL_RUNS) -> "SelectBase":
    """Columns check_id, severity, findings, runs, proposals; a check may have two severities."""
    from sqlalchemy import func, select

    open_ = _open_findings(where)
    return (
        select(
            open_.c.check_id,
            open_.c.severity,
            func.count().label("findings"),
            func.count(open_.c.run_id.distinct()).label("runs"),
            func.count(open_.c.proposal.distinct()).label("proposals"),
        )
        .group_by(open_.c.check_id, open_.c.severity)
        .order_by(open_.c.check_id, open_.c.severity)
    )


def worst_runs(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> "SelectBase":
    """The runs where most checks find errors, then warnings, then the latest.

    Columns: those of a run (run_id, proposal, run, data_class, instrument, cycle, loose_path,
    directory, n_files, n_files_missing, bytes, n_trains, n_suspect_trains, started_at, ended_at,
    newest_mtime, format_version, ingested_at) and errors, warnings, infos, and faulty (how many
    runs have findings).
    """
    from sqlalchemy import case, func, select

    from ..store.schema import finding, run

    def checks(severity: str) -> "ColumnElement[Any]":
        of_this = case((finding.c.severity == severity, finding.c.check_id), else_=None)
        return func.count(of_this.distinct()).label(f"checks_{severity}")

    of_run = (
        select(
            finding.c.run_id,
            checks("E"),
            checks("W"),
            *(
                func.count().filter(finding.c.severity == letter).label(name)
                for letter, name in (("E", "errors"), ("W", "warnings"), ("I", "infos"))
            ),
        )
        .where(finding.c.resolved_at.is_(None))
        .group_by(finding.c.run_id)
        .subquery("of_run")
    )
    names = ["run_id", "proposal", "run", "data_class", "instrument", "cycle", "loose_path"]
    names += ["directory", "n_files", "n_files_missing", "bytes", "n_trains", "n_suspect_trains"]
    names += ["started_at", "ended_at", "newest_mtime", "format_version", "ingested_at"]
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
            func.coalesce(run.c.started_at, run.c.newest_mtime).desc().nulls_last(),
            run.c.run_id,
        )
        .limit(limit)
    )


def checks_of_runs(run_ids: Sequence[int]) -> "SelectBase":
    """Columns run_id, check_id, severity, findings."""
    from sqlalchemy import func, select

    from ..store.schema import finding

    groups = [finding.c.run_id, finding.c.check_id, finding.c.severity]
    return (
        select(*groups, func.count().label("findings"))
        .where(finding.c.run_id.in_(run_ids), finding.c.resolved_at.is_(None))
        .group_by(*groups)
        .order_by(*groups)
    )


def checks_of_proposals(where: RunFilter = ALL_RUNS) -> "SelectBase":
    """Columns proposal (None for loose runs), check_id, severity, runs, findings."""
    from sqlalchemy import func, select

    open_ = _open_findings(where)
    groups = [open_.c.proposal, open_.c.check_id, open_.c.severity]
    return (
        select(
            *groups,
            func.count(open_.c.run_id.distinct()).label("runs"),
            func.count().label("findings"),
        )
        .where(open_.c.run_id.is_not(None))
        .group_by(*groups)
        .order_by(*groups)
    )


def findings_of_runs(run_ids: Sequence[int], *, limit: int) -> "SelectBase":
    """Columns run_id, check_id, severity, file, place, message, first_seen, of_all.

    Of each run ``limit`` rows at most; ``of_all`` is how many it has.
    """
    from sqlalchemy import func, select

    from ..store.schema import finding

    order = [_rank(finding.c.severity), finding.c.check_id, finding.c.name, finding.c.place]
    ranked = (
        select(
            finding.c.run_id,
            finding.c.check_id,
            finding.c.severity,
            finding.c.name.label("file"),
            finding.c.place,
            finding.c.message,
            finding.c.first_seen,
            func.count().over(partition_by=finding.c.run_id).label("of_all"),
            func.row_number().over(partition_by=finding.c.run_id, order_by=order).label("at"),
        )
        .where(finding.c.run_id.in_(run_ids), finding.c.resolved_at.is_(None))
        .subquery("ranked")
    )
    columns = [c for c in ranked.c if c.name != "at"]
    return select(*columns).where(ranked.c.at <= limit).order_by(ranked.c.run_id, ranked.c.at)


def names_of_runs(run_ids: Iterable[int]) -> "SelectBase":
    """Columns run_id, proposal, run, data_class, loose_path, directory."""
    from sqlalchemy import select

    from ..store.schema import run

    columns = [run.c.run_id, run.c.proposal, run.c.run, run.c.data_class]
    return select(*columns, run.c.loose_path, run.c.directory).where(
        run.c.run_id.in_(list(run_ids))
    )


def faulty_runs(per: str, where: RunFilter = ALL_RUNS) -> "SelectBase":
    """Columns period, runs, with_errors, with_warnings (and no errors); undated runs left out."""
    from sqlalchemy import Date, cast, func, select

    from ..store.schema import finding, run

    worst = (
        select(finding.c.run_id, func.min(_rank(finding.c.severity)).label("rank"))
        .where(finding.c.resolved_at.is_(None))
        .group_by(finding.c.run_id)
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
    return (
        select(*(audit.c[name] for name in names)).order_by(audit.c.started_at.desc()).limit(limit)
    )


def _open_findings(where: RunFilter) -> "Subquery":
    """The open findings with the proposal of their run and the path of their file."""
    from sqlalchemy import func, select

    from ..store.schema import finding, run

    directory_name = func.concat_ws("/", run.c.directory, finding.c.name)
    statement: Select[Any] = (
        select(
            finding.c.run_id,
            finding.c.check_id,
            finding.c.severity,
            finding.c.message,
            finding.c.place,
            func.coalesce(finding.c.path, directory_name).label("path"),
            finding.c.first_seen,
            finding.c.last_seen,
            run.c.proposal,
        )
        .select_from(finding)
        .join(run, run.c.run_id == finding.c.run_id, isouter=where == ALL_RUNS)
        .where(finding.c.resolved_at.is_(None), *where.conditions(run))
    )
    return statement.subquery("open")


def _rank(severity: "ColumnElement[Any]") -> "ColumnElement[Any]":
    from sqlalchemy import case

    return case((severity == "E", 0), (severity == "W", 1), else_=2)
