"""Whether a choreography that parses makes sense: every finding at once, with its place, and its language tier.

Finds what no grammar can: choices nobody can tell apart, loops nobody leaves, evidence nobody declared. Projects
nothing; that two branches cannot be merged for a role is projection's finding.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from . import ast
from .annotations import read_annotations
from .ast import Choreography, Statement
from .dsl.diagnostics import did_you_mean, problem
from .dsl.format import format_expression
from .dsl.surface import all_statements, roles_named, statements_of
from .errors import Problem
from .lower import inline, is_boolean, lower
from .node import Node, Span, walk
from .roles import INSTANCES_MAX, bind, has_families, unbound_problems

METADATA_VALUES: Mapping[str, tuple[str, ...]] = {
    "class": ("authoritative", "observational", "best_effort"),
    "progress": ("immediate", "may_block"),
    "region": ("session", "fragment", "global"),
    "agreement_use": ("required", "none", "forbidden"),
    "reentrancy": ("allow", "reject_same_operation", "reject_same_fragment"),
}
CLASS_OF_MODE: Mapping[str, tuple[str, ...]] = {
    "authoritative": ("authoritative",),
    "observe": ("observational",),
    "command": ("best_effort", "authoritative"),
}
# Findings of the core that say "not projectable", which is a tier and no mistake.
UNPROJECTABLE_KINDS = frozenset(
    {
        "UnsupportedAuthorityConstruct",
        "UnsupportedFeature",
        "DynamicRole",
        "UnboundSymbolic",
        "RangeProjection",
        "WildcardProjection",
        "UnboundSymbol",
        "UnboundFamily",
    }
)

Tier: TypeAlias = Literal["full_spec", "session_projectable", "protocol_machine_executable", "proof_only"]


Kind = TypeVar("Kind", bound=ast.Declaration)


class TierResult(NamedTuple):
    """The strongest language tier a choreography reaches, and why not a higher one."""

    tier: Tier
    reasons: tuple[Problem, ...]


def validate(tree: Choreography, *, modules: Iterable[str] = ()) -> tuple[Problem, ...]:
    """Every finding in a parsed tree, in the order of the text; empty when there is none. O(statements).

    `modules` names what an import may resolve to. Families are checked with two instances each where their size is
    not known. Example: `validate(parse(text).tree)`.
    """
    validator = _Validator(tree, frozenset(modules))
    return tuple(sorted(dict.fromkeys(validator.findings()), key=lambda item: (item.span.start, item.span.end)))


def tier_of(tree: Choreography) -> TierResult:
    """The strongest of the four tiers, by what the language knows; that every role projects is the caller's to add.

    `session_projectable`: the core can say it. `full_spec`: that, and it declares whom to trust and how it runs
    (bundles, a profile, namespace). `protocol_machine_executable`: it uses the commitment lifecycle, extensions or
    families of unknown size. `proof_only`: it has findings that stop every run.
    """
    lowered = lower(tree)
    errors = [item for item in validate(tree) if item.severity == "error"]
    if errors:
        return TierResult("proof_only", tuple(errors))
    if lowered.problems:
        return TierResult("protocol_machine_executable", lowered.problems)
    if any(isinstance(item, ast.Operation | ast.GuestRuntime) for item in tree.declarations):
        name = next(item for item in tree.declarations if isinstance(item, ast.Operation | ast.GuestRuntime))
        return TierResult("protocol_machine_executable", (problem("unsupported_agreement", name.span, name=name.name),))
    extension = next((item for item in all_statements(tree) if isinstance(item, ast.Extension)), None)
    if extension is not None:
        advice = "run it where the extension has a handler"
        feature = f"extension `{extension.keyword}`"
        return TierResult(
            "protocol_machine_executable", (problem("unsupported", extension.span, feature=feature, advice=advice),)
        )
    if tree.requires and tree.under and tree.namespace:
        return TierResult("full_spec", ())
    return TierResult("session_projectable", ())


class _Validator:
    def __init__(self, tree: Choreography, modules: frozenset[str]) -> None:
        self._tree = tree
        self._modules = modules
        self._statements = list(all_statements(tree))
        self._interfaces = _first_of(tree, ast.EffectInterface)
        self._operations = _first_of(tree, ast.Operation)

    def findings(self) -> Iterator[Problem]:
        yield from self._roles()
        yield from self._duplicates()
        yield from self._imports()
        yield from self._bundles()
        yield from self._profiles()
        yield from self._effects()
        yield from self._operations_declared()
        yield from self._calls()
        yield from self._annotations()
        yield from self._guards()
        yield from _Lifecycle(self._tree).check()
        yield from self._communication()

    # --- roles

    def _roles(self) -> Iterator[Problem]:
        tree = self._tree
        if not tree.body.items:
            yield problem("empty_choreography", tree.span, name=tree.name)
            return
        used = {reference.name for item in self._statements for reference in roles_named(item)}
        used |= {item.owner.name for item in tree.declarations if isinstance(item, ast.Operation)}
        concerns_all = any(
            isinstance(item, ast.Broadcast) or (isinstance(item, ast.Extension) and not item.roles)
            for item in self._statements
        )
        for role in tree.roles:
            if role.name not in used and not concerns_all:
                yield problem("unused_role", role.span, name=role.name)

    # --- declarations

    def _duplicates(self) -> Iterator[Problem]:
        first: dict[tuple[str, str], Span] = {}
        for declaration in self._tree.declarations:
            what, noun = _NOUNS[type(declaration)]
            key = (what, declaration.name)
            if key in first:
                yield problem(
                    "duplicate_declaration",
                    declaration.span,
                    what=what,
                    noun=noun,
                    name=declaration.name,
                    line=first[key].line,
                )
            first.setdefault(key, declaration.span)
            if isinstance(declaration, ast.SumType):
                yield from _repeated(declaration.constructors, "Constructor", f"constructor of `{declaration.name}`")

    def _imports(self) -> Iterator[Problem]:
        for item in self._tree.imports:
            name = ".".join(item.path)
            if name not in self._modules:
                advice = did_you_mean(name, self._modules, otherwise="remove it, or make the module known")
                yield problem("unresolved_import", item.span, name=name, advice=advice)

    def _bundles(self) -> Iterator[Problem]:
        bundles = _first_of(self._tree, ast.ProofBundle)
        place = self._head()
        for name in self._tree.requires:
            if name not in bundles:
                advice = did_you_mean(name, bundles, otherwise=f"add `proof_bundle {name} …`, or drop it")
                yield problem("missing_bundle", place, name=name, advice=advice)
        required = [bundles[name] for name in self._tree.requires if name in bundles]
        granted = {capability for bundle in required for capability in bundle.capabilities}
        for item in self._statements:
            if isinstance(item, ast.Send | ast.Broadcast):
                for annotation in item.annotations:
                    name = ast.value_text(annotation.value)
                    if annotation.key == "required_capability" and name not in granted:
                        yield problem("missing_capability", annotation.span, name=name)

    def _profiles(self) -> Iterator[Problem]:
        profiles = _first_of(self._tree, ast.Profile)
        for name in self._tree.under:
            if name not in profiles:
                advice = did_you_mean(name, profiles, otherwise=f"add `profile {name} …`, or drop it")
                yield problem("undeclared_profile", self._head(), name=name, advice=advice)

    def _head(self) -> Span:
        return self._tree.head.span if self._tree.head is not None else self._tree.span

    def _effects(self) -> Iterator[Problem]:
        for interface in self._interfaces.values():
            yield from _repeated(interface.operations, "EffectOperation", f"operation of `{interface.name}`")
            for operation in interface.operations:
                yield from _check_metadata(operation)
        for used in self._tree.uses:
            if used not in self._interfaces:
                yield self._undeclared_interface(used, self._head())
        for item in self._tree.declarations:
            if isinstance(item, ast.GuestRuntime):
                for used in item.uses:
                    if used not in self._interfaces:
                        yield self._undeclared_interface(used, item.span)

    def _undeclared_interface(self, name: str, place: Span) -> Problem:
        advice = did_you_mean(name, self._interfaces, otherwise=f"declare `effect {name}`")
        return problem("undeclared_interface", place, name=name, advice=advice)

    def _operations_declared(self) -> Iterator[Problem]:
        agreements = _first_of(self._tree, ast.AgreementProfile)
        for operation in self._operations.values():
            name = operation.agreement
            if name is not None and name not in agreements:
                advice = did_you_mean(name, agreements, otherwise=f"declare `agreement_profile {name}`")
                yield problem("undeclared_agreement", operation.span, name=name, advice=advice)
        for item in self._statements:
            named = item.operation if isinstance(item, _COMMITMENTS) else None
            if named is not None and named not in self._operations:
                advice = did_you_mean(named, self._operations, otherwise=f"declare `operation {named} …`")
                yield problem("undeclared_operation", item.span, name=named, advice=advice)

    # --- effects in use

    def _calls(self) -> Iterator[Problem]:
        for statement in self._statements:
            if isinstance(statement, ast.Let) and statement.mode == "plain":
                expression = statement.expression
                if isinstance(expression, ast.EffectCall):
                    code = "plain_let_of_check" if expression.mode == "check" else "plain_let_of_observe"
                    yield problem(code, expression.span, name=statement.name)
            for node in ast.expressions_of(statement):
                for call in walk(node):
                    if isinstance(call, ast.EffectCall | ast.Evidence):
                        yield from self._call(call)

    def _call(self, call: ast.EffectCall | ast.Evidence) -> Iterator[Problem]:
        interface = self._interfaces.get(call.interface)
        if interface is None:
            yield self._undeclared_interface(call.interface, call.span)
            return
        if call.interface not in self._tree.uses:
            yield problem("unused_interface", call.span, name=call.interface)
        operation = next((item for item in interface.operations if item.name == call.operation), None)
        if operation is None:
            names = [item.name for item in interface.operations]
            advice = did_you_mean(call.operation, names, otherwise=f"it has {', '.join(names) or 'none'}")
            yield problem(
                "undeclared_effect_operation", call.span, interface=call.interface, name=call.operation, advice=advice
            )
            return
        is_observation = isinstance(call, ast.EffectCall) and call.mode == "observe"
        if is_observation and operation.mode != "observe":
            yield problem("observe_of_non_observe", call.span, interface=call.interface, name=call.operation)
        elif not is_observation and operation.mode == "observe":
            yield problem("check_of_observe", call.span, interface=call.interface, name=call.operation)

    # --- annotations and guards

    def _annotations(self) -> Iterator[Problem]:
        for item in self._statements:
            if isinstance(item, ast.Send | ast.Broadcast) and item.annotations:
                read = read_annotations(item.annotations, namespace=self._tree.namespace, dialect=self._tree.dialect)
                yield from read.problems

    def _guards(self) -> Iterator[Problem]:
        for item in self._statements:
            for branch in item.branches if isinstance(item, ast.Choice) else ():
                if isinstance(branch.guard, ast.Predicate) and not is_boolean(branch.guard.expression):
                    seen = format_expression(branch.guard.expression)
                    yield problem("guard_not_boolean", branch.guard.span, seen=seen, better=f"{seen} == …")

    # --- what the core finds

    def _communication(self) -> Iterator[Problem]:
        inlined = inline(self._tree)
        if inlined.tree is None:
            yield from inlined.problems
            return
        tree = inlined.tree
        if not has_families(tree) or not unbound_problems(tree):
            yield from _core_problems(tree, {}, {})
            return
        # What is wrong with one binding only is wrong with the binding: `W[i] -> W[j]` is fine unless i is j.
        found = [_core_problems(tree, *binding) for binding in _example_bindings(tree)]
        common = set.intersection(*({(item.code, item.span) for item in problems} for problems in found))
        yield from (item for item in found[0] if (item.code, item.span) in common)


def _core_problems(tree: Choreography, counts: Mapping[str, int], indices: Mapping[str, int]) -> list[Problem]:
    """What binding families and lowering find."""
    found: list[Problem] = []
    if has_families(tree):
        bound = bind(tree, counts=counts, indices=indices)
        found += bound.problems
        if bound.tree is None:
            return found
        tree = bound.tree
    return found + [item for item in lower(tree).problems if item.kind not in UNPROJECTABLE_KINDS]


def _example_bindings(tree: Choreography) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Sizes and indices good enough to look at the shape of a protocol whose own are not known yet.

    Symbols that are an index by themselves are all 0 in the first, and ever different ones in the others.
    """
    counts: dict[str, int] = {}
    indices: dict[str, int] = {}
    alone: dict[str, None] = {}
    for item in all_statements(tree):
        match item:
            case ast.Loop(condition=ast.Count(times=str() as symbol)):
                counts[symbol] = 1
        for reference in roles_named(item):
            index = reference.index
            if isinstance(index, ast.Symbol):
                indices.setdefault(index.name, 0)
                alone.setdefault(index.name)
            elif isinstance(index, ast.Range):
                indices.update({bound: 0 for bound in (index.low,) if isinstance(bound, str)})
                low = index.low if isinstance(index.low, int) else 0
                indices.update({bound: low + 1 for bound in (index.high,) if isinstance(bound, str)})
    largest = max([2, *(number + 1 for number in indices.values()), *_written_indices(tree)])
    sizes = [role.size.count for role in tree.roles if isinstance(role.size, ast.Static)]
    room = min([max(largest, 1 + len(alone)), *sizes, INSTANCES_MAX])
    for role in tree.roles:
        if isinstance(role.size, ast.Runtime | ast.Symbol):
            counts[role.name] = min(max(largest, room), INSTANCES_MAX)
    yield counts, indices
    for first in (0, 1) if alone and room > 1 else ():
        apart = {name: (first + number) % room for number, name in enumerate(alone)}
        yield counts, {**apart, **{name: at for name, at in indices.items() if name not in apart}}


def _written_indices(tree: Choreography) -> Iterator[int]:
    for item in all_statements(tree):
        for reference in roles_named(item):
            if isinstance(reference.index, ast.Concrete):
                yield reference.index.number + 1
            elif isinstance(reference.index, ast.Range) and isinstance(reference.index.high, int):
                yield reference.index.high


def _repeated(parts: Iterable[ast.Constructor | ast.EffectOperation], what: str, noun: str) -> Iterator[Problem]:
    """Parts of one declaration that are called alike."""
    first: dict[str, Span] = {}
    for part in parts:
        if part.name in first:
            line = first[part.name].line
            yield problem("duplicate_declaration", part.span, what=what, noun=noun, name=part.name, line=line)
        first.setdefault(part.name, part.span)


def _check_metadata(operation: ast.EffectOperation) -> Iterator[Problem]:
    given = {item.key: item for item in operation.metadata}
    for item in operation.metadata:
        values = METADATA_VALUES.get(item.key)
        if values is None:
            yield problem("effect_key", item.span, seen=item.key, keys=", ".join(METADATA_VALUES))
        elif item.value not in values:
            yield problem("effect_value", item.span, key=item.key, seen=item.value, values=", ".join(values))
    grade = given.get("class")
    wanted = CLASS_OF_MODE[operation.mode]
    if grade is not None and grade.value in METADATA_VALUES["class"] and grade.value not in wanted:
        yield problem("effect_class", grade.span, seen=grade.value, mode=operation.mode, wanted=" or ".join(wanted))
    progress = given.get("progress")
    if operation.mode == "authoritative" and progress is not None and progress.value == "immediate":
        yield problem("authoritative_immediate", progress.span)
    agreement = given.get("agreement_use")
    if operation.mode == "observe" and agreement is not None and agreement.value == "required":
        yield problem("observe_agreement", agreement.span)


_COMMITMENTS = (ast.Begin, ast.Await, ast.Resolve, ast.Invalidate)
_NOUNS: dict[type[Node], tuple[str, str]] = {
    ast.ProofBundle: ("Bundle", "proof bundle"),
    ast.Profile: ("Profile", "profile"),
    ast.AgreementProfile: ("AgreementProfile", "agreement profile"),
    ast.RoleSet: ("RoleSet", "role set"),
    ast.RoleSubset: ("RoleSet", "role set"),
    ast.Shape: ("RoleSet", "shape"),
    ast.TypeAliasDeclaration: ("Type", "type"),
    ast.SumType: ("Type", "type"),
    ast.EffectInterface: ("Interface", "effect"),
    ast.Fragment: ("Fragment", "fragment"),
    ast.Operation: ("Operation", "operation"),
    ast.GuestRuntime: ("GuestRuntime", "guest runtime"),
}


def _first_of(tree: Choreography, kind: type[Kind]) -> dict[str, Kind]:
    """The declarations of a kind by name, the first of each name."""
    found: dict[str, Kind] = {}
    for item in tree.declarations:
        if isinstance(item, kind):
            found.setdefault(item.name, item)
    return found


# --- commitments --------------------------------------------------------------------------------------------------

_Stages: TypeAlias = frozenset[str]  # what an operation may have reached here, over all ways that lead here
_State: TypeAlias = dict[str, _Stages]  # by operation

# stage, word → stage, or the complaint and the advice
TRANSITIONS: Mapping[str, Mapping[str, str]] = {
    "new": {"begin": "begun"},
    "begun": {"await": "begun", "resolve": "resolved", "invalidate": "invalid"},
    "resolved": {"invalidate": "invalid"},
    "invalid": {},
}
_COMPLAINTS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("new", "await"): ("before its `begin`", "begin the operation first"),
    ("new", "resolve"): ("before its `begin`", "begin the operation first"),
    ("new", "invalidate"): ("before its `begin`", "begin the operation first"),
    ("begun", "begin"): ("twice", "an operation is begun once"),
    ("resolved", "begin"): ("after its `resolve`", "an operation is begun once"),
    ("resolved", "await"): ("after its `resolve`", "await it before; only `invalidate` may follow"),
    ("resolved", "resolve"): ("twice", "an operation is resolved once"),
}


class _Lifecycle:
    """Follows every operation through the runs of the body, calls written out; a table decides, this only walks."""

    def __init__(self, tree: Choreography) -> None:
        self._tree = tree
        self._problems: dict[Problem, None] = {}
        self._heads: list[tuple[str, list[_State]]] = []  # open recs: the label, and the states that come back to it

    def check(self) -> Iterable[Problem]:
        tree = inline(self._tree).tree
        if tree is not None and any(isinstance(item, _COMMITMENTS) for item in statements_of(tree.body)):
            self._block(tree.body, {})
        return self._problems

    def _block(self, block: ast.Block, state: _State) -> _State | None:
        """The state after a block; None when no run comes to its end."""
        following: _State | None = state
        for statement in block.items:
            if following is None:
                break
            following = self._statement(statement, following)
        return following

    def _statement(self, statement: Statement, state: _State) -> _State | None:
        match statement:
            case ast.Begin() | ast.Await() | ast.Resolve() | ast.Invalidate():
                return self._step(statement, state)
            case ast.Continue(label=label):
                for head, back in reversed(self._heads):
                    if head == label:
                        back.append(state)
                        break
                return None
            case ast.Rec() | ast.Loop():
                return self._repeated(statement, state)
            case ast.Parallel(branches=branches):
                # All of them run; in the order of the text, as every role takes them.
                return self._block(ast.Block(tuple(item for branch in branches for item in branch.items)), state)
        ways = [self._block(inner, dict(state)) for inner in ast.blocks_of(statement)]
        return _joined([way for way in ways if way is not None]) if ways else state

    def _repeated(self, statement: ast.Rec | ast.Loop, state: _State) -> _State | None:
        """Round and round until nothing new is reached; stages only grow, so that takes a few rounds."""
        condition = statement.condition if isinstance(statement, ast.Loop) else None
        label = statement.label if isinstance(statement, ast.Rec) else ""
        while True:
            back: list[_State] = []
            self._heads.append((label, back))
            end = self._block(statement.body, dict(state))
            self._heads.pop()
            if condition is not None and end is not None and condition != ast.Count(1):
                back.append(end)
            reached = _joined([state, *back])
            if reached == state:
                break
            state = reached or state
        if condition is None:
            return end
        if isinstance(condition, ast.Forever):
            return None
        is_surely_run = isinstance(condition, ast.Count) and condition.times != 0
        return end if is_surely_run else state

    def _step(self, statement: ast.Begin | ast.Await | ast.Resolve | ast.Invalidate, state: _State) -> _State:
        word = type(statement).__name__.lower()
        name = statement.operation
        reached: set[str] = set()
        for stage in sorted(state.get(name, _NEW)):
            following = TRANSITIONS[stage].get(word)
            if following is None:
                seen, advice = _COMPLAINTS.get((stage, word), ("after its `invalidate`", "nothing follows it"))
                self._problems.setdefault(
                    problem("lifecycle_order", statement.span, word=word, name=name, seen=seen, advice=advice)
                )
                following = {"begin": "begun", "await": "begun", "resolve": "resolved"}.get(word, "invalid")
            reached.add(following)
        return {**state, name: frozenset(reached)}


def _joined(states: Sequence[_State]) -> _State | None:
    """What may have been reached on any of the ways; None when there is no way."""
    if not states:
        return None
    names = dict.fromkeys(name for state in states for name in state)
    return {name: frozenset[str]().union(*(state.get(name, _NEW) for state in states)) for name in names}


_NEW: _Stages = frozenset({"new"})
