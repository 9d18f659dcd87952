"""Documented API of one key, and what it has in common with sources and collections.

``KeyData`` is a frozen value around a ``SelectedKey``. Its facts come from the catalog, or from the
files of a run that is in none; only ``attributes`` and what reads data open a file.
"""

from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..catalog.model.records import KeyRecord
from ..catalog.model.runlength import UInt64s, Value
from .compat.beside import BesideExtraData, replaced
from .compat.file_access import FileAccess
from .read.selected import SelectedData, SelectedKey, SelectedSource, read_attributes
from .select.selection import Selection
from .select.sources import is_single_run, read_run_value
from .select.trains import TrainSet, select_trains, split_trains, train_at

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_T = TypeVar("_T")


def open_to_attributes(cls: type[_T]) -> type[_T]:
    """A frozen dataclass on whose objects users may set attributes of their own; fields stay."""
    names = frozenset(f.name for f in fields(cls))  # type: ignore[arg-type]

    def set_attribute(self: object, name: str, value: Any) -> None:
        if name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    cls.__setattr__ = set_attribute  # type: ignore[method-assign]
    cls.__delattr__ = object.__delattr__  # type: ignore[method-assign]
    return cls


@dataclass(frozen=True, eq=False, repr=False)
class OverTrains(BesideExtraData, Value):
    """Data over selected trains: a collection, a source or a key."""

    selected: Any
    """What is selected, in the form that conversion, iteration, writing and display take."""

    @property
    def train_ids(self) -> list[int]:
        """The selected trains, whether or not they have data, in increasing order."""
        ids: list[int] = self.selected.trains.to_list()
        return ids

    @property
    def files(self) -> list[FileAccess]:
        """The data files that have any of the selected trains; one of all if there is none."""
        data = self.selected
        if isinstance(data, SelectedKey):
            data = data.source
        every = data.table.refs if isinstance(data, SelectedData) else data.entry.refs
        return [FileAccess.of(ref, data.files) for ref in data.refs or every[:1]]

    def select_trains(self, trains: Any) -> Self:
        """The same data for some of its trains; see ``DataCollection.select_trains``."""
        return self._with_trains(select_trains(self.selected.trains, trains))

    def _with_trains(self, trains: TrainSet) -> Self:
        if trains is self.selected.trains:
            return self
        return replaced(self, selected=self.selected.with_trains(trains))

    def split_trains(
        self, parts: int | None = None, trains_per_part: int | None = None
    ) -> Iterator[Self]:
        """The data in parts with a similar number of trains.

        Parameters
        ----------
        parts
            How many parts; at least so many if ``trains_per_part`` is given too.
        trains_per_part
            How many trains a part has at most.
        """
        for part in split_trains(self.selected.trains, parts, trains_per_part):
            yield self._with_trains(part)

    __iter__ = None  # no implicit iteration by position


@dataclass(frozen=True, eq=False, repr=False)
class OfSource(OverTrains):
    """Data of one source: ``SourceData`` and ``KeyData``."""

    selected: SelectedSource | SelectedKey

    def __eq__(self, other: object) -> bool:
        """Whether both are the same data: names, trains and files."""
        if type(self) is not type(other) or not isinstance(other, OfSource):
            return NotImplemented
        mine, theirs = self.selected, other.selected
        return (
            self._names == other._names
            and mine.trains == theirs.trains
            and [(r.data_file, r.good_only) for r in mine.refs]
            == [(r.data_file, r.good_only) for r in theirs.refs]
        )

    def __hash__(self) -> int:
        return hash(self._names)

    @property
    def _names(self) -> tuple[object, ...]:
        selected = self.selected
        keys = selected.name if isinstance(selected, SelectedKey) else selected.entry.keys
        return selected.entry.section, selected.entry.name, keys

    @property
    def source(self) -> str:
        """Source name, as the user asked for it."""
        return self.selected.entry.name

    @property
    def section(self) -> str:
        """CONTROL, INSTRUMENT or an auxiliary section."""
        return self.selected.entry.section

    @property
    def is_control(self) -> bool:
        """Whether this is of a control source: one entry per train."""
        return self.section == "CONTROL"

    @property
    def is_instrument(self) -> bool:
        """Whether this is of an instrument source: any number of entries per train."""
        return self.section == "INSTRUMENT"

    @property
    def is_reduction(self) -> bool:
        """Whether this is of the auxiliary section REDUCTION."""
        return self.section == "REDUCTION"

    @property
    def is_errata(self) -> bool:
        """Whether this is of the auxiliary section ERRATA."""
        return self.section == "ERRATA"

    @property
    def is_auxiliary(self) -> bool:
        """Whether this is of an auxiliary section."""
        return not (self.is_control or self.is_instrument)

    @property
    def is_single_run(self) -> bool:
        """Whether all its files are of one run."""
        return is_single_run(self.selected.entry.refs)

    @property
    def inc_suspect_trains(self) -> bool:
        """Whether trains count whose ID is suspect."""
        return not any(ref.good_only for ref in self.selected.entry.refs)


@open_to_attributes
@dataclass(frozen=True, eq=False, repr=False)
class KeyData(OfSource):
    """Data for one key of one source. Get it from ``run[source, key]``.

    It behaves like a list of trains: ``key[:10]`` is the same key for the first 10 trains.
    """

    selected: SelectedKey

    # -- what it is ------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """Key name as in the files; of a control key with its ``.value`` or ``.timestamp``."""
        return self.selected.name

    @property
    def record(self) -> KeyRecord:
        """The key as the catalog describes it, in the first file that has selected trains."""
        return self.selected.record

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data; object where they are strings."""
        return self.selected.dtype

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """Shape of one entry, ``shape[1:]``; quicker to find than ``shape``."""
        return self.record.entry_shape

    @property
    def ndim(self) -> int:
        """Number of dimensions; the first is that of the entries."""
        return len(self.entry_shape) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that ``ndarray()`` gives."""
        return self.selected.shape

    @property
    def nbytes(self) -> int:
        """Size of that array in bytes."""
        return self.selected.nbytes

    @property
    def size_mb(self) -> float:
        """Size of that array in megabytes (10**6 bytes)."""
        return self.nbytes / 1e6

    @property
    def size_gb(self) -> float:
        """Size of that array in gigabytes (10**9 bytes)."""
        return self.nbytes / 1e9

    @property
    def index_group(self) -> str:
        """The part of the key that has its own INDEX; empty for a control source."""
        return self.record.group

    @property
    def hdf5_data_path(self) -> str:
        """Path of the dataset in each file."""
        return f"/{self.section}/{self.source}/{self.key.replace('.', '/')}"

    @property
    def source_file_paths(self) -> list[Path]:
        """The files that have any of the selected trains."""
        return [Path(ref.path) for ref in self.selected.refs]

    @property
    def units(self) -> str | None:
        """Symbol of the unit with its prefix, e.g. ``μJ``; None if the files name none."""
        return self.selected.units

    @property
    def units_name(self) -> str | None:
        """Name of the unit with its prefix, e.g. ``microjoule``; None if the files name none."""
        record = self.record
        return f"{record.prefix_name}{record.unit_name}" if record.unit_name else None

    def attributes(self) -> dict[str, Any]:
        """The HDF5 attributes of the key, read from its first file."""
        return read_attributes(self.selected)

    def run_value(self, allow_multi_run: bool = False) -> Any:
        """The RUN value of the key at the start of the run; see ``SourceData.run_value``."""
        return read_run_value(self.selected.entry, self.key, allow_multi_run=allow_multi_run)

    def __repr__(self) -> str:
        return (
            f"<xfelcat.KeyData source={self.source!r} key={self.key!r}"
            f" for {len(self.selected.trains)} trains>"
        )

    def _repr_html_(self) -> str:
        from .show import display

        return display.key_html(self.selected)

    # -- its trains ------------------------------------------------------------------------------

    def data_counts(self, labelled: bool = True) -> "pd.Series[int] | UInt64s":
        """Number of entries in each train.

        A pandas Series labelled with train IDs if ``labelled``, else an array that goes with
        ``train_ids``.
        """
        counts = self.selected.rows.counts
        if not labelled:
            return counts.astype(np.uint64)
        import pandas as pd

        return pd.Series(counts.copy(), index=self.selected.trains.ids)

    def train_id_coordinates(self) -> UInt64s:
        """The train of each entry, to go with the first dimension of ``ndarray()``."""
        return self.selected.rows.coordinates.copy()

    def train_index_bounds(self, labelled: bool = False) -> Any:
        """First and last (not included) entry of each train in ``ndarray()``.

        A pandas DataFrame with columns start and stop if ``labelled``, else two arrays.
        """
        start, stop = (ends.copy() for ends in self.selected.rows.bounds)
        if not labelled:
            return start, stop
        import pandas as pd

        bounds = {"start": start.astype(np.int64), "stop": stop.astype(np.int64)}
        return pd.DataFrame(bounds, index=self.selected.trains.ids)

    def __getitem__(self, item: Any) -> "KeyData":
        return self.select_trains(item)

    def drop_empty_trains(self) -> "KeyData":
        """The same key for the trains that have data."""
        return self._with_trains(self.selected.rows.trains_with_rows)

    def selected_keys(self) -> Selection:
        """The key as a selection: what ``select`` takes this object for."""
        return {self.source: frozenset({self.key})}

    # -- its data --------------------------------------------------------------------------------

    def ndarray(self, roi: Any = (), out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read the data into a numpy array, (entries, ...).

        Parameters
        ----------
        roi
            ``np.s_[...]`` or ``by_index[...]``: the region of each entry to read.
        out
            An array to read into; it must have the shape of the result.

        Raises
        ------
        InconsistentFilesError
            The key differs between files in type or entry shape.
        ChangedFileError
            A file was changed or replaced since the run was opened.
        FileStructureError
            A file lacks the dataset, INDEX names rows beyond its end, or HDF5 cannot read it.
        """
        return self.selected.read(roi, out)

    def series(self) -> "pd.Series[Any]":
        """Read 1D data into a pandas Series labelled with train IDs, (entries,).

        Raises
        ------
        TypeError
            An entry is no single value.
        ValueError
            An entry has several fields.
        """
        from .output import convert

        return convert.to_series(self.selected)

    def xarray(
        self,
        extra_dims: list[str] | None = None,
        roi: Any = (),
        name: str | None = None,
        extra_coords: Any = None,
    ) -> "xr.DataArray | xr.Dataset":
        """Read the data into an xarray DataArray, its first dimension labelled with train IDs.

        Parameters
        ----------
        extra_dims
            Names of the dimensions of an entry; by default dim_0, dim_1, ...
        roi
            The region of each entry to read.
        name
            Name of the array; by default source and key, joined by a dot. Ignored for a dataset.
        extra_coords
            Coordinates of the dimensions of an entry: a dict of arrays by dimension, or True for
            positions. By default positions if ``extra_dims`` is given, else none.

        Returns
        -------
        xarray.DataArray or xarray.Dataset
            A Dataset with a variable per field where the data type is structured.
        """
        from .output import convert

        return convert.to_xarray(self.selected, extra_dims, roi, name, extra_coords)

    def dask_array(self, labelled: bool = False, chunk_bytes: int | None = None) -> Any:
        """A dask array that reads the data when it is computed, a chunk or more per file.

        Parameters
        ----------
        labelled
            Put a DataArray labelled with train IDs around it.
        chunk_bytes
            About how large a chunk is at most, 128 MiB by default; a train is never divided.
        """
        from .output import convert

        return convert.to_dask(self.selected, labelled, chunk_bytes)

    def as_single_value(
        self,
        rtol: float = 1e-5,
        atol: float = 0.0,
        reduce_by: str | Callable[[NDArray[Any]], Any] | None = None,
    ) -> Any:
        """The one value of data that do not change.

        Parameters
        ----------
        rtol, atol
            How far data may lie from the value, as in ``numpy.allclose``.
        reduce_by
            How the value is found: ``"first"``, the name of a numpy function, by default
            ``"median"``, or a function that takes the data. Only of numbers: of other data the
            value is the only one there is.

        Raises
        ------
        NoDataError
            There are no data.
        ValueError
            Some lie outside the tolerance.
        """
        from .output import convert

        return convert.to_single_value(self.selected, self.ndarray(), rtol, atol, reduce_by)

    def plot(self, axes: Any = None, *, most_trains: int = 50) -> Any:
        """Plot the data: values against time, arrays as a map, images as their mean.

        Scalars are points, or minimum, mean and maximum of many; texts are steps. Of arrays one
        train per pixel is read, 256 MB at most; of images the trains that the title says.

        Parameters
        ----------
        axes
            The matplotlib axes to draw into; by default those of a new figure.
        most_trains
            The mean image is that of so many trains, evenly spaced, or fewer if they are large.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        NoDataError
            There are no data.
        NotPlottableError
            The values are neither numbers nor few different texts.
        """
        from .show import key_plot

        return key_plot.plot_key(self.selected, axes, most_trains)

    # -- train by train --------------------------------------------------------------------------

    def _pasha_functor_(self) -> Any:
        """What ``pasha.map`` goes over: position, train ID and data of each train."""
        from .compat.functions import MappedTrains

        return MappedTrains(self, lambda part: part.trains(include_empty=True))

    def trains(
        self, keep_dims: bool = False, include_empty: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Iterate over (train ID, array) of the trains with data.

        Parameters
        ----------
        keep_dims
            Keep the first dimension where a train has a single entry.
        include_empty
            Also give trains without data: None, or with ``keep_dims`` an array of length 0.
        """
        from .output import iterate

        return iterate.key_trains(self.selected, keep_dims, include_empty)

    def train_from_id(self, tid: int, keep_dims: bool = False) -> tuple[int, Any]:
        """(Train ID, array) of one train; of a train without data an array of length 0.

        ``keep_dims`` is as for ``trains``. Raises TrainIDError for a train that is not among the
        selected ones.
        """
        from .output import iterate

        return iterate.key_train(self.selected, tid, keep_dims)

    def train_from_index(self, i: int, keep_dims: bool = False) -> tuple[int, Any]:
        """(Train ID, array) of the train at a position; IndexError if there are not so many."""
        return self.train_from_id(train_at(self.selected.trains, i), keep_dims)
