"""Chains and seals: gap-free, hash-linked runs of one writer, covered by one Ed25519 signature a window.

Pure: keys come in as objects that sign, bytes come in as bytes. Ed25519 is RFC 8032, through ``cryptography``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, Protocol

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from antiphon.facts import (
    AuthorityId,
    ChainId,
    ChainInfo,
    ChainOpened,
    FactError,
    FactId,
    FactRecord,
    InvalidLine,
    Namespace,
    ParsedLine,
    authority_id,
    canonical_bytes,
    chain_id,
    parse_line,
)
from antiphon.facts.encoding import compute_fact_id, read_consecutive
from antiphon.facts.ids import NAMESPACE_LENGTH_MAX, NO_FACT

from .errors import SealedViolation, UnsealedBytes

SEAL_PREFIX = b"antiphon.seal.1"
OPENING_PREFIX = b"antiphon.chain.1"
OPENING_KIND = ChainOpened.fact_type.kind
# One seal must cover what one message can carry.
RUN_FACTS_MAX = 1_000

_SEAL = re.compile(
    rb'\{"seal":\{"chain":"([0-9a-f]{32})","from":\[(0|[1-9][0-9]{0,18}),"([0-9a-f]{64})"\],"signature":"([0-9a-f]{128})",'
    rb'"to":\[([1-9][0-9]{0,18}),"([0-9a-f]{64})"\]\}\}'
)


class Signer(Protocol):
    """Something that holds an Ed25519 private key and never shows it."""

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of *message*."""
        ...


class Head(NamedTuple):
    """The last sealed fact of a chain: its number, id and HLC; (0, zeros, 0) before the first."""

    seq: int
    fact_id: FactId
    hlc: int


CHAIN_START = Head(0, NO_FACT, 0)
"""The head of a chain that says nothing yet."""


class Seal(NamedTuple):
    """A signature over everything a chain says after *from* up to and including *to*."""

    chain: ChainId
    from_seq: int
    from_id: FactId
    to_seq: int
    to_id: FactId
    signature: bytes


def seal_message(*, chain: bytes, from_seq: int, from_id: bytes, to_seq: int, to_id: bytes) -> bytes:
    """The bytes a seal signs; numbers are 8 bytes, big-endian."""
    return SEAL_PREFIX + chain + from_seq.to_bytes(8, "big") + from_id + to_seq.to_bytes(8, "big") + to_id


def build_seal_line(seal: Seal) -> bytes:
    """Write a seal as its own line."""
    return (
        f'{{"seal":{{"chain":"{seal.chain.hex()}","from":[{seal.from_seq},"{seal.from_id.hex()}"],'
        f'"signature":"{seal.signature.hex()}","to":[{seal.to_seq},"{seal.to_id.hex()}"]}}}}'
    ).encode()


def parse_seal_line(line: bytes) -> Seal:
    """Read a seal line strictly, or ``InvalidLine``."""
    match = _SEAL.fullmatch(line)
    if match is None:
        raise InvalidLine(f"not a seal line: {line[:120]!r}")
    chain, from_seq, from_id, signature, to_seq, to_id = (part.decode() for part in match.groups())
    return Seal(
        ChainId(bytes.fromhex(chain)),
        int(from_seq),
        FactId(bytes.fromhex(from_id)),
        int(to_seq),
        FactId(bytes.fromhex(to_id)),
        bytes.fromhex(signature),
    )


def is_seal_valid(seal: Seal, public_key: bytes) -> bool:
    """Check the signature; ~60 µs."""
    message = seal_message(
        chain=seal.chain, from_seq=seal.from_seq, from_id=seal.from_id, to_seq=seal.to_seq, to_id=seal.to_id
    )
    return _is_signed(public_key, seal.signature, message)


def build_opening(
    *,
    authority: Signer,
    writer_key: bytes,
    nonce: bytes,
    namespace: Namespace,
    device: str,
    label: str,
    predecessor: ChainId | None = None,
) -> ChainOpened:
    """Assemble the first fact of a chain, signed by the authority's key."""
    unsigned = {
        "authority": authority_id(authority.public_key),
        "authority_key": authority.public_key.hex(),
        "device": device,
        "label": label,
        "namespace": namespace,
        "nonce": nonce.hex(),
        "predecessor": predecessor.hex() if predecessor else None,
        "public_key": writer_key.hex(),
    }
    return ChainOpened.model_validate(unsigned | {"signature": authority.sign(_opening_message(unsigned)).hex()})


def describe_chain(info: ChainInfo, opening: bytes | None) -> ChainInfo:
    """Add what a chain's opening payload says, when it is there, belongs to this chain and is signed by its
    authority."""
    if opening is None:
        return info
    try:
        fact = ChainOpened.fact_type.decode(opening)
        data = orjson.loads(opening)
        signature = bytes.fromhex(data.pop("signature"))
        authority_key = bytes.fromhex(data["authority_key"])
    except (FactError, ValueError):
        return info
    assert isinstance(fact, ChainOpened)
    matches = (fact.public_key, fact.nonce, fact.namespace) == (info.public_key.hex(), info.nonce.hex(), info.namespace)
    if not matches or len(authority_key) != 32 or authority_id(authority_key) != fact.authority:
        return info
    if not _is_signed(authority_key, signature, _opening_message(data)):
        return info
    return replace(info, authority=AuthorityId(fact.authority), label=fact.label, device=fact.device)


def info_of_opening(line: ParsedLine) -> ChainInfo:
    """The chain that an opening fact opens, from its payload alone; ``InvalidLine`` unless its header says the same."""
    if line.payload is None:
        raise InvalidLine("an erased opening fact says nothing")
    fact = ChainOpened.fact_type.decode(line.payload)
    assert isinstance(fact, ChainOpened)
    try:
        key, nonce = bytes.fromhex(fact.public_key), bytes.fromhex(fact.nonce)
    except ValueError as problem:
        raise InvalidLine("an opening fact whose key or nonce is no hex") from problem
    info = make_chain_info(public_key=key, nonce=nonce, namespace=fact.namespace)
    if info.chain != line.header.chain:
        raise InvalidLine("an opening fact of another chain than its header's")
    return describe_chain(info, line.payload)


def make_chain_info(*, public_key: bytes, nonce: bytes, namespace: str) -> ChainInfo:
    """Derive a chain from its three parts; refuses parts of the wrong size as the sender's fault."""
    if len(public_key) != 32 or len(nonce) != 16 or not 1 <= len(namespace.encode()) <= NAMESPACE_LENGTH_MAX:
        raise UnsealedBytes(
            f"a chain is a 32-byte key, a 16-byte nonce and a namespace of 1..{NAMESPACE_LENGTH_MAX} bytes; "
            f"got {len(public_key)}, {len(nonce)}, {len(namespace)}"
        )
    parsed = Namespace(namespace)
    return ChainInfo(ChainId(chain_id(public_key=public_key, nonce=nonce, namespace=parsed)), public_key, nonce, parsed)


class VerifiedRun(NamedTuple):
    """A run whose bytes, links and seal were checked."""

    info: ChainInfo
    records: tuple[FactRecord, ...]
    seal: Seal
    seal_line: bytes
    previous: Head

    @property
    def head(self) -> Head:
        """The chain's head once this run is a member."""
        last = self.records[-1]
        return Head(last.seq, last.fact_id, last.hlc)


def verify_run(info: ChainInfo, previous: Head, lines: Sequence[bytes], seal_line: bytes) -> VerifiedRun:
    """Check a run that continues *previous*: structure, hashes, seal, then the header's rules.

    About 4 µs a fact and 60 µs a seal. Raises ``UnsealedBytes`` when no valid seal covers the bytes (drop them, blame
    the sender) and ``SealedViolation`` when the writer itself broke a rule under its seal.
    """
    if not 1 <= len(lines) <= RUN_FACTS_MAX:
        raise UnsealedBytes(f"a run holds 1..{RUN_FACTS_MAX} facts; got {len(lines)}")
    try:
        seal = parse_seal_line(seal_line)
        records = read_plain(info, previous, lines)
        if records is not None:
            _check_seal(info, previous, seal, len(lines), records[-1].fact_id)
            return VerifiedRun(info, records, seal, seal_line, previous)
        parsed = [parse_line(line) for line in lines]
    except InvalidLine as problem:
        raise UnsealedBytes(f"a run of chain {info.text[:8]} is malformed: {problem}") from problem
    ids = link_ids(previous.fact_id, parsed)
    _check_seal(info, previous, seal, len(lines), ids[-1])
    check_headers(info, previous, parsed)
    if previous.seq == 0 and parsed[0].header.kind == OPENING_KIND:
        info = describe_chain(info, parsed[0].payload)
    return VerifiedRun(info, build_records(info, lines, parsed, ids), seal, seal_line, previous)


def _check_seal(info: ChainInfo, previous: Head, seal: Seal, fact_count: int, last_id: FactId) -> None:
    covers = (info.chain, previous.seq, previous.fact_id, previous.seq + fact_count, last_id)
    if seal[:5] != covers or not is_seal_valid(seal, info.public_key):
        raise UnsealedBytes(
            f"no valid seal of chain {info.text[:8]} covers facts {previous.seq + 1}..{previous.seq + fact_count}; "
            "fetch them again from another peer"
        )


def read_plain(info: ChainInfo, previous: Head, lines: Sequence[bytes]) -> tuple[FactRecord, ...] | None:
    """The facts after *previous*, when nothing is erased and every rule is kept; else None, and nothing is decided."""
    if previous.seq == 0:
        return None  # an opening has rules of its own
    records = read_consecutive(info, lines, after_seq=previous.seq, after_id=previous.fact_id, after_hlc=previous.hlc)
    if records is not None and any(record.kind == OPENING_KIND for record in records):
        return None
    return records


def link_ids(previous: FactId, parsed: Sequence[ParsedLine]) -> list[FactId]:
    """The ids of consecutive facts, each hashed over the one before."""
    ids: list[FactId] = []
    for line in parsed:
        previous = compute_fact_id(previous, line.header.raw, line.digest)
        ids.append(previous)
    return ids


def check_headers(info: ChainInfo, previous: Head, parsed: Sequence[ParsedLine]) -> None:
    """The rules a writer must keep: its own chain, numbers without gaps, a strictly rising HLC, an opening first."""
    seq, hlc, chain = previous.seq, previous.hlc, info.chain
    for line in parsed:
        _, _, _, its_chain, kind, its_seq, its_hlc, _ = line.header
        if its_chain != chain:
            raise SealedViolation(f"chain {info.text[:8]} seals a fact of chain {its_chain.hex()[:8]}")
        if its_seq != seq + 1:
            raise SealedViolation(f"chain {info.text[:8]} goes from {seq} to {its_seq}; numbers have no gaps")
        if its_hlc <= hlc:
            raise SealedViolation(f"chain {info.text[:8]} lets its clock stand or fall at {its_seq}")
        if (its_seq == 1) != (kind == OPENING_KIND):
            raise SealedViolation(
                f"chain {info.text[:8]} must open with {OPENING_KIND}, and only there; got {kind} at {its_seq}"
            )
        seq, hlc = its_seq, its_hlc


def build_records(
    info: ChainInfo, lines: Sequence[bytes], parsed: Sequence[ParsedLine], ids: Sequence[FactId]
) -> tuple[FactRecord, ...]:
    """Join lines, their parts and their ids into records."""
    # Building a named tuple through its class costs twice as much.
    new_record = tuple.__new__
    records = []
    for line, part, fact_id in zip(lines, parsed, ids, strict=True):
        raw, after, at, _, kind, seq, hlc, version = part.header
        records.append(new_record(FactRecord, (fact_id, info, seq, hlc, at, kind, version, line, len(raw), after)))
    return tuple(records)


def _opening_message(unsigned: dict[str, str | None]) -> bytes:
    return OPENING_PREFIX + canonical_bytes(unsigned)


@lru_cache(maxsize=1_024)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)


def _is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        _public_key(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
