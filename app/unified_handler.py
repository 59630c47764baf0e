"""``UnifiedHandler``: facts in, queries and signals out, with one check of rights, over one open journal.

Adds no second write path and no store: a fact is committed to the journal, its views and bound queries move in one
batch, and what is asked is answered from their snapshots, or by SQL from the history. Belongs to the journal's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from antiphon import views
from antiphon.facts import Fact, LocalViolation
from antiphon.facts.registry import registration_of
from antiphon.journal import AgreementLevel
from antiphon.journal.stores.tables import Among, CannotNarrow
from antiphon.journal.stores.typed_views import quote_name, select_kind
from antiphon.reactive import (
    ALLOW_ALL,
    DENY_ALL,
    AppError,
    BoundSignal,
    FactPredicate,
    Grants,
    Matched,
    Meet,
    Query,
    QueryNode,
    Signal,
    SignalAlreadyRegistered,
    SignalNotFound,
    SignalStream,
    SnapshotQuery,
    SqlNode,
    SqlQuery,
    check_access,
    open_stream,
)
from antiphon.reactive.hub import check_key
from antiphon.reactive.subscription import CAPACITY
from antiphon.runtime.clock import monotonic_seconds
from antiphon.runtime.consistency_book import ConsistencyBook, ConsistencySource
from antiphon.views.datalog_query import DatalogQuery, FactRows, FactRowsView
from antiphon.views.fold import FoldView
from antiphon.views.queries import APP_QUERIES, ViewQuery

from .agreed_reads import AgreedReads
from .isolation import (
    EVERYTHING_HERE,
    HISTORY_PIN,
    AtSnapshot,
    Isolation,
    PinnedSnapshots,
    QueryStats,
    ReadCommitted,
    ReadLatest,
    UnsupportedIsolation,
)

if TYPE_CHECKING:
    from antiphon.facts import FactRecord
    from antiphon.journal.stores.duckdb import DuckdbFollower
    from antiphon.reactive import View

    from .history import Result
    from .journal import Journal, Receipt

R = TypeVar("R")
T = TypeVar("T")

# Answers kept for asking again while nothing they read has changed.
CACHE_MAX = 256


class Answer(NamedTuple, Generic[R]):
    """An answer with how it came about."""

    value: R
    stats: QueryStats


@dataclass(slots=True)
class _Stale:
    """A live SQL query that is being asked again; ``is_again`` when facts came meanwhile."""

    is_again: bool = False


class UnifiedHandler:
    """Commits facts, asks queries, binds them to signals, and hands the signals out.

    Without *capabilities* only public queries may be asked; ``for_owner`` allows everything, which is what the
    application that owns the journal wants. Leave its ``async with`` block before the journal's.

    >>> import asyncio, tempfile
    >>> from antiphon import CHAT_SIGNAL, Journal
    >>> from antiphon.views import ChatQuery
    >>> async def main() -> int:
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         async with Journal.open(folder + "/j", author="ada") as journal:
    ...             async with UnifiedHandler.for_owner(journal) as handler:
    ...                 await handler.register_query(CHAT_SIGNAL, ChatQuery())
    ...                 return (await handler.query(ChatQuery())).total_unread
    >>> asyncio.run(main())
    0
    """

    def __init__(
        self,
        journal: Journal,
        *,
        capabilities: Grants = DENY_ALL,
        consistency: ConsistencySource | None = None,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._journal = journal
        self._engine = journal.engine
        self._hub = journal.engine.hub
        self._scheduler = journal.engine.views.scheduler
        self._capabilities = capabilities
        self.consistency: ConsistencySource = consistency if consistency is not None else ConsistencyBook()
        self._agreed = AgreedReads(journal.engine, self.consistency)
        self._monotonic = monotonic
        self._bound: dict[str, BoundSignal[Any]] = {}
        self._by_query: dict[str, str] = {}
        self._nodes: set[str] = set()
        self._pinned = PinnedSnapshots()
        self._cache: dict[str, tuple[tuple[object, ...], Any]] = {}
        self._sql_nodes: dict[str, SqlNode[Any]] = {}
        self._asking: dict[str, _Stale] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @classmethod
    def for_owner(cls, journal: Journal) -> UnifiedHandler:
        """A handler for the application that owns the journal: every query may be asked."""
        return cls(journal, capabilities=ALLOW_ALL)

    # Rights

    def set_capability_context(self, capabilities: Grants) -> None:
        """From now on queries need what these grant."""
        self._capabilities = capabilities

    def clear_capability_context(self) -> None:
        """From now on only public queries may be asked."""
        self._capabilities = DENY_ALL

    def allow_unrestricted_queries(self) -> None:
        """From now on every query may be asked."""
        self._capabilities = ALLOW_ALL

    # Facts in

    async def commit_fact(self, fact: Fact | str, /, *, flush: bool = False, **fields: object) -> Receipt:
        """Make a fact durable; when this returns, every affected view, bound query and signal shows it.

        Takes a fact, or the kind of a registered type with its fields. Raises what ``Journal.commit`` raises.
        """
        if isinstance(fact, str):
            fact = self._make_fact(fact, fields)
        elif fields:
            raise LocalViolation(f"commit_fact: fields {sorted(fields)} go with a kind, not with a whole fact")
        return await self._journal.commit(fact, flush=flush)

    def _make_fact(self, kind: str, fields: Mapping[str, object]) -> Fact:
        fact_type = self._engine.registry.get(kind)
        if fact_type is None:
            raise LocalViolation(
                f"commit_fact: no fact type of kind {kind!r} is registered in this journal; "
                "commit a fact of its class, or name the class in Journal.open(types=…)"
            )
        return fact_type.model(**fields)

    def invalidate_affected_queries(self, changed: FactPredicate) -> tuple[str, ...]:
        """Ask the bound queries again that a change like this can affect; their signals' ids.

        Committing does this by itself; this is for what changed without a fact.
        """
        affected = [each for each in self._bound.values() if each.is_affected_by(changed)]
        for bound in affected:
            if isinstance(bound.query, SqlQuery):
                self._ask_again(bound)
            else:
                self._scheduler.touch(self._scheduler.view_of(bound.signal) or "")
        return tuple(bound.signal.signal_id for bound in affected)

    # Queries

    async def query(self, query: Query[R], *, isolation: Isolation = EVERYTHING_HERE, token: Grants | None = None) -> R:
        """The answer. Rights are checked first: nothing runs without them.

        With a *token* both it and the handler's own capabilities must grant what the query needs. Raises
        ``QueryDenied``, ``ConsensusTimeout``, ``SnapshotNotFound``, ``UnsupportedIsolation``, ``SignalNotFound`` for a
        signal that no view stands behind, and for SQL what ``Journal.sql`` raises.
        """
        self._check(query, token)
        if isinstance(query, SqlQuery):
            return await self._ask_sql(query, await self._among(query, isolation))
        return self._evaluate(_snapshot_query(query), await self._inputs(_snapshot_query(query), isolation))[0]

    async def authorized_query(self, token: Grants, query: Query[R], *, isolation: Isolation = EVERYTHING_HERE) -> R:
        """As ``query`` with *token*."""
        return await self.query(query, isolation=isolation, token=token)

    async def query_with_stats(
        self, query: Query[R], *, isolation: Isolation = EVERYTHING_HERE, token: Grants | None = None
    ) -> Answer[R]:
        """As ``query``, with what was looked at, what fitted, and what is known about each item of the answer.

        Of SQL what fitted are its rows, and the items are those that name a ``fact_id``.
        """
        self._check(query, token)
        asked_at = self._monotonic()
        if isinstance(query, SqlQuery):
            among = await self._among(query, isolation)
            started_at = self._monotonic()
            rows = await self._ask_rows(query, among)
            value = query.parse(rows)
            done_at, is_hit, count = self._monotonic(), False, len(rows)
            matched = Matched(count, tuple(str(row["fact_id"]) for row in rows if row.get("fact_id") is not None))
        else:
            plain = _snapshot_query(query)
            inputs = await self._inputs(plain, isolation)
            started_at = self._monotonic()
            value, is_hit = self._evaluate(plain, inputs)
            done_at = self._monotonic()
            matched = plain.match(inputs, value)
            count = len(matched.item_ids)
        known = {item_id: self.consistency.consistency_of(item_id) for item_id in matched.item_ids}
        return Answer(
            value,
            QueryStats(
                execution_us=(done_at - started_at) * 1e6,
                facts_scanned=matched.scanned_count,
                facts_matched=count,
                is_cache_hit=is_hit,
                isolation=isolation,
                wait_us=(started_at - asked_at) * 1e6,
                consistency=known,
            ),
        )

    async def take_snapshot(self, *queries: Query[Any]) -> AtSnapshot:
        """Pin the present of what these queries read, for ``isolation=``; the newest hundred pins are kept.

        Costs a dictionary: snapshots are immutable and shared, and of a history a pin holds how far it went. What is
        erased or retired later is gone from pinned histories too.
        """
        pinned: dict[str, object] = {}
        for query in queries:
            self._check(query, None)
            if isinstance(query, SqlQuery):
                pinned[HISTORY_PIN] = await self._engine.follower.run(lambda database: database.position.fact_count)
            else:
                pinned |= await self._inputs(_snapshot_query(query), EVERYTHING_HERE)
        return self._pinned.pin(self._journal.fingerprint, pinned)

    def drop_snapshot(self, at: AtSnapshot) -> None:
        """Let a pin go."""
        self._pinned.drop(at)

    def _check(self, query: Query[Any], token: Grants | None) -> None:
        _check_query(query)
        grants = self._capabilities if token is None else Meet((self._capabilities, token))
        check_access(query.query_id, query.access_policy(), grants)

    async def _inputs(self, query: SnapshotQuery[Any], isolation: Isolation) -> Mapping[str, object]:
        """The snapshots that a query may look into at this level."""
        _check_isolation(isolation)
        if isinstance(isolation, AtSnapshot):
            return self._pinned.get(isolation, frozenset(signal.signal_id for signal in query.reads()))
        if isinstance(isolation, ReadCommitted):
            return await self._agreed_inputs(query, isolation)
        view_ids = await self._wake(query)
        if isinstance(isolation, ReadLatest):
            async with asyncio.timeout(isolation.timeout_s):
                await self._journal.flush()
        snapshots = self._scheduler.snapshots()
        return {signal_id: snapshots[view_id] for signal_id, view_id in view_ids.items()}

    async def _agreed_inputs(self, query: SnapshotQuery[Any], isolation: ReadCommitted) -> Mapping[str, object]:
        agreed = await self._agreed_ids(query, isolation)
        if agreed is None:
            return await self._inputs(query, EVERYTHING_HERE)

        def is_agreed(record: FactRecord) -> bool:
            return record.fact_id.hex() in agreed

        return {signal.signal_id: (await self._fold_agreed(query, signal, is_agreed))[1] for signal in query.reads()}

    async def _agreed_ids(self, query: Query[Any], isolation: ReadCommitted) -> frozenset[str] | None:
        """The facts that a query may see, once those that it waits for are among them; None for all of them."""
        level = isolation.level
        await self._agreed.wait_for(isolation.wait_for, level=level, timeout_s=isolation.timeout_s)
        if level <= AgreementLevel.PROVISIONAL:
            return None
        return await self._agreed.agreed_among({each.kind for each in query.dependencies()}, level)

    async def _fold_agreed(
        self, query: SnapshotQuery[Any], signal: Signal[Any], accept: Callable[[FactRecord], bool]
    ) -> tuple[str, object]:
        """The id and the snapshot of a view over a part of the facts, and so for the views that it depends on."""
        view, empty, needs = self._fresh_view(query, signal)
        inputs = dict([await self._fold_agreed(query, needed, accept) for needed in needs])
        return view.view_id, await self._engine.views.fold_apart(view, empty, accept=accept, inputs=inputs)

    def _fresh_view(
        self, query: SnapshotQuery[Any], signal: Signal[Any]
    ) -> tuple[View[Fact, Any], object, tuple[Signal[Any], ...]]:
        if isinstance(query, ViewQuery):
            self._engine.register(query.spec.models)
            view = FoldView(query.spec, on_problem=self._hub.report_error)
            return view, view.value, ()
        if isinstance(query, DatalogQuery):
            self._engine.register(query.models)
            for model in query.models:
                if signal.signal_id == f"rows:{model.fact_type.kind}":
                    return FactRowsView(model), FactRows(), ()
        app_view = views.APP_VIEWS.get(signal.signal_id)
        if app_view is None:
            raise UnsupportedIsolation(
                f"{query.query_id} reads {signal.signal_id}, which cannot be folded from a part of the facts; "
                "use ReadUncommitted() or ReadLatest() for it"
            )
        return self._journal.build_app_view(app_view), app_view.empty, app_view.needs

    async def _wake(self, query: SnapshotQuery[Any]) -> dict[str, str]:
        """The views behind what a query reads, awake, by signal id."""
        if isinstance(query, ViewQuery):
            await self._journal.wake(query.spec)
        if isinstance(query, DatalogQuery):
            self._engine.register(query.models)
            for model in query.models:
                await self._engine.views.wake(
                    FactRowsView(model), FactRows(), owner=model, rebuild=partial(FactRowsView, model)
                )
        found: dict[str, str] = {}
        for signal in query.reads():
            await self._journal.wake(signal)
            view_id = self._scheduler.view_of(signal)
            if view_id is None:
                raise SignalNotFound(
                    signal.signal_id,
                    known=[each.signal_id for each in self._hub.statistics()],
                    attempt=f"{query.query_id} reads it, so a view must stand behind it: wake that view first",
                )
            found[signal.signal_id] = view_id
        return found

    def _evaluate(self, query: SnapshotQuery[R], inputs: Mapping[str, object]) -> tuple[R, bool]:
        """The answer, and whether it was known: nothing that it reads is another object than the last time."""
        read = tuple(inputs[signal.signal_id] for signal in query.reads())
        query_id = query.query_id
        kept = self._cache.pop(query_id, None)
        is_hit = kept is not None and all(map(_is, kept[0], read))
        answer = kept[1] if kept is not None and is_hit else query.evaluate(inputs)
        self._cache[query_id] = (read, answer)
        if len(self._cache) > CACHE_MAX:
            del self._cache[next(iter(self._cache))]
        return answer, is_hit

    async def _among(self, query: SqlQuery[Any], isolation: Isolation) -> Among | None:
        """The part of the facts that SQL may see at this level; None for all of them."""
        _check_isolation(isolation)
        if isinstance(isolation, AtSnapshot):
            position = self._pinned.get(isolation, frozenset({HISTORY_PIN}))[HISTORY_PIN]
            assert isinstance(position, int), "a pin holds how far the history went"
            return Among(position=position)
        if isinstance(isolation, ReadCommitted):
            agreed = await self._agreed_ids(query, isolation)
            return None if agreed is None else Among(fact_ids=tuple(map(bytes.fromhex, agreed)))
        if isinstance(isolation, ReadLatest):
            async with asyncio.timeout(isolation.timeout_s):
                await self._journal.flush()
        return None

    async def _ask_sql(self, query: SqlQuery[R], among: Among | None = None) -> R:
        return query.parse(await self._ask_rows(query, among))

    async def _ask_rows(self, query: SqlQuery[Any], among: Among | None) -> list[dict[str, object]]:
        from .history import query_owner

        plan = query.compile()

        def ask(database: DuckdbFollower) -> Result:
            try:
                text = plan.text if among is None else database.narrow(plan.text, among)
            except CannotNarrow as problem:
                raise UnsupportedIsolation(f"{query.query_id}: {problem}") from problem
            return query_owner(database, self._with_unseen_kinds(query, text), plan.parameters, among=among)

        await self._engine.record_types()
        result = await self._engine.follower.run(ask)
        columns = result.columns
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]

    def _with_unseen_kinds(self, query: SqlQuery[Any], text: str) -> str:
        """The statement, with the typed views of kinds that the history has not met yet: nobody has voted, so far."""
        recorded = {kind for kind, _ in self._engine.registry.recorded()}
        kinds = dict.fromkeys(each.kind for each in query.dependencies())
        unseen = [self._engine.registry.get(kind) for kind in kinds if kind not in recorded]
        views_of = [
            f"{quote_name(each.sql_name)} AS ({select_kind(each.kind, registration_of(each))})"
            for each in unseen
            if each is not None
        ]
        return f"WITH {', '.join(views_of)} FROM ({text})" if views_of else text

    # Bound signals

    async def register_query(self, signal: Signal[R], query: Query[R]) -> BoundSignal[R]:
        """Fill *signal* with the answer to *query* from now on: each batch that affects it, and no other, asks again.

        An app signal takes its own query only: the view behind it is that query, kept up to date. The same binding
        again is fine. Raises as ``query``, and ``SignalAlreadyRegistered``, ``TypeMismatch``.
        """
        self._check(query, None)
        check_key(signal)
        bound = self._bound.get(signal.signal_id)
        if bound is not None and bound == query.bind_to(signal):
            return bound
        if bound is not None:
            raise SignalAlreadyRegistered(signal.signal_id)
        if signal.signal_id in APP_QUERIES:
            await self._bind_app_signal(signal, query)
        elif isinstance(query, SqlQuery):
            await self._bind_sql(signal, query)
        else:
            plain = _snapshot_query(query)
            node: QueryNode[R] = QueryNode(signal, plain, await self._wake(plain))
            # No wait between these two: what is committed next finds the query in its place.
            snapshots = self._scheduler.snapshots()
            inputs = {
                read.signal_id: snapshots[view_id] for read, view_id in zip(plain.reads(), node.reads, strict=True)
            }
            self._scheduler.register_view(node, plain.evaluate(inputs))
            self._nodes.add(node.view_id)
        bound = self._bound[signal.signal_id] = query.bind_to(signal)
        self._by_query.setdefault(query.query_id, signal.signal_id)
        return bound

    async def _bind_app_signal(self, signal: Signal[Any], query: Query[Any]) -> None:
        if query != APP_QUERIES[signal.signal_id]:
            raise SignalAlreadyRegistered(signal.signal_id)
        await self._journal.wake(signal)
        self._hub.snapshot(signal)  # another type under the same id is refused here

    async def _bind_sql(self, signal: Signal[R], query: SqlQuery[R]) -> None:
        if self._group is None:
            raise LocalViolation(
                f"{query.query_id} is asked in the background: bind it inside `async with` of its handler"
            )
        bound = query.bind_to(signal)
        node: SqlNode[R] = SqlNode(signal, query, lambda: self._ask_again(bound))
        first = await self._ask_sql(query)
        self._scheduler.register_view(node, first)
        self._nodes.add(node.view_id)
        self._sql_nodes[signal.signal_id] = node
        # What was committed between the answer and the registration is not in the answer.
        self._ask_again(bound)

    def _ask_again(self, bound: BoundSignal[Any]) -> None:
        """Ask a live SQL query in the background; once more afterwards when facts came meanwhile, never two at once."""
        signal_id = bound.signal.signal_id
        asking = self._asking.get(signal_id)
        if asking is not None:
            asking.is_again = True
        elif not self._is_closed:
            self._asking[signal_id] = _Stale()
            assert self._group is not None, "a SQL query is bound only inside the handler's block"
            task = self._group.create_task(self._refresh(bound))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refresh(self, bound: BoundSignal[Any]) -> None:
        signal_id, query = bound.signal.signal_id, bound.query
        assert isinstance(query, SqlQuery), "only SQL is asked in the background"
        try:
            self._asking[signal_id].is_again = True
            while self._asking[signal_id].is_again:
                self._asking[signal_id].is_again = False
                answer = await self._ask_sql(query)
                node = self._sql_nodes.get(signal_id)
                if node is not None:
                    node.bring(answer)
                    self._scheduler.touch(node.view_id)
        except Exception as problem:  # a request ends here: the signal keeps its answer, the error signal tells
            self._hub.report_error(AppError("query-failed", f"{query.query_id} could not be asked again: {problem}"))
        finally:
            del self._asking[signal_id]

    def unregister_query(self, signal: Signal[Any]) -> None:
        """Stop filling a signal; its subscriptions end, except those of an app signal, whose view stays awake.

        Raises ``SignalNotFound``.
        """
        bound = self._bound.pop(signal.signal_id, None)
        if bound is None:
            raise SignalNotFound(signal.signal_id, known=self._bound)
        if self._by_query.get(bound.query.query_id) == signal.signal_id:
            del self._by_query[bound.query.query_id]
        view_id = self._scheduler.view_of(signal)
        if view_id in self._nodes:
            self._nodes.discard(view_id)
            self._scheduler.unregister_view(view_id)
        self._sql_nodes.pop(signal.signal_id, None)

    def bound_signals(self) -> tuple[BoundSignal[Any], ...]:
        """What is bound here, in order of binding."""
        return tuple(self._bound.values())

    def signal_dependencies(self, signal: Signal[Any]) -> tuple[FactPredicate, ...]:
        """The facts that can change a bound signal. Raises ``SignalNotFound``."""
        bound = self._bound.get(signal.signal_id)
        if bound is None:
            raise SignalNotFound(signal.signal_id, known=self._bound)
        return bound.dependencies

    # Signals

    def subscribe(
        self, signal: Signal[T], *, policy: str = "buffer", capacity: int = CAPACITY, replay_current: bool = True
    ) -> SignalStream[T]:
        """Follow a registered signal: the current value, then every update. Raises ``SignalNotFound`` at once."""
        return open_stream(self._hub, signal, policy=policy, capacity=capacity, replay_current=replay_current)

    def subscribe_query(self, query: Query[T], *, policy: str = "buffer") -> SignalStream[T]:
        """Follow the signal that a query is bound to. Raises ``SignalNotFound`` at once when it is bound to none."""
        signal_id = self._by_query.get(query.query_id)
        if signal_id is None:
            raise SignalNotFound(query.query_id, known=self._by_query, attempt="bind it first with register_query")
        return self.subscribe(self._bound[signal_id].signal, policy=policy)

    def register_signal(self, signal: Signal[T], initial: T) -> None:
        """A signal of the application's own, which anyone may emit into. Raises ``SignalAlreadyRegistered``."""
        self._hub.register(signal, initial, external=True)

    def emit_signal(self, signal: Signal[T], value: T) -> bool:
        """Set such a signal; refused for one that a view or a query fills. See ``SignalHub.emit``."""
        return self._hub.emit(signal, value)

    def read_signal(self, signal: Signal[T]) -> T:
        """The current value. Raises ``SignalNotFound``."""
        return self._hub.read(signal)

    def is_signal_registered(self, signal: Signal[Any]) -> bool:
        """Whether it can be read and followed."""
        return self._hub.is_registered(signal)

    # Life

    async def close(self) -> None:
        """Unbind everything and end what is being asked; the journal stays open. Closing twice is fine."""
        self._is_closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for bound in self.bound_signals():
            self.unregister_query(bound.signal)

    async def __aenter__(self) -> Self:
        group = asyncio.TaskGroup()
        self._group = await group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        await self.close()
        if group is not None:  # its tasks are cancelled; what ended the block is not theirs to wrap
            await group.__aexit__(None, None, None)


async def register_app_signals_with_queries(handler: UnifiedHandler) -> None:
    """Bind every signal that ships to its query: chat, contacts, invitations, unread count.

    Wakes their views, so that each can be read at once. Raises ``QueryDenied`` when the handler may not read them all.
    """
    for signal, query in _APP_BINDINGS:
        await handler.register_query(signal, query)


_APP_SIGNALS: tuple[Signal[Any], ...] = (
    views.CHAT_SIGNAL,
    views.CONTACTS_SIGNAL,
    views.INVITATIONS_SIGNAL,
    views.UNREAD_COUNT_SIGNAL,
)
_APP_BINDINGS: tuple[tuple[Signal[Any], Query[Any]], ...] = tuple(
    (signal, APP_QUERIES[signal.signal_id]) for signal in _APP_SIGNALS
)


def _snapshot_query(query: Query[R]) -> SnapshotQuery[R]:
    if isinstance(query, SnapshotQuery):
        return query
    raise LocalViolation(f"{query.query_id} is neither a SnapshotQuery nor a SqlQuery; subclass one of them")


def _is(before: object, after: object) -> bool:
    return before is after


def _check_query(query: object) -> None:
    if not isinstance(query, Query):
        hint = "; SQL text is for journal.sql" if isinstance(query, str) else ""
        raise LocalViolation(f"expected a query, such as ChatQuery() or ViewQuery(a_view); got {query!r:.100}{hint}")


def _check_isolation(isolation: object) -> None:
    if not isinstance(isolation, Isolation):
        raise LocalViolation(
            "isolation is ReadUncommitted(), ReadLatest(), ReadCommitted(…) or what take_snapshot returned; "
            f"got {isolation!r:.100}"
        )
