"""Keep RUN values per stretch of runs; add profiles of keys, audits, and who found a finding.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Fold the rows there are, then add what is new; the SQL lies beside this file."""
    ddl = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(ddl)
