"""Each fault of a file, put into a real one, is found where it is, and with it only what follows.

Each function of ``FAULTS`` breaks a file of a run at a place that Hypothesis picks, and says what
is to be found: (check, severity, place). Every test ends with the run as it was.
"""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.faultless_run import (
    AGIPD0,
    AGIPD1,
    DA0,
    DA1,
    INDEX_GROUPS,
    MODULE,
    MOTOR,
    N_TRAINS,
    XGM,
    index_of,
    keys_of,
    replace,
    write_checked_run,
)
from xfelcat.catalog.ingest.ingest import ScanOptions, scan_batch
from xfelcat.catalog.model.checks import CHECKS
from xfelcat.catalog.scan.keys import index_place

POSITIONS = st.integers(0, N_TRAINS - 1)
TRAINS = "INDEX/trainId"


def scan_run(directory, verify=True):
    """(check, severity, place) of what a scan finds, which opens everything or not, by file."""
    found = {}
    paths = sorted(str(p) for p in directory.glob("*.h5"))
    for aggregator in ("AGIPD00", "DA01"):
        of_it = [p for p in paths if aggregator in p]
        for path, record in scan_batch(of_it, ScanOptions(verify=verify), lambda _: None).items():
            problems = {(p.check, p.severity, p.where) for p in record.problems}
            if problems:
                found[os.path.basename(path)] = problems
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_checked_run(tmp_path_factory.mktemp("run"), padding=2)


def cut_off(path, draw):
    os.truncate(path, draw(st.integers(0, path.stat().st_size - 1)))
    return {("F01", "E", "")}


def overwrite_signature(path, draw):
    with open(path, "r+b") as f:
        f.seek(draw(st.integers(0, 7)))
        f.write(b"?")
    return {("F02", "E", "")}


def lose_essentials(path, draw):
    lost = draw(st.sampled_from(["METADATA", "INDEX", TRAINS]))
    with h5py.File(path, "r+") as f:
        del f[lost]
    if lost == "METADATA":
        return {("F03", "E", "METADATA"), ("F04", "I", "METADATA/dataFormatVersion")}
    return {("F03", "E", TRAINS)}


def invent_version(path, draw):
    place = "METADATA/dataFormatVersion"
    version = draw(st.from_regex(r"\A[0-9]\.[4-9]\Z").filter(lambda v: v != "0.5"))
    with h5py.File(path, "r+") as f:
        f[place][0] = version.encode()
    return {("F04", "I", place)}


def contradict_metadata(path, draw):
    name = draw(st.sampled_from(["proposalNumber", "runNumber", "sequenceNumber"]))
    with h5py.File(path, "r+") as f:
        f[f"METADATA/{name}"][0] += draw(st.integers(1, 1000))
    return {("F05", "E", f"METADATA/{name}")}


def list_in_unknown_section(path, draw):
    row = draw(st.from_regex(r"\A[A-Z]{3}/DEV/[A-Z]{2,9}\Z"))
    with h5py.File(path, "r+") as f:
        f["METADATA/dataSources/dataSourceId"][-1] = row.encode()
    return {("F07", "W", row)}


def add_unknown_group(path, draw):
    name = draw(st.from_regex(r"\AX[A-Za-z0-9_]{0,9}\Z"))
    with h5py.File(path, "r+") as f:
        f[f"{name}/x"] = 1
    return {("F08", "I", name)}


def zero_inside_trains(path, draw):
    at = draw(st.integers(0, N_TRAINS - 2))
    with h5py.File(path, "r+") as f:
        f[TRAINS][at] = 0
    # The rows of the lost train now belong to none.
    lost = {("I03", "W", index_place(s, g)) for _, s, g in INDEX_GROUPS[path.name]}
    return {("T01", "E", TRAINS)} | lost


def lose_last_trains(path, draw):
    n = draw(st.integers(1, N_TRAINS - 1))
    with h5py.File(path, "r+") as f:
        f[TRAINS][N_TRAINS - n : N_TRAINS] = 0
    return {("I02", "E", index_place(s, g)) for _, s, g in INDEX_GROUPS[path.name]}


def step_back_in_trains(path, draw):
    at = draw(st.integers(1, N_TRAINS - 1))
    with h5py.File(path, "r+") as f:
        f[TRAINS][at] = f[TRAINS][at - 1] - np.uint64(draw(st.integers(0, 1000)))
    return {("T02", "E", TRAINS)}


def send_absurd_train(path, draw):
    at = draw(POSITIONS)
    with h5py.File(path, "r+") as f:
        f[TRAINS][at] = draw(st.integers(2**63, 2**64 - 1))
    return {("T03", "E", TRAINS)}


def jump_in_trains(path, draw):
    at = draw(st.integers(1, N_TRAINS - 1))
    with h5py.File(path, "r+") as f:
        f[TRAINS][at:N_TRAINS] += np.uint64(draw(st.integers(10**8 + 1, 10**12)))
    return {("T03", "E", TRAINS)}


def set_clock(path, draw):
    at = draw(POSITIONS)
    with h5py.File(path, "r+") as f:
        times = f["INDEX/timestamp"]
        times[at] = draw(
            st.sampled_from([0, int(times[at]) - 10**8, int(times[at]) + 10**8, 2**64 - 1])
        )
    return {("T05", "W", "INDEX/timestamp")}


def run_clock_too_fast(path, draw):
    factor = draw(st.sampled_from([0.5, 0.9, 1.1, 3.0]))
    with h5py.File(path, "r+") as f:
        times = f["INDEX/timestamp"]
        elapsed = (times[:N_TRAINS] - times[0]) * factor
        times[:N_TRAINS] = times[0] + elapsed.astype(np.uint64)
    return {("T05", "W", "INDEX/timestamp")}


def lose_times(path, draw):
    with h5py.File(path, "r+") as f:
        kept = f["INDEX/timestamp"][: draw(POSITIONS)]
        replace(f, "INDEX/timestamp", kept)
    return {("T05", "W", "INDEX/timestamp")}


def draw_group(path, draw, section=None):
    groups = [g for g in INDEX_GROUPS[path.name] if section in (None, g[0])]
    return draw(st.sampled_from(groups))


def index_beyond_the_end(path, draw):
    _, source, group = draw_group(path, draw)
    with h5py.File(path, "r+") as f:
        index_of(f, source, group, "first")[draw(POSITIONS)] += np.uint64(
            draw(st.integers(100, 2**40))
        )
    where = index_place(source, group)
    return {("I01", "E", where), ("I03", "W", where)}


def index_impossible_rows(path, draw):
    _, source, group = draw_group(path, draw)
    with h5py.File(path, "r+") as f:
        name = draw(st.sampled_from(["first", "count"]))
        index_of(f, source, group, name)[draw(POSITIONS)] = draw(st.integers(2**49, 2**64 - 1))
    return {("I01", "E", index_place(source, group))}


def misshape_index(path, draw):
    _, source, group = draw_group(path, draw)
    where, name = index_place(source, group), draw(st.sampled_from(["first", "count"]))
    how = draw(st.sampled_from(["short", "two-dimensional", "absent"]))
    with h5py.File(path, "r+") as f:
        values = f[f"{where}/{name}"][()]
        if how == "absent":
            del f[f"{where}/{name}"]
        else:
            changed = values[: draw(POSITIONS)] if how == "short" else values[:, None]
            replace(f, f"{where}/{name}", changed)
    return {("I02", "E", where)}


def lose_index(path, draw):
    _, source, group = draw_group(path, draw)
    with h5py.File(path, "r+") as f:
        del f[index_place(source, group)]
    return {("I02", "E", index_place(source, group))}


def overlap_rows(path, draw):
    _, source, group = draw_group(path, draw)
    with h5py.File(path, "r+") as f:
        index_of(f, source, group, "first")[draw(st.integers(1, N_TRAINS - 1))] -= np.uint64(1)
    return {("I03", "W", index_place(source, group))}


def start_late(path, draw):
    """The first rows belong to no train: the datasets have some more."""
    section, source, group = draw_group(path, draw, "INSTRUMENT")
    more = draw(st.integers(1, 3))
    with h5py.File(path, "r+") as f:
        index_of(f, source, group, "first")[:N_TRAINS] += np.uint64(more)
        for key in keys_of(f, section, source, group):
            values = f[key][()]
            replace(f, key, np.concatenate([values[:more], values]))
    return {("I03", "W", index_place(source, group))}


def record_control_twice(path, draw):
    _, source, group = draw_group(path, draw, "CONTROL")
    where, at = index_place(source, group), draw(POSITIONS)
    with h5py.File(path, "r+") as f:
        index_of(f, source, group, "count")[at] = 2
    # The second row is that of the next train, or of none.
    follows = ("I01", "E", where) if at == N_TRAINS - 1 else ("I03", "W", where)
    return {("I04", "E", where), follows}


def silence_control(path, draw):
    _, source, group = draw_group(path, draw, "CONTROL")
    where, n = index_place(source, group), draw(st.integers(1, N_TRAINS))
    with h5py.File(path, "r+") as f:
        index_of(f, source, group, "count")[N_TRAINS - n : N_TRAINS] = 0
    follows = {("I05", "E", where)} if n == N_TRAINS else set()
    return {("I04", "W", where)} | follows


def empty_datasets(path, draw):
    section, source, group = draw_group(path, draw)
    with h5py.File(path, "r+") as f:
        for key in keys_of(f, section, source, group):
            values = f[key][()]
            replace(f, key, values[:0], dtype=f[key].dtype)
    return {("I05", "E", index_place(source, group))}


def forget_rows(path, draw):
    section, source, group = draw_group(path, draw)
    where = index_place(source, group)
    with h5py.File(path, "r+") as f:
        index_of(f, source, group, "count")[:] = 0
    follows = {("I04", "W", where)} if section == "CONTROL" else set()
    return {("I05", "E", where)} | follows


def lengthen_one_key(path, draw):
    section, source, group = draw_group(path, draw)
    with h5py.File(path, "r+") as f:
        keys = keys_of(f, section, source, group)
        key = draw(st.sampled_from(keys))
        values, dtype = f[key][()], f[key].dtype
        replace(f, key, np.concatenate([values, values[:1]]), dtype=dtype)
    return {("I06", "E", index_place(source, group))}


def list_absent_source(path, draw):
    section = draw(st.sampled_from(["CONTROL", "INSTRUMENT"]))
    name = draw(st.from_regex(r"\AGHOST/[A-Z]{1,5}/[0-9]\Z"))
    ending = ":out/data" if section == "INSTRUMENT" else ""
    with h5py.File(path, "r+") as f:
        f["METADATA/dataSources/dataSourceId"][-1] = f"{section}/{name}{ending}".encode()
    place = f"{name}{ending}"
    return {
        ("I07", "W", f"{section}/{place.removesuffix('/data')}"),
        ("I02", "E", f"INDEX/{place}"),
    }


def lose_source(path, draw):
    _, source, _ = draw_group(path, draw, "INSTRUMENT")
    with h5py.File(path, "r+") as f:
        del f[f"INSTRUMENT/{source}"]
    return {("I07", "W", f"INSTRUMENT/{source}"), ("R07", "E", f"INSTRUMENT/{source}")}


def lose_group(path, draw):
    group = draw(st.sampled_from(["image", "header"]))
    with h5py.File(path, "r+") as f:
        del f[f"INSTRUMENT/{MODULE}/{group}"]
    place = f"INSTRUMENT/{MODULE}"
    return {("I07", "W", f"{place}/{group}"), ("R07", "E", place)}


def hide_data(path, draw):
    section = draw(st.sampled_from(["CONTROL", "INSTRUMENT"]))
    place = f"{section}/{draw(st.from_regex(r'[A-Z]HIDDEN', fullmatch=True))}"
    with h5py.File(path, "r+") as f:
        f[f"{place}/key/value"] = np.arange(N_TRAINS)
    return {("I07", "W", place)}


def lose_all_keys(path, draw):
    section, source, _ = draw_group(path, draw, "INSTRUMENT")
    with h5py.File(path, "r+") as f:
        del f[f"{section}/{source}"]
        f.create_group(f"{section}/{source}/data")
    return {("I08", "W", f"{section}/{source}"), ("R07", "E", f"{section}/{source}")}


def change_keys(path, draw):
    """In the second sequence; what the first says is the rule."""
    section, source, group = draw(st.sampled_from(INDEX_GROUPS[DA0]))
    how = draw(st.sampled_from(["dtype", "shape", "name", "more"]))
    with h5py.File(path, "r+") as f:
        key = draw(st.sampled_from(keys_of(f, section, source, group)))
        values = f[key][()]
        if how == "dtype":
            replace(f, key, np.zeros(values.shape, "c8"))
        elif how == "shape":
            replace(f, key, np.zeros((*values.shape, 2), "u1"))
        elif how == "name":
            f.move(key, f"{key}New")
        else:
            f[f"{key}New"] = f[key][()]
    return {("R07", "E", f"{section}/{source}")}


def change_run_values(path, draw):
    source = draw(st.sampled_from([XGM, MOTOR]))
    with h5py.File(path, "r+") as f:
        keys = [k for k in keys_of(f, "RUN", source) if f[k].dtype.kind in "fu"]
        key = draw(st.sampled_from(keys))
        f[key][0] += 1
    return {("R08", "W", f"RUN/{source}")}


def break_legacy_link(path, draw):
    old = draw(st.from_regex(r"\AOLD/DET/[0-9]{1,2}CH0:xtdf\Z"))
    with h5py.File(path, "r+") as f:
        f[f"INSTRUMENT/{old}"] = h5py.SoftLink(f"/INSTRUMENT/{MODULE}/gone")
        f["METADATA/dataSources/dataSourceId"][-1] = f"INSTRUMENT/{old}/image".encode()
    return {("P03", "W", f"INSTRUMENT/{old}")}


IN_ANY_FILE = [
    cut_off, overwrite_signature, lose_essentials, invent_version, contradict_metadata,
    list_in_unknown_section, add_unknown_group, zero_inside_trains, lose_last_trains,
    step_back_in_trains,
    send_absurd_train, jump_in_trains, set_clock, run_clock_too_fast, lose_times,
    index_beyond_the_end, index_impossible_rows, misshape_index, lose_index, overlap_rows,
    start_late, empty_datasets, forget_rows, lengthen_one_key, list_absent_source, hide_data,
    break_legacy_link,
]  # fmt: skip
FAULTS = {
    **dict.fromkeys(IN_ANY_FILE, (DA0, AGIPD0)),
    **dict.fromkeys([record_control_twice, silence_control], (DA0,)),
    **dict.fromkeys([change_keys, change_run_values, lose_source, lose_all_keys], (DA1,)),
    lose_group: (AGIPD1,),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@settings(max_examples=5, derandomize=True)
@given(data=st.data())
def test_fault_is_found_where_it_is(run, fault, data):
    path = run / data.draw(st.sampled_from(FAULTS[fault]))
    kept = path.with_suffix(".kept")
    shutil.copy2(path, kept)
    try:
        expected = fault(path, data.draw)
        assert scan_run(run) == {path.name: expected}
        quick = scan_run(run, verify=False)
        if path.name in (DA0, AGIPD0):  # the first of its aggregator: all of it is looked at
            assert quick == {path.name: expected}
        else:
            assert quick.keys() <= {path.name}
            assert quick.get(path.name, set()) <= expected
    finally:
        kept.replace(path)


@pytest.mark.parametrize("renamed", ["RAW-R0009-DA01-S00000.h5", "RAW-R0008-DA01-S00004.h5"])
def test_misnamed_file(run, tmp_path, renamed):
    directory = tmp_path / "/".join(run.parts[-5:])
    directory.mkdir(parents=True)
    shutil.copy(run / DA0, directory / renamed)
    entry = "runNumber" if "R0009" in renamed else "sequenceNumber"
    expected = {("F05", "E", f"METADATA/{entry}")}
    if entry == "runNumber":
        expected.add(("F05", "E", ""))
    assert scan_run(directory) == {renamed: expected}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3"])
@pytest.mark.parametrize("padding", [0, 3])
def test_nothing_is_found_where_nothing_is_wrong(tmp_path, version, padding):
    assert scan_run(write_checked_run(tmp_path, version, padding=padding)) == {}


def test_every_check_of_the_scan_is_put_to_the_test():
    by_scan = {c.id for c in CHECKS.values() if c.origin == "scan"}
    elsewhere = {"F06", "C02", "C03"}  # test_scan_bad, test_write_history, test_datamap
    text = Path(__file__).read_text()
    assert {c for c in by_scan - elsewhere if f'("{c}", ' not in text} == set()
