"""The page holds what it was given, and nothing in it can become HTML, script or a connection."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from support.report_catalogs import HOSTILE, hostile_store
from xfelcat.catalog.model.errors import CatalogNotFoundError, TargetWriteError
from xfelcat.catalog.report import page as page_module
from xfelcat.catalog.report.content import gather
from xfelcat.catalog.report.page import render, write_report
from xfelcat.catalog.store.store import Store

pytestmark = pytest.mark.fast

CONTENT = re.compile(r'<script type="application/json" id="content">(.*?)</script>', re.S)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return hostile_store(tmp_path_factory.mktemp("hostile") / "catalog")


@pytest.fixture(scope="module")
def page(hostile):
    return render(gather(hostile))


def test_the_content_comes_out_as_it_went_in(hostile, page):
    content = json.loads(CONTENT.search(page)[1])
    columns = content["findings"]["columns"]
    shown = "\n".join(str(row[columns.index("message")]) for row in content["findings"]["rows"])
    assert all(name in shown for name in HOSTILE)
    assert json.loads(json.dumps(gather(hostile)["coverage"])) == content["coverage"]


def test_no_character_of_the_content_means_anything_in_html(page):
    text = CONTENT.search(page)[1]
    assert not set(text) & set("<>&")
    assert text.isascii()


def test_hostile_names_stand_nowhere_else(page):
    rest = CONTENT.sub("", page)
    assert "window.broken" not in rest


def test_only_our_script_and_style_may_run_and_nothing_may_be_fetched(page):
    policy = html.unescape(
        re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_nothing_outside_the_page_is_named(page):
    rest = CONTENT.sub("", page).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(|\bsrc=", rest)
    assert re.findall(r'href="([^"]*)"', rest) == ["data:,", "#main"]


def test_the_file_is_whole_or_is_not_there(hostile, tmp_path):
    target = tmp_path / "report.html"
    size = write_report(hostile, path=target)
    assert target.stat().st_size == size
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(TargetWriteError, match="missing"):
        write_report(hostile, path=tmp_path / "missing" / "report.html")


def test_a_link_to_the_file_stays(hostile, tmp_path):
    (tmp_path / "link.html").symlink_to("report.html")
    size = write_report(hostile, path=tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "report.html").stat().st_size == size
    assert len(list(tmp_path.iterdir())) == 2


def test_no_catalog(tmp_path):
    with pytest.raises(CatalogNotFoundError):
        write_report(Store(tmp_path / "nothing"), path=tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_the_page_are_short_and_packaged():
    web = Path(page_module.__file__).parent / "web"
    files = {path.name: path.read_text().splitlines() for path in web.iterdir()}
    assert {name for name in files if name.endswith(".js")} == set(page_module._SCRIPTS)
    assert max(map(len, files.values())) <= 400
    assert max(len(line) for name in page_module._SCRIPTS for line in files[name]) <= 120
