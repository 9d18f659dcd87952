"""Locks by which the writers of one database take turns, on one node or on several.

Each database has a file ``lock`` in its directory. The setting ``lock`` says how it is taken:

- ``flock``: the kernel's lock on the whole file;
- ``fcntl``: the kernel's lock on its bytes, of an open file description (not of a process, as POSIX
  has it), which more network file systems pass on to other nodes;
- ``postgres:DSN``: an advisory lock of a PostgreSQL server, by the path of the directory, which
  must be the same on all nodes. The server releases it when the connection ends.

All end with the process. The file says how it is taken, so that two writers that would not see each
other's lock are refused; and, while it is taken, by whom: a writer that gets the lock of another
node's that never gave it back warns, as that one may not have died, but not be seen.
"""

import fcntl
import os
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..model.errors import CatalogWriteError, ConfigError, warn_caller

KINDS = ("flock", "fcntl", "postgres")
# struct flock of Linux: its kind, from the start of the file, from byte 0 on, all of it, by nobody.
_ALL_BYTES = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def kind_of(setting: str) -> str:
    """The kind of lock that a setting asks for: one of ``KINDS``."""
    return setting.partition(":")[0]


def take_file(fd: int, kind: str, *, wait: bool) -> None:
    """Take the kernel's lock on an open file, until it is closed.

    Raises BlockingIOError where another has it and ``wait`` is false.
    """
    if kind == "fcntl":
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, _ALL_BYTES)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lock:
    """The lock of a database's directory, taken; ``release`` gives it back.

    Raises BlockingIOError where another writer has it and ``wait`` is false, OSError where the file
    cannot be made, CatalogWriteError where writers take turns in another way.
    """

    def __init__(self, directory: Path, setting: str, *, wait: bool) -> None:
        self._directory, self._kind = directory, kind_of(setting)
        self._connection: Any = None
        if self._kind == "postgres":
            self._connection = _locked_connection(directory, setting.partition(":")[2], wait)
        try:
            self._fd = _open_locked(directory / "lock", self._kind, wait)
        except BaseException:
            self._disconnect()
            raise
        try:
            self._sign()
        except BaseException:  # what the file says stays: it may be of a writer at work
            os.close(self._fd)
            self._disconnect()
            raise

    def check(self) -> None:
        """Raise CatalogWriteError where the lock was lost: before anything is published."""
        if self._connection is not None:
            import psycopg

            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error as error:
                reason = f"the PostgreSQL server of its lock is lost: {_line(error)}"
                raise CatalogWriteError(str(self._directory), reason) from None

    def release(self) -> None:
        """Give the lock back."""
        with suppress(OSError):
            _write(self._fd, self._kind)
        os.close(self._fd)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _sign(self) -> None:
        """Write into the file how and by whom it is locked; see who did so last."""
        kind, *holder = os.pread(self._fd, 1024, 0).decode(errors="replace").split() or [""]
        if kind in KINDS and kind != self._kind:
            raise CatalogWriteError(
                str(self._directory),
                f"its writers take turns by {kind}, and the setting lock is {self._kind}: set it to"
                f" {kind}, or empty the file lock there while no one writes",
            )
        here = socket.gethostname()
        if holder and holder[0] != here:
            warn_caller(
                f"{self._directory}: {' '.join(holder)} did not give the lock back; unless it died,"
                " nodes do not see each other's locks here: run `xfelcat db locks` on both"
            )
        _write(self._fd, f"{self._kind} {here} {os.getpid()}")


def _open_locked(path: Path, kind: str, wait: bool) -> int:
    """The file, open, locked by the kernel unless PostgreSQL keeps the lock."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            mode = os.fstat(fd).st_mode
            shared = path.parent.stat().st_mode & stat.S_IWGRP
            if shared and not mode & stat.S_IWGRP and os.fstat(fd).st_uid == os.geteuid():
                os.fchmod(fd, stat.S_IMODE(mode) | stat.S_IRGRP | stat.S_IWGRP)
            if kind != "postgres":
                take_file(fd, kind, wait=wait)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the catalog was deleted while we waited: lock what is there now


def _write(fd: int, text: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{text}\n".encode(), 0)


def _locked_connection(directory: Path, dsn: str, wait: bool) -> Any:
    """A connection to PostgreSQL that holds the advisory lock of a directory."""
    connect = connect_postgres("lock")
    digest = blake2b(os.fsencode(os.path.realpath(directory)), digest_size=8).digest()
    key = int.from_bytes(digest, "big", signed=True)
    import psycopg

    try:
        connection = connect(dsn, autocommit=True, application_name="xfelcat")
        if wait:
            connection.execute("SELECT pg_advisory_lock(%s)", [key])
        elif not connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()[0]:
            connection.close()
            raise BlockingIOError
    except psycopg.Error as error:
        reason = f"PostgreSQL gives no lock: {_line(error)}"
        raise CatalogWriteError(str(directory), reason) from None
    return connection


def connect_postgres(setting: str) -> Callable[..., Any]:
    """The function of psycopg that connects; ConfigError names the setting that asks for it."""
    try:
        import psycopg
    except ImportError:
        raise ConfigError(
            f"the setting {setting} asks for PostgreSQL, which needs the package psycopg:"
            " pip install 'xfelcat[postgres]'"
        ) from None
    connect: Callable[..., Any] = psycopg.connect
    return connect


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
