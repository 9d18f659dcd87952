"""How does a database file get its tables: made new, or migrated from an older one?

1. ``create_schema``: the shipped DDL, into a file that is empty.
2. ``stamp``: what the file is, and who made it.
3. ``migrate_draft``: a draft filled from the newest older schema version, if there is one.
"""

import shutil
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

from ...migrations import runner
from .connections import connect_write
from .versions import SCHEMA_VERSION, Versions

if TYPE_CHECKING:
    import duckdb

__all__ = ["create_schema", "migrate_draft", "stamp"]


def create_schema(connection: "duckdb.DuckDBPyConnection", kind: str, name: str) -> None:
    """Make the tables and views of a new file: a ``"shard"``, ``"merged"`` or ``"audits"``."""
    ddl = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    connection.execute(ddl)
    connection.execute("INSERT INTO alembic_version VALUES ($1)", [f"{SCHEMA_VERSION:04d}"])
    stamp(connection, kind, name)


def stamp(connection: "duckdb.DuckDBPyConnection", kind: str, name: str) -> None:
    """Write into a file what it is and who made it."""
    made_at = datetime.now(UTC).replace(tzinfo=None)
    values = [kind, name, SCHEMA_VERSION, package_version("xfelcat"), made_at]
    connection.execute("INSERT INTO catalog_info VALUES ($1, $2, $3, $4, $5)", values)


def migrate_draft(versions: Versions, draft: Path, name: str, *, kind: str = "shard") -> bool:
    """Fill a draft from the newest older schema version; False where there is none."""
    older = [v for v in versions.schema_versions() if v < versions.schema_version]
    source = Versions(versions.directory, max(older)).current() if older else None
    if source is None:
        return False
    shutil.copyfile(source, draft)
    draft.chmod(0o644)
    runner.upgrade(draft)
    with connect_write(draft) as connection:
        connection.execute("DELETE FROM catalog_info")
        stamp(connection, kind, name)
    return True
