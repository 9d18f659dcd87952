"""What do the checks in SQL find in a run that is in no catalog?

The record of the run is put into a database in memory, which is a catalog of this one run, and the
statements of the audits are asked there: there is one of each check.
"""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..ingest.assemble import utc_now
from ..questions.run_filter import ALL_RUNS
from ..records import Problem, RunRecord
from ..store.connections import connect_memory
from ..store.creation import create_schema
from ..store.encoding import from_text
from ..store.shard_writer import ShardWriter
from .catalog_checks import choose_runs, execute, find_faults
from .limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import duckdb

__all__ = ["OF_A_FILE", "OF_A_RUN", "check_record"]

OF_A_FILE = ("T04", "T06", "R09")
OF_A_RUN = (*OF_A_FILE, "R01", "R02", "R03", "R04", "R05", "R06")

_FOUND = "SELECT check_id, severity, message, name, place, path FROM found ORDER BY ALL"


def check_record(
    record: RunRecord, ids: Collection[str], limits: Limits = DEFAULT_LIMITS
) -> list[Problem]:
    """What the checks of these IDs find; they are of ``OF_A_RUN``."""
    found: list[Problem] = []
    shard = record.identity.shard

    def fill(connection: "duckdb.DuckDBPyConnection") -> None:
        create_schema(connection, "shard", shard)
        writer = ShardWriter(connection, shard, record.directory)
        writer.replace_run(record)
        writer.finish()
        choose_runs(connection, ALL_RUNS, [record.identity.run_id])
        find_faults(connection, ids, limits, utc_now().replace(tzinfo=None))
        for check, severity, message, name, place, path in execute(connection, _FOUND):
            at = path or (os.path.join(record.directory, from_text(name)) if name else None)
            where = place or ""
            found.append(Problem(check, severity, message, at or record.directory, where))

    if set(ids) & set(OF_A_RUN):
        connect_memory(fill).close()
    return found
