"""The annotations of a sender's record as typed data: what the guard chain of `runtime/` is handed for each message.

Evaluates no guard, charges no budget and writes no fact.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from . import ast
from .ast import Annotation, Dialect, value_text
from .dsl.diagnostics import did_you_mean, problem
from .errors import Problem
from .node import Node, Span

if TYPE_CHECKING:
    from .ast import Choreography


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


GuardKind: TypeAlias = Literal[
    "GuardCapability", "FlowCost", "JournalFacts", "JournalMerge", "AuditLog", "Leakage", "Link"
]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GuardCommand(Node):
    """One step of a sender's guard chain, as the annotations ask for it."""

    kind: GuardKind
    role: str
    value: str


class AnnotationRecord(NamedTuple):
    """One annotation with its place in the tree: the flat view that tools list.

    `place` is the path with `n` continuations in a row written `.continuation[n]`: the path of the last of ten thousand
    statements would be a text of its own, so it is made when it is asked for.
    """

    place: str
    node_kind: str
    scope: Literal["statement", "sender"]
    role: str
    peers: tuple[str, ...]
    key: str
    value: str
    span: Span

    @property
    def path(self) -> str:
        """`root`, then a word a step: `.continuation`, `.branch[L]`, `.timeout.on_cancel`, …; O(its length)."""
        return _CONTINUATIONS.sub(lambda found: ".continuation" * int(found[1]), self.place)


_CONTINUATIONS = re.compile(r"\.continuation\[(\d+)\]")
# What a message costs whose sender says something about guarding it, but not how much.
FLOW_COST_DEFAULT = 100
FLOW_COST_MAX = 2**64 - 1
# About the statement as a whole rather than its sender.
STATEMENT_KEYS = frozenset({"runtime_timeout", "parallel", "ordered", "min_responses", "retry", "idempotent", "trace"})
ACCEPTED_KEYS = frozenset(
    {
        *STATEMENT_KEYS,
        "timed_choice",
        "timeout_ms",
        "priority",
        "heartbeat",
        "required_capability",
    }
)
GUARD_KEYS = (
    "guard_capability",
    "flow_cost",
    "journal_facts",
    "journal_merge",
    "audit_log",
    "leak",
    "leakage_budget",
    "link",
)
_CAPABILITY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(?::[A-Za-z0-9_.*-]+)+")
_BARE_CAPABILITY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class ReadAnnotations(NamedTuple):
    """The typed form of a record (None when there is no record), and what was wrong with it."""

    annotations: MessageAnnotations | None
    problems: tuple[Problem, ...]


def read_annotations(
    annotations: Sequence[Annotation], *, namespace: str | None = None, dialect: Dialect = "layout"
) -> ReadAnnotations:
    """The typed form of a sender's record; never raises, O(annotations).

    In the brace dialect a capability without a namespace gets the protocol's, with a warning; in the layout dialect it
    is refused.
    """
    if not annotations:
        return ReadAnnotations(None, ())
    reader = _Reader(namespace, dialect)
    for annotation in annotations:
        reader.read(annotation)
    return ReadAnnotations(reader.result(), tuple(reader.problems))


class _Reader:
    def __init__(self, namespace: str | None, dialect: Dialect) -> None:
        self._namespace = namespace
        self._dialect = dialect
        self._capabilities: list[str] = []
        self._flow_cost: int | None = None
        self._facts: list[str] = []
        self._merge = False
        self._audit: list[str] = []
        self._leaks: list[Leak] = []
        self._budget: tuple[int, ...] | None = None
        self._links: list[BundleLink] = []
        self._timeout: int | None = None
        self._other: list[tuple[str, str]] = []
        self.problems: list[Problem] = []

    def read(self, annotation: Annotation) -> None:
        reader = _READERS.get(annotation.key)
        if reader is not None:
            reader(self, annotation)
        elif annotation.key in ACCEPTED_KEYS:
            self._other.append((annotation.key, value_text(annotation.value)))
        else:
            known = (*GUARD_KEYS, *sorted(ACCEPTED_KEYS))
            advice = did_you_mean(annotation.key, known, otherwise=f"the guarding ones are {', '.join(GUARD_KEYS)}")
            self.problems.append(problem("unknown_annotation", annotation.span, key=annotation.key, advice=advice))

    def result(self) -> MessageAnnotations:
        return MessageAnnotations(
            guard_capabilities=tuple(self._capabilities),
            flow_cost=self._flow_cost,
            journal_facts=tuple(self._facts),
            journal_merge=self._merge,
            audit_log=tuple(self._audit),
            leaks=tuple(self._leaks),
            leakage_budget=self._budget,
            links=tuple(self._links),
            runtime_timeout_ms=self._timeout,
            other=tuple(self._other),
        )

    def _refuse(self, annotation: Annotation, wanted: str, advice: str) -> None:
        seen = _shown(annotation.value)
        self.problems.append(
            problem(
                "malformed_annotation",
                annotation.value.span,
                key=annotation.key,
                wanted=wanted,
                seen=seen,
                advice=advice,
            )
        )

    def _capability(self, annotation: Annotation) -> None:
        name = annotation.value.text if isinstance(annotation.value, ast.TextValue) else ""
        if self._dialect == "brace" and self._namespace and _BARE_CAPABILITY.fullmatch(name):
            better = f"{self._namespace}:{name}"
            self.problems.append(
                problem("capability_without_namespace", annotation.value.span, seen=name, better=better)
            )
            name = better
        if not _CAPABILITY.fullmatch(name) or name.startswith("cap:"):
            advice = 'write it as "namespace:name", without commas; `cap:` is reserved'
            self._refuse(annotation, "one capability name in quotes", advice)
            return
        self._capabilities.append(name)

    def _cost(self, annotation: Annotation) -> None:
        value = annotation.value
        if self._flow_cost is not None:
            self.problems.append(problem("repeated_annotation", annotation.span, key=annotation.key))
        elif isinstance(value, ast.IntegerValue) and 0 <= value.number <= FLOW_COST_MAX:
            self._flow_cost = value.number
        else:
            self._refuse(annotation, "a non-negative 64-bit integer", "write a plain number, such as 50")

    def _text(self, annotation: Annotation, texts: list[str]) -> None:
        if isinstance(annotation.value, ast.TextValue) and annotation.value.text:
            texts.append(annotation.value.text)
        else:
            self._refuse(annotation, "a text", f'write `{annotation.key} : "…"`')

    def _journal_merge(self, annotation: Annotation) -> None:
        if isinstance(annotation.value, ast.BooleanValue):
            self._merge = annotation.value.truth
        else:
            self._refuse(annotation, "true or false", "write it without quotes")

    def _leak(self, annotation: Annotation) -> None:
        match annotation.value:
            case ast.TextValue(text=text) if text:
                self._leaks.append(Leak((text,)))  # one observer, whatever is inside the quotes
            case ast.GroupValue(items=items) if items and all(
                isinstance(item, ast.NameValue | ast.TextValue) for item in items
            ):
                self._leaks.append(Leak(tuple(value_text(item) for item in items)))
            case ast.NameValue(name=name):
                self._leaks.append(Leak((name,)))
            case _:
                self._refuse(annotation, "at least one observer", "write `leak : (External, Neighbor)`")

    def _leakage_budget(self, annotation: Annotation) -> None:
        value = annotation.value
        if isinstance(value, ast.ListValue) and value.items:
            numbers = [item.number for item in value.items if isinstance(item, ast.IntegerValue) and item.number >= 0]
            if len(numbers) == len(value.items):
                self._budget = tuple(numbers)
                return
        self._refuse(annotation, "a list of integers", "write `leakage_budget : [1, 2]`")

    def _link(self, annotation: Annotation) -> None:
        text = annotation.value.text if isinstance(annotation.value, ast.TextValue) else ""
        parts = dict.fromkeys(("bundle", "exports", "imports"), "")
        for part in re.split(r"[|;]", text):
            key, sign, value = (piece.strip() for piece in part.partition("="))
            if not sign or key not in parts or parts[key]:
                self._refuse(
                    annotation,
                    "a bundle and what crosses its boundary",
                    'write `link : "bundle=name|exports=a,b|imports=c"`, each key once',
                )
                return
            parts[key] = value
        if not parts["bundle"]:
            self._refuse(annotation, "a bundle and what crosses its boundary", 'write `link : "bundle=name"`')
            return
        self._links.append(BundleLink(parts["bundle"], _names(parts["exports"]), _names(parts["imports"])))

    def _runtime_timeout(self, annotation: Annotation) -> None:
        if isinstance(annotation.value, ast.DurationValue):
            self._timeout = annotation.value.milliseconds
        else:
            self._refuse(annotation, "a duration", "write a number and ms, s, m or h, such as 5s")


# Beside the class and not in each reader, where it would be a cycle for the garbage collector, once a message.
_READERS: dict[str, Callable[[_Reader, Annotation], None]] = {
    "guard_capability": _Reader._capability,
    "flow_cost": _Reader._cost,
    "journal_facts": lambda reader, item: reader._text(item, reader._facts),
    "journal_merge": _Reader._journal_merge,
    "audit_log": lambda reader, item: reader._text(item, reader._audit),
    "leak": _Reader._leak,
    "leakage_budget": _Reader._leakage_budget,
    "link": _Reader._link,
    "runtime_timeout": _Reader._runtime_timeout,
}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _shown(value: ast.AnnotationValue) -> str:
    text = value_text(value)
    short = text if len(text) <= 40 else f"{text[:37]}..."
    return f'"{short}"' if isinstance(value, ast.TextValue) else f"`{short}`" if short else "nothing"


def guard_commands(annotations: MessageAnnotations, role: str) -> tuple[GuardCommand, ...]:
    """The steps one send asks of its sender: capability, cost, journal, leakage, link, in the chain's order.

    A cost that is not written is `FLOW_COST_DEFAULT`, because a guarded message is never free; `journal_merge : false`
    and a leakage budget ask for nothing.
    """
    commands = [GuardCommand("GuardCapability", role, name) for name in annotations.guard_capabilities]
    cost = FLOW_COST_DEFAULT if annotations.flow_cost is None else annotations.flow_cost
    commands.append(GuardCommand("FlowCost", role, str(cost)))
    commands += [GuardCommand("JournalFacts", role, text) for text in annotations.journal_facts]
    if annotations.journal_merge:
        commands.append(GuardCommand("JournalMerge", role, "true"))
    commands += [GuardCommand("AuditLog", role, text) for text in annotations.audit_log]
    commands += [GuardCommand("Leakage", role, ",".join(leak.observers)) for leak in annotations.leaks]
    commands += [GuardCommand("Link", role, link.bundle) for link in annotations.links]
    return tuple(commands)


_KEY_KINDS: dict[str, GuardKind] = {
    "guard_capability": "GuardCapability",
    "flow_cost": "FlowCost",
    "journal_facts": "JournalFacts",
    "journal_merge": "JournalMerge",
    "audit_log": "AuditLog",
    "leak": "Leakage",
    "link": "Link",
}


def lower_annotations(tree: "Choreography") -> tuple[GuardCommand, ...]:
    """The guard commands of a whole protocol in written order: sends as they stand, keys as they stand in one sender.

    Calls are written out. A sender with a record and no `flow_cost` gets the default cost last; a sender without a
    record gets nothing.
    """
    commands: list[GuardCommand] = []
    for _, send in _annotated(tree):
        role = send.sender.name
        has_cost = any(item.key == "flow_cost" for item in send.annotations)
        for item in send.annotations:
            read = read_annotations((item,), namespace=tree.namespace, dialect=tree.dialect).annotations
            kind = _KEY_KINDS.get(item.key)
            if read is None or kind is None:
                continue
            commands += [command for command in guard_commands(read, role) if command.kind == kind]
        if not has_cost:
            commands.append(GuardCommand("FlowCost", role, str(FLOW_COST_DEFAULT)))
    return tuple(commands)


def annotation_records(tree: "Choreography") -> tuple[AnnotationRecord, ...]:
    """Every annotation with its path (`root`, `.continuation`, `.branch[L]`, `.body`, …), in document order.

    Calls are written out.
    """
    return tuple(
        AnnotationRecord(
            place=place,
            node_kind=type(send).__name__,
            scope="statement" if item.key in STATEMENT_KEYS else "sender",
            role=send.sender.name,
            peers=(send.receiver.name,) if isinstance(send, ast.Send) else ("*",),
            key=item.key,
            value=value_text(item.value),
            span=item.span,
        )
        for place, send in _annotated(tree)
        for item in send.annotations
    )


def _annotated(tree: "Choreography") -> Iterator[tuple[str, ast.Send | ast.Broadcast]]:
    """Every send with a record, with its place, in document order."""
    from .inline import inline  # lowering, which inlines, reads annotations

    body = (inline(tree).tree or tree).body
    pending: list[tuple[str, ast.Statement]] = _placed("root", body)
    while pending:
        path, statement = pending.pop()
        if isinstance(statement, ast.Send | ast.Broadcast):
            if statement.annotations:
                yield path, statement
            continue
        for block_path, block in reversed(_inner_paths(path, statement)):
            pending += _placed(block_path, block)


def _placed(path: str, block: ast.Block) -> list[tuple[str, ast.Statement]]:
    """A block's statements with their paths, last first; the nth is reached by n continuations."""
    steps = [path if place == 0 else f"{path}.continuation[{place}]" for place in range(len(block.items))]
    return list(zip(steps, block.items, strict=True))[::-1]


def _inner_paths(path: str, statement: ast.Statement) -> list[tuple[str, ast.Block]]:
    match statement:
        case ast.Choice(branches=branches):
            return [(f"{path}.branch[{branch.label}]", branch.body) for branch in branches]
        case ast.Case(branches=cases):
            return [(f"{path}.case[{branch.constructor}]", branch.body) for branch in cases]
        case ast.Parallel(branches=blocks):
            return [(f"{path}.parallel[{place}]", block) for place, block in enumerate(blocks)]
        case ast.Rec(label=label, body=body):
            return [(f"{path}.rec[{label}]", body)]
        case ast.Timeout(body=body, on_timeout=on_timeout, on_cancel=on_cancel):
            named = [("body", body), ("on_timeout", on_timeout), ("on_cancel", on_cancel)]
            return [(f"{path}.timeout.{name}", block) for name, block in named if block is not None]
        case _:
            return [(f"{path}.body", block) for block in ast.blocks_of(statement)]
