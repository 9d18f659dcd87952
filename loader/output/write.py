"""EXDF files of selected data: copies, and views of the files they are in.

1. ``write_file`` copies the data, a bounded part at a time; or it writes virtual datasets instead:
   each a list of slabs in the source files.
2. ``virtual_dataset`` does that for one key, and returns the open dataset.

A file has one sequence: METADATA, INDEX, RUN (where the data come from one run) and the selected
sources, without auxiliary ones. Its INDEX follows from the rows each train really has, so gaps in
the sources' INDEX are left behind. It is written under another name and takes the place of its
target when it is complete.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...catalog.hdf5.interface import READ_ERRORS
from ...catalog.model.errors import MultiRunError, TargetFileError, TargetWriteError
from ...catalog.model.names import UNIT_ATTRIBUTES
from ...catalog.model.records import decode_dtype
from ...catalog.model.runlength import UInt64s
from ..read.execute import check_dataset, execute_plan
from ..read.plan import ReadPlan
from ..read.selected import SelectedData, SelectedKey, SelectedSource
from ..select.sources import is_single_run

_TEXT = h5py.string_dtype("ascii")
_PART_BYTES = 128 << 20  # in memory at once while a key is copied
_CHUNK_BYTES = 256 << 10  # well below the chunk cache of HDF5, 1 MiB


@dataclass(frozen=True, eq=False)
class WrittenRows:
    """What is written of a key."""

    plan: ReadPlan
    """How its data are read."""
    bounds: tuple[UInt64s, UInt64s]
    """First and last (not included) row of each train among them, (trains,)."""

    @classmethod
    def every(cls, key: SelectedKey) -> "WrittenRows":
        """All rows of a key."""
        return cls(key.plan(), key.rows.bounds)


PutData = Callable[[h5py.Group, str, SelectedKey, ReadPlan], h5py.Dataset]
ChooseRows = Callable[[SelectedKey], WrittenRows]


def write_file(
    data: SelectedData,
    filename: str | os.PathLike[str],
    choose: ChooseRows = WrittenRows.every,
    *,
    virtual: bool = False,
) -> None:
    """Copy the selected data to a new file, or write one of views of them.

    See ``DataCollection.write`` and ``DataCollection.write_virtual``. ``choose`` says which rows of
    each key; keys of one index group have the same.
    """
    put, legacy = _link if virtual else _copy, data.legacy
    paths = {Path(ref.path) for ref in data.table.refs}
    trains = data.trains.ids
    rows: list[tuple[str, str]] = []
    with replacing(Path(filename), paths) as f:
        for name in sorted(data.sources):
            if legacy.get(name) in data.sources:  # it is written under its new name
                continue
            source = data.source(name)
            rows += _write_source(f, source, trains, put, choose)
            _write_run_section(f, source)
            for old in sorted(old for old, new in legacy.items() if new == name):
                for section in ("INSTRUMENT", "INDEX"):
                    f[f"{section}/{old}"] = h5py.SoftLink(f"/{section}/{name}")
                rows += [("INSTRUMENT", f"{old}/{g}") for g in sorted(source.index_groups)]
        times = data.timestamps()
        f["INDEX/trainId"] = trains
        # Times of a modern file may all be 0, which is none.
        used = [ref for ref in data.table.refs if ref.trains.overlaps(data.trains)]
        is_modern = any(ref.facts.timestamps(ref.number) is not None for ref in used)
        metadata = f.create_group("METADATA")
        if is_modern:
            known = np.where(np.isnat(times), 0, times.astype("datetime64[ns]").astype(np.int64))
            f["INDEX/timestamp"] = known.astype(np.uint64)
            lists = dict.fromkeys(ref.listed for ref in data.table.refs)
            good = np.concatenate([trains[:0], *(t.ids[t.good] for t in lists)])
            suspect = np.concatenate([trains[:0], *(t.ids[t.suspect] for t in lists)])
            # Suspect in some file, and good in none.
            is_good = ~np.isin(trains, suspect) | np.isin(trains, good)
            f["INDEX/flag"] = is_good.astype(np.int32)
            _write_run_metadata(metadata, data)
        _write_source_list(metadata.create_group("dataSources") if is_modern else metadata, rows)


def virtual_dataset(
    key: SelectedKey, filename: str | os.PathLike[str] | None = None
) -> h5py.Dataset:
    """One virtual dataset in a file; see ``DataCollection.get_virtual_dataset``."""
    if filename is None:
        handle, name = tempfile.mkstemp(prefix="xfelcat-", suffix=".h5")
        os.close(handle)
        target = Path(name)
    else:
        target = Path(filename)
    trains = key.trains.ids
    with replacing(target, {Path(ref.path) for ref in key.refs}) as f:
        f["INDEX/trainId"] = trains
        group = f"{key.entry.name}/{key.record.group}".rstrip("/")
        _write_source_list(f.create_group("METADATA"), [(key.entry.section, group)])
        written = WrittenRows.every(key)
        _write_index(f, group, key, trains, written)
        dataset = _put_key(f, key, _link, written)
        path = dataset.name
    return h5py.File(target, "r")[path]


@contextmanager
def replacing(target: Path, sources: set[Path]) -> Iterator[h5py.File]:
    """A new file that takes the place of ``target`` once it is complete."""
    target = Path(os.path.realpath(target))
    if target.exists():
        if not target.is_file():  # a pipe or a device, that HDF5 cannot write to
            raise TargetWriteError(str(target), "it is no regular file")
        for path in sources:
            if path.exists() and path.samefile(target):
                raise TargetFileError(str(target))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        try:
            stream = _Stream(partial)
        except OSError as error:
            error.filename = str(target)
            raise
        with closing(stream):
            try:
                with h5py.File(stream, "w") as f:
                    f.attrs["writer"] = f"xfelcat {version('xfelcat')}"
                    yield f
            except READ_ERRORS:  # may be of what could not be written before
                if stream.error is None:
                    raise
        try:
            if stream.error is not None:
                raise stream.error
            partial.replace(target)
        except OSError as error:
            raise TargetWriteError(str(target), error.strerror or str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


class _Stream:
    """The file that HDF5 writes to, with the first ``error`` of it.

    HDF5 crashes the process when its last writes fail, as they do on a full disk: here they succeed
    as far as it knows.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (``close`` closes it)
        self.error: OSError | None = None
        self.seek, self.tell, self.flush = self._file.seek, self._file.tell, self._file.flush
        self.read, self.readinto = self._file.read, self._file.readinto

    def write(self, data: Any) -> int:
        """Write all of it, unless something has failed before."""
        left = memoryview(data).cast("B")
        with self._kept():
            while left and self.error is None:
                left = left[self._file.write(left) :]
        return memoryview(data).nbytes

    def truncate(self, size: int) -> int:
        """Give the file this size."""
        with self._kept():
            self._file.truncate(size)
        return size

    def close(self) -> None:
        """Close the file, whatever has become of it."""
        with self._kept():  # a quota may be found to be exceeded as late as here
            self._file.close()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


def _write_source(
    f: h5py.File,
    source: SelectedSource,
    trains: UInt64s,
    put: PutData,
    choose: ChooseRows,
) -> list[tuple[str, str]]:
    """Data and INDEX of a source; the rows of the source list about it."""
    indexed: set[str] = set()
    for name in sorted(source.keys()):
        key = source.key(name)
        group = f"{source.entry.name}/{key.record.group}".rstrip("/")
        written = choose(key)
        if group not in indexed:
            indexed.add(group)
            _write_index(f, group, key, trains, written)
        _put_key(f, key, put, written)
    if source.is_control:
        f.require_group(f"CONTROL/{source.entry.name}")
        indexed.add(source.entry.name)
    return [(source.entry.section, group) for group in sorted(indexed)]


def _write_index(
    f: h5py.File, group: str, key: SelectedKey, trains: UInt64s, written: WrittenRows
) -> None:
    """first and count of an index group; a train without rows goes on where the last one ended."""
    start, stop = written.bounds
    at = np.searchsorted(trains, key.trains.ids)
    first, count = np.zeros((2, trains.size), dtype=np.int64)
    first[at], count[at] = start.astype(np.int64), (stop - start).astype(np.int64)
    ends = np.maximum.accumulate(np.where(count > 0, first + count, 0))
    before = np.concatenate(([0], ends[:-1]))[: trains.size]
    f[f"INDEX/{group}/first"] = np.where(count > 0, first, before).astype(np.uint64)
    f[f"INDEX/{group}/count"] = count.astype(np.uint64)


def _put_key(f: h5py.File, key: SelectedKey, put: PutData, written: WrittenRows) -> h5py.Dataset:
    """The data of a key, and its unit."""
    home = f.require_group(key.entry.section)
    dataset = put(home, f"{key.entry.name}/{key.name.replace('.', '/')}", key, written.plan)
    record = key.record
    if record.unit_symbol or record.unit_name:
        described = dataset.parent if key.source.is_control else dataset
        described.attrs.update(zip(UNIT_ATTRIBUTES, record[-4:], strict=True))
    return dataset


def _stored_dtype(key: SelectedKey, plan: ReadPlan) -> np.dtype[Any]:
    """The type of a key's datasets, which also says what strings are, and how they are encoded."""
    for piece in plan.pieces[:1]:
        with key.source.files.borrow(piece.data_file) as opened:
            dtype: np.dtype[Any] = check_dataset(plan, piece, opened).dataset.dtype
            return dtype
    return decode_dtype(plan.record.dtype)


def _copy(home: h5py.Group, path: str, key: SelectedKey, plan: ReadPlan) -> h5py.Dataset:
    """A dataset with the data of a key, copied in parts of bounded size."""
    dtype = _stored_dtype(key, plan)
    row_bytes = max(dtype.itemsize * int(np.prod(key.entry_shape, dtype=np.int64)), 1)
    chunk_rows = max(1, min(_CHUNK_BYTES // row_bytes, plan.n_rows))
    dataset = home.create_dataset(
        path,
        shape=plan.shape,
        maxshape=(None, *plan.shape[1:]),
        dtype=dtype,
        # A dimension of length 0 cannot be in a chunk.
        chunks=(chunk_rows, *(max(n, 1) for n in plan.shape[1:])),
    )
    for piece in plan.pieces if all(plan.shape) else ():
        for at, slabs in piece.portions(max(1, _PART_BYTES // row_bytes)):
            part = replace(plan, pieces=(slabs,), n_rows=slabs.n_rows)
            rows = execute_plan(part, key.source.files)
            # numpy keeps the encoding of fixed-length text in the metadata of a type.
            is_whole = dtype.hasobject or dtype.subdtype is not None
            dataset[at : at + part.n_rows] = rows if is_whole else rows.view(dtype)
    return dataset


def _link(home: h5py.Group, path: str, key: SelectedKey, plan: ReadPlan) -> h5py.Dataset:
    """A virtual dataset that shows the data of a key in their files."""
    dtype = _stored_dtype(key, plan)
    layout = h5py.VirtualLayout(shape=plan.shape, dtype=dtype)
    for start, stop, at, shown in shown_slabs(key, plan):
        layout[at : at + stop - start] = shown[start:stop]
    if not plan.pieces:
        return home.create_dataset(path, shape=plan.shape, dtype=dtype)
    return home.create_virtual_dataset(path, layout)


def shown_slabs(
    key: SelectedKey, plan: ReadPlan
) -> Iterator[tuple[int, int, int, h5py.VirtualSource]]:
    """Start, stop and target of each slab of a plan, and its dataset for a virtual layout."""
    for piece in plan.pieces:
        # HDF5 reads % in these names as the start of a pattern.
        name = os.path.abspath(piece.data_file.path).replace("%", "%%")
        # HDF5 shows fill values for what is not there: better to find out now.
        with key.source.files.borrow(piece.data_file) as opened:
            dataset = check_dataset(plan, piece, opened).dataset
            inside, dtype = dataset.name.replace("%", "%%"), dataset.dtype
        shape = (piece.end, *key.entry_shape)
        shown = h5py.VirtualSource(name, inside, shape=shape, dtype=dtype)
        for start, stop, at in piece.listed():
            yield start, stop, at, shown


def _write_run_section(f: h5py.File, source: SelectedSource) -> None:
    """RUN of a control source that comes from a single run."""
    if not source.is_control or not is_single_run(source.entry.refs):
        return
    home = f.require_group(f"RUN/{source.entry.name}")
    for key, value in source.run_values().items():
        path = key.replace(".", "/")
        if isinstance(value, str):
            text = np.array([value], dtype=object)
            home.create_dataset(path, data=text, dtype=h5py.string_dtype())
        else:
            data = np.asarray(value)[None]
            # HDF5 has no type for the times of numpy, which h5py keeps as opaque bytes.
            kind = h5py.opaque_dtype(data.dtype) if data.dtype.kind in "mM" else data.dtype
            home[path] = data.astype(kind)


def _write_texts(home: h5py.Group, name: str, texts: list[str]) -> None:
    home.create_dataset(name, data=np.array(texts, dtype=object), dtype=_TEXT, maxshape=(None,))


def _write_source_list(home: h5py.Group, rows: list[tuple[str, str]]) -> None:
    """The source list; (section, source and index group) by row."""
    _write_texts(home, "dataSourceId", [f"{section}/{device}" for section, device in rows])
    _write_texts(home, "deviceId", [device for _, device in rows])
    _write_texts(home, "root", [section for section, _ in rows])


def _write_run_metadata(home: h5py.Group, data: SelectedData) -> None:
    """What METADATA of the sources says about the run; the version is that of the new file."""
    try:
        metadata = data.run_metadata()
    except MultiRunError:
        metadata = {}
    metadata |= {"dataFormatVersion": "1.0", "sequenceNumber": 0}
    for name, value in metadata.items():
        if isinstance(value, str):
            _write_texts(home, name, [value])
        else:
            home[name] = np.array([value], dtype=np.uint32)
