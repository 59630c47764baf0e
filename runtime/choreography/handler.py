"""How a role reaches the others: the one interface between protocols and whatever carries their messages.

    send(message) ──► [ one queue a pair and direction ] ──► recv() → message
    choose(label) ──►                                   ──► offer() → label

What travels is an item: a label alone, or a message under its name. Items of one pair arrive in the order in which they
were sent, labels and messages alike. Decides nothing about order between pairs, and knows no protocol: `endpoint.py`
does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from .errors import UnknownExtension

T = TypeVar("T")
# What a handler keeps for one session of a role; most keep nothing and take any object.
E_contra = TypeVar("E_contra", contravariant=True)

Tier: TypeAlias = Literal["full_protocol", "observational_harness"]
Delivery: TypeAlias = Literal["exactly_once", "at_most_once", "none"]


class HandlerProfile(NamedTuple):
    """What a handler says of itself; `profiles.validate_profile` finds contradictions.

    ``makes_values``: recv and offer answer with what no peer sent.
    """

    tier: Tier = "full_protocol"
    keeps_order: bool = True
    enforces_timeouts: bool = True
    receives: bool = True
    makes_values: bool = False
    retries: bool = False
    delivery: Delivery = "exactly_once"


class Written(NamedTuple):
    """The bytes that a codec made of a message, so that nobody writes it twice; another codec writes it anew."""

    codec: object
    data: bytes


class Labelled(NamedTuple):
    """A message that travels under another name than its class's: ``Labelled("Quote", 20)``."""

    label: str
    value: object
    written: Written | None = None


def label_of(message: object) -> str:
    """The name a message travels under: its class's, unless it is ``Labelled``.

    >>> label_of(Labelled("Quote", 20)), label_of(20)
    ('Quote', 'int')
    """
    return message.label if isinstance(message, Labelled) else type(message).__name__


def value_of(message: object) -> object:
    """What travels under the name.

    >>> value_of(Labelled("Quote", 20))
    20
    """
    return message.value if isinstance(message, Labelled) else message


class ChoreoHandler(Protocol[E_contra]):
    """What carries a role's messages. Subclass it and write the first six; the rest has an answer already.

    One task at a time receives from a peer, and one sends to it. A cancelled ``recv`` or ``offer`` takes nothing. An
    operation that raises has not happened; after ``TransportFailed`` it may be tried again. The shipped suite
    ``testing/contracts/handler.py`` says the rest, and every handler passes it.
    """

    profile: HandlerProfile = HandlerProfile()

    async def send(self, endpoint: E_contra, to: str, message: object) -> None:
        """Hand a message over to the way to *to*; waits while that way is full."""
        ...

    async def recv(
        self, endpoint: E_contra, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """The next message of *sender*, read as a *kind* (None: as plain data).

        *label* is the name that it must have (None: the kind's name; without a kind, any). Raises
        ``UnexpectedMessage`` when something else comes next and ``MalformedMessage`` when it cannot be read; both leave
        it where it is.
        """
        ...

    async def choose(self, endpoint: E_contra, to: str, label: str) -> None:
        """Tell *to* a label."""
        ...

    async def offer(self, endpoint: E_contra, sender: str) -> str:
        """The label that comes next from *sender*.

        A label that travels alone is taken; that of a message is only looked at, and ``recv`` gets the message.
        """
        ...

    async def with_timeout(self, endpoint: E_contra, at: str, seconds: float, body: Awaitable[T]) -> T:
        """Await *body*; when this handler's role is *at*, cancel it after *seconds* and raise ``TimedOut``."""
        ...

    async def close(self, endpoint: E_contra) -> None:
        """Let the session go: peers get what was sent and then ``ChannelClosed``, at once if they wait. Idempotent."""
        ...

    async def broadcast(self, endpoint: E_contra, recipients: Iterable[str], message: object) -> None:
        """Send one message to each, in order; the first error ends it."""
        for recipient in recipients:
            await self.send(endpoint, recipient, message)

    async def parallel_send(self, endpoint: E_contra, messages: Iterable[tuple[str, object]]) -> None:
        """Send each message to its receiver, in the given order; the first error ends it."""
        for recipient, message in messages:
            await self.send(endpoint, recipient, message)

    async def extend(self, endpoint: E_contra, extension: object) -> object:
        """Perform an extension effect; ``UnknownExtension`` for one that nobody registered."""
        raise UnknownExtension(extension)
