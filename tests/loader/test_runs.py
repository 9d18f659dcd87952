"""Loading over runs: what comes equals what h5py reads from the files, run after run."""

import pickle
import shutil
import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xfelcat
from xfelcat.catalog.model.errors import (
    AliasError,
    InconsistentRunsError,
    QueryError,
    RunNotFoundError,
    SourceNameError,
)
from xfelcat.loader import runs as module
from xfelcat.loader import runs as runs_module
from xfelcat.loader.select import aliases as aliases_module

pytestmark = pytest.mark.fast

XGM, KEY = "SA1_XTD2_XGM/XGM/DOOCS", "pulseEnergy.photonFlux.value"
FAST, INTENSITY = f"{XGM}:output", "data.intensityTD"
RAW = {"proposal": 900032, "data_class": "raw"}


def brute_force(directory, section, source, key):
    """(Train IDs, data) of a key in the files of a run."""
    ids, data = [], []
    group = "" if section == "CONTROL" else f"/{key.split('.')[0]}"
    for path in sorted(directory.glob("*.h5")):
        with h5py.File(path) as file:
            index = file.get(f"INDEX/{source}{group}")
            if index is None:
                continue
            values = file[f"{section}/{source}/{key.replace('.', '/')}"]
            trains = file["INDEX/trainId"][:]
            for tid, first, n in zip(trains, index["first"][:], index["count"][:], strict=True):
                ids += [tid] * int(n)
                data.append(values[int(first) : int(first + n)])
    return np.array(ids, np.uint64), np.concatenate(data)


@pytest.fixture
def runs(demo):
    return xfelcat.open_runs(catalog=demo.location, run="1-4", **RAW)


def expected(demo, runs, section, source, key):
    parts = [brute_force(demo.summary.run(900032, n).path, section, source, key) for n in runs]
    ids, data = zip(*parts, strict=True)
    numbers = np.repeat(list(runs), [len(i) for i in ids])
    return np.concatenate(ids), np.concatenate(data), numbers


@pytest.mark.parametrize(("section", "source", "key"), [
    ("CONTROL", XGM, KEY),
    ("INSTRUMENT", FAST, INTENSITY),
])  # fmt: skip
def test_every_way_of_loading_equals_the_files(demo, runs, section, source, key):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lacking = runs.lacking(source, key)
        having = [n for n in range(1, 5) if f"p900032/raw/r{n:04d}" not in lacking]
        ids, data, numbers = expected(demo, having, section, source, key)
        array = runs.xarray(source, key)
        assert array.dims[0] == "trainId"
        np.testing.assert_array_equal(array.trainId, ids)
        np.testing.assert_array_equal(array.run, numbers)
        np.testing.assert_array_equal(array, data)
        assert array.attrs.get("runs_lacking", []) == list(lacking)
        assert set(array.coords) == {"trainId", "run", "time"}
        times = runs.select(source).train_timestamps()
        at = list(zip(numbers, ids, strict=True))
        np.testing.assert_array_equal(array.time, times.loc[at].dt.tz_localize(None))
        lazily = runs.dask_array(source, key, labelled=True)
        assert lazily.identical(array)
        np.testing.assert_array_equal(lazily.compute(), data)
        np.testing.assert_array_equal(runs.dask_array(source, key).compute(), data)
        np.testing.assert_array_equal(runs.ndarray(source, key), data)
        if data.ndim == 1:
            series = runs.series(source, key)
            assert series.index.names == ["run", "trainId"]
            np.testing.assert_array_equal(series.to_numpy(), data)
            np.testing.assert_array_equal(series.index.get_level_values("run"), numbers)
            frame = runs.dataframe([(source, key)])
            np.testing.assert_array_equal(frame[series.name], data)
            np.testing.assert_array_equal(frame.index.get_level_values("trainId"), ids)
        else:
            part = runs.xarray(source, key, roi=np.s_[3:9], extra_dims=["pulse"])
            assert part.dims == ("trainId", "pulse")
            np.testing.assert_array_equal(part, data[:, 3:9])


def test_opening_reads_no_file(demo, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "xfelcat.loader.read.files._open_unchanged", lambda f: opened.append(f) or 1 / 0
    )
    runs = xfelcat.open_runs(catalog=demo.location, **RAW)
    assert "__kept" not in runs.__dict__
    assert len(runs.lacking(XGM, KEY)) < len(runs)
    assert runs[0][XGM, KEY].shape[0] > 0
    assert opened == []


def test_all_the_ways_of_saying_which(demo, monkeypatch):
    catalog = xfelcat.Catalog(demo.location)
    path = demo.summary.run(900032, 1).path
    names = ["p900032/raw/r0001", "p900032/raw/r0002"]
    by_id = catalog.sql(
        "SELECT run_id, count(*) AS n FROM run_sources WHERE proposal = 900032 AND run <= 2"
        " AND data_class = 'raw' GROUP BY run_id ORDER BY run_id"
    )
    by_number = catalog.sql(
        "SELECT proposal, run FROM runs WHERE proposal = 900032 AND run <= 2"
        " AND data_class = 'raw' ORDER BY run"
    )
    asked = catalog.find(XGM, "pulseEnergy*", run="1-2", **RAW)
    for given in (by_id, by_number, asked, catalog.runs(run="1-2", **RAW)):
        given = [(900032, 1), "p900032/raw/r0002"]
    assert xfelcat.open_runs(given, catalog=demo.location).names == names
    whole = xfelcat.open_runs("p900032/proc", catalog=demo.location)
    assert whole.runs.data_class.unique().tolist() == ["proc"]
    assert xfelcat.open_runs(source=XGM, catalog=demo.location, run="1-2", **RAW).names == names
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(demo.root))  # no catalog: the disk
    assert xfelcat.open_runs(given).names == names
    assert xfelcat.open_runs([path, str(path), (900032, 1)]).names == names[:1]


def test_what_means_no_runs(demo):
    catalog = xfelcat.Catalog(demo.location)
    with pytest.raises(QueryError, match="tells no runs"):
        xfelcat.open_runs(catalog.sql("SELECT 1 AS one"))
    with pytest.raises(RunNotFoundError, match="run_id 5"):
        xfelcat.open_runs(catalog.sql("SELECT 5 AS run_id"))
    with pytest.raises(RunNotFoundError, match="p900033"):
        xfelcat.open_runs("p900033/raw", catalog=demo.location)
    with pytest.raises(TypeError, match="names no run"):
        xfelcat.open_runs([5], catalog=demo.location)
    with pytest.raises(TypeError, match="not both"):
        xfelcat.open_runs(["p900032/raw/r0001"], proposal=900032)


def test_it_is_like_a_list(demo, runs):
    assert len(runs) == len(runs.names) == len(runs.runs) == 4
    assert [len(r.train_ids) for r in runs] == [len(r.train_ids) for _, r in runs.items()]
    assert runs[1].train_ids == runs["p900032/raw/r0002"].train_ids == runs[900032, 2].train_ids
    assert runs[-1].train_ids == runs[900032, 4, "raw"].train_ids
    assert runs[1:3].names == runs.names[1:3]
    assert (900032, 3) in runs
    assert "p900032/raw/r0009" not in runs
    with pytest.raises(RunNotFoundError, match="r0009"):
        runs["p900032/raw/r0009"]
    with pytest.raises(IndexError):
        runs[4]
    again = pickle.loads(pickle.dumps(runs))
    assert again.names == runs.names
    assert repr(again) == "<xfelcat.Runs: 4 runs, p900032/raw/r0001 to p900032/raw/r0004>"
    assert "p900032/raw/r0003" in runs._repr_html_()
    assert repr(runs[:0]) == "<xfelcat.Runs: 0 runs>"


def test_selections_are_made_of_each_run(runs):
    few = runs[:2].select_trains(np.s_[:3]).select(XGM, "*")
    array = few.xarray(XGM, KEY)
    assert array.run.values.tolist() == [1, 1, 1, 2, 2, 2]
    assert few[0].all_sources == {XGM}


def test_lacking_runs_are_told_once_and_left_out(demo):
    runs = xfelcat.open_runs(catalog=demo.location, proposal=900032, run=[1, 2])
    lacking = runs.lacking(XGM, KEY)
    assert list(lacking) == ["p900032/proc/r0001", "p900032/proc/r0002"]
    with pytest.warns(UserWarning, match=r"2 of 4 runs left out of .*proc/r0001: .*no source") as w:
        array = runs.xarray(XGM, KEY)
    assert len(w) == 1
    assert w[0].filename == __file__
    assert array.attrs["runs_lacking"] == list(lacking)
    with pytest.warns(UserWarning, match="2 of 4 runs left out of the table") as w:
        frame = runs.dataframe([(XGM, KEY)])
    assert w[0].filename == __file__
    assert frame.attrs["runs_lacking"] == list(lacking)
    with pytest.raises(SourceNameError, match="NO/SUCH/SOURCE"):
        runs.xarray("NO/SUCH/SOURCE", "x")


def test_a_run_that_is_gone_is_left_out(demo, tmp_path):
    for n in (1, 2):
        shutil.copytree(demo.summary.run(900032, n).path, tmp_path / f"copy{n}")
    runs = xfelcat.open_runs([tmp_path / "copy1", tmp_path / "copy2"])
    both = runs.xarray(XGM, KEY)
    assert set(both.path.values) == {str(tmp_path / "copy1"), str(tmp_path / "copy2")}
    assert set(both.run.values) == {-1}
    shutil.rmtree(tmp_path / "copy2")
    runs = xfelcat.open_runs([tmp_path / "copy1", tmp_path / "copy2"])
    with pytest.warns(UserWarning, match="copy2"):
        assert runs.xarray(XGM, KEY).identical(
            both.isel(trainId=both.path == str(tmp_path / "copy1")).assign_attrs(
                runs_lacking=[str(tmp_path / "copy2")]
            )
        )


def test_only_the_last_runs_stay_open(demo, runs, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_OPEN", 2)
    list(runs)
    assert len(runs.__dict__["_kept"]) == 2
    assert len({id(run.selected.files) for run in runs}) == 1


@pytest.mark.parametrize(
    ("one", "other", "joint"),
    [
        ("f4", "f8", "f8"),
        ("u2", "i4", "i4"),
        ("u4", "i4", "i8"),
        ("i2", "f4", "f4"),
        ("i4", "f4", "f8"),
        ("i8", "f8", None),
        ("u8", "i8", None),
        ("O", "f8", None),
        ("?", "u1", None),
    ],
)
def test_types_that_go_together(one, other, joint):
    found = runs_module._joint(np.dtype(one), np.dtype(other))
    assert found == (None if joint is None else np.dtype(joint))


def test_three_types_that_go_together():
    keys = [SimpleNamespace(dtype=np.dtype(t), entry_shape=()) for t in ("i4", "u4", "f8")]
    found = dict(enumerate(keys))  # i4 and u4 together need i8, which does not go with f8
    assert runs_module.common_dtype(runs_module.KeysOfRuns("", "", found, {}), ()) == (
        keys[2].dtype,
        (),
    )


def copy_with(demo, to, change):
    shutil.copytree(demo.summary.run(900032, 1).path, to)
    for path in to.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            parent = file.get(f"CONTROL/{XGM}/pulseEnergy/photonFlux")
            if parent is not None:
                values = change(parent["value"][:])
                del parent["value"]
                parent["value"] = values
    return to


def test_types_of_runs_are_joined_or_refused(demo, tmp_path):
    plain = demo.summary.run(900032, 1).path
    wide = copy_with(demo, tmp_path / "wide", lambda v: v.astype("f8") + 1e-12)
    long = copy_with(demo, tmp_path / "long", lambda v: np.repeat(v[:, None], 3, axis=1))
    big = copy_with(demo, tmp_path / "big", lambda v: v.astype("i8"))
    array = xfelcat.open_runs([plain, wide]).xarray(XGM, KEY)
    assert array.dtype == "f8"
    ids, data = brute_force(wide, "CONTROL", XGM, KEY)
    np.testing.assert_array_equal(array[len(ids) :], data)
    runs = xfelcat.open_runs([plain, wide])
    np.testing.assert_array_equal(runs.dask_array(XGM, KEY).compute(), array)
    with pytest.raises(InconsistentRunsError, match="shape") as e:
        xfelcat.open_runs([plain, long]).xarray(XGM, KEY)
    assert e.value.runs == ("p900032/raw/r0001", str(long))
    with pytest.raises(InconsistentRunsError, match="float32 against int64"):
        xfelcat.open_runs([plain, big]).ndarray(XGM, KEY)


def test_a_key_is_named_by_an_alias_or_by_globs_too(runs, monkeypatch):
    expected = runs.xarray(XGM, KEY)
    short = KEY.removesuffix(".value")
    assert runs.xarray("xgm", short).identical(expected)
    assert runs.xarray("SA1*DOOCS", "*photonFlux").identical(expected)
    read = []
    load = aliases_module._read_file
    monkeypatch.setattr(aliases_module, "_read_file", lambda path: read.append(path) or load(path))
    assert [len(run.alias) for run in xfelcat.open_runs(runs.runs)] == [7, 7, 7, 7]
    assert len(read) == 1
    aliased = xfelcat.open_runs(runs.runs, aliases={"flux": (XGM, short), "gas": XGM})
    assert aliased.xarray("flux").identical(expected)
    assert aliased.ndarray("GAS", short).tolist() == expected.values.tolist()
    with pytest.raises(ValueError, match="means 2 keys: name one, such as SA1"):
        runs.xarray(XGM, "beamPosition.*")
    with pytest.raises(AliasError, match="nothing"):
        runs.xarray("nothing")
    with pytest.raises(TypeError, match="name a key of it"):
        aliased.xarray("gas")
    with pytest.raises(SourceNameError, match="did you mean"):
        xfelcat.open_runs(runs.runs, aliases=None).xarray("SA1_XTD2_XGM/XGM/DOOC", short)


def test_runs_are_named_by_globs(demo):
    at = {"catalog": demo.location}
    assert xfelcat.open_runs("p900032/raw/r000[12]", **at).names == [
        "p900032/raw/r0001",
        "p900032/raw/r0002",
    ]
    folder = demo.summary.run(900032, 1).path.parent
    assert len(xfelcat.open_runs(f"{folder}/r*")) == len(list(folder.iterdir()))
    with pytest.raises(RunNotFoundError, match="is named like p900032/raw/x"):
        xfelcat.open_runs("p900032/raw/x*", **at)


def test_no_runs_are_told_and_load_nothing(demo):
    with pytest.warns(UserWarning, match=r"no runs: .* is of proposal 900033; there are 9") as w:
        none = xfelcat.open_runs(catalog=demo.location, proposal=900033)
    assert w[0].filename == __file__
    for load in (lambda: none.xarray(XGM, KEY), lambda: none.dataframe("*"), none.train_timestamps):
        with pytest.raises(ValueError, match="no runs to load from"):
            load()


def test_times_of_all_runs(runs):
    times = runs.train_timestamps()
    assert times.index.names == ["run", "trainId"]
    assert times[1].tolist() == runs[0].train_timestamps(labelled=True).tolist()
    assert len(times) == sum(len(run.train_ids) for run in runs)


def test_pictures_of_runs(demo, runs):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    axes = runs.plot(XGM, KEY)
    means = [run[XGM, KEY].ndarray().mean(dtype="f8") for run in runs]
    points = axes.containers[0][0].get_data()[1]
    np.testing.assert_allclose(points, means, rtol=1e-6)
    assert {"r1", "r4"} <= {t.get_text() for t in axes.texts}
    axes = runs.plot_missing_data()
    labels = [t.get_text() for t in axes.get_yticklabels()]
    shares = axes.images[0].get_array()
    row = shares[labels.index("SPB_DET_AGIPD1M-1/DET/*CH0:xtdf")]
    counts = [run["SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"].data_counts(False, "image") for run in runs
              if "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf" in run]  # fmt: skip
    np.testing.assert_allclose(row.compressed() if np.ma.is_masked(row) else row[~np.isnan(row)],
                               [100 * (c > 0).mean() for c in counts])  # fmt: skip
    both = xfelcat.open_runs(catalog=demo.location, proposal=900032, run="1-2")
    with pytest.warns(UserWarning, match="left out"):
        axes = both.plot("*CORR/0CH0:output", "image.gain")
    assert "2 runs · 2 left out, that lack it" in " ".join(t.get_text() for t in axes.texts)
    plt.close("all")
