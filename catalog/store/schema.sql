-- The tables and views of a catalog file, the same in a shard (one proposal, or one loose run) and
-- in the merged file (all runs). `schema` makes new files from this text, and SQLAlchemy's tables
-- from the columns in it. The migrations lead to the same tables (a test compares them); views hold
-- no data, so an upgrade makes them anew from here.
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
-- recorded_*, sample and run_type: what METADATA of the files says, which describes and never
-- identifies.
CREATE TABLE run (
    run_id UBIGINT, proposal INTEGER, run INTEGER, data_class VARCHAR,
    instrument VARCHAR, cycle VARCHAR, loose_path VARCHAR,
    directory VARCHAR, realpath VARCHAR,
    n_files INTEGER, n_files_full INTEGER, n_files_unread INTEGER, n_files_missing INTEGER,
    bytes BIGINT,
    n_trains BIGINT, n_suspect_trains BIGINT,
    first_train UBIGINT, last_train UBIGINT,
    started_at TIMESTAMP, ended_at TIMESTAMP, newest_mtime TIMESTAMP,
    depth TINYINT, format_version VARCHAR,
    recorded_proposal BIGINT, recorded_run BIGINT,
    ingested_at TIMESTAMP,
    sample VARCHAR, run_type VARCHAR
);

-- Every directory a run was seen at, newest last.
CREATE TABLE run_location (run_id UBIGINT, position INTEGER, path VARCHAR, seen_at TIMESTAMP);

-- run_sources are the sources whose RUN was read from this file. They, and timestamps, are NULL in
-- the merged file.
CREATE TABLE file (
    run_id UBIGINT, ordinal INTEGER, name VARCHAR,
    size BIGINT, mtime_ns BIGINT,
    depth TINYINT, verified BOOLEAN,
    aggregator VARCHAR, sequence BIGINT, format_version VARCHAR,
    locality VARCHAR, retry BOOLEAN,
    scanned_at TIMESTAMP, missing_since TIMESTAMP,
    train_list INTEGER, timestamps INTEGER, layout_id INTEGER,
    run_sources INTEGER[]
);

-- What opening a run asks, in one row: its files and train lists as `file` and `train_list` have
-- them, the number of the runlength.IndexPattern in each of FileLayout.slots of each file, and these
-- patterns. Packed, see store/packing.py; DuckDB's own compression would unpack many rows for one.
-- Shards only.
CREATE TABLE run_packed (
    run_id UBIGINT,
    files BLOB USING COMPRESSION uncompressed,
    trains BLOB USING COMPRESSION uncompressed,
    slots BLOB USING COMPRESSION uncompressed,
    patterns BLOB USING COMPRESSION uncompressed
);

-- Pulse and cell IDs of detector frames: the number of the runlength.FrameIds in each of
-- FileLayout.frame_slots of each file (-1 for none), and these. Packed, see store/packing.py; only of
-- runs that have any. Shards only.
CREATE TABLE frame_ids (
    run_id UBIGINT,
    slots BLOB USING COMPRESSION uncompressed,
    ids BLOB USING COMPRESSION uncompressed
);

-- What a file was before it changed.
CREATE TABLE file_history (
    run_id UBIGINT, name VARCHAR,
    size BIGINT, mtime_ns BIGINT,
    scanned_at TIMESTAMP, replaced_at TIMESTAMP
);

-- An entry of METADATA, for a stretch of files (by ordinal) that have the same value. The merged file
-- has only the first stretch of each entry.
CREATE TABLE file_metadata (
    run_id UBIGINT, name VARCHAR,
    value VARCHAR, is_number BOOLEAN,
    first_file INTEGER, last_file INTEGER
);

-- runlength.TrainList. The good positions are all but the suspect ones.
CREATE TABLE train_list (
    run_id UBIGINT, ordinal INTEGER,
    starts UBIGINT[], lengths BIGINT[], suspect BIGINT[], dropped BIGINT[]
);

-- Time of each train, ns since the epoch: the first, and the differences from one to the next
-- (modulo 2^64), packed. Shards only.
CREATE TABLE timestamps (run_id UBIGINT, ordinal INTEGER, first UBIGINT, deltas BLOB);

CREATE TABLE source (source_id INTEGER, name VARCHAR);

CREATE TABLE key (key_id INTEGER, name VARCHAR);

-- records.KeySchema: its digest, and its keys; packed is all of it, and NULL in the merged file.
CREATE TABLE key_schema (
    schema_id INTEGER,
    digest VARCHAR,
    n_keys INTEGER,
    packed BLOB USING COMPRESSION uncompressed
);

CREATE TABLE schema_key (
    schema_id INTEGER, position INTEGER,
    key_id INTEGER, index_group VARCHAR,
    dtype VARCHAR, entry_shape BIGINT[],
    unit_symbol VARCHAR, unit_name VARCHAR,
    prefix_symbol VARCHAR, prefix_name VARCHAR
);

-- records.FileLayout: its digest, and its sources. legacy_of is a source_id.
CREATE TABLE layout (layout_id INTEGER, digest VARCHAR, n_sources INTEGER);

CREATE TABLE layout_source (
    layout_id INTEGER, position INTEGER,
    section VARCHAR, source_id INTEGER, index_groups VARCHAR[],
    legacy_of INTEGER, run_only BOOLEAN, schema_id INTEGER
);

-- What a run has, per source, index group and key schema: what questions over runs read. A legacy
-- name has the groups, keys and counts of the source it stands for. n_trains and n_entries are
-- sums over files of full depth, NULL where there is none.
CREATE TABLE run_source (
    run_id UBIGINT, section VARCHAR,
    source_id INTEGER, index_group VARCHAR,
    schema_id INTEGER, legacy_of INTEGER, run_only BOOLEAN,
    n_files INTEGER, n_trains BIGINT, n_entries BIGINT
);

-- RUN: one row per stretch of neighbouring runs (of a proposal and data class) with the same value,
-- so that BETWEEN first_run AND last_run is exact; in the order of source, key and run.
-- number: scalars, text: strings, raw: the bytes of arrays, and of scalars that number does not
-- hold exactly.
CREATE TABLE run_value (
    first_run UBIGINT, last_run UBIGINT,
    source_id INTEGER, key_id INTEGER,
    dtype VARCHAR, number DOUBLE, text VARCHAR, raw BLOB, shape BIGINT[]
);

-- What a key did during a run, as `xfelcat profile` read it; numbers as DOUBLE, texts as they are.
-- stale: files of the run have changed since.
CREATE TABLE key_profile (
    run_id UBIGINT, source_id INTEGER, key_id INTEGER,
    n_entries BIGINT, n_nan BIGINT,
    minimum DOUBLE, maximum DOUBLE, mean DOUBLE, std DOUBLE,
    first DOUBLE, last DOUBLE,
    first_text VARCHAR, last_text VARCHAR,
    n_changes BIGINT, profiled_at TIMESTAMP, stale BOOLEAN
);

-- origin: 'scan' for what ingest found, in the shards; 'audit' or 'deep' for what an audit found, in
-- the database of the audits. run_id is NULL for a finding about no catalogued run. name is NULL for
-- one about the run as a whole; path only where it is not what directory and name make. C01 and C02
-- of origin 'scan' are the store's own.
CREATE TABLE finding (
    run_id UBIGINT, name VARCHAR,
    check_id VARCHAR, severity VARCHAR,
    message VARCHAR, place VARCHAR, path VARCHAR,
    first_seen TIMESTAMP, last_seen TIMESTAMP, resolved_at TIMESTAMP,
    origin VARCHAR
);

-- Every audit that was made: what it covered (JSON), and what it found.
CREATE TABLE audit (
    audit_id INTEGER, started_at TIMESTAMP, seconds DOUBLE,
    scope VARCHAR, checks VARCHAR[],
    n_runs BIGINT, n_files BIGINT,
    n_errors BIGINT, n_warnings BIGINT, n_infos BIGINT,
    n_new BIGINT, n_resolved BIGINT,
    xfelcat_version VARCHAR
);

-- Views. Above each stands what a row is; the comment after a column has its type and meaning, or
-- the list below has them, for columns of several views. `schema` makes COMMENTs of them.
--
-- run_id UBIGINT number of the run, ordered by proposal, data class and run; equal in every catalog
-- proposal INTEGER proposal number; NULL for a run outside a facility tree
-- run INTEGER run number; NULL for a run outside a facility tree
-- data_class VARCHAR folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree
-- instrument VARCHAR instrument, from the path
-- cycle VARCHAR cycle of operation, six digits, from the path
-- path VARCHAR directory of the run, as last seen
-- format_version VARCHAR version of the data format
-- name VARCHAR file name
-- size BIGINT bytes
-- mtime TIMESTAMP time of last modification
-- depth VARCHAR how much is known: unread, names, outline (opening) or full (keys, index, RUN)
-- scanned_at TIMESTAMP when its facts were taken from the file
-- source VARCHAR source name
-- section VARCHAR CONTROL, INSTRUMENT or an auxiliary section
-- key VARCHAR key name
-- index_group VARCHAR index group; empty for CONTROL
-- dtype VARCHAR numpy dtype, or str, bytes, vlen:...
-- shape BIGINT[] shape of one entry; [] for scalars
-- unit VARCHAR symbol of the unit with its prefix; empty where none was recorded
-- trains BIGINT trains with data, summed over the files; NULL below full depth
-- entries BIGINT entries, summed over the files; NULL below full depth
-- train_list INTEGER number of the train list in its run

-- One row per run.
CREATE VIEW runs AS
SELECT
    run_id, proposal, run, data_class, instrument, cycle, directory AS path,
    realpath,  -- VARCHAR the same with links resolved
    ['unread', 'names', 'outline', 'full'][depth + 1] AS depth,
    -- VARCHAR how much is known of every file: unread, names, outline (opening) or full (keys,
    -- index, RUN)
    n_files AS files,  -- INTEGER data files, missing ones included
    n_files_missing AS files_missing,  -- INTEGER files that were catalogued and are gone
    n_files_unread AS files_unread,  -- INTEGER files that could not be read
    bytes,  -- BIGINT size of the files that are there
    n_trains AS trains,  -- BIGINT distinct train IDs, suspect ones included
    n_suspect_trains AS suspect_trains,  -- BIGINT distinct train IDs that are suspect
    first_train,  -- UBIGINT smallest train ID that is not suspect
    last_train,  -- UBIGINT largest train ID that is not suspect
    started_at,  -- TIMESTAMP time of the first train
    ended_at,  -- TIMESTAMP time of the last train
    newest_mtime,  -- TIMESTAMP time of last modification of the newest file
    format_version,
    sample,  -- VARCHAR sample that the files name; NULL where they name none
    run_type,  -- VARCHAR type of the run that the files name; NULL where they name none
    recorded_proposal,  -- BIGINT proposal number that the files say they belong to
    recorded_run,  -- BIGINT run number that the files say they belong to
    ingested_at  -- TIMESTAMP when the run was last written to the catalog
FROM run;

-- Every directory a run was seen at.
CREATE VIEW run_locations AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class,
    l.path,  -- VARCHAR directory
    l.seen_at  -- TIMESTAMP when the run was last catalogued from there
FROM run_location AS l JOIN run AS r USING (run_id);

-- METADATA: one row per run and entry. Where files differ, the value is that of the first file by name
-- that has the entry, which is the one of lowest aggregator and sequence.
CREATE VIEW run_metadata AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle,
    m.name,  -- VARCHAR entry: sample, runType, daqLibrary, karaboFramework, creationDate, ...
    m.value  -- VARCHAR its value; numbers as text
FROM (
    SELECT run_id, name, arg_min(value, first_file) AS value
    FROM file_metadata
    GROUP BY run_id, name
) AS m
JOIN run AS r USING (run_id);

-- One row per data file, missing ones included.
CREATE VIEW files AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, f.name,
    concat(r.directory, '/', f.name) AS path,  -- VARCHAR path of the file, as last seen
    f.size, make_timestamp(f.mtime_ns // 1000) AS mtime,
    f.aggregator,  -- VARCHAR aggregator, from the file name
    f.sequence,  -- BIGINT sequence number, from the file name; -1 where it has none
    ['unread', 'names', 'outline', 'full'][f.depth + 1] AS depth,
    f.verified,  -- BOOLEAN whether every dataset was opened, not one per index group
    f.format_version,
    f.locality,  -- VARCHAR ONLINE, NEARLINE, ... on dCache; empty on an ordinary disk
    coalesce(list_sum(t.lengths), 0)::BIGINT AS trains,
    -- BIGINT trains of the file, suspect ones included
    f.scanned_at,
    f.missing_since  -- TIMESTAMP when it was first found missing; NULL if it is there
FROM file AS f
JOIN run AS r USING (run_id)
LEFT JOIN train_list AS t ON t.run_id = f.run_id AND t.ordinal = f.train_list;

-- What files were before they changed: raw data should not.
CREATE VIEW file_changes AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, h.name, h.size,
    make_timestamp(h.mtime_ns // 1000) AS mtime, h.scanned_at,
    h.replaced_at  -- TIMESTAMP when the change was found
FROM file_history AS h JOIN run AS r USING (run_id);

-- One row per source name and section, over all runs.
CREATE VIEW sources AS
SELECT
    s.name AS source, c.section,
    c.runs,  -- BIGINT runs that have it
    c.first_run_id,  -- UBIGINT first of these runs
    c.last_run_id  -- UBIGINT last of these runs
FROM (
    SELECT
        source_id, section, count(DISTINCT run_id) AS runs,
        min(run_id) AS first_run_id, max(run_id) AS last_run_id
    FROM run_source
    GROUP BY source_id, section
) AS c
JOIN source AS s USING (source_id);

-- One row per source, key and what the key is like, over all runs of full depth.
CREATE VIEW keys AS
SELECT
    s.name AS source, c.section, k.name AS key, sk.index_group, sk.dtype, sk.entry_shape AS shape,
    replace(sk.prefix_symbol, 'u', 'μ') || sk.unit_symbol AS unit,
    sk.prefix_name || sk.unit_name AS unit_name,
    -- VARCHAR name of the unit with its prefix; empty where none was recorded
    sum(c.runs)::BIGINT AS runs
    -- BIGINT runs that have it; one whose files differ counts once per variant
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

-- One row per run, source and index group.
CREATE VIEW run_sources AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle, rs.section, s.name AS source,
    rs.index_group,
    l.name AS legacy_of,  -- VARCHAR the new name, where this is an old one that still works
    rs.run_only,  -- BOOLEAN whether it has RUN values only
    rs.n_files AS files,  -- INTEGER files that list it
    rs.n_trains AS trains, rs.n_entries AS entries, r.directory AS path,
    ['unread', 'names', 'outline', 'full'][r.depth + 1] AS depth
FROM run_source AS rs
JOIN run AS r USING (run_id)
JOIN source AS s USING (source_id)
LEFT JOIN source AS l ON l.source_id = rs.legacy_of;

-- One row per run, source and key, for runs of full depth.
CREATE VIEW run_keys AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle, rs.section, s.name AS source,
    k.name AS key, rs.index_group, sk.dtype, sk.entry_shape AS shape,
    replace(sk.prefix_symbol, 'u', 'μ') || sk.unit_symbol AS unit, rs.n_trains AS trains,
    rs.n_entries AS entries, r.directory AS path,
    ['unread', 'names', 'outline', 'full'][r.depth + 1] AS depth
FROM run_source AS rs
JOIN run AS r USING (run_id)
JOIN source AS s USING (source_id)
JOIN schema_key AS sk ON sk.schema_id = rs.schema_id AND sk.index_group = rs.index_group
JOIN key AS k ON k.key_id = sk.key_id;

-- Stretches of consecutive train IDs. A run has several train lists, each that of one or more
-- files.
CREATE VIEW train_ranges AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, t.train_list,
    t.first_train,  -- UBIGINT first train ID
    t.first_train + (t.n - 1)::UBIGINT AS last_train,  -- UBIGINT last train ID
    t.n AS trains  -- BIGINT how many
FROM (
    SELECT run_id, ordinal AS train_list, unnest(starts) AS first_train, unnest(lengths) AS n
    FROM train_list
) AS t
JOIN run AS r USING (run_id);

-- Trains whose ID is suspect.
CREATE VIEW train_flags AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, t.train_list,
    t.position,  -- BIGINT place in the train list, from 0
    t.starts[t.stretch] + (t.position - t.firsts[t.stretch])::UBIGINT AS train_id
    -- UBIGINT train ID
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

-- RUN: the value of each property of a control source when the run began.
CREATE VIEW run_values AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, s.name AS source,
    k.name AS key,  -- VARCHAR key name with .value or .timestamp
    v.dtype,
    v.number,  -- DOUBLE a scalar number, as DOUBLE
    v.text,  -- VARCHAR a string; arrays of strings as JSON
    v.shape  -- BIGINT[] shape of an array; NULL for a scalar
FROM run_value AS v
JOIN run AS r ON r.run_id BETWEEN v.first_run AND v.last_run
JOIN source AS s USING (source_id)
JOIN key AS k USING (key_id);

-- What a key did during a run, as `xfelcat profile` read it.
CREATE VIEW key_profiles AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, s.name AS source, k.name AS key,
    p.n_entries AS entries,  -- BIGINT entries read
    p.n_nan AS nans,  -- BIGINT how many of them are NaN
    p.minimum,  -- DOUBLE smallest number
    p.maximum,  -- DOUBLE largest number
    p.mean,  -- DOUBLE mean of the numbers
    p.std,  -- DOUBLE standard deviation of the numbers
    p.first,  -- DOUBLE first number
    p.last,  -- DOUBLE last number
    p.first_text,  -- VARCHAR first text, for keys of texts
    p.last_text,  -- VARCHAR last text, for keys of texts
    p.n_changes AS changes,  -- BIGINT how often an entry differs from the one before
    p.profiled_at,  -- TIMESTAMP when the data were read
    p.stale  -- BOOLEAN whether files of the run have changed since
FROM key_profile AS p
JOIN run AS r USING (run_id)
JOIN source AS s USING (source_id)
JOIN key AS k USING (key_id);

-- What is or was wrong with a run or file.
CREATE VIEW findings AS
SELECT
    f.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle,
    f.origin,  -- VARCHAR scan: found by ingest; audit, deep: found by an audit
    f.check_id,  -- VARCHAR check, see `xfelcat audit --list`
    f.severity,  -- VARCHAR E error, W warning, I information
    f.name AS file,  -- VARCHAR file name; NULL for a finding about the run as a whole
    f.place,  -- VARCHAR object inside the file
    f.message,  -- VARCHAR what is wrong
    coalesce(f.path, concat_ws('/', r.directory, f.name)) AS path,
    -- VARCHAR path of the file or run
    f.first_seen,  -- TIMESTAMP when it was first found
    f.last_seen,  -- TIMESTAMP when it was last found
    f.resolved_at  -- TIMESTAMP when it was first found gone; NULL while it is there
FROM finding AS f LEFT JOIN run AS r USING (run_id);

-- One row per audit that was made.
CREATE VIEW audits AS
SELECT
    audit_id,  -- INTEGER number of the audit, counting up
    started_at,  -- TIMESTAMP when it began
    seconds,  -- DOUBLE how long it took
    scope,  -- VARCHAR what it covered, as JSON
    checks,  -- VARCHAR[] IDs of the checks
    n_runs AS runs,  -- BIGINT catalogued runs it covered
    n_files AS files,  -- BIGINT catalogued files it covered
    n_errors AS errors,  -- BIGINT open findings of severity E afterwards
    n_warnings AS warnings,  -- BIGINT open findings of severity W afterwards
    n_infos AS infos,  -- BIGINT open findings of severity I afterwards
    n_new AS new,  -- BIGINT findings that were not open before
    n_resolved AS resolved,  -- BIGINT findings that were open before and are gone
    xfelcat_version  -- VARCHAR version of xfelcat that made it
FROM audit;
