"""Choice of the catalog, or scan, that gives the facts of a run directory being opened.

1. The places that may know the run are asked in order: the catalog named by the caller or a
   setting, the proposal's ``scratch/.xfelcat``, the run directory's ``.xfelcat``, the user's.
2. Size and mtime of every file are compared with the facts of a catalog; only the names, or
   nothing, where that is trusted. The first whose facts are all fresh answers, and no HDF5 file is
   opened.
3. Else the outlines of new and changed files are scanned (or taken from a valid JSON data map), and
   joined with the catalogued facts that are still fresh.
4. A thread saves the outlines, where this is allowed; failing is no error.
"""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from ..config import TRUST, Settings, load_settings, user_catalog
from ..ingest.assemble import assemble_run, kept_elsewhere, other_home
from ..model.errors import (
    CatalogReadError,
    CatalogWriteError,
    ConfigError,
    FileStructureError,
    RunNotFoundError,
    XfelcatError,
    warn_caller,
)
from ..model.facts import FileComparison, FileStat, RunFacts, compare_files
from ..model.identity import proposal_directory
from ..model.records import Depth, FileRecord, RunRecord
from ..scan.discover import (
    FoundRun,
    list_names,
    list_run,
    locate_run,
    neighbours,
    no_data_file,
    stat_file,
)
from ..store.connections import OpenDatabase, uninterrupted
from ..store.packing import PackedRun, fetch_packed
from ..store.read import load_run, only_run
from ..store.store import Store, lacking
from .catalogued import catalogued_facts
from .scanned import scanned_facts

_WITHOUT = "opened without a catalog"
Chooser = Callable[[list[str]], list[str]]
_Listing = TypeVar("_Listing")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A catalog that knows the run."""

    store: Store
    shard: str
    run_id: int
    source: OpenDatabase
    known: PackedRun

    def facts(self, directory: str, names: Sequence[str] | None) -> RunFacts:
        """The facts of the run, as files of the directory that the caller opens."""
        known = (self.source, self.known)
        return catalogued_facts(
            self.store, self.shard, self.run_id, directory=directory, names=names, known=known
        )


def look_up_run(
    directory: str,
    choose: Chooser | None = None,
    catalog: str | os.PathLike[str] | None = None,
    trust: str | None = None,
    save: bool = True,
    parallelize: bool = True,
) -> RunFacts:
    """The facts of the run in a directory; options and errors as of ``RunDirectory``.

    ``choose`` takes the sorted names of the data files and gives the ones to open; the others are
    neither compared nor marked missing. ``catalog`` is the first place to look. ``trust`` is
    one of ``TRUST``, by default the setting.
    ``save`` saves the outlines of scanned files, ``parallelize`` scans in several processes.
    """
    settings = load_settings()
    trust = settings.trust if trust is None else trust
    if trust not in TRUST:
        raise ConfigError(f"trust is {trust!r}: it must be {' or '.join(map(repr, TRUST))}")
    found = locate_run(directory)
    candidates = _candidates(found, os.fspath(catalog) if catalog else "", settings)
    if trust != "stat":
        on_disk = _listed(found, list_names) if trust == "directory" else None
        asked = []
        for candidate in candidates:
            asked.append(candidate)
            known = candidate.known.files
            names = known.present() if on_disk is None else on_disk
            chosen = choose(names) if choose else names
            if chosen and set(chosen) <= set(known.present()):
                every = on_disk is None or known.are_all(on_disk)
                return candidate.facts(found.directory, None if every and not choose else chosen)
        candidates = iter(asked)
    stats = _listed(found, list_run)
    if not stats and choose is None:
        raise no_data_file(found.directory)
    wanted = stats if choose is None else _chosen(found, stats, choose)
    best: tuple[_Candidate, FileComparison] | None = None
    for candidate in candidates:
        known = candidate.known.files
        if known.is_fresh(wanted):
            every = known.are_all(wanted)
            return candidate.facts(found.directory, None if every else list(wanted))
        compared = compare_files(
            wanted,
            known.known(),
            depth=Depth.NAMES,
            retry=False,
            considered=None if choose is None else wanted,
        )
        if best is None or len(compared.to_scan) < len(best[1].to_scan):
            best = candidate, compared
    return _scan(found, wanted, best, choose is None and save, parallelize)


def _listed(found: FoundRun, listing: Callable[[str], _Listing]) -> _Listing:
    """What a function gives for the run's directory; an error of ours if that cannot be listed."""
    try:
        return listing(found.directory)
    except FileNotFoundError:
        near = neighbours(found.directory)
        raise RunNotFoundError(f"run directory {found.directory}", nearest=near) from None
    except NotADirectoryError:
        advice = "H5File opens a file"
        raise FileStructureError(found.directory, "not a directory", advice) from None
    except OSError as e:
        reason = f"the directory cannot be listed: {e.strerror}"
        raise FileStructureError(found.directory, reason) from None


def _chosen(found: FoundRun, stats: dict[str, FileStat], choose: Chooser) -> dict[str, FileStat]:
    """The chosen files. A file that the caller names in full may have any name."""
    wanted = {}
    for name in choose(list(stats)):
        stat = stats.get(name) or stat_file(os.path.join(found.directory, name))
        if stat is not None:
            wanted[name] = stat
    if not wanted:
        raise RunNotFoundError(
            f"data file in {found.directory}",
            sentence=f"no data file in {found.directory} fits include= and file_filter=",
        )
    return wanted


def _candidates(found: FoundRun, catalog: str, settings: Settings) -> Iterator[_Candidate]:
    """The catalogs that know the run, in the order of asking; ``catalog`` must be one."""
    named = (catalog, settings.catalog)
    for location in filter(None, chain(named, _own_places(found))):
        store = Store(location)
        beside = location == _beside(found)
        # A catalog beside the run may have been copied with it: its one run is this one.
        shards = list(store.shards())[:1] if beside else [found.identity.shard]
        for shard in shards:
            try:
                with uninterrupted():
                    source = store.open_shard(shard)
                    if source is None:
                        if location == catalog:
                            store.require()
                        if location in named and (reason := lacking(store, [shard])):
                            warn_caller(f"{_WITHOUT}: {reason}")
                        continue
                    cursor = source.cursor()
                    run_id = only_run(cursor) if beside else found.identity.run_id
                    known = fetch_packed(cursor, run_id)
            except CatalogReadError as e:  # the data can be opened without it
                warn_caller(f"{_WITHOUT}: {e}")
                continue
            if known and known.files.names:
                yield _Candidate(store, shard, run_id, source, known)


def _own_places(found: FoundRun) -> Iterator[str]:
    """Where outlines are without a setting: proposal's scratch, the run itself, the user's."""
    for path in (found.directory, found.realpath):
        if proposal := proposal_directory(path):
            yield os.path.join(proposal, "scratch", ".xfelcat")
            break
    yield _beside(found)
    yield from _users_own()


def _users_own() -> tuple[str, ...]:
    """The user's own catalog; none for a user without a home directory."""
    try:
        return (user_catalog(),)
    except ConfigError:
        return ()


def _beside(found: FoundRun) -> str:
    return os.path.join(found.directory, ".xfelcat")


def _scan(
    found: FoundRun,
    wanted: dict[str, FileStat],
    best: tuple[_Candidate, FileComparison] | None,
    save: bool,
    parallelize: bool,
) -> RunFacts:
    """Facts of files that are new or changed, joined with the catalogued ones that are fresh."""
    old: RunRecord | None = None
    compared = FileComparison(new=list(wanted))
    if best is not None:
        candidate, compared = best
        with uninterrupted():
            old = load_run(candidate.source.cursor(), candidate.run_id)
    scanned = scan_run(found, {n: wanted[n] for n in compared.to_scan}, parallelize)
    kept = {f.name: f for f in old.files if f.name in wanted} if old else {}
    for name in compared.returned:
        kept[name] = dataclasses.replace(kept[name], missing_since=None)
    facts = scanned_facts(found.directory, list((kept | scanned).values()), found.identity.run_id)
    if save and len(facts.table.names):
        with contextlib.suppress(RuntimeError):  # the program is ending already
            # What the thread imports may need it, and cannot import it once the program has ended.
            import concurrent.futures.thread  # noqa: F401

            threading.Thread(target=_save, args=(found, scanned), name="xfelcat-save").start()
    return facts


def scan_run(
    found: FoundRun, stats: dict[str, FileStat], parallelize: bool = True
) -> dict[str, FileRecord]:
    """Outlines of files by name: from a JSON data map where it is valid, else from the files."""
    from ..scan.datamap import read_data_maps
    from ..scan.locality import files_off_disk
    from ..scan.scan import scan_outlines, unread_record

    records, _ = read_data_maps(found.directory, stats)
    paths = [os.path.join(found.directory, name) for name in stats if name not in records]
    off_disk = files_off_disk(paths)
    scanned, blamed = scan_outlines(
        [p for p in paths if p not in off_disk], parallelize=parallelize
    )
    records |= {os.path.basename(path): record for path, record in scanned.items()}
    unread = {path: (f"file is {where}, not on disk", where) for path, where in off_disk.items()}
    unread |= {path: (why, "") for path, why in blamed.items()}
    for path, about in unread.items():
        name = os.path.basename(path)
        records[name] = unread_record(path, stats[name], *about)
    return records


def _save(found: FoundRun, scanned: dict[str, FileRecord]) -> None:
    """Save outlines where this is allowed; runs in its own thread, and never fails."""
    # RuntimeError: Python starts and imports no more where the program ends meanwhile.
    with contextlib.suppress(XfelcatError, OSError, RuntimeError):
        # Never in a catalog that a setting names, and never where a proposal has no scratch folder.
        places = [_beside(found), *_users_own()]
        if not found.identity.is_loose:
            own = [p for p in _own_places(found) if p != _beside(found)]
            places = [p for p in own if p in _users_own() or os.path.isdir(os.path.dirname(p))]
        for location in places:
            store = Store(location)
            try:
                with store.write(found.identity.shard, wait=False) as writer:
                    old = writer.load_run(found.identity.run_id)
                    ours = compare_files(list_run(found.directory), old.by_name if old else {})
                    home = other_home(found, old.locations) if old else ""
                    if home and (ours.changed or kept_elsewhere(ours, home)):
                        return
                    # Files that may be readable next time are not saved: the next opening tries.
                    outlines = {
                        name: scanned[name]
                        for name in ours.to_scan
                        if name in scanned and not scanned[name].retry
                    }
                    record = assemble_run(found, old, ours, outlines)
                    if record is not None:
                        writer.replace_run(record)
                return
            except CatalogWriteError:
                continue
