"""The merged database as a DuckLake: rows in Parquet files, and metadata that list them.

A version is a snapshot of the lake, written by one transaction that adds files for the shards that
changed: what it costs does not grow with the facility. The metadata are

- ``FrozenLake``: in a file, published as every database of the catalog is (``versions``): readers
  need no server;
- ``ServedLake``: in a PostgreSQL server, in a schema of this catalog's own.

The lake has no keys and no locks of its own that would keep two writers from numbering a name
twice: they take turns by the lock of every other database. DuckDB's extensions come as packages
(the extra ``lake``) and are loaded from their files; nothing is installed, or written to a home.
"""

import os
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..model.errors import CatalogReadError, CatalogWriteError, ConfigError
from .connections import (
    ONE_RUN_BLOCKS,
    POOL,
    Cursor,
    OpenDatabase,
    connect_empty,
    lock_up,
    open_current,
    quoted,
)
from .locks import connect_postgres
from .merge import changed_shards, merge_shards, merged_versions, needs_rebuild
from .schema import columns, create_lake_schema, open_draft
from .versions import (
    NOT_TEXT,
    SCHEMA_VERSION,
    Progress,
    Published,
    Versions,
    expired_of,
    is_text,
    make_directory,
    sync,
)

# How long Parquet files stay that no snapshot has any more: who opened one reads on.
_GRACE = timedelta(hours=12)
# Shards that one transaction attaches, each an open file; of more, a file is made first. It also
# leaves one Parquet file per table, not one per shard.
_MOST_ATTACHED = 100
_SNAPSHOTS = """
    SELECT snapshot_id, extract(epoch FROM snapshot_time) FROM ducklake_snapshot
    WHERE snapshot_id > 0 ORDER BY snapshot_id"""  # 0 is that of a lake without tables
# Bytes of files, by the first snapshot that lacks them; 0: the newest has them.
_SIZES = """
    SELECT coalesce(end_snapshot, 0), sum(file_size_bytes) FROM (
        SELECT end_snapshot, file_size_bytes FROM ducklake_data_file
        UNION ALL SELECT end_snapshot, file_size_bytes FROM ducklake_delete_file) AS f
    GROUP BY end_snapshot"""


class Lake(ABC):
    """A ``Merged`` that is a lake: what the two kinds have in common."""

    def __init__(self, versions: Versions, files: Path, at: datetime | None) -> None:
        self._versions = versions  # whose lock is ours
        self._files = files
        self._at = at
        self._synced: set[Path] = set()

    @abstractmethod
    def open(self, memory_limit: int = 0) -> OpenDatabase | None:
        """As ``Merged.open``."""

    @abstractmethod
    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query on the metadata, of which there need not be any."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Cursor]:
        """A connection that writes to the lake, published on leaving the context."""

    def lock(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """As ``Merged.lock``."""
        return self._versions.lock(wait=wait)

    def update(self, shards: Mapping[str, Path], progress: Progress | None) -> None:
        """As ``Merged.update``."""
        file = self.open()
        n_changed = (
            0 if file is None else len(changed_shards(merged_versions(file.cursor()), shards))
        )
        if file and n_changed <= _MOST_ATTACHED and not needs_rebuild(file.cursor(), shards):
            with self._writing() as connection, self._transaction(connection):
                merge_shards(connection, shards, progress, stay_attached=True)
            return
        with self._writing() as connection, self._as_file(shards, progress) as whole:
            connection.execute(f"ATTACH {quoted(whole)} AS other (READ_ONLY)")
            with self._transaction(connection):
                if file is None:
                    _drop_all(connection)  # of a lake whose files are gone
                    create_lake_schema(connection)
                for table in columns():
                    connection.execute(f"DELETE FROM {table}")
                    connection.execute(f"INSERT INTO {table} SELECT * FROM other.{table}")

    @contextmanager
    def _transaction(self, connection: Cursor) -> Iterator[None]:
        """One snapshot; none if it is left by an error, or the lock is lost meanwhile."""
        connection.execute("BEGIN")
        yield
        self._sync()
        self._versions.check_lock()
        connection.execute("COMMIT")

    @contextmanager
    def _as_file(self, shards: Mapping[str, Path], progress: Progress | None) -> Iterator[Path]:
        """All shards merged into a new file, which lies beside the lake for that time."""
        path = self._versions.directory / ".draft-merged.duckdb"
        try:
            path.unlink(missing_ok=True)  # of a writer that died
            with open_draft(path, "merged", "merged") as connection:
                merge_shards(connection, shards, progress)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _snapshots(self) -> list[Published]:
        return [
            Published(
                n, f"snapshot {n}", datetime.fromtimestamp(float(t), UTC).replace(tzinfo=None), 0
            )
            for n, t in self._ask(_SNAPSHOTS)
        ]

    def published(self) -> list[Published]:
        """As ``Merged.published``: the snapshots, each with the files that no later one has."""
        found = self._snapshots()
        numbers = [each.number for each in found]
        sizes = dict.fromkeys(numbers, 0)
        for end, size in self._ask(_SIZES) if found else ():
            last = bisect_left(numbers, end) - 1 if end else len(numbers) - 1
            if last >= 0:
                sizes[numbers[last]] += int(size)
        return [each._replace(size=sizes[each.number]) for each in found]

    def _newest(self, at: datetime | None) -> int | None:
        """The snapshot that was the newest at a time; None where none is kept from then."""
        return max(
            (s.number for s in self._snapshots() if at is None or s.since <= at), default=None
        )

    def expire(self, keep: timedelta) -> int:
        """As ``Merged.expire``; small files become large ones, and those of no snapshot go.

        Snapshots and files stay for 12 hours in any case.
        """
        if not self._snapshots():
            return 0
        keep = max(keep, _GRACE)
        unused_since = f"{datetime.now(UTC) - _GRACE:%Y-%m-%d %H:%M:%S}+00"
        before = self._size()
        with self.lock():
            expired = [each.number for each in expired_of(self._snapshots(), keep)]
            with self._writing() as connection:
                for call in (
                    f"ducklake_expire_snapshots('xfelcat', versions => {expired})"
                    if expired
                    else "",
                    "ducklake_flush_inlined_data('xfelcat')",
                    "ducklake_rewrite_data_files('xfelcat')",
                    "ducklake_merge_adjacent_files('xfelcat')",
                    f"ducklake_cleanup_old_files('xfelcat', older_than => '{unused_since}')",
                    f"ducklake_delete_orphaned_files('xfelcat', older_than => '{unused_since}')",
                ):
                    if call:
                        self._versions.check_lock()
                        connection.execute(f"CALL {call}")
        return max(before - self._size(), 0)

    def _sync(self) -> None:
        """Have the new Parquet files on the disk before a snapshot that has them is published."""
        new = set(self._files.rglob("*.parquet")) - self._synced
        self._synced |= new
        try:
            for path in [*new, *{path.parent for path in new}]:
                sync(path)
        except OSError as error:
            raise CatalogWriteError(str(self._files), error.strerror or str(error)) from error

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._files.rglob("*.parquet"))

    def _attach(self, connection: Cursor, metadata: str, *options: str) -> None:
        """Attach the lake as ``xfelcat``."""
        if not is_text(metadata) or not is_text(self._files):
            raise CatalogReadError(str(self), NOT_TEXT)
        connection.execute("SET secret_directory = '/dev/null/none'")  # not that of a home
        needed = ("ducklake", "postgres_scanner") if isinstance(self, ServedLake) else ("ducklake",)
        for extension in needed:
            connection.execute(f"LOAD {quoted(_extension(extension))}")
        # Where the files lie stands in the metadata, too; but a lake may be moved.
        where = (f"DATA_PATH {quoted(f'{self._files}/')}", "OVERRIDE_DATA_PATH true", *options)
        connection.execute(
            f"ATTACH {quoted(f'ducklake:{metadata}')} AS xfelcat ({', '.join(where)})"
        )
        connection.execute("USE xfelcat")

    def _open(self, metadata: str, *options: str, memory_limit: int) -> OpenDatabase | None:
        """The lake, open for reading, from the pool; None where its files are gone."""
        import duckdb

        def make() -> OpenDatabase:
            connection = connect_empty(memory_limit)
            try:
                self._attach(connection, metadata, "READ_ONLY", *options)
                self._look_for_files(connection)
                lock_up(connection, self._files)
            except BaseException as error:
                connection.close()
                if isinstance(error, duckdb.Error):
                    raise CatalogReadError(str(self), _line(error)) from error
                raise
            return OpenDatabase(connection)

        with suppress(FileNotFoundError):
            return POOL.open((metadata, options, memory_limit), make)
        return None

    def _look_for_files(self, connection: Cursor) -> None:
        """Raise FileNotFoundError where the Parquet files that the metadata list are gone.

        Of the largest table, for all: who removes or moves files beside us does so with all.
        """
        (listed,) = connection.execute(
            "SELECT any_value(data_file) FROM ducklake_list_files('xfelcat', 'file')"
        ).fetchall()
        if listed[0] and not any(self._files.rglob("*.parquet")):
            raise FileNotFoundError(str(self._files))

    @contextmanager
    def _connected(self, metadata: str, *options: str) -> Iterator[Cursor]:
        """A connection for writing; leaving the context leaves all in the metadata."""
        import duckdb

        try:
            for table in columns():  # DuckDB would not give them the group's rights
                make_directory(self._files / "main" / table)
        except OSError as error:
            raise CatalogWriteError(str(self._files), error.strerror or str(error)) from error
        self._synced = set(self._files.rglob("*.parquet"))
        connection = connect_empty()
        try:
            try:
                self._attach(connection, metadata, *options)
            except duckdb.Error as error:
                raise CatalogWriteError(str(self), _line(error)) from error
            yield connection
            self._sync()
            connection.execute("USE memory")
            connection.execute("DETACH xfelcat")
        except (duckdb.IOException, duckdb.TransactionException) as error:
            raise CatalogWriteError(str(self), _line(error)) from error
        finally:
            connection.close()


class FrozenLake(Lake):
    """A lake whose metadata are the file ``path``: a link to the version that is current.

    Beside it lie ``PATH.versions`` and, with the Parquet files, ``PATH.files``.
    """

    def __init__(self, path: Path, at: datetime | None) -> None:
        versions = Versions(path.with_name(f"{path.name}.versions"))
        files = path.with_name(f"{path.name}.files") / f"v{SCHEMA_VERSION}"
        super().__init__(versions, files, at)
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def open(self, memory_limit: int = 0) -> OpenDatabase | None:
        """As ``Merged.open``."""
        options: tuple[str, ...] = ()
        if self._at is not None:
            snapshot = self._newest(self._at)
            if snapshot is None:
                return None
            options = (f"SNAPSHOT_VERSION {snapshot:d}",)
        return open_current(
            self._versions, lambda path: self._open(str(path), *options, memory_limit=memory_limit)
        )

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        file = open_current(self._versions)
        return [] if file is None else file.cursor().execute(sql).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[Cursor]:
        with self._versions.draft() as draft:
            # Thirty small tables, which each publication copies: 8 MB in blocks of the usual size.
            options = () if draft.exists() else (f"META_BLOCK_SIZE {ONE_RUN_BLOCKS:d}",)
            with self._connected(str(draft), *options) as connection:
                yield connection
            # The newest metadata have all snapshots that are kept.
            self._versions.publish(draft, keep=timedelta(0))
        self._link()

    def _link(self) -> None:
        """Have the file's own name lead to the current version, for other programs."""
        target = f"{self._versions.directory.name}/current-v{SCHEMA_VERSION}"
        try:
            if self._path.is_symlink():
                if os.readlink(self._path) == target:
                    return
            elif self._path.exists():
                raise CatalogWriteError(str(self._path), "it is no link to a lake of ours")
            link = self._versions.directory / f".link-{os.urandom(3).hex()}"
            link.symlink_to(target)
            link.rename(self._path)
        except OSError as error:
            raise CatalogWriteError(str(self._path), error.strerror or str(error)) from error


class ServedLake(Lake):
    """A lake whose metadata are in PostgreSQL: ``metadata`` is ``postgres:DSN``.

    The schema there is named after the schema version and the catalog's path, so that a server
    serves many catalogs. The Parquet files lie in the catalog, in ``merged/``.
    """

    def __init__(self, location: Path, metadata: str, at: datetime | None) -> None:
        folder = location / "merged"
        super().__init__(Versions(folder), folder / f"files-v{SCHEMA_VERSION}", at)
        self._metadata = metadata
        digest = blake2b(os.fsencode(os.path.realpath(location)), digest_size=6).hexdigest()
        self._schema = f"xfelcat_v{SCHEMA_VERSION}_{digest}"

    def __str__(self) -> str:
        return f"PostgreSQL's schema {self._schema}"

    def open(self, memory_limit: int = 0) -> OpenDatabase | None:
        """As ``Merged.open``."""
        snapshot = self._newest(self._at)
        if snapshot is None:
            return None
        options = (f"METADATA_SCHEMA {quoted(self._schema)}", f"SNAPSHOT_VERSION {snapshot:d}")
        return self._open(self._metadata, *options, memory_limit=memory_limit)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        dsn = self._metadata.removeprefix("postgres:")
        connect = connect_postgres("merged")
        import psycopg

        try:
            with connect(dsn, autocommit=True, application_name="xfelcat") as connection:
                connection.execute("SELECT set_config('search_path', %s, false)", [self._schema])
                found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
                return found
        except psycopg.errors.UndefinedTable:
            return []
        except psycopg.Error as error:
            raise CatalogReadError(str(self), _line(error)) from None

    @contextmanager
    def _writing(self) -> Iterator[Cursor]:
        with self._connected(
            self._metadata, f"METADATA_SCHEMA {quoted(self._schema)}"
        ) as connection:
            yield connection


def _drop_all(connection: Cursor) -> None:
    """Drop the views and tables of the lake, whatever of their files is there."""
    for kind in ("view", "table"):
        found = connection.execute(
            f"SELECT {kind}_name FROM duckdb_{kind}s()"
            " WHERE database_name = 'xfelcat' AND NOT internal"
        ).fetchall()
        for (name,) in found:
            connection.execute(f'DROP {kind} "{name}"')


def _extension(name: str) -> Path:
    """The file of an extension of DuckDB, in its package."""
    import duckdb

    package = find_spec(f"duckdb_extension_{name}")
    for folder in package.submodule_search_locations or () if package else ():
        path = Path(folder, "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension")
        if path.exists():
            return path
    raise ConfigError(
        f"the setting merged asks for a lake, and there is no extension {name} for DuckDB"
        f" {duckdb.__version__} here: pip install 'xfelcat[lake]'"
    )


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
