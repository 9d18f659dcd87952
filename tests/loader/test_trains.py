"""Train sets are sets, whatever their stretches; selections mean what they say."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from xfelcat.catalog.model.runlength import TrainList
from xfelcat.loader.select.trains import TrainSet, by_id, by_index, select_trains, split_trains

pytestmark = pytest.mark.fast

MOST = 2**64 - 1

near_zero = st.integers(0, 40)
near_most = st.integers(MOST - 40, MOST)
ids = st.sets(near_zero | near_most, max_size=60)


def made(values):
    return TrainSet.from_ids(sorted(values))


@given(ids, ids)
def test_set_operations_are_those_of_sets(a, b):
    for operation in ("__or__", "__and__", "__sub__"):
        expected = getattr(a, operation)(b)
        found = getattr(made(a), operation)(made(b))
        assert found.to_list() == sorted(expected)
        assert len(found) == len(expected)
        assert found == made(expected)
        assert hash(found) == hash(made(expected))
    assert made(a).overlaps(made(b)) == bool(a & b)


@given(ids)
def test_positions_and_ids_are_each_others_inverse(a):
    trains, ordered = made(a), np.array(sorted(a), np.uint64)
    np.testing.assert_array_equal(trains.ids, ordered)
    np.testing.assert_array_equal(trains.positions(ordered), np.arange(len(a)))
    np.testing.assert_array_equal(trains.at(np.arange(len(a))), ordered)
    everything = np.array([*range(42), *range(MOST - 41, MOST + 1)], np.uint64)
    assert trains.contains(everything).tolist() == [int(v) in a for v in everything]
    assert all((int(v) in trains) == (int(v) in a) for v in everything)
    assert -1 not in trains
    assert "5" not in trains
    assert MOST + 1 not in trains


@given(ids, st.integers(-5, 70), st.integers(-5, 70))
def test_a_span_is_a_slice_of_the_sorted_ids(a, start, stop):
    assert made(a).span(start, stop).to_list() == sorted(a)[max(start, 0) : max(stop, 0)]


@given(st.lists(near_zero | near_most, max_size=40))
def test_ids_may_repeat_and_have_any_order(values):
    trains = TrainSet.from_ids(np.array(values, np.uint64))
    assert trains.to_list() == sorted(set(values))
    assert TrainSet.from_list(TrainList.from_ids(values)) == trains


def test_suspect_trains_can_be_left_out():
    listed = TrainList.from_ids([10, 11, MOST, 13], suspect=[2])
    assert TrainSet.from_list(listed).to_list() == [10, 11, 13, MOST]
    assert TrainSet.from_list(listed, good_only=True).to_list() == [10, 11, 13]


def test_coverage():
    trains = made([5, 6, 7, 9, MOST])
    assert trains.covers(5, 7)
    assert not trains.covers(5, 9)
    assert not trains.covers(4, 5)
    assert trains.covers(MOST, MOST)


@given(
    ids,
    st.builds(
        slice, *[st.none() | st.integers(-50, 50)] * 2, st.none() | st.sampled_from([1, 2, 7, -1])
    ),
)
def test_a_slice_by_position_selects_what_python_selects(a, part):
    expected = sorted(sorted(a)[part])
    assert select_trains(made(a), part).to_list() == expected
    assert select_trains(made(a), by_index[part]).to_list() == expected


@given(st.sets(st.integers(100, 130), min_size=1), st.integers(90, 140), st.integers(90, 140))
def test_a_slice_by_id_selects_the_ids_within(a, start, stop):
    expected = sorted(v for v in a if start <= v < stop)
    if expected or start >= stop:
        assert select_trains(made(a), by_id[start:stop]).to_list() == expected
        found = select_trains(made(a), by_id[start:stop:3])
        assert found.to_list() == expected[::3]
    else:
        with pytest.raises(ValueError, match=f"{min(a)}") as raised:
            select_trains(made(a), by_id[start:stop])
        assert str(start) in str(raised.value)
        assert str(max(a)) in str(raised.value)


def test_train_ids_of_64_bits():
    trains = made([3, 4, MOST])
    assert select_trains(trains, by_id[: 2**64 - 1]).to_list() == [3, 4]
    assert select_trains(trains, by_id[2**64 - 1]).to_list() == [MOST]
    assert select_trains(trains, by_id[-5:]).to_list() == [3, 4, MOST]
    assert select_trains(trains, by_id[4 : 2**64]).to_list() == [4, MOST]


TEN = made(range(100, 110))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (3, [103]),
        (-1, [109]),
        (np.int64(2), [102]),
        ([5, 1, 1], [101, 105]),
        (np.array([-1, 0]), [100, 109]),
        (range(2), [100, 101]),
        ([], []),
        (np.arange(10) % 4 == 0, [100, 104, 108]),
        ([True] * 3 + [False] * 7, [100, 101, 102]),
        (by_index[[1, 2]], [101, 102]),
        (by_index[4], [104]),
        (by_id[103], [103]),
        (by_id[[105, 103, 103]], [103, 105]),
        (by_id[[99, 103]], [103]),
        (by_id[[-3, 103]], [103]),
        (by_id[np.array([109, 100])], [100, 109]),
        (by_id[{101, 102}], [101, 102]),
        (by_id[range(101, 103)], [101, 102]),
        (by_id[[]], []),
        (by_id[105:105], []),
        (by_id[:], list(range(100, 110))),
        (by_id[108:101:-3], [102, 105, 108]),
        (by_id[pd.Index([101, 104])], [101, 104]),
        (by_id[pd.Series([101, 104])], [101, 104]),
        (pd.Series([True, False, True], index=[101, 102, 104]), [101, 104]),
        (by_id[pd.Series([True, False], index=[101, 102])], [101]),
        (xr.DataArray([True, False], dims="trainId", coords={"trainId": [105, 106]}), [105]),
        (by_id[xr.DataArray([101, 102], dims="x")], [101, 102]),
        (by_id[xr.DataArray(np.uint64(103))], [103]),
        (by_id[np.array(103)], [103]),
        (by_id[103.0], [103]),
        (by_id[np.array([103.0, np.nan, 105.0])], [103, 105]),
        (by_id[pd.Series([101, None])], [101]),
        (xr.DataArray(-1), [109]),
        (by_index[np.array(4)], [104]),
    ],
)
def test_every_spelling_of_a_selection(selection, expected):
    assert select_trains(TEN, selection).to_list() == expected


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        (10, IndexError),
        ([0, 10], IndexError),
        ([0.5], IndexError),
        ([True], ValueError),
        (by_id[99], ValueError),
        (by_id[[1, 2]], ValueError),
        (by_id[200:300], ValueError),
        (by_id[:100], ValueError),
        (by_id[110:], ValueError),
        (by_id[100:105:0], ValueError),
        (by_id["101"], TypeError),
        (by_id[101, 102], TypeError),
        (by_id[[0.5]], TypeError),
        (by_id[101.5], TypeError),
        (by_id[True], TypeError),
        (by_id[np.array(True)], TypeError),
        (np.array(1.0), TypeError),
        (None, TypeError),
        ((1, 2), TypeError),
        (np.zeros((2, 2), int), TypeError),
        (xr.DataArray([1, 2], dims="trainId", coords={"trainId": [101, 102]}), TypeError),
        (xr.DataArray([True] * 10, dims="trainId"), ValueError),
        (xr.DataArray([True], dims="trainId", coords={"trainId": [5]}), ValueError),
    ],
)
def test_what_cannot_be_selected_is_an_error(selection, error):
    with pytest.raises(error):
        select_trains(TEN, selection)


def test_nothing_by_id_from_nothing_warns():
    with pytest.warns(UserWarning, match="no trains"):
        assert len(select_trains(made([]), by_id[3:5])) == 0


def test_spellings_show_and_compare_as_written():
    assert repr(by_id[3:4]) == "by_id[3:4]"
    assert repr(by_index[:5:2, ...]) == "by_index[:5:2, ...]"
    assert by_id[[1, 2]] == by_id[[1, 2]]
    assert by_id[1] != by_index[1]
    assert len({by_id[3:4], by_id[3:4]}) == 1


@given(st.integers(0, 200), st.none() | st.integers(1, 30), st.none() | st.integers(1, 30))
def test_parts_differ_by_one_train_at_most_and_cover_all(n, parts, per_part):
    trains = made(range(7, 7 + n))
    if parts is None and per_part is None:
        with pytest.raises(ValueError, match="parts"):
            list(split_trains(trains))
        return
    found = [p.to_list() for p in split_trains(trains, parts, per_part)]
    assert [t for part in found for t in part] == trains.to_list()
    sizes = {len(p) for p in found}
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert 0 not in sizes
    if per_part is not None and found:
        assert max(sizes) <= per_part
    if parts is not None:
        assert len(found) >= min(parts, n)
    if per_part is None:
        assert len(found) == min(parts, n)


def test_parts_must_be_positive():
    for wrong in (0, -1, 2.5):
        with pytest.raises(ValueError, match="positive"):
            list(split_trains(TEN, wrong))


def test_train_sets_pickle():
    assert pickle.loads(pickle.dumps(TEN)) == TEN
