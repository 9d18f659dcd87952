"""What does the report say? Everything on the page, as plain values that JSON can hold.

Each part is one or a few set-based questions; only what is shown leaves the database. A part that
is cut says how many rows there are in all (``of_all``).

1. ``Limits``: how many rows of each part the page holds.
2. ``gather``: the whole content, as ``page`` embeds it.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Any

from ..audit.waivers import Waiver, waiver_table
from ..checks.registry import CHECKS, SEVERITIES
from ..errors import CatalogReadError
from ..layout import RunIdentity
from ..questions import condensed
from ..questions.answers import ask
from ..questions.coverage import source_coverage
from ..questions.inventory import growth, volume
from ..questions.queries import provenance
from ..questions.run_filter import ALL_RUNS, RunFilter
from ..questions.summaries import summarize
from ..store.store import Store
from .presence import run_presence

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import SelectBase

__all__ = ["Content", "Limits", "gather"]

Content = dict[str, Any]
Row = dict[str, Any]
_MEMORY = 4_000_000_000
_MAX_PERIODS = 150
_FEW_MONTHS = 3
_DATE_LENGTH = {"day": 10, "month": 7, "year": 4}
_SEVERITY_ORDER = "EWI"
_COUNT_OF = {"E": "errors", "W": "warnings", "I": "infos"}
_SUMMED = ("runs", "files", "files_missing", "bytes", "trains")
_OF_RUN = ("instrument", "started_at", "n_files", "bytes", "n_trains", *_COUNT_OF.values())
_OF_DETAIL = (
    *("directory", "cycle", "format_version", "started_at", "ended_at", "ingested_at"),
    *("n_files_missing", "n_suspect_trains"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows of the page: what it is worth reading, and what keeps it small.

    ``runs`` is those of the heat map. ``detailed`` of them, and one example of each check, open to
    a picture of their trains with ``sources`` rows of sources and ``findings_of_run`` findings.
    """

    findings: int = 300
    gone: int = 100
    proposals: int = 1500
    coverage: int = 1200
    runs: int = 300
    detailed: int = 40
    sources: int = 24
    findings_of_run: int = 30
    audits: int = 30


def gather(
    store: Store,
    where: RunFilter = ALL_RUNS,
    found: "pa.Table | None" = None,
    *,
    waivers: Sequence[Waiver] = (),
    limits: Limits | None = None,
) -> Content:
    """The content of the report on the runs that ``where`` chooses.

    ``found`` are the findings of an audit of these runs (``Findings.table``); without it they are
    those in the catalog, but for what ``waivers`` accept.
    """
    limits = limits or Limits()
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    cursor = store.open_merged(memory_limit=_MEMORY).new_cursor()
    with closing(cursor):
        condensed.collect_findings(cursor, where, waiver_table(waivers, now.date()), found)
        checks = _rows(cursor, condensed.counts_by_check())
        proposals = _proposals(store, cursor, where, limits)
        findings = _rows(cursor, condensed.condensed_findings(limit=limits.findings))
        gone = _rows(cursor, condensed.condensed_findings(gone=True, limit=limits.gone))
        known = {row["check_id"] for row in (*checks, *gone)}
        worst = _rows(cursor, condensed.worst_runs(where, limit=limits.runs))
        looked_at = [row["run_id"] for row in worst[: limits.detailed]] + _examples(findings)
        details = _details(store, cursor, looked_at, limits)
        return {
            "about": _about(store, cursor, where, now),
            "severities": SEVERITIES,
            "checks": [_check(identifier) for identifier in sorted(known)],
            "counts": _table(checks),
            "instruments": _table(_by_instrument(proposals)),
            "proposals": _table(proposals[: limits.proposals], len(proposals)),
            "classes": _table(volume(store, ["data_class"], where).table.to_pylist()),
            "timeline": _timeline(store, cursor, where),
            "findings": _cut(_named(cursor, findings)),
            "n_gone": _rows(cursor, condensed.count_gone())[0]["gone"],
            "gone": _cut(_named(cursor, gone)),
            "runs": _table(_heat_map(cursor, worst), worst[0]["faulty"] if worst else 0),
            "details": details,
            "coverage": _cut(_rows(cursor, source_coverage(where, limit=limits.coverage))),
            "audits": _table(_rows(cursor, condensed.latest_audits(limits.audits))),
        }


def _about(
    store: Store, cursor: "duckdb.DuckDBPyConnection", where: RunFilter, now: datetime
) -> Content:
    """When and of what this was made, and what it rests on."""
    known = provenance(cursor, store, where)
    chosen = [
        f"{field.name}: {_chosen(getattr(where, field.name))}"
        for field in fields(where)
        if getattr(where, field.name)
    ]
    return {
        "version": package_version("xfelcat"),
        "made": now,
        "scope": chosen,
        **known.as_dict(),
    }


def _chosen(part: Any) -> str:
    if isinstance(part, tuple):
        return ", ".join("-".join(map(str, p)) if isinstance(p, tuple) else str(p) for p in part)
    return str(part)


def _check(identifier: str) -> Row:
    """What the page says of a check; one that this version does not know has its ID only."""
    check = CHECKS.get(identifier)
    parts = ("title", "meaning", "remedy")
    return {"id": identifier} | {part: getattr(check, part, "") for part in parts}


def _proposals(
    store: Store, cursor: "duckdb.DuckDBPyConnection", where: RunFilter, limits: Limits
) -> list[Row]:
    """A row per proposal, and one for all loose runs; those with most errors first.

    The first of them, as many as the heat map has runs, say which checks find something in how many
    runs.
    """
    found: dict[int | None, Row] = {}
    for group in summarize(store, where).table.to_pylist():
        row = found.setdefault(
            group["proposal"],
            {
                "proposal": group["proposal"],
                "instrument": group["instrument"],
                "cycle": group["cycle"],
                **dict.fromkeys(_SUMMED, 0),
                **{"last_data": None, "errors": 0, "warnings": 0, "infos": 0, "checks": {}},
            },
        )
        for name in _SUMMED:
            row[name] += group[name] or 0
        if group["last_data"] and (not row["last_data"] or group["last_data"] > row["last_data"]):
            row["last_data"] = group["last_data"]
    for cell in _rows(cursor, condensed.checks_of_proposals()):
        if cell["proposal"] in found:  # else forgotten since the audit
            row = found[cell["proposal"]]
            row[_COUNT_OF[cell["severity"]]] += cell["findings"]
            _add_check(row["checks"], cell, cell["runs"])
    rows = sorted(found.values(), key=lambda r: (-r["errors"], -r["warnings"], -r["bytes"]))
    for row in rows[limits.runs :]:
        row["checks"] = {}
    return rows


def _add_check(checks: dict[str, list[Any]], cell: Row, count: int) -> None:
    """Note a count under a check, with the worse severity where it has two."""
    severity, known = cell["severity"], checks.get(cell["check_id"])
    if known is None:
        checks[cell["check_id"]] = [severity, count]
    else:
        known[0] = min(known[0], severity, key=_SEVERITY_ORDER.index)
        known[1] += count


def _by_instrument(proposals: Iterable[Row]) -> list[Row]:
    found: dict[str | None, Row] = {}
    for proposal in proposals:
        counts = (*_SUMMED, "errors", "warnings", "infos")
        row = found.setdefault(
            proposal["instrument"],
            {"instrument": proposal["instrument"], "proposals": 0, **dict.fromkeys(counts, 0)},
        )
        row["proposals"] += proposal["proposal"] is not None
        for name in counts:
            row[name] += proposal[name]
    return sorted(found.values(), key=lambda r: (r["instrument"] is None, r["instrument"]))


def _timeline(store: Store, cursor: "duckdb.DuckDBPyConnection", where: RunFilter) -> Content:
    """Bytes by data class and runs by the worst that was found, per day, month or year."""
    months = [row["period"] for row in growth(store, "month", (), where).table.to_pylist()]
    months = [month for month in months if month is not None]
    span = _months_between(months[0], months[-1]) if months else 0
    per = "day" if span < _FEW_MONTHS else "month" if span < _MAX_PERIODS else "year"
    sizes = growth(store, per, ["data_class"], where).table.to_pylist()
    runs = {row["period"]: row for row in _rows(cursor, condensed.faulty_runs(per, where))}
    periods = _periods(sorted(runs), per)
    at = {period: i for i, period in enumerate(periods)}
    volume_of: dict[str, list[int]] = {}
    for row in sizes:
        if row["period"] in at:
            values = volume_of.setdefault(row["data_class"] or "", [0] * len(periods))
            values[at[row["period"]]] += row["bytes"]
    counts = ("runs", "with_errors", "with_warnings")
    return {
        "per": per,
        "periods": [p.isoformat()[: _DATE_LENGTH[per]] for p in periods],
        "bytes": volume_of,
        **{name: [runs[p][name] if p in runs else 0 for p in periods] for name in counts},
    }


def _months_between(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


def _periods(found: list[date], per: str) -> list[date]:
    """The periods from first to last without a gap; only those found where they would be many."""
    if not found:
        return []
    first, last = found[0], found[-1]
    if per == "day":
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]
    if per == "month":
        months = [first.month - 1 + n for n in range(_months_between(first, last) + 1)]
        return [date(first.year + m // 12, m % 12 + 1, 1) for m in months]
    if last.year - first.year < _MAX_PERIODS:
        return [date(year, 1, 1) for year in range(first.year, last.year + 1)]
    return found[-_MAX_PERIODS:]


def _examples(findings: Iterable[Row]) -> list[int]:
    """The run of the first example of each check."""
    first: dict[str, int] = {}
    for row in findings:
        if row["run_id"] is not None:
            first.setdefault(row["check_id"], row["run_id"])
    return list(first.values())


def _named(cursor: "duckdb.DuckDBPyConnection", findings: list[Row]) -> list[Row]:
    """The condensed findings, with the name of the example's run for its number."""
    run_ids = {row["run_id"] for row in findings if row["run_id"] is not None}
    names = {row["run_id"]: _name(row) for row in _rows(cursor, condensed.facts_of_runs(run_ids))}
    return [
        {"run": names.get(row["run_id"])} | {k: v for k, v in row.items() if k != "run_id"}
        for row in findings
    ]


def _heat_map(cursor: "duckdb.DuckDBPyConnection", worst: list[Row]) -> list[Row]:
    """Of each of the worst runs that has findings, how many by check."""
    checks: dict[int, dict[str, list[Any]]] = {row["run_id"]: {} for row in worst}
    for cell in _rows(cursor, condensed.checks_of_runs(list(checks))):
        _add_check(checks[cell["run_id"]], cell, cell["findings"])
    return [
        {
            "run": _name(row),
            **{name: row[name] for name in _OF_RUN},
            "checks": checks[row["run_id"]],
        }
        for row in worst
        if checks[row["run_id"]]
    ]


def _details(
    store: Store, cursor: "duckdb.DuckDBPyConnection", run_ids: Iterable[int], limits: Limits
) -> dict[str, Content]:
    """What is told of each of some runs: facts, findings, and where its data are."""
    runs = {row["run_id"]: row for row in _rows(cursor, condensed.facts_of_runs(run_ids))}
    findings: dict[int, list[Row]] = {run_id: [] for run_id in runs}
    statement = condensed.findings_of_runs(list(runs), limit=limits.findings_of_run)
    for finding in _rows(cursor, statement):
        findings[finding.pop("run_id")].append(finding)
    return {
        _name(row): {name: row[name] for name in _OF_DETAIL}
        | {"findings": _cut(findings[run_id])}
        | _presence(store, row, limits)
        for run_id, row in runs.items()
    }


def _presence(store: Store, row: Row, limits: Limits) -> Content:
    """The picture of a run; nothing where its shard may not be read by whoever asks."""
    try:
        shard = store.open_shard(_identity(row).shard)
    except CatalogReadError:
        return {}
    if shard is None:
        return {}
    return asdict(run_presence(shard.cursor(), row["run_id"], limit=limits.sources))


def _identity(row: Row) -> RunIdentity:
    if row["proposal"] is None:
        return RunIdentity(loose_path=row["loose_path"] or row["directory"])
    return RunIdentity(row["proposal"], row["run"], row["data_class"])


def _name(row: Row) -> str:
    return str(_identity(row))


def _rows(cursor: "duckdb.DuckDBPyConnection", statement: "SelectBase") -> list[Row]:
    found: list[Row] = ask(cursor, statement).to_pylist()
    return found


def _cut(rows: list[Row]) -> Content:
    """A table of rows that say themselves how many there are in all."""
    of_all = rows[0]["of_all"] if rows else 0
    return _table([{k: v for k, v in row.items() if k != "of_all"} for row in rows], of_all)


def _table(rows: Sequence[Row], of_all: int | None = None) -> Content:
    """Rows by columns' names once, as they take least room; all of them unless said otherwise."""
    return {
        "columns": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
        "of_all": len(rows) if of_all is None else of_all,
    }
