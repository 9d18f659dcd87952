"""How long until all facts of a run's files are in a catalog?

EXtra-data is asked for the same facts, file by file, in one process; it keeps none of them.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import extra_data
import xfelcat
from xfelcat.catalog.ingest.ingest import IngestOptions, IngestReport, ingest
from xfelcat.catalog.store.store import Store

from .measure import Place, Row, Side
from .rows_opening import EXTRA_DATA

PROCESSES = 2
SECONDS_PER_FILE = 1e-3


def rows(place: Place) -> Iterator[Row]:
    """Ingest of R220: in full, verified, and once more."""
    path = place.runs.get("R220", "")
    files = sorted(map(str, Path(path).glob("*.h5")))
    theirs = Side(EXTRA_DATA, lambda _: facts_of_files(files, extra_data.H5File))
    for title, verify, ratio in (
        (f"ingest in full, {PROCESSES} processes", False, 10),
        (f"ingest in full with --verify, {PROCESSES} processes", True, 3),
    ):
        options = IngestOptions(jobs=PROCESSES, verify=verify)
        yield Row(
            title,
            ("R220",),
            Side(
                "xfelcat",
                lambda catalog, o=options: ingest(Store(catalog), [path], o),
                lambda: no_catalog(place),
                lambda report: facts_of_files(files, opener(report)),
            ),
            theirs,
            ratio,
            repeats=1,
            quick=False,
        )
    yield Row(
        "ingest again, nothing changed",
        ("R220",),
        Side(
            "xfelcat",
            lambda catalog: ingest(Store(catalog), [path], IngestOptions(jobs=PROCESSES)),
            lambda: place.catalog,
        ),
        seconds=len(files) * SECONDS_PER_FILE,
    )


def no_catalog(place: Place) -> str:
    """The location of a catalog that is not there yet."""
    location = place.scratch / "ingested"
    shutil.rmtree(location, ignore_errors=True)
    return str(location)


def opener(report: IngestReport) -> Callable[[str], Any]:
    """What opens a file from the catalog that was made."""
    return lambda path: xfelcat.H5File(path, catalog=report.location)


def facts_of_files(files: list[str], open_file: Callable[[str], Any]) -> dict[str, Any]:
    """What is known of each file: trains, sources, keys, index and RUN."""
    return {path: facts_of(open_file(path)) for path in files}


def facts_of(run: Any) -> tuple[Any, ...]:
    """What is known of a file that is open."""
    sources = {}
    for name in sorted(run.all_sources):
        source = run[name]
        keys = {}
        for key in sorted(source.keys()):
            found = source[key]
            keys[key] = found.dtype, found.entry_shape, found.units
        counts = {
            group: source.data_counts(labelled=False, index_group=group)
            for group in sorted(source.index_groups)
        }
        sources[name] = keys, counts, source.run_values() if source.is_control else {}
    return run.run_metadata(), run.train_timestamps(), sources
