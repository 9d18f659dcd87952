"""Which runs fulfil a condition on RUN values or profiles, and what are the values there?

Values are stored once per stretch of runs. The stretches of an operand are read once, and laid over
the sorted run ids with numpy: a condition is an array of bool, one per run.

1. ``Evaluation`` holds the runs, and what was read.
2. ``Evaluation.holds``: for each run whether a condition holds.
3. ``Evaluation.columns``: for each operand the value to show in each run, with its unit.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .conditions import FUNCTIONS, Both, Comparison, Condition, Either, Not, Operand
from .execute import ask, is_one_of
from .patterns import Pattern
from .selection import DataFilter, control_key_matches, shown_unit

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import ColumnElement, Select, SelectBase, Subquery

__all__ = ["Evaluation", "comparisons"]

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


class Evaluation:
    """A condition, looked at for runs with these sorted ids."""

    def __init__(
        self,
        cursor: "duckdb.DuckDBPyConnection",
        run_ids: NDArray[np.uint64],
        condition: Condition,
    ) -> None:
        self._cursor = cursor
        self._run_ids = run_ids
        self._condition = condition

    @cached_property
    def _found(self) -> dict[Comparison, _Found]:
        return {c: self._read(c) for c in dict.fromkeys(comparisons(self._condition))}

    def _read(self, comparison: Comparison) -> _Found:
        from sqlalchemy import select

        named = [ask(self._cursor, select(t)) for t in _sources_and_keys(comparison.operand)]
        ids = [table.column(0).to_numpy() for table in named]
        rows = ask(self._cursor, _stretches(comparison, *ids))
        # Names are put to the ids here: there are few names, and many rows.
        by_name = [np.argsort(table.column("name").to_numpy()) for table in named]
        places = [
            _places(rows.column(n).to_numpy(), i[order])
            for n, i, order in zip(("source_id", "key_id"), ids, by_name, strict=True)
        ]
        first = rows.column("first_run").to_numpy()
        order = np.lexsort((first, places[1], places[0]))
        rows = rows.take(order)
        source, key = (
            table.column("name").take(names[place[order]])
            for table, names, place in zip(named, by_name, places, strict=True)
        )
        first, last = (rows.column(n).to_numpy() for n in ("first_run", "last_run"))
        return _Found(
            rows.append_column("source", source).append_column("key", key),
            np.searchsorted(self._run_ids, first),
            np.searchsorted(self._run_ids, last, side="right"),
            rows.column("ok").to_numpy(),
        )

    @cached_property
    def holds(self) -> NDArray[np.bool_]:
        """Of each run whether the condition holds."""
        return self._holds(self._condition)

    def _holds(self, condition: Condition) -> NDArray[np.bool_]:
        if isinstance(condition, Not):
            return ~self._holds(condition.condition)
        if isinstance(condition, Both):
            return self._holds(condition.left) & self._holds(condition.right)
        if isinstance(condition, Either):
            return self._holds(condition.left) | self._holds(condition.right)
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
            if operand not in shown:
                shown.add(operand)
                columns |= self._shown(comparison, found)
        return columns

    def _shown(self, comparison: Comparison, found: _Found) -> "dict[str, pa.Array]":
        import pyarrow as pa

        row_of_run = np.full(len(self._run_ids), -1, np.int64)
        for chosen in (~found.ok, found.ok):
            rows, runs = found.runs(chosen)
            row_of_run[runs[::-1]] = rows[::-1]  # of several, the first one stays
        row_of_run = row_of_run[self.holds]
        take = pa.array(row_of_run, mask=row_of_run < 0)
        operand = comparison.operand
        units = ask(self._cursor, _units(operand)).column("unit").to_pylist()
        unit = f" [{' or '.join(units)}]" if units else ""
        value = found.rows.column("text" if comparison.is_text else "number")
        columns = {f"{operand}{unit}": value.take(take).combine_chunks()}
        for name in ("source", "key"):
            if not getattr(operand, name).is_exact:
                of_run = found.rows.column(name).take(take)
                columns[f"{operand}: {name}"] = of_run.combine_chunks()
        return columns


def _places(numbers: "NDArray[Any]", ids: "NDArray[Any]") -> NDArray[np.intp]:
    """Where each number stands among ``ids``, of which it is one."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, numbers, sorter=order)]


def _stretches(
    comparison: Comparison, source_ids: "NDArray[Any]", key_ids: "NDArray[Any]"
) -> "SelectBase":
    """source_id, key_id, first_run, last_run, number, text and ok of all stretches."""
    from sqlalchemy import func, select, union_all

    from ..store.schema import key_profile, run_value

    is_profile = comparison.operand.function is not None
    table = key_profile if is_profile else run_value
    number, text = _compared(comparison.operand)
    ok = _is_fulfilled(comparison, number, text, None if is_profile else run_value.c.dtype)
    first, last = ("run_id", "run_id") if is_profile else ("first_run", "last_run")
    statement = select(
        table.c.source_id,
        table.c.key_id,
        table.c[first].label("first_run"),
        table.c[last].label("last_run"),
        number.label("number"),
        text.label("text"),
        func.coalesce(ok, False).label("ok"),
    )
    if is_profile:
        statement = statement.where(key_profile.c.stale.is_(False))
    pairs = list(product(source_ids.tolist(), key_ids.tolist()))
    if not 0 < len(pairs) <= _MOST_PAIRS:
        return statement.where(
            is_one_of(table.c.source_id, source_ids), is_one_of(table.c.key_id, key_ids)
        )
    # The database skips what another source and key has, if one is asked for at a time.
    of_pair = (statement.where(table.c.source_id == s, table.c.key_id == k) for s, k in pairs)
    return union_all(*of_pair)


def _units(operand: Operand) -> "Select[Any]":
    """The units that the keys have, in any layout."""
    from sqlalchemy import select

    from ..store.schema import layout_source, schema_key

    sources, keys = _sources_and_keys(operand)
    return (
        select(shown_unit().label("unit"))
        .select_from(layout_source)
        .join(schema_key, schema_key.c.schema_id == layout_source.c.schema_id)
        .join(sources, sources.c.source_id == layout_source.c.source_id)
        .join(keys, keys.c.key_id == schema_key.c.key_id)
        .where(shown_unit() != "")
        .distinct()
        .order_by("unit")
    )


def _sources_and_keys(operand: Operand) -> "tuple[Subquery, Subquery]":
    from sqlalchemy import select

    from ..store.schema import key

    keys = select(key.c.key_id, key.c.name).where(control_key_matches(operand.key, key.c.name))
    return DataFilter(sources=(operand.source,)).found_sources(), keys.subquery("found_key")


def _compared(operand: Operand) -> "tuple[ColumnElement[Any], ColumnElement[Any]]":
    """The number and the text of a row."""
    from sqlalchemy import Double, String, cast, null

    from ..store.schema import key_profile, run_value

    if operand.function is None:
        return run_value.c.number, run_value.c.text
    column = FUNCTIONS[operand.function]
    has_text = operand.function in ("first", "last")
    text = key_profile.c[f"{column}_text"] if has_text else cast(null(), String)
    return cast(key_profile.c[column], Double), text


def _is_fulfilled(
    comparison: Comparison,
    number: "ColumnElement[Any]",
    text: "ColumnElement[Any]",
    dtype: "ColumnElement[Any] | None",
) -> "ColumnElement[bool]":
    from sqlalchemy import and_, case, func

    values = comparison.values
    if comparison.operator == "glob":
        return Pattern(str(values[0])).matches(text)
    if comparison.is_text:
        return _compare(text, comparison.operator, values)
    exact = _compare(number, comparison.operator, values)
    # 0.1 as a 32-bit number is not 0.1 as a 64-bit number.
    with np.errstate(over="ignore"):
        rounded = tuple(float(np.float32(v)) for v in values)
    if dtype is not None and rounded != values:
        exact = case(
            (dtype.like("%f4"), _compare(number, comparison.operator, rounded)), else_=exact
        )
    # DuckDB holds NaN to be the largest number.
    is_number = func.isnan(number).is_(False)
    return exact if comparison.operator == "!=" else and_(is_number, exact)


def _compare(
    column: "ColumnElement[Any]", operator: str, values: tuple[Any, ...]
) -> "ColumnElement[bool]":
    if operator == "between":
        return column.between(*values)
    if operator == "in":
        return column.in_(values)
    compared: ColumnElement[bool] = {
        "=": column.__eq__,
        "!=": column.__ne__,
        "<": column.__lt__,
        "<=": column.__le__,
        ">": column.__gt__,
        ">=": column.__ge__,
    }[operator](values[0])
    return compared
