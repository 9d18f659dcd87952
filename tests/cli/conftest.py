"""Fixtures of the tests of the command line: nobody's settings, the demo facility, two runners."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.demo_facility import demo, demo_and_report, demo_report, no_settings
from typer.testing import CliRunner
from xfelcat.cli.app import app

__all__ = ["demo", "demo_and_report", "demo_report", "no_settings"]


@pytest.fixture
def xfelcat(no_settings):
    """Run a command inside this process: quick, and to be stepped through."""

    def run(*words, stdin=None):
        result = CliRunner().invoke(app, [str(w) for w in words], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception  # a bug: its traceback is what helps
        return result

    return run


@pytest.fixture
def process(no_settings):
    """Run a command as a user does."""
    executable = Path(sys.executable).parent / "xfelcat"

    def run(*words, **options):
        command = [str(executable), *(str(w) for w in words)]
        options.setdefault("timeout", 600)
        return subprocess.run(command, capture_output=True, env=dict(os.environ), **options)

    return run
