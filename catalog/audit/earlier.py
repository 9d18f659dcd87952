"""Earlier audits and what they covered: what is new or gone is so since the last of these.

An audit covers a run and a check if its scope chose the run, and it ran the check or reported what
ingest had found. A finding is new if it was first seen after the last audit that covered its run
and check, whatever else that audit looked at. Audits by ``xfelcat watch``, of a few runs each, do
not count there: nobody has read what they found.

``cover`` puts them into temporary tables, which ``LAST_COVERED`` asks.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..model.checks import CHECKS
from ..questions.execute import Sql, all_of, is_one_of, sql
from ..questions.filters import ALL_RUNS, RunFilter
from ..store.connections import Cursor, OpenDatabase
from ..store.store import Store
from .between_runs import CHECKS_OF_ALL_RUNS
from .run_checks import SQL_CHECKS, choose_runs, execute

_AT_INGEST = frozenset(check.id for check in CHECKS.values() if check.origin == "scan")
# What every audit reports on unless it is told to leave something out.
_ALWAYS = _AT_INGEST | ({i for i, _ in SQL_CHECKS} - {i for i, _ in CHECKS_OF_ALL_RUNS})
# Of scopes with filters, the newest so many are looked at, at some 10 ms each. `--since 1d` makes
# another scope each night; what older ones covered, other audits have covered since.
_MOST_SCOPES = 100
_AUDITS = """
SELECT scope, checks, max(started_at) AS moment FROM audit
WHERE started_at < $before::TIMESTAMP GROUP BY ALL ORDER BY moment DESC
"""
_COVERED_CHECK = "CREATE OR REPLACE TEMP TABLE covered_check (number INTEGER, check_id VARCHAR)"
_COVERED_RUN = """
CREATE OR REPLACE TEMP TABLE covered_run (number INTEGER, run_id UBIGINT, moment TIMESTAMP)
"""
# When the run and check of each row of ``pair`` were last covered; run_id 0 is no catalogued run.
LAST_COVERED = """
SELECT run_id, check_id, max(moment) AS moment FROM (
    SELECT p.run_id, p.check_id, r.moment
    FROM pair AS p JOIN covered_run AS r ON r.run_id = p.run_id
    JOIN covered_check AS c ON c.number = r.number AND c.check_id = p.check_id
    UNION ALL
    SELECT p.run_id, p.check_id, r.moment
    FROM pair AS p JOIN covered_check AS c ON c.check_id = p.check_id
    JOIN covered_run AS r ON r.number = c.number AND r.run_id IS NULL
) GROUP BY run_id, check_id
"""
_SINCE = """
SELECT min(moment) FROM (
    SELECT max(r.moment) AS moment FROM covered_check AS c JOIN covered_run AS r USING (number)
    WHERE list_contains($checks::VARCHAR[], c.check_id)
    AND (r.run_id IS NULL OR r.run_id IN (SELECT run_id FROM scope))
    GROUP BY c.check_id
)
"""
_NOT_AUDITED = """
SELECT count(*) FILTER (moment IS NULL), max(moment) FROM (
    SELECT greatest(of_run.moment, of_all.moment) AS moment FROM scope
    LEFT JOIN (SELECT run_id, max(moment) AS moment FROM covered_run GROUP BY run_id) AS of_run
        ON of_run.run_id = scope.run_id
    CROSS JOIN (SELECT max(moment) AS moment FROM covered_run WHERE run_id IS NULL) AS of_all
)
"""


@dataclass(frozen=True, slots=True)
class EarlierAudit:
    """What an audit covered, and when it began."""

    at: datetime
    """In UTC, without zone."""
    checks: frozenset[str] = frozenset(CHECKS)
    """IDs of the checks on which it reported."""
    where: RunFilter = ALL_RUNS
    """The runs that it chose."""
    run_ids: tuple[int, ...] = ()
    """The runs, where they were named one by one."""
    looked_at_disk: bool = True
    """Whether it looked for runs that are not catalogued."""


def earlier_audits(store: Store, before: datetime = datetime.max) -> list[EarlierAudit]:
    """The recorded audits that began before a time, the last of each scope, newest first."""
    current = store.audits.current()
    if current is None:
        return []
    rows = OpenDatabase.at(current).cursor().execute(_AUDITS, {"before": before}).fetchall()
    return [_parse(json.loads(scope), checks, at) for scope, checks, at in rows]


def _parse(scope: Mapping[str, Any], ran: Iterable[str], at: datetime) -> EarlierAudit:
    def part(name: str) -> Any:
        given = scope[name]
        if name in ("since", "until"):
            return datetime.fromisoformat(given)
        return tuple(tuple(each) if isinstance(each, list) else each for each in given)

    names = RunFilter.__dataclass_fields__.keys() & scope.keys()
    return EarlierAudit(
        at,
        frozenset(ran) | (_AT_INGEST & frozenset(scope.get("checks", CHECKS))),
        RunFilter(**{name: part(name) for name in names}),
        tuple(scope.get("run_ids", ())),
        bool(scope.get("disk")),
    )


def cover(cursor: Cursor, audits: Iterable[EarlierAudit]) -> None:
    """Make the tables ``covered_check`` and ``covered_run`` (run_id NULL: all runs) of audits."""
    execute(cursor, _COVERED_CHECK)
    execute(cursor, _COVERED_RUN)
    numbers: dict[frozenset[str], int] = {}
    n_scopes = 0
    for audit in audits:
        n_scopes += audit.where != ALL_RUNS
        if audit.where != ALL_RUNS and n_scopes > _MOST_SCOPES:
            continue
        number = numbers.setdefault(audit.checks, len(numbers))
        runs, chosen = "SELECT run.run_id FROM run WHERE {chosen}", Sql("")
        if audit.run_ids:
            chosen = is_one_of("run.run_id", audit.run_ids)
        elif audit.where != ALL_RUNS:
            chosen = all_of(audit.where.conditions())
        else:
            runs = "SELECT NULL{chosen}"
        if audit.looked_at_disk:
            runs += " UNION ALL SELECT 0"
        statement = sql(
            "INSERT INTO covered_run"
            f" SELECT {{number}}, run_id, {{at}} FROM ({runs}) AS of_audit(run_id)",
            number=number,
            at=audit.at,
            chosen=chosen,
        )
        execute(cursor, statement.text, statement.values)
    of_number = "INSERT INTO covered_check SELECT $number, unnest($checks::VARCHAR[])"
    for checks, number in numbers.items():
        execute(cursor, of_number, {"number": number, "checks": sorted(checks)})


def covered_since(cursor: Cursor, checks: Iterable[str]) -> datetime | None:
    """When the checks were last made of runs in ``scope``; of several, the longest ago.

    None where none of them was: this is the first audit of these runs.
    """
    ((since,),) = execute(cursor, _SINCE, {"checks": list(checks)})
    return since if isinstance(since, datetime) else None


def not_audited(store: Store, where: RunFilter = ALL_RUNS) -> tuple[int, datetime | None]:
    """How many runs no audit with all its checks has covered; when the last such audit was."""
    complete = [a for a in earlier_audits(store) if a.checks >= _ALWAYS]
    watched = {run_id for a in complete for run_id in a.run_ids}
    if watched:  # by how many audits does not matter, and they are many
        at = next(a.at for a in complete if a.run_ids)
        complete = [a for a in complete if not a.run_ids]
        complete.append(EarlierAudit(at, run_ids=tuple(watched)))
    with closing(store.open_merged().new_cursor()) as cursor:
        choose_runs(cursor, where)
        cover(cursor, complete)
        ((n_left, last),) = execute(cursor, _NOT_AUDITED)
    return int(n_left), last
