"""Users' own SQL, and one sentence for what is wrong with a statement that cannot be run.

One statement that reads, on the merged file. The connection is one for users' SQL, limited in
memory, and locked up already (the file is attached read-only, other files and settings are out of
reach): here every refusal and error becomes one clear sentence.

1. ``run_sql``: check the statement, run it within its limits, give the rows.
2. ``check_memory_limit``: the bytes of a text like ``4 GB``.
3. ``explain`` turns DuckDB's message, which has several lines and names tables that users do not
   see, into what is wrong and what to do, with the nearest names there are.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..model.errors import QueryError, nearest
from ..store.store import Store
from .execute import Answer, fetch
from .filters import provenance

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = [
    "MEMORY_LIMIT",
    "TIME_LIMIT",
    "check_memory_limit",
    "explain",
    "run_sql",
]

TIME_LIMIT = 300.0
MEMORY_LIMIT = "4 GB"
_READING = {"SELECT", "EXPLAIN"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT])B", re.IGNORECASE)
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_LEAST_MEMORY = 50 * 10**6  # DuckDB does nothing at all with much less


def run_sql(
    store: Store,
    text: str,
    parameters: Sequence[Any] = (),
    *,
    time_limit: float | None = TIME_LIMIT,
    memory_limit: str | int | None = MEMORY_LIMIT,
) -> Answer:
    """The rows that one reading statement gives on the views over all runs (``Catalog.sql``).

    Memory is limited for what the database works with and for the rows that it gives; None is no
    limit. The provenance is that of all runs of the catalog.

    Raises QueryError for anything but one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN, VALUES), a
    statement that cannot be run, or one that needs more time or memory than it may.
    """
    size_limit = None if memory_limit is None else check_memory_limit(memory_limit)
    cursor = store.open_merged(memory_limit=size_limit or 0).cursor()
    _check_statement(cursor, text)
    table = _run(cursor, text, parameters, time_limit, size_limit)
    return Answer(table, provenance(cursor, store))


def check_memory_limit(limit: str | int) -> int:
    """The bytes of ``500 MB`` or ``4GB`` (decimal units from kB to TB), or of a number of them.

    Raises QueryError for anything else, and for less than DuckDB can work with.
    """
    if isinstance(limit, str):
        m = _SIZE.fullmatch(limit.strip())
        if m is None:
            raise QueryError(f"{limit!r} is no size: write 500 MB or 4 GB")
        size = int(float(m[1]) * _UNITS[m[2].lower()])
    else:
        size = limit
    if size < _LEAST_MEMORY:
        raise QueryError(f"a memory limit of {limit} is too small: 50 MB is the least")
    return size


def _check_statement(cursor: "duckdb.DuckDBPyConnection", text: str) -> None:
    """Raise QueryError unless the text is one reading statement."""
    import duckdb

    try:
        statements = cursor.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(explain(cursor, text, str(error))) from None
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
    size_limit: int | None,
) -> "pa.Table":
    import duckdb

    try:
        return fetch(cursor, text, parameters, time_limit=time_limit, size_limit=size_limit)
    except TimeoutError:
        raise QueryError(
            f"the query took longer than {time_limit:g} s and was stopped;"
            " ask about fewer runs, or raise the time limit"
        ) from None
    except (MemoryError, duckdb.OutOfMemoryException):
        size = f"{(size_limit or 0) / 1e9:g} GB"
        raise QueryError(
            f"the query needed more than {size} of memory and was stopped;"
            " ask about fewer runs or for fewer rows, or raise the memory limit"
        ) from None
    except duckdb.Error as error:
        raise QueryError(explain(cursor, text, str(error))) from None


# An unknown column is compared with the columns of the view it was asked of, or of the views that
# the statement names. Where only another view has such a column, the message names that view.

_COLUMNS = "xfelcat sql --schema VIEW lists the columns of a view"
_VIEWS = "xfelcat sql --schema lists the views"
_NO_COLUMN = (
    re.compile(r'[Cc]olumn (?:"(?P<q>[^"]+)"|(?P<n>\S+)).*? (?:not found|does not exist)'),
    re.compile(
        r'(?:Values list|Table) "(?P<of>[^"]+)" does not have a column named '
        r'(?:"(?P<q>[^"]+)"|(?P<n>\S+))'
    ),
)
_UNGROUPED = re.compile(r'column "?(?P<n>[^"\s]+)"? must appear in the GROUP BY')


def explain(cursor: "duckdb.DuckDBPyConnection", text: str, error: str) -> str:
    """One sentence on why the statement ``text`` ended with ``error``, and what to do."""
    views = _columns_of_views(cursor)
    first = error.partition("\n")[0]
    for pattern in _NO_COLUMN:
        if m := pattern.search(first):
            of = m.groupdict().get("of") or ""
            return _no_column(m["q"] or m["n"], of, text, error, views)
    if (m := _UNGROUPED.search(first)) and not _is_known(m["n"], text, views):
        return _no_column(m["n"], "", text, error, views)
    if m := re.search(r'Referenced table "(.+?)" not found', first):
        near = _near(m[1].rpartition(".")[2], _quoted_after("Candidate tables", error))
        return f"nothing after FROM is named {m[1]!r}{near} ({_VIEWS})"
    if m := re.search(r'Table with name "?(.+?)"? does not exist', first):
        if re.search(r"[/.*]", m[1]):
            return f"{m[1]!r} is no view: SQL reads the catalog and no other file ({_VIEWS})"
        return f"there is no view {m[1]!r}{_near(m[1], views)} ({_VIEWS})"
    if m := re.search(r"Function with name \"?(\w+)\"? does not exist", first):
        near = _near(m[1], _quoted_after("Did you mean", error))
        return f"there is no function {m[1]!r}{near}{_line(error)}"
    if m := re.search(r"Cannot access (?:file|directory) \"(.+?)\"", error):
        return f"the statement reads {m[1]!r}: SQL reads the catalog and no other file"
    if error.startswith("Permission Error") or "external" in first:
        return "the statement reaches outside: SQL reads the catalog and no other file or extension"
    kind, _, rest = error.partition(": ")
    message = rest.partition("\n\n")[0].partition("Candidate functions")[0]
    message = " ".join(message.split()) or kind
    return f"SQL: {message.rstrip('.')}{_line(error)}"


def _no_column(name: str, of: str, text: str, error: str, views: dict[str, list[str]]) -> str:
    """A column that is not there: of ``of`` (a view or an alias), or of any view in the text."""
    asked = _named_views(of, text, views)
    columns = [c for view in asked for c in views[view]]
    columns += _quoted_after("Candidate bindings", error)
    hint = f"; a text is written in single quotes, {name!r}" if f'"{name}"' in text else ""
    near = nearest(name, columns)
    if not near and (near := nearest(name, (c for cs in views.values() for c in cs), limit=1)):
        having = ", ".join(view for view, cs in views.items() if near[0] in cs)
        hint += f"; {near[0]!r} is one of {having}"
    elif near:
        hint += f"; did you mean {' or '.join(map(repr, near))}?"
    return f"there is no column {name!r}{hint} ({_COLUMNS})"


def _named_views(of: str, text: str, views: Iterable[str]) -> list[str]:
    """The view of this name or alias, else all views that the statement names."""
    named = [view for view in views if re.search(rf"\b{view}\b", text, re.IGNORECASE)]
    if of.casefold() in named:
        return [of.casefold()]
    alias = rf'\s+(?:AS\s+)?"?{re.escape(of)}\b'
    aliased = [v for v in named if of and re.search(rf"\b{v}{alias}", text, re.IGNORECASE)]
    return aliased or named


def _is_known(name: str, text: str, views: dict[str, list[str]]) -> bool:
    """Whether a view that the statement names has the column, or it is an alias in there."""
    asked = _named_views("", text, views)
    if any(name.casefold() in views[view] for view in asked):
        return True
    return bool(re.search(rf'\bAS\s+"?{re.escape(name)}\b', text, re.IGNORECASE))


def _quoted_after(label: str, error: str) -> list[str]:
    """The names in double quotes on the line of a message that begins with a label."""
    m = re.search(rf"{label}:? (.*)", error)
    return re.findall(r'"([^"]+)"', m[1]) if m else []


def _near(name: str, candidates: Iterable[str]) -> str:
    near = nearest(name, candidates)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def _line(error: str) -> str:
    """The line of the statement that an error message quotes."""
    m = re.search(r"^LINE (\d+): (.*)$", error, re.MULTILINE)
    return f" (in line {m[1]}: {m[2].strip()})" if m else ""


def _columns_of_views(cursor: "duckdb.DuckDBPyConnection") -> dict[str, list[str]]:
    """The views, and the columns of each."""
    sql = (
        "SELECT view_name, list(column_name ORDER BY column_index)"
        " FROM duckdb_views() JOIN duckdb_columns() ON table_name = view_name"
        " WHERE duckdb_views.database_name = 'xfelcat'"
        " AND duckdb_columns.database_name = 'xfelcat' AND NOT duckdb_views.internal"
        " GROUP BY view_name ORDER BY min(view_oid)"
    )
    found: Sequence[tuple[str, list[str]]] = cursor.execute(sql).fetchall()
    return dict(found)
