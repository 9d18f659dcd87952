"""The audit of the demo facility finds what was put in on purpose, and no more."""

import pytest
from xfelcat.catalog.audit.audit import AuditOptions, audit
from xfelcat.catalog.audit.disk import DiskOptions

# What follows from a fault, beside the check that is meant to find it: (run, check).
CONSEQUENCES = {
    (101, "T06"),  # files that cannot be read have trains that no other file has
    (102, "I03"),  # rows of the trains that zeros stand for belong to nobody
    (103, "I03"),  # an index beyond the data leaves a gap before
    (103, "I06"),  # an empty dataset is shorter than the others of its group
    (104, "I02"),  # a source without data has no index, no rows,
    (104, "I04"),
    (104, "R05"),  # and is in no other sequence
    (105, "T05"),  # a train that is there again has the time of the one it stands for
}
# A key other than the first of its group is measured by `ingest --verify` alone.
ONLY_VERIFIED = ("I06", "RAW-R0103-DA02-S00002.h5")


@pytest.fixture(scope="module")
def report(demo):
    options = AuditOptions(save=False, disk=DiskOptions(jobs=0))
    return audit(demo.store, options=options)


@pytest.fixture(scope="module")
def found(report):
    return report.findings.table.to_pylist()


def place_of(fault, demo):
    """Proposal, data class and run number of the run that a fault is in."""
    path = fault.path if fault.path.suffix != ".h5" else fault.path.parent
    proposal, data_class, run = path.parts[-3:]
    return int(proposal[1:]), data_class, int(run[1:])


def test_every_fault_is_found_where_it_was_put_in(demo, found):
    for fault in demo.summary.faults:
        where = place_of(fault, demo)
        matching = [
            f
            for f in found
            if f["check_id"] == fault.check
            and (f["proposal"], f["data_class"], f["run"]) == where
            and (fault.path.suffix != ".h5" or f["file"] in (None, fault.path.name))
        ]
        assert matching or (fault.check, fault.path.name) == ONLY_VERIFIED, fault
        assert all(f["path"].startswith(str(fault.path.parent)) for f in matching)


def test_nothing_else_is_found_but_documented_consequences(demo, found):
    meant = {(place_of(f, demo), f.check) for f in demo.summary.faults}
    for f in found:
        if f["check_id"] == "F04":  # files of format 0.5
            assert f["severity"] == "I"
            continue
        where = (f["proposal"], f["data_class"], f["run"])
        is_meant = (where, f["check_id"]) in meant
        assert is_meant or (f["run"], f["check_id"]) in CONSEQUENCES, f


def test_the_clean_runs_have_no_error_or_warning(demo, found):
    clean = {(w.spec.proposal, w.data_class, w.spec.run) for w in demo.summary.runs if w.clean} - {
        place_of(f, demo) for f in demo.summary.faults
    }
    assert len(clean) > 15
    of_clean = [f for f in found if (f["proposal"], f["data_class"], f["run"]) in clean]
    assert {f["check_id"] for f in of_clean} <= {"F04"}


def test_the_report_says_what_it_rests_on(demo, report):
    assert (report.n_runs, report.n_files) == (29, demo.summary.n_files)
    assert report.number is None
    assert report.not_recorded == "save=False"
    assert {"R01", "X04", "C01"} <= set(report.checks)
    assert report.fails("error")
    assert not report.fails("never")


def test_the_summary_has_every_finding_once(report):
    summary = report.findings.summary.to_pylist()
    assert sum(row["findings"] for row in summary) == report.findings.table.num_rows
    of_version = [row for row in summary if row["check_id"] == "F04" and row["findings"] > 1]
    assert len(of_version) == 1
    assert of_version[0]["message"] == "no format version recorded: N or older"
    assert of_version[0]["example"] == "no format version recorded: 0.5 or older"
    order = [(row["severity"], row["check_id"]) for row in summary]
    assert order == sorted(order, key=lambda k: ("EWI".index(k[0]), k[1]))
