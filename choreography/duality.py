"""Duality: the other end's view of a two-party protocol. Knows nothing of global types."""

from .local import (
    LocalBuilder,
    LocalRecv,
    LocalSend,
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
    builder = LocalBuilder()
    done: dict[int, LocalType] = {}
    for node in local_children_first(root):
        after = tuple(done[id(following)] for following in local_successors(node))
        match node:
            case LocalSend(partner=partner, branches=branches):
                done[id(node)] = builder.recv(partner, with_continuations(branches, after))
            case LocalRecv(partner=partner, branches=branches):
                done[id(node)] = builder.send(partner, with_continuations(branches, after))
            case _:
                done[id(node)] = builder.rebuilt(node, after, moved_tail(done, node))
    return done[id(root)]


def is_dual(left: LocalType, right: LocalType) -> bool:
    """Whether one is the other with sends and receives exchanged, up to names of loops and order of branches.

    Partners are not compared: `!B{x: end}` of A is dual to `?A{x: end}` of B.
    """
    return is_matching(left, right, is_dual=True)
