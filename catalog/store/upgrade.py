"""How does a catalog of an older schema version come to ours?

The versions of a schema have links and names of their own (``publish``), so a migrated copy is
published beside the old one, which older clients go on reading. Only ingest (through
``Store.write``) and `xfelcat db upgrade` come here: opening a run never migrates.

1. ``shard_states``: which schema versions each shard has; ``left_out``: of those not of ours.
2. ``upgrade_shards``: migrate and publish every shard that needs it, and what audits found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .creation import migrate_draft
from .publish import AUDITS, SCHEMA_VERSION, Versions
from .store import Progress, Store

__all__ = ["ShardState", "left_out", "shard_states", "upgrade_shards"]


@dataclass(frozen=True, slots=True)
class ShardState:
    """The schema versions that a shard is published in."""

    shard: str
    schema_versions: tuple[int, ...]

    @property
    def is_current(self) -> bool:
        """Whether this client can read it."""
        return SCHEMA_VERSION in self.schema_versions

    @property
    def can_be_upgraded(self) -> bool:
        """Whether there is an older version, and none of ours."""
        return not self.is_current and any(v < SCHEMA_VERSION for v in self.schema_versions)


def shard_states(store: Store) -> list[ShardState]:
    """The state of every shard of a store, in the order of their names."""
    return _states(store, _folders(store))


def left_out(store: Store) -> list[ShardState]:
    """The shards that no question sees, as they are published for other schema versions only.

    Asked after each answer: a shard that is current costs one look at its link.
    """
    return _states(store, (n for n in _folders(store) if store.versions(n).current() is None))


def _folders(store: Store) -> list[str]:
    folder = store.location / "shards"
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def _states(store: Store, names: Iterable[str]) -> list[ShardState]:
    states = (ShardState(n, tuple(store.versions(n).schema_versions())) for n in names)
    return [s for s in states if s.schema_versions]


def upgrade_shards(store: Store, progress: Progress | None = None) -> list[str]:
    """Publish every shard that is older in our schema version too; their names.

    The same for the database of the audits. ``progress`` is told how many shards are done, of how
    many.
    """
    if store.audits.current() is None and store.audits.schema_versions():
        _upgrade(store.audits, AUDITS, kind=AUDITS)
    todo = [s.shard for s in shard_states(store) if s.can_be_upgraded]
    for done, shard in enumerate(todo):
        _upgrade(store.versions(shard), shard, kind="shard")
        if progress:
            progress(done + 1, len(todo))
    return todo


def _upgrade(versions: Versions, name: str, *, kind: str) -> None:
    with versions.lock(), versions.draft() as draft:
        if not draft.exists() and migrate_draft(versions, draft, name, kind=kind):
            versions.publish(draft)
