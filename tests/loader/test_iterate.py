"""Train by train: same data in blocks of any size, for one key and for many."""

import collections
import os
import threading

import numpy as np
import pytest
from support import rich_run
from support.both_readers import open_scanned
from xfelcat.catalog.model.errors import ChangedFileError, TrainIDError
from xfelcat.loader.output import iterate
from xfelcat.loader.read.selected import SelectedKey
from xfelcat.loader.select.trains import by_id, by_index

pytestmark = pytest.mark.fast

XGM, CAMERA, MODULE = rich_run.XGM, rich_run.CAMERA, rich_run.MODULE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_scanned(rich_run.write_rich_run(tmp_path_factory.mktemp("rich"), gaps=(0, 1)))


def flat(trains):
    return [
        (tid, {place: np.asarray(value).tolist() for place, value in data.items()})
        for tid, data in trains
    ]


@pytest.mark.parametrize("n_threads", ["1", "2"])
@pytest.mark.parametrize("block_bytes", [1, 300, 2_000, 10**9])
def test_blocks_of_any_size_give_the_same(tmp_path, block_bytes, n_threads, monkeypatch):
    monkeypatch.setenv("XFELCAT_THREADS", n_threads)
    run = open_scanned(rich_run.write_rich_run(tmp_path, gaps=(0, 1)))
    chosen = run.select([(XGM, "*"), (CAMERA, "*"), (MODULE, "*")])
    expected = flat(chosen.trains(flat_keys=True))
    key = run[MODULE, "image.data"]
    expected_key = [(tid, value.tolist()) for tid, value in key.trains()]
    monkeypatch.setattr(iterate, "BLOCK_BYTES", block_bytes)
    assert flat(chosen.trains(flat_keys=True)) == expected
    assert [(tid, value.tolist()) for tid, value in key.trains()] == expected_key
    assert [tid for tid, _ in expected] == run.train_ids


def test_what_a_train_holds(run):
    chosen = run.select([(XGM, "beam*"), (CAMERA, "data.exposure"), (MODULE, "image.data")])
    counts = chosen[MODULE, "image.data"].data_counts()
    for tid, data in chosen.trains():
        assert data.keys() == {XGM, CAMERA, MODULE}
        for source, values in data.items():
            assert values["metadata"] == {"source": source, "timestamp.tid": tid}
        assert ("image.data" in data[MODULE]) == (counts[tid] > 0)
        if counts[tid]:
            value = data[MODULE]["image.data"]
            assert value.ndim == (4 if counts[tid] > 1 else 3)
    kept = dict(chosen.trains(keep_dims=True, flat_keys=True))
    for tid, data in kept.items():
        # EXtra-data forgets keep_dims for control sources.
        assert data[XGM, "beamPosition.ixPos.value"].shape == (1,)
        if counts[tid]:
            assert data[MODULE, "image.data"].shape[0] == counts[tid]


@pytest.mark.parametrize("options", [{"flat_keys": True}, {"keep_dims": True}, {}])
def test_one_train_is_as_all_trains_give_it(run, options):
    devices = [(XGM, "*"), (CAMERA, "*")]
    for at, (tid, data) in enumerate(run.trains(devices, np.s_[:8], **options)):
        for one in (
            run.train_from_id(tid, devices, **options),
            run.train_from_index(at, devices, **options),
            run.train_from_index(at - len(run.train_ids), devices, **options),
        ):
            assert one[0] == tid
            # EXtra-data forgets the options when devices= is given.
            np.testing.assert_equal(one[1], data)


def test_ranges_and_requirements(run):
    wanted = run[CAMERA].drop_empty_trains().train_ids
    devices = {CAMERA: {"data.exposure"}, XGM: set()}
    assert [tid for tid, _ in run.trains(devices, require_all=True)] == wanted
    assert [tid for tid, _ in run.trains(devices, by_id[[20003, 20007]])] == [20003, 20007]
    assert [tid for tid, _ in run.trains(devices, by_index[-2:])] == run.train_ids[-2:]
    assert list(run.select(XGM)[:0].trains()) == []
    assert list(run[CAMERA, "data.exposure"][:0].trains()) == []


def test_trains_that_are_not_there(run):
    key = run[CAMERA, "data.exposure"]
    for thing in (run, key):
        with pytest.raises(TrainIDError, match="12345"):
            thing.train_from_id(12345)
        for at in (26, -27):
            with pytest.raises(IndexError, match="26 trains"):
                thing.train_from_index(at)
    empty = key.data_counts()[lambda c: c == 0].index[0]
    assert key.train_from_id(empty)[1].shape == (0,)  # EXtra-data fails


def test_empty_trains_on_request(run):
    key = run[MODULE, "header.pulseCount"]
    counts = key.data_counts(labelled=False)
    for (tid, value), count in zip(key.trains(include_empty=True), counts, strict=True):
        assert (value is None) == (count == 0), tid
    for (_, value), count in zip(
        key.trains(include_empty=True, keep_dims=True), counts, strict=True
    ):
        assert len(value) == count


@pytest.mark.parametrize("n_threads", ["1", "2"])
@pytest.mark.parametrize("block_bytes", [1, 300, 10**9])
def test_what_can_be_read_comes_before_the_error(tmp_path, block_bytes, n_threads, monkeypatch):
    monkeypatch.setenv("XFELCAT_THREADS", n_threads)
    monkeypatch.setattr(iterate, "BLOCK_BYTES", block_bytes)
    place = rich_run.write_rich_run(tmp_path)
    run = open_scanned(place)
    of_key = list(run[MODULE, "image.data"].trains())
    chosen = run.select([(XGM, "beam*"), (MODULE, "image.data")])
    of_all = list(chosen.trains())
    last = run[MODULE].selected.entry.refs[1]
    run.close()
    (place / os.path.basename(last.path)).unlink()
    for trains, expected in (
        (run[MODULE, "image.data"].trains(), of_key),
        (chosen.trains(), of_all),
    ):
        seen = []
        with pytest.raises(ChangedFileError, match="no longer there"):
            collections.deque(map(seen.append, trains), 0)
        good = [(tid, data) for tid, data in expected if tid < int(last.listed.starts[0])]
        assert good
        np.testing.assert_equal(seen, good)


def test_the_next_block_is_read_while_one_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XFELCAT_THREADS", "2")
    run = open_scanned(rich_run.write_rich_run(tmp_path))
    key = run[MODULE, "image.data"].drop_empty_trains()
    monkeypatch.setattr(iterate, "BLOCK_BYTES", 2 * key.nbytes // len(key.train_ids))
    read = []
    real = SelectedKey.read

    def noted(self):
        read.append(threading.current_thread().name)
        return real(self)

    monkeypatch.setattr(SelectedKey, "read", noted)
    trains = key.trains()
    next(trains)
    assert read == [threading.current_thread().name]  # the first is wanted alone
    next(trains), next(trains)
    trains.close()  # waits for the one that is being read
    assert len(read) == 3
    assert all(name.startswith("xfelcat-ahead") for name in read[1:])
    read.clear()
    monkeypatch.setattr(iterate, "AHEAD_BYTES", 1)  # beyond the budget: one at a time
    next(key.trains())
    assert read == [threading.current_thread().name]
