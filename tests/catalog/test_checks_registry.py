"""The table of checks: complete, well formed, and chosen from by ID and level."""

import ast
import re
from pathlib import Path

import pytest
from xfelcat.catalog.model.checks import CHECKS, LEVELS, SEVERITIES, choose_checks
from xfelcat.catalog.model.errors import QueryError

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent.parent


def ids(**choice):
    return [check.id for check in choose_checks(**choice)]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_check_says_what_it_means_and_what_to_do(check):
    assert re.fullmatch(r"[FTIRPXCV]\d\d", check.id)
    assert check.level in LEVELS
    assert check.severity in SEVERITIES
    assert (check.origin == "deep") == (check.level == "D")
    assert 10 < len(check.title) < 60
    assert check.title[-1] != "."
    for text in (check.meaning, check.remedy):
        assert text.endswith(".")
        assert 15 < len(text) < 200


def test_titles_are_told_apart():
    assert len({check.title for check in CHECKS.values()}) == len(CHECKS)


def test_whoever_reports_a_problem_names_a_check_that_exists():
    named = set()
    for path in [*(ROOT / "catalog").rglob("*.py"), *(ROOT / "loader").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= {node.value} if re.fullmatch(r"[FTIRPXCV]\d\d", node.value) else set()
    assert len(named) > 20
    assert named <= CHECKS.keys()


def test_all_checks_in_the_order_of_the_table_unless_some_are_asked_for():
    assert ids() == list(CHECKS)
    assert ids(only=["x", "P02"]) == ["P02", "X01", "X02", "X03", "X04"]
    assert ids(only=["P"], skip=["p01"]) == ["P02", "P03"]
    assert ids(levels=["D"]) == ["V01", "V02", "V03", "V04"]
    assert ids(levels=["catalog", "S"], skip=["C", "F"]) == [
        "R01",
        "P01",
        "X01",
        "X02",
        "X03",
        "X04",
    ]


def test_unknown_checks_and_levels_are_refused():
    with pytest.raises(QueryError, match="no check 'Z1'"):
        choose_checks(only=["Z1"])
    with pytest.raises(QueryError, match="no check ''"):
        choose_checks(skip=[""])
    with pytest.raises(QueryError, match="no level 'Q'; the levels are S, H, catalog, D"):
        choose_checks(levels=["Q"])
