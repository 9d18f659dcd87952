"""For which trains of a run is there data, as a picture in few numbers?

From the run's shard alone: train lists say which trains an aggregator's files hold, index patterns
for which of them a source has data.

1. ``RunPresence``: the trains of a run, and a row for each aggregator and each incomplete source.
2. ``run_presence`` makes it.
3. ``stretches`` codes one row: at most ``MAX_CELLS`` cells along the trains, run-length coded.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..layout import aggregator_and_sequence
from ..records import Depth
from ..runlength import TrainList
from ..store.packed import PackedIndex, fetch_packed
from ..store.stored import StoredLayout, fetch_layouts

if TYPE_CHECKING:
    import duckdb

__all__ = ["FULL", "MAX_CELLS", "PresenceRow", "RunPresence", "run_presence", "stretches"]

MAX_CELLS = 240
# Levels of a cell: 0 for no train with data, FULL for all of them, between for some.
FULL = 4
_REGULAR = ("CONTROL", "INSTRUMENT")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PresenceRow:
    """``n_trains`` of the run's trains have data of this; ``cells`` is their ``stretches``.

    ``alike`` are the other names with the very same trains; ``n_files`` and ``n_bytes`` those of an
    aggregator, 0 for a source.
    """

    name: str
    n_trains: int
    cells: str
    alike: int = 0
    n_files: int = 0
    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunPresence:
    """``n_trains`` distinct trains, suspect ones left out, from ``first_train`` to ``last_train``.

    The two are texts, being larger than what JavaScript counts exactly. ``aggregators`` are all of
    them; ``sources`` those that lack some trains, the worst first, those with the same trains as
    one row. ``n_complete`` sources lack none; ``n_left_out`` rows of sources are not shown.
    ``n_unknown_files`` are known too little to say what their sources have.
    """

    n_trains: int
    first_train: str
    last_train: str
    aggregators: tuple[PresenceRow, ...]
    sources: tuple[PresenceRow, ...]
    n_complete: int
    n_left_out: int
    n_unknown_files: int


@dataclass(frozen=True, slots=True)
class _File:
    """What the presence of a file's data follows from."""

    aggregator: str
    size: int
    depth: int
    train_list: int
    layout: int
    slots: list[int]


def run_presence(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, *, limit: int = 24
) -> RunPresence:
    """The presence of a run, from a cursor on its shard; ``limit`` rows of sources at most."""
    packed = fetch_packed(cursor, run_id)
    if packed is None:
        return RunPresence(0, "", "", (), (), 0, 0, 0)
    known, lists, index = packed
    files = [
        _File(aggregator_and_sequence(name)[0], size, depth, trains, layout, index.numbers(ordinal))
        for name, size, _, depth, missing, ordinal, trains, layout in known.rows()
        if not missing
    ]
    good = {number: trains.ids[trains.good] for number, trains in enumerate(lists)}
    all_ids = np.unique(np.concatenate([*good.values(), np.empty(0, np.uint64)]))
    at = {number: np.searchsorted(all_ids, ids) for number, ids in good.items()}
    aggregators = _of_aggregators(files, at, all_ids.size)
    layouts = fetch_layouts(cursor, {f.layout for f in files if f.depth >= Depth.FULL})
    masks = _of_sources(files, layouts, lists, index, at, all_ids.size)
    sources = _incomplete(masks)
    return RunPresence(
        n_trains=int(all_ids.size),
        first_train=str(all_ids[0]) if all_ids.size else "",
        last_train=str(all_ids[-1]) if all_ids.size else "",
        aggregators=tuple(aggregators),
        sources=tuple(sources[:limit]),
        n_complete=sum(bool(mask.all()) for mask in masks.values()),
        n_left_out=max(len(sources) - limit, 0),
        n_unknown_files=sum(f.depth < Depth.FULL for f in files),
    )


def _of_aggregators(
    files: list[_File], at: dict[int, NDArray[np.intp]], n_trains: int
) -> list[PresenceRow]:
    masks: dict[str, Mask] = {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        mask = masks.setdefault(file.aggregator, np.zeros(n_trains, dtype=bool))
        mask[at[file.train_list]] = True
        counts[file.aggregator][0] += 1
        counts[file.aggregator][1] += file.size
    return [
        PresenceRow(name or "(none)", int(mask.sum()), stretches(mask), 0, *counts[name])
        for name, mask in sorted(masks.items())
    ]


def _of_sources(
    files: list[_File],
    layouts: dict[int, StoredLayout],
    lists: Sequence[TrainList],
    index: PackedIndex,
    at: dict[int, NDArray[np.intp]],
    n_trains: int,
) -> dict[str, Mask]:
    """Which trains each source has data for, in any of its index groups."""
    slots = _slots(layouts)
    has_rows = [pattern.count > 0 for pattern in index.by_number()]
    masks: dict[str, Mask] = {}
    for file in (f for f in files if f.depth >= Depth.FULL):
        good = lists[file.train_list].good
        positions = at[file.train_list]
        for name, number in zip(slots[file.layout], file.slots, strict=True):
            if name is None:
                continue
            mask = masks.setdefault(name, np.zeros(n_trains, dtype=bool))
            mask[positions[has_rows[number][good]]] = True
    return masks


def _slots(layouts: dict[int, StoredLayout]) -> dict[int, list[str | None]]:
    """The source of each slot of a layout, see ``FileLayout.slots``.

    None for an old name, and for auxiliary sources, which have data for few trains by design.
    """
    return {
        number: [
            s.name if s.section in _REGULAR and not s.legacy_of else None
            for s in layout.sources
            for _ in s.groups
        ]
        for number, layout in layouts.items()
    }


def _incomplete(masks: dict[str, Mask]) -> list[PresenceRow]:
    """Sources that lack trains, the worst first; those with the same trains as one row."""
    alike: dict[bytes, list[str]] = defaultdict(list)
    for name in sorted(masks):
        if not masks[name].all():
            alike[masks[name].tobytes()].append(name)
    found = []
    for names in alike.values():
        mask = masks[names[0]]
        found.append(PresenceRow(names[0], int(mask.sum()), stretches(mask), len(names) - 1))
    return sorted(found, key=lambda row: (row.n_trains, row.name))


def stretches(present: Mask, max_cells: int = MAX_CELLS) -> str:
    """The cells of a row as text: ``4:120 0 4:2`` is 120 full ones, an empty one, two full ones.

    With no more trains than ``max_cells`` a cell is a train; else it is a part of them, all about
    equally large.
    """
    n_cells = min(present.size, max_cells)
    if not n_cells:
        return ""
    edges = np.linspace(0, present.size, n_cells + 1).round().astype(np.intp)
    with_data = np.add.reduceat(present, edges[:-1], dtype=np.intp)
    sizes = np.diff(edges)
    level = np.clip(with_data * FULL // sizes, 1, FULL - 1)
    level[with_data == 0] = 0
    level[with_data == sizes] = FULL
    starts = np.concatenate(([0], np.flatnonzero(np.diff(level)) + 1, [n_cells]))
    lengths = np.diff(starts)
    return " ".join(
        f"{level[start]}:{length}" if length > 1 else f"{level[start]}"
        for start, length in zip(starts[:-1], lengths, strict=True)
    )
