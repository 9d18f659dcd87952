"""Later sequence files are scanned with less work and the same result; what differs is found."""

import dataclasses
import shutil

import h5py
import numpy as np
import pytest
from support.same_records import same
from support.tiny_file import CAMERA, SOURCES, XGM, write_tiny
from xfelcat.catalog.hdf5 import library, objects
from xfelcat.catalog.hdf5.links import NotUnderstoodError
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.scan import scan
from xfelcat.catalog.scan.scan import scan_file

pytestmark = pytest.mark.fast


@pytest.fixture
def pair(tmp_path):
    """Two sequence files of one aggregator, the second of other trains."""
    paths = [tmp_path / f"RAW-R0007-DA01-S0000{n}.h5" for n in range(2)]
    for n, path in enumerate(paths):
        ids = range(1000 + 10 * n, 1010 + 10 * n)
        write_tiny(path, sequence=n, train_ids=list(ids)).close()
    return paths


@pytest.fixture
def calls(monkeypatch):
    """Counts of datasets that are opened, by us or the library, by what they belong to."""
    counted = {}

    def count(path):
        section = path.split(b"/")[1].decode()
        counted[section] = counted.get(section, 0) + 1

    class CountingGroup(objects.OwnGroup):
        def find(self, path):
            found = super().find(path)
            if isinstance(found, objects.OwnDataset):
                count(found.path)
            return found

    class Counting:
        def __getattr__(self, name):
            return getattr(original, name)

        def open(self, loc, *args):
            found = original.open(loc, *args)
            if isinstance(found, h5py.h5d.DatasetID):
                count(h5py.h5i.get_name(found))
            return found

    monkeypatch.setattr(objects, "OwnGroup", CountingGroup)
    original = library.h5o
    monkeypatch.setattr(library, "h5o", Counting())
    return counted


def test_like_gives_the_same_record(pair):
    first, full = map(scan_file, pair)
    second = scan_file(pair[1], like=first)
    same(second, full)
    assert full.verified
    assert not second.verified
    assert second.layout is first.layout
    assert second.run_values == {}
    assert first.run_values == full.run_values


@pytest.mark.parametrize("name", ["fxe_da-1.2", "agipd_example-0.5", "remi-1.0"])
def test_like_gives_the_same_record_of_mocks(build_mock, tmp_path, name):
    path = build_mock(name)
    path = path if path.is_file() else sorted(path.glob("*.h5"))[0]
    first = scan_file(path)
    copy = tmp_path / path.name
    shutil.copyfile(path, copy)
    full, second = scan_file(copy), scan_file(copy, like=first)
    same(second, full)
    assert second.layout is first.layout


def test_what_is_opened(pair, calls):
    first = scan_file(pair[0])
    assert (calls["CONTROL"], calls["INSTRUMENT"], calls["RUN"]) == (4, 2, 5)
    calls.clear()
    assert not scan_file(pair[1], like=first).verified
    assert (calls["CONTROL"], calls["INSTRUMENT"]) == (4, 2)
    assert "RUN" not in calls
    calls.clear()
    assert scan_file(pair[1], like=first, verify=True).verified
    assert (calls["CONTROL"], calls["INSTRUMENT"], calls["RUN"]) == (4, 2, 5)
    calls.clear()
    scan_file(pair[1], depth=Depth.OUTLINE)
    assert set(calls) == {"METADATA", "INDEX"}


def test_the_library_opens_one_dataset_per_index_group(pair, calls, monkeypatch):
    def leave_to_the_library(path):
        raise NotUnderstoodError(path)

    monkeypatch.setattr(scan, "OwnFile", leave_to_the_library)
    first = scan_file(pair[0])
    assert (calls["CONTROL"], calls["INSTRUMENT"], calls["RUN"]) == (4, 2, 5)
    calls.clear()
    second = scan_file(pair[1], like=first)
    assert not second.verified
    assert (calls["CONTROL"], calls["INSTRUMENT"]) == (1, 1)
    assert "RUN" not in calls
    same(second, scan_file(pair[1]))


@pytest.mark.parametrize("verify", [False, True])
def test_changed_dtype_and_new_key_are_found(pair, verify):
    with h5py.File(pair[1], "r+") as f:
        del f[f"INSTRUMENT/{CAMERA}/data/img"]
        f[f"INSTRUMENT/{CAMERA}/data/img"] = np.zeros((20, 3, 5), "u2")
        f[f"CONTROL/{XGM}/new/value"] = np.zeros(10)
        f[f"CONTROL/{XGM}/new/timestamp"] = np.zeros(10)
    first = scan_file(pair[0])
    second = scan_file(pair[1], like=first, verify=verify)
    found = [(p.check, p.where) for p in second.problems]
    assert found == [("R07", f"CONTROL/{XGM}"), ("R07", f"INSTRUMENT/{CAMERA}")]
    assert "'new.timestamp'" in second.problems[0].message
    assert "'data.img' is <u2 [3, 5], but <u2 [3, 4]" in second.problems[1].message
    same(dataclasses.replace(second, problems=()), scan_file(pair[1]))


def test_units_and_run_of_later_files_need_verify(pair):
    with h5py.File(pair[0], "r+") as f:
        f[f"RUN/{XGM}/beam/x/value"][:] = np.nan
    with h5py.File(pair[1], "r+") as f:
        f[f"CONTROL/{XGM}/power"].attrs["unitSymbol"] = "eV"
        f[f"RUN/{XGM}/power/value"][:] = 5
        f[f"RUN/{XGM}/beam/x/value"][:] = np.nan
    first = scan_file(pair[0])
    second = scan_file(pair[1], like=first)
    assert second.problems == ()
    assert second.layout is first.layout
    verified = scan_file(pair[1], like=first, verify=True)
    assert [(p.check, p.severity) for p in verified.problems] == [("R08", "W")]
    assert "1 values changed" in verified.problems[0].message
    assert "power.value" in verified.problems[0].message
    assert verified.layout.schemas[0].by_name["power.value"].unit_symbol == "eV"


def test_every_dataset_of_later_files_is_compared(pair):
    with h5py.File(pair[1], "r+") as f:
        del f[f"INSTRUMENT/{CAMERA}/data/sum/x"]
        f[f"INSTRUMENT/{CAMERA}/data/sum/x"] = np.zeros(20, "f8")
        del f[f"CONTROL/{XGM}/power/timestamp"]
        f[f"CONTROL/{XGM}/power/timestamp"] = np.zeros(9, "u8")
    second = scan_file(pair[1], like=scan_file(pair[0]))
    found = [(p.check, p.where) for p in second.problems]
    assert ("R07", f"INSTRUMENT/{CAMERA}") in found
    assert ("I06", f"INDEX/{XGM}") in found


def test_a_new_source_is_read_in_full(pair):
    with h5py.File(pair[1], "r+") as f:
        del f["METADATA/dataSources/dataSourceId"]
        f["METADATA/dataSources/dataSourceId"] = [r.encode() for r in (*SOURCES, "CONTROL/B/C/D")]
        f["CONTROL/B/C/D/x/value"] = np.arange(10)
        f["RUN/B/C/D/x/value"] = [3]
        f["INDEX/B/C/D/first"] = np.arange(10)
        f["INDEX/B/C/D/count"] = np.ones(10, int)
    second = scan_file(pair[1], like=scan_file(pair[0]))
    assert second.run_values == {"B/C/D": {"x.value": 3}}
    assert second.problems == ()
    assert [s.name for s in second.layout.sources] == [XGM, "B/C/D", CAMERA]


def test_equal_index_arrays_are_one_pattern(pair):
    with h5py.File(pair[0], "r+") as f:
        index = f[f"INDEX/{CAMERA}/data"]
        for key in ("first", "count"):
            index[key][:] = f[f"INDEX/{XGM}/{key}"][()]
    record = scan_file(pair[0])
    assert record.patterns[0] is record.patterns[1]
