"""Shared documents: they behave as Yjs does, travel by their state vector, and cannot touch a fact."""

import ast
from itertools import permutations
from pathlib import Path
from typing import Any

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import Namespace
from antiphon.journal import (
    CrdtCoordinator,
    CrdtKind,
    CrdtTypeMismatch,
    DeltaHandler,
    DeltaMsg,
    Deltas,
    DeserializationFailed,
    Draft,
    GSet,
    JournalState,
    SerializationFailed,
    YDocDeltaState,
    YDocUpdate,
    encode_state,
)
from antiphon.journal.crdt.ydoc import APPENDS_PER_TRANSACTION, PENDING_MAX, client_id_of, in_transactions
from antiphon.testing.lattices import shared_history, ydocs
from antiphon.testing.records import ChainWriter

ROOT = Path(__file__).resolve().parents[3]


def document(actor: str, *texts: str) -> YDocDeltaState:
    state = YDocDeltaState.of(actor)
    for text in texts:
        state = state.insert_text("t", len(state.text("t")), text)
    return state


# --- as Yjs does --------------------------------------------------------------------------------------------------

# An edit of one of two people at once: (who, where, what to insert or None to delete, whether they then meet).
edits = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 8), st.sampled_from(["a", "bé", "😀", None]), st.booleans()),
    max_size=12,
)


def edit_plainly(document: "pycrdt.Doc[Any]", place: int, text: str | None) -> None:
    """The same edit in a bare Yjs document, whose places are bytes."""
    shared = document.get("t", type=pycrdt.Text)
    before = str(shared)
    start = len(before[: place % (len(before) + 1)].encode())
    if text is not None:
        shared.insert(start, text)
    elif before:
        place %= len(before)
        del shared[len(before[:place].encode()) : len(before[: place + 1].encode())]


def edit_state(state: YDocDeltaState, place: int, text: str | None) -> YDocDeltaState:
    before = state.text("t")
    if text is not None:
        return state.insert_text("t", place % (len(before) + 1), text)
    return state.delete_text("t", place % len(before), 1) if before else state


@settings(max_examples=150)
@given(edits)
def test_two_people_who_edit_at_once_get_what_yjs_gives_them(steps: list[tuple[int, int, str | None, bool]]) -> None:
    states = [YDocDeltaState.of("ada"), YDocDeltaState.of("ben")]
    plain: list[pycrdt.Doc[Any]] = [pycrdt.Doc(client_id=state.client_id) for state in states]
    for who, place, text, meet in steps:
        states[who] = edit_state(states[who], place, text)
        edit_plainly(plain[who], place, text)
        if meet:
            other = 1 - who
            states[other] = states[other].join(states[who])
            plain[other].apply_update(plain[who].get_update(plain[other].get_state()))
        for state, doc in zip(states, plain, strict=True):
            assert state.text("t") == str(doc.get("t", type=pycrdt.Text))
            assert doc.get_update(state.digest())[:1] == b"\x00", "by our state vector, nothing is missing"
            assert YDocDeltaState.of("eve").apply_delta(YDocUpdate.of(doc.get_update())) == state
    joined = states[0].join(states[1])
    assert joined == states[1].join(states[0])
    plain[0].apply_update(plain[1].get_update(plain[0].get_state()))
    assert joined.text("t") == str(plain[0].get("t", type=pycrdt.Text))


def test_a_bare_yjs_peer_understands_our_deltas_and_we_its() -> None:
    state = document("ada", "tea")
    peer: pycrdt.Doc[Any] = pycrdt.Doc(client_id=7)
    for update in state.delta_for(peer.get_state()).updates:
        peer.apply_update(update)
    peer.get("t", type=pycrdt.Text).insert(3, " at five")
    state = state.insert_text("t", 0, "A ")
    state = state.apply_delta(YDocUpdate.of(peer.get_update(state.digest())))
    assert state.text("t") == "A tea at five"


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_updates_in_any_order_give_one_document_and_none_is_lost(order: tuple[int, ...]) -> None:
    updates = shared_history()[:4]
    state = YDocDeltaState.of("zoe")
    for number in order:
        state = state.apply_delta(YDocUpdate.of(updates[number]))
    assert state == YDocDeltaState.of("zoe").apply_delta(YDocUpdate.of(*updates))
    assert state.pending == frozenset()


def test_an_update_without_its_causes_waits_and_is_seen_when_they_come() -> None:
    first = document("ada", "tea")
    second = first.insert_text("t", 3, " now")
    late = YDocUpdate.of(*second.delta_for(first.digest()).updates)
    waiting = YDocDeltaState.of("ben").apply_delta(late)
    assert waiting.text("t") == ""
    assert waiting.pending == late.updates
    assert waiting.insert_text("t", 0, "mine").pending == late.updates, "an edit forgets nothing that waits"
    healed = waiting.join(first)
    assert (healed.text("t"), healed.pending) == ("tea now", frozenset())


def test_what_waits_is_bounded() -> None:
    state, updates = document("ada", "x"), []
    for number in range(PENDING_MAX + 1):
        grown = state.insert_text("t", 0, str(number))
        updates.append(next(iter(grown.delta_for(state.digest()).updates)))
        state = grown
    with pytest.raises(DeserializationFailed, match="at most 64"):
        YDocDeltaState.of("ben").apply_delta(YDocUpdate.of(*updates))


@given(ydocs(), ydocs())
def test_documents_are_equal_exactly_when_their_bytes_are(first: YDocDeltaState, second: YDocDeltaState) -> None:
    joined, other = first.join(second), second.join(first)
    assert joined == other
    assert encode_state(joined) == encode_state(other)
    assert joined.text("t") == other.text("t")
    assert (first == second) == (encode_state(first) == encode_state(second))


def test_places_are_characters_and_not_bytes() -> None:
    state = document("ada", "aé😀b")
    assert state.insert_text("t", 3, "|").text("t") == "aé😀|b"
    assert state.delete_text("t", 1, 2).text("t") == "ab"
    with pytest.raises(ValueError, match=r"character 5 of a text of 4; expected 0\.\.4"):
        state.insert_text("t", 5, "x")
    with pytest.raises(ValueError, match="-1 characters to delete"):
        state.delete_text("t", 2, -1)
    assert state.text("t") == "aé😀b", "a value stays what it was"


def test_maps_and_arrays_are_shared_too() -> None:
    ada = YDocDeltaState.of("ada").set_key("m", "topic", "tea").extend_array("a", ["x"])
    ben = YDocDeltaState.of("ben").join(ada).delete_key("m", "topic").set_key("m", "open", True)
    joined = ada.extend_array("a", ["y"]).join(ben)
    assert (joined.map("m"), joined.array("a")) == ({"open": True}, ["x", "y"])
    assert joined.delete_key("m", "never there") == joined


# --- through a coordinator ----------------------------------------------------------------------------------------


def pull(asker: CrdtCoordinator, answerer: CrdtCoordinator) -> tuple[CrdtCoordinator, int]:
    request, asker = asker.create_sync_request("s", CrdtKind.DELTA)
    assert request.digest == asker.delta_handler().get_state().digest(), "the digest is the state vector"
    response, _ = answerer.handle_sync_request(request)
    return asker.handle_sync_response(response), response.size


def test_two_documents_converge_through_the_coordinator_by_their_state_vectors() -> None:
    base = document("ada", "The topic is tea")
    ada = CrdtCoordinator.with_delta_threshold("ada", 10, state=base)
    ben = CrdtCoordinator.with_delta_threshold("ben", 10, state=YDocDeltaState.of("ben"))
    ben, whole = pull(ben, ada)
    ada = ada.update_delta(ada.delta_handler().get_state().insert_text("t", 16, " and milk"))
    ben = ben.update_delta(ben.delta_handler().get_state().delete_text("t", 0, 4))
    ben, less = pull(ben, ada)
    ada, _ = pull(ada, ben)
    assert ada.delta_handler().get_state() == ben.delta_handler().get_state()
    assert ada.delta_handler().get_state().text("t") == "topic is tea and milk"
    assert less < whole + 20, "the second answer carries what is new"


def test_a_deletion_travels_though_no_state_vector_moves() -> None:
    ada = CrdtCoordinator.with_delta_threshold("ada", 10, state=document("ada", "tea"))
    ben = CrdtCoordinator.with_delta_threshold("ben", 10, state=YDocDeltaState.of("ben"))
    ben, _ = pull(ben, ada)
    before = ada.delta_handler().get_state().digest()
    ada = ada.update_delta(ada.delta_handler().get_state().delete_text("t", 0, 2))
    assert ada.delta_handler().get_state().digest() == before
    ben, _ = pull(ben, ada)
    assert ben.delta_handler().get_state().text("t") == "a"


def test_a_delta_handler_folds_yjs_updates_that_came_in_the_wrong_order() -> None:
    handler = DeltaHandler.with_threshold(YDocDeltaState.of("zoe"), len(shared_history()))
    for update in reversed(shared_history()):
        assert handler.get_state().text("t") == ""
        handler = handler.on_recv(DeltaMsg(YDocUpdate.of(update)))
    assert handler.get_state() == YDocDeltaState.of("zoe").apply_delta(YDocUpdate.of(*shared_history()))
    with pytest.raises(CrdtTypeMismatch, match="a delta of ydoc"):
        handler.on_recv(DeltaMsg(GSet("a")))


# --- hostile and large --------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    st.binary(max_size=60)
    | st.builds(
        lambda update, at, byte: update[: at % len(update)] + bytes([byte]) + update[at % len(update) + 1 :],
        st.sampled_from(shared_history()),
        st.integers(0, 200),
        st.integers(0, 255),
    )
)
def test_any_bytes_are_applied_or_refused_and_never_break_the_reader(data: bytes) -> None:
    state = document("ada", "tea")
    try:
        after = state.apply_delta(YDocUpdate.of(data))
    except DeserializationFailed:
        pass
    else:
        assert after.join(state) == after
    assert state.text("t") == "tea"


def test_a_digest_that_is_none_is_refused() -> None:
    for data in (b"\xff", b"", b"\x05\x01", b"\xff" * 20):
        with pytest.raises(DeserializationFailed):
            document("ada", "tea").delta_for(data)


def test_a_number_that_would_panic_the_rust_library_is_refused_as_a_value() -> None:
    def change(document: "pycrdt.Doc[Any]") -> None:
        document.get("m", type=pycrdt.Map)["n"] = 2**70

    state = document("ada", "tea")
    with pytest.raises(SerializationFailed, match="cannot hold"):
        state.edit(change)
    assert state.map("m") == {}


def test_twenty_thousand_appends_are_cut_into_transactions_of_two_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    # More in one transaction is quadratic in Yjs: 20,000 would take minutes and gigabytes.
    appended: list[int] = []
    extend = pycrdt.Array.extend

    def spy(array: "pycrdt.Array[Any]", items: list[Any]) -> None:
        appended.append(len(items))
        extend(array, items)

    monkeypatch.setattr(pycrdt.Array, "extend", spy)
    state = YDocDeltaState.of("ada").extend_array("a", (f"item {number}" for number in range(20_000)))
    assert appended == [APPENDS_PER_TRANSACTION] * 100
    assert APPENDS_PER_TRANSACTION == 200
    assert state.array("a")[-1] == "item 19999"
    assert [len(piece) for piece in in_transactions(range(450))] == [200, 200, 50]


def test_names_become_client_ids_that_yjs_can_hold() -> None:
    ids = {client_id_of(f"replica {number}") for number in range(10_000)}
    assert len(ids) == 10_000
    assert max(ids) < 2**53


# --- facts are out of reach ---------------------------------------------------------------------------------------


def test_a_hostile_delete_or_overwrite_leaves_the_journal_intact() -> None:
    home = Namespace("home")
    run = ChainWriter("ada", namespace=home).seal(Draft("test.said", 1, b'{"text":"hello"}', None))
    journal = JournalState(home, run.records)
    noted = YDocDeltaState.of("ada")
    for record in run.records:
        noted = noted.set_key("facts", record.fact_id.hex(), record.line.decode())
    victim = CrdtCoordinator.with_cv_state("ada", journal).with_delta_handler(
        DeltaHandler.with_state(noted, actor="ada")
    )

    attack = noted.join(YDocDeltaState.of("eve"))
    for number, record in enumerate(run.records):
        key = record.fact_id.hex()
        attack = attack.delete_key("facts", key) if number % 2 else attack.set_key("facts", key, "a lie")
    hostile = CrdtCoordinator.with_delta_state("eve", attack).with_cv_handler(
        CrdtCoordinator.with_cv_state("eve", JournalState(home)).cv_handler()
    )
    for kind in (CrdtKind.DELTA, CrdtKind.CONVERGENT):
        request, victim = victim.create_sync_request(kind.value, kind)
        response, hostile = hostile.handle_sync_request(request)
        victim = victim.handle_sync_response(response)
    shown = victim.delta_handler().get_state().map("facts")
    assert set(shown.values()) <= {"a lie"}, "in the document, the attack succeeds"
    assert victim.cv_handler().get_state() == journal
    assert victim.cv_handler().get_state().root == journal.root


def test_the_document_room_cannot_reach_a_fact() -> None:
    tree = ast.parse((ROOT / "journal/crdt/ydoc.py").read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any("facts" in str(module) or "state" in str(module) for module in modules), modules


def test_pycrdt_is_imported_with_the_first_document_only() -> None:
    tree = ast.parse((ROOT / "journal/crdt/ydoc.py").read_text(encoding="utf-8"))
    top = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert "pycrdt" not in top


def test_an_answer_with_a_document_is_a_delta() -> None:
    ada = CrdtCoordinator.with_delta_state("ada", document("ada", "tea"))
    request, _ = CrdtCoordinator.with_delta_state("ben", YDocDeltaState.of("ben")).create_sync_request(
        "s", CrdtKind.DELTA
    )
    response, _ = ada.handle_sync_request(request)
    assert isinstance(response.data, Deltas)
