"""How does a fact that nobody has recorded get known, when it is asked for?

A file may be known by its outline, or only by its source names. What is asked beyond that comes
from the file itself: the ``read_*`` functions open one file and read one fact, and ``Probe``
remembers it. Both ``ScannedFacts`` and the facts from the catalog stand on ``Probe``.

h5py is imported when the first file is opened: answering from the catalog must not pay for it.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..model.errors import ChangedFileError, FileStructureError
from ..model.facts import DataFile
from ..model.records import FileLayout, KeySchema, RunValue
from ..model.runlength import IndexPattern, TrainList

if TYPE_CHECKING:
    from ..scan.outline import Outline

__all__ = [
    "Probe",
    "read_outline",
    "read_pattern",
    "read_run_values",
    "read_schema",
]

T = TypeVar("T")


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """An open file; whatever goes wrong with it is a FileStructureError with its path."""
    from ..hdf5.library import READ_ERRORS, open_file, reason_of

    try:
        fid = open_file(path)
        try:
            yield fid
        finally:
            fid.close()
    except FileStructureError as e:
        if e.path:
            raise
        raise FileStructureError(path, e.reason) from None
    except READ_ERRORS as e:
        raise FileStructureError(path, reason_of(e)) from e


def read_outline(path: str) -> "Outline":
    """Trains, times, sources with index groups and legacy names, and METADATA of a file."""
    from ..scan.outline import read_outline as read

    with _opened(path) as fid:
        outline = read(fid)
        if not outline.usable:
            reason = "; ".join(f.message for f in outline.faults if f.check in ("F02", "F03"))
            raise FileStructureError(path, reason or "no EXDF file")
        return outline


def read_schema(path: str, section: str, source: str) -> KeySchema:
    """The keys of a source in a file; empty where the file has no data of it."""
    from ..scan.index import index_groups
    from ..scan.keys import read_keys, source_leaves

    with _opened(path) as fid:
        paths = source_leaves(fid, section, source)
        groups = [""] if section == "CONTROL" else index_groups(fid, source)
        return read_keys(fid, section, source, paths, groups)[0]


def read_pattern(
    path: str, section: str, source: str, group: str, trains: TrainList
) -> IndexPattern:
    """INDEX of one group, for the given trains of the file; no rows where it has no index.

    ``trains`` need not know which rows of INDEX hold no train (a JSON data map does not tell).
    Raises ChangedFileError where they are not the trains of the file.
    """
    from ..scan.index import read_index
    from ..scan.outline import read_train_ids

    with _opened(path) as fid:
        ids, dropped = read_train_ids(fid)
        if not np.array_equal(ids, trains.ids):
            raise ChangedFileError(path, "its trains are not those that were recorded")
        trains = TrainList.from_ids(ids, trains.suspect, dropped)
        return read_index(fid, source, group, trains, {})[0]


def read_run_values(path: str, source: str) -> Mapping[str, RunValue]:
    """RUN of a control source by key; empty where the file has none."""
    from ..scan.keys import read_run_values as read

    with _opened(path) as fid:
        return read(fid, source)[0]


class Probe:
    """The facts of a run's files that have to come from the files, each read once.

    Files are numbered as in ``files``. Equal schemas, layouts, patterns and train lists are the
    same object. A file that is no longer what it was raises ChangedFileError. Safe to share
    between threads; pickles without what it remembers.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self.files = tuple(files)
        self._known: dict[tuple[Any, ...], Any] = {}
        self._interned: dict[tuple[str, Any], Any] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> tuple[DataFile, ...]:
        return self.files

    def __setstate__(self, files: tuple[DataFile, ...]) -> None:
        Probe.__init__(self, files)

    def layout(self, file: int) -> FileLayout:
        """The sources of a file with their index groups, without schemas."""
        return self._outline(file).layout

    def trains(self, file: int) -> TrainList:
        """The trains of a file."""
        return self._outline(file).trains

    def timestamps(self, file: int) -> NDArray[np.uint64] | None:
        """The times of the trains of a file."""
        return self._outline(file).timestamps

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        return self._outline(file).metadata

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file."""

        def read(path: str) -> KeySchema:
            return self.intern(read_schema(path, section, source))

        return self._once(("schema", file, section, source), read)

    def pattern(
        self, file: int, section: str, source: str, group: str, trains: TrainList
    ) -> IndexPattern:
        """INDEX of a group for the trains of a file, as the caller knows them."""

        def read(path: str) -> IndexPattern:
            return self.intern(read_pattern(path, section, source, group, trains))

        return self._once(("pattern", file, section, source, group), read)

    def run_values(self, file: int, source: str) -> Mapping[str, RunValue]:
        """RUN of a control source, as one file has it."""
        return self._once(("run", file, source), lambda path: read_run_values(path, source))

    def intern(self, value: T) -> T:
        """The one object for all values equal to this schema, layout, pattern or train list."""
        token = value.canonical if isinstance(value, KeySchema | FileLayout) else value.token  # type: ignore[attr-defined]
        with self._lock:
            kept: T = self._interned.setdefault((type(value).__name__, token), value)
            return kept

    def _outline(self, file: int) -> "Outline":
        def read(path: str) -> "Outline":
            found = read_outline(path)
            layout, trains = self.intern(found.layout), self.intern(found.trains)
            return replace(found, layout=layout, trains=trains)

        return self._once(("outline", file), read)

    def _once(self, key: tuple[Any, ...], read: Callable[[str], T]) -> T:
        with self._lock:
            if key not in self._known:
                file = self.files[key[1]]
                _check_unchanged(file)
                self._known[key] = read(file.path)
            found: T = self._known[key]
            return found


def _check_unchanged(file: DataFile) -> None:
    """Raise ChangedFileError unless size and mtime of a file are those its facts were taken at."""
    try:
        now = os.stat(file.path)
    except OSError as e:
        raise FileStructureError(file.path, e.strerror or str(e)) from e
    if (now.st_size, now.st_mtime_ns) != (file.size, file.mtime_ns):
        raise ChangedFileError(file.path, "its size or time is not what it was")
