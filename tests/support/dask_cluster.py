"""A Dask cluster on this machine: two workers, processes of their own with a thread each."""

import os
from contextlib import contextmanager
from pathlib import Path

import dask
import distributed
import pytest


@contextmanager
def local_cluster(**environ):
    """The cluster, until the end of the block; ``environ`` is set in its workers besides."""
    # Modules of the tests are named by their files: workers find them as ours do.
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
    ):
        patch.setenv("PYTHONPATH", paths)
        with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            worker_dashboard_address=None,
            env={"PYTHONPATH": paths, **environ},
        ) as cluster:
            yield cluster


@contextmanager
def connected(cluster):
    """A client of it."""
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client
