"""Directories below some roots, and which runs among them may have changed since the last look.

A network file system reports no changes, so directories are stat'ed, as few as will do:

1. A folder above the runs is stat'ed in every round, and listed again only if its mtime changed.
2. A run directory is stat'ed the less often the longer it has rested: after a hundredth of its age.
3. A run that was written to a short while ago is *active*: its files are stat'ed in every round,
   for files grow without their directory changing.
4. After ``recheck`` seconds every run is looked at once more, file by file.

``Tree`` remembers this in memory only; a new one starts from the runs of the catalog.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..scan.discover import is_excluded, list_directory

# A listing made within this time of the last change may lack what came in the same tick.
_RACY_SECONDS = 3.0
_AGE_SHARE = 0.01  # of the age of a run: a change is seen after that share of it at the latest


@dataclass(frozen=True, slots=True)
class Settled:
    """A run in the catalog: files on disk, newest mtime and time of ingest (s)."""

    n_files: int
    newest: float
    ingested: float


@dataclass(slots=True)
class _Folder:
    realpath: str
    mtime: float = -1.0  # of the listing; -1: list it again
    folders: list[str] = field(default_factory=list)
    n_data_files: int = 0
    is_run: bool = False
    looked_at: float = float("-inf")  # file by file
    stat_at: float = float("-inf")
    active: bool = True


class Tree:
    """The directories below some roots, as they were last seen.

    ``errors`` are the directories that could not be listed in the last round, with the reason.
    """

    def __init__(
        self,
        roots: Iterable[str],
        exclude: Iterable[str] = (),
        *,
        settled: dict[str, Settled] | None = None,
        patience: float = 3600.0,
        recheck: float = 86400.0,
    ) -> None:
        self._roots = [os.path.abspath(os.path.expanduser(r)) for r in roots]
        self._exclude = tuple(exclude)
        self._settled = settled or {}
        self._patience = patience
        self._recheck = recheck
        self._folders: dict[str, _Folder] = {}
        self.errors: dict[str, str] = {}

    @property
    def n_runs(self) -> int:
        """How many runs were seen so far."""
        return sum(f.is_run for f in self._folders.values())

    def due(self) -> Iterator[str]:
        """The run directories to look at now, file by file, in the order of their paths."""
        self.errors = {}
        entered: set[str] = set()
        seen: set[str] = set()
        waiting = list(reversed(self._roots))
        while waiting:
            path = waiting.pop()
            if is_excluded(path, self._exclude):
                continue
            folder = self._look(path)
            if folder is None or folder.realpath in entered:
                continue
            entered.add(folder.realpath)
            seen.add(path)
            if folder.is_run and self._is_due(path, folder):
                folder.looked_at = time.time()
                yield path
            waiting += reversed(folder.folders)
        unreadable = tuple(e.rstrip("/") + "/" for e in self.errors)
        for path in self._folders.keys() - seen:
            if not f"{path}/".startswith(unreadable):
                del self._folders[path]

    def rest(self, path: str, newest: float, *, waits: bool) -> None:
        """Record a look: the newest mtime of the run, and whether any file is still awaited."""
        folder = self._folders.get(path)
        if folder is not None:
            changed = max(newest, folder.mtime)
            folder.active = waits or time.time() - changed < self._patience

    def again(self, path: str) -> None:
        """Look at this run in the next round, whatever its age: this look failed."""
        if path in self._folders:
            self._folders[path].active = True

    def _look(self, path: str) -> _Folder | None:
        """The folder, listed anew if it changed; None where that is not possible."""
        folder = self._folders.get(path)
        now = time.time()
        if folder and folder.is_run and not folder.active:
            rested = now - max(folder.mtime, 0)
            if now - folder.stat_at < min(rested * _AGE_SHARE, self._recheck):
                return folder
        try:
            mtime = os.stat(path).st_mtime
            if folder is None or folder.mtime != mtime:
                folder = self._list(path, folder)
                folder.mtime = mtime if abs(now - mtime) > _RACY_SECONDS else -1.0
                folder.active = folder.active or folder.is_run
        except OSError as e:
            self.errors[path] = f"directory cannot be listed: {e.strerror}"
            return None
        folder.stat_at = now
        self._folders[path] = folder
        return folder

    def _list(self, path: str, old: _Folder | None) -> _Folder:
        listing = list_directory(path)
        folder = old or _Folder(os.path.realpath(path))
        if old is not None and len(listing.data_names) != old.n_data_files:
            folder.active = True
        folder.folders = listing.folders
        folder.n_data_files = len(listing.data_names)
        # A run whose last file vanished is looked at once more, to mark that file.
        folder.is_run = folder.is_run or listing.is_run(is_given=path in self._roots)
        return folder

    def _is_due(self, path: str, folder: _Folder) -> bool:
        now = time.time()
        if folder.looked_at == float("-inf") and self._needs_no_look(path, folder, now):
            folder.looked_at, folder.active = now, False
            return False
        return folder.active or now - folder.looked_at > self._recheck

    def _needs_no_look(self, path: str, folder: _Folder, now: float) -> bool:
        """Whether by the catalog nothing can have changed in a run not yet looked at."""
        known = self._settled.get(path)
        if known is None or known.n_files != folder.n_data_files or folder.mtime < 0:
            return False
        changed = max(known.newest, folder.mtime)
        return changed < known.ingested and now - changed > self._patience
