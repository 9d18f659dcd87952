"""Rows of a run in each table.

1. ``Interner``: which number a source, key, key schema or layout has in a database file.
2. ``run_rows``: a ``RunRecord`` as rows. Train lists, timestamps and index patterns that occur in
   several files of the run become one, and files refer to these, and to their layout, by number.
3. ``source_rows``: what the run has of each source, for questions over runs.
4. ``changed_files``, ``finding_rows``, ``location_rows``, ``profile_rows``: the tables in which a
   run keeps its past, from the rows of before and the record of now.

All but the ``Interner`` is pure. Values stand in the order of the columns in schema.sql.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.errors import CatalogWriteError
from ..model.facts import FileTable, Numbered
from ..model.identity import is_made_anew
from ..model.names import recorded_run, time_of_ns, to_utc
from ..model.records import (
    Depth,
    FileLayout,
    FileRecord,
    KeyProfile,
    KeySchema,
    Problem,
    RunRecord,
    SourceRecord,
)
from ..model.runlength import IndexPattern, TrainList
from .connections import rows
from .packing import (
    encode_timestamps,
    encode_value,
    pack_run,
    pack_schema,
)
from .read import StoredLayout, fetch_layouts, fetch_schemas

if TYPE_CHECKING:
    import duckdb

Row = tuple[Any, ...]
_NS_PER_YEAR = 31_556_952_000_000_000
_SCAN = "scan"  # the origin of the findings in a shard


class Interner:
    """The numbers of names, key schemas and layouts in one database file.

    The same few thousand of them occur in every run, so runs refer to them by dense numbers that
    are local to the file. A schema or layout has a digest; where the file has that already, the
    content is compared too, once per writer. Rows of what is new wait for ``take_new``.
    """

    def __init__(self, cursor: "duckdb.DuckDBPyConnection", location: str) -> None:
        self._cursor = cursor
        self._location = location
        self._sources = {n: i for i, n in rows(cursor, "SELECT * FROM source")}
        self._keys = {n: i for i, n in rows(cursor, "SELECT * FROM key")}
        found = rows(cursor, "SELECT digest, schema_id FROM key_schema")
        self._schemas: dict[str, int] = dict(found)
        found = rows(cursor, "SELECT digest, layout_id FROM layout")
        self._layouts: dict[str, int] = dict(found)
        self._known_schemas: dict[str, KeySchema] = {}
        self._known_layouts: set[str] = set()
        self._new: dict[str, list[Row]] = {}
        self._free: dict[str, int] = {}

    def take_new(self) -> dict[str, list[Row]]:
        """The rows of everything that got a number since this was last called."""
        new, self._new = self._new, {}
        return new

    def source(self, name: str) -> int:
        """The number of a source name."""
        return self._number("source", self._sources, name)

    def key(self, name: str) -> int:
        """The number of a key name."""
        return self._number("key", self._keys, name)

    def _number(self, table: str, numbers: dict[str, int], name: str) -> int:
        number = numbers.get(name)
        if number is None:
            number = numbers[name] = self._next(table, numbers)
            self._new.setdefault(table, []).append((number, name))
        return number

    def _next(self, table: str, numbers: dict[str, int]) -> int:
        if table not in self._free:  # not len(): `compact` drops what no run refers to
            self._free[table] = max(numbers.values(), default=-1) + 1
        self._free[table] += 1
        return self._free[table] - 1

    def schema(self, schema: KeySchema) -> int:
        """The number of a key schema; call ``check`` first for those the file may have."""
        number = self._schemas.get(schema.digest)
        if number is not None:
            return number
        number = self._schemas[schema.digest] = self._next("key_schema", self._schemas)
        self._known_schemas[schema.digest] = schema
        self._new.setdefault("key_schema", []).append(
            (number, schema.digest, len(schema.keys), pack_schema(schema))
        )
        self._new.setdefault("schema_key", []).extend(
            (
                *(number, position, self.key(k.name), k.group, k.dtype, k.entry_shape),
                *(k.unit_symbol, k.unit_name, k.prefix_symbol, k.prefix_name),
            )
            for position, k in enumerate(schema.keys)
        )
        return number

    def layout(self, layout: FileLayout) -> int:
        """The number of a layout; call ``check`` first for those the file may have."""
        number = self._layouts.get(layout.digest)
        if number is not None:
            return number
        number = self._layouts[layout.digest] = self._next("layout", self._layouts)
        self._known_layouts.add(layout.digest)
        self._new.setdefault("layout", []).append((number, layout.digest, len(layout.sources)))
        self._new.setdefault("layout_source", []).extend(
            (
                number,
                position,
                source.section,
                self.source(source.name),
                source.groups,
                self.source(source.legacy_of) if source.legacy_of else None,
                source.run_only,
                None if schema is None else self.schema(schema),
            )
            for position, (source, schema) in enumerate(
                zip(layout.sources, layout.schemas, strict=True)
            )
        )
        return number

    def check(self, layouts: Iterable[FileLayout]) -> None:
        """Compare layouts, and the schemas in them, with those the file has under their digests.

        Raises CatalogWriteError where a digest stands for two contents.
        """
        distinct = {layout.digest: layout for layout in layouts}
        schemas = {s.digest: s for x in distinct.values() for s in x.schemas if s is not None}
        self._check_schemas(schemas)
        unseen = {
            self._layouts[digest]: layout
            for digest, layout in distinct.items()
            if digest in self._layouts and digest not in self._known_layouts
        }
        if not unseen:
            return
        for number, stored in fetch_layouts(self._cursor, unseen).items():
            if not self._is_same(unseen[number], stored):
                raise self._clash("layout", unseen[number].digest)
            self._known_layouts.add(unseen[number].digest)

    def _check_schemas(self, schemas: dict[str, KeySchema]) -> None:
        unseen = {
            self._schemas[digest]: schema
            for digest, schema in schemas.items()
            if digest in self._schemas and digest not in self._known_schemas
        }
        if unseen:
            for number, stored in fetch_schemas(self._cursor, unseen).items():
                self._known_schemas[unseen[number].digest] = stored
        for digest, schema in schemas.items():
            known = self._known_schemas.get(digest)
            if known is not None and known is not schema and known.keys != schema.keys:
                raise self._clash("key schema", digest)

    def _is_same(self, layout: FileLayout, stored: StoredLayout) -> bool:
        numbers = tuple(None if s is None else self._schemas[s.digest] for s in layout.schemas)
        return layout.sources == stored.sources and numbers == stored.schema_ids

    def _clash(self, what: str, digest: str) -> CatalogWriteError:
        return CatalogWriteError(self._location, f"two contents of a {what} have digest {digest}")


def run_rows(record: RunRecord, interner: Interner) -> dict[str, list[Row]]:
    """The rows of a run by table, without findings, history and locations.

    These three carry on from what the catalog had before.
    """
    run_id = record.identity.run_id
    trains = Numbered[TrainList](attrgetter("token"))
    times = Numbered[NDArray[np.uint64]](lambda times: times.tobytes())
    patterns = Numbered[IndexPattern](attrgetter("token"))
    interner.check(file.layout for file in record.files)
    tables: dict[str, list[Row]] = {"file": [], "run_value": []}
    read: set[str] = set()
    slots: list[NDArray[np.int32]] = []
    facts: list[Row] = []
    for ordinal, file in enumerate(record.files):
        values = {s: v for s, v in file.run_values.items() if s not in read}
        read.update(values)
        tables["run_value"].extend(_value_rows(run_id, values, interner))
        slots.append(np.array([patterns.number(p) for p in file.patterns], np.int32))
        train_list = trains.number(file.trains)
        layout = interner.layout(file.layout)
        found = (file.name, file.size, file.mtime_ns, file.depth, file.missing_since is not None)
        facts.append((*found, ordinal, train_list, layout))
        tables["file"].append(
            (
                *(run_id, ordinal, file.name, file.size, file.mtime_ns, int(file.depth)),
                *(file.verified, file.aggregator, file.sequence, file.format_version),
                *(file.locality, file.retry, to_utc(file.scanned_at)),
                None if file.missing_since is None else to_utc(file.missing_since),
                train_list,
                None if file.timestamps is None else times.number(file.timestamps),
                layout,
                [interner.source(s) for s in values],
            )
        )
    tables["train_list"] = [
        (run_id, i, t.starts, t.lengths, t.suspect, t.dropped) for i, t in enumerate(trains.values)
    ]
    tables["timestamps"] = [(run_id, i, *encode_timestamps(t)) for i, t in enumerate(times.values)]
    files = FileTable.of(facts)
    tables["run_packed"] = [pack_run(run_id, files, trains.values, slots, patterns.values)]
    tables["run_source"] = source_rows(record, patterns.values, slots, interner)
    tables["file_metadata"] = list(_metadata_rows(run_id, record.files))
    tables["run"] = [_summary(record, trains, times)]
    return tables


def profile_row(run_id: int, profile: KeyProfile, interner: Interner) -> Row:
    """The row of ``key_profile`` for what a key did during a run."""
    return (
        *(run_id, interner.source(profile.source), interner.key(profile.key)),
        *(profile.n_entries, profile.n_nan, profile.minimum, profile.maximum),
        *(profile.mean, profile.std, profile.first, profile.last),
        *(profile.first_text, profile.last_text),
        *(profile.n_changes, to_utc(profile.profiled_at), False),
    )


def _value_rows(run_id: int, values: dict[str, Any], interner: Interner) -> Iterator[Row]:
    for source, by_key in values.items():
        source_id = interner.source(source)
        for key, value in by_key.items():
            yield (run_id, run_id, source_id, interner.key(key), *encode_value(value))


def _metadata_rows(run_id: int, files: Iterable[FileRecord]) -> Iterator[Row]:
    """One row per stretch of files with the same entry."""
    open_stretches: dict[str, tuple[str | int, int, int]] = {}
    for ordinal, file in enumerate(files):
        for name, value in file.metadata.items():
            known = open_stretches.get(name)
            if known and known[0] == value and known[2] == ordinal - 1:
                open_stretches[name] = (known[0], known[1], ordinal)
                continue
            if known:
                yield _metadata_row(run_id, name, *known)
            open_stretches[name] = (value, ordinal, ordinal)
    for name, stretch in open_stretches.items():
        yield _metadata_row(run_id, name, *stretch)


def _metadata_row(run_id: int, name: str, value: str | int, first: int, last: int) -> Row:
    return (run_id, name, str(value), not isinstance(value, str), first, last)


def _summary(
    record: RunRecord, trains: Numbered[TrainList], times: Numbered[NDArray[np.uint64]]
) -> Row:
    """The row of ``run``; what files share is looked at once, by its number."""
    identity, files = record.identity, record.files
    present = [f for f in files if f.missing_since is None]
    usable = [f for f in files if f.usable]
    used = [trains.values[n] for n in {trains.number(f.trains) for f in usable}]
    stamps = {times.number(f.timestamps) for f in usable if f.timestamps is not None}
    everything = _union([t.ids for t in used])
    good = _union([t.ids[t.good] for t in used])
    newest = max((f.mtime_ns for f in present), default=None)
    described = usable[0].metadata if usable else {}
    loose = identity.is_loose
    return (
        identity.run_id,
        None if loose else identity.proposal,
        None if loose else identity.run,
        None if loose else identity.data_class,
        identity.instrument or None,
        identity.cycle or None,
        identity.loose_path if loose else None,
        record.directory,
        record.realpath,
        len(files),
        sum(f.depth is Depth.FULL for f in files),
        sum(f.depth is Depth.UNREAD for f in files),
        len(files) - len(present),
        sum(f.size for f in present),
        len(everything),
        len(_union([t.ids[~t.good] for t in used])),
        int(good[0]) if len(good) else None,
        int(good[-1]) if len(good) else None,
        *_time_span([times.values[n] for n in stamps]),
        None if newest is None else time_of_ns(newest),
        int(min((f.depth for f in usable), default=Depth.UNREAD)),
        usable[0].format_version if usable else None,
        *map(_integer, recorded_run(described)),
        to_utc(record.ingested_at),
    )


def _union(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))


def _time_span(timestamps: list[NDArray[np.uint64]]) -> tuple[datetime | None, datetime | None]:
    """First and last time of a train, of the times that are plausible: after 1990, before 2200."""
    low, high = np.uint64(20 * _NS_PER_YEAR), np.uint64(230 * _NS_PER_YEAR)
    spans = []
    for times in timestamps:
        plausible = times[(times > low) & (times < high)]
        if plausible.size:
            spans.append((int(plausible.min()), int(plausible.max())))
    if not spans:
        return None, None
    return time_of_ns(min(s[0] for s in spans)), time_of_ns(max(s[1] for s in spans))


def _integer(value: str | int | None) -> int | None:
    try:
        number = int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1 << 63 else None


# What a run has of each source.
#
# One row per section, source, index group and key schema, with the number of files, of trains with
# data and of entries. Worked out per layout: which rows a slot of it counts towards is looked up
# once, and the files that share the layout add up as arrays.

# section, source, index group, schema id (-1: unknown), source id of the new name (-1), RUN only
_RowKey = tuple[str, str, str, int, int, bool]


def source_rows(
    record: RunRecord,
    patterns: Sequence[IndexPattern],
    file_patterns: Sequence[NDArray[np.int32]],
    interner: Interner,
) -> list[tuple[Any, ...]]:
    """The rows of ``run_source``; ``file_patterns`` are numbers in ``patterns`` for each file."""
    places: dict[_RowKey, int] = {}
    known_schemas = _schema_of_sources(record, interner)
    members: dict[str, list[int]] = {}
    layouts: dict[str, FileLayout] = {}
    for ordinal, file in enumerate(record.files):
        if file.depth > Depth.UNREAD:
            members.setdefault(file.layout.digest, []).append(ordinal)
            layouts[file.layout.digest] = file.layout
    plans = {d: _plan(x, places, known_schemas, interner) for d, x in layouts.items()}
    n_files, n_trains, n_entries, counted = np.zeros((4, len(places)), np.int64)
    trains_of = np.array([p.n_trains_with_rows for p in patterns], np.int64)
    entries_of = np.array([p.n_rows for p in patterns], np.int64)
    for digest, ordinals in members.items():
        listed, slot_of_row, rows = plans[digest]
        n_files[listed] += len(ordinals)
        full = [file_patterns[o] for o in ordinals if len(file_patterns[o])]
        if not full or not len(rows):
            continue
        numbers = np.stack(full)[:, slot_of_row]
        np.add.at(n_trains, rows, trains_of[numbers].sum(axis=0))
        np.add.at(n_entries, rows, entries_of[numbers].sum(axis=0))
        counted[rows] = 1
    return [
        (record.identity.run_id, section, interner.source(source), group)
        + (None if schema < 0 else schema, None if legacy_of < 0 else legacy_of, run_only)
        + (int(n_files[i]),)
        + ((int(n_trains[i]), int(n_entries[i])) if counted[i] else (None, None))
        for (section, source, group, schema, legacy_of, run_only), i in places.items()
    ]


def _schema_of_sources(record: RunRecord, interner: Interner) -> dict[tuple[str, str], int]:
    """A schema for each source that has one in some file of the run."""
    found: dict[tuple[str, str], int] = {}
    for layout in {f.layout.digest: f.layout for f in record.files}.values():
        for source, schema in zip(layout.sources, layout.schemas, strict=True):
            if schema is not None:
                found.setdefault((source.section, source.name), interner.schema(schema))
    return found


def _plan(
    layout: FileLayout,
    places: dict[_RowKey, int],
    known_schemas: dict[tuple[str, str], int],
    interner: Interner,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows that list this layout's files; and pairs of slot and the row that it counts towards."""
    listed: list[int] = []
    pairs: list[tuple[int, int]] = []
    for source, schema in zip(layout.sources, layout.schemas, strict=True):
        target, keys = _target(layout, source, schema)
        schema_id = (
            known_schemas.get((target.section, target.name), -1)
            if keys is None
            else interner.schema(keys)
        )
        legacy_of = interner.source(source.legacy_of) if source.legacy_of else -1
        groups = dict.fromkeys(target.groups + (keys.groups if keys else ())) or {"": None}
        for group in groups:
            key = (source.section, source.name, group, schema_id, legacy_of, target.run_only)
            row = places.setdefault(key, len(places))
            listed.append(row)
            slot = layout.slots.get((target.section, target.name, group))
            if slot is not None:
                pairs.append((slot, row))
    slots_rows = np.array(pairs, np.intp).reshape(-1, 2)
    return np.array(listed, np.intp), slots_rows[:, 0], slots_rows[:, 1]


def _target(
    layout: FileLayout, source: SourceRecord, schema: KeySchema | None
) -> tuple[SourceRecord, KeySchema | None]:
    """The source itself; for a legacy name, the source it stands for, if the file has it."""
    if source.legacy_of:
        at = layout.position.get((source.section, source.legacy_of))
        if at is not None:
            return layout.sources[at], layout.schemas[at]
    return source, schema


# What a run keeps of its past when it is written again.


class OldFile(NamedTuple):
    """A file as the catalog had it."""

    size: int
    mtime_ns: int
    scanned_at: datetime
    retry: bool
    missing: bool


class FindingKey(NamedTuple):
    """What distinguishes a finding of a run from others, in the order of the table's columns."""

    name: str | None
    check: str
    severity: str
    message: str
    place: str
    path: str | None


def changed_files(record: RunRecord, old: Mapping[str, OldFile]) -> list[tuple[FindingKey, Row]]:
    """A C02 finding and a row of ``file_history`` for each file that is not what it was.

    Not for one that could not be read before (``retry``): it was known to be unfinished.
    """
    found = []
    run_id = record.identity.run_id
    severity = "I" if is_made_anew(run_id) else "E"
    for file in record.files:
        was = old.get(file.name)
        if was is None or was.retry or (was.size, was.mtime_ns) == (file.size, file.mtime_ns):
            continue
        what = (
            f"size changed from {was.size} to {file.size} bytes"
            if was.size != file.size
            else f"modified since it was catalogued (mtime {was.mtime_ns}, now {file.mtime_ns})"
        )
        line = (
            run_id,
            file.name,
            was.size,
            was.mtime_ns,
            was.scanned_at,
            to_utc(record.ingested_at),
        )
        found.append((FindingKey(file.name, "C02", severity, what, "", None), line))
    return found


def finding_rows(
    record: RunRecord, changes: Iterable[FindingKey], old_rows: Iterable[Row]
) -> list[Row]:
    """All rows of ``finding`` for a run, from those it had and what is wrong now."""
    run_id, now = record.identity.run_id, to_utc(record.ingested_at)
    old = {FindingKey(*row[1:7]): row[7:10] for row in old_rows}
    wanted = dict.fromkeys([*_finding_keys(record), *changes])
    new = [(run_id, *key, old[key][0] if key in old else now, now, None, _SCAN) for key in wanted]
    for key, (first_seen, last_seen, resolved_at) in old.items():
        if key not in wanted:
            if key.check != "C02" or key.name is None:
                resolved_at = resolved_at or now
            new.append((run_id, *key, first_seen, last_seen, resolved_at, _SCAN))
    return new


def _finding_keys(record: RunRecord) -> Iterator[FindingKey]:
    """Every problem of a run and its files; the path only where the name does not give it."""
    for problem in record.problems:
        own = problem.path in (record.directory, record.realpath)
        yield FindingKey(None, *_about(problem), None if own else problem.path)
    for file in record.files:
        for problem in file.problems:
            own = os.path.basename(problem.path) == file.name
            yield FindingKey(file.name, *_about(problem), None if own else problem.path)
        if file.missing_since is not None:
            message = "catalogued file is missing on disk"
            yield FindingKey(file.name, "C01", "E", message, "", None)


def _about(problem: Problem) -> tuple[str, str, str, str]:
    return problem.check, problem.severity, problem.message, problem.where


def location_rows(record: RunRecord, known: Mapping[str, datetime]) -> list[Row]:
    """Rows of ``run_location``: the newest place is seen now, the others when they last were."""
    run_id, now = record.identity.run_id, to_utc(record.ingested_at)
    paths = record.locations
    last = len(paths) - 1
    return [(run_id, i, p, now if i == last else known.get(p, now)) for i, p in enumerate(paths)]


def profile_rows(
    record: RunRecord, old: Mapping[str, OldFile], old_rows: Iterable[Row]
) -> list[Row]:
    """Rows of ``key_profile``: as they were, but stale if files came, went or changed."""
    was = {(name, f.size, f.mtime_ns, f.missing) for name, f in old.items()}
    now = {(f.name, f.size, f.mtime_ns, f.missing_since is not None) for f in record.files}
    return [(*row[:-1], row[-1] or was != now) for row in old_rows]
