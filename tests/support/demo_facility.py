"""The demo facility and its catalog, made once per test session, for tests that only read them."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples.facility import FacilitySummary, write_facility

from support.shared import made_once

HOMES = count()
NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
"""The clock of the demo: one of its runs is of the day before."""


class Clock(datetime):
    """In place of ``datetime``, where ``xfelcat demo`` should write this facility again."""

    @classmethod
    def now(cls, tz=None):
        return NOW


@dataclass(frozen=True)
class Demo:
    """``root`` of the facility, ``location`` of the catalog, and what was written."""

    root: Path
    location: Path
    summary: FacilitySummary

    @property
    def store(self):
        return Store(self.location)

    def copy_catalog(self, to):
        """A catalog of one's own, to change."""
        shutil.copytree(self.location, to, symlinks=True)
        return Store(to)


def build(base):
    summary = write_facility(base / "facility", now=NOW)
    store = Store(base / "catalog")
    report = ingest(store, [str(base / "facility")], IngestOptions(jobs=2))
    return Demo(base / "facility", base / "catalog", summary), report


@pytest.fixture(scope="session")
def demo_and_report(tmp_path_factory):
    return made_once(tmp_path_factory, "demo-facility", build)


@pytest.fixture(scope="session")
def demo(demo_and_report):
    return demo_and_report[0]


@pytest.fixture(scope="session")
def demo_report(demo_and_report):
    return demo_and_report[1]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path_factory):
    """No setting of whoever runs the tests, and no catalog of theirs."""
    home = tmp_path_factory.getbasetemp() / f"home-{next(HOMES)}"  # made by whoever writes there
    for name in ("XFELCAT_CATALOG", "XFELCAT_CONFIG", "XFELCAT_DATA_ROOT", "XFELCAT_TRUST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return SimpleNamespace(data=home / "data", config=home / "config")
