"""SIGKILL at any moment of whatever writes to a catalog: nothing lost, nothing half there.

Each case starts a command on a copy of a catalog, kills it and all its workers after a random part
of the time that it takes, and holds:

- ``db check`` finds nothing wrong;
- each run is as it was before, or as it is afterwards: never something between;
- so after another kill of the same command;
- the same command, again, ends in the content that it has without any kill, and leaves nothing
  behind that a killed one had begun.

Of an ingest, also one part alone is killed, at a step of its work (``support.killed``).
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from support.catalog_state import state
from support.killed import ROLES
from support.shared import made_once
from support.tiny_file import write_tiny
from xfelcat import Catalog
from xfelcat.catalog.store.care import compact
from xfelcat.catalog.store.store import Store

TESTS = Path(__file__).parent
UPGRADE = """
import pytest, sys
from pathlib import Path
from support.next_revision import become_next_version
become_next_version(pytest.MonkeyPatch(), Path(sys.argv[2]))
from xfelcat.catalog.store.care import upgrade_shards
from xfelcat.catalog.store.care import compact
from xfelcat.catalog.store.store import Store
store = Store(sys.argv[1])
upgrade_shards(store)
store.publish_merged()
"""
COMMANDS = {
    "ingest": ["ingest", "{tree}", "-j", "2"],
    "audit": ["audit"],
    "watch": ["watch", "{tree}", "--once", "--audit", "--quiet", "0", "--patience", "0"],
    "profile": ["profile", "*", "--yes", "-j", "2"],
    "merge": ["db", "merge"],
    "compact": ["db", "compact"],
    "upgrade": [],
}
BEFORE = {"ingest": "part", "watch": "part", "merge": "unmerged"}
# Kills per command, of 7, and of parts of an ingest, of 3: 20 in `make test`, 261 in all.
N_QUICK, N_ALL = 2, 30
N_OF_ROLE = 17  # kills of each part of an ingest, of 3


def make_catalogs(place):
    """A small facility, and the catalogs that commands start from, by name."""
    tree = place / "MID"
    for proposal in (2012, 2013):
        for run in (1, 2):
            folder = tree / "202401" / f"p{proposal:06d}" / "raw" / f"r{run:04d}"
            folder.mkdir(parents=True)
            for sequence in (0, 1):
                trains = range(1000 * run + 10 * sequence, 1000 * run + 10 * sequence + 10)
                path = folder / f"RAW-R{run:04d}-DA01-S{sequence:05d}.h5"
                write_tiny(path, train_ids=trains, run=run, sequence=sequence).close()
    broken = tree / "202401" / "p002013" / "raw" / "r0002" / "RAW-R0002-DA01-S00001.h5"
    os.truncate(broken, 20_000)
    part = place / "part"
    Catalog(part).ingest([*tree.glob("*/p002012"), *tree.glob("*/p002013/raw/r0001")])
    whole = place / "whole"
    Catalog(whole).ingest(tree)
    shutil.copytree(whole, place / "unmerged", symlinks=True)
    for name in ("merged", "lake"):  # as a file, and by --merged lake-file
        shutil.rmtree(place / "unmerged" / name, ignore_errors=True)
    return place


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return made_once(tmp_path_factory, "crashes", make_catalogs)


def start(name, place, catalog):
    """The process of a command, in a session with its workers."""
    if name == "upgrade":
        scripts = catalog.parent / f"scripts-{time.monotonic_ns()}"
        scripts.mkdir()
        command = [sys.executable, "-c", UPGRADE, str(catalog), str(scripts)]
    else:
        words = [word.format(tree=place / "MID") for word in COMMANDS[name]]
        command = [sys.executable, "-m", "xfelcat", *words, "-c", str(catalog)]
    return subprocess.Popen(
        command, cwd=TESTS, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def states(name, catalog):
    """What the catalog says to clients of our version and, of an upgrade, of the next."""
    found = [state(Store(catalog))]
    if name == "upgrade":
        scripts = catalog.parent / f"scripts-{time.monotonic_ns()}"
        scripts.mkdir()
        command = [sys.executable, "-m", "support.catalog_state", str(catalog), str(scripts)]
        done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return found


@pytest.fixture(scope="session")
def undisturbed(place, tmp_path_factory):
    """Of a command: the states before and after, and the seconds between; each found once."""

    def find(name):
        def make(directory):
            catalog = directory / "catalog"
            shutil.copytree(place / BEFORE.get(name, "whole"), catalog, symlinks=True)
            before = states(name, catalog)
            began = time.monotonic()
            code = start(name, place, catalog).wait()
            seconds = time.monotonic() - began
            assert code in (0, 1)  # 1: an audit with findings
            return before, states(name, catalog), seconds

        return made_once(tmp_path_factory, f"undisturbed-{name}", make)

    return find


def half_there(found, old, new):
    """Runs that a catalog has neither as it was nor as it will be, and those that it lost."""
    wrong = []
    for part in ("shards", "merged"):
        for run, content in found[part].items():
            known = {s[p].get(run) for s in (old, new) for p in ("shards", "merged")}
            if int(run) and content not in known:
                wrong.append(run)
        wrong += old[part].keys() - found[part].keys()
    return wrong


def test_what_is_half_there_is_seen(place, tmp_path):
    catalog = tmp_path / "catalog"
    shutil.copytree(place / "whole", catalog, symlinks=True)
    store = Store(catalog)
    whole = state(store)
    assert half_there(whole, whole, whole) == []
    versions = store.versions("p002013")
    with versions.lock(), versions.draft() as draft:
        with duckdb.connect(str(draft)) as connection:
            connection.execute("DELETE FROM file WHERE run_id IN (SELECT min(run_id) FROM run)")
        versions.publish(draft)
    found = state(store)
    assert found["wrong"]
    assert len(half_there(found, whole, whole)) == 1


@pytest.mark.parametrize(
    ("name", "first"),
    [
        pytest.param(name, first, marks=pytest.mark.slow if first >= N_QUICK else ())
        for name in COMMANDS
        for first in range(0, N_ALL, 2)
    ],
)
def test_kills_at_any_moment(name, first, place, undisturbed, tmp_path):
    before, after, seconds = undisturbed(name)
    catalog = tmp_path / "catalog"
    shutil.copytree(place / BEFORE.get(name, "whole"), catalog, symlinks=True)
    for number in (first, first + 1):
        process = start(name, place, catalog)
        # The first third of the time goes into starting Python.
        time.sleep(random.Random(f"{name} {number}").uniform(0.3, 1.0) * seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for found, old, new in zip(states(name, catalog), before, after, strict=True):
            assert found["wrong"] == []
            assert half_there(found, old, new) == []
    assert start(name, place, catalog).wait() in (0, 1)
    assert states(name, catalog) == after
    if name != "upgrade":  # whose drafts are of another client's version
        compact(Store(catalog))  # which writes to each database; a command need not
        assert [p for p in catalog.rglob(".*") if p.name.startswith((".draft", ".link"))] == []


def ingest_killed(role, step, mark, place, catalog):
    """The exit code of an ingest of which one part is killed at a step."""
    words = [role, str(step), str(mark), str(place / "MID"), str(catalog)]
    process = subprocess.Popen(
        [sys.executable, "-m", "support.killed", *words], cwd=TESTS, start_new_session=True
    )
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers whose committer is gone
    return code


@pytest.fixture(scope="session")
def n_steps(place, tmp_path_factory):
    """The steps of a part that are there each time it is at work; each found once."""

    def find(role):
        def make(directory):
            mark, catalog = directory / "steps", directory / "catalog"
            shutil.copytree(place / "part", catalog, symlinks=True)
            assert ingest_killed(role, 0, mark, place, catalog) == 0
            return max(map(int, mark.read_text().split()))

        return made_once(tmp_path_factory, f"steps-{role}", make)

    return find


@pytest.mark.parametrize(
    ("role", "number"),
    [
        pytest.param(role, number, marks=pytest.mark.slow if number >= N_QUICK else ())
        for role in ROLES
        for number in range(N_OF_ROLE)
    ],
)
def test_one_part_killed_at_any_step(role, number, place, undisturbed, n_steps, tmp_path):
    before, after, _ = undisturbed("ingest")
    catalog, mark = tmp_path / "catalog", tmp_path / "mark"
    shutil.copytree(place / "part", catalog, symlinks=True)
    # Evenly over the work, but for its last tenth, as not each time has as many steps.
    step = 1 + int(0.9 * n_steps(role) * random.Random(f"{role} {number}").random())
    code = ingest_killed(role, step, mark, place, catalog)
    assert mark.exists()
    assert code == (0 if role == "scanner" else -signal.SIGKILL)
    (found,) = states("ingest", catalog)
    assert found["wrong"] == []
    if role != "scanner":  # whose file is blamed, until it is read again
        assert half_there(found, before[0], after[0]) == []
    assert start("ingest", place, catalog).wait() == 0
    assert states("ingest", catalog) == after
    assert not list(catalog.rglob(".draft*"))
