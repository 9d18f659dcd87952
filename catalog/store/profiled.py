"""Which keys of a run are profiled, and does their profile still hold?"""

from typing import TYPE_CHECKING

from .encoding import from_text
from .stored import rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["fresh_profiles"]


def fresh_profiles(cursor: "duckdb.DuckDBPyConnection", run_id: int) -> set[tuple[str, str]]:
    """(Source, key) of the profiles of a run that were made of its files as they are."""
    found = rows(
        cursor,
        "SELECT s.name, k.name FROM key_profile JOIN source AS s USING (source_id)"
        f" JOIN key AS k USING (key_id) WHERE run_id = {run_id:d} AND NOT stale",
    )
    return {(from_text(source), from_text(key)) for source, key in found}
