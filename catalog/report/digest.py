"""The report as Markdown, short enough for a mail: the verdicts, what is new, what to do first.

Names and messages come from files of unknown origin, so they stand in code spans, in which nothing
has a meaning.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..model.checks import CHECKS, severity_rank
from .content import Content

Row = dict[str, Any]
_PROBLEMS = 5  # of all instruments, besides those of each
_UNCALIBRATED = 12  # proposals
_STATES = {"E": "🔴 errors", "W": "🟠 warnings", "": "🟢 fine"}


def digest(content: Content) -> str:
    """What ``gather`` gave, as Markdown that ends with a line break."""
    return "\n".join(_lines(content)) + "\n"


def _lines(content: Content) -> Iterator[str]:
    about, verdicts = content["about"], content["verdicts"]
    instruments = {row["instrument"]: row for row in _rows(content["instruments"])}
    bad = sum(v["state"] == "E" for v in verdicts)
    of_n = f"{len(verdicts)} instrument{'s' * (len(verdicts) != 1)}"
    yield f"# State of the data: errors at {bad} of {of_n}"
    yield ""
    scope = f", only {_code('; '.join(about['scope']))}" if about["scope"] else ""
    yield f"{about['runs_searched']} runs as of {about['made']:%Y-%m-%d %H:%M} UTC{scope}."
    if not verdicts:
        return
    yield from ("", "| Instrument | State | Runs with errors | Before | Raw runs calibrated |")
    yield "|---|---|---|---|---|"
    for verdict in verdicts:
        row = instruments[verdict["instrument"]]
        before = verdict["trend"][-2][1] if len(verdict["trend"]) > 1 else "–"
        errors = f"{row['with_errors']} of {row['runs']}"
        calibrated = f"{verdict['calibrated']} of {verdict['raw_runs']}"
        name = _name(verdict["instrument"])
        yield f"| {name} | {_STATES[verdict['state']]} | {errors} | {before} | {calibrated} |"
    yield from _problems(verdicts)
    yield from _changes(content)
    yield from _uncalibrated(content)


def _problems(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("", "## What to do first", "")
    by_check: dict[tuple[str, str], list[tuple[Row, str | None]]] = defaultdict(list)
    for verdict in verdicts:
        for problem in verdict["problems"]:
            key = problem["severity"], problem["check_id"]
            by_check[key].append((problem, verdict["instrument"]))

    def rank(key: tuple[str, str]) -> tuple[int, int]:
        return severity_rank(key[0]), -sum(p["runs"] for p, _ in by_check[key])

    for key in sorted(by_check, key=rank)[:_PROBLEMS]:
        problems = by_check[key]
        runs, new = (sum(p[name] for p, _ in problems) for name in ("runs", "new"))
        where = ", ".join(_name(instrument) for _, instrument in problems)
        check = CHECKS.get(key[1])
        yield (
            f"1. **{_title(key[1])}**: {runs} run{'s' * (runs != 1)} of {where}"
            f"{f', {new} new findings' if new else ''}, such as {_code(problems[0][0]['run'])}."
            f" {check.remedy if check else ''}".rstrip()
        )
    if not by_check:
        yield "Nothing."


def _title(check: str) -> str:
    title = CHECKS[check].title if check in CHECKS else check
    return title[0].upper() + title[1:]


def _changes(content: Content) -> Iterator[str]:
    """What came since the audit before; what went is a number."""
    if len(content["audits"]["rows"]) < 2:
        return
    fresh = [row for row in _rows(content["findings"]) if row["new"] and row["severity"] != "I"]
    if fresh or content["n_gone"]:
        yield from ("", "## Since the audit before", "")
    for row in fresh[:_PROBLEMS]:
        where = row["run"] or row["path"] or ""
        title = _title(row["check_id"])
        yield f"- {row['new']} new: {title}, such as {_code(where)}: {_code(row['message'])}"
    if len(fresh) > _PROBLEMS:
        yield f"- new findings of {len(fresh) - _PROBLEMS} kinds more"
    if content["n_gone"]:
        yield f"- {content['n_gone']} findings are gone"


def _uncalibrated(content: Content) -> Iterator[str]:
    lacking = [row for row in _rows(content["proposals"]) if row["runs_without"]]
    if not lacking:
        return
    yield from ("", "## Raw runs without calibrated data", "")
    for row in lacking[:_UNCALIBRATED]:
        n = f"{row['raw_runs'] - row['calibrated']} of {row['raw_runs']}"
        yield f"- p{row['proposal']:06d} ({_name(row['instrument'])}): {n}: {row['runs_without']}"
    if len(lacking) > _UNCALIBRATED:
        yield f"- and {len(lacking) - _UNCALIBRATED} proposals more"


def _rows(table: Mapping[str, Any]) -> list[Row]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def _name(instrument: str | None) -> str:
    return _code(instrument) if instrument else "runs outside a facility tree"


def _code(text: object) -> str:
    """A code span of one line; what would end it or a cell of a table is replaced."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return f"`{plain.replace('`', chr(39)).replace('|', '¦')}`"
