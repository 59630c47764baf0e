"""The facts behind a value suffice for it, and none of them can be left out."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import Fact, with_record
from antiphon.testing.strategies import ADA, make_chain, make_record
from antiphon.views import ViewSpec, view
from antiphon.views.keyed import changed_parts, part_at, parts_of
from antiphon.views.provenance import FoldReplay, find_witness, trace_changes


class Said(Fact, kind="test.said_somewhere", version=1, time="at_ms"):
    room: str
    text: str
    at_ms: int


@view(Said, initial=MappingProxyType({}))
def newest(state: MappingProxyType[str, str], fact: Said) -> MappingProxyType[str, str]:
    return MappingProxyType({**state, fact.room: fact.text})


@view(Said, initial=MappingProxyType({}))
def counts(state: MappingProxyType[str, int], fact: Said) -> MappingProxyType[str, int]:
    return MappingProxyType({**state, fact.room: state.get(fact.room, 0) + 1})


@view(Said, initial=())
def lines(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, f"{fact.room}: {fact.text}")[-3:]


@view(Said, initial=("", MappingProxyType({})))
def gated(state: Any, fact: Said) -> Any:
    """Only what is said after a word in the room `gate` counts: the gate's facts never touch what they allow."""
    gate, said = state
    if fact.room == "gate":
        return (fact.text, said)
    if gate != "open":
        raise ValueError("closed")
    return (gate, MappingProxyType({**said, fact.room: fact.text}))


def said(*pairs: tuple[str, str]) -> list[Fact]:
    chain = make_chain(ADA)
    facts = []
    for at, (room, text) in enumerate(pairs):
        fact = Said(room=room, text=text, at_ms=at)
        line = b'{"h":{},"p":%b,"r":"%b"}' % (Said.fact_type.encode(fact), b"=" * 24)
        record = make_record(fact, chain, hlc=at + 1, seq=at + 1)._replace(line=line, header_length=2)
        facts.append(with_record(fact, record))
    return facts


def state_of(spec: ViewSpec[Any], facts: Sequence[Fact]) -> Any:
    replay = FoldReplay(spec)
    replay.take(facts)
    return replay.state


def begin(spec: ViewSpec[Any]) -> Callable[[], FoldReplay]:
    return lambda: FoldReplay(spec)


def behind(spec: ViewSpec[Any], facts: Sequence[Fact], key: tuple[object, ...]) -> list[str]:
    found = find_witness(begin(spec), facts, key, is_traced=True)
    assert found.is_minimal
    return [fact.text for fact in found.facts if isinstance(fact, Said)]


def test_the_newest_word_is_behind_a_register_and_all_are_behind_a_count() -> None:
    facts = said(("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"), ("a", "5"))
    assert behind(newest, facts, ("a",)) == ["5"]
    assert behind(counts, facts, ("a",)) == ["1", "3", "5"]
    assert behind(lines, facts, (-1,)) == ["5"]
    assert behind(lines, facts, ("a: 3",)) == ["3"]


def test_a_fact_that_allowed_another_is_behind_its_value() -> None:
    facts = said(("a", "early"), ("gate", "open"), ("b", "x"), ("a", "late"), ("gate", "shut"), ("a", "never"))
    assert behind(gated, facts, (1, "a")) == ["open", "late"]


def test_a_search_that_was_ended_says_so_and_still_gives_the_value() -> None:
    facts = said(*[("a", str(number)) for number in range(300)])
    found = find_witness(begin(counts), facts, ("a",), is_traced=True, steps_max=3_000)
    assert not found.is_minimal
    assert state_of(counts, found.facts)["a"] == found.value == 300


@pytest.mark.parametrize("spec", [newest, counts, lines, gated], ids=lambda spec: spec.name)
@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(st.sampled_from(["a", "b", "gate"]), st.sampled_from(["open", "1", "2"])), max_size=12))
def test_a_witness_suffices_and_no_fact_of_it_can_be_left_out(
    spec: ViewSpec[Any], pairs: list[tuple[str, str]]
) -> None:
    facts = said(*pairs)
    for key, value in parts_of(state_of(spec, facts)):
        for is_traced in (True, False):
            found = find_witness(begin(spec), facts, key, is_traced=is_traced)
            assert found.value == value
            assert part_at(state_of(spec, found.facts), key) == value
            assert found.is_minimal
            for place in range(len(found.facts)):
                fewer = [*found.facts[:place], *found.facts[place + 1 :]]
                assert part_at(state_of(spec, fewer), key) != value


@pytest.mark.parametrize("spec", [newest, counts, lines, gated], ids=lambda spec: spec.name)
@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.sampled_from(["a", "b", "gate"]), st.sampled_from(["open", "1", "2"])), max_size=12),
    cut=st.integers(0, 12),
)
def test_a_trace_is_the_difference_of_both_states_and_every_change_has_its_facts(
    spec: ViewSpec[Any], pairs: list[tuple[str, str]], cut: int
) -> None:
    facts = said(*pairs)
    before, between = facts[:cut], facts[cut:]
    traced = trace_changes(begin(spec), before, between)
    assert {each.key: each.change for each in traced} == changed_parts(state_of(spec, before), state_of(spec, facts))
    for each in traced:
        assert each.is_exact
        assert each.facts
        assert set(map(id, each.facts)) <= set(map(id, between))


def test_many_facts_between_are_looked_at_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.views.provenance._COMPARISONS_MAX", 4)
    facts = said(*[("ab"[number % 2], str(number)) for number in range(20)])
    traced = trace_changes(begin(newest), (), facts)
    assert {each.key[0]: each.change.after for each in traced} == {"a": "18", "b": "19"}
    assert not any(each.is_exact for each in traced)
    assert all({fact.room for fact in each.facts if isinstance(fact, Said)} == {each.key[0]} for each in traced)
