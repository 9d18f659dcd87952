"""The record of audits: since when each finding is known, and what has changed.

The audits have a database of their own in the catalog, with the tables of every other: published in
versions, never modified, merged into the file for questions over all runs like a shard. Only
``finding`` (of origin ``audit`` and ``deep``) and ``audit`` have rows there.

Findings that are still there keep their first time, those that are gone stay as resolved. Only what
lies in the ``Area`` of an audit can count as gone. For a catalog that cannot be written,
``compare_findings`` makes the same rows in memory.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as package_version
from typing import Any

from ..questions.execute import Table
from ..store.connections import Cursor, OpenDatabase, connect_memory, uninterrupted
from ..store.schema import create_schema, open_draft
from ..store.store import Store
from ..store.versions import AUDITS
from .findings import TEMPLATE_SQL


@dataclass(frozen=True, slots=True)
class Area:
    """What an audit covered: the checks that it ran, and where."""

    runs: Table
    """A table of run_id."""
    checks: tuple[str, ...]
    """IDs of the checks."""
    below: tuple[str, ...]
    """Folders in and below which it looked for runs that are not catalogued."""
    beside: tuple[str, ...]
    """Folders right in which it looked for them."""
    at: datetime
    """When it began, in UTC, without zone."""


# A finding is the same as before if only the numbers and names in its message changed; of several
# that differ in nothing else, the first is the first.
_PLACE = ("run_id", "name", "check_id", "place", "path")
_NTH = f"""
{TEMPLATE_SQL} AS template,
row_number() OVER (PARTITION BY {", ".join(_PLACE)}, {TEMPLATE_SQL} ORDER BY message) AS nth
"""


def _equal(*columns: str) -> str:
    return " AND ".join(f"o.{c} IS NOT DISTINCT FROM n.{c}" for c in columns)


_SAME = _equal(*_PLACE, "template", "nth")

_OLD = f"""
CREATE OR REPLACE TEMP TABLE old AS
SELECT *, {_NTH} FROM finding
WHERE list_contains($checks::VARCHAR[], check_id) AND (
    run_id IN (SELECT run_id FROM audited_runs) OR (run_id IS NULL AND (
        list_contains($beside::VARCHAR[], path)
        OR list_contains($beside::VARCHAR[], rtrim(parse_dirpath(path), '/'))
        OR list_bool_or(list_transform(
            $below::VARCHAR[],
            lambda b: path = b OR starts_with(path, concat(rtrim(b, '/'), '/'))
        ))
    ))
)
"""

_NOW = f"""
CREATE OR REPLACE TEMP TABLE now_there AS
SELECT
    n.run_id, n.name, n.check_id, n.severity, n.message, n.place, n.path,
    coalesce(o.first_seen, $at::TIMESTAMP) AS first_seen, $at::TIMESTAMP AS last_seen,
    NULL::TIMESTAMP AS resolved_at, n.origin,
    o.check_id IS NULL OR o.resolved_at IS NOT NULL AS is_new, n.template, n.nth
FROM (SELECT *, {_NTH} FROM (SELECT DISTINCT * FROM found_now)) AS n
LEFT JOIN old AS o ON {_SAME}
"""

_GONE = f"""
CREATE OR REPLACE TEMP TABLE now_gone AS
SELECT o.* REPLACE (coalesce(o.resolved_at, $at::TIMESTAMP) AS resolved_at), false AS is_new
FROM old AS o ANTI JOIN now_there AS n ON {_SAME}
"""

_REMOVE = f"""
DELETE FROM finding AS n USING old AS o WHERE {_equal(*_PLACE, "message")}
"""

_AREA = """
SELECT * EXCLUDE (template, nth) FROM now_there
UNION ALL BY NAME SELECT * EXCLUDE (template, nth) FROM now_gone
"""

_INSERT = f"""
INSERT INTO finding
SELECT * EXCLUDE (is_new) FROM ({_AREA})
ORDER BY run_id, check_id, name, place
"""

_INSERT_AUDIT = """
INSERT INTO audit VALUES (
    $audit_id, $at, $seconds, $scope, $checks, $runs, $files, $errors, $warnings, $infos, $new,
    $resolved, $version
)
"""


@contextmanager
def recording(store: Store) -> Iterator[Cursor]:
    """A connection to a draft of the database of the audits, published at the end.

    Raises CatalogWriteError where the catalog cannot be written.
    """
    versions = store.audits
    with versions.lock(), uninterrupted(), versions.draft() as draft:
        with open_draft(draft, AUDITS, AUDITS, older=versions) as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        versions.publish(draft)


def replace_findings(connection: Cursor, area: Area, found: Table) -> Table:
    """Write the findings of an area; all rows of the area as they are now, with ``is_new``.

    ``found`` has the columns of ``finding`` up to path, and origin.
    """
    connection.register("audited_runs", area.runs)
    connection.register("found_now", found)
    places = {"below": list(area.below), "beside": list(area.beside)}
    connection.execute(_OLD, {"checks": list(area.checks), **places})
    connection.execute(_NOW, {"at": area.at})
    connection.execute(_GONE, {"at": area.at})
    connection.execute(_REMOVE)
    connection.execute(_INSERT)
    table = connection.sql(_AREA).to_arrow_table()
    connection.unregister("audited_runs")
    connection.unregister("found_now")
    return table


def add_audit(connection: Cursor, row: Mapping[str, Any]) -> int:
    """Write the row of an audit: the parameters of ``_INSERT_AUDIT`` but number and version.

    Returns its number.
    """
    ((last,),) = connection.execute("SELECT coalesce(max(audit_id), 0) FROM audit").fetchall()
    number = int(last) + 1
    texts = {"scope": _as_text(row["scope"]), "version": package_version("xfelcat")}
    connection.execute(_INSERT_AUDIT, {**row, "audit_id": number, **texts})
    return number


def compare_findings(store: Store, area: Area, found: Table) -> Table:
    """The rows that ``replace_findings`` returns, with nothing written."""
    current = store.audits.current()
    old = None
    if current is not None:
        old = OpenDatabase.at(current).cursor().sql("FROM finding").to_arrow_table()
    result: list[Table] = []

    def fill(connection: Cursor) -> None:
        create_schema(connection, AUDITS, AUDITS)
        if old is not None:
            connection.register("old_findings", old)
            connection.execute("INSERT INTO finding FROM old_findings")
        result.append(replace_findings(connection, area, found))

    connect_memory(fill).close()
    return result[0]


def _as_text(scope: Mapping[str, Any]) -> str:
    return json.dumps(scope, ensure_ascii=False, sort_keys=True, default=str)
