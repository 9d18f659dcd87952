"""Facts of a run from file records in memory, and from the files themselves.

``scanned_facts`` takes records that were scanned on the spot or seeded from a JSON data map.

A file may be known by its outline, or by its source names only. The ``read_*`` functions open one
file and read one fact, and ``Probe`` remembers it: the one fallback of ``RunFacts``, wherever the
recorded facts come from. h5py is imported when the first file is opened: answering from the catalog
must not pay for it.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..model.errors import ChangedFileError, FileStructureError, warn_caller
from ..model.facts import FileTable, Numbered, RunFacts
from ..model.names import FRAME_GROUP, FRAME_ID_KEYS
from ..model.records import (
    Depth,
    FileLayout,
    FileRecord,
    KeySchema,
    Problem,
    RunValue,
    SourceRecord,
    utc_now,
)
from ..model.runlength import FrameIds, IndexPattern, TrainList, UInt64s

if TYPE_CHECKING:
    from ..hdf5.interface import Group
    from ..scan.checks import Fault
    from ..scan.outline import Outline


T = TypeVar("T")
S = TypeVar("S", KeySchema, FileLayout)


@contextmanager
def _opened(path: str) -> Iterator["Group"]:
    """An open file; whatever goes wrong with it is a FileStructureError with its path."""
    from ..hdf5.interface import READ_ERRORS, reason_of
    from ..hdf5.library import open_file

    try:
        with closing(open_file(path)) as file:
            yield file.root
    except FileStructureError as e:
        if e.path:
            raise
        raise FileStructureError(path, e.reason) from None
    except READ_ERRORS as e:
        raise FileStructureError(path, reason_of(e)) from e


def read_outline(path: str) -> "Outline":
    """Trains, times, sources with index groups and legacy names, and METADATA of a file."""
    from ..scan.outline import read_outline as read

    with _opened(path) as root:
        outline = read(root)
        if not outline.usable:
            reason = "; ".join(f.message for f in outline.faults if f.check in ("F02", "F03"))
            raise FileStructureError(path, reason or "no EXDF file")
        return outline


def read_schema(path: str, section: str, source: str) -> KeySchema:
    """The keys of a source in a file; empty where the file has no data of it."""
    from ..scan.keys import index_groups, read_keys, source_leaves

    with _opened(path) as root:
        faults: list[Fault] = []
        paths = source_leaves(root, section, source, faults)
        groups = [""] if section == "CONTROL" else index_groups(root, source)
        schema, _, unread = read_keys(root, section, source, paths, groups)
    _warn_of_the_unreadable(path, faults + unread)
    return schema


def read_pattern(
    path: str, section: str, source: str, group: str, trains: TrainList
) -> IndexPattern:
    """INDEX of one group, for the given trains of the file; no rows where it has no index.

    ``trains`` need not know which rows of INDEX hold no train (a JSON data map does not record it).
    Raises ChangedFileError where they are not the trains of the file.
    """
    from ..scan.keys import read_index
    from ..scan.outline import read_train_ids

    with _opened(path) as root:
        ids, dropped = read_train_ids(root)
        if not np.array_equal(ids, trains.ids):
            raise ChangedFileError(path, "its trains are not those that were recorded")
        trains = TrainList.from_ids(ids, trains.suspect, dropped)
        pattern, faults = read_index(root, source, group, trains, {})
    _warn_of_the_unreadable(path, faults)
    return pattern


def read_frame_ids(path: str, source: str, key: str) -> FrameIds:
    """Pulse or cell IDs of a source, as the rows of the dataset lie in the file."""
    from ..scan.keys import read_frame_ids as read

    with _opened(path) as root:
        found = read(root, source, key)
        if found is None:
            raise FileStructureError(path, f"has no IDs of frames as {source} {key}")
        return found


def read_run_values(path: str, source: str) -> Mapping[str, RunValue]:
    """RUN of a control source by key; empty where the file has none."""
    from ..scan.keys import read_run_values as read

    with _opened(path) as root:
        values, faults = read(root, source)
    _warn_of_the_unreadable(path, faults)
    return values


def _warn_of_the_unreadable(path: str, faults: Iterable["Fault | Problem"]) -> None:
    """Warn of what a file has and nobody can read: whoever asks must not take it to be absent."""
    for fault in faults:
        if "cannot be read" in fault.message:
            warn_caller(f"{path}: {fault.where}: {fault.message}")


class _Numbering:
    """Index patterns and IDs of frames of a run, numbered in the order met."""

    def __init__(self) -> None:
        self._patterns = Numbered[IndexPattern](attrgetter("token"))
        self._frame_ids = Numbered[FrameIds](attrgetter("token"))

    def patterns(self, numbers: Iterable[int]) -> list[IndexPattern]:
        """The patterns with these numbers."""
        return [self._patterns.values[number] for number in numbers]

    def frame_ids(self, numbers: Iterable[int]) -> list[FrameIds]:
        """The IDs with these numbers."""
        return [self._frame_ids.values[number] for number in numbers]


class Probe(_Numbering):
    """The facts of a run that its files have (a ``Fetcher``), each read once.

    Equal schemas and layouts are the same object. A file that is no longer what it was raises
    ChangedFileError. Safe to share between threads.
    """

    def __init__(self, directory: str, table: FileTable, train_lists: Sequence[TrainList]) -> None:
        super().__init__()
        self._directory, self._table, self._train_lists = directory, table, train_lists
        self._known: dict[tuple[Any, ...], Any] = {}
        self._shared: dict[tuple[type, bytes], Any] = {}
        self._patterns.number(IndexPattern.from_arrays((), ()))
        self._lock = threading.RLock()

    def layout(self, file: int) -> FileLayout:
        """The sources of a file with their index groups, without schemas."""
        return self._share(self._once(read_outline, file).layout)

    def train_ids(self, file: int) -> UInt64s:
        """The train IDs of a file, (n,)."""
        return self._once(read_outline, file).trains.ids

    def renewed(self, table: FileTable) -> "Probe":
        """The same for other sizes and times of the files, with nothing read yet."""
        return Probe(self._directory, table, self._train_lists)

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file."""
        return self._share(self._once(read_schema, file, section, source))

    def pattern_numbers(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[int]:
        """Numbers of the patterns of an index group in some files."""
        trains = [self._train_lists[self._table.train_lists[file]] for file in files]
        return [
            self._patterns.number(self._once(read_pattern, file, section, source, group, listed))
            for file, listed in zip(files, trains, strict=True)
        ]

    def frame_id_numbers(self, files: Sequence[int], source: str, key: str) -> list[int]:
        """Numbers of the pulse or cell IDs of a source in each of these files."""
        return [
            self._frame_ids.number(self._once(read_frame_ids, file, source, key)) for file in files
        ]

    def timestamps(self, file: int) -> UInt64s | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        return self._once(read_outline, file).timestamps

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        return self._once(read_outline, file).metadata

    def run_values(self, files: Sequence[int], source: str) -> Mapping[str, RunValue]:
        """RUN of a control source, as the first of these files has it."""
        return self._once(read_run_values, files[0], source)

    def _share(self, value: S) -> S:
        """The one object for all schemas or layouts equal to this one."""
        shared: S = self._shared.setdefault((type(value), value.canonical), value)
        return shared

    def _once(self, read: Callable[..., T], file: int, *about: Any) -> T:
        """What ``read`` finds in a file, which must be unchanged; read when first asked for."""
        key = (read, file, *about)
        with self._lock:
            if key not in self._known:
                path = os.path.join(self._directory, self._table.names[file])
                try:
                    now = os.stat(path)
                except OSError as e:
                    raise FileStructureError(path, e.strerror or str(e)) from e
                known = self._table.sizes[file], self._table.mtimes_ns[file]
                if (now.st_size, now.st_mtime_ns) != known:
                    raise ChangedFileError(path, "its size or time is not what it was")
                self._known[key] = read(path, *about)
            found: T = self._known[key]
            return found


def scanned_facts(
    directory: str, records: Sequence[FileRecord], run_key: object = None
) -> RunFacts:
    """The facts of one run, from records of its files of any depth, in any order.

    By default ``run_key`` is the real path of the directory.
    """
    directory = os.fspath(directory)
    usable = sorted((r for r in records if r.usable), key=lambda r: r.name)
    for record in usable:
        _warn_of_the_unreadable(os.path.join(directory, record.name), record.problems)
    trains = Numbered[TrainList](attrgetter("token"))
    layouts = Numbered[FileLayout](attrgetter("canonical"))
    table = FileTable.of(
        (
            *(r.name, r.size, r.mtime_ns, r.depth, False, ordinal),
            *(trains.number(r.trains), layouts.number(r.layout)),
        )
        for ordinal, r in enumerate(usable)
    )
    return RunFacts(
        directory,
        os.path.realpath(directory) if run_key is None else run_key,
        table,
        trains.values,
        dict(enumerate(layouts.values)),
        RecordFetcher(usable, [layouts.values[n] for n in table.layouts]),
        Probe(directory, table, trains.values),
        partial(scanned_facts, directory, records, run_key),
        tuple(p for r in records if not r.usable for p in r.problems),
    )


def excerpt(
    facts: RunFacts, files: Mapping[str, Sequence[int]], groups: Collection[str]
) -> RunFacts:
    """What reading some instrument sources needs of a run, by value: no catalog is asked again.

    ``files`` has the files of each source, by the name it is stored under; of the index groups only
    ``groups`` are taken along.
    """
    now, kept = utc_now(), tuple(sorted(groups))
    layouts: dict[bytes, FileLayout] = {}
    members: dict[int, list[_Member]] = {}
    for source, numbers in sorted(files.items()):
        for alike in _of_one_layout(facts, dict.fromkeys(numbers)):
            found = [facts.patterns(alike, "INSTRUMENT", source, group) for group in kept]
            ids = _frame_ids_of(facts, alike, source) if FRAME_GROUP in groups else []
            for at, file in enumerate(alike):
                schema = facts.schema(file, "INSTRUMENT", source)
                own = [column[at] for column in found], [column[at] for column in ids]
                members.setdefault(file, []).append((source, schema, *own))
    records = []
    for file, of_file in members.items():
        names, schemas, patterns, frame_ids = zip(*of_file, strict=True)
        layout = FileLayout(tuple(SourceRecord("INSTRUMENT", n, kept) for n in names), schemas)
        layout = layouts.setdefault(layout.canonical, layout)
        path, size, mtime_ns, *_ = facts.files[file]
        records.append(
            FileRecord(
                *(os.path.basename(path), size, mtime_ns, Depth.FULL, now),
                trains=facts.trains(file),
                layout=layout,
                patterns=tuple(chain.from_iterable(patterns)),
                frame_ids=tuple(chain.from_iterable(frame_ids)),
            )
        )
    return scanned_facts(facts.directory, records, facts.run_key)


# A source of a file: its name, its keys, INDEX of its groups, and IDs of its frames.
_Member = tuple[str, KeySchema, list[IndexPattern], list[FrameIds | None]]


def _of_one_layout(facts: RunFacts, files: Iterable[int]) -> list[list[int]]:
    """The files by their layout."""
    found: dict[int, list[int]] = {}
    for file in files:
        found.setdefault(facts.table.layouts[file], []).append(file)
    return list(found.values())


def _frame_ids_of(
    facts: RunFacts, files: Sequence[int], source: str
) -> list[Sequence[FrameIds | None]]:
    """Pulse and cell IDs of a source in files of one layout; None for each where it has no key."""
    known = facts.schema(files[0], "INSTRUMENT", source).by_name
    return [
        facts.frame_ids(facts.frame_id_numbers(files, source, key))
        if key in known
        else [None] * len(files)
        for key in FRAME_ID_KEYS
    ]


class RecordFetcher(_Numbering):
    """The facts of a run that records of its files have (a ``Fetcher``)."""

    def __init__(self, records: Sequence[FileRecord], layouts: Sequence[FileLayout]) -> None:
        super().__init__()
        self._records, self._layouts = records, layouts

    def schema(self, file: int, section: str, source: str) -> KeySchema | None:
        """The keys of a source in a file; None below depth FULL."""
        layout = self._layouts[file]
        at = layout.position.get((section, source))
        return None if at is None else layout.schemas[at]

    def pattern_numbers(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[int]:
        """Numbers of the patterns of an index group in files of one layout."""
        slot = self._layouts[files[0]].slots[section, source, group]
        return [self._patterns.number(self._records[file].patterns[slot]) for file in files]

    def frame_id_numbers(self, files: Sequence[int], source: str, key: str) -> list[int] | None:
        """Numbers of the pulse or cell IDs of a source; None where a record lacks them."""
        at = self._layouts[files[0]].frame_slots[source, key]
        known = [self._records[file].frame_ids for file in files]
        found = [ids[at] if ids else None for ids in known]
        return None if None in found else [self._frame_ids.number(ids) for ids in found if ids]

    def timestamps(self, file: int) -> UInt64s | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        return self._records[file].timestamps

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        return self._records[file].metadata

    def run_values(self, files: Sequence[int], source: str) -> Mapping[str, RunValue] | None:
        """RUN of a control source; None where no record has it."""
        return next((r.run_values[source] for r in self._records if source in r.run_values), None)
