"""Connections to published files; compacting, checking and upgrading a store."""

import os
import pickle
import subprocess
import sys
import threading
from itertools import pairwise

import duckdb
import numpy as np
import pytest
from support.examples import some
from support.next_revision import become_next_version
from support.run_records import assert_same_run, later, make_run, write
from xfelcat.catalog.model.errors import CatalogWriteError
from xfelcat.catalog.store import connections
from xfelcat.catalog.store.care import check, compact, shard_states, upgrade_shards
from xfelcat.catalog.store.connections import POOL, ConnectionPool, OpenDatabase
from xfelcat.catalog.store.packing import fetch_packed, pack_run
from xfelcat.catalog.store.read import load_run
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.versions import SCHEMA_VERSION, Versions

SHARD = "p002012"
PACKED = ("files", "trains", "slots", "patterns")
SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}


def run_numbers(store, shard=SHARD):
    with store.read(shard) as cursor:
        return [n for (n,) in cursor.execute("SELECT run FROM runs ORDER BY run").fetchall()]


def test_readers_can_change_nothing_and_reach_nothing_else(store, tmp_path):
    write(store, make_run(1, **SMALL))
    (tmp_path / "other.csv").write_text("a\n1\n")
    with store.read(SHARD) as cursor:
        for statement in (
            "DELETE FROM run",
            "CREATE TABLE xfelcat.t (a INTEGER)",
            f"SELECT * FROM read_csv('{tmp_path}/other.csv')",
            f"ATTACH '{tmp_path}/new.duckdb'",
            f"COPY run TO '{tmp_path}/out.csv'",
            "SET enable_external_access = true",
            "SET memory_limit = '1GB'",
        ):
            with pytest.raises(duckdb.Error):
                cursor.execute(statement)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["catalog", "other.csv"]


def test_each_thread_has_its_cursor(store):
    write(store, *(make_run(number, **SMALL) for number in range(1, 30)))
    file = store.open_shard(SHARD)
    wrong = []

    def ask(number):
        for _ in range(50):
            found = file.cursor().execute(f"SELECT run FROM runs WHERE run = {number}").fetchall()
            if found != [(number,)]:
                wrong.append((number, found))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert file.cursor() is file.cursor()


def test_the_pool_is_bounded_closable_and_opens_once(store, monkeypatch):
    opened = []
    connect = connections.connect_read
    monkeypatch.setattr(
        connections, "connect_read", lambda p, **kw: opened.append(p) or connect(p, **kw)
    )
    for proposal in (1, 2, 3):
        write(store, make_run(1, proposal, **SMALL))
    paths = [store.versions(f"p{p:06d}").current() for p in (1, 2, 3)]
    pool = ConnectionPool(limit=2)
    for path in (paths[0], paths[1], paths[0], paths[2], paths[0], paths[1]):
        found = pool.open(path, lambda path=path: OpenDatabase.at(path))
        assert len(found.cursor().execute("SELECT * FROM run").fetchall()) == 1
    assert opened == [paths[0], paths[1], paths[2], paths[1]]
    pool.close()
    pool.open(paths[0], lambda: OpenDatabase.at(paths[0]))
    assert opened[-1] == paths[0]
    pool.close()


FORK = """
import os, sys
from xfelcat.catalog.store.connections import ConnectionPool, OpenDatabase
from xfelcat.catalog.store.store import Store
store = Store(sys.argv[1])
def ask():
    with store.read_merged() as merged, store.read("p002012") as shard:
        return [c.execute("SELECT run FROM runs").fetchall() for c in (merged, shard)]
expected = ask()
evicted = store.open_shard("p002012")
own = evicted.new_cursor()
child = os.fork()
if child == 0:
    assert sys.argv[2] == "idle" or ask() == expected
    sys.exit(0)  # the whole way out, destructors included
_, status = os.waitpid(child, 0)
assert status == 0, status
assert ask() == expected
"""


@pytest.mark.parametrize("what", ["idle", "asking"])
def test_a_forked_child_ends_in_peace(store, what):
    write(store, make_run(1, **SMALL))
    store.publish_merged()
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(store.location), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    # DuckDB 2 reports what was left alone there as the child ends: noise, better than a crash.
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_for_itself(store):
    write(store, make_run(1, **SMALL))
    assert run_numbers(store) == [1]
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, repr(run_numbers(store)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        assert answer.read() == "[1]"
    assert os.waitpid(child, 0)[1] == 0
    assert run_numbers(store) == [1]


def test_a_store_pickles_and_compares_by_its_location(store):
    assert pickle.loads(pickle.dumps(store)) == store
    assert len({store, Store(str(store.location))}) == 1


def test_shards_are_listed_in_the_order_of_their_runs(store):
    for proposal in (90_000, 7, 2012):
        write(store, make_run(1, proposal, **SMALL))
    assert list(store.shards()) == ["p000007", "p002012", "p090000"]


def test_compacting_keeps_everything_and_drops_what_is_unused(store):
    records = [make_run(n, n_sequences=2, changing=0.5) for n in (1, 2, 3)]
    odd = make_run(9, n_control=7, n_keys=9)  # its schemas and sources are nobody else's
    write(store, records[2], records[0], odd, records[1])
    with store.write(SHARD) as writer:
        writer.forget_run(odd.identity.run_id)
    told = []
    compact(store, lambda done, of: told.append((done, of)))
    assert told == [(1, 1)]
    assert check(store) == []
    with store.read(SHARD) as cursor:
        assert [n for (n,) in cursor.execute("SELECT run FROM run").fetchall()] == [1, 2, 3]
        names = {n for (n,) in cursor.execute("SELECT name FROM source").fetchall()}
        assert names == {s.name for f in records[0].files for s in f.layout.sources}
        assert cursor.execute("SELECT count(*) FROM key_schema").fetchall() == [(2,)]
        for record in records:
            assert_same_run(load_run(cursor, record.identity.run_id), record)
    write(store, odd)  # numbers given out again are new ones
    assert check(store) == []
    with store.read(SHARD) as cursor:
        assert_same_run(load_run(cursor, odd.identity.run_id), odd)


DAMAGES = (
    ("INSERT INTO run SELECT * FROM run", "runs that are there more than once"),
    ("DELETE FROM train_list", "files without their train list"),
    ("DELETE FROM timestamps", "files without their timestamps"),
    ("DELETE FROM layout", "files without their layout"),
    ("DELETE FROM layout_source WHERE position = 0", "layouts whose number of sources"),
    ("DELETE FROM schema_key WHERE position = 0", "key schemas whose number of keys"),
    ("DELETE FROM key WHERE key_id = 0", "numbers of keys that have no name"),
    ("DELETE FROM source WHERE source_id = 0", "numbers of sources that have no name"),
    ("DELETE FROM run", "rows of runs that do not exist"),
    ("DELETE FROM file WHERE ordinal = 0", "runs whose number of files"),
    ("UPDATE key SET name = 'same'", "names, schemas and layouts that are there more than"),
    ("INSERT INTO run_value SELECT * FROM run_value", "RUN values that are there more than"),
    ("UPDATE run_value SET last_run = last_run + (1::UBIGINT << 20)", "RUN values of runs of"),
    ("DELETE FROM run_packed", "1 runs without their packed row"),
    ("INSERT INTO run_packed SELECT * FROM run_packed", "1 runs with more than one packed row"),
    ("UPDATE run_packed SET run_id = run_id + 1", "rows of runs that do not exist"),
    ("UPDATE key_schema SET packed = NULL", "2 key schemas that are packed otherwise"),
    ("UPDATE key_schema SET packed = packed[:-2]", "2 key schemas that are packed otherwise"),
    ("UPDATE key_schema SET packed = (SELECT max(packed) FROM key_schema)", "1 key schemas"),
)


@pytest.mark.parametrize("damage", some(DAMAGES, 7), ids=lambda damage: damage[0])
def test_damage_is_found(two_proposals, damage):
    statement, told = damage
    store = two_proposals
    do_damage(store, statement)
    assert any(told in fault for fault in check(store))


def do_damage(store, statement, values=()):
    versions = store.versions(SHARD)
    with versions.lock(), versions.draft() as draft:
        with connections.connect_write(draft) as connection:
            connection.execute(statement, list(values))
        versions.publish(draft)


PACKED_OTHERWISE = (
    *(f"UPDATE run_packed SET {c} = NULL" for c in PACKED),
    *(f"UPDATE run_packed SET {c} = ''" for c in PACKED),
    *(f"UPDATE run_packed SET {c} = unhex('FF' || hex({c})[3:])" for c in PACKED),
    *(f"UPDATE run_packed SET {c} = {c}[:-40]" for c in PACKED),
    *(f"UPDATE run_packed SET {c} = {d}" for c, d in pairwise(PACKED)),
    "UPDATE run_packed SET patterns = '\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00'::BLOB",
    "UPDATE file SET name = name || '5' WHERE ordinal = 8",
    "UPDATE file SET size = size + 1 WHERE ordinal = 4",
    "UPDATE file SET mtime_ns = mtime_ns - 1 WHERE ordinal = 0",
    "UPDATE file SET depth = 2 WHERE ordinal = 1",
    "UPDATE file SET missing_since = scanned_at WHERE ordinal = 2",
    "UPDATE file SET train_list = 2 - train_list",
    "UPDATE file SET layout_id = 0",
    "UPDATE layout_source SET index_groups = ['image', 'more'] WHERE section = 'INSTRUMENT'",
    "UPDATE train_list SET starts = [starts[1] + 1] WHERE ordinal = 1",
    "UPDATE train_list SET lengths = [lengths[1] + 1] WHERE ordinal = 1",
    "UPDATE train_list SET suspect = [1] WHERE ordinal = 1",
    "UPDATE train_list SET dropped = [1] WHERE ordinal = 1",
    "DELETE FROM train_list WHERE ordinal = 2",
)


@pytest.mark.parametrize("damage", some(PACKED_OTHERWISE, 8))
def test_what_is_packed_must_be_what_the_rows_say(two_proposals, damage):
    store = two_proposals
    do_damage(store, damage)
    assert f"shard {SHARD}: 1 runs that are packed otherwise" in check(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda slots, n: [*slots[:-1], slots[-1][:-1]],  # a slot of the last file
        lambda slots, n: slots[:-1],
        lambda slots, n: [*slots[:-1], slots[-1] + n],
        lambda slots, n: [*slots[:-1], slots[-1] - n],
    ],
)
def test_slots_that_name_no_pattern_are_found(two_proposals, change):
    store = two_proposals
    run_id = make_run(1).identity.run_id
    with store.read(SHARD) as cursor:
        files, trains, index = fetch_packed(cursor, run_id)
    slots = [np.array(index.numbers(n)) for n in range(len(files.names))]
    patterns = index.by_number()

    def repack(slots):
        _, *columns = pack_run(run_id, files, trains, slots, patterns)
        settings = ", ".join(f"{c} = ${n}" for n, c in enumerate(PACKED, 1))
        do_damage(store, f"UPDATE run_packed SET {settings}", columns)
        return check(store)

    assert repack(slots) == []
    assert repack(change(slots, len(patterns))) == [
        f"shard {SHARD}: 1 runs that are packed otherwise"
    ]


def publish_as(store, schema_version):
    """Publish an empty file, as some other schema version would have it."""
    versions = Versions(store.versions(SHARD).directory, schema_version)
    with versions.lock(), versions.draft() as draft:
        with connections.connect_write(draft):
            pass
        return versions.publish(draft)


def test_an_older_schema_version_is_upgraded_on_request(store, tmp_path, monkeypatch):
    old = publish_as(store, SCHEMA_VERSION)
    newer = become_next_version(monkeypatch, tmp_path)
    assert not store.exists()
    assert [(s.shard, s.can_be_upgraded) for s in shard_states(store)] == [(SHARD, True)]
    assert upgrade_shards(store) == [SHARD]
    assert old.exists()  # older clients go on reading it
    assert [s.schema_versions for s in shard_states(store)] == [(SCHEMA_VERSION, newer)]
    assert upgrade_shards(store) == []
    write(store, make_run(1, **SMALL))
    assert run_numbers(store) == [1]


def test_writing_upgrades_what_is_older(store, tmp_path, monkeypatch):
    publish_as(store, SCHEMA_VERSION)
    newer = become_next_version(monkeypatch, tmp_path)
    write(store, make_run(1, **SMALL))
    assert run_numbers(store) == [1]
    with store.read(SHARD) as cursor:
        found = cursor.execute("SELECT kind, name, schema_version FROM catalog_info").fetchall()
    assert found == [("shard", SHARD, newer)]


def test_a_newer_schema_version_locks_no_reader_out(store):
    """What an older client wrote beside it, the newer one would never show."""
    write(store, make_run(1, **SMALL))
    newer = publish_as(store, SCHEMA_VERSION + 1)
    with pytest.raises(CatalogWriteError, match=f"is of schema version {SCHEMA_VERSION + 1}"):
        write(store, make_run(2, moment=later(1), **SMALL))
    assert run_numbers(store) == [1]
    assert newer.exists()
    assert shard_states(store)[0].schema_versions == (SCHEMA_VERSION, SCHEMA_VERSION + 1)


def test_the_process_has_one_pool(store):
    write(store, make_run(1, **SMALL))
    POOL.close()
    assert store.open_shard(SHARD) is store.open_shard(SHARD)


def test_where_duckdb_has_no_core_all_of_it_is_taken(monkeypatch):
    monkeypatch.delitem(sys.modules, "duckdb")
    asked = []

    def import_module(name):
        asked.append(name)
        if name == "_duckdb":
            raise ImportError(name)
        return duckdb

    monkeypatch.setattr(connections.importlib, "import_module", import_module)
    assert connections._driver(plain=True) is duckdb
    assert asked == ["_duckdb", "duckdb"]
    assert connections._driver() is duckdb
