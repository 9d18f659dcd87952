"""``xfelcat ingest``: runs into the catalog."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog.model.names import size_text
from .options import (
    CatalogOption,
    ExcludeOption,
    JobsOption,
    RateOption,
    StrictOption,
    TimeLimitOption,
    argument,
    flag,
    open_store,
    option,
    time_option,
)
from .output import count, say
from .progress import finish_job, showing_progress
from .workers import DaskOption, SlurmOption, working

if TYPE_CHECKING:
    from ..catalog.ingest.ingest import IngestReport


def ingest_command(
    paths: Annotated[
        list[Path],
        argument("PATH", "Facility, instrument, cycle, proposal, data class or run directories."),
    ],
    *,
    dry_run: Annotated[
        bool, flag("--dry-run", "Only list the files that would be scanned.")
    ] = False,
    jobs: JobsOption = None,
    force: Annotated[bool, flag("--force", "Scan unchanged files, too.")] = False,
    verify: Annotated[
        bool,
        flag("--verify", "Open every dataset with the HDF5 library, and read RUN in every file."),
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
        bool, flag("--stage", "Read files that lie on tape, too; this may take days.")
    ] = False,
    reads_per_second: RateOption = None,
    time_limit: TimeLimitOption = 120.0,
    strict: StrictOption = False,
    dask: DaskOption = None,
    slurm: SlurmOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Scan the runs below some directories into the catalog.

    Files that did not change since they were last scanned only cost a look at their size and time.
    Files with problems are listed, and the rest is catalogued. Ctrl-C stops, and keeps what is
    complete.
    """
    from ..catalog.ingest.ingest import IngestOptions, ingest

    options = IngestOptions(
        force=force,
        verify=verify,
        exclude=tuple(exclude or ()),
        since=time_option(since),
        stage=stage,
        dry_run=dry_run,
        reads_per_second=reads_per_second,
        time_limit=time_limit,
    )
    store = open_store(catalog, quiet=True)
    say(f"catalog: {store.location}")
    try:
        with working(jobs, dask, slurm, store) as workers, showing_progress(workers.now) as shown:
            options = replace(options, jobs=workers.jobs)
            report = ingest(store, [str(p) for p in paths], options, shown)
    except KeyboardInterrupt:  # while the work was already being brought to its end
        say("interrupted: what was complete is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    for path in report.to_scan:
        typer.echo(path)
    finish_job(report, _ingest_summary(report), strict)


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
