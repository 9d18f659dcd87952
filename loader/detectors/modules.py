"""Modules of a detector among the sources of a collection.

Which detectors there are follows from the names of sources: ``<detector>/DET/<module>`` has data as
recorded, ``<detector>/CORR/<module>`` corrected data. Corrected data of older runs have the name
of the recorded ones; there the keys tell.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...catalog.model.errors import SourceNameError, warn_caller
from ...catalog.model.names import DetectorModule, parse_module
from ..read.selected import SelectedData


@dataclass(frozen=True)
class DetectorNames:
    """How the detectors of a class, their modules and their keys are named."""

    detector: re.Pattern[str]
    """Name of a detector."""
    prefixes: frozenset[str]
    """What may stand before the number of a module."""
    rest: str
    """What follows the number, at least."""
    main_key: str
    """The key with the pixels."""
    mask_key: str
    """The key with the mask of corrected data."""

    def parse(self, source: str) -> DetectorModule | None:
        """The parts of a source name; None where it is no module of such a detector."""
        module = parse_module(source)
        if module is None or not self.detector.fullmatch(module.detector):
            return None
        named = module.prefix in self.prefixes and module.rest.startswith(self.rest)
        return module if named else None


def find_modules(data: SelectedData, names: DetectorNames) -> dict[str, DetectorModule]:
    """The modules of all detectors of a class, by source name."""
    found = {}
    for source, entry in data.sources.items():
        if entry.section == "INSTRUMENT" and not entry.is_legacy:
            module = names.parse(source)
            if module is not None:
                found[source] = module
    return found


def pick_detector(
    detectors: Iterable[str], wanted: str | None, what: str, sources: Collection[str]
) -> str:
    """The detector that is wanted, or the only one there is.

    Raises
    ------
    SourceNameError
        There is none, or none of this name.
    ValueError
        There are several, and none is wanted.
    """
    found = sorted(set(detectors))
    if wanted is not None:
        if wanted not in found:
            raise SourceNameError(f"{wanted}/(DET|CORR)/...", sources)
        return wanted
    if not found:
        raise SourceNameError(f"{what} (*/DET/...)", sources)
    if len(found) > 1:
        raise ValueError(
            f"several detectors of class {what}: {', '.join(found)}; give detector_name"
        )
    return found[0]


def choose_sources(
    data: SelectedData,
    modules: Mapping[str, DetectorModule],
    names: DetectorNames,
    raw: bool | None,
) -> tuple[dict[str, DetectorModule], bool]:
    """The sources of a detector with recorded (``raw``) or with corrected data, and which it is.

    None takes corrected data if any module has them, and warns of modules that have not; else
    recorded data, with a warning.

    Raises
    ------
    SourceNameError
        There are no corrected data.
    ValueError
        There are no recorded data.
    """
    detector = next(iter(modules.values())).detector
    recorded = {s: m for s, m in modules.items() if _is_raw(data, s, m, names)}
    corrected = {s: m for s, m in modules.items() if s not in recorded}
    if raw:
        if not recorded:
            raise ValueError(f"no raw data of {detector}: its sources have corrected data")
        return recorded, True
    if raw is None and not corrected:
        warn_caller(
            f"taking raw data of {detector}, as there are no corrected ones: raw=True says that"
            " this is meant, raw=False makes it an error"
        )
        return recorded, True
    if not corrected:
        raise SourceNameError(f"{detector}/CORR/...", modules)
    only_raw = {m.number for m in recorded.values()} - {m.number for m in corrected.values()}
    if raw is None and only_raw:
        listed = ", ".join(map(str, sorted(only_raw)))
        warn_caller(
            f"modules {listed} of {detector} have raw data only, and are left out: raw=True takes"
            " the raw data of all modules"
        )
    return corrected, False


def _is_raw(data: SelectedData, source: str, module: DetectorModule, names: DetectorNames) -> bool:
    if module.kind == "CORR":
        return False
    known = data.source(source).schema.by_name
    main = known.get(names.main_key)
    return names.mask_key not in known and (main is None or "f" not in main.dtype)


def combine_bits(bits: Any) -> int | None:
    """Bits of a mask, given as a number or as several of them, in one number."""
    if bits is None or isinstance(bits, int):
        return bits
    combined = 0
    for bit in [bits] if not isinstance(bits, Iterable) or isinstance(bits, str) else bits:
        combined |= int(bit)
    return combined
