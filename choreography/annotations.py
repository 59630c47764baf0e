"""The annotations of a sender's record as typed data: what the guard chain of `runtime/` is handed for each message.

Evaluates no guard, charges no budget and writes no fact.
"""

from dataclasses import dataclass

from .node import Node


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Leak(Node):
    """Who learns that this message was sent, beyond its receiver."""

    observers: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BundleLink(Node):
    """`link`: the bundle a message belongs to, and what crosses its boundary."""

    bundle: str
    exports: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MessageAnnotations(Node):
    """The typed annotations of one send. Everything absent is None or empty; document order is kept within a key.

    Capability and budget are checked before the message may leave, facts are recorded after it was sent, leakage is
    charged with it. `flow_cost` is the written cost; a sender with any annotation and no cost pays
    `FLOW_COST_DEFAULT` (see `guard_commands`).
    """

    guard_capabilities: tuple[str, ...] = ()
    flow_cost: int | None = None
    journal_facts: tuple[str, ...] = ()
    journal_merge: bool = False
    audit_log: tuple[str, ...] = ()
    leaks: tuple[Leak, ...] = ()
    leakage_budget: tuple[int, ...] | None = None
    links: tuple[BundleLink, ...] = ()
    runtime_timeout_ms: int | None = None
    other: tuple[tuple[str, str], ...] = ()
