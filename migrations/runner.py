"""Upgrades of a database file to the newest revision, by Alembic.

Each works on one file that nobody else uses, a draft; the store finds the files and publishes them.
Revisions are of tables alone: views hold no data, and the store makes them anew.

1. ``head``: the newest revision there is.
2. ``status``: the revision of a file.
3. ``upgrade``: bring a file there, one transaction per revision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

__all__ = ["head", "status", "upgrade"]

_HERE = Path(__file__).parent


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    return config


@contextmanager
def _connected(path: Path) -> Iterator["Connection"]:
    """A SQLAlchemy connection to an in-memory database with the file attached."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    engine = create_engine("duckdb:///:memory:", poolclass=StaticPool)
    literal = "'" + str(path).replace("'", "''") + "'"  # ATTACH takes no bound values
    try:
        with engine.connect() as connection:
            driver = connection.connection.cursor()  # outside SQLAlchemy's transactions
            driver.execute(f"ATTACH {literal} AS xfelcat (STORAGE_VERSION 'v1.5.0')")
            driver.execute("USE xfelcat")
            try:
                yield connection
            finally:
                connection.rollback()  # what a revision leaves undone; a finished one has committed
                for statement in ("CHECKPOINT xfelcat", "USE memory", "DETACH xfelcat"):
                    driver.execute(statement)
    finally:
        engine.dispose()


def head() -> str:
    """The newest revision, as four digits."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(_config()).get_current_head()
    return revision or ""


def status(path: Path) -> str:
    """The revision of a database file; "" for an empty one."""
    with _connected(path) as connection:
        tables = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'alembic_version'"
        if not connection.exec_driver_sql(tables).fetchall():
            return ""
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").fetchall()
        return "".join(revision for (revision,) in found)


def upgrade(path: Path, revision: str = "head") -> None:
    """Bring a database file to a revision; one that does not exist is made.

    A revision that fails raises what it raised, and leaves the file at the one before it.
    """
    from alembic import command

    config = _config()
    with _connected(path) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
