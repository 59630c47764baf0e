"""What `when (…)` means: a boolean of the context, or undecided; nothing is converted."""

import pytest

from antiphon.choreography import compile_choreography
from antiphon.choreography.ast import Predicate
from antiphon.choreography.guards import GuardUndecided, holds


def guard_of(text: str) -> Predicate:
    protocol = compile_choreography(
        f"protocol P =\n  roles A, B\n  choice A at\n    | Yes when ({text}) =>\n      A -> B : Yes\n"
        "    | No =>\n      A -> B : No\n"
    )
    guard = protocol.fsm["A"].states[0].transitions[0].guard
    assert isinstance(guard, Predicate)
    return guard


class Shop:
    is_open = True

    def has(self, what: str) -> bool:
        return what == "tea"


CONTEXT = {
    "price": 3,
    "budget": 4,
    "shop": Shop(),
    "order": {"paid": True, "items": ["tea"]},
    "yes": True,
    "no": False,
    "double": lambda number: number * 2,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price <= budget", True),
        ("price > budget || order.paid", True),
        ("!no && yes", True),
        ("price == budget", False),
        ("price != budget", True),
        ('shop.has("tea") && shop.is_open', True),
        ('order.items[0] == "tea"', True),
        ("double(price) >= budget", True),
        ("no && ghost", False),
        ("yes || ghost", True),
    ],
)
def test_a_guard_is_true_or_false(text: str, expected: bool) -> None:
    assert holds(guard_of(text).expression, CONTEXT) is expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ghost", "ghost is not given"),
        ("price", "not true or false"),
        ("price && yes", "not true or false"),
        ("price < shop", "no order"),
        ("yes < no", "no order"),
        ("order.ghost", "has no ghost"),
        ("order.items[3] == price", "no item 3"),
        ("price.x", "int has no x"),
        ("price(yes)", "is no function"),
        ("shop[0] == price", "has no item"),
    ],
)
def test_what_is_not_given_or_of_the_wrong_kind_is_undecided(text: str, reason: str) -> None:
    with pytest.raises(GuardUndecided, match=reason):
        holds(guard_of(text).expression, CONTEXT)
