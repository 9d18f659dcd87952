"""Detectors of several modules as one: what the classes of all detectors have in common.

A detector is the sources of its modules in a collection, for the trains in which enough of them
have data. It is made, selected from and split without opening a file.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...catalog.model.errors import SourceNameError
from ...catalog.model.names import DetectorModule
from ...catalog.model.runlength import UInt64s
from ..collection import DataCollection
from ..compat.beside import replaced
from ..select.trains import select_trains
from .frames import Frames, Mismatch
from .keydata import MultimodKeyData
from .modules import DetectorNames, choose_sources, combine_bits, find_modules, pick_detector
from .reading import Mask
from .selected import SelectedModules

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_MISMATCHES = ("fill", "drop", "raise")


class MultimodDetectorBase:
    """A detector of several modules, each a source of its own.

    Parameters
    ----------
    data
        A collection, e.g. from ``open_run``.
    detector_name
        Name of the detector, ``SPB_DET_AGIPD1M-1``; needed if there are several of its class.
    modules
        Numbers of the modules to take; by default all there are.
    min_modules
        In how many modules a train must have data.
    raw
        True takes recorded data, False corrected data. By default corrected data if any module has
        them, else recorded data with a warning; never both.
    on_mismatch
        What to do about a train in which modules have different frames: ``"fill"`` what is
        missing, ``"drop"`` frames that not all modules with data have, or ``"raise"`` ValueError.

    Raises
    ------
    SourceNameError
        There is no such detector, or none of the modules.
    ValueError
        There are several detectors of the class, or no train has data in enough modules.
    """

    names: ClassVar[DetectorNames]
    module_shape: ClassVar[tuple[int, int]] = (0, 0)
    """Pixels of a module: slow scan, fast scan."""
    n_modules: int = 0
    """How many modules the detector has, with data or not."""
    selected: SelectedModules
    """The modules and trains, in the form that reading takes."""

    def __init__(
        self,
        data: DataCollection,
        detector_name: str | None = None,
        modules: Iterable[int] | None = None,
        *,
        min_modules: int = 1,
        raw: bool | None = None,
        on_mismatch: Mismatch = "fill",
    ) -> None:
        if min_modules < 1 or int(min_modules) != min_modules:
            raise ValueError(f"min_modules must be a positive whole number, not {min_modules}")
        if on_mismatch not in _MISMATCHES:
            raise ValueError(f"on_mismatch is one of {', '.join(_MISMATCHES)}, not {on_mismatch!r}")
        self._collection = data
        found = find_modules(data.selected, self.names)
        detectors = {module.detector for module in found.values()}
        known = data.instrument_sources
        self.detector_name = pick_detector(detectors, detector_name, type(self).__name__, known)
        own = {s: m for s, m in found.items() if m.detector == self.detector_name}
        chosen, is_raw = choose_sources(data.selected, own, self.names, raw)
        numbers = dict(sorted(self._number(chosen).items(), key=lambda item: item[1]))
        if modules is not None:
            wanted = set(modules)
            numbers = {source: n for source, n in numbers.items() if n in wanted}
            if not numbers:
                listed = ", ".join(map(str, sorted(wanted)))
                raise SourceNameError(f"{self.detector_name}, modules {listed}", own)
        every = SelectedModules(
            data.selected,
            data.selected.trains,
            self.detector_name,
            numbers,
            self.n_modules,
            self._first_number,
            is_raw,
            on_mismatch,
            self._has_parallel_gain,
        )
        self.selected = every.with_enough(self._main_group, int(min_modules))

    _first_number: ClassVar[int] = 0
    _has_parallel_gain = False

    def _number(self, modules: Mapping[str, DetectorModule]) -> dict[str, int]:
        """Number of the module of each source."""
        return {source: module.number for source, module in modules.items()}

    # -- what it is ------------------------------------------------------------------------------

    @property
    def main_key(self) -> str:
        """The key with the pixels."""
        return self.names.main_key

    @property
    def _main_group(self) -> str:
        return self.main_key.partition(".")[0]

    @property
    def _frames(self) -> Frames:
        return self.selected.match(self._main_group)

    @property
    def modules(self) -> list[int]:
        """Numbers of the modules with data."""
        return self.selected.modules

    @property
    def source_to_modno(self) -> dict[str, int]:
        """Number of the module by source name."""
        return dict(self.selected.numbers)

    @property
    def modno_to_source(self) -> dict[int, str]:
        """Source name by number of the module."""
        return {number: source for source, number in self.selected.numbers.items()}

    @cached_property
    def data(self) -> DataCollection:
        """The sources of the modules as a collection."""
        entries = self._collection.selected.sources
        chosen = {name: entries[name] for name in self.selected.numbers}
        selected = self._collection.selected.with_sources(chosen)
        return replaced(self._collection, selected=selected.with_trains(self.selected.trains))

    @property
    def train_ids(self) -> list[int]:
        """The trains for which enough modules have data, in increasing order."""
        return self.selected.trains.to_list()

    @property
    def train_ids_perframe(self) -> UInt64s:
        """The train of each frame, (frames,); of JUNGFRAU of each entry."""
        return self._frames.train_ids

    @property
    def train_id_to_ix(self) -> "pd.Series[Any]":
        """The position of the first frame of each train."""
        import pandas as pd

        counts = self._frames.counts
        starts: list[int] = (np.cumsum(counts) - counts).tolist()
        return pd.Series(starts, index=self.selected.trains.ids)

    @property
    def train_id_chunks(self) -> list[UInt64s]:
        """The trains in stretches of consecutive IDs."""
        ids = self.selected.trains.ids
        return np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)

    @property
    def frame_counts(self) -> "pd.Series[Any]":
        """Number of frames in each train; of JUNGFRAU of entries."""
        import pandas as pd

        return pd.Series(self._frames.counts.astype(np.uint64), index=self.selected.trains.ids)

    @property
    def _frames_per_entry(self) -> int:
        return 1

    @property
    def frames_per_train(self) -> int:
        """How many frames each train has; raises ValueError where trains differ."""
        counts = np.unique(self._frames.counts[self._frames.counts > 0])
        if counts.size > 1:
            raise ValueError(f"trains have different numbers of frames: {counts.tolist()}")
        return int(counts.sum()) * self._frames_per_entry

    def __repr__(self) -> str:
        what = "raw" if self.selected.is_raw else "proc"
        return (
            f"<{type(self).__name__}: Data interface for detector {self.detector_name!r}"
            f" - {what} data with {len(self.modules)} modules>"
        )

    # -- its trains ------------------------------------------------------------------------------

    def _of(self, selected: SelectedModules) -> Self:
        if selected is self.selected:
            return self
        other = object.__new__(type(self))  # a quarter of the time of copy, for hundreds of parts
        other.__dict__.update(self.__dict__, selected=selected)
        other.__dict__.pop("data", None)
        return other

    def select_trains(self, trains: Any) -> Self:
        """The same detector for some of its trains; see ``DataCollection.select_trains``."""
        chosen = select_trains(self.selected.trains, trains)
        return self._of(self.selected.with_trains(chosen))

    def split_trains(
        self,
        parts: int | None = None,
        trains_per_part: int | None = None,
        frames_per_part: int | None = None,
    ) -> Iterator[Self]:
        """The detector in parts of consecutive trains.

        Parameters
        ----------
        parts
            How many parts, at least.
        trains_per_part
            How many trains a part has at most.
        frames_per_part
            How many frames a part has at most; a part with a single train may have more.

        Raises
        ------
        ValueError
            None of them is given.
        """
        counts = self._frames.counts * self._frames_per_entry
        for part in self.selected.split(parts, trains_per_part, counts, frames_per_part):
            yield self._of(part)

    # -- its keys --------------------------------------------------------------------------------

    def __contains__(self, key: str) -> bool:
        return all(key in source for source in self.selected.sources)

    def __getitem__(self, key: str) -> MultimodKeyData:
        return MultimodKeyData(self.selected, self.selected.keys(key)[0].name)

    def masked_data(
        self, key: str | None = None, *, mask_bits: Any = None, masked_value: Any = np.nan
    ) -> MultimodKeyData:
        """Corrected data, bad pixels replaced as the mask in the files says.

        Parameters
        ----------
        key
            Which data; by default the pixels.
        mask_bits
            Reasons to replace a pixel: a bit field, or several. By default any reason.
        masked_value
            What replaces it.

        Raises
        ------
        RuntimeError
            The data have no mask: they may be recorded and not corrected ones.
        """
        mask_key = self.names.mask_key
        if mask_key not in self:
            raise RuntimeError(
                f"{self.detector_name} has no mask ({mask_key}): it may be raw data, and raw=False"
                " takes corrected data"
            )
        data = self[self.main_key if key is None else key]
        data.mask = Mask(mask_key, combine_bits(mask_bits), masked_value)
        return data

    def data_availability(self, module_gaps: bool = False) -> NDArray[np.bool_]:
        """Whether each module has each frame, (modules, frames) bool; of JUNGFRAU each entry.

        With ``module_gaps`` also modules without data, so that positions are module numbers.
        """
        return self[self.main_key].data_availability(module_gaps)

    # -- its data --------------------------------------------------------------------------------

    def get_array(
        self, key: str, *, fill_value: Any = None, roi: Any = (), astype: DTypeLike | None = None
    ) -> "xr.DataArray":
        """Read a key of all modules into a labelled array, (module, trainId, ...).

        Parameters
        ----------
        key
            Which data, e.g. ``data.adc``.
        fill_value, roi, astype
            As in ``MultimodKeyData.ndarray``.
        """
        return self[key].xarray(fill_value=fill_value, roi=roi, astype=astype)

    def get_dask_array(
        self, key: str, fill_value: Any = None, astype: DTypeLike | None = None
    ) -> "xr.DataArray":
        """A labelled dask array of a key of all modules; its graph opens no file.

        Parameters
        ----------
        key
            Which data, e.g. ``data.adc``.
        fill_value, astype
            As in ``MultimodKeyData.ndarray``.
        """
        array: xr.DataArray = self[key].dask_array(
            labelled=True, fill_value=fill_value, astype=astype
        )
        return array

    def trains(self, require_all: bool = True) -> Iterator[tuple[int, dict[str, "xr.DataArray"]]]:
        """Iterate over (train ID, arrays by key) of the trains with data.

        Parameters
        ----------
        require_all
            Skip trains for which any module lacks any data. Else arrays have the modules with data
            of the train.
        """
        from .iterate import detector_trains

        return detector_trains(self.selected, self.main_key, self.__getitem__, require_all)

    def write_virtual_cxi(
        self, filename: str | os.PathLike[str], fillvalues: Mapping[str, Any] | None = None
    ) -> None:
        """Write a file in CXI layout that shows the data of all modules as one array.

        Parameters
        ----------
        filename
            The file, which is replaced if it is there.
        fillvalues
            What stands for missing data, by ``data``, ``gain``, ``mask``.
        """
        from .cxi import write_cxi

        known = {name: key for name, key in self._cxi_keys.items() if key in self}
        write_cxi(
            self.selected, filename, known, self._cxi_label, self._frames, dict(fillvalues or {})
        )

    _cxi_keys: ClassVar[Mapping[str, str]] = {}
    _cxi_label: ClassVar[str] = "pulseId"
