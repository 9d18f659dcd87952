"""What does a run have of each source? The rows that questions over runs read.

One row per section, source, index group and key schema, with the number of files, of trains with
data and of entries. Worked out per layout: what a slot of it counts towards is looked up once, and
the files that share the layout add up as arrays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Depth, FileLayout, KeySchema, RunRecord, SourceRecord
from ..runlength import IndexPattern
from .encoding import to_text
from .interning import Interner

__all__ = ["source_rows"]

# section, source, index group, schema id (-1: unknown), source id of the new name (-1), RUN only
_RowKey = tuple[str, str, str, int, int, bool]


class _Totals:
    """Counts per row, as growing lists; a row's number is its place in ``numbers``."""

    def __init__(self) -> None:
        self.numbers: dict[_RowKey, int] = {}

    def number(self, key: _RowKey) -> int:
        return self.numbers.setdefault(key, len(self.numbers))


def source_rows(
    record: RunRecord,
    patterns: Sequence[IndexPattern],
    file_patterns: Sequence[NDArray[np.int32]],
    interner: Interner,
) -> list[tuple[Any, ...]]:
    """The rows of ``run_source``; ``file_patterns`` are numbers in ``patterns`` for each file."""
    totals = _Totals()
    known_schemas = _schema_of_sources(record, interner)
    members: dict[str, list[int]] = {}
    layouts: dict[str, FileLayout] = {}
    for ordinal, file in enumerate(record.files):
        if file.depth > Depth.UNREAD:
            members.setdefault(file.layout.digest, []).append(ordinal)
            layouts[file.layout.digest] = file.layout
    plans = {d: _plan(x, totals, known_schemas, interner) for d, x in layouts.items()}
    n_files, n_trains, n_entries, counted = np.zeros((4, len(totals.numbers)), np.int64)
    trains_of = np.array([p.n_trains_with_rows for p in patterns], np.int64)
    entries_of = np.array([p.n_rows for p in patterns], np.int64)
    for digest, ordinals in members.items():
        listed, slot_of_row, rows = plans[digest]
        n_files[listed] += len(ordinals)
        full = [file_patterns[o] for o in ordinals if len(file_patterns[o])]
        if not full or not len(rows):
            continue
        numbers = np.stack(full)[:, slot_of_row]
        np.add.at(n_trains, rows, trains_of[numbers].sum(axis=0))
        np.add.at(n_entries, rows, entries_of[numbers].sum(axis=0))
        counted[rows] = 1
    return [
        (record.identity.run_id, to_text(section), interner.source(source), to_text(group))
        + (None if schema < 0 else schema, None if legacy_of < 0 else legacy_of, run_only)
        + (int(n_files[i]),)
        + ((int(n_trains[i]), int(n_entries[i])) if counted[i] else (None, None))
        for (section, source, group, schema, legacy_of, run_only), i in totals.numbers.items()
    ]


def _schema_of_sources(record: RunRecord, interner: Interner) -> dict[tuple[str, str], int]:
    """A schema for each source that has one in some file of the run."""
    found: dict[tuple[str, str], int] = {}
    for layout in {id(f.layout): f.layout for f in record.files}.values():
        for source, schema in zip(layout.sources, layout.schemas, strict=True):
            if schema is not None:
                found.setdefault((source.section, source.name), interner.schema(schema))
    return found


def _plan(
    layout: FileLayout,
    totals: _Totals,
    known_schemas: dict[tuple[str, str], int],
    interner: Interner,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows that list this layout's files; and pairs of slot and the row that it counts towards."""
    listed: list[int] = []
    pairs: list[tuple[int, int]] = []
    for source, schema in zip(layout.sources, layout.schemas, strict=True):
        target, keys = _target(layout, source, schema)
        schema_id = (
            known_schemas.get((target.section, target.name), -1)
            if keys is None
            else interner.schema(keys)
        )
        legacy_of = interner.source(source.legacy_of) if source.legacy_of else -1
        groups = dict.fromkeys(target.groups + (keys.groups if keys else ())) or {"": None}
        for group in groups:
            row = totals.number(
                (source.section, source.name, group, schema_id, legacy_of, target.run_only)
            )
            listed.append(row)
            slot = layout.slots.get((target.section, target.name, group))
            if slot is not None:
                pairs.append((slot, row))
    slots_rows = np.array(pairs, np.intp).reshape(-1, 2)
    return np.array(listed, np.intp), slots_rows[:, 0], slots_rows[:, 1]


def _target(
    layout: FileLayout, source: SourceRecord, schema: KeySchema | None
) -> tuple[SourceRecord, KeySchema | None]:
    """The source itself; for a legacy name, the source it stands for, if the file has it."""
    if source.legacy_of:
        at = layout.position.get((source.section, source.legacy_of))
        if at is not None:
            return layout.sources[at], layout.schemas[at]
    return source, schema
