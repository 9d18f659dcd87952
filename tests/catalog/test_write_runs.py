"""What is put into a shard comes back the same; and what stays of the past."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.examples import examples
from support.run_records import assert_same_run, assert_same_values, later
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.names import from_text, to_text
from xfelcat.catalog.model.records import (
    Depth,
    FileLayout,
    FileRecord,
    KeyRecord,
    KeySchema,
    Problem,
    RunRecord,
    SourceRecord,
)
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.store.care import check_file
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.packing import (
    decode_timestamps,
    decode_value,
    encode_timestamps,
    encode_value,
    pack_integers,
    unpack_integers,
)
from xfelcat.catalog.store.schema import RUN_TABLES, create_schema
from xfelcat.catalog.store.write import ShardWriter

# Names as file systems and scanners give them: any Unicode, and undecodable bytes as surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = st.one_of(TEXT, st.binary(max_size=6).map(lambda b: b.decode("utf-8", "surrogateescape")))
NAMES = NAMES.map(lambda t: t.replace("\0", "")).filter(lambda t: from_text(to_text(t)) == t)
UINT64 = st.integers(0, 2**64 - 1)

SCALARS = st.one_of(
    hnp.from_dtype(np.dtype("<f4")),
    hnp.from_dtype(np.dtype("<f8")),
    hnp.from_dtype(np.dtype("?")),
    hnp.from_dtype(np.dtype("<i8")),
    hnp.from_dtype(np.dtype("<u8")),
    hnp.from_dtype(np.dtype("i1")),
    hnp.from_dtype(np.dtype("<u2")),
    hnp.from_dtype(np.dtype("<c8")),
    st.binary(max_size=5).map(np.bytes_),
    TEXT,
)
DTYPES = st.sampled_from(["<f4", "<f8", ">i4", "<u8", "?", "|S3", "<c16"])
ARRAYS = hnp.arrays(DTYPES.map(np.dtype), hnp.array_shapes(max_dims=3, min_side=0, max_side=3))
PAIR = np.dtype([("x", "<f4"), ("n", "<i2", (2,))])
VALUES = st.one_of(
    SCALARS, ARRAYS, hnp.arrays(PAIR, (2,)), hnp.arrays(PAIR, ()).map(lambda a: a[()])
)


@given(VALUES)
def test_values_come_back_the_same(value):
    assert_same_values(decode_value(*encode_value(value)), value)


def objects(*items):
    array = np.empty(len(items), object)
    for at, item in enumerate(items):
        array[at] = item
    return array


@pytest.mark.parametrize(
    "value",
    [
        objects("a", "", "μ\udcff"),
        objects(),
        objects(b"a\xff", b""),
        objects(np.arange(3), np.arange(0)),
        objects(np.array([0.1, np.nan]), np.array([1.0, np.inf])),
        objects("a", "b", "c", "d").reshape(2, 2),
        b"bytes\xff",
    ],
)
def test_arrays_of_objects_come_back_the_same(value):
    assert_same_values(decode_value(*encode_value(value)), value)


def test_numbers_and_texts_can_be_asked_for_also_where_raw_is_kept():
    big = encode_value(np.uint64(2**64 - 1))
    assert big.number == 2.0**64
    assert big.raw is not None
    assert encode_value(np.uint64(2**53)).raw is None
    assert encode_value(np.bytes_(b"open")).text == "open"
    assert encode_value(True)[:2] == ("|b1", 1.0)
    assert encode_value({"odd": 1}).text == "{'odd': 1}"


@given(hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(-(2**63), 2**63 - 1)))
def test_packed_integers_come_back_the_same(numbers):
    assert unpack_integers(pack_integers(numbers)).tolist() == numbers.tolist()


@pytest.mark.parametrize("top", [1, 200, 40_000, 2**40])
def test_packed_integers_are_narrow(top):
    numbers = np.random.default_rng(1).integers(-top, top, 1000)
    packed = pack_integers(numbers)
    assert unpack_integers(packed).tolist() == numbers.tolist()
    assert len(packed) <= 1 + 1000 * next(n for n in (1, 2, 4, 8) if top < 2 ** (8 * n - 1))
    assert len(pack_integers(np.full(10**6, top))) < 20


@given(st.lists(UINT64, max_size=20))
def test_timestamps_come_back_the_same(times):
    found = decode_timestamps(*encode_timestamps(np.array(times, np.uint64)))
    assert found.dtype == np.uint64
    assert found.tolist() == times


def test_undecodable_names_are_kept():
    name = b"RAW-\xff\xfe.h5".decode("utf-8", "surrogateescape")
    assert to_text(name).encode("utf-8")
    assert from_text(to_text(name)) == name


# Whole runs ---------------------------------------------------------------------------------------

KEYS = st.lists(
    st.builds(
        KeyRecord,
        NAMES,
        st.sampled_from(["", "image", "data"]),
        st.sampled_from(["<f8", "<u2", "str", '{"of": "<f4", "shape": [2]}']),
        st.tuples() | st.tuples(st.integers(0, 10**6)) | st.tuples(st.just(2), st.just(512)),
        TEXT,
        TEXT,
    ),
    max_size=4,
    unique_by=lambda k: k.name,
)
SCHEMAS = KEYS.map(lambda keys: KeySchema(tuple(sorted(keys))))
SOURCES = st.builds(
    SourceRecord,
    st.sampled_from(["CONTROL", "INSTRUMENT", "REDUCTION"]),
    NAMES,
    st.sampled_from([("",), (), ("image",), ("data", "image")]),
    st.just("") | NAMES,
    st.booleans(),
)


@st.composite
def layouts(draw):
    sources = draw(st.lists(SOURCES, max_size=4, unique_by=lambda s: (s.section, s.name)))
    sources.sort(key=lambda s: (s.section, s.name))
    schemas = draw(
        st.lists(st.none() | SCHEMAS, min_size=len(sources), max_size=len(sources)).map(tuple)
    )
    return FileLayout(tuple(sources), schemas)


@st.composite
def files(draw, name, layout):
    ids = draw(st.lists(UINT64, max_size=6))
    places = st.integers(0, max(len(ids) - 1, 0))
    trains = TrainList.from_ids(
        ids, draw(st.lists(places, max_size=2)) if ids else (), draw(st.sampled_from([(), (3,)]))
    )
    depth = draw(st.sampled_from(list(Depth)))
    pattern = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=6).map(
        lambda pairs: IndexPattern.from_arrays(*zip(*pairs, strict=True))
    )
    full = depth is Depth.FULL
    problem = st.builds(
        Problem,
        st.sampled_from(["F01", "I03", "T02"]),
        st.sampled_from("EWI"),
        TEXT,
        st.sampled_from([f"/data/odd/{name}", "/elsewhere/another.h5"]),
        TEXT,
    )
    return FileRecord(
        name=name,
        size=draw(st.integers(0, 2**62)),
        mtime_ns=draw(st.integers(-(2**62), 2**62)),
        depth=depth,
        scanned_at=later(draw(st.integers(0, 100))),
        verified=draw(st.booleans()),
        aggregator=draw(st.sampled_from(["", "DA01"])),
        sequence=draw(st.sampled_from([-1, 0, 10**10])),
        format_version=draw(st.sampled_from(["", "1.2"])),
        locality=draw(st.sampled_from(["", "NEARLINE"])),
        retry=draw(st.booleans()),
        trains=trains,
        timestamps=draw(st.none() | hnp.arrays(np.uint64, len(ids), elements=UINT64)),
        layout=layout,
        patterns=tuple(draw(pattern) for _ in layout.slots) if full else (),
        metadata=draw(st.dictionaries(TEXT, TEXT | st.integers(-(2**70), 2**70), max_size=3)),
        run_values={},
        problems=tuple(draw(st.lists(problem, max_size=3, unique=True))),
        missing_since=draw(st.none() | st.just(later(3))),
    )


@st.composite
def runs(draw):
    loose = draw(st.booleans())
    if loose:
        who = RunIdentity(loose_path="/data/odd")
    else:
        data_class = draw(st.sampled_from(["raw", "proc", "usr/other"]))
        number = draw(st.integers(0, (1 << 20) - 1))
        who = RunIdentity(2012, number, data_class, "XMPL", "202401")
    names = sorted(draw(st.sets(NAMES.filter(lambda n: n and "/" not in n), max_size=4)))
    shared = draw(st.lists(layouts(), min_size=1, max_size=2))
    made = [draw(files(name, draw(st.sampled_from(shared)))) for name in names]
    values = st.dictionaries(NAMES, VALUES, max_size=3)
    for source in draw(st.lists(NAMES, max_size=4, unique=True) if made else st.just([])):
        at = draw(st.integers(0, len(made) - 1))
        more = {**made[at].run_values, source: draw(values)}
        made[at] = dataclasses.replace(made[at], run_values=more)
    places = tuple(draw(st.lists(NAMES, max_size=2, unique=True)))
    problem = Problem("R03", "E", "sequences overlap", "/data/odd", "")
    return RunRecord(
        identity=who,
        directory="/data/odd",
        realpath="/data/odd",
        files=tuple(made),
        ingested_at=later(draw(st.integers(0, 10))),
        locations=places,
        problems=draw(st.sampled_from([(), (problem,)])),
    )


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A writer that is never published; changes of one example are rolled back for the next."""
    path = tmp_path_factory.mktemp("shard") / "draft.duckdb"
    with connect_write(path) as connection:
        create_schema(connection, "shard", "any")
        yield connection


@settings(max_examples=examples(20))
@given(run=runs())
def test_runs_come_back_the_same(shard, run):
    shard.execute("BEGIN")
    try:
        writer = ShardWriter(shard, run.identity.shard, "nowhere")
        writer.replace_run(run)
        read = writer.load_run(run.identity.run_id)
        assert_same_run(read, run)
        writer.flush()
        findings = shard.execute("SELECT * FROM finding ORDER BY ALL").fetchall()
        again = ShardWriter(shard, run.identity.shard, "nowhere")  # knows nothing: compares all
        again.replace_run(read)
        assert_same_run(again.load_run(run.identity.run_id), run)  # which flushes
        assert shard.execute("SELECT * FROM finding ORDER BY ALL").fetchall() == findings
        assert shard.execute("SELECT count(*) FROM file_history").fetchall() == [(0,)]
        assert check_file(shard) == []
        for view in ("runs", "files", "run_sources", "run_keys", "train_ranges", "train_flags"):
            shard.execute(f"SELECT * FROM {view}").fetchall()
        assert again.forget_run(run.identity.run_id)
        assert again.load_run(run.identity.run_id) is None
        for table in (role.name for role in RUN_TABLES):
            assert shard.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
    finally:
        shard.execute("ROLLBACK")
