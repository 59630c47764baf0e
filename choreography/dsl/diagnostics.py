"""The wording of every problem: one row a rule, with what was seen, what was expected, and what to try.

Decides nothing about texts; whoever finds a problem names its row and the facts that fill it in.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from ..errors import Problem, Severity
from ..node import Span


class Diagnostic(NamedTuple):
    """A rule: its coarse kind, how grave breaking it is, and the sentences, with places for facts in braces."""

    kind: str
    severity: Severity
    message: str
    hint: str


def _error(kind: str, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(kind, "error", message, hint)


def _warning(kind: str, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(kind, "warning", message, hint)


DIAGNOSTICS: dict[str, Diagnostic] = {
    # --- characters
    "not_utf8": _error("Syntax", "byte {offset} is not UTF-8", "save the file as UTF-8"),
    "dashed_name": _error("Syntax", "`{seen}` is not a name: names have no dashes", "write `{better}`"),
    "underscore_name": _error("Syntax", "`{seen}` is not a name: names begin with a letter", "write `{better}`"),
    "foreign_name": _error(
        "Syntax", "`{seen}` is not a name: names are ASCII letters, digits and `_`", "spell it with the letters A to Z"
    ),
    "odd_number": _error(
        "Syntax",
        "`{seen}` is neither a number nor a duration nor a name",
        "a duration is a number and ms, s, m or h; a name begins with a letter",
    ),
    "unclosed_text": _error("Syntax", "this text has no closing quote", 'end it with `"` on the same line'),
    "curly_quotes": _error("Syntax", "curly quotes are not quotes here", 'write "{better}" with straight quotes'),
    "apostrophe_text": _error("Syntax", "a text stands in double quotes", 'write "{better}"'),
    "curly_arrow": _error("Syntax", "`{seen}` is not an arrow here", "write `{better}`"),
    "odd_space": _error("Syntax", "{codepoint} looks like a space and is none", "replace it by an ordinary space"),
    "odd_character": _error("Syntax", "`{seen}` means nothing here", "remove it, or put it into a comment"),
    "unclosed_comment": _error(
        "Syntax", "this comment is never closed", "end it with `{closer}`; comments do not nest"
    ),
    "slash_comment": _error(
        "Syntax", "`{seen}` begins no comment in the layout dialect", "write `-- …` or `{{- … -}}`"
    ),
    "dash_comment": _error("Syntax", "`--` begins no comment in the brace dialect", "write `// …`"),
    # --- arrangement
    "tab_in_indentation": _error(
        "Layout", "indented with tabs on {count} line(s), first here", "indent with spaces; a tab has no agreed width"
    ),
    "mixed_indentation": _error(
        "Layout",
        "tabs and spaces are mixed in the indentation of {count} line(s), first here",
        "indent every line with spaces only",
    ),
    "inconsistent_dedent": _error(
        "Layout",
        "inconsistent indentation: this line begins at column {column}, but the open blocks begin at {columns}",
        "line it up with the block it belongs to",
    ),
    "over_indented": _error(
        "Layout",
        "this line is indented deeper than its block, and the line before opens none",
        "indent it like the line before; a block follows only `=`, `at`, `of`, `=>`, `in`, `par`, `|`, `where`, "
        "`rec X` or a loop's head",
    ),
    "too_deep": _error("Layout", "blocks are nested deeper than {limit} levels", "move a part into a `where` protocol"),
    "too_convoluted": _error(
        "Layout",
        "this statement has more than {limit} brackets, dots and operators",
        "give a part of it a name of its own",
    ),
    "unclosed_bracket": _error("Syntax", "`{seen}` is never closed", "add the missing `{closer}`"),
    "unmatched_closer": _error(
        "Layout", "`{seen}` closes nothing", "remove it, or add the bracket that it should close"
    ),
    "wrong_closer": _error("Layout", "`{seen}` cannot close the `{opener}` of line {line}", "write `{wanted}`"),
    "missing_semicolon": _error("Syntax", "a statement of the brace dialect ends with `;`", "add `;` here"),
    # --- grammar
    "unexpected": _error("Syntax", "expected {wanted}, found {seen}", "{advice}"),
    "no_protocol": _error(
        "EmptyChoreography", "there is no protocol in this text", "begin with `protocol Name =` and a `roles` line"
    ),
    "brace_dialect": _error(
        "Syntax",
        "this is the brace dialect, and the layout dialect was asked for",
        "rename the file to `.choreo`, or let `antiphon fmt` write the layout dialect",
    ),
    "brace_block": _error(
        "Syntax",
        "the body of {construct} does not stand in braces",
        "indent it below the line, or put it into `( … )`",
    ),
    "missing_block": _error("Syntax", "{construct} has no body", "indent what belongs to it below this line"),
    "removed_word": _error("Syntax", "`{word}` is no longer a statement", "{instead}"),
    "removed_note": _error(
        "Syntax", "`@` notes are no longer written", "use a record: `A {{ key : value }} -> B : Message`"
    ),
    "removed_attribute": _error(
        "Syntax",
        "`#[…]` belongs to the brace dialect",
        "use a record, `A {{ key : value }} -> B : Message`, or `module name exposing (…)` for the namespace",
    ),
    "removed_brackets": _error(
        "Syntax",
        "annotations in square brackets belong to the brace dialect",
        "write `{sender} {{ {key} : … }} -> …`",
    ),
    "removed_both_ways": _error("Syntax", "`<->` is no arrow", "write the two messages, one `->` each"),
    "semicolon": _error("Syntax", "a line of the layout dialect ends without `;`", "remove it"),
    "module_path": _error(
        "Syntax",
        "a module's name is one plain name, without `{seen}`",
        "join its parts by `_`: `module {name}_part exposing (…)`",
    ),
    "double_colon": _error("Syntax", "`::` joins no names", "write a dot: `a.b`"),
    "word_as_sender": _error(
        "Syntax", "`{word}` begins a statement, so no role of that name can send", "give the role another name"
    ),
    "missing_receiver": _error(
        "Syntax", "the arrow leads to no role", "name the receiver: `{sender} -> Role : Message`"
    ),
    "missing_colon": _error(
        "Syntax", "the message is missing, with the `:` before it", "write `{sender} -> {receiver} : Message`"
    ),
    "missing_message": _error("Syntax", "the message has no name", "name it after the `:`"),
    "double_arrow": _error(
        "Syntax", "one statement sends one message, and this has two arrows", "write one line for each message"
    ),
    "generic_without_of": _error(
        "Syntax", "a message name takes no `<…>`", "write `{name} of {name}<…>`, with `of` before the type"
    ),
    "missing_type": _error(
        "Syntax", "`of` is followed by no type", "name the type, such as `of shop.Order`, or drop `of`"
    ),
    "invalid_payload": _error(
        "InvalidMessage",
        "a payload is a list of `name : Type` or `Type`; found {seen}",
        "write it as `({example})`",
    ),
    "invalid_guard": _error(
        "InvalidCondition",
        "a guard is a boolean; {seen} has no place in it",
        "use names, calls, literals, comparisons, `!`, `&&`, `||` and parentheses, no arithmetic",
    ),
    "guard_without_parentheses": _error(
        "InvalidCondition",
        "a guard stands in parentheses",
        "write `when (…)`, or `when check Effect.operation(…) yields x`",
    ),
    "guard_not_boolean": _error(
        "InvalidCondition", "this guard is not a boolean: {seen}", "compare it with something, such as `{better}`"
    ),
    "choice_order": _error("Syntax", "the chooser stands before `at`", "write `choice {role} at`"),
    "timeout_order": _error("Syntax", "a timeout names its duration, then its role", "write `timeout 5s Role at`"),
    "timeout_alone": _error(
        "Syntax", "a timeout says what happens when it fires", "add `on timeout =>` at its own column"
    ),
    "stray_on": _error("Syntax", "`on` belongs to a timeout, directly below it", "line it up with its `timeout`"),
    "stray_branch": _error(
        "Syntax", "a branch stands inside `choice … at`, `case … of` or `par`", "add the line that opens it"
    ),
    "unknown_word": _error("Syntax", "`{word}` begins no statement", "did you mean `{better}`?"),
    "outside_protocol": _error(
        "Syntax",
        "`{word}` begins no declaration, and no protocol is open here",
        "indent a statement below `protocol Name =`; make a remark a comment",
    ),
    "missing_equals": _error(
        "Syntax", "the head of a protocol ends with `=` on its own line", "write `protocol {name} =`"
    ),
    "one_branch_par": _error(
        "Syntax", "`par` has {count} branch(es), and needs two", "add a branch, or drop the `par`"
    ),
    "misplaced_module": _error("Syntax", "`module` is the first thing in a file", "move it to the top"),
    "misplaced_import": _error("Syntax", "imports stand before the declarations", "move it up, below `module`"),
    "two_modules": _error("Syntax", "a file has one `module` line", "remove one of them"),
    "two_protocols": _error(
        "Syntax",
        "a file has one protocol, and `{first}` is already there",
        "move it to a file of its own, or below `where`",
    ),
    "after_protocol": _error("Syntax", "nothing but `where` follows the protocol", "move it above `protocol`"),
    "two_wheres": _error("Syntax", "a protocol has one `where`", "put both parts under one `where`"),
    "misplaced_where": _error("Syntax", "`where` follows a protocol", "move it below the protocol that calls these"),
    "misplaced_roles": _error(
        "Syntax", "roles are not allowed here: `roles` is the first line of the outermost protocol", "move them there"
    ),
    "roles_twice": _error(
        "Syntax", "the roles are declared in the head and, differently, on the `roles` line", "keep one of the two"
    ),
    "roles_colon": _error("Syntax", "`roles` takes no `:` in the layout dialect", "write `roles A, B`"),
    "empty_roles": _error("EmptyChoreography", "`roles` names no role", "write `roles A, B`"),
    "no_roles": _error("EmptyChoreography", "protocol `{name}` declares no roles", "begin its body with `roles A, B`"),
    "brace_only": _error("Syntax", "{what} belongs to the brace dialect", "{instead}"),
    "equals_in_record": _warning("Deprecated", "a record writes `key : value`", "write `{key} : …`"),
    "missing_agreement_key": _error(
        "Syntax", "agreement profile `{name}` does not say {missing}", "an agreement profile has all of {keys}"
    ),
    "repeated_key": _error("Syntax", "`{key}` is given twice", "keep one"),
    "missing_metadata": _error(
        "Syntax", "effect operation `{name}` does not say {missing}", "its record has all of {keys}"
    ),
    "missing_progress": _error(
        "Syntax", "operation `{name}` has no progress contract", "add `progress Name requires … within …`"
    ),
    "unknown_compose": _error("Syntax", "`{seen}` is no compose policy", "use all, first or threshold_success(n)"),
    "compose_threshold": _error(
        "Syntax", "{seen}", "write `threshold_success(n)` with n at least 1, and no number after all or first"
    ),
    "unknown_outcome": _error(
        "Syntax", "`{seen}` is no outcome", "use Success(x), Failure(x), Timeout(x) or Cancelled"
    ),
    "cancelled_argument": _error("Syntax", "`Cancelled` carries nothing", "write `Cancelled`"),
    "unknown_type_form": _error(
        "Syntax", "`{seen}` takes no types after it", "write `Result E T`, `Maybe T`, or generics in `<…>`"
    ),
    "wrong_type_arity": _error("Syntax", "`{name}` takes {wanted} type(s), not {count}", "{example}"),
    "publish_form": _error("Syntax", "`publish` takes an event with at most one argument", "write `publish Event(x)`"),
    "incomplete_guest": _error("Syntax", "guest runtime `{name}` has no `entry`", "add a line `entry name`"),
    "authoritative_without_check": _error(
        "Syntax", "`authoritative let` binds a check", "write `authoritative let {name} = check Effect.operation(…)`"
    ),
    "observe_without_observe": _error(
        "Syntax", "`observe let` binds an observation", "write `observe let {name} = observe Effect.operation(…)`"
    ),
    # --- roles and names
    "undefined_role": _error("UndefinedRole", "role `{name}` is not declared", "{advice}"),
    "duplicate_role": _error(
        "DuplicateRole", "role `{name}` is declared twice, first in line {line}", "remove one, or rename it"
    ),
    "not_a_family": _error(
        "RoleIndex", "`{name}` is a single role and takes no index", "drop the index, or declare `{name}[N]`"
    ),
    "count_too_large": _error(
        "RoleLimit", "a family has at most {limit} instances, not {count}", "use `{name}[N]` or `[*]`"
    ),
    "empty_family": _error("EmptyFamily", "family `{name}` has no instances", "give it at least one"),
    "index_too_large": _error("RoleLimit", "an index is at most {limit}, not {index}", "use a smaller one"),
    "index_out_of_range": _error(
        "IndexOutOfRange",
        "`{name}[{index}]` does not exist: `{name}` has {count} instance(s), numbered from 0",
        "{advice}",
    ),
    "reversed_range": _error(
        "RoleRange", "a range goes up: {low}..{high} is empty", "the end is excluded; write a larger end"
    ),
    "range_too_long": _error("RoleRange", "a range covers at most {limit} instances, not {count}", "use `[*]`"),
    "undefined_protocol": _error("UndefinedProtocol", "protocol `{name}` is not defined below `where`", "{advice}"),
    "duplicate_protocol": _error(
        "DuplicateProtocol", "protocol `{name}` is defined twice, first in line {line}", "rename one of them"
    ),
    "recursive_call": _error(
        "RecursiveCall", "protocols call each other in a circle: {cycle}", "use `rec X` and `continue X` for repetition"
    ),
    "inlining_too_large": _error(
        "RecursiveCall", "inlining the calls gives more than {limit} statements", "call fewer protocols, or use a loop"
    ),
    "case_not_exhaustive": _error(
        "Syntax", "non-exhaustive case: `{missing}` is not covered", "add a branch `| {missing}{binder} =>`"
    ),
    "case_duplicate": _error("DuplicateLabel", "constructor `{name}` has two branches", "merge them"),
    # --- linear receipts
    "receipt_unused": _error(
        "LinearReceipt", "receipt `{name}` is never consumed", "use it once, for example `handoff … to … with {name}`"
    ),
    "receipt_twice": _error(
        "LinearReceipt", "receipt `{name}` is consumed more than once, first in line {line}", "consume it once"
    ),
    "receipt_leaks": _error(
        "LinearReceipt",
        "receipt `{name}` of line {line} is lost here: `continue {label}` goes round before it is consumed",
        "consume it before `continue {label}`, for example `handoff … to … with {name}`",
    ),
    "receipt_unbound": _error(
        "LinearReceipt",
        "nothing binds `{name}` here, so there is no receipt to hand over",
        "bind it before: `let {name} = transfer … from … to …`",
    ),
    "receipt_diverges": _error(
        "LinearReceipt",
        "receipt `{name}` is consumed in some branches of this {construct} and not in others",
        "consume it in all of them or in none",
    ),
    "receipt_in_loop": _error(
        "LinearReceipt",
        "receipt `{name}` comes from outside this {construct}, whose body may run any number of times",
        "consume it before or after",
    ),
    # --- validation: communication
    "unused_role": _warning("UnusedRole", "role `{name}` takes part in nothing", "use it, or remove it from `roles`"),
    "empty_choreography": _warning("EmptyChoreography", "protocol `{name}` says nothing", "add a message"),
    "self_send": _error("SelfSend", "`{name}` sends to itself", "a local step is no message; remove it"),
    "duplicate_label": _error("DuplicateLabel", "label `{name}` stands twice in this choice", "rename one of them"),
    "chooser_must_send": _error(
        "ChoiceNotFromChooser",
        "branch `{label}` says nothing, so nobody learns that `{chooser}` chose it",
        "let `{chooser}` send something in it",
    ),
    "choice_not_from_chooser": _error(
        "ChoiceNotFromChooser",
        "branch `{label}` begins with {seen}, and `{chooser}` is the one who chooses",
        "let `{chooser}` send first in every branch",
    ),
    "inconsistent_receivers": _error(
        "InconsistentReceivers",
        "`{chooser}` tells {found} in branch `{label}` and {expected} in the others",
        "let every branch begin with a message from `{chooser}` to the same role",
    ),
    "family_chooser": _error("FamilyChooser", "family `{name}` cannot choose as one", "name an instance: `{name}[0]`"),
    "unbound_variable": _error("UnboundVariable", "`continue {name}` has no `rec {name}` around it", "{advice}"),
    "unguarded_recursion": _error(
        "UnguardedRecursion",
        "`rec {name}` can come back to itself without a message",
        "send something before `continue {name}`",
    ),
    "continue_in_par": _error(
        "UnboundVariable",
        "`continue {name}` leaves a branch of `par`, whose other branches would still run",
        "put the `rec` inside the branch, or the `par` inside the `rec` without the `continue`",
    ),
    "unreachable": _error(
        "UnreachableStatement", "nothing after this {construct} is reached: none of its branches can finish", "{advice}"
    ),
    "endless_branch": _error(
        "UnreachableStatement",
        "`{role}` never comes to branch {number} of this `par`: branch {earlier} goes on for ever, and a role takes "
        "its branches one after the other",
        "put the branch that goes on for ever last, or let it end",
    ),
    "after_continue": _error(
        "UnreachableStatement", "nothing follows `continue` in its block", "remove it, or move it before the `continue`"
    ),
    "loop_decider": _error(
        "LoopDecider",
        "a loop decided by `{role}` begins with a message from `{role}`; this begins with {seen}",
        "{advice}",
    ),
    "loop_while_start": _error(
        "LoopDecider",
        "the body of `loop while` begins with {seen}, so nobody can judge its condition",
        "begin with a message",
    ),
    "loop_condition": _error(
        "InvalidCondition", "the condition of `loop while` is not a boolean: {seen}", "write a comparison or a name"
    ),
    "empty_loop": _error("UnguardedRecursion", "a loop without a message runs on the spot", "put a message into it"),
    "idle_owner": _error(
        "UnguardedRecursion",
        "`{role}` can go round `{name}` without sending or receiving: it only owns timed parts there, waits for nobody "
        "and would run on the spot",
        "let `{role}` send or receive a message in each round, in its timed part or outside of it, or let a role that "
        "does own the timed part",
    ),
    "case_not_observable": _error(
        "CaseNotObservable", "{seen}, so the others cannot tell the outcome of this case", "{advice}"
    ),
    # --- validation: declarations
    "duplicate_declaration": _error(
        "Duplicate{what}", "{noun} `{name}` is declared twice, first in line {line}", "rename one"
    ),
    "missing_bundle": _error("MissingBundle", "proof bundle `{name}` is required and not declared", "{advice}"),
    "missing_capability": _error(
        "MissingCapability",
        "no required bundle grants capability `{name}`",
        "add it to the `requires [...]` of a bundle that the protocol requires",
    ),
    "undeclared_profile": _error("UndeclaredProfile", "profile `{name}` is not declared", "{advice}"),
    "undeclared_agreement": _error(
        "UndeclaredAgreementProfile", "agreement profile `{name}` is not declared", "{advice}"
    ),
    "undeclared_interface": _error("UndeclaredInterface", "effect `{name}` is not declared", "{advice}"),
    "unused_interface": _error(
        "InterfaceNotUsed",
        "effect `{name}` is called and not in the protocol's `uses`",
        "add `uses {name}` to the head",
    ),
    "undeclared_effect_operation": _error(
        "UndeclaredEffectOperation", "effect `{interface}` has no operation `{name}`", "{advice}"
    ),
    "undeclared_operation": _error("UndeclaredOperation", "operation `{name}` is not declared", "{advice}"),
    "undeclared_member": _error("UndefinedRole", "`{name}` is neither a role nor a role set", "{advice}"),
    "effect_value": _error("EffectMetadata", "`{key}` cannot be `{seen}`", "use one of {values}"),
    "effect_key": _error("EffectMetadata", "an effect operation has no key `{seen}`", "the keys are {keys}"),
    "effect_class": _error("EffectClass", "class `{seen}` does not fit `{mode}`", "write `class : {wanted}`"),
    "authoritative_immediate": _error(
        "AuthoritativeImmediate", "an authoritative operation cannot be immediate", "write `progress : may_block`"
    ),
    "observe_agreement": _error(
        "EffectMetadata", "an observation cannot require agreement", "write `agreement_use : none`"
    ),
    "plain_let_of_check": _error(
        "PlainAuthoritativeLet", "a plain `let` binds no check", "write `authoritative let {name} = check …`"
    ),
    "plain_let_of_observe": _error(
        "PlainObserveLet", "a plain `let` binds no observation", "write `observe let {name} = observe …`"
    ),
    "observe_of_non_observe": _error(
        "EffectMode", "`{interface}.{name}` is no observation", "use `check`, or declare it with `observe`"
    ),
    "check_of_observe": _error("EffectMode", "`{interface}.{name}` is an observation", "use `observe`"),
    # --- validation: commitments
    "lifecycle_order": _error("LifecycleOrder", "`{word} {name}` comes {seen}", "{advice}"),
    # --- annotations
    "unknown_annotation": _error("UnknownAnnotation", "`{key}` is no annotation", "{advice}"),
    "malformed_annotation": _error("MalformedAnnotation", "`{key}` takes {wanted}, not {seen}", "{advice}"),
    "repeated_annotation": _error("MalformedAnnotation", "`{key}` is given twice to one sender", "keep one"),
    "capability_without_namespace": _warning(
        "CapabilityNamespace", "capability `{seen}` has no namespace", "it is read as `{better}`; write that"
    ),
    # --- binding
    "unbound_symbol": _error("UnboundSymbol", "symbol `{name}` has no value", "bind it: `{name}=3`"),
    "unbound_family": _error("UnboundFamily", "family `{name}` has no size yet", "bind it: `{name}=3`"),
    "count_mismatch": _error(
        "CountMismatch", "`{name}` is declared with {count} instance(s) and bound to {bound}", "{advice}"
    ),
    "binding_no_number": _error(
        "InvalidBinding", "`{name}` is bound to {bound}, which is no whole number", "bind it like `{name}=3`"
    ),
    "bound_out_of_limits": _error(
        "RoleLimit",
        "`{name}` is bound to {bound}; a family has 1 to {limit} instances",
        "bind it to a number in that range",
    ),
    "families_unpaired": _error(
        "FamiliesUnpaired",
        "`{sender}` and `{receiver}` are both families: who sends to whom?",
        "pair them by an index, such as `{sender}[i] -> {receiver}[i]`",
    ),
    "unknown_binding": _error("UnboundFamily", "there is no family or symbol `{name}` to bind", "{advice}"),
    "binding_too_large": _error(
        "RoleLimit", "binding gives more than {limit} statements", "bind fewer instances, or send to fewer of them"
    ),
    "dynamic_role": _error("DynamicRole", "family `{name}` has a size only known at run time", "bind it: `{name}=3`"),
    "unbound_symbolic": _error(
        "UnboundSymbolic", "`{family}[{name}]`: symbol `{name}` has no value", "bind it: `{family}=3` or `{name}=3`"
    ),
    "range_projection": _error(
        "RangeProjection", "a range of `{family}` cannot be projected unbound", "bind `{family}`"
    ),
    "wildcard_projection": _error(
        "WildcardProjection", "all of `{family}` cannot be projected unbound", "bind it: `{family}=3`"
    ),
    # --- lowering
    "unsupported": _error("UnsupportedFeature", "{feature} has no place in the core", "{advice}"),
    "unsupported_authority": _error(
        "UnsupportedAuthorityConstruct",
        "`{word}` cannot be projected: it belongs to the commitment lifecycle",
        "run this protocol on the protocol machine",
    ),
    "unsupported_agreement": _error(
        "UnsupportedAuthorityConstruct",
        "operation `{name}` cannot be projected",
        "run this protocol on the protocol machine",
    ),
    "timeout_not_observable": _warning(
        "TimeoutNotObservable",
        "{role} cannot tell that {owner}'s clock fired",
        "let `on timeout` (and `on cancel`) begin, for {role}, with a message that the body does not begin with",
    ),
    # --- the rest
    "unresolved_import": _warning("UnresolvedImport", "import `{name}` resolves nowhere and is ignored", "{advice}"),
    "extension_refused": _error("GrammarComposition", "extension `{keyword}`: {seen}", "{advice}"),
    "bad_namespace": _error(
        "Syntax", "`{seen}` is no namespace", "use ASCII letters, digits and `_`, beginning with a letter"
    ),
    "namespace_disagrees": _error(
        "NamespaceMismatch", "the namespace is `{attribute}` in the attribute and `{module}` in `module`", "keep one"
    ),
    "unknown_attribute": _warning("UnknownAttribute", "attribute `{key}` means nothing here", "remove it"),
    "too_many": _error("TooManyProblems", "{count} more problem(s) are not shown", "mend these first"),
}


def problem(code: str, span: Span, **facts: str | int) -> Problem:
    """The problem of that row at that place, its sentences filled in with the facts."""
    row = DIAGNOSTICS[code]
    facts = {name: _short(fact) for name, fact in facts.items()}
    return Problem(
        kind=row.kind.format(**facts),
        code=code,
        severity=row.severity,
        span=span,
        message=row.message.format(**facts),
        hint=row.hint.format(**facts),
    )


def _short(fact: str | int) -> str | int:
    """A fact that fits a screen: a name may be as long as its file."""
    if isinstance(fact, int) or len(fact) <= FACT_LENGTH_MAX:
        return fact
    return f"{fact[: FACT_LENGTH_MAX - 1]}…"


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """`did you mean …?` when a known name looks alike, else the other advice."""
    candidates = [candidate for candidate in known if abs(len(candidate) - len(name)) <= 3][:SUGGESTIONS_MAX]
    by_case = [candidate for candidate in candidates if candidate.lower() == name.lower()]
    close = by_case or get_close_matches(name, candidates, n=1, cutoff=0.7)
    return f"did you mean `{close[0]}`?" if close else otherwise


# Longer than any list of alternatives that a message holds.
FACT_LENGTH_MAX = 400
# Comparing with every one of ten thousand names is not worth the wait for a hint.
SUGGESTIONS_MAX = 400
