"""Data that no INDEX assigns to trains are no data, for the report as for coverage."""

import h5py
from xfelcat import Catalog
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store
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


def test_report_and_coverage_go_on(tmp_path):
    camera = instrument(CAMERA, GroupSpec("data", (KeySpec("width", "u4"),)))
    sources = (control(MOTOR, KeySpec("position", "f8")), camera)
    trains = range(10_000, 10_015)
    run = tmp_path / "raw" / "r0001"
    (path,) = write_run(run, RunSpec(900010, 1, split(trains, {"DA01": sources})))
    with h5py.File(path, "r+") as f:
        del f[f"INDEX/{CAMERA}"]
    location = str(tmp_path / "catalog")
    ingest(Store(location), [str(run)], IngestOptions(jobs=0))
    catalog = Catalog(location)
    found = catalog.coverage([MOTOR, CAMERA])
    assert found["together"].tolist() in ([], [0])
    assert catalog.coverage([MOTOR])[MOTOR].tolist() == [15]
    assert catalog.report(tmp_path / "report.html") > 10_000
    assert CAMERA in (tmp_path / "report.html").read_text()
