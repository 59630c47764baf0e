"""``JournalBridge``: what stands behind an `AppCore` in production, over an open journal.

Adds nothing to the journal but the ownership of what runs on its behalf: each server and each link lives in a task of
the bridge's own group, so that any task of a front end may begin and end them. Errors become ``IntentError``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from antiphon.facts import AntiphonError, AuthorityId, Clock, Fact, FactId, LocalViolation, Namespace
from antiphon.journal import SharedText
from antiphon.reactive import ReactiveError, ReactiveScheduler, SignalHub
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.entropy import system_random
from antiphon.runtime.guards.commands import GuardRefused, SendRequest
from antiphon.runtime.guards.grants import EVERYWHERE, SELF, call_request, intent_request
from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities
from antiphon.runtime.guards.peer_gate import CREDIT_MESSAGES, ChainGate, Credits, context_of, seen_contexts
from antiphon.runtime.services.acks import AckEvent, AckReceived
from antiphon.runtime.services.gates import SyncGate
from antiphon.runtime.services.sync import Link, SyncServer
from antiphon.runtime.transports.reach import check_address
from antiphon.runtime.transports.transport import TransportError
from antiphon.views import CHAT_SIGNAL
from antiphon.views.chat import CHAT_VIEW_ID, ChatSignalView
from antiphon.views.chat_state import Message

from .acknowledged import ACKNOWLEDGED_SIGNAL, Acknowledged, own_shown
from .erasing import contexts_about
from .intent_errors import IntentError, as_intent_error
from .journal import Journal
from .runtime_bridge import (
    CallName,
    Judgement,
    LinkOutcome,
    Rows,
    RuntimeCall,
    Standing,
    Started,
    Stopped,
    SyncOutcome,
)

T = TypeVar("T")

# Twice what is shown of a channel: then what is not on a screen any more is left out.
_ACKNOWLEDGED_MAX = 1_000


@dataclass(slots=True)
class _Kept(Generic[T]):
    """Something that runs in a task of the bridge until it is let go."""

    thing: T
    task: asyncio.Task[None]
    leaving: asyncio.Event


class JournalBridge:
    """A bridge over *journal*, inside ``async with``; leave it before the journal's block.

    Every intent passes a guard, and so does each of `RUNTIME_CALLS`. Without *guard* it is the owner's own, who may do
    everything; one with the capabilities of a token, or with policies, judges by those, and pays for each message of a
    session before it leaves, from the account of the address that was dialled or of the peer that came. *gate* decides
    whom it serves, beside it. *clock* and *random_bytes* are for tests, and must be those of the journal.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = system_random,
        guard: EffectGuard | None = None,
        gate: SyncGate | None = None,
    ) -> None:
        self._journal = journal
        self._credits = Credits(guard, authority=str(journal.authority)) if guard is not None else None
        self._gate = gate
        self._guard = guard or EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        self._clock = clock or SystemClock()
        self._random = random_bytes
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
            await self._pass(self._requests(facts, operation), operation)
        return (await self._journal.commit_all(facts)).fact_ids

    async def judge(self, facts: Sequence[Fact], /, *, operation: str) -> Judgement:
        """What the guards would say."""
        return await self._foretell(self._requests(facts, operation))

    async def judge_call(self, call: RuntimeCall, /) -> Judgement:
        """What the guards would say to a call."""
        with _told(call.name):
            return await self._foretell(await self._requests_of(call))

    async def _pass(self, requests: Sequence[SendRequest], operation: str) -> None:
        """Let what costs nothing pass, all of it or none."""
        for request in requests:
            try:
                await self._guard.permit(request)
            except GuardRefused as problem:
                raise _unauthorised(problem, operation) from problem

    async def _foretell(self, requests: Sequence[SendRequest]) -> Judgement:
        for request in requests:
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

    async def _requests_of(self, call: RuntimeCall) -> list[SendRequest]:
        """What the chain is asked about a call, in each context that it is about."""
        name, about = call
        build = partial(call_request, name, authority=str(self.authority))
        if name == "query":
            return [build(context=EVERYWHERE)]
        if name == "erase":
            contexts = await contexts_about(self._journal.engine, about)
            return [build(context=context) for context in sorted(contexts or {self.namespace})]
        context = await self._context_of_sessions()
        if name == "serve":
            return [build(context=context)]
        return [self._dialling(name, context, address) for address in about or (SELF,)]

    def _dialling(self, name: str, context: str, address: str) -> SendRequest:
        """A session pays for its first messages before it dials, unless some are left of what was paid before."""
        is_paid = self._credits is None or self._credits.left(context, address) > 0
        cost = 0 if is_paid else CREDIT_MESSAGES
        return call_request(name, authority=str(self.authority), context=context, peer=address, cost=cost)

    async def _context_of_sessions(self) -> str:
        """Whose budgets pay for a session, by the contexts that it may be about."""
        try:
            return context_of(await seen_contexts(self._journal.engine, self._guard.capabilities))
        except AntiphonError:  # the chain asks again, and says why
            return context_of(None)

    async def _dial(self, name: CallName, address: str) -> SyncGate | None:
        """Ask and pay for a session with *address*; the gate that it has to go through."""
        check_address(address, is_to_connect=True)
        (request,) = await self._requests_of(RuntimeCall(name, (address,)))
        if self._credits is None:
            await self._pass((request,), name)
            return None
        if request.cost:
            try:
                await self._credits.of(request.context, address).buy(request)
            except GuardRefused as problem:
                raise _unauthorised(problem, name) from problem
        else:
            await self._pass((request,), name)
        return ChainGate(self._journal.engine, self._guard, self._credits, peer=address)

    async def _open_door(self, address: str) -> SyncGate | None:
        """Ask whether peers may be served; the gate that they have to go through."""
        check_address(address)
        await self._pass(await self._requests_of(RuntimeCall("serve", (address,))), "serve")
        if self._credits is None:
            return self._gate
        return ChainGate(self._journal.engine, self._guard, self._credits, within=self._gate)

    async def flush(self) -> None:
        """Return when all that was committed is durable and shown."""
        await self._journal.flush()

    def find_message(self, context_id: str, channel_id: str, message_id: str, /) -> Message | None:
        """A visible message, read back from the log when it is old."""
        view = self._journal.engine.views.awake_view(CHAT_VIEW_ID)
        return view.find_message(context_id, channel_id, message_id) if isinstance(view, ChatSignalView) else None

    def topic_of(self, context_id: str, channel_id: str, /) -> SharedText:
        """The topic of a channel as a text to change."""
        view = self._journal.engine.views.awake_view(CHAT_VIEW_ID)
        known = view.topic_of(context_id, channel_id) if isinstance(view, ChatSignalView) else None
        return known or SharedText("", "")

    def messages_before(self, context_id: str, channel_id: str, message_id: str, count: int, /) -> tuple[Message, ...]:
        """The messages before that one, oldest first, read back from the log."""
        view = self._journal.engine.views.awake_view(CHAT_VIEW_ID)
        if not isinstance(view, ChatSignalView):
            return ()
        return view.messages_before(context_id, channel_id, message_id, count)

    async def erase(self, fact_ids: Sequence[str], /, *, reason: str) -> tuple[str, ...]:
        """Take back what facts say."""
        with _told("erase"):
            await self._pass(await self._requests_of(RuntimeCall("erase", tuple(fact_ids))), "erase")
            return tuple(receipt.fact_id for receipt in await self._journal.erase(*fact_ids, reason=reason))

    async def query(self, sql: str, parameters: Sequence[object] = (), /) -> Rows:
        """Ask the journal's history."""
        with _told("query"):
            await self._pass(await self._requests_of(RuntimeCall("query")), "query")
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
            report = await self._journal.sync(address, gate=await self._dial("sync", address))
            return SyncOutcome(report.is_success, report.sent, report.received, report.peer, report.reason)

    async def serve(self, address: str, /) -> tuple[Started, str]:
        """Let peers connect."""
        with _told("serve"):
            async with self._changing:
                if self._server is not None:
                    return "already_running", self._server.thing.address
                self._server = await self._keep(self._journal.serve(address, gate=await self._open_door(address)))
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
                gate = await self._dial("link", address)
                self._links[address] = await self._keep(self._journal.link(address, gate=gate))
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


def _unauthorised(problem: GuardRefused, operation: str) -> IntentError:
    text = f"{problem}; whoever wires the application decides who may do that"
    return IntentError("unauthorised", text, move="application", operation=operation)


@contextmanager
def _told(operation: str) -> Iterator[None]:
    """Turn what a runtime raises into what a front end shows."""
    try:
        yield
    except IntentError:
        raise
    except TransportError as problem:
        raise IntentError("network", str(problem), move="them", operation=operation) from problem
    except (AntiphonError, ReactiveError, TimeoutError) as problem:
        raise as_intent_error(problem, operation=operation) from problem
