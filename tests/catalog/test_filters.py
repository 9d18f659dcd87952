"""Filters from what people write, and what is refused."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from xfelcat.catalog.model.errors import QueryError
from xfelcat.catalog.questions.filters import (
    FILTERS,
    Choice,
    DataFilter,
    RunChoice,
    RunFilter,
    filters_of,
    parse_filters,
    parse_time,
)

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("written", [2012, "2012", "p002012", "p2012", [2012], ("p002012",)])
def test_proposals(written):
    assert RunFilter.of(proposal=written).proposals == (2012,)


@pytest.mark.parametrize(
    ("written", "ranges"),
    [
        (5, ((5, 5),)),
        ("r0005", ((5, 5),)),
        ("5-10", ((5, 10),)),
        ("r0005-r0010", ((5, 10),)),
        ([1, "3-4"], ((1, 1), (3, 4))),
        (range(2), ((0, 0), (1, 1))),
    ],
)
def test_runs(written, ranges):
    assert RunFilter.of(run=written).runs == ranges


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-05-01", datetime(2024, 5, 1)),
        ("2024-05-01T12:30", datetime(2024, 5, 1, 12, 30)),
        ("2024-05-01T12:30+02:00", datetime(2024, 5, 1, 10, 30)),
        (date(2024, 5, 1), datetime(2024, 5, 1)),
        (datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 5, 1, 10)),
    ],
)
def test_times_are_utc_without_zone(written, moment):
    assert parse_time(written) == moment


def test_numbers_and_times_of_numpy():
    number = np.int64
    assert RunFilter.of(proposal=number(2012), run=np.arange(3, 5)) == RunFilter(
        proposals=(2012,), runs=((3, 3), (4, 4))
    )
    assert parse_filters({"min_trains": np.uint16(5)}, "having") == {"min_trains": 5}
    for shape in ((number(3), number(2)), np.array([3, 2]), [(number(3), 2)]):
        assert DataFilter.of(shape=shape).shapes == ((3, 2),)
    assert parse_time(np.datetime64("2024-05-01T12:30", "ns")) == datetime(2024, 5, 1, 12, 30)
    with pytest.raises(QueryError, match="give a number of trains"):
        parse_filters({"min_trains": 5.0}, "having")


@pytest.mark.parametrize(
    ("written", "hours"), [("30min", 0.5), ("12h", 12), ("3d", 72), ("2w", 14 * 24)]
)
def test_times_ago(written, hours):
    ago = datetime.now(UTC).replace(tzinfo=None) - parse_time(written)
    assert abs(ago - timedelta(hours=hours)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"proposal": "x12"}, "'x12' is no proposal"),
        ({"proposal": 10**6}, "is no proposal"),
        ({"run": "a"}, "'a' is no run"),
        ({"run": "3-"}, "'3-' is no run"),
        ({"run": "9-3"}, "ends before it starts"),
        ({"since": "the day before"}, "'the day before' is no time"),
        ({"since": "2024-05-02", "until": "2024-05-01"}, "no time is from"),
    ],
)
def test_what_means_nothing_is_refused(parts, said):
    with pytest.raises(QueryError, match=said):
        RunFilter.of(**parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p002012", RunFilter(proposals=(2012,))),
        ("p2012/", RunFilter(proposals=(2012,))),
        ("p002012/raw", RunFilter(proposals=(2012,), data_classes=("raw",))),
        (
            "p002012/raw/r0007",
            RunFilter(proposals=(2012,), data_classes=("raw",), runs=((7, 7),)),
        ),
        (
            "p002012/usr/mine/r0007",
            RunFilter(proposals=(2012,), data_classes=("usr/mine",), runs=((7, 7),)),
        ),
    ],
)
def test_names_of_runs(text, expected):
    assert RunFilter.named(text) == expected


def test_anything_else_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "target"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    assert RunFilter.named("./p002012").below == (str(tmp_path / "p002012"),)
    assert RunFilter.named(Path("link")).below == (str(link), str(target))


def test_the_keyword_arguments_are_those_of_the_table():
    assert set(Choice.__annotations__) == {f.name for f in FILTERS}
    assert set(RunChoice.__annotations__) == {f.name for f in filters_of("run")}


@pytest.mark.parametrize("filter_", FILTERS, ids=lambda f: f.name)
def test_the_documentation_has_every_filter_of_the_table(filter_):
    page = (DOCS / "questions.md").read_text()
    assert re.search(rf"^\| [^|]*`{filter_.name}`[^|]* \|", page, re.MULTILINE)
    if filter_.name not in ("source", "key"):  # arguments, not options
        option = f"`--{filter_.name.replace('_', '-')} {filter_.metavar}`"
        option += f", `{filter_.short}`" if filter_.short else ""
        assert f"| {option} |" in (DOCS / "commands.md").read_text()
