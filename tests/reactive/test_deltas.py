"""Applying deltas to the old snapshot gives the new one, whatever was missed on the way."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import Fact
from antiphon.reactive import UNCHANGED, Batch, Signal, SignalHub, Unchanged
from antiphon.reactive.deltas import Delta, DeltaGap, DeltaLog, Mirror
from antiphon.reactive.patch import Operation, PatchRefused, apply_patch, diff, to_document
from antiphon.testing.strategies import ADA, chat_facts, deliveries, histories
from antiphon.views import ChatSignalView, Message

STATE: Signal[Any] = Signal("app:state", object)

plain = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "a/b", "~", "id"])
keyed = st.dictionaries(st.sampled_from(["id", "text", "x/y"]), plain, max_size=3)
values = st.recursive(
    plain | keyed,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["a", "b/c", "~d", "id"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values, values)
@settings(max_examples=300)
def test_a_patch_makes_the_new_document_of_the_old_one(before: Any, after: Any) -> None:
    operations = diff(before, after)
    document = to_document(before)
    patched = apply_patch(document, operations)
    assert canonical(patched) == canonical(to_document(after))
    assert canonical(document) == canonical(to_document(before))
    assert (operations == []) == (canonical(document) == canonical(patched))


def canonical(document: Any) -> bytes:
    """Bytes, since Python takes true for 1."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_mirror_that_misses_some_updates_equals_the_chat_view(data: st.DataObject) -> None:
    view, hub = ChatSignalView(ADA), SignalHub()
    owner = hub.register(STATE, view.state)
    mirror = Mirror()
    with DeltaLog(hub, STATE, keep=data.draw(st.integers(1, 4))) as log:
        for number, batch in enumerate(data.draw(deliveries(data.draw(histories(chat_facts()))))):
            snapshot: object | Unchanged = view.update(Batch[Fact](number, batch, 0, frozenset(), {}))
            if snapshot is not UNCHANGED:
                hub.emit_all(number, [(owner, snapshot)])
            if data.draw(st.booleans()):
                mirror.take_all(log.since(mirror.seq))
                assert mirror.document == to_document(view.state)
        mirror.take_all(log.since(mirror.seq))
        assert mirror.document == to_document(view.state)
        assert log.since(mirror.seq) == ()


def line(number: int) -> dict[str, Any]:
    return {"id": f"m{number}", "text": "x" * number}


def test_a_list_that_loses_its_first_and_gains_a_last_costs_two_operations() -> None:
    before, after = [line(number) for number in range(500)], [line(number) for number in range(1, 501)]
    assert [each.op for each in diff(before, after)] == ["remove", "add"]


def test_a_late_message_is_one_addition_in_its_place_and_a_moved_one_is_moved() -> None:
    assert diff([line(1), line(3)], [line(1), line(2), line(3)]) == [Operation("add", "/1", line(2))]
    (moved,) = diff([line(1), line(2), line(3)], [line(3), line(1), line(2)])
    assert moved.to_json() == {"op": "move", "from": "/2", "path": "/0"}


def test_what_two_snapshots_share_is_not_looked_into() -> None:
    class Loud(dict[str, int]):
        def items(self) -> Any:
            raise AssertionError("looked into what is shared")

    shared = Loud(a=1)
    assert diff({"same": shared, "n": 1}, {"same": shared, "n": 2}) == [Operation("replace", "/n", 2)]


def test_names_with_slashes_and_tildes_are_escaped() -> None:
    assert diff({"a/b": {"~": 1}}, {"a/b": {"~": 2}}) == [Operation("replace", "/a~1b/~0", 2)]


def test_true_is_not_one() -> None:
    assert diff({"x": True}, {"x": 1}) == [Operation("replace", "/x", 1)]


@pytest.mark.parametrize(
    "operation",
    [
        Operation("remove", "/nothing"),
        Operation("replace", "/nothing", 1),
        Operation("remove", "/list/2"),
        Operation("add", "/list/3", 1),
        Operation("add", "/list/x", 1),
        Operation("replace", "/plain/deeper", 1),
        Operation("move", "/list/0", source="/list/5"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused_and_changes_nothing(operation: Operation) -> None:
    document = {"list": [1, 2], "plain": 1}
    with pytest.raises(PatchRefused):
        apply_patch(document, [Operation("replace", "/plain", 2), operation])
    assert document == {"list": [1, 2], "plain": 1}


def test_who_is_too_far_behind_or_was_never_here_is_sent_the_whole() -> None:
    hub = SignalHub()
    hub.register(STATE, {"n": 0}, external=True)
    log = DeltaLog(hub, STATE, keep=2)
    for number in range(1, 5):
        hub.emit(STATE, {"n": number})
    assert [(each.base, each.seq) for each in log.since(2)] == [(2, 3), (3, 4)]
    for unknown in (None, 1, 99):
        (whole,) = log.since(unknown)
        assert whole.to_json() == {"seq": 4, "base": None, "live": True, "document": {"n": 4}}
    log.close()
    hub.emit(STATE, {"n": 5})
    assert log.since(4) == ()


def test_a_mirror_refuses_a_delta_that_does_not_follow() -> None:
    mirror = Mirror()
    mirror.take(Delta(3, None, (), {"n": 3}, True))
    with pytest.raises(DeltaGap, match="version 4"):
        mirror.take(Delta(5, 4, (Operation("replace", "/n", 5),), None, True))
    assert (mirror.seq, mirror.document) == (3, {"n": 3})


def test_a_chat_message_becomes_an_object_of_its_fields() -> None:
    document = to_document({("home", "general"): ()})
    assert document == {'["home","general"]': []}
    assert "id" in Message._fields
