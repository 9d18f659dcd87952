"""The three sentences of DESIGN that must be true.

1. Opening a run catalogued at full depth opens no HDF5 file.
2. A question to the catalog never touches a data file.
3. Killing any process at any moment leaves a complete catalog, and no reader waits for a writer.
"""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.demo_facility import demo, demo_and_report
from xfelcat import Catalog, RunDirectory
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store

__all__ = ["demo", "demo_and_report"]

pytestmark = pytest.mark.filterwarnings("ignore:.* is a legacy name for:DeprecationWarning")


@pytest.fixture
def copy(demo, tmp_path):
    """A copy of the facility whose files may be ruined, and its catalog."""
    root = tmp_path / "facility"
    shutil.copytree(demo.root, root, symlinks=True)
    store = Store(tmp_path / "catalog")
    ingest(store, [str(root)], IngestOptions(jobs=0))
    return root, str(store.location)


def run_directories(root):
    return sorted(p for p in Path(root).glob("*/*/p*/*/r????") if any(p.glob("*.h5")))


def everything_known(run):
    """All that can be asked of a run without its data."""
    known = {
        "trains": run.train_ids,
        "control": sorted(run.control_sources),
        "instrument": sorted(run.instrument_sources),
        "metadata": run.run_metadata(),
        "times": run.train_timestamps().astype(str).tolist(),
    }
    for source in sorted(run.all_sources):
        data = run[source]
        for key in sorted(data.keys()):
            one = data[key]
            known[source, key] = (
                str(one.dtype),
                one.shape,
                one.entry_shape,
                one.units,
                one.units_name,
                one.data_counts(labelled=False).tolist(),
            )
        if data.is_control:
            values = run.get_run_values(source)
            known[source] = {k: np.asarray(v).tolist() for k, v in values.items()}
    return known


def open_quietly(path, catalog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the faulty runs of the facility
        return RunDirectory(path, catalog=catalog, save=False, allow_duplicates=True)


def test_opening_a_catalogued_run_opens_no_hdf5_file(copy):
    root, catalog = copy
    runs = run_directories(root)
    assert len(runs) > 12
    before = {run: everything_known(open_quietly(run, catalog)) for run in runs}
    for path in root.rglob("*.h5"):
        stat = path.stat()
        path.unlink()
        with open(path, "wb") as f:
            f.truncate(stat.st_size)  # sparse: there is nothing in it to read
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for run in runs:
        assert everything_known(open_quietly(run, catalog)) == before[run]
    assert sum(len(known) for known in before.values()) > 1000


def test_a_question_never_touches_a_data_file(copy):
    root, location = copy
    catalog = Catalog(location)

    def ask():
        return (
            catalog.find(source="*XGM*", key="beamPosition.*"),
            catalog.runs(),
            catalog.sql("SELECT * FROM run_values ORDER BY ALL"),
            catalog.sql("SELECT * FROM findings ORDER BY ALL"),
        )

    before = ask()
    shutil.rmtree(root)
    after = ask()
    assert [len(frame) > 5 for frame in before] == [True] * 4
    for old, new in zip(before, after, strict=True):
        assert old.equals(new)


def test_no_reader_waits_for_a_writer(demo, tmp_path):
    location = tmp_path / "catalog"
    store = demo.copy_catalog(location)
    run = run_directories(demo.root)[0]
    shard = sorted(store.shards())[0]
    with store.write(shard) as writer:
        assert writer is not None  # holds the lock of the shard while others read
        code = (
            "import sys, xfelcat; c = xfelcat.Catalog(sys.argv[1]);"
            "print(len(c.runs()), len(xfelcat.RunDirectory(sys.argv[2], catalog=sys.argv[1],"
            " save=False).train_ids))"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(location), str(run)],
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr
    n_runs, n_trains = map(int, done.stdout.split())
    assert n_runs == len(run_directories(demo.root))
    assert n_trains > 0
