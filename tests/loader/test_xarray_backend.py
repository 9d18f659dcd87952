"""Runs as xarray datasets: what is read, lazily and in any part, equals the run's own arrays."""

import pickle
import warnings

import numpy as np
import pytest
import xarray as xr
import xfelcat
from hypothesis import given
from hypothesis import strategies as st
from xfelcat.catalog.model.errors import PropertyNameError, RunNotFoundError, SourceNameError
from xfelcat.loader.select.selection import parse_region
from xfelcat.loader.xarray_backend import LazyRows

XGM, FAST = "SA1_XTD2_XGM/XGM/DOOCS", "SA1_XTD2_XGM/XGM/DOOCS:output"
MODULE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"


@pytest.fixture(scope="module")
def path(demo):
    return demo.summary.run(900032, 1).path


@pytest.fixture(scope="module")
def run(demo, path):
    return xfelcat.RunDirectory(path, catalog=demo.location)


def open_dataset(what, **options):
    return xr.open_dataset(what, engine="xfelcat", **options)


def in_dataset(source):
    """A source in names of variables."""
    return source.replace("/", "-")


def equals(variable, key):
    np.testing.assert_array_equal(variable.values, key.ndarray())
    assert variable.dtype == key.dtype
    assert variable.attrs.get("units") == key.units


def test_control_values_of_a_run(demo, path, run):
    ds = open_dataset(path, catalog=demo.location)
    assert ds.trainId.values.tolist() == run.train_ids
    names = {
        f"{in_dataset(s)}.{k.removesuffix('.value')}": (s, k)
        for s in run.control_sources
        for k in run[s].keys(inc_timestamps=False)
    }
    assert set(ds.data_vars) == set(names)
    for name, (source, key) in names.items():
        equals(ds[name], run[source, key])
        assert (ds[name].attrs["source"], ds[name].attrs["key"]) == (source, f"{key}.value")
    np.testing.assert_array_equal(ds.time, run.train_timestamps())
    assert ds.attrs["runNumber"] == 1


def test_a_group_is_one_source(demo, path, run):
    ds = open_dataset(path, group=XGM, key="beam*", catalog=demo.location)
    assert set(ds.data_vars) == {"beamPosition.ixPos", "beamPosition.iyPos"}
    equals(ds["beamPosition.ixPos"], run[XGM, "beamPosition.ixPos"])
    dropped = open_dataset(path, group=XGM, drop_variables="state")
    assert set(open_dataset(path, group=XGM).data_vars) - set(dropped.data_vars) == {"state"}


def test_entries_of_a_detector_module(demo, path, run):
    ds = open_dataset(path, group=MODULE, key="image.*", catalog=demo.location)
    np.testing.assert_array_equal(ds.trainId, run[MODULE, "image.data"].train_id_coordinates())
    for name, variable in ds.data_vars.items():
        equals(variable, run[MODULE, name])
    lazily = open_dataset(path, group=MODULE, key="image.*", chunks={})
    assert lazily["image.data"].chunks is not None
    assert lazily.identical(ds)


def test_several_entries_per_train_are_left_out_of_trains(path):
    with pytest.warns(UserWarning, match="several entries per train") as caught:
        ds = open_dataset(path, source=[MODULE, XGM])
    assert not any(name.startswith(f"{in_dataset(MODULE)}.image") for name in ds.data_vars)
    assert f"{in_dataset(XGM)}.state" in ds.data_vars
    assert len(caught) == 1


def test_a_saved_dataset_is_whole_when_it_is_opened_again(path, tmp_path):
    ds = open_dataset(path).isel(trainId=slice(4))
    ds = ds.drop_vars([n for n, v in ds.data_vars.items() if v.dtype.kind == "O"])
    ds.to_zarr(tmp_path / "run.zarr", consolidated=False, zarr_format=2)
    again = xr.open_zarr(tmp_path / "run.zarr", consolidated=False)
    xr.testing.assert_equal(again, ds)
    assert set(again.data_vars) == set(ds.data_vars)
    assert not any("/" in name for name in map(str, ds.variables))
    assert {v.attrs["source"] for v in again.data_vars.values()} > {XGM}
    ds.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as again:
        xr.testing.assert_equal(again, ds)
        assert {v.attrs["source"] for v in again.data_vars.values()} > {XGM}


def test_only_what_is_asked_for_is_read(run, monkeypatch):
    ds = open_dataset(run, group=MODULE, key="image.*")
    read = []
    original = LazyRows.read
    monkeypatch.setattr(
        LazyRows,
        "read",
        lambda self, rows, roi: (
            read.append((rows.tolist(), parse_region(roi, self.key.entry_shape).hull))
            or original(self, rows, roi)
        ),
    )
    part = ds["image.data"][4:6, 0, 3:5].values
    hull = (slice(0, 1, 1), slice(3, 5, 1), slice(0, ds.sizes["dim_2"], 1))
    assert read == [([4, 5], hull)]
    np.testing.assert_array_equal(part, run[MODULE, "image.data"].ndarray()[4:6, 0, 3:5])


SHAPE = (60, 2, 32, 16)


def slices(n):
    """Without empty ones that go backwards, of which xarray itself makes an IndexError."""
    return st.slices(n).filter(lambda s: (s.step or 1) > 0 or range(n)[s])


INDEX = st.tuples(
    *(
        st.integers(-n, n - 1)
        | slices(n)
        | st.lists(st.integers(-n, n - 1), max_size=4).map(lambda v: np.array(v, np.int64))
        for n in SHAPE
    )
)


@given(index=INDEX)
def test_any_index_gives_what_numpy_gives(whole, index):
    ds, array = whole
    expected = array
    for axis in reversed(range(array.ndim)):
        expected = expected[(slice(None),) * axis + (index[axis],)]
    np.testing.assert_array_equal(ds[index].values, expected)


@pytest.fixture(scope="module")
def whole(run):
    ds = open_dataset(run, group=MODULE, key="image.data")
    assert ds["image.data"].shape == SHAPE
    return ds["image.data"], run[MODULE, "image.data"].ndarray()


def test_trains_without_data_are_filled_or_dropped(demo):
    run = xfelcat.RunDirectory(demo.summary.run(900032, 3).path, save=False)
    gaps = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outer = open_dataset(run, source="*")
        inner = open_dataset(run, source="*", join="inner")
    for name, variable in outer.data_vars.items():
        key = run[variable.attrs["source"], variable.attrs["key"]].drop_empty_trains()
        there = np.isin(outer.trainId.values, key.train_id_coordinates())
        np.testing.assert_array_equal(variable.values[there], key.ndarray())
        np.testing.assert_array_equal(inner[name].values, outer[name].sel(trainId=inner.trainId))
        missing = variable.values[~there]
        if len(missing):
            gaps[name] = variable.dtype.kind
            assert (
                all(m is None for m in missing)
                if key.dtype.kind == "O"
                else np.isnan(missing).all()
            )
        else:
            assert variable.dtype == key.dtype
        assert variable.dtype.kind in ("f" if len(missing) else "biufO")
    assert gaps
    assert len(inner.trainId) < len(outer.trainId)


def test_by_name_and_as_pickle(demo, path):
    by_name = open_dataset("p900032/raw/r0001", group=XGM, catalog=demo.location)
    assert by_name.identical(open_dataset(path, group=XGM))
    again = pickle.loads(pickle.dumps(open_dataset(path, group=XGM)))
    assert again.identical(by_name)
    file = next(path.glob("*DA01-S00000.h5"))
    assert len(open_dataset(file, group=XGM).trainId) <= len(by_name.trainId)


def test_what_is_not_there(demo, path):
    with pytest.raises(SourceNameError, match="NO"):
        open_dataset(path, group="NO")
    with pytest.raises(SourceNameError, match="NO"):
        open_dataset(path, source="NO*")
    with pytest.raises(PropertyNameError, match="nothing"):
        open_dataset(path, group=XGM, key="nothing*")
    with pytest.raises(ValueError, match="not both"):
        open_dataset(path, group=XGM, source="*")
    with pytest.raises(ValueError, match="join"):
        open_dataset(path, join="left")
    with pytest.raises(RunNotFoundError, match="names 6 runs"):
        open_dataset("p900032/raw", catalog=demo.location)
