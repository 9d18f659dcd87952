"""Aligned blocks of an open file, from which many small pieces come with few reads.

HDF5 fetches each of its structures by a read of its own, thousands per file; on a parallel file
system each costs milliseconds. ``Blocks`` reads the file in aligned blocks, more of them the longer
it goes on in one direction, and cuts the pieces out of what it has.
"""

import os

__all__ = ["Blocks", "NotUnderstoodError"]

_BITS = 16  # 64 KiB: one read of this size costs no more than a small one
_WITHIN = (1 << _BITS) - 1
_FIRST = 4  # blocks to begin with: what opening a run needs mostly lies at the beginning
_MOST_AHEAD = 16  # blocks, 1 MiB: a miss at the end of a stretch reads no more in vain
_MOST_KEPT = 1 << 10  # blocks, 64 MiB: a worker must not fill memory with a file of many objects


class NotUnderstoodError(Exception):
    """A file has something that only the HDF5 library understands, or that is damaged.

    Never reaches users: the scanner turns to the library then.
    """


class Blocks:
    """Pieces of an open file of ``size`` bytes, by position. ``n_reads`` counts the reads."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._known: dict[int, bytes] = {}
        self._ahead = 1
        self.n_reads = 0

    def get(self, at: int, size: int) -> bytes:
        """``size`` bytes at a position; raises NotUnderstoodError beyond the end of the file."""
        block = self._known.get(at >> _BITS)
        if block is None:
            block = self._load(at >> _BITS)
        start = at & _WITHIN
        piece = block[start : start + size]
        return piece if len(piece) == size else self._across(at, size)

    def some(self, at: int, size: int) -> bytes:
        """As ``get``, but as much as the file has."""
        return self.get(at, min(size, self._size - at))

    def _across(self, at: int, size: int) -> bytes:
        if at < 0 or size < 0 or at + size > self._size:
            raise NotUnderstoodError(f"{size} bytes at {at} of {self._size}")
        if size > _MOST_AHEAD << _BITS:
            self.n_reads += 1
            piece = os.pread(self._fd, size, at)
            if len(piece) != size:
                raise NotUnderstoodError("the file has become shorter")
            return piece
        parts = []
        while size:
            number = at >> _BITS
            block = self._known.get(number) or self._load(number)
            part = block[at & _WITHIN : (at & _WITHIN) + size]
            parts.append(part)
            at += len(part)
            size -= len(part)
        return b"".join(parts)

    def _load(self, number: int) -> bytes:
        if number < 0 or number << _BITS >= self._size:
            raise NotUnderstoodError(f"block {number} beyond the end of the file")
        if not self._known:
            n = _FIRST
        else:
            self._ahead = min(2 * self._ahead, _MOST_AHEAD) if number - 1 in self._known else 1
            n = self._ahead
        if len(self._known) > _MOST_KEPT:
            self._known.clear()
        self.n_reads += 1
        read = os.pread(self._fd, n << _BITS, number << _BITS)
        if len(read) < min(n << _BITS, self._size - (number << _BITS)):
            raise NotUnderstoodError("the file has become shorter")
        for i in range(0, len(read), 1 << _BITS):
            self._known.setdefault(number + (i >> _BITS), read[i : i + (1 << _BITS)])
        return self._known[number]
