"""A run is named the same way wherever one is named."""

import os

import pytest
import xfelcat
from xfelcat.catalog.model.errors import RunNotFoundError
from xfelcat.catalog.model.identity import parse_run_name

NAMES = {
    "900032/1": (900032, "raw", 1),
    "900032 1": (900032, "raw", 1),
    "p900032/raw/r0001": (900032, "raw", 1),
    "p900032/r1": (900032, "raw", 1),
    "900032/red/4": (900032, "red", 4),
}


@pytest.fixture(autouse=True)
def root(demo, monkeypatch, tmp_path):
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(demo.root))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "meant"), NAMES.items())
def test_names(demo, name, meant):
    assert parse_run_name(name) == meant
    run = xfelcat.RunDirectory(name, catalog=demo.location)
    assert (run.proposal, run.data_class, run.run) == meant
    report = xfelcat.validate(name, jobs=0)
    assert report.path == run.path


def test_what_lies_there_comes_first(demo, tmp_path):
    os.makedirs("900032/1")
    with pytest.raises(RunNotFoundError, match="data file"):
        xfelcat.RunDirectory("900032/1", catalog=demo.location)


@pytest.mark.parametrize("name", ["900032", "a/b", "900032/1/2/3", "r0001", ""])
def test_what_is_no_name(name):
    assert parse_run_name(name) is None


def test_a_name_of_nothing_offers_the_nearest(demo):
    with pytest.raises(RunNotFoundError, match="r0099") as caught:
        xfelcat.RunDirectory("900032/99", catalog=demo.location)
    assert caught.value.nearest


def test_a_proposal_with_a_list_of_runs(demo):
    runs = xfelcat.open_runs(900032, [1, 2], catalog=demo.location)
    assert repr(runs) == "<xfelcat.Runs: 2 runs, p900032/raw/r0001 to p900032/raw/r0002>"
