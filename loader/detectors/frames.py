"""Frames of a detector: the entries of its modules, matched by train and pulse.

Each module has rows of its own; they lose trains and frames independently. What all modules
together have are the *frames*, in order of train, and of each module is known where its rows go.

1. ``ModuleRows``: the rows of one module in one index group, with the IDs that label them.
2. ``Frames``: the frames of all modules, made by ``match_frames``. Nearly always every module has
   the same index and the same IDs, which their numbers in the catalog tell; then nothing is
   compared, and nothing kept per module.
3. ``choose_pulses``: which frames a user selects.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import FileStructureError
from ...catalog.model.names import FRAME_GROUP, FRAME_ID_KEYS
from ...catalog.model.runlength import Int64s, UInt64s, Value
from ..read.selected import SelectedSource
from ..select.rows import FileSlabs, Rows
from ..select.trains import TrainSet, by_id, by_index

Mismatch = Literal["fill", "drop", "raise"]

PULSE_KEY, CELL_KEY = FRAME_ID_KEYS
GAIN_STAGES = 3  # of LPD in parallel-gain mode: high, medium, low, one after the other in a train


@dataclass(frozen=True, eq=False)
class ModuleRows(Value):
    """The rows that one module has in an index group, for the selected trains."""

    source: SelectedSource
    """The module."""
    group: str
    """The index group; empty only for sources indexed as a whole."""

    @cached_property
    def rows(self) -> Rows:
        """Its rows."""
        return self.source.rows(self.group)

    @cached_property
    def signature(self) -> tuple[Hashable, ...]:
        """Equal for modules that have the same rows of the same trains with the same IDs."""
        trains, patterns = [], []
        for ref, pattern in zip(self.rows.files, self.rows.patterns, strict=True):
            trains.append((ref.facts, ref.listed.token, ref.good_only))
            patterns.append(pattern.token)
        ids = ((key, *numbers) for key, numbers in self._id_numbers.items())
        return (*trains, *patterns, *ids)

    @cached_property
    def _id_numbers(self) -> dict[str, list[int]]:
        """Numbers of the IDs in each of its files, by key; without keys that the module lacks."""
        if self.group != FRAME_GROUP or not self.rows.files:
            return {}
        known = self.source.schema.by_name
        return {key: self._numbers_of(key) for key in FRAME_ID_KEYS if key in known}

    def _numbers_of(self, key: str) -> list[int]:
        files, source = self.rows.files, self.source
        by_facts: dict[Any, list[int]] = {}
        for at, ref in enumerate(files):
            by_facts.setdefault((ref.facts, ref.facts.table.layouts[ref.number]), []).append(at)
        numbers = [0] * len(files)
        for (facts, _), places in by_facts.items():
            own = [files[at].number for at in places]
            found = facts.frame_id_numbers(own, source.entry.real_name, key)
            for at, number in zip(places, found, strict=True):
                numbers[at] = number
        return numbers

    def ids(self, key: str) -> UInt64s | None:
        """The ID of every row, (rows,); None where the module has no such key."""
        numbers = self._id_numbers.get(key)
        if numbers is None:
            return None
        in_file = {
            ref.data_file: (ref.facts.frame_ids([number])[0].values, ref.path)
            for ref, number in zip(self.rows.files, numbers, strict=True)
        }
        parts = [np.empty(0, np.uint64)]
        for slabs in self.rows.slabs:
            values, path = in_file[slabs.data_file]
            if slabs.end > values.size:
                name = self.source.entry.name
                reason = f"INDEX points to row {slabs.end - 1} of {name} {key}, which has"
                raise FileStructureError(path, f"{reason} {values.size}", "select other trains")
            parts += [values[start:stop] for start, stop, _ in slabs.listed()]
        return np.concatenate(parts)

    def block_key(self, at: int) -> tuple[Hashable, ...]:
        """Equal for files whose ``block`` is the same, and whose trains fit it alike."""
        numbers = (numbers[at] for numbers in self._id_numbers.values())
        return (self.rows.files[at].facts, self.rows.patterns[at].token, *numbers)

    def block(self, at: int) -> tuple[bytes, ...] | None:
        """Pulse and cell IDs of a train of one of its files, if all trains of it have the same.

        As bytes of the numbers; the numbers of the frames in their train where there are no IDs.
        """
        rows, pattern = self.rows, self.rows.patterns[at]
        facts = rows.files[at].facts
        found = []
        for key in FRAME_ID_KEYS:
            numbers = self._id_numbers.get(key)
            if numbers is None:
                size = int(pattern.counts.max(initial=0))
                found.append(np.arange(size, dtype=np.uint64).tobytes())
            else:
                found.append(facts.frame_ids([numbers[at]])[0].block.tobytes())
        return tuple(found) if len({len(ids) for ids in found}) == 1 else None

    @cached_property
    def is_in_order(self) -> bool:
        """Whether rows come in order of train."""
        starts = self.rows.starts
        if min(starts, default=0) >= 0:  # every file has one stretch of trains, all selected
            sizes = [ref.listed.n_trains for ref in self.rows.files]
            return all(a + n <= b for a, n, b in zip(starts, sizes, starts[1:], strict=False))
        ends = [(int(s.ids[0]), int(s.ids[-1])) for s in self.rows.stretches]
        return all(a[1] < b[0] for a, b in pairwise(ends)) and all(
            s.ref.is_one_stretch or (s.ids[1:] > s.ids[:-1]).all() for s in self.rows.stretches
        )

    @cached_property
    def train_at(self) -> Int64s:
        """The position of the train of every row, (rows,)."""
        if self.is_in_order:
            counts = self.rows.counts
            return np.repeat(np.arange(counts.size), counts)
        return self.source.trains.positions(self.rows.coordinates)


@dataclass(frozen=True, eq=False)
class Place(Value):
    """Which of the frames each row of a module is; worked out for every row only when asked for."""

    counts: Int64s | None = None
    """How many rows each train has, (trains,), where the module lacks whole trains at most.

    They are the first frames of their trains.
    """
    starts: Int64s | None = None
    """The first frame of each train, (trains,)."""
    numbers: Int64s | None = None
    """The frame of each row, (rows,), where it lacks others; -1 for rows that are left out."""
    through: Int64s | None = None
    """Where each of these frames is now, (frames before,); -1 for those that were left out."""

    @property
    def is_all(self) -> bool:
        """Whether the rows are the frames, in their order."""
        return self.counts is None and self.numbers is None and self.through is None

    @cached_property
    def of_rows(self) -> Int64s | None:
        """The frame of each row, (rows,); -1 for rows that are left out. None if ``is_all``."""
        found = self.numbers
        if self.counts is not None and self.starts is not None:
            before = np.cumsum(self.counts) - self.counts
            found = np.arange(self.counts.sum()) + np.repeat(self.starts - before, self.counts)
        if self.through is None or found is None:
            return self.through if found is None else found
        return np.append(self.through, -1)[found]  # where -1 leads to -1

    def then(self, to: Int64s) -> "Place":
        """The place if each of the frames is at another position, (frames,)."""
        moved = to if self.through is None else np.append(to, -1)[self.through]
        return replace(self, through=moved)


@dataclass(frozen=True, eq=False)
class Frames(Value):
    """The frames that the modules of a detector have in the selected trains."""

    trains: TrainSet
    """The selected trains."""
    train_at: Int64s
    """The position of the train of each frame, (frames,), increasing."""
    pulse_ids: UInt64s
    """Its pulse ID, (frames,); where modules have none, the number of the frame in its train."""
    cell_ids: UInt64s
    """Its memory cell, (frames,); the same where modules have none."""
    places: tuple[Place, ...]
    """Where the rows of each module are."""

    def __len__(self) -> int:
        return int(self.train_at.size)

    @property
    def train_ids(self) -> UInt64s:
        """The train of each frame, (frames,)."""
        return self.trains.ids[self.train_at]

    @cached_property
    def counts(self) -> Int64s:
        """How many frames each train has, (trains,)."""
        return np.bincount(self.train_at, minlength=len(self.trains))

    @cached_property
    def within(self) -> Int64s:
        """The number of each frame in its train, (frames,)."""
        starts = np.cumsum(self.counts) - self.counts
        return np.arange(len(self)) - starts[self.train_at]

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """Whether each module has each frame, (modules, frames)."""
        found = np.ones((len(self.places), len(self)), bool)
        for has, place in zip(found, self.places, strict=True):
            if place.counts is not None and place.through is None:
                has[:] = np.repeat(place.counts > 0, self.counts)
            elif (rows := place.of_rows) is not None:
                has[:] = False
                has[rows[rows >= 0]] = True
        return found

    def chosen(self, wanted: NDArray[np.bool_]) -> "Frames":
        """Only some of the frames; ``wanted`` is (frames,)."""
        if wanted.all():
            return self
        places = self.moved(np.where(wanted, np.cumsum(wanted) - 1, -1))
        kept = (self.train_at[wanted], self.pulse_ids[wanted], self.cell_ids[wanted])
        return Frames(self.trains, *kept, places)

    def moved(self, to: Int64s) -> tuple[Place, ...]:
        """``places``, each frame at another position, (frames,)."""
        return tuple(place.then(to) for place in self.places)

    def gain_stages(self) -> NDArray[np.uint8]:
        """Gain stage of each frame, 0 to 2, of LPD in parallel-gain mode; (frames,)."""
        stages: NDArray[np.uint8] = (self.within // self.pulses_per_stage).astype(np.uint8)
        return stages

    @cached_property
    def pulses_per_stage(self) -> Int64s:
        """How many pulses the train of each frame has, of LPD in parallel-gain mode; (frames,)."""
        if (self.counts % GAIN_STAGES).any():
            at = int(np.flatnonzero(self.counts % GAIN_STAGES)[0])
            raise ValueError(
                f"train {self.trains.ids[at]} has {self.counts[at]} frames, which are no"
                f" {GAIN_STAGES} gain stages: is it parallel-gain data?"
            )
        return np.maximum(self.counts[self.train_at] // GAIN_STAGES, 1)

    def with_gain_stages(self) -> "Frames":
        """The frames labelled as parallel-gain data are: with the IDs of the first stage."""
        n = self.pulses_per_stage
        starts = (np.cumsum(self.counts) - self.counts)[self.train_at]
        first = starts + self.within % n
        labels = (self.pulse_ids[first], self.cell_ids[first])
        return Frames(self.trains, self.train_at, *labels, self.places)


def match_frames(
    modules: Sequence[ModuleRows], trains: TrainSet, on_mismatch: Mismatch = "fill"
) -> Frames:
    """The frames of some modules for the trains they all were selected for.

    A frame is known by its train and pulse ID; where one occurs several times in a train, or where
    there are no pulse IDs, also by its number. ``on_mismatch`` decides about a train of which two
    modules with data have different frames: those that only some have are kept and to be filled,
    or left out, or the first such train raises ValueError.
    """
    kinds: dict[tuple[Hashable, ...], int] = {}
    kind_of = [kinds.setdefault(module.signature, len(kinds)) for module in modules]
    distinct = [modules[kind_of.index(kind)] for kind in range(len(kinds))]
    if not distinct:
        nothing = np.empty(0, np.uint64)
        return Frames(trains, np.empty(0, np.int64), nothing, nothing, ())
    first = distinct[0].train_at
    if len(distinct) == 1 and (first[1:] >= first[:-1]).all():
        return Frames(trains, first, *_labels(distinct[0], first), (Place(),) * len(modules))
    whole = _join_trains(distinct, kind_of, trains)
    if whole is not None:
        return whole
    made = _join(distinct, kind_of, trains)
    return made if on_mismatch == "fill" else _settle(made, modules, on_mismatch)


def _join_trains(
    distinct: Sequence[ModuleRows], kind_of: Sequence[int], trains: TrainSet
) -> Frames | None:
    """The frames where modules differ in whole trains only; None where they differ otherwise.

    That is how modules mostly differ, and it shows without a look at single frames.
    """
    blocks: dict[tuple[bytes, ...], int] = {}
    known: dict[tuple[Hashable, ...], int] = {}
    codes = np.zeros((len(distinct), len(trains)), np.int64)
    for row, module in zip(codes, distinct, strict=True):
        code = _code_trains(module, blocks, known)
        if code is None:
            return None
        row[:] = code
    code = codes.max(axis=0, initial=0)
    if (np.where(codes > 0, codes, code) != code).any():
        return None
    pulses, cells = (
        [np.frombuffer(ids[at], np.uint64) for ids in blocks] for at in range(len(FRAME_ID_KEYS))
    )
    sizes = np.array([0, *(ids.size for ids in pulses)])
    counts = sizes[code]
    has = np.flatnonzero(counts)
    runs = np.split(has, np.flatnonzero(np.diff(code[has])) + 1) if has.size else []
    starts = np.cumsum(counts) - counts
    pulse_ids, cell_ids = np.empty((2, counts.sum()), np.uint64)
    for run in runs:  # trains with the same IDs, whose frames follow one another
        first, block = starts[run[0]], code[run[0]] - 1
        own = slice(first, first + run.size * pulses[block].size)
        pulse_ids[own].reshape(run.size, -1)[:] = pulses[block]
        cell_ids[own].reshape(run.size, -1)[:] = cells[block]
    places = [Place(np.where(row > 0, counts, 0), starts) for row in codes]
    every = [Place() if (row > 0)[has].all() else p for row, p in zip(codes, places, strict=True)]
    train_at = np.repeat(np.arange(len(trains)), counts)
    return Frames(trains, train_at, pulse_ids, cell_ids, tuple(every[k] for k in kind_of))


def _code_file(module: ModuleRows, at: int, blocks: dict[tuple[bytes, ...], int]) -> int:
    """The number of the IDs of the trains of one file; -1 where these have different ones."""
    pattern, ids = module.rows.patterns[at], module.block(at)
    size = len(ids[0]) // 8 if ids else 0
    if ids is None or not ((pattern.counts == size) | (pattern.counts == 0)).all():
        return -1
    if size and (pattern.offsets % size).any():
        return -1
    return blocks.setdefault(ids, len(blocks) + 1)


def _code_trains(
    module: ModuleRows,
    blocks: dict[tuple[bytes, ...], int],
    known: dict[tuple[Hashable, ...], int],
) -> Int64s | None:
    """A number of the IDs that each train of a module has, (trains,); 0 for no frames.

    Equal numbers stand for equal IDs, which ``blocks`` collects; ``known`` has those of files seen.
    None where trains of a file have different IDs, or are out of order.
    """
    counts = module.rows.counts
    codes = np.zeros(counts.size, np.int64)
    found: list[int] = []
    for at in range(len(module.rows.patterns)):
        key = module.block_key(at)
        if key not in known:
            known[key] = _code_file(module, at, blocks)
        if known[key] < 0:
            return None
        found.append(known[key])
    if len(set(found)) < 2:
        codes[counts > 0] = found[0] if found else 0
        return codes if module.is_in_order else None
    by_file = {ref.key: code for ref, code in zip(module.rows.files, found, strict=True)}
    for stretch in module.rows.stretches:
        own = module.source.trains.positions(stretch.ids[stretch.count > 0])
        codes[own] = by_file[stretch.ref.key]
    return codes if module.is_in_order else None


def _labels(module: ModuleRows, train_at: Int64s) -> tuple[UInt64s, UInt64s]:
    """Pulse and cell ID of every row; the number of the row in its train where there are none."""
    pulses, cells = module.ids(PULSE_KEY), module.ids(CELL_KEY)
    if pulses is None or cells is None:
        counts = module.rows.counts
        order = np.argsort(train_at, kind="stable")
        within = np.empty(train_at.size, np.uint64)
        within[order] = np.arange(train_at.size) - np.repeat(np.cumsum(counts) - counts, counts)
        pulses = within if pulses is None else pulses
        cells = within if cells is None else cells
    return pulses, cells


def _join(distinct: Sequence[ModuleRows], kind_of: Sequence[int], trains: TrainSet) -> Frames:
    """The frames where modules have different rows, or rows out of order.

    ``kind_of`` is the number in ``distinct`` of each module.
    """
    parts = [(m.train_at, *_labels(m, m.train_at)) for m in distinct]
    train_at, pulses, cells = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    sizes = [part[0].size for part in parts]
    kind = np.repeat(np.arange(len(parts)), sizes)
    _, rank = np.unique(pulses, return_inverse=True)
    n_ranks = int(rank.max(initial=0)) + 1
    key = train_at * n_ranks + rank
    # The same pulse several times in a train of one module: distinguished by their order.
    again = _occurrence(kind * (int(key.max(initial=0)) + 1) + key)
    key = key * (int(again.max(initial=0)) + 1) + again
    frames, first, at = np.unique(key, return_index=True, return_inverse=True)
    ends = np.cumsum(sizes)
    in_order = all((part[1:] > part[:-1]).all() for part in np.split(key, ends[:-1]))
    if not in_order:  # as the modules have them, not by pulse ID
        new = np.lexsort((first, train_at[first]))
        place = np.empty(new.size, np.int64)
        place[new] = np.arange(new.size)
        first, at = first[new], place[at]
    of_kind = np.split(at, ends[:-1])
    whole = np.arange(frames.size)
    places = [Place() if np.array_equal(p, whole) else Place(numbers=p) for p in of_kind]
    labels = (train_at[first], pulses[first], cells[first])
    return Frames(trains, *labels, tuple(places[kind] for kind in kind_of))


def _occurrence(values: Int64s) -> Int64s:
    """How often each value came before, (n,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = (
        np.concatenate(([True], ordered[1:] != ordered[:-1])) if values.size else np.empty(0, bool)
    )
    starts = np.maximum.accumulate(np.where(new, np.arange(values.size), 0))
    found = np.empty(values.size, np.int64)
    found[order] = np.arange(values.size) - starts
    return found


def _settle(frames: Frames, modules: Sequence[ModuleRows], on_mismatch: Mismatch) -> Frames:
    """The frames that all modules with data in their train have; or ValueError for others."""
    having = np.sum([m.rows.counts > 0 for m in modules], axis=0)
    common = frames.available.sum(axis=0) == having[frames.train_at]
    if on_mismatch == "drop" or common.all():
        return frames.chosen(common)
    at = int(np.flatnonzero(~common)[0])
    train = frames.trains.ids[frames.train_at[at]]
    lacking = [
        m.source.entry.name
        for m, has in zip(modules, frames.available[:, at], strict=True)
        if not has and m.rows.counts[frames.train_at[at]]
    ]
    raise ValueError(
        f"modules have different frames of train {train}: pulse {frames.pulse_ids[at]} is missing"
        f" in {', '.join(lacking)}; on_mismatch='fill' or 'drop' goes on"
    )


def place_slabs(slabs: FileSlabs, place: Int64s) -> FileSlabs | None:
    """The rows of a file that have a place, as slabs that go there; None if there are none.

    ``place`` has the place of every row of the module, -1 for none.
    """
    lengths = slabs.stops - slabs.starts
    before = np.cumsum(lengths) - lengths
    rows = slabs.rows
    to = place[np.arange(rows.size) + np.repeat(slabs.targets - before, lengths)]
    kept = to >= 0
    if not kept.all():
        rows, to = rows[kept], to[kept]
    if not rows.size:
        return None
    new = np.flatnonzero((np.diff(rows) != 1) | (np.diff(to) != 1)) + 1
    begins = np.concatenate(([0], new))
    ends = np.concatenate((new, [rows.size])) - 1
    return FileSlabs(slabs.data_file, rows[begins], rows[ends] + 1, to[begins])


# -- selecting pulses ------------------------------------------------------------------------------


@dataclass(frozen=True)
class PulseChoice:
    """Frames of each train that a user selects, by pulse ID or by number in the train."""

    wanted: slice | tuple[int, ...]
    by_id: bool

    @classmethod
    def of(cls, pulses: Any) -> "PulseChoice":
        """What ``pulses`` selects: a slice, a number, several, booleans, ``by_id`` or ``by_index``.

        Raises
        ------
        ValueError
            A slice that goes backwards, or a negative number: trains may have different numbers of
            frames, and IDs are not negative.
        TypeError
            Anything else.
        """
        is_id = isinstance(pulses, by_id) or type(pulses).__name__ == "by_id"
        is_index = isinstance(pulses, by_index) or type(pulses).__name__ == "by_index"
        wanted = pulses.value if is_id or is_index else pulses
        if isinstance(wanted, slice):
            ends = (wanted.start, wanted.stop)
            if wanted.step is not None and int(wanted.step) < 1:
                raise ValueError(f"pulses are selected in their order: {wanted} goes backwards")
            if any(end is not None and int(end) < 0 for end in ends):
                raise ValueError(f"pulses are not counted from the end: {wanted} is negative")
            return cls(wanted, is_id)
        values = np.asarray(wanted)
        if values.ndim > 1 or values.dtype.kind not in "iubf" or isinstance(wanted, str | bytes):
            if not values.size:
                return cls((), is_id)
            raise TypeError(
                f"pulses are a slice, whole numbers or booleans, not {type(wanted).__name__}"
            )
        if values.dtype == bool:
            values = np.flatnonzero(values)
        numbers = tuple(int(v) for v in np.atleast_1d(values))
        if any(n != v for n, v in zip(numbers, np.atleast_1d(values).tolist(), strict=True)):
            raise TypeError("pulses are whole numbers")
        if any(n < 0 for n in numbers):
            raise ValueError(f"pulses are not counted from the end: {min(numbers)} is negative")
        return cls(numbers, is_id)

    @property
    def is_all(self) -> bool:
        """Whether it is every pulse."""
        wanted = self.wanted
        return (
            isinstance(wanted, slice)
            and not (wanted.start or wanted.stop is not None)
            and (wanted.step in (None, 1))
        )


EVERY_PULSE = PulseChoice(slice(None), by_id=False)


def choose_pulses(frames: Frames, choice: PulseChoice, parallel_gain: bool = False) -> Frames:
    """Those frames whose pulse is selected; of each gain stage the same in parallel-gain mode."""
    if choice.is_all:
        return frames
    if choice.by_id:
        labels = frames.pulse_ids
    elif parallel_gain:
        labels = (frames.within % frames.pulses_per_stage).astype(np.uint64)
    else:
        labels = frames.within.astype(np.uint64)
    if isinstance(choice.wanted, slice):
        start, stop = int(choice.wanted.start or 0), choice.wanted.stop
        chosen = labels >= start
        if stop is not None:
            chosen &= labels < int(stop)
        if choice.wanted.step is not None and int(choice.wanted.step) > 1:
            chosen &= (labels - np.uint64(start)) % np.uint64(int(choice.wanted.step)) == 0
    else:
        chosen = np.isin(labels, np.array(choice.wanted, np.uint64))
    return frames.chosen(chosen)
