"""What must be known about a run before an array can be read from it?

``RunFacts`` is the one seam between catalog and loader. It has two sources: rows of the catalog
(``facts``) and files scanned on the spot (``scanned``). The loader never knows which it was.

Files are numbered 0..n-1 in the order of their names; only files that can serve data are among
them. Equal train lists, layouts and patterns are the same object, so that a caller may remember
what it computed for one of them by identity.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .records import Depth, FileLayout, KeySchema, Problem, RunValue
from .runlength import IndexPattern, TrainList

__all__ = [
    "DataFile",
    "FileComparison",
    "FileStat",
    "FileTable",
    "KnownFile",
    "RunFacts",
    "compare_files",
]


class FileStat(NamedTuple):
    """Size in bytes and modification time (ns since the epoch); -1 for what cannot be stat'ed."""

    size: int
    mtime_ns: int


class DataFile(NamedTuple):
    """A file that data can be read from, as it was when its facts were taken."""

    path: str
    size: int
    mtime_ns: int
    aggregator: str
    sequence: int


class RunFacts(Protocol):
    """The facts of one run. Every method answers from memory or the catalog where the depth allows.

    Facts beyond the depth of a file are taken from the file itself, once. Any method may raise
    ``FileStructureError`` then. Implementations are picklable and safe to share between threads.
    """

    @property
    def directory(self) -> str:
        """The directory of the run, as given; for a single file, the directory it lies in."""

    @property
    def run_key(self) -> object:
        """Hashable; equal for two sets of facts about the same run."""

    @property
    def n_files(self) -> int:
        """How many data files there are."""

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The data files, sorted by name."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Files that were left out, and why."""

    def trains(self, file: int) -> TrainList:
        """The trains of a file."""

    def layout(self, file: int) -> FileLayout:
        """The sources of a file; the schemas in it may be None: ask ``schema``.

        A JSON data map knows source names only: no index groups, no auxiliary sources.
        """

    def full_layout(self, file: int) -> FileLayout:
        """As ``layout``, but with index groups, auxiliary and RUN-only sources at any depth."""

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file; of a legacy name, those of the source it stands for."""

    def patterns(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[IndexPattern]:
        """INDEX of an index group in each of some files of one layout, for their trains."""

    def timestamps(self, file: int) -> NDArray[np.uint64] | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA (format version, proposal and run number, dates, ...)."""

    def run_values(self, source: str) -> Mapping[str, RunValue]:
        """RUN of a control source by key (``x.value``, ``x.timestamp``); empty if it has none."""


# Do the catalogued facts of a run still hold for the files on disk?
#
# Compares what a directory lists with what the catalog knows, by name, size and mtime, and sorts
# the
# names into what to keep, scan and mark missing. Pure: the caller lists, reads and writes.


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the catalog knows of a file, as far as freshness is concerned."""

    size: int
    mtime_ns: int
    depth: Depth
    verified: bool = False
    retry: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class FileComparison:
    """Names of the data files of a run, by what is to become of them.

    ``unchanged``: the facts hold and are deep enough. ``shallow``: they hold, but more is wanted,
    or the last try failed for a reason that may have passed. ``changed``: size or mtime differ.
    ``new``: on disk only. ``returned``: marked missing, and back as it was. ``vanished``: in the
    catalog only, and not yet marked missing.
    """

    unchanged: list[str] = field(default_factory=list)
    shallow: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    @property
    def to_scan(self) -> list[str]:
        """Files whose facts are to be read from disk, sorted."""
        return sorted(self.shallow + self.changed + self.new)

    @property
    def is_fresh(self) -> bool:
        """Whether the catalog needs no change."""
        return not (self.to_scan or self.returned or self.vanished)


def compare_files(
    on_disk: Mapping[str, FileStat],
    known: Mapping[str, KnownFile],
    *,
    depth: Depth = Depth.FULL,
    verify: bool = False,
    force: bool = False,
    retry: bool = True,
    considered: Iterable[str] | None = None,
) -> FileComparison:
    """Sort the files of a run.

    ``depth`` and ``verify`` say what is wanted; ``force`` scans what is unchanged too, and
    ``retry`` what could not be read for a reason that may have passed. Only names in ``considered``
    are judged to have vanished, if it is given: a subset opened with ``include=`` says nothing
    about the other files.
    """
    result = FileComparison()
    for name, stat in on_disk.items():
        old = known.get(name)
        if old is None:
            result.new.append(name)
        elif (old.size, old.mtime_ns) != (stat.size, stat.mtime_ns):
            result.changed.append(name)
        elif force or (retry and old.retry) or _too_shallow(old, depth, verify):
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


def _too_shallow(old: KnownFile, depth: Depth, verify: bool) -> bool:
    # A file that could not be read at all stays so until it changes (or retry is set).
    return old.depth > Depth.UNREAD and (old.depth < depth or (verify and not old.verified))


# What does the catalog say of each file of a run? One column per fact.
#
# Opening asks twice: do the facts still hold for what is on the disk (``lookup``), and what are
# they
# (``facts``). Both take what is here, so that it is read once.


@dataclass(frozen=True, eq=False)
class FileTable:
    """The files of a run in the order of their ordinals: one column per fact.

    ``train_lists`` and ``layouts`` are numbers of what the files share with others.
    """

    names: Sequence[str] = ()
    sizes: Sequence[int] = ()
    mtimes_ns: Sequence[int] = ()
    depths: Sequence[int] = ()
    missing: Sequence[bool] = ()
    ordinals: Sequence[int] = ()
    train_lists: Sequence[int] = ()
    layouts: Sequence[int] = ()

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> "FileTable":
        """From the facts of one file after the other, as ``rows`` gives them."""
        return cls(*zip(*rows, strict=True))

    @cached_property
    def stats(self) -> dict[str, tuple[int, int]]:
        """Size and mtime by name; equal to the ``FileStat`` of a file that has not changed."""
        return dict(zip(self.names, zip(self.sizes, self.mtimes_ns, strict=True), strict=True))

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The facts of one file after the other, in the order of the columns."""
        return zip(*(getattr(self, name) for name in self.__dataclass_fields__), strict=True)

    def hold(self, on_disk: Mapping[str, FileStat]) -> bool:
        """Whether all of these files are known as they are on the disk."""
        known = self.stats
        return known == on_disk or all(known.get(name) == stat for name, stat in on_disk.items())

    def known(self) -> dict[str, KnownFile]:
        """What is compared with the disk, by name."""
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
            kept = [
                depth > Depth.UNREAD and not gone
                for depth, gone in zip(self.depths, self.missing, strict=True)
            ]
        else:
            kept = [
                depth > Depth.UNREAD and name in names
                for depth, name in zip(self.depths, self.names, strict=True)
            ]
        if all(kept):
            return self
        return FileTable.of(row for row, keep in zip(self.rows(), kept, strict=True) if keep)
