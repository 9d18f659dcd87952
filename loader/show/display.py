"""Runs, sources and keys for people: as text, and as HTML in a notebook.

1. ``detector_groups``, ``compact_names``: many source names in few lines.
2. ``collection_info``: the text that ``run.info()`` shows, with details of some sources.
3. ``collection_html``, ``source_html``, ``key_html``: the same facts for notebooks. The HTML has no
   colours of its own, so that it is readable on light and dark pages; every name is escaped.

All come from the facts and rows of ``inspection``; no data are read.
"""

import fnmatch
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ...catalog.model.errors import MultiRunError
from ...catalog.model.names import number_ranges, parse_module, run_text
from ..read.selected import SelectedData, SelectedKey, SelectedSource, aggregator_of
from .inspection import key_rows, natural_key

if TYPE_CHECKING:
    import pandas as pd

# -- names of sources ------------------------------------------------------------------------------


def detector_groups(names: Iterable[str]) -> tuple[dict[str, dict[int, str]], list[str]]:
    """The modules of each detector by number, and all names that are no detector module, sorted.

    A detector is named by the pattern of its modules, with ``*`` for the number.
    """
    modules: dict[str, dict[int, str]] = defaultdict(dict)
    others = []
    for name in sorted(names):
        module = parse_module(name)
        if module is None or not module.is_channel:
            others.append(name)
        else:
            modules[f"{module.detector}/{module.kind}/*{module.rest}"][module.number] = name
    return {pattern: dict(sorted(modules[pattern].items())) for pattern in sorted(modules)}, others


def compact_names(names: Iterable[str]) -> list[str]:
    """One text per group of names that differ in the last part of the device name only.

    The part is what follows the last ``_`` or ``/``. A channel (``:output``) belongs to what is
    equal.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(names, key=natural_key):
        device, colon, channel = name.partition(":")
        at = max(device.rfind("_"), device.rfind("/")) + 1
        groups[device[:at], colon + channel].append(device[at:])
    texts = []
    for (head, tail), parts in groups.items():
        inner = parts[0] if len(parts) == 1 else "{" + ", ".join(parts) + "}"
        texts.append(f"{head}{inner}{tail}")
    return sorted(texts, key=natural_key)


# -- facts and phrases that text and HTML share ----------------------------------------------------


def run_facts(data: SelectedData) -> Iterator[tuple[str, str]]:
    """What to say about the whole: which run, when, and its trains."""
    try:
        metadata = data.run_metadata()
    except MultiRunError:
        yield "Run", "several, joined"
        metadata = {}
    if run := run_text(metadata):
        yield "Run", run
    if metadata.get("sample"):
        yield "Sample", str(metadata["sample"])
    times = data.timestamps()
    times = times[~np.isnat(times)]
    if len(times):
        first = times.min().astype("datetime64[s]").item()
        yield "First train at", f"{first:%Y-%m-%d %H:%M:%S} UTC"
    ids = data.trains.to_list()
    yield "# of trains", str(len(ids))
    if ids:
        yield "Duration", _duration(int(ids[0]), int(ids[-1]))
        yield "First train ID", str(ids[0])
        yield "Last train ID", str(ids[-1])


def _duration(first: int, last: int) -> str:
    """The time from the first train to the end of the last, at 10 trains per second."""
    try:
        span = timedelta(seconds=(last - first + 1) // 10)
    except OverflowError:
        return "unknown (a train ID is implausible)"
    return f"{span}.{(last - first + 1) % 10}"


def _shape(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape))


def _size(n_bytes: int) -> str:
    """Bytes in the decimal unit that leaves one to three digits before the point."""
    unit, size = next(
        ((u, s) for u, s in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)) if n_bytes >= s),
        ("bytes", 1),
    )
    return f"{n_bytes / size:.{0 if size == 1 else 1}f} {unit}"


def _counts_phrase(counts: Any) -> str:
    """How many trains have data, and how many entries each of those."""
    with_data = counts[counts > 0]
    share = f"{len(with_data)} of {len(counts)} trains"
    if not len(with_data):
        return f"data for {share}"
    share += f" ({100 * len(with_data) / len(counts):.2f}%)"
    low, high = int(with_data.min()), int(with_data.max())
    entries = str(low) if low == high else f"{low}–{high}"
    return f"data for {share}, {entries} {'entry' if high == 1 else 'entries'} per train"


def _detector_phrase(data: SelectedData, modules: dict[int, str]) -> str:
    """What one module of a detector has."""
    number, name = next(iter(modules.items()))
    source = data.source(name)
    if "image.data" not in source:
        return f"e.g. module {number}: {len(source.keys())} keys"
    key = source.key("image.data")
    counts = key.rows.counts
    pixels = _shape(key.entry_shape[-2:])
    total = int(counts.sum())
    return f"e.g. module {number}: {pixels} pixels, {total} frames; {_counts_phrase(counts)}"


def _dtype_text(dtype: str) -> str:
    return "string" if dtype == "str" else dtype


# -- text ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Style:
    """How sources are listed."""

    patterns: tuple[str, ...] = ()
    counts: bool = False
    group_sources: bool = True
    with_aggregators: bool = False

    @property
    def is_brief(self) -> bool:
        """Whether a source without details is no more than its name."""
        return self.group_sources and not self.counts and not self.with_aggregators

    def is_detailed(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


def collection_info(
    data: SelectedData,
    details_for_sources: str | Iterable[str] = (),
    *,
    counts: bool = False,
    group_sources: bool = True,
    with_aggregators: bool = False,
    auxiliary: Mapping[str, SelectedSource] | None = None,
) -> str:
    """A readable summary: run, time, trains, detectors and sources; see ``DataCollection.info``."""
    given = (details_for_sources,) if isinstance(details_for_sources, str) else details_for_sources
    style = _Style(tuple(given), counts, group_sources, with_aggregators)
    lines = [f"{name + ':':<16}{text}" for name, text in run_facts(data)]
    detectors, instruments = detector_groups(data.names("INSTRUMENT") - data.legacy.keys())
    for pattern, modules in detectors.items():
        lines += ["", f"{len(modules)} detector modules of {pattern} ({number_ranges(modules)})"]
        lines.append(f"  {_detector_phrase(data, modules)}")
        for name in modules.values():
            if not style.is_brief or style.is_detailed(name):
                lines += _source_lines(data.source(name), style)
    other = "other " if detectors else ""
    lines += ["", f"{_number(instruments, f'{other}instrument source')}:"]
    lines += _listed(data, instruments, style)
    controls = sorted(data.names("CONTROL"))
    lines += ["", f"{_number(controls, 'control source')}:"]
    lines += _listed(data, controls, style)
    lines += _legacy_lines(data.legacy)
    if auxiliary is not None:
        lines += _auxiliary_lines(auxiliary, style)
    return "\n".join(lines)


def auxiliary_lines(
    auxiliary: Mapping[str, SelectedSource],
    details_for_sources: str | Iterable[str],
    with_aggregators: bool,
) -> Iterator[str]:
    """The auxiliary sources by section; see ``AuxiliarySources.info``."""
    given = (details_for_sources,) if isinstance(details_for_sources, str) else details_for_sources
    return _auxiliary_lines(auxiliary, _Style(tuple(given), with_aggregators=with_aggregators))


def _auxiliary_lines(auxiliary: Mapping[str, SelectedSource], style: _Style) -> Iterator[str]:
    for section in ("REDUCTION", "ERRATA"):
        sources = {n: s for n, s in auxiliary.items() if s.entry.section == section}
        yield from ("", f"{_number(sources, f'{section.lower()} source')}:")
        for name in sorted(sources, key=natural_key):
            yield from _source_lines(sources[name], style)


def _number(things: Sized, noun: str) -> str:
    """``1 source``, ``2 sources``."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _listed(data: SelectedData, names: list[str], style: _Style) -> Iterator[str]:
    """Sources of one kind: those without details grouped where the style allows."""
    detailed = names
    if style.is_brief:
        detailed = [name for name in names if style.is_detailed(name)]
        brief = [name for name in names if not style.is_detailed(name)]
        yield from (f"  - {text}" for text in compact_names(brief))
    for name in sorted(detailed, key=natural_key):
        yield from _source_lines(data.source(name), style)


def _source_lines(source: SelectedSource, style: _Style) -> Iterator[str]:
    """A source; with its counts or its keys if the style says so."""
    aggregator = f"[{aggregator_of(source) or '?'}] " if style.with_aggregators else ""
    yield f"  - {aggregator}{source.entry.name}"
    details = style.is_detailed(source.entry.name)
    rows = key_rows(source) if details else []
    if details or (style.counts and not source.is_control):
        for group in source.groups_with_data():
            yield f"    - {group or 'Control keys'}: {_counts_phrase(source.counts(group))}"
            for row in rows:
                if row["index_group"] == group:
                    parts = [_dtype_text(row["dtype"])]
                    parts += [f"entry shape {_shape(row['shape'])}"] if row["shape"] else []
                    parts += [row["unit"]] if row["unit"] else []
                    yield f"      - {row['key']}\t[{', '.join(parts)}]"
    run_only = [row for row in rows if row["index_group"] == "RUN"]
    if run_only:
        yield "    - Additional run keys (1 value per run)"
        yield from (f"      - {row['key']}\t= {row['run_value']!s:.60}" for row in run_only)


def _legacy_lines(legacy: dict[str, str]) -> Iterator[str]:
    """The old names of renamed sources."""
    if not legacy:
        return
    yield ""
    yield f"{_number(legacy, 'legacy source name')}:"
    groups, others = detector_groups(legacy)
    for pattern, modules in groups.items():
        new = [legacy[old] for old in modules.values()]
        targets = ", ".join(detector_groups(new)[0]) or new[0]
        yield f"  - {pattern} -> {targets} ({number_ranges(modules)})"
    yield from (f"  - {old} -> {legacy[old]}" for old in others)


# -- HTML ------------------------------------------------------------------------------------------

_RULE = "border:0;border-bottom:1px solid rgba(128,128,128,.35)"
_TABLE = 'style="border-collapse:collapse;margin:4px 0 6px 0"'
_CELL = f'style="{_RULE};text-align:left;padding:2px 12px 2px 0;background:none;color:inherit"'
_NAME = 'style="font-family:monospace;color:inherit;background:none"'


def _code(text: object) -> str:
    return f"<code {_NAME}>{escape(str(text))}</code>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th {_CELL}>{h}</th>" for h in head)
    body = "".join(
        "<tr style='background:none'>" + "".join(f"<td {_CELL}>{c}</td>" for c in row) + "</tr>"
        for row in rows
    )
    header = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f"<table {_TABLE}>{header}<tbody>{body}</tbody></table>"


def _fold(summary: str, content: str, *, is_open: bool = False) -> str:
    return f"<details{' open' * is_open}><summary>{summary}</summary>{content}</details>"


def _listing(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{_code(text)}</li>" for text in texts)
    return f'<ul style="margin:2px 0 6px 0;columns:2 28em">{items}</ul>'


def _page(title: str, *parts: str) -> str:
    return f'<div style="color:inherit"><strong>{title}</strong>{"".join(parts)}</div>'


def collection_html(data: SelectedData) -> str:
    """What a notebook shows for a run: its facts, and its sources to unfold."""
    parts = [_table((), ((escape(name), escape(text)) for name, text in run_facts(data)))]
    detectors, instruments = detector_groups(data.names("INSTRUMENT") - data.legacy.keys())
    for pattern, modules in detectors.items():
        title = f"{len(modules)} detector modules of {_code(pattern)}"
        phrase = f"<div>{escape(_detector_phrase(data, modules))}</div>"
        parts.append(_fold(title, phrase + _listing(modules.values())))
    for kind, names in (
        ("instrument sources", instruments),
        ("control sources", sorted(data.names("CONTROL"))),
        ("legacy source names", sorted(data.legacy)),
    ):
        if names:
            few = len(names) <= 12
            parts.append(_fold(f"{len(names)} {kind}", _listing(compact_names(names)), is_open=few))
    n_sources = len(data.sources)
    return _page(f"DataCollection: {n_sources} sources, {len(data.trains)} trains", *parts)


def source_html(source: SelectedSource) -> str:
    """What a notebook shows for a source: its keys with type, entry shape and unit."""
    rows, parts = key_rows(source), []
    for group in source.groups_with_data():
        phrase = escape(_counts_phrase(source.counts(group)))
        name = "" if source.is_control else f"{_code(group)}: "
        cells = (
            (
                _code(row["key"]),
                escape(_dtype_text(row["dtype"])),
                escape(_shape(row["shape"]) or "scalar"),
                escape(row["unit"]),
            )
            for row in rows
            if row["index_group"] == group
        )
        table = _table(("key", "dtype", "entry shape", "unit"), cells)
        parts.append(f"<div>{name}{phrase}</div>{table}")
    run_only = [row for row in rows if row["index_group"] == "RUN"]
    if run_only:
        values = [(_code(row["key"]), escape(f"{row['run_value']!s:.120}")) for row in run_only]
        parts.append(_fold(f"{len(values)} values from the start of the run", _table((), values)))
    return _page(f"{_code(source.entry.name)}, {source.entry.section.lower()} source", *parts)


def key_html(key: SelectedKey) -> str:
    """What a notebook shows for a key: type, shape, size, unit and trains with data."""
    record, unit = key.record, key.units
    if record.unit_name:
        unit = f"{unit} ({record.prefix_name}{record.unit_name})"
    facts = [
        ("dtype", "string" if key.dtype.kind == "O" else str(key.dtype)),
        ("shape", _shape(key.shape)),
        *([("unit", unit)] if unit else []),
        ("size", _size(key.nbytes)),
        ("trains", _counts_phrase(key.rows.counts)),
    ]
    rows = [(escape(name), escape(text)) for name, text in facts]
    return _page(f"{_code(key.entry.name)} {_code(key.name)}", _table((), rows))


_RUNS_SHOWN = 20  # fit on a screen


def runs_html(runs: "pd.DataFrame") -> str:
    """What a notebook shows for many runs: their names and directories; none is opened."""
    frame = runs.head(_RUNS_SHOWN)
    rows = [(_code(n), escape(p)) for n, p in zip(frame["name"], frame["path"], strict=True)]
    rest = len(runs) - len(rows)
    more = f"<div>and {rest} more</div>" if rest else ""
    return _page(f"Runs: {len(runs)}", _table(("run", "directory"), rows), more)
