"""Runs are found below any path, once each, whatever links lead there."""

import os

import pytest
from xfelcat.catalog.model.errors import RunNotFoundError
from xfelcat.catalog.model.facts import FileStat
from xfelcat.catalog.model.records import Problem
from xfelcat.catalog.scan.discover import FoundRun, find_runs, list_run

pytestmark = pytest.mark.fast

PROPOSAL = "SPB/202201/p002012"


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


@pytest.fixture
def facility(tmp_path):
    make(
        tmp_path,
        f"exp/{PROPOSAL}/raw/r0001/RAW-R0001-DA01-S00000.h5",
        f"exp/{PROPOSAL}/raw/r0001/RAW-R0001-DA02-S00000.h5",
        f"exp/{PROPOSAL}/raw/r0002/RAW-R0002-DA01-S00000.h5",
        f"exp/{PROPOSAL}/usr/notes/plots.h5",
        f"exp/{PROPOSAL}/usr/copies/r0002/RAW-R0002-DA01-S00000.h5",
        "exp/FXE/202202/p003000/proc/r0007/CORR-R0007-LPD00-S00000.h5",
    )
    return tmp_path / "exp"


def found(*paths, **kwargs):
    return [str(f.identity) for f in find_runs(map(str, paths), **kwargs)]


def test_from_the_root_down_to_a_run(facility):
    everything = [
        "p003000/proc/r0007",
        "p002012/raw/r0001",
        "p002012/raw/r0002",
        "p002012/usr/copies/r0002",
    ]
    assert found(facility) == everything
    assert found(facility / "SPB") == everything[1:]
    assert found(facility / PROPOSAL / "raw") == everything[1:3]
    assert found(facility / PROPOSAL / "raw/r0002") == everything[2:3]


def test_excluded_by_name_or_path(facility):
    assert found(facility, exclude=["usr", "*/FXE/*"]) == ["p002012/raw/r0001", "p002012/raw/r0002"]


def test_links_are_followed_once_and_loops_end(facility, tmp_path):
    store = tmp_path / "d/raw/SPB/202201/p002012"
    store.mkdir(parents=True)
    raw = facility / PROPOSAL / "raw"
    (raw / "r0001").rename(store / "r0001")
    (raw / "r0001").symlink_to(store / "r0001")
    (raw / "loop").symlink_to(facility)
    (raw / "r0009").symlink_to(tmp_path / "nowhere")
    runs = list(find_runs([str(tmp_path)]))
    assert [str(r.identity) for r in runs].count("p002012/raw/r0001") == 1
    assert len(runs) == 4


def test_a_storage_path_has_the_identity_of_the_tree(tmp_path):
    path = tmp_path / "d/raw/SPB/202201/p002012/r0001"
    make(path, "RAW-R0001-DA01-S00000.h5")
    assert found(tmp_path) == ["p002012/raw/r0001"]


def test_any_directory_given_by_name_is_a_run(facility, tmp_path):
    notes = facility / PROPOSAL / "usr/notes"
    (run,) = find_runs([str(notes)])
    assert isinstance(run, FoundRun)
    assert run.identity.is_loose
    assert run.identity.loose_path == os.path.realpath(notes)


def test_an_absent_path_names_its_neighbours(facility):
    with pytest.raises(RunNotFoundError, match=r"p002012"):
        find_runs([str(facility / "SPB/202201/p002013")])


def test_a_file_in_place_of_a_directory_is_told(facility):
    file = next(facility.rglob("*.h5"))
    with pytest.raises(
        RunNotFoundError, match=r"is a file: name the directory of its run, .*r0007$"
    ):
        find_runs([str(file)])


def test_an_unreadable_directory_is_a_problem(facility, monkeypatch):
    real = os.scandir
    bad = str(facility / "FXE")

    def scandir(path):
        if path == bad:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    items = list(find_runs([str(facility)]))
    problems = [i for i in items if isinstance(i, Problem)]
    assert [(p.check, p.path) for p in problems] == [("F06", bad)]
    assert len(items) == 4


def test_listing_a_run(tmp_path):
    make(tmp_path, "b.h5", "a.h5", "notes.txt", "OVERVIEW-R0001-S00000.h5", ".hidden.h5")
    os.utime(tmp_path / "a.h5", ns=(1, 123456789012345678))
    (tmp_path / "gone.h5").symlink_to(tmp_path / "nowhere")
    listed = list_run(str(tmp_path))
    assert list(listed) == ["a.h5", "b.h5", "gone.h5"]
    assert listed["a.h5"] == FileStat(4, 123456789012345678)
    assert listed["gone.h5"] == FileStat(-1, -1)
