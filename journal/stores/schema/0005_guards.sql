-- What this node's guards wrote down in the log (plans, what has left, epochs), line by line since their last state, so
-- that an opening need not read the log for it. Never leaves the node; nothing of it is a fact.

CREATE TABLE internal.guard_notes (place BIGINT NOT NULL, note VARCHAR NOT NULL);
