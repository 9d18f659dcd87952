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

from ..errors import QueryError, nearest
from ..store.store import Store
from .answers import Answer, ask
from .queries import provenance
from .run_filter import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery

__all__ = [
    "GROUPS",
    "PERIODS",
    "QUESTIONS",
    "duplicates",
    "growth",
    "inventory",
    "largest",
    "orphans",
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
