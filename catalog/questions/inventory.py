"""Sums over the runs of the catalog: inventory, summaries by group, findings and profiles.

Each question is one statement on the merged file, takes a ``RunFilter`` and gives an ``Answer``.
Sums are made in SQL: over 10^5 runs no row per run leaves the database. Sizes are in bytes, of
files that are there; a run counts on the day of its first train, or of its newest file where it
records no time.

Lists of runs: ``largest``; ``duplicates``: runs (``kind`` files) with all names and sizes of files
of the first such run, ``other_path``, and runs (location) seen at several places; ``orphans``: runs
of another data class whose raw run is not catalogued, or has no file left; ``unverified``: runs
with files whose datasets were never all opened, oldest scan first.

``uncalibrated``: per proposal the raw runs, how many of them have a calibrated run of the same
number and how many have none, the share that has, and the numbers of the others; least share first.
"""

from collections.abc import Sequence
from typing import Any

from ..model.errors import QueryError, nearest
from ..model.names import to_text
from ..store.store import Store
from .execute import Answer, all_of, ask, limited, sql
from .filters import ALL_RUNS, OUTLINE_ONLY, RunFilter, provenance

_OF_RUN = ("instrument", "cycle", "proposal", "data_class")
_OF_FILE = ("aggregator", "format_version")
GROUPS = (*_OF_RUN, *_OF_FILE, "source")
PERIODS = ("day", "week", "month", "year")
_NAMES = "run.proposal, run.run, run.data_class, run.instrument, run.cycle"
_OF_BOTH = f"{_NAMES}, run.n_files AS files, run.bytes, run.directory AS path"


def volume(
    store: Store, by: Sequence[str] = ("instrument",), where: RunFilter = ALL_RUNS
) -> Answer:
    """Runs, files and bytes by one or several of ``GROUPS``, in their order.

    By source, files and bytes are those of the files that have it, so that they do not add up.
    Raises QueryError for a group that there is not.
    """
    wrong = next((b for b in by if b not in GROUPS), None)
    if wrong is not None or not by:
        close = nearest(wrong or "", GROUPS)
        hint = f"; did you mean {close[0]}?" if close else f": there are {', '.join(GROUPS)}"
        raise QueryError(f"volume by {wrong or 'nothing'} is not known{hint}")
    of_file = [b for b in by if b in _OF_FILE] + ["layout_id"] * ("source" in by)
    if of_file:
        names = ", ".join(of_file)
        counted = f"""SELECT run_id, {names}, count(*) AS files, sum(greatest(size, 0)) AS bytes
            FROM file WHERE missing_since IS NULL GROUP BY run_id, {names}"""
    else:
        counted = "SELECT run_id, n_files - n_files_missing AS files, bytes FROM run"
    sources = """JOIN (SELECT DISTINCT layout_id, name AS source
        FROM layout_source JOIN source USING (source_id)) AS listed USING (layout_id)"""
    columns = {b: f"run.{b}" if b in _OF_RUN else f"counted.{b}" for b in by if b != "source"}
    columns |= {"source": "listed.source"} if "source" in by else {}
    groups = ", ".join(columns.values())
    return _answer(
        store,
        f"""SELECT {groups}, count(DISTINCT run.run_id) AS runs,
            sum(counted.files)::BIGINT AS files, coalesce(sum(counted.bytes), 0)::BIGINT AS bytes
        FROM ({counted}) AS counted JOIN run ON run.run_id = counted.run_id
            {sources * ("source" in by)}
        WHERE {{filter}} GROUP BY {groups} ORDER BY {groups}""",
        where,
    )


def growth(
    store: Store, per: str = "month", by: Sequence[str] = (), where: RunFilter = ALL_RUNS
) -> Answer:
    """Runs, files, bytes and trains per period, and the bytes up to its end; by columns of runs.

    Raises QueryError for a period or a group that there is not.
    """
    if per not in PERIODS:
        raise QueryError(f"growth per {per} is not known: there are {', '.join(PERIODS)}")
    wrong = next((b for b in by if b not in _OF_RUN), None)
    if wrong is not None:
        raise QueryError(f"growth by {wrong} is not known: there are {', '.join(_OF_RUN)}")
    groups = "".join(f", run.{b}" for b in by)
    partition = f"PARTITION BY {groups.removeprefix(', ')}" if by else ""
    period = f"date_trunc('{per}', coalesce(run.started_at, run.newest_mtime))::DATE"
    return _answer(
        store,
        f"""SELECT {period} AS period{groups}, count(*) AS runs, sum(n_files)::BIGINT AS files,
            coalesce(sum(bytes), 0)::BIGINT AS bytes, sum(n_trains)::BIGINT AS trains,
            sum(coalesce(sum(bytes), 0)) OVER ({partition} ORDER BY {period})::BIGINT AS total_bytes
        FROM run WHERE {{filter}} GROUP BY {period}{groups} ORDER BY {period}{groups}""",
        where,
    )


# Those of one statement: it, and how many rows there are unless a limit is given.
_LISTS = {
    "largest": (
        f"""SELECT {_NAMES}, n_files AS files, bytes, n_trains AS trains, started_at,
            directory AS path
        FROM run WHERE {{filter}} ORDER BY bytes DESC NULLS LAST, run_id""",
        20,
    ),
    # Marks are hashes of one text per file: those of names and sizes by themselves cancel each
    # other. Places of one run that do not lead to the same directory may be links, a move, a copy.
    "duplicates": (
        f"""WITH marked AS (
            SELECT run_id, bit_xor(hash(concat(name, '/', size))) AS mark, sum(size) AS size,
                count(*) AS n
            FROM file WHERE missing_since IS NULL GROUP BY run_id
        ), firsts AS (
            SELECT run_id, min(run_id) OVER (PARTITION BY mark, n, size) AS first_id FROM marked
        )
        FROM (
            SELECT 'files' AS kind, {_OF_BOTH}, other.directory AS other_path FROM firsts
            JOIN run ON run.run_id = firsts.run_id
            JOIN run AS other ON other.run_id = firsts.first_id
            WHERE firsts.run_id <> firsts.first_id AND {{filter}}
            UNION ALL
            SELECT 'location', {_OF_BOTH}, run_location.path FROM run
            JOIN run_location ON run_location.run_id = run.run_id
                AND run_location.path NOT IN (run.directory, run.realpath)
            WHERE {{filter}}
        ) ORDER BY bytes DESC, path, other_path""",
        None,
    ),
    "orphans": (
        f"""SELECT {_NAMES}, n_files AS files, bytes, ingested_at, directory AS path
        FROM run WHERE data_class <> 'raw' AND NOT EXISTS (
            FROM run AS other WHERE other.proposal = run.proposal AND other.run = run.run
            AND other.data_class = 'raw' AND other.n_files > other.n_files_missing
        ) AND {{filter}} ORDER BY run_id""",
        None,
    ),
    # Reduced data (red) are raw data with less of them.
    "uncalibrated": (
        """SELECT instrument, cycle, proposal, count(*) AS raw_runs,
            count(*) FILTER (is_calibrated) AS calibrated,
            count(*) FILTER (NOT is_calibrated) AS uncalibrated,
            avg(is_calibrated::INTEGER) AS share,
            coalesce(list(run ORDER BY run) FILTER (NOT is_calibrated), []) AS runs_without
        FROM (
            SELECT *, EXISTS (
                FROM run AS other WHERE other.proposal = run.proposal AND other.run = run.run
                AND other.data_class NOT IN ('raw', 'red')
                AND other.n_files > other.n_files_missing
            ) AS is_calibrated
            FROM run WHERE data_class = 'raw' AND n_files > n_files_missing AND {filter}
        ) GROUP BY instrument, cycle, proposal ORDER BY share, proposal""",
        None,
    ),
    "unverified": (
        f"""SELECT {_NAMES}, n_files AS files, unverified_files, unverified_bytes, oldest_scan,
            directory AS path
        FROM run JOIN (
            SELECT run_id, count(*) AS unverified_files, sum(size)::BIGINT AS unverified_bytes,
                min(scanned_at) AS oldest_scan
            FROM file WHERE verified IS NOT TRUE AND missing_since IS NULL GROUP BY run_id
        ) AS unverified ON unverified.run_id = run.run_id
        WHERE {{filter}} ORDER BY oldest_scan, run.run_id""",
        20,
    ),
}
QUESTIONS = {"volume": ("by",), "growth": ("per", "by")} | dict.fromkeys(_LISTS, ("limit",))
"""The options that each inventory takes."""


def inventory(store: Store, question: str, where: RunFilter = ALL_RUNS, **options: Any) -> Answer:
    """The answer to one of ``QUESTIONS``; options that are None are left to it, limit 0 is none.

    Raises QueryError for a question that there is not, or an option that it does not take.
    """
    if question not in QUESTIONS:
        raise QueryError(f"no inventory of {question!r}: there are {', '.join(QUESTIONS)}")
    given = {name: value for name, value in options.items() if value is not None}
    wrong = next((n for n in given if n not in QUESTIONS[question]), None)
    if wrong is not None:
        raise QueryError(f"the inventory {question} takes no {wrong}")
    if question == "volume":
        return volume(store, **given, where=where)
    if question == "growth":
        return growth(store, **given, where=where)
    template, limit = _LISTS[question]
    return _answer(store, template, where, given.get("limit", limit) or None)


def summarize(store: Store, where: RunFilter = ALL_RUNS) -> Answer:
    """Runs by group, in the order of their first runs; loose runs are a group of their path each.

    Columns: instrument, cycle, proposal, data_class, path (of loose runs), runs, outline_only,
    files, files_missing, files_unread, bytes, trains (sum over runs), first_data, last_data,
    undated (runs whose files record no times),
    oldest_ingest, newest_ingest.
    """
    return _answer(
        store,
        f"""SELECT instrument, cycle, proposal, data_class,
            CASE WHEN proposal IS NULL THEN directory END AS path, count(*) AS runs,
            count(*) FILTER ({OUTLINE_ONLY}) AS outline_only, sum(n_files)::BIGINT AS files,
            sum(n_files_missing)::BIGINT AS files_missing,
            sum(n_files_unread)::BIGINT AS files_unread, sum(bytes)::BIGINT AS bytes,
            sum(n_trains)::BIGINT AS trains, min(started_at) AS first_data,
            max(ended_at) AS last_data, count(*) FILTER (started_at IS NULL) AS undated,
            min(ingested_at) AS oldest_ingest,
            max(ingested_at) AS newest_ingest
        FROM run WHERE {{filter}} GROUP BY 1, 2, 3, 4, 5 ORDER BY min(run_id)""",
        where,
    )


def proposals(store: Store, where: RunFilter = ALL_RUNS) -> Answer:
    """A row per proposal, in the order of first runs; a loose run is a row of its own."""
    return _answer(
        store,
        """SELECT proposal, instrument, cycle,
            list(DISTINCT data_class ORDER BY data_class <> 'raw', data_class) AS data_classes,
            count(*) AS runs, sum(n_files)::BIGINT AS files,
            coalesce(sum(bytes), 0)::BIGINT AS bytes,
            coalesce(sum(n_trains) FILTER (data_class = 'raw'), 0)::BIGINT AS trains,
            min(started_at) AS first_data, max(ended_at) AS last_data
        FROM run WHERE {filter}
        GROUP BY proposal, instrument, cycle, CASE WHEN proposal IS NULL THEN directory END
        ORDER BY min(run_id)""",
        where,
    )


def count_runs(store: Store, where: RunFilter = ALL_RUNS) -> int:
    """How many runs of the catalog a filter selects."""
    with store.read_merged() as cursor:
        return provenance(cursor, store, where).runs_searched


def key_profile(store: Store, run_id: int, source: str, key: str) -> dict[str, Any] | None:
    """The row of the view key_profiles for a key of a run; None if there is none."""
    statement = sql(
        "FROM key_profiles WHERE run_id = {run_id} AND source = {source} AND key = {key}",
        run_id=run_id,
        source=to_text(source),
        key=to_text(key),
    )
    with store.read_merged() as cursor:
        found: list[dict[str, Any]] = ask(cursor, statement).to_pylist()
    return found[0] if found else None


def open_findings(store: Store, where: RunFilter = ALL_RUNS) -> dict[str, int]:
    """How many findings are open, by severity (E, W, I), of the runs that a filter selects."""
    statement = sql(
        "SELECT severity, count(*) AS n FROM finding JOIN run ON run.run_id = finding.run_id"
        " WHERE resolved_at IS NULL AND {filter} GROUP BY severity",
        filter=all_of(where.conditions()),
    )
    with store.read_merged() as cursor:
        return {row["severity"]: row["n"] for row in ask(cursor, statement).to_pylist()}


def _answer(store: Store, template: str, where: RunFilter, limit: int | None = None) -> Answer:
    """The answer to a statement with ``{filter}`` for the conditions on ``run``."""
    statement = sql(
        f"{template} {{limit}}", filter=all_of(where.conditions()), limit=limited(limit)
    )
    with store.read_merged() as cursor:
        return Answer(ask(cursor, statement), provenance(cursor, store, where))
