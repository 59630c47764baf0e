"""Transports: moving frames between two replicas; what a frame says is no business of theirs."""
