"""What does the catalog know of a run that is being opened?

``CatalogFacts`` is the ``RunFacts`` of a catalogued run. Opening takes one query for what is packed
of the run (files, trains, index), and two for layouts that are not known yet; everything else is
fetched when it is asked for, a little at first and then in growing portions, so that one key costs
one query and all keys cost few. What a file's depth lacks comes from the file itself (``probe``).

1. ``find_run``: the facts of a run, if a store has it.
2. ``only_run``: the one run of a shard.
3. ``CatalogFacts``.

Fixed plain SQL on the DuckDB API: no pandas, pyarrow or sqlalchemy is imported on this path.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..model.errors import ChangedFileError, RunNotFoundError, SourceNameError
from ..model.facts import DataFile
from ..model.identity import RunIdentity, aggregator_and_sequence
from ..model.records import Depth, FileLayout, KeySchema, Problem, RunValue
from ..model.runlength import IndexPattern, TrainList
from ..store.connections import OpenFile, rows
from ..store.packing import PackedRun, fetch_packed, from_text
from ..store.read import (
    Names,
    StoredLayout,
    fetch_layouts,
    fetch_metadata,
    fetch_run_values,
    fetch_schemas,
    fetch_timestamps,
)
from ..store.store import Store

if TYPE_CHECKING:
    import duckdb

    from .lazy import Probe

__all__ = [
    "CatalogFacts",
    "Portions",
    "find_run",
    "only_run",
]

# Decoded keys that the runs of one open shard may share, before they are dropped and start anew.
_SHARED_KEYS = 200_000


def find_run(store: Store, identity: RunIdentity) -> "CatalogFacts | None":
    """The facts of a run; None where the store does not have it."""
    try:
        return CatalogFacts(store, identity.shard, identity.run_id)
    except RunNotFoundError:
        return None


def only_run(cursor: "duckdb.DuckDBPyConnection") -> int:
    """The run_id of the shard's one run; -1 where it has none or several."""
    found = rows(cursor, "SELECT run_id FROM run LIMIT 2")
    return int(found[0][0]) if len(found) == 1 else -1


class CatalogFacts:
    """The facts of one catalogued run.

    Parameters
    ----------
    store, shard, run_id
        Where the run is catalogued.
    directory
        Where its files lie now; by default where they were catalogued.
    names
        The files to use, which are there; by default all that can serve data.
    known
        The shard, open, and what ``fetch_packed`` gave of the run there, if that was asked already;
        ``directory`` is to be given too then.

    Raises RunNotFoundError where the shard does not have the run.

    Pickles as a reference to the catalog. If that has gone on meanwhile, the run is taken from its
    current version, and a run that is no longer the same raises ChangedFileError.
    """

    def __init__(
        self,
        store: Store,
        shard: str,
        run_id: int,
        *,
        directory: str | None = None,
        names: Collection[str] | None = None,
        known: tuple[OpenFile, PackedRun] | None = None,
    ) -> None:
        self._store = store
        self._shard = shard
        self._run_id = run_id
        self._names = None if names is None else frozenset(names)
        source, found = known or (store.open_shard(shard), None)
        self._open(source, directory, found)

    def _open(
        self, source: OpenFile | None, directory: str | None, known: PackedRun | None = None
    ) -> None:
        if source is None:
            raise self._not_found()
        self._source = source
        self._pid = os.getpid()
        self._identity: RunIdentity | None = None
        if known is None or directory is None:
            self._identity, catalogued_at = self._fetch_identity()
            directory = catalogued_at if directory is None else directory
        self._directory = os.fspath(directory)
        self._load_files(source.cursor(), known)
        self._schemas = Portions[int, KeySchema](self._fetch_schemas)
        self._values = Portions[int, Mapping[str, RunValue]](self._fetch_values)
        self._times: dict[int, NDArray[np.uint64]] | None = None
        self._metadata: list[dict[str, str | int]] | None = None
        self._run_sources: dict[str, int] | None = None
        self._problems: tuple[Problem, ...] | None = None

    def _not_found(self) -> RunNotFoundError:
        return RunNotFoundError(f"run {self._run_id} of shard {self._shard}", [str(self._store)])

    def _fetch_identity(self) -> tuple[RunIdentity, str]:
        from ..store.read import fetch_identity

        found = fetch_identity(self._cursor(), self._run_id)
        if found is None:
            raise self._not_found()
        return found[:2]

    def _load_files(self, cursor: "duckdb.DuckDBPyConnection", known: PackedRun | None) -> None:
        packed = known or fetch_packed(cursor, self._run_id)
        if packed is None:
            raise self._not_found()
        every, trains, self._index = packed
        self._rows = every.usable(self._names)
        self._left_out = self._rows is not every
        self._ordinals, self._depths = self._rows.ordinals, self._rows.depths
        self._files: tuple[DataFile, ...] | None = None
        self._probe_of_files: Probe | None = None
        self._trains = tuple(map(trains.__getitem__, self._rows.train_lists))
        layouts = self._known_layouts(cursor, set(self._rows.layouts))
        bare = {number: layout for number, (layout, _) in layouts.items()}
        self._layouts = tuple(map(bare.__getitem__, self._rows.layouts))
        self._stored_layouts = {id(layout): stored for layout, stored in layouts.values()}

    def _known_layouts(
        self, cursor: "duckdb.DuckDBPyConnection", wanted: set[int]
    ) -> dict[int, tuple[FileLayout, StoredLayout]]:
        """Layouts by id, shared by all runs of this version of the shard that are open."""
        shared = self._source.memo
        memo: dict[int, tuple[FileLayout, StoredLayout]] = shared.setdefault("layout", {})
        missing = wanted - memo.keys()
        if missing:
            names: Names = shared.setdefault("source names", {})
            for number, stored in fetch_layouts(cursor, missing, names).items():
                bare = FileLayout(stored.sources, (None,) * len(stored.sources))
                memo.setdefault(number, (bare, stored))
        return {number: memo[number] for number in wanted}

    # Pickling and forking -----------------------------------------------------------------------

    def _fingerprint(self) -> bytes:
        said = repr([(f.path, f.size, f.mtime_ns) for f in self.files])
        return hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=16).digest()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "location": str(self._store.location),
            "shard": self._shard,
            "version": self._source.path,
            "run_id": self._run_id,
            "directory": self._directory,
            "names": self._names,
            "fingerprint": self._fingerprint(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._store = Store(state["location"])
        self._shard = state["shard"]
        self._run_id = state["run_id"]
        self._names = state["names"]
        self._open(self._store.open_version(self._shard, state["version"]), state["directory"])
        if self._fingerprint() != state["fingerprint"]:
            raise ChangedFileError(self._directory, "the run was catalogued anew")

    def _after_fork(self) -> None:
        """In a child made by fork, connect anew: the parent's connection is not ours to use.

        Stands first in every method that may ask the catalog, before it has any ids in hand.
        """
        if self._pid == os.getpid():
            return
        same = self._store.open_version(self._shard, self._source.path)
        if same is None or same.path != self._source.path:
            self.__setstate__(self.__getstate__())
        else:
            self._source, self._pid = same, os.getpid()

    def _cursor(self) -> "duckdb.DuckDBPyConnection":
        return self._source.cursor()

    # RunFacts -----------------------------------------------------------------------------------

    @property
    def identity(self) -> RunIdentity:
        """Who the run is."""
        if self._identity is None:
            self._after_fork()
            self._identity = self._fetch_identity()[0]
        return self._identity

    @property
    def directory(self) -> str:
        """The directory of the run."""
        return self._directory

    @property
    def run_key(self) -> object:
        """Hashable; equal for two sets of facts about the same run."""
        return self._run_id

    @property
    def n_files(self) -> int:
        """How many data files can serve data."""
        return len(self._rows.names)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The data files that can serve data, sorted by name."""
        if self._files is None:
            known, prefix = self._rows, os.path.join(self._directory, "")
            self._files = tuple(
                DataFile(prefix + name, size, mtime_ns, *aggregator_and_sequence(name))
                for name, size, mtime_ns in zip(
                    known.names, known.sizes, known.mtimes_ns, strict=True
                )
            )
        return self._files

    @property
    def _probe(self) -> "Probe":
        if self._probe_of_files is None:
            from .lazy import Probe

            self._probe_of_files = Probe(self.files)
        return self._probe_of_files

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Files that were left out because they are missing or could not be read, and why."""
        self._after_fork()
        if self._problems is None:
            self._problems = self._fetch_problems() if self._left_out else ()
        return self._problems

    def trains(self, file: int) -> TrainList:
        """The trains of a file."""
        return self._trains[file]

    def layout(self, file: int) -> FileLayout:
        """The sources of a file, without schemas."""
        return self._layouts[file]

    def full_layout(self, file: int) -> FileLayout:
        """As ``layout``, but with index groups, auxiliary and RUN-only sources at any depth."""
        if self._depths[file] >= Depth.OUTLINE:
            return self._layouts[file]
        return self._probe.layout(file)

    def schema(self, file: int, section: str, source: str) -> KeySchema:
        """The keys of a source in a file; raises SourceNameError where it does not list it."""
        self._after_fork()
        layout, at = self._place(file, section, source)
        stored = self._stored_layouts.get(id(layout))
        number = stored.schema_ids[at] if stored else None
        if number is None:
            return self._probe.schema(file, section, layout.sources[at].name)
        return self._schemas.get(number, self._all_schema_ids)

    def patterns(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[IndexPattern]:
        """INDEX of an index group in each of some files of one layout, for their trains."""
        slot = self._layouts[files[0]].slots.get((section, source, group))
        depths = map(self._depths.__getitem__, files)
        if slot is None or min(depths) < Depth.FULL:
            return [self._pattern(file, section, source, group) for file in files]
        return self._index.at([self._ordinals[file] for file in files], slot)

    def _pattern(self, file: int, section: str, source: str, group: str) -> IndexPattern:
        """The same of one file, of which the catalog may not know it, or by a legacy name."""
        layout, at = self._place(file, section, source)
        name = layout.sources[at].name
        slot = layout.slots.get((section, name, group))
        if slot is None or self._depths[file] < Depth.FULL:
            return self._probe.pattern(file, section, name, group, self._trains[file])
        return self._index.at([self._ordinals[file]], slot)[0]

    def timestamps(self, file: int) -> NDArray[np.uint64] | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        if self._depths[file] < Depth.OUTLINE:
            return self._probe.timestamps(file)
        self._after_fork()
        if self._times is None:
            times = fetch_timestamps(self._cursor(), self._run_id)
            sql = f"SELECT ordinal, timestamps FROM file WHERE run_id = {self._run_id:d}"
            found = rows(self._cursor(), sql)
            self._times = {at: times[number] for at, number in found if number is not None}
        return self._times.get(self._ordinals[file])

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        if self._depths[file] < Depth.OUTLINE:
            return self._probe.metadata(file)
        self._after_fork()
        if self._metadata is None:
            metadata: list[dict[str, str | int]] = [{} for _ in range(max(self._ordinals) + 1)]
            for name, value, first, last in fetch_metadata(self._cursor(), self._run_id):
                for entries in metadata[first : last + 1]:
                    entries[name] = value
            self._metadata = metadata
        found: Mapping[str, str | int] = self._metadata[self._ordinals[file]]
        return found

    def run_values(self, source: str) -> Mapping[str, RunValue]:
        """RUN of a control source by key (``x.value``, ``x.timestamp``); empty if it has none."""
        self._after_fork()
        number = self._sources_with_values().get(source)
        if number is not None:
            return self._values.get(number, self._sources_with_values().values)
        listing = [
            file
            for file, layout in enumerate(self._layouts)
            if ("CONTROL", source) in layout.position
        ]
        if not listing or any(self._depths[file] >= Depth.FULL for file in listing):
            return {}
        return self._probe.run_values(listing[0], source)

    # What is fetched when it is first asked for -------------------------------------------------

    def _place(self, file: int, section: str, source: str) -> tuple[FileLayout, int]:
        """The layout of a file, and where in it a source stands; a legacy name by its new one."""
        layout = self._layouts[file]
        at = layout.position.get((section, source))
        if at is None:
            layout = self.full_layout(file)
            at = layout.position.get((section, source))
        if at is None:
            raise SourceNameError(source, (s.name for s in layout.sources))
        if legacy_of := layout.sources[at].legacy_of:
            return self._place(file, section, legacy_of)
        return layout, at

    def _all_schema_ids(self) -> list[int]:
        stored = self._stored_layouts.values()
        return [s for layout in stored for s in layout.schema_ids if s is not None]

    def _fetch_schemas(self, numbers: list[int]) -> dict[int, KeySchema]:
        cursor = self._cursor()
        memo: dict[int, KeySchema] = self._source.memo.setdefault("schema", {})
        missing = [n for n in numbers if n not in memo]
        if missing:
            if sum(len(s.keys) for s in list(memo.values())) > _SHARED_KEYS:
                memo.clear()
            for number, schema in fetch_schemas(cursor, missing).items():
                memo.setdefault(number, schema)
        return {n: memo[n] for n in numbers}

    @property
    def _key_names(self) -> Names:
        names: Names = self._source.memo.setdefault("key names", {})
        return names

    def _sources_with_values(self) -> dict[str, int]:
        """Ids of the sources whose RUN the catalog has, by name; only of the files in use."""
        if self._run_sources is None:
            found = rows(
                self._cursor(),
                "SELECT s.name, s.source_id, f.ordinal FROM source AS s JOIN ("
                "SELECT unnest(run_sources) AS source_id, ordinal FROM file"
                f" WHERE run_id = {self._run_id:d}) AS f USING (source_id)",
            )
            listed = {s.name for layout in set(self._layouts) for s in layout.sources}
            self._run_sources = {
                name: number for text, number, _ in found if (name := from_text(text)) in listed
            }
        return self._run_sources

    def _fetch_values(self, numbers: list[int]) -> dict[int, Mapping[str, RunValue]]:
        found = fetch_run_values(self._cursor(), self._run_id, numbers, self._key_names)
        return {n: found.get(n, {}) for n in numbers}

    def _fetch_problems(self) -> tuple[Problem, ...]:
        from ..store.read import fetch_problems

        cursor = self._cursor()
        by_file = fetch_problems(cursor, self._run_id, self._directory)
        left_out = rows(
            cursor,
            "SELECT name, missing_since FROM file"
            f" WHERE run_id = {self._run_id:d} AND (depth = 0 OR missing_since IS NOT NULL)"
            " ORDER BY ordinal",
        )
        problems: list[Problem] = []
        for text, missing_since in left_out:
            name = from_text(text)
            if self._names is not None and name not in self._names:
                continue
            problems += by_file.get(name, [])
            if missing_since is not None:
                message = f"catalogued file is missing on disk since {missing_since:%Y-%m-%d}"
                path = os.path.join(self._directory, name)
                problems.append(Problem("C01", "E", message, path))
        return tuple(problems)


# How much is fetched when one thing is asked for?
#
# A query costs about as much for one item as for fifty. Whoever asks for one mostly asks for
# nothing
# else, or for all. So the first miss fetches few items, the next ones four times as many each: few
# queries for all, and little waste for one.

_LARGEST = 1 << 20
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Portions(Generic[K, V]):
    """Items by key, fetched in growing portions and then remembered; safe between threads.

    ``fetch`` gives the items of a list of keys, all of which exist.
    """

    def __init__(self, fetch: Callable[[list[K]], dict[K, V]]) -> None:
        self._fetch = fetch
        self._size = 1
        self._pid = os.getpid()
        self._known: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K, likely: Callable[[], Iterable[K]]) -> V:
        """The item of a key; ``likely`` gives keys that may be asked for next."""
        found = self._known.get(key)
        if found is not None:
            return found
        if self._pid != os.getpid():  # a lock may have been held when this process was forked off
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            if key not in self._known:
                portion = {key: None}
                for other in likely():
                    if len(portion) >= self._size:
                        break
                    if other not in self._known:
                        portion[other] = None
                self._size = min(4 * self._size, _LARGEST)
                self._known.update(self._fetch(list(portion)))
            return self._known[key]
