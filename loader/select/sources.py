"""Sources of a collection, and the files of runs that hold them.

1. ``SourceEntry``: a source, its selected keys, and the files that hold it.
2. ``SourceMap``: the sources of a run by name, each made when it is asked for.
3. ``SourceTable``: all sources of a collection, taken from the facts of a run (``take_sources``) or
   joined from several collections (``join_tables``), where no source has a train in two files.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import numpy as np

from ...catalog.model.errors import DuplicateTrainError, PropertyNameError
from ...catalog.model.facts import RunFacts
from ...catalog.model.names import key_spellings, short_key
from ...catalog.model.records import KeyRecord, KeySchema, SourceRecord
from .rows import FileGroup, FileRef, FileSet, Rows
from .trains import TrainSet, Value

__all__ = [
    "SourceEntry",
    "SourceTable",
    "join_sources",
    "join_tables",
    "take_sources",
]

MAIN_SECTIONS = ("CONTROL", "INSTRUMENT")


@dataclass(frozen=True, eq=False)
class SourceEntry(Value):
    """A source with its selected keys, and the files that hold it."""

    section: str
    """CONTROL, INSTRUMENT or an auxiliary section."""
    name: str
    """The name the user asks for."""
    real_name: str
    """The name it is stored under: another one where ``name`` is a legacy name."""
    files: FileSet
    """The files that hold it."""
    keys: frozenset[str] | None = None
    """The selected keys; None for all."""
    run_only: bool = False
    """Whether it has RUN keys only."""

    @property
    def is_legacy(self) -> bool:
        """Whether the name is an old one of a source that has a new name."""
        return self.real_name != self.name

    @property
    def refs(self) -> tuple[FileRef, ...]:
        """All files that hold the source, ordered by the first train listed in each."""
        return self.files.refs

    def rows(self, group: str, trains: TrainSet) -> Rows:
        """The rows of an index group for the selected trains."""
        return self.files.within(trains).rows(self.section, self.real_name, group)

    def schema(self, ref: FileRef) -> KeySchema:
        """The keys that the source has in one of its files, selected or not."""
        return ref.facts.schema(ref.number, self.section, self.real_name)

    def index_groups(self, ref: FileRef) -> tuple[str, ...]:
        """The index groups that the source has in one of the files, sorted."""
        return ref.facts.index_groups(ref.number, self.section, self.real_name)

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

    ``listings`` has, for each name, the source as each layout lists it, with the number in
    ``groups`` of the files of that layout.
    """

    def __init__(
        self,
        groups: Sequence[FileGroup],
        listings: Mapping[str, Sequence[tuple[SourceRecord, int]]],
    ) -> None:
        self._groups = groups
        self._listings = listings
        self._sets: dict[tuple[int, ...], FileSet] = {}
        self._made: dict[str, SourceEntry] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SourceMap, (self._groups, self._listings)

    def __iter__(self) -> Iterator[str]:
        return iter(self._listings)

    def __len__(self) -> int:
        return len(self._listings)

    def __contains__(self, name: object) -> bool:
        return name in self._listings

    def __getitem__(self, name: str) -> SourceEntry:
        found = self._made.get(name)
        if found is None:
            listing = self._listings[name]
            record = listing[0][0]
            numbers = tuple(number for _, number in listing)
            groups = tuple(self._groups[number] for number in numbers)
            found = SourceEntry(
                record.section,
                name,
                record.legacy_of or name,
                self._sets.setdefault(numbers, FileSet(groups)),
                run_only=all(source.run_only for source, _ in listing),
            )
            found = self._made.setdefault(name, found)
        return found

    def one_of_each(self, besides: Iterable[int] = ()) -> Iterator[SourceEntry]:
        """Of the sources with data, one for each set of files, besides sets of one such group."""
        seen: set[int | tuple[int, ...]] = set(besides)
        for name, listing in self._listings.items():
            if len(listing) == 1:  # mostly
                groups: int | tuple[int, ...] = listing[0][1]
            else:
                groups = tuple(number for _, number in listing)
            if groups not in seen and not self[name].run_only:
                seen.add(groups)
                yield self[name]


@dataclass(frozen=True, eq=False)
class SourceTable(Value):
    """All sources of a collection, and the files that hold them."""

    groups: tuple[FileGroup, ...]
    """The files."""
    sources: Mapping[str, SourceEntry]
    """The sources of CONTROL and INSTRUMENT by name, legacy names among them."""
    trains: TrainSet
    """The trains of the runs that the files are from."""
    allow_duplicates: bool = False
    """Whether a source may have a train in two files."""

    @cached_property
    def refs(self) -> tuple[FileRef, ...]:
        """All files, ordered by run and name."""
        refs = {r.key: r for g in self.groups for r in g.refs}.values()
        runs = {facts: i for i, facts in enumerate(dict.fromkeys(r.facts for r in refs))}
        return tuple(sorted(refs, key=lambda r: (runs[r.facts], r.number)))

    def with_sources(self, sources: Mapping[str, SourceEntry]) -> "SourceTable":
        """The same files with these sources only."""
        groups = dict.fromkeys(g for entry in sources.values() for g in entry.files.groups)
        # A selection without sources keeps its files: its trains and metadata are still asked for.
        return replace(self, groups=tuple(groups) or self.groups, sources=sources)


def take_sources(
    facts: RunFacts, *, inc_suspect_trains: bool, allow_duplicates: bool
) -> SourceTable:
    """All sources of a run. Work is done per distinct layout and train list, not per file."""
    lists, good_only = facts.table.train_lists, not inc_suspect_trains
    sets = {n: TrainSet.from_list(facts.train_lists[n], good_only) for n in set(lists)}
    listed, trains = map(facts.train_lists.__getitem__, lists), map(sets.__getitem__, lists)
    rows = zip(repeat(facts), range(facts.n_files), listed, trains, repeat(good_only))
    refs = map(partial(tuple.__new__, FileRef), rows)  # in half the time of FileRef._make
    of_layout: defaultdict[int, list[FileRef]] = defaultdict(list)
    for ref, layout in zip(refs, facts.table.layouts, strict=True):
        of_layout[layout].append(ref)
    groups = tuple(FileGroup(tuple(members)) for members in of_layout.values())
    listings: dict[str, list[tuple[SourceRecord, int]]] = {}
    for number, layout in enumerate(of_layout):
        for source in facts.layouts[layout].sources:
            if source.section in MAIN_SECTIONS:
                listings.setdefault(source.name, []).append((source, number))
    sources = SourceMap(groups, listings)
    if not allow_duplicates:
        ends = {n: (int(s.firsts[0]), int(s.lasts[-1])) for n, s in sets.items() if len(s)}
        spans = [[ends[lists[ref.number]] for ref in g.refs if len(ref.trains)] for g in groups]
        clear = {n for n, of_group in enumerate(spans) if _follow_each_other(of_group)}
        _refuse_duplicates(sources.one_of_each(besides=clear))
    return SourceTable(groups, sources, TrainSet.union_of(sets.values()), allow_duplicates)


def _follow_each_other(spans: Iterable[tuple[int, int]]) -> bool:
    """Whether each file begins after the ones before it end: then no train is in two of them."""
    end = -1
    for first, last in spans:
        if first <= end:
            return False
        end = last
    return True


def join_tables(parts: Sequence[tuple[SourceTable, TrainSet]]) -> SourceTable:
    """The sources of several collections, each with its selected trains, as one.

    A file that several of them hold is taken once. Of each collection, only files with selected
    trains are taken.
    """
    taken: dict[object, FileRef] = {}
    groups: dict[tuple[tuple[RunFacts, int], ...], FileGroup] = {}
    sets: dict[tuple[FileGroup, ...], FileSet] = {}
    narrowed: dict[tuple[int, FileGroup], FileGroup] = {}
    found: dict[str, SourceEntry] = {}

    def take_once(ref: FileRef) -> FileRef:
        # The same path, or the same file of one run that was opened by two paths.
        names = (ref.path, (ref.facts.run_key, ref.path.rpartition("/")[2]))
        known = next((taken[n] for n in names if n in taken), ref)
        taken.update(dict.fromkeys(names, known))
        return known

    def share(refs: Iterable[FileRef]) -> FileGroup:
        once = tuple(map(take_once, refs))
        return groups.setdefault(tuple(r.key for r in once), FileGroup(once))

    def narrow(part: int, group: FileGroup) -> FileGroup:
        if (part, group) not in narrowed:
            narrowed[part, group] = share(group.within(parts[part][1]).refs)
        return narrowed[part, group]

    for part, (table, _) in enumerate(parts):
        for name, entry in table.sources.items():
            own = tuple(g for g in (narrow(part, g) for g in entry.files.groups) if g.refs)
            if not own:  # one file still has the keys that there are
                own = (share(entry.refs[:1]),)
            other = found.get(name)
            if other is not None:
                own = _distinct((*other.files.groups, *own))
            files = sets.setdefault(own, FileSet(own))
            entry = entry if other is None else _merge(other, entry)
            found[name] = replace(entry, files=files)
    every = [narrow(part, g) for part, (table, _) in enumerate(parts) for g in table.groups]
    trains = TrainSet.union_of(trains for _, trains in parts)
    allow_duplicates = any(table.allow_duplicates for table, _ in parts)
    if not allow_duplicates:
        _refuse_duplicates(found.values())
    return SourceTable(_distinct(every), found, trains, allow_duplicates)


def _merge(one: SourceEntry, other: SourceEntry) -> SourceEntry:
    """A source as two collections select it."""
    keys = None if one.keys is None or other.keys is None else one.keys | other.keys
    return replace(one, keys=keys, run_only=one.run_only and other.run_only)


def _distinct(groups: Iterable[FileGroup]) -> tuple[FileGroup, ...]:
    """The groups without repetitions, and without files that an earlier group has."""
    taken: set[tuple[RunFacts, int]] = set()
    kept: list[FileGroup] = []
    for group in groups:
        refs = tuple(r for r in group.refs if r.key not in taken)
        taken.update(r.key for r in refs)
        if refs:
            kept.append(group if len(refs) == len(group.refs) else FileGroup(refs))
    return tuple(kept)


def _refuse_duplicates(entries: Iterable[SourceEntry]) -> None:
    """Raise DuplicateTrainError if a source has the same train in two files."""
    checked: set[FileSet] = set()
    for entry in entries:
        if entry.files in checked or entry.run_only:
            continue
        checked.add(entry.files)
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
    tables = [
        (SourceTable(entry.files.groups, {entry.name: entry}, trains), trains)
        for entry, trains in parts
    ]
    return join_tables(tables).sources[parts[0][0].name]
