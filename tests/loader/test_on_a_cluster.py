"""Dask arrays of keys, of many runs and of detectors, computed by the workers of a cluster.

The workers see the files under another root than the process that opened the runs.
"""

import pickle
import shutil

import numpy as np
import pytest
import xfelcat
import xfelcat.components
from support.dask_cluster import connected, local_cluster
from support.demo_facility import demo, demo_and_report
from xfelcat import Catalog, RunDirectory, open_runs

__all__ = ["demo", "demo_and_report"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
    pytest.mark.filterwarnings("ignore:taking raw data:UserWarning"),
]
MOST_BYTES = 2000  # of a task


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A directory, and where the workers see it."""
    place = tmp_path_factory.mktemp("roots")
    return place / "there", place / "here"


@pytest.fixture(scope="module")
def runs(there, demo, tmp_path_factory):
    """Arrays of two runs of a catalog, and what they are; then the files move."""
    root, here = there
    for number in (1, 2):
        folder = root / f"SPB/202405/p900032/raw/r000{number}"
        shutil.copytree(demo.summary.run(900032, number).path, folder)
    catalog = Catalog(tmp_path_factory.mktemp("catalog") / "catalog")
    catalog.ingest(root, jobs=0)
    opened = open_runs(proposal=900032, catalog=catalog.location)
    run = RunDirectory(root / "SPB/202405/p900032/raw/r0001", catalog=catalog.location)
    arrays = {
        "key": run["SA1_XTD2_XGM/XGM/DOOCS:output", "data.intensityTD"].dask_array(),
        "control": run["SA1_XTD2_XGM/XGM/DOOCS", "beamPosition.ixPos"].dask_array(),
        "module": run["SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", "image.data"].dask_array(),
        "detector": xfelcat.components.AGIPD1M(run).get_dask_array("image.data").data,
        "pulses": xfelcat.components.AGIPD1M(run).get_dask_array("image.pulseId").data,
        "runs": opened.dask_array("SA1_XTD2_XGM/XGM/DOOCS", "beamPosition.ixPos"),
    }
    expected = {name: array.compute(scheduler="threads") for name, array in arrays.items()}
    shutil.move(root, here)
    return arrays, expected


@pytest.fixture(scope="module")
def client(runs, there):
    root, here = there
    with (
        local_cluster(XFELCAT_PATH_MAP=f"/nowhere=/else;{root}={here}") as cluster,
        connected(cluster) as client,
    ):
        yield client


NAMES = ("key", "control", "module", "detector", "pulses", "runs")


@pytest.mark.slow  # a cluster needs seconds, and its own clocks
@pytest.mark.parametrize("name", NAMES)
def test_the_same_as_by_threads(client, runs, name):
    arrays, expected = runs
    found = client.compute(arrays[name]).result(timeout=600)
    assert found.dtype == expected[name].dtype
    np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize("name", NAMES)
def test_tasks_are_small(runs, name):
    tasks = [pickle.dumps(task) for task in dict(runs[0][name].__dask_graph__()).values()]
    shared = [t for t in tasks if len(t) > MOST_BYTES]
    assert len(shared) == (1 if name in ("detector", "pulses") else 0)  # which is sent once
    # What the modules of a detector are, a worker looks up in the catalog; of keys it has all.
    assert all(b"duckdb" not in task for task in tasks) == (not shared)
