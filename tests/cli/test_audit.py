"""`xfelcat audit`: what it shows, writes, records, and how it exits."""

import json
import re

import pyarrow.parquet as pq
import pytest
from xfelcat.catalog.audit.audit import audit
from xfelcat.catalog.model.checks import CHECKS
from xfelcat.cli.audit import summary_lines


@pytest.fixture
def own(demo, tmp_path):
    return demo.copy_catalog(tmp_path / "catalog")


def test_the_checks_are_listed(xfelcat):
    done = xfelcat("audit", "--list")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(CHECKS)
    rows = json.loads(xfelcat("audit", "--list", "--check", "R0", "--format", "json").stdout)
    assert [r["id"] for r in rows] == [i for i in CHECKS if i.startswith("R")]
    assert rows[0]["remedy"] == CHECKS["R01"].remedy
    assert rows[0]["severity"] == "error"


def test_similar_findings_are_one_line_with_an_example(xfelcat, own):
    done = xfelcat("audit", "--check", "F04", "--catalog", own.location)
    assert done.exit_code == 0  # nothing but information
    below, head, *lines = done.stdout.splitlines()
    assert below.startswith("paths below /")
    assert head == "INFO F04 format version missing or unknown: 108 findings"
    assert len(lines) == 3
    today = done.stderr.partition("oldest ")[2][:10]
    many = "SPB/201830/p900010/raw/r0001/RAW-R0001-AGIPD00-S00000.h5 [METADATA/dataFormatVersion]"
    told = f"no format version recorded: 0.5 or older (6 runs, since {today})"
    assert lines[0] == f"   107×  {many}: {told}"
    assert lines[1].startswith("     1×  FXE/202102/p900021/raw/r0106/RAW-R0106-DA01-S00001.h5 [")
    assert "unknown format version '9.7'" in lines[1]
    assert lines[2] == f"      →  {CHECKS['F04'].remedy}"
    said = done.stderr.splitlines()
    assert said[-2] == "0 errors, 0 warnings, 108 for information; first audit of these runs"
    assert f"29 runs, 389 files, 1 check (made at ingest, oldest {today}), " in said[-1]
    again = xfelcat("audit", "--check", "F", "--no-save", "--catalog", own.location).stderr
    assert "not recorded (--no-save)" in again
    assert ", 8 checks (made at ingest, oldest 20" in again


def test_info_says_what_was_audited(xfelcat, own):
    def told(*words):
        shown = xfelcat("info", *words, "--catalog", own.location).stdout
        return next(x for x in shown.splitlines() if x.startswith("Open findings")).split(None, 2)[
            2
        ]

    assert told("p900032") == "none from ingest; not audited yet: `xfelcat audit`"
    words = ("audit", "--fail-on", "never", "--catalog", own.location)
    xfelcat(*words, "--check", "R")
    assert told("p900032").endswith("from ingest; not audited yet: `xfelcat audit`")
    xfelcat(*words, "--proposal", "900032", "--run", "1-5")
    assert told("p900032").endswith("; 1 run not audited yet: `xfelcat audit`")
    xfelcat(*words, "--proposal", "900032")
    assert told("p900032").startswith("6 warnings, 1 info (audited 20")


def test_findings_on_a_terminal_are_coloured_and_fit(xfelcat, own, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    report = audit(own)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = list(summary_lines(report))
    assert any("\x1b[31m\x1b[1mERROR\x1b[0m" in line for line in lines)
    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]
    assert all(len(line) <= 80 for line in plain if " " in line.strip())
    monkeypatch.setenv("NO_COLOR", "1")
    assert list(summary_lines(report)) == plain


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--check", "R"), 1),
        pytest.param(("--check", "R", "--fail-on", "never"), 0, marks=pytest.mark.slow),
        pytest.param(("--check", "X"), 0, marks=pytest.mark.slow),
        (("--check", "X", "--fail-on", "warning"), 1),
        (("--check", "X03", "--fail-on", "warning"), 0),
    ],
)
def test_the_exit_code_says_how_bad_it_is(xfelcat, own, words, code):
    assert xfelcat("audit", *words, "--no-save", "--catalog", own.location).exit_code == code


def test_what_is_shown_decides_the_exit_code(xfelcat, own):
    words = ("audit", "--check", "R01", "--catalog", own.location)
    assert xfelcat(*words, "--new").exit_code == 1  # it has never been told
    assert xfelcat(*words, "--new").exit_code == 0
    assert xfelcat(*words, "--resolved").exit_code == 0
    assert xfelcat(*words).exit_code == 1


def test_rows_for_programs(xfelcat, own, tmp_path):
    words = ("audit", "--check", "R", "--fail-on", "never", "--no-save", "--catalog", own.location)
    rows = json.loads(xfelcat(*words, "--format", "json").stdout)
    assert {r["check_id"] for r in rows} == {"R01", "R02", "R05", "R07", "R09"}
    assert all(r["status"] == "new" and r["waived"] is None for r in rows)
    csv = xfelcat(*words, "--format", "csv").stdout.splitlines()
    assert len(csv) == len(rows) + 1
    xfelcat(*words, "--output", tmp_path / "found.parquet")
    assert pq.read_table(tmp_path / "found.parquet").num_rows == len(rows)


def test_what_came_and_went_since_the_last_time(xfelcat, own):
    words = ("--proposal", "900032", "--catalog", own.location, "--fail-on", "never")
    first = xfelcat("audit", "--check", ["R", "X"][0], *words)
    assert "0 errors, 2 warnings, 0 for information; first audit of these runs" in first.stderr
    again = xfelcat("audit", "--check", "R", "--new", *words)
    assert again.stdout == ""
    assert "0 new, 0 resolved since" in again.stderr
    more = xfelcat("audit", "--check", "X", "--new", *words)
    assert "ERROR" not in more.stdout
    assert more.stdout.count("×  ") == 4
    gone = xfelcat("audit", "--check", "X03", "--set", "similarity=0.99", "--resolved", *words)
    assert "INFO X03 source renamed: 1 finding, resolved" in gone.stdout
    assert "0 new, 1 resolved" in gone.stderr
    counts = xfelcat("sql", "SELECT audit_id, infos, new, resolved FROM audits", "--format", "csv")
    assert counts.exit_code == 1  # not the catalog that was audited
    asked = xfelcat(
        *("sql", "SELECT audit_id, infos, new, resolved FROM audits ORDER BY 1"),
        *("--format", "csv", "--catalog", own.location),
    )
    assert asked.stdout.splitlines()[1:] == ["1,0,2,0", "2,0,0,0", "3,1,5,0", "4,0,0,1"]


def test_waived_findings_are_shown_but_do_not_fail(xfelcat, own):
    words = ("audit", "--check", "R01", "--catalog", own.location)
    assert xfelcat(*words, "--no-save").exit_code == 1
    waivers = own.location / "waivers.yml"
    waivers.write_text("- {check: R01, proposal: 900021, reason: lost, expires: 2199-12-31}\n")
    done = xfelcat(*words)
    assert done.exit_code == 0
    assert "sequence file missing: 1 finding, waived" in done.stdout
    assert "waived: lost" in done.stdout
    assert "0 errors, 0 warnings, 0 for information, 1 waived" in done.stderr
    waivers.write_text("- {check: R01, proposal: 900021, reason: lost, expires: 2019-12-31}\n")
    done = xfelcat(*words)
    assert done.exit_code == 1
    assert "a waiver has expired: R01 p900021: lost (until 2019-12-31)" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--check", "Z9"), "no check 'Z9'"),
        (("--level", "Q"), "no level 'Q'"),
        (("--check", "R01", "--skip", "R"), "no check is left"),
        (("--set", "neighbors=3"), "did you mean neighbours?"),
        (("--set", "neighbours=3.5"), "a whole number"),
        (("--set", "of_neighbours=9"), "9 of the last 5 runs"),
        (("--set", "similarity=7"), "a share from 0 to 1"),
        (("--since", "lately"), "no time"),
        (("--proposal", "x"), "no proposal"),
    ],
)
def test_wrong_usage(xfelcat, words, reason):
    done = xfelcat("audit", *words)
    assert done.exit_code == 2
    assert reason in " ".join(done.stderr.replace("│", " ").split())


def test_a_path_without_a_catalogued_run_is_told(xfelcat, own, tmp_path):
    done = xfelcat("audit", tmp_path / "typo", "--catalog", own.location)
    assert done.exit_code == 1
    assert f"choose no catalogued run to audit; looked at {own.location}" in done.stderr


def test_no_catalog(xfelcat, tmp_path):
    done = xfelcat("audit", "--catalog", tmp_path / "none")
    assert done.exit_code == 1
    assert "no catalog at" in done.stderr
