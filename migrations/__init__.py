"""Upgrades of a database file to the newest revision, with Alembic's operations.

``versions/`` has the revisions: hand-written, forward only, one transaction each, of tables alone
(views hold no data, and the store makes them anew). ``upgrade`` works on a draft, a file
that no other process uses; the store finds the files and publishes them.

No ``env.py``: Alembic would load it by its path to ask for the connection that ``upgrade`` has.
"""

from pathlib import Path

_HERE = Path(__file__).parent


def upgrade(path: Path) -> None:
    """Bring a database file to the newest revision; one that does not exist is made.

    A revision that fails raises what it raised, and leaves the file at the one before it.
    """
    from alembic.ddl.impl import DefaultImpl
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    class DuckDBImpl(DefaultImpl):  # Alembic finds it by its dialect, and has none of its own
        __dialect__ = "duckdb"

    engine = create_engine("duckdb:///:memory:", poolclass=StaticPool)
    literal = "'" + str(path).replace("'", "''") + "'"  # ATTACH takes no bound values
    try:
        with engine.connect() as connection:
            driver = connection.connection.cursor()  # outside SQLAlchemy's transactions
            driver.execute(f"ATTACH {literal} AS xfelcat (STORAGE_VERSION 'v1.5.0')")
            driver.execute("USE xfelcat")
            context = MigrationContext.configure(connection, opts={"version_table_pk": False})
            scripts = ScriptDirectory(str(_HERE))
            missing = scripts.iterate_revisions("head", context.get_current_revision())
            try:
                with Operations.context(context):
                    for revision in reversed(list(missing)):
                        revision.module.upgrade()
                        context.stamp(scripts, revision.revision)
                        connection.commit()
            finally:
                connection.rollback()  # what a revision leaves undone
                for statement in ("CHECKPOINT xfelcat", "USE memory", "DETACH xfelcat"):
                    driver.execute(statement)
    finally:
        engine.dispose()
