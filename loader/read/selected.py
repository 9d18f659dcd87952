"""Selected data below the documented API: of a collection, of a source, of a key.

``DataCollection``, ``SourceData`` and ``KeyData`` each hold one of these frozen values and say what
they promise; conversion, iteration, writing and display take the values, so that nothing below the
API imports it.

1. ``SelectedData``: the sources of a collection for the selected trains.
2. ``SelectedSource``: one source; its keys, index groups and counts.
3. ``SelectedKey``: one key; its rows, the plan to read them, and the reading.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import FileStructureError, SourceNameError, warn_caller
from ...catalog.model.facts import RunFacts
from ...catalog.model.names import VALUE_ENDING, is_timestamp, short_key, unit_text
from ...catalog.model.records import KeyRecord, KeySchema
from ...catalog.model.runlength import Int64s, Value
from ..select.rows import FileRef, Rows, SelectedFiles
from ..select.selection import Region, match_keys, parse_region, source_schema
from ..select.sources import (
    SourceEntry,
    SourceMap,
    SourceTable,
    collect_timestamps,
    is_single_run,
    run_metadata,
    run_values,
)
from ..select.trains import TrainSet
from .files import OpenFiles, explained
from .plan import ReadPlan, array_dtype, check_consistent


@dataclass(frozen=True, eq=False)
class SelectedData(Value):
    """The sources of a collection for the selected trains, and the cache of open files."""

    table: SourceTable
    trains: TrainSet
    files: OpenFiles

    @property
    def sources(self) -> Mapping[str, SourceEntry]:
        """The sources by name, legacy names among them."""
        return self.table.sources

    @property
    def legacy(self) -> dict[str, str]:
        """New names by legacy name."""
        return {n: e.real_name for n, e in self.sources.items() if e.is_legacy}

    def names(self, section: str) -> set[str]:
        """Names of the sources of a section, legacy names among them."""
        every = self.sources
        if isinstance(every, SourceMap):
            return {name for name, own in every.sections() if own == section}
        return {name for name, entry in every.items() if entry.section == section}

    @property
    def current_names(self) -> list[str]:
        """Names of all sources but legacy ones, sorted."""
        return sorted(n for n, e in self.sources.items() if not e.is_legacy)

    @property
    def refs(self) -> list[FileRef]:
        """The files with selected trains, ordered by run and name."""
        return [r for r in self.table.refs if r.trains.overlaps(self.trains)]

    def source(self, name: str) -> "SelectedSource":
        """One source, made once; raises SourceNameError if there is none of this name."""
        found = self._made.get(name)
        if found is None:
            if name not in self.sources:
                raise SourceNameError(name, self.sources)
            made = SelectedSource(self.sources[name], self.trains, self.files)
            found = self._made.setdefault(name, made)
        return found

    @cached_property
    def _made(self) -> "dict[str, SelectedSource]":
        return {}  # run[source, key] for many keys asks each time for files and schema of a source

    def all_keys(self, inc_timestamps: bool = True) -> Iterator["SelectedKey"]:
        """All selected keys, source by source; without the timestamps of control keys if asked."""
        for name in self.sources:
            source = self.source(name)
            for key in sorted(source.keys()):
                if inc_timestamps or not (source.is_control and is_timestamp(key)):
                    yield SelectedKey(source, key)

    def with_trains(self, trains: TrainSet) -> "SelectedData":
        """The same sources for other trains."""
        return self if trains is self.trains else replace(self, trains=trains)

    def with_sources(self, sources: Mapping[str, SourceEntry]) -> "SelectedData":
        """Other sources for the same trains."""
        return replace(self, table=self.table.with_sources(sources))

    def timestamps(self) -> NDArray[np.datetime64]:
        """Time of each train in UTC, (trains,) datetime64[ns]; NaT where the files have none."""
        return collect_timestamps(self.table.refs, self.trains)

    def run_metadata(self) -> dict[str, Any]:
        """METADATA of the run; raises MultiRunError if the data come from several."""
        return run_metadata(self.refs or self.table.refs)


@dataclass(frozen=True, eq=False)
class SelectedSource(Value):
    """A source for the selected trains, and the cache of open files."""

    entry: SourceEntry
    trains: TrainSet
    files: OpenFiles

    @property
    def is_control(self) -> bool:
        """Whether it has one entry per train."""
        return self.entry.section == "CONTROL"

    @property
    def is_run_only(self) -> bool:
        """Whether it has RUN keys only."""
        return self.is_control and not source_schema(self.entry).by_name

    @cached_property
    def _selected(self) -> SelectedFiles:
        return self.entry.files.within(self.trains)

    @property
    def refs(self) -> tuple[FileRef, ...]:
        """The files that have any of the selected trains."""
        return self._selected.refs

    @property
    def first_ref(self) -> FileRef | None:
        """The first of ``refs``, else of all files of the source; None if it has no file."""
        return next(iter(self.refs or self.entry.refs), None)

    @cached_property
    def schema(self) -> KeySchema:
        """The keys that ``first_ref`` has of it, selected or not."""
        ref = self.first_ref
        return KeySchema(()) if ref is None else self.entry.schema(ref)

    @cached_property
    def _schemas(self) -> dict[tuple[RunFacts, int], KeySchema]:
        return {}

    def schema_in(self, ref: FileRef) -> KeySchema:
        """The keys that one of its files has; kept, since each key of the source asks."""
        if ref is self.first_ref:
            return self.schema
        found = self._schemas.get(ref.key)
        if found is None:
            found = self._schemas[ref.key] = self.entry.schema(ref)
        return found

    def keys(self, inc_timestamps: bool = True) -> set[str]:
        """Names of the selected keys; see ``SourceData.keys``."""
        names = set(self.entry.key_names(self.schema))
        if inc_timestamps or not self.is_control:
            return names
        return {short_key(n) for n in names if not is_timestamp(n)}

    def __contains__(self, key: str) -> bool:
        return self.entry.resolve_key(key, self.schema) is not None

    def key(self, name: str) -> "SelectedKey":
        """One key; raises PropertyNameError if it does not exist or is not selected."""
        return SelectedKey(self, self.entry.require_key(name, self.schema).name)

    @property
    def index_groups(self) -> set[str]:
        """The index groups of the selected keys; {''} for a control source."""
        if self.is_control:
            return {""}
        ref = self.first_ref
        if self.entry.keys is None and ref is not None:
            return set(self.entry.index_groups(ref))
        by_name = self.schema.by_name
        return {by_name[name].group for name in self.entry.key_names(self.schema)}

    def groups_with_data(self, index_group: str | None = None) -> list[str]:
        """This index group, by default all; none of a source with RUN keys only."""
        if self.is_run_only:
            return []
        if index_group is None:
            return sorted(self.index_groups)
        require_group(self, index_group)
        return [index_group]

    def rows(self, index_group: str) -> Rows:
        """The rows of an index group."""
        return self._selected.rows(self.entry.section, self.entry.real_name, index_group)

    def counts(self, index_group: str | None = None) -> Int64s:
        """Entries of each train, (trains,); by default the largest count over index groups."""
        counts = np.zeros(len(self.trains), np.int64)
        for group in self.groups_with_data(index_group):
            np.maximum(counts, self.rows(group).counts, out=counts)
        return counts

    @property
    def has_data(self) -> bool:
        """Whether any of the selected trains has data."""
        return any(self.rows(group).n_rows for group in self.groups_with_data())

    def with_trains(self, trains: TrainSet) -> "SelectedSource":
        """The same source for other trains."""
        return self if trains is self.trains else replace(self, trains=trains)

    def run_values(self, inc_timestamps: bool = True) -> dict[str, Any]:
        """RUN values by key; none unless it is a control source of a single run."""
        if not (self.is_control and is_single_run(self.entry.refs)):
            return {}
        return run_values(self.entry, inc_timestamps=inc_timestamps)


@dataclass(frozen=True, eq=False)
class SelectedKey(Value):
    """A key of a source for the selected trains."""

    source: SelectedSource
    name: str

    @property
    def entry(self) -> SourceEntry:
        """Its source, with the files that hold it."""
        return self.source.entry

    @property
    def trains(self) -> TrainSet:
        """The selected trains."""
        return self.source.trains

    @property
    def refs(self) -> tuple[FileRef, ...]:
        """The files that have any of the selected trains."""
        return self.source.refs

    @cached_property
    def record(self) -> KeyRecord:
        """The key as the catalog describes it, in the first file that has selected trains."""
        found = self.source.schema.by_name.get(self.name)
        return self.entry.require_key(self.name, self.source.schema) if found is None else found

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data; object where they are strings."""
        return array_dtype(self.record)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """Shape of one entry."""
        return self.record.entry_shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all the data, entries first."""
        return (self.rows.n_rows, *self.record.entry_shape)

    @property
    def nbytes(self) -> int:
        """Size of all the data in bytes."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size

    @property
    def units(self) -> str | None:
        """Symbol of the unit with its prefix, e.g. ``μJ``; None if the files name none."""
        return unit_text(self.record.prefix_symbol, self.record.unit_symbol) or None

    @property
    def _stored_path(self) -> str:
        """Path of the dataset in its files, under the source name that they use."""
        entry = self.source.entry
        return f"/{entry.section}/{entry.real_name}/{self.name.replace('.', '/')}"

    def label(self, joint: str) -> str:
        """Source and key in one name, without the ``.value`` of a control key."""
        name = short_key(self.name) if self.source.is_control else self.name
        return f"{self.entry.name}{joint}{name}"

    @cached_property
    def rows(self) -> Rows:
        """The rows of its index group."""
        return self.source.rows(self.record.group)

    def with_trains(self, trains: TrainSet) -> "SelectedKey":
        """The same key for other trains."""
        if trains is self.trains:
            return self
        return replace(self, source=self.source.with_trains(trains))

    def plan(self, region: Region | None = None) -> ReadPlan:
        """How to read a region of every entry, by default all; raises InconsistentFilesError."""
        found, source = self.rows, self.source
        known = [(r, source.schema_in(r).by_name.get(self.name)) for r in found.refs]
        record = check_consistent(source.entry.name, self.record, known)
        if region is None:
            region = parse_region((), record.entry_shape)
        path = self._stored_path
        for ref, pattern in zip(found.files, found.patterns, strict=True):
            if not pattern.lengths.size and self.name in source.schema_in(ref).by_name:
                self._warn_of_rows_without_index(ref, path)
        return ReadPlan(source.entry.name, path, record, region, found.n_rows, found.slabs)

    def _warn_of_rows_without_index(self, ref: FileRef, path: str) -> None:
        with self.source.files.borrow(ref.data_file) as opened:
            stored = opened.dataset(path, self.name)
        if stored is not None and stored.shape[0]:
            message = f"{ref.path}: INDEX has no trains for {stored.shape[0]} rows of {path[1:]}"
            warn_caller(f"{message}, which are left out")

    def read(self, roi: Any = (), out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The data, (entries, ...), or a region of every entry; into ``out`` if it is given."""
        from .execute import execute_plan

        region = parse_region(roi, self.entry_shape)
        return execute_plan(self.plan(region), self.source.files, out)


def aggregator_of(source: SelectedSource) -> str | None:
    """The aggregator that wrote ``first_ref``; None for a file without one in its name."""
    ref = source.first_ref
    return None if ref is None else ref.data_file.aggregator or None


def matching_keys(source: SelectedSource, glob: str) -> list[str]:
    """Names of the selected keys that a glob matches, as in the files, sorted.

    Timestamps of control keys are matched only by a glob that ends in ``timestamp``.
    """
    names = match_keys(source.schema, glob, control=source.is_control) & source.keys()
    no_times = source.is_control and not glob.endswith("timestamp")
    return sorted((n for n in names if not (no_times and is_timestamp(n))), key=short_key)


def require_group(source: SelectedSource, index_group: str) -> None:
    """Raise ValueError unless a source has this index group."""
    if index_group not in source.index_groups:
        raise ValueError(
            f"{index_group!r} is no index group of {source.entry.name!r}, which has"
            f" {', '.join(map(repr, sorted(source.index_groups))) or 'none'}"
        )


def read_attributes(key: SelectedKey) -> dict[str, Any]:
    """The HDF5 attributes of a key, read from its first file.

    They are those of the dataset and, for the value of a control source, of the group it is in.
    """
    path = key._stored_path
    ref = (key.refs or key.entry.refs)[0]
    with key.source.files.borrow(ref.data_file) as opened:
        found = opened.dataset(path, key.name)
        if found is None:
            raise FileStructureError(ref.path, f"has no dataset {path}")
        with explained(ref.path, f"attributes of {path}"):
            attributes = dict(found.dataset.attrs)
            if key.source.is_control and key.name.endswith(VALUE_ENDING):
                attributes.update(found.dataset.parent.attrs)
    return attributes


class HasSelectedKey(Protocol):
    """A ``KeyData``, to functions below the API that users call with one."""

    @property
    def selected(self) -> SelectedKey:
        """The key."""
