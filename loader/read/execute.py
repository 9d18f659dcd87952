"""How does a plan become an array?

1. ``allocate``: the destination, new or given, checked against the plan.
2. ``execute_plan``, ``execute_plans``: one file after the other is opened and read (``piece``).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import FileStructureError, InconsistentFilesError, XfelcatError
from ...catalog.model.records import KeyRecord
from ..select.rows import FileRef
from .file_read import FileRead, Goal, check_dataset
from .files import OpenFiles
from .rows import FileSlabs, ReadPlan
from .threads import Crew

__all__ = [
    "allocate",
    "check_consistent",
    "checked_path",
    "execute_plan",
    "execute_plans",
    "read_attributes",
]

Array = NDArray[Any]

MOST_FILES = 8  # files that are read at the same time
WORTH_THREADS = 2 * 2**20


def allocate(plan: ReadPlan, out: Array | None = None) -> Array:
    """An array for a plan: ``out`` if it is given and fits, else a new one."""
    if out is None:
        return np.empty(plan.shape, plan.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, not {type(out).__name__}")
    if out.shape != plan.shape:
        raise ValueError(f"out has shape {out.shape}, the data {plan.shape}")
    if not np.can_cast(plan.dtype, out.dtype, "unsafe"):
        raise TypeError(f"data of type {plan.dtype} do not go into an array of {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    return out


def execute_plan(
    plan: ReadPlan, files: OpenFiles, out: Array | None = None, n_threads: int | None = None
) -> Array:
    """Read everything that a plan names.

    Parameters
    ----------
    plan
        From ``plan_read``.
    files
        Where open files are kept.
    out
        An array of ``plan.shape`` to read into; converted as HDF5 or numpy does where its type
        differs. None allocates one.
    n_threads
        How many threads read; None asks the settings.

    Raises
    ------
    InconsistentFilesError
        The dataset of a file differs in type or entry shape from that of the first file.
    ChangedFileError
        The first file is not what its facts say, or a file was changed or replaced.
    FileStructureError
        A file lacks the dataset, INDEX names rows beyond its end, or HDF5 cannot read it.
    """
    array = allocate(plan, out)
    goal = Goal(plan, array)
    _read_files([[(goal, piece)] for piece in plan.pieces], files, array.nbytes, n_threads)
    return array


def execute_plans(plans: Sequence[ReadPlan], files: OpenFiles) -> list[Array]:
    """Read everything that several plans name, each file once; see ``execute_plan``.

    Where several fail, the error is that of the first of them, as if they were read one by one.
    """
    goals = [Goal(plan, allocate(plan)) for plan in plans]
    by_file: dict[str, list[tuple[Goal, FileSlabs]]] = {}
    for goal in goals:
        for piece in goal.plan.pieces:
            by_file.setdefault(piece.data_file.path, []).append((goal, piece))
    try:
        _read_files(by_file.values(), files, sum(goal.out.nbytes for goal in goals), None)
    except XfelcatError:
        for goal in goals:
            execute_plan(goal.plan, files, goal.out)
    return [goal.out for goal in goals]


def _read_files(
    jobs_of_files: Iterable[Sequence[tuple[Goal, FileSlabs]]],
    files: OpenFiles,
    n_bytes: int,
    n_threads: int | None,
) -> None:
    """Read one file after the other; while threads still read some, the next are opened."""
    n_threads = n_threads or files.means.n_threads
    running: deque[FileRead] = deque()
    with Crew(n_threads if n_bytes >= WORTH_THREADS else 1) as crew:
        try:
            for jobs in jobs_of_files:
                if len(running) >= min(files.limit, MOST_FILES):
                    running.popleft().finish()
                reading = FileRead(jobs, files, crew)
                if reading.start() or running:
                    running.append(reading)
                else:
                    reading.finish()
        finally:
            # Where one failed, what those before it have to say comes first.
            _finish(running)


def _finish(running: deque[FileRead]) -> None:
    try:
        while running:
            running.popleft().finish()
    finally:
        for reading in running:
            reading.abandon()


def checked_path(plan: ReadPlan, piece: FileSlabs, files: OpenFiles) -> str:
    """Path of the dataset in the file of a piece, after the checks that come before reading it."""
    with files.borrow(piece.data_file) as file:
        return str(check_dataset(plan, piece, file).dataset.name)


def check_consistent(
    source: str, record: KeyRecord, described: Sequence[tuple[FileRef, KeyRecord | None]]
) -> KeyRecord:
    """The description of a key that all files to be read agree on; ``record`` if there are none.

    Raises
    ------
    InconsistentFilesError
        Two of the files differ; both are named.
    """
    if not described:
        return record
    first_ref, first = described[0]
    for ref, other in described:
        if first is None or other is None:
            lacking = first_ref if first is None else ref
            having = ref if first is None else first_ref
            if having is lacking:
                continue
            raise InconsistentFilesError(
                source, record.name, f"{lacking.path} lacks it", (having.path, lacking.path)
            )
        if other is not first and _kind(other) != _kind(first):
            raise InconsistentFilesError(
                source, record.name, _difference(first, other), (first_ref.path, ref.path)
            )
    return record if first is None else first


def _kind(record: KeyRecord) -> tuple[str, tuple[int, ...]]:
    return record.dtype, record.entry_shape


def _difference(first: KeyRecord, other: KeyRecord) -> str:
    return (
        f"type {first.dtype} with entry shape {first.entry_shape}"
        f" against {other.dtype} with {other.entry_shape}"
    )


def read_attributes(
    ref: FileRef, path: str, key: str, with_group: bool, files: OpenFiles
) -> dict[str, Any]:
    """The HDF5 attributes of a key: of the dataset and, ``with_group``, of the group it is in."""
    with files.borrow(ref.data_file) as opened:
        found = opened.dataset(path, key)
        if found is None:
            raise FileStructureError(ref.path, f"has no dataset {path}")
        dataset = found.dataset
        attributes: dict[str, Any] = dict(dataset.attrs)
        if with_group:
            attributes.update(dataset.parent.attrs)
        return attributes
