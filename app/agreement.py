"""How far messages have got: agreement by the protocol facts of a journal, delivery by who acknowledged them.

Judges nothing itself: the chat view does, here over the facts that found channels and speak of agreement only, and the
rule of ``antiphon.journal.delivery_icon``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from antiphon.facts import AuthorityId, ChannelCreated, Fact, FactId, FactRecord
from antiphon.facts.protocol import (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationFinalized,
    OperationReverted,
)
from antiphon.journal import (
    AgreementLevel,
    Consistency,
    ConsistencyMap,
    DeliveryIcon,
    Propagation,
    delivery_icon,
)
from antiphon.reactive import Batch
from antiphon.runtime.engine import JournalEngine
from antiphon.runtime.services.acks import AckAccount
from antiphon.views import ChatSignalView, Message

AGREEMENT_WORDS: Final = (ChannelEpochCommitted, ConvergenceCertified, OperationReverted, OperationFinalized)


async def agreements_of(engine: JournalEngine, facts: Sequence[Fact]) -> ConsistencyMap:
    """The agreement on each of *facts* that is more than provisional, by hexadecimal id.

    Reads the protocol facts from DuckDB, and the channels' foundings when there are any: O(those).
    """
    words = [fact for model in AGREEMENT_WORDS for fact in await _facts_of(engine, model)]
    if not words or not facts:
        return ConsistencyMap()
    founded = await _facts_of(engine, ChannelCreated)
    return judge_agreements((*founded, *words), facts, now_ms=engine.clock.now_ms())


def judge_agreements(words: Sequence[Fact], facts: Iterable[Fact], *, now_ms: int) -> ConsistencyMap:
    """The same from the protocol facts and the channels' foundings (*words*), wherever they were read."""
    view = ChatSignalView(AuthorityId(""))
    view.update(Batch(0, tuple(words), now_ms, frozenset(), {}))
    found = {fact.record.fact_id.hex(): view.agreement_of(fact) for fact in facts}
    return ConsistencyMap({each: Consistency(agreement=value) for each, value in found.items() if value.level > 1})


def level_in(agreements: ConsistencyMap) -> Callable[[FactRecord], int]:
    """How sure a fact is, for ``plan_supersession``: 0 for what nobody has agreed on."""
    return lambda record: agreements[record.fact_id.hex()].agreement.level - AgreementLevel.PROVISIONAL


async def delivery_marks(
    account: AckAccount, messages: Iterable[Message], *, expected: Collection[str]
) -> Mapping[str, DeliveryIcon]:
    """The mark of each own message among *messages*, by message id, when *expected* (authorities) ought to have it.

    Sending until they have acknowledged it, sent when nobody is expected, read when a reader said so; with the mark of
    agreement beside it. O(messages) and one scan of what DuckDB knows about them.
    """
    own = {FactId(bytes.fromhex(message.fact_id)): message for message in messages if message.is_own}
    found = await account.consistency(list(own), peers=expected)
    return {message.id: _mark(message, found[fact_id.hex()], expected) for fact_id, message in own.items()}


def _mark(message: Message, consistency: Consistency, expected: Collection[str]) -> DeliveryIcon:
    # Somebody's delivery receipt is as good as their acknowledgement.
    is_delivered = message.delivery_status == "delivered"
    if is_delivered or not expected:
        consistency = consistency.join(Consistency(propagation=Propagation.complete()))
    mark = delivery_icon(consistency, expected, is_read=message.delivery_status == "read")
    delivery = "✓✓" if is_delivered else mark.delivery
    return mark._replace(delivery=delivery, agreement=_AGREEMENT_ICONS[message.agreement])


_AGREEMENT_ICONS: Mapping[str, str] = {"provisional": "", "soft_safe": "⚠", "finalized": "◆"}


async def _facts_of(engine: JournalEngine, model: type[Fact]) -> list[Fact]:
    records = await engine.read_kind(model.fact_type.kind)
    return [fact for record in records if isinstance(fact := engine.decode_fact(record), Fact)]
