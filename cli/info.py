"""``xfelcat info``: a facility, an instrument, a proposal, a run, a source or a key.

Above a run, the catalog sums up (``inventory``), and a proposal's sources come with the share of
its runs that have them. A run and what is in it come from what opening it reads (``inspection``);
how fresh and how deep that is, from the catalog's row of the run. Each ``_describe_*`` gives text
for a terminal of 80 columns or a pipe, in which names, which may be long, come last in their line,
and the rows that the text is made of, for programs.
"""

import fnmatch
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.model.checks import COUNTED_SEVERITIES
from ..catalog.model.names import size_text
from .complete import completing
from .options import (
    CatalogOption,
    FormatOption,
    OutputOption,
    Row,
    argument,
    catalogued_run,
    named_runs,
    open_known,
    open_store,
    say_if_behind,
)
from .output import Format, aligned, choose_format, count, paging, say, value_text, write_rows

if TYPE_CHECKING:
    from ..catalog.questions.filters import RunFilter
    from ..catalog.store.store import Store
    from ..loader.collection import DataCollection


_CELLS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = re.compile(f"^[{_EIGHTHS}]{{{_CELLS}}} ")
_SHORT_HEADS = {"trains with data": "trains", "runs that have it": "runs"}
_LONGEST_VALUE = 36

Facts = list[tuple[str, str]]
Description = tuple[list[str], list[Row]]  # lines for people, rows for programs


def bar(part: int, whole: int) -> str:
    """``███████▌    75%``: full only if all of it is there, empty only if nothing is."""
    if not whole:
        return f"{'':<{_CELLS}}    -"
    eighths = round(8 * _CELLS * part / whole)
    if 0 < part < whole:
        eighths = min(max(eighths, 1), 8 * _CELLS - 1)
    cells = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    percent = part * 100 // whole if part < whole else 100
    return f"{cells:<{_CELLS}} {'<1' if part and not percent else percent:>3}%"


def _facts(pairs: Facts) -> list[str]:
    return [f"{name + ':':<16}{text}" for name, text in pairs]


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "not recorded"


# Above a run ------------------------------------------------------------------------------------


def _describe_catalog(store: "Store", where: "RunFilter") -> Description:
    """A facility, an instrument or a proposal: groups of runs, and a proposal's sources."""
    from ..catalog.audit.earlier import not_audited
    from ..catalog.questions.coverage import coverage_by_class
    from ..catalog.questions.inventory import open_findings, summarize

    answer = summarize(store, where)
    for remark in answer.provenance.remarks():
        say(remark)
    groups: list[Row] = answer.table.to_pylist()
    if not groups:
        return ["the catalog holds no run"], groups
    of_findings = _findings_text(open_findings(store, where), *not_audited(store, where))
    lines = [*_facts([*_totals(groups), ("Open findings", of_findings)]), ""]
    if len({group["proposal"] for group in groups}) > 1:
        several = len({group["instrument"] for group in groups}) > 1
        by = ("instrument",) if several else ("cycle", "proposal")
        return lines + _group_table(groups, by), groups
    lines += _group_table(groups, ("data_class",))
    coverage: list[Row] = coverage_by_class(store, where).table.to_pylist()
    for data_class, of_class in groupby(coverage, lambda row: row["data_class"]):
        rows = list(of_class)
        runs = count(rows[0]["of_runs"], f"{data_class or '-'} run")
        lines += ["", f"{count(len(rows), 'source')} in {runs}:"]
        lines += _table(
            ("runs that have it", "trains with data", "section", "source"),
            _put_together(
                (
                    bar(row["runs"], row["of_runs"]),
                    bar(row["trains"], row["of_trains"]),
                    row["section"],
                    row["source"],
                )
                for row in rows
            ),
        )
    return lines, coverage or groups


def _totals(groups: list[Row]) -> Facts:
    def total(name: str) -> int:
        return sum(group[name] or 0 for group in groups)

    def names(column: str) -> list[str]:
        return sorted({str(group[column]) for group in groups if group[column] is not None})

    n_runs, outline_only, undated = total("runs"), total("outline_only"), total("undated")
    undated_text = f"; {count(undated, 'run')} without times" if undated else ""
    lost = [f"{total(f'files_{how}')} {how}" for how in ("missing", "unread")]
    first = min((g["first_data"] for g in groups if g["first_data"]), default=None)
    last = max((g["last_data"] for g in groups if g["last_data"]), default=None)
    ingests = [g["oldest_ingest"] for g in groups] + [g["newest_ingest"] for g in groups]
    proposals = names("proposal")
    few = ", ".join(f"p{int(p):06d}" for p in proposals) if len(proposals) <= 3 else ""
    return [
        ("Instruments", ", ".join(names("instrument")) or "none: outside a facility tree"),
        ("Cycles", ", ".join(names("cycle")) or "none"),
        ("Proposals", few or str(len(proposals))),
        ("Runs", str(n_runs)),
        ("Files", f"{total('files')} ({', '.join(lost)}), {size_text(total('bytes'))}"),
        ("Trains", f"{total('trains')} in {count(n_runs, 'run')}"),
        ("First data", f"{_time(first)}{undated_text}"),
        ("Last data", _time(last)),
        ("Fully scanned", f"{bar(n_runs - outline_only, n_runs)} of the runs"),
        ("Ingested", f"{_time(min(ingests))} to {_time(max(ingests))}"),
    ]


def _findings_text(findings: dict[str, int], n_not_audited: int, last_audit: Any) -> str:
    """How many findings are open, and what of that an audit has looked at."""
    open_now = [
        count(findings[s], word) for s, word in COUNTED_SEVERITIES.items() if findings.get(s)
    ]
    text = ", ".join(open_now) or "none"
    if last_audit is None:
        return f"{text} from ingest; not audited yet: `xfelcat audit`"
    if n_not_audited:
        return f"{text}; {count(n_not_audited, 'run')} not audited yet: `xfelcat audit`"
    return f"{text} (audited {_time(last_audit)})"


def _group_table(groups: list[Row], by: Sequence[str]) -> list[str]:
    """Runs, files, size, first and last data of groups of groups."""
    merged: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for group in groups:
        merged[tuple(group[name] for name in by)].append(group)
    rows = []
    for values, members in merged.items():
        firsts = [m["first_data"] for m in members if m["first_data"]]
        lasts = [m["last_data"] for m in members if m["last_data"]]
        rows.append(
            (
                str(sum(m["runs"] for m in members)),
                str(sum(m["files"] for m in members)),
                size_text(sum(m["bytes"] or 0 for m in members)),
                f"{min(firsts):%Y-%m-%d}" if firsts else "",
                f"{max(lasts):%Y-%m-%d}" if lasts else "",
                " ".join(
                    "-" if v is None else f"p{v:06d}" if name == "proposal" else str(v)
                    for name, v in zip(by, values, strict=True)
                ),
            )
        )
    head = ("runs", "files", "size", "first data", "last data", " ".join(by).replace("_", " "))
    return _table(head, rows, to_right=(0, 1, 2))


# A run and what is in it ------------------------------------------------------------------------


def _freshness(known: Row | None) -> str:
    """How deep and how fresh what the catalog knows of a run is."""
    if known is None:
        return "no; read from the files just now"
    lost = [f"{n} {how}" for how in ("missing", "unread") if (n := known[f"files_{how}"])]
    depth = {"full": "in full", "outline": "by outline", "names": "by names"}
    return (
        f"{depth.get(known['depth'], known['depth'])}, {known['ingested_at']:%Y-%m-%d %H:%M} UTC, "
        f"{count(known['files'], 'file')}{' (' + ', '.join(lost) + ')' if lost else ''}, "
        f"{size_text(known['bytes'] or 0)}"
    )


def _describe_run(target: str, store: "Store") -> Description:
    """A run: its facts, and its sources with in how many trains they have data."""
    from ..loader.show.display import detector_groups, run_facts
    from ..loader.show.inspection import source_rows

    path, run, known = open_known(target, store)
    rows = source_rows(run.selected)
    detectors, _ = detector_groups({row["source"] for row in rows})
    modules = {name for sources in detectors.values() for name in sources.values()}
    lines = [path, *_facts([*run_facts(run.selected), ("Catalogued", _freshness(known))])]
    for section, noun in (("INSTRUMENT", "instrument source"), ("CONTROL", "control source")):
        cells = []
        for row in rows:
            if row["section"] != section:
                continue
            share = bar(row["trains"], row["of_trains"]) if row["keys"] else "RUN values only"
            aggregator = row["aggregator"] or "?"
            if row["source"] in modules:  # each has its own, of the same name
                aggregator = aggregator.rstrip("0123456789") + "*"
            cells.append((share, str(row["keys"]), aggregator, row["index_group"], row["source"]))
        lines += ["", f"{count(len({name for *_, name in cells}), noun)}:"]
        head = ("trains with data", "keys", "aggregator", "group", "source")
        lines += _table(head, _put_together(cells), to_right=(1,))
    return lines, rows


def _describe_sources(target: str, glob: str, store: "Store") -> Description:
    """Sources of a run: when they have data, their keys with units, and their RUN values."""
    from ..catalog.model.errors import SourceNameError
    from ..loader.show.inspection import key_rows, sources_of

    path, run, known = open_known(target, store)
    names = [glob] if glob in run.all_sources else []
    names = names or [name for name in sources_of(run.selected) if fnmatch.fnmatchcase(name, glob)]
    if not names:
        raise SourceNameError(glob, run.all_sources)
    lines = [path, *_facts([("Catalogued", _freshness(known))])]
    rows: list[Row] = []
    for name in names:
        source = run[name]
        facts = [
            ("Section", source.section),
            ("Aggregator", source.aggregator or "several or unknown"),
        ]
        if source.is_control and source.is_single_run and source.device_class:
            facts.append(("Device class", source.device_class))
        for group in [] if source.is_run_only else sorted(source.index_groups):
            counts = source.data_counts(labelled=False, index_group=group)
            facts += _extent(run, counts, f"{group}.*" if group else "Data")
        keys = key_rows(source.selected)
        cells = [
            (
                key["key"],
                key["dtype"],
                " × ".join(map(str, key["shape"])) or "scalar",
                key["unit"],
                value_text(key["run_value"], _LONGEST_VALUE) or "",
            )
            for key in keys
        ]
        table = _table(("key", "dtype", "shape", "unit", "RUN value"), cells)
        lines += ["", name, *_facts(facts), *([""] if table else []), *table]
        rows += [
            {"source": name, **key, "run_value": value_text(key["run_value"], None)} for key in keys
        ]
    return lines, rows


def _describe_key(target: str, source: str, name: str, store: "Store") -> Description:
    """A key: what it is like, when it has data, what it did, and in which files it is."""
    from ..catalog.questions.inventory import key_profile
    from ..loader.show.inspection import file_rows

    path, run, known = open_known(target, store)
    key = run[source, name]
    facts = [
        ("Section", key.section),
        ("Index group", key.index_group or "-"),
        ("dtype", "str" if key.dtype.kind == "O" else str(key.dtype)),
        ("Entry shape", " × ".join(map(str, key.entry_shape)) or "scalar"),
        ("Unit", f"{key.units or '-'}{f' ({key.units_name})' if key.units_name else ''}"),
        ("Size", size_text(key.nbytes)),
        *_extent(run, key.data_counts(labelled=False), "Data"),
    ]
    if profile := known and key_profile(store, known["run_id"], key.source, key.key):
        facts += _profile_facts(profile, key.units or "")
    rows = file_rows(key.selected)
    cells = [
        (bar(f["trains_with_data"], f["trains"]), str(f["entries"]), os.path.basename(f["file"]))
        for f in rows
    ]
    head = ("trains with data", "entries", "file")
    catalogued = _facts([("Catalogued", _freshness(known))])
    lines = [path, *catalogued, "", f"{key.source} {key.key}", *_facts(facts), ""]
    return lines + _table(head, cells, to_right=(1,)), rows


def _profile_facts(profile: Row, unit: str) -> Facts:
    """What `xfelcat profile` read of a key."""
    if profile["first_text"] is not None:
        texts = [value_text(profile[f"{end}_text"], _LONGEST_VALUE) for end in ("first", "last")]
        facts = [("First, last", ", ".join(map(repr, texts)))]
    elif profile["minimum"] is None:
        facts = [("Values", "no numbers")]
    else:

        def value(name: str) -> str:
            return f"{profile[name]:.6g} {unit}".rstrip()

        facts = [
            ("Values", f"{value('minimum')} to {value('maximum')}"),
            ("Mean", f"{value('mean')}, standard deviation {value('std')}"),
            ("First, last", f"{value('first')}, {value('last')}"),
        ]
    nans = f", {profile['nans']} NaN" if profile["nans"] else ""
    entries = f"{profile['entries']} entr{'y' if profile['entries'] == 1 else 'ies'}"
    facts.append(("Changes", f"{profile['changes']} in {entries}{nans}"))
    stale = "; files have changed since: xfelcat profile reads them again"
    at = f"{profile['profiled_at']:%Y-%m-%d %H:%M} UTC"
    facts.append(("Profiled", f"{at}{stale if profile['stale'] else ''}"))
    return facts


def _extent(run: "DataCollection", counts: Any, name: str) -> Facts:
    """In which trains of a run there are data, and when that was, as far as that is recorded."""
    import numpy as np

    from ..loader.show.inspection import data_extent

    extent = data_extent(run.train_ids, counts)
    n, of_n = extent["trains"], extent["of_trains"]
    facts = [(name, f"{bar(n, of_n)} {n} of {of_n} trains")]
    if n:
        few, many = int(counts[counts > 0].min()), int(counts.max())
        entries = str(few) if few == many else f"{few} to {many}"
        facts.append(("Entries", f"{extent['entries']}, {entries} per train with data"))
        for end in ("first", "last"):
            train_id = extent[f"{end}_train"]
            moment = run.train_timestamps()[run.train_ids.index(train_id)]
            at = "" if np.isnat(moment) else f" at {moment.astype('datetime64[s]').item()} UTC"
            facts.append((f"{end.capitalize()} data", f"train {train_id}{at}"))
    return facts


# Tables -----------------------------------------------------------------------------------------


def _put_together(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One line for sources, the last cells, with the same other cells, where names are alike."""
    from ..catalog.model.names import number_ranges
    from ..loader.show.display import compact_names, detector_groups
    from ..loader.show.inspection import natural_key

    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for *cells, source in rows:
        groups[tuple(cells)].append(source)
    lines = []
    for same, names in groups.items():
        detectors, others = detector_groups(names)
        texts = [f"{pattern} ({number_ranges(m)})" for pattern, m in detectors.items()]
        lines += [(*same, text) for text in [*texts, *compact_names(others)]]
    return sorted(lines, key=lambda line: natural_key(line[-1]))


def _table(
    head: tuple[str, ...], rows: Sequence[tuple[str, ...]], to_right: Sequence[int] = ()
) -> list[str]:
    """Aligned columns; one that has nothing in any row is left out.

    On a terminal that is too narrow bars go, rather than that names are torn.
    """
    kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
    cells = [[row[at] for at in kept] for row in (head, *rows)] if rows else []
    lines = [f"  {line}" for line in aligned(cells, [at in to_right for at in kept])]
    width = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and max(map(len, lines), default=0) > width:
        cells = [[_BAR.sub("", _SHORT_HEADS.get(cell, cell)) for cell in row] for row in cells]
        lines = [f"  {line}" for line in aligned(cells, [at in to_right for at in kept])]
    return lines


def info_command(
    target: Annotated[
        str | None,
        argument(
            "WHAT",
            "SPB, SPB/202405, p002012, p002012/raw, a run (p002012/raw/r0034, 2012/34), or a "
            "path; left out: all of the catalog.",
            autocompletion=completing("named thing"),
        ),
    ] = None,
    source: Annotated[
        str | None,
        argument(
            "SOURCE",
            "Glob of sources of the run: their keys and values.",
            autocompletion=completing("source"),
        ),
    ] = None,
    key: Annotated[
        str | None,
        argument(
            "KEY", "A key of the source: its data, file by file.", autocompletion=completing("key")
        ),
    ] = None,
    *,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Describe a facility, an instrument, a proposal, a run, a source or a key.

    With --format json, csv or parquet: rows of what it consists of.
    """
    from ..catalog.model.errors import CatalogNotFoundError
    from ..catalog.model.identity import parse_run_name
    from ..catalog.questions.inventory import count_runs

    chosen = choose_format(format_, output)
    store = open_store(catalog)
    if target and source and source.isdecimal() and parse_run_name(f"{target}/{source}"):
        target, source, key = f"{target}/{source}", key, None  # as open_run takes them
    where = named_runs(target)
    several = target is None
    if target is not None and source is None and not where.runs:  # more than the one of this name
        with suppress(CatalogNotFoundError):
            several = catalogued_run(target, store) is None and count_runs(store, where) > 0
    if target is None or several:
        lines, rows = _describe_catalog(store, where)
        say_if_behind(store)
    elif source is None:
        lines, rows = _describe_run(target, store)
    elif key is None:
        lines, rows = _describe_sources(target, source, store)
    else:
        lines, rows = _describe_key(target, source, key, store)
    if chosen is Format.TABLE and output is None:
        with paging():
            for line in lines:
                typer.echo(line)
    else:
        write_rows(rows, chosen, output)
