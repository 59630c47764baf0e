"""Loops with messages that one role goes round without waiting for anybody: only its own clocks are in them for it.

The owner of a timed part waits for nobody's word about how it ended. Where it neither sends nor receives in the part,
it is done at once, and round a loop of such parts it runs on the spot. Judges views; knows no places in a text.
"""

from collections.abc import Mapping

from .local import (
    LocalAct,
    LocalEnd,
    LocalRec,
    LocalRepeat,
    LocalTimeout,
    LocalType,
    LocalVar,
    local_children_first,
    local_successors,
)

# Where a stretch without exchanges leads: the name of a loop, or "" for the end; and whether it has an own timed part.
_Ways = Mapping[str, bool]
_NOWHERE: _Ways = {}
_END = ""


def idle_loops(view: LocalType, role: str) -> tuple[str, ...]:
    """The loops of a view that its role can go round with nothing but timed parts of its own, innermost first.

    What waits: a message; a timed part of somebody else, whose owner says when it is over; and an own clock until it
    fires or is cancelled.
    Cost: O(nodes), times the loops that are open at each.
    """
    ways: dict[int, _Ways] = {}
    found: dict[str, None] = {}
    for node in local_children_first(view):
        here = _ways(node, role, [ways[id(after)] for after in local_successors(node)])
        if isinstance(node, LocalRec):
            if here.get(node.name):
                found[node.name] = None
            here = {name: is_timed for name, is_timed in here.items() if name != node.name}
        ways[id(node)] = here
    return tuple(found)


def _ways(node: LocalType, role: str, below: list[_Ways]) -> _Ways:
    match node:
        case LocalEnd():
            return {_END: False}
        case LocalVar(name=name):
            return {name: False}
        case LocalRec() | LocalAct():
            return below[0]
        case LocalTimeout(owner=owner) if owner == role:
            return dict.fromkeys(below[0], True)
        case LocalRepeat():
            body, after = below
            if _END not in body:
                return _NOWHERE
            # No body goes back to a loop around its rounds, so all that leads out of it is its end.
            return {name: is_timed or body[_END] for name, is_timed in after.items()}
        case _:
            return _NOWHERE
