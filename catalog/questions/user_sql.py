"""What does a user's own SQL answer, and what is wrong with it if it cannot be run?

One statement that reads, on the merged file. The connection is one for users' SQL, limited in
memory, and locked up already (the file is attached read-only, other files and settings are out of
reach): here every refusal and error becomes one clear sentence.

1. ``run_sql``: check the statement, run it within its limits, give the rows.
2. ``check_memory_limit``: the bytes that a text like ``4 GB`` means.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..store.store import Store
from .answers import Answer, fetch
from .queries import provenance
from .sql_errors import explain

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["MEMORY_LIMIT", "TIME_LIMIT", "check_memory_limit", "run_sql"]

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
    """The rows that one reading statement gives on the views over all runs.

    ``parameters`` are the values of ``?`` or ``$1``, ``$2``, ...; ``time_limit`` is in seconds,
    ``memory_limit`` in bytes or as ``4 GB``, for what the database works with and for the rows that
    it gives; None is no limit. The provenance is that of all runs of the catalog.

    Raises
    ------
    QueryError
        For anything but one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN, VALUES), a statement
        that cannot be run, or one that needs more time or memory than it may.
    CatalogNotFoundError
        Where there is no catalog.
    """
    size_limit = None if memory_limit is None else check_memory_limit(memory_limit)
    cursor = store.open_merged(memory_limit=size_limit or 0).cursor()
    _check_statement(cursor, text)
    table = _run(cursor, text, parameters, time_limit, size_limit)
    with store.read_merged() as own:
        return Answer(table, provenance(own, store))


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
