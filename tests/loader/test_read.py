"""Every row comes from its place, whatever INDEX, region, type and destination; files are few."""

import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from multiprocessing import get_context

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rich_run
from support.both_readers import open_scanned
from support.one_dataset import facts_of, few_descriptors, open_files, other
from xfelcat.catalog.model.errors import (
    ChangedFileError,
    FileStructureError,
    InconsistentFilesError,
)
from xfelcat.loader.examples import KeySpec, RunSpec, control, split, write_run
from xfelcat.loader.output import iterate
from xfelcat.loader.read.files import OpenFiles
from xfelcat.loader.select.trains import by_id, by_index

pytestmark = pytest.mark.fast

KEYS = [
    (rich_run.XGM, "beamPosition.ixPos.value"),
    (rich_run.XGM, "pulseEnergy.samples.value"),
    (rich_run.XGM, "state.value"),
    (rich_run.MOTOR, "isMoving.value"),
    (rich_run.CAMERA, "data.image.pixels"),
    (rich_run.CAMERA, "data.exposure"),
    (rich_run.MODULE, "image.data"),
    (rich_run.MODULE, "image.mark"),
    (rich_run.MODULE, "header.pulseCount"),
    (rich_run.DIGITIZER, "digitizers.trace"),
]


@pytest.fixture(scope="module")
def gappy(tmp_path_factory):
    """A run whose INDEX leaves rows out."""
    return rich_run.write_rich_run(tmp_path_factory.mktemp("gappy"), gaps=(0, 2, 1))


@pytest.fixture(scope="module")
def run(gappy):
    return open_scanned(gappy)


def naive(directory, source, key):
    """(train ID, its entries) by plain h5py and INDEX, train by train."""
    section = "CONTROL" if key.endswith((".value", ".timestamp")) else "INSTRUMENT"
    group = "" if section == "CONTROL" else f"/{key.partition('.')[0]}"
    found = []
    for path in sorted(directory.glob("*.h5")):
        with h5py.File(path) as f:
            if f"{section}/{source}" not in f:
                continue
            index = f[f"INDEX/{source}{group}"]
            dataset = f[f"{section}/{source}/{key.replace('.', '/')}"]
            text = h5py.check_string_dtype(dataset.dtype)
            values = dataset.asstr()[:] if text and text.length is None else dataset[:]
            trains = f["INDEX/trainId"][:]
            for train, a, n in zip(trains, index["first"][:], index["count"][:], strict=True):
                if train:
                    found.append((int(train), values[a : a + n]))
    return sorted(found, key=lambda item: item[0])


def same(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(("source", "key"), KEYS)
def test_all_rows_as_index_has_them(gappy, run, source, key):
    trains = naive(gappy, source, key)
    expected = np.concatenate([entries for _, entries in trains])
    data = run[source, key]
    same(data.ndarray(), expected)
    assert data.shape == expected.shape
    coordinates = [train for train, entries in trains for _ in entries]
    assert data.train_id_coordinates().tolist() == coordinates
    counts = dict.fromkeys(run.train_ids, 0) | {train: len(entries) for train, entries in trains}
    assert data.data_counts().to_dict() == counts
    for train, entries in trains:
        same(np.asarray(data.train_from_id(train, keep_dims=True)[1]), entries)


some_trains = st.sets(st.sampled_from(rich_run.TRAINS), min_size=1)


@settings(max_examples=60)
@given(st.sampled_from(KEYS), some_trains, st.data())
def test_any_trains_and_any_region(gappy, run, place, chosen, data):
    entries = [e for train, e in naive(gappy, *place) if train in chosen]
    key = run[place].select_trains(by_id[sorted(chosen)])
    everything = np.concatenate(entries) if entries else np.empty((0, *key.entry_shape), key.dtype)
    items = []
    for size in key.entry_shape:
        ends = st.none() | st.integers(-size - 1, size + 1)
        step = st.none() | st.sampled_from([1, 2, -1])
        items.append(data.draw(st.builds(slice, ends, ends, step) | st.integers(-size, size - 1)))
    roi = tuple(items[: data.draw(st.integers(0, len(items)))])
    expected = everything[(slice(None), *roi)]
    same(key.ndarray(roi=roi), expected)
    same(key.ndarray(roi=by_index[roi] if roi else ()), expected)
    if expected.dtype.kind in "fiu":
        out = np.empty(expected.shape, np.complex128)[..., None][..., 0]
        assert key.ndarray(roi=roi, out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_lists_in_a_region(run):
    pixels = run[rich_run.CAMERA, "data.image.pixels"]
    whole = pixels.ndarray()
    np.testing.assert_array_equal(pixels.ndarray(roi=[3, 1, 1]), whole[:, [3, 1, 1]])
    np.testing.assert_array_equal(pixels.ndarray(roi=np.s_[2, [0, 3]]), whole[:, 2][:, [0, 3]])
    for positions in (np.array(3), xr.DataArray(3), xr.DataArray([3, 1]), pd.Series([3, 1])):
        expected = whole[:, np.asarray(positions)]
        np.testing.assert_array_equal(pixels.ndarray(roi=positions), expected)
        np.testing.assert_array_equal(pixels.xarray(roi=by_index[positions]), expected)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "u1", "f2"])
def test_a_given_destination_is_filled_and_converted(run, dtype):
    pixels = run[rich_run.CAMERA, "data.image.pixels"]
    whole = pixels.ndarray()
    for out in (
        np.full(whole.shape, 9, dtype),
        np.full((*whole.shape[:2], 8), 9, dtype)[:, :, ::2],
        np.full(whole.shape[::-1], 9, dtype).T,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert pixels.ndarray(out=out) is out
            np.testing.assert_array_equal(out, whole.astype(dtype))


def test_a_destination_that_does_not_fit_is_refused(run):
    pixels = run[rich_run.CAMERA, "data.image.pixels"]
    with pytest.raises(ValueError, match="shape"):
        pixels.ndarray(out=np.zeros((3, 6, 4)))
    with pytest.raises(TypeError, match="numpy array"):
        pixels.ndarray(out=[1])
    fixed = np.zeros(pixels.shape)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        pixels.ndarray(out=fixed)


def test_only_files_with_selected_data_are_opened(gappy, monkeypatch):
    opened = []
    run = open_scanned(gappy)
    real = h5py.File

    def counted(path, *args, **kwargs):
        opened.append(os.path.basename(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(h5py, "File", counted)
    camera = run[rich_run.CAMERA, "data.image.pixels"]
    part = camera.select_trains(by_id[rich_run.FIRST + 22 :])
    assert camera.shape[0] == camera.data_counts().sum()
    assert part.dtype == np.uint16
    assert run.select("*XGM*", require_all=True).train_ids
    assert opened == []
    part.ndarray()
    assert opened == ["RAW-R0034-DA01-S00002.h5"]
    part.ndarray()
    camera.ndarray()
    assert sorted(opened) == [f"RAW-R0034-DA01-S0000{i}.h5" for i in range(3)]
    # A train without data opens nothing.
    empty = camera.select_trains(by_id[[t for t, n in camera.data_counts().items() if not n]])
    opened.clear()
    run.close()
    assert len(empty.ndarray()) == 0
    assert opened == []


def test_many_keys_open_each_file_once_in_the_order_of_files(gappy, monkeypatch):
    monkeypatch.setattr(iterate, "FIRST_TRAINS", 10**6)  # all of them in one block
    flat = {rich_run.XGM: {"beamPosition.ixPos", "state"}, rich_run.MOTOR: {"actualPosition"}}
    one_by_one = open_scanned(gappy)
    for read in (
        lambda run: run.get_dataframe(flat),
        lambda run: list(run.trains({**flat, rich_run.CAMERA: set(), rich_run.MODULE: set()})),
    ):
        files = OpenFiles(1)
        order = []
        real = files.acquire
        files.acquire = lambda file, real=real, order=order: order.append(file.path) or real(file)
        found = read(open_scanned(gappy, files=files))
        assert len(found) == 26
        assert files.n_opened == len(order) == len(set(order))
        for aggregator in {os.path.basename(p)[:-10] for p in order}:
            of_it = [p for p in order if aggregator in p]
            assert of_it == sorted(of_it)
    frame = one_by_one.get_dataframe(flat)
    for source, keys in flat.items():
        for key in keys:
            assert frame[f"{source}/{key}"].tolist() == one_by_one[source, key].ndarray().tolist()


def test_few_files_stay_open(gappy):
    files = OpenFiles(2)
    run = open_scanned(gappy, files=files)
    for source, key in KEYS:
        run[source, key].ndarray()
        assert len(files) <= 2
    assert files.n_opened > 5
    with run:
        run[KEYS[0]].ndarray()
    assert len(files) == 0
    with pytest.raises(ValueError, match="at least one"):
        OpenFiles(0)


def copied(gappy, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(gappy, place)
    return place


def test_a_file_that_was_replaced_is_told(gappy, tmp_path):
    place = copied(gappy, tmp_path)
    key = open_scanned(place)[rich_run.XGM, "beamPosition.ixPos"]
    second = place / "RAW-R0034-DA01-S00001.h5"
    os.utime(second, ns=(1, 1))
    with pytest.raises(ChangedFileError, match=r"S00001.*open the run again"):
        key.ndarray()
    assert len(key[:3].ndarray()) == 3
    with second.open("ab") as f:
        f.write(b"more")
    with pytest.raises(ChangedFileError, match="bytes"):
        key.ndarray()
    second.unlink()
    with pytest.raises(ChangedFileError, match="no longer there"):
        key.ndarray()


def test_an_index_beyond_the_data_is_told(gappy, tmp_path):
    place = copied(gappy, tmp_path)
    path = place / "RAW-R0034-DA01-S00001.h5"
    with h5py.File(path, "r+") as f:
        index = f[f"INDEX/{rich_run.CAMERA}/data"]
        index["first"][np.flatnonzero(index["count"][:])[-1]] = 1000
    key = open_scanned(place)[rich_run.CAMERA, "data.exposure"]
    with pytest.raises(FileStructureError, match=r"S00001\.h5.*row 100\d"):
        key.ndarray()
    assert key[:3].ndarray().size


@pytest.mark.parametrize("other", [KeySpec("position", "f8"), KeySpec("position", "f4", (2,))])
def test_files_that_differ_are_both_named(tmp_path, other):
    for sequence, spec in enumerate((KeySpec("position", "f4"), other)):
        trains = range(10 * sequence + 1, 10 * sequence + 11)
        files = split(trains, {"DA01": [control("A/B/C", spec)]})
        (path,) = write_run(tmp_path / str(sequence), RunSpec(2012, 1, files))
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / f"run/RAW-R0001-DA01-S0000{sequence}.h5")
    key = open_scanned(tmp_path / "run")["A/B/C", "position"]
    with pytest.raises(InconsistentFilesError) as raised:
        key.ndarray()
    assert [os.path.basename(p)[-9:-3] for p in raised.value.paths] == ["S00000", "S00001"]
    assert key[:10].ndarray().shape == (10,)
    assert key[10:].ndarray().shape == (10, *other.shape)
    assert key[10:].dtype == other.numpy_dtype


def test_a_difference_that_the_facts_do_not_know_is_found_on_reading(gappy, tmp_path):
    place = copied(gappy, tmp_path)
    run = open_scanned(place)
    path = place / "RAW-R0034-DA01-S00001.h5"
    times = path.stat()
    name = f"CONTROL/{rich_run.MOTOR}/actualPosition/value"
    with h5py.File(path, "r+") as f:
        values = f[name][:]
        del f[name]
        f[name] = values.astype("f4")
    facts = run[rich_run.MOTOR].selected.entry.refs[1].facts
    size = path.stat().st_size
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if size != times.st_size:  # the facts are made to say what a laxer scan would
        replaced = next(f for f in facts.files if f.path == str(path))
        object.__setattr__(replaced, "size", size)
    with pytest.raises(InconsistentFilesError, match=r"<f8.*<f4") as raised:
        run[rich_run.MOTOR, "actualPosition"].ndarray()
    assert {os.path.basename(p) for p in raised.value.paths} == {
        "RAW-R0034-DA01-S00000.h5",
        "RAW-R0034-DA01-S00001.h5",
    }


def read_again(pickled):
    return pickle.loads(pickled).ndarray()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_objects_work_in_other_processes(run, method):
    key = run[rich_run.MODULE, "image.data"]
    expected = key.ndarray()  # the file is open here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads
        with get_context(method).Pool(1) as pool:
            found = pool.apply(read_again, (pickle.dumps(key),))
    np.testing.assert_array_equal(found, expected)
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again[KEYS[6]].ndarray(), expected)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(run[rich_run.MODULE]))["image.data"].ndarray(), expected
    )


def test_open_files_of_a_parent_are_not_used_after_a_fork(run):
    key = run[rich_run.MODULE, "image.data"]
    expected = key.ndarray()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        ok = np.array_equal(key.ndarray(), expected) and key.selected.source.files.n_opened > 0
        os.write(writer, b"1" if ok else b"0")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 1) == b"1"
    np.testing.assert_array_equal(key.ndarray(), expected)


def test_threads_share_the_files(gappy):
    run = open_scanned(gappy, files=OpenFiles(1))
    expected = {place: run[place].ndarray().tolist() for place in KEYS}
    wrong = []

    def read():
        wrong.extend(p for p in KEYS * 3 if run[p].ndarray().tolist() != expected[p])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_opening_and_reading_imports_nothing_heavy(gappy):
    code = f"""
import sys
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.catalog.opening.scanned import scanned_facts
from xfelcat.loader.collection import DataCollection
from pathlib import Path
paths = sorted(map(str, Path({str(gappy)!r}).glob("*.h5")))
run = DataCollection.from_facts(scanned_facts({str(gappy)!r}, [scan_file(p) for p in paths]))
key = run[{rich_run.CAMERA!r}, "data.image.pixels"]
sel = run.select("*", require_any=True)[:5]
assert len(sel.train_ids) == 5 and key.data_counts(labelled=False).sum() == len(key.ndarray())
heavy = {{"pandas", "pyarrow", "xarray", "dask", "sqlalchemy", "alembic", "matplotlib", "duckdb"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_process_with_too_many_open_files_closes_some(tmp_path):
    paths = [tmp_path / f"{i}.h5" for i in range(12)]
    for path in paths:
        other(path)
    files = open_files()
    with few_descriptors(6):
        for path in paths:
            with files.borrow(facts_of(path)) as opened:
                assert opened.file["data"].shape == (8, 3)
        assert 1 <= len(files) < 12
    files.close()
