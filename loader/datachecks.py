"""What do the data themselves say is wrong, where the structure of the file is in order?

Pure functions over arrays that were read; each yields ``Fault``s. The IDs are those of the table
of audit checks.

1. ``check_stamps``: the times of a control value, V04.
2. ``find_news`` and ``check_source_stopped``: a control source from which no more news came, V01.
3. ``check_train_column`` and ``check_pulse_column``: what a detector recorded for each row against
   the train that INDEX gives the row to, V03.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.scan.filechecks import Fault

__all__ = [
    "News",
    "check_pulse_column",
    "check_source_stopped",
    "check_stamps",
    "check_train_column",
    "find_news",
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
