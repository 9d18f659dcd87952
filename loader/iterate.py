"""What does each train hold, one after the other?

Trains are read in blocks of many, within a budget of memory, and given out one by one as views.

1. ``key_trains``, ``key_train``: the trains of one key.
2. ``collection_trains``, ``collection_train``: dicts of all selected sources and keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..catalog.errors import TrainIDError
from .read import execute_plans
from .trains import TrainSet

if TYPE_CHECKING:
    from .collection import DataCollection
    from .keydata import KeyData

__all__ = ["collection_train", "collection_trains", "key_train", "key_trains", "train_at"]

BLOCK_BYTES = 8 * 2**20


def train_at(trains: TrainSet, position: int) -> int:
    """The train ID at a position, which may count from the end."""
    if not -len(trains) <= position < len(trains):
        raise IndexError(f"train index {position} is out of range: {len(trains)} trains")
    return int(trains.at([position % len(trains)])[0])


def _blocks(n_trains: int, n_bytes: int) -> Iterator[tuple[int, int]]:
    """Positions of trains in stretches that take about ``BLOCK_BYTES`` together."""
    per_train = max(n_bytes // max(n_trains, 1), 1)
    step = max(BLOCK_BYTES // per_train, 1)
    for start in range(0, n_trains, step):
        yield start, min(start + step, n_trains)


def _entry(data: NDArray[Any], start: int, stop: int, keep_dims: bool) -> Any:
    """The entries of one train; without its dimension if there is one and that is wanted."""
    if stop - start == 1 and not keep_dims:
        return data[start]
    return data[start:stop]


def key_trains(key: "KeyData", keep_dims: bool, include_empty: bool) -> Iterator[tuple[int, Any]]:
    """(Train ID, array) of each train of a key, in order of train ID."""
    n_trains = len(key._trains)
    for first, end in _blocks(n_trains, key.nbytes):
        part = key._with_trains(key._trains.span(first, end))
        data = part.ndarray()
        starts, stops = part.train_index_bounds()
        ids = part.train_ids
        for tid, start, stop in zip(ids, starts.tolist(), stops.tolist(), strict=True):
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
    trains = collection._trains
    n_bytes = sum(k.nbytes for k in keys)
    for first, end in _blocks(len(trains), n_bytes):
        block = trains.span(first, end)
        columns = _read_columns(keys, block)
        for at, tid in enumerate(block.ids.tolist()):
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
