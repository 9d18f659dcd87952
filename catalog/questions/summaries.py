"""What is there, summed up? Runs by group, and in how many runs of some each source is.

Sums are made in SQL: over 10^5 runs no row per run leaves the database.

1. ``summarize``: runs, files, bytes, trains, times and depth by instrument, proposal, ...
2. ``source_presence``: in how many of the runs a source is, and in what share of their trains.
3. ``open_findings``: what is wrong at present, by severity.
4. ``count_runs``: how many runs are meant.
5. ``key_profile``: what a key did during a run, if `xfelcat profile` has read it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..records import Depth
from ..store.encoding import to_text
from ..store.store import Store
from .answers import Answer, ask
from .queries import provenance
from .run_filter import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, Subquery

__all__ = ["count_runs", "key_profile", "open_findings", "source_presence", "summarize"]

GROUPS = ("instrument", "cycle", "proposal", "data_class")


def summarize(store: Store, where: RunFilter = ALL_RUNS, by: Sequence[str] = GROUPS) -> Answer:
    """Runs by group, in the order of their first runs; loose runs are a group of their path each.

    Columns: those of ``by`` (of ``GROUPS``), path (of loose runs), runs, outline_only, files,
    files_missing, files_unread, bytes, trains (sum over runs), first_data, last_data,
    oldest_ingest, newest_ingest.
    """
    from sqlalchemy import case, func, null, select

    from ..store.schema import run

    path = case((run.c.proposal.is_(None), run.c.directory), else_=null()).label("path")
    groups = [*(run.c[name] for name in by), path]
    statement = (
        select(
            *groups,
            func.count().label("runs"),
            func.count()
            .filter(run.c.depth.between(Depth.NAMES, Depth.OUTLINE))
            .label("outline_only"),
            func.sum(run.c.n_files).label("files"),
            func.sum(run.c.n_files_missing).label("files_missing"),
            func.sum(run.c.n_files_unread).label("files_unread"),
            func.sum(run.c.bytes).label("bytes"),
            func.sum(run.c.n_trains).label("trains"),
            func.min(run.c.started_at).label("first_data"),
            func.max(run.c.ended_at).label("last_data"),
            func.min(run.c.ingested_at).label("oldest_ingest"),
            func.max(run.c.ingested_at).label("newest_ingest"),
        )
        .where(*where.conditions(run))
        .group_by(*groups)
        .order_by(func.min(run.c.run_id))
    )
    return _answer(store, where, statement)


def source_presence(store: Store, where: RunFilter = ALL_RUNS) -> Answer:
    """The sources of the runs of each data class, in the order of data class, section and name.

    Columns: data_class, section, source, runs (that have it), of_runs, runs_counted (those known in
    full), trains (with data, the most of an index group), of_trains (of the runs counted). Old
    names of renamed sources are left out.
    """
    from sqlalchemy import func, select

    from ..store.schema import run
    from ..store.schema import source as sources

    conditions = where.conditions(run)
    of_class = (
        select(run.c.data_class, func.count().label("of_runs"))
        .where(*conditions)
        .group_by(run.c.data_class)
        .subquery("of_class")
    )
    in_run = _trains_in_runs(conditions)
    counted = in_run.c.with_data.is_not(None)
    columns = (in_run.c.data_class, in_run.c.section, in_run.c.source_id)
    presence = (
        select(
            *columns,
            func.count().label("runs"),
            func.count().filter(counted).label("runs_counted"),
            func.sum(in_run.c.with_data).label("trains"),
            func.sum(in_run.c.n_trains).filter(counted).label("of_trains"),
        )
        .group_by(*columns)
        .subquery("presence")
    )
    same_class = presence.c.data_class.is_not_distinct_from(of_class.c.data_class)
    statement = (
        select(
            presence.c.data_class,
            presence.c.section,
            sources.c.name.label("source"),
            presence.c.runs,
            of_class.c.of_runs,
            presence.c.runs_counted,
            func.coalesce(presence.c.trains, 0).label("trains"),
            func.coalesce(presence.c.of_trains, 0).label("of_trains"),
        )
        .select_from(presence)
        .join(sources, sources.c.source_id == presence.c.source_id)
        .join(of_class, same_class)
        .order_by(presence.c.data_class, presence.c.section, sources.c.name)
    )
    return _answer(store, where, statement)


def count_runs(store: Store, where: RunFilter = ALL_RUNS) -> int:
    """How many runs of the catalog are meant."""
    from sqlalchemy import func, select

    from ..store.schema import run

    statement = select(func.count().label("n")).select_from(run).where(*where.conditions(run))
    with store.read_merged() as cursor:
        n: int = ask(cursor, statement).column("n")[0].as_py()
    return n


def _trains_in_runs(conditions: "Sequence[ColumnElement[bool]]") -> "Subquery":
    """Of each run and source, the trains with data (the most of an index group) and all trains."""
    from sqlalchemy import case, func, select

    from ..store.schema import run, run_source

    of_source = (run.c.data_class, run.c.run_id, run_source.c.section, run_source.c.source_id)
    # A source whose keys differ between the files of a run has several rows per index group.
    in_group = (
        select(
            *of_source,
            func.sum(run_source.c.n_trains).label("with_data"),
            func.any_value(run.c.n_trains).label("n_trains"),
        )
        .select_from(run_source)
        .join(run, run.c.run_id == run_source.c.run_id)
        .where(*conditions, run_source.c.legacy_of.is_(None))
        .group_by(*of_source, run_source.c.index_group)
        .subquery("in_group")
    )
    named = [in_group.c[column.name] for column in of_source]
    with_data, n_trains = func.max(in_group.c.with_data), func.any_value(in_group.c.n_trains)
    return (
        select(
            *named,
            # Where it is not known, least() would take the other one.
            case((with_data.is_not(None), func.least(with_data, n_trains))).label("with_data"),
            n_trains.label("n_trains"),
        )
        .group_by(*named)
        .subquery("in_run")
    )


def key_profile(store: Store, run_id: int, source: str, key: str) -> dict[str, Any] | None:
    """The row of the view key_profiles for a key of a run; None if there is none."""
    from sqlalchemy import select

    from ..store.schema import key_profiles_view as profiles

    statement = select(profiles).where(
        profiles.c.run_id == run_id,
        profiles.c.source == to_text(source),
        profiles.c.key == to_text(key),
    )
    with store.read_merged() as cursor:
        found: list[dict[str, Any]] = ask(cursor, statement).to_pylist()
    return found[0] if found else None


def open_findings(store: Store, where: RunFilter = ALL_RUNS) -> dict[str, int]:
    """How many findings are open, by severity (E, W, I), of the runs that are meant."""
    from sqlalchemy import func, select

    from ..store.schema import finding, run

    statement = (
        select(finding.c.severity, func.count().label("n"))
        .select_from(finding)
        .join(run, run.c.run_id == finding.c.run_id)
        .where(*where.conditions(run), finding.c.resolved_at.is_(None))
        .group_by(finding.c.severity)
    )
    with store.read_merged() as cursor:
        return {row["severity"]: row["n"] for row in ask(cursor, statement).to_pylist()}


def _answer(store: Store, where: RunFilter, statement: "Select[Any]") -> Answer:
    with store.read_merged() as cursor:
        return Answer(ask(cursor, statement), provenance(cursor, store, where))
