"""Do synthetic runs hold what their descriptions say, as EXtra-data reads them?"""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import extra_data
import h5py
import numpy as np
import pytest
from extra_data.file_access import FileAccess
from extra_data.validation import FileValidator
from extra_geom import AGIPD_1MGeometry
from numpy.typing import NDArray
from support import oracle
from support.examples import some
from xfelcat.catalog.model.identity import identify_run, parse_file_name
from xfelcat.catalog.model.names import FORMAT_VERSIONS
from xfelcat.catalog.model.runlength import UInt64s
from xfelcat.loader.examples import facility as faults
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.examples.facility import FacilitySummary, WrittenRun, write_facility
from xfelcat.loader.examples.specs import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    expected_values,
    instrument,
    split,
    train_at,
    train_time_ns,
)
from xfelcat.loader.examples.writing import write_run

START = train_at(datetime(2024, 3, 1, 12, tzinfo=UTC))


def small_run(version: str = "1.3", n: int = 12, **options: object) -> RunSpec:
    aggregators = {
        "DA01": (
            devices.xgm(),
            devices.xgm_pulses(),
            *devices.camera(),
            devices.run_only_device("SPB_RR/TSYS/TIMESERVER"),
        ),
        "DA02": (devices.motor("SPB/MOTOR/X"), devices.adc("SPB/ADC/1")),
        **devices.modules("SPB_DET_AGIPD1M-1", n=2),
    }
    files = split(range(START, START + n), aggregators, 2, **options)
    return RunSpec(900032, 7, files, version=version)


def read_with_extra_data(paths: list[Path]) -> extra_data.DataCollection:
    """Open by paths: EXtra-data writes a data map beside a run that it opens as a directory."""
    return extra_data.DataCollection.from_paths([str(p) for p in paths], is_single_run=True)


def assert_as_described(run: extra_data.DataCollection, spec: RunSpec, n_keys: int = 10**6) -> int:
    """Everything EXtra-data reads is what the description says; the number of arrays compared."""
    assert run.train_ids == oracle.expected_train_ids(spec)
    assert run.control_sources == oracle.expected_sources(spec, "CONTROL")
    legacy = {s.legacy_name for f in spec.files for s in f.sources} - {""}
    assert run.instrument_sources - legacy == oracle.expected_sources(spec, "INSTRUMENT")
    compared = 0
    for source in sorted(run.control_sources | run.instrument_sources - legacy):
        assert run[source].keys() == oracle.expected_keys(spec, source)
        for key in sorted(run[source].keys())[:n_keys]:
            expected = oracle.expected_array(spec, source, key)
            np.testing.assert_array_equal(run[source, key].ndarray(), expected, f"{source} {key}")
            counts = oracle.expected_counts(spec, source, key)
            found = run[source, key].data_counts()
            assert found[found > 0].to_dict() == {t: n for t, n in counts.items() if n}
            compared += 1
    return compared


@pytest.mark.parametrize("version", some(FORMAT_VERSIONS, FORMAT_VERSIONS[::3]))
@pytest.mark.filterwarnings("ignore:Train validation is not fully:UserWarning")
def test_extra_data_reads_what_was_described(tmp_path: Path, version: str) -> None:
    spec = small_run(version)
    run = read_with_extra_data(write_run(tmp_path, spec))
    assert assert_as_described(run, spec) > 40
    if version >= "1.0":
        expected = train_time_ns(spec.train_ids).astype("datetime64[ns]")
        np.testing.assert_array_equal(run.train_timestamps(), expected)
        values = run.get_run_values(devices.xgm().name)
        for key, value in oracle.expected_run_values(spec, devices.xgm().name).items():
            assert values[key] == value
        assert run.run_metadata()["proposalNumber"] == 900032
    if version >= "1.3":
        assert run[devices.xgm().name, "pulseEnergy.photonFlux"].units == "μJ"


def test_values_differ_by_file_train_entry_and_element(tmp_path: Path) -> None:
    key = KeySpec("image.data", "u8", (3, 4))
    base = expected_values("f", "s", key, [5, 5, 6], [0, 1, 0])
    others = [
        expected_values("g", "s", key, [5, 5, 6], [0, 1, 0]),
        expected_values("f", "t", key, [5, 5, 6], [0, 1, 0]),
        expected_values("f", "s", replace(key, name="k"), [5, 5, 6], [0, 1, 0]),
    ]
    everything = np.concatenate([base, *others]).ravel()
    assert np.unique(everything).size == everything.size
    assert expected_values("f", "s", key, 5, 1)[0][2, 3] == base[1, 2, 3]


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "<f4", "f8", "c8", "S40", "str"])
def test_values_have_the_dtype_and_vary(dtype: str) -> None:
    key = KeySpec("k", dtype, (2,))
    values = expected_values("f", "s", key, np.arange(40) + 1, 0)
    assert values.dtype == key.numpy_dtype
    assert values.shape == (40, 2)
    assert len({str(v) for v in values.ravel()}) > (1 if dtype == "?" else 20)
    np.testing.assert_array_equal(values[7:9], expected_values("f", "s", key, [8, 9], 0))


def test_values_with_a_trend_differ_by_file_train_entry_and_element() -> None:
    def levels(trains: UInt64s) -> NDArray[np.float64]:
        return 100.0 * trains.astype(np.float64)[:, None]

    key = KeySpec("k", "f8", (40,), trend=levels, noise=(0.5, 0.01))
    base = expected_values("f", "s", key, [5, 5, 6], [0, 1, 0])
    others = [
        expected_values("g", "s", key, [5, 5, 6], [0, 1, 0]),
        expected_values("f", "t", key, [5, 5, 6], [0, 1, 0]),
        expected_values("f", "s", replace(key, name="l"), [5, 5, 6], [0, 1, 0]),
    ]
    everything = np.stack([base, *others])
    assert np.unique(everything).size > 0.99 * everything.size
    np.testing.assert_allclose(everything.mean(axis=(0, 2)), [500, 500, 600], rtol=0.01)
    assert 0.7 < everything[:, 0].std() / (0.5 + 0.01 * 500) < 1.3
    levelled = replace(key, dtype="u1", noise=(0.0, 0.0))
    assert np.all(expected_values("f", "s", levelled, [1, 9], 0) == [[100], [255]])
    named = replace(
        key, dtype="str", texts=("ON", "MOVING"), trend=lambda t: 1.0 * (t > 5)[:, None]
    )
    assert expected_values("f", "s", named, [5, 6], 0)[:, 0].tolist() == ["ON", "MOVING"]


def test_span_bounds_the_values() -> None:
    whole = expected_values("f", "s", KeySpec("k", "i4", span=(-2, 2)), np.arange(200), 0)
    assert set(whole.tolist()) == {-2, -1, 0, 1, 2}
    real = expected_values("f", "s", KeySpec("k", "f8", span=(-1.5, 1.5)), np.arange(200), 0)
    assert -1.5 <= real.min() < -1 < 1 < real.max() <= 1.5


def test_index_gaps_and_reversed_rows_are_where_index_says(tmp_path: Path) -> None:
    data = GroupSpec("data", (KeySpec("x", "u8"),), (2, 0, 3), gaps=(1, 0, 4))
    turned = replace(data, gaps=(), reversed_rows=True)
    sources = (instrument("A/B/C:out", data), instrument("A/B/C:turned", turned))
    spec = RunSpec(1, 2, split(range(START, START + 9), {"DA01": sources}))
    (path,) = write_run(tmp_path, spec)
    with h5py.File(path) as f:
        for source in ("A/B/C:out", "A/B/C:turned"):
            first, count = (f[f"INDEX/{source}/data/{name}"][()] for name in ("first", "count"))
            rows = f[f"INSTRUMENT/{source}/data/x"][()]
            picked = [rows[a : a + n] for a, n in zip(first, count, strict=True)]
            expected = oracle.expected_array(spec, source, "data.x")
            np.testing.assert_array_equal(np.concatenate(picked), expected)
            contiguous = bool(np.all(np.diff(first) == count[:-1]))
            assert not contiguous
            filler = rows.size - expected.size
            assert filler == (15 if source == "A/B/C:out" else 0)


def test_old_index_has_last_and_status(tmp_path: Path) -> None:
    spec = small_run("0.1")
    path = write_run(tmp_path, spec)[0]
    with h5py.File(path) as f:
        index = f["INDEX/SPB_IRU_CAM/CAM/SIDEMIC:daqOutput/data"]
        assert set(index) == {"first", "last", "status"}
        first, last, status = (index[n][()].astype(int) for n in ("first", "last", "status"))
        counts = oracle.expected_counts(
            spec, "SPB_IRU_CAM/CAM/SIDEMIC:daqOutput", "data.image.pixels"
        )
        found = (last - first + 1) * status
        assert found.tolist() == [counts[t] for t in spec.files[0].train_ids]


@pytest.mark.parametrize(("version", "flags"), [("1.0", [1, 0, 1]), ("1.1", [0, 1, 0])])
def test_suspect_trains_are_flagged(tmp_path: Path, version: str, flags: list[int]) -> None:
    files = (FileSpec("DA01", 0, (5, 9, 6), (devices.motor("M/M/M"),), frozenset({9}), padding=2),)
    spec = RunSpec(1, 1, files, version=version)
    (path,) = write_run(tmp_path, spec)
    with h5py.File(path) as f:
        assert f["INDEX/flag"][()].tolist() == [*flags, 0, 0]
        assert f["INDEX/trainId"][()].tolist() == [5, 9, 6, 0, 0]
    assert oracle.expected_train_ids(spec) == [5, 6, 9]
    assert oracle.expected_train_ids(spec, suspect=False) == [5, 6]


def test_zeros_inside_leave_their_rows_out(tmp_path: Path) -> None:
    files = (FileSpec("DA01", 0, (5, 0, 6), (control("M/M/M", KeySpec("x", "u8")),)),)
    spec = RunSpec(1, 1, files)
    write_run(tmp_path, spec)
    assert oracle.expected_train_ids(spec) == [5, 6]
    values = oracle.expected_array(spec, "M/M/M", "x.value")
    with h5py.File(tmp_path / spec.file_name(files[0])) as f:
        np.testing.assert_array_equal(f["CONTROL/M/M/M/x/value"][()][[0, 2]], values)


def test_writing_is_deterministic(tmp_path: Path) -> None:
    spec = small_run()
    for one, other in zip(
        write_run(tmp_path / "a", spec), write_run(tmp_path / "b", spec), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_mtime == other.stat().st_mtime


def test_facility_has_what_the_tests_and_the_demo_need(facility: FacilitySummary) -> None:
    raw = [r for r in facility.runs if r.data_class == "raw"]
    assert len(raw) >= 12
    assert {r.data_class for r in facility.runs} >= {"raw", "proc"}
    assert {r.spec.version for r in facility.runs} == {"0.5", "1.0", "1.2", "1.3"}
    assert len({r.spec.proposal for r in facility.runs}) == 4
    assert {r.path.parts[-5] for r in facility.runs} == {"SPB", "FXE"}
    assert facility.n_bytes < 60e6
    for written in facility.runs:
        identity = identify_run(str(written.path), str(written.path))
        assert (identity.proposal, identity.run) == (written.spec.proposal, written.spec.run)
        assert identity.data_class == written.data_class
        names = [parse_file_name(p.name) for p in written.path.iterdir()]
        assert all(name is not None and name.run == written.spec.run for name in names)
    assert facility.run(900010, 2, "proc").path == facility.root / "SPB/201830/p900010/proc/r0002"
    with pytest.raises(KeyError):
        facility.run(1, 1)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_extra_data_reads_the_clean_runs_of_the_facility(
    facility: FacilitySummary, step: int
) -> None:
    clean = [r for r in facility.runs if r.clean]
    assert len(clean) >= 20
    for written in clean[::step]:
        run = read_with_extra_data(sorted(written.path.glob("*.h5")))
        assert assert_as_described(run, written.spec, n_keys=2) > 5


def test_extra_data_validates_clean_runs(facility: FacilitySummary, tmp_path: Path) -> None:
    intended = {"Index has wrong number of entries", "Overlaps"}
    for written in facility.runs:
        if not written.clean:
            continue
        padded = any(f.padding for f in written.spec.files)
        found = set()
        for path in written.path.glob("*.h5"):
            checked = FileValidator(FileAccess(str(path)))
            checked.run_checks()
            found |= {p["msg"].partition(" (")[0] for p in checked.problems}
        assert found == (intended if padded else set()), written.path
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in facility.run(900032, 2).path.iterdir():
        (linked / path.name).symlink_to(path)
    command = [str(Path(sys.executable).with_name("extra-data-validate")), str(linked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No problems found" in done.stdout, done.stdout[-500:] + done.stderr[-500:]


XGM, AFTER = "SA1_XTD2_XGM/XGM/DOOCS", "SPB_XTD9_XGM/XGM/DOOCS"
ATTENUATOR, SAMPLE_X = "SPB_XTD9_ATT/MDL/MAIN", "SPB_IRU_MOTORS/MOTOR/SAMPLE_X"


def read(written: WrittenRun, source: str, key: str) -> NDArray[Any]:
    values: NDArray[Any] = oracle.expected_array(written.spec, source, key)
    return values


def test_run_values_are_those_of_the_first_train(facility: FacilitySummary) -> None:
    compared = 0
    for written in facility.runs:
        if written.data_class != "raw" or written.spec.version < "1.0" or not written.clean:
            continue
        run = read_with_extra_data(sorted(written.path.glob("*DA*.h5")))
        for source in (XGM, *(s for s in run.control_sources if "/MOTOR/" in s)):
            for key in (k for k in sorted(run[source].keys()) if k.endswith(".value")):
                first = run[source, key][:1].ndarray()[0]
                np.testing.assert_equal(run.get_run_value(source, key), first)
                compared += 1
    assert compared > 100


def test_a_motor_scans_in_steps(facility: FacilitySummary) -> None:
    scan = facility.run(900032, 3)
    position, target = (read(scan, SAMPLE_X, f"{n}Position.value") for n in ("actual", "target"))
    moving = read(scan, SAMPLE_X, "isMoving.value")
    assert np.unique(target).tolist() == [12.0 + 0.5 * n for n in range(10)]
    assert 10 <= moving.sum() <= 30
    rests = ~moving
    assert np.abs(position - target)[rests].max() < 0.003
    assert np.abs(position - target)[moving].min() > 0.1
    others = read(facility.run(900032, 1), SAMPLE_X, "actualPosition.value")
    assert 0 < np.ptp(others) < 0.006


def test_the_xgm_behind_the_attenuator_follows_it(facility: FacilitySummary) -> None:
    transmissions = set()
    for number in range(1, 7):
        run = facility.run(900032, number)
        transmission = read(run, ATTENUATOR, "actual.transmission.value")
        before, after = (read(run, s, "pulseEnergy.photonFlux.value") for s in (XGM, AFTER))
        np.testing.assert_allclose(after / before, 0.85 * transmission, rtol=0.1)
        transmissions |= set(transmission.tolist())
    assert transmissions == {1.0, 0.5, 0.3, 0.1}
    stepped = read(facility.run(900032, 5), ATTENUATOR, "actual.transmission.value")
    assert (stepped[0], stepped[-1]) == (1.0, 0.3)
    state = read(facility.run(900032, 5), ATTENUATOR, "state.value")
    assert set(state) == {"ON", "MOVING"}
    pulses = read(facility.run(900032, 3), f"{XGM}:output", "data.intensityTD")
    assert 0.08 < (pulses / pulses.mean(axis=0)).std() < 0.2


def test_a_dark_run_has_no_light(facility: FacilitySummary) -> None:
    dark = facility.run(900021, 5)
    assert (dark.spec.run_type, dark.spec.sample) == ("Dark", "none, shutter closed")
    assert np.abs(read(dark, f"{XGM}:output", "data.intensityTD")).max() < 10
    assert read(facility.run(900021, 4), f"{XGM}:output", "data.intensityTD").mean() > 500
    with h5py.File(next(dark.path.glob("*.h5"))) as f:
        assert f["METADATA/runType"][0] == b"Dark"


def test_rings_are_round_on_the_detector(facility: FacilitySummary) -> None:
    run = read_with_extra_data(sorted(facility.run(900032, 1, "proc").path.glob("*.h5")))
    modules = [f"SPB_DET_AGIPD1M-1/CORR/{n}CH0:output" for n in range(16)]
    frame = np.stack([run[name, "image.data"][:1].ndarray()[0] for name in modules])
    geometry = AGIPD_1MGeometry.from_quad_positions(
        quad_pos=[(-525, 625), (-550, -10), (520, -160), (542.5, 475)]
    )
    x, y, _ = np.moveaxis(geometry.get_pixel_positions() / 2e-4, -1, 0)  # in pixels
    radius = np.hypot(x, y).reshape(16, 32, 16, 16, 8).mean(axis=(2, 4))
    on_ring, between = ((np.abs(radius - r) < 8) for r in (210, 270))
    assert frame[on_ring].mean() > 5 * frame[between].mean()
    crossed = [m for m in range(16) if on_ring[m].sum() > 8]
    assert len(crossed) == 8
    assert min(np.median(frame[m][on_ring[m]]) for m in crossed) > 15


def test_one_run_is_of_yesterday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 7, 1, 9, 30, tzinfo=UTC)
    (later,) = faults._proposal_900043(1, now)
    assert later.spec.first_time.date().isoformat() == "2026-06-30"
    assert 0 < (now - later.spec.first_time) / timedelta(hours=1) < 34
    for name in ("900010", "900021", "900032"):
        monkeypatch.setattr(faults, f"_proposal_{name}", lambda scale: [])
    monkeypatch.setattr(faults, "_differences_between_runs", lambda root: [])
    written = write_facility(tmp_path / "now").runs[0].spec
    assert timedelta(0) < datetime.now(UTC) - written.first_time < timedelta(days=2)


def test_extra_data_reads_auxiliary_sources(facility: FacilitySummary) -> None:
    written = facility.run(900032, 4, "red")
    run = read_with_extra_data(sorted(written.path.glob("*.h5")))
    name = "PULSE_REDUCTION/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
    assert len(run.auxiliary.reduction_sources) == 16
    for source, key in (
        (name, "image.reductionRatio"),
        (name, "image.wasReduced"),
        ("DA01@TRAINS_OUTSIDE_BUFFER_RANGE", "event.originalTrainIds"),
    ):
        expected = oracle.expected_array(written.spec, source.partition("@")[2] or source, key)
        np.testing.assert_array_equal(run.auxiliary[source, key].ndarray(), expected)
        assert expected.size


def test_aliases_of_the_facility_are_read_by_extra_data(facility: FacilitySummary) -> None:
    written = facility.run(900032, 2)
    run = read_with_extra_data(sorted(written.path.glob("*DA*.h5")))
    named = run.with_aliases(*(p for p in facility.alias_files if "p900032" in str(p)))
    assert named.alias["xgm"].source == "SA1_XTD2_XGM/XGM/DOOCS"
    assert named.alias["side-image"].key == "data.image.pixels"


def test_every_fault_is_documented_where_it_is(facility: FacilitySummary) -> None:
    faulty = {r.path for r in facility.runs if not r.clean}
    assert len(faulty) >= 4
    for fault in facility.faults:
        assert fault.path.exists()
        assert len(fault.description) > 10
    marked = {f.path if f.path.is_dir() else f.path.parent for f in facility.faults}
    assert faulty <= marked
    expected = {"F01", "F02", "F03", "F05", "T01", "T02", "T03", "I01", "I05", "R01", "R02", "R07"}
    assert expected <= {f.check for f in facility.faults}


def test_faults_are_in_the_files(tmp_path: Path) -> None:
    spec = small_run("1.2", padding=3)

    def fresh(name: str) -> Path:
        write_run(tmp_path / name, spec)
        return tmp_path / name / "RAW-R0007-DA01-S00001.h5"

    made = {
        name: faults.put_in(fresh(name), check, fault)
        for _, _, check, fault in faults.FAULTS
        for name in [fault.__name__.removeprefix("_")]
    }
    assert len({f.check for f in made.values()}) >= 15

    def trains(name: str) -> list[int]:
        with h5py.File(made[name].path) as f:
            return [int(t) for t in f["INDEX/trainId"][()]]

    good = [*spec.files[1].train_ids, 0, 0, 0]
    assert trains("zeros_inside_train_ids") == [*good[:2], 0, 0, *good[4:]]
    assert trains("step_back_in_trains") == [*good[:3], good[3] - 700, *good[4:]]
    assert trains("maximal_train_id") == [*good[:5], 2**64 - 1, 0, 0, 0]
    assert trains("repeat_trains") == [spec.files[0].train_ids[-1], *good[1:]]
    assert not (tmp_path / "lose_sequence" / "RAW-R0007-DA01-S00001.h5").exists()
    with h5py.File(made["index_beyond_data"].path) as f:
        first = f["INDEX/SA1_XTD2_XGM/XGM/DOOCS:output/data/first"][()]
        assert np.flatnonzero(first > 999).tolist() == [5]
    with h5py.File(made["break_legacy_link"].path) as f:
        assert isinstance(f.get("INSTRUMENT/OLD_DET/DET/0CH0:xtdf", getlink=True), h5py.SoftLink)
        assert f.get("INSTRUMENT/OLD_DET/DET/0CH0:xtdf") is None
    for name in ("truncate", "empty_file", "replace_by_text"):
        with pytest.raises(OSError, match=r"truncated|signature"):
            h5py.File(made[name].path)


def test_progress_and_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xfelcat.loader.examples import facility as module

    monkeypatch.setattr(module, "_proposal_900010", lambda scale: [])
    monkeypatch.setattr(module, "_proposal_900021", lambda scale: [])
    monkeypatch.setattr(module, "_proposal_900043", lambda scale, now: [])
    seen: list[tuple[int, int, str]] = []
    summary = write_facility(tmp_path, progress=lambda *args: seen.append(args))
    assert [done for done, _, _ in seen] == list(range(len(summary.runs) + 1))
    assert seen[0][2] == "SPB/202405/p900032/raw/r0001"
    doubled = module._proposal_900032(2)[2].spec
    assert len(doubled.train_ids) == 2 * len(summary.run(900032, 3).spec.train_ids)
    with pytest.raises(ValueError, match="1 or more"):
        write_facility(tmp_path, scale=0)
