"""The moderation facts: who is kept out of a home, for how long, what is pinned, and who may decide so.

A home is a context that names its owner, ``home.<authority>.<name>``, so that nobody can claim somebody else's. The
owner may do everything; a moderator, whom the owner named, everything but naming moderators. Rights are judged by the
homes view over what the author of a fact had seen of the home: ``basis`` names that, and what the author said before.
Decides nothing itself. All times are signed milliseconds since 1970.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints

from .chat import ContextId
from .errors import LocalViolation
from .fact import Fact
from .ids import NAMESPACE_LENGTH_MAX, AuthorityId, Namespace

# As many as a header's own causal links; a home with more concurrent moderators has other troubles.
BASIS_COUNT_MAX = 64

Basis = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...], Field(max_length=BASIS_COUNT_MAX)
]
"""The newest moderation facts of the home that the author had seen, as ids in hex: ``HomesState`` offers them."""

_HOME = re.compile(r"home\.([0-9a-f]{32})\.(.+)", re.DOTALL)


def home_context(owner: str, name: str) -> Namespace:
    """The context of the home that *owner* (an authority, 32 hex digits) calls *name*.

    >>> home_context("0f" * 16, "friends")
    'home.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f.friends'
    """
    context = f"home.{owner}.{name}"
    if _HOME.fullmatch(context) is None or len(context) > NAMESPACE_LENGTH_MAX:
        raise LocalViolation(
            f"a home needs an owner of 32 hex digits and a name, at most {NAMESPACE_LENGTH_MAX} characters together; "
            f"got {owner!r} and {name!r}"
        )
    return Namespace(context)


def home_owner(context: str) -> AuthorityId | None:
    """Who owns the home that *context* is; None when it is no home.

    >>> home_owner(home_context("0f" * 16, "friends")) == "0f" * 16, home_owner("antiphon.default")
    (True, None)
    """
    found = _HOME.fullmatch(context)
    return None if found is None else AuthorityId(found[1])


class HomeDeclared(Fact, kind="home.declared", version=1, context="context_id", time="declared_at"):
    """The owner gives the home its name on screens; said again, the newest counts.

    ``owner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    owner_id: str
    name: str
    declared_at: int


class HomeMute(Fact, kind="moderation.home_mute", version=1, context="context_id", time="muted_at"):
    """What the target says from now on, in one channel or (without one) all, is hidden until it is lifted or expires.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str | None = None
    target_id: str
    actor_id: str
    duration_secs: int | None = None
    muted_at: int
    expires_at: int | None = None
    basis: Basis = ()


class HomeUnmute(Fact, kind="moderation.home_unmute", version=1, context="context_id", time="unmuted_at"):
    """Lifts the mutes of the same scope that are not newer; a home-wide one lifts none of a channel.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str | None = None
    target_id: str
    actor_id: str
    unmuted_at: int
    basis: Basis = ()


class HomeBan(Fact, kind="moderation.home_ban", version=1, context="context_id", time="banned_at"):
    """The target is kept out of one channel or (without one) the home until it is lifted or expires.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str | None = None
    target_id: str
    actor_id: str
    reason: str = ""
    banned_at: int
    expires_at: int | None = None
    basis: Basis = ()


class HomeUnban(Fact, kind="moderation.home_unban", version=1, context="context_id", time="unbanned_at"):
    """Lifts the bans of the same scope that are not newer; a home-wide one lifts none of a channel.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str | None = None
    target_id: str
    actor_id: str
    unbanned_at: int
    basis: Basis = ()


class HomeKick(Fact, kind="moderation.home_kick", version=1, context="context_id", time="kicked_at"):
    """The target is out of the channel until they join it again.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    target_id: str
    actor_id: str
    reason: str = ""
    kicked_at: int
    basis: Basis = ()


class HomePin(Fact, kind="moderation.home_pin", version=1, context="context_id", time="pinned_at"):
    """The message is held up for all to see.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    actor_id: str
    pinned_at: int
    basis: Basis = ()


class HomeUnpin(Fact, kind="moderation.home_unpin", version=1, context="context_id", time="unpinned_at"):
    """The message is no longer held up.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    actor_id: str
    unpinned_at: int
    basis: Basis = ()


class HomeGrantModerator(
    Fact, kind="moderation.home_grant_moderator", version=1, context="context_id", time="granted_at"
):
    """The owner lets the target moderate; nobody else can.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    target_id: str
    actor_id: str
    granted_at: int
    basis: Basis = ()


class HomeRevokeModerator(
    Fact, kind="moderation.home_revoke_moderator", version=1, context="context_id", time="revoked_at"
):
    """The owner makes the target a plain member again; what they did before they knew of it stands.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    target_id: str
    actor_id: str
    revoked_at: int
    basis: Basis = ()


MODERATION_FACTS: tuple[type[Fact], ...] = (
    HomeDeclared,
    HomeMute,
    HomeUnmute,
    HomeBan,
    HomeUnban,
    HomeKick,
    HomePin,
    HomeUnpin,
    HomeGrantModerator,
    HomeRevokeModerator,
)
