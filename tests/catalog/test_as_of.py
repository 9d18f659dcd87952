"""Versions that are kept, and a catalog as it was."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from support.run_records import later, make_run, write
from typer.testing import CliRunner
from xfelcat import Catalog
from xfelcat.catalog.model.errors import CatalogReadError, CatalogWriteError, QueryError
from xfelcat.catalog.store.care import maintain
from xfelcat.catalog.store.store import Store
from xfelcat.cli.app import app

SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}
DAY = timedelta(1)


def now():
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def move_back(store, days):
    """Let everything that is published have been so some days earlier."""
    for path in store.location.rglob("v*.duckdb"):
        at = path.stat().st_mtime - days * 86400
        os.utime(path, (at, at))


@pytest.fixture
def history(store, monkeypatch):
    """Runs of three days: 1 and (in another proposal) 2, then 3, then 1 without its trains."""
    monkeypatch.setenv("XFELCAT_KEEP", "14d")
    days = (
        (make_run(1, **SMALL), make_run(2, 2013, **SMALL)),
        (make_run(3, **SMALL),),
        (make_run(1, n_trains=5, moment=later(1), **SMALL),),
    )
    for records in days:
        move_back(store, 1)
        for record in records:
            write(store, record)
        store.publish_merged()
    return store


def runs_at(store, days_ago):
    frame = Catalog(store.location, at=now() + timedelta(minutes=1) - days_ago * DAY).runs()
    return dict(zip(frame["run"], frame["trains"], strict=True))


def test_questions_are_answered_as_of_a_time(history):
    assert runs_at(history, 0) == {1: 5, 2: 10, 3: 10}
    assert runs_at(history, 1) == {1: 10, 2: 10, 3: 10}
    assert runs_at(history, 2) == {1: 10, 2: 10}
    with pytest.raises(CatalogReadError, match=r"not all versions of .* UTC are kept: .*db maint"):
        runs_at(history, 3)
    assert Catalog(history.location).runs()["trains"].tolist() == [5, 10, 10]


@pytest.mark.of_file
def test_where_no_merged_database_of_then_is_kept_it_is_made(history):
    for published in history.merged.published()[:-1]:
        (history.merged.directory / published.name).unlink()
    assert runs_at(history, 1) == {1: 10, 2: 10, 3: 10}
    found = Catalog(history.location, at=now() - DAY + timedelta(minutes=1)).find(
        "*", proposal=2012
    )
    assert sorted(set(found["run"])) == [1, 3]


def test_what_was_cannot_be_changed(history):
    before = Store(history.location, at=now() - DAY)
    assert before != history
    with pytest.raises(CatalogWriteError, match="stays as it was"):
        write(before, make_run(4, **SMALL))
    with pytest.raises(QueryError, match="is no time"):
        Catalog(history.location, at="yesterday-ish")
    assert "as of 2" in repr(Catalog(history.location, at=now()))


@pytest.mark.of_file
def test_what_is_kept_too_long_is_removed(history, monkeypatch):
    kept, freed = maintain(history)
    assert [(k.kind, k.databases, k.versions) for k in kept] == [("shards", 2, 4), ("merged", 1, 3)]
    assert freed == 0
    assert all(k.current and k.before for k in kept)
    monkeypatch.setenv("XFELCAT_KEEP", "36h")
    kept, freed = maintain(history)
    # What was current until less than 36 hours ago is still asked for.
    assert [(k.kind, k.versions) for k in kept] == [("shards", 4), ("merged", 3)]
    monkeypatch.setenv("XFELCAT_KEEP", "12h")
    kept, freed = maintain(history)
    assert [(k.kind, k.versions) for k in kept] == [("shards", 3), ("merged", 2)]
    assert freed > 0
    assert runs_at(history, 0) == {1: 5, 2: 10, 3: 10}
    with pytest.raises(CatalogReadError):
        runs_at(history, 2)


def test_nothing_is_kept_unless_it_is_set(store):
    for number in range(1, 5):
        write(store, make_run(number, **SMALL))
    assert len(store.versions("p002012").published()) == 2  # and who reads the one before goes on


def test_commands_answer_as_of_a_time(history):
    def xfelcat(*words):
        return CliRunner().invoke(app, [str(w) for w in words])

    words = (
        "sql",
        "SELECT run, trains FROM runs ORDER BY run",
        "-f",
        "csv",
        "-c",
        history.location,
    )
    assert xfelcat(*words).stdout.split() == ["run,trains", "1,5", "2,10", "3,10"]
    then = xfelcat(*words, "--as-of", "30h")
    assert then.stdout.split() == ["run,trains", "1,10", "2,10"]
    assert f"as of {now() - timedelta(hours=30):%Y-%m-%d}" in then.stderr
    gone = xfelcat(*words, "--as-of", "2001-01-01")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "not all versions of 2001-01-01 00:00 UTC are kept" in gone.stderr
    shown = xfelcat("db", "maintain", "-c", history.location)
    assert "4 versions of 2 databases since" in shown.stdout
    assert shown.stderr.splitlines()[-1] == "0 B removed"
