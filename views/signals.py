"""The typed keys of the signals that ship.

Holds no values: the state of a signal lives in one engine's hub.
"""

from __future__ import annotations

from antiphon.reactive import Signal

from .chat_state import ChatState
from .contacts_state import ContactsState
from .homes_state import HomesState
from .invitations_state import InvitationsState

CHAT_SIGNAL: Signal[ChatState] = Signal("app:chat", ChatState)
"""Channels, messages and what is unread."""

CONTACTS_SIGNAL: Signal[ContactsState] = Signal("app:contacts", ContactsState)
"""The owner's contacts."""

INVITATIONS_SIGNAL: Signal[InvitationsState] = Signal("app:invitations", InvitationsState)
"""Invitations that wait for an answer, and how the others ended."""

HOMES_SIGNAL: Signal[HomesState] = Signal("app:homes", HomesState)
"""Who is in which home, in which role, and what is laid on whom."""

UNREAD_COUNT_SIGNAL: Signal[int] = Signal("app:unread_count", int)
"""How many messages of others are unread, over all open channels."""
