"""``xfelcat plot``: pictures of a proposal, a run or a key, in a file or as text."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    CatalogOption,
    argument,
    catalogued_run,
    named_runs,
    open_named,
    open_store,
    option,
    wrong_usage,
)
from .output import count, say

if TYPE_CHECKING:
    from ..catalog.store.store import Store
    from ..loader.collection import DataCollection
    from ..loader.keydata import KeyData

_CELLS = 60  # of a line: fits on a terminal of 80 columns
_SHORT_CELLS = 24  # beside names
_ENDINGS = (".png", ".svg", ".pdf")


def plot_command(
    target: Annotated[
        str,
        argument("WHAT", "A run: a directory, p002012/raw/r0034 or 2012/34; or p002012, its runs."),
    ],
    source: Annotated[
        str | None, argument("SOURCE", "A source of the run: a name, an alias or a glob.")
    ] = None,
    key: Annotated[str | None, argument("KEY", "A key of the source, or a glob.")] = None,
    *,
    output: Annotated[
        Path | None,
        option(
            "--output",
            "FILE",
            "Draw into this file, .png, .svg or .pdf; else text, on the terminal.",
            "-o",
            dir_okay=False,
        ),
    ] = None,
    by: Annotated[
        str,
        option("--by", "NAME", "Of a proposal, the colour: state, sample, run_type, data_class."),
    ] = "state",
    catalog: CatalogOption = None,
) -> None:
    """Plot a key of a run, which sources a run has data of, or when the runs of a proposal were.

    \b
    xfelcat plot 2012/34 SA2_XTD1_XGM/XGM/DOOCS pulseEnergy.photonFlux -o flux.png
    xfelcat plot 2012/34                        sources over trains, as text
    xfelcat plot p002012 -o timeline.png        runs over wall-clock time

    Without -o: bars and numbers on the terminal.
    """
    if output is not None and output.suffix.lower() not in _ENDINGS:
        raise typer.BadParameter(f"{output}: pictures end in {', '.join(_ENDINGS)}")
    if output is not None:
        from ..catalog.model.errors import import_extra

        import_extra("matplotlib", "plot").use("Agg")
    store = open_store(catalog)
    if source is None and _is_several(target, store):
        _plot_several(target, by, output, store)
        return
    path, run = open_named(target, store)
    if source is not None:
        chosen = _named_key(run, source, key)
        if output is None:
            for line in _key_lines(chosen):
                typer.echo(line)
        else:
            _save(chosen.plot(), output)
    elif output is None:
        for line in _run_lines(path, run):
            typer.echo(line)
    else:
        _save(run.plot(), output)


def _named_key(run: "DataCollection", source: str, key: str | None) -> "KeyData":
    """The key that names, an alias or globs mean; else wrong usage, with the keys there are."""
    from ..catalog.model.errors import XfelcatError
    from ..loader.open import with_alias_file
    from ..loader.runs import find_key

    if key is None and source in run.all_sources:
        keys = ", ".join(sorted(run[source].keys(inc_timestamps=False)))
        raise typer.BadParameter(f"name a key of {source} too: {keys}")
    try:
        return find_key(with_alias_file(run, None), source, key)
    except XfelcatError:
        raise
    except (TypeError, ValueError) as error:  # an alias of a source alone; several keys
        raise typer.BadParameter(str(error)) from None


def _run_lines(path: str, run: "DataCollection") -> Iterator[str]:
    """For which trains the sources of a run have data, a line each."""
    from ..loader.show.course import TrainAxis, sparkline
    from ..loader.show.trains_plot import overview_rows, shares_in_columns

    yield f"{path}, {count(len(run.train_ids), 'train')}"
    axis = TrainAxis(run.selected.trains)
    n_cells = max(min(_SHORT_CELLS, axis.length), 1)
    for row in overview_rows(run.selected):
        bar = sparkline(shares_in_columns(row, axis, n_cells), 0, 1)
        yield f"  {bar} {row.percent:5.1f}%  {row.label}"


def _is_several(target: str, store: "Store") -> bool:
    where = named_runs(target)
    return (
        not where.runs
        and store.exists()
        and catalogued_run(target, store) is None
        and bool(where.proposals or where.instruments)
    )


def _plot_several(target: str, by: str, output: Path | None, store: "Store") -> None:
    from ..catalog.report.timeline import find_bars, plot_timeline, timeline_lines

    where = named_runs(target)
    if output is not None:
        with wrong_usage():
            axes = plot_timeline(store, where, by)
        _save(axes, output)
        return
    with wrong_usage():
        bars = find_bars(store, where, by)
    typer.echo(f"{target}, {count(len(bars), 'run')}; hours of the day in UTC")
    typer.echo(" " * 16 + "".join(f"{hour:02d}".ljust(9) for hour in range(0, 24, 3)))
    for line in timeline_lines(bars):
        typer.echo(line)


def _save(axes: object, output: Path) -> None:
    from ..catalog.model.errors import TargetWriteError

    try:
        axes.figure.savefig(output, dpi=150)  # type: ignore[attr-defined]
    except OSError as error:
        raise TargetWriteError(str(output), error.strerror or str(error)) from None
    say(f"picture written to {output}")


def _key_lines(key: "KeyData") -> Iterator[str]:
    """What a key did, in a line of bars and one of numbers."""
    from ..loader.show.course import TrainAxis, read_course, sparkline
    from ..loader.show.key_plot import range_text, trains_text

    axis = TrainAxis(key.selected.trains)
    yield f"{key.source} {key.key}"
    if key.dtype.kind in "OSU" and not key.entry_shape:
        values = Counter(map(str, key.ndarray().tolist()))
        yield f"{count(len(values), 'text')}, most often:"
        yield from (f"  {n:6}  {text}" for text, n in values.most_common(8))
        yield trains_text(key.selected)
        return
    course = read_course(key.selected, min(_CELLS, max(axis.length, 1)), axis)
    yield sparkline(course.mean)
    first, last = key.train_ids[0], key.train_ids[-1]
    seconds = (last - first + 1) / 10
    yield f"{range_text(course.summary, key.units)}"
    yield f"{trains_text(key.selected)}, {first} to {last}, {seconds:g} s"
    if course.n_read < course.n_trains:
        yield f"each bar is the mean of one train: {course.n_read} of {course.n_trains} were read"
