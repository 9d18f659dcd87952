"""What the loader's tests share: the synthetic facility, written once per session."""

import pytest
from xfelcat.loader.examples.facility import FacilitySummary, write_facility


@pytest.fixture(scope="session")
def facility(tmp_path_factory: pytest.TempPathFactory) -> FacilitySummary:
    """The demo facility. Not to be changed; EXtra-data should open its files by their paths, so
    that it leaves no data map behind."""
    return write_facility(tmp_path_factory.mktemp("facility"))
