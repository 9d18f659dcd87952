"""The first read of numbers opens no file by the HDF5 library, and finds what is really there."""

import gc
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from support.one_dataset import (
    facts_of,
    make_plan,
    numbers,
    open_files,
    open_paths,
    other,
    read,
    same,
)
from xfelcat.catalog.hdf5 import finder
from xfelcat.catalog.hdf5.links import FIND_BITS
from xfelcat.catalog.hdf5.objects import OwnFile
from xfelcat.catalog.model.errors import FileStructureError
from xfelcat.loader.read.execute import execute_plan, execute_plans

pytestmark = pytest.mark.fast


@pytest.fixture
def no_library(monkeypatch):
    """Let the test fail if the HDF5 library opens a file."""

    def opened(name, *args, **options):
        raise AssertionError(f"HDF5 opened {name}")

    return lambda: monkeypatch.setattr(h5py.h5f, "open", opened)


WAYS = [
    {},
    {"chunks": (1, 3)},
    {"chunks": (7, 2), "maxshape": (None, None)},
    {"chunks": (50, 3), "maxshape": (None, 3)},
    {"chunks": (8, 3), "compression": "gzip"},
    {"chunks": (1, 3), "compression": "gzip", "shuffle": True, "maxshape": (None, 3)},
]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("options", WAYS, ids=str)
def test_numbers_are_read_without_the_library(tmp_path, no_library, options, libver):
    path = tmp_path / "f.h5"
    values = numbers((40, 3), ">i4")
    with h5py.File(path, "w", libver=libver) as f:
        f.create_dataset("data", data=values, **options)
    with h5py.File(path) as f:
        plans = [make_plan(path, f["data"], slabs) for slabs in ([(0, 40)], [(3, 5), (30, 31)])]
        part = make_plan(path, f["data"], [(2, 39)], np.s_[1:])
    files = open_files()
    no_library()
    same(execute_plan(plans[1], files), values[[3, 4, 30]])
    same(execute_plan(plans[0], files), values)
    same(execute_plan(part, files), values[2:39, 1:])
    files.close()


def many_files(place):
    """Files of the same structure, but the last, whose groups lie elsewhere; no value is in two."""
    paths = [place / f"{n}.h5" for n in range(4)]
    for number, path in enumerate(paths):
        with h5py.File(path, "w") as f:
            if number == 3:
                f["INSTRUMENT/first"] = 1
            for source in range(40):
                for key in ("a", "b"):
                    data = np.arange(6) + 1000 * number + 10 * source + (key == "b") * 500
                    f.create_dataset(f"INSTRUMENT/S{source:02d}/{key}", data=data, chunks=(4,))
    return paths


def test_of_files_alike_only_the_first_is_searched(tmp_path, monkeypatch, no_library):
    paths = many_files(tmp_path)
    with h5py.File(paths[0]) as f:
        plan = make_plan(paths[0], f["INSTRUMENT/S17/a"], [(0, 6)])
    places = [("S17", "a"), ("S17", "b"), ("S39", "a")]
    plans = [
        replace(
            plan,
            path=f"/INSTRUMENT/{source}/{key}",
            pieces=(replace(plan.pieces[0], data_file=facts_of(path)),),
        )
        for path in paths
        for source, key in places
    ]
    searched = []
    walk = finder.DatasetFinder._walk
    monkeypatch.setattr(
        finder.DatasetFinder,
        "_walk",
        lambda self, path: searched.append((self._file.path, path)) or walk(self, path),
    )
    files = open_files()
    no_library()
    found = execute_plans(plans, files)
    files.close()
    expected = [
        np.arange(6) + 1000 * number + 10 * int(source[1:]) + (key == "b") * 500
        for number in range(4)
        for source, key in places
    ]
    for one, other_ in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other_)
    assert {os.path.basename(path) for path, _ in searched} == {"0.h5", "3.h5"}


def test_a_name_that_leads_elsewhere_in_a_file_alike(tmp_path):
    """One byte of a name differs: what the first file proves does not hold for the second."""
    first, second = tmp_path / "1.h5", tmp_path / "2.h5"
    with h5py.File(first, "w") as f:
        f["G/a"], f["G/b"] = np.arange(3), np.arange(5)
    raw = first.read_bytes()
    second.write_bytes(raw.replace(b"a\0\0\0\0\0\0\0b\0", b"A\0\0\0\0\0\0\0b\0"))
    assert second.read_bytes() != raw
    seen = {}
    for path, here in ((first, True), (second, False)):
        file = OwnFile(str(path), FIND_BITS)
        found = finder.DatasetFinder(file, seen)
        assert (found.find("/G/a") is not None) == here
        assert found.find("/G/b")[0].layout.shape == (5,)
        file.close()
    assert len(seen) == 2


def test_a_large_group_is_searched_by_halving(tmp_path):
    path = tmp_path / "f.h5"
    names = [f"{n:04d}" for n in range(0, 3000, 3)]
    with h5py.File(path, "w") as f:
        for name in np.random.default_rng(1).permutation(names):
            f[f"G/{name}"] = np.arange(int(name) % 7 + 1)
    file = OwnFile(str(path), FIND_BITS)
    for n in range(3000):
        found = finder.DatasetFinder(file, {}).find(f"/G/{n:04d}")
        assert (found is None) == (n % 3 != 0)
        assert found is None or found[0].layout.shape == (n % 7 + 1,)
    file.close()


def test_a_file_that_this_process_writes_without_locks_is_left_to_hdf5(tmp_path, used):
    path = tmp_path / "f.h5"
    other(path, numbers((50, 3), "i4"), chunks=(8, 3))
    with h5py.File(path, "r+", locking=False) as f:
        f["data"][:] = 7  # not in the file yet
        plan, files = make_plan(path, f["data"], [(0, 50)]), open_files()
        with pytest.raises(FileStructureError, match="locking flag values don't match"):
            execute_plan(plan, files)
        files.close()
    assert not any(used)


def test_a_file_is_closed_when_nobody_needs_it(tmp_path):
    path = tmp_path / "f.h5"
    other(path)
    gc.disable()
    try:
        files = open_files()
        with h5py.File(path) as f:
            plan = make_plan(path, f["data"], [(0, 8)])
        execute_plan(plan, files)
        assert str(path) in open_paths().values()
        del files
        assert str(path) not in open_paths().values()
    finally:
        gc.enable()
    same(*read(path))
