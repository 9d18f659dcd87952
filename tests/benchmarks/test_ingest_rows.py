"""The benchmarks of the ingest compare equal facts, and measure how it grows and is shared out."""

import os

import pytest

from benchmarks import growth_ingest, rows_ingest, scanning

from .large_runs import LargeRun, make_run
from .measure import Place, measure

SMALL = LargeRun("R220", 4220, 1, 2, 2, 4, 1, trains=20)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("bench")
    return Place({"R220": str(make_run(SMALL, scratch))}, str(scratch / "catalog"), scratch)


@pytest.mark.slow
def test_both_know_the_same_of_every_file(place):
    full, verified, again = rows_ingest.rows(place)
    for row in (full, verified, again):
        outcome = measure(row, repeats=1)
        assert outcome.differs == ""
        assert len(outcome.ours) == 1
    assert full.theirs is verified.theirs
    assert again.seconds == SMALL.n_files * rows_ingest.SECONDS_PER_FILE


@pytest.mark.slow
def test_growth(place, tmp_path):
    found = growth_ingest.measure(place.scratch / "exp/SPB/202430/p004220/raw/r0001", tmp_path)
    assert found["files"] == SMALL.n_files
    assert min(found.values()) > 0
    assert growth_ingest.run_of(1000).n_files == 1000
    assert f"| {SMALL.n_files} |" in growth_ingest.as_table([found])
    growth_ingest.plot([found, {**found, "files": 100}], tmp_path / "growth.png")
    assert 1000 < (tmp_path / "growth.png").stat().st_size < 100_000


@pytest.mark.slow
def test_scanning(tmp_path):
    tree = scanning.make_files(tmp_path / "tree", 2 * scanning.PER_RUN + 3)
    for delay in (0, 0.001):
        found = scanning.measure(tree, 2, delay)
        assert (found["files"], found["findings"]) == (2 * scanning.PER_RUN + 3, 0)
        assert min(found["seconds"], found["mib"]) > 0
    with scanning.workers(1, 0.001) as pool:
        assert "slow" in pool.submit(of_stat).result()


def of_stat():
    """Where the worker has ``os.stat`` from."""
    return os.stat.__qualname__
