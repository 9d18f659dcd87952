"""Create the tables of a catalog file.

Revision ID: 0003
Revises: none (versions 1 and 2 of the schema were never released)
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    ddl = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(ddl)
