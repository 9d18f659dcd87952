"""On a file system that makes one wait, files are opened and read side by side."""

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import h5py
import numpy as np
import pytest
from support.one_dataset import (
    damage_chunk,
    facts_of,
    few_descriptors,
    make_plan,
    numbers,
    open_files,
    open_paths,
    same,
)
from xfelcat.catalog.hdf5 import objects
from xfelcat.catalog.model.errors import (
    ChangedFileError,
    FileStructureError,
    InconsistentFilesError,
)
from xfelcat.loader.read import execute
from xfelcat.loader.read import files as files_module
from xfelcat.loader.read.execute import (
    MOST_WAITING,
    MOST_WAITING_LARGE,
    execute_plan,
    execute_plans,
)

pytestmark = pytest.mark.fast

N_FILES = 20
ROWS = 6


@pytest.fixture
def waiting(monkeypatch):
    """Have reads of files wait; the numbers of them that waited at the same time, one by one."""
    now, at_once, lock = [], [], threading.Lock()
    pread, preadv = os.pread, os.preadv

    def wait(call):
        def slow(*args):
            with lock:
                now.append(args)
                at_once.append(len(now))
            time.sleep(0.004)
            with lock:
                now.remove(args)
            return call(*args)

        return slow

    monkeypatch.setattr(os, "pread", wait(pread))
    monkeypatch.setattr(os, "preadv", wait(preadv))
    return at_once


def sequence(place, shape=(ROWS, 3), region=(), parts=None, **options):
    """Files of one aggregator, and a plan that reads a region of all of their rows."""
    paths = [place / f"{n:02d}.h5" for n in range(N_FILES)]
    parts = [numbers(shape, "i4") + n for n in range(N_FILES)] if parts is None else parts
    for part, path in zip(parts, paths, strict=True):
        with h5py.File(path, "w") as f:
            f.create_dataset("data", data=part, **options)
    with h5py.File(paths[0]) as f:
        plan = make_plan(paths[0], f["data"], [(0, shape[0])], region)
    pieces = tuple(
        replace(plan.pieces[0], data_file=facts_of(path), targets=np.array([n * shape[0]]))
        for n, path in enumerate(paths)
    )
    plan = replace(plan, n_rows=N_FILES * shape[0], pieces=pieces)
    return paths, plan, np.concatenate(parts)


LARGE = (4, 200, 200)  # of N_FILES files more than WORTH_THREADS
WAYS = [{}, {"chunks": (4, 3)}, {"chunks": (2, 3), "compression": "gzip"}]


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_small_keys(tmp_path, waiting, options):
    _, plan, values = sequence(tmp_path, **options)
    files = open_files()
    same(execute_plan(plan, files), values)
    assert files.n_opened == len(files) == N_FILES
    assert 1 < max(waiting) <= MOST_WAITING
    waiting.clear()
    for found in execute_plans([plan, plan], files):
        same(found, values)
    assert files.n_opened == N_FILES
    assert 1 < max(waiting) <= MOST_WAITING
    files.close()
    assert len(files) == 0


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}], ids=str)
def test_arrays_that_threads_read(tmp_path, waiting, options):
    _, plan, values = sequence(tmp_path, LARGE, chunks=(1, 200, 200), **options)
    files = open_files()
    same(execute_plan(plan, files), values)
    files.close()
    assert 1 < max(waiting) <= MOST_WAITING + 2


def test_one_thread_reads_one_file_after_the_other(tmp_path, waiting):
    _, plan, values = sequence(tmp_path)
    files = open_files()
    same(execute_plan(plan, files, n_threads=1), values)
    files.close()
    assert set(waiting) == {1}


def test_regions_that_need_large_blocks(tmp_path, waiting, monkeypatch):
    monkeypatch.setattr(execute, "BLOCK_BYTES", N_FILES * ROWS * 100)
    _, plan, values = sequence(tmp_path, (ROWS, 30), ([0, -1],))
    files = open_files()
    same(execute_plan(plan, files), values[:, [0, -1]])
    files.close()
    assert 1 < max(waiting) <= MOST_WAITING_LARGE


@pytest.mark.parametrize(("shape", "n_readers"), [((ROWS, 3), 0), (LARGE, 2)])
def test_no_more_files_are_open_than_may_be(tmp_path, waiting, monkeypatch, shape, n_readers):
    _, plan, values = sequence(tmp_path, shape, chunks=shape)
    files = open_files()
    files.limit = 3
    most = []
    really = files_module._open_unchanged

    def opened(*args):
        found = really(*args)
        most.append(len(open_below(tmp_path)))
        return found

    monkeypatch.setattr(files_module, "_open_unchanged", opened)
    for _ in range(2):
        same(execute_plan(plan, files), values)
    files.close()
    assert len(most) == files.n_opened >= 2 * N_FILES - 3
    assert max(most) <= 3
    assert 1 < max(waiting) <= 3 + n_readers


def test_the_error_is_that_of_the_first_file(tmp_path, waiting):
    paths, plan, values = sequence(tmp_path)
    os.utime(paths[11], ns=(0, 0))
    other = numbers((ROWS, 3), "i8")
    with h5py.File(paths[13], "w") as f:
        f["data"] = other
    pieces = list(plan.pieces)
    pieces[13] = replace(pieces[13], data_file=facts_of(paths[13]))
    files = open_files()
    gc.disable()  # nothing but the end of its users closes a file
    try:
        for some, error, name in (
            (pieces, ChangedFileError, "11.h5"),
            (pieces[:11] + pieces[12:], InconsistentFilesError, "13.h5"),
        ):
            with pytest.raises(error, match=name):
                execute_plan(replace(plan, pieces=tuple(some)), files)
            files.close()
            assert len(files) == 0
            assert open_below(tmp_path) == []
    finally:
        gc.enable()
    good = replace(plan, pieces=tuple(p for n, p in enumerate(pieces) if n not in (11, 13)))
    found = execute_plan(good, files)
    files.close()
    assert max(waiting) > 1
    for number in set(range(N_FILES)) - {11, 13}:
        rows = slice(number * ROWS, (number + 1) * ROWS)
        same(found[rows], values[rows])


@pytest.mark.parametrize("wait", [-1, 60])
def test_the_first_of_two_damaged_files_is_named(tmp_path, monkeypatch, wait):
    monkeypatch.setattr(execute, "WAIT_SECONDS", wait)
    paths, plan, _ = sequence(tmp_path, LARGE, chunks=LARGE, compression="gzip")
    damage_chunk(paths[2], (0, 0, 0))
    damage_chunk(paths[6], (0, 0, 0))
    files = open_files()
    for _ in range(5):
        with pytest.raises(FileStructureError, match=r"02\.h5: /data cannot be read"):
            execute_plan(plan, files, n_threads=2)
    files.close()


def test_one_thread_reads_again_after_an_error(tmp_path, waiting):
    paths, plan, _ = sequence(tmp_path)
    os.utime(paths[11], ns=(0, 0))
    files = open_files()
    with pytest.raises(ChangedFileError, match=r"11\.h5"):
        execute_plans([plan, plan], files, n_threads=1)
    files.close()
    assert set(waiting) == {1}


@pytest.mark.parametrize("n_free", [4, 14])
@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_few_descriptors(tmp_path, waiting, kind, n_free):
    options = {}
    if kind == "texts":  # which HDF5 reads, with a descriptor of its own
        parts = [np.array([f"{n}-{i}" for i in range(ROWS)], object) for n in range(N_FILES)]
        options = {"shape": (ROWS,), "parts": parts, "dtype": h5py.string_dtype()}
    _, plan, values = sequence(tmp_path, **options)
    execute_plan(plan, open_files())  # what is imported when it is first needed
    files = open_files()
    with few_descriptors(n_free):
        found = execute_plan(plan, files)
    files.close()
    same(found, values)
    assert max(waiting) > 1


@pytest.mark.parametrize("shape", [(ROWS, 3), LARGE], ids=["small", "large"])
@pytest.mark.parametrize("most", [0, 3])
def test_threads_that_cannot_be_started(tmp_path, waiting, monkeypatch, shape, most):
    _, plan, values = sequence(tmp_path, shape)
    start, started = threading.Thread.start, []

    def start_some(thread):
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    files = open_files()
    same(execute_plan(plan, files), values)
    files.close()
    assert len(started) == most
    assert not any(thread.is_alive() for thread in started)


def test_ctrl_c_while_threads_are_given_work(tmp_path, waiting, monkeypatch):
    _, plan, _ = sequence(tmp_path)
    submit, submitted = ThreadPoolExecutor.submit, []

    def submit_some(pool, *task):
        if len(submitted) == 15:
            raise KeyboardInterrupt
        submitted.append(submit(pool, *task))
        return submitted[-1]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_some)
    files = open_files()
    with pytest.raises(KeyboardInterrupt):
        execute_plan(plan, files)
    assert all(future.done() for future in submitted)  # none writes to the array any more
    files.close()
    assert len(files) == 0


def test_ctrl_c_while_a_file_is_opened_or_closed(tmp_path, monkeypatch):
    paths, plan, _ = sequence(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(objects, "_root", interrupt)
    with pytest.raises(KeyboardInterrupt):
        objects.OwnFile(str(paths[0]))
    monkeypatch.undo()
    assert open_below(tmp_path) == []
    handle = files_module.DataFileHandle(plan.pieces[0].data_file, {})
    close, closed = handle.own.close, []
    monkeypatch.setattr(handle.own, "close", lambda: (close(), closed.append(1), interrupt()))
    with pytest.raises(KeyboardInterrupt):
        handle.close()
    handle.close()
    assert closed == [1]  # the number of its descriptor may be that of another file by now


@pytest.mark.filterwarnings("error")
def test_what_numpy_does_about_invalid_values(tmp_path, waiting):
    parts = [np.full((ROWS, 3), np.nan if n else 1, "f4") for n in range(N_FILES)]
    _, plan, _ = sequence(tmp_path, parts=parts)
    out = np.zeros((N_FILES * ROWS, 3), "i4")
    files = open_files()
    with np.errstate(invalid="ignore"):
        execute_plan(plan, files, out)
    assert (out[:ROWS] == 1).all()
    with np.errstate(invalid="raise"), pytest.raises(FileStructureError, match=r"01\.h5"):
        execute_plan(plan, files, out)
    files.close()


def open_below(place):
    """The files in a directory that this process has open."""
    return [path for path in open_paths().values() if path.startswith(str(place))]


def test_a_file_that_two_threads_ask_for_is_opened_once(tmp_path, monkeypatch):
    _, plan, _ = sequence(tmp_path)
    data_file = plan.pieces[0].data_file
    files = open_files()
    started, go_on = threading.Event(), threading.Event()
    really = files_module._open_unchanged

    def opened(*args):
        started.set()
        assert go_on.wait(60)
        return really(*args)

    monkeypatch.setattr(files_module, "_open_unchanged", opened)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(files.acquire(data_file))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert started.wait(60)
    monkeypatch.setattr(files_module, "_open_unchanged", really)
    other = files.acquire(plan.pieces[1].data_file)  # is not kept waiting by it
    assert other is not None
    assert not found
    go_on.set()
    for thread in threads:
        thread.join()
    assert found[0] is found[1]
    assert files.n_opened == 2
