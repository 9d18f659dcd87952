"""The shipped DDL, the migrations and what is read from the text of the DDL are equal."""

import shutil
from pathlib import Path

import duckdb
import pytest
from alembic.script import ScriptDirectory
from xfelcat import migrations
from xfelcat.catalog.store import schema, versions
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.schema import create_schema, create_views, open_draft

TABLES = """
    SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns()
    WHERE database_name = 'xfelcat' ORDER BY table_name, column_index"""
VIEWS = """
    SELECT view_name, sql, comment FROM duckdb_views()
    WHERE database_name = 'xfelcat' AND NOT internal ORDER BY view_name"""


def described(path):
    with connect_write(path) as connection:
        return connection.execute(TABLES).fetchall(), connection.execute(VIEWS).fetchall()


def newest_revision():
    return ScriptDirectory(str(migrations._HERE)).get_current_head()


def revision_of(path):
    """The revision of a database file; "" for an empty one."""
    with connect_write(path) as connection:
        tables = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'alembic_version'"
        if not connection.execute(tables).fetchall():
            return ""
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return "".join(revision for (revision,) in found)


@pytest.fixture
def shipped(tmp_path):
    path = tmp_path / "shipped.duckdb"
    with connect_write(path) as connection:
        create_schema(connection, "shard", "p000001")
    return path


@pytest.fixture
def migrated(tmp_path):
    path = tmp_path / "migrated.duckdb"
    migrations.upgrade(path)
    with connect_write(path) as connection:
        create_views(connection)
    return path


def test_migrations_make_what_is_shipped(shipped, migrated):
    columns, views = described(migrated)
    assert (columns, views) == described(shipped)
    assert len(views) == 15
    assert {row[0] for row in columns} >= {"run", "file", "runs", "files", "run_keys"}


def test_the_columns_read_from_the_text_are_what_is_shipped(shipped):
    columns, views = described(shipped)
    is_view = {name for name, _, _ in views}
    found = {}
    for table, column, kind, nullable, _ in columns:
        found.setdefault(table, []).append((column, kind, nullable))
    read = {name: view.columns for name, view in schema.views().items()}
    for described_columns, wanted in (
        (schema.columns(), found.keys() - is_view),
        (read, is_view),
    ):
        assert described_columns.keys() == wanted
        for name, table in described_columns.items():
            assert [(c.name, c.type, bool(c.nullable)) for c in table] == found[name], name


def test_every_view_and_its_columns_are_explained(shipped):
    columns, views = described(shipped)
    assert all(comment for _, _, comment in views)
    names = {name for name, _, _ in views}
    assert [c[:2] for c in columns if c[0] in names and not c[4]] == []


def test_there_are_no_keys_and_no_indexes(shipped):
    with connect_write(shipped) as connection:
        constraints = connection.execute(
            "SELECT DISTINCT constraint_type FROM duckdb_constraints()"
        )
        assert {c for (c,) in constraints.fetchall()} <= {"NOT NULL"}
        assert connection.execute("SELECT count(*) FROM duckdb_indexes()").fetchall() == [(0,)]


def test_new_files_are_at_the_newest_revision(shipped, migrated, tmp_path):
    assert revision_of(shipped) == revision_of(migrated) == newest_revision()
    assert int(newest_revision()) == versions.SCHEMA_VERSION
    assert revision_of(tmp_path / "new.duckdb") == ""


def test_upgrading_twice_changes_nothing(migrated):
    before = described(migrated)
    migrations.upgrade(migrated)
    assert described(migrated) == before


def test_views_are_made_anew(shipped):
    before = described(shipped)
    with connect_write(shipped) as connection:
        connection.execute("CREATE OR REPLACE VIEW runs AS SELECT 1 AS old")
        create_views(connection)
    assert described(shipped) == before


def test_new_files_are_copies(tmp_path, shipped):
    """Of one that is made once per size of blocks; only the stamp is a file's own."""
    for number, kind in enumerate(("shard", "audits", "shard")):
        path = tmp_path / f"{number}.duckdb"
        with open_draft(path, kind, f"name {number}") as connection:
            stamp = connection.execute("SELECT kind, name, schema_version FROM catalog_info")
            assert stamp.fetchall() == [(kind, f"name {number}", versions.SCHEMA_VERSION)]
        assert described(path) == described(shipped)
        assert revision_of(path) == newest_revision()


def test_a_failing_revision_leaves_the_file_as_it_was(migrated, tmp_path, monkeypatch):
    scripts = tmp_path / "100% scripts"
    shutil.copytree(Path(migrations.__file__).parent, scripts)
    ours, following = (f"{versions.SCHEMA_VERSION + n:04d}" for n in (0, 1))
    (scripts / "versions" / f"{following}_break_something.py").write_text(
        "from alembic import op\n"
        f"revision, down_revision = '{following}', '{ours}'\n"
        "def upgrade():\n"
        "    op.get_bind().exec_driver_sql('ALTER TABLE run ADD COLUMN extra INTEGER')\n"
        "    op.get_bind().exec_driver_sql('SELECT * FROM no_such_table')\n"
    )
    monkeypatch.setattr(migrations, "_HERE", scripts)
    before = described(migrated)
    assert newest_revision() == following
    with pytest.raises(Exception, match="no_such_table"):
        migrations.upgrade(migrated)
    assert revision_of(migrated) == ours
    assert described(migrated) == before


def test_files_can_be_read_by_the_oldest_duckdb_we_support(shipped):
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{shipped}' AS f (READ_ONLY)")
        tags = connection.execute(
            "SELECT tags FROM duckdb_databases() WHERE database_name = 'f'"
        ).fetchall()
    assert "v1.5.0" in str(tags)
