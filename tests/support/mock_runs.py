"""EXtra-data's own mock files and runs, small, and with values that tell where each came from.

``MOCK_FILES`` and ``MOCK_RUNS`` name every file and run that ``make_examples`` can write, in each
format version it offers; a value builds one in a directory. As written, nearly all their data are
zero and some datasets are gigabytes (unallocated): ``refill`` clips the entries of what is large
and fills every dataset with values that encode file, row and element, so that a row read from the
wrong place cannot pass for the right one.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from zlib import crc32

import h5py
import numpy as np
import pytest
from extra_data.tests import make_examples
from extra_data.tests.mockdata import write_file
from extra_data.tests.mockdata.detectors import DetectorModule

from support.examples import some
from support.shared import made_once

VERSIONS = ("0.5", "1.0", "1.2", "1.3")
MAX_ENTRY = 64
MAX_FRAMES = 12
IDS = {"trainId", "pulseId", "cellId"}


@dataclass(frozen=True)
class Mock:
    """A file or run to build: ``build(directory)`` returns the path of what it made."""

    name: str
    version: str
    make: Callable[[str], None]
    file_name: str = ""

    def build(self, directory: str | os.PathLike[str]) -> Path:
        """Write and refill it in ``directory``, a new one."""
        place = Path(directory)
        path = place / self.file_name if self.file_name else place
        with _few_frames():
            self.make(str(path))
        for written in sorted(place.glob("*.h5")):
            refill(written)
        return path


@contextmanager
def _few_frames() -> Iterator[None]:
    """Detector modules with as many trains as ever, but few frames in each."""

    def write_few(path, devices, *args, **kwargs):
        for device in devices:
            frames = getattr(device, "_frames_per_train", None)
            if isinstance(device, DetectorModule) and np.ndim(frames) == 0:
                device._frames_per_train = min(frames, MAX_FRAMES)
        write_file(path, devices, *args, **kwargs)

    with mock.patch.object(make_examples, "write_file", write_few):
        yield


def _files() -> Iterator[Mock]:
    writers = {
        "agipd_example": (make_examples.make_agipd_example_file, "CORR-R9999-AGIPD07-S00000.h5"),
        "fxe_da": (make_examples.make_fxe_da_file, "RAW-R0450-DA01-S00001.h5"),
        "sa3_da": (make_examples.make_sa3_da_file, "RAW-R0450-DA01-S00001.h5"),
        "empty_source": (make_examples.make_da_file_with_empty_source, "RAW-R0451-DA01-S00001.h5"),
        "bad_name": (make_examples.make_data_file_bad_device_name, "RAW-R0309-DA01-S00000.h5"),
        "agipd": (make_examples.make_agipd_file, "RAW-R9999-AGIPD00-S00000.h5"),
        "lpd": (make_examples.make_lpd_file, "RAW-R9999-LPD00-S00000.h5"),
    }
    for name, (writer, file_name) in writers.items():
        for version in VERSIONS:
            yield Mock(f"{name}-{version}", version, _versioned(writer, version), file_name)
    yield Mock(
        "no_trains-0.5", "0.5", lambda p: make_examples.make_sa3_da_file(p, ntrains=0),
        "RAW-R0450-DA01-S00002.h5",
    )  # fmt: skip


def _runs() -> Iterator[Mock]:
    def seeded(raw: bool) -> Callable[..., None]:
        return lambda path, format_version: make_examples.make_reduced_spb_run(
            path, raw=raw, rng=np.random.RandomState(123), format_version=format_version
        )

    def corrected(writer: Callable[..., None]) -> Callable[..., None]:
        return lambda path, format_version: writer(path, raw=False, format_version=format_version)

    versioned = {
        "fxe_raw": (make_examples.make_fxe_run, VERSIONS),
        "fxe_proc": (corrected(make_examples.make_fxe_run), ("0.5",)),
        "lpd_parallelgain": (make_examples.make_lpd_parallelgain_run, ("1.0",)),
        "spb_raw": (make_examples.make_spb_run, VERSIONS),
        "spb_proc": (corrected(make_examples.make_spb_run), VERSIONS),
        "reduced_spb_raw": (seeded(True), ("0.5", "1.2")),
        "reduced_spb_proc": (seeded(False), ("1.0", "1.3")),
        "modern_spb_proc": (make_examples.make_modern_spb_proc_run, ("1.2", "1.3")),
    }
    for name, (writer, versions) in versioned.items():
        for version in versions:
            yield Mock(f"{name}-{version}", version, _versioned(writer, version))
    for name, writer in {
        "lpd_mini_gap": make_examples.make_lpd_run_mini_missed_train,
        "agipd1m": make_examples.make_agipd1m_run,
        "agipd500k": make_examples.make_agipd500k_run,
        "jungfrau": make_examples.make_jungfrau_run,
        "fxe_jungfrau": make_examples.make_fxe_jungfrau_run,
        "remi": make_examples.make_remi_run,
        "scs": make_examples.make_scs_run,
    }.items():
        yield Mock(f"{name}-1.0", "1.0", writer)


def _versioned(writer: Callable[..., None], version: str) -> Callable[[str], None]:
    return lambda path: writer(path, format_version=version)


MOCK_FILES = {m.name: m for m in _files()}
MOCK_RUNS = {m.name: m for m in _runs()}
MOCKS = MOCK_FILES | MOCK_RUNS


# What changed from version to version of the format, these show; `make test` has the newest of the
# others only.
_SHORT = {"fxe_da", "agipd"}


# As fxe_da with many more keys, and with one source without data; as spb_raw and spb_proc with
# fewer modules; as fxe_raw; as agipd1m and jungfrau.
_LIKE_OTHERS = {
    *("sa3_da", "empty_source", "no_trains", "reduced_spb_raw", "reduced_spb_proc", "fxe_proc"),
    *("agipd500k", "fxe_jungfrau"),
}


def _is_slow(name: str) -> bool:
    """Whether `make test` has the same in an older and in a newer version of the format."""
    kind, _, version = name.rpartition("-")
    versions = sorted(m.version for m in MOCKS.values() if m.name.rpartition("-")[0] == kind)
    is_between = version > versions[0] if kind in _SHORT else True
    return kind in _LIKE_OTHERS or (version < versions[-1] and is_between)


# All mocks, for parametrised tests: the newest version in `make test`, all in `make test-long`.
MOCK_PARAMETERS = some(sorted(MOCKS), [name for name in MOCKS if not _is_slow(name)])


class MockBuilder:
    """Builds each mock when it is first asked for, once for all workers.

    Each worker has links to its files in a directory of its own, for EXtra-data leaves data maps
    in the directories that it opens.
    """

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._factory = tmp_path_factory
        self._own = tmp_path_factory.mktemp("mocks")
        self._built: dict[str, Path] = {}

    def __call__(self, name: str) -> Path:
        if name not in self._built:
            made = made_once(self._factory, f"mock-{name}", MOCKS[name].build)
            own = self._own / name
            shutil.copytree(made.parent if made.is_file() else made, own, copy_function=os.link)
            self._built[name] = own / made.name if made.is_file() else own
        return self._built[name]


def refill(path: str | os.PathLike[str]) -> None:
    """Fill every dataset of CONTROL, RUN, INSTRUMENT, REDUCTION and ERRATA; keep INDEX, METADATA.

    Datasets with more than ``MAX_ENTRY`` elements in an entry get smaller entries first, the same
    in every file. IDs among the keys keep their values: trains are those of INDEX, and pulses and
    cells those by which the frames of modules are matched.
    """
    salt = _salt(os.path.basename(path))
    # RUN is the state at the start of the run, repeated in every sequence file of an aggregator.
    run_salt = _salt(os.path.basename(path).rpartition("-S")[0])
    with h5py.File(path, "r+") as f:
        found: list[str] = []
        for section in ("CONTROL", "RUN", "INSTRUMENT", "REDUCTION", "ERRATA"):
            if section in f:
                names: list[str] = []
                f[section].visit(names.append)
                paths = [f"{section}/{name}" for name in names]
                found.extend(p for p in paths if isinstance(f[p], h5py.Dataset))
        for number, name in enumerate(found):
            dataset = _clipped(f, name)
            if dataset.size and name.rpartition("/")[2] not in IDS:
                own = run_salt if name.startswith("RUN/") else salt
                dataset[...] = encoded(dataset.shape, dataset.dtype, own + 7 * number)


def _salt(text: str) -> int:
    return crc32(text.encode()) % 251


def _clipped(f: h5py.File, name: str) -> h5py.Dataset:
    """The dataset, made anew with smaller entries if they have too many elements."""
    old = f[name]
    entry = list(old.shape[1:])
    if np.prod(entry) <= MAX_ENTRY:
        return old
    while np.prod(entry) > MAX_ENTRY and max(entry) > 2:
        largest = entry.index(max(entry))
        entry[largest] = max(2, entry[largest] // 2)
    shape = (old.shape[0], *entry)
    chunks = (max(1, min(16, shape[0])), *entry) if old.chunks else None
    options = {"compression": old.compression, "compression_opts": old.compression_opts}
    dtype, maxshape, attrs = old.dtype, (old.maxshape[0], *entry), dict(old.attrs)
    del f[name]
    new = f.create_dataset(name, shape, dtype, chunks=chunks, maxshape=maxshape, **options)
    new.attrs.update(attrs)
    return new


def encoded(shape: tuple[int, ...], dtype: np.dtype, salt: int) -> np.ndarray:
    """Values that differ between files, datasets, rows and elements, if the dtype has room."""
    if dtype.fields:
        out = np.empty(shape, dtype)
        for at, field in enumerate(dtype.names):
            out[field] = encoded(shape, dtype[field], salt + at)
        return out
    rows = np.arange(shape[0], dtype=np.int64).reshape((-1,) + (1,) * (len(shape) - 1))
    elements = np.arange(int(np.prod(shape[1:])), dtype=np.int64).reshape((1, *shape[1:]))
    numbers = salt * 1_000_003 + rows * 1009 + elements + 1
    if h5py.check_string_dtype(dtype) is not None:
        texts = np.empty(shape, object)
        texts[...] = np.char.add("v", numbers.astype(str)) if texts.size else None
        return texts if dtype.kind == "O" else texts.astype(dtype)
    if dtype.kind == "f":
        # Every number here is exact in float32 and distinct: below 2**24.
        return ((numbers % (1 << 23)) / 4).astype(dtype)
    limit = 2 if dtype.kind == "b" else min(np.iinfo(dtype).max, (1 << 53) - 1)
    # 251 is prime to the strides: neighbouring rows and elements of narrow types differ too.
    return (numbers % min(limit, 251 if limit < 1 << 15 else limit)).astype(dtype)
