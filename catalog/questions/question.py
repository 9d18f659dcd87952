"""What can be asked of all runs, said in one set of filters?

A ``Question`` is made by ``Question.of`` from the keyword arguments that the methods of ``Catalog``
share (``Choice``), and by the options of ``xfelcat find``: which runs, which data,
and what the runs must have, lack, or have recorded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ..errors import QueryError, nearest
from .conditions import Condition, conditions_of
from .data_filter import ALL_DATA, DataFilter, Patterns, Shape, Spec
from .run_filter import ALL_RUNS, RunChoice, RunFilter

__all__ = [
    "EVERYTHING",
    "Choice",
    "ConditionChoice",
    "KeyChoice",
    "Question",
    "RunsChoice",
    "SourceChoice",
]

Trains = int | str | tuple[int, int] | slice


class _Having(RunChoice, total=False):
    train: Trains | None
    min_trains: int | None
    has: Spec | list[Spec] | None
    has_not: Spec | list[Spec] | None


class _Where(TypedDict, total=False):
    where: str | Mapping[Any, Any] | Sequence[Any] | None


class _Data(TypedDict, total=False):
    device_class: Patterns | None
    dtype: Any
    shape: Shape | Iterable[Shape] | None
    unit: Patterns | None


class _Key(TypedDict, total=False):
    key: Patterns | None


class _Source(TypedDict, total=False):
    source: Patterns | None


# The keyword arguments of questions that do not name some of them as parameters of their own.
class RunsChoice(_Having, _Where, total=False):
    """The keyword arguments by which questions choose runs."""


class KeyChoice(RunsChoice, _Data, total=False):
    """The same, and what sources and keys are like."""


class SourceChoice(KeyChoice, _Key, total=False):
    """The same, and names of keys."""


class Choice(SourceChoice, _Source, total=False):
    """The same, and names of sources: all that there are."""


class ConditionChoice(_Having, _Data, _Key, _Source, total=False):
    """All but ``where``."""


_OF_RUNS = tuple(RunChoice.__annotations__)
_OF_DATA = ("source", "key", "device_class", "dtype", "shape", "unit")
_OTHERS = ("train", "min_trains", "has", "has_not", "where")


@dataclass(frozen=True, slots=True)
class Question:
    """Runs for which every part holds, and data of them.

    ``trains`` is a range of train IDs, both ends included, of which a run must have one.
    ``min_trains`` is the number of its trains or, in questions about data, of trains with data.
    ``has`` and ``has_not`` must each match something, and nothing, in a run.
    """

    runs: RunFilter = ALL_RUNS
    data: DataFilter = ALL_DATA
    trains: tuple[int, int] | None = None
    min_trains: int = 0
    has: tuple[DataFilter, ...] = ()
    has_not: tuple[DataFilter, ...] = ()
    where: Condition | None = None

    @classmethod
    def of(cls, **choice: Any) -> "Question":
        """A question from the keyword arguments of ``Choice``; None leaves a part open.

        Raises QueryError for a name that is not among them, or a value that means nothing.
        """
        for name in choice:
            if name not in (*_OF_RUNS, *_OF_DATA, *_OTHERS):
                names = (*_OF_RUNS, *_OTHERS, *_OF_DATA)
                hint = " or ".join(nearest(name, names)) or ", ".join(names)
                raise QueryError(f"there is no filter {name!r}; use {hint}")
        train, min_trains = choice.get("train"), choice.get("min_trains")
        if min_trains is not None and (not isinstance(min_trains, int) or min_trains < 0):
            raise QueryError(f"min_trains={min_trains!r}: give a number of trains")
        return cls(
            runs=RunFilter.of(**{n: choice[n] for n in _OF_RUNS if n in choice}),
            data=DataFilter.of(**{n: choice[n] for n in _OF_DATA if n in choice}),
            trains=None if train is None else _train_range(train),
            min_trains=min_trains or 0,
            has=_specs(choice.get("has")),
            has_not=_specs(choice.get("has_not")),
            where=conditions_of(choice.get("where")),
        )


EVERYTHING = Question()


def _train_range(given: Trains) -> tuple[int, int]:
    """First and last train ID, both included, of a train ID or a range of them.

    A range is ``(first, last)``, ``"first-last"``, or a half-open ``slice(first, end)``.

    Raises QueryError for anything else.
    """
    message = f"{given!r} is no train ID: write 1234567890, or a range 1234567890-1234567999"
    try:
        if isinstance(given, slice):
            first = 1 if given.start is None else int(given.start)
            last = 2**64 - 1 if given.stop is None else int(given.stop) - 1
        elif isinstance(given, tuple):
            first, last = map(int, given)
        elif isinstance(given, str) and "-" in given.strip("-"):
            first, last = map(int, given.split("-"))
        else:
            first = last = int(given)
    except (TypeError, ValueError):
        raise QueryError(message) from None
    if not 0 < first <= last < 2**64:
        raise QueryError(message)
    return first, last


def _specs(given: Any) -> tuple[DataFilter, ...]:
    if given is None:
        return ()
    several = given if isinstance(given, list) else [given]
    return tuple(DataFilter.parse(spec) for spec in several)
