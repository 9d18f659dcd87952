"""Versions, locks, rights and crashes of the store, and who sees what."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from support.run_records import assert_same_run, identity, make_run, write
from xfelcat.catalog.model.errors import (
    CatalogBusyError,
    CatalogNotFoundError,
    CatalogReadError,
    CatalogWriteError,
)
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.read import load_run
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.versions import SCHEMA_VERSION as V
from xfelcat.catalog.store.versions import Versions, make_directory

SHARD = "p002012"
SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}


def run_numbers(store, shard=SHARD):
    with store.read(shard) as cursor:
        return [n for (n,) in cursor.execute("SELECT run FROM runs ORDER BY run").fetchall()]


def files_of(store, shard=SHARD):
    return sorted(p.name for p in store.versions(shard).directory.iterdir())


def test_a_tilde_is_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/catalog").location == tmp_path / "catalog"


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
    versions = [n for n in names if n.startswith(f"v{V}.")]
    assert [n.split("-")[0] for n in versions] == [f"v{V}.00000003", f"v{V}.00000004"]
    assert names == sorted([*versions, f"current-v{V}", "lock"])
    directory = store.versions(SHARD).directory
    assert {stat.S_IMODE((directory / v).stat().st_mode) for v in versions} == {0o444}
    assert os.readlink(directory / f"current-v{V}") == versions[-1] == store.shards()[SHARD]
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

    monkeypatch.setattr("xfelcat.catalog.store.versions.sync", full)
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
from support.run_records import make_run
from xfelcat.catalog.store.store import Store
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


@pytest.mark.slow  # `make test` has the kills of tests/test_crashes.py
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
        assert check(store) == []
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
    orphan = next(n for n in files_of(store) if n.startswith(f"v{V}.00000002"))
    write(store, make_run(3, **SMALL))
    assert run_numbers(store) == [1, 3]
    assert orphan not in files_of(store)
    assert store.shards()[SHARD].startswith(f"v{V}.00000003-")


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


def test_nothing_spills_into_the_working_directory(store):
    write(store, make_run(1, **SMALL))
    with store.read(SHARD) as cursor:
        (spill,) = cursor.execute("SELECT current_setting('temp_directory')").fetchone()
    assert os.path.dirname(spill) == tempfile.gettempdir()


def test_a_location_whose_path_is_no_text_is_a_clear_error(tmp_path):
    location = tmp_path / os.fsdecode(b"cat\xff")
    with pytest.raises(CatalogWriteError, match="not UTF-8"):
        write(Store(location), make_run(1, **SMALL))
    assert not location.exists()
    write(Store(tmp_path / "moved"), make_run(1, **SMALL))
    (tmp_path / "moved").rename(location)
    with pytest.raises(CatalogReadError, match="not UTF-8"), Store(location).read(SHARD):
        pass


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
