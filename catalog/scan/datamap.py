"""JSON data maps that EXtra-data caches beside a run.

A data map is a list with an object for each file: name, size, mtime, train IDs, suspect positions
and source names. Where size and mtime still hold, it saves reading the file to open the run; such a
file is known at depth NAMES. Maps are read, never written.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from ..model.facts import FileStat
from ..model.identity import aggregator_and_sequence, identify_run, proposal_directory
from ..model.records import Depth, FileLayout, FileRecord, Problem, SourceRecord, utc_now
from ..model.runlength import TrainList

_MAP_NAME = "karabo_data_map.json"
_TIME_RESOLUTION = 1e-6  # of a date as a float of seconds, with some room


_Stat = FileStat | FileRecord  # size in bytes, and mtime in ns since the epoch


def map_places(directory: str) -> list[str]:
    """The paths at which a data map of a run may lie, first the one in the run directory."""
    places = [os.path.join(directory, _MAP_NAME)]
    given = os.path.abspath(directory)
    for path in dict.fromkeys((given, os.path.realpath(given))):
        proposal, run = proposal_directory(path), identify_run(path, path)
        if proposal and not run.is_loose:
            name = f"{run.data_class.replace('/', '_')}_r{run.run:04d}.json"
            places.append(os.path.join(proposal, "scratch", ".karabo_data_maps", name))
    return list(dict.fromkeys(places))


def read_data_maps(
    directory: str, stats: Mapping[str, _Stat]
) -> tuple[dict[str, FileRecord], tuple[Problem, ...]]:
    """The entries of the data maps of a run that hold for the files as they are now.

    ``stats`` are size and mtime of the files on disk by name. Returns records of depth NAMES, by
    name, for those with an entry of the same size and mtime; and C03 for each map that cannot be
    read as one, and for entries that are damaged.
    """
    records: dict[str, FileRecord] = {}
    problems: list[Problem] = []
    for place, entries in _maps(directory, problems):
        read = _MapReader(stats, place, problems)
        for entry in entries:
            record = read(entry)
            if record is not None:
                records.setdefault(record.name, record)
    return records, tuple(dict.fromkeys(problems))


def check_data_maps(directory: str, files: Iterable[FileRecord]) -> tuple[Problem, ...]:
    """C03 where the data maps of a run do not agree with a scan of its files.

    A finding for each map and kind of disagreement, with an example: entries that cannot be used,
    of absent files, of another state of a file, and with other trains or sources than a file has.
    """
    problems: list[Problem] = []
    scanned = {f.name: f for f in files if not f.missing}
    for place, entries in _maps(directory, problems):
        disagreeing: dict[str, list[str]] = {}
        read = _MapReader(scanned, place, problems)
        for entry in entries:
            known = read(entry)
            if known is not None:
                name, reason = known.name, _disagreement(known, scanned[known.name])
            else:
                name, reason = _staleness(directory, entry, scanned)
            if reason:
                disagreeing.setdefault(reason, []).append(name)
        for reason, names in disagreeing.items():
            message = f"{len(names)} of {len(entries)} entries {reason}, such as {min(names)}"
            problems.append(_problem(place, message))
    return tuple(dict.fromkeys(problems))


def _disagreement(known: FileRecord, scanned: FileRecord) -> str:
    """In what a valid entry differs from its file; empty where it does not."""
    if scanned.depth < Depth.OUTLINE:
        return ""
    a, b = known.trains, scanned.trains
    if not (np.array_equal(a.ids, b.ids) and np.array_equal(a.suspect, b.suspect)):
        return "have other trains than the file"
    if _main_sources(known.layout) != _main_sources(scanned.layout):
        return "have other sources than the file"
    return ""


def _staleness(directory: str, entry: Any, stats: Mapping[str, _Stat]) -> tuple[str, str]:
    """The file of an entry that is not used, and whether the entry is of a past state of it."""
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        return "", ""
    size, mtime = entry.get("size"), entry.get("mtime")
    if name in stats:
        is_read = _is_number(size) and _is_number(mtime)
        stale = is_read and not _is_same(size, mtime, stats[name])
        return name, "have another size or time than the file" if stale else ""
    is_there = "\0" in name or os.path.lexists(os.path.join(directory, name))
    return name, "" if is_there else "are of files that are not there"


def _is_same(size: float, mtime: float, stat: _Stat) -> bool:
    return size == stat.size and abs(mtime - stat.mtime_ns / 1e9) <= _TIME_RESOLUTION


def _main_sources(layout: FileLayout) -> set[tuple[str, str, str]]:
    """What a map has of a layout: no auxiliary sections."""
    main = ("CONTROL", "INSTRUMENT")
    return {(s.section, s.name, s.legacy_of) for s in layout.sources if s.section in main}


def _maps(directory: str, problems: list[Problem]) -> Iterator[tuple[str, list[Any]]]:
    """The maps of a run that can be read as such: the place of each, and its entries."""
    for place in map_places(directory):
        try:
            with open(place, encoding="utf-8") as f:
                entries = json.load(f)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as e:
            problems.append(_problem(place, f"data map cannot be read: {e}"))
            continue
        if isinstance(entries, list):
            yield place, entries
        else:
            problems.append(_problem(place, "data map is no list of files"))


def _problem(place: str, message: str) -> Problem:
    return Problem("C03", "W", message, place)


@dataclass(slots=True)
class _MapReader:
    """Turns entries of one map into records; files with the same sources share their layout."""

    _stats: Mapping[str, _Stat]
    _place: str
    _problems: list[Problem]
    _layouts: dict[str, FileLayout] = field(default_factory=dict)
    _now: datetime = field(default_factory=utc_now)

    def __call__(self, entry: Any) -> FileRecord | None:
        """The record of a file; None where the entry is of another file or another state of it."""
        try:
            return self._record(entry)
        except (ValueError, TypeError, OverflowError) as e:
            self._problems.append(_problem(self._place, f"entry ignored: {e}"))
            return None

    def _record(self, entry: Any) -> FileRecord | None:
        if not isinstance(entry, dict):
            raise ValueError("no JSON object")
        name = _field(entry, "filename", lambda v: isinstance(v, str))
        stat = self._stats.get(name)
        if stat is None:
            return None
        size, mtime = _field(entry, "size", _is_number), _field(entry, "mtime", _is_number)
        if not _is_same(size, mtime, stat):
            return None
        if "legacy_sources" not in entry or "suspect_train_indices" not in entry:
            return None  # written by an early version, which did not look for them
        ids = np.asarray(_field(entry, "train_ids", _are_positions), np.uint64)
        suspect = np.asarray(_field(entry, "suspect_train_indices", _are_positions), np.int64)
        if suspect.size and suspect.max() >= ids.size:
            raise ValueError(f"{name}: suspect trains beyond the last train")
        aggregator, sequence = aggregator_and_sequence(name)
        return FileRecord(
            name=name,
            size=stat.size,
            mtime_ns=stat.mtime_ns,
            depth=Depth.NAMES,
            scanned_at=self._now,
            aggregator=aggregator,
            sequence=sequence,
            trains=TrainList.from_ids(ids, suspect),
            layout=self._layout(entry),
        )

    def _layout(self, entry: dict[str, Any]) -> FileLayout:
        control = _field(entry, "control_sources", _are_texts)
        instrument = _field(entry, "instrument_sources", _are_texts)
        legacy = _field(
            entry,
            "legacy_sources",
            lambda v: isinstance(v, dict) and all(isinstance(t, str) for t in v.values()),
        )
        key = json.dumps([control, instrument, legacy])
        if key not in self._layouts:
            names = {("CONTROL", s): "" for s in control} | {
                ("INSTRUMENT", s): legacy.get(s, "") for s in (*instrument, *legacy)
            }
            sources = tuple(SourceRecord(s, n, legacy_of=names[s, n]) for s, n in sorted(names))
            self._layouts[key] = FileLayout(sources, (None,) * len(sources))
        return self._layouts[key]


def _field(entry: dict[str, Any], name: str, is_right: Callable[[Any], bool]) -> Any:
    value = entry.get(name)
    if not is_right(value):
        raise ValueError(f"{entry.get('filename')}: {name} is not what it should be")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _are_positions(value: Any) -> bool:
    # One C loop over the types: there are as many as trains.
    return isinstance(value, list) and set(map(type, value)) <= {int} and min(value, default=0) >= 0
