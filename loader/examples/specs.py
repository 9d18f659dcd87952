"""Descriptions of a synthetic run, from a key to the files of the run.

1. ``KeySpec``: one dataset: dtype, entry shape, unit, range and kind of its values.
2. ``GroupSpec``: keys that share an index, and how many entries each train has.
3. ``SourceSpec``: a source in its section; ``control``, ``instrument`` and ``auxiliary`` make them.
4. ``FileSpec``: an aggregator's sequence file: which trains, which sources, which oddities.
5. ``RunSpec``: the files of a run, its numbers and its format version; ``split`` makes files.

Nothing here touches a file; ``writing`` writes what is described.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "VERSIONS",
    "Counts",
    "FileSpec",
    "GroupSpec",
    "KeySpec",
    "RunSpec",
    "SourceSpec",
    "Unit",
    "auxiliary",
    "control",
    "instrument",
    "split",
    "train_at",
    "train_time_ns",
]

VERSIONS = ("0.1", "0.5", "1.0", "1.1", "1.2", "1.3")

Fill = Literal["coded", "constant", "train_id", "pulse_id", "cell_id", "time"]
Counts = int | Sequence[int] | Callable[[NDArray[np.uint64]], NDArray[Any]]

_TRAIN_0 = datetime(2016, 12, 1, tzinfo=UTC)
_TRAIN_NS = 100_000_000
_EPOCH_NS = int(_TRAIN_0.timestamp()) * 10**9


def train_at(when: datetime) -> int:
    """The train ID of a time: trains are counted at 10 Hz from 1 December 2016."""
    return int((when - _TRAIN_0) / timedelta(milliseconds=100))


def train_time_ns(train_ids: Any) -> NDArray[np.uint64]:
    """The time of trains, ns since the epoch in UTC; the reverse of ``train_at``.

    An implausibly late train ID wraps around, as it would in a file.
    """
    return np.asarray(train_ids, np.uint64) * np.uint64(_TRAIN_NS) + np.uint64(_EPOCH_NS)


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit attributes of format 1.3: ``Unit("J", "joule", "u", "micro")``."""

    symbol: str
    name: str
    prefix_symbol: str = ""
    prefix_name: str = ""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One key of a source.

    ``name`` is the path below the index group with dots (``beamPosition.ixPos``), without
    ``.value`` for CONTROL. ``dtype`` is a numpy dtype or ``"str"`` for strings of variable length,
    ``shape`` that of one entry. ``span`` limits coded numbers to (lowest, highest). ``fill`` is
    the kind of the values: ``coded`` by file, train, entry and element; ``constant`` over the run;
    or following from train and entry. ``chunk_rows`` 0 stores the dataset contiguously.
    """

    name: str
    dtype: Any = "f4"
    shape: tuple[int, ...] = ()
    unit: Unit | None = None
    span: tuple[float, float] | None = None
    fill: Fill = "coded"
    chunk_rows: int = 0
    compression: str | None = None

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype in memory: object for strings of variable length."""
        return np.dtype(object if self.dtype == "str" else self.dtype)


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Keys that share one index.

    ``name`` is the first part of the keys' full names, and has no dots: ``data``, ``image``.
    ``counts`` gives the entries per train: one number, a cycle over the train IDs
    (``counts[train_id % len(counts)]``), or a function of the array of train IDs. ``gaps`` is a
    cycle of filler rows, which no train owns, written after the rows of each train.
    ``reversed_rows`` stores the trains' rows in reverse order.
    """

    name: str
    keys: tuple[KeySpec, ...]
    counts: Counts = 1
    gaps: tuple[int, ...] = ()
    reversed_rows: bool = False

    def counts_for(self, train_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Entries of each train, (n,)."""
        if callable(self.counts):
            return np.asarray(self.counts(train_ids)).astype(np.int64)
        cycle = np.atleast_1d(np.asarray(self.counts, np.int64))
        return cycle[(train_ids % np.uint64(cycle.size)).astype(np.intp)]

    def firsts_for(
        self, train_ids: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """First row and count of each train, (n,) each, and the length of the datasets."""
        counts = self.counts_for(train_ids)
        cycle = np.asarray(self.gaps or (0,), np.int64)
        lengths = counts + cycle[np.arange(counts.size) % cycle.size]
        if self.reversed_rows:
            firsts = (np.cumsum(lengths[::-1]) - lengths[::-1])[::-1]
        else:
            firsts = np.cumsum(lengths) - lengths
        return firsts, counts, int(lengths.sum())


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source: its section, name and index groups.

    A CONTROL source has the one group ``""``, whose keys get a ``value`` and a ``timestamp``; its
    RUN holds the same keys and those of ``run``, which are written as given. ``legacy_name`` adds a
    soft link of that name. ``listed`` False leaves the source out of the source list.
    """

    name: str
    groups: tuple[GroupSpec, ...] = ()
    section: str = "INSTRUMENT"
    run: Mapping[str, Any] = field(default_factory=dict)
    legacy_name: str = ""
    listed: bool = True

    @property
    def is_control(self) -> bool:
        """Whether this is a CONTROL source."""
        return self.section == "CONTROL"


def control(
    name: str, *keys: KeySpec, run: Mapping[str, Any] | None = None, counts: Counts = 1
) -> SourceSpec:
    """A CONTROL source; without keys it has RUN values only."""
    return SourceSpec(name, (GroupSpec("", keys, counts),), "CONTROL", run or {})


def instrument(
    name: str, *groups: GroupSpec, legacy_name: str = "", section: str = "INSTRUMENT"
) -> SourceSpec:
    """An INSTRUMENT source; the groups are named."""
    return SourceSpec(name, groups, section, {}, legacy_name)


def auxiliary(section: str, name: str, *groups: GroupSpec) -> SourceSpec:
    """A source of an auxiliary section: REDUCTION or ERRATA."""
    return SourceSpec(name, groups, section)


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One data file: an aggregator's sequence.

    ``train_ids`` in file order: anything that fits uint64, zeros inside and repeats included.
    ``suspect`` names the train IDs flagged as such (from format 1.0 on). ``padding`` zeros are
    appended to every INDEX array, ``source_padding`` empty strings to the source list.
    ``metadata`` replaces entries of METADATA.
    """

    aggregator: str
    sequence: int
    train_ids: tuple[int, ...]
    sources: tuple[SourceSpec, ...]
    suspect: frozenset[int] = frozenset()
    padding: int = 0
    source_padding: int = 2
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trains(self) -> NDArray[np.uint64]:
        """The train IDs, (n,) uint64."""
        return np.array(self.train_ids, dtype=np.uint64)


def split(
    train_ids: Sequence[int],
    aggregators: Mapping[str, Sequence[SourceSpec]],
    sequences: int = 1,
    **options: Any,
) -> tuple[FileSpec, ...]:
    """Files of several aggregators that each cut the same trains into ``sequences`` parts.

    ``options`` are those of ``FileSpec``.
    """
    parts = np.array_split(np.array(train_ids, dtype=np.uint64), sequences)
    return tuple(
        FileSpec(aggregator, number, tuple(part.tolist()), tuple(sources), **options)
        for aggregator, sources in aggregators.items()
        for number, part in enumerate(parts)
    )


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A run: its numbers, format version and files.

    ``prefix`` is RAW, CORR, ...; ``version`` one of ``VERSIONS``; ``libver`` the HDF5 version whose
    file structures are used, as h5py names it.
    """

    proposal: int
    run: int
    files: tuple[FileSpec, ...]
    version: str = "1.3"
    prefix: str = "RAW"
    sample: str = "No Sample"
    run_type: str = "Test DAQ"
    libver: str = "earliest"

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"format version {self.version!r} is none of {', '.join(VERSIONS)}")

    def file_name(self, file: FileSpec) -> str:
        """The name of a file of this run."""
        return f"{self.prefix}-R{self.run:04d}-{file.aggregator}-S{file.sequence:05d}.h5"

    def file_token(self, file: FileSpec) -> str:
        """What stands for a file in coded values: proposal and file name."""
        return f"p{self.proposal:06d}/{self.file_name(file)}"

    @property
    def token(self) -> str:
        """What stands for the run in RUN values."""
        return f"p{self.proposal:06d}/{self.prefix}-R{self.run:04d}"

    @property
    def train_ids(self) -> list[int]:
        """Every train ID of the run, increasing, without zeros."""
        every = {t for f in self.files for t in f.train_ids}
        return sorted(every - {0})

    @property
    def first_time(self) -> datetime:
        """The time of the first train of the run."""
        first = int(train_time_ns(self.train_ids[0])) if self.train_ids else _EPOCH_NS
        return datetime.fromtimestamp(first // 10**9, UTC)
