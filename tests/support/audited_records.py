"""A small facility as records, in which a test can put one fault at a place of its choice.

Six raw runs of one proposal, each with two aggregators of slow data and a detector of three
modules, in three sequence files of ten trains; and the corrected run of each. Nothing is written:
``database`` puts the records into tables in memory, where the checks in SQL can run.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import groupby

import duckdb
import numpy as np
from xfelcat.catalog.model.checks import Limits
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.records import (
    Depth,
    FileLayout,
    FileRecord,
    KeyRecord,
    KeySchema,
    RunRecord,
    SourceRecord,
)
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.store.schema import create_schema
from xfelcat.catalog.store.write import ShardWriter

MOMENT = datetime(2024, 5, 1, 12, tzinfo=UTC)
LIMITS = Limits(early_trains=4, detector_sizes={"TINY": 3})
DETECTOR = "XMPL_DET_TINY-1"
RUNS, SEQUENCES, TRAINS, MODULES = range(1, 7), range(3), 10, range(3)
FIRST_TRAIN, FIRST_NS = 10**9, 1_700_000_000 * 10**9

CONTROL = KeySchema(
    (KeyRecord("position.timestamp", "", "<u8"), KeyRecord("position.value", "", "<f8", (), "m"))
)
GAUGE = KeySchema(
    (KeyRecord("pressure.timestamp", "", "<u8"), KeyRecord("pressure.value", "", "<f4", (), "Pa"))
)
CAMERA = KeySchema((KeyRecord("data.pixels", "data", "<u2", (24, 32)),))
IMAGE = KeySchema((KeyRecord("image.data", "image", "<f4", (512, 128)),))
LATE = KeySchema((KeyRecord("event.count", "event", "<u4"),))


@dataclass
class File:
    """One file: its trains, and its sources by (section, name) with their keys.

    ``rows`` are entries per train of INSTRUMENT and other pipeline data.
    """

    trains: list
    sources: dict
    rows: int = 1
    suspect: tuple = ()
    depth: Depth = Depth.FULL


@dataclass
class Facility:
    """Runs by (proposal, data class, number), each a dict of files by (aggregator, sequence)."""

    runs: dict
    clock: dict = field(default_factory=dict)  # ns by which the times of a run are off

    def raw(self, number):
        """The files of a raw run."""
        return self.runs[2012, "raw", number]


def module(number, kind="DET"):
    return f"{DETECTOR}/{kind}/{number}CH0:{'xtdf' if kind == 'DET' else 'output'}"


def slow_sources(aggregator):
    motors = {("CONTROL", f"{aggregator}/MOTOR/{n}"): CONTROL for n in ("LEFT", "RIGHT", "SAMPLE")}
    return {
        **motors,
        ("CONTROL", f"{aggregator}/GAUGE/1"): GAUGE,
        ("INSTRUMENT", f"{aggregator}/CAM/SIDE:daqOutput"): CAMERA,
    }


def trains_of(run, sequence):
    first = FIRST_TRAIN + 1000 * run + TRAINS * sequence
    return list(range(first, first + TRAINS))


def facility():
    """The facility without a fault."""
    runs = {}
    for run in RUNS:
        raw, proc = {}, {}
        for sequence in SEQUENCES:
            trains = trains_of(run, sequence)
            for aggregator in ("DA01", "DA02"):
                raw[aggregator, sequence] = File(list(trains), slow_sources(aggregator))
            for n in MODULES:
                of_raw = {("INSTRUMENT", module(n)): IMAGE}
                raw[f"TINY{n:02d}", sequence] = File(list(trains), of_raw, rows=2)
                of_proc = {("INSTRUMENT", module(n, "CORR")): IMAGE}
                proc[f"TINY{n:02d}", sequence] = File(list(trains), of_proc, rows=2)
        runs[2012, "raw", run] = raw
        runs[2012, "proc", run] = proc
    return Facility(runs)


@cache
def layout(sources):
    records = [
        (SourceRecord(section, name, schema.groups or ("",)), schema)
        for (section, name), schema in sorted(sources, key=lambda item: item[0])
    ]
    return FileLayout(tuple(r for r, _ in records), tuple(s for _, s in records))


def name_of(data_class, run, aggregator, sequence):
    prefix = "RAW" if data_class == "raw" else "CORR"
    return f"{prefix}-R{run:04d}-{aggregator}-S{sequence:05d}.h5"


def file_record(who, aggregator, sequence, file, clock):
    number = len(file.trains)
    trains = TrainList.from_ids(np.array(file.trains, np.uint64), file.suspect)
    times = np.array([FIRST_NS + (t - FIRST_TRAIN) * 10**8 + clock for t in file.trains], np.uint64)
    has_layout = file.depth > Depth.UNREAD
    made = layout(tuple(file.sources.items())) if has_layout else FileLayout((), ())
    patterns = []
    for section, _, _ in made.slots:
        rows = 1 if section == "CONTROL" else file.rows
        patterns.append(IndexPattern.from_arrays(np.arange(number) * rows, np.full(number, rows)))
    return FileRecord(
        name=name_of(who.data_class, who.run, aggregator, sequence),
        size=1000,
        mtime_ns=FIRST_NS,
        depth=file.depth,
        scanned_at=MOMENT,
        aggregator=aggregator,
        sequence=sequence,
        format_version="1.2",
        trains=trains if has_layout else TrainList.from_ids(()),
        timestamps=times if has_layout else None,
        layout=made,
        patterns=tuple(patterns),
    )


def records(facility):
    for (proposal, data_class, run), files in facility.runs.items():
        who = RunIdentity(proposal, run, data_class, "XMPL", "202401")
        clock = facility.clock.get((proposal, data_class, run), 0)
        made = [file_record(who, a, s, file, clock) for (a, s), file in sorted(files.items())]
        directory = f"/data/{data_class}/p{proposal:06d}/r{run:04d}"
        made.sort(key=lambda f: f.name)
        yield RunRecord(who, directory, directory, tuple(made), MOMENT, (directory,))


@contextmanager
def database(facility):
    """A cursor on tables in memory that hold the facility as an ingest would have left it."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("ATTACH ':memory:' AS xfelcat")
        connection.execute("USE xfelcat")
        create_schema(connection, "shard", "test")
        made = sorted(records(facility), key=lambda r: r.identity.run_id)
        for shard, of_shard in groupby(made, lambda r: r.identity.shard):
            writer = ShardWriter(connection, shard, "memory")
            for record in of_shard:
                writer.replace_run(record)
            writer.finish()
        yield connection
