"""RUN values and profiles: one row for each, or a table with a row per run and a column per key."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..model.errors import QueryError
from ..model.names import VALUE_ENDING, sql_ascii_unit
from ..store.connections import Cursor
from ..store.store import Store
from .conditions import FUNCTIONS
from .execute import (
    Answer,
    Sql,
    Table,
    all_of,
    any_of,
    ask,
    in_reading_order,
    indices,
    is_one_of,
    limited,
    numbers,
    sql,
)
from .filters import UNIT, provenance
from .find import RUN_NAMES
from .question import EVERYTHING, OF_RUN_SQL, Question, select_runs

# RUN values of 10^5 runs would fill the memory unasked.
_MOST_BYTES = 4 * 10**9
_RUN = Sql("run_value")


def run_values(
    store: Store, question: Question = EVERYTHING, *, limit: int | None = None
) -> Answer:
    """The RUN values of the runs, in the order of runs, sources and keys.

    Of the filter of data only source, key and unit choose values. Raises QueryError where the rows
    are more than 4 GB.
    """
    with store.read_merged() as cursor:
        table = _values(cursor, question, _RUN, limit)
        return Answer(in_reading_order(table), provenance(cursor, store, question.runs))


def values(store: Store, question: Question, profile: str | None = None) -> Answer:
    """The runs that have some of the values, with a column for each source and key.

    The values are those of RUN or, with one of ``FUNCTIONS``, of the profiles that still hold.
    Numbers are 64-bit floating point; arrays of numbers are left out.

    Raises QueryError for a function that there is not, or as ``run_values`` does.
    """
    stored = _RUN if profile is None else _profiles(profile)
    with store.read_merged() as cursor:
        given = "(FROM {stored} WHERE number IS NOT NULL OR text IS NOT NULL)"
        table = _values(cursor, question, sql(given, stored=stored))
        run_ids, at = np.unique(numbers(table.column("run_id")), return_inverse=True)
        statement = sql(
            f"SELECT {OF_RUN_SQL}, run.started_at, run.directory AS path FROM run WHERE {{these}}"
            " ORDER BY run.run_id",
            these=is_one_of("run.run_id", run_ids),
        )
        runs, rests_on = ask(cursor, statement), provenance(cursor, store, question.runs)
    path = runs.column("path")
    runs = runs.drop_columns(["path"])
    for name, rows in _by_key(table):
        row_of_run = np.full(len(run_ids), -1, np.int64)
        row_of_run[at[rows]] = rows
        take = indices(row_of_run, row_of_run >= 0)
        for kind in ("number", "text"):  # both where the type differs between runs
            column = table.column(kind).take(take)
            if column.null_count < len(column):
                end = " (text)" * (name in runs.column_names)
                runs = runs.append_column(name + end, column)
    return Answer(in_reading_order(runs.append_column("path", path)), rests_on)


def _by_key(table: Table) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """``"SOURCE KEY [unit]"`` of each source and key, in the order of names, and its rows."""
    pairs = list(zip(*(table.column(n).to_pylist() for n in ("source", "key")), strict=True))
    place = {pair: at for at, pair in enumerate(sorted(set(pairs)))}
    of_row = np.array([place[pair] for pair in pairs], np.int64)
    ends = np.cumsum(np.bincount(of_row, minlength=len(place)))
    units = table.column("unit")
    of_pairs = np.split(np.argsort(of_row, kind="stable"), ends[:-1])
    for (source, key), rows in zip(place, of_pairs, strict=False):  # of nothing, one part
        found = sorted(set(units.take(indices(rows)).to_pylist()) - {None, ""})
        unit = f" [{' or '.join(found)}]" if found else ""
        yield f"{source} {key.removesuffix(VALUE_ENDING)}{unit}", rows


def _profiles(function: str) -> Sql:
    """The profiles that still hold, as rows like those of ``run_value``."""
    if function not in FUNCTIONS:
        raise QueryError(f"no profile has {function!r}: there are {', '.join(FUNCTIONS)}")
    text = f"{function}_text" if function in ("first", "last") else "NULL::VARCHAR"
    return Sql(
        f"""(SELECT run_id AS first_run, run_id AS last_run, source_id, key_id,
            NULL::VARCHAR AS dtype, {FUNCTIONS[function]}::DOUBLE AS number, {text} AS text,
            NULL::BIGINT[] AS shape FROM key_profile WHERE NOT stale)"""
    )


def _values(cursor: Cursor, question: Question, stored: Sql, limit: int | None = None) -> Table:
    """The rows of ``stored``, which is like ``run_value``, one per run, source and key."""
    data = question.data
    selection = select_runs(cursor, question)
    conditions = selection.conditions()
    if selection.ids is not None and selection.ids.size:
        near = "value.first_run <= {high} AND value.last_run >= {low}"
        low, high = int(selection.ids[0]), int(selection.ids[-1])
        conditions.append(sql(near, low=low, high=high))
    if data.units:
        unit = sql_ascii_unit("units.unit")
        conditions.append(any_of(p.matches(unit) for p in data.units))
    # Units of the chosen keys alone: of 288,000 values among 48 million: 0.5 s, not 18 s.
    statement = sql(
        f"""SELECT {RUN_NAMES}, found_source.name AS source, found_key.name AS key,
            value.dtype, value.number, value.text, value.shape, units.unit
        FROM {{stored}} AS value
        JOIN run ON run.run_id BETWEEN value.first_run AND value.last_run
        JOIN {{sources}} AS found_source ON found_source.source_id = value.source_id
        JOIN (FROM {{keys}} WHERE is_control) AS found_key ON found_key.key_id = value.key_id
        LEFT JOIN (
            SELECT run_id, source_id, key_id, any_value({UNIT}) AS unit
            FROM run_source JOIN schema_key USING (schema_id)
            WHERE {UNIT} IS NOT NULL AND {{of_runs}}
                AND source_id IN (SELECT source_id FROM {{sources}})
                AND key_id IN (SELECT key_id FROM {{keys}})
            GROUP BY run_id, source_id, key_id
        ) AS units ON units.run_id = run.run_id AND units.source_id = value.source_id
            AND units.key_id = value.key_id
        WHERE {{conditions}}
        ORDER BY run.run_id, found_source.place, found_key.place {{limit}}""",
        stored=stored,
        sources=data.found_sources(),
        keys=data.found_keys(),
        of_runs=all_of(selection.conditions_on("run_source.run_id")),
        conditions=all_of(conditions),
        limit=limited(limit),
    )
    try:
        return ask(cursor, statement, size_limit=_MOST_BYTES)
    except MemoryError:
        raise QueryError(
            "these RUN values are more than 4 GB: name sources, keys or runs, or set a limit"
        ) from None
