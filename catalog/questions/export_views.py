"""How do the views of the catalog become Parquet files, for programs that do not ask in SQL?

One file per view. A view over 10^5 runs has up to 10^9 rows, so it is read and written some runs at
a time; what is in memory is about ``_ROWS_AT_ONCE`` rows.

1. ``export_views``: the views, checked, and the files they go to; none is replaced unasked.
2. ``_portions``: the rows of a view, by runs.
3. Files are written under other names, and take their places when all are complete. All are of the
   same published state of the catalog.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QueryError, TargetWriteError
from ..store.store import Store
from .answers import Provenance, ask
from .queries import provenance
from .run_filter import ALL_RUNS, RunFilter
from .view_docs import describe_views

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import ColumnElement, Table

__all__ = ["ExportedView", "ViewProgress", "export_views"]

_RUNS_AT_FIRST = 32
_ROWS_AT_ONCE = 500_000

ViewProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportedView:
    """A file that was written: the view, its rows, and the bytes of the file."""

    view: str
    path: Path
    rows: int
    size: int


def export_views(
    store: Store,
    directory: str | os.PathLike[str],
    views: Sequence[str] = (),
    where: RunFilter = ALL_RUNS,
    *,
    force: bool = False,
    progress: ViewProgress | None = None,
) -> list[ExportedView]:
    """Write views to ``directory/<view>.parquet``; the directory is made if it is missing.

    All views where none is named. ``where`` chooses the runs; the views that are not about single
    runs (sources, keys, audits) cannot be filtered, and are left out of all views then. Rows come
    in the order of runs. The metadata of each file say, under ``xfelcat``, what it rests on.
    ``progress`` is told the view and how many runs of it are done, of how many.

    Raises
    ------
    QueryError
        For a view that there is not, or that cannot be filtered.
    TargetWriteError
        Where a file exists and ``force`` is not set, or cannot be written. Nothing is replaced.
    CatalogNotFoundError
        Where there is no catalog.
    """
    target = Path(os.path.expanduser(directory)).absolute()
    names = _chosen(views, where)
    paths = {name: target / f"{name}.parquet" for name in names}
    for path in paths.values():
        if path.exists() and not force:
            raise TargetWriteError(str(path), "it exists; --force (force=True) replaces it")
    with store.read_merged() as cursor:
        basis = provenance(cursor, store, where)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".xfelcat-export-", dir=target) as drafts:
                rows = {
                    name: _write(cursor, name, where, basis, Path(drafts) / name, progress)
                    for name in names
                }
                for name, path in paths.items():
                    (Path(drafts) / name).replace(path)
        except OSError as error:
            raise TargetWriteError(str(target), error.strerror or str(error)) from error
    return [ExportedView(n, path, rows[n], path.stat().st_size) for n, path in paths.items()]


def _chosen(views: Sequence[str], where: RunFilter) -> list[str]:
    """The views to write, each once."""
    described = describe_views(*dict.fromkeys(views))
    if where == ALL_RUNS:
        return [view.name for view in described]
    of_runs = [v.name for v in described if any(c.name == "run_id" for c in v.columns)]
    if views and len(of_runs) < len(described):
        others = ", ".join(v.name for v in described if v.name not in of_runs)
        raise QueryError(f"{others}: not about single runs; export without choosing runs")
    return of_runs


def _write(
    cursor: "duckdb.DuckDBPyConnection",
    name: str,
    where: RunFilter,
    basis: Provenance,
    path: Path,
    progress: ViewProgress | None,
) -> int:
    """Write the rows of a view to a new file; how many there are."""
    import pyarrow.parquet as pq

    from ..store.schema import VIEWS

    rows = 0
    writer = None
    try:
        for table, done, total in _portions(cursor, VIEWS.tables[name], where):
            if writer is None:
                told = json.dumps({"view": name} | basis.as_dict())
                schema = table.schema.with_metadata({"xfelcat": told})
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


def _portions(
    cursor: "duckdb.DuckDBPyConnection", view: "Table", where: RunFilter
) -> Iterator[tuple["pa.Table", int, int]]:
    """The rows of a view, how many runs are done with them, and of how many; at least one table."""
    from sqlalchemy import select

    from ..store.schema import run

    if "run_id" not in view.c:
        yield ask(cursor, select(view)), 1, 1
        return
    chosen = select(run.c.run_id).where(*where.conditions(run)).order_by(run.c.run_id)
    ids = ask(cursor, chosen).column("run_id").to_pylist()
    done, portion = 0, _RUNS_AT_FIRST
    while True:
        end = min(done + portion, len(ids))
        of_runs = _between(view.c.run_id, ids, done, end)
        if where != ALL_RUNS:
            of_runs.append(view.c.run_id.in_(chosen.order_by(None)))
        table = ask(cursor, select(view).where(*of_runs).order_by(view.c.run_id))
        yield table, end, len(ids)
        if end == len(ids):
            return
        per_run = max(table.num_rows / (end - done), 1)
        portion = max(min(int(_ROWS_AT_ONCE / per_run), 4 * portion), 1)
        done = end


def _between(
    run_id: "ColumnElement[Any]", ids: list[int], done: int, end: int
) -> list["ColumnElement[bool]"]:
    """The conditions on rows of ``ids[done:end]``, and of what lies between: findings of no run.

    These have no run_id, or that of a run that is not catalogued.
    """
    from sqlalchemy import or_

    conditions = []
    if done:
        conditions.append(run_id >= ids[done])
    if end < len(ids):
        below = run_id < ids[end]
        conditions.append(below if done else or_(below, run_id.is_(None)))
    return conditions
