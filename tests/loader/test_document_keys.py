"""The document, "Getting data by source & key": each sentence holds for whatever is opened."""

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support.documented_data import FAST, MODULE, NEW, SLOW_FAST, XGM
from support.same_results import assert_same
from xfelcat import KeyData, MultiRunError, NoDataError, PropertyNameError, SourceData, by_index

pytestmark = pytest.mark.filterwarnings("ignore:.*legacy name:DeprecationWarning")
FLUX = "pulseEnergy.photonFlux"
POSITION = "beamPosition.ixPos"


def modules(view):
    """A detector module of the data; the single file has none, but a pipeline."""
    return (MODULE, "image.data") if MODULE in view.run.all_sources else (FAST, "data.intensityTD")


def pairs(view):
    """Keys of each kind: a control value, one entry per train, gaps, frames."""
    for place in ((XGM, POSITION), (FAST, "data.intensityTD"), (SLOW_FAST, "data.xTD")):
        yield view.run[place], view.theirs[place]
    place = modules(view)
    yield view.run[place], view.theirs[place]


def test_a_source_lists_its_keys_and_gives_key_data(view):
    xgm = view.run[XGM]
    assert isinstance(xgm, SourceData)
    assert xgm.keys() == view.theirs[XGM].keys()
    assert isinstance(xgm[POSITION], KeyData)
    assert_same(xgm[POSITION].ndarray(), view.run[XGM, POSITION].ndarray())


def test_dtype_ndim_shape_and_sizes(view):
    for ours, theirs in pairs(view):
        data = theirs.ndarray()
        assert (ours.dtype, ours.ndim, ours.shape) == (data.dtype, data.ndim, data.shape)
        assert ours.ndim >= 1
        assert ours.entry_shape == ours.shape[1:]
        assert ours.nbytes == data.nbytes
        assert (ours.size_mb, ours.size_gb) == (data.nbytes / 1e6, data.nbytes / 1e9)


def test_data_counts_are_labelled_by_default(view):
    for ours, theirs in pairs(view):
        assert_same(ours.data_counts(), theirs.data_counts())
        plain = ours.data_counts(labelled=False)
        assert isinstance(plain, np.ndarray)
        assert len(plain) == len(ours.train_ids)
        assert plain.sum() == ours.shape[0]


def test_ndarray_with_roi_and_out(view):
    for ours, theirs in pairs(view):
        data = theirs.ndarray()
        assert_same(ours.ndarray(), data)
        out = np.empty(ours.shape, ours.dtype)
        assert ours.ndarray(out=out) is out
        assert_same(out, data)
        if ours.ndim > 1:
            assert_same(ours.ndarray(roi=np.s_[1:4]), data[:, 1:4])
            assert_same(ours.ndarray(roi=by_index[1:4]), data[:, 1:4])
        if ours.ndim > 3:
            assert_same(ours.ndarray(roi=np.s_[:, 5:10]), data[:, :, 5:10])


def test_series_is_only_for_1d_data(view):
    series = view.run[XGM, POSITION].series()
    assert_same(series, view.theirs[XGM, POSITION].series())
    assert_same(view.run.get_series(XGM, POSITION), series)
    with pytest.raises(TypeError, match="1D"):
        view.run[FAST, "data.intensityTD"].series()


def test_xarray_labels_trains_and_names_dimensions(view):
    for ours, theirs in pairs(view):
        found = ours.xarray()
        assert isinstance(found, xr.DataArray)
        assert_same(found, theirs.xarray())
        assert found.dims[0] == "trainId"
        assert found.dims[1:] == tuple(f"dim_{i}" for i in range(ours.ndim - 1))
        assert found.name == f"{ours.source}.{ours.key.removesuffix('.value')}"  # joined by a dot
        assert ours.xarray(name="mine").name == "mine"
        names = [f"axis{i}" for i in range(ours.ndim - 1)]
        assert ours.xarray(extra_dims=names).dims[1:] == tuple(names)
    place = modules(view)
    for roi in (np.s_[:8], by_index[:8]):
        assert_same(view.run.get_array(*place, roi=roi, name="x").values,
                    view.theirs[place].ndarray()[:, :8])  # fmt: skip


def test_dask_array_does_not_load_until_computed(view, monkeypatch):
    opened = []
    real = h5py.File
    monkeypatch.setattr(h5py, "File", lambda *a, **k: opened.append(a) or real(*a, **k))
    for ours, theirs in pairs(view):
        del opened[:]
        lazy = ours.dask_array()
        assert (lazy.shape, lazy.dtype) == (ours.shape, ours.dtype)
        assert opened == []
        assert_same(lazy.compute(scheduler="synchronous"), theirs.ndarray())
    labelled = view.run.get_dask_array(*modules(view), labelled=True)
    assert isinstance(labelled, xr.DataArray)
    assert labelled.trainId.values.tolist() == ours.train_id_coordinates().tolist()


def test_train_id_coordinates_repeat_and_leave_out(view):
    for ours, theirs in pairs(view):
        found = ours.train_id_coordinates()
        assert_same(found, theirs.train_id_coordinates())
        assert len(found) == ours.shape[0]
        assert found.tolist() == np.repeat(ours.train_ids, ours.data_counts()).tolist()
    some = view.run[SLOW_FAST, "data.xTD"]
    assert set(some.train_id_coordinates().tolist()) < set(some.train_ids)


def test_select_trains_and_slicing_a_key(view):
    for ours, theirs in pairs(view):
        for part in (np.s_[:10], np.s_[3:9:2]):
            assert_same(ours[part].ndarray(), theirs[part].ndarray())
            assert ours.select_trains(part).train_ids == ours[part].train_ids
        assert len(ours.train_ids) >= 20  # and the key itself is as it was


def test_split_trains_gives_parts_of_similar_size(view):
    for ours, _ in pairs(view):
        eleven = ours[:11]
        parts = eleven.split_trains(trains_per_part=8)
        assert iter(parts) is parts
        assert [len(p.train_ids) for p in parts] in ([5, 6], [6, 5])  # not 8 & 3
        # A minimum with trains_per_part; fewer where there are fewer trains; trains without data
        # count too.
        assert len(list(eleven.split_trains(parts=2, trains_per_part=2))) == 6
        assert len(list(eleven.split_trains(parts=99))) == 11
        assert_same(np.concatenate([p.ndarray() for p in ours.split_trains(parts=4)]),
                    ours.ndarray())  # fmt: skip
    with pytest.raises(ValueError, match="parts"):
        list(ours.split_trains())


def test_drop_empty_trains(view):
    for ours, theirs in pairs(view):
        found = ours.drop_empty_trains()
        assert found.train_ids == theirs.drop_empty_trains().train_ids
        assert (found.data_counts() > 0).all()
        assert_same(found.ndarray(), theirs.ndarray())


def test_as_single_value(view):
    one, theirs = view.run[XGM, POSITION], view.theirs[XGM, POSITION]
    data = one.ndarray()
    with pytest.raises(ValueError, match="not one value"):
        one.as_single_value()
    wide = float(np.ptp(data)) + 1
    assert one.as_single_value(atol=wide) == theirs.as_single_value(atol=wide) == np.median(data)
    assert one.as_single_value(rtol=1e9) == np.median(data)
    assert one.as_single_value(atol=wide, reduce_by="first") == data[0]
    assert one.as_single_value(atol=wide, reduce_by="max") == data.max()
    assert one.as_single_value(atol=wide, reduce_by=lambda d: d[-1]) == data[-1]
    with pytest.raises(NoDataError):
        one[:0].as_single_value()


def test_units(view):
    key = view.run[XGM, FLUX]
    expected = ("μJ", "microjoule") if view.proposal == NEW else (None, None)
    assert (key.units, key.units_name) == expected


def test_get_dataframe_links_columns(view):
    fields = [("*_XGM/*", "*.i[xy]Pos"), ("*_XGM/*", "*.photonFlux")]
    table = view.run.get_dataframe(fields=fields)
    assert isinstance(table, pd.DataFrame)
    assert_same(table, view.theirs.get_dataframe(fields=fields))
    assert len(table.columns) == 6
    assert not any("timestamp" in c for c in table.columns)  # the default
    timed = view.run.get_dataframe(fields={XGM: {"beamPosition.ixPos.value",
                                                 "beamPosition.ixPos.timestamp"}},
                                   timestamps=True)  # fmt: skip
    assert sum("timestamp" in c for c in timed.columns) == 1


def test_virtual_dataset_looks_like_an_array(view, tmp_path):
    place = modules(view)
    (tmp_path / "v.h5").write_text("overwriting if it already exists")
    dataset = view.run.get_virtual_dataset(*place, filename=tmp_path / "v.h5")
    assert isinstance(dataset, h5py.Dataset)
    name = dataset.name
    dataset.file.close()
    with h5py.File(tmp_path / "v.h5") as f:
        assert f[name].is_virtual
        assert_same(f[name][()], view.theirs[place].ndarray())


def test_run_values_are_of_a_single_run(view):
    source = next(s for s in view.run.control_sources if s.endswith("TIMESERVER"))
    if view.kind == "union":
        for ask in (lambda: view.run.get_run_value(source, "period"),
                    lambda: view.run.get_run_values(source)):  # fmt: skip
            with pytest.raises(MultiRunError):
                ask()
        return
    assert view.run.get_run_value(source, "period") == 100
    assert view.run.get_run_values(source) == {
        k: v.decode() if isinstance(v, bytes) else v
        for k, v in view.raw.get_run_values(source).items()
    }
    # This includes keys which are also in CONTROL; from the catalog in the order of the files.
    assert "beamPosition.ixPos.value" in view.run.get_run_values(XGM)
    for name in view.run.control_sources:
        keys = list(view.run.get_run_values(name))
        assert keys == sorted(keys), name
    with pytest.raises(PropertyNameError):
        view.run.get_run_value(source, "nonsense")
