"""Values of small datasets and attributes, decoded from the bytes of the file.

Only what is stored plainly: numbers as numpy has them, strings of fixed or variable length; in one
piece, in the header, or in chunks that are unfiltered or deflated. Everything else raises
NotUnderstoodError, and the HDF5 library reads it.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .interface import as_text
from .links import NOWHERE, Blocks, NotUnderstoodError

_PLAIN, _TRUTH, _TEXT, _FIXED_TEXT, _OTHER = range(5)
_MOST_BYTES = 1 << 26  # larger datasets hold no facts; the library reads them
_DEFLATE, _SHUFFLE = 1, 2


class _Type(NamedTuple):
    """A datatype: the dtype in memory, bytes per element in the file, and how these are to read."""

    dtype: np.dtype[Any]
    size: int
    kind: int
    ends_in_zero: bool = False


@dataclass(frozen=True, slots=True)
class StoredValues:
    """The header messages that describe the values of a dataset."""

    type_: bytes
    shape: tuple[int, ...]
    layout: bytes
    filters: bytes | None
    fill: bytes


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
        if found.kind == _OTHER or size > _MOST_BYTES:
            raise NotUnderstoodError("values that are not plain, or many")
        return self._as_array(found, stored.shape, _bytes(self._blocks, stored, found.size, size))

    def first_text(self, described: bytes, shape: tuple[int, ...] | None, data: bytes) -> str:
        """The first value of an attribute, if it is a string; else empty."""
        found = self._type(described)
        if found.kind == _OTHER:
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

    def _as_array(
        self, type_: _Type, shape: tuple[int, ...], raw: bytes | bytearray
    ) -> NDArray[Any]:
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
    """An integer of whole bytes, or a string of variable length; None for another type."""
    head, flags, more, _, size = struct.unpack_from("<BBBBI", described)
    if head & 15 == 0 and size in (1, 2, 4, 8) and not flags & 6:
        if struct.unpack_from("<HH", described, 8) != (0, 8 * size):
            return None
        name = f"{'>' if flags & 1 else '<'}{'i' if flags & 8 else 'u'}{size}"
        return _Type(np.dtype(name), size, _PLAIN)
    if head & 15 == 9 and flags & 15 == 1 and size == 16 and more & 15 < 2:
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


def _bytes(blocks: Blocks, stored: StoredValues, element: int, size: int) -> bytes | bytearray:
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


def _chunked(blocks: Blocks, stored: StoredValues, element: int, size: int) -> bytearray:
    """The values of a dataset that is chunked along its first dimension only."""
    shape = stored.shape
    chunk_shape, chunks = _chunks(blocks, stored.layout, stored.filters is not None)
    if chunk_shape[-1] != element or chunk_shape[1:-1] != shape[1:]:
        raise NotUnderstoodError("chunks that part an entry")
    row = element * prod(shape[1:])
    length = chunk_shape[0] * row
    values = bytearray(size)
    missing = -(-shape[0] // chunk_shape[0]) if size else 0
    for first_row, at, n_stored, mask in chunks:
        start = first_row * row
        if start >= size or at == NOWHERE:
            continue
        if mask:
            raise NotUnderstoodError("chunk that skips a filter")
        chunk = blocks.get(at, n_stored or length)
        for number in reversed(_filter_numbers(stored.filters)):
            if number == _DEFLATE:
                chunk = zlib.decompress(chunk)
            elif element > 1:  # shuffled
                whole = len(chunk) // element * element
                turned = np.frombuffer(chunk[:whole], np.uint8).reshape(element, -1).T
                chunk = turned.tobytes() + chunk[whole:]
        if len(chunk) != length:
            raise NotUnderstoodError("chunk of another size")
        values[start : start + length] = chunk[: size - start]
        missing -= 1
    if missing:
        _need_zero_fill(stored.fill)
    return values


def _filter_numbers(message: bytes | None) -> list[int]:
    """The filters in the order in which they were applied."""
    if message is None:
        return []
    version, n = message[0], message[1]
    at = 8 if version == 1 else 2
    numbers = []
    for _ in range(n):
        number = message[at] | message[at + 1] << 8
        if number not in (_DEFLATE, _SHUFFLE) or version not in (1, 2):
            raise NotUnderstoodError(f"filter {number}")
        numbers.append(number)
        if version == 1:
            name_size, _, n_values = struct.unpack_from("<HHH", message, at + 2)
            at += 8 + -(-name_size // 8) * 8 + 4 * (n_values + n_values % 2)
        else:
            _, n_values = struct.unpack_from("<HH", message, at + 2)
            at += 6 + 4 * n_values
    return numbers


_Chunk = tuple[int, int, int, int]
"""First row, position, bytes in the file (0: as in memory), and mask of skipped filters."""


def _chunks(
    blocks: Blocks, layout: bytes, filtered: bool
) -> tuple[tuple[int, ...], Iterator[_Chunk]]:
    """The shape of a chunk with the element's size at its end, and the chunks."""
    if layout[0] == 3:
        rank, tree = struct.unpack_from("<BQ", layout, 2)
        shape = struct.unpack_from(f"<{rank}I", layout, 11)
        return shape, _tree_chunks(blocks, tree, rank, 16) if tree != NOWHERE else iter(())
    _, rank, width = layout[2:5]
    shape = tuple(
        int.from_bytes(layout[at : at + width], "little")
        for at in range(5, 5 + rank * width, width)
    )
    at = 5 + rank * width
    index = layout[at]
    at += 1
    if index == 1:
        stored = mask = 0
        if layout[2] & 2:
            stored, mask = struct.unpack_from("<QI", layout, at)
            at += 12
        (place,) = struct.unpack_from("<Q", layout, at)
        return shape, iter([(0, place, stored, mask)])
    if index in (3, 4):
        (head,) = struct.unpack_from("<Q", layout, at + (1 if index == 3 else 5))
        listed = _fixed_array if index == 3 else _growing_array
        chunks = listed(blocks, head, filtered) if head != NOWHERE else iter(())
        return shape, ((number * shape[0], *chunk) for number, chunk in enumerate(chunks))
    raise NotUnderstoodError("chunk index of another kind")


def _tree_chunks(blocks: Blocks, tree: int, rank: int, deepest: int) -> Iterator[_Chunk]:
    signature, kind, level, n = struct.unpack("<4sBBH", blocks.get(tree, 8))
    if signature != b"TREE" or kind != 1 or level >= deepest:
        raise NotUnderstoodError("no B-tree of chunks")
    size = 16 + 8 * rank
    node = blocks.get(tree + 24, n * size)
    for at in range(0, len(node), size):
        stored, mask, row = struct.unpack_from("<IIQ", node, at)
        (child,) = struct.unpack_from("<Q", node, at + size - 8)
        if level:
            yield from _tree_chunks(blocks, child, rank, level)
        else:
            yield row, child, stored, mask


_Place = tuple[int, int, int]


def _elements(listed: bytes, size: int, filtered: bool) -> Iterator[_Place]:
    for at in range(0, len(listed), size):
        place = int.from_bytes(listed[at : at + 8], "little")
        if filtered:
            stored = int.from_bytes(listed[at + 8 : at + size - 4], "little")
            yield place, stored, int.from_bytes(listed[at + size - 4 : at + size], "little")
        else:
            yield place, 0, 0


def _fixed_array(blocks: Blocks, at: int, filtered: bool) -> Iterator[_Place]:
    signature, _, _, size, bits, n, data = struct.unpack("<4sBBBBQQ", blocks.checked(at, 24)[:-4])
    if signature != b"FAHD" or n > 1 << bits or n * size > _MOST_BYTES:
        raise NotUnderstoodError("no fixed array, or one in pages")
    if data == NOWHERE:
        return
    block = blocks.checked(data, 14 + n * size)
    if block[:4] != b"FADB":
        raise NotUnderstoodError("no block of a fixed array")
    yield from _elements(block[14:-4], size, filtered)


def _growing_array(blocks: Blocks, at: int, filtered: bool) -> Iterator[_Place]:
    head = struct.unpack("<4sBBBBBBBB6QQ", blocks.checked(at, 68)[:-4])
    signature, _, _, size, bits, n_inside, n_least, n_blocks, page = head[:9]
    n_used, index = head[13], head[15]
    n_direct = 2 * (n_blocks - 1)
    if signature != b"EAHD":
        raise NotUnderstoodError("no extensible array")
    if index == NOWHERE:
        return
    start = 14 + n_inside * size
    # Behind them the places of blocks of blocks, for arrays that are longer than we read.
    n_above = 1 + bits - (n_least.bit_length() - 1) - 2 * (n_blocks.bit_length() - 1)
    block = blocks.checked(index, start + 8 * (n_direct + max(n_above, 0)))
    if block[:4] != b"EAIB":
        raise NotUnderstoodError("no index of an extensible array")
    yield from _elements(block[14:start], size, filtered)
    n_known = n_inside
    for number in range(n_direct):
        if n_known >= n_used:
            return
        # Blocks grow: one of the least size, one of twice that, two, two of four times, ...
        n = n_least << _doublings(number)
        (place,) = struct.unpack_from("<Q", block, start + 8 * number)
        n_known += n
        if place == NOWHERE:
            yield from ((NOWHERE, 0, 0) for _ in range(n))
            continue
        if n > 1 << page:
            raise NotUnderstoodError("extensible array in pages")
        begin = 14 + (bits + 7) // 8
        data = blocks.checked(place, begin + n * size)
        if data[:4] != b"EADB":
            raise NotUnderstoodError("no block of an extensible array")
        yield from _elements(data[begin:-4], size, filtered)
    if n_known < n_used:
        raise NotUnderstoodError("long extensible array")


def _doublings(number: int) -> int:
    """How many times the least size has doubled at a data block."""
    level = 0
    while number >= 1 << (level // 2):
        number -= 1 << (level // 2)
        level += 1
    return (level + 1) // 2
