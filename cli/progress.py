"""Progress and problems of long commands, on stderr: bars on a terminal, else lines."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from ..catalog.model.checks import CHECKS, SEVERITIES
from ..catalog.model.names import size_text
from .output import count, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..catalog.model.records import Problem
    from ..catalog.scan.jobs import JobProgress, JobReport


_SECONDS_PER_LINE = 10.0  # a log of a night stays readable
_LISTED = 20  # of a check; thousands would scroll all else away
_PUBLISHING = "merging for questions over all runs ..."


class _Lines:
    """Progress as plain lines, not too many."""

    def __init__(self, workers: Callable[[], int] | None = None) -> None:
        self._workers = workers
        self._n_runs = self._n_runs_done = 0
        self._n_files = self._n_files_done = 0
        self._n_bytes = self._n_problems = 0
        self._started = self._shown_at = time.monotonic()

    def found(self, runs: int) -> None:
        self._n_runs = runs
        say(f"{count(runs, 'run')} found")

    def planned(self, files: int, size: int) -> None:
        self._n_files += files

    def scanned(self, files: int, size: int, problems: int) -> None:
        self._n_files_done += files
        self._n_bytes += size
        self._n_problems += problems
        self._show_files()

    def finished_run(self, label: str) -> None:
        self._n_runs_done += 1
        self._show_files()

    def publishing(self) -> None:
        say(_PUBLISHING)

    def _files_text(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-3)
        return (
            f"{self._n_files_done}/{self._n_files} files, {size_text(self._n_bytes)},"
            f" {self._n_files_done / seconds:.0f} files/s, {count(self._n_problems, 'problem')}"
            + (f", {count(self._workers(), 'worker')}" if self._workers else "")
        )

    def _show_files(self) -> None:
        if time.monotonic() - self._shown_at >= _SECONDS_PER_LINE:
            self._shown_at = time.monotonic()
            say(f"{self._n_runs_done}/{self._n_runs} runs; {self._files_text()}")


class _Bars(_Lines):
    """Progress as a bar of runs and a bar of the files planned so far."""

    def __init__(self, progress: "Progress", workers: Callable[[], int] | None) -> None:
        super().__init__(workers)
        self._progress = progress
        self._runs: TaskID = progress.add_task("looking for runs", total=None, counts="")
        self._files: TaskID = progress.add_task("files", total=None, counts="", visible=False)

    def found(self, runs: int) -> None:
        self._n_runs = runs
        self._progress.update(
            self._runs, description="runs", total=runs, counts=f"0/{runs} runs", completed=0
        )

    def planned(self, files: int, size: int) -> None:
        super().planned(files, size)
        self._show_files()

    def finished_run(self, label: str) -> None:
        self._n_runs_done += 1
        counts = f"{self._n_runs_done}/{self._n_runs} runs{self._left_text()}, {label}"
        self._progress.update(self._runs, completed=self._n_runs_done, counts=counts)

    def _left_text(self) -> str:
        """How long it takes on, once there is something to judge by."""
        seconds = time.monotonic() - self._started
        left = seconds / self._n_runs_done * (self._n_runs - self._n_runs_done)
        if seconds < _SECONDS_PER_LINE or left < 1:
            return ""
        return f", {left / 60:.0f} min left" if left > 90 else f", {left:.0f} s left"

    def publishing(self) -> None:
        self._progress.update(self._runs, counts=_PUBLISHING)

    def _show_files(self) -> None:
        self._progress.update(
            self._files,
            visible=self._n_files > 0,
            # Of several runs the last plan alone says how many files there are: until then a bar
            # would jump back with each.
            total=self._n_files if self._n_runs <= 1 else None,
            completed=self._n_files_done,
            counts=self._files_text(),
        )


@contextmanager
def showing_progress(
    workers: Callable[[], int] | None = None,
) -> Iterator["JobProgress"]:
    """The progress to give to a job; what it shows is gone afterwards.

    ``workers`` gives how many there are, where that may change.
    """
    if not sys.stderr.isatty():
        yield _Lines(workers)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:>5}"),
        BarColumn(24),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress, workers)


@contextmanager
def showing_bar(doing: str) -> Iterator[Callable[..., None]]:
    """A bar on a terminal; gets how many are done, of how many, and a label for what is next."""
    if not sys.stderr.isatty():
        yield lambda done, total, label="": None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(doing, total=None)

        def show(done: int, total: int, label: str = doing) -> None:
            progress.update(task, completed=done, total=total, description=label)

        yield show


def say_problems(problems: Sequence["Problem"]) -> None:
    """List problems on stderr: by check, each with its path, place and reason."""
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in dict.fromkeys(problems):
        groups.setdefault((problem.check, problem.severity), []).append(problem)
    for (check, severity), of_group in sorted(groups.items()):
        say(f"{check} {CHECKS[check].title} ({SEVERITIES[severity]}), {len(of_group)}:")
        for problem in of_group[:_LISTED]:
            where = f" [{problem.where}]" if problem.where else ""
            say(f"  {problem.path}{where}: {problem.message}")
        if (left := len(of_group) - _LISTED) > 0:
            say(f"  … {left} more (`xfelcat audit --check {check}` sums up what the catalog has)")


def finish_job(report: "JobReport", summary: list[str], strict: bool) -> None:
    """Report what a job did and what was wrong; exit 130 if stopped, 1 if ``strict`` wants it."""
    say_problems(report.problems)
    for line in summary:
        say(line)
    if report.interrupted:
        raise typer.Exit(130)
    if strict and report.problems:
        raise typer.Exit(1)
