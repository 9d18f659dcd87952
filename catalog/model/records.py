"""What does a scan find in a file, in the words that scanner, store and loader share?

Frozen values, made by ``scan`` or read back by ``facts``; nothing here touches a file. From small
to large: a ``KeyRecord`` in a ``KeySchema`` (what a source's keys are), a ``SourceRecord`` in a
``FileLayout`` (what sources a file has), a ``FileRecord`` (all that is known of one file), a
``RunRecord`` (one run: its identity, places and files).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import Severity
from .identity import RunIdentity
from .runlength import IndexPattern, TrainList

__all__ = [
    "Depth",
    "FileLayout",
    "FileRecord",
    "KeyProfile",
    "KeyRecord",
    "KeySchema",
    "Problem",
    "RunRecord",
    "RunValue",
    "SourceRecord",
    "utc_now",
]

RunValue = Any  # a numpy scalar, a str, or an ndarray


class Depth(IntEnum):
    """How much of a file is known."""

    UNREAD = 0  # it could not be read, or was not asked for: name, size and time only
    NAMES = 1  # trains, suspects and source names, as a JSON data map has them
    OUTLINE = 2  # also timestamps, format version, run metadata, index group names
    FULL = 3  # also keys, dtypes, shapes, units, INDEX, RUN and structure checks


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file or run, found while scanning it.

    ``check`` is its ID in the table of audit checks, ``path`` the file or run directory, ``where``
    the object inside the file, and ``message`` one clear sentence without the path.
    """

    check: str
    severity: Severity
    message: str
    path: str
    where: str = ""


class KeyRecord(NamedTuple):
    """One key of a source.

    ``name`` is as the API spells it (``beamPosition.ixPos.value``), ``group`` its index group
    (empty for CONTROL), ``dtype`` as in ``dtypes``, ``entry_shape`` the shape of one entry. The
    unit fields are the HDF5 attributes of format 1.3, empty where there are none.
    """

    name: str
    group: str
    dtype: str
    entry_shape: tuple[int, ...] = ()
    unit_symbol: str = ""
    unit_name: str = ""
    prefix_symbol: str = ""
    prefix_name: str = ""


def _digest(canonical: bytes) -> str:
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class KeySchema:
    """The keys of a source, sorted by name; the same in thousands of runs."""

    keys: tuple[KeyRecord, ...]

    @cached_property
    def by_name(self) -> Mapping[str, KeyRecord]:
        """Key records by key name."""
        return {k.name: k for k in self.keys}

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Index groups that hold at least one key, sorted."""
        return tuple(sorted({k.group for k in self.keys}))

    @cached_property
    def canonical(self) -> bytes:
        """Frozen bytes that say everything; what interning compares."""
        rows = [
            (
                *(k.name, k.group, k.dtype, k.entry_shape),
                *(k.unit_symbol, k.unit_name, k.prefix_symbol, k.prefix_name),
            )
            for k in self.keys
        ]
        return json.dumps(rows, separators=(",", ":")).encode()

    @cached_property
    def digest(self) -> str:
        """128-bit hash of ``canonical``, 32 hexadecimal digits."""
        return _digest(self.canonical)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A source as one file has it.

    ``section`` is CONTROL, INSTRUMENT or an auxiliary section (REDUCTION, ERRATA, ...). ``groups``
    are its index groups, sorted: ``("",)`` for CONTROL and for auxiliary sources indexed as a
    whole, ``()`` while unknown (depth NAMES) and for legacy names. ``legacy_of`` is the new name,
    where this is an old one kept as a soft link. ``run_only``: listed under CONTROL, but with RUN
    keys only.
    """

    section: str
    name: str
    groups: tuple[str, ...] = ()
    legacy_of: str = ""
    run_only: bool = False


@dataclass(frozen=True, eq=False)
class FileLayout:
    """The sources of a file, sorted by (section, name), with their key schemas where known.

    ``schemas`` runs parallel to ``sources``: None below depth FULL and for legacy names.
    """

    sources: tuple[SourceRecord, ...]
    schemas: tuple[KeySchema | None, ...]

    @cached_property
    def position(self) -> Mapping[tuple[str, str], int]:
        """Position in ``sources`` by (section, name)."""
        return {(s.section, s.name): i for i, s in enumerate(self.sources)}

    @cached_property
    def slots(self) -> Mapping[tuple[str, str, str], int]:
        """Numbers the (section, source, index group) triples; FileRecord.patterns follows it."""
        triples = [(s.section, s.name, g) for s in self.sources for g in s.groups]
        return {t: i for i, t in enumerate(triples)}

    @cached_property
    def canonical(self) -> bytes:
        """Frozen bytes that say everything; what interning compares."""
        rows = [
            [s.section, s.name, list(s.groups), s.legacy_of, s.run_only, k.digest if k else None]
            for s, k in zip(self.sources, self.schemas, strict=True)
        ]
        return json.dumps(rows, separators=(",", ":")).encode()

    @cached_property
    def digest(self) -> str:
        """128-bit hash of ``canonical``, 32 hexadecimal digits."""
        return _digest(self.canonical)


EMPTY_LAYOUT = FileLayout((), ())
NO_TRAINS = TrainList.from_ids(())


def utc_now() -> datetime:
    """The time now, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, eq=False)
class FileRecord:
    """All that is known of one data file.

    ``size`` in bytes and ``mtime_ns`` in ns since the epoch are what it was scanned with.
    ``verified``: nothing was taken from an earlier sequence file. ``aggregator`` and
    ``sequence`` come from the file name ("" and -1 where it has none). ``timestamps`` are ns since
    the epoch in UTC, (n,) uint64 for the n trains, None where the file has none or (below depth
    OUTLINE) where it is unknown. ``patterns`` follow ``layout.slots`` at depth FULL, else empty.
    ``metadata`` are the entries of METADATA, values as str or int. ``run_values`` are RUN by source
    and key, only for the sources that this file was the one to read RUN of. ``retry``: it could not
    be read for a reason that may pass (permission, time-out, tape), so the next ingest tries again.
    """

    name: str
    size: int
    mtime_ns: int
    depth: Depth
    scanned_at: datetime
    verified: bool = False
    aggregator: str = ""
    sequence: int = -1
    format_version: str = ""
    locality: str = ""
    retry: bool = False
    trains: TrainList = NO_TRAINS
    timestamps: NDArray[np.uint64] | None = None
    layout: FileLayout = EMPTY_LAYOUT
    patterns: tuple[IndexPattern, ...] = ()
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    run_values: Mapping[str, Mapping[str, RunValue]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    missing_since: datetime | None = None

    @property
    def usable(self) -> bool:
        """Whether the file can serve data: it was read, and is there."""
        return self.depth > Depth.UNREAD and self.missing_since is None


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run: who it is, where it lies, and its data files sorted by name.

    ``directory`` is the path it was given by, ``realpath`` the same resolved; ``locations`` are all
    directories it was ever seen at, newest last. ``problems`` are those of the run as a whole.
    """

    identity: RunIdentity
    directory: str
    realpath: str
    files: tuple[FileRecord, ...]
    ingested_at: datetime
    locations: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyProfile:
    """What one key did during a run: the summary of its data.

    ``key`` is as the API spells it with ``.value``. Numbers are those of the ``n_entries`` entries
    that are not NaN (``n_nan`` are), None where there are none; the standard deviation is that of
    the population. Of texts only ``first_text`` and ``last_text`` are known, and ``n_changes``: how
    many entries differ from the one before.
    """

    source: str
    key: str
    profiled_at: datetime
    n_entries: int = 0
    n_nan: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    first: float | None = None
    last: float | None = None
    first_text: str | None = None
    last_text: str | None = None
    n_changes: int = 0
