"""A watcher looks at what may have changed, and at little else."""

import os
import time
from pathlib import Path

import pytest
from xfelcat.catalog.model.facts import FileStat
from xfelcat.catalog.scan import discover
from xfelcat.catalog.watch import watch as tree_module
from xfelcat.catalog.watch.watch import Arrivals, Settled, Tree, try_files

pytestmark = pytest.mark.fast

DAY = 86400.0


def make_run(root, run, *, age=10 * DAY, name="RAW-R0001-DA01-S00000.h5"):
    directory = root / f"SPB/202201/p002012/raw/r{run:04d}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(b"x")
    rest(root, age)
    return str(directory)


def rest(root, age=10 * DAY):
    """As if nothing had been touched for so long."""
    then = time.time() - age
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "exp").mkdir()
    return tmp_path / "exp"


@pytest.fixture
def listed(monkeypatch):
    """The directories that are listed."""
    seen = []
    real = os.scandir

    def scandir(path):
        seen.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(tree_module.os, "scandir", scandir)
    return seen


def look(tree, newest=None):
    """One round, after which every run rests since ``newest``."""
    found = list(tree.due())
    for path in found:
        age = time.time() - 10 * DAY if newest is None else newest
        tree.rest(path, age, waits=False)
    return found


def test_a_resting_tree_is_not_listed_again(root, listed):
    runs = [make_run(root, r) for r in (1, 2)]
    tree = Tree([str(root)])
    assert look(tree) == runs
    listed.clear()
    assert look(tree) == []
    assert listed == []
    assert tree.n_runs == 2


def test_a_new_run_is_found_and_only_its_parent_listed(root, listed):
    make_run(root, 1)
    tree = Tree([str(root)])
    look(tree)
    listed.clear()
    new = root / "SPB/202201/p002012/raw/r0002"
    new.mkdir()
    (new / "RAW-R0002-DA01-S00000.h5").touch()
    assert look(tree) == [str(new)]
    assert listed == ["raw", "r0002"]


def test_a_young_run_is_looked_at_in_every_round(root):
    run = make_run(root, 1)
    tree = Tree([str(root)], patience=60)
    assert [look(tree, newest=time.time()) for _ in range(3)] == [[run]] * 3
    look(tree, newest=time.time() - 61)
    assert look(tree) == []


def test_a_run_that_waits_is_looked_at_in_every_round(root):
    run = make_run(root, 1)
    tree = Tree([str(root)])
    for _ in range(3):
        assert list(tree.due()) == [run]
        tree.rest(run, 0.0, waits=True)


def test_a_late_file_of_an_old_run_is_found_after_a_share_of_its_age(root):
    run = make_run(root, 1, age=100.0)
    tree = Tree([str(root)], patience=50.0)
    assert look(tree) == [run]
    (Path(run) / "RAW-R0001-DA02-S00000.h5").touch()
    assert look(tree) == []  # it has just been asked
    tree._folders[run].stat_at -= 2.0
    assert look(tree, newest=time.time()) == [run]


def test_everything_is_looked_at_again_after_a_while(root):
    run = make_run(root, 1)
    tree = Tree([str(root)], recheck=100.0)
    assert look(tree) == [run]
    assert look(tree) == []
    tree._folders[run].looked_at -= 101.0
    assert look(tree) == [run]


@pytest.mark.parametrize(
    ("n_files", "newest", "ingested", "is_due"),
    [
        (1, 9 * DAY, 1 * DAY, False),
        (2, 9 * DAY, 1 * DAY, True),  # a file was not catalogued, or is gone
        (1, 1 * DAY, 9 * DAY, True),  # written after it was ingested
        (1, 0.01 * DAY, 0.001 * DAY, True),  # a short while ago: it may still grow
    ],
)
def test_what_the_catalog_says_spares_a_look(root, n_files, newest, ingested, is_due):
    run = make_run(root, 1)
    now = time.time()
    known = {run: Settled(n_files, now - newest, now - ingested)}
    tree = Tree([str(root)], settled=known)
    assert look(tree) == ([run] if is_due else [])
    assert look(tree) == []


def test_links_in_a_circle_and_folders_left_out(root):
    run = make_run(root, 1)
    (root / "SPB/circle").symlink_to(root)
    make_run(root / "scratch", 5)
    tree = Tree([str(root)], exclude=("scratch",))
    assert look(tree) == [run]


def test_a_folder_that_cannot_be_listed_is_told_and_not_forgotten(root, monkeypatch):
    run = make_run(root, 1)
    tree = Tree([str(root)])
    look(tree)
    away = root.with_name("away")
    root.rename(away)
    assert look(tree) == []
    assert list(tree.errors) == [str(root)]
    assert tree.n_runs == 1
    away.rename(root)
    assert look(tree) == []
    assert tree.errors == {}
    assert os.path.isdir(run)


def test_it_finds_what_ingest_finds(root):
    for run in range(1, 5):
        make_run(root, run)
    loose = root / "loose"
    loose.mkdir()
    (loose / "any.h5").touch()
    found = [r.directory for r in discover.find_runs([str(root), str(loose)])]
    assert sorted(look(Tree([str(root), str(loose)]))) == sorted(found)
    assert str(loose) in found


def stat(age, size=10):
    return FileStat(size, int((time.time() - age) * 1e9))


def test_files_are_ready_when_they_rest():
    arrivals = Arrivals(quiet=10, patience=100, pause=1)
    news = {"now": stat(1), "rests": stat(20), "old": stat(200), "dangling": FileStat(-1, -1)}
    ready, to_try, waiting = arrivals.sort("/run", news)
    assert (ready, to_try) == (["old", "dangling"], ["rests"])
    assert [(w.path, w.reason) for w in waiting] == [("/run/now", "changed just now")]
    assert 8 < waiting[0].retry_in <= 9


def test_a_file_from_a_clock_that_is_ahead_is_ready_when_it_was_seen_to_rest(monkeypatch):
    arrivals = Arrivals(quiet=10, patience=1000, pause=1)
    ahead = {"f": stat(-500)}
    assert arrivals.sort("/run", ahead)[1] == []
    later = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert arrivals.sort("/run", ahead)[1] == ["f"]


def test_retries_are_further_and_further_apart_until_patience_ends(monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    arrivals = Arrivals(quiet=0, patience=100, pause=2)
    half = {"f": stat(5)}
    pauses = []
    for _ in range(5):
        assert arrivals.sort("/run", half)[1] == ["f"]
        pauses.append(arrivals.tried("/run/f", "no HDF5").retry_in)
        waiting = arrivals.sort("/run", half)[2]
        assert [w.reason for w in waiting] == ["no HDF5"]
        now += pauses[-1]
    assert pauses == [2, 4, 8, 16, 32]
    now += 100
    assert arrivals.sort("/run", half)[0] == ["f"]
    grown = {"f": stat(5, size=20)}
    assert arrivals.sort("/run", grown)[1] == ["f"]  # it goes on: patience begins anew


def test_news_are_what_was_not_ingested():
    arrivals = Arrivals(0, 100, 1)
    first = {"a": stat(50), "b": stat(40)}
    arrivals.ingested("/run", first, {"b"})
    assert arrivals.news("/run", first) == {"b": first["b"]}
    assert not arrivals.has_lost("/run", first)
    assert arrivals.has_lost("/run", {"b": first["b"]})


@pytest.mark.parametrize("jobs", [0, 1])
def test_trying_files_says_what_is_wrong_with_them(tmp_path, jobs):
    from support.tiny_file import write_tiny

    write_tiny(tmp_path / "good.h5").close()
    whole = (tmp_path / "good.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.h5").touch()
    paths = [str(tmp_path / n) for n in ("good.h5", "half.h5", "empty.h5")]
    failed = try_files(paths, jobs=jobs, time_limit=60)
    assert list(failed) == paths[1:]
    assert all(failed.values())
    assert try_files([], jobs=jobs, time_limit=60) == {}
