"""Values of small datasets and attributes, decoded from the bytes of the file.

Only what is stored plainly: numbers as numpy has them, strings of fixed or variable length; in one
piece, in the header, or in chunks that are unfiltered or deflated. Everything else raises
NotUnderstoodError, and the HDF5 library reads it.
"""

import struct
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chunks import (
    ABSENT,
    UNUSUAL,
    ChunkMap,
    StoredDataError,
    decode_chunk,
    inflate_by_zlib,
)
from .interface import as_text
from .links import NOWHERE, Blocks, NotUnderstoodError
from .stored import StoredChunks, StoredValues

_PLAIN, _TRUTH, _NAMED, _TEXT, _FIXED_TEXT, _OTHER = range(6)
_MOST_BYTES = 1 << 26  # larger datasets hold no facts; the library reads them


# Of the floating-point numbers of IEEE 754, by bytes: bits, those of the exponent and of the
# significand, and what is subtracted from the exponent.
_FLOATS = {2: (16, 5, 10, 15), 4: (32, 8, 23, 127), 8: (64, 11, 52, 1023)}


class _Type(NamedTuple):
    """A datatype: the dtype in memory, bytes per element in the file, and how these are to read."""

    dtype: np.dtype[Any]
    size: int
    kind: int
    ends_in_zero: bool = False


class ValueReader:
    """Decodes the values of one file.

    Remembers datatypes by the bytes that describe them, for few are distinct, and the global heaps
    that hold strings of variable length.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._types: dict[bytes, _Type] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}

    def dtype(self, described: bytes) -> np.dtype[Any]:
        """The dtype, as h5py has it, of a datatype message."""
        return self._type(described).dtype

    def read(self, stored: StoredValues) -> NDArray[Any]:
        """All values of a dataset, as h5py gives them."""
        found = self._type(stored.type_)
        size = found.size * prod(stored.shape)
        if found.kind in (_NAMED, _OTHER) or size > _MOST_BYTES:
            raise NotUnderstoodError("values that are not plain, or many")
        return self._as_array(found, stored.shape, _bytes(self._blocks, stored, found.size, size))

    def chunks(self, stored: StoredValues) -> StoredChunks:
        """How a dataset of numbers or booleans is stored; raises NotUnderstoodError for others."""
        found = self._type(stored.type_)
        if found.kind not in (_PLAIN, _TRUTH, _NAMED):
            raise NotUnderstoodError("values that are no plain numbers")
        return StoredChunks.of(stored, found.dtype)

    def first_text(self, described: bytes, shape: tuple[int, ...] | None, data: bytes) -> str:
        """The first value of an attribute, if it is a string; else empty."""
        found = self._type(described)
        if found.kind in (_NAMED, _OTHER):
            raise NotUnderstoodError("attribute that is not plain")
        if shape is None:
            raise NotUnderstoodError("attribute without a dataspace")
        if not prod(shape) or found.kind in (_PLAIN, _TRUTH):
            return ""
        return as_text(self._as_array(found, (1,), data[: found.size])[0])

    def _type(self, described: bytes) -> _Type:
        known = self._types.get(described)
        if known is None:
            known = _common_type(described) or _type_by_library(described)
            self._types[described] = known
        return known

    def _as_array(self, type_: _Type, shape: tuple[int, ...], raw: bytes) -> NDArray[Any]:
        """The bytes of whole elements as h5py gives them."""
        if type_.kind == _TEXT:
            texts = np.empty(prod(shape), type_.dtype)
            for i, (size, heap, number) in enumerate(struct.iter_unpack("<IQI", raw)):
                texts[i] = self._text(size, heap, number)
            return texts.reshape(shape)
        plain = np.frombuffer(raw, type_.dtype, prod(shape)).reshape(shape)
        if type_.kind == _TRUTH and (plain.view(np.uint8) > 1).any():
            raise NotUnderstoodError("neither true nor false")
        if type_.kind == _FIXED_TEXT and type_.ends_in_zero:
            return np.array([t.split(b"\0", 1)[0] for t in plain.flat], type_.dtype).reshape(shape)
        return plain

    def _text(self, size: int, heap: int, number: int) -> bytes:
        """A string of variable length, by its place in a global heap."""
        if not size or not heap:
            return b""
        objects = self._heaps.get(heap)
        if objects is None:
            objects = self._heaps[heap] = dict(_heap_objects(self._blocks, heap))
        return objects[number][:size].split(b"\0", 1)[0]


def _common_type(described: bytes) -> _Type | None:
    """A number as most processors have it, or a string of variable length; None for another type.

    A quarter of the time of a first look into a file went into asking the library.
    """
    head, flags, more, _, size = struct.unpack_from("<BBBBI", described)
    if not 0 < head >> 4 < 5:  # the version
        return None
    if head & 15 == 0 and size in (1, 2, 4, 8) and not flags & 6:
        if struct.unpack_from("<HH", described, 8) != (0, 8 * size):
            return None
        name = f"{'>' if flags & 1 else '<'}{'i' if flags & 8 else 'u'}{size}"
        return _Type(np.dtype(name), size, _PLAIN)
    if head & 15 == 1 and flags & 0xFE == 0x20 and size in _FLOATS:
        n_bits, exponent, significand, bias = _FLOATS[size]
        usual = (0, n_bits, significand, exponent, 0, significand, bias)
        if more != n_bits - 1 or struct.unpack_from("<HHBBBBI", described, 8) != usual:
            return None
        return _Type(np.dtype(f"{'>' if flags & 1 else '<'}f{size}"), size, _PLAIN)
    if head & 15 == 9 and flags & 15 == 1 and size == 16 and more & 15 < 2:
        if _common_type(described[8:]) is None:  # that of its characters
            return None
        vlen = str if more & 15 else bytes
        return _Type(np.dtype("O", metadata={"vlen": vlen}), size, _TEXT)
    return None


def _type_by_library(described: bytes) -> _Type:
    from h5py import h5t

    # H5Tencode gives the message behind two bytes that mark it as a datatype.
    made = h5t.decode(b"\x03\x00" + described)
    size = int.from_bytes(described[4:8], "little")
    kind, padding = described[0] & 15, described[1] & 15
    dtype = made.dtype
    if kind in (0, 1) and dtype.kind in "iuf" and h5t.py_create(dtype).equal(made):
        return _Type(dtype, size, _PLAIN)
    if kind == 8 and dtype.kind == "b" and size == 1:
        return _Type(dtype, size, _TRUTH)
    if kind == 8 and dtype.kind in "iu" and h5t.py_create(dtype, logical=True).equal(made):
        return _Type(dtype, size, _NAMED)
    if kind == 3 and padding in (0, 1) and dtype.kind == "S":
        return _Type(dtype, size, _FIXED_TEXT, padding == 0)
    return _Type(dtype, size, _OTHER)


def _heap_objects(blocks: Blocks, at: int) -> Iterator[tuple[int, bytes]]:
    signature, version, size = struct.unpack("<4sB3xQ", blocks.get(at, 16))
    if signature != b"GCOL" or version != 1 or size > _MOST_BYTES:
        raise NotUnderstoodError("no global heap")
    collection = blocks.get(at, size)
    place = 16
    while place + 16 <= size:
        number, length = struct.unpack_from("<H6xQ", collection, place)
        if not number:
            return
        if place + 16 + length > size:
            raise NotUnderstoodError("object beyond the end of its global heap")
        yield number, collection[place + 16 : place + 16 + length]
        place += 16 + -(-length // 8) * 8


def _bytes(blocks: Blocks, stored: StoredValues, element: int, size: int) -> bytes:
    """The values of a dataset in the order of their rows, ``size`` bytes."""
    layout = stored.layout
    version, kind = layout[0], layout[1]
    if version not in (3, 4, 5):
        raise NotUnderstoodError("data layout of another version")
    if kind == 0:
        return layout[4 : 4 + size]
    if kind == 1:
        (at,) = struct.unpack_from("<Q", layout, 2)
        if at != NOWHERE:
            return blocks.get(at, size)
        _need_zero_fill(stored.fill)
        return bytes(size)
    if kind == 2 and stored.shape:
        return _chunked(blocks, stored, element, size)
    raise NotUnderstoodError("data layout of an unknown kind")


def _need_zero_fill(fill: bytes) -> None:
    """Raise unless rows that were never written read as zeros."""
    if not fill:
        return
    if fill[0] == 2:
        value = fill[8:] if fill[3] else b""
    elif fill[0] == 3:
        value = fill[6:] if fill[1] & 32 else b""
    else:
        raise NotUnderstoodError("fill value of another version")
    if any(value):
        raise NotUnderstoodError("rows that were never written")


def _chunked(blocks: Blocks, stored: StoredValues, element: int, size: int) -> bytes:
    """The values of a dataset that is chunked along its first dimension only."""
    places = StoredChunks.of(stored, np.dtype((np.void, element)))
    layout = places.layout
    if layout.chunk_shape[1:] != stored.shape[1:] or not layout.is_decodable:
        raise NotUnderstoodError("chunks that part an entry, or went through other filters")
    if not size:
        return b""
    chunks = ChunkMap.unknown(layout)
    places.locate(blocks, chunks, 0, stored.shape[0])
    if chunks.offsets.min() < 0:
        if chunks.offsets.min() == UNUSUAL:
            raise NotUnderstoodError("chunk that skips a filter, or of another size")
        _need_zero_fill(stored.fill)
    parts = []
    for at, n_stored in zip(chunks.offsets.tolist(), chunks.sizes.tolist(), strict=True):
        if at == ABSENT:
            parts.append(bytes(layout.chunk_bytes))
            continue
        part = blocks.get(at, n_stored)
        if layout.deflated:
            try:
                part = decode_chunk(part, layout, inflate_by_zlib).tobytes()
            except StoredDataError as error:
                raise NotUnderstoodError(str(error)) from error
        parts.append(part)
    return b"".join(parts)[:size]
