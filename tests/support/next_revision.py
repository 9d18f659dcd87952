"""A schema version after ours, so that what we write is what an older client wrote.

Its one throwaway revision adds a table and fills it from those there are.
"""

import shutil
from pathlib import Path

from xfelcat import migrations
from xfelcat.catalog.store import care, schema, store, versions
from xfelcat.catalog.store.connections import POOL

__all__ = ["become_next_version"]

_REVISION = """
from alembic import op

revision, down_revision = "{next:04d}", "{ours:04d}"

def upgrade():
    op.get_bind().exec_driver_sql(
        "CREATE TABLE run_note AS SELECT run_id, concat('run ', run) AS note FROM run"
    )
"""


def become_next_version(monkeypatch, folder):
    """Be a client of the next schema version; its number."""
    ours = versions.SCHEMA_VERSION
    scripts = folder / "next_version"
    shutil.copytree(Path(migrations.__file__).parent, scripts)
    revision = _REVISION.format(next=ours + 1, ours=ours)
    (scripts / "versions" / f"{ours + 1:04d}_add_notes.py").write_text(revision)
    monkeypatch.setattr(migrations, "_HERE", scripts)
    for module in (versions, schema, store, care):
        monkeypatch.setattr(module, "SCHEMA_VERSION", ours + 1)
    POOL.close()
    return ours + 1
