"""INDEX of a file: which rows belong to which train.

INDEX holds, for every index group, the first row and the number of rows of each train. Here the
arrays of any format version become an ``IndexPattern`` for the trains of the file:

1. find ``first`` and ``count``, or ``last`` and ``status`` (format 0.1), group by group;
2. cut the padding, leave out the rows whose train ID is zero;
3. refuse numbers that can be no rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hdf5.interface import READ_ERRORS, Group, reason_of
from ..model.runlength import IndexPattern, TrainList
from .checks import Fault

_MAX_ROW = 1 << 48  # no dataset is longer; sums of such numbers stay within int64

Int64s = NDArray[np.int64]


def index_place(source: str, group: str) -> str:
    """Where the index of a group lies: ``INDEX/<source>[/<group>]``."""
    return f"INDEX/{source}/{group}" if group else f"INDEX/{source}"


def no_rows(trains: TrainList) -> IndexPattern:
    """The index of a group without any rows."""
    return IndexPattern.from_arrays(np.zeros(len(trains)), np.zeros(len(trains)))


def read_index(
    root: Group,
    source: str,
    group: str,
    trains: TrainList,
    memo: dict[bytes, IndexPattern],
    *,
    required: bool = True,
) -> tuple[IndexPattern, list[Fault]]:
    """The index of one group, and what is wrong with it; no rows where it has none.

    ``memo`` makes equal arrays the same pattern. ``required``: a missing index is a fault.
    """
    place = index_place(source, group)
    found = root.group(place)
    if found is None:
        faults = [Fault("I02", "index missing", place)] if required else []
        return no_rows(trains), faults
    try:
        first, count = _first_and_count(found)
    except READ_ERRORS as e:
        return no_rows(trains), [Fault("I02", f"index cannot be read: {reason_of(e)}", place)]
    if first is None or count is None:
        return no_rows(trains), [Fault("I02", "index without first and count or last", place)]
    if first.ndim != 1 or count.ndim != 1:
        return no_rows(trains), [Fault("I02", "first and count are not one-dimensional", place)]
    key = first.tobytes() + b"|" + count.tobytes()
    if key not in memo:
        memo[key], faults = _pattern(first, count, trains, place)
        if faults:
            return memo.pop(key), faults
    return memo[key], []


def _first_and_count(group: Group) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The two arrays as they are in the file, padding included; None for what is missing."""
    first, count = group.dataset("first"), group.dataset("count")
    if first is None:
        return None, None
    if count is not None:
        return first.read(), count.read()
    last = group.dataset("last")
    if last is None:
        return first.read(), None
    first_row, last_row = first.read(), last.read()
    if first_row.shape != last_row.shape:
        raise ValueError(f"{first_row.size} first rows, but {last_row.size} last rows")
    with np.errstate(over="ignore"):
        n = last_row.astype(np.int64) - first_row.astype(np.int64) + 1
    status = group.dataset("status")
    if status is not None:
        n = n * status.read().astype(np.int64)
    # The padding, and a train without data in it, have last and status 0.
    return first_row, np.maximum(n, 0)


def _pattern(
    first: NDArray[Any], count: NDArray[Any], trains: TrainList, place: str
) -> tuple[IndexPattern, list[Fault]]:
    faults = []
    n = len(trains) + trains.dropped.size
    if first.size != count.size or min(first.size, count.size) < n:
        message = f"{first.size} first rows and {count.size} counts for {n} trains"
        faults.append(Fault("I02", message, place))
    elif beyond := np.count_nonzero((count[n:] > 0) & (first[n:] > 0)):
        message = f"rows for {n + beyond} trains, but there are {n} train IDs"
        faults.append(Fault("I02", message, place))
    starts, counts = (_fitted(a, n, trains.dropped) for a in (first, count))
    absurd = (
        (counts < 0) | (counts > _MAX_ROW) | ((counts > 0) & ((starts < 0) | (starts > _MAX_ROW)))
    )
    if absurd.any():
        at = int(np.flatnonzero(absurd)[0])
        message = f"{absurd.sum()} trains with impossible rows, such as {starts[at]} + {counts[at]}"
        faults.append(Fault("I01", message, place))
        starts, counts = np.where(absurd, 0, starts), np.where(absurd, 0, counts)
    return IndexPattern.from_arrays(starts, counts), faults


def _fitted(values: NDArray[Any], n: int, dropped: Int64s) -> Int64s:
    """An index array cut or filled with zeros to ``n`` rows, without the dropped ones."""
    with np.errstate(invalid="ignore"):
        values = values[:n].astype(np.int64)
    values = np.concatenate([values, np.zeros(n - values.size, np.int64)])
    return np.delete(values, dropped) if dropped.size else values


def index_groups(root: Group, source: str) -> list[str]:
    """The index groups of a source as INDEX has them: ``[""]`` where it is indexed as a whole."""
    top = root.group(f"INDEX/{source}")
    paths = (name.rpartition("/") for name in top.walk()) if top is not None else ()
    return sorted({group for group, _, name in paths if name == "first"})
