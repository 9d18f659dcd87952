"""Deep checks: whether the data of a file agree with its structure. A sample is read.

1. ``check_data`` leaves out what lies only on tape, and hands the rest to worker processes with a
   time limit per file.
2. A worker reads from each file: of every control source a few keys, of every index group a few
   trains, of every dataset of an instrument source a few chunks. The seed and the name alone decide
   which ones, so that the same files give the same findings.
3. Pure functions over the arrays find faults: ``check_stamps`` (V04, the times of a control value),
   ``find_updates`` and ``check_source_stopped`` (V01, a control source that stopped to update),
   ``check_train_column`` and ``check_pulse_column`` (V03, the train or pulse that a detector
   recorded for each row). What cannot be read is V02.

An audit calls ``RunDataCheck`` with the runs in its scope; the catalog knows which files they have.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ...catalog.config import load_settings, local_path
from ...catalog.hdf5.interface import READ_ERRORS, reason_of
from ...catalog.model.errors import FileStructureError
from ...catalog.model.identity import shard_of
from ...catalog.model.names import from_text
from ...catalog.model.records import Depth, Problem, SourceRecord
from ...catalog.model.runlength import IndexPattern, Int64s, TrainList, UInt64s
from ...catalog.scan.checks import Fault, as_problems
from ...catalog.scan.executors import Batch, Jobs
from ...catalog.scan.jobs import NO_PROGRESS, JobProgress, in_batches, portions, run_jobs
from ...catalog.scan.keys import read_index, source_leaves
from ...catalog.scan.locality import files_off_disk
from ...catalog.scan.outline import read_outline
from ...catalog.store.read import file_stats
from ...catalog.store.store import Store

if TYPE_CHECKING:
    from ...catalog.hdf5.library import LibraryDataset, LibraryGroup


# A source has stopped if it was updated at least so many times, and then not for more trains than
# this, than this share of the trains, and than so many times the longest pause before.
_MIN_UPDATES, _MIN_TRAINS, _MIN_SHARE, _MIN_PAUSES = 5, 10, 0.1, 3


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
class Updates:
    """The updates of a control value in the trains of one file."""

    n_trains: int
    """How many trains the file has."""
    count: int
    """How many new times there are."""
    last: int
    """The position of the last of them."""
    pause: int
    """The most trains from one to the next."""
    is_alive: bool
    """Whether the value changes after the last time nevertheless."""

    @property
    def is_regular(self) -> bool:
        """Whether updates came often enough to miss them."""
        return self.count >= _MIN_UPDATES

    @property
    def is_silent(self) -> bool:
        """Whether there was no update at all."""
        return not self.count and not self.is_alive

    @property
    def has_stopped(self) -> bool:
        """Whether there were updates, and then none for too long."""
        limit = max(_MIN_TRAINS, _MIN_SHARE * self.n_trains, _MIN_PAUSES * self.pause)
        silent = self.n_trains - 1 - self.last
        return self.is_regular and not self.is_alive and silent > limit


def find_updates(stamps: UInt64s, values: NDArray[Any]) -> Updates:
    """The updates of a control value with times and values (n,), at least one."""
    at = np.flatnonzero(stamps[1:] != stamps[:-1]) + 1
    last = int(at[-1]) if at.size else 0
    rest = values[last:]
    is_same = (rest == rest[0]) | ((rest != rest) & (rest[0] != rest[0]))  # NaN stays NaN
    pause = int(np.diff(at).max()) if at.size > 1 else 0
    return Updates(stamps.size, at.size, last, pause, is_alive=not is_same.all())


def check_source_stopped(
    ids: UInt64s, updates: Mapping[str, Updates], before: Mapping[str, Updates], where: str
) -> Iterator[Fault]:
    """V01: a source of which every key that was ever updated has stopped.

    ``updates`` are of keys at trains (n,), ``before`` those in the file of the sequence before.
    """
    seen = {key: of_key for key, of_key in updates.items() if not of_key.is_silent}
    if seen and all(of_key.has_stopped for of_key in seen.values()):
        last = max(of_key.last for of_key in seen.values())
        silent = ids.size - 1 - last
        message = (
            f"no news after train {ids[last]}: time and value stay the same "
            f"for the last {silent} of {ids.size} trains, such as those of {min(seen)!r}"
        )
        yield Fault("V01", message, where)
    elif not seen:
        missed = {
            key: before[key].pause
            for key in updates
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
_MAX_BLOCK = 1 << 26  # bytes to read at once: the rows of a chunk may be larger

SourceUpdates = dict[str, dict[str, Updates]]
"""The updates of control sources: by source, then by key."""


@dataclass(frozen=True, slots=True)
class DeepOptions:
    """How much data to read. What is not described is as for ``profile``."""

    sample: int = DEFAULT_SAMPLE
    """Keys per control source, trains per index group and chunks per dataset; 0 for all."""
    seed: int = 0
    """Which of them."""
    jobs: Jobs = None
    time_limit: float = 120.0


def check_data(
    paths: Iterable[str],
    options: DeepOptions | None = None,
    progress: JobProgress | None = None,
) -> Iterator[tuple[str, tuple[Problem, ...]]]:
    """Read a sample of the data of files, and find what is wrong with each.

    Yields every path with its problems (V01 to V04, or F06 where it could not be read), in any
    order. A file that is no EXDF file has none here: the scan reports it. Files that lie only on
    tape are not touched. Closing the iterator kills the workers.
    """
    options, progress = options or DeepOptions(), progress or NO_PROGRESS
    files = list(dict.fromkeys(paths))
    on_tape = files_off_disk(files)
    on_disk = [path for path in files if path not in on_tape]
    progress.planned(len(files), sum(map(_size, on_disk)))

    def unread(path: str, reason: str) -> list[Fault]:
        return [Fault("F06", f"data not checked: {reason}")]

    def results() -> Iterator[tuple[str, list[Fault]]]:
        yield from ((path, unread(path, f"file is {where}")) for path, where in on_tape.items())
        batches = [
            Batch(n, some, replace(options, jobs=0)) for n, some in enumerate(in_batches(on_disk))
        ]
        for _, faults in run_jobs(
            check_batch, batches, blame=unread, jobs=options.jobs, time_limit=options.time_limit
        ):
            yield from faults.items()

    for path, faults in results():
        problems = as_problems(path, faults)
        progress.scanned(1, _size(path), len(problems))
        yield path, problems


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
    before: SourceUpdates = {}
    for path in paths:
        note(path)
        found[path], before = check_file(path, options, before)
    return found


def check_file(
    path: str, options: DeepOptions, before: SourceUpdates
) -> tuple[list[Fault], SourceUpdates]:
    """The faults in a sample of the data of one file; none where the scan reports the file.

    ``before`` are the updates of control sources in the sequence before; those of this file are
    returned.
    """
    from ...catalog.hdf5.library import open_file

    try:
        file = open_file(local_path(path, load_settings().path_map))
    except FileStructureError:
        return [], {}
    except OSError as e:
        return [Fault("F06", f"data not checked: {e.strerror or reason_of(e)}")], {}
    with closing(file):
        check = _DataCheck(file.root, options, before)
        try:
            return list(check.all_sources()), check.updates
        except READ_ERRORS as e:
            return [_unreadable("data", e)], {}


def _unreadable(
    what: str, error: Exception, where: str = "", dataset: "LibraryDataset | None" = None
) -> Fault:
    if dataset is not None and (lack := dataset.missing_filter()):
        return Fault("F06", f"data not checked: {lack}", where)
    return Fault("V02", f"{what} cannot be read: {reason_of(error)}", where)


@dataclass(slots=True)
class _DataCheck:
    """The reading of samples from one open file."""

    _root: "LibraryGroup"
    _options: DeepOptions
    _before: SourceUpdates
    updates: SourceUpdates = field(default_factory=dict)
    _memo: dict[bytes, IndexPattern] = field(default_factory=dict)

    def all_sources(self) -> Iterator[Fault]:
        outline = read_outline(self._root)
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

    def _pattern(self, source: SourceRecord, group: str, trains: TrainList) -> IndexPattern | None:
        """INDEX of a group; None where it is faulty, which the scan reports."""
        pattern, faults = read_index(self._root, source.name, group, trains, self._memo)
        return None if faults else pattern

    # Control sources ----------------------------------------------------------------------------

    def _control(self, source: SourceRecord, trains: TrainList) -> Iterator[Fault]:
        pattern = self._pattern(source, "", trains)
        if pattern is None:
            return
        used = np.flatnonzero(trains.good & (pattern.count > 0))
        rows, ids = pattern.first[used], trains.ids[used]
        place = f"CONTROL/{source.name}"
        names = [
            p.removesuffix("/value")
            for p in source_leaves(self._root, source.section, source.name)
            if p.endswith("/value")
        ]
        updates: dict[str, Updates] = {}
        for at in self._pick(len(names), place):
            key = names[at].replace("/", ".")
            stamps = yield from self._column(f"{place}/{names[at]}/timestamp", rows)
            values = yield from self._column(f"{place}/{names[at]}/value", rows)
            if stamps is None or stamps.dtype.kind not in "ui":
                continue
            stamps = stamps.astype(np.uint64)
            yield from check_stamps(ids, stamps, f"{place}/{names[at]}/timestamp")
            if values is not None and ids.size:
                updates[key] = find_updates(stamps, values)
        self.updates[source.name] = updates
        yield from check_source_stopped(ids, updates, self._before.get(source.name, {}), place)

    def _column(self, path: str, rows: Int64s) -> Generator[Fault, None, NDArray[Any] | None]:
        """The rows of a dataset with one value each; None where there is no such thing.

        Of arrays only a sample of chunks is read, to see whether they can be.
        """
        dataset = self._root.dataset(path)
        if dataset is None or not dataset.shape:
            return None
        if len(dataset.shape) > 1 or dataset.lost_source(0, dataset.shape[0]):
            yield from self._chunks(path)
            return None
        try:
            whole = dataset.read()
        except READ_ERRORS as e:
            yield _unreadable("data", e, path, dataset)
            return None
        return whole[rows] if not rows.size or rows.max() < len(whole) else None

    # Instrument sources -------------------------------------------------------------------------

    def _instrument(self, source: SourceRecord, trains: TrainList) -> Iterator[Fault]:
        place = f"{source.section}/{source.name}"
        leaves = source_leaves(self._root, source.section, source.name)
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
        dataset = self._root.dataset(path)
        shape = dataset.shape if dataset is not None else None
        if dataset is None or not shape or 0 in shape:
            return
        if lost := dataset.lost_source(0, shape[0]):
            yield Fault("V02", f"shows {lost}, which is gone", path)
            return
        step = dataset.chunk_rows
        at_once = max(1, _MAX_BLOCK // max(dataset.dtype.itemsize * prod(shape[1:]), 1))
        for at in self._pick(-(-shape[0] // step), path):
            first, end = at * step, min((at + 1) * step, shape[0])
            try:
                for start in range(first, end, at_once):
                    dataset.read_rows(start, min(start + at_once, end))
            except READ_ERRORS as e:
                rows = f"rows {first} to {end - 1}" if end - first > 1 else f"row {first}"
                yield _unreadable(rows, e, path, dataset)
                return

    def _of_trains(
        self,
        path: str,
        pattern: IndexPattern,
        trains: TrainList,
        check: Callable[[int, NDArray[Any], int, str], Iterator[Fault]],
    ) -> Iterator[Fault]:
        """The first fault of a column with a number for each row, in a sample of trains."""
        dataset = self._root.dataset(path)
        if dataset is None or not dataset.shape or dataset.dtype.kind not in "ui":
            return
        first, count = pattern.first, pattern.count
        used = np.flatnonzero(trains.good & (count > 0) & (first + count <= dataset.shape[0]))
        for at in self._pick(used.size, path):
            train = int(used[at])
            start, stop = int(first[train]), int(first[train] + count[train])
            try:
                recorded = dataset.read_rows(start, stop)
            except READ_ERRORS as e:
                yield _unreadable(f"rows {start} to {stop - 1}", e, path, dataset)
                return
            if fault := next(check(int(trains.ids[train]), recorded, start, path), None):
                yield fault
                return


_RUNS_AT_ONCE = 64  # whose files are listed and read before the next


@dataclass
class RunDataCheck:
    """Reads a sample of the data of the runs of the catalog at ``location``.

    ``steps`` is called with the number of runs done and of all. ``left_out`` gathers what could not
    be read: files that lie only on tape, that hang, or that we have no permission for.
    """

    location: str | os.PathLike[str]
    options: DeepOptions = field(default_factory=DeepOptions)
    steps: Callable[[int, int], None] = lambda done, total: None
    left_out: list[Problem] = field(default_factory=list)

    def __call__(self, runs: Sequence[tuple[int, str]]) -> Iterable[tuple[int, Problem]]:
        """Problems by run_id, given run_id and directory of each run: V01 to V04 and F06."""
        store = Store(self.location)
        done = 0
        for some in portions(runs, _RUNS_AT_ONCE):
            self.steps(done, len(runs))
            done += len(some)
            of_run = {
                path: run_id for run_id, place in some for path in _files(store, run_id, place)
            }
            for path, problems in check_data(of_run, self.options):
                for problem in problems:
                    if problem.check == "F06":
                        self.left_out.append(problem)
                    yield of_run[path], problem
        self.steps(done, len(runs))


def _files(store: Store, run_id: int, place: str) -> Iterator[str]:
    """The files of a run that by the catalog are there and can be read."""
    with store.read(shard_of(run_id)) as cursor:
        known = file_stats(cursor, run_id) if cursor else {}
    for name, file in known.items():
        if file.depth > Depth.UNREAD and not file.missing:
            yield os.path.join(from_text(place), name)
