"""How do time and memory grow with the data that are read?

    python -m benchmarks.growth_reading --place DIR [--most GB] [--json FILE] [--picture FILE]

A run of 64 GB is made of sparse files, which take no room: its frames are there, and are zero. Some
of it is read at once, by trains() and by dask, each time by a process of its own, of which time and
peak memory are told.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
from xfelcat.loader.examples import GroupSpec, KeySpec, RunSpec, control, instrument, split
from xfelcat.loader.examples.writing import write_run

from .large_runs import FIRST_TRAIN
from .measure import run_python

SOURCE = "SPB_DET_AGIPD1M-1/CORR/0CH0:output"
FRAME, FRAMES, FILE_TRAINS = (512, 128), 100, 100
TRAIN_BYTES = FRAMES * 512 * 128 * 4
GB = 10**9
AT_ONCE, STREAMED = (1, 2, 4, 8), (1, 4, 16, 64)

READ = """
import resource, sys, time
import xfelcat
how, n_trains = sys.argv[2], int(sys.argv[3])
key = xfelcat.RunDirectory(sys.argv[1], save=False)[sys.argv[4], "image.data"][:n_trains]
if how == "dask":
    import dask.array
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
if how == "ndarray":
    n = len(key.ndarray())
elif how == "trains":
    n = sum(len(frames) for _, frames in key.trains())
else:
    n = int((key.dask_array()[:, 0, 0] + 1).sum().compute(scheduler="threads"))
seconds = time.perf_counter() - started
assert n == 100 * n_trains, n
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def make_sparse(place: Path, most: int) -> Path:
    """A run of so many GB, of which next to nothing is stored."""
    directory = place / f"sparse-{most}"
    if (directory / "done").exists():
        return directory
    n_files = -(-most * GB // (FILE_TRAINS * TRAIN_BYTES))
    trains = range(FIRST_TRAIN, FIRST_TRAIN + n_files * FILE_TRAINS)
    image = GroupSpec("image", (KeySpec("pulseId", "u8"),), counts=(FRAMES,))
    sources = {"CORR00": [control("A/B/C", KeySpec("x", "f4")), instrument(SOURCE, image)]}
    files = tuple(split(trains, sources, sequences=n_files))
    for path in write_run(directory, RunSpec(4002, 1, files)):
        with h5py.File(path, "r+") as f:
            group = f[f"INSTRUMENT/{SOURCE}/image"]
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((len(group["pulseId"]), *FRAME))
            h5py.h5d.create(group.id, b"data", h5py.h5t.IEEE_F32LE, space, properties)
    (directory / "done").touch()
    return directory


def measure(directory: Path, most: int) -> list[dict[str, Any]]:
    """Each way to read, of more and more data."""
    found = []
    sizes = {"ndarray": AT_ONCE, "trains": STREAMED, "dask": STREAMED}
    for how in sizes:
        for size in (s for s in sizes[how] if s <= most):
            n_trains = size * GB // TRAIN_BYTES
            told = run_python(READ, str(directory), how, str(n_trains), SOURCE)
            seconds, memory = map(float, told.split())
            found.append({"how": how, "GB": size, "seconds": seconds, "memory": memory})
            sys.stderr.write(f"{how} {size} GB: {seconds:.2f} s, {memory / GB:.2f} GB\n")
    return found


def draw(found: Sequence[dict[str, Any]], picture: Path) -> None:
    """Time and memory over size, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), dpi=80, layout="constrained")
    for axis, of, unit, scale in ((axes[0], "seconds", "s", 1), (axes[1], "memory", "GB", GB)):
        for how in dict.fromkeys(f["how"] for f in found):
            those = [f for f in found if f["how"] == how]
            label = {"ndarray": "ndarray()", "trains": "trains()", "dask": "dask"}[how]
            values = [f[of] / scale for f in those]
            axis.loglog([f["GB"] for f in those], values, "o-", label=label)
        axis.set(xlabel="data read / GB", ylabel=f"{of} / {unit}" if unit != "s" else "time / s")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(picture)


def main(given_arguments: Sequence[str] | None = None) -> int:
    """Tell how time and memory grow with the data that are read."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "xfelcat-bench")
    parser.add_argument("--most", type=int, default=STREAMED[-1], help="GB to read")
    parser.add_argument("--json", type=Path, help="file for all that is measured")
    parser.add_argument("--picture", type=Path, help="file for a plot")
    given = parser.parse_args(given_arguments)
    given.place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.place) as scratch:
        for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            os.environ[variable] = scratch
        os.environ.pop("XFELCAT_CATALOG", None)
        found = measure(make_sparse(given.place, given.most), given.most)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.picture:
        draw(found, given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
