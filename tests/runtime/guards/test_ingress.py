"""Eight checks, each of which rejects by itself, and a type that nothing else can make."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Journal
from antiphon.facts import LocalViolation
from antiphon.journal import KeySigner, LogCursor, LogFrame, StoreUnavailable, read_log
from antiphon.journal.replay_window import REPLAY_WINDOW, ReplayWindow
from antiphon.runtime.guards.ingress import (
    FRAME_BYTES_MAX,
    IngressCheck,
    IngressPolicy,
    IngressRejected,
    IngressVerifier,
    VerifiedIngress,
    decode_ingress,
    seal_envelope,
    take_in,
)
from antiphon.testing.disk import FaultyDisk

SIGNER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
POLICY = IngressPolicy(
    key_of=lambda source: SIGNER.public_key if source == "ada" else None,
    may_send=lambda source, context: True,
    contexts=lambda source: frozenset({"home"}),
    is_member=lambda source, session: True,
)


def frame(**changes: Any) -> bytes:
    given = {"envelope_id": "e1", "source": "ada", "context": "home", "payload": b"hi"}
    return seal_envelope(SIGNER, **(given | changes))


def altered(**changes: Any) -> bytes:
    return orjson.dumps(orjson.loads(frame()) | changes)


def test_what_passes_every_check_carries_the_evidence() -> None:
    verified = IngressVerifier(POLICY).receive(frame())
    assert verified.payload == b"hi"
    assert {each.check for each in verified.evidence} == set(IngressCheck)
    assert len(IngressCheck) == 8


@pytest.mark.parametrize(
    ("check", "policy", "data"),
    [
        (IngressCheck.PEER_IDENTITY, POLICY, frame(source="eve")),
        (IngressCheck.ENVELOPE_AUTHENTICITY, POLICY, altered(payload="00")),
        (IngressCheck.ENVELOPE_AUTHENTICITY, POLICY, altered(signature="00" * 64)),
        (IngressCheck.CAPABILITY_AUTHORIZATION, POLICY._replace(may_send=lambda source, context: False), frame()),
        (IngressCheck.NAMESPACE_SCOPE, POLICY, frame(context="away")),
        (IngressCheck.SCHEMA_VERSION, POLICY._replace(schemas=frozenset({7})), frame()),
        (IngressCheck.SIGNER_MEMBERSHIP, POLICY._replace(is_member=lambda source, session: False), frame()),
        (IngressCheck.PROOF_EVIDENCE, POLICY._replace(proofs=lambda envelope: False), frame()),
    ],
)
def test_each_check_rejects_by_itself_and_nothing_changes(
    check: IngressCheck, policy: IngressPolicy, data: bytes
) -> None:
    told: list[IngressRejected] = []
    verifier = IngressVerifier(policy, on_rejected=lambda _, problem: told.append(problem))
    with pytest.raises(IngressRejected) as rejected:
        verifier.receive(data)
    assert rejected.value.check is check
    assert rejected.value.public() == check.value
    assert [problem.kind for problem in told] == [check.value]
    assert verifier.window.id_count == 0


def test_a_repeat_is_dropped() -> None:
    verifier = IngressVerifier(POLICY)
    verifier.receive(frame())
    with pytest.raises(IngressRejected) as rejected:
        verifier.receive(frame())
    assert rejected.value.check is IngressCheck.REPLAY_FRESHNESS


def test_nobody_else_makes_a_verified_ingress() -> None:
    with pytest.raises(LocalViolation, match="only IngressVerifier"):
        VerifiedIngress(decode_ingress(frame()), (), object())


def test_the_replay_window_is_bounded_in_each_stream_and_in_all() -> None:
    window = ReplayWindow(streams_max=3)
    for stream in range(5):
        for number in range(REPLAY_WINDOW + 9):
            window.note(f"s{stream}", "home", f"{number}")
    assert window.id_count == 3 * REPLAY_WINDOW
    assert not window.is_fresh("s4", "home", f"{REPLAY_WINDOW}")
    assert window.is_fresh("s4", "home", "3"), "what is older than the window is forgotten"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        altered(extra=1),
        altered(schema="1"),
        altered(schema=True),
        altered(payload="zz"),
        altered(source="x" * 300),
        altered(payload="00" * (256 * 1024 + 1)),
        b" " * (FRAME_BYTES_MAX + 1),
    ],
    ids=lambda data: f"{data[:12]!r}{len(data)}",
)
def test_what_is_no_envelope_is_malformed(data: bytes) -> None:
    with pytest.raises(IngressRejected) as rejected:
        IngressVerifier(POLICY).receive(data)
    assert rejected.value.kind == "malformed"


@given(st.integers(0, 2_000), st.integers(0, 7))
def test_a_flipped_bit_is_never_believed(place: int, bit: int) -> None:
    data = bytearray(frame())
    data[place % len(data)] ^= 1 << bit
    seen: Callable[[bytes], object] = IngressVerifier(POLICY).receive
    try:
        verified = seen(bytes(data))
    except IngressRejected:
        return
    assert isinstance(verified, VerifiedIngress)
    assert decode_ingress(bytes(data)) == decode_ingress(frame()), "only how it is written may differ"


OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]


def check_repeat(journal: Journal, data: bytes) -> None:
    with pytest.raises(IngressRejected) as rejected:
        IngressVerifier(POLICY, window=journal.engine.guard_book.replays).receive(data)
    assert rejected.value.check is IngressCheck.REPLAY_FRESHNESS


@pytest.mark.asyncio
async def test_what_was_taken_in_is_a_repeat_after_a_restart_sealing_and_losing_the_database(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    frames = [frame(envelope_id=f"e{number}") for number in range(3)]
    async with open_journal() as journal:
        verifier = IngressVerifier(POLICY, window=journal.engine.guard_book.replays)
        await take_in(journal.engine, verifier.receive(frames[0]), (kit.Said(text="first"),))
        await take_in(journal.engine, verifier.receive(frames[1]))
        verifier.receive(frames[2])  # verified, and gone with its process before anything came of it
        for data in frames:
            check_repeat(journal, data)
        path = journal.path
    async with open_journal() as journal:
        check_repeat(journal, frames[0])
        check_repeat(journal, frames[1])
        await journal.engine.start_file()
        assert await journal.engine.keeper.seal()
    for file in path.glob("journal.duckdb*"):
        file.unlink()
    async with open_journal() as journal:
        check_repeat(journal, frames[0])
        check_repeat(journal, frames[1])
        verifier = IngressVerifier(POLICY, window=journal.engine.guard_book.replays)
        assert verifier.receive(frames[2]).payload == b"hi", "nothing came of it, so it may come again"
        assert (await journal.sql("select text from guarded_said")).fetchall() == [("first",)]


@pytest.mark.asyncio
async def test_what_could_not_be_written_may_come_again(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    disk = FaultyDisk()
    async with open_journal(disk=disk) as journal:
        await journal.commit(kit.Said(text="before"))
        verifier = IngressVerifier(POLICY, window=journal.engine.guard_book.replays)
        disk.fail("sync")
        with pytest.raises(StoreUnavailable):
            await take_in(journal.engine, verifier.receive(frame()), (kit.Said(text="lost"),))
        await take_in(journal.engine, verifier.receive(frame()), (kit.Said(text="kept"),))
        check_repeat(journal, frame())


@pytest.mark.asyncio
async def test_an_envelope_and_what_it_came_to_stand_in_one_frame(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        verifier = IngressVerifier(POLICY, window=journal.engine.guard_book.replays)
        await take_in(journal.engine, verifier.receive(frame()), (kit.Said(text="one"),))
        cursor = LogCursor.at_start(journal=journal.engine.journal_id)
        frames = [each for each in read_log(journal.path, cursor) if isinstance(each, LogFrame)]
        (found,) = [each for each in frames if any(note.kind == "guard.seen" for note in each.notes)]
        assert [record.kind for record in found.records][-1] == "guarded.said"


@pytest.mark.asyncio
async def test_an_envelope_is_taken_in_once_though_it_was_verified(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        verifier = IngressVerifier(POLICY, window=journal.engine.guard_book.replays)
        verified = verifier.receive(frame())
        async with asyncio.TaskGroup() as group:
            group.create_task(take_in(journal.engine, verified, (kit.Said(text="once"),)))
            await asyncio.sleep(0)
            with pytest.raises(IngressRejected, match="taken in already"):
                await take_in(journal.engine, verified, (kit.Said(text="twice"),))
        assert (await journal.sql("select text from guarded_said")).fetchall() == [("once",)]
