"""Profiles of keys: what is stored equals what numpy says of the values in the files."""

import os
import shutil
import subprocess
import sys
from collections import defaultdict

import h5py
import numpy as np
import pytest
import xfelcat
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_file import XGM, write_tiny
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.store import Store
from xfelcat.loader.jobs import profile as module
from xfelcat.loader.jobs.profile import Summary, summarize


def control_values(directory):
    """Every scalar control value of a run by (source, key), in the order of files: brute force."""
    found = defaultdict(list)
    for path in sorted(directory.glob("*.h5"), key=lambda p: p.name):
        with h5py.File(path) as file:

            def visit(name, item, file=file):
                if not isinstance(item, h5py.Dataset) or not name.endswith("/value"):
                    return
                parts = name.split("/")
                source = "/".join(parts[:3])
                first = file[f"INDEX/{source}/first"][:]
                count = file[f"INDEX/{source}/count"][:]
                data = item.asstr()[:] if item.dtype.kind == "O" else item[:]
                if item.ndim == 1:
                    rows = [data[a : a + n] for a, n in zip(first, count, strict=True)]
                    found[source, ".".join(parts[3:])] += rows

            if "CONTROL" in file:
                file["CONTROL"].visititems(visit)
    return {name: np.concatenate(rows) for name, rows in found.items()}


def stored(location, run_id):
    sql = f"SELECT * FROM key_profiles WHERE run_id = {run_id}"
    frame = xfelcat.Catalog(location).sql(sql)
    return {(row["source"], row["key"]): row for row in frame.to_dict("records")}


@pytest.fixture
def own(demo, tmp_path):
    """A copy of one proposal and its catalog, to change."""
    shutil.copytree(demo.root / "SPB/202405", tmp_path / "SPB/202405")
    ingest(Store(tmp_path / "catalog"), [str(tmp_path / "SPB")], IngestOptions(jobs=0))
    return tmp_path


@pytest.mark.parametrize("jobs", [0, 2])
def test_profiles_equal_numpy(demo, tmp_path, jobs):
    store = demo.copy_catalog(tmp_path / "catalog")
    report = xfelcat.profile(
        catalog=store.location, proposal=900032, run=[1, 2], data_class="raw", jobs=jobs
    )
    assert (report.runs_found, report.runs_profiled, report.problems) == (2, 2, [])
    runs = xfelcat.Catalog(store.location).runs(proposal=900032, run="1-2", data_class="raw")
    for run in runs.itertuples():
        expected = control_values(demo.summary.run(900032, run.run).path)
        found = stored(store.location, run.run_id)
        assert found.keys() == expected.keys()
        assert len(found) > 10
        for name, values in expected.items():
            row = found[name]
            assert (row["entries"], row["stale"]) == (len(values), False)
            assert row["changes"] == np.count_nonzero(values[1:] != values[:-1])
            if values.dtype.kind == "O":
                assert (row["first_text"], row["last_text"]) == (values[0], values[-1])
                continue
            assert (row["first"], row["last"]) == (values[0], values[-1])
            assert (row["minimum"], row["maximum"]) == (values.min(), values.max())
            assert row["mean"] == pytest.approx(values.astype(float).mean(), rel=1e-12, abs=1e-12)
            assert row["std"] == pytest.approx(values.astype(float).std(), rel=1e-9, abs=1e-12)
    assert check(store) == []


def test_instrument_keys_are_read_when_named(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)  # many blocks, borders inside of trains
    store = demo.copy_catalog(tmp_path / "catalog")
    where = {"catalog": store.location, "proposal": 900032, "run": 1, "data_class": "raw"}
    assert xfelcat.profile("*AGIPD*", **where).keys_read == 0
    report = xfelcat.profile("*/DET/3CH0:xtdf", "image.[cp]*Id", jobs=0, **where)
    assert report.keys_read == 2
    catalog = xfelcat.Catalog(store.location)
    (run_id,) = catalog.runs(proposal=900032, run=1, data_class="raw").run_id
    run = xfelcat.RunDirectory(demo.summary.run(900032, 1).path, save=False)
    for (source, key), row in stored(store.location, run_id).items():
        values = run[source, key].ndarray()
        assert values.ndim == 1
        told = [row[n] for n in ("entries", "minimum", "maximum", "first", "last", "changes")]
        changes = np.count_nonzero(values[1:] != values[:-1])
        ends = [values[0], values[-1]]
        assert told == [len(values), values.min(), values.max(), *ends, changes]


def test_what_holds_is_not_read_again_until_a_file_changes(own):
    options = {"catalog": own / "catalog", "run": 1, "data_class": "raw", "jobs": 0}
    first = xfelcat.profile("*XGM*", **options)
    again = xfelcat.profile("*XGM*", **options)
    assert first.keys_read == again.keys_fresh > 0
    assert (again.keys_read, again.files_read, again.runs_fresh) == (0, 0, 1)
    assert xfelcat.profile("*XGM*", force=True, **options).keys_read == first.keys_read

    (run,) = xfelcat.Catalog(own / "catalog").runs(run=1, data_class="raw").itertuples()
    for path in (own / "SPB/202405/p900032/raw/r0001").glob("*DA01*.h5"):
        with h5py.File(path, "r+") as file:
            data = file["CONTROL/SA1_XTD2_XGM/XGM/DOOCS/beamPosition/ixPos/value"]
            data[:] = np.where(np.arange(len(data)) % 3, data[:], np.nan)
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))
    changed = xfelcat.profile("*XGM*", force=True, **options)
    assert changed.keys_read == 0  # the catalog knows other files than are there
    assert "modified after its facts were taken" in changed.problems[0].message
    ingest(Store(own / "catalog"), [str(own / "SPB")], IngestOptions(jobs=0))
    assert all(row["stale"] for row in stored(own / "catalog", run.run_id).values())
    assert xfelcat.profile("*XGM*", **options).keys_read == first.keys_read
    found = stored(own / "catalog", run.run_id)
    assert not any(row["stale"] for row in found.values())
    row = found["SA1_XTD2_XGM/XGM/DOOCS", "beamPosition.ixPos.value"]
    values = control_values(own / "SPB/202405/p900032/raw/r0001")[row["source"], row["key"]]
    good = values[~np.isnan(values)]
    assert (row["entries"], row["nans"]) == (len(values), len(values) - len(good))
    assert row["nans"] > 0
    assert row["changes"] == np.count_nonzero(good[1:] != good[:-1])
    assert (row["minimum"], row["maximum"]) == (good.min(), good.max())


def test_a_broken_file_is_a_problem_and_the_rest_is_kept(own):
    options = {"catalog": own / "catalog", "run": 1, "data_class": "raw", "jobs": 0}
    whole = xfelcat.profile(force=True, **options).keys_read
    (path, *_) = sorted((own / "SPB/202405/p900032/raw/r0001").glob("*DA01*.h5"))
    path.write_bytes(b"nothing")
    report = xfelcat.profile(force=True, **options)
    assert report.keys_read < whole
    assert any(p.path == str(path) for p in report.problems)


def test_ctrl_c_keeps_what_is_done(demo, tmp_path, monkeypatch):
    store = demo.copy_catalog(tmp_path / "catalog")
    monkeypatch.setattr(module, "_RUNS_AT_ONCE", 1)
    read = module.read_batch
    n_read = []

    def interrupted(*args):
        n_read.append(args)
        if len(n_read) > 3:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(module, "read_batch", interrupted)
    report = xfelcat.profile(catalog=store.location, proposal=900010, jobs=0)
    assert report.interrupted
    assert 0 < report.runs_profiled < report.runs_found
    frame = xfelcat.Catalog(store.location).sql("SELECT count(*) AS n FROM key_profiles")
    assert frame.n[0] == report.keys_read


def test_the_command(demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    executable = [sys.executable, "-m", "xfelcat.cli.app", "profile"]
    words = ["*XGM*", "-p", "900032", "--catalog", str(store.location), "--strict"]
    done = subprocess.run([*executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "profiles written, 0 still hold" in done.stderr
    again = subprocess.run([*executable, *words], capture_output=True, text=True)
    assert "0 profiles written" in again.stderr


numbers = st.one_of(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=20).map(np.array),
    st.lists(st.integers(2**62, 2**62 + 50), max_size=20).map(lambda v: np.array(v, np.uint64)),
    st.lists(st.booleans(), max_size=20).map(lambda v: np.array(v, bool)),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9).map(lambda v: np.array(v, np.int32)),
)


@given(numbers, st.lists(st.integers(0, 20), max_size=4))
def test_blocks_join_to_the_whole(values, cuts):
    whole = Summary()
    for part in np.split(values, sorted(min(c, len(values)) for c in cuts)):
        whole = whole.followed_by(summarize(part))
    good = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    assert (whole.n_entries, whole.n_values) == (len(values), len(good))
    if not len(good):
        assert (whole.first, whole.mean, whole.std) == (None, None, None)
        return
    assert (whole.first, whole.last) == (good[0], good[-1])
    assert (whole.minimum, whole.maximum) == (good.min(), good.max())
    assert whole.n_changes == np.count_nonzero(good[1:] != good[:-1])
    exact = [int(v) if values.dtype.kind in "iub" else v for v in good.tolist()]
    mean = sum(v - exact[0] for v in exact) / len(exact)
    assert whole.mean == pytest.approx(exact[0] + mean, rel=1e-12, abs=1e-6)
    spread = np.sqrt(sum((v - exact[0] - mean) ** 2 for v in exact) / len(exact))
    assert whole.std == pytest.approx(spread, rel=1e-6, abs=1e-6)


def test_infinities_and_extremes_of_integers():
    both = summarize(np.array([np.inf, -np.inf]))
    assert (both.minimum, both.maximum, both.mean, both.std) == (-np.inf, np.inf, None, None)
    assert summarize(np.array([1.0, np.inf])).mean == np.inf
    far = summarize(np.array([0, 2**64 - 1], np.uint64))
    assert (far.minimum, far.maximum) == (0, 2**64 - 1)
    assert far.mean == pytest.approx(2**63)
    low = summarize(np.array([-(2**63), -(2**63) + 2]))
    assert (low.std, low.minimum) == (1.0, -(2**63))


def test_text_of_fixed_length_is_profiled(tmp_path):
    run = tmp_path / "p002012" / "raw" / "r0007"
    run.mkdir(parents=True)
    texts = np.array(["caf\u00e9".encode(), *[b"b"] * 8, b"c"], h5py.string_dtype("utf-8", 10))
    with write_tiny(run / "RAW-R0007-DA01-S00000.h5") as f:
        f.create_dataset(f"CONTROL/{XGM}/mode/value", data=texts)
    catalog = xfelcat.Catalog(tmp_path / "catalog")
    catalog.ingest(str(run), jobs=0)
    module.profile(XGM, "mode.value", catalog=catalog.location, jobs=0)
    (row,) = catalog.sql("SELECT * FROM key_profiles").to_dict("records")
    assert (row["first_text"], row["last_text"]) == ("caf\u00e9", "c")
    assert (row["entries"], row["changes"]) == (10, 2)
