"""``xfelcat validate``: the checks of one file or run, without a catalog."""

import os
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog.model.names import size_text
from .options import (
    DeepOption,
    FormatOption,
    JobsOption,
    OutputOption,
    SampleOption,
    SeedOption,
    TimeLimitOption,
    argument,
    flag,
    option,
    wrong_usage,
)
from .output import SEVERITY_COLOURS, Format, choose_format, count, say, styled, write_rows
from .progress import showing_progress
from .workers import DaskOption, SlurmOption, working

if TYPE_CHECKING:
    from ..loader.jobs.validation import CondensedProblem


_COLUMNS = ("check_id", "severity", "message", "place", "path")
_NOUNS = {"E": "error", "W": "warning", "I": "remark"}


def validate_command(
    path: Annotated[
        Path | None, argument("PATH", "A data file, or a run: its directory, or 2012/34.")
    ] = None,
    *,
    skip: Annotated[
        list[str] | None,
        option(
            "--skip",
            "ID",
            "Leave out what this check finds; the beginning of an ID stands for all that have "
            "it; may be repeated.",
        ),
    ] = None,
    list_: Annotated[bool, flag("--list", "Only list the checks that would be made.")] = False,
    deep: DeepOption = False,
    sample: SampleOption = 8,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    slurm: SlurmOption = None,
    time_limit: TimeLimitOption = 120.0,
    format_: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Check one file, or all files of one run, with every check that needs only these.

    No catalog is read or written. Every dataset is opened; data are read only with --deep. Problems
    alike in all but numbers and names are one line, with their number and an example; json, csv and
    parquet have each of them. Exit code 1 if there are errors or warnings.
    """
    from ..loader.jobs.validation import applicable_checks, validate
    from ..loader.open import run_place

    path = path and Path(run_place(path))
    chosen = choose_format(format_, output)
    one_file = path is not None and not path.is_dir()
    with wrong_usage():
        checks = applicable_checks(one_file=one_file, deep=deep or list_, skip=skip or ())
    if list_:
        rows = [
            {"check": c.id, "severity": c.severity, "level": c.level, "title": c.title}
            for c in checks
        ]
        write_rows(rows, chosen, output)
        return
    if path is None:
        raise typer.BadParameter("name a data file or a run directory")
    with working(jobs, dask, slurm) as workers, showing_progress(workers.now) as progress:
        report = validate(
            path,
            skip=skip or (),
            deep=deep,
            sample=sample,
            seed=seed,
            jobs=workers.jobs,
            time_limit=time_limit,
            progress=progress,
        )
    if chosen is Format.TABLE and output is None:
        for found in report.condensed():
            typer.echo("\n".join(_lines(found, report.path)))
    else:
        of = attrgetter("check", "severity", "message", "where", "path")
        rows = [dict(zip(_COLUMNS, of(p), strict=True)) for p in report.problems]
        write_rows(rows, chosen, output, names=_COLUMNS)
    counts = [
        count(sum(p.severity == severity for p in report.problems), noun)
        for severity, noun in _NOUNS.items()
    ]
    looked = f"{count(report.files, 'file')} ({size_text(report.bytes)}), "
    looked += f"{count(len(report.checks), 'check')}, {report.seconds:.1f} s"
    say(f"{', '.join(counts)}; {looked}")
    if not report.ok:
        raise typer.Exit(1)


def _lines(found: "CondensedProblem", validated: str) -> list[str]:
    """What is wrong, how often, and the first place where it is."""
    example = found.example
    often = f", {found.count} times" if found.count > 1 else ""
    often += f" in {found.files} files" if found.files > 1 else ""
    name = os.path.basename(example.path) if example.path != validated else ""
    where = " ".join(part for part in (name, example.where and f"[{example.where}]") if part)
    noun = styled(_NOUNS[found.severity], fg=SEVERITY_COLOURS[found.severity], bold=True)
    return [
        f"{example.check} {noun}: {found.check.title}{often}",
        f"    {where}: {example.message}" if where else f"    {example.message}",
    ]
