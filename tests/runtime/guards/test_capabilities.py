"""Tokens: issued and verified, narrowed and never widened, attested, bounded, revoked, and cheap when asked again."""

from typing import Any

import pytest
from biscuit_auth import BiscuitBuildError, BlockBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.guards.capabilities import (
    CapabilityScope,
    LimitExceeded,
    TokenInvalid,
    TokenRevoked,
    TokenVerifier,
    _parse,
    attenuate_token,
    attest_token,
    inspect_token,
    issue_token,
    key_pair_of,
    meet_tokens,
)
from antiphon.runtime.guards.names import DEVICE_GRANT, UnknownCapability, check_name, check_protocol_name

NOW = 1_700_000_000_000
ROOT, GUARDIAN, STRANGER = bytes([7]) * 32, bytes([8]) * 32, bytes([9]) * 32
NAMES = ("chat:message:send", "chat:channel:create", "sync:push_ops")


def public(seed: bytes) -> bytes:
    return bytes(key_pair_of(seed).public_key.to_bytes())


class HandClock:
    def __init__(self, at_ms: int = NOW) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


def frontier(token: bytes, *names: str, context: str = "home", at_ms: int = NOW) -> set[str]:
    verifier = TokenVerifier([public(ROOT)], HandClock(at_ms))
    return set(verifier.frontier(verifier.verify(token), names or NAMES, context=context))


def test_a_token_allows_what_it_names_where_it_holds_until_it_expires() -> None:
    token = issue_token(
        ROOT, subject="bo", capabilities=NAMES[:2], scope=CapabilityScope("home"), expires_ms=NOW + 60_000
    )
    assert frontier(token) == set(NAMES[:2])
    assert frontier(token, context="away") == set()
    assert frontier(token, at_ms=NOW + 59_999) == set(NAMES[:2])
    assert frontier(token, at_ms=NOW + 60_000) == set()
    verifier = TokenVerifier([public(ROOT)], HandClock())
    assert verifier.verify(token).subject == "bo"


def test_a_token_that_expires_is_refused_by_a_verifier_that_knew_it() -> None:
    clock = HandClock()
    verifier = TokenVerifier([public(ROOT)], clock)
    token = verifier.verify(issue_token(ROOT, subject="bo", capabilities=NAMES, expires_ms=NOW + 2_000))
    assert verifier.frontier(token, NAMES, context="home")
    clock.at_ms += 2_000
    assert not verifier.frontier(token, NAMES, context="home")


def test_another_root_and_every_altered_byte_are_refused() -> None:
    token = issue_token(ROOT, subject="bo", capabilities=NAMES)
    with pytest.raises(TokenInvalid):
        TokenVerifier([public(STRANGER)], HandClock()).verify(token)
    with pytest.raises(TokenInvalid, match="no root key"):
        TokenVerifier([], HandClock()).verify(token)
    for place in range(len(token)):
        altered = bytearray(token)
        altered[place] ^= 0x55
        with pytest.raises(TokenInvalid):
            TokenVerifier([public(ROOT)], HandClock()).verify(bytes(altered))


narrowings = st.fixed_dictionaries(
    {},
    optional={
        "capabilities": st.sets(st.sampled_from(NAMES), min_size=1),
        "context": st.sampled_from(["home", "away"]),
        "expires_ms": st.sampled_from([NOW - 1, NOW + 500, NOW + 5_000]),
    },
)


@settings(max_examples=25, deadline=None)
@given(st.lists(narrowings, min_size=1, max_size=3), st.sampled_from(["home", "away"]), st.sampled_from([0, 1_000]))
def test_narrowing_never_widens(steps: list[dict[str, Any]], context: str, after_ms: int) -> None:
    parent = issue_token(ROOT, subject="bo", capabilities=NAMES[:2])
    for step in steps:
        child = attenuate_token(parent, public(ROOT), **step)
        mine = frontier(child, context=context, at_ms=NOW + after_ms)
        assert mine <= frontier(parent, context=context, at_ms=NOW + after_ms)
        if "capabilities" in step:
            assert mine <= step["capabilities"]
        parent = child


def test_a_later_block_cannot_grant() -> None:
    token = issue_token(ROOT, subject="bo", capabilities=NAMES[:1])
    block = BlockBuilder('capability("sync:push_ops"); scope_any(true);')
    assert frontier(bytes(_parse(token, public(ROOT)).append(block).to_bytes())) == {NAMES[0]}


def test_an_attestation_of_one_of_several_trusted_keys_is_enough() -> None:
    second, other = bytes([10]) * 32, bytes([11]) * 32
    token = issue_token(ROOT, subject="bo", capabilities=NAMES[:1], trusted=[public(GUARDIAN), public(second)])
    assert frontier(token) == set()
    for seed, allowed in ((GUARDIAN, {NAMES[0]}), (second, {NAMES[0]}), (other, set())):
        assert frontier(attest_token(token, public(ROOT), seed=seed, subject="bo")) == allowed


def test_an_attestation_counts_from_a_trusted_key_and_for_its_own_token() -> None:
    token = issue_token(ROOT, subject="bo", capabilities=NAMES[:1], trusted=[public(GUARDIAN)])
    assert frontier(token) == set()
    assert frontier(attest_token(token, public(ROOT), seed=STRANGER, subject="bo")) == set()
    attested = attest_token(token, public(ROOT), seed=GUARDIAN, subject="bo")
    assert frontier(attested) == {NAMES[0]}
    assert inspect_token(attested, public(ROOT)).attested_by == (public(GUARDIAN).hex(),)


def test_an_attestation_that_was_moved_to_another_token_is_refused() -> None:
    tokens = [issue_token(ROOT, subject=name, capabilities=NAMES[:1], trusted=[public(GUARDIAN)]) for name in "ab"]
    first, second = (_parse(token, public(ROOT)) for token in tokens)
    keys = key_pair_of(GUARDIAN)
    block = first.third_party_request().create_block(keys.private_key, BlockBuilder('attested("a")'))
    with pytest.raises((BiscuitBuildError, TokenInvalid)):
        frontier(bytes(second.append_third_party(keys.public_key, block).to_bytes()))


def test_a_token_that_makes_endless_work_is_cut_off_and_an_ordinary_one_passes_beside_it() -> None:
    numbers = "; ".join(f"n({number})" for number in range(60))
    bomb = BlockBuilder(f"{numbers}; m($a, $b, $c) <- n($a), n($b), n($c); check if m(1, 2, 3)")
    token = issue_token(ROOT, subject="bo", capabilities=NAMES[:1])
    with pytest.raises(LimitExceeded):
        frontier(bytes(_parse(token, public(ROOT)).append(bomb).to_bytes()), NAMES[0])
    assert frontier(token) == {NAMES[0]}


def test_a_revoked_token_and_all_made_from_it_are_refused_at_once() -> None:
    revoked: set[str] = set()
    verifier = TokenVerifier([public(ROOT)], HandClock(), revoked=lambda: revoked)
    parent = issue_token(ROOT, subject="bo", capabilities=NAMES)
    child = verifier.verify(attenuate_token(parent, public(ROOT), context="home"))
    assert verifier.frontier(child, NAMES, context="home")
    revoked.update(inspect_token(parent, public(ROOT)).revocation_ids)
    with pytest.raises(TokenRevoked):
        verifier.frontier(child, NAMES, context="home")
    with pytest.raises(TokenRevoked):
        verifier.verify(parent)


def test_a_frontier_is_worked_out_once_for_token_scope_and_epoch() -> None:
    epoch = 0
    verifier = TokenVerifier([public(ROOT)], HandClock(), epoch=lambda: epoch)
    token = verifier.verify(issue_token(ROOT, subject="bo", capabilities=NAMES))
    for _ in range(5):
        verifier.frontier(token, NAMES, context="home")
    assert verifier.evaluation_count == 3
    verifier.frontier(token, NAMES, context="away")
    assert verifier.evaluation_count == 6
    epoch = 1
    verifier.frontier(token, NAMES, context="home")
    assert verifier.evaluation_count == 9


def test_two_tokens_meet_in_the_narrower_one_of_one_issuer() -> None:
    verifier = TokenVerifier([public(ROOT), public(STRANGER)], HandClock())
    wide = issue_token(ROOT, subject="bo", capabilities=NAMES)
    narrow = verifier.verify(attenuate_token(wide, public(ROOT), context="home"))
    other = verifier.verify(issue_token(STRANGER, subject="bo", capabilities=NAMES))
    assert meet_tokens(verifier.verify(wide), narrow) == narrow
    assert meet_tokens(narrow, other) is None


def test_a_device_is_granted_what_it_needs_and_no_ceremony() -> None:
    token = issue_token(ROOT, subject="device")
    assert frontier(token, *DEVICE_GRANT) == set(DEVICE_GRANT)
    assert frontier(token, "consensus:initiate", "recovery:initiate", "privacy:reset") == set()


@pytest.mark.parametrize(
    ("name", "position"), [("", None), ("Chat:send", 0), ("chat:se nd", 7), ("chat::send", 5), ("x" * 129, 128)]
)
def test_a_name_that_breaks_the_grammar_is_refused_with_its_place(name: str, position: int | None) -> None:
    with pytest.raises(UnknownCapability) as refused:
        check_name(name)
    assert refused.value.position == position


@pytest.mark.parametrize("name", ["read", "cap:chat", "elsewhere:send", "module:shop:buy", "module:shop"])
def test_a_protocol_demands_only_what_somebody_owns(name: str) -> None:
    with pytest.raises(UnknownCapability):
        check_protocol_name(name)


def test_a_protocol_demands_ours_its_own_and_those_of_admitted_modules() -> None:
    assert check_protocol_name("consensus:initiate")
    assert check_protocol_name("secure_request:send_request", own_roots={"secure_request"})
    assert check_protocol_name("module:shop:buy", modules={"shop"})
