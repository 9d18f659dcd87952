"""``xfelcat audit --deep`` has data read, keeps what is found, and leaves alone what is on tape."""

import json

import h5py
import pytest
from support.faultless_run import AGIPD0, AGIPD1, MODULE, write_checked_run
from xfelcat import Catalog
from xfelcat.loader.jobs.deepcheck import DeepOptions, RunDataCheck

PLACE = f"INSTRUMENT/{MODULE}/header/trainId"


@pytest.fixture
def catalog(tmp_path, no_settings):
    made = Catalog(tmp_path / "catalog")
    directory = write_checked_run(tmp_path / "facility")
    made.ingest(tmp_path / "facility", jobs=0)
    return made, directory


def change(path, value):
    with h5py.File(path, "r+") as f:
        old = int(f[PLACE][3])
        f[PLACE][3] = value
    return old


def findings(catalog):
    columns = "check_id, origin, file, place, resolved_at IS NULL AS open"
    return catalog.sql(f"SELECT {columns} FROM findings").values.tolist()


def test_what_is_found_is_kept_until_it_is_found_gone(xfelcat, catalog):
    made, directory = catalog
    words = ("audit", "--catalog", made.location, "--jobs", "0", "--sample", "0")
    old = change(directory / AGIPD0, 5)
    assert xfelcat(*words).exit_code == 0
    assert findings(made) == []
    result = xfelcat(*words, "--deep", "--format", "json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert (row["check_id"], row["file"], row["place"]) == ("V03", AGIPD0, PLACE)
    assert findings(made) == [["V03", "deep", AGIPD0, PLACE, True]]
    change(directory / AGIPD0, old)
    xfelcat(*words)  # looks at no data: what it cannot see may still be there
    assert findings(made) == [["V03", "deep", AGIPD0, PLACE, True]]
    assert xfelcat(*words, "--deep", "--check", "R").exit_code == 0
    assert findings(made) == [["V03", "deep", AGIPD0, PLACE, True]]
    assert xfelcat(*words, "--deep").exit_code == 0
    assert findings(made) == [["V03", "deep", AGIPD0, PLACE, False]]


def test_files_that_cannot_be_looked_at_are_told(xfelcat, catalog):
    made, directory = catalog
    for path in directory.glob("*.h5"):
        where = "NEARLINE" if path.name == AGIPD1 else "ONLINE"
        (directory / f".(get)({path.name})(locality)").write_text(f"{where}\n")
    change(directory / AGIPD1, 5)
    result = xfelcat("audit", "--deep", "--jobs", "0", "--sample", "0", "--catalog", made.location)
    assert result.exit_code == 0
    assert f"{directory / AGIPD1}: data not checked: file is NEARLINE" in result.stderr


def test_what_was_found_stands_while_it_cannot_be_looked_at(xfelcat, catalog):
    made, directory = catalog
    words = ("audit", "--deep", "--jobs", "0", "--sample", "0", "--catalog", made.location)
    for name in (AGIPD0, AGIPD1):
        change(directory / name, 5)
    assert xfelcat(*words).exit_code == 1
    for path in directory.glob("*.h5"):
        where = "NEARLINE" if path.name == AGIPD1 else "ONLINE"
        (directory / f".(get)({path.name})(locality)").write_text(f"{where}\n")
    change(directory / AGIPD0, 1_000_000_003)
    assert xfelcat(*words).exit_code == 1
    found = {(file, is_open) for _, _, file, _, is_open in findings(made)}
    assert found == {(AGIPD0, False), (AGIPD1, True)}


def test_in_python(catalog):
    made, directory = catalog
    change(directory / AGIPD1, 5)
    steps = []
    options = DeepOptions(sample=0, jobs=0)
    data = RunDataCheck(made.location, options, lambda *args: steps.append(args))
    report = made.audit(deep=data, save=False)
    assert report.findings.to_frame()["file"].tolist() == [AGIPD1]
    assert (steps, data.left_out) == ([(0, 1), (1, 1)], [])
