"""What is not recorded is read from the file, once, and is the same as what a full scan finds."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import pytest
from support.tiny_file import CAMERA, SOURCES, XGM, write_tiny
from xfelcat.catalog.hdf5 import library
from xfelcat.catalog.model.errors import ChangedFileError, FileStructureError
from xfelcat.catalog.model.facts import FileTable
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.model.runlength import TrainList
from xfelcat.catalog.opening import scanned
from xfelcat.catalog.opening.scanned import scanned_facts
from xfelcat.catalog.scan.scan import scan_file

pytestmark = pytest.mark.fast


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "RAW-R0007-DA01-S00000.h5"
    with write_tiny(path, train_ids=[1000, 0, 1002, 1003], padding=2) as f:
        del f["METADATA/dataSources/dataSourceId"]
        rows = [r.encode() for r in (*SOURCES, "INSTRUMENT/A/OLD/1:xtdf/data")]
        f["METADATA/dataSources/dataSourceId"] = rows
        f["INSTRUMENT/A/OLD/1:xtdf"] = h5py.SoftLink(f"/INSTRUMENT/{CAMERA}")
    return path


@pytest.fixture
def opened(monkeypatch):
    """The paths of files that were opened."""
    paths = []
    original = library.open_file

    def counting(path):
        paths.append(path)
        return original(path)

    monkeypatch.setattr(library, "open_file", counting)
    return paths


def probe(*paths):
    """The facts of some files, of which only the trains are known."""
    stats = [path.stat() for path in paths]
    table = FileTable(
        [str(path) for path in paths],
        [stat.st_size for stat in stats],
        [stat.st_mtime_ns for stat in stats],
        train_lists=[0] * len(paths),
    )
    return scanned.Probe("", table, [TrainList.from_ids([1000, 1002, 1003])])


def test_each_fact_is_that_of_the_scan(path):
    record = scan_file(path)
    sources = record.layout.sources
    outline = scanned.read_outline(str(path))
    assert outline.layout.sources == sources
    assert outline.trains.token == record.trains.token
    assert outline.timestamps.tolist() == record.timestamps.tolist()
    assert outline.metadata == record.metadata
    assert scanned.read_run_values(str(path), XGM) == record.run_values[XGM]
    assert scanned.read_run_values(str(path), "no/such/source") == {}
    for source, schema in zip(sources, record.layout.schemas, strict=True):
        if schema is None:
            assert source.legacy_of == CAMERA
            continue
        found = scanned.read_schema(str(path), source.section, source.name)
        assert found.canonical == schema.canonical
        for group in source.groups:
            slot = record.layout.slots[source.section, source.name, group]
            pattern = scanned.read_pattern(
                str(path), source.section, source.name, group, record.trains
            )
            assert pattern.token == record.patterns[slot].token


@pytest.mark.parametrize("name", ["fxe_da-1.3", "reduced_spb_raw-1.2", "agipd_example-0.5"])
def test_schemas_of_mocks_are_those_of_the_scan(build_mock, name):
    path = build_mock(name)
    path = path if path.is_file() else sorted(path.glob("*.h5"))[0]
    record = scan_file(path)
    for source, schema in zip(record.layout.sources, record.layout.schemas, strict=True):
        found = scanned.read_schema(str(path), source.section, source.name)
        assert found.canonical == schema.canonical, source


def test_probe_reads_each_fact_once(path, opened):
    facts = probe(path)
    for _ in range(3):
        facts.layout(0)
        facts.timestamps(0)
        facts.metadata(0)
    assert len(opened) == 1
    for _ in range(3):
        facts.schema(0, "CONTROL", XGM)
        facts.pattern_numbers([0], "CONTROL", XGM, "")
        facts.run_values([0], XGM)
    assert len(opened) == 4


def test_equal_facts_of_two_files_are_one_object(path, tmp_path):
    other = tmp_path / "RAW-R0007-DA01-S00001.h5"
    other.write_bytes(path.read_bytes())
    facts = probe(path, other)
    assert facts.layout(0) is facts.layout(1)
    assert facts.schema(0, "CONTROL", XGM) is facts.schema(1, "CONTROL", XGM)
    one, two = facts.pattern_numbers([0, 1], "INSTRUMENT", CAMERA, "data")
    assert one == two
    one, two = facts.patterns([one, two])
    assert one is two


def test_pickled_facts_read_again(path, opened):
    facts = scanned_facts(str(path.parent), [scan_file(path, depth=Depth.OUTLINE)])
    opened.clear()
    facts.schema(0, "CONTROL", XGM)
    copy = pickle.loads(pickle.dumps(facts))
    assert copy.trains(0).ids.tolist() == [1000, 1002, 1003]
    assert copy.schema(0, "CONTROL", XGM).keys == facts.schema(0, "CONTROL", XGM).keys
    assert len(opened) == 2


def test_threads_share_a_probe(path, opened):
    facts = probe(path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: facts.schema(0, "CONTROL", XGM), range(40)))
    assert len({id(f) for f in found}) == 1
    assert len(opened) == 1


def test_changed_and_vanished_files(path):
    facts = probe(path)
    facts.layout(0)
    with open(path, "ab") as f:
        f.write(b"more")
    facts.layout(0)  # remembered
    with pytest.raises(ChangedFileError, match="DA01-S00000"):
        facts.run_values([0], XGM)
    path.unlink()
    with pytest.raises(FileStructureError, match="DA01-S00000"):
        facts.run_values([0], XGM)


def test_trains_need_not_know_their_gaps_but_must_be_those_of_the_file(path):
    known = TrainList.from_ids([1000, 1002, 1003])
    pattern = scanned.read_pattern(str(path), "INSTRUMENT", CAMERA, "data", known)
    assert pattern.first.tolist() == [0, 4, 6]
    other = TrainList.from_ids([1000, 1001, 1002])
    with pytest.raises(ChangedFileError, match=r"DA01-S00000.h5: its trains are not"):
        scanned.read_pattern(str(path), "INSTRUMENT", CAMERA, "data", other)


def test_errors_name_the_file(path):
    with h5py.File(path, "r+") as f:
        del f["INDEX/trainId"]
    with pytest.raises(FileStructureError, match=r"DA01-S00000.h5: INDEX/trainId is missing"):
        scanned.read_outline(str(path))
    path.write_text("text")
    with pytest.raises(FileStructureError, match=r"DA01-S00000.h5: not an HDF5 file"):
        scanned.read_schema(str(path), "CONTROL", XGM)
    path.unlink()
    with pytest.raises(FileStructureError) as caught:
        scanned.read_outline(str(path))
    assert caught.value.path == str(path)
