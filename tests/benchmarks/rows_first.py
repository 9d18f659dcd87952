"""How long does the first read take, as a user meets it?

Each time from a run that was opened afresh, of which no data file is open; opening is not timed.
Also with calls of the file system that wait, by ``latency``.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import GroupSpec, KeySpec, RunSpec, control, instrument, split
from xfelcat.loader.examples.writing import write_run

from .large_runs import FIRST_TRAIN, XGM
from .latency import slow
from .measure import Place, Row, Side
from .rows_metadata import plain, run_values
from .rows_opening import EXTRA_DATA, known, open_ours, open_theirs
from .rows_reading import KEY, SOURCE, VALUE, in_order, make_frames, some_keys, sums

CHUNKED = "SPB_XTD9_ADC/ADC/1:output"
ROWS = 4000
WAYS: dict[str, dict[str, Any]] = {
    "one chunk": {"chunks": (1024, 64)},
    "a chunk per entry": {"chunks": (1, 64)},
    "chunks of 64 rows": {"chunks": (64, 64)},
}
GZIP = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def rows(place: Place) -> Iterator[Row]:
    """First reads."""
    for name in sorted(place.runs.keys() & {"R220", "R960"}):
        yield from of_run(name, place)
    home = Path(place.catalog).parent
    for kind in ("plain", "mask"):
        yield fresh(
            f"first: 10 trains of one module, {kind}",
            place.catalog,
            partial(make_frames, home / "frames", kind),
            lambda run: run[SOURCE, KEY].select_trains(np.s_[:10]).ndarray(),
            5,
        )
    for title in WAYS:
        for gzip in ("", ", gzip"):
            ask = partial(read_chunked, key_name(title, gzip))
            make = partial(make_chunked, home / "chunked")
            yield fresh(f"first: {title}{gzip}", place.catalog, make, ask)


def of_run(name: str, place: Place) -> Iterator[Row]:
    """Keys of control data; RUN; the same and opening where the file system is slow."""
    path = place.runs[name]
    asked: list[tuple[str, float, Callable[[Any], Any]]] = [
        ("a key with a value per train", 10, one_key),
        ("get_dataframe, 22 columns", 10, lambda run: run.get_dataframe(some_keys(run))),
        ("trains() over 22 keys, 400 trains", 10, lambda run: first_trains(run, 400)),
        ("trains() over 22 keys, all", 20, lambda run: first_trains(run, None)),
        ("every RUN value of 40 sources", 25, run_values),
    ]
    for title, ratio, ask in asked:
        yield Row(
            f"first: {title}",
            (name,),
            Side("xfelcat", ask, partial(open_ours, path, place.catalog), in_order),
            Side(EXTRA_DATA, ask, partial(open_theirs, path), in_order),
            ratio if name == "R220" else 0,
            repeats=5,
        )
    for ms in (1, 5):
        for trust in ("stat", "directory"):
            yield Row(
                f"open, {trust}, {ms} ms per call of the file system",
                (name,),
                Side(
                    "xfelcat",
                    lambda _, t=trust, s=ms / 1e3: slowly(
                        s, lambda: open_ours(path, place.catalog, t)
                    ),
                    answer=known,
                ),
                Side(
                    EXTRA_DATA,
                    lambda _, s=ms / 1e3: slowly(s, lambda: open_theirs(path)),
                    answer=known,
                ),
                50 if (name, trust, ms) == ("R960", "directory", 5) else 0,
                repeats=3,
                quick=False,
            )
        read = partial(slow_key, ms / 1e3)
        yield Row(
            f"first: a key with a value per train, {ms} ms per call",
            (name,),
            Side("xfelcat", read, partial(open_ours, path, place.catalog), plain),
            Side(EXTRA_DATA, read, partial(open_theirs, path), plain),
            repeats=3,
            quick=False,
        )


def fresh(
    title: str, catalog: str, make: Callable[[], Path], ask: Callable[[Any], Any], ratio: float = 0
) -> Row:
    """A first read of a run that is made for it and catalogued."""

    def ours() -> Any:
        directory = str(make())
        ingest(Store(catalog), [directory], IngestOptions(jobs=0, merge=False))
        return open_ours(directory, catalog)

    return Row(
        title,
        (),
        Side("xfelcat", ask, ours, sums),
        Side(EXTRA_DATA, ask, lambda: open_theirs(str(make())), sums),
        ratio,
        repeats=5,
        quick=False,
    )


def slowly(seconds: float, do: Callable[[], Any]) -> Any:
    """What ``do`` gives where calls of the file system wait."""
    with slow(seconds):
        return do()


def one_key(run: Any) -> Any:
    """A key with a value per train."""
    return run[XGM, VALUE].ndarray()


def slow_key(seconds: float, run: Any) -> Any:
    """The same where calls of the file system wait."""
    return slowly(seconds, lambda: one_key(run))


def read_chunked(name: str, run: Any) -> Any:
    """A key of ``make_chunked``."""
    return run[CHUNKED, name].ndarray()


def first_trains(run: Any, n: int | None) -> list[Any]:
    """The first trains over 22 keys; one in a hundred is kept."""
    chosen = run.select_trains(np.s_[:n]).select(some_keys(run))
    return [data for at, data in enumerate(chosen.trains(flat_keys=True)) if not at % 100]


def key_name(title: str, gzip: str) -> str:
    """The key that is stored in one of the ``WAYS``."""
    return f"data.{title.replace(' ', '')}{gzip and 'Gzip'}"


def make_chunked(directory: Path) -> Path:
    """A run of four files with the same data in chunks of several kinds, unless it is there."""
    if (directory / "done").exists():
        return directory
    trains = range(FIRST_TRAIN, FIRST_TRAIN + ROWS)
    group = GroupSpec("data", (KeySpec("pulseId", "u8"),), counts=(1,))
    sources = {"DA01": [control("A/B/C", KeySpec("x", "f4")), instrument(CHUNKED, group)]}
    rng = np.random.default_rng(1)
    for path in write_run(directory, RunSpec(4001, 2, tuple(split(trains, sources, sequences=4)))):
        with h5py.File(path, "r+") as f:
            home = f[f"INSTRUMENT/{CHUNKED}/data"]
            n = len(home["pulseId"])
            for title, way in WAYS.items():
                for gzip in ("", ", gzip"):
                    options = way | (GZIP if gzip else {})
                    data = rng.poisson(20, (n, 64)).astype("u2")
                    name = key_name(title, gzip).removeprefix("data.")
                    home.create_dataset(name, data=data, maxshape=(None, 64), **options)
    (directory / "done").touch()
    return directory
