"""Labels of detector arrays: modules, trains, pulses and pixels, for xarray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.runlength import Int64s
from .frames import Frames

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

PIXELS = ["slow_scan", "fast_scan"]
_INNER = {"pulseId": "pulse", "cellId": "cell"}


def label(data: Any, dims: Sequence[str], coords: Any) -> "xr.DataArray":
    """A DataArray without a name."""
    import xarray as xr

    return xr.DataArray(data, dims=dims, coords=coords)


def with_nan(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest float type that holds the numbers of a type, as xarray chooses it, and NaN."""
    if dtype.kind in "fc":
        return dtype
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Labels of frames: train, gain stage where there are any, and pulse or cell."""

    columns: Mapping[str, NDArray[Any]]
    """A label of each frame, (frames,), by the name of its level."""

    @classmethod
    def of(cls, frames: Frames, subtrain_index: str, with_gain: bool) -> "FrameIndex":
        """The labels of frames; raises ValueError for another subtrain_index than these two."""
        if subtrain_index not in _INNER:
            raise ValueError(
                f"subtrain_index must be 'pulseId' or 'cellId', not {subtrain_index!r}"
            )
        ids = frames.pulse_ids if subtrain_index == "pulseId" else frames.cell_ids
        gain = {"gain": frames.gain_stages()} if with_gain else {}
        return cls({"train": frames.train_ids, **gain, _INNER[subtrain_index]: ids})

    def index(self) -> "pd.MultiIndex":
        """All levels in one index."""
        import pandas as pd

        return pd.MultiIndex.from_arrays(list(self.columns.values()), names=list(self.columns))

    def label(self, data: Any, modules: Sequence[int], dims: Sequence[str]) -> "xr.DataArray":
        """An array, (modules, frames, ...), with one dimension for all levels."""
        import xarray as xr

        coords = xr.Coordinates.from_pandas_multiindex(self.index(), "train_pulse")
        labelled = label(data, ["module", "train_pulse", *dims], coords)
        return labelled.assign_coords(module=list(modules))

    @cached_property
    def _levels(self) -> list[tuple[NDArray[Any], Int64s]]:
        """Of each level its values, increasing, and the number of that of each frame."""
        found = []
        for values in self.columns.values():
            level, number = np.unique(values, return_inverse=True)
            found.append((level, number.astype(np.int64)))
        return found

    @cached_property
    def places(self) -> Int64s:
        """Where each frame is if the levels are dimensions, counted through, (frames,).

        Raises ValueError where two frames of a train have the same labels.
        """
        place = np.zeros(next(iter(self.columns.values())).size, np.int64)
        for level, number in self._levels:
            place = place * level.size + number
        if np.unique(place).size != place.size:
            names = " and ".join(self.columns)
            raise ValueError(f"several frames have the same {names}: unstack_pulses=False")
        return place

    @property
    def n_places(self) -> int:
        """How many places there are: the product of the sizes of the levels."""
        size = 1
        for level, _ in self._levels:
            size *= level.size
        return size

    @property
    def is_full(self) -> bool:
        """Whether there is a frame at every place."""
        return self.places.size == self.n_places

    def unstacked(self, data: Any, modules: Sequence[int], dims: Sequence[str]) -> "xr.DataArray":
        """An array, (modules, places, ...), with a dimension for each level."""
        levels = {name: level for name, (level, _) in zip(self.columns, self._levels, strict=True)}
        sizes = [level.size for level in levels.values()]
        shaped = data.reshape(data.shape[0], *sizes, *data.shape[2:])
        return label(shaped, ["module", *levels, *dims], levels | {"module": list(modules)})

    def label_as_in_files(
        self, data: Any, modules: Sequence[int], entry_shape: Sequence[int]
    ) -> "xr.DataArray":
        """An array, (modules, frames, ...), with the names that files have for IDs."""
        import xarray as xr

        names = {"train": "trainId"} | {level: column for column, level in _INNER.items()}
        index = self.index().set_names([names.get(name, name) for name in self.columns])
        coords = xr.Coordinates.from_pandas_multiindex(index, "train_pulse")
        dims = ["module", "train_pulse", *(f"dim_{i}" for i in range(len(entry_shape)))]
        shaped = data.reshape(data.shape[0], data.shape[1], *entry_shape)
        return label(shaped, dims, coords).assign_coords(module=list(modules))
