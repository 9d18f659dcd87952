"""What does the report say? Everything on the page, as plain values that JSON can hold.

Each part is one or a few set-based questions; only what is shown leaves the database. A part that
is cut says how many rows there are in all (``of_all``).

1. ``Limits``: how many rows of each part the page holds.
2. ``gather``: the whole content, as ``page`` embeds it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..audit.waivers import Waiver, waiver_table
from ..model.checks import CHECKS, COUNTED_SEVERITIES, SEVERITIES, severity_rank
from ..model.errors import CatalogReadError
from ..model.identity import RunIdentity, aggregator_and_sequence
from ..model.records import Depth
from ..model.runlength import TrainList
from ..questions.coverage import source_coverage
from ..questions.execute import Sql, ask
from ..questions.filters import ALL_RUNS, RunFilter, provenance
from ..questions.inventory import growth, summarize, volume
from ..store.packing import PackedIndex, fetch_packed
from ..store.read import StoredLayout, fetch_layouts
from ..store.store import Store
from . import findings as condensed

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = [
    "FULL",
    "MAX_CELLS",
    "Content",
    "Limits",
    "PresenceRow",
    "RunPresence",
    "gather",
    "run_presence",
    "stretches",
]

Content = dict[str, Any]
Row = dict[str, Any]
_MEMORY = 4_000_000_000
_MAX_PERIODS = 150
_FEW_MONTHS = 3
_DATE_LENGTH = {"day": 10, "month": 7, "year": 4}
_COUNT_OF = {severity: f"{word}s" for severity, word in COUNTED_SEVERITIES.items()}
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
        known[0] = min(known[0], severity, key=severity_rank)
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


def _rows(cursor: "duckdb.DuckDBPyConnection", statement: Sql) -> list[Row]:
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


# For which trains of a run is there data, as a picture in few numbers?
#
# From the run's shard alone: train lists say which trains an aggregator's files hold, index
# patterns
# for which of them a source has data.
#
# 1. ``RunPresence``: the trains of a run, and a row for each aggregator and each incomplete source.
# 2. ``run_presence`` makes it.
# 3. ``stretches`` codes one row: at most ``MAX_CELLS`` cells along the trains, run-length coded.

MAX_CELLS = 240
# Levels of a cell: 0 for no train with data, FULL for all of them, between for some.
FULL = 4
_REGULAR = ("CONTROL", "INSTRUMENT")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PresenceRow:
    """``n_trains`` of the run's trains have data of this; ``cells`` is their ``stretches``.

    ``alike`` are the other names with the very same trains; ``n_files`` and ``n_bytes`` those of an
    aggregator, 0 for a source.
    """

    name: str
    n_trains: int
    cells: str
    alike: int = 0
    n_files: int = 0
    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunPresence:
    """``n_trains`` distinct trains, suspect ones left out, from ``first_train`` to ``last_train``.

    The two are texts, being larger than what JavaScript counts exactly. ``aggregators`` are all of
    them; ``sources`` those that lack some trains, the worst first, those with the same trains as
    one row. ``n_complete`` sources lack none; ``n_left_out`` rows of sources are not shown.
    ``n_unknown_files`` are known too little to say what their sources have.
    """

    n_trains: int
    first_train: str
    last_train: str
    aggregators: tuple[PresenceRow, ...]
    sources: tuple[PresenceRow, ...]
    n_complete: int
    n_left_out: int
    n_unknown_files: int


@dataclass(frozen=True, slots=True)
class _File:
    """What the presence of a file's data follows from."""

    aggregator: str
    size: int
    depth: int
    train_list: int
    layout: int
    slots: list[int]


def run_presence(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, *, limit: int = 24
) -> RunPresence:
    """The presence of a run, from a cursor on its shard; ``limit`` rows of sources at most."""
    packed = fetch_packed(cursor, run_id)
    if packed is None:
        return RunPresence(0, "", "", (), (), 0, 0, 0)
    known, lists, index = packed
    files = [
        _File(aggregator_and_sequence(name)[0], size, depth, trains, layout, index.numbers(ordinal))
        for name, size, _, depth, missing, ordinal, trains, layout in known.rows()
        if not missing
    ]
    good = {number: trains.ids[trains.good] for number, trains in enumerate(lists)}
    all_ids = np.unique(np.concatenate([*good.values(), np.empty(0, np.uint64)]))
    at = {number: np.searchsorted(all_ids, ids) for number, ids in good.items()}
    aggregators = _of_aggregators(files, at, all_ids.size)
    layouts = fetch_layouts(cursor, {f.layout for f in files if f.depth >= Depth.FULL})
    masks = _of_sources(files, layouts, lists, index, at, all_ids.size)
    sources = _incomplete(masks)
    return RunPresence(
        n_trains=int(all_ids.size),
        first_train=str(all_ids[0]) if all_ids.size else "",
        last_train=str(all_ids[-1]) if all_ids.size else "",
        aggregators=tuple(aggregators),
        sources=tuple(sources[:limit]),
        n_complete=sum(bool(mask.all()) for mask in masks.values()),
        n_left_out=max(len(sources) - limit, 0),
        n_unknown_files=sum(f.depth < Depth.FULL for f in files),
    )


def _of_aggregators(
    files: list[_File], at: dict[int, NDArray[np.intp]], n_trains: int
) -> list[PresenceRow]:
    masks: dict[str, Mask] = {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        mask = masks.setdefault(file.aggregator, np.zeros(n_trains, dtype=bool))
        mask[at[file.train_list]] = True
        counts[file.aggregator][0] += 1
        counts[file.aggregator][1] += file.size
    return [
        PresenceRow(name or "(none)", int(mask.sum()), stretches(mask), 0, *counts[name])
        for name, mask in sorted(masks.items())
    ]


def _of_sources(
    files: list[_File],
    layouts: dict[int, StoredLayout],
    lists: Sequence[TrainList],
    index: PackedIndex,
    at: dict[int, NDArray[np.intp]],
    n_trains: int,
) -> dict[str, Mask]:
    """Which trains each source has data for, in any of its index groups."""
    slots = _slots(layouts)
    has_rows = [pattern.count > 0 for pattern in index.by_number()]
    masks: dict[str, Mask] = {}
    for file in (f for f in files if f.depth >= Depth.FULL):
        good = lists[file.train_list].good
        positions = at[file.train_list]
        for name, number in zip(slots[file.layout], file.slots, strict=True):
            if name is None:
                continue
            mask = masks.setdefault(name, np.zeros(n_trains, dtype=bool))
            mask[positions[has_rows[number][good]]] = True
    return masks


def _slots(layouts: dict[int, StoredLayout]) -> dict[int, list[str | None]]:
    """The source of each slot of a layout, see ``FileLayout.slots``.

    None for an old name, and for auxiliary sources, which have data for few trains by design.
    """
    return {
        number: [
            s.name if s.section in _REGULAR and not s.legacy_of else None
            for s in layout.sources
            for _ in s.groups
        ]
        for number, layout in layouts.items()
    }


def _incomplete(masks: dict[str, Mask]) -> list[PresenceRow]:
    """Sources that lack trains, the worst first; those with the same trains as one row."""
    alike: dict[bytes, list[str]] = defaultdict(list)
    for name in sorted(masks):
        if not masks[name].all():
            alike[masks[name].tobytes()].append(name)
    found = []
    for names in alike.values():
        mask = masks[names[0]]
        found.append(PresenceRow(names[0], int(mask.sum()), stretches(mask), len(names) - 1))
    return sorted(found, key=lambda row: (row.n_trains, row.name))


def stretches(present: Mask, max_cells: int = MAX_CELLS) -> str:
    """The cells of a row as text: ``4:120 0 4:2`` is 120 full ones, an empty one, two full ones.

    With no more trains than ``max_cells`` a cell is a train; else it is a part of them, all about
    equally large.
    """
    n_cells = min(present.size, max_cells)
    if not n_cells:
        return ""
    edges = np.linspace(0, present.size, n_cells + 1).round().astype(np.intp)
    with_data = np.add.reduceat(present, edges[:-1], dtype=np.intp)
    sizes = np.diff(edges)
    level = np.clip(with_data * FULL // sizes, 1, FULL - 1)
    level[with_data == 0] = 0
    level[with_data == sizes] = FULL
    starts = np.concatenate(([0], np.flatnonzero(np.diff(level)) + 1, [n_cells]))
    lengths = np.diff(starts)
    return " ".join(
        f"{level[start]}:{length}" if length > 1 else f"{level[start]}"
        for start, length in zip(starts[:-1], lengths, strict=True)
    )
