"""Scopes and finality: what lies below what, and what a scope demands."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import BelowMinimum, Finality, FinalityConfig, LocalViolation, ScopeFinality, ScopePath

segments = st.from_regex(r"[a-z]{1,3}(:[a-z0-9]{1,2})?", fullmatch=True)
paths = st.lists(segments, max_size=5).map(lambda parts: ScopePath(tuple(parts)))

LADDER = [
    Finality(),
    Finality.replicated(1),
    Finality.replicated(3),
    Finality("checkpointed"),
    Finality("consensus", evidence="k"),
    Finality("anchored", evidence="block"),
]


@given(paths)
def test_a_path_is_read_back_from_its_text(path: ScopePath) -> None:
    assert ScopePath.parse(str(path)) == path


@given(paths, segments)
def test_a_scope_contains_itself_and_what_is_below(path: ScopePath, segment: str) -> None:
    below = path.child(segment)
    assert path.contains(path)
    assert path.contains(below)
    assert not below.contains(path)
    assert below.parent == path
    assert ScopePath().contains(path)


def test_a_name_that_only_begins_alike_is_not_below() -> None:
    assert not ScopePath.parse("home/a").contains(ScopePath.parse("home/ab"))


@pytest.mark.parametrize("text", ["/", "a//b", "a/", "a b", "a:b:c", "/".join("a" * 17)])
def test_an_odd_path_is_refused(text: str) -> None:
    with pytest.raises(LocalViolation):
        ScopePath.parse(text)


def test_the_ladder_of_finality_is_strict() -> None:
    for lower, higher in pairwise(LADDER):
        assert lower < higher
        assert not higher <= lower
    assert Finality("consensus", evidence="k") == Finality("consensus", evidence="l")


@pytest.mark.parametrize("bad", [("replicated", 0), ("consensus", 2), ("sure", 0)])
def test_only_a_replicated_finality_counts_replicas(bad: tuple[str, int]) -> None:
    with pytest.raises(LocalViolation):
        Finality(*bad)  # type: ignore[arg-type]


HOME, ROOM = ScopePath.parse("home"), ScopePath.parse("home/room:general")
STRICT = ScopeFinality(
    default=Finality("checkpointed"), minimum=Finality.replicated(2), content_minimum={"x.y": Finality("consensus")}
)


def test_a_scope_refuses_less_than_its_minimum_and_gives_its_default() -> None:
    config = FinalityConfig({HOME: STRICT})
    assert config.require(ROOM, None) == Finality("checkpointed")
    assert config.require(ROOM, Finality.replicated(2)) == Finality.replicated(2)
    with pytest.raises(BelowMinimum, match="replicated"):
        config.require(ROOM, Finality())
    assert config.require(ScopePath.parse("elsewhere"), Finality()) == Finality()


def test_single_kinds_may_demand_more() -> None:
    config = FinalityConfig({HOME: STRICT})
    with pytest.raises(BelowMinimum, match="consensus"):
        config.require(HOME, Finality("checkpointed"), kind="x.y")
    assert config.require(HOME, None, kind="x.y").level == "consensus"


def test_demands_stop_where_they_do_not_cascade_and_where_a_scope_speaks_for_itself() -> None:
    local = FinalityConfig({HOME: ScopeFinality(STRICT.default, STRICT.minimum, cascade=False)})
    assert local.require(ROOM, Finality()) == Finality()
    own = FinalityConfig({HOME: STRICT, ROOM: ScopeFinality()})
    assert own.require(ROOM, Finality()) == Finality()


def test_a_default_below_its_own_minimum_is_refused() -> None:
    with pytest.raises(LocalViolation):
        ScopeFinality(default=Finality(), minimum=Finality("consensus"))
