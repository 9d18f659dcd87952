"""Chunk maps by our own reader are those that the HDF5 library gives."""

import itertools
import random

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import some
from xfelcat.catalog.hdf5.chunks import ChunkMap
from xfelcat.catalog.hdf5.library import find_layout, locate_chunks
from xfelcat.catalog.hdf5.objects import OwnFile

LIBVERS = ["earliest", "v110", "latest"]


def own_map(path, rows=None):
    """Our map, of some rows if they are given, and whether it is complete."""
    own = OwnFile(str(path))
    try:
        stored = own.root.dataset("data").chunks()
        ours = ChunkMap.unknown(stored.layout)
        return ours, stored.locate(own.blocks, ours, *(rows or (0, stored.layout.shape[0])))
    finally:
        own.close()


def assert_like_hdf5(path, ours):
    with h5py.File(path) as f:
        layout = find_layout(f["data"], f)
        for name in ("shape", "chunk_shape", "dtype", "contiguous", "codecs"):
            assert getattr(ours.layout, name) == getattr(layout, name)
        if f["data"].maxshape.count(None) == 1 and f["data"].maxshape[0] is not None:
            return  # HDF5 lists others
        theirs = locate_chunks(f["data"], layout)
    np.testing.assert_array_equal(ours.offsets, theirs.offsets)
    np.testing.assert_array_equal(ours.sizes, theirs.sizes)


def assert_places(path, ours):
    """The values of each chunk that is stored plainly lie where the map says."""
    layout = ours.layout
    with h5py.File(path) as f:
        values = f["data"][()]
    raw = path.read_bytes()
    for cell, offset in zip(np.ndindex(layout.grid), ours.offsets.tolist(), strict=True):
        place = tuple(
            slice(at * n, (at + 1) * n) for at, n in zip(cell, layout.chunk_shape, strict=True)
        )
        shown = values[place]
        if offset >= 0:
            count = int(np.prod(layout.chunk_shape))
            chunk = np.frombuffer(raw, layout.dtype, count, offset).reshape(layout.chunk_shape)
            np.testing.assert_array_equal(chunk[tuple(map(slice, shown.shape))], shown)
        else:
            assert not shown.any()


FILTERS = [
    {},
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True},
    {"shuffle": True},
    {"fletcher32": True},
]


@st.composite
def chunked(draw):
    shape = draw(st.lists(st.integers(1, 30), min_size=1, max_size=3).map(tuple))
    chunks = tuple(draw(st.integers(1, n + 2)) for n in shape)
    room = st.sampled_from([0, 0, 5, 40, None])
    most = tuple(None if (more := draw(room)) is None else n + more for n in shape)
    chunks = tuple(c if m is None else min(c, m) for c, m in zip(chunks, most, strict=True))
    options = {"chunks": chunks, "maxshape": most} | draw(st.sampled_from(FILTERS))
    written = draw(st.lists(st.integers(0, shape[0] - 1), max_size=6))
    return shape, options, written, draw(st.sampled_from(LIBVERS)), draw(st.booleans())


@settings(max_examples=300)
@given(chunked(), st.data())
def test_every_kind_of_index(tmp_path_factory, how, data):
    shape, options, written, libver, early = how
    path = tmp_path_factory.mktemp("maps") / "f.h5"
    with h5py.File(path, "w", libver=(libver, "latest")) as f:
        f["before"] = np.arange(7)
        if early and None not in options["maxshape"] and len(options) == 2:
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk(options["chunks"])
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            space = h5py.h5s.create_simple(shape, options["maxshape"])
            h5py.h5d.create(f.id, b"data", h5py.h5t.STD_I16LE, space, properties)
        else:
            f.create_dataset("data", shape, "<i2", **options)
        number = 1 + np.arange(int(np.prod(shape))).reshape(shape)
        for row in written:
            f["data"][row] = number[row]
    ours, _ = own_map(path)
    assert_like_hdf5(path, ours)
    if not ours.layout.codecs:
        assert_places(path, ours)
    first = data.draw(st.integers(0, shape[0] - 1))
    end = data.draw(st.integers(first + 1, shape[0]))
    some, is_all = own_map(path, (first, end))
    per_chunk = options["chunks"][0]
    rows = slice(None) if is_all else slice(first // per_chunk, (end - 1) // per_chunk + 1)
    assert (
        some.offsets.reshape(some.layout.grid)[rows] == ours.offsets.reshape(ours.layout.grid)[rows]
    ).all()


@pytest.mark.parametrize(
    ("n", "most", "libver"),
    [
        (5000, 5000, "latest"),
        pytest.param(300_000, None, "latest", marks=pytest.mark.slow),
        (5000, None, "earliest"),
    ],
    ids=["pages of a fixed array", "pages of an extensible array", "a tree of several levels"],
)
@pytest.mark.parametrize("compression", some([None, "gzip"], 1))
def test_long_indexes(tmp_path, n, most, libver, compression):
    path = tmp_path / "f.h5"
    n = n if compression is None else min(n, 140_000)
    with h5py.File(path, "w", libver=(libver, "latest")) as f:
        dataset = f.create_dataset(
            "data", (n,), "u1", chunks=(1,), maxshape=(most,), compression=compression
        )
        for start, end in itertools.pairwise((0, 1500, 2100, n - 3000, n)):
            if start != 1500:  # some pages are never written
                dataset[start:end] = np.arange(start, end) % 251
    ours, _ = own_map(path)
    assert_like_hdf5(path, ours)
    assert (ours.offsets >= 0).sum() < n


@pytest.mark.parametrize("order", ["reversed", "shuffled", "with gaps"])
def test_a_tree_that_was_written_in_any_order(tmp_path, order):
    path = tmp_path / "f.h5"
    written = [*reversed(range(3000))]
    if order != "reversed":
        random.Random(order).shuffle(written)
    if order == "with gaps":
        del written[2000:]
    with h5py.File(path, "w", libver="earliest") as f:
        dataset = f.create_dataset("data", (3000, 4), "u2", chunks=(1, 2), maxshape=(None, 4))
        for row in written:
            dataset[row] = row
    ours, _ = own_map(path)
    assert_like_hdf5(path, ours)
    assert (ours.offsets >= 0).sum() == 2 * len(written)


def test_a_row_is_found_by_few_nodes_of_a_tree(tmp_path):
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("data", (20_000,), "u1", chunks=(1,))[:] = 1
    own = OwnFile(str(path))
    stored = own.root.dataset("data").chunks()
    read = []
    get = own.blocks.get
    own.blocks.get = lambda at, size: read.append(at) or get(at, size)
    ours = ChunkMap.unknown(stored.layout)
    assert not stored.locate(own.blocks, ours, 777, 779)
    own.close()
    assert (ours.offsets[777:779] > 0).all()
    assert len(read) <= 2 * 4
    assert (ours.offsets >= 0).sum() < 200
