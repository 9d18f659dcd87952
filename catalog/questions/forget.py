"""The removal of runs from the catalog; nothing else deletes facts, and no data file is touched.

1. ``find_known`` finds the runs of a name or path in the shards, which are the truth.
2. ``forget`` takes them out of their shards and publishes the merged file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike, fspath

from ..model.errors import RunNotFoundError, nearest
from ..model.identity import RunIdentity
from ..model.names import from_text
from ..store.store import Store
from .execute import all_of, ask, sql
from .filters import ALL_RUNS, RunFilter

__all__ = ["KnownRun", "find_known", "forget"]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run of the catalog: its number, the shard that keeps it, its name, its path, its files."""

    run_id: int
    shard: str
    name: str
    path: str
    n_files: int


def find_known(store: Store, targets: Iterable[str | PathLike[str]]) -> list[KnownRun]:
    """The catalogued runs that the targets name, each once, in the order of shards and runs.

    A target is ``p002012``, ``p002012/raw``, ``p002012/raw/r0001``, or a path: the run there, or
    all runs below; the path need not exist any more.

    Raises CatalogNotFoundError where there is no catalog, and RunNotFoundError for a target that
    names no catalogued run.
    """
    store.require()
    found: dict[int, KnownRun] = {}
    for target in targets:
        named = list(_known(store, RunFilter.named(target)))
        if not named:
            text = fspath(target)
            known = [known for run in _known(store, ALL_RUNS) for known in (run.name, run.path)]
            raise RunNotFoundError(
                f"{text}: a catalogued run of this name or path",
                looked_at=[str(store.location)],
                nearest=nearest(text, known),
            )
        found |= {run.run_id: run for run in named}
    return sorted(found.values(), key=lambda run: run.run_id)


def forget(store: Store, runs: Iterable[KnownRun]) -> int:
    """Take runs out of the catalog with all that is known of them; returns how many were there.

    Raises CatalogWriteError where the catalog cannot be written; what is forgotten by then stays
    forgotten.
    """
    by_shard: dict[str, list[KnownRun]] = {}
    for run in runs:
        by_shard.setdefault(run.shard, []).append(run)
    n_forgotten = 0
    for shard, of_shard in by_shard.items():
        with store.write(shard) as writer:
            n_forgotten += sum(writer.forget_run(run.run_id) for run in of_shard)
    if n_forgotten:
        store.publish_merged()
    return n_forgotten


def _known(store: Store, where: RunFilter) -> Iterable[KnownRun]:
    statement = sql(
        "SELECT run_id, proposal, run.run, data_class, directory, n_files FROM run"
        " WHERE {filter} ORDER BY run_id",
        filter=all_of(where.conditions()),
    )
    only = {f"p{proposal:06d}" for proposal in where.proposals}
    for shard in store.shards():
        if only and shard not in only:
            continue
        with store.read(shard) as cursor:
            rows = ask(cursor, statement).to_pylist() if cursor else []
        for row in rows:
            path = from_text(row["directory"])
            name = path
            if row["proposal"] is not None:
                name = str(RunIdentity(row["proposal"], row["run"], row["data_class"]))
            yield KnownRun(row["run_id"], shard, name, path, row["n_files"])
