"""The evaluation of a condition on RUN values or profiles, over runs.

Values are stored once per stretch of runs. The stretches of an operand are read once, and laid over
the sorted run ids with numpy: a condition is an array of bool, one per run.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..model.names import to_text
from ..model.runlength import UInt64s
from .conditions import FUNCTIONS, Combined, Comparison, Condition, Not, Operand, Pattern
from .execute import Sql, all_of, ask, indices, is_one_of, numbers, sql
from .filters import UNIT, DataFilter, control_key_matches

if TYPE_CHECKING:
    import pyarrow as pa

    from ..store.connections import Cursor


# Up to so many pairs of source and key are read one at a time: the database then skips the blocks
# that have other pairs. Statements of more parts take longer to plan than that saves.
_MOST_PAIRS = 50


def comparisons(condition: Condition) -> list[Comparison]:
    """The comparisons in a condition, from left to right."""
    if isinstance(condition, Comparison):
        return [condition]
    if isinstance(condition, Not):
        return comparisons(condition.condition)
    return comparisons(condition.left) + comparisons(condition.right)


@dataclass(frozen=True, slots=True)
class _Found:
    """The stretches of an operand, in the order of sources and keys; rows are what was read."""

    rows: "pa.Table"
    low: NDArray[np.intp]  # positions of the runs of each stretch, half-open
    high: NDArray[np.intp]
    ok: NDArray[np.bool_]

    def runs(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(row, position of run) for every run of the chosen stretches."""
        rows = np.flatnonzero(chosen & (self.high > self.low))
        lengths = self.high[rows] - self.low[rows]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - lengths, lengths)
        return np.repeat(rows, lengths), np.repeat(self.low[rows], lengths) + within


@dataclass(frozen=True)
class Evaluation:
    """A condition, looked at for runs with these sorted ids."""

    _cursor: "Cursor"
    _run_ids: UInt64s
    _condition: Condition

    @cached_property
    def _found(self) -> dict[Comparison, _Found]:
        return {c: self._read(c) for c in dict.fromkeys(comparisons(self._condition))}

    def _read(self, comparison: Comparison) -> _Found:
        named = [  # few, and in the order of names: names are put to the ids of many rows here
            ask(self._cursor, sql("SELECT * FROM {table} ORDER BY name", table=table))
            for table in _sources_and_keys(comparison.operand)
        ]
        ids = [numbers(table.column(0)) for table in named]
        rows = ask(self._cursor, _stretches(comparison, *ids))
        places = [
            _places(numbers(rows.column(name)), known)
            for name, known in zip(("source_id", "key_id"), ids, strict=True)
        ]
        first = numbers(rows.column("first_run"))
        order = np.lexsort((first, places[1], places[0]))
        rows = rows.take(indices(order))
        source, key = (
            table.column("name").take(indices(place[order]))
            for table, place in zip(named, places, strict=True)
        )
        first, last = (numbers(rows.column(n)) for n in ("first_run", "last_run"))
        return _Found(
            rows.append_column("source", source).append_column("key", key),
            np.searchsorted(self._run_ids, first),
            np.searchsorted(self._run_ids, last, side="right"),
            numbers(rows.column("ok")).astype(bool),
        )

    @cached_property
    def holds(self) -> NDArray[np.bool_]:
        """Of each run whether the condition holds."""
        return self._holds(self._condition)

    def _holds(self, condition: Condition) -> NDArray[np.bool_]:
        if isinstance(condition, Not):
            return ~self._holds(condition.condition)
        if isinstance(condition, Combined):
            left, right = self._holds(condition.left), self._holds(condition.right)
            return left & right if condition.word == "and" else left | right
        found = self._found[condition]
        n_runs = len(self._run_ids)
        begun = np.bincount(found.low[found.ok], minlength=n_runs + 1)
        ended = np.bincount(found.high[found.ok], minlength=n_runs + 1)
        return np.cumsum(begun - ended)[:n_runs] > 0

    def columns(self) -> "dict[str, pa.Array]":
        """The value of each operand, by ``"SOURCE KEY [unit]"``, in the runs where ``holds``.

        Null where there is none.

        Where several sources or keys match, it is the first, in the order of names, that fulfils
        the comparison, else the first; a column ``"SOURCE KEY: source"`` names it.
        """
        columns: dict[str, pa.Array] = {}
        shown = set()
        for comparison, found in self._found.items():
            operand = comparison.operand
            if operand in shown:
                continue
            shown.add(operand)
            row_of_run = np.full(len(self._run_ids), -1, np.int64)
            for chosen in (~found.ok, found.ok):
                rows, runs = found.runs(chosen)
                row_of_run[runs[::-1]] = rows[::-1]  # of several, the first one stays
            row_of_run = row_of_run[self.holds]
            take = indices(row_of_run, row_of_run >= 0)
            units = ask(self._cursor, _units(operand)).column("unit").to_pylist()
            unit = f" [{' or '.join(units)}]" if units else ""
            value = found.rows.column("text" if comparison.is_text else "number")
            columns[f"{operand}{unit}"] = value.take(take).combine_chunks()
            for name in ("source", "key"):
                if not getattr(operand, name).is_exact:
                    of_run = found.rows.column(name).take(take)
                    columns[f"{operand}: {name}"] = of_run.combine_chunks()
        return columns


def _places(values: "NDArray[Any]", ids: "NDArray[Any]") -> NDArray[np.intp]:
    """Where each number stands among ``ids``, of which it is one."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, values, sorter=order)]


def _stretches(comparison: Comparison, source_ids: "NDArray[Any]", key_ids: "NDArray[Any]") -> Sql:
    """source_id, key_id, first_run, last_run, number, text and ok of all stretches."""
    function = comparison.operand.function
    if function is None:
        number, text, dtype = "number", "text", "dtype"
        table = "first_run, last_run, {number} AS number, {text} AS text, {ok} AS ok FROM run_value"
    else:
        column = FUNCTIONS[function]
        number, dtype = f"{column}::DOUBLE", ""
        text = f"{column}_text" if function in ("first", "last") else "NULL::VARCHAR"
        table = (
            "run_id AS first_run, run_id AS last_run, {number} AS number, {text} AS text,"
            " {ok} AS ok FROM key_profile"
        )
    ok = sql("coalesce({ok}, false)::TINYINT", ok=_is_fulfilled(comparison, number, text, dtype))
    statement = "SELECT source_id, key_id, " + table + " WHERE {where}"
    parts = {"number": Sql(number), "text": Sql(text), "ok": ok}
    current = [] if function is None else [Sql("NOT stale")]
    pairs = list(product(source_ids.tolist(), key_ids.tolist()))
    if not 0 < len(pairs) <= _MOST_PAIRS:
        ids = (("source_id", source_ids), ("key_id", key_ids))
        where = all_of([*current, *(is_one_of(n, i, "INTEGER") for n, i in ids)])
        return sql(statement, **parts, where=where)
    of_pairs = [
        all_of([*current, sql("source_id = {source} AND key_id = {key}", source=s, key=k)])
        for s, k in pairs
    ]
    each = [sql(statement, **parts, where=where) for where in of_pairs]
    return Sql(" UNION ALL ".join(s.text for s in each), tuple(v for s in each for v in s.values))


def _units(operand: Operand) -> Sql:
    """The units that the keys have, in any layout."""
    sources, keys = _sources_and_keys(operand)
    return sql(
        f"""SELECT DISTINCT {UNIT} AS unit FROM layout_source
        JOIN schema_key USING (schema_id)
        JOIN {{sources}} AS found_source USING (source_id)
        JOIN {{keys}} AS found_key USING (key_id)
        WHERE {UNIT} <> '' ORDER BY unit""",
        sources=sources,
        keys=keys,
    )


def _sources_and_keys(operand: Operand) -> tuple[Sql, Sql]:
    """The tables of source_id and name, and of key_id and name, that match."""
    keys = sql(
        "(SELECT key_id, name FROM key WHERE {named})",
        named=control_key_matches(operand.key, "key.name"),
    )
    return DataFilter(sources=(operand.source,)).found_sources(), keys


def _is_fulfilled(comparison: Comparison, number: str, text: str, dtype: str) -> Sql:
    """The condition on the number or text of a row; ``dtype`` is its column, if it has one."""
    values = comparison.values
    if comparison.operator == "glob":
        return Pattern(str(values[0])).matches(text)
    if comparison.is_text:
        return _compared(text, comparison.operator, tuple(to_text(str(v)) for v in values))
    exact = _compared(number, comparison.operator, values)
    # 0.1 as a 32-bit number is not 0.1 as a 64-bit number.
    with np.errstate(over="ignore"):
        rounded = tuple(float(np.float32(v)) for v in values)
    if dtype and rounded != values:
        exact = sql(
            f"CASE WHEN {dtype} LIKE '%f4' THEN {{rounded}} ELSE {{exact}} END",
            rounded=_compared(number, comparison.operator, rounded),
            exact=exact,
        )
    # DuckDB holds NaN to be the largest number.
    if comparison.operator == "!=":
        return exact
    return sql(f"NOT isnan({number}) AND ({{exact}})", exact=exact)


def _compared(column: str, operator: str, values: tuple[Any, ...]) -> Sql:
    if operator == "between":
        return sql(f"{column} BETWEEN {{low}} AND {{high}}", low=values[0], high=values[1])
    if operator == "in":
        marks = ", ".join("?" * len(values))
        return Sql(f"{column} IN ({marks})", values)
    return sql(f"{column} {operator} {{value}}", value=values[0])
