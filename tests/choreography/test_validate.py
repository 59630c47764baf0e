"""What makes no sense although it parses, all of it at once; and the tier a protocol reaches."""

from dataclasses import replace

import pytest

from antiphon.choreography import ast
from antiphon.choreography.compiled import check_text, compile_choreography
from antiphon.choreography.dsl.extensions import ExtensionConflict, Extensions, StatementExtension
from antiphon.choreography.dsl.parse import parse
from antiphon.choreography.errors import ChoreographyError, Problem, render
from antiphon.choreography.local import LocalBranch, LocalEnd, LocalSend, LocalType, show_local
from antiphon.choreography.node import Span
from antiphon.choreography.project import ProjectableExtension
from antiphon.choreography.validate import tier_of, validate

META = "class : {}, progress : {}, region : session, agreement_use : {}, reentrancy : allow"
GATE = (
    "effect Gate\n  authoritative open : Unit -> Unit\n    { "
    + META.format("authoritative", "may_block", "none")
    + " }\n"
    "  observe lamp : Unit -> Unit\n    { " + META.format("observational", "immediate", "none") + " }\n"
)


def program(*lines: str, before: str = "", head: str = "") -> str:
    return f"{before}protocol P{head} =\n  roles A, B\n  A -> B : First\n" + "".join(f"  {line}\n" for line in lines)


def findings(text: str) -> list[str]:
    result = parse(text)
    assert result.is_ok, result.render()
    assert result.tree is not None
    return [found.kind for found in validate(result.tree)]


def effect(mode: str, *values: str) -> str:
    return f"effect E\n  {mode} op : Unit -> Unit\n    {{ {META.format(*values)} }}\n"


FOUND = {
    "unused role": ("protocol P =\n  roles A, B, C\n  A -> B : M\n", "UnusedRole"),
    "empty": ("protocol P =\n  roles A, B\n", "EmptyChoreography"),
    "missing bundle": (program(head=" requires X"), "MissingBundle"),
    "duplicate bundle": (program(before="proof_bundle X\nproof_bundle X\n"), "DuplicateBundle"),
    "missing capability": (program("A { required_capability : read } -> B : M"), "MissingCapability"),
    "undeclared profile": (program(head=" under X"), "UndeclaredProfile"),
    "duplicate profile": (
        program(before="profile X fairness a admissibility b escalation_window c\n" * 2),
        "DuplicateProfile",
    ),
    "undeclared interface": (program(head=" uses X"), "UndeclaredInterface"),
    "interface not in uses": (program("authoritative let x = check Gate.open()", before=GATE), "InterfaceNotUsed"),
    "undeclared effect operation": (
        program("authoritative let x = check Gate.shut()", before=GATE, head=" uses Gate"),
        "UndeclaredEffectOperation",
    ),
    "duplicate interface": (program(before=GATE + GATE), "DuplicateInterface"),
    "wrong class": (program(before=effect("authoritative", "observational", "may_block", "none")), "EffectClass"),
    "authoritative immediate": (
        program(before=effect("authoritative", "authoritative", "immediate", "none")),
        "AuthoritativeImmediate",
    ),
    "observation with agreement": (
        program(before=effect("observe", "observational", "immediate", "required")),
        "EffectMetadata",
    ),
    "bad metadata value": (program(before=effect("observe", "observational", "slow", "none")), "EffectMetadata"),
    "plain let of a check": (
        program("let x = check Gate.open()", before=GATE, head=" uses Gate"),
        "PlainAuthoritativeLet",
    ),
    "plain let of an observation": (
        program("let x = observe Gate.lamp()", before=GATE, head=" uses Gate"),
        "PlainObserveLet",
    ),
    "observing what is none": (
        program("observe let x = observe Gate.open()", before=GATE, head=" uses Gate"),
        "EffectMode",
    ),
    "checking an observation": (
        program("authoritative let x = check Gate.lamp()", before=GATE, head=" uses Gate"),
        "EffectMode",
    ),
    "undeclared operation": (program("begin x"), "UndeclaredOperation"),
    "undeclared agreement": (
        program(before="operation o at A progress Q agreement X =\n  A -> B : M\n"),
        "UndeclaredAgreementProfile",
    ),
    "self-send": (program("A -> A : M"), "SelfSend"),
    "unknown annotation": (program("A { colour : red } -> B : M"), "UnknownAnnotation"),
    "guard of a number": (program("choice A at", "  | x when (1) => A -> B : x"), "InvalidCondition"),
    "guard of a text": (program("choice A at", '  | x when ("t" && y) => A -> B : x'), "InvalidCondition"),
    "import of nothing": ("import a.b\n" + program(), "UnresolvedImport"),
    "family as a chooser": (
        "protocol P =\n  roles A, W[N]\n  choice W at\n    | x => W[0] -> A : x\n",
        "FamilyChooser",
    ),
}


@pytest.mark.parametrize(("text", "kind"), FOUND.values(), ids=FOUND)
def test_each_finding_is_reported_alone(text: str, kind: str) -> None:
    assert findings(text) == [kind]


OPERATION = "operation o at A progress Q =\n  A -> B : M\n"


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (["begin o", "await o", "resolve o as Success", "invalidate o"], 0),
        (["begin o", "invalidate o"], 0),
        (["await o"], 1),
        (["resolve o as Failure(x)"], 1),
        (["begin o", "begin o"], 1),
        (["begin o", "resolve o as Cancelled", "resolve o as Cancelled"], 1),
        (["begin o", "resolve o as Cancelled", "await o"], 1),
        (["begin o", "invalidate o", "await o"], 1),
        (
            ["choice A at", "  | x =>", "    A -> B : x", "    begin o", "  | y => A -> B : y", "resolve o as Success"],
            1,
        ),
    ],
)
def test_a_commitment_keeps_its_order(lines: list[str], count: int) -> None:
    assert findings(program(*lines, before=OPERATION)) == ["LifecycleOrder"] * count


IN_ORDER = {
    "begun by what is called": ["A -> B : M", "call Q", "await book", "resolve book as Cancelled"],
    "a way round does not come to the end": [
        "rec X",
        "  choice A at",
        "    | again =>",
        "      A -> B : again",
        "      continue X",
        "    | ok =>",
        "      A -> B : ok",
        "      begin book",
        "await book",
    ],
    "begun beside another message": ["par", "  | begin book", "  | A -> B : M", "await book"],
}
OUT_OF_ORDER = {
    "begun again in every round": ["loop decide by A", "  A -> B : M", "  begin book"],
    "begun again on the way round": [
        "rec X",
        "  choice A at",
        "    | again =>",
        "      A -> B : again",
        "      begin book",
        "      continue X",
        "    | ok => A -> B : ok",
    ],
    "begun again by what is called": ["A -> B : M", "begin book", "call Q"],
    "perhaps no round": ["loop decide by A", "  A -> B : M", "  invalidate book"],
}
CALLED = "where\n  protocol Q =\n    begin book\n"


@pytest.mark.parametrize("lines", IN_ORDER.values(), ids=IN_ORDER)
def test_a_commitment_is_followed_through_calls_loops_and_par(lines: list[str]) -> None:
    assert "LifecycleOrder" not in findings(program(*lines, before=OPERATION) + CALLED)


@pytest.mark.parametrize("lines", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_a_commitment_is_made_once_whatever_goes_round(lines: list[str]) -> None:
    assert "LifecycleOrder" in findings(program(*lines, before=OPERATION) + CALLED)


def test_a_commitment_in_many_loops_is_followed_quickly() -> None:
    lines = [f"{'  ' * depth}loop decide by A\n  {'  ' * depth}  A -> B : M" for depth in range(50)]
    assert findings(program(*lines, "  " * 50 + "begin book", before=OPERATION)).count("LifecycleOrder") == 1


@pytest.mark.parametrize("family", ["W[3]", "W[N]", "W[*]"])
@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("W[i] -> W[j] : M", []),
        ("W[0] -> W[i] : M", []),
        ("W[i] -> W[j] : M\n  W[j] -> W[k] : M", []),
        ("W[i] -> W[i] : M", ["SelfSend"]),
        ("W[1] -> W[1] : M", ["SelfSend"]),
    ],
)
def test_an_index_that_is_not_bound_yet_may_be_any(family: str, line: str, kinds: list[str]) -> None:
    checked = check_text(f"protocol P =\n  roles A, {family}\n  {line}\n  A -> W : End\n")
    assert [problem.kind for problem in checked.problems] == kinds


def test_a_family_of_one_is_no_chooser_either() -> None:
    text = "protocol P =\n  roles A, W[1]\n  choice W at\n    | x => W -> A : x\n"
    assert [problem.kind for problem in check_text(text).problems] == ["FamilyChooser"]
    assert check_text(text.replace("choice W ", "choice W[0] ")).is_projectable


def test_what_a_loop_counts_to_is_placed_at_the_loop() -> None:
    checked = check_text("protocol P =\n  roles A, B\n  loop repeat n\n    A -> B : M\n", indices={"n": 2})
    assert [(problem.kind, problem.span.line) for problem in checked.problems] == [("UnboundSymbol", 3)]


def test_a_constructor_named_twice_is_a_finding() -> None:
    text = program(before="type Answer =\n  | Yes(Number)\n  | No\n  | Yes\n")
    assert [(found.kind, found.span.line) for found in check_text(text).problems] == [("DuplicateConstructor", 4)]


@pytest.mark.parametrize("roles", ["A, W[-1]", "A, W[]", "A, W[1..2]", "A,", "A, B-C", "A B"])
def test_roles_that_cannot_be_read_are_not_said_to_be_missing(roles: str) -> None:
    checked = check_text(f"protocol P =\n  roles {roles}\n  A -> A : M\n")
    assert {problem.kind for problem in checked.problems} == {"Syntax"}


def test_all_findings_come_at_once_in_the_order_of_the_text() -> None:
    text = program("A -> A : M", "continue X", "A { flow_cost : x } -> B : M", head=" requires Y")
    assert findings(text)[:2] == ["MissingBundle", "SelfSend"]
    assert {"SelfSend", "UnboundVariable", "MalformedAnnotation", "MissingBundle"} <= set(findings(text))


FULL = "module m exposing ()\nproof_bundle X\nprofile F fairness a admissibility b escalation_window c\n" + program(
    head=" requires X under F"
)


@pytest.mark.parametrize(
    ("text", "tier"),
    [
        (FULL, "full_spec"),
        (program(), "session_projectable"),
        (program("begin o", before=OPERATION), "protocol_machine_executable"),
        ("protocol P =\n  roles A, W[*]\n  A -> W[*] : M\n", "protocol_machine_executable"),
        (program("A -> A : M"), "proof_only"),
    ],
)
def test_each_tier_is_reached_and_says_why_not_higher(text: str, tier: str) -> None:
    tree = parse(text).tree
    assert tree is not None
    found = tier_of(tree)
    assert found.tier == tier
    assert bool(found.reasons) == (tier in ("protocol_machine_executable", "proof_only"))


def read_note(raw: str) -> ast.Extension:
    word, _, rest = raw.partition(" ")
    if not rest:
        raise ValueError("says nothing")
    return ast.Extension(word, raw, (("text", rest),), roles=("A",))


NOTE = StatementExtension("notes", ("note",), read_note)
MARK = StatementExtension("marks", ("mark",), read_note)


def test_extensions_read_their_own_statements() -> None:
    text = program("note hello", "mark one", "  two -> three", "A -> B : M")
    result = parse(text, extensions=Extensions([NOTE, MARK]))
    assert result.is_ok, result.render()
    assert result.tree is not None
    raws = [item.raw for item in result.tree.body.items if isinstance(item, ast.Extension)]
    assert raws == ["note hello", "mark one\n    two -> three"]
    assert tier_of(result.tree).tier == "protocol_machine_executable"


def test_the_roles_that_an_extension_names_exist() -> None:
    def read(raw: str) -> ast.Extension:
        return ast.Extension("note", raw, roles=tuple(raw.split()[1:]))

    plugins = Extensions([StatementExtension("notes", ("note",), read)])
    found = parse(program("A -> B : M", "note B Zed", "note A"), extensions=plugins)
    assert [(item.kind, item.span.line, "Zed" in item.message) for item in found.errors] == [("UndefinedRole", 5, True)]
    family = parse("protocol P =\n  roles A, W[2]\n  A -> W : M\n  note W[1] W\n", extensions=plugins)
    assert family.is_ok


def test_an_extension_without_participants_concerns_every_role() -> None:
    plugins = Extensions([StatementExtension("notes", ("note",), lambda raw: ast.Extension("note", raw))])
    tree = parse("protocol P =\n  roles A, B, C\n  A -> B : M\n  note x\n", extensions=plugins).tree
    assert tree is not None
    assert validate(tree) == ()


def test_an_extension_fails_closed() -> None:
    assert [found.kind for found in parse(program("note hello")).errors] == ["Syntax"]
    (refused,) = parse(program("note"), extensions=Extensions([NOTE])).errors
    assert (refused.kind, refused.message) == ("GrammarComposition", "extension `notes`: says nothing")


def rated(statement: ast.Extension, role: str) -> LocalType:
    if role != "A":
        raise ValueError("only A may mark")
    return LocalSend("B", (LocalBranch("Mark", None, LocalEnd()),))


def is_short(statement: ast.Extension) -> tuple[str, ...]:
    return ("too long",) if len(statement.raw) > 20 else ()


def nothing(statement: ast.Extension, role: str) -> LocalType:
    return LocalEnd()


SILENT = ProjectableExtension("notes", ("note",), read_note, project=nothing, validate=is_short)
MARKED = ProjectableExtension("marks", ("mark",), read_note, project=rated)


def test_two_extensions_project_and_validate_their_own_statements() -> None:
    text = program("note hello", "mark one", "A -> B : M")
    found = check_text(text, extensions=Extensions([SILENT, MARKED]))
    assert (found.problems, found.obstacles, found.is_projectable) == ((), (), True)
    assert found.projections is not None
    assert show_local(found.projections.local["A"]) == "!B{First: !B{Mark: !B{M: end}}}"
    long = check_text(program("note hello to all the world", "A -> B : M"), extensions=Extensions([SILENT]))
    assert [(one.kind, one.message, one.span.line) for one in long.problems if one.severity == "error"] == [
        ("GrammarComposition", "extension `note`: too long", 4)
    ]


def test_an_extension_without_a_hook_keeps_its_protocol_from_projection() -> None:
    text = program("note hello", "mark one", "A -> B : M")
    found = check_text(text, extensions=Extensions([SILENT, MARK]))
    assert (found.is_valid, found.is_projectable, found.projections) == (True, False, None)
    assert [(one.kind, one.span.line) for one in found.obstacles] == [("UnsupportedFeature", 5)]
    with pytest.raises(ChoreographyError, match="extension `mark`"):
        compile_choreography(text, extensions=Extensions([SILENT, MARK]))


def test_an_extension_that_refuses_a_role_is_a_problem_and_not_a_crash() -> None:
    def everybody(raw: str) -> ast.Extension:
        return ast.Extension("mark", raw)

    found = check_text(program("mark one", "A -> B : M"), extensions=Extensions([replace(MARKED, parse=everybody)]))
    assert not found.is_valid
    assert [one.message for one in found.problems] == ["extension `mark`: B: only A may mark"]


def test_two_extensions_cannot_want_the_same_word() -> None:
    other = StatementExtension("other", ("note",), read_note)
    with pytest.raises(ExtensionConflict, match="both want 'note'"):
        Extensions([NOTE, other])
    with pytest.raises(ExtensionConflict, match="a word of the language"):
        Extensions([StatementExtension("bad", ("choice",), read_note)])
    assert Extensions([NOTE, StatementExtension("louder", ("note",), read_note, priority=200)]).words == {"note"}


def test_a_problem_is_drawn_under_what_it_means() -> None:
    found = Problem("Syntax", "x", "error", Span(4, 6, 2, 3, 2, 5), "wrong", "right")
    assert render(found, "ab\n\tcdef\x00\n", file="f.tell") == (
        "error[Syntax]: wrong\n  --> f.tell:2:3\n  |\n2 |  cdef\N{REPLACEMENT CHARACTER}\n  |   ^^\n  = hint: right"
    )
    long = "x" * 500 + "HERE" + "y" * 500
    window = render(Problem("S", "x", "error", Span(500, 504, 1, 501, 1, 505), "m", ""), long)
    caret_row = window.splitlines()[-1]
    source_row = window.splitlines()[-2]
    assert source_row[caret_row.index("^") : caret_row.rindex("^") + 1] == "HERE"
    assert max(map(len, window.splitlines())) < 130
