"""What do the checks in SQL find in the runs that are audited?

1. ``choose_runs``: the runs in scope, as a temporary table.
2. ``portions``: ranges of run_ids that hold whole proposals, of bounded size.
3. ``find_faults``: every statement on every portion; what is found gathers in the table ``found``.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..ingest.assemble import utc_now
from ..model.identity import run_ids_of_shard, shard_of, sql_home
from ..model.records import Problem, RunRecord
from ..questions.execute import interruptible, to_sql
from ..questions.filters import ALL_RUNS, RunFilter
from ..store.connections import connect_memory
from ..store.creation import create_schema
from ..store.packing import from_text
from ..store.write import ShardWriter
from .between_runs import CHECKS_BETWEEN_RUNS
from .detectors import CHECKS_OF_DETECTORS
from .limits import DEFAULT_LIMITS, Limits
from .sql_check import FOUND, PREPARE_ALL, PREPARE_PORTION, SqlCheck, bound
from .within_runs import CHECKS_WITHIN_RUNS

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "OF_A_FILE",
    "OF_A_RUN",
    "SQL_CHECKS",
    "check_record",
    "choose_runs",
    "execute",
    "find_faults",
    "portions",
]

SQL_CHECKS: Sequence[SqlCheck] = (*CHECKS_WITHIN_RUNS, *CHECKS_OF_DETECTORS, *CHECKS_BETWEEN_RUNS)
_FILES_AT_ONCE = 300_000

# Told how many steps are done, of how many.
Steps = Callable[[int, int], None]


def execute(
    cursor: "duckdb.DuckDBPyConnection", sql: str, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """The rows of a statement with values bound; it can be interrupted by Ctrl-C."""

    def work() -> list[tuple[Any, ...]]:
        return cursor.execute(sql, values or None).fetchall()

    return interruptible(cursor, work)


def choose_runs(
    cursor: "duckdb.DuckDBPyConnection", where: RunFilter, run_ids: Iterable[int] | None = None
) -> None:
    """Make the table ``scope`` of the runs that a filter means, or of these run_ids alone."""
    if run_ids is None:
        from sqlalchemy import select

        from ..store.schema import run as runs

        sql, values = to_sql(select(runs.c.run_id).where(*where.conditions(runs)))
    else:
        sql = "SELECT run_id FROM run WHERE list_contains($1::UBIGINT[], run_id)"
        values = [list(run_ids)]
    execute(cursor, f"CREATE OR REPLACE TEMP TABLE scope AS {sql}", values)


def portions(cursor: "duckdb.DuckDBPyConnection") -> list[tuple[int, int]]:
    """First and last run_id of portions of the scope: whole proposals, of so many files or one."""
    sql = f"""
        SELECT any_value(run_id), sum(n_files)
        FROM run JOIN scope USING (run_id) GROUP BY {sql_home()} ORDER BY any_value(run_id)
    """
    found: list[tuple[int, int]] = []
    n_files = _FILES_AT_ONCE
    for run_id, n in execute(cursor, sql):
        first, last = run_ids_of_shard(shard_of(run_id))
        if n_files + n <= _FILES_AT_ONCE:
            found[-1] = (found[-1][0], last)
            n_files += n
        else:
            found.append((first, last))
            n_files = n
    return found


def find_faults(
    cursor: "duckdb.DuckDBPyConnection",
    ids: Collection[str],
    limits: Limits,
    now: datetime,
    progress: Steps | None = None,
) -> None:
    """Fill the table ``found`` with what the checks of these IDs find in ``scope``."""
    checks = [check for check in SQL_CHECKS if set(check.ids) & set(ids)]
    values: dict[str, Any] = {
        name: getattr(limits, name) for name in limits.__slots__ if name != "detector_sizes"
    }
    values |= {
        "detector_parts": list(limits.detector_sizes),
        "detector_counts": list(limits.detector_sizes.values()),
        "processing_seconds": 86400 * limits.processing_days,
        "now": now,
    }
    execute(cursor, FOUND)
    by_portion = [check for check in checks if not check.whole]
    whole = [check for check in checks if check.whole]
    spans = portions(cursor) if by_portion else []
    done, total = 0, len(spans) * len(by_portion) + len(whole)

    def step(sql: str) -> None:
        execute(cursor, f"INSERT INTO found {sql}", bound(sql, values))
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    for sql in PREPARE_ALL:
        execute(cursor, sql, bound(sql, values))
    for values["first_run"], values["last_run"] in spans:
        for sql in PREPARE_PORTION:
            execute(cursor, sql, bound(sql, values))
        for check in by_portion:
            step(check.sql)
    for check in whole:
        step(check.sql)


# What do the checks in SQL find in a run that is in no catalog?
#
# The record of the run is put into a database in memory, which is a catalog of this one run, and
# the
# statements of the audits are asked there: there is one of each check.

OF_A_FILE = ("T04", "T06", "R09")
OF_A_RUN = (*OF_A_FILE, "R01", "R02", "R03", "R04", "R05", "R06")

_FOUND = "SELECT check_id, severity, message, name, place, path FROM found ORDER BY ALL"


def check_record(
    record: RunRecord, ids: Collection[str], limits: Limits = DEFAULT_LIMITS
) -> list[Problem]:
    """What the checks of these IDs find; they are of ``OF_A_RUN``."""
    found: list[Problem] = []
    shard = record.identity.shard

    def fill(connection: "duckdb.DuckDBPyConnection") -> None:
        create_schema(connection, "shard", shard)
        writer = ShardWriter(connection, shard, record.directory)
        writer.replace_run(record)
        writer.finish()
        choose_runs(connection, ALL_RUNS, [record.identity.run_id])
        find_faults(connection, ids, limits, utc_now().replace(tzinfo=None))
        for check, severity, message, name, place, path in execute(connection, _FOUND):
            at = path or (os.path.join(record.directory, from_text(name)) if name else None)
            where = place or ""
            found.append(Problem(check, severity, message, at or record.directory, where))

    if set(ids) & set(OF_A_RUN):
        connect_memory(fill).close()
    return found
