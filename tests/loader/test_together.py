"""Trains that belong together: aligned selections, and sources that record a train late."""

import numpy as np
import pytest
import xfelcat
from support.detector_runs import FIRST_TRAIN, DetectorRun
from xfelcat import by_id
from xfelcat.components import AGIPD1M
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)

MOTOR, CAMERA = "SPB_EXP_M/MOTOR/X", "SPB_EXP_C/CAM/SIDE:daqOutput"
TRAINS = list(range(FIRST_TRAIN, FIRST_TRAIN + 12))


@pytest.fixture
def run(tmp_path):
    """A motor with every train, a camera with two of three."""
    camera = GroupSpec("data", (KeySpec("trainId", "u8", fill="train_id"),), (1, 0, 1))
    sources = (control(MOTOR, KeySpec("position", "f8")), instrument(CAMERA, camera))
    spec = RunSpec(900010, 1, split(TRAINS, {"DA01": sources}, sequences=3))
    write_run(tmp_path / "run", spec)
    return xfelcat.RunDirectory(tmp_path / "run", save=False, catalog=None)


def late(run, n):
    return run.with_train_offset(CAMERA, n)


def test_data_of_a_late_source_go_to_their_trains(run):
    plain = run[CAMERA, "data.trainId"]
    moved = late(run, -1)[CAMERA, "data.trainId"]
    kept = plain.train_id_coordinates()[plain.train_id_coordinates() > TRAINS[0]]
    assert moved.train_id_coordinates().tolist() == (kept - 1).tolist()
    assert moved.ndarray().tolist() == kept.tolist()
    own = run[CAMERA].with_train_offset(-1)["data.trainId"]
    assert own.train_ids == [t - 1 for t in TRAINS]
    assert own.ndarray().tolist() == plain.ndarray().tolist()
    assert own.series().index.tolist() == (plain.train_id_coordinates() - 1).tolist()
    assert run[CAMERA].with_train_offset(0).train_ids == TRAINS
    for number in (np.int64(-1), np.int8(-1)):  # 2^64, with which IDs wrap, is beyond both
        again = late(run, number)[CAMERA, "data.trainId"]
        assert again.train_id_coordinates().tolist() == moved.train_id_coordinates().tolist()
        assert run[CAMERA].with_train_offset(number).train_ids == own.train_ids
    with pytest.raises(KeyError):
        run.with_train_offset("NOT/THERE", 1)


def test_selections_trains_and_tables_go_by_the_new_ids(run):
    moved = late(run, 2)
    train = TRAINS[5]
    found = run[CAMERA, "data.trainId"].train_id_coordinates() + 2
    for tid, data in moved.select([(MOTOR, "*"), (CAMERA, "*")], require_all=True).trains():
        assert data[CAMERA]["data.trainId"] == tid - 2
        assert tid in found
    assert moved.select_trains(by_id[[train]])[CAMERA].data_counts()[train] == (train in found)
    frame = moved.get_dataframe([(MOTOR, "*.value"), (CAMERA, "data.trainId")])
    column = frame[f"{CAMERA}/data.trainId"].dropna()
    assert (column.index.to_numpy() - 2).tolist() == column.astype(int).tolist()
    assert moved[MOTOR, "position"].ndarray().tolist() == run[MOTOR, "position"].ndarray().tolist()
    times = run.train_timestamps()
    np.testing.assert_array_equal(moved.train_timestamps(), times)


def test_things_are_aligned(run, tmp_path):
    motor, camera = run.align(MOTOR, (CAMERA, "data.trainId"))
    assert motor.train_ids == camera.train_ids == camera.ndarray().tolist()
    assert len(motor.train_ids) == 8
    pulses = {m: {t: [0] for t in TRAINS[3:]} for m in (0, 1)}
    path = DetectorRun(pulses).write(tmp_path / "det")
    agipd = AGIPD1M(xfelcat.RunDirectory(path, save=False, catalog=None))
    position, det, selected = run.align(run[MOTOR, "position"], agipd, camera)
    assert position.train_ids == det.train_ids == selected.train_ids
    assert det.train_ids == [t for t in camera.train_ids if t >= TRAINS[3]]
    assert len(det["image.data"].ndarray()[0]) == len(position.ndarray())
    with pytest.raises(ValueError, match="no train"):
        run[:2].align(agipd)
