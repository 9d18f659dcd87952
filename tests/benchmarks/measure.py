"""How is one thing timed against another, fairly?

1. ``Side``: one way to do it: what comes before (not timed), what is timed, and what of the result
   must be equal.
2. ``Row``: ours against theirs, and the ratio to reach; or ours against a limit in seconds.
3. ``measure``: both in turns in one process, so that a noisy machine disturbs both alike; medians.
"""

import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_MOST_TURNS = 31
_SECONDS = 4.0

__all__ = ["Outcome", "Place", "Row", "Side", "equal", "measure", "run_python"]


@dataclass(frozen=True)
class Place:
    """Where the runs and the catalog of the benchmark lie.

    ``runs`` are the directories by name; ``catalog`` is the location of a catalog that holds
    them at full depth; ``scratch`` is a directory for whatever a row makes.
    """

    runs: dict[str, str]
    catalog: str
    scratch: Path


@dataclass(frozen=True)
class Side:
    """One way to do a thing.

    ``run`` is timed: it is given what ``prepare`` returned, and ``answer`` turns its result into
    what is compared with the other side.
    """

    name: str
    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None
    answer: Callable[[Any], Any] = lambda result: result


@dataclass(frozen=True)
class Row:
    """A thing to be done, by us and by another.

    ``ratio`` is how many times faster we are to be, ``seconds`` how long we may take. ``quick``
    rows are measured by ``make bench-quick`` too, and ``runs`` names the runs that a row needs.
    """

    title: str
    runs: tuple[str, ...]
    ours: Side
    theirs: Side | None = None
    ratio: float = 0.0
    seconds: float = 0.0
    repeats: int = 9
    quick: bool = True


@dataclass
class Outcome:
    """What a row gave: times in seconds, and whether all answers were equal."""

    row: Row
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    theirs_cpu: list[float] = field(default_factory=list)
    differs: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times longer the median of theirs is."""
        if not self.theirs:
            return None
        return statistics.median(self.theirs) / statistics.median(self.ours)

    @property
    def cpu_ratio(self) -> float | None:
        """The same of the time that processors worked, which a busy machine disturbs less."""
        if not self.theirs:
            return None
        return statistics.median(self.theirs_cpu) / statistics.median(self.ours_cpu)

    @property
    def is_reached(self) -> bool:
        """Whether the target is met, and the answers are equal."""
        fast = self.ratio is None or self.ratio >= self.row.ratio
        short = not self.row.seconds or statistics.median(self.ours) <= self.row.seconds
        return fast and short and not self.differs


def measure(row: Row, repeats: int | None = None) -> Outcome:
    """Time both sides in turns, after one turn that does not count.

    As many turns as the row says, of a quick thing as many as there is time for; or ``repeats``.
    """
    outcome = Outcome(row)
    ends = time.monotonic() + (_SECONDS if repeats is None else 0)
    least, turn = repeats or row.repeats, -1
    while turn < least or (turn < _MOST_TURNS and time.monotonic() < ends):
        turn += 1
        answers = []
        for side, times, cpu_times in (
            (row.theirs, outcome.theirs, outcome.theirs_cpu),
            (row.ours, outcome.ours, outcome.ours_cpu),
        ):
            if side is None:
                continue
            seconds, cpu_seconds, answer = _once(side)
            answers.append(answer)
            if turn:
                times.append(seconds)
                cpu_times.append(cpu_seconds)
        if len(answers) == 2 and not equal(*answers):
            outcome.differs = f"theirs {answers[0]!r:.300}\nours   {answers[1]!r:.300}"
            return outcome
    return outcome


def _once(side: Side) -> tuple[float, float, Any]:
    prepared = side.prepare()
    gc.collect()
    worked, started = _cpu_seconds(), time.perf_counter()
    result = side.run(prepared)
    seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds() - worked
    return seconds, cpu_seconds, side.answer(result)


def _cpu_seconds() -> float:
    """How long processors have worked for this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def equal(a: Any, b: Any) -> bool:
    """Whether two answers are the same: arrays by dtype, shape and content; dicts by key."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if hasattr(a, "equals"):  # of pandas and xarray
        return bool(a.equals(b))
    return bool(a == b)


def run_python(code: str, *arguments: str, timeout: float = 600) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout)
    return done.stdout
