"""When an operation takes effect: at once, when it was approved, or through a ceremony; a table with exceptions.

Counts no approvals and runs no ceremony; the guard chain only asks here which way an operation has to go.
"""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.facts import LocalViolation
from antiphon.facts.categories import OperationCategory, operation_category

from .commands import Timing

_TIMINGS: Mapping[OperationCategory, Timing] = {
    OperationCategory.LOCAL: Timing.IMMEDIATE,
    OperationCategory.OPTIMISTIC: Timing.IMMEDIATE,
    OperationCategory.CEREMONY: Timing.BLOCKING,
}


class PolicyOverrideForbidden(LocalViolation):
    """A ceremony cannot be made to take effect without one."""


class EffectPolicyRegistry:
    """The timing of each operation: the exception of its context, else its default, else that of its category.

    >>> policies = EffectPolicyRegistry()
    >>> policies.override("home", "chat:send-message", Timing.DEFERRED)
    >>> policies.timing("chat:send-message", "home"), policies.timing("chat:send-message", "elsewhere")
    (<Timing.DEFERRED: 'deferred'>, <Timing.IMMEDIATE: 'immediate'>)
    """

    def __init__(self, defaults: Mapping[str, Timing] | None = None) -> None:
        self._defaults: dict[str, Timing] = {}
        self._overrides: dict[tuple[str, str], Timing] = {}
        for operation, timing in (defaults or {}).items():
            self._check(operation, timing)
            self._defaults[operation] = timing

    def timing(self, operation: str, context: str) -> Timing:
        """Which way *operation* goes in *context*; one that nobody declared is immediate."""
        found = self._overrides.get((context, operation)) or self._defaults.get(operation)
        if found is not None:
            return found
        category = operation_category(operation)
        return Timing.IMMEDIATE if category is None else _TIMINGS[category]

    def override(self, context: str, operation: str, timing: Timing) -> None:
        """Let *operation* go another way in one context. Raises ``PolicyOverrideForbidden``."""
        self._check(operation, timing)
        self._overrides[context, operation] = timing

    @staticmethod
    def _check(operation: str, timing: Timing) -> None:
        if operation_category(operation) is OperationCategory.CEREMONY and timing is not Timing.BLOCKING:
            raise PolicyOverrideForbidden(
                f"{operation} is a ceremony (category C) and cannot be made {timing.value}; leave it to its parties"
            )
