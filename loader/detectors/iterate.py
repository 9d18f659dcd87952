"""Data of a detector train by train."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..select.trains import TrainSet
from .keydata import MultimodKeyData, XtdfImageMultimodKeyData
from .selected import SelectedModules

if TYPE_CHECKING:
    import xarray as xr


def detector_trains(
    selected: SelectedModules,
    main_key: str,
    get: Callable[[str], MultimodKeyData],
    require_all: bool,
) -> "Iterator[tuple[int, dict[str, xr.DataArray]]]":
    """(Train ID, arrays by key) of each train of a detector; see its method ``trains``.

    ``get`` gives the data of a key, its pulses selected.
    """
    names = sorted(set.intersection(*(source.keys() for source in selected.sources)))
    keys = {name: get(name) for name in names}
    having = np.array([s.rows(main_key.partition(".")[0]).counts > 0 for s in selected.sources])
    for at, train_id in enumerate(selected.trains.to_list()):
        if require_all and not having[:, at].all():
            continue
        trains = selected.trains.span(at, at + 1)
        yield train_id, {name: _of_train(data, trains) for name, data in keys.items()}


def _of_train(data: MultimodKeyData, trains: TrainSet) -> "xr.DataArray":
    """The data of one train, of the modules that have any; of a frame in its dimensions."""
    part = data.with_data_in(trains)
    if isinstance(part, XtdfImageMultimodKeyData):
        return part.xarray(unstack_pulses=True)
    return part.xarray().isel(trainId=0, drop=True)
