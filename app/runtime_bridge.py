"""``RuntimeBridge``: all that `AppCore` asks of what is behind it, so that no front end depends on a runtime.

A protocol and its values; nothing here acts. ``app/bridge.py`` is the one over a journal, ``app/offline_bridge.py``
the one for when there is none. Members up to ``messages_before`` every bridge answers; the rest are
`RUNTIME_OPERATIONS`, which need a runtime: without one each raises ``NoAgent``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from antiphon.facts import AuthorityId, Fact, Namespace
from antiphon.journal import SharedText
from antiphon.reactive import ReactiveScheduler, SignalHub
from antiphon.views.chat_state import Message

Started = Literal["started", "already_running"]
Stopped = Literal["stopped", "nothing_to_do"]


class Rows(NamedTuple):
    """An answer to a SQL question."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """What one exchange with a peer achieved; ``reason`` is empty when both sides agreed."""

    is_success: bool
    sent: int
    received: int
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkOutcome:
    """How a live link to a peer is doing; facts are counted over all its sessions."""

    address: str
    state: str
    is_agreed: bool
    sent: int
    received: int
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the journal behind a core stands: equal fingerprints, equal facts. ``problems`` are for a person."""

    fact_count: int
    fingerprint: str
    serving_at: str | None
    links: tuple[LinkOutcome, ...]
    problems: tuple[str, ...]


class Judgement(NamedTuple):
    """What the guards say to an operation: the guard that refuses it and why, in a word and in a sentence; or none."""

    is_allowed: bool
    refusing_guard: str = ""
    reason: str = ""
    text: str = ""


CallName = Literal["erase", "query", "sync", "serve", "link"]
RUNTIME_CALLS: tuple[CallName, ...] = ("erase", "query", "sync", "serve", "link")
"""The members that the guards are asked about."""


class RuntimeCall(NamedTuple):
    """A call to a runtime, as the guards are asked about it: its name, and the fact ids or the address it is about.

    >>> RuntimeCall("sync", ("tcp://127.0.0.1:4000",)).name
    'sync'
    """

    name: CallName
    about: tuple[str, ...] = ()


class RuntimeBridge(Protocol):
    """What stands behind an `AppCore`. Belongs to one event loop; errors are ``IntentError`` or a journal's own."""

    @property
    def authority(self) -> AuthorityId:
        """Who acts here: 32 hex digits."""
        ...

    @property
    def label(self) -> str:
        """The display name of who acts here."""
        ...

    @property
    def namespace(self) -> Namespace:
        """Where facts go that name no context."""
        ...

    @property
    def hub(self) -> SignalHub:
        """The signals; those that ship are registered once ``wake`` returned."""
        ...

    @property
    def scheduler(self) -> ReactiveScheduler[Fact]:
        """What folds facts into them, for those who look on."""
        ...

    def now_ms(self) -> int:
        """The wall clock, in ms since 1970."""
        ...

    def new_id(self) -> str:
        """32 hex digits that nobody has used."""
        ...

    async def wake(self) -> None:
        """Fold what is there into the signals that ship; waking twice is free."""
        ...

    async def commit(self, facts: Sequence[Fact], /, *, operation: str = "") -> tuple[str, ...]:
        """Keep facts as surely as this bridge can; when it returns their signals show them. The ids, in hex.

        What an *operation* asks for has to pass the guards, where there are any; ``unauthorised`` says that it did not.
        """
        ...

    async def judge(self, facts: Sequence[Fact], /, *, operation: str) -> Judgement:
        """What the guards would say to that, and nothing happens; without guards everything is allowed."""
        ...

    async def flush(self) -> None:
        """Return when all that was committed is kept and shown."""
        ...

    def find_message(self, context_id: str, channel_id: str, message_id: str, /) -> Message | None:
        """A visible message however old it is; None for one that nobody would see."""
        ...

    def topic_of(self, context_id: str, channel_id: str, /) -> SharedText:
        """The topic of a channel as a text to change."""
        ...

    def messages_before(self, context_id: str, channel_id: str, message_id: str, count: int, /) -> tuple[Message, ...]:
        """The visible messages before that one, oldest first, however old they are; none before an unknown one."""
        ...

    async def erase(self, fact_ids: Sequence[str], /, *, reason: str) -> tuple[str, ...]:
        """Take back what facts say, here and wherever it is heard of; the ids of the erasures."""
        ...

    async def query(self, sql: str, parameters: Sequence[object] = (), /) -> Rows:
        """Ask the history in SQL, with all that was committed before."""
        ...

    async def judge_call(self, call: RuntimeCall, /) -> Judgement:
        """What the guards would say to one of `RUNTIME_CALLS`, and nothing happens."""
        ...

    async def standing(self) -> Standing:
        """Where the journal stands."""
        ...

    async def sync(self, address: str, /) -> SyncOutcome:
        """Exchange with the peer at ``tcp://host:port``, both ways, once."""
        ...

    async def serve(self, address: str, /) -> tuple[Started, str]:
        """Let peers connect until ``stop_serving``; and the address they use."""
        ...

    async def stop_serving(self) -> Stopped:
        """Let nobody connect any more."""
        ...

    async def link(self, address: str, /) -> Started:
        """Stay in touch with the peer at an address until ``unlink``; a peer that is away is tried again."""
        ...

    async def unlink(self, address: str, /) -> Stopped:
        """Let that peer go, after handing over what is kept here."""
        ...


RUNTIME_OPERATIONS: tuple[str, ...] = (
    *("erase", "query", "judge_call", "standing"),
    *("sync", "serve", "stop_serving", "link", "unlink"),
)
"""The members that need a runtime."""
