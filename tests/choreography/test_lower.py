"""From the tree to the core: what each construct becomes, and each refusal."""

import json

import pytest

from antiphon.choreography import ast, core
from antiphon.choreography.compiled import compile_choreography
from antiphon.choreography.core import Branch, Comm, End, GlobalType, Rec, Var
from antiphon.choreography.dsl.parse import parse, parse_choreography_str
from antiphon.choreography.local import show_local
from antiphon.choreography.lower import UNROLLED_STATEMENTS_MAX, inline, lower
from antiphon.choreography.roles import bind

HEAD = "protocol P =\n  roles A, B, C\n"


def core_of(*lines: str, head: str = HEAD, tail: str = "") -> GlobalType:
    lowered = lower(parse_choreography_str(head + "".join(f"  {line}\n" for line in lines) + tail))
    assert lowered.core is not None, [found.message for found in lowered.problems]
    return lowered.core


def codes(*lines: str, tail: str = "") -> list[str]:
    result = parse(HEAD + "".join(f"  {line}\n" for line in lines) + tail)
    assert result.tree is not None
    return [found.code for found in lower(result.tree).problems]


def shown(node: GlobalType) -> str:
    """A core type as one line: `A→B{x: …, y: …}`."""
    match node:
        case End():
            return "end"
        case Var(name=name):
            return name
        case Rec(name=name, body=body):
            return f"rec {name}.{shown(body)}"
        case Comm(sender=sender, receiver=receiver, branches=branches):
            inner = ", ".join(f"{branch.label}: {shown(branch.continuation)}" for branch in branches)
            return f"{sender}→{receiver}{{{inner}}}"
        case core.Parallel(branches=parts, continuation=after):
            return f"par({' | '.join(shown(part) for part in parts)}); {shown(after)}"
        case core.Timeout(owner=owner, milliseconds=milliseconds, body=body, on_timeout=late, on_cancel=cancel):
            last = f", {shown(cancel)}" if cancel is not None else ""
            return f"timeout {owner} {milliseconds}({shown(body)}, {shown(late)}{last})"
        case core.Repeat(count=count, body=body, continuation=after):
            return f"repeat {count}({shown(body)}); {shown(after)}"
        case core.Local(actor=actor, continuation=after):
            return f"[{actor}] {shown(after)}"
        case core.Custom(continuation=after):
            return f"custom; {shown(after)}"


BECOMES = {
    "send": (["A -> B : M"], "A→B{M: end}"),
    "broadcast in declaration order": (["B ->* : M"], "B→A{M: B→C{M: end}}"),
    "the message is the choice": (
        ["choice A at", "  | x => A -> B : x", "  | y => A -> B : y", "B -> A : After"],
        "A→B{x: B→A{After: end}, y: B→A{After: end}}",
    ),
    "another label travels first": (["choice A at", "  | yes => A -> B : Thanks"], "A→B{yes: A→B{Thanks: end}}"),
    "decide": (
        ["loop decide by A", "  A -> B : Chunk", "  B -> A : Ack", "B -> A : Receipt"],
        "rec Loop1.A→B{Chunk: B→A{Ack: Loop1}, Done: B→A{Receipt: end}}",
    ),
    "nested decides have names of their own": (
        ["loop decide by A", "  A -> B : x", "  loop decide by A", "    A -> B : y"],
        "rec Loop1.A→B{x: rec Loop2.A→B{y: Loop2, Done: Loop1}, Done: end}",
    ),
    "while": (['loop while "n < 3"', "  A -> B : x"], "rec Loop1.A→B{x: Loop1, Done: end}"),
    "repeat": (["loop repeat 3", "  A -> B : t"], "A→B{t: A→B{t: A→B{t: end}}}"),
    "repeat nothing": (["loop repeat 0", "  A -> B : t", "A -> B : u"], "A→B{u: end}"),
    "repeat often": (["loop repeat 65", "  A -> B : t", "A -> B : u"], "repeat 65(A→B{t: end}); A→B{u: end}"),
    "forever": (["loop forever", "  A -> B : t"], "rec Loop1.A→B{t: Loop1}"),
    "rec with an exit": (
        [
            "rec X",
            "  choice A at",
            "    | s =>",
            "      A -> B : s",
            "      continue X",
            "    | b => A -> B : b",
            "B -> A : z",
        ],
        "rec X.A→B{s: X, b: B→A{z: end}}",
    ),
    "the same label twice": (
        ["rec X", "  A -> B : m", "  rec X", "    A -> B : n", "    continue X"],
        "rec X.A→B{m: rec X_2.A→B{n: X_2}}",
    ),
    "par": (["par", "  | A -> B : x", "  | A -> C : y", "B -> C : z"], "par(A→B{x: end} | A→C{y: end}); B→C{z: end}"),
    "a branch that never ends comes last": (
        ["par", "  | A -> C : n", "  | loop forever", "      A -> B : m"],
        "par(A→C{n: end} | rec Loop1.A→B{m: Loop1}); end",
    ),
    "no round, never ending": (
        ["rec X", "  A -> B : m", "  loop repeat 0", "    continue X", "  A -> B : n"],
        "rec X.A→B{m: A→B{n: end}}",
    ),
    "timeout": (
        ["timeout 2s A at", "  B -> A : x", "on timeout => A -> B : y", "on cancel => A -> B : w", "A -> B : z"],
        "timeout A 2000(B→A{x: A→B{z: end}}, A→B{y: A→B{z: end}}, A→B{w: A→B{z: end}})",
    ),
    "local actions": (["publish E", "A -> B : m", "publish F"], "[A] A→B{m: [A] end}"),
    "a transfer belongs to its source": (
        ["let r = transfer S from C to B", "A -> B : m", "handoff op to B with r", "A -> B : n"],
        "[C] A→B{m: [C] A→B{n: end}}",
    ),
    "what uses a name belongs to who bound it": (
        [
            "let x = f()",
            "A -> B : m",
            "publish E(x)",
            "publish x as N",
            "materialize p from N",
            "publish F(p)",
            "B -> A : n",
        ],
        "[A] A→B{m: [A] [A] [A] [A] B→A{n: end}}",
    ),
    "without a later message it belongs to the last speaker": (
        ["rec X", "  A -> B : m", "  B -> C : n", "  publish E", "  continue X"],
        "rec X.A→B{m: B→C{n: [B] X}}",
    ),
    "after a choice the chooser speaks last": (
        [
            "choice A at",
            "  | x =>",
            "    A -> B : x",
            "    B -> C : m",
            "  | y =>",
            "    A -> B : y",
            "    B -> C : n",
            "publish E",
        ],
        "A→B{x: B→C{m: [A] end}, y: B→C{n: [A] end}}",
    ),
    "a name lives in its block": (
        ["let x = f() in", "  C -> A : k", "let x = g()", "A -> B : m", "publish E(x)"],
        "[C] C→A{k: [A] A→B{m: [A] end}}",
    ),
    "another's action before the choice comes after its label": (
        [
            "let r = transfer S from B to C",
            "choice A at",
            "  | x =>",
            "    handoff op to C with r",
            "    A -> B : x",
            "  | y =>",
            "    A -> B : y",
            "    handoff op to C with r",
        ],
        "[B] A→B{x: [B] end, y: [B] end}",
    ),
    "a binder of a case belongs to who decides": (
        [
            "case q at A of",
            "  | Just(t) =>",
            "    A -> B : x",
            "    B -> A : z",
            "    publish E(t)",
            "  | Nothing => A -> B : y",
        ],
        "[A] A→B{x: B→A{z: [A] end}, y: end}",
    ),
    "case by its messages": (
        ["case x of", "  | Ok(t) => A -> B : Enter", "  | Err(e) => A -> B : Refuse"],
        "[A] A→B{Enter: end, Refuse: end}",
    ),
    "case without messages": (["case x of", "  | Red => publish E", "A -> B : m"], "[A] A→B{m: end}"),
    "let in": (["let x = y in", "  A -> B : m", "A -> B : n"], "[A] A→B{m: A→B{n: end}}"),
}


@pytest.mark.parametrize(("lines", "expected"), BECOMES.values(), ids=BECOMES)
def test_each_construct_becomes_its_core_form(lines: list[str], expected: str) -> None:
    assert shown(core_of(*lines)) == expected


REFUSED = {
    "different receivers": (["choice A at", "  | l => A -> B : l", "  | r => A -> C : r"], "inconsistent_receivers"),
    "not from the chooser": (["choice A at", "  | l => B -> A : l"], "choice_not_from_chooser"),
    "one level deeper": (
        ["choice A at", "  | l =>", "    A -> B : l", "    choice A at", "      | m => C -> B : m"],
        "choice_not_from_chooser",
    ),
    "empty branch": (["choice A at", "  | l =>"], "chooser_must_send"),
    "duplicate label": (["choice A at", "  | l => A -> B : l", "  | l => A -> B : l"], "duplicate_label"),
    "self-send": (["A -> A : m"], "self_send"),
    "unbound": (["A -> B : m", "continue X"], "unbound_variable"),
    "unguarded": (["rec X", "  continue X"], "unguarded_recursion"),
    "unguarded through a branch": (
        ["rec X", "  timeout 1s A at", "    continue X", "  on timeout => A -> B : m"],
        "unguarded_recursion",
    ),
    "out of a par": (["rec X", "  par", "    | A -> B : m", "    | continue X"], "continue_in_par"),
    "after rounds that never end": (
        ["rec X", "  loop repeat 2", "    A -> B : t", "    continue X", "A -> B : u"],
        "unreachable",
    ),
    "a branch that never ends before another": (
        ["par", "  | rec X", "      A -> B : m", "      continue X", "  | A -> C : n"],
        "endless_branch",
    ),
    "two branches that never end": (
        ["par", "  | loop forever", "      A -> B : m", "  | loop forever", "      C -> B : n"],
        "endless_branch",
    ),
    "after forever": (["loop forever", "  A -> B : t", "A -> B : u"], "unreachable"),
    "after a rec nobody leaves": (["rec X", "  A -> B : t", "  continue X", "A -> B : u"], "unreachable"),
    "after continue": (["rec X", "  A -> B : t", "  continue X", "  A -> B : u"], "after_continue"),
    "decided by another": (["loop decide by A", "  B -> A : t"], "loop_decider"),
    "while of nobody": (['loop while "x"', "  par", "    | A -> B : m", "    | A -> C : m"], "loop_while_start"),
    "while arithmetic": (['loop while "x + 1"', "  A -> B : m"], "loop_condition"),
    "while a number": (['loop while "1"', "  A -> B : m"], "loop_condition"),
    "same case messages": (["case x of", "  | Red => A -> B : m", "  | Blue => A -> B : m"], "case_not_observable"),
    "case with one silent branch": (
        ["case x of", "  | Red => A -> B : m", "  | Blue => publish E"],
        "case_not_observable",
    ),
    "lifecycle": (["await book"], "unsupported_authority"),
}


@pytest.mark.parametrize(("lines", "code"), REFUSED.values(), ids=REFUSED)
def test_each_refusal_has_its_words(lines: list[str], code: str) -> None:
    assert code in codes(*lines)


def test_a_call_is_what_it_names_annotations_included() -> None:
    where = (
        "where\n  protocol Q =\n    A { flow_cost : 3 } -> B : Hello\n    call R\n"
        "  protocol R =\n    B -> A : Welcome\n"
    )
    called = core_of("call Q", "timeout 1s A at", "  call R", "on timeout => A -> B : Go", tail=where)
    written = core_of(
        "A { flow_cost : 3 } -> B : Hello",
        "B -> A : Welcome",
        "timeout 1s A at",
        "  B -> A : Welcome",
        "on timeout => A -> B : Go",
    )
    assert called == written


def test_calls_in_a_circle_or_without_end_are_refused() -> None:
    circle = parse(HEAD + "  call Q\nwhere\n  protocol Q =\n    call R\n  protocol R =\n    call Q\n").tree
    assert circle is not None
    (found,) = inline(circle).problems
    assert (found.code, "Q → R → Q" in found.message) == ("recursive_call", True)
    doubling = "".join(f"  protocol P{i} =\n    call P{i + 1}\n    call P{i + 1}\n" for i in range(40))
    bomb = parse(HEAD + "  call P0\nwhere\n" + doubling + "  protocol P40 =\n    A -> B : m\n").tree
    assert bomb is not None
    assert [item.code for item in inline(bomb).problems] == ["inlining_too_large"]


def test_guards_and_local_actions_stay_with_the_branch() -> None:
    made = core_of("choice A at", "  | x when (ready) =>", "    publish E", "    A -> B : x(n : u32)")
    assert isinstance(made, Comm)
    (branch,) = made.branches
    assert isinstance(branch.guard, ast.Predicate)
    assert [type(action).__name__ for action in branch.before] == ["Publish"]
    assert branch.payload == core.ValueType("product", "(n : u32)")


def test_choices_in_a_row_share_what_follows() -> None:
    lines = [
        line for i in range(40) for line in ("choice A at", f"  | x{i} => A -> B : x{i}", f"  | y{i} => A -> B : y{i}")
    ]
    made = core_of(*lines)
    assert core.size(made) == 41
    assert core.depth(made) == 40
    again = core.CoreNode.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made


def test_core_helpers_agree_with_the_definition() -> None:
    loop = Rec("X", Comm("A", "B", (Branch("m", None, Var("X")), Branch("n", None, Var("Y")))))
    assert core.free_variables(loop) == {"Y"}
    assert core.participants(loop) == ("A", "B")
    unfolded = core.unfold(loop)
    assert isinstance(unfolded, Comm)
    assert unfolded.branches[0].continuation == loop
    assert core.unfold(unfolded) is unfolded
    assert core.exchange_json(Comm("A", "B", (Branch("m", None, End()),))) == {
        "kind": "comm",
        "sender": "A",
        "receiver": "B",
        "branches": [{"label": {"name": "m", "sort": "unit"}, "continuation": {"kind": "end"}}],
    }


FAMILY = "protocol P =\n  roles Boss, W[3], V[N], U[*]\n"


def bound(*lines: str, counts: dict[str, int], indices: dict[str, int] | None = None) -> list[str]:
    tree = parse_choreography_str(FAMILY + "".join(f"  {line}\n" for line in lines))
    result = bind(tree, counts=counts, indices=indices)
    if result.tree is None:
        return [found.kind for found in result.problems]
    sends = [item for item in result.tree.body.items if isinstance(item, ast.Send)]
    return [f"{item.sender.name}→{item.receiver.name}" for item in sends]


SIZES = {"N": 2, "U": 1}


def test_families_become_their_instances() -> None:
    assert bound("Boss -> W[*] : Go", counts=SIZES) == ["Boss→W[0]", "Boss→W[1]", "Boss→W[2]"]
    assert bound("W[0..2] -> Boss : Go", counts=SIZES) == ["W[0]→Boss", "W[1]→Boss"]
    assert bound("Boss -> V : Go", counts=SIZES) == ["Boss→V[0]", "Boss→V[1]"]
    assert bound("W[i] -> V[i] : Go", counts=SIZES, indices={"i": 1}) == ["W[1]→V[1]"]


@pytest.mark.parametrize(
    ("line", "counts", "kind"),
    [
        ("Boss -> U : Go", {"N": 1}, "UnboundFamily"),
        ("Boss -> V : Go", {"U": 1}, "UnboundSymbol"),
        ("Boss -> W[i] : Go", SIZES, "UnboundSymbol"),
        ("W[*] -> V[*] : Go", SIZES, "FamiliesUnpaired"),
        ("Boss -> W : Go", {**SIZES, "W": 4}, "CountMismatch"),
        ("Boss -> V : Go", {"N": 1025, "U": 1}, "RoleLimit"),
        ("Boss -> V : Go", {"N": -1, "U": 1}, "RoleLimit"),
        ("Boss -> V : Go", {"N": 0, "U": 1}, "EmptyFamily"),
        ("Boss -> V[2] : Go", SIZES, "IndexOutOfRange"),
        ("Boss -> V : Go", {**SIZES, "Z": 1}, "UnboundFamily"),
    ],
)
def test_a_binding_that_does_not_fit_is_refused(line: str, counts: dict[str, int], kind: str) -> None:
    assert bound(line, counts=counts) == [kind]


@pytest.mark.parametrize("wrong", ["3", 2.0, True, None])
def test_a_binding_that_is_no_whole_number_is_refused(wrong: int) -> None:
    assert bound("Boss -> V : Go", counts={**SIZES, "N": wrong}) == ["InvalidBinding"]
    assert bound("Boss -> V[i] : Go", counts=SIZES, indices={"i": wrong}) == ["InvalidBinding"]


@pytest.mark.parametrize(
    ("roles", "line", "kind"),
    [
        ("A, W[*]", "A -> W[0] : m", "DynamicRole"),
        ("A, W[N]", "A -> W[0] : m", "UnboundSymbolic"),
        ("A, W[N]", "A -> W[0..2] : m", "RangeProjection"),
        ("A, W[N]", "A -> W[*] : m", "WildcardProjection"),
    ],
)
def test_an_unbound_family_has_no_core(roles: str, line: str, kind: str) -> None:
    lowered = lower(parse_choreography_str(f"protocol P =\n  roles {roles}\n  {line}\n"))
    assert lowered.core is None
    assert kind in [found.kind for found in lowered.problems]


def test_a_family_of_known_size_needs_no_binding() -> None:
    lowered = lower(parse_choreography_str("protocol P =\n  roles A, W[2]\n  A -> W[*] : m\n"))
    assert lowered.core is not None
    assert shown(lowered.core) == "A→W[0]{m: A→W[1]{m: end}}"


def test_a_protocol_called_twice_names_its_loops_in_the_order_of_the_text() -> None:
    text = (
        "protocol P =\n  roles A, B\n  call G\n  call G\nwhere\n  protocol G =\n    rec L\n      choice A at\n"
        "        | h =>\n          A -> B : h\n          continue L\n        | k => A -> B : k\n"
    )
    view = compile_choreography(text).local["A"]
    assert show_local(view) == "rec L.(!B{h: L, k: rec L_2.(!B{h: L_2, k: end})})"


def test_counted_loops_in_each_other_are_written_out_only_so_far() -> None:
    nested = "".join(f"{'  ' * (level + 1)}loop repeat 2\n" for level in range(100))
    lowered = lower(parse_choreography_str(f"protocol P =\n  roles A, B\n{nested}{'  ' * 101}A -> B : x\n"))
    assert lowered.core is not None
    assert core.size(lowered.core) < UNROLLED_STATEMENTS_MAX


def test_one_counted_loop_of_sixty_four_rounds_is_written_out_whatever_its_body() -> None:
    text = "protocol P =\n  roles A, B\n  loop repeat 64\n" + "    A -> B : x\n" * 400
    lowered = lower(parse_choreography_str(text))
    assert lowered.core is not None
    assert core.size(lowered.core) == 64 * 400 + 1


def test_a_continue_out_of_a_par_is_one_problem() -> None:
    lines = ("rec X", "  par", "    |", "      A -> B : x", "      continue X", "    | B -> A : y")
    assert codes(*lines) == ["continue_in_par"]
