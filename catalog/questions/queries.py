"""What do the runs of the catalog have? Composed questions over all of them.

Every question takes a ``RunFilter`` and gives an ``Answer``. Statements are SQLAlchemy Core on the
tables of the merged file; every value is bound.

1. ``find``: which runs have a source, or a key of it?
2. ``runs``: which runs are there?
3. ``provenance``: how many runs does a question search, and how far are they known?

Names are matched in the small tables of distinct names, and the large tables are read by the
integer ids found there: over 10^5 runs this takes a hundredth of the time.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..records import Depth
from ..store.store import Store
from .answers import Answer, Provenance, ask
from .globs import glob_to_regex
from .run_filter import ALL_RUNS, RunFilter, text_matches

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery

__all__ = ["find", "provenance", "runs"]


def runs(store: Store, where: RunFilter = ALL_RUNS) -> Answer:
    """The runs, in the order proposal, data class, run; loose runs last.

    Columns are those of the view ``runs``.
    """
    from sqlalchemy import select

    from ..store.schema import runs_view

    statement = select(runs_view).where(*where.conditions(runs_view)).order_by(runs_view.c.run_id)
    with store.read_merged() as cursor:
        return Answer(ask(cursor, statement), provenance(cursor, store, where))


def find(
    store: Store,
    source: str = "*",
    key: str | None = None,
    where: RunFilter = ALL_RUNS,
    *,
    limit: int | None = None,
) -> Answer:
    """The runs that have a source, or a key of it: one row per run, source and key.

    Columns: run_id, proposal, run, data_class, instrument, cycle, section, source, key, dtype,
    shape (of one entry), unit, trains (with data), entries, path (of the run), depth. Without
    ``key`` there is one row per run, source and index group, with the glob of the group's keys
    (``image.*``) for a key, and no dtype, shape or unit.

    ``source`` and ``key`` are globs. The keys of CONTROL sources are found with their ending
    ``.value`` or without, and their timestamps only by a glob that itself ends in ``timestamp``. A
    run of which only an outline is known can be found by source, not by key.

    At most ``limit`` rows are given, the first in the order of runs, sources and keys.
    """
    statement = _by_source(source, where) if key is None else _by_key(source, key, where)
    with store.read_merged() as cursor:
        table = ask(cursor, statement.limit(limit))
        return Answer(table, provenance(cursor, store, where))


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


def _only_row(cursor: "duckdb.DuckDBPyConnection", statement: "SelectBase") -> tuple[Any, ...]:
    return tuple(column[0].as_py() for column in ask(cursor, statement).columns)


def _by_source(source: str, where: RunFilter) -> "Select[Any]":
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
    return _rows_of_sources([keys, *no_key], source, where).order_by(group)


def _by_key(source: str, key: str, where: RunFilter) -> "Select[Any]":
    """One row per run, source and key."""
    from sqlalchemy import and_, func

    from ..store.schema import run_source, schema_key

    found = _found_keys(key)
    prefix = func.replace(schema_key.c.prefix_symbol, "u", "μ")
    columns = [
        found.c.name.label("key"),
        schema_key.c.dtype,
        schema_key.c.entry_shape.label("shape"),
        prefix.concat(schema_key.c.unit_symbol).label("unit"),
    ]
    of_group = and_(
        schema_key.c.schema_id == run_source.c.schema_id,
        schema_key.c.index_group == run_source.c.index_group,
    )
    of_section = and_(
        found.c.key_id == schema_key.c.key_id,
        found.c.is_control == (run_source.c.section == "CONTROL"),
    )
    return (
        _rows_of_sources(columns, source, where)
        .join(schema_key, of_group)
        .join(found, of_section)
        .order_by(found.c.place)
    )


def _rows_of_sources(
    key_columns: Sequence["ColumnElement[Any]"], source: str, where: RunFilter
) -> "Select[Any]":
    """Rows of run_source with their run and name, and ``key_columns`` for what is said of a key."""
    from sqlalchemy import case, func, select

    from ..store.schema import run, run_source
    from ..store.schema import source as sources

    # Sorting by a number costs a tenth of sorting by names, which repeat in every run.
    place = func.row_number().over(order_by=sources.c.name).label("place")
    named = select(sources.c.source_id, sources.c.name, place)
    if source != "*":
        named = named.where(text_matches(sources.c.name, source))
    found = named.subquery("found_source")
    names = ("run_id", "proposal", "run", "data_class", "instrument", "cycle")
    return (
        select(
            *(run.c[name] for name in names),
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
        .where(*where.conditions(run))
        .order_by(run.c.run_id, found.c.place)
    )


def _found_keys(glob: str) -> "Subquery":
    """The keys that a glob means, for CONTROL sources and for others.

    A CONTROL key is stored with its ending: the glob may leave ``.value`` out, and must end in
    ``timestamp`` itself to mean timestamps.
    """
    from sqlalchemy import and_, false, func, or_, select, true, union_all

    from ..store.schema import key

    regex = glob_to_regex(glob)
    whole = func.regexp_full_match(key.c.name, regex)
    control = or_(whole, func.regexp_full_match(key.c.name, rf"(?:{regex})\.value"))
    if not glob.endswith("timestamp"):
        control = and_(control, key.c.name.not_like("%.timestamp"))
    found = union_all(
        select(key.c.key_id, key.c.name, true().label("is_control")).where(control),
        select(key.c.key_id, key.c.name, false().label("is_control")).where(whole),
    ).subquery("matching_key")
    place = func.row_number().over(order_by=found.c.name).label("place")
    return select(found, place).subquery("found_key")
