"""An error of ours is one line and 1, Ctrl-C is 130, and a bug keeps its traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from xfelcat.catalog.model.errors import FileStructureError
from xfelcat.catalog.questions import find as questions

EXECUTABLE = str(Path(sys.executable).parent / "xfelcat")


@pytest.fixture
def failing(monkeypatch):
    def fail_with(error):
        def find(*args, **options):
            raise error

        monkeypatch.setattr(questions, "find", find)

    return fail_with


def test_an_error_of_ours(xfelcat, failing, demo):
    failing(FileStructureError("/x.h5", "is broken", "mend it"))
    result = xfelcat("find", "*", "-c", demo.location)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"catalog: {demo.location}",
        "xfelcat: /x.h5: is broken; mend it",
    ]


def test_a_bug_keeps_its_traceback(xfelcat, failing, demo):
    failing(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        xfelcat("find", "*", "-c", demo.location)


def test_a_full_disk_is_one_line(demo, no_settings):
    command = [EXECUTABLE, "sql", "SELECT * FROM runs", "-c", str(demo.location)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "xfelcat: the output cannot be written: No space left on device"
    ]


def test_ctrl_c(xfelcat, failing, demo):
    failing(KeyboardInterrupt())
    result = xfelcat("find", "*", "-c", demo.location)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "xfelcat: interrupted"


def test_ctrl_c_stops_a_running_query(demo, no_settings):
    endless = "SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = sin(a.range)"
    command = [EXECUTABLE, "sql", endless, "-c", str(demo.location)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stderr.readline().startswith("catalog: ")
    time.sleep(2)  # until the query runs; sooner would be an interruption like any other
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130
    assert said.splitlines() == ["xfelcat: interrupted"]


def test_a_bad_setting_is_one_line(xfelcat, no_settings):
    config = no_settings.config / "xfelcat" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("catalogue = 'x'\n")
    result = xfelcat("find")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"xfelcat: config file {config}: unknown setting")
    assert "did you mean 'catalog'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
