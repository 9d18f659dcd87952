"""What the shell completes: names of the catalog, checks and views.

Completion must be quick and say nothing: it asks the merged file as it was last published, by
DuckDB's core alone, writes nothing, and gives no names where there is no catalog or it cannot be
read.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import typer

Names = list[str | tuple[str, str]]
_MOST = 500  # names that a shell is given; more help nobody
# Of each kind, the names that begin with $1. Keys are completed without their ending .value.
_SQL = {
    "proposal": "SELECT DISTINCT unnest([proposal::VARCHAR, format('p{:06d}', proposal)]) FROM run",
    "run": "SELECT DISTINCT run::VARCHAR FROM run",
    "instrument": "SELECT DISTINCT instrument FROM run",
    "cycle": "SELECT DISTINCT cycle FROM run",
    "data_class": "SELECT DISTINCT data_class FROM run",
    "sample": "SELECT DISTINCT sample FROM run",
    "run_type": "SELECT DISTINCT run_type FROM run",
    "source": "SELECT name FROM source",
    "key": """SELECT regexp_replace(name, '\\.value$', '') FROM key
        WHERE NOT ends_with(name, '.timestamp')""",
    "named run": """SELECT DISTINCT CASE
        WHEN position('/' IN $1) = 0 AND starts_with($1, 'p') THEN format('p{:06d}', proposal)
        WHEN position('/' IN $1) = 0 THEN proposal::VARCHAR
        WHEN starts_with($1, 'p') THEN format('p{:06d}/{}/r{:04d}', proposal, data_class, run)
        WHEN data_class = 'raw' THEN format('{}/{}', proposal, run)
        END FROM run WHERE proposal IS NOT NULL""",
    "named thing": """SELECT DISTINCT unnest([instrument, CASE
        WHEN position('/' IN $1) = 0 THEN format('p{:06d}', proposal)
        ELSE format('p{:06d}/{}/r{:04d}', proposal, data_class, run) END])
        FROM run WHERE proposal IS NOT NULL""",
}
COMPLETED = frozenset(_SQL)


def completing(kind: str) -> Callable[[typer.Context, str], Names]:
    """The completer of a kind of names: one of the table above, ``check`` or ``view``."""

    def complete(ctx: typer.Context, incomplete: str) -> Names:
        if kind == "check":
            from ..catalog.model.checks import CHECKS

            return [(check.id, check.title) for check in CHECKS.values()]
        if kind == "view":
            from ..catalog.store.schema import views

            return [(view.name, view.meaning) for view in views().values()]
        try:
            return list(_names(_SQL[kind], incomplete, ctx.params.get("catalog")))
        except Exception:  # noqa: BLE001 (a message would be in the way of what is being typed)
            return []

    return complete


def _names(statement: str, begin: str, catalog: Path | None) -> Iterator[str]:
    from ..catalog.config import catalog_location
    from ..catalog.model.names import from_text
    from ..catalog.store.connections import open_current, open_file
    from ..catalog.store.store import Store
    from ..catalog.store.versions import Versions

    merged = Store(catalog_location(catalog)).merged
    if isinstance(merged, Versions):  # a file, which opens sooner for one plain question
        database = open_current(merged, partial(open_file, plain=True))
    else:
        database = merged.open()
    if database is None:
        return
    rows = database.cursor().execute(
        f"SELECT name FROM ({statement}) AS found(name)"
        f" WHERE starts_with(name, $1) AND name <> '' ORDER BY name LIMIT {_MOST:d}",
        [begin],
    )
    yield from (from_text(name) for (name,) in rows.fetchall())
