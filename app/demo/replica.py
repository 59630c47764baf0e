"""One replica at play: takes orders, commits what they ask for, and reports what its signals show.

The same object plays in both processes; how orders reach it and where its reports go is its owner's business. Knows
neither the script nor the other replica. Everything it shows and measures comes from the journal's own signals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from antiphon.facts import Clock, Fact
from antiphon.reactive import SignalStream
from antiphon.runtime.clock import SystemClock, monotonic_seconds
from antiphon.views.chat_state import ChatState
from antiphon.views.contacts_state import ContactsState
from antiphon.views.invitations_state import InvitationsState
from antiphon.views.signals import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL

from ..journal import Journal
from .cues import Cast, Cue, Player, facts_for
from .pane import Pane, Screens, build_pane, digest_conversation
from .signs import SignReader, sign_of
from .wire import (
    Act,
    Hello,
    Introduce,
    Leave,
    Linked,
    Meet,
    Order,
    Part,
    Perform,
    Performed,
    Pulse,
    Report,
    Seen,
    Shown,
    Standing,
    Tell,
)

S = TypeVar("S")

# Fifteen pictures a second are as many as a reader follows.
PANE_INTERVAL_S = 1 / 15

Emit = Callable[[Report], None]
Sleep = Callable[[float], Awaitable[None]]


class Timing(NamedTuple):
    """The clocks of a replica: wall time for facts, a monotonic one for latencies, and a way to wait."""

    clock: Clock = SystemClock()
    monotonic: Callable[[], float] = monotonic_seconds
    sleep: Sleep = asyncio.sleep


REAL_TIME = Timing()
"""The clocks of this machine."""


class DemoReplica:
    """*player* with an open *journal*; ``run`` takes orders and follows the signals until ``Leave`` is ordered.

    >>> async def play(journal: Journal) -> None:
    ...     replica = DemoReplica("ada", journal, print, pid=1, is_drawn=False)
    ...     replica.order(Leave())
    ...     await replica.run()
    """

    def __init__(
        self,
        player: Player,
        journal: Journal,
        emit: Emit,
        *,
        pid: int,
        is_drawn: bool,
        timing: Timing = REAL_TIME,
    ) -> None:
        self.player = player
        self._journal = journal
        self._emit = emit
        self._pid = pid
        self._is_drawn = is_drawn
        self._timing = timing
        self._cast = Cast(journal.authority, player, "", "")
        self._reader = SignReader()
        self._screens = Screens(ChatState(), ContactsState(), InvitationsState())
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._address = ""
        self._is_linked = False
        self._wants_link = asyncio.Event()
        self._wants_parting = asyncio.Event()
        self._is_leaving = asyncio.Event()
        self._is_stale = asyncio.Event()

    @property
    def pane(self) -> Pane:
        """What its half of the screen shows now."""
        statistics = self._journal.statistics()
        return build_pane(
            self.player,
            self._screens,
            is_linked=self._is_linked,
            facts=statistics.fact_count,
            windows=statistics.window_count,
        )

    @property
    def standing(self) -> Standing:
        """How it stands now."""
        statistics = self._journal.statistics()
        return Standing(
            facts=statistics.fact_count,
            windows=statistics.window_count,
            fingerprint=self._journal.fingerprint,
            conversation=digest_conversation(self._screens.chat),
        )

    def note_link(self, *, is_linked: bool) -> None:
        """Whoever watches the other end of the link says how it is."""
        self._is_linked = is_linked
        self._is_stale.set()

    def order(self, order: Order) -> None:
        """Take an order; orders are obeyed one after the other, but ``Leave`` at once."""
        if isinstance(order, Leave):
            self._is_leaving.set()
        else:
            self._orders.put_nowait(order)

    async def run(self) -> None:
        """Follow the signals, the log and the link; ends after ``Leave``. Raises what the journal raises."""
        forget = self._journal.engine.add_run_listener(lambda rows: self._pulse())
        try:
            async with (
                self._journal.watch(CHAT_SIGNAL) as chat,
                self._journal.watch(CONTACTS_SIGNAL) as contacts,
                self._journal.watch(INVITATIONS_SIGNAL) as invitations,
                asyncio.TaskGroup() as group,
            ):
                following = [
                    group.create_task(self._obey()),
                    group.create_task(self._follow(chat, self._show_chat)),
                    group.create_task(self._follow(contacts, self._show_contacts)),
                    group.create_task(self._follow(invitations, self._show_invitations)),
                    group.create_task(self._keep_link()),
                ]
                if self._is_drawn:
                    following.append(group.create_task(self._keep_drawn()))
                self._emit(self._hello())
                await self._is_leaving.wait()
                for task in following:
                    task.cancel()
        finally:
            forget()

    # Doing

    async def _obey(self) -> None:
        while True:
            await self._take(await self._orders.get())

    async def _take(self, order: Order) -> None:
        match order:
            case Introduce(peer_id=peer_id, peer_name=peer_name):
                self._cast = self._cast._replace(peer_id=peer_id, peer_name=peer_name)
            case Meet(address=address):
                self._address = address
                self._wants_parting.clear()
                self._wants_link.set()
            case Part():
                self._wants_link.clear()
                self._wants_parting.set()
            case Perform():
                self._emit(Performed(number=order.number, acts=tuple(await self._perform(order))))
            case Tell():
                self._emit(self.standing)
            case Leave():
                self._is_leaving.set()

    async def _perform(self, order: Perform) -> list[Act]:
        if order.line_s is not None:
            return await self._perform_chorus(order.cues, order.line_s)
        return [await self._commit(self._facts_for((cue,))) for cue in order.cues]

    async def _perform_chorus(self, cues: Sequence[Cue], line_s: float) -> list[Act]:
        """Each cue at its time; those that fell due while the last commit was under way go together."""
        acts: list[Act] = []
        start_s, done = self._timing.monotonic(), 0
        while done < len(cues):
            elapsed_s = self._timing.monotonic() - start_s
            due = len(cues) if line_s <= 0 else min(int(elapsed_s / line_s) + 1, len(cues))
            if due == done:
                await self._timing.sleep(max(done * line_s - elapsed_s, 0))
                continue
            acts.append(await self._commit(self._facts_for(cues[done:due])))
            done = due
        return acts

    def _facts_for(self, cues: Sequence[Cue]) -> list[Fact]:
        now_ms = self._timing.clock.now_ms()
        return [fact for cue in cues for fact in facts_for(cue, self._cast, self._screens.chat, now_ms=now_ms)]

    async def _commit(self, facts: Sequence[Fact]) -> Act:
        signs = [sign for sign in map(sign_of, facts) if sign is not None]
        started_s = self._timing.monotonic()
        await self._journal.commit_all(facts)
        return Act(started_s, self._timing.monotonic(), tuple(signs))

    # Seeing

    async def _follow(self, updates: SignalStream[S], show: Callable[[S], tuple[str, ...]]) -> None:
        async for update in updates:
            at_s = self._timing.monotonic()
            signs = show(update.value)
            if signs:
                self._emit(Seen(at_s=at_s, signs=signs))
            self._pulse()

    def _show_chat(self, state: ChatState) -> tuple[str, ...]:
        self._screens = self._screens._replace(chat=state)
        return self._reader.read_chat(state)

    def _show_contacts(self, state: ContactsState) -> tuple[str, ...]:
        self._screens = self._screens._replace(contacts=state)
        return self._reader.read_contacts(state)

    def _show_invitations(self, state: InvitationsState) -> tuple[str, ...]:
        self._screens = self._screens._replace(invitations=state)
        return self._reader.read_invitations(state)

    # Telling

    def _hello(self) -> Hello:
        return Hello(
            player=self.player, authority=self._journal.authority, pid=self._pid, clock_s=self._timing.monotonic()
        )

    def _pulse(self) -> None:
        self._is_stale.set()
        self._emit(Pulse(fingerprint=self._journal.fingerprint, facts=self._journal.fact_count))

    async def _keep_drawn(self) -> None:
        while True:
            await self._is_stale.wait()
            self._is_stale.clear()
            self._emit(Shown(pane=self.pane))
            await self._timing.sleep(PANE_INTERVAL_S)

    async def _keep_link(self) -> None:
        while True:
            await self._wants_link.wait()
            async with self._journal.link(self._address) as link:
                await link.wait_live()
                self._tell_link(is_linked=True)
                await self._wants_parting.wait()
            self._tell_link(is_linked=False)

    def _tell_link(self, *, is_linked: bool) -> None:
        self.note_link(is_linked=is_linked)
        self._emit(Linked(is_linked=is_linked))
