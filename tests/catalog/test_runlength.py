"""Coding trains and index patterns loses nothing."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xfelcat.catalog.model.runlength import IndexPattern, TrainList

pytestmark = pytest.mark.fast

train_ids = st.one_of(
    st.lists(st.integers(1, 40), max_size=60),
    st.lists(st.integers(0, 2**64 - 1), max_size=10),
    st.integers(1, 2**63).flatmap(
        lambda a: st.integers(0, 300).map(lambda n: list(range(a, a + n)))
    ),
)


@given(train_ids)
def test_train_lists(ids):
    made = TrainList.from_ids(ids)
    read = TrainList(made.starts, made.lengths, made.suspect, made.dropped)
    assert read.ids.tolist() == ids
    assert read.ids.dtype == np.uint64
    assert len(read) == len(ids)
    assert read.token == made.token


def test_consecutive_trains_are_one_stretch():
    made = TrainList.from_ids(range(10**9, 10**9 + 36000), suspect=[7])
    assert made.starts.tolist() == [10**9]
    assert made.lengths.tolist() == [36000]
    assert np.flatnonzero(~made.good).tolist() == [7]


def test_a_pickle_is_coded():
    made = TrainList.from_ids(range(10**9, 10**9 + 36000))
    size = len(pickle.dumps(made))
    assert made.ids.size == 36000  # unfolded, and kept
    assert len(pickle.dumps(made)) == size < 1000
    assert pickle.loads(pickle.dumps(made)).token == made.token


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=60))
def test_any_index_pattern(pairs):
    count = np.array([c for c, _ in pairs], int)
    first = np.array([f for _, f in pairs], int)
    made = IndexPattern.from_arrays(first, count)
    read = IndexPattern(made.lengths, made.counts, made.offsets)
    assert read.count.tolist() == count.tolist()
    assert read.first[count > 0].tolist() == first[count > 0].tolist()
    assert len(read) == len(pairs)
    assert read.n_rows == count.sum()
    assert read.n_trains_with_rows == (count > 0).sum()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_contiguous_rows_have_no_offsets(counts):
    count = np.array(counts)
    made = IndexPattern.from_arrays(np.cumsum(count) - count, count)
    assert not made.offsets.any()


def test_one_row_per_train_is_one_run():
    made = IndexPattern.from_arrays(np.arange(36000), np.ones(36000))
    assert (made.lengths.tolist(), made.counts.tolist(), made.offsets.tolist()) == (
        [36000],
        [1],
        [0],
    )
