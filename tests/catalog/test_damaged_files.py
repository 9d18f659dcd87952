"""Damaged files never crash a scan or a read, hang it, or take what was there without a word.

The cases are those of ``support.damaged_files``; what is held of each, ``support.read_damaged``
says. They run in processes of their own, which may die of them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.examples import some

FOUND = (
    *(43, 47, 77, 98, 113, 151, 165, 173, 192, 218, 248, 295),
    *(309, 367, 441, 613, 735, 767, 941, 1059, 1071, 1383, 1469),
    *(1501, 1631, 1687, 1791, 2013, 2257, 2511),
)
"""Those that were read wrongly, or silently lost something, when they were first made."""
PER_PROCESS = 25
SECONDS = 600  # for cases that take 5 s: one that hangs


def wrong_cases(place, numbers):
    """What is wrong with the reading of cases, by what was done to the file."""
    command = [sys.executable, "-m", "support.read_damaged", str(place), *map(str, numbers)]
    tests = Path(__file__).parent.parent
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tests)
        ended = f"the process ended with {done.returncode}: {done.stderr[-2000:]}"
        lines = done.stdout.splitlines()
    except subprocess.TimeoutExpired as error:
        ended, lines = f"it hung: {error}", (error.stdout or b"").decode().splitlines()
    found = {}
    for line in map(json.loads, lines):
        found[line["case"], line["done"]] = line.get("wrong", ended)
    assert len(found) == len(numbers) or ended in found.values(), ended
    return {case: wrong for case, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(n, marks=pytest.mark.slow if n >= 100 else ())
        for n in range(0, 1000, PER_PROCESS)
    ],
)
def test_damaged_files(first, tmp_path):
    assert wrong_cases(tmp_path, range(first, first + PER_PROCESS)) == {}


@pytest.mark.parametrize(
    "numbers", some([FOUND[::4], FOUND[1::4], FOUND[2::4], FOUND[3::4]], 1), ids="abcd"
)
def test_damaged_files_that_were_read_wrongly(tmp_path, numbers):
    assert wrong_cases(tmp_path, numbers) == {}


def test_what_is_wrong_is_found(tmp_path, monkeypatch):
    """A process that dies, and a wrong answer, are seen."""
    monkeypatch.setenv("XFELCAT_TEST_WRONG", "die")
    ((_, found),) = wrong_cases(tmp_path / "a", [0, 1, 2]).items()
    assert "the process ended with -6" in found
    monkeypatch.setenv("XFELCAT_TEST_WRONG", "answer")
    assert len(wrong_cases(tmp_path / "b", [0, 2])) == 2
