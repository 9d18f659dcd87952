"""Outline of a file: what opening a run needs, from METADATA and the top of INDEX alone.

``read_outline`` reads

1. the entries of METADATA, and the format version;
2. the source list of every version, with index groups and legacy names;
3. the train IDs without padding, the suspect ones, and their times.
"""

import math
import posixpath
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hdf5.interface import (
    READ_ERRORS,
    Group,
    first_value,
    is_simple,
    read_texts,
    reason_of,
)
from ..model.errors import FileStructureError
from ..model.names import LEGACY_VERSION
from ..model.records import EMPTY_LAYOUT, NO_TRAINS, FileLayout, SourceRecord
from ..model.runlength import Int64s, TrainList, UInt64s
from .checks import Fault, check_times, check_top_level, check_trains, check_version

_SOURCE_LISTS = ("dataSourceId", "deviceId", "root", "dataSources", "auxiliarySources")
_TIME_SERVERS = ("karabo_timeserver", "karabo_timerserver")


@dataclass(frozen=True, slots=True)
class Outline:
    """What ``read_outline`` found. ``usable``: there are both trains and a source list."""

    format_version: str
    metadata: dict[str, str | int]
    trains: TrainList
    timestamps: UInt64s | None
    layout: FileLayout
    faults: tuple[Fault, ...]
    usable: bool


def read_outline(root: Group, known: FileLayout | None = None) -> Outline:
    """Read the outline of an open file; never raises for what the file lacks.

    ``known`` is the layout of a file of the same aggregator. If this one lists the same sources, it
    is taken for its own, and not looked at one by one.
    """
    faults: list[Fault] = []
    metadata: dict[str, str | int] = {}
    version, layout, has_sources = "", EMPTY_LAYOUT, False
    trains, timestamps, has_trains = NO_TRAINS, None, False
    try:
        metadata, version = read_metadata(root, faults)
        layout, has_sources = read_sources(root, faults, known)
    except READ_ERRORS as e:
        faults.append(Fault("F02", f"METADATA cannot be read: {reason_of(e)}", "METADATA"))
    try:
        trains, timestamps = read_trains(root, version, faults)
        has_trains = True
    except FileStructureError as e:
        faults.append(Fault("F03", e.reason, "INDEX/trainId"))
    except READ_ERRORS as e:
        faults.append(Fault("F02", f"INDEX cannot be read: {reason_of(e)}", "INDEX"))
    usable = has_sources and has_trains
    return Outline(version, metadata, trains, timestamps, layout, tuple(faults), usable)


def read_metadata(root: Group, faults: list[Fault]) -> tuple[dict[str, str | int], str]:
    """The entries of METADATA, and the format version; '0.5' where none is recorded."""
    group = root.group("METADATA")
    entries: dict[str, str | int] = {}
    for name in group.names() if group is not None else ():
        if name in _SOURCE_LISTS:
            continue
        try:
            dataset = group.dataset(name)  # type: ignore[union-attr]
            value = first_value(dataset) if dataset is not None and is_simple(dataset) else None
        except READ_ERRORS as e:
            faults.append(Fault("F02", f"cannot be read: {reason_of(e)}", f"METADATA/{name}"))
            continue
        if isinstance(value, str):
            entries[name] = value
        elif isinstance(value, np.generic):
            entries[name] = int(value) if isinstance(value, np.integer) else str(value)
    recorded = "dataFormatVersion" in entries
    version = str(entries.setdefault("dataFormatVersion", LEGACY_VERSION))
    faults.extend(check_version(version, recorded))
    return entries, version


def split_source(row: str) -> tuple[str, str, str]:
    """Section, source and index group of a row of the source list.

    ``INSTRUMENT/dev:chan/group`` ends in its index group; ``CONTROL/dev`` has none. An auxiliary
    or colonless source takes what follows its last slash for the group.
    """
    section, _, rest = row.partition("/")
    if section == "CONTROL":
        return section, rest, ""
    device, colon, channel = rest.partition(":")
    if colon:
        channel, _, group = channel.partition("/")
        return section, f"{device}:{channel}", group
    source, _, group = rest.rpartition("/")
    return section, source, group


def read_sources(
    root: Group, faults: list[Fault], known: FileLayout | None = None
) -> tuple[FileLayout, bool]:
    """The layout without schemas; False where the file has no source list.

    ``known``: as for ``read_outline``.
    """
    rows = _source_rows(root)
    if rows is None:
        faults.append(Fault("F03", "no source list in METADATA", "METADATA"))
        return EMPTY_LAYOUT, False
    groups: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        section, source, group = split_source(row)
        if section not in ("CONTROL", "INSTRUMENT"):
            if row.casefold().strip("/") not in _TIME_SERVERS:
                faults.append(Fault("F07", f"unknown section in the source list: {row!r}", row))
        elif source:
            groups.setdefault((section, source), set()).add(group)
    for section, row in _auxiliary_rows(root, faults):
        stated, source, group = split_source(row)
        if stated != section or not source:
            faults.append(Fault("F07", f"{row!r} is listed as a source of {section}", row))
        else:
            groups.setdefault((section, source), set()).add(group)
    top = root.names()
    faults.extend(check_top_level(top, {section for section, _ in groups}))
    if known is not None and _lists(known, groups):
        return known, True
    made = (_source_record(root, *key, groups, faults) for key in sorted(groups))
    sources = tuple(s for s in made if s is not None)
    return FileLayout(sources, (None,) * len(sources)), True


def _lists(layout: FileLayout, groups: dict[tuple[str, str], set[str]]) -> bool:
    """Whether a layout is that of a file that lists these sources and index groups."""
    return layout.position.keys() == groups.keys() and all(
        source.legacy_of or groups[source.section, source.name] == {*source.groups}
        for source in layout.sources
    )


def _source_rows(root: Group) -> list[str] | None:
    """The rows ``SECTION/source[/group]`` of the main source list, without padding."""
    for place in ("METADATA/dataSources", "METADATA"):
        listed = root.dataset(f"{place}/dataSourceId")
        if listed is not None and is_simple(listed):
            return [row for row in read_texts(listed) if row]
    for place in ("METADATA/dataSources", "METADATA"):
        roots, devices = (root.dataset(f"{place}/{n}") for n in ("root", "deviceId"))
        if roots is not None and devices is not None:
            pairs = zip(read_texts(roots), read_texts(devices), strict=False)
            return [f"{root}/{device}" for root, device in pairs if device]
    return None


def _auxiliary_rows(root: Group, faults: list[Fault]) -> Iterator[tuple[str, str]]:
    """(section, row) of the auxiliary source lists; those that cannot be read are faults."""
    place = "METADATA/auxiliarySources"
    try:
        group = root.group(place)
        names = () if group is None else group.names()
    except READ_ERRORS as e:
        faults.append(Fault("F02", f"cannot be read: {reason_of(e)}", place))
        return
    for name in names:
        try:
            listed = group.dataset(name)  # type: ignore[union-attr]
            rows = [] if listed is None else read_texts(listed)
        except READ_ERRORS as e:
            faults.append(Fault("F02", f"cannot be read: {reason_of(e)}", f"{place}/{name}"))
            continue
        yield from ((name, row) for row in rows if row)


def _source_record(
    root: Group,
    section: str,
    source: str,
    groups: dict[tuple[str, str], set[str]],
    faults: list[Fault],
) -> SourceRecord | None:
    """The record of a listed source; None for a legacy name that leads nowhere."""
    place = f"{section}/{source}"
    found = tuple(sorted(groups[section, source]))
    if section == "CONTROL":
        run_only = False
        try:
            group = root.group(place)
            if group is None or group.is_empty():
                in_run = root.group(f"RUN/{source}")
                run_only = in_run is not None and not in_run.is_empty()
        except READ_ERRORS as e:
            faults.append(Fault("F02", f"cannot be read: {reason_of(e)}", place))
        return SourceRecord(section, source, ("",), run_only=run_only)
    kind, target = root.link(place)
    if kind == "soft":
        target = posixpath.normpath(posixpath.join("/", posixpath.dirname(place), target))
        if root.group(place) is None:
            message = f"old name {source!r} of a source that is not there: {target}"
            faults.append(Fault("P03", message, place))
            return None
        name = target.removeprefix(f"/{section}/")
        if (section, name) in groups:
            return SourceRecord(section, source, legacy_of=name)
    return SourceRecord(section, source, found)


def read_train_ids(root: Group) -> tuple[UInt64s, Int64s]:
    """The train IDs of a file, and the rows of INDEX between them that hold none.

    Raises FileStructureError where there is no usable INDEX/trainId.
    """
    raw = _index_array(root, "trainId")
    if raw is None:
        raise FileStructureError("", "INDEX/trainId is missing")
    if raw.ndim != 1 or raw.dtype.kind not in "ui":
        raise FileStructureError("", "INDEX/trainId is no list of numbers")
    raw = raw.astype(np.uint64)
    set_rows = np.flatnonzero(raw)
    n = int(set_rows[-1]) + 1 if set_rows.size else 0
    return raw[set_rows], np.flatnonzero(raw[:n] == 0)


def read_trains(root: Group, version: str, faults: list[Fault]) -> tuple[TrainList, UInt64s | None]:
    """The trains of a file, and their times if it has them.

    Raises FileStructureError where there is no usable INDEX/trainId.
    """
    ids, dropped = read_train_ids(root)
    n = ids.size + dropped.size
    set_rows = np.delete(np.arange(n), dropped)
    flag = _index_array(root, "flag")
    if flag is not None and (flag.ndim != 1 or flag.size < n or flag.dtype.kind not in "iub"):
        faults.append(Fault("I02", f"{flag.size} flags for {n} trains", "INDEX/flag"))
        flag = None
    if flag is None:
        suspect = guess_suspects(ids)
    else:  # in 1.1 the flag was an index: 0 for the time server, else who was wrong
        flag = flag[set_rows]
        suspect = np.flatnonzero(flag != 0 if version == "1.1" else flag == 0)
    good = np.ones(ids.size, bool)
    good[suspect] = False
    found = list(check_trains(ids, dropped, good))
    faults.extend(f._replace(message=f.message + _sender(root, ids, set_rows, f)) for f in found)
    timestamps = _index_array(root, "timestamp")
    if timestamps is not None:
        if timestamps.ndim != 1 or timestamps.size < n or timestamps.dtype.kind not in "ui":
            message = f"{timestamps.size} timestamps for {n} trains"
            faults.append(Fault("T05", message, "INDEX/timestamp"))
            timestamps = None
        else:
            timestamps = timestamps[set_rows].astype(np.uint64)
            if not any(f.check in ("T02", "T03") for f in found):  # else no time can fit
                faults.extend(check_times(ids[good], timestamps[good]))
    return TrainList.from_ids(ids, suspect, dropped), timestamps


def _index_array(root: Group, name: str) -> NDArray[Any] | None:
    dataset = root.dataset(f"INDEX/{name}")
    return None if dataset is None else dataset.read()


def guess_suspects(ids: UInt64s) -> Int64s:
    """Positions to leave out, as few as possible, so that the rest strictly increases.

    Of several smallest sets, one that keeps the trains written earlier.
    """
    if ids.size < 2 or (ids[1:] > ids[:-1]).all():
        return np.empty(0, np.int64)
    # Patience sorting: level k holds the positions at which the longest increasing sequence that
    # ends there has length k + 1. Within a level the IDs never increase.
    tails: list[int] = []
    levels: list[list[int]] = []
    values = ids.tolist()
    for position, train_id in enumerate(values):
        level = bisect_left(tails, train_id)
        if level == len(tails):
            tails.append(train_id)
            levels.append([])
        tails[level] = train_id
        levels[level].append(position)
    suspect = np.ones(ids.size, bool)
    bound = math.inf
    for positions in reversed(levels):
        kept = next(p for p in positions if values[p] < bound)
        suspect[kept] = False
        bound = values[kept]
    return np.flatnonzero(suspect)


def _sender(root: Group, ids: UInt64s, set_rows: NDArray[np.intp], fault: Fault) -> str:
    """For trains out of order: who sent the first offending ID, by INDEX/origin."""
    if fault.check != "T02":
        return ""
    origin, rows = _index_array(root, "origin"), _source_rows(root)
    back = np.flatnonzero(ids[1:] <= ids[:-1])
    if origin is None or rows is None or not back.size:
        return ""
    row = int(set_rows[back[0] + 1])
    sender = int(origin[row]) if row < origin.size else -1
    if sender < 0:
        return " (sent by the time server)"
    return f" (sent by {rows[sender]})" if sender < len(rows) else ""
