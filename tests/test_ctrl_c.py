"""Ctrl-C at any moment of any command: exit code 130, no traceback, and a whole catalog.

After its last output a command is ending, and dies of the signal, which shells show as 130 too.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from support.demo_facility import demo, demo_and_report, no_settings
from support.examples import some
from typer.testing import CliRunner
from xfelcat.__main__ import main
from xfelcat.catalog.store.care import check
from xfelcat.cli.app import app

__all__ = ["demo", "demo_and_report", "no_settings"]

EXECUTABLE = Path(sys.executable).parent / "xfelcat"
COMMANDS = {
    "ingest": ("ingest", "{root}", "--force", "-j", "1"),
    "audit": ("audit", "--fail-on", "never"),
    "profile": ("profile", "*XGM*", "--force", "-j", "1"),
    "sql": ("sql", "SELECT count(*) FROM range(20000000) WHERE sin(range) > 2"),
    "find": ("find", "*"),
    "merge": ("db", "compact"),
    "watch": ("watch", "{root}", "--quiet", "0", "--interval", "0.1"),
    "validate": ("validate", "{run}", "--deep", "-j", "1"),
    "info": ("info", "900032/1"),
    "ls": ("ls", "{root}"),
    "export": ("export", "parquet", "{out}", "--force"),
}


# In the seconds that each takes with workers, which are what can be left waiting.
OFTEN = [
    pytest.param(name, number, marks=pytest.mark.slow if number else ())
    for name in ("ingest", "profile")
    for number in range(12)
]


def interrupted(words, moment, *more):
    """Exit code and stderr of a command that gets Ctrl-C so long after its first output.

    As from a terminal, its workers get it too; and again after each of ``more`` seconds.
    """
    command = [str(EXECUTABLE), *map(str, words)]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        first = process.stderr.readline()
        for seconds in (moment, *more):
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=600)
    return process.returncode, first + rest


@pytest.mark.parametrize("name", some(COMMANDS, ("ingest", "audit", "sql", "watch")))
def test_ctrl_c(demo, tmp_path, monkeypatch, name):
    store = demo.copy_catalog(tmp_path / "catalog")
    monkeypatch.setenv("XFELCAT_CATALOG", str(store.location))
    run = demo.summary.run(900032, 1).path
    words = [w.format(root=demo.root, run=run, out=tmp_path / "out") for w in COMMANDS[name]]
    moment = random.Random(name).uniform(0, 1.5)
    code, said = interrupted(words, moment)
    assert code in (0, 130, -signal.SIGINT), (moment, said)
    assert "Traceback" not in said, (moment, said)
    if code == 130:
        assert sum("interrupted" in line for line in said.splitlines()) == 1, said
    assert check(store) == []
    assert len(store.shards()) == len(demo.store.shards())


@pytest.mark.parametrize(("name", "number"), OFTEN)
def test_ctrl_c_at_many_moments(demo, tmp_path, name, number):
    """Workers never keep the command from ending; one that hangs is ended by the time limit."""
    store = demo.copy_catalog(tmp_path / "catalog")
    words = [w.format(root=demo.root, out=tmp_path / "out") for w in COMMANDS[name]]
    chance = random.Random(f"{name} {number}")
    moment, impatience = chance.uniform(0, 4), chance.uniform(0, 0.3)
    code, said = interrupted([*words, "-c", store.location], moment, impatience)
    assert code in (0, 130, -signal.SIGINT), (moment, said)
    assert "Traceback" not in said, (moment, said)
    assert check(store) == []


def test_ctrl_c_while_a_command_is_imported(monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.__import__", interrupt)
    with pytest.raises(SystemExit) as ended:
        main()
    monkeypatch.undo()
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_IGN
    assert ended.value.code == 130
    assert capsys.readouterr().err == "xfelcat: interrupted\n"


def while_ending():
    """An error of what was being ended because of Ctrl-C."""
    error = UnboundLocalError("cannot access local variable 'result'")
    error.__context__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    "error",
    [
        while_ending(),
        RuntimeError("Query interrupted"),
        duckdb.InvalidInputException(
            "reading the schema of the object registered as 'incoming' failed: KeyboardInterrupt: "
        ),
    ],
)
def test_what_others_make_of_ctrl_c(monkeypatch, tmp_path, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("xfelcat.catalog.ingest.ingest.ingest", fail)
    done = CliRunner().invoke(app, ["ingest", str(tmp_path), "-c", str(tmp_path / "c")])
    assert (done.exit_code, done.stderr.splitlines()[1:]) == (130, ["xfelcat: interrupted"])
