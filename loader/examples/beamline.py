"""The devices of the demo at work: what their values do while a beam goes through them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import specs
from .specs import Counts, GroupSpec, KeySpec, SourceSpec, Trend
from .trends import Drift, Lit, Mean, Planes, Pulses, Rings, Scan, Spot, Steps, Trace

Sources = tuple[SourceSpec, ...]
Changes = Mapping[str, Mapping[str, Any]]  # fields of ``KeySpec`` by the full name of a key

_SHOTS, _ALL, _STILL = Drift(1100.0, 130.0), Steps((1.0,)), Steps((0.0,))


@dataclass(frozen=True, slots=True)
class Beam:
    """The beam of a run: the mean energy of its pulses in μJ, and the share that the attenuator
    lets through to the experiment. ``moves`` is 1 while the absorbers move."""

    energy: Trend = _SHOTS
    transmission: Trend = _ALL
    moves: Trend = _STILL
    pulses: int = 16

    @property
    def made(self) -> Trend:
        """The energy of each pulse behind the undulators, μJ."""
        return Pulses(self.energy, self.pulses)

    @property
    def arriving(self) -> Trend:
        """The energy of each pulse at the experiment, μJ; mirrors take 15 %."""
        return Lit(0.0, (self.made, self.transmission, Steps((0.85,))))

    def light(self, highest: float) -> Trend:
        """``highest`` for 1 mJ at the experiment, and in proportion: (n, 1)."""
        return Lit(0.0, (Mean(self.arriving), Steps((highest / 1000,))))


DARK = Beam(energy=_STILL)


def attenuated(first: float, then: float, at: int) -> Beam:
    """A beam whose transmission goes from ``first`` to ``then`` at train ``at``, in 0.3 s."""
    return Beam(transmission=Steps((first, then), (at,)), moves=Steps((0, 1, 0), (at - 3, at)))


def follow(source: SourceSpec, keys: Changes) -> SourceSpec:
    """A source with other trends, noise and texts."""

    def changed(group: GroupSpec, key: KeySpec) -> KeySpec:
        return replace(key, **keys.get(f"{group.name}.{key.name}".lstrip("."), {}))

    groups = [
        replace(group, keys=tuple(changed(group, key) for key in group.keys))
        for group in source.groups
    ]
    return replace(source, groups=tuple(groups))


def _fixed(value: float) -> dict[str, Any]:
    return {"trend": Steps((value,))}


def xgms(names: Sequence[str], beam: Beam) -> Sources:
    """XGMs, slow and fast, before and behind the attenuator; the second one misses trains."""
    slow, fast = [], []
    for n, (name, pulses) in enumerate(zip(names, (beam.made, beam.arriving), strict=True)):
        x, y = Drift(0.2 - 0.3 * n, 0.3), Drift(-0.1, 0.2)
        keys: Changes = {
            "beamPosition.ixPos": {"trend": x, "noise": (0.02, 0)},
            "beamPosition.iyPos": {"trend": y, "noise": (0.02, 0)},
            "pulseEnergy.photonFlux": {"trend": Mean(pulses), "noise": (0.5, 0.01)},
            "pulseEnergy.numberOfBunchesActual": _fixed(beam.pulses),
            "state": _fixed(0) | {"texts": ("ON",)},
        }
        slow.append(follow(specs.xgm(name), keys))
        keys = {
            "data.intensityTD": {"trend": pulses, "noise": (1.0, 0.02)},
            "data.xTD": {"trend": x, "noise": (0.05, 0)},
        }
        counts = (1, 1, 1, 0) if n else 1
        fast.append(follow(specs.xgm_pulses(name, pulses=beam.pulses, counts=counts), keys))
    return (*slow, *fast)


def attenuator(beam: Beam) -> SourceSpec:
    """The attenuator between the XGMs of SPB."""
    keys: Changes = {
        "actual.transmission": {"trend": beam.transmission},
        "target.transmission": {"trend": beam.transmission},
        "state": {"trend": beam.moves, "texts": ("ON", "MOVING")},
    }
    return follow(specs.attenuator(), keys)


def undulator(energy: float) -> SourceSpec:
    """Undulators that are set to ``energy``, in keV."""
    return follow(specs.undulator(), {"actualPosition": _fixed(energy)})


def motor(name: str, position: float | Scan) -> SourceSpec:
    """A motor that stands at ``position`` in mm, or scans; its encoder jitters by 0.4 μm."""
    goes: Trend
    sent: Trend
    moves: Trend
    if isinstance(position, Scan):
        goes, sent = position, replace(position, shown="target")
        moves = replace(position, shown="moving")
    else:
        goes = sent = Steps((position,))
        moves = _STILL
    keys: Changes = {
        "actualPosition": {"trend": goes, "noise": (0.0004, 0)},
        "targetPosition": {"trend": sent},
        "isMoving": {"trend": moves},
    }
    return follow(specs.motor(name), keys)


def gauge(name: str) -> SourceSpec:
    """A pressure gauge in a good vacuum."""
    keys: Changes = {
        "value": {"trend": Drift(3.2e-8, 4e-9), "noise": (0, 0.02)},
        "status": _fixed(0),
    }
    return follow(specs.gauge(name), keys)


def camera(
    beam: Beam,
    name: str = "SPB_IRU_CAM/CAM/SIDEMIC",
    *,
    shape: tuple[int, int] = (24, 32),
    counts: Counts = (1, 1, 0, 1, 2),
) -> Sources:
    """A camera that looks at the beam on a screen, and warms up."""
    slow, fast = specs.camera(name, shape=shape, counts=counts)
    keys: Changes = {
        "exposureTime": _fixed(10.0),
        "temperature": {"trend": Drift(301.5, 0.8), "noise": (0.02, 0)},
    }
    pixels = {"trend": Lit(80.0, (beam.light(3000.0), Spot(shape))), "noise": (6.0, 0.03)}
    images = follow(fast, {"data.image.pixels": pixels, "data.image.dimTypes": _fixed(1)})
    return follow(slow, keys), images


def adc(beam: Beam, name: str) -> SourceSpec:
    """A digitizer of two diodes that see the beam."""
    keys: Changes = {
        f"digitizers.channel_{n}_A.raw.samples": {
            "trend": Lit(20.0, (beam.light(height), Trace(40))),
            "noise": (8.0, 0.01),
        }
        for n, height in ((1, 12_000.0), (2, 5_000.0))
    }
    return follow(specs.adc(name), keys)


def _rings(beam: Beam, number: int, shape: tuple[int, int], dark: float, highest: float) -> Trend:
    return Lit(dark, (beam.light(highest), Rings(number, shape)))


def see(beam: Beam, module: SourceSpec, number: int) -> SourceSpec:
    """A raw module of a detector on which powder rings fall; its second plane is the gain signal.

    Planes are in ADU: pedestals of 5,000 and 6,500, 60 of a photon.
    """
    (shape,) = (k.shape for k in module.groups[0].keys if k.name == "data")
    image = _rings(beam, number, (shape[-2], shape[-1]), 5000.0, 60 * 40.0)
    planes = (image, Steps((6500.0,)))[: shape[0]]
    n_pixels = shape[-2] * shape[-1]
    return follow(
        module, {"image.data": {"trend": Planes(planes, n_pixels), "noise": (15.0, 0.004)}}
    )


def modules(beam: Beam, detector: str, **options: Any) -> dict[str, Sources]:
    """The raw modules of a detector by aggregator; ``options`` are those of ``specs.modules``."""
    return {
        aggregator: (see(beam, module, number),)
        for number, (aggregator, (module,)) in enumerate(specs.modules(detector, **options).items())
    }


def corrected_module(beam: Beam, detector: str, number: int, **options: Any) -> SourceSpec:
    """The photons of a module; a few pixels are masked, a few in medium gain."""
    source = specs.corrected_module(detector, number, **options)
    (shape,) = (k.shape for k in source.groups[0].keys if k.name == "data")
    keys: Changes = {
        "image.data": {
            "trend": _rings(beam, number, (shape[0], shape[1]), 0.0, 40.0),
            "noise": (0.25, 0.1),
        },
        # Rounded, 1 pixel in 70 is masked, and 1 in 20 in another gain.
        "image.mask": _fixed(0) | {"noise": (0.23, 0)},
        "image.gain": _fixed(0) | {"noise": (0.3, 0)},
    }
    return follow(source, keys)
