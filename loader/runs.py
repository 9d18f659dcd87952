"""How are many runs opened as one thing, and one key of theirs loaded?

``Runs`` is a frozen value: the places of runs, and what is to be selected of each. A run is opened
when it is needed, from the catalog; the last ones stay open. What it takes to say which runs is in
``places``, joining their data in ``across``.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..catalog.model.errors import RunNotFoundError, nearest
from . import across
from .across import KeysOfRuns, RunPlace, collect_keys, find_places
from .collection import DataCollection
from .open import RunDirectory
from .read.files import OpenFiles
from .select.trains import Value

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Runs", "open_runs"]

_KEPT_OPEN = 32


def open_runs(
    runs: Any = None,
    *,
    catalog: str | os.PathLike[str] | None = None,
    trust: str | None = None,
    inc_suspect_trains: bool = True,
    **question: Any,
) -> "Runs":
    """Open many runs at once, lazily.

    Parameters
    ----------
    runs
        A DataFrame that a question gave: any with a column ``path`` or ``run_id``, or with
        ``proposal`` and ``run`` (and ``data_class``), so also of SQL. Or a list whose items are
        paths, names (``"p002012/raw/r0034"``; ``"p002012/proc"`` for all catalogued runs there),
        (proposal, run) or (proposal, run, data).
    catalog
        Location of the catalog to ask; by default the one that the DataFrame came from, else that
        of the settings, else the user's.
    trust, inc_suspect_trains
        As for ``RunDirectory``.
    **question
        Without ``runs``: the filters of ``Catalog.runs``.

    Returns
    -------
    Runs

    Raises
    ------
    QueryError
        For filters, or a table, that mean no runs.
    RunNotFoundError
        For a run that neither the catalog nor the disk has.
    CatalogNotFoundError
        Where a catalog must be asked, and is not there.

    Examples
    --------
    >>> from xfelcat import open_runs
    >>> runs = open_runs(source="SA1_XTD2_XGM/XGM/DOOCS", proposal=900032, catalog="demo/catalog")
    >>> runs
    <xfelcat.Runs: 3 runs, p900032/raw/r0001 to p900032/raw/r0004>
    """
    places = find_places(runs, catalog, question)
    return Runs(places, trust=trust, inc_suspect_trains=inc_suspect_trains)


@dataclass(frozen=True, eq=False, repr=False)
class Runs(Value):
    """Many runs, opened when they are needed. Get it from ``open_runs``.

    It behaves like a list of ``DataCollection``: ``len(runs)``, ``for run in runs``, ``runs[0]``,
    ``runs[:10]``; and a run is also found by name (``runs["p900032/raw/r0001"]``) or numbers
    (``runs[900032, 1]``, ``runs[900032, 1, "raw"]``).

    A run that lacks what is to be loaded, or can no longer be opened, is left out: one warning says
    how many there are and which is the first, ``attrs["runs_lacking"]`` of the result names all,
    ``lacking`` gives the reasons.
    """

    _places: tuple[RunPlace, ...]
    _files: OpenFiles = field(default_factory=OpenFiles)
    trust: str | None = None
    inc_suspect_trains: bool = True
    _steps: tuple[tuple[str, tuple[Any, ...], Mapping[str, Any]], ...] = ()

    # -- which runs ------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of the runs, ``p900032/raw/r0001``; of a run outside a facility tree the path."""
        return [place.name for place in self._places]

    @property
    def runs(self) -> "pd.DataFrame":
        """A row per run: name, proposal, run, data_class, instrument, cycle, path."""
        import pandas as pd

        rows = [
            (place.name, i.proposal, i.run, i.data_class, i.instrument, i.cycle, place.path)
            for place in self._places
            for i in [place.identity]
        ]
        columns = ["name", "proposal", "run", "data_class", "instrument", "cycle", "path"]
        return pd.DataFrame(rows, columns=columns)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[DataCollection]:
        return (self._opened(place) for place in self._places)

    def items(self) -> Iterator[tuple[str, DataCollection]]:
        """(Name, run) of each run."""
        return ((place.name, self._opened(place)) for place in self._places)

    def __contains__(self, item: object) -> bool:
        return any(_is_meant(place, item) for place in self._places)

    @overload
    def __getitem__(self, item: slice) -> "Runs": ...
    @overload
    def __getitem__(self, item: int | str | tuple[Any, ...]) -> DataCollection: ...
    def __getitem__(self, item: Any) -> "DataCollection | Runs":
        """One run, by position, name or numbers; or some of them, by a slice."""
        if isinstance(item, slice):
            return replace(self, _places=self._places[item])
        if isinstance(item, int | np.integer):
            if not -len(self) <= item < len(self):
                raise IndexError(f"run {item} of {len(self)} runs")
            return self._opened(self._places[item])
        found = [place for place in self._places if _is_meant(place, item)]
        if not found:
            raise RunNotFoundError(
                f"run {item!r} among these", nearest=nearest(str(item), self.names)
            )
        if len(found) > 1:
            raise KeyError(f"{item!r} means {len(found)} of these runs: add the data class")
        return self._opened(found[0])

    @cached_property
    def _kept(self) -> dict[RunPlace, DataCollection]:
        """The runs that were opened last, the latest at the end."""
        return {}

    def _opened(self, place: RunPlace) -> DataCollection:
        """The run, with what is selected of it; the last ones are kept."""
        kept = self._kept
        run = kept.pop(place, None)
        if run is None:
            run = self._open(place).with_files(self._files)
            for method, args, options in self._steps:
                run = getattr(run, method)(*args, **options)
        kept[place] = run
        while len(kept) > _KEPT_OPEN:
            del kept[next(iter(kept))]
        return run

    def _open(self, place: RunPlace) -> DataCollection:
        return RunDirectory(
            place.path,
            catalog=place.catalog,
            trust=self.trust,
            inc_suspect_trains=self.inc_suspect_trains,
        )

    def __repr__(self) -> str:
        if not self._places:
            return "<xfelcat.Runs: 0 runs>"
        if len(self) == 1:
            return f"<xfelcat.Runs: 1 run, {self.names[0]}>"
        return f"<xfelcat.Runs: {len(self)} runs, {self.names[0]} to {self.names[-1]}>"

    def _repr_html_(self) -> str:
        from .show import display

        return display.runs_html(self.runs)

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open data files of all runs; they are opened again when data are read."""
        self._files.close()

    # -- selecting -------------------------------------------------------------------------------

    def select(self, seln_or_source_glob: Any, key_glob: str = "*", **options: Any) -> "Runs":
        """Some of the sources and keys of each run; see ``DataCollection.select``."""
        return self._with_step("select", seln_or_source_glob, key_glob, **options)

    def select_trains(self, train_range: Any) -> "Runs":
        """Some of the trains of each run; see ``DataCollection.select_trains``."""
        return self._with_step("select_trains", train_range)

    def _with_step(self, method: str, *args: Any, **options: Any) -> "Runs":
        return replace(self, _steps=(*self._steps, (method, args, options)))

    # -- loading ---------------------------------------------------------------------------------

    def lacking(self, source: str, key: str) -> dict[str, str]:
        """The runs that lack a key, or cannot be opened, by name, with the reason."""
        return collect_keys(self._places, self._opened, source, key).lacking

    def _keys(self, source: str, key: str) -> KeysOfRuns:
        if not self._places:
            raise ValueError("there are no runs to load from")
        found = collect_keys(self._places, self._opened, source, key)
        if not found.found:
            raise next(iter(found.errors.values()))
        across.warn_of_lacking(f"{source} {key}", found.lacking, len(self), stacklevel=4)
        return found

    def ndarray(self, source: str, key: str, roi: Any = ()) -> Any:
        """Read a key of all runs into one numpy array, run after run; see ``xarray``."""
        return across.to_array(self._keys(source, key), roi)

    def xarray(
        self,
        source: str,
        key: str,
        extra_dims: Sequence[str] | None = None,
        roi: Any = (),
        name: str | None = None,
    ) -> "xr.DataArray":
        """Read a key of all runs into one labelled array, run after run.

        Parameters
        ----------
        source, key
            Which key.
        extra_dims
            Names of the dimensions of an entry; by default dim_0, dim_1, ...
        roi
            The region of each entry to read.
        name
            Name of the array; by default source and key, joined by a dot.

        Returns
        -------
        xarray.DataArray
            Its dimension ``trainId`` has the coordinates ``trainId`` and ``run``; and
            ``proposal``, ``data_class`` or, with runs outside a facility tree, ``path``, where the
            runs differ in these.

        Raises
        ------
        InconsistentRunsError
            Two runs have different entry shapes, or types of which none holds both exactly.
        SourceNameError, PropertyNameError
            No run has the key.
        """
        return across.to_xarray(self._keys(source, key), roi, extra_dims, name)

    def dask_array(self, source: str, key: str, labelled: bool = False) -> Any:
        """A dask array of a key of all runs, read when it is computed.

        A DataArray around it, labelled as that of ``xarray``, if ``labelled``.
        """
        keys = self._keys(source, key)
        return (
            across.to_xarray(keys, (), None, None, lazily=True)
            if labelled
            else across.to_dask(keys)
        )

    def series(self, source: str, key: str) -> "pd.Series[Any]":
        """Read a 1D key of all runs into a pandas Series, labelled with run and train ID."""
        return across.to_series(self._keys(source, key))

    def dataframe(self, fields: Any = None, *, timestamps: bool = False) -> "pd.DataFrame":
        """Read 1D keys of all runs as the columns of a pandas DataFrame.

        Parameters
        ----------
        fields, timestamps
            As for ``DataCollection.get_dataframe``.

        Returns
        -------
        pandas.DataFrame
            Labelled with run and train ID; NaN where a run lacks a column that others have.
        """
        frame, lacking = across.to_frame(
            self._places,
            self._opened,
            lambda run: run.get_dataframe(fields, timestamps=timestamps),
        )
        across.warn_of_lacking("the table", lacking, len(self), stacklevel=3)
        return frame


def _is_meant(place: RunPlace, item: object) -> bool:
    """Whether a name, a path, or numbers are those of a run."""
    if isinstance(item, tuple):
        i = place.identity
        return len(item) > 1 and (i.proposal, i.run, i.data_class)[: len(item)] == item
    return isinstance(item, str | os.PathLike) and os.fspath(item) in (place.name, place.path)
