"""Which facts are agreed: what the journal's own protocol facts say, joined with what the application was told.

Decides nothing about who may say so; the chat view's rule does (`views/finality.py`). The facts are durable and the
same on every replica, so what was agreed is agreed after a reopening too; what the application notes lives in its book.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from antiphon.facts import Fact
from antiphon.facts.chat import CHAT_FACTS
from antiphon.facts.fact import get_record
from antiphon.journal import AgreementLevel
from antiphon.runtime.consistency_book import ConsensusTimeout, ConsistencySource
from antiphon.runtime.engine import JournalEngine

from .agreement import AGREEMENT_WORDS, agreements_of

# Only facts of a channel are agreed by facts: an epoch, a certificate or a consensus names it.
_OF_CHANNELS = frozenset(model.fact_type.kind for model in CHAT_FACTS)
_WORDS = frozenset(model.fact_type.kind for model in AGREEMENT_WORDS)


class AgreedReads:
    """What ``ReadCommitted`` may see of one journal. Costs one read of the words of agreement, and when there are any
    of the facts of the kinds in question."""

    def __init__(self, engine: JournalEngine, told: ConsistencySource) -> None:
        self._engine = engine
        self._told = told

    async def agreed_among(self, kinds: Collection[str] | None, level: AgreementLevel) -> frozenset[str]:
        """The facts (64 hex digits) of these kinds, None for all, that have at least this agreement; others may be
        among them."""
        wanted = _OF_CHANNELS if kinds is None else _OF_CHANNELS & frozenset(kinds)
        return frozenset(self._told.agreed(level)) | await self._agreed_by_facts(wanted, level)

    async def wait_for(self, fact_ids: Sequence[str], *, level: AgreementLevel, timeout_s: float) -> None:
        """Return when all of them have at least this agreement; raises ``ConsensusTimeout`` with those that have not.

        Looks again when a word of agreement becomes durable here, and when the book is written to; never in between.
        """
        missing = frozenset(fact_ids)
        if not missing or level <= AgreementLevel.PROVISIONAL:
            return  # nothing is less than provisional
        changed = _Changed()
        stop_telling, stop_hearing = self._told.on_change(changed.note), self._engine.sinks.attach(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while missing := missing - await self.agreed_among(None, level):
                    await changed.wait()
        except TimeoutError as problem:
            raise ConsensusTimeout(missing, wanted=level, timeout_s=timeout_s) from problem
        finally:
            stop_telling()
            stop_hearing()

    async def _agreed_by_facts(self, kinds: Collection[str], level: AgreementLevel) -> frozenset[str]:
        if not kinds or not await self._engine.read_kinds(_WORDS):
            return frozenset()
        records = await self._engine.read_kinds(kinds)
        facts = [fact for record in records if isinstance(fact := self._engine.decode_fact(record), Fact)]
        found = await agreements_of(self._engine, facts)
        return frozenset(fact_id for fact_id in found if found[fact_id].agreement.level >= level)


class _Changed:
    """A fact sink that tells a waiter of words of agreement, and of facts that may have been waited for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    is_closed = False
    has_room = True

    def when_room(self, callback: Callable[[], object], /) -> None:
        """There is always room."""
        callback()

    def deliver(self, facts: Sequence[Fact], /) -> None:
        """A window became durable."""
        if any(get_record(fact).kind in _WORDS or get_record(fact).kind in _OF_CHANNELS for fact in facts):
            self._event.set()

    def note(self) -> None:
        """The book was written to."""
        self._event.set()

    async def wait(self) -> None:
        """Return after the next change, or the one that came since the last return."""
        await self._event.wait()
        self._event.clear()


__all__ = ["AgreedReads"]
