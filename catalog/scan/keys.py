"""Keys and index of sources, and the values of control sources at the start of the run (RUN).

Names come from one traversal of a section (``key_leaves``). Then each dataset is opened for dtype,
shape and units (``read_keys``); ``reuse_keys`` does with less, where an earlier sequence file of
the run has a source with the same names.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hdf5.interface import (
    READ_ERRORS,
    Dataset,
    Group,
    first_value,
    leaves,
    link_not_followed,
    reason_of,
)
from ..model.names import UNIT_ATTRIBUTES
from ..model.records import KeyRecord, KeySchema, RunValue, encode_dtype
from ..model.runlength import FrameIds, IndexPattern, TrainList
from .checks import Fault

_UNIT_ATTRIBUTES = tuple(map(str.encode, UNIT_ATTRIBUTES))
_NO_UNITS = ("", "", "", "")

Rows = dict[str, dict[str, int]]
"""Lengths of datasets: by index group, then by key."""


def key_name(leaf: str) -> str:
    """The name of a key as the API spells it."""
    return leaf.replace("/", ".")


def source_leaves(
    root: Group, section: str, source: str, faults: list[Fault] | None = None
) -> list[str]:
    """The paths of the datasets of one source, relative to it; empty where it has no group.

    ``faults`` gets the links to other files below it that are not followed.
    """
    place = f"{section}/{source}"
    group = root.group(place)
    out: dict[str, str] = {}
    found = [] if group is None else list(leaves(group.walk(out)))
    if faults is not None:
        faults.extend(_links_out(place, out))
    return found


def _links_out(place: str, out: Mapping[str, str]) -> list[Fault]:
    """What is wrong with the links to other files below a place, by their paths from there."""
    return [
        Fault("F02", f"cannot be read: {link_not_followed(other)}", f"{place}/{path}")
        for path, other in out.items()
    ]


def key_leaves(
    root: Group, section: str, sources: Collection[str], faults: list[Fault]
) -> tuple[dict[str, list[str]], list[str]]:
    """The dataset paths of each source of a section, and the groups with data that belong to none.

    Sources without a group, or reached by a link, are missing from the result. ``faults`` gets the
    links to other files in the place of keys that are not followed.
    """
    top = root.group(section)
    found: dict[str, list[str]] = {}
    if top is None:
        return found, []
    unlisted: dict[str, bool] = {}  # whether it holds a dataset
    above = {s[:at] for s in sources for at in range(len(s)) if s[at] == "/"}
    out: dict[str, str] = {}
    names = top.walk(out)
    is_leaf = set(leaves(names))
    inside: list[str] = []  # listed sources around the current name, innermost last
    stray = ""
    for name in names:
        while inside and not name.startswith(inside[-1] + "/"):
            inside.pop()
        if name in sources:
            inside.append(name)
            found[name] = []
        elif inside:
            if name in is_leaf:
                found[inside[-1]].append(name[len(inside[-1]) + 1 :])
        elif name not in above:
            if not (stray and name.startswith(stray + "/")):
                stray = name
                unlisted[stray] = False
            if name in is_leaf and not unlisted[stray]:
                unlisted[stray] = top.dataset(name) is not None
    prefixes = tuple(f"{source}/" for source in found)
    within = {path: other for path, other in out.items() if path.startswith(prefixes)}
    faults.extend(_links_out(section, within))
    return found, [name for name, has_data in unlisted.items() if has_data]


def read_keys(
    root: Group, section: str, source: str, paths: Sequence[str], groups: Collection[str]
) -> tuple[KeySchema, Rows, list[Fault]]:
    """Open every dataset of a source.

    ``groups`` are its index groups. Returns its schema, the dataset lengths and what is wrong.
    """
    place = f"{section}/{source}"
    faults: list[Fault] = []
    records: dict[str, KeyRecord] = {}
    rows: Rows = {}
    top = root.group(place)
    parent_path, parent, parent_units = "", top, _NO_UNITS
    for path in paths if top is not None else ():
        above, _, name = path.rpartition("/")
        if above != parent_path:
            parent_path = above
            parent = top.group(above) if above else top  # type: ignore[union-attr]
            parent_units = (
                _units(parent) if section == "CONTROL" and parent is not None else _NO_UNITS
            )
        try:
            dataset = None if parent is None else _dataset(parent, name)
            if dataset is None:
                continue
            shape = dataset.shape
            if not shape:
                faults.append(Fault("I06", "dataset without rows", f"{place}/{path}"))
                continue
            units = _NO_UNITS if name == "timestamp" and section == "CONTROL" else _units(dataset)
            if section == "CONTROL" and name == "value":
                units = parent_units if any(parent_units) else units
            key = key_name(path)
            group = _group_of(path, groups)
            records[key] = KeyRecord(
                key, group, encode_dtype(dataset.dtype), tuple(map(int, shape[1:])), *units
            )
            rows.setdefault(group, {})[key] = int(shape[0])
        except READ_ERRORS as e:
            faults.append(
                Fault("F02", f"dataset cannot be read: {reason_of(e)}", f"{place}/{path}")
            )
    return KeySchema(tuple(records[k] for k in sorted(records))), rows, faults


def _dataset(parent: Group, path: str) -> Dataset | None:
    """The dataset at a path where nothing else lies below; None for an empty group.

    Raises where there is a group that cannot be read.
    """
    dataset = parent.dataset(path)
    if dataset is None and (group := parent.group(path)) is not None:
        group.names()
    return dataset


def _group_of(path: str, groups: Collection[str]) -> str:
    """The index group of a dataset: the listed one it lies in, else the group below the source."""
    if "" in groups:
        return ""
    head = path.partition("/")[0]
    if head in groups:
        return head
    above = accumulate(path.split("/"), "{}/{}".format)
    return next((group for group in above if group in groups), head)


def _units(item: Group | Dataset) -> tuple[str, str, str, str]:
    a, b, c, d = item.text_attributes(_UNIT_ATTRIBUTES)
    return a, b, c, d


def reuse_keys(
    root: Group, section: str, source: str, paths: Sequence[str], known: KeySchema
) -> Rows | None:
    """The dataset lengths, if the keys seem to be ``known``: units are taken to be the same.

    Where datasets open cheaply, all are compared; by the HDF5 library, one per index group. None
    where the names, or a dtype or shape, differ.
    """
    by_name = {key_name(p): p for p in paths}
    if by_name.keys() != known.by_name.keys():
        return None
    top = root.group(f"{section}/{source}") if paths else None
    rows: Rows = {}
    # A value is more likely to differ than a time, where a group has both.
    for key in sorted(known.keys, key=lambda k: k.name.endswith(".timestamp")):
        if top is None:
            return None
        if key.group in rows and not top.opens_cheaply:
            continue
        dataset = top.dataset(by_name[key.name])
        if dataset is None or not (shape := dataset.shape):
            return None
        if shape[1:] != key.entry_shape or encode_dtype(dataset.dtype) != key.dtype:
            return None
        rows.setdefault(key.group, {})[key.name] = int(shape[0])
    return rows


def read_run_values(root: Group, source: str) -> tuple[Mapping[str, RunValue], list[Fault]]:
    """RUN of a control source by key, sorted; empty where it has none."""
    place = f"RUN/{source}"
    values: dict[str, RunValue] = {}
    faults: list[Fault] = []
    for path in source_leaves(root, "RUN", source, faults):
        try:
            dataset = _dataset(root, f"{place}/{path}")
            value = first_value(dataset) if dataset is not None else None
        except READ_ERRORS as e:
            faults.append(Fault("F02", f"value cannot be read: {reason_of(e)}", f"{place}/{path}"))
            continue
        if value is not None:
            values[key_name(path)] = value
    return dict(sorted(values.items())), faults


def find_dataset(root: Group, section: str, source: str, key: str) -> str | None:
    """The path of the dataset of a key, or None.

    Nearly always the key with slashes for dots; but names of links may have dots themselves.
    """
    place = f"{section}/{source}"
    path = f"{place}/{key.replace('.', '/')}"
    if root.dataset(path) is not None:
        return path
    for leaf in source_leaves(root, section, source):
        if key_name(leaf) == key:
            return f"{place}/{leaf}"
    return None


# INDEX --------------------------------------------------------------------------------------------

_MAX_ROW = 1 << 48  # no dataset is longer; sums of such numbers stay within int64


def index_place(source: str, group: str) -> str:
    """Where the index of a group lies: ``INDEX/<source>[/<group>]``."""
    return f"INDEX/{source}/{group}" if group else f"INDEX/{source}"


def read_index(
    root: Group,
    source: str,
    group: str,
    trains: TrainList,
    memo: dict[bytes, IndexPattern],
    *,
    required: bool = True,
) -> tuple[IndexPattern, list[Fault]]:
    """The index of one group, and what is wrong with it; a pattern without trains if it has none.

    It is for the trains of the file: without padding, without the rows whose train ID is zero, and
    without numbers that can be no rows.
    ``memo`` makes equal arrays the same pattern. ``required``: a missing index is a fault.
    """
    place = index_place(source, group)
    found, why, first, count = root.group(place), "", None, None
    if found is None:
        why = "index missing" if required else ""
    else:
        try:
            first, count = _first_and_count(found)
            if first is None or count is None:
                why = "index without first and count or last"
            elif first.ndim != 1 or count.ndim != 1:
                why = "first and count are not one-dimensional"
        except READ_ERRORS as e:
            why = f"index cannot be read: {reason_of(e)}"
    if why or first is None or count is None:
        return IndexPattern.from_arrays((), ()), [Fault("I02", why, place)] if why else []
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
    fitted = []
    known = min(first.size, count.size, n)  # a count without its first row tells nothing
    for values in (first, count):  # cut or filled with zeros, without the dropped rows
        with np.errstate(invalid="ignore"):
            rows = values[:known].astype(np.int64)
        rows = np.concatenate([rows, np.zeros(n - rows.size, np.int64)])
        fitted.append(np.delete(rows, trains.dropped) if trains.dropped.size else rows)
    starts, counts = fitted
    absurd = (
        (counts < 0) | (counts > _MAX_ROW) | ((counts > 0) & ((starts < 0) | (starts > _MAX_ROW)))
    )
    if absurd.any():
        at = int(np.flatnonzero(absurd)[0])
        message = f"{absurd.sum()} trains with impossible rows, such as {starts[at]} + {counts[at]}"
        faults.append(Fault("I01", message, place))
        starts, counts = np.where(absurd, 0, starts), np.where(absurd, 0, counts)
    return IndexPattern.from_arrays(starts, counts), faults


def read_frame_ids(
    root: Group, source: str, key: str, periods: Iterable[int] = ()
) -> FrameIds | None:
    """Pulse or cell IDs of an instrument source; None where it has none of whole numbers.

    They are a column of the dataset, (rows,) or (rows, 1). ``periods`` are the numbers of rows that
    its trains have.
    """
    path = find_dataset(root, "INSTRUMENT", source, key)
    dataset = None if path is None else root.dataset(path)
    if dataset is None or not dataset.shape or dataset.dtype.kind not in "iu":
        return None
    if any(n != 1 for n in dataset.shape[1:]):
        return None
    return FrameIds.from_values(dataset.read().reshape(-1), periods)


def index_groups(root: Group, source: str) -> list[str]:
    """The index groups of a source as INDEX has them: ``[""]`` where it is indexed as a whole."""
    top = root.group(f"INDEX/{source}")
    paths = (name.rpartition("/") for name in top.walk()) if top is not None else ()
    return sorted({group for group, _, name in paths if name == "first"})
