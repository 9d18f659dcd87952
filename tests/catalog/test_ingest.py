"""Ingest reads what is new, keeps what holds, and loses nothing."""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest
from xfelcat.catalog.ingest import ingest as ingest_module
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.errors import RunNotFoundError
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.opening.catalogued import catalogued_facts
from xfelcat.catalog.scan import jobs as jobs_module
from xfelcat.catalog.scan.discover import locate_run
from xfelcat.catalog.store.read import file_stats
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import KeySpec, RunSpec, control, split, write_run

TREE = "exp/SPB/202201/p002012/raw"
XGM = control("SA1_XTD2_XGM/XGM/DOOCS", KeySpec("beamPosition.ixPos"), run={"classId.value": "Xgm"})
MOTOR = control("SPB_IRU/MOTOR/X", KeySpec("actualPosition"))


def spec(run, trains=range(1000, 1020), proposal=2012):
    files = split(list(trains), {"DA01": [XGM], "DA02": [MOTOR]}, sequences=2)
    return RunSpec(proposal, run, files)


@pytest.fixture
def tree(tmp_path):
    for run in (1, 2):
        write_run(tmp_path / TREE / f"r{run:04d}", spec(run, range(run * 1000, run * 1000 + 20)))
    return tmp_path / TREE


@pytest.fixture
def scanned(monkeypatch):
    """Names of the files that are scanned, in order."""
    names = []
    real = ingest_module.scan_file

    def scan_file(path, **kwargs):
        names.append(os.path.basename(path))
        return real(path, **kwargs)

    monkeypatch.setattr(ingest_module, "scan_file", scan_file)
    return names


def run_ingest(store, *paths, **options):
    return ingest(store, [str(p) for p in paths], IngestOptions(**({"jobs": 0} | options)))


def stats(store, path):
    identity = locate_run(str(path)).identity
    with store.read(identity.shard) as cursor:
        return file_stats(cursor, identity.run_id)


def count(store, table, where="TRUE"):
    with store.read_merged() as cursor:
        return cursor.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]


@pytest.mark.parametrize("jobs", [0, 2])
def test_everything_below_a_path(store, tree, jobs):
    report = run_ingest(store, tree.parents[3], jobs=jobs)
    assert (report.runs_found, report.runs_written, report.files_scanned) == (2, 2, 8)
    assert report.problems == []
    assert report.bytes_scanned == sum(f.stat().st_size for f in tree.rglob("*.h5"))
    assert {k.depth for k in stats(store, tree / "r0001").values()} == {Depth.FULL}
    assert count(store, "runs") == 2
    facts = catalogued_facts(store, "p002012", locate_run(str(tree / "r0002")).identity.run_id)
    assert [t for i in range(2) for t in facts.trains(i).ids] == list(range(2000, 2020))


def test_a_second_ingest_only_stats(store, tree, scanned, monkeypatch):
    run_ingest(store, tree)
    versions = store.shards()
    merged = sorted(os.listdir(store.location / "merged"))
    scanned.clear()

    def never(*args, **kwargs):
        raise AssertionError("an unchanged tree was read")

    monkeypatch.setattr(jobs_module, "run_batches", lambda work, batches, **_: iter(batches))
    monkeypatch.setattr(ingest_module, "files_off_disk", never)
    report = run_ingest(store, tree)
    assert scanned == []
    assert (report.runs_unchanged, report.files_unchanged, report.runs_written) == (2, 8, 0)
    assert store.shards() == versions
    assert sorted(os.listdir(store.location / "merged")) == merged


def test_changed_new_and_vanished_files(store, tree, scanned):
    run_ingest(store, tree)
    scanned.clear()
    run = tree / "r0001"
    changed, gone = run / "RAW-R0001-DA01-S00001.h5", run / "RAW-R0001-DA02-S00001.h5"
    os.utime(changed, ns=(0, 10**18))
    gone.rename(tree.parent / "kept.h5")
    shutil.copy2(run / "RAW-R0001-DA02-S00000.h5", run / "RAW-R0001-DA03-S00000.h5")
    report = run_ingest(store, tree)
    assert sorted(scanned) == ["RAW-R0001-DA01-S00001.h5", "RAW-R0001-DA03-S00000.h5"]
    assert (report.runs_unchanged, report.runs_written, report.files_missing) == (1, 1, 1)
    known = stats(store, run)
    assert known[gone.name].missing
    assert known[changed.name].mtime_ns == 10**18
    assert count(store, "file_changes") == 1
    assert count(store, "findings", "check_id = 'C02'") == 1
    assert count(store, "findings", "check_id = 'C01' AND resolved_at IS NULL") == 1

    scanned.clear()
    (tree.parent / "kept.h5").rename(gone)  # as it was: nothing to read, but it is back
    run_ingest(store, tree)
    assert scanned == []
    assert not stats(store, run)[gone.name].missing
    assert count(store, "findings", "check_id = 'C01' AND resolved_at IS NULL") == 0


def test_an_absent_tree_changes_nothing(store, tree):
    run_ingest(store, tree)
    away = tree.with_name("away")
    tree.rename(away)
    with pytest.raises(RunNotFoundError, match="away"):
        run_ingest(store, tree)
    run_ingest(store, tree.parent, exclude=("away",))
    assert count(store, "files", "missing_since IS NULL") == 8


def test_a_run_that_moved_is_not_read_again(store, tree, tmp_path, scanned):
    run_ingest(store, tree)
    scanned.clear()
    storage = tmp_path / "d/raw/SPB/202201/p002012"
    storage.mkdir(parents=True)
    (tree / "r0001").rename(storage / "r0001")
    run_ingest(store, storage)
    assert scanned == []
    assert count(store, "runs") == 2
    assert count(store, "run_locations", "run = 1") == 2
    (tree / "r0001").symlink_to(storage / "r0001")
    report = run_ingest(store, tree)
    assert scanned == []
    assert report.problems == []


def test_a_loose_run_that_moved_is_not_read_again(store, tmp_path, scanned):
    write_run(tmp_path / "here", spec(5))
    run_ingest(store, tmp_path / "here")
    scanned.clear()
    (tmp_path / "here").rename(tmp_path / "there")
    run_ingest(store, tmp_path / "there")
    assert scanned == []
    with store.read_merged() as cursor:
        rows = cursor.execute("SELECT path, trains, recorded_run FROM runs").fetchall()
    assert rows == [(str(tmp_path / "there"), 20, 5)]
    shutil.copytree(tmp_path / "there", tmp_path / "copy")  # keeps times: the facts hold there too
    run_ingest(store, tmp_path / "copy")
    assert scanned == []
    assert count(store, "runs") == 2


def test_two_directories_never_share_an_identity_by_accident(store, tree, tmp_path):
    run_ingest(store, tree)
    other = tmp_path / "elsewhere" / TREE / "r0001"
    write_run(other, spec(1, range(50, 90)))
    report = run_ingest(store, tmp_path / "elsewhere")
    assert [p.path for p in report.problems] == [str(other)]
    assert str(tree / "r0001") in report.problems[0].message
    assert count(store, "runs", "first_train = 50") == 0
    report = run_ingest(Store(tmp_path / "second"), tree, other.parent)
    assert (report.runs_skipped, report.runs_written, len(report.problems)) == (1, 2, 1)
    assert str(other) in report.problems[0].path + report.problems[0].message


def test_a_part_of_a_run_in_another_place_changes_nothing(store, tree, tmp_path, scanned):
    run_ingest(store, tree / "r0001")
    versions = store.shards()
    part = tmp_path / "elsewhere" / TREE / "r0001"
    part.mkdir(parents=True)
    shutil.copy2(tree / "r0001" / "RAW-R0001-DA01-S00000.h5", part)
    scanned.clear()
    report = run_ingest(store, part)
    assert (scanned, report.problems, report.files_missing) == ([], [], 0)
    assert (report.runs_unchanged, report.files_unchanged) == (1, 1)
    assert store.shards() == versions

    shutil.copy2(tree / "r0002" / "RAW-R0002-DA01-S00000.h5", part)  # now both have their own
    report = run_ingest(store, part)
    assert [p.path for p in report.problems] == [str(part)]
    assert str(tree / "r0001") in report.problems[0].message
    assert (scanned, store.shards()) == ([], versions)

    (tree / "r0001" / "RAW-R0001-DA02-S00001.h5").unlink()  # and what no place has is missing
    report = run_ingest(store, tree / "r0001")
    assert (report.files_missing, report.problems) == (1, [])


def test_what_is_excluded_has_not_vanished(store, tree, scanned):
    run_ingest(store, tree)
    scanned.clear()
    report = run_ingest(store, tree, exclude=("*DA02*",))
    assert (scanned, report.runs_unchanged, report.files_missing) == ([], 2, 0)
    (tree / "r0001" / "RAW-R0001-DA01-S00001.h5").unlink()
    (tree / "r0001" / "RAW-R0001-DA02-S00001.h5").unlink()
    run_ingest(store, tree, exclude=("*DA02*",))
    missing = {name for name, known in stats(store, tree / "r0001").items() if known.missing}
    assert missing == {"RAW-R0001-DA01-S00001.h5"}


def test_exclude_since_dry_run_force_and_verify(store, tree, scanned):
    old = datetime.now(UTC) - timedelta(days=100)
    for f in tree.rglob("*.h5"):
        seconds = old.timestamp() if "R0001" in f.name else time.time()
        os.utime(f, (seconds, seconds))
    report = run_ingest(store, tree, dry_run=True, exclude=("*DA02*",))
    assert sorted(map(os.path.basename, report.to_scan)) == [
        f"RAW-R000{r}-DA01-S0000{s}.h5" for r in (1, 2) for s in (0, 1)
    ]
    assert not store.exists()
    since = (old + timedelta(days=1)).replace(tzinfo=None)
    report = run_ingest(store, tree, since=since)
    assert (report.runs_skipped, report.runs_written) == (1, 1)
    run_ingest(store, tree)
    scanned.clear()
    assert not stats(store, tree / "r0001")["RAW-R0001-DA01-S00001.h5"].verified
    run_ingest(store, tree, verify=True)
    assert {n[-9:] for n in scanned} == {"S00001.h5"}  # first sequences are always read in full
    assert all(k.verified for k in stats(store, tree / "r0001").values())
    run_ingest(store, tree, verify=True)
    assert len(scanned) == 4
    run_ingest(store, tree, force=True)
    assert len(scanned) == 12


def test_files_on_tape_wait_for_stage(store, tree, scanned):
    run = tree / "r0001"
    for f in sorted(run.glob("*.h5")):
        where = "NEARLINE" if "S00001" in f.name else "ONLINE"
        (run / f".(get)({f.name})(locality)").write_text(where)
    report = run_ingest(store, run)
    assert len(scanned) == 2
    assert {p.check for p in report.problems} <= {"F06"}
    known = stats(store, run)
    assert [known[n].depth for n in sorted(known)] == [3, 0, 3, 0]
    assert count(store, "findings", "check_id = 'F06'") == 2
    versions = store.shards()
    run_ingest(store, run)
    assert store.shards() == versions  # still on tape: nothing new to say
    run_ingest(store, run, stage=True)
    assert len(scanned) == 4
    assert count(store, "findings", "check_id = 'F06' AND resolved_at IS NULL") == 0
    for f in run.glob("*.h5"):
        (run / f".(get)({f.name})(locality)").write_text("NEARLINE")
    run_ingest(store, run, force=True)  # facts of an unchanged file are not lost to tape
    assert {k.depth for k in stats(store, run).values()} == {Depth.FULL}


def test_what_changes_while_it_is_read_is_not_believed(store, tree, monkeypatch):
    run = tree / "r0001"
    real = ingest_module.scan_file

    def scan_file(path, **kwargs):
        record = real(path, **kwargs)
        if path.endswith("DA01-S00000.h5"):
            os.utime(path, ns=(0, 10**18))
        return record

    monkeypatch.setattr(ingest_module, "scan_file", scan_file)
    report = run_ingest(store, run)
    assert [p.check for p in report.problems] == ["C02"]
    assert "RAW-R0001-DA01-S00000.h5" not in stats(store, run)
    monkeypatch.setattr(ingest_module, "scan_file", real)
    run_ingest(store, run)
    assert len(stats(store, run)) == 4


class InterruptAfter:
    """Progress that is interrupted after so many runs."""

    def __init__(self, runs):
        self.runs = runs

    def found(self, runs): ...
    def planned(self, files, size): ...
    def scanned(self, files, size, problems): ...
    def publishing(self): ...

    def finished_run(self, label):
        self.runs -= 1
        if not self.runs:
            raise KeyboardInterrupt


@pytest.mark.parametrize("jobs", [0, 2])
def test_an_interrupt_keeps_what_is_complete(store, tree, tmp_path, jobs):
    write_run(tmp_path / "exp/SPB/202201/p002013/raw/r0001", spec(1, proposal=2013))
    root = str(tmp_path / "exp")
    report = ingest(store, [root], IngestOptions(jobs=jobs), InterruptAfter(2))
    assert report.interrupted
    assert report.runs_written == 2
    assert count(store, "runs") == 2
    report = ingest(store, [root], IngestOptions(jobs=jobs))
    assert (report.runs_unchanged, report.runs_written) == (2, 1)
    assert count(store, "runs") == 3


def test_reads_can_be_limited(store, tree):
    started = time.monotonic()
    run_ingest(store, tree / "r0002", reads_per_second=20)
    assert time.monotonic() - started > 0.15  # at least one read of each of four files


def test_bad_files_are_reported_and_the_rest_is_catalogued(store, tree):
    run = tree / "r0001"
    (run / "RAW-R0001-DA09-S00000.h5").write_text("no HDF5")
    (run / "RAW-R0001-DA09-S00001.h5").touch()
    (run / "RAW-R0001-DA09-S00002.h5").symlink_to("/nowhere/at/all")
    (run / "RAW-R0001-DA09-S00003.h5").mkdir()
    os.mkfifo(run / "RAW-R0001-DA09-S00004.h5")
    whole = (run / "RAW-R0001-DA01-S00001.h5").read_bytes()
    (run / "RAW-R0001-DA09-S00005.h5").write_bytes(whole[: len(whole) // 2])
    report = run_ingest(store, run, jobs=2)
    bad = {os.path.basename(p.path) for p in report.problems}
    assert bad == {f"RAW-R0001-DA09-S0000{i}.h5" for i in range(6)}
    assert all(p.message for p in report.problems)
    assert count(store, "files", "depth = 'full'") == 4
    assert count(store, "files", "depth = 'unread'") == 6
