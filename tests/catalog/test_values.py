"""A row per run, a column per source and key: equal to RUN of the files, and to the profiles."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import numpy as np
import pytest
from support.questions import identities, walked
from support.run_records import later, make_run, with_file, write
from xfelcat import Catalog
from xfelcat.catalog.model.errors import QueryError
from xfelcat.catalog.model.records import KeyProfile
from xfelcat.catalog.store.store import Store

FIRST = ["proposal", "run", "data_class", "started_at"]
LAST = ["instrument", "cycle", "run_id", "path"]
ARRAY = np.arange(3.0)
NAME = "DA00/MOTOR/M000"


def as_dict(frame):
    """(proposal, data class, run) -> column -> value, of the values that are there."""
    columns = [c for c in frame.columns if c not in (*FIRST, *LAST)]
    rows = frame[columns].astype(object).where(frame[columns].notna(), None)
    return {
        who: {name: value for name, value in row.items() if value is not None}
        for who, row in zip(identities(frame), rows.to_dict("records"), strict=True)
    }


@pytest.mark.parametrize(
    ("source", "key"), [("*XGM*", "*"), ("*MOTOR*", "actualPosition"), ("*", "classId")]
)
def test_the_values_are_those_of_the_files(demo, source, key):
    found = Catalog(demo.location).values(source, key)
    assert found.columns[:4].tolist() == FIRST
    assert found.columns[-4:].tolist() == LAST
    names = found.columns[4:-4].tolist()
    assert names == sorted(names)
    expected = {}
    for who, run in walked(demo.root).items():
        units = {(k.source, k.key): k.unit for k in run.keys if k.unit}
        for (device, name), value in run.device_values.items():
            plain = name.removesuffix(".value")
            if value is None or name.endswith(".timestamp"):
                continue
            if fnmatchcase(device, source) and fnmatchcase(plain, key):
                unit = f" [{units[device, name]}]" if (device, name) in units else ""
                expected.setdefault(who, {})[device, plain, unit] = value
    # A column has the units of all runs: those of some proposals record none.
    everywhere = {}
    for row in expected.values():
        for device, plain, unit in row:
            everywhere.setdefault((device, plain), set()).add(unit)
    named = {
        who: {f"{d} {k}{max(everywhere[d, k])}": value for (d, k, _), value in row.items()}
        for who, row in expected.items()
    }
    assert len(expected) > 5
    assert as_dict(found) == named


def test_runs_are_chosen_by_filters_and_come_in_order(demo):
    catalog = Catalog(demo.location)
    some = {"proposal": 900032, "data_class": "raw", "where": "*XGM* gainMode >= 0"}
    found = catalog.values("*MOTOR/SLIT_L*", "actualPosition", **some)
    assert found["run"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["started_at"].is_monotonic_increasing
    left, renamed = found.columns[5], found.columns[4]
    assert (renamed, left) == tuple(
        f"SPB_IRU_MOTORS/MOTOR/{n} actualPosition [mm]" for n in ("SLIT_L", "SLIT_LEFT")
    )
    assert found[renamed].notna().tolist() == [n == 5 for n in range(1, 7)]
    assert (found[left].notna() ^ found[renamed].notna()).all()
    assert found.attrs["runs_searched"] == 6


def test_without_any_value_there_are_columns_of_runs_only(demo):
    found = Catalog(demo.location).values("*NOTHING*", "*")
    assert (len(found), found.columns.tolist()) == (0, [*FIRST, *LAST])


def test_a_key_that_changes_its_type_and_arrays(tmp_path):
    store = Store(tmp_path / "catalog")
    records = []
    for number, values in enumerate([{"a.value": 1.5}, {"a.value": "on"}, {"a.value": ARRAY}, {}]):
        run = make_run(number + 1)
        for at in range(len(run.files)):
            run = with_file(run, at, run_values={} if at else {"S": values})
        records.append(run)
    write(store, *records)
    store.publish_merged()
    found = Catalog(store.location).values("*", "a")
    assert found["run"].tolist() == [1, 2]
    assert as_dict(found) == {
        (2012, "raw", 1): {"S a": 1.5},
        (2012, "raw", 2): {"S a (text)": "on"},
    }


def test_profiles_that_hold(tmp_path):
    store = Store(tmp_path / "catalog")
    write(store, *(make_run(number) for number in (1, 2, 3)))
    at = datetime(2024, 5, 1, tzinfo=UTC)
    with store.write("p002012") as writer:
        for number in (1, 2):
            run_id = make_run(number).identity.run_id
            numbers = (10 * number, 0, number + 0.25, number + 0.5, number + 0.375)
            profile = KeyProfile(NAME, "prop000.value", at, *numbers)
            writer.replace_profiles(run_id, [profile])
    catalog = Catalog(store.location)
    for function, expected in {
        "min": [1.25, 2.25], "max": [1.5, 2.5], "mean": [1.375, 2.375], "entries": [10, 20],
    }.items():  # fmt: skip
        found = catalog.values("*MOTOR*", "prop*", profile=function)
        assert found["run"].tolist() == [1, 2]
        assert found[f"{NAME} prop000 [m]"].tolist() == expected
    write(store, with_file(make_run(2, changing=0.5), 0, size=7, scanned_at=later(1)))
    store.publish_merged()
    assert catalog.values("*", "*", profile="min")["run"].tolist() == [1]  # run 2 has changed
    with pytest.raises(QueryError, match="no profile has 'median': there are min, max"):
        catalog.values("*", "*", profile="median")
