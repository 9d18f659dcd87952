"""Do written files hold the selected data, for EXtra-data, xfelcat and plain h5py?"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import oracle
from support.both_readers import keys_by_source, open_both, open_oracle, open_scanned
from support.examples import some
from support.same_results import assert_same
from support.tiny_file import CAMERA as CAMERA_OF_TINY
from support.tiny_file import XGM as TINY
from support.tiny_file import write_tiny
from xfelcat import H5File, validate
from xfelcat.catalog.model.errors import (
    FileStructureError,
    InconsistentFilesError,
    TargetFileError,
    TargetWriteError,
    XfelcatError,
)
from xfelcat.catalog.model.names import FORMAT_VERSIONS
from xfelcat.loader.examples import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.output import write

XGM = "SA1_XTD2_XGM/XGM/DOOCS"
MODULE = "SPB_DET_AGIPD1M-1/DET/1CH0:xtdf"

METHODS = ("write", "write_virtual")
old_version = pytest.mark.filterwarnings("ignore:Train validation is not fully:UserWarning")


def make_run(version: str = "1.3") -> RunSpec:
    aggregators = {
        "DA01": (
            devices.xgm(),
            devices.xgm_pulses(counts=(1, 0, 1)),
            devices.run_only_device("SPB/TSYS/TIMESERVER"),
        ),
        "DA02": (*devices.camera(), devices.adc("SPB/ADC/1")),
        **devices.modules("SPB_DET_AGIPD1M-1", n=2),
    }
    return RunSpec(900032, 7, split(range(1000, 1025), aggregators, 3), version=version)


def assert_same_data(written, reference, sources=None) -> None:
    """All keys of all sources hold the same rows for the same trains."""
    assert written.train_ids == reference.train_ids
    names = sorted(sources or reference.all_sources)
    assert keys_by_source(written, names) == keys_by_source(reference, names)
    for name in names:
        for key in sorted(reference.keys_for_source(name)):
            expected, found = reference[name, key], written[name, key]
            np.testing.assert_array_equal(found.ndarray(), expected.ndarray(), f"{name} {key}")
            np.testing.assert_array_equal(
                found.train_id_coordinates(), expected.train_id_coordinates()
            )
            assert found.dtype == expected.dtype


@old_version
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("version", some(FORMAT_VERSIONS, FORMAT_VERSIONS[::3]))
def test_a_whole_run(tmp_path, version, method):
    spec = make_run(version)
    write_run(tmp_path / "r0007", spec)
    ours, theirs = open_both(tmp_path / "r0007")
    target = tmp_path / "out.h5"
    getattr(ours, method)(target)
    for opened in open_both(target):
        assert_same_data(opened, ours)
        assert_same_data(opened, theirs)
        assert opened.control_sources == ours.control_sources
    written = open_scanned(target)
    np.testing.assert_array_equal(written.train_timestamps(), ours.train_timestamps())
    assert written.get_run_values(XGM) == ours.get_run_values(XGM)
    assert written.get_run_value("SPB/TSYS/TIMESERVER", "period") == 100
    if version >= "1.0":
        kept = {**ours.run_metadata(), "dataFormatVersion": "1.0"}
        assert written.run_metadata() == open_oracle(target).run_metadata() == kept
    if version == "1.3":
        for opened in open_both(target):
            assert opened[XGM, "pulseEnergy.photonFlux"].units == "μJ"
            assert opened[f"{XGM}:output", "data.xTD"].units_name == "millimeter"
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("method", METHODS)
def test_a_selection(tmp_path, method):
    write_run(tmp_path / "r0007", make_run())
    run = open_scanned(tmp_path / "r0007")
    selected = run.select([(XGM, "beamPosition.*"), ("*CH0:xtdf", "image.*"), ("*ADC*", "*")])
    selected = selected[np.r_[2:9, 12, 17:25]]
    getattr(selected, method)(tmp_path / "out.h5")
    for opened in open_both(tmp_path / "out.h5"):
        assert_same_data(opened, selected)
        assert opened.all_sources == selected.all_sources
    with h5py.File(tmp_path / "out.h5") as f:
        assert "SPB" not in f["CONTROL"]
        assert f[f"CONTROL/{XGM}/beamPosition/ixPos/value"].shape == (16,)
        assert f[f"CONTROL/{XGM}/beamPosition/ixPos/value"].is_virtual == (method != "write")
        assert f.attrs["writer"].startswith("xfelcat ")


@pytest.mark.parametrize("method", METHODS)
def test_gaps_and_reversed_rows_in_the_index_of_the_sources(tmp_path, method):
    data = GroupSpec("data", (KeySpec("x", "u8"), KeySpec("y", "f4", (3,))), (2, 0, 3), (1, 0, 4))
    turned = replace(data, gaps=(), reversed_rows=True)
    sources = (instrument("A/B/C:out", data), instrument("A/B/C:turned", turned))
    spec = RunSpec(1, 2, split(range(500, 520), {"DA01": sources}, 2))
    write_run(tmp_path / "r", spec)
    getattr(open_scanned(tmp_path / "r"), method)(tmp_path / "out.h5")
    for opened in open_both(tmp_path / "out.h5"):
        for source in ("A/B/C:out", "A/B/C:turned"):
            for key in ("data.x", "data.y"):
                expected = oracle.expected_array(spec, source, key)
                np.testing.assert_array_equal(opened[source, key].ndarray(), expected)
                counts = oracle.expected_counts(spec, source, key)
                assert opened[source, key].data_counts().to_dict() == counts
                for train in (500, 502, 514):
                    assert len(opened[source, key].train_from_id(train)[1]) == counts[train]
    with h5py.File(tmp_path / "out.h5") as f:
        first, count = (f[f"INDEX/A/B/C:out/data/{n}"][()] for n in ("first", "count"))
        np.testing.assert_array_equal(first, np.cumsum(count) - count)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("version", ["0.5", "1.0"])
def test_suspect_and_misplaced_trains(tmp_path, version, method):
    sources = (devices.motor("M/M/M"), devices.xgm_pulses("X/X/X", counts=(1, 2)))
    ids = (10, 11, 99, 12, 7, 13, 14)
    spec = RunSpec(1, 1, (FileSpec("DA01", 0, ids, sources, frozenset({99, 7})),), version=version)
    write_run(tmp_path / "r", spec)
    run = open_scanned(tmp_path / "r")
    assert run.train_ids == sorted(ids)
    getattr(run, method)(tmp_path / "out.h5")
    written = open_scanned(tmp_path / "out.h5")
    for key in ("data.intensityTD", "data.xTD"):
        for train in ids:
            expected = oracle.expected_array(spec, "X/X/X:output", key, [train])
            found = written["X/X/X:output", key].select_trains([written.train_ids.index(train)])
            np.testing.assert_array_equal(found.ndarray(), expected)
    if version == "1.0":
        good = [10, 11, 12, 13, 14]
        assert open_scanned(tmp_path / "out.h5", inc_suspect_trains=False).train_ids == good
        assert open_oracle(tmp_path / "out.h5", inc_suspect_trains=False).train_ids == good


@pytest.mark.parametrize("method", METHODS)
def test_runs_joined(tmp_path, method):
    first, second = make_run(), replace(make_run(), run=8)
    later = split(range(2000, 2010), {"DA01": (devices.xgm(), devices.xgm_pulses())})
    second = replace(second, files=later)
    write_run(tmp_path / "r0007", first)
    write_run(tmp_path / "r0008", second)
    joined = open_scanned(tmp_path / "r0007").union(open_scanned(tmp_path / "r0008"))
    joined = joined.select("*XGM*")
    getattr(joined, method)(tmp_path / "out.h5")
    for opened in open_both(tmp_path / "out.h5"):
        assert_same_data(opened, joined)
        assert len(opened.train_ids) == 35
    with h5py.File(tmp_path / "out.h5") as f:
        assert "RUN" not in f
        assert "runNumber" not in f["METADATA"]


@pytest.mark.parametrize("method", METHODS)
def test_without_trains_or_sources(tmp_path, method):
    write_run(tmp_path / "r0007", make_run())
    run = open_scanned(tmp_path / "r0007")
    getattr(run[:0], method)(tmp_path / "none.h5")
    opened = open_scanned(tmp_path / "none.h5")
    assert opened.train_ids == []
    assert opened.all_sources == run.all_sources
    assert opened[MODULE, "image.data"].ndarray().shape == (0, 2, 32, 16)
    getattr(run.select({}), method)(tmp_path / "bare.h5")
    assert open_scanned(tmp_path / "bare.h5").train_ids == run.train_ids


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*legacy name:DeprecationWarning")
def test_legacy_names_stay_links(tmp_path, facility, method):
    run = open_scanned(facility.run(900032, 1, "proc").path).select("*/[12]CH0:*")
    getattr(run, method)(tmp_path / "out.h5")
    ours, theirs = open_both(tmp_path / "out.h5")
    assert ours.legacy_sources == theirs.legacy_sources == run.legacy_sources
    assert len(run.legacy_sources) == 2
    assert_same_data(ours, run)
    assert_same_data(theirs, run)
    old_only = run.select("*/DET/1CH0:xtdf")
    getattr(old_only, method)(tmp_path / "old.h5")
    for opened in open_both(tmp_path / "old.h5"):
        assert opened.all_sources == {MODULE}
        assert opened.legacy_sources == {}
        assert_same_data(opened, old_only)


@pytest.mark.parametrize("method", METHODS)
def test_a_target_among_the_sources_is_refused(tmp_path, method):
    spec = make_run()
    paths = write_run(tmp_path / "r0007", spec)
    run = open_scanned(tmp_path / "r0007")
    link = tmp_path / "link.h5"
    link.symlink_to(paths[1])
    before = [p.read_bytes() for p in paths]
    for target in (paths[0], str(paths[1]), link):
        with pytest.raises(TargetFileError, match="choose another") as caught:
            getattr(run.select(XGM), method)(target)
        assert isinstance(caught.value, XfelcatError | ValueError)
    with pytest.raises(TargetFileError):
        run.get_virtual_dataset(XGM, "state", filename=paths[0])
    assert [p.read_bytes() for p in paths] == before


def test_other_files_are_overwritten_and_only_when_complete(tmp_path):
    write_run(tmp_path / "r0007", make_run())
    run = open_scanned(tmp_path / "r0007").select(XGM)
    target = tmp_path / "out.h5"
    target.write_text("something else")
    run[:3].write(target)
    run[3:5].write(target)
    assert open_scanned(target).train_ids == run.train_ids[3:5]
    before = target.read_bytes()
    spec = make_run()
    with h5py.File(tmp_path / "r0007" / spec.file_name(spec.files[1]), "r+") as f:
        values = f[f"CONTROL/{XGM}/beamPosition/ixPos/value"][()].astype("f8")
        del f[f"CONTROL/{XGM}/beamPosition/ixPos/value"]
        f[f"CONTROL/{XGM}/beamPosition/ixPos/value"] = values
    with pytest.raises(InconsistentFilesError):
        open_scanned(tmp_path / "r0007").select(XGM).write(target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    with pytest.raises(FileNotFoundError):
        run.write(tmp_path / "no" / "such" / "folder.h5")


def test_data_are_copied_in_parts(tmp_path, monkeypatch):
    spec = make_run()
    write_run(tmp_path / "r0007", spec)
    run = open_scanned(tmp_path / "r0007")[1:-1]
    seen = []
    execute = write.execute_plan

    def recorded(plan, files, out=None):
        seen.append(plan.n_rows * max(int(np.prod(plan.shape[1:])) * plan.dtype.itemsize, 1))
        return execute(plan, files, out)

    monkeypatch.setattr(write, "_PART_BYTES", 5000)
    monkeypatch.setattr(write, "execute_plan", recorded)
    run.write(tmp_path / "out.h5")
    assert max(seen) <= 5000
    assert len(seen) > 60
    assert_same_data(open_scanned(tmp_path / "out.h5"), run)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        (MODULE, "image.data"),
        (XGM, "state.value"),
        (XGM, "beamPosition.ixPos"),
        ("SPB/ADC/1:network", "peaks.table"),
        ("SPB_IRU_CAM/CAM/SIDEMIC:daqOutput", "data.image.pixels"),
    ],
)
def test_virtual_dataset_is_read_by_plain_h5py(tmp_path, source, key):
    write_run(tmp_path / "r0007", make_run())
    ours, theirs = open_both(tmp_path / "r0007")
    dataset = ours.get_virtual_dataset(source, key, filename=tmp_path / "v.h5")
    reference = theirs.get_virtual_dataset(source, key, filename=tmp_path / "t.h5")
    try:
        assert dataset.is_virtual
        assert (dataset.shape, dataset.name) == (reference.shape, reference.name)
        assert dataset.file.mode == "r"
        assert Path(dataset.file.filename) == tmp_path / "v.h5"
    finally:
        reference.file.close()
        name = dataset.name
        dataset.file.close()
    with h5py.File(tmp_path / "v.h5") as f:
        stored = f[name].asstr()[()] if f[name].dtype.kind == "O" else f[name][()]
        np.testing.assert_array_equal(stored, ours[source, key].ndarray())
    for opened in open_both(tmp_path / "v.h5"):
        np.testing.assert_array_equal(opened[source, key].ndarray(), ours[source, key].ndarray())
        assert opened.train_ids == ours.train_ids


def test_virtual_dataset_in_a_temporary_file_and_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write_run(tmp_path / "r0007", make_run())
    run = open_scanned(tmp_path / "r0007")
    dataset = run.get_virtual_dataset(MODULE, "image.data")
    assert Path(dataset.file.filename).parent == tmp_path
    assert dataset[3:5].tolist() == run[MODULE, "image.data"].ndarray()[3:5].tolist()
    dataset.file.close()
    empty = write.virtual_dataset(run[MODULE, "image.data"][:0].selected)
    assert empty.shape == (0, 2, 32, 16)
    empty.file.close()


def test_virtual_files_need_their_sources_where_they_were(tmp_path):
    folder = tmp_path / "50%b full"
    spec = RunSpec(1, 1, split([5, 6, 7], {"DA01": (control("M/M/M", KeySpec("x", "u8")),)}))
    write_run(folder, spec)
    open_scanned(folder).write_virtual(tmp_path / "v.h5")
    values = oracle.expected_array(spec, "M/M/M", "x.value")
    np.testing.assert_array_equal(open_scanned(tmp_path / "v.h5")["M/M/M", "x"].ndarray(), values)
    shutil.rmtree(folder)
    with h5py.File(tmp_path / "v.h5") as f:
        assert f["CONTROL/M/M/M/x/value"][()].tolist() == [0, 0, 0]


MIXED_MOCKS = [
    "fxe_da-0.5",
    "bad_name-1.0",
    "lpd-0.5",
    "modern_spb_proc-1.3",
    "lpd_mini_gap-1.0",
    "lpd_parallelgain-1.0",
    "remi-1.0",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("empty_source-1.3", "sa3_da-1.3", "no_trains-0.5", "scs-1.0", "fxe_raw-1.2"),
            *("fxe_raw-1.3", "spb_proc-1.0", "spb_proc-1.3", "reduced_spb_raw-1.2"),
        )
    ),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MIXED_MOCKS)
@pytest.mark.filterwarnings("ignore:.*legacy name:DeprecationWarning")
def test_runs_that_extra_data_makes(tmp_path, build_mock, name, method):
    run = open_scanned(build_mock(name))
    if len(run.all_sources) > 30:  # a third of the modules will do
        run = run.select(sorted(run.all_sources)[::3])
    getattr(run, method)(tmp_path / "out.h5")
    for opened in open_both(tmp_path / "out.h5"):
        assert opened.train_ids == run.train_ids
        sources = sorted(s for s in run.all_sources if run.keys_for_source(s))
        assert keys_by_source(opened, sources) == keys_by_source(run, sources)
        for source in sources:
            for key in sorted(run.keys_for_source(source))[:3]:
                found, expected = opened[source, key], run[source, key]
                np.testing.assert_array_equal(found.ndarray(), expected.ndarray())
                np.testing.assert_array_equal(
                    found.train_id_coordinates(), expected.train_id_coordinates()
                )


@pytest.mark.parametrize("method", METHODS)
def test_pipes_and_links_are_not_replaced(tmp_path, method):
    write_tiny(tmp_path / "RAW-R0007-DA01-S00000.h5").close()
    run = open_scanned(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetWriteError, match="pipe is not written: it is no regular file"):
        getattr(run, method)(tmp_path / "pipe")
    (tmp_path / "link.h5").symlink_to("real.h5")
    getattr(run, method)(tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert H5File(tmp_path / "real.h5").train_ids == run.train_ids


FIXED = h5py.string_dtype("utf-8", 10)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(FIXED, "café".encode()), ("S10", b"cafe"), ([("n", "<i4"), ("t", FIXED)], (1, b"\xc3\xa9"))],
)
def test_text_of_fixed_length_keeps_its_encoding(tmp_path, dtype, value):
    """HDF5 converts no UTF-8 to ASCII, and numpy does not know which it is."""
    values = np.array([value] * 10, np.dtype(dtype))
    with write_tiny(tmp_path / "RAW-R0007-DA01-S00000.h5") as f:
        f.create_dataset(f"CONTROL/{TINY}/name/value", data=values)
    ours, theirs = open_both(tmp_path)
    ours.write(tmp_path / "copy.h5")
    ours.write_virtual(tmp_path / "view.h5")
    for run in (ours, H5File(tmp_path / "copy.h5"), H5File(tmp_path / "view.h5")):
        assert_same(run[TINY, "name"].ndarray(), theirs[TINY, "name"].ndarray())
        assert_same(run[TINY, "name"][::3].ndarray(), values[::3])
    for name in ("copy.h5", "view.h5"):
        with h5py.File(tmp_path / name) as f:
            written = f[f"CONTROL/{TINY}/name/value"]
            assert h5py.h5t.py_create(written.dtype) == h5py.h5t.py_create(values.dtype)
            np.testing.assert_array_equal(written[:], values)


@pytest.mark.parametrize(
    ("stored", "values"),
    [
        (h5py.opaque_dtype(np.dtype("M8[ns]")), np.arange(10).astype("M8[ns]")),
        (np.dtype(("<f4", (3, 2))), np.arange(60, dtype="f4").reshape(10, 3, 2)),
    ],
)
def test_times_of_numpy_and_values_that_are_arrays(tmp_path, stored, values):
    with write_tiny(tmp_path / "RAW-R0007-DA01-S00000.h5") as f:
        for section, n in (("CONTROL", 10), ("RUN", 1)):
            made = f.create_dataset(f"{section}/{TINY}/odd/value", (n,), dtype=stored)
            made[...] = values[:n].astype(stored) if values.dtype.kind == "M" else values[:n]
    run, _ = open_both(tmp_path)
    run.write(tmp_path / "copy.h5")
    run.write_virtual(tmp_path / "view.h5")
    for opened in (run, H5File(tmp_path / "copy.h5"), H5File(tmp_path / "view.h5")):
        key = opened[TINY, "odd"]
        np.testing.assert_array_equal(key.ndarray(), values)
        np.testing.assert_array_equal(key[2:9:3].ndarray(), values[2:9:3])
        np.testing.assert_array_equal(key.xarray(), values)
        np.testing.assert_array_equal(opened.get_run_value(TINY, "odd"), values[0])


def test_a_view_of_files_that_are_gone_is_an_error(tmp_path):
    """HDF5 would give zeros; what lies in the files that are left is read."""
    (tmp_path / "run").mkdir()
    for sequence in (0, 1):
        name = f"RAW-R0007-DA01-S{sequence:05}.h5"
        ids = range(1000 + 10 * sequence, 1010 + 10 * sequence)
        write_tiny(tmp_path / "run" / name, sequence=sequence, train_ids=ids).close()
    run = open_scanned(tmp_path / "run")
    run.write_virtual(tmp_path / "view.h5")
    (tmp_path / "run" / name).rename(tmp_path / name.replace("DA01", "DA02"))
    view = H5File(tmp_path / "view.h5")
    for source, key in ((TINY, "power"), (CAMERA_OF_TINY, "data.img")):
        expected = run[source, key][:10].ndarray()
        assert_same(view[source, key][:10].ndarray(), expected)
        with pytest.raises(FileStructureError, match=r"S00001\.h5, which is gone"):
            view[source, key].ndarray()
    for write_again in (view.write, view.write_virtual):
        with pytest.raises(FileStructureError, match=r"S00001\.h5, which is gone"):
            write_again(tmp_path / "again.h5")
    assert not (tmp_path / "again.h5").exists()
    found = {p.where for p in validate(tmp_path / "view.h5", jobs=0, deep=True).problems}
    assert {f"INSTRUMENT/{CAMERA_OF_TINY}/data/img", f"CONTROL/{TINY}/power/value"} <= found
    (tmp_path / name).hardlink_to(tmp_path / name.replace("DA01", "DA02"))  # beside the view
    assert_same(H5File(tmp_path / "view.h5")[TINY, "power"].ndarray(), run[TINY, "power"].ndarray())
