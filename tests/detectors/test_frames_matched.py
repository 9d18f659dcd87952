"""Frames of modules that lose trains, files and frames are matched by train and pulse ID.

The oracle is a naive reader: what was written, frame by frame.
"""

import warnings

import numpy as np
import pytest
import xfelcat
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detector_runs import (
    FIRST_TRAIN,
    SHAPE,
    DetectorRun,
    expected_array,
    expected_frames,
)
from support.examples import examples
from xfelcat import by_id
from xfelcat.components import AGIPD1M

pytestmark = pytest.mark.filterwarnings("ignore:taking raw data:UserWarning")


def opened(run, directory, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = xfelcat.RunDirectory(run.write(directory), save=False, catalog=None)
        return AGIPD1M(data, **options)


def same_everywhere(n_trains=4, pulses=(0, 2, 4), n_modules=3):
    trains = range(FIRST_TRAIN, FIRST_TRAIN + n_trains)
    return {m: {t: list(pulses) for t in trains} for m in range(n_modules)}


def check(run, det, modules, trains=None, fill=0):
    data = det["image.data"]
    frames = expected_frames(run, modules, trains)
    assert data.train_id_coordinates().tolist() == [t for t, _ in frames]
    assert data.pulse_id_coordinates().tolist() == [p for _, p in frames]
    assert data.cell_id_coordinates().tolist() == [p + 1 for _, p in frames]
    wanted = expected_array(run, modules, frames, fill)
    assert data.shape == wanted.shape
    np.testing.assert_array_equal(data.ndarray(fill_value=fill), wanted)
    has = [[p in run.stored(m).get(t, []) for t, p in frames] for m in modules]
    np.testing.assert_array_equal(data.data_availability(), has)
    np.testing.assert_array_equal(data.dask_array(fill_value=fill).compute(), wanted)


def test_all_alike(tmp_path):
    run = DetectorRun(same_everywhere())
    check(run, opened(run, tmp_path), [0, 1, 2])


def test_frame_counts_that_differ_between_modules_are_filled(tmp_path):
    modules = same_everywhere()
    modules[1][FIRST_TRAIN + 1] = [0, 4]
    modules[2][FIRST_TRAIN + 2] = []
    run = DetectorRun(modules)
    check(run, opened(run, tmp_path), [0, 1, 2], fill=-1)


def test_pulse_ids_that_differ_between_modules_are_told_apart(tmp_path):
    modules = same_everywhere()
    modules[1][FIRST_TRAIN] = [1, 2, 3]
    run = DetectorRun(modules, ids_2d=True, extra_dimension=True)
    check(run, opened(run, tmp_path), [0, 1, 2])


def test_a_file_missing_in_one_sequence_only(tmp_path):
    run = DetectorRun(
        same_everywhere(n_trains=6), sequences=[(0, 3), (3, 6)], missing_files=frozenset({(1, 1)})
    )
    check(run, opened(run, tmp_path), [0, 1, 2], fill=7)


def test_a_train_without_frames_in_any_module_is_no_train(tmp_path):
    modules = same_everywhere()
    for by_train in modules.values():
        by_train[FIRST_TRAIN + 1] = []
    run = DetectorRun(modules)
    det = opened(run, tmp_path)
    assert det.train_ids == [FIRST_TRAIN, FIRST_TRAIN + 2, FIRST_TRAIN + 3]
    check(run, det, [0, 1, 2])


def test_frames_are_dropped_or_refused_where_that_is_wanted(tmp_path):
    modules = same_everywhere()
    modules[1][FIRST_TRAIN + 1] = [0, 4]
    modules[2].pop(FIRST_TRAIN + 3)
    run = DetectorRun(modules)
    dropped = opened(run, tmp_path, on_mismatch="drop")["image.data"]
    frames = expected_frames(run, [0, 1, 2], on_mismatch="drop")
    assert dropped.pulse_id_coordinates().tolist() == [p for _, p in frames]
    wanted = expected_array(run, [0, 1, 2], frames, 0)
    np.testing.assert_array_equal(dropped.ndarray(), wanted)
    refused = opened(run, tmp_path / "2", on_mismatch="raise")["image.data"]
    with pytest.raises(ValueError, match=f"train {FIRST_TRAIN + 1}: pulse 2 is missing in .*/1CH0"):
        refused.ndarray()
    with pytest.raises(ValueError, match="one of fill, drop, raise"):
        opened(run, tmp_path / "3", on_mismatch="guess")


def test_a_pulse_id_that_occurs_several_times_in_a_train(tmp_path):
    modules = same_everywhere(pulses=(5, 5, 5))
    modules[1][FIRST_TRAIN] = [5, 5]
    run = DetectorRun(modules)
    data = opened(run, tmp_path)["image.data"]
    assert data.shape == (3, 12, *SHAPE)
    assert data.data_availability()[1, :3].tolist() == [True, True, False]
    with pytest.raises(ValueError, match="same train and pulse"):
        data.xarray(unstack_pulses=True)


def test_memory_is_that_of_the_array(tmp_path):
    import tracemalloc

    run = DetectorRun(same_everywhere(n_trains=60, pulses=range(64), n_modules=4), chunk_frames=64)
    data = opened(run, tmp_path)["image.data"]
    data[:1].ndarray()  # what is kept is made
    _ = data.frames
    out_size = int(np.prod(data.shape)) * 8
    tracemalloc.start()
    made = data.ndarray()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.nbytes == out_size
    assert peak < 1.1 * out_size + 300_000


@settings(max_examples=examples(25))
@given(st.data())
def test_modules_trains_and_pulses_of_any_kind(tmp_path_factory, data):
    n_trains = data.draw(st.integers(1, 6))
    trains = range(FIRST_TRAIN, FIRST_TRAIN + n_trains)
    numbers = data.draw(st.sets(st.integers(0, 15), min_size=1, max_size=4))
    usual = data.draw(st.sets(st.integers(0, 9), max_size=5))
    pulses = st.one_of(st.just(usual), st.sets(st.integers(0, 9), max_size=5))
    modules = {m: {t: sorted(data.draw(pulses)) for t in trains} for m in sorted(numbers)}
    if not any(p for by_train in modules.values() for p in by_train.values()):
        modules[min(numbers)][FIRST_TRAIN] = [0]
    cut = data.draw(st.integers(1, n_trains))
    run = DetectorRun(
        modules,
        sequences=[(0, cut), (cut, n_trains)] if cut < n_trains else [(0, n_trains)],
        dtype=data.draw(st.sampled_from(["<i8", "<f4"])),
        chunk_frames=data.draw(st.integers(1, 4)),
        extra_dimension=data.draw(st.booleans()),
        ids_2d=data.draw(st.booleans()),
    )
    chosen = sorted(data.draw(st.sets(st.sampled_from(sorted(numbers)), min_size=1)))
    least = data.draw(st.integers(1, len(chosen)))
    kept = [t for t in trains if sum(bool(run.stored(m)[t]) for m in chosen) >= least]
    place = tmp_path_factory.mktemp("detector")
    if not kept:
        with pytest.raises(ValueError, match="no train has data"):
            opened(run, place, modules=chosen, min_modules=least)
        return
    det = opened(run, place, modules=chosen, min_modules=least)
    assert det.train_ids == kept
    check(run, det, chosen, kept)

    start, stop = sorted(data.draw(st.tuples(st.integers(0, n_trains), st.integers(0, n_trains))))
    some = det["image.data"][start:stop]
    wanted = data.draw(st.sets(st.integers(0, 9)))
    frames = [(t, p) for t, p in expected_frames(run, chosen, kept[start:stop]) if p in wanted]
    selected = some.select_pulses(by_id[sorted(wanted)])
    assert selected.pulse_id_coordinates().tolist() == [p for _, p in frames]
    array = expected_array(run, chosen, frames, 0)
    region = np.s_[1:3, ::2]
    got = selected.ndarray(roi=region, fill_value=0, astype=np.float64)
    np.testing.assert_array_equal(got, array[:, :, 1:3, ::2])

    labelled = selected.xarray(unstack_pulses=True, fill_value=-2, astype=np.float64)
    for (train, pulse), frame in zip(frames, np.moveaxis(array, 1, 0), strict=True):
        found = labelled.sel(train=train, pulse=pulse).to_numpy()
        has = [pulse in run.stored(m)[train] for m in chosen]
        np.testing.assert_array_equal(found[has], frame[has])
        assert (found[~np.array(has)] == -2).all()
    n_missing = labelled.sizes["train"] * labelled.sizes["pulse"] - len(frames)
    assert int(np.isnan(labelled).sum()) == n_missing * len(chosen) * 12
