"""Rows of a run in each table.

Train lists, timestamps and index patterns that occur in several files of a run become one, and
files refer to these, and to their layout, by number. What a run keeps of its past (findings,
changed files) follows from the rows of before and the record of now.

All but the ``Interner`` is pure. Values stand in the order of the columns in schema.sql.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.errors import CatalogWriteError
from ..model.facts import FileTable, KnownFile, Numbered, modified
from ..model.identity import is_made_anew
from ..model.names import recorded_run, time_of_ns, to_utc
from ..model.records import Depth, FileLayout, FileRecord, KeySchema, Problem, RunRecord
from ..model.runlength import FrameIds, IndexPattern, TrainList, UInt64s
from .connections import Cursor, rows
from .packing import encode_timestamps, encode_value, pack_frame_ids, pack_run, pack_schema
from .read import fetch_layouts, fetch_schemas
from .schema import INTERNED

Row = tuple[Any, ...]
_NS_PER_YEAR = 31_556_952_000_000_000
_SCAN = "scan"  # the origin of the findings in a shard


class Interner:
    """The numbers of names, key schemas and layouts in one database file.

    The same few thousand of them occur in every run, so runs refer to them by dense numbers that
    are local to the file. A schema or layout has a digest; where the file has that already, the
    content is compared too, once per writer. Rows of what is new wait for ``take_new``.
    """

    def __init__(self, cursor: Cursor, location: str) -> None:
        self._cursor = cursor
        self._location = location
        # By table, then by the name or digest.
        self._numbers: dict[str, dict[str, int]] = {
            x.table.name: dict(rows(cursor, f"SELECT {x.identity}, {x.number} FROM {x.table.name}"))
            for x in INTERNED
        }
        # Not the number of rows: `compact` drops what no run refers to.
        self._free = {t: max(n.values(), default=-1) + 1 for t, n in self._numbers.items()}
        self._known_schemas: dict[str, KeySchema] = {}
        self._known_layouts: set[str] = set()
        self._new: dict[str, list[Row]] = {}

    def take_new(self) -> dict[str, list[Row]]:
        """The rows of everything that got a number since this was last called."""
        new, self._new = self._new, {}
        return new

    def _add(self, table: str, identity: str, *about: Any) -> int:
        number = self._numbers[table][identity] = self._free[table]
        self._free[table] += 1
        self._new.setdefault(table, []).append((number, identity, *about))
        return number

    def source(self, name: str) -> int:
        """The number of a source name."""
        number = self._numbers["source"].get(name)
        return self._add("source", name) if number is None else number

    def key(self, name: str) -> int:
        """The number of a key name."""
        number = self._numbers["key"].get(name)
        return self._add("key", name) if number is None else number

    def schema(self, schema: KeySchema) -> int:
        """The number of a key schema; call ``check`` first for those the file may have."""
        digest = schema.digest
        number = self._numbers["key_schema"].get(digest)
        if number is not None:
            return number
        number = self._add("key_schema", digest, len(schema.keys), pack_schema(schema))
        self._known_schemas[digest] = schema
        self._new.setdefault("schema_key", []).extend(
            (number, position, self.key(name), *about)
            for position, (name, *about) in enumerate(schema.keys)
        )
        return number

    def layout(self, layout: FileLayout) -> int:
        """The number of a layout; call ``check`` first for those the file may have."""
        number = self._numbers["layout"].get(layout.digest)
        if number is not None:
            return number
        number = self._add("layout", layout.digest, len(layout.sources))
        self._known_layouts.add(layout.digest)
        self._new.setdefault("layout_source", []).extend(
            (
                *(number, position, source.section, self.source(source.name), source.groups),
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
        numbers = self._numbers["key_schema"]
        unseen = {numbers[d]: d for d in schemas if d in numbers and d not in self._known_schemas}
        for number, known in fetch_schemas(self._cursor, unseen).items():
            self._known_schemas[unseen[number]] = known
        for digest in schemas.keys() & self._known_schemas.keys():
            if schemas[digest].keys != self._known_schemas[digest].keys:
                raise self._clash("key schema", digest)

        of_layouts = self._numbers["layout"]
        unseen = {
            of_layouts[d]: d for d in distinct if d in of_layouts and d not in self._known_layouts
        }
        for number, stored in fetch_layouts(self._cursor, unseen).items():
            layout = distinct[unseen[number]]
            used = tuple(None if s is None else numbers[s.digest] for s in layout.schemas)
            if layout.sources != stored.sources or used != stored.schema_ids:
                raise self._clash("layout", layout.digest)
            self._known_layouts.add(layout.digest)

    def _clash(self, what: str, digest: str) -> CatalogWriteError:
        return CatalogWriteError(self._location, f"two contents of a {what} have digest {digest}")


def run_rows(record: RunRecord, interner: Interner) -> dict[str, list[Row]]:
    """The rows of a run by table, without those that carry on from what the catalog had."""
    run_id = record.identity.run_id
    trains = Numbered[TrainList](attrgetter("token"))
    times = Numbered[UInt64s](lambda times: times.tobytes())
    patterns = Numbered[IndexPattern](attrgetter("token"))
    interner.check(file.layout for file in record.files)
    tables: dict[str, list[Row]] = {"file": [], "run_value": []}
    read: set[str] = set()
    frame_ids = Numbered[FrameIds](attrgetter("token"))
    slots: list[NDArray[np.int32]] = []
    frame_slots: list[NDArray[np.int32]] = []
    facts: list[Row] = []
    for ordinal, file in enumerate(record.files):
        values = {s: v for s, v in file.run_values.items() if s not in read}
        read.update(values)
        tables["run_value"].extend(
            (run_id, run_id, interner.source(source), interner.key(key), *encode_value(value))
            for source, by_key in values.items()
            for key, value in by_key.items()
        )
        slots.append(np.array([patterns.number(p) for p in file.patterns], np.int32))
        numbers = [-1 if ids is None else frame_ids.number(ids) for ids in file.frame_ids]
        frame_slots.append(np.array(numbers, np.int32))
        train_list = trains.number(file.trains)
        layout = interner.layout(file.layout)
        found = (file.name, file.size, file.mtime_ns, file.depth, file.missing)
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
    if frame_ids.values:
        tables["frame_ids"] = [pack_frame_ids(run_id, frame_slots, frame_ids.values)]
    tables["run_source"] = source_rows(record, patterns.values, slots, interner)
    tables["file_metadata"] = _metadata_rows(run_id, record.files)
    tables["run"] = [_summary(record, trains, times)]
    return tables


def _metadata_rows(run_id: int, files: Iterable[FileRecord]) -> list[Row]:
    """One row per stretch of files with the same entry."""
    stretches: list[list[Any]] = []
    last: dict[str, list[Any]] = {}
    for ordinal, file in enumerate(files):
        for name, value in file.metadata.items():
            entry = [run_id, name, str(value), not isinstance(value, str)]
            stretch = last.get(name)
            if stretch and stretch[:4] == entry and stretch[5] == ordinal - 1:
                stretch[5] = ordinal
            else:
                last[name] = [*entry, ordinal, ordinal]
                stretches.append(last[name])
    return list(map(tuple, stretches))


# Entries of METADATA that are columns of ``run``.
_OF_SAMPLE = ("sample", "runType")


def _summary(record: RunRecord, trains: Numbered[TrainList], times: Numbered[UInt64s]) -> Row:
    """The row of ``run``; what files share is looked at once, by its number."""
    identity, files = record.identity, record.files
    present = [f for f in files if not f.missing]
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
        *(next((str(f.metadata[n]) for f in files if f.metadata.get(n)), None) for n in _OF_SAMPLE),
    )


def _union(parts: list[UInt64s]) -> UInt64s:
    return np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))


def _time_span(timestamps: list[UInt64s]) -> tuple[datetime | None, datetime | None]:
    """First and last time of a train, of the times that are plausible: after 1990, before 2200."""
    times = np.concatenate([np.empty(0, np.uint64), *timestamps])
    times = times[(times > 20 * _NS_PER_YEAR) & (times < 230 * _NS_PER_YEAR)]
    if not times.size:
        return None, None
    return time_of_ns(int(times.min())), time_of_ns(int(times.max()))


def _integer(value: str | int | None) -> int | None:
    try:
        number = int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1 << 63 else None


def source_rows(
    record: RunRecord,
    patterns: Sequence[IndexPattern],
    file_patterns: Sequence[NDArray[np.int32]],
    interner: Interner,
) -> list[Row]:
    """The rows of ``run_source``; ``file_patterns`` are numbers in ``patterns`` for each file.

    One row per section, source, index group and key schema, with the number of files, of trains
    with data and of entries. Files that share a layout are added up as arrays, a column per slot.
    """
    layouts = {f.layout.digest: f.layout for f in record.files}
    schemas: dict[tuple[str, str], int] = {}  # of sources whose keys some file lacks
    for layout in layouts.values():
        for source, schema in zip(layout.sources, layout.schemas, strict=True):
            if schema is not None:
                schemas.setdefault((source.section, source.name), interner.schema(schema))
    members: dict[str, list[int]] = {}
    for ordinal, file in enumerate(record.files):
        if file.depth > Depth.UNREAD:
            members.setdefault(file.layout.digest, []).append(ordinal)
    sizes = np.array([(p.n_trains_with_rows, p.n_rows) for p in patterns], np.int64).reshape(-1, 2)
    # Files, trains and entries; the latter stay None unless some file of full depth counts.
    counts: dict[Row, list[Any]] = {}
    for digest, ordinals in members.items():
        layout = layouts[digest]
        full = [file_patterns[o] for o in ordinals if len(file_patterns[o])]
        of_slots: list[list[int]] = sizes[np.stack(full)].sum(axis=0).tolist() if full else []
        for source, schema in zip(layout.sources, layout.schemas, strict=True):
            # A legacy name counts as the source it stands for, if the file has that.
            at = layout.position.get((source.section, source.legacy_of))
            target, keys = (
                (source, schema) if at is None else (layout.sources[at], layout.schemas[at])
            )
            place = (target.section, target.name)
            schema_id = schemas.get(place) if keys is None else interner.schema(keys)
            legacy_of = interner.source(source.legacy_of) if source.legacy_of else None
            named = (source.section, interner.source(source.name))
            about = (schema_id, legacy_of, target.run_only)
            for group in dict.fromkeys(target.groups + (keys.groups if keys else ())) or ("",):
                row = counts.setdefault((*named, group, *about), [0, None, None])
                row[0] += len(ordinals)
                slot = layout.slots.get((*place, group))
                if slot is not None and of_slots:
                    trains, entries = of_slots[slot]
                    row[1], row[2] = (row[1] or 0) + trains, (row[2] or 0) + entries
    return [(record.identity.run_id, *key, *row) for key, row in counts.items()]


class FindingKey(NamedTuple):
    """What distinguishes a finding of a run from others, in the order of the table's columns."""

    name: str | None
    check: str
    severity: str
    message: str
    place: str
    path: str | None


def changed_files(
    record: RunRecord, old: Mapping[str, KnownFile], scanned_at: Mapping[str, datetime]
) -> list[tuple[FindingKey, Row]]:
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
            else modified(was.mtime_ns, file.mtime_ns)
        )
        now = to_utc(record.ingested_at)
        line = (run_id, file.name, was.size, was.mtime_ns, scanned_at[file.name], now)
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

    def key(name: str | None, problem: Problem, is_own: bool) -> FindingKey:
        about = (problem.check, problem.severity, problem.message, problem.where)
        return FindingKey(name, *about, None if is_own else problem.path)

    for problem in record.problems:
        yield key(None, problem, problem.path in (record.directory, record.realpath))
    for file in record.files:
        for problem in file.problems:
            yield key(file.name, problem, os.path.basename(problem.path) == file.name)
        if file.missing:
            message = "catalogued file is missing on disk"
            yield FindingKey(file.name, "C01", "E", message, "", None)
