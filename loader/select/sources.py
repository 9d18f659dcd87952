"""Sources of a collection, the files of runs that hold them, and what those files say of the runs.

1. ``SourceEntry``: a source, its selected keys, and the files that hold it.
2. ``SourceMap``: the sources of a run by name, each made when it is asked for.
3. ``SourceTable``: all sources of a collection, taken from the facts of a run (``take_sources``) or
   joined from several collections (``join_tables``), where no source has a train in two files.
4. METADATA, times of trains and RUN values, and whether the files are of one run.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import DuplicateTrainError, MultiRunError, PropertyNameError
from ...catalog.model.facts import RunFacts
from ...catalog.model.identity import identify_run
from ...catalog.model.names import (
    LEGACY_VERSION,
    is_timestamp,
    key_spellings,
    recorded_run,
    short_key,
)
from ...catalog.model.records import KeyRecord, KeySchema, RunValue, SourceRecord
from ...catalog.model.runlength import Value
from .rows import FileGroup, FileRef, FileSet, Rows
from .trains import TrainSet

MAIN_SECTIONS = ("CONTROL", "INSTRUMENT")
LOCAL_ZONE = "Europe/Berlin"


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

    def with_keys(self, keys: frozenset[str] | None) -> "SourceEntry":
        """The same source with other selected keys."""
        return self if keys == self.keys else replace(self, keys=keys)

    def shifted(self, offset: int) -> "SourceEntry":
        """The same source, its data taken for trains whose IDs are this much larger."""
        return replace(self, files=self.files.shifted(offset)) if offset else self

    def resolve_key(self, key: str, schema: KeySchema) -> KeyRecord | None:
        """The selected key of this name; a control key may be spelt without ``.value``."""
        for name in key_spellings(key, self.section):
            if name in schema.by_name and (self.keys is None or name in self.keys):
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


@dataclass(eq=False, repr=False)
class SourceMap(Mapping[str, SourceEntry]):
    """The sources of a run by name. Each is made when it is asked for, and kept then.

    ``listings`` has, for each name, the source as each layout lists it, with the number in
    ``groups`` of the files of that layout.
    """

    _groups: Sequence[FileGroup]
    _listings: Mapping[str, Sequence[tuple[SourceRecord, int]]]
    _sets: dict[tuple[int, ...], FileSet] = field(default_factory=dict)
    _made: dict[str, SourceEntry] = field(default_factory=dict)

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
            files = self._sets.setdefault(numbers, FileSet(groups))
            run_only = all(source.run_only for source, _ in listing)
            stored = record.legacy_of or name
            found = SourceEntry(record.section, name, stored, files, run_only=run_only)
            found = self._made.setdefault(name, found)
        return found

    def sections(self) -> Iterator[tuple[str, str]]:
        """Each name with its section; no source is made for it."""
        return ((name, listing[0][0].section) for name, listing in self._listings.items())

    def one_of_each(self, besides: Iterable[int]) -> Iterator[SourceEntry]:
        """Of the sources with data, one for each set of files, besides sets of one such group."""
        seen: set[int | tuple[int, ...]] = set(besides)
        groups: int | tuple[int, ...]
        for name, listing in self._listings.items():
            # Mostly there is one, and making no tuple of it is faster.
            groups = listing[0][1] if len(listing) == 1 else tuple(n for _, n in listing)
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
        every = [r for g in self.groups for r in g.refs]
        moved, others = ({r.key: r for r in every if bool(r.offset) is m} for m in (True, False))
        refs = (moved | others).values()
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
    numbers, good = range(len(facts.table.names)), repeat(good_only)
    rows = zip(repeat(facts), numbers, listed, trains, good, repeat(0), strict=False)
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
        spans = [[e for ref in g.refs if (e := ends.get(lists[ref.number]))] for g in groups]
        # Where each file begins after the one before it ends, no train is in two of them.
        clear = {n for n, s in enumerate(spans) if all(a[1] < b[0] for a, b in pairwise(s))}
        _refuse_duplicates(sources.one_of_each(besides=clear))
    return SourceTable(groups, sources, TrainSet.union_of(sets.values()), allow_duplicates)


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
            trains = parts[part][1]
            narrowed[part, group] = share(r for r in group.refs if r.trains.overlaps(trains))
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
            if other is not None:  # the source as both select it
                mine, theirs = entry.keys, other.keys
                keys = None if mine is None or theirs is None else mine | theirs
                entry = replace(other, keys=keys, run_only=entry.run_only and other.run_only)
            found[name] = replace(entry, files=files)
    every = [narrow(part, g) for part, (table, _) in enumerate(parts) for g in table.groups]
    trains = TrainSet.union_of(trains for _, trains in parts)
    allow_duplicates = any(table.allow_duplicates for table, _ in parts)
    if not allow_duplicates:
        _refuse_duplicates(found.values())
    return SourceTable(_distinct(every), found, trains, allow_duplicates)


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


# -- facts of the run as a whole


def is_single_run(refs: Sequence[FileRef]) -> bool:
    """Whether all files are of one run, be it as raw and as processed data."""
    runs = {r.facts.run_key: r for r in refs}
    if len(runs) < 2:
        return True
    placed = [identify_run(r.facts.directory, r.facts.directory) for r in runs.values()]
    if not any(p.is_loose for p in placed):
        return len({(p.proposal, p.run) for p in placed}) == 1
    # Outside a facility tree only METADATA has the numbers, and not before version 1.0.
    names = {recorded_run(r.facts.metadata(r.number)) for r in runs.values()}
    return len(names) == 1 and None not in next(iter(names))


def run_metadata(refs: Sequence[FileRef]) -> dict[str, Any]:
    """METADATA of the file with the lowest aggregator and sequence; {} without files."""
    if not is_single_run(refs):
        raise MultiRunError("run_metadata()")
    if not refs:
        return {}
    ref = min(refs, key=lambda r: (r.data_file.aggregator, r.data_file.sequence, r.path))
    return {"dataFormatVersion": LEGACY_VERSION, **ref.facts.metadata(ref.number)}


def collect_timestamps(refs: Sequence[FileRef], trains: TrainSet) -> NDArray[np.datetime64]:
    """Time of each train, (n,) datetime64[ns] in UTC; NaT where no file has it (0 is none)."""
    times = np.full(len(trains), np.datetime64("NaT"), "datetime64[ns]")
    missing = trains
    for ref in refs:
        if not missing.firsts.size:
            break
        if ref.offset or not ref.trains.overlaps(missing):
            continue
        recorded = ref.facts.timestamps(ref.number)
        if recorded is None:
            continue
        ids = ref.listed.ids[: len(recorded)]
        wanted = missing.contains(ids) & (recorded[: ids.size] > 0)
        if ref.good_only:
            wanted &= ref.listed.good[: ids.size]
        # In reverse, so that of a train that is listed twice the first time stays.
        ids, recorded = ids[wanted][::-1], recorded[: len(ids)][wanted][::-1]
        times[trains.positions(ids)] = recorded.astype("datetime64[ns]")
        missing = missing - TrainSet.from_ids(ids)
    return times


def label_timestamps(times: NDArray[np.datetime64], trains: TrainSet, local: bool) -> Any:
    """The times as a pandas Series labelled with train IDs, in UTC or local time."""
    import pandas as pd

    series = pd.Series(times, index=trains.ids).dt.tz_localize("UTC")
    return series.dt.tz_convert(LOCAL_ZONE) if local else series


def list_datetimes(times: NDArray[np.datetime64], local: bool) -> list[datetime | None]:
    """The times as datetime objects, truncated to microseconds; None for NaT."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(LOCAL_ZONE) if local else UTC
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    unknown = np.isnat(times).tolist()
    microseconds = (times.astype(np.int64) // 1000).tolist()
    return [
        None if skip else (epoch + timedelta(microseconds=us)).astimezone(zone)
        for us, skip in zip(microseconds, unknown, strict=True)
    ]


def run_values(
    entry: SourceEntry, *, inc_timestamps: bool = True, allow_multi_run: bool = False
) -> dict[str, RunValue]:
    """RUN of a source by key; without timestamps, keys are spelt without ``.value``.

    Raises ValueError for a source that is no control source, MultiRunError for one of several runs.
    """
    if entry.section != "CONTROL":
        raise ValueError(f"{entry.name!r} is no control source: it has no RUN values")
    if not allow_multi_run and not is_single_run(entry.refs):
        raise MultiRunError("a RUN value")
    stored = _stored_values(entry)
    if inc_timestamps:
        return dict(stored)
    return {short_key(k): v for k, v in stored.items() if not is_timestamp(k)}


def _stored_values(entry: SourceEntry) -> Mapping[str, RunValue]:
    for facts in dict.fromkeys(r.facts for r in entry.refs):
        values = facts.run_values(entry.real_name)
        if values:
            return values
    return {}


def read_run_value(entry: SourceEntry, key: str, *, allow_multi_run: bool = False) -> RunValue:
    """The RUN value of one key, which may be spelt without ``.value``."""
    values = run_values(entry, allow_multi_run=allow_multi_run)
    for name in key_spellings(key, entry.section):
        if name in values:
            return values[name]
    raise PropertyNameError(key, entry.name, set(map(short_key, values)))


def device_class(entry: SourceEntry) -> str | None:
    """The Karabo class of a control source's device; None where unknown."""
    if entry.section != "CONTROL":
        return None
    name = _stored_values(entry).get("classId.value")
    return None if name is None else str(name)
