"""The views that ship, by the id of their signal: how to build each one, and which must be awake before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from antiphon.facts import AuthorityId, Fact
from antiphon.reactive import Signal, View

from .chat import ChatSignalView, UnreadCountView
from .contacts import ContactsSignalView
from .homes import HomesSignalView
from .invitations import InvitationsSignalView
from .signals import CHAT_SIGNAL, CONTACTS_SIGNAL, HOMES_SIGNAL, INVITATIONS_SIGNAL, UNREAD_COUNT_SIGNAL


class AppView(NamedTuple):
    """How to wake a view that ships; ``needs`` are signals whose views run before it."""

    build: Callable[[AuthorityId], View[Fact, Any]]
    empty: object
    needs: tuple[Signal[Any], ...] = ()


def _unread(_: AuthorityId) -> View[Fact, Any]:
    return UnreadCountView()


APP_VIEWS: Mapping[str, AppView] = MappingProxyType(
    {
        HOMES_SIGNAL.signal_id: AppView(HomesSignalView, HomesSignalView(AuthorityId("")).state),
        CHAT_SIGNAL.signal_id: AppView(ChatSignalView, ChatSignalView(AuthorityId("")).state, (HOMES_SIGNAL,)),
        CONTACTS_SIGNAL.signal_id: AppView(ContactsSignalView, ContactsSignalView(AuthorityId("")).state),
        INVITATIONS_SIGNAL.signal_id: AppView(InvitationsSignalView, InvitationsSignalView(AuthorityId("")).state),
        UNREAD_COUNT_SIGNAL.signal_id: AppView(_unread, 0, (CHAT_SIGNAL,)),
    }
)
"""The views that every journal can show, by signal id."""
