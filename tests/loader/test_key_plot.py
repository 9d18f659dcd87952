"""Pictures and sparklines of keys show the values that are there, and read no more than needed."""

import matplotlib as mpl
import numpy as np
import pytest
from support.both_readers import open_scanned
from xfelcat.catalog.model.errors import MissingPackageError, NoDataError, NotPlottableError
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)
from xfelcat.loader.examples.specs import Unit
from xfelcat.loader.select.trains import TrainSet
from xfelcat.loader.show import course as course_module
from xfelcat.loader.show import key_plot
from xfelcat.loader.show.course import TrainAxis, read_course, read_mean, sparkline

MOTOR, CAMERA, FAST = "A/MOTOR/X", "A/CAM/C:output", "A/ADC/1:output"
FIRST, N_TRAINS = 2_508_780_000, 3000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 3000 trains: a motor, a camera in every third train, pulses and their number."""
    micron = Unit("m", "meter", "u", "micro")
    sources = [
        control(
            MOTOR,
            KeySpec("position", "f8", unit=micron, span=(-5, 5)),
            KeySpec("state", "str", fill="constant"),
            KeySpec("note", "str"),
        ),
        instrument(CAMERA, GroupSpec("image", (KeySpec("data", "u2", (6, 8)),), (1, 0, 0))),
        instrument(FAST, GroupSpec("data", (KeySpec("trace", "f4", (900,)),), 1)),
        instrument("A/XGM/1:output", GroupSpec("data", (KeySpec("x", "f4"),), (3, 0, 2))),
        instrument("A/NO/1:output", GroupSpec("data", (KeySpec("x", "f4"),), 0)),
        instrument("A/T/1:output", GroupSpec("t", (KeySpec("table", [("a", "<f4")]),), 1)),
    ]
    path = tmp_path_factory.mktemp("plotted")
    files = split(range(FIRST, FIRST + N_TRAINS), {"DA01": sources}, sequences=3)
    write_run(path, RunSpec(900032, 7, files))
    return open_scanned(path)


@pytest.fixture(autouse=True)
def figures():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def texts_of(axes):
    return " | ".join([axes.get_title(loc="left"), *(t.get_text() for t in axes.texts)])


@pytest.mark.parametrize("block", [1 << 20, 1000])
def test_a_course_has_extremes_and_means_of_the_values_of_each_column(run, monkeypatch, block):
    monkeypatch.setattr(course_module, "BLOCK_ROWS", block)
    monkeypatch.setattr(course_module, "_PART_BYTES", 9999)
    key = run["A/XGM/1:output", "data.x"]
    values = key.ndarray().astype("f8")
    columns = (key.train_id_coordinates().astype(int) - FIRST) * 7 // N_TRAINS
    course = read_course(key.selected, 7)
    for column in range(7):
        own = values[columns == column]
        assert course.low[column] == own.min()
        assert course.high[column] == own.max()
        assert course.mean[column] == pytest.approx(own.mean(), rel=1e-12)
    assert course.summary.n_entries == len(values)
    assert course.summary.std == pytest.approx(values.std(), rel=1e-9)
    assert course.n_read == course.n_trains == 2000


def test_of_arrays_a_train_per_column_is_read(run, monkeypatch):
    read = []
    monkeypatch.setattr(
        "xfelcat.loader.read.selected.SelectedKey.read",
        lambda key, roi=(), out=None: (
            read.append(key.rows.n_rows) or np.ones((key.rows.n_rows, 900), "f4")
        ),
    )
    course = read_course(run[FAST, "data.trace"].selected, 50)
    assert (sum(read), course.n_read, course.n_trains) == (50, 50, N_TRAINS)
    read.clear()
    monkeypatch.setattr(course_module, "MOST_BYTES", 900 * 4 * 20)
    assert read_course(run[FAST, "data.trace"].selected, 50).n_read == sum(read) == 20
    read.clear()
    axes = run[FAST, "data.trace"].plot()
    assert sum(read) == 20
    assert "data for 3000 of 3000 trains, 20 of them read" in texts_of(axes)


def test_a_map_has_the_values_of_its_trains(run):
    part = run[FAST, "data.trace"][100:140]
    axes = part.plot()
    (image,) = axes.images
    expected = part.ndarray().astype("f8")
    edges = np.linspace(0, 900, 400, endpoint=False).astype(int)
    means = np.add.reduceat(expected, edges, axis=1) / np.diff(edges, append=900)
    np.testing.assert_allclose(image.get_array(), means.T, rtol=1e-6)
    assert axes.get_xticklabels()[0].get_text() == f"0\n{FIRST + 100}"
    trace = run[FAST, "data.trace"][5].plot()
    np.testing.assert_allclose(trace.lines[0].get_ydata(), run[FAST, "data.trace"][5].ndarray()[0])
    assert f"train {FIRST + 5}" in texts_of(trace)


def test_an_image_is_the_mean_that_its_title_says(run):
    key = run[CAMERA, "image.data"]
    axes = key.plot(most_trains=10)
    ids = key.selected.rows.trains_with_rows.ids
    chosen = ids[np.linspace(0, len(ids) - 1, 10).round().astype(int)]
    at = np.isin(key.train_id_coordinates(), chosen)
    np.testing.assert_allclose(axes.images[0].get_array(), key.ndarray()[at].mean(axis=0))
    assert "mean of 10 entries of 10 trains, of 1000 with data" in texts_of(axes)
    assert f"train {ids[0]}" in texts_of(key[0:3].plot())
    whole, n_trains, n_entries = read_mean(key.selected, 5000)
    assert (n_trains, n_entries) == (1000, 1000)
    np.testing.assert_allclose(whole, key.ndarray().mean(axis=0))


def test_scalars_are_points_or_a_band(run):
    key = run[MOTOR, "position"]
    few = key[:100].plot()
    x, y = few.lines[0].get_data()
    np.testing.assert_array_equal(y, key[:100].ndarray())
    assert x.tolist() == list(range(100))
    assert few.get_ylabel() == "position (μm)"
    assert "data for 100 of 100 trains · min -" in texts_of(few)
    many = key.plot()
    assert "3000 values; line: mean, band: minimum to maximum, of 3.75 trains each" in texts_of(
        many
    )
    assert many.collections
    gaps = run[MOTOR, "position"].select_trains([0, 1, 2, 3, 90, 91]).plot()
    assert np.isnan(gaps.lines[0].get_ydata()).sum() == 0  # side by side: a selection has no gaps
    mine = mpl.pyplot.figure().subplots()
    assert key.plot(mine) is mine


def test_texts_are_steps_and_what_cannot_be_drawn_says_so(run):
    assert "1 different, 0 changes" in texts_of(run[MOTOR, "state"].plot())
    key = run[MOTOR, "note"][:3]
    axes = key.plot()
    assert [t.get_text() for t in axes.get_yticklabels()] == list(key.ndarray())
    assert axes.lines[0].get_ydata().tolist() == [0, 1, 2]
    assert "3 different, 2 changes" in texts_of(axes)
    with pytest.raises(NotPlottableError, match=r"'note.value' has 3000 different texts"):
        run[MOTOR, "note"].plot()
    with pytest.raises(NotPlottableError, match="several fields"):
        run["A/T/1:output", "t.table"].plot()
    with pytest.raises(NoDataError):
        run["A/NO/1:output", "data.x"].plot()


def test_without_matplotlib_the_message_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    for plot in (run.plot, run.plot_missing_data, run[MOTOR, "position"].plot):
        with pytest.raises(MissingPackageError, match=r"pip install 'xfelcat\[plot\]'"):
            plot()


def test_the_axis_of_trains():
    gappy = TrainAxis(TrainSet.from_ids([100, 101, 105, 106]))
    assert gappy.at(gappy.trains.ids).tolist() == [0, 1, 5, 6]
    assert gappy.length == 7
    far = TrainAxis(TrainSet.from_ids([100, 101, 2**64 - 1]))
    assert far.at(far.trains.ids).tolist() == [0, 1, 2]
    assert far.ticks()[1][:2] == ["0\n100", "0.1\n101"]
    assert far.ticks()[1][2].endswith(f"\n{2**64 - 1}")
    assert TrainAxis(TrainSet.from_ids([])).ticks() == ([], [])
    places, labels = TrainAxis(TrainSet.from_ids(range(1000, 37_000))).ticks()
    assert places == [0, 10_000, 20_000, 30_000]
    assert labels[1] == "1000\n11000"


def test_sparklines():
    assert sparkline(np.array([0, 7, 3.5, np.nan])) == "▁█▅ "
    assert sparkline(np.array([2.0, 2.0, np.nan])) == "▄▄ "
    assert sparkline(np.array([0.5, 1.0]), 0, 1) == "▅█"
    assert sparkline(np.array([np.nan])) == " "


def test_a_point_per_run(run):
    key = run["A/XGM/1:output", "data.x"].selected
    time = np.datetime64("2024-11-12T16:00:00", "ns")
    points = [
        key_plot.RunPoint(f"r{n}", "", time + np.timedelta64(n, "h"), key) for n in range(1, 4)
    ]
    axes = key_plot.plot_runs(points, left_out=1)
    values = key.read()
    mean, std = values.mean(dtype="f8"), values.std(dtype="f8")
    segments = axes.containers[0][2][0].get_segments()
    np.testing.assert_allclose(segments[0][:, 1], [mean - std, mean + std], rtol=1e-6)
    assert "3 runs · 1 left out, that lack it" in texts_of(axes)
    undated = [key_plot.RunPoint("r1", "", np.datetime64("NaT", "ns"), key), *points]
    axes = key_plot.plot_runs(undated)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["r1", "r1", "r2", "r3"]
