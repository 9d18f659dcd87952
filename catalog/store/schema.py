"""What are the tables and views of a catalog file, in SQLAlchemy's words?

The same as schema.sql, where each is explained; a test holds the two, and what the migrations make,
equal. ``TABLES`` are internal, ``VIEWS`` are what questions are composed from. No keys and no
indexes: see schema.sql.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

__all__ = ["TABLES", "TINYINT", "UBIGINT", "VIEWS"]


class UBIGINT(UserDefinedType[int]):
    """DuckDB's unsigned 64-bit integer: run and train IDs."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """The type in DDL."""
        return "UBIGINT"


class TINYINT(UserDefinedType[int]):
    """DuckDB's 8-bit integer."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """The type in DDL."""
        return "TINYINT"


TABLES = MetaData()
VIEWS = MetaData()

ColumnType = type[TypeEngine[Any]] | TypeEngine[Any]


def _columns(**types: ColumnType) -> list[Column[Any]]:
    return [Column(name, kind) for name, kind in types.items()]


alembic_version = Table("alembic_version", TABLES, Column("version_num", String, nullable=False))

catalog_info = Table(
    "catalog_info",
    TABLES,
    *_columns(kind=String, name=String, schema_version=Integer, xfelcat_version=String),
    *_columns(created_at=DateTime),
)

merged_shard = Table(
    "merged_shard",
    TABLES,
    *_columns(name=String, version=String),
)

run = Table(
    "run",
    TABLES,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, instrument=String),
    *_columns(cycle=String, loose_path=String, directory=String, realpath=String, n_files=Integer),
    *_columns(n_files_full=Integer, n_files_unread=Integer, n_files_missing=Integer),
    *_columns(bytes=BigInteger, n_trains=BigInteger, n_suspect_trains=BigInteger),
    *_columns(first_train=UBIGINT, last_train=UBIGINT, started_at=DateTime, ended_at=DateTime),
    *_columns(newest_mtime=DateTime, depth=TINYINT, format_version=String),
    *_columns(recorded_proposal=BigInteger, recorded_run=BigInteger, ingested_at=DateTime),
)

run_location = Table(
    "run_location",
    TABLES,
    *_columns(run_id=UBIGINT, position=Integer, path=String, seen_at=DateTime),
)

file = Table(
    "file",
    TABLES,
    *_columns(run_id=UBIGINT, ordinal=Integer, name=String, size=BigInteger, mtime_ns=BigInteger),
    *_columns(depth=TINYINT, verified=Boolean, aggregator=String, sequence=BigInteger),
    *_columns(format_version=String, locality=String, retry=Boolean, scanned_at=DateTime),
    *_columns(missing_since=DateTime, train_list=Integer, timestamps=Integer, layout_id=Integer),
    *_columns(run_sources=ARRAY(Integer)),
)

run_packed = Table(
    "run_packed",
    TABLES,
    *_columns(run_id=UBIGINT, files=LargeBinary, trains=LargeBinary, slots=LargeBinary),
    *_columns(patterns=LargeBinary),
)

file_history = Table(
    "file_history",
    TABLES,
    *_columns(run_id=UBIGINT, name=String, size=BigInteger, mtime_ns=BigInteger),
    *_columns(scanned_at=DateTime, replaced_at=DateTime),
)

file_metadata = Table(
    "file_metadata",
    TABLES,
    *_columns(run_id=UBIGINT, name=String, value=String, is_number=Boolean, first_file=Integer),
    *_columns(last_file=Integer),
)

train_list = Table(
    "train_list",
    TABLES,
    *_columns(run_id=UBIGINT, ordinal=Integer, starts=ARRAY(UBIGINT), lengths=ARRAY(BigInteger)),
    *_columns(suspect=ARRAY(BigInteger), dropped=ARRAY(BigInteger)),
)

timestamps = Table(
    "timestamps",
    TABLES,
    *_columns(run_id=UBIGINT, ordinal=Integer, first=UBIGINT, deltas=LargeBinary),
)

source = Table(
    "source",
    TABLES,
    *_columns(source_id=Integer, name=String),
)

key = Table(
    "key",
    TABLES,
    *_columns(key_id=Integer, name=String),
)

key_schema = Table(
    "key_schema",
    TABLES,
    *_columns(schema_id=Integer, digest=String, n_keys=Integer, packed=LargeBinary),
)

schema_key = Table(
    "schema_key",
    TABLES,
    *_columns(schema_id=Integer, position=Integer, key_id=Integer, index_group=String),
    *_columns(dtype=String, entry_shape=ARRAY(BigInteger), unit_symbol=String, unit_name=String),
    *_columns(prefix_symbol=String, prefix_name=String),
)

layout = Table(
    "layout",
    TABLES,
    *_columns(layout_id=Integer, digest=String, n_sources=Integer),
)

layout_source = Table(
    "layout_source",
    TABLES,
    *_columns(layout_id=Integer, position=Integer, section=String, source_id=Integer),
    *_columns(index_groups=ARRAY(String), legacy_of=Integer, run_only=Boolean, schema_id=Integer),
)

run_source = Table(
    "run_source",
    TABLES,
    *_columns(run_id=UBIGINT, section=String, source_id=Integer, index_group=String),
    *_columns(schema_id=Integer, legacy_of=Integer, run_only=Boolean, n_files=Integer),
    *_columns(n_trains=BigInteger, n_entries=BigInteger),
)

run_value = Table(
    "run_value",
    TABLES,
    *_columns(first_run=UBIGINT, last_run=UBIGINT, source_id=Integer, key_id=Integer),
    *_columns(dtype=String, number=Double, text=String, raw=LargeBinary, shape=ARRAY(BigInteger)),
)

key_profile = Table(
    "key_profile",
    TABLES,
    *_columns(run_id=UBIGINT, source_id=Integer, key_id=Integer, n_entries=BigInteger),
    *_columns(n_nan=BigInteger, minimum=Double, maximum=Double, mean=Double, std=Double),
    *_columns(first=Double, last=Double, first_text=String, last_text=String),
    *_columns(n_changes=BigInteger, profiled_at=DateTime, stale=Boolean),
)

finding = Table(
    "finding",
    TABLES,
    *_columns(run_id=UBIGINT, name=String, check_id=String, severity=String, message=String),
    *_columns(place=String, path=String, first_seen=DateTime, last_seen=DateTime),
    *_columns(resolved_at=DateTime, origin=String),
)

audit = Table(
    "audit",
    TABLES,
    *_columns(audit_id=Integer, started_at=DateTime, seconds=Double, scope=String),
    *_columns(checks=ARRAY(String), n_runs=BigInteger, n_files=BigInteger, n_errors=BigInteger),
    *_columns(n_warnings=BigInteger, n_infos=BigInteger, n_new=BigInteger, n_resolved=BigInteger),
    *_columns(xfelcat_version=String),
)

runs_view = Table(
    "runs",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, instrument=String),
    *_columns(cycle=String, path=String, realpath=String, depth=String, files=Integer),
    *_columns(files_missing=Integer, files_unread=Integer, bytes=BigInteger, trains=BigInteger),
    *_columns(suspect_trains=BigInteger, first_train=UBIGINT, last_train=UBIGINT),
    *_columns(started_at=DateTime, ended_at=DateTime, newest_mtime=DateTime),
    *_columns(format_version=String, recorded_proposal=BigInteger, recorded_run=BigInteger),
    *_columns(ingested_at=DateTime),
)

run_locations_view = Table(
    "run_locations",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, path=String),
    *_columns(seen_at=DateTime),
)

files_view = Table(
    "files",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, name=String),
    *_columns(path=String, size=BigInteger, mtime=DateTime, aggregator=String),
    *_columns(sequence=BigInteger, depth=String, verified=Boolean, format_version=String),
    *_columns(locality=String, trains=BigInteger, scanned_at=DateTime, missing_since=DateTime),
)

file_changes_view = Table(
    "file_changes",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, name=String),
    *_columns(size=BigInteger, mtime=DateTime, scanned_at=DateTime, replaced_at=DateTime),
)

sources_view = Table(
    "sources",
    VIEWS,
    *_columns(source=String, section=String, runs=BigInteger, first_run_id=UBIGINT),
    *_columns(last_run_id=UBIGINT),
)

keys_view = Table(
    "keys",
    VIEWS,
    *_columns(source=String, section=String, key=String, index_group=String, dtype=String),
    *_columns(shape=ARRAY(BigInteger), unit=String, unit_name=String, runs=BigInteger),
)

run_sources_view = Table(
    "run_sources",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, instrument=String),
    *_columns(cycle=String, section=String, source=String, index_group=String, legacy_of=String),
    *_columns(run_only=Boolean, files=Integer, trains=BigInteger, entries=BigInteger, path=String),
    *_columns(depth=String),
)

run_keys_view = Table(
    "run_keys",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, instrument=String),
    *_columns(cycle=String, section=String, source=String, key=String, index_group=String),
    *_columns(dtype=String, shape=ARRAY(BigInteger), unit=String, trains=BigInteger),
    *_columns(entries=BigInteger, path=String, depth=String),
)

train_ranges_view = Table(
    "train_ranges",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String),
    *_columns(train_list=Integer, first_train=UBIGINT, last_train=UBIGINT, trains=BigInteger),
)

train_flags_view = Table(
    "train_flags",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String),
    *_columns(train_list=Integer, position=BigInteger, train_id=UBIGINT),
)

run_values_view = Table(
    "run_values",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, source=String),
    *_columns(key=String, dtype=String, number=Double, text=String, shape=ARRAY(BigInteger)),
)

key_profiles_view = Table(
    "key_profiles",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String, source=String),
    *_columns(key=String, entries=BigInteger, nans=BigInteger, minimum=Double, maximum=Double),
    *_columns(mean=Double, std=Double, first=Double, last=Double, first_text=String),
    *_columns(last_text=String, changes=BigInteger, profiled_at=DateTime, stale=Boolean),
)

findings_view = Table(
    "findings",
    VIEWS,
    *_columns(run_id=UBIGINT, proposal=Integer, run=Integer, data_class=String),
    *_columns(instrument=String, cycle=String, origin=String, check_id=String, severity=String),
    *_columns(file=String, place=String, message=String, path=String),
    *_columns(first_seen=DateTime, last_seen=DateTime, resolved_at=DateTime),
)

audits_view = Table(
    "audits",
    VIEWS,
    *_columns(audit_id=Integer, started_at=DateTime, seconds=Double, scope=String),
    *_columns(checks=ARRAY(String), runs=BigInteger, files=BigInteger, errors=BigInteger),
    *_columns(warnings=BigInteger, infos=BigInteger, new=BigInteger, resolved=BigInteger),
    *_columns(xfelcat_version=String),
)
