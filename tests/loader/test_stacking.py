"""Is the stack of a detector's modules what EXtra-data makes of it, and is the view the stack?"""

import extra_data
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xfelcat.loader.output.stacking import StackView, stack_data, stack_detector_data

pytestmark = pytest.mark.fast

SHAPE = (3, 4, 5)


def train(numbers, dtype="f4", shape=SHAPE):
    """Modules whose every element says which module and place it is."""
    size = int(np.prod(shape))
    return {
        f"SPB_DET_AGIPD1M-1/DET/{n}CH0:xtdf": {
            "image.data": (np.arange(size) + 1000 * n).reshape(shape).astype(dtype)
        }
        for n in numbers
    }


@pytest.mark.parametrize("axis", [-4, -3, -1, 0, 2, 3])
@pytest.mark.parametrize("dtype", ["f4", "u2", "c8", "i8"])
def test_stack_detector_data_as_extra_data(dtype, axis):
    data = train([0, 1, 3, 10], dtype)
    ours = stack_detector_data(data, "image.data", axis=axis)
    theirs = extra_data.stack_detector_data(data, "image.data", axis=axis)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


@pytest.mark.parametrize(
    "options",
    [
        {"modules": 4},
        {"modules": 8, "fillvalue": 77},
        {"modules": 4, "starts_at": 0, "pattern": r"DET/(\d+)CH0"},
        {"real_array": False},
    ],
)
def test_options_as_extra_data(options):
    data = train([3, 1], "u2") | train([2], "u2", (0, 4, 5))
    ours = stack_detector_data(data, "image.data", **options)
    theirs = extra_data.stack_detector_data(data, "image.data", **options)
    np.testing.assert_array_equal(np.asarray(ours), getattr(theirs, "asarray", lambda: theirs)())


def test_stack_data_as_extra_data():
    data = train([10, 0, 2]) | {"XGM/A": {"other": np.zeros(3)}}
    ours = stack_data(data, "image.data", xcept=["XGM/A"])
    np.testing.assert_array_equal(ours, extra_data.stack_data(data, "image.data", xcept=["XGM/A"]))
    assert ours[0, :, 0, 0].tolist() == [0, 2000, 10000]
    first = stack_data(data, "image.data", axis=0, xcept=["XGM/A"])
    np.testing.assert_array_equal(
        first[1], train([2])["SPB_DET_AGIPD1M-1/DET/2CH0:xtdf"]["image.data"]
    )


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ({}, {}, ValueError, "no data"),
        (train([1]), {"data": "image.nix"}, ValueError, "no data"),
        (train([1], shape=(0, 2, 2)), {}, ValueError, "no data"),
        (train([20]), {}, IndexError, r"module 20 .* outside of modules 0-15"),
        (train([1]), {"starts_at": 5}, IndexError, "outside of modules 5-20"),
        (train([1]) | train([2], "f8"), {}, ValueError, "different dtypes.*float32.*float64"),
        (train([1]) | train([2], shape=(2, 4, 5)), {}, ValueError, "different shapes"),
        ({"XGM": {"image.data": np.zeros(3)}}, {}, ValueError, "does not match the pattern"),
        (train([1], "u2"), {"fillvalue": np.nan}, ValueError, "does not fit dtype uint16"),
        (train([1], "u2"), {"fillvalue": -1}, ValueError, "does not fit dtype uint16"),
        (train([1]), {"axis": 9}, ValueError, "axis 9 does not exist"),
        (
            train([1]) | {"B/DET/1CH0": {"image.data": np.zeros(SHAPE)}},
            {},
            ValueError,
            "both module",
        ),
    ],
)
def test_what_cannot_be_stacked_says_why(data, options, error, message):
    with pytest.raises(error, match=message):
        stack_detector_data(data, **{"data": "image.data", **options})


def test_stack_data_without_sources():
    for data, options in (({}, {}), (train([1]), {"xcept": list(train([1]))})):
        with pytest.raises(ValueError, match="no source to stack"):
            stack_data(data, "image.data", **options)
    with pytest.raises(ValueError, match="different dtypes"):
        stack_data(train([1]) | train([2], "f8"), "image.data")


def index_parts(length):
    position = st.integers(-length, length - 1)
    return position | st.slices(length)


@given(
    axis=st.integers(0, 3),
    numbers=st.sets(st.integers(0, 5), min_size=1),
    data=st.data(),
)
def test_the_view_indexes_like_the_array(axis, numbers, data):
    modules = train(sorted(numbers))
    view = stack_detector_data(modules, "image.data", axis=axis, modules=6, real_array=False)
    array = stack_detector_data(modules, "image.data", axis=axis, modules=6)
    assert isinstance(view, StackView)
    assert (view.shape, view.ndim, view.dtype, len(view)) == (
        array.shape,
        4,
        array.dtype,
        len(array),
    )
    parts = [data.draw(index_parts(n)) for n in array.shape[: data.draw(st.integers(0, 4))]]
    if data.draw(st.booleans()):
        parts = [..., *[data.draw(index_parts(n)) for n in array.shape[4 - len(parts) :][:4]]]
        parts = parts if len(parts) > 1 else [...]
    index = tuple(parts)
    np.testing.assert_array_equal(np.asarray(view[index]), array[index])


def test_the_view_copies_nothing_until_it_must():
    data = train([0, 2])
    view = stack_detector_data(data, "image.data", modules=3, real_array=False)
    second = view[:, 2]
    assert np.shares_memory(second, data["SPB_DET_AGIPD1M-1/DET/2CH0:xtdf"]["image.data"])
    assert np.isnan(view[:, 1]).all()
    assert view[0].shape == (3, 4, 5)
    assert view[:1].squeeze().shape == (3, 4, 5)
    assert view[:1].squeeze(axis=0).shape == (3, 4, 5)
    with pytest.raises(ValueError, match="cannot squeeze"):
        view.squeeze(axis=1)
    with pytest.raises(IndexError, match="module 3 of 3"):
        view[:, 3]
    with pytest.raises(IndexError, match="5 indices for 4"):
        view[0, 0, 0, 0, 0]
    np.testing.assert_array_equal(view[[0, 1]], view.asarray()[[0, 1]])
    np.testing.assert_array_equal(view[..., None], view.asarray()[..., None])
    assert "2 of 3 modules" in repr(view)
    assert np.asarray(view, dtype="f8").dtype == "f8"
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(view, copy=False)
