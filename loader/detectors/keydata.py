"""Data of one key over all modules of a detector.

``MultimodKeyData`` is what ``det[key]`` gives; ``XtdfImageMultimodKeyData`` adds pulses to it, for
the keys of AGIPD, LPD and DSSC with an entry per frame. Shapes, IDs and availability come from the
catalog; reading is one plan for all modules (``reading``).
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...catalog.model.names import FRAME_GROUP
from ...catalog.model.runlength import Int64s, UInt64s
from ..read.selected import SelectedKey
from ..select.selection import Region, parse_region
from ..select.trains import TrainSet, select_trains
from . import labels, reading
from .frames import EVERY_PULSE, Frames, PulseChoice, choose_pulses
from .selected import SelectedModules

if TYPE_CHECKING:
    import xarray as xr

SubtrainIndex = Literal["pulseId", "cellId"]


class MultimodKeyData:
    """One key of all modules, an entry per train; from ``det[key]``.

    Modules and trains that lack data are filled. It behaves like a list of trains:
    ``det[key][:10]`` is the same key for the first 10 trains.
    """

    def __init__(
        self, selected: SelectedModules, key: str, mask: reading.Mask | None = None
    ) -> None:
        self.selected = selected
        self.key = key
        self.mask = mask
        self.pulses = EVERY_PULSE

    def of(self, selected: SelectedModules) -> Self:
        """The same key of other modules or trains."""
        return type(self)(selected, self.key, self.mask)

    # -- what it is ------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> tuple[SelectedKey, ...]:
        """The key of each module with data, in the order of ``modules``."""
        return self.selected.keys(self.key)

    @cached_property
    def frames(self) -> Frames:
        """The entries, matched over modules."""
        return self.selected.match(self.keys[0].record.group)

    @property
    def train_ids(self) -> list[int]:
        """The trains for which enough modules have data."""
        return self.selected.trains.to_list()

    @property
    def modules(self) -> list[int]:
        """Numbers of the modules with data."""
        return self.selected.modules

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data."""
        return self.keys[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that ``ndarray()`` gives: (modules, entries, ...)."""
        return self.buffer_shape()

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return 2 + len(self.region(()).shape)

    @property
    def dimensions(self) -> list[str]:
        """Names of the dimensions: module, trainId, dim_0, ..."""
        return ["module", "trainId", *self.entry_dimensions()]

    def entry_dimensions(self, roi: Any = ()) -> list[str]:
        """Names of the dimensions of an entry, of which a region may leave fewer."""
        region = self.region(roi)
        names = self._names(len(region.hull))
        return [name for axis, name in enumerate(names) if axis not in region.dropped]

    def _names(self, n: int) -> list[str]:
        """Names of all ``n`` dimensions that an entry has in the files."""
        return [f"dim_{i}" for i in range(n)]

    def buffer_shape(self, module_gaps: bool = False, roi: Any = ()) -> tuple[int, ...]:
        """Shape of the array that ``ndarray`` gives for the same arguments."""
        n_modules = self.selected.n_positions(module_gaps)
        return (n_modules, len(self.frames), *self.region(roi).shape)

    def region(self, roi: Any) -> Region:
        """The part of each entry that ``roi`` selects."""
        return parse_region(roi, self.keys[0].entry_shape)

    def train_id_coordinates(self) -> UInt64s:
        """The train of each entry, to go with the second dimension of ``ndarray()``."""
        return self.frames.train_ids

    def data_availability(self, module_gaps: bool = False) -> NDArray[np.bool_]:
        """Whether each module has each entry, (modules, entries) bool.

        With ``module_gaps`` also modules without data, so that positions are module numbers.
        """
        return self.selected.spread(self.frames.available, module_gaps)

    def __repr__(self) -> str:
        what = "detector data" if self.mask is None else "masked detector data"
        return f"<{self.key!r} {what} of {self.selected.detector}, {len(self.modules)} modules>"

    # -- its trains ------------------------------------------------------------------------------

    def select_trains(self, trains: Any) -> Self:
        """The same key for some of its trains; see ``DataCollection.select_trains``."""
        return self.with_trains(select_trains(self.selected.trains, trains))

    def with_trains(self, trains: TrainSet) -> Self:
        """The same key for trains that it has."""
        return self.of(self.selected.with_trains(trains))

    def __getitem__(self, item: Any) -> Self:
        return self.select_trains(item)

    __iter__ = None  # no implicit iteration by position

    def split_trains(
        self,
        parts: int | None = None,
        trains_per_part: int | None = None,
        frames_per_part: int | None = None,
    ) -> Iterator[Self]:
        """The same key in parts; see the method of the detector."""
        counts = self.frames.counts
        for part in self.selected.split(parts, trains_per_part, counts, frames_per_part):
            yield self.of(part)

    # -- its data --------------------------------------------------------------------------------

    def ndarray(
        self,
        *,
        fill_value: Any = None,
        out: NDArray[Any] | None = None,
        roi: Any = (),
        astype: DTypeLike | None = None,
        module_gaps: bool = False,
    ) -> NDArray[Any]:
        """Read the data into a numpy array, (modules, entries, ...).

        Parameters
        ----------
        fill_value
            What stands for data that are missing: by default NaN for floats, 0 for integers.
        out
            An array to read into, of the shape of the result.
        roi
            ``np.s_[...]``: the region of each entry of each module to read.
        astype
            Type of the array; by default that of the data.
        module_gaps
            Also have modules without data, so that positions are module numbers.

        Raises
        ------
        ValueError
            ``out`` has another shape, or the type has no such fill value.
        InconsistentFilesError
            Modules differ in type or shape.
        """
        made = reading.allocate(self.buffer_shape(module_gaps, roi), astype or self.dtype, out)
        self.read(made, roi, fill_value, self.selected.positions(module_gaps))
        return made

    def read(
        self,
        out: NDArray[Any],
        roi: Any,
        fill_value: Any,
        modules: list[int] | None = None,
        to: Int64s | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Read into an array, (modules, entries, ...), as ``reading.read_modules`` describes."""
        region = self.region(roi)
        at = list(range(len(self.keys))) if modules is None else modules
        where = reading.Where(out, at, to)
        reading.read_modules(self.keys, self.frames, region, where, fill_value, n_threads)
        if self.mask is not None:
            keys = self.selected.keys(self.mask.key)
            reading.apply_mask(self.mask, keys, self.frames, region, where, n_threads)

    def xarray(
        self, *, fill_value: Any = None, roi: Any = (), astype: DTypeLike | None = None
    ) -> "xr.DataArray":
        """Read the data into a DataArray labelled with modules and trains; see ``ndarray``."""
        data = self.ndarray(fill_value=fill_value, roi=roi, astype=astype)
        return self._labelled(data, roi)

    def _labelled(self, data: Any, roi: Any = ()) -> "xr.DataArray":
        dims = ["module", "trainId", *self.entry_dimensions(roi)]
        coords = {"module": self.modules, "trainId": self.train_id_coordinates()}
        return labels.label(data, dims, coords)

    def dask_array(
        self, *, labelled: bool = False, fill_value: Any = None, astype: DTypeLike | None = None
    ) -> Any:
        """A dask array that reads the data when it is computed; its graph opens no file.

        Parameters
        ----------
        labelled
            Put a DataArray around it, labelled as that of ``xarray``.
        fill_value, astype
            As in ``ndarray``.
        """
        array = reading.to_dask(self, fill_value, astype)
        return self._labelled(array) if labelled else array


class XtdfImageMultimodKeyData(MultimodKeyData):
    """One key of all modules, an entry per frame: ``image.data`` of AGIPD, LPD or DSSC.

    Frames are matched by train and pulse ID. Frames that a module lacks are filled.
    """

    def __init__(
        self,
        selected: SelectedModules,
        key: str,
        mask: reading.Mask | None = None,
        pulses: PulseChoice = EVERY_PULSE,
    ) -> None:
        super().__init__(selected, key, mask)
        self.pulses = pulses

    def of(self, selected: SelectedModules) -> Self:
        """The same key and pulses of other modules or trains."""
        return type(self)(selected, self.key, self.mask, self.pulses)

    @cached_property
    def frames(self) -> Frames:
        """The selected frames, matched over modules."""
        frames = self.selected.match(FRAME_GROUP)
        return choose_pulses(frames, self.pulses, self.selected.parallel_gain)

    @property
    def has_extra_dimension(self) -> bool:
        """Whether files have a dimension of length 1 between frames and pixels (raw LPD, DSSC)."""
        shape = self.keys[0].entry_shape
        return shape[:1] == (1,) and len(shape) in (1, 3)

    def region(self, roi: Any) -> Region:
        """The part of each frame that ``roi`` selects; without a dimension of length 1."""
        if self.has_extra_dimension:
            inner = getattr(roi, "value", roi)
            roi = (0, *(inner if isinstance(inner, tuple) else (inner,)))
        return parse_region(roi, self.keys[0].entry_shape)

    @property
    def dimensions(self) -> list[str]:
        """Names of the dimensions: module, train_pulse, and those of a frame."""
        return ["module", "train_pulse", *self.entry_dimensions()]

    def _names(self, n: int) -> list[str]:
        """Names of the ``n`` dimensions of a frame; of raw AGIPD, data and gain come first."""
        pixels = labels.PIXELS if n > 1 else []
        first = n - len(pixels)
        names = ["data_gain"] if pixels and first == 1 else [f"dim_{i}" for i in range(first)]
        return [*names, *pixels]

    def pulse_id_coordinates(self) -> UInt64s:
        """The pulse ID of each frame, to go with the second dimension of ``ndarray()``."""
        return self.frames.pulse_ids.copy()

    def cell_id_coordinates(self) -> UInt64s:
        """The memory cell of each frame, to go with the second dimension of ``ndarray()``."""
        return self.frames.cell_ids.copy()

    def select_pulses(self, pulses: Any) -> "XtdfImageMultimodKeyData":
        """The same key for some pulses of every train, in place of an earlier selection.

        Parameters
        ----------
        pulses
            A slice, one or several numbers of frames in their train, or ``by_id[...]`` of pulse
            IDs. Trains that have none of them have no frames.
        """
        return self.with_pulses(PulseChoice.of(pulses))

    def with_pulses(self, choice: PulseChoice) -> "XtdfImageMultimodKeyData":
        """The same key for some pulses of every train."""
        return type(self)(self.selected, self.key, self.mask, choice)

    def ndarray(
        self,
        *,
        fill_value: Any = None,
        out: NDArray[Any] | None = None,
        roi: Any = (),
        astype: DTypeLike | None = None,
        module_gaps: bool = False,
        decompress_threads: int | None = None,
    ) -> NDArray[Any]:
        """Read the data into a numpy array, (modules, frames, ...); see ``MultimodKeyData``.

        ``decompress_threads`` is how many threads read; by default the setting says.
        """
        made = reading.allocate(self.buffer_shape(module_gaps, roi), astype or self.dtype, out)
        at = self.selected.positions(module_gaps)
        self.read(made, roi, fill_value, at, n_threads=decompress_threads)
        return made

    def xarray(
        self,
        *,
        pulses: Any = None,
        fill_value: Any = None,
        roi: Any = (),
        astype: DTypeLike | None = None,
        subtrain_index: SubtrainIndex = "pulseId",
        unstack_pulses: bool = False,
        decompress_threads: int | None = None,
    ) -> "xr.DataArray":
        """Read the data into a DataArray labelled with modules, trains and pulses.

        Parameters
        ----------
        pulses
            As in ``select_pulses``; by default those selected.
        fill_value, roi, astype, decompress_threads
            As in ``ndarray``.
        subtrain_index
            Label frames by ``pulseId`` or by ``cellId``.
        unstack_pulses
            Have dimensions for train and for pulse, and not one for both. Where trains have
            different pulses, the gaps are NaN, and integers become floats.
        """
        chosen = self if pulses is None else self.select_pulses(pulses)
        index = labels.FrameIndex.of(chosen.frames, subtrain_index, self.selected.parallel_gain)
        dims = self.entry_dimensions(roi)
        if not unstack_pulses:
            data = chosen.ndarray(
                fill_value=fill_value, roi=roi, astype=astype, decompress_threads=decompress_threads
            )
            return index.label(data, self.modules, dims)
        dtype = np.dtype(astype or self.dtype)
        fill = reading.fill_of(dtype, fill_value)
        shape = (len(self.modules), index.n_places, *self.region(roi).shape)
        if index.is_full:
            made = np.empty(shape, dtype)
        else:
            made = np.full(shape, np.nan, labels.with_nan(dtype))
        chosen.read(made, roi, fill, to=index.places, n_threads=decompress_threads)
        return index.unstacked(made, self.modules, dims)

    def dask_array(
        self,
        *,
        labelled: bool = False,
        subtrain_index: SubtrainIndex = "pulseId",
        fill_value: Any = None,
        astype: DTypeLike | None = None,
        frames_per_chunk: int | None = None,
    ) -> Any:
        """A dask array that reads the frames when it is computed; its graph opens no file.

        Parameters
        ----------
        labelled
            Put a DataArray around it, labelled as that of ``xarray``.
        subtrain_index, fill_value, astype
            As in ``xarray``.
        frames_per_chunk
            About how many frames a chunk has at most; a train is never divided. By default as many
            as make 128 MiB over all modules.
        """
        array = reading.to_dask(self, fill_value, astype, frames_per_chunk)
        if not labelled:
            return array
        index = labels.FrameIndex.of(self.frames, subtrain_index, self.selected.parallel_gain)
        return index.label(array, self.modules, self.entry_dimensions())

    def as_in_files(
        self, subtrain_index: SubtrainIndex, fill_value: Any, astype: DTypeLike | None
    ) -> "xr.DataArray":
        """A labelled dask array with every dimension that the files have, dim_0, dim_1, ...

        Its dimension train_pulse has the levels trainId and pulseId or cellId, as coordinates too.
        """
        array = reading.to_dask(self, fill_value, astype)
        index = labels.FrameIndex.of(self.frames, subtrain_index, self.selected.parallel_gain)
        return index.label_as_in_files(array, self.modules, self.keys[0].entry_shape)
