"""The guard of a protocol's sends: annotations and chain make one plan, with one charge, before a message leaves.

Belongs at an endpoint's ``guard``; sends nothing itself. What a session sends stays in the outbox until it has left;
a send that failed and is tried again goes on with the plan that it had, and is not charged twice. What is left when the
session ends, or when its process did, is let go: its frames are foreign to any other session. Nothing is refunded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from antiphon.facts import Fact, LocalViolation
from antiphon.journal import JournalClosed
from antiphon.journal.guard_book import Letter, done_note

from ..choreography.errors import GuardDenied
from ..choreography.guarding import GuardRequest
from ..events import LinkRouted
from .commands import GuardRefused, InterpreterError, SendRequest, StoreMetadata
from .guard import EffectGuard
from .interpreters import envelope_id
from .outbox import SESSION_PREFIX, note_left
from .table import FREE, GuardTable, MessageGuard, MessageKey

MakeFact = Callable[[GuardRequest], Fact]


class _Place(NamedTuple):
    """Which send of which session: the same again when it is tried again."""

    session: str
    number: int
    to: str


class _Waiting(NamedTuple):
    """A message that was let through and has not left."""

    envelope_id: str
    label: str
    data: bytes


class ProtocolGuard:
    """Guards one role's sends by the table of its protocol.

    *facts* make what ``journal_facts`` names; *peer_of* turns a role into the name that budgets go by. Raises
    ``LocalViolation`` when the table names a fact that nothing makes.
    """

    def __init__(
        self,
        guard: EffectGuard,
        table: GuardTable,
        *,
        context: str,
        authority: str,
        facts: Mapping[str, MakeFact] | None = None,
        peer_of: Callable[[str], str] = lambda role: role,
    ) -> None:
        self._guard = guard
        self._table = table
        self._context = context
        self._authority = authority
        self._facts = dict(facts or {})
        self._peer_of = peer_of
        self._waiting: dict[str, dict[_Place, _Waiting]] = {}
        self._is_alone = False
        unknown = {name for _, each in table.items() for name in each.facts_after} - set(self._facts)
        if unknown:
            raise LocalViolation(f"{table.protocol_name} records {sorted(unknown)}; give the guard what makes them")

    async def admit(self, request: GuardRequest) -> None:
        """Charge, record and put in the outbox, in one frame; then the message may go. Raises ``GuardDenied``.

        A message without annotations is asked about as well, and has nothing to write. One that was let through before
        and did not leave is charged no more, but its rights must still hold.
        """
        found = self._table.find(MessageKey(request.role, request.label, request.to))
        if found is None:
            raise GuardDenied(f"unguarded-message: {request.role} -> {request.to} : {request.label} is in no table")
        if not self._is_alone:
            self._forget_former()
        try:
            await self._pass(request, found)
        except (GuardRefused, InterpreterError) as problem:
            self._tell_links(request, found, "reject")
            raise GuardDenied(f"{problem.kind}: {request.label} to {request.to} was kept back; {problem}") from problem
        self._tell_links(request, found, "route")

    async def _pass(self, request: GuardRequest, found: MessageGuard) -> None:
        place, asked = _place_of(request), self.request_for(request, found)
        before = self._waiting.get(place.session, {}).get(place)
        is_again = before is not None and (before.label, before.data) == (request.label, request.data)
        if is_again or found == FREE:
            await self._guard.permit(asked._replace(cost=0, leaks=(), extra=(), facts_after=(), envelope=None))
        if is_again:
            return
        if before is not None:  # the role says something else instead
            self._let_go([self._waiting[place.session].pop(place)])
        if found != FREE:
            done = await self._guard.guarded(asked)
            waiting = _Waiting(envelope_id(done.plan_id), request.label, request.data)
            self._waiting.setdefault(place.session, {})[place] = waiting

    def _tell_links(self, request: GuardRequest, found: MessageGuard, outcome: str) -> None:
        """Tell of a message that crosses the boundary of a bundle, as its annotation says."""
        events = self._guard.engine.events
        if events.is_heard:
            session = f"{request.protocol}:{request.role}"
            for bundle in found.links:
                events.emit(LinkRouted(session_id=session, fragment_key=bundle, outcome=outcome))

    async def sent(self, request: GuardRequest) -> None:
        """The message has left: commit what its annotations record, once."""
        place = _place_of(request)
        waiting = self._waiting.get(place.session, {}).pop(place, None)
        if not self._waiting.get(place.session, True):
            del self._waiting[place.session]
        letter = self._guard.book.letter(waiting.envelope_id) if waiting is not None else None
        if letter is not None:
            await note_left(self._guard.engine, letter)

    def ended(self, session: str) -> None:
        """Let go of what a session had not sent; its cost stays spent, as after a restart."""
        self._let_go(self._waiting.pop(session, {}).values())

    def _let_go(self, gone: Iterable[_Waiting]) -> None:
        ids = [each.envelope_id for each in gone]
        for each in ids:
            self._guard.book.finish(each)
        if ids:
            with suppress(JournalClosed):  # then the next life lets them go
                self._guard.engine.note(done_note(ids))

    async def forget_former(self) -> int:
        """Let go of what sessions of earlier lives had not sent, as the first send does; how many those were."""
        return self._forget_former()

    def _forget_former(self) -> int:
        self._is_alone = True
        former = [each for each in self._guard.book.former_letters if _is_of_session(each)]
        for letter in former:
            self._guard.book.finish(letter.envelope_id)
        if former:
            self._guard.engine.note(done_note(letter.envelope_id for letter in former))
        return len(former)

    def request_for(self, request: GuardRequest, found: MessageGuard) -> SendRequest:
        """What the chain is asked about a message."""
        peer = self._peer_of(request.to)
        first, *others = found.capabilities or (NOTHING_ASKED,)
        return SendRequest(
            operation=f"{self._table.protocol_name}:{request.label}",
            context=self._context,
            peer=peer,
            authority=self._authority,
            capability=first,
            also=tuple(others),
            cost=found.cost,
            leaks=found.leaks,
            extra=tuple(StoreMetadata(f"audit:{request.protocol}:{request.label}", text) for text in found.audit),
            facts_after=tuple(self._facts[name](request) for name in found.facts_after),
            envelope=request.data,
            to=f"{SESSION_PREFIX}{request.protocol}:{request.role}:{request.to}",
        )


NOTHING_ASKED = "protocol:send"
"""What a message needs whose annotations name no capability, or that has none."""


def _place_of(request: GuardRequest) -> _Place:
    """Where it stands; a request of nobody's session is a session of its own."""
    return _Place(request.session or f"#{id(request)}", request.number, request.to)


def _is_of_session(letter: Letter) -> bool:
    return letter.to.startswith(SESSION_PREFIX)
