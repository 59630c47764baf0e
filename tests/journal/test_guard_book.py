"""Budgets, epochs and windows against plain sums; merging adds what two devices spent."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from antiphon.journal.budgets import LEAKAGE_WINDOW_MS, FlowBudget, InsufficientBudget, LeakageExceeded
from antiphon.journal.frame import LocalNote
from antiphon.journal.guard_book import (
    DENY,
    LEGACY_PERMISSIVE,
    PLANS_MAX,
    PLANS_NOTE,
    Charge,
    GuardBook,
    GuardLimits,
    Letter,
    PlanEntry,
    Revealed,
    UndefinedLeakage,
    epoch_note,
    plans_note,
)

START = 1_700_000_000_000


def charge(book: GuardBook, plan_id: str, amount: int, *, peer: str = "p") -> None:
    entry = PlanEntry((plan_id,), START, book.epoch, (Charge("c", peer, amount),))
    book.reserve(entry)
    book.settle(entry)


def leak(book: GuardBook, plan_id: str, bits: int, *, at_ms: int, observer: str = "External") -> None:
    entry = PlanEntry((plan_id,), at_ms, book.epoch, (), (Revealed("c", "p", observer, bits, "a:do"),))
    book.reserve(entry)
    book.settle(entry)


class Budgets(RuleBasedStateMachine):
    """Any order of taking, settling, releasing and rotating keeps 0 ≤ spent ≤ limit, and notes give the same book."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = GuardLimits(flow=20)
        self.book = GuardBook("me", limits=self.limits)
        self.log = GuardBook("me", limits=self.limits)
        self.spent: dict[str, int] = {}
        self.on_the_way: dict[str, PlanEntry] = {}
        self.count = 0

    @rule(peer=st.sampled_from("pq"), amount=st.integers(0, 25))
    def take(self, peer: str, amount: int) -> None:
        self.count += 1
        entry = PlanEntry((f"{self.count}", f"{self.count}b"), START, self.book.epoch, (Charge("c", peer, amount),))
        held = sum(each.charges[0].amount for each in self.on_the_way.values() if each.charges[0].peer == peer)
        left = 20 - self.spent.get(peer, 0) - held
        if amount <= max(0, left):
            self.book.reserve(entry)
            self.on_the_way[entry.plan_ids[0]] = entry
        else:
            with pytest.raises(InsufficientBudget):
                self.book.reserve(entry)

    @rule(is_durable=st.booleans())
    def end(self, *, is_durable: bool) -> None:
        if not self.on_the_way:
            return
        entry = self.on_the_way.pop(next(iter(self.on_the_way)))
        if not is_durable:
            self.book.release(entry)
            return
        self.book.settle(entry)
        self.log.apply(plans_note((entry,)))
        if entry.epoch == self.book.epoch:
            ((_, peer, amount),) = entry.charges
            self.spent[peer] = self.spent.get(peer, 0) + amount

    @rule(epoch=st.integers(0, 6))
    def rotate(self, epoch: int) -> None:
        is_later = epoch > self.book.epoch
        assert self.book.rotate_epoch(epoch) == is_later, "an older epoch changes nothing"
        if is_later:
            self.log.apply(epoch_note(epoch))
            self.spent = {}

    @rule()
    def seal(self) -> None:
        self.log = GuardBook("me", limits=self.limits, notes=(self.log.state_note(),))

    @invariant()
    def sums_hold(self) -> None:
        for peer in "pq":
            held = sum(each.charges[0].amount for each in self.on_the_way.values() if each.charges[0].peer == peer)
            assert self.book.remaining("c", peer) == max(0, 20 - self.spent.get(peer, 0) - held)
            assert 0 <= self.book.budget("c", peer).spent <= 20
        assert self.log.state_data() == self.book.state_data()


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_using_a_budget_up_exactly_is_allowed_and_a_limit_of_nothing_allows_what_is_free() -> None:
    book = GuardBook("me", limits=GuardLimits(flow=5, flow_of={("c", "nobody"): 0}))
    charge(book, "1", 5)
    charge(book, "2", 0)
    charge(book, "3", 0, peer="nobody")
    assert book.remaining("c", "p") == 0
    with pytest.raises(InsufficientBudget):
        charge(book, "4", 1)
    with pytest.raises(InsufficientBudget):
        charge(book, "5", 1, peer="nobody")


def test_what_two_devices_spent_adds_up_and_overspending_blocks_further_sends() -> None:
    phone, laptop = (GuardBook(name, limits=GuardLimits(flow=100)) for name in ("phone", "laptop"))
    charge(phone, "1", 70)
    charge(laptop, "2", 60)
    phone.absorb("c", "p", laptop.budget("c", "p"))
    laptop.absorb("c", "p", phone.budget("c", "p"))
    assert phone.budget("c", "p") == laptop.budget("c", "p")
    assert phone.budget("c", "p").is_overspent
    assert (phone.remaining("c", "p"), laptop.remaining("c", "p")) == (0, 0)
    with pytest.raises(InsufficientBudget):
        charge(laptop, "3", 1)


budgets = st.builds(
    lambda limit, spent, epoch: FlowBudget.fresh(limit, epoch=epoch).join(
        FlowBudget.fresh(limit, epoch=epoch).charge("a", min(spent, limit))
    ),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(0, 3),
)


@given(st.lists(budgets, max_size=4), st.randoms(use_true_random=False))
def test_a_book_takes_others_in_in_any_order_and_any_number_of_times(others: list[FlowBudget], order: object) -> None:
    first, second = GuardBook("me"), GuardBook("me")
    for other in others:
        first.absorb("c", "p", other)
    shuffled = [*others, *others]
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' random numbers
    for other in shuffled:
        second.absorb("c", "p", other)
    assert first.budget("c", "p") == second.budget("c", "p")
    assert first.state_data() == second.state_data()


def test_leakage_comes_back_after_a_day_and_not_a_millisecond_earlier() -> None:
    book = GuardBook("me")
    leak(book, "1", 900, at_ms=START)
    leak(book, "2", 100, at_ms=START + 5)
    end = START + LEAKAGE_WINDOW_MS
    for now_ms, left in ((START + 6, 0), (end - 1, 0), (end, 900), (end + 5, 1_000)):
        assert book.remaining_bits("c", "p", "External", now_ms=now_ms) == left
    assert LEAKAGE_WINDOW_MS == 24 * 60 * 60 * 1_000


@given(st.lists(st.tuples(st.integers(0, 3 * LEAKAGE_WINDOW_MS), st.integers(0, 300)), max_size=20))
def test_the_window_is_the_sum_of_the_last_day(steps: list[tuple[int, int]]) -> None:
    book, taken = GuardBook("me"), list[tuple[int, int]]()
    for number, (after_ms, bits) in enumerate(sorted(steps)):
        now_ms = START + after_ms
        left = 1_000 - sum(each for at_ms, each in taken if at_ms > now_ms - LEAKAGE_WINDOW_MS)
        assert book.remaining_bits("c", "p", "External", now_ms=now_ms) == left
        if bits <= left:
            leak(book, f"{number}", bits, at_ms=now_ms)
            taken.append((now_ms, bits))
        else:
            with pytest.raises(LeakageExceeded):
                leak(book, f"{number}", bits, at_ms=now_ms)


def test_observers_are_independent_and_a_reset_concerns_one() -> None:
    book = GuardBook("me")
    leak(book, "1", 500, at_ms=START, observer="Neighbor")
    leak(book, "2", 100, at_ms=START, observer="InGroup")
    assert book.remaining_bits("c", "p", "Neighbor", now_ms=START) == 0
    assert book.remaining_bits("c", "p", "External", now_ms=START) == 1_000
    book.reset("c", "p", "Neighbor")
    assert book.remaining_bits("c", "p", "Neighbor", now_ms=START) == 500
    assert book.remaining_bits("c", "p", "InGroup", now_ms=START) == 0


@pytest.mark.parametrize(
    ("policy", "is_allowed"), [(DENY, False), (UndefinedLeakage(10), True), (UndefinedLeakage(4), False)]
)
def test_an_observer_without_an_allowance_is_denied_unless_the_policy_says_otherwise(
    policy: UndefinedLeakage, *, is_allowed: bool
) -> None:
    book = GuardBook("me", limits=GuardLimits(undefined=policy))
    assert (book.remaining_bits("c", "p", "Custody", now_ms=START) >= 5) == is_allowed
    assert GuardLimits().undefined == DENY


def test_a_permissive_policy_has_to_be_asked_for() -> None:
    book = GuardBook("me", limits=GuardLimits(undefined=LEGACY_PERMISSIVE))
    leak(book, "1", 2**31, at_ms=START, observer="Custody")
    assert book.remaining_bits("c", "p", "External", now_ms=START) == 1_000


def test_a_clock_that_goes_back_forgets_no_leak() -> None:
    book = GuardBook("me")
    leak(book, "1", 600, at_ms=START)
    leak(book, "2", 400, at_ms=START - 5_000)
    assert book.remaining_bits("c", "p", "External", now_ms=START) == 0


def test_the_memory_of_plans_is_bounded() -> None:
    book = GuardBook("me")
    for number in range(PLANS_MAX + 10):
        charge(book, f"{number}", 0)
    assert book.statistics().plan_count == PLANS_MAX
    assert book.knows_plan(f"{PLANS_MAX}")
    assert not book.knows_plan("3")


def test_a_letter_that_left_before_sealing_does_not_come_back() -> None:
    book = GuardBook("me")
    letters = [Letter(f"e{n}", "p", "c", "p", b"x", (("kind.of", "{}"),)) for n in range(2)]
    entries = [PlanEntry((letter.envelope_id,), START, 0, (), (), (), (letter,)) for letter in letters]
    for entry in entries:
        book.reserve(entry)
    book.settle(entries[0])
    book.finish("e0")
    assert GuardBook("me", notes=(book.state_note(),)).letters == (), "it has no place in the log, which comes after"
    book.note_offered(entries[1])
    again = GuardBook("me", notes=(book.state_note(),))
    assert again.letters == (letters[1],), "what is on its way counts, what has left does not"
    assert again.knows_plan("e0")


def test_a_plan_that_was_written_by_itself_in_an_earlier_version_is_still_read() -> None:
    letter = ["e1", "to", "c", "p", b"hi".hex(), [["kind.of", "{}"]]]
    text = orjson.dumps(
        [["p1", START, 0, [["c", "p", 7]], [], [], letter], ["p2", START, 0, [], [], [], None]]
    ).decode()
    book = GuardBook("me", notes=(LocalNote(PLANS_NOTE, {"plans": text}),))
    assert book.knows_plan("p1")
    assert book.knows_plan("p2")
    assert book.remaining("c", "p") == 1_017
    assert book.letters == (Letter("e1", "to", "c", "p", b"hi", (("kind.of", "{}"),)),)


def test_a_plan_of_a_later_epoch_counts_though_nothing_else_tells_of_that_epoch() -> None:
    entry = PlanEntry(("p1",), START, 3, (Charge("c", "p", 1_000),))
    book = GuardBook("me", notes=(plans_note([entry]),))
    assert book.epoch == 3
    assert book.remaining("c", "p") == 24
