"""What does the catalog say of each file of a run? One column per fact.

Opening asks twice: do the facts still hold for what is on the disk (``lookup``), and what are they
(``facts``). Both take what is here, so that it is read once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..records import Depth
from ..scan.discover import FileStat
from ..scan.freshness import KnownFile

__all__ = ["FileFacts"]


@dataclass(frozen=True, eq=False)
class FileFacts:
    """The files of a run in the order of their ordinals: one column per fact.

    ``train_lists`` and ``layouts`` are numbers of what the files share with others.
    """

    names: Sequence[str] = ()
    sizes: Sequence[int] = ()
    mtimes_ns: Sequence[int] = ()
    depths: Sequence[int] = ()
    missing: Sequence[bool] = ()
    ordinals: Sequence[int] = ()
    train_lists: Sequence[int] = ()
    layouts: Sequence[int] = ()

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> "FileFacts":
        """From the facts of one file after the other, as ``rows`` gives them."""
        return cls(*zip(*rows, strict=True))

    @cached_property
    def stats(self) -> dict[str, tuple[int, int]]:
        """Size and mtime by name; equal to the ``FileStat`` of a file that has not changed."""
        return dict(zip(self.names, zip(self.sizes, self.mtimes_ns, strict=True), strict=True))

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The facts of one file after the other, in the order of the columns."""
        return zip(*(getattr(self, name) for name in self.__dataclass_fields__), strict=True)

    def hold(self, on_disk: Mapping[str, FileStat]) -> bool:
        """Whether all of these files are known as they are on the disk."""
        known = self.stats
        return known == on_disk or all(known.get(name) == stat for name, stat in on_disk.items())

    def known(self) -> dict[str, KnownFile]:
        """What is compared with the disk, by name."""
        columns = (self.sizes, self.mtimes_ns, map(Depth, self.depths), self.missing)
        return {
            name: KnownFile(size, mtime_ns, depth, missing=missing)
            for name, size, mtime_ns, depth, missing in zip(self.names, *columns, strict=True)
        }

    def present(self) -> list[str]:
        """Names of the files that are not marked missing, sorted."""
        return sorted(n for n, gone in zip(self.names, self.missing, strict=True) if not gone)

    def are_all(self, names: Iterable[str]) -> bool:
        """Whether these names are those of all the files, and none is marked missing."""
        return not any(self.missing) and self.stats.keys() <= set(names)

    def usable(self, names: frozenset[str] | None) -> "FileFacts":
        """Only the files that can serve data, of those named; None for all that are not missing.

        A file that is named is there, even if it was missing once.
        """
        if names is None:
            kept = [
                depth > Depth.UNREAD and not gone
                for depth, gone in zip(self.depths, self.missing, strict=True)
            ]
        else:
            kept = [
                depth > Depth.UNREAD and name in names
                for depth, name in zip(self.depths, self.names, strict=True)
            ]
        if all(kept):
            return self
        return FileFacts.of(row for row, keep in zip(self.rows(), kept, strict=True) if keep)
