"""Forks: the proof convinces whoever has the namespace, and the rule about rights is a function of the set."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import DEFAULT_NAMESPACE, ChainId
from antiphon.journal import Draft, UnsealedBytes
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.forks import PROOF_BYTES, CausalFact, find_void, is_authority_bearing, prove_fork, read_proof
from antiphon.testing.records import ChainWriter

SAID = Draft("test.said", 1, b"{}", None)


def two_seals():  # type: ignore[no-untyped-def]
    ada, twin = ChainWriter("ada"), ChainWriter("ada")
    ada.say(SAID), twin.say(SAID)
    return ada.chain.info, parse_seal_line(ada.say(SAID).seal_line), parse_seal_line(twin.say(SAID, SAID).seal_line)


def test_two_seals_after_one_fact_are_a_proof_of_less_than_400_bytes() -> None:
    info, one, other = two_seals()
    proof = prove_fork(info, one, other)
    assert proof == prove_fork(info, other, one), "whoever finds it, it is the same proof"
    assert len(proof.encode()) == PROOF_BYTES <= 400
    again = read_proof(proof.encode(), DEFAULT_NAMESPACE)
    assert (again.first, again.second, again.seq) == (proof.first, proof.second, 3)
    assert again.info.chain == info.chain


def test_every_flipped_bit_of_a_proof_is_refused() -> None:
    data = prove_fork(*two_seals()).encode()
    for at in range(0, len(data) * 8, 3):
        bad = bytearray(data)
        bad[at // 8] ^= 1 << at % 8
        with pytest.raises(UnsealedBytes):
            read_proof(bytes(bad), DEFAULT_NAMESPACE)
    for wrong in (data[:-1], data + b"x", b""):
        with pytest.raises(UnsealedBytes):
            read_proof(wrong, DEFAULT_NAMESPACE)
    with pytest.raises(UnsealedBytes):
        read_proof(data, "another.namespace")


def test_an_honest_chain_cannot_be_accused() -> None:
    ada = ChainWriter("ada")
    seals = [parse_seal_line(ada.say(SAID).seal_line) for _ in range(3)]
    for one in seals:
        for other in seals:
            with pytest.raises(UnsealedBytes):
                prove_fork(ada.chain.info, one, other)


ADA, BEN, EVE = (ChainId(name * 16) for name in (b"a", b"b", b"e"))


def fact(
    name: str, chain: ChainId, seq: int, *parents: str, kind: str = "moderation.user_banned", author: str = ""
) -> CausalFact:
    return CausalFact(name.encode(), chain, author or chain[:1].decode(), seq, kind, tuple(p.encode() for p in parents))


TRUNK = fact("t", ADA, 1)
ONE, MORE = fact("x1", ADA, 2, "t"), fact("x2", ADA, 3, "x1")
TWO = fact("y1", ADA, 2, "t", kind="chat.message_sent")


def test_rights_from_a_fork_on_are_void_and_those_before_hold() -> None:
    assert find_void([TRUNK, ONE, TWO, MORE], {ADA: 2}) == {b"x1", b"x2"}
    assert find_void([TRUNK, ONE, MORE], {}) == frozenset()
    assert not is_authority_bearing("chat.message_sent")


def test_what_another_author_built_on_without_seeing_the_fork_holds() -> None:
    unaware = fact("b1", BEN, 1, "x1", kind="chat.message_sent")
    assert find_void([TRUNK, ONE, MORE, TWO, unaware], {ADA: 2}) == {b"x2"}
    later = fact("b2", BEN, 2, "b1", "x2", kind="chat.message_sent")
    assert find_void([TRUNK, ONE, MORE, TWO, unaware, later], {ADA: 2}) == frozenset()


def test_whoever_saw_both_stories_upholds_neither() -> None:
    aware = fact("b1", BEN, 1, "x2", "y1", kind="chat.message_sent")
    assert find_void([TRUNK, ONE, MORE, TWO, aware], {ADA: 2}) == {b"x1", b"x2"}


def test_a_writer_does_not_vouch_for_itself_from_another_chain() -> None:
    own = fact("e1", EVE, 1, "x2", author="a", kind="chat.message_sent")
    assert find_void([TRUNK, ONE, MORE, TWO, own], {ADA: 2}) == {b"x1", b"x2"}


@given(st.data())
def test_any_causal_order_gives_the_same_answer(data: st.DataObject) -> None:
    facts = [TRUNK, ONE, MORE, TWO]
    for number in range(data.draw(st.integers(0, 4))):
        chain = data.draw(st.sampled_from([BEN, EVE]))
        own = [each for each in facts if each.chain == chain]
        parents = data.draw(st.lists(st.sampled_from(facts), max_size=2, unique=True))
        if own and own[-1] not in parents:
            parents.append(own[-1])
        names = [each.fact_id.decode() for each in parents]
        facts.append(fact(f"n{number}", chain, len(own) + 1, *names))
    order = data.draw(st.permutations(facts))
    known: set[bytes] = set()
    causal: list[CausalFact] = []
    while len(causal) < len(facts):
        for each in order:
            if each.fact_id not in known and known.issuperset(each.parents):
                known.add(each.fact_id)
                causal.append(each)
    assert find_void(causal, {ADA: 2}) == find_void(facts, {ADA: 2})


def test_all_orders_of_a_small_story_agree() -> None:
    answers = {find_void([TRUNK, *rest], {ADA: 2}) for rest in permutations([ONE, TWO])}
    assert len(answers) == 1
