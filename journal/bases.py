"""Bases: what is left of runs that a replica has collapsed, one base a run.

A base is a run's last fact, without its payload, under the run's seal. The seal says which sealed fact the run
continues, so bases hang together, and with runs that are held, as the runs did: whoever holds a base holds that piece
of the chain, with the same heads, the same root and the same answer to "did this writer seal that fact?" as those who
hold every fact. What a base lacks are the facts inside the run, and their payloads. The chain's opening run is never
collapsed, since it says whose chain it is. Decides neither what is collapsed nor when.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, InvalidLine, parse_line
from antiphon.facts.encoding import build_erased_line, compute_fact_id

from .chain import (
    RUN_FACTS_MAX,
    Head,
    Seal,
    build_seal_line,
    check_headers,
    is_seal_valid,
    make_chain_info,
    parse_seal_line,
)
from .errors import UnsealedBytes
from .frame import LocalNote
from .stores.position import RunRow

BASE_NOTE = "base"
# A header with 64 causal links takes 6 KiB, a seal half a KiB.
BASE_BYTES_MAX = 8 * 1024
# Bases of one chain in one local line: a quarter of a MiB at most, mostly signatures.
NOTE_BASES_MAX = 1_000


class ChainBase(NamedTuple):
    """A verified base: ``line`` is its fact without payload, ``previous_id`` the id of the fact before that one."""

    info: ChainInfo
    previous_id: FactId
    line: bytes
    seal: Seal
    hlc: int
    is_own: bool = False
    """Whether this replica collapsed the run itself, and did not get the base from a peer; it never leaves the node."""

    @property
    def head(self) -> Head:
        """The fact that the chain goes on from."""
        return Head(self.seal.to_seq, self.seal.to_id, self.hlc)

    @property
    def row(self) -> RunRow:
        """The run that was collapsed, which lies nowhere."""
        _, from_seq, from_id, to_seq, to_id, _ = self.seal
        return RunRow(self.info.chain, from_seq + 1, to_seq, from_id, to_id, 0, 0, 0)

    def encode(self) -> bytes:
        """The line and its seal, each ended by a newline."""
        return self.line + b"\n" + build_seal_line(self.seal) + b"\n"


def build_base(info: ChainInfo, *, previous_id: bytes, line: bytes, seal: Seal) -> ChainBase:
    """Make a base of the last fact under *seal*; its payload is left out. Raises what ``read_base`` raises."""
    parsed = parse_line(line)
    return read_base(info, previous_id, build_erased_line(parsed.header.raw, parsed.digest), build_seal_line(seal))


def read_base(info: ChainInfo, previous_id: bytes, line: bytes, seal_line: bytes) -> ChainBase:
    """Check a base from its bytes; ~70 µs. ``UnsealedBytes`` when no seal of the chain's key ends in that fact,
    ``SealedViolation`` when the writer broke a rule under it."""
    base = _read(info, previous_id, line, seal_line)
    if not is_seal_valid(base.seal, info.public_key):
        raise UnsealedBytes(f"no valid seal of chain {info.text[:8]} ends in the base that was sent for it")
    return base


def _read(info: ChainInfo, previous_id: bytes, line: bytes, seal_line: bytes) -> ChainBase:
    """Everything but the signature."""
    try:
        seal, parsed = parse_seal_line(seal_line), parse_line(line)
    except InvalidLine as problem:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} is malformed: {problem}") from problem
    if parsed.header.after:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} names causes; such runs are never collapsed")
    if parsed.payload is not None or len(line) + len(seal_line) + 2 > BASE_BYTES_MAX:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} carries a payload, or {len(line)} bytes")
    found = compute_fact_id(FactId(previous_id), parsed.header.raw, parsed.digest)
    is_first = seal.to_seq == seal.from_seq + 1
    if seal.chain != info.chain or found != seal.to_id or (is_first and previous_id != seal.from_id):
        raise UnsealedBytes(f"the base that was sent for chain {info.text[:8]} is not where its seal ends")
    if not seal.from_seq:
        raise UnsealedBytes(f"chain {info.text[:8]} cannot begin behind its opening, which is never collapsed")
    if not 1 <= seal.to_seq - seal.from_seq <= RUN_FACTS_MAX:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} spans {seal.to_seq - seal.from_seq} facts")
    check_headers(info, Head(seal.to_seq - 1, FactId(previous_id), 0), (parsed,))
    return ChainBase(info, FactId(previous_id), line, seal, parsed.header.hlc)


def notes_of(bases: Iterable[ChainBase]) -> tuple[LocalNote, ...]:
    """What a log keeps of them: a line for each chain and thousand bases, ~0.3 KB a base."""
    chains: dict[tuple[ChainId, bool], list[ChainBase]] = {}
    for base in bases:
        chains.setdefault((base.info.chain, base.is_own), []).append(base)
    size = NOTE_BASES_MAX
    return tuple(_note_of(each[at : at + size]) for each in chains.values() for at in range(0, len(each), size))


def _note_of(bases: Sequence[ChainBase]) -> LocalNote:
    info, is_own = bases[0].info, bases[0].is_own
    text = b"".join(base.previous_id.hex().encode() + b"\n" + base.encode() for base in bases)
    value: dict[str, object] = {
        "bases": b64encode(zlib.compress(text)).decode(),
        "is_own": is_own,
        "namespace": info.namespace,
        "nonce": info.nonce.hex(),
        "public_key": info.public_key.hex(),
    }
    return LocalNote(BASE_NOTE, value)


def bases_of_note(note: LocalNote) -> list[ChainBase]:
    """The bases that a local line keeps; none when it is about something else. They were verified before they were
    written, so signatures are not looked at again: ~15 µs each. Raises ``UnsealedBytes``."""
    if note.kind != BASE_NOTE:
        return []
    try:
        value = {name: str(each) for name, each in note.value.items()}
        info = make_chain_info(
            public_key=bytes.fromhex(value["public_key"]),
            nonce=bytes.fromhex(value["nonce"]),
            namespace=value["namespace"],
        )
        lines = zlib.decompress(b64decode(value["bases"], validate=True)).split(b"\n")[:-1]
        is_own = note.value["is_own"] is True
        told = zip(lines[::3], lines[1::3], lines[2::3], strict=True)
        return [
            _read(info, bytes.fromhex(previous.decode()), line, seal)._replace(is_own=is_own)
            for previous, line, seal in told
        ]
    except (KeyError, ValueError, zlib.error) as problem:
        raise UnsealedBytes(f"a local line that keeps no bases: {problem}") from problem


def bases_of(notes: Iterable[LocalNote]) -> list[ChainBase]:
    """The bases that any of *notes* keep."""
    return [base for note in notes for base in bases_of_note(note)]
