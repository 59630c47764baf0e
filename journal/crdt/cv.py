"""``CvHandler``: a convergent state; whatever arrives is joined, in any order and any number of times.

Keeps no history and nothing pending.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ..crdt_errors import CrdtTypeMismatch
from ..lattice import Joinable
from .codec import StateCodec, codec_of, describe_type
from .kinds import CrdtKind, HandlerDiagnostics

S = TypeVar("S", bound=Joinable)


@dataclass(frozen=True, slots=True)
class StateMsg(Generic[S]):
    """A whole state, as one replica has it."""

    state: S


@dataclass(frozen=True, slots=True)
class CvHandler(Generic[S]):
    """A convergent state and how it grows; every change gives a new handler.

    >>> from antiphon.journal import MaxInt
    >>> CvHandler.with_state(MaxInt(3)).on_recv(StateMsg(MaxInt(7))).get_state()
    MaxInt(value=7)
    """

    state: S
    codec: StateCodec[S]
    received_count: int = 0

    @classmethod
    def new(cls, prototype: S) -> CvHandler[S]:
        """A handler at the bottom of the lattice that *prototype* belongs to."""
        codec = codec_of(prototype)
        return cls(codec.bottom(), codec)

    @classmethod
    def with_state(cls, state: S) -> CvHandler[S]:
        """A handler that starts from *state*, of which it keeps a copy; ``CrdtTypeMismatch`` for what is no lattice."""
        codec = codec_of(state)
        return cls(codec.bottom().join(state), codec)

    def get_state(self) -> S:
        """The state; it is the handler's own, so do not change one that can be changed."""
        return self.state

    def on_recv(self, message: StateMsg[S]) -> CvHandler[S]:
        """Join what a peer sent. ``CrdtTypeMismatch`` for a state of another type."""
        return replace(self.update_state(message.state), received_count=self.received_count + 1)

    def update_state(self, state: S) -> CvHandler[S]:
        """Join a state of our own. ``CrdtTypeMismatch`` for a state of another type."""
        if type(state) is not type(self.state) or describe_type(state) != describe_type(self.state):
            raise CrdtTypeMismatch(expected=self.codec.name, actual=describe_type(state))
        return replace(self, state=self.state.join(state))

    def create_state_msg(self) -> StateMsg[S]:
        """The message that brings a peer up to here."""
        return StateMsg(self.state)

    def reset(self) -> CvHandler[S]:
        """Back to the bottom; peers that keep the state will bring it back."""
        return replace(self, state=self.codec.bottom())

    def diagnostics(self) -> HandlerDiagnostics:
        """What is inside; a convergent handler is always idle."""
        return HandlerDiagnostics(CrdtKind.CONVERGENT, 0, {"received": self.received_count})
