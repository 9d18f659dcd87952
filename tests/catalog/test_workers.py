"""Workers survive files that hang or crash them, and blame the right one."""

import ctypes
import multiprocessing
import os

import pytest
from xfelcat.catalog.scan.jobs import Batch, run_batches


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
