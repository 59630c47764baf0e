"""A stream of receipts is believed whole, with the key that is known, or not at all."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.journal import KeySigner
from antiphon.runtime.guards.receipts import FlowReceipt, ReceiptBook, ReceiptInvalid, verify_chain, verify_receipt

SIGNER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
OTHER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))


def stream(*costs: int, epoch: int = 0) -> list[FlowReceipt]:
    book = ReceiptBook("ada", SIGNER)
    return [book.write(context="home", target="bo", epoch=epoch, cost=cost) for cost in costs]


def check_refused(receipts: list[FlowReceipt], part: str, key: bytes = SIGNER.public_key) -> None:
    with pytest.raises(ReceiptInvalid) as refused:
        verify_chain(receipts, key)
    assert refused.value.part == part


def test_a_stream_adds_up_and_begins_anew_with_an_epoch() -> None:
    book = ReceiptBook("ada", SIGNER)
    receipts = [book.write(context="home", target="bo", epoch=epoch, cost=5) for epoch in (0, 0, 1, 1, 1)]
    assert [receipt.nonce for receipt in receipts] == [1, 2, 1, 2, 3]
    assert verify_chain(receipts, SIGNER.public_key) == 25
    with pytest.raises(ReceiptInvalid, match="is over"):
        book.write(context="home", target="bo", epoch=0, cost=1)


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
