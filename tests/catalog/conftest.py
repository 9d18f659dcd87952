"""Fixtures of the tests of the catalog."""

import shutil

import pytest
from support.demo_facility import demo, demo_and_report, demo_report
from support.run_records import make_run, write
from support.shared import made_once, shared_directory
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.store import Store

__all__ = ["demo", "demo_and_report", "demo_report", "store"]


@pytest.fixture
def store(tmp_path):
    """A store without anything in it."""
    return Store(tmp_path / "catalog")


def _two_proposals(directory):
    store = Store(directory / "catalog")
    for proposal in (2012, 2013):
        write(store, make_run(1, proposal))
    store.publish_merged()
    assert check(store) == []


@pytest.fixture
def two_proposals(tmp_path_factory, tmp_path):
    """A store of its own with run 1 of p002012 and of p002013, which the session writes once."""
    made_once(tmp_path_factory, "two-proposals", _two_proposals)
    made = shared_directory(tmp_path_factory) / "two-proposals" / "catalog"
    shutil.copytree(made, tmp_path / "catalog", symlinks=True)
    return Store(tmp_path / "catalog")
