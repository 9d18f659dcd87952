"""Pictures of the data of a key: along the trains of a run, or a point for each of many runs.

1. ``plot_key``: scalars as points or, where there are too many, as mean, minimum and maximum of
   columns; texts as steps; arrays as a map of trains against positions; images as their mean.
2. ``plot_runs``: mean and spread of each run against the time of its first train.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import NoDataError, NotPlottableError, import_extra
from ...catalog.model.identity import identify_run
from ..read.selected import SelectedKey
from ..read.summary import Summary, summarize
from .course import (
    Course,
    Floats,
    TrainAxis,
    check_numbers,
    in_parts,
    one_per_column,
    read_course,
    read_mean,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 800  # pixels of the axes of a usual figure
_COLUMNS_OF_RUN = 100  # trains of arrays that are read of a run
_MOST_POINTS = 1600  # more lie above each other
_MOST_ROWS = 400  # of a map
_MOST_STATES = 20  # that have room for their names
_COLOUR = "#2f6fae"
_BAND = "#a9c8e8"


def plot_key(key: SelectedKey, axes: "Axes | None" = None, most_trains: int = 50) -> "Axes":
    """Draw the data of a key; see ``KeyData.plot``."""
    plt = import_extra("matplotlib.pyplot", "plot")
    n_dims = len(key.entry_shape)
    is_text = key.dtype.kind in "OSU" and not n_dims
    if not is_text:  # before there is a figure
        check_numbers(key)
    elif not key.rows.n_rows:
        raise NoDataError(key.entry.name, key.name)
    if axes is None:
        size = (6.4, 5.2) if n_dims > 1 else (8.6, 3.8)
        _, axes = plt.subplots(figsize=size, layout="constrained")
    if is_text:
        about = _draw_states(key, axes)
    elif n_dims == 0:
        about = _draw_scalars(key, axes)
    elif n_dims == 1 and len(key.rows.trains_with_rows) == 1:
        about = _draw_trace(key, axes)
    elif n_dims == 1:
        about = _draw_map(key, axes)
    else:
        about = _draw_image(key, axes, most_trains)
    name = key.label(" ")
    title = name if len(name) <= 60 or n_dims < 2 else key.label("\n")
    title_axes(axes, title, f"{run_name(key)} · {about}")
    return axes


def run_name(key: SelectedKey) -> str:
    """``p002012/raw/r0034``; the folder of a run outside a facility tree."""
    folders = {ref.facts.directory for ref in key.entry.refs}
    if len(folders) != 1:
        return "several runs"
    path = folders.pop()
    who = identify_run(path, os.path.realpath(path))
    return os.path.basename(path) if who.is_loose else str(who)


def title_axes(axes: "Axes", title: str, about: str) -> None:
    """A title, and what there is to say about the picture below it, smaller."""
    n_lines = about.count("\n") + 1
    axes.set_title(title, loc="left", fontsize=11, pad=9 + 12 * n_lines)
    axes.annotate(
        about,
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8.5,
        color="#444c55",
        va="bottom",
    )


def label_trains(axes: "Axes", axis: TrainAxis) -> None:
    """Seconds and train IDs along the x axis."""
    places, labels = axis.ticks()
    axes.set_xticks(places, labels, fontsize=8)
    axes.set_xlim(-0.5, max(axis.length, 1) - 0.5)
    axes.set_xlabel("Seconds since the first train, and train ID", fontsize=9)


def value_label(key: SelectedKey) -> str:
    """What the values of a key are, with their unit."""
    name = key.label(" ").rpartition(" ")[2]
    return f"{name} ({key.units})" if key.units else name


def _plain(axes: "Axes") -> None:
    """Numbers without an offset that readers have to add."""
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def trains_text(key: SelectedKey) -> str:
    """For how many of its trains a key has data."""
    return f"data for {len(key.rows.trains_with_rows)} of {len(key.trains)} trains"


def range_text(summary: Summary, unit: str | None) -> str:
    """Minimum, mean and maximum, with the unit."""
    if summary.minimum is None or summary.mean is None:
        return "no finite values"
    texts = (f"{x:.6g}" for x in (summary.minimum, summary.mean, summary.maximum))
    low, mean, high = texts
    return f"min {low}, mean {mean}, max {high}{f' {unit}' if unit else ''}"


def _draw_scalars(key: SelectedKey, axes: "Axes") -> str:
    axis, more = TrainAxis(key.trains), ""
    if key.rows.n_rows <= _MOST_POINTS:
        data = key.read()
        summary = summarize(data)
        points = axis.at(key.rows.coordinates), data.astype(np.float64)
        size = 1 if len(data) > 200 else 3.5
        if (key.rows.counts > 1).any():  # a line would go up and down within each train
            axes.plot(*points, ".", color=_COLOUR, markersize=size + 1)
        else:
            line = _with_gaps(*points)
            axes.plot(*line, "o-", color=_COLOUR, markersize=size, linewidth=0.8)
    else:
        course = read_course(key, min(_COLUMNS, axis.length), axis)
        summary = course.summary
        _draw_course(course, axis, axes)
        per_column = axis.length / course.mean.size
        more = f"\n{key.rows.n_rows} values; line: mean, band: minimum to maximum"
        more += f", of {per_column:.3g} trains each" * (per_column > 1)
    label_trains(axes, axis)
    axes.set_ylabel(value_label(key), fontsize=9)
    _plain(axes)
    return f"{trains_text(key)} · {range_text(summary, key.units)}{more}"


def _with_gaps(x: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The points, with NaN where more trains lack than is usual for the key."""
    steps = np.diff(x)
    gaps = np.flatnonzero(steps > 3 * np.median(steps)) + 1 if steps.size else np.empty(0, int)
    return np.insert(x, gaps, np.nan), np.insert(values, gaps, np.nan)


def _draw_course(course: Course, axis: TrainAxis, axes: "Axes") -> None:
    width = axis.length / course.mean.size
    x = (np.arange(course.mean.size) + 0.5) * width - 0.5
    there = ~np.isnan(course.mean)
    axes.fill_between(
        x[there], course.low[there], course.high[there], color=_BAND, linewidth=0, step="mid"
    )  # fmt: skip
    axes.plot(x[there], course.mean[there], color=_COLOUR, linewidth=0.9)


def _draw_states(key: SelectedKey, axes: "Axes") -> str:
    """Texts, or other objects of which there are few different ones, as steps."""
    values = [str(v) for v in key.read().tolist()]
    names = list(dict.fromkeys(values))
    if len(names) > _MOST_STATES:
        raise NotPlottableError(key.entry.name, key.name, f"{len(names)} different texts")
    axis = TrainAxis(key.trains)
    x, at = axis.at(key.rows.coordinates), np.array([names.index(v) for v in values])
    axes.step(x, at, "o-", where="post", color=_COLOUR, markersize=2.5, linewidth=0.8)
    axes.set_yticks(range(len(names)), [n if len(n) <= 30 else f"{n[:29]}…" for n in names])
    axes.set_ylim(-0.5, len(names) - 0.5)
    label_trains(axes, axis)
    axes.set_ylabel(value_label(key), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8)
    n_changes = int(np.count_nonzero(np.diff(at)))
    return f"{trains_text(key)} · {len(names)} different, {n_changes} changes"


def _draw_trace(key: SelectedKey, axes: "Axes") -> str:
    """The arrays of a single train: the one, or mean and extremes of several."""
    data = key.read().astype(np.float64)
    x = np.arange(data.shape[1])
    axes.plot(x, np.nanmean(data, axis=0), color=_COLOUR, linewidth=0.8)
    about = f"train {key.rows.coordinates[0]}"
    if len(data) > 1:
        axes.fill_between(
            x, np.nanmin(data, axis=0), np.nanmax(data, axis=0), color=_BAND, linewidth=0
        )
        about += f", mean and extremes of {len(data)} entries"
    axes.set_xlabel("Position in the array", fontsize=9)
    axes.set_ylabel(value_label(key), fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    _plain(axes)
    return about


def _draw_map(key: SelectedKey, axes: "Axes") -> str:
    """Arrays as columns, a train each: the mean of its entries."""
    axis = TrainAxis(key.trains)
    n_columns = min(_COLUMNS, axis.length)
    chosen = one_per_column(key, axis, n_columns)
    length = key.entry_shape[0]
    n_rows = min(length, _MOST_ROWS)
    edges = np.linspace(0, length, n_rows, endpoint=False).astype(np.intp)
    widths = np.diff(edges, append=length)
    picture = np.full((n_rows, n_columns), np.nan)
    for part in in_parts(key, chosen):
        data = part.read().astype(np.float64)
        columns = axis.columns(part.rows.coordinates, n_columns)
        firsts = np.flatnonzero(np.diff(columns, prepend=-1))
        counts = np.diff(firsts, append=len(columns))
        means = np.add.reduceat(data, firsts, axis=0) / counts[:, None]
        picture[:, columns[firsts]] = (np.add.reduceat(means, edges, axis=1) / widths).T
    extent = (-0.5, axis.length - 0.5, -0.5, length - 0.5)
    _show(axes, picture, value_label(key), extent=extent, origin="lower", aspect="auto")
    label_trains(axes, axis)
    axes.set_ylabel("Position in the array", fontsize=9)
    axes.tick_params(axis="y", labelsize=8)
    about = trains_text(key)
    if chosen.size < len(key.rows.trains_with_rows):
        about += f", {chosen.size} of them read"
    return about + (f" · each pixel a mean of {length / n_rows:.0f} values" * (n_rows < length))


def _draw_image(key: SelectedKey, axes: "Axes", most_trains: int) -> str:
    mean, n_trains, n_entries = read_mean(key, most_trains)
    _show(axes, mean, value_label(key), interpolation="nearest")
    axes.set_xlabel("Column", fontsize=9)
    axes.set_ylabel("Row", fontsize=9)
    axes.tick_params(labelsize=8)
    n_having = len(key.rows.trains_with_rows)
    if n_entries == 1:
        about = f"train {key.rows.trains_with_rows.ids[0]}"
    else:
        about = f"mean of {n_entries} entries of {n_trains} trains"
        about += f", of {n_having} with data" * (n_trains < n_having)
    above = key.entry_shape[:-2]
    return about + f" · position {', '.join('0' * len(above))} of {above}" * bool(above)


def _show(axes: "Axes", picture: NDArray[Any], label: str, **options: Any) -> None:
    """Numbers as colours, from the first to the last but a few outliers."""
    finite = picture[np.isfinite(picture)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0, 1)
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}.get(
        (bool((finite < low).any()), bool((finite > high).any())), "both"
    )
    drawn = axes.imshow(picture, vmin=low, vmax=high, cmap="viridis", **options)
    beside = axes.inset_axes((1.02, 0, 0.03, 1))  # as high as the picture, whatever its shape
    bar = axes.figure.colorbar(drawn, cax=beside, extend=extend)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


@dataclass(frozen=True, slots=True)
class RunPoint:
    """A run in a picture of many."""

    label: str
    """Its short name, such as ``r12``."""
    group: str
    """What it has in common with others, which have the same colour."""
    time: "np.datetime64"
    """Time of its first train; NaT if it is not recorded."""
    key: SelectedKey


def plot_runs(points: Sequence[RunPoint], axes: "Axes | None" = None, left_out: int = 0) -> "Axes":
    """Draw mean, standard deviation and extremes of each run; see ``Runs.plot``."""
    if not points:
        raise ValueError("no run has such data")
    key = next((p.key for p in points if p.key.units), points[0].key)
    plt = import_extra("matplotlib.pyplot", "plot")
    if axes is None:
        _, axes = plt.subplots(figsize=(8.6, 4.0), layout="constrained")
    times = np.array([p.time for p in points])
    is_timed = not np.isnat(times).any()
    x = times if is_timed else np.arange(len(points))
    courses = [read_course(p.key, _COLUMNS_OF_RUN) for p in points]
    summaries = [course.summary for course in courses]
    mean, std, low, high = (
        np.array([np.nan if v is None else v for v in values], np.float64)
        for values in zip(*((s.mean, s.std, s.minimum, s.maximum) for s in summaries), strict=True)
    )
    groups = list(dict.fromkeys(p.group for p in points))
    for at, group in enumerate(groups):
        own = [p.group == group for p in points]
        colour = f"C{at}" if len(groups) > 1 else _COLOUR
        axes.vlines(x[own], low[own], high[own], color=colour, alpha=0.35, linewidth=1)
        axes.errorbar(
            x[own], mean[own], std[own], fmt="o", color=colour, markersize=4, capsize=2.5,
            linewidth=1.4, label=group,
        )  # fmt: skip
    _label_runs(axes, points, x, is_timed=is_timed)
    if len(groups) > 1:
        axes.legend(loc="best", framealpha=0.85, fontsize=8)
    axes.set_ylabel(value_label(key), fontsize=9)
    _plain(axes)
    axes.margins(x=0.04)
    texts = [f"{len(points)} run{'s' * (len(points) != 1)}"]
    texts += [f"{left_out} left out, that lack it"] if left_out else []
    texts.append("mean, standard deviation (bars), minimum to maximum (thin)")
    if n_sampled := sum(c.n_read < c.n_trains for c in courses):
        texts.append(f"some trains only of {n_sampled} of them")
    title_axes(axes, key.label(" "), " · ".join(texts))
    return axes


def _label_runs(axes: "Axes", points: Sequence[RunPoint], x: Any, *, is_timed: bool) -> None:
    dates: Any = import_extra("matplotlib.dates", "plot")
    if not is_timed:
        step = -(-len(points) // 25)
        axes.set_xticks(x[::step], [p.label for p in points][::step], fontsize=8)
        axes.set_xlabel("Run (not all record their time)", fontsize=9)
        return
    locator = dates.AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("Time of the first train (UTC)", fontsize=9)
    if len(points) <= 30:
        for place, point in zip(x, points, strict=True):
            axes.annotate(
                point.label, (place, 0), (0, 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", fontsize=7, color="#57606a",
            )  # fmt: skip
