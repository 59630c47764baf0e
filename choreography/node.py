"""What every tree node of the language shares: a span, structural equality, a readable form and lossless JSON.

Nothing here recurses: a tree may be a hundred blocks deep and a lowered protocol two thousand communications deep, and
Python's own dataclass equality, hash and repr give up at a few hundred. Knows no particular node.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, NamedTuple, Self, TypeAlias

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"


class Span(NamedTuple):
    """Where something stands in the original text; lines and columns count from 1, ends are exclusive.

    Columns and offsets count code points, a tab is one. `NO_SPAN` (all zeros) marks what was made, not read.
    """

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: "Span") -> "Span":
        """The span from the beginning of this one to the end of the other."""
        return Span(self.start, other.end, self.line, self.column, other.end_line, other.end_column)


NO_SPAN = Span(0, 0, 0, 0, 0, 0)

NodeField: TypeAlias = "bool | int | str | Node | tuple[NodeField, ...] | None"

_REGISTRY: dict[str, type["Node"]] = {}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Node:
    """A frozen tree node. Equality and hash are structural and leave spans out; both cost O(nodes).

    Fields hold only None, bool, int, str, nodes and tuples of these, which is what makes JSON lossless.
    """

    span: Span = field(default=NO_SPAN, kw_only=True, compare=False)

    # The namespace of node names in JSON: two families of nodes may share class names (ast.Timeout, core.Timeout).
    family: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        # dataclass(slots=True) makes a second class of the same name; the later one is the real one.
        _REGISTRY[f"{cls.family}{cls.__name__}"] = cls

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return is_same(self, other)

    def __hash__(self) -> int:
        return structural_hash(self)

    def __repr__(self) -> str:
        return readable(self)

    def to_json(self) -> dict[str, JsonValue]:
        """The node as JSON data, spans included; `from_json` gives back an equal node with equal spans.

        Example: `Continue("X").to_json()` is `{"node": "Continue", "label": "X"}`.
        """
        return encode(self)

    @classmethod
    def from_json(cls, data: Mapping[str, JsonValue]) -> Self:
        """The node that `to_json` wrote. Raises ValueError when `data` is not such a node."""
        node = decode(data)
        if not isinstance(node, cls):
            raise ValueError(f"expected a {cls.__name__}, got {type(node).__name__}")
        return node


# Reading dataclass fields is slow and their answer never changes, so it is kept per class.
_COMPARED: dict[type[Node], tuple[str, ...]] = {}
_STORED: dict[type[Node], tuple[str, ...]] = {}


def compared_fields(kind: type[Node]) -> tuple[str, ...]:
    """The fields of a node class that take part in equality, in order."""
    names = _COMPARED.get(kind)
    if names is None:
        names = _COMPARED[kind] = tuple(item.name for item in fields(kind) if item.compare)
    return names


def stored_fields(kind: type[Node]) -> tuple[str, ...]:
    """The fields of a node class that its constructor takes, in order, without the span."""
    names = _STORED.get(kind)
    if names is None:
        names = _STORED[kind] = tuple(item.name for item in fields(kind) if item.init and item.name != "span")
    return names


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node, in source order."""
    for name in stored_fields(type(node)):
        waiting: list[NodeField] = [getattr(node, name)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                waiting.extend(reversed(value))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first, in source order."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(list(children(current))))


def is_same(left: NodeField, right: NodeField) -> bool:
    """Structural equality; shared parts are compared once, so a graph costs its nodes and not its paths."""
    waiting: list[tuple[NodeField, NodeField]] = [(left, right)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        one, other = waiting.pop()
        if one is other:
            continue
        if isinstance(one, Node):
            if type(one) is not type(other):
                return False
            pair = (id(one), id(other))
            if pair not in seen:
                seen.add(pair)
                waiting.extend((getattr(one, name), getattr(other, name)) for name in compared_fields(type(one)))
        elif isinstance(one, tuple):
            if not isinstance(other, tuple) or len(one) != len(other):
                return False
            waiting.extend(zip(one, other, strict=True))
        elif type(one) is not type(other) or one != other:
            return False
    return True


def structural_hash(node: Node) -> int:
    """A hash that agrees with `is_same`; O(nodes) for trees."""
    parts: list[object] = []
    waiting: list[NodeField] = [node]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Node):
            parts.append(type(value).__name__)
            waiting.extend(getattr(value, name) for name in compared_fields(type(value)))
        elif isinstance(value, tuple):
            parts.append(len(value))
            waiting.extend(value)
        else:
            parts.append(value)
    return hash(tuple(parts))


def readable(node: Node) -> str:
    """A one-line constructor-like form without spans."""
    out: list[str] = []
    waiting: list[tuple[bool, NodeField]] = [(False, node)]  # (is text to emit, value)
    while waiting:
        is_text, value = waiting.pop()
        if is_text:
            out.append(str(value))
        elif isinstance(value, Node):
            pieces: list[tuple[bool, NodeField]] = [(True, f"{type(value).__name__}(")]
            for position, name in enumerate(compared_fields(type(value))):
                pieces += [(True, f"{', ' if position else ''}{name}="), (False, getattr(value, name))]
            waiting.extend(reversed([*pieces, (True, ")")]))
        elif isinstance(value, tuple):
            pieces = [(True, "(")]
            for position, item in enumerate(value):
                pieces += [(True, ", " if position else ""), (False, item)]
            waiting.extend(reversed([*pieces, (True, ",)" if len(value) == 1 else ")")]))
        else:
            out.append(repr(value))
    return "".join(out)


def encode(node: Node, *, references: Mapping[int, int] | None = None) -> dict[str, JsonValue]:
    """See `Node.to_json`. `references` maps the id of a node to the number it is written as, wherever it is met."""
    numbers = references or {}
    top: list[JsonValue] = [None]
    # Each entry: a value and the place to put its JSON.
    waiting: list[tuple[NodeField, Callable[[JsonValue], None]]] = [(node, _slot(top, 0))]
    while waiting:
        value, put = waiting.pop()
        if isinstance(value, Node) and value is not node and id(value) in numbers:
            put({"reference": numbers[id(value)]})
        elif isinstance(value, Node):
            shown: dict[str, JsonValue] = {"node": f"{value.family}{type(value).__name__}"}
            if value.span != NO_SPAN:
                shown["span"] = list(value.span)
            put(shown)
            for name in stored_fields(type(value)):
                shown[name] = None
                waiting.append((getattr(value, name), _key(shown, name)))
        elif isinstance(value, tuple):
            items: list[JsonValue] = [None] * len(value)
            put(items)
            waiting.extend((item, _slot(items, position)) for position, item in enumerate(value))
        else:
            put(value)
    result = top[0]
    assert isinstance(result, dict), "a node is written as an object"
    return result


def _slot(items: list[JsonValue], position: int) -> Callable[[JsonValue], None]:
    def put(value: JsonValue) -> None:
        items[position] = value

    return put


def _key(shown: dict[str, JsonValue], name: str) -> Callable[[JsonValue], None]:
    def put(value: JsonValue) -> None:
        shown[name] = value

    return put


def decode(data: Mapping[str, JsonValue], *, referred: Sequence[Node] = ()) -> Node:
    """See `Node.from_json`. `referred` holds the nodes that `{"reference": number}` stands for."""
    order: list[tuple[str, JsonValue, int]] = []  # what to build, parents first
    waiting: list[JsonValue] = [dict(data)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and set(value) == {"reference"}:
            order.append(("reference", value["reference"], 0))
        elif isinstance(value, dict):
            kind = _kind_of(value)
            names = stored_fields(kind)
            unknown = set(value) - set(names) - {"node", "span"}
            if unknown or not set(names) <= set(value):
                raise ValueError(f"a {kind.__name__} has the fields {list(names)}, got {sorted(value)}")
            order.append(("node", value, len(names)))
            waiting.extend(value[name] for name in names)
        elif isinstance(value, list):
            order.append(("tuple", None, len(value)))
            waiting.extend(value)
        else:
            order.append(("atom", value, 0))
    built: list[NodeField] = []
    for form, value, arity in reversed(order):
        parts = [built.pop() for _ in range(arity)][::-1]
        if form == "atom":
            assert not isinstance(value, list | dict), "containers were taken apart above"
            built.append(value)
        elif form == "tuple":
            built.append(tuple(parts))
        elif form == "reference":
            if not isinstance(value, int) or not 0 <= value < len(referred):
                raise ValueError(f"a reference is a number below {len(referred)}, got {value!r}")
            built.append(referred[value])
        else:
            assert isinstance(value, dict), "only objects become nodes"
            built.append(_build(_kind_of(value), parts, value.get("span")))
    node = built[0]
    assert isinstance(node, Node), "the outermost value is an object"
    return node


def _kind_of(value: Mapping[str, JsonValue]) -> type[Node]:
    kind = _REGISTRY.get(str(value.get("node")))
    if kind is None:
        raise ValueError(f"expected an object with a known 'node', got {value.get('node')!r}")
    return kind


def _build(kind: type[Node], parts: list[NodeField], span: JsonValue) -> Node:
    node = kind(**dict(zip(stored_fields(kind), parts, strict=True)))  # type: ignore[arg-type]  # the names come from the class itself
    if span is None:
        return node
    if not isinstance(span, list) or len(span) != 6 or not all(isinstance(number, int) for number in span):
        raise ValueError(f"a span is six integers, got {span!r}")
    object.__setattr__(node, "span", Span(*span))  # type: ignore[arg-type]  # checked on the line above
    return node
