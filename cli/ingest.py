"""``xfelcat ingest`` and ``xfelcat profile``: runs, and what keys did in them, into the catalog."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    CatalogOption,
    ExcludeOption,
    JobsOption,
    RateOption,
    StrictOption,
    TimeLimitOption,
    argument,
    existing_store,
    open_store,
    option,
    time_option,
    with_run_filter,
)
from .output import say
from .progress import count, say_problems, showing_progress, size_text

if TYPE_CHECKING:
    from ..catalog.ingest.ingest import IngestReport
    from ..catalog.questions.filters import RunFilter
    from ..loader.jobs.profile import ProfileReport


def ingest_command(
    paths: Annotated[
        list[Path],
        argument(
            "PATH...", "Facility, instrument, cycle, proposal, data class or run directories."
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the files that would be scanned.")
    ] = False,
    jobs: JobsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Scan unchanged files, too.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Open every dataset with the HDF5 library, and read RUN in every file."
        ),
    ] = False,
    exclude: ExcludeOption = None,
    since: Annotated[
        str | None,
        option(
            "--since",
            "TIME",
            "Only runs with a file modified at or after this time (UTC): 2024-05-01, "
            "2024-05-01T12:30, or how long ago: 12h, 3d, 2w.",
        ),
    ] = None,
    stage: Annotated[
        bool, typer.Option("--stage", help="Read files that lie on tape, too; this may take days.")
    ] = False,
    reads_per_second: RateOption = None,
    time_limit: TimeLimitOption = 120.0,
    strict: StrictOption = False,
    catalog: CatalogOption = None,
) -> None:
    """Scan the runs below some directories into the catalog.

    Files that did not change since they were last scanned only cost a look at their size and time.
    Files with problems are listed, and the rest is catalogued. Ctrl-C stops, and keeps what is
    complete.
    """
    from ..catalog.ingest.ingest import IngestOptions, ingest

    options = IngestOptions(
        jobs=jobs,
        force=force,
        verify=verify,
        exclude=tuple(exclude or ()),
        since=time_option(since),
        stage=stage,
        dry_run=dry_run,
        reads_per_second=reads_per_second,
        time_limit=time_limit,
    )
    store = open_store(catalog)
    try:
        with showing_progress() as progress:
            report = ingest(store, [str(p) for p in paths], options, progress)
    except KeyboardInterrupt:  # while the work was already being brought to its end
        say("interrupted: what was complete is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    for path in report.to_scan:
        typer.echo(path)
    _finish(report, _ingest_summary(report), strict)


def _finish(report: "IngestReport | ProfileReport", summary: list[str], strict: bool) -> None:
    """Report what a job did and what was wrong; exit 130 if stopped, 1 if ``strict`` wants it."""
    say_problems(report.problems)
    for line in summary:
        say(line)
    if report.interrupted:
        raise typer.Exit(130)
    if strict and report.problems:
        raise typer.Exit(1)


def _ingest_summary(report: "IngestReport") -> list[str]:
    if report.dry_run:
        found = f"{count(report.runs_found, 'run')} found, {report.runs_unchanged} as catalogued"
        return [f"{found}; {count(len(report.to_scan), 'file')} to scan; nothing was written"]
    runs = f"{count(report.runs_found, 'run')} found: {report.runs_written} written"
    runs += f", {report.runs_unchanged} as catalogued"
    if report.runs_skipped:
        runs += f", {report.runs_skipped} skipped"
    rate = report.files_scanned / max(report.seconds, 1e-3)
    files = f"{count(report.files_scanned, 'file')} scanned ({size_text(report.bytes_scanned)})"
    files += f" in {report.seconds:.1f} s ({rate:.0f} files/s), {report.files_unchanged} unchanged"
    if report.files_missing:
        files += f", {report.files_missing} missing"
    lines = [runs, files, count(len(set(report.problems)), "problem")]
    if report.interrupted:
        kept = f"{count(report.runs_written, 'run')} kept; the same command goes on from there"
        lines.append(f"interrupted: {kept}")
    return lines


@with_run_filter()
def profile_command(
    source: Annotated[
        str, typer.Argument(help="Glob of source names, in quotes: '*XGM*'.", show_default=False)
    ] = "*",
    key: Annotated[
        str | None,
        typer.Argument(
            help="Glob of keys: 'beamPosition.*'; left out, the values of control sources.",
            show_default=False,
        ),
    ] = None,
    *,
    where: "RunFilter",
    force: Annotated[
        bool, typer.Option("--force", help="Read keys again whose profile still holds.")
    ] = False,
    jobs: JobsOption = None,
    time_limit: TimeLimitOption = 120.0,
    strict: StrictOption = False,
    catalog: CatalogOption = None,
) -> None:
    """Summarise each control value per run (extremes, mean, changes, ...) and store it.

    Count, NaNs, extremes, mean, standard deviation, first, last and number of changes of each key
    and run are kept with the catalog, and are asked for in the view key_profiles. Keys whose
    profile still holds are not read again. Instrument sources are read only for a KEY that is
    named; arrays never are. Ctrl-C stops, and keeps what is complete.
    """
    from ..loader.jobs.profile import ProfileOptions, profile_runs

    options = ProfileOptions(source, key, force, jobs, time_limit)
    store = existing_store(catalog)
    with showing_progress() as progress:
        report = profile_runs(store, where, options, progress)
    _finish(report, _profile_summary(report), strict)


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
