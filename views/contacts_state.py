"""What a contacts screen shows: people, what they are called, and how close they are, as immutable values.

Folds nothing: ``views/contacts.py`` does. Times are signed milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal

from antiphon.facts import LocalViolation
from antiphon.facts.contacts import ReadReceiptPolicy, short_name

RelationshipState = Literal["contact", "pending_outbound", "pending_inbound", "friend"]

# A longer list would hide the question it answers.
_AMBIGUOUS_SHOWN_MAX = 5


class ContactNotFound(LocalViolation, LookupError):
    """Nobody goes by that name or id."""


class AmbiguousContact(LocalViolation, LookupError):
    """Several contacts fit; ``candidates`` are their ids."""

    def __init__(self, message: str, *, candidates: tuple[str, ...]) -> None:
        self.candidates = candidates
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact: ``nickname`` is the owner's own name for it, ``nickname_suggestion`` what was proposed."""

    id: str
    nickname: str
    nickname_suggestion: str | None
    is_guardian: bool
    last_interaction: int | None
    read_receipt_policy: ReadReceiptPolicy
    relationship_state: RelationshipState
    invitation_code: str | None

    @property
    def effective_name(self) -> str:
        """What to show: the nickname, else the suggestion, else the short id."""
        return self.nickname.strip() or self.nickname_suggestion or short_name(self.id)

    def to_json(self) -> dict[str, object]:
        """All fields and the effective name, ready for a JSON encoder."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"effective_name": self.effective_name}


_NO_CONTACTS: Mapping[str, Contact] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ContactsState:
    """The owner's contacts by id. Unchanged contacts are shared with the snapshot before.

    >>> ContactsState().to_json()
    {'contacts': []}
    """

    contacts: Mapping[str, Contact] = field(default_factory=lambda: _NO_CONTACTS)

    def by_name(self) -> tuple[Contact, ...]:
        """All contacts by effective name, then id; O(n log n)."""
        return tuple(sorted(self.contacts.values(), key=lambda each: (each.effective_name.casefold(), each.id)))

    def filter_by(self, text: str) -> tuple[Contact, ...]:
        """Contacts whose name or id contains *text*, whatever its case; by name."""
        wanted = text.casefold()
        return tuple(
            contact
            for contact in self.by_name()
            if wanted in contact.effective_name.casefold() or wanted in contact.id.casefold()
        )

    def resolve(self, text: str) -> Contact:
        """Find whom a person means: by id, else exact name, else start of the id or part of a name.

        Raises ``ContactNotFound``, and ``AmbiguousContact`` when several fit equally well. O(n).
        """
        exact = self.contacts.get(text)
        if exact is not None:
            return exact
        wanted = text.strip().casefold()
        named = [contact for contact in self.by_name() if wanted in _names(contact)] if wanted else []
        fitting = named or ([contact for contact in self.by_name() if _is_hint(wanted, contact)] if wanted else [])
        if not fitting:
            raise ContactNotFound(f"no contact goes by {text!r}; give an id, its start, a name or a part of one")
        if len(fitting) > 1:
            shown = ", ".join(f"{contact.effective_name} ({contact.id})" for contact in fitting[:_AMBIGUOUS_SHOWN_MAX])
            raise AmbiguousContact(
                f"{text!r} fits {len(fitting)} contacts: {shown}; give more of the name, or the id",
                candidates=tuple(contact.id for contact in fitting),
            )
        return fitting[0]

    def to_json(self) -> dict[str, object]:
        """The whole state for a JSON encoder; contacts in order of id."""
        return {"contacts": [self.contacts[contact_id].to_json() for contact_id in sorted(self.contacts)]}


def _names(contact: Contact) -> tuple[str, str]:
    return contact.nickname.strip().casefold(), (contact.nickname_suggestion or "").casefold()


def _is_hint(wanted: str, contact: Contact) -> bool:
    return contact.id.casefold().startswith(wanted) or any(wanted in name for name in _names(contact))
