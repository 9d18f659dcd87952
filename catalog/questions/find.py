"""What do the runs of the catalog have? Composed questions over all of them.

Every question takes a ``Question`` and gives an ``Answer``. Statements are SQLAlchemy Core on the
tables of the merged file; every value is bound.

1. ``runs``: which runs are there? ``find_runs``: with which RUN values?
2. ``find``: which runs have a source, or a key of it? ``sources`` and ``keys`` sum that up.
3. ``files``, ``train_ranges``, ``run_values``: what do these runs consist of?
4. ``provenance``: how many runs does a question search, and how far are they known?
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..model.errors import QueryError
from ..model.records import Depth
from ..store.store import Store
from .execute import Answer, Provenance, ask
from .filters import ALL_RUNS, RunFilter
from .question import EVERYTHING, Chosen, Question, choose
from .selection import DataFilter, in_group, in_section, shown_unit

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery

__all__ = [
    "files",
    "find",
    "find_runs",
    "keys",
    "provenance",
    "run_values",
    "runs",
    "sources",
    "train_ranges",
]

_OF_RUN = ("run_id", "proposal", "run", "data_class", "instrument", "cycle")


def runs(store: Store, question: Question = EVERYTHING) -> Answer:
    """The runs, in the order proposal, data class, run; loose runs last.

    Columns are those of the view ``runs``. With a filter of data, the runs that have such data.
    """
    with store.read_merged() as cursor:
        chosen = _choose_by_data(cursor, question)
        return answer(cursor, store, question, _runs(chosen))


def find_runs(store: Store, question: Question) -> Answer:
    """The runs that fulfil ``question.where``, with the values asked for, in the order of runs.

    Columns: run_id, proposal, run, data_class, instrument, cycle, started_at, trains, one or two
    for each operand (see ``Evaluation.columns``), path, depth.

    Raises QueryError where the question has no condition.
    """
    if question.where is None:
        raise QueryError(
            "no condition on RUN values: give where='SOURCE KEY < 0.5', or ask for runs"
        )
    with store.read_merged() as cursor:
        chosen = _choose_by_data(cursor, question)
        found = answer(cursor, store, question, _runs(chosen))
        assert chosen.evaluation is not None
        table = found.table.select([*_OF_RUN, "started_at", "trains"])
        for name, values in chosen.evaluation.columns().items():
            table = table.append_column(name, values)
        for name in ("path", "depth"):
            table = table.append_column(name, found.table.column(name))
        return Answer(table, found.provenance)


def find(store: Store, question: Question = EVERYTHING, *, limit: int | None = None) -> Answer:
    """The runs that have a source, or a key of it: one row per run, source and key.

    Columns: run_id, proposal, run, data_class, instrument, cycle, section, source, key, dtype,
    shape (of one entry), unit, trains (with data), entries, path (of the run), depth. Where the
    question says nothing of keys there is one row per run, source and index group, with the glob of
    the group's keys (``image.*``) for a key, and no dtype, shape or unit.

    A run of which only an outline is known can be found by source, not by key. At most ``limit``
    rows are given, the first in the order of runs, sources and keys.
    """
    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        statement = _by_key(chosen) if question.data.is_about_keys else _by_source(chosen)
        return answer(cursor, store, question, statement.limit(limit))


def sources(store: Store, question: Question = EVERYTHING) -> Answer:
    """The sources of the runs, in the order of their names.

    Columns: section, source, runs (that have it), trains (with data, summed over runs; of the index
    group that has most), entries, first_run_id, last_run_id.
    """
    from sqlalchemy import func, select

    from ..store.schema import run, run_source

    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        groups = question.data.groups().add_columns(run_source.c.n_entries).subquery("matching")
        enough = [groups.c.n_trains >= question.min_trains] if question.min_trains else []
        conditions = [*chosen.conditions(run, groups.c.run_id), *enough]
        of_source = (groups.c.section, groups.c.source_id)
        counted = (
            select(
                *of_source,
                func.count(groups.c.run_id.distinct()).label("runs"),
                func.sum(groups.c.n_entries).label("entries"),
                func.min(groups.c.run_id).label("first_run_id"),
                func.max(groups.c.run_id).label("last_run_id"),
            )
            .join(run, run.c.run_id == groups.c.run_id)
            .where(*conditions)
            .group_by(*of_source)
            .subquery("counted")
        )
        of_group = (
            select(*of_source, func.sum(groups.c.n_trains).label("trains"))
            .join(run, run.c.run_id == groups.c.run_id)
            .where(*conditions)
            .group_by(*of_source, groups.c.index_group)
            .subquery("of_group")
        )
        most = (
            select(
                of_group.c.section,
                of_group.c.source_id,
                func.max(of_group.c.trains).label("trains"),
            )
            .group_by(of_group.c.section, of_group.c.source_id)
            .subquery("most")
        )
        named = question.data.found_sources()
        same = (most.c.section == counted.c.section) & (most.c.source_id == counted.c.source_id)
        statement = (
            select(
                counted.c.section,
                named.c.name.label("source"),
                counted.c.runs,
                most.c.trains,
                *(counted.c[n] for n in ("entries", "first_run_id", "last_run_id")),
            )
            .join(most, same)
            .join(named, named.c.source_id == counted.c.source_id)
            .order_by(named.c.name, counted.c.section)
        )
        return answer(cursor, store, question, statement)


def keys(store: Store, question: Question = EVERYTHING) -> Answer:
    """The keys of the sources of the runs, with what they are, in the order of names.

    Columns: section, source, key, index_group, dtype, shape, unit, runs, trains (with data, summed
    over runs), entries. A key that is of several types, shapes or units has several rows.
    """
    from sqlalchemy import and_, func, select

    from ..store.schema import run, run_source, schema_key

    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        data = question.data
        enough = [run_source.c.n_trains >= question.min_trains] if question.min_trains else []
        named, found = data.found_sources(), data.found_keys()
        columns = ("section", "source_id", "index_group", "schema_id")
        groups = (
            select(
                *(run_source.c[name] for name in columns),
                func.count(run_source.c.run_id.distinct()).label("runs"),
                func.sum(run_source.c.n_trains).label("trains"),
                func.sum(run_source.c.n_entries).label("entries"),
            )
            .join(run, run.c.run_id == run_source.c.run_id)
            .join(named, named.c.source_id == run_source.c.source_id)
            .where(
                run_source.c.schema_id.is_not(None),
                *enough,
                *chosen.conditions(run, run_source.c.run_id),
                *data.class_conditions(),
            )
            .group_by(*(run_source.c[name] for name in columns))
            .subquery("found_group")
        )
        what = [
            groups.c.section,
            named.c.name.label("source"),
            found.c.name.label("key"),
            groups.c.index_group,
            schema_key.c.dtype,
            schema_key.c.entry_shape.label("shape"),
            shown_unit().label("unit"),
        ]
        of_section = and_(found.c.key_id == schema_key.c.key_id, in_section(found, groups))
        statement = (
            select(
                *what,
                *(func.sum(groups.c[name]).label(name) for name in ("runs", "trains", "entries")),
            )
            .select_from(groups)
            .join(schema_key, in_group(schema_key, groups))
            .join(found, of_section)
            .join(named, named.c.source_id == groups.c.source_id)
            .where(*data.key_conditions())
            .group_by(*what)
            .order_by(*what)
        )
        return answer(cursor, store, question, statement)


def provenance(
    cursor: "duckdb.DuckDBPyConnection", store: Store, where: RunFilter = ALL_RUNS
) -> Provenance:
    """How many runs a question with this filter searches, and how far they are known."""
    from sqlalchemy import func, select

    from ..store.schema import run

    outline_only = run.c.depth.between(Depth.NAMES, Depth.OUTLINE)
    known = select(
        func.count(), func.count().filter(outline_only), func.min(run.c.ingested_at)
    ).select_from(run)
    n_runs, n_outline_only, oldest = _only_row(cursor, known.where(*where.conditions(run)))
    n_undated = 0
    if where.is_timed:
        undated = select(func.count()).select_from(run).where(*where.undated(run))
        (n_undated,) = _only_row(cursor, undated)
    return Provenance(str(store.location), n_runs, n_outline_only, n_undated, oldest)


def answer(
    cursor: "duckdb.DuckDBPyConnection", store: Store, question: Question, statement: "SelectBase"
) -> Answer:
    """What a statement gives, and what it rests on."""
    return Answer(ask(cursor, statement), provenance(cursor, store, question.runs))


def _only_row(cursor: "duckdb.DuckDBPyConnection", statement: "SelectBase") -> tuple[Any, ...]:
    return tuple(column[0].as_py() for column in ask(cursor, statement).columns)


def _choose_by_data(cursor: "duckdb.DuckDBPyConnection", question: Question) -> Chosen:
    """The runs, those that have the data that the question is about if it says which."""
    has = () if question.data.is_empty else (question.data,)
    return choose(cursor, question, *has)


def _runs(chosen: Chosen) -> "Select[Any]":
    from sqlalchemy import select

    from ..store.schema import runs_view

    conditions = chosen.conditions(runs_view)
    return select(runs_view).where(*conditions).order_by(runs_view.c.run_id)


def _by_source(chosen: Chosen) -> "Select[Any]":
    """One row per run, source and index group."""
    from sqlalchemy import case, cast, null

    from ..store.schema import run_source, schema_key

    group = run_source.c.index_group
    no_key = [
        cast(null(), like.type).label(name)
        for name, like in (
            ("dtype", schema_key.c.dtype),
            ("shape", schema_key.c.entry_shape),
            ("unit", schema_key.c.unit_symbol),
        )
    ]
    keys = case((group == "", "*"), else_=group.concat(".*")).label("key")
    return _rows_of_sources([keys, *no_key], chosen).order_by(group)


def _by_key(chosen: Chosen) -> "Select[Any]":
    """One row per run, source and key."""
    from sqlalchemy import and_

    from ..store.schema import run_source, schema_key

    data = chosen.question.data
    found = data.found_keys()
    columns = [
        found.c.name.label("key"),
        schema_key.c.dtype,
        schema_key.c.entry_shape.label("shape"),
        shown_unit().label("unit"),
    ]
    of_section = and_(found.c.key_id == schema_key.c.key_id, in_section(found, run_source))
    return (
        _rows_of_sources(columns, chosen)
        .join(schema_key, in_group(schema_key, run_source))
        .join(found, of_section)
        .where(*data.key_conditions())
        .order_by(found.c.place)
    )


def _rows_of_sources(key_columns: Sequence["ColumnElement[Any]"], chosen: Chosen) -> "Select[Any]":
    """Rows of run_source with their run and name, and ``key_columns`` for what is said of a key."""
    from sqlalchemy import case, select

    from ..store.schema import run, run_source

    question = chosen.question
    found = question.data.found_sources()
    enough = [run_source.c.n_trains >= question.min_trains] if question.min_trains else []
    return (
        select(
            *(run.c[name] for name in _OF_RUN),
            run_source.c.section,
            found.c.name.label("source"),
            *key_columns,
            run_source.c.n_trains.label("trains"),
            run_source.c.n_entries.label("entries"),
            run.c.directory.label("path"),
            case(*((run.c.depth == d.value, d.name.lower()) for d in Depth)).label("depth"),
        )
        .select_from(run_source)
        .join(run, run.c.run_id == run_source.c.run_id)
        .join(found, found.c.source_id == run_source.c.source_id)
        .where(
            *chosen.conditions(run, run_source.c.run_id),
            *question.data.class_conditions(),
            *enough,
        )
        .order_by(run.c.run_id, found.c.place)
    )


# What do the runs of a question consist of?
#
# 1. ``files``: their files.
# 2. ``train_ranges``: their trains, in ranges without gaps.
# 3. ``run_values``: what their RUN sections say.

_MOST_BYTES = 4 * 10**9
_RUN_NAMES = ("run_id", "proposal", "run", "data_class")


def files(store: Store, question: Question = EVERYTHING) -> Answer:
    """The files of the runs, in the order of runs and names; columns are those of the view.

    With a filter of data, the files that list such sources, with such keys.
    """
    from sqlalchemy import select

    from ..store.schema import file, files_view

    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        statement = select(files_view).where(*_in_chosen_run(chosen, files_view.c.run_id))
        if not question.data.is_empty:
            names = _files_with(question.data, chosen, file.c.name).subquery("with_data")
            statement = statement.join(
                names,
                (names.c.run_id == files_view.c.run_id) & (names.c.name == files_view.c.name),
            )
        ordered = statement.order_by(files_view.c.run_id, files_view.c.name)
        return answer(cursor, store, question, ordered)


def train_ranges(store: Store, question: Question = EVERYTHING) -> Answer:
    """The train IDs of the runs, in the order of runs: one row per range without a gap.

    Columns: run_id, proposal, run, data_class, first_train, last_train, trains. With a filter of
    data, the trains of the files that list such sources, with such keys.
    """
    from sqlalchemy import func, select

    from ..store.schema import file, run, train_list

    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        lists = (
            select(
                train_list.c.run_id,
                func.unnest(train_list.c.starts).label("first"),
                func.unnest(train_list.c.lengths).label("n"),
            )
            .join(run, run.c.run_id == train_list.c.run_id)
            .where(*chosen.conditions(run, train_list.c.run_id))
        )
        if not question.data.is_empty:
            with_data = _files_with(question.data, chosen, file.c.train_list).subquery("with_data")
            lists = lists.join(
                with_data,
                (with_data.c.run_id == train_list.c.run_id)
                & (with_data.c.train_list == train_list.c.ordinal),
            )
        given = lists.subquery("given")
        ranges = select(given.c.run_id, given.c.first, (given.c.first + given.c.n).label("end"))
        islands = _joined(ranges.distinct().subquery("part"))
        length = (islands.c.end - islands.c.first).label("trains")
        statement = (
            select(
                *(run.c[name] for name in _RUN_NAMES),
                islands.c.first.label("first_train"),
                (islands.c.end - 1).label("last_train"),
                length,
            )
            .join(islands, islands.c.run_id == run.c.run_id)
            .order_by(run.c.run_id, islands.c.first)
        )
        return answer(cursor, store, question, statement)


def run_values(
    store: Store, question: Question = EVERYTHING, *, limit: int | None = None
) -> Answer:
    """The RUN values of the runs, in the order of runs, sources and keys.

    Columns: run_id, proposal, run, data_class, source, key, dtype, number, text, shape, unit.
    ``number`` has scalars, ``text`` strings; arrays have a shape and neither. Of the filter of data
    only source, key and unit say which values.

    Raises QueryError where the rows are more than 4 GB.
    """
    from sqlalchemy import select

    from ..store.schema import run, run_value

    data = question.data
    with store.read_merged() as cursor:
        chosen = choose(cursor, question)
        sources, keys = data.found_sources(), _control_keys(data)
        units = _units(chosen)
        statement = (
            select(
                *(run.c[name] for name in _RUN_NAMES),
                sources.c.name.label("source"),
                keys.c.name.label("key"),
                *(run_value.c[name] for name in ("dtype", "number", "text", "shape")),
                units.c.unit,
            )
            .select_from(run_value)
            .join(run, run.c.run_id.between(run_value.c.first_run, run_value.c.last_run))
            .join(sources, sources.c.source_id == run_value.c.source_id)
            .join(keys, keys.c.key_id == run_value.c.key_id)
            .outerjoin(
                units,
                (units.c.run_id == run.c.run_id)
                & (units.c.source_id == run_value.c.source_id)
                & (units.c.key_id == run_value.c.key_id),
            )
            .where(*chosen.conditions(run), *_stretches_around(chosen))
            .order_by(run.c.run_id, sources.c.place, keys.c.place)
            .limit(limit)
        )
        if data.units:
            from sqlalchemy import or_

            statement = statement.where(or_(*(p.matches(units.c.unit) for p in data.units)))
        try:
            table = ask(cursor, statement, size_limit=_MOST_BYTES)
        except MemoryError:
            raise QueryError(
                "these RUN values are more than 4 GB: name sources, keys or runs, or set a limit"
            ) from None
        return Answer(table, provenance(cursor, store, question.runs))


def _in_chosen_run(chosen: Chosen, run_id: "ColumnElement[Any]") -> "list[ColumnElement[bool]]":
    """The conditions on a table or view that has nothing of a run but its id."""
    from sqlalchemy import select

    from ..store.schema import run

    conditions = chosen.conditions(run)
    larger = chosen.conditions(run, run_id)[len(conditions) :]
    if not conditions:
        return larger
    return [run_id.in_(select(run.c.run_id).where(*conditions)), *larger]


def _files_with(data: DataFilter, chosen: Chosen, column: "ColumnElement[Any]") -> "Select[Any]":
    """run_id and a column of the files whose layout lists what a filter matches, each once.

    The device classes are those in the run of the file.
    """
    from sqlalchemy import and_, select

    from ..store.schema import file, layout_source, run_source

    groups = data.groups().add_columns(run_source.c.schema_id).subquery("matching")
    listed = and_(
        layout_source.c.layout_id == file.c.layout_id,
        layout_source.c.source_id == groups.c.source_id,
        layout_source.c.section == groups.c.section,
        layout_source.c.schema_id.is_not_distinct_from(groups.c.schema_id),
    )
    return (
        select(file.c.run_id, column)
        .join(groups, groups.c.run_id == file.c.run_id)
        .join(layout_source, listed)
        .where(*_in_chosen_run(chosen, file.c.run_id))
        .distinct()
    )


def _joined(parts: "Subquery") -> "Subquery":
    """Half-open ranges (run_id, first, end) that touch or overlap, as one."""
    from sqlalchemy import case, func, select

    before = func.max(parts.c.end).over(
        partition_by=parts.c.run_id, order_by=(parts.c.first, parts.c.end), rows=(None, -1)
    )
    starts = case((parts.c.first <= before, 0), else_=1).label("starts")
    marked = select(parts, starts).subquery("marked")
    number = func.sum(marked.c.starts).over(
        partition_by=marked.c.run_id, order_by=(marked.c.first, marked.c.end)
    )
    numbered = select(marked, number.label("number")).subquery("numbered")
    return (
        select(
            numbered.c.run_id,
            func.min(numbered.c.first).label("first"),
            func.max(numbered.c.end).label("end"),
        )
        .group_by(numbered.c.run_id, numbered.c.number)
        .subquery("island")
    )


def _control_keys(data: DataFilter) -> "Subquery":
    """key_id, name and place of the keys that match in CONTROL sources."""
    from sqlalchemy import select

    found = data.found_keys()
    return select(found).where(found.c.is_control).subquery("control_key")


def _units(chosen: Chosen) -> "Subquery":
    """run_id, source_id, key_id and unit of the keys of control sources that have one."""
    from sqlalchemy import func, select

    from ..store.schema import run_source, schema_key

    return (
        select(
            run_source.c.run_id,
            run_source.c.source_id,
            schema_key.c.key_id,
            func.any_value(shown_unit()).label("unit"),
        )
        .join(schema_key, schema_key.c.schema_id == run_source.c.schema_id)
        .where(
            run_source.c.section == "CONTROL",
            shown_unit().is_not(None),
            *_in_chosen_run(chosen, run_source.c.run_id),
        )
        .group_by(run_source.c.run_id, run_source.c.source_id, schema_key.c.key_id)
        .subquery("unit")
    )


def _stretches_around(chosen: Chosen) -> "list[ColumnElement[bool]]":
    """The conditions that a stretch of runs can have one of the chosen ones."""
    from ..store.schema import run_value

    if chosen.ids is None or not chosen.ids.size:
        return []
    low, high = int(chosen.ids[0]), int(chosen.ids[-1])
    return [run_value.c.first_run <= high, run_value.c.last_run >= low]
