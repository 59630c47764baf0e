"""A sealed run as it lies in the log: its facts in columns, and as records once somebody asks for them.

Rebuilding a table of a million facts needs ids and bytes, not a million objects, so the columns are what readers fill;
records are made of them by the strict reader. Whether the run is a member is asked of the index.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from antiphon.facts import ChainInfo, FactId, FactRecord, InvalidLine, parse_line
from antiphon.facts.encoding import (
    FACT_PREFIX,
    SALT_TEXT_BYTES,
    Header,
    build_erased_line,
    build_line,
    parse_header,
    read_consecutive,
)

from ..chain import Head, Seal, build_records
from ..errors import LogDamaged
from .position import RunRow

_LIVE_OPEN = b'{"h":'
_PAYLOAD_OPEN = b',"p":'
_SALT_OPEN = b',"r":"'
_LINE_CLOSE = b'"}'
_LINKS_OPEN = b'{"after":'


class Columns(NamedTuple):
    """Consecutive facts: each one's header, its salt and payload as they are hashed, and its id.

    ``erased`` has the digest of each fact (by its place) that has no body any more.
    """

    headers: Sequence[bytes]
    bodies: Sequence[bytes]
    ids: Sequence[FactId]
    erased: Mapping[int, bytes]

    def line(self, place: int) -> bytes:
        """A fact's line as it was sealed."""
        header, digest = self.headers[place], self.erased.get(place)
        if digest is not None:
            return build_erased_line(header, digest)
        body = self.bodies[place]
        return build_line(header, body[SALT_TEXT_BYTES:], body[:SALT_TEXT_BYTES])


class SegmentPlace(NamedTuple):
    """Where a run's rows lie in a segment: its number, the number its chain has there, and the first row (from 0)."""

    number: int
    chain_number: int
    first_row: int


class LoggedRun:
    """A run as the log holds it; the seal's signature is not checked on reading, the frame's hash is.

    ``records`` are made when they are first asked for (~3 µs a fact) and kept.
    """

    __slots__ = ("_records", "columns", "head", "info", "row", "seal", "segment")

    def __init__(
        self,
        info: ChainInfo,
        seal: Seal,
        row: RunRow,
        *,
        columns: Columns | None = None,
        records: tuple[FactRecord, ...] = (),
        segment: SegmentPlace | None = None,
    ) -> None:
        """*columns* hold the whole run, or *records* do; raises ``InvalidLine`` when the last header cannot be read."""
        self.info = info
        self.seal = seal
        self.row = row
        self.columns = columns
        self.segment = segment
        self._records = None if columns is not None else records
        if columns is not None:
            self.head = Head(seal.to_seq, FactId(seal.to_id), parse_header(columns.headers[-1]).hlc)
        elif records:
            self.head = Head(seal.to_seq, FactId(seal.to_id), records[-1].hlc)
        else:
            self.head = Head(seal.to_seq, FactId(seal.to_id), 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LoggedRun):
            return NotImplemented
        return (self.info, self.seal, self.row, self.records) == (other.info, other.seal, other.row, other.records)

    __hash__ = None  # type: ignore[assignment]  # compared by what it holds

    def __repr__(self) -> str:
        return f"LoggedRun(chain {self.info.text[:8]}, facts {self.row.first_seq}..{self.row.last_seq})"

    @property
    def fact_count(self) -> int:
        """How many facts it holds."""
        return len(self.ids)

    @property
    def ids(self) -> Sequence[FactId]:
        """The facts' ids in order."""
        if self.columns is not None:
            return self.columns.ids
        return [record.fact_id for record in self.records]

    @property
    def records(self) -> tuple[FactRecord, ...]:
        """The facts in order. Raises ``LogDamaged`` when sealed bytes are no facts, which no writer of ours seals."""
        if self._records is None:
            self._records = self._read_records()
        return self._records

    @property
    def is_linked(self) -> bool:
        """Whether a fact of it names causes in other chains."""
        if self.columns is not None:
            return _LINKS_OPEN in b"".join(self.columns.headers)
        return any(record.after for record in self.records)

    def records_of(self, kind: str) -> tuple[FactRecord, ...]:
        """The facts of one kind; without making records when there are none."""
        needle = f'"k":"{kind}"'.encode()
        if self.columns is not None and needle not in b"".join(self.columns.headers):
            return ()
        return tuple(record for record in self.records if record.kind == kind)

    def moved(self, row: RunRow) -> LoggedRun:
        """The same facts at another place."""
        return LoggedRun(self.info, self.seal, row, records=self.records)

    def without(self, places: Collection[int]) -> LoggedRun:
        """The run with only those facts that are not at *places*."""
        if not places:
            return self
        kept = tuple(record for place, record in enumerate(self.records) if place not in places)
        return LoggedRun(self.info, self.seal, self.row, records=kept)

    def _read_records(self) -> tuple[FactRecord, ...]:
        columns, row = self.columns, self.row
        assert columns is not None, "a run has columns or records"
        lines = [columns.line(place) for place in range(len(columns.ids))]
        try:
            records = read_consecutive(
                self.info, lines, after_seq=row.first_seq - 1, after_id=row.first_previous_id, after_hlc=-1
            )
            if records is not None and records[-1].fact_id == row.last_id:
                return records
            return build_records(self.info, lines, [parse_line(line) for line in lines], columns.ids)
        except InvalidLine as problem:
            place = f"log file {row.file_number}, bytes {row.offset}..{row.offset + row.length}"
            raise LogDamaged(f"{place}: {problem}") from problem


def split_lines(lines: Sequence[bytes]) -> tuple[list[bytes], list[bytes]] | None:
    """The headers and the bodies (salt and payload) of live lines; None when one of them is anything else.

    What no hash covers, the few bytes around these parts, is compared here.
    """
    headers, bodies = [], []
    for line in lines:
        end = line.find(b"}") + 1
        if (
            line[:5] != _LIVE_OPEN
            or line[end : end + 5] != _PAYLOAD_OPEN
            or line[-32:-26] != _SALT_OPEN
            or line[-2:] != _LINE_CLOSE
            or len(line) < end + 37
        ):
            return None
        headers.append(line[5:end])
        bodies.append(line[-26:-2] + line[end + 5 : -32])
    return headers, bodies


def link_columns(
    previous: bytes, headers: Sequence[bytes], bodies: Sequence[bytes], erased: Mapping[int, bytes] = {}
) -> list[FactId]:
    """The ids of consecutive facts, each hashed over the one before; ~0.9 µs each."""
    digests = [sha256(body).digest() for body in bodies]
    for place, digest in erased.items():
        digests[place] = digest
    ids = []
    for header, digest in zip(headers, digests, strict=True):
        previous = sha256(FACT_PREFIX + previous + header + digest).digest()
        ids.append(previous)
    return ids  # type: ignore[return-value]  # wrapping each costs as much as a tenth of hashing it


def read_plain_run(info: ChainInfo, seal: Seal, row: RunRow, lines: Sequence[bytes]) -> LoggedRun | None:
    """A run in columns when *lines* are what *seal* covers, nothing of it erased; else None, and nothing is decided.

    Its ids prove that these are the bytes that were checked when they became members, so only the first and the last
    header are read.
    """
    parts = split_lines(lines)
    if parts is None or row.first_seq == 1 or len(lines) != row.last_seq - row.first_seq + 1:
        return None
    ids = link_columns(row.first_previous_id, *parts)
    if ids[-1] != row.last_id:
        return None
    try:
        first, run = parse_header(parts[0][0]), LoggedRun(info, seal, row, columns=Columns(*parts, ids, {}))
    except InvalidLine:
        return None
    return run if _begins(first, info, row) else None


def _begins(first: Header, info: ChainInfo, row: RunRow) -> bool:
    return (first.chain, first.seq) == (info.chain, row.first_seq)
