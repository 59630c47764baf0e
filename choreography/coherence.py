"""Well-formedness and coherence of a core global type: whether projection may rely on what it relies on.

Everything that is wrong is reported, not only the first. `validate.py` says the same of the text, with better words;
this is for types that were made by hand or by a program.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .core import Comm, GlobalType, Rec, Var, nodes_below, successors
from .merge import MergeMode
from .project import project_all

FormFault: TypeAlias = Literal["UnboundVariable", "EmptyBranches", "SelfSend", "UnguardedRecursion", "DuplicateLabel"]


@dataclass(frozen=True, slots=True)
class FormFinding:
    """One thing that is wrong with a global type: which rule, at which node, and the name it is about."""

    kind: FormFault
    node: GlobalType
    name: str


@dataclass(frozen=True, slots=True)
class Coherence:
    """The bundle of conditions; coherent when all hold.

    linear: no two messages compete for one channel (true of every core type, whose messages are ordered) ·
    size: no empty choice · action: nobody sends to itself · uniq_labels · projectable: every role has a view ·
    good: wherever it may be, the protocol can go on or is over.
    """

    linear: bool
    size: bool
    action: bool
    uniq_labels: bool
    projectable: bool
    good: bool

    @property
    def is_coherent(self) -> bool:
        """Whether all hold."""
        return all((self.linear, self.size, self.action, self.uniq_labels, self.projectable, self.good))


def form_findings(root: GlobalType) -> tuple[FormFinding, ...]:
    """Everything that keeps a global type from being well-formed; empty when it is. O(nodes) for closed types.

    Example: `form_findings(Comm("A", "A", (Branch("x", None, End()),)))` finds a SelfSend.
    """
    findings: list[FormFinding] = []
    for node in nodes_below(root):
        match node:
            case Comm(sender=sender, receiver=receiver, branches=branches):
                if not branches:
                    findings.append(FormFinding("EmptyBranches", node, sender))
                if sender == receiver:
                    findings.append(FormFinding("SelfSend", node, sender))
                labels = [branch.label for branch in branches]
                repeated = dict.fromkeys(label for label in labels if labels.count(label) > 1)
                findings += [FormFinding("DuplicateLabel", node, label) for label in repeated]
            case Rec(name=name) if _is_bare(node):
                findings.append(FormFinding("UnguardedRecursion", node, name))
            case _:
                pass
    return (*findings, *_unbound(root))


def _is_bare(loop: Rec) -> bool:
    """Whether the loop can be gone round without a message."""
    seen: set[int] = set()
    waiting: list[GlobalType] = [loop.body]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, Comm) or (isinstance(node, Rec) and node.name == loop.name):
            continue
        seen.add(id(node))
        if isinstance(node, Var) and node.name == loop.name:
            return True
        waiting.extend(successors(node))
    return False


def _unbound(root: GlobalType) -> list[FormFinding]:
    found: dict[str, FormFinding] = {}
    seen: set[tuple[int, frozenset[str]]] = set()
    waiting: list[tuple[GlobalType, frozenset[str]]] = [(root, frozenset())]
    names = frozenset(node.name for node in nodes_below(root) if isinstance(node, Var))
    while waiting:
        node, bound = waiting.pop()
        if (id(node), bound) in seen:
            continue
        seen.add((id(node), bound))
        if isinstance(node, Var) and node.name not in bound:
            found.setdefault(node.name, FormFinding("UnboundVariable", node, node.name))
        if isinstance(node, Rec) and node.name in names:
            bound |= {node.name}
        waiting.extend((after, bound) for after in successors(node))
    return list(found.values())


def coherence(root: GlobalType, *, mode: MergeMode = "full+") -> Coherence:
    """Which conditions hold; costs one projection of every role, and none when the type is not well-formed."""
    kinds = {finding.kind for finding in form_findings(root)}
    is_closed = not kinds & {"UnboundVariable", "UnguardedRecursion", "EmptyBranches"}
    return Coherence(
        linear=True,
        size="EmptyBranches" not in kinds,
        action="SelfSend" not in kinds,
        uniq_labels="DuplicateLabel" not in kinds,
        projectable=not kinds and project_all(root, mode=mode).is_projectable,
        good=is_closed,
    )
