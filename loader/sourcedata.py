"""Documented API of one source, and of the auxiliary sources of a collection.

``SourceData`` is a frozen value around a ``SelectedSource``: a source, its selected keys, files and
trains. All it says comes from the catalog, or from the files of a run that is in none.

``AuxiliarySources`` has those of the sections REDUCTION and ERRATA, the record of what data lack
and why. Their names are unique over sections, but several aggregators may have the same, each for
its own data: a source that lies in more than one file is called ``AGGREGATOR@name``.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog.model.errors import PropertyNameError, SourceNameError
from ..catalog.model.identity import identify_run, parse_file_name
from ..catalog.model.records import FileLayout
from ..catalog.model.runlength import UInt64s, Value
from .compat.beside import replaced
from .keydata import KeyData, OfSource, open_to_attributes
from .read.files import OpenFiles
from .read.selected import SelectedSource, aggregator_of, require_group
from .select.rows import FileGroup, FileRef, FileSet
from .select.selection import Selection, match_keys
from .select.sources import (
    MAIN_SECTIONS,
    SourceEntry,
    device_class,
    join_sources,
    read_run_value,
    run_metadata,
    run_values,
)
from .select.trains import TrainSet, shift_trains

if TYPE_CHECKING:
    import pandas as pd


@open_to_attributes
@dataclass(frozen=True, eq=False, repr=False)
class SourceData(OfSource):
    """Data for one source. Get it from ``run[source]``.

    ``source[key]`` is a key of it; ``source[trains]``, as in ``source[:10]`` or
    ``source[by_id[...]]``, the source for some of its trains; ``key in source`` tells whether it
    has a key; ``source_1 | source_2`` joins the same source of two runs.
    """

    selected: SelectedSource

    def with_train_offset(self, offset: int) -> "SourceData":
        """The source with its data taken for trains whose IDs are larger by ``offset``.

        For devices that record a train late; see ``DataCollection.with_train_offset``.
        """
        selected = self.selected
        trains = shift_trains(selected.trains, offset)
        entry = selected.entry.shifted(offset)
        return replaced(self, selected=replace(selected, entry=entry, trains=trains))

    # -- what it is ------------------------------------------------------------------------------

    @property
    def canonical_name(self) -> str:
        """The name it is stored under: another one where ``source`` is a legacy name."""
        return self.selected.entry.real_name

    @property
    def is_legacy(self) -> bool:
        """Whether ``source`` is a legacy name."""
        return self.selected.entry.is_legacy

    @property
    def is_run_only(self) -> bool:
        """Whether the source has RUN keys only."""
        return self.selected.is_run_only

    @property
    def device_class(self) -> str | None:
        """Karabo class of the device; None for instrument sources and where it is not recorded."""
        return device_class(self.selected.entry)

    @property
    def aggregator(self) -> str | None:
        """The aggregator that wrote its first file; None for a file without one in its name."""
        return aggregator_of(self.selected)

    @property
    def data_category(self) -> str | None:
        """Prefix of the name of its first file: RAW, CORR, ...; None where it has none."""
        ref = self.selected.first_ref
        parsed = None if ref is None else parse_file_name(ref.path.rpartition("/")[2])
        return parsed.prefix if parsed else None

    @property
    def storage_class(self) -> str | None:
        """Data class (raw, proc, ...) of the directory of its first file; None elsewhere."""
        ref = self.selected.first_ref
        if ref is None:
            return None
        directory = ref.facts.directory
        return identify_run(directory, directory).data_class or None

    def __repr__(self) -> str:
        return f"<xfelcat.SourceData source={self.source!r} for {len(self.selected.trains)} trains>"

    def _repr_html_(self) -> str:
        from .show import display

        return display.source_html(self.selected)

    # -- its keys --------------------------------------------------------------------------------

    @property
    def sel_keys(self) -> frozenset[str] | None:
        """The selected keys; None for all."""
        return self.selected.entry.keys

    def keys(self, inc_timestamps: bool = True) -> set[str]:
        """Names of the selected keys, as the first file has them.

        Without timestamps, keys of a control source are spelt as in Karabo, without ``.value``.
        """
        return self.selected.keys(inc_timestamps)

    @property
    def index_groups(self) -> set[str]:
        """The parts of the selected keys that have their own INDEX; {''} for a control source."""
        return self.selected.index_groups

    def one_key(self, index_group: str | None = None) -> str | None:
        """A key of the source, or of one of its index groups; None where it has RUN keys only."""
        by_name = self.selected.schema.by_name
        for name in sorted(self.selected.keys()):
            if index_group is None or by_name[name].group == index_group:
                return name
        if index_group is not None:
            require_group(self.selected, index_group)
        if self.is_run_only:
            return None
        raise PropertyNameError("", self.source)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self.selected

    def __getitem__(self, item: Any) -> "KeyData | SourceData":
        """``source[key]`` is a KeyData; ``source[trains]`` the source for some of its trains."""
        if isinstance(item, str):
            return KeyData(self.selected.key(item))
        return self.select_trains(item)

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
        entry, schema = self.selected.entry, self.selected.schema
        if isinstance(keys, str) and any(c in keys for c in "*?["):
            chosen = match_keys(schema, keys, control=self.is_control) & self.selected.keys()
            if not chosen:
                raise PropertyNameError(keys, self.source, self.keys())
        else:
            wanted = {keys} if isinstance(keys, str) else set(keys)
            chosen = frozenset(entry.require_key(k, schema).name for k in wanted)
        return replaced(self, selected=replace(self.selected, entry=entry.with_keys(chosen)))

    def selected_keys(self) -> Selection:
        """The source as a selection: what ``select`` takes this object for."""
        return {self.source: self.selected.entry.keys}

    # -- its run ---------------------------------------------------------------------------------

    def run_keys(self, inc_timestamps: bool = True) -> set[str]:
        """Names of the RUN keys, whatever keys are selected."""
        return set(
            run_values(self.selected.entry, inc_timestamps=inc_timestamps, allow_multi_run=True)
        )

    def run_values(self, inc_timestamps: bool = True) -> dict[str, Any]:
        """RUN values by key: the state of the device at the start of the run.

        Without timestamps, keys are spelt as in Karabo, without ``.value``. The errors are those of
        ``DataCollection.get_run_value``.
        """
        return run_values(self.selected.entry, inc_timestamps=inc_timestamps)

    def run_value(self, key: str, *, allow_multi_run: bool = False) -> Any:
        """One RUN value; of several runs the first one's if ``allow_multi_run``, else an error.

        The errors are those of ``DataCollection.get_run_value``.
        """
        return read_run_value(self.selected.entry, key, allow_multi_run=allow_multi_run)

    def run_metadata(self) -> dict[str, Any]:
        """METADATA of the first of its files."""
        return run_metadata(self.selected.refs or self.selected.entry.refs)

    # -- its trains ------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        """Whether any of the selected trains has data."""
        return self.selected.has_data

    def data_counts(
        self, labelled: bool = True, index_group: str | None = None
    ) -> "pd.Series[int] | UInt64s":
        """Number of entries in each train, as ``KeyData.data_counts`` gives them.

        Without ``index_group`` it is the largest over the index groups.
        """
        counts = self.selected.counts(index_group)
        if not labelled:
            return counts.astype(np.uint64)
        import pandas as pd

        return pd.Series(counts, index=self.selected.trains.ids)

    def train_id_coordinates(self, index_group: str | None = None) -> UInt64s:
        """The train of each entry, to go with the data of the source.

        Raises
        ------
        ValueError
            Index groups differ in their counts, and ``index_group`` does not name one.
        """
        groups = self.selected.groups_with_data(index_group)
        counts = [self.selected.counts(group) for group in groups]
        if any(not np.array_equal(c, counts[0]) for c in counts[1:]):
            raise ValueError(
                f"index groups of {self.source!r} have different counts: name one of"
                f" {', '.join(map(repr, groups))}"
            )
        return (
            self.selected.rows(groups[0]).coordinates.copy() if groups else np.empty(0, np.uint64)
        )

    def drop_empty_trains(self, index_group: str | None = None) -> "SourceData":
        """The source for the trains with data in one index group, by default in any."""
        groups = self.selected.groups_with_data(index_group)
        found = [self.selected.rows(group).trains_with_rows for group in groups]
        return self._with_trains(TrainSet.union_of(found))

    def union(self, *others: "SourceData") -> "SourceData":
        """The same source with the trains and files of others, e.g. from another run."""
        if any(other.source != self.source for other in others):
            raise ValueError("only data of one source can be joined")
        parts = [part.selected for part in (self, *others)]
        entry = join_sources([(part.entry, part.trains) for part in parts])
        trains = TrainSet.union_of(part.trains for part in parts)
        return SourceData(SelectedSource(entry, trains, self.selected.files))

    def __or__(self, other: "SourceData") -> "SourceData":
        return self.union(other) if isinstance(other, SourceData) else NotImplemented


@dataclass(frozen=True, eq=False, repr=False)
class AuxiliarySources(Value):
    """The auxiliary sources of a collection; ``aux[source]`` and ``aux[source, key]``."""

    selected: dict[str, SelectedSource]
    """The sources by name, in the form that ``show`` takes."""
    _trains: TrainSet

    @classmethod
    def of_files(
        cls, refs: Iterable[FileRef], trains: TrainSet, files: OpenFiles
    ) -> "AuxiliarySources":
        """The auxiliary sources that these files have."""
        of_layout: dict[FileLayout, list[FileRef]] = {}
        for ref in refs:
            of_layout.setdefault(ref.facts.full_layout(ref.number), []).append(ref)
        found: dict[tuple[str, str], tuple[str, list[FileGroup]]] = {}
        n_files: Counter[str] = Counter()
        for layout, members in of_layout.items():
            for source in layout.sources:
                if source.section in MAIN_SECTIONS:
                    continue
                n_files[source.name] += len(members)
                for aggregator in dict.fromkeys(ref.data_file.aggregator for ref in members):
                    own = tuple(r for r in members if r.data_file.aggregator == aggregator)
                    groups = found.setdefault((aggregator, source.name), (source.section, []))[1]
                    groups.append(FileGroup(own))
        selected: dict[str, SelectedSource] = {}
        for (aggregator, name), (section, groups) in found.items():
            entry = SourceEntry(section, name, name, FileSet(tuple(groups)))
            unique = name if n_files[name] == 1 else f"{aggregator}@{name}"
            selected[unique] = SelectedSource(entry, trains, files)
        return cls(selected, trains)

    @property
    def all_sources(self) -> frozenset[str]:
        """Names of all auxiliary sources."""
        return frozenset(self.selected)

    @property
    def reduction_sources(self) -> frozenset[str]:
        """Names of the sources that record what data reduction did."""
        return self._in_section("REDUCTION")

    @property
    def errata_sources(self) -> frozenset[str]:
        """Names of the sources that record what went wrong in data taking."""
        return self._in_section("ERRATA")

    def _in_section(self, section: str) -> frozenset[str]:
        return frozenset(n for n, s in self.selected.items() if s.entry.section == section)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, tuple) and len(item) == 2:
            return item[0] in self.selected and item[1] in self._source(item[0])
        return isinstance(item, str) and item in self.selected

    def __getitem__(self, item: str | tuple[str, str]) -> SourceData | KeyData:
        if isinstance(item, tuple):
            source, key = item
            return KeyData(self._source(source).selected.key(key))
        return self._source(item)

    __iter__ = None  # no implicit iteration by position

    def _source(self, name: str) -> SourceData:
        # Without the aggregator, a name may still be that of one source only.
        alike = [source for source in self.selected.values() if source.entry.name == name]
        if name not in self.selected and len(alike) != 1:
            raise SourceNameError(name, self.selected)
        return SourceData(self.selected.get(name) or alike[0])

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self.selected)

    def info(
        self, details_for_sources: str | Iterable[str] = (), with_aggregators: bool = False
    ) -> None:
        """Show the auxiliary sources; the arguments are those of ``DataCollection.info``."""
        from .show import display

        lines = display.auxiliary_lines(self.selected, details_for_sources, with_aggregators)
        sys.stdout.write("\n".join([repr(self)[1:-1], *lines]) + "\n")

    def __repr__(self) -> str:
        return (
            f"<xfelcat.AuxiliarySources for {len(self.selected)} sources"
            f" and {len(self._trains)} trains>"
        )
