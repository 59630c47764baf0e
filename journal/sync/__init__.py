"""Anti-entropy: the words two replicas exchange, and the machine that decides which word comes next."""
