"""A detector of a catalogued run is made and planned without opening a file."""

import os
import pickle

import numpy as np
import pytest
import xfelcat
from support.count_opens import forbid_opening, record_opening
from support.detector_runs import FIRST_TRAIN, SHAPE, DetectorRun, expected_array, expected_frames
from xfelcat import by_id
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.store import Store
from xfelcat.components import AGIPD1M, identify_multimod_detectors

N_TRAINS, N_PULSES = 8, 5


@pytest.fixture
def run():
    trains = range(FIRST_TRAIN, FIRST_TRAIN + N_TRAINS)
    modules = {m: {t: list(range(0, 2 * N_PULSES, 2)) for t in trains} for m in (0, 1, 5)}
    modules[1][FIRST_TRAIN + 6] = [0, 4]
    return DetectorRun(modules, sequences=[(0, 4), (4, 8)])


@pytest.fixture
def catalogued(run, tmp_path):
    path = run.write(tmp_path / "run")
    location = str(tmp_path / "catalog")
    ingest(Store(location), [str(path)], IngestOptions(jobs=0))
    return path, location


def hollow(directory):
    """Files of the same size and time, with nothing in them."""
    for path in directory.glob("*.h5"):
        stat = path.stat()
        path.unlink()
        with open(path, "wb") as f:
            f.truncate(stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def planned(data, run):
    """Everything that is known before pixels are read."""
    det = AGIPD1M(data, min_modules=2)
    image = det["image.data"]
    some = image.select_pulses(by_id[2:7])[1:]
    dask = det.get_dask_array("image.data")
    return {
        "found": identify_multimod_detectors(data),
        "what": repr(det),
        "trains": det.train_ids,
        "shape": image.shape,
        "pulses": image.pulse_id_coordinates().tolist(),
        "cells": image.cell_id_coordinates().tolist(),
        "available": det.data_availability().tolist(),
        "some": (some.shape, some.train_id_coordinates().tolist()),
        "parts": [part.train_ids for part in det.split_trains(frames_per_part=12)],
        "dask": (dask.shape, dask.data.chunks, dask.coords["pulseId"].to_numpy().tolist()),
        "mask": det.masked_data().shape,
        "frames": [int(n) for n in det.frame_counts],
    }


def test_nothing_is_opened_before_pixels_are_read(run, catalogued, monkeypatch):
    path, location = catalogued
    scanned = planned(xfelcat.RunDirectory(path, save=False, catalog=None), run)
    hollow(path)
    with monkeypatch.context() as context:
        forbid_opening(context)
        known = planned(xfelcat.RunDirectory(path, save=False, catalog=location), run)
    assert known == scanned
    frames = expected_frames(run, [0, 1, 5])
    assert known["pulses"] == [p for _, p in frames]
    assert known["shape"] == (3, N_TRAINS * N_PULSES, *SHAPE)
    assert known["available"][1].count(False) == 3


def test_a_read_opens_the_files_it_needs(run, catalogued, monkeypatch):
    path, location = catalogued
    det = AGIPD1M(xfelcat.RunDirectory(path, save=False, catalog=location), modules=[1, 5])
    opened = record_opening(monkeypatch)
    data = det["image.data"][5:]
    frames = expected_frames(run, [1, 5], run.trains[5:])
    np.testing.assert_array_equal(data.ndarray(), expected_array(run, [1, 5], frames, 0))
    assert sorted(opened) == ["CORR-R0001-AGIPD01-S00001.h5", "CORR-R0001-AGIPD05-S00001.h5"]


def test_ids_that_the_catalog_lacks_come_from_the_files(run, catalogued):
    path, location = catalogued
    expected = planned(xfelcat.RunDirectory(path, save=False, catalog=location), run)
    store = Store(location)
    versions = store.versions(next(iter(store.shards())))
    with versions.lock(), versions.draft() as draft:
        with connect_write(draft) as connection:  # an upgraded catalog has no IDs
            connection.execute("DELETE FROM frame_ids")
        versions.publish(draft)
    assert planned(xfelcat.RunDirectory(path, save=False, catalog=location), run) == expected


def test_a_detector_is_pickled_as_a_reference(run, catalogued):
    path, location = catalogued
    det = AGIPD1M(xfelcat.RunDirectory(path, save=False, catalog=location))
    again = pickle.loads(pickle.dumps(det))
    assert again.train_ids == det.train_ids
    np.testing.assert_array_equal(again["image.data"].ndarray(), det["image.data"].ndarray())
