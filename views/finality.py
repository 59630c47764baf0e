"""How sure the messages of one channel are: epochs that were committed, and single facts that were certified.

Only those may say so whom ``allow`` names; what others said is kept, since they may be allowed later. Knows nothing of
channels; the chat view asks it while it draws.
"""

from __future__ import annotations

from antiphon.facts import FactRecord, Stamp
from antiphon.facts.protocol import (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationFinalized,
    OperationReverted,
    is_certified,
)

from .chat_state import Agreement
from .registers import latest


class Finality:
    """What is final in one channel, as a function of the set of facts and of who may say so.

    ``is_silent`` while nobody said anything: then every message is provisional. A fact costs O(1); finding the
    newest final epoch costs O(epochs) in a window that brought one, or another judge.
    """

    __slots__ = (
        "_allowed",
        "_certified",
        "_finalized",
        "_is_stale",
        "_reverted",
        "_transitions",
        "final_epoch",
        "is_silent",
    )

    def __init__(self) -> None:
        self._allowed: frozenset[str] = frozenset()
        self._transitions: dict[str, dict[int, set[str]]] = {}  # by who said it, and parent epoch
        self._finalized: dict[bytes, set[str]] = {}  # by fact id: who said so
        self._certified: dict[bytes, dict[str, Stamp]] = {}
        self._reverted: dict[bytes, dict[str, Stamp]] = {}
        self._is_stale = False
        self.final_epoch: int | None = None
        self.is_silent = True

    def allow(self, judges: frozenset[str]) -> None:
        """Name who may say what is final."""
        if judges != self._allowed:
            self._allowed = judges
            self._is_stale = self._is_stale or bool(self._transitions or self._finalized or self._certified)

    def take_epoch(self, fact: ChannelEpochCommitted) -> None:
        """Take a transition; one that is not well formed says nothing."""
        if is_certified(fact):
            by_parent = self._transitions.setdefault(fact.actor_id, {})
            by_parent.setdefault(fact.parent_epoch, set()).add(fact.transition_id)
            self._note_word()

    def take_certificate(self, fact: ConvergenceCertified, record: FactRecord) -> None:
        """Take a certificate for one fact."""
        _keep_latest(self._certified, fact.op_id, fact.actor_id, record.stamp)
        self._note_word()

    def take_reversion(self, fact: OperationReverted, record: FactRecord) -> None:
        """Take back what was certified for one fact."""
        _keep_latest(self._reverted, fact.op_id, fact.actor_id, record.stamp)
        self._note_word()

    def take_finalized(self, fact: OperationFinalized) -> None:
        """Take that one fact is final."""
        self._finalized.setdefault(_id_of(fact.op_id), set()).add(fact.actor_id)
        self._note_word()

    def _note_word(self) -> None:
        self._is_stale = True
        self.is_silent = False

    def settle(self) -> bool:
        """Find the newest final epoch; whether anything may look different since."""
        if not self._is_stale:
            return False
        self._is_stale = False
        self.final_epoch = self._newest_epoch()
        return True

    def agreement_of(self, fact_id: bytes, epoch: int | None) -> Agreement:
        """How sure the fact *fact_id* is, which was said in *epoch*."""
        if epoch is not None and self.final_epoch is not None and epoch <= self.final_epoch:
            return "finalized"
        if self._allowed & self._finalized.get(fact_id, _NOBODY):
            return "finalized"
        if fact_id not in self._certified:
            return "provisional"
        certified = self._newest(self._certified, fact_id)
        reverted = self._newest(self._reverted, fact_id)
        is_safe = certified is not None and (reverted is None or certified > reverted)
        return "soft_safe" if is_safe else "provisional"

    def _newest(self, said: dict[bytes, dict[str, Stamp]], fact_id: bytes) -> Stamp | None:
        return max((stamp for who, stamp in said.get(fact_id, {}).items() if who in self._allowed), default=None)

    def _newest_epoch(self) -> int | None:
        """Step by step from epoch 0, as long as exactly one way leads on."""
        ways = [self._transitions[judge] for judge in self._allowed if judge in self._transitions]
        epoch = 0
        while len(set().union(*(by_parent.get(epoch, _NOBODY) for by_parent in ways))) == 1:
            epoch += 1
        return epoch - 1 if epoch else None


_NOBODY: frozenset[str] = frozenset()


def _keep_latest(said: dict[bytes, dict[str, Stamp]], op_id: str, who: str, stamp: Stamp) -> None:
    by_judge = said.setdefault(_id_of(op_id), {})
    by_judge[who] = latest(by_judge.get(who), stamp)


def _id_of(op_id: str) -> bytes:
    """The fact id that is meant; of what is no id, nothing is known."""
    try:
        return bytes.fromhex(op_id)
    except ValueError:
        return b""
