"""Propagation goes from local over syncing to complete, fails while a peer fails, and is told in events."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from antiphon.journal import PropagationLevel, PropagationTracker
from antiphon.journal.propagation import (
    FACTS_MAX,
    FactPropagated,
    PeerSynced,
    PeerSyncFailed,
    PropagationComplete,
)


def level(tracker: PropagationTracker, item: str | None = None) -> PropagationLevel:
    return (tracker.aggregate() if item is None else tracker.of_fact(item)).level


def test_while_nobody_is_known_everything_is_complete() -> None:
    assert level(PropagationTracker()) is PropagationLevel.COMPLETE
    assert level(PropagationTracker(), "any") is PropagationLevel.COMPLETE


def test_the_last_known_peer_completes_it() -> None:
    tracker = PropagationTracker(["ben", "eve"])
    tracker.note_committed("m1")
    assert level(tracker) is PropagationLevel.LOCAL
    assert tracker.note_synced("ben") == [PeerSynced("ben"), FactPropagated("m1", "ben")]
    assert (tracker.aggregate().reached, tracker.aggregate().known) == (1, 2)
    assert tracker.note_synced("eve") == [
        PeerSynced("eve"),
        FactPropagated("m1", "eve"),
        PropagationComplete("m1"),
        PropagationComplete(),
    ]
    assert level(tracker) is level(tracker, "m1") is PropagationLevel.COMPLETE
    assert tracker.fully_propagated_facts() == ("m1",)


def test_one_fact_may_be_further_than_the_rest() -> None:
    tracker = PropagationTracker(["ben"])
    tracker.note_committed("m1")
    tracker.note_committed("m2")
    assert tracker.note_reached("m1", "ben") == [FactPropagated("m1", "ben"), PropagationComplete("m1")]
    assert tracker.note_reached("m1", "ben") == []
    assert level(tracker, "m1") is PropagationLevel.COMPLETE
    assert level(tracker, "m2") is PropagationLevel.LOCAL
    tracker.clear_fact("m1")
    assert tracker.fully_propagated_facts() == ()


def test_a_peer_that_fails_is_shown_until_it_is_met() -> None:
    tracker = PropagationTracker(["ben"])
    assert tracker.note_failed("ben", retry_at=5, error="lost") == [PeerSyncFailed("ben", 5, "lost")]
    tracker.note_failed("ben", retry_at=9, error="lost again")
    failed = tracker.aggregate()
    assert (failed.level, failed.retry_count, failed.retry_at) == (PropagationLevel.FAILED, 2, 9)
    tracker.note_synced("ben")
    assert level(tracker) is PropagationLevel.COMPLETE


def test_what_is_new_is_nobody_elses_yet_and_a_peer_that_goes_is_not_waited_for() -> None:
    tracker = PropagationTracker(["ben", "eve"])
    tracker.note_synced("ben")
    tracker.note_committed("m1")
    assert level(tracker) is PropagationLevel.LOCAL
    tracker.note_synced("ben")
    tracker.forget_peer("eve")
    assert level(tracker) is level(tracker, "m1") is PropagationLevel.COMPLETE


def test_no_more_than_ten_thousand_facts_are_tracked() -> None:
    tracker = PropagationTracker(["ben"])
    for number in range(FACTS_MAX + 1):
        tracker.note_committed(str(number))
    tracker.note_synced("ben")
    assert len(tracker.fully_propagated_facts()) == FACTS_MAX


peers, items = st.sampled_from(["ben", "eve", "zoe"]), st.sampled_from(["m1", "m2"])


class TrackerMachine(RuleBasedStateMachine):
    """Whatever happens, the levels say what the sets say."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = PropagationTracker()
        self.known: set[str] = set()
        self.holders: dict[str, set[str]] = {}

    @rule(peer=peers)
    def add(self, peer: str) -> None:
        self.tracker.add_peer(peer)
        self.known.add(peer)

    @rule(peer=peers)
    def forget(self, peer: str) -> None:
        self.tracker.forget_peer(peer)
        self.known.discard(peer)

    @rule(item=items)
    def commit(self, item: str) -> None:
        self.tracker.note_committed(item)
        self.holders.setdefault(item, set())

    @rule(peer=peers)
    def meet(self, peer: str) -> None:
        self.tracker.note_synced(peer)
        self.known.add(peer)
        for holders in self.holders.values():
            holders.add(peer)

    @rule(item=items, peer=peers)
    def reach(self, item: str, peer: str) -> None:
        self.tracker.note_reached(item, peer)
        self.known.add(peer)
        self.holders.setdefault(item, set()).add(peer)

    @invariant()
    def levels_follow_the_sets(self) -> None:
        for item, holders in self.holders.items():
            reached = holders & self.known
            found = self.tracker.of_fact(item)
            assert (found.level is PropagationLevel.COMPLETE) == (reached == self.known)
            if reached and reached != self.known:
                assert (found.reached, found.known) == (len(reached), len(self.known))
        full = {item for item, holders in self.holders.items() if self.known <= holders}
        assert set(self.tracker.fully_propagated_facts()) == full


TestTracker = TrackerMachine.TestCase
