"""What can be asked of a run, a file, or several of them joined?

``DataCollection`` is a frozen value: the sources and where they lie (``inventory``), the selected
trains, aliases, and where open files are kept. Selecting gives a new one. Its public methods are
those of the documented reading API and say here what they promise; the work is done in
``selection``, ``trains``, ``rows``, ``runinfo``, ``convert``, ``iterate`` and others.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..catalog.model.errors import SourceNameError
from ..catalog.model.facts import DataFile, RunFacts
from ..catalog.model.names import parse_module
from .read.files import OpenFiles
from .select import runinfo
from .select.aliases import AliasIndexer, load_definitions, merge_aliases, select_aliased
from .select.selection import (
    Chosen,
    expand_selection,
    narrow,
    remove,
    trains_with_all,
    trains_with_any,
)
from .select.sources import Inventory, SourceEntry, join_inventories, take_inventory
from .select.trains import TrainSet, Value, by_id, select_trains, split_trains

if TYPE_CHECKING:
    import pandas as pd

    from .auxiliary import AuxiliarySources
    from .keydata import KeyData
    from .sourcedata import SourceData

__all__ = ["DataCollection"]

AliasTarget = str | tuple[str, str]
_LEGACY = "{} is a legacy name for {}. Access via this name will be removed for future data."


@dataclass(frozen=True, eq=False, repr=False)
class DataCollection(Value):
    """Data from one or several runs: sources, each with keys, over trains.

    Get it from ``RunDirectory``, ``open_run`` or ``H5File``; or, from facts about a run, from
    ``DataCollection.from_facts(facts, inc_suspect_trains=True, files=None,
    allow_duplicates=False, is_single_run=None)``.

    Use it as ``run[source]``, ``run[source, key]`` and ``run[trains]``; ``source in run``;
    ``run_1 | run_2``; and in a ``with`` block, which closes the files at its end.
    """

    _inventory: Inventory
    _trains: TrainSet
    _files: OpenFiles
    inc_suspect_trains: bool = True
    _aliases: Mapping[str, AliasTarget] = field(default_factory=dict)
    _single_run: bool | None = None

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

        Parameters
        ----------
        facts
            From the catalog or from scanned files; they tell all but array data.
        inc_suspect_trains
            False leaves out trains whose ID is suspect.
        files
            Where open files are kept; by default a new place, shared by all selections.
        allow_duplicates
            Whether a source may have a train in two files; if so, its data are given twice.
        is_single_run
            Whether questions about *the* run have an answer; None finds out.

        Raises
        ------
        DuplicateTrainError
            A source has the same train in two files, and ``allow_duplicates`` is not set.
        """
        inventory = take_inventory(
            facts, inc_suspect_trains=inc_suspect_trains, allow_duplicates=allow_duplicates
        )
        return cls(
            inventory,
            inventory.trains,
            OpenFiles() if files is None else files,
            inc_suspect_trains,
            _single_run=is_single_run,
        )

    # -- what is there ---------------------------------------------------------------------------

    @property
    def train_ids(self) -> list[int]:
        """The selected trains in increasing order."""
        return self._trains.to_list()

    @cached_property
    def control_sources(self) -> frozenset[str]:
        """Names of the control sources, whose data come once per train."""
        return self._in_section("CONTROL")

    @cached_property
    def instrument_sources(self) -> frozenset[str]:
        """Names of the instrument sources, legacy names among them."""
        return self._in_section("INSTRUMENT")

    def _in_section(self, section: str) -> frozenset[str]:
        return frozenset(n for n, e in self._inventory.sources.items() if e.section == section)

    @cached_property
    def all_sources(self) -> frozenset[str]:
        """Names of control and instrument sources."""
        return frozenset(self._inventory.sources)

    @property
    def legacy_sources(self) -> dict[str, str]:
        """New names by legacy name."""
        return {n: e.real_name for n, e in self._inventory.sources.items() if e.is_legacy}

    @property
    def detector_sources(self) -> set[str]:
        """Names of instrument sources that are modules of a big detector."""
        return {
            n
            for n, entry in self._inventory.sources.items()
            if (module := parse_module(n)) and module.is_channel and not entry.is_legacy
        }

    @property
    def files(self) -> list[DataFile]:
        """The data files with selected trains."""
        return [r.data_file for r in self._inventory.refs if r.trains.overlaps(self._trains)]

    @cached_property
    def is_single_run(self) -> bool:
        """Whether all files are of one run, so that questions about the run have one answer."""
        if self._single_run is not None:
            return self._single_run
        return runinfo.is_single_run(self._inventory.refs)

    @property
    def selection(self) -> dict[str, set[str] | None]:
        """Selected keys by source; None where all are."""
        return {n: None if k is None else set(k) for n, k in self.selected_keys().items()}

    def selected_keys(self) -> Chosen:
        """The collection as a selection: what ``select`` takes this object for."""
        return {name: entry.keys for name, entry in self._inventory.sources.items()}

    def keys_for_source(self, source: str) -> set[str]:
        """Names of the selected keys of a source, as its first file has them.

        Raises
        ------
        SourceNameError
            There is no such source.
        """
        return self._source(source).keys()

    @overload
    def __getitem__(self, item: str) -> "SourceData": ...
    @overload
    def __getitem__(self, item: tuple[str, str]) -> "KeyData": ...
    @overload
    def __getitem__(self, item: Any) -> "DataCollection": ...
    def __getitem__(self, item: Any) -> "SourceData | KeyData | DataCollection":
        """``run[source]``, ``run[source, key]`` or ``run[trains]``."""
        if isinstance(item, str):
            return self._source(item)
        if isinstance(item, tuple):
            if len(item) == 2 and all(isinstance(part, str) for part in item):
                return self._source(item[0])._key(item[1])
            raise TypeError("expected run[source], run[source, key] or run[trains]")
        return self.select_trains(item)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, tuple) and len(item) == 2:
            source, key = item
            return source in self._inventory.sources and key in self._source(source, warn=False)
        return isinstance(item, str) and item in self._inventory.sources

    __iter__ = None  # no implicit iteration by position

    def _source(self, name: str, *, warn: bool = True) -> "SourceData":
        from .sourcedata import SourceData

        entry = self._inventory.sources.get(name)
        if entry is None:
            raise SourceNameError(name, self._inventory.sources)
        if warn and entry.is_legacy:
            warnings.warn(_LEGACY.format(name, entry.real_name), DeprecationWarning, stacklevel=3)
        return SourceData(entry, self._trains, self._files)

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self.all_sources)

    @property
    def auxiliary(self) -> "AuxiliarySources":
        """Sources of the auxiliary sections REDUCTION and ERRATA."""
        from .auxiliary import AuxiliarySources

        return AuxiliarySources.of_files(self._inventory.refs, self._trains, self._files)

    def __repr__(self) -> str:
        return (
            f"<xfelcat.DataCollection for {len(self.all_sources)} sources"
            f" and {len(self._trains)} trains>"
        )

    def _repr_html_(self) -> str:
        from .show import display

        return display.collection_html(self)

    def __enter__(self) -> "DataCollection":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open data files; they are opened again when data are read."""
        self._files.close()

    # -- about the run ---------------------------------------------------------------------------

    def run_metadata(self) -> dict[str, Any]:
        """METADATA of the run, from the file with the lowest aggregator and sequence.

        Raises
        ------
        MultiRunError
            The data come from several runs.
        """
        refs = [r for r in self._inventory.refs if r.trains.overlaps(self._trains)]
        return runinfo.run_metadata(refs or self._inventory.refs)

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
        times = runinfo.collect_timestamps(self._inventory.refs, self._trains)
        if labelled:
            return runinfo.label_timestamps(times, self._trains, euxfel_local_time)
        return runinfo.list_datetimes(times, euxfel_local_time) if pydatetime else times

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

        Raises
        ------
        SourceNameError
            There is no such source.
        MultiRunError
            The source is there from several runs.
        ValueError
            It is no control source.
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
            self,
            details_for_sources,
            counts=counts,
            group_sources=group_sources,
            with_aggregators=with_aggregators,
            with_auxiliary=with_auxiliary,
        )
        sys.stdout.write(text + "\n")

    def train_info(self, train_id: int) -> None:
        """Show which sources have data for one train."""
        found = self.select_trains(by_id[[train_id]])
        names = sorted(n for n in found.all_sources if found._source(n, warn=False).has_data)
        lines = (f"  {'C' if n in self.control_sources else 'I'}  {n}" for n in names)
        head = f"Train {train_id}: data from {len(names)} of {len(self.all_sources)} sources"
        sys.stdout.write("\n".join((head, *lines)) + "\n")

    def detector_info(self, source: str) -> dict[str, Any]:
        """Of a detector module: pixel ``dims``, ``frames_per_train``, ``total_frames``."""
        data = self._source(source)._key("image.data")
        counts = np.asarray(data.data_counts(labelled=False))
        per_train = round(counts[counts > 0].mean()) if counts.any() else 0
        return {
            "dims": data.entry_shape[-2:],
            "frames_per_train": per_train,
            "total_frames": per_train * len(self._trains),
        }

    def plot_missing_data(self, min_saved_pct: float = 95, expand_instrument: bool = False) -> Any:
        """Plot the sources that lack data in some trains.

        Parameters
        ----------
        min_saved_pct
            Show only sources that have data in less than this percentage of the trains.
        expand_instrument
            Show the index groups of instrument sources one by one.

        Returns
        -------
        matplotlib.axes.Axes
            With one bar per source, the one with the least data at the top.
        """
        from .show import plot

        return plot.plot_missing_data(self, min_saved_pct, expand_instrument)

    # -- data by source and key ------------------------------------------------------------------

    def get_data_counts(self, source: str, key: str) -> "pd.Series[int]":
        """Number of entries in each train, as a pandas Series labelled with train IDs."""
        return self._source(source)._key(key).data_counts()  # type: ignore[return-value]

    def get_dtype(self, source: str, key: str) -> np.dtype[Any]:
        """Type of the data of a key."""
        return self._source(source)._key(key).dtype

    def get_entry_shape(self, source: str, key: str) -> tuple[int, ...]:
        """Shape of one entry of a key."""
        return self._source(source)._key(key).entry_shape

    def get_array(
        self,
        source: str,
        key: str,
        extra_dims: list[str] | None = None,
        roi: Any = (),
        name: str | None = None,
    ) -> Any:
        """Read a key as a labelled array; see ``KeyData.xarray``."""
        return self._source(source)._key(key).xarray(extra_dims, roi, name)

    def get_dask_array(self, source: str, key: str, labelled: bool = False) -> Any:
        """A dask array of a key; see ``KeyData.dask_array``."""
        return self._source(source)._key(key).dask_array(labelled)

    def get_series(self, source: str, key: str) -> "pd.Series[Any]":
        """Read a 1D key as a pandas Series; see ``KeyData.series``."""
        return self._source(source)._key(key).series()

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

        return convert.to_dataframe(self, fields, timestamps)

    def get_virtual_dataset(self, source: str, key: str, filename: Any = None) -> Any:
        """An h5py virtual dataset that shows the data of a key in all files as one.

        Parameters
        ----------
        source, key
            Which key.
        filename
            The file to write it to, replacing one that is there; by default a temporary one,
            which is the caller's to delete.

        Returns
        -------
        h5py.Dataset
            Open for reading; ``.file.close()`` closes its file.

        Raises
        ------
        TargetFileError
            The file is one that the data come from.
        """
        from .output import write

        return write.virtual_dataset(self._source(source)._key(key), filename)

    # -- data by train ---------------------------------------------------------------------------

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
            chosen = chosen._with_trains(trains_with_all(chosen._inventory.sources, chosen._trains))
        return iterate.collection_trains(chosen, flat_keys=flat_keys, keep_dims=keep_dims)

    def train_from_id(
        self,
        train_id: int,
        devices: Any = None,
        *,
        flat_keys: bool = False,
        keep_dims: bool = False,
    ) -> tuple[int, dict[Any, Any]]:
        """(Train ID, data) of one train; the parameters are those of ``trains``.

        Raises
        ------
        TrainIDError
            The train is not among the selected ones.
        """
        from .output import iterate

        chosen = self if devices is None else self.select(devices)
        return iterate.collection_train(chosen, train_id, flat_keys=flat_keys, keep_dims=keep_dims)

    def train_from_index(
        self,
        train_index: int,
        devices: Any = None,
        *,
        flat_keys: bool = False,
        keep_dims: bool = False,
    ) -> tuple[int, dict[Any, Any]]:
        """(Train ID, data) of the train at a position; see ``train_from_id``."""
        from .output import iterate

        train_id = iterate.train_at(self._trains, train_index)
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
            A glob for source names and one for keys; an iterable of source globs or (source glob,
            key glob) pairs; a dict of source names to sets of keys (empty: all keys), without
            globs; or another collection, source or key, for what it holds.
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
        return self._select(
            expand_selection(self._inventory.sources, seln_or_source_glob, key_glob),
            require_all,
            require_any,
            warn_drop_trains_frac,
        )

    def _select(
        self, chosen: Chosen, require_all: bool, require_any: bool, frac: float
    ) -> "DataCollection":
        sources = narrow(self._inventory.sources, chosen)
        trains = self._trains
        if require_all:
            trains = trains_with_all(sources, trains, frac)
        elif require_any:
            trains = trains_with_any(sources, trains)
        return self._with_sources(sources)._with_trains(trains)

    def deselect(self, seln_or_source_glob: Any, key_glob: str = "*") -> "DataCollection":
        """Everything but some sources and keys, given as for ``select``."""
        sources = self._inventory.sources
        chosen = expand_selection(sources, seln_or_source_glob, key_glob)
        return self._with_sources(remove(sources, chosen))

    def select_trains(self, train_range: Any) -> "DataCollection":
        """Some of the trains.

        Parameters
        ----------
        train_range
            Positions (``np.s_[:5]``, an integer, a list or array of integers or booleans,
            ``by_index[...]``), train IDs (``by_id[a:b]``, ``by_id[[a, b]]``), or a boolean pandas
            Series or xarray DataArray labelled with train IDs.

        Raises
        ------
        ValueError
            None of the train IDs asked for is there; the message names both ranges.
        """
        return self._with_trains(select_trains(self._trains, train_range))

    def split_trains(
        self, parts: int | None = None, trains_per_part: int | None = None
    ) -> Iterator["DataCollection"]:
        """The data in parts with a similar number of trains.

        Parameters
        ----------
        parts
            How many parts; at least so many if ``trains_per_part`` is given too.
        trains_per_part
            How many trains a part has at most.
        """
        for part in split_trains(self._trains, parts, trains_per_part):
            yield self._with_trains(part)

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
        return replace(
            self,
            _inventory=join_inventories([(p._inventory, p._trains) for p in parts]),
            _trains=TrainSet.union_of(p._trains for p in parts),
            inc_suspect_trains=any(p.inc_suspect_trains for p in parts),
            _aliases=merge_aliases(*(p._aliases for p in parts)),
            _single_run=None,
        )

    def __or__(self, other: "DataCollection") -> "DataCollection":
        return self.union(other) if isinstance(other, DataCollection) else NotImplemented

    def _with_trains(self, trains: TrainSet) -> "DataCollection":
        return self if trains is self._trains else replace(self, _trains=trains)

    def _with_sources(self, sources: Mapping[str, SourceEntry]) -> "DataCollection":
        return replace(self, _inventory=self._inventory.with_sources(sources))

    # -- aliases ---------------------------------------------------------------------------------

    @property
    def alias(self) -> AliasIndexer:
        """Access by alias: ``run.alias["xgm"]``."""
        return AliasIndexer(self)

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
        return replace(self, _aliases=merge_aliases(self._aliases, loaded))

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
        return select_aliased(named, strict=strict, require_all=require_all)

    def drop_aliases(self) -> "DataCollection":
        """The same data without aliases."""
        return replace(self, _aliases={})

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

        write.write_file(self, filename)

    def write_virtual(self, filename: Any) -> None:
        """Write an EXDF file of virtual datasets that refer to the selected data.

        It is small, and of use where the files of this data can be reached. The parameter and the
        errors are those of ``write``.
        """
        from .output import write

        write.write_virtual_file(self, filename)
