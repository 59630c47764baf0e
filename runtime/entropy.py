"""The system's randomness: the one place where the library draws it.

Everything else is handed a source of random bytes, so that a run is a function of its inputs.
"""

from __future__ import annotations

import os


def system_random(count: int) -> bytes:
    """*count* bytes from the operating system's generator."""
    return os.urandom(count)
