"""What each message of a protocol has to pass: its annotations, compiled once into a table that leaves none out.

Pure. Reads no annotation by itself (``choreography/annotations.py`` does) and evaluates no guard;
``protocol_guard.py`` asks the table for every send.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple

from antiphon.choreography import CompiledProtocol, GuardCommand
from antiphon.choreography.annotations import MessageAnnotations, annotation_records, guard_commands
from antiphon.choreography.fsm import Transition
from antiphon.facts import LocalViolation
from antiphon.facts.encoding import canonical_bytes

from .commands import COST_MAX, LeakClaim
from .names import UnknownCapability, check_protocol_name

# What an observer learns from a message whose annotation gives no number.
LEAK_BITS_DEFAULT = 8
OBSERVERS = frozenset({"External", "Neighbor", "InGroup", "Custody", "Relationship", "Group"})


class MessageKey(NamedTuple):
    """A message: who sends what to whom."""

    role: str
    label: str
    to: str


class AnnotationProblem(NamedTuple):
    """An annotation that cannot be kept, and where it stands (lines and columns count from 1)."""

    line: int
    column: int
    text: str


class GuardTableRefused(LocalViolation):
    """A protocol whose annotations cannot all be kept, or whose table leaves messages out; ``problems`` are all of
    them."""

    def __init__(self, name: str, problems: Iterable[AnnotationProblem]) -> None:
        self.problems = tuple(problems)
        places = "; ".join(f"{each.line}:{each.column} {each.text}" for each in self.problems)
        super().__init__(f"the guards of {name}: {places}")


@dataclass(frozen=True, slots=True)
class MessageGuard:
    """What a message has to pass and what follows it. Without annotations it asks for nothing, and costs nothing."""

    capabilities: tuple[str, ...] = ()
    cost: int = 0
    leaks: tuple[LeakClaim, ...] = ()
    facts_after: tuple[str, ...] = ()
    merges_journal: bool = False
    audit: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @classmethod
    def from_commands(cls, commands: Iterable[GuardCommand]) -> MessageGuard:
        """The same from the annotation commands of one send, whatever their order."""
        values: dict[str, list[str]] = {}
        for command in commands:
            values.setdefault(command.kind, []).append(command.value)
        observers = [name.strip() for text in values.get("Leakage", ()) for name in text.split(",")]
        return cls(
            tuple(values.get("GuardCapability", ())),
            sum(map(int, values.get("FlowCost", ()))),
            tuple(LeakClaim(observer, LEAK_BITS_DEFAULT) for observer in observers),
            tuple(values.get("JournalFacts", ())),
            "JournalMerge" in values,
            tuple(values.get("AuditLog", ())),
            tuple(values.get("Link", ())),
        )

    def data(self) -> object:
        """Canonical JSON data."""
        leaks = [[claim.observer, claim.bits] for claim in self.leaks]
        return [
            list(self.capabilities),
            self.cost,
            leaks,
            list(self.facts_after),
            self.merges_journal,
            list(self.audit),
            list(self.links),
        ]


FREE = MessageGuard()


class GuardTable:
    """The guard of every message of a protocol. Raises ``GuardTableRefused`` when one is missing."""

    def __init__(self, protocol: CompiledProtocol, guards: Mapping[MessageKey, MessageGuard]) -> None:
        self.protocol_name = protocol.qualified_name
        self._guards = dict(guards)
        missing = [key for key in message_keys(protocol) if key not in self._guards]
        if missing:
            text = ", ".join(f"{key.role} -> {key.to} : {key.label}" for key in missing)
            raise GuardTableRefused(self.protocol_name, [AnnotationProblem(1, 1, f"no guard for {text}")])

    def __len__(self) -> int:
        return len(self._guards)

    def find(self, key: MessageKey) -> MessageGuard | None:
        """The guard of a message; None for one that the protocol does not have, which must not be sent."""
        return self._guards.get(key)

    def items(self) -> Iterable[tuple[MessageKey, MessageGuard]]:
        """Every message with its guard."""
        return self._guards.items()

    @property
    def digest(self) -> str:
        """A hash of the whole table: peers whose digests differ guard differently."""
        rows = [[*key, guard.data()] for key, guard in sorted(self._guards.items())]
        return sha256(b"antiphon.guard_table.1" + canonical_bytes([self.protocol_name, rows])).hexdigest()


def build_guard_table(protocol: CompiledProtocol, *, modules: Collection[str] = ()) -> GuardTable:
    """Compile a protocol's annotations. O(transitions). Raises ``GuardTableRefused`` with every problem."""
    problems = check_annotations(protocol, modules=modules)
    if problems:
        raise GuardTableRefused(protocol.qualified_name, problems)
    guards: dict[MessageKey, MessageGuard] = {}
    for role, machine in protocol.fsm.items():
        for state in machine.states:
            for way in state.transitions:
                if way.kind != "send":
                    continue
                key = MessageKey(role, way.label, way.partner)
                found = FREE
                if way.annotations is not None:
                    found = MessageGuard.from_commands(guard_commands(way.annotations, role))
                    found = replace(found, leaks=_claims(way.annotations))
                other = guards.setdefault(key, found)
                # The same message in two places: what either asks for holds in both.
                guards[key] = other if other == found else _strictest(other, found)
    return GuardTable(protocol, guards)


def check_annotations(protocol: CompiledProtocol, *, modules: Collection[str] = ()) -> list[AnnotationProblem]:
    """Everything that is wrong with the names and numbers in a protocol's annotations."""
    tree = protocol.choreography
    own = {tree.namespace} if tree.namespace else set[str]()
    problems: list[AnnotationProblem] = []
    # What stands in quotes is one observer, whatever is inside the quotes.
    observers = {claim.observer for way in _sends(protocol) if way.annotations for claim in _claims(way.annotations)}
    for record in annotation_records(tree):
        line, column = record.span.line, record.span.column
        if record.key == "guard_capability":
            name = record.value if ":" in record.value else f"{tree.namespace}:{record.value}"
            try:
                # A protocol owns the root that it is named after, and that of the capability's own module.
                check_protocol_name(name, own_roots=own | {name.partition(":")[0]} - {"cap"}, modules=modules)
            except UnknownCapability as problem:
                problems.append(AnnotationProblem(line, column, str(problem)))
        elif record.key == "leak":
            names = [record.value] if record.value in observers else record.value.split(",")
            for observer in (each.strip(" ()") for each in names):
                if observer not in OBSERVERS:
                    text = f"{observer!r} is no class of observers; use one of {sorted(OBSERVERS)}"
                    problems.append(AnnotationProblem(line, column, text))
        elif record.key == "flow_cost" and int(record.value) > COST_MAX:
            text = f"a flow_cost of {record.value}; expected 0..{COST_MAX}"
            problems.append(AnnotationProblem(line, column, text))
    return problems


def _claims(annotations: MessageAnnotations) -> tuple[LeakClaim, ...]:
    observers = [observer for leak in annotations.leaks for observer in leak.observers]
    return tuple(LeakClaim(observer, LEAK_BITS_DEFAULT) for observer in observers)


def _sends(protocol: CompiledProtocol) -> Iterator[Transition]:
    for machine in protocol.fsm.values():
        for state in machine.states:
            yield from (way for way in state.transitions if way.kind == "send")


def message_keys(protocol: CompiledProtocol) -> list[MessageKey]:
    """Every message that some role can send."""
    found = {
        MessageKey(role, way.label, way.partner): None
        for role, machine in protocol.fsm.items()
        for state in machine.states
        for way in state.transitions
        if way.kind == "send"
    }
    return list(found)


def _strictest(first: MessageGuard, second: MessageGuard) -> MessageGuard:
    leaks = {claim.observer: claim for claim in (*first.leaks, *second.leaks)}
    return MessageGuard(
        tuple(dict.fromkeys((*first.capabilities, *second.capabilities))),
        max(first.cost, second.cost),
        tuple(leaks.values()),
        tuple(dict.fromkeys((*first.facts_after, *second.facts_after))),
        first.merges_journal or second.merges_journal,
        tuple(dict.fromkeys((*first.audit, *second.audit))),
        tuple(dict.fromkeys((*first.links, *second.links))),
    )
