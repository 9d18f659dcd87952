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

-- run_sources are the sources whose RUN was read from this file. They, and timestamps, are NULL in
-- the merged file.
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
    run_sources INTEGER[]
);

-- What opening a run asks, in one row: its files and train lists as `file` and `train_list` have
-- them, the number of the runlength.IndexPattern in each of FileLayout.slots of each file, and these
-- patterns. Packed, see store/packed.py; DuckDB's own compression would unpack many rows for one.
-- Shards only.
CREATE TABLE run_packed (
    run_id UBIGINT,
    files BLOB USING COMPRESSION uncompressed,
    trains BLOB USING COMPRESSION uncompressed,
    slots BLOB USING COMPRESSION uncompressed,
    patterns BLOB USING COMPRESSION uncompressed
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

-- RUN: one row per stretch of neighbouring runs (of a proposal and data class) with the same value,
-- so that BETWEEN first_run AND last_run is exact; in the order of source, key and run.
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

-- What a key did during a run, as `xfelcat profile` read it; numbers as DOUBLE, texts as they are.
-- stale: files of the run have changed since.
CREATE TABLE key_profile (
    run_id UBIGINT,
    source_id INTEGER,
    key_id INTEGER,
    n_entries BIGINT,
    n_nan BIGINT,
    minimum DOUBLE,
    maximum DOUBLE,
    mean DOUBLE,
    std DOUBLE,
    first DOUBLE,
    last DOUBLE,
    first_text VARCHAR,
    last_text VARCHAR,
    n_changes BIGINT,
    profiled_at TIMESTAMP,
    stale BOOLEAN
);

-- origin: 'scan' for what ingest found, in the shards; 'audit' or 'deep' for what an audit found, in
-- the database of the audits. run_id is NULL for a finding about no catalogued run. name is NULL for
-- one about the run as a whole; path only where it is not what directory and name make. C01 and C02
-- of origin 'scan' are the store's own.
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
    resolved_at TIMESTAMP,
    origin VARCHAR
);

-- Every audit that was made: what it covered (JSON), and what it found.
CREATE TABLE audit (
    audit_id INTEGER,
    started_at TIMESTAMP,
    seconds DOUBLE,
    scope VARCHAR,
    checks VARCHAR[],
    n_runs BIGINT,
    n_files BIGINT,
    n_errors BIGINT,
    n_warnings BIGINT,
    n_infos BIGINT,
    n_new BIGINT,
    n_resolved BIGINT,
    xfelcat_version VARCHAR
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

CREATE VIEW key_profiles AS
SELECT
    r.run_id, r.proposal, r.run, r.data_class, s.name AS source, k.name AS key,
    p.n_entries AS entries, p.n_nan AS nans, p.minimum, p.maximum, p.mean, p.std, p.first, p.last,
    p.first_text, p.last_text, p.n_changes AS changes, p.profiled_at, p.stale
FROM key_profile AS p
JOIN run AS r USING (run_id)
JOIN source AS s USING (source_id)
JOIN key AS k USING (key_id);

CREATE VIEW findings AS
SELECT
    f.run_id, r.proposal, r.run, r.data_class, r.instrument, r.cycle, f.origin, f.check_id,
    f.severity, f.name AS file, f.place, f.message,
    coalesce(f.path, concat_ws('/', r.directory, f.name)) AS path,
    f.first_seen, f.last_seen, f.resolved_at
FROM finding AS f LEFT JOIN run AS r USING (run_id);

CREATE VIEW audits AS
SELECT
    audit_id, started_at, seconds, scope, checks, n_runs AS runs, n_files AS files,
    n_errors AS errors, n_warnings AS warnings, n_infos AS infos, n_new AS new,
    n_resolved AS resolved, xfelcat_version
FROM audit;

-- What the views and their columns mean, for `xfelcat sql --schema`.

COMMENT ON VIEW runs IS 'One row per run.';
COMMENT ON COLUMN runs.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN runs.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN runs.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN runs.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN runs.instrument IS 'instrument, from the path';
COMMENT ON COLUMN runs.cycle IS 'cycle of operation, six digits, from the path';
COMMENT ON COLUMN runs.path IS 'directory of the run, as last seen';
COMMENT ON COLUMN runs.realpath IS 'the same with links resolved';
COMMENT ON COLUMN runs.depth IS
    'how much is known of every file: unread, names, outline (opening) or full (keys, index, RUN)';
COMMENT ON COLUMN runs.files IS 'data files, missing ones included';
COMMENT ON COLUMN runs.files_missing IS 'files that were catalogued and are gone';
COMMENT ON COLUMN runs.files_unread IS 'files that could not be read';
COMMENT ON COLUMN runs.bytes IS 'size of the files that are there';
COMMENT ON COLUMN runs.trains IS 'distinct train IDs, suspect ones included';
COMMENT ON COLUMN runs.suspect_trains IS 'distinct train IDs that are suspect';
COMMENT ON COLUMN runs.first_train IS 'smallest train ID that is not suspect';
COMMENT ON COLUMN runs.last_train IS 'largest train ID that is not suspect';
COMMENT ON COLUMN runs.started_at IS 'time of the first train';
COMMENT ON COLUMN runs.ended_at IS 'time of the last train';
COMMENT ON COLUMN runs.newest_mtime IS 'time of last modification of the newest file';
COMMENT ON COLUMN runs.format_version IS 'version of the data format';
COMMENT ON COLUMN runs.recorded_proposal IS 'proposal number that the files say they belong to';
COMMENT ON COLUMN runs.recorded_run IS 'run number that the files say they belong to';
COMMENT ON COLUMN runs.ingested_at IS 'when the run was last written to the catalog';

COMMENT ON VIEW run_locations IS 'Every directory a run was seen at.';
COMMENT ON COLUMN run_locations.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN run_locations.proposal IS
    'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_locations.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_locations.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_locations.path IS 'directory';
COMMENT ON COLUMN run_locations.seen_at IS 'when the run was last catalogued from there';

COMMENT ON VIEW files IS 'One row per data file, missing ones included.';
COMMENT ON COLUMN files.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN files.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN files.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN files.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN files.name IS 'file name';
COMMENT ON COLUMN files.path IS 'path of the file, as last seen';
COMMENT ON COLUMN files.size IS 'bytes';
COMMENT ON COLUMN files.mtime IS 'time of last modification';
COMMENT ON COLUMN files.aggregator IS 'aggregator, from the file name';
COMMENT ON COLUMN files.sequence IS 'sequence number, from the file name; -1 where it has none';
COMMENT ON COLUMN files.depth IS
    'how much is known: unread, names, outline (opening) or full (keys, index, RUN)';
COMMENT ON COLUMN files.verified IS 'whether every dataset was opened, not one per index group';
COMMENT ON COLUMN files.format_version IS 'version of the data format';
COMMENT ON COLUMN files.locality IS 'ONLINE, NEARLINE, ... on dCache; empty on an ordinary disk';
COMMENT ON COLUMN files.trains IS 'trains of the file, suspect ones included';
COMMENT ON COLUMN files.scanned_at IS 'when its facts were taken from the file';
COMMENT ON COLUMN files.missing_since IS 'when it was first found missing; NULL if it is there';

COMMENT ON VIEW file_changes IS 'What files were before they changed: raw data should not.';
COMMENT ON COLUMN file_changes.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN file_changes.proposal IS
    'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN file_changes.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN file_changes.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN file_changes.name IS 'file name';
COMMENT ON COLUMN file_changes.size IS 'bytes';
COMMENT ON COLUMN file_changes.mtime IS 'time of last modification';
COMMENT ON COLUMN file_changes.scanned_at IS 'when its facts were taken from the file';
COMMENT ON COLUMN file_changes.replaced_at IS 'when the change was found';

COMMENT ON VIEW sources IS 'One row per source name and section, over all runs.';
COMMENT ON COLUMN sources.source IS 'source name';
COMMENT ON COLUMN sources.section IS 'CONTROL, INSTRUMENT or an auxiliary section';
COMMENT ON COLUMN sources.runs IS 'runs that have it';
COMMENT ON COLUMN sources.first_run_id IS 'first of these runs';
COMMENT ON COLUMN sources.last_run_id IS 'last of these runs';

COMMENT ON VIEW keys IS 'One row per source, key and what the key is like, over all runs of full depth.';
COMMENT ON COLUMN keys.source IS 'source name';
COMMENT ON COLUMN keys.section IS 'CONTROL, INSTRUMENT or an auxiliary section';
COMMENT ON COLUMN keys.key IS 'key name';
COMMENT ON COLUMN keys.index_group IS 'index group; empty for CONTROL';
COMMENT ON COLUMN keys.dtype IS 'numpy dtype, or str, bytes, vlen:...';
COMMENT ON COLUMN keys.shape IS 'shape of one entry; [] for scalars';
COMMENT ON COLUMN keys.unit IS 'symbol of the unit with its prefix; empty where none was recorded';
COMMENT ON COLUMN keys.unit_name IS
    'name of the unit with its prefix; empty where none was recorded';
COMMENT ON COLUMN keys.runs IS 'runs that have it; one whose files differ counts once per variant';

COMMENT ON VIEW run_sources IS 'One row per run, source and index group.';
COMMENT ON COLUMN run_sources.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN run_sources.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_sources.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_sources.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_sources.instrument IS 'instrument, from the path';
COMMENT ON COLUMN run_sources.cycle IS 'cycle of operation, six digits, from the path';
COMMENT ON COLUMN run_sources.section IS 'CONTROL, INSTRUMENT or an auxiliary section';
COMMENT ON COLUMN run_sources.source IS 'source name';
COMMENT ON COLUMN run_sources.index_group IS 'index group; empty for CONTROL';
COMMENT ON COLUMN run_sources.legacy_of IS
    'the new name, where this is an old one that still works';
COMMENT ON COLUMN run_sources.run_only IS 'whether it has RUN values only';
COMMENT ON COLUMN run_sources.files IS 'files that list it';
COMMENT ON COLUMN run_sources.trains IS
    'trains with data, summed over the files; NULL below full depth';
COMMENT ON COLUMN run_sources.entries IS 'entries, summed over the files; NULL below full depth';
COMMENT ON COLUMN run_sources.path IS 'directory of the run, as last seen';
COMMENT ON COLUMN run_sources.depth IS
    'how much is known: unread, names, outline (opening) or full (keys, index, RUN)';

COMMENT ON VIEW run_keys IS 'One row per run, source and key, for runs of full depth.';
COMMENT ON COLUMN run_keys.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN run_keys.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_keys.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_keys.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_keys.instrument IS 'instrument, from the path';
COMMENT ON COLUMN run_keys.cycle IS 'cycle of operation, six digits, from the path';
COMMENT ON COLUMN run_keys.section IS 'CONTROL, INSTRUMENT or an auxiliary section';
COMMENT ON COLUMN run_keys.source IS 'source name';
COMMENT ON COLUMN run_keys.key IS 'key name';
COMMENT ON COLUMN run_keys.index_group IS 'index group; empty for CONTROL';
COMMENT ON COLUMN run_keys.dtype IS 'numpy dtype, or str, bytes, vlen:...';
COMMENT ON COLUMN run_keys.shape IS 'shape of one entry; [] for scalars';
COMMENT ON COLUMN run_keys.unit IS
    'symbol of the unit with its prefix; empty where none was recorded';
COMMENT ON COLUMN run_keys.trains IS
    'trains with data, summed over the files; NULL below full depth';
COMMENT ON COLUMN run_keys.entries IS 'entries, summed over the files; NULL below full depth';
COMMENT ON COLUMN run_keys.path IS 'directory of the run, as last seen';
COMMENT ON COLUMN run_keys.depth IS
    'how much is known: unread, names, outline (opening) or full (keys, index, RUN)';

COMMENT ON VIEW train_ranges IS 'Stretches of consecutive train IDs. A run has several train lists, each that of one or more files.';
COMMENT ON COLUMN train_ranges.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN train_ranges.proposal IS
    'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN train_ranges.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN train_ranges.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN train_ranges.train_list IS 'number of the train list in its run';
COMMENT ON COLUMN train_ranges.first_train IS 'first train ID';
COMMENT ON COLUMN train_ranges.last_train IS 'last train ID';
COMMENT ON COLUMN train_ranges.trains IS 'how many';

COMMENT ON VIEW train_flags IS 'Trains whose ID is suspect.';
COMMENT ON COLUMN train_flags.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN train_flags.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN train_flags.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN train_flags.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN train_flags.train_list IS 'number of the train list in its run';
COMMENT ON COLUMN train_flags.position IS 'place in the train list, from 0';
COMMENT ON COLUMN train_flags.train_id IS 'train ID';

COMMENT ON VIEW run_values IS 'RUN: the value of each property of a control source when the run began.';
COMMENT ON COLUMN run_values.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN run_values.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_values.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_values.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN run_values.source IS 'source name';
COMMENT ON COLUMN run_values.key IS 'key name with .value or .timestamp';
COMMENT ON COLUMN run_values.dtype IS 'numpy dtype, or str, bytes, vlen:...';
COMMENT ON COLUMN run_values.number IS 'a scalar number, as DOUBLE';
COMMENT ON COLUMN run_values.text IS 'a string; arrays of strings as JSON';
COMMENT ON COLUMN run_values.shape IS 'shape of an array; NULL for a scalar';

COMMENT ON VIEW key_profiles IS 'What a key did during a run, as `xfelcat profile` read it.';
COMMENT ON COLUMN key_profiles.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN key_profiles.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN key_profiles.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN key_profiles.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN key_profiles.source IS 'source name';
COMMENT ON COLUMN key_profiles.key IS 'key name';
COMMENT ON COLUMN key_profiles.entries IS 'entries read';
COMMENT ON COLUMN key_profiles.nans IS 'how many of them are NaN';
COMMENT ON COLUMN key_profiles.minimum IS 'smallest number';
COMMENT ON COLUMN key_profiles.maximum IS 'largest number';
COMMENT ON COLUMN key_profiles.mean IS 'mean of the numbers';
COMMENT ON COLUMN key_profiles.std IS 'standard deviation of the numbers';
COMMENT ON COLUMN key_profiles.first IS 'first number';
COMMENT ON COLUMN key_profiles.last IS 'last number';
COMMENT ON COLUMN key_profiles.first_text IS 'first text, for keys of texts';
COMMENT ON COLUMN key_profiles.last_text IS 'last text, for keys of texts';
COMMENT ON COLUMN key_profiles.changes IS 'how often an entry differs from the one before';
COMMENT ON COLUMN key_profiles.profiled_at IS 'when the data were read';
COMMENT ON COLUMN key_profiles.stale IS 'whether files of the run have changed since';

COMMENT ON VIEW findings IS 'What is or was wrong with a run or file.';
COMMENT ON COLUMN findings.run_id IS
    'number of the run, ordered by proposal, data class and run; equal in every catalog';
COMMENT ON COLUMN findings.proposal IS 'proposal number; NULL for a run outside a facility tree';
COMMENT ON COLUMN findings.run IS 'run number; NULL for a run outside a facility tree';
COMMENT ON COLUMN findings.data_class IS
    'folder of the proposal: raw, proc, ...; NULL for a run outside a facility tree';
COMMENT ON COLUMN findings.instrument IS 'instrument, from the path';
COMMENT ON COLUMN findings.cycle IS 'cycle of operation, six digits, from the path';
COMMENT ON COLUMN findings.origin IS 'scan: found by ingest; audit, deep: found by an audit';
COMMENT ON COLUMN findings.check_id IS 'check, see `xfelcat audit --list`';
COMMENT ON COLUMN findings.severity IS 'E error, W warning, I information';
COMMENT ON COLUMN findings.file IS 'file name; NULL if the run as a whole is meant';
COMMENT ON COLUMN findings.place IS 'object inside the file';
COMMENT ON COLUMN findings.message IS 'what is wrong';
COMMENT ON COLUMN findings.path IS 'path of the file or run';
COMMENT ON COLUMN findings.first_seen IS 'when it was first found';
COMMENT ON COLUMN findings.last_seen IS 'when it was last found';
COMMENT ON COLUMN findings.resolved_at IS 'when it was first found gone; NULL while it is there';

COMMENT ON VIEW audits IS 'One row per audit that was made.';
COMMENT ON COLUMN audits.audit_id IS 'number of the audit, counting up';
COMMENT ON COLUMN audits.started_at IS 'when it began';
COMMENT ON COLUMN audits.seconds IS 'how long it took';
COMMENT ON COLUMN audits.scope IS 'what it covered, as JSON';
COMMENT ON COLUMN audits.checks IS 'IDs of the checks';
COMMENT ON COLUMN audits.runs IS 'catalogued runs it covered';
COMMENT ON COLUMN audits.files IS 'catalogued files it covered';
COMMENT ON COLUMN audits.errors IS 'open findings of severity E afterwards';
COMMENT ON COLUMN audits.warnings IS 'open findings of severity W afterwards';
COMMENT ON COLUMN audits.infos IS 'open findings of severity I afterwards';
COMMENT ON COLUMN audits.new IS 'findings that were not open before';
COMMENT ON COLUMN audits.resolved IS 'findings that were open before and are gone';
COMMENT ON COLUMN audits.xfelcat_version IS 'version of xfelcat that made it';
