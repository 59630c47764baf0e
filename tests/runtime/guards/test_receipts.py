"""A stream of receipts is believed whole, with the key that is known, or not at all."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon import Journal
from antiphon.journal import KeySigner, LogCursor, LogFrame, read_log
from antiphon.journal.guard_book import Charge, GuardBook, GuardLimits, Letter, PlanEntry
from antiphon.runtime.guards.commands import InterpreterError
from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities
from antiphon.runtime.guards.receipts import FlowReceipt, ReceiptInvalid, ReceiptIssuer, verify_chain, verify_receipt
from antiphon.testing.disk import FaultyDisk

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
SIGNER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
OTHER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))


def stream(*costs: int, epoch: int = 0) -> list[FlowReceipt]:
    return stream_of(*((epoch, cost) for cost in costs))


def stream_of(*charges: tuple[int, int]) -> list[FlowReceipt]:
    book = GuardBook("ada", limits=GuardLimits(flow=2**40))
    issuer = ReceiptIssuer("ada", SIGNER, book)
    receipts: list[FlowReceipt] = []
    for number, (epoch, cost) in enumerate(charges):
        book.rotate_epoch(epoch)
        entry = PlanEntry((f"{number}",), 0, epoch, (Charge("home", "bo", cost),))
        receipts += [FlowReceipt.from_bytes(row.text) for row in book.reserve(entry, issue=issuer.issue).receipts]
    return receipts


def check_refused(receipts: list[FlowReceipt], part: str, key: bytes = SIGNER.public_key) -> None:
    with pytest.raises(ReceiptInvalid) as refused:
        verify_chain(receipts, key)
    assert refused.value.part == part


def test_a_stream_adds_up_and_begins_anew_with_an_epoch() -> None:
    receipts = stream_of((0, 5), (0, 5), (1, 5), (1, 5), (1, 5))
    assert [receipt.nonce for receipt in receipts] == [1, 2, 1, 2, 3]
    assert verify_chain(receipts, SIGNER.public_key) == 25


def test_a_gap_a_repeat_and_another_order_are_noticed() -> None:
    first, second, third = stream(1, 2, 3)
    check_refused([first, third], "nonce")
    check_refused([first, first], "nonce")
    check_refused([first, third, second], "nonce")
    check_refused([second], "nonce")


def test_another_story_is_noticed() -> None:
    first, _ = stream(1, 2)
    _, other = stream(9, 2)
    check_refused([first, other], "previous")


def test_another_key_is_not_believed_though_it_signed_well() -> None:
    check_refused(stream(1), "signature", OTHER.public_key)


@pytest.mark.parametrize(
    "change",
    [
        {"cost": 2},
        {"target": "cy"},
        {"context": "away"},
        {"epoch": 1},
        {"nonce": 2},
        {"previous": "1" * 64},
        {"source": "eve"},
    ],
)
def test_every_field_is_signed(change: dict[str, Any]) -> None:
    check_refused([replace(stream(1)[0], **change)], "signature")


@pytest.mark.parametrize("signature", ["", "zz" * 64, "00" * 65])
def test_a_signature_has_one_form(signature: str) -> None:
    check_refused([replace(stream(1)[0], signature=signature)], "signature")


def test_a_receipt_is_small() -> None:
    receipt = stream(2**32 - 1)[0]
    verify_receipt(receipt, SIGNER.public_key)
    assert len(receipt.to_bytes()) <= 512


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"cost":1}'])
def test_what_is_no_receipt_is_not_read_as_one(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        FlowReceipt.from_bytes(data)


def receipts_in(journal: Journal) -> list[FlowReceipt]:
    """Every receipt in the log, in the order of its chain."""
    cursor = LogCursor.at_start(journal=journal.engine.journal_id)
    frames = [frame for frame in read_log(journal.path, cursor) if isinstance(frame, LogFrame)]
    book_notes = [note for frame in frames for note in frame.notes if note.kind == "guard.plans"]
    rows = [row for note in book_notes for data in orjson.loads(str(note.value["plans"])) for row in data[7]]
    return sorted((FlowReceipt.from_bytes(row[-1]) for row in rows), key=lambda each: each.nonce)


@pytest.mark.asyncio
async def test_every_charged_send_has_a_receipt_and_they_are_one_chain_over_restarts(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    carried: list[FlowReceipt] = []
    for life in range(3):
        async with open_journal() as journal:
            key = journal.engine.folder.authority.public_key

            async def deliver(letter: Letter) -> None:
                found = guard.receipt_for(letter)
                assert found is not None
                carried.append(found)

            async with EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=deliver) as guard:
                await guard.guarded(kit.request("one", cost=3))
                await guard.guarded_all([kit.request(f"{n}", cost=2) for n in range(5)])
                await guard.guarded(kit.request("free", cost=0, envelope=None))
                await guard.drained()
            written = receipts_in(journal)
            assert len(written) == 2 * (life + 1), "a window has one receipt, and what is free has none"
            assert verify_chain(written, key) == 13 * (life + 1) == 1_024 - guard.book.remaining("home", "bo")
            assert {each.digest for each in carried} == {each.digest for each in written}
            assert [each.cost for each in written] == [3, 10] * (life + 1)


@pytest.mark.asyncio
async def test_the_chain_goes_on_after_sealing_and_a_new_life_without_the_database(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        await guard.guarded(kit.request())
        first = guard.receipt_for(guard.book.letters[0])
        await journal.engine.start_file()
        assert await journal.engine.keeper.seal()
        path = journal.path
    for file in path.glob("journal.duckdb*"):
        file.unlink()
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        assert first is not None
        assert guard.receipt_for(guard.book.letters[0]) == first, "what waits keeps its receipt"
        await guard.guarded(kit.request())
        second = guard.receipt_for(guard.book.letters[1])
        assert second is not None
        assert verify_chain([first, second], journal.engine.folder.authority.public_key) == 20
        await guard.rotate_epoch(1)
        await guard.guarded(kit.request())
        third = guard.receipt_for(guard.book.letters[2])
        assert third is not None
        assert (third.epoch, third.nonce) == (1, 1)


@pytest.mark.asyncio
async def test_a_plan_that_was_not_written_leaves_no_gap_in_the_chain(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    disk = FaultyDisk()
    async with open_journal(disk=disk) as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        await guard.guarded(kit.request("one"))
        await journal.flush()
        disk.fail("sync")
        with pytest.raises(InterpreterError):
            await guard.guarded(kit.request("lost"))
        await guard.guarded(kit.request("two"))
        written = receipts_in(journal)
        assert [each.nonce for each in written] == [1, 2]
        assert verify_chain(written, journal.engine.folder.authority.public_key) == 20
        assert guard.book.remaining("home", "bo") == 1_024 - 20, "the one that was not written cost nothing"


def test_a_receipt_that_was_not_written_stays_in_the_chain_only_when_a_later_one_names_it() -> None:
    book = GuardBook("ada")
    issuer = ReceiptIssuer("ada", SIGNER, book)

    def reserve(name: str) -> PlanEntry:
        return book.reserve(PlanEntry((name,), 0, 0, (Charge("home", "bo", 1),)), issue=issuer.issue)

    first, second, third = reserve("1"), reserve("2"), reserve("3")
    book.settle(first)
    book.release(second)
    book.settle(third)
    fourth = reserve("4")
    assert [row.nonce for row in fourth.receipts] == [2, 4], "the third names the second"
    chain = [row for entry in (first, third, fourth) for row in entry.receipts]
    receipts = sorted((FlowReceipt.from_bytes(row.text) for row in chain), key=lambda each: each.nonce)
    assert verify_chain(receipts, SIGNER.public_key) == 4
    fifth = reserve("5")
    book.release(fifth)
    assert reserve("6").receipts[-1].nonce == 5, "nobody names the fifth"
