"""What can go wrong between a fact and a screen, one type for each kind of trouble.

These are the caller's mistakes and the engine's limits. A view or a subscriber that raises is not reported by raising
one of these at the producer: it is isolated, and `ERROR_SIGNAL` or the engine's reporter tells of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from antiphon.facts import AntiphonError, LocalViolation


class ReactiveError(AntiphonError):
    """The common base: catch this to catch everything the room `reactive` raises on purpose."""


class CallRefused(ReactiveError, LocalViolation):
    """The call asks for something that is not: the caller's move, and nothing was changed.

    >>> str(CallRefused("Signal", seen="signal_id=''", expected="an id", attempt="give one, such as 'app:chat'"))
    "Signal: got signal_id=''; expected an id; give one, such as 'app:chat'"
    """

    def __init__(self, operation: str, *, seen: str, expected: str, attempt: str) -> None:
        super().__init__(f"{operation}: got {seen}; expected {expected}; {attempt}")


class PolicyRefused(CallRefused):
    """A subscription policy or capacity that is none, or that this signal cannot keep; nothing was subscribed."""

    def __init__(self, *, seen: str, expected: str, attempt: str) -> None:
        super().__init__("subscribe", seen=seen, expected=expected, attempt=attempt)


class ViewAlreadyRegistered(CallRefused):
    """The view id is taken; the first view stays as it was."""

    def __init__(self, view_id: str) -> None:
        self.view_id = view_id
        super().__init__(
            "register_view",
            seen=f"view_id={view_id!r}, which is registered already",
            expected="an id of its own for each view",
            attempt="unregister the first one, or give this one another id",
        )


class ViewNotFound(ReactiveError, LookupError):
    """No view of that id is registered in this scheduler."""

    def __init__(self, view_id: str, *, known: Iterable[str]) -> None:
        self.view_id = view_id
        super().__init__(
            f"view {view_id!r} is not registered; registered are: {', '.join(sorted(known)) or 'none yet'}; "
            "name one of these"
        )


class SignalNotFound(ReactiveError, LookupError):
    """The signal was never registered with this hub; raised by the call itself, nothing was created."""

    def __init__(
        self,
        signal_id: str,
        *,
        known: Iterable[str],
        attempt: str = "register it (or the view that owns it) before it is read or subscribed to",
    ) -> None:
        self.signal_id = signal_id
        expected = ", ".join(sorted(known)) or "none yet"
        super().__init__(f"signal {signal_id!r} is not registered; registered are: {expected}; {attempt}")


class SignalAlreadyRegistered(ReactiveError, LocalViolation):
    """The signal id is taken; the first registration stays as it was."""

    def __init__(self, signal_id: str) -> None:
        self.signal_id = signal_id
        super().__init__(
            f"signal {signal_id!r} is registered already; expected one owner for each signal; "
            "give the second one an id of its own, or reuse the first"
        )


class TypeMismatch(ReactiveError, TypeError):
    """A signal was addressed, or given a value, with another state type than the one it was registered with."""

    def __init__(self, signal_id: str, *, seen: str, expected: str) -> None:
        self.signal_id = signal_id
        super().__init__(
            f"signal {signal_id!r} got {seen}; expected {expected}; "
            "use the same typed key the signal was registered with"
        )


class SubscriptionClosed(ReactiveError):
    """The subscription has ended and everything it held has been delivered."""

    def __init__(self, signal_id: str) -> None:
        self.signal_id = signal_id
        super().__init__(
            f"the subscription to {signal_id!r} is closed; expected an open one; "
            "subscribe again while the engine is open"
        )


class EmissionFailed(ReactiveError):
    """A value could not be emitted; the signal keeps the value it had."""

    def __init__(self, signal_id: str, *, seen: str, attempt: str) -> None:
        self.signal_id = signal_id
        super().__init__(f"nothing was emitted into {signal_id!r}: {seen}; {attempt}")


class CycleDetected(ReactiveError, LocalViolation):
    """The view that was being registered would depend on itself; it was not registered."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(
            f"views depend on each other in a cycle: {' -> '.join(self.path)}; expected dependencies without a cycle; "
            "remove one of these from its view's depends_on"
        )


class HandlerUnavailable(ReactiveError):
    """The hub or scheduler that should do this is closed."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"cannot {operation}: the signal hub is closed; expected an open engine; open it again first")


class SchedulerShutdown(ReactiveError):
    """The scheduler was shut down before it could do, or finish, what was asked."""

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"the scheduler was shut down before it could {operation}; expected a running one; "
            "what was made durable is there again when the engine is reopened"
        )


class CallbackCancelled(ReactiveError):
    """A callback, view or function raised what is no error, such as the cancellation of a task it asked for a result;
    that is told like any other failure, and cancels nobody else."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(
            f"it raised {type(raised).__name__}, which is no error of its own; expected a result or an exception; "
            "catch it where it comes from, or ask only tasks that ended for their results"
        )


def failure_of(raised: BaseException) -> Exception:
    """What ends with the user's code that raised it; raises again what ends the process."""
    if isinstance(raised, Exception):
        return raised
    if isinstance(raised, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise raised
    failure = CallbackCancelled(raised)
    failure.__cause__ = raised
    return failure


class BackPressure(ReactiveError):
    """The scheduler's bounded input is full; nothing of this publish was taken."""

    def __init__(self, *, queued_publish_count: int, queued_fact_count: int, publish_max: int, fact_max: int) -> None:
        super().__init__(
            f"the input is full: {queued_publish_count} publishes with {queued_fact_count} facts are waiting; "
            f"expected at most {publish_max} publishes and {fact_max} facts; "
            "use `await publish(...)`, or try again later"
        )
