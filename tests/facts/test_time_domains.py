"""The five time domains: what may be said of two stamps, and the one order in which lists show them."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import (
    LocalViolation,
    LogicalTime,
    OrderingPolicy,
    OrderTime,
    PhysicalTime,
    ProvenancedTime,
    RangeTime,
    TimeComparison,
    TimeProof,
    TimeStamp,
    compare,
    sort_compare,
)
from antiphon.facts.time_domains import TICKS_MAX, Confidence, sort_stamps, to_index

NATIVE, TIE_BREAK = OrderingPolicy.NATIVE, OrderingPolicy.DETERMINISTIC_TIE_BREAK
BEFORE, AFTER = TimeComparison.BEFORE, TimeComparison.AFTER
CONCURRENT, OVERLAPPING, INCOMPARABLE = (
    TimeComparison.CONCURRENT,
    TimeComparison.OVERLAPPING,
    TimeComparison.INCOMPARABLE,
)

ticks = st.integers(min_value=0, max_value=5)
physical = st.builds(PhysicalTime, ticks, st.none() | ticks)
logical = st.builds(LogicalTime, st.dictionaries(st.sampled_from(["ada", "ben", "eve"]), ticks), ticks)
order = st.builds(OrderTime, st.sampled_from([bytes(32), bytes(31) + b"\1", b"\xff" * 32]))
confidences: st.SearchStrategy[Confidence] = st.sampled_from(["high", "unknown"])
ranges = st.tuples(ticks, ticks, confidences).map(lambda part: RangeTime(min(part[:2]), max(part[:2]), part[2]))
proofs = st.builds(TimeProof, st.just("ada"), ticks, ticks, ticks, st.just("valid"), st.binary(max_size=1))
proof_lists = st.lists(proofs, max_size=2).map(tuple)
origins = st.sampled_from([None, "", "x"])
plain = {"physical": physical, "logical": logical, "order": order, "range": ranges}
domains: dict[str, st.SearchStrategy[Any]] = {
    **plain,
    "provenanced": st.builds(ProvenancedTime, st.one_of(*plain.values()), proof_lists, origins),
}
stamps = st.one_of(*domains.values())
policies = st.sampled_from([NATIVE, TIE_BREAK])

SWAPPED = {BEFORE: AFTER, AFTER: BEFORE}


def clock(lamport: int = 0, **entries: int) -> LogicalTime:
    return LogicalTime(entries, lamport)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (PhysicalTime(1), PhysicalTime(2), BEFORE),
        (PhysicalTime(2, 99), PhysicalTime(1), AFTER),
        (PhysicalTime(1), PhysicalTime(1, 5), CONCURRENT),
        (OrderTime(bytes(32)), OrderTime(b"\1" * 32), BEFORE),
        (OrderTime(b"\1" * 32), OrderTime(b"\1" * 32), CONCURRENT),
        (clock(ada=1), clock(ada=1, ben=1), BEFORE),
        (clock(ada=2), clock(ada=1), AFTER),
        (clock(ada=1), clock(ada=1, ben=0), CONCURRENT),
        (RangeTime(0, 4), RangeTime(5, 9), BEFORE),
        (RangeTime(5, 9), RangeTime(0, 4), AFTER),
        (RangeTime(0, 5), RangeTime(5, 9), OVERLAPPING),
        (RangeTime(0, 9), RangeTime(3, 4), OVERLAPPING),
        (RangeTime(3, 4), RangeTime(3, 4), OVERLAPPING),
        (ProvenancedTime(PhysicalTime(1)), ProvenancedTime(PhysicalTime(2)), BEFORE),
        (ProvenancedTime(PhysicalTime(1)), ProvenancedTime(OrderTime(bytes(32))), INCOMPARABLE),
        (ProvenancedTime(PhysicalTime(1)), PhysicalTime(2), INCOMPARABLE),
    ],
)
@pytest.mark.parametrize("policy", [NATIVE, TIE_BREAK])
def test_each_domain_compares_by_its_own_rule(
    first: TimeStamp, second: TimeStamp, expected: TimeComparison, policy: OrderingPolicy
) -> None:
    assert compare(first, second, policy=policy) is expected


def test_concurrent_clocks_of_two_actors_are_told_apart_by_policy_only() -> None:
    ada, ben = LogicalTime().advance("ada"), LogicalTime().advance("ben")
    assert compare(ada, ben) is INCOMPARABLE
    assert compare(ada, ben, policy=TIE_BREAK) is CONCURRENT


@pytest.mark.parametrize(("one", "other"), [pair for pair in product(domains, domains) if pair[0] != pair[1]])
@given(data=st.data())
def test_two_domains_are_never_comparable(one: str, other: str, data: st.DataObject) -> None:
    first, second = data.draw(domains[one]), data.draw(domains[other])
    assert compare(first, second, policy=data.draw(policies)) is INCOMPARABLE
    assert sort_compare(first, second, policy=NATIVE) == 0
    ranks = ["logical", "order", "physical", "range", "provenanced"]
    assert sort_compare(first, second) == (1 if ranks.index(one) > ranks.index(other) else -1)


@given(stamps, stamps, policies)
def test_comparing_the_other_way_round_says_the_opposite(
    first: TimeStamp, second: TimeStamp, policy: OrderingPolicy
) -> None:
    there, back = compare(first, second, policy=policy), compare(second, first, policy=policy)
    assert back is SWAPPED.get(there, there)
    assert sort_compare(first, second, policy=policy) == -sort_compare(second, first, policy=policy)


@given(stamps)
def test_a_stamp_is_neither_before_nor_after_itself(stamp: TimeStamp) -> None:
    assert compare(stamp, stamp) in (CONCURRENT, OVERLAPPING)
    assert sort_compare(stamp, stamp) == 0


@given(st.lists(stamps, min_size=3, max_size=3), policies)
def test_what_is_before_is_before_all_that_follows(three: list[TimeStamp], policy: OrderingPolicy) -> None:
    first, second, third = three
    if compare(first, second, policy=policy) is BEFORE and compare(second, third, policy=policy) is BEFORE:
        assert compare(first, third, policy=policy) is BEFORE
    if sort_compare(first, second) <= 0 and sort_compare(second, third) <= 0:
        assert sort_compare(first, third) <= 0


def test_who_stands_at_0_need_not_be_named() -> None:
    assert clock(ada=0) == clock()
    assert hash(clock(ada=1, ben=0)) == hash(clock(ada=1))
    assert sort_compare(clock(ada=0), clock()) == 0


PROOF = TimeProof("ada", 1, 1, 0, "valid", b"")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PhysicalTime(1), PhysicalTime(1, 0)),
        (PhysicalTime(1, 2), PhysicalTime(1, 3)),
        (RangeTime(0, 1, "high"), RangeTime(0, 1, "low")),
        (RangeTime(0, 1), RangeTime(1, 1)),
        (clock(ada=1, lamport=1), clock(ben=1, lamport=1)),
        (ProvenancedTime(PhysicalTime(1)), ProvenancedTime(PhysicalTime(1), origin="")),
        (ProvenancedTime(PhysicalTime(1)), ProvenancedTime(PhysicalTime(1), (PROOF,))),
        (ProvenancedTime(PhysicalTime(1), (PROOF,)), ProvenancedTime(OrderTime(bytes(32)), (PROOF,))),
    ],
)
def test_stamps_that_differ_in_anything_have_one_order(first: TimeStamp, second: TimeStamp) -> None:
    assert sort_stamps([first, second]) == sort_stamps([second, first])
    assert sort_compare(first, second) == -sort_compare(second, first) != 0


@given(st.lists(stamps, max_size=8), st.randoms(use_true_random=False))
def test_a_list_of_stamps_has_one_order_on_every_replica(some: list[TimeStamp], random: object) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sort_stamps(some) == sort_stamps(shuffled)
    places = [(type(stamp), to_index(stamp)) for stamp in sort_stamps(some)]
    assert places == [(type(stamp), to_index(stamp)) for stamp in sort_stamps(shuffled)]


@given(st.lists(st.sampled_from(["ada", "ben"]), min_size=1, max_size=6))
def test_sorting_agrees_with_what_caused_what(steps: list[str]) -> None:
    times = [LogicalTime()]
    for actor in steps:
        times.append(times[-1].advance(actor))
    assert sort_stamps(list(reversed(times))) == times
    assert [to_index(each) for each in times] == list(range(len(times)))


def test_to_index_is_the_number_of_its_domain() -> None:
    token = bytes(7) + b"\5" + bytes(24)
    shown = [to_index(each) for each in (PhysicalTime(7), clock(3, ada=1), OrderTime(token), RangeTime(1, 9))]
    assert (shown, to_index(ProvenancedTime(PhysicalTime(7)))) == ([7, 3, 5, 9], 7)


def test_a_proof_travels_with_its_stamp_and_orders_nothing() -> None:
    proof = TimeProof("ben", 1, 2, 1, "unchecked", b"")
    proven = ProvenancedTime(PhysicalTime(1), (proof,), origin="ada")
    assert compare(proven, ProvenancedTime(PhysicalTime(1))) is CONCURRENT


@pytest.mark.parametrize("bad", [(5, 4), (-1, 4), (0, 2**64)])
def test_a_range_runs_forward_and_stays_within_64_bits(bad: tuple[int, int]) -> None:
    with pytest.raises(LocalViolation):
        RangeTime(*bad)


def test_a_clock_at_its_end_does_not_wrap() -> None:
    with pytest.raises(OverflowError, match="'ada'"):
        LogicalTime({"ada": TICKS_MAX}).advance("ada")
    with pytest.raises(OverflowError):
        LogicalTime(lamport=TICKS_MAX).advance("ben")


@given(logical, logical)
def test_advancing_knows_all_that_was_observed(own: LogicalTime, observed: LogicalTime) -> None:
    following = own.advance("ada", observed=observed)
    assert compare(own, following) is BEFORE
    assert compare(observed, following) is BEFORE
    assert following.lamport > max(own.lamport, observed.lamport)
