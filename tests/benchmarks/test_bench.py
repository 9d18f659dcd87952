"""The benchmark measures runs that are as described, and finds answers that differ."""

import json
import os
import shutil

import extra_data
import h5py
import numpy as np
import pytest
from xfelcat import H5File, RunDirectory

from benchmarks import bench, growth_opening, latency, syscalls

from .large_runs import FIRST_TRAIN, XGM, LargeRun, count_datasets, make_run, module
from .measure import Place, Row, Side, equal, measure
from .report import BEGIN, END, as_json, as_table, put_into_page, seconds
from .synthetic import Scale

SMALL = LargeRun("R220", 4220, 3, 2, 3, 12, 2, trains=100)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def path(place):
    return make_run(SMALL, place)


def test_a_large_run_is_a_run_like_any_other(path):
    theirs, ours = extra_data.RunDirectory(str(path)), RunDirectory(path, save=False)
    n = SMALL.trains * SMALL.sequences
    assert theirs.train_ids == ours.train_ids == list(range(FIRST_TRAIN, FIRST_TRAIN + n))
    assert len(ours.files) == SMALL.n_files == 54
    assert theirs.all_sources == ours.all_sources
    value = theirs[XGM, "property005.value"].ndarray()
    parts = value.reshape(SMALL.sequences, -1)
    assert (parts == parts[0] + np.arange(SMALL.sequences)[:, None]).all()
    assert len(np.unique(parts[0])) == SMALL.trains
    times = theirs[XGM, "property005.timestamp"].ndarray()
    assert (np.diff(times) == 10**8).all()
    ids = theirs[module(3), "image.trainId"].ndarray()
    lost = (np.arange(FIRST_TRAIN, FIRST_TRAIN + SMALL.trains) + 21) % 97 == 0
    counts = np.tile(np.where(lost, 0, SMALL.frames), SMALL.sequences)
    assert ids.tolist() == np.repeat(theirs.train_ids, counts).tolist()
    assert theirs[module(3), "image.data"].shape == (len(ids), 2, 512, 128)
    with h5py.File(path / "RAW-R0001-DA01-S00002.h5") as f:
        assert f["METADATA/sequenceNumber"][()].tolist() == [2]
    made = path.stat().st_mtime_ns
    assert make_run(SMALL, path.parents[5]).stat().st_mtime_ns == made


def test_datasets_are_counted(path):
    n = 0

    def count(name, item):
        nonlocal n
        n += isinstance(item, h5py.Dataset)

    for file in path.glob("*.h5"):
        with h5py.File(file) as f:
            f.visititems(count)
    assert count_datasets(path) == n > 1000


def row(ours, theirs, **more):
    return Row("a thing", ("R220",), Side("we", ours), Side("they", theirs), **more)


def test_a_different_answer_is_found():
    good = measure(row(lambda _: [1, 2], lambda _: (1, 2), ratio=1e-9), repeats=2)
    assert (len(good.ours), len(good.theirs), good.differs) == (2, 2, "")
    assert len(good.ours_cpu) == len(good.theirs_cpu) == 2
    assert good.is_reached
    assert not measure(row(lambda _: 1, lambda _: 1, ratio=1e9), repeats=1).is_reached
    bad = measure(row(lambda _: 1, lambda _: 2))
    assert bad.differs
    assert not bad.is_reached
    assert "DIFFERENT" in as_table([bad, good])
    alone = measure(Row("alone", (), Side("we", lambda _: 1), seconds=10.0), repeats=1)
    assert alone.is_reached
    assert as_json([alone])["rows"][0]["ratio"] is None


def test_what_is_equal():
    a = np.array([1.0, np.nan])
    assert equal({"a": (a, "x")}, {"a": (a.copy(), "x")})
    assert not equal({"a": a}, {"b": a})
    assert not equal(a, a.astype("f4"))
    assert not equal([1], [1, 2])


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.345, "12.3 s"), (1.0, "1.00 s"), (0.1, "100 ms"), (1.5e-3, "1.50 ms"), (2e-7, "0.200 µs")],
)
def test_times_are_legible(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        pytest.param("open, catalogued", {"open, catalogued"}, marks=pytest.mark.slow),
        pytest.param(
            "*", {"open, catalogued", "every key of every source"}, marks=pytest.mark.slow
        ),
    ],
)
def test_the_benchmark_runs_and_writes_its_page(
    only, wanted, place, path, tmp_path, monkeypatch, capsys
):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))  # and put back what the benchmark sets
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    options = ["--place", str(place), "--page", str(page), "--json", str(tmp_path / "all.json")]
    assert bench.main(["--quick", "--only", only, *options], [SMALL]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\nMeasured ")
    assert text.endswith(f"|\n\n{END}\nafter\n")
    assert "old" not in text
    told = json.loads((tmp_path / "all.json").read_text())
    titles = {r["title"] for r in told["rows"]}
    assert wanted <= titles
    assert all(len(r["ours"]) == 3 and not r["differs"] for r in told["rows"])
    capsys.readouterr()
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the lines"):
        put_into_page(page, [])


def test_a_difference_is_the_exit_status(place, path, monkeypatch, tmp_path, capsys):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    wrong = row(lambda _: 1, lambda _: 2)

    def rows(where):
        assert isinstance(where, Place)
        return iter([wrong])

    monkeypatch.setattr(bench, "all_rows", rows)
    assert bench.main(["--quick", "--place", str(place)], [SMALL]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_a_row_is_measured_in_a_process_of_its_own(place, path, tmp_path, monkeypatch, capsys):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    result = tmp_path / "one.json"
    options = ["--only", "every key of", "--json", str(result), "--place", str(place)]
    assert bench.main(options, [SMALL]) == 0
    (told,) = json.loads(result.read_text())["rows"]
    assert told["title"] == "every key of every source"
    assert len(told["ours"]) == len(told["theirs"]) > 2
    assert not told["differs"]


@pytest.mark.slow
def test_growth_of_opening_is_measured_and_drawn(tmp_path, monkeypatch, capsys):
    few = Scale(proposals=1, runs=2, sequences=1, trains=10)
    monkeypatch.setattr(growth_opening, "RUNS", (few,))
    picture = tmp_path / "growth.png"
    options = ["--place", str(tmp_path), "--picture", str(picture)]
    assert growth_opening.main(options, sequences=(1, 2)) == 0
    by_runs, by_files = capsys.readouterr().out.strip().split("\n\n")
    assert [row.split(" ")[1] for row in by_runs.splitlines()[2:]] == ["2"]
    assert [row.split(" ")[1] for row in by_files.splitlines()[2:]] == ["20", "40"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_calls_of_both_sides_wait_on_a_slow_file_system(path, monkeypatch):
    waited = []
    monkeypatch.setattr(latency.time, "sleep", waited.append)
    file = min(path.glob("*DA01*.h5"))
    place = f"CONTROL/{XGM}/property005/value"
    with latency.slow(0.5):
        os.stat(file)
        assert waited == [0.5]
        with h5py.File(file) as f:
            theirs = f[place][()]
        n_theirs = len(waited) - 1
        ours = H5File(file)[XGM, "property005.value"].ndarray()
    assert n_theirs > 10
    assert len(waited) > n_theirs + 3
    np.testing.assert_array_equal(ours, theirs)
    waited.clear()
    os.stat(file)
    with h5py.File(file) as f:
        assert f.filename == str(file)
    assert not waited


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_system_calls_are_counted(path, place):
    code = f"import h5py; h5py.File({str(min(path.glob('*.h5')))!r}).close()"
    found = syscalls.count_calls("import h5py", code, str(path), str(place))
    assert found["open"] == 1
    assert found["read"] > 0
    assert not syscalls.count_calls("import h5py", "pass", str(path), str(place))
