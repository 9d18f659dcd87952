"""Our own reader of HDF5 files finds what the HDF5 library finds, or leaves the file to it."""

import gc
import os
import weakref
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
from support.same_records import same
from xfelcat.catalog.hdf5 import library as hdf5
from xfelcat.catalog.hdf5.links import NotUnderstoodError
from xfelcat.catalog.hdf5.objects import OwnDataset, OwnFile, OwnGroup
from xfelcat.catalog.model.names import FORMAT_VERSIONS
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.scan import scan
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.examples.specs import RunSpec, split
from xfelcat.loader.examples.writing import write_run

LIBVERS = (
    "earliest",
    pytest.param("v108", marks=pytest.mark.slow),
    pytest.param("v110", marks=pytest.mark.slow),
    "latest",
)
TEXT = h5py.string_dtype()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "RAW-R0007-DA01-S00000.h5"


def datasets(own, library):
    """Every dataset by both readers, once the names are found to be the same."""
    names = library.root.walk()
    assert own.root.walk() == names
    for name in names:
        ours, theirs = own.root.find(name.encode()), library.root.dataset(name)
        assert isinstance(ours, OwnDataset) == (theirs is not None), name
        assert isinstance(ours, OwnGroup) == (theirs is None), name
        if theirs is not None:
            yield name, ours, theirs


def compare(path):
    """Compare all that a file has; the names of the datasets that we left to the library."""
    left = []
    own, library = OwnFile(str(path)), hdf5.open_file(str(path))
    for name, ours, theirs in datasets(own, library):
        assert ours.shape == theirs.shape, name
        assert ours.dtype == theirs.dtype, name
        assert ours.dtype.metadata == theirs.dtype.metadata, name
        attributes = tuple(h5py.AttributeManager(h5py.Dataset(theirs.id)))
        attributes = (*(a.encode() for a in attributes), b"absent")
        assert ours.text_attributes(attributes) == theirs.text_attributes(attributes)
        if ours.shape is None:
            continue
        mine, true = ours.read_stored(), theirs.read()
        if mine is None:
            left.append(name)
            mine = ours.read()
        assert mine.dtype == true.dtype, name
        assert mine.shape == true.shape, name
        assert mine.tolist() == true.tolist(), name
    own.close()
    library.close()
    return left


def example_run(version, libver):
    sources = (
        devices.xgm(),
        devices.xgm_pulses(),
        devices.motor("A/MOTOR/1"),
        *devices.camera("A/CAM/1"),
        devices.run_only_device("A/VIRTUAL/1"),
        devices.module("A_DET_AGIPD1M-1", 3),
    )
    trains = range(1_500_000_000, 1_500_000_090)
    files = split(trains, {"DA01": sources, "DA02": sources[:1]}, 2, padding=3)
    return RunSpec(2012, 7, files, version, libver=libver)


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("version", FORMAT_VERSIONS)
def test_example_files(tmp_path, version, libver):
    for path in write_run(tmp_path / "r0007", example_run(version, libver)):
        assert compare(path) == []
        same(scan.scan_file(path), scan.scan_file(path, verify=True))
        same(*(scan.scan_file(path, depth=Depth.OUTLINE, verify=v) for v in (False, True)))


def test_verify_reads_by_the_library_and_the_facts_are_the_same(tmp_path, monkeypatch):
    first, second, *_ = write_run(tmp_path, example_run("1.3", "latest"))
    opened = []
    real = hdf5.open_file
    monkeypatch.setattr(hdf5, "open_file", lambda path: opened.append(path) or real(path))
    like, verified = scan.scan_file(first), scan.scan_file(first, verify=True)
    assert opened == [str(first)]
    same(like, verified)
    assert like.run_values == verified.run_values
    same(scan.scan_file(second, like=like), scan.scan_file(second, like=like, verify=True))


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("libver", LIBVERS)
def test_storage(path, libver, compression):
    """Rows and chunks so that every kind of chunk index occurs, with parts of chunks at the end."""
    with h5py.File(path, "w", libver=(libver, "latest")) as f:
        number = 0
        for n in (0, 1, 7, 300):
            for chunk in (1, 4, 64):
                for limit in (None, max(n, chunk)):
                    for kind in ("u8", ">i2", "f4", "?", "S5", TEXT):
                        rows = np.arange(3 * n).reshape(n, 3)
                        if kind in ("S5", TEXT):
                            rows = rows.astype("S")
                        f.create_dataset(
                            f"d{number}",
                            data=rows.astype(object if kind is TEXT else kind),
                            dtype=kind,
                            chunks=(chunk, 3),
                            maxshape=(limit, 3),
                            compression=compression,
                            shuffle=compression is not None and kind in ("u8", "f4"),
                        )
                        number += 1
        f["scalar"] = np.float64(3)
        f["text"] = "a text"
        f["none"] = h5py.Empty("f4")
        f["ended"] = np.array([b"abc", b"d"], h5py.string_dtype("ascii", 5))
        f.create_dataset("never written", (10,), "f4")
        f.create_dataset("in part", (10,), "i4", chunks=(3,), maxshape=(None,))[4] = 1
    assert compare(path) == []


def test_what_is_left_to_the_library(path):
    with h5py.File(path, "w") as f:
        f["complex"] = np.ones(3, complex)
        f["records"] = np.zeros(3, [("a", "i4"), ("b", "f8")])
        f.create_dataset("filled", (10,), "f4", fillvalue=3.0)
        f.create_dataset("tiles", data=np.arange(100.0).reshape(10, 10), chunks=(3, 3))
        f.create_dataset("lzf", data=np.arange(100.0), compression="lzf")
        f.create_dataset("sums", data=np.arange(100), chunks=(10,), fletcher32=True)
        f["plain"] = np.arange(4)
    assert compare(path) == ["complex", "filled", "lzf", "records", "sums", "tiles"]


@pytest.mark.parametrize("libver", LIBVERS)
def test_links_and_many_names(path, libver):
    with h5py.File(path, "w", libver=(libver, "latest")) as f:
        for number in range(1500):
            f.create_group(f"many/group {number}")
        for number in range(200):
            f["values"] = f.create_dataset(f"of attributes/{number}", data=[number])
            for name in range(number % 30):
                f["values"].attrs[f"attribute {name}"] = f"text {name}" * (name % 4)
            f["values"].attrs["number"] = number
            del f["values"]
        for number in range(100):
            del f[f"many/group {3 * number}"]
        f["hard"] = f["many/group 1"]
        f["many/group 1/loop"] = f["many"]
        f["soft"] = h5py.SoftLink("/of attributes/3")
        f["of attributes/relative"] = h5py.SoftLink("../soft")
        f["dangling"] = h5py.SoftLink("/nothing")
        f["names/\N{MICRO SIGN}"] = 1
    assert compare(path) == []
    own, library = OwnFile(str(path)).root, hdf5.open_file(str(path)).root
    for name in ("soft", "dangling", "hard", "many", "nothing", "soft/deeper"):
        assert own.link(name) == library.link(name)
        ours, theirs = own.dataset(name), library.dataset(name)
        assert (ours is None) == (theirs is None), name
    assert own.find(b"soft").at == own.find(b"of attributes/3").at
    for name in ("many", "many/group 2", "names"):
        ours, theirs = own.group(name), library.group(name)
        assert ours.is_empty() == theirs.is_empty(), name
        assert ours.names() == theirs.names(), name


def test_a_link_out_of_the_file_is_left_to_the_library(path):
    with h5py.File(path, "w") as f:
        f["out"] = h5py.ExternalLink("other.h5", "/x")
    root = OwnFile(str(path)).root
    assert root.link("out") == ("external", "other.h5")
    with pytest.raises(NotUnderstoodError):
        root.find(b"out/x")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_few_reads(tmp_path, libver, monkeypatch):
    """What HDF5 fetches by thousands of reads comes by a few."""
    path = write_run(tmp_path, example_run("1.3", libver))[0]
    read = Mock(wraps=os.pread)
    monkeypatch.setattr(os, "pread", read)
    OwnFile(str(path)).root.walk()
    assert 1 <= read.call_count <= 1 + (path.stat().st_size >> 16)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_what_was_read_is_let_go_with_the_file(tmp_path, libver):
    """Without waiting for the garbage collector: a worker scans thousands of files."""
    path = write_run(tmp_path, example_run("1.3", libver))[0]
    gc.collect()
    gc.disable()
    try:
        own = OwnFile(str(path))
        own.root.walk()
        blocks = weakref.ref(own.blocks)
        own.close()
        del own
        assert blocks() is None
    finally:
        gc.enable()
