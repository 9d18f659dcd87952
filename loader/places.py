"""Which runs does someone mean who wants to open several?

``find_places`` takes what people have at hand, and opens nothing:

1. a DataFrame: the answer of a question (``path``, ``run_id``, or ``proposal`` and ``run``);
2. paths, names (``p900010/raw/r0001``, ``p900010``), (proposal, run) and (proposal, run, data);
3. nothing but the filters of a question: the catalog is asked.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog
from ..catalog.errors import QueryError, RunNotFoundError
from ..catalog.layout import RunIdentity, identify_run, parse_proposal, parse_run
from ..catalog.questions.run_filter import RunFilter
from ..catalog.store.encoding import from_text
from .opening import find_proposal, find_run_directory

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunPlace", "find_places"]

PathLike = str | os.PathLike[str]


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


def find_places(
    runs: Any, catalog: PathLike | None, question: dict[str, Any]
) -> tuple[RunPlace, ...]:
    """The runs that are meant, each once, in the order given.

    Raises
    ------
    QueryError
        For filters or a table that mean no runs.
    RunNotFoundError
        For a run that neither the catalog nor the disk has.
    CatalogNotFoundError
        Where a catalog must be asked, and is not there.
    TypeError
        For what is nothing of the kind.
    """
    if runs is not None and question:
        raise TypeError("give either runs or the filters of a question, not both")
    location = None if catalog is None else os.fspath(catalog)
    if runs is None:
        asked = Catalog(location)
        paths, location = _paths_of_table(asked.runs(**question), None), asked.location
    elif hasattr(runs, "columns"):
        location = location or runs.attrs.get("location")
        paths = _paths_of_table(runs, location)
    else:
        several = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
        paths = _paths_of_names(several, location)
    places = dict.fromkeys(_place(os.fspath(path), location) for path in paths)
    return tuple(places)


def _place(path: str, catalog: str | None) -> RunPlace:
    absolute = os.path.abspath(os.path.expanduser(path))
    return RunPlace(identify_run(absolute, os.path.realpath(absolute)), absolute, catalog)


def _paths_of_table(frame: "pd.DataFrame", location: str | None) -> Iterable[str]:
    if "path" in frame.columns:
        return [from_text(str(path)) for path in frame["path"].dropna()]
    if "run_id" in frame.columns:
        ids = [int(i) for i in frame["run_id"].dropna()]
        known = Catalog(location).runs()
        by_id = dict(zip(known["run_id"], known["path"], strict=True))
        absent = [i for i in ids if i not in by_id]
        if absent:
            raise RunNotFoundError(f"run_id {absent[0]} in the catalog", [str(location)])
        return [from_text(by_id[i]) for i in ids]
    if {"proposal", "run"} <= set(frame.columns):
        columns = [frame["proposal"], frame["run"]]
        if "data_class" in frame.columns:
            columns.append(frame["data_class"])
        return _paths_of_names(list(zip(*columns, strict=True)), location)
    raise QueryError(
        "this table tells no runs: it has neither a column run_id or path, nor proposal and run;"
        " SELECT one of them too"
    )


@dataclass(frozen=True, slots=True)
class _Named:
    """Runs by number: ``run`` -1 for all of the proposal, ``data_class`` empty for all."""

    proposal: int
    data_class: str = ""
    run: int = -1

    def __str__(self) -> str:
        run = f"r{self.run:04d}" if self.run >= 0 else ""
        return "/".join(filter(None, (f"p{self.proposal:06d}", self.data_class, run)))


def _paths_of_names(given: Sequence[Any], location: str | None) -> list[str]:
    parsed = [_parse(item) for item in given]
    wanted = {item.proposal for item in parsed if isinstance(item, _Named)}
    known = _known_runs(sorted(wanted), location) if wanted else {}
    paths: list[str] = []
    for item in parsed:
        if isinstance(item, str):
            paths.append(item)
            continue
        found = [
            path
            for (proposal, data_class, run), path in known.items()
            if proposal == item.proposal
            and item.data_class in ("", data_class)
            and item.run in (-1, run)
        ]
        paths += found or [_on_disk(item)]
    return paths


def _parse(item: Any) -> _Named | str:
    """What one item of a list names: runs by number, or a path."""
    if isinstance(item, str | os.PathLike):
        named = RunFilter.named(item)
        if not named.proposals:
            return os.fspath(item)
        number = named.runs[0][0] if named.runs else -1
        return _Named(named.proposals[0], (named.data_classes or ("",))[0], number)
    if isinstance(item, tuple) and len(item) in (2, 3):
        proposal, run = parse_proposal(item[0]), parse_run(item[1])
        if proposal is not None and run is not None:
            return _Named(proposal, str(item[2]) if len(item) == 3 else "raw", run)
    raise TypeError(
        f"{item!r} names no run: write a path, 'p002012/raw/r0034',"
        " (2012, 34) or (2012, 34, 'proc')"
    )


def _known_runs(proposals: list[int], location: str | None) -> dict[tuple[int, str, int], str]:
    """The paths of the catalogued runs of some proposals; none where there is no catalog."""
    catalog = Catalog(location)
    if not catalog.exists():
        return {}
    frame = catalog.runs(proposal=proposals)
    names = zip(frame["proposal"], frame["data_class"], frame["run"], strict=True)
    return dict(zip(names, map(from_text, frame["path"]), strict=True))


def _on_disk(named: _Named) -> str:
    if named.run < 0:
        raise RunNotFoundError(f"{named}: runs of this name in the catalog")
    directory = find_proposal(named.proposal)
    return find_run_directory(directory, named.run, named.data_class or "raw")
