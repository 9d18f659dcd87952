"""What a key did along its trains, in few numbers: for plots, sparklines and points per run.

1. ``TrainAxis``: where trains lie along an axis, and in which column of it.
2. ``read_course``: minimum, mean and maximum of the values in each column. Data are read part by
   part; of keys whose entries are arrays, one train per column and at most ``MOST_BYTES`` in all.
3. ``read_mean``: the mean of arrays over some of the trains.
4. ``sparkline``: numbers as one line of text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import NoDataError, NotPlottableError
from ...catalog.model.runlength import UInt64s
from ..read.selected import SelectedKey
from ..read.summary import BLOCK_ROWS, Summary, summarize
from ..select.selection import parse_region
from ..select.trains import TrainSet

Floats = NDArray[np.float64]

# Of arrays: a second or two from a fast disk. Scalars are all read.
MOST_BYTES = 256 * 2**20
_PART_BYTES = 64 * 2**20  # in memory at a time
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class TrainAxis:
    """Where trains lie along an axis, in trains from the first: at 0, 1, 2, ..., with gaps.

    Trains of several runs, or a selection of few, lie side by side without gaps, and so do those of
    a run with an implausible ID.
    """

    trains: TrainSet

    @cached_property
    def is_linear(self) -> bool:
        """Whether trains lie where their IDs say."""
        if not len(self.trains):
            return False
        return int(self.trains.lasts[-1] - self.trains.firsts[0]) < 2 * len(self.trains)

    @property
    def length(self) -> int:
        """How many trains the axis is long; 0 for none."""
        if not len(self.trains):
            return 0
        return int(self.at(self.trains.lasts[-1:])[0]) + 1

    def at(self, ids: UInt64s) -> Floats:
        """Where these trains lie, each one of ``trains``, (n,)."""
        if not self.is_linear:
            return self.trains.positions(ids).astype(np.float64)
        first: np.uint64 = self.trains.firsts[0]
        return (ids - first).astype(np.float64)

    def columns(self, ids: UInt64s, n_columns: int) -> NDArray[np.intp]:
        """In which of so many equal columns of the axis they lie, (n,)."""
        return (self.at(ids) * (n_columns / max(self.length, 1))).astype(np.intp)

    def ticks(self, most: int = 6) -> tuple[list[int], list[str]]:
        """Places for at most so many ticks, with seconds and train ID below each other."""
        steps = (n * 10**power for power in range(20) for n in (1, 2, 5))
        step = next(step for step in steps if self.length <= step * most)
        places = list(range(0, self.length, step))
        if not places:
            return [], []
        first = int(self.trains.firsts[0])
        ids = [first + x if self.is_linear else int(self.trains.at([x])[0]) for x in places]
        return places, [f"{(i - first) / 10:.6g}\n{i}" for i in ids]


@dataclass(frozen=True, eq=False)
class Course:
    """Values of a key in columns along its trains, NaN in columns without any, (columns,)."""

    low: Floats
    mean: Floats
    high: Floats
    summary: Summary
    """Of all the values that were read."""
    n_trains: int
    """Trains with data."""
    n_read: int
    """How many of them were read."""


def check_numbers(key: SelectedKey) -> None:
    """Raise NotPlottableError unless the values are numbers or booleans, NoDataError for none."""
    if key.dtype.kind not in "biuf":
        kind = "several fields" if key.dtype.names else f"values of type {key.dtype}"
        raise NotPlottableError(key.entry.name, key.name, kind)
    if not key.rows.n_rows:
        raise NoDataError(key.entry.name, key.name)


def read_course(key: SelectedKey, n_columns: int, axis: TrainAxis | None = None) -> Course:
    """What a key of numbers did along the trains of an axis, by default its own.

    Raises NotPlottableError for other values, NoDataError where there are none.
    """
    check_numbers(key)
    axis = axis or TrainAxis(key.trains)
    having = key.rows.trains_with_rows.ids
    ids = one_per_column(key, axis, n_columns) if key.entry_shape else having
    low, high = np.full(n_columns, np.nan), np.full(n_columns, np.nan)
    total, n = np.zeros(n_columns), np.zeros(n_columns, np.int64)
    summary = Summary()
    for part in in_parts(key, ids):
        data = part.read()
        per_entry = max(data[:1].size, 1)
        columns = axis.columns(part.rows.coordinates, n_columns)
        flat = data.ravel()
        for start in range(0, flat.size, BLOCK_ROWS):
            block = flat[start : start + BLOCK_ROWS]
            summary = summary.followed_by(summarize(block))
            values = block.astype(np.float64)
            values[~np.isfinite(values)] = np.nan
            at = columns[np.arange(start, start + block.size) // per_entry]
            firsts = np.flatnonzero(np.diff(at, prepend=-1))
            here = at[firsts]
            low[here] = np.fmin(low[here], np.fmin.reduceat(values, firsts))
            high[here] = np.fmax(high[here], np.fmax.reduceat(values, firsts))
            total[here] += np.add.reduceat(np.nan_to_num(values), firsts)
            n[here] += np.add.reduceat(~np.isnan(values), firsts, dtype=np.int64)
    mean = np.divide(total, n, out=np.full(n_columns, np.nan), where=n > 0)
    return Course(low, mean, high, summary, having.size, ids.size)


def _affordable(key: SelectedKey) -> int:
    """For how many trains arrays may be read."""
    per_train = key.nbytes / len(key.rows.trains_with_rows)
    return max(1, int(MOST_BYTES / max(per_train, 1)))


def one_per_column(key: SelectedKey, axis: TrainAxis, n_columns: int) -> UInt64s:
    """The first train with data of each column, as far as arrays may be read."""
    ids = key.rows.trains_with_rows.ids
    _, firsts = np.unique(axis.columns(ids, n_columns), return_index=True)
    return _sampled(ids[firsts], _affordable(key))


def _sampled(ids: UInt64s, most: int) -> UInt64s:
    """At most so many of them, evenly spaced."""
    if ids.size <= most:
        return ids
    return ids[np.linspace(0, ids.size - 1, most).round().astype(np.intp)]


def in_parts(key: SelectedKey, ids: UInt64s) -> Iterator[SelectedKey]:
    """The key for some trains that have data, in parts small enough to be read at once."""
    per_train = key.nbytes / len(key.rows.trains_with_rows)
    step = max(1, int(_PART_BYTES / max(per_train, 1)))
    for start in range(0, ids.size, step):
        yield key.with_trains(TrainSet.from_ids(ids[start : start + step]))


def read_mean(key: SelectedKey, most_trains: int) -> tuple[Floats, int, int]:
    """The mean entry over some trains, the trains and the entries that it is of.

    Of an entry with more than two dimensions, what has position 0 in those before the last two.
    Values that are NaN count for nothing.
    """
    check_numbers(key)
    roi = (0,) * (len(key.entry_shape) - 2)
    ids = _sampled(key.rows.trains_with_rows.ids, min(most_trains, _affordable(key)))
    shape = parse_region(roi, key.entry_shape).shape
    total, n, n_entries = np.zeros(shape), np.zeros(shape, np.int64), 0
    for part in in_parts(key, ids):
        for data in part.read(roi):  # frame by frame: none is copied but the one
            values = data.astype(np.float64)
            is_number = np.isfinite(values)
            total += np.where(is_number, values, 0)
            n += is_number
            n_entries += 1
    return np.divide(total, n, out=np.full(shape, np.nan), where=n > 0), ids.size, n_entries


def sparkline(values: Floats, low: float | None = None, high: float | None = None) -> str:
    """Numbers as one line of text; blank for NaN.

    The lowest bar is ``low``, the highest ``high``, by default the smallest and the largest number.
    """
    low = np.nanmin(values, initial=np.inf) if low is None else low
    high = np.nanmax(values, initial=-np.inf) if high is None else high
    span = high - low
    if not span > 0:  # all the same, or none
        return "".join(" " if np.isnan(v) else _BARS[3] for v in values)
    levels = (values - low) / span * (len(_BARS) - 1)
    return "".join(" " if np.isnan(v) else _BARS[round(v)] for v in levels)
