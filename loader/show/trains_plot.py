"""Pictures of which sources have data for which trains, of a run or of many.

1. ``coverage_rows``: a row per source, or per index group, with the trains for which it has data.
2. ``overview_rows``: the same for all sources in few rows: a detector is one, so are those alike.
3. ``plot_missing_data`` and ``plot_overview`` draw such rows along the trains (matplotlib).
4. ``plot_missing_of_runs``: sources against runs, by the share of trains with data.

All come from facts; no data are read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import MultiRunError, import_extra
from ...catalog.model.names import run_text
from ..read.selected import SelectedData, SelectedSource
from .course import Floats, TrainAxis
from .display import compact_names, detector_groups
from .inspection import natural_key, sources_of
from .key_plot import label_trains, title_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinct in print and for colour-blind eyes, on white and on black.
_PRESENT = (0.78, 0.86, 0.93)
_MISSING = (0.62, 0.08, 0.08)
_KINDS = {
    "detector": (0.17, 0.53, 0.35),
    "instrument source": (0.18, 0.44, 0.68),
    "control source": (0.55, 0.48, 0.70),
}
_NOTHING = (0.93, 0.94, 0.95)
_ANY_MISSING = 0.2
_ROW_INCHES = 0.24
_CHARACTER_INCHES = 0.075
_BAR_SHARE = 0.72
_MOST_SOURCES = 60  # against runs
_MOST_ROWS = 45  # of an overview, as fit on a screen


@dataclass(frozen=True, eq=False, slots=True)
class CoverageRow:
    """``present``, (n,), for the n trains: whether there are data, or for which share of members.

    ``label`` names the source, ``kind`` is one of ``_KINDS``.
    """

    label: str
    present: NDArray[Any]
    kind: str = "instrument source"

    @property
    def percent(self) -> float:
        """The share of the trains with data, in percent; 100 where there are no trains."""
        return float(self.present.mean() * 100) if self.present.size else 100.0


Shade = Callable[[Floats, CoverageRow], Floats]


def _kind(source: SelectedSource) -> str:
    return "control source" if source.is_control else "instrument source"


def coverage_rows(data: SelectedData, *, expand_instrument: bool | None) -> list[CoverageRow]:
    """A row for every source of the collection that has keys.

    With ``expand_instrument`` an INSTRUMENT source has a row for each of its index groups, with
    None only where these have data for different trains; else a train counts as present if any of
    them has data.
    """
    rows = []
    for name in sources_of(data):
        source = data.source(name)
        if not source.keys():
            continue  # recorded at the start of the run only
        groups: Sequence[str | None] = [None]
        if expand_instrument is not False and not source.is_control:
            groups = sorted(source.index_groups)
        present = {group: source.counts(group) > 0 for group in groups}
        first = next(iter(present.values()))
        if expand_instrument is None and all(np.array_equal(p, first) for p in present.values()):
            present = {None: first}
        for group, trains in present.items():
            label = name if group is None else f"{name} {group}.*"
            rows.append(CoverageRow(label, trains, _kind(source)))
    return rows


def overview_rows(data: SelectedData, most: int = _MOST_ROWS) -> list[CoverageRow]:
    """Detectors, instrument sources and control sources, in rows of what is alike.

    A train counts where all index groups of a source have data. Sources of a kind with the same
    trains are one row where their names differ in the last part only; whatever their names, should
    there else be more than ``most`` rows.
    """
    detectors, others = detector_groups(sources_of(data))
    rows = []
    for pattern, modules in detectors.items():
        shares = [_complete(data.source(name)) for name in modules.values()]
        label = f"{pattern} ({len(modules)} modules)"
        rows.append(CoverageRow(label, np.mean(shares, axis=0), "detector"))
    alike: dict[tuple[str, bytes], list[str]] = {}
    masks: dict[bytes, NDArray[np.bool_]] = {}
    for name in others:
        source = data.source(name)
        if source.keys():
            mask = _complete(source)
            masks[mask.tobytes()] = mask
            alike.setdefault((_kind(source), mask.tobytes()), []).append(name)
    texts = {group: compact_names(names) for group, names in alike.items()}
    is_long = len(rows) + sum(map(len, texts.values())) > most
    for (kind, mark), names in alike.items():
        mask = masks[mark]
        if is_long and len(names) > 1:
            what = "with data for every train" if mask.all() else "with the same trains"
            more = f"{names[0]} and {len(names) - 1} more {what}"
            rows.append(CoverageRow(more, mask, kind))
        else:
            rows += [CoverageRow(text, mask, kind) for text in texts[kind, mark]]
    order = list(_KINDS)
    return sorted(rows, key=lambda row: order.index(row.kind))


def _complete(source: SelectedSource) -> NDArray[np.bool_]:
    """For which trains all index groups have data, (n,)."""
    having = [source.counts(group) > 0 for group in sorted(source.index_groups)]
    found: NDArray[np.bool_] = np.logical_and.reduce(having)
    return found


def _run_name(data: SelectedData) -> str:
    try:
        return run_text(data.run_metadata())
    except MultiRunError:
        return "several runs"


def plot_missing_data(
    data: SelectedData, min_saved_pct: float = 95, expand_instrument: bool | None = None
) -> "Axes":
    """Plot the sources that lack data in some trains; see ``DataCollection.plot_missing_data``."""
    rows = coverage_rows(data, expand_instrument=expand_instrument)
    shown = [row for row in rows if row.present.size and row.percent < min_saved_pct]
    shown.sort(key=lambda row: row.percent)
    title = f"Sources with data for less than {min_saved_pct:g} % of the trains"
    if min_saved_pct > 100:
        title = "Sources, and the trains for which they have data"
    about = [_run_name(data), f"{len(data.trains)} trains", _counted(shown, rows)]
    shades = {"data": _colours(np.array([0.0])), "no data": _colours(np.array([1.0]))}
    axes, n_columns = _draw(shown, TrainAxis(data.trains), lambda missing, _: _colours(missing))
    if n_columns < len(data.trains):  # several trains share a pixel
        shades = {
            "data": shades["data"],
            "some trains without": _colours(np.array([0.4])),
            "no data": shades["no data"],
        }
    _finish(axes, title, about, {name: tuple(shade[0, 0]) for name, shade in shades.items()})
    return axes


def _counted(shown: Sequence[CoverageRow], rows: Sequence[CoverageRow]) -> str:
    """``3 of 28 sources``, whether they are one row or several."""
    n, of_n = (len({row.label.partition(" ")[0] for row in some}) for some in (shown, rows))
    return f"{n} of {of_n} sources"


def plot_overview(data: SelectedData) -> "Axes":
    """Plot all sources along the trains; see ``DataCollection.plot``."""
    rows = overview_rows(data) if len(data.trains) else []

    def shade(missing: Floats, row: CoverageRow) -> Floats:
        return _colours(missing, _KINDS[row.kind], _NOTHING)

    axes, _ = _draw(rows, TrainAxis(data.trains), shade)
    n = {kind: sum(row.kind == kind for row in rows) for kind in _KINDS}
    about = [_run_name(data), f"{len(data.trains)} trains", f"{len(data.current_names)} sources"]
    legend = {kind: _KINDS[kind] for kind, count in n.items() if count} | {"no data": _NOTHING}
    _finish(axes, "Sources, and the trains for which they have all of their data", about, legend)
    return axes


def coverage_shares(data: SelectedData) -> dict[str, float]:
    """In which share of the trains each detector and each other source has all of its data."""
    detectors, others = detector_groups(sources_of(data))
    members = {pattern: list(modules.values()) for pattern, modules in detectors.items()}
    members |= {name: [name] for name in others if data.source(name).keys()}
    return {
        label: float(np.mean([_complete(data.source(name)) for name in names]))
        for label, names in members.items()
        if len(data.trains)
    }


def plot_missing_of_runs(
    runs: Sequence[str], shares: Sequence[Mapping[str, float]], min_saved_pct: float = 95
) -> "Axes":
    """Plot sources against runs; see ``Runs.plot_missing_data``."""
    plt = import_extra("matplotlib.pyplot", "plot")
    labels = sorted({label for of_run in shares for label in of_run}, key=natural_key)
    table = np.array([[of_run.get(label, np.nan) for of_run in shares] for label in labels])
    table = table.reshape(len(labels), len(runs))
    worst = np.where(np.isnan(table), 0, table)
    is_shown = (worst.min(axis=1, initial=1) * 100 < min_saved_pct) if labels else []
    order = [at for at in np.argsort(worst.mean(axis=1), kind="stable") if is_shown[at]]
    shown = [labels[at] for at in order[:_MOST_SOURCES]]
    names = max(map(len, shown), default=0) * _CHARACTER_INCHES
    size = names + max(0.22 * len(runs), 4.6) + 1.6, 1.7 + _ROW_INCHES * max(len(shown), 1)
    axes: Axes = plt.subplots(figsize=size, layout="constrained")[1]
    if shown:
        colors = import_extra("matplotlib.colors", "plot")
        middle = (0.93, 0.75, 0.62)
        shades = colors.LinearSegmentedColormap.from_list("data", [_MISSING, middle, _PRESENT])
        drawn = axes.imshow(
            table[order[:_MOST_SOURCES]] * 100, vmin=0, vmax=100, cmap=shades, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        bar = axes.figure.colorbar(drawn, cax=axes.inset_axes((1.02, 0, 0.02, 1)))
        bar.set_label("% of trains with data", fontsize=9)
        bar.ax.tick_params(labelsize=8)
        for row, column in np.argwhere(np.isnan(table[order[:_MOST_SOURCES]])):
            axes.plot(column, row, "x", color="#8c939c", markersize=4)
    axes.set_yticks(range(len(shown)), shown, fontsize=8, family="monospace")
    step = -(-len(runs) // 60)
    axes.set_xticks(range(0, len(runs), step), runs[::step], fontsize=8, rotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    about = [f"{len(runs)} runs", f"{len(order)} of {len(labels)} sources"]
    about += [f"the worst {_MOST_SOURCES} shown"] if len(order) > len(shown) else []
    about += ["x: the run lacks the source"]
    title = f"Sources with data for less than {min_saved_pct:g} % of the trains of some run"
    title_axes(axes, title, " · ".join(about))
    return axes


def _draw(rows: Sequence[CoverageRow], axis: TrainAxis, shade: Shade) -> tuple["Axes", int]:
    """A figure of its own with the bars, their names and shares; and how many columns a bar has."""
    plt = import_extra("matplotlib.pyplot", "plot")
    # With room for the names to the left.
    names = max((len(row.label) for row in rows), default=0) * _CHARACTER_INCHES
    height = 2.0 + _ROW_INCHES * max(len(rows), 1)
    width = names + 6.6
    figure, axes = plt.subplots(figsize=(width, height))
    figure.subplots_adjust(
        left=(names + 0.35) / width,
        right=1 - 0.9 / width,
        bottom=0.95 / height,
        top=1 - 0.75 / height,
    )
    label_trains(axes, axis)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if not rows:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no such sources", transform=axes.transAxes, ha="center", va="center")
        return axes, 0
    limits = axes.get_xlim()
    n_columns = min(axis.length, int(axes.get_window_extent().width))
    columns = axis.columns(axis.trains.ids, n_columns)
    for at, row in enumerate(rows):
        axes.imshow(
            shade(_missing_share(row.present, columns, n_columns), row),
            extent=(*limits, at + _BAR_SHARE / 2, at - _BAR_SHARE / 2),
            aspect="auto",
            interpolation="nearest",
        )
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
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8, family="monospace")
    axes.tick_params(axis="y", length=0)
    return axes, n_columns


def _finish(axes: "Axes", title: str, about: Iterable[str], legend: Mapping[str, Any]) -> None:
    """The title, what is shown, and the colours."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    title_axes(axes, title, " · ".join(filter(None, about)))
    axes.xaxis.get_label().set_horizontalalignment("left")
    axes.xaxis.get_label().set_x(0)
    axes.legend(
        handles=[Patch(color=colour, label=label) for label, colour in legend.items()],
        loc="upper right",
        bbox_to_anchor=(1, 0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -0.62, axes.figure.dpi_scale_trans),
        ncols=len(legend),
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


def shares_in_columns(row: CoverageRow, axis: TrainAxis, n_columns: int) -> Floats:
    """The share of trains with data in each column of the axis; NaN in one without trains."""
    columns = axis.columns(axis.trains.ids, n_columns)
    return 1 - _missing_share(row.present, columns, n_columns)


def _missing_share(present: NDArray[Any], columns: NDArray[np.intp], n_columns: int) -> Floats:
    """The share of missing trains in each column, (n_columns,); NaN in one without trains."""
    n = np.bincount(columns, minlength=n_columns)
    missing = np.bincount(columns, 1.0 - present, n_columns)
    shares: Floats = np.full(n_columns, np.nan)
    np.divide(missing, n, out=shares, where=n > 0)
    return shares


def _colours(missing: Floats, present: Any = _PRESENT, absent: Any = _MISSING) -> Floats:
    """One line of pixels, (1, n, 4); a single missing train still tints its pixel visibly.

    Transparent where there are no trains.
    """
    is_there = ~np.isnan(missing)
    weight = np.where(missing > 0, _ANY_MISSING + (1 - _ANY_MISSING) * missing, 0.0)[:, None]
    line = np.ones((missing.size, 4))
    line[:, :3] = (1 - weight) * np.array(present) + weight * np.array(absent)
    line[~is_there] = 0
    return line[None]
