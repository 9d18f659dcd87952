"""How long does it take to read arrays, train by train, and many keys at once?

Rows of keys are warm: the run was read before, and its files are open; ``rows_first`` has the first
reads. Detector frames are read into fresh memory, as users do, next to h5py reading the same
datasets, and to a copy of as many bytes. A file has its frames in chunks of one each.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import extra_data
import h5py
import numpy as np
import xfelcat
from xfelcat.loader.examples import GroupSpec, KeySpec, RunSpec, control, instrument, split
from xfelcat.loader.examples.writing import write_run

from .large_runs import FIRST_TRAIN
from .measure import Place, Row, Side
from .rows_opening import EXTRA_DATA, open_ours, open_theirs

SOURCE, KEY = "SPB_DET_AGIPD1M-1/CORR/0CH0:output", "image.data"
VALUE = "property001.value"
PATH = f"INSTRUMENT/{SOURCE}/image/data"
FRAME = (512, 128)
FRAMES = 100  # per train
H5PY = f"h5py {h5py.__version__}"


def frames(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Frames as they are stored plainly, as a mask, or as counted photons."""
    if kind == "mask":
        values = rng.integers(1, 255, (n, *FRAME)) * (rng.random((n, *FRAME)) < 0.01)
        return values.astype("u4")
    if kind == "photons":
        return rng.poisson(20, (n, *FRAME)).astype("u2")
    return rng.normal(size=(n, *FRAME)).astype("f4")


STORED: dict[str, tuple[int, dict[str, Any]]] = {  # trains, and options of the dataset
    "plain": (80, {}),
    "mask": (20, {"compression": "gzip", "compression_opts": 1}),
    "photons": (40, {"compression": "gzip", "compression_opts": 1, "shuffle": True}),
}


def make_frames(place: Path, kind: str) -> Path:
    """A run of four files with frames, unless it is there."""
    directory = place / kind
    if (directory / "done").exists():
        return directory
    n_trains, options = STORED[kind]
    trains = range(FIRST_TRAIN, FIRST_TRAIN + n_trains)
    image = GroupSpec("image", (KeySpec("pulseId", "u8"),), counts=(FRAMES,))
    sources = {"CORR00": [control("A/B/C", KeySpec("x", "f4")), instrument(SOURCE, image)]}
    files = tuple(split(trains, sources, sequences=4))
    rng = np.random.default_rng(1)
    for path in write_run(directory, RunSpec(4001, 1, files)):
        with h5py.File(path, "r+") as f:
            n = len(f[PATH.replace("data", "pulseId")])
            some = frames(kind, FRAMES, rng)
            dataset = f.create_dataset(PATH, (n, *FRAME), some.dtype, chunks=(1, *FRAME), **options)
            for at in range(0, n, FRAMES):
                some[:, 0, 0] = np.arange(at, at + FRAMES)
                dataset[at : at + FRAMES] = some
    (directory / "done").touch()
    return directory


def sums(data: np.ndarray) -> tuple[Any, ...]:
    """An array in short: its type, shape, and a number for each of its rows."""
    rows = np.ascontiguousarray(data).view(f"u{data.dtype.itemsize}").reshape(len(data), -1)
    return data.dtype, data.shape, rows.sum(axis=1, dtype=np.uint64)


def rows(place: Place) -> Iterator[Row]:
    """Arrays of frames; then keys of control data."""
    home = Path(place.catalog).parent / "frames"
    for title, kind, ratio in (
        ("ndarray, 2.1 GB in chunks of 262 kB", "plain", 2.5),
        ("ndarray, masks, gzip, 524 MB", "mask", 3),
        ("ndarray, photons, gzip and shuffle, 524 MB", "photons", 3),
    ):
        ours = Side("xfelcat", read_key, partial(ours_of, home, kind), sums)
        theirs = Side(H5PY, read_datasets, partial(datasets_of, home, kind), sums)
        yield Row(title, (), ours, theirs, ratio, repeats=5, quick=False)
    yield Row(
        "the same 2.1 GB, next to a copy of them",
        (),
        Side("xfelcat", read_key, partial(ours_of, home, "plain"), lambda a: a.nbytes),
        Side("memcpy", np.copy, partial(ones, home), lambda a: a.nbytes),
        0.8,
        repeats=5,
        quick=False,
    )
    for kind in STORED:
        read = partial(read_key, roi=np.s_[100:200, 32:64])
        ours = Side("xfelcat", read, partial(ours_of, home, kind), sums)
        theirs = Side(EXTRA_DATA, read, partial(theirs_of, home, kind), sums)
        yield Row(f"ndarray(roi=), {kind}", (), ours, theirs, repeats=3, quick=False)
    for name in ("R220", "R960"):
        yield from rows_of_keys(name, place)


@cache
def ours_of(home: Path, kind: str) -> Any:
    """The key of the frames, of a run that stays open."""
    return xfelcat.RunDirectory(make_frames(home, kind), save=False)[SOURCE, KEY]


@cache
def theirs_of(home: Path, kind: str) -> Any:
    """The same by EXtra-data."""
    return extra_data.RunDirectory(str(make_frames(home, kind)))[SOURCE, KEY]


@cache
def datasets_of(home: Path, kind: str) -> list[h5py.Dataset]:
    """The datasets of the frames, in order."""
    return [h5py.File(path)[PATH] for path in sorted(make_frames(home, kind).glob("*.h5"))]


@cache
def ones(home: Path) -> np.ndarray:
    """As many bytes as there are plain frames."""
    return np.ones(sum(d.size for d in datasets_of(home, "plain")), "f4")


def read_key(key: Any, roi: Any = ()) -> np.ndarray:
    """All of a key, in fresh memory."""
    return key.ndarray(roi=roi)


def read_datasets(datasets: list[h5py.Dataset]) -> np.ndarray:
    """All of some datasets, in fresh memory."""
    out = np.empty((sum(map(len, datasets)), *datasets[0].shape[1:]), datasets[0].dtype)
    at = 0
    for dataset in datasets:
        dataset.read_direct(out, dest_sel=np.s_[at : at + len(dataset)])
        at += len(dataset)
    return out


def rows_of_keys(name: str, place: Place) -> Iterator[Row]:
    """Keys with a value per train, which are a few bytes in each of many files."""
    if name not in place.runs:
        return
    answers: list[tuple[str, float, Callable[[Any], Any]]] = [
        (
            "ndarray of a key with a value per train",
            0,
            lambda run: run[min(run.control_sources), VALUE].ndarray(),
        ),
        ("get_dataframe, 22 columns", 5, lambda run: run.get_dataframe(some_keys(run))),
        ("trains() over 22 keys", 10, lambda run: some_trains(run.select(some_keys(run)))),
        (
            "train_from_id over 22 keys",
            0,
            lambda run: run.train_from_index(len(run.train_ids) // 3, some_keys(run)),
        ),
    ]
    for title, ratio, ask in answers:
        yield Row(
            f"warm: {title}",
            (name,),
            Side("xfelcat", ask, partial(opened, place.runs[name], place.catalog), in_order),
            Side(EXTRA_DATA, ask, partial(opened, place.runs[name]), in_order),
            ratio if name == "R220" else 0,
            repeats=3,
        )


def some_keys(run: Any) -> dict[str, set[str]]:
    """A key each of 22 control sources of all aggregators."""
    names = sorted(run.control_sources)
    return {name: {VALUE} for name in names[:: max(len(names) // 22, 1)][:22]}


def some_trains(run: Any) -> list[Any]:
    """All trains are read, one in a hundred is kept: nobody keeps all."""
    return [data for at, data in enumerate(run.trains(flat_keys=True)) if not at % 100]


def in_order(answer: Any) -> Any:
    """A table with its columns sorted: EXtra-data has them in any order."""
    return answer[sorted(answer.columns)] if hasattr(answer, "columns") else answer


@cache
def opened(path: str, catalog: str = "") -> Any:
    """A run that stays open: ours from the catalog, else theirs."""
    return open_ours(path, catalog) if catalog else open_theirs(path)
