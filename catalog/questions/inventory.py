"""How much of what is there, since when, and what is there twice or alone?

Each question is one set-based statement on the merged file, takes a ``RunFilter`` and gives an
``Answer``. Sizes are in bytes, of files that are there; a run counts on the day of its first train,
or of its newest file where it records no time.

1. ``volume``: runs, files and bytes by any of ``GROUPS``.
2. ``growth``: the same over time, and summed up.
3. ``largest``: the largest runs.
4. ``duplicates``: runs whose files are, by name and size, those of another run; and runs that were
   seen at several places.
5. ``orphans``: runs of another data class without the raw run they came from.
6. ``unverified``: runs with files whose datasets were never all opened, the longest first.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..model.errors import QueryError, nearest
from ..model.records import Depth
from ..store.packing import to_text
from ..store.store import Store
from .execute import Answer, ask
from .filters import ALL_RUNS, RunFilter
from .find import provenance

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery

__all__ = [
    "GROUPS",
    "PERIODS",
    "QUESTIONS",
    "count_runs",
    "duplicates",
    "growth",
    "inventory",
    "key_profile",
    "largest",
    "open_findings",
    "orphans",
    "source_presence",
    "summarize",
    "unverified",
    "volume",
]

_OF_RUN = ("instrument", "cycle", "proposal", "data_class")
_OF_FILE = ("aggregator", "format_version")
GROUPS = (*_OF_RUN, *_OF_FILE, "source")
PERIODS = ("day", "week", "month", "year")


def volume(
    store: Store, by: Sequence[str] = ("instrument",), where: RunFilter = ALL_RUNS
) -> Answer:
    """Runs, files and bytes by one or several of ``GROUPS``, in their order.

    By source, files and bytes are those of the files that hold it, so that they do not add up.
    Raises QueryError for a group that there is not.
    """
    from sqlalchemy import BigInteger, cast, func, select

    wrong = next((b for b in by if b not in GROUPS), None)
    if wrong is not None or not by:
        close = nearest(wrong or "", GROUPS)
        hint = f"; did you mean {close[0]}?" if close else f": there are {', '.join(GROUPS)}"
        raise QueryError(f"volume by {wrong or 'nothing'} is not known{hint}")
    rows = _files_by_run(where, [b for b in by if b in _OF_FILE], by_layout="source" in by)
    columns = [rows.c[b] for b in by if b != "source"]
    counted: Any = rows
    if "source" in by:
        sources = _sources_of_layouts()
        counted = rows.join(sources, sources.c.layout_id == rows.c.layout_id)
        columns.append(sources.c.source)
    statement = (
        select(
            *columns,
            func.count(rows.c.run_id.distinct()).label("runs"),
            cast(func.sum(rows.c.files), BigInteger).label("files"),
            cast(func.coalesce(func.sum(rows.c.bytes), 0), BigInteger).label("bytes"),
        )
        .select_from(counted)
        .group_by(*columns)
        .order_by(*columns)
    )
    return _answer(store, statement, where)


def growth(
    store: Store, per: str = "month", by: Sequence[str] = (), where: RunFilter = ALL_RUNS
) -> Answer:
    """Runs, files, bytes and trains per period, and the bytes up to its end; by columns of runs.

    Raises QueryError for a period or a group that there is not.
    """
    from sqlalchemy import BigInteger, Date, cast, func, select

    from ..store.schema import run

    if per not in PERIODS:
        raise QueryError(f"growth per {per} is not known: there are {', '.join(PERIODS)}")
    wrong = next((b for b in by if b not in _OF_RUN), None)
    if wrong is not None:
        raise QueryError(f"growth by {wrong} is not known: there are {', '.join(_OF_RUN)}")
    when = func.coalesce(run.c.started_at, run.c.newest_mtime)
    groups = [run.c[b] for b in by]
    period = cast(func.date_trunc(per, when), Date).label("period")
    size = func.coalesce(func.sum(run.c.bytes), 0)
    total = func.sum(size).over(partition_by=groups, order_by=period)
    statement = (
        select(
            period,
            *groups,
            func.count().label("runs"),
            cast(func.sum(run.c.n_files), BigInteger).label("files"),
            cast(size, BigInteger).label("bytes"),
            cast(func.sum(run.c.n_trains), BigInteger).label("trains"),
            cast(total, BigInteger).label("total_bytes"),
        )
        .where(*where.conditions(run))
        .group_by(period, *groups)
        .order_by(period, *groups)
    )
    return _answer(store, statement, where)


def largest(store: Store, limit: int | None = 20, where: RunFilter = ALL_RUNS) -> Answer:
    """The largest runs, the largest first."""
    from sqlalchemy import select

    from ..store.schema import run

    statement = (
        select(
            *_names(run),
            run.c.n_files.label("files"),
            run.c.bytes,
            run.c.n_trains.label("trains"),
            run.c.started_at,
            run.c.directory.label("path"),
        )
        .where(*where.conditions(run))
        .order_by(run.c.bytes.desc().nulls_last(), run.c.run_id)
        .limit(limit)
    )
    return _answer(store, statement, where)


def duplicates(store: Store, limit: int | None = None, where: RunFilter = ALL_RUNS) -> Answer:
    """Runs that are there twice, and runs of one directory more than they need.

    ``kind`` is ``files`` where all files have the names and sizes of those of ``other_path``, the
    first run that has them; ``location`` where one run was seen at two paths that do not lead to
    the same directory now known, which may be links, a move, or a copy.
    """
    from sqlalchemy import and_, func, literal, select, union_all

    from ..store.schema import file, run, run_location

    marks = (
        select(
            file.c.run_id,
            # Of one text per file: the hashes of names and sizes by themselves cancel each other.
            func.bit_xor(func.hash(func.concat(file.c.name, "/", file.c.size))).label("mark"),
            func.sum(file.c.size).label("size"),
            func.count().label("n"),
        )
        .where(file.c.missing_since.is_(None))
        .group_by(file.c.run_id)
        .subquery("marked")
    )
    same = [marks.c.mark, marks.c.n, marks.c.size]
    first = func.min(marks.c.run_id).over(partition_by=same).label("first_id")
    firsts = select(marks.c.run_id, first).subquery("firsts")
    other = run.alias("other")
    copies = (
        select(
            literal("files").label("kind"),
            *_names(run),
            run.c.n_files.label("files"),
            run.c.bytes,
            run.c.directory.label("path"),
            other.c.directory.label("other_path"),
        )
        .select_from(firsts)
        .join(run, run.c.run_id == firsts.c.run_id)
        .join(other, other.c.run_id == firsts.c.first_id)
        .where(firsts.c.run_id != firsts.c.first_id, *where.conditions(run))
    )
    elsewhere = and_(
        run_location.c.run_id == run.c.run_id,
        run_location.c.path.not_in([run.c.directory, run.c.realpath]),
    )
    places = (
        select(
            literal("location").label("kind"),
            *_names(run),
            run.c.n_files.label("files"),
            run.c.bytes,
            run.c.directory.label("path"),
            run_location.c.path.label("other_path"),
        )
        .select_from(run)
        .join(run_location, elsewhere)
        .where(*where.conditions(run))
    )
    both = union_all(copies, places).subquery("twice")
    statement = (
        select(both).order_by(both.c.bytes.desc(), both.c.path, both.c.other_path).limit(limit)
    )
    return _answer(store, statement, where)


def orphans(store: Store, limit: int | None = None, where: RunFilter = ALL_RUNS) -> Answer:
    """Runs of a data class other than raw whose raw run is not catalogued, or has no file left."""
    from sqlalchemy import and_, exists, select

    from ..store.schema import run

    raw = run.alias("raw_run")
    has_raw = exists().where(
        and_(
            raw.c.proposal == run.c.proposal,
            raw.c.run == run.c.run,
            raw.c.data_class == "raw",
            raw.c.n_files > raw.c.n_files_missing,
        )
    )
    statement = (
        select(
            *_names(run),
            run.c.n_files.label("files"),
            run.c.bytes,
            run.c.ingested_at,
            run.c.directory.label("path"),
        )
        .where(run.c.data_class != "raw", ~has_raw, *where.conditions(run))
        .order_by(run.c.run_id)
        .limit(limit)
    )
    return _answer(store, statement, where)


def unverified(store: Store, limit: int | None = 20, where: RunFilter = ALL_RUNS) -> Answer:
    """Runs with files not all of whose datasets were opened (``ingest --verify``), oldest first."""
    from sqlalchemy import BigInteger, cast, func, select

    from ..store.schema import file, run

    of_run = (
        select(
            file.c.run_id,
            func.count().label("unverified_files"),
            cast(func.sum(file.c.size), BigInteger).label("unverified_bytes"),
            func.min(file.c.scanned_at).label("oldest_scan"),
        )
        .where(file.c.verified.is_not(True), file.c.missing_since.is_(None))
        .group_by(file.c.run_id)
        .subquery("unverified")
    )
    statement = (
        select(
            *_names(run),
            run.c.n_files.label("files"),
            of_run.c.unverified_files,
            of_run.c.unverified_bytes,
            of_run.c.oldest_scan,
            run.c.directory.label("path"),
        )
        .join(of_run, of_run.c.run_id == run.c.run_id)
        .where(*where.conditions(run))
        .order_by(of_run.c.oldest_scan, run.c.run_id)
        .limit(limit)
    )
    return _answer(store, statement, where)


_Question = Callable[..., Answer]
QUESTIONS: dict[str, _Question] = {
    "volume": volume,
    "growth": growth,
    "largest": largest,
    "duplicates": duplicates,
    "orphans": orphans,
    "unverified": unverified,
}


def inventory(store: Store, question: str, where: RunFilter = ALL_RUNS, **options: Any) -> Answer:
    """The answer to one of ``QUESTIONS``; options that are None are left to it.

    Raises QueryError for a question that there is not, or an option that it does not take.
    """
    if question not in QUESTIONS:
        raise QueryError(f"no inventory of {question!r}: there are {', '.join(QUESTIONS)}")
    ask_it = QUESTIONS[question]
    given = {name: value for name, value in options.items() if value is not None}
    wrong = next((n for n in given if n not in ask_it.__code__.co_varnames), None)
    if wrong is not None:
        raise QueryError(f"the inventory {question} takes no {wrong}")
    return ask_it(store, **given, where=where)


def _answer(store: Store, statement: "SelectBase", where: RunFilter) -> Answer:
    with store.read_merged() as cursor:
        return Answer(ask(cursor, statement), provenance(cursor, store, where))


def _names(runs: Any) -> list["ColumnElement[Any]"]:
    names = ("proposal", "run", "data_class", "instrument", "cycle")
    return [runs.c[name] for name in names]


def _files_by_run(where: RunFilter, of_file: Sequence[str], *, by_layout: bool) -> "Subquery":
    """A row per run (and what is asked of its files) with its number and size of files."""
    from sqlalchemy import func, select

    from ..store.schema import file, run

    of_run = [run.c.run_id, *(run.c[name] for name in _OF_RUN)]
    if not of_file and not by_layout:
        there = run.c.n_files - run.c.n_files_missing
        statement: Select[Any] = select(*of_run, there.label("files"), run.c.bytes)
        return statement.where(*where.conditions(run)).subquery("files_of_run")
    inner = [file.c.run_id, *(file.c[name] for name in of_file)]
    inner += [file.c.layout_id] if by_layout else []
    size = func.sum(func.greatest(file.c.size, 0)).label("bytes")
    counted = (
        select(*inner, func.count().label("files"), size)
        .where(file.c.missing_since.is_(None))
        .group_by(*inner)
        .subquery("counted")
    )
    others = [column for column in counted.c if column.name != "run_id"]
    return (
        select(*of_run, *others)
        .join(counted, counted.c.run_id == run.c.run_id)
        .where(*where.conditions(run))
        .subquery("files_of_run")
    )


def _sources_of_layouts() -> "Subquery":
    from sqlalchemy import select

    from ..store.schema import layout_source
    from ..store.schema import source as sources

    return (
        select(layout_source.c.layout_id, sources.c.name.label("source"))
        .join(sources, sources.c.source_id == layout_source.c.source_id)
        .distinct()
        .subquery("source_of_layout")
    )


# What is there, summed up? Runs by group, and in how many runs of some each source is.
#
# Sums are made in SQL: over 10^5 runs no row per run leaves the database.
#
# 1. ``summarize``: runs, files, bytes, trains, times and depth by instrument, proposal, ...
# 2. ``source_presence``: in how many of the runs a source is, and in what share of their trains.
# 3. ``open_findings``: what is wrong at present, by severity.
# 4. ``count_runs``: how many runs are meant.
# 5. ``key_profile``: what a key did during a run, if `xfelcat profile` has read it.

SUMMARY_GROUPS = ("instrument", "cycle", "proposal", "data_class")


def summarize(
    store: Store, where: RunFilter = ALL_RUNS, by: Sequence[str] = SUMMARY_GROUPS
) -> Answer:
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
    return _summary_answer(store, where, statement)


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
    return _summary_answer(store, where, statement)


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


def _summary_answer(store: Store, where: RunFilter, statement: "Select[Any]") -> Answer:
    with store.read_merged() as cursor:
        return Answer(ask(cursor, statement), provenance(cursor, store, where))
