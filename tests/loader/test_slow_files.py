"""On a file system that makes one wait, files are opened and read side by side."""

import gc
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace

import h5py
import numpy as np
import pytest
from support.one_dataset import facts_of, make_plan, numbers, open_files, same
from xfelcat.catalog.model.errors import ChangedFileError, InconsistentFilesError
from xfelcat.loader.read import files as files_module
from xfelcat.loader.read.execute import MOST_WAITING, execute_plan, execute_plans

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


def sequence(place, shape=(ROWS, 3), **options):
    """Files of one aggregator, and a plan that reads all of their rows."""
    paths = [place / f"{n:02d}.h5" for n in range(N_FILES)]
    for number, path in enumerate(paths):
        with h5py.File(path, "w") as f:
            f.create_dataset("data", data=numbers(shape, "i4") + number, **options)
    with h5py.File(paths[0]) as f:
        plan = make_plan(paths[0], f["data"], [(0, shape[0])])
    pieces = tuple(
        replace(plan.pieces[0], data_file=facts_of(path), targets=np.array([n * shape[0]]))
        for n, path in enumerate(paths)
    )
    values = np.concatenate([numbers(shape, "i4") + n for n in range(N_FILES)])
    return paths, replace(plan, n_rows=N_FILES * shape[0], pieces=pieces), values


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
    shape = (4, 100, 100)
    _, plan, values = sequence(tmp_path, shape, chunks=(1, 100, 100), **options)
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


def test_no_more_files_are_open_than_may_be(tmp_path, waiting, monkeypatch):
    _, plan, values = sequence(tmp_path)
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
    assert 1 < max(waiting) <= 3


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


def open_below(place):
    """The files in a directory that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing, and what another thread closes
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(place))]


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
