"""Facts of a run from file records in memory, scanned on the spot or seeded from a JSON map."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from ..model.facts import FileTable, Numbered, RunFacts
from ..model.records import FileLayout, FileRecord, KeySchema, RunValue
from ..model.runlength import IndexPattern, TrainList
from .lazy import Probe

__all__ = ["RecordFetcher", "scanned_facts"]


def scanned_facts(
    directory: str, records: Sequence[FileRecord], run_key: object = None
) -> RunFacts:
    """The facts of one run, from records of its files of any depth.

    Parameters
    ----------
    directory
        Where the files lie.
    records
        Of all files of the run that are to be used or reported; in any order.
    run_key
        Hashable; equal for two sets of facts about the same run. By default the real path of the
        directory.
    """
    directory = os.fspath(directory)
    usable = sorted((r for r in records if r.usable), key=lambda r: r.name)
    trains = Numbered[TrainList](attrgetter("token"))
    layouts = Numbered[FileLayout](attrgetter("canonical"))
    table = FileTable(
        [r.name for r in usable],
        [r.size for r in usable],
        [r.mtime_ns for r in usable],
        [r.depth for r in usable],
        [False] * len(usable),
        range(len(usable)),
        [trains.number(r.trains) for r in usable],
        [layouts.number(r.layout) for r in usable],
    )
    return RunFacts(
        directory,
        os.path.realpath(directory) if run_key is None else run_key,
        table,
        trains.values,
        dict(enumerate(layouts.values)),
        RecordFetcher(usable, [layouts.values[n] for n in table.layouts]),
        Probe(directory, table, trains.values),
        partial(scanned_facts, directory, records, run_key),
        tuple(p for r in records if not r.usable for p in r.problems),
    )


class RecordFetcher:
    """The facts of a run that records of its files have (a ``Fetcher``)."""

    def __init__(self, records: Sequence[FileRecord], layouts: Sequence[FileLayout]) -> None:
        self._records = records
        self._layouts = layouts
        self._patterns = Numbered[IndexPattern](attrgetter("token"))

    def schema(self, file: int, section: str, source: str) -> KeySchema | None:
        """The keys of a source in a file; None below depth FULL."""
        layout = self._layouts[file]
        at = layout.position.get((section, source))
        return None if at is None else layout.schemas[at]

    def pattern_numbers(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[int]:
        """Numbers of the patterns of an index group in files of one layout."""
        slot = self._layouts[files[0]].slots[section, source, group]
        return [self._patterns.number(self._records[file].patterns[slot]) for file in files]

    def patterns(self, numbers: Iterable[int]) -> list[IndexPattern]:
        """The patterns with these numbers."""
        return [self._patterns.values[number] for number in numbers]

    def timestamps(self, file: int) -> NDArray[np.uint64] | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        return self._records[file].timestamps

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        return self._records[file].metadata

    def run_values(self, files: Sequence[int], source: str) -> Mapping[str, RunValue] | None:
        """RUN of a control source; None where no record has it."""
        return next((r.run_values[source] for r in self._records if source in r.run_values), None)
