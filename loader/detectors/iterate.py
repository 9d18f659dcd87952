"""Data of a detector train by train."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

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
    groups = {name: data.keys[0].record.group for name, data in keys.items()}
    having = np.array([s.rows(main_key.partition(".")[0]).counts > 0 for s in selected.sources])
    for at, train_id in enumerate(selected.trains.to_list()):
        if require_all and not having[:, at].all():
            continue
        train = selected.with_trains(selected.trains.span(at, at + 1))
        # Keys of a group share what is worked out about its frames.
        parts = {group: train.with_modules_in(group) for group in set(groups.values())}
        yield train_id, {name: _read(data.of(parts[groups[name]])) for name, data in keys.items()}


def _read(data: MultimodKeyData) -> "xr.DataArray":
    """The data of one train; of a frame in its dimensions."""
    if isinstance(data, XtdfImageMultimodKeyData):
        return data.xarray(unstack_pulses=True)
    return data.xarray().isel(trainId=0, drop=True)
