"""The table of all checks, their severities and their limits.

Plain data: the scan, the audits, their documentation and their report take IDs, titles and
severities from ``CHECKS``, and the numbers that decide from ``Limits``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, cast

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


# A check: ID, level, severity, origin and title; what a finding means; -> what to do about it.
# The letter of an ID is the group: files, trains, index and data, runs, processed (corrected) data,
# runs against others (X), catalog and disk, values.
_TABLE = """
F01 H E scan file is empty or cut off
    The file has no bytes, or fewer than its superblock says: its writer died or a copy broke off.
    -> Copy the file again from where it came from; if it is like this at the source, its data are
       lost.
F02 H E scan not readable as HDF5
    The file is not HDF5, is damaged, or was left open by its writer.
    -> Compare its checksum with the original; `h5clear -s` helps where a writer left it open.
F03 H E scan METADATA, INDEX or trainId missing
    Without the source list or the train IDs nothing in the file can be found by source and train.
    -> Ask the data acquisition group whether the file can be written again.
F04 H I scan format version missing or unknown
    The file is of format 0.5 or older, or of a format that this version does not know.
    -> Nothing for old files; for an unknown version update xfelcat.
F05 H E scan file name, METADATA and path disagree
    Proposal, run or sequence number are not the same in all three: the file is in the wrong place
    or was renamed.
    -> Find out where the file belongs and move it there; waive the finding for files that were
       copied on purpose.
F06 S W scan file cannot be read now
    Permission, a time-out, tape, or a filter that HDF5 lacks here: the file may be in order, but
    nobody can use it now.
    -> Correct the permission, bring the file back from tape, or import hdf5plugin, and try again.
F07 H W scan unknown section in the source list
    The file lists sources of a section that the format does not have; they are not read.
    -> Report it to the data acquisition group.
F08 H I scan unknown top-level group
    The file has a group that the format does not have; it is not read.
    -> Nothing, unless something is missing in turn.
T01 H E scan zeros inside trainId
    Zeros are padding and belong at the end; inside they shift every index array for a reader that
    drops them.
    -> xfelcat keeps rows aligned; for other readers the file must be written again.
T02 H E scan train IDs do not increase
    A train ID is smaller than the one before it, or is in the file twice.
    -> Look at INDEX/origin for the device that sent it; leave the suspect trains out.
T03 H E scan implausible train ID
    A train ID is 2^63 or more, or months away from its neighbours.
    -> Leave the suspect trains out; report the device that sent it.
T04 H W audit many suspect trains
    The file flags a larger share of its trains as suspect than the limit.
    -> Check the timing of the source of train IDs; open the run with suspect trains if they are
       needed.
T05 H W scan times do not fit the train IDs
    Trains come every 100 ms; the times recorded for them say something else.
    -> Do not rely on INDEX/timestamp of this file.
T06 H I audit gaps in the trains of a run
    Trains between the first and the last of the run are in none of its files.
    -> Nothing as a rule; a large share lost points to a data acquisition in trouble.
I01 H E scan index beyond the data
    The index names rows that the dataset does not have.
    -> The last trains of the source cannot be read; the file was cut off or written wrongly.
I02 H E scan index missing or malformed
    first and count are absent, not one-dimensional, or of different or wrong length.
    -> Data of this source cannot be assigned to trains; the file must be written again.
I03 H W scan index with gaps or overlaps
    The rows of one train do not follow those of the train before.
    -> xfelcat reads by the index and is right; a reader that takes rows as contiguous is not.
I04 H E scan unusual number of control rows
    Control data have one row per train: more is an error, none a warning (the device gave nothing).
    -> Check the device; select trains with `require_all` to leave the empty ones out.
I05 H E scan index and dataset disagree on whether there are data
    The index names rows of an empty dataset, or none of one that has rows.
    -> The file must be written again.
I06 H E scan keys of a group differ in length
    All keys of an index group have the same number of rows; here one has more or fewer.
    -> Do not use the longer or shorter key beyond the common length.
I07 H W scan source list and data disagree
    A source is listed without data, or has data without being listed.
    -> Report it to the data acquisition group.
I08 H W scan source without keys
    The group of the source holds no dataset.
    -> Check the configuration of the data acquisition.
R01 S E audit sequence file missing
    The sequence numbers of an aggregator do not count up from 0 without a gap.
    -> Look for the file where the run was copied from.
R02 H E audit train in two files of a source
    The same train of the same source is in several files, so that reading it is ambiguous.
    -> Open the run with `inc_suspect_trains=False`, or leave one of the files out.
R03 H E audit sequences overlap, are out of order or lose trains
    The trains of one sequence file do not follow those of the sequence before.
    -> Check whether the files belong to one run; trains lost at a break are lost.
R04 H W audit aggregator ends early
    One aggregator stopped much earlier than the others of the run.
    -> Use the trains that all have; report it to the data acquisition group.
R05 H W audit source not in all sequences, or in two aggregators
    A source is absent from some sequence files of its aggregator, or is written by several
    aggregators.
    -> Nothing if the device was added on purpose; else check the data acquisition.
R06 H W audit detector modules missing or uneven
    Modules of one detector are missing, or differ in trains or frames.
    -> Use the detector's trains with a minimum of modules; report the module.
R07 H E scan keys of a source change within a run
    The keys, their types or shapes are not the same in all sequence files of a source.
    -> Read the sequences separately: no one array can hold the key.
R08 H W scan RUN values change within a run
    RUN is the state at the start of the run; here sequence files say different things.
    -> Take the value of the first sequence; check when the device was restarted.
R09 H W audit trains lost by the data acquisition
    ERRATA records trains that came too late to be written.
    -> Expect gaps in the sources named; report it if it happens often.
P01 S W audit raw run without proc
    The run has detector data and is older than the limit, but no corrected data exist.
    -> Request the correction, or waive the run if it needs none.
P02 H E audit corrected data incomplete
    A module is in raw but not in proc, or has fewer trains or frames there.
    -> Request the correction again.
P03 H W scan old source name leads nowhere
    A link from an old source name points to a group that is not there.
    -> Use the new name, if its data exist; report the file.
X01 catalog W audit source missing that the runs before had
    Most of the last runs of the proposal have the source; this one does not.
    -> Nothing if it was switched off on purpose; else check the device and the run's source
       selection.
X02 catalog W audit key changes its type, shape or unit
    The key has another dtype, entry shape or unit than in the run before of this proposal.
    -> Do not put these runs together in one array without conversion.
X03 catalog I audit source renamed
    A source is gone, and one with a similar name and the same keys has come.
    -> Add an alias to the proposal, so that both names are found.
X04 catalog W audit trains or times of runs overlap
    Two runs of an instrument claim the same trains, or train ID and time disagree between them.
    -> Check whether one is a copy, and which device sent the train IDs.
C01 S E audit catalog and disk disagree on which files there are
    A catalogued file is not on disk (error), or a file on disk is not in the catalog (warning).
    -> Find out who removed the file, or run `xfelcat ingest` on the directory.
C02 S E audit file changed since it was catalogued
    Size or time of modification are not what they were; raw data should never change. For
    information in proc and other folders, whose data are made anew.
    -> Compare with the archived copy; then `xfelcat ingest` to bring the catalog up to date.
C03 S W scan JSON data map disagrees with the files
    The older cache of the run lists other files, sizes or trains than there are.
    -> Remove the JSON file; it is made again by the tools that use it.
V01 D W deep device stopped updating
    The control timestamps stop early while the value stays the same: the device died and its last
    value was repeated.
    -> Do not use the value after the last timestamp.
V02 D E deep data do not decode
    A sampled chunk cannot be read: the disk or a copy damaged it.
    -> Copy the file again from where it came from.
V03 D E deep ID columns disagree with the index
    trainId, pulseId or cellId beside the data are not what INDEX says.
    -> Do not match frames by these columns before the cause is known.
V04 D W deep control timestamps zero or decreasing
    The times at which a device updated a value are zero inside, or go back.
    -> Match by train ID, not by these times.
"""


def _parse(table: str) -> Iterator[Check]:
    for text in re.split(r"\n(?=\S)", table.strip()):
        head, _, texts = text.partition("\n")
        identifier, level, severity, origin, title = head.split(maxsplit=4)
        meaning, remedy = " ".join(texts.split()).split(" -> ")
        of = (cast(Level, level), cast(Severity, severity), cast(Origin, origin))
        yield Check(identifier, title, *of, meaning, remedy)


CHECKS: Mapping[str, Check] = {check.id: check for check in _parse(_TABLE)}


def choose_checks(
    only: Iterable[str] = (), skip: Iterable[str] = (), levels: Iterable[str] = ()
) -> tuple[Check, ...]:
    """The chosen checks in the order of the table; all of them without ``only`` and ``levels``.

    ``only`` and ``skip`` are IDs or their beginnings (``R`` for all checks of runs), in upper or
    lower case; ``levels`` are those of ``LEVELS``. Raises QueryError for what does not exist.
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
    """Limits of the checks; shares are of 1."""

    suspect_share: float = 0.1
    """T04: the share of suspect trains in a file above which it is reported."""
    early_share: float = 0.1
    """R04: an aggregator ends early if it stops more than this share of the run's trains before
    most others,"""
    early_trains: int = 50
    """R04: and more than this many trains."""
    detector_sizes: Mapping[str, int] = field(default_factory=lambda: dict(_DETECTOR_SIZES))
    """R06: modules of a detector, by a part of its name; of others only gaps in the numbers
    count."""
    processing_days: float = 14.0
    """P01: how many days after its last train a run with detector data should be corrected."""
    neighbours: int = 5
    """X01, X03: with how many runs before it, of its proposal and data class, a run is compared."""
    of_neighbours: int = 4
    """X01, X03: a source that was in so many of them is missed."""
    similarity: float = 0.9
    """X03: how similar (Jaro-Winkler) two names are that may be the same source."""
    clock_seconds: float = 60.0
    """X04: by how many seconds the times of two runs may differ from what their train IDs say,"""
    clock_share: float = 0.01
    """X04: or by what share of the time between them, if that is more;"""
    clock_hours: float = 24.0
    """X04: of runs that are no further apart than this."""
    settling_minutes: float = 60.0
    """C01: how old a file must be to be missed in the catalog."""

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
