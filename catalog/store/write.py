"""How are runs put into a shard, replaced and taken out again?

A ``ShardWriter`` works on the draft of one shard, inside one transaction, and is handed out by
``Store.write``.

1. ``replace_run``: the rows of the run go, the new ones come (``run_rows``); findings, history,
   locations and profiles carry on from what was there (``history``).
2. ``replace_profiles``: what some keys of a run did during it.
3. ``forget_run``: all its rows go.
4. ``load_run``: the record back, to write again with parts of it replaced.
5. ``finish``: rows that wait are written, and RUN values folded (``stretches``).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.errors import CatalogWriteError
from ..model.identity import is_made_anew
from ..model.records import KeyProfile, Problem, RunRecord
from .connections import rows
from .merge import cut_out, fold
from .packing import from_text, to_text, to_utc
from .read import load_run
from .rows import Interner, profile_row, run_rows

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "RUN_TABLES",
    "FindingKey",
    "OldFile",
    "ShardWriter",
    "changed_files",
    "finding_rows",
    "insert_rows",
    "location_rows",
    "profile_rows",
]

Row = tuple[Any, ...]

_MOST_WAITING = 50_000

# Every table with rows of single runs, and the statement that takes out those of run $1.
RUN_TABLES = {
    "run": "DELETE FROM run WHERE run_id = $1",
    "run_location": "DELETE FROM run_location WHERE run_id = $1",
    "file": "DELETE FROM file WHERE run_id = $1",
    "run_packed": "DELETE FROM run_packed WHERE run_id = $1",
    "file_history": "DELETE FROM file_history WHERE run_id = $1",
    "file_metadata": "DELETE FROM file_metadata WHERE run_id = $1",
    "train_list": "DELETE FROM train_list WHERE run_id = $1",
    "timestamps": "DELETE FROM timestamps WHERE run_id = $1",
    "run_source": "DELETE FROM run_source WHERE run_id = $1",
    "key_profile": "DELETE FROM key_profile WHERE run_id = $1",
    "finding": "DELETE FROM finding WHERE run_id = $1",
}
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


def table_columns(connection: "duckdb.DuckDBPyConnection") -> dict[str, list[tuple[str, str]]]:
    """Names and types of the columns of every table of the attached file."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows(
        connection,
        "SELECT table_name, column_name, data_type FROM duckdb_columns()"
        " WHERE database_name = 'xfelcat' ORDER BY table_name, column_index",
    ):
        found.setdefault(table, []).append((column, kind))
    return found


def insert_rows(
    connection: "duckdb.DuckDBPyConnection",
    table: str,
    columns: Sequence[tuple[str, str]],
    new: Sequence[Row],
) -> None:
    """Append rows to one of the schema's tables, through Arrow."""
    import pyarrow as pa

    if not new:
        return
    arrays = []
    for (_, kind), values in zip(columns, zip(*new, strict=True), strict=True):
        is_list = kind.endswith("[]")
        of = pa.type_for_alias(_ARROW_TYPES[kind.removesuffix("[]")])
        arrays.append(pa.array(values, pa.list_(of) if is_list else of))
    connection.register("incoming", pa.table(arrays, names=[name for name, _ in columns]))
    connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")  # a name of our schema
    connection.unregister("incoming")


class ShardWriter:
    """Changes to the runs of one shard; all of them are published together, or none.

    Rows of new runs wait until there are many: an INSERT costs about as much for one run as for
    fifty. ``flush`` writes them; whoever reads or deletes calls it first.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", shard: str, location: str) -> None:
        self._connection = connection
        self._shard = shard
        self._location = location
        self._columns = table_columns(connection)
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

        Raises
        ------
        CatalogWriteError
            If another run has the same ``run_id``.
        ValueError
            If the run belongs in another shard, or its files are not sorted by name.
        """
        identity = record.identity
        if identity.shard != self._shard:
            raise ValueError(f"{identity} belongs in shard {identity.shard}, not {self._shard}")
        names = [f.name for f in record.files]
        if names != sorted(set(names)):
            raise ValueError(f"the files of {identity} are not sorted by name, each once")
        if identity.run_id in self._run_ids:
            self.flush()
            self._refuse_other_identity(record)
        tables = run_rows(record, self._interner) | self._carried_on(record)
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
        new = [profile_row(run_id, profile, self._interner) for profile in profiles]
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
        """Take out a run with all that is known of it; whether it was there."""
        if run_id not in self._run_ids:
            return False
        self.flush()
        self._delete(run_id)
        self._unfolded.discard(run_id)
        self._is_cut = self.changed = True
        return True

    def finish(self) -> None:
        """Bring everything into the form it is published in."""
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
            insert_rows(self._connection, table, self._columns[table], new)

    def _delete(self, run_id: int) -> None:
        # A new run, too, may lie inside a stretch of the runs around it.
        if self._run_ids and min(self._run_ids) <= run_id <= max(self._run_ids):
            cut_out(self._connection, run_id)
        if run_id not in self._run_ids:
            return
        self._run_ids.discard(run_id)
        for statement in RUN_TABLES.values():
            self._connection.execute(statement.replace("$1", f"{run_id:d}"))

    def _refuse_other_identity(self, record: RunRecord) -> None:
        identity = record.identity
        found = rows(
            self._connection,
            "SELECT proposal, run, data_class, loose_path FROM run"
            f" WHERE run_id = {identity.run_id:d}",
        )
        if identity.is_loose:
            own: Row = (None, None, None, to_text(identity.loose_path))
        else:
            own = (identity.proposal, identity.run, to_text(identity.data_class), None)
        if found and found[0] != own:
            raise CatalogWriteError(
                self._location,
                f"{identity} and {[v for v in found[0] if v is not None]} have the same run_id",
            )

    def _carried_on(self, record: RunRecord) -> dict[str, list[Row]]:
        """Rows of the tables in which a run keeps its past."""

        def old(columns_and_table: str) -> list[Row]:
            run_id = record.identity.run_id
            if run_id not in self._run_ids:
                return []
            return rows(self._connection, f"SELECT {columns_and_table} WHERE run_id = {run_id:d}")

        old_files = {
            from_text(name): OldFile(*values)
            for name, *values in old(
                "name, size, mtime_ns, scanned_at, retry, missing_since IS NOT NULL FROM file"
            )
        }
        changes = changed_files(record, old_files)
        history = old("* FROM file_history")
        findings = old("* FROM finding")
        profiles = old("* FROM key_profile")
        places = [(path, seen_at) for path, seen_at in old("path, seen_at FROM run_location")]
        return {
            "file_history": history + [line for _, line in changes],
            "finding": finding_rows(record, [key for key, _ in changes], findings),
            "run_location": location_rows(record, dict(places)),
            "key_profile": profile_rows(record, old_files, profiles),
        }


# What stays of the past when a run is written again?
#
# Pure: what the catalog had and what is found now in, rows out.
#
# 1. ``changed_files``: files whose size or time is no longer the catalogued one, as lines of
#    history and as C02 findings.
# 2. ``finding_rows``: a problem that was there keeps when it was first seen; one that is gone
#    stays, as resolved. C02 of a file tells of something that happened: it is never resolved.
# 3. ``location_rows``: the places a run was seen at, with the time it last was.
# 4. ``profile_rows``: what keys did during the run, stale once a file is not what it was.

_SCAN = "scan"


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file as the catalog had it."""

    size: int
    mtime_ns: int
    scanned_at: datetime
    retry: bool
    missing: bool


@dataclass(frozen=True, slots=True)
class FindingKey:
    """What tells one finding of a run from another, in the order of the table's columns."""

    name: str | None
    check: str
    severity: str
    message: str
    place: str
    path: str | None


def changed_files(record: RunRecord, old: Mapping[str, OldFile]) -> list[tuple[FindingKey, Row]]:
    """A C02 finding and a row of ``file_history`` for each file that is not what it was.

    Not for one that could not be read before (``retry``): it was known to be unfinished.
    """
    found = []
    run_id = record.identity.run_id
    severity = "I" if is_made_anew(run_id) else "E"
    for file in record.files:
        was = old.get(file.name)
        if was is None or was.retry or (was.size, was.mtime_ns) == (file.size, file.mtime_ns):
            continue
        what = (
            f"size changed from {was.size} to {file.size} bytes"
            if was.size != file.size
            else f"modified since it was catalogued (mtime {was.mtime_ns}, now {file.mtime_ns})"
        )
        name = to_text(file.name)
        line = (run_id, name, was.size, was.mtime_ns, was.scanned_at, to_utc(record.ingested_at))
        found.append((FindingKey(name, "C02", severity, what, "", None), line))
    return found


def finding_rows(
    record: RunRecord, changes: Iterable[FindingKey], old_rows: Iterable[Row]
) -> list[Row]:
    """All rows of ``finding`` for a run, from those it had and what is wrong now."""
    run_id, now = record.identity.run_id, to_utc(record.ingested_at)
    old = {FindingKey(*row[1:7]): row[7:10] for row in old_rows}
    wanted = dict.fromkeys([*_finding_keys(record), *changes])
    new = [
        (run_id, *astuple(key), old[key][0] if key in old else now, now, None, _SCAN)
        for key in wanted
    ]
    for key, (first_seen, last_seen, resolved_at) in old.items():
        if key not in wanted:
            if key.check != "C02" or key.name is None:
                resolved_at = resolved_at or now
            new.append((run_id, *astuple(key), first_seen, last_seen, resolved_at, _SCAN))
    return new


def _finding_keys(record: RunRecord) -> Iterator[FindingKey]:
    """Every problem of a run and its files; the path only where it cannot be told from the name."""
    for problem in record.problems:
        own = problem.path in (record.directory, record.realpath)
        yield _finding_key(None, problem, None if own else problem.path)
    for file in record.files:
        for problem in file.problems:
            own = os.path.basename(problem.path) == file.name
            yield _finding_key(file.name, problem, None if own else problem.path)
        if file.missing_since is not None:
            message = "catalogued file is missing on disk"
            yield FindingKey(to_text(file.name), "C01", "E", message, "", None)


def _finding_key(name: str | None, problem: Problem, path: str | None) -> FindingKey:
    return FindingKey(
        None if name is None else to_text(name),
        problem.check,
        problem.severity,
        to_text(problem.message),
        to_text(problem.where),
        None if path is None else to_text(path),
    )


def location_rows(record: RunRecord, known: Mapping[str, datetime]) -> list[Row]:
    """Rows of ``run_location``: the newest place is seen now, the others when they last were."""
    run_id, now = record.identity.run_id, to_utc(record.ingested_at)
    paths = [to_text(p) for p in record.locations]
    last = len(paths) - 1
    return [(run_id, i, p, now if i == last else known.get(p, now)) for i, p in enumerate(paths)]


def profile_rows(
    record: RunRecord, old: Mapping[str, OldFile], old_rows: Iterable[Row]
) -> list[Row]:
    """Rows of ``key_profile``: as they were, but stale if files came, went or changed."""
    was = {(name, f.size, f.mtime_ns, f.missing) for name, f in old.items()}
    now = {(f.name, f.size, f.mtime_ns, f.missing_since is not None) for f in record.files}
    return [(*row[:-1], row[-1] or was != now) for row in old_rows]
