"""The one window: armed by the first item, closed by time, count or size, silent in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.reactive import CallRefused, Window
from antiphon.testing.clock import VirtualClock


def build_window(clock: VirtualClock, closed: list[list[int]], *, count_max: int = 1000) -> Window[int]:
    return Window(clock.scheduler, closed.append, count_max=count_max)


def test_items_within_five_milliseconds_of_the_first_share_a_window(clock: VirtualClock) -> None:
    closed: list[list[int]] = []
    window = build_window(clock, closed)
    window.offer_one(0, 1)
    clock.advance(1)
    window.offer_one(1, 1)
    clock.advance(3.9)
    window.offer_one(2, 1)
    assert closed == []
    clock.advance(0.1)
    assert closed == [[0, 1, 2]]
    clock.advance(0.1)
    window.offer_one(3, 1)
    clock.advance(4.9)
    assert closed == [[0, 1, 2]]
    clock.advance(0.1)
    assert closed == [[0, 1, 2], [3]]


def test_a_full_count_closes_at_once_and_disarms_the_timer(clock: VirtualClock) -> None:
    closed: list[list[int]] = []
    window = build_window(clock, closed)
    window.offer(range(999), 0)
    assert clock.armed_count == 1
    window.offer_one(999, 0)
    assert [len(items) for items in closed] == [1000]
    assert clock.armed_count == 0


def test_an_offer_larger_than_a_window_is_split_into_full_ones(clock: VirtualClock) -> None:
    closed: list[list[int]] = []
    window = build_window(clock, closed)
    window.offer(range(2500), 2500)
    assert [len(items) for items in closed] == [1000, 1000]
    clock.advance(5)
    assert [len(items) for items in closed] == [1000, 1000, 500]
    assert [item for items in closed for item in items] == list(range(2500))


def test_an_offer_that_does_not_fit_the_rest_stays_whole_in_the_next_window(clock: VirtualClock) -> None:
    closed: list[list[int]] = []
    window = build_window(clock, closed, count_max=10)
    window.offer(range(8), 8)
    window.offer(range(100, 105), 5)
    assert closed == [list(range(8))]
    clock.advance(5)
    assert closed == [list(range(8)), list(range(100, 105))]


def test_an_item_larger_than_the_rest_closes_the_window_and_an_oversize_one_goes_alone(clock: VirtualClock) -> None:
    closed: list[list[str]] = []
    window = Window[str](clock.scheduler, closed.append, bytes_max=100)
    window.offer_one("small", 60)
    window.offer_one("large", 50)
    assert closed == [["small"]]
    window.offer_one("oversize", 101)
    assert closed == [["small"], ["large"], ["oversize"]]
    window.offer_one("exact", 100)
    assert closed[3:] == [["exact"]]
    assert window.pending_count == 0
    assert clock.armed_count == 0


def test_an_oversize_offer_is_cut_by_the_sizes_of_its_items(clock: VirtualClock) -> None:
    closed: list[list[str]] = []
    window = Window[str](clock.scheduler, closed.append, bytes_max=10, size_of=len)
    window.offer(["aaaaaa", "bbbb", "cc", "dddddddddddd", "e"], 25)
    clock.advance(5)
    assert closed == [["aaaaaa", "bbbb"], ["cc"], ["dddddddddddd"], ["e"]]


def test_nothing_is_scheduled_while_idle(clock: VirtualClock) -> None:
    closed: list[list[int]] = []
    window = build_window(clock, closed)
    window.offer([], 0)
    clock.advance(10_000)
    assert (clock.armed_total, closed) == (0, [])
    window.offer_one(1, 1)
    clock.advance(10_000)
    assert clock.armed_total == 1
    assert window.statistics().is_armed is False


def test_a_window_arms_one_timer_however_many_offers_it_gets(clock: VirtualClock) -> None:
    window = build_window(clock, [])
    for item in range(500):
        window.offer_one(item, 1)
    assert clock.armed_total == 1


def test_flush_closes_now_and_discard_takes_back(clock: VirtualClock) -> None:
    closed: list[list[int]] = []
    window = build_window(clock, closed)
    window.offer([1, 2], 2)
    window.flush()
    window.flush()
    window.offer([3], 1)
    assert window.discard() == [3]
    clock.advance(100)
    assert closed == [[1, 2]]
    assert clock.armed_count == 0


def test_a_raising_callback_leaves_a_usable_window(clock: VirtualClock) -> None:
    closed: list[list[int]] = []

    def close(items: list[int]) -> None:
        if 13 in items:
            raise RuntimeError("unlucky")
        closed.append(items)

    window = Window[int](clock.scheduler, close, count_max=2)
    window.offer_one(13, 1)
    with pytest.raises(RuntimeError, match="unlucky"):
        window.offer([1, 2], 2)
    window.flush()
    assert closed == [[1, 2]]
    window.offer_one(3, 1)
    clock.advance(5)
    assert closed == [[1, 2], [3]]


def test_what_the_callback_offers_comes_after_what_was_offered_before(clock: VirtualClock) -> None:
    closed: list[list[str]] = []

    def close(items: list[str]) -> None:
        closed.append(items)
        if items == ["first"]:
            window.offer_one("echo", 1)

    window = Window[str](clock.scheduler, close, count_max=2)
    window.offer_one("first", 1)
    window.offer(["second", "third"], 2)
    clock.advance(5)
    assert closed == [["first"], ["second", "third"], ["echo"]]


def test_limits_that_make_no_sense_are_refused(clock: VirtualClock) -> None:
    with pytest.raises(CallRefused, match="count_max=0"):
        Window[int](clock.scheduler, lambda items: None, count_max=0)
    with pytest.raises(CallRefused, match="window_ms=-1"):
        Window[int](clock.scheduler, lambda items: None, window_ms=-1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.lists(st.integers(min_value=0, max_value=12), max_size=9)),
        st.tuples(st.just("offer_one"), st.integers(min_value=0, max_value=12)),
        st.tuples(st.just("advance"), st.floats(min_value=0, max_value=6)),
        st.tuples(st.just("flush"), st.none()),
    )
)


@given(steps=STEPS, knows_sizes=st.booleans())
def test_every_item_comes_out_once_in_order_and_within_the_limits(
    steps: list[tuple[str, object]], knows_sizes: bool
) -> None:
    clock = VirtualClock()
    count_max, bytes_max = 4, 10
    closed: list[list[tuple[int, int]]] = []
    window = Window[tuple[int, int]](
        clock.scheduler,
        closed.append,
        count_max=count_max,
        bytes_max=bytes_max,
        size_of=(lambda item: item[1]) if knows_sizes else None,
    )
    offered: list[tuple[int, int]] = []
    for action, argument in steps:
        if action == "offer":
            assert isinstance(argument, list)
            items = [(len(offered) + index, size) for index, size in enumerate(argument)]
            offered += items
            window.offer(items, sum(size for _, size in items))
        elif action == "offer_one":
            assert isinstance(argument, int)
            offered.append((len(offered), argument))
            window.offer_one(offered[-1], argument)
        elif action == "advance":
            assert isinstance(argument, float)
            clock.advance(argument)
        else:
            window.flush()
        assert window.statistics().is_armed == (window.pending_count > 0)
        assert clock.armed_count == (1 if window.pending_count else 0)
    clock.advance(5)
    assert [item for items in closed for item in items] == offered
    assert all(0 < len(items) <= count_max for items in closed)
    if knows_sizes:
        assert all(len(items) == 1 or sum(size for _, size in items) <= bytes_max for items in closed)
    statistics = window.statistics()
    assert (statistics.closed_count, statistics.item_count) == (len(closed), len(offered))
