"""Runs and files opened by path, or by proposal and run number.

``RunDirectory`` opens a directory, ``H5File`` one file; ``open_run`` finds the directories. The
facts come from the catalog or the files (``catalog.opening.resolve``). One warning names the files
that could not be used; the rest is opened.
"""

import contextlib
import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, SupportsIndex

from ..catalog.config import load_settings
from ..catalog.model.errors import RunNotFoundError, nearest, warn_caller
from ..catalog.model.identity import is_data_file, parse_proposal, parse_run, parse_run_name
from ..catalog.opening.resolve import look_up_run
from ..catalog.scan.discover import neighbours
from ..catalog.scan.locality import lc_any
from .collection import DataCollection
from .compat.file_access import look_up_files, warn_of_problems

PathLike = str | os.PathLike[str]
FileFilter = Callable[[list[str]], Iterable[str]]
DEFAULT_ALIASES = "{}/usr/extra-data-aliases.yml"


def RunDirectory(
    path: PathLike,
    include: str = "*",
    file_filter: FileFilter = lc_any,
    *,
    inc_suspect_trains: bool = True,
    parallelize: bool = True,
    aliases: PathLike | None = None,
    catalog: PathLike | None = None,
    trust: str | None = None,
    save: bool = True,
    allow_duplicates: bool = False,
    _use_voview: bool = True,
) -> DataCollection:
    """Open the data files of a run directory.

    Parameters
    ----------
    path
        The run directory. It may lie anywhere.
    include
        Glob that the names of the files to open must match.
    file_filter
        Called with the list of paths, returns those to open; see ``xfelcat.locality``.
    inc_suspect_trains
        False leaves out trains whose ID is suspect: where INDEX/flag says so or, in files without
        flags, those that break the increasing order.
    parallelize
        Whether worker processes may be started to scan files that are in no catalog.
    aliases
        Path of an alias definition file, as for ``DataCollection.with_aliases``.
    catalog
        Location of a catalog to ask before all others.
    trust
        ``"stat"`` compares size and time of every file with the catalog, ``"directory"`` only the
        names of the files, ``"never-stat"`` believes a catalog that knows the run. A file that is
        opened is compared in any case. None takes the setting.
    save
        Whether facts that had to be read from the files may be saved for the next opening.
    allow_duplicates
        True opens a run in which a source has the same train in several files; the data then
        holds such trains several times.

    Raises
    ------
    RunNotFoundError
        If the directory is absent, or has no data file that was asked for.
    FileStructureError
        If there are data files, but none is usable; the message gives the reasons. Also for a
        directory that may not be read, and for a file in its place.
    DuplicateTrainError
        If a source has the same train in several files.
    CatalogNotFoundError
        If ``catalog`` names a place without a catalog.

    Warns
    -----
    UserWarning
        If some files could not be used; they are named.
    """
    directory = run_place(path)
    choose = _chooser(directory, include, file_filter)
    facts = look_up_run(directory, choose, catalog, trust, save, parallelize)
    warn_of_problems(facts, directory)
    collection = DataCollection.from_facts(
        facts, inc_suspect_trains=inc_suspect_trains, allow_duplicates=allow_duplicates
    )
    return collection if aliases is None else collection.with_aliases(os.fspath(aliases))


def H5File(
    path: PathLike,
    *,
    inc_suspect_trains: bool = True,
    catalog: PathLike | None = None,
    trust: str | None = None,
) -> DataCollection:
    """Open a single data file.

    Parameters
    ----------
    path
        The file. It may lie anywhere.
    inc_suspect_trains, catalog, trust
        As for ``RunDirectory``. A catalog that knows the file's run knows the file.

    Raises
    ------
    RunNotFoundError
        If there is no such file.
    FileStructureError
        If it is not a usable EXDF file.
    """
    directory, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    facts = look_up_files(directory, [name], catalog=catalog, trust=trust)
    return DataCollection.from_facts(
        facts, inc_suspect_trains=inc_suspect_trains, is_single_run=True
    )


def open_run(
    proposal: int | PathLike,
    run: int | str,
    data: str | Sequence[str] | None = None,
    include: str = "*",
    file_filter: FileFilter = lc_any,
    *,
    inc_suspect_trains: bool = True,
    parallelize: bool = True,
    aliases: PathLike | None = DEFAULT_ALIASES,
    catalog: PathLike | None = None,
    trust: str | None = None,
    save: bool = True,
    allow_duplicates: bool = False,
    _use_voview: bool = True,
) -> DataCollection:
    """Open a run of the facility tree by proposal and run number.

    Parameters
    ----------
    proposal
        2012, ``'2012'``, ``'p002012'`` or the path of the proposal's directory. Numbers are looked
        for below the data root (``XFELCAT_DATA_ROOT``, the config file, ``/gpfs/exfel/exp``).
    run
        243, ``'243'`` or ``'r0243'``.
    data
        ``'raw'``, ``'proc'`` or any other folder of the proposal that holds runs; ``'all'`` is raw
        and proc; ``'default'`` is proc (which may be absent), then raw. Of a sequence, sources of
        later folders replace those of earlier ones; folders without the run are warned of. None
        takes the setting ``default_data``; without that it is raw, with a warning where proc has
        the run too.
    aliases
        Alias definition file; ``{}`` stands for the proposal's directory. The default is used only
        where it exists, else the one that the instrument has for all its proposals. None: no
        aliases.
    include, file_filter, inc_suspect_trains, parallelize, catalog, trust, save, allow_duplicates
        As for ``RunDirectory``.

    Raises
    ------
    RunNotFoundError
        If the proposal or the run does not exist; it names the places looked at and the nearest
        proposals or runs that exist.
    FileStructureError
        If the run has no usable file.
    """
    proposal_dir = find_proposal(proposal)
    if data is None:
        data = load_settings().default_data or _raw_with_a_warning(proposal_dir, run)
    parts = [
        RunDirectory(
            directory,
            include,
            file_filter,
            inc_suspect_trains=inc_suspect_trains,
            parallelize=parallelize,
            catalog=catalog,
            trust=trust,
            save=save,
            allow_duplicates=allow_duplicates,
        )
        for directory in _run_directories(proposal_dir, run, data)
    ]
    collection = reduce(_overlay, parts)
    return with_alias_file(collection, proposal_dir, aliases)


def with_alias_file(
    collection: DataCollection,
    proposal_dir: str | None,
    aliases: PathLike | Mapping[str, Any] | None = DEFAULT_ALIASES,
) -> DataCollection:
    """A run with aliases: those given, or those of a file, ``aliases`` as for ``open_run``.

    ``proposal_dir`` None takes that of the run's path, and no default ones for a run elsewhere.
    """
    if isinstance(aliases, Mapping):
        return collection.with_aliases(aliases)
    path = None if aliases is None else os.fspath(aliases)
    if path is not None and "{}" in path:  # as the default one: only if it is there
        if proposal_dir is None and collection.path and collection.proposal is not None:
            proposal_dir = os.path.dirname(os.path.dirname(collection.path))
        places = [path.replace("{}", proposal_dir)] if proposal_dir else []
        if path == DEFAULT_ALIASES and proposal_dir:
            places.append(_instrument_aliases(proposal_dir))
        path = next(filter(os.path.isfile, places), None)
    return collection if path is None else collection.with_aliases(path)


def _raw_with_a_warning(proposal_dir: str, run: int | str) -> str:
    """``"raw"``; a warning, for Python to show once, where that is not all there is of a run."""
    with contextlib.suppress(RunNotFoundError):
        processed = find_run_directory(proposal_dir, run, "proc")
        if os.path.isdir(os.path.join(proposal_dir, "raw", os.path.basename(processed))):
            warn_caller(
                "open_run without data= opens raw data alone, and there are processed data of this"
                " run too: give data='raw' or data='default' (both), or set XFELCAT_DEFAULT_DATA"
            )
    return "raw"


def _instrument_aliases(proposal_dir: str) -> str:
    """The alias file of the instrument whose proposal this is."""
    instrument = Path(proposal_dir).parent.parent.name
    return os.path.join(load_settings().software_root, instrument, "extra-data-aliases-default.yml")


def run_place(path: PathLike) -> str:
    """The absolute path of a run or file; where nothing lies there, of the run that it names.

    Names are ``"p002012/raw/r0034"``, ``"2012/34"`` and the like. Raises RunNotFoundError for a
    name of a run that is not there.
    """
    place = os.path.abspath(os.path.expanduser(path))
    named = None if os.path.lexists(place) else parse_run_name(os.fspath(path))
    if named is None:
        return place
    proposal, data_class, run = named
    return find_run_directory(find_proposal(proposal), run, data_class)


def find_proposal(proposal: int | PathLike) -> str:
    """The directory of a proposal, given by number or path; raises RunNotFoundError."""
    number = parse_proposal(proposal) if isinstance(proposal, SupportsIndex | str) else None
    if number is None:
        path = os.path.abspath(os.path.expanduser(os.fspath(str(proposal))))
        if os.path.isdir(path):
            return path
        raise RunNotFoundError(f"proposal directory {path}")
    root = Path(load_settings().data_root)
    name = f"p{number:06d}"
    found = sorted(root.glob(f"*/*/{name}"))
    if found:
        return str(found[0])
    known = {p.name: str(p) for p in root.glob("*/*/p??????")}
    near = [known[n] for n in nearest(name, known)]
    sentence = f"proposal {name} not found below the data root (XFELCAT_DATA_ROOT names another)"
    raise RunNotFoundError(f"proposal {name}", [f"{root}/*/*/{name}"], near, sentence=sentence)


def find_run_directory(
    proposal_dir: str, run: int | str, folder: str, *, with_files: bool = False
) -> str:
    """The directory of a run in a folder of a proposal; raises RunNotFoundError.

    ``with_files``: also if there is no data file in it, as before processing has written one.
    """
    number = parse_run(run)
    if number is None:
        sentence = f"{run!r} is no run: write 243, '243' or 'r0243'"
        raise RunNotFoundError(f"run {run!r}", sentence=sentence)
    name = f"r{number:04d}"
    parent = os.path.join(proposal_dir, folder)
    path = os.path.join(parent, name)
    if os.path.isdir(path):
        if with_files and not any(map(is_data_file, os.listdir(path))):
            sentence = f"run {name} ({folder}) has no data file yet"
            raise RunNotFoundError(f"run {name} ({folder})", [path], sentence=sentence)
        return path
    try:
        there = [n for n in os.listdir(parent) if n.startswith("r") and parse_run(n) is not None]
        near = sorted(there, key=lambda n: abs((parse_run(n) or 0) - number))[:3]
    except OSError:  # there is no such folder
        near = neighbours(parent)
    raise RunNotFoundError(f"run {name} ({folder})", [path], near)


def _run_directories(proposal_dir: str, run: int | str, data: str | Sequence[str]) -> list[str]:
    """The directories to open in order, later ones above earlier ones; at least one.

    Warns of a folder without the run, unless it may be absent.
    """
    may_lack = {"proc"} if data == "default" else set()
    named = {"all": ("raw", "proc"), "default": ("proc", "raw")}
    folders = named.get(data, (data,)) if isinstance(data, str) else tuple(data)
    if not folders:
        raise ValueError("data= names no folder: give 'raw', 'proc', 'all' or several")
    found: list[str] = []
    absent: dict[str, RunNotFoundError] = {}
    for folder in folders:
        try:
            found.append(find_run_directory(proposal_dir, run, folder, with_files=len(folders) > 1))
        except RunNotFoundError as e:
            absent[folder] = e
    if len(absent) == 1 and not found:
        raise next(iter(absent.values()))
    if not found:
        places = [place for e in absent.values() for place in e.looked_at]
        near = [n for e in absent.values() for n in e.nearest]
        raise RunNotFoundError(f"run {run} ({', '.join(folders)})", places, dict.fromkeys(near))
    for folder in absent.keys() - may_lack:
        warn_caller(f"opened without {folder} data: {absent[folder]}")
    return found


def _overlay(below: DataCollection, above: DataCollection) -> DataCollection:
    """Both, with sources of the upper one in place of those below."""
    replaced = below.all_sources & above.all_sources
    if replaced == below.all_sources:
        return above
    if replaced:
        below = below.deselect([(source, "*") for source in replaced])
    return below.union(above)


def _chooser(
    directory: str, include: str, file_filter: FileFilter
) -> Callable[[list[str]], list[str]] | None:
    """What picks the files to open from the names; None where that is all of them."""
    if include == "*" and file_filter is lc_any:
        return None

    def choose(names: list[str]) -> list[str]:
        paths = [os.path.join(directory, n) for n in names if fnmatch.fnmatch(n, include)]
        return sorted(os.path.basename(p) for p in file_filter(paths))

    return choose
