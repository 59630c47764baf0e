-- What was refused and kept a piece of, from the log's local lines; a line that was copied forward is one row. It never
-- leaves the node and is never believed.

CREATE TABLE internal.refused (
    at_ms BIGINT NOT NULL,
    peer VARCHAR NOT NULL,
    chain VARCHAR NOT NULL,
    first_seq BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    is_sender_at_fault BOOLEAN NOT NULL,
    size BIGINT NOT NULL,
    digest VARCHAR NOT NULL,
    first_bytes BLOB NOT NULL
);

-- Who did what it must not do: peers that sent what they should not, writers that broke a rule under their own seal
-- (what = 'refused'), and writers of two stories (what = 'forked', proven by the fact that digest names).
CREATE VIEW main.evidence AS
SELECT 'refused' AS what, r.at_ms, r.peer, r.chain, r.first_seq, coalesce(c.label, '') AS author,
    coalesce(c.authority, '') AS authority, r.reason, r.is_sender_at_fault, r.size, r.digest, r.first_bytes
FROM (SELECT DISTINCT * FROM internal.refused) AS r LEFT JOIN internal.chains AS c ON c.chain = r.chain
UNION ALL
SELECT 'forked', f.at_ms, '', f.payload->>'chain', (f.payload->>'seq')::BIGINT, coalesce(c.label, ''),
    coalesce(c.authority, ''), 'its writer told two stories from this number on', false,
    octet_length(from_base64(f.payload->>'proof')), lower(hex(f.fact_id)), from_base64(f.payload->>'proof')
FROM internal.facts AS f LEFT JOIN internal.chains AS c ON c.chain = f.payload->>'chain'
WHERE f.kind = 'journal.fork_proven' AND f.payload IS NOT NULL AND f.hidden IS NULL;
