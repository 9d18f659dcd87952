"""What the loader's tests share: the synthetic facility, written once per session."""

from typing import Any

import pytest
from support.demo_facility import Demo, demo, demo_and_report, no_settings
from support.documented_data import QUICK, VIEWS, View, open_view
from support.examples import some
from xfelcat.loader.examples.facility import FacilitySummary
from xfelcat.loader.read import file_read

__all__ = ["demo", "demo_and_report", "facility", "no_settings", "used", "view"]


@pytest.fixture(scope="session")
def facility(demo: Demo) -> FacilitySummary:
    """The demo facility. Not to be changed; EXtra-data should open its files by their paths, so
    that it leaves no data map behind."""
    return demo.summary


@pytest.fixture(scope="session", params=some(VIEWS, QUICK))
def view(request: pytest.FixtureRequest, demo: Demo) -> View:
    """Whatever can be opened, from the catalog and from bare files, in an old and a new format."""
    return open_view(request.param, demo)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Counts the reads past HDF5, and says of each whether it was possible."""
    found: list[bool] = []
    real = file_read.find_tasks

    def counted(*args: Any, **options: Any) -> Any:
        done = real(*args, **options)
        found.append(done is not None)
        return done

    monkeypatch.setattr(file_read, "find_tasks", counted)
    return found
