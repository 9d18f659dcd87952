"""Which keys does a source have, and what was their state when the run began?

1. ``key_leaves``: the datasets of every listed source of a section, by one traversal of names.
2. ``read_keys``: their dtypes, shapes and units, each dataset opened.
3. ``reuse_keys``: the same with less work, where an earlier sequence file of the run has a source
   with the same names.
4. ``read_run_values``: RUN of a control source.
5. ``find_dataset``: the dataset of a key, whose name does not tell dots from slashes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..hdf5.library import (
    READ_ERRORS,
    first_value,
    leaves,
    open_dataset,
    open_group,
    reason_of,
    text_attributes,
    walk_names,
)
from ..hdf5.objects import OwnGroup
from ..model.dtypes import encode_dtype
from ..model.records import KeyRecord, KeySchema, RunValue
from .checks import Fault

__all__ = [
    "find_dataset",
    "key_leaves",
    "key_name",
    "read_keys",
    "read_run_values",
    "reuse_keys",
    "source_leaves",
]

_UNIT_ATTRIBUTES = (b"unitSymbol", b"unitName", b"metricPrefixSymbol", b"metricPrefixName")
_NO_UNITS = ("", "", "", "")

Rows = dict[str, dict[str, int]]
"""Lengths of datasets: by index group, then by key."""


def key_name(leaf: str) -> str:
    """The name of a key as the API spells it."""
    return leaf.replace("/", ".")


def source_leaves(fid: Any, section: str, source: str) -> list[str]:
    """The paths of the datasets of one source, relative to it; empty where it has no group."""
    group = open_group(fid, f"{section}/{source}")
    return [] if group is None else list(leaves(walk_names(group)))


def key_leaves(
    fid: Any, section: str, sources: Collection[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The dataset paths of each source of a section, and the groups with data that belong to none.

    Sources without a group, or reached by a link, are missing from the result.
    """
    top = open_group(fid, section)
    found: dict[str, list[str]] = {}
    if top is None:
        return found, []
    unlisted: dict[str, bool] = {}  # whether it holds a dataset
    above = {s[:at] for s in sources for at in range(len(s)) if s[at] == "/"}
    names = walk_names(top)
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
                unlisted[stray] = open_dataset(top, name) is not None
    return found, [name for name, has_data in unlisted.items() if has_data]


def read_keys(
    fid: Any, section: str, source: str, paths: Sequence[str], groups: Collection[str]
) -> tuple[KeySchema, Rows, list[Fault]]:
    """Open every dataset of a source.

    ``groups`` are its index groups. Returns its schema, the dataset lengths and what is wrong.
    """
    place = f"{section}/{source}"
    faults: list[Fault] = []
    records: dict[str, KeyRecord] = {}
    rows: Rows = {}
    top = open_group(fid, place)
    parent_path, parent, parent_units = "", top, _NO_UNITS
    for path in paths if top is not None else ():
        above, _, name = path.rpartition("/")
        if above != parent_path:
            parent_path = above
            parent = open_group(top, above) if above else top
            parent_units = (
                _units(parent) if section == "CONTROL" and parent is not None else _NO_UNITS
            )
        try:
            dataset = None if parent is None else open_dataset(parent, name)
            if dataset is None:
                continue  # an empty group
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


def _group_of(path: str, groups: Collection[str]) -> str:
    """The index group of a dataset: the listed one it lies in, else the group below the source."""
    if "" in groups:
        return ""
    head, _, rest = path.partition("/")
    if head not in groups:
        while rest and head not in groups:
            more, _, rest = rest.partition("/")
            head += "/" + more
        if head not in groups:
            return path.partition("/")[0]
    return head


def _units(loc: Any) -> tuple[str, str, str, str]:
    a, b, c, d = text_attributes(loc, _UNIT_ATTRIBUTES)
    return a, b, c, d


def reuse_keys(
    fid: Any, section: str, source: str, paths: Sequence[str], known: KeySchema
) -> Rows | None:
    """The dataset lengths, if the keys seem to be ``known``: units are taken to be the same.

    Our own reader has met every dataset already, and compares them all; by the HDF5 library, one
    per index group is opened. None where the names, or a dtype or shape, differ.
    """
    by_name = {key_name(p): p for p in paths}
    if by_name.keys() != known.by_name.keys():
        return None
    top = open_group(fid, f"{section}/{source}") if paths else None
    compares_all = isinstance(top, OwnGroup)
    rows: Rows = {}
    # A value says more than a time, where a group has both.
    for key in sorted(known.keys, key=lambda k: k.name.endswith(".timestamp")):
        if key.group in rows and not compares_all:
            continue
        dataset = open_dataset(top, by_name[key.name])
        shape = dataset.shape if dataset is not None else None
        if not shape or shape[1:] != key.entry_shape:
            return None
        if encode_dtype(dataset.dtype) != key.dtype:  # type: ignore[union-attr]
            return None
        rows.setdefault(key.group, {})[key.name] = int(shape[0])
    return rows


def read_run_values(fid: Any, source: str) -> tuple[Mapping[str, RunValue], list[Fault]]:
    """RUN of a control source by key, sorted; empty where it has none."""
    place = f"RUN/{source}"
    values: dict[str, RunValue] = {}
    faults: list[Fault] = []
    top = open_group(fid, place)
    for path in leaves(walk_names(top)) if top is not None else ():
        try:
            dataset = open_dataset(top, path)
            value = first_value(dataset) if dataset is not None else None
        except READ_ERRORS as e:
            faults.append(Fault("F02", f"value cannot be read: {reason_of(e)}", f"{place}/{path}"))
            continue
        if value is not None:
            values[key_name(path)] = value
    return dict(sorted(values.items())), faults


def find_dataset(fid: Any, section: str, source: str, key: str) -> str | None:
    """The path of the dataset of a key, or None.

    Nearly always the key with slashes for dots; but names of links may have dots themselves.
    """
    place = f"{section}/{source}"
    path = f"{place}/{key.replace('.', '/')}"
    if open_dataset(fid, path) is not None:
        return path
    for leaf in source_leaves(fid, section, source):
        if key_name(leaf) == key:
            return f"{place}/{leaf}"
    return None
