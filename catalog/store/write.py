"""The writer of one shard: runs put in, replaced and taken out.

A ``ShardWriter`` works on the draft of one shard, inside one transaction; ``Store.write`` makes it.
Where a run is replaced, findings, history, locations and profiles carry on from what was there.
"""

from collections.abc import Collection, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

from ..model.errors import CatalogWriteError
from ..model.identity import RunIdentity, sql_series
from ..model.names import to_text, to_utc
from ..model.records import KeyProfile, RunRecord
from .connections import Cursor, rows, rows_of_run
from .read import file_stats, load_run
from .rows import Interner, Row, changed_files, finding_rows, run_rows
from .schema import RUN_TABLES, columns

# An INSERT costs about as much for one run as for fifty, and Arrow needs the rows in memory: so
# many are some 50 runs of a large detector.
_MOST_WAITING = 50_000
_ARROW_TYPES = {
    "TINYINT": "int8",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UBIGINT": "uint64",
    "DOUBLE": "float64",
    "BOOLEAN": "bool",
    "VARCHAR": "string",
    "BLOB": "binary",
    "TIMESTAMP": "timestamp[us]",
}


def insert_rows(connection: Cursor, table: str, new: Sequence[Row]) -> None:
    """Append rows to one of the schema's tables, through Arrow; texts are escaped here."""
    import pyarrow as pa

    if not new:
        return
    described = columns()[table]
    arrays = []
    for column, values in zip(described, zip(*new, strict=True), strict=True):
        kind = pa.type_for_alias(_ARROW_TYPES[column.type.removesuffix("[]")])
        if pa.types.is_string(kind):
            values = tuple(map(_escaped, values))
        arrays.append(pa.array(values, pa.list_(kind) if column.type.endswith("[]") else kind))
    connection.register("incoming", pa.table(arrays, names=[c.name for c in described]))
    connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")  # a name of our schema
    connection.unregister("incoming")


def _escaped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return list(map(_escaped, value))
    return None if value is None else to_text(value)


class ShardWriter:
    """Changes to the runs of one shard; all of them are published together, or none.

    Rows of new runs wait until there are many; ``flush`` writes them, and whoever reads or deletes
    calls it first.
    """

    def __init__(self, connection: Cursor, shard: str, location: str) -> None:
        self._connection = connection
        self._shard = shard
        self._location = location
        self._interner = Interner(connection, location)
        self._run_ids: set[int] = {i for (i,) in rows(connection, "SELECT run_id FROM run")}
        self._waiting: dict[str, list[Row]] = {}
        self._n_waiting = 0
        self._unfolded: set[int] = set()  # runs with new values
        self._is_cut = False
        self.changed = False

    def load_run(self, run_id: int) -> RunRecord | None:
        """The full record of a run; None where the shard does not have it."""
        if run_id not in self._run_ids:
            return None
        self.flush()
        return load_run(self._connection, run_id)

    def replace_run(self, record: RunRecord) -> None:
        """Put a run in, in place of what the shard has of it.

        A problem that was there already keeps the time it was first seen at; one that is gone stays
        as resolved. A file whose size or time differs from the catalogued leaves a line of history
        and a C02 finding.

        Raises CatalogWriteError if another run has the same ``run_id``, ValueError if the run
        belongs in another shard, or its files are not sorted by name.
        """
        identity = record.identity
        if identity.shard != self._shard:
            raise ValueError(f"{identity} belongs in shard {identity.shard}, not {self._shard}")
        names = [f.name for f in record.files]
        if names != sorted(set(names)):
            raise ValueError(f"the files of {identity} are not sorted by name, each once")
        if identity.run_id in self._run_ids:
            self.flush()
            self._refuse_other(identity)
        tables = run_rows(record, self._interner) | self._past(record)
        self._delete(identity.run_id)
        self._run_ids.add(identity.run_id)
        for table, new in tables.items():
            self._wait(table, new)
        if tables["run_value"]:
            self._unfolded.add(identity.run_id)
        self.changed = True
        if self._n_waiting > _MOST_WAITING:
            self.flush()

    def replace_profiles(self, run_id: int, profiles: Sequence[KeyProfile]) -> bool:
        """Put in what keys of a run did during it, in place of what is there of the same keys.

        Whether the shard has the run; if not, nothing changes.
        """
        if run_id not in self._run_ids:
            return False
        intern = self._interner
        new: list[Row] = [
            (run_id, intern.source(source), intern.key(key), *found, to_utc(at), False)
            for source, key, at, *found in map(astuple, profiles)
        ]
        self.flush()
        for _, source_id, key_id, *_ in new:
            self._connection.execute(
                f"DELETE FROM key_profile WHERE run_id = {run_id:d}"
                f" AND source_id = {source_id:d} AND key_id = {key_id:d}"
            )
        self._wait("key_profile", new)
        self.changed = True
        return True

    def forget_run(self, run_id: int) -> bool:
        """Take out all rows of a run; whether it was there."""
        if run_id not in self._run_ids:
            return False
        self.flush()
        self._delete(run_id)
        self._unfolded.discard(run_id)
        self._is_cut = self.changed = True
        return True

    def finish(self) -> None:
        """Write the rows that wait, and fold RUN values into stretches of runs."""
        self.flush()
        if self._unfolded or self._is_cut:
            fold(self._connection, self._unfolded)

    def _wait(self, table: str, new: Sequence[Row]) -> None:
        self._waiting.setdefault(table, []).extend(new)
        self._n_waiting += len(new)

    def flush(self) -> None:
        """Write the rows that wait."""
        waiting, self._waiting, self._n_waiting = self._waiting, {}, 0
        for table, new in (self._interner.take_new() | waiting).items():
            insert_rows(self._connection, table, new)

    def _delete(self, run_id: int) -> None:
        # A new run, too, may lie inside a stretch of the runs around it.
        if self._run_ids and min(self._run_ids) <= run_id <= max(self._run_ids):
            self._connection.execute(_CUT.replace("$1", f"{run_id:d}"))
        if run_id not in self._run_ids:
            return
        self._run_ids.discard(run_id)
        for role in RUN_TABLES:
            if role.run == "run_id":  # not run_value: its rows are of stretches, and cut out
                self._connection.execute(f"DELETE FROM {role.name} WHERE run_id = {run_id:d}")

    def _refuse_other(self, identity: RunIdentity) -> None:
        (found,) = rows_of_run(
            self._connection, identity.run_id, "proposal, run, data_class, loose_path FROM run"
        )
        if identity.is_loose:
            own: Row = (None, None, None, identity.loose_path)
        else:
            own = (identity.proposal, identity.run, identity.data_class, None)
        if found != own:
            raise CatalogWriteError(
                self._location,
                f"{identity} and {[v for v in found if v is not None]} have the same run_id",
            )

    def _past(self, record: RunRecord) -> dict[str, list[Row]]:
        """Rows of the tables in which a run keeps its past."""
        run_id, now = record.identity.run_id, to_utc(record.ingested_at)

        def old(selected: str) -> list[Row]:
            is_known = run_id in self._run_ids
            return rows_of_run(self._connection, run_id, selected) if is_known else []

        files = file_stats(self._connection, run_id) if run_id in self._run_ids else {}
        changes = changed_files(record, files, dict(old("name, scanned_at FROM file")))
        was = {(name, f.size, f.mtime_ns, f.missing) for name, f in files.items()}
        current = {(f.name, f.size, f.mtime_ns, f.missing) for f in record.files}
        # The newest location is seen now, the others when they last were.
        places = old("path, seen_at FROM run_location")
        seen_at: dict[str, datetime] = dict(places) | dict.fromkeys(record.locations[-1:], now)
        return {
            "file_history": old("* FROM file_history") + [line for _, line in changes],
            "finding": finding_rows(record, [key for key, _ in changes], old("* FROM finding")),
            "run_location": [
                (run_id, i, path, seen_at.get(path, now)) for i, path in enumerate(record.locations)
            ],
            "key_profile": [  # stale if files came, went or changed
                (*row[:-1], row[-1] or was != current) for row in old("* FROM key_profile")
            ],
        }


# RUN values by stretches of runs.
#
# Four of five RUN values do not change between neighbouring runs, so ``run_value`` has one row for
# a stretch of runs. Neighbours are runs next to each other among the catalogued ones of a series
# (proposal and data class). A stretch ends where the value changes, or a run lacks it. BETWEEN
# first_run AND last_run is therefore exact, and stays so while runs come and go:
#
# 1. ``_CUT``: a run that is written again, or goes, is taken out of the stretches over it.
# 2. New rows are put in for one run each.
# 3. ``fold``: rows of neighbours with the same value become one.

_VALUE = ("dtype", "number", "text", "raw", "shape")


def _is_same(one: str, other: str) -> str:
    """The condition that two values are equal; NULLs are."""
    return " AND ".join(f"{one.format(c)} IS NOT DISTINCT FROM {other}.{c}" for c in _VALUE)


# New rows up to this share of all are put behind the others: an ingest of a few runs then does not
# rewrite all values of a proposal, and `compact` brings them in order again.
_REWRITE_SHARE = 0.2

_CUT = """
CREATE OR REPLACE TEMP TABLE cut AS
SELECT * FROM run_value WHERE $1 BETWEEN first_run AND last_run;

DELETE FROM run_value WHERE $1 BETWEEN first_run AND last_run;

INSERT INTO run_value
SELECT * REPLACE ((SELECT max(run_id) FROM run WHERE run_id < $1) AS last_run)
FROM cut WHERE first_run < $1;

INSERT INTO run_value
SELECT * REPLACE ((SELECT min(run_id) FROM run WHERE run_id > $1) AS first_run)
FROM cut WHERE last_run > $1;
"""

# Rows with the value of the ones before them become one, of those rows that satisfy $1.
_FOLD = f"""
CREATE OR REPLACE TEMP TABLE folded AS
WITH placed AS (
    SELECT run_id, row_number() OVER (PARTITION BY {sql_series()} ORDER BY run_id) AS place FROM run
),
compared AS (
    SELECT
        v.*, {sql_series("v.first_run")} AS series, f.place,
        lag(l.place) OVER w IS NOT DISTINCT FROM f.place - 1
        AND {_is_same("lag(v.{}) OVER w", "v")} AS goes_on
    FROM run_value AS v
    JOIN placed AS f ON f.run_id = v.first_run
    JOIN placed AS l ON l.run_id = v.last_run
    WHERE $1
    WINDOW w AS (PARTITION BY {sql_series("v.first_run")}, v.source_id, v.key_id ORDER BY f.place)
),
stretched AS (
    SELECT
        *, count(*) FILTER (NOT goes_on) OVER (
            PARTITION BY series, source_id, key_id ORDER BY place ROWS UNBOUNDED PRECEDING
        ) AS stretch
    FROM compared
)
SELECT
    min(first_run) AS first_run, max(last_run) AS last_run, source_id, key_id,
    {", ".join(f"any_value({c}) AS {c}" for c in _VALUE)}
FROM stretched
GROUP BY series, source_id, key_id, stretch;
"""

_REWRITE = """
DELETE FROM run_value;
INSERT INTO run_value SELECT * FROM folded ORDER BY source_id, key_id, first_run;
DROP TABLE folded;
"""

# Rows that end with the run before the first new one of its series, and have its value, go on.
_APPEND = f"""
DELETE FROM run_value WHERE first_run IN ($1);

CREATE OR REPLACE TEMP TABLE continued AS
WITH seams AS (
    SELECT min(n.run_id) AS first_run, max(r.run_id) AS before
    FROM (SELECT min(run_id) AS run_id FROM run WHERE run_id IN ($1) GROUP BY {sql_series()}) AS n
    JOIN run AS r ON {sql_series("r.run_id")} = {sql_series("n.run_id")} AND r.run_id < n.run_id
    GROUP BY n.run_id
)
SELECT v.rowid AS row, f.source_id, f.key_id, f.first_run, f.last_run
FROM folded AS f
JOIN seams AS s USING (first_run)
JOIN run_value AS v ON v.last_run = s.before AND v.source_id = f.source_id
    AND v.key_id = f.key_id AND {_is_same("v.{}", "f")};

UPDATE run_value SET last_run = c.last_run FROM continued AS c WHERE run_value.rowid = c.row;

INSERT INTO run_value
SELECT * FROM folded ANTI JOIN continued USING (source_id, key_id, first_run)
ORDER BY source_id, key_id, first_run;

DROP TABLE folded;
DROP TABLE continued;
"""

# Whether rows lie behind new ones in their series; how many are new, and how many there are.
_SHAPE = f"""
SELECT
    coalesce(bool_or(v.last_run > n.first_run AND v.first_run NOT IN ($1)), false),
    count(*) FILTER (v.first_run IN ($1)), count(*)
FROM run_value AS v LEFT JOIN (
    SELECT {sql_series()} AS series, min(run_id) AS first_run FROM run WHERE run_id IN ($1)
    GROUP BY {sql_series()}
) AS n ON n.series = {sql_series("v.first_run")}
"""


def fold(connection: Cursor, new_runs: Collection[int]) -> None:
    """Make one row of neighbouring runs with the same value.

    ``new_runs`` are those put in since this was last done. Where they are few, and the last ones of
    their proposal and data class, only their rows are touched, and stand behind the others; else
    all rows are written again, in order.
    """
    some = ",".join(f"{run_id:d}" for run_id in new_runs) or "0"
    ((is_inside, n_new, n_all),) = rows(connection, _SHAPE.replace("$1", some))
    if is_inside or not n_new or n_new > _REWRITE_SHARE * n_all:
        connection.execute(_FOLD.replace("$1", "true") + _REWRITE)
    else:
        connection.execute(_FOLD.replace("$1", f"v.first_run IN ({some})"))
        connection.execute(_APPEND.replace("$1", some))
