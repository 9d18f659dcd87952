"""The tables of docs/audit.md are those of the code. Run as a script, this writes them."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from xfelcat.catalog.model.checks import CHECKS, Limits

pytestmark = pytest.mark.fast

PAGE = Path(__file__).parent.parent / "docs" / "audit.md"


def checks_table():
    names = ("ID", "Finds", "Level", "Severity", "Found by", "Meaning", "What to do")
    head = f"| {' | '.join(names)} |\n|{'---|' * len(names)}"
    rows = (
        f"| {c.id} | {c.title} | {c.level} | {c.severity} | {c.origin} | {c.meaning} | {c.remedy} |"
        for c in CHECKS.values()
    )
    return "\n".join([head, *rows])


def limits_table():
    """Names and meanings as the fields' docstrings have them, values as they are."""
    fields = re.findall(r'^    (\w+): .*\n    """([^"]+)"""', inspect.getsource(Limits), re.M)
    meaning = {name: " ".join(text.split()).replace("``", "`") for name, text in fields}
    defaults = {f.name: getattr(Limits(), f.name) for f in dataclasses.fields(Limits)}
    rows = (
        f"| `{name}` | {value} | {meaning[name]} |"
        for name, value in defaults.items()
        if name != "detector_sizes"
    )
    return "\n".join(["| Limit | Value | Meaning |\n|---|---|---|", *rows])


TABLES = {"checks": checks_table, "limits": limits_table}


def between(name, text):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.S)


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_table_of_the_code(name):
    assert between(name, PAGE.read_text())[1].strip() == TABLES[name]().strip()


def write():
    text = PAGE.read_text()
    for name, make in TABLES.items():
        found = between(name, text)
        text = text[: found.start(1)] + make() + "\n" + text[found.end(1) :]
    PAGE.write_text(text)


if __name__ == "__main__":
    write()
