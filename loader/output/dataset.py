"""Which keys of a run make up one dataset, and which of their rows belong to which train?

A dataset has one dimension ``trainId`` for all its variables, a run has keys that come once per
train, keys that come many times, and trains in which a source was silent. Hence:

1. ``choose_keys``: the keys that are asked for, by source and key.
2. ``choose_rows``: keys that come at most once per train go together over trains; where one index
   group is all there is, it may come any number of times, and its entries are the dimension.
3. ``LazyRows.read`` reads some rows of a key.
4. ``name_dimensions``: what the dimensions of each variable are called.
"""

import fnmatch
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import PropertyNameError, SourceNameError
from ...catalog.model.names import short_key
from ..select.trains import TrainSet, Value
from .convert import label_of

if TYPE_CHECKING:
    from ..collection import DataCollection
    from ..keydata import KeyData

__all__ = ["Chosen", "LazyRows", "choose_keys", "choose_rows", "name_dimensions"]

Join = Literal["outer", "inner"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a dataset: a train ID each, and by name the variables that have them."""

    train_ids: NDArray[np.uint64]
    variables: dict[str, "LazyRows"]


@dataclass(frozen=True, eq=False)
class LazyRows(Value):
    """A key as a variable: ``key`` without trains that have no data, ``rows`` of it in order.

    A row of -1 is missing. ``rows`` None: all of them.
    """

    key: "KeyData"
    rows: NDArray[np.int64] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the variable: one that can say what is missing, where anything is."""
        stored = self.key.dtype
        if self.rows is None or stored.kind in "fcO":
            return stored
        return np.dtype(np.float64) if stored.kind in "iu" else np.dtype("O")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the variable, rows first."""
        n_rows = self.key.shape[0] if self.rows is None else self.rows.size
        return (n_rows, *self.key.entry_shape)

    @cached_property
    def _row_trains(self) -> NDArray[np.uint64]:
        return self.key.train_id_coordinates()

    def read(self, positions: NDArray[np.int64], roi: tuple[slice, ...]) -> NDArray[Any]:
        """The rows at some positions, a region of each; missing ones are NaN, or None in text."""
        rows = positions if self.rows is None else self.rows[positions]
        there = rows >= 0
        found = self._read_rows(rows[there], roi)
        if self.rows is None:
            return found
        filled = np.full((rows.size, *found.shape[1:]), self._missing, self.dtype)
        filled[there] = found
        return filled

    @property
    def _missing(self) -> Any:
        return None if self.key.dtype.kind == "O" else np.nan

    def _read_rows(self, rows: NDArray[np.int64], roi: tuple[slice, ...]) -> NDArray[Any]:
        """Rows of the key, in any order; only the trains that have them are read."""
        trains = TrainSet.from_ids(np.unique(self._row_trains[rows]))
        part = self.key._with_trains(trains)
        held = np.flatnonzero(trains.contains(self._row_trains))
        if not np.array_equal(part.train_id_coordinates(), self._row_trains[held]):
            # Data out of order come in another order where only a part is taken.
            part, held = self.key, np.arange(self._row_trains.size)
        data = part.ndarray(roi)
        if np.array_equal(held, rows):
            return data
        taken: NDArray[Any] = data[np.searchsorted(held, rows)]
        return taken


def choose_keys(
    run: "DataCollection", group: str | None, source: str | Iterable[str] | None, key: str | None
) -> dict[str, "KeyData"]:
    """The keys of a dataset, by the names of its variables.

    ``group`` is the name of one source, whose variables are named by key. ``source`` are globs of
    sources, whose variables are named by source and key; by default those of all control sources.
    ``key`` is a glob. Timestamps of control keys are taken only by a glob that ends in
    ``timestamp``, and data without a plain type not at all.

    Raises SourceNameError or PropertyNameError where there is nothing of what is asked for.
    """
    if group is not None and source is not None:
        raise ValueError("give group= (one source) or source= (globs of sources), not both")
    names = _source_names(run, group, source)
    found: dict[str, KeyData] = {}
    for name in names:
        of_source = run._source(name)
        for key_name in sorted(of_source.keys(inc_timestamps=(key or "").endswith("timestamp"))):
            data = of_source._key(key_name)
            short = short_key(key_name) if data.is_control else key_name
            wanted = key is None or any(fnmatch.fnmatchcase(n, key) for n in (short, key_name))
            if wanted and _is_plain(data):
                found[short if group is not None else label_of(data, ".")] = data
    if key is not None and names and not found:
        raise PropertyNameError(key, names[0], run._source(names[0]).keys())
    return found


def _source_names(
    run: "DataCollection", group: str | None, source: str | Iterable[str] | None
) -> list[str]:
    if group is not None:
        if group not in run.all_sources:
            raise SourceNameError(group, run.all_sources)
        return [group]
    if source is None:
        return sorted(run.control_sources)
    globs = [source] if isinstance(source, str) else list(source)
    current = run.all_sources - run.legacy_sources.keys()
    names = {name for glob in globs for name in current if fnmatch.fnmatchcase(name, glob)}
    if not names:
        raise SourceNameError(", ".join(globs), run.all_sources)
    return sorted(names)


def _is_plain(key: "KeyData") -> bool:
    return key.record.dtype == "str" or key.dtype.kind in "biufc"


def choose_rows(keys: dict[str, "KeyData"], join: Join) -> Chosen:
    """The rows of these keys that go together.

    Warns of keys that come several times per train, where there are others.
    """
    if join not in ("outer", "inner"):
        raise ValueError(f"join is {join!r}: it must be 'outer' or 'inner'")
    groups = {(key.source, key.index_group) for key in keys.values()}
    counts: dict[tuple[str, str], NDArray[np.uint64]] = {}
    for key in keys.values():
        place = (key.source, key.index_group)
        if place not in counts:
            counts[place] = np.asarray(key.data_counts(labelled=False))
    several = {place for place, n in counts.items() if n.size and n.max() > 1}
    if len(groups) == 1:
        first = next(iter(keys.values()))
        return Chosen(first.train_id_coordinates(), {n: LazyRows(k) for n, k in keys.items()})
    _warn_of_several(several)
    once = {n: k for n, k in keys.items() if (k.source, k.index_group) not in several}
    with_data = {n: k.drop_empty_trains() for n, k in once.items()}
    sets = [k._trains for k in with_data.values()]
    if join == "outer":
        trains = TrainSet.union_of(sets)
    else:
        trains = sets[0] if sets else TrainSet.from_ids([])
        for other in sets[1:]:
            trains = trains & other
    return Chosen(trains.ids, {n: _over_trains(k, trains) for n, k in with_data.items()})


def _over_trains(key: "KeyData", trains: TrainSet) -> LazyRows:
    """A key that comes once per train, in the rows of these trains."""
    if len(key._trains & trains) == len(trains):
        return LazyRows(key._with_trains(trains))
    own = key.train_id_coordinates()
    order = np.argsort(own, kind="stable")
    at = np.searchsorted(own[order], trains.ids)
    at_safe = np.minimum(at, own.size - 1)
    rows = np.full(len(trains), -1, np.int64)
    if own.size:
        there = own[order][at_safe] == trains.ids
        rows[there] = order[at_safe[there]]
    return LazyRows(key, rows)


def _warn_of_several(places: Iterable[tuple[str, str]]) -> None:
    told: Sequence[tuple[str, str]] = sorted(places)
    if told:
        source, group = told[0]
        more = f" and {len(told) - 1} more" if len(told) > 1 else ""
        warnings.warn(
            f"left out of the dataset, having several entries per train: {source} {group}.*{more};"
            f" open it with group={source!r}, key={group + '.*'!r}",
            UserWarning,
            stacklevel=5,
        )


def name_dimensions(shapes: dict[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Names of the dimensions of each variable: dim_0, dim_1, ... where all have the same size.

    Where these differ, each variable has its own.
    """
    sizes: dict[int, set[int]] = {}
    for shape in shapes.values():
        for axis, size in enumerate(shape[1:]):
            sizes.setdefault(axis, set()).add(size)
    return {
        name: [
            "trainId",
            *(
                f"dim_{axis}" if len(sizes[axis]) == 1 else f"{name}_dim_{axis}"
                for axis in range(len(shape) - 1)
            ),
        ]
        for name, shape in shapes.items()
    }
