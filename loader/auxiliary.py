"""Sources of the auxiliary sections: REDUCTION and ERRATA, the record of what data lack and why.

Names of auxiliary sources are unique over sections, but several aggregators may have the same, each
for its own data: a source that lies in more than one file is called ``AGGREGATOR@name``.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..catalog.model.errors import SourceNameError
from ..catalog.model.records import FileLayout
from .keydata import KeyData
from .read.files import OpenFiles
from .read.selected import SelectedSource
from .select.rows import FileGroup, FileRef, FileSet
from .select.sources import MAIN_SECTIONS, SourceEntry
from .select.trains import TrainSet, Value
from .sourcedata import SourceData

__all__ = ["AuxiliarySources"]


@dataclass(frozen=True, eq=False, repr=False)
class AuxiliarySources(Value):
    """The auxiliary sources of a collection; ``aux[source]`` and ``aux[source, key]``."""

    _sources: dict[str, SourceEntry]
    _trains: TrainSet
    _files: OpenFiles

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
                for aggregator, group in _by_aggregator(members):
                    groups = found.setdefault((aggregator, source.name), (source.section, []))[1]
                    groups.append(group)
        return cls(
            {
                name if n_files[name] == 1 else f"{aggregator}@{name}": SourceEntry(
                    section, name, name, FileSet(tuple(groups))
                )
                for (aggregator, name), (section, groups) in found.items()
            },
            trains,
            files,
        )

    @property
    def all_sources(self) -> frozenset[str]:
        """Names of all auxiliary sources."""
        return frozenset(self._sources)

    @property
    def reduction_sources(self) -> frozenset[str]:
        """Names of the sources that record what data reduction did."""
        return self._in_section("REDUCTION")

    @property
    def errata_sources(self) -> frozenset[str]:
        """Names of the sources that record what went wrong in data taking."""
        return self._in_section("ERRATA")

    def _in_section(self, section: str) -> frozenset[str]:
        return frozenset(n for n, e in self._sources.items() if e.section == section)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, tuple) and len(item) == 2:
            return item[0] in self._sources and item[1] in self._source(item[0])
        return isinstance(item, str) and item in self._sources

    def __getitem__(self, item: str | tuple[str, str]) -> SourceData | KeyData:
        if isinstance(item, tuple):
            source, key = item
            return KeyData(self._source(source).selected.key(key))
        return self._source(item)

    __iter__ = None  # no implicit iteration by position

    def _source(self, name: str) -> SourceData:
        entry = self._sources.get(name)
        if entry is None:
            # Without the aggregator, a name may still be that of one source only.
            entries = [e for e in self._sources.values() if e.name == name]
            if len(entries) != 1:
                raise SourceNameError(name, self._sources)
            entry = entries[0]
        return SourceData(SelectedSource(entry, self._trains, self._files))

    @property
    def selected(self) -> dict[str, SelectedSource]:
        """The sources by name, in the form that ``show`` takes."""
        return {
            name: SelectedSource(entry, self._trains, self._files)
            for name, entry in self._sources.items()
        }

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self._sources)

    def info(self) -> None:
        """Show the auxiliary sources."""
        lines = [repr(self)[1:-1]]
        for title, names in (
            ("reduction", self.reduction_sources),
            ("errata", self.errata_sources),
        ):
            lines += [f"{len(names)} {title} sources:", *(f"  - {n}" for n in sorted(names))]
        sys.stdout.write("\n".join(lines) + "\n")

    def __repr__(self) -> str:
        return (
            f"<xfelcat.AuxiliarySources for {len(self._sources)} sources"
            f" and {len(self._trains)} trains>"
        )


def _by_aggregator(refs: Sequence[FileRef]) -> Iterator[tuple[str, FileGroup]]:
    """The files of each aggregator."""
    names = dict.fromkeys(ref.data_file.aggregator for ref in refs)
    for name in names:
        own = tuple(ref for ref in refs if ref.data_file.aggregator == name)
        yield name, FileGroup(own)
