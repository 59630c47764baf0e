-- The table beside the log. No index and no primary key: DuckDB 1.5 returns wrong rows from a secondary index after a
-- crash, and a scan over sorted, compressed columns is fast enough. Times are integers in UTC milliseconds: fetching a
-- TIMESTAMPTZ into Python needs a package that nothing installs.
--
-- What a user asks is in main: the fact types, the view of all facts, and one view a kind. The rest is internal, which
-- is named in full by our own code alone, so that SHOW TABLES lists what is worth asking and nothing else.

CREATE SCHEMA internal;

CREATE TABLE internal.meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL);

-- How far the log was applied: one row, changed in the transaction that adds the facts.
CREATE TABLE internal.applied (file_number BIGINT NOT NULL, frame_end BIGINT NOT NULL, frame_hash VARCHAR NOT NULL, fact_count BIGINT NOT NULL);

-- Every kind met so far in order of arrival; version, schema and hash are those of the newest registration, or null.
CREATE TABLE main.fact_types (
    kind VARCHAR NOT NULL,
    arrival INTEGER NOT NULL,
    sql_name VARCHAR NOT NULL,
    current_version INTEGER,
    min_version INTEGER,
    json_schema VARCHAR,
    schema_hash VARCHAR
);

CREATE TABLE internal.fact_type_versions (
    kind VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    min_version INTEGER NOT NULL,
    json_schema VARCHAR NOT NULL,
    schema_hash VARCHAR NOT NULL
);

CREATE TABLE internal.chains (
    chain_number INTEGER NOT NULL,
    chain VARCHAR NOT NULL,
    public_key BLOB NOT NULL,
    nonce BLOB NOT NULL,
    namespace VARCHAR NOT NULL,
    authority VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    device VARCHAR NOT NULL
);

-- One row a fact, with every part of its line: the line can be written again byte for byte, and its id recomputed.
-- payload is JSON text; raw holds payload bytes that are not text; digest is what an erased line keeps. position counts
-- facts from 1 in the order of the log.
CREATE TABLE internal.facts (
    fact_id BLOB NOT NULL,
    chain_number INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    hlc BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    payload VARCHAR,
    raw BLOB,
    salt BLOB,
    after_links VARCHAR,
    digest BLOB,
    hidden VARCHAR,
    position BIGINT NOT NULL
);

-- Where each sealed run of a chain lies in the log, so that a journal reopens without reading it.
CREATE TABLE internal.runs (
    chain_number INTEGER NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    first_previous_id BLOB NOT NULL,
    last_id BLOB NOT NULL,
    file_number BIGINT NOT NULL,
    run_start BIGINT NOT NULL,
    run_length BIGINT NOT NULL
);

CREATE TABLE internal.view_checkpoints (
    view_name VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    schema_hash VARCHAR NOT NULL,
    root BLOB NOT NULL,
    state BLOB NOT NULL,
    position BIGINT NOT NULL
);

CREATE VIEW main.history AS
SELECT
    lower(hex(f.fact_id)) AS fact_id,
    f.kind AS kind,
    f.version AS version,
    c.label AS author,
    c.authority AS authority,
    c.chain AS chain,
    f.seq AS seq,
    f.at_ms AS at_ms,
    CASE WHEN f.at_ms BETWEEN -62135596800000 AND 253402300799999 THEN epoch_ms(f.at_ms) END AS at_time,
    f.hlc AS hlc,
    c.namespace AS namespace,
    f.payload AS payload,
    f.digest IS NOT NULL AS is_erased,
    f.hidden AS hidden,
    f.position AS position
FROM internal.facts AS f
JOIN internal.chains AS c ON c.chain_number = f.chain_number;

INSERT INTO internal.applied VALUES (0, 0, repeat('0', 64), 0);
