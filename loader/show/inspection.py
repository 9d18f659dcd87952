"""Sources, keys and files of a run in rows, and the differences between two runs.

Rows are plain dicts with the same names in every row of a kind, for tables and for other programs;
they come from what is known about the run, and no data are read.

1. ``source_rows``: a row per source and index group, with in how many trains it has data.
2. ``key_rows``: a row per key of a source, with its RUN value; RUN has keys that nothing else has.
3. ``file_rows``: a row per file that holds a key.
4. ``compare_runs``: the ``Difference``s of two runs.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..read.selected import SelectedData, SelectedKey, SelectedSource, aggregator_of

Row = dict[str, Any]


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts names with their numbers as numbers: module 2 before module 10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts)


def sources_of(data: SelectedData) -> list[str]:
    """The control and instrument sources in the order people expect, without old names."""
    return sorted(data.current_names, key=natural_key)


def source_rows(data: SelectedData) -> list[Row]:
    """section, source, index_group, aggregator, keys, trains (with data), of_trains, entries.

    Also first_train and last_train with data, None where there are none. A source with RUN values
    only has no trains.
    """
    rows = []
    for name in sources_of(data):
        source = data.source(name)
        groups = [] if source.is_run_only else sorted(source.index_groups)
        for group in groups or [""]:
            keys = source.keys(inc_timestamps=False) if groups else set()
            counts = source.counts(group) if groups else None
            row = {
                "section": source.entry.section,
                "source": name,
                "index_group": group,
                "aggregator": aggregator_of(source),
                "keys": sum(not group or key.startswith(f"{group}.") for key in keys),
            }
            rows.append(row | data_extent(data.trains.to_list(), counts))
    return rows


def data_extent(train_ids: list[int], counts: Any) -> Row:
    """In how many of the trains there are data, how many entries, and from which train to which."""
    with_data = np.flatnonzero(counts) if counts is not None else np.empty(0, int)
    return {
        "trains": len(with_data),
        "of_trains": len(train_ids),
        "entries": int(counts.sum()) if counts is not None else 0,
        "first_train": train_ids[with_data[0]] if len(with_data) else None,
        "last_train": train_ids[with_data[-1]] if len(with_data) else None,
    }


def key_rows(source: SelectedSource) -> list[Row]:
    """key, dtype, shape (of one entry), unit and run_value of each key; index_group "RUN" for RUN.

    run_value is None where there is none, a scalar, a text or an array.
    """
    values = source.run_values(inc_timestamps=False)
    keys = [] if source.is_run_only else sorted(source.keys(inc_timestamps=False), key=natural_key)
    rows = []
    for name in keys:
        key = source.key(name)
        rows.append(
            {
                "key": name,
                "index_group": key.record.group,
                "dtype": _dtype_name(key.dtype),
                "shape": list(key.entry_shape),
                "unit": key.units or "",
                "run_value": values.get(name),
            }
        )
    for name in sorted(values.keys() - set(keys), key=natural_key):
        value = values[name]
        row = {"key": name, "index_group": "RUN", "dtype": _dtype_name(np.asarray(value).dtype)}
        rows.append(row | {"shape": list(np.shape(value)), "unit": "", "run_value": value})
    return rows


def file_rows(key: SelectedKey) -> list[Row]:
    """name, trains, trains_with_data and entries of each file that holds the key."""
    counts = dict(zip(key.trains.to_list(), key.rows.counts.tolist(), strict=True))
    rows = []
    for ref in key.refs:
        here = [counts[t] for t in ref.trains.to_list() if t in counts]
        with_data = sum(n > 0 for n in here)
        row = {"file": ref.path, "trains": len(here), "trains_with_data": with_data}
        rows.append(row | {"entries": sum(here)})
    return rows


def _dtype_name(dtype: "np.dtype[Any]") -> str:
    return "str" if dtype.kind in "OU" else str(dtype)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs differ."""

    what: str
    """source, key, dtype, shape, unit or value."""
    source: str
    """Name of the source."""
    key: str
    """Name of the key; empty where the sources differ."""
    first: Any
    """What the first run has, None if nothing: for a source its section, for a key its dtype."""
    second: Any
    """What the second run has."""


def compare_runs(
    first: SelectedData,
    second: SelectedData,
    *,
    tolerance: float = 0.0,
    values: bool = True,
    timestamps: bool = False,
) -> list[Difference]:
    """What differs between two runs, ordered by source and key.

    Trains, files and times differ between any two runs and are not compared; RUN values are only
    with ``values``, and the times at which they were set only with ``timestamps``. Numbers in RUN
    are the same if they are no further apart than ``tolerance``, a share of the larger one, where 0
    means exactly the same. NaN is the same as NaN.
    """
    found: list[Difference] = []
    names = sorted({*sources_of(first), *sources_of(second)})
    for name in names:
        one, other = (c.source(name) if name in c.sources else None for c in (first, second))
        if one is None or other is None:
            sections = [side and side.entry.section for side in (one, other)]
            found.append(Difference("source", name, "", *sections))
        else:
            found += _source_differences(name, one, other, tolerance)
            if timestamps and one.is_control and other.is_control:
                times, other_times = one.run_values(), other.run_values()
                for key in sorted(times.keys() & other_times.keys()):
                    a, b = times[key], other_times[key]
                    if key.endswith(".timestamp") and not same_value(a, b):
                        found.append(Difference("value", name, key, a, b))
    return [d for d in found if values or d.what != "value"]


def _source_differences(
    name: str, one: SelectedSource, other: SelectedSource, tolerance: float
) -> Iterator[Difference]:
    if one.entry.section != other.entry.section:
        yield Difference("source", name, "", one.entry.section, other.entry.section)
    rows, other_rows = ({row["key"]: row for row in key_rows(side)} for side in (one, other))
    for key in sorted(rows.keys() | other_rows.keys()):
        a, b = rows.get(key), other_rows.get(key)
        if a is None or b is None:
            yield Difference("key", name, key, a and a["dtype"], b and b["dtype"])
            continue
        for what in ("dtype", "shape", "unit"):
            # An array in RUN may have another length in every run: that is its value.
            is_run = a["index_group"] == b["index_group"] == "RUN"
            if a[what] != b[what] and not is_run:
                yield Difference(what, name, key, a[what], b[what])
        if not same_value(a["run_value"], b["run_value"], tolerance):
            yield Difference("value", name, key, a["run_value"], b["run_value"])


def same_value(first: Any, second: Any, tolerance: float = 0.0) -> bool:
    """Whether two RUN values are the same: scalars, texts, arrays, or None for none."""
    if first is None or second is None:
        return first is second
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        return bool(np.array_equal(a, b))
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    # Equal as integers beyond 2^53 too, or both NaN, or close.
    return all(
        x == y or (x != x and y != y) or (tolerance > 0 and math.isclose(x, y, rel_tol=tolerance))
        for x, y in pairs
    )
