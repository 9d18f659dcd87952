"""Plans name every row once, in order, in as few slabs as can be; regions are numpy's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xfelcat.loader.select.rows import merge_rows
from xfelcat.loader.select.selection import parse_region
from xfelcat.loader.select.trains import by_id, by_index

pytestmark = pytest.mark.fast

rows = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=20)


@given(rows)
def test_slabs_hold_the_rows_in_their_order(index):
    first = np.array([f for f, _ in index], np.int64)
    count = np.array([n for _, n in index], np.int64)
    starts, stops = merge_rows(first, count)
    expected = [row for f, n in index for row in range(f, f + n)]
    slabs = list(zip(starts.tolist(), stops.tolist(), strict=True))
    assert [row for a, b in slabs for row in range(a, b)] == expected
    breaks = sum(b != a + 1 for a, b in pairwise(expected))
    assert len(slabs) == (breaks + 1 if expected else 0)


def test_contiguous_trains_are_one_slab():
    count = np.array([3, 0, 2, 5])
    starts, stops = merge_rows(np.array([0, 99, 3, 5]), count)
    assert (starts.tolist(), stops.tolist()) == ([0], [10])


SHAPE = (6, 5, 4)
DATA = np.arange(2 * 6 * 5 * 4).reshape(2, *SHAPE)


def axis_item(size):
    ends = st.none() | st.integers(-size - 2, size + 2)
    return (
        st.builds(slice, ends, ends, st.none() | st.sampled_from([1, 2, 3, -1, -2]))
        | st.integers(-size, size - 1)
        | st.just(Ellipsis)
    )


regions = st.tuples(*map(axis_item, SHAPE)).flatmap(
    lambda items: st.integers(0, 3).map(lambda n: items[:n])
)


@given(regions)
def test_a_region_is_what_numpy_indexing_gives(roi):
    try:
        expected = DATA[(slice(None), *roi)]
    except IndexError:
        with pytest.raises(IndexError):
            parse_region(roi, SHAPE)
        return
    region = parse_region(roi, SHAPE)
    found = region.finish(DATA[(slice(None), *region.hull)])
    assert region.shape == found.shape[1:] == expected.shape[1:]
    np.testing.assert_array_equal(found, expected)
    assert all(s.step >= 1 and 0 <= s.start <= s.stop for s in region.hull)
    if region.whole:
        assert expected.shape == DATA.shape


@given(st.lists(st.integers(-5, 4), max_size=7), st.integers(0, 5))
def test_a_list_selects_in_its_order_with_repetitions(positions, row):
    region = parse_region((row, positions), SHAPE)
    found = region.finish(DATA[(slice(None), *region.hull)])
    np.testing.assert_array_equal(found, DATA[:, row][:, np.array(positions, int)])


def test_by_index_and_booleans():
    mask = np.array([True, False, True, True, False])
    for roi in (by_index[2:4, mask], (by_index[2:4], mask), np.s_[2:4, mask]):
        region = parse_region(roi, SHAPE)
        found = region.finish(DATA[(slice(None), *region.hull)])
        np.testing.assert_array_equal(found, DATA[:, 2:4][:, :, mask])
        assert [np.size(c) for c in region.coordinates(SHAPE)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("roi", "error"),
    [
        (6, IndexError),
        (np.s_[:, :, :, 0], IndexError),
        (([0, 1], [0, 1]), IndexError),
        ([True], IndexError),
        ([0.5], IndexError),
        ([[0]], IndexError),
        (None, TypeError),
        ("x", TypeError),
        (by_id[3:4], TypeError),
        (True, TypeError),
    ],
)
def test_what_is_no_region_is_an_error(roi, error):
    with pytest.raises(error):
        parse_region(roi, SHAPE)


def test_the_whole_of_a_scalar():
    region = parse_region((), ())
    assert region.whole
    assert region.shape == ()
    with pytest.raises(IndexError):
        parse_region(np.s_[:2], ())
