"""Profiles of control values and other scalars: what they did during each run.

RUN holds their state at the start of a run; a profile holds extremes, mean and changes. It takes
reading the data once, and is kept with the catalog until a file changes.

1. ``profile`` takes the runs of a question, shard by shard, some at a time.
2. A plan for each run chooses the keys that have no fresh profile, and lists for each file the rows
   to read of each; no file is opened.
3. Worker processes read file after file, all keys of a file together, block by block, which
   ``read.summary`` sums up.
4. The summaries of a key are joined in the order of trains, and committed every few seconds. A key
   of which any part could not be read has no profile; a file that changed meanwhile gives none.
"""

import fnmatch
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import groupby
from typing import Any, Unpack

from ...catalog.config import catalog_location
from ...catalog.model.checks import CHECKS
from ...catalog.model.errors import InconsistentFilesError, XfelcatError
from ...catalog.model.facts import RunFacts
from ...catalog.model.identity import shard_of
from ...catalog.model.names import from_text
from ...catalog.model.records import KeyProfile, Problem, decode_dtype, utc_now
from ...catalog.opening.catalogued import catalogued_facts
from ...catalog.questions.filters import RunChoice, RunFilter
from ...catalog.scan.executors import Batch, Jobs
from ...catalog.scan.jobs import (
    NO_PROGRESS,
    JobProgress,
    JobReport,
    committing,
    portions,
    publish_after,
    run_jobs,
)
from ...catalog.store.read import file_stats, fresh_profiles
from ...catalog.store.store import Store
from ..read.execute import execute_plan
from ..read.files import OpenFiles
from ..read.plan import ReadPlan
from ..read.selected import SelectedKey, SelectedSource, matching_keys
from ..read.summary import BLOCK_ROWS, Summary, summarize
from ..select.sources import take_sources

_RUNS_AT_ONCE = 32  # plans in memory; enough to keep the workers busy
_BATCH_FILES = 16  # a file is read once for all keys, so there is nothing to gain from more

KeyName = tuple[str, str]


@dataclass(slots=True)
class ProfileReport(JobReport):
    """What was profiled; ``problems``: what could not be read (F06), or changes its type (R07)."""

    runs_profiled: int = 0
    """Runs with new profiles."""
    runs_fresh: int = 0
    """Runs all of whose profiles still hold."""
    runs_without: int = 0
    """Runs without a key to profile."""
    keys_read: int = 0
    """New profiles, one for each key of a run."""
    keys_fresh: int = 0
    """Profiles that still hold."""
    files_read: int = 0
    """Files read, well or badly."""


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """Which keys to profile, and how: see ``profile``."""

    source: str = "*"
    key: str | None = None
    force: bool = False
    jobs: Jobs = None
    time_limit: float = 120.0

    def keys_of(self, source: SelectedSource) -> Iterator[str]:
        """The keys of a source to profile: scalars, of numbers, booleans or text."""
        entry = source.entry
        if not fnmatch.fnmatchcase(entry.name, self.source):
            return
        if entry.run_only or entry.is_legacy or (self.key is None and not source.is_control):
            return
        for name in matching_keys(source, self.key or "*.value"):
            record = source.schema.by_name[name]
            is_text = record.dtype == "str"
            if not record.entry_shape and (is_text or decode_dtype(record.dtype).kind in "biufS"):
                yield name


def profile(
    source: str = "*",
    key: str | None = None,
    *,
    catalog: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: Jobs = None,
    time_limit: float = 120.0,
    progress: JobProgress | None = None,
    **where: Unpack[RunChoice],
) -> ProfileReport:
    """Read what control values and other scalars did during catalogued runs, and keep it.

    Parameters
    ----------
    source, key
        Globs, as for ``Catalog.find``. Without ``key``: the values of all control sources that fit;
        instrument sources are read only for a key that is named. Arrays are left out.
    catalog
        Location of the catalog; by default that of the settings, else the user's.
    force
        Read keys again whose profile is there and holds.
    jobs
        Worker processes; 0 for none, by default one per core. Or an executor, or a Dask client.
    time_limit
        Give up a file that takes longer, in seconds.
    progress
        Receives the progress, as for ``Catalog.ingest``.
    **where
        Which runs, as for ``Catalog.runs``.

    Returns
    -------
    ProfileReport
        What was read; files that could not be read are in its ``problems``.

    Raises
    ------
    QueryError
        For a filter that means nothing.
    CatalogNotFoundError
        Where nothing was ingested yet.
    CatalogWriteError
        Where the catalog cannot be written.

    Examples
    --------
    >>> import xfelcat
    >>> report = xfelcat.profile("*XGM*", "beamPosition.*", catalog="demo/catalog", run=1)
    >>> report.problems
    []
    """
    options = ProfileOptions(source, key, force, jobs, time_limit)
    store = Store(catalog_location(catalog))
    return profile_runs(store, RunFilter.of(**where), options, progress)


def profile_runs(
    store: Store,
    where: RunFilter,
    options: ProfileOptions,
    progress: JobProgress | None = None,
) -> ProfileReport:
    """Profile the runs of a question; the rest is as for ``profile``.

    KeyboardInterrupt stops the workers, keeps and publishes what is complete, and sets
    ``report.interrupted``.
    """
    report = ProfileReport(str(store.location))
    progress = progress or NO_PROGRESS
    work = partial(_Profiling(store, options, progress, report).all_runs, where)
    publish_after(work, store, report, progress)
    return report


@dataclass(frozen=True, eq=False, slots=True)
class KeyTask:
    """The rows of one key in one file: piece ``at`` of the key, in the order of trains."""

    name: KeyName
    at: int
    plan: ReadPlan


@dataclass(frozen=True, eq=False)
class RunTask:
    """What is to be read of a run: tasks by file, and the keys with their number of pieces."""

    run_id: int
    shard: str
    label: str
    pieces: dict[KeyName, int]
    files: dict[str, list[KeyTask]]
    stats: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FileResult:
    """The summaries of the keys of a file by key and piece; why some are missing."""

    summaries: dict[tuple[KeyName, int], Summary]
    failed: dict[KeyName, str]


_Read = tuple[RunTask, list[FileResult]]


@dataclass(frozen=True, slots=True)
class _Profiling:
    """One call of ``profile_runs``."""

    store: Store
    options: ProfileOptions
    progress: JobProgress
    report: ProfileReport

    def all_runs(self, where: RunFilter) -> None:
        from ...catalog.questions.find import runs
        from ...catalog.questions.question import Question

        table = runs(self.store, Question(where)).table.select(["run_id", "path"])
        found = [(shard_of(row["run_id"]), row["run_id"], row["path"]) for row in table.to_pylist()]
        self.report.runs_found = len(found)
        self.progress.found(len(found))
        for shard, of_shard in groupby(sorted(found), key=lambda run: run[0]):
            for some in portions(of_shard, _RUNS_AT_ONCE):
                planned = [self._plan(shard, run_id, from_text(path)) for _, run_id, path in some]
                committing(self._read([t for t in planned if t is not None]), self._commit)

    def _plan(self, shard: str, run_id: int, directory: str) -> RunTask | None:
        """What to read of a run; None where there is nothing, or the run cannot be planned."""
        try:
            facts = catalogued_facts(self.store, shard, run_id)
            with self.store.read(shard) as cursor:
                known = None if self.options.force else cursor
                done = fresh_profiles(known, run_id) if known else set()
            task, n_done = self._chosen(facts, shard, run_id, done)
        except XfelcatError as error:
            self._problem(directory, error)
            self.progress.finished_run(directory)
            return None
        self.report.keys_fresh += n_done
        if not task.pieces:
            self.report.runs_fresh += n_done > 0
            self.report.runs_without += n_done == 0
            self.progress.finished_run(task.label)
            return None
        size = sum(task.stats[os.path.basename(path)][0] for path in task.files)
        self.progress.planned(len(task.files), size)
        return task

    def _chosen(
        self, facts: RunFacts, shard: str, run_id: int, done: set[KeyName]
    ) -> tuple[RunTask, int]:
        table = take_sources(facts, inc_suspect_trains=True, allow_duplicates=True)
        stats = {os.path.basename(f.path): (f.size, f.mtime_ns) for f in facts.files}
        task = RunTask(run_id, shard, facts.directory, {}, {}, stats)
        n_done, files = 0, OpenFiles()
        for entry in table.sources.values():
            source = SelectedSource(entry, table.trains, files)
            for name in self.options.keys_of(source):
                if (entry.name, name) in done:
                    n_done += 1
                    continue
                try:
                    add_tasks(task, source.key(name))
                except XfelcatError as error:
                    self._problem(facts.directory, error, f"{entry.name} {name}")
        return task, n_done

    def _problem(self, path: str, reason: str | XfelcatError, where: str = "") -> None:
        changes = isinstance(reason, InconsistentFilesError)
        check = CHECKS["R07" if changes else "F06"]
        message = f"not profiled: {reason}"
        self.report.problems.append(Problem(check.id, check.severity, message, path, where))

    def _read(self, tasks: Sequence[RunTask]) -> Generator[_Read, None, None]:
        """Read some runs of one shard: each with its results, as its last file is read."""
        by_path = {path: task for task in tasks for path in task.files}
        batches = [
            Batch(number, paths, {path: task.files[path] for path in paths})
            for number, task in enumerate(tasks)
            for paths in portions(task.files, _BATCH_FILES)
        ]

        def blame(path: str, reason: str) -> FileResult:
            return FileResult(
                {}, dict.fromkeys((t.name for t in by_path[path].files[path]), reason)
            )

        def count(results: Mapping[str, FileResult]) -> None:
            n_problems = len(self.report.problems)
            for path, result in results.items():
                names = sorted(result.failed, key=result.failed.__getitem__)
                for reason, alike in groupby(names, key=result.failed.__getitem__):
                    first, *others = alike
                    more = f" and {len(others)} more" if others else ""
                    self._problem(path, reason, f"{' '.join(first)}{more}")
            size = sum(by_path[path].stats[os.path.basename(path)][0] for path in results)
            self.report.files_read += len(results)
            self.progress.scanned(len(results), size, len(self.report.problems) - n_problems)

        yield from ((task, []) for task in tasks if not task.files)
        options = self.options
        for number, results in run_jobs(
            read_batch, batches, blame=blame, jobs=options.jobs, time_limit=options.time_limit,
            each=count,
        ):  # fmt: skip
            yield tasks[number], list(results.values())

    def _commit(self, done: Sequence[tuple[RunTask, list[FileResult]]]) -> None:
        shard = done[0][0].shard
        with self.store.write(shard) as writer, self.store.read(shard) as cursor:
            for task, results in done:
                profiles = make_profiles(task, results)
                known = {} if cursor is None else file_stats(cursor, task.run_id)
                usable = {n: (k.size, k.mtime_ns) for n, k in known.items() if n in task.stats}
                # No writer comes between: whatever is published now is what we write upon.
                if usable != task.stats:
                    self._problem(task.label, "the run was ingested anew meanwhile: profile again")
                    continue
                if profiles and writer.replace_profiles(task.run_id, profiles):
                    self.report.runs_profiled += 1
                    self.report.keys_read += len(profiles)
        for task, _ in done:
            self.progress.finished_run(task.label)


def add_tasks(task: RunTask, key: SelectedKey) -> None:
    """Add the rows of a key to what is to be read of a run.

    Raises InconsistentFilesError where the key differs between files.
    """
    plan, name = key.plan(), (key.entry.name, key.name)
    task.pieces[name] = len(plan.pieces)
    for at, piece in enumerate(plan.pieces):
        of_file = task.files.setdefault(piece.data_file.path, [])
        of_file.append(KeyTask(name, at, replace(plan, pieces=(piece,), n_rows=piece.n_rows)))


def read_batch(
    paths: Sequence[str], options: dict[str, list[KeyTask]], note: Callable[[str], None]
) -> dict[str, FileResult]:
    """Read the keys of some files, each file opened once; in a worker."""
    results = {}
    for path in paths:
        note(path)
        files = OpenFiles(1)
        result = FileResult({}, {})
        for task in options[path]:
            try:
                result.summaries[task.name, task.at] = _read_key(task.plan, files)
            except (XfelcatError, OSError, RuntimeError, ValueError) as error:
                result.failed[task.name] = str(error)
        files.close()
        results[path] = result
    return results


def _read_key(plan: ReadPlan, files: OpenFiles) -> Summary:
    """The summary of the rows of one file, read in blocks of ``BLOCK_ROWS``."""
    found = Summary()
    for _, slabs in plan.pieces[0].portions(BLOCK_ROWS):
        part = replace(plan, pieces=(slabs,), n_rows=slabs.n_rows)
        found = found.followed_by(summarize(execute_plan(part, files)))
    return found


def make_profiles(task: RunTask, results: Iterable[FileResult]) -> list[KeyProfile]:
    """The profiles of the keys of a run of which every part was read: texts, else float."""
    parts: dict[tuple[KeyName, int], Summary] = {}
    for result in results:
        parts |= result.summaries
    now = utc_now()
    found = []
    for name, n_pieces in task.pieces.items():
        of_key = [parts[name, at] for at in range(n_pieces) if (name, at) in parts]
        if len(of_key) < n_pieces:
            continue
        s = reduce(Summary.followed_by, of_key, Summary())
        known = KeyProfile(*name, now, s.n_entries, s.n_nan, n_changes=s.n_changes)
        if isinstance(s.first, str):
            found.append(replace(known, first_text=s.first, last_text=s.last))
            continue
        fields = ("minimum", "maximum", "mean", "std", "first", "last")
        values = ((f, getattr(s, f)) for f in fields)
        numbers: dict[str, Any] = {f: None if v is None else float(v) for f, v in values}
        found.append(replace(known, **numbers))
    return found
