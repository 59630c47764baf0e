-- What this node let go because of its age, from the log's local lines: by kind the time up to which every payload went,
-- and halves of the ids of single facts younger than that. Rows are only added, and mean the same however often they come.

CREATE TABLE internal.retired_upto (kind VARCHAR NOT NULL, at_ms BIGINT NOT NULL);

CREATE TABLE internal.retired_facts (id_half BLOB NOT NULL);
