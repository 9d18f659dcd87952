"""The document, "Getting data by train": each sentence holds for whatever is opened."""

import pytest
from support import rich_run
from support.documented_data import SLOW_FAST, XGM, open_paths
from support.same_results import assert_same
from xfelcat import RunDirectory, TrainIDError, by_id, by_index

pytestmark = pytest.mark.filterwarnings("ignore:.*legacy name:DeprecationWarning")
GAPPY = (SLOW_FAST, "data.xTD")  # data for three of four trains
CHOSEN = {XGM: {"beamPosition.ixPos"}, SLOW_FAST: {"data.xTD", "data.intensityTD"}}


@pytest.fixture
def both(view):
    return view.run.select(CHOSEN), view.theirs.select(CHOSEN)


def test_key_trains_skips_missing_ones(view):
    key = view.run[GAPPY]
    found = list(key.trains())
    assert_same(found, list(view.theirs[GAPPY].trains()))
    assert [tid for tid, _ in found] == key.drop_empty_trains().train_ids
    assert all(array.ndim == key.ndim - 1 for _, array in found)  # the train axis is removed
    kept = list(key.trains(keep_dims=True))
    assert all(array.shape[0] == 1 for _, array in kept)


def test_key_trains_with_empty_ones(view):
    key = view.run[GAPPY]
    found = dict(key.trains(include_empty=True))
    assert list(found) == key.train_ids
    empty = set(key.train_ids) - set(key.drop_empty_trains().train_ids)
    assert empty
    assert all(found[tid] is None for tid in empty)
    kept = dict(key.trains(include_empty=True, keep_dims=True))
    assert all(len(kept[tid]) == 0 for tid in empty)  # zero-length with keep_dims


def test_key_train_from_id_and_index_return_train_and_array(view):
    key, theirs = view.run[GAPPY], view.theirs[GAPPY]
    tid = key.drop_empty_trains().train_ids[3]
    at = key.train_ids.index(tid)
    for options in ({}, {"keep_dims": True}):
        assert_same(key.train_from_id(tid, **options), theirs.train_from_id(tid, **options))
        assert key.train_from_id(tid, **options)[0] == tid
        assert_same(key.train_from_index(at, **options), key.train_from_id(tid, **options))
    with pytest.raises(TrainIDError, match=rf"17 .*trains {key.train_ids[0]} to"):
        key.train_from_id(17)


def test_trains_gather_all_sources(both):
    ours, theirs = both
    assert_same(list(ours.trains()), list(theirs.trains()))
    assert_same(list(ours.trains(flat_keys=True)), list(theirs.trains(flat_keys=True)))
    _, data = next(ours.trains())
    assert data[XGM]["metadata"]["source"] == XGM


def test_devices_and_train_range_narrow_the_iteration(view, both):
    ours, theirs = both
    ids = ours.train_ids
    for devices in (CHOSEN, [("*XGM/DOOCS", "beamPosition.ixPos")]):
        got = [
            (t, {s: set(d) for s, d in data.items()})
            for t, data in view.run.trains(devices=devices, train_range=by_id[ids[2] : ids[6]])
        ]
        want = [(t, {s: set(d) for s, d in data.items()})
                for t, data in view.run.select(devices)[2:6].trains()]  # fmt: skip
        assert got == want
        assert [t for t, _ in got] == ids[2:6]
    assert [t for t, _ in ours.trains(train_range=by_index[-3:])] == ids[-3:]
    assert_same(list(ours.trains(train_range=by_index[1:4])), list(theirs[1:4].trains()))


def test_require_all_skips_trains_without_all_the_selected_data(both):
    ours, theirs = both
    found = list(ours.trains(require_all=True))
    assert_same(found, list(theirs.trains(require_all=True)))
    assert 0 < len(found) < len(ours.train_ids)
    assert all(SLOW_FAST in data and XGM in data for _, data in found)


def test_keep_dims_keeps_the_first_dimension(both):
    ours, _ = both
    for _, data in ours.trains(flat_keys=True, keep_dims=True):
        assert all(v.shape[0] == 1 for k, v in data.items() if k[1] != "metadata")
    tid = ours.train_ids[0]
    flat = ours.train_from_id(tid, devices=CHOSEN, flat_keys=True, keep_dims=True)[1]
    assert flat[XGM, "beamPosition.ixPos.value"].shape == (1,)
    assert ours.train_from_id(tid, flat_keys=True)[1][XGM, "beamPosition.ixPos.value"].shape == ()


def test_train_from_id_and_index(both):
    ours, theirs = both
    for at in (0, 3, len(ours.train_ids) - 1):
        tid = ours.train_ids[at]
        for options in ({}, {"flat_keys": True}):
            assert_same(ours.train_from_id(tid, **options), theirs.train_from_id(tid, **options))
            assert_same(ours.train_from_index(at, **options), ours.train_from_id(tid, **options))
        narrowed = ours.train_from_index(at, devices=[(XGM, "*")])
        assert set(narrowed[1]) == {XGM}
    # Raises KeyError if train_id is not found
    with pytest.raises(KeyError, match=rf"17 .*trains {ours.train_ids[0]} to"):
        ours.train_from_id(17)
    with pytest.raises(IndexError):
        ours.train_from_index(10**6)


def test_keys_are_only_there_where_they_have_data(both):
    ours, _ = both
    full = set(ours[GAPPY].drop_empty_trains().train_ids)
    for tid, data in ours.trains(flat_keys=True):
        assert (GAPPY in data) == (tid in full)
        assert (XGM, "beamPosition.ixPos.value") in data
    # As decided, a source keeps its "metadata" in every train.
    for tid, data in ours.trains():
        assert (data[SLOW_FAST].keys() > {"metadata"}) == (tid in full)


def test_arrays_skip_trains_that_miss_data(view):
    full = view.run[GAPPY].drop_empty_trains().train_ids
    assert view.run.get_array(*GAPPY).trainId.values.tolist() == full


def test_series_skip_trains_and_tables_fill_them(tmp_path):
    path = rich_run.write_rich_run(tmp_path)
    ours, theirs = RunDirectory(path, save=False), open_paths(path)
    gappy = (rich_run.MODULE, "header.pulseCount")  # two of three trains
    fields = [(rich_run.XGM, "beamPosition.ixPos"), gappy]
    full = ours[gappy].drop_empty_trains().train_ids
    assert ours.get_series(*gappy).index.tolist() == full
    table = ours.get_dataframe(fields)
    # Rows for which any column has data, filled with NaN where another has none.
    assert table.index.tolist() == ours.train_ids
    assert sorted(table.isna().sum()) == [0, len(ours.train_ids) - len(full)]
    assert_same(table, theirs.get_dataframe(fields))


def test_plot_missing_data_shows_the_source_with_gaps(view):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    for options in ({}, {"min_saved_pct": 95, "expand_instrument": True}):
        axes = view.run.select("*XGM*").plot_missing_data(**options)
        labels = [t.get_text() for t in axes.get_yticklabels()]
        assert any(SLOW_FAST in label for label in labels)
        assert not any(label == XGM for label in labels)
        plt.close(axes.figure)
