"""What programs import from EXtra-data and nothing else here has: functions by its signatures.

1. Trains and regions as plain lists, slices and shapes.
2. ``DataChunk``, ``FileWriter``, and how many threads to use.
3. ``MappedTrains``: a run or a key as pasha maps over it.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from ...catalog.model.runlength import Int64s, UInt64s
from ..read.files import available_cpu_cores
from ..select import trains as of_trains
from ..select.selection import parse_region
from ..select.sources import is_single_run
from ..select.trains import TrainSet
from .file_access import FileAccess

__all__ = [
    "DataChunk",
    "FileWriter",
    "MappedTrains",
    "VirtualFileWriter",
    "available_cpu_cores",
    "default_num_threads",
    "expand_indexing",
    "isinstance_no_import",
    "roi_shape",
    "same_run",
    "select_train_ids",
    "split_trains",
]


def select_train_ids(train_ids: Iterable[int], sel: Any) -> list[int]:
    """Those of the train IDs that a selection selects, in increasing order."""
    return of_trains.select_trains(TrainSet.from_ids(list(train_ids)), sel).to_list()


def split_trains(
    n_trains: int, parts: int | None = None, trains_per_part: int | None = None
) -> list[slice]:
    """Slices that divide so many trains; the arguments are those of ``split_trains`` of a run."""
    positions = TrainSet.from_ids(np.arange(n_trains))
    found = of_trains.split_trains(positions, parts, trains_per_part)
    return [slice(int(part.firsts[0]), int(part.lasts[-1]) + 1) for part in found]


def roi_shape(orig_shape: tuple[int, ...], roi: Any) -> tuple[int, ...]:
    """The shape of a region of an entry of this shape."""
    return parse_region(roi, orig_shape).shape


def expand_indexing(shape: tuple[int, ...], indexing: tuple[Any, ...]) -> list[Int64s | int]:
    """The positions that a region of an entry has in each dimension; a number where it drops it."""
    return parse_region(indexing, shape).coordinates(shape)


def same_run(*args: Any) -> bool:
    """Whether all of these collections or sources are of one run."""
    parts = [arg.selected for arg in args]
    refs = [ref for part in parts for ref in (part.table if hasattr(part, "table") else part).refs]
    return is_single_run(refs)


@dataclass(eq=False)
class DataChunk:
    """Rows of a dataset in one file that lie one behind the other."""

    file: FileAccess
    """The file."""
    dataset_path: str
    """Path of the dataset in it."""
    first: int
    """The first row."""
    train_ids: UInt64s
    """The trains, (n,)."""
    counts: UInt64s
    """Rows of each train, (n,)."""

    @property
    def total_count(self) -> int:
        """How many rows."""
        return int(np.sum(self.counts, dtype=np.uint64))

    @property
    def slice(self) -> slice:
        """The rows."""
        return slice(int(self.first), int(self.first) + self.total_count)

    @property
    def dataset(self) -> Any:
        """The ``h5py.Dataset``."""
        return self.file.file[self.dataset_path]


class MappedTrains:
    """Trains as pasha maps over them (its ``Functor``, which needs no import of pasha).

    ``split`` divides the positions among workers; ``iterate`` gives, in a worker, position, train
    ID and data of each train of its share. Open files of the parent process are not used there.
    """

    def __init__(self, data: Any, trains: Callable[[Any], Iterator[tuple[int, Any]]]) -> None:
        self.data, self.trains = data, trains
        self.n_trains = len(data.train_ids)

    def split(self, num_workers: int) -> list[slice]:
        """A share of the positions for each worker."""
        edges = [self.n_trains * at // num_workers for at in range(num_workers + 1)]
        return [slice(*ends) for ends in pairwise(edges)]

    def iterate(self, share: slice) -> Iterator[tuple[int, int, Any]]:
        """(Position, train ID, data) of each train of a share."""
        positions = range(*share.indices(self.n_trains))
        found = self.trains(self.data.select_trains(share))
        for at, (train_id, data) in zip(positions, found, strict=True):
            yield at, train_id, data


class Writable(Protocol):
    """A ``DataCollection``, as far as writers need it."""

    def write(self, filename: Any) -> None:
        """Write a file."""

    def write_virtual(self, filename: Any) -> None:
        """Write a file of virtual datasets."""


class FileWriter:
    """Writes a collection to a new file; as ``DataCollection.write``."""

    def __init__(self, path: str | os.PathLike[str], data: Writable) -> None:
        self.path, self.data = path, data

    def __enter__(self) -> "FileWriter":
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def write(self) -> None:
        """Write the file."""
        self.data.write(self.path)


class VirtualFileWriter(FileWriter):
    """Writes a file of virtual datasets; as ``DataCollection.write_virtual``."""

    def write(self) -> None:
        """Write the file."""
        self.data.write_virtual(self.path)


def default_num_threads(fixed_limit: int = 16) -> int:
    """So many threads at most, and no more than cores, or than EXTRA_NUM_THREADS says."""
    named = os.environ.get("EXTRA_NUM_THREADS", "")
    limits = [fixed_limit, available_cpu_cores(), *([int(named)] if named.isdecimal() else [])]
    return min(limits)


def isinstance_no_import(obj: object, mod: str, cls: str) -> bool:
    """Whether an object is of a class of a module, which need not be imported to know it is not."""
    module = sys.modules.get(mod)
    return module is not None and isinstance(obj, getattr(module, cls))
