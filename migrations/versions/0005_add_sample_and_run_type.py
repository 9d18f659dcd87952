"""Add the sample and the type of a run, from the METADATA that shards have.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = {"sample": "sample", "run_type": "runType"}


def upgrade() -> None:
    """Add and fill the columns."""
    for column, entry in _COLUMNS.items():
        op.get_bind().exec_driver_sql(f"ALTER TABLE run ADD COLUMN {column} VARCHAR")
        op.get_bind().exec_driver_sql(
            f"""UPDATE run SET {column} = (
                SELECT arg_min(value, first_file) FROM file_metadata AS m
                WHERE m.run_id = run.run_id AND name = '{entry}' AND value <> '')"""
        )
