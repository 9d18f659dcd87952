"""From where on is something worth a finding? The numbers that the checks of an audit go by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from ..model.errors import QueryError, nearest

__all__ = ["DEFAULT_LIMITS", "Limits", "parse_limits"]

_DETECTOR_SIZES = {
    "AGIPD1M": 16,
    "LPD1M": 16,
    "DSSC1M": 16,
    "AGIPD500K": 8,
    "JF4M": 8,
    "JF1M": 2,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the checks; shares are of 1.

    Parameters
    ----------
    suspect_share
        T04: the share of suspect trains in a file above which it is reported.
    early_share
        R04: an aggregator ends early if it stops more than this share of the run's trains before
        most others,
    early_trains
        R04: and more than this many trains.
    detector_sizes
        R06: modules of a detector, by a part of its name; of others only gaps in the numbers count.
    processing_days
        P01: how many days after its last train a run with detector data should be corrected.
    neighbours
        X01, X03: with how many runs before it, of its proposal and data class, a run is compared.
    of_neighbours
        X01, X03: a source that was in so many of them is missed.
    similarity
        X03: how similar (Jaro-Winkler) two names are that may be the same source.
    clock_seconds
        X04: by how many seconds the times of two runs may differ from what their train IDs say,
    clock_share
        X04: or by what share of the time between them, if that is more;
    clock_hours
        X04: of runs that are no further apart than this.
    settling_minutes
        C01: how old a file must be to be missed in the catalog.
    """

    suspect_share: float = 0.1
    early_share: float = 0.1
    early_trains: int = 50
    detector_sizes: Mapping[str, int] = field(default_factory=lambda: dict(_DETECTOR_SIZES))
    processing_days: float = 14.0
    neighbours: int = 5
    of_neighbours: int = 4
    similarity: float = 0.9
    clock_seconds: float = 60.0
    clock_share: float = 0.01
    clock_hours: float = 24.0
    settling_minutes: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.of_neighbours <= self.neighbours:
            raise QueryError(
                f"a source cannot be in {self.of_neighbours} of the last {self.neighbours} runs:"
                " of_neighbours is from 1 to neighbours"
            )
        for name in ("suspect_share", "early_share", "similarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise QueryError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")


DEFAULT_LIMITS = Limits()


def parse_limits(settings: Iterable[str]) -> Limits:
    """Limits from texts such as ``processing_days=30``.

    Raises QueryError for a name there is not, and for a value that is no number.
    """
    kinds = {f.name: f.type for f in fields(Limits) if f.name != "detector_sizes"}
    changed: dict[str, float] = {}
    for text in settings:
        name, _, value = text.partition("=")
        name = name.strip()
        if name not in kinds:
            close = nearest(name, kinds)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(kinds)}"
            raise QueryError(f"there is no limit {name!r}; {hint}")
        try:
            changed[name] = int(value) if kinds[name] is int else float(value)
        except ValueError:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise QueryError(f"limit {name} is {kind}, not {value!r}") from None
    return Limits(**changed)  # type: ignore[arg-type]
