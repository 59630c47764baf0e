"""``@view``: what is refused when a view is declared, so that nobody learns of it from the first fact."""

from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Any

import pytest

from antiphon import Fact, view
from antiphon.facts import RegistrationError


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
