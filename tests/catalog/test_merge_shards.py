"""The merged database says what the shards say, with RUN values in exact stretches."""

import dataclasses
from itertools import groupby

import duckdb
import numpy as np
import pytest
from support.run_records import identity, make_run
from xfelcat.catalog.model.errors import CatalogWriteError
from xfelcat.catalog.model.identity import RunIdentity, run_ids_of_shard
from xfelcat.catalog.model.records import KeyRecord, KeySchema
from xfelcat.catalog.store import merge
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.connections import POOL, connect_write
from xfelcat.catalog.store.store import Store

# Ordinary values of a view, in any order; train_list and such are numbers within a run.
VIEWS = [
    "runs",
    "run_locations",
    "files",
    "file_changes",
    "run_metadata",
    "run_sources",
    "run_keys",
    "train_ranges",
    "train_flags",
    "run_values",
    "findings",
]


def write(store, *records):
    for shard, of_shard in groupby(records, lambda record: record.identity.shard):
        with store.write(shard) as writer:
            for record in of_shard:
                writer.replace_run(record)


def in_order(rows):
    return sorted(map(repr, rows))  # as text: NaN is not equal to itself


def all_rows(store, view):
    found = []
    for shard in store.shards():
        with store.read(shard) as cursor:
            found += cursor.execute(f"SELECT * FROM {view}").fetchall()
    return in_order(found)


def merged_rows(store, view):
    with store.read_merged() as cursor:
        return in_order(cursor.execute(f"SELECT * FROM {view}").fetchall())


def assert_merged(store):
    assert not store.merged_is_stale()
    for view in VIEWS:
        assert merged_rows(store, view) == all_rows(store, view), view
    assert check(store) == []
    with store.read_merged() as cursor:
        held = dict(cursor.execute("SELECT name, version FROM merged_shard").fetchall())
    assert held == store.shards()


def facility():
    """Runs of three proposals and two classes, with keys that differ between proposals."""
    for proposal, n_keys in ((700, 3), (2012, 3), (9, 5)):
        for number in (1, 2, 4):
            yield make_run(number, proposal, n_keys=n_keys, changing=0.5)
        yield make_run(2, proposal, "proc", n_modules=2, n_aggregators=0)
    loose = RunIdentity(loose_path="/home/someone/odd")
    yield dataclasses.replace(make_run(77, n_control=1), identity=loose)


def test_merged_is_all_the_shards(store):
    write(store, *facility())
    assert store.merged_is_stale()
    told = []
    assert store.publish_merged(lambda done, of: told.append((done, of)))
    assert told == [(n, 4) for n in range(1, 5)]
    assert_merged(store)
    assert not store.publish_merged()
    with store.read_merged() as cursor:
        ids = [i for (i,) in cursor.execute("SELECT run_id FROM run").fetchall()]
    assert ids == sorted(ids)


def test_numbers_of_names_differ_between_files_and_are_mapped(store):
    write(store, make_run(1, 1, n_control=2), make_run(1, 2, n_modules=3, n_aggregators=0))
    write(store, make_run(1, 3, n_modules=5, n_control=1))
    store.publish_merged()
    assert_merged(store)
    with store.read_merged() as cursor:
        numbers = cursor.execute("SELECT source_id FROM source ORDER BY 1").fetchall()
    assert numbers == [(n,) for n in range(len(numbers))]


def test_only_changed_shards_are_read_again(store, monkeypatch):
    write(store, *facility())
    store.publish_merged()
    added = []
    add = merge._add
    monkeypatch.setattr(
        merge, "_add", lambda c, at, name, path: added.append(name) or add(c, at, name, path)
    )
    write(store, make_run(3, 2012, n_control=9, n_keys=4))
    with store.write("p002012") as writer:
        writer.forget_run(identity(4).run_id)
    assert store.publish_merged()
    assert added == ["p002012"]
    assert_merged(store)
    write(store, make_run(8, 700), make_run(8, 9), make_run(8, 2012))
    added.clear()
    assert store.publish_merged()  # most of them changed: made anew, in order
    assert added == list(store.shards())
    assert_merged(store)


def test_a_shard_that_is_gone_is_taken_out(store):
    write(store, *facility())
    store.publish_merged()
    directory = store.versions("p000700").directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    assert store.publish_merged()
    assert_merged(store)
    with store.read_merged() as cursor:
        assert cursor.execute("SELECT count(*) FROM runs WHERE proposal = 700").fetchall() == [(0,)]


def test_reading_publishes_what_is_missing_and_never_waits_for_more(store):
    write(store, make_run(1))
    assert merged_rows(store, "runs") == all_rows(store, "runs")
    write(store, make_run(2))
    assert store.merged_is_stale()
    assert len(merged_rows(store, "runs")) == 1  # as published; refreshing is asked for
    store.publish_merged()
    assert len(merged_rows(store, "runs")) == 2


def test_where_nothing_can_be_written_it_is_merged_in_memory(store, monkeypatch):
    write(store, *facility())

    def refuse(self, progress=None):
        raise CatalogWriteError(str(self.location), "read-only file system")

    monkeypatch.setattr(Store, "publish_merged", refuse)
    for view in VIEWS:
        assert merged_rows(store, view) == all_rows(store, view)
    assert store.open_merged() is store.open_merged()
    assert not (store.location / "merged").exists()
    write(store, make_run(5))
    assert merged_rows(store, "runs") == all_rows(store, "runs")
    with store.read_merged() as cursor, pytest.raises(duckdb.Error):
        cursor.execute("SELECT * FROM read_text('/etc/hostname')")


def test_a_clash_of_digests_between_shards_is_refused(store):
    one, two = make_run(1, 1), make_run(1, 2)
    write(store, one, two)
    versions = store.versions("p000002")
    with versions.lock(), versions.draft() as draft:
        with connect_write(draft) as connection:
            connection.execute("UPDATE schema_key SET dtype = '<f2' WHERE position = 0")
        versions.publish(draft)
    with pytest.raises(CatalogWriteError, match="digest"):
        store.publish_merged()


def test_what_only_opening_needs_stays_in_the_shards(store):
    write(store, make_run(1))
    store.publish_merged()
    with store.read_merged() as cursor:
        for table in ("timestamps", "run_packed"):
            assert cursor.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
        for column in ("timestamps", "run_sources"):
            assert cursor.execute(f"SELECT count({column}) FROM file").fetchall() == [(0,)]
        packed = cursor.execute("SELECT count(*) > 0, count(packed) FROM key_schema").fetchall()
    assert packed == [(True, 0)]


def test_stretches_end_where_the_value_changes_or_a_run_lacks_it(store):
    def with_values(number, values, data_class="raw"):
        run = make_run(number, 5, data_class, n_aggregators=1, n_modules=0, n_sequences=1)
        file = dataclasses.replace(run.files[0], run_values={"A": values} if values else {})
        return dataclasses.replace(run, files=(file,))

    said = {1: 0.5, 2: 0.5, 5: 0.5, 6: 0.25, 7: None, 8: 0.25, 9: 0.25}
    runs = [
        with_values(number, {} if value is None else {"v": np.float64(value)})
        for number, value in said.items()
    ]
    write(store, *runs, with_values(3, {"v": np.float64(0.5)}, "proc"))
    store.publish_merged()
    with store.read_merged() as cursor:
        found = cursor.execute(
            "SELECT (first_run & 1048575)::INTEGER, (last_run & 1048575)::INTEGER, number"
            " FROM run_value ORDER BY first_run"
        ).fetchall()
    # Runs 3 and 4 do not exist: 2 and 5 are neighbours. 7 exists, and lacks the value.
    assert found == [(1, 5, 0.5), (6, 6, 0.25), (8, 9, 0.25), (3, 3, 0.5)]
    assert_merged(store)


def test_a_key_schema_shared_by_shards_is_one(store):
    schema = KeySchema((KeyRecord("k.value", "", "<f8", (), "V", "volt"),))
    for proposal in (1, 2):
        run = make_run(1, proposal, n_aggregators=1, n_modules=0, n_control=1)
        file = run.files[0]
        layout = dataclasses.replace(file.layout, schemas=(schema,))
        write(store, dataclasses.replace(run, files=(dataclasses.replace(file, layout=layout),)))
    store.publish_merged()
    with store.read_merged() as cursor:
        assert cursor.execute("SELECT count(*) FROM key_schema").fetchall() == [(1,)]
        assert cursor.execute("SELECT key, unit, runs FROM keys").fetchall() == [
            ("k.value", "V", 2)
        ]
        assert cursor.execute("SELECT source, runs FROM sources").fetchall() == [
            ("DA00/MOTOR/M000", 2)
        ]


def test_runs_of_a_shard_are_told_by_their_numbers():
    first, last = run_ids_of_shard("p002012")
    for number, data_class in ((0, "raw"), ((1 << 20) - 1, "a/strange/one"), (7, "proc")):
        assert first <= RunIdentity(2012, number, data_class).run_id <= last
    assert not first <= identity(1, 2013).run_id <= last
    assert not first <= identity(1, 2011, "zzz").run_id <= last
    loose = RunIdentity(loose_path="/somewhere")
    assert run_ids_of_shard(loose.shard) == (loose.run_id, loose.run_id)


def test_closing_the_pool_closes_the_merged_database(store):
    write(store, make_run(1))
    store.publish_merged()
    before = store.open_merged()
    POOL.close()
    assert store.open_merged() is not before
