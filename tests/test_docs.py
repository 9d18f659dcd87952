"""Every code block of the README and the docs runs, and every link in them leads somewhere.

Blocks of a page run one after the other in one directory, where ``demo/facility`` and
``demo/catalog`` are those that ``make demo`` makes. A page starts with neither settings nor names
of the one before.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.demo_facility import Clock, demo, demo_and_report
from support.examples import some
from typer.testing import CliRunner
from xfelcat.cli.app import app

__all__ = ["demo", "demo_and_report"]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_READ = [ROOT / name for name in ("README.md", "docs/reading.md", "docs/questions.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SHELL = re.compile(r"[|<>$;&`]")  # what only a shell understands
PLACE = re.compile(r"\b(?:catalog|loader|cli|migrations|tests)/[\w./]*\w/?")
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def place(demo, tmp_path_factory):
    """A directory with copies of the demo facility and its catalog, to change."""
    where = tmp_path_factory.mktemp("docs")
    shutil.copytree(demo.root, where / "demo" / "facility", symlinks=True)
    demo.copy_catalog(where / "demo" / "catalog")
    return where


@pytest.fixture
def environ(tmp_path):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("XFELCAT", "EXTRA_DATA"))}
    own = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "MPLBACKEND": "agg"}
    bin_dir = Path(sys.executable).parent
    return keep | own | {"PATH": f"{bin_dir}:{keep['PATH']}", "COLUMNS": "100"}


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("page", some(PAGES, MOST_READ), ids=name_of)
def test_python_blocks_run(page, place, environ):
    code = "\n".join(blocks(page, "python"))
    if not code:
        pytest.skip("no Python on this page")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:xfelcat", "-c", code],
        cwd=place,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_each_question_of_a_beamtime_takes_five_lines_and_gives_what_is_shown(place, environ):
    page = (ROOT / "docs" / "across-runs.md").read_text()
    section = re.search(r"^## Three questions of a beamtime\n(.*?)^## ", page, re.M | re.S)[1]
    found = BLOCK.findall(section)
    assert [kind for kind, _ in found] == ["python", "text"] * 3
    codes, shown = [text for _, text in found[::2]], [text for _, text in found[1::2]]
    assert max(len([line for line in code.splitlines() if line]) for code in codes) <= 5
    *body, last = codes[0].splitlines()
    code = "\n".join([*body, f"print({last})", *codes[1:]])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == "".join(shown).split()


@pytest.mark.parametrize("page", some(PAGES, MOST_READ[1:]), ids=name_of)
def test_commands_run(page, place, environ, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr("xfelcat.loader.examples.facility.datetime", Clock)
    for name in set(os.environ) - set(environ):
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.strip() and not line.startswith("#")]
    if not commands:
        pytest.skip("no commands on this page")
    for command in commands:
        program, *words = shlex.split(command)
        assert program in ("xfelcat", "export", "echo", "python")
        if program == "xfelcat" and not SHELL.search(command):  # a tenth of the time of a process
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, f"{command}\n{done.stderr}"
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=place, env=environ, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    targets = [t for t in LINK.findall(page.read_text()) if "://" not in t]
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_files_it_names_are_there(page):
    named = re.findall(
        r"\b(?:catalog|loader|cli|migrations|tests)/[\w./]*\w/?", (ROOT / page).read_text()
    )
    assert len(named) > 20
    places = {name: ROOT / name for name in named if "NNNN" not in name}
    assert [n for n, p in places.items() if not (p.exists() or p.with_suffix(".py").exists())] == []
