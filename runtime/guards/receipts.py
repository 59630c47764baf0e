"""Receipts: signed proof of what was spent towards a peer, each naming the one before it.

Keeps no budget and no keys: a receipt is verified with the key that the journal *knows* for its source, since a key
that travels with what it signs proves nothing. Pure; a signature is Ed25519 over the canonical encoding
with its own prefix.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from antiphon.facts import RemoteViolation
from antiphon.facts.encoding import canonical_bytes
from antiphon.journal.chain import Signer
from antiphon.journal.guard_book import Charge, GuardBook, ReceiptRow

from .commands import COST_MAX

RECEIPT_PREFIX = b"antiphon.flow_receipt.1"
FIRST = "0" * 64
"""What the first receipt of an epoch names as the one before it."""


class ReceiptInvalid(RemoteViolation):
    """A receipt that proves nothing; ``part`` says which part of it is wrong."""

    def __init__(self, part: str, text: str) -> None:
        self.part = part
        super().__init__(f"a receipt whose {part} is wrong: {text}")


@dataclass(frozen=True, slots=True)
class FlowReceipt:
    """*source* spent *cost* towards *target* in *context*; ``nonce`` counts from 1 in each epoch of (context, source).

    ``previous`` is the digest of the receipt before, ``signature`` 128 hex digits.
    """

    context: str
    source: str
    target: str
    epoch: int
    cost: int
    nonce: int
    previous: str
    signature: str = ""

    def message(self) -> bytes:
        """The bytes that are signed."""
        values = [self.context, self.source, self.target, self.epoch, self.cost, self.nonce, self.previous]
        return RECEIPT_PREFIX + canonical_bytes(values)

    @property
    def digest(self) -> str:
        """What the next receipt names: over the signed bytes and the signature."""
        return sha256(self.message() + bytes.fromhex(self.signature)).hexdigest()

    def to_bytes(self) -> bytes:
        """The receipt in the canonical encoding."""
        return canonical_bytes({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_bytes(cls, data: bytes | str) -> FlowReceipt:
        """Read what ``to_bytes`` wrote; nothing of it is believed. Raises ``ReceiptInvalid``."""
        try:
            values = orjson.loads(data)
            texts = [values[name] for name in ("context", "source", "target", "previous", "signature")]
            numbers = [values[name] for name in ("epoch", "cost", "nonce")]
            is_whole = len(values) == len(cls.__slots__)
        except (orjson.JSONDecodeError, KeyError, TypeError) as problem:
            raise ReceiptInvalid("form", "it is no receipt") from problem
        if not is_whole or {type(each) for each in texts} != {str} or {type(each) for each in numbers} != {int}:
            raise ReceiptInvalid("form", "it has other fields than a receipt")
        return cls(**values)


class ReceiptIssuer:
    """Writes the receipts of one source: a chain for each context, which begins anew with each epoch.

    *book* says which was the last; the chain is the journal's, whoever guards its sends.
    """

    def __init__(self, source: str, signer: Signer, book: GuardBook) -> None:
        self._source = source
        self._signer = signer
        self._book = book

    def issue(self, charge: Charge) -> ReceiptRow:
        """The next receipt of the charge's context, ~40 µs; for ``GuardBook.reserve``, which keeps it."""
        last = self._book.last_receipt(charge.context)
        receipt = FlowReceipt(
            context=charge.context,
            source=self._source,
            target=charge.peer,
            epoch=self._book.epoch,
            cost=charge.amount,
            nonce=1 if last is None else last.nonce + 1,
            previous=FIRST if last is None else last.digest,
        )
        signed = replace(receipt, signature=self._signer.sign(receipt.message()).hex())
        return ReceiptRow(
            signed.context,
            signed.target,
            signed.epoch,
            signed.nonce,
            signed.digest,
            signed.previous,
            signed.to_bytes().decode(),
        )


def verify_receipt(receipt: FlowReceipt, known_key: bytes) -> None:
    """Raise ``ReceiptInvalid`` unless the owner of *known_key* (32 bytes) signed exactly this; ~60 µs."""
    if not 0 <= receipt.cost <= COST_MAX:
        raise ReceiptInvalid("cost", f"{receipt.cost} is not 0..{COST_MAX}")
    if len(receipt.signature) != 128:
        raise ReceiptInvalid("signature", f"{len(receipt.signature)} hex digits; expected 128")
    try:
        signature = bytes.fromhex(receipt.signature)
        Ed25519PublicKey.from_public_bytes(known_key).verify(signature, receipt.message())
    except (InvalidSignature, ValueError) as problem:
        raise ReceiptInvalid("signature", "the known key of its source did not sign this") from problem


def verify_chain(receipts: Iterable[FlowReceipt], known_key: bytes) -> int:
    """What an unbroken stream of receipts adds up to. Raises ``ReceiptInvalid`` for a gap, a repeat or a forgery."""
    last: FlowReceipt | None = None
    total = 0
    for receipt in receipts:
        verify_receipt(receipt, known_key)
        if last is not None and (receipt.context, receipt.source) != (last.context, last.source):
            raise ReceiptInvalid("stream", "it belongs to another context or source")
        if last is not None and receipt.epoch < last.epoch:
            raise ReceiptInvalid("epoch", f"{receipt.epoch} after {last.epoch}")
        is_first = last is None or receipt.epoch > last.epoch
        expected = 1 if is_first or last is None else last.nonce + 1
        if receipt.nonce != expected:
            raise ReceiptInvalid("nonce", f"{receipt.nonce} where {expected} comes next")
        if receipt.previous != (FIRST if is_first or last is None else last.digest):
            raise ReceiptInvalid("previous", "it does not name the receipt before it")
        total += receipt.cost
        last = receipt
    return total
