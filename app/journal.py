"""``Journal``: the embedding façade, one object for committing, watching, asking and replicating.

Wires the rooms below together and adds no behaviour of its own. Belongs to the event loop it was opened on; any task
of that loop may use it. The engine, DuckDB and the sync services are loaded when they are first needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Coroutine, Generator, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Self, TypeVar, overload
from weakref import WeakSet

from antiphon import views
from antiphon.facts import DEFAULT_NAMESPACE, AuthorityId, Clock, Fact, FactRecord, LocalViolation, Namespace
from antiphon.reactive import (
    ERROR_SIGNAL,
    AppError,
    FactSink,
    LiveSignal,
    Signal,
    SignalNotFound,
    SignalStream,
    Update,
    open_stream,
)
from antiphon.reactive.signal import SignalKey
from antiphon.reactive.subscription import CAPACITY, Policy
from antiphon.runtime.entropy import system_random
from antiphon.views.fold import FoldView, ViewSpec

if TYPE_CHECKING:
    from antiphon.journal import DeliveryIcon, DeliveryPolicy, Disk
    from antiphon.journal.guard_book import GuardLimits
    from antiphon.journal.lattice import Join
    from antiphon.journal.retention import RetentionPlan
    from antiphon.journal.snapshot import LatticeFold
    from antiphon.journal.stores.tables import Parameters
    from antiphon.journal.supersession import Supersession
    from antiphon.reactive import View
    from antiphon.runtime.engine import EngineStatistics, JournalEngine
    from antiphon.runtime.events import EventSink
    from antiphon.runtime.guards.commands import SendRequest
    from antiphon.runtime.guards.guard import CapabilitySource, EffectGuard, Explanation
    from antiphon.runtime.guards.outbox import Deliver
    from antiphon.runtime.guards.policy import EffectPolicyRegistry
    from antiphon.runtime.services.acks import AckAccount
    from antiphon.runtime.services.gates import SyncGate
    from antiphon.runtime.services.room import Room
    from antiphon.runtime.services.session_driver import SyncSettings
    from antiphon.runtime.services.snapshots import Cut, Trimmed
    from antiphon.runtime.services.sync import Link, SyncReport, SyncServer
    from antiphon.runtime.thread_bridge import ThreadBridge
    from antiphon.runtime.transports.nats_access import NatsAccess
    from antiphon.runtime.transports.tls import Tls
    from antiphon.runtime.witness import Quarantined
    from antiphon.views import AppView, Message, Opener

    from .history import Result

S = TypeVar("S")
T = TypeVar("T")
L = TypeVar("L", bound="Join")


class Receipt(NamedTuple):
    """Proof that a fact is durable here: its id (64 hex digits), its chain (32 hex digits), its number and time in
    ms."""

    fact_id: str
    chain: str
    seq: int
    at: int
    namespace: Namespace


class BatchReceipt(NamedTuple):
    """Proof that many facts are durable here. ``is_atomic`` is False when they needed more than one window."""

    records: tuple[FactRecord, ...]
    window_count: int

    @property
    def is_atomic(self) -> bool:
        """Whether all of them became durable in one step."""
        return self.window_count <= 1

    @property
    def fact_ids(self) -> tuple[str, ...]:
        """The facts' ids, in the order they were given."""
        return tuple(record.fact_id.hex() for record in self.records)

    def __repr__(self) -> str:
        return f"<BatchReceipt: {len(self.records)} facts in {self.window_count} windows>"


class Journal:
    """An open journal: a folder of facts that this process owns.

    >>> import asyncio, tempfile
    >>> class Noted(Fact, kind="doc.noted", version=1):
    ...     text: str
    >>> async def main() -> int:
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         async with Journal.open(folder + "/notes", author="ada") as journal:
    ...             receipt = await journal.commit(Noted(text="hello"))
    ...             return receipt.seq
    >>> asyncio.run(main())
    2
    """

    def __init__(self, engine: JournalEngine) -> None:
        if not hasattr(engine, "folder"):
            raise LocalViolation(f"a journal is opened with Journal.open({engine!r}), not made with Journal(…)")
        self._engine = engine
        self._opener: Opener | None = None
        self._chats: WeakSet[views.ChatSignalView] = WeakSet()

    def __del__(self) -> None:
        engine: JournalEngine | None = getattr(self, "_engine", None)
        if engine is not None and engine.is_left_open:
            warnings.warn(
                f"{self!r} was not closed, so its folder stays locked; use async with, or await journal.close()",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        author: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        types: Iterable[type[Fact]] = (),
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = system_random,
        disk: Disk | None = None,
        may_create: bool = True,
        sinks: Iterable[EventSink] = (),
        on_opening: Callable[[int, int], None] | None = None,
    ) -> OpeningJournal:
        """Open or create the journal in the folder *path*: ``async with Journal.open(…) as journal`` or ``await`` it.

        *author* is the display name new chains carry (kept from the last time when None), *namespace* takes the facts
        whose type names no context, *types* are registered and checked for drift at once (others on first use).
        *sinks* are told what happens inside, beside the log (docs/guards.md). *on_opening* is told, from another
        thread, how many log files were read of how many there are, while the journal reads several because its
        database was gone or behind. *clock*, *random_bytes* and *disk* are for tests.

        Raises ``LocalViolation`` for an argument that is of another type or no name, ``NotAJournal``, ``JournalHeld``,
        ``FormatTooNew``, ``StoreUnavailable``, ``SchemaDrift``.
        """
        models = _check_opening(path, author=author, namespace=namespace, types=types)

        async def start() -> Journal:
            from antiphon.runtime.engine import check_namespace
            from antiphon.runtime.events import Events
            from antiphon.runtime.opening import open_engine

            check_namespace(namespace, where="Journal.open")
            return cls(
                await open_engine(
                    Path(path),
                    author=author,
                    namespace=Namespace(namespace),
                    types=models,
                    clock=clock,
                    random_bytes=random_bytes,
                    disk=disk,
                    may_create=may_create,
                    events=Events(*sinks),
                    on_opening=on_opening,
                )
            )

        return OpeningJournal(path, start)

    @property
    def path(self) -> Path:
        """The journal's folder."""
        return self._engine.folder.path

    @property
    def author(self) -> str:
        """The display name that this journal's chains carry."""
        return self._engine.folder.label

    @property
    def authority(self) -> AuthorityId:
        """Who acts when this journal commits: 32 hex digits."""
        return self._engine.authority

    @property
    def engine(self) -> JournalEngine:
        """The engine below, for services that extend it."""
        return self._engine

    @property
    def fingerprint(self) -> str:
        """Hash over everything that is durable here (64 hex digits); equal on converged replicas."""
        return self._engine.index.fingerprint()

    def fingerprint_of(self, namespace: str) -> str:
        """The root of one context, in hex."""
        return self._engine.index.root(Namespace(namespace)).hex()

    @property
    def fact_count(self) -> int:
        """How many facts are members, the journal's own opening facts included."""
        return self._engine.index.fact_count

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found wrong when the journal was opened or since, and what was done about it."""
        return self._engine.problems

    @property
    def evidence(self) -> tuple[Quarantined, ...]:
        """The last 256 things that peers sent since the opening and that were refused: who, why, and the first bytes.

        The first 64 are kept in the log as well: ``await journal.sql("select * from evidence")`` has those of all
        lives, and the chains that were proven to tell two stories. Nothing of it leaves this node.
        """
        return self._engine.quarantine.kept

    @property
    def forked_chains(self) -> dict[str, int]:
        """The chains (hex) of which two stories are kept, and the number from which on they differ."""
        return {chain.hex(): seq for chain, seq in self._engine.index.forked().items()}

    @property
    def forked_authors(self) -> dict[str, tuple[str, int]]:
        """The authors (authority ids) of forked chains: the chain (hex), and the number from which on it tells two
        stories. What they grant or take from there on binds only who had built on it without seeing the fork."""
        found: dict[str, tuple[str, int]] = {}
        for chain, seq in sorted(self._engine.index.forked().items()):
            state = self._engine.index.chain(chain)
            found[(state.info.authority if state else "") or chain.hex()] = (chain.hex(), seq)
        return found

    def statistics(self) -> EngineStatistics:
        """A frozen record of the insides: windows, what waits, and ``scheduler``, ``signals`` and ``follower``.

        ``statistics().scheduler.latency_p50_us`` and ``latency_p95_us`` run from ``commit`` to the signal; each of
        ``scheduler.views`` says how often it was computed; ``lagged_count`` is what slow subscribers lost. O(signals).
        """
        return self._engine.statistics()

    # Facts in

    async def commit(self, fact: Fact, *, flush: bool = False) -> Receipt:
        """Make one fact durable; returns after its window was synced (5 ms, or at once with *flush*).

        Cancelled while waiting, the fact is wholly in or wholly out. Raises ``FactError`` for a fact that cannot be
        kept, ``StoreUnavailable`` when the disk refused, ``JournalClosed``.
        """
        result = await self._engine.commit((fact,), flush=flush)
        return receipt_of(result.records[0])

    async def commit_all(self, facts: Iterable[Fact], *, flush: bool = False) -> BatchReceipt:
        """Make many facts durable in one call: one step when they fit into a window (1,000 facts, 256 KiB), else
        several."""
        if issubclass(type(facts), Fact):
            raise LocalViolation("commit_all takes several facts; use commit for one")
        result = await self._engine.commit(tuple(facts), flush=flush)
        return BatchReceipt(result.records, result.window_count)

    async def flush(self) -> None:
        """Close the open window now and wait until everything committed so far is durable."""
        await self._engine.flush()

    async def erase(self, *facts: Fact | Receipt | str, reason: str = "") -> tuple[Receipt, ...]:
        """Take back what facts say: their payloads go from every file, table and view here, and from every replica that
        hears of it; their ids stay, so that all chains still verify. Each is a committed fact, a receipt or a fact id.

        The erasure is itself a fact (``journal.erased``), one for each namespace, returned as receipts once the
        payloads are gone from this disk; of what is erased already, the erasure that did it is returned, and no other
        made. Whoever authored a fact has the right, and the owner of the home it was said in. Raises ``LocalViolation``
        without the right, for an unknown id, and for the journal's own facts; ``StoreUnavailable``, or ``LogDamaged``
        with the damaged place, when the erasure is durable and something here could not be rewritten yet (it is when
        the journal is opened again).
        """
        from .erasing import erase_facts

        self._check_open()
        return tuple(receipt_of(record) for record in await erase_facts(self._engine, facts, reason=reason))

    async def retire(self) -> RetentionPlan:
        """Let go of the payloads that are too old by the registered delivery policies, on this node alone.

        A policy names the kinds in ``retired_kinds`` (the chat policy: messages and their edits, after 30 to 90 days).
        Ids stay, so that fingerprints do not change; what was let go is no longer in files, tables and views here, and
        does not come back from a peer. Kinds that open, grant or take away are never touched. Returns what went and
        why the rest stays, by kind; a pass that changes nothing costs one scan. Raises ``StoreUnavailable`` when
        something could not be rewritten yet (it is when the journal is opened again).
        """
        from antiphon.runtime.services.retention import retire_payloads

        self._check_open()
        return await retire_payloads(self._engine)

    def retire_every(self, interval: timedelta) -> None:
        """Call ``retire`` at an *interval* of a minute or more while the journal is open; off unless this is called.

        What stands in its way becomes one of ``journal.problems``. A pass that has begun is finished before the journal
        closes.
        """
        from antiphon.runtime.services.retention import RetentionTimer

        self._check_open()
        self._engine.add_closer(RetentionTimer(self._engine, interval).close)

    async def fold(self, fold: LatticeFold[L], *, namespace: Namespace | None = None) -> L:
        """What the facts of a kind amount to, by a lattice: those that are here and every snapshot of them; one read of
        the kind's facts."""
        from antiphon.runtime.services.snapshots import fold_kind

        self._check_open()
        return await fold_kind(self._engine, fold, namespace=namespace or self._engine.namespace)

    async def cut(self, fold: LatticeFold[L], *, namespace: Namespace | None = None) -> Cut:
        """Fold the facts of a kind into a snapshot, itself a fact (``journal.snapshot``), and let go of what they said,
        on this node: ``await journal.fold(fold)`` is the same before and after, here and on every replica.

        Views that fold the kind one fact at a time no longer see these facts here. Raises ``LocalViolation`` for kinds
        that open, grant or take away, and for a state of more than 60 KiB.
        """
        from antiphon.runtime.services.snapshots import take_cut

        self._check_open()
        _check_takes("cut", fold, "value_of", "a LatticeFold, which says how facts of a kind are folded")
        return await take_cut(self._engine, fold, namespace=namespace or self._engine.namespace)

    async def trim(self, rules: Sequence[Supersession] | None = None) -> tuple[Trimmed, ...]:
        """Let go, on this node, of what facts said that later ones wrote all over: older names, topics and marks.

        What any view shows, of these and of whatever comes later, stays what all of the facts would show; what is left
        are members, signed by who wrote them, so nobody is believed. What the journal's own facts say is agreed stays
        until something as sure replaces it. *rules* say which facts replace each other, by default for the kinds that
        ship (``antiphon.views.superseded.SUPERSESSIONS``). Returns how many went, by kind.
        """
        from antiphon.runtime.services.snapshots import trim_superseded
        from antiphon.views.superseded import SUPERSESSIONS

        from .agreement import agreements_of, level_in

        async def levels(facts: Sequence[Fact]) -> Callable[[FactRecord], int]:
            return level_in(await agreements_of(self._engine, facts))

        self._check_open()
        return await trim_superseded(self._engine, SUPERSESSIONS if rules is None else rules, levels=levels)

    async def collapse(self) -> int:
        """Let go of facts at the beginning of chains of which only ids are left, but for the last of each run; returns
        of how many chains. The ids go from log files, segments and DuckDB, ``fact_count`` falls, and the fingerprint
        stays. Peers that ask for these runs are told their ends instead.

        What names causes, and kinds that others hang on, is never passed over; nor are chains with two stories or a
        hole.
        """
        from antiphon.runtime.services.snapshots import collapse_chains

        self._check_open()
        return len({base.info.chain for base in await collapse_chains(self._engine)})

    # Values out

    @overload
    def watch(self, source: ViewSpec[S], *, policy: str = "buffer", capacity: int = CAPACITY) -> Watch[S]: ...
    @overload
    def watch(self, source: Signal[S], *, policy: str = "buffer", capacity: int = CAPACITY) -> Watch[S]: ...
    def watch(
        self, source: ViewSpec[Any] | Signal[Any], *, policy: str = "buffer", capacity: int = CAPACITY
    ) -> Watch[Any]:
        """Follow a view or a signal: ``async with journal.watch(lobby) as updates: async for update in updates: …``.

        The first update is the current value. A slow watcher loses intermediate values (``update.skipped`` says how
        many), never the newest; *policy* ``"buffer(n)"`` says how many may wait (256), ``"latest"`` keeps only that
        one, and ``"block"`` loses none: commits wait instead once 100,000 facts do. Raises ``SignalNotFound``
        at once for a signal that nobody registered, and ``PolicyRefused`` for a policy that is none.
        """
        self._check_source("watch", source)
        Policy.parse(policy, capacity=capacity)
        return Watch(self, source, policy, capacity)

    @overload
    async def snapshot(self, source: ViewSpec[S]) -> S: ...
    @overload
    async def snapshot(self, source: SignalKey[S]) -> S: ...
    async def snapshot(self, source: object) -> Any:
        """The value of a view or signal with everything that was committed before; wakes it if nobody watches it
        yet."""
        key = self._check_source("snapshot", source)
        await self.wake(key)
        await self._engine.views.settle()
        return self.read(key)

    def read(self, source: ViewSpec[S] | Signal[S]) -> S:
        """The current value, without waiting; raises ``SignalNotFound`` when the view is not awake."""
        return self._engine.hub.read(self._awake_signal("read", source))

    def _awake_signal(self, operation: str, source: ViewSpec[S] | Signal[S]) -> Signal[S]:
        key = check_source(operation, source)
        signal: Signal[S] = key.signal if isinstance(key, ViewSpec) else key
        hub = self._engine.hub
        if not hub.is_registered(signal):
            known = [each.signal_id for each in hub.statistics()]
            attempt = "wake it first with await journal.wake(…), or use await journal.snapshot(…)"
            raise SignalNotFound(signal.signal_id, known=known, attempt=attempt)
        return signal

    async def wake(self, source: ViewSpec[Any] | Signal[Any]) -> None:
        """Fold a view's history, so that it can be read and watched without waiting."""
        self._check_open()
        self._check_source("wake", source)
        if isinstance(source, ViewSpec):
            await self._wake_fold(source)
        elif source.signal_id in views.APP_VIEWS:
            await self._wake_app_view(source.signal_id)

    async def register_app_signals(self) -> None:
        """Wake the views that ship (chat, contacts, invitations, unread), so that their signals can be read at once."""
        for signal_id in views.APP_VIEWS:
            await self._wake_app_view(signal_id)

    async def _wake_fold(self, spec: ViewSpec[Any]) -> None:
        from antiphon.runtime.view_host import CheckpointKey

        engine = self._engine
        if engine.views.is_awake(spec.view_id, spec):
            return
        engine.register(spec.models)
        ladder, position = None, 0
        if spec.version is not None:
            kept = await engine.load_checkpoint(CheckpointKey(spec.view_id, spec.version, spec.schema_hash))
            ladder = spec.restore(kept.state) if kept is not None else None
            position = kept.position if kept is not None and ladder is not None else 0
        on_problem = partial(engine.report_view_failure, spec.view_id)
        view = FoldView(spec, on_problem=on_problem, ladder=ladder)
        await engine.views.wake(view, view.value, owner=spec, after_position=position)

    async def _wake_app_view(self, signal_id: str) -> None:
        from antiphon.runtime.view_host import CheckpointKey

        app_view = views.APP_VIEWS[signal_id]
        for needed in app_view.needs:
            await self._wake_app_view(needed.signal_id)
        build = partial(self.build_app_view, app_view)
        view, host = build(), self._engine.views
        key = view.checkpoint_key if isinstance(view, views.KeptView) and not host.is_awake(view.view_id) else None
        kept = None if key is None else await self._engine.load_checkpoint(CheckpointKey(*key))
        await host.wake(
            view,
            app_view.empty,
            rebuild=build,
            after_position=kept.position if kept is not None else 0,
            checkpoint=kept.state if kept is not None else None,
        )

    def build_app_view(self, app_view: AppView) -> View[Fact, Any]:
        """A fresh view that ships, as this journal's owner sees it."""
        view = app_view.build(self.authority)
        if isinstance(view, views.ChatSignalView):
            view.use_opener(self._opener)
            self._chats.add(view)
        return view

    def use_opener(self, opener: Opener | None) -> None:
        """Read sealed messages with *opener* from now on; those that are shown are drawn anew at once.

        *opener* is a pure function from a ``SealedText`` to its text, or None where it cannot; give another one when a
        key is learned. It is not kept: give it again when the journal is opened again.
        """
        self._check_open()
        self._opener = opener
        for chat in tuple(self._chats):
            chat.use_opener(opener)
            self._engine.views.scheduler.touch(chat.view_id)

    def errors(self) -> SignalStream[AppError | None]:
        """The stream of troubles a screen may show: facts that cannot be decoded, views that fail."""
        return open_stream(self._engine.hub, ERROR_SIGNAL)

    def live(self, source: ViewSpec[S] | Signal[S]) -> LiveSignal[S]:
        """A signal, or that of a view, to read, to follow by callback or Rx, and to derive others from.

        See ``LiveSignal``. Raises ``SignalNotFound`` at once: a view is awake after ``await journal.wake(view)``, the
        signals that ship after ``register_app_signals``.
        """
        return LiveSignal(self._engine.hub, self._awake_signal("live", source))

    def thread_bridge(self) -> ThreadBridge:
        """A way for other threads and loops to follow signals and to commit; see ``ThreadBridge``."""
        from antiphon.runtime.thread_bridge import ThreadBridge

        return ThreadBridge(self._engine.hub)

    def attach_fact_sink(self, sink: FactSink[Fact]) -> Callable[[], None]:
        """Give *sink* every window of facts once it is durable and shown; the result detaches it again.

        A sink without room makes later commits wait; one that closes or raises is detached, and the error signal says
        so. Another scheduler's is ``scheduler.fact_sender()``.
        """
        return self._engine.sinks.attach(sink)

    # History

    async def sql(self, query: str, parameters: Parameters = None) -> Result:
        """Ask this journal's own history in SQL; waits until DuckDB holds what was committed before. Read-only.

        *parameters* are given by position (``?``, ``$1``) or by name (``$name``).
        Types that were registered since the last window are written down first, so that their fields are columns.
        """
        from .history import query_owner

        self._check_open()
        await self._engine.record_types()
        return await self._engine.follower.run(lambda database: query_owner(database, query, parameters))

    # Peers

    async def sync_with(self, other: Journal) -> SyncReport:
        """Exchange what is missing with another journal in this process, both ways."""
        from antiphon.runtime.services.sync import sync_in_process

        self._check_open()
        if not isinstance(other, Journal):
            raise LocalViolation(f"sync_with takes another open Journal; got {other!r}")
        return await sync_in_process(self._engine, other._engine)

    async def sync(
        self,
        address: str,
        *,
        gate: SyncGate | None = None,
        tls: Tls | None = None,
        token: bytes = b"",
        nats: NatsAccess | None = None,
    ) -> SyncReport:
        """Exchange what is missing with a serving journal, both ways, once.

        An address is ``tcp://host:port``, or ``tls://``, ``unix://``, ``ws://`` or ``nats://``: docs/transports.md. A
        *token* is shown to a peer whose gate asks for one (``TokenGate``): docs/guards.md. A *gate* says what of this
        journal a session is about; *nats* is shown to a server.
        """
        from antiphon.runtime.services.sync import sync_address

        self._check_open()
        _check_address("sync", address)
        _check_gate("sync", gate)
        return await sync_address(self._engine, address, settings=_settings(gate, tls, token, nats))

    def register_delivery_policy(self, domain: str, policy: DeliveryPolicy) -> None:
        """Let *policy* say which facts of *domain* (``"chat"``) are acknowledged by peers, and how long that is kept.

        Register the same on every replica: whoever receives a fact decides by its own policies whether to acknowledge
        it. Raises ``PolicyAlreadyRegistered`` when the domain has another one.
        """
        _check_takes(
            "register_delivery_policy", policy, "retired_kinds", "a delivery policy, such as ChatDeliveryPolicy()"
        )
        self.acks.policies.register(domain, policy)

    @property
    def acks(self) -> AckAccount:
        """The account of acknowledgements: who holds which facts. It is begun when it is first asked for."""
        from antiphon.runtime.services.acks import account_of

        from .agreement import agreements_of

        self._check_open()
        account = account_of(self._engine)
        if account.agreement_source is None:
            account.agreement_source = partial(agreements_of, self._engine)
        return account

    async def delivery_marks(
        self, messages: Iterable[Message], *, expected: Collection[str] | None = None
    ) -> Mapping[str, DeliveryIcon]:
        """How far own messages of a chat snapshot have got: ◐ ✓ ✓✓ ✗, read, and ⚠ or ◆ beside it; by message id.

        *expected* are the authorities that ought to have them, by default the ``peers`` of the delivery policy for
        chat. Acknowledgements come only for kinds that a policy has acknowledged (``register_delivery_policy``).
        """
        from .agreement import delivery_marks

        account = self.acks
        peers = account.policies.for_kind("chat.message_sent").peers if expected is None else expected
        return await delivery_marks(account, messages, expected=peers)

    def serve(
        self,
        address: str = "tcp://127.0.0.1:0",
        *,
        gate: SyncGate | None = None,
        tls: Tls | None = None,
        nats: NatsAccess | None = None,
    ) -> SyncServer:
        """Let peers connect: ``async with journal.serve(…) as server: server.address``.

        With a *gate* nothing is told to a peer before the gate has let it in, and contexts that it does not show do not
        exist for that peer; without one, whoever connects sees everything.
        """
        from antiphon.runtime.services.sync import serve

        self._check_open()
        _check_address("serve", address)
        _check_gate("serve", gate)
        return serve(self._engine, address, settings=_settings(gate, tls, nats=nats))

    def link(
        self,
        address: str,
        *,
        gate: SyncGate | None = None,
        tls: Tls | None = None,
        token: bytes = b"",
        nats: NatsAccess | None = None,
    ) -> Link:
        """Stay in touch with a serving journal until left; reconnects by itself: ``async with journal.link(…) as
        link``. A *gate* and a *token* as for ``sync``."""
        from antiphon.runtime.services.sync import link

        self._check_open()
        _check_address("link", address)
        _check_gate("link", gate)
        return link(self._engine, address, settings=_settings(gate, tls, token, nats))

    def join(
        self,
        address: str,
        *,
        gate: SyncGate | None = None,
        tls: Tls | None = None,
        nats: NatsAccess | None = None,
    ) -> Room:
        """Be a member of a room at ``nats://host:port/room/name``, linked to every other, until left: ``async with
        journal.join(…) as room``. The server is shown *nats*, and with *tls* spoken to in secret."""
        from antiphon.runtime.services.room import join

        self._check_open()
        _check_address("join", address)
        _check_gate("join", gate)
        return join(self._engine, address, settings=_settings(gate, tls, nats=nats))

    # The way out

    def guard(
        self,
        *,
        capabilities: CapabilitySource | None = None,
        limits: GuardLimits | None = None,
        policies: EffectPolicyRegistry | None = None,
        deliver: Deliver | None = None,
    ) -> EffectGuard:
        """What every send of an application goes through: ``async with journal.guard(…) as guard:
        await guard.guarded(…)``.

        *capabilities* says who may do what (none: nobody may do anything), *deliver* sends an envelope once its plan is
        durable. Leave it before the journal.
        """
        from antiphon.runtime.guards.guard import EffectGuard

        self._check_open()
        return EffectGuard(self._engine, capabilities=capabilities, limits=limits, policies=policies, deliver=deliver)

    async def explain(
        self,
        intent: SendRequest,
        *,
        capabilities: CapabilitySource | None = None,
        policies: EffectPolicyRegistry | None = None,
    ) -> Explanation:
        """What would happen to *intent*: which guard would refuse it, what it would do, what is left; nothing changes.

        Without *capabilities* it is judged as the owner's own, and without *policies* by those that ship. A guard of
        yours has both: ``guard.explain(intent)``.
        """
        from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities

        self._check_open()
        source = capabilities or OwnerCapabilities()
        return await EffectGuard(self._engine, capabilities=source, policies=policies).explain(intent)

    # Life

    async def close(self) -> None:
        """Make everything durable, end every watcher and give the folder back. Closing twice is fine.

        When the event loop it was opened on is closed already, it only gives the folder back, from any other loop: what
        was acknowledged is there, what was not may be lost, and the next opening treats it as after a crash.
        """
        await self._engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        name, fingerprint = self.path.name, self.fingerprint[:12]
        return f"<Journal {name!r} of {self.author}: {self.fact_count} facts, fingerprint {fingerprint}>"

    def _check_source(self, operation: str, source: object) -> ViewSpec[Any] | Signal[Any]:
        key = check_source(operation, source)
        if isinstance(key, ViewSpec) or key.signal_id in views.APP_VIEWS or self._engine.hub.is_registered(key):
            return key
        raise SignalNotFound(key.signal_id, known=views.APP_VIEWS)

    def _check_open(self) -> None:
        if self._engine.is_closed:
            from antiphon.journal import JournalClosed

            raise JournalClosed(f"journal {self.path.name} is closed; open it again")


class OpeningJournal:
    """A journal about to be opened: await it, or enter it."""

    def __init__(self, path: str | Path, start: Callable[[], Coroutine[Any, Any, Journal]]) -> None:
        self._path = path
        self._start = start
        self._journal: Journal | None = None

    def __await__(self) -> Generator[Any, None, Journal]:
        return self._start().__await__()

    def __repr__(self) -> str:
        return f"<OpeningJournal {Path(self._path).name!r}: await it, or enter it with async with>"

    if not TYPE_CHECKING:  # a type checker knows without being told

        def __getattr__(self, name: str) -> NoReturn:
            hint = "; await it, or enter it with async with" if hasattr(Journal, name) else ""
            raise AttributeError(f"this journal is not open yet, so it has no {name!r}{hint}", name=name, obj=self)

        def __enter__(self) -> NoReturn:
            raise TypeError(
                "a journal is entered with async with, inside an async function: async with Journal.open(…)"
            )

        def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Journal:
        self._journal = await self._start()
        assert self._journal is not None, "opening gives a journal or raises"
        return self._journal

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._journal is not None, "it was entered before it is left"
        await self._journal.close()


class Watch(Generic[T]):
    """Updates of one view or signal, while its ``async with`` block runs."""

    def __init__(self, journal: Journal, source: ViewSpec[T] | Signal[T], policy: str, capacity: int) -> None:
        self._journal = journal
        self._source = source
        self._policy = policy
        self._capacity = capacity
        self._stream: SignalStream[T] | None = None

    def __repr__(self) -> str:
        name = self._source.name if isinstance(self._source, ViewSpec) else self._source.signal_id
        return f"<Watch of {name}: enter it with async with>"

    if not TYPE_CHECKING:  # a type checker refuses the loop by itself

        def __aiter__(self) -> NoReturn:
            raise TypeError(
                "a watch is entered before it is iterated: "
                "async with journal.watch(…) as updates: async for update in updates: …"
            )

    async def __aenter__(self) -> SignalStream[T]:
        await self._journal.wake(self._source)
        signal = self._source.signal if isinstance(self._source, ViewSpec) else self._source
        self._stream = open_stream(self._journal.engine.hub, signal, policy=self._policy, capacity=self._capacity)
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            await self._stream.aclose()


def check_source(operation: str, source: object) -> ViewSpec[Any] | Signal[Any]:
    """Refuse what is neither a view nor a signal."""
    if isinstance(source, ViewSpec | Signal):
        return source
    raise LocalViolation(f"{operation} takes a @view or a Signal; got {source!r}")


def _settings(
    gate: SyncGate | None, tls: Tls | None, token: bytes = b"", nats: NatsAccess | None = None
) -> SyncSettings:
    from antiphon.runtime.services.session_driver import SyncSettings
    from antiphon.runtime.transports.reach import Transports

    _check_token(token)
    transports = Transports(tls, nats)
    return SyncSettings(
        gate=gate, token=token, connect=transports.connect, listen=transports.listen, transports=transports
    )


def _check_address(operation: str, address: object) -> None:
    if not isinstance(address, str):
        raise LocalViolation(f"{operation} takes an address such as 'tcp://127.0.0.1:4000'; got {address!r}")


def _check_token(token: object) -> None:
    if not isinstance(token, bytes):
        raise LocalViolation(
            f"a token is bytes, as issue_token returns; got a {type(token).__name__}, so decode the line that "
            "`antiphon grant` wrote: base64.urlsafe_b64decode(line)"
        )


def _check_gate(operation: str, gate: object) -> None:
    if gate is not None:
        _check_takes(operation, gate, "admit", "a gate, such as NamespaceGate({…})")


def _check_takes(operation: str, value: object, member: str, expected: str) -> None:
    """Refuse what lacks the *member* by which things of its protocol are known, or is the class of one."""
    if isinstance(value, type) or not hasattr(value, member):
        raise LocalViolation(f"{operation} takes {expected}; got {value!r:.100}")


def _check_opening(path: object, *, author: object, namespace: object, types: object) -> tuple[type[Fact], ...]:
    """Refuse arguments of other types before anything is touched; the fact types, gone through once."""
    if not isinstance(path, str | Path):
        raise LocalViolation(f"Journal.open: path is the journal's folder, text or a Path; got {path!r}")
    if not isinstance(author, str | None):
        raise LocalViolation(f"Journal.open: author is a display name; got {author!r}")
    if not isinstance(namespace, str):
        raise LocalViolation(f"Journal.open: namespace is text; got {namespace!r}")
    models = tuple(types) if isinstance(types, Iterable) else (types,)
    is_each_a_type = all(isinstance(model, type) and issubclass(model, Fact) for model in models)
    if not isinstance(types, Iterable) or not is_each_a_type:
        raise LocalViolation(f"Journal.open: types are fact classes, such as types=(MessageSent,); got {types!r}")
    return models


def receipt_of(record: FactRecord) -> Receipt:
    """The receipt of one durable fact."""
    return Receipt(record.fact_id.hex(), record.chain.text, record.seq, record.at, record.chain.namespace)


__all__ = ["BatchReceipt", "Journal", "Receipt", "Update", "Watch"]
