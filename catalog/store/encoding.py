"""How are values that SQL has no word for written into the catalog, and read back?

1. ``to_text`` / ``from_text``: names from a file system may hold bytes that are no UTF-8; Python
   keeps these as lone surrogates, the catalog as private-use characters.
2. ``to_utc`` / ``from_utc``: the catalog's times are UTC without zone, ours carry their zone.
3. ``encode_value`` / ``decode_value``: one RUN value as dtype, number, text, raw bytes and shape;
   number and text are what one asks about, and raw is kept where they would not be exact.
4. ``pack_integers`` / ``unpack_integers``: an array of integers as few bytes.
5. ``encode_timestamps`` / ``decode_timestamps``: ns since the epoch as packed differences.
6. ``pack_schema`` / ``unpack_schema``: all keys of a source.
"""

import json
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dtypes import decode_dtype, encode_dtype
from ..records import KeyRecord, KeySchema, RunValue

__all__ = [
    "EncodedValue",
    "decode_timestamps",
    "decode_value",
    "encode_timestamps",
    "encode_value",
    "from_text",
    "from_utc",
    "pack_integers",
    "pack_schema",
    "scalar_maker",
    "time_of_ns",
    "to_text",
    "to_utc",
    "unpack_integers",
    "unpack_schema",
]

_ESCAPED = {0xDC80 + i: 0x10FF00 + i for i in range(0x80)}
_UNESCAPED = {kept: lone for lone, kept in _ESCAPED.items()}
_EPOCH = datetime(1970, 1, 1)
_EXACT_INTEGER = 1 << 53


def to_text(text: str) -> str:
    """A string as the catalog keeps it: undecodable bytes as U+10FF00..U+10FF7F."""
    if text.isascii():
        return text
    return text.translate(_ESCAPED).encode("utf-8", "replace").decode()


def from_text(text: str) -> str:
    """The string that ``to_text`` was given."""
    return text if text.isascii() else text.translate(_UNESCAPED)


def to_utc(moment: datetime) -> datetime:
    """A time in UTC without zone; one that has no zone is taken for UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def from_utc(moment: datetime) -> datetime:
    """A time of the catalog, with its zone."""
    return moment.replace(tzinfo=UTC)


def time_of_ns(ns: int) -> datetime | None:
    """ns since the epoch as a time without zone; None where no calendar has it."""
    try:
        return _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return None


class EncodedValue(NamedTuple):
    """One RUN value as a row of ``run_value`` has it."""

    dtype: str
    number: float | None = None
    text: str | None = None
    raw: bytes | None = None
    shape: list[int] | None = None


def encode_value(value: RunValue) -> EncodedValue:
    """The row of a RUN value: a string, a number, bytes, or an array of these.

    Anything else is kept as the text that ``repr`` gives: better seen than lost.
    """
    if isinstance(value, str):
        return EncodedValue("str", text=to_text(str(value)))
    if isinstance(value, bytes):  # np.bytes_ too: what it says can be asked for as text
        dtype = value.dtype.str if isinstance(value, np.bytes_) else "bytes"
        return EncodedValue(dtype, text=value.decode("utf-8", "replace"), raw=bytes(value))
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    scalar = value if isinstance(value, np.generic) else np.asarray(value)[()]
    if not isinstance(scalar, np.generic):
        return EncodedValue("str", text=to_text(repr(value)))
    if scalar.dtype.kind in "biuf":
        number = float(scalar)
        if _is_exact(scalar, number):
            return EncodedValue(scalar.dtype.str, number)
        return EncodedValue(scalar.dtype.str, number, raw=scalar.tobytes())
    array = _encode_array(np.asarray(scalar))
    return array._replace(shape=None)


def _is_exact(scalar: Any, number: float) -> bool:
    kind, size = scalar.dtype.kind, scalar.dtype.itemsize
    if kind == "f":
        return size <= 8 and number == number
    return kind == "b" or -_EXACT_INTEGER <= number <= _EXACT_INTEGER


def _encode_array(value: NDArray[Any]) -> EncodedValue:
    shape = list(value.shape)
    if value.dtype.hasobject:
        dtype, text = _objects_as_json(value)
        return EncodedValue(dtype, text=text, shape=shape)
    dtype = encode_dtype(value.dtype)
    # Compound types may be padded in memory; what the text of their dtype stands for is not.
    packed = value.astype(decode_dtype(dtype)) if value.dtype.kind == "V" else value
    return EncodedValue(dtype, raw=packed.tobytes(), shape=shape)


def _objects_as_json(value: NDArray[Any]) -> tuple[str, str]:
    """An array of strings, of bytes or of ragged arrays as JSON, and the text of its dtype."""
    items: list[Any] = value.ravel().tolist() if value.dtype == object else [None]
    if all(isinstance(i, str) for i in items):
        return "str", json.dumps([to_text(i) for i in items], ensure_ascii=False)
    if all(isinstance(i, bytes) for i in items):
        return "bytes", json.dumps([i.decode("latin-1") for i in items])
    if all(isinstance(i, np.ndarray) and i.dtype.kind in "biuf" for i in items):
        return f"vlen:{items[0].dtype.str}", json.dumps([i.tolist() for i in items])
    return "str", json.dumps([repr(i) for i in value.ravel().tolist()])


def decode_value(
    dtype: str, number: float | None, text: str | None, raw: bytes | None, shape: list[int] | None
) -> RunValue:
    """The RUN value that ``encode_value`` was given."""
    if shape is not None:
        return _decode_array(dtype, text, raw, shape)
    if dtype == "str":
        return from_text(text or "")
    if dtype == "bytes":
        return raw
    if raw is not None:
        if dtype.startswith("|S"):
            return np.bytes_(raw)
        return np.frombuffer(raw, decode_dtype(dtype))[0]
    return scalar_maker(dtype)(number)


def scalar_maker(dtype: str) -> Callable[[Any], RunValue]:
    """What makes a scalar of a numeric dtype from the ``number`` of its row."""
    made = np.dtype(dtype)
    make: Callable[[Any], RunValue] = made.type
    return (lambda number: make(int(number))) if made.kind in "iu" else make


def _decode_array(dtype: str, text: str | None, raw: bytes | None, shape: list[int]) -> RunValue:
    if raw is not None:
        return np.frombuffer(raw, decode_dtype(dtype)).reshape(shape).copy()
    items: list[Any] = json.loads(text or "[]")
    if dtype == "str":
        items = [from_text(i) for i in items]
    elif dtype == "bytes":
        items = [i.encode("latin-1") for i in items]
    else:
        items = [np.array(i, dtype.removeprefix("vlen:")) for i in items]
    array = np.empty(len(items), dtype=object)
    for at, item in enumerate(items):  # not at once: numpy would take equal lengths for a matrix
        array[at] = item
    return array.reshape(shape)


def pack_integers(numbers: NDArray[np.int64]) -> bytes:
    """Integers in few bytes: none, a constant, or the narrowest type that holds them.

    Lists would be as small in DuckDB, but reach Python one number at a time.
    """
    if not numbers.size:
        return b""
    low, high = int(numbers.min()), int(numbers.max())
    if low == high:
        return b"c" + struct.pack("<qq", numbers.size, low)
    kind = next(k for k in "bhiq" if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    raw = numbers.astype(f"<{kind}").tobytes()
    squeezed = zlib.compress(raw, 1)
    if len(squeezed) < len(raw):
        return kind.upper().encode() + squeezed
    return kind.encode() + raw


def unpack_integers(packed: bytes) -> NDArray[np.int64]:
    """The integers that ``pack_integers`` was given, (n,) int64."""
    if not packed:
        return np.empty(0, np.int64)
    kind = packed[:1].decode()
    if kind == "c":
        size, value = struct.unpack("<qq", packed[1:])
        return np.full(size, value, np.int64)
    raw = zlib.decompress(packed[1:]) if kind.isupper() else packed[1:]
    return np.frombuffer(raw, f"<{kind.lower()}").astype(np.int64)


def encode_timestamps(timestamps: NDArray[np.uint64]) -> tuple[int | None, bytes]:
    """The first time (None where there are none), and the differences between neighbours."""
    times = np.asarray(timestamps, np.uint64)
    if not times.size:
        return None, b""
    return int(times[0]), pack_integers(np.diff(times).view(np.int64))


def decode_timestamps(first: int | None, deltas: bytes) -> NDArray[np.uint64]:
    """The times, (n,) uint64, that ``encode_timestamps`` was given."""
    if first is None:
        return np.empty(0, np.uint64)
    steps = np.concatenate(([0], unpack_integers(deltas))).view(np.uint64)
    return np.cumsum(steps, dtype=np.uint64) + np.uint64(first)


def pack_schema(schema: KeySchema) -> bytes:
    """A key schema: the names of its keys, and of each which of the kinds there are it is."""
    kinds = {k[1:]: None for k in schema.keys}
    numbers = {kind: number for number, kind in enumerate(kinds)}
    columns = ([k.name for k in schema.keys], list(kinds), [numbers[k[1:]] for k in schema.keys])
    return zlib.compress(json.dumps(columns, separators=(",", ":")).encode())


def unpack_schema(packed: bytes) -> KeySchema:
    """The key schema that ``pack_schema`` was given."""
    names, kinds, numbers = json.loads(zlib.decompress(packed))
    about = [(group, dtype, tuple(shape), *units) for group, dtype, shape, *units in kinds]
    rows = ((name, *about[number]) for name, number in zip(names, numbers, strict=True))
    return KeySchema(tuple(map(KeyRecord._make, rows)))
