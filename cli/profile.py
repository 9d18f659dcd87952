"""``xfelcat profile``: summaries of control values during each run."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog.questions.filters import ALL_RUNS
from .options import (
    CatalogOption,
    JobsOption,
    StrictOption,
    TimeLimitOption,
    argument,
    existing_store,
    flag,
    with_run_filter,
)
from .output import count
from .progress import finish_job, showing_progress
from .workers import DaskOption, SlurmOption, working

if TYPE_CHECKING:
    from ..catalog.questions.filters import RunFilter
    from ..catalog.store.store import Store
    from ..loader.jobs.profile import ProfileReport


@with_run_filter()
def profile_command(
    source: Annotated[
        str, argument("SOURCE", "Glob of source names, in quotes: '*XGM*'.", show_default=False)
    ] = "*",
    key: Annotated[
        str | None,
        argument("KEY", "Glob of keys: 'beamPosition.*'; left out, the values of control sources."),
    ] = None,
    *,
    where: "RunFilter",
    yes: Annotated[
        bool, flag("--yes", "Read all control values of all runs without asking.", "-y")
    ] = False,
    force: Annotated[bool, flag("--force", "Read keys again whose profile still holds.")] = False,
    jobs: JobsOption = None,
    time_limit: TimeLimitOption = 120.0,
    strict: StrictOption = False,
    dask: DaskOption = None,
    slurm: SlurmOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Summarise each control value per run (extremes, mean, changes, ...) and store it.

    Count, NaNs, extremes, mean, standard deviation, first, last and number of changes of each key
    and run are kept with the catalog, and are asked for in the view key_profiles. Keys whose
    profile still holds are not read again. Instrument sources are read only for a KEY that is
    named; arrays never are. Ctrl-C stops, and keeps what is complete.
    """
    from ..loader.jobs.profile import ProfileOptions, profile_runs

    store = existing_store(catalog)
    if source == "*" and key is None and where == ALL_RUNS and not yes:
        _confirm(store)
    with working(jobs, dask, slurm, store) as workers, showing_progress(workers.now) as progress:
        options = ProfileOptions(source, key, force, workers.jobs, time_limit)
        report = profile_runs(store, where, options, progress)
    finish_job(report, _profile_summary(report), strict)


def _confirm(store: "Store") -> None:
    """Ask before all control values of all runs are read, which may take days."""
    from ..catalog.questions.inventory import volume

    rows = volume(store).table.to_pylist()
    n_runs, n_files = (sum(row[name] for row in rows) for name in ("runs", "files"))
    what = f"all control values in {count(n_files, 'file')} of {count(n_runs, 'run')}"
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"this reads {what}: name sources ('*XGM*') or runs (-p, --since ...), or say --yes"
        )
    typer.confirm(f"Read {what}?", err=True, abort=True)


def _profile_summary(report: "ProfileReport") -> list[str]:
    runs = f"{count(report.runs_found, 'run')} searched: {report.runs_profiled} profiled"
    if report.runs_fresh:
        runs += f", {report.runs_fresh} as they were"
    if report.runs_without:
        runs += f", {report.runs_without} without such keys"
    keys = f"{count(report.keys_read, 'profile')} written, {report.keys_fresh} still hold;"
    keys += f" {count(report.files_read, 'file')} read in {report.seconds:.1f} s"
    lines = [runs, keys, count(len(report.problems), "problem")]
    if report.interrupted:
        lines.append("interrupted: what was complete is kept; the same command goes on from there")
    return lines
