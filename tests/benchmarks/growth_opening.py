"""How does the time to open a run grow: with the runs in the catalog, and with the run's own files?

    python -m benchmarks.growth_opening --place DIR [--synthetic DIR] [--picture FILE]

Catalogs of 1 and 1,000 runs are made below ``--place``; ``--synthetic`` is one of 10^5 runs, as
`make synthetic` makes it. Then catalogs of one run of 100 to 21,000 files. No data file is there:
runs are opened with ``trust="never-stat"``. Each is opened by a process of its own: once, which
connects to the catalog, and then many times. Times are those that the processor worked.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from xfelcat.catalog.store.store import Store

from .measure import run_python
from .report import seconds
from .rows_opening import synthetic_run
from .synthetic import FIRST_PROPOSAL, Scale, fill

RUNS = (Scale(proposals=1, runs=1), Scale(proposals=10, runs=100))
SEQUENCES = (5, 50, 250, 1_050)  # of 20 aggregators
OPEN = """
import json, statistics, sys, time
import xfelcat

path, location = sys.argv[1], sys.argv[2]
times = []
for turn in range(32):
    started = time.process_time()
    run = xfelcat.RunDirectory(path, catalog=location, trust="never-stat", save=False)
    times.append(time.process_time() - started)
    n_trains = len(run.train_ids)
started = time.process_time()
n_files = len(run.files)
files = time.process_time() - started
print(json.dumps({"first": times[0], "again": statistics.median(times[1:]), "list": files,
                  "files": n_files, "trains": n_trains}))
"""


def measure(location: Path, **about: float) -> dict[str, float]:
    """What opening the first run of a catalog takes."""
    path = synthetic_run(FIRST_PROPOSAL, str(location))
    return about | json.loads(run_python(OPEN, path, str(location)))


def made(place: Path, scale: Scale) -> Path:
    """The location of a catalog of this scale, made if it is not there."""
    location = place / f"runs-{scale.proposals * scale.runs}-files-{scale.files_per_run}"
    if not Store(location).exists():
        fill(location, scale)
    return location


def plot(
    by_runs: Sequence[dict[str, float]], by_files: Sequence[dict[str, float]], picture: Path
) -> None:
    """Milliseconds over runs and over files, on logarithmic scales."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axes, measured, name in ((left, by_runs, "runs"), (right, by_files, "files")):
        for which, label in (("first", "first of a process"), ("again", "further ones")):
            axes.loglog(
                [m[name] for m in measured],
                [m[which] * 1000 for m in measured],
                "o-",
                label=label,
            )
        axes.set(xlabel=f"{name} in the {'catalog' if name == 'runs' else 'run'}", ylabel="ms")
        axes.set_ylim(1, 1000)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_title("Opening a run of 100 files")
    right.set_title("Opening the one run of a catalog")
    figure.savefig(picture, dpi=80)


def table(measured: Sequence[dict[str, float]], name: str) -> str:
    """The figures in Markdown."""
    lines = [
        f"| {name} | First of a process | Further ones | List its files |",
        "|---|---|---|---|",
    ]
    for m in measured:
        times = [seconds(m[which]) for which in ("first", "again", "list")]
        cells = (f"{m[name.split()[0].casefold()]:,}", *times)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(given_arguments: Sequence[str] | None = None, sequences: Sequence[int] = SEQUENCES) -> int:
    """Measure how opening grows with the catalog and with the run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    home = Path(tempfile.gettempdir()) / "xfelcat-growth"
    parser.add_argument("--place", type=Path, default=home, help=f"for the catalogs, {home}")
    parser.add_argument("--synthetic", type=Path, help="a catalog of many runs, if there is one")
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    given = parser.parse_args(given_arguments)
    catalogs = {scale.proposals * scale.runs: made(given.place, scale) for scale in RUNS}
    if given.synthetic and Store(given.synthetic).exists():
        catalogs[100 * len(Store(given.synthetic).shards())] = given.synthetic
    by_runs = [measure(location, runs=runs) for runs, location in catalogs.items()]
    scales = [Scale(proposals=1, runs=1, sequences=n) for n in sequences]
    by_files = [measure(made(given.place, scale)) for scale in scales]
    for measured, name in ((by_runs, "Runs in the catalog"), (by_files, "Files in the run")):
        sys.stdout.write(table(measured, name) + "\n\n")
    if given.picture:
        plot(by_runs, by_files, given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
