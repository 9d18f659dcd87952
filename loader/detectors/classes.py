"""The detectors there are: AGIPD, DSSC and LPD, which have an entry per frame, and JUNGFRAU."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ...catalog.model.names import FRAME_GROUP, DetectorModule
from ..collection import DataCollection
from .detector import MultimodDetectorBase
from .frames import Mismatch, PulseChoice
from .keydata import MultimodKeyData, SubtrainIndex, XtdfImageMultimodKeyData
from .modules import DetectorNames, find_modules

if TYPE_CHECKING:
    import xarray as xr


def _channels(detector: str) -> DetectorNames:
    """The names of a detector whose modules are ``3CH0:xtdf``."""
    return DetectorNames(re.compile(detector), frozenset([""]), "CH", "image.data", "image.mask")


class XtdfDetectorBase(MultimodDetectorBase):
    """A detector that records frame by frame, and trains with different numbers of frames."""

    n_modules = 16
    _cxi_keys: ClassVar[Mapping[str, str]] = {
        "data": "image.data", "gain": "image.gain", "mask": "image.mask", "cellId": "image.cellId",
    }  # fmt: skip

    def __getitem__(self, key: str) -> MultimodKeyData:
        first = self.selected.keys(key)[0]
        if first.record.group != FRAME_GROUP:
            return MultimodKeyData(self.selected, first.name)
        return XtdfImageMultimodKeyData(self.selected, first.name)

    def get_array(
        self,
        key: str,
        pulses: Any = slice(None),
        unstack_pulses: bool = True,
        *,
        fill_value: Any = None,
        subtrain_index: SubtrainIndex = "pulseId",
        roi: Any = (),
        astype: DTypeLike | None = None,
    ) -> "xr.DataArray":
        """Read a key of all modules into a labelled array, (module, train, pulse, ...).

        Parameters
        ----------
        key
            Which data, e.g. ``image.data``.
        pulses
            Which frames of each train, as in ``XtdfImageMultimodKeyData.select_pulses``; of other
            keys than those of frames everything is read.
        unstack_pulses
            Whether train and pulse are two dimensions, or one, (module, train_pulse, ...).
        subtrain_index
            Label frames by ``pulseId`` or by ``cellId``.
        fill_value, roi, astype
            As in ``MultimodKeyData.ndarray``.
        """
        data = self[key]
        if not isinstance(data, XtdfImageMultimodKeyData):
            return data.xarray(fill_value=fill_value, roi=roi, astype=astype)
        return data.select_pulses(pulses).xarray(
            fill_value=fill_value,
            roi=roi,
            astype=astype,
            subtrain_index=subtrain_index,
            unstack_pulses=unstack_pulses,
        )

    def get_dask_array(  # type: ignore[override]
        self,
        key: str,
        subtrain_index: SubtrainIndex = "pulseId",
        fill_value: Any = None,
        astype: DTypeLike | None = None,
    ) -> "xr.DataArray":
        """A labelled dask array of a key of all modules; its graph opens no file.

        Parameters
        ----------
        key
            Which data, e.g. ``image.data``.
        subtrain_index
            Label frames by ``pulseId`` or by ``cellId``.
        fill_value, astype
            As in ``MultimodKeyData.ndarray``.

        Returns
        -------
        xarray.DataArray
            (module, train_pulse, dim_0, ...), with every dimension that the files have.
        """
        data = self[key]
        if not isinstance(data, XtdfImageMultimodKeyData):
            return super().get_dask_array(key, fill_value, astype)
        return data.as_in_files(subtrain_index, fill_value, astype)

    def trains(  # type: ignore[override]
        self, pulses: Any = slice(None), require_all: bool = True
    ) -> "Iterator[tuple[int, dict[str, xr.DataArray]]]":
        """Iterate over (train ID, arrays by key) of the trains with data.

        Parameters
        ----------
        pulses
            Which frames of each train, as in ``XtdfImageMultimodKeyData.select_pulses``.
        require_all
            Skip trains for which any module lacks any data. Else arrays have the modules with data
            of the train.
        """
        from .iterate import detector_trains

        choice = PulseChoice.of(pulses)

        def get(key: str) -> MultimodKeyData:
            data = self[key]
            return data.with_pulses(choice) if isinstance(data, XtdfImageMultimodKeyData) else data

        return detector_trains(self.selected, self.main_key, get, require_all)

    def write_frames(
        self, filename: str | os.PathLike[str], trains: ArrayLike, pulses: ArrayLike
    ) -> None:
        """Write some frames to a new file of the EXDF format, with all the keys of the modules.

        Parameters
        ----------
        filename
            The file, which is replaced if it is there.
        trains, pulses
            Train and pulse ID of each frame, (n,) each.

        Raises
        ------
        ValueError
            They differ in length, or there is no such frame.
        """
        from .frame_file import write_frames

        frames = (np.asarray(trains), np.asarray(pulses))
        write_frames(self.selected, self.data.selected, filename, *frames)


class AGIPD1M(XtdfDetectorBase):
    """An AGIPD of 16 modules; for its parameters see ``MultimodDetectorBase``."""

    names = _channels("[^/]+_AGIPD1M[^/]*")
    module_shape = (512, 128)


class AGIPD500K(XtdfDetectorBase):
    """An AGIPD of 8 modules; for its parameters see ``MultimodDetectorBase``."""

    names = _channels("[^/]+AGIPD500K[^/]*")
    module_shape = (512, 128)
    n_modules = 8


class DSSC1M(XtdfDetectorBase):
    """A DSSC of 16 modules; for its parameters see ``MultimodDetectorBase``."""

    names = _channels("[^/]+_DSSC1M[^/]*")
    module_shape = (128, 512)


class LPDBase(XtdfDetectorBase):
    """An LPD.

    Parameters
    ----------
    parallel_gain
        Read data recorded in three gain stages, whose frames stand one stage after the other in
        each train: labels are those of the first stage, with the stage as a further one, ``gain``,
        from 0 (high) to 2 (low).

    The others are those of ``MultimodDetectorBase``.
    """

    module_shape = (256, 256)

    def __init__(
        self,
        data: DataCollection,
        detector_name: str | None = None,
        modules: Iterable[int] | None = None,
        *,
        min_modules: int = 1,
        parallel_gain: bool = False,
        raw: bool | None = None,
        on_mismatch: Mismatch = "fill",
    ) -> None:
        self._has_parallel_gain = parallel_gain
        super().__init__(
            data, detector_name, modules, min_modules=min_modules, raw=raw, on_mismatch=on_mismatch
        )
        if parallel_gain:
            self.selected.match(FRAME_GROUP)  # an error now, where frames are no three stages

    @property
    def parallel_gain(self) -> bool:
        """Whether each train has its pulses three times: high, medium and low gain."""
        return self.selected.parallel_gain


class LPD1M(LPDBase):
    """An LPD of 16 modules; for its parameters see ``LPDBase``."""

    names = _channels("[^/]+_LPD1M[^/]*")


class LPDSolo(LPDBase):
    """An LPD of one module; for its parameters see ``LPDBase``."""

    names = _channels("[^/]+_LPD_SOLO[^/]*")
    n_modules = 1


_JUNGFRAU_DIMS = {
    "trainId": "train", "dim_0": "cell", "dim_1": "slow_scan", "dim_2": "fast_scan",
}  # fmt: skip


class JUNGFRAU(MultimodDetectorBase):
    """A JUNGFRAU, whose trains have one entry of 1 or 16 memory cells.

    Parameters
    ----------
    n_modules
        How many modules the detector has; by default as the largest number of a module tells.
    first_modno
        The number in the source name of its first module, which is module 1. The others are those
        of ``MultimodDetectorBase``.
    """

    names = DetectorNames(
        re.compile(r"[^/]+_(JNGFR|JF[14]M|JUNGF|JF|JF500K\d?)"),
        frozenset(["MODULE_", "RECEIVER-", "JNGFR"]),
        "",
        "data.adc",
        "data.mask",
    )
    module_shape = (512, 1024)
    _first_number = 1
    _cxi_keys: ClassVar[Mapping[str, str]] = {
        "data": "data.adc", "gain": "data.gain", "mask": "data.mask", "cellId": "data.memoryCell",
    }  # fmt: skip
    _cxi_label = "memoryCell"

    def __init__(
        self,
        data: DataCollection,
        detector_name: str | None = None,
        modules: Iterable[int] | None = None,
        *,
        min_modules: int = 1,
        n_modules: int | None = None,
        first_modno: int = 1,
        raw: bool | None = None,
        on_mismatch: Mismatch = "fill",
    ) -> None:
        self._first_modno = first_modno
        self.n_modules = n_modules or 0
        super().__init__(
            data, detector_name, modules, min_modules=min_modules, raw=raw, on_mismatch=on_mismatch
        )

    def _number(self, modules: Mapping[str, DetectorModule]) -> dict[str, int]:
        numbers = {s: m.number - self._first_modno + 1 for s, m in modules.items()}
        self.n_modules = self.n_modules or max(numbers.values())
        return numbers

    @property
    def _frames_per_entry(self) -> int:
        shape = self.selected.keys(self.main_key)[0].entry_shape
        return shape[0] if len(shape) == 3 else 1

    def _label_dims(self, array: "xr.DataArray") -> "xr.DataArray":
        """Names of the dimensions of pixels and cells, where the array has them."""
        return array.rename({d: _JUNGFRAU_DIMS[d] for d in array.dims if d in _JUNGFRAU_DIMS})

    def get_array(
        self, key: str, *, fill_value: Any = None, roi: Any = (), astype: DTypeLike | None = None
    ) -> "xr.DataArray":
        """Read a key of all modules into a labelled array, (module, train, cell, ...).

        Parameters
        ----------
        key
            Which data, e.g. ``data.adc``.
        fill_value, roi, astype
            As in ``MultimodKeyData.ndarray``.
        """
        return self._label_dims(
            super().get_array(key, fill_value=fill_value, roi=roi, astype=astype)
        )

    def get_dask_array(
        self, key: str, fill_value: Any = None, astype: DTypeLike | None = None
    ) -> "xr.DataArray":
        """A labelled dask array of a key of all modules, (module, train, cell, ...).

        Parameters
        ----------
        key
            Which data, e.g. ``data.adc``.
        fill_value, astype
            As in ``MultimodKeyData.ndarray``.
        """
        return self._label_dims(super().get_dask_array(key, fill_value, astype))

    def trains(self, require_all: bool = True) -> "Iterator[tuple[int, dict[str, xr.DataArray]]]":
        """Iterate over (train ID, arrays by key) of the trains with data.

        Parameters
        ----------
        require_all
            Skip trains for which any module lacks any data. Else arrays have the modules with data
            of the train.
        """
        for train_id, arrays in super().trains(require_all):
            yield train_id, {key: self._label_dims(array) for key, array in arrays.items()}

    def cell_ids(self) -> NDArray[Any]:
        """Memory cell of each frame of a train, (cells,), read from the first train with data."""
        key = self["data.memoryCell"]
        first = key.select_trains(np.s_[:1])
        has = first.data_availability()[:, 0]
        cells: NDArray[Any] = first.ndarray()[int(np.argmax(has)), 0]
        return cells


ALL_DETECTORS: tuple[type[MultimodDetectorBase], ...] = (
    AGIPD1M, AGIPD500K, DSSC1M, LPD1M, LPDSolo, JUNGFRAU,
)  # fmt: skip


def identify_multimod_detectors(
    data: DataCollection,
    detector_name: str | None = None,
    *,
    single: bool = False,
    clses: Iterable[type[MultimodDetectorBase]] | None = None,
) -> Any:
    """The detectors of several modules in a collection, with their classes.

    Parameters
    ----------
    data
        A collection, e.g. from ``open_run``.
    detector_name
        Only a detector of this name.
    single
        Whether there is to be one.
    clses
        Classes to look for; by default all.

    Returns
    -------
    set of tuple, or tuple
        (Detector name, class) of each; with ``single`` of the one.

    Raises
    ------
    ValueError
        ``single``, and there is none, or several.
    """
    found = {
        (module.detector, cls)
        for cls in (ALL_DETECTORS if clses is None else clses)
        for module in find_modules(data.selected, cls.names).values()
        if detector_name in (None, module.detector)
    }
    if not single:
        return found
    if len(found) != 1:
        names = ", ".join(sorted(name for name, _ in found)) or "none"
        raise ValueError(f"one detector of several modules is needed, and there is: {names}")
    return next(iter(found))
