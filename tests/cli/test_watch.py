"""A watcher is a process: it sees runs come, waits for those that are being written, and stops."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.tiny_file import write_tiny
from xfelcat import Catalog
from xfelcat.cli.watch import LogFormat, format_event

RUN = "SPB/202201/p002012/raw/r0007"
QUICK = ("--interval", "0.2", "--quiet", "0.3", "--publish-every", "0", "--jobs", "0")


class Watcher:
    """A running ``xfelcat watch``, whose events are read as they come."""

    def __init__(self, root, catalog, *options):
        command = [str(Path(sys.executable).parent / "xfelcat"), "watch", str(root)]
        command += ["--catalog", str(catalog), "--log-format", "json", *QUICK, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.events = []

    def until(self, event, **fields):
        """Wait for an event with these fields."""
        for line in self.process.stderr:
            told = json.loads(line)
            self.events.append(told)
            if told["event"] == event and all(told.get(k) == v for k, v in fields.items()):
                return told
        raise AssertionError(f"no {event} {fields} among {self.events}")

    def stop(self, number=signal.SIGTERM):
        """Stop it, and give its exit code."""
        self.process.send_signal(number)
        rest = self.process.stderr.read()
        assert "Traceback" not in rest, rest
        self.events += map(json.loads, rest.splitlines())
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path, no_settings):
    started = []

    def run(*options):
        (tmp_path / "exp").mkdir(exist_ok=True)
        started.append(Watcher(tmp_path / "exp", tmp_path / "catalog", *options))
        return started[-1]

    yield run
    for watcher in started:
        watcher.process.kill()
        watcher.process.wait()
        watcher.process.stderr.close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "exp"


@pytest.fixture
def catalog(tmp_path):
    return Catalog(tmp_path / "catalog")


def file_of(root, run=7, da=1, sequence=0):
    directory = root / f"SPB/202201/p002012/raw/r{run:04d}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"RAW-R{run:04d}-DA{da:02d}-S{sequence:05d}.h5"


def test_a_run_that_is_written_slowly(start, root, catalog):
    watcher = start()
    watcher.until("round")
    write_tiny(file_of(root), run=7).close()
    done = watcher.until("ingested", runs=["p002012/raw/r0007"])
    assert done["files"] == 1
    audited = watcher.until("audited", runs=1)
    assert audited["errors"] == audited["new"] - audited["warnings"] - audited["infos"]
    watcher.until("published")
    assert catalog.runs()["run"].tolist() == [7]

    growing = file_of(root, da=2)
    file = h5py.File(growing, "w")  # held open, as the DAQ does; nothing is complete in it
    file["INDEX/trainId"] = np.arange(1000, 1010, dtype=np.uint64)
    file.flush()
    waiting = watcher.until("in_progress", path=str(growing))
    assert waiting["level"] == "info"
    assert waiting["reason"]
    while waiting["reason"] == "changed just now":  # none where the watcher comes late
        waiting = watcher.until("in_progress", path=str(growing))  # it is tried, not called broken
    write_tiny(file_of(root, run=8), run=8).close()
    watcher.until("ingested", runs=["p002012/raw/r0008"])  # nobody waits for it meanwhile
    watcher.until("published")
    assert catalog.sql("SELECT name FROM files WHERE run = 7")["name"].tolist() == [
        "RAW-R0007-DA01-S00000.h5"
    ]
    assert len(catalog.sql("SELECT * FROM findings WHERE check_id IN ('F01', 'F02', 'F03')")) == 0

    file.close()
    growing.unlink()
    write_tiny(growing, run=7).close()
    watcher.until("ingested", runs=["p002012/raw/r0007"])
    watcher.until("published")
    assert catalog.runs(run=7)["files"].tolist() == [2]
    assert watcher.stop() == 0
    assert [e["event"] for e in watcher.events][-2:] == ["stopping", "stopped"]
    assert all({"time", "level", "event"} <= e.keys() for e in watcher.events)


@pytest.mark.slow
def test_it_goes_on_where_it_was_after_a_restart(start, root, catalog):
    write_tiny(file_of(root, 1), run=1).close()
    watcher = start()
    watcher.until("ingested", runs=["p002012/raw/r0001"])
    assert watcher.stop(signal.SIGINT) == 0
    write_tiny(file_of(root, 2), run=2).close()  # while nobody watches
    watcher = start()
    watcher.until("ingested", runs=["p002012/raw/r0002"])
    watcher.process.kill()  # without a word
    write_tiny(file_of(root, 3), run=3).close()
    watcher = start()
    watcher.until("ingested", runs=["p002012/raw/r0003"])
    watcher.until("published")
    assert watcher.stop() == 0
    assert catalog.runs()["run"].tolist() == [1, 2, 3]
    ingested = [e for e in watcher.events if e["event"] == "ingested"]
    assert [e["written"] for e in ingested] == [1]  # what was known is not written again


def test_a_file_that_stays_broken_is_ingested_as_it_is(start, root, catalog):
    watcher = start("--patience", "5")
    watcher.until("round")
    file_of(root).write_bytes(b"no HDF5")
    told = watcher.until("problem", path=str(file_of(root)))
    assert "in_progress" in [e["event"] for e in watcher.events]
    assert (told["check"], told["severity"], told["level"]) == ("F02", "E", "warning")
    watcher.until("published")
    assert watcher.stop() == 0
    assert catalog.sql("SELECT check_id FROM findings")["check_id"].tolist() == ["F02"]


def test_a_file_that_vanishes_and_a_root_that_goes_away(start, root, catalog):
    for da in (1, 2):
        write_tiny(file_of(root, da=da)).close()
    watcher = start()
    watcher.until("ingested", files=2)
    file_of(root, da=2).unlink()
    watcher.until("ingested", missing=1)
    root.rename(root.with_name("away"))
    watcher.until("unreadable", path=str(root))
    root.with_name("away").rename(root)
    watcher.until("readable", path=str(root))
    assert watcher.stop() == 0
    assert catalog.runs()["files_missing"].tolist() == [1]


def test_once_leaves_what_is_in_progress_to_the_next_time(xfelcat, root, catalog):
    write_tiny(file_of(root, 1), run=1).close()
    os.utime(file_of(root, 1), (0, time.time() - 60))
    file_of(root, 2).write_bytes(b"only begun")
    words = ("watch", root, "--catalog", catalog.location, "--once", "--jobs", "0")
    result = xfelcat(*words)
    assert result.exit_code == 0
    assert result.stdout == ""
    events = [
        dict(p.partition("=")[::2] for p in shlex.split(x)) for x in result.stderr.split("\n")
    ]
    assert [e["event"] for e in events if e] == [
        *("started", "in_progress", "ingested", "audited", "round", "published", "stopped")
    ]
    assert catalog.runs()["run"].tolist() == [1]
    write_tiny(file_of(root, 2), run=2).close()
    assert xfelcat(*words, "--quiet", "0").exit_code == 0
    assert catalog.runs()["run"].tolist() == [1, 2]


def test_a_catalog_that_cannot_be_written_is_an_error_once_and_told(xfelcat, root, tmp_path):
    write_tiny(file_of(root)).close()
    (tmp_path / "file").touch()
    result = xfelcat(
        *("watch", root, "--catalog", tmp_path / "file" / "catalog", "--once", "--quiet", "0"),
        *("--jobs", "0"),
    )
    assert result.exit_code == 1
    assert "event=ingest_failed" in result.stderr
    assert "level=error" in result.stderr


def test_an_absent_root_is_told_at_once(xfelcat, tmp_path):
    result = xfelcat("watch", tmp_path / "nowhere", "--catalog", tmp_path / "c")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr


NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def test_events_are_one_line_each_whatever_is_in_them():
    fields = {"path": '/a b/\n="x"', "n": 3, "roots": ["/a", "/b"], "none": None, "where": ""}
    line = format_event(LogFormat.TEXT, "problem", "warning", fields, NOW)
    assert line == (
        "time=2026-01-02T03:04:05.678Z level=warning event=problem"
        r' path="/a b/\n=\"x\"" n=3 roots=/a,/b'
    )
    told = json.loads(format_event(LogFormat.JSON, "problem", "warning", fields, NOW))
    assert told["path"] == fields["path"]
    assert set(told) == {"time", "level", "event", "path", "n", "roots"}
    bad = format_event(LogFormat.TEXT, "x", "info", {"path": "/\udcff"}, NOW)
    assert re.fullmatch(r"[ -~]+", bad)
