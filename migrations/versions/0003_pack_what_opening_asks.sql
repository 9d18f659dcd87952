-- What opening asks of a run is packed into one row; so are the keys of a schema. The revision fills
-- both between the two parts of this file.

CREATE TABLE run_packed (
    run_id UBIGINT,
    files BLOB USING COMPRESSION uncompressed,
    trains BLOB USING COMPRESSION uncompressed,
    slots BLOB USING COMPRESSION uncompressed,
    patterns BLOB USING COMPRESSION uncompressed
);

ALTER TABLE key_schema RENAME TO old_key_schema;

CREATE TABLE key_schema (
    schema_id INTEGER,
    digest VARCHAR,
    n_keys INTEGER,
    packed BLOB USING COMPRESSION uncompressed
);

-- filled here

DROP TABLE old_key_schema;

DROP TABLE index_pattern;

ALTER TABLE file DROP COLUMN patterns;
