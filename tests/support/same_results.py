"""Are two results the same: values, types, labels, names?"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def assert_same(ours: Any, theirs: Any) -> None:
    """Both results are equal in kind, dtype, shape, labels and values."""
    if isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs, check_like=True)
    elif isinstance(theirs, pd.Series):
        # The labels of nothing have no type in EXtra-data; here they are train IDs.
        pd.testing.assert_series_equal(ours, theirs, check_index=len(theirs) > 0)
    elif isinstance(theirs, (xr.DataArray, xr.Dataset)):
        xr.testing.assert_identical(ours, theirs)
        if isinstance(theirs, xr.DataArray):
            assert ours.dtype == theirs.dtype
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.tolist() == decoded(theirs).tolist()
    elif isinstance(theirs, np.generic) and not isinstance(theirs, np.integer):
        assert type(ours) is type(theirs)
        assert ours.tolist() == theirs.tolist()
    elif isinstance(theirs, Mapping):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(theirs, bytes):  # EXtra-data gives some strings undecoded
        assert ours == theirs.decode()
    else:
        assert ours == theirs


def decoded(array: np.ndarray) -> np.ndarray:
    """Strings as text: train by train, EXtra-data gives them as bytes."""
    if array.dtype.kind != "O":
        return array
    texts = [v.decode() if isinstance(v, bytes) else v for v in array.ravel().tolist()]
    return np.array(texts, dtype=object).reshape(array.shape)


def outcome(call: Callable[[], Any]) -> tuple[Any, list[type[Warning]], type | None]:
    """Result, kinds of warnings and the builtin kind of error of a call."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            result, error = call(), None
        except Exception as e:  # noqa: BLE001 - whatever it raises is what we compare
            result, error = None, e
    return result, sorted({w.category for w in told}, key=repr), error


def assert_same_outcome(ours: Callable[[], Any], theirs: Callable[[], Any]) -> Any:
    """Both calls give the same, or both raise an error of the same builtin kind."""
    mine, my_warnings, my_error = outcome(ours)
    other, their_warnings, their_error = outcome(theirs)
    assert (my_error is None) == (their_error is None), (my_error, their_error)
    if their_error is not None:
        assert isinstance(my_error, builtin_kind(their_error)), (my_error, their_error)
        return None
    assert_same(mine, other)
    assert my_warnings == their_warnings
    return mine


def builtin_kind(error: Exception) -> type:
    """The builtin class that an error is of."""
    return next(c for c in type(error).__mro__ if c.__module__ == "builtins")
