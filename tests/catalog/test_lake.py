"""The merged database as a lake: what differs from a file. `make test-lake` runs it, and the suites
of questions, audits and the report on lakes."""

import os
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from support.run_records import later, make_run, write
from xfelcat import Catalog
from xfelcat.catalog.model.errors import (
    CatalogReadError,
    CatalogWriteError,
    ConfigError,
    QueryError,
)
from xfelcat.catalog.store import lake as lakes
from xfelcat.catalog.store import merge
from xfelcat.catalog.store.care import check, compact, maintain
from xfelcat.catalog.store.connections import POOL
from xfelcat.catalog.store.lake import FrozenLake, ServedLake
from xfelcat.catalog.store.merged import MergedFile
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.versions import Versions

SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}


@pytest.fixture(params=["file", "server"])
def lake(request, store, monkeypatch):
    """A store whose merged database is a lake; the test asks it for ``store.merged``."""
    pytest.importorskip("duckdb_extension_ducklake", reason="`make test-lake` has the extension")
    metadata = "lake/meta.ducklake"
    if request.param == "server":
        metadata = f"postgres:{request.getfixturevalue('server')}"
    monkeypatch.setenv("XFELCAT_MERGED", f"ducklake:{metadata}")
    assert isinstance(store.merged, FrozenLake if request.param == "file" else ServedLake)
    return store


def publish(store, *records):
    for record in records:
        write(store, record)
    assert store.publish_merged()
    assert not store.merged_is_stale()


def trains(store):
    frame = Catalog(store.location, at=store.at).runs()
    return dict(zip(frame["run"], frame["trains"], strict=True))


def now():
    return datetime.now(UTC).replace(tzinfo=None)


def parquet_files(store):
    return set(store.location.rglob("*.parquet"))


def test_as_of_a_snapshot(lake, monkeypatch):
    monkeypatch.setenv("XFELCAT_KEEP", "14d")
    before = now()
    publish(lake, make_run(1, **SMALL), make_run(2, 2013, **SMALL))
    cursor = lake.open_merged().cursor()
    times = [now()]
    publish(lake, make_run(3, **SMALL))
    times.append(now())
    publish(lake, make_run(1, n_trains=5, moment=later(1), **SMALL))
    expected = [{1: 10, 2: 10}, {1: 10, 2: 10, 3: 10}]
    for at, runs in zip(times, expected, strict=True):
        then = Store(lake.location, at)
        assert then.merged.open() is not None  # not made of shards that are kept
        assert trains(then) == runs
    assert trains(lake) == {1: 5, 2: 10, 3: 10}
    assert Store(lake.location, before).merged.open() is None
    # Who had it open sees what there was.
    assert cursor.execute("SELECT run FROM runs ORDER BY run").fetchall() == [(1,), (2,)]
    assert check(lake) == []


def test_a_new_lake_is_one_file_per_table_and_one_snapshot(lake):
    many = {**SMALL, "n_control": 12}
    publish(lake, *(make_run(1, proposal, **many) for proposal in (900, 901, 902)))
    assert [each.number for each in lake.merged.published()] == [1]
    tables = [path.parent.name for path in parquet_files(lake)]
    assert len(tables) == len(set(tables)) > 2
    publish(lake, make_run(2, 901, **SMALL))
    assert [each.number for each in lake.merged.published()] == [1, 2]
    assert {1: 10, 2: 10}.items() <= trains(lake).items()


def test_a_lake_whose_files_are_gone_is_made_anew(lake):
    many = {**SMALL, "n_control": 12}
    publish(lake, *(make_run(n, proposal, **many) for proposal in (900, 901) for n in range(1, 9)))
    expected = trains(lake)
    assert parquet_files(lake)
    for path in parquet_files(lake):
        path.unlink()
    POOL.close()
    assert lake.merged.open() is None
    assert lake.merged_is_stale()
    assert trains(lake) == expected  # published for the first who asks
    assert not lake.merged_is_stale()
    assert check(lake) == []
    publish(lake, make_run(9, 901, **SMALL))
    assert trains(lake) == expected | {9: 10}


def test_maintenance_leaves_what_the_kept_snapshots_have(lake, monkeypatch):
    big = {**SMALL, "n_control": 12}
    publish(lake, make_run(1, **big), make_run(2, 2013, **big), make_run(3, 2014, **big))
    publish(lake, make_run(1, n_trains=5, moment=later(1), **big))
    publish(lake, make_run(1, n_trains=6, moment=later(2), **big))
    answers = trains(lake)
    kept, freed = maintain(lake)
    merged = {k.kind: k for k in kept}["merged"]
    assert freed == 0
    assert merged.versions >= 3
    assert merged.current
    assert merged.before
    orphan = next(iter(parquet_files(lake))).with_name("ducklake-of-a-writer-that-died.parquet")
    orphan.write_bytes(b"PAR1")
    monkeypatch.setattr(lakes, "_GRACE", timedelta(seconds=-60))
    for _ in range(2):  # what the first takes from the lake, the second deletes
        kept, freed = maintain(lake)
    assert len(lake.merged.published()) == 2
    assert not orphan.exists()
    assert trains(lake) == answers == {1: 6, 2: 10, 3: 10}
    compact(lake)  # every shard has a new version: the lake is made anew
    assert trains(lake) == answers
    assert check(lake) == []


def test_a_writer_that_fails_changes_nothing(lake, monkeypatch):
    publish(lake, *(make_run(1, proposal, **SMALL) for proposal in (900, 901, 902)))
    published = lake.merged.published()
    write(lake, make_run(2, 901, **SMALL))

    def fail(*_):
        raise OSError("the node is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Versions, "check_lock", fail)
        with pytest.raises(OSError, match="the node is gone"):
            lake.publish_merged()
    assert lake.merged.published() == published
    assert lake.merged_is_stale()
    assert lake.publish_merged()
    assert check(lake) == []


@contextmanager
def no_lock(versions, *, wait=True):
    versions.directory.mkdir(parents=True, exist_ok=True)
    yield


@pytest.mark.parametrize("is_locked", [True, False])
def test_two_writers_never_write_a_row_twice(lake, monkeypatch, is_locked):
    """Both add the same new proposal; without the lock each adds its rows, or one fails."""
    publish(lake, *(make_run(1, proposal, n_control=2) for proposal in (900, 901, 902)))
    write(lake, make_run(1, 903, n_control=4))
    if not is_locked:
        monkeypatch.setattr(Versions, "lock", no_lock)
    both_there = threading.Barrier(2)
    merge_shards = merge.merge_shards

    def at_the_same_time(*args, **options):
        if not is_locked:
            both_there.wait(600)
        merge_shards(*args, **options)
        if not is_locked:
            both_there.wait(600)

    monkeypatch.setattr(lakes, "merge_shards", at_the_same_time)
    errors = []

    def run():
        try:
            Store(lake.location).publish_merged()
        except Exception as error:  # noqa: BLE001 - without a lock, anything
            both_there.abort()
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faults = check(lake)
    assert (not errors and not faults) == is_locked, (errors, faults)
    if is_locked:
        assert [each.number for each in lake.merged.published()] == [1, 2]


def test_files_are_on_the_disk_before_they_are_published(lake, monkeypatch):
    synced = set()
    sync = lakes.sync
    monkeypatch.setattr(lakes, "sync", lambda path: synced.add(path) or sync(path))

    def check_files():
        assert parquet_files(lake) <= synced

    monkeypatch.setattr(Versions, "check_lock", lambda _: check_files())
    lake.location.mkdir(mode=0o775, exist_ok=True)
    lake.location.chmod(0o775)
    publish(lake, make_run(1, **SMALL))
    publish(lake, make_run(2, **{**SMALL, "n_control": 12}))
    assert parquet_files(lake)
    folders = {path.parent for path in parquet_files(lake)}
    assert all(folder.stat().st_mode & 0o070 == 0o070 for folder in folders)


def test_sql_reads_the_lake_and_nothing_else(lake, tmp_path):
    publish(lake, make_run(1, **SMALL))
    catalog = Catalog(lake.location)
    (tmp_path / "secret.csv").write_text("word\nswordfish\n")
    with pytest.raises(QueryError, match="no other file"):
        catalog.sql(f"SELECT * FROM '{tmp_path}/secret.csv'")
    inside = f"{lake.merged._files}/x.parquet"
    with pytest.raises(QueryError, match="COPY is refused"):
        catalog.sql(f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{inside}'")
    assert not os.path.exists(inside)
    assert len(catalog.sql("EXPLAIN SELECT 'copy' AS \"copy\" FROM runs"))
    with pytest.raises(QueryError, match="no column 'source'; 'source' is one of sources, keys, "):
        catalog.sql("SELECT source FROM runs")


def test_nothing_is_written_to_the_home(lake, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    publish(lake, make_run(1, **SMALL))
    assert trains(lake) == {1: 10}
    assert list(home.iterdir()) == []


def test_a_file_of_metadata_has_a_name_for_other_programs(lake, tmp_path):
    if isinstance(lake.merged, ServedLake):
        pytest.skip("its metadata are no file")
    import duckdb

    publish(lake, make_run(1, **SMALL))
    publish(lake, make_run(2, **SMALL))
    path = lake.location / "lake" / "meta.ducklake"
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{lakes._extension('ducklake')}'")
        connection.execute(f"ATTACH 'ducklake:{path}' AS lake (READ_ONLY)")
        assert connection.execute("SELECT run FROM lake.runs").fetchall() == [(1,), (2,)]
    path.unlink()
    path.write_text("of someone else")
    write(lake, make_run(3, **SMALL))
    with pytest.raises(CatalogWriteError, match=r"meta\.ducklake.* is no link"):
        lake.publish_merged()
    assert path.read_text() == "of someone else"


def test_which_catalog_a_lake_is_of(store, monkeypatch, tmp_path):
    monkeypatch.setenv("XFELCAT_MERGED", f"ducklake:{tmp_path}/meta.ducklake")
    assert isinstance(store.merged, MergedFile)  # of a catalog that the settings do not name
    monkeypatch.setenv("XFELCAT_CATALOG", str(store.location))
    assert str(store.merged) == f"{tmp_path}/meta.ducklake"
    monkeypatch.setenv("XFELCAT_MERGED", "ducklake:postgres:dbname=lake")
    schema = str(store.merged)
    assert str(Store(tmp_path / "other").merged) != schema == str(Store(store.location).merged)
    for wrong in ("lake/meta.ducklake", "ducklake:", "ducklake:lake/", "ducklake:postgres:"):
        monkeypatch.setenv("XFELCAT_MERGED", wrong)
        with pytest.raises(ConfigError, match="must be ducklake:PATH or ducklake:postgres:DSN"):
            _ = store.merged


def test_what_a_lake_needs_is_named(store, monkeypatch):
    write(store, make_run(1, **SMALL))
    monkeypatch.setattr(lakes, "find_spec", lambda name: None)
    monkeypatch.setenv("XFELCAT_MERGED", "ducklake:lake/meta.ducklake")
    with pytest.raises(ConfigError, match=r"no extension ducklake for DuckDB .* 'xfelcat\[lake\]'"):
        store.publish_merged()
    monkeypatch.setenv("XFELCAT_MERGED", "ducklake:postgres:dbname=lake")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"setting merged asks for PostgreSQL.*psycopg"):
        store.publish_merged()


def test_a_server_that_is_not_there(lake, monkeypatch):
    if isinstance(lake.merged, FrozenLake):
        pytest.skip("it has no server")
    publish(lake, make_run(1, **SMALL))
    monkeypatch.setenv("XFELCAT_MERGED", "ducklake:postgres:host=/nowhere dbname=lake")
    with pytest.raises(CatalogReadError, match=r"schema xfelcat_v\d+_\w+.*connection"):
        trains(lake)
