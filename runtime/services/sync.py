"""Replication for a journal: sync once, serve, or stay linked. Each is one owner of its tasks and leaves none behind.

What is exchanged and when is decided in ``journal/sync``; this wires sessions to connections, and tries again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self

from antiphon.facts import AntiphonError, LocalViolation
from antiphon.journal.sync.messages import Busy, encode
from antiphon.journal.sync.session import Outcome, State, SyncSession

from ..events import ServiceStory, events_of
from ..resilience import MaxRetriesExceeded, RateLimiter, TimeoutBudget, retry
from ..transports.memory import memory_pair
from ..transports.reach import check_address
from ..transports.transport import Connection, Listener, PeerLost, PeerUnreachable
from .session_driver import Replica, RunListener, SessionDriver, SyncReport, SyncSettings, tell_unreached
from .sync_gate import guarded_driver
from .watched import WatchedConnection

DEFAULT_SETTINGS = SyncSettings()
# Sessions a server remembers for its statistics.
REPORTS_KEPT_MAX = 16
# A busy peer may ask for no longer pause than a failing one gets.
RETRY_AFTER_S_MAX = 30.0

__all__ = [
    "DEFAULT_SETTINGS",
    "Link",
    "LinkState",
    "LinkStatus",
    "Outcome",
    "Replica",
    "RunListener",
    "ServerStatistics",
    "SyncReport",
    "SyncServer",
    "SyncSettings",
    "link",
    "serve",
    "sync_address",
    "sync_in_process",
    "sync_once",
]


async def sync_once(
    replica: Replica, connection: Connection, *, settings: SyncSettings = DEFAULT_SETTINGS
) -> SyncReport:
    """Exchange what either side lacks over *connection*, both ways, then close it.

    One round trip and 50 bytes each way, beyond the greeting, when there is nothing to exchange. A peer that
    misbehaves, stalls or dies is told of in the report; what it sent in good order before stays. Raises
    ``StoreUnavailable`` when this side's disk refuses.
    """
    try:
        await replica.flush()
    except BaseException:
        await connection.close()
        raise
    return await guarded_driver(replica, connection, settings, is_live=False).run()


async def sync_address(replica: Replica, address: str, *, settings: SyncSettings = DEFAULT_SETTINGS) -> SyncReport:
    """Connect to a serving replica at an address of any transport and ``sync_once``.

    Raises ``LocalViolation`` for a bad address and ``PeerUnreachable`` when nobody answers there.
    """
    check_address(address, is_to_connect=True)
    try:
        connection = await _reach(address, settings)
    except PeerUnreachable as problem:
        tell_unreached(replica, address, str(problem))
        raise
    return await sync_once(replica, connection, settings=settings)


async def _reach(address: str, settings: SyncSettings) -> Connection:
    """Connect, as often as the settings' retry allows; ``PeerUnreachable`` when nobody answered any time."""

    async def attempt(budget: TimeoutBudget | None) -> Connection:
        del budget
        return await settings.connect(address, timeout=settings.connect_timeout_s)

    try:
        return await retry(attempt, settings.retry, timing=settings.timing, retryable=(PeerUnreachable,))
    except MaxRetriesExceeded as problem:
        raise problem.last from None


async def sync_in_process(first: Replica, second: Replica, *, settings: SyncSettings = DEFAULT_SETTINGS) -> SyncReport:
    """The same session between two replicas of this process; the report is the first one's."""
    if first is second:
        raise LocalViolation("a journal cannot sync with itself; name two journals")
    ends = memory_pair(first=f"journal:{first.journal_id[:8]}", second=f"journal:{second.journal_id[:8]}")
    try:
        async with asyncio.TaskGroup() as group:
            here = group.create_task(sync_once(first, ends[0], settings=settings))
            group.create_task(sync_once(second, ends[1], settings=settings))
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from problems
    return here.result()


def serve(replica: Replica, address: str, *, settings: SyncSettings = DEFAULT_SETTINGS) -> SyncServer:
    """Let peers connect at *address* while an ``async with`` block runs; port 0 picks a free one."""
    return SyncServer(replica, address, settings)


def link(replica: Replica, address: str, *, settings: SyncSettings = DEFAULT_SETTINGS) -> Link:
    """Stay in touch with the replica that serves at *address* while an ``async with`` block runs."""
    return Link(replica, address, settings)


class ServerStatistics(NamedTuple):
    """The insides of a server: sessions under way, ended and turned away, the last reports, and our own troubles."""

    active: int
    ended: int
    turned_away: int
    reports: tuple[SyncReport, ...]
    problems: tuple[str, ...]


class SyncServer:
    """An open port and the sessions behind it, for as long as its ``async with`` block runs.

    A session that fails harms no other. Beyond ``connections_max`` a peer is told BUSY and when to come back.
    """

    def __init__(self, replica: Replica, address: str, settings: SyncSettings) -> None:
        check_address(address)
        self._requested = address
        self._replica = replica
        self._settings = settings
        self._listener: Listener | None = None
        self._limiter = RateLimiter(settings.rates, settings.timing) if settings.rates is not None else None
        self._group = asyncio.TaskGroup()
        self._accepting: asyncio.Task[None] | None = None
        self._sessions: dict[SessionDriver, asyncio.Task[None]] = {}
        self._turning_away: set[asyncio.Task[None]] = set()
        self._ended = 0
        self._turned_away = 0
        self._reports: deque[SyncReport] = deque(maxlen=REPORTS_KEPT_MAX)
        self._problems: deque[str] = deque(maxlen=REPORTS_KEPT_MAX)
        self._story = ServiceStory(events_of(replica), "sync.server")

    def __repr__(self) -> str:
        if self._listener is None:
            return f"<SyncServer at {self._requested}: not listening; enter it with async with>"
        count = len(self._sessions)
        return f"<SyncServer at {self.address}: {count} session{'' if count == 1 else 's'}>"

    @property
    def address(self) -> str:
        """Where peers connect, with the real port. ``LocalViolation`` before the block is entered."""
        if self._listener is None:
            raise LocalViolation("a server has its address inside its `async with` block")
        return self._listener.address

    def statistics(self) -> ServerStatistics:
        """The server's account so far."""
        return ServerStatistics(
            len(self._sessions), self._ended, self._turned_away, tuple(self._reports), tuple(self._problems)
        )

    async def __aenter__(self) -> Self:
        self._story.move("starting")
        try:
            self._listener = await self._settings.listen(self._requested)
        except BaseException:
            self._story.move("failed")
            raise
        await self._group.__aenter__()
        self._accepting = self._group.create_task(self._accept(self._listener))
        self._story.follow(self._accepting, "accept")
        self._story.move("running")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None, "the block was entered"
        assert self._accepting is not None, "the block was entered"
        self._story.move("stopping")
        self._accepting.cancel()
        for task in self._turning_away:
            task.cancel()
        try:
            await self._listener.close()
            if not isinstance(problem, asyncio.CancelledError):
                await _flush(self._replica)
                for driver in self._sessions:
                    driver.leave()
                await _end_soon(list(self._sessions.values()), self._settings.goodbye_timeout_s)
        finally:
            for task in self._sessions.values():
                task.cancel()
            try:
                await _leave_group(self._group, kind, problem, trace)
            finally:
                self._story.move("stopped")

    async def _accept(self, listener: Listener) -> None:
        while True:
            connection = await listener.accept()
            if len(self._sessions) < self._settings.connections_max:
                watched = WatchedConnection(connection, self._limiter, self._settings.timing)
                driver = guarded_driver(self._replica, watched, self._settings, is_live=True)
                task = self._sessions[driver] = self._group.create_task(self._host(driver))
                self._story.follow(task, "session")
            else:
                self._send_away(connection)

    async def _host(self, driver: SessionDriver) -> None:
        try:
            self._reports.append(await driver.run())
        except AntiphonError as problem:
            self._problems.append(str(problem))
        finally:
            del self._sessions[driver]
            self._ended += 1

    def _send_away(self, connection: Connection) -> None:
        self._turned_away += 1
        if len(self._turning_away) >= self._settings.connections_max:
            connection.drop()
            return
        task = self._group.create_task(self._tell_busy(connection))
        self._turning_away.add(task)
        task.add_done_callback(self._turning_away.discard)

    async def _tell_busy(self, connection: Connection) -> None:
        try:
            await connection.send(encode(Busy(self._settings.retry_after_ms)))
        except PeerLost:
            return  # it went away by itself
        finally:
            await connection.close()


class LinkState(Enum):
    """Where a link stands."""

    CONNECTING = "connecting"
    SYNCING = "syncing"
    LIVE = "live"
    WAITING = "waiting"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link's account: ``attempt`` counts failures since it was last live, ``reason`` tells the last one.

    ``is_agreed`` says that both sides held the same when they last compared; facts are counted over all sessions.
    """

    state: LinkState
    address: str
    attempt: int
    reason: str
    is_agreed: bool
    sessions: int
    sent: int
    received: int


class Link:
    """A live connection both ways, for as long as its ``async with`` block runs.

    A peer that is away is no error: the link tries again with exponential back-off, and a peer that comes back catches
    up by the same path as one that is met for the first time. On leaving, what is durable here is handed over first.
    """

    def __init__(self, replica: Replica, address: str, settings: SyncSettings) -> None:
        check_address(address, is_to_connect=True)
        self._replica = replica
        self._address = address
        self._settings = settings
        self._group = asyncio.TaskGroup()
        self._running: asyncio.Task[None] | None = None
        self._story = ServiceStory(events_of(replica), "sync.link")
        self._driver: SessionDriver | None = None
        self._leaving = asyncio.Event()
        self._state = LinkState.CONNECTING
        self._live = asyncio.Event()
        self._attempt = 0
        self._reason = ""
        self._sessions = 0
        self._sent = 0
        self._received = 0

    def __repr__(self) -> str:
        reason = f" ({self._reason})" if self._reason else ""
        return f"<Link to {self._address}: {self._state.value}{reason}>"

    @property
    def status(self) -> LinkStatus:
        """How the link is doing."""
        driver = self._driver
        here = driver.session.statistics() if driver else None
        return LinkStatus(
            state=self._state,
            address=self._address,
            attempt=self._attempt,
            reason=self._reason,
            is_agreed=bool(here and here.is_agreed),
            sessions=self._sessions,
            sent=self._sent + (here.sent if here else 0),
            received=self._received + (here.received if here else 0),
        )

    async def wait_live(self) -> None:
        """Return once both sides have met and exchanged what was missing; at once if that is so."""
        await self._live.wait()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._running = self._group.create_task(self._stay())
        self._story.follow(self._running, "link")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None, "the block was entered"
        self._leaving.set()
        try:
            if self._driver is not None and not isinstance(problem, asyncio.CancelledError):
                await _flush(self._replica)
                self._leave_session()
                await _end_soon([self._running], self._settings.goodbye_timeout_s)
        finally:
            self._running.cancel()
            self._move(LinkState.LEFT)
            self._live.clear()
            await _leave_group(self._group, kind, problem, trace)

    def _move(self, state: LinkState) -> None:
        self._state = state
        self._story.move(state.value)

    def _leave_session(self) -> None:
        if self._driver is not None:
            self._driver.leave()

    async def _stay(self) -> None:
        while not self._leaving.is_set():
            self._move(LinkState.CONNECTING)
            pause_s = 0.0
            try:
                report = await self._converse(await self._reach())
                self._reason = report.reason
                pause_s = report.retry_after_ms / 1_000
            except AntiphonError as problem:
                self._reason = str(problem)
            if self._leaving.is_set():
                return
            self._move(LinkState.WAITING)
            await self._settings.sleep(max(min(pause_s, RETRY_AFTER_S_MAX), self._draw_delay_s()))
            self._attempt += 1

    async def _reach(self) -> Connection:
        try:
            return await self._settings.connect(self._address, timeout=self._settings.connect_timeout_s)
        except PeerUnreachable as problem:
            tell_unreached(self._replica, self._address, str(problem))
            raise

    async def _converse(self, connection: Connection) -> SyncReport:
        driver = guarded_driver(self._replica, connection, self._settings, is_live=True, on_change=self._on_change)
        self._driver = driver
        self._move(LinkState.SYNCING)
        self._sessions += 1
        try:
            return await driver.run()
        finally:
            here = driver.session.statistics()
            self._sent += here.sent
            self._received += here.received
            self._driver = None
            self._live.clear()

    def _on_change(self, session: SyncSession) -> None:
        if session.state is State.LIVE and not self._live.is_set():
            self._live.set()
            self._move(LinkState.LIVE)
            self._attempt = 0
            self._reason = ""

    def _draw_delay_s(self) -> float:
        chance = int.from_bytes(self._settings.random_bytes(2), "big") / 0xFFFF
        return self._settings.backoff.delay_s(attempt=self._attempt, chance=chance)


async def _flush(replica: Replica) -> None:
    """Let what was committed reach the peers before a goodbye; a journal that cannot is told so by its own calls."""
    try:
        await replica.flush()
    except AntiphonError:
        return


async def _end_soon(tasks: list[asyncio.Task[None]], timeout_s: float) -> None:
    """Wait for tasks that were asked to end, and cancel those that do not in time."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()


async def _leave_group(
    group: asyncio.TaskGroup,
    kind: type[BaseException] | None,
    problem: BaseException | None,
    trace: TracebackType | None,
) -> None:
    """Leave a task group; the block's own exception goes on as it is instead of being wrapped in a group.

    A cancellation is shown to the group, since it may have been the group's own, when one of its tasks failed.
    """
    if isinstance(problem, asyncio.CancelledError):
        await group.__aexit__(kind, problem, trace)
    else:
        await group.__aexit__(None, None, None)
