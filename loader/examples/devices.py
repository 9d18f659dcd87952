"""Devices of a synthetic instrument: sources as they occur at EuXFEL.

Names and keys are those of the real devices, reduced to a few keys each; images are small.
"""

from .specs import Counts, GroupSpec, KeySpec, SourceSpec, Unit, auxiliary, control, instrument

MILLIMETRE = Unit("m", "meter", "m", "milli")
MICROJOULE = Unit("J", "joule", "u", "micro")
KILOELECTRONVOLT = Unit("eV", "electronvolt", "k", "kilo")
MILLIBAR = Unit("bar", "bar", "m", "milli")
KELVIN = Unit("K", "kelvin")
RAW_FRAME = (2, 32, 16)


def xgm(name: str = "SA1_XTD2_XGM/XGM/DOOCS") -> SourceSpec:
    """The slow data of an X-ray gas monitor."""
    return control(
        name,
        KeySpec("beamPosition.ixPos", "f4", unit=MILLIMETRE, span=(-1.5, 1.5)),
        KeySpec("beamPosition.iyPos", "f4", unit=MILLIMETRE, span=(-1.5, 1.5)),
        KeySpec("pulseEnergy.photonFlux", "f4", unit=MICROJOULE, span=(600.0, 1400.0)),
        KeySpec("pulseEnergy.numberOfBunchesActual", "i4", span=(1, 352)),
        KeySpec("gasSupply.gasTypeId", "i4", span=(0, 7), fill="constant"),
        KeySpec("state", "str"),
        run={"classId": "DoocsXGM", "deviceId": name, "serverId": "xgmServer", "gainMode": 2},
    )


def xgm_pulses(
    name: str = "SA1_XTD2_XGM/XGM/DOOCS", *, pulses: int = 16, counts: Counts = 1
) -> SourceSpec:
    """The fast data of an X-ray gas monitor: one row of ``pulses`` values per train."""
    intensity = KeySpec("intensityTD", "f4", (pulses,), MICROJOULE, (0.0, 2000.0))
    position = KeySpec("xTD", "f4", (pulses,), MILLIMETRE, (-1.5, 1.5))
    return instrument(f"{name}:output", GroupSpec("data", (intensity, position), counts))


def motor(name: str) -> SourceSpec:
    """A motor: where it is and where it was sent."""
    return control(
        name,
        KeySpec("actualPosition", "f8", unit=MILLIMETRE, span=(0.0, 50.0)),
        KeySpec("targetPosition", "f8", unit=MILLIMETRE, span=(0.0, 50.0), fill="constant"),
        KeySpec("isMoving", "bool"),
        run={"classId": "SlitMotor", "deviceId": name, "axisNumber": 3, "epsilon": 0.01},
    )


def undulator(name: str = "SPB_XTD2_UND/DOOCS/ENERGY") -> SourceSpec:
    """The photon energy that the undulators are set to."""
    energy = KeySpec(
        "actualPosition", "f8", unit=KILOELECTRONVOLT, span=(6.0, 12.0), fill="constant"
    )
    return control(name, energy, run={"classId": "UndulatorEnergy", "deviceId": name})


def gauge(name: str) -> SourceSpec:
    """A pressure gauge."""
    return control(
        name,
        KeySpec("value", "f4", unit=MILLIBAR, span=(1e-9, 1e-6)),
        KeySpec("status", "u2", span=(0, 15)),
        run={"classId": "BeckhoffGauge", "deviceId": name},
    )


def run_only_device(name: str) -> SourceSpec:
    """A control device that is recorded at the start of the run only."""
    return control(name, run={"classId": "TimeServer", "deviceId": name, "period": 100})


def camera(
    name: str = "SPB_IRU_CAM/CAM/SIDEMIC",
    *,
    shape: tuple[int, int] = (24, 32),
    counts: Counts = (1, 1, 0, 1, 2),
) -> tuple[SourceSpec, SourceSpec]:
    """A camera: its control source, and its pipeline, which misses trains and doubles others."""
    slow = control(
        name,
        KeySpec("exposureTime", "f8", span=(1.0, 90.0), fill="constant"),
        KeySpec("temperature", "f4", unit=KELVIN, span=(290.0, 310.0)),
        run={"classId": "BaslerCamera", "deviceId": name, "triggerMode": "On", "binning": 1},
    )
    pixels = KeySpec("image.pixels", "u2", shape, chunk_rows=4)
    axes = KeySpec("image.dimTypes", "i4", (2,))
    return slow, instrument(f"{name}:daqOutput", GroupSpec("data", (pixels, axes), counts))


def adc(name: str, *, samples: int = 40, counts: Counts = 1) -> SourceSpec:
    """A digitizer: the traces of two channels and, indexed on their own, peaks as a table."""
    traces = tuple(KeySpec(f"channel_{n}_A.raw.samples", "i2", (samples,)) for n in (1, 2))
    peaks = [("position", "<u4"), ("height", "<f4")]
    return instrument(
        f"{name}:network",
        GroupSpec("digitizers", traces, counts),
        GroupSpec("peaks", (KeySpec("table", peaks, (3,)),), (2, 0)),
    )


def _xtdf_groups(image_keys: tuple[KeySpec, ...], frames: Counts) -> tuple[GroupSpec, ...]:
    """The four index groups of a detector module's data in XTDF."""
    pulse = (
        KeySpec("trainId", "u8", fill="train_id"),
        KeySpec("pulseId", "u8", fill="pulse_id"),
        KeySpec("cellId", "u2", fill="cell_id"),
    )
    return (
        GroupSpec("image", (*image_keys, *pulse), frames),
        GroupSpec("header", (KeySpec("pulseCount", "u8", span=(0, 352)),)),
        GroupSpec("detector", (KeySpec("data", "u1", (8,)),)),
        GroupSpec("trailer", (KeySpec("status", "u8", span=(0, 3)),)),
    )


def module(
    detector: str, number: int, *, shape: tuple[int, ...] = RAW_FRAME, frames: Counts = (4, 3, 0, 5)
) -> SourceSpec:
    """The raw data of one detector module; ``frames`` per train vary."""
    data = KeySpec("data", "u2", shape, chunk_rows=8)
    return instrument(f"{detector}/DET/{number}CH0:xtdf", *_xtdf_groups((data,), frames))


def modules(
    detector: str, *, shape: tuple[int, ...] = RAW_FRAME, frames: Counts = (4, 3, 0, 5), n: int = 16
) -> dict[str, tuple[SourceSpec, ...]]:
    """The modules of a detector by aggregator: AGIPD00 ... for ``SPB_DET_AGIPD1M-1``."""
    kind = detector.rsplit("_", 1)[1].rstrip("0123456789-M")
    return {
        f"{kind.rstrip('0123456789')}{i:02d}": (module(detector, i, shape=shape, frames=frames),)
        for i in range(n)
    }


def corrected_module(
    detector: str,
    number: int,
    *,
    shape: tuple[int, ...] = RAW_FRAME[1:],
    frames: Counts = (4, 3, 0, 5),
    legacy: bool = False,
) -> SourceSpec:
    """The corrected data of one detector module.

    With ``legacy`` the source has its new name (``CORR``), and the old one is a soft link.
    """
    image = (
        KeySpec("data", "f4", shape, chunk_rows=8, compression="gzip"),
        KeySpec("mask", "u4", shape, span=(0, 1), chunk_rows=8, compression="gzip"),
        KeySpec("gain", "u1", shape, span=(0, 2), chunk_rows=8, compression="gzip"),
    )
    groups = _xtdf_groups(image, frames)[:1]
    old = f"{detector}/DET/{number}CH0:xtdf"
    if not legacy:
        return instrument(old, *groups)
    return instrument(f"{detector}/CORR/{number}CH0:output", *groups, legacy_name=old)


def frame_reduction(detector: str, number: int) -> SourceSpec:
    """REDUCTION: which frames of a module the data reduction kept."""
    keys = (KeySpec("reductionRatio", "f8"), KeySpec("wasReduced", "u1", span=(0, 1)))
    return auxiliary(
        "REDUCTION", f"PULSE_REDUCTION/{detector}/DET/{number}CH0:xtdf", GroupSpec("image", keys)
    )


def errata() -> SourceSpec:
    """ERRATA: trains that came too late to be written."""
    keys = (
        KeySpec("originalTrainIds", "u8", (3,)),
        KeySpec("deviceIds", "str", (3,)),
    )
    return auxiliary("ERRATA", "TRAINS_OUTSIDE_BUFFER_RANGE", GroupSpec("event", keys, (0, 0, 1)))
