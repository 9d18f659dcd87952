"""Trends: how the values of the demo go from train to train and over the elements of an entry.

A trend takes train IDs, (n,), and gives values, (n or 1, elements or 1). Nothing but sums, products
and divisions is in it, so that the demo has the same values on every machine.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.runlength import UInt64s
from .specs import Trend, element_codes, normal

Floats = NDArray[np.float64]

# A run of the demo lasts seconds, and the next one begins 20 minutes later: a wave of 25 s shows
# within a run, one of four hours from run to run. In trains, and prime: no run repeats another.
_FAST, _SLOW = 251, 150_001


def _wave(trains: UInt64s, period: int) -> Floats:
    """From -1 to 1 and back, much like a sine: two parabolas."""
    x = (trains % np.uint64(period)) / (period / 2) - 1
    return np.asarray(4 * x * (1 - np.abs(x)), np.float64)


@dataclass(frozen=True, slots=True)
class Steps:
    """A value that holds until the next one does, from the train ID in ``at`` on."""

    values: tuple[float, ...]
    at: tuple[int, ...] = ()

    def __call__(self, trains: UInt64s) -> Floats:
        """(n, 1)."""
        number = np.searchsorted(np.array(self.at, np.uint64), trains, side="right")
        return np.array(self.values, np.float64)[number][:, None]


@dataclass(frozen=True, slots=True)
class Drift:
    """A value that drifts around ``level``, by about ``swing`` from run to run, less within one."""

    level: float
    swing: float

    def __call__(self, trains: UInt64s) -> Floats:
        """(n, 1)."""
        waves = _wave(trains, _SLOW) + 0.3 * _wave(trains, _FAST)
        return self.level + self.swing * waves[:, None]


@dataclass(frozen=True, slots=True)
class Scan:
    """A motor that goes from ``first`` on in steps, and rests for ``plateau`` trains after each.

    ``shown`` is its position, the position that it was sent to, or 1 while it moves.
    """

    start: int
    plateau: int
    first: float
    step: float
    shown: Literal["position", "target", "moving"] = "position"

    def __call__(self, trains: UInt64s) -> Floats:
        """(n, 1)."""
        since = np.maximum(trains, np.uint64(self.start)) - np.uint64(self.start)
        number, within = np.divmod(since, np.uint64(self.plateau))
        ahead = np.where(number > 0, np.maximum(1 - within / 2, 0), 0)  # a step takes 0.2 s
        if self.shown == "moving":
            return (ahead > 0).astype(np.float64)[:, None]
        done = number if self.shown == "target" else number - ahead
        return (self.first + self.step * done)[:, None]


@dataclass(frozen=True, slots=True)
class Pulses:
    """The energy of each pulse of a train: ``level`` as SASE scatters it, the first ones higher."""

    level: Trend
    n: int

    def __call__(self, trains: UInt64s) -> Floats:
        """(n, pulses)."""
        scatter = 1 + 0.12 * normal(element_codes(("SASE",), trains, 0, self.n))
        return self.level(trains) * scatter * np.linspace(1.06, 0.94, self.n)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of another trend over the elements: of the pulses of a train."""

    of: Trend

    def __call__(self, trains: UInt64s) -> Floats:
        """(n, 1)."""
        return np.asarray(self.of(trains).mean(axis=1, keepdims=True), np.float64)


@dataclass(frozen=True, slots=True)
class Lit:
    """What a sensor gives without light, and the product of ``factors`` on top of it."""

    dark: float
    factors: tuple[Trend, ...]

    def __call__(self, trains: UInt64s) -> Floats:
        """(n or 1, elements or 1)."""
        light = np.ones((1, 1))
        for factor in self.factors:
            light = light * factor(trains)
        return self.dark + light


@dataclass(frozen=True, slots=True)
class Planes:
    """Several trends one behind the other, each of ``n`` elements."""

    planes: tuple[Trend, ...]
    n: int

    def __call__(self, trains: UInt64s) -> Floats:
        """(n, planes x elements)."""
        shape = (trains.size, self.n)
        return np.hstack([np.broadcast_to(plane(trains), shape) for plane in self.planes])


@dataclass(frozen=True, slots=True)
class Trace:
    """The response of a digitizer to a pulse: a quick rise, a slow fall, 1 at its highest."""

    n: int

    def __call__(self, trains: UInt64s) -> Floats:
        """(1, samples)."""
        at = np.arange(self.n) - self.n // 4
        fall = 1 / (1 + np.maximum(at, 0) / 3.0) ** 2
        return np.where(at < 0, 0.0, fall)[None, :]


@dataclass(frozen=True, slots=True)
class Spot:
    """A beam on a screen, 1 at its highest, in a picture of ``shape``."""

    shape: tuple[int, int]

    def __call__(self, trains: UInt64s) -> Floats:
        """(1, pixels)."""
        height, width = self.shape
        y, x = np.mgrid[:height, :width] / 1.0
        away = ((x - 0.55 * width) / (0.12 * width)) ** 2
        away += ((y - 0.45 * height) / (0.15 * height)) ** 2
        return np.asarray(1 / (1 + away) ** 2, np.float64).reshape(1, -1)


# Where the first pixel of each quadrant of an AGIPD lies from the beam, and where its slow axis
# goes (the fast axis goes the other way): in pixels of the detector, of which a module has
# 512 x 128. From the quadrant positions in docs/examples/detector-geometry.ipynb.
_QUADRANTS = ((-517, 621, 1), (-542, -14, 1), (512, -156, -1), (534, 479, -1))
_MODULE_STEP = 157
_RINGS = ((0.0, 50.0, 3.0), (210.0, 14.0, 1.0), (330.0, 15.0, 0.6), (455.0, 17.0, 0.35))


@dataclass(frozen=True, slots=True)
class Rings:
    """Powder rings on module ``number`` of a detector of 1 megapixel, binned to ``shape``.

    Radius, width and height of each ring are in pixels of the detector and relative to the first
    one; small-angle scattering is that of radius 0.
    """

    number: int
    shape: tuple[int, int]

    def __call__(self, trains: UInt64s) -> Floats:
        """(1, pixels)."""
        quadrant, module = divmod(self.number, 4)
        x0, y0, way = _QUADRANTS[quadrant]
        slow, fast = (
            np.arange(n) * (full / n) for n, full in zip(self.shape, (526, 128), strict=True)
        )
        x = x0 + way * slow[:, None]
        y = y0 - _MODULE_STEP * module - way * fast[None, :]
        radius = np.sqrt(x**2 + y**2)
        light = sum(height / (1 + ((radius - r) / width) ** 2) for r, width, height in _RINGS)
        return np.asarray(light, np.float64).reshape(1, -1)
