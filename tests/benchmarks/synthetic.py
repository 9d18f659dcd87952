"""How is a catalog of 10^5 runs and 10^7 files made without a data file?

    python -m benchmarks.synthetic DIRECTORY [--proposals 1000] [--runs 100] [--jobs 2]

1. ``fill_shard`` makes the database of one proposal: names by the store's own ``Interner``, the
   large tables as columns, never as objects per file. RUN values are 8,000 per run, of which a
   fifth changes from run to run; the cameras have irregular counts; times jitter.
2. ``fill`` makes all of them in worker processes, then publishes the merged file, once.

The catalog is as an ingest leaves it: ``Store.check`` finds no fault, and its runs open with
``trust="never-stat"``. The same arguments give the same catalog.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from xfelcat.catalog.model.facts import FileTable, Numbered
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.names import time_of_ns
from xfelcat.catalog.model.records import FileLayout
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.store.packing import encode_timestamps, pack_run
from xfelcat.catalog.store.rows import Interner
from xfelcat.catalog.store.schema import open_draft
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.write import insert_rows
from xfelcat.loader.examples.specs import train_at, train_time_ns

from benchmarks import vocabulary as words

from .synthetic_values import run_value_table

FIRST_PROPOSAL = 2001
START = datetime(2018, 1, 8, tzinfo=UTC)
_INGESTED = datetime(2026, 11, 1)
NOTHING = np.empty(0, np.int64)
_FILES_BYTES = {"DA": 48_000_000, "AG": 2_130_000_000}


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the facility is. A run has 20 aggregators of ``sequences`` files each."""

    proposals: int = 1000
    runs: int = 100
    sequences: int = 5
    trains: int = 500

    @property
    def files_per_run(self) -> int:
        """Files of a run."""
        return self.sequences * (words.N_MODULES + len(words.CONTROL_AGGREGATORS))


class _Shard:
    """What is the same for all runs of a proposal."""

    def __init__(self, scale: Scale, number: int) -> None:
        self.scale = scale
        self.proposal = FIRST_PROPOSAL + number
        self.instrument = words.INSTRUMENTS[number % len(words.INSTRUMENTS)]
        self.version = number * words.N_VERSIONS // max(scale.proposals, 1)
        started = START + timedelta(days=3 * number)
        self.cycle = f"{started:%Y}{'01' if started.month < 7 else '02'}"
        self.first_train = train_at(started)
        self.directory = f"/gpfs/exfel/exp/{self.instrument}/{self.cycle}/p{self.proposal:06d}/raw"
        self.rng = np.random.default_rng(self.proposal)
        self.layouts = words.layouts(self.instrument, self.version)
        self.run_ids = np.array(
            [RunIdentity(self.proposal, r + 1, "raw").run_id for r in range(scale.runs)], np.uint64
        )

    def start_of(self, run: int) -> int:
        """The first train of a run; between runs lie as many trains as a run has."""
        return self.first_train + 2 * run * self.scale.sequences * self.scale.trains


def fill_shard(location: str, scale: Scale, number: int) -> int:
    """Publish the shard of one proposal; how many files it describes."""
    shard = _Shard(scale, number)
    name = f"p{shard.proposal:06d}"
    versions = Store(location).versions(name)
    with versions.lock(), versions.draft(empty=True) as draft:
        with open_draft(draft, "shard", name) as connection:
            connection.execute("BEGIN")
            interner = Interner(connection, location)
            layout_ids = {a: interner.layout(x) for a, x in shard.layouts.items()}
            tables: dict[str, Any] = dict(_tables(shard, interner, layout_ids))
            for table, rows in interner.take_new().items():
                insert_rows(connection, table, rows)
            for table, arrow in tables.items():
                connection.register("incoming", arrow)
                connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")
                connection.unregister("incoming")
            connection.execute("COMMIT")
        versions.publish(draft)
    return scale.runs * scale.files_per_run


def _tables(
    shard: _Shard, interner: Interner, layout_ids: dict[str, int]
) -> Iterator[tuple[str, pa.Table]]:
    yield "run", _runs(shard)
    yield "run_location", _locations(shard)
    yield "train_list", _train_lists(shard)
    yield "timestamps", _timestamps(shard)
    yield from _indexed(shard, interner, layout_ids)
    yield "file_metadata", _metadata(shard)
    yield "run_value", run_value_table(shard, interner)


def _table(**columns: Any) -> pa.Table:
    """A table of arrays, lists, and single values (or None) that stand in every row."""
    lone = str | datetime | None
    n = next(len(c) for c in columns.values() if not isinstance(c, lone))
    made = {}
    for name, column in columns.items():
        if column is None:
            made[name] = pa.nulls(n)
        elif isinstance(column, lone):
            made[name] = pa.repeat(pa.scalar(column), n)
        else:
            made[name] = column if isinstance(column, pa.Array) else pa.array(column)
    return pa.table(made)


def _runs(shard: _Shard) -> pa.Table:
    scale, n = shard.scale, shard.scale.runs
    starts = np.array([shard.start_of(r) for r in range(n)], np.uint64)
    n_trains = scale.sequences * scale.trains
    last = starts + np.uint64(n_trains - 1)
    paths = [f"{shard.directory}/r{r + 1:04d}" for r in range(n)]
    n_files = scale.files_per_run
    size = scale.sequences * (4 * _FILES_BYTES["DA"] + words.N_MODULES * _FILES_BYTES["AG"])
    moments = [[time_of_ns(int(t)) for t in train_time_ns(trains)] for trains in (starts, last)]
    return _table(
        run_id=shard.run_ids,
        proposal=np.full(n, shard.proposal, np.int32),
        run=np.arange(1, n + 1, dtype=np.int32),
        data_class="raw",
        instrument=shard.instrument,
        cycle=shard.cycle,
        loose_path=None,
        directory=paths,
        realpath=paths,
        n_files=np.full(n, n_files, np.int32),
        n_files_full=np.full(n, n_files, np.int32),
        n_files_unread=np.zeros(n, np.int32),
        n_files_missing=np.zeros(n, np.int32),
        bytes=np.full(n, size, np.int64),
        n_trains=np.full(n, n_trains, np.int64),
        n_suspect_trains=np.zeros(n, np.int64),
        first_train=starts,
        last_train=last,
        started_at=moments[0],
        ended_at=moments[1],
        newest_mtime=moments[1],
        depth=np.full(n, 3, np.int8),
        format_version="1.3",
        recorded_proposal=np.full(n, shard.proposal, np.int64),
        recorded_run=np.arange(1, n + 1, dtype=np.int64),
        ingested_at=_INGESTED,
        sample="Lysozyme",
        run_type="Test DAQ",
    )


def _locations(shard: _Shard) -> pa.Table:
    n = shard.scale.runs
    paths = [f"{shard.directory}/r{r + 1:04d}" for r in range(n)]
    position = np.zeros(n, np.int32)
    return _table(run_id=shard.run_ids, position=position, path=paths, seen_at=_INGESTED)


def _lists(values: Any, lengths: Sequence[int] | np.ndarray, kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values, kind))


def _train_lists(shard: _Shard) -> pa.Table:
    scale = shard.scale
    lists = [_trains(shard, r, s) for r in range(scale.runs) for s in range(scale.sequences)]
    stretches = [len(t.starts) for t in lists]
    nothing = _lists(NOTHING, np.zeros(len(lists), int), pa.int64())
    return _table(
        run_id=np.repeat(shard.run_ids, scale.sequences),
        ordinal=np.tile(np.arange(scale.sequences, dtype=np.int32), scale.runs),
        starts=_lists(np.concatenate([t.starts for t in lists]), stretches, pa.uint64()),
        lengths=_lists(np.concatenate([t.lengths for t in lists]), stretches, pa.int64()),
        suspect=nothing,
        dropped=nothing,
    )


def _trains(shard: _Shard, run: int, sequence: int) -> TrainList:
    """One stretch per sequence; in every tenth run the second sequence has a gap."""
    n = shard.scale.trains
    first, half = shard.start_of(run) + sequence * n, n // 2
    starts, lengths = [first], [n]
    if _has_gap(run, sequence):
        starts, lengths = [first, first + half + 1], [half, n - half - 1]
    return TrainList(np.array(starts, np.uint64), np.array(lengths, np.int64), NOTHING, NOTHING)


def _has_gap(run: int, sequence: int) -> bool:
    return run % 10 == 9 and sequence == 1


def _n_trains(shard: _Shard, run: int, sequence: int) -> int:
    return shard.scale.trains - _has_gap(run, sequence)


def _timestamps(shard: _Shard) -> pa.Table:
    """Times with a jitter of microseconds, one row per run and sequence."""
    scale = shard.scale
    firsts, deltas = [], []
    for r in range(scale.runs):
        for s in range(scale.sequences):
            ids = shard.start_of(r) + s * scale.trains + np.arange(_n_trains(shard, r, s))
            jitter = shard.rng.integers(0, 20_000, len(ids)).astype(np.uint64)
            first, packed = encode_timestamps(train_time_ns(ids) + jitter)
            firsts.append(first)
            deltas.append(packed)
    return _table(
        run_id=np.repeat(shard.run_ids, scale.sequences),
        ordinal=np.tile(np.arange(scale.sequences, dtype=np.int32), scale.runs),
        first=np.array(firsts, np.uint64),
        deltas=pa.array(deltas, pa.binary()),
    )


def _indexed(
    shard: _Shard, interner: Interner, layout_ids: dict[str, int]
) -> Iterator[tuple[str, pa.Table]]:
    """The files, what is packed of each run, and what each run has of each source."""
    cameras = [f"{shard.instrument}_EXP_CAM/CAM/{c}:output" for c in words.CAMERAS]
    patterns = [_patterns(shard, r, len(cameras)) for r in range(shard.scale.runs)]
    files = _files(shard, interner, layout_ids)
    yield "file", files
    yield "run_packed", _packed(shard, files, patterns, cameras)
    counted = [[(p.n_trains_with_rows, p.n_rows) for p in row] for run in patterns for row in run]
    of_kind = np.array(counted).reshape(len(patterns), -1, shard.scale.sequences, 2).sum(axis=2)
    yield "run_source", _run_sources(shard, interner, cameras, of_kind[:, 2:])


def _patterns(shard: _Shard, run: int, n_cameras: int) -> list[list[IndexPattern]]:
    """The index patterns of a run, by kind and sequence: rows per train 1, 250, as a camera has."""
    lengths = [_n_trains(shard, run, s) for s in range(shard.scale.sequences)]
    found = [[_regular(n, count) for n in lengths] for count in (1, 250)]
    by_sequence = [
        [shard.rng.choice(3, n, p=(0.2, 0.7, 0.1)) for _ in range(n_cameras)] for n in lengths
    ]
    for of_camera in zip(*by_sequence, strict=True):
        found.append([IndexPattern.from_arrays(np.cumsum(c) - c, c) for c in of_camera])
    return found


@cache
def _regular(n: int, count: int) -> IndexPattern:
    return IndexPattern.from_arrays(np.arange(n) * count, np.full(n, count))


def _files(shard: _Shard, interner: Interner, layout_ids: dict[str, int]) -> pa.Table:
    scale = shard.scale
    with_run = []
    for layout in shard.layouts.values():
        controls = [interner.source(x.name) for x in layout.sources if x.section == "CONTROL"]
        with_run += [controls, *[[]] * (scale.sequences - 1)]
    n_runs, n_files = scale.runs, scale.files_per_run
    names = [
        f"RAW-R{r + 1:04d}-{a}-S{s:05d}.h5"
        for r in range(n_runs)
        for a in shard.layouts
        for s in range(scale.sequences)
    ]
    sequence = np.tile(np.arange(scale.sequences), len(shard.layouts) * n_runs)
    aggregators = np.repeat(list(shard.layouts), scale.sequences)
    size = np.array([_FILES_BYTES[a[:2]] for a in aggregators])
    ended = np.repeat([shard.start_of(r) for r in range(n_runs)], n_files)
    ended = ended + (sequence + 1) * scale.trains
    n = n_runs * n_files
    return _table(
        run_id=np.repeat(shard.run_ids, n_files),
        ordinal=np.tile(np.arange(n_files, dtype=np.int32), n_runs),
        name=names,
        size=np.tile(size, n_runs) + shard.rng.integers(0, 1_000_000, n),
        mtime_ns=train_time_ns(ended).astype(np.int64) + shard.rng.integers(0, 10**9, n),
        depth=np.full(n, 3, np.int8),
        verified=np.zeros(n, bool),
        aggregator=np.tile(aggregators, n_runs),
        sequence=sequence.astype(np.int64),
        format_version="1.3",
        locality="",
        retry=np.zeros(n, bool),
        scanned_at=_INGESTED,
        missing_since=pa.nulls(n, pa.timestamp("us")),
        train_list=sequence.astype(np.int32),
        timestamps=sequence.astype(np.int32),
        layout_id=np.tile(
            np.repeat([layout_ids[a] for a in shard.layouts], scale.sequences), n_runs
        ).astype(np.int32),
        run_sources=_lists(
            np.tile(np.concatenate([np.array(x, np.int64) for x in with_run]), n_runs),
            np.tile([len(x) for x in with_run], n_runs),
            pa.int32(),
        ),
    )


def _packed(
    shard: _Shard, files: pa.Table, patterns: list[list[list[IndexPattern]]], cameras: list[str]
) -> pa.Table:
    """One row per run, packed by the store from its rows of ``file`` and its patterns."""
    n, sequences = shard.scale.files_per_run, range(shard.scale.sequences)
    kinds = [_kinds(layout, cameras) for layout in shard.layouts.values()]
    columns = [files[c] for c in ("name", "size", "mtime_ns", "depth", "train_list", "layout_id")]
    made = []
    for r, of_kind in enumerate(patterns):
        names, *numbers = (column.slice(r * n, n).to_pylist() for column in columns)
        facts = FileTable(names, *numbers[:3], [False] * n, range(n), *numbers[3:])
        trains = [_trains(shard, r, s) for s in sequences]
        distinct = Numbered[IndexPattern](lambda pattern: pattern.token)
        slots = [
            np.array([distinct.number(of_kind[kind][s]) for kind in of_file], np.int32)
            for of_file in kinds
            for s in sequences
        ]
        made.append(pack_run(int(shard.run_ids[r]), facts, trains, slots, distinct.values))
    _, *blobs = zip(*made, strict=True)
    names = ("files", "trains", "slots", "patterns")
    packed = {c: pa.array(b, pa.binary()) for c, b in zip(names, blobs, strict=True)}
    return _table(run_id=shard.run_ids, **packed)


def _kinds(layout: FileLayout, cameras: list[str]) -> list[int]:
    """The kind of pattern that each slot of a file has."""
    found = []
    for section, source, group in layout.slots:
        kind = 0 if section == "CONTROL" or group != "image" else 1
        found.append(2 + cameras.index(source) if source in cameras else kind)
    return found


def _run_sources(
    shard: _Shard, interner: Interner, cameras: list[str], of_camera: np.ndarray
) -> pa.Table:
    """One row per run and source, in the order of source ids."""
    scale = shard.scale
    rows = sorted(
        (interner.source(s.name), s.section, s.name, s.groups[0], interner.schema(k))
        for layout in shard.layouts.values()
        for s, k in zip(layout.sources, layout.schemas, strict=True)
        if k is not None
    )
    n_trains = np.array(
        [sum(_n_trains(shard, r, s) for s in range(scale.sequences)) for r in range(scale.runs)]
    )
    trains = np.repeat(n_trains, len(rows)).reshape(scale.runs, len(rows))
    entries = trains.copy()
    for at, (_, _, name, group, _) in enumerate(rows):
        if group == "image":
            entries[:, at] *= 250
        if name in cameras:
            trains[:, at] = of_camera[:, cameras.index(name), 0]
            entries[:, at] = of_camera[:, cameras.index(name), 1]
    n = scale.runs * len(rows)
    return _table(
        run_id=np.repeat(shard.run_ids, len(rows)),
        section=[r[1] for r in rows] * scale.runs,
        source_id=np.tile(np.array([r[0] for r in rows], np.int32), scale.runs),
        index_group=[r[3] for r in rows] * scale.runs,
        schema_id=np.tile(np.array([r[4] for r in rows], np.int32), scale.runs),
        legacy_of=None,
        run_only=np.zeros(n, bool),
        n_files=np.full(n, scale.sequences, np.int32),
        n_trains=trains.ravel(),
        n_entries=entries.ravel(),
    )


def _metadata(shard: _Shard) -> pa.Table:
    """METADATA: the sequence number and times differ from file to file, the rest does not."""
    scale, last = shard.scale, shard.scale.files_per_run - 1
    same = {
        "dataFormatVersion": "1.3",
        "daqLibrary": "1.16.3",
        "karaboFramework": "2.18.4",
        "proposalNumber": str(shard.proposal),
    }
    run_id, name, value, number, first, end = [], [], [], [], [], []
    for r, run in enumerate(shard.run_ids):
        entries = [(k, v, k == "proposalNumber", 0, last) for k, v in same.items()]
        entries.append(("runNumber", str(r + 1), True, 0, last))
        for at in range(last + 1):
            s = at % scale.sequences
            seconds = int(shard.rng.integers(0, 86400))
            moment = f"20240501T{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}Z"
            entries.append(("sequenceNumber", str(s), True, at, at))
            entries.append(("updateDate", moment, False, at, at))
        for entry in entries:
            run_id.append(run)
            for column, item in zip((name, value, number, first, end), entry, strict=True):
                column.append(item)
    return _table(
        run_id=np.array(run_id, np.uint64),
        name=name,
        value=value,
        is_number=number,
        first_file=np.array(first, np.int32),
        last_file=np.array(end, np.int32),
    )


def fill(location: str | Path, scale: Scale, jobs: int = 2) -> None:
    """Make a whole facility's catalog, telling on stderr how it goes on."""
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    with ProcessPoolExecutor(jobs) as pool:
        work = [pool.submit(fill_shard, str(location), scale, n) for n in range(scale.proposals)]
        for done, future in enumerate(work):
            future.result()
            if done % 50 == 49 or done + 1 == len(work):
                seconds = time.monotonic() - started
                say(f"{done + 1}/{len(work)} proposals, {seconds:.0f} s")

    def told(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            say(f"merged {done}/{of}, {time.monotonic() - started:.0f} s")

    Store(location).publish_merged(told)


def main() -> None:
    """Fill a directory with the catalog of a synthetic facility."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--proposals", type=int, default=Scale().proposals)
    parser.add_argument("--runs", type=int, default=Scale().runs)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    fill(given.directory, Scale(given.proposals, given.runs), given.jobs)


if __name__ == "__main__":
    main()
