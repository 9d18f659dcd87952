"""`xfelcat audit --html` writes the page of what the audit found."""

import json
import re

from xfelcat import Catalog


def content_of(path):
    text = re.search(r'id="content">(.*?)</script>', path.read_text(), re.S)[1]
    return json.loads(text)


def test_audit_writes_a_report(xfelcat, demo, tmp_path):
    page = tmp_path / "report.html"
    options = ["--catalog", demo.location, "--no-save", "--fail-on", "never", "-p", "900021"]
    done = xfelcat("audit", "--html", page, *options)
    assert done.exit_code == 0
    assert f"report written to {page}" in done.stderr
    content = content_of(page)
    assert content["about"]["scope"] == ["proposals: 900021"]
    assert "P02" in {check["id"] for check in content["checks"]}


def test_a_report_that_cannot_be_written_is_told_before_the_audit(xfelcat, demo, tmp_path):
    done = xfelcat("audit", "--html", tmp_path / "no" / "r.html", "--catalog", demo.location)
    assert done.exit_code == 2
    assert "is no directory" in re.sub(r"[│\s]+", " ", done.stderr)


def test_catalog_writes_a_report_with_the_waivers_of_the_catalog(demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    page = tmp_path / "report.html"
    catalog = Catalog(store.location)
    assert catalog.report(page, proposal=900021) == page.stat().st_size

    def waived():
        counts = content_of(page)["counts"]
        return sum(row[counts["columns"].index("waived")] for row in counts["rows"])

    assert waived() == 0
    waivers = store.location / "waivers.yml"
    waivers.write_text("- {check: I03, reason: known, expires: 2100-01-01}\n")
    catalog.report(page, proposal=900021)
    assert waived() == 5
