"""Handlers around handlers: traces, counts, retries, planted faults, extension effects. Each is one and wraps one."""
