"""A signal is a typed key; snapshots and updates are the values that travel under it.

Holds no state: the current value of a signal lives in the `SignalHub` of one engine, so two engines in one process
never see each other through a module constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import Generic, NamedTuple, Protocol, TypeVar, get_args, get_origin

from .errors import CallRefused

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SignalKey(Protocol[T_co]):
    """A signal as its readers see it: who reads a `Signal[tuple[str, ...]]` may take its state for any `Sized`.

    A writer may not, so `Signal` itself stands for its one type.
    """

    @property
    def signal_id(self) -> str:
        """The id."""

    @property
    def state_type(self) -> type[T_co] | UnionType:
        """The type of the state."""


@dataclass(frozen=True)
class Signal(Generic[T]):
    """The key of one signal: an id and the type of its state. Comparing and hashing are by both.

    >>> COUNT_SIGNAL = Signal("app:count", int)
    >>> COUNT_SIGNAL.signal_id
    'app:count'
    """

    signal_id: str
    state_type: type[T] | UnionType

    def __post_init__(self) -> None:
        if not self.signal_id:
            raise CallRefused(
                "Signal",
                seen=f"signal_id={self.signal_id!r}",
                expected="text that is not empty",
                attempt="give an id such as 'app:chat'",
            )

    @cached_property
    def runtime_types(self) -> tuple[type, ...]:
        """The classes a value may be an instance of; empty when the type cannot be checked at run time."""
        return tuple(_runtime_types(self.state_type))

    def accepts(self, value: object) -> bool:
        """Whether `value` may be a state of this signal, as far as can be told at run time (outermost type only)."""
        types = self.runtime_types
        return not types or isinstance(value, types)

    @property
    def type_name(self) -> str:
        """The state type as a person would write it, for messages."""
        return getattr(self.state_type, "__name__", None) or str(self.state_type)


def _runtime_types(state_type: object) -> list[type]:
    if isinstance(state_type, UnionType):
        parts = [_runtime_types(part) for part in get_args(state_type)]
        return [found for part in parts for found in part] if all(parts) else []
    candidate = get_origin(state_type) or state_type
    if not isinstance(candidate, type) or candidate is object:
        return []
    try:
        isinstance(None, candidate)
    except TypeError:  # a protocol that is not runtime-checkable, for example
        return []
    return [candidate]


class Snapshot(NamedTuple, Generic[T]):
    """A signal's current value, shared by all subscribers without a copy.

    `version` is 0 for the initial value and strictly increases; `batch_id` is the batch that produced it (0 for none);
    `ready` is False while history is still being replayed.
    """

    value: T
    version: int
    batch_id: int
    ready: bool


class Update(NamedTuple, Generic[T]):
    """What a subscriber receives: a full snapshot, never a difference.

    `seq` is the signal's version; `skipped` counts the snapshots this subscriber lost since the previous delivery
    because it was slow; `live` is False while the engine is still replaying history.
    """

    value: T
    seq: int
    skipped: int
    live: bool


@dataclass(frozen=True, slots=True)
class AppError:
    """A trouble that a screen may show: a stable `code`, a sentence, and what it was about, when that is known."""

    code: str
    text: str
    type_id: str | None = None
    fact_id: str | None = None


ERROR_SIGNAL: Signal[AppError | None] = Signal("app:error", AppError | None)
"""The latest trouble of an engine, `None` when there is none. Every hub registers it itself, open to external emits."""
