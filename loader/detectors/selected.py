"""Modules of a detector for selected trains, below the API.

The classes users call each hold one of these frozen values, as ``read.selected`` has them for
collections, sources and keys.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.facts import RunFacts
from ...catalog.model.names import FRAME_GROUP
from ...catalog.model.runlength import Int64s, Value
from ...catalog.opening.scanned import excerpt
from ..read.selected import SelectedData, SelectedKey, SelectedSource
from ..select.rows import FileGroup, FileRef, FileSet
from ..select.trains import TrainSet, split_trains
from .frames import Frames, Mismatch, ModuleRows, match_frames


@dataclass(frozen=True, eq=False)
class SelectedModules(Value):
    """The modules of one detector, and the trains for which enough of them have data."""

    collection: SelectedData
    """Where the sources are from."""
    trains: TrainSet
    """The selected trains."""
    detector: str
    """Name of the detector."""
    numbers: dict[str, int]
    """Number of each module by source name, increasing."""
    n_modules: int
    """How many modules the detector has, with data or not."""
    first_number: int
    """Number of its first module."""
    is_raw: bool
    """Whether the data are as recorded."""
    on_mismatch: Mismatch = "fill"
    """What to do about trains in which modules have different frames."""
    parallel_gain: bool = False
    """Whether each train has its pulses three times, one gain stage after the other."""

    @property
    def modules(self) -> list[int]:
        """Numbers of the modules with data."""
        return list(self.numbers.values())

    @cached_property
    def sources(self) -> list[SelectedSource]:
        """The sources of the modules, in the order of ``modules``."""
        selected = self.collection.with_trains(self.trains)
        return [selected.source(name) for name in self.numbers]

    def keys(self, key: str) -> tuple[SelectedKey, ...]:
        """A key of each module; raises PropertyNameError where one lacks it."""
        return tuple(source.key(key) for source in self.sources)

    def match(self, group: str) -> Frames:
        """The entries of an index group, matched over modules."""
        found = self._frames.get(group)
        if found is None:
            rows = [ModuleRows(source, group) for source in self.sources]
            found = match_frames(rows, self.trains, self.on_mismatch)
            if self.parallel_gain and group == FRAME_GROUP:
                found = found.with_gain_stages()
            found = self._frames.setdefault(group, found)
        return found

    @cached_property
    def _frames(self) -> dict[str, Frames]:
        return {}

    def with_trains(self, trains: TrainSet) -> "SelectedModules":
        """The same modules for other trains."""
        return self if trains is self.trains else replace(self, trains=trains)

    def with_enough(self, group: str, min_modules: int) -> "SelectedModules":
        """The same modules for the trains for which so many have data; ValueError for none."""
        having = np.sum([source.rows(group).counts > 0 for source in self.sources], axis=0)
        enough = having >= min_modules
        if not enough.any():
            raise ValueError(f"no train has data in {min_modules} modules of {self.detector}")
        if enough.all():
            return self
        return self.with_trains(TrainSet.from_ids(self.trains.ids[enough]))

    def with_modules_in(self, group: str) -> "SelectedModules":
        """Only the modules with data in an index group."""
        pairs = zip(self.numbers.items(), self.sources, strict=True)
        kept = dict(item for item, source in pairs if source.rows(group).n_rows)
        return self if len(kept) in (0, len(self.numbers)) else replace(self, numbers=kept)

    def split(
        self, parts: int | None, trains_per_part: int | None, counts: Int64s, most: int | None
    ) -> "Iterator[SelectedModules]":
        """In parts of consecutive trains with at most ``most`` frames, or one train with more.

        ``counts`` are the frames of each train. Parts are alike in number of trains where trains
        are alike in frames, or where parts would otherwise be too few or too long.
        """
        if most is not None:
            if most < 1:
                raise ValueError(f"frames_per_part must be positive, not {most}")
            least, largest = (int(counts.min()), int(counts.max())) if counts.size else (0, 0)
            if least == largest:
                fitting = max(most // max(largest, 1), 1)
                trains_per_part = min(fitting, trains_per_part or fitting)
            else:
                bounds = split_by_frames(counts, most)
                longest = max(stop - start for start, stop in pairwise(bounds))
                if len(bounds) > (parts or 1) and longest <= (trains_per_part or longest):
                    for start, stop in pairwise(bounds):
                        yield self.with_trains(self.trains.span(start, stop))
                    return
        elif parts is None and trains_per_part is None:
            raise ValueError("give parts, trains_per_part, frames_per_part, or several of them")
        for trains in split_trains(self.trains, parts, trains_per_part):
            yield self.with_trains(trains)

    def by_value(self, groups: Collection[str]) -> "SelectedModules":
        """The same modules with the rows of some index groups, which pickle without a catalog."""
        refs = {s.entry.name: s.refs or s.entry.refs[:1] for s in self.sources}
        used: dict[RunFacts, dict[str, list[int]]] = {}
        for source in self.sources:
            for ref in refs[source.entry.name]:
                files = used.setdefault(ref.facts, {}).setdefault(source.entry.real_name, [])
                files.append(ref.number)
        copies = {facts: excerpt(facts, files, groups) for facts, files in used.items()}
        numbers = {f: {n: i for i, n in enumerate(c.table.names)} for f, c in copies.items()}

        def moved(ref: FileRef) -> FileRef:
            number = numbers[ref.facts][ref.facts.table.names[ref.number]]
            return ref._replace(facts=copies[ref.facts], number=number)

        entries = {}
        for source in self.sources:
            alike: dict[tuple[RunFacts, int], list[FileRef]] = {}
            for ref in map(moved, refs[source.entry.name]):
                alike.setdefault((ref.facts, ref.facts.table.layouts[ref.number]), []).append(ref)
            file_set = FileSet(tuple(FileGroup(tuple(members)) for members in alike.values()))
            entries[source.entry.name] = replace(source.entry, files=file_set, keys=None)
        collection = self.collection.with_sources(entries)
        return replace(self, collection=collection)

    def positions(self, module_gaps: bool) -> list[int]:
        """The position of each module in an array, with room for modules without data or not."""
        if not module_gaps:
            return list(range(len(self.numbers)))
        return [number - self.first_number for number in self.modules]

    def n_positions(self, module_gaps: bool) -> int:
        """How many modules such an array has."""
        return self.n_modules if module_gaps else len(self.numbers)

    def spread(self, values: NDArray[Any], module_gaps: bool) -> NDArray[Any]:
        """Values of each module, (modules, ...); 0 for modules without data, if they have room."""
        if not module_gaps:
            return values
        made = np.zeros((self.n_modules, *values.shape[1:]), values.dtype)
        made[self.positions(module_gaps)] = values
        return made


def split_by_frames(counts: Int64s, most: int) -> list[int]:
    """Positions where parts of whole trains begin, and where the last one ends.

    A part has at most ``most`` frames, or is one train that has more.
    """
    done = [0, *np.cumsum(counts).tolist()]
    bounds = [0]
    while bounds[-1] < counts.size:
        first = bounds[-1]
        stop = bisect_right(done, done[first] + most, lo=first) - 1
        bounds.append(max(stop, first + 1))
    return bounds
