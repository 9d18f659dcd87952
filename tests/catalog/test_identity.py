"""Paths and names tell who a run is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xfelcat.catalog.model.identity import (
    RunIdentity,
    identify_run,
    is_data_file,
    parse_file_name,
    parse_proposal,
    parse_run,
    proposal_directory,
)

pytestmark = pytest.mark.fast

EXP = "/gpfs/exfel/exp/SPB/202201/p002012"
PNFS = "/pnfs/xfel.eu/exfel/archive/XFEL/raw/SPB/202201/p002012"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("RAW-R0001-DA01-S00002.h5", ("RAW", 1, "DA01", 2)),
        ("CORR-R0450-AGIPD07-S00000.h5", ("CORR", 450, "AGIPD07", 0)),
        ("OVERVIEW-R0001-OVERVIEW.h5", ("OVERVIEW", 1, "OVERVIEW", -1)),
        ("RAW-R12345-JNGFR01-S123456.h5", ("RAW", 12345, "JNGFR01", 123456)),
    ],
)
def test_file_names(name, parts):
    parsed = parse_file_name(name)
    assert (parsed.prefix, parsed.run, parsed.aggregator, parsed.sequence) == parts


@pytest.mark.parametrize("name", ["x.h5", "RAW-R0001-DA01-S00002.h5.tmp", "raw-R0001-DA01-S0.h5"])
def test_other_names(name):
    assert parse_file_name(name) is None


def test_overviews_and_hidden_files_are_no_data():
    assert is_data_file("anything.h5")
    assert not is_data_file("OVERVIEW-R0034-OVERVIEW.h5")
    assert not is_data_file(".RAW-R0001-DA01-S00002.h5")
    assert not is_data_file("notes.txt")


def test_tree_and_storage_paths_are_the_same_run():
    by_tree = identify_run(f"{EXP}/raw/r0034", "/x")
    by_storage = identify_run("/home/me/link", f"{PNFS}/r0034")
    assert by_tree == by_storage == RunIdentity(2012, 34, "raw", "SPB", "202201")
    assert str(by_tree) == "p002012/raw/r0034"
    assert by_tree.shard == "p002012"


def test_deeper_folders_are_the_data_class():
    assert identify_run(f"{EXP}/usr/Software/r0034", "/x").data_class == "usr/Software"


@pytest.mark.parametrize(
    "path", ["/data/r0034", "/a/SPB/2022/p002012/raw/r0034", f"{EXP}/raw", "/"]
)
def test_anything_else_is_loose(path):
    identity = identify_run(path, "/real/path")
    assert identity.is_loose
    assert identity.loose_path == str(identity) == "/real/path"
    assert identity.run_id >> 63 == 1


@given(
    a=st.tuples(
        st.integers(0, 999999), st.sampled_from(["raw", "proc", "red"]), st.integers(0, 99999)
    ),
    b=st.tuples(
        st.integers(0, 999999), st.sampled_from(["raw", "proc", "red"]), st.integers(0, 99999)
    ),
)
def test_run_ids_are_distinct_and_ordered_by_proposal_class_run(a, b):
    order = {"raw": 0, "proc": 1, "red": 2}
    ids = [RunIdentity(p, r, c).run_id for p, c, r in (a, b)]
    keys = [(p, order[c], r) for p, c, r in (a, b)]
    assert (ids[0] < ids[1]) == (keys[0] < keys[1])
    assert (ids[0] == ids[1]) == (a == b)
    assert max(ids) < 1 << 63


def test_run_ids_of_other_classes():
    ids = {RunIdentity(1, 1, c).run_id for c in ("raw", "usr/a", "usr/b", "scratch", "scratch/x")}
    assert len(ids) == 5


@pytest.mark.parametrize("text", [2012, "2012", "p002012"])
def test_proposal_numbers(text):
    assert parse_proposal(text) == 2012


@pytest.mark.parametrize("text", ["p12x", "", "/a/b", "1234567", "-1"])
def test_no_proposal_numbers(text):
    assert parse_proposal(text) is None


@pytest.mark.parametrize("text", [243, "243", "r0243"])
def test_run_numbers(text):
    assert parse_run(text) == 243


def test_the_proposal_of_a_run_directory():
    assert proposal_directory(f"{EXP}/raw/r0034") == EXP
    assert proposal_directory(f"{EXP}/usr/x/r0034") == EXP
    assert proposal_directory(f"{PNFS}/r0034") is None
    assert proposal_directory("/data/r0034") is None
