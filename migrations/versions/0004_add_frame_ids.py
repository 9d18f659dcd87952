"""Add the table of pulse and cell IDs of detector frames.

Runs get their rows when they are scanned again; until then the IDs come from the files.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table, empty."""
    op.get_bind().exec_driver_sql(
        "CREATE TABLE frame_ids (run_id UBIGINT, slots BLOB USING COMPRESSION uncompressed,"
        " ids BLOB USING COMPRESSION uncompressed)"
    )
