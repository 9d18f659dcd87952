"""Reading of the modules of a detector into one array, and its dask graph.

All modules are read as one job: each to its place in the one array, files side by side, chunks
decompressed by all threads, without a second copy. What no file has is filled, and only that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...catalog.model.errors import InconsistentFilesError
from ...catalog.model.runlength import Int64s
from ..output.convert import CHUNK_BYTES
from ..read.plan import ReadPlan, difference
from ..read.selected import SelectedKey
from ..select.selection import Region
from .frames import Frames, PulseChoice, place_slabs
from .selected import SelectedModules, split_by_frames

# Read at once of a mask, which is as large as the data it is for: it is not to double the memory.
MASK_BYTES = 64 * 2**20


class Where(NamedTuple):
    """Where data of modules go."""

    out: NDArray[Any]
    """An array, (modules, entries, ...)."""
    modules: Sequence[int]
    """The position of each module in it."""
    to: Int64s | None = None
    """The position of each entry in it, (entries,); None where they are in order."""


def allocate(shape: tuple[int, ...], dtype: DTypeLike, out: NDArray[Any] | None) -> NDArray[Any]:
    """``out`` if it is given and fits, else a new array."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, the data {shape}")
    return out


def fill_of(dtype: np.dtype[Any], fill_value: Any) -> Any:
    """What stands for missing data of a type: the value asked for, else NaN or 0.

    Raises ValueError where the type cannot hold it.
    """
    if fill_value is None:
        return dtype.type(np.nan) if dtype.kind in "fc" else np.zeros((), dtype)[()]
    try:
        with np.errstate(all="raise"):
            fill = np.array(fill_value).astype(dtype)[()]
        is_exact = dtype.kind not in "iub" or fill == fill_value
    except (FloatingPointError, OverflowError, TypeError, ValueError):
        is_exact = False
    if not is_exact:
        raise ValueError(f"data of type {dtype} cannot be filled with {fill_value}: give astype")
    return fill


def read_modules(
    keys: Sequence[SelectedKey],
    frames: Frames,
    region: Region,
    where: Where,
    fill_value: Any,
    n_threads: int | None = None,
) -> None:
    """Read a region of every entry of one key of all modules; what is missing is filled.

    Positions of ``where.out`` that are of no module or no entry are filled too, unless
    ``where.to`` says where entries go: then they stay as they are.
    """
    from ..read.execute import execute_plans

    out, at, to = where
    fill = fill_of(out.dtype, fill_value)
    if to is None:
        absent = sorted(set(range(len(out))) - set(at))
        out[absent] = fill
    places = frames.places if to is None else frames.moved(to)
    plans, targets = [], []
    for key, place, position in zip(keys, places, at, strict=True):
        module = out[position]
        rows = place.of_rows
        _fill_gaps(module, rows, to, len(frames), fill)
        plan = plan_module(key, keys[0], region, len(module), rows)
        if plan.pieces:
            plans.append(plan)
            targets.append(module)
    if plans:
        execute_plans(plans, keys[0].source.files, targets, n_threads)


def _fill_gaps(
    module: NDArray[Any], place: Int64s | None, to: Int64s | None, n_frames: int, fill: Any
) -> None:
    """Fill the entries that a module lacks."""
    if place is None:
        return
    lacks = np.zeros(len(module), bool)
    lacks[np.arange(n_frames) if to is None else to] = True
    lacks[place[place >= 0]] = False
    if lacks.any():
        module[lacks] = fill


def plan_module(
    key: SelectedKey, first: SelectedKey, region: Region | None, n_rows: int, place: Int64s | None
) -> ReadPlan:
    """The plan to read one module into ``n_rows`` rows, each row to its place.

    Raises InconsistentFilesError if type or shape are not those of the first module.
    """
    plan = key.plan(region)
    record, expected = plan.record, first.record
    if (record.dtype, record.entry_shape) != (expected.dtype, expected.entry_shape):
        detail = difference(expected, record.dtype, record.entry_shape)
        paths = (first.refs[0].path, key.refs[0].path) if first.refs and key.refs else ("", "")
        raise InconsistentFilesError(key.entry.name, key.name, detail, paths)
    pieces = plan.pieces
    if place is not None:
        pieces = tuple(p for s in pieces if (p := place_slabs(s, place)) is not None)
    return replace(plan, n_rows=n_rows, pieces=pieces)


@dataclass(frozen=True)
class Mask:
    """Which pixels of corrected data are replaced."""

    key: str
    """The key with a bit field per pixel."""
    bits: int | None
    """Reasons to replace a pixel; None for any."""
    value: Any
    """What replaces it."""


def apply_mask(
    mask: Mask,
    keys: Sequence[SelectedKey],
    frames: Frames,
    region: Region,
    where: Where,
    n_threads: int | None,
) -> None:
    """Replace the pixels whose mask is set; some frames after the other, to save memory."""
    out, at, to = where
    value = fill_of(out.dtype, mask.value)
    entry_bytes = max(len(keys) * prod(region.shape) * keys[0].dtype.itemsize, 1)
    step = max(MASK_BYTES // entry_bytes, 1)
    for start in range(0, len(frames), step):
        block = np.zeros(len(frames), bool)
        block[start : start + step] = True
        some = frames.chosen(block)
        read = np.empty((len(keys), len(some), *region.shape), keys[0].dtype)
        read_modules(keys, some, region, Where(read, range(len(keys))), 0, n_threads)
        if mask.bits is not None:
            read &= read.dtype.type(mask.bits)
        for bits, position in zip(read, at, strict=True):
            module = out[position]
            if to is None:
                module[start : start + step][bits != 0] = value
            else:
                number, *pixel = np.nonzero(bits)
                module[(to[start + number], *pixel)] = value


class DaskSource(Protocol):
    """What ``to_dask`` makes an array of: ``MultimodKeyData``."""

    key: str
    mask: Mask | None
    pulses: PulseChoice
    selected: SelectedModules

    @property
    def keys(self) -> tuple[SelectedKey, ...]:
        """The key of each module."""

    @property
    def frames(self) -> Frames:
        """The entries."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all the data."""

    def of(self, selected: SelectedModules) -> Self:
        """The same for other modules or trains."""

    def read(
        self,
        out: NDArray[Any],
        roi: Any,
        fill_value: Any,
        modules: list[int] | None = None,
        to: Int64s | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Read into an array."""


def to_dask(
    data: DaskSource,
    fill_value: Any,
    astype: DTypeLike | None,
    frames_per_chunk: int | None = None,
) -> Any:
    """A dask array of one key of all modules, with all modules in each chunk.

    A task has the trains it reads, and shares everything else with the others: the graph of 10^4
    chunks is made, and sent, in the time of one. What they share is there by value: no worker opens
    a catalog.
    """
    import dask.array as da
    from dask.base import tokenize

    dtype = np.dtype(astype or data.dtype)
    fill = fill_of(dtype, fill_value)
    shape, counts = data.shape, data.frames.counts
    if not shape[1]:
        return da.zeros(shape, dtype=dtype, chunks=shape)
    if frames_per_chunk is None:
        frames_per_chunk = max(
            CHUNK_BYTES // max(prod(shape[2:]) * shape[0] * dtype.itemsize, 1), 1
        )
    bounds = split_by_frames(counts, frames_per_chunk)
    sizes = np.add.reduceat(counts, bounds[:-1]).tolist()
    name = f"xfelcat-{tokenize(_identity(data), str(dtype), str(fill))}"
    graph: dict[Any, Any] = {(name, "data"): _Shared(_by_value(data), dtype, fill)}
    last = (0,) * (len(shape) - 2)
    at = 0
    for start, stop, size in zip(bounds[:-1], bounds[1:], sizes, strict=True):
        if size:
            graph[name, 0, at, *last] = (_read_chunk, (name, "data"), start, stop)
            at += 1
    chunks = ((shape[0],), tuple(n for n in sizes if n), *((n,) for n in shape[2:]))
    meta = np.empty((0,) * len(shape), dtype)
    return da.Array(graph, name, chunks=chunks, meta=meta)  # type: ignore[no-untyped-call]


def _by_value(data: DaskSource) -> DaskSource:
    """The same data, without need of a catalog where it is unpickled."""
    of_mask = () if data.mask is None else data.selected.keys(data.mask.key)
    return data.of(data.selected.by_value({key.record.group for key in (*data.keys, *of_mask)}))


def _identity(data: DaskSource) -> tuple[Any, ...]:
    """What makes the data of a key what they are."""
    selected = data.selected
    files = [tuple(ref.data_file[:3]) for key in data.keys for ref in key.refs]
    trains = (selected.trains.firsts.tobytes(), selected.trains.lasts.tobytes())
    how = (data.key, data.mask, repr(data.pulses), selected.on_mismatch, selected.parallel_gain)
    return (files, trains, how, list(selected.numbers.items()))


class _Shared:
    """What all tasks of a graph have in common."""

    def __init__(self, data: DaskSource, dtype: np.dtype[Any], fill: Any) -> None:
        self.data, self.dtype, self.fill = data, dtype, fill


def _read_chunk(shared: _Shared, start: int, stop: int) -> NDArray[Any]:
    """The data of some trains, in whatever process dask computes them."""
    selected = shared.data.selected
    part = shared.data.of(selected.with_trains(selected.trains.span(start, stop)))
    made = np.empty(part.shape, shared.dtype)
    files = part.keys[0].source.files
    try:
        part.read(made, (), shared.fill, n_threads=1)
    finally:
        if files.is_copy:
            files.close()
    return made
