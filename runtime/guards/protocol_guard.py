"""The guard of a protocol's sends: annotations and chain make one plan, with one charge, before a message leaves.

Belongs at an endpoint's ``guard``; sends nothing itself. What a session sends stays in the outbox until it has left,
and is let go after a restart: a session does not outlive its process, and its frames are foreign to a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from antiphon.facts import Fact, LocalViolation
from antiphon.journal.guard_book import Letter, done_note

from ..choreography.errors import GuardDenied
from ..choreography.guarding import GuardRequest
from ..events import LinkRouted
from .commands import GuardRefused, InterpreterError, SendRequest, StoreMetadata
from .guard import EffectGuard
from .interpreters import envelope_id
from .outbox import SESSION_PREFIX, note_left
from .table import GuardTable, MessageGuard, MessageKey

MakeFact = Callable[[GuardRequest], Fact]


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
        self._letters: dict[int, str] = {}
        self._is_alone = False
        unknown = {name for _, each in table.items() for name in each.facts_after} - set(self._facts)
        if unknown:
            raise LocalViolation(f"{table.protocol_name} records {sorted(unknown)}; give the guard what makes them")

    async def admit(self, request: GuardRequest) -> None:
        """Charge, record and put in the outbox, in one frame; then the message may go. Raises ``GuardDenied``."""
        found = self._table.find(MessageKey(request.role, request.label, request.to))
        if found is None:
            raise GuardDenied(f"unguarded-message: {request.role} -> {request.to} : {request.label} is in no table")
        if not self._is_alone:
            self._forget_former()
        try:
            done = await self._guard.guarded(self.request_for(request, found))
        except (GuardRefused, InterpreterError) as problem:
            self._tell_links(request, found, "reject")
            raise GuardDenied(f"{problem.kind}: {request.label} to {request.to} was kept back; {problem}") from problem
        self._letters[id(request)] = envelope_id(done.plan_id)
        self._tell_links(request, found, "route")

    def _tell_links(self, request: GuardRequest, found: MessageGuard, outcome: str) -> None:
        """Tell of a message that crosses the boundary of a bundle, as its annotation says."""
        events = self._guard.engine.events
        if events.is_heard:
            session = f"{request.protocol}:{request.role}"
            for bundle in found.links:
                events.emit(LinkRouted(session_id=session, fragment_key=bundle, outcome=outcome))

    async def sent(self, request: GuardRequest) -> None:
        """The message has left: commit what its annotations record, once."""
        letter = self._guard.book.letter(self._letters.pop(id(request), ""))
        if letter is not None:
            await note_left(self._guard.engine, letter)

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
"""What a message needs whose annotations name no capability."""


def _is_of_session(letter: Letter) -> bool:
    return letter.to.startswith(SESSION_PREFIX)
