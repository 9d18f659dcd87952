"""Cache of open data files, and how they are read.

``OpenFiles`` keeps the few files open that were read last. Whoever opens a run makes one and hands
it on to all that is selected from it; no file is open before array data are read.

1. ``acquire`` and ``borrow`` give a ``DataFileHandle``, opening the file if need be; it remembers
   the datasets used and their chunk maps.
2. On opening, size and modification time are compared with the facts that reading was planned
   with: another file under the same name is a ``ChangedFileError``. ``check_unchanged`` compares
   them again after data were read.
3. The file unused for longest is closed when there are too many.
4. A copy in another process (pickled or forked) starts without open files.
"""

import errno
import os
import resource
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet, proxy

import numpy as np
from numpy.typing import NDArray

from ...catalog.config import load_settings, local_path
from ...catalog.hdf5.chunks import ChunkMap, Inflate, find_inflate
from ...catalog.hdf5.finder import DatasetFinder, SeenDatasets
from ...catalog.hdf5.interface import READ_ERRORS, reason_of
from ...catalog.hdf5.links import FIND_BITS, NotUnderstoodError
from ...catalog.hdf5.objects import OwnFile
from ...catalog.hdf5.stored import StoredChunks
from ...catalog.model.errors import ChangedFileError, FileStructureError, XfelcatError
from ...catalog.model.facts import DataFile
from ...catalog.model.records import encode_dtype

# A process may mostly open 1024; a quarter leaves room for other runs, workers and the program.
_MAY_OPEN = resource.getrlimit(resource.RLIMIT_NOFILE)[0] % 2**63  # -1 for any number
DEFAULT_LIMIT = max(min(256, _MAY_OPEN // 4), 1)
DATASET_LIMIT = 512  # open per file: each takes an identifier and memory of HDF5
MOST_THREADS = 8  # by default: a node with many cores has other users too


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How many threads read, whether past HDF5, what decompresses, and where files are here."""

    n_threads: int
    direct: bool
    inflate: Inflate | None
    path_map: tuple[tuple[str, str], ...] = ()


ELSEWHERE = "select trains that lie in other files, or deselect the key"


@contextmanager
def explained(path: str, place: str) -> Iterator[None]:
    """Raise FileStructureError in place of what h5py raises when it reads a place in a file."""
    try:
        yield
    except XfelcatError:
        raise
    except READ_ERRORS as error:
        detail = f"{place} cannot be read: {reason_of(error)}"
        raise FileStructureError(path, detail, ELSEWHERE) from error


class DataFileHandle:
    """An open data file, with the datasets of it that were used so far.

    Our own reader opens it, and HDF5 as well as soon as something is asked for that only HDF5 can
    read; HDF5 alone if the file is not understood, or, without ``seen`` of its aggregator's files,
    not to be read past HDF5. Safe to share between threads.
    """

    def __init__(self, data_file: DataFile, seen: SeenDatasets | None) -> None:
        self._data_file = data_file
        self._datasets: dict[str, OpenDataset | None] = {}
        self._file: Any = None
        self.lock = threading.RLock()
        self.own = None if seen is None else _open_own(data_file.path)
        if self.own is None or seen is None:
            self._file = open_hdf5(data_file.path)
        else:
            self._finder = DatasetFinder(self.own, seen)

    def __del__(self) -> None:
        self._close_own()  # HDF5 closes what is forgotten by itself

    @property
    def file(self) -> Any:
        """The same as an ``h5py.File``, opened if need be."""
        with self.lock:
            if self._file is None:
                self.check_unchanged()  # HDF5 would not say that it is another one by now
                self._file = _when_possible(lambda: open_hdf5(self._data_file.path))
                self.check_unchanged()
            return self._file

    def dataset(self, path: str, key: str) -> "OpenDataset | None":
        """The dataset of a key; None if there is none.

        ``path`` has slashes for the dots of the key; names in the file may have dots themselves,
        and are looked for only where the path leads nowhere.
        """
        with self.lock:
            if path not in self._datasets:
                if len(self._datasets) >= DATASET_LIMIT:
                    self._datasets.clear()
                self._datasets[path] = self._find(path, key)
            return self._datasets[path]

    def _find(self, path: str, key: str) -> "OpenDataset | None":
        if self.own is not None:
            try:
                found = self._finder.find(path)
                if found is not None and found[0].layout.is_direct:
                    return OpenDataset(self, path, key, *found)
            except NotUnderstoodError:
                pass
        dsid = self.by_hdf5(path, key)
        return None if dsid is None else OpenDataset(self, path, key, dsid=dsid)

    def by_hdf5(self, path: str, key: str) -> Any:
        """The ``h5py.h5d.DatasetID`` of what ``dataset`` gives."""
        from h5py import Dataset, h5d

        with explained(self._data_file.path, path):
            try:  # the way it nearly always is, at a third of the cost of what h5py does more
                return h5d.open(self.file.id, path.encode())
            except (KeyError, TypeError, ValueError, UnicodeEncodeError):
                found = self.file.get(path)
            if not isinstance(found, Dataset):
                from ...catalog.hdf5.library import LibraryGroup
                from ...catalog.scan.keys import find_dataset

                section, _, source = path[1 : -len(key) - 1].partition("/")
                place = find_dataset(LibraryGroup(self.file.id), section, source, key)
                if place is None:
                    return None
                found = self.file[place]
            return found.id

    def check_unchanged(self) -> None:
        """Raise ChangedFileError if the file is not, or no longer, what its facts say."""
        path = self._data_file.path
        if self.own is not None:
            self._check(os.fstat(self.own.fd))
        if self._file is None:
            return
        from h5py import h5fd

        try:
            fid = self._file.id
            is_ordinary = fid.get_access_plist().get_driver() == h5fd.SEC2
            self._check(os.fstat(fid.get_vfd_handle()) if is_ordinary else os.stat(path))
        except FileNotFoundError as error:
            raise ChangedFileError(path, "it is no longer there") from error

    def rest(self) -> None:
        """Forget the structures of the file that were read: they may be many."""
        if self.own is not None:
            with self.lock:
                self.own.blocks.forget()

    def _check(self, found: os.stat_result) -> None:
        known = self._data_file
        if found.st_size != known.size:
            detail = f"it has {found.st_size} bytes, not {known.size}"
            raise ChangedFileError(known.path, detail)
        if found.st_mtime_ns != known.mtime_ns:
            raise ChangedFileError(known.path, "it was modified after its facts were taken")

    def close(self) -> None:
        """Close the file."""
        self._datasets.clear()
        self._close_own()
        if self._file is not None:
            self._file.close()

    def _close_own(self) -> None:
        own, self.own = self.__dict__.get("own"), None  # once: its number is another file's soon
        if own is not None:
            own.close()


def _open_own(path: str) -> OwnFile | None:
    """The file by our own reader; None where HDF5 is to open it, or to say why it cannot."""
    try:
        own = OwnFile(path, FIND_BITS)
    except (NotUnderstoodError, OSError):
        return None
    if _is_written_here(path):
        own.close()
        return None
    return own


def _is_written_here(path: str) -> bool:
    """Whether this process has a file open for writing, with changes that may not be in it yet.

    Locks of the file system tell, but HDF5 may be used without them.
    """
    if "h5py" not in sys.modules:
        return False
    from h5py import h5f

    for fid in h5f.get_obj_ids(types=h5f.OBJ_FILE):
        with suppress(OSError, ValueError):
            if fid.get_intent() != h5f.ACC_RDONLY and os.path.samefile(fid.name, path):
                return True
    return False


class OpenDataset:
    """An open dataset: the text of its type, its shape, where its chunks lie.

    Where our own reader does not know the latter (``stored``), HDF5 opens it at once, else when it
    has something to read.
    """

    def __init__(
        self,
        file: DataFileHandle,
        path: str,
        key: str,
        stored: StoredChunks | None = None,
        only: int | None = None,
        dsid: Any = None,
    ) -> None:
        # The file refers to this: without a circle it is closed as soon as nobody needs it.
        self._file: DataFileHandle = proxy(file)
        self._path, self._key = path, key
        self._stored = stored
        self._id = dsid
        self._dataset: Any = None
        self._only = only  # offset of the only chunk, once it is known
        self._map: ChunkMap | None = None
        self._is_located: NDArray[np.bool_]
        if stored is None:
            dtype, shape = dsid.dtype, dsid.shape
        else:
            dtype, shape = stored.layout.dtype, stored.layout.shape
        self.dtype = encode_dtype(dtype)
        self.shape: tuple[int, ...] = shape or (0,)  # a single value is no row

    # Not ``cached_property``: until Python 3.12 all objects of a class share its lock, and the
    # lock of a file is taken within it and around it.

    @property
    def id(self) -> Any:
        """The same as a ``h5py.h5d.DatasetID``."""
        if self._id is None:
            self._id = self._file.by_hdf5(self._path, self._key)
            if self._id is None:
                raise OSError("HDF5 finds no such dataset")
        return self._id

    @property
    def dataset(self) -> Any:
        """The same as a ``h5py.Dataset``."""
        if self._dataset is None:
            import h5py

            self._dataset = h5py.Dataset(self.id)
        return self._dataset

    @property
    def is_virtual(self) -> bool:
        """Whether its rows are those of datasets of other files."""
        return self._stored is None and bool(self.dataset.is_virtual)

    def missing_filter(self) -> str:
        """Why HDF5 cannot decode it in this process, if a filter is missing; else empty."""
        from ...catalog.hdf5.library import LibraryDataset

        return LibraryDataset(self.id).missing_filter()

    def lost_source(self, first: int, end: int) -> str:
        """A file that some of the rows are from and that is gone; empty if none is."""
        from ...catalog.hdf5.library import LibraryDataset

        return LibraryDataset(self.id).lost_source(first, end)

    def place(self, first: int, end: int) -> int | None:
        """Where in the file rows lie one behind the other, as in memory; None if they do not.

        For keys with a few rows in each of many files: most have a single chunk, which is found
        without making a map of it.
        """
        own, stored = self._file.own, self._stored
        if own is None or stored is None or not stored.layout.holds_rows:
            return None
        per_chunk = stored.layout.chunk_shape[0]
        if stored.has_only:
            if self._only is None:
                with self._file.lock:
                    try:
                        self._only = stored.locate_only(own.blocks)
                    except NotUnderstoodError:
                        self._stored = None
                        return None
            offset = self._only
        else:
            chunk = first // per_chunk
            if end > (chunk + 1) * per_chunk or (chunks := self.chunks(first, end)) is None:
                return None
            offset, first = int(chunks.offsets[chunk]), first % per_chunk
        return None if offset < 0 else offset + first * stored.layout.row_bytes

    def chunks(self, first: int, end: int) -> ChunkMap | None:
        """The chunk map, at least of rows ``first`` up to ``end``; None if HDF5 is to read them."""
        own, stored = self._file.own, self._stored
        if own is None or stored is None:
            return None
        per_chunk = stored.layout.chunk_shape[0]
        rows = slice(first // per_chunk, -(-end // per_chunk))
        with self._file.lock:
            if self._map is None:
                self._map = ChunkMap.unknown(stored.layout)
                self._is_located = np.zeros(stored.layout.grid[0], bool)
            if not self._is_located[rows].all():
                (unknown,) = (~self._is_located[rows]).nonzero()
                low, high = rows.start + int(unknown[0]), rows.start + int(unknown[-1]) + 1
                try:
                    is_all = stored.locate(own.blocks, self._map, low * per_chunk, high * per_chunk)
                except NotUnderstoodError:
                    self._stored = None
                    return None
                self._is_located[slice(None) if is_all else slice(low, high)] = True
        return self._map


# HDF5 opens no file for writing that the process has open for reading, by whichever run. The caches
# are known here so that ``hand_over`` can close a file in all of them, and for nothing else.
_CACHES: "WeakSet[OpenFiles]" = WeakSet()


def available_cpu_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class OpenFiles:
    """At most ``limit`` open data files, the ones used last. Safe to share between threads.

    ``is_copy``: it came from another process, or out of a pickle of this one.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        if limit < 1:
            raise ValueError("at least one file must be allowed to be open")
        self.limit = limit
        self.is_copy = False
        self.n_opened = 0
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.RLock()
        self._open: OrderedDict[str, DataFileHandle] = OrderedDict()
        self._in_use: dict[str, int] = {}
        self._openings: dict[str, threading.Lock] = {}  # locked while a file is being opened
        self._n_opening = 0
        self._handed_over: dict[str, Callable[[], DataFile]] = {}
        self._options: ReadOptions | None = None
        self._seen: dict[str, SeenDatasets] = {}  # by aggregator
        self._pid = os.getpid()
        _CACHES.add(self)

    def __getstate__(self) -> dict[str, int]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.limit = state["limit"]
        self.is_copy = True
        self.n_opened = 0
        self._start_afresh()

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        return f"<OpenFiles: {len(self)} of at most {self.limit}>"

    @property
    def options(self) -> ReadOptions:
        """How files are read; the settings ``threads`` and ``direct`` are looked at once."""
        if self._options is None:
            settings = load_settings()
            n_threads = settings.threads or min(available_cpu_cores(), MOST_THREADS)
            inflate = find_inflate() if settings.direct else None
            self._options = ReadOptions(n_threads, settings.direct, inflate, settings.path_map)
        return self._options

    @contextmanager
    def borrow(self, data_file: DataFile) -> Iterator[DataFileHandle]:
        """The open file, which stays open at least until the end of the block; see ``acquire``."""
        file = self.acquire(data_file)
        try:
            yield file
        finally:
            self.release(data_file)

    def acquire(self, data_file: DataFile) -> DataFileHandle:
        """The open file, which stays open at least until it is released as often.

        Raises ChangedFileError for a file of another size or time than its facts, or that is gone,
        FileStructureError for one that cannot be read, or is no HDF5 file.
        """
        if self._pid != os.getpid():
            # After a fork HDF5 handles must not be shared: forget them, without closing them.
            self._forgotten = self._open
            self._start_afresh()
        path = data_file.path
        with self._openings.setdefault(path, threading.Lock()):
            with self._lock:
                file = self._open.get(path)
                if file is not None:
                    self._use(path)
                    return file
                self._make_room(self.limit - self._n_opening)
                self._n_opening += 1
            file = None
            try:  # other files may be opened meanwhile: that may take long
                file = self._open_file(data_file)
            finally:
                with self._lock:
                    self._n_opening -= 1
                    if file is not None:
                        self._open[path] = file
                        self.n_opened += 1
                        self._use(path)
        return file

    def _use(self, path: str) -> None:
        self._open.move_to_end(path)
        self._in_use[path] = self._in_use.get(path, 0) + 1

    def release(self, data_file: DataFile) -> None:
        """Let an acquired file be closed when there are too many."""
        path = data_file.path
        with self._lock:
            self._in_use[path] -= 1
            if not self._in_use[path]:
                del self._in_use[path]
                self._open[path].rest()

    def _open_file(self, data_file: DataFile) -> DataFileHandle:
        if now := self._handed_over.get(data_file.path):
            data_file = now()
        if self.options.path_map:
            path = local_path(data_file.path, self.options.path_map)
            data_file = data_file._replace(path=path)
        seen = self._seen.setdefault(data_file.aggregator, {}) if self.options.direct else None
        return _when_possible(lambda: _open_unchanged(data_file, seen))

    def _make_room(self, limit: int) -> None:
        """Close idle files, so that with one more there are ``limit`` open if that can be."""
        too_many = len(self._open) - limit + 1
        if too_many > 0:
            idle = [path for path in self._open if path not in self._in_use]
            for path in idle[:too_many]:
                self._open.pop(path).close()

    def close(self) -> None:
        """Close the files that no one is reading; they are opened again when needed."""
        self._close(set(self._open))

    def _close(self, paths: set[str]) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            for path in [p for p in self._open if p in paths and p not in self._in_use]:
                self._open.pop(path).close()

    def hand_over(self, path: str, now: Callable[[], DataFile]) -> None:
        """Close a file, which the program may write to; ``now`` then says what it has become.

        It is closed wherever the process has it open, but for what is being read.
        """
        for cache in list(_CACHES):
            cache._close({path})
        self._handed_over[path] = now


def _when_possible(do_open: Callable[[], T]) -> T:
    """What opens a file; where the process has too many open, after all idle ones are closed."""
    try:
        return do_open()
    except FileStructureError as error:
        if getattr(error.__cause__, "errno", None) != errno.EMFILE:
            raise
    for cache in list(_CACHES):  # what other runs have open counts, too
        cache.close()
    return do_open()


def open_hdf5(path: str) -> Any:
    """The file, open for reading by h5py; ChangedFileError if it is gone, FileStructureError."""
    import h5py

    try:
        return h5py.File(path, "r")
    except READ_ERRORS as error:
        if not os.path.exists(path):
            raise ChangedFileError(path, "it is no longer there") from error
        raise FileStructureError(path, f"cannot be opened: {error}") from error


def _open_unchanged(data_file: DataFile, seen: SeenDatasets | None) -> DataFileHandle:
    opened = DataFileHandle(data_file, seen)
    try:
        opened.check_unchanged()
    except OSError:
        opened.close()
        raise
    return opened
