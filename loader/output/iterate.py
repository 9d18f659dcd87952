"""What does each train hold, one after the other?

Trains are read in blocks of many and given out one by one as views. While one block is used, a
thread reads the next, within a budget of memory.

1. ``key_trains``, ``key_train``: the trains of one key.
2. ``collection_trains``, ``collection_train``: dicts of all selected sources and keys.
3. ``_read_blocks``: the blocks, in their order. A block that cannot be read is read train by train,
   so that the trains before the one that fails are given.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from ...catalog.model.errors import TrainIDError, XfelcatError
from ..read.execute import execute_plans
from ..read.files import OpenFiles
from ..select.trains import NO_TRAINS, TrainSet

if TYPE_CHECKING:
    from ..collection import DataCollection
    from ..keydata import KeyData

__all__ = ["collection_train", "collection_trains", "key_train", "key_trains", "train_at"]

_Block = TypeVar("_Block")

BLOCK_BYTES = 8 * 2**20
AHEAD_BYTES = 256 * 2**20  # the largest block that is read ahead, beside the one in use


def train_at(trains: TrainSet, position: int) -> int:
    """The train ID at a position, which may count from the end."""
    if not -len(trains) <= position < len(trains):
        raise IndexError(f"train index {position} is out of range: {len(trains)} trains")
    return int(trains.at([position % len(trains)])[0])


def _read_blocks(
    trains: TrainSet, n_bytes: int, files: OpenFiles, read: Callable[[TrainSet], _Block]
) -> Iterator[tuple[TrainSet, _Block]]:
    """Some trains after the other, about ``BLOCK_BYTES`` at once, and what ``read`` gives of them.

    ``n_bytes`` is the size of all of them together.
    """
    per_train = max(n_bytes // max(len(trains), 1), 1)
    step = max(BLOCK_BYTES // per_train, 1)
    blocks = [trains.span(at, at + step) for at in range(0, len(trains), step)]
    if len(blocks) < 2 or step * per_train > AHEAD_BYTES or files.means.n_threads == 1:
        for block in blocks:
            yield from _read_now(block, read)
        return
    with ThreadPoolExecutor(1, "xfelcat-ahead") as pool:
        coming = pool.submit(read, blocks[0])
        for block, following in zip(blocks, [*blocks[1:], NO_TRAINS], strict=True):
            try:
                found = coming.result()
            except XfelcatError:
                again = _read_now(block, read)
            else:
                again = iter([(block, found)])
            if len(following):
                coming = pool.submit(read, following)
            yield from again


def _read_now(
    block: TrainSet, read: Callable[[TrainSet], _Block]
) -> Iterator[tuple[TrainSet, _Block]]:
    """A block; train by train if it cannot be read, up to the train that cannot."""
    try:
        found = read(block)
    except XfelcatError:
        if len(block) == 1:
            raise
    else:
        yield block, found
        return
    for at in range(len(block)):
        train = block.span(at, at + 1)
        yield train, read(train)


def _entry(data: NDArray[Any], start: int, stop: int, keep_dims: bool) -> Any:
    """The entries of one train; without its dimension if there is one and that is wanted."""
    if stop - start == 1 and not keep_dims:
        return data[start]
    return data[start:stop]


def key_trains(key: "KeyData", keep_dims: bool, include_empty: bool) -> Iterator[tuple[int, Any]]:
    """(Train ID, array) of each train of a key, in order of train ID."""

    def read(trains: TrainSet) -> tuple["KeyData", NDArray[Any]]:
        part = key._with_trains(trains)
        return part, part.ndarray()

    for trains, (part, data) in _read_blocks(key._trains, key.nbytes, key._files, read):
        starts, stops = (ends.tolist() for ends in part._rows.bounds)
        for tid, start, stop in zip(trains.to_list(), starts, stops, strict=True):
            if stop > start:
                yield tid, _entry(data, start, stop, keep_dims)
            elif include_empty:
                yield tid, data[start:stop] if keep_dims else None


def key_train(key: "KeyData", train_id: int, keep_dims: bool) -> tuple[int, Any]:
    """(Train ID, array) of one train of a key; raises TrainIDError for a train that it lacks."""
    tid = int(train_id)
    if tid not in key._trains:
        raise TrainIDError(tid, f"{key!r} ({key._trains.bounds})")
    data = key._with_trains(TrainSet.from_ids([tid])).ndarray()
    return tid, _entry(data, 0, len(data), keep_dims)


@dataclass(frozen=True, slots=True)
class _Column:
    """The data of one key for a block of trains."""

    source: str
    key: str
    data: NDArray[Any]
    starts: list[int]
    stops: list[int]


def _selected(collection: "DataCollection") -> list["KeyData"]:
    return [
        collection._source(name)._key(key)
        for name in collection._inventory.sources
        for key in sorted(collection._source(name).keys())
    ]


def collection_trains(
    collection: "DataCollection", *, flat_keys: bool, keep_dims: bool
) -> Iterator[tuple[int, dict[Any, Any]]]:
    """(Train ID, data) of each selected train, in order of train ID."""
    keys = _selected(collection)
    n_bytes = sum(k.nbytes for k in keys)
    blocks = _read_blocks(
        collection._trains, n_bytes, collection._files, lambda block: _read_columns(keys, block)
    )
    for trains, columns in blocks:
        for at, tid in enumerate(trains.to_list()):
            yield tid, _gather(collection, columns, at, tid, flat_keys, keep_dims)


def collection_train(
    collection: "DataCollection", train_id: int, *, flat_keys: bool, keep_dims: bool
) -> tuple[int, dict[Any, Any]]:
    """(Train ID, data) of one train; raises TrainIDError for a train that is not selected."""
    tid = int(train_id)
    if tid not in collection._trains:
        raise TrainIDError(tid, f"this data ({collection._trains.bounds})")
    block = TrainSet.from_ids([tid])
    columns = _read_columns(_selected(collection), block)
    return tid, _gather(collection, columns, 0, tid, flat_keys, keep_dims)


def _read_columns(keys: list["KeyData"], block: TrainSet) -> list[_Column]:
    """The data of every key for some trains; keys with the same rows share where they lie."""
    if not keys:
        return []
    parts = [key._with_trains(block) for key in keys]
    arrays = execute_plans([part._whole for part in parts], keys[0]._files)
    ends: dict[int, tuple[list[int], list[int]]] = {}
    columns: list[_Column] = []
    for part, data in zip(parts, arrays, strict=True):
        rows = part._rows
        if id(rows) not in ends:
            start, stop = rows.bounds
            ends[id(rows)] = start.tolist(), stop.tolist()
        columns.append(_Column(part.source, part.key, data, *ends[id(rows)]))
    return columns


def _gather(
    collection: "DataCollection",
    columns: list[_Column],
    at: int,
    tid: int,
    flat_keys: bool,
    keep_dims: bool,
) -> dict[Any, Any]:
    """The data of one train by source and key; each source has its metadata."""
    result: dict[Any, Any] = {}
    for source in collection._inventory.sources:
        about = {"source": source, "timestamp.tid": tid}
        if flat_keys:
            result[source, "metadata"] = about
        else:
            result[source] = {"metadata": about}
    for column in columns:
        start, stop = column.starts[at], column.stops[at]
        if stop == start:
            continue
        value = _entry(column.data, start, stop, keep_dims)
        if flat_keys:
            result[column.source, column.key] = value
        else:
            result[column.source][column.key] = value
    return result
