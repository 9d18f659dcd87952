"""The table of all checks, their severities and their limits.

Plain data: the scan, the audits, their documentation and their report take IDs, titles and
severities from ``CHECKS``, and the numbers that decide from ``Limits``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from .errors import QueryError, nearest

Level = Literal["S", "H", "catalog", "D"]
Severity = Literal["E", "W", "I"]
Origin = Literal["scan", "audit", "deep"]

LEVELS: Mapping[Level, str] = {
    "S": "names, sizes and times of files, and what the catalog has of them",
    "H": "the structure of HDF5 files, as the scan saw it",
    "catalog": "comparison of a run with other runs",
    "D": "data read from the files, sampled, only on request",
}
# The worst first: this order ranks findings wherever they are sorted.
SEVERITIES: Mapping[str, str] = {"E": "error", "W": "warning", "I": "information"}
# For counts and headings: "information" has no plural.
COUNTED_SEVERITIES: Mapping[str, str] = {**SEVERITIES, "I": "info"}


def severity_rank(severity: str) -> int:
    """Position of a severity in ``SEVERITIES``: 0 for errors, the worst."""
    return list(SEVERITIES).index(severity)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of files, runs or the catalog."""

    id: str
    """A letter for the group and two digits, such as ``F05``."""
    title: str
    """What is wrong, in a few words."""
    level: Level
    """What the check needs; see ``LEVELS``."""
    severity: Severity
    """How bad a finding is as a rule; a single finding may have another severity."""
    origin: Origin
    """Who runs the check: the scan at ingest, an audit of the catalog, or one that reads data."""
    meaning: str
    """What a finding implies for the data."""
    remedy: str
    """What to do about it."""


_CHECKS = (
    # Files
    Check(
        "F01", "file is empty or cut off", "H", "E", "scan",
        "The file has no bytes, or fewer than its superblock says: its writer died or a copy broke"
        " off.",
        "Copy the file again from where it came from; if it is like this at the source, its data"
        " are lost.",
    ),
    Check(
        "F02", "not readable as HDF5", "H", "E", "scan",
        "The file is not HDF5, is damaged, or was left open by its writer.",
        "Compare its checksum with the original; `h5clear -s` helps where a writer left it open.",
    ),
    Check(
        "F03", "METADATA, INDEX or trainId missing", "H", "E", "scan",
        "Without the source list or the train IDs nothing in the file can be found by source and"
        " train.",
        "Ask the data acquisition group whether the file can be written again.",
    ),
    Check(
        "F04", "format version missing or unknown", "H", "I", "scan",
        "The file is of format 0.5 or older, or of a format that this version does not know.",
        "Nothing for old files; for an unknown version update xfelcat.",
    ),
    Check(
        "F05", "file name, METADATA and path disagree", "H", "E", "scan",
        "Proposal, run or sequence number are not the same in all three: the file is in the wrong"
        " place or was renamed.",
        "Find out where the file belongs and move it there; waive the finding for files that were"
        " copied on purpose.",
    ),
    Check(
        "F06", "file cannot be read now", "S", "W", "scan",
        "Permission, a time-out, or tape: the file may be in order, but nobody can use it now.",
        "Correct the permission, or bring the file back from tape, and ingest again.",
    ),
    Check(
        "F07", "unknown section in the source list", "H", "W", "scan",
        "The file lists sources of a section that the format does not have; they are not read.",
        "Report it to the data acquisition group.",
    ),
    Check(
        "F08", "unknown top-level group", "H", "I", "scan",
        "The file has a group that the format does not have; it is not read.",
        "Nothing, unless something is missing in turn.",
    ),
    # Trains
    Check(
        "T01", "zeros inside trainId", "H", "E", "scan",
        "Zeros are padding and belong at the end; inside they shift every index array for a reader"
        " that drops them.",
        "xfelcat keeps rows aligned; for other readers the file must be written again.",
    ),
    Check(
        "T02", "train IDs do not increase", "H", "E", "scan",
        "A train ID is smaller than the one before it, or is in the file twice.",
        "Look at INDEX/origin for the device that sent it; leave the suspect trains out.",
    ),
    Check(
        "T03", "implausible train ID", "H", "E", "scan",
        "A train ID is 2^63 or more, or months away from its neighbours.",
        "Leave the suspect trains out; report the device that sent it.",
    ),
    Check(
        "T04", "many suspect trains", "H", "W", "audit",
        "The file flags a larger share of its trains as suspect than the limit.",
        "Check the timing of the source of train IDs; open the run with suspect trains if they are"
        " needed.",
    ),
    Check(
        "T05", "times do not fit the train IDs", "H", "W", "scan",
        "Trains come every 100 ms; the times recorded for them say something else.",
        "Do not rely on INDEX/timestamp of this file.",
    ),
    Check(
        "T06", "gaps in the trains of a run", "H", "I", "audit",
        "Trains between the first and the last of the run are in none of its files.",
        "Nothing as a rule; a large share lost points to a data acquisition in trouble.",
    ),
    # Index and data
    Check(
        "I01", "index beyond the data", "H", "E", "scan",
        "The index names rows that the dataset does not have.",
        "The last trains of the source cannot be read; the file was cut off or written wrongly.",
    ),
    Check(
        "I02", "index missing or malformed", "H", "E", "scan",
        "first and count are absent, not one-dimensional, or of different or wrong length.",
        "Data of this source cannot be assigned to trains; the file must be written again.",
    ),
    Check(
        "I03", "index with gaps or overlaps", "H", "W", "scan",
        "The rows of one train do not follow those of the train before.",
        "xfelcat reads by the index and is right; a reader that takes rows as contiguous is not.",
    ),
    Check(
        "I04", "unusual number of control rows", "H", "E", "scan",
        "Control data have one row per train: more is an error, none a warning (the device gave"
        " nothing).",
        "Check the device; select trains with `require_all` to leave the empty ones out.",
    ),
    Check(
        "I05", "index and dataset disagree on whether there are data", "H", "E", "scan",
        "The index names rows of an empty dataset, or none of one that has rows.",
        "The file must be written again.",
    ),
    Check(
        "I06", "keys of a group differ in length", "H", "E", "scan",
        "All keys of an index group have the same number of rows; here one has more or fewer.",
        "Do not use the longer or shorter key beyond the common length.",
    ),
    Check(
        "I07", "source list and data disagree", "H", "W", "scan",
        "A source is listed without data, or has data without being listed.",
        "Report it to the data acquisition group.",
    ),
    Check(
        "I08", "source without keys", "H", "W", "scan",
        "The group of the source holds no dataset.",
        "Check the configuration of the data acquisition.",
    ),
    # Runs
    Check(
        "R01", "sequence file missing", "S", "E", "audit",
        "The sequence numbers of an aggregator do not count up from 0 without a gap.",
        "Look for the file where the run was copied from.",
    ),
    Check(
        "R02", "train in two files of a source", "H", "E", "audit",
        "The same train of the same source is in several files, so that reading it is ambiguous.",
        "Open the run with `inc_suspect_trains=False`, or leave one of the files out.",
    ),
    Check(
        "R03", "sequences overlap, are out of order or lose trains", "H", "E", "audit",
        "The trains of one sequence file do not follow those of the sequence before.",
        "Check whether the files belong to one run; trains lost at a break are lost.",
    ),
    Check(
        "R04", "aggregator ends early", "H", "W", "audit",
        "One aggregator stopped much earlier than the others of the run.",
        "Use the trains that all have; report it to the data acquisition group.",
    ),
    Check(
        "R05", "source not in all sequences, or in two aggregators", "H", "W", "audit",
        "A source is absent from some sequence files of its aggregator, or is written by several"
        " aggregators.",
        "Nothing if the device was added on purpose; else check the data acquisition.",
    ),
    Check(
        "R06", "detector modules missing or uneven", "H", "W", "audit",
        "Modules of one detector are missing, or differ in trains or frames.",
        "Use the detector's trains with a minimum of modules; report the module.",
    ),
    Check(
        "R07", "keys of a source change within a run", "H", "E", "scan",
        "The keys, their types or shapes are not the same in all sequence files of a source.",
        "Read the sequences separately: no one array can hold the key.",
    ),
    Check(
        "R08", "RUN values change within a run", "H", "W", "scan",
        "RUN is the state at the start of the run; here sequence files say different things.",
        "Take the value of the first sequence; check when the device was restarted.",
    ),
    Check(
        "R09", "trains lost by the data acquisition", "H", "W", "audit",
        "ERRATA records trains that came too late to be written.",
        "Expect gaps in the sources named; report it if it happens often.",
    ),
    # Corrected data
    Check(
        "P01", "raw run without proc", "S", "W", "audit",
        "The run has detector data and is older than the limit, but no corrected data exist.",
        "Request the correction, or waive the run if it needs none.",
    ),
    Check(
        "P02", "corrected data incomplete", "H", "E", "audit",
        "A module is in raw but not in proc, or has fewer trains or frames there.",
        "Request the correction again.",
    ),
    Check(
        "P03", "old source name leads nowhere", "H", "W", "scan",
        "A link from an old source name points to a group that is not there.",
        "Use the new name, if its data exist; report the file.",
    ),
    # Runs against other runs
    Check(
        "X01", "source missing that the runs before had", "catalog", "W", "audit",
        "Most of the last runs of the proposal have the source; this one does not.",
        "Nothing if it was switched off on purpose; else check the device and the run's source"
        " selection.",
    ),
    Check(
        "X02", "key changes its type, shape or unit", "catalog", "W", "audit",
        "The key has another dtype, entry shape or unit than in the run before of this proposal.",
        "Do not put these runs together in one array without conversion.",
    ),
    Check(
        "X03", "source renamed", "catalog", "I", "audit",
        "A source is gone, and one with a similar name and the same keys has come.",
        "Add an alias to the proposal, so that both names are found.",
    ),
    Check(
        "X04", "trains or times of runs overlap", "catalog", "W", "audit",
        "Two runs of an instrument claim the same trains, or train ID and time disagree between"
        " them.",
        "Check whether one is a copy, and which device sent the train IDs.",
    ),
    # Catalog and disk
    Check(
        "C01", "catalog and disk disagree on which files there are", "S", "E", "audit",
        "A catalogued file is not on disk (error), or a file on disk is not in the catalog"
        " (warning).",
        "Find out who removed the file, or run `xfelcat ingest` on the directory.",
    ),
    Check(
        "C02", "file changed since it was catalogued", "S", "E", "audit",
        "Size or time of modification are not what they were; raw data should never change. For"
        " information in proc and other folders, whose data are made anew.",
        "Compare with the archived copy; then `xfelcat ingest` to bring the catalog up to date.",
    ),
    Check(
        "C03", "JSON data map disagrees with the files", "S", "W", "scan",
        "The older cache of the run lists other files, sizes or trains than there are.",
        "Remove the JSON file; it is made again by the tools that use it.",
    ),
    # Data
    Check(
        "V01", "device stopped updating", "D", "W", "deep",
        "The control timestamps stop early while the value stays the same: the device died and its"
        " last value was repeated.",
        "Do not use the value after the last timestamp.",
    ),
    Check(
        "V02", "data do not decode", "D", "E", "deep",
        "A sampled chunk cannot be read: the disk or a copy damaged it.",
        "Copy the file again from where it came from.",
    ),
    Check(
        "V03", "ID columns disagree with the index", "D", "E", "deep",
        "trainId, pulseId or cellId beside the data are not what INDEX says.",
        "Do not match frames by these columns before the cause is known.",
    ),
    Check(
        "V04", "control timestamps zero or decreasing", "D", "W", "deep",
        "The times at which a device updated a value are zero inside, or go back.",
        "Match by train ID, not by these times.",
    ),
)  # fmt: skip
CHECKS: Mapping[str, Check] = {check.id: check for check in _CHECKS}


def choose_checks(
    only: Iterable[str] = (), skip: Iterable[str] = (), levels: Iterable[str] = ()
) -> tuple[Check, ...]:
    """The chosen checks in the order of the table; all of them without ``only`` and ``levels``.

    ``only`` and ``skip`` are IDs or their beginnings (``R`` for all checks of runs), in upper or
    lower case; ``levels`` are those of ``LEVELS``.

    Raises
    ------
    QueryError
        For an ID or a level that does not exist.
    """
    wanted, unwanted = _expand(only), _expand(skip)
    known = {level.lower(): level for level in LEVELS}
    of_level = set()
    for level in levels:
        if level.lower() not in known:
            raise QueryError(f"there is no level {level!r}; the levels are {', '.join(LEVELS)}")
        of_level.add(known[level.lower()])
    return tuple(
        check
        for check in CHECKS.values()
        if (not wanted or check.id in wanted)
        and check.id not in unwanted
        and (not of_level or check.level in of_level)
    )


def _expand(ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for text in ids:
        matching = {known for known in CHECKS if text and known.startswith(text.upper())}
        if not matching:
            message = f"there is no check {text!r}; `xfelcat audit --list` shows those there are"
            raise QueryError(message)
        found |= matching
    return found


# From where on something is a finding: the numbers that the checks of an audit go by.

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
