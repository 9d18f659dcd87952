"""Jobs on many files: workers survive files that hang or crash them; order, blame, commits."""

import ctypes
import multiprocessing
import os
import sys

import pytest
from xfelcat.catalog.scan import jobs as jobs_module
from xfelcat.catalog.scan.executors import Batch
from xfelcat.catalog.scan.jobs import committing, in_batches, run_batches, run_jobs


def measure(paths, options, note):
    """Length of each file; a FIFO hangs, a file named crash kills the process."""
    lengths = {}
    for path in paths:
        note(path)
        if path.endswith("crash"):
            ctypes.string_at(0)
        with open(path, "rb") as f:
            lengths[path] = len(f.read()) + options
    return lengths


def has_filters(paths, options, note):
    """Whether the process has the filters of hdf5plugin."""
    return dict.fromkeys(paths, "hdf5plugin" in sys.modules)


@pytest.fixture
def files(tmp_path):
    for i in range(6):
        (tmp_path / f"f{i}").write_bytes(b"x" * i)
    return [str(tmp_path / f"f{i}") for i in range(6)]


def run(batches, **kwargs):
    return {r.batch.key: r for r in run_batches(measure, batches, **kwargs)}


@pytest.mark.parametrize("jobs", [0, 2])
def test_every_batch_gives_its_results(files, jobs):
    batches = [Batch("a", tuple(files[:4]), 10), Batch("b", tuple(files[4:]), 20)]
    done = run(batches, jobs=jobs)
    assert done["a"].results == {files[i]: 10 + i for i in range(4)}
    assert done["b"].results == {files[i]: 20 + i for i in range(4, 6)}
    assert done["a"].blamed == done["b"].blamed == {}


@pytest.mark.parametrize("imported", [True, False])
def test_workers_have_the_filters_of_their_parent(files, tmp_path, monkeypatch, imported):
    (tmp_path / "hdf5plugin.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    if imported:
        monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    (done,) = run_batches(has_filters, [Batch("a", tuple(files), 0)], jobs=1)
    assert set(done.results.values()) == {imported}


def test_a_hanging_file_is_timed_out_and_the_rest_is_done(files, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    batches = [Batch("a", (files[1], fifo, files[2]), 0), Batch("b", tuple(files[3:]), 0)]
    done = run(batches, jobs=2, time_limit=1.5)
    assert done["a"].results == {files[1]: 1, files[2]: 2}
    assert list(done["a"].blamed) == [fifo]
    assert "timed out" in done["a"].blamed[fifo]
    assert done["b"].results == {files[i]: i for i in range(3, 6)}


def test_a_crashing_file_is_blamed_and_the_rest_is_done(files, tmp_path):
    crash = str(tmp_path / "crash")
    fifo = str(tmp_path / "busy")  # keeps the other worker busy, so that it looks guilty as well
    os.mkfifo(fifo)
    batches = [Batch("a", (files[1], crash, files[2]), 0), Batch("b", (fifo, *files[3:]), 0)]
    done = run(batches, jobs=2, time_limit=4)
    assert done["a"].results == {files[1]: 1, files[2]: 2}
    assert list(done["a"].blamed) == [crash]
    assert "killed" in done["a"].blamed[crash]
    assert list(done["b"].blamed) == [fifo]
    assert set(done["b"].results) == set(files[3:])


def daemon_child(paths, queue):
    done = run([Batch("a", tuple(paths), 1)], jobs=2)
    queue.put(sorted(done["a"].results.values()))


def test_a_daemonic_process_needs_no_children(files):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=daemon_child, args=(files, queue), daemon=True)
    child.start()
    assert queue.get(timeout=600) == [1, 2, 3, 4, 5, 6]
    child.join()


def test_files_of_an_aggregator_come_together_in_the_order_of_their_sequences():
    names = ["RAW-R0001-DA02-S00000", "RAW-R0001-DA01-S00010", "RAW-R0001-DA01-S00002", "other"]
    paths = [f"/{run}/{name}.h5" for run in ("r1", "r0") for name in names]
    batches = list(in_batches(paths, 2))
    assert batches == [
        (f"/{run}/{first}.h5",) if second is None else (f"/{run}/{first}.h5", f"/{run}/{second}.h5")
        for run in ("r0", "r1")
        for first, second in (
            ("other", None),
            ("RAW-R0001-DA01-S00002", "RAW-R0001-DA01-S00010"),
            ("RAW-R0001-DA02-S00000", None),
        )
    ]
    assert [len(batch) for batch in in_batches(["/r/a", "/r/b", "/r/c"], 2)] == [2, 1]


def test_results_come_by_subject_with_those_of_the_blame(files, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    batches = [
        Batch("a", (files[1], fifo), 0),
        Batch("b", (files[2],), 0),
        Batch("a", (files[3],), 0),
    ]
    counted = []
    done = run_jobs(
        measure, batches, blame=lambda path, why: -1, jobs=1, time_limit=1.5, each=counted.append
    )
    assert sorted(done) == [("a", {files[1]: 1, fifo: -1, files[3]: 3}), ("b", {files[2]: 2})]
    assert sorted(map(len, counted)) == [1, 1, 2]


def test_what_is_finished_is_committed_also_on_an_interruption(monkeypatch):
    closed, committed = [], []

    def finished():
        try:
            yield 1
            yield 2
            raise KeyboardInterrupt
        finally:
            closed.append(len(committed))

    with pytest.raises(KeyboardInterrupt):
        committing(finished(), lambda done: committed.append(list(done)))
    assert (closed, committed) == ([0], [[1, 2]])
    monkeypatch.setattr(jobs_module, "_COMMIT_SECONDS", -1)
    committing((n for n in range(3)), lambda done: committed.append(list(done)))
    assert committed[1:] == [[0], [1], [2]]
    committing((n for n in ()), lambda done: committed.append(list(done)))
    assert len(committed) == 4
