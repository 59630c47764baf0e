"""The canonical form: parsing it gives the tree back, formatting it again changes nothing, comments stay."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.choreography import ast
from antiphon.choreography.ast import Block, Choreography, Message, RoleRef, Send
from antiphon.choreography.dsl.format import format_choreography
from antiphon.choreography.dsl.parse import parse, parse_choreography_str
from antiphon.choreography.node import Node

NAMES = st.sampled_from(["x", "Ask", "when", "of", "at", "T9", "call", "m_1"])
ROLES = st.sampled_from(["A", "B", "C"])
REFERENCES = st.one_of(
    ROLES.map(RoleRef),
    st.builds(RoleRef, st.just("W"), st.integers(0, 2).map(ast.Concrete)),
    st.builds(
        RoleRef, st.just("W"), st.sampled_from([ast.Wildcard(), ast.Symbol("i"), ast.Range(0, 2), ast.Range("i", "n")])
    ),
)
TEXTS = st.text(st.sampled_from("abc ,:(){}-äß"), max_size=6)
TYPES: st.SearchStrategy[ast.TypeExpression] = st.recursive(
    st.lists(NAMES, min_size=1, max_size=2).map(lambda path: ast.TypeName(tuple(path))),
    lambda inner: st.one_of(
        st.builds(
            lambda name, items: ast.TypeName((name,), tuple(items)), NAMES, st.lists(inner, min_size=1, max_size=2)
        ),
        st.lists(st.builds(ast.TypeField, st.none() | NAMES, inner), max_size=2).map(
            lambda items: ast.RecordType(tuple(items))
        ),
    ),
    max_leaves=4,
)
FIELDS = st.lists(st.builds(ast.TypeField, st.none() | NAMES, TYPES), max_size=3).map(tuple)
MESSAGES = st.builds(Message, NAMES, st.none() | TYPES, st.none() | FIELDS.map(ast.Payload))
VALUES: st.SearchStrategy[ast.AnnotationValue] = st.recursive(
    st.one_of(
        TEXTS.map(ast.TextValue),
        st.integers(-5, 10**18).map(ast.IntegerValue),
        st.booleans().map(ast.BooleanValue),
        st.integers(0, 10**8).map(ast.DurationValue),
        NAMES.map(ast.NameValue),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: ast.ListValue(tuple(items))),
        st.lists(inner, max_size=3).map(lambda items: ast.GroupValue(tuple(items))),
    ),
    max_leaves=4,
)
RECORDS = st.lists(st.builds(ast.Annotation, NAMES, VALUES), max_size=3).map(tuple)
EXPRESSIONS: st.SearchStrategy[ast.Expression] = st.recursive(
    st.one_of(
        st.sampled_from(["x", "Nothing", "ready", "m_1"]).map(ast.Name),
        st.one_of(st.booleans(), st.integers(0, 99), TEXTS).map(ast.Constant),
    ),
    lambda inner: st.one_of(
        st.builds(ast.Member, inner, NAMES),
        st.builds(ast.Item, inner, inner),
        st.builds(lambda function, items: ast.Apply(function, tuple(items)), inner, st.lists(inner, max_size=2)),
        st.builds(ast.Not, inner),
        st.builds(ast.Binary, st.sampled_from(["&&", "||", "==", "!=", "<", "<=", ">", ">="]), inner, inner),
        st.builds(
            lambda mode, items: ast.EffectCall(mode, "E", "op", tuple(items)),
            st.sampled_from(["check", "observe"]),
            st.lists(inner, max_size=2),
        ),
    ),
    max_leaves=6,
)
GUARDS = st.one_of(
    st.none(),
    EXPRESSIONS.map(ast.Predicate),
    st.builds(lambda items: ast.Evidence("E", "op", tuple(items), "y"), st.lists(EXPRESSIONS, max_size=2)),
)
LEAVES: st.SearchStrategy[ast.Statement] = st.one_of(
    st.builds(Send, REFERENCES, REFERENCES, MESSAGES, RECORDS),
    st.builds(ast.Broadcast, ROLES.map(RoleRef), MESSAGES, RECORDS),
    st.builds(ast.Continue, NAMES),
    st.builds(ast.Let, NAMES, st.just("plain"), EXPRESSIONS),
    st.builds(ast.Let, NAMES, st.just("authoritative"), st.just(ast.EffectCall("check", "E", "op"))),
    st.builds(ast.Publish, NAMES, st.none() | EXPRESSIONS),
    st.builds(ast.PublishAuthority, EXPRESSIONS, NAMES),
    st.builds(ast.Materialize, NAMES, NAMES),
    st.builds(ast.Handoff, NAMES, REFERENCES, NAMES),
    st.builds(ast.DependentWork, NAMES, st.none() | EXPRESSIONS, NAMES),
    st.builds(ast.Await, NAMES),
    st.builds(ast.Invalidate, NAMES),
    st.builds(ast.Resolve, NAMES, st.just("Success"), st.none() | EXPRESSIONS),
    st.builds(
        ast.Begin,
        NAMES,
        st.lists(EXPRESSIONS, max_size=2).map(tuple),
        st.none() | st.builds(ast.ProgressContract, NAMES),
    ),
)


# Written with draws rather than nested strategies: hypothesis takes minutes to describe the latter.
@st.composite
def blocks(draw: st.DrawFn, depth: int, least: int = 0) -> Block:
    return Block(tuple(draw(statements(depth)) for _ in range(draw(st.integers(least, 3)))))


@st.composite
def statements(draw: st.DrawFn, depth: int) -> ast.Statement:
    form = (
        draw(st.sampled_from(["leaf", "choice", "loop", "rec", "par", "timeout", "let", "case"])) if depth else "leaf"
    )
    some, any_ = blocks(depth - 1, 1), blocks(depth - 1)
    match form:
        case "choice":
            labels = draw(st.lists(NAMES, min_size=1, max_size=3))
            return ast.Choice(
                draw(REFERENCES), tuple(ast.ChoiceBranch(label, draw(GUARDS), draw(any_)) for label in labels)
            )
        case "loop":
            conditions: list[ast.LoopCondition] = [
                ast.Decides(draw(REFERENCES)), ast.Count(draw(st.integers(0, 99))), ast.Count(draw(NAMES)),
                ast.While(draw(TEXTS)), ast.Forever(),
            ]  # fmt: skip
            return ast.Loop(draw(st.sampled_from(conditions)), draw(some))
        case "rec":
            return ast.Rec(draw(NAMES), draw(some))
        case "par":
            return ast.Parallel(tuple(draw(some) for _ in range(draw(st.integers(2, 3)))))
        case "timeout":
            cancel = draw(any_) if draw(st.booleans()) else None
            return ast.Timeout(draw(REFERENCES), draw(st.integers(0, 10**7)), draw(some), draw(any_), cancel)
        case "let":
            return ast.Let(draw(NAMES), "plain", draw(EXPRESSIONS), draw(some))
        case "case":
            decider = draw(REFERENCES) if draw(st.booleans()) else None
            branches = [ast.CaseBranch(name, ("x",) * (name == "Red"), draw(any_)) for name in ("Red", "Blue")]
            return ast.Case(draw(EXPRESSIONS), decider, tuple(branches))
        case _:
            return draw(LEAVES)


@st.composite
def trees(draw: st.DrawFn) -> Choreography:
    return Choreography(
        "P",
        (ast.Role("A"), ast.Role("B"), ast.Role("C"), ast.Role("W", ast.Static(3))),
        draw(blocks(2)),
        requires=tuple(draw(st.lists(NAMES, max_size=2))),
        local_protocols=(ast.LocalProtocol("Q", Block()),),
    )


TREES = trees()


def grammar_errors(text: str) -> list[str]:
    return [found.message for found in parse(text).errors if found.kind in ("Syntax", "Layout")]


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_the_canonical_form_of_any_tree_parses_to_that_tree(tree: Choreography) -> None:
    text = format_choreography(tree)
    again = parse(text)
    assert not grammar_errors(text), text
    assert again.tree == tree, text
    assert format_choreography(again.tree) == text


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_json_of_any_tree_gives_the_tree_back(tree: Choreography) -> None:
    assert Node.from_json(json.loads(json.dumps(tree.to_json()))) == tree
    read = parse(format_choreography(tree)).tree
    assert read is not None
    back = Choreography.from_json(json.loads(json.dumps(read.to_json())))
    assert [item.span for item in back.body.items] == [item.span for item in read.body.items]


COMMENTED = """-- of the file
protocol P =  -- of the head
  -- of the roles
  roles A, B
  A -> B : M  -- of the message
  choice A at
    -- of the branch
    | x =>
      A -> B : x
{- of
   the end -}
"""


def test_comments_stay_beside_what_they_stood_beside() -> None:
    tree = parse(COMMENTED).tree
    assert tree is not None
    assert format_choreography(tree) == COMMENTED


def test_formatting_twice_is_formatting_once() -> None:
    text = COMMENTED.replace("  A -> B : M", "  A   ->   B : M ( a:u8 )").replace("| x =>\n      A", "| x => A")
    tree = parse(text).tree
    assert tree is not None
    once = format_choreography(tree)
    again = parse(once).tree
    assert again is not None
    assert format_choreography(again) == once
    assert again == tree


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(0, "0ms"), (5, "5ms"), (5000, "5s"), (60_000, "1m"), (7_200_000, "2h")]
)
def test_a_duration_is_shown_in_its_largest_unit(milliseconds: int, shown: str) -> None:
    tree = Choreography("P", (ast.Role("A"),), Block((ast.Timeout(RoleRef("A"), milliseconds, Block(), Block()),)))
    assert f"timeout {shown} A at" in format_choreography(tree)


LONG = """\
protocol P =
  roles Sender, Receiver
  Sender { guard_capability : "ns:a_rather_long_capability", flow_cost : 20, journal_facts : "a_long_name_of_a_fact" }
    -> Receiver : Message of some.Type  -- beside
  -- above
  Receiver -> Sender : Answer
"""


def test_a_message_that_is_too_wide_stands_below_its_record_with_its_comment_beside_it() -> None:
    tree = parse(LONG).tree
    assert tree is not None
    assert format_choreography(tree) == LONG
    joined = LONG.replace("\n    ->", " ->")
    same = parse(joined).tree
    assert same == tree
    assert same is not None
    assert format_choreography(same) == LONG


def test_a_comment_at_the_end_of_a_block_stays_in_it() -> None:
    text = """\
protocol P =
  roles A, B
  choice A at
    | x =>
      A -> B : x
      -- the end of x
    | y =>
      A -> B : y  -- trails
      {- the end
      of y -}
      -- and its last word
  A -> B : z
  -- the end of all
-- after it
"""
    assert format_choreography(parse_choreography_str(text)) == text
