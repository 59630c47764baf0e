"""States by example: what users of the lattices see, and a ``JournalState`` that travels as a convergent state."""

import doctest
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import Fact, FactRegistry, Namespace, build_fact_registry
from antiphon.journal import (
    ALL,
    CapabilitySet,
    CrdtCoordinator,
    CrdtError,
    CrdtKind,
    CrdtTypeMismatch,
    DeserializationFailed,
    Draft,
    GCounter,
    GSet,
    JournalState,
    JournalStateCodec,
    LWWMap,
    LWWRegister,
    MapLattice,
    MaxInt,
    ORSet,
    PNCounter,
    PolicyMeet,
    ProductLattice,
    SerializationFailed,
    SetMeet,
    TimeWindow,
    decode_state,
    encode_state,
)
from antiphon.journal.crdt.shared_log import SharedLog
from antiphon.testing.records import ChainWriter
from antiphon.views import view
from antiphon.views.fold import fold_history

HOME = Namespace("home")
MODULES = [
    "budgets",
    "causality",
    "coordinator",
    "crdt.cm",
    "crdt.codec",
    "crdt.cv",
    "crdt.delta",
    "crdt.kinds",
    "crdt.mv",
    "crdt.operations",
    "crdt.shared_log",
    "crdt.ydoc",
    "lattice",
    "lattices.composites",
    "lattices.constraints",
    "lattices.counters",
    "lattices.registers",
    "lattices.sets",
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_the_docstrings_run(module: str) -> None:
    outcome = doctest.testmod(import_module(f"antiphon.journal.{module}"))
    assert outcome.failed == 0
    assert outcome.attempted > 0


# --- lattices -----------------------------------------------------------------------------------------------------


def test_the_last_writer_wins_and_ties_fall_to_the_larger_actor_and_then_to_the_larger_bytes() -> None:
    early = LWWRegister().set("early", at=1, actor="zoe")
    late = LWWRegister().set("late", at=2, actor="ada")
    assert early.join(late).value == late.join(early).value == "late"
    tie = [LWWRegister().set(text, at=5, actor=actor) for text, actor in (("x", "ada"), ("a", "ben"), ("b", "ben"))]
    for first, second, third in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        assert tie[first].join(tie[second]).join(tie[third]).value == "b"
    assert early.set("older still", at=0, actor="zoe") == early


def test_a_removed_key_stays_away_from_older_writes_and_a_newer_one_brings_it_back() -> None:
    written = LWWMap().set("topic", "tea", at=5, actor="ada")
    removed = written.remove("topic", at=5, actor="ada")
    assert "topic" not in removed
    assert "topic" not in written.join(removed)
    assert removed.join(LWWMap().set("topic", "old", at=4, actor="zoe")).get("topic") is None
    again = removed.set("topic", "milk", at=6, actor="ben")
    assert dict(again.items()) == {"topic": "milk"}


def test_bytes_are_taken_as_the_larger_and_never_concatenated() -> None:
    one, other = (LWWRegister().set(text, at=1, actor="ada") for text in ("aa", "b"))
    assert one.join(other).value == "b"


def test_adding_wins_over_a_remove_that_has_not_seen_it() -> None:
    base = ORSet().add("ada", "milk")
    added, removed = base.add("ben", "milk"), base.remove("milk")
    assert "milk" in added.join(removed)
    assert "milk" not in base.join(removed)
    assert "milk" not in added.remove("milk").join(removed)


def test_counters_count_everyones_share() -> None:
    start = PNCounter()
    joined = start.add("ada", 5).join(start.subtract("ben", 2)).join(start.add("eve"))
    assert joined.value == 4
    with pytest.raises(ValueError, match="what is added is -1"):
        GCounter().add("ada", -1)


def test_the_stricter_policy_wins() -> None:
    ordered = [
        PolicyMeet(),
        PolicyMeet.threshold(1, 3),
        PolicyMeet.threshold(1, 2),
        PolicyMeet.threshold(2, 4),
        PolicyMeet.threshold(2, 3),
        PolicyMeet.threshold(3, 3),
        PolicyMeet.everyone(),
    ]
    for place, loose in enumerate(ordered):
        for strict in ordered[place:]:
            assert loose.meet(strict) == strict == strict.meet(loose)
    with pytest.raises(ValueError, match="1 <= k <= n"):
        PolicyMeet.threshold(4, 3)


def test_capabilities_of_two_issuers_have_nothing_in_common_and_nothing_stays_nothing() -> None:
    ada, ben = CapabilitySet("xy", issuer="ada"), CapabilitySet("xy", issuer="ben")
    assert ada.meet(ben).is_empty
    assert ada.meet(ben).meet(CapabilitySet()) == ada.meet(ben)
    assert ada.meet(CapabilitySet("yz")) == CapabilitySet("y", issuer="ada")
    assert CapabilitySet().allows("anything")


def test_everything_is_an_identity_and_windows_may_be_empty() -> None:
    assert SetMeet(ALL).meet(SetMeet("a")) == SetMeet("a")
    assert "anything" in SetMeet()
    assert TimeWindow(0, 10).meet(TimeWindow(20, 30)).is_empty
    assert TimeWindow(5, 10).contains(10)


def test_composites_of_other_parts_do_not_mix() -> None:
    with pytest.raises(CrdtTypeMismatch, match=r"product\(max_int\), expected product\(g_set\)"):
        ProductLattice((GSet(),)).join(ProductLattice((MaxInt(),)))
    with pytest.raises(CrdtTypeMismatch, match=r"got max_int, expected g_counter"):
        MapLattice(GCounter(), {"k": MaxInt(1)})
    assert MapLattice(MaxInt(), {"k": MaxInt(0)}) == MapLattice(MaxInt()), "a bottom is a missing key"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"lattice":"g_counter","value":{"ada":1.5}}',
        b'{"lattice":"g_counter","value":{"ada":0}}',
        b'{"lattice":"g_counter","value":{"ada":true}}',
        b'{"lattice":"g_counter","value":{"ada":99999999999999999999}}',
        b'{"value":{},"lattice":"g_counter"}',
        b'{"lattice":"g_counter","value":[]}',
        b'{"lattice":"g_counter"}',
    ],
)
def test_bytes_that_are_no_counter_are_refused(data: bytes) -> None:
    with pytest.raises(DeserializationFailed) as refusal:
        decode_state(GCounter(), data)
    assert (refusal.value.code, refusal.value.target) == ("crdt_deserialization", "g_counter")


def test_bytes_of_another_lattice_are_a_type_mismatch_and_a_float_has_none() -> None:
    with pytest.raises(CrdtTypeMismatch):
        decode_state(GCounter(), encode_state(MaxInt(1)))
    with pytest.raises(ValueError, match="is the float"):
        LWWMap().set("k", 1.5, at=1, actor="ada")


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 8))
def test_versions_of_a_log_share_and_never_disturb_each_other(items: list[int], cut: int) -> None:
    log: SharedLog[int] = SharedLog()
    versions = [log]
    for item in items:
        log = log.append(item)
        versions.append(log)
    older = versions[min(cut, len(items))]
    branch = older.append(-1)
    assert list(branch) == [*items[: len(older)], -1]
    assert [list(version) for version in versions] == [items[:length] for length in range(len(items) + 1)]
    assert (branch == older, branch[-1], log[:2]) == (False, -1, items[:2])


# --- a journal as a convergent state ------------------------------------------------------------------------------


class Said(Fact, kind="test.spoken", version=1):
    """Something said."""

    text: str


@view(Said, initial=())
def lines(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    """What was said, in stamp order."""
    return (*state, fact.text)


def registry() -> FactRegistry:
    known = build_fact_registry()
    known.register(Said)
    return known


def fold(state: JournalState) -> tuple[str, ...]:
    known = registry()
    facts = [found for record in state.iter_facts() if isinstance(found := known.decode(record), Said)]
    return fold_history(lines, lambda: facts).state


def write(author: str, *texts: str) -> JournalState:
    chain = ChainWriter(author, namespace=HOME)
    records = [record for text in texts for record in chain.seal(said(text)).records]
    return JournalState(HOME, records)


def said(text: str) -> Draft:
    fact = Said(text=text)
    return Draft(Said.fact_type.kind, 1, Said.fact_type.encode(fact), None)


def test_journals_synchronize_as_convergent_states_and_their_views_agree() -> None:
    ada = CrdtCoordinator.with_cv_state("ada", write("ada", "hello", "tea?"))
    ben = CrdtCoordinator.with_cv_state("ben", write("ben", "hi"))
    for _ in range(2):
        request, ada = ada.create_sync_request("a", CrdtKind.CONVERGENT)
        response, ben = ben.handle_sync_request(request)
        ada = ada.handle_sync_response(response)
        ada, ben = ben, ada
    states: list[JournalState] = [coordinator.cv_handler().get_state() for coordinator in (ada, ben)]
    assert states[0] == states[1]
    assert states[0].root == states[1].root
    assert states[0].size == 5, "three said and two chains opened"
    assert fold(states[0]) == fold(states[1])
    assert set(fold(states[0])) == {"hello", "tea?", "hi"}


def test_a_journal_comes_back_from_its_bytes_with_its_authors() -> None:
    state, codec = write("ada", "hello"), JournalStateCodec(HOME)
    found = codec.decode(codec.encode(state))
    assert found == state
    assert [record.line for record in found.iter_facts()] == [record.line for record in state.iter_facts()]
    assert {record.chain.label for record in found.iter_facts()} == {"ada"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"hello", b"jello"),
        (b'\\"s\\":2', b'\\"s\\":3'),
        (b'"nonce":"', b'"nonce":"00'),
        (b'"lines":[', b'"lines":["{}",'),
        (b"journal_state(home)", b"journal_state(work)"),
    ],
)
def test_a_tampered_journal_is_refused_or_has_other_ids(before: bytes, after: bytes) -> None:
    state, codec = write("ada", "hello"), JournalStateCodec(HOME)
    data = codec.encode(state)
    assert before in data
    try:
        found = codec.decode(data.replace(before, after, 1))
    except CrdtError:
        return
    last = max(state.iter_facts(), key=lambda record: record.seq)
    assert not found.contains(last.fact_id), "what is said under an id cannot be changed"


def test_headers_out_of_order_are_refused() -> None:
    state, codec = write("ada", "one", "two"), JournalStateCodec(HOME)
    data = codec.encode(state)
    swapped = data.replace(b'\\"s\\":2', b"@").replace(b'\\"s\\":3', b'\\"s\\":2').replace(b"@", b'\\"s\\":3')
    with pytest.raises(DeserializationFailed, match="numbers have no gaps"):
        codec.decode(swapped)


def test_a_chain_with_a_gap_has_no_bytes_since_nobody_could_check_them() -> None:
    records = list(write("ada", "one", "two").iter_facts())
    with pytest.raises(SerializationFailed, match="not whole from its first fact on"):
        JournalStateCodec(HOME).encode(JournalState(HOME, records[1:]))
