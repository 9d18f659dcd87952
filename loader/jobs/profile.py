"""What did control values, and other scalars, do during each run?

RUN holds their state at the start of a run; a profile says what happened after: extremes, mean,
changes. It takes reading the data once, and is kept with the catalog until a file changes.

1. ``profile`` takes the runs of a question, shard by shard, some at a time.
2. ``_plan_run`` chooses the keys of a run that have no fresh profile, and lists for each file the
   rows to read of each; no file is opened.
3. Worker processes read file after file, all keys of a file together, block by block, and give a
   ``Summary`` for each key and stretch of rows.
4. The summaries of a key are joined in the order of trains, and committed every few seconds. A key
   of which any part could not be read has no profile; a file that changed meanwhile gives none.
"""

import dataclasses
import fnmatch
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ...catalog.config import load_settings, user_catalog
from ...catalog.ingest.assemble import utc_now
from ...catalog.model.dtypes import decode_dtype
from ...catalog.model.errors import XfelcatError
from ...catalog.model.facts import RunFacts
from ...catalog.model.identity import shard_of
from ...catalog.model.names import is_timestamp, short_key
from ...catalog.model.records import KeyProfile, KeyRecord, Problem
from ...catalog.model.text import from_text
from ...catalog.opening.catalogued import catalogued_facts
from ...catalog.questions.filters import RunChoice, RunFilter
from ...catalog.scan.pool import Batch, run_batches
from ...catalog.store.read import file_stats, fresh_profiles
from ...catalog.store.store import Store
from ..read.execute import check_consistent, execute_plan
from ..read.files import OpenFiles
from ..read.rows import FileSlabs, ReadPlan, RowStretch, merge_rows, select_rows
from ..select.region import parse_region
from ..select.selection import source_schema
from ..select.sources import SourceEntry, take_inventory
from ..select.trains import TrainSet

if TYPE_CHECKING:
    from ...catalog.ingest.ingest import IngestProgress

__all__ = [
    "ProfileReport",
    "Summary",
    "profile",
    "profile_runs",
    "summarize",
]


# What do the entries of a key amount to: how many, how large, how often another?
#
# 1. ``summarize`` makes a ``Summary`` of one block of entries, in the order of trains.
# 2. ``Summary.followed_by`` joins those of two blocks that come one after the other, so that data
#    are read block by block and file by file.
#
# Means are kept as a distance from an entry of the block: integers beyond 2^53, such as times in
# nanoseconds, keep the digits that change.

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Entries, one after the other.

    Of the ``n_entries`` entries ``n_nan`` are NaN, and nothing else is said of these. ``first``,
    ``last``, ``minimum`` and ``maximum`` are as stored (int, float, bool or str), None where there
    are none; texts have no minimum and maximum. ``n_changes`` entries differ from the one before.
    The mean is ``base + offset``, ``squares`` the sum of the squares of the distances from it.
    """

    n_entries: int = 0
    n_nan: int = 0
    first: Any = None
    last: Any = None
    n_changes: int = 0
    minimum: Any = None
    maximum: Any = None
    base: Any = 0
    offset: float = 0.0
    squares: float = 0.0

    @property
    def n_values(self) -> int:
        """How many entries are not NaN."""
        return self.n_entries - self.n_nan

    @property
    def mean(self) -> float | None:
        """The mean; None where there is none: no entries, texts, infinities of both signs."""
        mean = self.base + self.offset if self.minimum is not None else np.nan
        return None if np.isnan(mean) else float(mean)

    @property
    def std(self) -> float | None:
        """The standard deviation of the population; None where the mean is not finite either."""
        if self.minimum is None or not np.isfinite(self.squares):
            return None
        return float(np.sqrt(self.squares / self.n_values))

    def followed_by(self, other: "Summary") -> "Summary":
        """Both as one."""
        n_entries, n_nan = self.n_entries + other.n_entries, self.n_nan + other.n_nan
        if not self.n_values or not other.n_values:
            known = self if self.n_values else other
            return replace(known, n_entries=n_entries, n_nan=n_nan)
        joined = Summary(
            n_entries,
            n_nan,
            self.first,
            other.last,
            self.n_changes + other.n_changes + (self.last != other.first),
        )
        if self.minimum is None or other.minimum is None:
            return joined
        with np.errstate(all="ignore"):
            apart = np.float64(other.base - self.base) + (other.offset - self.offset)
            share = other.n_values / (self.n_values + other.n_values)
            offset = self.offset + apart * share
            squares = self.squares + other.squares + apart**2 * share * self.n_values
        return replace(
            joined,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            base=self.base,
            offset=float(offset),
            squares=float(squares),
        )


def summarize(values: NDArray[Any]) -> Summary:
    """The summary of 1D data: numbers, booleans or texts."""
    n_entries = values.size
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
    if not values.size:
        return Summary(n_entries, n_entries)
    known = Summary(
        n_entries,
        n_entries - values.size,
        _plain(values[0]),
        _plain(values[-1]),
        int(np.count_nonzero(values[1:] != values[:-1])),
    )
    if values.dtype.kind not in "biuf":
        return known
    with np.errstate(all="ignore"):  # infinities and overflow give what they give
        base, distances = _distances(values)
        offset = distances.mean()
        squares = np.square(distances - offset).sum()
    return replace(
        known,
        minimum=_plain(values.min()),
        maximum=_plain(values.max()),
        base=base,
        offset=float(offset),
        squares=float(squares),
    )


def _distances(values: NDArray[Any]) -> tuple[Any, Floats]:
    """A base and the distance of each value from it, exact where integers lie close together."""
    if values.dtype.kind == "f":
        first = values[0].astype(np.float64)
        base = float(first) if np.isfinite(first) else 0.0
        return base, values.astype(np.float64) - base
    if values.dtype.kind == "b" or values.dtype.itemsize < 8:
        return 0, values.astype(np.float64)
    base = int(values.min())
    if int(values.max()) - base < 1 << 63:
        return base, (values - values.dtype.type(base)).astype(np.float64)
    return 0, values.astype(np.float64)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


BLOCK_ROWS = 1 << 20
_RUNS_AT_ONCE = 32
_COMMIT_SECONDS = 20.0
_BATCH_FILES = 16

KeyName = tuple[str, str]


@dataclass(slots=True)
class ProfileReport:
    """What was profiled. ``keys_read`` counts keys of runs; ``problems`` say what was left out."""

    location: str
    runs_found: int = 0
    runs_profiled: int = 0
    runs_fresh: int = 0
    runs_without: int = 0
    keys_read: int = 0
    keys_fresh: int = 0
    files_read: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """Which keys to profile: globs of sources and keys; without ``key`` all control values."""

    source: str = "*"
    key: str | None = None

    def of_source(self, entry: SourceEntry) -> Iterator[KeyRecord]:
        """The chosen keys of a source: scalars, of numbers, booleans or text."""
        is_control = entry.section == "CONTROL"
        if entry.run_only or entry.is_legacy or (self.key is None and not is_control):
            return
        fits = re.compile(fnmatch.translate(self.key or "*.value")).match
        stamps = (self.key or "").endswith("timestamp")
        for record in source_schema(entry).keys:
            if not _is_scalar(record):
                continue
            if is_control and is_timestamp(record.name) and not stamps:
                continue
            if fits(record.name) or (is_control and fits(short_key(record.name))):
                yield record


def _is_scalar(record: KeyRecord) -> bool:
    return not record.entry_shape and (
        record.dtype == "str" or decode_dtype(record.dtype).kind in "biuf"
    )


def profile(
    source: str = "*",
    key: str | None = None,
    *,
    catalog: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    time_limit: float = 120.0,
    progress: "IngestProgress | None" = None,
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
        Worker processes; 0 for none, by default one per core.
    time_limit
        Give up a file that takes longer, in seconds.
    progress
        Told how it goes on, as by ``Catalog.ingest``.
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
    location = catalog or load_settings().catalog or user_catalog()
    options = ProfileOptions(KeyChoice(source, key), force, jobs, time_limit)
    return profile_runs(Store(location), RunFilter.of(**where), options, progress)


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """How to profile: see ``profile``."""

    keys: KeyChoice = KeyChoice()
    force: bool = False
    jobs: int | None = None
    time_limit: float = 120.0


def profile_runs(
    store: Store,
    where: RunFilter,
    options: ProfileOptions,
    progress: "IngestProgress | None" = None,
) -> ProfileReport:
    """Profile the runs of a question; the rest is as for ``profile``.

    KeyboardInterrupt stops the workers, keeps and publishes what is complete, and is told by
    ``report.interrupted``.
    """
    report = ProfileReport(str(store.location))
    work = _Profiling(store, options, progress or _Silence(), report)
    started = time.monotonic()
    try:
        work.all_runs(where)
    except KeyboardInterrupt:
        report.interrupted = True
    if store.merged_is_stale():
        work.progress.publishing()
        store.publish_merged()
    report.seconds = time.monotonic() - started
    return report


class _Silence:
    def found(self, runs: int) -> None: ...
    def planned(self, files: int, size: int) -> None: ...
    def scanned(self, files: int, size: int, problems: int) -> None: ...
    def finished_run(self, label: str) -> None: ...
    def publishing(self) -> None: ...


@dataclass(frozen=True, eq=False, slots=True)
class KeyTask:
    """Rows of one key in one file: stretch number ``at`` of the key, in the order of trains."""

    name: KeyName
    at: int
    path: str
    record: KeyRecord
    slabs: FileSlabs


@dataclass(frozen=True, eq=False)
class RunTask:
    """What is to be read of a run: tasks by file, and the keys with their number of stretches."""

    run_id: int
    shard: str
    label: str
    stretches: dict[KeyName, int]
    files: dict[str, list[KeyTask]]
    stats: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FileResult:
    """The summaries of the keys of a file by key and stretch; why some are missing."""

    summaries: dict[tuple[KeyName, int], Summary]
    failed: dict[KeyName, str]


class _Profiling:
    """One call of ``profile_runs``."""

    def __init__(
        self,
        store: Store,
        options: ProfileOptions,
        progress: "IngestProgress",
        report: ProfileReport,
    ) -> None:
        self.progress = progress
        self._store = store
        self._options = options
        self._report = report

    def all_runs(self, where: RunFilter) -> None:
        from ...catalog.questions.find import runs
        from ...catalog.questions.question import Question

        table = runs(self._store, Question(where)).table.select(["run_id", "path"])
        found = [(shard_of(row["run_id"]), row["run_id"], row["path"]) for row in table.to_pylist()]
        self._report.runs_found = len(found)
        self.progress.found(len(found))
        for shard, of_shard in groupby(sorted(found), key=lambda run: run[0]):
            for some in _portions(of_shard, _RUNS_AT_ONCE):
                planned = [self._plan(shard, run_id, from_text(path)) for _, run_id, path in some]
                self._read([task for task in planned if task is not None])

    def _plan(self, shard: str, run_id: int, directory: str) -> RunTask | None:
        """What to read of a run; None where there is nothing, or the run cannot be planned."""
        try:
            facts = catalogued_facts(self._store, shard, run_id)
            with self._store.read(shard) as cursor:
                known = None if self._options.force else cursor
                done = fresh_profiles(known, run_id) if known else set()
            task, n_done = self._chosen(facts, shard, run_id, done)
        except XfelcatError as error:
            self._problem(directory, str(error))
            self.progress.finished_run(directory)
            return None
        self._report.keys_fresh += n_done
        if not task.stretches:
            self._report.runs_fresh += n_done > 0
            self._report.runs_without += n_done == 0
            self.progress.finished_run(task.label)
            return None
        size = sum(task.stats[os.path.basename(path)][0] for path in task.files)
        self.progress.planned(len(task.files), size)
        return task

    def _chosen(
        self, facts: RunFacts, shard: str, run_id: int, done: set[KeyName]
    ) -> tuple[RunTask, int]:
        inventory = take_inventory(facts, inc_suspect_trains=True, allow_duplicates=True)
        stats = {os.path.basename(f.path): (f.size, f.mtime_ns) for f in facts.files}
        task = RunTask(run_id, shard, facts.directory, {}, {}, stats)
        n_done = 0
        for entry in inventory.sources.values():
            if not fnmatch.fnmatchcase(entry.name, self._options.keys.source):
                continue
            for record in self._options.keys.of_source(entry):
                if (entry.name, record.name) in done:
                    n_done += 1
                    continue
                try:
                    add_tasks(task, entry, record, inventory.trains)
                except XfelcatError as error:
                    self._problem(facts.directory, str(error), f"{entry.name} {record.name}")
        return task, n_done

    def _problem(self, path: str, message: str, where: str = "") -> None:
        self._report.problems.append(Problem("F06", "W", f"not profiled: {message}", path, where))

    def _read(self, tasks: Sequence[RunTask]) -> None:
        """Read and commit some runs of one shard."""
        batches = [
            Batch(number, paths, {path: task.files[path] for path in paths})
            for number, task in enumerate(tasks)
            for paths in _portions(task.files, _BATCH_FILES)
        ]
        waiting = {number: len(task.files) for number, task in enumerate(tasks)}
        results: dict[int, list[FileResult]] = {number: [] for number in waiting}
        done = [(task, results[n]) for n, task in enumerate(tasks) if not task.files]
        last_commit = time.monotonic()
        jobs = os.cpu_count() or 1 if self._options.jobs is None else self._options.jobs
        try:
            for result in run_batches(
                read_batch, batches, jobs=jobs, time_limit=self._options.time_limit
            ):
                number = result.batch.key
                results[number] += self._results(tasks[number], result.results, result.blamed)
                waiting[number] -= len(result.results) + len(result.blamed)
                if not waiting[number]:
                    done.append((tasks[number], results.pop(number)))
                if done and time.monotonic() - last_commit > _COMMIT_SECONDS:
                    self._commit(done)
                    done, last_commit = [], time.monotonic()
        finally:
            self._commit(done)

    def _results(
        self, task: RunTask, read: dict[str, FileResult], blamed: dict[str, str]
    ) -> Iterable[FileResult]:
        n_problems = len(self._report.problems)
        for path, reason in blamed.items():
            failed = dict.fromkeys((t.name for t in task.files[path]), reason)
            read = read | {path: FileResult({}, failed)}
        for path, result in read.items():
            for reason, names in _by_reason(result.failed).items():
                self._problem(path, reason, _several(names))
        size = sum(task.stats[os.path.basename(path)][0] for path in read)
        self._report.files_read += len(read)
        self.progress.scanned(len(read), size, len(self._report.problems) - n_problems)
        return read.values()

    def _commit(self, done: Sequence[tuple[RunTask, list[FileResult]]]) -> None:
        if not done:
            return
        shard = done[0][0].shard
        with self._store.write(shard) as writer, self._store.read(shard) as cursor:
            for task, results in done:
                profiles = make_profiles(task, results)
                known = {} if cursor is None else file_stats(cursor, task.run_id)
                usable = {n: (k.size, k.mtime_ns) for n, k in known.items() if n in task.stats}
                # No writer comes between: whatever is published now is what we write upon.
                if usable != task.stats:
                    self._problem(task.label, "the run was ingested anew meanwhile: profile again")
                    continue
                if profiles and writer.replace_profiles(task.run_id, profiles):
                    self._report.runs_profiled += 1
                    self._report.keys_read += len(profiles)
        for task, _ in done:
            self.progress.finished_run(task.label)


def _portions(things: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    rest = iter(things)
    while portion := tuple(islice(rest, size)):
        yield portion


def add_tasks(task: RunTask, entry: SourceEntry, record: KeyRecord, trains: TrainSet) -> None:
    """Add the rows of a key to what is to be read of a run.

    Raises InconsistentFilesError where the key differs between files.
    """
    refs = entry.files_within(trains)
    selected = select_rows(entry, refs, record.group, trains).stretches
    stretches = [s for s in selected if s.count.any()]
    described = [(s.ref, entry.schema(s.ref).by_name.get(record.name)) for s in stretches]
    record = check_consistent(entry.name, record, described)
    name = (entry.name, record.name)
    path = f"/{entry.section}/{entry.real_name}/{record.name.replace('.', '/')}"
    task.stretches[name] = len(stretches)
    for at, stretch in enumerate(stretches):
        slabs = _slabs(stretch)
        of_file = task.files.setdefault(stretch.ref.path, [])
        of_file.append(KeyTask(name, at, path, record, slabs))


def _slabs(stretch: RowStretch) -> FileSlabs:
    starts, stops = merge_rows(stretch.first, stretch.count)
    return FileSlabs(stretch.ref.data_file, starts, stops, starts)


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
                result.summaries[task.name, task.at] = _read_key(task, files)
            except (XfelcatError, OSError, RuntimeError, ValueError) as error:
                result.failed[task.name] = str(error)
        files.close()
        results[path] = result
    return results


def _read_key(task: KeyTask, files: OpenFiles) -> Summary:
    found = Summary()
    for plan in _blocks(task):
        found = found.followed_by(summarize(execute_plan(plan, files)))
    return found


def _blocks(task: KeyTask) -> Iterator[ReadPlan]:
    """Plans of at most ``BLOCK_ROWS`` rows each, in the order of rows."""
    import numpy as np

    whole = parse_region((), ())
    slabs = task.slabs

    def plan(starts: list[int], stops: list[int]) -> ReadPlan:
        first, last = np.array(starts), np.array(stops)
        ends = np.cumsum(last - first)
        piece = FileSlabs(slabs.data_file, first, last, ends - (last - first))
        return ReadPlan(task.name[0], task.path, task.record, whole, int(ends[-1]), (piece,))

    starts: list[int] = []
    stops: list[int] = []
    room = BLOCK_ROWS
    for first, last in zip(slabs.starts.tolist(), slabs.stops.tolist(), strict=True):
        while first < last:
            end = min(last, first + room)
            starts.append(first)
            stops.append(end)
            room -= end - first
            first = end
            if not room:
                yield plan(starts, stops)
                starts, stops, room = [], [], BLOCK_ROWS
    if starts:
        yield plan(starts, stops)


def make_profiles(task: RunTask, results: Iterable[FileResult]) -> list[KeyProfile]:
    """The profiles of the keys of a run of which every part was read."""
    parts: dict[tuple[KeyName, int], Summary] = {}
    for result in results:
        parts |= result.summaries
    now = utc_now()
    found = []
    for name, n_stretches in task.stretches.items():
        of_key = [parts.get((name, at)) for at in range(n_stretches)]
        whole = Summary()
        for part in of_key:
            if part is None:
                break
            whole = whole.followed_by(part)
        else:
            found.append(as_profile(name, whole, now))
    return found


def as_profile(name: KeyName, summary: Summary, now: Any) -> KeyProfile:
    """A summary as the catalog keeps it: numbers as float, texts as they are."""
    known = KeyProfile(
        *name,
        now,
        summary.n_entries,
        summary.n_nan,
        n_changes=summary.n_changes,
    )
    if isinstance(summary.first, str):
        return dataclasses.replace(known, first_text=summary.first, last_text=summary.last)
    return dataclasses.replace(
        known,
        minimum=_number(summary.minimum),
        maximum=_number(summary.maximum),
        mean=summary.mean,
        std=summary.std,
        first=_number(summary.first),
        last=_number(summary.last),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _by_reason(failed: dict[KeyName, str]) -> dict[str, list[KeyName]]:
    reasons: dict[str, list[KeyName]] = {}
    for name, reason in failed.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def _several(names: Sequence[KeyName]) -> str:
    """The first of some keys, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{' '.join(names[0])}{more}"
