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

from ..errors import QueryError
from ..records import Depth
from ..store.store import Store
from .answers import Answer, Provenance, ask
from .chosen import Chosen, choose
from .data_filter import in_group, in_section, shown_unit
from .question import EVERYTHING, Question
from .run_filter import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import ColumnElement, Select, SelectBase

__all__ = ["find", "find_runs", "keys", "provenance", "runs", "sources"]

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
