"""How does ``xarray.open_dataset(run, engine="xfelcat")`` open a run?

xarray finds ``XfelcatBackend`` by the entry point of the package. What the dataset is made of is
decided in ``dataset``; here it becomes lazy variables: array data are read when xarray wants them,
and no more than it wants.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ...catalog.model.errors import MultiRunError, RunNotFoundError
from ..across import find_places
from ..collection import DataCollection
from ..open import H5File, RunDirectory
from .dataset import Join, LazyRows, choose_keys, choose_rows, name_dimensions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["XfelcatBackend"]

CHUNK_BYTES = 128 * 2**20


class XfelcatBackend(BackendEntrypoint):
    """Runs of the European XFEL as xarray datasets."""

    description = "Open runs of the European XFEL, by xfelcat"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "group",
        "source",
        "key",
        "join",
        "catalog",
        "trust",
        "inc_suspect_trains",
    )

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        source: str | Iterable[str] | None = None,
        key: str | None = None,
        join: Join = "outer",
        catalog: str | os.PathLike[str] | None = None,
        trust: str | None = None,
        inc_suspect_trains: bool = True,
    ) -> xr.Dataset:
        """Open a run as a dataset over trains.

        Parameters
        ----------
        filename_or_obj
            A run directory or data file, a name (``"p002012/raw/r0034"``), or a collection.
        drop_variables
            Names of variables to leave out.
        group
            The name of one source; its variables are named by key.
        source
            A glob of sources, or several; variables are named by source and key. By default the
            values of all control sources.
        key
            A glob of keys; by default all but timestamps of control keys.
        join
            The trains: ``"outer"`` takes those in which any key has data, and fills up with NaN
            (integers become floating point); ``"inner"`` those in which all have.
        catalog, trust, inc_suspect_trains
            As for ``RunDirectory``.
        """
        run = _open(filename_or_obj, catalog, trust, inc_suspect_trains)
        keys = choose_keys(run, group, source, key)
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        chosen = choose_rows({n: k for n, k in keys.items() if n not in dropped}, join)
        dims = name_dimensions({n: rows.shape for n, rows in chosen.variables.items()})
        variables = {n: _variable(rows, dims[n]) for n, rows in chosen.variables.items()}
        dataset = xr.Dataset(
            variables,
            coords=_coordinates(run, chosen.train_ids, dropped),
            attrs=_attributes(run),
        )
        if run is not filename_or_obj:
            dataset.set_close(run.close)
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Never: the engine has to be named, for files are HDF5 and open with others too."""
        return False


def _open(given: Any, catalog: Any, trust: str | None, inc_suspect_trains: bool) -> DataCollection:
    if isinstance(given, DataCollection):
        return given
    options: dict[str, Any] = {"trust": trust, "inc_suspect_trains": inc_suspect_trains}
    if os.path.isfile(given):
        return H5File(given, catalog=catalog, **options)
    places = find_places(given, catalog, {})
    if len(places) != 1:
        raise RunNotFoundError(f"{given}: one run of this name (there are {len(places)})")
    return RunDirectory(places[0].path, catalog=catalog, **options)


def _coordinates(
    run: DataCollection, train_ids: "NDArray[np.uint64]", dropped: set[str]
) -> dict[str, Any]:
    """The train of each row and, where the files tell it, its time."""
    coords: dict[str, Any] = {"trainId": train_ids}
    times = run.train_timestamps()
    if "time" not in dropped and not np.isnat(times).all():
        known = run._trains.positions(train_ids)
        coords["time"] = ("trainId", times[known])
    return coords


def _attributes(run: DataCollection) -> dict[str, Any]:
    try:
        return dict(run.run_metadata())
    except MultiRunError:
        return {}


def _variable(rows: LazyRows, dims: list[str]) -> xr.Variable:
    key = rows.key
    attrs = {"source": key.source, "key": key.key} | ({"units": key.units} if key.units else {})
    entry_bytes = max(rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64)), 1)
    chunks = dict(zip(dims, rows.shape, strict=True))
    chunks["trainId"] = max(min(CHUNK_BYTES // entry_bytes, rows.shape[0]), 1)
    data = indexing.LazilyIndexedArray(_KeyArray(rows))
    return xr.Variable(dims, data, attrs, encoding={"preferred_chunks": chunks})


class _KeyArray(BackendArray):
    """A key as xarray's lazy arrays want one: its type, its shape, and some of its values."""

    def __init__(self, rows: LazyRows) -> None:
        self._rows = rows
        self.dtype = rows.dtype
        self.shape = rows.shape

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        """The values at an integer, slice or 1D array per dimension, each on its own."""
        first, *rest = key
        positions = np.atleast_1d(np.arange(self.shape[0])[first])
        hulls = [_hull(item, n) for item, n in zip(rest, self.shape[1:], strict=True)]
        data = self._rows.read(positions, tuple(hulls))
        for axis, (item, hull, n) in enumerate(zip(rest, hulls, self.shape[1:], strict=True), 1):
            wanted = np.atleast_1d(np.arange(n)[item]) - hull.start
            if not np.array_equal(wanted, np.arange(data.shape[axis])):
                data = np.take(data, wanted, axis=axis)
        gone = tuple(slice(None) if np.ndim(np.arange(n)[i]) else 0 for i, n in self._pairs(key))
        return data[gone]

    def _pairs(self, key: tuple[Any, ...]) -> Iterable[tuple[Any, int]]:
        return zip(key, self.shape, strict=True)


def _hull(item: Any, size: int) -> slice:
    """The shortest slice of step 1 with all positions that an index means."""
    positions = np.atleast_1d(np.arange(size)[item])
    if not positions.size:
        return slice(0, 0)
    return slice(int(positions.min()), int(positions.max()) + 1)
