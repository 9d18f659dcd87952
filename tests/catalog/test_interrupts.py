"""Ctrl-C is kept back while the database is at work, and not lost."""

import os
import signal
import threading

import duckdb
import pytest
from support.run_records import make_run
from xfelcat.catalog.questions import execute
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.connections import uninterrupted
from xfelcat.catalog.store.store import Store

pytestmark = pytest.mark.fast


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def usual_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_it_comes_when_the_block_is_left():
    done = []

    def work():
        with uninterrupted():
            ctrl_c()
            done.append("the rest of the block")
        done.append("behind it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest of the block"]


def test_a_second_one_is_not_kept_back():
    done = []

    def work():
        with uninterrupted():
            ctrl_c()
            done.append("first")
            ctrl_c()
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]


def test_blocks_may_be_nested():
    done = []

    def work():
        with uninterrupted():
            with uninterrupted():
                ctrl_c()
                done.append("inner")
            done.append("outer")
        done.append("behind it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_an_error_of_the_block_comes_first():
    def work():
        with uninterrupted():
            ctrl_c()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()


def test_without_ctrl_c_nothing_happens():
    with uninterrupted():
        pass
    seen = []

    def in_a_thread():
        with uninterrupted():
            seen.append("ran")

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert seen == ["ran"]


def test_what_was_written_by_then_is_published(tmp_path):
    store = Store(tmp_path)
    record = make_run(1)

    def work():
        with store.write(record.identity.shard) as writer:
            ctrl_c()
            writer.replace_run(record)

    with pytest.raises(KeyboardInterrupt):
        work()
    with store.read(record.identity.shard) as cursor:
        assert cursor.execute("SELECT count(*) FROM run").fetchall() == [(1,)]
    assert store.publish_merged()
    assert check(store) == []


def test_a_query_is_over_when_ctrl_c_arrives_as_it_starts(monkeypatch):
    """Its thread would go on in DuckDB, and abort the process at its end."""

    class Interrupted(threading.Thread):
        def start(self):
            super().start()
            ctrl_c()

    monkeypatch.setattr(execute, "Thread", Interrupted)
    cursor = duckdb.connect()
    endless = "SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = sin(a.range)"
    with pytest.raises(KeyboardInterrupt):
        execute.interruptible(cursor, lambda: cursor.execute(endless).fetchall())
    assert "xfelcat query" not in [thread.name for thread in threading.enumerate()]
    cursor.close()
