"""Conventions of names and texts: detector modules, control keys, units, METADATA, stored text.

Each rule stands here once, for Python and for SQL. No numpy is imported: the command line parses
its options with this before it loads anything.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

# D/DET/3CH0:xtdf, D/CORR/3CH0:output, D/DET/JNGFR03:daqOutput. In the dialect that Python and
# DuckDB (RE2) share; both take the groups by their position.
DETECTOR_MODULE = r"(.+)/(DET|CORR)/([A-Za-z_]*|RECEIVER-)([0-9]{1,4})(.*)"
_MODULE = re.compile(DETECTOR_MODULE)
_CHANNEL = re.compile(r"CH\d+:(xtdf|output)")


class DetectorModule(NamedTuple):
    """The parts of the name of a detector module's source."""

    detector: str
    """Name of the detector: ``SPB_DET_AGIPD1M-1``."""
    kind: str
    """``DET`` for data as recorded, ``CORR`` for corrected data."""
    prefix: str
    """What stands before the number: ``JNGFR``, empty for most detectors."""
    number: int
    """Number of the module; from 0 for modules with channels, else mostly from 1."""
    rest: str
    """What follows the number: ``CH0:xtdf``, ``:daqOutput``."""

    @property
    def is_channel(self) -> bool:
        """Whether it is named as the modules of AGIPD, LPD and DSSC: ``3CH0:xtdf``."""
        return not self.prefix and _CHANNEL.fullmatch(self.rest) is not None


def parse_module(source: str) -> DetectorModule | None:
    """The parts of a source name, or None where it is no module of a detector."""
    match = _MODULE.fullmatch(source)
    if match is None:
        return None
    detector, kind, prefix, number, rest = match.groups()
    return DetectorModule(detector, kind, prefix, int(number), rest)


# The index group of detector sources with a row per frame, and the keys that label its rows.
FRAME_GROUP = "image"
FRAME_ID_KEYS = ("image.pulseId", "image.cellId")


# The versions of the data format there are; METADATA/dataFormatVersion has one of them.
FORMAT_VERSIONS = ("0.1", "0.5", "1.0", "1.1", "1.2", "1.3")

VALUE_ENDING = ".value"


def short_key(key: str) -> str:
    """The key of a control source as Karabo spells it: without the ``.value`` of the files."""
    return key.removesuffix(VALUE_ENDING)


def key_spellings(key: str, section: str) -> tuple[str, ...]:
    """The names in the files that a key may stand for: control keys may omit their ``.value``."""
    return (key, key + VALUE_ENDING) if section == "CONTROL" else (key,)


def is_timestamp(key: str) -> bool:
    """Whether a key holds the update times of the control key beside it."""
    return key.endswith(".timestamp")


# Files write the prefix of micrometre in ASCII; people read it with the sign of the SI.
MICRO = ("u", "μ")


# The micro sign of keyboards and the Greek letter, and "u" for both: what questions compare.
ASCII_MICRO = str.maketrans("\u00b5\u03bc", "uu")


def sql_ascii_unit(unit: str) -> str:
    """SQL for a unit with ``u`` for micro."""
    return f"translate({unit}, '\u00b5\u03bc', 'uu')"


# The HDF5 attributes of a unit, as of format 1.3, in the order of the fields of ``KeyRecord``.
UNIT_ATTRIBUTES = ("unitSymbol", "unitName", "metricPrefixSymbol", "metricPrefixName")


def unit_text(prefix_symbol: str, unit_symbol: str) -> str:
    """The unit with its prefix: ``mm``, ``μJ``; empty where the files name no unit."""
    return prefix_symbol.replace(*MICRO) + unit_symbol if unit_symbol else ""


def sql_unit(table: str) -> str:
    """SQL for the same from the columns prefix_symbol and unit_symbol of a table."""
    micro = "'{}', '{}'".format(*MICRO)
    return f"(replace({table}.prefix_symbol, {micro}) || {table}.unit_symbol)"


def recorded_run(metadata: Mapping[str, Any]) -> tuple[Any, Any]:
    """Proposal and run number that METADATA records; None for one that it does not."""
    return metadata.get("proposalNumber"), metadata.get("runNumber")


def run_text(metadata: Mapping[str, Any]) -> str:
    """``p900010, run 5``; empty where METADATA does not record it."""
    proposal, run = recorded_run(metadata)
    return "" if proposal is None or run is None else f"p{int(proposal):06d}, run {run}"


def number_ranges(numbers: Iterable[int]) -> str:
    """``0-3, 5`` for 0, 1, 2, 3 and 5."""
    ordered = enumerate(sorted(set(numbers)))
    stretches = ([n for _, n in of] for _, of in groupby(ordered, lambda pair: pair[1] - pair[0]))
    return ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in stretches)


# The format version of files that record none.
LEGACY_VERSION = "0.5"

# Names and times as the catalog writes them. File names may hold bytes that are no UTF-8, which
# Python keeps as lone surrogates and the catalog as private-use characters. Its times are UTC
# without zone.

_ESCAPED = {0xDC80 + i: 0x10FF00 + i for i in range(0x80)}
_UNESCAPED = {kept: lone for lone, kept in _ESCAPED.items()}
_EPOCH = datetime(1970, 1, 1)


def to_text(text: str) -> str:
    """A string as the catalog keeps it: undecodable bytes as U+10FF00..U+10FF7F."""
    if text.isascii():
        return text
    return text.translate(_ESCAPED).encode("utf-8", "replace").decode()


def from_text(text: str) -> str:
    """The string that ``to_text`` was given."""
    return text if text.isascii() else text.translate(_UNESCAPED)


def to_utc(moment: datetime) -> datetime:
    """A time in UTC without zone; one that has no zone is taken for UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def from_utc(moment: datetime) -> datetime:
    """A time of the catalog, with its zone."""
    return moment.replace(tzinfo=UTC)


def time_of_ns(ns: int) -> datetime | None:
    """ns since the epoch as a time without zone; None where no calendar has it."""
    try:
        return _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return None


_DURATION = re.compile(
    r"(\d{1,5}|last|past)\s*(min(?:ute)?|h(?:our)?|d(?:ay)?|w(?:eek)?|month|y(?:ear)?)s?"
)
_UNITS_OF_TIME = {
    **{"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(1), "w": timedelta(7)},
    **{"month": timedelta(30), "y": timedelta(365)},
}


def parse_duration(text: str) -> timedelta | None:
    """A duration: 30min, 12h, 3 days, 2w, 1month, last year; None for any other text."""
    match = _DURATION.fullmatch(text.casefold().strip())
    if match is None:
        return None
    unit = match[2] if match[2] in _UNITS_OF_TIME else match[2][0]
    n = int(match[1]) if match[1].isdecimal() else 1
    return n * _UNITS_OF_TIME["min" if match[2] == "minute" else unit]


def size_text(n_bytes: float) -> str:
    """A size in the decimal unit that keeps it short: ``57.4 MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n_bytes) < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} PB"
