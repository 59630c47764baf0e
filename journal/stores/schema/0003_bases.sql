-- Where chains go on whose earlier facts were collapsed, from the log's local lines: one row a chain, the furthest.

CREATE TABLE internal.bases (chain BLOB NOT NULL, seq BIGINT NOT NULL, note VARCHAR NOT NULL);
