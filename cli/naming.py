"""Runs by the names that people type: paths, or numbers of proposal and run.

``open_named`` takes a path, ``p002012/raw/r0034``, or the short forms ``p002012/r0034``,
``2012/34``, ``2012/proc/34`` and ``"2012 34"``, in which the data class is raw by default.

``named_runs`` takes what names several: nothing, an instrument, a cycle of it, a proposal, a data
class, a run, or a path.

1. A directory there is, is that. Else the catalog is asked, which may know a run whose directory is
   gone; then the data root.
2. The run is opened from the catalog as far as that knows it.
"""

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import say

if TYPE_CHECKING:
    from ..catalog.questions.filters import RunFilter
    from ..catalog.store.store import Store
    from ..loader.collection import DataCollection

__all__ = ["catalogued_run", "named_runs", "open_named", "open_path"]

_SHORT = re.compile(
    r"p?(?P<proposal>\d{1,6})[/ ]\s*(?:(?P<data_class>[A-Za-z]\w*)[/ ]\s*)?r?(?P<run>\d{1,6})/?"
)
_INSTRUMENT = re.compile(r"(?P<instrument>[A-Z]{2,8}\d?)(?:/(?P<cycle>\d{6}))?/?")

Row = dict[str, Any]


def named_runs(text: str | None) -> "RunFilter":
    """The runs that a text names; all of them for None."""
    from ..catalog.questions.filters import ALL_RUNS, RunFilter

    if not text:
        return ALL_RUNS
    if os.path.exists(os.path.expanduser(text)):
        return RunFilter.named(text)
    if m := _INSTRUMENT.fullmatch(text):
        return RunFilter.of(instrument=m["instrument"], cycle=m["cycle"])
    if text.isdecimal() and len(text) <= 6:
        return RunFilter.of(proposal=text)
    return _by_numbers(text) or RunFilter.named(text)


def _by_numbers(text: str) -> "RunFilter | None":
    """The run of a short form; None for anything else."""
    from ..catalog.questions.filters import RunFilter

    m = _SHORT.fullmatch(text)
    if m is None:
        return None
    data_class = m["data_class"] or "raw"
    return RunFilter.of(proposal=m["proposal"], run=m["run"], data_class=data_class)


def open_named(text: str, store: "Store", *, save: bool = False) -> tuple[str, "DataCollection"]:
    """Where the run of a name is, and the run.

    Raises RunNotFoundError for a name of no run.
    """
    path = _directory(text, store)
    return path, open_path(path, store, save=save)


def open_path(path: str, store: "Store", *, save: bool = False) -> "DataCollection":
    """A run or a file, from the catalog as far as that has it; warnings go to stderr."""
    from ..loader.open import H5File, RunDirectory

    location: Path | None = store.location if store.exists() else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if os.path.isfile(path):
            run = H5File(path, catalog=location)
        else:  # a run whose directory is gone is still described from the catalog
            trust = None if os.path.isdir(path) else "never-stat"
            run = RunDirectory(path, catalog=location, trust=trust, save=save)
    for warning in caught:
        say(f"warning: {warning.message}")
    return run


def catalogued_run(text: str, store: "Store") -> Row | None:
    """The row of the view runs for the one run of this name; None if the catalog has no such."""
    from ..catalog.model.errors import CatalogNotFoundError
    from ..catalog.model.text import from_text
    from ..catalog.questions.filters import RunFilter
    from ..catalog.questions.find import runs
    from ..catalog.questions.question import Question

    path = os.path.abspath(os.path.expanduser(text))
    numbered = None if os.path.isdir(path) else _by_numbers(text)
    where = numbered or RunFilter.of(below=path)
    try:
        rows: list[Row] = runs(store, Question(where)).table.slice(0, 2).to_pylist()
    except CatalogNotFoundError:
        return None
    if len(rows) != 1:
        return None
    row = rows[0] | {name: from_text(rows[0][name]) for name in ("path", "realpath")}
    is_it = numbered is not None or os.path.realpath(path) == row["realpath"] or path == row["path"]
    return row if is_it else None


def _directory(text: str, store: "Store") -> str:
    from ..catalog.model.errors import RunNotFoundError
    from ..loader.open import find_proposal, find_run_directory

    path = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(path):
        return path
    known = catalogued_run(text, store)
    if known is not None:
        found: str = known["path"]
        return found
    m = _SHORT.fullmatch(text)
    if m is None:
        what = f"{text} (a run directory, or a name like p002012/raw/r0034)"
        raise RunNotFoundError(what, looked_at=[path, str(store.location)])
    return find_run_directory(find_proposal(m["proposal"]), m["run"], m["data_class"] or "raw")
