"""What stands behind an `AppCore` without a runtime: facts in memory, the views that ship, and no peer and no disk.

The facts are as real as a journal's, sealed and signed, and the views are the same; only nothing outlives the process.
Every operation that needs a runtime raises ``NoAgent``: a demo must not look as if it had synced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.facts import (
    DEFAULT_NAMESPACE,
    AuthorityId,
    Clock,
    Fact,
    FactRecord,
    FactRegistry,
    LocalViolation,
    Namespace,
    authority_id,
    with_record,
)
from antiphon.facts.fact import get_record
from antiphon.journal import Draft, KeySigner, OwnChain, SharedText, open_chain, seal_run
from antiphon.reactive import SYNC_STATUS_SIGNAL, ReactiveScheduler, SignalHub, SyncStatus
from antiphon.views import APP_VIEWS, ChatSignalView, Message

from .acknowledged import ACKNOWLEDGED_SIGNAL, Acknowledged
from .intent_errors import NoAgent
from .runtime_bridge import Judgement, Rows, RuntimeCall, Standing, Started, Stopped, SyncOutcome


@dataclass(slots=True)
class _Author:
    """Somebody who says things: their keys, and a chain for each namespace they spoke in."""

    label: str
    signer: KeySigner
    writer: KeySigner
    chains: dict[str, OwnChain] = field(default_factory=dict)

    @property
    def authority(self) -> AuthorityId:
        return authority_id(self.signer.public_key)


class OfflineBridge:
    """A bridge to nothing but memory. Used inside ``async with``, on one event loop.

    *identity* (32 bytes) makes the author the same every time; without it each bridge is somebody new.
    """

    def __init__(
        self,
        author: str,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        namespace: str = DEFAULT_NAMESPACE,
        identity: bytes | None = None,
    ) -> None:
        self._clock = clock
        self._random = random_bytes
        self._namespace = Namespace(namespace)
        self._registry = FactRegistry()
        self._owner = self._new_author(author, identity or random_bytes(32))
        self._personas: dict[str, _Author] = {}
        self._hub = SignalHub()
        self._scheduler: ReactiveScheduler[Fact] | None = None
        self._chat: ChatSignalView | None = None
        self._hlc = 0
        self._hub.register(SYNC_STATUS_SIGNAL, SyncStatus(), external=True, never_waits=True)
        self._hub.register(ACKNOWLEDGED_SIGNAL, Acknowledged(), external=True, never_waits=True)

    @property
    def authority(self) -> AuthorityId:
        """Who acts here."""
        return self._owner.authority

    @property
    def label(self) -> str:
        """The display name."""
        return self._owner.label

    @property
    def namespace(self) -> Namespace:
        """Where facts go that name no context."""
        return self._namespace

    @property
    def hub(self) -> SignalHub:
        """The signals."""
        return self._hub

    @property
    def scheduler(self) -> ReactiveScheduler[Fact]:
        """What folds the facts. ``LocalViolation`` before ``wake``."""
        if self._scheduler is None:
            raise LocalViolation("this bridge is asleep; await bridge.wake() first")
        return self._scheduler

    def now_ms(self) -> int:
        """The wall clock."""
        return self._clock.now_ms()

    def new_id(self) -> str:
        """32 hex digits."""
        return self._random(16).hex()

    async def wake(self) -> None:
        """Register the views that ship; waking twice is free."""
        from reactivex.scheduler.eventloop import AsyncIOScheduler  # 50 ms that a front end pays when it starts

        if self._scheduler is not None:
            return
        rx = AsyncIOScheduler(asyncio.get_running_loop())
        self._scheduler = ReactiveScheduler(
            self._hub, rx, self._clock, kind_of=lambda fact: get_record(fact).kind, id_of=_id_of
        )
        for app_view in APP_VIEWS.values():
            view = app_view.build(self.authority)
            self._chat = view if isinstance(view, ChatSignalView) else self._chat
            self._scheduler.register_view(view, app_view.empty)

    async def commit(self, facts: Sequence[Fact], /, *, operation: str = "") -> tuple[str, ...]:
        """Seal facts, keep them in memory, and show them. Nothing leaves from here, so no guard is asked."""
        del operation
        return self._say(self._owner, facts)

    async def judge(self, facts: Sequence[Fact], /, *, operation: str) -> Judgement:
        """Allowed: nothing leaves from here."""
        del facts, operation
        return Judgement(True)

    async def commit_as(self, persona: str, facts: Sequence[Fact], /) -> tuple[str, ...]:
        """As ``commit``, by somebody else of that name, for demos and tests; see ``authority_of``."""
        return self._say(self._persona(persona), facts)

    def authority_of(self, persona: str) -> AuthorityId:
        """Whom ``commit_as`` acts for: always the same for one name."""
        return self._persona(persona).authority

    async def flush(self) -> None:
        """Everything is shown already."""

    def find_message(self, context_id: str, channel_id: str, message_id: str, /) -> Message | None:
        """A visible message, however old."""
        return None if self._chat is None else self._chat.find_message(context_id, channel_id, message_id)

    def topic_of(self, context_id: str, channel_id: str, /) -> SharedText:
        """The topic of a channel as a text to change."""
        return SharedText("", "") if self._chat is None else self._chat.topic_of(context_id, channel_id)

    def messages_before(self, context_id: str, channel_id: str, message_id: str, count: int, /) -> tuple[Message, ...]:
        """The messages before that one, oldest first."""
        return () if self._chat is None else self._chat.messages_before(context_id, channel_id, message_id, count)

    async def erase(self, fact_ids: Sequence[str], /, *, reason: str) -> tuple[str, ...]:
        """Raises ``NoAgent``."""
        _need_runtime("erase")

    async def query(self, sql: str, parameters: Sequence[object] = (), /) -> Rows:
        """Raises ``NoAgent``."""
        _need_runtime("query")

    async def judge_call(self, call: RuntimeCall, /) -> Judgement:
        """Raises ``NoAgent``."""
        _need_runtime("judge_call")

    async def standing(self) -> Standing:
        """Raises ``NoAgent``."""
        _need_runtime("standing")

    async def sync(self, address: str, /) -> SyncOutcome:
        """Raises ``NoAgent``."""
        _need_runtime("sync")

    async def serve(self, address: str, /) -> tuple[Started, str]:
        """Raises ``NoAgent``."""
        _need_runtime("serve")

    async def stop_serving(self) -> Stopped:
        """Raises ``NoAgent``."""
        _need_runtime("stop_serving")

    async def link(self, address: str, /) -> Started:
        """Raises ``NoAgent``."""
        _need_runtime("link")

    async def unlink(self, address: str, /) -> Stopped:
        """Raises ``NoAgent``."""
        _need_runtime("unlink")

    async def close(self) -> None:
        """End every subscription and forget the facts; closing twice is fine."""
        if self._scheduler is not None:
            self._scheduler.shutdown()
        self._hub.close()

    def _new_author(self, label: str, identity: bytes) -> _Author:
        return _Author(label, _key(identity, "authority"), _key(identity, "writer"))

    def _persona(self, name: str) -> _Author:
        author = self._personas.get(name)
        if author is None:
            identity = sha256(b"antiphon.persona\0" + name.encode()).digest()
            author = self._personas[name] = self._new_author(name, identity)
        return author

    def _say(self, author: _Author, facts: Sequence[Fact]) -> tuple[str, ...]:
        drafts: dict[Namespace, list[tuple[int, Draft]]] = {}
        for place, fact in enumerate(facts):
            fact_type = self._registry.register(type(fact))
            draft = Draft(fact_type.kind, fact_type.version, fact_type.encode(fact), fact_type.time_of(fact), ())
            context = fact_type.context_of(fact) if fact_type.names_context else None
            drafts.setdefault(Namespace(str(context or self._namespace)), []).append((place, draft))
        placed: dict[int, Fact] = {}
        for namespace, group in drafts.items():
            for (place, _), record in zip(
                group, self._seal(author, namespace, [each[1] for each in group]), strict=True
            ):
                placed[place] = with_record(facts[place], record)
        whole = [placed[place] for place in range(len(facts))]
        self.scheduler.deliver(whole, unique=True)
        return tuple(get_record(fact).fact_id.hex() for fact in whole)

    def _seal(self, author: _Author, namespace: Namespace, drafts: Sequence[Draft]) -> Sequence[FactRecord]:
        wall_ms = self._clock.now_ms()
        chain, whole = author.chains.get(namespace), list(drafts)
        if chain is None:
            chain, opening = open_chain(
                namespace=namespace,
                writer=author.writer,
                authority=author.signer,
                nonce=self._random(16),
                device=self._random(16).hex(),
                label=author.label,
                predecessor=None,
                fresh=(),
            )
            author.chains[namespace] = chain
            whole = [opening, *whole]
        run = seal_run(
            chain,
            whole,
            wall_ms=wall_ms,
            hlc_floor=self._hlc + 1,
            randomness=self._random(16 * len(whole)),
            signer=author.writer,
        )
        self._hlc = run.records[-1].hlc
        return run.records[-len(drafts) :]


def _key(identity: bytes, purpose: str) -> KeySigner:
    return KeySigner(Ed25519PrivateKey.from_private_bytes(sha256(purpose.encode() + b"\0" + identity).digest()))


def _id_of(fact: Fact) -> bytes:
    return get_record(fact).fact_id


def _need_runtime(operation: str) -> NoReturn:
    raise NoAgent(operation)
