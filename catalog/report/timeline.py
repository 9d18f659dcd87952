"""Runs over wall-clock time: a row per day, a bar per run, coloured by what one asks for.

``find_bars`` asks the catalog for the runs that record when they were, ``plot_timeline`` draws them
(matplotlib), ``timeline_lines`` writes the days as text.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

from ..audit.findings import RANK_SQL
from ..model.errors import QueryError, did_you_mean, import_extra, nearest
from ..questions.execute import all_of, ask, sql
from ..questions.filters import RunFilter
from ..store.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = {
    "state": "worst.severity",
    "sample": "run.sample",
    "run_type": "run.run_type",
    "data_class": "run.data_class",
}
_STATES = {"E": ("errors", "#b3241b"), "W": ("warnings", "#e0a030"), "": ("neither", "#4f86b8")}
# Okabe and Ito's, distinct for colour-blind eyes; what is rarer is grey.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d3b", "#5a4fa2")
_REST = "#8c939c"
_MOST_DAYS = 60
_DAY_INCHES = 0.42
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RunBar:
    """A run, or the part of one that lies in a day."""

    start: datetime
    end: datetime
    run: int | None
    data_class: str
    group: str
    """What its colour stands for."""

    @property
    def day(self) -> date:
        """The day, in UTC, that it begins on."""
        return self.start.date()

    def hour(self, moment: datetime) -> float:
        """Hours from the start of the day to a moment of it, or its end."""
        return (moment - datetime.combine(self.day, time())) / _HOUR

    def by_day(self) -> Iterator["RunBar"]:
        """The parts of it, cut at midnight."""
        start = self.start
        while start.date() < self.end.date():
            midnight = datetime.combine(start.date() + timedelta(days=1), time())
            yield RunBar(start, midnight, self.run, self.data_class, self.group)
            start = midnight
        yield RunBar(start, self.end, self.run, self.data_class, self.group)


def find_bars(store: Store, where: RunFilter, by: str) -> list[RunBar]:
    """The runs that record when they were, in the order of time.

    Raises QueryError where there are none, and for a colour that there is not.
    """
    if by not in _COLUMNS:
        hint = did_you_mean(nearest(by, _COLUMNS))
        raise QueryError(f"no timeline by {by!r}{hint}: there are {', '.join(_COLUMNS)}")
    statement = sql(
        f"""SELECT run.started_at, run.ended_at, run.run, coalesce(run.data_class, '') AS class,
            coalesce({_COLUMNS[by]}, '') AS kind
        FROM run LEFT JOIN (
            SELECT run_id, arg_min(severity, {RANK_SQL}) AS severity FROM finding
            WHERE resolved_at IS NULL AND run_id IS NOT NULL GROUP BY run_id
        ) AS worst ON worst.run_id = run.run_id
        WHERE {{filter}} AND run.started_at IS NOT NULL ORDER BY run.started_at, run.run_id""",
        filter=all_of(where.conditions()),
    )
    with store.read_merged() as cursor:
        rows = ask(cursor, statement).to_pylist()
    if not rows:
        raise QueryError("no run of these records when it was (files before format 1.0 do not)")
    bars = []
    for start, end, run, data_class, kind in (row.values() for row in rows):
        group = _STATES.get(kind, _STATES[""])[0] if by == "state" else kind or "not recorded"
        bars.append(RunBar(start, max(end or start, start), run, data_class, group))
    return bars


def plot_timeline(
    store: Store, where: RunFilter, by: str = "state", axes: "Axes | None" = None
) -> "Axes":
    """Draw when the runs were; see ``Catalog.plot_timeline``."""
    bars = find_bars(store, where, by)
    plt = import_extra("matplotlib.pyplot", "plot")
    pieces = [piece for bar in bars for piece in bar.by_day()]
    days = sorted({piece.day for piece in pieces})
    left_out, days = len(days) - len(days[-_MOST_DAYS:]), days[-_MOST_DAYS:]
    pieces = [piece for piece in pieces if piece.day >= days[0]]
    classes = list(dict.fromkeys(bar.data_class for bar in bars))
    if axes is None:
        inches = 1.5 + max(_DAY_INCHES * len(days), 0.5) * (1 + 0.5 * (len(classes) - 1))
        _, axes = plt.subplots(figsize=(10, inches), layout="constrained")
    first = int(min(piece.hour(piece.start) for piece in pieces))
    last = min(24, -int(-max(piece.hour(piece.end) for piece in pieces) // 1))
    axes.set_xlim(first, max(last, first + 1))
    axes.set_ylim(len(days) - 0.5, -0.5)
    axes.set_yticks(range(len(days)), [f"{day:%a %Y-%m-%d}" for day in days], fontsize=8)
    axes.tick_params(axis="y", length=0)
    colours = _colours_of(bars)
    _draw_bars(axes, pieces, days, classes, colours)
    step = next(n for n in (1, 2, 3, 4) if (last - first) / n <= 12 or n == 4)
    hours = range(first, max(last, first + 1) + 1, step)
    axes.set_xticks(hours, [f"{hour:02d}:00" for hour in hours], fontsize=8)
    axes.set_xlabel("Time of day (UTC)", fontsize=9)
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    names = [*(f"p{p:06d}" for p in where.proposals), *where.instruments, *where.cycles]
    title = f"Runs of {', '.join(names)}" if names else "Runs"
    _label(axes, title, bars, classes, colours, left_out)
    return axes


def _colours_of(bars: Sequence[RunBar]) -> dict[str, str]:
    """A colour for each group, the most frequent first; those beyond share one."""
    counts = Counter(bar.group for bar in bars)
    states = dict(_STATES.values())
    if set(counts) <= set(states):
        return {name: colour for name, colour in states.items() if counts[name]}
    named = [name for name, _ in counts.most_common() if name != "not recorded"]
    shown = dict(zip(named, _COLOURS, strict=False))
    return shown | {name: _REST for name in counts if name not in shown}


def _draw_bars(
    axes: "Axes",
    pieces: Sequence[RunBar],
    days: Sequence[date],
    classes: Sequence[str],
    colours: dict[str, str],
) -> None:
    """The bars, with numbers where there is room; each data class has a lane of a day."""
    lane = 0.8 / len(classes)
    low, high = axes.get_xlim()
    per_hour = axes.get_window_extent().width / (high - low)
    for piece in pieces:
        y = days.index(piece.day) - 0.4 + lane * classes.index(piece.data_class)
        start = piece.hour(piece.start)
        # Short runs are drawn two pixels wide: there is something to see.
        width = max(piece.hour(piece.end) - start, 2 / per_hour)
        axes.broken_barh(
            [(start, width)], (y, lane * 0.92), facecolors=colours[piece.group],
            edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        text = "" if piece.run is None else str(piece.run)
        if text and width * per_hour > 6 * len(text) + 4:
            axes.text(
                start + width / 2, y + lane * 0.46, text, ha="center", va="center", fontsize=6.5,
                color="white", clip_on=True,
            )  # fmt: skip


def _label(
    axes: "Axes",
    title: str,
    bars: Sequence[RunBar],
    classes: Sequence[str],
    colours: dict[str, str],
    left_out: int,
) -> None:
    from matplotlib.patches import Patch

    hours = sum(((b.end - b.start) / _HOUR for b in bars if b.data_class == classes[0]), 0.0)
    texts = [f"{len(bars)} runs", f"{hours:.1f} h of {classes[0] or 'data'}"]
    if len(classes) > 1:
        texts.append(f"from top to bottom of a day: {', '.join(c or '-' for c in classes)}")
    if left_out:
        texts.append(f"the last {_MOST_DAYS} days with runs; {left_out} before them left out")
    axes.set_title(title, loc="left", fontsize=11, pad=21)
    axes.annotate(
        " · ".join(texts), (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
        fontsize=8.5, color="#444c55",
    )  # fmt: skip
    legend = {name: colour for name, colour in colours.items() if colour != _REST}
    rest = [name for name in colours if name not in legend]
    if rest:
        legend[rest[0] if len(rest) == 1 else f"{len(rest)} more"] = _REST
    axes.figure.legend(
        handles=[Patch(color=colour, label=name[:40]) for name, colour in legend.items()],
        loc="outside lower left", ncols=5, frameon=False, fontsize=8, handlelength=1.1,
    )  # fmt: skip


def timeline_lines(bars: Sequence[RunBar], per_day: int = 72) -> Iterator[str]:
    """A line per day with a cell for each 20 minutes: in which there was a run."""
    cells: dict[date, list[str]] = {}
    for piece in (piece for bar in bars for piece in bar.by_day()):
        row = cells.setdefault(piece.day, ["·"] * per_day)
        first, last = (int(piece.hour(m) * per_day / 24) for m in (piece.start, piece.end))
        for at in range(first, min(last, per_day - 1) + 1):
            row[at] = "█"
    for day in sorted(cells):
        yield f"{day:%a %Y-%m-%d}  {''.join(cells[day])}"
