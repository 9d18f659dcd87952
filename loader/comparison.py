"""In what do two runs differ: sources, keys, what the keys are like, values at the start?

``compare_runs`` gives one ``Difference`` per thing, ordered by source and key. Trains, files and
times differ between any two runs and are not compared; neither are timestamps, unless asked for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .inspection import key_rows, sources_of

if TYPE_CHECKING:
    from .collection import DataCollection
    from .sourcedata import SourceData

__all__ = ["Difference", "compare_runs", "same_value"]


@dataclass(frozen=True, slots=True)
class Difference:
    """``what`` (source, key, dtype, shape, unit, value) of ``source`` and ``key`` is not the same.

    ``first`` and ``second`` are what each run has, None where it has none. Of a source it is the
    section that is told, of a key the dtype; ``key`` is "" for a source.
    """

    what: str
    source: str
    key: str
    first: Any
    second: Any


def compare_runs(
    first: "DataCollection",
    second: "DataCollection",
    *,
    tolerance: float = 0.0,
    values: bool = True,
    timestamps: bool = False,
) -> list[Difference]:
    """What differs between two runs.

    Parameters
    ----------
    first, second
        The runs.
    tolerance
        RUN values that are numbers are the same if they are no further apart than this share of the
        larger; 0 means exactly the same. NaN is the same as NaN.
    values
        Whether RUN values are compared.
    timestamps
        Whether the times at which RUN values were set are compared, too.
    """
    found: list[Difference] = []
    names = sorted({*sources_of(first), *sources_of(second)})
    for name in names:
        one, other = (c[name] if name in c.all_sources else None for c in (first, second))
        if one is None or other is None:
            sections = [side and side.section for side in (one, other)]
            found.append(Difference("source", name, "", *sections))
        else:
            found += _source_differences(name, one, other, tolerance)
            if timestamps and one.is_control and other.is_control:
                found += _time_differences(name, one, other)
    return [d for d in found if values or d.what != "value"]


def _source_differences(
    name: str, one: "SourceData", other: "SourceData", tolerance: float
) -> Iterator[Difference]:
    if one.section != other.section:
        yield Difference("source", name, "", one.section, other.section)
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


def _time_differences(name: str, one: "SourceData", other: "SourceData") -> Iterator[Difference]:
    times, other_times = one.run_values(), other.run_values()
    for key in sorted(times.keys() & other_times.keys()):
        if key.endswith(".timestamp") and not same_value(times[key], other_times[key]):
            yield Difference("value", name, key, times[key], other_times[key])


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
    return all(_same_number(x, y, tolerance) for x, y in pairs)


def _same_number(a: float, b: float, tolerance: float) -> bool:
    """Equal (as integers beyond 2^53 too), no further apart than the tolerance, or both NaN."""
    if a == b or (a != a and b != b):
        return True
    return abs(a - b) <= tolerance * max(abs(a), abs(b)) < math.inf
