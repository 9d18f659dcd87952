"""A data file of a few kilobytes with one source of each kind, for tests that then break it.

Ten trains 1000..1009 unless told otherwise. ``CONTROL/A/XGM/1`` has two keys and one row per train;
``INSTRUMENT/A/CAM/1:out`` has the group ``data`` with two rows per train in the keys ``img`` and
``sum.x``. Values are ``1000 * train position + row within the train``, plus 1.
"""

import os
from collections.abc import Sequence

import h5py
import numpy as np

XGM = "A/XGM/1"
CAMERA = "A/CAM/1:out"
SOURCES = (f"CONTROL/{XGM}", f"INSTRUMENT/{CAMERA}/data")


def write_tiny(
    path: str | os.PathLike[str],
    *,
    version: str = "1.2",
    train_ids: Sequence[int] = tuple(range(1000, 1010)),
    padding: int = 0,
    flag: Sequence[int] | None = None,
    origin: Sequence[int] | None = None,
    rows: Sequence[str] = SOURCES,
    run: int = 7,
    sequence: int = 0,
    fixed_strings: bool = False,
) -> h5py.File:
    """Write it, and return it open for changes.

    ``padding`` zeros follow the train IDs and every other INDEX array, empty strings the source
    list. ``fixed_strings``: no string of variable length in it. Versions 0.1 and 0.5 are what the
    format says: no flag, timestamp or version.
    """
    f = h5py.File(path, "w")
    n = len(train_ids)

    def padded(values, dtype):
        return np.concatenate([np.asarray(values), np.zeros(padding)]).astype(dtype)

    f["INDEX/trainId"] = np.concatenate(
        [np.asarray(train_ids, np.uint64), np.zeros(padding, np.uint64)]
    )
    if version > "0.5":
        f["INDEX/flag"] = padded([1] * n if flag is None else flag, "i4")
        elapsed = np.asarray(train_ids, np.uint64) - np.uint64(train_ids[0])
        times = np.uint64(10**18) + elapsed * np.uint64(10**8)
        f["INDEX/timestamp"] = np.concatenate([times, np.zeros(padding, np.uint64)])
        for key, value in {
            "dataFormatVersion": version,
            "creationDate": "20240102T030405Z",
            "updateDate": "20240102T031405Z",
            "daqLibrary": "1.9.0",
            "karaboFramework": "2.7.0",
            "proposalNumber": np.uint32(2012),
            "runNumber": np.uint32(run),
            "sequenceNumber": np.uint32(sequence),
        }.items():
            is_text = isinstance(value, str)
            f[f"METADATA/{key}"] = np.array([value.encode() if is_text else value])
    if version >= "1.2":
        f["INDEX/origin"] = padded([-1] * n if origin is None else origin, "i4")
    write_sources(f, rows, padding, fixed_strings)

    position = np.arange(n)
    old = version == "0.1"
    for place, per_train in ((XGM, 1), (f"{CAMERA}/data", 2)):
        first = padded(position * per_train, "u8")
        f[f"INDEX/{place}/first"] = first
        if old:
            f[f"INDEX/{place}/last"] = padded(position * per_train + per_train - 1, "u8")
            f[f"INDEX/{place}/status"] = padded([1] * n, "u4")
        else:
            f[f"INDEX/{place}/count"] = padded([per_train] * n, "u8")
    for key in ("power", "beam/x"):
        for section, length in (("CONTROL", n), ("RUN", 1)):
            f[f"{section}/{XGM}/{key}/value"] = 1000.0 * np.arange(length) + 1
            f[f"{section}/{XGM}/{key}/timestamp"] = np.arange(length, dtype="u8") + 1
    f[f"RUN/{XGM}/classId/value"] = np.array([b"XGM"])
    values = (1000 * position[:, None] + np.arange(2) + 1).ravel()
    f[f"INSTRUMENT/{CAMERA}/data/img"] = np.broadcast_to(
        values.astype("u2")[:, None, None], (2 * n, 3, 4)
    )
    f[f"INSTRUMENT/{CAMERA}/data/sum/x"] = values.astype("f4")
    return f


def write_sources(
    f: h5py.File, rows: Sequence[str], padding: int = 0, fixed_strings: bool = False
) -> None:
    """Write or replace the source list, in the place of the file's version."""
    has_version = "dataFormatVersion" in f["METADATA"] if "METADATA" in f else False
    place = "METADATA/dataSources" if has_version else "METADATA"
    columns = {
        "dataSourceId": rows,
        "root": [r.partition("/")[0] for r in rows],
        "deviceId": [r.partition("/")[2] for r in rows],
    }
    for name, values in columns.items():
        if f"{place}/{name}" in f:
            del f[f"{place}/{name}"]
        data = [v.encode() for v in (*values, *[""] * padding)]
        dtype = np.array(data).dtype if fixed_strings else h5py.string_dtype("ascii")
        f.create_dataset(f"{place}/{name}", data=data, dtype=dtype)
