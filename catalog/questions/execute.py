"""SQL with the values bound to it, its execution, and answers with their provenance.

Questions are written as SQL text, not with SQLAlchemy: importing that alone costs as much CPU time
(0.18 s) as all else that a command needs, and its statements were twice as long as their SQL.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from string import Formatter
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..model.errors import QueryError
from ..store.connections import uninterrupted

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from ..store.connections import Cursor


Table: TypeAlias = "pa.Table"  # by name: importing pyarrow takes its time
T = TypeVar("T")
# From when on people wonder whether what the catalog has is still so.
_OLD = timedelta(days=30)
# Rows per batch where their size is limited: small against the limit, large against the overhead.
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL whose ``?`` stand for ``values``, in their order."""

    text: str
    """The SQL; names in it are ours, never a user's."""
    values: tuple[Any, ...] = ()
    """What is bound."""


def sql(template: str, /, **parts: Any) -> Sql:
    """SQL with each ``{name}`` replaced: by a piece of SQL, or by ``?`` for any other value."""
    texts: list[str] = []
    values: list[Any] = []
    for literal, name, _, _ in Formatter().parse(template):
        texts.append(literal)
        if name is not None:
            part = parts[name]
            texts.append(part.text if isinstance(part, Sql) else "?")
            values += part.values if isinstance(part, Sql) else [part]
    return Sql("".join(texts), tuple(values))


def all_of(conditions: Iterable[Sql]) -> Sql:
    """The condition that all hold, in parentheses; true for none."""
    return _joined(") AND (", conditions, "true")


def any_of(conditions: Iterable[Sql]) -> Sql:
    """The condition that one of several holds, in parentheses; false for none."""
    return _joined(") OR (", conditions, "false")


def _joined(word: str, conditions: Iterable[Sql], none: str) -> Sql:
    several = list(conditions)
    text = word.join(c.text for c in several) if several else none
    whole = f"(({text}))" if len(several) > 1 else f"({text})"
    return Sql(whole, tuple(value for c in several for value in c.values))


def limited(limit: int | None) -> Sql:
    """The end of a statement that gives so many rows at most; None for all."""
    return Sql("") if limit is None else sql("LIMIT {limit}", limit=limit)


def is_one_of(column: str, listed: "Sequence[Any] | NDArray[Any]", kind: str = "UBIGINT") -> Sql:
    """The condition that a column is among values of a type, however many: bound as one list."""
    values = listed if isinstance(listed, Sequence) else listed.tolist()
    return sql(f"{column} IN (SELECT unnest({{values}}::{kind}[]))", values=list(values))


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which facts an answer rests on.

    ``runs_searched`` runs of the catalog at ``location`` were asked; ``runs_outline_only`` of them
    have files whose keys, counts and RUN values are not known; ``runs_undated`` more were left out
    of a question about time because their files record none; ``oldest_ingest`` (UTC) is None where
    no run was searched.
    """

    location: str
    runs_searched: int = 0
    runs_outline_only: int = 0
    runs_undated: int = 0
    oldest_ingest: datetime | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """The parts by name, in what JSON can hold: the time as ISO text."""
        oldest = self.oldest_ingest and self.oldest_ingest.isoformat()
        return dataclasses.asdict(self) | {"oldest_ingest": oldest}

    def remarks(self, now: datetime | None = None) -> list[str]:
        """What readers should know of the answer; nothing where all is known in full and lately."""
        found = []
        if self.runs_outline_only:
            found.append(
                f"of {self.runs_outline_only} of the {self.runs_searched} runs the catalog knows"
                " files and sources only, no keys and values: `xfelcat ingest` reads these"
            )
        if self.runs_undated:
            found.append(f"{self.runs_undated} more left out: their files record no times")
        now = now or datetime.now(UTC).replace(tzinfo=None)
        if self.oldest_ingest and now - self.oldest_ingest > _OLD:
            day = f"{self.oldest_ingest:%Y-%m-%d}"
            found.append(f"what is known of some runs is of {day}: `xfelcat ingest` renews it")
        return found


# Columns of rows that are about runs: those that people read first, and last.
_FIRST = ("proposal", "run", "data_class", "started_at", "name", "source", "key", "trains")
_LAST = (
    *("instrument", "cycle", "depth", "run_id", "path", "realpath", "recorded_proposal"),
    "recorded_run",
)


def in_reading_order(table: Table) -> Table:
    """The columns as people read them: what names a run first, what follows from that last."""
    names = table.column_names
    first = [name for name in _FIRST if name in names]
    last = [name for name in _LAST if name in names]
    between = [name for name in names if name not in (*first, *last)]
    return table.select([*first, *between, *last])


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that answer a question, and where they come from."""

    table: Table = field(repr=False)
    provenance: Provenance

    def first(self, limit: int | None) -> "Answer":
        """The first rows; all of them without a limit."""
        return self if limit is None else Answer(self.table.slice(0, limit), self.provenance)

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a DataFrame: the same column types whatever they hold, also when empty.

        Integers are pandas' nullable ones, arrays are tuples, times are UTC without zone. ``attrs``
        has the parts of the provenance by name.

        Raises QueryError for types that pandas lacks: unions, dates past the year 9999.
        """
        import pandas as pd
        import pyarrow as pa

        names = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
        nullable = {getattr(pa, n.lower())(): getattr(pd, f"{n}Dtype")() for n in names}
        nullable[pa.bool_()] = pd.BooleanDtype()
        try:
            frame: pd.DataFrame = self.table.to_pandas(types_mapper=nullable.get)
        except (pa.ArrowException, ValueError) as error:
            raise QueryError(f"no DataFrame can hold these rows: {error}") from None
        for at, kind in enumerate(self.table.schema.types):
            if pa.types.is_list(kind):
                tuples = _tuples(self.table.column(at))
                frame.isetitem(at, pd.Series(tuples, dtype=object).array)
        frame.attrs = dict(self.provenance.as_dict().items())
        return frame


def _tuples(lists: "pa.ChunkedArray") -> list[tuple[Any, ...] | None]:
    found: list[tuple[Any, ...] | None] = []
    for chunk in lists.chunks:
        if not len(chunk.values):  # shapes of scalars, mostly
            found += [()] * len(chunk)
            continue
        values, offsets = chunk.values.tolist(), chunk.offsets.tolist()
        found += [tuple(values[a:b]) for a, b in pairwise(offsets)]
    if lists.null_count:
        found = [
            t if ok else None for t, ok in zip(found, lists.is_valid().to_pylist(), strict=True)
        ]
    return found


def ask(cursor: "Cursor", statement: Sql, *, size_limit: int | None = None) -> Table:
    """The rows of a composed statement; every value in it is bound.

    Raises MemoryError where they are more than ``size_limit`` bytes.
    """
    return fetch(cursor, statement.text, statement.values, size_limit=size_limit)


def numbers(column: "pa.ChunkedArray") -> "NDArray[Any]":
    """The numbers of a column, read-only; none may be missing.

    ``to_numpy`` would load pandas, a third of the time that a command takes; only integers beyond
    64 bits (a sum of broken train IDs) need it.
    """
    import numpy as np

    dtype = np.dtype(column.type.to_pandas_dtype())
    if not len(column):
        return np.empty(0, dtype)
    if column.null_count:
        raise ValueError("a number is missing")
    if dtype.kind == "O":
        large: NDArray[Any] = column.to_numpy()
        return large
    array = column.combine_chunks()
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def indices(
    values: "NDArray[np.integer[Any]]", valid: "NDArray[np.bool_] | None" = None
) -> "pa.Array":
    """Numbers as an Arrow array, for ``take``; null where they are not valid.

    ``pyarrow.array`` of a numpy array would load pandas.
    """
    import numpy as np
    import pyarrow as pa

    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [bits, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def fetch(
    cursor: "Cursor",
    sql: str,
    values: Sequence[Any] | Mapping[str, Any] = (),
    *,
    time_limit: float | None = None,
    size_limit: int | None = None,
) -> Table:
    """The rows of an SQL statement, within ``time_limit`` seconds and ``size_limit`` bytes.

    The statement runs in a thread of its own while this one waits: a signal that arrives inside
    DuckDB may be lost there (2.0 then never returns), but an interrupt from outside always works.

    Raises TimeoutError, MemoryError, KeyboardInterrupt for Ctrl-C, and DuckDB's own errors.
    """

    def read() -> Table:
        params: Any = _bound(dict(values) if isinstance(values, Mapping) else list(values))
        relation = cursor.sql(sql, params=params)
        return relation.to_arrow_table() if size_limit is None else _up_to(relation, size_limit)

    return _exact_types(interruptible(cursor, read, time_limit))


def _bound(value: Any) -> Any:
    """A value as DuckDB takes it: numbers, times and arrays of numpy are Python's own."""
    if isinstance(value, dict):
        return {name: _bound(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_bound, value))
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "M":  # of nanoseconds, tolist() makes integers
        value = value.astype("datetime64[us]")
    return value.tolist() if kind else value


def interruptible(cursor: "Cursor", work: Callable[[], T], time_limit: float | None = None) -> T:
    """What ``work`` gives, which asks the cursor something; to be interrupted as ``fetch``."""
    results: list[T] = []
    errors: list[BaseException] = []
    done = Event()  # Thread.join() takes an interrupted thread for a finished one (Python 3.11)

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again below)
            errors.append(error)
        finally:
            done.set()

    thread = Thread(target=run, name="xfelcat query", daemon=True)
    try:
        with uninterrupted():  # else Ctrl-C leaves it alone in DuckDB, which aborts the process
            thread.start()
        if not done.wait(time_limit):
            raise TimeoutError
    finally:
        while thread.ident and not done.wait(
            0
        ):  # the first call may come before the statement has begun
            cursor.interrupt()
            done.wait(0.05)
        if thread.ident:
            thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _up_to(relation: "duckdb.DuckDBPyRelation", size_limit: int) -> Table:
    """The rows, taken bit by bit; MemoryError where they are more than ``size_limit`` bytes.

    DuckDB's own limit counts what it works with, not the rows it hands out.
    """
    import duckdb
    import pyarrow as pa

    reader = relation.to_arrow_reader(_ROWS_AT_ONCE)
    batches: list[pa.RecordBatch] = []
    size = 0
    try:
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > size_limit:
                raise MemoryError
    except OSError as error:  # as Arrow hands on an error in the middle of a statement
        raise duckdb.Error(str(error)) from None
    finally:
        reader.close()
    return pa.Table.from_batches(batches, reader.schema)


def _exact_types(table: Table) -> Table:
    """Sums of integers, which DuckDB gives as decimals of 38 digits, as 64-bit integers.

    Our own statements that short commands run cast in SQL: a cast here loads ``pyarrow.compute``,
    a tenth of the CPU time of such a command.
    """
    import pyarrow as pa

    for at, column in enumerate(table.schema):
        if column.type == pa.decimal128(38, 0):
            try:
                narrow = table.column(at).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(at, column.name, narrow)
    return table
