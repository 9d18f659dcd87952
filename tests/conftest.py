"""Fixtures that all tests share."""

import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import pytest
from support.mock_runs import MockBuilder
from support.postgres import server
from xfelcat.catalog.store import connections

# A shell that runs the tests in the background leaves Ctrl-C ignored, and so would our processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Without it, open_run warns where there are processed data too; tests of the warning take it away.
os.environ.setdefault("XFELCAT_DEFAULT_DATA", "raw")

os.environ.pop("XFELCAT_MERGED", None)

# Nothing that depends on a clock: Hypothesis would let a slow example fail.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.load_profile("any machine")

__all__ = ["server"]


def pytest_addoption(parser):
    parser.addoption(
        "--merged",
        choices=("file", "lake-file", "lake-server"),
        default="file",
        help="where merged databases of the tests are (`make test-lake`)",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("merged") != "file":
        for item in items:
            if item.get_closest_marker("of_file"):
                item.add_marker(pytest.mark.skip(reason="about the merged database as a file"))


@pytest.fixture(scope="session", autouse=True)
def merged_by_option(request):
    """The setting ``merged`` for all tests of the session, by the option ``--merged``."""
    kind = request.config.getoption("merged")
    if kind != "file":
        server = kind == "lake-server" and request.getfixturevalue("server")
        metadata = f"postgres:{server}" if server else "lake/meta.ducklake"
        os.environ["XFELCAT_MERGED"] = f"ducklake:{metadata}"
    yield
    os.environ.pop("XFELCAT_MERGED", None)


def pytest_collection_finish():
    """Spare the garbage collector the modules and thousands of tests, which stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def build_mock(tmp_path_factory):
    """``build_mock(name)``: the path of a mock file or run of ``mockruns``, built at its first use.

    What it builds is shared by all tests of the session: never change it, copy it.
    """
    return MockBuilder(tmp_path_factory)


@pytest.fixture
def public_path():
    """A directory that every user may enter: pytest's are for their owner alone, and stay so."""
    path = Path(tempfile.mkdtemp(prefix="xfelcat-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def queries(monkeypatch):
    """Grows by each query that opening or a fact sends to the catalog."""
    sent = []
    rows = connections.rows

    def count(cursor, sql):
        sent.append(sql)
        return rows(cursor, sql)

    for module in ("store.read", "store.connections"):
        monkeypatch.setattr(f"xfelcat.catalog.{module}.rows", count)
    return sent
