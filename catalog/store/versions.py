"""Published versions of a database file, which change while others read and survive a crash.

A published file is never modified. Each database has a directory of its own:

    lock                           locked by the one writer, until it dies (``locks``)
    current-v1                     link to the version that readers take
    v1.00000012-5f3a9c.duckdb      that version (0444), the one before it, and others that are kept
    .draft-v1-4711-5f3a9c.duckdb   what a writer is working on

The number in a name counts up and the token is random, so a name never comes back with another
content. The schema version leads every name: clients of two schema versions share the directory,
and none sees the other's files.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..config import load_settings
from ..model.errors import CatalogBusyError, CatalogWriteError

if TYPE_CHECKING:
    from .locks import Lock

SCHEMA_VERSION = 5  # also the number of the newest revision; 1 and 2 were never released
OLDEST_UPGRADED = 3  # runs of catalogs before it are to be ingested again
Progress = Callable[[int, int], None]  # gets how many steps are done, and of how many
AUDITS = "audits"  # the database of what audits found, among the shards that are merged
NOT_TEXT = "its path is not UTF-8, and DuckDB takes no other"
_NAME = re.compile(r"v(\d+)\.(\d{8,})-[0-9a-f]{6}\.duckdb")
_LINK = re.compile(r"current-v(\d+)")


def is_text(given: Path | str) -> bool:
    """Whether a path or statement is UTF-8; DuckDB takes no other, and its error is unclear."""
    try:
        str(given).encode()
    except UnicodeEncodeError:
        return False
    return True


def make_directory(path: Path) -> None:
    """Make a directory and its parents, each with its parent's group rights; no world rights."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(0o755)
        group_bits = path.parent.stat().st_mode & (stat.S_IRWXG | stat.S_ISGID)
        path.chmod((stat.S_IMODE(path.stat().st_mode) | group_bits) & ~stat.S_IWOTH)


def sync(path: Path) -> None:
    """Have a file, or the entries of a directory, on the disk before going on."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Published(NamedTuple):
    """A version that is kept: current from ``since`` (UTC) until the next one was published."""

    number: int
    name: str
    since: datetime
    size: int
    """Bytes of its file."""


def expired_of(published: Sequence[Published], keep: timedelta) -> list[Published]:
    """The versions that were replaced longer ago than ``keep``; never the newest two."""
    limit = datetime.now(UTC).replace(tzinfo=None) - keep
    return [each for each, after in pairwise(published[:-1]) if after.since <= limit]


class Versions:
    """The published versions of one database file, for one schema version.

    With ``at``, a time in UTC, they are as they were then.
    """

    def __init__(
        self, directory: Path, schema_version: int | None = None, *, at: datetime | None = None
    ) -> None:
        self.directory = directory
        self.schema_version = SCHEMA_VERSION if schema_version is None else schema_version
        self.at = at
        self._lock: Lock | None = None

    @property
    def _link(self) -> Path:
        return self.directory / f"current-v{self.schema_version}"

    def current(self) -> Path | None:
        """The version that the link names now; None where nothing is published for us to read.

        With ``at``, the one that it named then, of those that are kept.
        """
        if self.at is not None:
            return self._newest_before(self.at)
        return self._linked()

    def _linked(self) -> Path | None:
        try:
            return self.directory / os.readlink(self._link)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None  # a file in its place: the catalog was copied by what follows links

    def published(self) -> list[Published]:
        """The versions that are kept, oldest first, without what a crash kept from being linked."""
        linked = self._linked()
        found = self._named()
        names = [each.name for each in found]
        return found[: names.index(linked.name) + 1] if linked and linked.name in names else found

    def _named(self) -> list[Published]:
        found = []
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            for name in os.listdir(self.directory):
                match = _NAME.fullmatch(name)
                if match is None or int(match[1]) != self.schema_version:
                    continue
                with suppress(FileNotFoundError):
                    stat_ = (self.directory / name).stat()
                    since = datetime.fromtimestamp(stat_.st_mtime, UTC).replace(tzinfo=None)
                    found.append(Published(int(match[2]), name, since, stat_.st_size))
        return sorted(found)

    def _newest_before(self, at: datetime) -> Path | None:
        before = [each for each in self.published() if each.since <= at]
        return self.directory / before[-1].name if before else None

    def has_lost(self, at: datetime) -> bool:
        """Whether there were versions at a time, of which none is kept."""
        published = self.published()
        return bool(published) and published[0].number > 1 and published[0].since > at

    def expire(self, keep: timedelta) -> int:
        """Remove the versions that were replaced longer ago than ``keep``; bytes that were freed.

        Raises as ``lock``.
        """
        if not (expired := expired_of(self.published(), keep)):
            return 0
        with self.lock():
            for each in expired:
                self._remove(self.directory / each.name)
        return sum(each.size for each in expired)

    def schema_versions(self) -> list[int]:
        """The schema versions that something is published in, oldest first."""
        try:
            names = os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []
        return sorted(int(m[1]) for m in map(_LINK.fullmatch, names) if m)

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """Be the one writer of this database, over all processes and threads.

        Raises CatalogBusyError if there is another writer and ``wait`` is false, CatalogWriteError
        if the directory, or the lock in it, cannot be made.
        """
        from .locks import Lock

        if not is_text(self.directory):
            raise CatalogWriteError(str(self.directory), NOT_TEXT)
        with self._writing():
            make_directory(self.directory)
            self._lock = Lock(self.directory, load_settings().lock, wait=wait)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def draft(self, *, empty: bool = False) -> Iterator[Path]:
        """A copy of the current version to work on; no file where there is none, or if ``empty``.

        Only for the holder of the lock. Whatever is not published is removed, and so are drafts of
        writers that died.
        """
        import shutil

        name = f".draft-v{self.schema_version}-{os.getpid()}-{os.urandom(3).hex()}.duckdb"
        path = self.directory / name
        newer = [v for v in self.schema_versions() if v > self.schema_version]
        if newer:  # what is written beside it, nobody would ever see there
            raise CatalogWriteError(
                str(self.directory),
                f"it is of schema version {max(newer)} and this xfelcat writes version"
                f" {self.schema_version}: install the newer one",
            )
        try:
            with self._writing():
                for each in os.listdir(self.directory):
                    if each.startswith((".draft-", ".link-")):
                        self._remove(self.directory / each)
                current = self.current()
                if current is not None and not empty:
                    shutil.copyfile(current, path)
                    path.chmod(0o644)
            yield path
        finally:
            self._remove(path)

    def check_lock(self) -> None:
        """Raise CatalogWriteError where the lock was lost: before anything is published."""
        if self._lock is not None:
            self._lock.check()

    def publish(self, draft: Path, keep: timedelta | None = None) -> Path:
        """Make a draft the current version; its new path. Only for the holder of the lock.

        In an order in which any crash leaves either the old or the new version whole. Versions that
        were replaced longer ago than ``keep``, else the setting ``keep``, are removed.
        """
        self.check_lock()
        with self._writing():
            os.utime(draft)  # the time from which on it is current
            sync(draft)
            draft.chmod(0o444)
            named, known = self._named(), self.published()
            number = named[-1].number + 1 if named else 1
            token = os.urandom(3).hex()
            path = self.directory / f"v{self.schema_version}.{number:08d}-{token}.duckdb"
            draft.rename(path)
            sync(self.directory)
            previous = self._linked()
            link = self.directory / f".link-{token}"
            link.symlink_to(path.name)
            link.rename(self._link)
            sync(self.directory)
            # The one before stays, for who has just read the link.
            keep = load_settings().keep if keep is None else keep
            for each in expired_of(self.published(), keep) + named[len(known) :]:
                if self.directory / each.name != previous:
                    self._remove(self.directory / each.name)
        return path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the file system as ours; not for what a caller does in between."""
        try:
            yield
        except BlockingIOError:
            raise CatalogBusyError(str(self.directory)) from None
        except OSError as error:
            raise CatalogWriteError(str(self.directory), error.strerror or str(error)) from error

    @staticmethod
    def _remove(path: Path) -> None:
        # What cannot be removed is in nobody's way, and the next writer tries again.
        for each in (path, path.with_name(path.name + ".wal")):
            with suppress(OSError):
                each.unlink()
