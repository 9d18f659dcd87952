"""Files of the EXDF format with chosen frames of a detector."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.names import FRAME_GROUP
from ...catalog.model.runlength import UInt64s
from ..output.write import WrittenRows, write_file
from ..read.selected import SelectedData, SelectedKey
from .frames import ModuleRows
from .reading import plan_module
from .selected import SelectedModules


def write_frames(
    selected: SelectedModules,
    data: SelectedData,
    filename: str | os.PathLike[str],
    trains: NDArray[Any],
    pulses: NDArray[Any],
) -> None:
    """Write some frames of all modules; see ``XtdfDetectorBase.write_frames``.

    ``data`` are the sources of the modules.
    """
    if trains.shape != pulses.shape or trains.ndim != 1:
        raise ValueError(
            f"trains and pulses name one frame each: they have shapes {trains.shape} and"
            f" {pulses.shape}"
        )
    wanted = np.unique(np.stack([trains.astype(np.uint64), pulses.astype(np.uint64)]), axis=1)
    frames = selected.match(FRAME_GROUP)
    is_chosen = _among(frames.train_ids, frames.pulse_ids, wanted)
    found = np.stack([frames.train_ids[is_chosen], frames.pulse_ids[is_chosen]])
    lacking = ~_among(wanted[0], wanted[1], found)
    if lacking.any():
        train, pulse = wanted[:, lacking][:, 0]
        raise ValueError(
            f"{selected.detector} has no frame of train {train} with pulse ID {pulse}"
            f" ({lacking.sum()} of {lacking.size} frames are not there)"
        )
    places = dict(zip(selected.numbers, frames.places, strict=True))

    def choose(key: SelectedKey) -> WrittenRows:
        if key.record.group != FRAME_GROUP:
            return WrittenRows.every(key)
        place = places[key.entry.name].of_rows
        chosen = is_chosen if place is None else (place >= 0) & is_chosen[np.maximum(place, 0)]
        moved = np.where(chosen, np.cumsum(chosen) - 1, -1)
        n_rows = int(chosen.sum())
        train_at = ModuleRows(key.source, FRAME_GROUP).train_at[chosen]
        counts = np.bincount(train_at, minlength=len(selected.trains))
        stops = np.cumsum(counts).astype(np.uint64)
        bounds = (stops - counts.astype(np.uint64), stops)
        return WrittenRows(plan_module(key, key, None, n_rows, moved), bounds)

    write_file(data, filename, choose)


def _among(trains: UInt64s, pulses: UInt64s, wanted: UInt64s) -> NDArray[np.bool_]:
    """Which of the frames with these trains and pulses are wanted, (n,); wanted is (2, m)."""
    base = max(int(pulses.max(initial=0)), int(wanted[1].max(initial=0))) + 1
    first = min(int(trains.min(initial=0)), 0)
    keys = (trains - np.uint64(first)) * np.uint64(base) + pulses
    return np.isin(keys, (wanted[0] - np.uint64(first)) * np.uint64(base) + wanted[1])
