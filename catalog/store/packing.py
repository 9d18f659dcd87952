"""Forms of values that SQL has no type for, and the packed row of a run.

Of a RUN value, questions ask about number and text; raw bytes are kept where these are not exact.

What opening needs of a run is packed into one row of ``run_packed``: the files, their trains, and
the index of all of them, each as columns of integers. A query costs DuckDB about as much for one
row of a table as for a thousand, and as much again for each further table.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..model.facts import FileTable
from ..model.records import KeyRecord, KeySchema, RunValue, decode_dtype, encode_dtype
from ..model.runlength import FrameIds, IndexPattern, Int64s, TrainList, UInt64s
from .connections import Cursor, rows_of_run

_EXACT_INTEGER = 1 << 53  # up to it a DOUBLE holds every integer


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
        return EncodedValue("str", text=str(value))
    if isinstance(value, bytes):  # np.bytes_ too; questions ask for the text
        dtype = value.dtype.str if isinstance(value, np.bytes_) else "bytes"
        return EncodedValue(dtype, text=value.decode("utf-8", "replace"), raw=bytes(value))
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    scalar = value if isinstance(value, np.generic) else np.asarray(value)[()]
    if not isinstance(scalar, np.generic):
        return EncodedValue("str", text=repr(value))
    kind, dtype = scalar.dtype.kind, scalar.dtype.str
    if kind not in "biuf":
        return _encode_array(np.asarray(scalar))._replace(shape=None)
    number = float(scalar)
    if kind == "f":
        is_exact = scalar.dtype.itemsize <= 8 and number == number  # not NaN, which has many forms
    else:
        is_exact = abs(number) <= _EXACT_INTEGER
    return EncodedValue(dtype, number, raw=None if is_exact else scalar.tobytes())


def _encode_array(value: NDArray[Any]) -> EncodedValue:
    shape = list(value.shape)
    if value.dtype.hasobject:
        items: list[Any] = value.ravel().tolist() if value.dtype == object else [None]
        if all(isinstance(i, str) for i in items):
            return EncodedValue("str", text=json.dumps(items, ensure_ascii=False), shape=shape)
        if all(isinstance(i, bytes) for i in items):
            texts = [i.decode("latin-1") for i in items]
            return EncodedValue("bytes", text=json.dumps(texts), shape=shape)
        if all(isinstance(i, np.ndarray) and i.dtype.kind in "biuf" for i in items):
            ragged = json.dumps([i.tolist() for i in items])
            return EncodedValue(f"vlen:{items[0].dtype.str}", text=ragged, shape=shape)
        texts = [repr(i) for i in value.ravel().tolist()]
        return EncodedValue("str", text=json.dumps(texts), shape=shape)
    dtype = encode_dtype(value.dtype)
    # Compound types may be padded in memory; what the text of their dtype stands for is not.
    packed = value.astype(decode_dtype(dtype)) if value.dtype.kind == "V" else value
    return EncodedValue(dtype, raw=packed.tobytes(), shape=shape)


def decode_value(
    dtype: str, number: float | None, text: str | None, raw: bytes | None, shape: list[int] | None
) -> RunValue:
    """The RUN value that ``encode_value`` was given."""
    if shape is not None:
        return _decode_array(dtype, text, raw, shape)
    if dtype == "str":
        return text or ""
    if dtype == "bytes":
        return raw
    if raw is not None:
        return raw_maker(dtype)(raw)
    return scalar_maker(dtype)(number)


def raw_maker(dtype: str) -> Callable[[bytes], RunValue]:
    """What makes a scalar of a numeric dtype from the ``raw`` bytes of its row."""
    if dtype.startswith("|S"):
        return np.bytes_
    made = decode_dtype(dtype)
    return lambda raw: np.frombuffer(raw, made)[0]


def scalar_maker(dtype: str) -> Callable[[Any], RunValue]:
    """What makes a scalar of a numeric dtype from the ``number`` of its row."""
    made = np.dtype(dtype)
    make: Callable[[Any], RunValue] = made.type
    return (lambda number: make(int(number))) if made.kind in "iu" else make


def _decode_array(dtype: str, text: str | None, raw: bytes | None, shape: list[int]) -> RunValue:
    if raw is not None:
        return np.frombuffer(raw, decode_dtype(dtype)).reshape(shape).copy()
    items: list[Any] = json.loads(text or "[]")
    if dtype == "bytes":
        items = [i.encode("latin-1") for i in items]
    elif dtype != "str":
        items = [np.array(i, dtype.removeprefix("vlen:")) for i in items]
    array = np.empty(len(items), dtype=object)
    for at, item in enumerate(items):  # not at once: numpy would take equal lengths for a matrix
        array[at] = item
    return array.reshape(shape)


def pack_integers(numbers: Int64s) -> bytes:
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


def unpack_integers(packed: bytes) -> Int64s:
    """The integers that ``pack_integers`` was given, (n,) int64."""
    if not packed:
        return np.empty(0, np.int64)
    kind = packed[:1].decode()
    if kind == "c":
        size, value = struct.unpack("<qq", packed[1:])
        return np.full(size, value, np.int64)
    raw = zlib.decompress(packed[1:]) if kind.isupper() else packed[1:]
    return np.frombuffer(raw, f"<{kind.lower()}").astype(np.int64)


def encode_timestamps(timestamps: UInt64s) -> tuple[int | None, bytes]:
    """The first time (None where there are none), and the differences between neighbours."""
    times = np.asarray(timestamps, np.uint64)
    if not times.size:
        return None, b""
    return int(times[0]), pack_integers(np.diff(times).view(np.int64))


def decode_timestamps(first: int | None, deltas: bytes) -> UInt64s:
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


NO_NUMBERS: Int64s = np.empty(0, np.int64)

# Patterns that are unfolded together, as those of a source mostly lie side by side.
_BLOCK = 64


class PackedSlots:
    """The numbers of what each file has in its slots, unfolded when they are asked for."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @cached_property
    def _numbers(self) -> tuple[Int64s, Int64s]:
        """The numbers of all slots of all files, one file after the other; where each begins."""
        sizes, numbers = map(unpack_integers, _split(self._packed))
        return numbers, np.concatenate(([0], np.cumsum(sizes)))

    def numbers(self, file: int) -> list[int]:
        """The numbers of a file, slot by slot."""
        numbers, begins = self._numbers
        found: list[int] = numbers[begins[file] : begins[file + 1]].tolist()
        return found

    def has_slots(self, files: Sequence[int]) -> bool:
        """Whether all these files have any."""
        return bool((np.diff(self._numbers[1])[files] > 0).all())

    def numbers_at(self, files: Sequence[int], slot: int) -> list[int]:
        """The number in a slot of each of some files, which have it."""
        numbers, begins = self._numbers
        wanted: list[int] = numbers[begins[files] + slot].tolist()
        return wanted


class PackedIndex(PackedSlots):
    """The index patterns of a run, as ``pack_run`` put them; unfolded when they are asked for.

    The slots are ``FileLayout.slots``. Equal patterns are one object. Safe between threads: what
    two of them unfold is the same.
    """

    def __init__(self, slots: bytes, patterns: bytes) -> None:
        super().__init__(slots)
        self._patterns = patterns
        self._unfolded: dict[int, IndexPattern] = {}

    @cached_property
    def _blocks(self) -> list[bytes]:
        return _split(self._patterns)

    def patterns(self, numbers: Iterable[int]) -> list[IndexPattern]:
        """The patterns with these numbers."""
        for number in numbers:
            if number not in self._unfolded:
                self._unfold(number // _BLOCK)
        return [self._unfolded[number] for number in numbers]

    def by_number(self) -> list[IndexPattern]:
        """All patterns."""
        for block in range(len(self._blocks)):
            self._unfold(block)
        return [self._unfolded[number] for number in range(len(self._unfolded))]

    def _unfold(self, block: int) -> None:
        columns = _unpack_lists(self._blocks[block])
        for number, parts in enumerate(zip(*columns, strict=True), block * _BLOCK):
            self._unfolded.setdefault(number, IndexPattern(*parts))


class PackedRun(NamedTuple):
    """What opening needs of a run: ``files`` by ordinal, ``trains`` by number, its index."""

    files: FileTable
    trains: tuple[TrainList, ...]
    patterns: PackedIndex


def pack_run(
    run_id: int,
    files: FileTable,
    trains: Sequence[TrainList],
    slots: Sequence[NDArray[np.integer]],
    patterns: Sequence[IndexPattern],
) -> tuple[int, bytes, bytes, bytes, bytes]:
    """The row of a run; ``slots`` are the numbers in ``patterns`` that each file has."""
    names = "/".join(files.names).encode("utf-8", "surrogatepass")
    facts = (files.sizes, files.mtimes_ns, files.depths, files.missing)
    numbers = (files.train_lists, files.layouts)
    blocks = [
        _pack_lists([p.lengths for p in some], [p.counts for p in some], [p.offsets for p in some])
        for some in (patterns[i : i + _BLOCK] for i in range(0, len(patterns), _BLOCK))
    ]
    packed_trains = _pack_lists(
        [t.starts.view(np.int64) for t in trains],
        [t.lengths for t in trains],
        [t.suspect for t in trains],
        [t.dropped for t in trains],
    )
    return (
        run_id,
        _join([zlib.compress(names), *map(_pack, (*facts, *numbers))]),
        packed_trains,
        _pack_lists(slots),
        _join(blocks),
    )


def fetch_packed(cursor: Cursor, run_id: int) -> PackedRun | None:
    """The packed row of a run; None where the shard does not have it."""
    found = rows_of_run(cursor, run_id, "files, trains, slots, patterns FROM run_packed")
    if not found:
        return None
    packed_files, trains, slots, patterns = found[0]
    starts, *others = _unpack_lists(trains)
    return PackedRun(
        _unpack_files(packed_files),
        tuple(map(TrainList, (s.view(np.uint64) for s in starts), *others)),
        PackedIndex(slots, patterns),
    )


class PackedFrameIds(PackedSlots):
    """The pulse and cell IDs of a run; the slots are ``FileLayout.frame_slots``."""

    def __init__(self, slots: bytes, ids: bytes) -> None:
        super().__init__(slots)
        self._ids = ids

    @cached_property
    def ids(self) -> list[FrameIds]:
        """All of them by number."""
        blocks, sizes = _split(self._ids)
        (unpacked,) = _unpack_lists(blocks)
        columns = zip(unpacked, unpack_integers(sizes).tolist(), strict=True)
        return [FrameIds(block.view(np.uint64), n_rows) for block, n_rows in columns]


def pack_frame_ids(
    run_id: int, slots: Sequence[NDArray[np.integer]], ids: Sequence[FrameIds]
) -> tuple[int, bytes, bytes]:
    """The row of a run; ``slots`` are the numbers in ``ids`` that each file has, -1 for none."""
    blocks = _pack_lists([i.block.view(np.int64) for i in ids])
    return run_id, _pack_lists(slots), _join([blocks, _pack([i.n_rows for i in ids])])


def fetch_frame_ids(cursor: Cursor, run_id: int) -> PackedFrameIds | None:
    """The pulse and cell IDs of a run; None where none are recorded."""
    found = rows_of_run(cursor, run_id, "slots, ids FROM frame_ids")
    return PackedFrameIds(*found[0]) if found else None


def _unpack_files(packed: bytes) -> FileTable:
    packed_names, *columns = _split(packed)
    names = zlib.decompress(packed_names).decode("utf-8", "surrogatepass")
    sizes, mtimes, depths, missing, trains, layouts = (
        unpack_integers(column).tolist() for column in columns
    )
    return FileTable(
        names.split("/") if names else [],
        *(sizes, mtimes, depths, list(map(bool, missing)), range(len(sizes)), trains, layouts),
    )


def _pack(numbers: ArrayLike) -> bytes:
    return pack_integers(np.asarray(numbers, np.int64))


def _pack_lists(*columns: Sequence[NDArray[np.integer]]) -> bytes:
    """Columns of arrays: of each column the sizes of its arrays, and all their numbers."""
    parts: list[bytes] = []
    for arrays in columns:
        parts += _pack([a.size for a in arrays]), _pack(np.concatenate([NO_NUMBERS, *arrays]))
    return _join(parts)


def _unpack_lists(packed: bytes) -> list[list[Int64s]]:
    """The columns that ``_pack_lists`` was given."""
    parts = list(map(unpack_integers, _split(packed)))
    return [
        [numbers[first:end] for first, end in pairwise([0, *np.cumsum(sizes).tolist()])]
        for sizes, numbers in zip(parts[::2], parts[1::2], strict=True)
    ]


def _join(parts: Sequence[bytes]) -> bytes:
    """Parts with their number and sizes before them."""
    return struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts)) + b"".join(parts)


def _split(packed: bytes) -> list[bytes]:
    """The parts that ``_join`` was given."""
    (n,) = struct.unpack_from("<Q", packed)
    sizes = struct.unpack_from(f"<{n}Q", packed, 8)
    ends = accumulate(sizes, initial=8 * (n + 1))
    return [packed[first:end] for first, end in pairwise(ends)]
