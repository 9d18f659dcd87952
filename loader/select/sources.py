"""Which sources are there, and in which files of which runs?

1. ``FileRef``: one data file of one run, with the trains of it that count.
2. ``FileGroup``: files with the same layout; ``FileSet``: the groups that hold a source, one object
   for all sources of the same files. What is the same for them is worked out once.
3. ``SourceEntry``: a source, its selected keys, and the files that hold it.
4. ``Inventory``: all sources of a collection, taken from the facts of a run (``take_inventory``)
   or joined from several (``join_inventories``), where no source has a train in two files.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import repeat
from typing import NamedTuple

import numpy as np

from ...catalog.model.errors import DuplicateTrainError, PropertyNameError
from ...catalog.model.facts import DataFile, RunFacts
from ...catalog.model.names import key_spellings, short_key
from ...catalog.model.records import FileLayout, KeyRecord, KeySchema, SourceRecord
from ...catalog.model.runlength import IndexPattern, TrainList
from .trains import TrainSet, Value

__all__ = [
    "FileGroup",
    "FileRef",
    "FileSet",
    "Inventory",
    "SourceEntry",
    "join_inventories",
    "join_sources",
    "take_inventory",
]

MAIN_SECTIONS = ("CONTROL", "INSTRUMENT")
NO_ROWS = IndexPattern.from_arrays((), ())


class FileRef(NamedTuple):
    """One data file: number ``number`` of ``facts``.

    ``listed`` are its trains in file order, ``trains`` those of them that count as a set: without
    the suspect ones if ``good_only``.
    """

    facts: RunFacts
    number: int
    listed: TrainList
    trains: TrainSet
    good_only: bool

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

    @cached_property
    def trains(self) -> TrainSet:
        """The trains of all of them."""
        return TrainSet.union_of(r.trains for r in self.refs)

    def within(self, trains: TrainSet) -> "FileGroup":
        """The group without the files that have none of these trains."""
        kept = tuple(r for r in self.refs if r.trains.overlaps(trains))
        return self if len(kept) == len(self.refs) else FileGroup(kept)


@dataclass(frozen=True, eq=False)
class FileSet(Value):
    """The groups of files that hold a source; one object for all sources that lie in the same."""

    groups: tuple[FileGroup, ...]

    @cached_property
    def refs(self) -> tuple[FileRef, ...]:
        """All the files, ordered by the first train listed in each."""
        refs = [r for g in self.groups for r in g.refs]
        return tuple(sorted(refs, key=_first_train))

    def within(self, trains: TrainSet) -> tuple[FileRef, ...]:
        """Those of ``refs`` that have any of these trains."""
        return self._selected(trains)[0]

    def starts_within(self, refs: Sequence[FileRef], trains: TrainSet) -> list[int]:
        """The position among ``trains`` of the first train of each of these files.

        -1 for a file whose trains are not one stretch, do not all count or are not all selected.
        """
        known, starts = self._selected(trains)
        return starts if refs is known else [_start(r, trains) for r in refs]

    def _selected(self, trains: TrainSet) -> tuple[tuple[FileRef, ...], list[int]]:
        """The files with any of these trains, and their starts; kept for the trains asked last."""
        last = self.__dict__.get("_last_selected")
        if last is None or last[0] is not trains:
            every = [(r, _start(r, trains)) for r in self.refs]
            found = [pair for pair in every if pair[1] >= 0 or pair[0].trains.overlaps(trains)]
            refs, starts = tuple(r for r, _ in found), [start for _, start in found]
            last = self.__dict__["_last_selected"] = (trains, refs, starts)
        selected: tuple[tuple[FileRef, ...], list[int]] = last[1:]
        return selected

    def alike(self, refs: Sequence[FileRef]) -> list[list[int]]:
        """The places in ``refs`` of the files of each run and layout."""
        last = self.__dict__.get("_last_alike")
        if last is None or last[0] is not refs:
            found: dict[tuple[int, int], list[int]] = {}
            for at, ref in enumerate(refs):
                kind = (id(ref.facts), id(ref.facts.layout(ref.number)))
                found.setdefault(kind, []).append(at)
            last = self.__dict__["_last_alike"] = (refs, list(found.values()))
        places: list[list[int]] = last[1]
        return places


@dataclass(frozen=True, eq=False)
class SourceEntry(Value):
    """A source with its selected ``keys`` (None: all) and the files that hold it.

    ``real_name`` is the name it is stored under, another one where ``name`` is a legacy name.
    ``run_only``: it has RUN keys only.
    """

    section: str
    name: str
    real_name: str
    files: FileSet
    keys: frozenset[str] | None = None
    run_only: bool = False

    @property
    def is_legacy(self) -> bool:
        """Whether the name is an old one of a source that has a new name."""
        return self.real_name != self.name

    @property
    def refs(self) -> tuple[FileRef, ...]:
        """All files that hold the source, ordered by the first train listed in each."""
        return self.files.refs

    def files_within(self, trains: TrainSet) -> tuple[FileRef, ...]:
        """Those of ``refs`` that have any of these trains."""
        return self.files.within(trains)

    def schema(self, ref: FileRef) -> KeySchema:
        """The keys that the source has in one of its files, selected or not."""
        return ref.facts.schema(ref.number, self.section, self.real_name)

    def pattern(self, ref: FileRef, group: str) -> IndexPattern:
        """INDEX of an index group in one of the files; empty where the file has no such group."""
        return self._find_patterns((ref,), group)[0]

    def patterns(self, refs: Sequence[FileRef], group: str) -> list[IndexPattern]:
        """``pattern`` of each of these files; kept, as other keys of the group need the same."""
        last = self.__dict__.get("_last_patterns")
        if last is None or last[0] is not refs or last[1] != group:
            found = self._find_patterns(refs, group)
            last = self.__dict__["_last_patterns"] = (refs, group, found)
        patterns: list[IndexPattern] = last[2]
        return patterns

    def _find_patterns(self, refs: Sequence[FileRef], group: str) -> list[IndexPattern]:
        found = [NO_ROWS] * len(refs)
        for places in self.files.alike(refs):
            first = refs[places[0]]
            groups = self.index_groups(first)
            if not groups or group in groups:
                numbers = [refs[at].number for at in places]
                patterns = first.facts.patterns(numbers, self.section, self.real_name, group)
                for at, pattern in zip(places, patterns, strict=True):
                    found[at] = pattern
        return found

    def index_groups(self, ref: FileRef) -> tuple[str, ...]:
        """The index groups that the source has in one of the files, sorted."""
        layout = ref.facts.layout(ref.number)
        at = layout.position.get((self.section, self.real_name))
        known = layout.sources[at].groups if at is not None else ()
        return known or self.schema(ref).groups

    def selects(self, key: str) -> bool:
        """Whether a key of the source is among the selected ones."""
        return self.keys is None or key in self.keys

    def with_keys(self, keys: frozenset[str] | None) -> "SourceEntry":
        """The same source with other selected keys."""
        return self if keys == self.keys else replace(self, keys=keys)

    def resolve_key(self, key: str, schema: KeySchema) -> KeyRecord | None:
        """The selected key of this name; a control key may be spelt without ``.value``."""
        for name in key_spellings(key, self.section):
            if name in schema.by_name and self.selects(name):
                return schema.by_name[name]
        return None

    def require_key(self, key: str, schema: KeySchema) -> KeyRecord:
        """As ``resolve_key``; an error for a key that is not there or not selected."""
        found = self.resolve_key(key, schema)
        if found is None:
            names = set(map(short_key, self.key_names(schema)))
            raise PropertyNameError(key, self.name, names)
        return found

    def key_names(self, schema: KeySchema) -> frozenset[str]:
        """The selected keys among those of a schema."""
        names = frozenset(schema.by_name)
        return names if self.keys is None else names & self.keys


class SourceMap(Mapping[str, SourceEntry]):
    """The sources of a run by name. Each is made when it is asked for, and kept then.

    ``held`` tells of each how the layouts have it that list it, with the files of that layout.
    """

    def __init__(self, held: Mapping[str, Sequence[tuple[SourceRecord, FileGroup]]]) -> None:
        self._held = held
        self._sets: dict[tuple[int, ...], FileSet] = {}
        self._made: dict[str, SourceEntry] = {}

    def __getstate__(self) -> Mapping[str, Sequence[tuple[SourceRecord, FileGroup]]]:
        return self._held

    def __setstate__(self, held: Mapping[str, Sequence[tuple[SourceRecord, FileGroup]]]) -> None:
        SourceMap.__init__(self, held)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __getitem__(self, name: str) -> SourceEntry:
        found = self._made.get(name)
        if found is None:
            held = self._held[name]
            record = held[0][0]
            found = SourceEntry(
                record.section,
                name,
                record.legacy_of or name,
                _file_set(tuple(group for _, group in held), self._sets),
                run_only=all(source.run_only for source, _ in held),
            )
            found = self._made.setdefault(name, found)
        return found

    def one_of_each(self, besides: Iterable[int] = ()) -> Iterator[SourceEntry]:
        """Of the sources with data, one for each set of files, besides sets of one such group."""
        seen: set[int | tuple[int, ...]] = set(besides)
        for name, held in self._held.items():
            if len(held) == 1:  # mostly
                groups: int | tuple[int, ...] = id(held[0][1])
            else:
                groups = tuple(id(group) for _, group in held)
            if groups not in seen and not self[name].run_only:
                seen.add(groups)
                yield self[name]


def _first_train(ref: FileRef) -> int:
    return int(ref.listed.starts[0]) if ref.listed.starts.size else 0


@dataclass(frozen=True, eq=False)
class Inventory(Value):
    """All sources of a collection.

    ``sources`` has the sources of CONTROL and INSTRUMENT by name, legacy names among them.
    ``groups`` are the files that hold them.
    """

    groups: tuple[FileGroup, ...]
    sources: Mapping[str, SourceEntry] = field(default_factory=dict)
    allow_duplicates: bool = False

    @cached_property
    def trains(self) -> TrainSet:
        """The trains of all files."""
        return TrainSet.union_of(r.trains for g in self.groups for r in g.refs)

    @cached_property
    def refs(self) -> tuple[FileRef, ...]:
        """All files, ordered by run and name."""
        refs = {id(r): r for g in self.groups for r in g.refs}.values()
        runs = {facts: i for i, facts in enumerate(dict.fromkeys(id(r.facts) for r in refs))}
        return tuple(sorted(refs, key=lambda r: (runs[id(r.facts)], r.number)))

    def with_sources(self, sources: Mapping[str, SourceEntry]) -> "Inventory":
        """The same files with these sources only."""
        groups: dict[int, FileGroup] = {}
        for entry in sources.values():
            for group in entry.files.groups:
                groups[id(group)] = group
        # A selection without sources keeps its files: its trains and metadata are still asked for.
        return replace(self, groups=tuple(groups.values()) or self.groups, sources=sources)


def take_inventory(
    facts: RunFacts, *, inc_suspect_trains: bool, allow_duplicates: bool
) -> Inventory:
    """All sources of a run. Work is done per distinct layout and train list, not per file."""
    numbers = range(facts.n_files)
    lists = list(map(facts.trains, numbers))
    sets = {
        key: TrainSet.from_list(listed, not inc_suspect_trains)
        for key, listed in {id(listed): listed for listed in lists}.items()
    }
    columns = (numbers, lists, [sets[id(listed)] for listed in lists])
    facts_of_refs = zip(repeat(facts), *columns, repeat(not inc_suspect_trains))
    refs = map(partial(tuple.__new__, FileRef), facts_of_refs)  # in half the time of FileRef._make
    by_layout: defaultdict[FileLayout, list[FileRef]] = defaultdict(list)
    for ref, layout in zip(refs, map(facts.layout, numbers), strict=True):
        by_layout[layout].append(ref)
    groups = [(layout, FileGroup(tuple(members))) for layout, members in by_layout.items()]
    held: dict[str, list[tuple[SourceRecord, FileGroup]]] = {}
    for layout, group in groups:
        for source in layout.sources:
            if source.section in MAIN_SECTIONS:
                held.setdefault(source.name, []).append((source, group))
    sources = SourceMap(held)
    if not allow_duplicates:
        spans = {id(s): (int(s.firsts[0]), int(s.lasts[-1])) for s in sets.values() if len(s)}
        clear = {id(group) for _, group in groups if _follow_each_other(group, spans)}
        _refuse_duplicates(sources.one_of_each(besides=clear))
    made = Inventory(tuple(group for _, group in groups), sources, allow_duplicates)
    made.__dict__["trains"] = TrainSet.union_of(sets.values())
    return made


def _follow_each_other(group: FileGroup, spans: Mapping[int, tuple[int, int]]) -> bool:
    """Whether each file begins after the ones before it end: then no train is in two of them.

    ``spans`` are first and last train of the sets of trains that are not empty, by their ids.
    """
    end = -1
    for ref in group.refs:
        first, last = spans.get(id(ref.trains), (end + 1, end))
        if first <= end:
            return False
        end = last
    return True


def _file_set(groups: tuple[FileGroup, ...], known: dict[tuple[int, ...], FileSet]) -> FileSet:
    """The set of these groups: the known one, if there is one."""
    return known.setdefault(tuple(id(g) for g in groups), FileSet(groups))


def join_inventories(parts: Sequence[tuple[Inventory, TrainSet]]) -> Inventory:
    """The sources of several collections, each with its selected trains, as one.

    A file that several of them hold is taken once. Of each collection, only files with selected
    trains are taken.
    """
    seen: dict[object, FileRef] = {}
    groups: dict[tuple[int, ...], FileGroup] = {}

    def first_seen(ref: FileRef) -> FileRef:
        # The same path, or the same file of one run that was opened by two paths.
        name = ref.path.rpartition("/")[2]
        names = (ref.path, (ref.facts.run_key, name))
        known = next((seen[n] for n in names if n in seen), ref)
        seen.update(dict.fromkeys(names, known))
        return known

    def shared(group: FileGroup) -> FileGroup:
        refs = tuple(first_seen(r) for r in group.refs)
        return groups.setdefault(tuple(id(r) for r in refs), FileGroup(refs))

    narrowed: dict[tuple[int, int], FileGroup] = {}

    def narrow(group: FileGroup, trains: TrainSet) -> FileGroup:
        key = (id(group), id(trains))
        if key not in narrowed:
            narrowed[key] = shared(group.within(trains))
        return narrowed[key]

    sets: dict[tuple[int, ...], FileSet] = {}
    found: dict[str, SourceEntry] = {}
    for part, trains in parts:
        for name, entry in part.sources.items():
            own = tuple(g for g in (narrow(g, trains) for g in entry.files.groups) if g.refs)
            if not own:  # one file still tells what keys there are
                own = (shared(FileGroup(entry.refs[:1])),)
            other = found.get(name)
            if other is not None:
                own = _distinct((*other.files.groups, *own))
            files = _file_set(own, sets)
            found[name] = (
                replace(entry, files=files) if other is None else _merge(other, entry, files)
            )
    inventory = Inventory(
        _distinct([narrow(g, trains) for part, trains in parts for g in part.groups]),
        found,
        any(part.allow_duplicates for part, _ in parts),
    )
    if not inventory.allow_duplicates:
        _refuse_duplicates(found.values())
    return inventory


def _merge(one: SourceEntry, other: SourceEntry, files: FileSet) -> SourceEntry:
    """A source as two collections have it, in the files of both."""
    keys = None if one.keys is None or other.keys is None else one.keys | other.keys
    return replace(
        one,
        files=files,
        keys=keys,
        run_only=one.run_only and other.run_only,
    )


def _start(ref: FileRef, trains: TrainSet) -> int:
    if not ref.is_one_stretch:
        return -1
    first = int(ref.listed.starts[0])
    is_within = trains.covers(first, first + ref.listed.n_trains - 1)
    return trains.position(first) if is_within else -1


def _distinct(groups: Iterable[FileGroup]) -> tuple[FileGroup, ...]:
    """The groups without repetitions, and without files that an earlier group has."""
    taken: set[int] = set()
    kept: list[FileGroup] = []
    for group in groups:
        refs = tuple(r for r in group.refs if id(r) not in taken)
        taken.update(id(r) for r in refs)
        if refs:
            kept.append(group if len(refs) == len(group.refs) else FileGroup(refs))
    return tuple(kept)


def _refuse_duplicates(entries: Iterable[SourceEntry]) -> None:
    """Raise DuplicateTrainError if a source has the same train in two files.

    Sources whose files have the same trains are looked at together.
    """
    seen: set[int] = set()
    checked: set[tuple[int, ...]] = set()
    for entry in entries:
        if id(entry.files) in seen or entry.run_only:
            continue
        seen.add(id(entry.files))
        trains = tuple(id(ref.trains) for group in entry.files.groups for ref in group.refs)
        if trains in checked:
            continue
        checked.add(trains)
        duplicate = _first_duplicate(entry.refs)
        if duplicate is not None:
            raise DuplicateTrainError(entry.name, *duplicate)


def _first_duplicate(refs: Sequence[FileRef]) -> tuple[int, tuple[str, str]] | None:
    """A train that two of the files have, and the paths of both."""
    if len(refs) < 2:
        return None
    firsts = np.concatenate([r.trains.firsts for r in refs])
    lasts = np.concatenate([r.trains.lasts for r in refs])
    owner = np.repeat(np.arange(len(refs)), [r.trains.firsts.size for r in refs])
    order = np.argsort(firsts, kind="stable")
    firsts, lasts, owner = firsts[order], lasts[order], owner[order]
    # Stretches of one file do not overlap, so any overlap of neighbours is between two files.
    clash = np.flatnonzero(firsts[1:] <= np.maximum.accumulate(lasts)[:-1])
    if not clash.size:
        return None
    at = int(clash[0]) + 1
    before = int(np.argmax(lasts[:at] >= firsts[at]))
    return int(firsts[at]), (refs[owner[before]].path, refs[owner[at]].path)


def join_sources(parts: Sequence[tuple[SourceEntry, TrainSet]]) -> SourceEntry:
    """One source as several collections have it, each with its selected trains."""
    inventories = []
    for entry, trains in parts:
        sources = {entry.name: entry}
        inventories.append((Inventory(entry.files.groups, sources), trains))
    return join_inventories(inventories).sources[parts[0][0].name]
