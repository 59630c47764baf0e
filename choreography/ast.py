"""The surface tree: what a protocol file says, in both dialects, before anything is inlined or lowered.

Sequences are explicit: a `Block` is a tuple of statements. Lowering (`lower.py`) nests them. Names are not resolved
here, nothing is checked, and comments ride beside the tree only so that the formatter can keep them.

    Choreography
      module, imports, declarations, requires/uses/under     the file around the protocol
      roles: Role*                                           A, W[3], W[N], W[*]
      body: Block(Statement*)                                the protocol
      local_protocols: LocalProtocol*                        `where`; reached through Call until `lower.inline`

Every node has a `span` (original text, see `node.Span`), is frozen, compares by structure without spans, hashes, and
round-trips through `to_json` / `from_json`.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .node import NO_SPAN, JsonValue, Node, Span, children, walk

# --- roles --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Static(Node):
    """`[3]` in a declaration: a family of exactly `count` instances, numbered from 0."""

    count: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Symbol(Node):
    """`[N]` in a declaration (its size) or `[i]` in a reference (one index): a number bound before use."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Runtime(Node):
    """`[*]` in a declaration: a family whose size only a running deployment knows."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Role(Node):
    """A declared role; `size` is None for a single participant."""

    name: str
    size: "Static | Symbol | Runtime | None" = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Concrete(Node):
    """`[1]` in a reference: one instance."""

    number: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Wildcard(Node):
    """`[*]` in a reference: every instance."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Range(Node):
    """`[low..high]` in a reference: `low` included, `high` excluded; a bound may be a symbol's name."""

    low: int | str
    high: int | str


Index: TypeAlias = Concrete | Symbol | Wildcard | Range


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoleRef(Node):
    """A role as a statement names it. After `roles.bind`, instances are plain names such as `W[0]`."""

    name: str
    index: Index | None = None


# --- types and messages -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypeName(Node):
    """`a.b.T<U, V>`; also `Unit`, `Result E T` and `Maybe T` (arguments E, T)."""

    path: tuple[str, ...]
    arguments: "tuple[TypeExpression, ...]" = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypeField(Node):
    """One item of a payload or record type: `name : Type`, or only `Type` (name None)."""

    name: str | None
    type: "TypeExpression"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RecordType(Node):
    """`{ name : Type, … }`."""

    fields: tuple[TypeField, ...]


TypeExpression: TypeAlias = TypeName | RecordType


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Payload(Node):
    """What stands in `( … )` or `{ … }` after a message's name; the two spellings mean the same."""

    fields: tuple[TypeField, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Message(Node):
    """`Name of Type (payload)`; the type and the payload are optional."""

    name: str
    type: TypeExpression | None = None
    payload: Payload | None = None


# --- annotations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TextValue(Node):
    """`"…"`."""

    text: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IntegerValue(Node):
    """`20`."""

    number: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BooleanValue(Node):
    """`true` or `false`."""

    truth: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DurationValue(Node):
    """`5s`, kept in milliseconds."""

    milliseconds: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NameValue(Node):
    """A bare identifier."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ListValue(Node):
    """`[1, 2]`."""

    items: "tuple[AnnotationValue, ...]"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GroupValue(Node):
    """`(A, B)`."""

    items: "tuple[AnnotationValue, ...]"


AnnotationValue: TypeAlias = (
    TextValue | IntegerValue | BooleanValue | DurationValue | NameValue | ListValue | GroupValue
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Annotation(Node):
    """One `key : value` of a sender's record, as written. `annotations.read_annotations` gives them their types."""

    key: str
    value: AnnotationValue


# --- expressions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Name(Node):
    """A plain name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constant(Node):
    """A string, an integer or a truth value."""

    value: bool | int | str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Member(Node):
    """`target.name`."""

    target: "Expression"
    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Item(Node):
    """`target[index]`."""

    target: "Expression"
    index: "Expression"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Apply(Node):
    """`function(arguments)`; also `Ok(x)`, `Err(x)`, `Just(x)`. `Nothing` is a `Name`."""

    function: "Expression"
    arguments: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Not(Node):
    """`!operand`."""

    operand: "Expression"


BinaryOperator: TypeAlias = Literal["&&", "||", "==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(Node):
    """`left operator right`."""

    operator: BinaryOperator
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EffectCall(Node):
    """`check E.op(args)` or `observe E.op(args)`."""

    mode: Literal["check", "observe"]
    interface: str
    operation: str
    arguments: "tuple[Expression, ...]" = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Transfer(Node):
    """`transfer subject from source to target`; what it is bound to is a linear receipt."""

    subject: str
    source: RoleRef
    target: RoleRef


Expression: TypeAlias = Name | Constant | Member | Item | Apply | Not | Binary | EffectCall | Transfer


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Predicate(Node):
    """`when (expression)`: a boolean that the chooser alone evaluates."""

    expression: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Evidence(Node):
    """`when check E.op(args) yields name`: the chooser runs the effect and binds what it returns."""

    interface: str
    operation: str
    arguments: tuple[Expression, ...]
    binder: str


Guard: TypeAlias = Predicate | Evidence


# --- statements ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Block(Node):
    """Statements in order; may be empty."""

    items: "tuple[Statement, ...]" = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Send(Node):
    """`sender { annotations } -> receiver : message`."""

    sender: RoleRef
    receiver: RoleRef
    message: Message
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Broadcast(Node):
    """`sender ->* : message`: one message to every other declared role, in declaration order."""

    sender: RoleRef
    message: Message
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ChoiceBranch(Node):
    """`| label guard? => body`."""

    label: str
    guard: Guard | None
    body: Block


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Choice(Node):
    """`choice chooser at` and its branches, at least one."""

    chooser: RoleRef
    branches: tuple[ChoiceBranch, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Decides(Node):
    """`loop decide by role`: the role says each round whether there is another."""

    role: RoleRef


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Count(Node):
    """`loop repeat times`: a number, or the name of a symbol bound before use."""

    times: int | str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class While(Node):
    """`loop while "condition"`: judged by the role that sends first in the body."""

    condition: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Forever(Node):
    """`loop forever`."""


LoopCondition: TypeAlias = Decides | Count | While | Forever


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Loop(Node):
    """`loop condition` and its body."""

    condition: LoopCondition
    body: Block


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rec(Node):
    """`rec label` and its body."""

    label: str
    body: Block


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Continue(Node):
    """`continue label`; nothing may follow it in its block."""

    label: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Parallel(Node):
    """`par` and its branches, at least two."""

    branches: tuple[Block, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Timeout(Node):
    """`timeout duration owner at body on timeout => … on cancel => …`; the owner's clock decides."""

    owner: RoleRef
    milliseconds: int
    body: Block
    on_timeout: Block
    on_cancel: Block | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Node):
    """`call protocol`: a local protocol's body stands here."""

    protocol: str


LetMode: TypeAlias = Literal["plain", "authoritative", "observe"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Let(Node):
    """`let name = expression`, or with `in` and a body that alone sees the name."""

    name: str
    mode: LetMode
    expression: Expression
    body: Block | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CaseBranch(Node):
    """`| constructor(binders) => body`."""

    constructor: str
    binders: tuple[str, ...]
    body: Block


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Case(Node):
    """`case expression of`, or `case expression at decider of`."""

    expression: Expression
    decider: RoleRef | None
    branches: tuple[CaseBranch, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Publish(Node):
    """`publish Event(argument)?`: tell observers that something happened."""

    event: str
    argument: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PublishAuthority(Node):
    """`publish witness as name`: an authoritative publication."""

    witness: Expression
    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Materialize(Node):
    """`materialize proof from publication`."""

    proof: str
    publication: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Handoff(Node):
    """`handoff operation to target with receipt`; consumes the receipt."""

    operation: str
    target: RoleRef
    receipt: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DependentWork(Node):
    """`dependent work name(argument)? required for operation`."""

    name: str
    argument: Expression | None
    operation: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ProgressContract(Node):
    """`progress name requires … within … on timeout => … on stall => …`; every part after the name is optional."""

    name: str
    requires: str | None = None
    within: str | None = None
    on_timeout: str | None = None
    on_stall: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Begin(Node):
    """`begin operation(arguments)?`, with its own progress contract if it has one."""

    operation: str
    arguments: tuple[Expression, ...] = ()
    progress: ProgressContract | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Await(Node):
    """`await operation`."""

    operation: str


OutcomeKind: TypeAlias = Literal["Success", "Failure", "Timeout", "Cancelled"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Resolve(Node):
    """`resolve operation as Outcome(argument)?`; Cancelled takes no argument."""

    operation: str
    outcome: OutcomeKind
    argument: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Invalidate(Node):
    """`invalidate operation`."""

    operation: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Extension(Node):
    """A statement of a registered extension: its keyword, the raw lines of the statement, and what its parser made.

    `payload` is pairs of text, so that it stays data; `roles` are the participants it mentions (none means all).
    """

    keyword: str
    raw: str
    payload: tuple[tuple[str, str], ...] = ()
    roles: tuple[str, ...] = ()


Statement: TypeAlias = (
    Send
    | Broadcast
    | Choice
    | Loop
    | Rec
    | Continue
    | Parallel
    | Timeout
    | Call
    | Let
    | Case
    | Publish
    | PublishAuthority
    | Materialize
    | Handoff
    | DependentWork
    | Begin
    | Await
    | Resolve
    | Invalidate
    | Extension
)


# --- declarations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Module(Node):
    """`module name exposing (exports)`; the name is the namespace."""

    name: str
    exports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Import(Node):
    """`import path as alias exposing (names)`; alias and names are optional (names None: no `exposing`)."""

    path: tuple[str, ...]
    alias: str | None = None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ProofBundle(Node):
    """A named pack of evidence with the capabilities it grants (`requires`)."""

    name: str
    version: str | None = None
    issuer: str | None = None
    constraints: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(Node):
    """An execution profile that a protocol runs `under`."""

    name: str
    fairness: str
    admissibility: str
    escalation_window: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AgreementProfile(Node):
    """How an operation becomes agreed."""

    name: str
    visibility: str
    rule: str
    usable_at: str
    finalized_at: str
    evidence: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoleSet(Node):
    """`role_set name = A, B`."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoleSubset(Node):
    """`role_set name = subset(source, low..high)`."""

    name: str
    source: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Shape(Node):
    """`cluster`, `ring` or `mesh` over roles: a logical shape."""

    kind: Literal["cluster", "ring", "mesh"]
    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypeAliasDeclaration(Node):
    """`type alias name = type`."""

    name: str
    type: TypeExpression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constructor(Node):
    """`| Name(types)` of a sum type."""

    name: str
    arguments: tuple[TypeExpression, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SumType(Node):
    """`type name =` and its constructors."""

    name: str
    constructors: tuple[Constructor, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Metadata(Node):
    """One `key : value` of an effect operation."""

    key: str
    value: str


EffectMode: TypeAlias = Literal["authoritative", "command", "observe"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EffectOperation(Node):
    """`mode name : input -> output { metadata }`."""

    mode: EffectMode
    name: str
    input: TypeExpression
    output: TypeExpression
    metadata: tuple[Metadata, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EffectInterface(Node):
    """`effect name` and its operations."""

    name: str
    operations: tuple[EffectOperation, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fragment(Node):
    """`fragment name(parameters)`: a named region for operations."""

    name: str
    parameters: tuple[str, ...] = ()


ComposeKind: TypeAlias = Literal["all_success", "first_success", "threshold_success"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ComposePolicy(Node):
    """`compose policy`; `all` and `first` are the short names. `threshold` only for threshold_success."""

    kind: ComposeKind
    threshold: int | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Region(Node):
    """`within name(arguments)` of an operation."""

    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Operation(Node):
    """A committed operation: who owns it, where, how it makes progress, how it is agreed, and what it does."""

    name: str
    parameters: tuple[TypeField, ...]
    owner: RoleRef
    region: Region | None
    progress: ProgressContract
    agreement: str | None
    prestate: str | None
    compose: ComposePolicy | None
    body: Block


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GuestRuntime(Node):
    """`guest runtime name =` with the effect interfaces it uses and its entry points."""

    name: str
    uses: tuple[str, ...]
    entries: tuple[str, ...]


Declaration: TypeAlias = (
    ProofBundle
    | Profile
    | AgreementProfile
    | RoleSet
    | RoleSubset
    | Shape
    | TypeAliasDeclaration
    | SumType
    | EffectInterface
    | Fragment
    | Operation
    | GuestRuntime
)


# --- the file -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Attribute(Node):
    """`#[key = value]` before a protocol of the brace dialect."""

    key: str
    value: AnnotationValue


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalProtocol(Node):
    """A protocol of the `where` part; it sees the outer roles."""

    name: str
    body: Block


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comment(Node):
    """A comment with the marks stripped; `is_trailing` when code stands before it on its line."""

    text: str
    is_trailing: bool
    is_block: bool = False


Dialect: TypeAlias = Literal["layout", "brace"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Choreography(Node):
    """One protocol file.

    `namespace` is the module's name or the `namespace` attribute; `roles` come from the head or the `roles` line. The
    dialect and the comments do not take part in equality: the same protocol in both dialects is the same tree.
    """

    name: str
    roles: tuple[Role, ...]
    body: Block
    namespace: str | None = None
    requires: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    local_protocols: tuple[LocalProtocol, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    module: Module | None = field(default=None, compare=False)
    imports: tuple[Import, ...] = ()
    attributes: tuple[Attribute, ...] = field(default=(), compare=False)
    comments: tuple[Comment, ...] = field(default=(), compare=False)
    dialect: Dialect = field(default="layout", compare=False)
    head: Name | None = field(default=None, compare=False)  # the name as it stands in the text, for its place

    @property
    def qualified_name(self) -> str:
        """`namespace.Name`, or only the name when there is no namespace."""
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    @property
    def attrs(self) -> dict[str, str]:
        """The attributes as text, last one wins."""
        return {attribute.key: value_text(attribute.value) for attribute in self.attributes}

    def role(self, name: str) -> Role | None:
        """The declared role of that name."""
        return next((role for role in self.roles if role.name == name), None)


def value_text(value: AnnotationValue) -> str:
    """An annotation value as plain text: what a person would call it, without quotes."""
    match value:
        case TextValue(text=text) | NameValue(name=text):
            return text
        case IntegerValue(number=number):
            return str(number)
        case BooleanValue(truth=truth):
            return "true" if truth else "false"
        case DurationValue(milliseconds=milliseconds):
            return f"{milliseconds}ms"
        case ListValue(items=items) | GroupValue(items=items):
            return ", ".join(value_text(item) for item in items)


def blocks_of(statement: Statement) -> tuple[Block, ...]:
    """The blocks directly inside a statement, in source order."""
    match statement:
        case Choice(branches=branches):
            return tuple(branch.body for branch in branches)
        case Case(branches=cases):
            return tuple(branch.body for branch in cases)
        case Loop(body=body) | Rec(body=body):
            return (body,)
        case Parallel(branches=blocks):
            return blocks
        case Timeout(body=body, on_timeout=on_timeout, on_cancel=on_cancel):
            return (body, on_timeout) if on_cancel is None else (body, on_timeout, on_cancel)
        case Let(body=Block() as scope):
            return (scope,)
        case _:
            return ()


def expressions_of(statement: Statement) -> "tuple[Expression | Guard, ...]":
    """The expressions and guards of a statement itself, in source order; not those of the blocks inside it."""
    match statement:
        case Let(expression=expression) | Case(expression=expression):
            return (expression,)
        case Choice(branches=branches):
            return tuple(branch.guard for branch in branches if branch.guard is not None)
        case Publish(argument=argument) | DependentWork(argument=argument) | Resolve(argument=argument):
            return () if argument is None else (argument,)
        case PublishAuthority(witness=witness):
            return (witness,)
        case Begin(arguments=arguments):
            return arguments
        case _:
            return ()


__all__ = [
    "AgreementProfile",
    "Annotation",
    "AnnotationValue",
    "Apply",
    "Attribute",
    "Await",
    "Begin",
    "Binary",
    "BinaryOperator",
    "Block",
    "BooleanValue",
    "Broadcast",
    "Call",
    "Case",
    "CaseBranch",
    "Choice",
    "ChoiceBranch",
    "Choreography",
    "Comment",
    "ComposeKind",
    "ComposePolicy",
    "Concrete",
    "Constant",
    "Constructor",
    "Continue",
    "Count",
    "Decides",
    "Declaration",
    "DependentWork",
    "Dialect",
    "DurationValue",
    "EffectCall",
    "EffectInterface",
    "EffectMode",
    "EffectOperation",
    "Evidence",
    "Expression",
    "Extension",
    "Forever",
    "Fragment",
    "GroupValue",
    "Guard",
    "GuestRuntime",
    "Handoff",
    "Import",
    "Index",
    "IntegerValue",
    "Invalidate",
    "Item",
    "JsonValue",
    "Let",
    "LetMode",
    "ListValue",
    "LocalProtocol",
    "Loop",
    "LoopCondition",
    "Materialize",
    "Member",
    "Message",
    "Metadata",
    "Module",
    "NO_SPAN",
    "Name",
    "NameValue",
    "Node",
    "Not",
    "Operation",
    "OutcomeKind",
    "Parallel",
    "Payload",
    "Predicate",
    "Profile",
    "ProgressContract",
    "ProofBundle",
    "Publish",
    "PublishAuthority",
    "Range",
    "Rec",
    "RecordType",
    "Region",
    "Resolve",
    "Role",
    "RoleRef",
    "RoleSet",
    "RoleSubset",
    "Runtime",
    "Send",
    "Shape",
    "Span",
    "Statement",
    "Static",
    "SumType",
    "Symbol",
    "TextValue",
    "Timeout",
    "Transfer",
    "TypeAliasDeclaration",
    "TypeExpression",
    "TypeField",
    "TypeName",
    "While",
    "Wildcard",
    "blocks_of",
    "children",
    "expressions_of",
    "value_text",
    "walk",
]
