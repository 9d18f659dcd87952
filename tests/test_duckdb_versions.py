"""Catalogs that one version of DuckDB wrote, read and continued by another: `make test-duckdb`.

The other version is in an environment of its own, whose Python ``XFELCAT_OTHER_PYTHON`` names.
"""

import os
import shutil
import subprocess
import sys

import pytest
from support.demo_facility import demo, demo_and_report, no_settings

__all__ = ["demo", "demo_and_report", "no_settings"]

OTHER = os.environ.get("XFELCAT_OTHER_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OTHER, reason="`make test-duckdb` has another version of DuckDB"),
]
OURS = sys.executable
QUESTIONS = [
    *(f"SELECT * EXCLUDE (run_id) FROM {view} ORDER BY ALL" for view in ("files", "findings")),
    "SELECT * EXCLUDE (profiled_at) FROM key_profiles ORDER BY ALL",
    "SELECT * FROM run_values ORDER BY ALL",
    "SELECT * FROM run_keys ORDER BY ALL",
    "SELECT * FROM run_sources ORDER BY ALL",
    "SELECT * FROM train_ranges ORDER BY ALL",
    "SELECT proposal, run, data_class, bytes, trains FROM runs ORDER BY ALL",
]


def xfelcat(python, *words):
    command = [python, "-m", "xfelcat", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def answer(python, statement, catalog):
    return xfelcat(python, "sql", statement, "-c", catalog, "--format", "json")


def version(python):
    code = "import duckdb; print(duckdb.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def opened(python, path, catalog):
    """What opening a run from the catalog gives; no file is read."""
    code = (
        "import sys, xfelcat\n"
        "run = xfelcat.RunDirectory(sys.argv[1], catalog=sys.argv[2], save=False)\n"
        "run.info()\n"
        "for source in sorted(run.all_sources):\n"
        "    for key in sorted(run[source].keys()):\n"
        "        data = run[source, key]\n"
        "        print(source, key, data.dtype, data.shape, data.data_counts().sum())\n"
        "print(run.run_metadata(), run.train_timestamps()[:5])\n"
    )
    command = [python, "-c", code, str(path), str(catalog)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_versions_differ():
    assert {version(OURS)[0], version(OTHER)[0]} == {"1", "2"}


@pytest.mark.parametrize(("first", "second"), [(OURS, OTHER), (OTHER, OURS)], ids=["new", "old"])
def test_each_reads_and_continues_what_the_other_wrote(demo, tmp_path, first, second):
    catalog = tmp_path / "catalog"
    runs = [run.path for run in demo.summary.runs if run.path.exists()]
    xfelcat(first, "ingest", *runs[::2], "-c", catalog, "-j", "0")
    xfelcat(first, "audit", "--fail-on", "never", "-c", catalog)
    xfelcat(first, "profile", "*XGM*", "-c", catalog, "-j", "0")
    published = {p: p.read_bytes() for p in catalog.rglob("*.duckdb")}
    for statement in QUESTIONS:
        assert answer(first, statement, catalog) == answer(second, statement, catalog), statement
    assert opened(first, runs[0], catalog) == opened(second, runs[0], catalog)
    assert {p: p.read_bytes() for p in catalog.rglob("*.duckdb")} == published

    copy = shutil.copytree(catalog, tmp_path / "copy", symlinks=True)
    for place, then in ((catalog, second), (copy, first)):
        xfelcat(then, "ingest", *runs[1::2], "-c", place, "-j", "0")
        xfelcat(then, "audit", "--fail-on", "never", "-c", place)
        xfelcat(then, "db", "compact", "-c", place)
    for reader in (first, second):
        assert xfelcat(reader, "db", "check", "-c", catalog) == ""
        for statement in QUESTIONS[3:]:
            answers = [answer(reader, statement, place) for place in (catalog, copy)]
            assert answers[0] == answers[1], statement
