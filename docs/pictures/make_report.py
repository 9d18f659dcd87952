"""Make the pictures of the report: ``python docs/pictures/make_report.py``; needs chromium.

They show the report on the demo facility, its top and a run.
"""

import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from xfelcat import Catalog
from xfelcat.loader.examples import write_facility

HERE = Path(__file__).parent
RUN = "p900021/raw/r0103"
N_COLOURS = 256  # a page has few


def take(page: Path, fragment: str, size: tuple[int, int], target: Path) -> None:
    """What a browser shows of a page in a window of a size."""
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        options += [f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        options += ["--virtual-time-budget=3000", f"--screenshot={target}"]
        subprocess.run(["chromium", *options, page.as_uri() + fragment], check=True)
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(N_COLOURS).save(target, optimize=True)


def main() -> None:
    """Write the pictures beside this file."""
    with tempfile.TemporaryDirectory() as scratch:
        demo, page = Path(scratch) / "demo", Path(scratch) / "report.html"
        write_facility(demo / "facility")
        catalog = Catalog(demo / "catalog")
        catalog.ingest([demo / "facility"])
        catalog.audit()
        catalog.report(page)
        page.write_text(page.read_text().replace(scratch, ""))
        take(page, "", (1280, 1200), HERE / "report.png")
        take(page, f"#run={quote(RUN, safe='')}", (1280, 900), HERE / "report-run.png")


if __name__ == "__main__":
    main()
