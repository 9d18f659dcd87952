"""Documented API of a run, a file, or several of them joined.

``DataCollection`` is a frozen value around ``SelectedData`` (the sources, where they lie, the
selected trains, the cache of open files), with aliases. Selecting gives a new one. Its methods say
here what they promise; ``select``, ``read``, ``output`` and ``show`` do the work.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..catalog.model.errors import FileStructureError, warn_caller
from ..catalog.model.facts import RunFacts
from ..catalog.model.identity import identify_run
from ..catalog.model.names import parse_module
from .compat.beside import replaced
from .compat.file_access import look_up_files
from .keydata import KeyData, OverTrains, open_to_attributes
from .read.files import OpenFiles
from .read.selected import SelectedData, SelectedSource
from .select.aliases import AliasIndexer, load_definitions, merge_aliases, select_aliased
from .select.selection import (
    Selection,
    expand_selection,
    narrow,
    remove,
    trains_with_all,
    trains_with_any,
)
from .select.sources import (
    is_single_run,
    join_tables,
    label_timestamps,
    list_datetimes,
    take_sources,
)
from .select.trains import TrainSet, by_id, train_at
from .sourcedata import AuxiliarySources, SourceData

if TYPE_CHECKING:
    import pandas as pd


AliasTarget = str | tuple[str, str]
PathLike = str | os.PathLike[str]
_LEGACY = "{} is a legacy name for {}. Access via this name will be removed for future data."


@open_to_attributes
@dataclass(frozen=True, eq=False, repr=False)
class DataCollection(OverTrains):
    """Data from one or several runs: sources, each with keys, over trains.

    Get it from ``RunDirectory``, ``open_run`` or ``H5File``; or, from facts about a run, from
    ``DataCollection.from_facts(facts, inc_suspect_trains=True, files=None,
    allow_duplicates=False, is_single_run=None)``.

    Use it as ``run[source]``, ``run[source, key]`` and ``run[trains]``; ``source in run``;
    ``run_1 | run_2``; and in a ``with`` block, which closes the files at its end.
    """

    selected: SelectedData
    inc_suspect_trains: bool = True
    _aliases: Mapping[str, AliasTarget] = field(default_factory=dict)
    _single_run: bool | None = None
    _alias_files: list[PathLike] = field(default_factory=list)

    @classmethod
    def from_facts(
        cls,
        facts: RunFacts,
        *,
        inc_suspect_trains: bool = True,
        files: OpenFiles | None = None,
        allow_duplicates: bool = False,
        is_single_run: bool | None = None,
    ) -> "DataCollection":
        """Everything that the facts of a run know.

        ``files`` is where open files are kept, by default a new place that all selections share;
        ``is_single_run`` whether questions about *the* run have an answer, None to find out. The
        rest, and the errors, are as for ``RunDirectory``.
        """
        table = take_sources(
            facts, inc_suspect_trains=inc_suspect_trains, allow_duplicates=allow_duplicates
        )
        files = OpenFiles() if files is None else files
        selected = SelectedData(table, table.trains, files)
        return cls(selected, inc_suspect_trains, _single_run=is_single_run)

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[PathLike],
        *,
        inc_suspect_trains: bool = True,
        is_single_run: bool | None = None,
        parallelize: bool = True,
        catalog: PathLike | None = None,
        trust: str | None = None,
    ) -> "DataCollection":
        """Open some data files, of one run or several, as one collection.

        Parameters
        ----------
        paths
            The files. They may lie anywhere.
        is_single_run
            Whether questions about *the* run have an answer; None finds out.
        inc_suspect_trains, parallelize, catalog, trust
            As for ``RunDirectory``.

        Raises
        ------
        RunNotFoundError, FileStructureError
            A file is absent; or none of a directory's is a usable EXDF file.
        ValueError
            No path is given.
        DuplicateTrainError
            A source has the same train in two files.
        """
        named: dict[str, list[str]] = {}
        for path in paths:
            directory, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
            named.setdefault(directory, []).append(name)
        if not named:
            raise ValueError("no paths: give at least one data file")
        parts: list[DataCollection] = []
        for at, (directory, names) in enumerate(named.items(), 1):
            try:
                facts = look_up_files(directory, names, catalog, trust, parallelize)
            except FileStructureError as error:
                if at == len(named) and not parts:
                    raise
                warn_caller(f"left out: {error}")
                continue
            parts.append(cls.from_facts(facts, inc_suspect_trains=inc_suspect_trains))
        return replaced(parts[0].union(*parts[1:]), _single_run=is_single_run)

    @classmethod
    def from_path(cls, path: PathLike, *, inc_suspect_trains: bool = True) -> "DataCollection":
        """Open a single data file; as ``H5File``."""
        return cls.from_paths([path], inc_suspect_trains=inc_suspect_trains, is_single_run=True)

    # -- what is there ---------------------------------------------------------------------------

    @cached_property
    def control_sources(self) -> frozenset[str]:
        """Names of the control sources, whose data come once per train."""
        return frozenset(self.selected.names("CONTROL"))

    @cached_property
    def instrument_sources(self) -> frozenset[str]:
        """Names of the instrument sources, legacy names among them."""
        return frozenset(self.selected.names("INSTRUMENT"))

    @cached_property
    def all_sources(self) -> frozenset[str]:
        """Names of control and instrument sources."""
        return frozenset(self.selected.sources)

    @property
    def legacy_sources(self) -> dict[str, str]:
        """New names by legacy name."""
        return self.selected.legacy

    @property
    def detector_sources(self) -> set[str]:
        """Names of instrument sources that are modules of a big detector."""
        named = ((name, parse_module(name)) for name in self.selected.current_names)
        return {name for name, module in named if module and module.is_channel}

    @cached_property
    def is_single_run(self) -> bool:
        """Whether all files are of one run, so that questions about the run have one answer."""
        if self._single_run is not None:
            return self._single_run
        return is_single_run(self.selected.table.refs)

    @property
    def selection(self) -> dict[str, set[str] | None]:
        """Selected keys by source; None where all are."""
        return {n: None if k is None else set(k) for n, k in self.selected_keys().items()}

    def selected_keys(self) -> Selection:
        """The collection as a selection: what ``select`` takes this object for."""
        return {name: entry.keys for name, entry in self.selected.sources.items()}

    def keys_for_source(self, source: str) -> set[str]:
        """Names of the selected keys of a source, as its first file has them.

        Raises SourceNameError where there is no such source.
        """
        return self._source(source).keys()

    @overload
    def __getitem__(self, item: str) -> SourceData: ...
    @overload
    def __getitem__(self, item: tuple[str, str]) -> KeyData: ...
    @overload
    def __getitem__(self, item: Any) -> "DataCollection": ...
    def __getitem__(self, item: Any) -> "SourceData | KeyData | DataCollection":
        """``run[source]``, ``run[source, key]`` or ``run[trains]``."""
        if isinstance(item, str):
            return self._source(item)
        if isinstance(item, tuple):
            if len(item) == 2 and all(isinstance(part, str) for part in item):
                return self._key(*item)
            raise TypeError("expected run[source], run[source, key] or run[trains]")
        return self.select_trains(item)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, tuple) and len(item) == 2:
            source, key = item
            return source in self.selected.sources and key in self.selected.source(source)
        return isinstance(item, str) and item in self.selected.sources

    def _source(self, name: str) -> SourceData:
        current = self._current(name)  # warns of a legacy name each time
        return self._made.setdefault(name, SourceData(current))

    @cached_property
    def _made(self) -> dict[str, SourceData]:
        return {}  # the same object each time, with what users set on it

    def _key(self, source: str, key: str) -> KeyData:
        return KeyData(self._current(source).key(key))

    def _current(self, name: str) -> SelectedSource:
        """A source, with a warning that points to the user's line if the name is a legacy one."""
        source = self.selected.source(name)
        if source.entry.is_legacy:
            message = _LEGACY.format(name, source.entry.real_name)
            warn_caller(message, DeprecationWarning)
        return source

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self.all_sources)

    @property
    def auxiliary(self) -> AuxiliarySources:
        """Sources of the auxiliary sections REDUCTION and ERRATA."""
        return AuxiliarySources.of_files(
            self.selected.table.refs, self.selected.trains, self.selected.files
        )

    def __repr__(self) -> str:
        proposal, run = self.proposal, self.run
        names = ["" if proposal is None else f"p{proposal:06d}", self.data_class]
        names.append("" if run is None else f"r{run:04d}")
        which = " ".join(["xfelcat.DataCollection", *filter(None, names)])
        n_trains = len(self.selected.trains)
        return f"<{which} for {len(self.all_sources)} sources and {n_trains} trains>"

    @property
    def path(self) -> str | None:
        """The directory that the data come from; None where they come from several."""
        found = {ref.facts.directory for ref in self.selected.table.refs}
        return found.pop() if len(found) == 1 else None

    @property
    def proposal(self) -> int | None:
        """The proposal, by the path; None where it tells none, or data come from several."""
        found: int | None = self._common("proposal")
        return found

    @property
    def run(self) -> int | None:
        """The number of the run; None as for ``proposal``."""
        found: int | None = self._common("run")
        return found

    @property
    def data_class(self) -> str | None:
        """``raw``, ``proc``, ``red``...; None as for ``proposal``."""
        found: str | None = self._common("data_class")
        return found

    def _common(self, name: str) -> Any:
        """What the paths of all files tell alike; None where they tell nothing, or differ."""
        folders = {ref.facts.directory for ref in self.selected.table.refs}
        found = [identify_run(folder, os.path.realpath(folder)) for folder in folders]
        values = {None if run.is_loose else getattr(run, name) for run in found}
        return values.pop() if len(values) == 1 else None

    def _repr_html_(self) -> str:
        from .show import display

        return display.collection_html(self.selected)

    def __enter__(self) -> "DataCollection":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open data files; they are opened again when data are read."""
        self.selected.files.close()

    # -- about the run ---------------------------------------------------------------------------

    def run_metadata(self) -> dict[str, Any]:
        """METADATA of the run, from the file with the lowest aggregator and sequence.

        Raises
        ------
        MultiRunError
            The data come from several runs.
        """
        return self.selected.run_metadata()

    def train_timestamps(
        self, labelled: bool = False, *, pydatetime: bool = False, euxfel_local_time: bool = False
    ) -> Any:
        """Time of each train in UTC; NaT where the files have none.

        Parameters
        ----------
        labelled
            Give a pandas Series labelled with train IDs instead of a datetime64 array.
        pydatetime
            Give a list of datetime objects, truncated to microseconds; None where there is none.
        euxfel_local_time
            With either of these, in the time zone of the facility.
        """
        if euxfel_local_time and not (labelled or pydatetime):
            raise ValueError("euxfel_local_time needs labelled or pydatetime: arrays have no zone")
        times = self.selected.timestamps()
        if labelled:
            return label_timestamps(times, self.selected.trains, euxfel_local_time)
        return list_datetimes(times, euxfel_local_time) if pydatetime else times

    def get_run_value(self, source: str, key: str) -> Any:
        """One value of RUN: the state of a control source at the start of the run.

        ``key`` may be given without ``.value``.

        Raises
        ------
        SourceNameError, PropertyNameError
            There is no such source, or RUN has no such key for it.
        MultiRunError
            The source is there from several runs.
        ValueError
            It is no control source.
        """
        return self._source(source).run_value(key)

    def get_run_values(self, source: str) -> dict[str, Any]:
        """All values of RUN of a control source, by key as in the files.

        The errors are those of ``get_run_value``.
        """
        return self._source(source).run_values()

    def info(
        self,
        details_for_sources: str | Iterable[str] = (),
        *,
        counts: bool = False,
        group_sources: bool = True,
        with_aggregators: bool = False,
        with_auxiliary: bool = False,
    ) -> None:
        """Show what is selected.

        Parameters
        ----------
        details_for_sources
            Glob, or several, for the sources to list with all their keys.
        counts
            Say of each instrument source in how many trains it has data.
        group_sources
            Put sources whose names differ in one part on one line.
        with_aggregators
            Name the aggregator of each source.
        with_auxiliary
            List the auxiliary sources too.
        """
        from .show import display

        text = display.collection_info(
            self.selected,
            details_for_sources,
            counts=counts,
            group_sources=group_sources,
            with_aggregators=with_aggregators,
            auxiliary=self.auxiliary.selected if with_auxiliary else None,
        )
        sys.stdout.write(text + "\n")

    def train_info(self, train_id: int) -> None:
        """Show which sources have data for one train."""
        found = self.select_trains(by_id[[train_id]])
        names = sorted(n for n in found.all_sources if found.selected.source(n).has_data)
        lines = (f"  {'C' if n in self.control_sources else 'I'}  {n}" for n in names)
        head = f"Train {train_id}: data from {len(names)} of {len(self.all_sources)} sources"
        sys.stdout.write("\n".join((head, *lines)) + "\n")

    def detector_info(self, source: str) -> dict[str, Any]:
        """Of a detector module: pixel ``dims``, ``frames_per_train``, ``total_frames``."""
        data = self._key(source, "image.data")
        counts = np.asarray(data.data_counts(labelled=False))
        per_train = round(counts[counts > 0].mean()) if counts.any() else 0
        return {
            "dims": data.entry_shape[-2:],
            "frames_per_train": per_train,
            "total_frames": per_train * len(self.selected.trains),
        }

    def plot(self) -> Any:
        """Plot for which trains there are data: all sources, those alike in one row.

        Returns
        -------
        matplotlib.axes.Axes
            With a bar for each detector, source, or group of sources with the same trains.
        """
        from .show import trains_plot

        return trains_plot.plot_overview(self.selected)

    def plot_missing_data(
        self, min_saved_pct: float = 95, expand_instrument: bool | None = None
    ) -> Any:
        """Plot the sources that lack data in some trains.

        Parameters
        ----------
        min_saved_pct
            Show only sources that have data in less than this percentage of the trains.
        expand_instrument
            Show the index groups of instrument sources one by one; None does where they have data
            for different trains. With False a train counts if any group has data.

        Returns
        -------
        matplotlib.axes.Axes
            With one bar per source, the one with the least data at the top.
        """
        from .show import trains_plot

        return trains_plot.plot_missing_data(self.selected, min_saved_pct, expand_instrument)

    # -- data by source and key ------------------------------------------------------------------

    def get_data_counts(self, source: str, key: str) -> "pd.Series[int]":
        """Number of entries in each train, as a pandas Series labelled with train IDs."""
        return self._key(source, key).data_counts()  # type: ignore[return-value]

    def get_dtype(self, source: str, key: str) -> np.dtype[Any]:
        """Type of the data of a key."""
        return self._key(source, key).dtype

    def get_entry_shape(self, source: str, key: str) -> tuple[int, ...]:
        """Shape of one entry of a key."""
        return self._key(source, key).entry_shape

    def get_array(
        self,
        source: str,
        key: str,
        extra_dims: list[str] | None = None,
        roi: Any = (),
        name: str | None = None,
    ) -> Any:
        """Read a key as a labelled array; see ``KeyData.xarray``."""
        return self._key(source, key).xarray(extra_dims, roi, name)

    def get_dask_array(self, source: str, key: str, labelled: bool = False) -> Any:
        """A dask array of a key; see ``KeyData.dask_array``."""
        return self._key(source, key).dask_array(labelled)

    def get_series(self, source: str, key: str) -> "pd.Series[Any]":
        """Read a 1D key as a pandas Series; see ``KeyData.series``."""
        return self._key(source, key).series()

    def get_dataframe(self, fields: Any = None, *, timestamps: bool = False) -> "pd.DataFrame":
        """Read 1D keys as the columns of a pandas DataFrame.

        Parameters
        ----------
        fields
            What to select, as for ``select``; by default all that is selected.
        timestamps
            Whether to include the timestamps that go with each control value.

        Returns
        -------
        pandas.DataFrame
            A row for each train with data in any column, labelled with train IDs; NaN where a
            column has none.

        Raises
        ------
        TypeError
            A selected key has more than one dimension.
        """
        from .output import convert

        chosen = self if fields is None else self.select(fields)
        return convert.to_dataframe(chosen.selected, timestamps)

    def get_virtual_dataset(self, source: str, key: str, filename: Any = None) -> Any:
        """An h5py virtual dataset that shows the data of a key in all files as one.

        Parameters
        ----------
        filename
            The file to write it to, replacing one that is there; by default a temporary one,
            which is the caller's to delete.

        Returns
        -------
        h5py.Dataset
            Open for reading; ``.file.close()`` closes its file. The errors are those of ``write``.
        """
        from .output import write

        return write.virtual_dataset(self._key(source, key).selected, filename)

    # -- data by train ---------------------------------------------------------------------------

    def _pasha_functor_(self) -> Any:
        """What ``pasha.map`` goes over: position, train ID and data of each train."""
        from .compat.functions import MappedTrains

        return MappedTrains(self, lambda part: part.trains())

    def trains(
        self,
        devices: Any = None,
        train_range: Any = None,
        *,
        require_all: bool = False,
        flat_keys: bool = False,
        keep_dims: bool = False,
    ) -> Iterator[tuple[int, dict[Any, Any]]]:
        """Iterate over trains, with the data of all selected sources and keys for each.

        Parameters
        ----------
        devices
            Sources and keys to take, as for ``select``.
        train_range
            Trains to take, as for ``select_trains``.
        require_all
            Skip trains that lack data for any selected key.
        flat_keys
            Give a dict by (source, key) instead of nested ones.
        keep_dims
            Keep the first dimension where a train has a single entry.

        Yields
        ------
        train_id : int
        data : dict
            ``data[source][key]``; only what has data. ``data[source]["metadata"]`` names source
            and train.
        """
        from .output import iterate

        chosen = self if devices is None else self.select(devices)
        if train_range is not None:
            chosen = chosen.select_trains(train_range)
        if require_all:
            selected = chosen.selected
            trains = trains_with_all(selected.sources, selected.trains)
            chosen = replaced(chosen, selected=selected.with_trains(trains))
        return iterate.collection_trains(chosen.selected, flat_keys=flat_keys, keep_dims=keep_dims)

    def train_from_id(
        self,
        train_id: int,
        devices: Any = None,
        *,
        flat_keys: bool = False,
        keep_dims: bool = False,
    ) -> tuple[int, dict[Any, Any]]:
        """(Train ID, data) of one train; the parameters are those of ``trains``.

        Raises TrainIDError for a train that is not among the selected ones.
        """
        from .output import iterate

        chosen = self if devices is None else self.select(devices)
        return iterate.collection_train(
            chosen.selected, train_id, flat_keys=flat_keys, keep_dims=keep_dims
        )

    def train_from_index(
        self,
        train_index: int,
        devices: Any = None,
        *,
        flat_keys: bool = False,
        keep_dims: bool = False,
    ) -> tuple[int, dict[Any, Any]]:
        """(Train ID, data) of the train at a position; see ``train_from_id``."""
        train_id = train_at(self.selected.trains, train_index)
        return self.train_from_id(train_id, devices, flat_keys=flat_keys, keep_dims=keep_dims)

    # -- selecting and joining -------------------------------------------------------------------

    def select(
        self,
        seln_or_source_glob: Any,
        key_glob: str = "*",
        require_all: bool = False,
        require_any: bool = False,
        *,
        warn_drop_trains_frac: float = 1.0,
    ) -> "DataCollection":
        """Some of the sources and keys.

        Parameters
        ----------
        seln_or_source_glob, key_glob
            A glob for source names and one for keys; a dict of source names to sets of keys (empty
            or None: all keys), without globs; another collection, source or key, for what it holds;
            or an iterable of source globs, (source glob, key glob) pairs, sources and keys.
        require_all, require_any
            Keep only trains that have data for all, or for any, of the selected keys.
        warn_drop_trains_frac
            With ``require_all``, warn if one source drops this share of the trains (0 to 1).

        Raises
        ------
        ValueError
            A glob matches nothing.
        SourceNameError, PropertyNameError
            A name in a dict does not exist.
        """
        everything, trains = self.selected.sources, self.selected.trains
        sources = narrow(everything, expand_selection(everything, seln_or_source_glob, key_glob))
        if require_all:
            trains = trains_with_all(sources, trains, warn_drop_trains_frac)
        elif require_any:
            trains = trains_with_any(sources, trains)
        return replaced(self, selected=self.selected.with_sources(sources).with_trains(trains))

    def deselect(self, seln_or_source_glob: Any, key_glob: str = "*") -> "DataCollection":
        """Everything but some sources and keys, given as for ``select``."""
        everything = self.selected.sources
        sources = remove(everything, expand_selection(everything, seln_or_source_glob, key_glob))
        return replaced(self, selected=self.selected.with_sources(sources))

    def select_trains(self, train_range: Any) -> "DataCollection":
        """Some of the trains.

        Parameters
        ----------
        train_range
            Positions (``np.s_[:5]``, an integer, a list or array of integers or booleans,
            ``by_index[...]``), train IDs (``by_id[a:b]``, ``by_id[[a, b]]``), or a boolean pandas
            Series or xarray DataArray labelled with train IDs. A selection is a set: its order and
            repetitions do not matter.

        Raises
        ------
        ValueError
            None of the train IDs asked for is there; the message names both ranges. Or there are
            not as many booleans as trains.
        IndexError
            A position that is not there.
        TypeError
            Anything else.
        """
        return super().select_trains(train_range)

    def with_train_offset(self, source: str, offset: int) -> "DataCollection":
        """The same data, those of one source taken for trains whose IDs are larger by ``offset``.

        A device that records each train one train late is put right by ``-1``. Selections, data by
        train, tables and counts go by the new IDs; times of trains stay those of the other sources.

        Raises
        ------
        SourceNameError
            There is no such source.
        """
        shifted = self.selected.source(source).entry.shifted(offset)
        sources = {**self.selected.sources, source: shifted}
        return replaced(self, selected=self.selected.with_sources(sources))

    def align(self, *others: Any) -> tuple[Any, ...]:
        """Several things, each for the trains for which all of them have data.

        Parameters
        ----------
        *others
            Names of sources, (source, key) pairs, ``SourceData``, ``KeyData``, detectors, or
            anything else with ``train_ids`` and ``select_trains``, whose trains have data.

        Returns
        -------
        tuple
            As many things, in their order; the trains are among those of the collection.

        Raises
        ------
        ValueError
            There is no such train.
        """
        things = [self[o] if isinstance(o, str | tuple) else o for o in others]
        having = [
            t.drop_empty_trains() if isinstance(t, KeyData | SourceData) else t for t in things
        ]
        common = self.selected.trains
        for thing in having:
            common = common & TrainSet.from_ids(np.asarray(thing.train_ids, np.uint64))
        if not len(common):
            raise ValueError("no train has data for all of them")
        ids = common.ids
        return tuple(
            thing.select_trains(np.flatnonzero(np.isin(thing.train_ids, ids))) for thing in having
        )

    def union(self, *others: "DataCollection") -> "DataCollection":
        """This data and that of others: further sources, further trains, or both.

        Aliases are joined too, unless one has different meanings.

        Raises
        ------
        DuplicateTrainError
            A source has the same train in two files.
        """
        parts = (self, *others)
        if not all(isinstance(part, DataCollection) for part in parts):
            raise TypeError("only collections can be joined")
        if not others:
            return self
        selected = [part.selected for part in parts]
        table = join_tables([(part.table, part.trains) for part in selected])
        trains = TrainSet.union_of(part.trains for part in selected)
        return replaced(
            self,
            selected=SelectedData(table, trains, self.selected.files),
            inc_suspect_trains=any(p.inc_suspect_trains for p in parts),
            _aliases=merge_aliases(*(p._aliases for p in parts)),
            _single_run=None,
            _alias_files=list(dict.fromkeys(f for p in parts for f in p._alias_files)),
        )

    def __or__(self, other: "DataCollection") -> "DataCollection":
        return self.union(other) if isinstance(other, DataCollection) else NotImplemented

    def with_files(self, files: OpenFiles) -> "DataCollection":
        """The same data, read with another cache of open files."""
        return replaced(self, selected=replace(self.selected, files=files))

    # -- aliases ---------------------------------------------------------------------------------

    @property
    def alias(self) -> "AliasIndexer[DataCollection, SourceData | KeyData]":
        """Access by alias: ``run.alias["xgm"]``."""
        return AliasIndexer(self, self._aliases, self._alias_files)

    def with_aliases(self, *alias_defs: Any) -> "DataCollection":
        """The same data with aliases for sources and keys, added to those it has.

        Parameters
        ----------
        *alias_defs
            Dicts of alias to source or (source, key), or paths of JSON, YAML or TOML files.

        Raises
        ------
        AliasError
            An alias is given two meanings.
        """
        loaded = load_definitions(*alias_defs)
        files = [path for path in alias_defs if not isinstance(path, Mapping)]
        return replaced(
            self,
            _aliases=merge_aliases(self._aliases, loaded),
            _alias_files=[*self._alias_files, *(f for f in files if f not in self._alias_files)],
        )

    def with_aliases_of(self, other: "DataCollection") -> "DataCollection":
        """The same data with the aliases of another collection in place of those it has."""
        return replaced(self, _aliases=other._aliases, _alias_files=other._alias_files)

    def only_aliases(
        self, *alias_defs: Any, strict: bool = False, require_all: bool = False
    ) -> "DataCollection":
        """Only the sources and keys that have aliases.

        Parameters
        ----------
        *alias_defs
            As for ``with_aliases``.
        strict
            Whether an alias for what is not in the data is an error; by default it is ignored.
        require_all
            Keep only trains that have data for all of them.
        """
        named = self.with_aliases(*alias_defs)
        return select_aliased(named, named._aliases, strict=strict, require_all=require_all)

    def drop_aliases(self) -> "DataCollection":
        """The same data without aliases."""
        return replaced(self, _aliases={}, _alias_files=[])

    # -- writing ---------------------------------------------------------------------------------

    def write(self, filename: Any) -> None:
        """Write the selected data to a new EXDF file, with RUN and METADATA of the run.

        Parameters
        ----------
        filename
            The file; one that is there is replaced once the new one is complete.

        Raises
        ------
        TargetFileError
            The file is one that the data come from.
        """
        from .output import write

        write.write_file(self.selected, filename)

    def write_virtual(self, filename: Any) -> None:
        """Write an EXDF file of virtual datasets that refer to the selected data.

        It is small, and of use where the files of this data can be reached. The parameter and the
        errors are those of ``write``.
        """
        from .output import write

        write.write_file(self.selected, filename, virtual=True)
