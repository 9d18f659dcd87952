"""Readers, ingesters and an upgrade at the same time: no reader fails or waits, nothing is lost."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.catalog_state import state
from support.examples import examples
from test_crashes import place, states
from xfelcat import Catalog
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.errors import CatalogWriteError
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.versions import SCHEMA_VERSION as V

__all__ = ["place"]

TESTS = Path(__file__).parent
READER = """
import fcntl, json, os, sys, time, warnings
import xfelcat
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message=".*truncated")
lock = fcntl.flock
def refuse(fd, how):
    assert not how & fcntl.LOCK_EX or how & fcntl.LOCK_NB, "a reader waits for a lock"
    return lock(fd, how)
fcntl.flock = refuse
catalog, tree, stop = sys.argv[1:]
runs = sorted(os.path.join(d, n) for d, names, _ in os.walk(tree) for n in names if n[0] == "r")
runs = [run for run in runs if os.path.basename(os.path.dirname(run)) == "raw"]
n = 0
while not os.path.exists(stop) or not n:
    found = xfelcat.RunDirectory(runs[n % len(runs)], catalog=catalog, save=False)
    assert len(found.train_ids) in (10, 20), found.train_ids
    assert found["A/XGM/1", "power"].ndarray().size == len(found.train_ids)
    asked = xfelcat.Catalog(catalog)
    known = asked.runs()
    assert len(known) >= 3 and (known["files"] == 2).all(), known
    assert len(asked.find("*XGM*")) >= 3
    n += 1
print(json.dumps({"n": n}))
"""
# All that write are clients of the next schema version; those that read are not.
INGESTER = """
import pytest, sys
from pathlib import Path
from support.next_revision import become_next_version
become_next_version(pytest.MonkeyPatch(), Path(sys.argv[3]))
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store
for attempt in range(int(sys.argv[2])):
    ingest(Store(sys.argv[1]), sys.argv[4:], IngestOptions(jobs=0, force=True))
"""
UPGRADER = """
import pytest, sys
from pathlib import Path
from support.next_revision import become_next_version
become_next_version(pytest.MonkeyPatch(), Path(sys.argv[3]))
from xfelcat.catalog.store.care import upgrade_shards
from xfelcat.catalog.store.store import Store
for attempt in range(int(sys.argv[2])):
    upgrade_shards(Store(sys.argv[1]))
    Store(sys.argv[1]).publish_merged()
"""


def start(code, *words):
    command = [sys.executable, "-c", code, *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=TESTS, stdout=pipe, stderr=pipe, text=True)


def run(code, *words):
    process = start(code, *words)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


@pytest.mark.slow
@pytest.mark.parametrize("n_readers", [2, 8])
def test_readers_beside_writers(n_readers, place, tmp_path):
    times = examples(2)
    proposals = [place / "MID" / "202401" / f"p{p:06d}" for p in (2013, 2012)]
    overlapping = [[place / "MID"], proposals]

    def scripts():
        return Path(tempfile.mkdtemp(dir=tmp_path))

    alone = tmp_path / "alone"
    shutil.copytree(place / "part", alone, symlinks=True)
    run(UPGRADER, alone, 1, scripts())
    for paths in overlapping:
        run(INGESTER, alone, 1, scripts(), *paths)
    old, new = states("upgrade", alone)
    assert old == state(Store(place / "part"))

    catalog, stop = tmp_path / "catalog", tmp_path / "stop"
    shutil.copytree(place / "part", catalog, symlinks=True)
    readers = [start(READER, catalog, place / "MID", stop) for _ in range(n_readers)]
    writers = [start(INGESTER, catalog, times, scripts(), *paths) for paths in overlapping]
    writers.append(start(UPGRADER, catalog, times, scripts()))
    try:
        for writer in writers:
            _, errors = writer.communicate()
            assert writer.returncode == 0, errors
    finally:
        stop.touch()
        done = [reader.communicate() for reader in readers]
    for reader, (answer, errors) in zip(readers, done, strict=True):
        assert (reader.returncode, errors) == (0, "")
        assert json.loads(answer)["n"] > 0
    assert states("upgrade", catalog) == [old, new]


def test_an_older_client_does_not_write_where_a_newer_one_has(place, tmp_path, monkeypatch):
    """It would write beside what the newer one goes by, and nobody would ever see it there."""
    catalog = tmp_path / "catalog"
    shutil.copytree(place / "part", catalog, symlinks=True)
    (tmp_path / "scripts").mkdir()
    run(UPGRADER, catalog, 1, tmp_path / "scripts")
    before = state(Store(catalog))
    with pytest.raises(CatalogWriteError, match=rf"version {V + 1} .* writes version {V}: install"):
        ingest(Store(catalog), [str(place / "MID")], IngestOptions(jobs=0))
    assert state(Store(catalog)) == before
    assert len(Catalog(catalog).runs()) == 3  # it reads what was there when it was upgraded
