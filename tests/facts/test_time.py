"""Time as data: a clock that only rises, and one order in which all replicas settle conflicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import OrderTime, hlc_ms, next_hlc
from antiphon.facts.time import COUNTER_BITS, hlc_of
from antiphon.testing.records import ChainWriter

walls = st.integers(min_value=0, max_value=2**46)
clocks = st.integers(min_value=0, max_value=2**62)


@given(clocks, walls)
def test_the_next_time_is_after_the_last_and_not_before_the_wall(last: int, wall_ms: int) -> None:
    following = next_hlc(last, wall_ms)
    assert following > last
    assert hlc_ms(following) >= wall_ms
    assert following in (last + 1, wall_ms << COUNTER_BITS), "and the smallest such"


@given(clocks, st.lists(walls, min_size=1))
def test_time_rises_though_the_wall_jumps(last: int, moments: list[int]) -> None:
    highest = max(hlc_ms(last), *moments) if moments else hlc_ms(last)
    for wall_ms in moments:
        previous, last = last, next_hlc(last, wall_ms)
        assert last > previous
    assert hlc_ms(last) <= highest + 1, "never further ahead than the highest wall, but for the counter"


@given(walls, st.integers(min_value=0, max_value=2**COUNTER_BITS - 1))
def test_milliseconds_and_counter_are_packed_without_loss(wall_ms: int, counter: int) -> None:
    packed = hlc_of(wall_ms, counter=counter)
    assert hlc_ms(packed) == wall_ms
    assert packed & (2**COUNTER_BITS - 1) == counter


@given(walls)
def test_a_full_counter_runs_into_the_next_millisecond(wall_ms: int) -> None:
    assert next_hlc(hlc_of(wall_ms, counter=2**COUNTER_BITS - 1), 0) == hlc_of(wall_ms + 1)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=6))
def test_order_tokens_are_totally_ordered_by_their_bytes(tokens: list[bytes]) -> None:
    times = [OrderTime(token) for token in tokens]
    assert [time.token for time in sorted(times)] == sorted(tokens)
    assert (times[0] < times[1]) + (times[1] < times[0]) + (times[0] == times[1]) == 1


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_an_order_token_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=rf"32 bytes; got {size}"):
        OrderTime(bytes(size))


def test_ties_of_time_are_settled_by_clock_and_then_by_id() -> None:
    record = ChainWriter("ada").seal().records[0]
    same_time = [record._replace(at=5, hlc=hlc, fact_id=bytes([tail]) * 32) for hlc in (2, 1) for tail in (9, 3)]  # type: ignore[arg-type]
    settled = sorted(same_time, key=lambda each: each.stamp)
    assert [(each.hlc, each.fact_id[0]) for each in settled] == [(1, 3), (1, 9), (2, 3), (2, 9)]
    assert record._replace(at=-1).stamp < record._replace(at=0).stamp
