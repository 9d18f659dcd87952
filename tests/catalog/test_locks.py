"""Locks between writers: of each kind, those of other nodes, and whether nodes see them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest
from support.catalog_state import state
from support.examples import some
from support.run_records import make_run, write
from support.tiny_file import write_tiny
from xfelcat import Catalog
from xfelcat.catalog.model.errors import CatalogBusyError, CatalogWriteError, ConfigError
from xfelcat.catalog.store import locks, locktest
from xfelcat.catalog.store.locks import Lock
from xfelcat.catalog.store.locktest import is_proven, try_locks
from xfelcat.catalog.store.store import Store

SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}
FILE_KINDS = ("flock", "fcntl")
SHARD = "p002012"
HOLDER = """
import sys, time; from pathlib import Path; from xfelcat.catalog.store.locks import Lock
held = Lock(Path(sys.argv[1]), sys.argv[2], wait=True); print("held", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_one_has_it_at_a_time(tmp_path, kind):
    first = Lock(tmp_path, kind, wait=False)
    with pytest.raises(BlockingIOError):
        Lock(tmp_path, kind, wait=False)
    got = []
    waiting = threading.Thread(target=lambda: got.append(Lock(tmp_path, kind, wait=True)))
    waiting.start()
    waiting.join(0.1)
    assert got == []
    first.check()
    first.release()
    waiting.join()
    got[0].release()
    assert (tmp_path / "lock").read_text() == f"{kind}\n"


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_it_ends_with_its_process(tmp_path, kind):
    command = [sys.executable, "-c", HOLDER, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            Lock(tmp_path, kind, wait=False)
        process.send_signal(signal.SIGKILL)
    Lock(tmp_path, kind, wait=False).release()


def test_writers_that_take_turns_in_other_ways_are_refused(store, monkeypatch):
    write(store, make_run(1, **SMALL))
    monkeypatch.setenv("XFELCAT_LOCK", "fcntl")
    for _ in range(2):  # a refusal changes nothing
        with pytest.raises(
            CatalogWriteError, match="turns by flock, and the setting lock is fcntl"
        ):
            write(store, make_run(2, **SMALL))
    (store.versions(SHARD).directory / "lock").write_text("")
    write(store, make_run(2, **SMALL))
    monkeypatch.setenv("XFELCAT_LOCK", "lockf")
    with pytest.raises(ConfigError, match="must be flock, fcntl or postgres:DSN"):
        write(store, make_run(3, **SMALL))


def test_a_lock_that_another_node_kept_is_warned_of(store):
    write(store, make_run(1, **SMALL))
    file = store.versions(SHARD).directory / "lock"
    file.write_text("flock other-node 4711\n")
    with pytest.warns(UserWarning, match="other-node 4711 did not give the lock back.*db locks"):
        write(store, make_run(2, **SMALL))
    file.write_text(f"flock {socket.gethostname()} 4711\n")  # which the kernel knows to be dead
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(store, make_run(3, **SMALL))


def write_beside_each_other(store, n):
    """Several threads that each add runs to one shard; what went wrong."""
    errors = []

    def add(first):
        for number in range(first, first + n):
            try:
                write(store, make_run(number, **SMALL))
            except Exception as e:  # noqa: BLE001 - without a lock, anything
                errors.append(e)

    threads = [threading.Thread(target=add, args=(100 * i + 1,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read(SHARD) as cursor:
        runs = [run for (run,) in cursor.execute("SELECT run FROM runs ORDER BY run").fetchall()]
    return runs, errors


@pytest.mark.parametrize("kind", [*FILE_KINDS, "none"])
def test_writers_beside_each_other_lose_nothing(store, monkeypatch, kind):
    monkeypatch.setenv("XFELCAT_LOCK", "flock" if kind == "none" else kind)
    if kind == "none":
        monkeypatch.setattr(locks, "take_file", lambda *_, **__: None)
    write(store, make_run(99, **SMALL))
    runs, errors = write_beside_each_other(store, 3)
    expected = sorted([99, *(100 * i + k for i in range(3) for k in range(1, 4))])
    assert (runs == expected and not errors) == (kind != "none")


INGESTER = """
import sys, time
from pathlib import Path
from xfelcat import Catalog
from xfelcat.catalog.store import locks
from xfelcat.catalog.store.versions import Versions
location, mine, other, patience, *runs = sys.argv[1:]
if patience == "none":  # without a lock both come to the end of their drafts
    locks.take_file, patience = lambda *_, **__: None, 600
publish = Versions.publish
def publish_beside(*args, **options):
    Path(mine).touch()
    until = time.monotonic() + float(patience)
    while not Path(other).exists() and time.monotonic() < until:
        time.sleep(0.01)
    return publish(*args, **options)
Versions.publish = publish_beside
print("ready", flush=True)
sys.stdin.readline()
Catalog(location).ingest(runs, jobs=0)
"""


def ingest_beside_each_other(folder, patience):
    """Two processes that ingest runs 1 and 2, and 2 and 3; what they exit with, and the catalog.

    And what the catalog says if one ingests all of them.
    """
    runs = [folder / f"MID/202401/p002012/raw/r{number:04d}" for number in (1, 2, 3)]
    for number, run in enumerate(runs, 1):
        run.mkdir(parents=True)
        for sequence in (0, 1):
            trains = range(1000 + 10 * sequence, 1010 + 10 * sequence)
            name = run / f"RAW-R{number:04d}-DA01-S{sequence:05d}.h5"
            write_tiny(name, run=number, sequence=sequence, train_ids=trains).close()
    alone, both = Catalog(folder / "alone"), Store(folder / "both")
    alone.ingest(runs, jobs=0)
    marks = [str(folder / "first"), str(folder / "second")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", INGESTER, str(both.location), *own, patience, *map(str, some)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for own, some in ((marks, runs[:2]), (marks[::-1], runs[1:]))
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.close()
    codes = []
    for process in processes:
        with process:
            codes.append(process.wait())
    return codes, both, state(Store(alone.location))


@pytest.mark.parametrize("kind", some([*FILE_KINDS, "none"], ["flock", "none"]))
def test_two_ingests_of_overlapping_trees_lose_and_double_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("XFELCAT_LOCK", "flock" if kind == "none" else kind)
    # With the lock the other one waits: a moment, so that it is there, and no longer.
    patience = "none" if kind == "none" else "0.5"
    codes, both, alone = ingest_beside_each_other(tmp_path, patience)
    if kind == "none":
        assert codes != [0, 0] or state(both) != alone
    else:
        assert codes == [0, 0]
        assert state(both) == alone


def test_one_that_does_not_wait_is_told(store):
    writing = store.write(SHARD, wait=False)
    with store.versions(SHARD).lock(), pytest.raises(CatalogBusyError), writing:
        pass


OTHER = """
import socket, sys
socket.gethostname = lambda: sys.argv[2]
from xfelcat.catalog.store import locks
from xfelcat.catalog.store.locktest import try_locks
from xfelcat.catalog.store.store import Store
if sys.argv[3] == "unseen":
    locks.take_file = lambda *_, **__: None
for tried in sorted(try_locks(Store(sys.argv[1]), 600), key=lambda t: t.kind):
    print(tried.kind, tried.node, tried.is_seen, tried.is_other_node)
"""


@pytest.mark.parametrize("are_seen", [True, False])
def test_nodes_find_out_whether_they_see_each_others_locks(store, monkeypatch, are_seen):
    monkeypatch.setattr(locktest.socket, "gethostname", lambda: "here")
    old = store.location / ".locks" / "dead~1-abcdef~flock"  # left behind by one that was killed
    old.mkdir(parents=True)
    (old / "alive").touch()
    words = [str(store.location), "there", "seen" if are_seen else "unseen"]
    with subprocess.Popen([sys.executable, "-c", OTHER, *words], stdout=subprocess.PIPE) as other:
        tried = try_locks(store, 600)
        said = other.communicate()[0].decode().split("\n")
    assert sorted((t.kind, t.node, t.is_seen, t.is_other_node) for t in tried) == [
        (kind, "there", are_seen, True) for kind in sorted(FILE_KINDS)
    ]
    assert said == [f"{kind} here {are_seen} True" for kind in sorted(FILE_KINDS)] + [""]
    names = sorted(p.name for p in (store.location / ".locks").iterdir())
    assert names == [old.name, *(["proven"] if are_seen else [])]
    assert is_proven(store, "flock") == are_seen
    assert not is_proven(store, "postgres")


def test_nobody_else(store):
    assert try_locks(store, 0.3) == []
    assert not is_proven(store, "flock")
    assert os.listdir(store.location / ".locks") == []


# By a PostgreSQL server (`make test-lake`).


@pytest.fixture
def postgres(server, monkeypatch):
    """The setting lock, by a server; it is in force."""
    pytest.importorskip("psycopg")
    monkeypatch.setenv("XFELCAT_LOCK", f"postgres:{server}")
    return f"postgres:{server}"


def disconnect_all(setting):
    """End every connection to the server but our own, as if the server was lost."""
    import psycopg

    with psycopg.connect(setting.removeprefix("postgres:")) as connection:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")


def test_a_server_lets_one_write_at_a_time(store, postgres):
    runs, errors = write_beside_each_other(store, 2)
    assert not errors
    assert runs == [1, 2, 101, 102, 201, 202]
    writing = store.write(SHARD, wait=False)
    with store.versions(SHARD).lock(), pytest.raises(CatalogBusyError), writing:
        pass
    file = store.versions(SHARD).directory / "lock"
    assert file.read_text() == "postgres\n"


def test_a_server_lets_one_ingest_at_a_time(tmp_path, postgres):
    codes, both, alone = ingest_beside_each_other(tmp_path, "0.5")
    assert codes == [0, 0]
    assert state(both) == alone


def test_a_server_takes_the_lock_of_a_process_that_dies(tmp_path, postgres):
    command = [sys.executable, "-c", HOLDER, str(tmp_path), postgres]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            Lock(tmp_path, postgres, wait=False)
        process.send_signal(signal.SIGKILL)
    Lock(tmp_path, postgres, wait=True).release()  # once the server has noticed


def test_a_writer_that_lost_its_server_publishes_nothing(store, postgres):
    write(store, make_run(1, **SMALL))
    store.publish_merged()
    before = store.versions(SHARD).current(), store.merged.published()

    def write_meanwhile():
        with store.write(SHARD) as writer:
            writer.replace_run(make_run(2, **SMALL))
            disconnect_all(postgres)

    with pytest.raises(CatalogWriteError, match="PostgreSQL server of its lock is lost"):
        write_meanwhile()
    assert (store.versions(SHARD).current(), store.merged.published()) == before
    write(store, make_run(2, **SMALL))
    merged = store.merged
    with pytest.raises(CatalogWriteError, match="of its lock is lost"), merged.lock():
        merged.update(store._shard_files(), lambda *_: disconnect_all(postgres))
    assert store.merged.published() == before[1]
    assert store.publish_merged()
    found = store.open_merged().cursor().execute("SELECT run FROM runs ORDER BY run").fetchall()
    assert found == [(1,), (2,)]
