"""The status of a ceremony as a fold over the set of its facts: any order, any repetition, one answer.

Runs no ceremony, and knows no clock: what timed out is told by whoever waited, as an abort or a supersession.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum
from hashlib import sha256
from typing import Any, Literal

from .declare import ceremony_id_of, ceremony_stage_of
from .encoding import canonical_bytes
from .errors import LocalViolation
from .fact import Fact

AgreementMode = Literal["provisional", "coordinator_soft_safe", "consensus_finalized"]
SupersessionReason = Literal["prestate_stale", "newer_request", "explicit_cancel", "timeout", "precedence"]

DEFAULT_AGREEMENT_MODE: AgreementMode = "consensus_finalized"
"""What a ceremony is held to when its facts do not say."""


class CeremonyPhase(Enum):
    """How far a ceremony is; a later one outranks all before it, whatever the order of arrival."""

    PREPARING = "preparing"
    PENDING_EPOCH = "pending_epoch"
    COMMITTING = "committing"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class CeremonyStatus:
    """Where a ceremony stands. Times in ms; ``accepted_by`` sorted; fields that no fact gave are None.

    ``at_ms`` is when its phase was reached by the deciding fact; ``required`` how many must accept.
    """

    ceremony_id: str
    phase: CeremonyPhase
    accepted_by: tuple[str, ...] = ()
    required: int | None = None
    pending_epoch: int | None = None
    at_ms: int | None = None
    reason: str | None = None
    superseded_by: str | None = None
    consensus_id: str | None = None
    agreement_mode: AgreementMode = DEFAULT_AGREEMENT_MODE

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can change it but a fact that outranks it."""
        return self.phase in (CeremonyPhase.COMMITTED, CeremonyPhase.SUPERSEDED, CeremonyPhase.ABORTED)

    @property
    def received(self) -> int:
        """How many have accepted."""
        return len(self.accepted_by)

    @property
    def has_reversion_risk(self) -> bool:
        """Whether its result may still be taken back, since no consensus stands behind it."""
        return self.agreement_mode != "consensus_finalized"

    def to_json(self) -> dict[str, object]:
        """All fields, ready for a JSON encoder."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {"phase": self.phase.value}

    def pending_participants(self, expected: Iterable[str]) -> tuple[str, ...]:
        """Those of *expected* who have not accepted, sorted."""
        return tuple(sorted(set(expected) - set(self.accepted_by)))


def ceremony_status(facts: Iterable[Fact], *, ceremony_id: str | None = None) -> CeremonyStatus:
    """Reduce the facts of a ceremony to its status, in which Committed outranks Superseded, that Aborted, and that all
    that is under way.

    Facts of other ceremonies and other kinds are passed over. Without *ceremony_id* all must be of one ceremony, else
    ``LocalViolation``. Who was allowed to say what is the caller's business: filter before. O(facts).

    >>> ceremony_status([], ceremony_id="c").phase.value
    'preparing'
    """
    parts: dict[str, list[Any]] = {}
    for fact in facts:
        found = ceremony_id_of(fact)
        if found is not None and ceremony_id in (None, found):
            parts.setdefault(found, []).append(fact)
    if ceremony_id is None:
        if len(parts) != 1:
            raise LocalViolation(f"facts of {len(parts)} ceremonies: name one of {sorted(parts)}")
        (ceremony_id,) = parts
    return _status_of(ceremony_id, parts.get(ceremony_id, []))


def ceremony_statuses(facts: Iterable[Fact]) -> dict[str, CeremonyStatus]:
    """The status of every ceremony among *facts*, by id."""
    parts: dict[str, list[Fact]] = {}
    for fact in facts:
        found = ceremony_id_of(fact)
        if found is not None:
            parts.setdefault(found, []).append(fact)
    return {found: _status_of(found, parts[found]) for found in sorted(parts)}


def ceremony_id_for(*, prestate: bytes, operation: object, nonce: bytes) -> str:
    """The id that binds a ceremony to the state it starts from: H(prestate, operation, nonce), 32 hex digits."""
    parts = (prestate, canonical_bytes(operation), nonce)
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return sha256(b"antiphon.ceremony.1" + body).hexdigest()[:32]


def supersession_key(superseded: str, superseding: str) -> str:
    """The key of a supersession's record.

    >>> supersession_key("a", "b")
    'supersession:ca978112ca1bbdca:3e23e8160039594a'
    """
    short = (sha256(each.encode()).hexdigest()[:16] for each in (superseded, superseding))
    return "supersession:" + ":".join(short)


def _status_of(ceremony_id: str, facts: list[Any]) -> CeremonyStatus:
    by_stage: dict[str, list[Any]] = {}
    for fact in sorted(facts, key=_rank):  # so that the first of each stage is the same everywhere
        by_stage.setdefault(ceremony_stage_of(fact) or "", []).append(fact)
    initiated = next(iter(by_stage.get("initiated", ())), None)
    accepted = by_stage.get("acceptance_received", [])
    accepted_by = tuple(sorted({_acceptor_of(fact) for fact in accepted}))
    required = getattr(initiated, "required", None)
    pending_epoch = getattr(initiated, "pending_epoch", None)
    phase, decider = _decide(by_stage, initiated, accepted, accepted_by, required, pending_epoch)
    modes = [mode for fact in (decider, initiated, *accepted) if (mode := getattr(fact, "agreement_mode", None))]
    return CeremonyStatus(
        ceremony_id=ceremony_id,
        phase=phase,
        accepted_by=accepted_by,
        required=required,
        pending_epoch=pending_epoch,
        at_ms=None if decider is None else decider.timestamp_ms,
        reason=getattr(decider, "reason", None),
        superseded_by=getattr(decider, "superseding_ceremony_id", None),
        consensus_id=getattr(decider, "consensus_id", None),
        agreement_mode=modes[0] if modes else DEFAULT_AGREEMENT_MODE,
    )


def _decide(
    by_stage: dict[str, list[Any]],
    initiated: Any,
    accepted: list[Any],
    accepted_by: tuple[str, ...],
    required: int | None,
    pending_epoch: int | None,
) -> tuple[CeremonyPhase, Any]:
    for stage, phase in _TERMINAL:
        if stage in by_stage:
            return phase, by_stage[stage][0]
    if required is not None and len(accepted_by) >= required:
        return CeremonyPhase.COMMITTING, accepted[-1] if accepted else initiated
    if accepted or pending_epoch is not None:
        return CeremonyPhase.PENDING_EPOCH, accepted[-1] if accepted else initiated
    return CeremonyPhase.PREPARING, initiated


_TERMINAL = (
    ("committed", CeremonyPhase.COMMITTED),
    ("superseded", CeremonyPhase.SUPERSEDED),
    ("aborted", CeremonyPhase.ABORTED),
)


def _acceptor_of(fact: Any) -> str:
    """Who accepts: by name, else whoever signed, else the fact itself stands for one."""
    named = getattr(fact, "acceptor_id", None)
    if named:
        return str(named)
    return str(fact.meta.authority) if fact.is_committed else canonical_digest(fact)


def canonical_digest(fact: Fact) -> str:
    """A name for an uncommitted fact: the hash of its payload, 32 hex digits."""
    return sha256(fact.fact_type.encode(fact)).hexdigest()[:32]


def _rank(fact: Any) -> tuple[int, bytes]:
    return (fact.timestamp_ms, fact.fact_type.encode(fact))
