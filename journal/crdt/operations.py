"""States changed by operations: what an op-based type must give, and two that ship.

An operation is applied exactly once and after its causes (``cm.py`` sees to that), so it may say "add 3". Concurrent
ones must commute, which ``antiphon.testing.laws.check_operation_laws`` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, Self, TypeVar

from antiphon.facts.encoding import INTEGER_MAX, INTEGER_MIN

from ..causality import OperationId, read_dot
from ..lattice import Encodable, freeze, read_list, read_map, read_text

O = TypeVar("O")  # noqa: E741  # an operation


class OpState(Encodable, Protocol[O]):
    """A state that operations change."""

    def apply_operation(self, operation: O, operation_id: OperationId, /) -> Self:
        """The state after *operation*, whose id is unique for ever; concurrent operations commute."""
        ...

    def operation_to_data(self, operation: O, /) -> object:
        """An operation as JSON data; ``TypeError`` for what is no operation of this state."""
        ...

    def operation_from_data(self, data: object, /) -> O:
        """The operation that *data* spells; raises ``ValueError``."""
        ...


@dataclass(frozen=True, slots=True)
class OpCounter:
    """A sum; an operation is the integer to add.

    >>> OpCounter(5).apply_operation(-2, OperationId("ada", 1))
    OpCounter(value=3)
    """

    lattice_name: ClassVar[str] = "op_counter"
    value: int = 0

    def apply_operation(self, operation: int, operation_id: OperationId) -> OpCounter:
        """Add it."""
        return OpCounter(self.value + operation)

    def operation_to_data(self, operation: int) -> object:
        """The integer."""
        if type(operation) is not int:
            raise TypeError(f"an operation of an OpCounter is an integer, not {operation!r:.80}")
        return operation

    def operation_from_data(self, data: object) -> int:
        """Read what ``operation_to_data`` wrote."""
        if type(data) is not int or not INTEGER_MIN <= data <= INTEGER_MAX:
            raise ValueError(f"expected an integer of 64 bits, got {data!r:.80}")
        return data

    def to_data(self) -> object:
        """The sum, as text, since it may outgrow 64 bits."""
        return str(self.value)

    def from_data(self, data: object) -> OpCounter:
        """Read what ``to_data`` wrote."""
        return OpCounter(int(read_text(data)))


@dataclass(frozen=True, slots=True)
class SetOperation:
    """Add *item*, or remove the additions in *observed* (those its author had seen)."""

    verb: Literal["add", "remove"]
    item: str
    observed: frozenset[OperationId] = frozenset()


@dataclass(frozen=True, slots=True)
class OpSet:
    """A set by operations, in which adding wins over a concurrent remove.

    >>> shopping = OpSet().apply_operation(OpSet().adding("milk"), OperationId("ada", 1))
    >>> "milk" in shopping.apply_operation(shopping.removing("milk"), OperationId("ben", 1))
    False
    """

    lattice_name: ClassVar[str] = "op_set"
    entries: Mapping[str, frozenset[OperationId]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", freeze({item: frozenset(ids) for item, ids in self.entries.items() if ids}))

    @property
    def items(self) -> frozenset[str]:
        """What is in."""
        return frozenset(self.entries)

    def __contains__(self, item: str) -> bool:
        return item in self.entries

    def adding(self, item: str) -> SetOperation:
        """The operation that adds *item*."""
        return SetOperation("add", item)

    def removing(self, item: str) -> SetOperation:
        """The operation that removes what is seen of *item* here."""
        return SetOperation("remove", item, self.entries.get(item, frozenset()))

    def apply_operation(self, operation: SetOperation, operation_id: OperationId) -> OpSet:
        """Add a living id, or take the observed ones away."""
        ids = self.entries.get(operation.item, frozenset())
        after = ids | {operation_id} if operation.verb == "add" else ids - operation.observed
        return OpSet({**self.entries, operation.item: after})

    def operation_to_data(self, operation: SetOperation) -> object:
        """Verb, item and observed ids."""
        if not isinstance(operation, SetOperation):
            raise TypeError(f"an operation of an OpSet is a SetOperation, not {operation!r:.80}")
        observed = [list(dot) for dot in sorted(operation.observed)]
        return {"item": operation.item, "observed": observed, "verb": operation.verb}

    def operation_from_data(self, data: object) -> SetOperation:
        """Read what ``operation_to_data`` wrote."""
        parts = read_map(data)
        observed = frozenset(read_dot(dot) for dot in read_list(parts["observed"]))
        match parts["verb"]:
            case "add":
                return SetOperation("add", read_text(parts["item"]), observed)
            case "remove":
                return SetOperation("remove", read_text(parts["item"]), observed)
        raise ValueError(f"expected add or remove, got {parts['verb']!r:.80}")

    def to_data(self) -> object:
        """The living ids by item, sorted."""
        return {item: [list(dot) for dot in sorted(ids)] for item, ids in self.entries.items()}

    def from_data(self, data: object) -> OpSet:
        """Read what ``to_data`` wrote."""
        items = read_map(data).items()
        return OpSet({item: frozenset(read_dot(dot) for dot in read_list(dots)) for item, dots in items})
