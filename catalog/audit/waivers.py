"""Waivers: findings that are known and accepted, in a YAML file that people can review.

The file is a list:

    - check: F05              # an ID, or its beginning: R
      proposal: 900021        # optional; several as a list
      runs: 100-110           # optional; a run, a range, or a list of them
      data_class: raw         # optional
      source: "*/GHOST/*"     # optional; a glob on the source or other place of the finding
      reason: copied from another proposal on purpose
      expires: 2027-01-31

``reason`` and ``expires`` are required. After that day a waiver does nothing but be reported.
``WAIVED_SQL`` finds the reason for a finding in ``waiver_table``.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..model.checks import choose_checks
from ..model.errors import ConfigError, QueryError
from ..questions.conditions import glob_to_regex
from ..questions.execute import Table
from ..questions.export import replacing_file
from ..questions.filters import RunFilter
from ..store.store import Store
from .run_checks import execute, rows_table

_KEYS = ("check", "proposal", "runs", "data_class", "source", "reason", "expires")
_REQUIRED = ("check", "reason", "expires")
# The place of a finding is a source, behind its section and before its index group or key.
_PLACE = "(?:[A-Z]+/)?(?:{})(?:/.*)?"

# Of a finding f with the columns of the view findings.
WAIVED_SQL = """
    SELECT min(w.reason) FROM waiver AS w
    WHERE w.check_id = f.check_id
    AND (w.proposal IS NULL OR w.proposal = f.proposal)
    AND (w.first_run IS NULL OR f.run BETWEEN w.first_run AND w.last_run)
    AND (w.data_class IS NULL OR w.data_class = f.data_class)
    AND (w.source IS NULL OR regexp_full_match(coalesce(f.place, ''), w.source))
"""


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry of the file: which findings, why, and for how long."""

    checks: tuple[str, ...]
    """IDs of the checks."""
    reason: str
    """Why the findings are accepted."""
    expires: date
    """The last day that it holds."""
    proposals: tuple[int, ...] = ()
    """Its proposals; empty for all."""
    runs: tuple[tuple[int, int], ...] = ()
    """First and last run numbers, both included; empty for all."""
    data_class: str | None = None
    """The data class; None for all."""
    source: str | None = None
    """A glob on the source or other place of a finding; None for all."""

    def is_expired(self, today: date) -> bool:
        """Whether the last day is over."""
        return self.expires < today

    def __str__(self) -> str:
        parts = [", ".join(self.checks) if len(self.checks) < 4 else f"{self.checks[0][0]}.."]
        parts += [f"p{p:06d}" for p in self.proposals]
        parts += [f"r{a:04d}" if a == b else f"r{a:04d}-r{b:04d}" for a, b in self.runs]
        parts += [x for x in (self.data_class, self.source) if x]
        return f"{' '.join(parts)}: {self.reason} (until {self.expires})"


def find_waivers(location: Path, named: str | os.PathLike[str] | None) -> tuple[Waiver, ...]:
    """The waivers in the file named, else in ``waivers.yml`` of the catalog if it is there."""
    own = location / "waivers.yml"
    if named is None and not own.exists():
        return ()
    return read_waivers(own if named is None else Path(named))


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """The waivers in a file, in its order.

    Raises ConfigError where the file cannot be read, or an entry is wrong.
    """
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is no YAML file: {reason}") from None
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: expected a list of waivers, each beginning with '- check:'")
    return tuple(_waiver(e, f"{path}, waiver {n}") for n, e in enumerate(entries, start=1))


def add_waiver(path: Path, given: Mapping[str, Any]) -> Waiver:
    """Append an entry to a file of waivers, made if it is missing; what it has stays as it is.

    Times and numbers may be texts. Raises ConfigError where the entry, or the file, is wrong.
    """
    import yaml

    entry = dict(given)
    try:
        entry["expires"] = date.fromisoformat(str(entry.get("expires", "")))
    except ValueError:
        raise ConfigError(f"{entry['expires']!r} is no day: write 2027-01-31") from None
    waiver = _waiver(entry, "this waiver")
    if waiver.is_expired(date.today()):
        raise ConfigError(f"{waiver.expires} is over: name a day to come")
    if path.exists():
        read_waivers(path)  # what is wrong there is reported first
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    before += "\n" * bool(before and not before.endswith("\n"))
    added = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
    try:
        n_after = len(yaml.safe_load(before + added))
    except yaml.YAMLError:
        n_after = 0
    if n_after != len(yaml.safe_load(before) or ()) + 1:
        raise ConfigError(
            f"{path} is no list of entries that begin with '- check:': add it by hand"
        )
    try:
        with replacing_file(path) as file:
            file.write((before + added).encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return waiver


def count_waived(store: Store, waiver: Waiver) -> int:
    """How many findings that are open in the catalog a waiver accepts."""
    with closing(store.open_merged().new_cursor()) as cursor:
        cursor.register("waiver", waiver_table([waiver], date.today()))
        of_open = f"FROM findings AS f WHERE resolved_at IS NULL AND ({WAIVED_SQL}) IS NOT NULL"
        ((n,),) = execute(cursor, f"SELECT count(*) {of_open}")
    return int(n)


def _waiver(entry: Any, where: str) -> Waiver:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected keys and values, such as 'check: F05'")
    unknown = [str(k) for k in entry if k not in _KEYS]
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]!r} is unknown; there are {', '.join(_KEYS)}")
    missing = [k for k in _REQUIRED if entry.get(k) in (None, "")]
    if missing:
        raise ConfigError(f"{where}: {missing[0]!r} is missing; every waiver needs one")
    if type(entry["expires"]) is not date:
        raise ConfigError(f"{where}: 'expires' is a day, such as 2027-01-31")
    try:
        several = entry["check"] if isinstance(entry["check"], list) else [entry["check"]]
        checks = choose_checks(map(str, several))
        runs = RunFilter.of(proposal=entry.get("proposal"), run=entry.get("runs"))
    except QueryError as error:
        raise ConfigError(f"{where}: {error}") from None
    texts = {k: None if entry.get(k) is None else str(entry[k]) for k in ("data_class", "source")}
    return Waiver(
        tuple(c.id for c in checks),
        str(entry["reason"]),
        entry["expires"],
        runs.proposals,
        runs.runs,
        **texts,
    )


def waiver_table(waivers: Iterable[Waiver], today: date) -> Table:
    """The waivers in force, as the table ``waiver`` that ``WAIVED_SQL`` asks.

    One row per check, proposal and range of runs; NULL where any will do.
    """
    import pyarrow as pa

    rows = [
        (check, proposal, first, last, w.data_class, glob and _PLACE.format(glob), w.reason)
        for w in waivers
        if not w.is_expired(today)
        for glob in [None if w.source is None else glob_to_regex(w.source)]
        for check in w.checks
        for proposal in w.proposals or (None,)
        for first, last in w.runs or ((None, None),)
    ]
    names = ("check_id", "proposal", "first_run", "last_run", "data_class", "source", "reason")
    kinds = (pa.string(), *[pa.int64()] * 3, *[pa.string()] * 3)
    return rows_table(rows, pa.schema(zip(names, kinds, strict=True)))
