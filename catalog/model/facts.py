"""Facts of a run, the table of its files, and the comparison of that table with a directory.

``RunFacts`` is the one seam between catalog and loader: what the loader knows of a run before it
reads an array. Files are numbered 0..n-1 in the order of their names; only files that can serve
data are among them. Train lists, layouts and index patterns are numbered too, equal ones alike, so
that a caller does its work, and keeps the result, once per number and not once per file.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from .errors import ChangedFileError, SourceNameError
from .identity import aggregator_and_sequence
from .records import Depth, FileLayout, FileRecord, KeySchema, Problem, RunValue
from .runlength import FrameIds, IndexPattern, TrainList, UInt64s

T = TypeVar("T")


class FileStat(NamedTuple):
    """Size in bytes and modification time (ns since the epoch); -1 for what cannot be stat'ed."""

    size: int
    mtime_ns: int


class DataFile(NamedTuple):
    """A file that data can be read from, as it was when its facts were taken."""

    path: str
    """Its path, as the run was opened."""
    size: int
    """Size in bytes."""
    mtime_ns: int
    """Modification time in ns since the epoch."""
    aggregator: str
    """From the file name; empty where it has none."""
    sequence: int
    """From the file name; -1 where it has none."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The facts of a catalogued file that freshness depends on, as ``FileRecord`` has them."""

    size: int
    mtime_ns: int
    depth: Depth
    verified: bool = False
    retry: bool = False
    missing: bool = False


@dataclass(frozen=True, eq=False)
class FileTable:
    """The files of a run in the order of their names: one column per fact."""

    names: Sequence[str] = ()
    """File names, without the directory."""
    sizes: Sequence[int] = ()
    """Sizes in bytes."""
    mtimes_ns: Sequence[int] = ()
    """Modification times in ns since the epoch."""
    depths: Sequence[int] = ()
    """How much is known of each file, as ``Depth``."""
    missing: Sequence[bool] = ()
    """Whether the file was not on disk when the run was last ingested."""
    ordinals: Sequence[int] = ()
    """Numbers of the files where the facts come from, which knows unusable files too."""
    train_lists: Sequence[int] = ()
    """Numbers of the train lists, equal ones alike."""
    layouts: Sequence[int] = ()
    """Numbers of the layouts, equal ones alike."""

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> "FileTable":
        """The table with these rows, as ``rows`` gives them."""
        return cls(*zip(*rows, strict=True))

    @cached_property
    def stats(self) -> dict[str, tuple[int, int]]:
        """Size and mtime by name; equal to the ``FileStat`` of a file that has not changed."""
        return dict(zip(self.names, zip(self.sizes, self.mtimes_ns, strict=True), strict=True))

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The facts of one file after the other, in the order of the columns."""
        return zip(*(getattr(self, name) for name in self.__dataclass_fields__), strict=True)

    def is_fresh(self, on_disk: Mapping[str, FileStat]) -> bool:
        """Whether all of these files are known as they are on the disk."""
        known = self.stats
        return known == on_disk or all(known.get(name) == stat for name, stat in on_disk.items())

    def known(self) -> dict[str, KnownFile]:
        """What ``compare_files`` compares with the disk, by name."""
        columns = (self.sizes, self.mtimes_ns, map(Depth, self.depths), self.missing)
        return {
            name: KnownFile(size, mtime_ns, depth, missing=missing)
            for name, size, mtime_ns, depth, missing in zip(self.names, *columns, strict=True)
        }

    def present(self) -> list[str]:
        """Names of the files that are not marked missing, sorted."""
        return sorted(n for n, gone in zip(self.names, self.missing, strict=True) if not gone)

    def are_all(self, names: Iterable[str]) -> bool:
        """Whether these names are those of all the files, and none is marked missing."""
        return not any(self.missing) and self.stats.keys() <= set(names)

    def usable(self, names: frozenset[str] | None) -> "FileTable":
        """Only the files that can serve data, of those named; None for all that are not missing.

        A file that is named is there, even if it was missing once.
        """
        if names is None:
            there = [not gone for gone in self.missing]
        else:
            there = [name in names for name in self.names]
        kept = [
            depth > Depth.UNREAD and is_there
            for depth, is_there in zip(self.depths, there, strict=True)
        ]
        if all(kept):
            return self
        return FileTable.of(row for row, keep in zip(self.rows(), kept, strict=True) if keep)


class _DataFiles(Sequence[DataFile]):
    """The files of a table; each is made when it is asked for, as of many few are read."""

    def __init__(self, directory: str, table: FileTable) -> None:
        self._directory, self._table = directory, table
        self._made: dict[int, DataFile] = {}

    def __len__(self) -> int:
        return len(self._table.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, at: Any) -> Any:
        found = self._made.get(at)
        if found is None:
            table, name = self._table, self._table.names[at]
            stat = table.sizes[at], table.mtimes_ns[at]
            path = os.path.join(self._directory, name)
            found = self._made[at] = DataFile(path, *stat, *aggregator_and_sequence(name))
        return found


class Numbered(Generic[T]):
    """Distinct values, numbered in the order met; values with equal tokens share a number.

    Safe between threads.
    """

    def __init__(self, token: Callable[[T], Hashable]) -> None:
        self.values: list[T] = []
        self._token = token
        self._numbers: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def number(self, value: T) -> int:
        """The number of a value, a new one if it is new."""
        token = self._token(value)
        with self._lock:
            number = self._numbers.setdefault(token, len(self.values))
            if number == len(self.values):
                self.values.append(value)
        return number


class Fetcher(Protocol):
    """The source of the facts that opening does not need: a shard, file records, or the files.

    ``file`` is the number of a file in ``RunFacts``, ``source`` the name a source is stored under.
    Safe to share between threads.
    """

    def schema(self, file: int, section: str, source: str) -> KeySchema | None:
        """The keys of a source in a file; None where only the file has them."""

    def pattern_numbers(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[int]:
        """Numbers, from 0 on, of the patterns of an index group in files of one layout."""

    def patterns(self, numbers: Iterable[int]) -> list[IndexPattern]:
        """The patterns with these numbers."""

    def frame_id_numbers(self, files: Sequence[int], source: str, key: str) -> list[int] | None:
        """Numbers, from 0 on, of the pulse or cell IDs of a source; None where files have them."""

    def frame_ids(self, numbers: Iterable[int]) -> list[FrameIds]:
        """The IDs with these numbers."""

    def timestamps(self, file: int) -> UInt64s | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""

    def run_values(self, files: Sequence[int], source: str) -> Mapping[str, RunValue] | None:
        """RUN of a control source, which these files list; None where only they have it."""


class FileFetcher(Fetcher, Protocol):
    """A fetcher that opens the files, and so knows everything; its pattern 0 has no trains."""

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file."""

    def run_values(self, files: Sequence[int], source: str) -> Mapping[str, RunValue]:
        """RUN of a control source, as the first of these files has it."""

    def frame_id_numbers(self, files: Sequence[int], source: str, key: str) -> list[int]:
        """Numbers of the pulse or cell IDs of a source in each of these files."""

    def layout(self, file: int) -> FileLayout:
        """The sources of a file with their index groups, without schemas."""

    def train_ids(self, file: int) -> UInt64s:
        """The train IDs of a file, (n,)."""

    def renewed(self, table: FileTable) -> "FileFetcher":
        """The same for other sizes and times of the files, with nothing read yet."""


@dataclass(frozen=True, eq=False)
class RunFacts:
    """The facts of one run: files, train lists and layouts, which opening needs, and a fetcher.

    Safe to share between threads; picklable.

    Facts beyond the depth of a file come from the file itself, once: then any method may raise
    FileStructureError, or ChangedFileError where the file is no longer what it was.
    """

    directory: str
    """The directory of the run, as given; for a single file, the directory it lies in."""
    run_key: object
    """Hashable; equal for two sets of facts about the same run."""
    table: FileTable
    """The files that can serve data, sorted by name."""
    train_lists: Sequence[TrainList]
    """Train lists by their number in ``table``."""
    layouts: Mapping[int, FileLayout]
    """Layouts by their number in ``table``; schemas in them may be None: ask ``schema``."""
    fetcher: Fetcher
    """Where the other recorded facts come from."""
    probe: FileFetcher
    """Where facts come from that were not recorded."""
    recipe: "Callable[[], RunFacts]"
    """How pickle makes the facts again; itself picklable."""
    problems: tuple[Problem, ...] = ()
    """Files that were left out, and why."""
    _handed_over: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, (self.recipe, self._fingerprint)

    @property
    def _fingerprint(self) -> bytes:
        stats = repr([self.directory, self.table.stats])
        return hashlib.blake2b(stats.encode("utf-8", "surrogateescape"), digest_size=16).digest()

    @property
    def files(self) -> Sequence[DataFile]:
        """The files that can serve data, sorted by name."""
        if self._handed_over:
            self._look_again()
        return self._files

    @cached_property
    def _files(self) -> "_DataFiles":
        return _DataFiles(self.directory, self.table)

    def hand_over(self, file: int) -> None:
        """Let the program write to a file, which it closes: an exception to what does not change.

        When the facts are next asked for, the size, times and METADATA of the file as it is then
        replace the recorded ones. Its trains and INDEX must stay; other trains: ChangedFileError.
        """
        self._handed_over.add(file)

    def _look_again(self) -> None:
        with self._lock:
            for file in sorted(self._handed_over):
                path = self._files[file].path
                try:
                    now = os.stat(path)
                except OSError as e:
                    raise ChangedFileError(path, "it is no longer there") from e
                if (now.st_size, now.st_mtime_ns) != self._files[file][1:3]:
                    self._renew(file, now)
                self._handed_over.discard(file)

    def _renew(self, file: int, now: os.stat_result) -> None:
        rows = [list(row) for row in self.table.rows()]
        rows[file][1:4] = now.st_size, now.st_mtime_ns, Depth.NAMES
        table = FileTable.of(map(tuple, rows))
        probe = self.probe.renewed(table)
        if not np.array_equal(probe.train_ids(file), self.trains(file).ids):
            detail = "its trains are not those that were recorded"
            raise ChangedFileError(self._files[file].path, detail)
        self.__dict__.update(table=table, probe=probe)
        self.__dict__.pop("_files", None)

    def trains(self, file: int) -> TrainList:
        """The trains of a file."""
        return self.train_lists[self.table.train_lists[file]]

    def layout(self, file: int) -> FileLayout:
        """The sources of a file; the schemas in it may be None: ask ``schema``.

        A JSON data map knows source names only: no index groups, no auxiliary sources.
        """
        return self.layouts[self.table.layouts[file]]

    def full_layout(self, file: int) -> FileLayout:
        """As ``layout``, but with index groups, auxiliary and RUN-only sources at any depth."""
        if self.table.depths[file] >= Depth.OUTLINE:
            return self.layout(file)
        return self.probe.layout(file)

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file; of a legacy name, those of the source it stands for.

        Raises SourceNameError where the file does not list the source.
        """
        if self._handed_over:
            self._look_again()
        source = self._stored_name(file, section, source)
        found = self.fetcher.schema(file, section, source)
        return self.probe.schema(file, section, source) if found is None else found

    def index_groups(self, file: int, section: str, source: str) -> tuple[str, ...]:
        """The index groups of a source in a file, sorted.

        Below depth FULL, those of its keys are among them: the source list may lack some.
        """
        layout = self.layout(file)
        at = layout.position.get((section, source))
        known = layout.sources[at].groups if at is not None else ()
        if known and (section == "CONTROL" or self.table.depths[file] >= Depth.FULL):
            return known
        return tuple(sorted({*known, *self.schema(file, section, source).groups}))

    def patterns(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[IndexPattern]:
        """INDEX of an index group in each of some files of one layout, for their trains."""
        return self.numbered_patterns(self.pattern_numbers(files, section, source, group))

    def pattern_numbers(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[int]:
        """The numbers of the ``patterns``: equal numbers stand for equal patterns.

        Where the files lack the index group, that of a pattern without trains.
        """
        if (section, source, group) in self.layouts[self.table.layouts[files[0]]].slots:
            if min(map(self.table.depths.__getitem__, files)) >= Depth.FULL:
                return self.fetcher.pattern_numbers(files, section, source, group)
        else:
            stored = self._stored_name(files[0], section, source)
            if stored != source:
                return self.pattern_numbers(files, section, stored, group)
            groups = self.index_groups(files[0], section, source)
            if groups and group not in groups:
                return [~0] * len(files)
        # Negative numbers are those of the probe.
        return [~n for n in self.probe.pattern_numbers(files, section, source, group)]

    def numbered_patterns(self, numbers: Sequence[int]) -> list[IndexPattern]:
        """The patterns with these numbers, which one call of ``pattern_numbers`` gave."""
        if numbers and numbers[0] < 0:
            return self.probe.patterns([~n for n in numbers])
        return self.fetcher.patterns(numbers)

    def frame_id_numbers(self, files: Sequence[int], source: str, key: str) -> list[int]:
        """Numbers of the pulse or cell IDs that some files have of an instrument source.

        Equal numbers stand for equal IDs. ``key`` is one of ``FRAME_ID_KEYS``, and the files have
        it.
        """
        source = self._stored_name(files[0], "INSTRUMENT", source)
        found = None
        if min(map(self.table.depths.__getitem__, files)) >= Depth.FULL:
            found = self.fetcher.frame_id_numbers(files, source, key)
        if found is None:  # negative numbers are those of the probe
            found = [~n for n in self.probe.frame_id_numbers(files, source, key)]
        return found

    def frame_ids(self, numbers: Sequence[int]) -> list[FrameIds]:
        """The IDs with these numbers, one per row of the dataset in the file."""
        if numbers and numbers[0] < 0:
            return self.probe.frame_ids([~n for n in numbers])
        return self.fetcher.frame_ids(numbers)

    def timestamps(self, file: int) -> UInt64s | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        return self._outline_of(file).timestamps(file)

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA (format version, proposal and run number, dates, ...)."""
        return self._outline_of(file).metadata(file)

    def run_values(self, source: str) -> Mapping[str, RunValue]:
        """RUN of a control source by key (``x.value``, ``x.timestamp``); empty if it has none."""
        files = [
            file
            for number, file in self._first_files.items()
            if ("CONTROL", source) in self.layouts[number].position
        ]
        if not files:
            return {}
        found = self.fetcher.run_values(files, source)
        return self.probe.run_values(files, source) if found is None else found

    @cached_property
    def _first_files(self) -> dict[int, int]:
        """The first file of each layout."""
        first: dict[int, int] = {}
        for file, number in enumerate(self.table.layouts):
            first.setdefault(number, file)
        return first

    def _outline_of(self, file: int) -> Fetcher:
        if self._handed_over:
            self._look_again()
        return self.fetcher if self.table.depths[file] >= Depth.OUTLINE else self.probe

    def _stored_name(self, file: int, section: str, source: str) -> str:
        """The name a source is stored under: that of a legacy name is another one."""
        layout = self.layouts[self.table.layouts[file]]
        at = layout.position.get((section, source))
        if at is None:
            layout = self.full_layout(file)
            at = layout.position.get((section, source))
        if at is None:
            raise SourceNameError(source, (s.name for s in layout.sources))
        legacy_of = layout.sources[at].legacy_of
        return self._stored_name(file, section, legacy_of) if legacy_of else source


def _make_again(recipe: Callable[[], RunFacts], fingerprint: bytes) -> RunFacts:
    """Facts that were pickled; the catalog may have gone on meanwhile."""
    facts = recipe()
    if facts._fingerprint != fingerprint:
        raise ChangedFileError(facts.directory, "the run was catalogued anew")
    return facts


# -- freshness: the catalogued facts against the files on disk


@dataclass(frozen=True, slots=True)
class FileComparison:
    """Names of the data files of a run, by what is to become of them."""

    unchanged: list[str] = field(default_factory=list)
    """The facts hold and are deep enough."""
    shallow: list[str] = field(default_factory=list)
    """They hold, but more is wanted, or the last try failed for a reason that may have passed."""
    changed: list[str] = field(default_factory=list)
    """Size or mtime differ."""
    new: list[str] = field(default_factory=list)
    """On disk only."""
    returned: list[str] = field(default_factory=list)
    """Marked missing, and back as it was."""
    vanished: list[str] = field(default_factory=list)
    """In the catalog only, and not yet marked missing."""

    @property
    def to_scan(self) -> list[str]:
        """Files whose facts are to be read from disk, sorted."""
        return sorted(self.shallow + self.changed + self.new)

    @property
    def is_fresh(self) -> bool:
        """Whether the catalog needs no change."""
        return not (self.to_scan or self.returned or self.vanished)


def modified(then_ns: int, now_ns: int) -> str:
    """That a file was modified, and when (UTC) according to its two modification times."""
    then, now = (
        str(np.datetime64(ns, "ns")).replace("T", " ").rstrip("0").rstrip(".:") + " UTC"
        for ns in (then_ns, now_ns)
    )
    return f"modified since it was catalogued: was of {then}, now {now}"


def compare_files(
    on_disk: Mapping[str, FileStat],
    known: Mapping[str, KnownFile | FileRecord],
    *,
    depth: Depth = Depth.FULL,
    verify: bool = False,
    force: bool = False,
    retry: bool = True,
    considered: Iterable[str] | None = None,
) -> FileComparison:
    """Sort the files of a run.

    ``depth`` and ``verify`` are what the caller wants; ``force`` scans unchanged files too, and
    ``retry`` those that could not be read for a reason that may have passed. If ``considered`` is
    given, only these names can have vanished: a subset opened with ``include=`` proves nothing
    about the other files.
    """
    result = FileComparison()
    for name, stat in on_disk.items():
        old = known.get(name)
        if old is None:
            result.new.append(name)
            continue
        # A file that could not be read at all stays so until it changes (or retry is set).
        is_read = old.depth > Depth.UNREAD
        too_shallow = is_read and (old.depth < depth or (verify and not old.verified))
        if (old.size, old.mtime_ns) != (stat.size, stat.mtime_ns):
            result.changed.append(name)
        elif force or (retry and old.retry) or too_shallow:
            result.shallow.append(name)
        elif old.missing:
            result.returned.append(name)
        else:
            result.unchanged.append(name)
    gone = set(known) - set(on_disk)
    if considered is not None:
        gone &= set(considered)
    result.vanished.extend(sorted(n for n in gone if not known[n].missing))
    return result
