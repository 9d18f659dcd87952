"""The verdict on each instrument: how its runs are, whether that gets better, what to do first.

``verdicts`` makes one of what ``findings`` has collected: runs with errors and warnings, those at
the time of each of the latest audits, what came and went since the last one, the worst problems
with a run as an example, the share of raw runs that are calibrated, and the growth of the volume.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..audit.findings import RANK_SQL
from ..model.names import number_ranges
from ..questions.execute import fetch
from ..questions.filters import RunFilter
from ..questions.inventory import growth, inventory
from ..store.connections import Cursor
from ..store.store import Store

Row = dict[str, Any]
_PROBLEMS = 3  # of an instrument: what one can do first
_AUDITS = 12  # of the trend: of a quarter, where audits are weekly
_MONTHS = 36  # of the growth

# The worst checks of each instrument; what is for information only is no problem.
_WORST = f"""
WITH counted AS (
    SELECT
        r.instrument, f.check_id, arg_min(f.severity, {RANK_SQL}) AS severity,
        count(*) AS findings, count_if(f.is_new) AS new, count(DISTINCT f.run_id) AS runs,
        min(f.run_id) AS run_id
    FROM open_finding AS f JOIN run AS r USING (run_id)
    WHERE f.waived IS NULL AND f.severity <> 'I' GROUP BY r.instrument, f.check_id
)
SELECT * FROM counted
QUALIFY row_number() OVER (
    PARTITION BY instrument ORDER BY {RANK_SQL}, runs DESC, findings DESC, check_id
) <= $limit
ORDER BY instrument, {RANK_SQL}, runs DESC, findings DESC, check_id
"""

_CHANGES = """
SELECT
    r.instrument, count_if(f.is_new AND NOT f.is_gone) AS new, count_if(f.is_gone) AS gone
FROM reported AS f JOIN run AS r USING (run_id)
WHERE f.waived IS NULL AND f.severity <> 'I' GROUP BY r.instrument
"""

# Runs with errors, as each of the latest audits left them.
_TREND = """
WITH moment AS (
    SELECT started_at AS at FROM audit ORDER BY started_at DESC LIMIT $audits
)
SELECT m.at, h.instrument, count(DISTINCT h.run_id) AS runs
FROM moment AS m LEFT JOIN error_history AS h
    ON h.first_seen <= m.at AND (h.resolved_at IS NULL OR h.resolved_at > m.at)
GROUP BY ALL ORDER BY 1
"""


def verdicts(
    store: Store, cursor: Cursor, instruments: Sequence[Row], calibration: Iterable[Row],
    where: RunFilter,
) -> list[Row]:  # fmt: skip
    """A verdict on each of the instruments, which are rows of ``findings.INSTRUMENTS``.

    ``calibration`` are the rows of ``calibration_of_proposals``. The example of a problem is the
    ``run_id`` of one of its runs.
    """
    worst = _by_instrument(_rows(cursor, _WORST, limit=_PROBLEMS))
    changes = {row["instrument"]: row for row in _rows(cursor, _CHANGES)}
    trend = _rows(cursor, _TREND, audits=_AUDITS)
    moments = list(dict.fromkeys(row["at"] for row in trend))
    counts = {(row["at"], row["instrument"]): row["runs"] for row in trend}
    volumes = _by_instrument(growth(store, "month", ["instrument"], where).table.to_pylist())
    calibrated = _by_instrument(calibration)
    found = []
    for row in instruments:
        name = row["instrument"]
        change = changes.get(name, {})
        months = volumes.get(name, [])[-_MONTHS:]
        found.append(
            {
                "instrument": name,
                "state": "E" if row["with_errors"] else "W" if row["with_warnings"] else "",
                "new": change.get("new", 0),
                "gone": change.get("gone", 0),
                "trend": [[at, counts.get((at, name), 0)] for at in moments],
                "problems": [_without(problem, "instrument") for problem in worst.get(name, ())],
                "raw_runs": sum(c["raw_runs"] for c in calibrated.get(name, ())),
                "calibrated": sum(c["calibrated"] for c in calibrated.get(name, ())),
                "growth": [
                    [f"{m['period']:%Y-%m}", m["bytes"], m["total_bytes"]]
                    for m in months
                    if m["period"] is not None
                ],
            }
        )
    return found


def calibration_of_proposals(store: Store, where: RunFilter) -> list[Row]:
    """Raw runs of each proposal, how many are calibrated, and the numbers of the others as text."""
    rows = inventory(store, "uncalibrated", where).table.to_pylist()
    return [row | {"runs_without": number_ranges(row["runs_without"])} for row in rows]


def _rows(cursor: Cursor, sql: str, **values: Any) -> list[Row]:
    found: list[Row] = fetch(cursor, sql, values).to_pylist()
    return found


def _by_instrument(rows: Iterable[Row]) -> Mapping[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["instrument"]].append(row)
    return found


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}
