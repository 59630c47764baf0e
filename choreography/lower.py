"""From the surface tree to the core global type: families expanded, sequences nested, loops named.

Projects nothing. What it refuses it reports with the place and the smallest change; it reports everything it finds.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from . import ast, core
from .annotations import MessageAnnotations, read_annotations
from .ast import Block, Choreography, RoleRef, Send, Statement
from .core import Branch, Comm, End, GlobalType, Local, ValueType, Var, value_type_of
from .dsl.diagnostics import did_you_mean, problem
from .dsl.format import format_duration, format_expression, format_payload, format_type, summarise
from .dsl.layout import NESTING_MAX
from .dsl.parse import parse_condition
from .dsl.surface import statements_of
from .errors import Problem
from .inline import Inlined, inline
from .node import walk
from .roles import bind, has_families, unbound_problems

# `loop repeat n` is written out up to here; more rounds stay a counted node.
UNROLL_MAX = 64
# Nested repeats multiply; where that makes more statements than this the inner ones stay counted too.
UNROLLED_STATEMENTS_MAX = 20_000
DONE = "Done"
# What sends nothing and yet belongs to a role.
_ACTIONS = (
    ast.Let,
    ast.Case,
    ast.Publish,
    ast.PublishAuthority,
    ast.Materialize,
    ast.Handoff,
    ast.DependentWork,
)
COMMITMENT_WORDS = {ast.Begin: "begin", ast.Await: "await", ast.Resolve: "resolve", ast.Invalidate: "invalidate"}


class LoweringStep(NamedTuple):
    """One surface statement and what it became, in source order."""

    line: int
    statement: str
    became: str


class Lowered(NamedTuple):
    """The core type, None when a problem stands in the way; the problems; and the report of what became of what."""

    core: GlobalType | None
    problems: tuple[Problem, ...]
    steps: tuple[LoweringStep, ...]


# --- the first communication of a block ---------------------------------------------------------------------------


class First(NamedTuple):
    """The first communication of a block. `statement` is there when it is one plain message that may carry a choice."""

    sender: str
    receiver: str
    statement: "Send | ast.Broadcast | None"
    seen: str


class NoFirst(NamedTuple):
    """There is none, or nobody in particular begins; `seen` says what stands there."""

    seen: str


FirstOrNot: TypeAlias = First | NoFirst


def first_communication(block: Block, roles: Sequence[str]) -> FirstOrNot:
    """Who speaks first in a block, to whom, and whether as a plain message; local actions are passed over."""
    for statement in block.items:
        match statement:
            case Send(sender=sender, receiver=receiver):
                seen = f"`{sender.name} -> {receiver.name}`"
                return First(sender.name, receiver.name, statement, seen)
            case ast.Broadcast(sender=sender):
                others = [role for role in roles if role != sender.name]
                return (
                    First(sender.name, others[0], statement, f"`{sender.name} ->*`") if others else NoFirst("nothing")
                )
            case ast.Continue(label=label):
                return NoFirst(f"`continue {label}`")
            case ast.Parallel():
                return NoFirst("`par`")
            case ast.Extension(keyword=keyword):
                return NoFirst(f"`{keyword}`")
            case ast.Loop(condition=ast.Count(times=0)):
                continue
        for inner in ast.blocks_of(statement):
            found = first_communication(inner, roles)
            if isinstance(found, First):
                return found._replace(statement=None)
            if found.seen != "nothing":
                return found
    return NoFirst("nothing")


# --- lowering -----------------------------------------------------------------------------------------------------


def lower(tree: Choreography) -> Lowered:
    """The core type of a choreography; families of known size are expanded first. Never raises; O(statements).

    Example: `lower(parse_choreography_str(text)).core` is what projection takes.
    """
    inlined = inline(tree)
    if inlined.tree is None:
        return Lowered(None, inlined.problems, ())
    concrete = inlined.tree
    if has_families(concrete):
        unbound = unbound_problems(concrete)
        bound = bind(concrete) if not unbound else None
        if bound is None or bound.tree is None:
            return Lowered(None, unbound or (bound.problems if bound else ()), ())
        concrete = bound.tree
    return _Lowerer(concrete).run()


class Scope(NamedTuple):
    """What holds at a place of the text.

    `labels`: a label to the name of its Rec, "" when a `par` stands between; `owners`: a name to the role that bound
    it; `speaker`: who sent last; `following`: who sends next.
    """

    labels: dict[str, str]
    owners: dict[str, str]
    speaker: str | None = None
    following: str | None = None

    def binding(self, names: Sequence[str], owner: str | None) -> "Scope":
        """The same place where the names are bound by that role."""
        return self._replace(owners=self.owners | dict.fromkeys(names, owner)) if owner and names else self


class _Lowerer:
    def __init__(self, tree: Choreography) -> None:
        self._tree = tree
        self._roles = [role.name for role in tree.roles]
        self._problems: list[Problem] = []
        self._became: dict[int, tuple[Statement, str]] = {}
        self._names: dict[int, list[str]] = {}
        self._taken: set[str] = set()
        self._uses: dict[int, int] = {}
        self._finishes: dict[int, bool] = {}
        self._factor = 1
        self._sizes: dict[int, int] = {}
        self._end = End()
        self._has_actions = any(isinstance(item, _ACTIONS) for item in statements_of(tree.body))
        self._operations = {item.name: item.owner.name for item in tree.declarations if isinstance(item, ast.Operation)}
        self._last_speakers: dict[int, str | None] = {}
        self._name_loops()

    def run(self) -> Lowered:
        lowered = self._block(self._tree.body, self._end, Scope({}, {}))
        problems = tuple(sorted(dict.fromkeys(self._problems), key=lambda found: found.span[:2]))
        steps = tuple(self._steps())
        return Lowered(lowered if not problems else None, problems, steps)

    def _name_loops(self) -> None:
        """One name for each loop head, in source order: the written one the first time it is used."""
        written = [item.label for item in statements_of(self._tree.body) if isinstance(item, ast.Rec)]
        loops = 0
        for statement in statements_of(self._tree.body):
            if isinstance(statement, ast.Rec):
                self._names.setdefault(id(statement), []).append(self._fresh(statement.label))
            elif isinstance(statement, ast.Loop) and not isinstance(statement.condition, ast.Count):
                loops += 1
                while f"Loop{loops}" in written:
                    loops += 1
                self._names.setdefault(id(statement), []).append(self._fresh(f"Loop{loops}"))

    def _fresh(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name

    def _name(self, statement: Statement) -> str:
        """The name of a loop head; a body written out several times needs a new one each time.

        A protocol called twice is one statement in two places. Blocks are lowered from their end.
        """
        names = self._names[id(statement)]
        return names.pop() if len(names) > 1 else self._fresh_after_use(statement, names[0])

    def _fresh_after_use(self, statement: Statement, name: str) -> str:
        used = self._uses.get(id(statement), 0)
        self._uses[id(statement)] = used + 1
        return self._fresh(name) if used else name

    def _report(self, code: str, place: ast.Node, **facts: str | int) -> None:
        self._problems.append(problem(code, place.span, **facts))

    def _note(self, statement: Statement, became: str) -> None:
        self._became.setdefault(id(statement), (statement, became))

    def _steps(self) -> list[LoweringStep]:
        steps: list[LoweringStep] = []
        for statement in statements_of(self._tree.body):
            if id(statement) in self._became:
                became = self._became[id(statement)][1]
                steps.append(LoweringStep(statement.span.line, summarise(statement), became))
        return steps

    # --- blocks

    def _block(self, block: Block, after: GlobalType, scope: Scope) -> GlobalType:
        self._check_reach(block)
        scopes = self._scopes(block, after, scope) if self._has_actions else [scope] * len(block.items)
        node = after
        for statement, inside in zip(reversed(block.items), reversed(scopes), strict=True):
            node = self._statement(statement, node, inside)
        return node

    # --- local actions, and whose they are

    def _scopes(self, block: Block, after: GlobalType, scope: Scope) -> list[Scope]:
        """The scope of each statement of a block."""
        following = _next_sender(after)
        nexts: list[str | None] = []
        for statement in reversed(block.items):
            first = first_communication(Block((statement,)), self._roles)
            if isinstance(first, First):
                following = first.sender
            elif first.seen != "nothing":
                following = None
            nexts.append(following)
        scopes: list[Scope] = []
        for statement, found in zip(block.items, reversed(nexts), strict=True):
            scopes.append(scope._replace(following=found))
            scope = self._past(statement, scopes[-1])
        return scopes

    def _past(self, statement: Statement, scope: Scope) -> Scope:
        """What holds after a statement."""
        match statement:
            case ast.Let(name=name, body=None) | ast.PublishAuthority(name=name) | ast.Materialize(proof=name):
                return scope.binding((name,), self._actor(statement, scope))
            case _:
                return scope._replace(speaker=self._last_speaker(statement) or scope.speaker)

    def _actor(self, statement: Statement, scope: Scope) -> str | None:
        """Whose local action it is: who bound what it uses, else who sends next, else who sent last."""
        match statement:
            case ast.Let(expression=ast.Transfer(source=source)):
                return source.name
            case ast.Handoff(operation=operation, receipt=receipt):
                named, owned = [receipt], self._operations.get(operation)
            case ast.DependentWork(operation=operation):
                named, owned = _names_in(statement), self._operations.get(operation)
            case ast.Materialize(publication=publication):
                named, owned = [publication], None
            case ast.Case(decider=RoleRef(name=decider)):
                return decider
            case _:
                named, owned = _names_in(statement), None
        bound = next((scope.owners[name] for name in named if name in scope.owners), None)
        return bound or (owned if owned in self._roles else None) or scope.following or scope.speaker

    def _last_speaker(self, statement: Statement) -> str | None:
        """Who sends last in a statement; where ways part, the one who surely knows which was taken."""
        known = id(statement)
        if known not in self._last_speakers:
            self._last_speakers[known] = self._find_last_speaker(statement)
        return self._last_speakers[known]

    def _find_last_speaker(self, statement: Statement) -> str | None:
        match statement:
            case Send(sender=role) | ast.Broadcast(sender=role):
                return role.name
            case ast.Choice(chooser=role) | ast.Timeout(owner=role) | ast.Loop(condition=ast.Decides(role=role)):
                return role.name
            case ast.Loop(condition=ast.While()):
                first = first_communication(statement.body, self._roles)
                return first.sender if isinstance(first, First) else None
        for block in reversed(ast.blocks_of(statement)):
            for item in reversed(block.items):
                found = self._last_speaker(item)
                if found is not None:
                    return found
        return None

    def _check_reach(self, block: Block) -> None:
        for statement, following in zip(block.items, block.items[1:], strict=False):
            if isinstance(statement, ast.Continue):
                self._report("after_continue", following)
                return
            if not self._can_finish(statement):
                construct = _construct(statement)
                advice = "remove it, or let a branch finish without `continue`"
                self._report("unreachable", following, construct=construct, advice=advice)
                return

    def _can_finish(self, statement: Statement) -> bool:
        known = self._finishes.get(id(statement))
        if known is None:
            known = self._finishes[id(statement)] = self._judge_finish(statement)
        return known

    def _judge_finish(self, statement: Statement) -> bool:
        match statement:
            case ast.Continue() | ast.Loop(condition=ast.Forever()):
                return False
            case ast.Loop(condition=ast.Count(times=times), body=body) if times != 0:
                return self._does_finish(body)
            case ast.Loop():
                return True
        blocks = ast.blocks_of(statement)
        if not blocks:
            return True
        ends = [self._does_finish(block) for block in blocks]
        return all(ends) if isinstance(statement, ast.Parallel) else any(ends)

    def _does_finish(self, block: Block) -> bool:
        return all(self._can_finish(item) for item in block.items)

    def _check_endless(self, branches: Sequence[Block], parts: Sequence[GlobalType]) -> None:
        """A role takes its branches of a `par` in order: after one that never ends it comes to no other."""
        if any(found.code == "continue_in_par" for found in self._problems):
            return  # the branch goes nowhere, which was said
        endless: dict[str, int] = {}
        for number, (block, part) in enumerate(zip(branches, parts, strict=True), start=1):
            roles = core.participants_before([part], self._end)
            late = next((role for role in roles if role in endless), None)
            if late is not None:
                self._report("endless_branch", block.items[0], role=late, number=number, earlier=endless[late])
            if not self._does_finish(block):
                endless |= {role: number for role in roles if role not in endless}

    def _statement(self, statement: Statement, after: GlobalType, scope: Scope) -> GlobalType:
        match statement:
            case Send():
                return self._send(statement, after)
            case ast.Broadcast():
                return self._broadcast(statement, after)
            case ast.Choice():
                return self._choice(statement, after, scope)
            case ast.Loop(condition=ast.Count(times=times)):
                return self._repeat(statement, times, after, scope)
            case ast.Loop(condition=ast.Decides(role=role)):
                return self._decided(statement, role.name, None, after, scope)
            case ast.Loop(condition=ast.While(condition=text)):
                return self._decided(statement, None, text, after, scope)
            case ast.Loop():
                name = self._name(statement)
                self._note(statement, f"rec {name}")
                return self._recursion(
                    statement, name, self._block(statement.body, Var(name, span=statement.span), scope)
                )
            case ast.Rec(label=label):
                name = self._name(statement)
                self._note(statement, f"rec {name}")
                inner = scope._replace(labels={**scope.labels, label: name})
                return self._recursion(statement, name, self._block(statement.body, after, inner))
            case ast.Continue():
                return self._continue(statement, scope)
            case ast.Parallel(branches=branches):
                self._note(statement, f"parallel of {len(branches)}")
                inside = scope._replace(labels=dict.fromkeys(scope.labels, ""))
                parts = tuple(self._block(block, self._end, inside) for block in branches)
                self._check_endless(branches, parts)
                return core.Parallel(parts, after, span=statement.span)
            case ast.Timeout():
                return self._timeout(statement, after, scope)
            case ast.Case():
                return self._case(statement, after, scope)
            case ast.Let(body=Block() as body):
                inner = scope.binding((statement.name,), self._actor(statement, scope))
                return self._local(replace(statement, body=None), self._block(body, after, inner), scope)
            case ast.Begin() | ast.Await() | ast.Resolve() | ast.Invalidate():
                self._report("unsupported_authority", statement, word=COMMITMENT_WORDS[type(statement)])
                return after
            case ast.Extension(keyword=keyword):
                self._note(statement, f"extension {keyword}")
                return core.Custom(statement, after, span=statement.span)
            case ast.Call(protocol=name):
                self._report("undefined_protocol", statement, name=name, advice="define it below `where`")
                return after
            case _:
                return self._local(statement, after, scope)

    def _local(self, statement: Statement, after: GlobalType, scope: Scope) -> GlobalType:
        actor = self._actor(statement, scope)
        self._note(statement, f"local action of {actor}" if actor else "local action")
        return Local(actor, statement, after, span=statement.span)

    # --- messages

    def _send(self, send: Send, after: GlobalType) -> GlobalType:
        sender, receiver = send.sender.name, send.receiver.name
        if send.sender == send.receiver:
            self._report("self_send", send, name=sender)
        self._note(send, f"{sender} → {receiver} {{{send.message.name}}}")
        branch = Branch(
            send.message.name,
            value_type(send.message),
            after,
            send.message,
            self._annotations(send),
            span=send.span,
        )
        return Comm(sender, receiver, (branch,), span=send.span)

    def _annotations(self, send: "Send | ast.Broadcast") -> MessageAnnotations | None:
        read = read_annotations(send.annotations, namespace=self._tree.namespace, dialect=self._tree.dialect)
        return read.annotations

    def _broadcast(self, broadcast: ast.Broadcast, after: GlobalType) -> GlobalType:
        sender = broadcast.sender.name
        annotations = self._annotations(broadcast)
        message = broadcast.message
        node = after
        others = [role for role in self._roles if role != sender]
        for receiver in reversed(others):
            branch = Branch(message.name, value_type(message), node, message, annotations, span=broadcast.span)
            node = Comm(sender, receiver, (branch,), span=broadcast.span)
        self._note(broadcast, "; ".join(f"{sender} → {receiver} {{{message.name}}}" for receiver in others))
        return node

    # --- choice and case

    def _choice(self, choice: ast.Choice, after: GlobalType, scope: Scope) -> GlobalType:
        chooser = choice.chooser.name
        receiver: str | None = None
        labels: set[str] = set()
        branches: list[Branch] = []
        for branch in choice.branches:
            binders = (branch.guard.binder,) if isinstance(branch.guard, ast.Evidence) else ()
            body = self._block(branch.body, after, scope.binding(binders, chooser))
            if branch.label in labels:
                self._report("duplicate_label", branch, name=branch.label)
            labels.add(branch.label)
            first = first_communication(branch.body, self._roles)
            if not self._is_chosen(branch, first, chooser):
                continue
            assert isinstance(first, First), "a chosen branch begins with a message"
            receiver = receiver or first.receiver
            if first.receiver != receiver:
                self._report(
                    "inconsistent_receivers",
                    branch,
                    chooser=chooser,
                    label=branch.label,
                    found=f"`{first.receiver}`",
                    expected=f"`{receiver}`",
                )
                continue
            branches.append(self._branch(branch, first, body))
        if receiver is None or not branches:
            return after
        labels_shown = ", ".join(branch.label for branch in branches)
        self._note(choice, f"{chooser} → {receiver} {{{labels_shown}}}")
        return Comm(chooser, receiver, tuple(branches), span=choice.span)

    def _is_chosen(self, branch: ast.ChoiceBranch, first: FirstOrNot, chooser: str) -> bool:
        if isinstance(first, NoFirst) and first.seen == "nothing":
            self._report("chooser_must_send", branch, label=branch.label, chooser=chooser)
        elif isinstance(first, NoFirst) or first.sender != chooser:
            self._report("choice_not_from_chooser", branch, label=branch.label, seen=first.seen, chooser=chooser)
        else:
            return True
        return False

    def _branch(self, branch: ast.ChoiceBranch, first: First, body: GlobalType) -> Branch:
        """The message of the branch's name is the choice; any other label travels before the message."""
        if first.statement is not None and first.statement.message.name == branch.label:
            fused = _fuse(body)
            if fused is not None:
                return replace_branch(fused, guard=branch.guard, span=branch.span)
        return Branch(branch.label, None, body, guard=branch.guard, span=branch.span)

    def _case(self, case: ast.Case, after: GlobalType, scope: Scope) -> GlobalType:
        firsts = [first_communication(branch.body, self._roles) for branch in case.branches]
        speaker = next((first.sender for first in firsts if isinstance(first, First)), None)
        decider = case.decider.name if case.decider else speaker
        bodies = [self._block(branch.body, after, scope.binding(branch.binders, decider)) for branch in case.branches]
        if all(isinstance(first, NoFirst) and first.seen == "nothing" for first in firsts):
            return self._local(case, after, scope)
        trouble = self._case_trouble(case, firsts)
        if trouble:
            seen, advice = trouble
            self._report("case_not_observable", case.expression, seen=seen, advice=advice)
            return after
        branches: list[Branch] = []
        for branch, body in zip(case.branches, bodies, strict=True):
            fused = _fuse(body)
            assert fused is not None, "every branch begins with a plain message"
            branches.append(replace_branch(fused, outcome=branch.constructor, span=branch.span))
        first = firsts[0]
        assert isinstance(first, First), "checked above"
        labels = ", ".join(branch.label for branch in branches)
        self._note(case, f"{first.sender} → {first.receiver} {{{labels}}}")
        made = Comm(first.sender, first.receiver, tuple(branches), span=case.span)
        return Local(first.sender, case, made, span=case.expression.span)

    def _case_trouble(self, case: ast.Case, firsts: Sequence[FirstOrNot]) -> tuple[str, str] | None:
        """What keeps the others from telling the branches apart, and the smallest change."""
        names: set[str] = set()
        decider = case.decider.name if case.decider else None
        receiver: str | None = None
        for branch, first in zip(case.branches, firsts, strict=True):
            if isinstance(first, NoFirst) or first.statement is None:
                seen = first.seen if isinstance(first, NoFirst) else f"a block that begins with {first.seen}"
                who = f" from `{decider}`" if decider else ""
                return (f"branch `{branch.constructor}` begins with {seen}", f"begin it with a plain message{who}")
            decider, receiver = decider or first.sender, receiver or first.receiver
            if first.sender != decider:
                return (
                    f"branch `{branch.constructor}` begins with {first.seen}, and `{decider}` decides",
                    f"let `{decider}` send first in every branch",
                )
            if first.receiver != receiver:
                return (
                    f"branch `{branch.constructor}` begins with {first.seen}, and the others tell `{receiver}`",
                    f"let `{decider}` tell `{receiver}` first in every branch",
                )
            name = first.statement.message.name
            if name in names:
                return (f"two branches begin with the message `{name}`", "give the messages different names")
            names.add(name)
        return None

    # --- loops

    def _decided(
        self, loop: ast.Loop, decider: str | None, condition: str | None, after: GlobalType, scope: Scope
    ) -> GlobalType:
        name = self._name(loop)
        body = self._block(loop.body, Var(name, span=loop.span), scope)
        if condition is not None:
            self._check_condition(loop.condition, condition)
        first = first_communication(loop.body, self._roles)
        fused = _fuse(body) if isinstance(first, First) and first.statement is not None else None
        if isinstance(first, NoFirst) or fused is None or (decider is not None and first.sender != decider):
            seen = (
                first.seen if isinstance(first, NoFirst) or first.statement is not None else f"a block ({first.seen})"
            )
            if decider is None:
                self._report("loop_while_start", loop.condition, seen=seen)
            else:
                advice = f"begin the body with `{decider} -> … : …`"
                self._report("loop_decider", loop.condition, role=decider, seen=seen, advice=advice)
            return after
        if fused.label == DONE:
            self._report("duplicate_label", loop.condition, name=DONE)
        done = Branch(DONE, None, after, span=loop.condition.span)
        self._note(loop, f"rec {name}: {first.sender} → {first.receiver} {{{fused.label}, {DONE}}}")
        again = replace_branch(fused, condition=condition, span=fused.span)
        choice = Comm(first.sender, first.receiver, (again, done), span=loop.span)
        return core.Rec(name, choice, span=loop.span)

    def _check_condition(self, place: ast.Node, text: str) -> None:
        expression, problems = parse_condition(text, place.span)
        if expression is None or problems:
            self._report("loop_condition", place, seen=f"`{text[:40]}`")
        elif not is_boolean(expression):
            self._report("loop_condition", place, seen=f"`{format_expression(expression)}`")

    def _repeat(self, loop: ast.Loop, times: int | str, after: GlobalType, scope: Scope) -> GlobalType:
        if isinstance(times, str):
            self._report("unbound_symbol", loop.condition, name=times)
            return after
        factor = self._factor
        self._factor = factor * max(1, times)
        node = after
        is_few = factor == 1 or self._factor * self._size(loop) <= UNROLLED_STATEMENTS_MAX
        if times <= UNROLL_MAX and is_few:
            self._note(loop, f"{times} round(s), written out")
            for _ in range(times):
                node = self._block(loop.body, node, scope)
        else:
            self._note(loop, f"{times} round(s), counted")
            node = core.Repeat(times, self._block(loop.body, self._end, scope), after, span=loop.span)
        self._factor = factor
        return node

    def _size(self, loop: ast.Loop) -> int:
        """How many statements a loop's body has, those in blocks in it included and counted once."""
        known = self._sizes.get(id(loop))
        if known is None:
            known = self._sizes[id(loop)] = sum(1 for _ in statements_of(loop.body))
        return known

    def _recursion(self, statement: Statement, name: str, body: GlobalType) -> GlobalType:
        if name in _unguarded(body):
            code = "empty_loop" if isinstance(statement, ast.Loop) else "unguarded_recursion"
            label = statement.label if isinstance(statement, ast.Rec) else name
            self._report(code, statement, name=label)
        return core.Rec(name, body, span=statement.span)

    def _continue(self, statement: ast.Continue, scope: Scope) -> GlobalType:
        label = statement.label
        name = scope.labels.get(label)
        if name is None:
            advice = did_you_mean(label, scope.labels, otherwise=f"put it into `rec {label}`")
            self._report("unbound_variable", statement, name=label, advice=advice)
        elif not name:
            self._report("continue_in_par", statement, name=label)
        else:
            self._note(statement, f"back to {name}")
        return Var(name or label, span=statement.span)

    def _timeout(self, timeout: ast.Timeout, after: GlobalType, scope: Scope) -> GlobalType:
        self._note(timeout, f"timeout of {timeout.owner.name} after {format_duration(timeout.milliseconds)}")
        body, on_timeout = self._block(timeout.body, after, scope), self._block(timeout.on_timeout, after, scope)
        on_cancel = self._block(timeout.on_cancel, after, scope) if timeout.on_cancel is not None else None
        parts = [part for part in (body, on_timeout, on_cancel) if part is not None]
        roles = core.participants_before(parts, after)
        owner = timeout.owner.name
        return core.Timeout(owner, timeout.milliseconds, body, on_timeout, on_cancel, roles, after, span=timeout.span)


def replace_branch(
    branch: Branch,
    *,
    span: ast.Span,
    guard: ast.Guard | None = None,
    outcome: str | None = None,
    condition: str | None = None,
) -> Branch:
    """The branch of a plain message as a branch of a choice, a case or a loop."""
    return Branch(
        branch.label,
        branch.payload,
        branch.continuation,
        branch.message,
        branch.annotations,
        guard,
        outcome,
        condition,
        branch.before,
        span=span,
    )


def _fuse(body: GlobalType) -> Branch | None:
    """The one branch of the plain message a body begins with, local actions before it kept with it.

    Those of its sender come before the label. Nobody else knows that the branch was taken: theirs come after it.
    """
    actions: list[Local] = []
    node = body
    while isinstance(node, Local):
        actions.append(node)
        node = node.continuation
    if not isinstance(node, Comm) or len(node.branches) != 1:
        return None
    branch = node.branches[0]
    if not actions:
        return branch
    before = [local.action for local in actions if local.actor == node.sender]
    continuation = branch.continuation
    for local in reversed(actions):
        if local.actor != node.sender:
            continuation = Local(local.actor, local.action, continuation, span=local.span)
    return Branch(
        branch.label,
        branch.payload,
        continuation,
        branch.message,
        branch.annotations,
        branch.guard,
        branch.outcome,
        branch.condition,
        (*before, *branch.before),
        span=branch.span,
    )


def _next_sender(node: GlobalType) -> str | None:
    """Who sends first from here, when that is one role."""
    for _ in range(NESTING_MAX):
        match node:
            case Comm(sender=sender):
                return sender
            case core.Timeout(owner=owner):
                return owner
            case core.Rec(body=body):
                node = body
            case Local(continuation=after) | core.Custom(continuation=after) | core.Repeat(continuation=after):
                node = after
            case _:
                return None
    return None


def _unguarded(body: GlobalType) -> set[str]:
    """The names reachable from here without a communication."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[GlobalType] = [body]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, Comm):
            continue
        seen.add(id(node))
        if isinstance(node, Var):
            found.add(node.name)
        elif isinstance(node, core.Parallel):
            # What follows is reached only when every branch has ended; a branch that communicates guards it.
            is_silent = all(_is_silent(branch) for branch in node.branches)
            waiting += [node.continuation] if is_silent else []
        elif isinstance(node, core.Repeat):
            waiting += [node.continuation] if node.count == 0 or _is_silent(node.body) else []
        else:
            waiting.extend(core.successors(node))
    return found


def _names_in(statement: Statement) -> list[str]:
    """The plain names that a local action uses."""
    expressions = ast.expressions_of(statement)
    return [node.name for expression in expressions for node in walk(expression) if isinstance(node, ast.Name)]


def _is_silent(node: GlobalType) -> bool:
    """Whether a way to the end exists without a communication."""
    seen: set[int] = set()
    waiting: list[GlobalType] = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, End):
            return True
        if id(current) not in seen and not isinstance(current, Comm):
            seen.add(id(current))
            waiting.extend(core.successors(current))
    return False


def _construct(statement: Statement) -> str:
    return f"`{type(statement).__name__.lower() if not isinstance(statement, ast.Parallel) else 'par'}`"


def value_type(message: ast.Message) -> ValueType | None:
    """What a message carries, from `of` or its payload; None when it carries nothing."""
    fields = message.payload.fields if message.payload else ()
    if message.type is not None and not fields:
        return type_value(message.type)
    if message.type is None and len(fields) == 1 and fields[0].name is None:
        return type_value(fields[0].type)
    if message.type is None and not fields:
        return None
    text = format_payload(message.payload) if message.payload else ""
    shown = f"{format_type(message.type)} {text}".strip() if message.type is not None else text
    return value_type_of(shown)


def type_value(kind: ast.TypeExpression) -> ValueType:
    """The core type of a written type: numbers, texts and truths by kind, everything else by its text."""
    return value_type_of(format_type(kind))


def is_boolean(expression: ast.Expression) -> bool:
    """Whether an expression may be a truth value: not a number, not a text, not an effect."""
    if isinstance(expression, ast.Constant):
        return isinstance(expression.value, bool)
    if isinstance(expression, ast.Binary) and expression.operator in ("&&", "||"):
        return is_boolean(expression.left) and is_boolean(expression.right)
    if isinstance(expression, ast.Not):
        return is_boolean(expression.operand)
    return not isinstance(expression, ast.EffectCall | ast.Transfer)


def explain_lowering(tree: Choreography) -> str:
    """What each statement became, a line each, in source order; stable for equal texts."""
    lowered = lower(tree)
    width = max((len(step.statement) for step in lowered.steps), default=0)
    lines = [f"{step.line:>5}  {step.statement:<{min(width, 60)}}  ⇒ {step.became}" for step in lowered.steps]
    lines += [f"       {found.severity}: {found.message}" for found in lowered.problems]
    return "\n".join(lines)


__all__ = [
    "First",
    "Inlined",
    "Lowered",
    "LoweringStep",
    "NoFirst",
    "explain_lowering",
    "first_communication",
    "inline",
    "is_boolean",
    "lower",
    "type_value",
    "value_type",
]
