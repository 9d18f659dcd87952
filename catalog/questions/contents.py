"""What do the runs of a question consist of?

1. ``files``: their files.
2. ``train_ranges``: their trains, in ranges without gaps.
3. ``run_values``: what their RUN sections say.
"""

from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..store.store import Store
from .answers import Answer, ask
from .chosen import Chosen, choose
from .data_filter import DataFilter, shown_unit
from .queries import answer, provenance
from .question import EVERYTHING, Question

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, Subquery

__all__ = ["files", "run_values", "train_ranges"]

_MOST_BYTES = 4 * 10**9
_OF_RUN = ("run_id", "proposal", "run", "data_class")


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
                *(run.c[name] for name in _OF_RUN),
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
                *(run.c[name] for name in _OF_RUN),
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
