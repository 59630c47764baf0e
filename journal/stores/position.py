"""Places in the log: where a follower has got to, and where a sealed run of one chain lies.

Plain values; the log, the index and the DuckDB follower all speak of places in these terms.
"""

from __future__ import annotations

from typing import NamedTuple

from ..chain import Seal

NO_FRAME = "0" * 64


class LogPosition(NamedTuple):
    """The end of a frame: file number (from 1), byte offset just after its closing line, its hash, and how many facts
    came before."""

    file_number: int
    offset: int
    frame_hash: str
    fact_count: int


LOG_START = LogPosition(0, 0, NO_FRAME, 0)
"""The place before the first frame of a log."""


class RunRow(NamedTuple):
    """Consecutive facts of one chain under one seal, and the bytes (fact lines and seal line) that hold them.

    ``first_previous_id`` is the id of the fact before the first (32 zero bytes at a chain's start).
    """

    chain: bytes
    first_seq: int
    last_seq: int
    first_previous_id: bytes
    last_id: bytes
    file_number: int
    offset: int
    length: int


def row_of_seal(seal: Seal) -> RunRow:
    """The run that a seal covers, wherever it lies: nowhere, when it was collapsed."""
    return RunRow(seal.chain, seal.from_seq + 1, seal.to_seq, seal.from_id, seal.to_id, 0, 0, 0)
