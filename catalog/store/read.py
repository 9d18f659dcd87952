"""Reads of a shard: its rows as records again.

Fixed queries in plain SQL, one function each: what opening needs, bit by bit, and ``load_run`` for
a whole run, to write it again. Numbers go into the SQL as literals of integers: on DuckDB 1.5 a
bound value would import pandas.

Each function takes a cursor and ids local to its file. Names of sources and keys are joined on, and
rows sorted, here: DuckDB takes longer to plan a join or a sort than to do the rest of such a query.
Whoever has the file open keeps ``Names``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from ..model.facts import KnownFile
from ..model.identity import RunIdentity
from ..model.names import from_utc
from ..model.records import (
    Depth,
    FileLayout,
    FileRecord,
    KeySchema,
    Problem,
    RunRecord,
    RunValue,
    SourceRecord,
)
from ..model.runlength import UInt64s
from .connections import Cursor, rows, rows_of_run
from .packing import (
    decode_timestamps,
    decode_value,
    fetch_frame_ids,
    fetch_packed,
    raw_maker,
    scalar_maker,
    unpack_schema,
)

Names = dict[int, str]


def file_stats(cursor: Cursor, run_id: int) -> dict[str, KnownFile]:
    """What freshness compares, by file name; empty where the shard does not have the run."""
    known = "size, mtime_ns, depth, verified, retry, missing_since IS NOT NULL"
    return {
        name: KnownFile(size, mtime_ns, Depth(depth), *others)
        for name, size, mtime_ns, depth, *others in rows_of_run(
            cursor, run_id, f"name, {known} FROM file", "ordinal"
        )
    }


def run_locations(cursor: Cursor, run_id: int) -> tuple[str, ...]:
    """The directories a run was ever seen at, newest last."""
    found = rows_of_run(cursor, run_id, "path FROM run_location", "position")
    return tuple(path for (path,) in found)


def only_run(cursor: Cursor) -> int:
    """The run_id of the shard's one run; -1 where it has none or several."""
    found = rows(cursor, "SELECT run_id FROM run LIMIT 2")
    return int(found[0][0]) if len(found) == 1 else -1


def _one_of(column: str, ids: Collection[int]) -> str:
    """The condition that a column has one of these ids."""
    if len(ids) == 1:
        return f"{column} = {int(next(iter(ids))):d}"
    return f"{column} IN ({','.join(str(int(n)) for n in ids) or -1})"  # ids are never negative


def _names(cursor: Cursor, table: str, ids: Iterable[int], known: Names | None) -> Names:
    """Names of sources or keys, these among them; what had to be queried is added to ``known``."""
    names = {} if known is None else known
    missing = set(ids) - names.keys()
    if missing:
        # A stretch with all of these: what is used together was mostly named together.
        some = f"{table}_id BETWEEN {min(missing):d} AND {max(missing):d}"
        names.update(rows(cursor, f"SELECT {table}_id, name FROM {table} WHERE {some}"))
    return names


def fetch_schemas(cursor: Cursor, ids: Collection[int]) -> dict[int, KeySchema]:
    """Key schemas by their ids."""
    if not ids:
        return {}
    sql = f"SELECT schema_id, packed FROM key_schema WHERE {_one_of('schema_id', ids)}"
    return {number: unpack_schema(packed) for number, packed in rows(cursor, sql)}


class StoredLayout(NamedTuple):
    """The sources of a layout, and beside each its id and that of its key schema."""

    sources: tuple[SourceRecord, ...]
    source_ids: tuple[int, ...]
    schema_ids: tuple[int | None, ...]


def fetch_layouts(
    cursor: Cursor, ids: Iterable[int], known: Names | None = None
) -> dict[int, StoredLayout]:
    """Layouts by their ids; one without sources is there too."""
    members: dict[int, list[tuple[SourceRecord, int, int | None]]] = {int(i): [] for i in ids}
    if not members:
        return {}
    found = rows(
        cursor,
        "SELECT layout_id, position, section, source_id, index_groups, legacy_of, run_only,"
        f" schema_id FROM layout_source WHERE {_one_of('layout_id', members)}",
    )
    found.sort(key=itemgetter(0, 1))
    wanted = {row[3] for row in found} | {row[5] for row in found if row[5] is not None}
    names = _names(cursor, "source", wanted, known)
    for layout, _, section, source_id, groups, legacy_of, run_only, schema in found:
        old = "" if legacy_of is None else names[legacy_of]
        record = SourceRecord(section, names[source_id], tuple(groups), old, run_only)
        members[layout].append((record, source_id, schema))
    return {
        layout: StoredLayout(*zip(*parts, strict=True)) if parts else StoredLayout((), (), ())
        for layout, parts in members.items()
    }


def fetch_timestamps(cursor: Cursor, run_id: int) -> dict[int, UInt64s]:
    """The timestamps of each file of a run that has any, by its ordinal."""
    times = {
        number: decode_timestamps(first, deltas)
        for number, first, deltas in rows_of_run(
            cursor, run_id, "ordinal, first, deltas FROM timestamps"
        )
    }
    found = rows_of_run(cursor, run_id, "ordinal, timestamps FROM file")
    return {file: times[number] for file, number in found if number is not None}


def fetch_metadata(cursor: Cursor, run_id: int, n_files: int) -> list[dict[str, str | int]]:
    """METADATA of the files of a run, by ordinal."""
    metadata: list[dict[str, str | int]] = [{} for _ in range(n_files)]
    for name, value, is_number, first, last in rows_of_run(
        cursor, run_id, "name, value, is_number, first_file, last_file FROM file_metadata"
    ):
        decoded = int(value) if is_number else value
        for entries in metadata[first : last + 1]:
            entries[name] = decoded
    return metadata


def fetch_unusable_files(cursor: Cursor, run_id: int) -> list[tuple[str, datetime | None]]:
    """Files of a run that are missing or could not be read: name, and since when it is missing."""
    found = rows_of_run(cursor, run_id, "name, missing_since, depth FROM file", "ordinal")
    return [(name, since) for name, since, depth in found if depth == Depth.UNREAD or since]


def fetch_run_values(
    cursor: Cursor,
    run_id: int,
    sources: Collection[int] | None = None,
    known: Names | None = None,
) -> dict[int, Mapping[str, RunValue]]:
    """RUN of a run by source id, of all sources where none are given; without those with no RUN."""
    some = "" if sources is None else f" AND {_one_of('source_id', sources)}"
    values: dict[int, dict[str, RunValue]] = {}
    makers: dict[tuple[str, bool], Callable[[Any], RunValue]] = {}
    found = rows(
        cursor,
        "SELECT source_id, key_id, dtype, number, text, raw, shape FROM run_value"
        f" WHERE {run_id:d} BETWEEN first_run AND last_run{some}",
    )
    names = _names(cursor, "key", {row[1] for row in found}, known)
    for source, key, dtype, number, text, raw, shape in found:
        if text is None and shape is None and dtype not in ("str", "bytes"):  # nearly all
            kind = dtype, raw is None
            if kind not in makers:
                makers[kind] = scalar_maker(dtype) if raw is None else raw_maker(dtype)
            value = makers[kind](number if raw is None else raw)
        else:
            value = decode_value(dtype, number, text, raw, shape)
        values.setdefault(source, {})[names[key]] = value
    return dict(values)


# Of a file, these are the store's own findings: no scan reports them.
_OWN_CHECKS = ("C01", "C02")
# Columns of ``file`` that are fields of a ``FileRecord`` as they are.
_FILE_COLUMNS = (
    *("name", "size", "mtime_ns", "verified", "aggregator", "sequence"),
    *("format_version", "locality", "retry"),
)


def fetch_identity(cursor: Cursor, run_id: int) -> tuple[RunIdentity, str, str] | None:
    """Who a run is, its directory and that resolved; None where the shard does not have it."""
    place = "loose_path, directory, realpath"
    found = rows_of_run(
        cursor, run_id, f"proposal, run, data_class, instrument, cycle, {place} FROM run"
    )
    if not found:
        return None
    proposal, run, *texts = found[0]
    data_class, instrument, cycle, loose, directory, realpath = (t or "" for t in texts)
    if loose:
        identity = RunIdentity(instrument=instrument, cycle=cycle, loose_path=loose)
    else:
        identity = RunIdentity(proposal, run, data_class, instrument, cycle)
    return identity, directory, realpath


def fetch_problems(cursor: Cursor, run_id: int, directory: str) -> dict[str | None, list[Problem]]:
    """What scans found wrong and still is, by file name; under None what concerns the whole run."""
    found: dict[str | None, list[Problem]] = {}
    about = "check_id, severity, message, place, path, resolved_at"
    for name, check, severity, message, place, path, resolved_at in rows_of_run(
        cursor, run_id, f"name, {about} FROM finding"
    ):
        if resolved_at is not None or (name is not None and check in _OWN_CHECKS):
            continue
        own_path = directory if name is None else f"{directory}/{name}"
        where = own_path if path is None else path
        found.setdefault(name, []).append(Problem(check, severity, message, where, place))
    return found


def load_run(cursor: Cursor, run_id: int) -> RunRecord | None:
    """The record of a run as it was last put in, to write it again; None where there is none.

    RUN of a source that several files carried is given back with the first of them.
    """
    found = fetch_identity(cursor, run_id)
    if found is None:
        return None
    problems = fetch_problems(cursor, run_id, found[1])
    ((ingested_at,),) = rows_of_run(cursor, run_id, "ingested_at FROM run")
    files, places = _load_files(cursor, run_id, problems), run_locations(cursor, run_id)
    of_run = tuple(problems.get(None, ()))
    return RunRecord(*found, files, from_utc(ingested_at), places, of_run)


def _load_files(
    cursor: Cursor, run_id: int, problems: Mapping[str | None, list[Problem]]
) -> tuple[FileRecord, ...]:
    packed = fetch_packed(cursor, run_id)
    if packed is None:
        return ()
    others = "ordinal, depth, scanned_at, missing_since, train_list, layout_id, run_sources"
    found = rows_of_run(
        cursor, run_id, f"{others}, {', '.join(_FILE_COLUMNS)} FROM file", "ordinal"
    )
    patterns = packed.patterns.by_number()
    frame_ids = fetch_frame_ids(cursor, run_id)
    times = fetch_timestamps(cursor, run_id)
    stored = fetch_layouts(cursor, {row[5] for row in found})
    used = {s for layout in stored.values() for s in layout.schema_ids if s is not None}
    schemas = fetch_schemas(cursor, used)
    layouts = {
        number: FileLayout(
            layout.sources, tuple(None if s is None else schemas[s] for s in layout.schema_ids)
        )
        for number, layout in stored.items()
    }
    names = _names(cursor, "source", {s for row in found for s in row[6]}, None)
    values = fetch_run_values(cursor, run_id)
    metadata = fetch_metadata(cursor, run_id, len(found))
    files = []
    for ordinal, depth, scanned_at, missing, train_list, layout, run_sources, *same in found:
        about = dict(zip(_FILE_COLUMNS, same, strict=True))
        record = FileRecord(
            **about,
            depth=Depth(depth),
            scanned_at=from_utc(scanned_at),
            trains=packed.trains[train_list],
            timestamps=times.get(ordinal),
            layout=layouts[layout],
            patterns=tuple(patterns[p] for p in packed.patterns.numbers(ordinal)),
            frame_ids=()
            if frame_ids is None
            else tuple(None if n < 0 else frame_ids.ids[n] for n in frame_ids.numbers(ordinal)),
            metadata=metadata[ordinal],
            run_values={names[source]: values.get(source, {}) for source in run_sources},
            problems=tuple(problems.get(about["name"], ())),
            missing_since=missing and from_utc(missing),
        )
        files.append(record)
    return tuple(files)


def fresh_profiles(cursor: Cursor, run_id: int) -> set[tuple[str, str]]:
    """(Source, key) of the profiles of a run that were made of its files as they are."""
    found = rows(
        cursor,
        "SELECT s.name, k.name FROM key_profile JOIN source AS s USING (source_id)"
        f" JOIN key AS k USING (key_id) WHERE run_id = {run_id:d} AND NOT stale",
    )
    return set(found)
