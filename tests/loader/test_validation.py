"""A file or run is validated without a catalog, by the checks of the scan and of the audits."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest
import xfelcat
from support.demo_facility import demo, demo_and_report, demo_report, no_settings
from support.faultless_run import AGIPD0, DA0, DA1, write_checked_run
from support.tiny_file import write_tiny
from xfelcat.catalog.ingest.ingest import scan_batch
from xfelcat.catalog.model.checks import CHECKS
from xfelcat.catalog.model.errors import QueryError, RunNotFoundError
from xfelcat.loader.jobs.validation import applicable_checks

__all__ = ["demo", "demo_and_report", "demo_report", "no_settings"]

pytestmark = pytest.mark.usefixtures("no_settings")
OF_A_RUN = {c.id for c in applicable_checks(deep=True)}


@pytest.fixture
def run(tmp_path):
    return write_checked_run(tmp_path, padding=1)


def checked(path, **options):
    report = xfelcat.validate(path, jobs=0, **options)
    return {(p.check, p.severity, os.path.relpath(p.path, path), p.where) for p in report.problems}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3"])
def test_a_run_in_order(tmp_path, no_settings, version):
    directory = write_checked_run(tmp_path, version)
    before = sorted(tmp_path.rglob("*"))
    report = xfelcat.validate(directory, deep=True, jobs=0)
    assert report.ok
    assert report.problems == ()
    assert (report.files, report.path) == (4, str(directory))
    assert report.bytes == sum(p.stat().st_size for p in directory.iterdir())
    assert set(report.checks) == OF_A_RUN
    # No catalog was left anywhere.
    assert sorted(tmp_path.rglob("*")) == before
    assert not no_settings.data.exists()


@pytest.mark.parametrize("last", [2**62, 2**63 - 2, 2**63 - 1, 2**63, 2**64 - 1])
def test_train_ids_at_the_limits_of_64_bits(tmp_path, last):
    """They are suspect, and neither SQL nor numpy adds to them what has no room."""
    for sequence, ids in enumerate((range(last - 2, last + 1), [*range(1000, 1009), last])):
        name = f"RAW-R0007-DA01-S{sequence:05}.h5"
        write_tiny(tmp_path / name, train_ids=ids, sequence=sequence).close()
    write_tiny(tmp_path / "RAW-R0007-DA02-S00000.h5", train_ids=range(last - 2, last + 1)).close()
    assert ("T03", "E", "RAW-R0007-DA01-S00001.h5", "INDEX/trainId") in checked(tmp_path)


def test_every_fault_of_the_demo_is_found_where_it_is(demo):
    faults = [f for f in demo.summary.faults if f.check in OF_A_RUN]
    directories = {f.path if f.path.is_dir() else f.path.parent for f in faults}
    found = {}
    for directory in directories:
        for p in xfelcat.validate(directory, jobs=0).problems:
            found.setdefault(p.check, set()).add(p.path)
    assert len(faults) > 15
    for fault in faults:
        at = {str(fault.path)} if fault.check not in ("R05", "R09") else found[fault.check]
        assert at & found[fault.check], fault


def test_validation_and_audit_find_the_same(demo):
    """Of runs whose findings need no other run: the same checks, messages, places and paths."""
    of_one_run = {c for c in OF_A_RUN if CHECKS[c].origin != "deep"}
    columns = ["check_id", "severity", "message", "place", "path"]
    for n in (101, 102, 103, 104, 105, 106):
        directory = demo.root / f"FXE/202102/p900021/raw/r0{n}"
        store = xfelcat.Catalog(demo.location)
        audited = store.sql(f"FROM findings WHERE run = {n} AND resolved_at IS NULL")
        scanned = audited[audited["check_id"].isin(of_one_run)][columns].fillna("")
        scanned = Counter(scanned.itertuples(index=False, name=None))
        report = xfelcat.validate(directory, jobs=0)
        validated = Counter(
            (p.check, p.severity, p.message, p.where, p.path) for p in report.problems
        )
        # An ingest opens one dataset per group of later sequences; a validation opens them all.
        assert scanned - validated == Counter()
        assert {c[0] for c in validated - scanned} <= {"I06", "R07", "R08", *sql_checks()}


def sql_checks():
    return {c.id for c in CHECKS.values() if c.origin == "audit"}


def test_faults_of_the_files_together(run):
    (run / DA0).unlink()
    assert checked(run) == {("R01", "E", ".", "DA01")}
    assert checked(run, skip=["R"]) == set()


def test_run_values_and_keys_are_compared_over_all_sequences(run):
    import h5py

    with h5py.File(run / DA1, "r+") as f:
        f["RUN/SPB_IRU/MOTOR/X/actualPosition/value"][0] += 1
        f["CONTROL/SPB_IRU/MOTOR/X/new/value"] = f["CONTROL/SPB_IRU/MOTOR/X/isMoving/value"][()]
    assert checked(run) == {
        ("R07", "E", DA1, "CONTROL/SPB_IRU/MOTOR/X"),
        ("R08", "W", DA1, "RUN/SPB_IRU/MOTOR/X"),
    }
    # Alone, the file has nothing to be compared with.
    assert checked(run / DA1) == set()


def test_one_file(run):
    report = xfelcat.validate(run / DA1, jobs=0)
    assert (report.files, report.problems) == (1, ())
    assert {"R01", "R06"} & set(report.checks) == set()
    moved = run / "RAW-R0008-DA01-S00007.h5"
    (run / DA1).rename(moved)
    assert checked(moved) == {("F05", "E", ".", "METADATA/sequenceNumber")}
    os.truncate(moved, 100)
    assert checked(str(moved)) == {("F01", "E", ".", "")}


def test_data_maps_are_compared(run):
    (run / "karabo_data_map.json").write_text("[]")
    assert checked(run) == set()
    (run / "karabo_data_map.json").write_text("{")
    assert checked(run) == {("C03", "W", "karabo_data_map.json", "")}


def test_problems_of_a_kind_are_one_line(run):
    for name in (DA0, DA1):
        (run / name).write_text("text")
    report = xfelcat.validate(run, jobs=0, skip=["R", "T06"])
    assert not report.ok
    (line,) = report.condensed()
    assert (line.check.id, line.severity, line.count, line.files) == ("F02", "E", 2, 2)
    assert line.example == report.problems[0]
    assert str(report).splitlines() == [
        f"{run}: 2 problems in 4 files",
        f"E F02 {DA0}: not an HDF5 file (2 times)",
    ]
    frame = report.to_frame()
    assert list(frame.columns) == ["check_id", "severity", "title", "message", "place", "path"]
    assert frame["path"].tolist() == [str(run / DA0), str(run / DA1)]


def test_information_alone_is_in_order(run):
    import h5py

    with h5py.File(run / DA0, "r+") as f:
        f["EXTRA/x"] = 1
    report = xfelcat.validate(run, jobs=0)
    assert [(p.check, p.severity) for p in report.problems] == [("F08", "I")]
    assert report.ok
    assert xfelcat.validate(run, jobs=0, skip=["F08"]).problems == ()


def test_deep_is_asked_for(run):
    import h5py

    with h5py.File(run / AGIPD0, "r+") as f:
        f["INSTRUMENT/SPB_DET_PROTO-1/DET/0CH0:xtdf/header/trainId"][3] = 5
    assert checked(run) == set()
    place = "INSTRUMENT/SPB_DET_PROTO-1/DET/0CH0:xtdf/header/trainId"
    assert checked(run, deep=True, sample=0) == {("V03", "E", AGIPD0, place)}


def test_what_is_only_on_tape_is_left_alone(run):
    tape = run / "RAW-R0008-DA02-S00000.h5"
    os.mkfifo(tape)  # opening it would block
    for path in run.glob("*.h5"):
        where = "NEARLINE" if path == tape else "ONLINE"
        (run / f".(get)({path.name})(locality)").write_text(f"{where}\n")
    assert checked(run, deep=True, skip=["R"]) == {("F06", "W", tape.name, "")}


def test_a_file_that_hangs_is_given_up(run, monkeypatch):
    monkeypatch.setattr("xfelcat.loader.jobs.validation.scan_batch", hang_on_the_last)
    report = xfelcat.validate(run, jobs=2, time_limit=1.0, skip=["R"])
    ((check, name, message),) = [(p.check, Path(p.path).name, p.message) for p in report.problems]
    assert (check, name) == ("F06", DA1)
    assert "took longer than 1 s" in message


def hang_on_the_last(paths, options, note):
    for path in paths:
        note(path)
        if path.endswith(DA1):
            time.sleep(60)
    return scan_batch(paths, options, note)


def test_nothing_to_validate(tmp_path):
    with pytest.raises(RunNotFoundError, match=r"file or directory .*nowhere"):
        xfelcat.validate(tmp_path / "nowhere")
    with pytest.raises(RunNotFoundError, match="name a file, or the directory of a run"):
        xfelcat.validate(tmp_path)
    with pytest.raises(QueryError, match="there is no check 'Z1'"):
        xfelcat.validate(tmp_path, skip=["Z1"])


def test_progress_is_told(run):
    told = []

    class Progress:
        def __getattr__(self, name):
            return lambda *args: told.append((name, *args))

    xfelcat.validate(run, jobs=0, deep=True, progress=Progress())
    sizes = sum(p.stat().st_size for p in run.iterdir())
    assert told[0] == ("found", 1)
    assert [t for t in told if t[0] == "planned"] == [("planned", 4, sizes)] * 2
    assert sum(t[1] for t in told if t[0] == "scanned") == 8
    assert sum(t[2] for t in told if t[0] == "scanned") == 2 * sizes
    assert told[-1] == ("finished_run", str(run))
