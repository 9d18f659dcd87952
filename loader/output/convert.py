"""Labelled, tabular and lazy arrays of keys.

The graph of a dask array is made without opening a file. A task has the slabs of one file that it
reads, and its size and time. The tasks of a process share its open files; each reads with one
thread, for dask has its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import NoDataError
from ..read.execute import execute_plan, execute_plans
from ..read.files import OpenFiles
from ..read.plan import ReadPlan
from ..read.selected import SelectedData, SelectedKey
from ..select.rows import Rows, RowStretch, find_slabs
from ..select.selection import Region, parse_region

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def to_series(key: SelectedKey) -> "pd.Series[Any]":
    """The 1D data of a key as a Series; an entry per row, its train as label."""
    _check_series(key)
    return _make_series(key, key.read(), {})


def _check_series(key: SelectedKey) -> None:
    if key.entry_shape:
        raise TypeError(
            f"a pandas Series holds 1D data, {key.label('/')} has {len(key.shape)} dimensions:"
            " use xarray()"
        )
    if key.dtype.names:
        raise ValueError(f"{key.label('/')} has several fields per entry: use xarray()")


def _make_series(
    key: SelectedKey, data: NDArray[Any], indexes: "dict[Rows, pd.Index[Any]]"
) -> "pd.Series[Any]":
    """A Series of data that were read; keys with the same rows share an index."""
    import pandas as pd

    index = indexes.get(key.rows)
    if index is None:
        index = indexes[key.rows] = pd.Index(key.rows.coordinates, name="trainId")
    return pd.Series(data, name=key.label("/"), index=index)


def to_dataframe(data: SelectedData, timestamps: bool) -> "pd.DataFrame":
    """All 1D keys as columns, a row for every train with data in any of them."""
    import pandas as pd

    keys = list(data.all_keys(timestamps))
    for key in keys:
        _check_series(key)
    if not keys:
        return pd.DataFrame(index=pd.Index(np.empty(0, np.uint64), name="trainId"))
    arrays = execute_plans([key.plan() for key in keys], data.files)
    indexes: dict[Rows, pd.Index[Any]] = {}
    columns = [_make_series(k, data, indexes) for k, data in zip(keys, arrays, strict=True)]
    first = columns[0].index
    if all(c.index is first or c.index.equals(first) for c in columns[1:]):
        return pd.DataFrame({c.name: c.array for c in columns}, index=first)
    return pd.concat(columns, axis=1).sort_index()


def to_xarray(
    key: SelectedKey,
    extra_dims: list[str] | None,
    roi: Any,
    name: str | None,
    extra_coords: bool | Mapping[str, Any] | None,
) -> "xr.DataArray | xr.Dataset":
    """The data of a key, or a region of each entry, with train IDs as coordinate."""
    import xarray as xr

    region = parse_region(roi, key.entry_shape)
    dims = _dimension_names(key, extra_dims, region, numbered=not (extra_dims or extra_coords))
    coords = _coordinates(key, dims, region, extra_dims, extra_coords)
    data = key.read(roi)
    kept = ["trainId", *(d for axis, d in enumerate(dims) if axis not in region.dropped)]
    kept += [f"item_{axis}" for axis in range(data.ndim - len(kept))]  # of values that are arrays
    if data.dtype.names:
        fields = {field: (kept, data[field]) for field in data.dtype.names}
        return xr.Dataset(fields, coords=coords, attrs=_attributes(key))
    label = name or key.label(".")
    return xr.DataArray(data, dims=kept, coords=coords, name=label, attrs=_attributes(key))


def _attributes(key: SelectedKey) -> dict[str, str]:
    return {"units": key.units} if key.units else {}


def _dimension_names(
    key: SelectedKey, extra_dims: list[str] | None, region: Region, *, numbered: bool
) -> list[str]:
    """A name for each dimension of an entry, also for those that the region removes.

    ``numbered``: the dimensions that stay are numbered from 0; else each by its place in the entry.
    """
    ndim = len(key.entry_shape)
    if extra_dims is None and not numbered:
        return [f"dim_{axis}" for axis in range(ndim)]
    n_kept = ndim - len(region.dropped)
    names = [f"dim_{i}" for i in range(n_kept)] if extra_dims is None else list(extra_dims)
    if len(names) == ndim:
        return names
    if len(names) != n_kept:
        raise ValueError(f"extra_dims has {len(names)} names, an entry {ndim} dimensions")
    for axis in sorted(region.dropped):
        names.insert(axis, f"dropped_{axis}")
    return names


def _coordinates(
    key: SelectedKey,
    dims: list[str],
    region: Region,
    extra_dims: list[str] | None,
    extra_coords: bool | Mapping[str, Any] | None,
) -> dict[str, Any]:
    coords: dict[str, Any] = {"trainId": key.rows.coordinates.copy()}
    if not extra_coords:
        if not extra_dims:
            return coords
        extra_coords = True
    kept = dict(zip(dims, region.coordinates(key.entry_shape), strict=True))
    if not isinstance(extra_coords, Mapping):
        return coords | {d: c for d, c in kept.items() if not d.startswith("dropped_")}
    unknown = set(extra_coords) - set(dims)
    if unknown:
        raise ValueError(f"extra_coords names {sorted(unknown)}, the dimensions are {dims}")
    sizes = dict(zip(dims, key.entry_shape, strict=True))
    for dim, values in extra_coords.items():
        values = np.asarray(values)
        # Coordinates of the whole entry are cut to the region, as its data are.
        cut = values.ndim == 1 and values.size == sizes[dim] != np.size(kept[dim])
        coords[dim] = values[kept[dim]] if cut else values
    return coords


def to_single_value(
    key: SelectedKey,
    data: NDArray[Any],
    rtol: float,
    atol: float,
    reduce_by: str | Callable[[NDArray[Any]], Any] | None,
) -> Any:
    """The one value of the data of a key; see ``KeyData.as_single_value``."""
    if not data.size:
        raise NoDataError(key.entry.name, key.name)
    if data.dtype.kind not in "iufc":
        if reduce_by is not None:
            raise TypeError(f"{key.label(' ')} has no numbers that reduce_by could reduce")
        elements = data.reshape(-1)
        if any(not np.array_equal(element, elements[0]) for element in elements[1:]):
            raise ValueError(f"{key.label(' ')} is not one value: it has different ones")
        return elements[0]
    reduce_by = "median" if reduce_by is None else reduce_by
    function: Any = getattr(np, reduce_by, None) if isinstance(reduce_by, str) else reduce_by
    if reduce_by == "first":
        value = data[0]
    elif not callable(function):
        raise ValueError(
            f"reduce_by is 'first', the name of a numpy function, or a function, not {reduce_by!r}"
        )
    else:
        value = function(data, axis=0) if isinstance(reduce_by, str) else function(data)
    if not np.allclose(data, value, rtol=rtol, atol=atol):
        distance = np.abs(data - np.asarray(value))
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.max(distance / np.abs(value))
        raise ValueError(
            f"{key.label(' ')} is not one value: data lie up to {np.max(distance):.3g}"
            f" (relative {relative:.3g}) from {reduce_by if isinstance(reduce_by, str) else 'it'};"
            " allow more with rtol= or atol="
        )
    return value


def name_dimensions(shapes: dict[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Names of the dimensions of each variable: dim_0, dim_1, ... where all have the same size.

    Where these differ, each variable has its own.
    """
    columns = zip_longest(*(shape[1:] for shape in shapes.values()))
    is_same = [len({*sizes} - {None}) == 1 for sizes in columns]
    names: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        same = enumerate(is_same[: len(shape) - 1])
        entry = (f"dim_{axis}" if alike else f"{name}_dim_{axis}" for axis, alike in same)
        names[name] = ["trainId", *entry]
    return names


CHUNK_BYTES = 128 * 2**20  # as dask aims at for chunks of its own choice


def to_dask(key: SelectedKey, labelled: bool, chunk_bytes: int | None = None) -> Any:
    """A dask array of a key; in a DataArray labelled with train IDs if ``labelled``."""
    if chunk_bytes is not None and chunk_bytes < 1:
        raise ValueError(f"chunk_bytes is {chunk_bytes}: it must be at least 1")
    array = _dask_array(key, chunk_bytes or CHUNK_BYTES)
    if not labelled:
        return array
    import xarray as xr

    dims = ["trainId", *(f"dim_{axis}" for axis in range(len(key.entry_shape)))]
    coords = {"trainId": key.rows.coordinates.copy()}
    return xr.DataArray(
        array, dims=dims, coords=coords, name=key.label("."), attrs=_attributes(key)
    )


def _dask_array(key: SelectedKey, chunk_bytes: int) -> Any:
    import dask.array as da
    from dask.base import tokenize

    whole = key.plan()
    meta = np.empty((0,) * len(whole.shape), whole.dtype)
    entry_bytes = max(whole.dtype.itemsize * int(np.prod(key.entry_shape, dtype=np.int64)), 1)
    rows_per_chunk = max(chunk_bytes // entry_bytes, 1)
    plans = [
        replace(whole, n_rows=int(part.count.sum()), pieces=find_slabs([part]))
        for stretch in key.rows.stretches
        for part in _parts(stretch, rows_per_chunk)
    ]
    if not plans:
        return da.zeros(whole.shape, dtype=whole.dtype, chunks=whole.shape)
    chunks = (tuple(p.n_rows for p in plans), *((n,) for n in key.entry_shape))
    name = f"xfelcat-{tokenize(whole, chunks)}"
    last = (0,) * len(key.entry_shape)
    graph = {(name, i, *last): (_read, plan, key.source.files) for i, plan in enumerate(plans)}
    return da.Array(graph, name, chunks=chunks, meta=meta)  # type: ignore[no-untyped-call]


def _parts(stretch: RowStretch, rows_per_chunk: int) -> list[RowStretch]:
    """The stretch cut between trains so that parts have about that many rows; none is empty."""
    done = np.cumsum(stretch.count)
    n_parts = -(-int(done[-1]) // rows_per_chunk) if done.size else 0
    if not n_parts:
        return []
    edges = np.searchsorted(done, np.arange(1, n_parts) * rows_per_chunk, "right")
    parts = np.split(np.arange(done.size), edges)
    return [stretch.part(chosen) for chosen in parts if stretch.count[chosen].any()]


def _read(plan: ReadPlan, files: OpenFiles) -> NDArray[Any]:
    """A chunk, in whatever process dask computes it; there a copy of ``files`` starts empty."""
    try:
        return execute_plan(plan, files, n_threads=1)
    finally:
        if files.is_copy:
            files.close()
