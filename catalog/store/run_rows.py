"""Which rows does a run have in each table?

Pure: a ``RunRecord`` and the numbers of an ``Interner`` in, rows out.

1. Train lists, timestamps and index patterns that occur in several files of the run become one.
2. Files refer to these by number, and to their layout.
3. Summaries: what the run as a whole, and each source in it, amounts to.

Columns stand in the order of schema.sql.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..records import Depth, FileRecord, KeyProfile, RunRecord
from ..runlength import IndexPattern, TrainList
from .encoding import encode_timestamps, encode_value, time_of_ns, to_text, to_utc
from .file_facts import FileFacts
from .interning import Interner
from .packed import pack_run
from .source_rows import source_rows

__all__ = ["Numbered", "profile_row", "run_rows"]

Row = tuple[Any, ...]
T = TypeVar("T")
_NS_PER_YEAR = 31_556_952_000_000_000


class Numbered(Generic[T]):
    """Distinct values in the order met; equal ones share a number. The same object costs little."""

    def __init__(self, token: Callable[[T], Hashable]) -> None:
        self.values: list[T] = []
        self._token = token
        self._by_token: dict[Hashable, int] = {}
        self._by_object: dict[int, int] = {}
        self._keep_alive: list[T] = []

    def number(self, value: T) -> int:
        """The number of a value, a new one if it is new."""
        number = self._by_object.get(id(value))
        if number is None:
            number = self._by_token.setdefault(self._token(value), len(self.values))
            if number == len(self.values):
                self.values.append(value)
            self._by_object[id(value)] = number
            self._keep_alive.append(value)
        return number


def _train_list_token(trains: TrainList) -> Hashable:
    parts = (trains.starts, trains.lengths, trains.suspect, trains.dropped)
    return tuple(p.tobytes() for p in parts)


def _pattern_token(pattern: IndexPattern) -> Hashable:
    return pattern.token


def _times_token(times: NDArray[np.uint64]) -> Hashable:
    return times.tobytes()


def run_rows(record: RunRecord, interner: Interner) -> dict[str, list[Row]]:
    """The rows of a run by table, without findings, history and locations.

    These three carry on from what the catalog had before: see ``history``.
    """
    run_id = record.identity.run_id
    trains = Numbered(_train_list_token)
    times = Numbered(_times_token)
    patterns = Numbered(_pattern_token)
    layouts = Numbered[Any](lambda layout: layout.digest)
    interner.check(layout for layout in {id(f.layout): f.layout for f in record.files}.values())
    tables: dict[str, list[Row]] = {"file": [], "run_value": []}
    read: set[str] = set()
    slots: list[NDArray[np.int32]] = []
    facts: list[Row] = []
    for ordinal, file in enumerate(record.files):
        values = {s: v for s, v in file.run_values.items() if s not in read}
        read.update(values)
        tables["run_value"].extend(_value_rows(run_id, values, interner))
        slots.append(np.array([patterns.number(p) for p in file.patterns], np.int32))
        train_list = trains.number(file.trains)
        layout = interner.layout(layouts.values[layouts.number(file.layout)])
        found = (file.name, file.size, file.mtime_ns, file.depth, file.missing_since is not None)
        facts.append((*found, ordinal, train_list, layout))
        tables["file"].append(
            (
                *(run_id, ordinal, to_text(file.name), file.size, file.mtime_ns, int(file.depth)),
                *(file.verified, file.aggregator, file.sequence, to_text(file.format_version)),
                *(file.locality, file.retry, to_utc(file.scanned_at)),
                None if file.missing_since is None else to_utc(file.missing_since),
                train_list,
                None if file.timestamps is None else times.number(file.timestamps),
                layout,
                [interner.source(s) for s in values],
            )
        )
    tables["train_list"] = [
        (run_id, i, t.starts, t.lengths, t.suspect, t.dropped) for i, t in enumerate(trains.values)
    ]
    tables["timestamps"] = [(run_id, i, *encode_timestamps(t)) for i, t in enumerate(times.values)]
    files = FileFacts.of(facts)
    tables["run_packed"] = [pack_run(run_id, files, trains.values, slots, patterns.values)]
    tables["run_source"] = source_rows(record, patterns.values, slots, interner)
    tables["file_metadata"] = list(_metadata_rows(run_id, record.files))
    tables["run"] = [_summary(record, trains.values)]
    return tables


def profile_row(run_id: int, profile: KeyProfile, interner: Interner) -> Row:
    """The row of ``key_profile`` for what a key did during a run."""
    texts = (None if t is None else to_text(t) for t in (profile.first_text, profile.last_text))
    return (
        *(run_id, interner.source(profile.source), interner.key(profile.key)),
        *(profile.n_entries, profile.n_nan, profile.minimum, profile.maximum),
        *(profile.mean, profile.std, profile.first, profile.last, *texts),
        *(profile.n_changes, to_utc(profile.profiled_at), False),
    )


def _value_rows(run_id: int, values: dict[str, Any], interner: Interner) -> Iterator[Row]:
    for source, by_key in values.items():
        source_id = interner.source(source)
        for key, value in by_key.items():
            yield (run_id, run_id, source_id, interner.key(key), *encode_value(value))


def _metadata_rows(run_id: int, files: Iterable[FileRecord]) -> Iterator[Row]:
    """One row per stretch of files with the same entry."""
    open_stretches: dict[str, tuple[str | int, int, int]] = {}
    for ordinal, file in enumerate(files):
        for name, value in file.metadata.items():
            known = open_stretches.get(name)
            if known and known[0] == value and known[2] == ordinal - 1:
                open_stretches[name] = (known[0], known[1], ordinal)
                continue
            if known:
                yield _metadata_row(run_id, name, *known)
            open_stretches[name] = (value, ordinal, ordinal)
    for name, stretch in open_stretches.items():
        yield _metadata_row(run_id, name, *stretch)


def _metadata_row(run_id: int, name: str, value: str | int, first: int, last: int) -> Row:
    return (run_id, to_text(name), to_text(str(value)), not isinstance(value, str), first, last)


def _summary(record: RunRecord, train_lists: list[TrainList]) -> Row:
    """The row of ``run``."""
    identity, files = record.identity, record.files
    present = [f for f in files if f.missing_since is None]
    usable = [f for f in files if f.usable]
    used = {id(f.trains): f.trains for f in usable}.values()
    everything = _union([t.ids for t in used])
    good = _union([t.ids[t.good] for t in used])
    newest = max((f.mtime_ns for f in present), default=None)
    described = usable[0].metadata if usable else {}
    loose = identity.is_loose
    return (
        identity.run_id,
        None if loose else identity.proposal,
        None if loose else identity.run,
        None if loose else to_text(identity.data_class),
        to_text(identity.instrument) or None,
        to_text(identity.cycle) or None,
        to_text(identity.loose_path) if loose else None,
        to_text(record.directory),
        to_text(record.realpath),
        len(files),
        sum(f.depth is Depth.FULL for f in files),
        sum(f.depth is Depth.UNREAD for f in files),
        len(files) - len(present),
        sum(f.size for f in present),
        len(everything),
        len(_union([t.ids[~t.good] for t in used])),
        int(good[0]) if len(good) else None,
        int(good[-1]) if len(good) else None,
        *_time_span(usable),
        None if newest is None else time_of_ns(newest),
        int(min((f.depth for f in usable), default=Depth.UNREAD)),
        to_text(usable[0].format_version) if usable else None,
        _integer(described.get("proposalNumber")),
        _integer(described.get("runNumber")),
        to_utc(record.ingested_at),
    )


def _union(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    distinct = {p.tobytes(): p for p in parts}
    return np.unique(np.concatenate([np.empty(0, np.uint64), *distinct.values()]))


def _time_span(files: list[FileRecord]) -> tuple[datetime | None, datetime | None]:
    """First and last time of a train, of the times that are plausible: after 1990, before 2200."""
    low, high = np.uint64(20 * _NS_PER_YEAR), np.uint64(230 * _NS_PER_YEAR)
    spans = []
    for times in {id(f.timestamps): f.timestamps for f in files}.values():
        if times is None:
            continue
        plausible = times[(times > low) & (times < high)]
        if plausible.size:
            spans.append((int(plausible.min()), int(plausible.max())))
    if not spans:
        return None, None
    return time_of_ns(min(s[0] for s in spans)), time_of_ns(max(s[1] for s in spans))


def _integer(value: str | int | None) -> int | None:
    try:
        number = int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1 << 63 else None
