"""Zarr references: other tools read a key's data where they are, without xfelcat and HDF5.

References are the metadata of Zarr arrays, and for each chunk the file, offset and size of its
bytes, in the form that kerchunk made known (``fsspec``'s reference file system, zarr, xarray,
VirtualiZarr read it). Only the train of each row is copied.

1. ``zarr_references`` and ``write_zarr_references``: for some keys of a source.
2. ``_refer_to`` finds for one key the bytes of every chunk of one array over all its files, by
   their chunk maps.
3. ``_find_rows_per_chunk``: Zarr's chunks have one size. Chunks that went through filters must be
   as they are, and line up; others are cut into parts so small that all boundaries are met.
"""

import base64
import json
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.hdf5.chunks import ABSENT, UNUSUAL, ChunkMap, NotPlainError
from ...catalog.model.errors import IrregularDataError, NoDataError, TargetWriteError
from ...catalog.model.names import short_key
from ...catalog.model.runlength import Int64s, UInt64s
from ...catalog.questions.export import replacing_file
from ...catalog.store.versions import is_text
from ..read.execute import check_dataset
from ..read.plan import ReadPlan
from ..read.selected import HasSelectedKey, SelectedKey
from ..select.rows import FileSlabs
from .convert import name_dimensions

Progress = Callable[[int, int], None]

CHUNK_BYTES = 64 * 2**20  # of contiguous data: readers fetch a whole chunk for any row of it
MOST_CHUNKS = 4_000_000  # references to so many are about 1 GB of Python objects
RECORD_SIZE = 100_000  # chunks per Parquet file, as kerchunk has by default
_IN_ONE_FILE = (
    "select trains that lie in one file and begin with a chunk (or with the file), "
    "or write() a copy of the data and export that"
)


@dataclass(frozen=True, eq=False, slots=True)
class _Array:
    """One Zarr array: its metadata, and of each chunk, in C order, file, offset and size.

    ``file`` counts in ``paths``; -1: not stored.
    """

    metadata: dict[str, Any]
    attributes: dict[str, Any]
    paths: list[str]
    file: NDArray[np.int32]
    offset: Int64s
    size: Int64s

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.metadata["shape"])


@dataclass(frozen=True, eq=False, slots=True)
class _Piece:
    """The slabs of one file, how the file stores the data, and what stands for absent chunks."""

    slabs: FileSlabs
    chunks: ChunkMap
    fill: Any

    @property
    def path(self) -> str:
        return os.path.abspath(self.slabs.data_file.path)

    @property
    def codecs(self) -> tuple[dict[str, Any], ...]:
        return self.chunks.layout.codecs

    @property
    def chunk_shape(self) -> tuple[int, ...] | None:
        """None where the data are one stretch of bytes."""
        layout = self.chunks.layout
        return None if layout.contiguous else layout.chunk_shape


def zarr_references(
    keys: HasSelectedKey | Iterable[HasSelectedKey], *, progress: Progress | None = None
) -> dict[str, Any]:
    """References to the data of some keys of one source, as Zarr arrays over trains.

    Arrays are named by key, without ``.value``; ``trainId`` is the train of each row.

    Parameters
    ----------
    keys
        A key, or several of one source with the same rows: of one index group, for the same trains.
    progress
        Called with how many files are done, of how many.

    Returns
    -------
    dict
        For ``fsspec.filesystem("reference", fo=...)``; JSON can hold it.

    Raises
    ------
    IrregularDataError
        The bytes are for HDF5 only, or the chunks of the files do not line up. It says where.
    NoDataError
        There are no data in the selected trains.
    ValueError
        The keys do not have the same rows.
    """
    return _references(*_find_arrays(keys, progress))


def write_zarr_references(
    keys: HasSelectedKey | Iterable[HasSelectedKey],
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the references of ``zarr_references`` to a file.

    Parameters
    ----------
    keys, progress
        As there.
    path
        A file ``*.json``, or a directory ``*.parquet`` (also ``*.parq``): Parquet is smaller, and
        readers load only the part that they need.
    force
        Replace what is there.

    Raises
    ------
    TargetWriteError
        It exists and ``force`` is not set, or it cannot be written.
    IrregularDataError, NoDataError, ValueError
        As there.
    """
    target = Path(os.path.expanduser(path)).absolute()
    if target.suffix not in (".json", ".parquet", ".parq"):
        raise TargetWriteError(str(target), "its name must end in .json or .parquet")
    if os.path.lexists(target) and not force:
        raise TargetWriteError(str(target), "it exists; --force (force=True) replaces it")
    arrays, trains = _find_arrays(keys, progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix != ".json":
            _write_parquet(arrays, trains, target)
            return
        with replacing_file(target) as file:
            file.write(json.dumps(_references(arrays, trains)).encode())
    except OSError as error:
        raise TargetWriteError(str(target), error.strerror or str(error)) from error


# -- what is written -----------------------------------------------------------------------------


def _references(arrays: dict[str, _Array], trains: UInt64s) -> dict[str, Any]:
    metadata = _metadata(arrays, trains)
    refs: dict[str, Any] = {name: json.dumps(value) for name, value in metadata.items()}
    refs[".zmetadata"] = json.dumps({"zarr_consolidated_format": 1, "metadata": metadata})
    refs["trainId/0"] = f"base64:{base64.b64encode(_packed(trains)).decode()}"
    for name, array in arrays.items():
        chunks = array.metadata["chunks"]
        grid = (range(-(-n // c)) for n, c in zip(array.shape, chunks, strict=True))
        columns = (array.file.tolist(), array.offset.tolist(), array.size.tolist())
        for at, file, offset, size in zip(product(*grid), *columns, strict=True):
            if file >= 0:
                refs[f"{name}/{'.'.join(map(str, at))}"] = [array.paths[file], offset, size]
    return {"version": 1, "refs": refs}


def _metadata(arrays: dict[str, _Array], trains: UInt64s) -> dict[str, Any]:
    """The metadata of the group and of each array, by their names in the store."""
    dims = name_dimensions({name: array.shape for name, array in arrays.items()})
    found: dict[str, Any] = {".zgroup": {"zarr_format": 2}, ".zattrs": {}}
    for name, array in arrays.items():
        found[f"{name}/.zarray"] = array.metadata
        found[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": dims[name]} | array.attributes
    codec = {"id": "zlib", "level": 9}
    found["trainId/.zarray"] = _zarray(trains.shape, trains.shape, trains.dtype, (codec,), None)
    found["trainId/.zattrs"] = {"_ARRAY_DIMENSIONS": ["trainId"]}
    return found


def _zarray(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    codecs: Sequence[dict[str, Any]],
    fill: Any,
) -> dict[str, Any]:
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": dtype.str,
        "compressor": None,
        "filters": list(codecs) or None,
        "fill_value": fill,
        "order": "C",
    }


def _packed(trains: UInt64s) -> bytes:
    return zlib.compress(trains.astype("<u8").tobytes(), 9)


def _write_parquet(arrays: dict[str, _Array], trains: UInt64s, target: Path) -> None:
    """A directory per array with files of so many chunks each, and the metadata beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        draft = Path(folder) / "new"
        metadata = _metadata(arrays, trains)
        head = {"zarr_consolidated_format": 1, "record_size": RECORD_SIZE, "metadata": metadata}
        (draft / "trainId").mkdir(parents=True)
        (draft / ".zmetadata").write_text(json.dumps(head), encoding="utf-8")
        packed = pa.table({"raw": pa.array([_packed(trains)], pa.binary())})
        pq.write_table(packed, draft / "trainId/refs.0.parq")
        for name, array in arrays.items():
            (draft / name).mkdir()
            for number, at in enumerate(range(0, array.file.size, RECORD_SIZE)):
                part = slice(at, at + RECORD_SIZE)
                file = pa.array(array.file[part], mask=array.file[part] < 0)
                path = pa.DictionaryArray.from_arrays(file, pa.array(array.paths, pa.string()))
                columns = {"path": path, "offset": array.offset[part], "size": array.size[part]}
                pq.write_table(pa.table(columns), draft / f"{name}/refs.{number}.parq")
        old = Path(folder) / "old"
        if os.path.lexists(target):
            target.rename(old)
        try:
            draft.rename(target)
        except BaseException:
            if os.path.lexists(old):
                old.rename(target)
            raise


# -- what is referred to -------------------------------------------------------------------------


def _find_arrays(
    keys: HasSelectedKey | Iterable[HasSelectedKey], progress: Progress | None
) -> tuple[dict[str, _Array], UInt64s]:
    """The arrays by name, and the train of each of their rows."""
    given = keys if isinstance(keys, Iterable) else [keys]
    chosen = [key.selected for key in given]
    if not chosen:
        raise ValueError("no key is named")
    first, trains = chosen[0], chosen[0].rows.coordinates
    for key in chosen:
        source = key.entry.name
        if source != first.entry.name or not np.array_equal(key.rows.coordinates, trains):
            raise ValueError(
                f"{source!r} {key.name!r} does not have the rows of {first.entry.name!r}"
                f" {first.name!r}; export them to files of their own"
            )
        if not (trains.size and math.prod(key.entry_shape)):
            raise NoDataError(source, key.name)
    plans = [key.plan() for key in chosen]
    total = sum(len(plan.pieces) for plan in plans)
    arrays: dict[str, _Array] = {}
    done = 0
    for key, plan in zip(chosen, plans, strict=True):
        pieces = []
        for slabs in plan.pieces:
            pieces.append(_find_piece(key, plan, slabs))
            done += 1
            if progress:
                progress(done, total)
        arrays[short_key(key.name)] = _refer_to(key, pieces, plan.n_rows)
    return arrays, trains


def _find_piece(key: SelectedKey, plan: ReadPlan, slabs: FileSlabs) -> _Piece:
    path = slabs.data_file.path
    if not is_text(Path(path)):
        raise _irregular(key, repr(path), "its path is not UTF-8", "rename it")
    with key.source.files.borrow(slabs.data_file) as opened:
        dataset = check_dataset(plan, slabs, opened).dataset
        from ...catalog.hdf5.library import find_layout, locate_chunks

        try:
            layout = find_layout(dataset, opened.file)
            chunks = locate_chunks(dataset, layout)
            unusual = np.flatnonzero(chunks.offsets == UNUSUAL)
            if unusual.size:
                row = unusual[0] // math.prod(layout.grid[1:]) * layout.chunk_shape[0]
                raise NotPlainError(f"the chunk of row {row} is not stored like the others")
        except NotPlainError as error:
            raise _irregular(key, path, str(error), "read it by HDF5") from None
        return _Piece(slabs, chunks, dataset.fillvalue)


def _irregular(key: SelectedKey, path: str, reason: str, advice: str) -> IrregularDataError:
    return IrregularDataError(key.entry.name, key.name, path, reason, advice)


def _refer_to(key: SelectedKey, pieces: list[_Piece], n_rows: int) -> _Array:
    """One Zarr array over all the files of a key."""
    per_chunk = _find_rows_per_chunk(key, pieces)
    first = pieces[0].chunks.layout
    entry_chunk = key.entry_shape if first.contiguous else first.chunk_shape[1:]
    shape, chunk = (n_rows, *key.entry_shape), (per_chunk, *entry_chunk)
    n_bytes = math.prod(chunk) * first.dtype.itemsize
    grid = tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    if math.prod(grid) > MOST_CHUNKS:
        reason = f"it would take {math.prod(grid)} references to {n_bytes} bytes each"
        raise _irregular(key, pieces[0].path, reason, "select fewer trains, or of one file")
    file = np.full((grid[0], math.prod(grid[1:])), ABSENT, np.int32)
    offset, size = np.zeros(file.shape, np.int64), np.zeros(file.shape, np.int64)
    paths = list(dict.fromkeys(piece.path for piece in pieces))
    for piece in pieces:
        for rows, offsets, sizes in _cut(piece, per_chunk, n_bytes):
            file[rows] = np.where(offsets < 0, ABSENT, paths.index(piece.path))
            offset[rows], size[rows] = offsets, sizes
    fill = _fill_value(key, pieces) if (file < 0).any() else None
    metadata = _zarray(shape, chunk, first.dtype, first.codecs, fill)
    attributes = {"source": key.entry.name, "key": key.name}
    attributes |= {"units": key.units} if key.units else {}
    return _Array(metadata, attributes, paths, file.ravel(), offset.ravel(), size.ravel())


def _cut(piece: _Piece, per_chunk: int, n_bytes: int) -> Iterator[tuple[slice, Int64s, Int64s]]:
    """Of each slab, its chunks along the rows, and offsets and sizes of all in these."""
    layout = piece.chunks.layout
    places = (layout.grid[0], math.prod(layout.grid[1:]))
    all_offsets, all_sizes = (a.reshape(places) for a in (piece.chunks.offsets, piece.chunks.sizes))
    parts = 1 if layout.contiguous else layout.chunk_shape[0] // per_chunk
    for start, stop, at in piece.slabs.listed():
        n_chunks = -(-(stop - start) // per_chunk)
        number = start // per_chunk + np.arange(n_chunks)
        rows = slice(at // per_chunk, at // per_chunk + n_chunks)
        if layout.contiguous:
            base, inside = all_offsets[np.zeros_like(number)], number
        else:
            base, inside = all_offsets[number // parts], number % parts
        if layout.codecs or (not layout.contiguous and parts == 1):
            yield rows, base, all_sizes[number]
        else:
            offsets = np.where(base < 0, ABSENT, base + inside[:, np.newaxis] * n_bytes)
            yield rows, offsets, np.full(base.shape, n_bytes)


def _fill_value(key: SelectedKey, pieces: list[_Piece]) -> Any:
    """What stands for chunks that are not stored, as Zarr writes it."""
    values = [piece.fill for piece in pieces]
    for piece, value in zip(pieces, values, strict=True):
        if not np.array_equal(value, values[0], equal_nan=value.dtype.kind in "fc"):
            reason = f"it has the fill value {value}, {pieces[0].path} has {values[0]}"
            raise _irregular(key, piece.path, reason, _IN_ONE_FILE)
    value = values[0]
    if not value:  # zarr's default; xarray takes a fill value that is given for missing data
        return None
    if value.dtype.kind == "S":
        return base64.b64encode(bytes(value)).decode()
    if value.dtype.kind == "c":
        return [_zarr_number(value.real), _zarr_number(value.imag)]
    return _zarr_number(value)


def _zarr_number(value: Any) -> Any:
    if value.dtype.kind == "f" and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "-Infinity" if value < 0 else "Infinity"
    return value.item()


# -- how it fits together ------------------------------------------------------------------------


def _find_rows_per_chunk(key: SelectedKey, pieces: list[_Piece]) -> int:
    """How many rows a chunk of the array has; raises IrregularDataError if no number will do."""
    first = pieces[0].chunks.layout
    for piece in pieces[1:]:
        _require_alike(key, pieces[0], piece)
    row_bytes = math.prod(key.entry_shape) * first.dtype.itemsize
    if not first.holds_rows:
        _require_lined_up(key, pieces, first.chunk_shape[0])
        return first.chunk_shape[0]
    edges = [piece.chunk_shape[0] for piece in pieces if piece.chunk_shape]
    for piece in pieces:
        edges += piece.slabs.starts.tolist()
        edges += piece.slabs.targets.tolist()
        if piece.chunk_shape is None:  # nothing may be read behind its end
            edges.append(int(piece.slabs.stops[-1] - piece.slabs.starts[-1]))
    number, most = math.gcd(*edges), max(CHUNK_BYTES // max(row_bytes, 1), 1)
    if number <= most:
        return number or most  # 0: every edge is at row 0
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return max(n for m in small for n in (m, number // m) if n <= most)


def _require_alike(key: SelectedKey, first: _Piece, piece: _Piece) -> None:
    if first.codecs != piece.codecs:
        here, there = (
            " and ".join(f"{c['id']} {c['level']}" if "level" in c else c["id"] for c in p.codecs)
            or "no filter"
            for p in (piece, first)
        )
        reason = f"its chunks go through {here}, those of {first.path} {there}"
        raise _irregular(key, piece.path, reason, _IN_ONE_FILE)
    plain = first.chunks.layout.holds_rows and piece.chunks.layout.holds_rows
    if not plain and first.chunk_shape != piece.chunk_shape:
        here, there = (
            f"in chunks of {p.chunk_shape}" if p.chunk_shape else "without chunks"
            for p in (piece, first)
        )
        raise _irregular(
            key, piece.path, f"it is stored {here}, {first.path} {there}", _IN_ONE_FILE
        )


def _require_lined_up(key: SelectedKey, pieces: list[_Piece], per_chunk: int) -> None:
    """Raise unless all slabs begin with a chunk in their file and in the array."""
    before: str | None = None
    for piece in pieces:
        for start, stop, at in piece.slabs.listed():
            if start % per_chunk:
                reason = f"row {start} begins inside a chunk of {per_chunk} rows"
                raise _irregular(key, piece.path, reason, _IN_ONE_FILE)
            if at % per_chunk:
                reason = (
                    f"its rows would begin inside a chunk of {per_chunk} rows, since there are"
                    f" {at} before them, the last {before}"
                )
                raise _irregular(key, piece.path, reason, _IN_ONE_FILE)
            before = f"up to its row {stop}"
        before = f"in {piece.path}"
