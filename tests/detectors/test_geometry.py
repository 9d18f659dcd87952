"""EXtra-geom assembles our arrays: labelled ones, plain ones, and those of single trains."""

import matplotlib as mpl
import numpy as np
import pytest
import xfelcat
from extra_geom import AGIPD_1MGeometry
from support.detector_runs import FIRST_TRAIN, DetectorRun
from xfelcat.components import AGIPD1M

mpl.use("agg")
MODULES = (0, 3, 7)


@pytest.fixture(scope="module")
def agipd(tmp_path_factory):
    trains = (FIRST_TRAIN, FIRST_TRAIN + 1)
    run = DetectorRun({m: {t: [0, 1] for t in trains} for m in MODULES}, full_size=True)
    path = run.write(tmp_path_factory.mktemp("geometry"))
    return AGIPD1M(xfelcat.RunDirectory(path, save=False, catalog=None))


def test_arrays_are_assembled(agipd):
    geometry = AGIPD_1MGeometry.example()
    labelled = agipd.get_array("image.data", astype=np.float32)
    image, _ = geometry.position_modules(labelled)
    assert image.shape[:2] == (2, 2)
    plain = agipd["image.data"].ndarray(module_gaps=True, astype=np.float32, fill_value=np.nan)
    other, _ = geometry.position_modules(np.moveaxis(plain, 0, 1))
    np.testing.assert_array_equal(other, image.reshape(other.shape))
    n_pixels = len(MODULES) * 512 * 128
    assert np.count_nonzero(~np.isnan(other[0])) == n_pixels
    assert set(np.unique(other[0][~np.isnan(other[0])])) == set(np.unique(plain[list(MODULES), 0]))


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_trains_are_plotted(agipd):
    geometry = AGIPD_1MGeometry.example()
    _, data = next(agipd.trains())
    axes = geometry.plot_data(data["image.data"].isel(train=0, pulse=0))
    assert len(axes.images) == 1
