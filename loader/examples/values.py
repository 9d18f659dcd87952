"""Values of a synthetic run, by file, train, entry and element.

Pure: any element can be computed without the file, in any order, so that a test knows what a read
must give. Every value is drawn from a 64-bit code mixed from the file, the source and key, the
train ID, the number of the entry within its train, and the number of the element within its entry
(row-major). A misplaced row, train, file or pixel therefore shows.

1. ``element_codes``: the codes, (n, elements).
2. ``expected_values``: the codes as values of a key, (n, *entry shape), of its dtype.
3. ``expected_run_value``: what RUN holds; it encodes the run instead of file and train.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .specs import KeySpec, train_time_ns

__all__ = ["element_codes", "expected_run_value", "expected_values"]

UInt64s = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_PULSE_STEP = 4
_TICK_NS = 50_000_000


def _mix(x: UInt64s) -> UInt64s:
    """The finalizer of splitmix64: every bit of the result depends on every bit of ``x``."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def _place_code(*names: str) -> np.uint64:
    digest = hashlib.blake2b("\0".join(names).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _columns(train_ids: ArrayLike, entries: ArrayLike) -> tuple[UInt64s, UInt64s]:
    """Train ID and number of each entry, (n,) each."""
    trains = np.atleast_1d(np.asarray(train_ids, np.uint64))
    numbers = np.atleast_1d(np.asarray(entries, np.uint64))
    n = max(trains.size, numbers.size)
    if trains.size == numbers.size == n:
        return trains, numbers
    return np.broadcast_to(trains, n), np.broadcast_to(numbers, n)


def element_codes(
    place: tuple[str, ...], train_ids: ArrayLike, entries: ArrayLike, n_elements: int
) -> UInt64s:
    """64-bit codes, (n, ``n_elements``), for n entries.

    ``place`` names the file, the source and the key; ``train_ids`` and ``entries`` (the number of
    the entry within its train) are broadcast against each other to n.
    """
    trains, numbers = _columns(train_ids, entries)
    rows = _mix(_mix(trains ^ _place_code(*place)) + numbers * np.uint64(_GOLDEN))
    elements = np.arange(n_elements, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mix(rows[:, None] + elements[None, :])


def _as_numbers(codes: UInt64s, key: KeySpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Codes as numbers of ``dtype``, in the range of the key where it has one."""
    if dtype.kind == "b":
        return (codes >> np.uint64(63)).astype(bool)
    if dtype.kind in "iu":
        if key.span is None:
            return codes.astype(dtype)
        low, high = (int(limit) for limit in key.span)
        return (low + (codes % np.uint64(high - low + 1)).astype(np.int64)).astype(dtype)
    low_f, high_f = key.span or (0.0, 1.0)
    fraction = (codes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    values = low_f + (high_f - low_f) * fraction
    if dtype.kind == "c":
        return (values + 1j * (_mix(codes) >> np.uint64(11)).astype(np.float64)).astype(dtype)
    return values.astype(dtype)


def _as_texts(codes: UInt64s, key: KeySpec, trains: UInt64s) -> NDArray[np.object_]:
    """``name@train#code``: legible, and different for every file and element."""
    texts = np.empty(codes.shape, dtype=object)
    for at, code in np.ndenumerate(codes):
        texts[at] = f"{key.name}@{trains[at[0]]}#{int(code) & 0xFFFF:04x}"
    return texts


def _filled(
    place: tuple[str, ...], key: KeySpec, trains: UInt64s, entries: UInt64s
) -> UInt64s | None:
    """(n,) for the keys whose values follow from train and entry alone; None for coded ones."""
    if key.fill == "train_id":
        return trains
    if key.fill == "cell_id":
        return entries
    if key.fill == "pulse_id":
        return entries * np.uint64(_PULSE_STEP)
    if key.fill == "time":
        # Some of the 100 ms between two trains, different for each file and key.
        return train_time_ns(trains) + _place_code(*place) % np.uint64(_TICK_NS)
    return None


def expected_values(
    file: str, source: str, key: KeySpec, train_ids: ArrayLike, entries: ArrayLike
) -> NDArray[Any]:
    """What entries of a key hold, (n, *entry shape) of the key's dtype.

    ``file`` is the token of the file (``RunSpec.file_token``); ``train_ids`` and ``entries`` as in
    ``element_codes``. Strings of variable length come as an object array of str.
    """
    trains, numbers = _columns(train_ids, entries)
    place: tuple[str, ...] = (file, source, key.name)
    shape = (trains.size, *key.shape)
    dtype = key.numpy_dtype
    filled = _filled(place, key, trains, numbers)
    if filled is not None:
        columns = filled.reshape(-1, *(1 for _ in key.shape))
        return np.broadcast_to(columns, shape).astype(dtype)
    if key.fill == "constant":
        place, trains, numbers = place[1:], np.zeros_like(trains), np.zeros_like(numbers)
    size = int(np.prod(key.shape, dtype=np.int64))
    if dtype.fields is not None:
        table = np.empty(shape, dtype)
        for name in dtype.names or ():
            codes = element_codes((*place, name), trains, numbers, size)
            table[name] = _as_numbers(codes, key, dtype[name]).reshape(shape)
        return table
    codes = element_codes(place, trains, numbers, size)
    if key.dtype == "str":
        return _as_texts(codes, key, trains).reshape(shape)
    if dtype.kind == "S":
        return _as_texts(codes, key, trains).astype(dtype).reshape(shape)
    return _as_numbers(codes, key, dtype).reshape(shape)


def expected_run_value(run: str, source: str, key: KeySpec) -> Any:
    """What RUN holds for a key of a control source: one entry that encodes run, source and key."""
    return expected_values(f"{run} RUN", source, key, 0, 0)[0]
