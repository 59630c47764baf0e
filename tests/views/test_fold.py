"""``@view``: what is refused when a view is declared, so that nobody learns of it from the first fact."""

import weakref
from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Any

import pytest

from antiphon import Fact, view
from antiphon.facts import RegistrationError
from antiphon.testing.strategies import ADA, commit_by
from antiphon.views.fold import LEAVING_FACTS_EACH


class Said(Fact, kind="test.said", version=1):
    text: str


async def waits(state: int, fact: Said) -> int:
    return state


async def streams(state: int, fact: Said) -> AsyncIterator[int]:
    yield state


@pytest.mark.parametrize("function", [waits, streams])
def test_an_async_function_is_refused(function: Any) -> None:
    with pytest.raises(RegistrationError, match=f"{function.__name__} is async"):
        view(Said, initial=0)(function)


@pytest.mark.parametrize(
    "function", [lambda state: state, lambda state, fact, more: state, lambda *, state, fact: state, lambda: 0]
)
def test_a_function_that_does_not_take_a_state_and_a_fact_is_refused(function: Any) -> None:
    with pytest.raises(RegistrationError, match=r"cannot be called as \(state, fact\) -> state"):
        view(Said, initial=0)(function)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(RegistrationError, match="cannot be called"):
        view(Said, initial=0)("total")  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("function", [lambda state, fact: state, lambda *both: both[0], lambda a, b, c=1: a, max])
def test_a_function_that_can_be_called_with_both_is_taken(function: Any) -> None:
    assert view(Said, initial=0, name="any")(function).fold is function


@pytest.mark.parametrize("model", [Said(text="a"), "test.said", Fact, int])
def test_what_is_no_fact_type_is_refused(model: Any) -> None:
    with pytest.raises(RegistrationError, match="one or more fact types"):
        view(model, initial=0)


@pytest.mark.parametrize("initial", [[], {}, {1}, bytearray()])
def test_a_first_state_that_can_be_changed_is_refused(initial: Any) -> None:
    with pytest.raises(RegistrationError, match=r"use a tuple, a frozenset.*\(a state is a value\)"):
        view(Said, initial=initial)


@pytest.mark.parametrize("initial", [(), frozenset(), MappingProxyType({}), 0, "", None])
def test_a_first_state_that_is_a_value_is_taken(initial: Any) -> None:
    assert view(Said, initial=initial)(lambda state, fact: state).initial is initial


@pytest.mark.parametrize("version", ["1", 1.0, True])
def test_a_version_that_is_no_integer_is_refused(version: Any) -> None:
    with pytest.raises(RegistrationError, match="version is an integer"):
        view(Said, initial=0, version=version)


def test_old_facts_go_a_few_with_each_that_comes_and_are_gone_before_the_tail_is_full_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half the tail was freed in one window, 7 ms that no other window had."""
    monkeypatch.setattr("antiphon.views.fold.TAIL_FACTS_MAX", 4_000)
    freed: list[int] = []

    @view(Said, initial=0)
    def count(state: int, fact: Said) -> int:
        return state + 1

    ladder = count.ladder()
    forgotten_at: list[int] = []
    for number in range(120):
        seqs = range(100 * number + 1, 100 * number + 101)
        facts = [commit_by(ADA, Said(text="x"), hlc=seq, seq=seq) for seq in seqs]
        for fact in facts:
            weakref.finalize(fact, freed.append, number)
        del fact
        held, before = ladder.tail_count, len(freed)
        ladder.insert(facts)
        del facts
        assert len(freed) - before <= LEAVING_FACTS_EACH * 100
        if ladder.tail_count < held:
            forgotten_at.append(number)
            assert ladder.leaving_count > 1_000
    assert len(forgotten_at) > 3
    assert ladder.state == ladder.fact_count == 12_000
    assert len(freed) + ladder.leaving_count + ladder.tail_count == 12_000
    assert ladder.leaving_count + ladder.tail_count <= 4_000 + 100
