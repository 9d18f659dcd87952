"""Sets of trains, and the forms in which users select trains."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import index
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...catalog.model.errors import warn_caller
from ...catalog.model.runlength import Int64s, TrainList, UInt64s, Value

_T = TypeVar("_T")
_ONE = np.uint64(1)
_MOST = 2**64 - 1


@dataclass(frozen=True, eq=False)
class TrainSet(Value):
    """A set of train IDs: disjoint, sorted stretches ``firsts[i]..lasts[i]``, both included.

    A million trains cost as little as one. Neighbouring stretches do not touch, so equal sets have
    equal arrays. ``position`` below is the 0-based place of a train in increasing order of ID.
    """

    firsts: UInt64s
    lasts: UInt64s

    @classmethod
    def from_ids(cls, ids: ArrayLike | Iterable[int]) -> "TrainSet":
        """The set of these IDs, which may repeat and have any order."""
        values = np.asarray(ids, dtype=np.uint64).ravel()
        return cls.from_stretches(values, values)  # numpy.unique would import numpy.ma

    @classmethod
    def from_stretches(cls, firsts: UInt64s, lasts: UInt64s) -> "TrainSet":
        """The set of the trains in any of these stretches, which may overlap and be unsorted."""
        if firsts.size > 1:
            if not (firsts[1:] >= firsts[:-1]).all():
                order = np.argsort(firsts, kind="stable")
                firsts, lasts = firsts[order], lasts[order]
            reached = np.maximum.accumulate(lasts)
            # first - 1 cannot wrap: a later stretch that starts at 0 joins the one before it.
            new = (firsts[1:] > reached[:-1]) & (firsts[1:] - _ONE > reached[:-1])
            at = np.concatenate(([0], np.flatnonzero(new) + 1))
            ends = np.append(at[1:] - 1, firsts.size - 1)
            firsts, lasts = firsts[at], reached[ends]
        return cls(firsts, lasts)

    @classmethod
    def from_list(cls, trains: TrainList, good_only: bool = False) -> "TrainSet":
        """The trains of a file, without suspect ones if ``good_only``."""
        if good_only and trains.suspect.size:
            return cls.from_ids(trains.ids[trains.good])
        return cls.from_stretches(
            trains.starts, trains.starts + (trains.lengths.astype(np.uint64) - _ONE)
        )

    @classmethod
    def union_of(cls, sets: Iterable["TrainSet"]) -> "TrainSet":
        """The trains in any of the sets; empty for none."""
        members = list(dict.fromkeys(sets))
        if not members:
            return NO_TRAINS
        if len(members) == 1:
            return members[0]
        return cls.from_stretches(
            np.concatenate([m.firsts for m in members]), np.concatenate([m.lasts for m in members])
        )

    @cached_property
    def _ends(self) -> Int64s:
        """Number of trains up to the end of each stretch."""
        return np.cumsum((self.lasts - self.firsts).astype(np.int64) + 1)

    @cached_property
    def _starts(self) -> Int64s:
        """Number of trains before each stretch."""
        return np.concatenate((np.zeros(1, np.int64), self._ends[:-1]))

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.firsts.size else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrainSet):
            return NotImplemented
        return np.array_equal(self.firsts, other.firsts) and np.array_equal(self.lasts, other.lasts)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Of the ends only: sets are hashed once per file of a run, and seldom have the same."""
        if not self.firsts.size:
            return 0
        return hash((self.firsts.size, int(self.firsts[0]), int(self.lasts[-1])))

    def __contains__(self, train_id: object) -> bool:
        if isinstance(train_id, (int, np.integer)) and 0 <= int(train_id) <= _MOST:
            return bool(self.contains(np.array([train_id], np.uint64))[0])
        return False

    def __or__(self, other: "TrainSet") -> "TrainSet":
        return TrainSet.union_of((self, other))

    def __and__(self, other: "TrainSet") -> "TrainSet":
        if not self.firsts.size or not other.firsts.size:
            return NO_TRAINS
        # Each own stretch meets the run low[i]:high[i] of the other's.
        low = np.searchsorted(other.lasts, self.firsts, "left")
        high = np.searchsorted(other.firsts, self.lasts, "right")
        number = np.maximum(high - low, 0)
        mine = np.repeat(np.arange(self.firsts.size), number)
        theirs = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        theirs += np.repeat(low, number)
        return TrainSet.from_stretches(
            np.maximum(self.firsts[mine], other.firsts[theirs]),
            np.minimum(self.lasts[mine], other.lasts[theirs]),
        )

    def __sub__(self, other: "TrainSet") -> "TrainSet":
        # What they have in common with all the 64-bit numbers that ``other`` lacks.
        before = other.firsts[other.firsts > 0] - _ONE
        after = other.lasts[other.lasts < np.uint64(_MOST)] + _ONE
        starts_low, ends_high = 0 in other.firsts[:1], _MOST in other.lasts[-1:]
        return self & TrainSet(
            after if starts_low else np.append(np.uint64(0), after),
            before if ends_high else np.append(before, np.uint64(_MOST)),
        )

    @cached_property
    def _only(self) -> tuple[int, int] | None:
        """First and last train where the set is one stretch, as nearly every one is."""
        return (int(self.firsts[0]), int(self.lasts[0])) if self.firsts.size == 1 else None

    def overlaps(self, other: "TrainSet") -> bool:
        """Whether the two have any train in common."""
        if (mine := self._only) and (theirs := other._only):
            return mine[0] <= theirs[1] and theirs[0] <= mine[1]
        if not self.firsts.size or not other.firsts.size:
            return False
        if self.firsts.size > 1 and other.firsts.size > 1:
            return bool((self & other).firsts.size)
        one, many = (self, other) if self.firsts.size == 1 else (other, self)
        at = int(many.lasts.searchsorted(one.firsts[0]))
        return at < many.firsts.size and bool(many.firsts[at] <= one.lasts[0])

    def covers(self, first: int | np.uint64, last: int | np.uint64) -> bool:
        """Whether every train from ``first`` to ``last`` is in the set."""
        if only := self._only:
            return bool(only[0] <= first and last <= only[1])
        at = int(np.searchsorted(self.firsts, np.uint64(first), "right")) - 1
        return at >= 0 and bool(self.lasts[at] >= np.uint64(last))

    def contains(self, ids: UInt64s) -> NDArray[np.bool_]:
        """Which of these IDs are in the set, (n,) bool."""
        if not self.firsts.size:
            return np.zeros(len(ids), bool)
        at = np.searchsorted(self.firsts, ids, "right") - 1
        return (at >= 0) & (ids <= self.lasts[np.maximum(at, 0)])

    def positions(self, ids: UInt64s) -> Int64s:
        """The position of each of these IDs, all of which must be in the set, (n,) int64."""
        at = np.searchsorted(self.firsts, ids, "right") - 1
        return self._starts[at] + (ids - self.firsts[at]).astype(np.int64)

    def position(self, train_id: int) -> int:
        """The position of one ID, which must be in the set."""
        if only := self._only:
            return train_id - only[0]
        return int(self.positions(np.array([train_id], np.uint64))[0])

    def at(self, positions: ArrayLike) -> UInt64s:
        """The IDs at these positions, (n,) uint64; each from 0 to ``len - 1``."""
        wanted = np.asarray(positions, np.int64)
        stretch = np.searchsorted(self._ends, wanted, "right")
        ids: UInt64s = self.firsts[stretch] + (wanted - self._starts[stretch]).astype(np.uint64)
        return ids

    @cached_property
    def ids(self) -> UInt64s:
        """Every ID in increasing order, (n,) uint64. Not to be written to."""
        if not self.firsts.size:
            return np.empty(0, np.uint64)
        if self.firsts.size == 1:
            ids: UInt64s = self.firsts[0] + np.arange(len(self), dtype=np.uint64)
        else:
            lengths = np.diff(self._ends, prepend=0)
            within = np.arange(len(self), dtype=np.int64) - np.repeat(self._starts, lengths)
            ids = np.repeat(self.firsts, lengths) + within.astype(np.uint64)
        ids.flags.writeable = False
        return ids

    def to_list(self) -> list[int]:
        """Every ID in increasing order, as a new list."""
        ids: list[int] = self.ids.tolist()
        return ids

    def span(self, start: int, stop: int) -> "TrainSet":
        """The trains at positions ``start`` up to, not including, ``stop``."""
        start, stop = max(start, 0), min(stop, len(self))
        if start >= stop:
            return NO_TRAINS
        if stop - start == len(self):
            return self
        if only := self._only:
            ends = np.array([only[0] + start, only[0] + stop - 1], np.uint64)
            return TrainSet(ends[:1], ends[1:])
        low = int(np.searchsorted(self._ends, start, "right"))
        high = int(np.searchsorted(self._ends, stop - 1, "right"))
        firsts, lasts = self.firsts[low : high + 1].copy(), self.lasts[low : high + 1].copy()
        firsts[0], lasts[-1] = self.at([start, stop - 1])
        return TrainSet(firsts, lasts)

    @property
    def bounds(self) -> str:
        """First and last train in words."""
        return f"trains {self.firsts[0]} to {self.lasts[-1]}" if self.firsts.size else "no trains"


NO_TRAINS = TrainSet(np.empty(0, np.uint64), np.empty(0, np.uint64))


def class_beside(own: type) -> type:
    """EXtra-data's class of the same name, where that is imported."""
    found: type = getattr(sys.modules.get("extra_data"), own.__name__, own)
    return found


class _Bracketed(type):
    """The type of a class whose objects are written ``name[value]``.

    Objects of EXtra-data's class of the same name count as its objects too: a script may have
    imported ``by_id`` from there.
    """

    def __getitem__(cls: Callable[[Any], _T], value: Any) -> _T:
        return cls(value)

    def __instancecheck__(cls, instance: object) -> bool:
        kind = type(instance)
        return issubclass(kind, cls) or (
            kind.__name__ == cls.__name__ and kind.__module__.partition(".")[0] == "extra_data"
        )


class _Spelling(metaclass=_Bracketed):
    """A selection as the user wrote it in square brackets."""

    __slots__ = ("value",)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # for isinstance of EXtra-data's: loader/compat/beside says why
        return class_beside(type(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.value,)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, _Spelling):
            return NotImplemented
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        parts = self.value if isinstance(self.value, tuple) else (self.value,)
        return f"{type(self).__name__}[{', '.join(map(_spell, parts))}]"


def _spell(part: Any) -> str:
    if not isinstance(part, slice):
        return "..." if part is Ellipsis else repr(part)
    ends = [part.start, part.stop] + ([part.step] if part.step is not None else [])
    return ":".join("" if end is None else str(end) for end in ends)


class by_id(_Spelling):
    """Select trains by train ID: ``by_id[a:b]``, ``by_id[a]``, ``by_id[[a, b, c]]``.

    As everywhere in Python, the end of a slice is not included. Train IDs that are not there are
    passed over, as long as any is.

    Examples
    --------
    >>> run.select_trains(by_id[142844490:142844495])  # doctest: +SKIP
    """

    __slots__ = ()


class by_index(_Spelling):
    """Select trains by position, or a region of each entry: ``by_index[:5]``.

    Slices and numbers without it select trains by position, too.

    Examples
    --------
    >>> run.select_trains(by_index[-1])  # doctest: +SKIP
    >>> run[source, key].ndarray(roi=by_index[:8, 5:10])  # doctest: +SKIP
    """

    __slots__ = ()


def shift_trains(trains: TrainSet, offset: int) -> TrainSet:
    """The set of IDs that are this much larger."""
    step = np.uint64(index(offset) % (1 << 64))
    return TrainSet(trains.firsts + step, trains.lasts + step)


def train_at(trains: TrainSet, position: int) -> int:
    """The train ID at a position, which may count from the end."""
    if not -len(trains) <= position < len(trains):
        raise IndexError(f"train index {position} is out of range: {len(trains)} trains")
    return int(trains.at([position % len(trains)])[0])


def select_trains(trains: TrainSet, selection: Any) -> TrainSet:
    """The trains of a set that a user selects, as for ``DataCollection.select_trains``."""
    if isinstance(selection, by_id):
        return _by_id(trains, selection.value)
    where = selection.value if isinstance(selection, by_index) else selection
    where = without_dimension(where)
    if isinstance(where, slice):
        start, stop, step = where.indices(len(trains))
        if step == 1:
            return trains.span(start, stop)
        return TrainSet.from_ids(trains.at(np.arange(start, stop, step)))
    if isinstance(where, (int, np.integer)) and not isinstance(where, (bool, np.bool_)):
        position = trains.position(train_at(trains, int(where)))
        return trains.span(position, position + 1)
    labelled = _labelled_mask(where)
    if labelled is not None:
        return _by_id(trains, labelled)
    pandas = sys.modules.get("pandas")
    is_pandas = pandas is not None and isinstance(where, (pandas.Series, pandas.Index))
    if not isinstance(where, (list, range, np.ndarray)) and not is_pandas:
        raise TypeError(
            f"cannot select trains by {type(where).__name__}: give a slice, positions, booleans,"
            " by_id[...] or by_index[...]"
        )
    values = np.asarray(where)
    if values.ndim != 1:
        raise TypeError(f"a selection of trains has 1 dimension, not {values.ndim}")
    if values.dtype == bool:
        if values.size != len(trains):
            raise ValueError(f"{values.size} booleans cannot select among {len(trains)} trains")
        values = np.flatnonzero(values)
    elif not values.size:
        return NO_TRAINS
    elif values.dtype.kind not in "iu":
        raise IndexError(f"positions of trains are integers or booleans, not {values.dtype}")
    outside = (values < -len(trains)) | (values >= len(trains))
    if outside.any():
        raise IndexError(f"train index {values[outside][0]} is out of range: {len(trains)} trains")
    return TrainSet.from_ids(trains.at(values.astype(np.int64) % max(len(trains), 1)))


def without_dimension(value: Any) -> Any:
    """The number in an array of no dimensions, labelled or not; anything else as it is."""
    return np.asarray(value)[()] if getattr(value, "ndim", None) == 0 else value


def _by_id(trains: TrainSet, wanted: Any) -> TrainSet:
    wanted = without_dimension(wanted)
    if isinstance(wanted, slice):
        return _by_id_slice(trains, wanted)
    if isinstance(wanted, (int, float, np.number)) and not isinstance(wanted, bool):
        wanted = [wanted]
    labelled = _labelled_mask(wanted)
    if labelled is not None:
        return _found(trains, labelled)
    if isinstance(wanted, (str, bytes, tuple, dict)) or not np.iterable(wanted):
        raise TypeError(
            f"by_id takes a train ID, a slice or several train IDs, not {type(wanted).__name__}"
        )
    if isinstance(wanted, (list, set, frozenset)):
        # numpy would make floats of signed and unsigned integers together.
        wanted = [int(v) if isinstance(v, np.integer) else v for v in wanted]
    values = np.asarray(wanted)
    if not values.size:
        return NO_TRAINS
    if values.dtype.kind == "f" and np.array_equal(values, np.floor(values), equal_nan=True):
        # As pandas makes of integers where some are missing.
        values = np.array([int(v) for v in values[np.isfinite(values)]], object)
    if values.ndim != 1 or (values.dtype.kind not in "iu" and values.dtype != object):
        raise TypeError(f"train IDs are integers, not {values.dtype} of {values.ndim} dimensions")
    if values.dtype.kind != "u":
        values = np.array([v for v in values.tolist() if 0 <= v <= _MOST], dtype=np.uint64)
    return _found(trains, values.astype(np.uint64))


def _by_id_slice(trains: TrainSet, wanted: slice) -> TrainSet:
    step = 1 if wanted.step is None else wanted.step
    if step == 0:
        raise ValueError("the step of a slice cannot be 0")
    start, stop = (wanted.start, wanted.stop)
    if step < 0:  # the same trains, counted from the other end
        start, stop = (
            None if stop is None else int(stop) + 1,
            None if start is None else int(start) + 1,
        )
    low = 0 if start is None else max(int(start), 0)
    high = _MOST if stop is None else min(int(stop) - 1, _MOST)
    if low > high:
        return NO_TRAINS
    asked = TrainSet(np.array([low], np.uint64), np.array([high], np.uint64))
    found = trains & asked
    if not found.firsts.size:
        return NO_TRAINS if start is None and stop is None else _nothing(trains, asked)
    if abs(step) == 1:
        return found
    return TrainSet.from_ids(found.at(np.arange(len(found))[:: int(step)]))


def _found(trains: TrainSet, ids: UInt64s) -> TrainSet:
    """Those of the IDs that are there; an error if there are some IDs and none is there."""
    found = TrainSet.from_ids(ids[trains.contains(ids)])
    if ids.size and not found.firsts.size:
        return _nothing(trains, TrainSet.from_ids(ids))
    return found


def _nothing(trains: TrainSet, asked: TrainSet) -> TrainSet:
    if not trains.firsts.size:
        warn_caller("selecting trains by ID from data with no trains selected")
        return NO_TRAINS
    raise ValueError(
        f"no train in common: asked for {asked.bounds}, this data has {trains.bounds}"
        f" ({len(trains)} trains)"
    )


def _labelled_mask(value: object) -> UInt64s | None:
    """The train IDs where a labelled boolean is true; None for what is no such thing."""
    xarray, pandas = sys.modules.get("xarray"), sys.modules.get("pandas")
    if xarray is not None and isinstance(value, xarray.DataArray):
        if value.dtype != bool:
            return None
        if value.dims != ("trainId",) or "trainId" not in value.coords:
            raise ValueError("an xarray selection of trains needs the coordinate 'trainId'")
        labels, mask = value.coords["trainId"].to_numpy(), value.to_numpy()
    elif pandas is not None and isinstance(value, pandas.Series) and value.dtype == bool:
        labels, mask = value.index.to_numpy(), value.to_numpy()
    else:
        return None
    return np.asarray(labels[mask], dtype=np.uint64)


def split_trains(
    trains: TrainSet, parts: int | None = None, trains_per_part: int | None = None
) -> Iterator[TrainSet]:
    """The set in consecutive parts whose sizes differ by at most one; no part is empty.

    ``parts`` is how many, at least that many if ``trains_per_part`` is given too, which is how many
    trains a part has at most. Fewer than ``parts`` where there are fewer trains.
    """
    if parts is None and trains_per_part is None:
        raise ValueError("give parts, trains_per_part, or both")
    for name, number in (("parts", parts), ("trains_per_part", trains_per_part)):
        if number is not None and (number < 1 or int(number) != number):
            raise ValueError(f"{name} must be a positive whole number, not {number}")
    wanted = 1 if parts is None else int(parts)
    if trains_per_part is not None:
        wanted = max(wanted, -(-len(trains) // int(trains_per_part)))
    wanted = min(wanted, len(trains))
    edges: Sequence[int] = [len(trains) * i // wanted for i in range(wanted + 1)] if wanted else [0]
    for start, stop in pairwise(edges):
        yield trains.span(start, stop)
