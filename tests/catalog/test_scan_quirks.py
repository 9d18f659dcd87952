"""What format versions and faulty files do differently, each in a file made by hand."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from extra_data import H5File
from support.tiny_file import CAMERA, SOURCES, XGM, write_sources, write_tiny
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.scan.outline import guess_suspects, split_source
from xfelcat.catalog.scan.scan import scan_file

pytestmark = pytest.mark.fast

NAME = "RAW-R0007-DA01-S00000.h5"


@pytest.fixture
def path(tmp_path):
    return tmp_path / NAME


def checks(record, but=("F04",)):
    return [p.check for p in record.problems if p.check not in but]


def pattern(record, source, group="", section="INSTRUMENT"):
    return record.patterns[record.layout.slots[section, source, group]]


@pytest.mark.parametrize("version", ["0.1", "0.5", "1.0", "1.1", "1.2", "1.3"])
@pytest.mark.parametrize("padding", [0, 3])
def test_every_version(path, version, padding):
    flag = [0] * 10 if version == "1.1" else None
    write_tiny(path, version=version, padding=padding, flag=flag).close()
    record = scan_file(path)
    assert record.depth == Depth.FULL
    assert checks(record) == []
    assert record.format_version == ("0.5" if version == "0.1" else version)
    assert (record.aggregator, record.sequence) == ("DA01", 0)
    assert record.trains.ids.tolist() == list(range(1000, 1010))
    assert record.trains.good.all()
    if version > "0.5":
        assert record.timestamps.tolist() == [10**18 + i * 10**8 for i in range(10)]
        assert record.metadata["proposalNumber"] == 2012
    else:
        assert record.timestamps is None
        assert record.metadata == {"dataFormatVersion": "0.5"}
    assert [(s.section, s.name, s.groups) for s in record.layout.sources] == [
        ("CONTROL", XGM, ("",)),
        ("INSTRUMENT", CAMERA, ("data",)),
    ]
    control, camera = pattern(record, XGM, section="CONTROL"), pattern(record, CAMERA, "data")
    assert control.count.tolist() == [1] * 10
    assert camera.count.tolist() == [2] * 10
    assert camera.first.tolist() == list(range(0, 20, 2))
    keys = record.layout.schemas[1].by_name
    assert (keys["data.img"].dtype, keys["data.img"].entry_shape) == ("<u2", (3, 4))
    assert keys["data.sum.x"].group == "data"
    assert record.run_values[XGM]["classId.value"] == "XGM"
    assert record.run_values[XGM]["beam.x.value"] == np.float64(1)


def test_first_last_status_counts_rows(path):
    with write_tiny(path, version="0.1") as f:
        index = f[f"INDEX/{CAMERA}/data"]
        index["first"][:4] = [0, 5, 5, 6]
        index["last"][:4] = [4, 5, 5, 9]
        index["status"][:] = [1, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    record = scan_file(path)
    assert pattern(record, CAMERA, "data").count.tolist() == [5, 0, 1, 4, 0, 0, 0, 0, 0, 0]
    assert pattern(record, CAMERA, "data").first[[0, 2, 3]].tolist() == [0, 5, 6]
    counts = H5File(path)[CAMERA, "data.img"].data_counts(labelled=False)
    assert counts.tolist() == pattern(record, CAMERA, "data").count.tolist()


def test_index_style_is_looked_up_per_group(path):
    with write_tiny(path, version="1.2") as f:
        index = f[f"INDEX/{CAMERA}/data"]
        index["last"] = index["first"][()] + 1
        index["status"] = np.ones(10, "u4")
        del index["count"]
    record = scan_file(path)
    assert pattern(record, CAMERA, "data").count.tolist() == [2] * 10
    assert pattern(record, XGM, section="CONTROL").count.tolist() == [1] * 10


@pytest.mark.filterwarnings("ignore:Train validation:UserWarning")
@pytest.mark.parametrize("server", ["Karabo_TimeServer", "Karabo_TimerServer"])
def test_inverted_flag_and_time_server_row(path, server):
    flag = [0, 0, 1, 0, 2, 0, 0, 0, 0, 0]
    write_tiny(path, version="1.1", flag=flag, rows=(server, *SOURCES)).close()
    record = scan_file(path)
    assert record.trains.suspect.tolist() == [2, 4]
    assert len(record.layout.sources) == 2
    assert checks(record) == []
    if server == "Karabo_TimerServer":  # the only spelling that the oracle knows
        assert (
            record.trains.ids[record.trains.good].tolist()
            == H5File(path, inc_suspect_trains=False).train_ids
        )


def test_flag_zero_is_suspect(path):
    ids = [1000, 1001, 5, 1003, 1004]
    write_tiny(path, train_ids=ids, flag=[1, 1, 0, 1, 1]).close()
    record = scan_file(path)
    assert record.trains.suspect.tolist() == [2]
    assert checks(record) == []
    assert H5File(path, inc_suspect_trains=False).train_ids == [1000, 1001, 1003, 1004]


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 3],
        [100, 101, 7, 103, 104],
        [100, 101, 999999, 103, 104],
        [9, 1, 2, 3, 4],
        [1, 2, 3, 4, 0xFFFF],
        [100, 101, 50, 51, 104, 105, 106],
        [100, 101, 102, 90, 91, 105, 3, 106, 10**9, 107],
    ],
)
def test_guessed_suspects_are_the_oracles(path, ids):
    write_tiny(path, version="0.5", train_ids=ids).close()
    record = scan_file(path)
    expected = H5File(path, inc_suspect_trains=False).train_ids
    assert record.trains.ids[record.trains.good].tolist() == expected
    assert "T02" not in checks(record)


def test_guess_leaves_out_as_few_as_possible():
    rng = np.random.default_rng(1)
    for _ in range(200):
        ids = rng.integers(1, 30, rng.integers(0, 9)).astype(np.uint64)
        suspect = guess_suspects(ids)
        kept = np.delete(ids, suspect)
        assert (np.diff(kept.astype(int)) > 0).all()
        assert len(kept) == longest_increasing(ids.tolist())


def longest_increasing(ids):
    best = 0
    for chosen in range(1 << len(ids)):
        some = [v for i, v in enumerate(ids) if chosen >> i & 1]
        if all(a < b for a, b in pairwise(some)):
            best = max(best, len(some))
    return best


def test_zeros_inside_train_ids_are_masked_everywhere(path):
    ids = [1000, 1001, 0, 1003, 0, 1005]
    with write_tiny(path, train_ids=ids, padding=2, flag=[1, 0, 1, 1, 1, 1]) as f:
        f[f"INDEX/{CAMERA}/data/count"][:6] = [1, 2, 3, 1, 2, 1]
        f[f"INDEX/{CAMERA}/data/first"][:6] = [0, 1, 3, 6, 7, 9]
    record = scan_file(path)
    assert record.trains.ids.tolist() == [1000, 1001, 1003, 1005]
    assert record.trains.dropped.tolist() == [2, 4]
    assert record.trains.suspect.tolist() == [1]
    assert record.timestamps.tolist() == [10**18 + i * 10**8 for i in (0, 1, 3, 5)]
    assert pattern(record, CAMERA, "data").count.tolist() == [1, 2, 1, 1]
    assert pattern(record, CAMERA, "data").first.tolist() == [0, 1, 6, 9]
    assert checks(record, but=("F04", "I03")) == ["T01"]


@pytest.mark.parametrize(
    ("ids", "check"),
    [
        ([1000, 1001, 1001, 1002], "T02"),
        ([1000, 1001, 999, 1002], "T02"),
        ([1000, 1001, 2**64 - 1], "T03"),
        ([1000, 1001, 2**63], "T03"),
        ([1000, 1001, 10**12], "T03"),
    ],
)
def test_implausible_trains(path, ids, check):
    write_tiny(path, train_ids=ids).close()
    record = scan_file(path)
    assert checks(record) == [check]
    assert record.depth == Depth.FULL
    assert record.trains.ids.tolist() == ids


def test_who_sent_a_train_that_goes_back(path):
    write_tiny(path, train_ids=[1000, 1001, 999], origin=[-1, -1, 1]).close()
    (problem,) = scan_file(path).problems
    assert problem.check == "T02"
    assert problem.message.endswith("(sent by INSTRUMENT/A/CAM/1:out/data)")


def test_run_only_source(path):
    with write_tiny(path, rows=(*SOURCES, "CONTROL/A/VIRTUAL/1")) as f:
        f["RUN/A/VIRTUAL/1/region/value"] = [b":1000"]
    record = scan_file(path)
    at = record.layout.position["CONTROL", "A/VIRTUAL/1"]
    assert record.layout.sources[at].run_only
    assert record.layout.schemas[at].keys == ()
    assert record.run_values["A/VIRTUAL/1"] == {"region.value": ":1000"}
    assert pattern(record, "A/VIRTUAL/1", section="CONTROL").n_rows == 0
    assert checks(record) == []
    assert scan_file(path, depth=Depth.OUTLINE).layout.sources == record.layout.sources


def test_legacy_names(path):
    rows = (*SOURCES, "INSTRUMENT/A/OLD/1:xtdf/data", "INSTRUMENT/A/LOST/1:xtdf/data")
    with write_tiny(path, rows=rows) as f:
        f["INSTRUMENT/A/OLD/1:xtdf"] = h5py.SoftLink(f"/INSTRUMENT/{CAMERA}")
        f["INDEX/A/OLD/1:xtdf"] = h5py.SoftLink(f"/INDEX/{CAMERA}")
        f["INSTRUMENT/A/LOST/1:xtdf"] = h5py.SoftLink("/INSTRUMENT/A/NOTHING:out")
    record = scan_file(path)
    old = record.layout.sources[record.layout.position["INSTRUMENT", "A/OLD/1:xtdf"]]
    assert (old.legacy_of, old.groups) == (CAMERA, ())
    assert ("INSTRUMENT", "A/LOST/1:xtdf") not in record.layout.position
    assert checks(record) == ["P03"]


def test_relative_legacy_link(path):
    with write_tiny(path, rows=(*SOURCES, "INSTRUMENT/A/CAM/OLD:xtdf/data")) as f:
        f["INSTRUMENT/A/CAM/OLD:xtdf"] = h5py.SoftLink("1:out")
    record = scan_file(path)
    at = record.layout.position["INSTRUMENT", "A/CAM/OLD:xtdf"]
    assert record.layout.sources[at].legacy_of == CAMERA


def test_auxiliary_sections(path):
    with write_tiny(path) as f:
        rows = [b"REDUCTION/A/RED/1:xtdf/image", b"REDUCTION/A/RED/1:xtdf/other"]
        f["METADATA/auxiliarySources/REDUCTION"] = rows
        f["METADATA/auxiliarySources/ERRATA"] = [b"ERRATA/TOO_LATE/event", b"REDUCTION/X/y", b""]
        for group, n in (("image", 10), ("other", 5)):
            f[f"INDEX/A/RED/1:xtdf/{group}/first"] = np.minimum(np.arange(10), n)
            f[f"INDEX/A/RED/1:xtdf/{group}/count"] = (np.arange(10) < n).astype("u8")
            f[f"REDUCTION/A/RED/1:xtdf/{group}/ratio"] = np.arange(n) + 1.0
        f["INDEX/TOO_LATE/event/first"] = np.zeros(10, "u8")
        f["INDEX/TOO_LATE/event/count"] = np.eye(1, 10, 0, "u8")[0]
        f["ERRATA/TOO_LATE/event/trainId"] = np.array([7], "u8")
    record = scan_file(path)
    errata = record.layout.sources[record.layout.position["ERRATA", "TOO_LATE"]]
    assert errata.groups == ("event",)
    reduction = record.layout.sources[record.layout.position["REDUCTION", "A/RED/1:xtdf"]]
    assert reduction.groups == ("image", "other")
    other = pattern(record, "A/RED/1:xtdf", "other", "REDUCTION")
    assert other.count.tolist() == [1] * 5 + [0] * 5
    assert pattern(record, "TOO_LATE", "event", "ERRATA").n_rows == 1
    assert checks(record) == ["F07"]


def test_values_of_run_in_every_shape(path):
    values = {
        "scalar": np.float32(3),
        "truth": np.bool_(True),
        "text": "scalar text",
        "fixed": np.array([b"abc"], "S5"),
        "array": np.arange(3.0)[None],
        "pair": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        "two": np.array([4, 5], "i2"),
    }
    with write_tiny(path) as f:
        run = f[f"RUN/{XGM}"]
        for key, value in values.items():
            run[f"{key}/value"] = value
        run.create_dataset("object/value", (1,), h5py.string_dtype("ascii"))[0] = b"x"
        run.create_dataset("texts/value", (1, 2), h5py.string_dtype())[0] = ["a", "µ"]
        run.create_dataset("ragged/value", (1,), h5py.vlen_dtype("i4"))[0] = [1, 2, 3]
        run.create_dataset("none/value", (0,), "f4")
        run.create_dataset("null/value", data=h5py.Empty("f4"))
        run["bare"] = 7
    record = scan_file(path)
    found = {k.removesuffix(".value"): v for k, v in record.run_values[XGM].items()}
    assert found["scalar"] == np.float32(3)
    assert found["scalar"].dtype == np.float32
    assert found["truth"].dtype == bool
    assert (found["text"], found["fixed"], found["object"]) == ("scalar text", "abc", "x")
    assert found["array"].tolist() == [0, 1, 2]
    assert found["pair"].tolist() == (1, 2.0)
    assert found["two"] == np.int16(4)
    assert found["texts"].tolist() == ["a", "µ"]
    assert found["ragged"].tolist() == [1, 2, 3]
    assert found["bare"] == 7
    assert "none" not in found
    assert "null" not in found
    assert [(p.check, p.where) for p in record.problems] == [("F02", f"RUN/{XGM}/null/value")]


def test_units(path):
    with write_tiny(path, version="1.3") as f:
        names = ("unitSymbol", "unitName", "metricPrefixSymbol", "metricPrefixName")
        f[f"CONTROL/{XGM}/beam/x"].attrs.update(
            zip(names, ("m", "meter", "u", "micro"), strict=True)
        )
        f[f"INSTRUMENT/{CAMERA}/data/img"].attrs["unitSymbol"] = np.bytes_("V")
        f[f"INSTRUMENT/{CAMERA}/data/img"].attrs["unitName"] = np.array(["volt"], object)
        f[f"INSTRUMENT/{CAMERA}/data/sum/x"].attrs["unitSymbol"] = 5
    control, camera = scan_file(path).layout.schemas
    x = control.by_name["beam.x.value"]
    assert (x.unit_symbol, x.unit_name, x.prefix_symbol, x.prefix_name) == (
        "m", "meter", "u", "micro",
    )  # fmt: skip
    assert control.by_name["beam.x.timestamp"].unit_symbol == ""
    assert control.by_name["power.value"].unit_symbol == ""
    img = camera.by_name["data.img"]
    assert (img.unit_symbol, img.unit_name, img.prefix_name) == ("V", "volt", "")
    assert camera.by_name["data.sum.x"].unit_symbol == ""


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("CONTROL/A/B/C", ("CONTROL", "A/B/C", "")),
        ("CONTROL/PLAIN", ("CONTROL", "PLAIN", "")),
        ("INSTRUMENT/A/B/C:out/data", ("INSTRUMENT", "A/B/C:out", "data")),
        ("INSTRUMENT/A/B/C:out.put/x/y", ("INSTRUMENT", "A/B/C:out.put", "x/y")),
        ("INSTRUMENT/A/B/C:out", ("INSTRUMENT", "A/B/C:out", "")),
        ("INSTRUMENT/PLAIN/data", ("INSTRUMENT", "PLAIN", "data")),
        ("ERRATA/TOO_LATE/event", ("ERRATA", "TOO_LATE", "event")),
    ],
)
def test_split_source(row, parts):
    assert split_source(row) == parts


def test_names_without_shape(path):
    rows = ("CONTROL/PLAIN", "INSTRUMENT/CAM/data", "INSTRUMENT/B:out/deep/er", "INSTRUMENT/C:out")
    with write_tiny(path, rows=rows) as f:
        for place, key in (
            ("PLAIN", "k/value"),
            ("CAM", "data/k"),
            ("B:out", "deep/er/k"),
            ("C:out", "k"),
        ):
            section = "CONTROL" if place == "PLAIN" else "INSTRUMENT"
            f[f"{section}/{place}/{key}"] = np.arange(10)
        for place in ("PLAIN", "CAM/data", "B:out/deep/er", "C:out"):
            f[f"INDEX/{place}/first"] = np.arange(10)
            f[f"INDEX/{place}/count"] = np.ones(10, int)
    record = scan_file(path)
    found = {
        s.name: (s.groups, [(k.name, k.group) for k in schema.keys])
        for s, schema in zip(record.layout.sources, record.layout.schemas, strict=True)
    }
    assert found == {
        "PLAIN": (("",), [("k.value", "")]),
        "CAM": (("data",), [("data.k", "data")]),
        "B:out": (("deep/er",), [("deep.er.k", "deep/er")]),
        "C:out": (("",), [("k", "")]),
    }
    assert {p.where for p in record.problems if p.check == "I07"} == {
        "CONTROL/A", "INSTRUMENT/A",
    }  # fmt: skip


def test_source_list_without_data_source_id(path):
    with write_tiny(path) as f:
        del f["METADATA/dataSources/dataSourceId"]
    assert len(scan_file(path).layout.sources) == 2


def test_faults_of_the_index(path):
    with write_tiny(path) as f:
        index = f[f"INDEX/{XGM}"]
        index["count"][:3] = [2, 0, 1]
        del f[f"INDEX/{CAMERA}/data/count"]
        f[f"INDEX/{CAMERA}/data/count"] = np.full(7, 2)
    record = scan_file(path)
    assert sorted(set(checks(record))) == ["I02", "I04"]
    assert pattern(record, CAMERA, "data").count.tolist() == [2] * 7 + [0] * 3


@pytest.mark.parametrize(
    ("count", "check"),
    [([3] * 10, "I01"), ([2**60] + [2] * 9, "I01"), ([0] * 10, "I05")],
)
def test_index_against_rows(path, count, check):
    with write_tiny(path) as f:
        f[f"INDEX/{CAMERA}/data/count"][:] = count
    record = scan_file(path)
    assert check in checks(record)
    assert record.depth == Depth.FULL


def test_other_faults_of_structure(path):
    with write_tiny(
        path, rows=(*SOURCES, "CONTROL/A/GHOST/1", "FOO/A/B", "CONTROL/A/EMPTY/1")
    ) as f:
        f["EXTRA/x"] = 1
        f.create_group("CONTROL/A/EMPTY/1")
        f.create_dataset("RUN/A/EMPTY/1/x/value", data=[1])
        f.create_group("CONTROL/A/UNLISTED/EMPTY")
        del f[f"CONTROL/{XGM}/power/timestamp"]
        f[f"CONTROL/{XGM}/power/timestamp"] = np.arange(4)
        for source in ("A/GHOST/1", "A/EMPTY/1"):
            f[f"INDEX/{source}/first"] = np.arange(10)
            f[f"INDEX/{source}/count"] = np.ones(10, int)
    record = scan_file(path)
    assert {(p.check, p.where) for p in record.problems} == {
        ("F07", "FOO/A/B"),
        ("F08", "EXTRA"),
        ("I06", f"INDEX/{XGM}"),
        ("I01", f"INDEX/{XGM}"),
        ("I07", "CONTROL/A/GHOST/1"),
    }


def test_unknown_version_short_timestamps_gaps_and_a_source_without_keys(path):
    with write_tiny(path, version="9.9", rows=(*SOURCES, "CONTROL/A/EMPTY/1")) as f:
        del f["INDEX/timestamp"]
        f["INDEX/timestamp"] = np.arange(4, dtype="u8")
        f[f"INDEX/{CAMERA}/data/first"][5:] -= 1
        f.create_group("CONTROL/A/EMPTY/1")
        f["INDEX/A/EMPTY/1/first"] = np.zeros(10, "u8")
        f["INDEX/A/EMPTY/1/count"] = np.zeros(10, "u8")
    record = scan_file(path)
    assert [(p.check, p.severity, p.where) for p in record.problems] == [
        ("F04", "I", "METADATA/dataFormatVersion"),
        ("T05", "W", "INDEX/timestamp"),
        ("I08", "W", "CONTROL/A/EMPTY/1"),
        ("I04", "W", "INDEX/A/EMPTY/1"),
        ("I03", "W", f"INDEX/{CAMERA}/data"),
    ]
    assert record.timestamps is None
    assert pattern(record, CAMERA, "data").first.tolist() == [0, 2, 4, 6, 8, 9, 11, 13, 15, 17]


def test_identity(tmp_path):
    directory = tmp_path / "SPB/202401/p002013/raw/r0008"
    directory.mkdir(parents=True)
    path = directory / "RAW-R0009-DA01-S00003.h5"
    write_tiny(path, run=7, sequence=2).close()
    said = [p.message for p in scan_file(path).problems if p.check == "F05"]
    assert said == [
        "proposalNumber is 2012, but 2013 by the path",
        "runNumber is 7, but 8 by the path",
        "runNumber is 7, but 9 by the file name",
        "sequenceNumber is 2, but 3 by the file name",
        "run 9 by the file name, but 8 by the path",
    ]


def test_keys_with_dots_in_their_names(path):
    with write_tiny(path) as f:
        f[f"CONTROL/{XGM}/storage.enable/value"] = np.arange(10)
    schema = scan_file(path).layout.schemas[0]
    assert "storage.enable.value" in schema.by_name


def test_source_list_replaced(path):
    with write_tiny(path, version="0.5") as f:
        write_sources(f, SOURCES[:1], padding=4)
    assert [s.name for s in scan_file(path).layout.sources] == [XGM]
