"""What does the catalog know of a run, all of it?

``load_run`` gives the ``RunRecord`` back that was put in, so that a run of which only some files
changed can be written again. Opening a run does not come here: see ``facts``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..layout import RunIdentity
from ..records import Depth, FileLayout, FileRecord, Problem, RunRecord, RunValue
from .encoding import from_text, from_utc
from .packed import fetch_packed
from .stored import (
    fetch_layouts,
    fetch_metadata,
    fetch_run_values,
    fetch_schemas,
    fetch_timestamps,
    integers,
    rows,
)

if TYPE_CHECKING:
    import duckdb

__all__ = ["fetch_identity", "fetch_problems", "load_run"]

# Of a file, these are the store's own findings: no scan reports them.
_OWN_CHECKS = ("C01", "C02")


def fetch_identity(
    cursor: "duckdb.DuckDBPyConnection", run_id: int
) -> tuple[RunIdentity, str, str] | None:
    """Who a run is, its directory and that resolved; None where the shard does not have it."""
    found = rows(
        cursor,
        "SELECT proposal, run, data_class, instrument, cycle, loose_path, directory, realpath"
        f" FROM run WHERE run_id = {run_id:d}",
    )
    if not found:
        return None
    proposal, run, *texts = found[0]
    data_class, instrument, cycle, loose, directory, realpath = (from_text(t or "") for t in texts)
    if loose:
        identity = RunIdentity(instrument=instrument, cycle=cycle, loose_path=loose)
    else:
        identity = RunIdentity(proposal, run, data_class, instrument, cycle)
    return identity, directory, realpath


def fetch_problems(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, directory: str
) -> dict[str | None, list[Problem]]:
    """What scans found wrong and still is, by file name; under None what concerns the whole run."""
    found: dict[str | None, list[Problem]] = {}
    for name, check, severity, message, place, path in rows(
        cursor,
        "SELECT name, check_id, severity, message, place, path FROM finding"
        f" WHERE run_id = {run_id:d} AND resolved_at IS NULL",
    ):
        if name is not None and check in _OWN_CHECKS:
            continue
        file = None if name is None else from_text(name)
        own_path = directory if file is None else f"{directory}/{file}"
        where = own_path if path is None else from_text(path)
        found.setdefault(file, []).append(
            Problem(check, severity, from_text(message), where, from_text(place))
        )
    return found


def load_run(cursor: "duckdb.DuckDBPyConnection", run_id: int) -> RunRecord | None:
    """The record of a run, as it was last put in; None where the shard does not have it.

    RUN of a source that several files carried is given back with the first of them.
    """
    found = fetch_identity(cursor, run_id)
    if found is None:
        return None
    identity, directory, realpath = found
    problems = fetch_problems(cursor, run_id, directory)
    of_run = f"WHERE run_id = {run_id:d}"
    locations = rows(cursor, f"SELECT path FROM run_location {of_run} ORDER BY position")
    ingested_at = rows(cursor, f"SELECT ingested_at FROM run {of_run}")[0][0]
    return RunRecord(
        identity=identity,
        directory=directory,
        realpath=realpath,
        files=_load_files(cursor, run_id, problems),
        ingested_at=from_utc(ingested_at),
        locations=tuple(from_text(path) for (path,) in locations),
        problems=tuple(problems.get(None, ())),
    )


def _load_files(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, problems: Mapping[str | None, list[Problem]]
) -> tuple[FileRecord, ...]:
    found = rows(
        cursor,
        "SELECT ordinal, name, size, mtime_ns, depth, scanned_at, verified, aggregator, sequence,"
        " format_version, locality, retry, missing_since, train_list, timestamps, layout_id,"
        f" run_sources FROM file WHERE run_id = {run_id:d} ORDER BY ordinal",
    )
    packed = fetch_packed(cursor, run_id)
    if packed is None:
        return ()
    patterns = packed.patterns.by_number()
    times = fetch_timestamps(cursor, run_id)
    layouts = _load_layouts(cursor, {row[15] for row in found})
    values = _load_values(cursor, run_id, {s for row in found for s in row[16]})
    metadata = _load_metadata(cursor, run_id, len(found))
    return tuple(
        FileRecord(
            **_about(name, *about),
            trains=packed.trains[train_list],
            timestamps=None if timestamps is None else times[timestamps],
            layout=layouts[layout],
            patterns=tuple(patterns[p] for p in packed.patterns.numbers(ordinal)),
            metadata=metadata[ordinal],
            run_values=dict(values[source] for source in run_sources),
            problems=tuple(problems.get(from_text(name), ())),
        )
        for ordinal, name, *about, train_list, timestamps, layout, run_sources in found
    )


def _about(
    name: str,
    size: int,
    mtime_ns: int,
    depth: int,
    scanned_at: datetime,
    verified: bool,
    aggregator: str,
    sequence: int,
    version: str,
    locality: str,
    retry: bool,
    missing_since: datetime | None,
) -> dict[str, Any]:
    """The fields of a file that are in its row."""
    return {
        "name": from_text(name),
        "size": size,
        "mtime_ns": mtime_ns,
        "depth": Depth(depth),
        "scanned_at": from_utc(scanned_at),
        "verified": verified,
        "aggregator": aggregator,
        "sequence": sequence,
        "format_version": from_text(version),
        "locality": locality,
        "retry": retry,
        "missing_since": missing_since and from_utc(missing_since),
    }


def _load_values(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, sources: set[int]
) -> dict[int, tuple[str, Mapping[str, RunValue]]]:
    """Name and RUN of each source by its id; RUN may be empty."""
    values = fetch_run_values(cursor, run_id)
    names = rows(
        cursor, f"SELECT source_id, name FROM source WHERE source_id IN {integers(sources)}"
    )
    return {source: (from_text(name), values.get(source, {})) for source, name in names}


def _load_metadata(
    cursor: "duckdb.DuckDBPyConnection", run_id: int, n_files: int
) -> list[dict[str, str | int]]:
    metadata: list[dict[str, str | int]] = [{} for _ in range(n_files)]
    for name, value, first, last in fetch_metadata(cursor, run_id):
        for entries in metadata[first : last + 1]:
            entries[name] = value
    return metadata


def _load_layouts(cursor: "duckdb.DuckDBPyConnection", ids: set[int]) -> dict[int, FileLayout]:
    stored = fetch_layouts(cursor, ids)
    wanted = {s for layout in stored.values() for s in layout.schema_ids if s is not None}
    schemas = fetch_schemas(cursor, wanted)
    return {
        number: FileLayout(
            layout.sources, tuple(None if s is None else schemas[s] for s in layout.schema_ids)
        )
        for number, layout in stored.items()
    }
