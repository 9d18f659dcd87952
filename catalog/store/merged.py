"""The merged database, where the setting ``merged`` has it: a file of the catalog, or a lake.

``Store`` and care ask one ``Merged``, and do not know which it is.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from ..config import load_settings
from .connections import OpenDatabase, open_current, open_file
from .versions import Progress, Published, Versions


class Merged(Protocol):
    """A merged database that is published in versions, and asked as of a time where that is set."""

    def open(self, memory_limit: int = 0) -> OpenDatabase | None:
        """The current version, open for reading; None where nothing is published.

        ``memory_limit`` (bytes; 0: DuckDB's own) makes the connection one of its own.
        """

    def lock(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """Be its one writer; raises as ``Versions.lock``."""

    def update(self, shards: Mapping[str, Path], progress: Progress | None) -> None:
        """Publish these versions of the shards, all or none. For the holder of the lock.

        ``progress`` counts the shards that changed. Raises CatalogWriteError.
        """

    def published(self) -> list[Published]:
        """The versions that are kept, oldest first."""

    def expire(self, keep: timedelta) -> int:
        """Remove the versions that were replaced longer ago than ``keep``; bytes that were freed.

        Raises as ``lock``.
        """


class MergedFile(Versions):
    """The merged database as a file, which each version copies whole."""

    def __str__(self) -> str:
        return str(self.directory)

    def open(self, memory_limit: int = 0) -> OpenDatabase | None:
        """As ``Merged.open``."""
        return open_current(self, partial(open_file, memory_limit=memory_limit))

    def update(self, shards: Mapping[str, Path], progress: Progress | None) -> None:
        """As ``Merged.update``."""
        from .merge import merge_shards, needs_rebuild
        from .schema import open_draft

        file = self.open()
        rebuild = file is None or needs_rebuild(file.cursor(), shards)
        with self.draft(empty=rebuild) as draft:
            with open_draft(draft, "merged", "merged") as connection:
                merge_shards(connection, shards, progress)
            self.publish(draft)


def merged_database(location: Path, at: datetime | None) -> Merged:
    """The merged database of the catalog at ``location``, as it was ``at`` a time (UTC).

    A lake whose path is absolute is that of the catalog of the settings; other catalogs have files.
    """
    settings = load_settings()
    _, _, metadata = settings.merged.partition("ducklake:")
    if metadata.startswith("postgres:"):
        from .lake import ServedLake

        return ServedLake(location, metadata, at)
    of_settings = os.path.realpath(settings.catalog) if settings.catalog else ""
    if metadata and (not os.path.isabs(metadata) or of_settings == os.path.realpath(location)):
        from .lake import FrozenLake

        return FrozenLake(location / metadata, at)
    return MergedFile(location / "merged", at=at)
