"""The outlines of many files: the same as one by one, and no file holds up the others."""

import threading
import time
from types import SimpleNamespace

import h5py
import pytest
from support.same_records import same
from support.tiny_file import CAMERA, SOURCES, XGM, write_tiny
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.scan import scan
from xfelcat.catalog.scan.scan import scan_outline as real
from xfelcat.catalog.scan.scan import scan_outlines


@pytest.fixture
def paths(tmp_path):
    """Sequence files of two aggregators; the second has an old name and a RUN-only source."""
    made = []
    for number in range(12):
        aggregator, sequence = divmod(number, 6)
        path = tmp_path / f"RAW-R0007-DA0{aggregator}-S0000{sequence}.h5"
        ids = list(range(1000 + 10 * sequence, 1010 + 10 * sequence))
        more = ("CONTROL/A/VIRTUAL/1", "INSTRUMENT/A/OLD/1:out/data") if aggregator else ()
        rows = (*SOURCES, *more)
        with write_tiny(path, sequence=sequence, train_ids=ids, rows=rows) as f:
            if aggregator:
                f["RUN/A/VIRTUAL/1/region/value"] = [b":1000"]
                f["INSTRUMENT/A/OLD/1:out"] = h5py.SoftLink(f"/INSTRUMENT/{CAMERA}")
        made.append(str(path))
    return made


@pytest.mark.parametrize("parallelize", [False, True])
def test_as_one_by_one(paths, parallelize):
    records, blamed = scan_outlines(paths, parallelize=parallelize)
    assert blamed == {}
    assert records.keys() == set(paths)
    for path, record in records.items():
        same(record, scan.scan_file(path, depth=Depth.OUTLINE))
    last = records[paths[-1]].layout
    assert [s.name for s in last.sources if s.run_only] == ["A/VIRTUAL/1"]
    assert [s.legacy_of for s in last.sources if s.legacy_of] == [CAMERA]


def test_later_files_that_list_the_same_share_the_layout(paths):
    first, second = scan.scan_outline(paths[0]), scan.scan_outline(paths[1])
    assert first.layout is not second.layout
    assert scan.scan_outline(paths[1], first).layout is first.layout
    with h5py.File(paths[1], "r+") as f:
        f["METADATA/dataSources/dataSourceId"][0] = b"CONTROL/A/OTHER/1"
    other = scan.scan_outline(paths[1], first).layout
    assert [s.name for s in other.sources] == ["A/OTHER/1", CAMERA]


@pytest.mark.parametrize("n_processes_from", [1, 100])
def test_what_only_the_library_can_read(paths, monkeypatch, n_processes_from):
    monkeypatch.setattr(scan, "_PROCESSES_FROM", n_processes_from)
    with open(paths[2], "w") as f:
        f.write("no HDF5")
    with h5py.File(paths[3], "w", userblock_size=512) as f:
        f["INDEX/trainId"] = [1000]
        f["METADATA/deviceId"] = [XGM.encode()]
        f["METADATA/root"] = [b"CONTROL"]
    assert scan.scan_outline(paths[2]) is scan.scan_outline(paths[3]) is None
    records, blamed = scan_outlines(paths)
    assert blamed == {}
    assert [p.check for p in records[paths[2]].problems] == ["F02"]
    assert records[paths[3]].depth is Depth.OUTLINE
    assert records.keys() == set(paths)


def test_a_file_that_hangs_is_given_up(paths, monkeypatch):
    released = threading.Event()

    def scan_outline(path, like=None):
        if path == paths[4]:
            released.wait(600)
        return real(path, like)

    monkeypatch.setattr(scan, "scan_outline", scan_outline)
    started = time.monotonic()
    records, blamed = scan_outlines(paths, time_limit=0.5)
    released.set()
    assert time.monotonic() - started < 200
    assert blamed.keys() == {paths[4]}
    assert "timed out" in blamed[paths[4]]
    assert records.keys() == set(paths) - {paths[4]}


def test_no_files():
    assert scan_outlines([]) == ({}, {})


@pytest.fixture
def readers(monkeypatch):
    """The threads that read, by name of file; ``wait`` is told each path before it is read."""
    read, wait = {}, lambda path: None

    def scan_outline(path, like=None):
        read[path] = threading.get_ident()
        readers.wait(path)
        return real(path, like)

    readers = SimpleNamespace(read=read, wait=wait)
    monkeypatch.setattr(scan, "scan_outline", scan_outline)
    return readers


def test_one_thread_where_nothing_waits(paths, readers, monkeypatch):
    monkeypatch.setattr(scan, "WAIT_SECONDS", 60)
    scan_outlines(paths)
    assert readers.read.keys() == set(paths)
    (thread,) = set(readers.read.values())
    assert thread != threading.get_ident()


def test_more_threads_where_files_are_slow(paths, readers):
    readers.wait = lambda path: time.sleep(0.02)
    scan_outlines(paths)
    assert readers.read.keys() == set(paths)
    assert 2 < len(set(readers.read.values())) <= 8


def test_more_threads_as_soon_as_one_file_is_slow(paths, readers, monkeypatch):
    monkeypatch.setattr(scan, "WAIT_SECONDS", 60)
    others = threading.Event()
    order = []

    def wait(path):
        order.append(path)
        if len(order) == 1:
            assert others.wait(30), "no other file was read"
        elif len(order) == len(paths):
            others.set()

    readers.wait = wait
    records, blamed = scan_outlines(paths)
    assert records.keys() == set(paths)
    assert blamed == {}
    assert sum(thread == readers.read[order[0]] for thread in readers.read.values()) == 1
