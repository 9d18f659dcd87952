"""Which sources miss data for which trains, as a picture?

1. ``coverage_rows``: per source (or index group), for which of the collection's trains it has data.
2. ``plot_missing_data``: one bar per row along the trains, the worst at the top.

Needs matplotlib; it is imported when a plot is asked for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import MultiRunError
from ...catalog.model.names import run_text
from ..read.selected import SelectedData
from .inspection import natural_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CoverageRow", "coverage_rows", "plot_missing_data"]

# Distinct in print and for colour-blind eyes, on white and on black.
_PRESENT = (0.78, 0.86, 0.93)
_MISSING = (0.62, 0.08, 0.08)
_ANY_MISSING = 0.2
_ROW_INCHES = 0.24
_CHARACTER_INCHES = 0.075
_BAR_SHARE = 0.72


@dataclass(frozen=True, eq=False, slots=True)
class CoverageRow:
    """``present``, (n,) bool, for the n trains of the collection; ``label`` names the source."""

    label: str
    present: NDArray[np.bool_]

    @property
    def percent(self) -> float:
        """The share of the trains with data, in percent; 100 where there are no trains."""
        return float(self.present.mean() * 100) if self.present.size else 100.0


def coverage_rows(data: SelectedData, *, expand_instrument: bool) -> list[CoverageRow]:
    """A row for every source of the collection that has keys.

    With ``expand_instrument`` an INSTRUMENT source has a row for each of its index groups; else a
    train counts as present if any of them has data.
    """
    rows = []
    for name in sorted(data.current_names, key=natural_key):
        source = data.source(name)
        if not source.keys():
            continue  # recorded at the start of the run only
        is_expanded = expand_instrument and not source.is_control
        for group in sorted(source.index_groups) if is_expanded else [None]:
            label = name if group is None else f"{name} {group}.*"
            rows.append(CoverageRow(label, source.counts(group) > 0))
    return rows


def plot_missing_data(
    data: SelectedData, min_saved_pct: float = 95, expand_instrument: bool = False
) -> "Axes":
    """Plot the sources that miss data for some trains.

    Parameters
    ----------
    data
        The data to look at; no data file is opened for what the catalog knows.
    min_saved_pct
        Show the sources that have data for less than this percentage of the trains.
    expand_instrument
        Show the index groups of INSTRUMENT sources one by one.

    Returns
    -------
    matplotlib.axes.Axes
        With one bar per source, the one with the least data at the top. Its figure is as high as
        the number of bars needs.
    """
    rows = coverage_rows(data, expand_instrument=expand_instrument)
    shown = [row for row in rows if row.present.size and row.percent < min_saved_pct]
    shown.sort(key=lambda row: row.percent)
    title = f"Sources with data for less than {min_saved_pct:g} % of the trains"
    axes = _make_axes(shown)
    _draw(axes, shown, len(data.trains))
    what = "index groups" if expand_instrument else "sources"
    axes.set_title(title, loc="left", fontsize=12, pad=26)
    axes.annotate(
        f"{_describe(data)} · {len(shown)} of {len(rows)} {what}",
        (0, 1),
        (0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
    )
    return axes


def _describe(data: SelectedData) -> str:
    """The run, where there is one and its files say which; and the number of trains."""
    trains = f"{len(data.trains)} trains"
    try:
        metadata = data.run_metadata()
    except MultiRunError:
        return f"several runs · {trains}"
    run = run_text(metadata)
    return f"{run} · {trains}" if run else trains


def _make_axes(rows: list[CoverageRow]) -> "Axes":
    """Axes in a figure of its own, with room for the names to the left."""
    import matplotlib.pyplot as plt

    names = max((len(row.label) for row in rows), default=0) * _CHARACTER_INCHES
    height = 1.7 + _ROW_INCHES * max(len(rows), 1)
    width = names + 6.6
    figure = plt.figure(figsize=(width, height))
    box = (
        (names + 0.35) / width,
        0.62 / height,
        (width - names - 0.35 - 0.9) / width,
        (height - 0.62 - 0.75) / height,
    )
    return figure.add_axes(box)


def _draw(axes: "Axes", rows: list[CoverageRow], n_trains: int) -> None:
    """The bars, their names and shares, and the legend."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    axes.set_xlabel("Train (position in this data)", loc="left", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlim(0, max(n_trains, 1))
    if not rows:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no such sources", transform=axes.transAxes, ha="center", va="center")
        return
    n_columns = min(n_trains, int(axes.get_window_extent().width))
    for at, row in enumerate(rows):
        axes.imshow(
            _colours(_missing_share(row.present, n_columns)),
            extent=(0, n_trains, at + _BAR_SHARE / 2, at - _BAR_SHARE / 2),
            aspect="auto",
            interpolation="nearest",
        )
    axes.set_xlim(0, n_trains)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8, family="monospace")
    axes.tick_params(axis="y", length=0)
    for at, row in enumerate(rows):
        axes.annotate(
            f"{_share(row)} %",
            (1, at),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8,
            va="center",
            annotation_clip=False,
        )
    shades = [(0.0, "data"), (1.0, "no data")]
    if n_columns < n_trains:  # several trains share a pixel
        shades.insert(1, (0.4, "some trains without"))
    handles = [Patch(color=_colours(np.array([s]))[0, 0], label=label) for s, label in shades]
    axes.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1, 0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -0.27, axes.figure.dpi_scale_trans),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        handlelength=1.2,
    )


def _share(row: CoverageRow) -> str:
    """The percentage with one decimal; never rounded up to 100 or down to 0."""
    if 0 < row.percent < 0.1:
        return "<0.1"
    return f"{np.floor(row.percent * 10) / 10:.1f}"


def _missing_share(present: NDArray[np.bool_], n_columns: int) -> NDArray[np.float64]:
    """The share of missing trains in each of ``n_columns`` equal stretches, (n_columns,)."""
    edges = np.linspace(0, present.size, n_columns + 1).round().astype(np.intp)
    missing: NDArray[np.float64] = np.add.reduceat(~present, edges[:-1], dtype=np.float64)
    return missing / np.diff(edges)


def _colours(missing: NDArray[np.float64]) -> NDArray[np.float64]:
    """One line of pixels, (1, n, 3); a single missing train still tints its pixel visibly."""
    weight = np.where(missing > 0, _ANY_MISSING + (1 - _ANY_MISSING) * missing, 0.0)[:, None]
    line: NDArray[np.float64] = (1 - weight) * np.array(_PRESENT) + weight * np.array(_MISSING)
    return line[None]
