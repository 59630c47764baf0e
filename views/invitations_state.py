"""What an invitations screen shows: what waits for an answer, and how the rest ended, as immutable values.

Folds nothing: ``views/invitations.py`` does. Times are signed milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from antiphon.facts.ceremonies import CeremonyStatus

# A few months of a busy person; the rest is a history query.
HISTORY_COUNT_MAX = 200

UNKNOWN_NAME = "Unknown"

InvitationKind = Literal["home", "guardian", "chat"]
InvitationOffer = Literal["contact", "guardian", "channel", "device"]
InvitationStatus = Literal["pending", "accepted", "rejected", "expired", "revoked"]
InvitationDirection = Literal["sent", "received"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """One invitation as its sender or receiver sees it.

    ``to_id`` is absent when it was for whoever holds the link. ``resolved_at`` is when it was answered or ran out.
    ``offer`` is what it is an invitation to, ``accepted_by`` who accepted it.
    ``ceremonies`` are those that sender and receiver held to make an accepted one binding, by id.
    """

    id: str
    context_id: str
    type: InvitationKind
    status: InvitationStatus
    direction: InvitationDirection
    from_id: str
    from_name: str
    to_id: str | None
    to_name: str | None
    created_at: int
    expires_at: int | None
    resolved_at: int | None
    message: str | None
    home_id: str | None
    home_name: str | None
    ceremonies: tuple[CeremonyStatus, ...] = ()
    offer: InvitationOffer = "contact"
    accepted_by: str | None = None

    @property
    def active_ceremony(self) -> CeremonyStatus | None:
        """The one ceremony that is under way: of several the one with the lowest id."""
        return next((each for each in self.ceremonies if not each.is_terminal), None)

    def to_json(self) -> dict[str, object]:
        """All fields, ready for a JSON encoder."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"ceremonies": [ceremony.to_json() for ceremony in self.ceremonies]}


@dataclass(frozen=True, slots=True)
class InvitationsState:
    """Received and sent invitations that wait (oldest first), and the newest 200 that ended (newest first).

    >>> InvitationsState().pending_count
    0
    """

    pending: tuple[Invitation, ...] = ()
    sent: tuple[Invitation, ...] = ()
    history: tuple[Invitation, ...] = ()

    @property
    def pending_count(self) -> int:
        """How many received invitations wait for an answer."""
        return len(self.pending)

    @property
    def sent_count(self) -> int:
        """How many sent invitations wait for an answer."""
        return len(self.sent)

    def find(self, invitation_id: str) -> Invitation | None:
        """The invitation of that id, wherever it stands; O(n)."""
        for invitation in (*self.pending, *self.sent, *self.history):
            if invitation.id == invitation_id:
                return invitation
        return None

    def to_json(self) -> dict[str, object]:
        """The whole state for a JSON encoder."""
        return {
            "pending": _as_list(self.pending),
            "sent": _as_list(self.sent),
            "history": _as_list(self.history),
        }


def _as_list(invitations: Sequence[Invitation]) -> list[dict[str, object]]:
    return [invitation.to_json() for invitation in invitations]
