"""Globs match in DuckDB what fnmatch matches."""

from fnmatch import fnmatchcase

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from xfelcat.catalog.questions.conditions import glob_to_regex, is_glob

pytestmark = pytest.mark.fast

CONNECTION = duckdb.connect(":memory:")
NAMES = [
    "SA1_XTD2_XGM/XGM/DOOCS",
    "SA1_XTD2_XGM/XGM/DOOCS:output",
    "sa1_xtd2_xgm/xgm/doocs",
    "beamPosition.ixPos.value",
    "[x]",
    "a\\b",
    "^",
    "",
    "line\nbreak",
    "μ",
]


def matches(glob, name):
    sql = "SELECT regexp_full_match($1, $2)"
    return CONNECTION.execute(sql, [name, glob_to_regex(glob)]).fetchall()[0][0]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*XGM*", {"SA1_XTD2_XGM/XGM/DOOCS", "SA1_XTD2_XGM/XGM/DOOCS:output"}),
        ("SA1*DOOCS", {"SA1_XTD2_XGM/XGM/DOOCS"}),  # the star matches a slash
        ("beamPosition.*", {"beamPosition.ixPos.value"}),
        ("beamPosition?ixPos?value", {"beamPosition.ixPos.value"}),
        ("[[]x]", {"[x]"}),
        ("[!a]", {"^", "μ"}),
        ("[", set()),
        ("", {""}),
        ("a\\b", {"a\\b"}),
        ("*\n*", {"line\nbreak"}),
        ("beam*[a-u]e", {"beamPosition.ixPos.value"}),
    ],
)
def test_glob_finds_these_names(glob, found):
    assert {name for name in NAMES if matches(glob, name)} == found


SYMBOLS = st.sampled_from(list("ab-]![^*?.\\/&|~ \nμ"))


@settings(max_examples=400)
@given(st.lists(SYMBOLS, max_size=9).map("".join), st.lists(SYMBOLS, max_size=6).map("".join))
@example("[]-a]", "^")
@example("[!]]", "a")
@example("[a-]", "-")
@example("[--/]", ".")
@example("[b-a]", "b")
@example("[!b-a]", "b")
@example("[^a]", "a")
def test_globs_match_as_fnmatch_does(glob, name):
    # Where an empty range comes first, fnmatch takes a "!" behind it for a negation: a slip.
    assume(not any(f"[{high}-{low}" in glob for high in SLIPS for low in SLIPS if high > low))
    assert matches(glob, name) == fnmatchcase(name, glob)


SLIPS = "ab-]![^*?.\\/&|~ \nμ"


def test_a_glob_is_told_from_a_name():
    assert not is_glob("SA1_XTD2_XGM/XGM/DOOCS:output")
    assert is_glob("a*")
    assert is_glob("a?")
    assert is_glob("[ab]")
