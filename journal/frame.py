"""Frames: one atomic step of the log, written as lines of JSON that end with a closing line.

Encoding and hashing only; files, syncing and torn tails are the business of ``stores/log.py``. Hashes cover ids and
line hashes, never payload bytes, so that a payload can be erased and the chain of frames still verifies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import orjson

from antiphon.facts import ChainInfo, InvalidLine, Registration, canonical_bytes

from .chain import make_chain_info
from .errors import UnsealedBytes

FRAME_PREFIX = b"antiphon.frame.1"
FORMAT_NUMBER = 1
CLOSING_OPEN = b'{"frame":'

_CLOSING = re.compile(
    rb'\{"frame":\{"count":(0|[1-9][0-9]{0,9}),"hash":"([0-9a-f]{64})","previous":"([0-9a-f]{64})"\}\}'
)
# A hash that a flipped bit made no hash of must not become what the next frame is built on.
_HASH = re.compile("[0-9a-f]{64}")
_TAG = re.compile(rb'\{"([a-z_]+)(\?)?":')
_KNOWN_TAGS = frozenset({b"chain", b"e", b"file", b"frame", b"h", b"local", b"seal"})


class UnknownTag(InvalidLine):
    """A line that must be understood and is not."""


class NewerFormat(InvalidLine):
    """A log file's first line that names a format of the future; whether it may be believed, what follows must tell."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"it names format {number}, and this antiphon reads up to {FORMAT_NUMBER}")


class Closing(NamedTuple):
    """A frame's closing line: how many lines it closes, its hash and the hash of the frame before."""

    line_count: int
    frame_hash: str
    previous: str


class FileHeader(NamedTuple):
    """A log file's first line; ``previous_file`` and ``previous_frame`` name the last good frame before it."""

    format: int
    journal: str
    number: int
    previous_file: int
    previous_frame: str


class LocalNote(NamedTuple):
    """What a local line says: its kind, and JSON data. It never leaves the node."""

    kind: str
    value: dict[str, object]


def frame_hash(previous: str, entries: Sequence[bytes]) -> str:
    """Hash a frame: *entries* are the facts' ids and the other lines' hashes, in the order of the lines."""
    return sha256(FRAME_PREFIX + bytes.fromhex(previous) + b"".join(entries)).hexdigest()


def line_hash(line: bytes) -> bytes:
    """What a line that is not a fact contributes to its frame's hash."""
    return sha256(line).digest()


def build_closing(closing: Closing) -> bytes:
    """Write a closing line."""
    count, digest, previous = closing
    return f'{{"frame":{{"count":{count},"hash":"{digest}","previous":"{previous}"}}}}'.encode()


def parse_closing(line: bytes) -> Closing | None:
    """Read a closing line, or None when it is something else."""
    found = match_closing(line, 0)
    return found[0] if found is not None and found[1] == len(line) else None


def match_closing(data: bytes, start: int) -> tuple[Closing, int] | None:
    """Read the closing line that begins at *start*, and where it ends, whatever stands behind it."""
    match = _CLOSING.match(data, start)
    return (Closing(int(match[1]), match[2].decode(), match[3].decode()), match.end()) if match else None


def build_file_header(header: FileHeader) -> bytes:
    """Write a file's first line."""
    return canonical_bytes({"file": header._asdict()})


def parse_file_header(line: bytes) -> FileHeader:
    """Read a file's first line. Raises ``InvalidLine``, as ``NewerFormat`` when it names a newer one."""
    try:
        data = orjson.loads(line)["file"]
        number = data["format"]
        if isinstance(number, int) and number > FORMAT_NUMBER:
            raise NewerFormat(number)
        header = FileHeader(**data)
    except InvalidLine:
        raise
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as problem:
        raise InvalidLine(f"not a log file's first line: {line[:32]!r}") from problem
    if build_file_header(header) != line or header.format != FORMAT_NUMBER:
        raise InvalidLine(f"not the canonical first line of a log file: {line[:120]!r}")
    if not _HASH.fullmatch(header.previous_frame):
        raise InvalidLine(f"the first line of a log file names no frame: {header.previous_frame[:70]!r}")
    return header


def build_chain_line(info: ChainInfo) -> bytes:
    """Write what certifies a chain's id; it stands before the chain's first fact in the log."""
    return canonical_bytes(
        {"chain": {"namespace": info.namespace, "nonce": info.nonce.hex(), "public_key": info.public_key.hex()}}
    )


def parse_chain_line(line: bytes) -> ChainInfo:
    """Read a chain line. Raises ``InvalidLine``."""
    try:
        data = orjson.loads(line)["chain"]
        return make_chain_info(
            public_key=bytes.fromhex(data["public_key"]),
            nonce=bytes.fromhex(data["nonce"]),
            namespace=data["namespace"],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, UnsealedBytes) as problem:
        raise InvalidLine(f"not a chain line: {line[:120]!r}") from problem


def build_local_line(kind: str, value: dict[str, object]) -> bytes:
    """Write a local line: what this node remembers and never sends."""
    return canonical_bytes({"local": {"kind": kind, "value": value}})


def build_registration_line(registration: Registration) -> bytes:
    """Write down a fact type that this journal has met."""
    return build_local_line("registration", registration._asdict())


def parse_local_line(line: bytes) -> LocalNote:
    """Read a local line. Raises ``InvalidLine``."""
    try:
        local = orjson.loads(line)["local"]
        kind, value = local["kind"], local["value"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as problem:
        raise InvalidLine(f"not a local line: {line[:120]!r}") from problem
    if not isinstance(kind, str) or not isinstance(value, dict):
        raise InvalidLine(f"not a local line: {line[:120]!r}")
    return LocalNote(kind, value)


def parse_registration(line: bytes) -> Registration | None:
    """Read a registration out of a local line, or None when it is about something else."""
    return registration_of(parse_local_line(line))


def registration_of(note: LocalNote) -> Registration | None:
    """The registration that a local line is, or None when it is about something else. Raises ``InvalidLine``."""
    if note.kind != "registration":
        return None
    try:
        return Registration(**note.value)  # type: ignore[arg-type]  # a frame's hash covers what was written
    except TypeError as problem:
        raise InvalidLine(f"not a registration: {note.value}") from problem


def tag_of(line: bytes) -> tuple[bytes, bool]:
    """A line's tag and whether it must be understood; an unknown tag that is not marked ``?`` raises
    ``InvalidLine``."""
    match = _TAG.match(line)
    if match is None:
        raise InvalidLine(f"a log line without a tag: {line[:80]!r}")
    tag, optional = match.groups()
    if tag not in _KNOWN_TAGS and optional is None:
        raise UnknownTag(
            f"a log line with the unknown tag {tag.decode()!r}; it was written by a newer antiphon, so upgrade"
        )
    return tag, optional is None
