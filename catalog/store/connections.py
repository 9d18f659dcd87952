"""Connections to database files: for reading by many, and for writing by one.

DuckDB lets one process write to a file or many read it, and hands out within a process the instance
already open on a path. So no file is opened by itself: every connection is an in-memory database
that has the file attached. ``POOL`` keeps those for reading.
"""

import importlib
import os
import signal
import sys
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from ..model.errors import CatalogReadError, CatalogWriteError
from ..model.names import from_text
from .versions import NOT_TEXT, Versions, is_text

if TYPE_CHECKING:
    import duckdb

Cursor: TypeAlias = "duckdb.DuckDBPyConnection"  # by name: importing duckdb takes its time
Rows = list[tuple[Any, ...]]
_TEXTS = ("VARCHAR", "VARCHAR[]")


def rows(cursor: Cursor, sql: str) -> Rows:
    """All rows of a query, its texts as they were before the catalog escaped them (``to_text``)."""
    found = cursor.execute(sql).fetchall()
    for at, (_, kind, *_) in enumerate(cursor.description):
        if kind in _TEXTS:
            texts = [row[at] for row in found if row[at]]
            if not "".join(texts if kind == "VARCHAR" else chain(*texts)).isascii():
                return [tuple(map(_unescaped, row)) for row in found]
    return found


def rows_of_run(cursor: Cursor, run_id: int, selected: str, order: str = "") -> Rows:
    """The rows of a run; ``selected`` are columns and their table: ``"name, size FROM file"``."""
    ordered = f" ORDER BY {order}" if order else ""
    return rows(cursor, f"SELECT {selected} WHERE run_id = {run_id:d}{ordered}")


def _unescaped(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_unescaped, value))
    return from_text(value) if isinstance(value, str) else value


# Blocks of a new file. A shard of one run is 4.5 MB with DuckDB's default of 262144, 0.6 MB with
# 16384; but integers are bit-packed from 65536 on, which makes a shard of 100 runs a third smaller.
ONE_RUN_BLOCKS = 16384
PROPOSAL_BLOCKS = 65536
DEFAULT_BLOCKS = 262144
# What DuckDB 1.5 can still read.
_STORAGE_VERSION = "v1.5.0"
# RUN values are joined to runs by ranges. With DuckDB's own threshold, which goes by the number of
# rows it expects, 40,000 values of 10^5 runs took 6.5 s; always by the algorithm for ranges, 0.2 s.
_RANGE_JOIN_ROWS = 0
_NEEDED_OPTIMIZERS = {"expression_rewriter", "filter_pushdown", "unused_columns"}
# How many times its memory a limited connection may put on the disk: enough to sort what fits the
# limit, and no more than a user's temporary folder can be expected to have.
_SPILLED = 4
# A version can only be gone if two newer ones were published since the link was read, so even a few
# tries in a row mean that something else is wrong.
_TRIES = 10


def quoted(text: str | Path) -> str:
    """A text as an SQL literal, where no value can be bound (ATTACH, COMMENT)."""
    return "'" + str(text).replace("'", "''") + "'"


def _driver(*, plain: bool = False) -> Any:
    """DuckDB; if nothing but ``execute`` and ``fetchall`` is asked of it, its core only.

    The rest of the package (relations, expressions) takes longer to import than a run takes to be
    opened. Where a version of it has no such core, or it is imported already, it is all of it.
    """
    if plain and "duckdb" not in sys.modules:
        with suppress(ImportError):
            return importlib.import_module("_duckdb")
    return importlib.import_module("duckdb")


def connect_read(path: Path, *, plain: bool = False, memory_limit: int = 0) -> Cursor:
    """An in-memory database with the file attached read-only as ``xfelcat``, and locked up.

    A ``plain`` one is for what opening asks: about one table each time, by ``execute`` and
    ``fetchall``. It starts sooner, and answers such questions sooner. ``memory_limit`` is
    the bytes of memory that DuckDB may take; 0 leaves its default. Raises duckdb.IOException where
    the file is not there or is no database.
    """
    connection = connect_empty(memory_limit, plain=plain)
    try:
        connection.execute(f"ATTACH {quoted(path)} AS xfelcat (READ_ONLY)")
        connection.execute("USE xfelcat")
        if plain:
            # Looking for improvements takes a third of the time of a question about one table: turn
            # off all but what keeps one from reading the whole of it.
            found = connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()
            disabled = ",".join(name for (name,) in found if name not in _NEEDED_OPTIMIZERS)
            connection.execute(f"SET disabled_optimizers = {quoted(disabled)}")
        lock_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def connect_write(
    path: Path, *, block_size: int = PROPOSAL_BLOCKS, attach: Path | None = None
) -> Iterator[Cursor]:
    """An in-memory database with a draft attached as ``xfelcat``, made where it is missing.

    Leaving the context checkpoints and detaches, so that all is in the one file; leaving it by an
    error leaves the draft in whatever state it is in.
    """
    import duckdb

    options = f"STORAGE_VERSION '{_STORAGE_VERSION}'"
    if not path.exists():
        options += f", BLOCK_SIZE {block_size:d}"
    connection = connect_empty()
    try:
        connection.execute(f"ATTACH {quoted(path)} AS xfelcat ({options})")
        if attach is not None:
            connection.execute(f"ATTACH {quoted(attach)} AS other (READ_ONLY)")
        connection.execute("USE xfelcat")
        yield connection
        connection.execute("CHECKPOINT xfelcat")
        connection.execute("USE memory")
        connection.execute("DETACH xfelcat")
    except (duckdb.IOException, duckdb.TransactionException) as error:
        # A full disk, a quota; a commit into a directory that is gone. Nobody else writes the file,
        # so no transaction fails by a conflict.
        raise CatalogWriteError(str(path.parent), str(error).splitlines()[0]) from error
    finally:
        connection.close()


def connect_memory(fill: Callable[[Cursor], None], *, memory_limit: int = 0) -> Cursor:
    """A database in memory, attached as ``xfelcat``, filled once and then locked up."""
    connection = connect_empty(memory_limit)
    connection.execute("ATTACH ':memory:' AS xfelcat")
    connection.execute("USE xfelcat")
    fill(connection)
    lock_up(connection)
    return connection


def connect_empty(memory_limit: int = 0, *, plain: bool = False) -> Cursor:
    """An empty database in memory; what does not fit there goes to the system's temporary folder.

    DuckDB would take ``.tmp`` in the working directory, which is the user's. Its own limits are
    most of the machine's memory, and most of what is free on the disk.
    """
    try:
        spill = os.path.join(tempfile.gettempdir(), f"xfelcat-spill-{os.urandom(8).hex()}")
    except FileNotFoundError:  # none that can be written: what does not fit is an error
        spill = ""
    config: dict[str, Any] = {"temp_directory": spill, "merge_join_threshold": _RANGE_JOIN_ROWS}
    if memory_limit:
        config["memory_limit"] = f"{memory_limit:d}B"
        config["max_temp_directory_size"] = f"{_SPILLED * memory_limit:d}B"
    if plain:
        config["threads"] = 1
    connection: Cursor = _driver(plain=plain).connect(":memory:", config=config)
    return connection


def lock_up(connection: Cursor, files: Path | None = None) -> None:
    """Let a connection open no other file than those below ``files``, and change no setting."""
    if files is not None:
        connection.execute(f"SET allowed_directories = [{quoted(f'{files}/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


class OpenDatabase:
    """A database that is open for reading in this process.

    ``memo`` is for what callers decode from it and want to share: it lives as long as the database
    stays open, and that never changes.
    """

    def __init__(self, connection: Cursor, path: Path | None = None) -> None:
        self.path = path
        self.memo: dict[Any, Any] = {}
        self._connection = connection
        self._cursors = weakref.WeakSet[Any]()
        self._local = threading.local()

    @classmethod
    def at(cls, path: Path, *, plain: bool = False, memory_limit: int = 0) -> "OpenDatabase":
        """Open a published version; raises OSError where it is not there or is no database."""
        if not is_text(path):
            raise CatalogReadError(str(path), NOT_TEXT)
        try:
            connection = connect_read(path, plain=plain, memory_limit=memory_limit)
            return cls(connection, path)
        except _driver(plain=plain).Error as error:
            raise CatalogReadError(str(path), str(error).splitlines()[0]) from error

    def cursor(self) -> Cursor:
        """This thread's cursor, with the file's tables and views on its search path."""
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self.new_cursor()
        return cursor

    def new_cursor(self) -> Cursor:
        """A cursor of one's own, for results that are fetched bit by bit."""
        cursor = self._connection.cursor()
        self._cursors.add(cursor)
        cursor.execute("USE xfelcat")
        return cursor

    def abandon(self) -> None:
        """Never close this, not even when the interpreter ends.

        For a child made by fork: DuckDB's threads did not come along, and closing would wait for
        them or crash. (A child that leaves by ``os._exit``, as multiprocessing's do, never would.)
        """
        import ctypes

        for kept in (self._connection, *self._cursors):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))

    def close(self) -> None:
        """Close the file once no cursor is in use."""
        self._connection.close()


class ConnectionPool:
    """The files open for reading in this process, least recently used first.

    Their keys are paths: what is published under one never changes.

    A child made by fork opens its own: what the parent had open is left alone there, not even
    closed.
    """

    def __init__(self, limit: int = 24) -> None:
        # A file costs an instance of DuckDB with its threads and buffers; a session works with the
        # shards of a few proposals at a time.
        self.limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[Hashable, OpenDatabase] = OrderedDict()
        self._all = weakref.WeakSet[OpenDatabase]()  # with those that are open but no longer kept
        start_anew = weakref.WeakMethod(self._start_anew)

        def in_child() -> None:
            if (inherited := start_anew()) is not None:
                inherited()

        os.register_at_fork(after_in_child=in_child)

    def open(self, key: Hashable, make: Callable[[], OpenDatabase]) -> OpenDatabase:
        """The open file with this key; made now if there is none."""
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        made = make()
        self._all.add(made)
        with self._lock:
            kept = self._files.setdefault(key, made)
            while len(self._files) > self.limit:
                self._files.popitem(last=False)  # cursors in use keep it open
        return kept

    def close(self) -> None:
        """Close every file; the next ``open`` starts anew."""
        with self._lock:
            files, self._files = self._files, OrderedDict()
        for file in files.values():
            file.close()

    def _start_anew(self) -> None:
        for file in self._all:
            file.abandon()
        self._all = weakref.WeakSet()
        self._lock = threading.Lock()
        self._files = OrderedDict()


POOL = ConnectionPool()


def open_file(path: Path, *, plain: bool = False, memory_limit: int = 0) -> OpenDatabase:
    """The published version at ``path``, from the pool; raises as ``OpenDatabase.at``."""
    make = partial(OpenDatabase.at, path, plain=plain, memory_limit=memory_limit)
    return POOL.open((path, plain, memory_limit), make)


def open_current(
    versions: Versions, open_one: Callable[[Path], OpenDatabase | None] = open_file
) -> OpenDatabase | None:
    """The current version, open; None where nothing is published.

    A version that is removed between reading the link and opening it was replaced by a newer one.
    """
    for attempt in range(_TRIES):
        path = versions.current()
        if path is None:
            return None
        try:
            return open_one(path)
        except OSError:
            if path.exists() or attempt == _TRIES - 1:
                raise
    return None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C back until the block is left, and raise KeyboardInterrupt then.

    A signal that arrives inside DuckDB ends as a RuntimeError, or (2.0) may leave it waiting
    forever; what it is at takes moments. A second Ctrl-C is not kept back. Outside the main thread,
    where no signal arrives, or where the process handles Ctrl-C itself, this does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:
        yield
        return
    is_pending = False

    def keep_back(number: int, frame: FrameType | None) -> None:
        nonlocal is_pending
        is_pending = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, keep_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if is_pending:
        raise KeyboardInterrupt
