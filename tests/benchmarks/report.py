"""How is what was measured shown? As a table, as JSON, and in docs/performance.md."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .measure import Outcome

__all__ = ["as_json", "as_table", "marked", "put_between", "put_into_page"]

BEGIN = "<!-- begin: written by make bench -->"
END = "<!-- end: written by make bench -->"
LIBRARIES = ("xfelcat", "EXtra-data", "h5py", "duckdb", "numpy", "pandas")
HEAD = ("What", "Run", "Other", "Theirs", "Ours", "Ratio", "of CPU", "To reach", "")


def machine() -> dict[str, str]:
    """What was measured on, and with what."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def seconds(value: float) -> str:
    """A time, with three digits that count."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size or unit == "µs":
            return f"{value / size:#.3g}".rstrip(".") + f" {unit}"
    raise AssertionError


def _target(outcome: Outcome) -> str:
    row = outcome.row
    told = [f"{row.ratio:g}x"] if row.ratio else []
    return ", ".join([*told, seconds(row.seconds)] if row.seconds else told)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    row, ratio = outcome.row, outcome.ratio
    reached = "reached" if outcome.is_reached else "not reached"
    return (
        row.title,
        ", ".join(row.runs),
        row.theirs.name if row.theirs else "",
        seconds(statistics.median(outcome.theirs)) if outcome.theirs else "",
        seconds(statistics.median(outcome.ours)) if outcome.ours else "",
        *(f"{r:.3g}x" if r is not None else "" for r in (ratio, outcome.cpu_ratio)),
        _target(outcome),
        "DIFFERENT" if outcome.differs else reached,
    )


def as_table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, which can be read as it is; times are medians."""
    table = [HEAD, *map(_cells, outcomes)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, tuple("-" * max(w, 1) for w in widths))
    padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that was measured, every single time among it."""
    return {
        "machine": machine(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [
            {
                "title": o.row.title,
                "runs": o.row.runs,
                "other": o.row.theirs and o.row.theirs.name,
                "theirs": o.theirs,
                "ours": o.ours,
                "theirs CPU": o.theirs_cpu,
                "ours CPU": o.ours_cpu,
                "ratio": o.ratio,
                "ratio to reach": o.row.ratio,
                "seconds to reach": o.row.seconds,
                "reached": o.is_reached,
                "differs": o.differs,
            }
            for o in outcomes
        ],
    }


def put_into_page(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Replace what stands between the two marks of a page by the machine and the table."""
    put_between(page, BEGIN, END, f"{marked()}\n\n{as_table(outcomes)}")


def marked() -> str:
    """When and on what was measured."""
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    return f"Measured {datetime.now(UTC):%Y-%m-%d}: {facts}."


def put_between(page: Path, begin: str, end: str, content: str) -> None:
    """Replace what stands between two marks of a page."""
    text = page.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page} lacks the lines {begin!r} and {end!r}")
    before, _, rest = text.partition(begin)
    page.write_text(f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}")
