"""Many runs opened as one thing, and one key of theirs as one array.

1. ``KeysOfRuns``: a key in every run that has it, and why the others lack it. ``to_array`` reads
   run after run into one array of the ``common_dtype``; ``label_array`` and ``to_series`` label it
   with the run beside the train.
2. ``Runs``, from ``open_runs``: a frozen value of the places and of what to select of each run. A
   run is opened when it is needed, from the catalog; the last ones stay open.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ..catalog.config import catalog_location
from ..catalog.model.errors import (
    AliasError,
    FileStructureError,
    InconsistentRunsError,
    PropertyNameError,
    RunNotFoundError,
    SourceNameError,
    nearest,
    warn_caller,
)
from ..catalog.model.runlength import Value
from ..catalog.questions.empty import why_empty
from ..catalog.questions.question import Question
from ..catalog.store.store import Store
from .collection import DataCollection
from .keydata import KeyData
from .open import DEFAULT_ALIASES, PathLike, RunDirectory, with_alias_file
from .output import convert
from .places import RunPlace, find_places, is_glob
from .read.files import OpenFiles
from .select.selection import parse_region

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_T = TypeVar("_T")

# -- one key in all of them --

# Errors of a run that lacks what is to be loaded; a selection that matches nothing is a ValueError.
_LACKING = (SourceNameError, PropertyNameError, RunNotFoundError, FileStructureError, ValueError)


@dataclass(frozen=True, slots=True)
class KeysOfRuns:
    """A key in the runs that have it, and why the others lack it."""

    source: str
    key: str
    found: dict[RunPlace, KeyData]
    lacking: dict[str, str]
    times: dict[RunPlace, NDArray[np.datetime64]] = field(default_factory=dict)
    """The time of each train of a run, where times were asked for."""

    @property
    def keys(self) -> list[KeyData]:
        """The key in one run after the other."""
        return list(self.found.values())


def common_dtype(keys: KeysOfRuns, roi: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type that holds the values of all runs as they are, and the shape of an entry.

    Numbers of different types go together where a type holds both exactly: integers with integers,
    floating point with floating point, and integers of up to 32 bits with floating point. Anything
    else, and entries of different shapes, is an InconsistentRunsError.
    """
    shape = parse_region(roi, keys.keys[0].entry_shape).shape
    first_of: dict[np.dtype[Any], RunPlace] = {}  # the first run with data of a type

    def refuse(earlier: RunPlace, later: RunPlace, detail: str) -> NoReturn:
        raise InconsistentRunsError(keys.source, keys.key, detail, (earlier.name, later.name))

    for place, key in keys.found.items():
        other = parse_region(roi, key.entry_shape).shape
        if other != shape:
            first = next(iter(keys.found))
            refuse(first, place, f"an entry has the shape {shape} against {other}")
        for dtype, earlier in first_of.items():
            if _joint(dtype, key.dtype) is None:
                refuse(earlier, place, f"type {dtype} against {key.dtype}")
        first_of.setdefault(key.dtype, place)
    return np.result_type(*first_of) if len(first_of) > 1 else keys.keys[0].dtype, shape


def _joint(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type that holds what both hold, exactly; None where there is none."""
    if one == other:
        return one
    if one.kind not in "iuf" or other.kind not in "iuf":
        return None
    joint = np.result_type(one, other)
    integers = [dtype for dtype in (one, other) if dtype.kind in "iu"]
    if joint.kind == "f" and any(np.iinfo(i).bits > np.finfo(joint).nmant for i in integers):
        return None
    return joint


def to_array(keys: KeysOfRuns, roi: Any = ()) -> NDArray[Any]:
    """The data of all runs, one after the other, each read to its place."""
    dtype, shape = common_dtype(keys, roi)
    ends = np.cumsum([key.shape[0] for key in keys.keys]).tolist()
    out = np.empty((ends[-1], *shape), dtype)
    for key, start, end in zip(keys.keys, [0, *ends], ends, strict=False):
        key.ndarray(roi, out=out[start:end])
    return out


def to_dask(keys: KeysOfRuns) -> Any:
    """A dask array of all runs; chunks are those of the files."""
    import dask.array as da

    dtype, _ = common_dtype(keys, ())
    parts = [convert.to_dask(key.selected, False) for key in keys.keys]
    parts = [part if part.dtype == dtype else part.astype(dtype) for part in parts]
    return da.concatenate(parts)  # type: ignore[no-untyped-call]


def label_array(
    keys: KeysOfRuns, data: Any, extra_dims: Sequence[str] | None = None, name: str | None = None
) -> "xr.DataArray":
    """The data of all runs, read or lazy, labelled with train ID and run."""
    import xarray as xr

    if data.dtype.names:
        raise TypeError(
            f"{keys.source} {keys.key} has several fields per entry: load the runs one by one"
        )
    dims = [f"dim_{i}" for i in range(data.ndim - 1)] if extra_dims is None else list(extra_dims)
    if len(dims) != data.ndim - 1:
        raise ValueError(f"extra_dims has {len(dims)} names for {data.ndim - 1} dimensions")
    return xr.DataArray(
        data,
        dims=["trainId", *dims],
        coords={label: ("trainId", values) for label, values in _coordinates(keys).items()},
        name=name or keys.keys[0].selected.label("."),
        attrs=_attributes(keys),
    )


def to_series(keys: KeysOfRuns) -> "pd.Series[Any]":
    """1D data of all runs, labelled with run and train ID."""
    import pandas as pd

    if keys.keys[0].ndim > 1:
        raise TypeError(
            f"{keys.source} {keys.key} has {keys.keys[0].ndim} dimensions: use xarray()"
        )
    levels = _as_levels(_coordinates(keys))
    index = pd.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
    series = pd.Series(to_array(keys), name=keys.keys[0].selected.label("/"), index=index)
    series.attrs.update(_attributes(keys))
    return series


def _labels(places: Iterable[RunPlace]) -> dict[str, list[Any]]:
    """What tells the runs apart: the number, and proposal, data class or path where these differ.

    A run outside a facility tree has -1 for a number.
    """
    places = tuple(places)
    identities = [place.identity for place in places]
    found: dict[str, list[Any]] = {"run": [i.run for i in identities]}
    if len({i.proposal for i in identities}) > 1:
        found["proposal"] = [i.proposal for i in identities]
    if len({i.data_class for i in identities}) > 1:
        found["data_class"] = [i.data_class for i in identities]
    if any(i.is_loose for i in identities):
        found["path"] = [place.path for place in places]
    return found


def _as_levels(labels: dict[str, Any]) -> dict[str, Any]:
    """Labels as the levels of a pandas index, from the coarsest to the finest."""
    names = ("proposal", "data_class", "path", "run", "trainId")
    return {name: labels[name] for name in names if name in labels}


def _coordinates(keys: KeysOfRuns) -> dict[str, NDArray[Any]]:
    """Labels of every entry, to go along the dimension trainId."""
    lengths = [key.shape[0] for key in keys.keys]
    labels = {n: np.repeat(np.asarray(v), lengths) for n, v in _labels(keys.found).items()}
    if keys.times:
        times = [
            keys.times[place][key.selected.trains.positions(key.train_id_coordinates())]
            for place, key in keys.found.items()
        ]
        labels["time"] = np.concatenate(times)
    return {"trainId": np.concatenate([k.train_id_coordinates() for k in keys.keys])} | labels


def _attributes(keys: KeysOfRuns) -> dict[str, Any]:
    units = {key.units for key in keys.keys} - {None}
    attrs: dict[str, Any] = {"units": units.pop()} if len(units) == 1 else {}
    if units:
        warn_caller(
            f"{keys.source} {keys.key} has different units in these runs: {sorted(map(str, units))}"
            " and others; the values are as stored"
        )
    return attrs | ({"runs_lacking": list(keys.lacking)} if keys.lacking else {})


_KEPT_OPEN = 32  # runs: loops over several keys of as many open none of them twice


def open_runs(
    runs: Any = None,
    numbers: Iterable[int | str] | None = None,
    *,
    catalog: PathLike | None = None,
    aliases: PathLike | Mapping[str, Any] | None = DEFAULT_ALIASES,
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
        globs of either (``"p002012/raw/r00[1-4]?"``), (proposal, run) or (proposal, run, data).
    numbers
        Numbers of runs, of the proposal that ``runs`` then is.
    catalog
        Location of the catalog to ask; by default the one that the DataFrame came from, else that
        of the settings, else the user's.
    aliases
        A dict of aliases, or an alias definition file as for ``open_run``; by default that of each
        run's proposal, where it has one.
    trust, inc_suspect_trains
        As for ``RunDirectory``.
    **question
        Without ``runs``: the filters of ``Catalog.runs``.

    Raises
    ------
    QueryError
        For a filter, or a table, that has no meaning.
    RunNotFoundError
        For a run that neither the catalog nor the disk has.
    CatalogNotFoundError
        Where a catalog must be asked, and is not there.
    TypeError
        For an item that names no run, and for runs and filters together.

    Warns
    -----
    UserWarning
        Where no run matches; it says which filter leaves none.

    Examples
    --------
    >>> from xfelcat import open_runs
    >>> runs = open_runs(source="SA1_XTD2_XGM/XGM/DOOCS", proposal=900032, catalog="demo/catalog")
    >>> runs
    <xfelcat.Runs: 3 runs, p900032/raw/r0001 to p900032/raw/r0004>
    """
    if numbers is not None:
        runs = [(runs, number) for number in numbers]
    places = find_places(runs, catalog, question)
    if not places:
        why = "the table or list has none"
        if runs is None:
            store = Store(catalog_location(catalog))
            why = why_empty(store, Question.of(**question)) or "nothing matches"
        warn_caller(f"no runs: {why}")
    options: dict[str, Any] = {"trust": trust, "inc_suspect_trains": inc_suspect_trains}
    return Runs(places, aliases=aliases, **options)


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
    aliases: PathLike | Mapping[str, Any] | None = DEFAULT_ALIASES
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
        return zip(self.names, self, strict=True)

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
    def _kept(self) -> dict[RunPlace, DataCollection]:  # opened last, the latest at the end
        return {}

    @cached_property
    def _aliased(self) -> dict[str, DataCollection]:  # by folder: an alias file is read once
        return {}

    def _opened(self, place: RunPlace) -> DataCollection:
        """The run, with what is selected of it; the last ones are kept."""
        kept = self._kept
        run = kept.pop(place, None)
        if run is None:
            run = RunDirectory(
                place.path,
                catalog=place.catalog,
                trust=self.trust,
                inc_suspect_trains=self.inc_suspect_trains,
            ).with_files(self._files)
            folder = os.path.dirname(os.path.dirname(place.path))  # of the proposal, as a rule
            if (alike := self._aliased.get(folder)) is None:
                run = self._aliased[folder] = with_alias_file(run, None, self.aliases)
            else:
                run = run.with_aliases_of(alike)
            for method, args, options in self._steps:
                run = getattr(run, method)(*args, **options)
        kept[place] = run
        while len(kept) > _KEPT_OPEN:
            del kept[next(iter(kept))]
        return run

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

    def _of_each(
        self, take: Callable[[DataCollection], _T]
    ) -> tuple[dict[RunPlace, _T], dict[str, Exception]]:
        """What is taken of each run that has it, and the errors of the others by name."""
        if not self._places:
            raise ValueError("there are no runs to load from")
        found: dict[RunPlace, _T] = {}
        errors: dict[str, Exception] = {}
        for place in self._places:
            try:
                found[place] = take(self._opened(place))
            except _LACKING as error:
                errors[place.name] = error
        return found, errors

    def _take(
        self, take: Callable[[DataCollection], _T], what: str, stacklevel: int
    ) -> tuple[dict[RunPlace, _T], dict[str, str]]:
        """The same, with the reasons; a warning of those that lack it, an error if all do."""
        found, errors = self._of_each(take)
        if errors:
            name, error = next(iter(errors.items()))
            if not found:
                raise error
            message = f"{len(errors)} of {len(self)} runs left out of {what}, the first {name}"
            warn_caller(f"{message}: {error}")
        return found, {name: str(error) for name, error in errors.items()}

    def _keys(self, source: str, key: str | None, *, timed: bool = False) -> KeysOfRuns:
        def take(run: DataCollection) -> tuple[KeyData, NDArray[np.datetime64]]:
            found = find_key(run, source, key)
            return found, run.train_timestamps() if timed else np.empty(0, "M8[ns]")

        taken, lacking = self._take(take, f"{source} {key or ''}".rstrip(), 4)
        keys = {place: of_run[0] for place, of_run in taken.items()}
        first = next(iter(keys.values()))
        times = {place: of_run[1] for place, of_run in taken.items()}
        if all(np.isnat(of_run).all() for of_run in times.values()):  # or not asked for
            times = {}
        return KeysOfRuns(first.source, first.key, keys, lacking, times)

    def lacking(self, source: str, key: str | None = None) -> dict[str, str]:
        """The runs that lack a key, or cannot be opened, by name, with the reason."""
        _, errors = self._of_each(lambda run: find_key(run, source, key))
        return {name: str(error) for name, error in errors.items()}

    def ndarray(self, source: str, key: str | None = None, roi: Any = ()) -> Any:
        """Read a key of all runs into one numpy array, run after run; see ``xarray``."""
        return to_array(self._keys(source, key), roi)

    def xarray(
        self,
        source: str,
        key: str | None = None,
        extra_dims: Sequence[str] | None = None,
        roi: Any = (),
        name: str | None = None,
    ) -> "xr.DataArray":
        """Read a key of all runs into one labelled array, run after run.

        Parameters
        ----------
        source, key
            Names; or the alias of a source, with a key or, if it stands for a key, alone; or globs
            that match one key of a run. So for all methods that take them.
        extra_dims, roi, name
            As for ``KeyData.xarray``.

        Returns
        -------
        xarray.DataArray
            Its dimension ``trainId`` has the coordinates ``trainId``, ``run`` and ``time`` (UTC,
            NaT for trains without, left out if no run records times); and ``proposal``,
            ``data_class`` or, with runs outside a facility tree, ``path``, where the runs differ in
            these.

        Raises
        ------
        InconsistentRunsError
            Two runs have different entry shapes, or types of which none holds both exactly.
        SourceNameError, PropertyNameError
            No run has the key.
        """
        keys = self._keys(source, key, timed=True)
        return label_array(keys, to_array(keys, roi), extra_dims, name)

    def dask_array(self, source: str, key: str | None = None, labelled: bool = False) -> Any:
        """A dask array of a key of all runs, read when it is computed.

        A DataArray around it, labelled as that of ``xarray``, if ``labelled``.
        """
        keys = self._keys(source, key, timed=labelled)
        data = to_dask(keys)
        return label_array(keys, data) if labelled else data

    def series(self, source: str, key: str | None = None) -> "pd.Series[Any]":
        """Read a 1D key of all runs into a pandas Series, labelled with run and train ID."""
        return to_series(self._keys(source, key))

    def dataframe(self, fields: Any = None, *, timestamps: bool = False) -> "pd.DataFrame":
        """Read 1D keys of all runs as the columns of a pandas DataFrame.

        ``fields`` and ``timestamps`` are as for ``DataCollection.get_dataframe``.

        Returns
        -------
        pandas.DataFrame
            Labelled with run and train ID; NaN where a run lacks a column that others have.
        """
        import pandas as pd

        frames, lacking = self._take(
            lambda run: run.get_dataframe(fields, timestamps=timestamps), "the table", 3
        )
        frame: pd.DataFrame = _joined(frames)
        if lacking:
            frame.attrs["runs_lacking"] = list(lacking)
        return frame

    def train_timestamps(self) -> "pd.Series[Any]":
        """Time of each train of all runs in UTC, labelled with run and train ID; NaT for none."""
        times, _ = self._take(lambda run: run.train_timestamps(labelled=True), "the times", 3)
        found: pd.Series[Any] = _joined(times)
        return found

    # -- pictures --------------------------------------------------------------------------------

    def plot(self, source: str, key: str | None = None, axes: Any = None) -> Any:
        """Plot mean, standard deviation and extremes of a key in each run against time.

        Scalars are all read; of arrays 100 trains of each run, 256 MB at most.

        Parameters
        ----------
        source, key
            As for ``xarray``; a key of numbers.
        axes
            The matplotlib axes to draw into; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            Runs lie at the time of their first train; side by side if any records none.
        """
        from .show import key_plot

        keys = self._keys(source, key, timed=True)
        labels = _labels(keys.found)
        names = {"proposal": "p{:06d}", "data_class": "{}"}
        groups = [
            " ".join(names[n].format(labels[n][at]) for n in names if n in labels)
            for at in range(len(keys.found))
        ]
        points = [
            key_plot.RunPoint(
                place.short_name,
                groups[at],
                _first_time(keys.times.get(place)),
                data.selected,
            )
            for at, (place, data) in enumerate(keys.found.items())
            if data.shape[0]
        ]
        return key_plot.plot_runs(points, axes, len(self) - len(points))

    def plot_missing_data(self, min_saved_pct: float = 95) -> Any:
        """Plot sources against runs: in which share of its trains a run has data of a source.

        Parameters
        ----------
        min_saved_pct
            Show only sources that some run lacks, or has in less than this percentage of trains.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from .show import trains_plot

        shares, _ = self._take(lambda r: trains_plot.coverage_shares(r.selected), "the plot", 3)
        names = {place.short_name: place for place in shares}
        is_clear = len(names) == len(shares)
        labels = [place.short_name if is_clear else place.name for place in shares]
        return trains_plot.plot_missing_of_runs(labels, list(shares.values()), min_saved_pct)


def _joined(parts: dict[RunPlace, Any]) -> Any:
    """Tables or Series of runs as one, labelled with the run beside the train."""
    import pandas as pd

    levels = _as_levels(_labels(parts))
    keys: list[Any] = list(zip(*levels.values(), strict=True))
    keys = [key[0] for key in keys] if len(levels) == 1 else keys
    return pd.concat(list(parts.values()), keys=keys, names=[*levels, "trainId"])


def _first_time(times: NDArray[np.datetime64] | None) -> np.datetime64:
    known = np.empty(0, "M8[ns]") if times is None else times[~np.isnat(times)]
    return known.min() if known.size else np.datetime64("NaT", "ns")


def find_key(run: DataCollection, source: str, key: str | None) -> KeyData:
    """A key of a run by names, by an alias, or by globs that match one.

    Raises SourceNameError, PropertyNameError or AliasError where there is none, ValueError where
    several match.
    """
    found: Any
    if key is not None and is_glob(source + key) and (source, key) not in run:
        several = list(run.select(source, key).selected.all_keys(False))
        if len(several) != 1:
            names = ", ".join(each.label(" ") for each in several[:4])
            raise ValueError(f"{source} {key} means {len(several)} keys: name one, such as {names}")
        found = KeyData(several[0])
    elif source in run.all_sources:
        found = run[source] if key is None else run[source, key]
    else:
        try:
            found = run.alias[source] if key is None else run.alias[source, key]
        except AliasError:
            if key is None:
                raise
            found = run[source, key]  # whose error names the nearest sources
    if not isinstance(found, KeyData):
        raise TypeError(f"{source!r} is a source: name a key of it too")
    _ = found.record  # an error if the files of its run do not have it
    return found


def _is_meant(place: RunPlace, item: object) -> bool:
    """Whether a name, a path, or numbers are those of a run."""
    if isinstance(item, tuple):
        i = place.identity
        return len(item) > 1 and (i.proposal, i.run, i.data_class)[: len(item)] == item
    return isinstance(item, str | os.PathLike) and os.fspath(item) in (place.name, place.path)
