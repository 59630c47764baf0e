"""The catalogue of fact types that ship with antiphon.

Builds a fresh registry for each journal; a type that one application adds is not known to another.
"""

from __future__ import annotations

from .chat import CHAT_FACTS
from .contacts import CONTACT_FACTS
from .fact import Fact
from .invitations import INVITATION_FACTS
from .journal_facts import ChainOpened, FactsErased, ForkProven, HeadsMerged, SnapshotTaken
from .moderation import MODERATION_FACTS
from .protocol import PROTOCOL_FACTS
from .registry import FactRegistry

STANDARD_FACTS: tuple[type[Fact], ...] = (
    ChainOpened,
    FactsErased,
    ForkProven,
    SnapshotTaken,
    HeadsMerged,
    *CHAT_FACTS,
    *CONTACT_FACTS,
    *INVITATION_FACTS,
    *MODERATION_FACTS,
    *PROTOCOL_FACTS,
)
"""Every fact type that ships, the journal's own first."""


def build_fact_registry() -> FactRegistry:
    """Make a registry that knows all standard fact types and shares nothing with any other; ~50 µs.

    >>> "chat.message_sent" in build_fact_registry().kinds()
    True
    """
    return FactRegistry(STANDARD_FACTS)
