"""What a role does as a program with holes: the order is the protocol's, what is said and chosen is left open.

Reads the role's local type and nothing else. What a program cannot say is refused with its reason: programs have loops
with one way out and no `on cancel`.
"""

from .deep import Deep, run_deep
from .fsm import StateMachine
from .local import (
    LocalAct,
    LocalBranch,
    LocalBuilder,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
)
from .program import Hole, Program, ProgramFault, check_program


def program_skeleton(root: LocalType, machine: StateMachine) -> Program:
    """The program of a local type, not ended; `holes` names what is open, `fill` fills it in.

    A value that is sent is a hole named after its label, a choice of this role one named after its labels, as in
    `Accept|Reject`. Raises ProgramFault for what no program says. O(exchanges), where branches share what follows.
    """
    writer = _Writer(LocalBuilder())
    program = run_deep(writer.write(writer.builder.adopt(root), None))
    faults = check_program(program, machine)
    if faults:
        raise ProgramFault(f"no program says what {machine.role} does: {'; '.join(faults)}; write it by hand")
    return program


class _Writer:
    def __init__(self, builder: LocalBuilder) -> None:
        self.builder = builder
        self._known: dict[tuple[int, int], Program] = {}

    def write(self, node: LocalType, stop: LocalType | None) -> Deep[Program]:
        """The program from a node to its end, or to where *stop* begins."""
        pieces: list[Program] = []
        while node is not stop and not isinstance(node, LocalEnd | LocalVar):
            key = (id(node), id(stop))
            known = self._known.get(key)
            if known is None:
                known, after = yield self._piece(node, stop)
                if after is None:
                    self._known[key] = known
            else:
                after = None
            pieces.append(known)
            if after is None:
                break
            node = after
        return _joined(pieces)

    def _piece(self, node: LocalType, stop: LocalType | None) -> Deep[tuple[Program, LocalType | None]]:
        """What a node itself says, and where it goes on; None when that was said in its branches."""
        match node:
            case LocalAct(continuation=after):
                return Program(), after
            case LocalSend(partner=partner, branches=(only,)):
                return _sent(partner, only), only.continuation
            case LocalRecv(partner=partner, branches=(only,)):
                heard = Program().recv(partner, only.label) if only.message is not None else Program().offer(partner)
                return heard, only.continuation
            case LocalSend(partner=partner, branches=branches):
                cases = yield self._cases(branches, stop)
                said = {one.label: _chosen(partner, one).then(cases[one.label]) for one in branches}
                return Program().choice(said), None
            case LocalRecv(partner=partner, branches=branches):
                cases = yield self._cases(branches, stop)
                taken = {one.label: _taken(partner, one).then(cases[one.label]) for one in branches}
                return Program().offer(partner).branch(taken), None
            case LocalTimeout(on_cancel=None):
                body = yield self.write(node.body, node.tail)
                late = yield self.write(node.on_timeout, node.tail)
                return Program().timeout(node.owner, node.milliseconds, body, late), node.tail
            case LocalTimeout(owner=owner):
                raise ProgramFault(f"the part that {owner} times can be cancelled, which no program says")
            case LocalRepeat(count=count, body=body, continuation=after):
                once = yield self.write(body, None)
                return Program().loop(once, count), after
            case LocalRec(name=name, body=body):
                once = yield self.write(body, self._way_out(name, body))
                return self._loop(name, body, once)
            case _:
                raise AssertionError(f"{type(node).__name__} is followed, or the end")

    def _cases(self, branches: tuple[LocalBranch, ...], stop: LocalType | None) -> Deep[dict[str, Program]]:
        cases: dict[str, Program] = {}
        for one in branches:
            cases[one.label] = yield self.write(one.continuation, stop)
        return cases

    def _loop(self, name: str, body: LocalType, once: Program) -> tuple[Program, LocalType | None]:
        out = self._exit(name, body)
        if out is None:
            return Program().loop(once), None
        return Program().loop(once, until=out.label), out.continuation

    def _way_out(self, name: str, body: LocalType) -> LocalType | None:
        out = self._exit(name, body)
        return None if out is None else out.continuation

    def _exit(self, name: str, body: LocalType) -> LocalBranch | None:
        """The branch that leaves a loop; None for a loop without end."""
        found: dict[tuple[str, int], LocalBranch] = {}
        waiting, seen = [body], {id(body)}
        while waiting:
            node = waiting.pop()
            for branch in node.branches if isinstance(node, LocalSend | LocalRecv) else ():
                if name not in self.builder.free_in(branch.continuation):
                    found[branch.label, id(branch.continuation)] = branch
            inside = [one for one in _after(node) if name in self.builder.free_in(one) and id(one) not in seen]
            seen.update(map(id, inside))
            waiting += inside
        if len(found) > 1:
            ways = ", ".join(sorted(label for label, _ in found))
            raise ProgramFault(f"a loop is left by {ways}, and a program's loop has one way out; write it by hand")
        return next(iter(found.values()), None)


def _after(node: LocalType) -> tuple[LocalType, ...]:
    match node:
        case LocalSend(branches=branches) | LocalRecv(branches=branches):
            return tuple(branch.continuation for branch in branches)
        case LocalTimeout(body=body, on_timeout=late):
            return (body, late)
        case LocalRepeat(body=body, continuation=after):
            return (body, after)
        case LocalAct(continuation=after):
            return (after,)
        case LocalRec(body=body):
            return (body,)
        case _:
            return ()


def _joined(pieces: list[Program]) -> Program:
    return Program([effect for piece in pieces for effect in piece])


def _sent(partner: str, branch: LocalBranch) -> Program:
    if branch.message is None:
        return Program().choose(partner, branch.label)
    return Program().send(partner, branch.label, Hole(branch.label))


def _chosen(partner: str, branch: LocalBranch) -> Program:
    chosen = Program().choose(partner, branch.label)
    return chosen if branch.message is None else chosen.send(partner, branch.label, Hole(branch.label))


def _taken(partner: str, branch: LocalBranch) -> Program:
    return Program().recv(partner, branch.label) if branch.message is not None else Program()
