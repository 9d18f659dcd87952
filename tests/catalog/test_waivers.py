"""Waivers: read from a reviewable file, refused with a reason, and matched to findings."""

from datetime import date

import duckdb
import pytest
from xfelcat.catalog.audit.waivers import WAIVED_SQL, read_waivers, waiver_table
from xfelcat.catalog.model.checks import CHECKS
from xfelcat.catalog.model.errors import ConfigError

pytestmark = pytest.mark.fast

TODAY = date(2026, 5, 1)
END = "reason: known, expires: 2026-12-31"


def read(tmp_path, text):
    path = tmp_path / "waivers.yml"
    path.write_text(text)
    return read_waivers(path)


def test_a_full_waiver(tmp_path):
    (waiver,) = read(
        tmp_path,
        """
# Copied for a tutorial; see the logbook.
- check: F05
  proposal: [900021, p2012]
  runs: [3, 100-110]
  data_class: raw
  source: "*/GHOST/*"
  reason: copied from another proposal on purpose
  expires: 2027-01-31
""",
    )
    assert waiver.checks == ("F05",)
    assert waiver.proposals == (900021, 2012)
    assert waiver.runs == ((3, 3), (100, 110))
    assert (waiver.data_class, waiver.source) == ("raw", "*/GHOST/*")
    assert not waiver.is_expired(date(2027, 1, 31))
    assert waiver.is_expired(date(2027, 2, 1))
    shown = "F05 p900021 p002012 r0003 r0100-r0110 raw */GHOST/*:"
    assert str(waiver).startswith(shown)


def test_a_short_one_is_about_everything(tmp_path):
    (waiver,) = read(tmp_path, f"- {{check: R, {END}}}")
    assert waiver.checks == tuple(i for i in CHECKS if i.startswith("R"))
    assert waiver.proposals == waiver.runs == ()
    assert read(tmp_path, "") == read(tmp_path, "# none yet") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("check: F05", "expected a list of waivers"),
        ("- F05", "waiver 1: expected keys and values"),
        ("- {check: F05, reason: x}", "waiver 1: 'expires' is missing"),
        ("- {check: F05, expires: 2027-01-31}", "'reason' is missing"),
        (f"- {{{END}}}", "'check' is missing"),
        (f"- {{check: F99, {END}}}", "no check 'F99'"),
        (f"- {{check: F05, runs: 9-3, {END}}}", "ends before it starts"),
        (f"- {{check: F05, proposal: x, {END}}}", "no proposal"),
        (f"- {{check: F05, proposals: 1, {END}}}", "'proposals' is unknown"),
        ("- {check: F05, reason: x, expires: soon}", "'expires' is a day"),
        ("- {check: F05, reason: x, expires: 2027-01-31 12:00:00}", "'expires' is a day"),
        ("- {check: [", "no YAML file"),
        (f"- {{check: F05, {END}}}\n- {{check: Z, {END}}}", "waiver 2"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yml cannot be read"):
        read_waivers(tmp_path / "none.yml")


FINDING = {
    "check_id": "R05",
    "proposal": 2012,
    "run": 105,
    "data_class": "raw",
    "place": "INSTRUMENT/SPB_XTD9_XGM/XGM/DOOCS:output/data",
}


@pytest.mark.parametrize(
    ("waiver", "changes", "is_waived"),
    [
        ("check: R05", {}, True),
        ("check: r", {}, True),
        ("check: [F, R05]", {}, True),
        ("check: R01", {}, False),
        ("check: R05, proposal: 2012", {}, True),
        ("check: R05, proposal: 2013", {}, False),
        ("check: R05, proposal: 2012", {"proposal": None}, False),
        ("check: R05, runs: 100-110", {}, True),
        ("check: R05, runs: [7, 100-110]", {"run": 7}, True),
        ("check: R05, runs: 100-110", {"run": 111}, False),
        ("check: R05, runs: 100-110", {"run": None}, False),
        ("check: R05, data_class: proc", {}, False),
        ('check: R05, source: "SPB_XTD9_XGM/XGM/DOOCS:output"', {}, True),
        ('check: R05, source: "SPB_*"', {}, True),
        ('check: R05, source: "*XGM*"', {}, True),
        ('check: R05, source: "SPB_XTD9_XGM/XGM"', {}, True),
        ('check: R05, source: "XGM"', {}, False),
        ('check: R05, source: "DA0[12]"', {"place": "DA02"}, True),
        ('check: R05, source: "DA0[12]"', {"place": None}, False),
    ],
)
def test_which_findings_are_waived(tmp_path, waiver, changes, is_waived):
    waivers = read(tmp_path, f"- {{{waiver}, {END}}}")
    assert reason_of(waivers, FINDING | changes) == ("known" if is_waived else None)


def test_expired_waivers_do_nothing(tmp_path):
    waivers = read(tmp_path, "- {check: R05, reason: old, expires: 2026-04-30}")
    assert reason_of(waivers, FINDING) is None


def reason_of(waivers, finding):
    with duckdb.connect() as connection:
        connection.register("waiver", waiver_table(waivers, TODAY))
        sql = f"""
            SELECT ({WAIVED_SQL}) FROM (
                SELECT $check_id AS check_id, $proposal::INTEGER AS proposal, $run::INTEGER AS run,
                $data_class AS data_class, $place::VARCHAR AS place
            ) AS f
        """
        return connection.execute(sql, finding).fetchone()[0]
