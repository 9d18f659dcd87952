"""Run directories below given paths, and the data files in them.

A run is a directory with data files. Walking lists directories and nothing else: no file is
opened, and none is stat'ed that the listing already describes.

1. ``find_runs`` walks from each given path, following links; a directory is entered once by its
   resolved path, so loops end and a run reached in two ways is found once.
2. Below a given path a directory counts as a run if one file has the name of an EXDF file; the
   given path itself also if it has any ``.h5`` entry, whatever the name.
"""

import fnmatch
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

from ..model.errors import RunNotFoundError, nearest
from ..model.facts import FileStat
from ..model.identity import RunIdentity, identify_run, is_data_file, parse_file_name
from ..model.records import Problem

UNKNOWN_STAT = FileStat(-1, -1)
# From so many seconds per file on, stats are worth threads: local file systems take microseconds.
_SLOW_STAT = 100e-6
_FIRST_STATS = 16
_STAT_THREADS = 16


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run directory as it was found: its absolute path, the same resolved, and who it is."""

    directory: str
    realpath: str
    identity: RunIdentity


def locate_run(path: str) -> FoundRun:
    """The run in a directory, with its identity; the directory need not exist."""
    directory = os.path.abspath(os.path.expanduser(path))
    realpath = os.path.realpath(directory)
    return FoundRun(directory, realpath, identify_run(directory, realpath))


def find_runs(paths: Iterable[str], exclude: Iterable[str] = ()) -> Iterator[FoundRun | Problem]:
    """The runs below ``paths``, in the order of their paths, and directories that cannot be read.

    ``exclude`` are globs, matched against the whole path and the name of each directory and file.
    Raises RunNotFoundError at once for a path that is absent or no directory.
    """
    roots = [os.path.abspath(os.path.expanduser(p)) for p in paths]
    for root in roots:
        if not os.path.isdir(root):
            if os.path.exists(root):
                here = f"{root} is a file: name the directory of its run, {os.path.dirname(root)}"
                raise RunNotFoundError(f"directory {root}", sentence=here)
            raise RunNotFoundError(f"directory {root}", nearest=neighbours(root))
    return _walk(roots, tuple(exclude))


def list_run(directory: str) -> dict[str, FileStat]:
    """The data files in a directory, by name in sorted order.

    A file that vanishes meanwhile is left out; one that cannot be stat'ed (a dangling link) has
    size and mtime -1. Raises OSError if the directory itself cannot be listed.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = list_names(folder)
        stats = _stat_all(names, folder)
    finally:
        os.close(folder)
    return {name: stat for name, stat in zip(names, stats, strict=True) if stat is not None}


def list_names(directory: str | int) -> list[str]:
    """The names of the data files in a directory, sorted; raises OSError."""
    return sorted(filter(is_data_file, os.listdir(directory)))


def _stat_all(names: list[str], folder: int) -> list[FileStat | None]:
    """One stat for each name in an open directory; in threads if the first few are slow."""
    started = time.perf_counter()
    found = [stat_file(name, folder) for name in names[:_FIRST_STATS]]
    rest = names[_FIRST_STATS:]
    if rest and time.perf_counter() - started > _FIRST_STATS * _SLOW_STAT:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_STAT_THREADS) as pool:
            return found + list(pool.map(stat_file, rest, repeat(folder)))
    return found + [stat_file(name, folder) for name in rest]


def stat_file(path: str, folder: int | None = None) -> FileStat | None:
    """Size and mtime of a file; -1 if it cannot be stat'ed, None if it is not there at all.

    ``path`` may be relative to an open directory.
    """
    try:
        stat = os.stat(path, dir_fd=folder)
    except OSError:
        try:
            os.lstat(path, dir_fd=folder)
        except OSError:
            return None
        return UNKNOWN_STAT
    return FileStat(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class DirectoryListing:
    """Names of the data files in a directory, and paths of the folders to look into; sorted."""

    data_names: list[str]
    folders: list[str]

    def is_run(self, *, is_given: bool = False) -> bool:
        """Whether this is a run; a directory that was given needs no name of an EXDF file."""
        return any(map(parse_file_name, self.data_names)) or (is_given and bool(self.data_names))


def list_directory(path: str) -> DirectoryListing:
    """List a directory without a look at its files. Raises OSError where that is not possible."""
    with os.scandir(path) as listing:
        entries = sorted(listing, key=lambda e: e.name)
    others = [e for e in entries if not is_data_file(e.name)]
    return DirectoryListing(
        [e.name for e in entries if is_data_file(e.name)],
        [e.path for e in others if not e.name.startswith(".") and _is_folder(e)],
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle, or through a folder without permission
        return False


def is_excluded(path: str, exclude: Iterable[str]) -> bool:
    """Whether a path, or its last part, matches one of the globs."""
    name = os.path.basename(path)
    return any(fnmatch.fnmatchcase(path, g) or fnmatch.fnmatchcase(name, g) for g in exclude)


def _walk(roots: list[str], exclude: tuple[str, ...]) -> Iterator[FoundRun | Problem]:
    entered: set[str] = set()
    waiting = list(reversed(roots))
    given = set(roots)
    while waiting:
        directory = waiting.pop()
        realpath = os.path.realpath(directory)
        if realpath in entered or is_excluded(directory, exclude):
            continue
        entered.add(realpath)
        try:
            listing = list_directory(directory)
        except OSError as e:
            reason = f"directory cannot be listed: {e.strerror}"
            yield Problem("F06", "W", reason, directory)
            continue
        if listing.is_run(is_given=directory in given):
            yield FoundRun(directory, realpath, identify_run(directory, realpath))
        waiting += reversed(listing.folders)


def no_data_file(directory: str) -> RunNotFoundError:
    """The error of a directory without data files, which names the runs that lie below it."""
    found = _walk([directory], ())
    runs = [os.path.relpath(run.directory, directory) for run in found if isinstance(run, FoundRun)]
    sentence = f"{directory} has no data file (*.h5): name a file, or the directory of a run"
    if runs:
        few = runs if len(runs) < 5 else [*runs[:2], "...", runs[-1]]
        sentence = f"{directory} is no run: name one of the {len(runs)} below it, {', '.join(few)}"
    return RunNotFoundError(f"data file in {directory}", sentence=sentence)


def neighbours(path: str) -> list[str]:
    """Existing entries next to an absent path that look like it."""
    parent = os.path.dirname(path)
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    return [os.path.join(parent, n) for n in nearest(os.path.basename(path), names)]
