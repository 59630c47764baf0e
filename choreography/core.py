"""The core global type: the only thing that is projected, and exactly what `lower.py` turns a choreography into.

    GlobalType = End
               | Var(name)                                      back to the Rec of that name
               | Rec(name, body)
               | Comm(sender, receiver, branches)               one message; branches are the labels it may carry
               | Parallel(branches, continuation)               every branch ends in End; then the continuation
               | Timeout(owner, milliseconds, body, on_timeout, on_cancel)
               | Repeat(count, body, continuation)              a counted loop too long to unroll
               | Local(actor, action, continuation)             sends nothing: let, publish, materialize, handoff, …
               | Custom(statement, continuation)                a registered extension's statement

What projection may rely on:

- Participants are plain strings: `Guest`, or `W[0]` for an instance of a family. Families are gone (`roles.bind`).
- A plain message is a Comm with one branch. In a branch `label` travels; it is the message's name, or the choice's own
  label (then `message` and `payload` are None and the message follows as a Comm of its own), or `Done`.
- Whatever followed a choice, case, rec, loop or timeout in the text has been appended to every branch of it that can
  finish, never to one that continues. So only Parallel, Repeat, Local and Custom carry a continuation besides Comm.
- Continuations are *shared*: a core type is a graph. After twenty choices in a row it has some sixty nodes and a
  million paths, so memoise by node (hash is O(1), equality is O(nodes)), and never walk it as a tree.
- It is as deep as the protocol is long (2,000 statements are 2,000 levels): do not recurse without a stack of your own.
- Names of Rec are unique in one lowered type; `Loop1`, `Loop2`, … are loops, in source order.
- Guards and annotations belong to the sender of the branch and do not influence projection; they do take part in
  equality, because a projection that is remembered by content must carry the right ones. Spans do not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self, TypeAlias

from .annotations import MessageAnnotations
from .ast import Extension, Guard, Message, Statement
from .node import JsonValue, Node, compared_fields, decode, encode, is_same

ValueKind: TypeAlias = Literal["unit", "bool", "nat", "string", "product", "named"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CoreNode(Node):
    """A core node: immutable, hashed once when made (O(children)), compared by structure without spans."""

    content_hash: int = field(init=False, compare=False)

    family: ClassVar[str] = "core."

    def __post_init__(self) -> None:
        kind = type(self)
        parts = (kind.__name__, *(getattr(self, name) for name in compared_fields(kind)))
        object.__setattr__(self, "content_hash", hash(parts))

    def __hash__(self) -> int:
        return self.content_hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, CoreNode):
            return NotImplemented
        return self.content_hash == other.content_hash and is_same(self, other)

    def to_json(self) -> dict[str, JsonValue]:
        """The graph as a flat table, each node once and referred to by number: linear, and as shallow as one node."""
        order: list[GlobalType] = children_first(self) if isinstance(self, _GLOBAL) else []
        numbers = {id(node): position for position, node in enumerate(order)}
        nodes: list[JsonValue] = [encode(node, references=numbers) for node in order]
        return {"nodes": nodes} if order else encode(self)

    @classmethod
    def from_json(cls, data: Mapping[str, JsonValue]) -> Self:
        """The node that `to_json` wrote, shared parts shared again. Raises ValueError on anything else."""
        nodes = data.get("nodes", [dict(data)])
        if not isinstance(nodes, list) or not nodes:
            raise ValueError("expected an object with a non-empty list 'nodes'")
        built: list[Node] = []
        for shown in nodes:
            if not isinstance(shown, dict):
                raise ValueError(f"expected a list of nodes, got {shown!r}")
            built.append(decode(shown, referred=built))
        node = built[-1]
        if not isinstance(node, cls):
            raise ValueError(f"expected a {cls.__name__}, got {type(node).__name__}")
        return node


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ValueType(CoreNode):
    """What a label carries. `name` tells named and product types apart; `text` is the canonical source form.

    `u8 … u64`, `usize` and `nat` are all `nat`, so they merge; `text` keeps which it was and is not compared.
    """

    kind: ValueKind
    name: str | None = None
    text: str = field(default="", compare=False)


_SORTS: Mapping[str, ValueKind] = {
    **dict.fromkeys(("u8", "u16", "u32", "u64", "usize", "nat"), "nat"),
    **dict.fromkeys(("String", "str", "string"), "string"),
    "bool": "bool",
    "Unit": "unit",
}
# How a sort is written when nobody kept how it was.
SORT_NAMES: Mapping[ValueKind, str] = {"nat": "nat", "string": "string", "bool": "bool", "unit": "Unit"}


def value_type_of(text: str) -> ValueType:
    """The value type that a canonical source text means; whoever has only the text gets what lowering got.

    A payload's fields stand in parentheses, which no name of a type has. Example: `u32` is a `nat`.
    """
    sort = _SORTS.get(text)
    if sort is not None:
        return ValueType(sort, None, text)
    return ValueType("product" if "(" in text or text.startswith("{") else "named", text, text)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class End(CoreNode):
    """Nothing more happens."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Var(CoreNode):
    """Go back to the Rec of this name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rec(CoreNode):
    """A loop head."""

    name: str
    body: "GlobalType"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Branch(CoreNode):
    """One label a Comm may carry, what it carries, and what happens then.

    `guard`: the chooser may take this branch only when it holds. `outcome`: the constructor of the `case` the branch
    came from. `condition`: the text of a `loop while`, on the branch that goes on. `before`: local actions of the
    sender between taking this branch and sending its label.
    """

    label: str
    payload: ValueType | None
    continuation: "GlobalType"
    message: Message | None = None
    annotations: MessageAnnotations | None = None
    guard: Guard | None = None
    outcome: str | None = None
    condition: str | None = None
    before: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comm(CoreNode):
    """`sender` sends `receiver` one of the labels; with several branches the sender chooses."""

    sender: str
    receiver: str
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Parallel(CoreNode):
    """All branches, interleaved; when every one has ended, the continuation."""

    branches: "tuple[GlobalType, ...]"
    continuation: "GlobalType"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Timeout(CoreNode):
    """`body` unless the owner's clock fires first (then `on_timeout`) or the owner cancels (then `on_cancel`).

    What follows a timeout hangs below its parts, so `participants` says which roles act in the parts themselves, and
    `after` where that begins; None lets projection find out by what can be reached from two parts.
    """

    owner: str
    milliseconds: int
    body: "GlobalType"
    on_timeout: "GlobalType"
    on_cancel: "GlobalType | None" = None
    participants: tuple[str, ...] | None = None
    after: "GlobalType | None" = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Repeat(CoreNode):
    """`body`, which ends in End, `count` times, then the continuation."""

    count: int
    body: "GlobalType"
    continuation: "GlobalType"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Local(CoreNode):
    """An action that sends nothing, and whose it is: of the role that bound what it uses, else of the one that sends

    next, else of the one that sent last; None when nobody ever sends.
    """

    actor: str | None
    action: Statement
    continuation: "GlobalType"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Custom(CoreNode):
    """A statement of a registered extension; its `roles` are the participants it mentions (none means all)."""

    statement: Extension
    continuation: "GlobalType"


# What may stand wherever a protocol goes on; the table at the top of this module says what each means.
GlobalType: TypeAlias = End | Var | Rec | Comm | Parallel | Timeout | Repeat | Local | Custom


# The members of GlobalType as isinstance wants them.
_GLOBAL = (End, Var, Rec, Comm, Parallel, Timeout, Repeat, Local, Custom)


def successors(node: GlobalType) -> tuple[GlobalType, ...]:
    """The core nodes directly after or inside a node, in order."""
    match node:
        case Comm(branches=branches):
            return tuple(branch.continuation for branch in branches)
        case Rec(body=body):
            return (body,)
        case Parallel(branches=parts, continuation=after):
            return (*parts, after)
        case Timeout(body=body, on_timeout=on_timeout, on_cancel=on_cancel):
            return (body, on_timeout) if on_cancel is None else (body, on_timeout, on_cancel)
        case Repeat(body=body, continuation=after):
            return (body, after)
        case Local(continuation=after) | Custom(continuation=after):
            return (after,)
        case _:
            return ()


def nodes_below(root: GlobalType) -> Iterator[GlobalType]:
    """Every core node of the graph once, parents before children on some path; O(nodes)."""
    seen: set[int] = set()
    waiting: list[GlobalType] = [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting.extend(reversed(successors(node)))


def children_first(root: GlobalType) -> list[GlobalType]:
    """Every core node of the graph once, each after all it leads to; the order in which to compute bottom-up."""
    order: list[GlobalType] = []
    seen: set[int] = set()
    waiting: list[tuple[bool, GlobalType]] = [(False, root)]
    while waiting:
        is_done, node = waiting.pop()
        if is_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((True, node))
            waiting.extend((False, following) for following in reversed(successors(node)))
    return order


def participants(root: GlobalType) -> tuple[str, ...]:
    """The roles that communicate, in order of first appearance."""
    found: dict[str, None] = {}
    for node in nodes_below(root):
        if isinstance(node, Comm):
            found.setdefault(node.sender)
            found.setdefault(node.receiver)
        elif isinstance(node, Timeout):
            found.setdefault(node.owner)
    return tuple(found)


def participants_before(roots: Iterable[GlobalType], end: GlobalType) -> tuple[str, ...]:
    """The roles that communicate or act on the ways from some nodes to another, sorted; O(nodes in between)."""
    found: set[str] = set()
    seen = {id(end)}
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        match node:
            case Comm():
                found |= {node.sender, node.receiver}
            case Timeout(owner=owner):
                found.add(owner)
            case Local(actor=str() as actor):
                found.add(actor)
            case Custom(statement=statement):
                found.update(statement.roles)
        waiting.extend(successors(node))
    return tuple(sorted(found))


def free_variables(root: GlobalType) -> frozenset[str]:
    """The names of Var that no Rec around them binds; O(nodes × names)."""
    free: dict[int, frozenset[str]] = {}
    for node in children_first(root):
        below = frozenset[str]().union(*(free[id(following)] for following in successors(node)))
        if isinstance(node, Var):
            below = frozenset({node.name})
        elif isinstance(node, Rec):
            below -= {node.name}
        free[id(node)] = below
    return free[id(root)]


def depth(root: GlobalType) -> int:
    """The most communications on one path, a loop taken once."""
    depths: dict[int, int] = {}
    for node in children_first(root):
        below = max((depths[id(following)] for following in successors(node)), default=0)
        depths[id(node)] = below + isinstance(node, Comm)
    return depths[id(root)]


def size(root: GlobalType) -> int:
    """The number of distinct nodes of the graph."""
    return sum(1 for _ in nodes_below(root))


def replace_successors(node: GlobalType, after: tuple[GlobalType, ...]) -> GlobalType:
    """The same node leading elsewhere; `after` has the shape of `successors(node)`. Itself when nothing changes."""
    if all(old is new for old, new in zip(successors(node), after, strict=True)):
        return node
    match node:
        case Comm():
            branches = tuple(
                Branch(
                    branch.label,
                    branch.payload,
                    following,
                    branch.message,
                    branch.annotations,
                    branch.guard,
                    branch.outcome,
                    branch.condition,
                    branch.before,
                    span=branch.span,
                )
                for branch, following in zip(node.branches, after, strict=True)
            )
            return Comm(node.sender, node.receiver, branches, span=node.span)
        case Rec():
            return Rec(node.name, after[0], span=node.span)
        case Parallel():
            return Parallel(after[:-1], after[-1], span=node.span)
        case Timeout():
            on_cancel = after[2] if len(after) == 3 else None
            return Timeout(
                node.owner, node.milliseconds, after[0], after[1], on_cancel, node.participants, span=node.span
            )
        case Repeat():
            return Repeat(node.count, after[0], after[1], span=node.span)
        case Local():
            return Local(node.actor, node.action, after[0], span=node.span)
        case Custom():
            return Custom(node.statement, after[0], span=node.span)
        case _:
            return node


def substitute(root: GlobalType, name: str, replacement: GlobalType) -> GlobalType:
    """`root` with every free Var of that name replaced; the replacement must not have free names bound in `root`."""
    done: dict[int, GlobalType] = {}
    for node in children_first(root):
        if isinstance(node, Var) and node.name == name:
            done[id(node)] = replacement
        elif isinstance(node, Rec) and node.name == name:
            done[id(node)] = node
        else:
            done[id(node)] = replace_successors(node, tuple(done[id(following)] for following in successors(node)))
    return done[id(root)]


def unfold(root: GlobalType) -> GlobalType:
    """One step: the body of an outermost Rec with the Rec itself in place of its Var; anything else unchanged."""
    return substitute(root.body, root.name, root) if isinstance(root, Rec) else root


def exchange_json(root: GlobalType) -> dict[str, JsonValue]:
    """The nested exchange form: `{"kind": "comm", "sender", "receiver", "branches": [{"label", "continuation"}]}`, ….

    Shared continuations become shared Python objects, so making it is O(nodes); writing it out is O(paths).
    """
    shown: dict[int, dict[str, JsonValue]] = {}
    for node in children_first(root):
        after = [shown[id(following)] for following in successors(node)]
        shown[id(node)] = _exchange_node(node, after)
    return shown[id(root)]


def _exchange_node(node: GlobalType, after: list[dict[str, JsonValue]]) -> dict[str, JsonValue]:
    match node:
        case End():
            return {"kind": "end"}
        case Var(name=name):
            return {"kind": "var", "name": name}
        case Rec(name=name):
            return {"kind": "rec", "var": name, "body": after[0]}
        case Comm():
            branches: list[JsonValue] = [
                {"label": {"name": branch.label, "sort": "unit"}, "continuation": following}
                for branch, following in zip(node.branches, after, strict=True)
            ]
            return {"kind": "comm", "sender": node.sender, "receiver": node.receiver, "branches": branches}
        case Parallel():
            return {"kind": "parallel", "branches": [*after[:-1]], "continuation": after[-1]}
        case Timeout():
            return {
                "kind": "timeout",
                "role": node.owner,
                "after_ms": node.milliseconds,
                "body": after[0],
                "on_timeout": after[1],
                "on_cancel": after[2] if len(after) == 3 else None,
            }
        case Repeat(count=count):
            return {"kind": "repeat", "count": count, "body": after[0], "continuation": after[1]}
        case Local(actor=actor, action=action):
            return {"kind": "local", "role": actor, "action": action.to_json(), "continuation": after[0]}
        case Custom(statement=statement):
            return {"kind": "extension", "keyword": statement.keyword, "raw": statement.raw, "continuation": after[0]}


__all__ = [
    "Branch",
    "Comm",
    "CoreNode",
    "Custom",
    "End",
    "GlobalType",
    "Local",
    "Parallel",
    "Rec",
    "Repeat",
    "Timeout",
    "ValueKind",
    "ValueType",
    "Var",
    "children_first",
    "depth",
    "exchange_json",
    "free_variables",
    "nodes_below",
    "participants",
    "participants_before",
    "replace_successors",
    "size",
    "substitute",
    "successors",
    "unfold",
]
