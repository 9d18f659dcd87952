"""What is known of a run from file records in memory?

``ScannedFacts`` is the ``RunFacts`` of a run that was scanned on the spot, or seeded from a JSON
data map. Facts beyond the depth of a record come from the file, once (``probe``).
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.errors import SourceNameError
from ..model.facts import DataFile
from ..model.records import Depth, FileLayout, FileRecord, KeySchema, Problem, RunValue
from ..model.runlength import IndexPattern, TrainList
from .lazy import Probe

__all__ = ["ScannedFacts"]


class ScannedFacts:
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

    def __init__(
        self, directory: str, records: Sequence[FileRecord], run_key: object = None
    ) -> None:
        self._directory = os.fspath(directory)
        self._records = tuple(sorted((r for r in records if r.usable), key=lambda r: r.name))
        self._run_key = os.path.realpath(self._directory) if run_key is None else run_key
        self._files = tuple(
            DataFile(
                os.path.join(self._directory, r.name), r.size, r.mtime_ns, r.aggregator, r.sequence
            )
            for r in self._records
        )
        self._problems = tuple(p for r in records if not r.usable for p in r.problems)
        self._probe = Probe(self._files)
        self._intern_records()

    def _intern_records(self) -> None:
        self._trains = tuple(self._probe.intern(r.trains) for r in self._records)
        # One layout is mostly shared by all records of an aggregator: look at each object once.
        layouts = {id(r.layout): r.layout for r in self._records}
        shared = {key: self._probe.intern(layout) for key, layout in layouts.items()}
        self._layouts = tuple(shared[id(r.layout)] for r in self._records)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "directory": self._directory,
            "records": self._records,
            "run_key": self._run_key,
            "problems": self._problems,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        ScannedFacts.__init__(self, state["directory"], state["records"], state["run_key"])
        self._problems = state["problems"]

    @property
    def directory(self) -> str:
        """The directory of the run, as given."""
        return self._directory

    @property
    def run_key(self) -> object:
        """Hashable; equal for two sets of facts about the same run."""
        return self._run_key

    @property
    def n_files(self) -> int:
        """How many files can serve data."""
        return len(self._files)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The files that can serve data, sorted by name."""
        return self._files

    @property
    def records(self) -> tuple[FileRecord, ...]:
        """The records of ``files``, in the same order."""
        return self._records

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Files that were left out, and why."""
        return self._problems

    def trains(self, file: int) -> TrainList:
        """The trains of a file."""
        return self._trains[file]

    def layout(self, file: int) -> FileLayout:
        """The sources of a file; their schemas are None below depth FULL.

        At depth NAMES index groups and auxiliary sources are unknown: ask ``full_layout``.
        """
        return self._layouts[file]

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file; raises SourceNameError where it does not list it."""
        layout = self._layouts[file]
        at = layout.position.get((section, source))
        if at is None:
            layout = self.full_layout(file)
            at = layout.position.get((section, source))
        if at is None:
            raise SourceNameError(source, (s.name for s in layout.sources))
        if legacy_of := layout.sources[at].legacy_of:
            return self.schema(file, section, legacy_of)
        known = layout.schemas[at]
        return self._probe.schema(file, section, source) if known is None else known

    def patterns(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[IndexPattern]:
        """INDEX of an index group in each of some files of one layout, for their trains."""
        return [self._pattern(file, section, source, group) for file in files]

    def _pattern(self, file: int, section: str, source: str, group: str) -> IndexPattern:
        layout = self._layouts[file]
        at = layout.position.get((section, source))
        if at is not None and (legacy_of := layout.sources[at].legacy_of):
            return self._pattern(file, section, legacy_of, group)
        record = self._records[file]
        slot = layout.slots.get((section, source, group))
        if record.depth >= Depth.FULL and slot is not None:
            return self._probe.intern(record.patterns[slot])
        return self._probe.pattern(file, section, source, group, self._trains[file])

    def full_layout(self, file: int) -> FileLayout:
        """As ``layout``, but with index groups, auxiliary and RUN-only sources at any depth."""
        if self._records[file].depth >= Depth.OUTLINE:
            return self._layouts[file]
        return self._probe.layout(file)

    def timestamps(self, file: int) -> NDArray[np.uint64] | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        record = self._records[file]
        if record.depth >= Depth.OUTLINE:
            return record.timestamps
        return self._probe.timestamps(file)

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        record = self._records[file]
        if record.depth >= Depth.OUTLINE:
            return record.metadata
        return self._probe.metadata(file)

    def run_values(self, source: str) -> Mapping[str, RunValue]:
        """RUN of a control source by key; empty if it has none, or no file lists it."""
        for record in self._records:
            if source in record.run_values:
                return record.run_values[source]
        for file, layout in enumerate(self._layouts):
            if ("CONTROL", source) in layout.position:
                return self._probe.run_values(file, source)
        return {}
