"""Numbers, booleans or texts in few words: how many, extremes, mean, deviation, changes.

``summarize`` makes a ``Summary`` of a block of entries, ``Summary.followed_by`` joins those of two
blocks that come one after the other, so that data of any size are summed up block by block.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.hdf5.interface import as_text

BLOCK_ROWS = 1 << 20  # of entries to sum up at once: 8 MiB of doubles


@dataclass(frozen=True, slots=True)
class Summary:
    """Entries, one after the other.

    Of the ``n_entries`` entries ``n_nan`` are NaN, which count for nothing else. ``first``,
    ``last``, ``minimum`` and ``maximum`` are as stored (int, float, bool or str), None where there
    are none; texts have no minimum and maximum. ``n_changes`` entries differ from the one before.
    The mean is ``base + offset``, ``squares`` the sum of the squares of the distances from it:
    as a distance from an entry, the mean of integers beyond 2^53, such as times in nanoseconds,
    keeps the digits that change.
    """

    n_entries: int = 0
    n_nan: int = 0
    first: Any = None
    last: Any = None
    n_changes: int = 0
    minimum: Any = None
    maximum: Any = None
    base: Any = 0
    offset: float = 0.0
    squares: float = 0.0

    @property
    def n_values(self) -> int:
        """How many entries are not NaN."""
        return self.n_entries - self.n_nan

    @property
    def mean(self) -> float | None:
        """The mean; None where there is none: no entries, texts, infinities of both signs."""
        mean = self.base + self.offset if self.minimum is not None else np.nan
        return None if np.isnan(mean) else float(mean)

    @property
    def std(self) -> float | None:
        """The standard deviation of the population; None where the mean is not finite either."""
        if self.minimum is None or not np.isfinite(self.squares):
            return None
        return float(np.sqrt(self.squares / self.n_values))

    def followed_by(self, other: "Summary") -> "Summary":
        """Both as one."""
        n_entries, n_nan = self.n_entries + other.n_entries, self.n_nan + other.n_nan
        if not self.n_values or not other.n_values:
            known = self if self.n_values else other
            return replace(known, n_entries=n_entries, n_nan=n_nan)
        joined = Summary(
            n_entries,
            n_nan,
            self.first,
            other.last,
            self.n_changes + other.n_changes + (self.last != other.first),
        )
        if self.minimum is None or other.minimum is None:
            return joined
        with np.errstate(all="ignore"):
            apart = np.float64(other.base - self.base) + (other.offset - self.offset)
            share = other.n_values / (self.n_values + other.n_values)
            offset = self.offset + apart * share
            squares = self.squares + other.squares + apart**2 * share * self.n_values
        return replace(
            joined,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            base=self.base,
            offset=float(offset),
            squares=float(squares),
        )


def summarize(values: NDArray[Any]) -> Summary:
    """The summary of 1D data: numbers, booleans or texts."""
    n_entries = values.size
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
    if not values.size:
        return Summary(n_entries, n_entries)
    ends = values[[0, -1]].tolist()
    first, last = map(as_text, ends) if values.dtype.kind == "S" else ends
    n_changes = int(np.count_nonzero(values[1:] != values[:-1]))
    known = Summary(n_entries, n_entries - values.size, first, last, n_changes)
    if values.dtype.kind not in "biuf":
        return known
    with np.errstate(all="ignore"):  # infinities and overflow give what they give
        base, distances = _distances(values)
        offset = distances.mean()
        squares = np.square(distances - offset).sum()
    return replace(
        known,
        minimum=values.min().item(),
        maximum=values.max().item(),
        base=base,
        offset=float(offset),
        squares=float(squares),
    )


def _distances(values: NDArray[Any]) -> tuple[Any, NDArray[np.float64]]:
    """A base and the distance of each value from it, exact where integers lie close together."""
    if values.dtype.kind == "f":
        first = values[0].astype(np.float64)
        base = float(first) if np.isfinite(first) else 0.0
        return base, values.astype(np.float64) - base
    if values.dtype.kind == "b" or values.dtype.itemsize < 8:
        return 0, values.astype(np.float64)
    base = int(values.min())
    if int(values.max()) - base < 1 << 63:
        return base, (values - values.dtype.type(base)).astype(np.float64)
    return 0, values.astype(np.float64)
