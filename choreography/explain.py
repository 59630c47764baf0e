"""A protocol explained: what each statement became, who knows what when, and what every role does, as text.

Everything shown is computed elsewhere; same protocol, same text.
"""

from collections.abc import Iterator

from .compiled import Checked
from .knowledge import ChoiceKnowledge, RoleKnowledge, choice_knowledge
from .local import show_local, written_size
from .lower import explain_lowering
from .merge import MergeMode
from .node import NO_SPAN
from .validate import tier_of

# A local type that writes out longer than this is told by its size.
SHOWN_SIZE_MAX = 2_000


def explain_protocol(checked: Checked, *, mode: MergeMode = "full+") -> str:
    """The explanation of a checked protocol: lowering, choices, roles, refusals. Costs about two projections.

    Example: `explain_protocol(check_text(text))`.
    """
    tree = checked.choreography
    if tree is None:
        return "there is no protocol to explain\n"
    tier = tier_of(checked.concrete or tree)
    lines = [f"protocol {tree.qualified_name}", f"roles    {', '.join(checked.roles)}"]
    lines += [f"tier     {'proof_only' if checked.refusals else tier.tier}"]
    lines += [f"         {reason.message}" for reason in tier.reasons]
    lines += [f"         {refusal.role} has no view of it" for refusal in checked.refusals]
    lines += ["", "lowering", *explain_lowering(checked.concrete or tree).splitlines()]
    if checked.global_type is not None:
        lines += [
            "",
            "who learns each choice",
            *_choices(choice_knowledge(checked.global_type, checked.roles, mode=mode)),
        ]
    lines += ["", "what each role does", *_views(checked)]
    lines += [line for refusal in checked.refusals for line in ("", *str(refusal).splitlines())]
    lines += [f"not projectable: {obstacle.message}" for obstacle in checked.obstacles]
    return "\n".join(lines).rstrip() + "\n"


def _choices(known: tuple[ChoiceKnowledge, ...]) -> Iterator[str]:
    if not known:
        yield "  there is no choice"
    for choice in known:
        place = f"line {choice.span.line}: " if choice.span != NO_SPAN else ""
        yield f"  {place}{choice.chooser} chooses {' or '.join(choice.labels)} and tells {choice.receiver}"
        for one in choice.roles:
            if one.role not in (choice.chooser, choice.receiver):
                yield f"    {one.role} {_awareness(one)}"


def _awareness(one: RoleKnowledge) -> str:
    told = "; ".join(
        f"{clue.branch} by {' or '.join(clue.labels)} from {clue.sender}"
        + (f" after {clue.after} message{'s' if clue.after > 1 else ''} in common" if clue.after else "")
        for clue in one.clues
    )
    match one.awareness:
        case "informed":
            return f"learns {told}"
        case "waiting":
            return f"waits through the rounds and learns {told}"
        case "unconcerned":
            return "does the same either way"
        case "uninformed":
            return f"is not told{f', although it learns {told}' if told else ''}"
        case _:
            return "has no view of what follows"


def _views(checked: Checked) -> Iterator[str]:
    if checked.projections is None:
        return
    width = max((len(role) for role in checked.roles), default=0)
    for role, view in checked.projections.local.items():
        size = written_size(view)
        shown = show_local(view) if size <= SHOWN_SIZE_MAX else f"(a local type of {size:,} nodes)"
        yield f"  {role:<{width}}  {shown}"
