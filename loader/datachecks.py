"""What do the data themselves say is wrong, where the structure of the file is in order?

Pure functions over arrays that were read; each yields ``Fault``s. The IDs are those of the table
of audit checks.

1. ``check_stamps``: the times of a control value, V04.
2. ``stopped_at`` and ``check_source_stopped``: a control source from which no more news came, V01.
3. ``check_train_column`` and ``check_pulse_column``: what a detector recorded for each row against
   the train that INDEX gives the row to, V03.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.scan.filechecks import Fault

__all__ = [
    "check_pulse_column",
    "check_source_stopped",
    "check_stamps",
    "check_train_column",
    "stopped_at",
]

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


def stopped_at(stamps: UInt64s, values: NDArray[Any]) -> int | None:
    """From which position (n,) on a control value has no news until the end.

    None where it goes on, never sent news, or is not known to: a value that changes without a new
    time is alive. -1 where it had no news at all.
    """
    n = stamps.size
    news = np.flatnonzero(stamps[1:] != stamps[:-1]) + 1
    if not news.size:
        return -1
    last = int(news[-1])
    rest = values[last:]
    is_same = (rest == rest[0]) | ((rest != rest) & (rest[0] != rest[0]))  # NaN stays NaN
    if news.size < _MIN_NEWS or not is_same.all():
        return None
    pause = int(np.diff(news).max())
    silent = n - 1 - last
    limit = max(_MIN_TRAINS, _MIN_SHARE * n, _MIN_PAUSES * pause)
    return last if silent > limit else None


def check_source_stopped(
    ids: UInt64s, stops: Mapping[str, int | None], where: str
) -> Iterator[Fault]:
    """V01: a source of which every key that ever sent news has stopped (``stopped_at``)."""
    stopped = {key: at for key, at in stops.items() if at is not None and at >= 0}
    if not stopped or any(at is None for at in stops.values()):
        return
    last = max(stopped.values())
    silent = ids.size - 1 - last
    message = (
        f"no news after train {ids[last]}: time and value stay the same "
        f"for the last {silent} of {ids.size} trains, such as those of {min(stopped)!r}"
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
