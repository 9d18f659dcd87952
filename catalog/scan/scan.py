"""Scan of one data file: its facts, and what is wrong with it.

``scan_file`` turns a path into a ``FileRecord`` and never raises for the state of the file:

1. what is no regular file is recognized by its stat and not opened;
2. METADATA and the top of INDEX give the outline (``outline``);
3. names, datasets, INDEX and RUN give the rest (``keys``) where depth FULL is wanted;
   a record of an earlier sequence file of the same aggregator saves most of that work;
4. the file is stat'ed again: facts of a file that changed meanwhile are marked to be retried.

Our own reader of HDF5 comes first. What it does not understand, what may be damaged, and all that
is to be verified is read by the HDF5 library, which is imported when the first such file comes.

``scan_outlines`` reads the outlines of many files when a run is opened: in threads where reading
waits for the file system, so that one file may hang without delaying the others, and in worker
processes where the HDF5 library has much to read, for a damaged file may crash it.
"""

import operator
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ..config import load_settings, local_path
from ..hdf5.interface import READ_ERRORS, WAIT_SECONDS, Group, idle_seconds, reason_of
from ..hdf5.links import NotUnderstoodError
from ..hdf5.objects import OwnFile
from ..model.errors import FileStructureError
from ..model.facts import FileStat
from ..model.identity import aggregator_and_sequence, identify_run, parse_file_name
from ..model.names import FRAME_GROUP, FRAME_ID_KEYS
from ..model.records import (
    EMPTY_LAYOUT,
    Depth,
    FileLayout,
    FileRecord,
    KeySchema,
    Problem,
    RunValue,
    SourceRecord,
    utc_now,
)
from ..model.runlength import FrameIds, IndexPattern
from . import checks, keys
from .checks import Fault, as_problems
from .executors import Batch, timed_out
from .jobs import n_workers, portions, run_batches
from .outline import Outline, read_outline

# Errors that may come from damaged structures: the HDF5 library, which is stricter, decides.
_DAMAGES = frozenset(
    ("F02", "F03", "T01", "T02", "T03", "I01", "I02", "I04", "I05", "I06", "I07", "I08", "P03")
)


def scan_file(
    path: str | os.PathLike[str],
    *,
    depth: Depth = Depth.FULL,
    like: FileRecord | None = None,
    verify: bool = False,
) -> FileRecord:
    """Scan one file; the run that it should belong to follows from its directory.

    ``depth`` OUTLINE or less reads what opening a run needs; FULL also keys, INDEX, RUN and checks.
    ``like`` is the FULL record of an earlier sequence file of the same aggregator in the same run:
    units of sources with the same datasets are taken from there, and RUN is read only of sources
    whose values it does not have. ``verify`` opens every dataset with the HDF5 library and reads
    RUN of every source nevertheless, and compares with ``like``.

    The record has RUN values that ``like`` does not have. Its depth is UNREAD where the file cannot
    serve data, and at most OUTLINE where what lies beyond could not be read; ``problems`` list what
    is wrong.
    """
    known_as = os.fspath(path)
    path = local_path(known_as, load_settings().path_map)
    record, faults = _judge_by_stat(path)
    if record is None:
        record, faults = _unopened(path), []
        try:
            record, faults = _scan_open(
                path, partial(_scan_root, path, record, depth, like), verify
            )
        except FileStructureError as e:
            short = e.reason.startswith(("truncated", "empty"))
            faults = [Fault("F01" if short else "F02", e.reason)]
        except OSError as e:
            why = os.strerror(e.errno) if e.errno else reason_of(e)
            faults = [Fault("F06", f"cannot be read: {why}")]
            record = replace(record, retry=True)
        except READ_ERRORS as e:
            faults = [Fault("F02", f"cannot be read: {reason_of(e)}")]
        if _changed(path, record):
            faults.append(Fault("F06", "changed while it was read"))
            record = replace(record, retry=True)
    return replace(record, problems=as_problems(known_as, faults))


def scan_outline(path: str, like: FileRecord | None = None) -> FileRecord | None:
    """The outline of a file by our own reader; None where the HDF5 library has to look.

    ``like`` is the outline of an earlier sequence file of the same aggregator in the same run.
    Where both list the same sources, these are taken to be the same: without RUN only or not, and
    old names of the same.
    """
    record, _ = _judge_by_stat(path)
    if record is not None:
        return None
    try:
        record = _unopened(path)
        found = _scan_own(path, partial(_scan_root, path, record, Depth.OUTLINE, like))
    except OSError:
        return None
    if found is None or any(map(_may_be_damage, found[1])) or _changed(path, record):
        return None
    return replace(found[0], problems=as_problems(path, found[1]))


def unread_record(path: str, stat: FileStat, reason: str, locality: str = "") -> FileRecord:
    """The record of a file that was not read, for a reason that may pass (F06)."""
    problem = Problem("F06", "W", reason, path)
    record = _unopened(path, stat)
    return replace(record, locality=locality, retry=True, problems=(problem,))


def _unopened(path: str, stat: FileStat | None = None) -> FileRecord:
    """The record of a file of which only the stat is known. Raises OSError where that fails."""
    if stat is None:
        found = os.stat(path)
        stat = FileStat(found.st_size, found.st_mtime_ns)
    name = os.path.basename(path)
    aggregator, sequence = aggregator_and_sequence(name)
    return FileRecord(
        name, *stat, Depth.UNREAD, utc_now(), aggregator=aggregator, sequence=sequence
    )


def _judge_by_stat(path: str) -> tuple[FileRecord | None, list[Fault]]:
    """The record of what must not be opened, and why; None for a file to open."""
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
    try:
        found = os.stat(path)
    except OSError as e:
        nothing = _unopened(path, FileStat(-1, -1))
        if os.path.islink(path) and isinstance(e, FileNotFoundError):
            return nothing, [Fault("F02", f"link to {os.readlink(path)}, which does not exist")]
        return replace(nothing, retry=True), [Fault("F06", f"cannot be looked at: {e.strerror}")]
    if not stat.S_ISREG(found.st_mode):
        kind = kinds.get(stat.S_IFMT(found.st_mode), "device")
        return _unopened(path), [Fault("F02", f"a {kind}, not a file")]
    if not found.st_size:
        return _unopened(path), [Fault("F01", "empty file")]
    return None, []


def _changed(path: str, record: FileRecord) -> bool:
    try:
        now = os.stat(path)
    except OSError:
        return True
    return (now.st_size, now.st_mtime_ns) != (record.size, record.mtime_ns)


_Found = tuple[FileRecord, list[Fault]]


def _scan_open(path: str, read: Callable[[Group, bool], _Found], verify: bool) -> _Found:
    """Open and read a file. Raises OSError where it does not open."""
    if not verify:
        found = _scan_own(path, read)
        if found is not None and not any(map(_may_be_damage, found[1])):
            return found
        verify = found is not None  # see at least as much as our own reader did
    from ..hdf5.library import open_file

    with closing(open_file(path)) as file:
        return read(file.root, verify)


def _scan_own(path: str, read: Callable[[Group, bool], _Found]) -> _Found | None:
    """Read a file by our own reader; None where that does not understand it. Raises OSError."""
    try:
        with closing(OwnFile(path)) as file:
            return read(file.root, False)
    except NotUnderstoodError:
        return None


def _may_be_damage(fault: Fault) -> bool:
    return fault.check in _DAMAGES and fault.severity in (None, "E")


def _scan_root(
    path: str,
    record: FileRecord,
    depth: Depth,
    like: FileRecord | None,
    root: Group,
    verify: bool,
) -> _Found:
    """Read an open file to the depth asked for, from its root group."""
    known = like.layout if like is not None and like.depth is depth is Depth.OUTLINE else None
    outline = read_outline(root, known)
    faults = list(outline.faults)
    identity = identify_run(os.path.dirname(os.path.abspath(path)), "")
    parsed = parse_file_name(record.name)
    faults.extend(checks.check_identity(parsed, identity.proposal, identity.run, outline.metadata))
    record = replace(
        record,
        depth=Depth.OUTLINE if outline.usable else Depth.UNREAD,
        format_version=outline.format_version,
        trains=outline.trains,
        timestamps=outline.timestamps,
        layout=outline.layout,
        metadata=outline.metadata,
    )
    if depth < Depth.FULL or not outline.usable:
        return record, faults
    try:
        full = _FullScan(root, outline, like, verify)
        full.read()
    except READ_ERRORS as e:
        faults.append(Fault("F02", f"cannot be read beyond its outline: {reason_of(e)}"))
        return record, faults
    return (
        replace(
            record,
            depth=Depth.FULL,
            verified=not full.reused,
            layout=full.layout,
            patterns=tuple(full.patterns),
            frame_ids=tuple(full.frame_ids),
            run_values=full.run_values,
        ),
        faults + full.faults,
    )


@dataclass
class _FullScan:
    """The reading of all that lies beyond the outline of one open file, source by source."""

    root: Group
    outline: Outline
    like: FileRecord | None
    verify: bool
    reused: bool = False
    faults: list[Fault] = field(default_factory=list)
    layout: FileLayout = field(init=False)
    patterns: list[IndexPattern] = field(default_factory=list)
    frame_ids: list[FrameIds | None] = field(default_factory=list)
    run_values: dict[str, Mapping[str, RunValue]] = field(default_factory=dict)
    _memo: dict[bytes, IndexPattern] = field(default_factory=dict)

    def read(self) -> None:
        """Read keys and index of every source, then RUN."""
        # In a section without sources there may be data nevertheless.
        by_section: dict[str, list[SourceRecord]] = {"CONTROL": [], "INSTRUMENT": []}
        for source in self.outline.layout.sources:
            by_section.setdefault(source.section, []).append(source)
        read: list[tuple[SourceRecord, KeySchema | None]] = []
        for section, members in sorted(by_section.items()):
            names = {s.name for s in members}
            found, unlisted = keys.key_leaves(self.root, section, names, self.faults)
            self.faults.extend(
                Fault("I07", "data of no listed source", f"{section}/{name}") for name in unlisted
            )
            read += [self._read_source(source, found.get(source.name)) for source in members]
        sources, schemas = tuple(s for s, _ in read), tuple(schema for _, schema in read)
        old = self.like.layout if self.like else None
        if old and old.sources == sources and all(map(operator.is_, old.schemas, schemas)):
            self.layout = old  # shared by both records, so that it is written and compared once
        else:
            self.layout = FileLayout(sources, schemas)
        for source in sources:
            if source.section == "CONTROL":
                self._read_run(source.name)

    def _read_source(
        self, source: SourceRecord, paths: list[str] | None
    ) -> tuple[SourceRecord, KeySchema | None]:
        if source.legacy_of:
            return source, None
        place = f"{source.section}/{source.name}"
        has_group = paths is not None
        if paths is None:  # no group, or one behind a link
            paths = keys.source_leaves(self.root, source.section, source.name)
        n_faults = len(self.faults)
        schema, rows = self._read_schema(source, paths, place)
        unread = any(f.check in ("F02", "I06") for f in self.faults[n_faults:])
        if not source.run_only and not unread:
            self.faults.extend(checks.check_keys(source, schema, has_group, place))
        groups = sorted({*source.groups, *schema.groups}) if schema.keys else source.groups
        for group in groups:
            known = group in source.groups
            pattern, faults = keys.read_index(
                self.root, source.name, group, self.outline.trains, self._memo,
                required=not source.run_only,
            )  # fmt: skip
            self.faults.extend(faults)
            where = keys.index_place(source.name, group)
            if not known:
                self.faults.append(Fault("I07", "index group not in the source list", where))
            if not source.run_only and not faults:
                self.faults.extend(checks.check_index(pattern, source.section, where))
                self.faults.extend(checks.check_rows(pattern, rows.get(group, {}), where))
            self.patterns.append(pattern)
            if source.section == "INSTRUMENT" and group == FRAME_GROUP:
                self.frame_ids += self._read_frame_ids(source.name, schema, pattern)
        return replace(source, groups=tuple(groups)), schema

    def _read_frame_ids(
        self, source: str, schema: KeySchema, pattern: IndexPattern
    ) -> Iterator[FrameIds | None]:
        """Pulse and cell IDs; None for those that cannot be read: whoever asks finds out why."""
        for key in FRAME_ID_KEYS:
            try:
                known = key in schema.by_name
                periods = pattern.counts.tolist()
                yield keys.read_frame_ids(self.root, source, key, periods) if known else None
            except READ_ERRORS:
                yield None

    def _read_schema(
        self, source: SourceRecord, paths: list[str], place: str
    ) -> tuple[KeySchema, keys.Rows]:
        old = self.like.layout if self.like else EMPTY_LAYOUT
        at = old.position.get((source.section, source.name))
        known = None if at is None else old.schemas[at]
        if known is not None and not self.verify:
            rows = keys.reuse_keys(self.root, source.section, source.name, paths, known)
            if rows is not None:
                self.reused = True
                return known, rows
        schema, rows, faults = keys.read_keys(
            self.root, source.section, source.name, paths, source.groups
        )
        self.faults.extend(faults)
        if known is not None:
            self.faults.extend(checks.compare_keys(known.by_name, schema.by_name, place))
            if known.keys == schema.keys:
                return known, rows
        return schema, rows

    def _read_run(self, source: str) -> None:
        known = self.like.run_values.get(source) if self.like else None
        if known is not None and not self.verify:
            return
        values, faults = keys.read_run_values(self.root, source)
        self.faults.extend(faults)
        if known is None:
            self.run_values[source] = values
        else:
            differ = [k for k in known.keys() | values.keys() if not _same(known, values, k)]
            if differ:
                message = f"{len(differ)} values changed since the first sequence: {min(differ)!r}"
                self.faults.append(Fault("R08", message, f"RUN/{source}"))


def _same(a: Mapping[str, RunValue], b: Mapping[str, RunValue], key: str) -> bool:
    if key not in a or key not in b:
        return False
    x, y = np.asarray(a[key]), np.asarray(b[key])
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    return x.tolist() == y.tolist() if x.dtype.kind == "O" else x.tobytes() == y.tobytes()


# Outlines of a run --------------------------------------------------------------------------------

_POLL_SECONDS = 0.25
_THREADS = 8  # enough to hide the latency of a file system; Python runs in one at a time
_THREADS_FROM = 8  # files; fewer are read before threads have started
_PROCESSES_FROM = 50  # files for the HDF5 library; fewer are read before workers have started
_TIME_LIMIT = 120.0  # seconds per file


def scan_outlines(
    paths: Sequence[str], *, parallelize: bool = True, time_limit: float = _TIME_LIMIT
) -> tuple[dict[str, FileRecord], dict[str, str]]:
    """The outlines of files by path, and what is wrong with those that could not be scanned.

    ``parallelize``: threads, processes and the time limit, in seconds per file, may be used.
    """
    by_sequence = sorted(paths, key=lambda p: (aggregator_and_sequence(os.path.basename(p))[1], p))
    own = _OwnReading(by_sequence)
    if parallelize and len(paths) >= _THREADS_FROM:
        own.run_in_threads(_THREADS, time_limit)
    else:
        own.work()
    rest = [path for path in paths if own.results.get(path) is None and path not in own.blamed]
    records = {path: record for path, record in own.results.items() if record is not None}
    jobs = n_workers(None) if parallelize and len(rest) >= _PROCESSES_FROM else 0
    size = -(-len(rest) // (4 * jobs)) if jobs else len(rest)
    batches = [Batch(None, some) for some in portions(rest, size)]
    blamed = dict(own.blamed)
    for result in run_batches(outline_batch, batches, jobs=jobs, time_limit=time_limit):
        records |= result.results
        blamed |= result.blamed
    return records, blamed


def outline_batch(
    paths: Sequence[str], options: object, note: Callable[[str], None]
) -> dict[str, FileRecord]:
    """The outlines of files; in a worker."""
    records = {}
    for path in paths:
        note(path)
        records[path] = scan_file(path, depth=Depth.OUTLINE)
    return records


class _OwnReading:
    """Files to be read by our own reader; ``results`` by path, None for the library's."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.results: dict[str, FileRecord | None] = {}
        self.blamed: dict[str, str] = {}
        self._waiting = list(reversed(paths))
        self._first: dict[str, FileRecord] = {}
        self._reading: dict[int, tuple[str, float]] = {}  # by thread: path and since when
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._n_more = 0

    def run_in_threads(self, n: int, time_limit: float) -> None:
        """Read all files in ``n`` threads, or in one where nothing makes it wait.

        No file is waited for longer than the limit.
        """
        self._n_more = min(n, len(self._waiting)) - 1
        self._start_thread()
        while not self._done.wait(_POLL_SECONDS):
            with self._lock:
                long = time.monotonic() - _POLL_SECONDS
                is_waiting = any(since < long for _, since in self._reading.values())
                late = time.monotonic() - time_limit
                hanging = [k for k, (_, since) in self._reading.items() if since < late]
                for thread in hanging:
                    path, _ = self._reading.pop(thread)
                    self.blamed[path] = timed_out(time_limit)
            for _ in hanging:
                self._start_thread()
            if is_waiting:
                self._start_more()

    def _start_thread(self) -> None:
        # A thread that hangs in the system must not keep the process from ending.
        threading.Thread(target=self.work, name="xfelcat-outline", daemon=True).start()

    def _start_more(self) -> None:
        with self._lock:
            n, self._n_more = min(self._n_more, len(self._waiting)), 0
        for _ in range(n):
            self._start_thread()

    def work(self) -> None:
        """Read files until none waits."""
        me = threading.get_ident()
        path = self._next(me)
        while path is not None:
            aggregator, _ = aggregator_and_sequence(os.path.basename(path))
            began = idle_seconds()
            record = scan_outline(path, self._first.get(aggregator))
            if self._n_more and idle_seconds() - began > WAIT_SECONDS:
                self._start_more()
            with self._lock:
                if me not in self._reading:
                    return  # it was given up
                self.results[path] = record
                if record is not None and aggregator:
                    self._first.setdefault(aggregator, record)
            path = self._next(me)

    def _next(self, thread: int) -> str | None:
        with self._lock:
            self._reading.pop(thread, None)
            if self._waiting:
                path = self._waiting.pop()
                self._reading[thread] = path, time.monotonic()
                return path
            if not self._reading:
                self._done.set()
            return None
