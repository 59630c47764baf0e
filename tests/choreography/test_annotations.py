"""The annotations of a sender as typed data, in order, and each refusal."""

import pytest

from antiphon.choreography import ast, core
from antiphon.choreography.annotations import (
    FLOW_COST_DEFAULT,
    Leak,
    annotation_records,
    lower_annotations,
    read_annotations,
)
from antiphon.choreography.ast import Choreography
from antiphon.choreography.dsl.parse import parse_choreography_str
from antiphon.choreography.lower import lower


def tree_of(*lines: str, head: str = "protocol P =") -> Choreography:
    return parse_choreography_str(f"{head}\n  roles A, B\n" + "".join(f"  {line}\n" for line in lines))


def commands(*lines: str) -> list[tuple[str, str, str]]:
    return [(item.kind, item.role, item.value) for item in lower_annotations(tree_of(*lines))]


def codes(record: str) -> list[str]:
    send = tree_of(f"A {{ {record} }} -> B : M").body.items[0]
    assert isinstance(send, ast.Send)
    return [found.code for found in read_annotations(send.annotations).problems]


def test_commands_come_in_written_order_with_the_cost_that_was_not_written_last() -> None:
    assert commands(
        'A { journal_facts : "f", guard_capability : "n:a", flow_cost : 7 } -> B : M',
        "B -> A : Free",
        'B { leak : (X, Y), journal_merge : true, audit_log : "l", link : "bundle=b" } -> A : M',
        "B { priority : 3 } -> A : M",
    ) == [
        ("JournalFacts", "A", "f"),
        ("GuardCapability", "A", "n:a"),
        ("FlowCost", "A", "7"),
        ("Leakage", "B", "X,Y"),
        ("JournalMerge", "B", "true"),
        ("AuditLog", "B", "l"),
        ("Link", "B", "b"),
        ("FlowCost", "B", str(FLOW_COST_DEFAULT)),
        ("FlowCost", "B", str(FLOW_COST_DEFAULT)),
    ]


def test_a_false_merge_and_a_budget_ask_for_nothing() -> None:
    assert commands("A { journal_merge : false, leakage_budget : [1], flow_cost : 0 } -> B : M") == [
        ("FlowCost", "A", "0")
    ]


def test_a_quoted_leak_is_one_observer() -> None:
    send = tree_of('A { leak : "X, Y" } -> B : M').body.items[0]
    assert isinstance(send, ast.Send)
    read = read_annotations(send.annotations).annotations
    assert read is not None
    assert read.leaks == (Leak(("X, Y",)),)


@pytest.mark.parametrize(
    "record",
    [
        'guard_capability : "plain"',
        'guard_capability : "cap:x"',
        'guard_capability : "a:b,c:d"',
        "guard_capability : x",
        "flow_cost : -1",
        f"flow_cost : {2**64}",
        'flow_cost : "5"',
        "journal_facts : 5",
        "journal_merge : yes",
        "audit_log : x",
        'leak : ""',
        "leak : ()",
        "leak : 5",
        "leakage_budget : []",
        "leakage_budget : [x]",
        'link : "exports=a"',
        'link : "bundle=a|other=b"',
        'link : "bundle=a|bundle=b"',
        "runtime_timeout : 5",
    ],
)
def test_a_malformed_annotation_is_refused(record: str) -> None:
    assert codes(record) == ["malformed_annotation"]


def test_unknown_and_repeated_annotations_are_refused() -> None:
    assert codes("flow_costs : 5") == ["unknown_annotation"]
    assert codes("flow_cost : 5, flow_cost : 6") == ["repeated_annotation"]
    assert codes("timed_choice : true, timeout_ms : 5, retry : 2, heartbeat : 1s, required_capability : x") == []


def test_the_brace_dialect_takes_the_namespace_of_the_protocol() -> None:
    tree = parse_choreography_str('#[namespace = "n"] protocol P { roles: A, B; A[guard_capability = "go"] -> B: M; }')
    send = tree.body.items[0]
    assert isinstance(send, ast.Send)
    read = read_annotations(send.annotations, namespace="n", dialect="brace")
    assert read.annotations is not None
    assert read.annotations.guard_capabilities == ("n:go",)
    assert [found.severity for found in read.problems] == ["warning"]


def test_each_message_of_the_core_carries_its_own() -> None:
    made = lower(tree_of("A { flow_cost : 7 } -> B : M", "A { flow_cost : 8 } -> B : M", "B -> A : N")).core
    found = []
    while isinstance(made, core.Comm):
        annotations = made.branches[0].annotations
        found.append(annotations.flow_cost if annotations else None)
        made = made.branches[0].continuation
    assert found == [7, 8, None]


def test_records_name_their_path_and_scope() -> None:
    tree = tree_of(
        "A { retry : 2 } -> B : M",
        "choice A at",
        "  | x =>",
        "    A { flow_cost : 1 } -> B : x",
        "    B { priority : 1 } -> A : y",
        "rec L",
        "  A { trace : true } -> B : M",
    )
    assert [(item.path, item.scope, item.role, item.key) for item in annotation_records(tree)] == [
        ("root", "statement", "A", "retry"),
        ("root.continuation.branch[x]", "sender", "A", "flow_cost"),
        ("root.continuation.branch[x].continuation", "sender", "B", "priority"),
        ("root.continuation.continuation.rec[L]", "statement", "A", "trace"),
    ]


def test_every_kind_of_block_has_its_word_in_a_path() -> None:
    tree = tree_of(
        "timeout 5s A at",
        "  A { retry : 1 } -> B : a",
        "on timeout =>",
        "  A { retry : 2 } -> B : b",
        "on cancel =>",
        "  A { retry : 3 } -> B : c",
        "par",
        "  | A { retry : 4 } -> B : d",
        "  | B { retry : 5 } -> A : e",
        "case x of",
        "  | Red => A { retry : 6 } -> B : f",
        "loop decide by A",
        "  A { retry : 7 } -> B : g",
    )
    after = ".continuation"
    assert [item.path for item in annotation_records(tree)] == [
        "root.timeout.body",
        "root.timeout.on_timeout",
        "root.timeout.on_cancel",
        f"root{after}.parallel[0]",
        f"root{after}.parallel[1]",
        f"root{after}{after}.case[Red]",
        f"root{after}{after}{after}.body",
    ]


def test_what_is_called_is_guarded_as_if_it_stood_there() -> None:
    text = (
        "protocol P =\n  roles A, B\n  call Q\n  A { flow_cost : 2 } -> B : n\nwhere\n"
        "  protocol Q =\n    B { flow_cost : 1 } -> A : m\n"
    )
    tree = parse_choreography_str(text)
    assert [(item.kind, item.role, item.value) for item in lower_annotations(tree)] == [
        ("FlowCost", "B", "1"),
        ("FlowCost", "A", "2"),
    ]
    assert [item.path for item in annotation_records(tree)] == ["root", "root.continuation"]
