"""Open the same files with xfelcat (scanned on the spot, no catalog) and with EXtra-data."""

import os
from collections.abc import Sequence
from pathlib import Path

import extra_data
from xfelcat.catalog.opening.scanned import scanned_facts
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.loader.collection import DataCollection


def data_files(*places: Path | str) -> list[str]:
    """The data files in directories, and single files, sorted within each."""
    paths = [Path(p) for p in places]
    return [str(f) for p in paths for f in (sorted(p.glob("*.h5")) if p.is_dir() else [p])]


def open_scanned(*places: Path | str, **options: object) -> DataCollection:
    """xfelcat's view of the files of one run."""
    files = data_files(*places)
    records = [scan_file(path) for path in files]
    return DataCollection.from_facts(scanned_facts(os.path.dirname(files[0]), records), **options)


def open_oracle(*places: Path | str, **options: object) -> extra_data.DataCollection:
    """EXtra-data's view; by paths, because it leaves a data map beside a run it opens."""
    options = {"is_single_run": True, **options}
    return extra_data.DataCollection.from_paths(data_files(*places), **options)


def open_both(*places: Path | str) -> tuple[DataCollection, extra_data.DataCollection]:
    """Both views of the same files."""
    return open_scanned(*places), open_oracle(*places)


def keys_by_source(collection: object, names: Sequence[str] | None = None) -> dict[str, set[str]]:
    """The selected keys of each source."""
    return {n: set(collection.keys_for_source(n)) for n in names or collection.all_sources}
