"""What can go wrong between two coordinators, each with the code that goes into logs and answers.

Nothing here is retried or repaired: whoever raised has changed nothing.
"""

from __future__ import annotations

from typing import ClassVar

from antiphon.facts import AntiphonError, LocalViolation, RemoteViolation


class CrdtError(AntiphonError):
    """Root of the errors of lattices, handlers and coordinators; ``code`` never changes, the text may."""

    code: ClassVar[str] = "crdt"


class SerializationFailed(CrdtError, LocalViolation):
    """A state, delta or operation has no canonical bytes: a float, a wide integer, too deep or too large."""

    code = "crdt_serialization"


class DeserializationFailed(CrdtError, RemoteViolation):
    """Bytes are not the one canonical spelling of what they should be; ``target`` names that, ``detail`` says why."""

    code = "crdt_deserialization"

    def __init__(self, *, target: str, detail: str) -> None:
        self.target = target
        self.detail = detail
        super().__init__(f"these bytes are no {target}: {detail}; nothing was applied, ask the sender again")


class CrdtTypeMismatch(CrdtError, RemoteViolation):
    """A state, delta, operation or answer of one type was offered where another is kept."""

    code = "crdt_type_mismatch"

    def __init__(self, *, expected: str, actual: str) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(f"got {actual}, expected {expected}; give both replicas handlers of one type")


class MissingHandler(CrdtError, LocalViolation):
    """The coordinator has no handler of this kind; add one with ``with_<kind>_handler``."""

    code = "crdt_missing_handler"

    def __init__(self, *, kind: str) -> None:
        self.kind = kind
        super().__init__(f"this coordinator holds no {kind} handler; add one with a with_... builder before it is used")


class SessionMismatch(CrdtError, RemoteViolation):
    """An answer to a question that this coordinator did not ask, or asked too long ago."""

    code = "crdt_session_mismatch"

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"no open request has session {session_id!r}; drop the answer, or ask again")


class CounterRegression(CrdtError, RemoteViolation):
    """A sender's message counter did not rise: an old message, or one that came twice."""

    code = "crdt_counter_regression"

    def __init__(self, *, sender: str, last: int, got: int) -> None:
        self.sender = sender
        self.last = last
        self.got = got
        super().__init__(
            f"Message counter regression detected: {sender} sent {got} after {last}; drop it, it can say nothing new"
        )


class PendingFull(CrdtError, RemoteViolation):
    """A bounded buffer of deltas is full; fold first, then take more."""

    code = "crdt_pending_full"


class ActorReused(CrdtError, LocalViolation):
    """A peer knows more of this actor's work than this coordinator does: an old copy was opened under the old name."""

    code = "crdt_actor_reused"

    def __init__(self, *, actor: str, known: int, claimed: int) -> None:
        self.actor = actor
        self.known = known
        self.claimed = claimed
        super().__init__(
            f"a peer has seen {claimed} pieces of work by {actor!r}, and this replica remembers {known}; "
            "open the restored copy under a new actor, since a number may not be given twice"
        )


class OperationsCompacted(CrdtError, RemoteViolation):
    """Two operation logs were cut at places that neither covers; only a replica with the longer log can help."""

    code = "crdt_operations_compacted"
