-- Parts of kept states as they are, so that a few of them can be read at a time: what zstd packed together is unpacked
-- for each question anew. A state that was kept in the old ones is folded anew once.

DROP TABLE internal.view_checkpoint_parts;

DELETE FROM internal.view_checkpoints WHERE octet_length(state) = 0;

CREATE TABLE internal.view_checkpoint_parts (view_name VARCHAR NOT NULL, part INTEGER NOT NULL, state BLOB NOT NULL USING COMPRESSION uncompressed);
