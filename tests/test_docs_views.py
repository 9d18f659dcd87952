"""docs/views.md describes the documented views as they are: columns, order, types, meaning."""

import re
from pathlib import Path

import duckdb
import pytest
from xfelcat.catalog.questions.sql import EXAMPLES, describe_views
from xfelcat.catalog.store.schema import create_schema

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "views.md").read_text()
DDL = next((ROOT / "catalog").rglob("schema.sql")).read_text()
VIEWS = re.findall(r"^CREATE VIEW (\w+)", DDL, re.M)
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", re.M)


@pytest.fixture(scope="module")
def schema():
    """Columns of each view, as (name, type, meaning), and what a row of each view is."""
    with duckdb.connect() as connection:
        create_schema(connection, "merged", "merged")
        columns = {
            view: connection.execute(
                "SELECT column_name, data_type, comment FROM duckdb_columns()"
                " WHERE table_name = ? ORDER BY column_index",
                [view],
            ).fetchall()
            for view in VIEWS
        }
        meanings = dict(
            connection.execute("SELECT view_name, comment FROM duckdb_views()").fetchall()
        )
    return columns, meanings


def section_of(view):
    """The text below the heading of a view."""
    found = re.search(rf"^## {view}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"docs/views.md has no section {view}"
    return found[1]


def test_every_view_has_a_section_in_order():
    assert VIEWS
    assert re.findall(r"^## (\w+)$", PAGE, re.M) == VIEWS
    assert re.findall(r"^\| \[(\w+)\]\(#\1\)", PAGE, re.M) == VIEWS


@pytest.mark.parametrize("view", VIEWS)
def test_columns_are_those_of_the_view(schema, view):
    columns, _ = schema
    assert ROW.findall(section_of(view)) == columns[view]


@pytest.mark.parametrize("view", VIEWS)
def test_meaning_and_example(schema, view):
    _, meanings = schema
    section = section_of(view)
    assert section.strip().startswith(meanings[view])
    example = re.search(r"^```python\n(.*?)^```", section, re.M | re.S)
    assert example
    assert re.search(rf"\bFROM {view}\b", example[1])


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_and_the_command_say_the_same(schema, view):
    columns, meanings = schema
    (described,) = describe_views(view)
    assert [(c.name, c.type, c.meaning) for c in described.columns] == columns[view]
    assert described.meaning == meanings[view]
    section = section_of(view)
    assert described.question in " ".join(section.split())
    shown = re.search(r'^catalog.sql\("""\n(.*?)\n"""\)', section, re.M | re.S)
    assert shown[1].split() == described.example.split()
    assert list(EXAMPLES) == VIEWS


def test_units_are_told_of_what_has_them():
    units = {(v.name, c.name): c.unit for v in describe_views() for c in v.columns if c.unit}
    times = {(v.name, c.name) for v in describe_views() for c in v.columns if c.type == "TIMESTAMP"}
    assert {key for key, unit in units.items() if unit == "UTC"} == times
    assert {key for key, unit in units.items() if unit == "bytes"} == {
        ("runs", "bytes"),
        ("files", "size"),
        ("file_changes", "size"),
    }
    assert units["audits", "seconds"] == "s"
    assert units["run_values", "number"] == "of the key"
