"""Where runs lie that a table, names, globs, paths or a question name; none is opened."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import MetadataCatalog
from ..catalog.model.errors import QueryError, RunNotFoundError
from ..catalog.model.identity import RunIdentity, identify_run, parse_proposal, parse_run
from ..catalog.model.names import from_text
from ..catalog.questions.filters import RunFilter
from .open import PathLike, find_proposal, find_run_directory

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A run that is not open: who it is, where it lies, and the catalog to ask first."""

    identity: RunIdentity
    path: str
    catalog: str | None = None

    @property
    def name(self) -> str:
        """``p900010/raw/r0001``; the directory for a run outside a facility tree."""
        return str(self.identity)

    @property
    def short_name(self) -> str:
        """``r1``; the last folder of a run outside a facility tree."""
        return os.path.basename(self.path) if self.identity.is_loose else f"r{self.identity.run}"


def find_places(
    runs: Any, catalog: PathLike | None, question: dict[str, Any]
) -> tuple[RunPlace, ...]:
    """The runs that the caller names, each once, in the order given; see ``open_runs``."""
    if runs is not None and question:
        raise TypeError("give either runs or the filters of a question, not both")
    location = None if catalog is None else os.fspath(catalog)
    if runs is None:
        asked = MetadataCatalog(location)
        paths, location = _paths_of_table(asked.runs(**question), None), asked.location
    elif hasattr(runs, "columns"):
        location = location or runs.attrs.get("location")
        paths = _paths_of_table(runs, location)
    else:
        several = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
        paths = _paths_of_names(several, location)
    absolute = map(os.path.abspath, map(os.path.expanduser, map(os.fspath, paths)))
    places = (RunPlace(identify_run(p, os.path.realpath(p)), p, location) for p in absolute)
    return tuple(dict.fromkeys(places))


def _paths_of_table(frame: "pd.DataFrame", location: str | None) -> Iterable[str]:
    if "path" in frame.columns:
        return [from_text(str(path)) for path in frame["path"].dropna()]
    if "run_id" in frame.columns:
        ids = [int(i) for i in frame["run_id"].dropna()]
        known = MetadataCatalog(location).runs()
        by_id = dict(zip(known["run_id"], known["path"], strict=True))
        absent = [i for i in ids if i not in by_id]
        if absent:
            sentence = f"the catalog has no run of run_id {absent[0]}"
            raise RunNotFoundError(f"run_id {absent[0]}", [str(location)], sentence=sentence)
        return [from_text(by_id[i]) for i in ids]
    if {"proposal", "run"} <= set(frame.columns):
        named = frame[[n for n in ("proposal", "run", "data_class") if n in frame.columns]]
        return _paths_of_names(list(named.itertuples(index=False, name=None)), location)
    raise QueryError(
        "this table tells no runs: it has neither a column run_id or path, nor proposal and run;"
        " SELECT one of them too"
    )


def _paths_of_names(given: Sequence[Any], location: str | None) -> list[str]:
    parsed = [_parse(item) for item in given]
    wanted = {item.proposals[0] for item in parsed if isinstance(item, RunFilter)}
    known: dict[tuple[int, str, int], str] = {}  # runs of these proposals in the catalog
    if wanted and (catalog := MetadataCatalog(location)).exists():
        frame = catalog.runs(proposal=sorted(wanted))
        names = zip(frame["proposal"], frame["data_class"], frame["run"], strict=True)
        known = dict(zip(names, map(from_text, frame["path"]), strict=True))
    paths: list[str] = []
    for item in parsed:
        if isinstance(item, str):
            paths += _matching(item, location) if is_glob(item) else [item]
            continue
        found = [
            path
            for (proposal, data_class, run), path in known.items()
            if proposal in item.proposals
            and data_class in (item.data_classes or (data_class,))
            and (run, run) in (item.runs or ((run, run),))
        ]
        proposal = item.proposals[0]
        if not found and not item.runs:
            name = "/".join((f"p{proposal:06d}", *item.data_classes))
            raise RunNotFoundError(name, sentence=f"the catalog has no run of {name}")
        if not found:
            folder = (*item.data_classes, "raw")[0]
            found = [find_run_directory(find_proposal(proposal), item.runs[0][0], folder)]
        paths += found
    return paths


def _matching(pattern: str, location: str | None) -> list[str]:
    """The runs that a glob means: of names of catalogued runs, else of directories."""
    found: list[str] = []
    if re.match(r"p[\d*?\[]", pattern) and (catalog := MetadataCatalog(location)).exists():
        frame = catalog.runs()
        frame = frame[frame["proposal"].notna()]
        rows = zip(frame["proposal"], frame["data_class"], frame["run"], frame["path"], strict=True)
        for proposal, data_class, run, path in rows:
            if fnmatchcase(f"p{proposal:06d}/{data_class}/r{run:04d}", pattern):
                found.append(from_text(path))
    found = found or [p for p in sorted(glob(os.path.expanduser(pattern))) if os.path.isdir(p)]
    if not found:
        sentence = f"no run, catalogued or in a directory, is named like {pattern}"
        raise RunNotFoundError(pattern, sentence=sentence)
    return found


def _parse(item: Any) -> RunFilter | str:
    """What one item of a list names: runs of a proposal, or a path."""
    if isinstance(item, str | os.PathLike):
        named = RunFilter.named(item)
        return named if named.proposals else os.fspath(item)
    if isinstance(item, tuple) and len(item) in (2, 3):
        proposal, run = parse_proposal(item[0]), parse_run(item[1])
        if proposal is not None and run is not None:
            data_class = str(item[2]) if len(item) == 3 else "raw"
            return RunFilter((proposal,), ((run, run),), data_classes=(data_class,))
    raise TypeError(
        f"{item!r} names no run: write a path, 'p002012/raw/r0034',"
        " (2012, 34) or (2012, 34, 'proc')"
    )


def is_glob(text: str) -> bool:
    """Whether a name has characters that make it a glob."""
    return any(char in text for char in "*?[")
