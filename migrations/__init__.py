"""The catalog schema's history: Alembic environment, runner and revisions."""
