"""One handler for each kind of CRDT: convergent, delta, op-based and meet, each an immutable value."""
