"""Bytes and links of an HDF5 file: what our own reader goes by from object to object.

HDF5 fetches each of its structures by a read of its own, thousands per file; on a parallel file
system each costs milliseconds. ``Blocks`` reads the file in aligned blocks, more of them the longer
it goes on in one direction, and cuts the pieces out of what it has.

The links of groups come, after the HDF5 file format specification, in several ways:

1. ``symbol_links``: files as of HDF5 1.6: a B-tree of symbol tables, names in a local heap.
2. ``link_of``: a few links as messages in the group's header.
3. ``heap_objects``: many links (or attributes) as messages in a fractal heap, listed by a
   version 2 B-tree.
"""

import ctypes
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache
from struct import Struct, unpack_from
from typing import NamedTuple

SCAN_BITS = 16  # 64 KiB: a scan sooner or later needs most of what lies beside a structure
FIND_BITS = 14  # 16 KiB: finds few of many datasets in half the time, with a third more reads
_FIRST = 1 << 18  # bytes: what opening a run needs mostly lies at the beginning
_MOST_AHEAD = 1 << 20  # bytes: a miss at the end of a stretch reads no more in vain
_MOST_KEPT = 1 << 26  # bytes: a worker must not fill memory with a file of many objects

NOWHERE = (1 << 64) - 1
_DEEPEST = 32  # levels of a tree or heap: deeper ones are circles in a damaged file

_TREE = Struct("<4sBBHQQ")
_SYMBOL = Struct("<QQII16s")
_HEAP = Struct("<4sB3xQQQ")
_PAIR = Struct("<QQ")
_TREE2 = Struct("<4sBBIHHBBQHQ")
_FRACTAL = Struct("<4sBHHBI12QHQQHHQH")


class NotUnderstoodError(Exception):
    """A file has something that only the HDF5 library understands, or that is damaged.

    Never reaches users: the scanner turns to the library then.
    """


@cache
def checksum() -> Callable[[bytes, int, int], int]:
    """Jenkins' lookup3 of the first bytes of a piece: a function of piece, size and 0.

    The one of the HDF5 library, which h5py is linked with: 1 us for a header of 300 bytes. No
    package on PyPI has it compiled, and in Python it takes longer than all the rest of the reading.
    """
    from h5py import h5

    try:
        lookup3 = ctypes.CDLL(h5.__file__).H5_checksum_lookup3
    except (OSError, AttributeError) as e:
        raise NotUnderstoodError("a library that hides its checksums") from e
    lookup3.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32)
    lookup3.restype = ctypes.c_uint32
    return lookup3


class Blocks:
    """Pieces of an open file of ``size`` bytes, by position, read in blocks of ``1 << bits``."""

    def __init__(self, fd: int, size: int, bits: int = SCAN_BITS) -> None:
        self._fd = fd
        self._size = size
        self._bits = bits
        self._within = (1 << bits) - 1
        self._known: dict[int, bytes] = {}
        self._ahead = 1

    def get(self, at: int, size: int) -> bytes:
        """``size`` bytes at a position; raises NotUnderstoodError beyond the end of the file."""
        block = self._known.get(at >> self._bits)
        if block is None:
            block = self._load(at >> self._bits)
        start = at & self._within
        piece = block[start : start + size]
        return piece if len(piece) == size else self._across(at, size)

    def checked(self, at: int, size: int) -> bytes:
        """As ``get``, of a piece that its checksum follows."""
        piece = self.get(at, size + 4)
        if checksum()(piece, size, 0) != int.from_bytes(piece[size:], "little"):
            raise NotUnderstoodError(f"wrong checksum of {size} bytes at {at}")
        return piece

    def some(self, at: int, size: int) -> bytes:
        """As ``get``, but as much as the file has."""
        return self.get(at, min(size, self._size - at))

    def forget(self) -> None:
        """Free the memory of what was read."""
        self._known.clear()

    def _across(self, at: int, size: int) -> bytes:
        if at < 0 or size < 0 or at + size > self._size:
            raise NotUnderstoodError(f"{size} bytes at {at} of {self._size}")
        if size > _MOST_AHEAD:
            piece = os.pread(self._fd, size, at)
            if len(piece) != size:
                raise NotUnderstoodError("the file has become shorter")
            return piece
        parts = []
        while size:
            number = at >> self._bits
            block = self._known.get(number) or self._load(number)
            part = block[at & self._within : (at & self._within) + size]
            parts.append(part)
            at += len(part)
            size -= len(part)
        return b"".join(parts)

    def _load(self, number: int) -> bytes:
        bits = self._bits
        if number < 0 or number << bits >= self._size:
            raise NotUnderstoodError(f"block {number} beyond the end of the file")
        if not self._known and bits == SCAN_BITS:
            n = _FIRST >> bits
        else:
            most = _MOST_AHEAD >> bits
            self._ahead = min(2 * self._ahead, most) if number - 1 in self._known else 1
            n = self._ahead
        if len(self._known) > _MOST_KEPT >> bits:
            self._known.clear()
        read = os.pread(self._fd, n << bits, number << bits)
        if len(read) < min(n << bits, self._size - (number << bits)):
            raise NotUnderstoodError("the file has become shorter")
        for i in range(0, len(read), 1 << bits):
            self._known.setdefault(number + (i >> bits), read[i : i + (1 << bits)])
        return self._known[number]


class RecordedBlocks(Blocks):
    """The pieces of another ``Blocks``, and ``pieces``: position and content of those asked for."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._size = blocks._size
        self.pieces: list[tuple[int, bytes]] = []

    def get(self, at: int, size: int) -> bytes:
        """See ``Blocks``."""
        piece = self._blocks.get(at, size)
        if self.pieces:
            before, last = self.pieces[-1]
            if before <= at <= before + len(last):  # a head and what follows it: one to compare
                whole = max(len(last), at - before + size)
                self.pieces[-1] = before, self._blocks.get(before, whole)
                return piece
        self.pieces.append((at, piece))
        return piece


class ElsewhereLink(NamedTuple):
    """A link that is not hard: its ``kind``, soft or external, and its ``target``."""

    kind: str
    target: bytes


Link = int | ElsewhereLink
"""Where a name leads: the position of an object's header, or elsewhere."""


def symbol_links(blocks: Blocks, tree: int, heap: int) -> dict[bytes, Link]:
    """The links of a group that has a symbol table."""
    names = _heap_names(blocks, heap)
    links: dict[bytes, Link] = {}
    last = b""
    for node, below, end in _symbol_nodes(blocks, tree, _DEEPEST):
        last = max(last, _until_zero(names, below))
        for symbol in _symbols(blocks, node):
            name = _until_zero(names, symbol[0])
            if name <= last:  # the library, which looks names up by halving, would not find it
                raise NotUnderstoodError("names that are not in order")
            last = name
            links[name] = _symbol_link(names, symbol)
        if last > _until_zero(names, end):
            raise NotUnderstoodError("names that are not in order")
    return links


def symbol_link(blocks: Blocks, table: tuple[int, int, bytes]) -> Link | None:
    """The link of a name in a symbol table: tree, heap and name; None if there is none.

    By halving, as the library does: the nodes of a large group lie all over the file.
    """
    node, heap, name = table
    names = _heap_names(blocks, heap)
    for deepest in range(_DEEPEST, 0, -1):
        level, words = _symbol_tree(blocks, node, deepest)
        ends = words[2::2]
        at = bisect_left(ends, name, key=lambda end: _until_zero(names, end))
        if at == len(ends):
            return None
        node = words[2 * at + 1]
        if not level:
            break
    symbols = list(_symbols(blocks, node))
    at = bisect_left(symbols, name, key=lambda symbol: _until_zero(names, symbol[0]))
    if at == len(symbols) or _until_zero(names, symbols[at][0]) != name:
        return None
    return _symbol_link(names, symbols[at])


def _heap_names(blocks: Blocks, heap: int) -> bytes:
    """The content of a local heap."""
    signature, version, size, free, names_at = _HEAP.unpack(blocks.get(heap, 32))
    if signature != b"HEAP" or version:
        raise NotUnderstoodError("no local heap")
    names = blocks.get(names_at, size)
    _check_free(names, free)
    return names


def _symbols(blocks: Blocks, node: int) -> Iterator[tuple[int, int, int, int, bytes]]:
    """The entries of a symbol table node: place of the name, header, kind, and what it takes."""
    head = blocks.get(node, 8)
    if head[:5] != b"SNOD\1":
        raise NotUnderstoodError("no symbol table node")
    return _SYMBOL.iter_unpack(blocks.get(node + 8, (head[6] | head[7] << 8) * 40))


def _symbol_link(names: bytes, symbol: tuple[int, int, int, int, bytes]) -> Link:
    _, header, kind, _, more = symbol
    if kind > 2:
        raise NotUnderstoodError("symbol of an unknown kind")
    if kind == 2:
        return ElsewhereLink("soft", _until_zero(names, int.from_bytes(more[:4], "little")))
    return header


def _check_free(names: bytes, at: int) -> None:
    """Raise unless the free parts of a local heap are a list within it."""
    for _ in range(len(names) >> 4):
        if at == 1:
            return
        at_next, size = _PAIR.unpack_from(names, at)
        if size < 16 or at + size > len(names):
            break
        at = at_next
    if at != 1:
        raise NotUnderstoodError("damaged list of free parts in a local heap")


def _until_zero(names: bytes, at: int) -> bytes:
    return names[at : names.index(b"\0", at)]


def _symbol_nodes(blocks: Blocks, tree: int, deepest: int) -> Iterator[tuple[int, int, int]]:
    """The nodes of symbols below a node of the tree, in order.

    Each with the places, in the heap, of a name before its first, and of one no less than its last.
    """
    level, words = _symbol_tree(blocks, tree, deepest)
    for at in range(1, len(words), 2):
        if level:
            yield from _symbol_nodes(blocks, words[at], level)
        else:
            yield words[at], words[at - 1], words[at + 1]


def _symbol_tree(blocks: Blocks, tree: int, deepest: int) -> tuple[int, tuple[int, ...]]:
    """Level of a node, and in turns the place of a name and a child, with a name at the end."""
    signature, kind, level, n, _, _ = _TREE.unpack(blocks.get(tree, 24))
    if signature != b"TREE" or kind or level >= deepest:
        raise NotUnderstoodError("no B-tree of a group")
    return level, unpack_from(f"<{2 * n + 1}Q", blocks.get(tree + 24, 16 * n + 8))


def link_of(message: bytes) -> tuple[bytes, Link]:
    """Name and target of a link message."""
    flags = message[1]
    if message[0] != 1:
        raise NotUnderstoodError("link message of another version")
    at = 2
    kind = 0
    if flags & 8:
        kind = message[at]
        at += 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(message[at : at + width], "little")
    at += width
    name, value = message[at : at + size], message[at + size :]
    if len(name) < size:
        raise NotUnderstoodError("link message that is cut off")
    if kind == 0:
        if len(value) < 8:
            raise NotUnderstoodError("link message that is cut off")
        return name, int.from_bytes(value[:8], "little")
    target = value[2 : 2 + int.from_bytes(value[:2], "little")]
    if kind == 1:
        return name, ElsewhereLink("soft", target)
    if kind == 64:  # flags, then file name and path
        return name, ElsewhereLink("external", target[1:].split(b"\0")[0])
    raise NotUnderstoodError("link of an unknown kind")


def heap_objects(blocks: Blocks, heap: int, tree: int, skip: int) -> Iterator[bytes]:
    """The objects of a fractal heap that a version 2 B-tree lists.

    ``skip`` bytes of each record of the tree come before the object's place in the heap.
    """
    find = _FractalHeap(blocks, heap).get
    for record in tree2_records(blocks, tree):
        yield find(record[skip:])


class _FractalHeap:
    def __init__(self, blocks: Blocks, at: int) -> None:
        self._blocks = blocks
        head = _FRACTAL.unpack(blocks.checked(at, _FRACTAL.size)[:-4])
        signature, _, _, filters, self._flags, most = head[:6]
        width, start, largest, bits, _, root, rows = head[-7:]
        if signature != b"FRHP" or filters or not (width and start and largest):
            raise NotUnderstoodError("no fractal heap")
        self._width, self._start, self._root, self._rows = width, start, root, rows
        self._direct_rows = largest.bit_length() - start.bit_length() + 2
        self._offset_size = (bits + 7) // 8
        self._length_size = (min(largest, most).bit_length() + 6) // 8
        self._parts: dict[int, bytes] = {}

    def get(self, place: bytes) -> bytes:
        """The object of a heap ID."""
        kind = place[0] >> 4
        if kind == 2:
            return place[1 : 2 + (place[0] & 15)]
        if kind:
            raise NotUnderstoodError("object outside of its fractal heap")
        middle = 1 + self._offset_size
        offset = int.from_bytes(place[1:middle], "little")
        length = int.from_bytes(place[middle : middle + self._length_size], "little")
        part, at = self._part(offset)
        if at + length > len(part):
            raise NotUnderstoodError("object beyond the end of its heap block")
        return part[at : at + length]

    def _part(self, offset: int) -> tuple[bytes, int]:
        """The direct block of a position of the heap, and the position in it."""
        if not self._rows:
            return self._direct(self._root, self._start), offset
        block, rows = self._root, self._rows
        for _ in range(_DEEPEST):
            row, size = 0, self._start
            while offset >= self._width * size << (row > 0):
                row += 1
                size = self._start << (row - 1)
            begin = self._width * size if row else 0
            column = (offset - begin) // size
            if row >= rows:
                raise NotUnderstoodError("position outside of its fractal heap")
            entry = 13 + self._offset_size + 8 * (row * self._width + column)
            block = int.from_bytes(self._indirect(block, rows)[entry : entry + 8], "little")
            offset -= begin + column * size
            if row < self._direct_rows:
                return self._direct(block, size), offset
            rows = (size // (self._start * self._width)).bit_length()
        raise NotUnderstoodError("fractal heap without an end")

    def _indirect(self, at: int, rows: int) -> bytes:
        known = self._parts.get(at)
        if known is None:
            size = 13 + self._offset_size + 8 * rows * self._width
            known = self._parts[at] = self._blocks.checked(at, size)
            if known[:4] != b"FHIB":
                raise NotUnderstoodError("no indirect block of a fractal heap")
        return known

    def _direct(self, at: int, size: int) -> bytes:
        known = self._parts.get(at)
        if known is None:
            known = self._parts[at] = self._blocks.get(at, size)
            if known[:4] != b"FHDB":
                raise NotUnderstoodError("no direct block of a fractal heap")
            if self._flags & 2:
                begin = 13 + self._offset_size
                whole = known[:begin] + bytes(4) + known[begin + 4 :]
                stored = int.from_bytes(known[begin : begin + 4], "little")
                if checksum()(whole, size, 0) != stored:
                    raise NotUnderstoodError(f"wrong checksum of the heap block at {at}")
        return known


def tree2_records(blocks: Blocks, at: int) -> Iterator[bytes]:
    """The records of a version 2 B-tree, in any order."""
    head = _TREE2.unpack(blocks.checked(at, _TREE2.size)[:-4])
    signature, _, _, node_size, record_size, depth, _, _, root, n, _ = head
    if signature != b"BTHD" or not record_size or depth > _DEEPEST:
        raise NotUnderstoodError("no version 2 B-tree")
    # By level above the leaves: bytes that count the records of a child, and all those below it.
    most = below = (node_size - 10) // record_size
    count = _width(most)
    rests = []
    for level in range(depth):
        rests.append(_width(below) if level else 0)
        pointer = 8 + count + rests[-1]
        most = (node_size - 10 - pointer) // (record_size + pointer)
        below = (most + 1) * below + most
    if root != NOWHERE and n:
        yield from _node_records(blocks, root, n, depth, _Widths(record_size, count, rests))


class _Widths(NamedTuple):
    """Bytes of a record, of the number of records in a child, and by level of those below it."""

    record: int
    number: int
    rests: list[int]


def _node_records(
    blocks: Blocks, node: int, n: int, level: int, widths: _Widths
) -> Iterator[bytes]:
    """The records of a node of a version 2 B-tree and of all below it, in any order."""
    size = 8 + widths.number + widths.rests[level - 1] if level else 0
    end = 6 + n * widths.record
    content = blocks.checked(node, end + (n + 1) * size)
    if content[:4] != (b"BTIN" if level else b"BTLF"):
        raise NotUnderstoodError("no node of a version 2 B-tree")
    for i in range(6, end, widths.record):
        yield content[i : i + widths.record]
    if level:
        for i in range(end, len(content) - 4, size):
            child = int.from_bytes(content[i : i + 8], "little")
            n_child = int.from_bytes(content[i + 8 : i + 8 + widths.number], "little")
            yield from _node_records(blocks, child, n_child, level - 1, widths)


def _width(most: int) -> int:
    return (max(most, 1).bit_length() - 1) // 8 + 1
