"""How fast are we, next to EXtra-data and h5py? What `make bench` runs.

    python -m benchmarks.bench --place DIR [--quick] [--only GLOB] [--json FILE] [--page FILE]

1. The runs R220, R960 and D408 are made below ``--place`` and catalogued, unless they are there.
2. The rows of every module ``rows_*`` of this package are measured: each has a function ``rows``
   that is given the ``Place`` and returns its rows.
3. The result is printed, and goes to JSON and to the page. The exit status is 1 if any two answers
   differ: a faster wrong answer is none.
"""

import argparse
import contextlib
import fcntl
import fnmatch
import importlib
import json
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store

import benchmarks

from .large_runs import D408, MAKING, R220, R960, LargeRun, make_run
from .measure import Outcome, Place, Row, measure
from .report import as_json, as_table, put_into_page

RUNS = (R220, R960, D408)
QUICK_REPEATS = 3


def say(line: str) -> None:
    """Tell how it goes on."""
    sys.stderr.write(f"{line}\n")


@contextlib.contextmanager
def make_place(directory: Path, wanted: Sequence[LargeRun]) -> Iterator[Place]:
    """The runs, and the catalog that holds them; nothing of the user's own is looked at."""
    directory.mkdir(parents=True, exist_ok=True)
    catalog = directory / "catalog"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others may share the place
        runs = {run.name: str(make_run(run, directory, say)) for run in wanted}
        say("cataloguing what is not catalogued")
        options = IngestOptions(jobs=os.cpu_count(), merge=False)
        ingest(Store(catalog), list(runs.values()), options)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=directory) as scratch:
        for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            os.environ[variable] = f"{scratch}/home"
        os.environ.pop("XFELCAT_CATALOG", None)
        yield Place(runs, str(catalog), Path(scratch))


def all_rows(place: Place) -> Iterator[Row]:
    """The rows of every module, those of opening first."""
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__)]
    for name in sorted(names, key=lambda n: (n != "rows_opening", n)):
        if name.startswith("rows_"):
            yield from importlib.import_module(f"benchmarks.{name}").rows(place)


def measure_rows(place: Place, *, quick: bool, only: str) -> list[Outcome]:
    """What the rows give whose title fits, of those whose runs are there.

    Each is measured by a process of its own, for what ran before is felt by what takes a
    millisecond: data_counts took 1.7 times as long after EXtra-data was asked for all keys. The
    quick ones share this process.
    """
    outcomes = []
    for number, row in enumerate(all_rows(place)):
        if not set(row.runs) <= place.runs.keys() or (quick and not row.quick):
            continue
        if not fnmatch.fnmatch(row.title.casefold(), f"*{only.casefold()}*"):
            continue
        say(f"{row.title} ({', '.join(row.runs)})")
        if quick:
            outcomes.append(measure(row, QUICK_REPEATS))
        else:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                outcomes.append(Outcome(row, **process.submit(_measured, place, number).result()))
        if outcomes[-1].differs:
            say(f"DIFFERENT ANSWERS\n{outcomes[-1].differs}")
    return outcomes


def _measured(place: Place, number: int) -> dict[str, Any]:
    """What one of all rows gave, as the fields of its outcome besides the row."""
    found = vars(measure(next(islice(all_rows(place), number, None))))
    return {name: value for name, value in found.items() if name != "row"}


def main(given_arguments: Sequence[str] | None = None, runs: Sequence[LargeRun] = RUNS) -> int:
    """Time xfelcat next to others, and check that all give the same."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    home = Path(tempfile.gettempdir()) / f"xfelcat-bench-{MAKING}"
    parser.add_argument("--place", type=Path, default=home, help=f"for the runs, {home}")
    parser.add_argument("--quick", action="store_true", help="R220 only, few repeats")
    parser.add_argument("--only", default="", help="part of the titles of the rows, or a glob")
    parser.add_argument("--json", type=Path, help="file for all that is measured")
    parser.add_argument("--page", type=Path, help="page to put the table into")
    given = parser.parse_args(given_arguments)
    wanted = runs[:1] if given.quick else runs
    with make_place(given.place.absolute(), wanted) as place:
        outcomes = measure_rows(place, quick=given.quick, only=given.only)
    sys.stdout.write(as_table(outcomes) + "\n")
    if given.json:
        given.json.write_text(json.dumps(as_json(outcomes), indent=1, ensure_ascii=False) + "\n")
    if given.page:
        put_into_page(given.page, outcomes)
    return int(any(o.differs for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
