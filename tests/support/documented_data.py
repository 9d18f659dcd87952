"""The data that the sentences of the reading document are tried on.

Every kind of thing that can be opened (a file, a run, a union of runs, processed data over raw),
each from the catalog and from bare files, in one old and one new format version; with what
EXtra-data opens of the same files.
"""

from dataclasses import dataclass
from pathlib import Path

import extra_data
from xfelcat import H5File, RunDirectory, open_run

from support.both_readers import data_files
from support.demo_facility import Demo

XGM = "SA1_XTD2_XGM/XGM/DOOCS"
FAST = f"{XGM}:output"
SLOW_FAST = "SPB_XTD9_XGM/XGM/DOOCS:output"
MODULE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
OLD, NEW = 900010, 900032
KINDS = ("file", "run", "union", "overlay")
VIEWS = [
    f"{kind}-{facts}-{proposal}"
    for kind in KINDS
    for facts in ("catalog", "files")
    for proposal in (OLD, NEW)
]


QUICK = (
    *("file-catalog-900032", "file-files-900010", "run-catalog-900010", "run-files-900032"),
    *("union-catalog-900032", "overlay-files-900010"),
)
"""Every kind, both kinds of facts and both versions, for `make test`."""


@dataclass(frozen=True)
class View:
    """``run`` as xfelcat opens it, ``theirs`` as EXtra-data does; what it is and where it lies."""

    kind: str
    from_catalog: bool
    proposal: int
    run: object
    theirs: object
    place: Path

    @property
    def raw(self) -> extra_data.DataCollection:
        """What EXtra-data says of RUN and METADATA; of old raw and processed data it says none."""
        return open_paths(self.place) if self.kind == "overlay" else self.theirs


def open_view(name: str, demo: Demo) -> View:
    """The view of a name of ``VIEWS``."""
    kind, facts, number = name.split("-")
    proposal = int(number)
    raw = [demo.summary.run(proposal, n).path for n in (1, 2)]
    proc = demo.summary.run(proposal, 1, "proc").path
    options = {"catalog": demo.location} if facts == "catalog" else {}
    if kind == "file":
        path = next(raw[0].glob("*DA01-S00000.h5"))
        ours, theirs = H5File(path, **options), extra_data.H5File(path)
        return View(kind, facts == "catalog", proposal, ours, theirs, path)
    options["save"] = False
    if kind == "overlay":
        ours = open_run(raw[0].parents[1], 1, data="all", aliases=None, **options)
        below, above = open_paths(raw[0]), open_paths(proc)
        both = below.all_sources & above.all_sources
        theirs = below.deselect([(s, "*") for s in both]).union(above)
    else:
        ours, theirs = RunDirectory(raw[0], **options), open_paths(raw[0])
    if kind == "union":
        ours = ours.union(RunDirectory(raw[1], **options))
        theirs = theirs.union(open_paths(raw[1]))
    return View(kind, facts == "catalog", proposal, ours, theirs, raw[0])


def open_paths(directory: Path) -> extra_data.DataCollection:
    """EXtra-data's view of a run, opened by paths so that no data map is left behind."""
    return extra_data.DataCollection.from_paths(data_files(directory), is_single_run=True)
