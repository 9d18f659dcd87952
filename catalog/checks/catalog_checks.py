"""What do the checks in SQL find in the runs that are audited?

1. ``choose_runs``: the runs in scope, as a temporary table.
2. ``portions``: ranges of run_ids that hold whole proposals, of bounded size.
3. ``find_faults``: every statement on every portion; what is found gathers in the table ``found``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..questions.answers import interruptible, to_sql
from ..questions.run_filter import RunFilter
from .between_runs import CHECKS_BETWEEN_RUNS
from .detectors import CHECKS_OF_DETECTORS
from .limits import Limits
from .sql_check import FOUND, PREPARE_ALL, PREPARE_PORTION, SqlCheck, bound
from .within_runs import CHECKS_WITHIN_RUNS

if TYPE_CHECKING:
    import duckdb

__all__ = ["SQL_CHECKS", "choose_runs", "execute", "find_faults", "portions"]

SQL_CHECKS: Sequence[SqlCheck] = (*CHECKS_WITHIN_RUNS, *CHECKS_OF_DETECTORS, *CHECKS_BETWEEN_RUNS)
_FILES_AT_ONCE = 300_000
_LOOSE = 1 << 63
_PROPOSAL_SHIFT = 43

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
        SELECT
            CASE WHEN run_id >= {_LOOSE} THEN run_id ELSE run_id >> {_PROPOSAL_SHIFT} END AS home,
            run_id >= {_LOOSE} AS is_loose, sum(n_files)
        FROM run JOIN scope USING (run_id) GROUP BY ALL ORDER BY is_loose, home
    """
    found: list[tuple[int, int]] = []
    n_files = _FILES_AT_ONCE
    for home, is_loose, n in execute(cursor, sql):
        first = home if is_loose else home << _PROPOSAL_SHIFT
        last = home if is_loose else ((home + 1) << _PROPOSAL_SHIFT) - 1
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
