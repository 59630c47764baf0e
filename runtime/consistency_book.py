"""What is known about how far facts have got: agreement, propagation, acknowledgements, by fact id.

Decides nothing and asks no peer: whoever learns something notes it, whoever waits for something is told. Metadata
outside identity, and a lattice: noting twice, or in another order, ends the same. Belongs to the engine's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from antiphon.facts import AntiphonError
from antiphon.journal import AgreementLevel, Consistency


class ConsensusTimeout(AntiphonError, TimeoutError):
    """Facts did not reach the wanted agreement in time; nothing was read. `missing` names them."""

    def __init__(self, missing: Iterable[str], *, wanted: AgreementLevel, timeout_s: float) -> None:
        self.missing = tuple(sorted(missing))
        shown = ", ".join(each[:12] for each in self.missing[:5])
        super().__init__(
            f"{len(self.missing)} facts ({shown}) were not {wanted.name.lower()} after {timeout_s:g} s; "
            "ask again later, wait longer, or read with ReadUncommitted()"
        )


class ConsistencySource(Protocol):
    """Whatever can say how far a fact has got, and tell when it got further."""

    def consistency_of(self, fact_id: str, /) -> Consistency:
        """What is known about a fact (64 hex digits); the bottom of the lattice when nothing is."""

    async def wait_for(self, fact_ids: Iterable[str], *, level: AgreementLevel) -> None:
        """Return when all of them have at least this agreement."""


class ConsistencyBook:
    """Keeps what was noted, in memory. O(1) a note and a look; one entry for each fact that somebody noted."""

    def __init__(self) -> None:
        self._entries: dict[str, Consistency] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def note(self, fact_id: str, consistency: Consistency) -> None:
        """Join what was learned with what is known, and tell who waits."""
        known = self._entries.get(fact_id)
        self._entries[fact_id] = consistency if known is None else known.join(consistency)
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def note_all(self, entries: Mapping[str, Consistency]) -> None:
        """Note many."""
        for fact_id, consistency in entries.items():
            self.note(fact_id, consistency)

    def consistency_of(self, fact_id: str, /) -> Consistency:
        """What is known about a fact."""
        return self._entries.get(fact_id) or Consistency()

    async def wait_for(self, fact_ids: Iterable[str], *, level: AgreementLevel) -> None:
        """Return when all of them have at least this agreement."""
        missing = set(fact_ids)
        while missing := {each for each in missing if self.consistency_of(each).agreement.level < level}:
            told = asyncio.get_running_loop().create_future()
            self._waiting.add(told)
            try:
                await told
            finally:
                self._waiting.discard(told)
