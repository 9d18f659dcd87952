"""Data maps that EXtra-data writes are read; what is wrong in one is said, and never raised."""

import json
import os
from dataclasses import dataclass

import pytest
from extra_data import RunDirectory
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import some
from support.tiny_file import write_tiny
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.scan.datamap import check_data_maps, map_places, read_data_maps
from xfelcat.catalog.scan.scan import scan_file

MAP = "karabo_data_map.json"


@dataclass
class Stat:
    size: int
    mtime_ns: int


def stats_of(directory):
    found = {p.name: p.stat() for p in directory.glob("*.h5")}
    return {name: Stat(s.st_size, s.st_mtime_ns) for name, s in found.items()}


@pytest.fixture
def run(tmp_path):
    for sequence in (0, 1):
        path = tmp_path / f"RAW-R0007-DA01-S0000{sequence}.h5"
        ids = [1000, 1001, 7, 1003] if sequence == 0 else [1004, 1005]
        flag = [1, 1, 0, 1] if sequence == 0 else [1, 1]
        write_tiny(path, train_ids=ids, flag=flag, sequence=sequence).close()
    RunDirectory(tmp_path)
    assert (tmp_path / MAP).exists()
    return tmp_path


@pytest.mark.parametrize(
    "name", some(["fxe_raw-1.3", "modern_spb_proc-1.3", "reduced_spb_raw-1.2"], 1)
)
def test_records_are_what_a_scan_finds(build_mock, tmp_path, name):
    # Links: the map is not to be written where other tests look.
    for path in build_mock(name).glob("*.h5"):
        os.link(path, tmp_path / path.name)
    RunDirectory(tmp_path)
    records, problems = read_data_maps(str(tmp_path), stats_of(tmp_path))
    assert problems == ()
    assert records.keys() == {p.name for p in tmp_path.glob("*.h5")}
    for file_name, record in records.items():
        scanned = scan_file(tmp_path / file_name, depth=Depth.OUTLINE)
        assert record.depth == Depth.NAMES
        assert (record.name, record.size, record.mtime_ns, record.aggregator, record.sequence) == (
            scanned.name, scanned.size, scanned.mtime_ns, scanned.aggregator, scanned.sequence,
        )  # fmt: skip
        assert record.trains.token == scanned.trains.token
        main = [s for s in scanned.layout.sources if s.section in ("CONTROL", "INSTRUMENT")]
        assert [(s.section, s.name, s.legacy_of, s.groups) for s in record.layout.sources] == [
            (s.section, s.name, s.legacy_of, ()) for s in main
        ]


def test_suspect_trains_and_shared_layouts(run):
    records, _ = read_data_maps(str(run), stats_of(run))
    first, second = (records[f"RAW-R0007-DA01-S0000{n}.h5"] for n in (0, 1))
    assert first.trains.suspect.tolist() == [2]
    assert first.layout is second.layout


def test_entries_of_changed_files_are_passed_over(run):
    os.utime(run / "RAW-R0007-DA01-S00000.h5", ns=(1, 10**18 + 12345))
    with open(run / "RAW-R0007-DA01-S00001.h5", "ab") as f:
        f.write(b"x")
    assert read_data_maps(str(run), stats_of(run)) == ({}, ())


def test_entries_of_early_versions_are_passed_over(run):
    entries = json.loads((run / MAP).read_text())
    for entry, field in zip(entries, ("legacy_sources", "suspect_train_indices"), strict=True):
        del entry[field]
    (run / MAP).write_text(json.dumps(entries))
    assert read_data_maps(str(run), stats_of(run)) == ({}, ())


def test_map_in_the_scratch_of_the_proposal(run, tmp_path_factory):
    proposal = tmp_path_factory.mktemp("facility") / "SPB" / "202401" / "p002012"
    directory = proposal / "raw" / "r0007"
    directory.parent.mkdir(parents=True)
    directory.symlink_to(run)
    scratch = proposal / "scratch" / ".karabo_data_maps"
    scratch.mkdir(parents=True)
    assert map_places(str(directory)) == [str(directory / MAP), str(scratch / "raw_r0007.json")]
    (run / MAP).rename(scratch / "raw_r0007.json")
    assert len(read_data_maps(str(directory), stats_of(run))[0]) == 2
    # One damaged map does not hide the other.
    (run / MAP).write_text("{")
    records, problems = read_data_maps(str(directory), stats_of(run))
    assert len(records) == 2
    assert [(p.check, p.severity, p.path) for p in problems] == [("C03", "W", str(directory / MAP))]


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "{}", "3", "[3]", '[{"filename": 3}]', '"text"', "[" * 100_000, "\udcff"],
    ids=repr,
)
def test_damaged_maps_are_problems(run, text):
    (run / MAP).write_bytes(text.encode("utf-8", "surrogateescape"))
    records, problems = read_data_maps(str(run), stats_of(run))
    assert records == {}
    assert [p.check for p in problems] == ["C03"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_ids", None),
        ("train_ids", [1.5]),
        ("train_ids", [-1]),
        ("train_ids", ["1"]),
        ("train_ids", [2**64]),
        ("train_ids", [[1]]),
        ("suspect_train_indices", [99]),
        ("suspect_train_indices", [2**70]),
        ("control_sources", "A"),
        ("control_sources", [1]),
        ("instrument_sources", None),
        ("legacy_sources", []),
        ("legacy_sources", {"a": 1}),
        ("size", "12"),
        ("mtime", None),
    ],
)
def test_a_damaged_entry_does_not_hide_the_others(run, field, value):
    entries = json.loads((run / MAP).read_text())
    entries[0][field] = value
    (run / MAP).write_text(json.dumps(entries))
    records, problems = read_data_maps(str(run), stats_of(run))
    assert records.keys() == {entries[1]["filename"]}
    assert [p.check for p in problems] == ["C03"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "filename", "mtime", "size", "train_ids", "control_sources", "instrument_sources",
    "legacy_sources", "suspect_train_indices",
)  # fmt: skip


@settings(max_examples=200)
@given(field=st.sampled_from(FIELDS), value=json_values)
def test_any_value_in_any_field(tmp_path, field, value):
    good = dict(zip(FIELDS, ("a.h5", 1.0, 5, [1, 2], ["C"], ["I:x"], {}, []), strict=True))
    (tmp_path / MAP).write_text(json.dumps([good | {field: value}]))
    records, problems = read_data_maps(str(tmp_path), {"a.h5": Stat(5, 10**9)})
    assert len(records) + len(problems) <= 1
    assert all(r.depth == Depth.NAMES for r in records.values())


def test_no_map(tmp_path):
    assert read_data_maps(str(tmp_path), {"a.h5": Stat(1, 1)}) == ({}, ())
    assert read_data_maps(str(tmp_path / "nowhere"), {}) == ({}, ())


def disagreements(run):
    files = [scan_file(p) for p in sorted(run.glob("*.h5"))]
    problems = check_data_maps(str(run), files)
    assert {(p.check, p.severity, p.path) for p in problems} <= {("C03", "W", str(run / MAP))}
    return [p.message for p in problems]


@pytest.mark.parametrize("name", ["modern_spb_proc-1.3", "fxe_raw-1.3"])
def test_maps_that_are_right_agree_with_the_files(build_mock, tmp_path, name):
    for path in build_mock(name).glob("*.h5"):
        os.link(path, tmp_path / path.name)
    RunDirectory(tmp_path)
    assert disagreements(tmp_path) == []


def change_trains(entry):
    entry["train_ids"][-1] += 1


def change_suspects(entry):
    entry["suspect_train_indices"] = [0]


def change_sources(entry):
    entry["control_sources"].append("A/NEW/1")


def change_size(entry):
    entry["size"] += 1


def change_time(entry):
    entry["mtime"] += 1.0


def change_name(entry):
    entry["filename"] = "RAW-R0007-DA09-S00000.h5"


@settings(max_examples=12)
@given(
    at=st.sampled_from([0, 1]),
    change=st.sampled_from(
        [change_trains, change_suspects, change_sources, change_size, change_time, change_name]
    ),
)
def test_maps_that_disagree_with_the_files(run, at, change):
    original = (run / MAP).read_text()
    entries = json.loads(original)
    change(entries[at])
    (run / MAP).write_text(json.dumps(entries))
    (message,) = disagreements(run)
    (run / MAP).write_text(original)
    expected = {
        change_trains: "have other trains than the file",
        change_suspects: "have other trains than the file",
        change_sources: "have other sources than the file",
        change_size: "have another size or time than the file",
        change_time: "have another size or time than the file",
        change_name: "are of files that are not there",
    }[change]
    assert message == f"1 of 2 entries {expected}, such as {entries[at]['filename']}"


def test_what_early_maps_lack_is_no_disagreement(run):
    entries = json.loads((run / MAP).read_text())
    del entries[0]["legacy_sources"]
    (run / MAP).write_text(json.dumps(entries))
    assert disagreements(run) == []
