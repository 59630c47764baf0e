"""What leaves: durable envelopes go to their destinations in order, again and again until they have left.

Owns no budget and no plan. An envelope keeps its id whenever it is sent again, so receivers drop repeats; one
unreachable destination holds up no other. Belongs to the engine's loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from antiphon.facts import AntiphonError, Fact
from antiphon.journal import JournalClosed
from antiphon.journal.guard_book import GuardBook, Letter, done_note

from ..engine import JournalEngine
from ..events import EnvelopeDelayed, EnvelopeSent, ServiceStory, correlate, correlated, kind_of
from ..resilience.budget import Timing
from ..resilience.delays import Delays, ExponentialWithJitter
from .listener import Listener

SESSION_PREFIX = "session:"
"""Where an envelope goes that a protocol's own handler sends."""
Deliver = Callable[[Letter], Awaitable[None]]
"""Sends one envelope and returns when it has left; what it raises (an ``AntiphonError``) makes it be sent again."""


class Outbox:
    """Sends the letters of a book with *deliver*, while it runs."""

    def __init__(
        self,
        engine: JournalEngine,
        deliver: Deliver,
        *,
        timing: Timing | None = None,
        delays: Delays | None = None,
        on_problem: Callable[[Letter, AntiphonError], None] | None = None,
    ) -> None:
        self._engine = engine
        self._book: GuardBook = engine.guard_book
        self._deliver = deliver
        self._timing = timing or Timing()
        self._delays = delays or ExponentialWithJitter()
        self._on_problem = Listener(engine, on_problem)
        # With what the events of each carry.
        self._queues: dict[str, deque[tuple[Letter, str]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._pauses: set[asyncio.Task[None]] = set()
        self._story = ServiceStory(engine.events, "guard.outbox")
        self.sent_count = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin with what earlier lives left behind; tasks belong to *group*."""
        self._group = group
        self._story.move("running")
        for letter in self._book.letters:
            self.take(letter)

    def stop(self) -> None:
        """Say that its tasks were ended; what they had not sent is durable, and is sent in the next life."""
        self._group = None
        self._story.move("stopped")

    def take(self, letter: Letter) -> None:
        """Send a durable letter, after those that go to the same place."""
        if self._group is None or letter.to.startswith(SESSION_PREFIX):
            return  # it stays in the book, for whoever starts or sends it
        queue = self._queues.get(letter.to)
        if queue is not None:
            queue.append((letter, correlated()))
            return
        self._queues[letter.to] = deque(((letter, correlated()),))
        self._drained.clear()
        undo = correlate("")  # it serves others after this one
        task = self._group.create_task(self._serve(letter.to), name=f"outbox:{letter.to}")
        self._story.follow(task, "destination")
        undo()

    def resend(self) -> None:
        """Try at once whatever waits for its next try."""
        for pause in self._pauses:
            pause.cancel()

    async def drained(self) -> None:
        """Return when nothing waits to be sent."""
        await self._drained.wait()

    async def _serve(self, to: str) -> None:
        queue = self._queues[to]
        attempt = 0
        while queue:
            letter, correlation = queue[0]
            correlate(correlation)
            try:
                await self._deliver(letter)
            except AntiphonError as problem:
                attempt += 1
                await self._delay(letter, problem, attempt)
                continue
            attempt = 0
            try:
                await self._note_left(letter)
            except JournalClosed:
                return  # it is sent again in the next life; receivers drop the repeat
            self.sent_count += 1
            events = self._engine.events
            if events.is_heard:
                veiled = events.veil(letter.peer)
                events.emit(EnvelopeSent(service="guard.outbox", peer=veiled, envelope_id=letter.envelope_id))
            queue.popleft()
        del self._queues[to]
        if not self._queues:
            self._drained.set()

    async def _note_left(self, letter: Letter) -> None:
        """Note it again and again while the disk refuses: it has left, and is not sent again for that."""
        attempt = 0
        while True:
            try:
                return await note_left(self._engine, letter)
            except JournalClosed:
                raise
            except AntiphonError as problem:
                attempt += 1
                await self._delay(letter, problem, attempt)

    async def _delay(self, letter: Letter, problem: AntiphonError, attempt: int) -> None:
        self._tell_delay(letter, problem)
        self._on_problem(letter, problem)
        await self._pause(self._delays.delay_s(attempt=attempt, chance=self._timing.chance()))

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until somebody asks to hurry."""
        assert self._group is not None, "it runs"
        pause = self._group.create_task(_sleep(self._timing, seconds), name="outbox:pause")
        self._pauses.add(pause)
        try:
            await asyncio.wait([pause])
        finally:
            self._pauses.discard(pause)

    def _tell_delay(self, letter: Letter, problem: AntiphonError) -> None:
        events = self._engine.events
        told = {"peer": events.veil(letter.peer), "envelope_id": letter.envelope_id, "error_kind": kind_of(problem)}
        events.emit(EnvelopeDelayed(service="guard.outbox", **told))


async def _sleep(timing: Timing, seconds: float) -> None:
    await timing.sleep(seconds)


async def note_left(engine: JournalEngine, letter: Letter) -> None:
    """Note that an envelope has left, in one frame with the facts that follow it.

    When that frame is not written it waits in the outbox still. Raises as ``JournalEngine.commit_noted``.
    """
    book, note = engine.guard_book, done_note((letter.envelope_id,))
    facts = [fact for kind, payload in letter.after if (fact := _make(engine, kind, payload)) is not None]
    if not facts:
        engine.note(note)
        book.finish(letter.envelope_id)
        return
    receipt = book.receipt_of(letter.envelope_id)

    def end(is_durable: bool) -> None:
        if not is_durable:
            book.put_back(letter, receipt)

    await engine.commit_noted(facts, note, on_offer=lambda: book.finish(letter.envelope_id), on_end=end)


def _make(engine: JournalEngine, kind: str, payload: str) -> Fact | None:
    known = engine.registry.get(kind)
    if known is None:
        engine.note_problem(f"a fact of kind {kind} was due when a message had left, and no type is known")
        return None
    try:
        return known.model.model_validate_json(payload)
    except ValueError as problem:
        engine.note_problem(f"a fact of kind {kind} was due when a message had left, and is none any more: {problem}")
        return None
