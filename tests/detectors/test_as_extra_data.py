"""Detector classes give what EXtra-data's give, method by method, on its own mock runs.

Where theirs fail on modules with different frames, ours are compared with a naive reader
(``test_frames_matched``).
"""

import warnings

import extra_data
import extra_data.components
import numpy as np
import pytest
import xarray as xr
import xfelcat
import xfelcat.components
from support.examples import some

pytestmark = [
    pytest.mark.filterwarnings("ignore:taking raw data:UserWarning"),
    pytest.mark.filterwarnings("ignore:Falling back to raw data:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* is a legacy name for:DeprecationWarning"),
]

AGIPD, LPD, DSSC, JF = "AGIPD1M", "LPD1M", "DSSC1M", "JUNGFRAU"
RUNS = {
    "spb_raw-1.2": (AGIPD, {}),
    "spb_proc-1.3": (AGIPD, {}),
    "reduced_spb_raw-1.2": (AGIPD, {}),
    "reduced_spb_proc-1.3": (AGIPD, {"modules": [3, 8, 9]}),
    "modern_spb_proc-1.3": (AGIPD, {}),
    "agipd1m-1.0": (AGIPD, {}),
    "agipd500k-1.0": ("AGIPD500K", {}),
    "fxe_raw-1.3": (LPD, {"modules": [0, 2, 15]}),
    "fxe_raw-0.5": (LPD, {}),
    "lpd_mini_gap-1.0": (LPD, {}),
    "lpd_parallelgain-1.0": (LPD, {"parallel_gain": True}),
    "scs-1.0": (DSSC, {"modules": {1, 4}}),
    "jungfrau-1.0": (JF, {}),
    "fxe_jungfrau-1.0": (JF, {"detector_name": "FXE_XAD_JF500K", "first_modno": 3}),
}
SLOW = {
    *("fxe_raw-0.5", "spb_raw-1.2", "spb_proc-1.3", "agipd1m-1.0", "reduced_spb_raw-1.2"),
    *("scs-1.0", "jungfrau-1.0", "agipd500k-1.0", "modern_spb_proc-1.3"),
    "lpd_mini_gap-1.0",
}


@pytest.fixture(
    scope="module",
    params=some(RUNS, RUNS.keys() - SLOW),
)
def pair(request, build_mock):
    """A detector of ours and of theirs, of the first trains of a run."""
    path = build_mock(request.param)
    cls, options = RUNS[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = xfelcat.RunDirectory(path, save=False, catalog=None)
        ours = getattr(xfelcat.components, cls)(run, **options)
        run = extra_data.RunDirectory(path, _use_voview=False)
        theirs = getattr(extra_data.components, cls)(run, **options)
    # As small as the refilled data, for theirs knows what are pixels by their number.
    theirs.module_shape = ours[ours.main_key].keys[0].entry_shape[-2:]
    return ours, theirs


@pytest.fixture
def few(pair):
    """The same for the first five trains."""
    ours, theirs = (det.select_trains(np.s_[:5]) for det in pair)
    return ours, theirs


def same(ours, theirs):
    """Two answers are the same; train IDs may be plain integers."""
    if isinstance(theirs, xr.DataArray):
        assert ours.dims == theirs.dims
        assert ours.dtype == theirs.dtype
        ours = ours.compute() if hasattr(ours.data, "compute") else ours
        theirs = theirs.compute() if hasattr(theirs.data, "compute") else theirs
        np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy())
        assert set(ours.coords) == set(theirs.coords)
        for name in theirs.coords:
            assert ours.coords[name].dims == theirs.coords[name].dims
            same(ours.coords[name].to_numpy(), theirs.coords[name].to_numpy())
    elif hasattr(theirs, "index") and hasattr(theirs, "to_numpy"):
        assert ours.index.tolist() == theirs.index.tolist()
        same(ours.to_numpy(), theirs.to_numpy())
    else:
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist() or np.array_equal(ours, theirs, equal_nan=True)


def main_keys(det):
    return [k for k in (det.main_key, "image.cellId", "header.pulseCount", "data.gain") if k in det]


def test_what_it_is(pair):
    ours, theirs = pair
    assert ours.detector_name == theirs.detector_name
    assert ours.n_modules == theirs.n_modules
    assert ours.source_to_modno == theirs.source_to_modno
    assert ours.modno_to_source == theirs.modno_to_source
    assert ours.train_ids == list(map(int, theirs.train_ids))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs say they may go
        chunks = [[c.tolist() for c in det.train_id_chunks] for det in pair]
        places = [(det.train_id_to_ix.index.tolist(), det.train_id_to_ix.tolist()) for det in pair]
    assert chunks[0] == chunks[1]
    assert places[0] == places[1]
    assert ours.data.all_sources == theirs.data.all_sources
    assert repr(ours) == repr(theirs)
    same(ours.frame_counts, theirs.frame_counts)
    same(ours.train_ids_perframe, theirs.train_ids_perframe)
    for gaps in (False, True):
        same(ours.data_availability(gaps), theirs.data_availability(gaps))
    try:
        expected = theirs.frames_per_train
    except ValueError:
        with pytest.raises(ValueError, match="different numbers"):
            _ = ours.frames_per_train
    else:
        assert ours.frames_per_train == expected


def test_keys(few):
    ours, theirs = few
    for key in main_keys(ours):
        mine, their = ours[key], theirs[key]
        assert mine.shape == their.shape
        assert mine.ndim == their.ndim
        assert mine.dtype == their.dtype
        assert mine.dimensions == their.dimensions
        assert mine.modules == their.modules
        assert mine.buffer_shape(module_gaps=True) == their.buffer_shape(module_gaps=True)
        same(mine.train_id_coordinates(), their.train_id_coordinates())
        if hasattr(their, "pulse_id_coordinates"):
            same(mine.pulse_id_coordinates(), their.pulse_id_coordinates())
            same(mine.cell_id_coordinates(), their.cell_id_coordinates())
        same(mine.data_availability(), their.data_availability())
        same(mine.ndarray(), their.ndarray())
        same(mine.ndarray(module_gaps=True), their.ndarray(module_gaps=True))
        same(mine.ndarray(astype=np.float64), their.ndarray(astype=np.float64))
        same(mine.ndarray(fill_value=9), their.ndarray(fill_value=9))
        same(mine.xarray(), their.xarray())
        same(mine[1:3].xarray(), their[1:3].xarray())
        same(mine.dask_array(), their.dask_array())
        same(mine.dask_array(labelled=True), their.dask_array(labelled=True))


def test_regions(few):
    ours, theirs = few
    key = ours.main_key
    for region in (np.s_[:3,], np.s_[1:3, 2:5], np.s_[..., :2], ([0, 1],)):
        same(ours[key].ndarray(roi=region), theirs[key].ndarray(roi=region))
        shape = theirs[key].buffer_shape(roi=region)
        assert ours[key].buffer_shape(roi=region) == shape
    same(ours.get_array(key, roi=np.s_[:3,]), theirs.get_array(key, roi=np.s_[:3,]))


def test_labelled_arrays(few):
    ours, theirs = few
    for key in main_keys(ours):
        same(ours.get_array(key), theirs.get_array(key))
        same(ours.get_array(key, astype=np.float32), theirs.get_array(key, astype=np.float32))
        same(ours.get_dask_array(key), theirs.get_dask_array(key))


def test_pulses(few):
    ours, theirs = few
    if isinstance(ours, xfelcat.components.JUNGFRAU):
        pytest.skip("JUNGFRAU has no pulses")
    key = ours.main_key
    for mine, their in [
        (np.s_[:2], np.s_[:2]),
        (xfelcat.by_index[1::3], extra_data.by_index[1::3]),
        (xfelcat.by_id[2:6], extra_data.by_id[2:6]),
        (xfelcat.by_id[[5, 0, 7]], extra_data.by_id[[5, 0, 7]]),
        ([0, 3], [0, 3]),
        (np.s_[:0], np.s_[:0]),
    ]:
        a, b = ours[key].select_pulses(mine), theirs[key].select_pulses(their)
        same(a.pulse_id_coordinates(), b.pulse_id_coordinates())
        same(a.train_id_coordinates(), b.train_id_coordinates())
        same(a.ndarray(), b.ndarray())
        for unstack in (True, False):
            if not a.shape[1] and not unstack:
                continue  # theirs makes no index of nothing
            options = {"unstack_pulses": unstack, "subtrain_index": "cellId"}
            same(ours.get_array(key, mine, **options), theirs.get_array(key, their, **options))


def test_train_by_train(few):
    ours, theirs = (det.select_trains(np.s_[1:4]) for det in few)
    for require_all in (True, False):
        mine, their = (list(det.trains(require_all=require_all)) for det in (ours, theirs))
        assert [tid for tid, _ in mine] == [int(tid) for tid, _ in their]
        for (_, a), (_, b) in zip(mine, their, strict=True):
            assert a.keys() == b.keys()
            for key in a:
                same(a[key], b[key])


def test_parts(pair):
    ours, theirs = pair
    for options in (
        {"parts": 3},
        {"trains_per_part": 7},
        {"frames_per_part": 50},
        {"parts": 4, "frames_per_part": 100},
    ):
        mine, their = (list(det.split_trains(**options)) for det in (ours, theirs))
        assert [p.train_ids for p in mine] == [list(map(int, p.train_ids)) for p in their]
    with pytest.raises(ValueError, match="give parts"):
        list(ours.split_trains())


def test_masks(few):
    ours, theirs = few
    if "image.mask" not in ours and "data.mask" not in ours:
        with pytest.raises(RuntimeError, match="mask"):
            ours.masked_data()
        return
    for options in ({}, {"mask_bits": 3}, {"mask_bits": [1, 4], "masked_value": -1}):
        mine, their = ours.masked_data(**options), theirs.masked_data(**options)
        same(mine.ndarray(), their.ndarray())
        same(mine.xarray(roi=np.s_[:2,]), their.xarray(roi=np.s_[:2,]))
        same(mine.dask_array(), their.dask_array())
    some, other = (det.masked_data()[:2] for det in few)
    if hasattr(other, "select_pulses"):
        some, other = some.select_pulses(np.s_[:3]), other.select_pulses(np.s_[:3])
        same(some.ndarray(), other.ndarray())
        gaps = some.xarray(unstack_pulses=True)
        same(gaps, other.xarray(unstack_pulses=True))


def test_what_is_found(pair, build_mock):
    ours, theirs = pair
    name = ours.detector_name
    cls = type(ours)
    assert xfelcat.components.identify_multimod_detectors(ours.data) == {(name, cls)}
    assert xfelcat.components.identify_multimod_detectors(ours.data, single=True) == (name, cls)
    with pytest.raises(ValueError, match="none"):
        xfelcat.components.identify_multimod_detectors(ours.data, "NOT_THERE", single=True)
    for n in (1, 2, len(ours.modules)):
        if n <= len(ours.modules):
            try:
                expected = type(theirs)(theirs.data, name, min_modules=n).train_ids
            except ValueError:
                continue
            again = cls(ours.data, name, min_modules=n)
            assert again.train_ids == list(map(int, expected))
    with pytest.raises(KeyError):
        cls(ours.data, "NOT_THERE")
    with pytest.raises(KeyError, match="modules 99"):
        cls(ours.data, name, modules=[99])
    with pytest.raises(ValueError, match="positive"):
        cls(ours.data, name, min_modules=0)
    with pytest.raises(ValueError, match="99 modules"):
        cls(ours.data, name, min_modules=99)
