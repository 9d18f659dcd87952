"""Facts of the run as a whole: METADATA, times of trains, RUN values, and whether it is one run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import MultiRunError, PropertyNameError
from ...catalog.model.identity import identify_run
from ...catalog.model.names import (
    LEGACY_VERSION,
    is_timestamp,
    key_spellings,
    recorded_run,
    short_key,
)
from ...catalog.model.records import RunValue
from .rows import FileRef
from .sources import SourceEntry
from .trains import TrainSet

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "collect_timestamps",
    "device_class",
    "is_single_run",
    "label_timestamps",
    "list_datetimes",
    "read_run_value",
    "run_metadata",
    "run_values",
]

LOCAL_ZONE = "Europe/Berlin"


def is_single_run(refs: Sequence[FileRef]) -> bool:
    """Whether all files are of one run, be it as raw and as processed data."""
    runs = {r.facts.run_key: r for r in refs}
    if len(runs) < 2:
        return True
    placed = [identify_run(r.facts.directory, r.facts.directory) for r in runs.values()]
    if not any(p.is_loose for p in placed):
        return len({(p.proposal, p.run) for p in placed}) == 1
    # Outside a facility tree only METADATA has the numbers, and not before version 1.0.
    names = {recorded_run(r.facts.metadata(r.number)) for r in runs.values()}
    return len(names) == 1 and None not in next(iter(names))


def run_metadata(refs: Sequence[FileRef], question: str = "run_metadata()") -> dict[str, Any]:
    """METADATA of the file with the lowest aggregator and sequence; {} without files."""
    if not is_single_run(refs):
        raise MultiRunError(question)
    if not refs:
        return {}
    ref = min(refs, key=lambda r: (r.data_file.aggregator, r.data_file.sequence, r.path))
    return {"dataFormatVersion": LEGACY_VERSION, **ref.facts.metadata(ref.number)}


def collect_timestamps(refs: Sequence[FileRef], trains: TrainSet) -> NDArray[np.datetime64]:
    """Time of each train, (n,) datetime64[ns] in UTC; NaT where no file has it."""
    times = np.full(len(trains), np.datetime64("NaT"), "datetime64[ns]")
    missing = trains
    for ref in refs:
        if not missing.firsts.size:
            break
        if not ref.trains.overlaps(missing):
            continue
        recorded = ref.facts.timestamps(ref.number)
        if recorded is None:
            continue
        ids = ref.listed.ids[: len(recorded)]
        wanted = missing.contains(ids)
        if ref.good_only:
            wanted &= ref.listed.good[: ids.size]
        # In reverse, so that of a train that is listed twice the first time stays.
        ids, recorded = ids[wanted][::-1], recorded[: len(ids)][wanted][::-1]
        times[trains.positions(ids)] = recorded.astype("datetime64[ns]")
        missing = missing - TrainSet.from_ids(ids)
    return times


def label_timestamps(times: NDArray[np.datetime64], trains: TrainSet, local: bool) -> Any:
    """The times as a pandas Series labelled with train IDs, in UTC or local time."""
    import pandas as pd

    series = pd.Series(times, index=trains.ids).dt.tz_localize("UTC")
    return series.dt.tz_convert(LOCAL_ZONE) if local else series


def list_datetimes(times: NDArray[np.datetime64], local: bool) -> list["datetime | None"]:
    """The times as datetime objects, truncated to microseconds; None for NaT."""
    from datetime import UTC, datetime, timedelta
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(LOCAL_ZONE) if local else UTC
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    unknown = np.isnat(times).tolist()
    microseconds = (times.astype(np.int64) // 1000).tolist()
    return [
        None if skip else (epoch + timedelta(microseconds=us)).astimezone(zone)
        for us, skip in zip(microseconds, unknown, strict=True)
    ]


def run_values(
    entry: SourceEntry, *, inc_timestamps: bool = True, allow_multi_run: bool = False
) -> dict[str, RunValue]:
    """RUN of a source by key; without timestamps, keys are spelt without ``.value``.

    Raises
    ------
    ValueError
        The source is no control source: RUN says nothing about it.
    MultiRunError
        The source is there from several runs.
    """
    if entry.section != "CONTROL":
        raise ValueError(f"{entry.name!r} is no control source: it has no RUN values")
    if not allow_multi_run and not is_single_run(entry.refs):
        raise MultiRunError("a RUN value")
    stored = _stored_values(entry)
    if inc_timestamps:
        return dict(stored)
    return {short_key(k): v for k, v in stored.items() if not is_timestamp(k)}


def _stored_values(entry: SourceEntry) -> Mapping[str, RunValue]:
    for facts in dict.fromkeys(r.facts for r in entry.refs):
        values = facts.run_values(entry.real_name)
        if values:
            return values
    return {}


def read_run_value(entry: SourceEntry, key: str, *, allow_multi_run: bool = False) -> RunValue:
    """The RUN value of one key, which may be spelt without ``.value``."""
    values = run_values(entry, allow_multi_run=allow_multi_run)
    for name in key_spellings(key, entry.section):
        if name in values:
            return values[name]
    raise PropertyNameError(key, entry.name, set(map(short_key, values)))


def device_class(entry: SourceEntry) -> str | None:
    """The Karabo class of a control source's device; None where unknown."""
    if entry.section != "CONTROL":
        return None
    name = _stored_values(entry).get("classId.value")
    return None if name is None else str(name)
