"""What does a user's own SQL answer, and what is wrong with it if it cannot be run?

One statement that reads, on the merged file. The connection is locked up already (the file is
attached read-only, other files and settings are out of reach): here every refusal and error becomes
one clear sentence.

1. ``run_sql``: check the statement, run it, give the rows.
2. ``_explain``: DuckDB's error in our words, with the nearest names there are.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError, nearest
from ..store.store import Store
from .answers import Answer, fetch
from .queries import provenance

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["run_sql"]

_READING = {"SELECT", "EXPLAIN"}
_COLUMNS = 'xfelcat sql "DESCRIBE NAME" lists the columns of a view'
_VIEWS = 'xfelcat sql "SHOW TABLES" lists the views'


def run_sql(
    store: Store,
    text: str,
    parameters: Sequence[Any] = (),
    *,
    time_limit: float | None = None,
) -> Answer:
    """The rows that one reading statement gives on the views over all runs.

    ``parameters`` are the values of ``?`` or ``$1``, ``$2``, ...; ``time_limit`` is in seconds. The
    provenance is that of all runs of the catalog.

    Raises
    ------
    QueryError
        For anything but one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN, VALUES), a statement
        that cannot be run, or one that takes longer than the time limit.
    CatalogNotFoundError
        Where there is no catalog.
    """
    with store.read_merged() as cursor:
        _check_statement(cursor, text)
        table = _run(cursor, text, parameters, time_limit)
        return Answer(table, provenance(cursor, store))


def _check_statement(cursor: "duckdb.DuckDBPyConnection", text: str) -> None:
    """Raise QueryError unless the text is one reading statement."""
    import duckdb

    try:
        statements = cursor.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(_explain(cursor, str(error))) from None
    kinds = [str(s.type).rpartition(".")[2] for s in statements]
    refused = [kind for kind in kinds if kind not in _READING]
    if not kinds:
        raise QueryError("there is no SQL statement; write one, like SELECT * FROM runs")
    if refused and refused[0] in ("MULTI", "CREATE") and "pivot" in text.casefold():
        raise QueryError("PIVOT must say which values become columns: PIVOT ... ON x IN (a, b)")
    if refused:
        raise QueryError(
            f"{refused[0].replace('_', ' ')} is refused: SQL only reads the catalog"
            " (SELECT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN);"
            " `xfelcat ingest` and `xfelcat forget` change it"
        )
    if len(kinds) > 1:
        raise QueryError(f"{len(kinds)} statements at once; run one at a time")


def _run(
    cursor: "duckdb.DuckDBPyConnection",
    text: str,
    parameters: Sequence[Any],
    time_limit: float | None,
) -> "pa.Table":
    import duckdb

    try:
        return fetch(cursor, text, parameters, time_limit=time_limit)
    except TimeoutError:
        raise QueryError(
            f"the query took longer than {time_limit:g} s and was stopped;"
            " ask about fewer runs, or raise the time limit"
        ) from None
    except duckdb.Error as error:
        raise QueryError(_explain(cursor, str(error))) from None


def _explain(cursor: "duckdb.DuckDBPyConnection", error: str) -> str:
    """One sentence on what is wrong with a statement, and what to do."""
    if m := re.search(r'[Cc]olumn "?([^"\s]+?)"? (?:not found|does not exist)', error):
        return f"there is no column {m[1]!r}{_hint(m[1], _columns(cursor))} ({_COLUMNS})"
    if m := re.search(r'does not have a column named "?([^"\s]+?)"?(?:\s|$)', error):
        return f"there is no column {m[1]!r}{_hint(m[1], _columns(cursor))} ({_COLUMNS})"
    if m := re.search(r"Table with name (.+?) does not exist", error):
        if re.search(r"[/.*]", m[1]):
            return f"{m[1]!r} is no view: SQL reads the catalog and no other file ({_VIEWS})"
        return f"there is no view {m[1]!r}{_hint(m[1], _views(cursor))} ({_VIEWS})"
    if m := re.search(r"Cannot access (?:file|directory) \"(.+?)\"", error):
        return f"the statement reads {m[1]!r}: SQL reads the catalog and no other file"
    if error.startswith("Permission Error") or "external" in error.partition("\n")[0]:
        return "the statement reaches outside: SQL reads the catalog and no other file or extension"
    kind, _, rest = error.partition(": ")
    message = rest.partition("\n\n")[0].partition("Candidate functions")[0]
    message = " ".join(message.split()) or kind
    return f"SQL: {message.rstrip('.')}{_line(error)}"


def _hint(name: str, candidates: Sequence[str]) -> str:
    near = nearest(name.rpartition(".")[2], candidates)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def _line(error: str) -> str:
    """The line of the statement that an error message quotes."""
    m = re.search(r"^LINE (\d+): (.*)$", error, re.MULTILINE)
    return f" (in line {m[1]}: {m[2].strip()})" if m else ""


def _views(cursor: "duckdb.DuckDBPyConnection") -> list[str]:
    sql = "SELECT view_name FROM duckdb_views() WHERE database_name = 'xfelcat' AND NOT internal"
    return [name for (name,) in cursor.execute(sql).fetchall()]


def _columns(cursor: "duckdb.DuckDBPyConnection") -> list[str]:
    """The names of all columns of the views, each once."""
    sql = (
        "SELECT DISTINCT column_name FROM duckdb_columns() SEMI JOIN duckdb_views()"
        " ON table_name = view_name WHERE duckdb_columns.database_name = 'xfelcat'"
    )
    return [name for (name,) in cursor.execute(sql).fetchall()]
