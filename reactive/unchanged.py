"""The one value that says: nothing changed here. Views, queries and derived signals return it instead of a snapshot."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = auto()


UNCHANGED: Final = Unchanged.UNCHANGED
"""What a view returns when the batch changed nothing: no snapshot is made, compared or emitted."""
