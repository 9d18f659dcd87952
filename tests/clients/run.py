"""The suites of client packages, run on xfelcat through ``xfelcat.compat`` (make test-clients).

    python tests/clients/run.py [extra] [extra_data] [damnit] [pasha] [beside] [-- PYTEST ARGUMENTS]

Each suite runs in a process of its own, in the environment of this interpreter, with a home of its
own, so that no outline of a mock run is left behind. Exit code 1 if any differs from its list in
``expected/``, or its cells from EXtra-data's.
"""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = Path(sys.prefix, "sources")  # the Makefile unpacks EXtra's source distribution there
# Of EXtra-data's own tests those of its core; the others are of tools that it brings beside it.
CORE = (
    "aliases auxiliary bad_trains components file_access keydata open_run read_machinery"
    " reader_mockdata slice_objs sourcedata stacking writer"
)


# Both replace a method of EXtra-data's KeyData for the time of the test, which is none of ours.
PATCH_EXTRA_DATA = (
    "test_components_timepix.py::test_timepix3_pixel_events",
    "test_components_xgm.py::test_wrong_pulse_counts",
)


def extra_tests():
    (found,) = SOURCES.glob("euxfel_extra-*/tests")
    return found.parent, [str(found)]


def extra_data_tests():
    (found,) = (f for f in files("EXtra-data") if f.parts == ("extra_data", "tests", "__init__.py"))
    folder = Path(found.locate()).parent
    return folder, [str(folder / f"test_{name}.py") for name in CORE.split()]


def pytest_command(suite, where, tests, more):
    print(f"\n== {suite}: {where}", flush=True)  # noqa: T201
    return [
        *(sys.executable, "-m", "xfelcat.compat", "-m", "pytest", "-q", "-p", "expectations"),
        *("-p", "no:cacheprovider", "--continue-on-collection-errors", "-W", "ignore"),
        *("--tb", "no", "--no-summary", "--timeout", "1200", f"--rootdir={where}"),
        f"--expected-failures={HERE / 'expected' / suite}.txt",
        *(more or tests),
    ]


def beside_commands(more):
    """EXtra-data itself imported: the list of uses, and EXtra's suite on runs that we open."""
    where, _ = extra_tests()
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    pytest += ["--timeout", "1200", f"--rootdir={where}"]
    uses = ["-p", "tests.conftest", "--import-mode=importlib", str(HERE / "beside_extra_data.py")]
    left_out = [f"--deselect=tests/{name}" for name in PATCH_EXTRA_DATA]
    suite = ["-p", "beside_extra_data", "--tb", "short", *left_out, "tests"]
    return [(where, [*pytest, *(more or part)]) for part in (uses, suite)]


def commands_of(suite, more):
    """The working directories and the commands of a suite."""
    return beside_commands(more) if suite == "beside" else [command_of(suite, more)]


def command_of(suite, more):
    if suite in ("damnit", "pasha"):
        return HERE, [sys.executable, str(HERE / f"{suite}_client.py")]
    where, tests = extra_tests() if suite == "extra" else extra_data_tests()
    return where, pytest_command(suite, where, tests, more)


def main(arguments):
    named = arguments[: arguments.index("--")] if "--" in arguments else arguments
    more = arguments[len(named) + 1 :]
    failed = []
    suites = named or ("extra", "extra_data", "damnit", "pasha", "beside")
    for suite, (where, command) in ((s, c) for s in suites for c in commands_of(s, more)):
        with tempfile.TemporaryDirectory(prefix="xfelcat-clients-") as home:
            environ = {k: v for k, v in os.environ.items() if not k.startswith("XFELCAT_")}
            environ |= {
                "HOME": home,
                "XDG_DATA_HOME": f"{home}/data",
                "XDG_CONFIG_HOME": f"{home}/config",
                "PYTHONPATH": str(HERE),
                "MPLBACKEND": "agg",
            }
            if subprocess.run(command, cwd=where, env=environ, check=False).returncode:
                failed.append(suite)
    print(f"\n{f'differs: {failed}' if failed else 'all as expected'}")  # noqa: T201
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
