"""Records of what a scan finds in files: the values that scanner, store and loader share.

Frozen values, made by ``scan`` or read back from the store; nothing here touches a file. From small
to large: a ``KeyRecord`` in a ``KeySchema`` (the keys of a source), a ``SourceRecord`` in a
``FileLayout`` (the sources of a file), a ``FileRecord`` (all facts of one file), a ``RunRecord``
(one run: its identity, places and files).

``encode_dtype`` and ``decode_dtype`` write the type of a dataset as text. A numpy dtype string
covers most types; HDF5 adds strings of variable length, ragged arrays and compound types. Enums are
their integer, HDF5's boolean enum is bool.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .identity import RunIdentity
from .names import FRAME_GROUP, FRAME_ID_KEYS
from .runlength import FrameIds, IndexPattern, TrainList, UInt64s, Value

if TYPE_CHECKING:
    from .checks import Severity  # the table of checks is no business of opening a run

DType = np.dtype[Any]
RunValue = Any  # a numpy scalar, a str, or an ndarray


class Depth(IntEnum):
    """How much of a file is known."""

    UNREAD = 0  # it could not be read, or was not asked for: name, size and time only
    NAMES = 1  # trains, suspects and source names, as a JSON data map has them
    OUTLINE = 2  # also timestamps, format version, run metadata, index group names
    FULL = 3  # also keys, dtypes, shapes, units, INDEX, RUN and structure checks


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file or run, found while scanning it."""

    check: str
    """Its ID in the table of audit checks."""
    severity: "Severity"
    """E for an error, W for a warning, I for information."""
    message: str
    """One clear sentence without the path."""
    path: str
    """The file or run directory."""
    where: str = ""
    """The object inside the file."""


class KeyRecord(NamedTuple):
    """One key of a source.

    The unit fields are the HDF5 attributes of format 1.3, empty where there are none.
    """

    name: str
    """As the API spells it: ``beamPosition.ixPos.value``."""
    group: str
    """Its index group; empty for CONTROL."""
    dtype: str
    """The type, as ``encode_dtype`` writes it."""
    entry_shape: tuple[int, ...] = ()
    """The shape of one entry."""
    unit_symbol: str = ""
    unit_name: str = ""
    prefix_symbol: str = ""
    prefix_name: str = ""


@dataclass(frozen=True, eq=False)
class KeySchema(Value):
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
        """Bytes that are equal for equal content, now and later; interning compares them."""
        return json.dumps(self.keys, separators=(",", ":")).encode()

    @cached_property
    def digest(self) -> str:
        """128-bit hash of ``canonical``, 32 hexadecimal digits."""
        return hashlib.blake2b(self.canonical, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A source as one file has it."""

    section: str
    """CONTROL, INSTRUMENT or an auxiliary section (REDUCTION, ERRATA, ...)."""
    name: str
    """The name that the file lists."""
    groups: tuple[str, ...] = ()
    """Its index groups, sorted.

    ``("",)`` for CONTROL and for auxiliary sources indexed as a whole, ``()`` while unknown (depth
    NAMES) and for legacy names.
    """
    legacy_of: str = ""
    """The new name, where this is an old one kept as a soft link."""
    run_only: bool = False
    """Whether it is listed under CONTROL, but with RUN keys only."""


@dataclass(frozen=True, eq=False)
class FileLayout(Value):
    """The sources of a file, with their key schemas where known."""

    sources: tuple[SourceRecord, ...]
    """The sources, sorted by (section, name)."""
    schemas: tuple[KeySchema | None, ...]
    """The schema of each source; None below depth FULL and for legacy names."""

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
    def frame_slots(self) -> Mapping[tuple[str, str], int]:
        """Numbers the (source, key) pairs of IDs of frames; FileRecord.frame_ids follows it."""
        sources = [
            s.name for s in self.sources if s.section == "INSTRUMENT" and FRAME_GROUP in s.groups
        ]
        pairs = [(name, key) for name in sources for key in FRAME_ID_KEYS]
        return {pair: i for i, pair in enumerate(pairs)}

    @cached_property
    def canonical(self) -> bytes:
        """Bytes that are equal for equal content, now and later; interning compares them."""
        rows = [
            [s.section, s.name, list(s.groups), s.legacy_of, s.run_only, k.digest if k else None]
            for s, k in zip(self.sources, self.schemas, strict=True)
        ]
        return json.dumps(rows, separators=(",", ":")).encode()

    @cached_property
    def digest(self) -> str:
        """128-bit hash of ``canonical``, 32 hexadecimal digits."""
        return hashlib.blake2b(self.canonical, digest_size=16).hexdigest()


EMPTY_LAYOUT = FileLayout((), ())
NO_TRAINS = TrainList.from_ids(())


def utc_now() -> datetime:
    """The time now, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, eq=False)
class FileRecord:
    """All facts of one data file."""

    name: str
    """File name, without the directory."""
    size: int
    """Size in bytes when it was scanned."""
    mtime_ns: int
    """Modification time in ns since the epoch when it was scanned."""
    depth: Depth
    """How much is known of it."""
    scanned_at: datetime
    """When it was scanned."""
    verified: bool = False
    """Whether all was read from it, and nothing taken from an earlier sequence file."""
    aggregator: str = ""
    """From the file name; empty where it has none."""
    sequence: int = -1
    """From the file name; -1 where it has none."""
    format_version: str = ""
    """The version of the EXDF format."""
    locality: str = ""
    """Where dCache has the file: on disk, on tape, or both."""
    retry: bool = False
    """Whether reading failed for a reason that may pass (permission, time-out, tape).

    The next ingest tries again then.
    """
    trains: TrainList = NO_TRAINS
    """Its trains."""
    timestamps: UInt64s | None = None
    """Time of each train in ns since the epoch in UTC, (n,).

    None where the file has none, or (below depth OUTLINE) where it is unknown.
    """
    layout: FileLayout = EMPTY_LAYOUT
    """Its sources."""
    patterns: tuple[IndexPattern, ...] = ()
    """INDEX in the order of ``layout.slots``; empty below depth FULL."""
    frame_ids: tuple[FrameIds | None, ...] = ()
    """Pulse and cell IDs in the order of ``layout.frame_slots``; empty below depth FULL.

    None where the file has none that can be read.
    """
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    """The entries of METADATA."""
    run_values: Mapping[str, Mapping[str, RunValue]] = field(default_factory=dict)
    """RUN by source and key, only of the sources whose RUN was read from this file."""
    problems: tuple[Problem, ...] = ()
    """What the scan found wrong with it."""
    missing_since: datetime | None = None
    """Since when it is not on disk; None while it is."""

    @property
    def missing(self) -> bool:
        """Whether it is not on disk."""
        return self.missing_since is not None

    @property
    def usable(self) -> bool:
        """Whether the file can serve data: it was read, and is there."""
        return self.depth > Depth.UNREAD and not self.missing


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run: who it is, where it lies, and its data files."""

    identity: RunIdentity
    """Who it is."""
    directory: str
    """The path it was given by."""
    realpath: str
    """The same with links resolved."""
    files: tuple[FileRecord, ...]
    """Its data files, sorted by name."""
    ingested_at: datetime
    """When it was ingested."""
    locations: tuple[str, ...] = ()
    """All directories it was ever seen at, newest last."""
    problems: tuple[Problem, ...] = ()
    """Problems of the run as a whole."""

    @property
    def by_name(self) -> dict[str, FileRecord]:
        """Its data files by name."""
        return {f.name: f for f in self.files}


@dataclass(frozen=True, slots=True)
class KeyProfile:
    """The summary of the data of one key in a run.

    Numbers are those of the entries that are not NaN, None where there are none; the standard
    deviation is that of the population. Of texts only the first, the last and the number of changes
    are known: how many entries differ from the one before.
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


def encode_dtype(dtype: DType) -> str:
    """Text for a dtype as h5py reports it: ``<f4``, ``str``, ``vlen:<f8``, ``{...}``."""
    if dtype.kind in "biufcSU":  # nearly every one: each dataset that is read is asked
        return dtype.str
    vlen = dtype.metadata.get("vlen") if dtype.metadata else None
    if vlen is str:
        return "str"
    if vlen is bytes:
        return "bytes"
    if vlen is not None:
        return f"vlen:{encode_dtype(np.dtype(vlen))}"
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return json.dumps({"of": encode_dtype(base), "shape": list(shape)})
    if dtype.fields is not None:
        fields = [[name, encode_dtype(dtype.fields[name][0])] for name in dtype.names or ()]
        return json.dumps({"fields": fields})
    return dtype.str


def decode_dtype(text: str) -> DType:
    """The dtype that ``encode_dtype`` wrote; raises ValueError or TypeError for other text."""
    if text in ("str", "bytes"):
        return np.dtype("O", metadata={"vlen": {"str": str, "bytes": bytes}[text]})
    if text.startswith("vlen:"):
        return np.dtype("O", metadata={"vlen": decode_dtype(text[5:])})
    if text.startswith("{"):
        described = json.loads(text)
        if "fields" in described:
            return np.dtype([(name, decode_dtype(t)) for name, t in described["fields"]])
        return np.dtype((decode_dtype(described["of"]), tuple(described["shape"])))
    return np.dtype(text)
