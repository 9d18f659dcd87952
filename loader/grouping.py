"""How are many source names shown in few lines?

Pure: names in, groups out.

1. ``detector_groups``: the modules of multi-module detectors, put together; the rest.
2. ``compact_names``: names that differ in one part only, as ``SPB_MOTOR/SLIT_{LEFT, RIGHT}``.
3. ``number_ranges``: module numbers, as ``0-3, 5``.
4. ``natural_key``: the order people expect, with 2 before 10.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["DetectorGroup", "compact_names", "detector_groups", "natural_key", "number_ranges"]

_MODULE = re.compile(
    r"(?P<detector>.+/(?:DET|CORR)/)(?P<number>\d+)(?P<rest>CH\d+:(?:xtdf|output))"
)
_VARYING = re.compile(r"(?P<head>.*[_/])?(?P<part>[^_/]*)")


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts names with their numbers as numbers: module 2 before module 10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts)


@dataclass(frozen=True, slots=True)
class DetectorGroup:
    """The modules of one detector: ``pattern`` with ``*`` for the number, sources by number."""

    pattern: str
    sources: dict[int, str]


def detector_groups(names: Iterable[str]) -> tuple[list[DetectorGroup], list[str]]:
    """Detectors, sorted by pattern, and all names that are no detector module, sorted."""
    modules: dict[str, dict[int, str]] = defaultdict(dict)
    others = []
    for name in sorted(names):
        match = _MODULE.fullmatch(name)
        if match is None:
            others.append(name)
        else:
            modules[f"{match['detector']}*{match['rest']}"][int(match["number"])] = name
    groups = [
        DetectorGroup(pattern, dict(sorted(modules[pattern].items())))
        for pattern in sorted(modules)
    ]
    return groups, others


def number_ranges(numbers: Iterable[int]) -> str:
    """``0-3, 5`` for 0, 1, 2, 3 and 5."""
    stretches: list[list[int]] = []
    for number in sorted(numbers):
        if stretches and number == stretches[-1][1] + 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in stretches)


def compact_names(names: Iterable[str]) -> list[str]:
    """One text per group of names that differ in the last part of the device name only.

    The part is what follows the last ``_`` or ``/``. A channel (``:output``) belongs to what is
    equal.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(names, key=natural_key):
        device, colon, channel = name.partition(":")
        match = _VARYING.fullmatch(device)
        head, part = (match["head"] or "", match["part"]) if match else ("", device)
        groups[head, colon + channel].append(part)
    texts = []
    for (head, tail), parts in groups.items():
        inner = parts[0] if len(parts) == 1 else "{" + ", ".join(parts) + "}"
        texts.append(f"{head}{inner}{tail}")
    return sorted(texts, key=natural_key)
