"""``ingest``: options, problems, exit codes, and what an interruption leaves."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.questions import runs
from xfelcat.catalog.store.store import Store


@pytest.fixture
def catalog(tmp_path):
    return tmp_path / "catalog"


@pytest.fixture
def run_dir(demo, public_path):
    """A copy of a clean run with five files, outside any facility, that every user may enter."""
    to = public_path / "run"
    shutil.copytree(demo.summary.run(900010, 3).path, to)
    return to


def known(catalog):
    return runs(Store(catalog)).to_frame()


def test_first_second_and_changed(xfelcat, run_dir, catalog):
    words = ("ingest", run_dir, "-c", catalog, "--jobs", "0")
    first = xfelcat(*words)
    assert first.exit_code == 0
    assert f"catalog: {catalog}" in first.stderr
    assert "1 run found: 1 written, 0 as catalogued" in first.stderr
    assert "5 files scanned" in first.stderr
    assert "0 problems" in first.stderr
    again = xfelcat(*words)
    assert "1 run found: 0 written, 1 as catalogued" in again.stderr
    assert "0 files scanned" in again.stderr
    assert "5 unchanged" in again.stderr
    os.utime(next(run_dir.glob("*.h5")), (1, 1))
    changed = xfelcat(*words)
    assert "1 file scanned" in changed.stderr
    assert "4 unchanged" in changed.stderr
    assert "5 files scanned" in xfelcat(*words, "--force").stderr
    assert "5 files scanned" in xfelcat(*words, "--verify", "--force").stderr


def test_dry_run_writes_nothing(xfelcat, run_dir, catalog):
    result = xfelcat("ingest", run_dir, "-c", catalog, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.split() == sorted(str(p) for p in run_dir.glob("*.h5"))
    assert "5 files to scan; nothing was written" in result.stderr
    assert not catalog.exists()


def test_exclude_and_since(xfelcat, run_dir, catalog):
    names = sorted(p.name for p in run_dir.glob("*.h5"))
    dry = ("ingest", run_dir, "-c", catalog, "--dry-run")
    left = xfelcat(*dry, "--exclude", names[0], "--exclude", "*S00001*").stdout.split()
    assert [Path(p).name for p in left] == [n for n in names[1:] if "S00001" not in n]
    newest = max(p.stat().st_mtime for p in run_dir.glob("*.h5"))
    day = time.strftime("%Y-%m-%d", time.gmtime(newest))
    assert len(xfelcat(*dry, "--since", day).stdout.split()) == 5
    later = time.strftime("%Y-%m-%d", time.gmtime(newest + 86400))
    assert xfelcat(*dry, "--since", later).stdout == ""


def test_a_pace_is_kept(xfelcat, run_dir, catalog):
    words = ("ingest", run_dir, "-c", catalog, "--jobs", "1", "--reads-per-second", "500")
    started = time.monotonic()
    assert xfelcat(*words).exit_code == 0
    assert time.monotonic() - started > 0.5  # far more than 250 reads
    assert len(known(catalog)) == 1


def test_an_absent_path_is_one_line_and_nothing_is_written(xfelcat, run_dir, catalog):
    result = xfelcat("ingest", run_dir, run_dir.with_name("rum"), "-c", catalog)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("xfelcat: directory ")
    assert str(run_dir) in result.stderr.splitlines()[-1]  # the nearest there is
    assert not catalog.exists()


def test_a_catalog_that_cannot_be_written_is_one_line(xfelcat, run_dir, tmp_path):
    (tmp_path / "file").write_text("")
    result = xfelcat("ingest", run_dir, "-c", tmp_path / "file" / "x", "--jobs", "0")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr.splitlines()[-1]


def make_bad_files(run_dir):
    """Put every kind of bad file into a run; names and a word of the reason of each."""
    good = sorted(run_dir.glob("*.h5"))[0]

    def name(kind):
        return run_dir / f"RAW-R0003-{kind}-S00000.h5"

    name("CUT").write_bytes(good.read_bytes()[:5000])
    name("TEXT").write_text("this is no HDF5 file\n" * 50)
    name("EMPTY").touch()
    name("DANGLING").symlink_to(run_dir / "nowhere.h5")
    name("FOLDER").mkdir()
    os.mkfifo(name("FIFO"))
    shutil.copyfile(good, name("LOCKED"))
    name("LOCKED").chmod(0)
    reasons = {
        "CUT": "truncated",
        "TEXT": "not an HDF5 file",
        "EMPTY": "empty",
        "DANGLING": "link",
        "FOLDER": "directory",
        "FIFO": "FIFO|pipe",
        "LOCKED": "[Pp]ermission",
    }
    return {str(name(kind)): reason for kind, reason in reasons.items()}


@pytest.mark.parametrize("strict", [pytest.param(False, marks=pytest.mark.slow), True])
def test_bad_files_are_reported_and_the_rest_is_catalogued(run_dir, public_path, tmp_path, strict):
    catalog = public_path / "open" / "catalog"
    catalog.parent.mkdir()
    catalog.parent.chmod(0o777)
    good = sorted(p.name for p in run_dir.glob("*.h5"))
    warm_up = run_dir.with_name("warm")
    shutil.copytree(run_dir, warm_up)
    bad = make_bad_files(run_dir)
    # Root may read everything: become nobody, once all that is needed has been imported.
    code = (
        "import os, sys\n"
        "from xfelcat.cli.app import app\n"
        "warm_up, other, *words = sys.argv[1:]\n"
        "app(['ingest', warm_up, '-c', other, '-j', '0'], standalone_mode=False)\n"
        "sys.stderr.write('-' * 9 + '\\n')\n"
        "if os.getuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "app(words)\n"
    )
    words = ["ingest", str(run_dir), "-c", str(catalog), "-j", "0", *["--strict"] * strict]
    done = subprocess.run(
        [sys.executable, "-c", code, str(warm_up), str(tmp_path / "other"), *words],
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = done.stderr.partition("-" * 9)[2]
    assert done.returncode == (1 if strict else 0), done.stderr
    lines = said.splitlines()
    for path, reason in bad.items():
        assert any(path in line and re.search(reason, line) for line in lines), (path, said)
    assert "Traceback" not in said
    assert lines[-1] == f"{len(bad)} problems"
    frame = known(catalog)
    assert frame["files"].item() == len(good) + len(bad)
    assert frame["files_unread"].item() == len(bad)
    assert frame["trains"].item() == len(set(range(90)))


def test_problems_of_the_demo_are_grouped_with_path_and_reason(xfelcat, demo, catalog):
    result = xfelcat("ingest", demo.root / "FXE", "-c", catalog, "--strict", "-j", "2")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    heads = [line for line in lines if re.fullmatch(r"[A-Z]\d\d \w.* \(\w+\), \d+:", line)]
    assert heads == sorted(heads)
    listed = [line for line in lines if line.startswith("  /")]
    assert sum(int(h.split()[-1][:-1]) for h in heads) == len(listed)
    assert lines[-1] == f"{len(listed)} problems"
    checks = {h.split()[0] for h in heads}
    at_ingest = {"F01", "F02", "F03", "F05", "I01", "T01", "T02", "T03"}
    for fault in demo.summary.faults:
        if fault.check in at_ingest:
            assert fault.check in checks
            assert any(str(fault.path) in line for line in listed), fault


@pytest.mark.slow  # as tests/test_ctrl_c.py, of a facility
def test_ctrl_c_keeps_what_is_complete(demo, catalog, xfelcat):
    executable = Path(sys.executable).parent / "xfelcat"
    slow = ("--reads-per-second", "3000", "-j", "1")
    command = [str(executable), "ingest", str(demo.root), "-c", str(catalog), *slow]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 600
    while not list(catalog.glob("shards/*/current*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert re.search(r"interrupted: \d+ runs? kept; the same command goes on from there", said)
    kept = known(catalog)
    assert 0 < len(kept) < len(demo.summary.runs)
    assert xfelcat("db", "check", "-c", catalog).exit_code == 0
    rest = xfelcat("ingest", demo.root, "-c", catalog)
    assert rest.exit_code == 0
    assert f"{len(kept)} as catalogued" in rest.stderr
    assert len(known(catalog)) == len(demo.summary.runs)


def test_questions_are_answered_when_the_tree_is_gone(xfelcat, run_dir, catalog):
    xfelcat("ingest", run_dir, "-c", catalog, "-j", "0")
    shutil.rmtree(run_dir)
    found = xfelcat("find", "*XGM/DOOCS", "beamPosition.*", "-f", "csv", "-c", catalog)
    assert len(found.stdout.splitlines()) == 1 + 4
    counted = xfelcat("sql", "SELECT trains FROM runs", "-f", "csv", "-c", catalog)
    assert counted.stdout.splitlines() == ["trains", "90"]
    listed = xfelcat("ls", run_dir, "-c", catalog)
    assert listed.exit_code == 0
    assert "# of trains:    90" in listed.stdout


def test_progress_on_a_terminal(demo, catalog):
    import pty

    executable = Path(sys.executable).parent / "xfelcat"
    parent, child = pty.openpty()
    command = [str(executable), "ingest", str(demo.root / "SPB" / "201830"), "-c", str(catalog)]
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stderr=child, stdout=child, env=environ)
    os.close(child)
    shown = b""
    try:
        while chunk := os.read(parent, 65536):
            shown += chunk
    except OSError:  # how Linux tells that the other end is closed
        pass
    os.close(parent)
    assert process.wait(timeout=600) == 0
    text = shown.decode()
    assert re.search(r"\d/6 runs, p900010/", text) or "merging" in text
    assert re.search(r"107/107 files, 14\.9 MB, \d+ files/s, 0 problems", text)
    assert "6 runs found: 6 written" in text
