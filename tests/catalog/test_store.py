"""Versions, locks, rights and crashes of the store, and who sees what."""

import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from runrecords import assert_same_run, identity, later, make_run
from xfelcat.catalog import connections
from xfelcat.catalog.connections import POOL, ConnectionPool, OpenFile
from xfelcat.catalog.errors import (
    CatalogBusyError,
    CatalogNotFoundError,
    CatalogReadError,
    CatalogWriteError,
)
from xfelcat.catalog.publish import Versions, make_directory
from xfelcat.catalog.reload import load_run
from xfelcat.catalog.store import Store
from xfelcat.catalog.upgrade import shard_states, upgrade_shards

SHARD = "p002012"
SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "catalog")


def write(store, *records):
    with store.write(records[0].identity.shard) as writer:
        for record in records:
            writer.replace_run(record)


def run_numbers(store, shard=SHARD):
    with store.read(shard) as cursor:
        return [n for (n,) in cursor.execute("SELECT run FROM runs ORDER BY run").fetchall()]


def files_of(store, shard=SHARD):
    return sorted(p.name for p in store.versions(shard).directory.iterdir())


def test_a_store_that_does_not_exist_reads_as_empty(store):
    assert not store.exists()
    assert store.shards() == {}
    with store.read(SHARD) as cursor:
        assert cursor is None
    with pytest.raises(CatalogNotFoundError), store.read_merged():
        pass
    assert not store.location.exists()


def test_versions_are_published_read_only_and_two_are_kept(store):
    for number in range(1, 5):
        write(store, make_run(number, **SMALL))
    names = files_of(store)
    versions = [n for n in names if n.startswith("v1.")]
    assert [n.split("-")[0] for n in versions] == ["v1.00000003", "v1.00000004"]
    assert names == sorted([*versions, "current-v1", "lock"])
    directory = store.versions(SHARD).directory
    assert {stat.S_IMODE((directory / v).stat().st_mode) for v in versions} == {0o444}
    assert os.readlink(directory / "current-v1") == versions[-1] == store.shards()[SHARD]
    assert run_numbers(store) == [1, 2, 3, 4]


def test_nothing_changed_publishes_nothing(store):
    write(store, make_run(1, **SMALL))
    before = files_of(store)
    with store.write(SHARD) as writer:
        assert writer.load_run(identity(1).run_id) is not None
        assert not writer.forget_run(identity(7).run_id)
    assert files_of(store) == before
    with store.write("p000700"):
        pass
    assert store.shards().keys() == {SHARD}


def test_an_error_in_a_batch_publishes_nothing(store):
    write(store, make_run(1, **SMALL))
    before = files_of(store)
    with pytest.raises(AttributeError):
        write(store, make_run(2, **SMALL), "not a record")
    assert files_of(store) == before
    assert run_numbers(store) == [1]


def test_an_error_of_the_caller_stays_what_it_is(store):
    def refuse():
        with store.write(SHARD):
            raise PermissionError(13, "a data file")

    with pytest.raises(PermissionError) as caught:
        refuse()
    assert not isinstance(caught.value, CatalogWriteError)
    assert store.shards() == {}


def test_a_full_disk_is_a_clear_error(store, monkeypatch):
    write(store, make_run(1, **SMALL))

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("xfelcat.catalog.publish._sync", full)
    with pytest.raises(CatalogWriteError, match="No space left on device"):
        write(store, make_run(2, **SMALL))
    assert run_numbers(store) == [1]


def test_a_second_writer_waits_or_says_busy(store):
    write(store, make_run(1, **SMALL))
    with store.write(SHARD) as writer:
        with (
            pytest.raises(CatalogBusyError, match="another writer"),
            store.write(SHARD, wait=False),
        ):
            pytest.fail("two writers at once")
        writer.replace_run(make_run(2, **SMALL))
        waiting = threading.Thread(target=write, args=(store, make_run(3, **SMALL)))
        waiting.start()
        assert run_numbers(store) == [1]  # a reader waits for nobody
        time.sleep(0.05)
        assert waiting.is_alive()
    waiting.join()
    assert run_numbers(store) == [1, 2, 3]


def test_many_writers_lose_no_update(store):
    numbers = range(1, 9)
    threads = [
        threading.Thread(target=write, args=(store, make_run(number, **SMALL)))
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run_numbers(store) == list(numbers)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from runrecords import make_run
from xfelcat.catalog.store import Store
store = Store(sys.argv[1])
for number in range(int(sys.argv[3]), 10_000):
    with store.write("p002012") as writer:
        # Two runs that belong together: half a batch would show.
        writer.replace_run(make_run(2 * number, n_aggregators=2, n_modules=2))
        writer.replace_run(make_run(2 * number + 1, n_aggregators=2, n_modules=2))
    print(number, flush=True)
"""


def start_writer(store, first):
    tests = os.path.join(os.path.dirname(__file__), os.pardir)
    command = [sys.executable, "-c", WRITER, str(store.location), tests, str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_lose_no_update(store):
    writers = [start_writer(store, first) for first in (1, 1000)]
    written = []
    for writer in writers:
        for _ in range(3):
            written.append(int(writer.stdout.readline()))
    for writer in writers:
        writer.kill()
        rest, _ = writer.communicate()
        written += [int(line) for line in rest.split()]
    found = set(run_numbers(store))
    assert {n for w in written for n in (2 * w, 2 * w + 1)} <= found


def test_killing_a_writer_at_any_moment_leaves_a_complete_shard(store):
    first = 1
    for attempt in range(6):
        with start_writer(store, first) as writer:
            done = int(writer.stdout.readline())
            time.sleep(0.013 * attempt)
            writer.send_signal(signal.SIGKILL)
            done = max([done, *map(int, writer.stdout.read().split())])
        found = run_numbers(store)
        # Whole batches only, nothing that was reported is lost, and at most one more was published.
        assert len(found) % 2 == 0
        assert len(found) in (2 * done, 2 * done + 2)
        assert store.check() == []
        with store.read(SHARD) as cursor:
            last = found[-1]
            read = load_run(cursor, identity(last).run_id)
        assert_same_run(read, make_run(last, n_aggregators=2, n_modules=2))
        first = len(found) // 2 + 1
    write(store, make_run(9999, **SMALL))  # the lock died with its holder
    assert not [n for n in files_of(store) if n.startswith(".")]


def test_a_crash_between_naming_and_linking_is_harmless(store, monkeypatch):
    write(store, make_run(1, **SMALL))
    with monkeypatch.context() as patch:
        patch.setattr(
            "pathlib.Path.symlink_to", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            write(store, make_run(2, **SMALL))
    assert run_numbers(store) == [1]
    orphan = next(n for n in files_of(store) if n.startswith("v1.00000002"))
    write(store, make_run(3, **SMALL))
    assert run_numbers(store) == [1, 3]
    assert orphan not in files_of(store)
    assert store.shards()[SHARD].startswith("v1.00000003-")


def test_readers_keep_what_they_opened(store):
    write(store, make_run(1, **SMALL))
    with store.read(SHARD) as cursor:
        for number in (2, 3, 4):
            write(store, make_run(number, **SMALL))
        assert cursor.execute("SELECT run FROM runs").fetchall() == [(1,)]
    assert run_numbers(store) == [1, 2, 3, 4]


def test_a_version_that_vanishes_is_looked_for_again(store, monkeypatch):
    write(store, make_run(1, **SMALL))
    old = store.versions(SHARD).current()
    for number in (2, 3, 4):
        write(store, make_run(number, **SMALL))
    current = Versions.current
    answers = iter([old, old])
    monkeypatch.setattr(Versions, "current", lambda self: next(answers, None) or current(self))
    assert run_numbers(store) == [1, 2, 3, 4]


def test_a_damaged_file_is_a_clear_error(store):
    write(store, make_run(1, **SMALL))
    path = store.versions(SHARD).current()
    path.chmod(0o644)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(CatalogReadError, match=path.name), store.read(SHARD):
        pass


def test_a_location_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CatalogWriteError, match="cannot be written"):
        write(Store(tmp_path / "file" / "catalog"), make_run(1, **SMALL))


def test_shards_of_others_that_may_not_be_read_are_not_there(store, monkeypatch):
    write(store, make_run(1, 7, **SMALL))
    write(store, make_run(1, **SMALL))
    readlink = os.readlink

    def refuse(path, **kw):
        if "p000007" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return readlink(path, **kw)

    monkeypatch.setattr(os, "readlink", refuse)
    assert list(store.shards()) == [SHARD]
    store.publish_merged()
    with store.read_merged() as cursor:
        assert cursor.execute("SELECT proposal FROM runs").fetchall() == [(2012,)]


@pytest.mark.parametrize(("parent", "made"), [(0o2775, 0o2775), (0o755, 0o755), (0o770, 0o775)])
def test_directories_have_the_group_rights_of_their_parent(tmp_path, parent, made):
    old = os.umask(0o022)
    try:
        top = tmp_path / "top"
        top.mkdir()
        top.chmod(parent)
        make_directory(top / "a" / "b")
        for path in (top / "a", top / "a" / "b"):
            assert stat.S_IMODE(path.stat().st_mode) == made
    finally:
        os.umask(old)


def test_the_lock_can_be_taken_by_the_group_where_the_directory_can(tmp_path):
    tmp_path.chmod(0o2770)
    store = Store(tmp_path / "catalog")
    write(store, make_run(1, **SMALL))
    mode = (store.versions(SHARD).directory / "lock").stat().st_mode
    assert mode & stat.S_IWGRP
    assert not mode & stat.S_IWOTH


def test_readers_can_change_nothing_and_reach_nothing_else(store, tmp_path):
    import duckdb

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
        found = pool.open(path, lambda path=path: OpenFile.at(path))
        assert len(found.cursor().execute("SELECT * FROM run").fetchall()) == 1
    assert opened == [paths[0], paths[1], paths[2], paths[1]]
    pool.close()
    pool.open(paths[0], lambda: OpenFile.at(paths[0]))
    assert opened[-1] == paths[0]
    pool.close()


FORK = """
import os, sys
from xfelcat.catalog.connections import ConnectionPool, OpenFile
from xfelcat.catalog.store import Store
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
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
    store.compact(lambda done, of: told.append((done, of)))
    assert told == [(1, 1)]
    assert store.check() == []
    with store.read(SHARD) as cursor:
        assert [n for (n,) in cursor.execute("SELECT run FROM run").fetchall()] == [1, 2, 3]
        names = {n for (n,) in cursor.execute("SELECT name FROM source").fetchall()}
        assert names == {s.name for f in records[0].files for s in f.layout.sources}
        assert cursor.execute("SELECT count(*) FROM key_schema").fetchall() == [(2,)]
        for record in records:
            assert_same_run(load_run(cursor, record.identity.run_id), record)
    write(store, odd)  # numbers given out again are new ones
    assert store.check() == []
    with store.read(SHARD) as cursor:
        assert_same_run(load_run(cursor, odd.identity.run_id), odd)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("INSERT INTO run SELECT * FROM run", "runs that are there more than once"),
        ("DELETE FROM train_list", "files without their train list"),
        ("DELETE FROM timestamps", "files without their timestamps"),
        ("DELETE FROM index_pattern WHERE ordinal = 1", "files without their index patterns"),
        ("DELETE FROM layout", "files without their layout"),
        ("DELETE FROM layout_source WHERE position = 0", "layouts whose number of sources"),
        ("DELETE FROM schema_key WHERE position = 0", "key schemas whose number of keys"),
        ("DELETE FROM key WHERE key_id = 0", "numbers of keys that have no name"),
        ("DELETE FROM source WHERE source_id = 0", "numbers of sources that have no name"),
        ("DELETE FROM run", "rows of runs that do not exist"),
        ("DELETE FROM file WHERE ordinal = 0", "runs whose number of files"),
        ("UPDATE key SET name = 'same'", "names, schemas and layouts that are there more than"),
        ("UPDATE run_value SET last_run = last_run + 1", "RUN values of more than one run"),
    ],
)
def test_damage_is_found(store, damage, told):
    write(store, make_run(1))
    assert store.check() == []
    versions = store.versions(SHARD)
    with versions.lock(), versions.draft() as draft:
        with connections.connect_write(draft) as connection:
            connection.execute(damage)
        versions.publish(draft)
    assert any(told in fault for fault in store.check())


def publish_as(store, schema_version):
    """Publish an empty file, as some other schema version would have it."""
    versions = Versions(store.versions(SHARD).directory, schema_version)
    with versions.lock(), versions.draft() as draft:
        with connections.connect_write(draft):
            pass
        return versions.publish(draft)


def test_an_older_schema_version_is_upgraded_on_request(store):
    old = publish_as(store, 0)
    assert not store.exists()
    assert [(s.shard, s.can_be_upgraded) for s in shard_states(store)] == [(SHARD, True)]
    assert upgrade_shards(store) == [SHARD]
    assert old.exists()  # older clients go on reading it
    assert [s.schema_versions for s in shard_states(store)] == [(0, 1)]
    assert upgrade_shards(store) == []
    write(store, make_run(1, **SMALL))
    assert run_numbers(store) == [1]


def test_writing_upgrades_what_is_older(store):
    publish_as(store, 0)
    write(store, make_run(1, **SMALL))
    assert run_numbers(store) == [1]
    with store.read(SHARD) as cursor:
        found = cursor.execute("SELECT kind, name, schema_version FROM catalog_info").fetchall()
    assert found == [("shard", SHARD, 1)]


def test_a_newer_schema_version_locks_nobody_out(store):
    write(store, make_run(1, **SMALL))
    newer = publish_as(store, 2)
    write(store, make_run(2, moment=later(1), **SMALL))
    assert run_numbers(store) == [1, 2]
    assert newer.exists()
    assert shard_states(store)[0].schema_versions == (1, 2)


def test_the_process_has_one_pool(store):
    write(store, make_run(1, **SMALL))
    POOL.close()
    assert store.open_shard(SHARD) is store.open_shard(SHARD)
