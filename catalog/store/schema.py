"""The schema of a catalog file, read from schema.sql, and new files made with it.

schema.sql is the one place that spells out tables and views; everything here follows from its text
and from the short lists of roles below, which writing, merging, compacting and checking follow.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path

from ... import migrations
from ..model.errors import CatalogWriteError
from .connections import (
    DEFAULT_BLOCKS,
    ONE_RUN_BLOCKS,
    PROPOSAL_BLOCKS,
    Cursor,
    connect_write,
    quoted,
)
from .versions import OLDEST_UPGRADED, SCHEMA_VERSION, Versions

# The text of schema.sql.


# What is counted in something else than pieces; times have their type.
_OF_KEY = ("number", "minimum", "maximum", "mean", "std", "first", "last")
_UNITS = {"bytes": "bytes", "size": "bytes", "seconds": "s"} | dict.fromkeys(_OF_KEY, "of the key")


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column of a table or view; ``meaning`` is empty for tables."""

    name: str
    type: str
    meaning: str = ""
    nullable: bool = True

    @property
    def unit(self) -> str:
        """What a column of a view is counted in; empty for names, flags, ..."""
        return "UTC" if self.type == "TIMESTAMP" else _UNITS.get(self.name, "")


@dataclass(frozen=True, slots=True)
class SchemaView:
    """A documented view: what a row of it is, and its columns."""

    name: str
    meaning: str
    columns: tuple[SchemaColumn, ...]


_CREATE_TABLE = re.compile(r"^CREATE TABLE (\w+) \((.*?)\);", re.M | re.S)
_CREATE_VIEW = re.compile(
    r"((?:^--.*\n)+)(CREATE VIEW (\w+) AS\nSELECT\n((?:    .*\n)+)FROM [^;]*;)", re.M
)
_SHARED_COLUMN = re.compile(r"^-- (\w+) ([A-Z]+(?:\[\])?) (.+)", re.M)
_NESTED = re.compile(r"'[^']*'|\([^()]*\)|\[[^\[\]]*\]")


@cache
def _text() -> str:
    return Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


@cache
def columns() -> dict[str, tuple[SchemaColumn, ...]]:
    """The columns of each table, in the order of its rows."""
    return {
        table: tuple(
            SchemaColumn(name, rest.split(" ")[0], nullable="NOT NULL" not in rest)
            for name, rest in (
                " ".join(column.split()).split(" ", 1)
                for column in re.sub(r"--.*", "", body).split(",")
            )
        )
        for table, body in _CREATE_TABLE.findall(_text())
    }


@cache
def views() -> dict[str, SchemaView]:
    """The documented views, in the order of the documentation."""
    text = _text()
    shared = {name: (kind, meaning) for name, kind, meaning in _SHARED_COLUMN.findall(text)}
    found = {}
    for above, _, view, body in _CREATE_VIEW.findall(text):
        meaning = " ".join(line.removeprefix("-- ") for line in above.splitlines())
        parts = (
            SchemaColumn(name, *(about.split(" ", 1) if about else shared[name]))
            for name, about in _selected(body)
        )
        found[view] = SchemaView(view, meaning, tuple(parts))
    return found


def _selected(body: str) -> list[tuple[str, str]]:
    """The names of the columns that a view selects, and the comment after each."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        code, _, comment = line.strip().partition("-- ")
        while (flat := _NESTED.sub("", code)) != code:  # commas between columns only
            code = flat
        for column in filter(None, map(str.strip, code.split(","))):
            found.append((re.split(r"[ .]", column)[-1], ""))
        if comment:
            name, before = found[-1]
            found[-1] = (name, f"{before} {comment}".strip())
    return found


def _comments() -> Iterator[str]:
    """The statements that put the meanings of views and their columns into a file."""
    for view in views().values():
        yield f"COMMENT ON VIEW {view.name} IS {quoted(view.meaning)};"
        for column in view.columns:
            where = f"{view.name}.{column.name}"
            yield f"COMMENT ON COLUMN {where} IS {quoted(column.meaning)};"


# Roles of the tables.


@dataclass(frozen=True, slots=True)
class TableRole:
    """Where the rows of a table belong, and how they lie in a file that is in order."""

    name: str
    """The table."""
    order: tuple[str, ...]
    """Columns that the rows are sorted by."""
    run: str = "run_id"
    """The column with the run that a row is of; empty where rows are of no single run."""
    is_merged: bool = True
    """Whether the merged file has the rows too; opening alone needs the others."""
    shard_columns: tuple[str, ...] = ()
    """Columns that are NULL in the merged file."""
    merged_where: str = "true"
    """The condition on rows ``t`` of a ``{shard}`` that the merged file has too."""


@dataclass(frozen=True, slots=True)
class Interned:
    """What many runs share, under numbers that are local to a file: names, schemas, layouts."""

    table: TableRole
    """The table with one row for each, in the order of its number."""
    identity: str
    """The column that is equal in every file."""
    members: TableRole | None = None
    """The table with the parts of each."""
    synonym: str = ""
    """Another column name, of whatever table, for such a number."""

    @property
    def number(self) -> str:
        """The column with the number."""
        return self.table.order[0]

    def used(self) -> list[tuple[str, str]]:
        """Every table, other than its own, and column that refers to such a number."""
        own = {self.table.name, self.members.name if self.members else ""}
        return [
            (table, column.name)
            for table, described in columns().items()
            for column in described
            if column.name in (self.number, self.synonym) and table not in own
        ]


_FIRST_STRETCH = """(t.run_id, t.name, t.first_file) IN (
    SELECT (run_id, name, min(first_file)) FROM {shard}.file_metadata GROUP BY run_id, name)"""
# In the order in which the tables of a new file are filled: a run id leads wherever questions ask
# by run, as DuckDB skips the blocks of rows whose least and largest value rule a run out.
RUN_TABLES = (
    TableRole("run", ("run_id",)),
    TableRole("run_location", ("run_id", "position")),
    TableRole("file", ("run_id", "ordinal"), shard_columns=("timestamps", "run_sources")),
    TableRole("run_packed", ("run_id",), is_merged=False),
    TableRole("frame_ids", ("run_id",), is_merged=False),
    TableRole("file_history", ("run_id", "name", "replaced_at")),
    # Some ten rows per run: the numbers of the sequences, a row per file, stay behind.
    TableRole("file_metadata", ("run_id", "name", "first_file"), merged_where=_FIRST_STRETCH),
    TableRole("train_list", ("run_id", "ordinal")),
    TableRole("timestamps", ("run_id", "ordinal"), is_merged=False),
    TableRole("run_source", ("run_id", "source_id", "index_group")),
    # By source and key first: a question about the values of one key then reads little.
    TableRole("run_value", ("source_id", "key_id", "first_run"), run="first_run"),
    TableRole("key_profile", ("run_id", "source_id", "key_id")),
    TableRole("finding", ("run_id", "rowid")),
)
# Each refers to those after it, so `compact` knows what is used once it comes to a table.
INTERNED = (
    Interned(
        table=TableRole("layout", ("layout_id",), run=""),
        identity="digest",
        members=TableRole("layout_source", ("layout_id", "position"), run=""),
    ),
    Interned(
        table=TableRole("key_schema", ("schema_id",), run="", shard_columns=("packed",)),
        identity="digest",
        members=TableRole("schema_key", ("schema_id", "position"), run=""),
    ),
    Interned(
        table=TableRole("source", ("source_id",), run=""), identity="name", synonym="legacy_of"
    ),
    Interned(table=TableRole("key", ("key_id",), run=""), identity="name"),
)
AUDIT_TABLES = (RUN_TABLES[-1], TableRole("audit", ("audit_id",), run=""))


# New files.


def create_schema(connection: Cursor, kind: str, name: str) -> None:
    """Make the tables and views of a new database: a ``"shard"``, ``"merged"`` or ``"audits"``."""
    _create(connection, SCHEMA_VERSION)
    _stamp(connection, kind, name)


def create_lake_schema(connection: Cursor) -> None:
    """Make the tables and views in a lake, which has no comments on columns of views.

    In a transaction: each statement outside one would be a snapshot, of 0.3 s and more.
    """
    connection.execute(_text().replace(" USING COMPRESSION uncompressed", ""))


def _create(connection: Cursor, schema_version: int) -> None:
    connection.execute(_text() + "\n".join(_comments()))
    connection.execute("INSERT INTO alembic_version VALUES ($1)", [f"{schema_version:04d}"])


def _stamp(connection: Cursor, kind: str, name: str) -> None:
    """Write into a file what it is and who made it."""
    made_at = datetime.now(UTC).replace(tzinfo=None)
    values = [kind, name, SCHEMA_VERSION, package_version("xfelcat"), made_at]
    connection.execute("DELETE FROM catalog_info")
    connection.execute("INSERT INTO catalog_info VALUES ($1, $2, $3, $4, $5)", values)


@contextmanager
def open_draft(
    draft: Path, kind: str, name: str, *, older: Versions | None = None, attach: Path | None = None
) -> Iterator[Cursor]:
    """A connection to a draft, which gets the schema first where it is missing.

    It is migrated from an older schema version among ``older`` if there is one, else new. A file
    to ``attach`` is there as ``other``.
    """
    try:
        is_new = not draft.exists() and not (older and migrate_draft(older, draft, kind, name))
        if is_new:
            one_run_or_more = ONE_RUN_BLOCKS if name.startswith("loose-") else PROPOSAL_BLOCKS
            block_size = one_run_or_more if kind == "shard" else DEFAULT_BLOCKS
            # A copy: making 36 tables and views with 190 comments takes 50 ms of CPU. The first run
            # of a proposal is written in 105 ms instead of 145 (a process's first as before).
            draft.write_bytes(_empty_file(block_size, SCHEMA_VERSION))
    except CatalogWriteError:
        raise
    except OSError as error:  # also where there is no temporary folder
        raise CatalogWriteError(str(draft.parent), error.strerror or str(error)) from error
    with connect_write(draft, attach=attach) as connection:
        if is_new:
            _stamp(connection, kind, name)
        yield connection


@cache
def _empty_file(block_size: int, schema_version: int) -> bytes:
    """A database file with the schema and no rows, made once per process."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="xfelcat-") as folder:
        path = Path(folder, "empty.duckdb")
        with connect_write(path, block_size=block_size) as connection:
            connection.execute("BEGIN")
            _create(connection, schema_version)
            connection.execute("COMMIT")
        return path.read_bytes()


def migrate_draft(versions: Versions, draft: Path, kind: str, name: str) -> bool:
    """Fill a draft from the newest older schema version; False where none can be upgraded.

    Views hold no data: they are made anew from schema.sql, so that revisions deal with tables only.
    """
    older = [v for v in versions.schema_versions() if OLDEST_UPGRADED <= v < SCHEMA_VERSION]
    source = Versions(versions.directory, max(older)).current() if older else None
    if source is None:
        return False
    shutil.copyfile(source, draft)
    draft.chmod(0o644)
    migrations.upgrade(draft)
    with connect_write(draft) as connection:
        create_views(connection)
        _stamp(connection, kind, name)
    return True


def create_views(connection: Cursor) -> None:
    """Make the views of a file whose tables are those of this schema, in place of any it has."""
    found = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE database_name = 'xfelcat' AND NOT internal"
    )
    drop = [f"DROP VIEW {view};" for (view,) in found.fetchall()]
    made = [statement for _, statement, _, _ in _CREATE_VIEW.findall(_text())]
    connection.execute("\n".join([*drop, *made, *_comments()]))
