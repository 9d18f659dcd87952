"""Facts of a catalogued run, and the cache that fetches them from its shard in growing batches.

Opening takes one query for the packed row of the run (files, trains, index), and two for layouts
that this process has not decoded yet. ``ShardFetcher`` gets everything else when it is asked for:
one key costs one query, and all keys cost few.

Fixed plain SQL on the DuckDB API: no pandas, pyarrow or sqlalchemy is imported on this path.
"""

import os
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, TypeVar

from ..model.errors import ChangedFileError, RunNotFoundError
from ..model.facts import FileTable, RunFacts
from ..model.identity import shard_of
from ..model.records import Depth, FileLayout, KeySchema, Problem, RunValue
from ..model.runlength import FrameIds, IndexPattern, UInt64s
from ..store import read
from ..store.connections import Cursor, OpenDatabase
from ..store.packing import PackedFrameIds, PackedIndex, PackedRun, fetch_frame_ids, fetch_packed
from ..store.read import Names, StoredLayout
from ..store.store import Store
from .scanned import Probe

# Decoded keys that the runs of one open shard may share, before they are dropped and start anew:
# some 50 MB.
_SHARED_KEYS = 200_000
# Parts of items (values of RUN, keys of a source) that take as long to fetch as a query does to
# begin: 1.2 µs each against 1.3 ms, when the processor's caches are cold.
_WORTH_A_QUERY = 1100
# Items may have few parts, or none: the next ones may have more than those that were seen.
_LEAST_PARTS = 10

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def find_run(store: Store, run_id: int) -> RunFacts | None:
    """The facts of a run; None where the store does not have it."""
    try:
        return catalogued_facts(store, shard_of(run_id), run_id)
    except RunNotFoundError:
        return None


def catalogued_facts(
    store: Store,
    shard: str,
    run_id: int,
    *,
    directory: str | None = None,
    names: Collection[str] | None = None,
    version: Path | None = None,
    known: tuple[OpenDatabase, PackedRun] | None = None,
) -> RunFacts:
    """The facts of one catalogued run.

    ``directory`` is where its files lie now, by default where they were catalogued; ``names`` are
    the files to use, by default all that can serve data; ``version`` is the version of the shard
    to take if it is still there; ``known`` spares opening the shard and fetching the packed row.
    Raises RunNotFoundError where the shard does not have the run.

    They pickle as a reference to this version of the shard. Where that is gone by then, the run is
    taken from the current version, and ChangedFileError raised if its files are not the same.
    """
    source, packed = known or (store.open_shard(shard, version), None)
    missing = RunNotFoundError(f"run {run_id} of shard {shard}", [str(store)])
    if source is None:
        raise missing
    cursor = source.cursor()
    if directory is None:
        found = read.fetch_identity(cursor, run_id)
        if found is None:
            raise missing
        directory = found[1]
    packed = packed or fetch_packed(cursor, run_id)
    if packed is None:
        raise missing
    names = None if names is None else frozenset(names)
    table = packed.files.usable(names)
    decoded = _Decoded.of(source)
    layouts = decoded.layouts_of(cursor, table)
    recipe = partial(
        catalogued_facts,
        *(store, shard, run_id),
        directory=directory,
        names=names,
        version=source.path,
    )
    return RunFacts(
        directory,
        run_id,
        table,
        packed.trains,
        {number: layout for number, (layout, _) in layouts.items()},
        ShardFetcher(source, run_id, table, packed.patterns, decoded, recipe),
        Probe(directory, table, packed.trains),
        recipe,
        _fetch_problems(cursor, run_id, directory, names) if table is not packed.files else (),
    )


def _fetch_problems(
    cursor: Cursor, run_id: int, directory: str, names: Collection[str] | None
) -> tuple[Problem, ...]:
    """Files that are left out because they are missing or could not be read, and why."""
    by_file = read.fetch_problems(cursor, run_id, directory)
    problems: list[Problem] = []
    for name, missing_since in read.fetch_unusable_files(cursor, run_id):
        if names is not None and name not in names:
            continue
        problems += by_file.get(name, [])
        if missing_since is not None:
            message = f"catalogued file is missing on disk since {missing_since:%Y-%m-%d}"
            problems.append(Problem("C01", "E", message, os.path.join(directory, name)))
    return tuple(problems)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What was decoded of an open shard, shared by all runs of it that are open."""

    layouts: dict[int, tuple[FileLayout, StoredLayout]] = field(default_factory=dict)
    schemas: dict[int, KeySchema] = field(default_factory=dict)
    source_names: Names = field(default_factory=dict)
    key_names: Names = field(default_factory=dict)

    @classmethod
    def of(cls, source: OpenDatabase) -> "_Decoded":
        """That of an open shard, which keeps it as long as it is open."""
        decoded: _Decoded = source.memo.setdefault(cls, cls())
        return decoded

    def layouts_of(
        self, cursor: Cursor, table: FileTable
    ) -> dict[int, tuple[FileLayout, StoredLayout]]:
        """The layouts of some files by number, without schemas; and as they are stored."""
        wanted = set(table.layouts)
        if missing := wanted - self.layouts.keys():
            for number, stored in read.fetch_layouts(cursor, missing, self.source_names).items():
                bare = FileLayout(stored.sources, (None,) * len(stored.sources))
                self.layouts.setdefault(number, (bare, stored))
        return {number: self.layouts[number] for number in wanted}

    def schemas_of(self, cursor: Cursor, numbers: list[int]) -> dict[int, KeySchema]:
        """Key schemas by number."""
        if missing := [n for n in numbers if n not in self.schemas]:
            if sum(len(s.keys) for s in list(self.schemas.values())) > _SHARED_KEYS:
                self.schemas.clear()
            for number, schema in read.fetch_schemas(cursor, missing).items():
                self.schemas.setdefault(number, schema)
        return {n: self.schemas[n] for n in numbers}


class ShardFetcher:
    """The facts of a run that its shard has (a ``Fetcher``).

    Index patterns are unfolded from the packed row, everything else is fetched.
    """

    def __init__(
        self,
        source: OpenDatabase,
        run_id: int,
        table: FileTable,
        index: PackedIndex,
        decoded: _Decoded,
        recipe: Callable[[], RunFacts],
    ) -> None:
        self._source, self._run_id, self._table = source, run_id, table
        self._index, self._decoded, self._recipe = index, decoded, recipe
        self._layouts = {number: decoded.layouts[number] for number in set(table.layouts)}
        self._schemas = BatchedCache[int, KeySchema](
            lambda numbers: decoded.schemas_of(source.cursor(), numbers),
            lambda schema: len(schema.keys),
        )
        self._values = BatchedCache[int, Mapping[str, RunValue]](self._fetch_values, len)
        self._pid = os.getpid()
        self._twin: ShardFetcher | None = None

    def _here(self) -> "ShardFetcher":
        """Itself; in a child made by fork a twin, for the parent's connection is not ours to use.

        If the shard has a new version by then, the numbers that the twin fetches by may be others.
        """
        if self._pid == os.getpid():
            return self
        if self._twin is None:
            facts = self._recipe()
            if facts.table.stats != self._table.stats:
                raise ChangedFileError(facts.directory, "the run was catalogued anew")
            assert isinstance(facts.fetcher, ShardFetcher)
            self._twin = facts.fetcher
        return self._twin._here()

    def schema(self, file: int, section: str, source: str) -> KeySchema | None:
        """The keys of a source in a file; None where the catalog does not know them."""
        here = self._here()
        layout, stored = here._layouts[here._table.layouts[file]]
        at = layout.position.get((section, source))
        number = None if at is None else stored.schema_ids[at]
        return None if number is None else here._schemas.get(number, here._all_schema_ids)

    def pattern_numbers(
        self, files: Sequence[int], section: str, source: str, group: str
    ) -> list[int]:
        """Numbers of the patterns of an index group in files of one layout."""
        layout, _ = self._layouts[self._table.layouts[files[0]]]
        ordinals = [self._table.ordinals[file] for file in files]
        return self._index.numbers_at(ordinals, layout.slots[section, source, group])

    def patterns(self, numbers: Iterable[int]) -> list[IndexPattern]:
        """The patterns with these numbers."""
        return self._index.patterns(numbers)

    def frame_id_numbers(self, files: Sequence[int], source: str, key: str) -> list[int] | None:
        """Numbers of the pulse or cell IDs of a source; None where they are not recorded."""
        packed = self._here()._frame_ids
        layout, _ = self._layouts[self._table.layouts[files[0]]]
        slot = layout.frame_slots.get((source, key))
        if packed is None or slot is None:
            return None
        ordinals = [self._table.ordinals[file] for file in files]
        if not packed.has_slots(ordinals):  # files that were not scanned since they are
            return None
        numbers = packed.numbers_at(ordinals, slot)
        return None if min(numbers) < 0 else numbers

    def frame_ids(self, numbers: Iterable[int]) -> list[FrameIds]:
        """The IDs with these numbers."""
        packed = self._here()._frame_ids
        return [] if packed is None else [packed.ids[number] for number in numbers]

    def timestamps(self, file: int) -> UInt64s | None:
        """Time of each train of a file, (n,) ns since the epoch in UTC; None where it has none."""
        here = self._here()
        return here._timestamps.get(here._table.ordinals[file])

    def metadata(self, file: int) -> Mapping[str, str | int]:
        """The entries of METADATA of a file."""
        here = self._here()
        return here._metadata[here._table.ordinals[file]]

    def run_values(self, files: Sequence[int], source: str) -> Mapping[str, RunValue] | None:
        """RUN of a control source; None where no file that lists it is known in full."""
        here = self._here()
        number = here._control_sources.get(source)
        values = {} if number is None else here._values.get(number, here._control_sources.values)
        if values or any(self._table.depths[file] >= Depth.FULL for file in files):
            return values
        return None

    # -- queries ---------------------------------------------------------------------------------

    @cached_property
    def _frame_ids(self) -> PackedFrameIds | None:
        return fetch_frame_ids(self._source.cursor(), self._run_id)

    @cached_property
    def _timestamps(self) -> dict[int, UInt64s]:
        return read.fetch_timestamps(self._source.cursor(), self._run_id)

    @cached_property
    def _metadata(self) -> list[dict[str, str | int]]:
        return read.fetch_metadata(
            self._source.cursor(), self._run_id, max(self._table.ordinals) + 1
        )

    @cached_property
    def _control_sources(self) -> dict[str, int]:
        """Ids of the control sources of the files in use, by name."""
        return {
            source.name: number
            for _, layout in self._layouts.values()
            for source, number in zip(layout.sources, layout.source_ids, strict=True)
            if source.section == "CONTROL"
        }

    def _all_schema_ids(self) -> list[int]:
        layouts = self._layouts.values()
        return [s for _, stored in layouts for s in stored.schema_ids if s is not None]

    def _fetch_values(self, numbers: list[int]) -> dict[int, Mapping[str, RunValue]]:
        names = self._decoded.key_names
        found = read.fetch_run_values(self._source.cursor(), self._run_id, numbers, names)
        return {n: dict(sorted(found.get(n, {}).items())) for n in numbers}  # as a scan has them


class BatchedCache(Generic[K, V]):
    """Items by key, fetched in growing batches and then remembered; safe between threads.

    Who asks for one item mostly asks for nothing else, or for all. So the first miss fetches one
    item, the second as many as take as long as a query does to begin, and each further one four
    times as many: few queries for all, and little waste for few.

    ``fetch`` gives the items of a list of keys, all of which exist; ``n_parts`` how many parts an
    item has, each of which takes its time.
    """

    def __init__(self, fetch: Callable[[list[K]], dict[K, V]], n_parts: Callable[[V], int]) -> None:
        self._fetch = fetch
        self._n_parts = n_parts
        self._size = 1
        self._pid = os.getpid()
        self._known: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K, likely: Callable[[], Iterable[K]]) -> V:
        """The item of a key; ``likely`` gives keys that the caller may ask for next."""
        found = self._known.get(key)
        if found is not None:
            return found
        if self._pid != os.getpid():  # another thread may have had the lock when we were forked off
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            if key not in self._known:
                batch = {key: None}
                for other in likely():
                    if len(batch) >= self._size:
                        break
                    if other not in self._known:
                        batch[other] = None
                fetched = self._fetch(list(batch))
                self._known.update(fetched)
                mean = sum(map(self._n_parts, fetched.values())) // len(fetched)
                self._size = max(4 * len(batch), _WORTH_A_QUERY // max(mean, _LEAST_PARTS))
            return self._known[key]
