"""How does a key become a dask array?

One dask chunk is a stretch of rows of one file, of at most about ``CHUNK_BYTES`` unless told
otherwise; the graph is made without opening a file. A task holds the slabs it reads and the facts
of its one file's size and time. The tasks of a process share its open files, with what is known of
where their chunks lie; each reads with one thread, for dask has its own.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..read.execute import execute_plan
from ..read.files import OpenFiles
from ..read.plan import ReadPlan, array_dtype, plan_read
from ..read.selected import SelectedKey
from ..select.rows import RowStretch

__all__ = ["to_dask"]

CHUNK_BYTES = 128 * 2**20


def to_dask(key: SelectedKey, labelled: bool, chunk_bytes: int | None = None) -> Any:
    """A dask array of a key; in a DataArray labelled with train IDs if ``labelled``."""
    if chunk_bytes is not None and chunk_bytes < 1:
        raise ValueError(f"chunk_bytes is {chunk_bytes}: it must be at least 1")
    array = _dask_array(key, chunk_bytes or CHUNK_BYTES)
    if not labelled:
        return array
    import xarray as xr

    dims = ["trainId", *(f"dim_{axis}" for axis in range(len(key.entry_shape)))]
    return xr.DataArray(
        array,
        dims=dims,
        coords={"trainId": key.rows.coordinates.copy()},
        name=key.label("."),
        attrs={"units": key.units} if key.units else {},
    )


def _dask_array(key: SelectedKey, chunk_bytes: int) -> Any:
    import dask.array as da
    from dask.base import tokenize

    whole = key.plan()
    meta = np.empty((0,) * len(whole.shape), array_dtype(whole.record))
    entry_bytes = max(whole.dtype.itemsize * int(np.prod(key.entry_shape, dtype=np.int64)), 1)
    rows_per_chunk = max(chunk_bytes // entry_bytes, 1)
    plans = [
        plan_read(whole.source, whole.path, whole.record, [part], whole.region)
        for stretch in key.rows.stretches
        for part in _parts(stretch, rows_per_chunk)
    ]
    if not plans:
        return da.zeros(whole.shape, dtype=whole.dtype, chunks=whole.shape)
    name = f"xfelcat-{tokenize(*(_identity(plan) for plan in plans))}"
    last = (0,) * len(key.entry_shape)
    graph = {(name, i, *last): (_read, plan, key.source.files) for i, plan in enumerate(plans)}
    chunks = (tuple(p.n_rows for p in plans), *((n,) for n in key.entry_shape))
    return da.Array(graph, name, chunks=chunks, meta=meta)  # type: ignore[no-untyped-call]


def _parts(stretch: RowStretch, rows_per_chunk: int) -> list[RowStretch]:
    """The stretch cut between trains so that parts have about that many rows; none is empty."""
    done = np.cumsum(stretch.count)
    n_parts = -(-int(done[-1]) // rows_per_chunk) if done.size else 0
    if not n_parts:
        return []
    edges = np.searchsorted(done, np.arange(1, n_parts) * rows_per_chunk, "right")
    parts = []
    for chosen in np.split(np.arange(done.size), edges):
        if stretch.count[chosen].any():
            parts.append(stretch.part(chosen))
    return parts


def _identity(plan: ReadPlan) -> tuple[Any, ...]:
    """What makes the data of a plan what they are."""
    piece = plan.pieces[0]
    file = piece.data_file
    return (
        file.path,
        file.size,
        file.mtime_ns,
        plan.path,
        plan.record.dtype,
        plan.record.entry_shape,
        piece.starts.tobytes(),
        piece.stops.tobytes(),
    )


def _read(plan: ReadPlan, files: OpenFiles) -> NDArray[Any]:
    """A chunk, in whatever process dask computes it; there a copy of ``files`` starts empty."""
    try:
        return execute_plan(plan, files, n_threads=1)
    finally:
        if files.is_copy:
            files.close()
