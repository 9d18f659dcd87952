"""Dask arrays of keys, of many runs and of detectors, computed by the workers of a cluster.

The workers see the files under another root than the process that opened the runs, and no catalog.
"""

import pickle
import shutil
from unittest.mock import Mock

import dask.array
import numpy as np
import pytest
import xfelcat
import xfelcat.components
from support.dask_cluster import connected, local_cluster
from support.demo_facility import demo, demo_and_report
from xfelcat import Catalog, RunDirectory, open_runs
from xfelcat.catalog.store.store import Store

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
    """Arrays of two runs of a catalog, and what they are; then files move, and the catalog goes."""
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
    shutil.rmtree(catalog.location)
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


def tasks_of(array):
    """The tasks of an array by key, as a worker unpickles them, and the bytes of each."""
    pickled = {key: pickle.dumps(task) for key, task in dict(array.__dask_graph__()).items()}
    return {key: pickle.loads(task) for key, task in pickled.items()}, pickled.values()


@pytest.mark.parametrize("name", NAMES)
def test_tasks_are_small(runs, name):
    _, pickled = tasks_of(runs[0][name])
    shared = [task for task in pickled if len(task) > MOST_BYTES]
    assert len(shared) == (1 if name in ("detector", "pulses") else 0)  # data, which are sent once
    assert all(len(task) < 12_000 for task in shared)  # of 16 files


@pytest.mark.parametrize("name", NAMES)
def test_no_task_opens_a_catalog(runs, there, name, monkeypatch):
    arrays, expected = runs
    root, here = there
    monkeypatch.setenv("XFELCAT_PATH_MAP", f"{root}={here}")
    for method in ("open_shard", "open_merged", "read"):
        monkeypatch.setattr(Store, method, Mock(side_effect=AssertionError(method)))
    tasks, _ = tasks_of(arrays[name])
    chunks = dask.get(tasks, arrays[name].__dask_keys__())
    np.testing.assert_array_equal(dask.array.core.concatenate3(chunks), expected[name])
