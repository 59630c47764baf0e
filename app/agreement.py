"""How sure messages are, for whoever decides about their acknowledgements: what the protocol facts of a journal say.

Judges nothing itself: the chat view does, here over the facts that found channels and speak of agreement only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from antiphon.facts import ChannelCreated, Fact
from antiphon.facts.protocol import (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationFinalized,
    OperationReverted,
)
from antiphon.journal import Consistency, ConsistencyMap
from antiphon.reactive import Batch
from antiphon.runtime.engine import JournalEngine
from antiphon.views import ChatSignalView

_WORDS: Final = (ChannelEpochCommitted, ConvergenceCertified, OperationReverted, OperationFinalized)


async def agreements_of(engine: JournalEngine, facts: Sequence[Fact]) -> ConsistencyMap:
    """The agreement on each of *facts* that is more than provisional, by hexadecimal id.

    Reads the protocol facts from DuckDB, and the channels' foundings when there are any: O(those).
    """
    words = [fact for model in _WORDS for fact in await _facts_of(engine, model)]
    if not words or not facts:
        return ConsistencyMap()
    view = ChatSignalView(engine.authority)
    founded = await _facts_of(engine, ChannelCreated)
    view.update(Batch(0, (*founded, *words), engine.clock.now_ms(), frozenset(), {}))
    found = {fact.record.fact_id.hex(): view.agreement_of(fact) for fact in facts}
    return ConsistencyMap({each: Consistency(agreement=value) for each, value in found.items() if value.level > 1})


async def _facts_of(engine: JournalEngine, model: type[Fact]) -> list[Fact]:
    records = await engine.read_kind(model.fact_type.kind)
    return [fact for record in records if isinstance(fact := engine.decode_fact(record), Fact)]
