"""What METADATA of the files says of a run: in the views, in filters, and after an upgrade."""

from fnmatch import fnmatchcase

import h5py
import pytest
from support.run_records import make_run, with_file, write
from xfelcat import Catalog, migrations
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.schema import create_views
from xfelcat.catalog.store.store import Store

LISTS = ("dataSourceId", "deviceId", "root")
ENTRIES = "SELECT run, name, value FROM run_metadata ORDER BY ALL"
COLUMNS = "SELECT run, sample, run_type FROM runs ORDER BY ALL"


@pytest.fixture
def store(tmp_path):
    """Runs whose files differ, name nothing, or have texts that are no UTF-8."""
    made = Store(tmp_path / "catalog")
    differing = make_run(1)
    for at, entries in enumerate(({"a": 7}, {"sample": ""}, {"sample": "b", "a": 8, "z": "1"})):
        differing = with_file(differing, at, metadata=entries)
    odd = make_run(2)
    odd = with_file(odd, 0, metadata={"sample": "Fe\udcff", "runType": 3})
    nothing = make_run(4)
    for at in range(len(nothing.files)):
        nothing = with_file(nothing, at, metadata={"sample": ""})
    write(made, differing, odd, make_run(3), nothing)
    made.publish_merged()
    return made


@pytest.fixture(scope="module")
def recorded(demo):
    """The entries of METADATA of the first readable file of each run, by data class and run."""
    found = {}
    for path in sorted(demo.root.rglob("*.h5"), reverse=True):
        try:
            with h5py.File(path) as file:
                metadata = {
                    name: item[0].decode() if item.dtype == object else str(item[0])
                    for name, item in file["METADATA"].items()
                    if isinstance(item, h5py.Dataset) and name not in LISTS
                }
        except (OSError, KeyError):
            continue
        proposal, data_class, run = path.parts[-4:-1]
        name = (int(proposal[1:]), data_class, int(run[1:]))
        found[name] = found.get(name, {"dataFormatVersion": "0.5"}) | metadata
    return found


def test_the_first_file_that_has_an_entry_counts(store):
    def rows(cursor):
        return cursor.execute(ENTRIES).fetchall(), cursor.execute(COLUMNS).fetchall()

    with store.read("p002012") as cursor:
        entries, columns = rows(cursor)
    of_first = [(name, value) for run, name, value in entries if run == 1]
    assert of_first == [
        *(("a", "7"), ("dataFormatVersion", "1.2"), ("runNumber", "1"), ("sample", "")),
        *(("seq", "0"), ("z", "1")),
    ]
    assert columns[0] == (1, "b", None)
    assert columns[1][2] == "3"
    assert columns[2:] == [(3, None, None), (4, None, None)]
    with store.read_merged() as cursor:
        assert rows(cursor) == (entries, columns)
        (n,) = cursor.execute("SELECT count(*) FROM file_metadata").fetchone()
    assert n == len(entries)  # and not one per sequence


def test_an_upgrade_fills_the_columns(store, tmp_path):
    """As in a shard that was written before they were there."""
    path = store.versions("p002012").current()
    old = tmp_path / "old.duckdb"
    old.write_bytes(path.read_bytes())
    with connect_write(old) as connection:
        expected = connection.execute(COLUMNS).fetchall()
        connection.execute("DROP VIEW runs")
        connection.execute("ALTER TABLE run DROP COLUMN sample")
        connection.execute("ALTER TABLE run DROP COLUMN run_type")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
    migrations.upgrade(old)
    with connect_write(old) as connection:
        create_views(connection)
        assert connection.execute(COLUMNS).fetchall() == expected
    assert [sample is None for _, sample, _ in expected] == [False, False, True, True]


def test_the_catalog_has_what_the_files_record(demo, recorded):
    catalog = Catalog(demo.location)
    found = {}
    for row in catalog.sql("SELECT * FROM run_metadata").itertuples():
        found.setdefault((row.proposal, row.data_class, row.run), {})[row.name] = row.value
    assert found == recorded
    with demo.store.read_merged() as cursor:
        columns = "proposal, data_class, run, sample, run_type"
        rows = cursor.execute(f"SELECT {columns} FROM runs").fetchall()
    assert {row[:3]: row[3:] for row in rows} == {
        name: (entries.get("sample"), entries.get("runType")) for name, entries in recorded.items()
    }


@pytest.mark.parametrize(
    ("name", "entry", "glob"),
    [
        ("sample", "sample", "Lysozyme"),
        ("sample", "sample", "*water"),
        ("run_type", "runType", "Test*"),
        ("run_type", "runType", "[!T]*"),
    ],
)
def test_runs_by_what_their_files_record(demo, recorded, name, entry, glob):
    found = Catalog(demo.location).runs(**{name: glob})
    assert set(found[["proposal", "data_class", "run"]].itertuples(index=False, name=None)) == {
        run for run, entries in recorded.items() if fnmatchcase(entries.get(entry, ""), glob)
    }


def test_several_samples(demo):
    catalog = Catalog(demo.location)
    both = catalog.runs(sample=["Lyso*", "Fe*"], data_class="raw")
    assert set(both["sample"]) == {"Lysozyme", "Fe(bpy)3 in water"}
