"""What the hot paths cost, each beside its reference of the same run. Run with ``python -m benchmarks``."""
