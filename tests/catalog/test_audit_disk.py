"""The catalog against the disk: what is missing, changed, new or out of reach, and what is not."""

import os
import shutil
from datetime import datetime, timedelta

import pytest
from xfelcat.catalog.audit import disk as disk_module
from xfelcat.catalog.audit.audit import AuditOptions, audit
from xfelcat.catalog.audit.disk import DiskOptions
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.checks import Limits, choose_checks
from xfelcat.catalog.questions.filters import ALL_RUNS
from xfelcat.catalog.scan import locality as locality_module
from xfelcat.catalog.store.store import Store

AT_ONCE = Limits(settling_minutes=0)
PROPOSAL = "SPB/202405/p900032"


@pytest.fixture
def place(demo, tmp_path):
    """Two runs of the demo facility, and a catalog of them, to change."""
    for run in ("raw/r0003", "raw/r0005"):
        shutil.copytree(demo.root / PROPOSAL / run, tmp_path / "facility" / PROPOSAL / run)
    ingest(Store(tmp_path / "catalog"), [str(tmp_path / "facility")], IngestOptions(jobs=0))
    return tmp_path


def run_of(place, run="r0003"):
    return place / "facility" / PROPOSAL / "raw" / run


def files_of(place, run="r0003"):
    return sorted(run_of(place, run).glob("*.h5"))


def look(place, *roots, jobs=0, limits=AT_ONCE, save=False, time_limit=60.0):
    options = AuditOptions(
        checks=choose_checks(["C01", "C02", "F06"]),
        limits=limits,
        disk=DiskOptions(tuple(map(str, roots)), jobs, time_limit),
        save=save,
    )
    return audit(Store(place / "catalog"), ALL_RUNS, options)


def found(report):
    return [
        (f["check_id"], f["severity"], f["path"], f["message"])
        for f in report.findings.table.to_pylist()
        if f["status"] != "resolved"
    ]


def test_as_catalogued(place):
    assert found(look(place)) == []
    assert found(look(place, place / "facility", jobs=2)) == []


def test_a_file_that_is_gone(place):
    file = files_of(place)[0]
    file.unlink()
    message = "catalogued file is missing on disk"
    assert found(look(place)) == [("C01", "E", str(file), message)]
    ingest(Store(place / "catalog"), [str(place / "facility")], IngestOptions(jobs=0))
    by_scan = look(place).findings.table.to_pylist()
    assert [(f["check_id"], f["origin"]) for f in by_scan] == [("C01", "scan")]


def test_a_file_that_became_a_link_to_nowhere(place):
    file = files_of(place)[0]
    file.unlink()
    file.symlink_to(place / "nowhere.h5")
    message = "catalogued file is a link that leads nowhere"
    assert found(look(place)) == [("C01", "E", str(file), message)]


def test_a_file_that_changed(place):
    first, second, *_ = files_of(place)
    size = first.stat().st_size
    with open(first, "ab") as f:
        f.write(b"more")
    os.utime(second, ns=(0, 10**18))
    (a, b) = found(look(place))
    assert a == ("C02", "E", str(first), f"{size + 4} bytes on disk, {size} when it was catalogued")
    assert b[:3] == ("C02", "E", str(second))
    assert b[3].startswith("modified since it was catalogued: was of 20")
    assert b[3].endswith("now 2001-09-09 01:46:40 UTC")


def test_a_file_that_was_made_anew(place):
    raw = run_of(place)
    proc = raw.parents[1] / "proc" / raw.name
    shutil.copytree(raw, proc)
    ingest(Store(place / "catalog"), [str(proc)], IngestOptions(jobs=0))
    file = sorted(proc.glob("*.h5"))[0]
    os.utime(file, ns=(0, 10**18))
    assert [row[:3] for row in found(look(place))] == [("C02", "I", str(file))]


def test_a_file_that_is_not_catalogued(place):
    file = run_of(place) / "RAW-R0003-DA03-S00000.h5"
    shutil.copyfile(files_of(place)[0], file)
    (run_of(place) / "OVERVIEW.h5").touch()
    (run_of(place) / "notes.txt").touch()
    message = "file on disk is not in the catalog"
    assert found(look(place)) == [("C01", "W", str(file), message)]
    assert found(look(place, limits=Limits())) == []  # it may just have been written


def test_a_run_that_is_not_catalogued(place):
    new = run_of(place, "r0009")
    shutil.copytree(run_of(place), new)
    files = len(files_of(place, "r0009"))
    expected = ("C01", "W", str(new), f"run on disk is not in the catalog ({files} files)")
    assert found(look(place)) == [expected]
    assert found(look(place, limits=Limits(settling_minutes=60 * 24 * 365 * 30))) == []
    far = place / "facility" / "FXE/202101/p001234/raw/r0001"
    shutil.copytree(run_of(place), far)
    assert found(look(place)) == [expected]
    both = {f[2] for f in found(look(place, place / "facility"))}
    assert both == {str(new), str(far)}


def test_a_run_reached_by_two_ways_is_no_other_run(place):
    run_of(place, "r0010").symlink_to(run_of(place), target_is_directory=True)
    loop = place / "facility" / PROPOSAL / "raw" / "loop"
    loop.symlink_to(place / "facility", target_is_directory=True)
    assert found(look(place, place / "facility")) == []


def test_a_run_directory_that_is_gone(place):
    shutil.rmtree(run_of(place))
    message = "run directory is missing on disk"
    assert found(look(place)) == [("C01", "E", str(run_of(place)), message)]


def test_a_file_system_that_is_not_mounted(place):
    (place / "facility").rename(place / "elsewhere")
    told = found(look(place))
    assert {(c, s) for c, s, *_ in told} == {("F06", "W")}
    message = f"out of reach: {place / 'facility'} is not there (not mounted?)"
    assert [m for *_, m in told] == [message] * len(told)
    assert {f[2] for f in told} >= {str(run_of(place)), str(run_of(place, "r0005"))}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(place):
    file = files_of(place)[0]
    file.chmod(0)
    run_of(place, "r0005").chmod(0)
    try:
        told = found(look(place))
    finally:
        run_of(place, "r0005").chmod(0o755)
    assert told == [
        ("F06", "W", str(file), "no permission to read it"),
        ("F06", "W", str(run_of(place, "r0005")), "directory cannot be listed: Permission denied"),
    ]


def test_files_on_tape(place, monkeypatch):
    first, second, *_ = map(str, files_of(place))
    where = {first: "NEARLINE", second: "UNAVAILABLE"}
    monkeypatch.setattr(
        locality_module, "file_localities", lambda paths: {p: where.get(p, "") for p in paths}
    )
    assert found(look(place)) == [
        ("F06", "W", first, "only on tape (NEARLINE)"),
        ("F06", "W", second, "not available (UNAVAILABLE)"),
    ]


def test_a_directory_that_hangs_is_given_up(place, monkeypatch):
    """A FIFO beside the files stands for the pseudo file of a storage that does not answer."""
    name = files_of(place)[0].name
    os.mkfifo(run_of(place) / f".(get)({name})(locality)")
    told = found(look(place, jobs=1, time_limit=1.5))
    reason = "directory: reading it took longer than 1.5 s (timed out)"
    assert told == [("F06", "W", str(run_of(place)), reason)]


@pytest.mark.parametrize("what", ["removed", "added", "changed"])
def test_what_happens_while_one_looks_is_no_finding(place, monkeypatch, what):
    """After the catalog before, an ingest: the catalog after agrees with the disk."""
    file = files_of(place)[0]
    compare = disk_module.compare

    def late(cursor, store, settled):
        ingest(store, [str(place / "facility")], IngestOptions(jobs=0, merge=False))
        return compare(cursor, store, settled)

    if what == "removed":
        file.unlink()
    elif what == "added":
        shutil.copyfile(file, file.with_name("RAW-R0003-DA07-S00000.h5"))
    else:
        os.utime(file, ns=(0, 10**18))
    assert len(found(look(place))) == 1
    monkeypatch.setattr(disk_module, "compare", late)
    assert found(look(place)) == []


def test_history_of_what_is_not_catalogued(place):
    new = run_of(place, "r0009")
    shutil.copytree(run_of(place), new)
    elsewhere = place / "facility" / "FXE/202101/p001234/raw/r0001"
    shutil.copytree(run_of(place), elsewhere)
    assert len(found(look(place, place / "facility", save=True))) == 2
    shutil.rmtree(new)
    shutil.rmtree(elsewhere)
    without = look(place, save=True)  # looks beside the runs only
    assert [f["path"] for f in without.findings.select(resolved=True).to_pylist()] == [str(new)]
    again = look(place, place / "facility", save=True)
    resolved = again.findings.select(resolved=True).to_pylist()
    assert [f["path"] for f in resolved] == [str(elsewhere)]


def test_times_compare_in_ns():
    moment = datetime(2024, 5, 1) + timedelta(microseconds=123456)
    assert disk_module._ns(moment) == 1714521600 * 10**9 + 123456000
