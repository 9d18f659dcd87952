"""Data files that hold the same sources, and the rows they have for selected trains.

The index group of a key records, per train of a file, how many rows it has and where they begin.

1. ``FileRef``, ``FileGroup``, ``FileSet``: one data file, the files of one layout, and the files
   that hold a source; one object for all sources that lie in the same.
2. ``SelectedFiles``: those files of a set that have any of the selected trains. It keeps the
   ``Rows`` of its sources by the numbers of their index patterns, as most sources have the same.
3. ``Rows``: the rows of an index group. Counts follow from run-length coded facts, per file and not
   per train: a file whose trains are one stretch and all selected (nearly every one) costs the same
   for 10 trains as for 10,000. What reading needs is unfolded from them: stretches and slabs.

Data come in order of train ID, also where trains are out of order in a file or between files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from operator import index
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.facts import DataFile, RunFacts
from ...catalog.model.runlength import IndexPattern, Int64s, TrainList, UInt64s, Value
from .trains import TrainSet, shift_trains

# Selections of trains that a set of files keeps the rows of: the one that the user works with, and
# the parts of it that iteration or dask goes through.
_KEPT_SELECTIONS = 2


class FileRef(NamedTuple):
    """One data file of one run, with the trains of it that count."""

    facts: RunFacts
    """The facts of its run."""
    number: int
    """The number of the file in them."""
    listed: TrainList
    """Its trains in file order."""
    trains: TrainSet
    """Those of them that count: without the suspect ones if ``good_only``."""
    good_only: bool
    """Whether suspect trains are left out."""
    offset: int = 0
    """By how much ``listed`` and ``trains`` are larger than the IDs in the file."""

    @property
    def key(self) -> tuple[RunFacts, int]:
        """The run and the number of the file: equal for the same file of the same facts."""
        return self.facts, self.number

    @property
    def is_one_stretch(self) -> bool:
        """Whether its trains follow each other without a gap, and all of them count."""
        return self.listed.starts.size == 1 and not (self.good_only and self.listed.suspect.size)

    @property
    def data_file(self) -> DataFile:
        """The file, as it was when its facts were taken."""
        return self.facts.files[self.number]

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.data_file.path


@dataclass(frozen=True, eq=False)
class FileGroup(Value):
    """Files with the same layout, in the order of their names."""

    refs: tuple[FileRef, ...]


@dataclass(frozen=True, eq=False)
class FileSet(Value):
    """The groups of files that hold a source; one object for all sources that lie in the same."""

    groups: tuple[FileGroup, ...]

    @cached_property
    def refs(self) -> tuple[FileRef, ...]:
        """All the files, ordered by the first train listed in each."""
        refs = (r for g in self.groups for r in g.refs)
        return tuple(sorted(refs, key=lambda r: int(s[0]) if (s := r.listed.starts).size else 0))

    def shifted(self, offset: int) -> "FileSet":
        """The same files, their data taken for trains whose IDs are this much larger."""
        offset = index(offset)

        def shift(ref: FileRef) -> FileRef:
            listed, trains = ref.listed.shifted(offset), shift_trains(ref.trains, offset)
            return ref._replace(listed=listed, trains=trains, offset=ref.offset + offset)

        return FileSet(tuple(FileGroup(tuple(map(shift, g.refs))) for g in self.groups))

    def within(self, trains: TrainSet) -> "SelectedFiles":
        """Those of ``refs`` that have any of these trains; the last answers are kept."""
        found = self._selected.get(trains)
        if found is None:
            if len(self._selected) >= _KEPT_SELECTIONS:
                self._selected.clear()
            every = [(ref, _start(ref, trains)) for ref in self.refs]
            kept = [pair for pair in every if pair[1] >= 0 or pair[0].trains.overlaps(trains)]
            found = SelectedFiles(tuple(r for r, _ in kept), trains, tuple(at for _, at in kept))
            found = self._selected.setdefault(trains, found)
        return found

    @cached_property
    def _selected(self) -> "dict[TrainSet, SelectedFiles]":
        return {}


def _start(ref: FileRef, trains: TrainSet) -> int:
    """The position of the first train of a file, as in ``SelectedFiles.starts``."""
    if not ref.is_one_stretch:
        return -1
    first = int(ref.listed.starts[0])
    is_within = trains.covers(first, first + ref.listed.n_trains - 1)
    return trains.position(first) if is_within else -1


@dataclass(frozen=True, eq=False)
class SelectedFiles:
    """The files of a ``FileSet`` that have any of the selected trains."""

    refs: tuple[FileRef, ...]
    """The files, ordered by the first train listed in each."""
    trains: TrainSet
    """The selected trains."""
    starts: tuple[int, ...]
    """Of each file the position of its first train among the selected ones.

    -1 for a file whose trains are not one stretch, do not all count or are not all selected.
    """
    _rows: "dict[tuple[str, str, str] | tuple[int, ...], Rows]" = field(default_factory=dict)
    """Rows by section, source and index group, and by the numbers of their index patterns."""

    def rows(self, section: str, source: str, group: str) -> "Rows":
        """The rows of an index group of a source; one object for all with the same INDEX."""
        place = (section, source, group)
        rows = self._rows.get(place)
        if rows is None:
            found = [facts.pattern_numbers(files, *place) for facts, files, _ in self._alike]
            numbers = tuple(found[0] if len(found) == 1 else chain.from_iterable(found))
            rows = self._rows.get(numbers)
            if rows is None:
                patterns: dict[int, IndexPattern] = {}
                for (facts, _, places), own in zip(self._alike, found, strict=True):
                    patterns |= zip(places, facts.numbered_patterns(own), strict=True)
                ordered = tuple(map(patterns.__getitem__, range(len(numbers))))
                rows = Rows(self.refs, self.starts, ordered, self.trains)
                rows = self._rows.setdefault(numbers, rows)
            self._rows[place] = rows
        return rows

    @cached_property
    def _alike(self) -> list[tuple[RunFacts, list[int], list[int]]]:
        """The files of each run and layout: their numbers and their places in ``refs``."""
        found: dict[tuple[RunFacts, int], tuple[RunFacts, list[int], list[int]]] = {}
        for at, (facts, number, *_) in enumerate(self.refs):
            alike = found.setdefault((facts, facts.table.layouts[number]), (facts, [], []))
            alike[1].append(number)
            alike[2].append(at)
        return list(found.values())


@dataclass(frozen=True, eq=False, slots=True)
class RowStretch:
    """Selected trains of one file with their rows."""

    ref: FileRef
    """The file."""
    ids: UInt64s
    """The trains, (n,)."""
    first: Int64s
    """The first row of each, (n,)."""
    count: Int64s
    """How many rows each has, (n,)."""

    def part(self, chosen: NDArray[np.intp]) -> "RowStretch":
        """Only some of the trains."""
        return RowStretch(self.ref, self.ids[chosen], self.first[chosen], self.count[chosen])


@dataclass(frozen=True, eq=False)
class FileSlabs(Value):
    """The slabs of one file: stretches of rows that lie one behind the other.

    Where INDEX leaves a gap, goes back or overlaps, a new one begins.
    """

    data_file: DataFile
    """The file."""
    starts: Int64s
    """The first row of each slab."""
    stops: Int64s
    """The row after the last of each slab."""
    targets: Int64s
    """Where the rows of each slab begin in the data of all files."""

    @cached_property
    def end(self) -> int:
        """One more than the highest row."""
        return int(self.stops.max())

    @cached_property
    def n_rows(self) -> int:
        """How many rows they have."""
        return int((self.stops - self.starts).sum())

    @property
    def rows(self) -> Int64s:
        """The number of every row in the file, (n_rows,)."""
        lengths = self.stops - self.starts
        before = np.cumsum(lengths) - lengths
        rows: Int64s = np.arange(lengths.sum()) + np.repeat(self.starts - before, lengths)
        return rows

    def listed(self) -> Iterator[tuple[int, int, int]]:
        """Start, stop and target of each slab."""
        columns = (self.starts.tolist(), self.stops.tolist(), self.targets.tolist())
        return zip(*columns, strict=True)

    def portions(self, most_rows: int) -> Iterator[tuple[int, "FileSlabs"]]:
        """The rows, up to so many at once: where they go, and slabs with targets from 0 on."""
        lengths = self.stops - self.starts
        ends = np.cumsum(lengths)
        begins = ends - lengths
        for low in range(0, self.n_rows, most_rows):
            high = min(low + most_rows, self.n_rows)
            some = slice(np.searchsorted(ends, low, "right"), np.searchsorted(ends, high) + 1)
            starts, stops = self.starts[some].copy(), self.stops[some].copy()
            starts[0] += low - begins[some.start]
            stops[-1] -= ends[some][-1] - high
            targets = np.cumsum(stops - starts) - (stops - starts)
            yield int(self.targets[0]) + low, FileSlabs(self.data_file, starts, stops, targets)

    @classmethod
    def of_one(cls, data_file: DataFile, start: int, stop: int, target: int) -> "FileSlabs":
        """A single slab."""
        found = cls(data_file, np.array([start]), np.array([stop]), np.array([target]))
        found.__dict__.update(single=(start, stop, target), end=stop, n_rows=stop - start)
        return found

    @cached_property
    def single(self) -> tuple[int, int, int] | None:
        """Start, stop and target, where there is a single slab."""
        if self.starts.size != 1:
            return None
        return int(self.starts[0]), int(self.stops[0]), int(self.targets[0])


@dataclass(frozen=True, eq=False)
class Rows(Value):
    """The rows of an index group for the selected trains.

    One object serves all keys of all sources that have the same INDEX in the same files.
    """

    files: tuple[FileRef, ...]
    """The files that have any of the selected trains."""
    starts: tuple[int, ...]
    """Positions of their first trains, as in ``SelectedFiles``."""
    patterns: tuple[IndexPattern, ...]
    """INDEX of the group in each of the files."""
    trains: TrainSet
    """The selected trains."""

    @cached_property
    def n_rows(self) -> int:
        """How many there are."""
        n = 0
        for ref, pattern, start in self._by_file:
            if start >= 0 and pattern.n_trains == ref.listed.n_trains:
                n += pattern.n_rows
            else:
                n += int(self._counted(ref, pattern)[1].sum())
        return n

    @cached_property
    def counts(self) -> Int64s:
        """How many rows each train has, (trains,) in order of train ID. Not to be written to."""
        counts = np.zeros(len(self.trains), np.int64)
        for ref, pattern, start in self._by_file:
            if start >= 0 and pattern.n_trains == ref.listed.n_trains:
                counts[start : start + pattern.n_trains] += pattern.count
            else:
                ids, count = self._counted(ref, pattern)
                np.add.at(counts, self.trains.positions(ids), count)
        counts.flags.writeable = False
        return counts

    @cached_property
    def trains_with_rows(self) -> TrainSet:
        """The selected trains that have any row."""
        plain, found = [], []
        for ref, pattern in zip(self.files, self.patterns, strict=True):
            if ref.is_one_stretch and pattern.n_trains == ref.listed.n_trains:
                plain.append((ref.listed, pattern))
                continue
            size = min(pattern.n_trains, ref.listed.n_trains)
            has_rows = pattern.count[:size] > 0
            if ref.good_only:
                has_rows &= ref.listed.good[:size]
            found.append(TrainSet.from_ids(ref.listed.ids[:size][has_rows]))
        if plain:
            found.append(_plain_trains_with_rows(plain))
        return TrainSet.union_of(found) & self.trains

    @cached_property
    def stretches(self) -> tuple[RowStretch, ...]:
        """The rows train by train, in the order of the data."""
        found = [self._in_file(*file) for file in self._by_file]
        stretches = [stretch for stretch in found if stretch.ids.size]
        if all(_increases(s.ids) for s in stretches) and all(
            a.ids[-1] < b.ids[0] for a, b in pairwise(stretches)
        ):
            return tuple(stretches)
        # Sorted, and cut where the next train lies in another file.
        sizes = [s.ids.size for s in stretches]
        order = np.argsort(np.concatenate([s.ids for s in stretches]), kind="stable")
        file = np.repeat(np.arange(len(sizes)), sizes)[order]
        place = order - (np.cumsum(sizes) - sizes)[file]
        breaks = np.flatnonzero(np.diff(file)) + 1
        return tuple(
            stretches[own[0]].part(chosen)
            for own, chosen in zip(np.split(file, breaks), np.split(place, breaks), strict=True)
        )

    @cached_property
    def refs(self) -> tuple[FileRef, ...]:
        """The files that have any of them."""
        if self._one_slab_each is not None:
            return tuple(ref for ref, _, _ in self._one_slab_each)
        return tuple({s.ref.key: s.ref for s in self.stretches if s.count.any()}.values())

    @cached_property
    def slabs(self) -> tuple[FileSlabs, ...]:
        """The slabs that hold them."""
        if self._one_slab_each is None:
            return find_slabs(self.stretches)
        found, done = [], 0
        for ref, row, n_rows in self._one_slab_each:
            found.append(FileSlabs.of_one(ref.data_file, row, row + n_rows, done))
            done += n_rows
        return tuple(found)

    @cached_property
    def _one_slab_each(self) -> list[tuple[FileRef, int, int]] | None:
        """Files, their first row, and how many they have, where no slab begins within a file.

        So it is where INDEX has no gaps, and all trains of each file are selected, in order: nearly
        always. None where it is otherwise.
        """
        found = []
        next_train = 0
        for ref, pattern, train in self._by_file:
            row, n_trains, n_rows = pattern.only_start, pattern.n_trains, pattern.n_rows
            if train < next_train or row is None or n_trains != ref.listed.n_trains:
                return None
            next_train = train + n_trains
            if n_rows:
                found.append((ref, row, n_rows))
        return found

    @cached_property
    def coordinates(self) -> UInt64s:
        """The train ID of each row, (rows,). Not to be written to."""
        ids = [np.repeat(s.ids, s.count) for s in self.stretches]
        found = np.concatenate(ids) if ids else np.empty(0, np.uint64)
        found.flags.writeable = False
        return found

    @cached_property
    def bounds(self) -> tuple[UInt64s, UInt64s]:
        """First and last (not included) row of each train, (trains,). Not to be written to."""
        stop = np.cumsum(self.counts)
        return (stop - self.counts).astype(np.uint64), stop.astype(np.uint64)

    @property
    def _by_file(self) -> list[tuple[FileRef, IndexPattern, int]]:
        return list(zip(self.files, self.patterns, self.starts, strict=True))

    def _wanted(self, ref: FileRef, size: int) -> NDArray[np.bool_]:
        """Which of the first trains of a file are selected, and count."""
        wanted = self.trains.contains(ref.listed.ids[:size])
        if ref.good_only:
            wanted &= ref.listed.good[:size]
        return wanted

    def _counted(self, ref: FileRef, pattern: IndexPattern) -> tuple[UInt64s, Int64s]:
        """The selected trains of one file, in file order, and how many rows each has.

        Where the list of trains or INDEX is shorter (a damaged file), both are cut to it.
        """
        size = min(ref.listed.n_trains, pattern.n_trains)
        wanted = self._wanted(ref, size)
        return ref.listed.ids[:size][wanted], pattern.count[:size][wanted]

    def _in_file(self, ref: FileRef, pattern: IndexPattern, start: int) -> RowStretch:
        """As ``_counted``, but with the places of the rows."""
        size = min(ref.listed.n_trains, pattern.n_trains)
        ids, first, count = ref.listed.ids[:size], pattern.first[:size], pattern.count[:size]
        stretch = RowStretch(ref, ids, first, count)
        if start >= 0:
            return stretch
        wanted = self._wanted(ref, size)
        return stretch if wanted.all() else stretch.part(np.flatnonzero(wanted))


def _plain_trains_with_rows(files: Sequence[tuple[TrainList, IndexPattern]]) -> TrainSet:
    """Of files with one stretch of trains, all at once: a run of INDEX is a stretch of trains."""
    lengths = np.concatenate([pattern.lengths for _, pattern in files])
    has_rows = np.concatenate([pattern.counts for _, pattern in files]) > 0
    sizes = np.array([pattern.lengths.size for _, pattern in files])
    starts = np.concatenate([listed.starts for listed, _ in files])
    trains_before = np.cumsum([0, *(pattern.n_trains for _, pattern in files[:-1])])
    within = np.cumsum(lengths) - lengths - np.repeat(trains_before, sizes)
    firsts = (np.repeat(starts, sizes) + within.astype(np.uint64))[has_rows]
    return TrainSet.from_stretches(firsts, firsts + (lengths[has_rows] - 1).astype(np.uint64))


def _increases(ids: UInt64s) -> bool:
    return bool((ids[1:] > ids[:-1]).all())


def merge_rows(first: Int64s, count: Int64s) -> tuple[Int64s, Int64s]:
    """Start and stop of the fewest slabs that hold these rows in this order."""
    has_rows = count > 0
    if not has_rows.all():
        first, count = first[has_rows], count[has_rows]
    if not first.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stops = first + count
    new = np.flatnonzero(first[1:] != stops[:-1])
    return first[np.concatenate(([0], new + 1))], stops[np.concatenate((new, [-1]))]


def find_slabs(stretches: Sequence[RowStretch]) -> tuple[FileSlabs, ...]:
    """The slabs that hold the rows of these stretches, in their order."""
    found: list[FileSlabs] = []
    done = 0
    for stretch in stretches:
        starts, stops = merge_rows(stretch.first, stretch.count)
        if starts.size:
            ends = done + np.cumsum(stops - starts)
            found.append(FileSlabs(stretch.ref.data_file, starts, stops, ends - (stops - starts)))
            done = int(ends[-1])
    return tuple(found)
