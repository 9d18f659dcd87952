"""Every question of docs/cookbook.md is answered as shown, and as a walk through the files answers.

1. What a block gives is compared with what the page shows.
2. ``EXPECTED`` answers each question from the files alone (``fromfiles``), without the catalog; the
   columns it names are compared with those of the block, row by row.
"""

import ast
import csv
import io
import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from support.cookbook_oracle import EXPECTED
from support.demo_facility import demo, demo_and_report, demo_report, no_settings
from support.walk_oracle import walk
from typer.testing import CliRunner
from xfelcat.cli.app import app

__all__ = ["demo", "demo_and_report", "demo_report", "no_settings"]

PAGE = Path(__file__).parent.parent / "docs" / "cookbook.md"
QUESTION = re.compile(
    r"^## (\d+)\. (.+?)\n.*?^```(python|sh)\n(.*?)^```\n```text\n(.*?)^```$", re.M | re.S
)
QUESTIONS = {
    int(n): (title, kind, code, shown)
    for n, title, kind, code, shown in QUESTION.findall(PAGE.read_text())
}


@pytest.fixture(scope="module")
def kitchen(demo, tmp_path_factory):
    """A directory with demo/facility and a demo/catalog of its own."""
    where = tmp_path_factory.mktemp("kitchen")
    (where / "demo").mkdir()
    (where / "demo" / "facility").symlink_to(demo.root)
    demo.copy_catalog(where / "demo" / "catalog")
    return where


def run_python(code):
    """The value of the last expression of a block, after the page's first one."""
    names = {}
    first = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)[1]
    exec(first, names)
    *body, last = ast.parse(code).body
    exec(compile(ast.Module(body, []), "cookbook", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cookbook", "eval"), names)


def run_command(code, *options):
    words = [*shlex.split(code)[1:], *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def print_answer(kind, code):
    """What a reader sees."""
    if kind == "sh":
        return run_command(code)
    with pd.option_context("display.width", 100, "display.max_columns", 20):
        return f"{run_python(code)}\n"


def rows_of_answer(kind, code):
    """The answer as dicts."""
    if kind == "python":
        answer = run_python(code)
        frame = answer.reset_index() if isinstance(answer, pd.Series) else answer
        return frame.to_dict("records")
    if "--format paths" in code:
        return [{"path": line} for line in run_command(code).splitlines()]
    if "--format csv" in code:
        return list(csv.DictReader(io.StringIO(run_command(code))))
    return json.loads(run_command(code, "--format", "json"))


def test_there_are_twenty_questions_and_an_answer_to_each():
    assert len(QUESTIONS) >= 20
    assert sorted(QUESTIONS) == sorted(EXPECTED) == list(range(1, len(QUESTIONS) + 1))


@pytest.mark.parametrize("number", QUESTIONS, ids=lambda n: f"{n}-{QUESTIONS[n][0][:30]}")
def test_the_page_shows_what_it_gives(number, kitchen, demo, monkeypatch):
    monkeypatch.chdir(kitchen)
    _, kind, code, shown = QUESTIONS[number]
    fresh = print_answer(kind, code).replace(str(demo.root), "demo/facility")
    assert [line.split() for line in fresh.splitlines()] == [
        line.split() for line in shown.splitlines()
    ]


@pytest.mark.parametrize("number", QUESTIONS, ids=lambda n: f"{n}-{QUESTIONS[n][0][:30]}")
def test_the_answer_is_that_of_the_files(number, kitchen, demo, monkeypatch):
    monkeypatch.chdir(kitchen)
    _, kind, code, _ = QUESTIONS[number]
    expected = EXPECTED[number](walk(demo.root))
    assert expected
    given = rows_of_answer(kind, code)
    names = list(expected[0])
    assert [{name: plain(row[name]) for name in names} for row in given] == [
        {name: plain(row[name]) for name in names} for row in expected
    ]


def plain(value):
    """As it is compared: floats to nine digits, arrays as lists, none of pandas' own missing."""
    if isinstance(value, tuple | list):
        return list(value)
    if value is None or value is pd.NA or value != value:
        return None
    return float(f"{value:.9g}") if isinstance(value, float) else value
