"""How long until a detector of 16 modules and 6,000 trains answers, and gives arrays?

Each side starts from a run just opened, as notebooks do. Nothing of ours opens a file before data
are read; EXtra-data reads pulse IDs from 384 files. Arrays of frames that are stored, plain and
deflated, come besides from a run of 16 files, and are compared with what bounds them: a copy of as
many bytes, and libdeflate on as many threads as there are cores.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import extra_data.components
import h5py
import numpy as np
import xfelcat.components
from xfelcat.loader.examples import GroupSpec, KeySpec, RunSpec, instrument, split
from xfelcat.loader.examples.writing import write_run

from .large_runs import FIRST_TRAIN, N_MODULES
from .measure import Place, Row, Side
from .rows_metadata import forget
from .rows_opening import EXTRA_DATA, open_ours, open_theirs
from .rows_reading import FRAME, STORED, frames, sums

RUN = "D408"
DATA = "image.data"
N_TRAINS = 128


def rows(place: Place) -> Iterator[Row]:
    """Making a detector, what it knows, its dask graph, parts, trains, an array."""
    yield _row("detector: construct", place, lambda run: run, _construct, 20)
    yield _row("detector: construct again", place, _both(_construct), _construct_of, 20)
    yield _row("detector: pulse IDs", place, _construct, _pulse_ids, 20)
    yield _row("detector: dask graph", place, _construct, _graph, 20)
    yield _row("detector: split_trains by frames", place, _construct, _parts, 5)
    yield _row("detector: availability", place, _construct, _availability, 20)
    yield _row("detector: first of trains()", place, _construct, _first_train, 3, repeats=3)
    yield _row("detector: get_array of 2 trains, 16 modules", place, _few, _array, 3, repeats=3)
    home = Path(place.catalog).parent / "modules"
    for key, what, bound in (
        ("data", "plain", Side("memcpy", np.copy, partial(_content, home), _n_bytes)),
        ("mask", "gzip", Side("libdeflate", _inflate_all, partial(_chunks, home), _n_bytes)),
    ):
        title = f"detector: 16 modules x {N_TRAINS} trains into one array, {what}"
        read = partial(_read_all, f"image.{key}")
        ours = Side("xfelcat", read, partial(_all_of, xfelcat, home), sums)
        theirs = Side(EXTRA_DATA, read, partial(_all_of, extra_data, home), sums)
        yield Row(title, (), ours, theirs, 3, repeats=3, quick=False)
        ours = Side("xfelcat", read, partial(_all_of, xfelcat, home), _n_bytes)
        yield Row(f"{title}, next to {bound.name}", (), ours, bound, repeats=5, quick=False)


def _row(
    title: str,
    place: Place,
    before: Callable[[Any], Any],
    ask: Callable[[Any], Any],
    ratio: float,
    repeats: int = 5,
) -> Row:
    path = place.runs.get(RUN, "")

    def ours() -> Any:
        run = open_ours(path, place.catalog)
        forget(place.catalog)
        return before((xfelcat.components.AGIPD1M, run))

    def theirs() -> Any:
        return before((extra_data.components.AGIPD1M, open_theirs(path)))

    sides = (Side("xfelcat", ask, ours, _plain), Side(EXTRA_DATA, ask, theirs, _plain))
    return Row(title, (RUN,), *sides, ratio, repeats=repeats, quick=False)


def _construct(given: Any) -> Any:
    cls, run = given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(run, raw=True)


def _both(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: (make(given), given)


def _construct_of(given: Any) -> Any:
    return _construct(given[1])


def _few(given: Any) -> Any:
    return _construct(given).select_trains(np.s_[:2])


def _pulse_ids(det: Any) -> Any:
    return det[DATA].pulse_id_coordinates()


def _graph(det: Any) -> Any:
    return det.get_dask_array(DATA)


def _parts(det: Any) -> Any:
    return list(det.split_trains(frames_per_part=640))


def _availability(det: Any) -> Any:
    return det.data_availability()


def _first_train(det: Any) -> Any:
    return next(iter(det.trains()))


def _array(det: Any) -> Any:
    return det.get_array(DATA)


def _plain(answer: Any) -> Any:
    """An answer in terms that both give alike."""
    if hasattr(answer, "frames_per_train"):
        return [int(t) for t in answer.train_ids]
    if isinstance(answer, list):
        return [len(part.train_ids) for part in answer]
    if isinstance(answer, tuple):
        return int(answer[0]), sorted(answer[1]), answer[1][DATA].shape
    return answer.shape if hasattr(answer, "dims") else np.asarray(answer)


def _all_of(package: Any, home: Path) -> Any:
    """The detector of the stored modules, by a package, of a run opened afresh."""
    run = package.RunDirectory(str(_make_modules(home)))
    return package.components.AGIPD1M(run, min_modules=N_MODULES)


def _read_all(key: str, det: Any) -> np.ndarray:
    return np.asarray(det[key].ndarray())


def _n_bytes(answer: Any) -> int:
    return int(answer.nbytes)


@cache
def _content(home: Path) -> np.ndarray:
    """As many bytes as there are plain frames."""
    _make_modules(home)
    return np.ones((N_MODULES, N_TRAINS, *FRAME), "f4")


@cache
def _chunks(home: Path) -> list[bytes]:
    """The chunks of all masks, as they are stored."""
    chunks: list[bytes] = []
    for path in sorted(_make_modules(home).glob("*.h5")):
        with h5py.File(path) as f:
            stored = next(iter(f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR"].values()))["image/mask"].id
            chunks += (stored.read_direct_chunk((n, 0, 0))[1] for n in range(N_TRAINS))
    return chunks


def _inflate_all(chunks: list[bytes]) -> np.ndarray:
    """The content of chunks, by libdeflate alone, each thread into memory that is used again."""
    from deflate import zlib_decompress

    def inflate(part: list[bytes]) -> None:
        for chunk in part:
            zlib_decompress(chunk, 4 * FRAME[0] * FRAME[1])

    n = os.cpu_count() or 1
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(inflate, (chunks[first::n] for first in range(n))))
    return np.broadcast_to(np.uint32(0), (len(chunks), *FRAME))


@cache
def _make_modules(home: Path) -> Path:
    """A run of 16 modules with a frame per train, a file each, unless it is there."""
    if (home / "done").exists():
        return home
    trains = range(FIRST_TRAIN, FIRST_TRAIN + N_TRAINS)
    ids = {"trainId": "u8", "pulseId": "u8", "cellId": "u2"}
    image = GroupSpec("image", tuple(KeySpec(n, t) for n, t in ids.items()), counts=(1,))
    names = [f"SPB_DET_AGIPD1M-1/CORR/{m}CH0:output" for m in range(N_MODULES)]
    sources = {f"AGIPD{m:02d}": [instrument(name, image)] for m, name in enumerate(names)}
    rng = np.random.default_rng(1)
    paths = write_run(home, RunSpec(4001, 3, tuple(split(trains, sources, sequences=1))))
    for path, name in zip(sorted(paths), names, strict=True):
        with h5py.File(path, "r+") as f:
            group = f[f"INSTRUMENT/{name}/image"]
            group["trainId"][...] = trains
            group["pulseId"][...] = group["cellId"][...] = 0
            for kind, key in (("plain", "data"), ("mask", "mask")):
                values, options = frames(kind, N_TRAINS, rng), STORED[kind][1]
                group.create_dataset(key, data=values, chunks=(1, *FRAME), **options)
    (home / "done").touch()
    return home
