"""What must a reader find in a run that was written from a description?

Computed from the ``RunSpec`` alone, without the files: sources, keys, trains, counts, arrays and
RUN values, under the names the reading API uses (``beamPosition.ixPos.value``,
``data.intensityTD``). Runs with faults that were put in afterwards are not covered.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xfelcat.loader.examples import specs
from xfelcat.loader.examples.specs import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    SourceSpec,
    expected_values,
)

__all__ = [
    "expected_array",
    "expected_counts",
    "expected_keys",
    "expected_run_values",
    "expected_sources",
    "expected_train_ids",
]


def expected_sources(run: RunSpec, section: str) -> set[str]:
    """The names of the sources in a section, legacy names excluded."""
    return {s.name for f in run.files for s in f.sources if s.section == section}


def expected_train_ids(run: RunSpec, *, suspect: bool = True) -> list[int]:
    """Every train ID of the run, increasing; ``suspect`` False leaves the flagged ones out."""
    dropped: set[int] = set()
    if not suspect:
        kept = {t for f in run.files for t in f.train_ids if t not in f.suspect}
        dropped = set(run.train_ids) - kept
    return [t for t in run.train_ids if t not in dropped]


def _api_keys(source: SourceSpec) -> Iterator[tuple[str, GroupSpec, KeySpec]]:
    """(name in the API, index group, specification) of every key of a source."""
    for group in source.groups:
        for key in group.keys:
            if not source.is_control:
                yield f"{group.name}.{key.name}".lstrip("."), group, key
                continue
            yield f"{key.name}.value", group, key
            time = KeySpec(f"{key.name}.timestamp", "u8", fill="time")
            yield time.name, group, time


def expected_keys(run: RunSpec, source: str) -> set[str]:
    """The keys of a source, over all files."""
    found = (s for f in run.files for s in f.sources if s.name == source)
    return {name for s in found for name, _, _ in _api_keys(s)}


def _places(
    run: RunSpec, source: str, key: str
) -> Iterator[tuple[FileSpec, NDArray[np.uint64], NDArray[np.int64], KeySpec]]:
    """(file, its trains, entries of each train, key) of each file that has the key, in order."""
    for file in sorted(run.files, key=lambda f: (f.aggregator, f.sequence)):
        for spec in file.sources:
            if spec.name != source:
                continue
            for name, group, key_spec in _api_keys(spec):
                if name == key:
                    keep = file.trains != 0
                    counts = group.counts_for(file.trains)
                    yield file, file.trains[keep], counts[keep], key_spec


def expected_counts(run: RunSpec, source: str, key: str) -> dict[int, int]:
    """Entries of each train of the files that have the source."""
    counts: dict[int, int] = {}
    for _, trains, n, _ in _places(run, source, key):
        counts |= dict(zip(trains.tolist(), n.tolist(), strict=True))
    return counts


def expected_array(
    run: RunSpec, source: str, key: str, train_ids: list[int] | None = None
) -> NDArray[Any]:
    """Every entry of a key, (n, *entry shape), of all trains or of those in ``train_ids``."""
    parts = []
    for file, trains, counts, spec in _places(run, source, key):
        if train_ids is not None:
            keep = np.isin(trains, np.array(train_ids, dtype=np.uint64))
            trains, counts = trains[keep], counts[keep]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = np.repeat(trains, counts)
        parts.append(expected_values(run.file_token(file), source, spec, owners, within))
    if not parts:
        raise KeyError(f"the description has no {source!r} {key!r}")
    return np.concatenate(parts)


def expected_run_values(run: RunSpec, source: str) -> dict[str, Any]:
    """RUN of a control source by key, times left out."""
    for file in run.files:
        for spec in file.sources:
            if spec.name == source and spec.is_control:
                values = specs.expected_run_values(run, spec) | dict(spec.run)
                return {f"{name}.value": value for name, value in values.items()}
    raise KeyError(f"the description has no control source {source!r}")
