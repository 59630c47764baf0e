-- What this node alone remembers of its peers, from the log's local lines. Rows are only added (an acknowledgement that
-- comes twice is two rows), and read with the earliest time of each; nothing of it is a fact.

CREATE TABLE internal.fact_acks (fact_id BLOB NOT NULL, peer VARCHAR NOT NULL, acked_at BIGINT NOT NULL);

-- Facts whose acknowledgements were let go; a late one is not kept again.
CREATE TABLE internal.acks_dropped (fact_id BLOB NOT NULL, dropped_at BIGINT NOT NULL);

CREATE TABLE internal.peers (
    address VARCHAR NOT NULL,
    authority VARCHAR NOT NULL,
    trust INTEGER NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    back_off_until BIGINT NOT NULL
);
