"""How are runs as large as real ones made in minutes?

R220 has 220 files, 2,500 trains, 306 sources and 150,000 datasets; R960 has 960 files, 12,000
trains, and 160 properties per control source; D408 has 408 files, nearly all of a detector, and
6,000 trains. They are made of detector modules, whose frames are
declared but not stored, and of aggregators of control data with an XGM and a camera.

1. ``aggregators``: what each aggregator of a run writes, in the words of ``loader.examples``.
2. ``make_run``: the first sequence file of each aggregator is written by ``write_file``; the
   others are copies of its bytes in which train IDs, times, the sequence number and the values of
   control data are moved on, at the places where HDF5 says that they lie.

A run that is there already, and is described alike, is left as it is.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from xfelcat.loader.examples.specs import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    SourceSpec,
    Unit,
    control,
    instrument,
    train_time_ns,
)
from xfelcat.loader.examples.writing import write_file

__all__ = ["D408", "R220", "R960", "LargeRun", "make_run"]

MAKING = 2  # counts up when what is written changes
FIRST_TRAIN = 2_000_000_000
TRAIN_NS = 100_000_000
N_MODULES = 16
FRAME = (2, 512, 128)
XGM = "SA1_XTD2_XGM/XGM/DOOCS"
CAMERA = "SPB_EXP_CAM/CAM/SIDE:daqOutput"
DTYPES = ("f8", "f4", "i4", "u1", "f8")


@dataclass(frozen=True)
class LargeRun:
    """A run to be made. Every sequence file has ``trains`` trains."""

    name: str
    proposal: int
    sequences: int
    control_aggregators: int
    control_sources: int  # of each of them
    properties: int  # of each control source: a value and a timestamp each
    frames: int  # per train and module
    trains: int = 250

    @property
    def n_files(self) -> int:
        """Files of the run."""
        return self.sequences * (self.control_aggregators + N_MODULES)

    def directory(self, place: Path) -> Path:
        """Where the run lies: a tree as that of the facility."""
        return place / f"exp/SPB/202430/p{self.proposal:06d}/raw/r0001"


R220 = LargeRun("R220", 4220, 10, 6, 48, 12, 32)
R960 = LargeRun("R960", 4960, 48, 4, 10, 160, 64)
D408 = LargeRun("D408", 4408, 24, 1, 2, 12, 64)


def module(number: int) -> str:
    """The source of a detector module."""
    return f"SPB_DET_AGIPD1M-1/DET/{number}CH0:xtdf"


def motor(aggregator: int, number: int) -> str:
    """A control source; the first of the first aggregator is the XGM."""
    if (aggregator, number) == (0, 0):
        return XGM
    return f"SPB_EXP_{'UVWXYZ'[aggregator]}/MOTOR/DEV{number:02d}"


def properties(n: int) -> tuple[KeySpec, ...]:
    """The properties of a control source; in its file, a dataset of one chunk each."""
    millimetre = Unit("m", "meter", "m", "milli")
    found = [KeySpec("state", "str", fill="constant")]
    for at in range(1, n):
        unit = millimetre if at % 3 == 0 else None
        name = f"group{at // 10}.property{at:03d}" if at > 9 else f"property{at:03d}"
        kind = DTYPES[at % len(DTYPES)]
        found.append(KeySpec(name, kind, unit=unit, span=(0, 100), chunk_rows=512))
    return tuple(found)


def frames_of(number: int, frames: int, train_ids: np.ndarray) -> np.ndarray:
    """Frames of a module: the same in every train but a few, which it lost."""
    return np.where((train_ids + np.uint64(7 * number)) % np.uint64(97) == 0, 0, frames)


def aggregators(run: LargeRun) -> Iterator[tuple[str, tuple[SourceSpec, ...]]]:
    """What each aggregator writes."""
    keys = properties(run.properties)
    for a in range(run.control_aggregators):
        sources = [
            control(motor(a, n), *keys, run={"classId": f"Class{n:02d}"})
            for n in range(run.control_sources)
        ]
        if a == 0:
            pulses = KeySpec("intensityTD", "f4", (100,), Unit("J", "joule", "u", "micro"))
            sources.append(instrument(f"{XGM}:output", GroupSpec("data", (pulses,), (1, 1, 1, 0))))
        if a == 1:
            pixels = KeySpec("image.pixels", "u2", (16, 16), chunk_rows=64)
            sources.append(instrument(CAMERA, GroupSpec("data", (pixels,), (1, 0, 2, 1, 1))))
        yield f"DA{a + 1:02d}", tuple(sources)
    for number in range(N_MODULES):
        yield f"AGIPD{number:02d}", (detector_module(run, number),)


def detector_module(run: LargeRun, number: int) -> SourceSpec:
    """The four index groups of a module; the pixels are added later, see ``declare_frames``."""
    frames = partial(frames_of, number, run.frames)
    columns = {"train": "u8", "pulse": "u8", "cell": "u2"}
    image = tuple(KeySpec(f"{n}Id", t, fill=f"{n}_id") for n, t in columns.items())
    train = KeySpec("trainId", "u8", fill="train_id")
    return instrument(
        module(number),
        GroupSpec("image", (*image, KeySpec("status", "u2")), frames),
        GroupSpec("header", (train, KeySpec("pulseCount", "u8"), KeySpec("dataId", "u8"))),
        GroupSpec("detector", (train, KeySpec("data", "u1", (416,)))),
        GroupSpec("trailer", (train, KeySpec("status", "u8"), KeySpec("checksum", "u1", (16,)))),
    )


def make_run(run: LargeRun, place: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """The directory of a run below ``place``, made if it is not there as described."""
    directory = run.directory(place)
    said = json.dumps(asdict(run) | {"making": MAKING})
    note = directory.with_name(f"{directory.name}.json")
    if note.exists() and note.read_text() == said:
        return directory
    say(f"making {run.name}: {run.n_files} files")
    note.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    names = [name for name, _ in aggregators(run)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(partial(make_files, run, directory), names):
            pass
    note.write_text(said)
    return directory


def make_files(run: LargeRun, directory: Path, aggregator: str) -> None:
    """All sequence files of an aggregator."""
    trains = tuple(range(FIRST_TRAIN, FIRST_TRAIN + run.trains))
    first = FileSpec(aggregator, 0, trains, dict(aggregators(run))[aggregator])
    spec = RunSpec(run.proposal, 1, (first,))
    path = directory / spec.file_name(first)
    write_file(path, spec, first)
    if aggregator.startswith("AGIPD"):
        declare_frames(path, run)
    moved = list(moving_parts(path, run.trains))
    template = np.fromfile(path, np.uint8)
    for sequence in range(run.sequences):
        data = template.copy()
        for at, dtype, n, step in moved:
            values = data[at : at + n * dtype.itemsize].view(dtype)
            values += np.array(step * sequence).astype(dtype)
        path = directory / spec.file_name(FileSpec(aggregator, sequence, (), ()))
        data.tofile(path)
        ended = int(train_time_ns(FIRST_TRAIN + (sequence + 1) * run.trains)) + 5 * 10**9
        os.utime(path, ns=(ended, ended))


def declare_frames(path: Path, run: LargeRun) -> None:
    """Add the frames of a module, of which no chunk is stored: a reader finds zeros."""
    with h5py.File(path, "r+") as f:
        for image in f["INSTRUMENT"].values():
            image = next(iter(image["DET"].values()))["image"]
            n = image["trainId"].shape[0]
            image.create_dataset("data", (n, *FRAME), "u2", chunks=(1, *FRAME))


def moving_parts(path: Path, trains: int) -> Iterator[tuple[int, np.dtype, int, int]]:
    """What differs between sequence files: position, dtype, number, and step from one to the next.

    The file must not have the data of these datasets in any filter.
    """
    with h5py.File(path) as f:
        found: list[tuple[str, h5py.Dataset]] = []
        f.visititems(lambda n, item: found.append((n, item)) if hasattr(item, "dtype") else None)
        for name, dataset in found:
            step = step_of(name, trains)
            if step and dataset.dtype.kind in "iuf":
                for at, size in stored_at(dataset):
                    yield at, dataset.dtype, size // dataset.dtype.itemsize, step


def step_of(name: str, trains: int) -> int:
    """By how much the values of a dataset grow from one sequence file to the next."""
    section, _, rest = name.partition("/")
    last = name.rpartition("/")[2]
    if last == "trainId":
        return trains
    if name == "INDEX/timestamp" or (section == "CONTROL" and last == "timestamp"):
        return trains * TRAIN_NS
    return int(section == "CONTROL" or rest == "sequenceNumber")


def stored_at(dataset: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Where in its file a dataset lies, and how many bytes."""
    if dataset.chunks is None:
        yield dataset.id.get_offset(), dataset.nbytes
        return
    for number in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(number)
        yield chunk.byte_offset, chunk.size


def count_datasets(directory: Path) -> int:
    """Datasets in all the files of a run."""
    n = 0

    def count(name: str, kind: object) -> None:
        nonlocal n
        n += kind == h5py.h5o.TYPE_DATASET

    per_aggregator = {}
    for path in sorted(directory.glob("*.h5")):
        aggregator = path.name.split("-")[2]
        if aggregator not in per_aggregator:
            before = n
            with h5py.File(path) as f:
                h5py.h5o.visit(f.id, lambda name, info: count(name, info.type), info=True)
            per_aggregator[aggregator] = n - before
        else:
            n += per_aggregator[aggregator]
    return n
