"""Do more workers scan slow files sooner, and does the committer need more memory for more files?

    python -m benchmarks.scanning --place DIR [--files N ...] [--page FILE]

Runs of 20 small files each (47 kB, two sources), 100 runs to a proposal, are made below ``--place``
and ingested by an executor of worker processes, which give their records to one committer:

1. by 1 and by 4 workers for whom each open, ``stat`` and read of a file takes 5 ms longer, as on a
   network file system; they sleep meanwhile, so that few cores suffice;
2. by 2 workers without delay, so many files as ``--files`` says: the peak memory of the committer.

Workers have started before the time is taken. Each ingest has a process of its own.
"""

import argparse
import atexit
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
from support.tiny_file import write_tiny

from .latency import slow
from .measure import run_python
from .report import marked, put_between, seconds

FILES = (1_000, 10_000, 100_000)
SLOW_FILES = 1_600  # a minute of one worker, next to which the start of an ingest is little
SECONDS_PER_CALL = 0.005
REPEATS = 3  # in turns, of which the quickest counts: what others do on the machine only adds
PER_RUN, RUNS = 20, 100  # files of a run, runs of a proposal
FIRST_TRAIN, TRAINS = 1_000, 10
BEGIN, END = "<!-- begin: written by make bench-scanning -->", "<!-- end of bench-scanning -->"
INGEST = """
import json, resource, sys, time
tests, path, location, n_workers, delay = sys.argv[1:]
sys.path.insert(0, tests)  # also of the workers
from benchmarks.scanning import workers
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store

with workers(int(n_workers), float(delay)) as pool:
    started = time.perf_counter()
    report = ingest(Store(location), [path], IngestOptions(jobs=pool))
    passed = time.perf_counter() - started
print(json.dumps({
    "files": report.files_scanned, "findings": len(report.problems), "seconds": passed,
    "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def make_files(tree: Path, files: int) -> Path:
    """So many files below a directory, made of one whose numbers are put right in its bytes."""
    tree.mkdir()
    pattern = tree / "pattern.h5"
    write_tiny(pattern).close()
    with h5py.File(pattern) as f:
        names = "proposalNumber", "runNumber", "sequenceNumber"
        at = [f[f"METADATA/{name}"].id.get_offset() for name in names]
        trains_at = f["INDEX/trainId"].id.get_offset()
    content = bytearray(pattern.read_bytes())
    pattern.unlink()
    for number in range(files):
        run, sequence = divmod(number, PER_RUN)
        proposal, run = 2_000 + run // RUNS, 1 + run % RUNS
        for place, value in zip(at, (proposal, run, sequence), strict=True):
            content[place : place + 4] = np.uint32(value).tobytes()
        first = FIRST_TRAIN + TRAINS * sequence
        trains = np.arange(first, first + TRAINS, dtype=np.uint64).tobytes()
        content[trains_at : trains_at + len(trains)] = trains
        folder = tree / f"MID/202401/p{proposal:06d}/raw/r{run:04d}"
        if not sequence:
            folder.mkdir(parents=True)
        (folder / f"RAW-R{run:04d}-DA01-S{sequence:05d}.h5").write_bytes(content)
    return tree


def become_slow(delay: float) -> None:
    """Have every call on files of this process take longer, to its end."""
    if delay:
        stack = ExitStack()
        stack.enter_context(slow(delay))
        atexit.register(stack.close)  # kept until then: what is collected ends


def _start(_: int) -> None:
    """Have what scans imported; long enough that each worker has to."""
    import_module("xfelcat.catalog.scan.scan")
    time.sleep(0.5)


@contextmanager
def workers(n: int, delay: float) -> Iterator[ProcessPoolExecutor]:
    """So many worker processes, which have started."""
    initial = {"initializer": become_slow, "initargs": (delay,)}
    with ProcessPoolExecutor(n, mp_context=get_context("spawn"), **initial) as pool:
        list(pool.map(_start, range(n)))
        yield pool


def measure(tree: Path, n_workers: int, delay: float) -> dict[str, float]:
    """What the ingest of a tree takes."""
    with tempfile.TemporaryDirectory(dir=tree.parent) as location:
        words = (
            str(Path(__file__).parents[1]),
            str(tree),
            f"{location}/catalog",
            str(n_workers),
            str(delay),
        )
        found: dict[str, float] = json.loads(run_python(INGEST, *words, timeout=3600))
    sys.stderr.write(f"{n_workers} workers, delay {delay:g} s: {found}\n")
    return found


def main() -> None:
    """Measure; print the figures, or put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--files", type=int, nargs="+", default=FILES)
    parser.add_argument("--page", type=Path, help="page to put the figures into")
    given = parser.parse_args()
    given.place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.place) as folder:
        tree = make_files(Path(folder, "slow"), SLOW_FILES)
        turns = [
            [measure(tree, n, SECONDS_PER_CALL)["seconds"] for n in (1, 4)] for _ in range(REPEATS)
        ]
    one, four = map(min, zip(*turns, strict=True))
    lines = [
        f"{SLOW_FILES:,} files, {SECONDS_PER_CALL * 1000:g} ms more per call; the quickest of"
        f" {REPEATS} turns:",
        "",
        "| Workers | Seconds | |",
        "| --- | --- | --- |",
        f"| 1 | {seconds(one)} | |",
        f"| 4 | {seconds(four)} | {one / four:.2f}x |",
        "",
        "Without delay, by two workers:",
        "",
        "| Files | Seconds | Peak memory of the committer |",
        "| --- | --- | --- |",
    ]
    for files in given.files:
        with tempfile.TemporaryDirectory(dir=given.place) as folder:
            found = measure(make_files(Path(folder, "tree"), files), 2, 0)
        assert found["files"] == files, found
        lines.append(f"| {files:,} | {seconds(found['seconds'])} | {found['mib']:.0f} MiB |")
    text = "\n".join([marked(), "", *lines])
    sys.stdout.write(f"{text}\n")
    if given.page:
        put_between(given.page, BEGIN, END, text)


if __name__ == "__main__":
    main()
