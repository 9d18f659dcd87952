"""EXDF files of a described run.

``write_run`` writes every file of a ``RunSpec`` into a directory, ``write_file`` one of them:
METADATA, INDEX, then the sections, all as the format version has them. The bytes depend on the
description alone, and the modification time is that of the file's last train.
"""

import os
from collections.abc import Mapping
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...catalog.model.names import UNIT_ATTRIBUTES
from .specs import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    SourceSpec,
    expected_run_values,
    expected_values,
    train_time_ns,
)

_TEXT = h5py.string_dtype("ascii")
_STAMP = "%Y%m%dT%H%M%SZ"
_FILLER_TRAIN = 2**64 - 1


def write_run(directory: Path | str, spec: RunSpec) -> list[Path]:
    """Write every file of a run; the directory is made, existing files are overwritten.

    Returns the paths in the order of ``spec.files``.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    return [write_file(directory / spec.file_name(file), spec, file) for file in spec.files]


def write_file(path: Path, run: RunSpec, file: FileSpec) -> Path:
    """Write one file of a run at ``path`` (whose name need not be that of the file)."""
    with h5py.File(path, "w", libver=(run.libver, "latest")) as f:
        _write_metadata(f, run, file)
        _write_index(f, run, file)
        for source in file.sources:
            _write_source(f, run, file, source)
    trains = file.trains[file.trains < np.uint64(1 << 40)]
    if trains.size:
        seconds = int(train_time_ns(trains.max())) // 10**9 + 60
        os.utime(path, (seconds, seconds))
    return path


def _source_rows(file: FileSpec, sections: tuple[str, ...]) -> list[tuple[str, str]]:
    """(section, source and group) as the source list has them, in the order of the sources."""
    rows = []
    for source in file.sources:
        if source.section not in sections:
            continue
        for group in source.groups if source.section != "CONTROL" else (GroupSpec("", ()),):
            rows.append((source.section, f"{source.name}/{group.name}".rstrip("/")))
        rows += [
            (source.section, f"{source.legacy_name}/{group.name}")
            for group in source.groups
            if source.legacy_name
        ]
    return rows


def _write_texts(group: h5py.Group, name: str, texts: list[str]) -> None:
    group.create_dataset(name, data=np.array(texts, dtype=object), dtype=_TEXT)


def _write_metadata(f: h5py.File, run: RunSpec, file: FileSpec) -> None:
    """The source list and, from format 1.0 on, the run metadata."""
    metadata = f.create_group("METADATA")
    rows = _source_rows(file, ("CONTROL", "INSTRUMENT"))
    if run.version == "1.1":
        rows.append(("Karabo_TimerServer", ""))
    rows += [("", "")] * file.source_padding
    home = metadata if run.version < "1.0" else metadata.create_group("dataSources")
    ids = [f"{root}/{device}" if device else root for root, device in rows]
    _write_texts(home, "dataSourceId", ids)
    _write_texts(home, "deviceId", [device for _, device in rows])
    _write_texts(home, "root", [root for root, _ in rows])
    for section in sorted({s.section for s in file.sources} - {"CONTROL", "INSTRUMENT"}):
        listed = [f"{root}/{device}" for root, device in _source_rows(file, (section,))]
        _write_texts(metadata.require_group("auxiliarySources"), section, listed)
    for name, value in _run_metadata(run, file).items():
        if isinstance(value, str):
            _write_texts(metadata, name, [value])
        else:
            metadata.create_dataset(name, data=np.array([value], dtype=np.uint32))


def _run_metadata(run: RunSpec, file: FileSpec) -> Mapping[str, Any]:
    """The entries of METADATA besides the source list; none before format 1.0."""
    if run.version < "1.0":
        return file.metadata
    trains = [t for t in file.train_ids if 0 < t < 1 << 40]
    last = int(train_time_ns(max(trains))) // 10**9 if trains else 0
    updated = datetime.fromtimestamp(last, UTC) + timedelta(seconds=5)
    return {
        "creationDate": run.first_time.strftime(_STAMP),
        "daqLibrary": "1.9" if run.version < "1.3" else "1.20",
        "dataFormatVersion": run.version,
        "karaboFramework": "2.9.6" if run.version < "1.3" else "2.16.4",
        "proposalNumber": run.proposal,
        "runNumber": run.run,
        "runType": run.run_type,
        "sample": run.sample,
        "sequenceNumber": file.sequence,
        "updateDate": updated.strftime(_STAMP),
        **file.metadata,
    }


def _padded(values: NDArray[Any], file: FileSpec) -> NDArray[Any]:
    return np.concatenate([values, np.zeros(file.padding, values.dtype)])


def _write_index(f: h5py.File, run: RunSpec, file: FileSpec) -> None:
    """trainId and, by version, timestamp, flag and origin."""
    index = f.create_group("INDEX")
    trains = file.trains
    index["trainId"] = _padded(trains, file)
    if run.version < "1.0":
        return
    index["timestamp"] = _padded(train_time_ns(trains), file)
    suspect = np.isin(trains, np.array(sorted(file.suspect), dtype=np.uint64))
    # 1.1 has the sender of the train ID here, and the time server (good) is number 0.
    flag = suspect if run.version == "1.1" else ~suspect
    index["flag"] = _padded(flag.astype(np.int32), file)
    if run.version >= "1.2":
        index["origin"] = _padded(np.where(suspect, 0, -1).astype(np.int32), file)


def _write_source(f: h5py.File, run: RunSpec, file: FileSpec, source: SourceSpec) -> None:
    """The data, index and RUN of a source, and its legacy name."""
    place = run.file_token(file), source.name
    for group in source.groups:
        firsts, counts, _ = group.firsts_for(file.trains)
        index: dict[str, NDArray[Any]] = {"first": firsts, "count": counts}
        if run.version == "0.1":
            last = firsts + np.maximum(counts, 1) - 1
            index = {"first": firsts, "last": last, "status": counts > 0}
        home = f.create_group(f"INDEX/{source.name}/{group.name}".rstrip("/"))
        for name, values in index.items():
            home[name] = _padded(values.astype(np.uint64), file)
        home = f.require_group(f"{source.section}/{source.name}/{group.name}".rstrip("/"))
        for key in group.keys:
            path = key.name.replace(".", "/")
            if source.is_control:
                time = KeySpec(f"{key.name}.timestamp", "u8", fill="time")
                _write_key(home, f"{path}/value", place, group, key, file)
                _write_key(home, f"{path}/timestamp", place, group, time, file)
            else:
                _write_key(home, path, place, group, key, file)
            if run.version >= "1.3":
                _write_attributes(home[path], key)
    if source.is_control:
        _write_run_section(f, run, source)
    if source.legacy_name:
        for section in (source.section, "INDEX"):  # soft links from the old name to the new
            f[f"{section}/{source.legacy_name}"] = h5py.SoftLink(f"/{section}/{source.name}")


def _write_key(
    home: h5py.Group,
    path: str,
    place: tuple[str, str],
    group: GroupSpec,
    key: KeySpec,
    file: FileSpec,
) -> None:
    """The dataset of a key: the rows of each train where the index puts them, filler elsewhere."""
    trains = file.trains
    firsts, counts, length = group.firsts_for(trains)
    owner = np.full(length, _FILLER_TRAIN, dtype=np.uint64)
    number = np.arange(length, dtype=np.uint64)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(firsts, counts) + within
    owner[rows] = np.repeat(trains, counts)
    number[rows] = within
    values = expected_values(*place, key, owner, number)
    storage: dict[str, Any] = {}
    if key.chunk_rows:
        storage = {
            "chunks": (key.chunk_rows, *key.shape),
            "maxshape": (None, *key.shape),
            "compression": key.compression,
        }
    home.create_dataset(path, data=values, dtype=_stored_dtype(key), **storage)


def _stored_dtype(key: KeySpec) -> np.dtype[Any]:
    stored: np.dtype[Any] = h5py.string_dtype() if key.dtype == "str" else key.numpy_dtype
    return stored


def _write_attributes(item: h5py.Group | h5py.Dataset, key: KeySpec) -> None:
    """Attributes of format 1.3: the unit and a description."""
    item.attrs["alias"] = key.name.upper().encode()
    item.attrs["description"] = f"Synthetic {key.name}".encode()
    if key.unit is not None:
        item.attrs.update(zip(UNIT_ATTRIBUTES, astuple(key.unit), strict=True))


def _write_run_section(f: h5py.File, run: RunSpec, source: SourceSpec) -> None:
    """RUN of a control source: its keys at the first train, and those it has only there."""
    home = f.require_group(f"RUN/{source.name}")
    start = train_time_ns(run.train_ids[0]) if run.train_ids else np.uint64(0)

    def put(name: str, value: Any, dtype: np.dtype[Any]) -> None:
        path = name.replace(".", "/")
        home.create_dataset(f"{path}/value", data=np.array([value], dtype=dtype.base), dtype=dtype)
        home[f"{path}/timestamp"] = np.array([start], dtype=np.uint64)

    values = expected_run_values(run, source)
    for group in source.groups:
        for key in group.keys:
            put(key.name, values[key.name], _stored_dtype(key))
    for name, value in source.run.items():
        is_text = isinstance(value, str)
        put(name, value, h5py.string_dtype() if is_text else np.array(value).dtype)
