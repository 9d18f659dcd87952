"""CPU time of short commands, as whole processes. What `make bench-startup` runs.

    python -m benchmarks.startup [--place DIR] [--repeats N] [--json FILE]

1. The demo facility is written and ingested once, to a folder that is kept.
2. Each command runs in processes of its own, in turns with one that only imports what no command
   can do without (``REFERENCE``): user and system time, so that a busy machine matters little.
3. A row is the median of a command, and how many times that of the reference it is.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import write_facility

REFERENCE = "import duckdb, numpy, typer, rich"
COMMANDS = {
    "xfelcat sql 'SELECT 1'": ("sql", "SELECT 1"),
    "xfelcat ls RUN": ("ls", "900032/1"),
    "xfelcat info RUN": ("info", "900032/1"),
    "xfelcat find '*XGM*'": ("find", "*XGM*"),
    "xfelcat --help": ("--help",),
}


def catalog_below(place: Path) -> Path:
    """The catalog of the demo facility; made if it is not there."""
    catalog = place / "catalog"
    if not Store(catalog).exists():
        write_facility(place / "facility")
        ingest(Store(catalog), [str(place / "facility")], IngestOptions(jobs=2))
    return catalog


def cpu_seconds(command: list[str], environ: dict[str, str]) -> float:
    """User and system time of a process, and of those that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environ, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(catalog: Path, repeats: int) -> dict[str, list[float]]:
    """The CPU times of the reference and of each command, in turns."""
    environ = os.environ | {"XFELCAT_CATALOG": str(catalog)}
    runs = {REFERENCE: [sys.executable, "-c", REFERENCE]}
    runs |= {name: [sys.executable, "-m", "xfelcat", *words] for name, words in COMMANDS.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, command in runs.items():
            seconds = cpu_seconds(command, environ)
            if turn:  # the first one compiles modules
                found[name].append(seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=Path("bench/startup"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.place.mkdir(parents=True, exist_ok=True)
    found = measure(catalog_below(options.place), options.repeats)
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, median in medians.items():
        sys.stdout.write(f"{name:36} {median:6.3f} s  {median / medians[REFERENCE]:5.2f}\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
