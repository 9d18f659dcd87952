"""What must be known about a run before an array can be read from it?

``RunFacts`` is the one seam between catalog and loader. It has two sources: rows of the catalog
(``facts``) and files scanned on the spot (``scanned``). The loader never knows which it was.

Files are numbered 0..n-1 in the order of their names; only files that can serve data are among
them. Equal train lists, layouts and patterns are the same object, so that a caller may remember
what it computed for one of them by identity.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .records import FileLayout, KeySchema, Problem, RunValue
from .runlength import IndexPattern, TrainList

__all__ = ["DataFile", "RunFacts"]


class DataFile(NamedTuple):
    """A file that data can be read from, as it was when its facts were taken."""

    path: str
    size: int
    mtime_ns: int
    aggregator: str
    sequence: int


class RunFacts(Protocol):
    """The facts of one run. Every method answers from memory or the catalog where the depth allows.

    Facts beyond the depth of a file are taken from the file itself, once. Any method may raise
    ``FileStructureError`` then. Implementations are picklable and safe to share between threads.
    """

    @property
    def directory(self) -> str:
        """The directory of the run, as given; for a single file, the directory it lies in."""

    @property
    def run_key(self) -> object:
        """Hashable; equal for two sets of facts about the same run."""

    @property
    def n_files(self) -> int:
        """How many data files there are."""

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The data files, sorted by name."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Files that were left out, and why."""

    def trains(self, file: int) -> TrainList:
        """The trains of a file."""

    def layout(self, file: int) -> FileLayout:
        """The sources of a file; the schemas in it may be None: ask ``schema``.

        A JSON data map knows source names only: no index groups, no auxiliary sources.
        """

    def full_layout(self, file: int) -> FileLayout:
        """As ``layout``, but with index groups, auxiliary and RUN-only sources at any depth."""

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file; of a legacy name, those of the source it stands for."""

    def patterns(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[IndexPattern]:
        """INDEX of an index group in each of some files of one layout, for their trains."""

    def timestamps(self, file: int) -> NDArray[np.uint64] | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA (format version, proposal and run number, dates, ...)."""

    def run_values(self, source: str) -> Mapping[str, RunValue]:
        """RUN of a control source by key (``x.value``, ``x.timestamp``); empty if it has none."""
