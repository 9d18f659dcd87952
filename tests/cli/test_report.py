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


def test_audit_writes_pages_and_a_digest(xfelcat, demo, tmp_path):
    site, mail = tmp_path / "site", tmp_path / "mail.md"
    options = ["--catalog", demo.location, "--no-save", "--fail-on", "never"]
    done = xfelcat("audit", "--html-dir", site, "--digest", mail, *options)
    assert done.exit_code == 0
    assert f"5 pages written to {site}" in done.stderr
    assert f"digest written to {mail}" in done.stderr
    names = ["index.html", "p900010.html", "p900021.html", "p900032.html", "p900043.html"]
    assert sorted(p.name for p in site.iterdir()) == names
    assert content_of(site / "index.html")["links"] == {"pages": True}
    of_one = content_of(site / "p900021.html")
    assert of_one["links"]["home"] == "index.html"
    assert {run.split("/")[0] for run in of_one["details"]} == {"p900021"}
    assert {row[0] for row in of_one["proposals"]["rows"]} == {900021}
    assert "| `FXE` | 🔴 errors | 7 of 12 | – | 1 of 11 |" in mail.read_text()
    assert xfelcat("audit", "--digest", tmp_path / "no" / "x.md", *options).exit_code == 2


def test_catalog_writes_pages_and_a_digest(demo, tmp_path):
    catalog = Catalog(demo.location)
    assert catalog.report(tmp_path / "site", pages=True, proposal=900010) == 2
    size = catalog.report(tmp_path / "mail.md", instrument="FXE")
    assert (tmp_path / "mail.md").stat().st_size == size
    assert (tmp_path / "mail.md").read_text().startswith("# State of the data: errors at 1 of 1")
