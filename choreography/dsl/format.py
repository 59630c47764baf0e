"""The tree as canonical text of the layout dialect; parsing it gives the same tree again.

Keeps comments beside what they stood beside. Changes no meaning: roles move to the `roles` line, indices, quotes and
spaces become uniform.
"""

from collections.abc import Sequence

from .. import ast
from ..ast import Block, Choreography, Statement

INDENT = "  "
# A message that would be wider stands below its sender's record.
WIDTH_MAX = 120
_UNITS = (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_PRECEDENCE = {"||": 1, "&&": 2}


def format_choreography(tree: Choreography) -> str:
    """The canonical text, ending with a line break. Idempotent: formatting its parse gives the same text. O(nodes)."""
    printer = _Printer(tree.comments)
    printer.file(tree)
    return printer.text()


# --- small parts --------------------------------------------------------------------------------------------------


def format_role(reference: ast.RoleRef) -> str:
    """A role reference as written: `W`, `W[1]`, `W[i]`, `W[*]`, `W[0..2]`."""
    match reference.index:
        case None:
            return reference.name
        case ast.Concrete(number=number):
            return f"{reference.name}[{number}]"
        case ast.Symbol(name=name):
            return f"{reference.name}[{name}]"
        case ast.Wildcard():
            return f"{reference.name}[*]"
        case ast.Range(low=low, high=high):
            return f"{reference.name}[{low}..{high}]"


def format_declared_role(role: ast.Role) -> str:
    """A role as the `roles` line declares it."""
    match role.size:
        case None:
            return role.name
        case ast.Static(count=count):
            return f"{role.name}[{count}]"
        case ast.Symbol(name=name):
            return f"{role.name}[{name}]"
        case ast.Runtime():
            return f"{role.name}[*]"


def format_type(kind: ast.TypeExpression) -> str:
    """A type with generics in `<…>`."""
    if isinstance(kind, ast.RecordType):
        return f"{{ {_fields(kind.fields)} }}" if kind.fields else "{ }"
    arguments = f"<{', '.join(format_type(argument) for argument in kind.arguments)}>" if kind.arguments else ""
    return ".".join(kind.path) + arguments


def _declared_type(kind: ast.TypeExpression) -> str:
    """A type as a declaration writes it: `Result E T` and `Maybe T` without brackets."""
    if isinstance(kind, ast.TypeName) and kind.path in (("Result",), ("Maybe",)) and kind.arguments:
        wanted = 2 if kind.path == ("Result",) else 1
        if len(kind.arguments) == wanted and all(isinstance(item, ast.TypeName) for item in kind.arguments):
            return " ".join([*kind.path, *(format_type(argument) for argument in kind.arguments)])
    return format_type(kind)


def _fields(fields: Sequence[ast.TypeField]) -> str:
    return ", ".join(
        f"{item.name} : {format_type(item.type)}" if item.name else format_type(item.type) for item in fields
    )


def format_payload(payload: ast.Payload) -> str:
    """A payload, always in parentheses."""
    return f"({_fields(payload.fields)})"


def format_message(message: ast.Message) -> str:
    """`Name of Type (payload)`."""
    kind = f" of {format_type(message.type)}" if message.type is not None else ""
    if message.payload is None:
        return message.name + kind
    return f"{message.name}{kind}{' ' if kind else ''}{format_payload(message.payload)}"


def format_duration(milliseconds: int) -> str:
    """The largest unit that needs no fraction."""
    unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0 and (milliseconds or size == 1))
    return f"{milliseconds // size}{unit}"


def format_value(value: ast.AnnotationValue) -> str:
    """An annotation's value as written."""
    match value:
        case ast.TextValue(text=text):
            return f'"{text}"'
        case ast.IntegerValue(number=number):
            return str(number)
        case ast.BooleanValue(truth=truth):
            return "true" if truth else "false"
        case ast.DurationValue(milliseconds=milliseconds):
            return format_duration(milliseconds)
        case ast.NameValue(name=name):
            return name
        case ast.ListValue(items=items):
            return f"[{', '.join(format_value(item) for item in items)}]"
        case ast.GroupValue(items=items):
            return f"({', '.join(format_value(item) for item in items)})"


def format_record(annotations: Sequence[ast.Annotation]) -> str:
    """A sender's record with a space before it; empty without annotations."""
    if not annotations:
        return ""
    return f" {{ {', '.join(f'{item.key} : {format_value(item.value)}' for item in annotations)} }}"


def format_expression(expression: ast.Expression, *, above: int = 0) -> str:
    """An expression with only the parentheses it needs; `above` is the strength of the operator around it."""
    match expression:
        case ast.Name(name=name):
            return name
        case ast.Constant(value=bool() as truth):
            return "true" if truth else "false"
        case ast.Constant(value=int() as number):
            return str(number)
        case ast.Constant(value=text):
            return f'"{text}"'
        case ast.Member(target=target, name=name):
            return f"{format_expression(target, above=5)}.{name}"
        case ast.Item(target=target, index=index):
            return f"{format_expression(target, above=5)}[{format_expression(index)}]"
        case ast.Apply(function=function, arguments=arguments):
            return f"{format_expression(function, above=5)}({_arguments(arguments)})"
        case ast.Not(operand=operand):
            return _wrapped(f"!{format_expression(operand, above=4)}", 4, above)
        case ast.Binary(operator=operator, left=left, right=right):
            strength = _PRECEDENCE.get(operator, 3)
            first = format_expression(left, above=strength if strength < 3 else 4)
            second = format_expression(right, above=strength + 1)
            return _wrapped(f"{first} {operator} {second}", strength, above)
        case ast.EffectCall(mode=mode, interface=interface, operation=operation, arguments=arguments):
            return _wrapped(f"{mode} {interface}.{operation}({_arguments(arguments)})", 5, above)
        case ast.Transfer(subject=subject, source=source, target=target_role):
            shown = f"transfer {subject} from {format_role(source)} to {format_role(target_role)}"
            return _wrapped(shown, 0, above)


def _wrapped(text: str, strength: int, above: int) -> str:
    return f"({text})" if strength < above else text


def _arguments(arguments: Sequence[ast.Expression]) -> str:
    return ", ".join(format_expression(argument) for argument in arguments)


def format_guard(guard: ast.Guard | None) -> str:
    """A guard with a space before it; empty when there is none."""
    match guard:
        case None:
            return ""
        case ast.Predicate(expression=expression):
            return f" when ({format_expression(expression)})"
        case ast.Evidence(interface=interface, operation=operation, arguments=arguments, binder=binder):
            return f" when check {interface}.{operation}({_arguments(arguments)}) yields {binder}"


def _progress(contract: ast.ProgressContract) -> str:
    parts = [f"progress {contract.name}"]
    parts += [f"requires {contract.requires}"] if contract.requires else []
    parts += [f"within {contract.within}"] if contract.within else []
    parts += [f"on timeout => {contract.on_timeout}"] if contract.on_timeout else []
    parts += [f"on stall => {contract.on_stall}"] if contract.on_stall else []
    return " ".join(parts)


def summarise(statement: Statement) -> str:
    """A statement's first line, for reports."""
    match statement:
        case ast.Send(sender=sender, receiver=receiver, message=message, annotations=annotations):
            head = f"{format_role(sender)}{format_record(annotations)} -> {format_role(receiver)}"
            return f"{head} : {format_message(message)}"
        case ast.Broadcast(sender=sender, message=message, annotations=annotations):
            return f"{format_role(sender)}{format_record(annotations)} ->* : {format_message(message)}"
        case ast.Choice(chooser=chooser):
            return f"choice {format_role(chooser)} at"
        case ast.Loop(condition=condition):
            return f"loop {_condition(condition)}"
        case ast.Rec(label=label):
            return f"rec {label}"
        case ast.Continue(label=label):
            return f"continue {label}"
        case ast.Parallel():
            return "par"
        case ast.Timeout(owner=owner, milliseconds=milliseconds):
            return f"timeout {format_duration(milliseconds)} {format_role(owner)} at"
        case ast.Call(protocol=protocol):
            return f"call {protocol}"
        case ast.Let(name=name, mode=mode, expression=expression, body=body):
            word = "let" if mode == "plain" else f"{mode} let"
            return f"{word} {name} = {format_expression(expression)}{' in' if body is not None else ''}"
        case ast.Case(expression=expression, decider=decider):
            return f"case {format_expression(expression)}{f' at {format_role(decider)}' if decider else ''} of"
        case _:
            return _summarise_authority(statement)


def _summarise_authority(statement: Statement) -> str:
    match statement:
        case ast.Publish(event=event, argument=argument):
            return f"publish {event}{_optional(argument)}"
        case ast.PublishAuthority(witness=witness, name=name):
            return f"publish {format_expression(witness)} as {name}"
        case ast.Materialize(proof=proof, publication=publication):
            return f"materialize {proof} from {publication}"
        case ast.Handoff(operation=operation, target=target, receipt=receipt):
            return f"handoff {operation} to {format_role(target)} with {receipt}"
        case ast.DependentWork(name=name, argument=argument, operation=operation):
            return f"dependent work {name}{_optional(argument)} required for {operation}"
        case ast.Begin(operation=operation, arguments=arguments, progress=progress):
            shown = f"({_arguments(arguments)})" if arguments else ""
            return f"begin {operation}{shown}{f' {_progress(progress)}' if progress else ''}"
        case ast.Await(operation=operation):
            return f"await {operation}"
        case ast.Resolve(operation=operation, outcome=outcome, argument=argument):
            return f"resolve {operation} as {outcome}{_optional(argument)}"
        case ast.Invalidate(operation=operation):
            return f"invalidate {operation}"
        case ast.Extension(raw=raw):
            return raw.splitlines()[0] if raw else ""
    raise AssertionError(f"no line for {type(statement).__name__}")


def _optional(argument: ast.Expression | None) -> str:
    return f"({format_expression(argument)})" if argument is not None else ""


def _condition(condition: ast.LoopCondition) -> str:
    match condition:
        case ast.Decides(role=role):
            return f"decide by {format_role(role)}"
        case ast.Count(times=times):
            return f"repeat {times}"
        case ast.While(condition=text):
            return f'while "{text}"'
        case ast.Forever():
            return "forever"


# --- lines --------------------------------------------------------------------------------------------------------


class _Printer:
    """Writes lines and, before each, the comments that stood before it in the text."""

    def __init__(self, comments: Sequence[ast.Comment]) -> None:
        self._comments = sorted(comments, key=lambda comment: comment.span.start)
        self._next = 0
        self._lines: list[str] = []
        self._comment_line = 0  # the source line on which the last written comment ended
        self._line_of: int | None = None  # the source line the last written line came from
        self._depth = 0

    def text(self) -> str:
        """Everything written; comments that are left over come last."""
        while self._next < len(self._comments):
            self._write_comment(self._comments[self._next])
        return "\n".join(self._lines).rstrip("\n") + "\n"

    def _line(self, text: str, node: ast.Node | None = None, *, is_apart: bool = False) -> None:
        if node is not None and node.span.line:
            self._comments_before(node.span.start)
        if is_apart and self._lines and self._lines[-1]:
            self._separate()
        self._lines.append(f"{INDENT * self._depth}{text}")
        self._line_of = node.span.line if node is not None and node.span.line else None

    def _separate(self) -> None:
        """An empty line, above the comments that belong to what comes."""
        place = len(self._lines)
        while place and self._lines[place - 1].lstrip().startswith(("--", "{-")):
            place -= 1
        if place and self._lines[place - 1]:
            self._lines.insert(place, "")

    def _comments_before(self, start: int) -> None:
        while self._next < len(self._comments) and self._comments[self._next].span.start < start:
            self._write_comment(self._comments[self._next])

    def _comments_at_end(self, column: int, line: int) -> None:
        """Comments right below a block's last line, and no further left than the block, belong to it."""
        line = max(line, self._comment_line)
        while self._next < len(self._comments):
            comment = self._comments[self._next]
            is_below = not comment.is_trailing and comment.span.line == line + 1 and comment.span.column >= column
            if not is_below and not (comment.is_trailing and comment.span.line == line):
                return
            self._write_comment(comment)
            line = self._comment_line

    def _write_comment(self, comment: ast.Comment) -> None:
        self._next += 1
        self._comment_line = comment.span.end_line
        shown = _comment_text(comment)
        if comment.is_trailing and comment.span.line == self._line_of and "\n" not in shown:
            self._lines[-1] += f"  {shown}"
        else:
            first, *rest = shown.split("\n")
            self._lines.append(f"{INDENT * self._depth}{first}")
            self._lines.extend(rest)
            self._line_of = None

    # --- the file

    def file(self, tree: Choreography) -> None:
        if tree.namespace is not None:
            module = tree.module
            exports = ", ".join(module.exports) if module else ""
            self._line(f"module {tree.namespace} exposing ({exports})", module)
        for item in tree.imports:
            alias = f" as {item.alias}" if item.alias else ""
            names = f" exposing ({', '.join(item.names)})" if item.names is not None else ""
            self._line(f"import {'.'.join(item.path)}{alias}{names}", item)
        for declaration in tree.declarations:
            self._declaration(declaration)
        clauses = [("requires", tree.requires), ("uses", tree.uses), ("under", tree.under)]
        shown = "".join(f" {word} {', '.join(names)}" for word, names in clauses if names)
        self._line(f"protocol {tree.name}{shown} =", tree.head, is_apart=True)
        self._depth += 1
        if tree.roles:
            self._line(f"roles {', '.join(format_declared_role(role) for role in tree.roles)}", tree.roles[0])
        self._items(tree.body)
        self._depth -= 1
        if tree.local_protocols:
            self._where(tree.local_protocols)

    def _where(self, protocols: Sequence[ast.LocalProtocol]) -> None:
        self._line("where")
        self._depth += 1
        for local in protocols:
            self._line(f"protocol {local.name} =", local)
            self._body(local.body)
        self._depth -= 1

    def _declaration(self, declaration: ast.Declaration) -> None:
        match declaration:
            case ast.EffectInterface(name=name, operations=operations):
                self._line(f"effect {name}", declaration, is_apart=True)
                self._depth += 1
                for operation in operations:
                    self._effect_operation(operation)
                self._depth -= 1
            case ast.Operation(body=body):
                self._line(_operation_head(declaration), declaration, is_apart=True)
                self._body(body)
            case ast.GuestRuntime(name=name, uses=uses, entries=entries):
                self._line(f"guest runtime {name} =", declaration, is_apart=True)
                self._depth += 1
                if uses:
                    self._line(f"uses {', '.join(uses)}")
                for entry in entries:
                    self._line(f"entry {entry}")
                self._depth -= 1
            case ast.AgreementProfile(name=name):
                self._line(f"agreement_profile {name}", declaration, is_apart=True)
                self._depth += 1
                for key in ("visibility", "rule", "usable_at", "finalized_at", "evidence"):
                    self._line(f"{key} {_word(getattr(declaration, key))}")
                self._depth -= 1
            case ast.SumType(name=name, constructors=constructors):
                self._line(f"type {name} =", declaration, is_apart=True)
                self._depth += 1
                for constructor in constructors:
                    types = ", ".join(format_type(argument) for argument in constructor.arguments)
                    self._line(f"| {constructor.name}{f'({types})' if types else ''}", constructor)
                self._depth -= 1
            case _:
                after_block = bool(self._lines) and self._lines[-1].startswith(INDENT)
                self._line(_one_line_declaration(declaration), declaration, is_apart=after_block)

    def _effect_operation(self, operation: ast.EffectOperation) -> None:
        takes, gives = _declared_type(operation.input), _declared_type(operation.output)
        mode = "" if operation.mode == "command" else f"{operation.mode} "
        self._line(f"{mode}{operation.name} : {takes} -> {gives}", operation)
        shown = ", ".join(f"{item.key} : {item.value}" for item in operation.metadata)
        self._depth += 1
        self._line(f"{{ {shown} }}")
        self._depth -= 1

    # --- blocks

    def _body(self, block: Block) -> None:
        self._depth += 1
        self._items(block)
        self._depth -= 1

    def _items(self, block: Block) -> None:
        for statement in block.items:
            self._statement(statement)
        if block.items:
            self._comments_at_end(block.items[0].span.column, block.items[-1].span.end_line)

    def _statement(self, statement: Statement) -> None:
        if isinstance(statement, ast.Extension):
            self._extension(statement)
            return
        if isinstance(statement, ast.Send | ast.Broadcast):
            self._message(statement)
            return
        self._line(summarise(statement), statement)
        match statement:
            case ast.Choice(branches=branches):
                for branch in branches:
                    self._branch(f"| {branch.label}{format_guard(branch.guard)} =>", branch, branch.body)
            case ast.Case(branches=cases):
                for case in cases:
                    binders = f"({', '.join(case.binders)})" if case.binders else ""
                    self._branch(f"| {case.constructor}{binders} =>", case, case.body)
            case ast.Parallel(branches=blocks):
                for block in blocks:
                    self._parallel_branch(block)
            case ast.Loop(body=body) | ast.Rec(body=body):
                self._body(body)
            case ast.Let(body=Block() as body):
                self._body(body)
            case ast.Timeout():
                self._body(statement.body)
                self._line("on timeout =>")
                self._body(statement.on_timeout)
                if statement.on_cancel is not None:
                    self._line("on cancel =>")
                    self._body(statement.on_cancel)
            case _:
                pass

    def _message(self, statement: ast.Send | ast.Broadcast) -> None:
        shown = summarise(statement)
        sender = format_role(statement.sender) + format_record(statement.annotations)
        if statement.annotations and len(INDENT * self._depth + shown) > WIDTH_MAX:
            self._line(sender, statement)
            self._depth += 1
            self._line(shown.removeprefix(sender).lstrip())
            self._depth -= 1
        else:
            self._line(shown, statement)
        # A comment that trails the statement stands on its last line, in the text and here.
        self._line_of = statement.span.end_line or None

    def _branch(self, head: str, node: ast.Node, body: Block) -> None:
        self._depth += 1
        self._line(head, node)
        self._body(body)
        self._depth -= 1

    def _parallel_branch(self, block: Block) -> None:
        """One message stands on the branch's own line; anything longer below it."""
        if len(block.items) == 1 and isinstance(block.items[0], ast.Send | ast.Broadcast):
            self._depth += 1
            self._line(f"| {summarise(block.items[0])}", block.items[0])
            self._depth -= 1
        else:
            self._branch("|", block, block)

    def _extension(self, statement: ast.Extension) -> None:
        first, *rest = statement.raw.split("\n")
        self._line(first, statement)
        shift = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
        for line in rest:
            if line.strip():
                self._lines.append(f"{INDENT * (self._depth + 1)}{line[shift:].rstrip()}")


def _comment_text(comment: ast.Comment) -> str:
    text = comment.text.replace("\r\n", "\n").replace("\r", "\n")
    if not comment.is_block:
        return f"--{text}" if not text or text.startswith((" ", "-")) else f"-- {text}"
    return f"{{-{text.replace('-}', '- }')}-}}"


def _word(text: str) -> str:
    plain = text.isascii() and text.replace("_", "a").isalnum() and not text.startswith("_")
    return text if plain and text else f'"{text}"'


def _operation_head(operation: ast.Operation) -> str:
    parts = [f"operation {operation.name}({_fields(operation.parameters)}) at {format_role(operation.owner)}"]
    if operation.region is not None:
        arguments = f"({', '.join(operation.region.arguments)})" if operation.region.arguments else ""
        parts.append(f"within {operation.region.name}{arguments}")
    parts.append(_progress(operation.progress))
    parts += [f"agreement {operation.agreement}"] if operation.agreement else []
    parts += [f"prestate {operation.prestate}"] if operation.prestate else []
    if operation.compose is not None:
        number = f"({operation.compose.threshold})" if operation.compose.threshold is not None else ""
        parts.append(f"compose {operation.compose.kind}{number}")
    return f"{' '.join(parts)} ="


def _one_line_declaration(declaration: ast.Declaration) -> str:
    match declaration:
        case ast.ProofBundle(name=name, version=version, issuer=issuer, constraints=constraints, capabilities=granted):
            parts = [f"proof_bundle {name}"]
            parts += [f'version "{version}"'] if version is not None else []
            parts += [f'issuer "{issuer}"'] if issuer is not None else []
            parts += [f'constraint "{constraint}"' for constraint in constraints]
            parts += [f"requires [{', '.join(granted)}]"] if granted else []
            return " ".join(parts)
        case ast.Profile(name=name):
            window = _word(declaration.escalation_window)
            words = f"fairness {_word(declaration.fairness)} admissibility {_word(declaration.admissibility)}"
            return f"profile {name} {words} escalation_window {window}"
        case ast.RoleSet(name=name, members=members):
            return f"role_set {name} = {', '.join(members)}"
        case ast.RoleSubset(name=name, source=source, low=low, high=high):
            return f"role_set {name} = subset({source}, {low}..{high})"
        case ast.Shape(kind=kind, name=name, members=members):
            return f"{kind} {name} = {', '.join(members)}"
        case ast.TypeAliasDeclaration(name=name, type=aliased):
            return f"type alias {name} = {_declared_type(aliased)}"
        case ast.Fragment(name=name, parameters=parameters):
            return f"fragment {name}({', '.join(parameters)})" if parameters else f"fragment {name}"
    raise AssertionError(f"no line for {type(declaration).__name__}")
