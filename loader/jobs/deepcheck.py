"""Do the data of a file hold what its structure promises? A sample is read.

1. ``check_data`` leaves out what lies only on tape, and hands the rest to worker processes with a
   time limit per file.
2. A worker reads from each file: of every control source a few keys, of every index group a few
   trains, of every dataset of an instrument source a few chunks. Which ones follows from the seed
   and the name alone, so that the same files give the same findings.
3. The arrays are judged by ``datachecks``; what cannot be read is V02.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import FileStructureError
from ...catalog.model.identity import parse_file_name, shard_of
from ...catalog.model.records import Depth, Problem, SourceRecord
from ...catalog.model.runlength import IndexPattern, TrainList
from ...catalog.model.text import from_text
from ...catalog.scan.checks import Fault, as_problems
from ...catalog.scan.locality import file_localities, is_on_disk
from ...catalog.scan.pool import Batch, run_batches
from ...catalog.store.read import file_stats
from ...catalog.store.store import Store

if TYPE_CHECKING:
    from ...catalog.ingest.ingest import IngestProgress

__all__ = [
    "DEFAULT_SAMPLE",
    "DeepOptions",
    "News",
    "RunDataCheck",
    "check_data",
    "check_pulse_column",
    "check_source_stopped",
    "check_stamps",
    "check_train_column",
    "find_news",
]


# What do the data themselves say is wrong, where the structure of the file is in order?
#
# Pure functions over arrays that were read; each yields ``Fault``s. The IDs are those of the table
# of audit checks.
#
# 1. ``check_stamps``: the times of a control value, V04.
# 2. ``find_news`` and ``check_source_stopped``: a control source from which no more news came, V01.
# 3. ``check_train_column`` and ``check_pulse_column``: what a detector recorded for each row
# against
#    the train that INDEX gives the row to, V03.

UInt64s = NDArray[np.uint64]

# A source has stopped if it sent news at least so many times, and then none for more trains than
# this, than this share of the trains, and than so many times the longest pause before.
_MIN_NEWS, _MIN_TRAINS, _MIN_SHARE, _MIN_PAUSES = 5, 10, 0.1, 3


def check_stamps(ids: UInt64s, stamps: UInt64s, where: str) -> Iterator[Fault]:
    """V04: times (n,) of a control value at trains (n,) that are zero inside, or go back."""
    is_set = stamps != 0
    if not is_set.any():
        return
    first = int(np.argmax(is_set))
    zeros = first + np.flatnonzero(~is_set[first:])
    if zeros.size:
        message = f"{zeros.size} times are zero, the first at train {ids[zeros[0]]}"
        yield Fault("V04", message, where)
    known, at = stamps[is_set], ids[is_set]
    back = np.flatnonzero(known[1:] < known[:-1])
    if back.size:
        message = f"times go back in {back.size} places, the first at train {at[back[0] + 1]}"
        yield Fault("V04", message, where)


@dataclass(frozen=True, slots=True)
class News:
    """When a control value sent news, in the trains of one file.

    ``count`` new times, the last at position ``last`` of ``n_trains``; from one to the next it is
    ``pause`` trains at most. ``is_alive``: after the last time the value changes nevertheless.
    """

    n_trains: int
    count: int
    last: int
    pause: int
    is_alive: bool

    @property
    def is_regular(self) -> bool:
        """Whether news came often enough to miss them."""
        return self.count >= _MIN_NEWS

    @property
    def is_silent(self) -> bool:
        """Whether there was no news at all."""
        return not self.count and not self.is_alive

    @property
    def has_stopped(self) -> bool:
        """Whether there was news, and then none for too long."""
        limit = max(_MIN_TRAINS, _MIN_SHARE * self.n_trains, _MIN_PAUSES * self.pause)
        silent = self.n_trains - 1 - self.last
        return self.is_regular and not self.is_alive and silent > limit


def find_news(stamps: UInt64s, values: NDArray[Any]) -> News:
    """The news of a control value with times and values (n,), at least one."""
    at = np.flatnonzero(stamps[1:] != stamps[:-1]) + 1
    last = int(at[-1]) if at.size else 0
    rest = values[last:]
    is_same = (rest == rest[0]) | ((rest != rest) & (rest[0] != rest[0]))  # NaN stays NaN
    pause = int(np.diff(at).max()) if at.size > 1 else 0
    return News(stamps.size, at.size, last, pause, is_alive=not is_same.all())


def check_source_stopped(
    ids: UInt64s, news: Mapping[str, News], before: Mapping[str, News], where: str
) -> Iterator[Fault]:
    """V01: a source of which every key that ever sent news has stopped.

    ``news`` are of keys at trains (n,), ``before`` those in the file of the sequence before.
    """
    heard = {key: of_key for key, of_key in news.items() if not of_key.is_silent}
    if heard and all(of_key.has_stopped for of_key in heard.values()):
        last = max(of_key.last for of_key in heard.values())
        silent = ids.size - 1 - last
        message = (
            f"no news after train {ids[last]}: time and value stay the same "
            f"for the last {silent} of {ids.size} trains, such as those of {min(heard)!r}"
        )
        yield Fault("V01", message, where)
    elif not heard:
        missed = {
            key: before[key].pause
            for key in news
            if key in before and before[key].is_regular and not before[key].has_stopped
        }
        if missed and ids.size > max(_MIN_TRAINS, _MIN_PAUSES * min(missed.values())):
            message = (
                f"no news in {ids.size} trains, but in the sequence before: time and value stay "
                f"the same, such as those of {min(missed)!r}"
            )
            yield Fault("V01", message, where)


def check_train_column(
    train_id: int, recorded: NDArray[Any], first: int, where: str
) -> Iterator[Fault]:
    """V03: the train IDs recorded with the rows of one train; ``first`` is its first row."""
    flat = recorded.reshape(len(recorded), -1)
    wrong = np.flatnonzero((flat != np.uint64(train_id)).any(axis=1))
    if wrong.size:
        value = flat[wrong[0]][0]
        message = f"row {first + wrong[0]} belongs to train {train_id} by INDEX, but says {value}"
        yield Fault("V03", message, where)


def check_pulse_column(
    train_id: int, recorded: NDArray[Any], first: int, where: str
) -> Iterator[Fault]:
    """V03: pulse or cell numbers of the rows of one train, which count up.

    They may do so several times over in the same way, as where each gain stage has its frames.
    """
    flat = recorded.ravel()
    restarts = np.flatnonzero(flat[1:] <= flat[:-1]) + 1
    parts = np.split(flat, restarts)
    odd = next((i for i, part in enumerate(parts) if not np.array_equal(part, parts[0])), None)
    if odd is not None:
        row = first + int(restarts[odd - 1])
        message = f"numbers of train {train_id} begin anew in row {row}, not with a train of INDEX"
        yield Fault("V03", message, where)


DEFAULT_SAMPLE = 8
_BATCH_FILES = 64
_MAX_BLOCK = 1 << 26  # bytes to read at once: the rows of a chunk row may be larger

SourceNews = dict[str, dict[str, News]]
"""The news of control sources: by source, then by key."""


@dataclass(frozen=True, slots=True)
class DeepOptions:
    """How much data to read.

    ``sample`` is the number of keys per control source, of trains per index group and of chunks per
    dataset that are looked at, 0 for all; which ones follows from ``seed``. ``jobs`` worker
    processes (None: one per core; 0: none); ``time_limit`` is in seconds, per file.
    """

    sample: int = DEFAULT_SAMPLE
    seed: int = 0
    jobs: int | None = None
    time_limit: float = 120.0


def check_data(
    paths: Iterable[str],
    options: DeepOptions | None = None,
    progress: "IngestProgress | None" = None,
) -> Iterator[tuple[str, tuple[Problem, ...]]]:
    """Read a sample of the data of files, and say of each what is wrong with it.

    Yields every path with its problems (V01 to V04, or F06 where it could not be looked at), in any
    order. A file that is no EXDF file has none here: that is for the scan to say. Files that lie
    only on tape are not touched. Closing the iterator kills the workers.
    """
    options = options or DeepOptions()
    files = list(dict.fromkeys(paths))
    where = file_localities(files)
    on_disk = [p for p in files if is_on_disk(where[p])]
    if progress:
        progress.planned(len(files), sum(_size(p) for p in on_disk))
    for path in files:
        if not is_on_disk(where[path]):
            yield _told(path, [Fault("F06", f"data not checked: file is {where[path]}")], progress)
    batches = _batches(on_disk, options)
    jobs = os.cpu_count() or 1 if options.jobs is None else options.jobs
    for result in run_batches(check_batch, batches, jobs=jobs, time_limit=options.time_limit):
        for path, faults in result.results.items():
            yield _told(path, faults, progress)
        for path, reason in result.blamed.items():
            yield _told(path, [Fault("F06", f"data not checked: {reason}")], progress)


def _batches(paths: Iterable[str], options: DeepOptions) -> list[Batch]:
    """The files of an aggregator of a run together, in order, in batches."""

    def order(path: str) -> tuple[str, str, int, str]:
        directory, name = os.path.split(path)
        parsed = parse_file_name(name)
        return (directory, *((parsed.aggregator, parsed.sequence) if parsed else ("", -1)), path)

    batches = []
    for _, group in groupby(sorted(paths, key=order), key=lambda path: order(path)[:2]):
        together = list(group)
        for at in range(0, len(together), _BATCH_FILES):
            batches.append(Batch(None, tuple(together[at : at + _BATCH_FILES]), options))
    return batches


def _told(
    path: str, faults: Sequence[Fault], progress: "IngestProgress | None"
) -> tuple[str, tuple[Problem, ...]]:
    problems = as_problems(path, faults)
    if progress:
        progress.scanned(1, _size(path), len(problems))
    return path, problems


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def check_batch(
    paths: Sequence[str], options: DeepOptions, note: Callable[[str], None]
) -> dict[str, list[Fault]]:
    """Check the files of one aggregator, in the order of their sequences; in a worker."""
    found = {}
    heard: SourceNews = {}
    for path in paths:
        note(path)
        found[path], heard = check_file(path, options, heard)
    return found


def check_file(
    path: str, options: DeepOptions, before: SourceNews
) -> tuple[list[Fault], SourceNews]:
    """What a sample of the data of one file says; nothing where the scan has said why.

    ``before`` are the news of control sources in the sequence before; returned with those of this
    file.
    """
    from ...catalog.hdf5.library import READ_ERRORS, open_file, reason_of

    try:
        fid = open_file(path)
    except FileStructureError:
        return [], {}
    except OSError as e:
        return [Fault("F06", f"data not checked: {e.strerror or reason_of(e)}")], {}
    check = _DataCheck(fid, options, before)
    try:
        return list(check.all_sources()), check.news
    except READ_ERRORS as e:
        return [Fault("V02", f"data cannot be read: {reason_of(e)}")], {}
    finally:
        fid.close()


class _DataCheck:
    """The reading of samples from one open file."""

    def __init__(self, fid: Any, options: DeepOptions, before: SourceNews) -> None:
        self.news: SourceNews = {}
        self._fid = fid
        self._options = options
        self._before = before
        self._memo: dict[bytes, IndexPattern] = {}

    def all_sources(self) -> Iterator[Fault]:
        from ...catalog.scan.outline import read_outline

        outline = read_outline(self._fid)
        if not outline.usable:
            return
        for source in outline.layout.sources:
            if source.section == "CONTROL":
                yield from self._control(source, outline.trains)
            elif not source.legacy_of:
                yield from self._instrument(source, outline.trains)

    def _pick(self, n: int, name: str) -> list[int]:
        """Some of n positions, in order: always the same ones of the same thing."""
        if not self._options.sample or n <= self._options.sample:
            return list(range(n))
        rng = np.random.default_rng((self._options.seed, crc32(name.encode())))
        chosen: list[int] = np.sort(rng.choice(n, self._options.sample, replace=False)).tolist()
        return chosen

    def _leaves(self, source: SourceRecord) -> list[str]:
        from ...catalog.scan.keys import source_leaves

        return source_leaves(self._fid, source.section, source.name)

    def _pattern(self, source: SourceRecord, group: str, trains: TrainList) -> IndexPattern | None:
        """INDEX of a group; None where the scan has found it wrong."""
        from ...catalog.scan.index import read_index

        pattern, faults = read_index(self._fid, source.name, group, trains, self._memo)
        return None if faults else pattern

    # Control sources ----------------------------------------------------------------------------

    def _control(self, source: SourceRecord, trains: TrainList) -> Iterator[Fault]:
        pattern = self._pattern(source, "", trains)
        if pattern is None:
            return
        used = np.flatnonzero(trains.good & (pattern.count > 0))
        rows, ids = pattern.first[used], trains.ids[used]
        place = f"CONTROL/{source.name}"
        names = [p.removesuffix("/value") for p in self._leaves(source) if p.endswith("/value")]
        news: dict[str, News] = {}
        for at in self._pick(len(names), place):
            key = names[at].replace("/", ".")
            stamps = yield from self._column(f"{place}/{names[at]}/timestamp", rows)
            values = yield from self._column(f"{place}/{names[at]}/value", rows)
            if stamps is None or stamps.dtype.kind not in "ui":
                continue
            stamps = stamps.astype(np.uint64)
            yield from check_stamps(ids, stamps, f"{place}/{names[at]}/timestamp")
            if values is not None and ids.size:
                news[key] = find_news(stamps, values)
        self.news[source.name] = news
        yield from check_source_stopped(ids, news, self._before.get(source.name, {}), place)

    def _column(
        self, path: str, rows: NDArray[np.int64]
    ) -> Generator[Fault, None, NDArray[Any] | None]:
        """The rows of a dataset with one value each; None where there is no such thing.

        Of arrays only a sample of chunks is read, to see whether they can be.
        """
        from ...catalog.hdf5.library import READ_ERRORS, open_dataset, read_array, reason_of

        dataset = open_dataset(self._fid, path)
        if dataset is None or not dataset.shape:
            return None
        if len(dataset.shape) > 1:
            yield from self._chunks(path)
            return None
        try:
            whole = read_array(dataset)
        except READ_ERRORS as e:
            yield Fault("V02", f"data cannot be read: {reason_of(e)}", path)
            return None
        return whole[rows] if not rows.size or rows.max() < len(whole) else None

    # Instrument sources -------------------------------------------------------------------------

    def _instrument(self, source: SourceRecord, trains: TrainList) -> Iterator[Fault]:
        place = f"{source.section}/{source.name}"
        leaves = self._leaves(source)
        unreadable: set[str] = set()
        for leaf in leaves:
            for fault in self._chunks(f"{place}/{leaf}"):
                unreadable.add(leaf)
                yield fault
        if source.section == "ERRATA":  # its train IDs are those of trains that were lost
            return
        for group in source.groups:
            pattern = self._pattern(source, group, trains)
            if pattern is None:
                continue
            for column, check in (
                ("trainId", check_train_column),
                ("pulseId", check_pulse_column),
                ("cellId", check_pulse_column),
            ):
                leaf = f"{group}/{column}".lstrip("/")
                if leaf in leaves and leaf not in unreadable:
                    yield from self._of_trains(f"{place}/{leaf}", pattern, trains, check)

    def _chunks(self, path: str) -> Iterator[Fault]:
        """V02 for the first chunk in the sample that does not decode."""
        from ...catalog.hdf5.library import (
            READ_ERRORS,
            chunk_rows,
            open_dataset,
            read_rows,
            reason_of,
        )

        dataset = open_dataset(self._fid, path)
        shape = dataset.shape if dataset is not None else None
        if not shape or 0 in shape:
            return
        step = chunk_rows(dataset)
        for at in self._pick(-(-shape[0] // step), path):
            first, end = at * step, min((at + 1) * step, shape[0])
            try:
                for start, stop in _blocks(dataset, first, end):
                    read_rows(dataset, start, stop)
            except READ_ERRORS as e:
                rows = f"rows {first} to {end - 1}" if end - first > 1 else f"row {first}"
                yield Fault("V02", f"{rows} cannot be read: {reason_of(e)}", path)
                return

    def _of_trains(
        self,
        path: str,
        pattern: IndexPattern,
        trains: TrainList,
        check: Callable[[int, NDArray[Any], int, str], Iterator[Fault]],
    ) -> Iterator[Fault]:
        """The first fault of a column that says something about each row, in a sample of trains."""
        from ...catalog.hdf5.library import READ_ERRORS, open_dataset, read_rows, reason_of

        dataset = open_dataset(self._fid, path)
        if dataset is None or not dataset.shape or dataset.dtype.kind not in "ui":
            return
        first, count = pattern.first, pattern.count
        used = np.flatnonzero(trains.good & (count > 0) & (first + count <= dataset.shape[0]))
        for at in self._pick(used.size, path):
            train = int(used[at])
            start, stop = int(first[train]), int(first[train] + count[train])
            try:
                recorded = read_rows(dataset, start, stop)
            except READ_ERRORS as e:
                yield Fault(
                    "V02", f"rows {start} to {stop - 1} cannot be read: {reason_of(e)}", path
                )
                return
            fault = next(check(int(trains.ids[train]), recorded, start, path), None)
            if fault is not None:
                yield fault
                return


def _blocks(dataset: Any, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Rows first to end in pieces that fit into memory."""
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))
    step = max(1, _MAX_BLOCK // max(row_bytes, 1))
    for start in range(first, end, step):
        yield start, min(start + step, end)


# How does an audit get data read? It calls ``RunDataCheck`` with the runs in its scope.
#
# The catalog says which files a run has; ``deepcheck`` reads a sample of each.

_RUNS_AT_ONCE = 64


@dataclass
class RunDataCheck:
    """Reads a sample of the data of the runs of the catalog at ``location``.

    ``steps`` is told how many runs are done, of how many. ``left_out`` gathers what could not be
    looked at: files that lie only on tape, that hang, or that may not be read.
    """

    location: str | os.PathLike[str]
    options: DeepOptions = field(default_factory=DeepOptions)
    steps: Callable[[int, int], None] | None = None
    left_out: list[Problem] = field(default_factory=list)

    def __call__(self, runs: Sequence[tuple[int, str]]) -> Iterable[tuple[int, Problem]]:
        """Problems by run_id, given run_id and directory of each run: V01 to V04 and F06."""
        store = Store(self.location)
        for at in range(0, len(runs), _RUNS_AT_ONCE):
            if self.steps:
                self.steps(at, len(runs))
            some = runs[at : at + _RUNS_AT_ONCE]
            of_run = {
                path: run_id for run_id, place in some for path in _files(store, run_id, place)
            }
            for path, problems in check_data(of_run, self.options):
                for problem in problems:
                    if problem.check == "F06":
                        self.left_out.append(problem)
                    yield of_run[path], problem
        if self.steps:
            self.steps(len(runs), len(runs))


def _files(store: Store, run_id: int, place: str) -> Iterator[str]:
    """The files of a run that the catalog says are there and can be read."""
    with store.read(shard_of(run_id)) as cursor:
        known = file_stats(cursor, run_id) if cursor else {}
    for name, file in known.items():
        if file.depth > Depth.UNREAD and not file.missing:
            yield os.path.join(from_text(place), name)
