"""What is known about how far facts have got: agreement, propagation, acknowledgements, by fact id.

Decides nothing and asks no peer: whoever learns something notes it, whoever waits for something is told. Metadata
outside identity, and a lattice: noting twice, or in another order, ends the same. Belongs to the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
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

    def agreed(self, level: AgreementLevel) -> Collection[str]:
        """The facts (64 hex digits) that are known to have at least this agreement."""

    def on_change(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call *callback* whenever more is known; the result ends that."""


class ConsistencyBook:
    """Keeps what was noted, in memory. O(1) a note and a look; one entry for each fact that somebody noted."""

    def __init__(self) -> None:
        self._entries: dict[str, Consistency] = {}
        self._agreed: dict[AgreementLevel, dict[str, None]] = {level: {} for level in AgreementLevel}
        self._callbacks: dict[object, Callable[[], object]] = {}

    def note(self, fact_id: str, consistency: Consistency) -> None:
        """Join what was learned with what is known, and tell who waits."""
        known = self._entries.get(fact_id)
        joined = self._entries[fact_id] = consistency if known is None else known.join(consistency)
        for level, facts in self._agreed.items():
            if joined.agreement.level >= level:
                facts[fact_id] = None
        for callback in tuple(self._callbacks.values()):
            callback()

    def consistency_of(self, fact_id: str, /) -> Consistency:
        """What is known about a fact."""
        return self._entries.get(fact_id) or Consistency()

    def agreed(self, level: AgreementLevel) -> Collection[str]:
        """The facts that were noted with at least this agreement."""
        return self._agreed[level].keys()

    def on_change(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call *callback* after every note; the result ends that, twice is fine."""
        token = object()
        self._callbacks[token] = callback
        return lambda: (self._callbacks.pop(token, None), None)[1]
