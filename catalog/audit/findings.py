"""Findings of an audit as a table, and condensed into a few lines that a person reads.

Findings that differ only in numbers and names are one line: the same check and severity, the same
*template* of the message and the same *pattern* of the place.

``TEMPLATE_SQL`` and ``PATTERN_SQL`` make them in DuckDB, of the columns message and place;
``message_template`` and ``place_pattern`` are the same in Python.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.checks import SEVERITIES
from ..questions.execute import Table, fetch
from ..store.connections import Cursor
from .earlier import LAST_COVERED
from .run_checks import execute
from .waivers import WAIVED_SQL

if TYPE_CHECKING:
    import pandas as pd

# In a dialect that Python and DuckDB (RE2) share; one after the other.
_OF_MESSAGE = (
    ("'[^']*'", "'…'"),
    (r"[A-Z]+-R[0-9]+[A-Z0-9_-]*\.h5", "FILE"),
    (r"p[0-9]{6}/[^ ]*", "RUN"),
    (r"<[fiu][0-9]|\|[ui]1", "TYPE"),
    (r"\[[0-9, ]*\]", "SHAPE"),
    (r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_:.-]+){2,}", "SOURCE"),
    (r"\bS?[0-9]+(?:\.[0-9]+)?(?:, [0-9]+)*", "N"),
)
_OF_PLACE = ((r"[0-9]+", "#"),)


def message_template(message: str) -> str:
    """The message with placeholders for its numbers and names."""
    return _replaced(message, _OF_MESSAGE)


def place_pattern(place: str) -> str:
    """The place without its numbers: the same for all modules of a detector."""
    return _replaced(place, _OF_PLACE)


def _replaced(text: str, steps: tuple[tuple[str, str], ...]) -> str:
    for regex, by in steps:
        text = re.sub(regex, by, text)
    return text


def _in_sql(column: str, steps: tuple[tuple[str, str], ...]) -> str:
    for regex, by in steps:
        quoted = (part.replace("'", "''") for part in (regex, by))
        column = "regexp_replace({}, '{}', '{}', 'g')".format(column, *quoted)
    return column


# Sorts findings by the column severity, the worst first.
RANK_SQL = f"position(severity IN '{''.join(SEVERITIES)}')"
TEMPLATE_SQL = _in_sql("message", _OF_MESSAGE)
PATTERN_SQL = _in_sql("coalesce(place, '')", _OF_PLACE)


_EVERY = f"""
CREATE OR REPLACE TEMP TABLE described AS
WITH every AS (
    SELECT *, false AS is_new FROM finding
    WHERE (origin = 'scan' OR NOT list_contains($ran::VARCHAR[], check_id))
    AND list_contains($checks::VARCHAR[], check_id)
    AND run_id IN (SELECT run_id FROM scope)
    UNION ALL
    SELECT * FROM recorded
),
pair AS (SELECT DISTINCT coalesce(run_id, 0) AS run_id, check_id FROM every),
covered AS ({LAST_COVERED}),
f AS (
    SELECT
        e.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle, e.origin, e.check_id,
        e.severity, e.name AS file, e.place, e.message,
        coalesce(e.path, concat_ws('/', r.directory, e.name)) AS path,
        e.first_seen, e.last_seen, e.resolved_at,
        CASE
            WHEN e.resolved_at IS NOT NULL THEN 'resolved'
            WHEN e.is_new OR coalesce(e.first_seen > c.moment, true) THEN 'new'
            ELSE 'open'
        END AS status
    FROM every AS e LEFT JOIN run AS r USING (run_id)
    LEFT JOIN covered AS c ON c.run_id = coalesce(e.run_id, 0) AND c.check_id = e.check_id
    WHERE e.resolved_at IS NULL
    OR coalesce(e.resolved_at > c.moment, e.resolved_at >= $at::TIMESTAMP)
)
SELECT f.*, ({WAIVED_SQL}) AS waived FROM f
"""

_ROWS = f"""
SELECT * FROM described
ORDER BY
    {RANK_SQL}, check_id, run_id NULLS LAST, file NULLS FIRST, place, message, path
"""

_SUMMARY = f"""
WITH condensed AS (
    SELECT
        severity, check_id, status = 'resolved' AS is_resolved, waived,
        {TEMPLATE_SQL} AS template, {PATTERN_SQL} AS pattern,
        count(*) AS findings, count(DISTINCT run_id) AS runs,
        count_if(status = 'new') AS new, min(first_seen) AS first_seen,
        arg_min(struct_pack(message, path, place), (run_id, file, place, message)) AS example
    FROM described GROUP BY ALL
)
SELECT
    severity, check_id, CASE WHEN is_resolved THEN 'resolved' ELSE 'open' END AS status,
    template AS message, pattern AS place, findings, runs, new, first_seen, waived,
    example.message AS example, example.path AS example_path, example.place AS example_place
FROM condensed
ORDER BY
    is_resolved, waived IS NOT NULL, {RANK_SQL}, check_id, findings DESC, place,
    template
"""

_COUNTS = """
SELECT severity, status, waived IS NOT NULL, count(*) FROM described GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong, and what was until lately."""

    table: Table = field(repr=False)
    """A row per finding: the columns of the view ``findings``, ``status`` (``new``, ``open`` or
    ``resolved``) and ``waived`` (the reason, or NULL)."""
    summary: Table = field(repr=False)
    """A row per check, template of the message, pattern of the place, and whether it is resolved or
    waived."""
    counts: dict[tuple[str, str, bool], int]
    """Findings by severity, status, and whether they are waived."""

    def count(self, severity: str, *, with_waived: bool = False, new: bool = False) -> int:
        """Number of present findings of a severity, or only of new ones."""
        statuses = ("new",) if new else ("new", "open")
        return sum(
            n
            for (of, status, waived), n in self.counts.items()
            if of == severity and status in statuses and (with_waived or not waived)
        )

    @property
    def n_waived(self) -> int:
        """Number of present findings that are waived."""
        return sum(n for (_, s, waived), n in self.counts.items() if waived and s != "resolved")

    @property
    def n_new(self) -> int:
        """Number of findings that were not there before."""
        return sum(n for (_, status, _), n in self.counts.items() if status == "new")

    @property
    def n_resolved(self) -> int:
        """Number of findings that were there before, and are gone."""
        return sum(n for (_, status, _), n in self.counts.items() if status == "resolved")

    def select(self, *, new: bool = False, resolved: bool = False) -> Table:
        """The rows of present findings; or those of new ones, of resolved ones, or of both."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = [s for s, is_wanted in (("new", new), ("resolved", resolved)) if is_wanted]
        status = pa.array(wanted or ["new", "open"], pa.string())
        return self.table.filter(pc.is_in(self.table.column("status"), status))

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a DataFrame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame


def describe_findings(
    cursor: Cursor,
    recorded: Table,
    *,
    checks: Sequence[str],
    ran: Sequence[str],
    at: datetime,
    waivers: Table,
) -> Findings:
    """What scans, this audit and earlier ones found in the runs of ``scope``.

    ``checks`` are those asked for; ``recorded`` are the findings of the checks that ``ran`` this
    time, all others are in the catalog. What is new or gone since the last audit that ``cover`` put
    into the tables is so by its status.
    """
    values: dict[str, Any] = {"checks": list(checks), "ran": list(ran), "at": at}
    cursor.register("recorded", recorded)
    cursor.register("waiver", waivers)
    execute(cursor, _EVERY, values)
    cursor.unregister("recorded")
    cursor.unregister("waiver")
    counts = {(sev, status, waived): n for sev, status, waived, n in execute(cursor, _COUNTS)}
    return Findings(fetch(cursor, _ROWS), fetch(cursor, _SUMMARY), counts)
