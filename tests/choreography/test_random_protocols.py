"""Random protocols: whatever projects never gets stuck, and its roles together do what the protocol says, no more."""

from collections import deque

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from antiphon.choreography.core import Branch, Comm, End, GlobalType, Parallel, Rec, Repeat, Var, participants
from antiphon.choreography.duality import is_dual
from antiphon.choreography.exploring import explore
from antiphon.choreography.merge import MergeMode
from antiphon.choreography.project import project_all
from antiphon.choreography.refusal import explain_refusals
from antiphon.choreography.semantics import LocalSystem, global_moves, global_step, sequential
from antiphon.choreography.subtyping import is_subtype

ROLES = ("A", "B", "C", "D")
PAIRS = st.permutations(ROLES).map(lambda roles: (roles[0], roles[1]))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@st.composite
def any_protocol(draw: st.DrawFn) -> GlobalType:
    """Messages, choices, loops, par and counted loops in any arrangement; many of them cannot be projected."""
    return draw(_any((), 0))


def _any(loops: tuple[str, ...], level: int) -> st.SearchStrategy[GlobalType]:
    return st.deferred(lambda: _composed(loops, level))


@st.composite
def _composed(draw: st.DrawFn, loops: tuple[str, ...], level: int) -> GlobalType:
    kinds = (
        ["end", "end"]
        if level >= 5
        else ["end", "message", "message", "message", "choice", "choice", "loop", "par", "repeat"]
    )
    kind = draw(st.sampled_from(kinds))
    match kind:
        case "message":
            return _message(draw, draw(_any(loops, level + 1)))
        case "choice":
            sender, receiver = draw(PAIRS)
            labels = draw(st.lists(st.sampled_from("abc"), min_size=2, max_size=3, unique=True))
            after = [draw(_any(loops, level + 1)) for _ in labels]
            return Comm(
                sender, receiver, tuple(Branch(label, None, one) for label, one in zip(labels, after, strict=True))
            )
        case "loop":
            name = f"X{level}"
            if draw(st.booleans()):
                return Rec(name, _message(draw, draw(_any((*loops, name), level + 1))))
            sender, receiver = draw(PAIRS)
            again = _message(draw, Var(name)) if draw(st.booleans()) else Var(name)
            body = Comm(
                sender, receiver, (Branch("more", None, again), Branch("done", None, draw(_any(loops, level + 1))))
            )
            return Rec(name, body)
        case "par":
            parts = tuple(_message(draw, End()) for _ in range(2))
            return Parallel(parts, draw(_any(loops, level + 1)))
        case "repeat":
            return Repeat(draw(st.integers(2, 3)), _message(draw, End()), draw(_any(loops, level + 1)))
        case _:
            return Var(draw(st.sampled_from(loops))) if loops and draw(st.booleans()) else End()


def _message(draw: st.DrawFn, after: GlobalType) -> Comm:
    sender, receiver = draw(PAIRS)
    return Comm(sender, receiver, (Branch(draw(st.sampled_from("mnop")), None, after),))


@st.composite
def well_formed(draw: st.DrawFn) -> GlobalType:
    """Protocols that must project: every choice is told to everybody, by the chooser, before anything else."""
    return draw(_informed(0, ()))


@st.composite
def _informed(draw: st.DrawFn, level: int, loops: tuple[str, ...]) -> GlobalType:
    kind = draw(st.sampled_from(["end"] if level >= 4 else ["message", "message", "choice", "loop", "repeat", "end"]))
    if kind == "message":
        return _message(draw, draw(_informed(level + 1, loops)))
    if kind == "repeat":
        return Repeat(2, _message(draw, End()), draw(_informed(level + 1, loops)))
    if kind == "choice":
        return _told(
            draw, [(f"l{level}", draw(_informed(level + 1, loops))), (f"r{level}", draw(_informed(level + 1, loops)))]
        )
    if kind == "loop":
        name = f"X{level}"
        return Rec(
            name,
            _told(
                draw, [(f"again{level}", _message(draw, Var(name))), (f"out{level}", draw(_informed(level + 1, loops)))]
            ),
        )
    return End()


def _told(draw: st.DrawFn, branches: list[tuple[str, GlobalType]]) -> Comm:
    chooser, first, *others = draw(st.permutations(ROLES))
    told: list[Branch] = []
    for label, after in branches:
        for other in others:
            after = Comm(chooser, other, (Branch(f"{label}_{other}", None, after),))
        told.append(Branch(label, None, after))
    return Comm(chooser, first, tuple(told))


@SLOW
@given(well_formed())
def test_a_protocol_whose_choices_everybody_is_told_of_projects_and_never_gets_stuck(root: GlobalType) -> None:
    projections = project_all(root)
    assert projections.is_projectable
    found = explore(projections.local, bound=1, limit=3_000)
    assert not found.faults, [str(fault) for fault in found.faults]


@SLOW
@given(any_protocol(), st.sampled_from(("full+", "full", "plain")))
def test_whatever_projects_never_gets_stuck(root: GlobalType, mode: MergeMode) -> None:
    projections = project_all(root, mode=mode)
    assume(projections.is_projectable and participants(root))
    found = explore(projections.local, bound=2, limit=2_000)
    assert not found.faults, [str(fault) for fault in found.faults]


@SLOW
@given(any_protocol())
def test_the_roles_together_do_exactly_what_the_protocol_says(root: GlobalType) -> None:
    projections = project_all(root)
    assume(projections.is_projectable and participants(root))
    system = LocalSystem(projections.local)
    waiting = deque([(sequential(root), system.initial)])
    for _ in range(60):
        if not waiting:
            return
        state, at = waiting.popleft()
        allowed = set(global_moves(state))
        made = dict(system.moves(at))
        assert allowed == set(made)
        for move, after in made.items():
            following = global_step(state, move)
            assert following is not None
            waiting.append((following, after))


@SLOW
@given(any_protocol())
def test_what_a_weaker_merge_projects_the_stronger_ones_project_alike(root: GlobalType) -> None:
    plain, full, absorbing = (project_all(root, mode=mode) for mode in ("plain", "full", "full+"))
    for role, view in plain.local.items():
        assert is_subtype(view, full.local[role])
        assert is_subtype(full.local[role], view)
    for role, view in full.local.items():
        assert is_subtype(view, absorbing.local[role])


@SLOW
@given(any_protocol())
def test_every_refusal_is_explained_and_every_advised_change_works(root: GlobalType) -> None:
    refused = project_all(root).refusals
    for error in explain_refusals(root, [one for several in refused.values() for one in several]):
        assert error.role in str(error)
        assert error.advice
        if error.fixed is not None:
            assert error.role in project_all(error.fixed).local


@SLOW
@given(any_protocol())
def test_the_two_ends_of_a_two_party_protocol_are_dual(root: GlobalType) -> None:
    def renamed(node: GlobalType) -> GlobalType:
        match node:
            case Comm(sender=sender, branches=branches):
                one = sender in "AC"
                after = tuple(Branch(branch.label, None, renamed(branch.continuation)) for branch in branches)
                return Comm("A" if one else "B", "B" if one else "A", after)
            case Rec(name=name, body=body):
                return Rec(name, renamed(body))
            case Parallel(branches=parts, continuation=after):
                return Repeat(1, renamed(parts[0]), renamed(after))
            case Repeat(count=count, body=body, continuation=after):
                return Repeat(count, renamed(body), renamed(after))
            case _:
                return node

    views = project_all(renamed(root), ("A", "B")).local
    assert is_dual(views["A"], views["B"])
