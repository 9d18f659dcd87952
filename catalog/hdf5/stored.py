"""Chunk maps by the bytes of a file, without the HDF5 library.

1. ``StoredChunks.of``: how a dataset is stored, from the messages of its header.
2. ``StoredChunks.locate`` enters chunks in a ``ChunkMap``. The chunk index of a long dataset lies
   all over its file: of a version 1 B-tree only the nodes are read that lead to the rows asked for.

HDF5 has an index of chunks for each way that a dataset may grow: a version 1 B-tree in files as of
HDF5 1.6, else the single chunk, chunks behind each other, a fixed array, an extensible array (where
one dimension has no limit) or a version 2 B-tree. Arrays number the chunks by the largest shape
that the dataset may have.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.runlength import Int64s
from .chunks import ABSENT, ChunkLayout, ChunkMap, NotPlainError
from .links import NOWHERE, Blocks, NotUnderstoodError, tree2_records

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3  # H5Z constants of the file format
_CONTIGUOUS, _CHUNKED = 1, 2  # classes of a layout message
_TREE1, _SINGLE, _IN_ORDER, _FIXED, _GROWING, _TREE2 = range(6)  # its chunk indexes; 0 is ours
_BEFORE_ADDRESS = {_SINGLE: 0, _IN_ORDER: 0, _FIXED: 1, _GROWING: 5, _TREE2: 6}
_UNLIMITED = NOWHERE  # in place of a length
_DEEPEST = 16  # levels of a B-tree
_MISPLACED = "chunks at other places than multiples of their shape, or not in order"
_MOST_CHUNKS = 1 << 26  # a damaged file may claim any number

_Entries = tuple[Int64s, Int64s, NDArray[Any]]
"""Addresses of chunks, ABSENT where there is none, sizes in the file, masks of skipped filters."""


@dataclass(frozen=True, slots=True)
class StoredValues:
    """The header messages that describe the values of a dataset."""

    type_: bytes
    shape: tuple[int, ...]
    most: tuple[int, ...]
    """The largest shape that it may have."""
    layout: bytes
    filters: bytes | None
    fill: bytes


@dataclass(frozen=True, slots=True)
class StoredChunks:
    """How a dataset is stored, and where the index of its chunks lies."""

    layout: ChunkLayout
    _index: int
    _at: int
    _most: tuple[int, ...]
    _only: tuple[int, int]  # size and mask of a single chunk

    @classmethod
    def of(cls, stored: StoredValues, dtype: np.dtype[Any]) -> "StoredChunks":
        """By its messages, and the dtype of its items in the file; raises NotUnderstoodError."""
        message, shape = stored.layout, stored.shape
        version, kind = message[0], message[1]
        if version not in (3, 4, 5) or kind not in (_CONTIGUOUS, _CHUNKED) or not shape:
            raise NotUnderstoodError("data layout of another version or kind")
        if kind == _CONTIGUOUS:
            at, size = struct.unpack_from("<QQ", message, 2)
            layout = ChunkLayout(shape, shape, dtype, True, ())
            if size != layout.chunk_bytes or stored.filters is not None:
                raise NotUnderstoodError("contiguous data of another size")
            return cls(layout, _SINGLE, at, shape, (size, 0))
        only = None
        if version == 3:
            index = _TREE1
            rank, at = struct.unpack_from("<BQ", message, 2)
            chunk = struct.unpack_from(f"<{rank}I", message, 11)
        else:
            flags, rank, width = message[2:5]
            end = 5 + rank * width
            chunk = tuple(
                int.from_bytes(message[c : c + width], "little") for c in range(5, end, width)
            )
            index = message[end]
            end += 1 + _BEFORE_ADDRESS[index]
            if index == _SINGLE and flags & 2:
                only = struct.unpack_from("<QI", message, end)
                end += 12
            (at,) = struct.unpack_from("<Q", message, end)
        if rank != len(shape) + 1 or chunk[-1] != dtype.itemsize or not all(chunk):
            raise NotUnderstoodError("chunks of another rank or type")
        layout = ChunkLayout(shape, chunk[:-1], dtype, False, _codecs(stored.filters))
        if layout.n_chunks > _MOST_CHUNKS:
            raise NotUnderstoodError("implausibly many chunks")
        return cls(layout, index, at, stored.most, only or (layout.chunk_bytes, 0))

    def locate(self, blocks: Blocks, chunks: ChunkMap, first: int, end: int) -> bool:
        """Enter at least the chunks that hold rows ``first`` up to ``end``.

        True if all others are entered too. Raises NotUnderstoodError.
        """
        layout, index, at = self.layout, self._index, self._at
        if at == NOWHERE:
            return True
        rank = len(layout.shape)
        if self.has_only:
            chunks.put_only(*self._find_only(blocks))
        elif index == _TREE1:
            first -= first % layout.chunk_shape[0]
            chunk = np.array(self._unit)
            for place, entries in _tree1(blocks, at, chunk, first, end, _DEEPEST):
                _put(chunks, place, entries)
            return False
        elif index == _SINGLE:
            raise NotUnderstoodError("a single chunk of several")
        elif index == _TREE2:
            records = [*tree2_records(blocks, at)]
            raw = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1)
            scaled = raw[:, -8 * rank :].copy().view("<i8")
            _put(
                chunks,
                scaled * np.asarray(layout.chunk_shape),
                _entries(raw[:, : -8 * rank], layout.chunk_bytes),
            )
        else:
            self._put_listed(chunks, self._list_chunks(blocks))
        return True

    @property
    def has_only(self) -> bool:
        """Whether ``locate_only`` can tell where the data are: most keys have one chunk."""
        layout = self.layout
        return layout.contiguous or (self._index in (_SINGLE, _TREE1) and layout.n_chunks == 1)

    def locate_only(self, blocks: Blocks) -> int:
        """The offset of the only chunk, as in a ``ChunkMap``; raises NotUnderstoodError."""
        return ABSENT if self._at == NOWHERE else self.layout.only_offset(*self._find_only(blocks))

    def _find_only(self, blocks: Blocks) -> tuple[int, int, int]:
        """Place, size and mask of the only chunk."""
        if self._index == _SINGLE:
            return self._at, *self._only
        at, size, mask = _only_leaf(blocks, self._at, self._unit)
        _check_size(self.layout, size)
        return at, size, mask

    @property
    def _unit(self) -> tuple[int, ...]:
        """The shape of a chunk with the size of an item at its end, as in a version 1 B-tree."""
        return (*self.layout.chunk_shape, self.layout.dtype.itemsize)

    def _list_chunks(self, blocks: Blocks) -> _Entries:
        """The chunks in the order of their numbers."""
        size = self.layout.chunk_bytes
        if self._index == _FIXED:
            return _entries(_fixed_array(blocks, self._at), size)
        if self._index == _GROWING:
            return _entries(_growing_array(blocks, self._at), size)
        offsets = self._at + np.arange(prod(self._most_grid())) * size
        return offsets, np.full(offsets.size, size), np.zeros(offsets.size, "u4")

    def _most_grid(self) -> list[int]:
        """Number of chunks along each dimension in the largest shape; 1 where it has no limit."""
        lengths = zip(self._most, self.layout.chunk_shape, strict=True)
        return [1 if n == _UNLIMITED else -(-n // c) for n, c in lengths]

    def _put_listed(self, chunks: ChunkMap, listed: _Entries) -> None:
        """Enter chunks that are listed in the order of their numbers."""
        (number,) = np.nonzero(listed[0] != ABSENT)
        if not number.size:
            return
        grid, order = self._most_grid(), list(range(len(self._most)))
        if self._index == _GROWING:  # the dimension without a limit counts slowest
            free = [axis for axis in order if self._most[axis] == _UNLIMITED]
            if len(free) != 1:
                raise NotUnderstoodError("extensible array of other dimensions")
            order.sort(key=lambda axis: axis != free[0])
            grid[free[0]] = int(number[-1]) + 1
        if number[-1] >= prod(grid):
            raise NotUnderstoodError("more chunks than the dataset may have")
        scaled = np.empty((number.size, len(order)), np.int64)
        scaled[:, order] = np.stack(np.unravel_index(number, [grid[axis] for axis in order]), 1)
        at = scaled * np.asarray(self.layout.chunk_shape)
        inside = (at < np.asarray(self.layout.shape)).all(axis=1)  # some wait for it to grow
        addresses, sizes, masks = (part[number[inside]] for part in listed)
        _put(chunks, at[inside], (addresses, sizes, masks))


def _check_size(layout: ChunkLayout, sizes: Any) -> None:
    """Raise OSError for an unfiltered chunk of another size than the others.

    The HDF5 library reads as many bytes as there are said to be, and leaves the rest of the chunk
    as it finds the memory.
    """
    if not layout.codecs and np.any(sizes != layout.chunk_bytes):
        raise OSError(f"a chunk is said to have another size than {layout.chunk_bytes} bytes")


def _put(chunks: ChunkMap, at: NDArray[Any], found: _Entries) -> None:
    _check_size(chunks.layout, found[1])
    try:
        chunks.put(at, *found)
    except NotPlainError as error:
        raise NotUnderstoodError(str(error)) from error


def _codecs(message: bytes | None) -> tuple[dict[str, Any], ...]:
    """The filters in the order in which they are applied, as numcodecs are configured."""
    if message is None:
        return ()
    version, n = message[0], message[1]
    at = 8 if version == 1 else 2
    codecs: list[dict[str, Any]] = []
    for _ in range(n):
        number = message[at] | message[at + 1] << 8
        if number not in (_DEFLATE, _SHUFFLE, _FLETCHER32) or version not in (1, 2):
            raise NotUnderstoodError(f"filter {number}")
        if version == 1:
            name_size, _, n_values = struct.unpack_from("<HHH", message, at + 2)
            at += 8 + -(-name_size // 8) * 8
        else:
            _, n_values = struct.unpack_from("<HH", message, at + 2)
            at += 6
        values = struct.unpack_from(f"<{n_values}I", message, at)
        at += 4 * (n_values + (n_values % 2 if version == 1 else 0))
        if number == _DEFLATE:
            codecs.append({"id": "zlib", "level": values[0]})
        elif number == _SHUFFLE:
            codecs.append({"id": "shuffle", "elementsize": values[0]})
        else:
            codecs.append({"id": "fletcher32"})
    return tuple(codecs)


def _entries(raw: NDArray[np.uint8], chunk_bytes: int) -> _Entries:
    """The chunks of an array or version 2 B-tree, (chunks, bytes of an entry)."""
    addresses = raw[:, :8].copy().view("<i8").ravel()
    width = raw.shape[1] - 12  # of the size, where chunks are filtered
    if width < 0:
        return addresses, np.full(len(raw), chunk_bytes), np.zeros(len(raw), "u4")
    sizes = raw[:, 8:-4].astype(np.int64) @ (1 << np.arange(0, 8 * width, 8))
    return addresses, sizes, raw[:, -4:].copy().view("<u4").ravel()


def _only_leaf(blocks: Blocks, at: int, unit: tuple[int, ...]) -> tuple[int, int, int]:
    """Place, size and mask of the only chunk of a version 1 B-tree: ``_tree1`` without numpy."""
    rank = len(unit)
    form = f"<4sBBH16xII{rank}qq8x{rank}q"
    signature, kind, level, n, size, mask, *keys = struct.unpack(
        form, blocks.get(at, struct.calcsize(form))
    )
    if (signature, kind, level, n) != (b"TREE", 1, 0, 1) or any(keys[:rank]):
        raise NotUnderstoodError("no B-tree of one chunk")
    end = keys[rank + 1 :]
    if min(end) < 0 or any(k % u for k, u in zip(end, unit, strict=True)):
        raise NotUnderstoodError(_MISPLACED)
    return keys[rank], size, mask


def _tree1(
    blocks: Blocks,
    at: int,
    chunk: NDArray[Any],
    first: int,
    end: int,
    deepest: int,
    within: tuple[list[int], list[int]] | None = None,
) -> Iterator[tuple[NDArray[Any], _Entries]]:
    """The coordinates and entries of the chunks that may begin in some rows.

    ``chunk`` is ``StoredChunks._unit``. ``within`` are the keys around a node in the one above.
    """
    signature, kind, level, n = struct.unpack("<4sBBH", blocks.get(at, 8))
    if signature != b"TREE" or kind != 1 or level >= deepest or not n:
        raise NotUnderstoodError("no B-tree of chunks")
    key = np.dtype([("size", "<u4"), ("mask", "<u4"), ("at", "<i8", chunk.shape)])
    node = blocks.get(at + 24, n * (key.itemsize + 8) + key.itemsize)
    keys = np.ndarray((n + 1,), key, node, strides=(key.itemsize + 8,))
    children = np.ndarray((n,), "<i8", node, key.itemsize, (key.itemsize + 8,))
    places = keys["at"]
    # The library looks for a chunk by halving: it finds only what is in order.
    steps = np.diff(places, axis=0)
    step = steps[np.arange(n), (steps != 0).argmax(axis=1)]
    if (places % chunk).any() or (places < 0).any() or places[:n, -1].any() or (step <= 0).any():
        raise NotUnderstoodError(_MISPLACED)
    if within and not (places[0].tolist() == within[0] and places[n - 1].tolist() < within[1]):
        raise NotUnderstoodError(_MISPLACED)
    # The chunks below an entry end where those of the next begin, which may be in the same row.
    rows = places[:n, 0]
    some = slice(max(int(rows.searchsorted(first)) - 1, 0), rows.searchsorted(end))
    if not level:
        keys = keys[some]
        yield keys["at"][:, :-1], (children[some], keys["size"], keys["mask"])
        return
    bounds = places.tolist()
    for number in range(n)[some]:
        around = bounds[number], bounds[number + 1]
        yield from _tree1(blocks, int(children[number]), chunk, first, end, level, around)


def _fixed_array(blocks: Blocks, at: int) -> NDArray[np.uint8]:
    """The entries of a fixed array, (chunks, bytes of an entry)."""
    signature, _, _, size, bits, n, data = struct.unpack("<4sBBBBQQ", blocks.checked(at, 24)[:-4])
    if signature != b"FAHD" or n > _MOST_CHUNKS or not size:
        raise NotUnderstoodError("no fixed array")
    if data == NOWHERE:
        return np.full((n, size), 255, np.uint8)
    page = 1 << bits
    begin = 14 if n <= page else 14 + -(-n // page // 8)
    head = blocks.checked(data, begin + (n * size if n <= page else 0))
    if head[:4] != b"FADB":
        raise NotUnderstoodError("no block of a fixed array")
    listed = head[14:-4]
    if n > page:
        listed = _pages(blocks, data + len(head), n * size, page * size, listed)
    return np.frombuffer(listed, np.uint8).reshape(n, size)


def _pages(blocks: Blocks, at: int, size: int, page: int, present: bytes, before: int = 0) -> bytes:
    """``size`` bytes of entries in pages.

    A bit of ``present`` for each, the highest of a byte first, after ``before`` others, tells
    whether it is written.
    """
    pages = []
    for number, done in enumerate(range(0, size, page)):
        length, bit = min(page, size - done), before + number
        if present[bit >> 3] & 128 >> (bit & 7):
            pages.append(blocks.checked(at + number * (page + 4), length)[:-4])
        else:
            pages.append(b"\xff" * length)
    return b"".join(pages)


def _growing_array(blocks: Blocks, at: int) -> NDArray[np.uint8]:
    """The entries of an extensible array, (chunks, bytes of an entry).

    A few lie in its index block, the others in data blocks, of which level by level there are more
    or larger ones. The index block names those of the first levels, super blocks those of a level
    each of the rest.
    """
    head = struct.unpack("<4sBBBBBBBB6QQ", blocks.checked(at, 68)[:-4])
    signature, _, _, size, bits, n_inside, n_least, n_blocks, page = head[:9]
    n_used, index = head[13], head[15]
    if signature != b"EAHD" or n_used > _MOST_CHUNKS or not (size and n_least):
        raise NotUnderstoodError("no extensible array")
    if index == NOWHERE:
        return np.empty((0, size), np.uint8)
    n_direct, offset = 2 * (n_blocks - 1), (bits + 7) // 8
    n_levels = 1 + bits - (n_least.bit_length() - 1)
    n_direct_levels = 2 * (n_blocks.bit_length() - 1)
    start = 14 + n_inside * size
    n_above = max(n_levels - n_direct_levels, 0)
    block = blocks.checked(index, start + 8 * (n_direct + n_above))
    if block[:4] != b"EAIB":
        raise NotUnderstoodError("no index of an extensible array")
    parts, done = [block[14:start]], n_inside
    places = [p for (p,) in struct.iter_unpack("<Q", block[start:-4])]
    for level in range(n_levels):
        if done >= n_used:
            break
        n, count = n_least << (level + 1) // 2, 1 << level // 2
        n_pages = n >> page if n > 1 << page else 0
        marks = -(-n_pages // 8)  # bytes that say which pages of a block there are
        if level < n_direct_levels:
            first = (1 << (level + 1) // 2) + (1 << level // 2) - 2
            listed, present = places[first : first + count], b""
        else:
            listed, present = _super_block(
                blocks, places[n_direct + level - n_direct_levels], offset, count, marks
            )
        for number, place in enumerate(listed[: -(-(n_used - done) // n)]):
            part = b"\xff" * n * size
            if place != NOWHERE:
                data = blocks.checked(place, 14 + offset + (0 if n_pages else n * size))
                if data[:4] != b"EADB":
                    raise NotUnderstoodError("no block of an extensible array")
                part = data[14 + offset : -4]
                if n_pages:
                    before = number * n_pages
                    part = _pages(
                        blocks, place + len(data), n * size, size << page, present, before
                    )
            parts.append(part)
        done += n * count
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, size)


def _super_block(
    blocks: Blocks, at: int, offset: int, n: int, marks: int
) -> tuple[list[int], bytes]:
    """The places of ``n`` data blocks, and ``marks`` bytes of each that say which pages it has."""
    if at == NOWHERE:
        return [NOWHERE] * n, b""
    start = 14 + offset + n * marks
    block = blocks.checked(at, start + 8 * n)
    if block[:4] != b"EASB":
        raise NotUnderstoodError("no super block of an extensible array")
    places = [place for (place,) in struct.iter_unpack("<Q", block[start:-4])]
    return places, block[14 + offset : start]
