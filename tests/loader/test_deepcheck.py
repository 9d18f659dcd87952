"""Each fault in the data of a file, put in somewhere, is found there by reading; and no other.

The faults leave the structure as it is: a scan finds nothing wrong with these files.
"""

import os
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import some
from support.faultless_run import (
    AGIPD0,
    CAMERA,
    DA0,
    DA1,
    FIRST,
    MODULE,
    MOTOR,
    XGM,
    write_checked_run,
)
from support.mock_runs import MOCKS
from support.tiny_file import CAMERA as TINY_CAMERA
from support.tiny_file import write_tiny
from xfelcat import H5File
from xfelcat.catalog.model.checks import CHECKS
from xfelcat.catalog.model.errors import FileStructureError
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.loader.jobs.deepcheck import DeepOptions, check_data, check_file, find_updates

N = 40
BITSHUFFLE = 32008  # the number of a filter that only a plugin has
KEYS = [(XGM, "beamPosition/ixPos"), (XGM, "state"), (MOTOR, "actualPosition"), (MOTOR, "isMoving")]
CHUNKED = [
    (DA0, f"INSTRUMENT/{CAMERA}/data/image/pixels"),
    (AGIPD0, f"INSTRUMENT/{MODULE}/image/data"),
]
EVERYTHING = DeepOptions(sample=0, jobs=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_checked_run(tmp_path_factory.mktemp("run"), n_trains=N, padding=2)


def checked(directory, options=EVERYTHING):
    """(check, severity, place, message) of what is found, by file name."""
    found = {}
    for path, problems in check_data([str(p) for p in directory.glob("*.h5")], options):
        if problems:
            found[os.path.basename(path)] = [
                (p.check, p.severity, p.where, p.message) for p in problems
            ]
    return found


def zero_time(run, draw):
    source, key = draw(st.sampled_from(KEYS))
    place, at = f"CONTROL/{source}/{key}/timestamp", draw(st.integers(1, N - 1))
    with h5py.File(run / DA0, "r+") as f:
        f[place][at] = 0
    return DA0, "V04", place, f"1 times are zero, the first at train {FIRST + at}"


def time_goes_back(run, draw):
    source, key = draw(st.sampled_from(KEYS))
    place, at = f"CONTROL/{source}/{key}/timestamp", draw(st.integers(1, N - 1))
    with h5py.File(run / DA0, "r+") as f:
        f[place][at] = f[place][at - 1] - np.uint64(draw(st.integers(1, 10**12)))
    return DA0, "V04", place, f"times go back in 1 places, the first at train {FIRST + at}"


def device_dies(run, draw):
    source = draw(st.sampled_from([XGM, MOTOR]))
    at = draw(st.integers(6, N - 12))
    with h5py.File(run / DA0, "r+") as f:
        for key in (k for s, k in KEYS if s == source):
            for name in ("value", "timestamp"):
                dataset = f[f"CONTROL/{source}/{key}/{name}"]
                dataset[at:N] = np.full(N - at, dataset[at])
    message = f"no news after train {FIRST + at}: time and value stay the same for the last "
    return DA0, "V01", f"CONTROL/{source}", f"{message}{N - 1 - at} of {N} trains"


def spoil_chunk(run, draw):
    name, place = draw(st.sampled_from(CHUNKED))
    with h5py.File(run / name) as f:
        dataset = f[place]
        chunk = dataset.id.get_chunk_info(draw(st.integers(0, dataset.id.get_num_chunks() - 1)))
        first = chunk.chunk_offset[0]
        last = min(first + dataset.chunks[0], len(dataset)) - 1
    with open(run / name, "r+b") as f:
        f.seek(chunk.byte_offset)
        f.write(b"\xa5" * chunk.size)
    rows = f"rows {first} to {last}" if last > first else f"row {first}"
    return name, "V02", place, f"{rows} cannot be read: "


def draw_module_train(run, draw):
    """A train of the module with several frames: its ID, first row and number of rows."""
    with h5py.File(run / AGIPD0) as f:
        index = f[f"INDEX/{MODULE}/image"]
        at = draw(st.integers(0, N - 1))
        return FIRST + at, int(index["first"][at]), int(index["count"][at])


def misplace_row(run, draw):
    train, first, count = draw_module_train(run, draw)
    row = first + draw(st.integers(0, count - 1))
    other = train + draw(st.sampled_from([-1, 1, 1000]))
    place = f"INSTRUMENT/{MODULE}/image/trainId"
    with h5py.File(run / AGIPD0, "r+") as f:
        f[place][row] = other
    message = f"row {row} belongs to train {train} by INDEX, but says {other}"
    return AGIPD0, "V03", place, message


def misplace_pulse(run, draw):
    train, first, count = draw_module_train(run, draw)
    place = f"INSTRUMENT/{MODULE}/image/{draw(st.sampled_from(['pulseId', 'cellId']))}"
    with h5py.File(run / AGIPD0, "r+") as f:
        f[place][first : first + count] = np.roll(f[place][first : first + count], 1)
    message = f"numbers of train {train} begin anew in row {first + 1}, not with a train of INDEX"
    return AGIPD0, "V03", place, message


FAULTS = [zero_time, time_goes_back, device_dies, spoil_chunk, misplace_row, misplace_pulse]


@pytest.mark.parametrize("fault", some(FAULTS, 3), ids=lambda fault: fault.__name__)
@settings(max_examples=6, derandomize=True)
@given(data=st.data())
def test_fault_is_found_where_it_is(run, tmp_path_factory, fault, data):
    directory = tmp_path_factory.mktemp("broken") / "/".join(run.parts[-5:])
    shutil.copytree(run, directory)
    name, check, place, message = fault(directory, data.draw)
    assert scan_file(directory / name).problems == ()
    ((found_in, problems),) = checked(directory).items()
    assert (found_in, [p[:3] for p in problems]) == (name, [(check, CHECKS[check].severity, place)])
    assert problems[0][3].startswith(message)
    shutil.rmtree(directory)


@pytest.mark.parametrize("version", ["0.1", "0.5", "1.0", "1.1", "1.2", "1.3"])
def test_nothing_is_found_where_nothing_is_wrong(tmp_path, version):
    directory = write_checked_run(tmp_path, version, padding=2)
    assert checked(directory) == {}


@pytest.mark.parametrize("name", ["agipd1m-1.0", "lpd_parallelgain-1.0", "fxe_da-1.3"])
def test_nothing_is_found_in_what_extra_data_writes(tmp_path, name):
    """As EXtra-data writes them: pulses count up, or three times over; all times are zero."""
    MOCKS[name].make(str(tmp_path / MOCKS[name].file_name))
    assert checked(tmp_path, DeepOptions(sample=2, jobs=0)) == {}


def test_the_trains_of_errata_are_others(tmp_path):
    with write_tiny(tmp_path / DA0) as f:
        f["METADATA/auxiliarySources/ERRATA"] = [b"ERRATA/TOO_LATE/event"]
        f["INDEX/TOO_LATE/event/first"] = np.zeros(10, "u8")
        f["INDEX/TOO_LATE/event/count"] = np.eye(1, 10, 0, "u8")[0]
        f["ERRATA/TOO_LATE/event/trainId"] = np.array([7], "u8")
    assert checked(tmp_path) == {}


def test_a_source_is_alive_while_one_key_has_news(run, tmp_path):
    directory = tmp_path / "r0008"
    shutil.copytree(run, directory)
    with h5py.File(directory / DA0, "r+") as f:
        for name in ("value", "timestamp"):
            dataset = f[f"CONTROL/{XGM}/state/{name}"]
            dataset[10:N] = np.full(N - 10, dataset[10])
    assert checked(directory) == {}


def test_the_sample_is_the_same_each_time_and_no_larger_than_asked(run, tmp_path, monkeypatch):
    from xfelcat.catalog.hdf5.library import LibraryDataset

    read = []
    original = LibraryDataset.read_rows

    def counted(dataset, first, end):
        read.append((first, end))
        return original(dataset, first, end)

    monkeypatch.setattr(LibraryDataset, "read_rows", counted)
    path = [str(run / AGIPD0)]
    picked = {}
    for seed in (0, 0, 1):
        read.clear()
        assert list(check_data(path, DeepOptions(sample=2, seed=seed, jobs=0))) == [(path[0], ())]
        picked.setdefault(seed, set()).add(tuple(read))
    assert len(picked[0]) == 1
    assert picked[0] != picked[1]
    datasets, columns = 6, 4  # of the module; trainId twice, pulseId and cellId
    assert len(read) == 2 * (datasets + columns)


def test_what_is_only_on_tape_is_not_touched(run, tmp_path):
    path = tmp_path / DA0
    os.mkfifo(path)  # opening it would block
    (tmp_path / f".(get)({DA0})(locality)").write_text("NEARLINE\n")
    ((_, problems),) = check_data([str(path)], DeepOptions(jobs=0))
    assert [(p.check, p.message) for p in problems] == [
        ("F06", "data not checked: file is NEARLINE")
    ]


def test_a_file_that_hangs_is_given_up_and_the_others_are_checked(run, tmp_path):
    hangs = tmp_path / "RAW-R0008-DA02-S00000.h5"
    os.mkfifo(hangs)
    paths = [str(hangs), str(run / DA0), str(run / AGIPD0)]
    found = dict(check_data(paths, DeepOptions(jobs=1, time_limit=8.0)))
    assert found.keys() == set(paths)
    (problem,) = found.pop(str(hangs))
    assert problem.check == "F06"
    assert "took longer than 8 s" in problem.message
    assert set(found.values()) == {()}


@pytest.mark.parametrize("value", [1.5, np.nan, b"text", True])
def test_a_value_that_stays_the_same_has_stopped_with_its_time(value):
    stamps = np.minimum(np.arange(40), 15).astype(np.uint64)
    values = np.full(40, value)
    found = find_updates(stamps, values)
    assert (found.count, found.last, found.pause, found.has_stopped) == (15, 15, 1, True)
    assert not find_updates(np.arange(40, dtype=np.uint64), values).has_stopped
    assert find_updates(np.full(40, 7, np.uint64), values).is_silent
    assert not find_updates(stamps, np.arange(40)).has_stopped  # new values without a new time
    assert not find_updates(np.full(40, 7, np.uint64), np.arange(40)).is_silent
    rarely = (np.arange(40) // 8 * 8).astype(np.uint64)  # news every eighth train goes on
    assert not find_updates(rarely, np.zeros(40)).has_stopped


@pytest.mark.parametrize("n_silent", [0, 1, 5])
def test_a_device_that_dies_between_two_sequences(run, tmp_path, n_silent):
    directory = tmp_path / "r0008"
    shutil.copytree(run, directory)
    with h5py.File(directory / DA0, "r+") as f, h5py.File(directory / DA1, "r+") as g:
        for key in (k for s, k in KEYS if s == MOTOR):
            for name in ("value", "timestamp"):
                place = f"CONTROL/{MOTOR}/{key}/{name}"
                last = f[place][N - n_silent - 1]
                f[place][N - n_silent : N] = last
                g[place][:N] = np.full(N, last)
    ((name, problems),) = checked(directory).items()
    message = f"no news in {N} trains, but in the sequence before: time and value stay the same"
    assert (name, [p[:3] for p in problems]) == (DA1, [("V01", "W", f"CONTROL/{MOTOR}")])
    assert problems[0][3].startswith(message)
    (directory / DA0).unlink()  # then nobody knows that there ever was news
    assert checked(directory) == {}


@settings(max_examples=60, derandomize=True)
@given(data=st.data())
def test_nothing_that_a_file_may_be_raises(tmp_path, data):
    whole = tmp_path / "whole.h5"
    if not whole.exists():
        write_tiny(whole, fixed_strings=True).close()
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / DA0
    path.write_bytes(content)
    assert {f.check for f in check_file(str(path), EVERYTHING, {})[0]} <= {
        "V01",
        "V02",
        "V03",
        "V04",
        "F06",
    }


def test_what_is_no_file_is_for_the_scan_to_say(tmp_path):
    (tmp_path / "a.h5").write_text("text")
    (tmp_path / "b.h5").touch()
    paths = [str(tmp_path / n) for n in ("a.h5", "b.h5")]
    assert dict(check_data(paths, DeepOptions(jobs=0))) == dict.fromkeys(paths, ())


def test_a_filter_that_is_not_installed_is_no_damage(tmp_path):
    path, where = tmp_path / "RAW-R0007-DA01-S00000.h5", f"INSTRUMENT/{TINY_CAMERA}/data/img"
    write_tiny(path).close()
    with h5py.File(path, "r+") as f:
        del f[where]
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_chunk((1, 4))
        create.set_filter(BITSHUFFLE, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((20, 4))
        made = h5py.h5d.create(f.id, where.encode(), h5py.h5t.STD_U16LE, space, create)
        for row in range(20):
            made.write_direct_chunk((row, 0), b"encoded!", 0)
    found = [p for p in checked(tmp_path)[path.name] if p[0] != "V04"]
    ((check, _, place, message),) = found
    assert (check, place) == ("F06", where)
    assert message.startswith("data not checked: HDF5 lacks the filter ")
    assert "import hdf5plugin" in message
    with pytest.raises(FileStructureError, match=f"img cannot be read: .*{BITSHUFFLE}.*hdf5plugin"):
        H5File(path)[TINY_CAMERA, "data.img"].ndarray()
