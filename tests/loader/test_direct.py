"""Reading past HDF5 gives what h5py gives, for every way to store data; or leaves it to HDF5."""

import os
import zlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.any_size import direct_at_any_size
from support.examples import examples
from support.one_dataset import make_plan, numbers, open_files, other, read, same
from xfelcat.catalog.hdf5.chunks import (
    ChunkLayout,
    StoredDataError,
    decode_chunk,
    find_inflate,
    inflate_by_zlib,
)
from xfelcat.catalog.model.errors import FileStructureError
from xfelcat.catalog.model.records import KeyRecord
from xfelcat.loader.read import direct
from xfelcat.loader.read import file_read as piece_module
from xfelcat.loader.read.execute import execute_plan, execute_plans

try:
    import deflate
except ImportError:
    deflate = None


@pytest.fixture
def small(monkeypatch):
    """Take the direct path for data of any size, in tasks, blocks and gaps of few bytes."""
    direct_at_any_size(monkeypatch)
    for module, name, value in (
        (piece_module, "SMALL_BYTES", 0),
        (piece_module, "LEAST_TASK", 40),
        (piece_module, "MOST_TASK", 100),
        (piece_module, "BLOCK_BYTES", 300),
        (piece_module, "CLOSE_BYTES", 20),
        (direct, "GAP_BYTES", 16),
        (direct, "BLOCK_BYTES", 200),
        (direct, "TOGETHER", 60),
    ):
        monkeypatch.setattr(module, name, value)


DIRECT_TYPES = ["u1", "<u2", ">u2", "<i4", ">i8", "<f4", ">f8", "f2", "?"]
OTHER_TYPES = ["c8", "S3"]
DIRECT_FILTERS = [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}]
OTHER_FILTERS = [
    {"shuffle": True},
    {"fletcher32": True},
    {"compression": "gzip", "fletcher32": True},
    {"compression": "lzf"},
]


@st.composite
def stored(draw):
    """Shape, dtype, options of ``create_dataset``, rows that are written, options of the file."""
    shape = (draw(st.integers(1, 14)), *draw(st.lists(st.integers(1, 6), max_size=2)))
    dtype = draw(st.sampled_from(DIRECT_TYPES + OTHER_TYPES))
    options = {}
    written = shape[0]
    if draw(st.booleans()):
        limits = [st.integers(1, n) for n in shape]
        options["chunks"] = tuple(draw(st.tuples(*limits)))
        options |= draw(st.sampled_from(DIRECT_FILTERS * 2 + OTHER_FILTERS))
        if draw(st.booleans()):
            options["maxshape"] = draw(st.sampled_from([(None, *shape[1:]), (None,) * len(shape)]))
            options["chunks"] = (draw(st.integers(1, 20)), *options["chunks"][1:])
        written = draw(st.sampled_from([shape[0], shape[0] // 2]))
    if draw(st.booleans()) and dtype in DIRECT_TYPES:
        options["fillvalue"] = 1
    return shape, dtype, options, written, draw(st.sampled_from(["earliest", "latest"]))


def write(path, shape, dtype, options, written, libver):
    with h5py.File(path, "w", libver=libver) as f:
        f["before"] = np.arange(7, dtype="u1")
        dataset = f.create_dataset("data", shape, dtype, **options)
        dataset[:written] = numbers(shape, dtype)[:written]


@pytest.mark.parametrize("n_threads", [1, 3])
@settings(max_examples=examples(60))
@given(stored(), st.data())
def test_every_way_to_store_data(tmp_path_factory, small, n_threads, how, data):
    path = tmp_path_factory.mktemp("stored") / "file.h5"
    write(path, *how)
    n_rows, *entry = how[0]
    ends = st.tuples(st.integers(0, n_rows - 1), st.integers(1, 4))
    listed = data.draw(st.lists(ends, min_size=1, max_size=9))
    slabs = [(start, min(start + n, n_rows)) for start, n in listed]
    if data.draw(st.booleans()):
        slabs.sort()
    items = []
    for size in entry:
        end = st.none() | st.integers(-size, size)
        step = st.none() | st.sampled_from([1, 2, 3, -1])
        items.append(data.draw(st.builds(slice, end, end, step) | st.integers(-size, size - 1)))
    roi = tuple(items[: data.draw(st.integers(0, len(items)))])
    for at_once in (0, 10**6):
        piece_module.SMALL_BYTES = at_once
        same(*read(path, slabs, roi, open_files(n_threads)))
    found, expected = read(path, slabs, roi, open_files(direct=False))
    same(found, expected)
    wide = np.zeros((*expected.shape, 2), expected.dtype)[..., 0]
    found, _ = read(path, slabs, roi, open_files(n_threads), out=wide)
    same(found, expected)
    if expected.dtype.kind in "uif":
        found, _ = read(path, slabs, roi, open_files(n_threads), out=np.zeros(expected.shape))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DIRECT_TYPES)
@pytest.mark.parametrize("options", [None, *DIRECT_FILTERS], ids=str)
@pytest.mark.parametrize("roi", [(), np.s_[1:3], np.s_[:, 1::2], np.s_[2, ::-1]], ids=str)
def test_what_is_read_past_hdf5(tmp_path, small, used, dtype, options, roi):
    options = {} if options is None else {"chunks": (3, 2, 4), **options}
    write(tmp_path / "f.h5", (10, 5, 4), dtype, options, 10, "earliest")
    same(*read(tmp_path / "f.h5", None, roi))
    assert used
    assert all(used)


def with_user_block(path):
    with h5py.File(path, "w", userblock_size=512) as f:
        f["data"] = numbers((8, 3), "i4")


def virtual(path):
    with h5py.File(path.with_name("source.h5"), "w") as f:
        f["data"] = numbers((8, 3), "i4")
    layout = h5py.VirtualLayout((8, 3), "i4")
    layout[:] = h5py.VirtualSource(path.with_name("source.h5"), "data", (8, 3))
    with h5py.File(path, "w") as f:
        f.create_virtual_dataset("data", layout)


def external_link(path):
    with h5py.File(path.with_name("target.h5"), "w") as f:
        f["there"] = numbers((8, 3), "i4")
    with h5py.File(path, "w") as f:
        f["data"] = h5py.ExternalLink("target.h5", "there")


def external_storage(path):
    with h5py.File(path, "w") as f:
        outside = [(path.with_name("outside.raw"), 0, h5py.h5f.UNLIMITED)]
        f.create_dataset("data", (8, 3), "i4", external=outside)[:] = numbers((8, 3), "i4")


def compact(path):
    with h5py.File(path, "w") as f:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((8, 3))
        h5py.h5d.create(f.id, b"data", h5py.h5t.NATIVE_INT32, space, properties)
        f["data"][:] = numbers((8, 3), "i4")


def not_all_bits(path):
    with h5py.File(path, "w") as f:
        twelve = h5py.h5t.STD_U16LE.copy()
        twelve.set_precision(12)
        twelve.set_offset(2)
        space = h5py.h5s.create_simple((8, 3))
        h5py.h5d.create(f.id, b"data", twelve, space)
        f["data"][:] = numbers((8, 3), "u2")


def committed(path):
    with h5py.File(path, "w") as f:
        f["type"] = np.dtype(">i4")
        f.create_dataset("data", (8, 3), f["type"])[:] = numbers((8, 3), "i4")


def an_enum(path):
    with h5py.File(path, "w") as f:
        dtype = h5py.enum_dtype({"A": 1, "B": 2}, "i4")
        f.create_dataset("data", (8, 3), dtype)[:] = numbers((8, 3), "i4") % 3


def not_written(path):
    with h5py.File(path, "w") as f:
        f.create_dataset("data", (8, 3), "i4", chunks=(2, 3), fillvalue=5)[:5] = 1


def nothing_written(path):
    with h5py.File(path, "w") as f:
        f.create_dataset("data", (8, 3), "i4", fillvalue=5)


def filters_left_out(path):
    with h5py.File(path, "w") as f:
        dataset = f.create_dataset("data", (8, 3), "i4", chunks=(4, 3), compression="gzip")
        dataset[:] = numbers((8, 3), "i4")
        dataset.id.write_direct_chunk((4, 0), numbers((4, 3), "i4").tobytes(), filter_mask=1)


OTHERS = [
    *(lambda path, o=o: other(path, chunks=(3, 2), **o) for o in OTHER_FILTERS),
    lambda path: other(path, chunks=(3, 2), scaleoffset=0),
    lambda path: other(path, numbers((8, 3), "c16")),
    lambda path: other(path, numbers((8, 3), "S3")),
    lambda path: other(path, numbers((8, 3), "S3"), h5py.string_dtype()),
    lambda path: other(path, np.zeros(8, [("x", "i4"), ("y", "f8")])),
    with_user_block,
    virtual,
    external_link,
    external_storage,
    compact,
    committed,
    not_all_bits,
    not_written,
    nothing_written,
    filters_left_out,
]


@pytest.mark.parametrize("make", OTHERS)
def test_what_is_left_to_hdf5(tmp_path, small, used, make):
    make(tmp_path / "f.h5")
    same(*read(tmp_path / "f.h5"))
    same(*read(tmp_path / "f.h5", [(1, 3), (5, 8)]))
    assert not any(used)


def test_without_a_library_compressed_data_are_left_to_hdf5(tmp_path, small, used):
    other(tmp_path / "f.h5", chunks=(3, 2), compression="gzip")
    same(*read(tmp_path / "f.h5", files=open_files(inflate=None)))
    assert not any(used)


@pytest.mark.skipif(deflate is None, reason="the package deflate is not installed")
def test_libdeflate_says_what_zlib_says(tmp_path, small, used):
    inflate = find_inflate()
    content = numbers((999,), "u1").tobytes()
    stream = zlib.compress(content)
    assert inflate(memoryview(stream), 999) == content
    for bad in (stream[:-9], b"\0" * 40, stream[:20] + b"x" + stream[21:]):
        with pytest.raises(StoredDataError):
            inflate(bad, 999)
    with pytest.raises(StoredDataError):
        inflate(stream, 998)
    for options in DIRECT_FILTERS[1:]:
        path = tmp_path / f"{len(options)}.h5"
        other(path, numbers((50, 7), "f4"), chunks=(8, 7), **options)
        same(*read(path, files=open_files(inflate=inflate)))
    assert used
    assert all(used)


@pytest.mark.parametrize("roi", [(), np.s_[1:3]], ids=["rows", "roi"])
def test_a_chunk_is_inflated_once_for_all_that_is_wanted_of_it(tmp_path, monkeypatch, roi):
    path = tmp_path / "f.h5"
    other(path, numbers((500, 4), "u2"), chunks=(64, 4), compression="gzip", shuffle=True)
    inflated = []
    files = open_files(1, inflate=lambda *a: inflated.append(a) or inflate_by_zlib(*a))
    direct_at_any_size(monkeypatch)
    slabs = [(row, row + 1) for row in range(0, 500, 30)]
    monkeypatch.setattr(piece_module, "CLOSE_BYTES", 0)
    same(*read(path, slabs, roi, files=files))
    assert len(inflated) == 8


def test_a_chunk_of_another_size_is_none():
    layout = ChunkLayout((9, 2), (2, 2), np.dtype("u2"), False, ({"id": "zlib", "level": 1},))
    for content in (b"1234567", b"123456789"):
        with pytest.raises(StoredDataError, match="bytes, not 8"):
            decode_chunk(content, layout, lambda stored, size: stored)


def test_an_enum_is_numbers_in_the_file(tmp_path, small, used):
    an_enum(tmp_path / "f.h5")
    same(*read(tmp_path / "f.h5"))
    assert used
    assert all(used)


def test_beyond_four_gigabytes(tmp_path, small, used):
    path = tmp_path / "f.h5"
    shape = (5, 1 << 30)
    with h5py.File(path, "w") as f:  # sparse: hardly any of it is on disk
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(f.id, b"hole", h5py.h5t.NATIVE_UINT8, space, properties)
        f["data"] = numbers((8, 3), "i4")
        assert f["data"].id.get_offset() > 1 << 32
    same(*read(path, [(1, 4), (0, 2)]))
    assert all(used)


def test_many_slabs_with_little_between_are_read_as_one(tmp_path, small, monkeypatch):
    path = tmp_path / "f.h5"
    other(path, numbers((400,), "u2"))
    reads = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: reads.append(a[2]) or real(*a))
    slabs = [(row, row + 1) for row in range(0, 400, 2)]
    same(*read(path, slabs, files=open_files(1)))
    assert len(reads) < 40  # of 200 slabs, in tasks of 40 bytes
    for n_threads in (1, 3):
        backwards = [(row, row + 2) for row in range(300, 0, -7)]
        same(*read(path, slabs + backwards + slabs, files=open_files(n_threads)))


@pytest.mark.parametrize("options", [{}, {"chunks": (64, 3)}], ids=str)
def test_a_small_key_that_is_read_again_and_again_is_read_past_hdf5(tmp_path, options, monkeypatch):
    path = tmp_path / "f.h5"
    other(path, numbers((200, 3), "f4"), **options)
    reads = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: reads.append(a[2]) or real(*a))
    with h5py.File(path) as f:
        expected = f["data"][:]
        plans = [make_plan(path, f["data"], [slab]) for slab in ((0, 9), (70, 120), (60, 70))]
    files = open_files()
    try:
        for _ in range(4):
            for plan, (start, stop) in zip(plans, ((0, 9), (70, 120), (60, 70)), strict=True):
                same(execute_plan(plan, files), expected[start:stop])
    finally:
        files.close()
    assert len(reads) == 12


def test_many_plans_are_read_file_by_file(tmp_path, monkeypatch):
    paths = [tmp_path / f"{name}.h5" for name in "abc"]
    for path in paths:
        other(path, numbers((40, 3), "f4"), chunks=(8, 3))
    plans = []
    for path in (*paths, *paths):
        with h5py.File(path) as f:
            plans.append(make_plan(path, f["data"], [(len(plans), 30)]))
            expected = f["data"][:]
    files = open_files()
    files.limit = 1
    try:
        for at, found in enumerate(execute_plans(plans, files)):
            same(found, expected[at:30])
        assert files.n_opened == 3
        # What fails first, one by one, is told.
        bad = [
            replace(
                plan,
                path=f"/{name}",
                record=KeyRecord(name, "", plan.record.dtype, plan.record.entry_shape),
            )
            for plan, name in zip(plans[::-1], ("data", "one", "two"), strict=False)
        ]
        for order, message in ((bad, "/one"), (bad[::-1], "/two")):
            with pytest.raises(FileStructureError, match=message):
                execute_plans(order, files)
        assert not files._in_use
    finally:
        files.close()
