"""Faults of run files, as seen in practice, to be put into written files.

Every function changes the file (or run directory) at ``path`` and returns the ``Defect``:
where it is, which audit check should find it, and a sentence about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import h5py
import numpy as np


@dataclass(frozen=True, slots=True)
class Defect:
    """A fault in a facility: the file or run directory, the check that finds it, a sentence."""

    path: Path
    check: str
    description: str


def _first_index(f: h5py.File, section: str, name: str = "first") -> h5py.Dataset:
    """The first dataset called ``name`` in INDEX that belongs to a source of ``section``."""
    found: list[str] = []

    def visit(path: str) -> None:
        source, _, last = path.rpartition("/")
        if last == name and source in f[section]:
            found.append(path)

    f["INDEX"].visit(visit)
    return f["INDEX"][found[0]]


def _n_trains(f: h5py.File) -> int:
    """The number of trains; the zeros after them are padding."""
    return int(np.flatnonzero(f["INDEX/trainId"][()])[-1]) + 1


def _list_source(f: h5py.File, section: str, name: str) -> None:
    """Put a source into the first free row of the source list."""
    home = f["METADATA/dataSources"] if "dataSources" in f["METADATA"] else f["METADATA"]
    free = int(np.flatnonzero(home["root"][()] == b"")[0])
    home["dataSourceId"][free] = f"{section}/{name}".encode()
    home["deviceId"][free] = name.encode()
    home["root"][free] = section.encode()


def _first_data(f: h5py.File, section: str) -> h5py.Dataset:
    """The first dataset of numbers in a section, in the order of the names."""

    def visit(_: str, item: Any) -> h5py.Dataset | None:
        is_data = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.size
        return item if is_data and not item.name.endswith("timestamp") else None

    return f[section].visititems(visit)


def _replace(dataset: h5py.Dataset, values: Any, dtype: Any = None) -> None:
    """Put a dataset of other shape or dtype in the place of one."""
    home, name = dataset.parent, dataset.name.rsplit("/", 1)[1]
    del home[name]
    home.create_dataset(name, data=values, dtype=dtype)


def _in_file(check: str) -> Callable[[Callable[[h5py.File], str]], Callable[[Path], Defect]]:
    """Make a fault of a function that changes an open file and describes the change."""

    def fault(change: Callable[[h5py.File], str]) -> Callable[[Path], Defect]:
        @wraps(change)
        def put_in(path: Path) -> Defect:
            with h5py.File(path, "r+") as f:
                description = change(f)
            return Defect(path, check, description)

        return put_in

    return fault


def empty_file(path: Path) -> Defect:
    """Nothing in it: its writer died before the first flush."""
    path.write_bytes(b"")
    return Defect(path, "F01", "the file is empty")


def truncate(path: Path) -> Defect:
    """Cut to two thirds: copied incompletely."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return Defect(path, "F01", "the file is shorter than its superblock says")


def replace_by_text(path: Path) -> Defect:
    """A text file under the name of a data file."""
    path.write_text("This is not an HDF5 file.\n" * 40)
    return Defect(path, "F02", "the file is text, not HDF5")


@_in_file("F03")
def forget_train_ids(f: h5py.File) -> str:
    """INDEX without trainId."""
    del f["INDEX/trainId"]
    return "INDEX/trainId is missing"


@_in_file("F04")
def unknown_version(f: h5py.File) -> str:
    """A format version that does not exist."""
    f["METADATA/dataFormatVersion"][0] = b"9.7"
    return "METADATA/dataFormatVersion is 9.7"


@_in_file("F05")
def foreign_proposal(f: h5py.File) -> str:
    """METADATA names another proposal than the path."""
    f["METADATA/proposalNumber"][0] = 1
    return "METADATA/proposalNumber is 1"


@_in_file("I07")
def list_absent_source(f: h5py.File) -> str:
    """The source list has a source that the file does not hold."""
    _list_source(f, "CONTROL", "GHOST/MDL/ABSENT")
    return "source GHOST/MDL/ABSENT is listed but has no data"


@_in_file("F08")
def stray_group(f: h5py.File) -> str:
    """A top-level group that the format does not know."""
    f["SCRATCHPAD/notes"] = np.arange(3)
    return "the file has a group SCRATCHPAD"


@_in_file("T01")
def zeros_inside_train_ids(f: h5py.File) -> str:
    """Two zeros in the middle of trainId, which shift every index array for naive readers."""
    trains = f["INDEX/trainId"]
    at = _n_trains(f) // 3
    trains[at : at + 2] = 0
    return f"INDEX/trainId is zero at positions {at} and {at + 1}"


@_in_file("T02")
def step_back_in_trains(f: h5py.File) -> str:
    """One train ID smaller than the one before it."""
    trains = f["INDEX/trainId"]
    at = _n_trains(f) // 2
    trains[at] = trains[at] - np.uint64(700)
    return f"INDEX/trainId steps back by 700 at position {at}"


@_in_file("T03")
def maximal_train_id(f: h5py.File) -> str:
    """The last train ID is 2^64 - 1."""
    trains = f["INDEX/trainId"]
    trains[_n_trains(f) - 1] = np.uint64(2**64 - 1)
    return "the last train ID is 2^64 - 1"


@_in_file("I01")
def index_beyond_data(f: h5py.File) -> str:
    """The index of an instrument source points beyond the end of its datasets."""
    first = _first_index(f, "INSTRUMENT")
    at = _n_trains(f) - 1
    first[at] = first[at] + np.uint64(1000)
    where = first.parent.name
    return f"{where} points 1000 rows beyond the data in its last train"


@_in_file("I04")
def silence_control(f: h5py.File) -> str:
    """A control source that recorded nothing for its last trains."""
    count = _first_index(f, "CONTROL", "count")
    n = _n_trains(f)
    count[n - 3 : n] = 0
    where = count.parent.name
    return f"{where} has count 0 for the last 3 trains"


@_in_file("I05")
def claim_rows_of_empty_dataset(f: h5py.File) -> str:
    """The index has rows, but the dataset is empty."""
    dataset = _first_data(f, "INSTRUMENT")
    where = dataset.name
    _replace(dataset, np.empty((0, *dataset.shape[1:]), dataset.dtype))
    return f"{where} is empty but INDEX gives it rows"


@_in_file("I06")
def lengthen_one_key(f: h5py.File) -> str:
    """One key of an index group has more rows than the others."""
    dataset = _first_data(f, "INSTRUMENT")
    where = dataset.name
    _replace(dataset, np.concatenate([dataset[()], dataset[:1]]))
    return f"{where} has one row more than the other keys of its group"


def break_legacy_link(path: Path) -> Defect:
    """A soft link from an old source name to a group that is not there."""
    old, new = "OLD_DET/DET/0CH0:xtdf", "NEW_DET/CORR/0CH0:output"
    with h5py.File(path, "r+") as f:
        f[f"INSTRUMENT/{old}"] = h5py.SoftLink(f"/INSTRUMENT/{new}")
        _list_source(f, "INSTRUMENT", f"{old}/image")
    return Defect(path, "P03", f"legacy name {old} is a dangling link")


@_in_file("R07")
def change_dtype(f: h5py.File) -> str:
    """One control key has another dtype than in the other sequence files."""
    dataset = _first_data(f, "CONTROL")
    where, values = dataset.name, dataset[()]
    other = np.dtype("f4") if values.dtype == np.float64 else np.dtype("f8")
    _replace(dataset, values.astype(other))
    return f"{where} is {other} here and {values.dtype} in other sequences"


def lose_sequence(path: Path) -> Defect:
    """A sequence file in the middle is gone; ``path`` is the file that is lost."""
    path.unlink()
    return Defect(path.parent, "R01", f"sequence file {path.name} is missing")


def repeat_trains(path: Path) -> Defect:
    """The first train of a file is one that an earlier sequence file holds too."""
    prefix, sequence = path.stem.rsplit("-S", 1)
    earlier = path.with_name(f"{prefix}-S{int(sequence) - 1:05d}.h5")
    with h5py.File(earlier) as f:
        last = int(f["INDEX/trainId"][_n_trains(f) - 1])
    with h5py.File(path, "r+") as f:
        f["INDEX/trainId"][0] = last
    return Defect(path, "R02", f"train {last} is also in {earlier.name}")


FAULTS: tuple[Callable[[Path], Defect], ...] = (
    empty_file, truncate, replace_by_text, forget_train_ids, unknown_version, foreign_proposal,
    list_absent_source, stray_group, zeros_inside_train_ids, step_back_in_trains, maximal_train_id,
    index_beyond_data, silence_control, claim_rows_of_empty_dataset, lengthen_one_key,
    break_legacy_link, change_dtype, lose_sequence, repeat_trains,
)  # fmt: skip
