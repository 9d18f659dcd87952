"""The modules of a detector, read for one train, as one array.

1. ``stack_data`` stacks one key of every source of a train, in the order of their numbers.
2. ``stack_detector_data`` puts each module at its place, and fills the places of missing ones.
3. ``StackView`` is the same without a copy: it keeps the modules' arrays and indexes through them.

A train is what ``DataCollection.trains()`` yields: arrays by source and key.
"""

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Train = Mapping[str, Mapping[str, Array]]


def stack_data(train: Train, data: str, axis: int = -3, xcept: Iterable[str] = ()) -> Array:
    """Stack one key of every source in a train.

    The sources are ordered by the numbers in their names, other characters left aside:
    ``B_7_0`` < ``A_12_0`` < ``A_12_1``. Use ``stack_detector_data`` where modules may be missing.

    Parameters
    ----------
    train
        Arrays by source and key.
    data
        The key to stack.
    axis
        Where the new dimension goes.
    xcept
        Sources to leave out.

    Raises
    ------
    ValueError
        If no source is left, or dtypes or shapes differ.
    KeyError
        If a source does not have the key.
    """
    left_out = set(xcept)
    sources = [source for source in train if source not in left_out]
    if not sources:
        raise ValueError(f"no source to stack {data!r} of: the train has none, or xcept names all")
    sources.sort(key=lambda source: [int(digits) for digits in re.findall(r"\d+", source)])
    arrays = [train[source][data] for source in sources]
    _common_dtype(arrays, data)
    return np.stack(arrays, axis=axis)


def stack_detector_data(
    train: Train,
    data: str,
    axis: int = -3,
    modules: int = 16,
    fillvalue: float | None = None,
    real_array: bool = True,
    *,
    pattern: str = r"/DET/(\d+)CH",
    starts_at: int = 0,
) -> "Array | StackView":
    """Stack one key of the modules of a detector in a train.

    Modules that the train lacks, or has no entries of, are filled.

    Parameters
    ----------
    train, data, axis
        As for ``stack_data``; the sources are those of the detector only.
    modules
        How many modules the detector has.
    fillvalue
        Put where a module is missing; by default NaN for floating point numbers, else 0.
    real_array
        If True, copy the data into one array; if False, return a ``StackView`` of them.
    pattern
        Regular expression whose one group is the module number in a source name.
    starts_at
        The number of the first module.

    Raises
    ------
    ValueError
        If no module has data, a source does not match ``pattern``, two sources are the same
        module, the fill value does not fit the dtype, or dtypes or shapes differ.
    IndexError
        If a module number is outside of the detector.
    """
    if not train:
        raise ValueError(f"no data: the train has no source to stack {data!r} of")
    found: dict[int, Array] = {}
    sources: dict[int, str] = {}
    for source, keys in train.items():
        number = _module_number(source, pattern, modules, starts_at)
        if number in sources:
            raise ValueError(f"{source!r} and {sources[number]!r} are both module {number}")
        sources[number] = source
        if data in keys and keys[data].shape[:1] != (0,):
            found[number] = keys[data]
    if not found:
        raise ValueError(f"no data: none of the {len(train)} sources has {data!r} in this train")
    dtype = _common_dtype(found.values(), data)
    shapes = sorted({array.shape for array in found.values()})
    if len(shapes) > 1:
        raise ValueError(f"{data!r} has different shapes in different modules: {shapes}")
    if not -len(shapes[0]) - 1 <= axis <= len(shapes[0]):
        raise ValueError(f"axis {axis} does not exist when arrays of shape {shapes[0]} are stacked")
    fill = _fill_value(dtype, fillvalue)
    view = StackView(found, modules, shapes[0], dtype, fill, axis % (len(shapes[0]) + 1))
    return view.asarray() if real_array else view


def _module_number(source: str, pattern: str, modules: int, starts_at: int) -> int:
    """The place of a module, counted from 0."""
    match = re.search(pattern, source)
    if match is None:
        raise ValueError(f"source {source!r} does not match the pattern {pattern!r}")
    number = int(match[1]) - starts_at
    if not 0 <= number < modules:
        last = starts_at + modules - 1
        raise IndexError(f"module {match[1]} ({source}) is outside of modules {starts_at}-{last}")
    return number


def _common_dtype(arrays: Iterable[Array], data: str) -> np.dtype[Any]:
    dtypes = sorted({array.dtype for array in arrays}, key=str)
    if len(dtypes) > 1:
        listed = ", ".join(map(repr, dtypes))
        raise ValueError(f"{data!r} has different dtypes in different sources: {listed}")
    return dtypes[0]


def _fill_value(dtype: np.dtype[Any], fillvalue: float | None) -> Any:
    """The fill value as a scalar of ``dtype``."""
    if fillvalue is None:
        return dtype.type(np.nan if dtype.kind == "f" else 0)
    try:
        return dtype.type(fillvalue)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"fill value {fillvalue} does not fit dtype {dtype}: {error}") from error


@dataclass(eq=False, repr=False)
class StackView:
    """Modules stacked without a copy: array-like, for code that takes one module at a time.

    Indexing the modules' dimension by a number gives that module's array (or one of fill values);
    slices give a view again; everything else, and ``asarray``, copies into an array.
    """

    _found: Mapping[int, Array]
    _modules: int
    _module_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _fillvalue: Any
    stack_axis: int = -3

    @property
    def _axis(self) -> int:
        return self.stack_axis % self.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the stack, missing modules included."""
        at = self._axis
        return (*self._module_shape[:at], self._modules, *self._module_shape[at:])

    @property
    def ndim(self) -> int:
        """The number of dimensions, the modules' included."""
        return len(self._module_shape) + 1

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        present = f"{len(self._found)} of {self._modules} modules"
        return f"<StackView {self.shape} {self.dtype}: {present}>"

    def asarray(self) -> Array:
        """The stack as an array, copied."""
        stacked = np.empty(self.shape, dtype=self.dtype)
        by_module = np.moveaxis(stacked, self._axis, 0)
        for number in range(self._modules):
            by_module[number] = self._found.get(number, self._fillvalue)
        return stacked

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a StackView cannot become an array without a copy")
        array = self.asarray()
        return array if dtype is None else array.astype(dtype, copy=False)

    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> "Array | StackView":
        """Without dimensions of length 1: all of them, or those named by ``axis``.

        Raises
        ------
        ValueError
            If a named dimension is longer than 1; also numpy's AxisError, if there is none.
        """
        if axis is None:
            dropped = {at for at, n in enumerate(self.shape) if n == 1}
        else:
            named = axis if isinstance(axis, tuple) else (axis,)
            if outside := [at for at in named if not -self.ndim <= at < self.ndim]:
                raise np.exceptions.AxisError(outside[0], self.ndim)
            dropped = {at % self.ndim for at in named}
            if any(self.shape[at] != 1 for at in dropped):
                raise ValueError(f"cannot squeeze axis {axis} of shape {self.shape}: longer than 1")
        return self[tuple(0 if at in dropped else slice(None) for at in range(self.ndim))]

    def __getitem__(self, index: Any) -> "Array | StackView":
        parts = self._whole_index(index)
        if parts is None:
            picked: Array = self.asarray()[index]
            return picked
        at = self._axis
        chosen, inside = parts[at], (*parts[:at], *parts[at + 1 :])
        if not isinstance(chosen, slice):
            one: Array = self._module(operator.index(chosen))[inside]
            return one
        numbers = range(self._modules)[chosen]
        found = {i: self._found[n][inside] for i, n in enumerate(numbers) if n in self._found}
        shape = np.broadcast_to(self._fillvalue, self._module_shape)[inside].shape
        new_axis = sum(isinstance(part, slice) for part in parts[:at])
        return StackView(found, len(numbers), shape, self.dtype, self._fillvalue, new_axis)

    def _module(self, number: int) -> Array:
        """One module's array; of fill values where it is missing."""
        if not -self._modules <= number < self._modules:
            raise IndexError(f"module {number} of {self._modules} modules")
        number %= self._modules
        if number in self._found:
            return self._found[number]
        return np.full(self._module_shape, self._fillvalue, dtype=self.dtype)

    def _whole_index(self, index: Any) -> tuple[Any, ...] | None:
        """One number or slice per dimension; None for indexes of another kind."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(part is Ellipsis for part in parts):
            at = next(i for i, part in enumerate(parts) if part is Ellipsis)
            rest = self.ndim - (len(parts) - 1)
            parts = (*parts[:at], *(slice(None),) * rest, *parts[at + 1 :])
        if not all(isinstance(p, int | np.integer | slice) for p in parts) or any(
            isinstance(p, bool) for p in parts
        ):
            return None
        if len(parts) > self.ndim:
            raise IndexError(f"{len(parts)} indices for {self.ndim} dimensions")
        return (*parts, *(slice(None),) * (self.ndim - len(parts)))
