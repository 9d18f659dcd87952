"""How do time and memory of an ingest grow with the number of files?

    python -m benchmarks.growth_ingest --place DIR [--files N ...] [--picture FILE]

Runs of so many files are made below ``--place`` (10^4 files: 4 GB) and ingested, each by a process
of its own: seconds, CPU time, the peak memory of that process and of the largest of its workers,
and the size of the catalog. Then each is ingested again, with nothing changed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .large_runs import N_MODULES, LargeRun, make_run
from .measure import run_python
from .report import seconds

FILES = (100, 1_000, 10_000)
AGGREGATORS = 4  # of control data
PROCESSES = 2
INGEST = """
import json, resource, sys, time
from pathlib import Path
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store

path, location, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)

times, started_with = [], cpu()
for files in ("files_scanned", "files_unchanged"):
    started = time.perf_counter()
    report = ingest(Store(location), [path], IngestOptions(jobs=jobs))
    times.append(time.perf_counter() - started)
    n = getattr(report, files)
    if len(times) == 1:
        used = cpu() - started_with
mib = [resource.getrusage(who).ru_maxrss / 1024 for who in
       (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
size = sum(p.stat().st_size for p in Path(location).rglob("*.duckdb") if not p.is_symlink())
print(json.dumps({"files": n, "seconds": times[0], "cpu": used, "again": times[1], "parent": mib[0],
                  "worker": mib[1], "bytes": size}))
"""


def run_of(files: int) -> LargeRun:
    """A run of so many files, with 400 properties in the control data of an aggregator."""
    per_sequence = AGGREGATORS + N_MODULES
    return LargeRun(f"growth-{files}", 4000 + files, files // per_sequence, AGGREGATORS, 40, 10, 2)


def measure(path: Path, place: Path) -> dict[str, float]:
    """What the ingest of a run takes."""
    with tempfile.TemporaryDirectory(dir=place) as location:
        found: dict[str, float] = json.loads(
            run_python(INGEST, str(path), f"{location}/catalog", str(PROCESSES))
        )
    return found


def plot(measured: Sequence[dict[str, float]], picture: Path) -> None:
    """Seconds and peak memory over files, both scales logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    files = [m["files"] for m in measured]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for name, label in (
        ("seconds", "all new"),
        ("cpu", "its CPU time"),
        ("again", "nothing changed"),
    ):
        left.loglog(files, [m[name] for m in measured], "o-", label=label)
    left.loglog(files, [measured[-1]["cpu"] * n / files[-1] for n in files], "k:", lw=0.8)
    left.set(xlabel="files", ylabel="seconds", title=f"Ingest with {PROCESSES} processes")
    for name, label in (("parent", "main process"), ("worker", "largest worker")):
        right.semilogx(files, [m[name] for m in measured], "o-", label=label)
    right.set(xlabel="files", ylabel="MiB", title="Peak memory", ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=80)


def as_table(measured: Sequence[dict[str, float]]) -> str:
    """A Markdown table."""
    head = (
        "Files",
        "All new",
        "CPU",
        "Nothing changed",
        "Main process",
        "Largest worker",
        "Catalog",
    )
    rows = [
        (
            f"{m['files']:,}", seconds(m["seconds"]), seconds(m["cpu"]), seconds(m["again"]),
            f"{m['parent']:.0f} MiB", f"{m['worker']:.0f} MiB", f"{m['bytes'] / 2**20:.1f} MiB",
        )
        for m in measured
    ]  # fmt: skip
    table = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def say(line: str) -> None:
    """Tell how it goes on."""
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--files", type=int, nargs="*", default=FILES)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(arguments)
    given.place.mkdir(parents=True, exist_ok=True)
    place = given.place.absolute()
    measured = [measure(make_run(run_of(n), place, say), place) for n in given.files]
    sys.stdout.write(as_table(measured) + "\n")
    if given.picture:
        plot(measured, given.picture)


if __name__ == "__main__":
    main()
