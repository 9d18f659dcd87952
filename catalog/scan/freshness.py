"""Do the catalogued facts of a run still hold for the files on disk?

Compares what a directory lists with what the catalog knows, by name, size and mtime, and sorts the
names into what to keep, scan and mark missing. Pure: the caller lists, reads and writes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..records import Depth
from .discover import FileStat

__all__ = ["Comparison", "KnownFile", "compare_files"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the catalog knows of a file, as far as freshness is concerned."""

    size: int
    mtime_ns: int
    depth: Depth
    verified: bool = False
    retry: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """Names of the data files of a run, by what is to become of them.

    ``unchanged``: the facts hold and are deep enough. ``shallow``: they hold, but more is wanted,
    or the last try failed for a reason that may have passed. ``changed``: size or mtime differ.
    ``new``: on disk only. ``returned``: marked missing, and back as it was. ``vanished``: in the
    catalog only, and not yet marked missing.
    """

    unchanged: list[str] = field(default_factory=list)
    shallow: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    @property
    def to_scan(self) -> list[str]:
        """Files whose facts are to be read from disk, sorted."""
        return sorted(self.shallow + self.changed + self.new)

    @property
    def is_fresh(self) -> bool:
        """Whether the catalog needs no change."""
        return not (self.to_scan or self.returned or self.vanished)


def compare_files(
    on_disk: Mapping[str, FileStat],
    known: Mapping[str, KnownFile],
    *,
    depth: Depth = Depth.FULL,
    verify: bool = False,
    force: bool = False,
    retry: bool = True,
    considered: Iterable[str] | None = None,
) -> Comparison:
    """Sort the files of a run.

    ``depth`` and ``verify`` say what is wanted; ``force`` scans what is unchanged too, and
    ``retry`` what could not be read for a reason that may have passed. Only names in ``considered``
    are judged to have vanished, if it is given: a subset opened with ``include=`` says nothing
    about the other files.
    """
    result = Comparison()
    for name, stat in on_disk.items():
        old = known.get(name)
        if old is None:
            result.new.append(name)
        elif (old.size, old.mtime_ns) != (stat.size, stat.mtime_ns):
            result.changed.append(name)
        elif force or (retry and old.retry) or _too_shallow(old, depth, verify):
            result.shallow.append(name)
        elif old.missing:
            result.returned.append(name)
        else:
            result.unchanged.append(name)
    gone = set(known) - set(on_disk)
    if considered is not None:
        gone &= set(considered)
    result.vanished.extend(sorted(n for n in gone if not known[n].missing))
    return result


def _too_shallow(old: KnownFile, depth: Depth, verify: bool) -> bool:
    # A file that could not be read at all stays so until it changes (or retry is set).
    return old.depth > Depth.UNREAD and (old.depth < depth or (verify and not old.verified))
