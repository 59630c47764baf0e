"""From grammar rules to tree nodes: one method for each rule, named as in `grammar.lark`.

Checks only what a rule's own parts decide (the five keys of an agreement profile, where `roles` may stand); names and
meanings are `validate.py`'s. The driver hands over untyped parts, which is why they are `Any` here and nowhere else.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from .. import ast
from ..ast import Block, Choreography, Name, RoleRef, TypeField, TypeName
from ..errors import Problem
from ..node import Span
from .diagnostics import problem
from .driver import Action
from .tokens import Token
from .words import CONDITIONAL_WORDS

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
AGREEMENT_KEYS = ("visibility", "rule", "usable_at", "finalized_at", "evidence")
METADATA_KEYS = ("class", "progress", "region", "agreement_use", "reentrancy")
_COMPOSE = {
    "all": "all_success",
    "all_success": "all_success",
    "first": "first_success",
    "first_success": "first_success",
    "threshold_success": "threshold_success",
}
_OUTCOMES = ("Success", "Failure", "Timeout", "Cancelled")
_TYPE_FORMS = frozenset({"unknown_type_form", "wrong_type_arity"})
_ARITY = {"Unit": 0, "Maybe": 1, "Result": 2}

ExtensionParser = Callable[[str, Span], "ast.Extension | Problem"]


@dataclass(frozen=True, slots=True)
class _RolesLine:
    roles: tuple[ast.Role, ...]
    colon: Token | None
    span: Span


@dataclass(frozen=True, slots=True)
class _Where:
    protocols: "tuple[_Protocol, ...]"
    span: Span


@dataclass(frozen=True, slots=True)
class _Protocol:
    word: Token
    name: Token
    head_roles: tuple[ast.Role, ...] | None
    requires: tuple[str, ...]
    uses: tuple[str, ...]
    under: tuple[str, ...]
    equals: Token | None
    body: Block
    span: Span


class Builder:
    """Makes the tree of one text. `problems` grows while it does."""

    def __init__(self, dialect: ast.Dialect, parse_extension: ExtensionParser | None = None) -> None:
        self._dialect: ast.Dialect = dialect
        self._parse_extension = parse_extension
        # What stood among a block's statements and is none, by the block it stood in (which the entry keeps alive).
        self._asides: dict[int, tuple[Block, list[_RolesLine | _Where]]] = {}
        self.problems: list[Problem] = []

    def actions(self) -> dict[str, Action]:
        """The methods by rule name."""
        return {name: getattr(self, name) for name in dir(type(self)) if not name.startswith("_") and name != "actions"}

    def _report(self, code: str, span: Span, **facts: str | int) -> None:
        self.problems.append(problem(code, span, **facts))

    # --- the file

    def start(self, values: list[Any], span: Span) -> Choreography | None:
        items = [item for item in values if item is not None]
        protocols = [item for item in items if isinstance(item, _Protocol)]
        self._check_order(items)
        if not protocols:
            if all(item is not None for item in values) and not self.problems:
                self._report("no_protocol", span)
            return None
        return self._assemble(protocols[0], items, span)

    def _check_order(self, items: Sequence[Any]) -> None:
        """One module, first; imports before declarations; one protocol, last."""
        protocol: _Protocol | None = None
        has_module = has_declaration = has_where = False
        for position, item in enumerate(items):
            if isinstance(item, ast.Attribute):
                if protocol is not None:
                    self._report("after_protocol", item.span)
            elif isinstance(item, ast.Module):
                if has_module:
                    self._report("two_modules", item.span)
                elif position:
                    self._report("misplaced_module", item.span)
                has_module = True
            elif isinstance(item, _Where):
                if protocol is None:
                    self._report("misplaced_where", item.span)
                elif has_where:
                    self._report("two_wheres", item.span)
                has_where = True
            elif isinstance(item, _Protocol):
                if protocol is not None:
                    self._report("two_protocols", item.name.span, first=protocol.name.text)
                    self._take_asides(item.body)
                protocol = protocol or item
            elif protocol is not None:
                self._report("after_protocol", item.span)
            elif isinstance(item, ast.Import):
                if has_declaration:
                    self._report("misplaced_import", item.span)
            else:
                has_declaration = True

    def _assemble(self, protocol: _Protocol, items: Sequence[Any], span: Span) -> Choreography:
        module = next((item for item in items if isinstance(item, ast.Module)), None)
        attributes = tuple(item for item in items if isinstance(item, ast.Attribute))
        lines, wheres = self._take_asides(protocol.body)
        wheres += [item for item in items if isinstance(item, _Where)]
        local_protocols = self._local_protocols(wheres)
        self._check_head(protocol)
        roles = self._roles(protocol, lines)
        self._report_stray_asides()
        return Choreography(
            name=protocol.name.text,
            roles=roles,
            body=protocol.body,
            namespace=self._namespace(module, attributes),
            requires=protocol.requires,
            uses=protocol.uses,
            under=protocol.under,
            local_protocols=local_protocols,
            declarations=tuple(item for item in items if isinstance(item, ast.Declaration)),
            module=module,
            imports=tuple(item for item in items if isinstance(item, ast.Import)),
            attributes=attributes,
            dialect=self._dialect,
            head=Name(protocol.name.text, span=protocol.name.span),
            span=span,
        )

    def _namespace(self, module: ast.Module | None, attributes: Sequence[ast.Attribute]) -> str | None:
        found = module.name if module else None
        for attribute in attributes:
            if attribute.key != "namespace":
                self._report("unknown_attribute", attribute.span, key=attribute.key)
                continue
            text = ast.value_text(attribute.value)
            if not _NAMESPACE.fullmatch(text):
                self._report("bad_namespace", attribute.span, seen=text)
                continue
            if found is not None and found != text:
                self._report("namespace_disagrees", attribute.span, attribute=text, module=found)
            found = found or text
        return found

    def _take_asides(self, block: Block) -> tuple[list[_RolesLine], list[_Where]]:
        _, asides = self._asides.pop(id(block), (block, []))
        lines = [aside for aside in asides if isinstance(aside, _RolesLine)]
        return lines, [aside for aside in asides if isinstance(aside, _Where)]

    def _check_head(self, protocol: _Protocol) -> None:
        if self._dialect == "layout" and protocol.equals is None:
            self._report("missing_equals", protocol.name.span, name=protocol.name.text)
        if self._dialect == "layout" and protocol.word.text == "choreography":
            self._report("brace_only", protocol.word.span, what="`choreography`", instead="write `protocol`")

    def _roles(self, protocol: _Protocol, lines: Sequence[_RolesLine]) -> tuple[ast.Role, ...]:
        first = protocol.body.items[0].span.start if protocol.body.items else None
        for position, line in enumerate(lines):
            if position or (first is not None and first < line.span.start):
                self._report("misplaced_roles", line.span)
            elif line.colon is not None and self._dialect == "layout":
                self._report("roles_colon", line.colon.span)
            if not line.roles:
                self._report("empty_roles", line.span)
        written = lines[0].roles if lines else None
        if protocol.head_roles is not None and written is not None and protocol.head_roles != written:
            self._report("roles_twice", lines[0].span)
        roles = written or protocol.head_roles or ()
        if not roles and protocol.body.items and not (lines and not lines[0].roles):
            self._report("no_roles", protocol.name.span, name=protocol.name.text)
        return roles

    def _local_protocols(self, wheres: Sequence[_Where]) -> tuple[ast.LocalProtocol, ...]:
        found: list[ast.LocalProtocol] = []
        for where in wheres:
            for local in where.protocols:
                lines, inner = self._take_asides(local.body)
                for line in lines:
                    self._report("misplaced_roles", line.span)
                if local.head_roles:
                    self._report("misplaced_roles", local.name.span)
                self._check_head(local)
                found.append(ast.LocalProtocol(local.name.text, local.body, span=local.span))
                found.extend(self._local_protocols(inner))
        return tuple(found)

    def _report_stray_asides(self) -> None:
        for _, asides in self._asides.values():
            for aside in asides:
                self._report("misplaced_roles" if isinstance(aside, _RolesLine) else "misplaced_where", aside.span)
        self._asides.clear()

    def bad(self, values: list[Any], span: Span) -> None:
        return None

    def loose_block(self, values: list[Any], span: Span) -> None:
        return None

    def loose_branch(self, values: list[Any], span: Span) -> None:
        return None

    def module(self, values: list[Any], span: Span) -> ast.Module:
        name, exports = values
        return ast.Module(name.text, tuple(exports or ()), span=span)

    def import_(self, values: list[Any], span: Span) -> ast.Import:
        path, alias, names = values
        return ast.Import(path, alias.text if alias else None, tuple(names) if names is not None else None, span=span)

    def attribute(self, values: list[Any], span: Span) -> ast.Attribute:
        return ast.Attribute(values[0].text, values[1], span=span)

    def protocol(self, values: list[Any], span: Span) -> _Protocol:
        word, name, head, requires, uses, under, equals, body = values
        return _Protocol(
            word, name, head, tuple(requires or ()), tuple(uses or ()), tuple(under or ()), equals, body, span
        )

    def role_head(self, values: list[Any], span: Span) -> tuple[ast.Role, ...]:
        return tuple(values[0] or ())

    def where(self, values: list[Any], span: Span) -> _Where:
        return _Where(tuple(value for value in values if isinstance(value, _Protocol)), span)

    def role_declarations(self, values: list[Any], span: Span) -> list[ast.Role]:
        return cast("list[ast.Role]", values)

    def role_declaration(self, values: list[Any], span: Span) -> ast.Role:
        return ast.Role(values[0].text, span=span)

    def static_role(self, values: list[Any], span: Span) -> ast.Role:
        return ast.Role(values[0].text, ast.Static(_integer(values[1]), span=values[1].span), span=span)

    def symbolic_role(self, values: list[Any], span: Span) -> ast.Role:
        return ast.Role(values[0].text, ast.Symbol(values[1].text, span=values[1].span), span=span)

    def runtime_role(self, values: list[Any], span: Span) -> ast.Role:
        return ast.Role(values[0].text, ast.Runtime(span=span), span=span)

    # --- declarations

    def proof_bundle(self, values: list[Any], span: Span) -> ast.ProofBundle:
        name, *clauses = values
        once: dict[str, Any] = {}
        for key, value, place in clauses:
            if key == "constraint":
                once.setdefault("constraint", []).append(value)
            elif key in once:
                self._report("repeated_key", place, key=key)
            else:
                once[key] = value
        return ast.ProofBundle(
            name.text,
            once.get("version"),
            once.get("issuer"),
            tuple(once.get("constraint", ())),
            tuple(once.get("requires", ())),
            span=span,
        )

    def bundle_version(self, values: list[Any], span: Span) -> tuple[str, str, Span]:
        return ("version", values[0].text, span)

    def bundle_issuer(self, values: list[Any], span: Span) -> tuple[str, str, Span]:
        return ("issuer", values[0].text, span)

    def bundle_constraint(self, values: list[Any], span: Span) -> tuple[str, str, Span]:
        return ("constraint", values[0].text, span)

    def bundle_requires(self, values: list[Any], span: Span) -> tuple[str, tuple[str, ...], Span]:
        return ("requires", tuple(values[0] or ()), span)

    def profile(self, values: list[Any], span: Span) -> ast.Profile:
        name, fairness, admissibility, window = values
        return ast.Profile(name.text, fairness, admissibility, window, span=span)

    def word(self, values: list[Any], span: Span) -> str:
        return str(values[0].text)

    def agreement_profile(self, values: list[Any], span: Span) -> ast.AgreementProfile:
        name, *clauses = values
        given: dict[str, str] = {}
        for key, value in clauses:
            if key.text in given:
                self._report("repeated_key", key.span, key=key.text)
            given.setdefault(key.text, value)
        missing = [key for key in AGREEMENT_KEYS if key not in given]
        if missing:
            keys = ", ".join(AGREEMENT_KEYS)
            self._report("missing_agreement_key", name.span, name=name.text, missing=_listed(missing), keys=keys)
        return ast.AgreementProfile(name.text, *(given.get(key, "") for key in AGREEMENT_KEYS), span=span)

    def agreement_clause(self, values: list[Any], span: Span) -> tuple[Token, str]:
        return (values[0], values[1])

    def role_set(self, values: list[Any], span: Span) -> ast.RoleSet:
        return ast.RoleSet(values[0].text, tuple(values[1]), span=span)

    def role_subset(self, values: list[Any], span: Span) -> ast.RoleSubset:
        name, source, low, high = values
        return ast.RoleSubset(name.text, source.text, _integer(low), _integer(high), span=span)

    def shape(self, values: list[Any], span: Span) -> ast.Shape:
        return ast.Shape(values[0].text, values[1].text, tuple(values[2]), span=span)

    def type_alias(self, values: list[Any], span: Span) -> ast.TypeAliasDeclaration:
        return ast.TypeAliasDeclaration(values[0].text, values[1], span=span)

    def sum_type(self, values: list[Any], span: Span) -> ast.SumType:
        return ast.SumType(values[0].text, tuple(values[1:]), span=span)

    def constructor(self, values: list[Any], span: Span) -> ast.Constructor:
        return ast.Constructor(values[0].text, tuple(values[1] or ()), span=span)

    def effect(self, values: list[Any], span: Span) -> ast.EffectInterface:
        return ast.EffectInterface(values[0].text, tuple(item for item in values[1:] if item is not None), span=span)

    def effect_operation(self, values: list[Any], span: Span) -> ast.EffectOperation:
        mode, name, takes, gives, metadata = values
        given: set[str] = set()
        for entry in metadata or ():
            if entry.key in given:
                self._report("repeated_key", entry.span, key=entry.key)
            given.add(entry.key)
        missing = [key for key in METADATA_KEYS if key not in given]
        if missing:
            keys = ", ".join(METADATA_KEYS)
            self._report("missing_metadata", name.span, name=name.text, missing=_listed(missing), keys=keys)
        return ast.EffectOperation(
            mode.text if mode else "command", name.text, takes, gives, tuple(metadata or ()), span=span
        )

    def metadata(self, values: list[Any], span: Span) -> list[ast.Metadata]:
        return cast("list[ast.Metadata]", values)

    def metadatum(self, values: list[Any], span: Span) -> ast.Metadata:
        return ast.Metadata(values[0].text, values[1].text, span=span)

    def fragment(self, values: list[Any], span: Span) -> ast.Fragment:
        return ast.Fragment(values[0].text, tuple(values[1] or ()), span=span)

    def operation(self, values: list[Any], span: Span) -> ast.Operation:
        name, parameters, owner, region, progress, agreement, prestate, compose, body = values
        if progress is None:
            self._report("missing_progress", name.span, name=name.text)
            progress = ast.ProgressContract("", span=name.span)
        return ast.Operation(
            name=name.text,
            parameters=tuple(parameters or ()),
            owner=owner,
            region=region,
            progress=progress,
            agreement=agreement.text if agreement else None,
            prestate=prestate.text if prestate else None,
            compose=compose,
            body=body,
            span=span,
        )

    def region(self, values: list[Any], span: Span) -> ast.Region:
        return ast.Region(values[0].text, tuple(values[1] or ()), span=span)

    def compose(self, values: list[Any], span: Span) -> ast.ComposePolicy | None:
        name, number = values
        kind = _COMPOSE.get(name.text)
        if kind is None:
            self._report("unknown_compose", name.span, seen=name.text)
            return None
        threshold = _integer(number) if number else None
        if kind == "threshold_success" and (threshold is None or threshold < 1):
            self._report("compose_threshold", span, seen="a threshold below 1 is always reached")
        elif kind != "threshold_success" and number:
            self._report("compose_threshold", span, seen=f"`{name.text}` takes no number")
        return ast.ComposePolicy(cast("ast.ComposeKind", kind), threshold, span=span)

    def progress(self, values: list[Any], span: Span) -> ast.ProgressContract:
        name, requires, within, on_timeout, on_stall = (value.text if value else None for value in values)
        return ast.ProgressContract(str(name), requires, within, on_timeout, on_stall, span=span)

    def guest_runtime(self, values: list[Any], span: Span) -> ast.GuestRuntime:
        name, *lines = values
        uses = tuple(used for line in lines if isinstance(line, list) for used in line)
        entries = tuple(line for line in lines if isinstance(line, str))
        if not entries and None not in lines:
            self._report("incomplete_guest", name.span, name=name.text)
        return ast.GuestRuntime(name.text, uses, entries, span=span)

    def guest_uses(self, values: list[Any], span: Span) -> list[str]:
        return list(values[0])

    def guest_entry(self, values: list[Any], span: Span) -> str:
        return str(values[0].text)

    # --- blocks

    def block(self, values: list[Any], span: Span) -> Block:
        asides = [value for value in values if isinstance(value, _RolesLine | _Where)]
        block = Block(tuple(value for value in values if isinstance(value, ast.Statement)), span=span)
        if asides:
            self._asides[id(block)] = (block, asides)
        return block

    def inline_block(self, values: list[Any], span: Span) -> Block:
        return self.block(values, span)

    def empty_block(self, values: list[Any], span: Span) -> Block:
        return Block((), span=span)

    def roles_line(self, values: list[Any], span: Span) -> _RolesLine:
        return _RolesLine(tuple(values[1] or ()), values[0], span)

    def extension(self, values: list[Any], span: Span) -> ast.Extension | None:
        assert self._parse_extension is not None, "an EXTENSION token comes from a registered word"
        made = self._parse_extension(values[0].text, values[0].span)
        if isinstance(made, Problem):
            self.problems.append(made)
            return None
        return made

    # --- messages

    def send(self, values: list[Any], span: Span) -> ast.Send:
        sender, record, receiver, message = values
        return ast.Send(sender, receiver, message, tuple(record or ()), span=span)

    def broadcast(self, values: list[Any], span: Span) -> ast.Broadcast:
        sender, record, message = values
        return ast.Broadcast(sender, message, tuple(record or ()), span=span)

    def role(self, values: list[Any], span: Span) -> RoleRef:
        return RoleRef(values[0].text, span=span)

    def concrete_role(self, values: list[Any], span: Span) -> RoleRef:
        return RoleRef(values[0].text, ast.Concrete(_integer(values[1]), span=values[1].span), span=span)

    def indexed_role(self, values: list[Any], span: Span) -> RoleRef:
        return RoleRef(values[0].text, ast.Symbol(values[1].text, span=values[1].span), span=span)

    def every_role(self, values: list[Any], span: Span) -> RoleRef:
        return RoleRef(values[0].text, ast.Wildcard(span=span), span=span)

    def range_role(self, values: list[Any], span: Span) -> RoleRef:
        return RoleRef(values[0].text, ast.Range(values[1], values[2], span=span), span=span)

    def bound(self, values: list[Any], span: Span) -> int | str:
        token: Token = values[0]
        return _integer(token) if token.kind == "INTEGER" else token.text

    def record(self, values: list[Any], span: Span) -> list[ast.Annotation]:
        return list(values[0] or ())

    def entries(self, values: list[Any], span: Span) -> list[ast.Annotation]:
        return cast("list[ast.Annotation]", values)

    def entry(self, values: list[Any], span: Span) -> ast.Annotation:
        key, sign, value = values
        if sign.kind == "=" and self._dialect == "layout":
            self._report("equals_in_record", sign.span, key=key.text)
        return ast.Annotation(key.text, value, span=span)

    def text_value(self, values: list[Any], span: Span) -> ast.TextValue:
        return ast.TextValue(values[0].text, span=span)

    def integer_value(self, values: list[Any], span: Span) -> ast.IntegerValue:
        return ast.IntegerValue(_integer(values[0]), span=span)

    def negative_value(self, values: list[Any], span: Span) -> ast.IntegerValue:
        return ast.IntegerValue(-_integer(values[0]), span=span)

    def duration_value(self, values: list[Any], span: Span) -> ast.DurationValue:
        return ast.DurationValue(values[0], span=span)

    def name_value(self, values: list[Any], span: Span) -> ast.NameValue | ast.BooleanValue:
        text = values[0].text
        return ast.BooleanValue(text == "true", span=span) if text in _TRUTHS else ast.NameValue(text, span=span)

    def list_value(self, values: list[Any], span: Span) -> ast.ListValue:
        return ast.ListValue(tuple(values[0] or ()), span=span)

    def group_value(self, values: list[Any], span: Span) -> ast.GroupValue:
        return ast.GroupValue(tuple(values[0] or ()), span=span)

    def values(self, values: list[Any], span: Span) -> list[ast.AnnotationValue]:
        return cast("list[ast.AnnotationValue]", values)

    def duration(self, values: list[Any], span: Span) -> int:
        text = "".join(value.text for value in values)
        digits = text.rstrip("mhs")
        return _number(digits) * _UNIT_MS[text[len(digits) :]]

    def message(self, values: list[Any], span: Span) -> ast.Message:
        name, kind, payload = values
        return ast.Message(name.text, kind, payload, span=span)

    def payload(self, values: list[Any], span: Span) -> ast.Payload:
        for found in self.problems:
            if found.code in _TYPE_FORMS and span.start <= found.span.start < span.end:
                self.problems[self.problems.index(found)] = replace(found, kind="InvalidMessage")
        return ast.Payload(tuple(values[0] or ()), span=span)

    def fields(self, values: list[Any], span: Span) -> list[TypeField]:
        return cast("list[TypeField]", values)

    def field(self, values: list[Any], span: Span) -> TypeField:
        return TypeField(values[0].text, values[1], span=span)

    def bare_field(self, values: list[Any], span: Span) -> TypeField:
        return TypeField(None, values[0], span=span)

    def record_type(self, values: list[Any], span: Span) -> ast.RecordType:
        return ast.RecordType(tuple(values[0] or ()), span=span)

    def path_type(self, values: list[Any], span: Span) -> TypeName:
        return TypeName(values[0], tuple(values[1] or ()), span=span)

    def types(self, values: list[Any], span: Span) -> list[ast.TypeExpression]:
        return cast("list[ast.TypeExpression]", values)

    def dotted(self, values: list[Any], span: Span) -> tuple[str, ...]:
        return tuple(value.text for value in values)

    def applied_type(self, values: list[Any], span: Span) -> TypeName:
        head, *arguments = values
        name = ".".join(head.path)
        wanted = _ARITY.get(name)
        if wanted is None or head.arguments:
            self._report("unknown_type_form", span, seen=name)
        elif wanted != len(arguments):
            example = {"Unit": "write `Unit`", "Maybe": "write `Maybe T`", "Result": "write `Result E T`"}[name]
            self._report("wrong_type_arity", span, name=name, wanted=wanted, count=len(arguments), example=example)
        return TypeName(head.path, tuple(arguments), span=span)

    # --- control

    def choice(self, values: list[Any], span: Span) -> ast.Choice:
        return ast.Choice(values[0], tuple(value for value in values[1:] if value is not None), span=span)

    def choice_branch(self, values: list[Any], span: Span) -> ast.ChoiceBranch:
        label, guard, body = values
        return ast.ChoiceBranch(label.text, guard, body, span=span)

    def predicate(self, values: list[Any], span: Span) -> ast.Predicate:
        for node in ast.walk(values[0]):
            if isinstance(node, Name) and node.name in CONDITIONAL_WORDS:
                self._report("invalid_guard", node.span, seen=f"`{node.name}`")
        return ast.Predicate(values[0], span=span)

    def evidence(self, values: list[Any], span: Span) -> ast.Evidence:
        interface, operation, arguments, binder = values
        return ast.Evidence(interface.text, operation.text, tuple(arguments or ()), binder.text, span=span)

    def loop_decide(self, values: list[Any], span: Span) -> ast.Loop:
        return ast.Loop(ast.Decides(values[0], span=values[0].span), values[1], span=span)

    def loop_repeat(self, values: list[Any], span: Span) -> ast.Loop:
        return ast.Loop(ast.Count(values[0], span=_first_line(span)), values[1], span=span)

    def loop_while(self, values: list[Any], span: Span) -> ast.Loop:
        return ast.Loop(ast.While(values[0].text, span=values[0].span), values[1], span=span)

    def loop_forever(self, values: list[Any], span: Span) -> ast.Loop:
        return ast.Loop(ast.Forever(span=_first_line(span)), values[0], span=span)

    def rec(self, values: list[Any], span: Span) -> ast.Rec:
        return ast.Rec(values[0].text, values[1], span=span)

    def continue_(self, values: list[Any], span: Span) -> ast.Continue:
        return ast.Continue(values[0].text, span=span)

    def call(self, values: list[Any], span: Span) -> ast.Call:
        return ast.Call(values[0].text, span=span)

    def par(self, values: list[Any], span: Span) -> ast.Parallel:
        branches = tuple(value for value in values if value is not None)
        if len(branches) < 2 and None not in values:
            self._report("one_branch_par", _first_line(span), count=len(branches))
        return ast.Parallel(branches, span=span)

    def par_branch(self, values: list[Any], span: Span) -> Block:
        return cast("Block", values[0])

    def timeout(self, values: list[Any], span: Span) -> ast.Timeout:
        milliseconds, owner, body, on_timeout, on_cancel = values
        return ast.Timeout(owner, milliseconds, body, on_timeout, on_cancel, span=span)

    def let_(self, values: list[Any], span: Span) -> ast.Let:
        return self.let_in([*values, None], span)

    def let_in(self, values: list[Any], span: Span) -> ast.Let:
        mode, name, expression, body = values
        kind = cast("ast.LetMode", mode.text if mode else "plain")
        wanted = {"authoritative": "check", "observe": "observe"}.get(kind)
        if wanted and not (isinstance(expression, ast.EffectCall) and expression.mode == wanted):
            code = "authoritative_without_check" if wanted == "check" else "observe_without_observe"
            self._report(code, expression.span, name=name.text)
        return ast.Let(name.text, kind, expression, body, span=span)

    def case(self, values: list[Any], span: Span) -> ast.Case:
        expression, decider, *branches = values
        return ast.Case(expression, decider, tuple(value for value in branches if value is not None), span=span)

    def case_branch(self, values: list[Any], span: Span) -> ast.CaseBranch:
        constructor, binders, body = values
        return ast.CaseBranch(constructor.text, tuple(binders or ()), body, span=span)

    # --- publication, handover, commitments

    def publish(self, values: list[Any], span: Span) -> ast.Publish | ast.PublishAuthority:
        expression, name = values
        if name is not None:
            return ast.PublishAuthority(expression, name.text, span=span)
        match expression:
            case Name(name=event):
                return ast.Publish(event, span=span)
            case ast.Apply(function=Name(name=event), arguments=(argument,)):
                return ast.Publish(event, argument, span=span)
            case ast.Apply(function=Name(name=event), arguments=()):
                return ast.Publish(event, span=span)
        self._report("publish_form", expression.span)
        return ast.Publish("", span=span)

    def materialize(self, values: list[Any], span: Span) -> ast.Materialize:
        return ast.Materialize(values[0].text, values[1].text, span=span)

    def handoff(self, values: list[Any], span: Span) -> ast.Handoff:
        return ast.Handoff(values[0].text, values[1], values[2].text, span=span)

    def dependent_work(self, values: list[Any], span: Span) -> ast.DependentWork:
        name, argument, operation = values
        return ast.DependentWork(name.text, argument, operation.text, span=span)

    def begin(self, values: list[Any], span: Span) -> ast.Begin:
        name, arguments, progress = values
        return ast.Begin(name.text, tuple(arguments or ()), progress, span=span)

    def await_(self, values: list[Any], span: Span) -> ast.Await:
        return ast.Await(values[0].text, span=span)

    def resolve(self, values: list[Any], span: Span) -> ast.Resolve:
        name, outcome, argument = values
        kind = outcome.text
        if kind not in _OUTCOMES:
            self._report("unknown_outcome", outcome.span, seen=kind)
            kind = "Failure"
        elif kind == "Cancelled" and argument is not None:
            self._report("cancelled_argument", argument.span)
        return ast.Resolve(name.text, kind, argument, span=span)

    def invalidate(self, values: list[Any], span: Span) -> ast.Invalidate:
        return ast.Invalidate(values[0].text, span=span)

    # --- expressions

    def either(self, values: list[Any], span: Span) -> ast.Binary:
        return ast.Binary("||", values[0], values[1], span=span)

    def both(self, values: list[Any], span: Span) -> ast.Binary:
        return ast.Binary("&&", values[0], values[1], span=span)

    def compare(self, values: list[Any], span: Span) -> ast.Binary:
        return ast.Binary(values[1].text, values[0], values[2], span=span)

    def negation(self, values: list[Any], span: Span) -> ast.Not:
        return ast.Not(values[0], span=span)

    def member(self, values: list[Any], span: Span) -> ast.Member:
        return ast.Member(values[0], values[1].text, span=span)

    def apply(self, values: list[Any], span: Span) -> ast.Apply:
        return ast.Apply(values[0], tuple(values[1] or ()), span=span)

    def subscript(self, values: list[Any], span: Span) -> ast.Item:
        return ast.Item(values[0], values[1], span=span)

    def name(self, values: list[Any], span: Span) -> ast.Name | ast.Constant:
        text = values[0].text
        return ast.Constant(text == "true", span=span) if text in _TRUTHS else Name(text, span=span)

    def integer(self, values: list[Any], span: Span) -> ast.Constant:
        return ast.Constant(_integer(values[0]), span=span)

    def text(self, values: list[Any], span: Span) -> ast.Constant:
        return ast.Constant(values[0].text, span=span)

    def check_call(self, values: list[Any], span: Span) -> ast.EffectCall:
        interface, operation, arguments = values
        return ast.EffectCall("check", interface.text, operation.text, tuple(arguments or ()), span=span)

    def observe_call(self, values: list[Any], span: Span) -> ast.EffectCall:
        interface, operation, arguments = values
        return ast.EffectCall("observe", interface.text, operation.text, tuple(arguments or ()), span=span)

    def transfer(self, values: list[Any], span: Span) -> ast.Transfer:
        return ast.Transfer(values[0].text, values[1], values[2], span=span)

    def arguments(self, values: list[Any], span: Span) -> list[ast.Expression]:
        return cast("list[ast.Expression]", values)

    def names(self, values: list[Any], span: Span) -> list[str]:
        return [value.text for value in values]


_NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_TRUTHS = ("true", "false")
# Beyond this a written number is a slip, and reading a million digits would take quadratic time.
DIGITS_MAX = 19


def _number(digits: str) -> int:
    return int(digits[: DIGITS_MAX + 1] or "0")


def _integer(token: Token) -> int:
    return _number(token.text)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _first_line(span: Span) -> Span:
    if span.line == span.end_line:
        return span
    return Span(span.start, span.start + 3, span.line, span.column, span.line, span.column + 3)
