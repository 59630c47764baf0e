"""``JournalBridge``: what stands behind an `AppCore` in production, over an open journal.

Adds nothing to the journal but the ownership of what runs on its behalf: each server and each link lives in a task of
the bridge's own group, so that any task of a front end may begin and end them. Errors become ``IntentError``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from antiphon.facts import AntiphonError, AuthorityId, Clock, Fact, FactId, LocalViolation, Namespace
from antiphon.reactive import ReactiveError, ReactiveScheduler, SignalHub
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.entropy import system_random
from antiphon.runtime.guards.commands import GuardRefused, SendRequest
from antiphon.runtime.guards.grants import intent_request
from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities
from antiphon.runtime.services.acks import AckEvent, AckReceived
from antiphon.runtime.services.sync import Link, SyncReport, SyncServer
from antiphon.runtime.transports.transport import TransportError
from antiphon.views import CHAT_SIGNAL
from antiphon.views.chat import CHAT_VIEW_ID, ChatSignalView
from antiphon.views.chat_state import Message

from .acknowledged import ACKNOWLEDGED_SIGNAL, Acknowledged, own_shown
from .intent_errors import IntentError, as_intent_error
from .journal import Journal
from .runtime_bridge import Judgement, LinkOutcome, Rows, Standing, Started, Stopped, SyncOutcome

T = TypeVar("T")

# Twice what is shown of a channel: then what is not on a screen any more is left out.
_ACKNOWLEDGED_MAX = 1_000


class Meeting(Protocol):
    """How a journal meets its peers; a simulated network gives another one."""

    async def sync(self, address: str) -> SyncReport:
        """Exchange once."""
        ...

    def serve(self, address: str) -> SyncServer:
        """Let peers connect."""
        ...

    def link(self, address: str) -> Link:
        """Stay in touch."""
        ...


@dataclass(slots=True)
class _Kept(Generic[T]):
    """Something that runs in a task of the bridge until it is let go."""

    thing: T
    task: asyncio.Task[None]
    leaving: asyncio.Event


class JournalBridge:
    """A bridge over *journal*, inside ``async with``; leave it before the journal's block.

    Every intent passes *guard*: its own process's owner may do everything, unless another guard is given, with the
    capabilities of a token or with policies. *clock*, *random_bytes* and *meeting* are for tests, and must be those of
    the journal.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = system_random,
        meeting: Meeting | None = None,
        guard: EffectGuard | None = None,
    ) -> None:
        self._journal = journal
        self._guard = guard or EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        self._clock = clock or SystemClock()
        self._random = random_bytes
        self._meeting: Meeting = meeting or journal
        self._group: asyncio.TaskGroup | None = None
        self._server: _Kept[SyncServer] | None = None
        self._links: dict[str, _Kept[Link]] = {}
        self._changing = asyncio.Lock()

    @property
    def journal(self) -> Journal:
        """The journal behind it."""
        return self._journal

    @property
    def authority(self) -> AuthorityId:
        """Who acts here."""
        return self._journal.authority

    @property
    def label(self) -> str:
        """The display name."""
        return self._journal.author

    @property
    def namespace(self) -> Namespace:
        """Where facts go that name no context."""
        return self._journal.engine.namespace

    @property
    def hub(self) -> SignalHub:
        """The journal's signals."""
        return self._journal.engine.hub

    @property
    def scheduler(self) -> ReactiveScheduler[Fact]:
        """What folds the journal's facts."""
        return self._journal.engine.views.scheduler

    def now_ms(self) -> int:
        """The wall clock."""
        return self._clock.now_ms()

    def new_id(self) -> str:
        """32 hex digits."""
        return self._random(16).hex()

    async def wake(self) -> None:
        """Fold the journal's history into the signals that ship, and follow what peers acknowledge."""
        await self._journal.register_app_signals()
        if not self.hub.is_registered(ACKNOWLEDGED_SIGNAL):
            self.hub.register(ACKNOWLEDGED_SIGNAL, Acknowledged(), external=True, never_waits=True)
            # As long as the journal: what is told is the hub's, and another bridge over it may follow.
            self._journal.acks.add_listener(self._take_acks)
            if self._group is not None:
                self._group.create_task(self._load_acks())

    async def _load_acks(self) -> None:
        """What was acknowledged before: read once, while the screen is shown already."""
        ids = own_shown(self.hub.read(CHAT_SIGNAL))
        if not ids or not self._journal.acks.policies.ack_kinds:
            return
        with suppress(AntiphonError):  # no database: the marks of before stay away, those to come do not
            known = await self._journal.acks.of([FactId(bytes.fromhex(each)) for each in ids])
            found = self.hub.read(ACKNOWLEDGED_SIGNAL)
            for fact_id, account in known.items():
                for peer in account.acks:
                    found = found.with_peer(peer, (fact_id.hex(),))
            self.hub.emit(ACKNOWLEDGED_SIGNAL, found)

    def _take_acks(self, event: AckEvent) -> None:
        if not isinstance(event, AckReceived):
            return
        found = self.hub.read(ACKNOWLEDGED_SIGNAL).with_peer(event.peer, [each.hex() for each in event.fact_ids])
        if len(found.by) > _ACKNOWLEDGED_MAX:
            found = found.only(own_shown(self.hub.read(CHAT_SIGNAL)))
        self.hub.emit(ACKNOWLEDGED_SIGNAL, found)

    async def commit(self, facts: Sequence[Fact], /, *, operation: str = "") -> tuple[str, ...]:
        """Make facts durable, in one window when they fit; what an operation asks for, when every guard allows it."""
        if operation:
            for request in self._requests(facts, operation):
                try:
                    await self._guard.permit(request)
                except GuardRefused as problem:
                    text = f"{problem}; whoever wires the application decides who may do that"
                    raise IntentError("unauthorised", text, move="application", operation=operation) from problem
        return (await self._journal.commit_all(facts)).fact_ids

    async def judge(self, facts: Sequence[Fact], /, *, operation: str) -> Judgement:
        """What the guards would say."""
        for request in self._requests(facts, operation):
            found = (await self._guard.explain(request)).outcome.violation
            if found is not None:
                return Judgement(False, found.stage, found.public(), found.text)
        return Judgement(True)

    def _requests(self, facts: Sequence[Fact], operation: str) -> list[SendRequest]:
        """What the chain is asked: once for each context that the facts are about."""
        about: dict[str, list[Fact]] = {}
        for fact in facts:
            about.setdefault(fact.fact_type.context_of(fact) or self.namespace, []).append(fact)
        return [
            intent_request(operation, group, authority=str(self.authority), context=context)
            for context, group in about.items()
        ]

    async def flush(self) -> None:
        """Return when all that was committed is durable and shown."""
        await self._journal.flush()

    def find_message(self, context_id: str, channel_id: str, message_id: str, /) -> Message | None:
        """A visible message, read back from the log when it is old."""
        view = self._journal.engine.views.awake_view(CHAT_VIEW_ID)
        return view.find_message(context_id, channel_id, message_id) if isinstance(view, ChatSignalView) else None

    def messages_before(self, context_id: str, channel_id: str, message_id: str, count: int, /) -> tuple[Message, ...]:
        """The messages before that one, oldest first, read back from the log."""
        view = self._journal.engine.views.awake_view(CHAT_VIEW_ID)
        if not isinstance(view, ChatSignalView):
            return ()
        return view.messages_before(context_id, channel_id, message_id, count)

    async def erase(self, fact_ids: Sequence[str], /, *, reason: str) -> tuple[str, ...]:
        """Take back what facts say."""
        with _told("erase"):
            return tuple(receipt.fact_id for receipt in await self._journal.erase(*fact_ids, reason=reason))

    async def query(self, sql: str, parameters: Sequence[object] = (), /) -> Rows:
        """Ask the journal's history."""
        with _told("query"):
            result = await self._journal.sql(sql, parameters)
            return Rows(tuple(result.columns), tuple(result.fetchall()))

    async def standing(self) -> Standing:
        """Where the journal stands."""
        with _told("standing"):
            journal = self._journal
            return Standing(
                fact_count=journal.fact_count,
                fingerprint=journal.fingerprint,
                serving_at=self._server.thing.address if self._server is not None else None,
                links=tuple(_outcome(kept.thing) for kept in self._links.values()),
                problems=journal.problems,
            )

    async def sync(self, address: str, /) -> SyncOutcome:
        """Exchange with a peer once."""
        with _told("sync"):
            report = await self._meeting.sync(address)
            return SyncOutcome(report.is_success, report.sent, report.received, report.peer, report.reason)

    async def serve(self, address: str, /) -> tuple[Started, str]:
        """Let peers connect."""
        with _told("serve"):
            async with self._changing:
                if self._server is not None:
                    return "already_running", self._server.thing.address
                self._server = await self._keep(self._meeting.serve(address))
                return "started", self._server.thing.address

    async def stop_serving(self) -> Stopped:
        """Let nobody connect any more."""
        with _told("stop_serving"):
            async with self._changing:
                kept, self._server = self._server, None
                return await self._let_go(kept)

    async def link(self, address: str, /) -> Started:
        """Stay in touch with a peer."""
        with _told("link"):
            async with self._changing:
                if address in self._links:
                    return "already_running"
                self._links[address] = await self._keep(self._meeting.link(address))
                return "started"

    async def unlink(self, address: str, /) -> Stopped:
        """Let a peer go."""
        with _told("unlink"):
            async with self._changing:
                return await self._let_go(self._links.pop(address, None))

    async def __aenter__(self) -> Self:
        group = asyncio.TaskGroup()
        self._group = await group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        assert group is not None, "the block was entered"
        for link in self._links.values():
            link.leaving.set()
        self._links.clear()
        server, self._server = self._server, None
        if server is not None:
            server.leaving.set()
        await group.__aexit__(None, None, None)

    async def _keep(self, thing: Any) -> _Kept[Any]:
        """Enter *thing* in a task of its own; raises what entering raises."""
        if self._group is None:
            raise LocalViolation("a journal bridge serves and links inside its `async with` block")
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        leaving = asyncio.Event()
        task = self._group.create_task(_run(thing, entered, leaving))
        await entered
        return _Kept(thing, task, leaving)

    async def _let_go(self, kept: _Kept[Any] | None) -> Stopped:
        if kept is None:
            return "nothing_to_do"
        kept.leaving.set()
        await asyncio.wait([kept.task])
        return "stopped"


async def _run(
    thing: AbstractAsyncContextManager[object], entered: asyncio.Future[None], leaving: asyncio.Event
) -> None:
    try:
        await thing.__aenter__()
    except BaseException as problem:  # who asked for it is told; a cancellation goes on
        entered.set_exception(problem) if isinstance(problem, Exception) else entered.cancel()
        if isinstance(problem, Exception):
            return
        raise
    try:
        if not entered.done():  # else whoever asked was cancelled meanwhile
            entered.set_result(None)
            await leaving.wait()
    finally:
        await thing.__aexit__(None, None, None)


def _outcome(link: Link) -> LinkOutcome:
    status = link.status
    return LinkOutcome(
        status.address, status.state.value, status.is_agreed, status.sent, status.received, status.reason
    )


@contextmanager
def _told(operation: str) -> Iterator[None]:
    """Turn what a runtime raises into what a front end shows."""
    try:
        yield
    except TransportError as problem:
        raise IntentError("network", str(problem), move="them", operation=operation) from problem
    except (AntiphonError, ReactiveError, TimeoutError) as problem:
        raise as_intent_error(problem, operation=operation) from problem
