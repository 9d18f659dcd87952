"""Every mock file and run of EXtra-data ingests, opens from the catalog, and reads the same.

The mocks are refilled with values that encode file, row and element (``mockruns``), so that equal
arrays mean that every row came from its place. Where INDEX leaves gaps, EXtra-data's labelled
arrays assume that rows are contiguous; our own naive reader is the oracle there.
"""

import os
import shutil

import extra_data
import h5py
import numpy as np
import pytest
import xfelcat
from support.count_opens import forbid_opening
from support.mock_runs import MOCK_FILES, MOCK_PARAMETERS
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* is a legacy name for:DeprecationWarning")


@pytest.fixture(params=MOCK_PARAMETERS)
def pair(request, build_mock, tmp_path, monkeypatch):
    """A mock opened by us from the catalog, with no file opened, and by EXtra-data."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = build_mock(request.param)
    location = str(tmp_path / "catalog")
    run_dir = path.parent if request.param in MOCK_FILES else path
    report = ingest(Store(location), [str(run_dir)], IngestOptions(jobs=0))
    assert report.runs_written == 1

    with monkeypatch.context() as m:
        forbid_opening(m)
        if request.param in MOCK_FILES:
            ours = xfelcat.H5File(path, catalog=location)
        else:
            ours = xfelcat.RunDirectory(path, catalog=location, save=False)
        known = {
            (source, key): (ours[source, key].dtype, ours[source, key].shape)
            for source in ours.all_sources
            for key in ours[source].keys()  # noqa: SIM118
        }
    if request.param in MOCK_FILES:
        theirs = extra_data.H5File(path)
    else:
        theirs = extra_data.RunDirectory(path, _use_voview=False)
        for name in ("karabo_data_map.json",):
            if os.path.exists(path / name):
                os.unlink(path / name)
    return ours, theirs, known


def same_array(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    if ours.dtype.kind == "O":
        assert ours.tolist() == theirs.tolist()
    else:
        np.testing.assert_array_equal(ours, theirs)


def naive_array(ours, source, key):
    """All rows of a control key in files with one row per train, found by walking."""
    parts = []
    for path in (f.path for f in ours.files):
        with h5py.File(path) as f:
            group = f.get(f"CONTROL/{source}")
            names = []
            if group is not None:
                group.visit(names.append)
            parts += [group[n][:] for n in names if n.replace("/", ".") == key]
    return np.concatenate(parts)


def same_metadata(ours, theirs):
    """Ours is that of the first file by name; EXtra-data's of whichever file it listed first."""
    mine, others = ours.run_metadata(), theirs.run_metadata()
    assert mine.keys() == others.keys()
    if not ours.files:  # no trains
        return
    with h5py.File(ours.files[0].path) as f:
        for name, value in mine.items():
            if name in f["METADATA"] and name != "dataFormatVersion":
                stored = f["METADATA"][name][0]
                assert value == (stored.decode() if isinstance(stored, bytes) else stored)
    fixed = ("dataFormatVersion", "runNumber", "proposalNumber")
    assert {n: mine.get(n) for n in fixed} == {n: others.get(n) for n in fixed}


def same_times(ours, theirs):
    """Equal times; where files differ in them, EXtra-data takes whichever it listed first."""
    mine, others = ours.train_timestamps(), theirs.train_timestamps()
    assert mine.dtype == others.dtype
    settled = np.zeros(len(mine), bool)
    for path in (f.path for f in ours.files):
        with h5py.File(path) as f:
            if "timestamp" not in f["INDEX"]:
                assert np.isnat(mine).all()
                return
            n = np.count_nonzero(f["INDEX/trainId"])
            at = np.searchsorted(ours.train_ids, f["INDEX/trainId"][:n])
            stored = f["INDEX/timestamp"][:n].astype("datetime64[ns]")
        chosen = mine[at] == stored
        settled[at[chosen]] = True
    assert settled.all()
    assert abs(mine - others).max(initial=np.timedelta64(0)) < np.timedelta64(60, "s")


def test_the_same_as_extra_data(pair):
    ours, theirs, known = pair
    assert ours.train_ids == theirs.train_ids
    assert ours.control_sources == theirs.control_sources
    assert ours.instrument_sources == theirs.instrument_sources
    same_metadata(ours, theirs)
    same_times(ours, theirs)
    n_arrays = 0
    if not theirs.train_ids:  # EXtra-data has no answer to most questions about no trains
        assert all(shape[0] == 0 for _, shape in known.values())
        return
    for source in sorted(theirs.all_sources):
        assert ours.keys_for_source(source) == theirs.keys_for_source(source)
        for key in sorted(theirs.keys_for_source(source)):
            mine = ours[source, key]
            try:
                other = theirs[source, key]
            except KeyError:  # names in the file that have dots themselves: see the naive reader
                same_array(mine.ndarray(), naive_array(ours, source, key))
                n_arrays += 1
                continue
            assert known[source, key] == (other.dtype, other.shape)
            assert mine.entry_shape == other.entry_shape
            assert mine.units == other.units
            counts = other.data_counts(labelled=False)
            np.testing.assert_array_equal(mine.data_counts(labelled=False), counts)
            same_array(mine.ndarray(), other.ndarray())
            np.testing.assert_array_equal(mine.train_id_coordinates(), other.train_id_coordinates())
            n_arrays += 1
    assert n_arrays == len(known)
    assert n_arrays > 0 or not theirs.all_sources
    for source in sorted(theirs.control_sources):
        mine, other = ours.get_run_values(source), theirs.get_run_values(source)
        assert mine.keys() == other.keys()
        for key in other:
            np.testing.assert_array_equal(mine[key], other[key])


def test_where_index_has_gaps_index_is_right(tmp_path):
    camera = instrument(
        "SPB_CAM/SIDE:daqOutput",
        GroupSpec("data", (KeySpec("pixels", "u2", (3, 2)),), counts=(1, 2, 0, 1), gaps=(0, 2, 1)),
    )
    shuffled = instrument(
        "SPB_CAM/TOP:daqOutput",
        GroupSpec("data", (KeySpec("pixels", "u2", (3, 2)),), counts=(1, 2, 0), reversed_rows=True),
    )
    trains = list(range(5000, 5040))
    files = split(trains, {"DA01": [camera, shuffled]}, sequences=3)
    paths = write_run(tmp_path / "run", RunSpec(2012, 1, files))
    store = Store(tmp_path / "catalog")
    ingest(store, [str(tmp_path / "run")], IngestOptions(jobs=0))
    run = xfelcat.RunDirectory(tmp_path / "run", catalog=store.location, save=False)
    for source in (camera.name, shuffled.name):
        rows, train_ids = [], []
        for path in sorted(paths):
            with h5py.File(path) as f:
                index = f[f"INDEX/{source}/data"]
                data = f[f"INSTRUMENT/{source}/data/pixels"][:]
                for train, first, count in zip(
                    f["INDEX/trainId"][:], index["first"][:], index["count"][:], strict=True
                ):
                    rows += list(data[first : first + count])
                    train_ids += [train] * int(count)
        key = run[source, "data.pixels"]
        np.testing.assert_array_equal(key.ndarray(), np.array(rows))
        labelled = key.xarray()
        np.testing.assert_array_equal(labelled.values, np.array(rows))
        assert labelled.trainId.values.tolist() == train_ids
        for train, frames in key.trains(keep_dims=True):
            at = np.flatnonzero(np.array(train_ids) == train)
            np.testing.assert_array_equal(frames, np.array(rows)[at])


def test_a_dtype_that_differs_between_files_raises(tmp_path):
    for sequence, dtype in enumerate(("f4", "f8")):
        motor = control("SPB/MOTOR/X", KeySpec("position", dtype))
        files = split(range(sequence * 10, sequence * 10 + 10), {"DA01": [motor]})
        (path,) = write_run(tmp_path / str(sequence), RunSpec(2012, 1, files))
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / f"run/RAW-R0001-DA01-S0000{sequence}.h5")
    run = xfelcat.RunDirectory(tmp_path / "run", save=False)
    with pytest.raises(ValueError, match=r"S00000\.h5.*S00001\.h5"):
        run["SPB/MOTOR/X", "position"].ndarray()
