-- RUN values become one row per stretch of neighbouring runs with the same value.

CREATE OR REPLACE TEMP TABLE folded AS
WITH placed AS (
    SELECT run_id, row_number() OVER (PARTITION BY run_id >> 20 ORDER BY run_id) AS place FROM run
),
told AS (
    SELECT
        v.*, v.first_run >> 20 AS series, f.place,
        lag(l.place) OVER w IS NOT DISTINCT FROM f.place - 1
        AND lag(v.dtype) OVER w IS NOT DISTINCT FROM v.dtype
        AND lag(v.number) OVER w IS NOT DISTINCT FROM v.number
        AND lag(v.text) OVER w IS NOT DISTINCT FROM v.text
        AND lag(v.raw) OVER w IS NOT DISTINCT FROM v.raw
        AND lag(v.shape) OVER w IS NOT DISTINCT FROM v.shape AS goes_on
    FROM run_value AS v
    JOIN placed AS f ON f.run_id = v.first_run
    JOIN placed AS l ON l.run_id = v.last_run
    WINDOW w AS (PARTITION BY v.first_run >> 20, v.source_id, v.key_id ORDER BY f.place)
),
stretched AS (
    SELECT
        *, count(*) FILTER (NOT goes_on) OVER (
            PARTITION BY series, source_id, key_id ORDER BY place ROWS UNBOUNDED PRECEDING
        ) AS stretch
    FROM told
)
SELECT
    min(first_run) AS first_run, max(last_run) AS last_run, source_id, key_id,
    any_value(dtype) AS dtype, any_value(number) AS number, any_value(text) AS text,
    any_value(raw) AS raw, any_value(shape) AS shape
FROM stretched
GROUP BY series, source_id, key_id, stretch;

DELETE FROM run_value;

INSERT INTO run_value SELECT * FROM folded ORDER BY source_id, key_id, first_run;

DROP TABLE folded;

-- Profiles of keys, audits, and who found a finding.

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

ALTER TABLE finding ADD COLUMN origin VARCHAR;

UPDATE finding SET origin = 'scan';

DROP VIEW findings;

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
