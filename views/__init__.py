"""The faces: what a screen shows."""

if __name__ == "views":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.views")

from .app_views import APP_VIEWS, AppView
from .chat import ChatSignalView, UnreadCountView
from .chat_state import Channel, ChannelKey, ChatState, Message
from .contacts import ContactsSignalView
from .contacts_state import AmbiguousContact, Contact, ContactNotFound, ContactsState
from .fold import FoldView, ViewSpec, view
from .invitations import InvitationsSignalView
from .invitations_state import Invitation, InvitationsState
from .signals import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, UNREAD_COUNT_SIGNAL
from .view import FoldStatistics

__all__ = [
    "APP_VIEWS",
    "CHAT_SIGNAL",
    "CONTACTS_SIGNAL",
    "INVITATIONS_SIGNAL",
    "UNREAD_COUNT_SIGNAL",
    "AmbiguousContact",
    "AppView",
    "Channel",
    "ChannelKey",
    "ChatSignalView",
    "ChatState",
    "Contact",
    "ContactNotFound",
    "ContactsSignalView",
    "ContactsState",
    "FoldStatistics",
    "FoldView",
    "Invitation",
    "InvitationsSignalView",
    "InvitationsState",
    "Message",
    "UnreadCountView",
    "ViewSpec",
    "view",
]
