"""How does one row say what opening a run, and counting in it, must know?

Asking DuckDB for one row costs about as much as for a thousand of one table, and as much again for
each further table. So what is asked for whenever a run is opened stands in one row of
``run_packed``: the files, their trains, and the index of all of them, each as columns of integers.

1. ``pack_run`` makes the row of a run, ``fetch_packed`` reads it.
2. ``PackedRun``: the files (``FileFacts``), their train lists, and the index.
3. ``PackedIndex``: the index patterns, unfolded when they are asked for.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runlength import IndexPattern, TrainList
from .encoding import pack_integers, unpack_integers
from .file_facts import FileFacts
from .stored import rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["PackedIndex", "PackedRun", "fetch_packed", "pack_run"]

Int64s = NDArray[np.int64]
NO_NUMBERS: Int64s = np.empty(0, np.int64)

# Patterns that are unfolded together, as those of a source mostly lie side by side.
_BLOCK = 64


class PackedIndex:
    """The index patterns of a run, as ``pack_run`` put them; unfolded when they are asked for.

    Equal patterns are one object. Safe between threads: what two of them unfold is the same.
    """

    def __init__(self, slots: bytes, patterns: bytes) -> None:
        self._slots = slots
        self._packed = patterns
        self._unfolded: dict[int, IndexPattern] = {}

    @cached_property
    def _numbers(self) -> tuple[Int64s, Int64s]:
        """The patterns of all slots of all files, one file after the other; where each begins."""
        sizes, numbers = map(unpack_integers, _split(self._slots))
        return numbers, np.concatenate(([0], np.cumsum(sizes)))

    @cached_property
    def _blocks(self) -> list[bytes]:
        return _split(self._packed)

    def numbers(self, file: int) -> list[int]:
        """The patterns of a file by number, in the order of ``FileLayout.slots``."""
        numbers, begins = self._numbers
        found: list[int] = numbers[begins[file] : begins[file + 1]].tolist()
        return found

    def at(self, files: Sequence[int], slot: int) -> list[IndexPattern]:
        """The pattern of a slot in each of some files, which have it."""
        numbers, begins = self._numbers
        known = self._unfolded
        wanted: list[int] = numbers[begins[files] + slot].tolist()
        for number in wanted:
            if number not in known:
                self._unfold(number // _BLOCK)
        return [known[number] for number in wanted]

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
    """What the catalog says of the files of a run: ``files`` by ordinal, ``trains`` by number."""

    files: FileFacts
    trains: tuple[TrainList, ...]
    patterns: PackedIndex


def pack_run(
    run_id: int,
    files: FileFacts,
    trains: Iterable[TrainList],
    slots: Sequence[NDArray[np.integer]],
    patterns: Sequence[IndexPattern],
) -> tuple[int, bytes, bytes, bytes, bytes]:
    """The row of a run; ``slots`` are the numbers in ``patterns`` that each file has."""
    return (
        run_id,
        _pack_files(files),
        _pack_trains(list(trains)),
        _pack_lists(slots),
        _join([_pack_patterns(patterns[i : i + _BLOCK]) for i in range(0, len(patterns), _BLOCK)]),
    )


def fetch_packed(cursor: "duckdb.DuckDBPyConnection", run_id: int) -> PackedRun | None:
    """What the row of a run says; None where the shard does not have it."""
    found = rows(
        cursor,
        f"SELECT files, trains, slots, patterns FROM run_packed WHERE run_id = {run_id:d}",
    )
    if not found:
        return None
    files, trains, slots, patterns = found[0]
    return PackedRun(_unpack_files(files), _unpack_trains(trains), PackedIndex(slots, patterns))


def _pack_files(files: FileFacts) -> bytes:
    names = "/".join(files.names).encode("utf-8", "surrogatepass")
    columns = (files.sizes, files.mtimes_ns, files.depths, files.missing)
    numbers = (files.train_lists, files.layouts)
    return _join([zlib.compress(names), *map(_pack, (*columns, *numbers))])


def _unpack_files(packed: bytes) -> FileFacts:
    packed_names, *columns = _split(packed)
    names = zlib.decompress(packed_names).decode("utf-8", "surrogatepass")
    sizes, mtimes, depths, missing, trains, layouts = map(unpack_integers, columns)
    return FileFacts(
        names.split("/") if names else [],
        sizes.tolist(),
        mtimes.tolist(),
        depths.tolist(),
        missing.astype(bool).tolist(),
        range(sizes.size),
        trains.tolist(),
        layouts.tolist(),
    )


def _pack_trains(lists: Sequence[TrainList]) -> bytes:
    starts = [trains.starts.view(np.int64) for trains in lists]
    others = ([getattr(t, name) for t in lists] for name in ("lengths", "suspect", "dropped"))
    return _pack_lists(starts, *others)


def _unpack_trains(packed: bytes) -> tuple[TrainList, ...]:
    starts, *others = _unpack_lists(packed)
    return tuple(map(TrainList, (s.view(np.uint64) for s in starts), *others))


def _pack_patterns(patterns: Sequence[IndexPattern]) -> bytes:
    return _pack_lists(
        *([getattr(p, name) for p in patterns] for name in ("lengths", "counts", "offsets"))
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
