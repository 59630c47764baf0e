"""Duality: the other end's view of a two-party protocol. Knows nothing of global types."""

from dataclasses import replace

from .local import (
    LocalAct,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    is_matching,
    local_children_first,
    local_successors,
    moved_tail,
    with_continuations,
)


def dual(root: LocalType) -> LocalType:
    """Sends and receives exchanged; partner, labels and order kept. `dual(dual(t)) == t`. O(nodes).

    Example: the dual of `!B{go: end}` is `?B{go: end}`.
    """
    done: dict[int, LocalType] = {}
    for node in local_children_first(root):
        after = tuple(done[id(following)] for following in local_successors(node))
        done[id(node)] = _turned(node, after, moved_tail(done, node))
    return done[id(root)]


def _turned(node: LocalType, after: tuple[LocalType, ...], tail: LocalType | None) -> LocalType:
    match node:
        case LocalSend(partner=partner, branches=branches):
            return LocalRecv(partner, with_continuations(branches, after))
        case LocalRecv(partner=partner, branches=branches):
            return LocalSend(partner, with_continuations(branches, after))
        case LocalRec():
            return LocalRec(node.name, after[0])
        case LocalTimeout():
            on_cancel = after[2] if len(after) == 3 else None
            return replace(node, body=after[0], on_timeout=after[1], on_cancel=on_cancel, tail=tail)
        case LocalRepeat():
            return LocalRepeat(node.count, after[0], after[1])
        case LocalAct():
            return LocalAct(node.action, after[0])
        case _:
            return node


def is_dual(left: LocalType, right: LocalType) -> bool:
    """Whether one is the other with sends and receives exchanged, up to names of loops and order of branches.

    Partners are not compared: `!B{x: end}` of A is dual to `?A{x: end}` of B.
    """
    return is_matching(left, right, is_dual=True)
