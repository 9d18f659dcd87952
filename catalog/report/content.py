"""The content of the report: everything on the page, as plain values that JSON can hold.

Each part is one or a few set-based questions; only what the page shows leaves the database. A part
that is cut says how many rows there are in all (``of_all``).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audit.earlier import EarlierAudit, cover, earlier_audits
from ..audit.run_checks import choose_runs
from ..audit.waivers import Waiver, waiver_table
from ..model.checks import CHECKS, SEVERITIES
from ..model.errors import CatalogReadError
from ..model.identity import RunIdentity, aggregator_and_sequence, shard_of
from ..model.records import Depth, SourceRecord
from ..questions.coverage import source_coverage
from ..questions.execute import Table, ask, fetch
from ..questions.filters import ALL_RUNS, RunFilter, provenance
from ..questions.inventory import volume
from ..store.connections import Cursor
from ..store.packing import fetch_packed
from ..store.read import fetch_layouts
from ..store.store import Store
from . import findings, verdict
from .verdict import calibration_of_proposals

Content = dict[str, Any]
Row = dict[str, Any]
# Bytes that DuckDB may take for the sums before it writes to disk.
_MEMORY = 4_000_000_000
# Bars of a timeline: more are too thin for the page. Of a few months, days are shown.
_MAX_PERIODS = 150
_FEW_MONTHS = 3
_FORMATS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_TEXTS = ("title", "meaning", "remedy")
_OF_DETAIL = (
    *("directory", "cycle", "format_version", "started_at", "ended_at", "ingested_at"),
    *("n_files_missing", "n_suspect_trains"),
)


@dataclass(frozen=True, slots=True)
class PageLimits:
    """Rows of the page: as many as people read, and few enough to keep it small."""

    findings: int = 300
    """Rows of condensed findings."""
    gone: int = 100
    """Rows of condensed findings that are gone."""
    proposals: int = 1500
    """Rows of proposals."""
    coverage: int = 1200
    """Rows of sources and their coverage."""
    runs: int = 300
    """Runs of the heat map."""
    detailed: int = 40
    """Runs of it, besides one example of each check, that open to a picture of their trains."""
    sources: int = 24
    """Rows of sources in such a picture."""
    findings_of_run: int = 30
    """Findings beside such a picture."""
    audits: int = 30
    """Audits."""


def gather(
    store: Store,
    where: RunFilter = ALL_RUNS,
    found: "Table | None" = None,
    *,
    is_first: bool = False,
    waivers: Sequence[Waiver] = (),
    limits: PageLimits | None = None,
) -> Content:
    """The content of the report on the runs that ``where`` chooses.

    ``found`` are the findings of an audit of these runs (``Findings.table``), of which nothing is
    news if it ``is_first``; without it they are those in the catalog, but for what ``waivers``
    accept.
    """
    limits = limits or PageLimits()
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    cursor = store.open_merged(memory_limit=_MEMORY).new_cursor()
    with closing(cursor):
        choose_runs(cursor, where)
        accepted = waiver_table(waivers, now.date())
        cover(cursor, _audits_before_the_last(store))
        whole = where == ALL_RUNS
        findings.collect_findings(cursor, accepted, found, is_first=is_first, all_runs=whole)
        checks = _rows(cursor, findings.COUNTS_BY_CHECK)
        instruments = _rows(cursor, findings.INSTRUMENTS)
        calibration = calibration_of_proposals(store, where)
        verdicts = verdict.verdicts(store, cursor, instruments, calibration, where)
        proposals = _proposals(store, cursor, where, calibration, limits)
        open_now = _rows(cursor, findings.CONDENSED, is_gone=False, limit=limits.findings)
        gone = _rows(cursor, findings.CONDENSED, is_gone=True, limit=limits.gone)
        known = {row["check_id"] for row in (*checks, *gone)}
        worst = _rows(cursor, findings.WORST_RUNS, limit=limits.runs)
        of_runs = [row for row in open_now if row["run_id"] is not None]
        examples = {
            row["check_id"]: row["run_id"] for row in reversed(of_runs)
        }  # the first of each
        problems = [problem for row in verdicts for problem in row["problems"]]
        of_problems = [problem["run_id"] for problem in problems]
        _name_runs(cursor, problems)
        detailed = [row["run_id"] for row in worst[: limits.detailed]]
        detailed = list(dict.fromkeys([*detailed, *examples.values(), *of_problems]))
        coverage = ask(cursor, source_coverage(where, limit=limits.coverage)).to_pylist()
        audits = _rows(cursor, findings.LATEST_AUDITS, limit=limits.audits)
        return {
            "about": {
                "version": package_version("xfelcat"),
                "made": now,
                "scope": [
                    f"{part.name}: {_chosen(getattr(where, part.name))}"
                    for part in fields(where)
                    if getattr(where, part.name)
                ],
                **provenance(cursor, store, where).as_dict(),
            },
            "links": {},
            "severities": SEVERITIES,
            # One that this version does not know has its ID only.
            "checks": [
                {"id": check} | {text: getattr(CHECKS.get(check), text, "") for text in _TEXTS}
                for check in sorted(known)
            ],
            "verdicts": verdicts,
            "counts": _table(checks),
            "instruments": _table(instruments),
            "proposals": _table(proposals[: limits.proposals], len(proposals)),
            "classes": _table(volume(store, ["data_class"], where).table.to_pylist()),
            "timeline": _timeline(cursor),
            "findings": _cut(_named(cursor, open_now)),
            "n_gone": _rows(cursor, findings.COUNT_GONE)[0]["gone"],
            "gone": _cut(_named(cursor, gone)),
            "runs": _table(_heat_map(cursor, worst), worst[0]["faulty"] if worst else 0),
            "details": _details(store, cursor, detailed, limits),
            "coverage": _cut(coverage),
            "audits": _table(audits),
        }


def _audits_before_the_last(store: Store) -> list[EarlierAudit]:
    """The audits against which the findings of the last one are new; none by ``xfelcat watch``."""
    audits = earlier_audits(store)
    before = earlier_audits(store, before=audits[0].at) if audits else []
    return [audit for audit in before if not audit.run_ids]


def _chosen(part: Any) -> str:
    if isinstance(part, tuple):
        ranges = (dict.fromkeys(map(str, p)) if isinstance(p, tuple) else [str(p)] for p in part)
        return ", ".join("-".join(ends) for ends in ranges)
    return str(part)


def _checks(cursor: Cursor, sql: str, **values: Any) -> dict[Any, Row]:
    """By subject and check, the worst severity and how many."""
    found: dict[Any, Row] = defaultdict(dict)
    for cell in _rows(cursor, sql, **values):
        found[cell["subject"]][cell["check_id"]] = [cell["severity"], cell["n"]]
    return found


def _timeline(cursor: Cursor) -> Content:
    """Bytes by data class and runs by the worst finding, per day, month or year without gaps.

    Where years are too many, as after a broken clock, only the last ones that have runs.
    """
    months = [row["period"] for row in _rows(cursor, findings.PERIODS, format="%Y-%m")]
    span = int(np.diff(np.array([*months[:1], *months[-1:]], "M8[M]")).astype(int).sum())
    per = "day" if span < _FEW_MONTHS else "month" if span < _MAX_PERIODS else "year"
    if per == "month" and span > 24 and len(months) * 3 < span:  # mostly empty
        per = "year"
    rows = _rows(cursor, findings.PERIODS, format=_FORMATS[per])
    periods = list(dict.fromkeys(row["period"] for row in rows))
    if periods and span < 12 * _MAX_PERIODS:
        first, last = (np.datetime64(period) for period in (periods[0], periods[-1]))
        periods = np.arange(first, last + 1).astype(str).tolist()
    periods = periods[-_MAX_PERIODS:]
    at = {period: i for i, period in enumerate(periods)}
    volume_of: dict[str, list[int]] = defaultdict(lambda: [0] * len(periods))
    counts = {name: [0] * len(periods) for name in ("runs", "with_errors", "with_warnings")}
    for row in rows:
        if row["period"] in at:
            place = at[row["period"]]
            volume_of[row["data_class"]][place] += row["bytes"]
            for name, values in counts.items():
                values[place] += row[name]
    return {"per": per, "periods": periods, "bytes": volume_of, **counts}


def _named(cursor: Cursor, condensed: list[Row]) -> list[Row]:
    """The condensed findings, with the name of the example's run for its number."""
    _name_runs(cursor, condensed)
    return condensed


def _name_runs(cursor: Cursor, rows: Sequence[Row]) -> None:
    """Put the name of its run, ``run``, into each row in the place of ``run_id``."""
    run_ids = {row["run_id"] for row in rows if row["run_id"] is not None}
    runs = _rows(cursor, findings.FACTS_OF_RUNS, run_ids=list(run_ids))
    names = {row["run_id"]: _name(row) for row in runs}
    for row in rows:
        row["run"] = names.get(row.pop("run_id"))


def _proposals(
    store: Store, cursor: Cursor, where: RunFilter, calibration: Sequence[Row], limits: PageLimits
) -> list[Row]:
    """The proposals: runs by data class, which raw ones lack calibrated data, and checks."""
    classes: dict[Any, Row] = defaultdict(dict)
    for row in volume(store, ["proposal", "data_class"], where).table.to_pylist():
        classes[row["proposal"]][row["data_class"] or ""] = row["runs"]
    calibrated = {row["proposal"]: row for row in calibration}
    cells = _checks(cursor, findings.CHECKS_OF_PROPOSALS)
    proposals = _rows(cursor, findings.PROPOSALS)
    for place, row in enumerate(proposals):
        known = calibrated.get(row["proposal"], {})
        row |= {name: known.get(name) for name in ("raw_runs", "calibrated", "runs_without")}
        row["classes"] = classes[row["proposal"]]
        # Of as many as the heat map has runs.
        row["checks"] = cells[row["proposal"]] if place < limits.runs else {}
    return proposals


def _heat_map(cursor: Cursor, worst: list[Row]) -> list[Row]:
    """Of each of the worst runs that has findings, how many by check."""
    run_ids = [row["run_id"] for row in worst]
    checks = _checks(cursor, findings.CHECKS_OF_RUNS, run_ids=run_ids)
    return [
        {"run": _name(row), "checks": checks[row["run_id"]]}
        | {name: row[name] for name in ("instrument", "started_at")}
        for row in worst
        if row["run_id"] in checks
    ]


def _details(
    store: Store, cursor: Cursor, run_ids: Sequence[int], limits: PageLimits
) -> dict[str, Content]:
    """Of each of some runs: facts, findings, and for which trains it has data."""
    runs = {r["run_id"]: r for r in _rows(cursor, findings.FACTS_OF_RUNS, run_ids=run_ids)}
    of_runs: dict[int, list[Row]] = {run_id: [] for run_id in runs}
    bounds = {"run_ids": list(runs), "limit": limits.findings_of_run}
    for finding in _rows(cursor, findings.FINDINGS_OF_RUNS, **bounds):
        of_runs[finding.pop("run_id")].append(finding)
    return {
        _name(row): {name: row[name] for name in _OF_DETAIL}
        | {"findings": _cut(of_runs[run_id])}
        | _coverage(store, row, limits)
        for run_id, row in runs.items()
    }


def _coverage(store: Store, row: Row, limits: PageLimits) -> Content:
    """The picture of a run; nothing where its shard is gone, or may not be read by this user."""
    try:
        shard = store.open_shard(shard_of(row["run_id"]))
    except CatalogReadError:
        return {}
    if shard is None:
        return {}
    return asdict(run_coverage(shard.cursor(), row["run_id"], limit=limits.sources))


def _name(row: Row) -> str:
    if row["proposal"] is None:
        return str(row["loose_path"] or row["directory"])
    return str(RunIdentity(row["proposal"], row["run"], row["data_class"]))


def _rows(cursor: Cursor, sql: str, **values: Any) -> list[Row]:
    found: list[Row] = fetch(cursor, sql, values).to_pylist()
    return found


def _cut(rows: list[Row]) -> Content:
    """A table of rows whose column ``of_all`` counts those there are."""
    of_all = rows[0]["of_all"] if rows else 0
    return _table([{k: v for k, v in row.items() if k != "of_all"} for row in rows], of_all)


def _table(rows: Sequence[Row], of_all: int | None = None) -> Content:
    """Rows as lists, with the names of the columns once, as that takes least room."""
    return {
        "columns": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
        "of_all": len(rows) if of_all is None else of_all,
    }


# The coverage of a run, from its shard alone: train lists say which trains an aggregator's files
# hold, index patterns for which of them a source has data.

# Cells of a row: more are too thin for the page.
MAX_CELLS = 240
# Levels of a cell: 0 for no train with data, FULL for all of them, between for some.
FULL = 4

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CoverageCells:
    """The trains with data of one aggregator or source, or of several with the very same trains."""

    name: str
    """Name of the aggregator, or of the first source."""
    n_trains: int
    """How many of the run's trains have data."""
    cells: str
    """Where they are: ``stretches``."""
    alike: int = 0
    """Other sources with the very same trains."""
    n_files: int = 0
    """Files of an aggregator; 0 for a source."""
    n_bytes: int = 0
    """Size of its files; 0 for a source."""


@dataclass(frozen=True, slots=True)
class RunCoverage:
    """For which trains of a run there are data; suspect trains are left out."""

    n_trains: int = 0
    """Distinct trains of the run."""
    first_train: str = ""
    """A text, as the last one: JavaScript cannot count them exactly."""
    last_train: str = ""
    aggregators: tuple[CoverageCells, ...] = ()
    """All aggregators."""
    sources: tuple[CoverageCells, ...] = ()
    """Sources that lack trains, the worst first; those with the same trains as one row."""
    n_complete: int = 0
    """Sources that lack no train."""
    n_left_out: int = 0
    """Rows of sources that are not shown."""
    n_unknown_files: int = 0
    """Files known too little to say what their sources have."""


def run_coverage(cursor: Cursor, run_id: int, *, limit: int = 24) -> RunCoverage:
    """The coverage of a run, from a cursor on its shard; ``limit`` rows of sources at most."""
    packed = fetch_packed(cursor, run_id)
    if packed is None:
        return RunCoverage()
    files = packed.files
    good = [trains.ids[trains.good] for trains in packed.trains]
    all_ids = np.unique(np.concatenate([*good, np.empty(0, np.uint64)]))
    positions = [np.searchsorted(all_ids, ids) for ids in good]
    at_full = {
        x for x, depth in zip(files.layouts, files.depths, strict=True) if depth >= Depth.FULL
    }
    slots = {n: _slots(stored.sources) for n, stored in fetch_layouts(cursor, at_full).items()}
    patterns = packed.patterns.by_number()

    def no_train() -> Mask:
        return np.zeros(all_ids.size, dtype=bool)

    of_aggregators: dict[str, Mask] = defaultdict(no_train)
    of_sources: dict[str, Mask] = defaultdict(no_train)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    n_unknown = 0
    for name, size, _, depth, missing, ordinal, trains, layout in files.rows():
        if missing:
            continue
        aggregator = aggregator_and_sequence(name)[0]
        of_aggregators[aggregator][positions[trains]] = True
        counts[aggregator] = [counts[aggregator][0] + 1, counts[aggregator][1] + size]
        if depth < Depth.FULL:
            n_unknown += 1
            continue
        is_good = packed.trains[trains].good
        for source, number in zip(slots[layout], packed.patterns.numbers(ordinal), strict=True):
            if source is not None:
                has_rows = patterns[number].has_rows(is_good.size)
                of_sources[source][positions[trains][has_rows[is_good]]] = True
    incomplete = _incomplete(of_sources)
    return RunCoverage(
        n_trains=int(all_ids.size),
        first_train=str(all_ids[0]) if all_ids.size else "",
        last_train=str(all_ids[-1]) if all_ids.size else "",
        aggregators=tuple(
            CoverageCells(name or "(none)", int(mask.sum()), stretches(mask), 0, *counts[name])
            for name, mask in sorted(of_aggregators.items())
        ),
        sources=tuple(incomplete[:limit]),
        n_complete=sum(bool(mask.all()) for mask in of_sources.values()),
        n_left_out=max(len(incomplete) - limit, 0),
        n_unknown_files=n_unknown,
    )


def _slots(sources: Iterable[SourceRecord]) -> list[str | None]:
    """The source of each slot of a layout, see ``FileLayout.slots``.

    None for an old name, and for auxiliary sources, which have data for few trains by design.
    """
    return [
        s.name if s.section in ("CONTROL", "INSTRUMENT") and not s.legacy_of else None
        for s in sources
        for _ in s.groups
    ]


def _incomplete(masks: Mapping[str, Mask]) -> list[CoverageCells]:
    """Sources that lack trains, the worst first; those with the same trains as one row."""
    alike: dict[bytes, list[str]] = defaultdict(list)
    for name in sorted(masks):
        if not masks[name].all():
            alike[masks[name].tobytes()].append(name)
    found = []
    for names in alike.values():
        mask = masks[names[0]]
        found.append(CoverageCells(names[0], int(mask.sum()), stretches(mask), len(names) - 1))
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
