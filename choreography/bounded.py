"""Bounded recursion: types that end, for those who must know that a session does.

A bound is put on a local type before it becomes a program or a machine, or on a global type before it is projected:
then every role stops at the same place, or projection says who could not know that it is over. Counts exchanges;
measures no time. Local actions are left out.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, overload

from . import core
from .core import GlobalType
from .local import (
    LocalBuilder,
    LocalNode,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalType,
    local_children_first,
    local_successors,
    without_actions,
)
from .semantics import WRITTEN_MAX, sequential


@overload
def with_fuel(root: LocalType, fuel: int) -> LocalType: ...
@overload
def with_fuel(root: GlobalType, fuel: int) -> GlobalType: ...
def with_fuel(root: LocalType | GlobalType, fuel: int) -> LocalType | GlobalType:
    """The type with at most `fuel` rounds of loops on any run, all loops together; what would go on then ends.

    With fuel 0 a loop is the end; a type without loops is unchanged. The result has no loops, counted ones are written
    out; costs O(size × fuel). Raises ValueError when `fuel` is negative or counted loops are too long for that.
    """
    if fuel < 0:
        raise ValueError(f"fuel is a number of rounds from 0, got {fuel}")
    if isinstance(root, LocalNode):
        longest = max((node.count for node in local_children_first(root) if isinstance(node, LocalRepeat)), default=0)
        _check_rounds(longest)
        return _Bounding(_Locals(root)).limited(fuel, is_rounds=True)
    return _Bounding(_Globals(root)).limited(fuel, is_rounds=True)


@overload
def with_actions_at_most(root: LocalType, actions: int) -> LocalType: ...
@overload
def with_actions_at_most(root: GlobalType, actions: int) -> GlobalType: ...
def with_actions_at_most(root: LocalType | GlobalType, actions: int) -> LocalType | GlobalType:
    """The type with at most `actions` exchanges on any run: where a caller would yield, it ends.

    Raises ValueError when `actions` is negative or, of a global type, counted loops are too long to be written out.
    """
    if actions < 0:
        raise ValueError(f"the number of exchanges is from 0, got {actions}")
    if isinstance(root, LocalNode):
        return _Bounding(_Locals(root)).limited(actions, is_rounds=False)
    return _Bounding(_Globals(root)).limited(actions, is_rounds=False)


@overload
def until_label(root: LocalType, label: str) -> LocalType: ...
@overload
def until_label(root: GlobalType, label: str) -> GlobalType: ...
def until_label(root: LocalType | GlobalType, label: str) -> LocalType | GlobalType:
    """The type that ends right after the first exchange of a label: where a caller would yield."""
    if isinstance(root, LocalNode):
        return _until(_Locals(root), label)
    return _until(_Globals(root), label)


def _check_rounds(rounds: int) -> None:
    if rounds > WRITTEN_MAX:
        raise ValueError(f"counted loops of more than {WRITTEN_MAX:,} rounds are not written out")


Kind = TypeVar("Kind")


class _Shape(Protocol[Kind]):
    """What bounding needs to know of a family of types."""

    root: Kind
    end: Kind

    def after(self, node: Kind) -> Sequence[Kind]:
        """The nodes directly after or inside a node."""

    def rebuilt(self, node: Kind, after: tuple[Kind, ...]) -> Kind:
        """The node leading elsewhere."""

    def opened(self, node: Kind) -> Kind | None:
        """A loop's first round, then the loop; None for what is none. The same object for the same loop."""

    def is_counted(self, node: Kind) -> bool:
        """Whether the node is a loop that ends by itself."""

    def labels(self, node: Kind) -> Sequence[str]:
        """What an exchange may carry, in the order of what follows; nothing for what is none."""


class _Locals:
    def __init__(self, root: LocalType) -> None:
        self._builder = LocalBuilder()
        self.root = self._builder.adopt(without_actions(root))
        self.end = self._builder.end
        self._rounds = 0

    def after(self, node: LocalType) -> Sequence[LocalType]:
        return local_successors(node)

    def rebuilt(self, node: LocalType, after: tuple[LocalType, ...]) -> LocalType:
        return self._builder.rebuilt(node, after)

    def opened(self, node: LocalType) -> LocalType | None:
        if isinstance(node, LocalRepeat):
            self._rounds += 1
            _check_rounds(self._rounds)
        return self._builder.unfold(node) if isinstance(node, LocalRec | LocalRepeat) else None

    def is_counted(self, node: LocalType) -> bool:
        return isinstance(node, LocalRepeat)

    def labels(self, node: LocalType) -> Sequence[str]:
        return [branch.label for branch in node.branches] if isinstance(node, LocalSend | LocalRecv) else ()


class _Globals:
    def __init__(self, root: GlobalType) -> None:
        self.root = sequential(root)
        self.end: GlobalType = core.End()
        self._opened: dict[int, GlobalType] = {}

    def after(self, node: GlobalType) -> Sequence[GlobalType]:
        return core.successors(node)

    def rebuilt(self, node: GlobalType, after: tuple[GlobalType, ...]) -> GlobalType:
        if isinstance(node, core.Rec) and node.name not in core.free_variables(after[0]):
            return after[0]
        return core.replace_successors(node, after)

    def opened(self, node: GlobalType) -> GlobalType | None:
        if not isinstance(node, core.Rec):
            return None
        if id(node) not in self._opened:
            self._opened[id(node)] = core.unfold(node)
        return self._opened[id(node)]

    def is_counted(self, node: GlobalType) -> bool:
        return False  # they are written out

    def labels(self, node: GlobalType) -> Sequence[str]:
        return [branch.label for branch in node.branches] if isinstance(node, core.Comm) else ()


def _until(shape: _Shape[Kind], label: str) -> Kind:
    changed: dict[int, Kind] = {}
    waiting = [shape.root]
    while waiting:
        node = waiting[-1]
        missing = [after for after in shape.after(node) if id(after) not in changed]
        if id(node) not in changed and missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        if id(node) not in changed:
            is_last = [seen == label for seen in shape.labels(node)]
            after = [changed[id(one)] for one in shape.after(node)]
            if is_last:
                after = [shape.end if last else one for last, one in zip(is_last, after, strict=True)]
            changed[id(node)] = shape.rebuilt(node, tuple(after))
    return changed[id(shape.root)]


class _Bounding(Generic[Kind]):
    """Unfolds closed types while there is fuel; each (part, fuel left) is made once."""

    def __init__(self, shape: _Shape[Kind]) -> None:
        self._shape = shape
        self._made: dict[tuple[int, int], Kind] = {}

    def limited(self, fuel: int, *, is_rounds: bool) -> Kind:
        """The root with that much fuel; spent on rounds of loops, or on exchanges."""
        shape = self._shape
        waiting: list[tuple[Kind, int]] = [(shape.root, fuel)]
        while waiting:
            node, left = waiting[-1]
            if (id(node), left) in self._made:
                waiting.pop()
                continue
            opened = shape.opened(node)
            is_loop = opened is not None and not shape.is_counted(node)
            below = left - (is_loop if is_rounds else bool(shape.labels(node)))
            if below < 0:
                self._made[id(node), left] = shape.end
                waiting.pop()
                continue
            needed = [opened] if opened is not None else list(shape.after(node))
            missing = [(one, below) for one in needed if (id(one), below) not in self._made]
            if missing:
                waiting.extend(missing)
                continue
            after = tuple(self._made[id(one), below] for one in needed)
            self._made[id(node), left] = after[0] if opened is not None else shape.rebuilt(node, after)
            waiting.pop()
        return self._made[id(shape.root), fuel]
