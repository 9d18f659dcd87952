"""Fixtures that all tests share."""

import pytest
from mockruns import MockBuilder


@pytest.fixture(scope="session")
def build_mock(tmp_path_factory):
    """``build_mock(name)``: the path of a mock file or run of ``mockruns``, built at its first use.

    What it builds is shared by all tests of the session: never change it, copy it.
    """
    return MockBuilder(tmp_path_factory.mktemp("mocks"))
