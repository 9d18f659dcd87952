"""Labels, coordinates, regions and single values, where they are ours to define."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support import rich_run
from support.both_readers import open_scanned
from xfelcat.catalog.model.errors import NoDataError
from xfelcat.loader.output import convert
from xfelcat.loader.select.trains import by_index

pytestmark = pytest.mark.fast

XGM, CAMERA, MODULE = rich_run.XGM, rich_run.CAMERA, rich_run.MODULE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_scanned(rich_run.write_rich_run(tmp_path_factory.mktemp("rich"), gaps=(0, 1)))


@pytest.fixture(scope="module")
def pixels(run):
    return run[CAMERA, "data.image.pixels"]


@pytest.mark.parametrize(
    "roi", [by_index[1:5:2, 2:], (by_index[1:5:2], np.s_[2:]), np.s_[1:5:2, 2:]]
)
def test_a_region_by_index_has_its_own_coordinates(pixels, roi):
    whole = pixels.ndarray()
    array = pixels.xarray(extra_dims=["y", "x"], roi=roi)
    assert array.dims == ("trainId", "y", "x")
    assert array.y.values.tolist() == [1, 3]
    assert array.x.values.tolist() == [2, 3]
    np.testing.assert_array_equal(array, whole[:, 1:5:2, 2:])
    assert array.trainId.values.tolist() == pixels.train_id_coordinates().tolist()


def test_given_coordinates_follow_the_region(pixels):
    # EXtra-data wants coordinates of the region's size, though it promises to match them.
    for values in (np.arange(6) * 10.0, np.array([20.0, 30.0])):
        array = pixels.xarray(extra_coords={"dim_0": values}, roi=np.s_[2:4])
        assert array.dim_0.values.tolist() == [20.0, 30.0]
    with pytest.raises(ValueError, match="dim_9"):
        pixels.xarray(extra_coords={"dim_9": [1]})
    with pytest.raises(ValueError, match="1 names"):
        pixels.xarray(extra_dims=["y"])


def test_a_dimension_that_an_integer_removes(pixels):
    whole = pixels.ndarray()
    for names in (["y", "x"], ["x"]):
        array = pixels.xarray(extra_dims=names, roi=np.s_[3])
        assert array.dims == ("trainId", "x")
        np.testing.assert_array_equal(array, whole[:, 3])
    kept = pixels.xarray(extra_dims=["y", "x"], roi=np.s_[3])
    assert int(kept.y) == 3


def test_structured_data_are_a_dataset(run):
    key = run[MODULE, "image.mark"]
    found = key.xarray(name="ignored")
    assert isinstance(found, xr.Dataset)
    for field in ("x", "y"):
        np.testing.assert_array_equal(found[field], key.ndarray()[field])
        assert found[field].dims == ("trainId",)
    with pytest.raises(ValueError, match="fields"):
        key.series()


def test_a_dataframe_is_the_outer_join_of_its_columns(run):
    frame = run.get_dataframe([(XGM, "beam*"), (MODULE, "header.*")])
    assert list(frame.columns) == [
        f"{XGM}/beamPosition.ixPos",
        f"{XGM}/beamPosition.iyPos",
        f"{MODULE}/header.pulseCount",
    ]
    counts = run[MODULE, "header.pulseCount"].series()
    assert frame.index.tolist() == run.train_ids
    assert frame.index.name == "trainId"
    assert frame[f"{MODULE}/header.pulseCount"].dropna().astype("u4").to_dict() == counts.to_dict()
    stamped = run.get_dataframe({XGM: {"state"}}, timestamps=True)
    assert list(stamped.columns) == [f"{XGM}/state"]
    with_times = run.select(XGM, "state*").get_dataframe(timestamps=True)
    assert f"{XGM}/state.timestamp" in with_times.columns
    assert len(run.get_dataframe([])) == 0
    with pytest.raises(TypeError, match="1D"):
        run.get_dataframe([(CAMERA, "*")])


def test_series_of_many_entries_per_train(run):
    ids = run[MODULE, "image.pulseId"].series()
    assert isinstance(ids, pd.Series)
    assert ids.index.tolist() == run[MODULE, "image.pulseId"].train_id_coordinates().tolist()


def test_single_values(run):
    energy = run[XGM, "beamPosition.ixPos"]
    data = energy.ndarray()
    with pytest.raises(ValueError, match="rtol= or atol="):
        energy.as_single_value()
    spread = float(np.ptp(data)) + 1
    assert energy.as_single_value(atol=spread) == np.median(data)
    assert energy.as_single_value(atol=spread, reduce_by="first") == data[0]
    assert energy.as_single_value(atol=spread, reduce_by=lambda a: a[3]) == data[3]
    assert energy[:1].as_single_value() == data[0]
    for wrong in ("no_such_function", 3, "pi"):
        with pytest.raises(ValueError, match="reduce_by"):
            energy.as_single_value(reduce_by=wrong)
    with pytest.raises(NoDataError, match="no data"):
        energy[:0].as_single_value()
    with pytest.raises(ValueError, match="different"):
        run[XGM, "state"].as_single_value()
    assert type(run[XGM, "state"][:1].as_single_value()) is str


def test_dask_chunks_are_of_one_file_and_bounded(run, monkeypatch):
    key = run[MODULE, "image.data"]
    expected = key.ndarray()
    assert len(key.dask_array().chunks[0]) == 2  # files
    row = expected[0].nbytes
    monkeypatch.setattr(convert, "CHUNK_BYTES", 5 * row)
    array = key.dask_array()
    assert sum(array.chunks[0]) == len(expected)
    assert max(array.chunks[0]) <= 5 + 4  # a train stays whole
    np.testing.assert_array_equal(array.compute(scheduler="synchronous"), expected)
    np.testing.assert_array_equal(array[3:9, 1].compute(scheduler="threads"), expected[3:9, 1])
    assert key.dask_array().name == array.name
    assert key[:10].dask_array().name != array.name
    labelled = key.dask_array(labelled=True)
    assert labelled.trainId.values.tolist() == key.train_id_coordinates().tolist()
    text = run[XGM, "state"].dask_array()
    assert text.compute(scheduler="synchronous").tolist() == run[XGM, "state"].ndarray().tolist()


def test_the_size_of_dask_chunks_can_be_said(run):
    key = run[MODULE, "image.data"]
    row = key.nbytes // key.shape[0]
    array = key.dask_array(chunk_bytes=5 * row)
    assert 5 <= max(array.chunks[0]) <= 5 + 4
    np.testing.assert_array_equal(array.compute(scheduler="threads"), key.ndarray())
    with pytest.raises(ValueError, match="chunk_bytes is 0"):
        key.dask_array(chunk_bytes=0)


def test_dask_tasks_share_open_files_in_a_process_and_close_them_in_another(tmp_path, monkeypatch):
    run = open_scanned(rich_run.write_rich_run(tmp_path))
    key = run[MODULE, "image.data"]
    monkeypatch.setattr(convert, "CHUNK_BYTES", 1)
    threads = []
    real = convert.execute_plan
    monkeypatch.setattr(
        convert, "execute_plan", lambda *a, n_threads: threads.append(n_threads) or real(*a)
    )
    array = key.dask_array()
    array.compute(scheduler="threads")
    assert run.selected.files.n_opened == 2
    assert set(threads) == {1}
    assert len(threads) == array.npartitions > 10
    read, plan, files = pickle.loads(pickle.dumps(next(iter(array.dask.values()))))
    assert len(read(plan, files)) == plan.n_rows
    assert (files.n_opened, len(files)) == (1, 0)


def test_making_a_dask_array_opens_no_file(tmp_path):
    run = open_scanned(rich_run.write_rich_run(tmp_path))
    run[MODULE, "image.data"].dask_array()
    assert run.selected.files.n_opened == 0
