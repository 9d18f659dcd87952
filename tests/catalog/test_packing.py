"""What is packed of a run into one row comes back the same, whatever its files are like."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xfelcat.catalog.model.facts import FileTable
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.store import packing
from xfelcat.catalog.store.packing import PackedIndex, fetch_packed, pack_run
from xfelcat.catalog.store.schema import create_schema

RUN_ID = 2**64 - 1
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), -1, 0, 2**63 - 1])
UINT64 = st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1])
# As a file system gives them: any bytes but these two, of which those that are no UTF-8 become lone
# surrogates.
NAMES = st.binary(min_size=1, max_size=12).map(lambda b: b.decode("utf-8", "surrogateescape"))
NAMES |= st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NAMES = NAMES.filter(lambda name: not set("/\0") & set(name))


@st.composite
def train_lists(draw):
    """Single trains and stretches, in any order and any number; some suspect, some rows dropped."""
    stretches = draw(st.lists(st.tuples(UINT64, st.integers(1, 5)), max_size=4))
    ids = [(first + n) % 2**64 for first, length in stretches for n in range(length)]
    suspect = draw(st.sets(st.sampled_from(range(len(ids))), max_size=3)) if ids else ()
    dropped = draw(st.sets(st.integers(0, 2**40), max_size=3))
    return TrainList.from_ids(np.array(ids, np.uint64), sorted(suspect), sorted(dropped))


PATTERNS = st.lists(st.tuples(INT64, INT64, INT64), max_size=4).map(
    lambda runs: IndexPattern(*np.array(runs, np.int64).reshape(-1, 3).T)
)


@st.composite
def runs(draw):
    """What ``pack_run`` takes, but for the run's number."""
    names = sorted(draw(st.sets(NAMES, max_size=6)))
    n = len(names)
    trains = draw(st.lists(train_lists(), min_size=bool(n), max_size=4))
    patterns = draw(st.lists(PATTERNS, max_size=5))
    patterns *= draw(st.sampled_from([1, 1, 40]))  # up to four blocks
    number = st.integers(0, len(patterns) - 1) if patterns else st.nothing()
    slots = [draw(st.lists(number, max_size=5)) if patterns else [] for _ in names]
    files = FileTable(
        names=names,
        sizes=[draw(INT64) for _ in names],
        mtimes_ns=[draw(INT64) for _ in names],
        depths=[draw(st.sampled_from(Depth)) for _ in names],
        missing=[draw(st.booleans()) for _ in names],
        ordinals=range(n),
        train_lists=[draw(st.integers(0, len(trains) - 1)) for _ in names],
        layouts=[draw(st.integers(0, 2**31 - 1)) for _ in names],
    )
    return files, trains, [np.array(s, np.int32) for s in slots], patterns


@pytest.fixture(scope="module")
def shard():
    with duckdb.connect() as connection:
        create_schema(connection, "shard", "any")
        yield connection


def through(shard, *about):
    """The run as it is fetched after it was packed, and its row stored."""
    shard.execute("DELETE FROM run_packed")
    row = pack_run(RUN_ID, *about)
    shard.execute("INSERT INTO run_packed VALUES ($1, $2, $3, $4, $5)", row)
    found = fetch_packed(shard, RUN_ID)
    assert found is not None
    return found


def index_of(slots, patterns):
    """The index alone."""
    _, _, _, *columns = pack_run(RUN_ID, FileTable(), (), slots, patterns)
    return PackedIndex(*columns)


def patterns_at(index, files, slot):
    return index.patterns(index.numbers_at(files, slot))


def numbered(n):
    """Patterns that all differ, and tell their number."""
    return [
        IndexPattern.from_arrays(np.arange(10) * i + i // 7, np.full(10, i))
        for i in range(1, n + 1)
    ]


@settings(max_examples=200)
@given(runs())
def test_a_run_comes_back_the_same(shard, run):
    files, trains, slots, patterns = run
    found = through(shard, *run)
    assert list(found.files.rows()) == list(files.rows())
    assert {type(v) for row in found.files.rows() for v in row} <= {str, int, bool}
    assert all(isinstance(gone, bool) for gone in found.files.missing)
    assert [t.token for t in found.trains] == [t.token for t in trains]
    for listed, expected in zip(found.trains, trains, strict=True):
        assert listed.ids.tolist() == expected.ids.tolist()
        kinds = [getattr(listed, c).dtype for c in ("starts", "lengths", "suspect", "dropped")]
        assert kinds == [np.uint64, np.int64, np.int64, np.int64]
    index = found.patterns
    for file, numbers in enumerate(slots):
        assert index.numbers(file) == numbers.tolist()
        for slot, number in enumerate(numbers):
            (pattern,) = patterns_at(index, [file], slot)
            assert pattern.token == patterns[number].token
            assert pattern.counts.dtype == np.int64
    assert [p.token for p in index.by_number()] == [p.token for p in patterns]


def test_a_run_without_files(shard):
    found = through(shard, FileTable(), [], [], [])
    assert list(found.files.rows()) == []
    assert found.trains == ()
    assert found.patterns.by_number() == []


def test_what_was_never_packed_is_not_there(shard):
    through(shard, FileTable(), [], [], [])
    assert fetch_packed(shard, RUN_ID - 1) is None


def test_extremes_stay_exact(shard):
    name = b"RAW-\xff\xfe-\xc3\xa4.h5".decode("utf-8", "surrogateescape")
    low, high = -(2**63), 2**63 - 1
    files = FileTable(
        *([name, "z.h5"], [high, 0], [low, high], [3, 0], [False, True], range(2), [0, 0], [7, 7])
    )
    ids = [2**64 - 3, 2**64 - 2, 2**64 - 1, 0, 2**63, 2**63 - 1]
    trains = TrainList.from_ids(np.array(ids, np.uint64), [2, 3], [high])
    pattern = IndexPattern(*(np.array([low, 0, high]) for _ in range(3)))
    found = through(shard, files, [trains], [np.array([0]), np.array([], int)], [pattern])
    assert found.files.stats == {name: (high, low), "z.h5": (0, high)}
    assert found.trains[0].ids.tolist() == ids
    assert found.trains[0].starts.tolist() == [2**64 - 3, 0, 2**63, 2**63 - 1]
    assert np.flatnonzero(~found.trains[0].good).tolist() == [2, 3]
    assert found.trains[0].dropped.tolist() == [high]
    (same,) = patterns_at(found.patterns, [0], 0)
    assert same.offsets.tolist() == [low, 0, high]


def test_many_files_are_asked_at_once_and_what_is_equal_is_one_object():
    patterns = numbered(150)
    slots = [np.array([n, 149 - n, 0]) if n % 3 else np.array([], int) for n in range(150)]
    index = index_of(slots, patterns)
    files = [n for n in range(150) if n % 3][::-1] * 2
    for slot in range(3):
        expected = [slots[file][slot] for file in files]
        found = patterns_at(index, files, slot)
        assert [p.token for p in found] == [patterns[n].token for n in expected]
        assert [id(p) for p in found] == [id(index.by_number()[n]) for n in expected]
    assert len({id(p) for p in patterns_at(index, files, 2)}) == 1
    assert patterns_at(index, [1], 0)[0] is patterns_at(index, [148], 1)[0]
    assert index.numbers(3) == []


def test_only_what_is_asked_for_is_unfolded(monkeypatch):
    made = []
    pattern = IndexPattern

    def count(*parts):
        made.append(parts)
        return pattern(*parts)

    monkeypatch.setattr(packing, "IndexPattern", count)
    index = index_of([np.arange(640)], numbered(640))
    assert made == []
    index.numbers(0)
    assert made == []
    for slot in range(128, 192):
        patterns_at(index, [0], slot)
    assert len(made) == 64
    assert len(index.by_number()) == 640


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_threads_that_ask_at_once_get_the_same_objects():
    patterns = numbered(130)
    slots = [np.arange(130), np.arange(130)[::-1]]
    for _ in range(10):
        index = index_of(slots, patterns)
        start = threading.Barrier(6)

        def ask(number, index=index, start=start):
            start.wait(timeout=600)
            if number == 0:
                return [*index.by_number(), *index.by_number()[::-1]]
            order = range(129, -1, -1) if number % 2 else range(130)
            found = {slot: patterns_at(index, [0, 1], slot) for slot in order}
            return [found[slot][file] for file in range(2) for slot in range(130)]

        with ThreadPoolExecutor(6) as pool:
            first, *others = pool.map(ask, range(6))
        assert [p.token for p in first[:130]] == [p.token for p in patterns]
        for other in others:
            assert [id(p) for p in other] == [id(p) for p in first]
