"""How do rows of a shard become records again?

Fixed queries in plain SQL, one function each, shared by ``facts`` (what opening needs, bit by bit)
and ``reload`` (a whole run, to write it again). Numbers go into the SQL as literals of integers: on
DuckDB 1.5 a bound value would import pandas. Everything is fetched with ``fetchall`` for the same
reason.

Each function takes the ``OpenFile``-like cursor and ids local to that file. Names of sources and
keys are joined on, and rows sorted, here: DuckDB takes longer to plan a join or a sort than to do
the rest of such a query. ``Names`` are remembered by whoever has the file open.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..records import KeySchema, RunValue, SourceRecord
from .encoding import (
    decode_timestamps,
    decode_value,
    from_text,
    scalar_maker,
    unpack_schema,
)

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "Names",
    "StoredLayout",
    "fetch_layouts",
    "fetch_metadata",
    "fetch_run_values",
    "fetch_schemas",
    "fetch_timestamps",
    "integers",
    "rows",
]

Rows = list[tuple[Any, ...]]
Names = dict[int, str]


def integers(numbers: Iterable[int]) -> str:
    """Integers as an SQL list; of none, one that matches nothing (ids are never negative)."""
    return "(" + (",".join(str(int(n)) for n in numbers) or "-1") + ")"


def rows(cursor: "duckdb.DuckDBPyConnection", sql: str) -> Rows:
    """All rows of a query."""
    return cursor.execute(sql).fetchall()


def _one_of(column: str, ids: Collection[int]) -> str:
    """The condition that a column has one of these ids."""
    if len(ids) == 1:
        return f"{column} = {int(next(iter(ids))):d}"
    return f"{column} IN {integers(ids)}"


def _between(ids: Collection[int]) -> str:
    """A stretch that holds all of these ids: what is used together was mostly named together."""
    return f"BETWEEN {min(ids):d} AND {max(ids):d}"


def _key_names(
    cursor: "duckdb.DuckDBPyConnection", ids: Iterable[int], known: Names | None
) -> Names:
    """Names of keys, these among them; what had to be asked for is added to ``known``."""
    names = {} if known is None else known
    missing = set(ids) - names.keys()
    if missing:
        sql = f"SELECT key_id, name FROM key WHERE key_id {_between(missing)}"
        names.update((number, from_text(name)) for number, name in rows(cursor, sql))
    return names


def _source_names(
    cursor: "duckdb.DuckDBPyConnection", ids: Iterable[int], known: Names | None
) -> Names:
    """Names of sources, these among them; what had to be asked for is added to ``known``."""
    names = {} if known is None else known
    missing = set(ids) - names.keys()
    if missing:
        sql = f"SELECT source_id, name FROM source WHERE source_id {_between(missing)}"
        names.update((number, from_text(name)) for number, name in rows(cursor, sql))
    return names


def fetch_schemas(
    cursor: "duckdb.DuckDBPyConnection", ids: Collection[int]
) -> dict[int, KeySchema]:
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
    cursor: "duckdb.DuckDBPyConnection", ids: Iterable[int], known: Names | None = None
) -> dict[int, StoredLayout]:
    """Layouts by their ids; one without sources is there too."""
    members: dict[int, list[tuple[SourceRecord, int, int | None]]] = {int(i): [] for i in ids}
    found = rows(
        cursor,
        "SELECT layout_id, position, section, source_id, index_groups, legacy_of, run_only,"
        f" schema_id FROM layout_source WHERE {_one_of('layout_id', members)}",
    )
    found.sort(key=itemgetter(0, 1))
    wanted = {row[3] for row in found} | {row[5] for row in found if row[5] is not None}
    names = _source_names(cursor, wanted, known)
    for layout, _, section, source_id, groups, legacy_of, run_only, schema in found:
        record = SourceRecord(
            from_text(section),
            names[source_id],
            tuple(map(from_text, groups)),
            "" if legacy_of is None else names[legacy_of],
            run_only,
        )
        members[layout].append((record, source_id, schema))
    return {
        layout: StoredLayout(*zip(*parts, strict=True)) if parts else StoredLayout((), (), ())
        for layout, parts in members.items()
    }


def fetch_timestamps(
    cursor: "duckdb.DuckDBPyConnection", run_id: int
) -> dict[int, NDArray[np.uint64]]:
    """Every set of timestamps of a run, by ordinal."""
    return {
        ordinal: decode_timestamps(first, deltas)
        for ordinal, first, deltas in rows(
            cursor, f"SELECT ordinal, first, deltas FROM timestamps WHERE run_id = {run_id:d}"
        )
    }


def fetch_metadata(
    cursor: "duckdb.DuckDBPyConnection", run_id: int
) -> list[tuple[str, str | int, int, int]]:
    """METADATA of a run: name, value, first and last file (ordinals) that have it."""
    return [
        (from_text(name), int(value) if is_number else from_text(value), first, last)
        for name, value, is_number, first, last in rows(
            cursor,
            "SELECT name, value, is_number, first_file, last_file FROM file_metadata"
            f" WHERE run_id = {run_id:d}",
        )
    ]


def fetch_run_values(
    cursor: "duckdb.DuckDBPyConnection",
    run_id: int,
    sources: Collection[int] | None = None,
    known: Names | None = None,
) -> dict[int, Mapping[str, RunValue]]:
    """RUN of a run by source id, of all sources where none are given; without those with no RUN."""
    some = "" if sources is None else f" AND {_one_of('source_id', sources)}"
    values: dict[int, dict[str, RunValue]] = {}
    makers: dict[str, Callable[[Any], RunValue]] = {}
    found = rows(
        cursor,
        "SELECT source_id, key_id, dtype, number, text, raw, shape FROM run_value"
        f" WHERE {run_id:d} BETWEEN first_run AND last_run{some}",
    )
    names = _key_names(cursor, {row[1] for row in found}, known)
    for source, key, dtype, number, text, raw, shape in found:
        if raw is None and text is None and shape is None:  # nearly all: go the short way
            make = makers.get(dtype)
            if make is None:
                make = makers[dtype] = scalar_maker(dtype)
            value = make(number)
        else:
            value = decode_value(dtype, number, text, raw, shape)
        values.setdefault(source, {})[names[key]] = value
    return dict(values)
