"""Row crash points: a death at every step and every disk call of guarded sending loses nothing and doubles nothing."""

import pytest

from antiphon.testing.simulation.guarded import GUARD_BUGS, hunt_guarded, points_of, run_guarded

# Every change dies at each n-th point; `long` at each, for more seeds.
STRIDE = 5
# Coming back is enough to see these; the others take a death at the right point.
SEEN_WITHOUT_A_DEATH = {"account_not_read", "never_settled", "plans_forgotten", "receipts_begin_anew"}


def problems_of(seed: int, *, stride: int, start: int = 0) -> dict[object, tuple[str, ...]]:
    whole = run_guarded(seed)
    assert whole.problems == ()
    assert whole.step_count > 50
    assert whole.call_count > 10
    points = list(points_of(whole))[start::stride]
    found = {point: run_guarded(seed, point).problems for point in points}
    return {point: problems for point, problems in found.items() if problems}


@pytest.mark.parametrize("seed", range(2))
def test_a_death_between_snapshot_and_settled_outbox_neither_loses_nor_doubles(seed: int) -> None:
    assert problems_of(seed, stride=STRIDE, start=seed) == {}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_death_at_every_point_neither_loses_nor_doubles(seed: int) -> None:
    assert problems_of(seed, stride=1) == {}


def test_a_run_follows_from_its_seed() -> None:
    assert run_guarded(3) == run_guarded(3)


@pytest.mark.parametrize("name", sorted(GUARD_BUGS))
def test_a_bug_planted_in_guarded_sending_is_found(name: str) -> None:
    found = hunt_guarded(name, seeds=1)
    assert found is not None, GUARD_BUGS[name].sentence
    _, point, _ = found
    assert (point is None) == (name in SEEN_WITHOUT_A_DEATH), "which deaths find it is what the points are for"
