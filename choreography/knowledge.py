"""Choice knowledge: who learns each choice of a protocol, by which message, and after how many.

Reads projections; judges nothing. A role that must act differently and never learns is a refusal of `project.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .core import Comm, GlobalType, nodes_below, participants
from .local import (
    LocalAct,
    LocalRec,
    LocalRecv,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
)
from .merge import MergeMode
from .node import JsonValue, Span
from .project import Projector

# chooser: decides · informed: is told by messages that differ · unconcerned: does the same whichever branch was taken ·
# waiting: may hear nothing of a branch that goes round, and then simply waits on · uninformed: cannot know and must.
# unknown: what follows the choice has no view for it.
Awareness: TypeAlias = Literal["chooser", "informed", "unconcerned", "waiting", "uninformed", "unknown"]


@dataclass(frozen=True, slots=True)
class Clue:
    """How a role tells one branch from the others: the first message that differs, after `after` equal exchanges.

    `labels` has more than one where that message is itself a choice.
    """

    branch: str
    sender: str
    labels: tuple[str, ...]
    after: int


@dataclass(frozen=True, slots=True)
class RoleKnowledge:
    """What one role knows of one choice."""

    role: str
    awareness: Awareness
    clues: tuple[Clue, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceKnowledge:
    """One choice: where, by whom, between what, and what everybody knows of it."""

    span: Span
    chooser: str
    receiver: str
    labels: tuple[str, ...]
    roles: tuple[RoleKnowledge, ...]

    def of(self, role: str) -> RoleKnowledge | None:
        """What that role knows."""
        return next((one for one in self.roles if one.role == role), None)

    def to_json(self) -> dict[str, JsonValue]:
        """Everything as data."""
        roles: list[JsonValue] = [
            {
                "role": one.role,
                "awareness": one.awareness,
                "clues": [
                    {"branch": clue.branch, "from": clue.sender, "labels": list(clue.labels), "after": clue.after}
                    for clue in one.clues
                ],
            }
            for one in self.roles
        ]
        return {
            "line": self.span.line,
            "chooser": self.chooser,
            "receiver": self.receiver,
            "labels": list(self.labels),
            "roles": roles,
        }


def choice_knowledge(
    root: GlobalType, roles: Sequence[str] | None = None, *, mode: MergeMode = "full+"
) -> tuple[ChoiceKnowledge, ...]:
    """Who learns what, for every message with several labels, in the order of the text.

    Costs about a projection. Example: in the relay of the reference, Bank learns of Hotel's choice by Charge or Void.
    """
    projector = Projector(root, mode=mode)
    everybody = tuple(roles) if roles is not None else participants(root)
    for role in everybody:
        projector.project(role)
    refused = frozenset((one.role, id(one.node)) for one in projector.refusals)
    choices = [node for node in nodes_below(root) if isinstance(node, Comm) and len(node.branches) > 1]
    known: list[ChoiceKnowledge] = []
    for choice in sorted(choices, key=lambda node: node.span.start):
        labels = tuple(branch.label for branch in choice.branches)
        found = tuple(_knowledge(projector, refused, choice, role) for role in everybody)
        known.append(ChoiceKnowledge(choice.span, choice.sender, choice.receiver, labels, found))
    return tuple(known)


def _knowledge(projector: Projector, refused: frozenset[tuple[str, int]], choice: Comm, role: str) -> RoleKnowledge:
    labels = [branch.label for branch in choice.branches]
    if role == choice.sender:
        return RoleKnowledge(role, "chooser")
    if role == choice.receiver:
        return RoleKnowledge(role, "informed", tuple(Clue(label, choice.sender, (label,), 0) for label in labels))
    views = [projector.view_of(role, branch.continuation) for branch in choice.branches]
    seen = [view for view in views if view is not None]
    if len(seen) < len(views):
        return RoleKnowledge(role, "unknown")
    clues = () if all(view == seen[0] for view in seen[1:]) else tuple(_clues(labels, seen))
    if (role, id(choice)) in refused:
        return RoleKnowledge(role, "uninformed", clues)
    if not clues:
        # Loops of different names may still be the same behaviour: without a message that differs, nothing does.
        return RoleKnowledge(role, "unconcerned")
    return RoleKnowledge(role, "waiting" if any(isinstance(view, LocalVar) for view in seen) else "informed", clues)


def _clues(labels: Sequence[str], views: Sequence[LocalType]) -> Iterator[Clue]:
    for number, label in enumerate(labels):
        others = [view for place, view in enumerate(views) if place != number]
        clue = _clue(label, views[number], others)
        if clue is not None:
            yield clue


def _clue(branch: str, view: LocalType, others: Sequence[LocalType]) -> Clue | None:
    """Down the exchanges that this branch has in common with others, to the first that none of the others has."""
    after = 0
    while True:
        view = _opened(view)
        if not isinstance(view, LocalSend | LocalRecv):
            return None
        rest: list[LocalType] = []
        first = view.branches[0]
        for other in map(_opened, others):
            if isinstance(other, LocalSend | LocalRecv) and (type(other), other.partner) == (type(view), view.partner):
                rest += [one.continuation for one in other.branches if one.label == first.label]
        if not rest:
            labels = tuple(one.label for one in view.branches)
            return Clue(branch, view.partner, labels, after) if isinstance(view, LocalRecv) else None
        view, others, after = first.continuation, rest, after + 1


def _opened(view: LocalType) -> LocalType:
    while isinstance(view, LocalRec | LocalTimeout | LocalAct):
        view = view.continuation if isinstance(view, LocalAct) else view.body
    return view


def knowledge_by_role(known: Sequence[ChoiceKnowledge]) -> Mapping[str, tuple[ChoiceKnowledge, ...]]:
    """For every role, the choices it is told of."""
    found: dict[str, list[ChoiceKnowledge]] = {}
    for choice in known:
        for one in choice.roles:
            if one.clues:
                found.setdefault(one.role, []).append(choice)
    return {role: tuple(choices) for role, choices in found.items()}
