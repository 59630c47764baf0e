"""The director: starts both replicas, performs the script on them, and reports how it ended.

Decides when the next thing happens, and measures; what happens is in the script, who does it is a replica, what it
looks like is the screen's business.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from antiphon.facts import AntiphonError

from ..journal import Journal
from .child import ChildPlayer, start_child
from .cues import PLAYERS, Cue, Player
from .pane import Pane
from .replica import REAL_TIME, DemoReplica, Timing
from .report import LatencyLedger, ReplicaReport, measure
from .report import Report as DemoReport
from .screen import StageView
from .script import TURN_BEATS, Chorus, Exchange, Step, Turn, cues_of
from .wire import (
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

# A shared machine may be slow; one that needs longer for a step is stuck.
STEP_TIMEOUT_S = 20.0


class DemoFailed(AntiphonError):
    """The play could not go on; the message says at what and why."""


class Plan(NamedTuple):
    """What is to be played, how fast (seconds a beat), and where the two journals live."""

    script: tuple[Step, ...]
    beat_s: float
    folder: Path
    is_drawn: bool
    step_timeout_s: float = STEP_TIMEOUT_S


class Stage:
    """What is known of the play so far: filled by reports, read by the director and the painter.

    *narrate* is told who plays and each step as it begins.
    """

    def __init__(self, plan: Plan, timing: Timing, *, narrate: Callable[[str], None] = lambda _: None) -> None:
        self.plan = plan
        self.title = "the curtain rises"
        self.step = 0
        self.is_linked = False
        self.byte_count = 0
        self.catch_up_s: float | None = None
        self.reason: str | None = None
        self.ledger = LatencyLedger()
        self.commits_s: list[float] = []
        self.hellos: dict[Player, Hello] = {}
        self.panes: dict[Player, Pane] = {}
        self.pulses: dict[Player, Pulse] = {}
        self.standings: dict[Player, Standing] = {}
        self.performed: set[int] = set()
        self.changed = asyncio.Event()
        self.is_stale = asyncio.Event()
        self.is_link_live = False
        self.has_differed = False
        self.pulse_count = 0
        self._timing = timing
        self._narrate = narrate
        self._started_s = timing.monotonic()

    def begin(self, number: int, title: str) -> None:
        """The next step is on."""
        if self.step == 0:
            self._narrate(", ".join(f"{player} is process {self.hellos[player].pid}" for player in PLAYERS))
        self.title, self.step = title, number
        self._narrate(f"{number}/{len(self.plan.script)} {title}")
        self.stir()

    def hear(self, player: Player, report: Report) -> None:
        """Take one report of *player*."""
        match report:
            case Hello():
                self.hellos[player] = report
            case Performed():
                self.performed.add(report.number)
                for act in report.acts:
                    self.commits_s.append(act.durable_s - act.started_s)
                    for sign in act.signs:
                        self.ledger.note_started(player, sign, act.started_s, is_linked=self.is_linked)
            case Seen():
                for sign in report.signs:
                    self.ledger.note_seen(player, sign, report.at_s)
            case Linked():
                self.is_link_live = report.is_linked
            case Pulse():
                self.pulses[player] = report
                self.pulse_count += 1
            case Standing():
                self.standings[player] = report
            case Shown():
                self.panes[player] = report.pane
        self.stir()

    def stir(self) -> None:
        """Something changed: whoever waits looks again."""
        self.changed.set()
        self.is_stale.set()

    @property
    def are_fingerprints_equal(self) -> bool:
        """Whether both replicas held the same facts when each was heard last."""
        return len({pulse.fingerprint for pulse in self.pulses.values()}) == 1 and len(self.pulses) == len(PLAYERS)

    @property
    def do_standings_agree(self) -> bool:
        """Whether both replicas told the same facts and the same conversation."""
        told = {(each.fingerprint, each.conversation) for each in self.standings.values()}
        return len(self.standings) == len(PLAYERS) and len(told) == 1

    def has_pulsed_since(self, pulse_count: int) -> bool:
        """Whether anything became durable or visible anywhere since there were so many pulses."""
        return self.pulse_count > pulse_count

    @property
    def view(self) -> StageView:
        """What a picture shows now."""
        return StageView(
            title=self.title,
            step=self.step,
            step_count=len(self.plan.script),
            is_linked=self.is_linked,
            panes=dict(self.panes),
            commit=measure(self.commits_s),
            signal=measure(self.ledger.samples_s),
            byte_count=self.byte_count,
            fingerprints={player: self.pulses[player].fingerprint for player in PLAYERS if player in self.pulses},
        )

    def build_report(self) -> DemoReport:
        """How it stands, or ended."""
        return DemoReport(
            reason=self.reason,
            replicas=self._replicas(),
            commit=measure(self.commits_s),
            signal=measure(self.ledger.samples_s),
            has_differed=self.has_differed,
            catch_up_ms=None if self.catch_up_s is None else self.catch_up_s * 1000,
            byte_count=self.byte_count,
            seconds=self._timing.monotonic() - self._started_s,
        )

    def _replicas(self) -> Mapping[Player, ReplicaReport]:
        return {
            player: ReplicaReport(
                pid=self.hellos[player].pid,
                authority=self.hellos[player].authority,
                **self.standings[player].model_dump(exclude={"type"}),
            )
            for player in PLAYERS
            if player in self.standings and player in self.hellos
        }


async def perform(plan: Plan, stage: Stage, *, timing: Timing = REAL_TIME) -> None:
    """Perform *plan*; what is learned is on *stage*. Returns when both replicas are closed and the child has ended.

    Raises ``DemoFailed``, ``PlayerLost`` or what a journal raises, alone or in a group.
    """
    async with Journal.open(plan.folder / "ada", author="ada") as journal:
        server = journal.serve("tcp://127.0.0.1:0")
        try:
            async with server, start_child("bob", plan.folder / "bob", is_drawn=plan.is_drawn) as bob:
                ada = DemoReplica(
                    "ada",
                    journal,
                    partial(stage.hear, "ada"),
                    pid=os.getpid(),
                    is_drawn=plan.is_drawn,
                    timing=timing,
                )
                async with asyncio.TaskGroup() as group:
                    group.create_task(ada.run())
                    group.create_task(bob.relay(partial(stage.hear, "bob")))
                    await _Director(stage, ada, bob, server.address, timing).play()
                    ada.order(Leave())
                    bob.leave()
                    group.create_task(bob.end())
        finally:
            stage.byte_count = sum(session.bytes for session in server.statistics().reports)


class _Director:
    """Goes through the script of a stage, one step after the other."""

    def __init__(self, stage: Stage, ada: DemoReplica, bob: ChildPlayer, address: str, timing: Timing) -> None:
        self._stage = stage
        self._ada = ada
        self._bob = bob
        self._address = address
        self._timing = timing
        self._numbers = 0

    async def play(self) -> None:
        stage = self._stage
        started_s = self._timing.monotonic()
        await self._until(
            lambda: len(stage.hellos) == len(PLAYERS), "both replicas to open their journals", extra_s=STEP_TIMEOUT_S
        )
        self._check_clock(started_s)
        for player, peer in zip(PLAYERS, reversed(PLAYERS), strict=True):
            self._order(player, Introduce(peer_id=stage.hellos[peer].authority, peer_name=peer))
        for number, step in enumerate(stage.plan.script, start=1):
            stage.begin(number, step.title)
            await self._perform(step)
        await self._converge("both replicas to agree in the end")
        stage.title = "the same facts, the same conversation"
        await self._part()

    async def _perform(self, step: Step) -> None:
        beat_s = self._stage.plan.beat_s
        match step:
            case Exchange():
                for cue in step.cues:
                    await self._exchange(cue, step.title)
                    await self._timing.sleep(beat_s)
            case Chorus():
                await self._chorus(step, step.line_beats * beat_s)
            case Turn():
                await (self._meet(step.title) if step.to == "meet" else self._part())
                await self._timing.sleep(TURN_BEATS * beat_s)

    async def _exchange(self, cue: Cue, title: str) -> None:
        number = self._perform_cues(cue.actor, (cue,), None)
        await self._until(lambda: number in self._stage.performed, f"{cue.actor} to {cue.verb} ({title})")
        if self._stage.is_linked:
            ledger = self._stage.ledger
            await self._until(lambda: not ledger.outstanding, f"the other to see {cue.actor} {cue.verb} ({title})")

    async def _chorus(self, step: Chorus, line_s: float) -> None:
        parts = {player: cues_of(step, player) for player in PLAYERS}
        numbers = {self._perform_cues(player, cues, line_s) for player, cues in parts.items()}
        singing_s = line_s * max(map(len, parts.values()))
        await self._until(lambda: numbers <= self._stage.performed, f"both to end ({step.title})", extra_s=singing_s)
        if self._stage.is_linked:
            await self._converge(f"both to see all of it ({step.title})", extra_s=singing_s)
            # A screen shows the newest 500 messages: what passed by between two snapshots was never on it.
            self._stage.ledger.forget_outstanding()
        else:
            await self._until(lambda: not self._stage.are_fingerprints_equal, f"the replicas to differ ({step.title})")
            self._stage.has_differed = True

    async def _meet(self, title: str) -> None:
        stage = self._stage
        started_s = self._timing.monotonic()
        self._order("bob", Meet(address=self._address))
        await self._until(lambda: stage.is_link_live, f"bob to reach ada at {self._address} ({title})")
        await self._converge(f"both to catch up ({title})")
        stage.catch_up_s = self._timing.monotonic() - started_s
        stage.ledger.forget_outstanding()
        self._note_link(is_linked=True)

    async def _part(self) -> None:
        self._order("bob", Part())
        await self._until(lambda: not self._stage.is_link_live, "bob to close the link")
        self._note_link(is_linked=False)

    async def _converge(self, what: str, *, extra_s: float = 0.0) -> None:
        """Return when both hold the same facts and both screens show the same conversation."""
        stage = self._stage
        while True:
            await self._until(lambda: stage.are_fingerprints_equal, what, extra_s=extra_s)
            heard = stage.pulse_count
            stage.standings.clear()
            for player in PLAYERS:
                self._order(player, Tell())
            await self._until(lambda: len(stage.standings) == len(PLAYERS), what)
            if stage.do_standings_agree:
                return
            # Whoever told too early pulses when the screen has caught up.
            await self._until(partial(stage.has_pulsed_since, heard), what)

    def _perform_cues(self, player: Player, cues: Sequence[Cue], line_s: float | None) -> int:
        self._numbers += 1
        self._order(player, Perform(number=self._numbers, cues=tuple(cues), line_s=line_s))
        return self._numbers

    def _order(self, player: Player, order: Order) -> None:
        (self._ada if player == "ada" else self._bob).order(order)

    def _note_link(self, *, is_linked: bool) -> None:
        self._stage.is_linked = is_linked
        self._ada.note_link(is_linked=is_linked)
        self._stage.stir()

    def _check_clock(self, started_s: float) -> None:
        """Latencies across processes need a clock that both read alike."""
        for player, hello in self._stage.hellos.items():
            if not started_s - self._stage.plan.step_timeout_s < hello.clock_s < self._timing.monotonic():
                raise DemoFailed(f"{player}'s process has a monotonic clock of its own; latencies cannot be measured")

    async def _until(self, condition: Callable[[], bool], what: str, *, extra_s: float = 0.0) -> None:
        timeout_s = self._stage.plan.step_timeout_s + extra_s
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._stage.changed.clear()
                    await self._stage.changed.wait()
        except TimeoutError as problem:
            raise DemoFailed(f"waited {timeout_s:g} s for {what}, in vain") from problem
