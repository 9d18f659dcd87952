"""Keys of sources, and the values of control sources at the start of the run (RUN).

1. ``key_leaves``: the datasets of every listed source of a section, by one traversal of names.
2. ``read_keys``: their dtypes, shapes and units, each dataset opened.
3. ``reuse_keys``: the same with less work, where an earlier sequence file of the run has a source
   with the same names.
4. ``read_run_values``: RUN of a control source.
5. ``find_dataset``: the dataset of a key, whose name does not distinguish dots from slashes.
"""

from collections.abc import Collection, Mapping, Sequence

from ..hdf5.interface import READ_ERRORS, Dataset, Group, first_value, leaves, reason_of
from ..model.records import KeyRecord, KeySchema, RunValue, encode_dtype
from .checks import Fault

_UNIT_ATTRIBUTES = (b"unitSymbol", b"unitName", b"metricPrefixSymbol", b"metricPrefixName")
_NO_UNITS = ("", "", "", "")

Rows = dict[str, dict[str, int]]
"""Lengths of datasets: by index group, then by key."""


def key_name(leaf: str) -> str:
    """The name of a key as the API spells it."""
    return leaf.replace("/", ".")


def source_leaves(root: Group, section: str, source: str) -> list[str]:
    """The paths of the datasets of one source, relative to it; empty where it has no group."""
    group = root.group(f"{section}/{source}")
    return [] if group is None else list(leaves(group.walk()))


def key_leaves(
    root: Group, section: str, sources: Collection[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The dataset paths of each source of a section, and the groups with data that belong to none.

    Sources without a group, or reached by a link, are missing from the result.
    """
    top = root.group(section)
    found: dict[str, list[str]] = {}
    if top is None:
        return found, []
    unlisted: dict[str, bool] = {}  # whether it holds a dataset
    above = {s[:at] for s in sources for at in range(len(s)) if s[at] == "/"}
    names = top.walk()
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
            dataset = None if parent is None else parent.dataset(name)
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
    top = root.group(place)
    for path in leaves(top.walk()) if top is not None else ():
        try:
            dataset = top.dataset(path)  # type: ignore[union-attr]
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
