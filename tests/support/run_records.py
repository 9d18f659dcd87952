"""Runs as a scan would find them, made up: no file is written.

Values encode run, file, source and train, so that a misplaced one cannot pass.
"""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
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

MOMENT = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
START_NS = np.uint64(1_700_000_000_000_000_000)


def identity(run=1, proposal=2012, data_class="raw"):
    return RunIdentity(proposal, run, data_class, "XMPL", "202401")


def motor_schema(n_keys):
    return KeySchema(
        tuple(
            sorted(
                KeyRecord(f"prop{k:03d}.{end}", "", "<f8" if end == "value" else "<u8", (), "m")
                for k in range(n_keys)
                for end in ("value", "timestamp")
            )
        )
    )


def module_schema():
    return KeySchema(
        (
            KeyRecord("image.data", "image", "<u2", (2, 512, 128)),
            KeyRecord("image.trainId", "image", "<u8"),
        )
    )


def make_run(
    run=1,
    proposal=2012,
    data_class="raw",
    *,
    n_aggregators=2,
    n_modules=1,
    n_sequences=3,
    n_control=4,
    n_keys=3,
    n_trains=10,
    moment=MOMENT,
    changing=0.0,
):
    """A run of DA files with control sources, and detector modules with varying frame counts.

    ``changing``: the share of control sources whose RUN values differ from run to run.
    """
    who = identity(run, proposal, data_class)
    directory = f"/data/{data_class}/p{proposal:06d}/r{run:04d}"
    files = []
    control = motor_schema(n_keys)
    image = module_schema()
    per_train = IndexPattern.from_arrays(np.arange(n_trains), np.ones(n_trains, int))
    layouts = {}
    for a in range(n_aggregators):
        names = [f"DA{a:02d}/MOTOR/M{s:03d}" for s in range(n_control)]
        sources = [SourceRecord("CONTROL", name, ("",)) for name in names]
        layouts[f"DA{a:02d}"] = FileLayout(tuple(sources), (control,) * n_control)
    for m in range(n_modules):
        record = SourceRecord("INSTRUMENT", f"XMPL_DET_AGIPD1M-1/DET/{m}CH0:xtdf", ("image",))
        layouts[f"AGIPD{m:02d}"] = FileLayout((record,), (image,))
    for sequence in range(n_sequences):
        first = 1000 * run + sequence * n_trains
        trains = TrainList.from_ids(np.arange(first, first + n_trains) + 10**9)
        times = START_NS + (trains.ids - np.uint64(10**9)) * np.uint64(10**8)
        for number, (aggregator, layout) in enumerate(layouts.items()):
            values = {}
            if aggregator.startswith("DA"):
                patterns = (per_train,) * n_control
                if sequence == 0:
                    for s, source in enumerate(layout.sources):
                        step = run if s < changing * n_control else 0
                        values[source.name] = {
                            k.name: np.dtype(k.dtype).type(step + s * 100 + i)
                            for i, k in enumerate(control.keys)
                        }
            else:
                rng = np.random.default_rng((run, sequence, number))
                count = rng.integers(0, 5, n_trains)
                patterns = (IndexPattern.from_arrays(np.cumsum(count) - count, count),)
            files.append(
                FileRecord(
                    name=f"RAW-R{run:04d}-{aggregator}-S{sequence:05d}.h5",
                    size=10**6 * run + 1000 * number + sequence,
                    mtime_ns=1_700_000_000_000_000_000 + run * 1000 + sequence,
                    depth=Depth.FULL,
                    scanned_at=moment,
                    aggregator=aggregator,
                    sequence=sequence,
                    format_version="1.2",
                    trains=trains,
                    timestamps=times,
                    layout=layout,
                    patterns=patterns,
                    metadata={"dataFormatVersion": "1.2", "runNumber": run, "seq": sequence},
                    run_values=values,
                )
            )
    files.sort(key=lambda f: f.name)
    return RunRecord(who, directory, directory, tuple(files), moment, (directory,))


def with_file(record, at, **changes):
    """The record with some fields of one file changed."""
    changed = list(record.files)
    changed[at] = dataclasses.replace(changed[at], **changes)
    return dataclasses.replace(record, files=tuple(changed))


def assert_same_values(a, b):
    """RUN values: the same type, dtype, shape and content."""
    assert type(a) is type(b), (a, b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.dtype == object:
            for x, y in zip(a.ravel(), b.ravel(), strict=True):
                assert_same_values(x, y)
        else:
            assert a.tobytes() == b.tobytes()
    elif isinstance(a, np.generic):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    else:
        assert a == b


def assert_same_file(a: FileRecord, b: FileRecord):
    unlike = {"trains", "timestamps", "layout", "patterns", "frame_ids", "metadata", "run_values"}
    for field in {f.name for f in dataclasses.fields(FileRecord)} - unlike:
        assert getattr(a, field) == getattr(b, field), field
    assert a.trains.token == b.trains.token
    assert (a.timestamps is None) == (b.timestamps is None)
    if a.timestamps is not None:
        assert a.timestamps.tolist() == b.timestamps.tolist()
    assert a.layout.canonical == b.layout.canonical
    assert [p.token for p in a.patterns] == [p.token for p in b.patterns]
    assert [i and i.token for i in a.frame_ids] == [i and i.token for i in b.frame_ids]
    assert dict(a.metadata) == dict(b.metadata)
    assert a.run_values.keys() == b.run_values.keys()
    for source, values in a.run_values.items():
        assert values.keys() == b.run_values[source].keys()
        for key, value in values.items():
            assert_same_values(value, b.run_values[source][key])


def assert_same_run(a: RunRecord, b: RunRecord):
    for field in {f.name for f in dataclasses.fields(RunRecord)} - {"files"}:
        assert getattr(a, field) == getattr(b, field), field
    assert [f.name for f in a.files] == [f.name for f in b.files]
    for x, y in zip(a.files, b.files, strict=True):
        assert_same_file(x, y)


def later(hours):
    return MOMENT + timedelta(hours=hours)


def write(store, *records):
    """Put records of one shard into a store."""
    with store.write(records[0].identity.shard) as writer:
        for record in records:
            writer.replace_run(record)
