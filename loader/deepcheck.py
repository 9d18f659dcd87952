"""Do the data of a file hold what its structure promises? A sample is read.

1. ``check_data`` leaves out what lies only on tape, and hands the rest to worker processes with a
   time limit per file.
2. A worker reads from each file: of every control source a few keys, of every index group a few
   trains, of every dataset of an instrument source a few chunks. Which ones follows from the seed
   and the name alone, so that the same files give the same findings.
3. The arrays are judged by ``datachecks``; what cannot be read is V02.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..catalog.errors import FileStructureError
from ..catalog.layout import parse_file_name
from ..catalog.records import Problem, SourceRecord
from ..catalog.runlength import IndexPattern, TrainList
from ..catalog.scan.filechecks import Fault, as_problems
from ..catalog.scan.locality import file_localities, is_on_disk
from ..catalog.scan.workers import Batch, run_batches
from .datachecks import (
    News,
    check_pulse_column,
    check_source_stopped,
    check_stamps,
    check_train_column,
    find_news,
)

if TYPE_CHECKING:
    from ..catalog.ingest.ingest import IngestProgress

__all__ = ["DEFAULT_SAMPLE", "DeepOptions", "check_data"]

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
    from ..catalog.scan.hdf5 import READ_ERRORS, open_file, reason_of

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
        from ..catalog.scan.outline import read_outline

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
        from ..catalog.scan.keys import source_leaves

        return source_leaves(self._fid, source.section, source.name)

    def _pattern(self, source: SourceRecord, group: str, trains: TrainList) -> IndexPattern | None:
        """INDEX of a group; None where the scan has found it wrong."""
        from ..catalog.scan.index import read_index

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
        from ..catalog.scan.hdf5 import READ_ERRORS, open_dataset, read_array, reason_of

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
        from ..catalog.scan.hdf5 import (
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
        from ..catalog.scan.hdf5 import READ_ERRORS, open_dataset, read_rows, reason_of

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
