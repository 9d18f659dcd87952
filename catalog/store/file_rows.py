"""What does the catalog say of each file of a run? All of a run's rows, in one query, as columns.

Opening asks twice: do the facts still hold for what is on the disk (``holds``), and what are they
(``facts``). Both take what is here, so the rows are read once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING

from ..records import Depth
from ..scan.discover import FileStat
from ..scan.freshness import KnownFile
from .encoding import from_text
from .stored import rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["FileRows", "fetch_file_rows"]


@dataclass(frozen=True, eq=False)
class FileRows:
    """The files of a run in the order of their ordinals: one column per fact.

    ``train_lists`` and ``layouts`` are numbers of what the files share with others.
    """

    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    mtimes_ns: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    missing: tuple[bool, ...] = ()
    ordinals: tuple[int, ...] = ()
    train_lists: tuple[int, ...] = ()
    layouts: tuple[int, ...] = ()

    @cached_property
    def stats(self) -> dict[str, tuple[int, int]]:
        """Size and mtime by name; equal to the ``FileStat`` of a file that has not changed."""
        return dict(zip(self.names, zip(self.sizes, self.mtimes_ns, strict=True), strict=True))

    def hold(self, on_disk: Mapping[str, FileStat]) -> bool:
        """Whether all of these files are known as they are on the disk."""
        known = self.stats
        return all(known.get(name) == stat for name, stat in on_disk.items())

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

    def usable(self, names: frozenset[str] | None) -> "FileRows":
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
        columns = zip(*(getattr(self, name) for name in self.__dataclass_fields__), strict=True)
        chosen = [row for row, keep in zip(columns, kept, strict=True) if keep]
        return FileRows(*zip(*chosen, strict=True))


def fetch_file_rows(cursor: "duckdb.DuckDBPyConnection", run_id: int) -> FileRows:
    """The rows of a run; none where the shard does not have it."""
    found = rows(
        cursor,
        "SELECT name, size, mtime_ns, depth, missing_since IS NOT NULL, ordinal, train_list,"
        f" layout_id FROM file WHERE run_id = {run_id:d}",
    )
    found.sort(key=itemgetter(5))  # quicker than to have it sorted, and mostly it is
    names, *columns = zip(*found, strict=True) if found else ((),)
    return FileRows(tuple(map(from_text, names)), *columns)
