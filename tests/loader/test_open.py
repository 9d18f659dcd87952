"""Paths, proposals and run numbers lead to a collection, or to an error that helps."""

import shutil

import numpy as np
import pytest
import xfelcat
from xfelcat.catalog.model.errors import FileStructureError, RunNotFoundError
from xfelcat.loader.examples import KeySpec, RunSpec, control, split, write_run

pytestmark = pytest.mark.fast

XGM = control("SA1_XTD2_XGM/XGM/DOOCS", KeySpec("beamPosition.ixPos"))
BELOW = "SPB/202201/p002012"


def spec(run, source=XGM):
    return RunSpec(2012, run, split(range(1000, 1020), {"DA01": [source]}, sequences=2))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("XFELCAT_CATALOG", raising=False)
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(tmp_path / "exp"))
    for run in (1, 2, 7):
        write_run(tmp_path / "exp" / BELOW / f"raw/r{run:04d}", spec(run))
    write_run(tmp_path / "exp" / BELOW / "proc/r0002", spec(2))
    return tmp_path / "exp"


def is_the_run(run):
    return run.train_ids == list(range(1000, 1020)) and XGM.name in run.all_sources


@pytest.mark.parametrize("proposal", [2012, "2012", "p002012", "path"])
@pytest.mark.parametrize("run", [7, "7", "r0007"])
def test_every_way_to_write_a_run(root, proposal, run):
    where = str(root / BELOW) if proposal == "path" else proposal
    assert is_the_run(xfelcat.open_run(where, run, save=False))


def test_an_absent_run_names_places_and_the_nearest(root):
    with pytest.raises(RunNotFoundError) as caught:
        xfelcat.open_run(2012, 6)
    assert caught.value.looked_at == (str(root / BELOW / "raw/r0006"),)
    assert caught.value.nearest[0] == "r0007"
    with pytest.raises(RunNotFoundError) as caught:
        xfelcat.open_run(2013, 1)
    assert caught.value.looked_at == (f"{root}/*/*/p002013",)
    assert caught.value.nearest == (str(root / BELOW),)
    with pytest.raises(RunNotFoundError, match="r0243"):
        xfelcat.open_run(2012, "first")
    with pytest.raises(FileNotFoundError):
        xfelcat.open_run(2012, 1, data="proc")


def test_an_absent_folder_warns_or_is_allowed(root):
    with pytest.warns(UserWarning, match="without proc"):
        assert is_the_run(xfelcat.open_run(2012, 1, data="all", save=False))
    assert is_the_run(xfelcat.open_run(2012, 1, data="default", save=False))
    with pytest.raises(RunNotFoundError) as caught:  # and no warning: nothing is opened
        xfelcat.open_run(2012, 5, data=["proc", "raw"], save=False)
    assert caught.value.looked_at == tuple(
        str(root / BELOW / f"{d}/r0005") for d in ("proc", "raw")
    )
    with pytest.raises(ValueError, match="names no folder"):
        xfelcat.open_run(2012, 1, data=[])


def test_later_folders_replace_sources_of_earlier_ones(root):
    run = xfelcat.open_run(2012, 2, data=["raw", "proc"], save=False)
    assert {"/proc/" in f.path for f in run.files} == {True}
    run = xfelcat.open_run(2012, 2, data="default", save=False)
    assert {"/raw/" in f.path for f in run.files} == {True}


def test_a_file_may_have_any_name(root, tmp_path):
    path = next((root / BELOW / "raw/r0001").glob("*S00001.h5"))
    shutil.copy(path, tmp_path / "part.hdf5")
    file = xfelcat.H5File(tmp_path / "part.hdf5")
    assert file.train_ids == list(range(1010, 1020))
    ours = file[XGM.name, "beamPosition.ixPos"].ndarray()
    np.testing.assert_array_equal(
        ours, xfelcat.H5File(path)[XGM.name, "beamPosition.ixPos"][:].ndarray()
    )
    (tmp_path / "notes.txt").write_text("no HDF5")
    with pytest.raises(FileStructureError, match=r"notes\.txt"):
        xfelcat.H5File(tmp_path / "notes.txt")
    with pytest.raises(RunNotFoundError, match=r"part\.hdf5"):
        xfelcat.H5File(tmp_path / "prat.hdf5")


def test_include_and_file_filter(root):
    path = root / BELOW / "raw/r0001"
    assert len(xfelcat.RunDirectory(path, include="*S00001*").train_ids) == 10
    assert len(xfelcat.RunDirectory(path, file_filter=lambda paths: paths[:1]).train_ids) == 10
    with pytest.raises(RunNotFoundError, match="include="):
        xfelcat.RunDirectory(path, include="*LPD*")


def test_bad_files_are_left_out_with_a_warning(root):
    path = root / BELOW / "raw/r0001"
    (path / "RAW-R0001-DA02-S00000.h5").write_text("no HDF5")
    with pytest.warns(UserWarning, match=r"1 of 3 files left out: RAW-R0001-DA02-S00000\.h5"):
        assert is_the_run(xfelcat.RunDirectory(path, save=False))
    for good in path.glob("*DA01*"):
        good.unlink()
    with pytest.raises(FileStructureError, match="no usable data file"):
        xfelcat.RunDirectory(path, save=False)


def test_the_default_alias_file_is_used_where_there_is_one(root):
    assert xfelcat.open_run(2012, 1, save=False).alias is not None
    (root / BELOW / "usr").mkdir()
    (root / BELOW / "usr/extra-data-aliases.yml").write_text(f"xgm: {XGM.name}\n")
    assert xfelcat.open_run(2012, 1, save=False).alias["xgm"].source == XGM.name
    with pytest.raises(KeyError):
        xfelcat.open_run(2012, 1, aliases=None, save=False).alias["xgm"]


def test_what_is_no_file_and_a_folder_that_is_not_there(root):
    run = root / BELOW / "raw/r0001"
    with pytest.raises(FileStructureError, match="a directory, not a file; RunDirectory"):
        xfelcat.H5File(run)
    with pytest.raises(RunNotFoundError) as caught:
        xfelcat.open_run(2012, 1, data="prok")
    assert caught.value.nearest == (str(root / BELOW / "proc"),)
