-- Revision 0003, the first to be released: never changed.

CREATE TABLE catalog_info (
    kind VARCHAR, name VARCHAR, schema_version INTEGER, xfelcat_version VARCHAR,
    created_at TIMESTAMP
);

CREATE TABLE merged_shard (name VARCHAR, version VARCHAR);

CREATE TABLE run (
    run_id UBIGINT, proposal INTEGER, run INTEGER, data_class VARCHAR, instrument VARCHAR,
    cycle VARCHAR, loose_path VARCHAR, directory VARCHAR, realpath VARCHAR, n_files INTEGER,
    n_files_full INTEGER, n_files_unread INTEGER, n_files_missing INTEGER, bytes BIGINT,
    n_trains BIGINT, n_suspect_trains BIGINT, first_train UBIGINT, last_train UBIGINT,
    started_at TIMESTAMP, ended_at TIMESTAMP, newest_mtime TIMESTAMP, depth TINYINT,
    format_version VARCHAR, recorded_proposal BIGINT, recorded_run BIGINT, ingested_at TIMESTAMP
);

CREATE TABLE run_location (run_id UBIGINT, position INTEGER, path VARCHAR, seen_at TIMESTAMP);

CREATE TABLE file (
    run_id UBIGINT, ordinal INTEGER, name VARCHAR, size BIGINT, mtime_ns BIGINT, depth TINYINT,
    verified BOOLEAN, aggregator VARCHAR, sequence BIGINT, format_version VARCHAR, locality VARCHAR,
    retry BOOLEAN, scanned_at TIMESTAMP, missing_since TIMESTAMP, train_list INTEGER,
    timestamps INTEGER, layout_id INTEGER, run_sources INTEGER[]
);

CREATE TABLE run_packed (
    run_id UBIGINT, files BLOB USING COMPRESSION uncompressed,
    trains BLOB USING COMPRESSION uncompressed, slots BLOB USING COMPRESSION uncompressed,
    patterns BLOB USING COMPRESSION uncompressed
);

CREATE TABLE file_history (
    run_id UBIGINT, name VARCHAR, size BIGINT, mtime_ns BIGINT, scanned_at TIMESTAMP,
    replaced_at TIMESTAMP
);

CREATE TABLE file_metadata (
    run_id UBIGINT, name VARCHAR, value VARCHAR, is_number BOOLEAN, first_file INTEGER,
    last_file INTEGER
);

CREATE TABLE train_list (
    run_id UBIGINT, ordinal INTEGER, starts UBIGINT[], lengths BIGINT[], suspect BIGINT[],
    dropped BIGINT[]
);

CREATE TABLE timestamps (run_id UBIGINT, ordinal INTEGER, first UBIGINT, deltas BLOB);

CREATE TABLE source (source_id INTEGER, name VARCHAR);

CREATE TABLE key (key_id INTEGER, name VARCHAR);

CREATE TABLE key_schema (
    schema_id INTEGER, digest VARCHAR, n_keys INTEGER, packed BLOB USING COMPRESSION uncompressed
);

CREATE TABLE schema_key (
    schema_id INTEGER, position INTEGER, key_id INTEGER, index_group VARCHAR, dtype VARCHAR,
    entry_shape BIGINT[], unit_symbol VARCHAR, unit_name VARCHAR, prefix_symbol VARCHAR,
    prefix_name VARCHAR
);

CREATE TABLE layout (layout_id INTEGER, digest VARCHAR, n_sources INTEGER);

CREATE TABLE layout_source (
    layout_id INTEGER, position INTEGER, section VARCHAR, source_id INTEGER, index_groups VARCHAR[],
    legacy_of INTEGER, run_only BOOLEAN, schema_id INTEGER
);

CREATE TABLE run_source (
    run_id UBIGINT, section VARCHAR, source_id INTEGER, index_group VARCHAR, schema_id INTEGER,
    legacy_of INTEGER, run_only BOOLEAN, n_files INTEGER, n_trains BIGINT, n_entries BIGINT
);

CREATE TABLE run_value (
    first_run UBIGINT, last_run UBIGINT, source_id INTEGER, key_id INTEGER, dtype VARCHAR,
    number DOUBLE, text VARCHAR, raw BLOB, shape BIGINT[]
);

CREATE TABLE key_profile (
    run_id UBIGINT, source_id INTEGER, key_id INTEGER, n_entries BIGINT, n_nan BIGINT,
    minimum DOUBLE, maximum DOUBLE, mean DOUBLE, std DOUBLE, first DOUBLE, last DOUBLE,
    first_text VARCHAR, last_text VARCHAR, n_changes BIGINT, profiled_at TIMESTAMP, stale BOOLEAN
);

CREATE TABLE finding (
    run_id UBIGINT, name VARCHAR, check_id VARCHAR, severity VARCHAR, message VARCHAR,
    place VARCHAR, path VARCHAR, first_seen TIMESTAMP, last_seen TIMESTAMP, resolved_at TIMESTAMP,
    origin VARCHAR
);

CREATE TABLE audit (
    audit_id INTEGER, started_at TIMESTAMP, seconds DOUBLE, scope VARCHAR, checks VARCHAR[],
    n_runs BIGINT, n_files BIGINT, n_errors BIGINT, n_warnings BIGINT, n_infos BIGINT, n_new BIGINT,
    n_resolved BIGINT, xfelcat_version VARCHAR
);
