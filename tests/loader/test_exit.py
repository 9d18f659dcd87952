"""However a program ends that opened a run without a catalog: in silence, and nothing is broken.

The outline that opening took is saved by a thread. Where the program ends by itself the thread
ends its work first; where it is killed, or ends while Python shuts down, nothing is saved.
"""

import os
import signal
import subprocess
import sys

import pytest
import xfelcat
from support.examples import some
from support.tiny_file import CAMERA, write_tiny
from xfelcat.catalog.store.store import Store

PROGRAM = """
import atexit, multiprocessing, os, signal, sys, threading, time
import xfelcat

def go():
    return xfelcat.RunDirectory({path!r})

def go_on():
    go()
    time.sleep(60)

if __name__ == "__main__":
"""
SAVED = {
    "at once": "go()",
    "by an exit code": "go(); sys.exit(3)",
    "by an error": "go(); raise SystemExit('wrong')",
    "by Ctrl-C": "go(); signal.raise_signal(signal.SIGINT)",
    "after a fork": "go(); os.fork() or sys.exit(); os.wait()",
    "in a child": "os.fork() or (go(), sys.exit()); os.wait()",
    "in a daemonic process": "p = multiprocessing.get_context('fork').Process("
    "target=go, daemon=True); p.start(); p.join()",
}
NOT_SAVED = {
    "by os._exit": "go(); os._exit(0)",
    "by SIGTERM": "go(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "by SIGKILL": "go(); os.kill(os.getpid(), signal.SIGKILL)",
    "while a thread opens": "threading.Thread(target=go).start()",
    "while a daemonic thread opens": "threading.Thread(target=go, daemon=True).start()",
    "before it is opened": "atexit.register(go)",
    "while a daemonic process works": "p = multiprocessing.get_context('fork').Process("
    "target=go_on, daemon=True); p.start(); time.sleep(1)",
}
WORDS = {"by an error": ["wrong"], "by Ctrl-C": ["Traceback", "raise_signal", "KeyboardInterrupt"]}


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "MID" / "202401" / "p002012" / "raw" / "r0007"
    folder.mkdir(parents=True)
    write_tiny(folder / "RAW-R0007-DA01-S00000.h5").close()
    return folder


def end(path, tmp_path, how):
    """The standard error of a program that ends in a way, and the user's catalog."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    text = PROGRAM.format(path=str(path)) + "    " + how
    program = tmp_path / "program.py"
    program.write_text(text)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XFELCAT", "XDG"))}
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stderr, Store(home / ".local" / "share" / "xfelcat" / "catalog")


@pytest.mark.parametrize("how", some([*SAVED, *NOT_SAVED], 3))
def test_a_program_ends(path, tmp_path, how):
    errors, store = end(path, tmp_path, (SAVED | NOT_SAVED)[how])
    for line in errors.splitlines():
        assert any(word in line for word in WORDS.get(how, [])) or line.startswith(" "), errors
    if how in SAVED:
        assert list(store.shards()) == ["p002012"]
    # The next program opens the run and saves its outline, whatever the one before left.
    errors, store = end(path, tmp_path, SAVED["at once"])
    assert errors == ""
    (shard,) = store.shards()
    assert not list((store.location / "shards" / "p002012").glob(".draft*")), shard
    catalog = xfelcat.Catalog(store.location)
    assert catalog.runs()["run"].tolist() == [7]
    assert xfelcat.RunDirectory(path)[CAMERA, "data.img"].shape == (20, 3, 4)


def test_ctrl_c_is_what_it_was():
    """For the tests above: the shell may have left it ignored."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
