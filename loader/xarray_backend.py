"""Backend of ``xarray.open_dataset(run, engine="xfelcat")``.

xarray finds ``XfelcatBackend`` by the entry point of the package. A dataset has one dimension
``trainId`` for all its variables, a run has keys that come once per train, keys that come many
times, and trains in which a source was silent. Hence:

1. ``choose_keys``: the keys that the caller asks for, by the names of their variables.
2. ``choose_rows``: keys that come at most once per train go together over trains; where one index
   group is all there is, it may come any number of times, and its entries are the dimension.
3. ``LazyRows`` become lazy variables: xarray reads array data when it wants them, and no more.
"""

import fnmatch
import inspect
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ..catalog.model.errors import (
    MultiRunError,
    PropertyNameError,
    RunNotFoundError,
    SourceNameError,
    warn_caller,
)
from ..catalog.model.names import short_key
from ..catalog.model.runlength import Int64s, UInt64s, Value
from .collection import DataCollection
from .open import H5File, RunDirectory
from .output.convert import name_dimensions
from .places import find_places
from .read.selected import SelectedData, SelectedKey, matching_keys
from .select.trains import TrainSet

# About what a dask chunk has where xarray is asked for chunks of its own choice.
CHUNK_BYTES = 128 * 2**20
Join = Literal["outer", "inner"]


@dataclass(frozen=True, eq=False)
class LazyRows(Value, BackendArray):
    """A key as a variable: ``key`` without trains that have no data, ``rows`` of it in order.

    A row of -1 is missing. ``rows`` None: all of them.
    """

    key: SelectedKey
    rows: Int64s | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the variable: one that can say what is missing, where anything is."""
        stored = self.key.dtype
        if self.rows is None or stored.kind in "fcO":
            return stored
        return np.dtype(np.float64) if stored.kind in "iu" else np.dtype("O")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the variable, rows first."""
        n_rows = self.key.shape[0] if self.rows is None else self.rows.size
        return (n_rows, *self.key.entry_shape)

    def read(self, positions: Int64s, roi: tuple[Any, ...]) -> NDArray[Any]:
        """The rows at some positions, a region of each; missing ones are NaN, or None in text."""
        rows = positions if self.rows is None else self.rows[positions]
        there = rows >= 0
        found = self._read_rows(rows[there], roi)
        if self.rows is None:
            return found
        missing = None if self.key.dtype.kind == "O" else np.nan
        filled = np.full((rows.size, *found.shape[1:]), missing, self.dtype)
        filled[there] = found
        return filled

    def _read_rows(self, rows: Int64s, roi: tuple[Any, ...]) -> NDArray[Any]:
        """Rows of the key, in any order; only the trains that have them are read."""
        row_trains = self.key.rows.coordinates
        trains = TrainSet.from_ids(np.unique(row_trains[rows]))
        part = self.key.with_trains(trains)
        there = np.flatnonzero(trains.contains(row_trains))
        if not np.array_equal(part.rows.coordinates, row_trains[there]):
            # Data out of order come in another order where only a part is taken.
            part, there = self.key, np.arange(row_trains.size)
        data = part.read(roi)
        if np.array_equal(there, rows):
            return data
        taken: NDArray[Any] = data[np.searchsorted(there, rows)]
        return taken

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        """The values at an integer or slice per dimension, or an array in one of them."""
        first, *region = key
        positions = np.arange(self.shape[0])[first]
        data = self.read(np.atleast_1d(positions), tuple(region))
        return data if positions.ndim else data[0]


def choose_keys(
    run: SelectedData, group: str | None, source: str | Iterable[str] | None, key: str | None
) -> dict[str, SelectedKey]:
    """The keys of a dataset, by the names of its variables.

    The parameters are those of ``XfelcatBackend.open_dataset``. Data without a plain type are not
    taken.

    Raises SourceNameError or PropertyNameError where there is nothing of what is asked for.
    """
    if group is not None and source is not None:
        raise ValueError("give group= (one source) or source= (globs of sources), not both")
    names = _source_names(run, group, source)
    found: dict[str, SelectedKey] = {}
    for name in names:
        of_source = run.source(name)
        for key_name in matching_keys(of_source, key or "*"):
            data = of_source.key(key_name)
            if data.record.dtype == "str" or data.dtype.kind in "biufc":
                short = short_key(key_name) if of_source.is_control else key_name
                # A slash would make groups in Zarr, which no one finds again, and fail in netCDF.
                label = short if group is not None else data.label(".")
                found[label.replace("/", "-")] = data
    if key is not None and names and not found:
        raise PropertyNameError(key, names[0], run.source(names[0]).keys())
    return found


def _source_names(
    run: SelectedData, group: str | None, source: str | Iterable[str] | None
) -> list[str]:
    if group is not None:
        return [run.source(group).entry.name]  # raises SourceNameError
    if source is None:
        return sorted(run.names("CONTROL"))
    globs = [source] if isinstance(source, str) else list(source)
    names = [n for n in run.current_names if any(fnmatch.fnmatchcase(n, g) for g in globs)]
    if not names:
        raise SourceNameError(", ".join(globs), run.sources)
    return names


def choose_rows(keys: dict[str, SelectedKey], join: Join) -> tuple[UInt64s, dict[str, LazyRows]]:
    """The rows of these keys that go together: the train of each, and by name what has them.

    Warns of keys that come several times per train, where there are others.
    """
    if join not in ("outer", "inner"):
        raise ValueError(f"join is {join!r}: it must be 'outer' or 'inner'")
    groups = {(key.entry.name, key.record.group): key for key in keys.values()}
    if len(groups) == 1:
        (first,) = groups.values()
        return first.rows.coordinates, {n: LazyRows(k) for n, k in keys.items()}
    several = {place for place, key in groups.items() if key.rows.counts.max(initial=0) > 1}
    if several:
        (source, group), *others = sorted(several)
        more = f" and {len(others)} more" if others else ""
        warn_caller(
            f"left out of the dataset, having several entries per train: {source} {group}.*{more};"
            f" open it with group={source!r}, key={group + '.*'!r}"
        )
    once = {n: k for n, k in keys.items() if (k.entry.name, k.record.group) not in several}
    with_data = {n: k.with_trains(k.rows.trains_with_rows) for n, k in once.items()}
    sets = [k.trains for k in with_data.values()]
    trains = TrainSet.union_of(sets) if join == "outer" or not sets else reduce(and_, sets)
    return trains.ids, {n: _over_trains(k, trains) for n, k in with_data.items()}


def _over_trains(key: SelectedKey, trains: TrainSet) -> LazyRows:
    """A key that comes once per train, in the rows of these trains."""
    if len(key.trains & trains) == len(trains):
        return LazyRows(key.with_trains(trains))
    own = key.rows.coordinates
    there = trains.contains(own)
    rows = np.full(len(trains), -1, np.int64)
    rows[trains.positions(own[there])] = np.flatnonzero(there)
    return LazyRows(key, rows)


class XfelcatBackend(BackendEntrypoint):
    """Runs of the European XFEL as xarray datasets."""

    description = "Open runs of the European XFEL, by xfelcat"

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
            A glob of sources, or several; variables are named by source and key, with ``-`` for
            slashes. By default the values of all control sources.
        key
            A glob of keys; timestamps of control keys only if it ends in ``timestamp``.
        join
            The trains: ``"outer"`` takes those in which any key has data, and fills up with NaN
            (integers become floating point); ``"inner"`` those in which all have.
        catalog, trust, inc_suspect_trains
            As for ``RunDirectory``.
        """
        run = _open(filename_or_obj, catalog, trust, inc_suspect_trains)
        keys = choose_keys(run.selected, group, source, key)
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        train_ids, chosen = choose_rows({n: k for n, k in keys.items() if n not in dropped}, join)
        dims = name_dimensions({n: rows.shape for n, rows in chosen.items()})
        variables = {n: _variable(rows, dims[n]) for n, rows in chosen.items()}
        coords = _coordinates(run, train_ids, dropped)
        dataset = xr.Dataset(variables, coords=coords)
        with suppress(MultiRunError):
            dataset.attrs.update(run.run_metadata())
        if run is not filename_or_obj:
            dataset.set_close(run.close)
        return dataset

    # What xarray passes on; it finds them by itself only for an engine that is given by its name.
    open_dataset_parameters = tuple(inspect.signature(open_dataset).parameters)[1:]

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
        sentence = f"{given} names {len(places)} runs: name one, such as p002012/raw/r0034"
        raise RunNotFoundError(f"run {given}", sentence=sentence)
    return RunDirectory(places[0].path, catalog=catalog, **options)


def _coordinates(run: DataCollection, train_ids: UInt64s, dropped: set[str]) -> dict[str, Any]:
    """The train of each row and, where the files tell it, its time."""
    coords: dict[str, Any] = {"trainId": train_ids}
    times = run.train_timestamps()
    if "time" not in dropped and not np.isnat(times).all():
        known = run.selected.trains.positions(train_ids)
        coords["time"] = ("trainId", times[known])
    return coords


def _variable(rows: LazyRows, dims: list[str]) -> xr.Variable:
    key = rows.key
    attrs = {"source": key.entry.name, "key": key.name} | (
        {"units": key.units} if key.units else {}
    )
    entry_bytes = max(rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64)), 1)
    chunks = dict(zip(dims, rows.shape, strict=True))
    chunks["trainId"] = max(min(CHUNK_BYTES // entry_bytes, rows.shape[0]), 1)
    data = indexing.LazilyIndexedArray(rows)
    return xr.Variable(dims, data, attrs, encoding={"preferred_chunks": chunks})
