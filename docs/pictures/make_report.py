"""Make the pictures of the report: ``python docs/pictures/make_report.py``.

They show the report on the demo facility, of which two faulty runs were put right between two
audits: on a screen, on a phone and on paper, and a proposal and a run of it. It needs what
``make test-browser`` installs, and pdftoppm.
"""

import base64
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from urllib.parse import quote

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from xfelcat import Catalog
from xfelcat.loader.examples import write_facility, write_run

HERE = Path(__file__).parent
RUN, PROPOSAL = "p900021/raw/r0103", "p900021"
REPAIRED = (102, 104)
N_COLOURS = 256  # a page has few


@contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium."""
    options = Options()
    options.binary_location = which("chromium") or ""
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: webdriver.Chrome, page: Path, fragment: str, width: int, height: int) -> None:
    """Load a page in a window of a size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get("about:blank")
    driver.get(page.as_uri() + fragment)


def save(data: bytes | Path, name: str) -> None:
    """Write a picture beside this file, with few colours."""
    target = HERE / f"{name}.png"
    if isinstance(data, bytes):
        target.write_bytes(data)
        data = target
    with Image.open(data) as picture:
        picture.convert("RGB").quantize(N_COLOURS).save(target, optimize=True)


def screenshot(driver: webdriver.Chrome) -> bytes:
    """What the window shows."""
    return base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"])


def write_pages(scratch: Path) -> Path:
    """The report on the demo facility after two audits, with no path of this machine in it."""
    demo, page = scratch / "demo", scratch / "report.html"
    summary = write_facility(demo / "facility")
    catalog = Catalog(demo / "catalog")
    catalog.ingest([demo / "facility"])
    catalog.audit()
    for number in REPAIRED:
        faulty = summary.run(900021, number)
        write_run(faulty.path, faulty.spec)
    catalog.ingest([demo / "facility"], force=True)
    catalog.audit()
    catalog.report(page)
    page.write_text(page.read_text().replace(str(scratch), ""))
    return page


def main() -> None:
    """Write the pictures beside this file."""
    with tempfile.TemporaryDirectory() as scratch, open_browser() as driver:
        page = write_pages(Path(scratch))
        for name, fragment, width, height in (
            ("report", "", 1280, 1200),
            ("report-phone", "", 390, 1000),
            ("report-proposal", f"#proposal={PROPOSAL}", 1280, 900),
            ("report-run", f"#run={quote(RUN, safe='')}", 1280, 900),
        ):
            show(driver, page, fragment, width, height)
            save(screenshot(driver), name)
        show(driver, page, "", 1280, 1200)
        options = {"printBackground": True, "preferCSSPageSize": True}
        printed = driver.execute_cdp_cmd("Page.printToPDF", options)["data"]
        paper = Path(scratch) / "report.pdf"
        paper.write_bytes(base64.b64decode(printed))
        subprocess.run(
            ["pdftoppm", "-r", "80", "-l", "2", "-png", paper, Path(scratch) / "paper"], check=True
        )
        sheets = [Image.open(path) for path in sorted(Path(scratch).glob("paper-*.png"))]
        both = Image.new("RGB", (sum(s.width for s in sheets) + 20, sheets[0].height), "#8c939c")
        for at, sheet in enumerate(sheets):
            both.paste(sheet, (at * (sheet.width + 20), 0))
        both.save(Path(scratch) / "both.png")
        save(Path(scratch) / "both.png", "report-print")


if __name__ == "__main__":
    main()
