"""How do rows of a shard become records again?

Fixed queries in plain SQL, one function each, shared by ``facts`` (what opening needs, bit by bit)
and ``reload`` (a whole run, to write it again). Numbers go into the SQL as literals of integers: on
DuckDB 1.5 a bound value would import pandas. Everything is fetched with ``fetchall`` for the same
reason.

Each function takes the ``OpenFile``-like cursor and ids local to that file.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..records import KeyRecord, KeySchema, RunValue, SourceRecord
from ..runlength import IndexPattern, TrainList
from .encoding import (
    decode_timestamps,
    decode_value,
    from_text,
    scalar_maker,
    unpack_integers,
)

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "StoredLayout",
    "fetch_layouts",
    "fetch_metadata",
    "fetch_patterns",
    "fetch_run_values",
    "fetch_schemas",
    "fetch_timestamps",
    "fetch_train_lists",
    "integers",
    "rows",
]

Rows = list[tuple[Any, ...]]


def integers(numbers: Iterable[int]) -> str:
    """Integers as an SQL list; of none, one that matches nothing (ids are never negative)."""
    return "(" + (",".join(str(int(n)) for n in numbers) or "-1") + ")"


def rows(cursor: "duckdb.DuckDBPyConnection", sql: str) -> Rows:
    """All rows of a query."""
    return cursor.execute(sql).fetchall()


def fetch_schemas(cursor: "duckdb.DuckDBPyConnection", ids: Iterable[int]) -> dict[int, KeySchema]:
    """Key schemas by their ids; a schema without keys is there too."""
    keys: dict[int, list[KeyRecord]] = {int(i): [] for i in ids}
    found = rows(
        cursor,
        "SELECT sk.schema_id, k.name, sk.index_group, sk.dtype, sk.entry_shape, sk.unit_symbol,"
        " sk.unit_name, sk.prefix_symbol, sk.prefix_name"
        " FROM schema_key AS sk JOIN key AS k USING (key_id)"
        f" WHERE sk.schema_id IN {integers(keys)} ORDER BY sk.schema_id, sk.position",
    )
    for schema, name, group, dtype, shape, *units in found:
        keys[schema].append(
            KeyRecord(
                from_text(name), from_text(group), dtype, tuple(shape), *map(from_text, units)
            )
        )
    return {schema: KeySchema(tuple(records)) for schema, records in keys.items()}


class StoredLayout(NamedTuple):
    """The sources of a layout, and beside each its id and that of its key schema."""

    sources: tuple[SourceRecord, ...]
    source_ids: tuple[int, ...]
    schema_ids: tuple[int | None, ...]


def fetch_layouts(
    cursor: "duckdb.DuckDBPyConnection", ids: Iterable[int]
) -> dict[int, StoredLayout]:
    """Layouts by their ids; one without sources is there too."""
    found: dict[int, list[tuple[SourceRecord, int, int | None]]] = {int(i): [] for i in ids}
    for layout, section, name, source_id, groups, legacy_of, run_only, schema in rows(
        cursor,
        "SELECT ls.layout_id, ls.section, s.name, ls.source_id, ls.index_groups, l.name,"
        " ls.run_only, ls.schema_id"
        " FROM layout_source AS ls JOIN source AS s USING (source_id)"
        " LEFT JOIN source AS l ON l.source_id = ls.legacy_of"
        f" WHERE ls.layout_id IN {integers(found)} ORDER BY ls.layout_id, ls.position",
    ):
        record = SourceRecord(
            from_text(section),
            from_text(name),
            tuple(map(from_text, groups)),
            from_text(legacy_of or ""),
            run_only,
        )
        found[layout].append((record, source_id, schema))
    return {
        layout: StoredLayout(*zip(*members, strict=True)) if members else StoredLayout((), (), ())
        for layout, members in found.items()
    }


def fetch_train_lists(cursor: "duckdb.DuckDBPyConnection", run_id: int) -> dict[int, TrainList]:
    """Every train list of a run, by ordinal."""
    return {
        ordinal: TrainList(
            np.array(starts, np.uint64),
            np.array(lengths, np.int64),
            np.array(suspect, np.int64),
            np.array(dropped, np.int64),
        )
        for ordinal, starts, lengths, suspect, dropped in rows(
            cursor,
            "SELECT ordinal, starts, lengths, suspect, dropped FROM train_list"
            f" WHERE run_id = {run_id:d}",
        )
    }


def fetch_patterns(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, ordinals: Iterable[int] | None = None
) -> dict[int, IndexPattern]:
    """Index patterns of a run by ordinal; all of them where no ordinals are given."""
    some = "" if ordinals is None else f" AND ordinal IN {integers(ordinals)}"
    return {
        ordinal: IndexPattern(*map(unpack_integers, packed))
        for ordinal, *packed in rows(
            cursor,
            "SELECT ordinal, lengths, counts, offsets FROM index_pattern"
            f" WHERE run_id = {run_id:d}{some}",
        )
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
    cursor: "duckdb.DuckDBPyConnection", run_id: int, sources: Iterable[int] | None = None
) -> dict[int, Mapping[str, RunValue]]:
    """RUN of a run by source id, of all sources where none are given; without those with no RUN."""
    some = "" if sources is None else f" AND v.source_id IN {integers(sources)}"
    values: dict[int, dict[str, RunValue]] = {}
    makers: dict[str, Callable[[Any], RunValue]] = {}
    for source, key, dtype, number, text, raw, shape in rows(
        cursor,
        "SELECT v.source_id, k.name, v.dtype, v.number, v.text, v.raw, v.shape"
        " FROM run_value AS v JOIN key AS k USING (key_id)"
        f" WHERE {run_id:d} BETWEEN v.first_run AND v.last_run{some}",
    ):
        if raw is None and text is None and shape is None:  # nearly all: go the short way
            make = makers.get(dtype)
            if make is None:
                make = makers[dtype] = scalar_maker(dtype)
            value = make(number)
        else:
            value = decode_value(dtype, number, text, raw, shape)
        values.setdefault(source, {})[from_text(key)] = value
    return dict(values)
