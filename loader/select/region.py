"""Regions of interest (``roi=``) in each entry.

1. ``parse_region`` checks an ``np.s_[...]`` expression or ``by_index[...]`` against an entry shape.
2. A ``Region`` has what to read from the file (``hull``: ascending slices) and what numpy does with
   that afterwards (``fancy``, ``dropped``), so that the result is that of numpy indexing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .trains import by_index

__all__ = ["Region", "parse_region"]


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

    @property
    def is_plain(self) -> bool:
        """Whether what is read has the order of what is returned."""
        return not self.fancy

    def finish(self, read: NDArray[Any]) -> NDArray[Any]:
        """What is returned, of rows that were read, (rows, *hull_shape)."""
        for axis, positions in self.fancy:
            read = np.take(read, positions, axis=axis + 1)
        return read.reshape(read.shape[0], *self.shape)

    def coordinates(self, sizes: Sequence[int]) -> list[NDArray[np.int64] | int]:
        """The positions that are kept in each dimension; a number where it is removed."""
        kept: list[NDArray[np.int64] | int] = []
        fancy = dict(self.fancy)
        for axis, (part, size) in enumerate(zip(self.hull, sizes, strict=True)):
            positions = np.arange(size)[part]
            positions = positions[fancy[axis]] if axis in fancy else positions
            kept.append(int(positions[0]) if axis in self.dropped else positions)
        return kept


def parse_region(roi: Any, entry_shape: tuple[int, ...]) -> Region:
    """The region that ``roi`` selects of entries of this shape.

    ``roi`` has an item per dimension of the entry: an integer, a slice of any step, or one list of
    positions or booleans; ``...`` stands for all dimensions not named, as do missing items.

    Raises
    ------
    IndexError
        Too many items, a position out of range, or more than one list.
    TypeError
        Anything else.
    """
    items = _items(roi, len(entry_shape))
    hull: list[slice] = []
    fancy: list[tuple[int, NDArray[np.intp]]] = []
    dropped: list[int] = []
    whole = True
    lists = 0
    for axis, (item, size) in enumerate(zip(items, entry_shape, strict=True)):
        if isinstance(item, slice):
            part, backwards = _ascending(item, size)
            hull.append(part)
            whole = whole and part == slice(0, size, 1) and not backwards
            if backwards:
                length = len(range(part.start, part.stop, part.step))
                fancy.append((axis, np.arange(length - 1, -1, -1)))
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
    given = [g.value if isinstance(g, by_index) else g for g in given]
    dots = sum(g is Ellipsis for g in given)
    if dots > 1:
        raise IndexError("a region can have a single ellipsis ('...')")
    if len(given) - dots > ndim:
        raise IndexError(f"the region has {len(given) - dots} items, an entry {ndim} dimensions")
    missing = [slice(None)] * (ndim - len(given) + dots)
    at = next((i for i, g in enumerate(given) if g is Ellipsis), len(given))
    return given[:at] + missing + given[at + dots :]


def _ascending(item: slice, size: int) -> tuple[slice, bool]:
    """The slice with the same positions in ascending order, and whether that reverses it."""
    chosen = range(*item.indices(size))
    if not len(chosen):
        return slice(0, 0, 1), False
    if chosen.step < 0:
        return slice(chosen[-1], chosen[0] + 1, -chosen.step), True
    return slice(chosen.start, chosen[-1] + 1, chosen.step), False


def _position(at: int, size: int, axis: int) -> int:
    if not -size <= at < size:
        raise IndexError(f"region index {at} is out of range for dimension {axis} of size {size}")
    return at % size


def _positions(item: Any, size: int, axis: int) -> NDArray[np.intp]:
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
