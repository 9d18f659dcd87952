"""The runs of a proposal over wall-clock time, as the catalog has them."""

import dataclasses
from datetime import datetime

import matplotlib as mpl
import numpy as np
import pytest
from support.report_catalogs import store_of
from support.run_records import make_run, with_file
from xfelcat import Catalog
from xfelcat.catalog.model.errors import QueryError
from xfelcat.catalog.model.records import Problem
from xfelcat.catalog.questions.filters import RunFilter
from xfelcat.catalog.report.timeline import find_bars, plot_timeline, timeline_lines


def beginning(record, time):
    """The run, with its first train at a time."""
    first = min(int(f.timestamps[0]) for f in record.files)
    by = np.uint64(int(np.datetime64(time, "ns").astype(int)) - first)
    files = (dataclasses.replace(f, timestamps=f.timestamps + by) for f in record.files)
    return dataclasses.replace(record, files=tuple(files))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three runs: one faulty, one over midnight, one processed."""
    faulty = beginning(make_run(1), "2024-05-01T20:30")
    path = f"{faulty.directory}/{faulty.files[0].name}"
    faulty = with_file(faulty, 0, problems=(Problem("I01", "E", "bad", path, "X"),))
    late = beginning(make_run(2), "2024-05-01T23:59:58.5")
    proc = beginning(make_run(2, data_class="proc"), "2024-05-01T23:59:58.5")
    return store_of(tmp_path_factory.mktemp("timeline") / "catalog", [faulty, late, proc])


def test_bars_are_the_runs_in_the_order_of_time(store):
    bars = find_bars(store, RunFilter(), "state")
    assert [(b.run, b.data_class, b.group) for b in bars] == [
        (1, "raw", "errors"),
        (2, "raw", "neither"),
        (2, "proc", "neither"),
    ]
    found = Catalog(store.location).runs(data_class="raw")
    assert [b.start for b in bars[:2]] == found.started_at.dt.to_pydatetime().tolist()
    assert [b.end for b in bars[:2]] == found.ended_at.dt.to_pydatetime().tolist()
    first, second = bars[1].by_day()
    assert (first.end, second.start) == (datetime(2024, 5, 2), datetime(2024, 5, 2))
    assert first.hour(first.end) == 24.0
    assert second.hour(second.start) == 0.0
    assert {b.group for b in find_bars(store, RunFilter(), "data_class")} == {"raw", "proc"}
    assert {b.group for b in find_bars(store, RunFilter(), "sample")} == {"not recorded"}


def test_what_has_no_timeline_says_so(store):
    with pytest.raises(QueryError, match=r"'smaple'; did you mean 'sample'"):
        find_bars(store, RunFilter(), "smaple")
    with pytest.raises(QueryError, match="records when it was"):
        Catalog(store.location).plot_timeline(proposal=1)


def test_the_picture_has_a_row_per_day_and_a_lane_per_data_class(store):
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    axes = plot_timeline(store, RunFilter.of(proposal=2012))
    assert axes.get_title(loc="left") == "Runs of p002012"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Wed 2024-05-01", "Thu 2024-05-02"]
    assert len(axes.collections) == 5  # two runs are cut at midnight
    (about,) = (t.get_text() for t in axes.texts if "runs" in t.get_text())
    assert about.endswith("from top to bottom of a day: raw, proc")
    names = [t.get_text() for t in axes.figure.legends[0].get_texts()]
    assert names == ["errors", "neither"]
    raw, proc = (c.get_paths()[0].get_extents() for c in axes.collections[1:4:2])
    assert raw.x0 == pytest.approx(proc.x0)
    assert raw.y1 < proc.y0
    plt.close(axes.figure)


def test_days_as_text(store):
    bars = find_bars(store, RunFilter(), "state")
    first, second = timeline_lines(bars, per_day=24)
    assert first == f"Wed 2024-05-01  {'·' * 20}█··█"
    assert second == f"Thu 2024-05-02  █{'·' * 23}"
