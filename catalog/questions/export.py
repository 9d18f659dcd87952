"""The views of the catalog as Parquet files, for programs that do not ask in SQL.

One file per view. A view over 10^5 runs has up to 10^9 rows, so it is read and written some runs at
a time; what is in memory is about ``_ROWS_AT_ONCE`` rows.

Files are written under other names, and take their places when all are complete. All are of the
same published state of the catalog.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ..model.errors import QueryError, TargetWriteError
from ..store.connections import Cursor
from ..store.store import Store
from .execute import Provenance, Sql, Table, all_of, ask, is_one_of, numbers, sql
from .filters import provenance
from .question import EVERYTHING, Question, RunIds, select_runs
from .sql import describe_views

# Few at first: how many rows a run has is known only from those that were read.
_RUNS_AT_FIRST = 32
# About 100 MB of the widest view.
_ROWS_AT_ONCE = 500_000

ViewProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportedView:
    """A file that was written: the view, its rows, and the bytes of the file."""

    view: str
    path: Path
    rows: int
    size: int


@contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of the one at ``path`` once it is complete.

    A link stays, and what it leads to is replaced. A pipe or a device, such as /dev/stdout, which
    may itself be a file that a shell has open, is written to as it is.
    """
    is_special = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    if is_special or (os.path.exists(path) and not os.path.isfile(path)):
        with open(path, "ab") as file:  # an open file of the shell keeps what it has
            yield file
        return
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(draft, "xb") as file:
            yield file
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def export_views(
    store: Store,
    directory: str | os.PathLike[str],
    views: Sequence[str] = (),
    question: Question = EVERYTHING,
    *,
    force: bool = False,
    progress: ViewProgress | None = None,
) -> list[ExportedView]:
    """Write views to ``directory/<view>.parquet`` (``Catalog.export``).

    Rows come in the order of runs. The metadata of each file say, under ``xfelcat``, what it rests
    on. Raises QueryError for a view that there is not, or that cannot be filtered.
    """
    target = Path(os.path.expanduser(directory)).absolute()
    names = _chosen(views, question)
    paths = {name: target / f"{name}.parquet" for name in names}
    for path in paths.values():
        if path.exists() and not force:
            raise TargetWriteError(str(path), "it exists; --force (force=True) replaces it")
    with store.read_merged() as cursor:
        basis = provenance(cursor, store, question.runs)
        ids = select_runs(cursor, question).ids
        if ids is None:
            found = ask(cursor, Sql("SELECT run_id FROM run ORDER BY run_id"))
            ids = numbers(found.column("run_id"))
        conditions_of = partial(_conditions, ids, question == EVERYTHING)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".xfelcat-export-", dir=target) as drafts:
                drafted = {name: Path(drafts) / name for name in names}
                rows = {}
                for name, draft in drafted.items():
                    batches = _batches(cursor, name, len(ids), conditions_of)
                    rows[name] = _write(batches, name, basis, draft, progress)
                for name, draft in drafted.items():
                    # Through a link, whatever it leads to and wherever that lies.
                    shutil.move(draft, os.path.realpath(paths[name]))
        except OSError as error:
            raise TargetWriteError(str(target), error.strerror or str(error)) from error
    return [ExportedView(n, path, rows[n], path.stat().st_size) for n, path in paths.items()]


def _chosen(views: Sequence[str], question: Question) -> list[str]:
    """The views to write, each once."""
    described = describe_views(*dict.fromkeys(views))
    if question == EVERYTHING:
        return [view.name for view in described]
    of_runs = [v.name for v in described if any(c.name == "run_id" for c in v.columns)]
    if views and len(of_runs) < len(described):
        others = ", ".join(v.name for v in described if v.name not in of_runs)
        raise QueryError(f"{others}: not about single runs; export without choosing runs")
    return of_runs


def _write(
    batches: "Iterable[tuple[Table, int, int]]",
    name: str,
    basis: Provenance,
    path: Path,
    progress: ViewProgress | None,
) -> int:
    """Write the rows of a view to a new file; how many there are."""
    import pyarrow.parquet as pq

    rows = 0
    writer = None
    try:
        for table, done, total in batches:
            if writer is None:
                metadata = json.dumps({"view": name} | basis.as_dict())
                schema = table.schema.with_metadata({"xfelcat": metadata})
                writer = pq.ParquetWriter(path, schema, compression="zstd")
            if table.num_rows:
                writer.write_table(table)
            rows += table.num_rows
            if progress:
                progress(name, done, total)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _batches(
    cursor: Cursor, view: str, total: int, conditions_of: Callable[[int, int], Sql]
) -> Iterator[tuple[Table, int, int]]:
    """The rows of a view, how many runs are done with them, and of how many; at least one table."""
    if "run_id" not in ask(cursor, Sql(f"FROM {view} LIMIT 0")).column_names:
        yield ask(cursor, Sql(f"FROM {view}")), 1, 1
        return
    done, batch = 0, _RUNS_AT_FIRST
    while True:
        end = min(done + batch, total)
        of_runs = conditions_of(done, end)
        table = ask(cursor, sql(f"FROM {view} WHERE {{of_runs}} ORDER BY run_id", of_runs=of_runs))
        yield table, end, total
        if end == total:
            return
        per_run = max(table.num_rows / (end - done), 1)
        batch = max(min(int(_ROWS_AT_ONCE / per_run), 4 * batch), 1)
        done = end


def _conditions(ids: RunIds, are_all: bool, done: int, end: int) -> Sql:
    """The condition on rows of ``ids[done:end]``.

    Of all runs also on what lies between: findings of no run have no run_id, or that of a run that
    is not catalogued.
    """
    if not are_all:
        if done == end:
            return Sql("false")
        low, high = int(ids[done]), int(ids[end - 1])
        within = sql("run_id BETWEEN {low} AND {high}", low=low, high=high)
        return all_of([within, is_one_of("run_id", ids[done:end])])
    conditions = []
    if done:
        conditions.append(sql("run_id >= {first}", first=int(ids[done])))
    if end < len(ids):
        below = "run_id < {end}" if done else "run_id < {end} OR run_id IS NULL"
        conditions.append(sql(below, end=int(ids[end])))
    return all_of(conditions)
