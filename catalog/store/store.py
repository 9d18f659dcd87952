"""The databases of a catalog location, and reading and writing them.

A location is a directory:

    shards/p002012/    one database per proposal (or per loose run): the truth
    merged/            one database over all runs, derived from the shards
    audits/            what audits found, and when; a shard of its own

each with its published versions (``versions``). A ``Store`` holds nothing open: connections are in
the process's pool (``connections``).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.errors import CatalogNotFoundError, CatalogReadError, CatalogWriteError, XfelcatError
from .connections import (
    POOL,
    Cursor,
    OpenDatabase,
    connect_memory,
    open_current,
    open_file,
    uninterrupted,
)
from .merged import Merged, merged_database
from .versions import AUDITS, OLDEST_UPGRADED, SCHEMA_VERSION, Progress, Versions

if TYPE_CHECKING:
    from .write import ShardWriter

_ENTER = os.R_OK | os.X_OK


class Store:
    """The databases of the catalog at ``location``, which need not exist yet.

    With ``at``, a time in UTC, as they were then, as far as versions are kept; only to be read.
    """

    def __init__(self, location: str | os.PathLike[str], at: datetime | None = None) -> None:
        self.location = Path(os.path.abspath(os.path.expanduser(location)))
        self.at = at

    def __repr__(self) -> str:
        return f"Store({str(self.location)!r}{f', {self.at}' if self.at else ''})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return False
        return (other.location, other.at) == (self.location, self.at)

    def __hash__(self) -> int:
        return hash((self.location, self.at))

    def versions(self, shard: str) -> Versions:
        """The published versions of a shard."""
        return Versions(self.location / "shards" / shard, at=self.at)

    def exists(self) -> bool:
        """Whether any shard is published here, for this schema version."""
        return any(self.versions(shard).current() for shard in self.shard_folders())

    def require(self) -> None:
        """Raise CatalogNotFoundError where nothing is published for this schema version."""
        if not self.exists():
            if self.at is not None and Store(self.location).exists():
                raise self._not_kept(self.at)
            reason = lacking(self, self.shard_folders())
            raise reason or CatalogNotFoundError(str(self.location), 0, SCHEMA_VERSION)

    def shards(self) -> dict[str, str]:
        """The current version (a file name) of every shard, in the order of their runs."""
        # Proposals by number, then loose runs by hash, as the run_ids in them.
        names = sorted(self.shard_folders(), key=lambda shard: (shard.startswith("loose-"), shard))
        if self.at is not None and any(self.versions(name).has_lost(self.at) for name in names):
            raise self._not_kept(self.at)
        found = ((name, self.versions(name).current()) for name in names)
        return {name: path.name for name, path in found if path is not None}

    def _not_kept(self, at: datetime) -> CatalogReadError:
        when = f"{at:%Y-%m-%d %H:%M} UTC"
        reason = f"not all versions of {when} are kept: `xfelcat db maintain` says which"
        return CatalogReadError(str(self.location), reason)

    def shard_folders(self) -> set[str]:
        """Names of all shards, those that are published for other schema versions included."""
        try:
            return set(os.listdir(self.location / "shards"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return set()

    def open_shard(self, shard: str, path: Path | None = None) -> OpenDatabase | None:
        """The current version of a shard, open for what opening asks; None if not published.

        If the version at ``path``, which was current once, is still there, that one.
        """
        if path is not None:
            with suppress(OSError):
                return open_file(path, plain=True)
        return open_current(self.versions(shard), partial(open_file, plain=True))

    @contextmanager
    def read(self, shard: str) -> Iterator["Cursor | None"]:
        """A cursor on the current version of a shard; None where it is not published.

        It never waits for a writer, and what it sees stays as it is.
        """
        with uninterrupted():
            file = open_current(self.versions(shard))
            yield None if file is None else file.cursor()

    @contextmanager
    def write(self, shard: str, *, wait: bool = True) -> "Iterator[ShardWriter]":
        """A writer on a shard, which is made if it is missing.

        On leaving the context the changes are published, all or none: an exception, or the death of
        the process, leaves the shard as it was. If nothing changed, nothing is published. Ctrl-C is
        taken up when the changes are published. Raises as ``Versions.lock``.
        """
        from .schema import open_draft
        from .write import ShardWriter

        self._check_place()
        versions = self.versions(shard)
        with versions.lock(wait=wait), uninterrupted(), versions.draft() as draft:
            with open_draft(draft, "shard", shard, older=versions) as connection:
                connection.execute("BEGIN")
                writer = ShardWriter(connection, shard, str(self.location))
                yield writer
                writer.finish()
                connection.execute("COMMIT")
            if writer.changed:
                versions.publish(draft)

    def _check_place(self) -> None:
        """Raise CatalogWriteError where a new catalog would come to lie among other folders."""
        if self.at is not None:
            raise CatalogWriteError(str(self.location), f"what it was at {self.at} stays as it was")
        if self.shard_folders():
            return
        others: set[str] = set()
        with suppress(OSError):
            others = {e.name for e in os.scandir(self.location) if e.is_dir()}
        ours = {"shards", "merged", AUDITS}
        if other := min((name for name in others - ours if name[0] != "."), default=""):
            reason = f"it is no catalog, but a folder with {other!r} in it"
            raise CatalogWriteError(str(self.location), reason)

    @property
    def audits(self) -> Versions:
        """The published versions of the database of the audits."""
        return Versions(self.location / AUDITS, at=self.at)

    @property
    def merged(self) -> Merged:
        """The merged database, where the setting ``merged`` has it."""
        return merged_database(self.location, self.at)

    def merged_is_stale(self) -> bool:
        """Whether the merged database is missing, or holds other versions of the shards."""
        with uninterrupted():
            return self._is_stale(self.merged)

    def _is_stale(self, merged: Merged) -> bool:
        from .merge import merged_versions

        file = merged.open()
        current = {name: path.name for name, path in self._shard_files().items()}
        return file is None or merged_versions(file.cursor()) != current

    def publish_merged(self, progress: Progress | None = None) -> bool:
        """Bring the merged database up to date with the shards; whether there was anything to do.

        Only shards that changed are read, and ``progress`` counts them.
        """
        if not self.merged_is_stale():
            return False
        merged = self.merged
        if locked := locked_folders(self, self.shard_folders()):  # all would miss their runs
            raise CatalogWriteError(str(merged), f"{locked[0]} cannot be read")
        with merged.lock(), uninterrupted():
            if not self._is_stale(merged):
                return False
            merged.update(self._shard_files(), progress)
        return True

    @contextmanager
    def read_merged(self) -> Iterator[Cursor]:
        """A cursor on the merged database as it was last published.

        Where there is none, one is published; where that is not possible it is made in memory, once
        per process and state of the shards.

        Raises CatalogNotFoundError where there are no shards either.
        """
        yield self.open_merged().cursor()

    def open_merged(self, *, memory_limit: int = 0) -> OpenDatabase:
        """The merged database, open: see ``read_merged``.

        With a ``memory_limit`` (bytes) on a connection of its own: what a user's SQL needs is kept
        apart from what our own questions need.
        """
        with uninterrupted():
            merged = self.merged
            file = merged.open(memory_limit)
            if file is None:
                self.require()
                with suppress(CatalogWriteError):
                    if self.at is None:
                        self.publish_merged()
                    file = merged.open(memory_limit)
            if file is not None:
                return file
            files = self._shard_files()
            key = (self.location, tuple(files.values()), memory_limit)
            return POOL.open(key, lambda: _merged_copy(files, memory_limit))

    def open_part(self, shards: Iterable[str], *, memory_limit: int = 0) -> OpenDatabase:
        """Some shards as one database in memory, for questions that cannot wait for the merge.

        It has none of what audits found, and is not kept.
        """
        files = {s: path for s in shards if (path := self.versions(s).current()) is not None}
        return _merged_copy(files, memory_limit)

    def _shard_files(self) -> dict[str, Path]:
        """The current version of every shard, and of the audits if there are any."""
        files = {s: self.versions(s).directory / v for s, v in self.shards().items()}
        audits = self.audits.current()
        return files if audits is None else {**files, AUDITS: audits}


def lacking(store: Store, shards: Iterable[str]) -> XfelcatError | None:
    """Why shards that are not published for us are not: their rights, or schema versions."""
    names = sorted(shards)
    if locked := locked_folders(store, names):
        return CatalogReadError(str(locked[0]), "this user may not read it")
    found = max((v for s in names for v in store.versions(s).schema_versions()), default=0)
    places = (str(store.location), found, SCHEMA_VERSION, OLDEST_UPGRADED)
    return CatalogNotFoundError(*places) if found else None


def locked_folders(store: Store, shards: Iterable[str]) -> list[Path]:
    """The folders of these shards, and of all of them, that this user may not read."""
    top = store.location / "shards"
    may_not = (f for f in (top, *map(top.joinpath, shards)) if not os.access(f, _ENTER))
    return [f for f in may_not if os.path.isdir(f)]


def _merged_copy(files: Mapping[str, Path], memory_limit: int) -> OpenDatabase:
    """A merged database of these shards that is kept in memory only."""
    from .merge import merge_shards
    from .schema import create_schema

    def fill(connection: Cursor) -> None:
        create_schema(connection, "merged", "merged")
        merge_shards(connection, files, None)

    return OpenDatabase(connect_memory(fill, memory_limit=memory_limit))
