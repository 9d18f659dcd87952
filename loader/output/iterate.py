"""Data train by train, of one key or of a collection.

Trains are read in blocks of many and given out one by one as views. While one block is used, a
thread reads the next, within a budget of memory. A block that cannot be read is read train by
train, so that the trains before the one that fails are given.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from ...catalog.model.errors import TrainIDError, XfelcatError
from ..read.execute import execute_plans
from ..read.files import OpenFiles
from ..read.selected import SelectedData, SelectedKey
from ..select.rows import Rows
from ..select.trains import NO_TRAINS, TrainSet

_Block = TypeVar("_Block")

BLOCK_BYTES = 8 * 2**20  # read at once: many small trains share the cost of a read
FIRST_TRAINS = 16  # who wants one train does not wait for all files of a run to be opened
AHEAD_BYTES = 256 * 2**20  # the largest block that is read ahead, beside the one in use


def _read_blocks(
    trains: TrainSet, n_bytes: int, files: OpenFiles, read: Callable[[TrainSet], _Block]
) -> Iterator[tuple[TrainSet, _Block]]:
    """Some trains after the other, about ``BLOCK_BYTES`` at once, and what ``read`` gives of them.

    ``n_bytes`` is the size of all of them together.
    """
    per_train = max(n_bytes // max(len(trains), 1), 1)
    step = max(BLOCK_BYTES // per_train, 1)
    first = min(step, FIRST_TRAINS)
    yield from _read_now(trains.span(0, first), read)
    blocks = [trains.span(at, at + step) for at in range(first, len(trains), step)]
    if len(blocks) < 2 or step * per_train > AHEAD_BYTES or files.options.n_threads == 1:
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


def key_trains(key: SelectedKey, keep_dims: bool, include_empty: bool) -> Iterator[tuple[int, Any]]:
    """(Train ID, array) of each train of a key, in order of train ID."""

    def read(trains: TrainSet) -> tuple[SelectedKey, NDArray[Any]]:
        part = key.with_trains(trains)
        return part, part.read()

    for trains, (part, data) in _read_blocks(key.trains, key.nbytes, key.source.files, read):
        starts, stops = (ends.tolist() for ends in part.rows.bounds)
        for tid, start, stop in zip(trains.to_list(), starts, stops, strict=True):
            if stop > start:
                yield tid, _entry(data, start, stop, keep_dims)
            elif include_empty:
                yield tid, data[start:stop] if keep_dims else None


def key_train(key: SelectedKey, train_id: int, keep_dims: bool) -> tuple[int, Any]:
    """(Train ID, array) of one train of a key; raises TrainIDError for a train that it lacks."""
    train = _one_train(key.trains, train_id, key.label(" "))
    data = key.with_trains(train).read()
    return int(train_id), _entry(data, 0, len(data), keep_dims)


def _one_train(trains: TrainSet, train_id: int, where: str) -> TrainSet:
    if int(train_id) not in trains:
        raise TrainIDError(int(train_id), f"{where} ({trains.bounds})")
    return TrainSet.from_ids([int(train_id)])


@dataclass(frozen=True, slots=True)
class _Column:
    """The data of one key for a block of trains."""

    source: str
    key: str
    data: NDArray[Any]
    starts: list[int]
    stops: list[int]


def collection_trains(
    data: SelectedData, *, flat_keys: bool, keep_dims: bool
) -> Iterator[tuple[int, dict[Any, Any]]]:
    """(Train ID, data) of each selected train, in order of train ID."""
    keys = list(data.all_keys())
    n_bytes = sum(k.nbytes for k in keys)
    for trains, columns in _read_blocks(
        data.trains, n_bytes, data.files, lambda block: _read_columns(keys, block)
    ):
        for at, tid in enumerate(trains.to_list()):
            yield tid, _gather(data, columns, at, tid, flat_keys, keep_dims)


def collection_train(
    data: SelectedData, train_id: int, *, flat_keys: bool, keep_dims: bool
) -> tuple[int, dict[Any, Any]]:
    """(Train ID, data) of one train; raises TrainIDError for a train that is not selected."""
    train = _one_train(data.trains, train_id, "this data")
    columns = _read_columns(list(data.all_keys()), train)
    return int(train_id), _gather(data, columns, 0, int(train_id), flat_keys, keep_dims)


def _read_columns(keys: list[SelectedKey], block: TrainSet) -> list[_Column]:
    """The data of every key for some trains; keys with the same rows share where they lie."""
    if not keys:
        return []
    parts = [key.with_trains(block) for key in keys]
    arrays = execute_plans([part.plan() for part in parts], keys[0].source.files)
    ends: dict[Rows, tuple[list[int], list[int]]] = {}
    columns: list[_Column] = []
    for part, data in zip(parts, arrays, strict=True):
        if part.rows not in ends:
            start, stop = part.rows.bounds
            ends[part.rows] = start.tolist(), stop.tolist()
        columns.append(_Column(part.entry.name, part.name, data, *ends[part.rows]))
    return columns


def _gather(
    data: SelectedData,
    columns: list[_Column],
    at: int,
    tid: int,
    flat_keys: bool,
    keep_dims: bool,
) -> dict[Any, Any]:
    """The data of one train by source and key; each source has its metadata."""
    result: dict[Any, Any] = {}
    for source in data.sources:
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
