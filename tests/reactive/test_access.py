"""Denied unless granted: what a query demands and what somebody holds meet in one place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.reactive import (
    ALLOW_ALL,
    DENY_ALL,
    CallRefused,
    Capability,
    CapabilitySet,
    Meet,
    Protected,
    Public,
    QueryDenied,
    check_access,
)

MESSAGES = Capability("read:messages")
LOBBY = Capability("read:messages", "lobby")


def is_allowed(policy: Protected | Public, grants: CapabilitySet | Meet) -> bool:
    try:
        check_access("Q()", policy, grants)
    except QueryDenied:
        return False
    return True


def test_nothing_granted_is_nothing_allowed_and_the_refusal_says_what_is_missing() -> None:
    with pytest.raises(QueryDenied, match="read:messages for 'lobby'") as caught:
        check_access("MessagesQuery(…)", Protected((LOBBY,)), DENY_ALL)
    assert caught.value.missing == (LOBBY,)


def test_a_query_that_demands_nothing_is_refused_rather_than_open() -> None:
    with pytest.raises(QueryDenied, match="names none"):
        check_access("Q()", Protected(()), CapabilitySet.of("read:messages"))


def test_a_public_query_needs_no_grant() -> None:
    check_access("Q()", Public("ada", "the channel list", "it is on the poster"), DENY_ALL)


@pytest.mark.parametrize("empty", ["owner", "scope", "justification"])
def test_a_public_query_without_a_reason_cannot_be_made(empty: str) -> None:
    said = {"owner": "ada", "scope": "names", "justification": "posted"} | {empty: " "}
    with pytest.raises(CallRefused, match=empty):
        Public(**said)


def test_a_limited_grant_covers_only_its_limit() -> None:
    assert is_allowed(Protected((LOBBY,)), CapabilitySet.of(LOBBY))
    assert is_allowed(Protected((LOBBY,)), CapabilitySet.of("read:messages"))
    assert not is_allowed(Protected((MESSAGES,)), CapabilitySet.of(LOBBY))
    assert not is_allowed(Protected((LOBBY,)), CapabilitySet.of(Capability("read:messages", "garden")))
    assert not is_allowed(Protected((LOBBY, Capability("read:contacts"))), CapabilitySet.of(LOBBY))


def test_a_meet_of_nothing_grants_nothing() -> None:
    assert not Meet(()).grants(MESSAGES)
    assert Meet((ALLOW_ALL,)).grants(MESSAGES)


capabilities = st.builds(Capability, st.sampled_from(["a", "b"]), st.sampled_from([None, "x", "y"]))
grants = st.frozensets(capabilities, max_size=4).map(CapabilitySet)
policies = st.lists(capabilities, min_size=1, max_size=3).map(lambda demands: Protected(tuple(demands)))


@given(policies, grants, grants)
def test_a_token_narrows_and_never_widens(policy: Protected, held: CapabilitySet, token: CapabilitySet) -> None:
    both = is_allowed(policy, Meet((held, token)))
    assert both == (is_allowed(policy, held) and is_allowed(policy, token))
