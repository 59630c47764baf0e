"""Bounded recursion: types that end, for those who must know that a session does.

A bound is put on a local type before it becomes a program or a machine. Counts exchanges; measures no time.
"""

from .local import (
    LocalBuilder,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalType,
    local_successors,
    without_actions,
)


def with_fuel(root: LocalType, fuel: int) -> LocalType:
    """The type with at most `fuel` rounds of loops on any run, all loops together; what would go on then ends.

    With fuel 0 a loop is the end; a type without loops is unchanged. The result has no loops; costs O(size × fuel).
    Raises ValueError when `fuel` is negative.
    """
    if fuel < 0:
        raise ValueError(f"fuel is a number of rounds from 0, got {fuel}")
    return _Bounding(root).limited(fuel, is_rounds=True)


def with_actions_at_most(root: LocalType, actions: int) -> LocalType:
    """The type with at most `actions` exchanges on any run: where a caller would yield, it ends.

    Raises ValueError when `actions` is negative.
    """
    if actions < 0:
        raise ValueError(f"the number of exchanges is from 0, got {actions}")
    return _Bounding(root).limited(actions, is_rounds=False)


def until_label(root: LocalType, label: str) -> LocalType:
    """The type that ends right after the first exchange of a label: where a caller would yield."""
    builder = LocalBuilder()
    adopted = builder.adopt(root)
    changed: dict[int, LocalType] = {}
    waiting = [adopted]
    while waiting:
        node = waiting[-1]
        if id(node) in changed:
            waiting.pop()
            continue
        missing = [after for after in local_successors(node) if id(after) not in changed]
        if missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        after = [changed[id(one)] for one in local_successors(node)]
        if isinstance(node, LocalSend | LocalRecv):
            ended = [branch.label == label for branch in node.branches]
            after = [builder.end if is_last else one for is_last, one in zip(ended, after, strict=True)]
        changed[id(node)] = builder.rebuilt(node, tuple(after))
    return changed[id(adopted)]


class _Bounding:
    """Unfolds closed types while there is fuel; each (part, fuel left) is made once."""

    def __init__(self, root: LocalType) -> None:
        self._builder = LocalBuilder()
        self._root = self._builder.adopt(without_actions(root))
        self._made: dict[tuple[int, int], LocalType] = {}

    def limited(self, fuel: int, *, is_rounds: bool) -> LocalType:
        """The root with that much fuel; spent on rounds of loops, or on exchanges."""
        builder = self._builder
        waiting: list[tuple[LocalType, int]] = [(self._root, fuel)]
        while waiting:
            node, left = waiting[-1]
            if (id(node), left) in self._made:
                waiting.pop()
                continue
            is_exchange = isinstance(node, LocalSend | LocalRecv)
            is_loop = isinstance(node, LocalRec)
            below = left - (is_loop if is_rounds else is_exchange)
            if below < 0:
                self._made[id(node), left] = builder.end
                waiting.pop()
                continue
            opened = builder.unfold(node) if isinstance(node, LocalRec | LocalRepeat) else None
            needed = [opened] if opened is not None else list(local_successors(node))
            missing = [(one, below) for one in needed if (id(one), below) not in self._made]
            if missing:
                waiting.extend(missing)
                continue
            after = tuple(self._made[id(one), below] for one in needed)
            self._made[id(node), left] = after[0] if opened is not None else builder.rebuilt(node, after)
            waiting.pop()
        return self._made[id(self._root), fuel]
