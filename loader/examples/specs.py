"""Descriptions of a synthetic run, from a key to the files of the run, and the values in them.

Any value can be computed without the file, in any order, so that a test knows what a read must
give. It is drawn from a 64-bit code mixed from the file, the source and key, the train ID, the
number of the entry within its train, and the number of the element within its entry (row-major). A
misplaced row, train, file or pixel therefore shows. With a trend (``trends``), values look like
those of an experiment, and the code is their noise. Nothing here touches a file.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...catalog.model.names import FORMAT_VERSIONS
from ...catalog.model.runlength import Int64s, UInt64s

Fill = Literal["coded", "constant", "train_id", "pulse_id", "cell_id", "time"]
Counts = int | Sequence[int] | Callable[[UInt64s], NDArray[Any]]
Trend = Callable[[UInt64s], NDArray[np.float64]]  # of train IDs (n,): (n or 1, elements or 1)

_TRAIN_0 = datetime(2016, 12, 1, tzinfo=UTC)
_TRAIN_NS = 100_000_000
_EPOCH_NS = int(_TRAIN_0.timestamp()) * 10**9


def train_at(when: datetime) -> int:
    """The train ID of a time: trains are counted at 10 Hz from 1 December 2016."""
    return int((when - _TRAIN_0) / timedelta(milliseconds=100))


def train_time_ns(train_ids: Any) -> UInt64s:
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
    or following from train and entry. ``trend`` gives the values instead, to which the code adds
    noise: its standard deviation is ``noise[0] + noise[1] * abs(value)``. ``texts`` are what a key
    of strings holds, by the number that ``trend`` gives. ``chunk_rows`` 0 stores the dataset
    contiguously.
    """

    name: str
    dtype: Any = "f4"
    shape: tuple[int, ...] = ()
    unit: Unit | None = None
    span: tuple[float, float] | None = None
    fill: Fill = "coded"
    trend: Trend | None = None
    noise: tuple[float, float] = (0.0, 0.0)
    texts: tuple[str, ...] = ()
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

    def counts_for(self, train_ids: UInt64s) -> Int64s:
        """Entries of each train, (n,)."""
        if callable(self.counts):
            return np.asarray(self.counts(train_ids)).astype(np.int64)
        cycle = np.atleast_1d(np.asarray(self.counts, np.int64))
        return cycle[(train_ids % np.uint64(cycle.size)).astype(np.intp)]

    def firsts_for(self, train_ids: UInt64s) -> tuple[Int64s, Int64s, int]:
        """First row and count of each train, (n,) each, and the length of the datasets."""
        counts = self.counts_for(train_ids)
        cycle = np.asarray(self.gaps or (0,), np.int64)
        lengths = counts + cycle[np.arange(counts.size) % cycle.size]
        order = slice(None, None, -1 if self.reversed_rows else 1)
        firsts = (np.cumsum(lengths[order]) - lengths[order])[order]
        return firsts, counts, int(lengths.sum())


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source: its section, name and index groups.

    A CONTROL source has the one group ``""``, whose keys get a ``value`` and a ``timestamp``; its
    RUN holds the same keys and those of ``run``, which are written as given. ``legacy_name`` adds a
    soft link of that name.
    """

    name: str
    groups: tuple[GroupSpec, ...] = ()
    section: str = "INSTRUMENT"
    run: Mapping[str, Any] = field(default_factory=dict)
    legacy_name: str = ""

    @property
    def is_control(self) -> bool:
        """Whether this is a CONTROL source."""
        return self.section == "CONTROL"


def control(
    name: str, *keys: KeySpec, run: Mapping[str, Any] | None = None, counts: Counts = 1
) -> SourceSpec:
    """A CONTROL source; without keys it has RUN values only."""
    return SourceSpec(name, (GroupSpec("", keys, counts),), "CONTROL", run or {})


def instrument(name: str, *groups: GroupSpec, legacy_name: str = "") -> SourceSpec:
    """An INSTRUMENT source; the groups are named."""
    return SourceSpec(name, groups, legacy_name=legacy_name)


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
    def trains(self) -> UInt64s:
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

    ``prefix`` is RAW, CORR, ...; ``version`` one of ``FORMAT_VERSIONS``; ``sample`` and
    ``run_type`` what METADATA says of them; ``libver`` the version of HDF5 whose file structures
    are used, as h5py names it.
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
        if self.version not in FORMAT_VERSIONS:
            raise ValueError(
                f"format version {self.version!r} is none of {', '.join(FORMAT_VERSIONS)}"
            )

    def file_name(self, file: FileSpec) -> str:
        """The name of a file of this run."""
        return f"{self.prefix}-R{self.run:04d}-{file.aggregator}-S{file.sequence:05d}.h5"

    def file_token(self, file: FileSpec) -> str:
        """What stands for a file in coded values: proposal and file name."""
        return f"p{self.proposal:06d}/{self.file_name(file)}"

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


_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_PULSE_STEP = 4
_TICK_NS = 50_000_000


def _mix(x: UInt64s) -> UInt64s:
    """The finalizer of splitmix64: every bit of the result depends on every bit of ``x``."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def _place_code(*names: str) -> np.uint64:
    digest = hashlib.blake2b("\0".join(names).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _columns(train_ids: ArrayLike, entries: ArrayLike) -> tuple[UInt64s, UInt64s]:
    """Train ID and number of each entry, (n,) each."""
    columns = (np.atleast_1d(np.asarray(given, np.uint64)) for given in (train_ids, entries))
    trains, numbers = np.broadcast_arrays(*columns)
    return trains, numbers


def element_codes(
    place: tuple[str, ...], train_ids: ArrayLike, entries: ArrayLike, n_elements: int
) -> UInt64s:
    """64-bit codes, (n, ``n_elements``), for n entries.

    ``place`` names the file, the source and the key; ``train_ids`` and ``entries`` (the number of
    the entry within its train) are broadcast against each other to n.
    """
    trains, numbers = _columns(train_ids, entries)
    rows = _mix(_mix(trains ^ _place_code(*place)) + numbers * np.uint64(_GOLDEN))
    elements = np.arange(n_elements, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mix(rows[:, None] + elements[None, :])


def _as_numbers(codes: UInt64s, key: KeySpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Codes as numbers of ``dtype``, in the range of the key where it has one."""
    if dtype.kind == "b":
        return (codes >> np.uint64(63)).astype(bool)
    if dtype.kind in "iu":
        if key.span is None:
            return codes.astype(dtype)
        low, high = (int(limit) for limit in key.span)
        return (low + (codes % np.uint64(high - low + 1)).astype(np.int64)).astype(dtype)
    low_f, high_f = key.span or (0.0, 1.0)
    fraction = (codes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    values = low_f + (high_f - low_f) * fraction
    if dtype.kind == "c":
        return (values + 1j * (_mix(codes) >> np.uint64(11)).astype(np.float64)).astype(dtype)
    return values.astype(dtype)


def normal(codes: UInt64s) -> NDArray[np.float64]:
    """Codes as numbers of mean 0 and standard deviation 1, near to a normal distribution.

    The sum of the four 16-bit parts of a code, which is the same on every machine; a logarithm or
    a cosine is not, in the last digit.
    """
    parts = np.zeros(codes.shape)
    for n in range(4):
        parts += (codes >> np.uint64(16 * n)) & np.uint64(0xFFFF)
    return np.asarray((parts / 65536.0 - 2.0) * 3.0**0.5, np.float64)


def _with_trend(codes: UInt64s, key: KeySpec, trains: UInt64s, trend: Trend) -> NDArray[Any]:
    """What the trend of a key gives, with the codes as noise: numbers, booleans or texts."""
    values = np.broadcast_to(trend(trains), codes.shape)
    if key.texts:
        return np.array(key.texts, object)[values.astype(np.intp)]
    absolute, relative = key.noise
    values = values + (absolute + relative * np.abs(values)) * normal(codes)
    dtype = key.numpy_dtype
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.rint(values).clip(limits.min, limits.max)
    return values.astype(dtype)


def _as_texts(codes: UInt64s, key: KeySpec, trains: UInt64s) -> NDArray[np.object_]:
    """``name@train#code``: legible, and different for every file and element."""
    texts = np.empty(codes.shape, dtype=object)
    for at, code in np.ndenumerate(codes):
        texts[at] = f"{key.name}@{trains[at[0]]}#{int(code) & 0xFFFF:04x}"
    return texts


def expected_values(
    file: str, source: str, key: KeySpec, train_ids: ArrayLike, entries: ArrayLike
) -> NDArray[Any]:
    """What entries of a key hold, (n, *entry shape) of the key's dtype.

    ``file`` is the token of the file (``RunSpec.file_token``); ``train_ids`` and ``entries`` as in
    ``element_codes``. Strings of variable length come as an object array of str.
    """
    trains, numbers = _columns(train_ids, entries)
    place: tuple[str, ...] = (file, source, key.name)
    shape = (trains.size, *key.shape)
    dtype = key.numpy_dtype
    filled = {  # by train and entry alone
        "train_id": trains,
        "cell_id": numbers,
        "pulse_id": numbers * np.uint64(_PULSE_STEP),
        # Some of the 100 ms between two trains, by file and key.
        "time": train_time_ns(trains) + _place_code(*place) % np.uint64(_TICK_NS),
    }
    if key.fill in filled:
        columns = filled[key.fill].reshape(-1, *(1 for _ in key.shape))
        return np.broadcast_to(columns, shape).astype(dtype)
    if key.fill == "constant" and key.trend is None:
        place, trains, numbers = place[1:], np.zeros_like(trains), np.zeros_like(numbers)
    size = int(np.prod(key.shape, dtype=np.int64))
    if dtype.fields is not None:
        table = np.empty(shape, dtype)
        for name in dtype.names or ():
            codes = element_codes((*place, name), trains, numbers, size)
            table[name] = _as_numbers(codes, key, dtype[name]).reshape(shape)
        return table
    codes = element_codes(place, trains, numbers, size)
    if key.trend is not None:
        return _with_trend(codes, key, trains, key.trend).reshape(shape)
    is_text = dtype.kind in "OS"
    values = _as_texts(codes, key, trains) if is_text else _as_numbers(codes, key, dtype)
    return values.astype(dtype, copy=False).reshape(shape)


def expected_run_values(run: RunSpec, source: SourceSpec) -> dict[str, Any]:
    """What RUN holds for the keys of a control source: their values at the first train of the run.

    The first train is that of the lowest sequence which has the source.
    """
    files = sorted(run.files, key=lambda f: f.sequence)
    first = next(f for f in files if any(s.name == source.name for s in f.sources))
    train = next((t for t in first.train_ids if t), 0)
    return {
        key.name: expected_values(run.file_token(first), source.name, key, train, 0)[0]
        for group in source.groups
        for key in group.keys
    }


# Devices ------------------------------------------------------------------------------------------

MILLIMETRE = Unit("m", "meter", "m", "milli")
MICROJOULE = Unit("J", "joule", "u", "micro")
KILOELECTRONVOLT = Unit("eV", "electronvolt", "k", "kilo")
MILLIBAR = Unit("bar", "bar", "m", "milli")
KELVIN = Unit("K", "kelvin")
RAW_FRAME = (2, 32, 16)


def xgm(name: str = "SA1_XTD2_XGM/XGM/DOOCS") -> SourceSpec:
    """The slow data of an X-ray gas monitor."""
    return control(
        name,
        KeySpec("beamPosition.ixPos", "f4", unit=MILLIMETRE, span=(-1.5, 1.5)),
        KeySpec("beamPosition.iyPos", "f4", unit=MILLIMETRE, span=(-1.5, 1.5)),
        KeySpec("pulseEnergy.photonFlux", "f4", unit=MICROJOULE, span=(600.0, 1400.0)),
        KeySpec("pulseEnergy.numberOfBunchesActual", "i4", span=(1, 352)),
        KeySpec("gasSupply.gasTypeId", "i4", span=(0, 7), fill="constant"),
        KeySpec("state", "str"),
        run={"classId": "DoocsXGM", "deviceId": name, "serverId": "xgmServer", "gainMode": 2},
    )


def xgm_pulses(
    name: str = "SA1_XTD2_XGM/XGM/DOOCS", *, pulses: int = 16, counts: Counts = 1
) -> SourceSpec:
    """The fast data of an X-ray gas monitor: one row of ``pulses`` values per train."""
    intensity = KeySpec("intensityTD", "f4", (pulses,), MICROJOULE, (0.0, 2000.0))
    position = KeySpec("xTD", "f4", (pulses,), MILLIMETRE, (-1.5, 1.5))
    return instrument(f"{name}:output", GroupSpec("data", (intensity, position), counts))


def motor(name: str) -> SourceSpec:
    """A motor: where it is and where it was sent."""
    return control(
        name,
        KeySpec("actualPosition", "f8", unit=MILLIMETRE, span=(0.0, 50.0)),
        KeySpec("targetPosition", "f8", unit=MILLIMETRE, span=(0.0, 50.0), fill="constant"),
        KeySpec("isMoving", "bool"),
        run={"classId": "SlitMotor", "deviceId": name, "axisNumber": 3, "epsilon": 0.01},
    )


def undulator() -> SourceSpec:
    """The photon energy that the undulators are set to."""
    name = "SPB_XTD2_UND/DOOCS/ENERGY"
    energy = KeySpec(
        "actualPosition", "f8", unit=KILOELECTRONVOLT, span=(6.0, 12.0), fill="constant"
    )
    return control(name, energy, run={"classId": "UndulatorEnergy", "deviceId": name})


def attenuator(name: str = "SPB_XTD9_ATT/MDL/MAIN") -> SourceSpec:
    """An attenuator: the share of the beam that its absorbers let through."""
    return control(
        name,
        KeySpec("actual.transmission", "f8", span=(0.0, 1.0)),
        KeySpec("target.transmission", "f8", span=(0.0, 1.0)),
        KeySpec("state", "str"),
        run={"classId": "Attenuator", "deviceId": name},
    )


def gauge(name: str) -> SourceSpec:
    """A pressure gauge."""
    return control(
        name,
        KeySpec("value", "f4", unit=MILLIBAR, span=(1e-9, 1e-6)),
        KeySpec("status", "u2", span=(0, 15)),
        run={"classId": "BeckhoffGauge", "deviceId": name},
    )


def run_only_device(name: str) -> SourceSpec:
    """A control device that is recorded at the start of the run only."""
    return control(name, run={"classId": "TimeServer", "deviceId": name, "period": 100})


def camera(
    name: str = "SPB_IRU_CAM/CAM/SIDEMIC",
    *,
    shape: tuple[int, int] = (24, 32),
    counts: Counts = (1, 1, 0, 1, 2),
) -> tuple[SourceSpec, SourceSpec]:
    """A camera: its control source, and its pipeline, which misses trains and doubles others."""
    slow = control(
        name,
        KeySpec("exposureTime", "f8", span=(1.0, 90.0), fill="constant"),
        KeySpec("temperature", "f4", unit=KELVIN, span=(290.0, 310.0)),
        run={"classId": "BaslerCamera", "deviceId": name, "triggerMode": "On", "binning": 1},
    )
    pixels = KeySpec("image.pixels", "u2", shape, chunk_rows=4)
    axes = KeySpec("image.dimTypes", "i4", (2,))
    return slow, instrument(f"{name}:daqOutput", GroupSpec("data", (pixels, axes), counts))


def adc(name: str) -> SourceSpec:
    """A digitizer: the traces of two channels and, indexed on their own, peaks as a table."""
    traces = tuple(KeySpec(f"channel_{n}_A.raw.samples", "i2", (40,)) for n in (1, 2))
    peaks = [("position", "<u4"), ("height", "<f4")]
    return instrument(
        f"{name}:network",
        GroupSpec("digitizers", traces),
        GroupSpec("peaks", (KeySpec("table", peaks, (3,)),), (2, 0)),
    )


def _xtdf_groups(image_keys: tuple[KeySpec, ...], frames: Counts) -> tuple[GroupSpec, ...]:
    """The four index groups of a detector module's data in XTDF."""
    pulse = (
        KeySpec("trainId", "u8", fill="train_id"),
        KeySpec("pulseId", "u8", fill="pulse_id"),
        KeySpec("cellId", "u2", fill="cell_id"),
    )
    return (
        GroupSpec("image", (*image_keys, *pulse), frames),
        GroupSpec("header", (KeySpec("pulseCount", "u8", span=(0, 352)),)),
        GroupSpec("detector", (KeySpec("data", "u1", (8,)),)),
        GroupSpec("trailer", (KeySpec("status", "u8", span=(0, 3)),)),
    )


def module(
    detector: str, number: int, *, shape: tuple[int, ...] = RAW_FRAME, frames: Counts = (4, 3, 0, 5)
) -> SourceSpec:
    """The raw data of one detector module; ``frames`` per train vary."""
    data = KeySpec("data", "u2", shape, chunk_rows=8)
    return instrument(f"{detector}/DET/{number}CH0:xtdf", *_xtdf_groups((data,), frames))


def modules(
    detector: str, *, shape: tuple[int, ...] = RAW_FRAME, frames: Counts = (4, 3, 0, 5), n: int = 16
) -> dict[str, tuple[SourceSpec, ...]]:
    """The modules of a detector by aggregator: AGIPD00 ... for ``SPB_DET_AGIPD1M-1``."""
    kind = detector.rsplit("_", 1)[1].rstrip("0123456789-M")
    return {
        f"{kind.rstrip('0123456789')}{i:02d}": (module(detector, i, shape=shape, frames=frames),)
        for i in range(n)
    }


def corrected_module(
    detector: str,
    number: int,
    *,
    shape: tuple[int, ...] = RAW_FRAME[1:],
    frames: Counts = (4, 3, 0, 5),
    legacy: bool = False,
) -> SourceSpec:
    """The corrected data of one detector module.

    With ``legacy`` the source has its new name (``CORR``), and the old one is a soft link.
    """
    image = (
        KeySpec("data", "f4", shape, chunk_rows=8, compression="gzip"),
        KeySpec("mask", "u4", shape, span=(0, 1), chunk_rows=8, compression="gzip"),
        KeySpec("gain", "u1", shape, span=(0, 2), chunk_rows=8, compression="gzip"),
    )
    groups = _xtdf_groups(image, frames)[:1]
    old = f"{detector}/DET/{number}CH0:xtdf"
    if not legacy:
        return instrument(old, *groups)
    return instrument(f"{detector}/CORR/{number}CH0:output", *groups, legacy_name=old)


def frame_reduction(detector: str, number: int) -> SourceSpec:
    """REDUCTION: which frames of a module the data reduction kept."""
    keys = (KeySpec("reductionRatio", "f8"), KeySpec("wasReduced", "u1", span=(0, 1)))
    return auxiliary(
        "REDUCTION", f"PULSE_REDUCTION/{detector}/DET/{number}CH0:xtdf", GroupSpec("image", keys)
    )


def errata() -> SourceSpec:
    """ERRATA: trains that came too late to be written."""
    keys = (
        KeySpec("originalTrainIds", "u8", (3,)),
        KeySpec("deviceIds", "str", (3,)),
    )
    return auxiliary("ERRATA", "TRAINS_OUTSIDE_BUFFER_RANGE", GroupSpec("event", keys, (0, 0, 1)))
