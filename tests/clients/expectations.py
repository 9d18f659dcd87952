"""A pytest plugin for the suites of client packages: their outcomes against a committed list.

It is loaded by ``run.py``, beside ``xfelcat.compat``, in an environment that has EXtra-data only
for its writers of mock files, ``extra_data.tests``. Nothing else of it can be imported.

A list has one node ID per line, and what follows `` # `` is the reason; one without parameters
stands for all of a test's. A test that fails and is not listed, and one that is listed and passes,
fail the run.
"""

import tempfile
from importlib.metadata import files
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--expected-failures", type=Path, help="the list of tests that fail")
    parser.addoption("--failures", type=Path, help="write the node IDs that failed to this file")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    import extra_data

    assert type(extra_data).__name__ == "StandIn", "run it by `python -m xfelcat.compat -m pytest`"
    (found,) = (f for f in files("EXtra-data") if f.parts == ("extra_data", "tests", "__init__.py"))
    place = tempfile.TemporaryDirectory(prefix="xfelcat-clients-")
    early_config.add_cleanup(place.cleanup)
    link = Path(place.name, "tests")
    link.symlink_to(Path(found.locate()).parent)
    extra_data.__path__.append(place.name)
    if not extra_data.components.__all__:
        # Until xfelcat.components is there, the tests that need no detector class shall run.
        extra_data.components.AGIPD1M = None


def pytest_configure(config):
    config.pluginmanager.register(Outcomes(config))


def read_expected(path):
    """Reasons by node ID."""
    lines = (line.partition(" # ") for line in path.read_text().splitlines())
    return {node: reason for node, _, reason in lines if node and not node.startswith("#")}


def short_name(node):
    """A node ID without the folder of its file: it depends on where pytest was started."""
    path, colons, rest = node.partition("::")
    return f"{path.rpartition('/')[2]}{colons}{rest}"


def without_parameters(name):
    return name.partition("[")[0]


class Outcomes:
    def __init__(self, config):
        self.path = config.getoption("--expected-failures")
        self.written = config.getoption("--failures")
        self.outcomes = {}

    def pytest_runtest_logreport(self, report):
        name = short_name(report.nodeid)
        if report.when == "call" or report.outcome != "passed":
            known = self.outcomes.get(name)
            self.outcomes[name] = (
                "failed" if "failed" in (known, report.outcome) else report.outcome
            )

    def pytest_collectreport(self, report):
        if report.failed:
            self.outcomes[short_name(report.nodeid)] = "failed"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        expected = read_expected(self.path) if self.path else {}
        failed = {name for name, outcome in self.outcomes.items() if outcome == "failed"}
        if self.written:
            self.written.write_text("".join(f"{name}\n" for name in sorted(failed)))
        self.unlisted = sorted(
            n for n in failed if not {n, without_parameters(n)} & expected.keys()
        )
        of_line = {line: [] for line in expected}
        for name in self.outcomes:
            for line in {name, without_parameters(name)} & of_line.keys():
                of_line[line].append(name)
        files = {name.partition("::")[0] for name in self.outcomes}
        self.mended = sorted(
            line
            for line, names in of_line.items()
            if line.partition("::")[0] in files and not (names and failed.issuperset(names))
        )
        session.exitstatus = int(bool(self.unlisted or self.mended))

    def pytest_terminal_summary(self, terminalreporter):
        say = terminalreporter.write_line
        n = {k: list(self.outcomes.values()).count(k) for k in ("passed", "failed", "skipped")}
        say(f"{n['passed']} passed, {n['failed']} failed, {n['skipped']} skipped")
        for name in self.unlisted:
            say(f"fails, and is not among the expected failures: {name}")
        for name in self.mended:
            say(f"is among the expected failures, and does not fail: {name}")
