"""A headless Chromium for tests: what it shows, complains about and asks the network for."""

import base64
import json
import re
import shutil
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_MISSING = [
    *(name for name in ("chromium", "chromedriver") if shutil.which(name) is None),
    *(["the extra `browser`"] if find_spec("selenium") is None else []),
]
# For tests that need it.
needs_browser = pytest.mark.skipif(
    bool(_MISSING),
    reason=f"{', '.join(_MISSING)} missing: `make test-browser` installs what it needs",
)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

COLOURS = """
const rgb = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const luminance = ([r, g, b]) => [r, g, b]
  .map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
const contrast = (one, other) => {
  const [a, b] = [luminance(one), luminance(other)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour[3] === 1) return colour;
    if (colour[3] > 0) throw new Error("half transparent: " + node.className);
  }
  return [255, 255, 255];
};
"""
# For each text that can be seen: its contrast with what is behind it, its size, and what it says.
CONTRASTS = """
const found = [];
const walker = document.createTreeWalker(arguments[0] ?? document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const parent = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || !parent.checkVisibility() || ["SCRIPT", "title"].includes(parent.tagName)) continue;
  const style = getComputedStyle(parent);
  const ink = rgb(parent instanceof SVGElement ? style.fill : style.color);
  found.push([contrast(ink, behind(parent)), parseFloat(style.fontSize), text.slice(0, 60)]);
}
return found;
"""
SHAPES = """
return [...document.querySelectorAll(arguments[0])].map((shape) => [
  contrast(rgb(getComputedStyle(shape).fill), behind(shape.ownerSVGElement)),
  shape.getAttribute("class"),
]);
"""


class Browser:
    """One page at a time, at a width and in a colour scheme."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, *, width=1280, scheme="light", fragment=""):
        """Load a file anew; forget what was complained about and asked for before."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media="", features=features)
        self.driver.get("about:blank")
        self.complaints(), self.requests()
        self.driver.get(f"{path.as_uri()}{fragment}")
        return self

    def command(self, name, **values):
        return self.driver.execute_cdp_cmd(name, values)

    def run(self, script, *values):
        """What a script returns; it is the body of a function."""
        return self.driver.execute_script(script, *values)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector):
        """The texts of all elements, at once."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        return self.run(script, selector)

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def complaints(self):
        """What the console says since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """The URLs that were asked for since it was last asked."""
        messages = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        return [
            m["message"]["params"]["request"]["url"]
            for m in messages
            if m["message"]["method"] == "Network.requestWillBeSent"
        ]

    def too_wide(self):
        """What makes the page wider than its window."""
        return self.run(
            "const { scrollWidth, clientWidth } = document.documentElement;"
            "if (scrollWidth <= clientWidth) return [];"
            "return [scrollWidth, ...[...document.querySelectorAll('body *')]"
            ".filter((e) => e.getBoundingClientRect().right > clientWidth)"
            ".map((e) => `${e.tagName} ${e.className}: ${e.textContent.slice(0, 40)}`)]"
        )

    def low_contrasts(self, selector="body"):
        """Texts whose contrast is below that of WCAG AA: 4.5, or 3 for large ones."""
        found = self.run(COLOURS + CONTRASTS, self.one(selector))
        assert found
        return [f for f in found if f[0] < (3 if f[1] >= 24 else 4.5)]

    def pale_shapes(self, selector):
        """Shapes whose contrast with what is behind them is below that of WCAG AA: 3."""
        found = self.run(COLOURS + SHAPES, selector)
        assert found
        return {name: contrast for contrast, name in found if contrast < 3}

    def pdf_pages(self):
        """How many pages the print has."""
        pdf = base64.b64decode(self.command("Page.printToPDF", printBackground=True)["data"])
        return len(re.findall(rb"/Type\s*/Page\b", pdf))


@contextmanager
def browse(profile):
    """A browser with a profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
