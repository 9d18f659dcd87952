"""Many runs opened as one thing, and one key of theirs as one array.

1. ``find_places``: the runs named by a table, by names and paths, or by a question; none is opened.
2. ``KeysOfRuns``: a key in every run that has it, and why the others lack it. ``to_array`` reads
   run after run into one array of the ``common_dtype``; ``label_array`` and ``to_series`` label it
   with the run beside the train.
3. ``Runs``, from ``open_runs``: a frozen value of the places and of what to select of each run. A
   run is opened when it is needed, from the catalog; the last ones stay open.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ..catalog.catalog import MetadataCatalog
from ..catalog.model.errors import (
    FileStructureError,
    InconsistentRunsError,
    PropertyNameError,
    QueryError,
    RunNotFoundError,
    SourceNameError,
    nearest,
    warn_caller,
)
from ..catalog.model.identity import RunIdentity, identify_run, parse_proposal, parse_run
from ..catalog.model.names import from_text
from ..catalog.questions.filters import RunFilter
from .collection import DataCollection
from .open import PathLike, RunDirectory, find_proposal, find_run_directory
from .output import convert
from .read.files import OpenFiles
from .select.selection import parse_region
from .select.trains import Value

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .keydata import KeyData

_T = TypeVar("_T")

# -- which runs --


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
            paths.append(item)
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


# -- one key in all of them --

# Errors of a run that lacks what is to be loaded; a selection that matches nothing is a ValueError.
_LACKING = (SourceNameError, PropertyNameError, RunNotFoundError, FileStructureError, ValueError)


@dataclass(frozen=True, slots=True)
class KeysOfRuns:
    """A key in the runs that have it, and why the others lack it."""

    source: str
    key: str
    found: dict[RunPlace, "KeyData"]
    lacking: dict[str, str]

    @property
    def keys(self) -> list["KeyData"]:
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
    numbers
        Numbers of runs, of the proposal that ``runs`` then is.
    catalog
        Location of the catalog to ask; by default the one that the DataFrame came from, else that
        of the settings, else the user's.
    trust, inc_suspect_trains
        As for ``RunDirectory``.
    **question
        Without ``runs``: the filters of ``Catalog.runs``.

    Raises
    ------
    QueryError
        For filters, or a table, that mean no runs.
    RunNotFoundError
        For a run that neither the catalog nor the disk has.
    CatalogNotFoundError
        Where a catalog must be asked, and is not there.
    TypeError
        For an item that names no run, and for runs and filters together.

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

    def _keys(self, source: str, key: str) -> KeysOfRuns:
        if not self._places:
            raise ValueError("there are no runs to load from")
        what = f"{source} {key}"
        return KeysOfRuns(source, key, *self._take(lambda r: _known(r[source, key]), what, 4))

    def lacking(self, source: str, key: str) -> dict[str, str]:
        """The runs that lack a key, or cannot be opened, by name, with the reason."""
        _, errors = self._of_each(lambda run: _known(run[source, key]))
        return {name: str(error) for name, error in errors.items()}

    def ndarray(self, source: str, key: str, roi: Any = ()) -> Any:
        """Read a key of all runs into one numpy array, run after run; see ``xarray``."""
        return to_array(self._keys(source, key), roi)

    def xarray(
        self,
        source: str,
        key: str,
        extra_dims: Sequence[str] | None = None,
        roi: Any = (),
        name: str | None = None,
    ) -> "xr.DataArray":
        """Read a key of all runs into one labelled array, run after run.

        ``extra_dims``, ``roi`` and ``name`` are as for ``KeyData.xarray``.

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
        keys = self._keys(source, key)
        return label_array(keys, to_array(keys, roi), extra_dims, name)

    def dask_array(self, source: str, key: str, labelled: bool = False) -> Any:
        """A dask array of a key of all runs, read when it is computed.

        A DataArray around it, labelled as that of ``xarray``, if ``labelled``.
        """
        keys = self._keys(source, key)
        data = to_dask(keys)
        return label_array(keys, data) if labelled else data

    def series(self, source: str, key: str) -> "pd.Series[Any]":
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
        if not frames:
            return pd.DataFrame()
        levels = _as_levels(_labels(frames))
        keys: list[Any] = list(zip(*levels.values(), strict=True))
        keys = [key[0] for key in keys] if len(levels) == 1 else keys
        frame = pd.concat(list(frames.values()), keys=keys, names=[*levels, "trainId"])
        if lacking:
            frame.attrs["runs_lacking"] = list(lacking)
        return frame


def _known(key: "KeyData") -> "KeyData":
    """The key; an error if the files of its run do not have it."""
    _ = key.record
    return key


def _is_meant(place: RunPlace, item: object) -> bool:
    """Whether a name, a path, or numbers are those of a run."""
    if isinstance(item, tuple):
        i = place.identity
        return len(item) > 1 and (i.proposal, i.run, i.data_class)[: len(item)] == item
    return isinstance(item, str | os.PathLike) and os.fspath(item) in (place.name, place.path)
