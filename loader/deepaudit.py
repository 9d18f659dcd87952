"""How does an audit get data read? It calls ``RunDataCheck`` with the runs in its scope.

The catalog says which files a run has; ``deepcheck`` reads a sample of each.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..catalog.records import Depth, Problem
from ..catalog.store.encoding import from_text
from ..catalog.store.facts import file_stats
from ..catalog.store.merge import shard_of
from ..catalog.store.store import Store
from .deepcheck import DeepOptions, check_data

__all__ = ["RunDataCheck"]

_RUNS_AT_ONCE = 64


@dataclass
class RunDataCheck:
    """Reads a sample of the data of the runs of the catalog at ``location``.

    ``steps`` is told how many runs are done, of how many. ``left_out`` gathers what could not be
    looked at: files that lie only on tape, that hang, or that may not be read.
    """

    location: str | os.PathLike[str]
    options: DeepOptions = field(default_factory=DeepOptions)
    steps: Callable[[int, int], None] | None = None
    left_out: list[Problem] = field(default_factory=list)

    def __call__(self, runs: Sequence[tuple[int, str]]) -> Iterable[tuple[int, Problem]]:
        """Problems by run_id, given run_id and directory of each run: V01 to V04 and F06."""
        store = Store(self.location)
        for at in range(0, len(runs), _RUNS_AT_ONCE):
            if self.steps:
                self.steps(at, len(runs))
            some = runs[at : at + _RUNS_AT_ONCE]
            of_run = {
                path: run_id for run_id, place in some for path in _files(store, run_id, place)
            }
            for path, problems in check_data(of_run, self.options):
                for problem in problems:
                    if problem.check == "F06":
                        self.left_out.append(problem)
                    yield of_run[path], problem
        if self.steps:
            self.steps(len(runs), len(runs))


def _files(store: Store, run_id: int, place: str) -> Iterator[str]:
    """The files of a run that the catalog says are there and can be read."""
    with store.read(shard_of(run_id)) as cursor:
        known = file_stats(cursor, run_id) if cursor else {}
    for name, file in known.items():
        if file.depth > Depth.UNREAD and not file.missing:
            yield os.path.join(from_text(place), name)
