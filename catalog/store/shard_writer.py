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

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CatalogWriteError
from ..records import KeyProfile, RunRecord
from .encoding import from_text, to_text
from .history import OldFile, changed_files, finding_rows, location_rows, profile_rows
from .interning import Interner
from .reload import load_run
from .run_rows import profile_row, run_rows
from .stored import rows
from .stretches import cut_out, fold

if TYPE_CHECKING:
    import duckdb

__all__ = ["RUN_TABLES", "ShardWriter", "insert_rows"]

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
