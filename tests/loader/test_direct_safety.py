"""A file that changes, is cut short or damaged is told; nothing wrong is given."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from support.one_dataset import (
    damage_chunk,
    facts_of,
    make_plan,
    numbers,
    open_files,
    other,
    read,
    same,
)
from xfelcat.catalog.model.errors import ChangedFileError, FileStructureError
from xfelcat.loader.read import file_read as piece_module
from xfelcat.loader.read.execute import execute_plan

pytestmark = pytest.mark.fast


@pytest.fixture
def big(tmp_path):
    """A file large enough for the direct path as it is set up, and how its data were written."""
    path = tmp_path / "big.h5"
    values = numbers((40, 256, 64), "i4")
    with h5py.File(path, "w") as f:
        for name, options in (("data", {"compression": "gzip"}), ("plain", {})):
            f.create_dataset(name, data=values, chunks=(4, 256, 64), **options)
    return path


def test_only_the_chunks_that_a_region_needs_are_read(big, used, monkeypatch):
    spans = []
    real = os.preadv

    def recorded(handle, buffers, offset):
        spans.append((offset, sum(map(len, buffers))))
        return real(handle, buffers, offset)

    with h5py.File(big) as f:
        chunk = f["data"].id.get_chunk_info_by_coord((8, 0, 0))
    monkeypatch.setattr(os, "preadv", recorded)
    files = open_files()
    try:
        with h5py.File(big) as f:
            whole = f["data"][:]
            plan = make_plan(big, f["data"], [(0, 40)])
            some = make_plan(big, f["data"], [(9, 11)], np.s_[:100])
        same(execute_plan(plan, files), whole)
        spans.clear()
        same(execute_plan(some, files), whole[9:11, :100])
    finally:
        files.close()
    assert spans == [(chunk.byte_offset, chunk.size)]
    assert all(used)


def test_a_chunk_that_does_not_decompress_is_told_as_hdf5_tells_it(big):
    damage_chunk(big, (16, 0, 0))
    with h5py.File(big) as f:
        plan, before = make_plan(big, f["data"], [(0, 40)]), make_plan(big, f["data"], [(0, 16)])
    for n_threads in (1, 2):
        for direct in (True, False):
            files = open_files(n_threads, direct)
            try:
                assert execute_plan(before, files).shape[0] == 16
                with pytest.raises(FileStructureError, match=r"big\.h5: /data cannot be read"):
                    execute_plan(plan, files)
            finally:
                files.close()


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("how", ["cut short", "written to", "cut short while it is read"])
def test_a_file_that_changes_under_the_reader_is_told(big, monkeypatch, n_threads, direct, how):
    with h5py.File(big) as f:
        plan = make_plan(big, f["data"], [(0, 40)])
    files = open_files(n_threads, direct)

    def change():
        with big.open("r+b") as raw:
            if how == "written to":
                raw.seek(os.path.getsize(big) // 2)
                raw.write(b"\xff" * 50)
            else:
                raw.truncate(3000)

    try:
        assert execute_plan(plan, files).shape == plan.shape  # the file is open now
        if how.endswith("read"):
            find = piece_module.find_tasks
            monkeypatch.setattr(
                piece_module, "find_tasks", lambda *a, **o: change() or find(*a, **o)
            )
        if not how.endswith("read") or not direct:
            change()
        with pytest.raises(ChangedFileError, match=r"big\.h5: .*open the run again"):
            execute_plan(plan, files)
    finally:
        files.close()


def test_a_file_open_for_writing_too_is_left_to_hdf5(big, used):
    with h5py.File(big, "r+") as f:
        expected = f["data"][:]
        files = open_files()
        try:
            same(execute_plan(make_plan(big, f["data"], [(0, 40)]), files), expected)
        finally:
            files.close()
    assert not any(used)


def test_short_reads_are_continued(big, used, monkeypatch):
    real = os.preadv

    def short(handle, buffers, offset):
        first = buffers[0]
        return real(handle, [first[: max(len(first) // 3, 1)]], offset)

    monkeypatch.setattr(os, "preadv", short)
    same(*read(big))
    assert all(used)


def test_the_error_of_the_first_file_comes_first(tmp_path, big):
    """Whichever thread or file fails sooner."""
    other(
        tmp_path / "bad.h5", numbers((40, 256, 64), "i4"), chunks=(4, 256, 64), compression="gzip"
    )
    damage_chunk(tmp_path / "bad.h5", (36, 0, 0))
    with h5py.File(big) as f:
        plan = make_plan(big, f["data"], [(0, 40)])
    pieces = [
        replace(plan.pieces[0], data_file=facts_of(tmp_path / "bad.h5")),
        replace(plan.pieces[0], data_file=facts_of(big)._replace(path="/absent.h5")),
    ]
    pieces = [replace(p, targets=p.targets + 40 * i) for i, p in enumerate(pieces)]
    for order, message in ((pieces, r"bad\.h5"), (pieces[::-1], "absent")):
        files = open_files()
        try:
            with pytest.raises(FileStructureError, match=message):
                execute_plan(replace(plan, n_rows=80, pieces=tuple(order)), files)
            assert not files._in_use
        finally:
            files.close()


def test_nothing_is_written_beyond_an_array_of_padded_fields(tmp_path):
    """A C program's struct has gaps in the file; the array that it is read into has none."""
    padded = np.dtype({"names": ["x", "m"], "formats": ["f8", "i4"], "itemsize": 16})
    values = np.zeros((9, 5), padded)
    values["x"], values["m"] = numbers((9, 5), "f8"), numbers((9, 5), "i4")
    other(tmp_path / "padded.h5", values, chunks=(2, 5))
    packed = np.dtype([("x", "f8"), ("m", "i4")])
    memory = np.full((18, 5), -7, packed)
    found, expected = read(tmp_path / "padded.h5", [(1, 4), (5, 9)], out=memory[:7])
    same(found, expected.astype(packed))
    assert (memory[7:] == np.full((11, 5), -7, packed)).all()
