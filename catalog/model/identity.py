"""Identity of a run and parts of a file name, from paths alone.

Pure: text in, values out; no file is touched.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import SupportsIndex

_FILE_NAME = re.compile(
    r"(?P<prefix>[A-Z]+)-R(?P<run>\d{4,})-(?P<aggregator>[A-Z0-9_]+?)(?:-S(?P<seq>\d{5,}))?\.h5"
)
_PROPOSAL = re.compile(r"p\d{6}")
_RUN = re.compile(r"r(\d{4,6})")
_CYCLE = re.compile(r"\d{6}")
_KNOWN_CLASSES = ("raw", "proc", "red", "open", "usr", "scratch")

# The parts of a run_id, see RunIdentity.run_id. All arithmetic on one is in this module, but for
# shifts by RUN_BITS.
LOOSE = 1 << 63  # what the run_id of a loose run is not below
RUN_BITS = 20  # before them stands the series: proposal and data class
PROPOSAL_BITS = 43  # before them stands the proposal


@dataclass(frozen=True, slots=True)
class FileName:
    """The parts of ``PREFIX-Rnnnn-AGGREGATOR-Snnnnn.h5``; ``sequence`` is -1 where it has none."""

    prefix: str
    run: int
    aggregator: str
    sequence: int


def parse_file_name(name: str) -> FileName | None:
    """The parts of a file name, or None where it does not follow the convention."""
    m = _FILE_NAME.fullmatch(name)
    if m is None:
        return None
    sequence = int(m["seq"]) if m["seq"] is not None else -1
    return FileName(m["prefix"], int(m["run"]), m["aggregator"], sequence)


def aggregator_and_sequence(name: str) -> tuple[str, int]:
    """What a file name says of its aggregator and sequence; "" and -1 where it says nothing."""
    parsed = parse_file_name(name)
    return (parsed.aggregator, parsed.sequence) if parsed else ("", -1)


def is_data_file(name: str) -> bool:
    """Whether a directory entry of this name is taken for a data file: ``*.h5``, no overview."""
    return name.endswith(".h5") and not name.startswith(".") and "OVERVIEW" not in name


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Who a run is: (proposal, run, data class) in a facility tree, else its resolved directory.

    A loose run, one outside the layout, has proposal and run -1, an empty data class, instrument
    and cycle, and its resolved directory as ``loose_path``. ``instrument`` and ``cycle`` describe;
    they are no part of the identity.
    """

    proposal: int = -1
    run: int = -1
    data_class: str = ""
    instrument: str = ""
    cycle: str = ""
    loose_path: str = ""

    @property
    def is_loose(self) -> bool:
        """Whether the run lies outside a facility tree."""
        return bool(self.loose_path)

    @property
    def run_id(self) -> int:
        """The identity as an unsigned 64-bit number, ordered by proposal, data class and run.

        Bits: 0, proposal (20), data class (23), run (20); for a loose run 1 and 63 bits of the
        hash of its path. The store compares the identity itself, so a clash of hashes is an error
        rather than a mix-up.
        """
        if self.is_loose:
            digest = hashlib.blake2b(self.loose_path.encode("utf-8", "surrogateescape"))
            return LOOSE | (int.from_bytes(digest.digest()[:8], "big") >> 1)
        if self.data_class in _KNOWN_CLASSES:
            number = _KNOWN_CLASSES.index(self.data_class)
        else:
            digest = hashlib.blake2b(self.data_class.encode("utf-8", "surrogateescape"))
            number = (1 << 22) | (int.from_bytes(digest.digest()[:4], "big") >> 10)
        return (self.proposal << PROPOSAL_BITS) | (number << RUN_BITS) | self.run

    @property
    def shard(self) -> str:
        """The name of the shard that keeps the run: one per proposal, or per loose run."""
        return shard_of(self.run_id)

    def __str__(self) -> str:
        if self.is_loose:
            return self.loose_path
        return f"p{self.proposal:06d}/{self.data_class}/r{self.run:04d}"


def is_made_anew(run_id: int) -> bool:
    """Whether a run's files may change: of a facility's folders all but raw, which never should."""
    class_bits = (1 << (PROPOSAL_BITS - RUN_BITS)) - 1
    return run_id < LOOSE and (run_id >> RUN_BITS) & class_bits != _KNOWN_CLASSES.index("raw")


def shard_of(run_id: int) -> str:
    """The name of the shard that keeps a run: one per proposal, or per loose run."""
    if run_id >= LOOSE:
        return f"loose-{run_id - LOOSE:016x}"
    return f"p{run_id >> PROPOSAL_BITS:06d}"


def run_ids_of_shard(shard: str) -> tuple[int, int]:
    """The first and last run_id that a shard can have."""
    if shard.startswith("loose-"):
        run_id = LOOSE + int(shard.removeprefix("loose-"), 16)
        return run_id, run_id
    first = int(shard.removeprefix("p")) << PROPOSAL_BITS
    return first, first + (1 << PROPOSAL_BITS) - 1


def sql_series(run_id: str = "run_id") -> str:
    """SQL for the series of a run, a number: proposal and data class; a loose run stands alone."""
    return f"CASE WHEN {run_id} >= {LOOSE} THEN {run_id} ELSE {run_id} >> {RUN_BITS} END"


def sql_home(run_id: str = "run_id") -> str:
    """SQL for what a shard stands for, a number: the proposal, or a loose run by itself."""
    return f"CASE WHEN {run_id} >= {LOOSE} THEN {run_id} ELSE {run_id} >> {PROPOSAL_BITS} END"


def _proposal_at(parts: tuple[str, ...], last: int) -> int | None:
    """The last place, up to one, where a proposal stands behind its cycle and instrument."""
    for at in range(last, 1, -1):
        if _PROPOSAL.fullmatch(parts[at]) and _CYCLE.fullmatch(parts[at - 1]):
            return at
    return None


def _identify(path: str) -> RunIdentity | None:
    """The identity that one absolute path spells, or None.

    Knows ``.../INST/CYCLE/pNNNNNN/CLASS.../rNNNN`` (the facility tree) and
    ``.../CLASS/INST/CYCLE/pNNNNNN/rNNNN`` (what its links point to).
    """
    parts = PurePosixPath(path).parts
    at = _proposal_at(parts, len(parts) - 2)
    run = _RUN.fullmatch(parts[-1]) if parts else None
    if at is None or run is None or int(run[1]) >= 1 << RUN_BITS:
        return None
    instrument, cycle, proposal, *folders = parts[at - 2 : -1]
    if not folders:  # storage layout: the class stands before the instrument
        if at < 3 or parts[at - 3] not in _KNOWN_CLASSES:
            return None
        folders = [parts[at - 3]]
    return RunIdentity(int(proposal[1:]), int(run[1]), "/".join(folders), instrument, cycle)


def identify_run(path: str, realpath: str) -> RunIdentity:
    """Who the run in a directory is.

    ``path`` is absolute, as the user gave it; ``realpath`` is the same with links resolved. The
    first of the two that follows the layout decides; where neither does, the run is loose.
    """
    return _identify(path) or _identify(realpath) or RunIdentity(loose_path=realpath)


def proposal_directory(path: str) -> str | None:
    """The proposal's directory in the path of a run in a facility tree; None where it has none."""
    parts = PurePosixPath(path).parts
    at = _proposal_at(parts, len(parts) - 3)
    return None if at is None else str(PurePosixPath(*parts[: at + 1]))


def parse_proposal(proposal: SupportsIndex | str) -> int | None:
    """2012 for 2012, ``'2012'`` and ``'p002012'``; None for what is no proposal number."""
    text = str(proposal)
    digits = text[1:] if text.startswith("p") else text
    return int(digits) if digits.isdecimal() and int(digits) < 10**6 else None


_RUN_NAME = re.compile(
    r"p?(?P<proposal>\d{1,6})[/ ]\s*(?:(?P<data_class>[A-Za-z]\w*)[/ ]\s*)?r?(?P<run>\d{1,6})/?"
)


def parse_run_name(text: str) -> tuple[int, str, int] | None:
    """Proposal, data class and run of ``"p002012/proc/r0034"``, or ``"2012/34"`` (raw).

    None for what is no name of a run.
    """
    m = _RUN_NAME.fullmatch(text)
    return m and (int(m["proposal"]), m["data_class"] or "raw", int(m["run"]))


def parse_run(run: SupportsIndex | str) -> int | None:
    """243 for 243, ``'243'`` and ``'r0243'``; None for what is no run number."""
    text = str(run)
    digits = text[1:] if text.startswith("r") else text
    return int(digits) if digits.isdecimal() and int(digits) < 1 << RUN_BITS else None
