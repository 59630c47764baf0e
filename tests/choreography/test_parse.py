"""Reading both dialects: what is accepted, what is refused and how, and that no text is too bad to read."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.choreography import ast
from antiphon.choreography.dsl import grammar
from antiphon.choreography.dsl.diagnostics import DIAGNOSTICS
from antiphon.choreography.dsl.parse import DialectChoice, parse, parse_choreography_file, parse_choreography_str
from antiphon.choreography.dsl.words import REMOVED_WORDS
from antiphon.choreography.errors import ChoreographyError
from antiphon.choreography.node import Node

HEAD = "protocol P =\n  roles A, B, C, W[3], V[*]\n"


def body(*lines: str) -> str:
    return HEAD + "".join(f"  {line}\n" for line in lines)


def check_accepts(text: str) -> ast.Choreography:
    result = parse(text)
    assert result.is_ok, result.render()
    assert result.tree is not None
    assert Node.from_json(json.loads(json.dumps(result.tree.to_json()))) == result.tree
    return result.tree


def check_refuses(text: str, code: str) -> None:
    found = [item.code for item in parse(text).errors]
    assert found == [code], parse(text).render()


ACCEPTED = {
    "minimal": "protocol P =\n  roles A, B\n  A -> B : M\n",
    "empty body": "protocol P =\n  roles A, B\n",
    "nothing at all below the head": "protocol P =\n",
    "roles in the head": "protocol P (A, B) =\n  A -> B : M\n",
    "roles in head and line alike": "protocol P (A, B) =\n  roles A, B\n  A -> B : M\n",
    "header metadata": "proof_bundle X\nprotocol P requires X, Y uses E under F =\n  roles A, B\n  A -> B : M\n",
    "module": "module shop exposing ()\nprotocol P =\n  roles A, B\n  A -> B : M\n",
    "module with exports": "module shop exposing (P, Q)\nimport util.text as u exposing (T)\nprotocol P =\n",
    "role forms": "protocol P =\n  roles A, B[3], C[N], D[*]\n  A -> B[1] : M\n  A -> B[*] : M\n  A -> C[i] : M\n"
    "  A -> B[0..2] : M\n  A -> C[i..n] : M\n  A -> D : M\n",
    "messages": body(
        "A -> B : M",
        "A -> B : M of a.b.T<U, V<W>>",
        "A -> B : M(day : u32)",
        "A -> B : M { t : S, l : u8, }",
        "A -> B : M of T (x : u8)",
        "A -> B : M()",
    ),
    "payload on the next lines": body("A -> B : Query", "    { term : String,", "      limit : u32 }"),
    "record over several lines": body("A {", "   flow_cost : 20,", "   leak : (External),", "} -> B : M"),
    "record kinds": body('A { a : "t", b : 5s, c : 3, d : [1, 2], e : (X, Y), f : name, a : true, g : 5 m } -> B : M'),
    "broadcast": body("A ->* : M"),
    "arrow at the line's beginning": body("A", "-> B : M", "A", "      ->* : M"),
    "one branch": body("choice A at", "  | x => A -> B : x"),
    "branch on its line and below": body("choice A at", "  | x => A -> B : x", "  | y =>", "    A -> B : y"),
    "statement words as labels": body("choice A at", "  | timeout => A -> B : timeout", "  | call => A -> B : of"),
    "guards": body(
        "choice A at",
        "  | a when (open()) => A -> B : a",
        "  | b when (!x && (a.b || f(x).m()[0] >= 3)) => A -> B : b",
        '  | c when check Gate.open(1, "x", y) yields pass => A -> B : c',
    ),
    "loops": body(
        "loop decide by A",
        "  A -> B : x",
        "loop repeat 3",
        "  A -> B : x",
        "loop repeat N",
        "  A -> B : x",
        'loop while "a < b"',
        "  A -> B : x",
        "loop forever",
        "  A -> B : x",
    ),
    "nested rec": body("rec X", "  rec Y", "    A -> B : m", "    continue Y"),
    "par": body("par", "  | A -> B : x", "  | A -> C : y", "  |", "    B -> C : z", "    C -> B : z"),
    "body in parentheses": body("choice A at (", "  | x => ( A -> B : x", "           B -> A : y )", ")", "A -> B : z"),
    "body in parentheses on one line": body("rec X ( A -> B : m )"),
    "where": "protocol P =\n  roles A, B\n  call Q\nwhere\n  protocol Q =\n    call R\n"
    "  protocol R =\n    A -> B : M\n",
    "where inside the body": "protocol P =\n  roles A, B\n  call Q\n  where\n    protocol Q =\n      A -> B : M\n",
    "timeout": body("timeout 5 s A at", "  A -> B : x", "on timeout =>", "  A -> B : y"),
    "timeout with cancel": body(
        "timeout 0ms A at", "  A -> B : x", "on timeout => A -> B : y", "on cancel =>", "  A -> B : z"
    ),
    "lets": body(
        "let x = f(Ok(1), Nothing)",
        "authoritative let y = check E.op(x)",
        "observe let z = observe E.lamp()",
        "let q = x in",
        "  A -> B : m",
        "let a = b.c",
    ),
    "case": body(
        "case x of",
        "  | Ok(t) => A -> B : m",
        "  | Err(e) => A -> B : n",
        "case y at A of",
        "  | Just(v) => A -> B : m",
        "  | Nothing => A -> B : n",
        "case z of",
        "  | Red => A -> B : m",
    ),
    "publication": body(
        "publish E",
        "publish E(x)",
        "publish w as N",
        "materialize p from N",
        "let r = transfer S from A to B",
        "handoff op to B with r",
        "dependent work W(x) required for op",
        "dependent work W required for op",
    ),
    "types of outcomes": body(
        "A -> B : M of Result E T",
        "A -> B : M of Maybe a.b.T<U> (x : u8)",
        "A -> B : M(x : Result E T, Maybe T)",
    ),
    "receipt in a payload": body("let r = transfer S from A to B", "A -> B : Give(r)"),
    "receipt in every branch": body(
        "let r = transfer S from A to B",
        "choice A at",
        "  | x =>",
        "    A -> B : x(r)",
        "  | y =>",
        "    A -> B : y(r)",
    ),
    "lifecycle": body(
        "begin book(id)",
        "begin o progress Q requires F within W",
        "await book",
        "resolve book as Success(t)",
        "resolve o as Cancelled",
        "invalidate book",
    ),
    "comments": "-- a\n{- b\n  c -}\nprotocol P = -- d\n  -- e\n  roles A, B {- f -}\n\n"
    "      -- g\n  A -> B : M -- h\n-- i",
    "crlf": "protocol P =\r\n  roles A, B\r\n  A -> B : M\r\n",
    "everything indented": "    protocol P =\n      roles A, B\n      A -> B : M\n",
    "odd indentation": "protocol P =\n       roles A, B\n       choice A at\n"
    "        | x =>\n                A -> B : x\n",
    "byte order mark": "\ufeffprotocol P =\n  roles A, B\n",
    "long names": f"protocol P =\n  roles {'A' * 500}, B\n  {'A' * 500} -> B : {'m' * 500}\n",
    "words inside names": "protocol P =\n  roles parent, choices\n  parent -> choices : of_at\n",
    "words as names": "protocol P =\n  roles at, by\n  at -> by : when\n  choice at at\n    | of => at -> by : of\n",
    "a role called like a removed word": "protocol P =\n  roles retry, B\n  retry -> B : M\n",
}

DECLARATIONS = (
    """module shop exposing ()
type alias Key = Result E (T)
""".replace(" (T)", " T")
    + """type Shape =
  | Round(u32, a.B<C>)
  | Flat
type Flag = | On | Off
effect Gate
  authoritative open : Unit -> Result Fault Pass
    {
      class : authoritative
      progress : may_block
      region : session
      agreement_use : none
      reentrancy : allow
    }
  tick : Unit -> { a : T } { class : best_effort, progress : immediate, region : session, agreement_use : none,
    reentrancy : allow }
proof_bundle Base version "1" issuer "me"
  constraint "c" constraint "d"
  requires [read, write]
profile Fast fairness f admissibility a escalation_window 5s
agreement_profile Quorum
  visibility pending
  rule threshold
  usable_at provisional
  finalized_at finalized
  evidence certificate
role_set All = A, B
role_set Some = subset(All, 0..2)
cluster K = A, B
ring R = A, B
mesh M = A, B
fragment Room(p, q)
guest runtime Host =
  uses Gate
  entry main
operation book(id : Key) at A within Room(a) progress Prompt requires Fresh within Window
    on timeout => retry_later on stall => give_up agreement Quorum prestate Clean compose threshold_success(2) =
  A -> B : Reserve
operation other at A progress Prompt compose all =
  A -> B : Reserve
protocol P requires Base uses Gate under Fast =
  roles A, B
  A -> B : M
"""
)


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_legal_text_is_accepted(text: str) -> None:
    check_accepts(text)


def test_every_declaration_is_accepted() -> None:
    tree = check_accepts(DECLARATIONS)
    kinds = {type(item).__name__ for item in tree.declarations}
    assert len(tree.declarations) == 16
    assert len(kinds) == 12


REFUSED = {
    # names
    "undeclared sender": (body("X -> B : M"), "undefined_role"),
    "undeclared chooser": (body("choice X at", "  | a => A -> B : a"), "undefined_role"),
    "undeclared decider": (body("loop decide by X", "  A -> B : a"), "undefined_role"),
    "undeclared in where": (body("call Q") + "where\n  protocol Q =\n    A -> X : M\n", "undefined_role"),
    "duplicate role": ("protocol P =\n  roles A, A\n", "duplicate_role"),
    "third duplicate role": ("protocol P =\n  roles A, B, A\n", "duplicate_role"),
    "duplicate local protocol": (body("call Q") + "where\n  protocol Q =\n  protocol Q =\n", "duplicate_protocol"),
    "unknown call": (body("call Q"), "undefined_protocol"),
    "call circle": (
        body("call Q") + "where\n  protocol Q =\n    call R\n  protocol R =\n    call Q\n",
        "recursive_call",
    ),
    "empty roles": ("protocol P =\n  roles\n", "empty_roles"),
    "no roles": ("protocol P =\n  A -> B : M\n", "no_roles"),
    "head and line differ": ("protocol P (A) =\n  roles A, B\n", "roles_twice"),
    "roles in a local protocol": (body("call Q") + "where\n  protocol Q =\n    roles A, B\n", "misplaced_roles"),
    "roles after a message": (body("A -> B : M", "roles A, B"), "misplaced_roles"),
    # messages
    "missing receiver": (body("A -> : M"), "missing_receiver"),
    "double arrow": (body("A -> -> B : M"), "missing_receiver"),
    "two arrows": (body("A -> B -> C : M"), "double_arrow"),
    "missing colon": (body("A -> B"), "missing_colon"),
    "missing message": (body("A -> B :"), "missing_message"),
    "of without type": (body("A -> B : M of"), "missing_type"),
    "generic without of": (body("A -> B : M<T>"), "generic_without_of"),
    "nested generic without of": (body("A -> B : M<T<U>>"), "generic_without_of"),
    "bad payload": (body("A -> B : M(1 + 2)"), "invalid_payload"),
    "two names in a payload": (body("A -> B : M(x y)"), "unknown_type_form"),
    "a sender called like a statement": ("protocol P =\n  roles loop, B\n  loop -> B : M\n", "word_as_sender"),
    "another language's conditional": (body("choice A at", "  | x when (if) => A -> B : x"), "invalid_guard"),
    "dashed name": (body("A -> B : my-message"), "dashed_name"),
    "foreign name": ("protocol P =\n  roles Zoë, B\n", "foreign_name"),
    "underscore name": (body("A -> B : _m"), "underscore_name"),
    "number name": (body("A -> B : 9m9"), "odd_number"),
    "module path": ("module a::b exposing ()\nprotocol P =\n", "module_path"),
    "double colon": (body("A -> B : M of a::b"), "double_colon"),
    "dotted module": ("module a.b exposing ()\nprotocol P =\n", "module_path"),
    "dashed module": ("module a-b exposing ()\nprotocol P =\n", "dashed_name"),
    # indices
    "negative index": (body("A -> W[-1] : M"), "unexpected"),
    "reversed range": (body("A -> W[2..1] : M"), "reversed_range"),
    "index too large": (body("A -> V[10000] : M"), "index_too_large"),
    "index out of range": (body("A -> W[3] : M"), "index_out_of_range"),
    "range out of range": (body("A -> W[0..4] : M"), "index_out_of_range"),
    "count too large": ("protocol P =\n  roles W[10001]\n", "count_too_large"),
    "empty family": ("protocol P =\n  roles W[0]\n", "empty_family"),
    "range too long": (body("A -> V[0..1001] : M"), "range_too_long"),
    "index of a single role": (body("A[0] -> B : M"), "not_a_family"),
    # layout
    "unmatched closer": (body("A -> B : M )"), "unmatched_closer"),
    "wrong closer": (body("A -> B : M(x : u8]"), "wrong_closer"),
    "unclosed at the end": (body("A -> B : M(x : u8"), "unclosed_bracket"),
    "unclosed before a statement": (body("A -> B : M(x : u8", "A -> B : N"), "unclosed_bracket"),
    "unclosed record": (body("A { flow_cost : 2 -> B : M", "A -> B : N"), "unclosed_bracket"),
    "tab": ("protocol P =\n\troles A, B\n\tA -> B : M\n", "tab_in_indentation"),
    "tabs and spaces": ("protocol P =\n  \troles A, B\n", "mixed_indentation"),
    "wrong dedent": (body("rec X", "    A -> B : M", "  A -> B : N"), "inconsistent_dedent"),
    "over-indented": (body("A -> B : M", "    A -> B : N"), "over_indented"),
    "unclosed comment": (body("A -> B : M") + "{- never", "unclosed_comment"),
    "unclosed text": (body('A { a : "x } -> B : M'), "unclosed_text"),
    "curly quotes": (body("A { audit_log : “x” } -> B : M"), "curly_quotes"),
    "apostrophes": (body("A { audit_log : 'x' } -> B : M"), "apostrophe_text"),
    "curly arrow": (body("A → B : M"), "curly_arrow"),
    "no-break space": (body("A\u00a0-> B : M"), "odd_space"),
    "control character": (body("A \x00 -> B : M"), "odd_character"),
    "slash comment": (body("A -> B : M // no"), "slash_comment"),
    "semicolon": (body("A -> B : M;"), "semicolon"),
    # braces
    "brace protocol": ("protocol P = {\n  roles A, B\n}\n", "brace_block"),
    "brace choice": (body("choice A at {", "  | x => A -> B : x", "}"), "brace_block"),
    "brace case": (body("case x of {", "  | Red => A -> B : x", "}"), "brace_block"),
    "brace branch": (body("choice A at", "  | x => {", "    A -> B : x", "  }"), "brace_block"),
    "brace par": (body("par {", "  | A -> B : x", "}"), "brace_block"),
    "brace rec": (body("rec X {", "  A -> B : x", "}"), "brace_block"),
    "brace loop": (body("loop forever {", "  A -> B : x", "}"), "brace_block"),
    "brace timeout": (body("timeout 5s A at {", "  A -> B : x", "}"), "brace_block"),
    "brace let": (body("let x = y in {", "  A -> B : x", "}"), "brace_block"),
    "brace where": (body("A -> B : m") + "where {\n  protocol Q =\n}\n", "brace_block"),
    "brace operation": ("operation o at A progress Q = {\n}\nprotocol P =\n  roles A\n", "brace_block"),
    "brace guest": ("guest runtime H = {\n  entry x\n}\nprotocol P =\n  roles A\n", "brace_block"),
    "brace on timeout": (
        body("timeout 5s A at", "  A -> B : x", "on timeout => {", "  A -> B : y", "}"),
        "brace_block",
    ),
    "brace on cancel": (
        body("timeout 5s A at", "  A -> B : x", "on timeout => A -> B : y", "on cancel => {", "  A -> B : y", "}"),
        "brace_block",
    ),
    # control
    "one-branch par": (body("par", "  | A -> B : x"), "one_branch_par"),
    "choice without body": (body("choice A at", "A -> B : m"), "missing_block"),
    "choice in the old order": (body("choice at A", "  | x => A -> B : x"), "choice_order"),
    "timeout in the old order": (body("timeout A 5s at", "  A -> B : x", "on timeout => A -> B : y"), "timeout_order"),
    "timeout alone": (body("timeout 5s A at", "  A -> B : x"), "timeout_alone"),
    "stray branch": (body("A -> B : M", "| x => A -> B : x"), "stray_branch"),
    "arithmetic guard": (body("choice A at", "  | x when (1 + 2) => A -> B : x"), "invalid_guard"),
    "arithmetic with a name": (body("choice A at", "  | x when (x + 1) => A -> B : x"), "invalid_guard"),
    "if guard": (body("choice A at", "  | x if (y) => A -> B : x"), "unexpected"),
    "bare guard": (body("choice A at", "  | x when y => A -> B : x"), "guard_without_parentheses"),
    "misspelled word": (body("choise A at", "  | x => A -> B : x"), "unknown_word"),
    "unknown word": (body("frobnicate A"), "unexpected"),
    # older surfaces
    "note": (body("@note A -> B : M"), "removed_note"),
    "attribute": (body("#[note] A -> B : M"), "removed_attribute"),
    "bracket annotation": (body("A[k = v] -> B : M"), "removed_brackets"),
    "both ways": (body("A <-> B : M"), "removed_both_ways"),
    "brace dialect in a layout file": ("protocol P {\n  roles: A, B;\n}\n", "brace_dialect"),
    "the other dialect's word": ("choreography P(A, B) =\n  A -> B : M\n", "brace_only"),
    "remark after the protocol": (body("A -> B : M") + "hello world\n", "outside_protocol"),
    "roles with a colon": ("protocol P =\n  roles: A, B\n", "roles_colon"),
    # receipts
    "receipt never used": (body("let r = transfer S from A to B"), "receipt_unused"),
    "receipt used twice": (
        body("let r = transfer S from A to B", "handoff o to B with r", "handoff o to B with r"),
        "receipt_twice",
    ),
    "receipt diverges in a choice": (
        body("let r = transfer S from A to B", "choice A at", "  | x => A -> B : x(r)", "  | y => A -> B : y"),
        "receipt_diverges",
    ),
    "receipt diverges in a case": (
        body("let r = transfer S from A to B", "case q of", "  | Red => A -> B : x(r)", "  | Blue => A -> B : y"),
        "receipt_diverges",
    ),
    "receipt diverges in a timeout": (
        body("let r = transfer S from A to B", "timeout 5s A at", "  A -> B : x(r)", "on timeout => A -> B : y"),
        "receipt_diverges",
    ),
    "receipt in a loop": (
        body("let r = transfer S from A to B", "loop forever", "  A -> B : x(r)"),
        "receipt_in_loop",
    ),
    "receipt in rec": (body("let r = transfer S from A to B", "rec X", "  A -> B : x(r)"), "receipt_in_loop"),
    "receipt in par": (
        body("let r = transfer S from A to B", "par", "  | A -> B : x(r)", "  | A -> C : y"),
        "receipt_in_loop",
    ),
    # authority
    "result not exhaustive": (body("case x of", "  | Ok(t) => A -> B : m"), "case_not_exhaustive"),
    "maybe not exhaustive": (body("case x of", "  | Nothing => A -> B : m"), "case_not_exhaustive"),
    "authoritative without check": (body("authoritative let x = f(y)"), "authoritative_without_check"),
    "observe without observe": (body("observe let x = check E.op()"), "observe_without_observe"),
    "operation without progress": (
        "operation o at A =\n  A -> B : M\nprotocol P =\n  roles A, B\n",
        "missing_progress",
    ),
    "compose race": ("operation o at A progress Q compose race =\nprotocol P =\n  roles A\n", "unknown_compose"),
    "compose fallback": (
        "operation o at A progress Q compose fallback =\nprotocol P =\n  roles A\n",
        "unknown_compose",
    ),
    "compose quorum": ("operation o at A progress Q compose quorum(2) =\nprotocol P =\n  roles A\n", "unknown_compose"),
    "threshold zero": (
        "operation o at A progress Q compose threshold_success(0) =\nprotocol P =\n  roles A\n",
        "compose_threshold",
    ),
    "effect without metadata": ("effect E\n  op : Unit -> Unit\nprotocol P =\n", "missing_metadata"),
    "agreement without a key": ("agreement_profile Q\n  visibility x\nprotocol P =\n", "missing_agreement_key"),
    "unknown outcome": (body("resolve o as Maybe"), "unknown_outcome"),
    # the file
    "two protocols": (body("A -> B : M") + "protocol Q =\n  roles A\n", "two_protocols"),
    "text after the protocol": (body("A -> B : M") + "type alias X = Y\n", "after_protocol"),
    "statement outside": ("A -> B : M\nprotocol P =\n  roles A, B\n", "outside_protocol"),
    "no protocol": ("type alias X = Y\n", "no_protocol"),
    "nothing": ("", "no_protocol"),
    "no equals": ("protocol P\n  roles A, B\n", "missing_equals"),
    "module later": ("type alias X = Y\nmodule m exposing ()\nprotocol P =\n", "misplaced_module"),
    "too deep": (HEAD + "".join("  " * (i + 1) + f"rec X{i}\n" for i in range(300)), "too_deep"),
    "too convoluted": (body(f"A -> B : M of {'T<' * 400}U{'>' * 400}"), "too_convoluted"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_each_mistake_is_one_problem_with_its_own_words(text: str, code: str) -> None:
    found = parse(text, dialect="layout" if code == "brace_dialect" else "auto")
    assert [item.code for item in found.errors] == [code], found.render()
    assert all(item.hint for item in found.errors)


@pytest.mark.parametrize("word", REMOVED_WORDS)
def test_a_removed_word_names_its_successor(word: str) -> None:
    check_refuses(body(f"{word} x for y"), "removed_word")


def test_all_problems_of_a_text_are_reported_at_their_places() -> None:
    text = body("A -> B M", "choice A att", "  | x =>", "    A -> X : M", "    A -> : M", "B -> A : M(", "A -> B : Ok")
    found = [(item.kind, item.span.line) for item in parse(text).errors]
    # The broken choice's block is read for its own mistakes, though not for its names.
    assert found == [("Syntax", 3), ("Syntax", 4), ("Syntax", 7), ("Syntax", 8)], parse(text).render()


def test_a_look_alike_role_is_suggested() -> None:
    (found,) = parse("protocol P =\n  roles Client, Server\n  Clinet -> Server : M\n").errors
    assert found.hint == "did you mean `Client`?"
    assert (found.span.line, found.span.column, found.span.end_column) == (3, 3, 9)


def test_places_are_those_of_the_original_text() -> None:
    text = "  protocol P =\r\n    roles A, B\r\n\r\n    {- x\r\n -} A -> Q : M\r\n"
    (found,) = [item for item in parse(text).errors if item.code == "undefined_role"]
    assert text[found.span.start : found.span.end] == "Q"
    assert (found.span.line, found.span.column) == (5, 10)


SEED = """choreography! {
  #[namespace = "lend"]
  protocol Lend {
    roles: Shelf, Reader;
    // who pays
    Shelf[guard_capability = "lend:give", flow_cost = 50, journal_facts = "book_out",]
    -> Reader: Book(Volume);
    Reader -> Shelf: Returned(day: u32);
    Shelf -> Reader: Thanks;
  }
}
"""
TWIN = """module lend exposing ()
protocol Lend =
  roles Shelf, Reader
  Shelf { guard_capability : "lend:give", flow_cost : 50, journal_facts : "book_out" } -> Reader : Book(Volume)
  Reader -> Shelf : Returned(day : u32)
  Shelf -> Reader : Thanks
"""


def test_both_dialects_give_the_same_tree() -> None:
    assert check_accepts(SEED) == check_accepts(TWIN)


def test_the_example_of_the_oldest_guide_parses() -> None:
    text = (
        "#![allow(unused)] fn main() { use aura_macros::choreography; choreography! { "
        '#[namespace = "secure_request"] protocol SecureRequest { roles: Client, Server; '
        'Client[guard_capability = "send_request", flow_cost = 50] -> Server: SendRequest(RequestData); '
        'Server[guard_capability = "send_response", flow_cost = 30, journal_facts = "response_sent"] '
        "-> Client: SendResponse(ResponseData); } } }"
    )
    tree = check_accepts(text)
    assert tree.qualified_name == "secure_request.SecureRequest"
    assert tree.attrs == {"namespace": "secure_request"}
    assert len(tree.body.items) == 2


def test_blocks_of_the_brace_dialect_are_those_of_the_layout_dialect() -> None:
    brace = (
        "protocol P { roles: A, B; choice A at { | l => { A -> B: l; } | r => A -> B: r; } "
        "loop decide by A { A -> B: x; } rec X { A -> B: z; } par { | A -> B: p; | { B -> A: q; } } "
        "timeout 5s A at { A -> B: t; } on timeout => { A -> B: u; } }"
    )
    layout = (
        "protocol P =\n  roles A, B\n  choice A at\n    | l => A -> B : l\n    | r => A -> B : r\n  loop decide by A\n"
        "    A -> B : x\n  rec X\n    A -> B : z\n  par\n    | A -> B : p\n    | B -> A : q\n  timeout 5s A at\n"
        "    A -> B : t\n  on timeout =>\n    A -> B : u\n"
    )
    assert check_accepts(brace) == check_accepts(layout)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("protocol P { roles: A, B; A[flow_cost = 5 -> B: M(T); A -> B: N; }", "unclosed_bracket"),
        ("protocol P { roles: A, B; A -> B: M }", "missing_semicolon"),
        ("protocol P {\n roles: A, B;\n A -> B: M\n B -> A: N;\n}", "missing_semicolon"),
        ("protocol P { roles: A, B; A -> B: M;", "unclosed_bracket"),
        ("choreography! {\n protocol P { roles: A, B; A -> B: M; }\n", "unclosed_bracket"),
        ("protocol P { roles: A, B; -- no\n A -> B: M; }", "dash_comment"),
    ],
)
def test_slips_of_the_brace_dialect_are_explained(text: str, code: str) -> None:
    check_refuses(text, code)


def test_an_equals_sign_in_a_record_is_read_with_a_warning() -> None:
    result = parse(body("A { flow_cost = 5 } -> B : M"))
    assert result.is_ok
    assert [(item.kind, item.severity) for item in result.problems] == [("Deprecated", "warning")]


def test_the_raising_forms_carry_every_problem(tmp_path: Path) -> None:
    with pytest.raises(ChoreographyError) as caught:
        parse_choreography_str(body("A -> : M", "X -> B : M"))
    assert [item.code for item in caught.value.problems] == ["missing_receiver", "undefined_role"]
    assert "3 |   A -> : M" in str(caught.value)
    path = tmp_path / "p.tell"
    path.write_text(body("A -> B : M"), encoding="utf-8")
    assert parse_choreography_file(path).name == "P"
    with pytest.raises(ValueError, match="expected one of"):
        parse_choreography_file(tmp_path / "p.txt")


def test_a_suffix_decides_the_dialect(tmp_path: Path) -> None:
    assert [item.code for item in parse(SEED, file="x.tell").errors] == ["brace_dialect"]
    path = tmp_path / "x.choreo"
    path.write_text(SEED, encoding="utf-8")
    assert parse_choreography_file(path).dialect == "brace"


def test_bytes_that_are_not_utf8_are_a_problem() -> None:
    assert [item.code for item in parse(b"protocol P =\n  roles A, B\n  A -> B : \xff\n").errors] == ["not_utf8"]


def test_a_text_in_another_encoding_is_one_problem_and_not_one_a_letter() -> None:
    assert [item.code for item in parse("protocol P =\n".encode("utf-16")).errors] == ["not_utf8"]


def test_every_row_of_the_table_has_a_message() -> None:
    assert all(row.message for row in DIAGNOSTICS.values())


GRAMMAR = Path(grammar.__file__).with_name("grammar.lark").read_text(encoding="utf-8")
PIECES = st.sampled_from(
    [
        *"()[]{}<>|:;,.=!*@#-+/\"'\t\n\r ABx3“é\x00\u2028",
        *("--", "{-", "-}", "//", "::", "\n  ", "\n    ", "\n      ", " ", "5s", '"t"', "choreography!"),
        *sorted(set(re.findall(r'"([^"\s]+)"', GRAMMAR))),  # every word and sign of the language
    ]
)


DIALECTS: tuple[DialectChoice, ...] = ("auto", "layout", "brace")


def check_survives(text: str) -> None:
    for dialect in DIALECTS:
        result = parse(text, dialect=dialect)
        result.render()
        assert result.is_ok or result.errors
        for found in result.problems:
            assert 0 <= found.span.start <= found.span.end <= len(text) + 1


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=80).map("".join))
def test_any_soup_of_words_is_read_to_its_end(text: str) -> None:
    check_survives(text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_to_its_end(text: str) -> None:
    check_survives(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    result = parse(data)
    assert result.is_ok or result.errors


SOURCES = [DECLARATIONS, SEED, *ACCEPTED.values()]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SOURCES), st.data())
def test_any_mutation_of_a_program_is_read_to_its_end(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        width = data.draw(st.integers(0, 5))
        text = text[:place] + data.draw(PIECES) + text[place + width :]
    check_survives(text)


@pytest.mark.parametrize(
    "piece", ["(", "A(", "{", "[", '"', "|", "->", "A -> ", "“", "\x00", "!", "a<", "rec X ", "\n "]
)
def test_a_long_line_of_anything_is_read(piece: str) -> None:
    check_survives(HEAD + "  " + piece * (30_000 // len(piece)))


def test_a_hundred_levels_two_hundred_roles_and_two_thousand_statements_are_fine() -> None:
    levels = "".join("  " * (depth + 1) + f"rec X{depth}\n" for depth in range(100))
    check_accepts(HEAD + levels + "  " * 101 + "A -> B : M\n")
    roles = ", ".join(f"R{number}" for number in range(200))
    lines = "".join(f"  R{number % 200} -> R{(number + 1) % 200} : M\n" for number in range(2000))
    assert len(check_accepts(f"protocol P =\n  roles {roles}\n{lines}").body.items) == 2000


def test_whatever_a_payload_cannot_be_is_an_invalid_message() -> None:
    for payload in ("x y", "1 + 2", "a : Foo Bar", "a : Result E"):
        assert [found.kind for found in parse(body(f"A -> B : M({payload})")).errors] == ["InvalidMessage"]


def test_a_name_as_long_as_its_file_is_not_told_in_full() -> None:
    for text in ("x" * 1_000_000, "protocol P =\n  roles A, B\n  A -> " + "b" * 1_000_000 + " : M\n"):
        (found,) = parse(text).errors
        assert len(found.message) + len(found.hint) < 1_000


def test_a_comment_before_a_statement_takes_no_room() -> None:
    plain = body("choice A at", "  | x =>", "    A -> B : x", "    A -> B : z", "  | y => A -> B : y")
    noted = re.sub(r"(?m)^( *)(?=\S)", r"\1{- 1 -} {- 2 -} ", plain)
    assert parse(noted).tree == parse(plain).tree
    assert not parse(noted).problems


@pytest.mark.parametrize("dialect", ["layout", "brace"])
def test_a_run_of_brackets_that_close_nothing_is_one_problem(dialect: DialectChoice) -> None:
    text = (
        "protocol P =\n  roles A, B\n  A -> B : M )))\n"
        if dialect == "layout"
        else "protocol P { roles: A, B; A -> B: M ))); }"
    )
    problems = parse(text, dialect=dialect).problems
    assert [(found.code, found.span.end - found.span.start) for found in problems] == [("unmatched_closer", 3)]
