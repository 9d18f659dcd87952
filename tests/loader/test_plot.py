"""Does the picture of missing data show the right rows, legibly?"""

import re
import subprocess
import sys
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from support import oracle
from support.both_readers import open_both, open_oracle, open_scanned
from support.examples import some
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)
from xfelcat.loader.show import trains_plot

N_TRAINS = 3000


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """Figures are drawn without a screen, and closed after each test."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A run of 80 sources that each miss another share of the trains."""

    def counts(i):
        return lambda trains: np.arange(trains.size) >= (i + 1) * N_TRAINS // 90

    sources = [
        instrument(
            f"SPB_EXP_CAMERAS/CAM/DETECTOR_{i:02d}:daqOutput",
            GroupSpec("data", (KeySpec("x", "u1"),), counts(i)),
        )
        for i in range(80)
    ]
    path = tmp_path_factory.mktemp("many")
    write_run(path, RunSpec(900032, 5, split(range(10**9, 10**9 + N_TRAINS), {"DA01": sources})))
    return open_scanned(path)


def label_shares(axes):
    """Percentage by label, as EXtra-data writes both into the tick labels."""
    pattern = re.compile(r"(.+) \(([\d.]+)%\)")
    found = (pattern.fullmatch(t.get_text()) for t in axes.get_yticklabels())
    return {m[1]: float(m[2]) for m in found if m}


@pytest.mark.parametrize("expand", some([False, True], [True]))
@pytest.mark.parametrize(
    "limit", [80, *(pytest.param(n, marks=pytest.mark.slow) for n in (95, 50, 10))]
)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_rows_as_extra_data(facility, number, limit, expand):
    path = facility.run(900021, number).path
    ours, theirs = open_both(path)
    axes = ours.plot_missing_data(limit, expand_instrument=expand)
    reference = label_shares(theirs.plot_missing_data(limit, expand_instrument=expand))
    # "Less than", says the document; EXtra-data shows sources with just this percentage too.
    reference = {name: share for name, share in reference.items() if share < limit}
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert set(labels) == set(reference)
    rows = {r.label: r for r in trains_plot.coverage_rows(ours.selected, expand_instrument=expand)}
    assert {name: round(rows[name].percent, 2) for name in labels} == reference
    shares = [rows[name].percent for name in labels]
    assert shares == sorted(shares)
    assert labels or limit <= 50


def test_rows_say_which_trains_have_data(facility):
    written = facility.run(900032, 2)
    run = open_scanned(written.path)
    rows = {
        r.label: r.present for r in trains_plot.coverage_rows(run.selected, expand_instrument=True)
    }
    assert "SPB_RR_SYS/TSYS/TIMESERVER" not in rows
    for source, key in (
        ("SPB_DET_AGIPD1M-1/DET/4CH0:xtdf", "image.data"),
        ("SPB_XTD9_ADC/ADC/1:network", "peaks.table"),
        ("SPB_IRU_CAM/CAM/SIDEMIC:daqOutput", "data.image.pixels"),
    ):
        counts = oracle.expected_counts(written.spec, source, key)
        expected = [counts[t] > 0 for t in run.train_ids]
        assert rows[f"{source} {key.split('.')[0]}.*"].tolist() == expected
        assert 0 < sum(expected) < len(expected)
    some = run.select("*ADC*").select_trains(np.s_[3:9])
    (row,) = trains_plot.coverage_rows(
        some.select("*", "peaks.*").selected, expand_instrument=False
    )
    assert row.present.tolist() == [t % 2 == 0 for t in some.train_ids]


def test_title_says_what_is_shown(facility):
    run = open_scanned(facility.run(900032, 2).path)
    axes = run.plot_missing_data(80)
    assert axes.get_title(loc="left") == "Sources with data for less than 80 % of the trains"
    texts = [t.get_text() for t in axes.texts]
    # The images of all modules lack trains, though their headers do not; so do peaks of the ADC.
    assert "p900032, run 2 · 32 trains · 18 of 29 sources" in texts
    assert {"75.0 %", "50.0 %"} <= set(texts)
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels[0] == "SPB_XTD9_ADC/ADC/1:network peaks.*"
    assert "SPB_DET_AGIPD1M-1/DET/9CH0:xtdf image.*" in labels
    whole = run.plot_missing_data(80, expand_instrument=False)
    assert "p900032, run 2 · 32 trains · 1 of 29 sources" in [t.get_text() for t in whole.texts]
    assert axes.get_xlabel() == "Seconds since the first train, and train ID"
    first, *_, last = (t.get_text() for t in axes.get_xticklabels())
    assert first == f"0\n{run.train_ids[0]}"
    assert last == f"3\n{run.train_ids[30]}"
    old = open_scanned(facility.run(900010, 3).path)
    texts = [t.get_text() for t in old.plot_missing_data(expand_instrument=False).texts]
    assert "90 trains · 1 of 10 sources" in texts
    joined = run.union(old).plot_missing_data(expand_instrument=True)
    assert any(t.get_text().startswith("several runs · 122 trains") for t in joined.texts)


def test_nothing_missing_is_said(facility):
    axes = open_scanned(facility.run(900032, 3).path).select("*MOTOR*").plot_missing_data()
    texts = [t.get_text() for t in axes.texts]
    assert "no such sources" in texts
    assert "p900032, run 3 · 120 trains · 0 of 4 sources" in texts
    none = open_scanned(facility.run(900032, 3).path)[:0]
    for empty in (none.plot_missing_data(101), none.plot()):
        assert "no such sources" in [t.get_text() for t in empty.texts]


def test_an_overview_has_every_source_in_few_rows(facility):
    run = open_scanned(facility.run(900032, 2).path)
    axes = run.plot()
    labels = [t.get_text() for t in axes.get_yticklabels()]
    shares = [t.get_text() for t in axes.texts if t.get_text().endswith("%")]
    of_row = dict(zip(labels, shares, strict=True))
    assert of_row["SPB_DET_AGIPD1M-1/DET/*CH0:xtdf (16 modules)"] == "75.0 %"  # of the images
    assert of_row["SPB_IRU_MOTORS/MOTOR/SAMPLE_{X, Y}"] == "100.0 %"
    short = trains_plot.overview_rows(run.selected, most=6)
    names = [row.label for row in short]
    assert "SA1_XTD2_XGM/XGM/DOOCS and 8 more with data for every train" in names
    kinds = [row.kind for row in short]
    assert kinds == sorted(kinds, key=["detector", "instrument source", "control source"].index)
    assert len(names) <= 6


@pytest.mark.parametrize("n", [1, 5, 80])
def test_everything_is_legible(many, n):
    axes = many.select([f"*_{i:02d}:*" for i in range(80 - n, 80)]).plot_missing_data(101)
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    labels = [t.get_window_extent(renderer) for t in axes.get_yticklabels()]
    assert len(labels) == n
    for upper, lower in pairwise(labels):
        assert upper.y0 >= lower.y1
    heading = axes.title, axes._left_title, *axes.texts
    legend = axes.get_legend().get_window_extent(renderer)
    xlabel = axes.xaxis.label.get_window_extent(renderer)
    boxes = [*labels, legend, xlabel, *(t.get_window_extent(renderer) for t in heading)]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    assert not legend.overlaps(xlabel)
    title, subtitle = (
        axes._left_title.get_window_extent(renderer),
        axes.texts[-1].get_window_extent(renderer),
    )
    assert not title.overlaps(subtitle)
    assert all(t.get_fontsize() >= 8 for t in axes.get_yticklabels())


def test_pixels_show_where_data_is_missing(many):
    axes = many.select(["*_00:*", "*_79:*"]).plot_missing_data(101)
    images = [im.get_array()[0, :, :3] for im in axes.images]
    assert len(images) == 2
    present, missing = np.array(trains_plot._PRESENT), np.array(trains_plot._MISSING)
    for image, share in zip(images, (80 / 90, 1 / 90), strict=True):
        columns = len(image)
        assert 300 < columns < N_TRAINS
        gone = np.isclose(image, missing).all(axis=1)
        there = np.isclose(image, present).all(axis=1)
        assert abs(gone.mean() - share) < 2 / columns
        assert (gone | there).sum() >= columns - 1
        assert gone[0]
        assert there[-1]


def test_a_single_missing_train_among_many_is_visible():
    present = np.ones(10_000, dtype=bool)
    present[4321] = False
    columns = np.arange(10_000) * 500 // 10_000
    share = trains_plot._missing_share(present, columns, 500)
    assert np.flatnonzero(share).tolist() == [216]
    colours = trains_plot._colours(share)[0, :, :3]
    distance = np.abs(colours[216] - colours[0]).max()
    assert distance > 0.1
    assert (
        np.abs(trains_plot._colours(np.array([1.0]))[0, 0, :3] - trains_plot._MISSING).max() < 1e-9
    )


@pytest.mark.parametrize(
    ("n_missing", "text"), [(0, "100.0"), (1, "99.9"), (1999, "<0.1"), (2000, "0.0")]
)
def test_shares_are_not_rounded_to_all_or_nothing(n_missing, text):
    row = trains_plot.CoverageRow("x", np.arange(2000) >= n_missing)
    assert trains_plot._share(row) == text


def test_control_sources_without_data_are_shown(tmp_path):
    sources = (
        control("A/B/C", KeySpec("x"), counts=lambda t: t < 105),
        control("A/B/D", KeySpec("x")),
    )
    write_run(tmp_path, RunSpec(1, 1, split(range(100, 110), {"DA01": sources})))
    (label,) = open_scanned(tmp_path).plot_missing_data().get_yticklabels()
    assert label.get_text() == "A/B/C"
    assert label_shares(open_oracle(tmp_path).plot_missing_data()) == {"A/B/C": 50.0}


def test_matplotlib_is_imported_when_a_plot_is_made():
    code = "import sys, xfelcat.loader.show.display; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
