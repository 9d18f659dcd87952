"""The checks in SQL: the tables that they work on, and how they run over the audited runs.

A check is its ID and one SELECT with the columns run_id, name (of the file, or NULL), check_id,
severity, message, place and path (NULL where it is that of the run and file). It works on the
tables of the merged file, and on temporary ones:

``scope``
    The runs that are audited.
``module``
    Sources that are modules of a detector: source_id, detector, kind (DET or CORR), family (the
    name with # for the number), number, is_from_zero.
``near``
    The runs of a portion: all of the proposals in it, with ``in_scope``, ``series`` (what is
    compared with each other: one data class of one proposal) and ``place`` (0, 1, ... in it).
``near_file``
    The files of the runs in scope. ``sound``: its trains can be relied on, as it was read and no
    scan found its train IDs wrong (such a file has its own findings, and is left out where trains
    are compared). first, last: its first and last train, of sound files.
``near_stretch``
    The runs of consecutive trains in the train lists of sound files: first train and number.
``near_source``
    The sources of ``near``, one row per run, section, source and index group.
``near_module``, ``doubtful_run``, ``gone_source``
    What several checks share; defined beside them.

Every check runs on every portion; the findings gather in the table ``found``. A portion is of whole
proposals, so that memory stays bounded and runs meet their neighbours. A run that no catalog has
goes into a database in memory, a catalog of this one run, so that there is one form of each check.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.checks import DEFAULT_LIMITS, Limits
from ..model.identity import run_ids_of_shard, shard_of, sql_home, sql_series
from ..model.names import DETECTOR_MODULE, from_text
from ..model.records import Problem, RunRecord, utc_now
from ..questions.execute import Table, all_of, fetch, interruptible, is_one_of, sql
from ..questions.filters import ALL_RUNS, RunFilter
from ..store.connections import Cursor, connect_memory
from ..store.schema import create_schema
from ..store.versions import Progress
from ..store.write import ShardWriter
from .between_runs import CHECKS_BETWEEN_RUNS, CHECKS_OF_ALL_RUNS, GONE_SOURCE
from .within_runs import CHECKS_WITHIN_RUNS, DOUBTFUL_RUN, NEAR_MODULE

if TYPE_CHECKING:
    import pyarrow as pa


# Those over all runs at once come last; the others run on one portion after the other.
_BY_PORTION = (*CHECKS_WITHIN_RUNS, *CHECKS_BETWEEN_RUNS)
SQL_CHECKS = (*_BY_PORTION, *CHECKS_OF_ALL_RUNS)
# Tables that only some checks need.
_PREPARE_FOR = (({"R06", "P02"}, (DOUBTFUL_RUN, NEAR_MODULE)), ({"X01", "X03"}, (GONE_SOURCE,)))
# What a portion may hold, unless one proposal has more.
_FILES_AT_ONCE = 300_000

_FOUND = """
CREATE OR REPLACE TEMP TABLE found (
    run_id UBIGINT, name VARCHAR, check_id VARCHAR, severity VARCHAR, message VARCHAR,
    place VARCHAR, path VARCHAR
)
"""

_MODULE = f"""
CREATE OR REPLACE TEMP TABLE module AS
SELECT
    source_id, detector, kind, number::INTEGER AS number, starts_with(rest, 'CH') AS is_from_zero,
    concat(detector, '/', kind, '/', prefix, '#', rest) AS family
FROM (
    SELECT
        source_id,
        unnest(regexp_extract(
            name, '{DETECTOR_MODULE}', ['detector', 'kind', 'prefix', 'number', 'rest']
        ))
    FROM source
    WHERE regexp_full_match(name, '{DETECTOR_MODULE}')
)
"""

_PREPARE_PORTION = (
    f"""
CREATE OR REPLACE TEMP TABLE near AS
SELECT
    *, run_id IN (SELECT run_id FROM scope) AS in_scope, {sql_series()} AS series,
    (row_number() OVER (PARTITION BY {sql_series()} ORDER BY run_id) - 1)::INTEGER AS place
FROM run
WHERE run_id BETWEEN $first_run AND $last_run AND {sql_home()} IN (
    SELECT {sql_home()} FROM scope WHERE run_id BETWEEN $first_run AND $last_run
)
""",
    """
CREATE OR REPLACE TEMP TABLE near_file AS
WITH wrong AS (
    SELECT DISTINCT run_id, name FROM finding
    WHERE check_id IN ('F03', 'T01', 'T02', 'T03') AND resolved_at IS NULL AND origin = 'scan'
    AND run_id BETWEEN $first_run AND $last_run
),
bounds AS (
    -- Lists that come near 2^63, where sums of 64 bits overflow, are compared with nothing.
    SELECT run_id, ordinal AS train_list, starts[1]::BIGINT AS first,
        starts[-1]::BIGINT + lengths[-1] - 1 AS last
    FROM train_list WHERE run_id BETWEEN $first_run AND $last_run
    AND list_max(starts) < 4611686018427387904
)
SELECT
    f.run_id, f.ordinal, f.name, f.aggregator, f.sequence, f.depth, f.layout_id, f.train_list,
    f.missing_since, b.first, b.last,
    f.depth > 0 AND f.missing_since IS NULL AND w.name IS NULL AND b.last IS NOT NULL AS sound
FROM file AS f
JOIN scope USING (run_id)
LEFT JOIN wrong AS w ON w.run_id = f.run_id AND w.name = f.name
LEFT JOIN bounds AS b ON b.run_id = f.run_id AND b.train_list = f.train_list
WHERE f.run_id BETWEEN $first_run AND $last_run
""",
    """
CREATE OR REPLACE TEMP TABLE near_stretch AS
SELECT run_id, ordinal AS train_list, unnest(starts)::BIGINT AS first, unnest(lengths) AS n
FROM train_list
WHERE run_id BETWEEN $first_run AND $last_run
AND (run_id, ordinal) IN (SELECT DISTINCT (run_id, train_list) FROM near_file WHERE sound)
""",
    """
CREATE OR REPLACE TEMP TABLE near_source AS
SELECT rs.*
FROM run_source AS rs JOIN near USING (run_id)
WHERE rs.run_id BETWEEN $first_run AND $last_run
""",
)

_PARAMETER = re.compile(r"\$([a-z_]+)")


def execute(
    cursor: Cursor, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """The rows of a statement with values bound; it can be interrupted by Ctrl-C."""

    def work() -> list[tuple[Any, ...]]:
        return cursor.execute(sql, values or None).fetchall()

    return interruptible(cursor, work)


def rows_table(rows: Sequence[tuple[Any, ...]], schema: "pa.Schema") -> Table:
    """Rows as a table; there may be none."""
    import pyarrow as pa

    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(c, kind) for c, kind in zip(columns, schema.types, strict=True)]
    return pa.table(arrays, schema=schema)


def insert(cursor: Cursor, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Append rows to one of the temporary tables."""
    kinds = fetch(cursor, f"FROM {table} LIMIT 0").schema
    cursor.register("incoming", rows_table(rows, kinds))
    execute(cursor, f"INSERT INTO {table} FROM incoming")
    cursor.unregister("incoming")


def choose_runs(cursor: Cursor, where: RunFilter, run_ids: Iterable[int] | None = None) -> None:
    """Make the table ``scope`` of the runs that a filter chooses, or of these run_ids alone."""
    if run_ids is None:
        chosen = all_of(where.conditions())
    else:
        chosen = is_one_of("run.run_id", list(run_ids))
    scope = sql(
        "CREATE OR REPLACE TEMP TABLE scope AS SELECT run.run_id FROM run WHERE {chosen}",
        chosen=chosen,
    )
    execute(cursor, scope.text, scope.values)


def portions(cursor: Cursor) -> list[tuple[int, int]]:
    """First and last run_id of portions of the scope: whole proposals, of so many files or one."""
    sql = f"""
        SELECT any_value(run_id), sum(n_files)
        FROM run JOIN scope USING (run_id) GROUP BY {sql_home()} ORDER BY any_value(run_id)
    """
    found: list[tuple[int, int]] = []
    n_files = _FILES_AT_ONCE
    for run_id, n in execute(cursor, sql):
        first, last = run_ids_of_shard(shard_of(run_id))
        if n_files + n <= _FILES_AT_ONCE:
            found[-1] = (found[-1][0], last)
            n_files += n
        else:
            found.append((first, last))
            n_files = n
    return found


def find_faults(
    cursor: Cursor,
    ids: Collection[str],
    limits: Limits,
    now: datetime,
    progress: Progress | None = None,
) -> None:
    """Fill the table ``found`` with the findings of the checks of these IDs in ``scope``."""
    values: dict[str, Any] = asdict(limits)
    sizes = values.pop("detector_sizes")
    values |= {
        "detector_parts": list(sizes),
        "detector_counts": list(sizes.values()),
        "processing_seconds": 86400 * limits.processing_days,
        "now": now,
    }
    execute(cursor, _FOUND)
    by_portion = [sql for check, sql in _BY_PORTION if check in ids]
    of_all = [sql for check, sql in CHECKS_OF_ALL_RUNS if check in ids]
    prepared = [sql for of, tables in _PREPARE_FOR if of & {*ids} for sql in tables]
    spans = portions(cursor) if by_portion else []
    done, total = 0, len(spans) * len(by_portion) + len(of_all)

    def run(*statements: str) -> None:
        for statement in statements:  # with the values that it names, as DuckDB refuses others
            names = set(_PARAMETER.findall(statement))
            execute(cursor, statement, {name: values[name] for name in names})

    def find(checks: list[str]) -> None:
        nonlocal done
        for check in checks:
            run(f"INSERT INTO found {check}")
            done += 1
            if progress:
                progress(done, total)

    run(_MODULE)
    for values["first_run"], values["last_run"] in spans:
        run(*_PREPARE_PORTION, *prepared)
        find(by_portion)
    find(of_all)


# What one file, or the files of one run, suffice for.
OF_A_FILE = ("T04", "T06", "R09")
OF_A_RUN = (*OF_A_FILE, "R01", "R02", "R03", "R04", "R05", "R06")


def check_record(record: RunRecord, ids: Collection[str]) -> list[Problem]:
    """The problems that the checks of these IDs find in a run; only those of ``OF_A_RUN`` run."""
    found: list[Problem] = []
    shard = record.identity.shard

    def fill(connection: Cursor) -> None:
        create_schema(connection, "shard", shard)
        writer = ShardWriter(connection, shard, record.directory)
        writer.replace_run(record)
        writer.finish()
        choose_runs(connection, ALL_RUNS, [record.identity.run_id])
        find_faults(connection, ids, DEFAULT_LIMITS, utc_now().replace(tzinfo=None))
        sql = "SELECT check_id, severity, message, name, place, path FROM found ORDER BY ALL"
        for check, severity, message, name, place, path in execute(connection, sql):
            at = path or (os.path.join(record.directory, from_text(name)) if name else None)
            where = place or ""
            found.append(Problem(check, severity, message, at or record.directory, where))

    if set(ids) & set(OF_A_RUN):
        connect_memory(fill).close()
    return found
