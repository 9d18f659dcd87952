"""Selections of sources and keys, and regions of interest (``roi=``) in each entry.

1. ``expand_selection`` turns any of the forms that ``select`` takes into a ``Selection`` by name.
2. ``narrow`` and ``remove`` apply one to the sources of a collection.
3. ``trains_with_all`` and ``trains_with_any`` find the trains that have the selected data.
4. ``parse_region`` checks an ``np.s_[...]`` expression or ``by_index[...]`` against an entry shape.
   A ``Region`` has what to read from the file (``hull``: ascending slices) and what numpy does with
   that afterwards (``fancy``, ``dropped``), so that the result is that of numpy indexing.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import SourceNameError, warn_caller
from ...catalog.model.names import short_key
from ...catalog.model.records import KeySchema
from ...catalog.model.runlength import Int64s
from .sources import SourceEntry
from .trains import TrainSet, by_index, without_dimension

Selection = dict[str, frozenset[str] | None]
"""Selected keys by source; None for all that are selected so far."""


def expand_selection(
    sources: Mapping[str, SourceEntry], selection: Any, key_glob: str = "*"
) -> Selection:
    """The sources and keys that a user selects, in the forms of ``DataCollection.select``."""
    if isinstance(selection, str):
        return _match(sources, selection, key_glob)
    if hasattr(selection, "selected_keys"):
        selection = selection.selected_keys()
    if isinstance(selection, Mapping):
        return _exact(sources, selection)
    if isinstance(selection, bytes) or not isinstance(selection, Iterable):
        raise TypeError(f"cannot select data by {type(selection).__name__}")
    chosen: Selection = {}
    for part in _parts(sources, selection):
        for name, keys in part.items():
            other = chosen.get(name, keys)
            chosen[name] = None if keys is None or other is None else keys | other
    return chosen


def _parts(sources: Mapping[str, SourceEntry], selection: Iterable[Any]) -> Iterator[Selection]:
    for item in selection:
        if isinstance(item, str):
            yield _match(sources, item, "*")
        elif hasattr(item, "selected_keys"):
            yield _exact(sources, item.selected_keys())
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            yield _match(sources, *item)
        else:
            raise TypeError(
                "a selection is made of source globs and (source glob, key glob) pairs, not "
                f"{item!r:.80}"
            )


def _match(sources: Mapping[str, SourceEntry], source_glob: str, key_glob: str) -> Selection:
    if not isinstance(source_glob, str) or not isinstance(key_glob, str):
        raise TypeError(f"globs are text, not ({source_glob!r:.40}, {key_glob!r:.40})")
    fits = re.compile(fnmatch.translate(source_glob)).match
    chosen: Selection = {}
    # Sources of one kind share their schema: match its names once.
    seen: dict[tuple[KeySchema, bool], frozenset[str]] = {}
    for name, entry in sources.items():
        if not fits(name):
            continue
        if key_glob == "*":
            chosen[name] = None
            continue
        schema = source_schema(entry)
        kind = (schema, entry.section == "CONTROL")
        if kind not in seen:
            seen[kind] = match_keys(schema, key_glob, control=kind[1])
        keys = seen[kind] if entry.keys is None else seen[kind] & entry.keys
        if keys:
            chosen[name] = keys
    if not chosen:
        raise ValueError(f"nothing matches source {source_glob!r} with key {key_glob!r}")
    return chosen


def source_schema(entry: SourceEntry) -> KeySchema:
    """The keys of a source, as the first of its files has them."""
    return entry.schema(entry.refs[0]) if entry.refs else KeySchema(())


def match_keys(schema: KeySchema, glob: str, *, control: bool) -> frozenset[str]:
    """The keys that a glob matches; those of control sources also without ``.value``."""
    fits = re.compile(fnmatch.translate(glob)).match
    return frozenset(k for k in schema.by_name if fits(k) or (control and fits(short_key(k))))


def _exact(sources: Mapping[str, SourceEntry], selection: Mapping[str, Any]) -> Selection:
    chosen: Selection = {}
    for name, keys in selection.items():
        entry = sources.get(name)
        if entry is None:
            raise SourceNameError(name, sources)
        if isinstance(keys, (str, bytes)) or not (keys is None or isinstance(keys, Iterable)):
            raise TypeError(f"the keys of {name!r} should be a set or None, not {keys!r:.60}")
        if keys is None or not (wanted := frozenset(keys)):
            chosen[name] = None
            continue
        schema = source_schema(entry)
        chosen[name] = frozenset(entry.require_key(key, schema).name for key in wanted)
    return chosen


def narrow(sources: Mapping[str, SourceEntry], chosen: Selection) -> dict[str, SourceEntry]:
    """The chosen sources with the chosen keys."""
    return {
        name: sources[name] if keys is None else sources[name].with_keys(keys)
        for name, keys in chosen.items()
    }


def remove(sources: Mapping[str, SourceEntry], chosen: Selection) -> dict[str, SourceEntry]:
    """All sources without the chosen keys; a source without any key left is dropped."""
    kept: dict[str, SourceEntry] = {}
    for name, entry in sources.items():
        if name not in chosen:
            kept[name] = entry
        elif (keys := chosen[name]) is not None:
            rest = entry.key_names(source_schema(entry)) - keys
            if rest:
                kept[name] = entry.with_keys(rest)
    return kept


def trains_with_all(
    sources: Mapping[str, SourceEntry], trains: TrainSet, warn_frac: float | None = None
) -> TrainSet:
    """Those of the trains for which every selected key has data.

    With ``warn_frac``, warns if one source alone drops at least this part of the trains, or if no
    train is left.
    """
    kept, warned = trains, False
    for entry in sources.values():
        for group in _selected_groups(entry):
            found = entry.rows(group, trains).trains_with_rows
            dropped = len(trains) - len(found)
            if warn_frac is not None and dropped and dropped / len(trains) >= warn_frac:
                warned = True
                warn_caller(
                    f"{dropped}/{len(trains)} ({dropped / len(trains):.0%}) trains dropped when"
                    f" filtering by {entry.name}"
                )
            kept = kept & found
    if warn_frac is not None and len(trains) and not len(kept) and not warned:
        warn_caller(f"none of {len(trains)} trains has data for all that is selected")
    return kept


def trains_with_any(sources: Mapping[str, SourceEntry], trains: TrainSet) -> TrainSet:
    """Those of the trains for which at least one selected key has data."""
    return TrainSet.union_of(
        entry.rows(group, trains).trains_with_rows
        for entry in sources.values()
        for group in _selected_groups(entry)
    )


def _selected_groups(entry: SourceEntry) -> tuple[str, ...]:
    """The index groups of the selected keys."""
    if entry.keys is None:
        groups = {g for fg in entry.files.groups for g in entry.index_groups(fg.refs[0])}
        return tuple(sorted(groups)) if not entry.run_only else ()
    by_name = source_schema(entry).by_name
    return tuple(sorted({by_name[k].group for k in entry.keys if k in by_name}))


# -- regions of interest


@dataclass(frozen=True, slots=True)
class Region:
    """A part of every entry."""

    hull: tuple[slice, ...]
    """One ascending slice (start, stop, step) per dimension of the entry."""
    fancy: tuple[tuple[int, NDArray[np.intp]], ...] = ()
    """Positions within the hull by dimension, for lists and for slices that go backwards."""
    dropped: tuple[int, ...] = ()
    """Dimensions that an integer removes."""
    whole: bool = True
    """Whether the region is all of the entry."""

    @property
    def hull_shape(self) -> tuple[int, ...]:
        """Shape of the part of an entry that is read."""
        return tuple(len(range(s.start, s.stop, s.step)) for s in self.hull)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part of an entry that is returned."""
        lengths = list(self.hull_shape)
        for axis, positions in self.fancy:
            lengths[axis] = len(positions)
        return tuple(n for axis, n in enumerate(lengths) if axis not in self.dropped)

    def finish(self, read: NDArray[Any]) -> NDArray[Any]:
        """What is returned, of rows that were read, (rows, *hull_shape)."""
        for axis, positions in self.fancy:
            read = np.take(read, positions, axis=axis + 1)
        # Values that are arrays themselves, by their type, have more dimensions.
        return read.reshape(read.shape[0], *self.shape, *read.shape[1 + len(self.hull) :])

    def coordinates(self, sizes: Sequence[int]) -> list[Int64s | int]:
        """The positions that are kept in each dimension; a number where it is removed."""
        kept: list[Int64s | int] = []
        fancy = dict(self.fancy)
        for axis, (part, size) in enumerate(zip(self.hull, sizes, strict=True)):
            positions = np.arange(size)[part]
            positions = positions[fancy[axis]] if axis in fancy else positions
            kept.append(int(positions[0]) if axis in self.dropped else positions)
        return kept


def parse_region(roi: Any, entry_shape: tuple[int, ...]) -> Region:
    """The region that ``roi`` selects of entries of this shape.

    ``roi`` has an item per dimension of the entry: an integer, a slice of any step, or one list of
    positions or booleans; ``...`` stands for all dimensions not named, as do missing items. Raises
    IndexError for too many items, a position out of range or a second list, else TypeError.
    """
    items = _items(roi, len(entry_shape))
    hull: list[slice] = []
    fancy: list[tuple[int, NDArray[np.intp]]] = []
    dropped: list[int] = []
    whole = True
    lists = 0
    for axis, (item, size) in enumerate(zip(items, entry_shape, strict=True)):
        if isinstance(item, slice):
            chosen = range(*item.indices(size))
            if chosen.step < 0 and len(chosen):  # read in ascending order, then reversed
                fancy.append((axis, np.arange(len(chosen) - 1, -1, -1)))
                chosen = chosen[::-1]
            stop = chosen[-1] + 1 if len(chosen) else 0
            hull.append(slice(chosen.start, stop, chosen.step) if stop else slice(0, 0, 1))
            whole = whole and hull[-1] == slice(0, size, 1) and not fancy
            continue
        whole = False
        if isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.bool_)):
            at = _position(int(item), size, axis)
            hull.append(slice(at, at + 1, 1))
            dropped.append(axis)
            continue
        lists += 1
        if lists > 1:
            raise IndexError("a region may select with a list in one dimension only")
        positions = _positions(item, size, axis)
        low = int(positions.min()) if positions.size else 0
        high = int(positions.max()) + 1 if positions.size else 0
        hull.append(slice(low, high, 1))
        if not np.array_equal(positions, np.arange(low, high)):
            fancy.append((axis, positions - low))
    return Region(tuple(hull), tuple(fancy), tuple(dropped), whole)


def _items(roi: Any, ndim: int) -> list[Any]:
    """One item per dimension."""
    if isinstance(roi, by_index):
        roi = roi.value
    given = list(roi) if isinstance(roi, tuple) else [roi]
    given = [without_dimension(g.value if isinstance(g, by_index) else g) for g in given]
    dots = sum(g is Ellipsis for g in given)
    if dots > 1:
        raise IndexError("a region can have a single ellipsis ('...')")
    if len(given) - dots > ndim:
        raise IndexError(f"the region has {len(given) - dots} items, an entry {ndim} dimensions")
    missing = [slice(None)] * (ndim - len(given) + dots)
    at = next((i for i, g in enumerate(given) if g is Ellipsis), len(given))
    return given[:at] + missing + given[at + dots :]


def _position(at: int, size: int, axis: int) -> int:
    if not -size <= at < size:
        raise IndexError(f"region index {at} is out of range for dimension {axis} of size {size}")
    return at % size


def _positions(item: Any, size: int, axis: int) -> NDArray[np.intp]:
    item = item.to_numpy() if hasattr(item, "to_numpy") else item  # of xarray or pandas
    if not isinstance(item, (list, range, np.ndarray)):
        raise TypeError(
            f"a region is made of integers, slices, lists and '...', not {type(item).__name__}"
        )
    values = np.asarray(item)
    if values.ndim != 1:
        raise IndexError(f"a list in a region has 1 dimension, not {values.ndim}")
    if values.dtype == bool:
        if values.size != size:
            raise IndexError(f"{values.size} booleans for dimension {axis} of size {size}")
        return np.flatnonzero(values)
    if not values.size:
        return np.empty(0, np.intp)
    if values.dtype.kind not in "iu":
        raise IndexError(f"positions in a region are integers or booleans, not {values.dtype}")
    return np.array([_position(int(v), size, axis) for v in values], dtype=np.intp)
