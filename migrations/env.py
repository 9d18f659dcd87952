"""Alembic's environment: runs the revisions on the connection that ``runner`` hands over.

Alembic loads this file by its path, so it imports nothing of ours.
"""

from alembic import context
from alembic.ddl.impl import DefaultImpl


class DuckDBImpl(DefaultImpl):
    """What Alembic has to know of DuckDB: a revision that fails leaves nothing behind."""

    __dialect__ = "duckdb"
    transactional_ddl = True


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,  # revisions are written by hand: comparing does not work on DuckDB
    version_table_pk=False,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
