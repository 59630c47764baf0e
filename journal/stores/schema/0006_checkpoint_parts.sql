-- Kept states of many megabytes, in parts and apart from the small ones: whoever reads one row of a table with such a
-- column reads what lies beside it as well. Their row in view_checkpoints has an empty state.

CREATE TABLE internal.view_checkpoint_parts (view_name VARCHAR NOT NULL, part INTEGER NOT NULL, state BLOB NOT NULL);
