"""Virtual files in CXI layout, which CrystFEL and other programs of crystallography read.

The data of all modules are one array, (frames, modules, ...), without a copy: HDF5 reads them from
the files of the run, which are not to be moved. Frames that a module lacks show a fill value.

    /entry_1/instrument_1/detector_1/{data, gain, mask}       (frames, modules, ...)
    /entry_1/{trainId, pulseId or memoryCell}                 (frames,)
    /entry_1/cellId                                           (frames, modules)
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...catalog.model.names import recorded_run
from ..output.write import replacing, shown_slabs
from ..read.selected import SelectedKey
from .frames import Frames
from .reading import fill_of, plan_module
from .selected import SelectedModules

CXI_VERSION = 150


def write_cxi(
    selected: SelectedModules,
    filename: str | os.PathLike[str],
    keys: Mapping[str, str],
    inner: str,
    frames: Frames,
    fill_values: Mapping[str, Any],
) -> None:
    """Write the file; see ``MultimodDetectorBase.write_virtual_cxi``.

    Parameters
    ----------
    keys
        The keys to show, by the names they get: ``data``, and, where there are any, ``gain``,
        ``mask`` and ``cellId``.
    inner
        Name of the labels of frames in their train: ``pulseId`` or ``memoryCell``.
    frames
        The entries of the keys. Where an entry has several frames, they are unfolded.
    """
    unknown = set(fill_values) - {"data", "gain", "mask"}
    if unknown:
        raise ValueError(f"fillvalues names {sorted(unknown)}: it may name data, gain and mask")
    found = {name: selected.keys(key) for name, key in keys.items()}
    main = found["data"][0]
    cells = 1 if len(main.entry_shape) < 3 or main.record.group == "image" else main.entry_shape[0]
    trains = np.repeat(frames.train_ids, cells)
    labels = np.repeat(frames.pulse_ids, cells)
    sources = {Path(ref.path) for key in found["data"] for ref in key.refs}
    with replacing(Path(filename), sources) as f:
        f["cxi_version"] = [CXI_VERSION]
        entry = f.create_group("entry_1")
        _describe_run(entry, selected)
        names = [f"{t}:{p}" for t, p in zip(trains.tolist(), labels.tolist(), strict=True)]
        entry["experiment_identifier"] = np.array(names, dtype=h5py.string_dtype("ascii"))
        entry["trainId"], entry[inner] = trains, labels
        home = entry.create_group("instrument_1/detector_1")
        home.attrs["name"] = selected.detector
        numbers = selected.first_number + np.arange(selected.n_modules)
        home["module_identifier"] = numbers
        home["experiment_identifier"] = h5py.SoftLink("/entry_1/experiment_identifier")
        entry["data_1"] = h5py.SoftLink("/entry_1/instrument_1/detector_1")
        for name, of_modules in found.items():
            place = entry if name == "cellId" else home
            fill = _fill_value(name, of_modules[0], fill_values)
            made = _show(place, name, of_modules, selected, frames, cells, fill)
            inner_axes = ["y", "x"] if made.ndim > 3 else []
            if made.ndim == 5:
                inner_axes = ["data_gain", *inner_axes]
            axes = ["experiment_identifier", "module_identifier", *inner_axes]
            made.attrs["axes"] = ":".join(axes)
        if home["data"].ndim == 5:
            parts = ["data", "gain"][: home["data"].shape[2]]
            entry["data_gain"] = np.array(parts, dtype=h5py.string_dtype("ascii"))
            home["data_gain"] = h5py.SoftLink("/entry_1/data_gain")


def _describe_run(entry: h5py.Group, selected: SelectedModules) -> None:
    proposal, run = recorded_run(selected.collection.run_metadata())
    if proposal is not None and run is not None:
        entry.attrs["euxfelProposalNumber"] = np.uint32(proposal)
        entry.attrs["euxfelRunNumber"] = np.uint32(run)
        entry.attrs["name"] = f"EuXFEL proposal {proposal} run {run}"


def _fill_value(name: str, key: SelectedKey, fill_values: Mapping[str, Any]) -> Any:
    """What stands for missing data; of a mask all bits, for they are not to be used."""
    if name in fill_values:
        return fill_of(key.dtype, fill_values[name])
    if name == "mask" and key.dtype.kind == "u":
        return np.iinfo(key.dtype).max
    return fill_of(key.dtype, None)


def _show(
    place: h5py.Group,
    name: str,
    keys: Sequence[SelectedKey],
    selected: SelectedModules,
    frames: Frames,
    cells: int,
    fill: Any,
) -> h5py.Dataset:
    """A virtual dataset, (frames, modules, ...), of one key of all modules."""
    entry_shape = keys[0].entry_shape
    inner = entry_shape[1:] if cells > 1 else () if entry_shape == (1,) else entry_shape
    shape = (len(frames) * cells, selected.n_modules, *inner)
    layout = h5py.VirtualLayout(shape=shape, dtype=keys[0].dtype)
    modules = zip(keys, frames.places, selected.positions(module_gaps=True), strict=True)
    for key, module_place, at in modules:
        plan = plan_module(key, keys[0], None, len(frames), module_place.of_rows)
        for start, stop, to, shown in shown_slabs(key, plan):
            layout[to * cells : (to + stop - start) * cells, at] = shown[start:stop]
    return place.create_virtual_dataset(name, layout, fillvalue=fill)
