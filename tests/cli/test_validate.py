"""``xfelcat validate``: what it prints, in which format, and its exit codes."""

import json
import os

import pytest
from support.faultless_run import DA0, DA1, write_checked_run
from xfelcat.catalog.model.checks import CHECKS


@pytest.fixture
def run(tmp_path):
    return write_checked_run(tmp_path)


def test_a_run_in_order_exits_0(xfelcat, run):
    result = xfelcat("validate", run, "--jobs", "0")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 errors, 0 warnings, 0 remarks; 4 files" in result.stderr


def test_problems_are_condensed_and_exit_1(xfelcat, run):
    for name in (DA0, DA1):
        os.truncate(run / name, 3000)
    result = xfelcat("validate", run, "--jobs", "0", "--skip", "R", "--skip", "T")
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first == f"F01 error: {CHECKS['F01'].title}, 2 times in 2 files"
    assert second.startswith(f"    {DA0}: truncated: 3000 of ")
    assert "2 errors, 0 warnings, 0 remarks; 4 files" in result.stderr
    skipped = xfelcat("validate", run, "--jobs", "0", "--skip", "R", "--skip", "T", "--skip", "f01")
    assert (skipped.exit_code, skipped.stdout) == (0, "")


def test_severities_have_the_colours_of_an_audit(xfelcat, run, monkeypatch):
    os.truncate(run / DA0, 3000)
    monkeypatch.setattr(
        "xfelcat.cli.validate.styled", lambda text, **style: f"<{style['fg']} {text}>"
    )
    result = xfelcat("validate", run, "--jobs", "0", "--skip", "R", "--skip", "T")
    assert result.stdout.startswith(f"F01 <red error>: {CHECKS['F01'].title}\n")


def test_one_file_by_format(xfelcat, run, tmp_path):
    os.truncate(run / DA1, 0)
    words = ("validate", run / DA1, "--jobs", "0")
    rows = json.loads(xfelcat(*words, "--format", "json").stdout)
    expected = {"check_id": "F01", "severity": "E", "message": "empty file", "place": ""}
    assert rows == [expected | {"path": str(run / DA1)}]
    assert xfelcat(*words, "--format", "paths").stdout == f"{run / DA1}\n"
    result = xfelcat(*words, "--output", tmp_path / "found.csv")
    assert result.exit_code == 1
    assert (tmp_path / "found.csv").read_text().splitlines()[1:] == [
        f'F01,E,empty file,"",{run / DA1}'
    ]
    import pyarrow.parquet as pq

    xfelcat(*words, "--output", tmp_path / "found.parquet")
    assert pq.read_table(tmp_path / "found.parquet").to_pylist() == rows


def test_list_has_the_checks_that_apply(xfelcat, run):
    def listed(*words):
        rows = json.loads(xfelcat("validate", *words, "--list", "--format", "json").stdout)
        assert all(r["title"] == CHECKS[r["check"]].title for r in rows)
        return [r["check"] for r in rows]

    of_a_run = listed()
    assert {"F01", "T05", "I06", "R01", "R08", "P03", "V02"} <= set(of_a_run)
    assert not {"P01", "X01", "C01", "C02"} & set(of_a_run)
    assert set(of_a_run) - set(listed(run / DA0)) == {f"R0{n}" for n in range(1, 7)}
    assert set(of_a_run) - set(listed("--skip", "V")) == {"V01", "V02", "V03", "V04"}


@pytest.mark.parametrize(
    "words", [(), ("--skip", "Z9", "--list"), ("x", "--sample", "-1"), ("x", "--format", "xml")]
)
def test_wrong_usage_exits_2(xfelcat, words):
    result = xfelcat("validate", *words)
    assert (result.exit_code, result.stdout) == (2, "")


def test_what_is_not_there_exits_1(xfelcat, tmp_path):
    result = xfelcat("validate", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
