"""How sure the messages of one channel are: epochs that were committed, and single facts that were certified.

Only those may say so whom ``allow`` names; what others said is kept, since they may be allowed later. Knows nothing of
channels; the chat view asks it while it draws.
"""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.facts import FactRecord, Stamp
from antiphon.facts.protocol import (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationFinalized,
    OperationReverted,
    is_certified,
)
from antiphon.journal import Agreement as AgreementValue
from antiphon.journal import AgreementLevel

from .chat_state import Agreement
from .registers import latest


class Finality:
    """What is final in one channel, as a function of the set of facts and of who may say so.

    ``is_silent`` while nobody said anything: then every message is provisional. A fact costs O(1); finding the
    newest final epoch costs O(epochs) in a window that brought one, or another judge.
    """

    __slots__ = (
        "_allowed",
        "_cert_epochs",
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
        self._finalized: dict[bytes, dict[str, str]] = {}  # by fact id: who said so, and by which consensus
        self._certified: dict[bytes, dict[str, Stamp]] = {}
        self._cert_epochs: dict[bytes, int] = {}  # by certificate
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
        self._cert_epochs[record.fact_id] = fact.coordinator_epoch
        self._note_word()

    def take_reversion(self, fact: OperationReverted, record: FactRecord) -> None:
        """Take back what was certified for one fact."""
        _keep_latest(self._reverted, fact.op_id, fact.actor_id, record.stamp)
        self._note_word()

    def take_finalized(self, fact: OperationFinalized) -> None:
        """Take that one fact is final."""
        by_judge = self._finalized.setdefault(_id_of(fact.op_id), {})
        by_judge[fact.actor_id] = min(by_judge.get(fact.actor_id, fact.consensus_id), fact.consensus_id)
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
        return _NAMES[self.value_of(fact_id, epoch).level]

    def value_of(self, fact_id: bytes, epoch: int | None) -> AgreementValue:
        """The same with the consensus or certificate behind it: for an epoch its transition."""
        consensus = [
            consensus_id for who, consensus_id in self._finalized.get(fact_id, {}).items() if who in self._allowed
        ]
        if epoch is not None and self.final_epoch is not None and epoch <= self.final_epoch:
            consensus += self._ways_out_of(epoch)
        if consensus:
            return AgreementValue(consensus_id=min(consensus) or fact_id.hex())
        certified = self._newest(self._certified, fact_id) if fact_id in self._certified else None
        if certified is None:
            return _NOTHING
        reverted = self._newest(self._reverted, fact_id)
        if reverted is not None and reverted > certified:
            return _NOTHING
        return AgreementValue(cert_epoch=self._cert_epochs[certified[2]], cert=certified[2].hex())

    def _newest(self, said: dict[bytes, dict[str, Stamp]], fact_id: bytes) -> Stamp | None:
        return max((stamp for who, stamp in said.get(fact_id, {}).items() if who in self._allowed), default=None)

    def _newest_epoch(self) -> int | None:
        """Step by step from epoch 0, as long as exactly one way leads on."""
        epoch = 0
        while len(self._ways_out_of(epoch)) == 1:
            epoch += 1
        return epoch - 1 if epoch else None

    def _ways_out_of(self, epoch: int) -> set[str]:
        ways = (self._transitions[judge] for judge in self._allowed if judge in self._transitions)
        return set[str]().union(*(by_parent.get(epoch, _NOBODY) for by_parent in ways))


_NOBODY: frozenset[str] = frozenset()
_NOTHING = AgreementValue()
_NAMES: Mapping[AgreementLevel, Agreement] = {
    AgreementLevel.PROVISIONAL: "provisional",
    AgreementLevel.SOFT_SAFE: "soft_safe",
    AgreementLevel.FINALIZED: "finalized",
}


def _keep_latest(said: dict[bytes, dict[str, Stamp]], op_id: str, who: str, stamp: Stamp) -> None:
    by_judge = said.setdefault(_id_of(op_id), {})
    by_judge[who] = latest(by_judge.get(who), stamp)


def _id_of(op_id: str) -> bytes:
    """The fact id that is meant; of what is no id, nothing is known."""
    try:
        return bytes.fromhex(op_id)
    except ValueError:
        return b""
