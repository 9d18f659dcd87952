"""What the report says is what the catalog has, counted here row by row."""

import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime

import pytest
from support.report_catalogs import faulty_runs, hostile_store, store_of
from support.run_records import make_run, with_file
from xfelcat import Catalog
from xfelcat.catalog.audit.audit import AuditOptions, audit
from xfelcat.catalog.audit.findings import message_template, place_pattern
from xfelcat.catalog.audit.waivers import Waiver
from xfelcat.catalog.model.checks import CHECKS, choose_checks
from xfelcat.catalog.model.errors import CatalogReadError
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.names import number_ranges
from xfelcat.catalog.model.records import Problem
from xfelcat.catalog.questions.filters import RunFilter
from xfelcat.catalog.report.content import PageLimits, gather
from xfelcat.catalog.report.digest import digest
from xfelcat.catalog.store.store import Store

SCOPES = {"all": RunFilter(), "one proposal": RunFilter.of(proposal=900021)}


def rows_of(table):
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def name_of(row):
    return str(RunIdentity(row.proposal, row.run, row.data_class))


@pytest.fixture(scope="module", params=list(SCOPES))
def scope(request):
    return SCOPES[request.param]


@pytest.fixture(scope="module")
def content(demo, scope):
    return gather(demo.store, scope)


@pytest.fixture(scope="module")
def findings(demo, scope):
    frame = Catalog(demo.location).sql("SELECT * FROM findings WHERE resolved_at IS NULL")
    keep = [not scope.proposals or p in scope.proposals for p in frame.proposal]
    return frame[keep]


@pytest.fixture(scope="module")
def runs(demo, scope):
    frame = Catalog(demo.location).runs()
    return frame[[not scope.proposals or p in scope.proposals for p in frame.proposal]]


def test_counts_by_check(content, findings):
    got = {(r["check_id"], r["severity"]): r["findings"] for r in rows_of(content["counts"])}
    assert got == Counter(zip(findings.check_id, findings.severity, strict=True))
    assert {c["id"] for c in content["checks"]} == set(findings.check_id)
    assert all(c["meaning"] == CHECKS[c["id"]].meaning for c in content["checks"])


def test_condensed_findings(content, findings):
    expected = Counter(
        (row.check_id, message_template(row.message), place_pattern(row.place or ""))
        for row in findings.itertuples()
    )
    got = rows_of(content["findings"])
    assert {(r["check_id"], r["template"], r["pattern"]): r["findings"] for r in got} == expected
    assert content["findings"]["of_all"] == len(expected)
    known = set(zip(findings.path, findings.message, strict=True))
    assert all((r["path"], r["message"]) in known for r in got)
    ranks = ["EWI".index(r["severity"]) for r in got]
    assert ranks == sorted(ranks)


def test_runs_and_their_checks(content, findings):
    expected = defaultdict(Counter)
    for row in findings.itertuples():
        expected[name_of(row)][row.check_id] += 1
    got = {r["run"]: r["checks"] for r in rows_of(content["runs"])}
    assert {run: {c: n for c, (_, n) in checks.items()} for run, checks in got.items()} == expected
    assert content["runs"]["of_all"] == len(expected)


def test_totals(content, runs):
    by_proposal = {r["proposal"]: r for r in rows_of(content["proposals"])}
    assert {p: r["bytes"] for p, r in by_proposal.items()} == dict(
        runs.groupby("proposal").bytes.sum()
    )
    by_instrument = {r["instrument"]: r for r in rows_of(content["instruments"])}
    assert {i: r["runs"] for i, r in by_instrument.items()} == Counter(runs.instrument)
    by_class = {r["data_class"]: r for r in rows_of(content["classes"])}
    assert {c: r["runs"] for c, r in by_class.items()} == Counter(runs.data_class)


def test_timeline(content, runs):
    line = content["timeline"]
    when = runs.started_at.fillna(runs.newest_mtime)
    length = {"day": 10, "month": 7, "year": 4}[line["per"]]
    expected = Counter(str(moment)[:length] for moment in when)
    found = dict(zip(line["periods"], line["runs"], strict=True))
    assert {period: n for period, n in found.items() if n} == expected
    assert list(found) == sorted(found)
    assert sum(map(sum, line["bytes"].values())) == runs.bytes.sum()


def test_coverage(demo, scope, content):
    has = defaultdict(lambda: defaultdict(dict))
    frame = Catalog(demo.location).sql("SELECT * FROM run_sources WHERE legacy_of IS NULL")
    all_runs = Catalog(demo.location).runs()
    trains = dict(zip(all_runs.run_id, all_runs.trains, strict=True))
    sizes = Counter(zip(all_runs.proposal, all_runs.data_class, strict=True))
    for row in frame.itertuples():
        if not scope.proposals or row.proposal in scope.proposals:
            of_run = has[row.section, row.source][row.proposal, row.data_class]
            of_run.setdefault(row.run_id, Counter())[row.index_group] += row.trains
    got = {(r["section"], r["source"]): r for r in rows_of(content["coverage"])}
    assert got.keys() == has.keys()
    for source, groups in has.items():
        in_runs = {run: max(n.values()) for of_run in groups.values() for run, n in of_run.items()}
        assert got[source]["runs"] == len(in_runs)
        assert got[source]["of_runs"] == sum(sizes[group] for group in groups)
        assert got[source]["trains"] == sum(in_runs.values())
        assert got[source]["of_trains"] == sum(trains[run] for run in in_runs)


def test_details(content, findings):
    examples = {row["run"] for row in rows_of(content["findings"])}
    worst = [row["run"] for row in rows_of(content["runs"])]
    assert set(content["details"]) >= examples | set(worst[: PageLimits().detailed])
    for name, detail in content["details"].items():
        of_run = [row.message for row in findings.itertuples() if name_of(row) == name]
        assert detail["findings"]["of_all"] == len(of_run)
        shown = [row["message"] for row in rows_of(detail["findings"])]
        assert not Counter(shown) - Counter(of_run)
        assert len(shown) == min(len(of_run), PageLimits().findings_of_run)
        assert detail["aggregators"]


def test_what_is_left_out_is_counted(tmp_path):
    store = store_of(tmp_path / "catalog", faulty_runs(3, 10))
    few = PageLimits(findings=2, proposals=2, coverage=3, runs=4, detailed=2, findings_of_run=1)
    content = gather(store, limits=few)
    whole = gather(store)
    for part, shown in (("findings", 2), ("proposals", 2), ("coverage", 3), ("runs", 4)):
        assert len(content[part]["rows"]) == shown
        assert content[part]["of_all"] == whole[part]["of_all"] > shown
    assert whole["runs"]["of_all"] == 24
    worst = {r["run"] for r in rows_of(content["runs"])[:2]}
    examples = {r["run"] for r in rows_of(content["findings"])}
    assert set(content["details"]) == worst | examples
    assert all(len(d["findings"]["rows"]) == 1 for d in content["details"].values())
    assert content["instruments"] == whole["instruments"]


def with_problem(run):
    path = f"{run.directory}/{run.files[0].name}"
    return with_file(run, 0, problems=(Problem("I01", "E", "bad", path, "INDEX/x"),))


def test_a_finding_that_is_gone_counts_for_nothing_and_is_shown_until_the_next_audit(tmp_path):
    run = with_problem(make_run(1, moment=datetime.now(UTC)))
    store = store_of(tmp_path / "catalog", [run])
    assert gather(store)["findings"]["of_all"] == 1
    only = AuditOptions(checks=(CHECKS["I01"],))
    audit(store, options=only)
    assert gather(store)["n_gone"] == 0
    with store.write(run.identity.shard) as writer:
        writer.replace_run(make_run(1, moment=datetime.now(UTC)))
    store.publish_merged()
    content = gather(store)
    assert content["findings"]["of_all"] == content["runs"]["of_all"] == 0
    assert content["counts"]["rows"] == []
    (gone,) = rows_of(content["gone"])
    assert (gone["check_id"], gone["message"], gone["run"]) == ("I01", "bad", str(run.identity))
    assert content["n_gone"] == 1
    assert [c["id"] for c in content["checks"]] == ["I01"]
    report = audit(store, options=only)
    assert gather(store, found=report.findings.table)["n_gone"] == 1
    assert gather(store)["n_gone"] == 0


def test_no_run(demo):
    content = gather(demo.store, RunFilter.of(proposal=1))
    assert content["about"]["runs_searched"] == 0
    assert content["about"]["scope"] == ["proposals: 1"]
    assert all(not content[part]["rows"] for part in ("findings", "runs", "proposals", "coverage"))
    assert content["timeline"]["periods"] == []


def test_what_is_waived_is_shown_last_and_counts_for_nothing(demo):
    waiver = Waiver(("I03", "F04"), "known", date(2100, 1, 1), proposals=(900021,))
    content, plain = gather(demo.store, waivers=[waiver]), gather(demo.store)
    before = {r["check_id"]: r for r in rows_of(plain["counts"])}
    after = {r["check_id"]: r for r in rows_of(content["counts"])}
    assert before["I03"]["findings"] == after["I03"]["waived"] == 5
    assert after["I03"]["findings"] == after["I03"]["runs"] == 0
    assert 0 < after["F04"]["findings"] < before["F04"]["findings"]
    assert after["F04"]["findings"] + after["F04"]["waived"] == before["F04"]["findings"]
    waived = [r["waived"] for r in rows_of(content["findings"])]
    n_waived = len(waived) - waived.count(None)
    assert waived == [None] * (len(waived) - n_waived) + ["known"] * n_waived
    assert n_waived
    cells = {
        c for r in rows_of(content["runs"]) + rows_of(content["proposals"]) for c in r["checks"]
    }
    assert "I03" not in cells
    in_runs = [f for d in content["details"].values() for f in rows_of(d["findings"])]
    assert {f["waived"] for f in in_runs if f["check_id"] == "I03"} == {"known"}
    expired = Waiver(("I03",), "known", date(2001, 1, 1))
    assert gather(demo.store, waivers=[expired])["counts"] == plain["counts"]


def test_the_findings_of_an_audit_are_shown_as_they_are(demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    checks = tuple(CHECKS[i] for i in ("R01", "P01", "P02", "I01"))
    report = audit(store, options=AuditOptions(checks=checks, save=False))
    found = report.findings.to_frame()
    assert "audit" in set(found.origin)
    content = gather(store, found=report.findings.table)
    got = {r["check_id"]: (r["findings"], r["new"]) for r in rows_of(content["counts"])}
    new = Counter(found.check_id[found.status == "new"])
    assert got == {c: (n, new[c]) for c, n in Counter(found.check_id).items()}
    assert content["audits"]["of_all"] == 0


def test_the_findings_of_a_recorded_audit_are_new_unless_it_is_the_first(demo, tmp_path):
    def new(content):
        return {r["check_id"]: r["new"] for r in rows_of(content["counts"]) if r["new"]}

    store = demo.copy_catalog(tmp_path / "catalog")
    assert new(gather(store)) == {}
    report = audit(store, options=AuditOptions(checks=choose_checks(["P"])))
    content = gather(store)
    (row,) = rows_of(content["audits"])
    assert row["n_errors"] == report.findings.count("E")
    assert new(content) == {}
    assert new(gather(store, found=report.findings.table, is_first=True)) == {}
    report = audit(store)
    found = report.findings.to_frame()
    of_others = Counter(found.check_id[~found.check_id.str.startswith("P")])
    assert new(gather(store, found=report.findings.table)) == of_others
    assert new(gather(store)) == of_others
    audit(store)
    assert new(gather(store)) == {}


def test_no_check_is_crowded_out_by_another(tmp_path):
    store = store_of(tmp_path / "catalog", faulty_runs(3, 10))
    kinds = {r["check_id"] for r in rows_of(gather(store)["findings"])}
    assert len(kinds) == 3
    found = rows_of(gather(store, limits=PageLimits(findings=4))["findings"])
    assert {r["check_id"] for r in found} == kinds
    assert [r["severity"] for r in found] == ["E", "E", "W", "I"]


def test_a_shard_that_may_not_be_read_leaves_out_the_picture_only(tmp_path, monkeypatch):
    store = store_of(tmp_path / "catalog", faulty_runs(1, 2))

    def refuse(self, shard):
        raise CatalogReadError(shard, "permission denied")

    monkeypatch.setattr(Store, "open_shard", refuse)
    details = gather(store)["details"]
    assert len(details) == 2
    assert all("aggregators" not in d and d["findings"]["rows"] for d in details.values())


def test_runs_with_findings_of_any_kind_come_before_those_without(tmp_path):
    runs = [make_run(number) for number in range(1, 8)]
    path = f"{runs[0].directory}/{runs[0].files[0].name}"
    runs[0] = with_file(runs[0], 0, problems=(Problem("F08", "I", "odd", path, "X"),))
    content = gather(store_of(tmp_path / "catalog", runs), limits=PageLimits(runs=2, detailed=2))
    assert [r["run"] for r in rows_of(content["runs"])] == [str(runs[0].identity)]
    assert content["runs"]["of_all"] == 1
    assert set(content["details"]) == {str(runs[0].identity), str(runs[-1].identity)}


def test_the_verdict_counts_what_the_catalog_has(demo, scope, content, findings, runs):
    verdicts = {v["instrument"]: v for v in content["verdicts"]}
    assert verdicts.keys() == set(runs.instrument)
    errors = findings[findings.severity == "E"]
    instruments = {r["instrument"]: r for r in rows_of(content["instruments"])}
    for name, verdict in verdicts.items():
        own = errors[errors.instrument == name]
        assert instruments[name]["with_errors"] == own.run_id.nunique()
        assert verdict["state"] == ("E" if len(own) else "")
        assert verdict["growth"][-1][2] == runs[runs.instrument == name].bytes.sum()
        for problem in verdict["problems"]:
            of_check = findings[
                (findings.check_id == problem["check_id"]) & (findings.instrument == name)
            ]
            assert problem["runs"] == of_check.run_id.nunique()
            assert problem["findings"] == len(of_check)
            assert problem["run"] in set(map(name_of, of_check.itertuples()))
            assert problem["run"] in content["details"]
    lacking = Catalog(demo.location).inventory("uncalibrated")
    by_proposal = {r["proposal"]: r for r in rows_of(content["proposals"])}
    for row in lacking.itertuples():
        if row.proposal in by_proposal:
            mine = by_proposal[row.proposal]
            assert (mine["raw_runs"], mine["calibrated"]) == (row.raw_runs, row.calibrated)
            assert mine["runs_without"] == number_ranges(row.runs_without)
    classes = runs.groupby(["proposal", "data_class"]).size()
    assert {(p, c): n for p, r in by_proposal.items() for c, n in r["classes"].items()} == dict(
        classes
    )


def test_the_trend_is_that_of_runs_with_errors_at_each_audit(tmp_path):
    faulty = [with_problem(make_run(n, moment=datetime.now(UTC))) for n in (1, 2)]
    store = store_of(tmp_path / "catalog", [*faulty, make_run(3)])
    only = AuditOptions(checks=(CHECKS["I01"],))
    assert gather(store)["verdicts"][0]["trend"] == []
    audit(store, options=only)
    with store.write(faulty[0].identity.shard) as writer:
        writer.replace_run(make_run(1, moment=datetime.now(UTC)))
    audit(store, options=only)
    (verdict,) = gather(store)["verdicts"]
    assert [runs for _, runs in verdict["trend"]] == [2, 1]
    waiver = Waiver(("I01",), "known", date(2100, 1, 1))
    (waived,) = gather(store, waivers=[waiver])["verdicts"]
    assert ([runs for _, runs in waived["trend"]], waived["state"]) == ([0, 0], "")
    text = digest(gather(store))
    assert "# State of the data: errors at 1 of 1 instrument\n" in text
    assert "| `XMPL` | 🔴 errors | 1 of 3 | 2 | 0 of 3 |" in text
    assert "1. **Index beyond the data**: 1 run of `XMPL`, such as `p002012/raw/r0002`." in text
    assert "- p002012 (`XMPL`): 3 of 3: 1-3" in text


def test_nothing_of_a_digest_is_markup(tmp_path):
    content = gather(hostile_store(tmp_path / "catalog"))
    content["audits"]["rows"] *= 2
    for row in content["findings"]["rows"]:
        row[content["findings"]["columns"].index("new")] = 1
    content["audits"]["rows"] = [1, 2]
    text = digest(content)
    assert "## Since the audit before" in text
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert not set(outside) & set("<>`$\u2028\u202e")
    assert text.count("window.broken") == 3
