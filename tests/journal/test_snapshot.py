"""A snapshot and its tail are worth as much as all facts, in whatever order and however often they come."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import Fact, LocalViolation, Namespace, SnapshotBase, SnapshotTaken
from antiphon.journal.lattices.counters import MaxInt
from antiphon.journal.lattices.sets import GSet
from antiphon.journal.snapshot import LatticeFold, SnapshotMismatch, build_snapshot, read_state

HERE = Namespace("antiphon.default")


class Seen(Fact, kind="snap.seen", version=1):
    page: str
    at_line: int


PAGES: LatticeFold[Any] = LatticeFold("snap.seen", GSet(), lambda fact: GSet(frozenset({getattr(fact, "page")})))  # noqa: B009
FURTHEST: LatticeFold[Any] = LatticeFold("snap.seen", MaxInt(), lambda fact: MaxInt(getattr(fact, "at_line")))  # noqa: B009

facts = st.lists(st.builds(Seen, page=st.sampled_from("abcdefg"), at_line=st.integers(0, 99)), max_size=20)


def snapshot_of(fold: LatticeFold[Any], said: list[Seen], sequence: int = 1, *more: SnapshotTaken) -> SnapshotTaken:
    base = SnapshotBase(chain="00" * 16, fact_id="00" * 32, seq=max(len(said), 1))
    return build_snapshot(fold, fold.fold(said, more), namespace=HERE, bases=[base], sequence=sequence)


@pytest.mark.parametrize("fold", [PAGES, FURTHEST])
@given(before=facts, behind=facts, late=facts, shuffle=st.randoms(use_true_random=False))
def test_snapshot_and_tail_are_worth_as_much_as_all_facts(
    fold: LatticeFold[Any], before: list[Seen], behind: list[Seen], late: list[Seen], shuffle: Any
) -> None:
    whole = fold.fold([*before, *behind, *late])
    first = snapshot_of(fold, before)
    second = snapshot_of(fold, behind[: len(behind) // 2], 2, first)
    told: list[Seen] = [*behind[len(behind) // 2 :], *late, *before[::2]]  # some that were folded in as well
    snapshots = [first, second, first]
    shuffle.shuffle(told)
    shuffle.shuffle(snapshots)
    assert fold.fold(told, snapshots) == whole
    assert fold.fold([*late, *behind], [first]) == whole


def test_a_snapshot_that_was_tampered_with_or_is_another_lattices_does_not_count() -> None:
    snapshot = snapshot_of(PAGES, [Seen(page="a", at_line=1)])
    assert read_state(PAGES, snapshot) == GSet(frozenset({"a"}))
    spoil: list[Callable[[SnapshotTaken], SnapshotTaken]] = [
        lambda each: each.model_copy(update={"state": each.state.replace("a", "b")}),
        lambda each: each.model_copy(update={"state_hash": "00" * 32}),
        lambda each: each.model_copy(update={"lattice": "max_int"}),
    ]
    for change in spoil:
        with pytest.raises(SnapshotMismatch):
            read_state(PAGES, change(snapshot))


def test_what_opens_or_takes_away_is_never_folded_away_and_a_state_must_fit() -> None:
    protected: LatticeFold[Any] = PAGES._replace(kind="chat.message_deleted")
    with pytest.raises(LocalViolation, match="message_deleted"):
        build_snapshot(protected, GSet(), namespace=HERE, bases=[], sequence=1)
    large = GSet(frozenset(f"{number:0100}" for number in range(1_000)))
    with pytest.raises(LocalViolation, match="bytes"):
        build_snapshot(PAGES, large, namespace=HERE, bases=[], sequence=1)
