"""What can be asked of one source?

``SourceData`` is a frozen value: a source, its selected keys, its files, the selected trains.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.model.errors import PropertyNameError
from ..catalog.model.facts import DataFile
from ..catalog.model.identity import identify_run, parse_file_name
from ..catalog.model.names import is_timestamp, short_key
from ..catalog.model.records import KeySchema
from .keydata import KeyData, OfSource
from .read import rows
from .read.files import OpenFiles
from .select import runinfo
from .select.rows import FileRef
from .select.selection import Chosen, match_keys, source_schema
from .select.sources import SourceEntry, join_sources
from .select.trains import TrainSet, select_trains, split_trains

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SourceData"]


@dataclass(frozen=True, eq=False, repr=False)
class SourceData(OfSource):
    """Data for one source. Get it from ``run[source]``.

    ``source[key]`` is a key of it; ``source[trains]``, as in ``source[:10]`` or
    ``source[by_id[...]]``, the source for some of its trains; ``key in source`` tells whether it
    has a key; ``source_1 | source_2`` joins the same source of two runs.
    """

    _entry: SourceEntry
    _trains: TrainSet
    _files: OpenFiles

    # -- what it is ------------------------------------------------------------------------------

    @property
    def canonical_name(self) -> str:
        """The name it is stored under: another one where ``source`` is a legacy name."""
        return self._entry.real_name

    @property
    def is_legacy(self) -> bool:
        """Whether ``source`` is a legacy name."""
        return self._entry.is_legacy

    @property
    def is_run_only(self) -> bool:
        """Whether the source has RUN keys only."""
        return self.is_control and not source_schema(self._entry).by_name

    @property
    def is_single_run(self) -> bool:
        """Whether all its files are of one run."""
        return runinfo.is_single_run(self._entry.refs)

    @property
    def inc_suspect_trains(self) -> bool:
        """Whether trains count whose ID is suspect."""
        return not any(ref.good_only for ref in self._entry.refs)

    @property
    def files(self) -> list[DataFile]:
        """The data files that have any of the selected trains."""
        return [ref.data_file for ref in self._refs]

    @property
    def device_class(self) -> str | None:
        """Karabo class of the device; None for instrument sources and where it is not recorded."""
        return runinfo.device_class(self._entry)

    @property
    def aggregator(self) -> str | None:
        """The aggregator that wrote its first file; None for a file without one in its name."""
        return self._first_ref.data_file.aggregator or None if self._entry.refs else None

    @property
    def data_category(self) -> str | None:
        """Prefix of the name of its first file: RAW, CORR, ...; None where it has none."""
        if not self._entry.refs:
            return None
        parsed = parse_file_name(self._first_ref.path.rpartition("/")[2])
        return parsed.prefix if parsed else None

    @property
    def storage_class(self) -> str | None:
        """Data class (raw, proc, ...) of the directory of its first file; None elsewhere."""
        if not self._entry.refs:
            return None
        directory = self._first_ref.facts.directory
        return identify_run(directory, directory).data_class or None

    def __repr__(self) -> str:
        return f"<xfelcat.SourceData source={self.source!r} for {len(self._trains)} trains>"

    def _repr_html_(self) -> str:
        from .show import display

        return display.source_html(self)

    # -- its keys --------------------------------------------------------------------------------

    @cached_property
    def _refs(self) -> tuple[FileRef, ...]:
        return self._entry.files_within(self._trains)

    @property
    def _first_ref(self) -> FileRef:
        return self._refs[0] if self._refs else self._entry.refs[0]

    @cached_property
    def _schema(self) -> KeySchema:
        return self._entry.schema(self._first_ref) if self._entry.refs else KeySchema(())

    @property
    def sel_keys(self) -> frozenset[str] | None:
        """The selected keys; None for all."""
        return self._entry.keys

    def keys(self, inc_timestamps: bool = True) -> set[str]:
        """Names of the selected keys, as the first file has them.

        Without timestamps, keys of a control source are spelt as in Karabo, without ``.value``.
        """
        names = set(self._entry.key_names(self._schema))
        if inc_timestamps or not self.is_control:
            return names
        return {short_key(n) for n in names if not is_timestamp(n)}

    @property
    def index_groups(self) -> set[str]:
        """The parts of the selected keys that have their own INDEX; {''} for a control source."""
        if self.is_control:
            return {""}
        if self._entry.keys is None and self._entry.refs:
            return set(self._entry.index_groups(self._first_ref))
        by_name = self._schema.by_name
        return {by_name[name].group for name in self._entry.key_names(self._schema)}

    def one_key(self, index_group: str | None = None) -> str:
        """A key of the source, or of one of its index groups."""
        for name in sorted(self._entry.key_names(self._schema)):
            if index_group is None or self._schema.by_name[name].group == index_group:
                return name
        if index_group is not None:
            self._check_group(index_group)
        raise PropertyNameError("", self.source)

    def _check_group(self, index_group: str) -> None:
        if index_group not in self.index_groups:
            raise ValueError(
                f"{index_group!r} is no index group of {self.source!r}, which has"
                f" {', '.join(map(repr, sorted(self.index_groups))) or 'none'}"
            )

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._entry.resolve_key(key, self._schema) is not None

    def __getitem__(self, item: Any) -> "KeyData | SourceData":
        """``source[key]`` is a KeyData; ``source[trains]`` the source for some of its trains."""
        if not isinstance(item, str):
            return self.select_trains(item)
        return self._key(item)

    def _key(self, key: str) -> KeyData:
        record = self._entry.require_key(key, self._schema)
        made = KeyData(self._entry, record.name, self._trains, self._files)
        # What is known of the source is known of its key.
        made.__dict__.update(_refs=self._refs, record=record)
        return made

    __iter__ = None  # no implicit iteration by position

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self.keys(inc_timestamps=False))

    def select_keys(self, keys: str | Iterable[str] | None) -> "SourceData":
        """The source with some of its keys: a key, a glob, or a set of keys (empty: all).

        Raises
        ------
        PropertyNameError
            A key does not exist, or the glob matches none.
        """
        if not keys or keys == "*":
            return self
        if isinstance(keys, str) and any(c in keys for c in "*?["):
            matched = match_keys(self._schema, keys, control=self.is_control)
            chosen = matched & self._entry.key_names(self._schema)
            if not chosen:
                raise PropertyNameError(keys, self.source, self.keys())
        else:
            wanted = {keys} if isinstance(keys, str) else set(keys)
            chosen = frozenset(self._entry.require_key(k, self._schema).name for k in wanted)
        return replace(self, _entry=self._entry.with_keys(chosen))

    def selected_keys(self) -> Chosen:
        """The source as a selection: what ``select`` takes this object for."""
        return {self.source: self._entry.keys}

    # -- its run ---------------------------------------------------------------------------------

    def run_keys(self, inc_timestamps: bool = True) -> set[str]:
        """Names of the RUN keys, whatever keys are selected."""
        return set(
            runinfo.run_values(self._entry, inc_timestamps=inc_timestamps, allow_multi_run=True)
        )

    def run_values(self, inc_timestamps: bool = True) -> dict[str, Any]:
        """RUN values by key: the state of the device at the start of the run.

        Without timestamps, keys are spelt as in Karabo, without ``.value``.

        Raises
        ------
        MultiRunError
            The source is there from several runs.
        ValueError
            It is no control source.
        """
        return runinfo.run_values(self._entry, inc_timestamps=inc_timestamps)

    def run_value(self, key: str, *, allow_multi_run: bool = False) -> Any:
        """One RUN value; of several runs an error, or the first run's if ``allow_multi_run``."""
        return runinfo.read_run_value(self._entry, key, allow_multi_run=allow_multi_run)

    def run_metadata(self) -> dict[str, Any]:
        """METADATA of the first of its files."""
        return runinfo.run_metadata(self._refs or self._entry.refs)

    # -- its trains ------------------------------------------------------------------------------

    @property
    def train_ids(self) -> list[int]:
        """The selected trains, whether or not they have data, in increasing order."""
        return self._trains.to_list()

    def _stretches(self, index_group: str) -> tuple[rows.RowStretch, ...]:
        return rows.select_rows(self._entry, self._refs, index_group, self._trains).stretches

    def _counts(self, index_group: str) -> NDArray[np.int64]:
        return rows.count_entries(self._entry, self._refs, index_group, self._trains)

    def _groups(self, index_group: str | None) -> list[str]:
        if self.is_run_only:
            return []
        if index_group is None:
            return sorted(self.index_groups)
        self._check_group(index_group)
        return [index_group]

    @property
    def has_data(self) -> bool:
        """Whether any of the selected trains has data."""
        return any(
            rows.count_rows(self._entry, self._refs, group, self._trains)
            for group in self._groups(None)
        )

    def data_counts(
        self, labelled: bool = True, index_group: str | None = None
    ) -> "pd.Series[int] | NDArray[np.uint64]":
        """Number of entries in each train; without ``index_group`` the largest over its groups.

        A pandas Series labelled with train IDs if ``labelled``, else an array that goes with
        ``train_ids``.
        """
        counts = np.zeros(len(self._trains), np.int64)
        for group in self._groups(index_group):
            np.maximum(counts, self._counts(group), out=counts)
        if not labelled:
            return counts.astype(np.uint64)
        import pandas as pd

        return pd.Series(counts, index=self._trains.ids)

    def train_id_coordinates(self, index_group: str | None = None) -> NDArray[np.uint64]:
        """The train of each entry, to go with the data of the source.

        Raises
        ------
        ValueError
            Index groups differ in their counts, and ``index_group`` does not name one.
        """
        groups = self._groups(index_group)
        counts = [self._counts(group) for group in groups]
        if any(not np.array_equal(c, counts[0]) for c in counts[1:]):
            raise ValueError(
                f"index groups of {self.source!r} have different counts: name one of"
                f" {', '.join(map(repr, groups))}"
            )
        return rows.train_coordinates(self._stretches(groups[0]) if groups else ())

    def drop_empty_trains(self, index_group: str | None = None) -> "SourceData":
        """The source for the trains with data in one index group, by default in any."""
        found = [
            rows.trains_with_data(self._stretches(group)) for group in self._groups(index_group)
        ]
        return self._with_trains(TrainSet.union_of(found))

    def select_trains(self, trains: Any) -> "SourceData":
        """The source for some of its trains; see ``DataCollection.select_trains``."""
        return self._with_trains(select_trains(self._trains, trains))

    def split_trains(
        self, parts: int | None = None, trains_per_part: int | None = None
    ) -> Iterator["SourceData"]:
        """The source in parts with a similar number of trains; see ``DataCollection``."""
        for part in split_trains(self._trains, parts, trains_per_part):
            yield self._with_trains(part)

    def _with_trains(self, trains: TrainSet) -> "SourceData":
        return self if trains is self._trains else replace(self, _trains=trains)

    def union(self, *others: "SourceData") -> "SourceData":
        """The same source with the trains and files of others, e.g. from another run."""
        if any(other.source != self.source for other in others):
            raise ValueError("only data of one source can be joined")
        parts = (self, *others)
        return SourceData(
            join_sources([(p._entry, p._trains) for p in parts]),
            TrainSet.union_of(p._trains for p in parts),
            self._files,
        )

    def __or__(self, other: "SourceData") -> "SourceData":
        return self.union(other) if isinstance(other, SourceData) else NotImplemented
