"""What an audit records: when a finding was first and last seen, what is gone, and the audit."""

import dataclasses
import os
import shutil
from datetime import timedelta

import duckdb
import pytest
from support.audited_records import LIMITS, SEQUENCES, facility, records
from support.next_revision import become_next_version
from xfelcat.catalog.audit.audit import AuditOptions, audit
from xfelcat.catalog.model.checks import choose_checks
from xfelcat.catalog.model.errors import CatalogNotFoundError
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.records import Depth, Problem
from xfelcat.catalog.questions.filters import ALL_RUNS, RunFilter
from xfelcat.catalog.questions.find import find_known, forget
from xfelcat.catalog.store.care import check, compact, upgrade_shards
from xfelcat.catalog.store.connections import POOL
from xfelcat.catalog.store.store import Store


def write(store, made, merge=True):
    with store.write("p002012") as writer:
        for record in records(made):
            writer.replace_run(record)
    if merge:
        store.publish_merged()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A catalog in which run 3 lacks a sequence file and run 6 a source."""
    location = tmp_path_factory.mktemp("recorded") / "catalog"
    write(Store(location), with_faults())
    return location


@pytest.fixture
def store(base, tmp_path):
    shutil.copytree(base, tmp_path / "catalog", symlinks=True)
    return Store(tmp_path / "catalog")


def with_faults(*, lost=True, gone=True):
    made = facility()
    if lost:
        del made.raw(3)["DA01", 1]
    if gone:
        for sequence in SEQUENCES:
            del made.raw(6)["DA02", sequence].sources["CONTROL", "DA02/MOTOR/LEFT"]
    return made


def run(store, *checks, where=ALL_RUNS, **options):
    chosen = choose_checks(checks or ("R01", "X01"))
    return audit(store, where, AuditOptions(checks=chosen, limits=LIMITS, **options))


def told(report):
    return {(f["check_id"], f["run"], f["status"]) for f in report.findings.table.to_pylist()}


def rows(store, sql):
    with store.read_merged() as cursor:
        return cursor.execute(sql).fetchall()


FINDINGS = (
    "SELECT check_id, run, first_seen, last_seen, resolved_at FROM findings ORDER BY check_id"
)


def test_first_and_last_seen_are_kept(store):
    first = run(store)
    assert told(first) == {("R01", 3, "new"), ("X01", 6, "new")}
    second = run(store)
    assert told(second) == {("R01", 3, "open"), ("X01", 6, "open")}
    times = [(first.started_at, second.started_at, None)] * 2
    assert [row[2:] for row in rows(store, FINDINGS)] == times
    sql = "SELECT audit_id, errors, warnings, new, resolved, runs, files FROM audits ORDER BY 1"
    assert rows(store, sql) == [(1, 1, 1, 2, 0, 12, 143), (2, 1, 1, 0, 0, 12, 143)]


@pytest.mark.parametrize("how", ["upgrade", "write"])
def test_what_an_older_client_recorded_goes_on(store, how, tmp_path, monkeypatch):
    first = run(store)
    old = {"p002012": store.versions("p002012").current(), "audits": store.audits.current()}
    become_next_version(monkeypatch, tmp_path)
    assert (store.exists(), store.audits.current()) == (False, None)
    if how == "upgrade":
        upgrade_shards(store)
        store.publish_merged()
        assert [row[:2] for row in rows(store, FINDINGS)] == [("R01", 3), ("X01", 6)]
    else:  # the audits wait for the next audit
        write(store, with_faults())
    second = run(store)
    if how == "upgrade":
        assert told(second) == {("R01", 3, "open"), ("X01", 6, "open")}
    times = [(first.started_at, second.started_at, None)] * 2
    assert [row[2:] for row in rows(store, FINDINGS)] == times
    assert rows(store, "SELECT audit_id FROM audits ORDER BY audit_id") == [(1,), (2,)]
    assert all(path.exists() for path in old.values())
    assert check(store) == []


def test_what_is_gone_is_resolved_and_may_come_back(store):
    first = run(store)
    write(store, with_faults(lost=False))
    second = run(store)
    assert told(second) == {("R01", 3, "resolved"), ("X01", 6, "open")}
    assert (second.findings.n_new, second.findings.n_resolved) == (0, 1)
    third = run(store)
    assert told(third) == {("X01", 6, "open")}
    write(store, with_faults())
    fourth = run(store)
    assert told(fourth) == {("R01", 3, "new"), ("X01", 6, "open")}
    assert rows(store, FINDINGS)[0][2:] == (first.started_at, fourth.started_at, None)


def test_a_finding_is_the_same_though_its_numbers_changed(store):
    first = run(store)
    made = with_faults()
    del made.raw(3)["DA01", 0]
    write(store, made)
    second = run(store)
    assert told(second) == {("R01", 3, "open"), ("X01", 6, "open")}
    finding = second.findings.table.to_pylist()[0]
    assert finding["message"] == "sequence file S00000 missing (1 of 3 are there)"
    assert finding["first_seen"] == first.started_at
    assert len(rows(store, FINDINGS)) == 2


def test_the_last_audit_that_covered_run_and_check_decides_what_is_new(store):
    assert told(run(store, "X", where=RunFilter.of(run="4-8"))) == {("X01", 6, "new")}
    first = run(store)  # of X01 in run 6 a narrower audit has spoken before
    assert told(first) == {("R01", 3, "new"), ("X01", 6, "open")}
    write(store, facility())
    some = run(store, where=RunFilter.of(run="1-3"))
    assert told(some) == {("R01", 3, "resolved")}
    again = run(store)
    assert told(again) == {("X01", 6, "resolved")}
    assert again.since == some.started_at  # run 3; and in run 6 since ``first``
    assert (run(store, "T").since, run(store, "T", where=RunFilter.of(run=1)).since is None) == (
        None,
        False,
    )


def test_since_reaches_further_back(store):
    first = run(store)
    write(store, with_faults(lost=False))
    run(store)
    run(store)
    back = run(store, since=first.started_at)
    assert told(back) == {("R01", 3, "resolved"), ("X01", 6, "new")}
    assert told(run(store, since=first.started_at + timedelta(seconds=1e5))) == {("X01", 6, "open")}


def test_only_what_was_checked_is_resolved(store):
    run(store)
    write(store, facility())
    assert told(run(store, "T")) == set()
    elsewhere = run(store, where=RunFilter.of(run=6, data_class="proc"))
    assert told(elsewhere) == set()
    assert [row[4] for row in rows(store, FINDINGS)] == [None, None]
    assert told(run(store, "R", where=RunFilter.of(run="1-3"))) == {("R01", 3, "resolved")}
    assert [row[4] is None for row in rows(store, FINDINGS)] == [False, True]


def test_findings_of_checks_that_were_not_made_are_still_told(store):
    run(store)
    report = run(store, "R", "C", "V")
    assert told(report) == {("R01", 3, "open")}
    assert "C01" not in report.checks


def test_findings_of_scans_are_told_with_their_times(store):
    made = list(records(with_faults()))
    file = made[0].files[0]
    bad = Problem("T01", "E", "2 zeros", file.name, "INDEX/trainId")
    files = (dataclasses.replace(file, problems=(bad,)), *made[0].files[1:])
    with store.write("p002012") as writer:
        writer.replace_run(dataclasses.replace(made[0], files=files))
    report = run(store, "T01")
    (finding,) = report.findings.table.to_pylist()
    assert (finding["origin"], finding["file"]) == ("scan", file.name)
    assert finding["path"] == f"{made[0].directory}/{file.name}"
    assert report.fails("error")
    assert rows(store, "SELECT errors, new FROM audits") == [(1, 1)]


def test_nothing_is_written_unless_asked_for(store):
    run(store)
    before = store.audits.current()
    report = run(store, save=False)
    assert report.number is None
    assert told(report) == {("R01", 3, "open"), ("X01", 6, "open")}
    assert store.audits.current() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_catalog_that_cannot_be_written_is_audited(store):
    store.location.chmod(0o555)
    try:
        report = run(store)
    finally:
        store.location.chmod(0o755)
    assert "cannot be written" in report.not_recorded
    assert len(told(report)) == 2


def test_where_the_audits_cannot_be_written_the_report_says_so(store):
    (store.location / "audits").write_text("in the way")
    report = run(store)
    assert "cannot be written" in report.not_recorded
    assert report.number is None
    assert len(told(report)) == 2


def test_a_few_runs_are_audited_from_their_shard(store):
    run(store)
    write(store, with_faults(gone=False), merge=False)
    assert store.merged_is_stale()
    ids = tuple(r.identity.run_id for r in records(facility()) if r.identity.run == 6)
    report = run(store, "R01", "X", run_ids=ids)
    assert told(report) == {("X01", 6, "resolved")}
    assert "X04" not in report.checks
    assert report.n_runs == 2
    assert store.merged_is_stale()


def test_forgotten_runs_take_their_findings_along(store):
    run(store)
    forget(store, find_known(store, ["p002012/raw/r0003"]))
    assert [row[0] for row in rows(store, FINDINGS)] == ["X01"]
    assert check(store) == []
    assert told(run(store)) == {("X01", 6, "open")}


def test_db_check_looks_at_the_audits_too(store):
    run(store)
    assert check(store) == []
    spoiled = store.audits.current()
    POOL.close()
    spoiled.chmod(0o644)
    with duckdb.connect(spoiled) as connection:
        connection.execute("INSERT INTO finding FROM finding")
        connection.execute("UPDATE audit SET audit_id = 1")
        connection.execute("INSERT INTO audit FROM audit")
    assert check(store) == [
        "audits: 1 audits of the same number",
        "audits: 2 findings that are there more than once",
    ]


def test_a_rescanned_run_keeps_what_audits_found(store):
    run(store)
    with store.write("p002012") as writer:
        (again,) = (r for r in records(with_faults()) if str(r.identity) == "p002012/raw/r0003")
        writer.replace_run(again)
    store.publish_merged()
    assert [row[:2] for row in rows(store, FINDINGS)] == [("R01", 3), ("X01", 6)]
    before = store.audits.current()
    compact(store)
    assert store.audits.current() != before
    assert [row[:2] for row in rows(store, FINDINGS)] == [("R01", 3), ("X01", 6)]
    assert len(rows(store, "SELECT * FROM audits")) == 1


def test_a_run_outside_a_facility_and_one_known_by_outline_only(store):
    (record,) = (r for r in records(with_faults()) if str(r.identity) == "p002012/raw/r0003")
    loose = dataclasses.replace(record, identity=RunIdentity(loose_path="/copy/of/it"))
    with store.write(loose.identity.shard) as writer:
        writer.replace_run(loose)
    outlines = tuple(dataclasses.replace(f, depth=Depth.OUTLINE, patterns=()) for f in record.files)
    with store.write("p002012") as writer:
        writer.replace_run(dataclasses.replace(record, files=outlines))
    report = run(store)
    assert told(report) == {("R01", None, "new"), ("R01", 3, "new"), ("X01", 6, "new")}
    assert report.n_runs == 13
    assert told(run(store, run_ids=(loose.identity.run_id,))) == {("R01", None, "open")}


def test_no_catalog(tmp_path):
    with pytest.raises(CatalogNotFoundError, match="no catalog at"):
        run(Store(tmp_path / "none"))
