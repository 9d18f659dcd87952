"""Copies of catalogs: of a whole one, or of the proposals of several into one.

Each shard is copied as its current version, and published in the target as any other; so readers of
the target go on, and a copy that is stopped is continued by the same command. Beside a copied shard
the file ``copied`` says which version it is of which: what has not changed is not copied again, and
what was written in the target since is not overwritten.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path

from ..model.errors import CatalogWriteError
from .connections import uninterrupted
from .store import Store
from .versions import AUDITS, Progress, Versions

_TRIES = 3


@dataclass(slots=True)
class CopyReport:
    """What was copied."""

    copied: list[str] = field(default_factory=list)
    """Names of the shards."""
    unchanged: int = 0
    """Shards that had been copied already."""
    bytes: int = 0
    """Size of the files copied."""


def copy_catalogs(
    sources: Sequence[Store],
    target: Store,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """Copy the shards of some catalogs into one, and merge it.

    What audits found is copied where there is one source; of several it is left out, as their
    audits have numbers of their own. ``replace``: whatever the target has of a shard is replaced.

    Raises CatalogNotFoundError for a source without runs, CatalogWriteError where two sources have
    a shard, where the target has one that is no copy of this one or was written to since, and where
    the target cannot be written. What was copied by then stays.
    """
    todo: dict[str, Store] = {}
    for source in sources:
        source.require()
        if source.location == target.location:
            raise CatalogWriteError(str(target.location), "it is to be copied to itself")
        for shard in source.shards():
            if shard in todo:
                both = f"{todo[shard].location} and {source.location} both have {shard}"
                raise CatalogWriteError(str(target.location), both)
            todo[shard] = source
    report = CopyReport()
    for done, (shard, source) in enumerate(todo.items(), 1):
        _copy(shard, source.versions(shard), target.versions(shard), report, replace=replace)
        if progress:
            progress(done, len(todo))
    if len(sources) == 1 and sources[0].audits.current() is not None:
        _copy(AUDITS, sources[0].audits, target.audits, report, replace=replace)
    target.publish_merged()
    return report


def _copy(
    shard: str, source: Versions, target: Versions, report: CopyReport, *, replace: bool
) -> None:
    note, origin = target.directory / "copied", str(source.directory)
    with target.lock(), uninterrupted(), target.draft(empty=True) as draft:
        known = note.read_text(encoding="utf-8").split("\n") if note.exists() else []
        there = target.current()
        is_ours = there is not None and known[::2] == [origin, there.name]
        current = source.current()
        if is_ours and current is not None and known[1] == current.name:
            report.unchanged += 1
            return
        current = _fetched(source, draft)
        if current is None:
            return
        if there is not None and not replace and not is_ours and not cmp(there, draft, False):
            reason = f"it has {shard} already, not as a copy of this: --replace overwrites it"
            raise CatalogWriteError(str(target.directory), reason)
        draft.chmod(0o644)
        path = target.publish(draft)
        _write(note, "\n".join((origin, current.name, path.name)))
        report.copied.append(shard)
        report.bytes += path.stat().st_size


def _fetched(source: Versions, draft: Path) -> Path | None:
    """The current version, copied; None where there is none.

    If two newer ones are published meanwhile, it may vanish: then the newest is taken.
    """
    for _ in range(_TRIES):
        current = source.current()
        if current is None:
            return None
        with suppress(FileNotFoundError):
            shutil.copyfile(current, draft)
            return current
    raise CatalogWriteError(str(draft.parent), f"{source.directory} changes too fast to be copied")


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}")
    new.write_text(text, encoding="utf-8")
    new.rename(path)
