"""The report as a browser shows it: it works, asks for nothing, and can be read.

`make test-browser` installs what these need; without it they are skipped.
"""

import dataclasses
import re
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks.synthetic import Scale, fill
from support.browser import browse, needs_browser
from support.report_catalogs import HOSTILE, faulty_runs, gappy_run, hostile_store, store_of
from xfelcat.catalog.audit.audit import AuditOptions, audit
from xfelcat.catalog.audit.waivers import Waiver
from xfelcat.catalog.model.checks import CHECKS
from xfelcat.catalog.questions.filters import RunFilter
from xfelcat.catalog.report.content import PageLimits, gather
from xfelcat.catalog.report.page import render, write_pages, write_report
from xfelcat.catalog.store.store import Store

pytestmark = needs_browser
SYNTHETIC = Path(__file__).parents[2] / "synthetic"
WIDTHS = (1280, 800, 390)
A4 = 703  # CSS pixels between margins of 12 mm
SCHEMES = ("light", "dark")
FAULTY_RUN = "p900021/raw/r0103"
WAIVER = Waiver(("I04",), "by agreement", date(2100, 1, 1))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browse(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(browser, demo, tmp_path_factory):
    """Reports: of the demo facility, of nothing, of hostile names, of as much as fits."""
    folder = tmp_path_factory.mktemp("pages")
    names = ("demo", "empty", "hostile", "huge", "gappy", "synthetic")
    made = {name: folder / f"{name}.html" for name in names}
    # As large as `make synthetic` makes it, if it was run; else the same, small.
    synthetic = SYNTHETIC if (SYNTHETIC / "merged").exists() else folder / "synthetic"
    if synthetic != SYNTHETIC:
        fill(synthetic, Scale(proposals=2, runs=3, sequences=2, trains=50), jobs=1)
    write_report(Store(synthetic), path=made["synthetic"])
    write_report(demo.store, path=made["demo"], waivers=[WAIVER])
    write_report(demo.store, RunFilter.of(proposal=1), made["empty"])
    write_report(hostile_store(folder / "hostile"), path=made["hostile"])
    write_report(store_of(folder / "gappy", [gappy_run()]), path=made["gappy"])
    made["huge"].write_text(render(full(gather(store_of(folder / "h", faulty_runs(6, 12))))))
    return SimpleNamespace(**made)


def full(content):
    """The content of a facility that fills every part of the page, its rows repeated."""
    limits = dataclasses.asdict(PageLimits())
    instruments = content["instruments"]
    instruments["rows"][0][instruments["columns"].index("files")] = 123_456_789
    counts = content["counts"]
    for row in counts["rows"]:
        row[counts["columns"].index("findings")] = 12_345_678
    for part in ("findings", "proposals", "coverage", "runs"):
        rows = content[part]["rows"]
        n = limits[part]
        content[part] |= {"rows": (rows * (n // len(rows) + 1))[:n], "of_all": 10**6}
    checks = content["runs"]["columns"].index("checks")
    content["runs"]["rows"][0][checks] = {check: ["W", 12_345] for check in CHECKS}
    details = list(content["details"].values())
    for at in range(limits["detailed"] + len(CHECKS)):
        source = {"name": "SPB_EXP_LONG_NAME/CAM/CAMERA:output", "n_trains": 5, "alike": 1}
        cells = " ".join("40"[i % 2] for i in range(240))
        rows = [source | {"cells": cells, "n_files": 0, "n_bytes": 0}] * limits["sources"]
        content["details"][f"p{at:06d}/raw/r0001"] = details[0] | {"sources": rows}
    return content


def table_in(section):
    return f"#{section} tbody tr"


PROBLEMS = "#findings .problem"


def test_nothing_is_complained_about_or_asked_for(browser, pages):
    for page in vars(pages).values():
        browser.open(page)
        assert browser.all("main > *")
        assert browser.complaints() == []
        assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []


def test_the_network_is_out_of_reach(browser, pages):
    browser.open(pages.demo)
    blocked = browser.driver.execute_async_script(
        "fetch('http://localhost:9/').then(() => arguments[0]('sent'), () => arguments[0]('not'))"
    )
    assert blocked == "not"
    assert any("Content Security Policy" in said for said in browser.complaints())


def test_hostile_names_are_shown_as_they_are(browser, pages):
    browser.open(pages.hostile)
    assert browser.run("return window.broken ?? null") is None
    browser.run("document.querySelectorAll('.table .more').forEach((b) => b.click())")
    shown = browser.run("return document.getElementById('coverage').textContent")
    assert all(name in shown for name in HOSTILE)
    browser.one("#findings .kinds a").click()
    assert browser.run("return window.broken ?? null") is None
    assert browser.complaints() == []
    detail = browser.run("return document.getElementById('detail').textContent")
    assert all(name in detail for name in HOSTILE)


def test_filter(browser, pages):
    browser.open(pages.demo)
    before = browser.texts(PROBLEMS)
    field = browser.one("#findings input[type=search]")
    field.send_keys("TRUNCATED f01")
    (block,) = browser.texts(PROBLEMS)
    assert "File is empty or cut off" in block
    assert "What to do: Copy the file again" in block
    assert re.search(r"truncated: \d+ of \d+ bytes", block)
    assert "N of N" not in block
    assert "1 problem; chosen from" in browser.one("#findings [role=status]").text
    field.clear()
    field.send_keys("no such thing")
    assert browser.texts(PROBLEMS) == []
    field.send_keys("\ue003" * 20)
    assert browser.texts(PROBLEMS) == before


def test_severities_can_be_left_out(browser, pages):
    browser.open(pages.demo)
    browser.one("#findings input[value=E]").click()
    kinds = set(browser.texts("#findings h3 .severity"))
    assert kinds == {"warning", "information"}
    browser.one("#findings input[value=E]").click()
    assert "error" in browser.texts("#findings h3 .severity")


def test_what_is_waived_is_marked(browser, pages):
    browser.open(pages.demo)
    browser.one("#findings input[type=search]").send_keys("waived")
    blocks = browser.texts(f"{PROBLEMS}.waived")
    assert blocks == browser.texts(PROBLEMS)
    assert all("warning, waived" in b and "waived: by agreement" in b for b in blocks)
    assert blocks


def test_sort(browser, pages):
    browser.open(pages.demo)
    heads = browser.all("#proposals th")
    at = next(i for i, head in enumerate(heads) if head.text.startswith("raw"))

    def column():
        return browser.run(
            "return [...document.querySelectorAll('#proposals tbody tr')]"
            ".map((r) => Number(r.cells[arguments[0]].innerText))",
            at,
        )

    heads[at].find_element("css selector", "button").click()
    assert column() == sorted(column(), reverse=True) == [11, 6, 4]
    assert heads[at].get_attribute("aria-sort") == "descending"
    heads[at].find_element("css selector", "button").click()
    assert column() == [4, 6, 11]
    assert heads[at].get_attribute("aria-sort") == "ascending"


def test_the_heat_map_is_of_runs_or_of_proposals(browser, pages):
    browser.open(pages.demo)
    assert FAULTY_RUN in browser.texts("#checks tbody td:first-child")
    browser.one("#checks .tools button:nth-of-type(2)").click()
    assert "p900021" in browser.texts("#checks tbody td:first-child")
    assert browser.one("#checks [aria-pressed=true]").text == "Proposals"
    assert browser.all("#checks td.E1, #checks td.E2, #checks td.E3")


def test_a_run_opens_and_closes(browser, pages):
    browser.open(pages.demo)
    browser.one("#checks tbody a").click()
    dialog = browser.one("#detail")
    assert dialog.is_displayed()
    assert browser.one("#detail-title").text.startswith("Run p900021/raw/")
    assert browser.all("#detail .bars svg rect")
    assert "#run=" in browser.driver.current_url
    browser.press("\ue00c")  # Escape
    assert not dialog.is_displayed()
    assert "#run=" not in browser.driver.current_url


def test_a_run_has_an_address(browser, pages):
    browser.open(pages.demo, fragment=f"#run={FAULTY_RUN.replace('/', '%2F')}")
    assert browser.one("#detail-title").text == f"Run {FAULTY_RUN}"
    browser.one("#detail header button").click()
    browser.open(pages.demo, fragment="#run=no%2Fsuch")
    assert not browser.one("#detail").is_displayed()
    browser.open(pages.demo, fragment="#run=%")
    assert browser.complaints() == []


def test_the_picture_is_that_of_the_trains(browser, pages):
    browser.open(pages.gappy, fragment="#run=p002012%2Fraw%2Fr0001")
    bars = browser.run(
        "return [...document.querySelectorAll('#detail .bars svg')].map((bar) => [bar.ariaLabel,"
        "[...bar.children].map((r) => r.getAttribute('class') + ' ' + r.getAttribute('width'))])"
    )
    said = dict(bars)
    assert said["DA00: data for 20 of 20 trains"] == ["p4 20"]
    assert said["AGIPD00: data for 10 of 20 trains"] == ["p0 10", "p4 10"]
    assert said["DA00/MOTOR/M001: data for 10 of 20 trains"] == ["p4 1", "p0 1"] * 10
    assert len(said) == 4
    assert "and 1 more with the same trains" in browser.one("#detail").text


def test_everything_can_be_reached_by_keyboard(browser, pages):
    browser.open(pages.demo)
    seen = set()
    for _ in range(400):
        browser.press("\ue004")  # Tab
        seen.add(browser.run("return document.activeElement.tagName"))
        focused = browser.run("return document.activeElement.closest('#checks td a')?.innerText")
        if focused:
            break
    assert {"A", "INPUT", "BUTTON"} <= seen
    browser.press("\ue007")  # Enter
    assert browser.one("#detail-title").text == f"Run {focused}"


def test_everything_has_a_name(browser, pages):
    browser.open(pages.demo, fragment=f"#run={FAULTY_RUN.replace('/', '%2F')}")
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    browser.one("#detail header button").click()
    nodes += browser.command("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "searchbox", "checkbox", "dialog", "image", "img", "region"}
    named = [
        (n["role"]["value"], n.get("name", {}).get("value"))
        for n in nodes
        if not n.get("ignored") and n["role"]["value"] in roles
    ]
    assert {"button", "link", "searchbox", "checkbox", "dialog"} <= {role for role, _ in named}
    assert [n for n in named if not n[1]] == []


CUT = (
    "return [...document.querySelectorAll('.scroll')].filter((s) => s.scrollWidth > s.clientWidth)"
    ".map((s) => [s.ariaLabel, s.scrollWidth, s.clientWidth])"
)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(browser, pages, width):
    for page in vars(pages).values():
        browser.open(page, width=width)
        assert browser.too_wide() == []
        if width >= 1280:  # narrower, some tables scroll
            assert browser.run(CUT) == []
        links = browser.all("#findings .kinds a")
        if links:
            links[0].click()
            assert browser.too_wide() == []
            sizes = browser.run(
                "const d = arguments[0]; return [d.scrollWidth, d.clientWidth]",
                browser.one("#detail"),
            )
            assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_contrast(browser, pages, scheme):
    browser.open(pages.huge, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert browser.low_contrasts() == []
    assert browser.pale_shapes(".chart rect") == {}
    browser.open(pages.demo, scheme=scheme)
    assert browser.pale_shapes(".chart rect") == {}
    browser.open(pages.demo, scheme=scheme, fragment=f"#run={FAULTY_RUN.replace('/', '%2F')}")
    assert browser.low_contrasts("#detail") == []
    browser.open(pages.empty, scheme=scheme)
    assert browser.low_contrasts() == []


def test_schemes_differ(browser, pages):
    colours = {
        browser.open(pages.demo, scheme=scheme).run(
            "return getComputedStyle(document.body).backgroundColor"
        )
        for scheme in SCHEMES
    }
    assert len(colours) == 2


def test_what_is_gone_is_shown(browser, tmp_path):
    store = store_of(tmp_path / "catalog", faulty_runs(1, 2))
    audit(store, options=AuditOptions(checks=(CHECKS["I01"],)))
    clean = next(iter(faulty_runs(1, 5, faults=False)))
    with store.write(clean.identity.shard) as writer:
        writer.replace_run(dataclasses.replace(clean, ingested_at=datetime.now(UTC)))
    store.publish_merged()
    write_report(store, path=tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.one("#findings details.gone summary").click()
    gone = browser.texts("#findings details.gone .kinds li")
    assert gone
    assert f"Gone since the audit before: {len(gone)} finding" in browser.one(".gone summary").text
    assert browser.complaints() == []


def test_an_empty_catalog_says_so(browser, pages):
    browser.open(pages.empty)
    assert "No run" in browser.one(".notice").text
    assert browser.all("section") == []


def test_the_verdict_on_an_instrument(browser, pages):
    browser.open(pages.demo)
    fxe, spb = browser.texts("#verdict .verdict")
    assert "errors in 5 of 13 runs" in fxe
    assert "not audited yet" in fxe
    assert "2 of 11 raw runs" in fxe
    assert "File is empty or cut off: 1 run, such as p900021/raw/r0101" in fxe
    assert "Copy the file again" in fxe
    assert "fine" in spb
    assert "Nothing to do." in spb
    browser.one("#verdict h3 a").click()
    assert browser.one("#detail-title").text == "Instrument FXE"
    browser.one("#detail tbody a").click()
    assert browser.one("#detail-title").text == "Proposal p900021"
    assert "2-3, 5, 101-106" in browser.one("#detail").text
    browser.one("#detail tbody a").click()
    assert browser.one("#detail-title").text.startswith("Run p900021/raw/r01")
    assert "of proposal p900021" in browser.one("#detail").text
    assert browser.complaints() == []


def test_pages_of_proposals_lead_to_each_other(browser, demo, tmp_path):
    assert write_pages(demo.store, directory=tmp_path / "site") == 4
    browser.open(tmp_path / "site" / "index.html")
    link = browser.one("#proposals tbody a")
    name = link.text
    link.click()
    assert browser.driver.current_url.endswith(f"/site/{name}.html")
    assert browser.one("h1").text == f"{name}: state of the data"
    assert {row.split("/")[0] for row in browser.texts("#checks tbody td:first-child")} == {name}
    browser.one("#about a").click()
    assert browser.one("h1").text == "xfelcat: state of the data"
    assert browser.complaints() == []


def test_on_a_phone_rows_are_cards(browser, pages):
    browser.open(pages.demo, width=390)
    assert not browser.one("#proposals thead").is_displayed()
    card = browser.texts("#proposals tbody tr")[0]
    assert card.startswith("p900021")
    before = browser.run(
        "return [...document.querySelectorAll('#proposals tbody tr:first-child td')]"
        ".map((td) => getComputedStyle(td, '::before').content)"
    )
    assert {'"Calibrated"', '"Not calibrated"', '"Volume"'} <= set(before)
    assert browser.run(CUT) == []


def test_the_synthetic_facility(browser, pages):
    assert pages.synthetic.stat().st_size < 3_000_000
    browser.open(pages.synthetic)
    assert browser.all("#coverage tbody tr")
    rects = browser.all("#volume rect")
    assert rects
    assert browser.complaints() == []


def test_a_full_page_is_small_and_says_what_it_leaves_out(browser, pages):
    assert pages.huge.stat().st_size < 3_000_000
    browser.open(pages.huge)
    for part in ("findings", "checks", "coverage"):
        assert (
            "of 1\u202f000\u202f000; ask the catalog" in browser.one(f"#{part} [role=status]").text
        )
    rows = len(browser.all(table_in("checks")))
    browser.one("#checks .more").click()
    assert len(browser.all(table_in("checks"))) > rows
    shown = "return [...document.querySelectorAll('.kinds li')].filter((e) => e.checkVisibility())"
    kinds = len(browser.run(shown))
    browser.one("#findings .problem button").click()
    assert len(browser.run(shown)) > kinds


def test_nothing_is_wider_than_the_paper(browser, pages):
    for page in (pages.demo, pages.huge):
        browser.open(page, width=A4)
        browser.command("Emulation.setEmulatedMedia", media="print", features=[])
        assert browser.too_wide() == []


def test_print(browser, pages):
    browser.open(pages.demo)
    whole = browser.pdf_pages()
    browser.open(pages.demo, fragment=f"#run={FAULTY_RUN.replace('/', '%2F')}")
    run = browser.pdf_pages()
    assert 1 <= run < whole < 20
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    assert not browser.one("#main").is_displayed()
    assert browser.one("#detail").is_displayed()
    browser.open(pages.demo, scheme="dark")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.command("Emulation.setEmulatedMedia", media="print", features=features)
    assert not browser.one("nav").is_displayed()
    assert not browser.one("#checks").is_displayed()
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert len(browser.all("#coverage tbody tr")) > 90  # on paper a table has its rows
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert browser.low_contrasts() == []
