"""How does what an audit found read on a terminal?

1. ``summary_lines``: by check, the worst first; similar findings are one line, with an example.
2. ``report_lines``: what was checked and recorded, what is waived, and the totals.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..catalog.checks.registry import CHECKS, SEVERITIES
from .progress import count

if TYPE_CHECKING:
    from ..catalog.audit.audit import AuditReport

__all__ = ["report_lines", "summary_lines"]

_LINES_PER_CHECK = 8
_SEVERITY_NAMES = {"E": "ERROR", "W": "WARNING", "I": "INFO"}


def summary_lines(
    report: "AuditReport", *, new: bool = False, resolved: bool = False
) -> Iterator[str]:
    """The findings that are there; or what is new, what is resolved, or both."""
    rows = report.findings.summary.to_pylist()
    if new or resolved:
        rows = [r for r in rows if (new and r["new"]) or (resolved and r["status"] == "resolved")]
    else:
        rows = [r for r in rows if r["status"] == "open"]

    def heading(row: dict[str, Any]) -> tuple[str, str, str, bool]:
        return row["severity"], row["check_id"], row["status"], row["waived"] is not None

    for (severity, check, status, is_waived), group in groupby(rows, heading):
        of_check = list(group)
        what = "".join((", waived" if is_waived else "", ", resolved" * (status == "resolved")))
        n = sum(r["findings"] for r in of_check)
        name = _SEVERITY_NAMES[severity]
        yield f"{name} {check} {CHECKS[check].title}: {count(n, 'finding')}{what}"
        for row in of_check[:_LINES_PER_CHECK]:
            yield from _lines_of(row)
        if len(of_check) > _LINES_PER_CHECK:
            left = of_check[_LINES_PER_CHECK:]
            more = sum(r["findings"] for r in left)
            yield f"  ... and {count(more, 'finding')} of {count(len(left), 'other kind')}"


def _lines_of(row: dict[str, Any]) -> Iterator[str]:
    place = f" [{row['example_place']}]" if row["example_place"] else ""
    example = f"{row['example_path'] or ''}{place}: {row['example']}"
    facts = f"since {row['first_seen']:%Y-%m-%d}"
    if row["new"]:
        facts += ", new" if row["new"] == row["findings"] else f", {row['new']} of them new"
    if row["waived"]:
        facts += f"; waived: {row['waived']}"
    if row["findings"] == 1:
        yield f"  {example} ({facts})"
        return
    pattern = f" [{row['place']}]" if row["place"] else ""
    runs = f" in {count(row['runs'], 'run')}" if row["runs"] else ""
    yield f"  {row['findings']} times{runs}, {facts}: {row['message']}{pattern}"
    yield f"    such as {example}"


def report_lines(report: "AuditReport") -> Iterator[str]:
    """Totals, and what the reader should know about the audit itself."""
    found = report.findings
    for waiver in report.expired:
        yield f"a waiver has expired: {waiver}"
    if report.not_recorded:
        yield f"this audit was not recorded: {report.not_recorded}"
    parts = [count(found.count(s), name) for s, name in SEVERITIES.items() if s != "I"]
    parts.append(f"{found.count('I')} for information")
    if found.n_waived:
        parts.append(f"{found.n_waived} waived")
    since = f" since {report.since:%Y-%m-%d %H:%M} UTC" if report.since else ""
    changes = f"{found.n_new} new, {found.n_resolved} resolved{since}"
    yield f"{', '.join(parts)}; {changes}"
    number = f"audit {report.number}: " if report.number is not None else ""
    what = f"{count(report.n_runs, 'run')}, {count(report.n_files, 'file')}"
    yield f"{number}{what}, {count(len(report.checks), 'check')}, {report.seconds:.1f} s"
