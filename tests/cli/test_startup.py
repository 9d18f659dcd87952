"""Commands that answer from the catalog load only what they need."""

import subprocess
import sys

import duckdb
import pytest
from support.duckdb_versions import binds_without_pandas
from support.examples import some

HEAVY = {"pandas", "sqlalchemy", "duckdb_engine", "alembic", "prompt_toolkit", "xarray", "IPython"}


@binds_without_pandas
@pytest.mark.parametrize(
    "words",
    some(
        [
            ("sql", "SELECT count(*) FROM runs"),
            ("ls", "900032/1"),
            ("info", "900032/1"),
            ("info", "p900032"),
            ("find", "*XGM*", "beamPosition.*", "--run", "1"),
            ("values", "*XGM*", "gainMode", "--proposal", "900032"),
            ("find", "--where", "*XGM* gainMode = 1", "--proposal", "900032"),
        ],
        4,
    ),
    ids=lambda words: " ".join(words)[:20],
)
def test_questions_load_neither_pandas_nor_sqlalchemy(demo, words):
    words = [*words, "--catalog", str(demo.location)]
    code = (
        "import sys\n"
        "from xfelcat.cli.app import app\n"
        f"try: app({words!r})\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    # DuckDB 1.5 itself imports pandas where a value is bound.
    allowed = {"pandas"} if duckdb.__version__.startswith("1.") else set()
    assert (loaded & HEAVY) - allowed == set()


def test_a_command_imports_no_other_command(demo):
    code = (
        "import sys\n"
        "from xfelcat.cli.app import app\n"
        f"try: app(['find', '--catalog', {str(demo.location)!r}])\n"
        "except SystemExit: pass\n"
        "print(*(name for name in sys.modules if name.startswith('xfelcat.cli.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = {name.rpartition(".")[2] for name in done.stdout.splitlines()[-1].split()}
    assert loaded == {"app", "complete", "examples", "find", "options", "output"}


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "xfelcat", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("xfelcat ")
