"""The documentation names every public name, setting and error there is, and none that is not."""

import inspect
import re
from pathlib import Path

import pytest
import xfelcat
from xfelcat.catalog import config
from xfelcat.catalog.model import errors

pytestmark = pytest.mark.fast

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.name: path.read_text() for path in DOCS.glob("*.md")}
ERRORS = sorted(n for n in vars(errors) if n.endswith("Error") and n[0] != "_")
SETTINGS = {name: variables for name, (variables, _) in config.SETTINGS.items()}


def builtins_of(error):
    """The builtin errors that an error also is, the most special ones only."""
    found = [c for c in error.__mro__ if c.__module__ == "builtins" and c is not object]
    own = [c for c in found if not any(c is not d and issubclass(d, c) for d in found)]
    return {c.__name__ for c in own}


def table_row(page, name):
    """The cells of the row of a table that begins with a name."""
    found = re.search(rf"^\| `{name}` \|(.*)\|$", PAGES[page], re.M)
    assert found, f"docs/{page} has no row for {name}"
    return found[1]


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_documented_with_its_builtin(name):
    builtin = table_row("errors.md", name).partition("|")[0]
    told = set(re.findall(r"`(\w+)`", builtin))
    assert {b for b in told if not hasattr(errors, b)} <= builtins_of(getattr(errors, name))
    assert builtins_of(getattr(errors, name)) <= told | {"Exception"}


def test_no_other_errors_are_documented():
    listed = re.findall(r"^\| `(\w+Error)` \|", PAGES["errors.md"], re.M)
    assert sorted(listed) == ERRORS


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_documented(name):
    row = table_row("settings.md", name)
    assert all(f"`{variable}`" in row for variable in SETTINGS[name])
    if default := config.SETTINGS[name][1]:
        assert f"`{default}`" in row


def test_no_other_settings_are_documented():
    assert re.findall(r"^\| `(\w+)` \|", PAGES["settings.md"], re.M) == list(SETTINGS)


@pytest.mark.parametrize("name", sorted(set(xfelcat.__all__) - {"__version__"}))
def test_public_name_is_documented(name):
    assert any(re.search(rf"\b{name}\b", page) for page in PAGES.values())
    assert len(inspect.getdoc(getattr(xfelcat, name)) or "") > 20
    assert re.search(rf"\b{name}\b", PAGES["api.md"])


@pytest.mark.parametrize("of", ["DataCollection", "SourceData", "KeyData"])
def test_public_methods_have_docstrings(of):
    members = inspect.getmembers(getattr(xfelcat, of))
    bare = [n for n, m in members if not n.startswith("_") and not inspect.getdoc(m)]
    assert bare == []


def test_map_leads_to_every_page():
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)", PAGES["index.md"]))
    assert linked == set(PAGES) - {"index.md"}


def test_locality_filters_are_where_scripts_look():
    from xfelcat.locality import lc_any, lc_avail, lc_ondisk

    assert [f(["/no/such/a.h5"]) for f in (lc_any, lc_ondisk, lc_avail)] == [["/no/such/a.h5"]] * 3
