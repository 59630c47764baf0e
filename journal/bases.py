"""Bases: where a chain begins on a replica that has collapsed what came before.

A base is a chain's last fact before the cut, without its payload, under the seal that ends in it. Its id commits to
all that came before it, so whoever verifies it holds the same chain, with the same root, as those who hold every fact:
what is missing below is known, not lost. The chain's opening run is never collapsed, since it says whose chain it is.
Decides neither what is collapsed nor when.
"""

from __future__ import annotations

from typing import NamedTuple

from antiphon.facts import ChainInfo, FactId, InvalidLine, parse_line
from antiphon.facts.encoding import build_erased_line, compute_fact_id

from .chain import Head, Seal, build_seal_line, check_headers, is_seal_valid, make_chain_info, parse_seal_line
from .errors import UnsealedBytes
from .frame import LocalNote

BASE_NOTE = "base"
# A header with 64 causal links takes 6 KiB, a seal half a KiB.
BASE_BYTES_MAX = 8 * 1024


class ChainBase(NamedTuple):
    """A verified base: ``line`` is its fact without payload, ``previous_id`` the id of the fact before it."""

    info: ChainInfo
    previous_id: FactId
    line: bytes
    seal: Seal
    hlc: int
    collapsed_from: int = 0
    """On the replica that collapsed the chain itself: from this number on up to the base nothing is held here any more.
    0 when the base came from a peer; it never leaves the node."""

    @property
    def head(self) -> Head:
        """The fact that the chain goes on from."""
        return Head(self.seal.to_seq, self.seal.to_id, self.hlc)

    def encode(self) -> bytes:
        """The line and its seal, each ended by a newline."""
        return self.line + b"\n" + build_seal_line(self.seal) + b"\n"

    def note(self) -> LocalNote:
        """What a log keeps of it."""
        value: dict[str, object] = {
            "line": self.line.decode(),
            "namespace": self.info.namespace,
            "nonce": self.info.nonce.hex(),
            "previous": self.previous_id.hex(),
            "public_key": self.info.public_key.hex(),
            "seal": build_seal_line(self.seal).decode(),
        }
        if self.collapsed_from:
            value["collapsed_from"] = self.collapsed_from
        return LocalNote(BASE_NOTE, value)


def build_base(info: ChainInfo, *, previous_id: bytes, line: bytes, seal: Seal) -> ChainBase:
    """Make a base of the last fact under *seal*; its payload is left out. Raises what ``read_base`` raises."""
    parsed = parse_line(line)
    return read_base(info, previous_id, build_erased_line(parsed.header.raw, parsed.digest), build_seal_line(seal))


def read_base(info: ChainInfo, previous_id: bytes, line: bytes, seal_line: bytes) -> ChainBase:
    """Check a base from its bytes; ~70 µs. ``UnsealedBytes`` when no seal of the chain's key ends in that fact,
    ``SealedViolation`` when the writer broke a rule under it."""
    try:
        seal, parsed = parse_seal_line(seal_line), parse_line(line)
    except InvalidLine as problem:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} is malformed: {problem}") from problem
    if parsed.payload is not None or len(line) + len(seal_line) + 2 > BASE_BYTES_MAX:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} carries a payload, or {len(line)} bytes")
    found = compute_fact_id(FactId(previous_id), parsed.header.raw, parsed.digest)
    if seal.chain != info.chain or found != seal.to_id or not is_seal_valid(seal, info.public_key):
        raise UnsealedBytes(f"no valid seal of chain {info.text[:8]} ends in the base that was sent for it")
    check_headers(info, Head(seal.to_seq - 1, FactId(previous_id), 0), (parsed,))
    if seal.to_seq == 1:
        raise UnsealedBytes(f"chain {info.text[:8]} cannot begin behind its opening, which is never collapsed")
    return ChainBase(info, FactId(previous_id), line, seal, parsed.header.hlc)


def base_of_note(note: LocalNote) -> ChainBase | None:
    """The base that a local line keeps; None when it is about something else. Raises ``UnsealedBytes``."""
    if note.kind != BASE_NOTE:
        return None
    value = {name: str(each) for name, each in note.value.items()}
    try:
        info = make_chain_info(
            public_key=bytes.fromhex(value["public_key"]),
            nonce=bytes.fromhex(value["nonce"]),
            namespace=value["namespace"],
        )
        previous_id = bytes.fromhex(value["previous"])
        base = read_base(info, previous_id, value["line"].encode(), value["seal"].encode())
        return base._replace(collapsed_from=int(value.get("collapsed_from", 0)))
    except (KeyError, ValueError) as problem:
        raise UnsealedBytes(f"a local line that keeps no base: {problem}") from problem
