"""The faces: what a screen shows."""

if __name__ == "views":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.views")

from typing import TYPE_CHECKING

from antiphon.facts.lazy import lazy_names

from .fold import FoldView, ViewSpec, view

if TYPE_CHECKING:
    from .app_views import APP_VIEWS, AppView
    from .chat import ChatSignalView, UnreadCountView
    from .chat_state import Channel, ChannelKey, ChatState, Message
    from .contacts import ContactsSignalView
    from .contacts_state import AmbiguousContact, Contact, ContactNotFound, ContactsState
    from .datalog_query import DatalogQuery
    from .homes import HomesSignalView
    from .homes_state import Conduct, Home, HomesState, Kick, Pin, Sanction, Standing
    from .invitations import InvitationsSignalView
    from .invitations_state import Invitation, InvitationsState
    from .kept_state import KeptView
    from .message_entry import Recall
    from .opening import Opener, SealedText
    from .queries import (
        APP_QUERIES,
        ChannelsQuery,
        ChatQuery,
        ContactsQuery,
        InvitationsQuery,
        MessagesQuery,
        SearchMessagesQuery,
        UnreadQuery,
        ViewQuery,
    )
    from .registers import FoldStatistics
    from .signals import CHAT_SIGNAL, CONTACTS_SIGNAL, HOMES_SIGNAL, INVITATIONS_SIGNAL, UNREAD_COUNT_SIGNAL

__all__ = [
    "APP_QUERIES",
    "APP_VIEWS",
    "CHAT_SIGNAL",
    "CONTACTS_SIGNAL",
    "HOMES_SIGNAL",
    "INVITATIONS_SIGNAL",
    "UNREAD_COUNT_SIGNAL",
    "AmbiguousContact",
    "AppView",
    "Channel",
    "ChannelKey",
    "ChannelsQuery",
    "ChatQuery",
    "ChatSignalView",
    "ChatState",
    "Contact",
    "ContactNotFound",
    "ContactsQuery",
    "ContactsSignalView",
    "ContactsState",
    "DatalogQuery",
    "FoldStatistics",
    "FoldView",
    "Conduct",
    "Home",
    "HomesSignalView",
    "HomesState",
    "Kick",
    "Pin",
    "Sanction",
    "Standing",
    "Invitation",
    "InvitationsQuery",
    "InvitationsSignalView",
    "InvitationsState",
    "KeptView",
    "Message",
    "Opener",
    "Recall",
    "SealedText",
    "MessagesQuery",
    "SearchMessagesQuery",
    "UnreadCountView",
    "UnreadQuery",
    "ViewQuery",
    "ViewSpec",
    "view",
]

if not TYPE_CHECKING:  # or a type checker would believe in any name
    __getattr__ = lazy_names(
        __name__,
        {
            "app_views": "APP_VIEWS AppView",
            "chat": "ChatSignalView UnreadCountView",
            "chat_state": "Channel ChannelKey ChatState Message",
            "contacts": "ContactsSignalView",
            "contacts_state": "AmbiguousContact Contact ContactNotFound ContactsState",
            "datalog_query": "DatalogQuery",
            "homes": "HomesSignalView",
            "homes_state": "Conduct Home HomesState Kick Pin Sanction Standing",
            "invitations": "InvitationsSignalView",
            "invitations_state": "Invitation InvitationsState",
            "signals": "CHAT_SIGNAL CONTACTS_SIGNAL HOMES_SIGNAL INVITATIONS_SIGNAL UNREAD_COUNT_SIGNAL",
            "kept_state": "KeptView",
            "message_entry": "Recall",
            "opening": "Opener SealedText",
            "queries": "APP_QUERIES ChannelsQuery ChatQuery ContactsQuery InvitationsQuery MessagesQuery "
            "SearchMessagesQuery UnreadQuery ViewQuery",
            "registers": "FoldStatistics",
        },
    )
