-- The tables and views of a catalog file, the same in a shard (one proposal, or one loose run) and
-- in the merged file (all runs). `store` makes new files from this text; the migrations lead to the
-- same, and `schema` says it again for SQLAlchemy; a test holds the three equal.
--
-- Tables are internal and may change between versions. The views below them are for users' SQL.
-- No keys, constraints or indexes: rows of a run are replaced in one transaction, written in run
-- order, and `xfelcat db check` verifies what keys would. Times are UTC without zone.
--
-- Ids: run_id is RunIdentity.run_id, equal everywhere. (run_id, ordinal) names a train list,
-- timestamps or an index pattern within a run, (run_id, ordinal) of `file` a file. source_id,
-- key_id, schema_id and layout_id are dense numbers local to one database file; what they stand
-- for is compared by name or digest when files are merged.

CREATE TABLE alembic_version (version_num VARCHAR NOT NULL);

CREATE TABLE catalog_info (
    kind VARCHAR,             -- 'shard' or 'merged'
    name VARCHAR,             -- of the shard; 'merged'
    schema_version INTEGER,
    xfelcat_version VARCHAR,  -- that made the file
    created_at TIMESTAMP
);

-- Which version of each shard the merged file holds; empty in a shard.
CREATE TABLE merged_shard (name VARCHAR, version VARCHAR);

-- One row per run. The identity columns are NULL for a loose run, loose_path for any other.
-- recorded_*: what METADATA of the files says, which describes and never identifies.
CREATE TABLE run (
    run_id UBIGINT,
    proposal INTEGER,
    run INTEGER,
    data_class VARCHAR,
    instrument VARCHAR,
    cycle VARCHAR,
    loose_path VARCHAR,
    directory VARCHAR,
    realpath VARCHAR,
    n_files INTEGER,
    n_files_full INTEGER,
    n_files_unread INTEGER,
    n_files_missing INTEGER,
    bytes BIGINT,
    n_trains BIGINT,
    n_suspect_trains BIGINT,
    first_train UBIGINT,
    last_train UBIGINT,
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    newest_mtime TIMESTAMP,
    depth TINYINT,
    format_version VARCHAR,
    recorded_proposal BIGINT,
    recorded_run BIGINT,
    ingested_at TIMESTAMP
);

-- Every directory a run was seen at, newest last.
CREATE TABLE run_location (run_id UBIGINT, position INTEGER, path VARCHAR, seen_at TIMESTAMP);

-- patterns follows FileLayout.slots; run_sources are the sources whose RUN was read from this file.
-- Both, and timestamps, are NULL in the merged file.
CREATE TABLE file (
    run_id UBIGINT,
    ordinal INTEGER,
    name VARCHAR,
    size BIGINT,
    mtime_ns BIGINT,
    depth TINYINT,
    verified BOOLEAN,
    aggregator VARCHAR,
    sequence BIGINT,
    format_version VARCHAR,
    locality VARCHAR,
    retry BOOLEAN,
    scanned_at TIMESTAMP,
    missing_since TIMESTAMP,
    train_list INTEGER,
    timestamps INTEGER,
    layout_id INTEGER,
    patterns INTEGER[],
    run_sources INTEGER[]
);

-- What a file was before it changed.
CREATE TABLE file_history (
    run_id UBIGINT,
    name VARCHAR,
    size BIGINT,
    mtime_ns BIGINT,
    scanned_at TIMESTAMP,
    replaced_at TIMESTAMP
);

-- An entry of METADATA, for a stretch of files (by ordinal) that have the same value. Shards only.
CREATE TABLE file_metadata (
    run_id UBIGINT,
    name VARCHAR,
    value VARCHAR,
    is_number BOOLEAN,
    first_file INTEGER,
    last_file INTEGER
);

-- runlength.TrainList. The good positions are all but the suspect ones.
CREATE TABLE train_list (
    run_id UBIGINT,
    ordinal INTEGER,
    starts UBIGINT[],
    lengths BIGINT[],
    suspect BIGINT[],
    dropped BIGINT[]
);

-- Time of each train, ns since the epoch: the first, and the differences from one to the next
-- (modulo 2^64), packed. Shards only.
CREATE TABLE timestamps (run_id UBIGINT, ordinal INTEGER, first UBIGINT, deltas BLOB);

-- runlength.IndexPattern, packed. Shards only.
CREATE TABLE index_pattern (
    run_id UBIGINT,
    ordinal INTEGER,
    lengths BLOB,
    counts BLOB,
    offsets BLOB
);

CREATE TABLE source (source_id INTEGER, name VARCHAR);

CREATE TABLE key (key_id INTEGER, name VARCHAR);

-- records.KeySchema: its digest, and its keys.
CREATE TABLE key_schema (schema_id INTEGER, digest VARCHAR, n_keys INTEGER);

CREATE TABLE schema_key (
    schema_id INTEGER,
    position INTEGER,
    key_id INTEGER,
    index_group VARCHAR,
    dtype VARCHAR,
    entry_shape BIGINT[],
    unit_symbol VARCHAR,
    unit_name VARCHAR,
    prefix_symbol VARCHAR,
    prefix_name VARCHAR
);

-- records.FileLayout: its digest, and its sources. legacy_of is a source_id.
CREATE TABLE layout (layout_id INTEGER, digest VARCHAR, n_sources INTEGER);

CREATE TABLE layout_source (
    layout_id INTEGER,
    position INTEGER,
    section VARCHAR,
    source_id INTEGER,
    index_groups VARCHAR[],
    legacy_of INTEGER,
    run_only BOOLEAN,
    schema_id INTEGER
);

-- What a run has, per source, index group and key schema: what questions over runs read. A legacy
-- name has the groups, keys and counts of the source it stands for. n_trains and n_entries are
-- sums over files of full depth, NULL where there is none.
CREATE TABLE run_source (
    run_id UBIGINT,
    section VARCHAR,
    source_id INTEGER,
    index_group VARCHAR,
    schema_id INTEGER,
    legacy_of INTEGER,
    run_only BOOLEAN,
    n_files INTEGER,
    n_trains BIGINT,
    n_entries BIGINT
);

-- RUN. In a shard one row per run; in the merged file one per stretch of neighbouring runs (of a
-- proposal and data class) with the same value, so that BETWEEN first_run AND last_run is exact.
-- number: scalars, text: strings, raw: the bytes of arrays, and of scalars that number does not
-- hold exactly.
CREATE TABLE run_value (
    first_run UBIGINT,
    last_run UBIGINT,
    source_id INTEGER,
    key_id INTEGER,
    dtype VARCHAR,
    number DOUBLE,
    text VARCHAR,
    raw BLOB,
    shape BIGINT[]
);

-- name is NULL for a finding about the run as a whole; path only where it is not what directory
-- and name make. C01 and C02 are the store's own.
CREATE TABLE finding (
    run_id UBIGINT,
    name VARCHAR,
    check_id VARCHAR,
    severity VARCHAR,
    message VARCHAR,
    place VARCHAR,
    path VARCHAR,
    first_seen TIMESTAMP,
    last_seen TIMESTAMP,
    resolved_at TIMESTAMP
);

CREATE VIEW runs AS
SELECT
    run_id, proposal, run, data_class, instrument, cycle,
    directory AS path, realpath,
    ['unread', 'names', 'outline', 'full'][depth + 1] AS depth,
    n_files AS files, n_files_missing AS files_missing, n_files_unread AS files_unread, bytes,
    n_trains AS trains, n_suspect_trains AS suspect_trains, first_train, last_train,
    started_at, ended_at, newest_mtime, format_version, recorded_proposal, recorded_run,
    ingested_at
FROM run;

CREATE VIEW run_locations AS
SELECT r.run_id, r.proposal, r.run, r.data_class, l.path, l.seen_at
FROM run_location AS l JOIN run AS r USING (run_id);

CREATE VIEW files AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, f.name,
    concat(r.directory, '/', f.name) AS path,
    f.size, make_timestamp(f.mtime_ns // 1000) AS mtime, f.aggregator, f.sequence,
    ['unread', 'names', 'outline', 'full'][f.depth + 1] AS depth,
    f.verified, f.format_version, f.locality,
    coalesce(list_sum(t.lengths), 0)::BIGINT AS trains,
    f.scanned_at, f.missing_since
FROM file AS f
JOIN run AS r USING (run_id)
LEFT JOIN train_list AS t ON t.run_id = f.run_id AND t.ordinal = f.train_list;

CREATE VIEW file_changes AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, h.name, h.size,
    make_timestamp(h.mtime_ns // 1000) AS mtime, h.scanned_at, h.replaced_at
FROM file_history AS h JOIN run AS r USING (run_id);

CREATE VIEW sources AS
SELECT
    s.name AS source, c.section, c.runs, c.first_run_id, c.last_run_id
FROM (
    SELECT
        source_id, section, count(DISTINCT run_id) AS runs,
        min(run_id) AS first_run_id, max(run_id) AS last_run_id
    FROM run_source
    GROUP BY source_id, section
) AS c
JOIN source AS s USING (source_id);

CREATE VIEW keys AS
SELECT
    s.name AS source, c.section, k.name AS key, sk.index_group, sk.dtype,
    sk.entry_shape AS shape,
    replace(sk.prefix_symbol, 'u', 'μ') || sk.unit_symbol AS unit,
    sk.prefix_name || sk.unit_name AS unit_name,
    sum(c.runs)::BIGINT AS runs
FROM (
    SELECT source_id, section, index_group, schema_id, count(DISTINCT run_id) AS runs
    FROM run_source
    WHERE schema_id IS NOT NULL
    GROUP BY source_id, section, index_group, schema_id
) AS c
JOIN schema_key AS sk ON sk.schema_id = c.schema_id AND sk.index_group = c.index_group
JOIN source AS s ON s.source_id = c.source_id
JOIN key AS k ON k.key_id = sk.key_id
GROUP BY ALL;

CREATE VIEW run_sources AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle,
    rs.section, s.name AS source, rs.index_group, l.name AS legacy_of, rs.run_only,
    rs.n_files AS files, rs.n_trains AS trains, rs.n_entries AS entries,
    r.directory AS path,
    ['unread', 'names', 'outline', 'full'][r.depth + 1] AS depth
FROM run_source AS rs
JOIN run AS r USING (run_id)
JOIN source AS s USING (source_id)
LEFT JOIN source AS l ON l.source_id = rs.legacy_of;

CREATE VIEW run_keys AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle,
    rs.section, s.name AS source, k.name AS key, rs.index_group,
    sk.dtype, sk.entry_shape AS shape,
    replace(sk.prefix_symbol, 'u', 'μ') || sk.unit_symbol AS unit,
    rs.n_trains AS trains, rs.n_entries AS entries,
    r.directory AS path,
    ['unread', 'names', 'outline', 'full'][r.depth + 1] AS depth
FROM run_source AS rs
JOIN run AS r USING (run_id)
JOIN source AS s USING (source_id)
JOIN schema_key AS sk ON sk.schema_id = rs.schema_id AND sk.index_group = rs.index_group
JOIN key AS k ON k.key_id = sk.key_id;

CREATE VIEW train_ranges AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, t.train_list,
    t.first_train, t.first_train + (t.n - 1)::UBIGINT AS last_train, t.n AS trains
FROM (
    SELECT run_id, ordinal AS train_list, unnest(starts) AS first_train, unnest(lengths) AS n
    FROM train_list
) AS t
JOIN run AS r USING (run_id);

CREATE VIEW train_flags AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, t.train_list, t.position,
    t.starts[t.stretch] + (t.position - t.firsts[t.stretch])::UBIGINT AS train_id
FROM (
    SELECT *, len(list_filter(firsts, lambda f: f <= position)) AS stretch
    FROM (
        SELECT
            run_id, ordinal AS train_list, starts, unnest(suspect) AS position,
            list_transform(range(len(lengths)), lambda i: coalesce(list_sum(lengths[1:i]), 0))
                AS firsts
        FROM train_list
        WHERE len(suspect) > 0
    )
) AS t
JOIN run AS r USING (run_id);

CREATE VIEW run_values AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, s.name AS source, k.name AS key,
    v.dtype, v.number, v.text, v.shape
FROM run_value AS v
JOIN run AS r ON r.run_id BETWEEN v.first_run AND v.last_run
JOIN source AS s USING (source_id)
JOIN key AS k USING (key_id);

CREATE VIEW findings AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, f.check_id, f.severity,
    f.name AS file, f.place, f.message,
    coalesce(f.path, concat_ws('/', r.directory, f.name)) AS path,
    f.first_seen, f.last_seen, f.resolved_at
FROM finding AS f JOIN run AS r USING (run_id);
