"""Checks of one file that need its structure alone.

Pure functions: each takes what was read and yields ``Fault``s, so that a check can be added or
tested without a file. The IDs are those of ``model.checks``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.checks import CHECKS, Severity
from ..model.identity import FileName
from ..model.names import FORMAT_VERSIONS
from ..model.records import KeyRecord, KeySchema, Problem, SourceRecord
from ..model.runlength import IndexPattern, Int64s, UInt64s

KNOWN_GROUPS = ("CONTROL", "INDEX", "INSTRUMENT", "METADATA", "RUN", "REDUCTION", "ERRATA")
_MAX_JUMP = 10**8  # trains, 116 days at 10 Hz: longer than any run
_TRAIN_NS = 10**8
# The clock that stamps trains may run a little fast or slow, and stamps come a little late.
_STEP_TOLERANCE_NS, _DRIFT_TOLERANCE = _TRAIN_NS // 2, 0.01


class Fault(NamedTuple):
    """Something wrong inside a file; without a severity of its own, it has that of the check."""

    check: str
    message: str
    where: str = ""
    severity: Severity | None = None


def as_problems(path: str, faults: Iterable[Fault]) -> tuple[Problem, ...]:
    """Faults as problems of the file at ``path``, each once, in the order found."""
    made = (
        Problem(f.check, f.severity or CHECKS[f.check].severity, f.message, path, f.where)
        for f in faults
    )
    return tuple(dict.fromkeys(made))


def check_version(version: str, recorded: bool) -> Iterator[Fault]:
    """F04: no format version recorded, or an unknown one."""
    if not recorded:
        yield Fault("F04", "no format version recorded: 0.5 or older", "METADATA/dataFormatVersion")
    elif version not in FORMAT_VERSIONS:
        yield Fault("F04", f"unknown format version {version!r}", "METADATA/dataFormatVersion")


def check_identity(
    name: FileName | None, proposal: int, run: int, metadata: Mapping[str, str | int]
) -> Iterator[Fault]:
    """F05: METADATA against file name and path (``proposal`` and ``run``, -1 where it has none)."""
    expected = {
        "proposalNumber": [("path", proposal)],
        "runNumber": [("path", run), ("file name", name.run if name else -1)],
        "sequenceNumber": [("file name", name.sequence if name else -1)],
    }
    for entry, others in expected.items():
        recorded = metadata.get(entry)
        if not isinstance(recorded, int):
            continue
        for source, number in others:
            if number not in (-1, recorded):
                message = f"{entry} is {recorded}, but {number} by the {source}"
                yield Fault("F05", message, f"METADATA/{entry}")
    if name and -1 not in (name.run, run) and name.run != run:
        yield Fault("F05", f"run {name.run} by the file name, but {run} by the path")


def check_top_level(groups: Iterable[str], sections: Iterable[str]) -> Iterator[Fault]:
    """F08: top-level groups that neither the format nor the source list knows."""
    known = {*KNOWN_GROUPS, *sections}
    for group in sorted(groups):
        if group not in known:
            yield Fault("F08", f"unknown top-level group {group!r}", group)


def check_trains(ids: UInt64s, dropped: Int64s, good: NDArray[np.bool_]) -> Iterator[Fault]:
    """T01, T02, T03 of the IDs (n,) without inner zeros; only ``good`` ones should increase."""
    where = "INDEX/trainId"
    if dropped.size:
        message = f"{dropped.size} zeros inside the train IDs, the first in row {dropped[0]}"
        yield Fault("T01", message, where)
    bad = ids >= np.uint64(1 << 63)
    if bad.any():
        message = f"{bad.sum()} implausible train IDs, such as {ids[bad][0]}"
        yield Fault("T03", message, where)
    sane = ids[good & ~bad].astype(np.int64)
    step = np.diff(sane)
    if (jumps := np.flatnonzero(step > _MAX_JUMP)).size:
        a, b = sane[jumps[0]], sane[jumps[0] + 1]
        yield Fault("T03", f"the train ID jumps from {a} to {b}", where)
    if (back := np.flatnonzero(step <= 0)).size:
        a, b = sane[back[0]], sane[back[0] + 1]
        message = f"train IDs do not increase in {back.size} places: {b} follows {a}"
        yield Fault("T02", message, where)
    elif np.unique(ids).size < ids.size:
        values, n = np.unique(ids, return_counts=True)
        yield Fault("T02", f"train {values[n > 1][0]} is {n.max()} times in the file", where)


def check_times(ids: UInt64s, times: UInt64s) -> Iterator[Fault]:
    """T05: the times (n,) in ns of trains (n,) that increase, against 100 ms per train."""
    where = "INDEX/timestamp"
    if ids.size < 2:
        return
    span = np.diff(ids.astype(np.int64)).astype(np.float64) * _TRAIN_NS
    lasted = np.diff(times.astype(np.int64)).astype(np.float64)
    off = np.abs(lasted - span) > _STEP_TOLERANCE_NS + _DRIFT_TOLERANCE * span
    if off.any():
        at = int(np.flatnonzero(off)[0])
        message = (
            f"times do not fit the train IDs in {off.sum()} places: {lasted[at] / 1e9:g} s "
            f"from train {ids[at]} to {ids[at + 1]}"
        )
        yield Fault("T05", message, where)
    elif abs(lasted.sum() - span.sum()) > _STEP_TOLERANCE_NS + _DRIFT_TOLERANCE * span.sum():
        message = f"trains are {lasted.sum() / span.sum() * 100:.4g} ms apart, not 100"
        yield Fault("T05", message, where)


def check_index(pattern: IndexPattern, section: str, where: str) -> Iterator[Fault]:
    """I03, I04: an index by itself."""
    has_rows = pattern.counts > 0
    if pattern.offsets[has_rows].any():
        yield Fault("I03", "rows of the index leave gaps, overlap or do not start at 0", where)
    if section != "CONTROL" or not len(pattern):
        return
    if (pattern.counts > 1).any():
        yield Fault("I04", f"{pattern.counts.max()} rows of control data for one train", where)
    if not has_rows.any():
        yield Fault("I04", "no control data for any train", where, "W")
    elif not has_rows.all():
        missing = len(pattern) - pattern.n_trains_with_rows
        yield Fault("I04", f"no control data for {missing} of {len(pattern)} trains", where, "W")


def check_rows(pattern: IndexPattern, rows: Mapping[str, int], where: str) -> Iterator[Fault]:
    """I01, I05, I06: an index against the lengths of the datasets it names, by key."""
    if not rows:
        return
    shortest = min(rows, key=lambda k: rows[k])
    longest = max(rows.values())
    if rows[shortest] != longest:
        message = f"keys differ in length: {shortest!r} has {rows[shortest]} rows of {longest}"
        yield Fault("I06", message, where)
    has_rows = pattern.counts > 0
    ends = (np.cumsum(pattern.lengths * pattern.counts) + pattern.offsets)[has_rows]
    needed = int(ends.max()) if ends.size else 0
    if needed and not rows[shortest]:
        yield Fault("I05", f"the index names {needed} rows, but {shortest!r} is empty", where)
    elif needed > rows[shortest]:
        message = f"the index names {needed} rows, but {shortest!r} has {rows[shortest]}"
        yield Fault("I01", message, where)
    elif not needed and len(pattern) and longest:
        yield Fault("I05", f"the index names no rows, but there are {longest}", where)


def check_keys(
    source: SourceRecord, schema: KeySchema, has_group: bool, where: str
) -> Iterator[Fault]:
    """I07, I08: the groups of the source list against the keys of the file."""
    if schema.keys:
        for group in sorted({*source.groups} - {*schema.groups}):
            yield Fault("I07", "listed index group without data", f"{where}/{group}".rstrip("/"))
    elif has_group:
        yield Fault("I08", "source without keys", where)
    else:
        yield Fault("I07", "listed source without data", where)


def compare_keys(
    old: Mapping[str, KeyRecord], new: Mapping[str, KeyRecord], where: str
) -> Iterator[Fault]:
    """R07: keys of a source that came, went or changed type or shape since the earlier file."""
    for change, names in (("came", new.keys() - old.keys()), ("went", old.keys() - new.keys())):
        if names:
            message = f"{len(names)} keys {change} since the first sequence, such as {min(names)!r}"
            yield Fault("R07", message, where)
    for name in sorted(old.keys() & new.keys()):
        a, b = old[name], new[name]
        if (a.dtype, a.entry_shape) != (b.dtype, b.entry_shape):
            message = (
                f"{name!r} is {b.dtype} {list(b.entry_shape)}, "
                f"but {a.dtype} {list(a.entry_shape)} in the first sequence"
            )
            yield Fault("R07", message, where)
