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
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from antiphon.facts import ChainInfo, FactId, InvalidLine, parse_line
from antiphon.facts.encoding import ParsedLine, build_erased_line, compute_fact_id, parse_header

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

BASE_NOTE = "base"
# A header without causal links and a seal take a KiB at most.
BASE_BYTES_MAX = 8 * 1024
# Bases of one chain in one local line: some 150 KiB.
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
    try:
        seal = parse_seal_line(seal_line)
    except InvalidLine as problem:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} is malformed: {problem}") from problem
    base, parsed = _check(info, previous_id, line, seal)
    if not is_seal_valid(seal, info.public_key):
        raise UnsealedBytes(f"no valid seal of chain {info.text[:8]} ends in the base that was sent for it")
    # The writer is accused of nothing that it did not seal.
    check_headers(info, Head(seal.to_seq - 1, FactId(previous_id), 0), (parsed,))
    return base


def _check(info: ChainInfo, previous_id: bytes, line: bytes, seal: Seal) -> tuple[ChainBase, ParsedLine]:
    """Everything but the signature, and the rules that a writer keeps."""
    try:
        parsed = parse_line(line)
    except InvalidLine as problem:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} is malformed: {problem}") from problem
    if parsed.header.after:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} names causes; such runs are never collapsed")
    if parsed.payload is not None or len(line) > BASE_BYTES_MAX // 2:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} carries a payload, or {len(line)} bytes")
    found = compute_fact_id(FactId(previous_id), parsed.header.raw, parsed.digest)
    is_first = seal.to_seq == seal.from_seq + 1
    if seal.chain != info.chain or found != seal.to_id or (is_first and previous_id != seal.from_id):
        raise UnsealedBytes(f"the base that was sent for chain {info.text[:8]} is not where its seal ends")
    if not seal.from_seq:
        raise UnsealedBytes(f"chain {info.text[:8]} cannot begin behind its opening, which is never collapsed")
    if not 1 <= seal.to_seq - seal.from_seq <= RUN_FACTS_MAX:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} spans {seal.to_seq - seal.from_seq} facts")
    return ChainBase(info, FactId(previous_id), line, seal, parsed.header.hlc), parsed


def notes_of(bases: Iterable[ChainBase]) -> tuple[LocalNote, ...]:
    """What a log keeps of them: a line for each stretch of a chain, ~0.15 KB a base of which most is its signature."""
    stretches: list[list[ChainBase]] = []
    for base in sorted(bases, key=lambda base: (base.info.chain, base.seal.to_seq)):
        last = stretches[-1] if stretches else []
        if last and len(last) < NOTE_BASES_MAX and _follows(last[-1], base):
            last.append(base)
        else:
            stretches.append([base])
    return tuple(map(_note_of, stretches))


def _follows(one: ChainBase, other: ChainBase) -> bool:
    is_next = one.seal[3:5] == other.seal[1:3]
    return is_next and (one.info.chain, one.is_own) == (other.info.chain, other.is_own)


def _note_of(bases: Sequence[ChainBase]) -> LocalNote:
    """Ids are left out where they follow: a base's from the one before, its end from its header and digest."""
    info, first, last = bases[0].info, bases[0].seal, bases[-1].seal
    parsed = [parse_line(base.line) for base in bases]
    inner = [base.previous_id for base in bases if base.seal.to_seq != base.seal.from_seq + 1]
    value: dict[str, object] = {
        "digests": _text_of(b"".join(line.digest for line in parsed)),
        "from": [first.from_seq, first.from_id.hex()],
        "headers": _text_of(zlib.compress(b"\n".join(line.header.raw for line in parsed))),
        "is_own": bases[0].is_own,
        "namespace": info.namespace,
        "nonce": info.nonce.hex(),
        "previous": _text_of(b"".join(inner)),
        "public_key": info.public_key.hex(),
        "signatures": _text_of(b"".join(base.seal.signature for base in bases)),
        "to": [last.to_seq, last.to_id.hex()],
    }
    return LocalNote(BASE_NOTE, value)


def bases_of_note(note: LocalNote) -> list[ChainBase]:
    """The bases that a local line keeps; none when it is about something else. They were verified before they were
    written, so one signature is looked at again, for where they begin: ~15 µs each. Raises ``UnsealedBytes``."""
    if note.kind != BASE_NOTE:
        return []
    try:
        told = {name: str(each) for name, each in note.value.items()}
        info = make_chain_info(
            public_key=bytes.fromhex(told["public_key"]),
            nonce=bytes.fromhex(told["nonce"]),
            namespace=told["namespace"],
        )
        if "line" in told:
            return [_read_first_form(info, told)]
        from_seq, from_id = _end_of(note.value["from"])
        inner = iter(_pieces(told["previous"], 32))
        headers = zlib.decompress(_bytes_of(told["headers"])).split(b"\n")
        found: list[ChainBase] = []
        parts = zip(headers, _pieces(told["digests"], 32), _pieces(told["signatures"], 64), strict=True)
        for header, digest, signature in parts:
            to_seq = parse_header(header).seq
            previous = from_id if to_seq == from_seq + 1 else FactId(next(inner))
            to_id = compute_fact_id(previous, header, digest)
            seal = Seal(info.chain, from_seq, from_id, to_seq, to_id, signature)
            base, _ = _check(info, previous, build_erased_line(header, digest), seal)
            found.append(base._replace(is_own=note.value["is_own"] is True))
            from_seq, from_id = to_seq, to_id
        if (from_seq, from_id) != _end_of(note.value["to"]):
            raise ValueError("they do not end where they ended")
        if not is_seal_valid(found[0].seal, info.public_key):
            raise ValueError("they do not begin where they began")
    except (InvalidLine, KeyError, TypeError, ValueError, StopIteration, zlib.error) as problem:
        raise UnsealedBytes(f"a local line that keeps no bases: {problem}") from problem
    return found


def _read_first_form(info: ChainInfo, told: Mapping[str, str]) -> ChainBase:
    """A line of the first form, which stood for all that came before it: of that only its own run's end is known. It
    waits behind a hole, which any peer that holds what was below closes."""
    base = read_base(info, bytes.fromhex(told["previous"]), told["line"].encode(), told["seal"].encode())
    return base._replace(is_own="collapsed_from" in told)


def _end_of(told: object) -> tuple[int, FactId]:
    if not isinstance(told, list | tuple) or len(told) != 2:
        raise ValueError(f"{told!r} is no number and no id")
    return int(told[0]), FactId(bytes.fromhex(str(told[1])))


def _pieces(text: str, size: int) -> list[bytes]:
    data = _bytes_of(text)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _text_of(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes_of(text: str) -> bytes:
    return b64decode(text, validate=True)


def bases_of(notes: Iterable[LocalNote]) -> list[ChainBase]:
    """The bases that any of *notes* keep."""
    return [base for note in notes for base in bases_of_note(note)]
