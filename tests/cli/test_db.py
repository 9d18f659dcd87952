"""``ls``, ``forget``, ``locality``, ``db`` and ``demo``."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.count_opens import forbid_opening
from support.next_revision import become_next_version
from support.questions import runs
from xfelcat.catalog.store.store import Store
from xfelcat.loader.open import H5File, RunDirectory
from xfelcat.loader.show.display import collection_info


@pytest.fixture
def own(demo, tmp_path):
    """A catalog of one's own, to change."""
    demo.copy_catalog(tmp_path / "own")
    return tmp_path / "own"


# ls ---------------------------------------------------------------------------------------------


def test_ls_of_the_catalog_has_a_row_per_proposal_and_class(xfelcat, demo):
    rows = [line.split() for line in xfelcat("ls", "-c", demo.location).stdout.splitlines()[2:]]
    expected = {}
    for run in demo.summary.runs:
        proposal = "/".join(run.path.relative_to(demo.root).parts[:3])
        n_runs, n_files = expected.get((proposal, run.data_class), (0, 0))
        n_files += len(list(run.path.glob("*.h5")))
        expected[(proposal, run.data_class)] = (n_runs + 1, n_files)
    assert {(r[0], r[1]): (int(r[2]), int(r[3])) for r in rows} == expected


def test_ls_of_a_proposal_has_a_row_per_run(xfelcat, demo):
    by_name = xfelcat("ls", "p900032", "-c", demo.location)
    by_path = xfelcat("ls", demo.root / "SPB" / "202405", "-c", demo.location)
    assert by_name.stdout == by_path.stdout
    rows = [line.split() for line in by_name.stdout.splitlines()[2:]]
    expected = [r for r in demo.summary.runs if r.spec.proposal == 900032]
    assert {r[0]: int(r[1]) for r in rows} == {
        f"p900032/{r.data_class}/r{r.spec.run:04d}": len(list(r.path.glob("*.h5")))
        for r in expected
    }
    assert "from the catalog" in by_name.stderr


def test_ls_without_a_catalog_lists_directories(xfelcat, demo):
    for path, n in ((demo.root, len(demo.summary.runs)), (demo.root / "FXE", 12)):
        result = xfelcat("ls", path)
        assert "from directory listings" in result.stderr
        assert f"{n} runs, " in result.stderr
        assert "p900021" in result.stdout


def test_ls_of_a_run_is_what_info_says(xfelcat, demo):
    written = demo.summary.run(900032, 1)
    run = RunDirectory(written.path, catalog=demo.location, save=False)
    expected = f"{written.path}\n{collection_info(run.selected, ())}"
    for target in ("p900032/raw/r0001", written.path):
        shown = xfelcat("ls", target, "-c", demo.location)
        assert shown.stdout.strip() == expected.strip()
        assert "from the catalog" in shown.stderr
    bare = xfelcat("ls", written.path)
    assert bare.stdout.strip() == expected.strip()
    assert "from the catalog" not in bare.stderr
    detailed = xfelcat("ls", written.path, "--details", "*XGM/DOOCS", "-c", demo.location).stdout
    assert "beamPosition.ixPos" in detailed
    assert "beamPosition.ixPos" not in expected


def test_ls_of_a_link_to_a_run(xfelcat, demo, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(demo.summary.run(900032, 1).path)
    shown = xfelcat("ls", link, "-c", demo.location)
    assert shown.stdout.splitlines()[0] == str(link)
    assert "# of trains:    20" in shown.stdout
    assert "from the catalog" in shown.stderr


def test_ls_of_a_file(xfelcat, demo):
    path = sorted(demo.summary.run(900010, 3).path.glob("*.h5"))[0]
    expected = f"{path}\n{collection_info(H5File(path).selected, ())}"
    assert xfelcat("ls", path).stdout.strip() == expected.strip()


def test_ls_of_a_catalogued_file_does_not_open_it(xfelcat, demo, monkeypatch):
    path = sorted(demo.summary.run(900032, 1).path.glob("*DA01*"))[0]
    expected = xfelcat("ls", path).stdout

    forbid_opening(monkeypatch)
    assert xfelcat("ls", path, "-c", demo.location).stdout == expected


def test_ls_warns_of_files_left_out(xfelcat, demo):
    result = xfelcat("ls", "p900021/raw/r0101", "-c", demo.location)
    assert result.exit_code == 0
    assert "4 of 6 files left out" in result.stderr
    assert "# of trains" in result.stdout


@pytest.mark.parametrize("target", ["nosuch", "p000001", "p900010/raw/r0099"])
def test_ls_of_nothing_is_one_line(xfelcat, demo, target):
    result = xfelcat("ls", target, "-c", demo.location)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"xfelcat: {target} is no file")
    assert len(result.stderr.splitlines()) == 2


def test_ls_of_a_folder_without_runs(xfelcat, tmp_path):
    (tmp_path / "x").mkdir()
    result = xfelcat("ls", tmp_path / "x")
    assert result.exit_code == 1
    assert "no run lies in or below" in result.stderr


def test_ls_of_a_file_that_is_no_hdf5(xfelcat, tmp_path):
    path = tmp_path / "x.h5"
    path.write_text("no")
    result = xfelcat("ls", path)
    assert result.exit_code == 1
    assert str(path) in result.stderr.splitlines()[-1]


def test_ls_of_names_that_are_no_text(xfelcat, demo, tmp_path):
    run = tmp_path / os.fsdecode(b"run\xff")
    shutil.copytree(demo.summary.run(900032, 5).path, run)
    (tmp_path / "catalog").mkdir()
    for _ in range(2):
        result = xfelcat("ls", tmp_path, "-c", tmp_path / "catalog")
        assert result.exit_code == 0
        assert "1 run, " in result.stderr
        xfelcat("ingest", tmp_path, "-j", "0", "-c", tmp_path / "catalog")


# forget -----------------------------------------------------------------------------------------


def test_forget_asks_first(xfelcat, own):
    n_runs = runs(Store(own)).table.num_rows
    for answer in ("n\n", ""):
        refused = xfelcat("forget", "p900010/raw/r0001", "-c", own, stdin=answer)
        assert refused.exit_code == 1
        assert "p900010/raw/r0001: 17 files" in refused.stderr
    assert runs(Store(own)).table.num_rows == n_runs
    assert xfelcat("forget", "p900010/raw/r0001", "-c", own, stdin="y\n").exit_code == 0
    assert runs(Store(own)).table.num_rows == n_runs - 1


def test_forget_several(xfelcat, own, demo):
    result = xfelcat("forget", "p900010", demo.root / "FXE", "--yes", "-c", own)
    assert result.exit_code == 0
    assert "18 runs forgotten" in result.stderr
    assert set(runs(Store(own)).to_frame()["proposal"]) == {900032, 900043}
    unknown = xfelcat("forget", "p900010", "--yes", "-c", own)
    assert unknown.exit_code == 1
    assert "p900010" in unknown.stderr.splitlines()[-1]


# locality ---------------------------------------------------------------------------------------


def test_locality_on_ordinary_disk(xfelcat, demo):
    result = xfelcat("locality", demo.summary.run(900010, 1).path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "17 on disk" in result.stderr


def test_locality_on_dcache(xfelcat, tmp_path):
    answers = {"A": "ONLINE", "B": "NEARLINE", "C": "UNAVAILABLE", "D": "ONLINE_AND_NEARLINE"}
    for name, answer in answers.items():
        (tmp_path / f"{name}.h5").touch()
        (tmp_path / f".(get)({name}.h5)(locality)").write_text(answer + "\n")
    result = xfelcat("locality", tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"only on tape: {tmp_path / 'B.h5'}",
        f"unavailable: {tmp_path / 'C.h5'}",
    ]
    assert "2 on disk" in result.stderr
    assert xfelcat("locality", tmp_path / "A.h5").exit_code == 0


# db ---------------------------------------------------------------------------------------------


def test_status(xfelcat, demo, own):
    shown = xfelcat("db", "status", "-c", demo.location).stdout
    assert f"location   {demo.location}" in shown
    assert f"runs       {len(demo.summary.runs)}," in shown
    assert "shards     4," in shown
    assert "up to date" in shown
    store = Store(own)
    with store.write("p900010") as writer:
        writer.forget_run(runs(store).table.to_pylist()[0]["run_id"])
    assert "xfelcat db merge" in xfelcat("db", "status", "-c", own).stdout
    assert "xfelcat db merge" in xfelcat("find", "nosuch", "-c", own).stderr
    assert "merged" in xfelcat("db", "merge", "-c", own).stderr
    assert "up to date" in xfelcat("db", "status", "-c", own).stdout
    assert "nothing to merge" in xfelcat("db", "merge", "-c", own).stderr


def test_status_of_nothing(xfelcat, tmp_path):
    result = xfelcat("db", "status", "-c", tmp_path / "none")
    assert result.exit_code == 0
    assert "nothing was ingested here yet" in result.stdout
    assert not (tmp_path / "none").exists()


def test_a_catalog_without_runs(xfelcat, own):
    assert "29 runs forgotten" in xfelcat("forget", "/", "--yes", "-c", own).stderr
    assert "the catalog holds no run" in xfelcat("ls", "-c", own).stderr
    assert "runs       0," in xfelcat("db", "status", "-c", own).stdout


@pytest.mark.parametrize("command", ["compact", "check", "merge"])
def test_care_of_nothing_is_an_error(xfelcat, tmp_path, command):
    result = xfelcat("db", command, "-c", tmp_path / "none")
    assert result.exit_code == 1
    assert "no catalog at" in result.stderr
    assert not (tmp_path / "none").exists()


def test_upgrade_with_nothing_to_do(xfelcat, own):
    assert "nothing to upgrade" in xfelcat("db", "upgrade", "-c", own).stderr


def test_upgrade_of_what_an_older_client_wrote(xfelcat, own, demo, tmp_path, monkeypatch):
    path = demo.summary.run(900032, 1).path
    expected = xfelcat("ls", path, "--details", "*", "-c", own).stdout
    old = [Store(own).versions(shard).current() for shard in Store(own).shards()]
    contents = {file: file.read_bytes() for file in old}
    known = runs(demo.store).table
    become_next_version(monkeypatch, tmp_path)
    assert "4 of an older schema version" in xfelcat("db", "status", "-c", own).stdout
    assert "from the catalog" not in xfelcat("ls", path, "-c", own).stderr
    assert "4 shards upgraded" in xfelcat("db", "upgrade", "-c", own).stderr
    assert {file: file.read_bytes() for file in old} == contents
    assert xfelcat("db", "check", "-c", own).stdout == ""
    forbid_opening(monkeypatch)
    upgraded = xfelcat("ls", path, "--details", "*", "-c", own)
    assert "from the catalog" in upgraded.stderr
    assert upgraded.stdout == expected
    assert runs(Store(own)).table.equals(known)


def test_answers_say_that_shards_of_an_older_client_are_left_out(
    xfelcat, own, demo, tmp_path, monkeypatch
):
    become_next_version(monkeypatch, tmp_path)
    assert xfelcat("ingest", demo.summary.run(900032, 1).path, "-c", own).exit_code == 0
    told = "3 shards of another schema version left out: see `xfelcat db status`"
    assert told in xfelcat("find", "*XGM*", "-c", own).stderr
    assert "3 shards upgraded" in xfelcat("db", "upgrade", "-c", own).stderr
    assert "left out" not in xfelcat("find", "*XGM*", "-c", own).stderr


def test_compact_and_check(xfelcat, own):
    before = runs(Store(own)).table
    assert xfelcat("db", "compact", "-c", own).exit_code == 0
    assert runs(Store(own)).table.equals(before)
    sound = xfelcat("db", "check", "-c", own)
    assert (sound.exit_code, sound.stdout) == (0, "")


def test_check_tells_what_is_wrong(xfelcat, own):
    import duckdb

    versions = Store(own).versions("p900010")
    with versions.lock(), versions.draft() as draft:
        with duckdb.connect(str(draft)) as connection:
            connection.execute("INSERT INTO run SELECT * FROM run LIMIT 1")
        versions.publish(draft)
    result = xfelcat("db", "check", "-c", own)
    assert result.exit_code == 1
    assert "shard p900010" in result.stdout


# demo -------------------------------------------------------------------------------------------


@pytest.mark.slow  # the tour has it too
def test_demo_writes_the_facility_and_lists_its_faults(xfelcat, demo, tmp_path):
    result = xfelcat("demo", tmp_path / "facility")
    assert result.exit_code == 0
    assert f"{len(demo.summary.runs)} runs, {demo.summary.n_files} files" in result.stdout
    for fault in demo.summary.faults:
        assert fault.description in result.stderr
    written = {p.relative_to(tmp_path / "facility") for p in (tmp_path / "facility").rglob("*.h5")}
    assert written == {p.relative_to(demo.root) for p in demo.root.rglob("*.h5")}


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_tour_runs(tmp_path, no_settings, times):
    target = tmp_path / "demo"
    command = [sys.executable, "-m", "xfelcat.cli.demo", str(target)]
    for _ in range(times):
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        shown = done.stdout
        for said in ("$ xfelcat demo", "$ xfelcat ingest", "$ xfelcat find", "$ xfelcat db status"):
            assert said in shown
        assert "29 runs found" in shown
        assert "SA1_XTD2_XGM/XGM/DOOCS" in shown
        assert "first audit of these runs" in shown
        assert "2508780000" in shown  # the first train of the run that is opened
        assert str(target / "catalog") in shown
        assert f"report written to {target / 'report.html'}" in shown
    assert (target / "report.html").stat().st_size > 50_000
    scanned = int(re.search(r"(\d+) files? scanned", shown)[1])
    assert scanned == 389 if times == 1 else scanned <= 2  # those of yesterday, after midnight
    assert not no_settings.data.exists()


def test_every_command_runs_as_a_process(process, demo):
    done = process("find", "SA1*", "beamPosition.ixPos", "-c", demo.location, "-f", "csv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 10
    module = [sys.executable, "-m", "xfelcat.cli.app", "--version"]
    assert subprocess.run(module, capture_output=True, text=True, check=True).stdout
    assert Path(shutil.which("xfelcat", path=str(Path(sys.executable).parent)) or "").exists()


def test_a_data_tree_is_no_place_for_a_catalog_or_a_demo(xfelcat, demo, tmp_path):
    tree = tmp_path / "exp"
    (tree / "MID" / "202401" / "p002012" / "raw").mkdir(parents=True)
    done = xfelcat("ingest", demo.root, "-c", tree)
    assert done.exit_code == 1
    assert (
        f"{tree} cannot be written: it is no catalog, but a folder with 'MID' in it" in done.stderr
    )
    done = xfelcat("demo", tree)
    assert done.exit_code == 2
    assert "has other things in it" in " ".join(done.stderr.split())
    assert [p.name for p in tree.rglob("*")] == ["MID", "202401", "p002012", "raw"]
