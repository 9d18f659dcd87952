"""Fixtures of the tests of the catalog."""

import pytest
from support.demo_facility import demo, demo_and_report, demo_report
from xfelcat.catalog.store.store import Store

__all__ = ["demo", "demo_and_report", "demo_report", "store"]


@pytest.fixture
def store(tmp_path):
    """A store without anything in it."""
    return Store(tmp_path / "catalog")
